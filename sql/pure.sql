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

-- a trigger that appends to the account whose next version is being claimed, or with the request
-- that is being written, would do so at each attempt: 27000
CREATE FUNCTION pure_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pointstore.append_event(CASE NEW.event_type WHEN 'Paid' THEN NEW.aggregate_id ELSE 'pure-5' END, 'Fee', 1, request_id => NEW.request_id);
    RETURN NEW;
END $$;
CREATE TRIGGER pure_fee BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type IN ('Paid', 'Twin')) EXECUTE FUNCTION pure_fee();
SET statement_timeout = '60s';
SELECT version FROM pointstore.append_event('pure-7', 'Paid', 1);
SELECT version FROM pointstore.append_events('[{"aggregate_id": "pure-7", "event_type": "Paid"}, {"aggregate_id": "pure-hybrid", "event_type": "Noted"}]');
SELECT version FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'pure-7', 'event_type', 'Paid')) FROM generate_series(1, 20)));
SELECT version FROM pointstore.append_event('pure-7', 'Twin', 1, request_id => 'pure-twin');
SELECT version FROM pointstore.append_event('pure-hybrid', 'Twin', 1, request_id => 'pure-twin');
SELECT version FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'pure-hybrid', 'event_type', 'Twin', 'request_id', 'pure-' || n)) FROM generate_series(1, 20) n));
SELECT version FROM pointstore.append_event('pure-hybrid', 'Paid', 1);
DROP TRIGGER pure_fee ON pointstore.event_store;
CREATE TRIGGER pure_fee AFTER INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type = 'Paid') EXECUTE FUNCTION pure_fee();
SELECT version FROM pointstore.append_event('pure-7', 'Paid', 1);
RESET statement_timeout;
DROP TRIGGER pure_fee ON pointstore.event_store;
-- so is a trigger that opens the account which is being opened
CREATE FUNCTION pure_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        PERFORM pointstore.open_account(NEW.aggregate_id, NEW.kind);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pure_open BEFORE INSERT ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION pure_open();
CREATE TRIGGER pure_open BEFORE INSERT ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pure_open();
SELECT version FROM pointstore.append_event('pure-opened', 'Noted', kind => 'pure-points');
SELECT version FROM pointstore.append_event('pure-opened', 'Noted');
SELECT pointstore.open_account('pure-opened');
DROP TRIGGER pure_open ON pointstore.pure_account;
DROP TRIGGER pure_open ON pointstore.balance;
DROP FUNCTION pure_fee(), pure_open();
-- one that changes a column of the user's own in the account's row does not keep its event from being appended
ALTER TABLE pointstore.pure_account ADD COLUMN seen integer NOT NULL DEFAULT 0;
CREATE FUNCTION pure_seen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pointstore.pure_account SET seen = seen + 1 WHERE aggregate_id = NEW.aggregate_id;
    RETURN NEW;
END $$;
CREATE TRIGGER pure_seen BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pure_seen();
SET statement_timeout = '60s';
SELECT version FROM pointstore.append_event('pure-seen', 'Noted', 1, kind => 'pure-points');
SELECT version FROM pointstore.append_event('pure-seen', 'Noted', 1);
SELECT version FROM pointstore.append_events('[{"aggregate_id": "pure-seen", "event_type": "Noted"}, {"aggregate_id": "pure-hybrid", "event_type": "Noted"}, {"aggregate_id": "pure-seen", "event_type": "Noted"}]');
SELECT seen FROM pointstore.pure_account WHERE aggregate_id = 'pure-seen';
DROP TRIGGER pure_seen ON pointstore.event_store;
DROP FUNCTION pure_seen();
ALTER TABLE pointstore.pure_account DROP COLUMN seen;
-- one that closes or freezes the account whose event is not there yet, so that something would be left in it: 27000, on every path
CREATE FUNCTION pure_shut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_type = 'Last' THEN
        PERFORM pointstore.close_account(NEW.aggregate_id);
    ELSE
        PERFORM pointstore.freeze_account(NEW.aggregate_id, 'seen');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER zzz_pure_shut BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type IN ('Last', 'Seen')) EXECUTE FUNCTION pure_shut();
SELECT pointstore.open_account('pure-shut', 'pure-points'), pointstore.open_account('pure-shut-hybrid');
SELECT version FROM pointstore.append_event('pure-shut', 'Last', 1);
SELECT version FROM pointstore.append_event('pure-shut', 'Seen', 1);
SELECT version FROM pointstore.append_event('pure-shut-new', 'Last', 1, kind => 'pure-points');
SELECT version FROM pointstore.append_events('[{"aggregate_id": "pure-shut", "event_type": "Noted"}, {"aggregate_id": "pure-shut", "event_type": "Last", "amount": 1}]');
BEGIN;
SELECT version FROM pointstore.append_event('pure-shut', 'Noted');
SELECT version FROM pointstore.append_event('pure-shut', 'Last', 1);
ROLLBACK;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-shut', 'Last', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-shut-hybrid', 'Last', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-shut-hybrid', 'Noted', 1), ('pure-shut-hybrid', 'Seen', 1);
DROP TRIGGER zzz_pure_shut ON pointstore.event_store;
CREATE TRIGGER "A_pure_shut" AFTER INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type IN ('Last', 'Seen')) EXECUTE FUNCTION pure_shut();
SELECT version FROM pointstore.append_event('pure-shut', 'Seen', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('pure-shut-hybrid', 'Noted', 1), ('pure-shut-hybrid', 'Seen', 1);
SELECT aggregate_id, version, balance, status FROM pointstore.account WHERE aggregate_id LIKE 'pure-shut%' ORDER BY 1;
DROP TRIGGER "A_pure_shut" ON pointstore.event_store;
DROP FUNCTION pure_shut();
RESET statement_timeout;
SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('pure-hybrid', 'pure-opened');
