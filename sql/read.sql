-- get_balance, balance_at, balance_as_of.
\set VERBOSITY sqlstate
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at) VALUES
    ('read-1', 'PointEarned', 100, '2026-01-01 00:00+00'), ('read-1', 'PointSpent', -30, '2026-01-02 00:00+00'),
    ('read-1', 'PointEarned', 5, '2026-01-02 00:00+00'), ('read-1', 'Noted', 0, '2026-03-01 00:00+00');

SELECT aggregate_id, kind, mode, unit, version, balance, held, available, status, updated_at >= '2026-03-01 00:00+00' AS updated_at
  FROM pointstore.get_balance('read-1');
SELECT * FROM pointstore.get_balance('read-none');
SELECT * FROM pointstore.get_balance('');
SELECT * FROM pointstore.get_balance(NULL);
-- as the view shows it
SELECT count(*) FROM pointstore.account a, pointstore.get_balance(a.aggregate_id) g
 WHERE a.aggregate_id = 'read-1' AND to_jsonb(a) = to_jsonb(g);

-- what was known at a time
SELECT at, pointstore.balance_at('read-1', at::timestamptz) FROM unnest(ARRAY['-infinity', '2025-12-31 23:59:59.999999+00', '2026-01-01 00:00+00',
    '2026-01-01 23:59:59.999999+00', '2026-01-02 00:00+00', '2026-02-01 00:00+00', '2999-01-01 00:00+00', 'infinity']) at;
SELECT pointstore.balance_at('read-none', now());
SELECT pointstore.balance_at(NULL, now());
SELECT pointstore.balance_at('read-1', NULL);
SELECT pointstore.balance_at('', now());

-- after an event
SELECT v, pointstore.balance_as_of('read-1', v) FROM generate_series(0, 4) v;
SELECT pointstore.balance_as_of('read-1', 5);
SELECT pointstore.balance_as_of('read-1', 9223372036854775807);
SELECT pointstore.balance_as_of('read-1', -1);
SELECT pointstore.balance_as_of('read-none', 1);
SELECT pointstore.balance_as_of(NULL, 1);
SELECT pointstore.balance_as_of('read-1', NULL);

-- a transaction sees its own appends, and a snapshot what it should
BEGIN;
SELECT balance FROM pointstore.append_event('read-1', 'PointEarned', 1);
SELECT pointstore.balance_at('read-1', clock_timestamp()), pointstore.balance_as_of('read-1', 5), (pointstore.get_balance('read-1')).balance;
ROLLBACK;
SELECT pointstore.balance_at('read-1', clock_timestamp()), (pointstore.get_balance('read-1')).balance;
-- they may be called where nothing may be written
BEGIN READ ONLY;
SELECT pointstore.balance_at('read-1', '2026-02-01'), pointstore.balance_as_of('read-1', 1), (pointstore.get_balance('read-1')).balance;
COMMIT;

-- pure accounts alike
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('read-pure', 'pure');
SELECT pointstore.open_account('read-p', 'read-pure');
SELECT pointstore.balance_at('read-p', now());
SELECT version, balance FROM pointstore.get_balance('read-p');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at) VALUES
    ('read-p', 'PointEarned', 100, '2026-01-01 00:00+00'), ('read-p', 'PointSpent', -30, '2026-01-02 00:00+00');
SELECT pointstore.balance_at('read-p', '2026-01-01 12:00+00'), pointstore.balance_as_of('read-p', 2);

-- The cost, with ten events and with a hundred thousand: it grows no faster than the logarithm.
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at)
SELECT 'read-ten', 'PointEarned', 1, '2026-01-01 00:00+00'::timestamptz + g * interval '1 second' FROM generate_series(1, 10) g;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at)
SELECT 'read-100k', 'PointEarned', 1, '2026-01-01 00:00+00'::timestamptz + g * interval '1 second' FROM generate_series(1, 100000) g;
SELECT pointstore.balance_at('read-100k', '2026-01-01 12:00:00+00'), pointstore.balance_as_of('read-100k', 77777),
       pointstore.balance_at('read-100k', 'infinity'), (pointstore.get_balance('read-100k')).version;
-- what a worker of autovacuum still sees would not be removed
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid());
        PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
    END LOOP;
END$$;
VACUUM pointstore.event_store;
VACUUM (FULL) pointstore.balance;
VACUUM (FULL) pointstore.account_kind, pointstore.pure_account;
CREATE FUNCTION pg_temp.pages(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan jsonb;
BEGIN
    EXECUTE query;      -- once before, to fill the caches
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
    RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
END$$;
-- probes, each of them the levels of the key and a row of the table
SELECT read, few <= 4 * probes AS few, many <= few * CASE WHEN probes > 1 THEN log(10, 100000) ELSE 1 END AS many FROM (
    SELECT read, probes, pg_temp.pages(format(query, 'read-ten', 5)) AS few, pg_temp.pages(format(query, 'read-100k', 50000)) AS many
      FROM (VALUES
        ('balance_at, in the middle', 6, $$SELECT pointstore.balance_at(%L, '2026-01-01 00:00+00'::timestamptz + %s * interval '1 second')$$),
        ('balance_at, first', 6, $$SELECT pointstore.balance_at(%L, '2026-01-01 00:00:01+00') /* %s */$$),
        ('balance_at, before the first', 3, $$SELECT pointstore.balance_at(%L, '2025-01-01') /* %s */$$),
        ('balance_at, now', 1, $$SELECT pointstore.balance_at(%L, now()) /* %s */$$),
        ('balance_as_of', 1, $$SELECT pointstore.balance_as_of(%L, %s)$$)) r(read, probes, query)) p;
SELECT pg_temp.pages($$SELECT * FROM pointstore.get_balance('read-100k')$$) <= 12 AS one_row;
