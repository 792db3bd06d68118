-- The triggers on the store's tables, against the owner and a superuser.
\set VERBOSITY sqlstate
SELECT version, balance FROM pointstore.append_event('guard-1', 'PointEarned', 1000);
SELECT version, balance FROM pointstore.append_event('guard-1', 'PointSpent', -100);
INSERT INTO pointstore.account_kind (kind, max_balance) VALUES ('guard-limited', 2000), ('guard-unused', NULL);
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('guard-pure', 'pure');
SELECT balance FROM pointstore.append_event('guard-p', 'PointEarned', 10, kind => 'guard-pure');

-- events are append-only
UPDATE pointstore.event_store SET amount = 1 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.event_store SET metadata = '{"late": true}' WHERE aggregate_id = 'guard-1';
UPDATE pointstore.event_store SET id = id WHERE aggregate_id = 'guard-1';
DELETE FROM pointstore.event_store WHERE aggregate_id = 'guard-1';
TRUNCATE pointstore.event_store;
TRUNCATE pointstore.event_store CASCADE;
TRUNCATE pointstore.account_log, pointstore.event_store;
-- balances and accounts are not taken away
DELETE FROM pointstore.balance WHERE aggregate_id = 'guard-1';
TRUNCATE pointstore.balance;
DELETE FROM pointstore.pure_account WHERE aggregate_id = 'guard-p';
TRUNCATE pointstore.pure_account;
-- nor is the log
UPDATE pointstore.account_log SET reason = 'none' WHERE aggregate_id = 'guard-1';
DELETE FROM pointstore.account_log WHERE aggregate_id = 'guard-1';
TRUNCATE pointstore.account_log;
TRUNCATE pointstore.account_kind;

-- a balance changes by version + 1 only
UPDATE pointstore.balance SET balance = 5 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET version = version + 2 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET version = version - 1 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET balance = 5, version = version + 2 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET balance = 5, version = 0 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET version = NULL WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET balance = NULL, version = version + 1 WHERE aggregate_id = 'guard-1';
-- and held, status, kind and name by functions alone
UPDATE pointstore.balance SET held = 1 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET held = 1, version = version + 1 WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET status = 'frozen' WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET kind = 'guard-limited' WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET next_expiry = now() WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET aggregate_id = 'guard-2' WHERE aggregate_id = 'guard-1';
UPDATE pointstore.pure_account SET status = 'frozen' WHERE aggregate_id = 'guard-p';
UPDATE pointstore.pure_account SET kind = 'default' WHERE aggregate_id = 'guard-p';
UPDATE pointstore.pure_account SET aggregate_id = 'guard-2' WHERE aggregate_id = 'guard-p';
-- floor and ceiling, frozen and closed hold at the update
UPDATE pointstore.balance SET balance = -1, version = version + 1 WHERE aggregate_id = 'guard-1';
SELECT pointstore.set_kind('guard-1', 'guard-limited');
UPDATE pointstore.balance SET balance = 2001, version = version + 1 WHERE aggregate_id = 'guard-1';
BEGIN;
UPDATE pointstore.balance SET balance = 2000, version = version + 1 WHERE aggregate_id = 'guard-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'PointEarned');
COMMIT;
SELECT pointstore.freeze_account('guard-1', 'test');
UPDATE pointstore.balance SET balance = 1999, version = version + 1 WHERE aggregate_id = 'guard-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'Noted');
SELECT pointstore.unfreeze_account('guard-1', 'test');
SELECT pointstore.open_account('guard-3');
SELECT pointstore.close_account('guard-3');
UPDATE pointstore.balance SET balance = 1, version = version + 1 WHERE aggregate_id = 'guard-3';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-3', 'Noted');
-- frozen between the change and its event, in one transaction
BEGIN;
UPDATE pointstore.balance SET balance = 1, version = version + 1 WHERE aggregate_id = 'guard-1';
SELECT pointstore.freeze_account('guard-1', 'test');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'PointSpent');
ROLLBACK;
SELECT version, balance, status FROM pointstore.get_balance('guard-1');

-- an update that changes nothing is free; updated_at is the store's
UPDATE pointstore.balance SET balance = balance, version = version WHERE aggregate_id = 'guard-1';
UPDATE pointstore.balance SET updated_at = '2000-01-01' WHERE aggregate_id = 'guard-1';
BEGIN;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1, updated_at = '2000-01-01' WHERE aggregate_id = 'guard-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'PointSpent');
COMMIT;
SELECT b.updated_at > '2026-01-01' AS kept,
       b.updated_at >= (SELECT max(created_at) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id) AS not_before
  FROM pointstore.balance b WHERE b.aggregate_id = 'guard-1';

-- a balance row of one's own: empty it needs no event
INSERT INTO pointstore.balance (aggregate_id) VALUES ('guard-4');
INSERT INTO pointstore.balance (aggregate_id, kind, version, balance, held, status) VALUES ('guard-5', 'guard-limited', 0, 0, 0, 'open');
SELECT aggregate_id, kind, mode, version, balance, status FROM pointstore.account WHERE aggregate_id IN ('guard-4', 'guard-5') ORDER BY 1;
SELECT aggregate_id, action, after ->> 'kind' AS kind FROM pointstore.account_log WHERE aggregate_id IN ('guard-4', 'guard-5') ORDER BY 1;
SELECT version, balance FROM pointstore.append_event('guard-4', 'PointEarned', 1, expected_version => 0);
-- with a balance it is version 1, and needs it
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('guard-6', 1, 50);
BEGIN;
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('guard-6', 1, 50);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('guard-6', 1, 'Brought');
COMMIT;
SELECT version, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'guard-6';
INSERT INTO pointstore.balance (aggregate_id, balance) VALUES ('guard-7', 50);
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('guard-7', 2, 50);
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('guard-7', -1, 0);
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('guard-7', 1, -50);
INSERT INTO pointstore.balance (aggregate_id, kind, version, balance) VALUES ('guard-7', 'guard-limited', 1, 2001);
INSERT INTO pointstore.balance (aggregate_id, held) VALUES ('guard-7', 1);
INSERT INTO pointstore.balance (aggregate_id, next_expiry) VALUES ('guard-7', now());
INSERT INTO pointstore.balance (aggregate_id, status) VALUES ('guard-7', 'closed');
INSERT INTO pointstore.balance (aggregate_id, status) VALUES ('guard-7', 'melted');
INSERT INTO pointstore.balance (aggregate_id, kind) VALUES ('guard-7', 'no-such-kind');
INSERT INTO pointstore.balance (aggregate_id, kind) VALUES ('guard-7', 'guard-pure');
INSERT INTO pointstore.balance (aggregate_id) VALUES ('');
INSERT INTO pointstore.balance (aggregate_id) VALUES (repeat('x', 513));
INSERT INTO pointstore.balance (aggregate_id) VALUES ('guard-1');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'guard-7';
-- likewise a pure one; no name is in both
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('guard-8', 'guard-pure');
SELECT aggregate_id, kind, mode, version, balance, status FROM pointstore.account WHERE aggregate_id = 'guard-8';
SELECT action FROM pointstore.account_log WHERE aggregate_id = 'guard-8';
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('guard-9', 'default');
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('guard-9', 'no-such-kind');
INSERT INTO pointstore.pure_account (aggregate_id, kind, status) VALUES ('guard-9', 'guard-pure', 'closed');
DO $$
BEGIN
    INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('guard-1', 'guard-pure');
    RAISE 'a name in both tables';
EXCEPTION WHEN raise_exception THEN RAISE;
    WHEN others THEN NULL;
END$$;
DO $$
BEGIN
    INSERT INTO pointstore.balance (aggregate_id) VALUES ('guard-8');
    RAISE 'a name in both tables';
EXCEPTION WHEN raise_exception THEN RAISE;
    WHEN others THEN NULL;
END$$;
SELECT aggregate_id, mode FROM pointstore.account WHERE aggregate_id IN ('guard-1', 'guard-8') ORDER BY 1;

-- a used kind keeps name, mode and unit; the rest of it is the DBA's
UPDATE pointstore.account_kind SET unit = 'seat' WHERE kind = 'guard-limited';
UPDATE pointstore.account_kind SET mode = 'pure' WHERE kind = 'guard-limited';
UPDATE pointstore.account_kind SET kind = 'guard-renamed' WHERE kind = 'guard-limited';
DELETE FROM pointstore.account_kind WHERE kind = 'guard-limited';
UPDATE pointstore.account_kind SET mode = 'hybrid' WHERE kind = 'guard-pure';
DELETE FROM pointstore.account_kind WHERE kind = 'guard-pure';
UPDATE pointstore.account_kind SET max_balance = 3000, min_balance = -1, auto_open = false, on_mismatch = 'freeze', source_of_truth = 'balance'
 WHERE kind = 'guard-limited';
UPDATE pointstore.account_kind SET mode = 'pure' WHERE kind = 'guard-unused';
UPDATE pointstore.account_kind SET kind = 'guard-unused-2' WHERE kind = 'guard-unused';
DELETE FROM pointstore.account_kind WHERE kind = 'guard-unused-2';
-- a kind's own columns are checked
INSERT INTO pointstore.account_kind (kind) VALUES ('');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('guard-bad', 'both');
INSERT INTO pointstore.account_kind (kind, min_balance, max_balance) VALUES ('guard-bad', 2, 1);
INSERT INTO pointstore.account_kind (kind, source_of_truth) VALUES ('guard-bad', 'oracle');
INSERT INTO pointstore.account_kind (kind, on_mismatch) VALUES ('guard-bad', 'ignore');
INSERT INTO pointstore.account_kind (kind) VALUES (NULL);

-- the one way round is PostgreSQL's own
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = 1 WHERE aggregate_id = 'guard-1' AND version = 1;
\echo rows :ROW_COUNT
DELETE FROM pointstore.balance WHERE aggregate_id = 'guard-1';
\echo rows :ROW_COUNT
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.event_store DISABLE TRIGGER USER;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'guard-1';
\echo rows :ROW_COUNT
ROLLBACK;
-- they are plain origin triggers
SELECT tgenabled, count(*) > 0 AS some FROM pg_trigger
 WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace) GROUP BY 1;

-- damage is not taken for a new account
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.balance WHERE aggregate_id = 'guard-1';
SET LOCAL session_replication_role = origin;
SAVEPOINT s;
SELECT pointstore.append_event('guard-1', 'PointEarned', 1);
ROLLBACK TO s;
SELECT pointstore.try_append_event('guard-1', 'PointEarned', 1);
ROLLBACK TO s;
SELECT pointstore.append_events('[{"aggregate_id": "guard-1", "event_type": "Noted"}, {"aggregate_id": "guard-4", "event_type": "Noted"}]');
ROLLBACK TO s;
SELECT pointstore.open_account('guard-1');
ROLLBACK TO s;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'Noted');
ROLLBACK TO s;
INSERT INTO pointstore.balance (aggregate_id) VALUES ('guard-1');
ROLLBACK;
-- nor does a row behind or ahead of its events go on
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET version = version - 1 WHERE aggregate_id = 'guard-1';
SET LOCAL session_replication_role = origin;
SAVEPOINT s;
SELECT pointstore.append_event('guard-1', 'Noted');
ROLLBACK TO s;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'Noted');
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET version = version + 1 WHERE aggregate_id = 'guard-1';
SET LOCAL session_replication_role = origin;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('guard-1', 'Noted');
ROLLBACK;
