-- test/bench/setup.sql
-- The store, the rivals, and the same accounts in each: an opening event of
-- 1,000,000 per account.
-- Variable: accounts.

CREATE EXTENSION pointstore;
SELECT pointstore.create_store();
\ir rivals.sql

INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id)
SELECT i::text, 'Opened', 1000000, 'open-' || i FROM generate_series(1, :accounts) i;

INSERT INTO rival.balance SELECT * FROM pointstore.balance;
INSERT INTO rival.lock_balance SELECT * FROM pointstore.balance;
INSERT INTO rival.optimistic_balance SELECT * FROM pointstore.balance;
INSERT INTO rival.event_store SELECT * FROM pointstore.event_store ORDER BY id;
INSERT INTO rival.lock_event_store SELECT * FROM pointstore.event_store ORDER BY id;
INSERT INTO rival.optimistic_event_store SELECT * FROM pointstore.event_store ORDER BY id;
SELECT setval('rival.event_store_id_seq', max(id)), setval('rival.lock_event_store_id_seq', max(id)),
       setval('rival.optimistic_event_store_id_seq', max(id))
  FROM pointstore.event_store;

VACUUM (FULL, ANALYZE);
CHECKPOINT;

CREATE TABLE bench.batch (n integer PRIMARY KEY, events jsonb);

-- The accounts of a store whose balance row is not what its events say.
CREATE FUNCTION bench.faults(balance regclass, events regclass) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    faults bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s b FULL JOIN
        (SELECT aggregate_id, count(*) AS n, max(version) AS last, sum(amount) AS total,
                max(ARRAY[version, balance_after]) AS newest
           FROM %s GROUP BY aggregate_id) e USING (aggregate_id)
         WHERE b.version IS DISTINCT FROM coalesce(e.n, 0) OR e.last IS DISTINCT FROM e.n
            OR b.balance IS DISTINCT FROM coalesce(e.total, 0) OR e.newest[2] IS DISTINCT FROM e.total', balance, events)
       INTO faults;
    RETURN faults;
END
$$;
