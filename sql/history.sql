-- balance_at and statement against a query that reads everything: histories with many events of
-- one time, with gaps, and with versions and times at the ends of what there is. Reports only
-- what differs.
SELECT setseed(0.12);
-- how an account's versions and times come: up to so many events, one version in so many is
-- missing, one time in so many is another than the one before
CREATE TEMP TABLE history_account AS
SELECT 'history-' || n AS id, (ARRAY[1, 2, 4, 5, 6, 8, 20, 100, 700, 3000])[1 + n % 10] AS events,
       (ARRAY[1, 2, 10, 1000000])[1 + n / 10 % 4] AS whole, (ARRAY[1, 3, 30])[1 + n / 40 % 3] AS jumps
  FROM generate_series(0, 119) n;
SET session_replication_role = replica;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), id, v, 'Random', v, 0, sum(v) OVER (PARTITION BY id ORDER BY v), '{}', at, at
  FROM (SELECT a.id, v, '2026-01-01 00:00+00'::timestamptz + interval '1 us' * sum(CASE WHEN random() * jumps < 1 THEN ceil(exp(random() * 20)) ELSE 0 END) OVER (PARTITION BY a.id ORDER BY v) AS at
          FROM history_account a, generate_series(1, a.events) v
         WHERE a.whole > 1 AND random() * a.whole > 1 OR a.whole = 1 AND v % 3 = 0) e;
-- versions far apart, and at the ends
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), 'history-far', v, 'Far', 1, 0, row_number() OVER (ORDER BY v), '{}', at, at
  FROM (SELECT DISTINCT v, '2026-01-01 00:00+00'::timestamptz + interval '1 second' * dense_rank() OVER (ORDER BY v) AS at
          FROM (SELECT (2::numeric ^ n + d)::bigint AS v FROM generate_series(0, 62) n, generate_series(0, 4) d
                UNION SELECT -(2::numeric ^ n)::bigint FROM generate_series(0, 62) n
                UNION SELECT 9223372036854775807 - d FROM generate_series(0, 20) d
                UNION SELECT (-9223372036854775808)::bigint + d FROM generate_series(0, 20) d) f) e;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), 'history-one-far', v, 'Far', 1, 0, v, '{}', at, at
  FROM (SELECT v, '2026-01-01 00:00+00'::timestamptz + interval '1 second' * (v / 3) AS at FROM generate_series(1, 300) v
        UNION ALL SELECT 9223372036854775807, '2027-01-01 00:00+00') e;
-- times at the ends
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), 'history-ends', v, 'Ends', 1, 0, v, '{}', at, at
  FROM (SELECT v, CASE WHEN v <= 20 THEN '-infinity' WHEN v <= 40 THEN '4713-01-01 BC' WHEN v <= 60 THEN '2026-01-01 00:00+00'
                       WHEN v <= 80 THEN '294276-12-31 23:59:59.999999+00' ELSE 'infinity' END::timestamptz AS at FROM generate_series(1, 100) v) e;
-- all at once
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), 'history-once', v, 'Once', 1, 0, v, '{}', '2026-01-01 00:00+00', '2026-01-01 00:00+00' FROM generate_series(1, 5000) v;
RESET session_replication_role;
ANALYZE pointstore.event_store;

-- moments: of events, a microsecond beside them, and the ends of time
CREATE TEMP TABLE history_moment AS
WITH event AS (
    SELECT e.aggregate_id AS id, e.created_at AS at, row_number() OVER (PARTITION BY e.aggregate_id ORDER BY random()) AS n
      FROM (SELECT DISTINCT aggregate_id, created_at FROM pointstore.event_store WHERE aggregate_id LIKE 'history-%') e)
SELECT DISTINCT id, at FROM (
    SELECT id, at FROM event WHERE n <= 40
    UNION ALL SELECT id, at + interval '1 us' FROM event WHERE n <= 20 AND isfinite(at) AND at < '294276-12-31'
    UNION ALL SELECT id, at - interval '1 us' FROM event WHERE n <= 20 AND isfinite(at) AND at > '4712-01-01 BC'
    UNION ALL SELECT DISTINCT event.id, m.at FROM event, (VALUES ('-infinity'::timestamptz), ('infinity'), ('2020-01-01'), ('2100-01-01'), ('4713-01-01 BC')) m(at)) m;
SELECT count(DISTINCT id) > 100 AS accounts, count(*) > 1000 AS moments FROM history_moment;

CREATE FUNCTION pg_temp.balance_then(which text, until timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT coalesce((SELECT e.balance_after FROM pointstore.event_store e WHERE e.aggregate_id = which AND e.created_at <= until
                      ORDER BY e.created_at DESC, e.version DESC LIMIT 1), 0)
$$;
CREATE FUNCTION pg_temp.statement_of(which text, since timestamptz, until timestamptz)
RETURNS TABLE (entry text, version bigint, event_type text, amount bigint, balance bigint, payload jsonb, id bigint, cause_id bigint, occurred_at timestamptz, created_at timestamptz)
LANGUAGE sql AS $$
    WITH mine AS MATERIALIZED (SELECT * FROM pointstore.event_store e WHERE e.aggregate_id = which),
         ours AS (SELECT * FROM mine WHERE mine.created_at >= since AND mine.created_at < until),
         first AS (SELECT * FROM ours ORDER BY created_at, version LIMIT 1),
         last AS (SELECT * FROM mine WHERE mine.created_at < since OR mine.created_at < until ORDER BY created_at DESC, version DESC LIMIT 1),
         before AS (SELECT * FROM mine WHERE mine.created_at < since ORDER BY created_at DESC, version DESC LIMIT 1)
    SELECT 'opening', coalesce((SELECT version - 1 FROM first), (SELECT version FROM before), 0), NULL, NULL::bigint,
           coalesce((SELECT balance_after - amount FROM first), (SELECT balance_after FROM before), 0), NULL::jsonb, NULL::bigint, NULL::bigint, NULL::timestamptz, since
    UNION ALL (SELECT 'event', version, event_type, amount, balance_after, payload, id, cause_id, occurred_at, created_at FROM ours ORDER BY created_at, version)
    UNION ALL SELECT 'closing', coalesce((SELECT version FROM last), 0), NULL, NULL, coalesce((SELECT balance_after FROM last), 0), NULL, NULL, NULL, NULL, until
$$;

SELECT m.id, m.at, pointstore.balance_at(m.id, m.at) AS found, pg_temp.balance_then(m.id, m.at) AS expected
  FROM history_moment m WHERE pointstore.balance_at(m.id, m.at) <> pg_temp.balance_then(m.id, m.at) ORDER BY 1, 2 LIMIT 10;
SELECT count(*) > 300 AS statements, count(*) FILTER (WHERE found = expected) = count(*) AS same, min(id) FILTER (WHERE found IS DISTINCT FROM expected) AS differs
  FROM (SELECT m.id, (SELECT jsonb_agg(s) FROM pointstore.statement(m.id, m.at, n.at) s) AS found,
               (SELECT jsonb_agg(s) FROM pg_temp.statement_of(m.id, m.at, n.at) s) AS expected
          FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY random()) AS r FROM history_moment) m
          JOIN (SELECT *, row_number() OVER (PARTITION BY id ORDER BY random()) AS r FROM history_moment) n USING (id)
         WHERE n.at >= m.at AND m.r <= 4 AND n.r <= 4 AND m.id NOT IN ('history-far')) s;
-- there is no version before the first
SELECT s.entry, count(*), max(s.version), max(s.balance) FROM pointstore.statement('history-far', '2026-01-01 00:00:30+00', 'infinity') s GROUP BY 1 ORDER BY 4, 1;

-- an account that is not there, and one beside whose name others begin
SELECT pointstore.balance_at('history-', 'infinity'), pointstore.balance_at('history-1', '-infinity');

-- what a savepoint took back, what was not committed, and an older snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM pointstore.append_event('history-own', 'Earned', 1);
SAVEPOINT s;
SELECT count(pointstore.append_event('history-own', 'Earned', 10)) FROM generate_series(1, 20);
SELECT pointstore.balance_at('history-own', 'infinity'), count(*) FROM pointstore.statement('history-own', '-infinity', 'infinity');
ROLLBACK TO s;
SELECT pointstore.balance_at('history-own', 'infinity'), count(*) FROM pointstore.statement('history-own', '-infinity', 'infinity');
SELECT count(pointstore.append_event('history-own', 'Earned', 100)) FROM generate_series(1, 6);
SELECT pointstore.balance_at('history-own', 'infinity'), count(*) FROM pointstore.statement('history-own', '-infinity', 'infinity');
COMMIT;

-- times that may be null are no times
BEGIN;
ALTER TABLE pointstore.event_store ALTER created_at DROP NOT NULL;
\set VERBOSITY sqlstate
SELECT pointstore.balance_at('history-1', 'infinity');
ROLLBACK;

-- the key is looked for when it is needed, whatever it is called and whichever it is by then
ALTER TABLE pointstore.event_store ADD CONSTRAINT history_key UNIQUE (aggregate_id, version);
ALTER TABLE pointstore.event_store DROP CONSTRAINT event_store_pkey;
SELECT pointstore.balance_at('history-once', 'infinity');
ALTER TABLE pointstore.event_store ADD PRIMARY KEY (aggregate_id, version), DROP CONSTRAINT history_key;
SELECT pointstore.balance_at('history-once', 'infinity');

SET session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE aggregate_id LIKE 'history-%';
DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'history-%';
DELETE FROM pointstore.account_log WHERE aggregate_id LIKE 'history-%';
RESET session_replication_role;
