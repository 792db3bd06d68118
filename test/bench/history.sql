-- test/bench/history.sql
-- A store with a history, written as bulk data past the triggers, and what the
-- reconciler is measured against: rival.g and rival.w, which find nothing in it.
-- Variables: events, accounts (events is a multiple of accounts, 7919 no factor of it).

CREATE EXTENSION pointstore;
SELECT pointstore.create_store();

-- Every account has its next event once in each round of all accounts, in an
-- order that scatters them; balances go up and down by hashes. The indexes of
-- the events are built when the rows are there.
SET session_replication_role = replica;
UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.event_store'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after,
                                    payload, request_id, leg, occurred_at, created_at)
SELECT i + 1, i * 7919 % :accounts + 1, i / :accounts + 1, 'PointAdjusted', b.now - b.before, 0, b.now,
       '{"order": "A-1001", "channel": "app"}', 'history-' || i, 0, t.at, t.at
  FROM generate_series(0, :events - 1::bigint) i,
       LATERAL (SELECT now() - make_interval(secs => :events - i)) t(at),
       LATERAL (SELECT 1000000 + (hashint8(i) & 1023),
                       CASE WHEN i < :accounts THEN 0 ELSE 1000000 + (hashint8(i - :accounts) & 1023) END) b(now, before);
REINDEX TABLE pointstore.event_store;
INSERT INTO pointstore.balance (aggregate_id, version, balance, updated_at)
SELECT aggregate_id, version, balance_after, created_at FROM pointstore.event_store WHERE id > :events - :accounts;
SELECT setval('pointstore.event_store_id_seq', :events);
RESET session_replication_role;

CREATE SCHEMA rival;

-- G: the accounts whose balance row is not what a GROUP BY of their events says.
CREATE VIEW rival.g AS
SELECT aggregate_id FROM pointstore.balance b
  FULL JOIN (SELECT aggregate_id, count(*) AS events, max(version) AS last, sum(amount) AS total
               FROM pointstore.event_store GROUP BY aggregate_id) e USING (aggregate_id)
 WHERE b.version IS DISTINCT FROM e.events OR b.version IS DISTINCT FROM e.last OR b.balance IS DISTINCT FROM e.total;

-- W: the events that do not follow from the one before.
CREATE VIEW rival.w AS
SELECT aggregate_id, version
  FROM (SELECT aggregate_id, version, amount, balance_after,
               lag(version, 1, 0::bigint) OVER w AS version_before, lag(balance_after, 1, 0::bigint) OVER w AS balance_before
          FROM pointstore.event_store WINDOW w AS (PARTITION BY aggregate_id ORDER BY version)) e
 WHERE version <> version_before + 1 OR balance_after <> balance_before + amount;

-- Workers make full runs, one after another, until so many seconds are over.
CREATE PROCEDURE rival.reconcile_for(seconds integer) LANGUAGE plpgsql AS $$
DECLARE
    finish timestamptz := clock_timestamp() + make_interval(secs => seconds);
BEGIN
    WHILE clock_timestamp() < finish LOOP
        PERFORM pointstore.reconcile_now('full');
        LOOP
            COMMIT;
            PERFORM pg_sleep(0.05);
            EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler');
        END LOOP;
    END LOOP;
END
$$;

VACUUM (ANALYZE);
CHECKPOINT;
