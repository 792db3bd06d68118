-- test/bench/report.sql
-- Prints the figures in bench.result, and a line for each target.

\pset footer off
\pset linestyle ascii
\pset border 1
\pset null ''

SELECT EXISTS (SELECT FROM bench.result WHERE workload LIKE 'clients: %') AS clients \gset

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

\if :clients
-- The clients' part, a line for each caller.
SELECT substring(s.workload FROM 10) AS "accounts, clients", s.contender,
       to_char(s.median, 'FM99,999,990') AS tps, to_char(s.min, 'FM99,999,990') AS min, to_char(s.max, 'FM99,999,990') AS max,
       to_char(l.ratio, 'FM9990.00') AS "x lock", to_char(f.ratio, 'FM9990.00') AS "x floor",
       p.ms_50 AS "ms 50 %", p.ms_95 AS "95 %", p.ms_99 AS "99 %", p.cpu AS "CPU s/1,000"
  FROM summary s
  LEFT JOIN ratio l ON (l.workload, l.contender, l.unit, l.against) = (s.workload, s.contender, s.unit, 'lock')
  LEFT JOIN ratio f ON (f.workload, f.contender, f.unit, f.against) = (s.workload, s.contender, s.unit, 'floor'),
       LATERAL (SELECT max(to_char(o.median, 'FM99990.00')) FILTER (WHERE o.unit = 'ms, median') AS ms_50,
                       max(to_char(o.median, 'FM99990.00')) FILTER (WHERE o.unit = 'ms, 95 %') AS ms_95,
                       max(to_char(o.median, 'FM99990.00')) FILTER (WHERE o.unit = 'ms, 99 %') AS ms_99,
                       max(to_char(o.median, 'FM990.000')) FILTER (WHERE o.unit = 'CPU s/1,000 events') AS cpu
                  FROM summary o WHERE (o.workload, o.contender) = (s.workload, s.contender)) p
 WHERE s.workload LIKE 'clients: %' AND s.unit = 'tps'
 ORDER BY (SELECT min(w.id) FROM summary w WHERE w.workload = s.workload),
          array_position(ARRAY['submit_event', 'append_event', 'optimistic', 'update', 'lock', 'floor'], s.contender);
\endif

SELECT s.workload, s.contender, s.unit, s.runs,
       to_char(s.median, f.format) AS median, to_char(s.min, f.format) AS min, to_char(s.max, f.format) AS max,
       (SELECT string_agg(to_char(r.ratio, 'FM990.00') || ' x ' || r.against, ', ' ORDER BY y.n)
          FROM unnest(ARRAY['update', 'lock', 'floor', 'append_event', 'indexed', 'G', 'G + W', 'full', 'undisturbed', 'double_entry', 'two_appends', 'append_unheld']) WITH ORDINALITY y(contender, n)
          JOIN ratio r ON (r.workload, r.contender, r.unit, r.against) = (s.workload, s.contender, s.unit, y.contender)) AS ratios
  FROM summary s, LATERAL (SELECT CASE WHEN s.median >= 1000 THEN 'FM99,999,990' WHEN s.unit = 's' THEN 'FM990.000' ELSE 'FM999,990.0' END) f(format)
 WHERE s.workload NOT LIKE 'clients: %' OR s.unit IN ('WAL bytes/event', 'updates of the row/event')
 ORDER BY (SELECT min(w.id) FROM summary w WHERE w.workload = s.workload AND w.unit = s.unit),
          array_position(ARRAY['append_event', 'submit_event', 'append_events', 'transfer', 'submit_transfer', 'double_entry', 'optimistic', 'update', 'lock', 'floor', 'COPY', 'indexed',
                               'first, watched', 'full, watched', 'incremental', 'tenth of the history', 'full', 'G', 'W', 'G + W',
                               'disturbed', 'undisturbed', 'full run meanwhile'], s.contender);

\echo 'contenders: append_event, submit_event, append_events, COPY = pointstore; update = hand-written PL/pgSQL, conditional UPDATE; lock = the same with SELECT FOR UPDATE;'
\echo '            optimistic = the same with versions and a retry loop; double_entry = a transfer in hand-written PL/pgSQL;'
\echo '            held, unheld = appends to an account with 10,000 open holds, and with none;'
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
        (12, 'submit_event, one hot account, 64 clients', 'clients: one hot account, 64', 'submit_event', 'tps', 'lock', true, 15),
        (13, 'submit_event, one hot account, 64 clients', 'clients: one hot account, 64', 'submit_event', 'tps', 'floor', true, 1),
        (14, 'submit_event, one hot account, 64 clients, 1 ms disk', 'clients: one hot account, 64, 1 ms disk', 'submit_event', 'tps', 'lock', true, 30),
        (15, 'submit_event, one hot account, 64 clients, 1 ms disk', 'clients: one hot account, 64, 1 ms disk', 'submit_event', 'tps', 'floor', true, 0.9),
        (16, 'submit_event, uniform, 64 clients', 'clients: uniform, 64', 'submit_event', 'tps', 'floor', true, 0.85),
        (17, 'submit_event, one client, latency', 'clients: uniform, 1', 'submit_event', 'ms, median', 'append_event', false, 1.5),
        (18, 'append_event, uniform, 8 clients', 'clients: uniform, 8', 'append_event', 'tps', 'lock', true, 1.5),
        (19, 'append_event, one hot account, 64 clients', 'clients: one hot account, 64', 'append_event', 'tps', 'lock', true, 1.2),
        (20, 'append_events of 1,000, distinct accounts', 'batches of 1000, distinct accounts', 'append_events', 'rows/s', 'indexed', true, 0.5),
        (21, 'append_events of 1,000, one hot account', 'batches of 1000, one hot account', 'append_events', 'rows/s', 'indexed', true, 0.8),
        (22, 'dead rows of the hot account, per event', 'clients: one hot account, 64', 'submit_event', 'updates of the row/event', 'append_event', false, 0.2),
        (23, 'WAL on the hot account, per event', 'clients: one hot account, 64', 'submit_event', 'WAL bytes/event', 'append_event', false, 1),
        (24, 'transfer, 8 clients', 'transfers, 8 clients, uniform', 'transfer', 'tps', 'double_entry', true, 3),
        (25, 'hold and confirm in 2.2 times the time of two appends', 'hold and confirm, 8 clients, uniform', 'hold_confirm', 'tps', 'two_appends', true, 0.45),
        (26, 'append beside 10,000 open holds in 1.1 times the time', '10,000 open holds, 1 client', 'append_held', 'tps', 'append_unheld', true, 0.91),
        (27, 'submit_event beside a locked row', '24 clients submitting, others wait for a locked row', 'disturbed', 'tps', 'undisturbed', true, 0.5),
        (28, 'submit_event beside a pure account not committed', '24 clients submitting, others wait for an event of a pure account', 'disturbed', 'tps', 'undisturbed', true, 0.5),
        (29, 'submit_event beside an account being opened', '24 clients submitting, others wait for an account being opened', 'disturbed', 'tps', 'undisturbed', true, 0.5),
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
