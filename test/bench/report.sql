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
       percentile_cont(0.5) WITHIN GROUP (ORDER BY r.value / nullif(o.value, 0)) AS ratio
  FROM bench.result r
  JOIN bench.result o ON (o.workload, o.unit, o.round) = (r.workload, r.unit, r.round) AND o.contender <> r.contender
 GROUP BY 1, 2, 3, 4;

\if :clients
-- The clients' part, a line for each caller.
SELECT substring(s.workload FROM 10) AS "accounts, clients", s.contender,
       to_char(s.median, 'FM99,999,990') AS tps, to_char(s.min, 'FM99,999,990') AS min, to_char(s.max, 'FM99,999,990') AS max,
       to_char(l.ratio, 'FM9990.00') AS "x lock", to_char(f.ratio, 'FM9990.00') AS "x floor",
       p.ms_50 AS "ms 50 %", p.ms_95 AS "95 %", p.ms_99 AS "99 %", p.cpu AS "CPU s/1,000", to_char(c.ratio, 'FM9990.00') AS "CPU x lock"
  FROM summary s
  LEFT JOIN ratio l ON (l.workload, l.contender, l.unit, l.against) = (s.workload, s.contender, s.unit, 'lock')
  LEFT JOIN ratio f ON (f.workload, f.contender, f.unit, f.against) = (s.workload, s.contender, s.unit, 'floor')
  LEFT JOIN ratio c ON (c.workload, c.contender, c.unit, c.against) = (s.workload, s.contender, 'CPU s/1,000 calls', 'lock'),
       LATERAL (SELECT max(to_char(o.median, 'FM99990.00')) FILTER (WHERE o.unit = 'ms, median') AS ms_50,
                       max(to_char(o.median, 'FM99990.00')) FILTER (WHERE o.unit = 'ms, 95 %') AS ms_95,
                       max(to_char(o.median, 'FM99990.00')) FILTER (WHERE o.unit = 'ms, 99 %') AS ms_99,
                       max(to_char(o.median, 'FM990.000')) FILTER (WHERE o.unit = 'CPU s/1,000 calls') AS cpu
                  FROM summary o WHERE (o.workload, o.contender) = (s.workload, s.contender)) p
 WHERE s.workload LIKE 'clients: %' AND s.unit = 'tps'
 ORDER BY (SELECT min(w.id) FROM summary w WHERE w.workload = s.workload),
          array_position(ARRAY['submit_event', 'append_event', 'optimistic', 'update', 'lock', 'floor'], s.contender);
\endif

SELECT s.workload, s.contender, s.unit, s.runs,
       to_char(s.median, f.format) AS median, to_char(s.min, f.format) AS min, to_char(s.max, f.format) AS max,
       (SELECT string_agg(to_char(r.ratio, 'FM990.00') || ' x ' || r.against, ', ' ORDER BY y.n)
          FROM unnest(ARRAY['update', 'lock', 'floor', 'append_event', 'copy_update', 'many', 'ten', 'ten_thousand', 'G', 'G + W', 'full', 'undisturbed', 'double_entry', 'two_appends', 'append_unheld', 'unsequenced', 'nobody', 'claim', 'queue', 'notify', 'replayed', 'beginning', 'range scan, 1,000 at the end', 'append_plain', 'append_own', 'advisory_lock', 'like_append', 'like_update', 'redis', 'plain', 'one_worker']) WITH ORDINALITY y(contender, n)
          JOIN ratio r ON (r.workload, r.contender, r.unit, r.against) = (s.workload, s.contender, s.unit, y.contender)) AS ratios
  FROM summary s, LATERAL (SELECT CASE WHEN s.median >= 1000 THEN 'FM99,999,990' WHEN s.median < 10 THEN 'FM990.000' ELSE 'FM999,990.0' END) f(format)
 WHERE s.workload NOT LIKE 'clients: %' OR s.unit IN ('WAL bytes/event', 'updates of the row/event')
 ORDER BY (SELECT min(w.id) FROM summary w WHERE w.workload = s.workload AND w.unit = s.unit),
          array_position(ARRAY['append_event', 'submit_event', 'append_events', 'transfer', 'submit_transfer', 'double_entry', 'optimistic', 'update', 'lock', 'floor', 'COPY', 'copy_update', 'many', 'eightfold', 'ten', 'ten_thousand', 'longest',
                               'first, watched', 'full, watched', 'incremental', 'tenth of the history', 'full', 'G', 'W', 'G + W',
                               'disturbed', 'undisturbed', 'full run meanwhile',
                               'sequenced', 'unsequenced', 'nobody', 'claim', 'wait_for_feed', 'claim_16_slots', 'read_feed', 'read_feed_1000', 'projection', 'queue', 'notify', 'poll_by_xmin',
                               'trigger', 'trigger_spread', 'snapshot', 'snapshot_99', 'replayed', 'beginning', 'end',
                               'append_ten', 'append_plain', 'append_leased', 'append_own', 'acquire_release', 'two_appends', 'wait_for_lease', 'advisory_lock',
                               'like_submit', 'like_append', 'like_update', 'redis', 'plain', 'owner', 'coordinator', 'one_worker', 'two_workers', 'three_workers'], s.contender);

\echo 'contenders: append_event, submit_event, append_events, COPY = pointstore; update = hand-written PL/pgSQL, conditional UPDATE; lock = the same with SELECT FOR UPDATE;'
\echo '            optimistic = the same with versions and a retry loop; double_entry = a transfer in hand-written PL/pgSQL, SELECT FOR UPDATE of both accounts;'
\echo '            these four have the textbook''s indexes, and no more: id, (aggregate_id, version), request_id; pointstore has these on its event table:'
SELECT '              ' || substring(pg_get_indexdef(indexrelid) FROM 'btree (.*)$') FROM pg_index WHERE indrelid = to_regclass('pointstore.event_store')
\g (tuples_only=on format=unaligned)
\echo '            held, unheld = appends to an account with 10,000 open holds, and with none;'
\echo '            floor = INSERT into an unindexed table; copy_update = COPY of the same rows into a table with the same indexes and one UPDATE of the balances, in'
\echo '            transactions of the same size, without triggers; many, eightfold = one call over so many accounts, and over eight times as many;'
\echo '            ten, ten_thousand, longest = balance_at in a history of so many events;'
\echo '            full, incremental = CALL reconcile(); first = the full run that proves every account for the first time; watched = while memory was read;'
\echo '            G = FULL JOIN of balances with a GROUP BY of the events; W = window function over each account''s versions'
\echo '            feed: nobody = no sequencer, and nobody who follows; claim, wait_for_feed, read_feed, projection = pointstore, by pages or batches of 500, claim_16_slots of a'
\echo '            subscription with 16 slots and one member, read_feed of 10,000 and, read_feed_1000, of 1,000; queue = a table with a row for each event, by a trigger, and SKIP LOCKED;'
\echo '            notify = NOTIFY by a trigger and who listens; poll_by_xmin = by id up to where all transactions have ended, every 5 ms; trigger = a row for each day, counted by a'
\echo '            trigger FOR EACH ROW, trigger_spread = 64 rows for each day; snapshot, snapshot_99 = aggregate_state 50 and 99 events after a snapshot, replayed = without one;'
\echo '            beginning, end = of the time in which a transaction that does nothing keeps old row versions, a tenth of it each'
\echo '            append_ten = on a kind with ten transitions, append_plain = with none; append_leased = with the token of a lease on the account, append_own = without, an account for each client;'
\echo '            acquire_release = a lease of its own acquired and released, two transactions, as two_appends; advisory_lock = pg_advisory_lock and unlock, which no crash would leave a trace of;'
\echo '            like_submit, like_append = an event for each like; like_update = UPDATE … SET v = v + 1 of one row; redis = INCR, appendfsync always, redis-benchmark, no pipelining'
\echo '            tcc, saga, 2pc = move() to another server and wait_for_movement(); transfer = within one store; by_hand = dblink and PREPARE TRANSACTION in a client, a row as the decision'
\echo '            nodes: plain = a store that is not distributed; owner = the node with the accounts is called, coordinator = the coordinator, which has none; of plain = in that of the plain'
\echo '            store in the same round; one, two, three workers = that there are'
\echo 'CPU:        user and system time of the postmaster and its children, workers among them, ended ones too, from /proc before and after a run; pgbench is not of them;'
\echo '            for each 1,000 transactions of clients: one event each, of transfers and holds two'
\echo 'bytes:      WAL = how far pg_current_wal_insert_lsn() moved; table and indexes = pg_total_relation_size over the rows, opening events included'
\echo 'ratios: median of the rounds'' ratios to that contender in the same round'
\echo

-- A target is a bound on a ratio or, against nobody, on the largest figure itself; of the feed on the median.
SELECT t.target || coalesce(substring(s.workload FROM ', [0-9]+ accounts$'), '') AS target,
       to_char(v.reached, f.format) || coalesce(' x ' || t.against, ' ' || s.unit) AS reached,
       CASE WHEN t.at_least THEN 'at least ' ELSE 'at most ' END || to_char(t.bound, f.format) AS wanted,
       CASE WHEN (t.at_least AND v.reached >= t.bound) OR (NOT t.at_least AND v.reached <= t.bound) THEN 'met' ELSE 'missed' END AS verdict
  FROM (VALUES
        (1, 'append_event, uniform, 8 clients', 'clients: uniform, 8', 'append_event', 'tps', 'lock', true, 1.3),
        (2, 'append_event, uniform, 8 clients, CPU', 'clients: uniform, 8', 'append_event', 'CPU s/1,000 calls', 'lock', false, 0.6),
        (3, 'append_event, one hot account, 64 clients', 'clients: one hot account, 64', 'append_event', 'tps', 'lock', true, 1.2),
        (4, 'submit_event, uniform, 64 clients', 'clients: uniform, 64', 'submit_event', 'tps', 'floor', true, 0.8),
        (5, 'submit_event, one hot account, 64 clients', 'clients: one hot account, 64', 'submit_event', 'tps', 'floor', true, 1),
        (6, 'submit_event, one hot account, 64 clients, 1 ms disk', 'clients: one hot account, 64, 1 ms disk', 'submit_event', 'tps', 'floor', true, 0.9),
        (7, 'submit_event, one hot account, 64 clients', 'clients: one hot account, 64', 'submit_event', 'tps', 'lock', true, 15),
        (8, 'submit_event, one hot account, 64 clients, 1 ms disk', 'clients: one hot account, 64, 1 ms disk', 'submit_event', 'tps', 'lock', true, 30),
        (9, 'submit_event, one client, latency', 'clients: uniform, 1', 'submit_event', 'ms, median', 'append_event', false, 1.5),
        (10, 'table and indexes per event', 'event table and indexes', 'append_event', 'bytes/event', 'lock', false, 1.0),
        (11, 'WAL per event', 'WAL, no page images', 'append_event', 'bytes/event', 'lock', false, 0.9),
        (12, 'appends inside one statement, time per event', 'one statement', 'append_event', 'us/event', 'update', false, 0.5),
        (13, 'append_events of 1,000, distinct accounts', 'batches of 1000, distinct accounts', 'append_events', 'rows/s', 'copy_update', true, 0.8),
        (14, 'COPY', 'COPY, % accounts', 'COPY', 'rows/s', 'copy_update', true, 0.6),
        (15, 'one call over 8 times the accounts, time per event', 'one call over many accounts', 'eightfold', 'us/event', 'many', false, 1.25),
        (16, 'one call over 8 times the new accounts, time per event', 'one call over new accounts', 'eightfold', 'us/event', 'many', false, 1.25),
        (17, 'dead rows of the hot account, per event', 'clients: one hot account, 64', 'submit_event', 'updates of the row/event', 'append_event', false, 0.2),
        (18, 'WAL on the hot account, per event', 'clients: one hot account, 64', 'submit_event', 'WAL bytes/event', 'append_event', false, 1),
        (19, 'transfer, 8 clients', 'transfers, 8 clients, uniform', 'transfer', 'tps', 'double_entry', true, 1.5),
        (20, 'submit_transfer, 8 clients', 'transfers, 8 clients, uniform', 'submit_transfer', 'tps', 'double_entry', true, 1.7),
        (21, 'hold and confirm in 2.2 times the time of two appends', 'hold and confirm, 8 clients, uniform', 'hold_confirm', 'tps', 'two_appends', true, 0.45),
        (22, 'append beside 10,000 open holds in 1.1 times the time', '10,000 open holds, 1 client', 'append_held', 'tps', 'append_unheld', true, 0.91),
        (23, 'submit_event beside a locked row', '24 clients submitting, others wait for a locked row', 'disturbed', 'tps', 'undisturbed', true, 0.5),
        (24, 'submit_event beside a pure account not committed', '24 clients submitting, others wait for an event of a pure account', 'disturbed', 'tps', 'undisturbed', true, 0.5),
        (25, 'submit_event beside an account being opened', '24 clients submitting, others wait for an account being opened', 'disturbed', 'tps', 'undisturbed', true, 0.5),
        (26, 'balance_at, 10 events', 'balance_at', 'ten', 'ms, median', null, false, 0.2),
        (27, 'balance_at, 10,000 events', 'balance_at', 'ten_thousand', 'ms, median', null, false, 0.2),
        (28, 'balance_at, the longest history', 'balance_at', 'longest', 'ms, median', null, false, 0.2),
        (29, 'balance_at, buffers per doubling, 10,000 events', 'balance_at', 'ten_thousand', 'buffers/log2(events)', 'ten', false, 1),
        (30, 'balance_at, buffers per doubling, the longest history', 'balance_at', 'longest', 'buffers/log2(events)', 'ten_thousand', false, 1),
        (31, 'full run', 'full run, %', 'full', 's', 'G', false, 1.5),
        (32, 'full run', 'full run, %', 'full', 's', 'G + W', false, 0.33),
        (33, 'first full run, memory beside shared memory', 'full run, %', 'first, watched', 'MB, largest process', null, false, 256),
        (34, 'full run, memory beside shared memory', 'full run, %', 'full, watched', 'MB, largest process', null, false, 256),
        (35, 'incremental run after 1 % of the accounts changed', 'incremental run, %', 'incremental', 's', 'full', false, 0.05),
        (36, 'incremental run, with ten times the history', 'incremental run, %', 'incremental', 's', 'tenth of the history', false, 1.2),
        (37, 'appends by 8 clients during full runs', '8 clients appending, full runs meanwhile', 'disturbed', 'tps', 'undisturbed', true, 0.9),
        (38, 'append_event, instructions of a call', 'instructions', 'append_event', 'instructions/call', 'lock', false, 0.6),
        (39, 'transfer, instructions of a call', 'instructions', 'transfer', 'instructions/call', 'double_entry', false, 0.6),
        (40, 'sequencer, CPU for each event, 8 clients', 'sequencer, append_event, 8 clients', 'sequencer', 'us CPU/event', null, false, 3),
        (41, 'append_event beside the sequencer', 'sequencer, append_event, 8 clients', 'sequenced', 'tps', 'unsequenced', true, 0.95),
        (42, 'submit_event beside the sequencer', 'sequencer, submit_event, %', 'sequenced', 'tps', 'unsequenced', true, 0.95),
        (43, 'delivery by claim, half', 'delivery, 1,000 events/s', 'claim', 'ms, median', null, false, 3),
        (44, 'delivery by claim, 99 %', 'delivery, 1,000 events/s', 'claim', 'ms, 99 %', null, false, 15),
        (45, 'idle, wake-ups of the sequencer', 'idle', 'sequencer', 'wake-ups/s', null, false, 1),
        (46, 'idle, wake-ups of the launcher', 'idle', 'launcher', 'wake-ups/s', null, false, 1),
        (47, 'idle, CPU of the sequencer', 'idle', 'sequencer', 'us CPU/s', null, false, 1000),
        (48, 'idle, CPU of the launcher', 'idle', 'launcher', 'us CPU/s', null, false, 1000),
        (49, 'catching up, one member and slot', 'catching up', 'claim', 'events/s', null, true, 100000),
        (50, 'catching up, one member, 16 slots', 'catching up', 'claim_16_slots', 'events/s', null, true, 50000),
        (51, 'read_feed inside the server', 'catching up', 'read_feed', 'events/s', null, true, 300000),
        (52, 'catching up, projection that counts by day', 'catching up', 'projection', 'events/s', null, true, 100000),
        (53, 'group at the end, row versions kept', 'row versions kept % s, 16 slots, 8 members', 'end', 'events/s', 'beginning', true, 0.8),
        (54, 'aggregate_state replayed, to that by snapshots', 'aggregate_state, 10,000 events, snapshots every 100', 'replayed', 'ms, median', 'snapshot', true, 30),
        (55, 'page of 1,000 at the end of 200,000, instructions', 'instructions, feed', 'read_feed, 1,000 at the end', 'instructions/call', 'read_feed, 1,000 at the beginning', false, 1.1),
        (56, 'append with ten transitions in 1.05 times the time', 'ten transitions, 8 clients', 'append_ten', 'tps', 'append_plain', true, 0.95),
        (57, 'append that checks a lease in 1.2 times the time', 'a lease checked, 8 clients', 'append_leased', 'tps', 'append_own', true, 0.83),
        (58, 'acquire and release, of two appends', 'acquire and release, 8 clients', 'acquire_release', 'tps', 'two_appends', true, 0.5),
        (59, '64 callers on one lease, turns, most - fewest', '64 callers, one lease', 'wait_for_lease', 'turns, most - fewest', null, false, 2),
        (60, 'append with ten transitions, instructions', 'instructions, callers', 'append_ten', 'instructions/call', 'append_plain', false, 1.05),
        (61, 'append that checks a lease, instructions', 'instructions, callers', 'append_leased', 'instructions/call', 'append_own', false, 1.2),
        (62, 'acquire and release, instructions of two appends', 'instructions, callers', 'acquire_release', 'instructions/call', 'two_appends', false, 2),
        (63, 'movements a second, 16 callers', 'movements, 16 callers', 'tcc', 'tps', null, true, 500),
        (64, 'movement, latency', 'movements, 16 callers', 'tcc', 'ms, median', 'transfer', false, 6),
        (65, 'movements beside a server that answers after 1 s', 'movements to b, c answers after 1 s', 'disturbed', 'tps', 'undisturbed', true, 0.9),
        (66, 'appends on accounts in movements, tcc', 'appends beside 200 movements/s, tcc', 'same_accounts', 'tps', 'other_accounts', true, 0.95),
        (67, 'all settled after the return, s', 'recovery, 16 callers', 'move', 's', null, false, 2),
        (68, 'movements at the end, row versions kept', 'movements, row versions kept % s', 'end', 'movements/s', 'beginning', true, 0.8),
        (69, 'append_event on the owning node, 1 client', 'nodes, append_event, 1 client', 'owner', 'tps', 'plain', true, 0.92),
        (70, 'append_event on the owning node, 16 clients', 'nodes, append_event, 16 clients', 'owner', 'tps', 'plain', true, 0.88),
        (71, 'submit_event on the owning node, 16 clients', 'nodes, submit_event, 16 clients', 'owner', 'tps', 'plain', true, 0.9),
        (72, 'transfer in a node', 'nodes, transfer in a node, %', 'owner', 'tps', 'plain', true, 0.85),
        (73, 'append_event through the coordinator, 1 client', 'nodes, append_event, 1 client', 'coordinator', 'tps', 'plain', true, 0.5),
        (74, 'append_event through the coordinator, 16 clients', 'nodes, append_event, 16 clients', 'coordinator', 'tps', 'plain', true, 0.4),
        (75, 'get_balance through the coordinator, latency', 'nodes, get_balance, 1 client', 'coordinator', 'ms, median', 'plain', false, 2),
        (76, 'transfer across nodes', 'nodes, transfer across, %', 'owner', 'tps', 'plain', true, 0.25),
        (77, 'CPU of an append, two nodes called for their own', 'nodes, CPU of an append, on the owning node', 'two_workers', 'of plain', 'one_worker', false, 1.05),
        (78, 'CPU of an append, three nodes called for their own', 'nodes, CPU of an append, on the owning node', 'three_workers', 'of plain', 'one_worker', false, 1.05),
        (79, 'CPU of an append, two nodes called by the coordinator', 'nodes, CPU of an append, workers called by the coordinator', 'two_workers', 'of plain', 'one_worker', false, 1.05),
        (80, 'CPU of an append, three nodes called by the coordinator', 'nodes, CPU of an append, workers called by the coordinator', 'three_workers', 'of plain', 'one_worker', false, 1.05)
       ) t(n, target, workload, contender, unit, against, at_least, bound)
  JOIN summary s ON s.workload LIKE t.workload AND (s.contender, s.unit) = (t.contender, t.unit)
  LEFT JOIN ratio r ON (r.workload, r.contender, r.unit, r.against) = (s.workload, s.contender, s.unit, t.against),
       LATERAL (SELECT round(CASE WHEN t.against IS NOT NULL THEN r.ratio WHEN t.n < 40 THEN s.max ELSE s.median END::numeric, 2)) v(reached),
       LATERAL (SELECT CASE WHEN t.bound >= 1000 THEN 'FM99,999,990' ELSE 'FM999,990.00' END) f(format)
 ORDER BY t.n, s.id;
