-- test/bench/report.sql
-- Prints the figures in bench.result, and a line for each target.

\pset footer off
\pset linestyle ascii
\pset border 1
\pset null ''

-- Every figure beside those of its rivals in the same round.
CREATE TEMP VIEW paired AS
SELECT r.*, r.value / b.value AS to_update, r.value / f.value AS to_floor
  FROM bench.result r
  LEFT JOIN bench.result b ON (b.workload, b.unit, b.round, b.contender) = (r.workload, r.unit, r.round, 'update')
  LEFT JOIN bench.result f ON (f.workload, f.unit, f.round, f.contender) = (r.workload, r.unit, r.round, 'floor');

CREATE TEMP VIEW summary AS
SELECT min(id) AS id, workload, contender, unit, count(*) AS runs,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median, min(value), max(value),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY to_update) AS to_update,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY to_floor) AS to_floor
  FROM paired GROUP BY workload, contender, unit;

SELECT s.workload, s.contender, s.unit, s.runs,
       to_char(s.median, f.format) AS median, to_char(s.min, f.format) AS min, to_char(s.max, f.format) AS max,
       to_char(s.to_update, 'FM990.00') AS "x update", to_char(s.to_floor, 'FM990.00') AS "x floor"
  FROM summary s, LATERAL (SELECT CASE WHEN s.median >= 1000 THEN 'FM99,999,990' ELSE 'FM999,990.0' END) f(format)
 ORDER BY (SELECT min(w.id) FROM summary w WHERE w.workload = s.workload AND w.unit = s.unit),
          array_position(ARRAY['append_event', 'append_events', 'update', 'lock', 'floor', 'COPY', 'indexed'], s.contender);

\echo 'contenders: append_event, append_events, COPY = pointstore; update = hand-written PL/pgSQL, conditional UPDATE; lock = the same with SELECT FOR UPDATE;'
\echo '            floor = INSERT into an unindexed table; indexed = COPY of the same rows into a table with the same indexes, without triggers'
\echo 'ratios: median of the rounds'' ratios to update and to floor in the same round'
\echo

SELECT t.target, to_char(s.to_update, 'FM990.00') || ' x update' AS reached, t.wanted,
       CASE WHEN (t.at_least AND round(s.to_update::numeric, 2) >= t.ratio) OR (NOT t.at_least AND round(s.to_update::numeric, 2) <= t.ratio)
            THEN 'met' ELSE 'missed' END AS verdict
  FROM (VALUES
        (1, 'append_event, 8 clients, one call per transaction', '8 clients, uniform', 'tps', 'at least 1.40', true, 1.4),
        (2, 'appends inside one statement, time per event', 'one statement', 'us/event', 'at most 0.50', false, 0.5),
        (3, 'WAL per event', 'WAL, no page images', 'bytes/event', 'at most 1.00', false, 1.0),
        (4, 'table and indexes per event', 'event table and indexes', 'bytes/event', 'at most 1.00', false, 1.0)
       ) t(n, target, workload, unit, wanted, at_least, ratio)
  JOIN summary s ON (s.workload, s.unit, s.contender) = (t.workload, t.unit, 'append_event')
 ORDER BY t.n;
