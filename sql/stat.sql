-- What pg_stat_pointstore counts. Without preloading it is empty (stat_1.out).
\set VERBOSITY sqlstate
SELECT current_setting('shared_preload_libraries') ~ 'pointstore' AS preloaded \gset
\if :preloaded
\else
SELECT count(*) FROM pointstore.pg_stat_pointstore;
SELECT pointstore.pg_stat_pointstore_reset();
\q
\endif
CREATE VIEW stat AS SELECT appends, replays, version_conflicts AS ps001, request_mismatches AS ps002, insufficient_balance AS ps003, account_frozen AS ps004,
       account_closed AS ps005, account_missing AS ps008, balance_limit AS ps009, not_allowed AS ps011, combined_batches, combined_events, avg_batch, given_back
  FROM pointstore.pg_stat_pointstore WHERE database = current_database();
INSERT INTO pointstore.account_kind (kind, mode, max_balance, auto_open) VALUES ('stat-capped', 'hybrid', 100, true), ('stat-by-hand', 'hybrid', NULL, false),
       ('stat-pure', 'pure', NULL, true);

-- from here on
SELECT now() AS before \gset
SELECT pointstore.pg_stat_pointstore_reset();
SELECT * FROM stat;
SELECT stats_reset >= :'before', avg_batch, avg_wait FROM pointstore.pg_stat_pointstore WHERE database = current_database();

-- each answer of a single append, as a receipt and as an error
SELECT outcome FROM pointstore.append_event('stat-1', 'PointEarned', 100, request_id => 'stat-r1');
SELECT outcome FROM pointstore.append_event('stat-1', 'PointEarned', 100, request_id => 'stat-r1');
SELECT outcome FROM pointstore.append_event('stat-2', 'PointEarned', 100, kind => 'stat-capped');
SELECT outcome FROM pointstore.append_event('stat-3', 'PointEarned', 100, kind => 'stat-pure');
SELECT * FROM stat;
SELECT outcome FROM pointstore.try_append_event('stat-1', 'PointEarned', 1, expected_version => 7);
SELECT pointstore.append_event('stat-3', 'PointEarned', 1, expected_version => 7);
SELECT outcome FROM pointstore.try_append_event('stat-1', 'PointEarned', 101, request_id => 'stat-r1');
SELECT pointstore.append_event('stat-2', 'PointEarned', 100, request_id => 'stat-r1');
SELECT pointstore.append_event('stat-2', 'PointSpent', 100, request_id => 'stat-r1');
SELECT outcome FROM pointstore.try_append_event('stat-1', 'PointSpent', -101);
SELECT pointstore.append_event('stat-1', 'PointSpent', -101);
SELECT pointstore.append_event('stat-1', 'PointSpent', -101);
SELECT outcome FROM pointstore.try_append_event('stat-3', 'PointSpent', -101);
SELECT outcome FROM pointstore.try_append_event('stat-2', 'PointEarned', 1);
SELECT outcome FROM pointstore.try_append_event('stat-4', 'PointEarned', 1, kind => 'stat-by-hand');
SELECT * FROM stat;
SELECT pointstore.freeze_account('stat-2', 'test'), pointstore.open_account('stat-5'), pointstore.close_account('stat-5');
SELECT outcome FROM pointstore.try_append_event('stat-2', 'PointEarned', 1);
SELECT outcome FROM pointstore.try_append_event('stat-5', 'PointEarned', 1);
SELECT pointstore.append_event('stat-5', 'PointEarned', 1);
SELECT * FROM stat;

-- errors in every form of the call are not counted
SELECT pointstore.try_append_event('stat-1', '');
SELECT pointstore.try_append_event('stat-1', 'PointEarned', 9223372036854775807);
SELECT pointstore.try_append_event('stat-1', 'PointEarned', 1, kind => 'stat-capped');
SELECT * FROM stat;

-- several events: each of them, or the one refusal
SELECT pointstore.pg_stat_pointstore_reset();
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "stat-6", "event_type": "Moved", "amount": 3},
    {"aggregate_id": "stat-3", "event_type": "Moved", "amount": -1}, {"aggregate_id": "stat-7", "event_type": "Moved", "amount": -2, "min_balance": -2}]', 'stat-r2');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "stat-6", "event_type": "Moved", "amount": 3},
    {"aggregate_id": "stat-3", "event_type": "Moved", "amount": -1}, {"aggregate_id": "stat-7", "event_type": "Moved", "amount": 2}]', 'stat-r2');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "stat-6", "event_type": "Moved", "amount": 3},
    {"aggregate_id": "stat-3", "event_type": "Moved", "amount": -3}]', 'stat-r2');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "stat-6", "event_type": "Moved", "amount": 3},
    {"aggregate_id": "stat-3", "event_type": "Moved", "amount": -1}, {"aggregate_id": "stat-7", "event_type": "Moved", "amount": 2}]', 'stat-r2');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "stat-6", "event_type": "Moved", "request_id": "stat-r3"},
    {"aggregate_id": "stat-6", "event_type": "Moved", "request_id": "stat-r3"}, {"aggregate_id": "stat-3", "event_type": "Moved", "request_id": "stat-r4"}]');
SELECT pointstore.append_events('[]');
SELECT * FROM stat;

-- what is rolled back stays counted
SELECT pointstore.pg_stat_pointstore_reset();
BEGIN;
SELECT outcome FROM pointstore.append_event('stat-1', 'PointEarned', 1);
SAVEPOINT s;
SELECT outcome FROM pointstore.append_event('stat-1', 'PointEarned', 1);
ROLLBACK TO s;
ROLLBACK;
SELECT appends FROM stat;

-- the tables: rows that are stored, repeats that are skipped, refusals
SELECT pointstore.pg_stat_pointstore_reset();
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('stat-8', 'Moved', 5, 'stat-r5'), ('stat-8', 'Moved', 5, 'stat-r6'), ('stat-3', 'Moved', 1, NULL);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('stat-8', 'Moved', 5, 'stat-r5'), ('stat-8', 'Moved', 5, 'stat-r7') ON CONFLICT DO NOTHING;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('stat-8', 'Moved', 6, 'stat-r5');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('stat-8', 9, 'Moved');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('stat-8', 'Moved', -100);
BEGIN;
UPDATE pointstore.balance SET balance = 20, version = 4 WHERE aggregate_id = 'stat-8';
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('stat-8', 4, 'Moved');
COMMIT;
SELECT * FROM stat;

-- holds: their steps, those of a sweep too; a late try is not allowed
SELECT pointstore.pg_stat_pointstore_reset();
SELECT count(pointstore.append_event('stat-h', 'Earned', 100)), count(pointstore.hold('stat-h', 1, 'stat-h' || i, '1 ms')), count(pointstore.cancel_hold('stat-tomb' || i)) FROM generate_series(1, 3) i;
SELECT FROM pg_sleep(0.01);
CALL pointstore.sweep_holds();
SELECT outcome FROM pointstore.try_hold('stat-h', 1, 'stat-tomb1');
SELECT pointstore.hold('stat-h', 1, 'stat-tomb2');
SELECT outcome FROM pointstore.hold('stat-h', 1, 'stat-h1');
SELECT outcome FROM pointstore.cancel_hold('stat-h1');
SELECT * FROM stat;

-- combined: batches of one here, once a combiner has come
DO $$
BEGIN
    FOR n IN 1 .. 100 LOOP
        PERFORM pointstore.submit_event('stat-9', 'Noted');
        COMMIT;
        EXIT WHEN (SELECT combined_events > 0 FROM stat);
    END LOOP;
END $$;
SELECT pointstore.pg_stat_pointstore_reset();
SELECT outcome FROM pointstore.submit_event('stat-9', 'PointEarned', 5, request_id => 'stat-r8');
SELECT outcome FROM pointstore.submit_event('stat-9', 'PointEarned', 5, request_id => 'stat-r8');
SELECT outcome FROM pointstore.try_submit_event('stat-9', 'PointEarned', 6, request_id => 'stat-r8');
SELECT pointstore.submit_event('stat-9', 'PointSpent', -6);
SELECT outcome FROM pointstore.try_submit_event('stat-9', 'PointSpent', -6);
ALTER TABLE pointstore.event_store ADD CONSTRAINT stat_small CHECK (amount < 100000) NOT VALID;
SELECT pointstore.submit_event('stat-9', 'PointEarned', 100000);
ALTER TABLE pointstore.event_store DROP CONSTRAINT stat_small;
SELECT * FROM stat;
SELECT avg_wait > 0 AND avg_wait < 60000 AS waited FROM pointstore.pg_stat_pointstore WHERE database = current_database();
-- too large for a combiner: nothing to give back
SELECT outcome FROM pointstore.submit_event('stat-9', 'PointEarned', 1, jsonb_build_object('long', repeat('x', 10000)));
SELECT appends, combined_events, given_back FROM stat;

-- what is merged is appended too; what a function is to merge the combiner gives back; a check is no event
CREATE FUNCTION stat_merge(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb LANGUAGE sql RETURN proposed;
INSERT INTO pointstore.account_kind (kind, commuting, merge) VALUES ('stat-merge', '{Liked}', 'stat_merge');
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "stat-m", "event_type": "Noted", "kind": "stat-merge"}, {"aggregate_id": "stat-m", "event_type": "Liked"}]');
SELECT pointstore.pg_stat_pointstore_reset();
SELECT outcome FROM pointstore.append_event('stat-m', 'Liked', expected_version => 1);
SELECT outcome FROM pointstore.submit_event('stat-m', 'Liked', expected_version => 1);
SELECT appends, merges, combined_events, given_back FROM pointstore.pg_stat_pointstore WHERE database = current_database();
SELECT outcome FROM pointstore.submit_event('stat-m', 'Noted', expected_version => 1);
SELECT outcome FROM pointstore.append_events('[{"check": true, "aggregate_id": "stat-m", "expected_version": 5}]');
SELECT appends, merges, combined_events, given_back FROM pointstore.pg_stat_pointstore WHERE database = current_database();
UPDATE pointstore.account_kind SET merge = NULL WHERE kind = 'stat-merge';
DROP FUNCTION stat_merge(jsonb, bigint, pointstore.event[]);

-- who may see and reset it
CREATE ROLE regress_pointstore_stat_reader;
CREATE ROLE regress_pointstore_stat_operator;
SELECT pointstore.grant_access('regress_pointstore_stat_reader', 'reader'), pointstore.grant_access('regress_pointstore_stat_operator', 'operator');
SET ROLE regress_pointstore_stat_reader;
SELECT appends FROM pointstore.pg_stat_pointstore WHERE database = current_database();
SELECT pointstore.pg_stat_pointstore_reset();
SET ROLE regress_pointstore_stat_operator;
SELECT pointstore.pg_stat_pointstore_reset();
SELECT appends FROM pointstore.pg_stat_pointstore WHERE database = current_database();
RESET ROLE;
DROP OWNED BY regress_pointstore_stat_reader, regress_pointstore_stat_operator;
DROP ROLE regress_pointstore_stat_reader, regress_pointstore_stat_operator;
DROP VIEW stat;
