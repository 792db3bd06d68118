-- Pure accounts: what they hold is what their events say.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, mode, unit, max_balance) VALUES ('pure-points', 'pure', 'point', 1000);
INSERT INTO pointstore.account_kind (kind, mode, min_balance, auto_open) VALUES ('pure-free', 'pure', NULL, false);

-- opened by the first append; no balance row
SELECT outcome, version, balance, available FROM pointstore.append_event('pure-1', 'PointEarned', 100, kind => 'pure-points');
SELECT outcome, version, balance, available FROM pointstore.append_event('pure-1', 'PointSpent', -30);
SELECT outcome, version, balance, available FROM pointstore.append_event('pure-1', 'Noted', expected_version => 2);
SELECT count(*) FROM pointstore.balance WHERE aggregate_id = 'pure-1';
SELECT * FROM pointstore.pure_account WHERE aggregate_id = 'pure-1';
SELECT version, amount, held, balance_after FROM pointstore.event_store WHERE aggregate_id = 'pure-1' ORDER BY version;
SELECT aggregate_id, kind, mode, unit, version, balance, held, available, status FROM pointstore.account WHERE aggregate_id = 'pure-1';
SELECT aggregate_id, kind, mode, unit, version, balance, held, available, status,
       updated_at = (SELECT max(created_at) FROM pointstore.event_store WHERE aggregate_id = 'pure-1') AS updated_at
  FROM pointstore.get_balance('pure-1');
SELECT action FROM pointstore.account_log WHERE aggregate_id = 'pure-1';
-- opened and empty
SELECT pointstore.open_account('pure-2', 'pure-points');
SELECT version, balance, held, available, status FROM pointstore.get_balance('pure-2');

-- the same rules
SELECT outcome FROM pointstore.append_event('pure-1', 'PointSpent', -71);
SELECT outcome FROM pointstore.append_event('pure-1', 'PointEarned', 931);
SELECT outcome FROM pointstore.append_event('pure-1', 'PointSpent', -1, min_balance => 70);
SELECT outcome FROM pointstore.append_event('pure-1', 'Noted', expected_version => 2);
SELECT outcome FROM pointstore.append_event('pure-1', 'Noted', expected_version => 0);
SELECT outcome FROM pointstore.append_event('pure-1', 'Noted', kind => 'default');
SELECT outcome FROM pointstore.append_event('pure-1', 'Noted', kind => 'pure-free');
SELECT outcome FROM pointstore.append_event('pure-1', 'PointEarned', 9223372036854775807);
SELECT outcome FROM pointstore.append_event('pure-3', 'Noted', kind => 'pure-free');
SELECT outcome FROM pointstore.append_event('pure-4', 'PointSpent', -1, kind => 'pure-points');
SELECT outcome, version, balance, available FROM pointstore.try_append_event('pure-1', 'PointSpent', -71);
SELECT outcome, version, balance, available FROM pointstore.try_append_event('pure-1', 'Noted', expected_version => 7);
SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('pure-3', 'pure-4');
SELECT pointstore.open_account('pure-3', 'pure-free');
SELECT outcome, balance FROM pointstore.append_event('pure-3', 'PointSpent', -5000);

-- requests
SELECT outcome, version, balance, available FROM pointstore.append_event('pure-5', 'PointEarned', 5, request_id => 'pure-r1', kind => 'pure-points');
SELECT outcome, version, balance, available FROM pointstore.append_event('pure-5', 'PointEarned', 5, request_id => 'pure-r1', kind => 'pure-points');
SELECT outcome, version, balance, available FROM pointstore.append_event('pure-5', 'PointEarned', 6, request_id => 'pure-r1');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "pure-5", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "pure-6", "event_type": "PointEarned", "amount": 1, "kind": "pure-points"},
    {"aggregate_id": "pure-5", "event_type": "PointSpent", "amount": -6}]', 'pure-r2');
SELECT outcome, aggregate_id, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "pure-5", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "pure-6", "event_type": "PointEarned", "amount": 1, "kind": "pure-points"},
    {"aggregate_id": "pure-5", "event_type": "PointSpent", "amount": -6}]', 'pure-r2');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "pure-6", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "pure-5", "event_type": "PointSpent", "amount": -1}]');
SELECT version, balance FROM pointstore.get_balance('pure-6');

-- raw inserts into an account that is open under a pure kind
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-2', 'PointEarned', 10), ('pure-2', 'PointSpent', -4);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('pure-2', 3, 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('pure-2', 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('pure-2', 3, 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('pure-2', 6, 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-2', 'PointSpent', -8);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-2', 'PointEarned', 994);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('pure-5', 'PointEarned', 5, 'pure-r1');
\echo rows :ROW_COUNT
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('pure-5', 'PointEarned', 7, 'pure-r1');
SELECT version, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'pure-2' ORDER BY version;
COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin;
pure-2	PointEarned	100	pure-c1
pure-2	PointSpent	-7	\N
pure-2	PointEarned	100	pure-c1
\.
SELECT version, balance FROM pointstore.get_balance('pure-2');
SELECT count(*) FROM pointstore.balance WHERE aggregate_id LIKE 'pure-%';

-- many in one statement, in a transaction, given back by a savepoint
SELECT count(pointstore.append_event('pure-7', 'PointEarned', 1, kind => 'pure-points')) FROM generate_series(1, 500);
BEGIN;
SAVEPOINT s;
SELECT version, balance FROM pointstore.append_event('pure-7', 'PointEarned', 1);
ROLLBACK TO s;
SELECT version, balance FROM pointstore.append_event('pure-7', 'PointEarned', 2);
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT version, balance FROM pointstore.append_event('pure-7', 'PointEarned', 2);
SELECT version, balance FROM pointstore.append_event('pure-7', 'PointEarned', 2);
COMMIT;

-- damage is told
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.pure_account WHERE aggregate_id = 'pure-1';
SET LOCAL session_replication_role = origin;
SELECT pointstore.append_event('pure-1', 'Noted');
ROLLBACK;
