-- test/bench/report.sql
-- Prints the figures in bench.result, and a line for each target.

\pset footer off
\pset linestyle ascii
\pset border 1
\pset null ''

CREATE TEMP VIEW summary AS
SELECT min(id) AS id, workload, contender, unit, count(*) AS runs,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median, min(value), max(value)
  FROM bench.result GROUP BY workload, contender, unit;

-- Every figure beside the others of the same round: the median of the rounds' ratios.
CREATE TEMP VIEW ratio AS
SELECT r.workload, r.contender, r.unit, o.contender AS against,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY r.value / o.value) AS ratio
  FROM bench.result r
  JOIN bench.result o ON (o.workload, o.unit, o.round) = (r.workload, r.unit, r.round) AND o.contender <> r.contender
 GROUP BY 1, 2, 3, 4;

SELECT s.workload, s.contender, s.unit, s.runs,
       to_char(s.median, f.format) AS median, to_char(s.min, f.format) AS min, to_char(s.max, f.format) AS max,
       (SELECT string_agg(to_char(r.ratio, 'FM990.00') || ' x ' || r.against, ', ' ORDER BY y.n)
          FROM unnest(ARRAY['update', 'floor', 'G', 'G + W', 'full', 'undisturbed']) WITH ORDINALITY y(contender, n)
          JOIN ratio r ON (r.workload, r.contender, r.unit, r.against) = (s.workload, s.contender, s.unit, y.contender)) AS ratios
  FROM summary s, LATERAL (SELECT CASE WHEN s.median >= 1000 THEN 'FM99,999,990' WHEN s.unit = 's' THEN 'FM990.000' ELSE 'FM999,990.0' END) f(format)
 ORDER BY (SELECT min(w.id) FROM summary w WHERE w.workload = s.workload AND w.unit = s.unit),
          array_position(ARRAY['append_event', 'append_events', 'update', 'lock', 'floor', 'COPY', 'indexed',
                               'first, watched', 'full, watched', 'incremental', 'tenth of the history', 'full', 'G', 'W', 'G + W',
                               'disturbed', 'undisturbed', 'full run meanwhile'], s.contender);

\echo 'contenders: append_event, append_events, COPY = pointstore; update = hand-written PL/pgSQL, conditional UPDATE; lock = the same with SELECT FOR UPDATE;'
\echo '            floor = INSERT into an unindexed table; indexed = COPY of the same rows into a table with the same indexes, without triggers;'
\echo '            full, incremental = CALL reconcile(); first = the full run that proves every account for the first time; watched = while memory was read;'
\echo '            G = FULL JOIN of balances with a GROUP BY of the events; W = window function over each account''s versions'
\echo 'ratios: median of the rounds'' ratios to that contender in the same round'
\echo

-- A target is a bound on a ratio or, against nobody, on the largest figure itself.
SELECT t.target || coalesce(substring(s.workload FROM ', [0-9]+ accounts$'), '') AS target,
       to_char(v.reached, 'FM990.00') || coalesce(' x ' || t.against, ' ' || s.unit) AS reached,
       CASE WHEN t.at_least THEN 'at least ' ELSE 'at most ' END || to_char(t.bound, 'FM990.00') AS wanted,
       CASE WHEN (t.at_least AND v.reached >= t.bound) OR (NOT t.at_least AND v.reached <= t.bound) THEN 'met' ELSE 'missed' END AS verdict
  FROM (VALUES
        (1, 'append_event, 8 clients, one call per transaction', '8 clients, uniform', 'append_event', 'tps', 'update', true, 1.4),
        (2, 'appends inside one statement, time per event', 'one statement', 'append_event', 'us/event', 'update', false, 0.5),
        (3, 'WAL per event', 'WAL, no page images', 'append_event', 'bytes/event', 'update', false, 1.0),
        (4, 'table and indexes per event', 'event table and indexes', 'append_event', 'bytes/event', 'update', false, 1.0),
        (5, 'full run', 'full run, %', 'full', 's', 'G', false, 1.5),
        (6, 'full run', 'full run, %', 'full', 's', 'G + W', false, 0.33),
        (7, 'first full run, memory beside shared memory', 'full run, %', 'first, watched', 'MB, largest process', null, false, 256),
        (8, 'full run, memory beside shared memory', 'full run, %', 'full, watched', 'MB, largest process', null, false, 256),
        (9, 'incremental run after 1 % of the accounts changed', 'incremental run, %', 'incremental', 's', 'full', false, 0.05),
        (10, 'incremental run, with ten times the history', 'incremental run, %', 'incremental', 's', 'tenth of the history', false, 1.2),
        (11, 'appends by 8 clients during full runs', '8 clients appending, full runs meanwhile', 'disturbed', 'tps', 'undisturbed', true, 0.9)
       ) t(n, target, workload, contender, unit, against, at_least, bound)
  JOIN summary s ON s.workload LIKE t.workload AND (s.contender, s.unit) = (t.contender, t.unit)
  LEFT JOIN ratio r ON (r.workload, r.contender, r.unit, r.against) = (s.workload, s.contender, s.unit, t.against),
       LATERAL (SELECT round(CASE WHEN t.against IS NULL THEN s.max ELSE r.ratio END::numeric, 2)) v(reached)
 ORDER BY t.n, s.id;
