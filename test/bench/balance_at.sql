-- test/bench/balance_at.sql
-- Three accounts with histories of different lengths, written as bulk data past the
-- triggers, and what asks them.
-- Variable: events, of the longest.

CREATE EXTENSION pointstore;
SELECT pointstore.create_store();
CREATE SCHEMA bench;
CREATE TABLE bench.account (name text PRIMARY KEY, events bigint, before bigint);
INSERT INTO bench.account VALUES ('ten', 10, 0), ('ten_thousand', 10000, 10), ('longest', :events, 10010);

-- Bursts of a thousand events, a hundred in a second, with pauses between them that grow,
-- so that no straight line leads from a time to a version.
CREATE FUNCTION bench.time_of(version bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT timestamptz '2001-01-01 00:00:00+00' + make_interval(secs => power(version / 1000, 1.5) * 600 + (version % 1000) * 0.01)
$$;

-- The indexes of the events are built when the rows are there.
SET session_replication_role = replica;
UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.event_store'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after,
                                    payload, request_id, leg, occurred_at, created_at)
SELECT a.before + i, a.name, i, 'PointAdjusted', 1, 0, i, '{"order": "A-1001", "channel": "app"}',
       'history-' || a.before + i, 0, t.at, t.at
  FROM bench.account a, generate_series(1, a.events) i,
       LATERAL (SELECT bench.time_of(i)) t(at);
REINDEX TABLE pointstore.event_store;
INSERT INTO pointstore.balance (aggregate_id, version, balance, updated_at)
SELECT e.aggregate_id, e.version, e.balance_after, e.created_at
  FROM pointstore.event_store e JOIN bench.account a ON (a.name, a.events) = (e.aggregate_id, e.version);
SELECT setval('pointstore.event_store_id_seq', max(id)) FROM pointstore.event_store;
RESET session_replication_role;
VACUUM (ANALYZE);
CHECKPOINT;

-- The time of an event of the account drawn by lot, or a moment before; no event is read.
CREATE FUNCTION bench.some_time(account text) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT bench.time_of(ceil(random() * a.events)::bigint) - make_interval(secs => floor(random() * 2) * 0.005)
      FROM bench.account a WHERE a.name = account
$$;

-- So many calls, each for another time: how long it took, and the buffers of the same call made again.
CREATE FUNCTION bench.probe(account text, calls integer, OUT ms float8, OUT buffers bigint) RETURNS SETOF record
LANGUAGE plpgsql AS $$
DECLARE
    at     timestamptz;
    start  timestamptz;
    answer bigint;
    plan   json;
BEGIN
    FOR n IN 1..calls LOOP
        at := bench.some_time(account);
        start := clock_timestamp();
        answer := pointstore.balance_at(account, at);
        ms := extract(epoch FROM clock_timestamp() - start) * 1000;
        EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT pointstore.balance_at(%L, %L)', account, at) INTO plan;
        buffers := (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
        RETURN NEXT;
    END LOOP;
END
$$;

-- How many of a few answers are not the sum of the events until then.
CREATE FUNCTION bench.wrong_answers(account text) RETURNS bigint LANGUAGE sql AS $$
    WITH t AS MATERIALIZED (SELECT bench.some_time(account) AS at FROM generate_series(1, 3))
    SELECT count(*) FROM t
     WHERE pointstore.balance_at(account, t.at)
           IS DISTINCT FROM (SELECT coalesce(sum(e.amount), 0) FROM pointstore.event_store e WHERE e.aggregate_id = account AND e.created_at <= t.at)
$$;
