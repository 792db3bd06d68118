-- rebuild_balance and rebuild_balances.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, min_balance, unit) VALUES ('rebuild-free', NULL, 'KRW');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('rebuild-pure', 'pure');
SELECT count(pointstore.append_event('rebuild-' || g, 'PointEarned', g * 10, kind => CASE WHEN g = 3 THEN 'rebuild-free' ELSE 'default' END))
  FROM generate_series(1, 5) g, generate_series(1, 4);
SELECT count(pointstore.append_event('rebuild-p', 'PointEarned', g, kind => 'rebuild-pure')) FROM generate_series(1, 3) g;

-- what agrees is left alone
SELECT xmin AS before FROM pointstore.balance WHERE aggregate_id = 'rebuild-1' \gset
SELECT * FROM pointstore.rebuild_balance('rebuild-1');
SELECT xmin = :'before'::xid AS untouched FROM pointstore.balance WHERE aggregate_id = 'rebuild-1';
SELECT * FROM pointstore.rebuild_balance('rebuild-p');
SELECT count(*) FROM pointstore.account_log WHERE aggregate_id LIKE 'rebuild-%' AND action = 'rebuild';

-- balance, version, held and a missing row
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 999 WHERE aggregate_id = 'rebuild-1';
UPDATE pointstore.balance SET version = 2, held = 7 WHERE aggregate_id = 'rebuild-2';
DELETE FROM pointstore.balance WHERE aggregate_id = 'rebuild-3';
COMMIT;
SELECT * FROM pointstore.rebuild_balance('rebuild-1');
SELECT * FROM pointstore.rebuild_balance('rebuild-2');
SELECT * FROM pointstore.rebuild_balance('rebuild-3');
SELECT aggregate_id, kind, version, balance, held, status FROM pointstore.balance WHERE aggregate_id IN ('rebuild-1', 'rebuild-2', 'rebuild-3') ORDER BY 1;
-- once
SELECT aggregate_id, changed FROM generate_series(1, 3) g, pointstore.rebuild_balance('rebuild-' || g);
-- on the record
SELECT aggregate_id, action, before ->> 'version' AS was_version, before ->> 'balance' AS was_balance, before ->> 'held' AS was_held,
       after ->> 'version' AS version, after ->> 'balance' AS balance, after ->> 'held' AS held, by_role = current_user AS by_me
  FROM pointstore.account_log WHERE aggregate_id LIKE 'rebuild-%' AND action = 'rebuild' ORDER BY id;
-- and the accounts go on
SELECT version, balance FROM generate_series(1, 3) g, pointstore.append_event('rebuild-' || g, 'PointEarned', 1) r;

-- a frozen account stays so; what the events say may be below the floor
SELECT pointstore.freeze_account('rebuild-4', 'test');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 1 WHERE aggregate_id = 'rebuild-4';
COMMIT;
SELECT old_balance, new_balance, changed FROM pointstore.rebuild_balance('rebuild-4');
SELECT status, balance FROM pointstore.get_balance('rebuild-4');
-- a user's own columns stay
ALTER TABLE pointstore.balance ADD COLUMN rebuild_note text DEFAULT 'none';
UPDATE pointstore.balance SET rebuild_note = 'mine' WHERE aggregate_id = 'rebuild-5';
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 1 WHERE aggregate_id = 'rebuild-5';
COMMIT;
SELECT old_balance, new_balance, changed FROM pointstore.rebuild_balance('rebuild-5');
SELECT balance, rebuild_note FROM pointstore.balance WHERE aggregate_id = 'rebuild-5';
ALTER TABLE pointstore.balance DROP COLUMN rebuild_note;

-- an opened account without events; one whose events are gone
SELECT pointstore.open_account('rebuild-6');
SELECT * FROM pointstore.rebuild_balance('rebuild-6');
BEGIN;
SELECT balance FROM pointstore.append_event('rebuild-6', 'PointEarned', 5);
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rebuild-6';
SET LOCAL session_replication_role = origin;
SELECT * FROM pointstore.rebuild_balance('rebuild-6');
ROLLBACK;
-- a pure account's missing row
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.pure_account WHERE aggregate_id = 'rebuild-p';
SET LOCAL session_replication_role = origin;
SELECT new_version, new_balance, changed FROM pointstore.rebuild_balance('rebuild-p');
SELECT kind, mode, version, balance FROM pointstore.get_balance('rebuild-p');
ROLLBACK;

-- errors
SELECT * FROM pointstore.rebuild_balance('rebuild-none');
SELECT * FROM pointstore.rebuild_balance(NULL);
SELECT * FROM pointstore.rebuild_balance('');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = 9223372036854775807 WHERE aggregate_id = 'rebuild-1' AND version IN (1, 2);
SET LOCAL session_replication_role = origin;
SELECT * FROM pointstore.rebuild_balance('rebuild-1');
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM pointstore.rebuild_balance('rebuild-1');
ROLLBACK;

-- every account, in batches that commit
SELECT count(pointstore.append_event('rebuild-many-' || g, 'PointEarned', g)) FROM generate_series(1, 3000) g;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id LIKE 'rebuild-many-%';
DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'rebuild-many-1%0';
COMMIT;
BEGIN;
CALL pointstore.rebuild_balances();
ROLLBACK;
SET client_min_messages = warning;      -- a NOTICE for each batch
CALL pointstore.rebuild_balances();
CALL pointstore.rebuild_balances();
RESET client_min_messages;
SELECT count(*), count(DISTINCT aggregate_id) FROM pointstore.account_log WHERE aggregate_id LIKE 'rebuild-many-%' AND action = 'rebuild';
SELECT count(*) FROM pointstore.balance WHERE aggregate_id LIKE 'rebuild-many-%';
SELECT count(*) FROM pointstore.balance b
 WHERE (version, balance, held) <>
       (SELECT count(*), coalesce(sum(amount), 0), coalesce(sum(held), 0) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id);

-- events that sum to more than a bigint: that account is left as it is, with a WARNING, and the others are done
CREATE TEMP TABLE kept AS SELECT aggregate_id, version, amount FROM pointstore.event_store WHERE aggregate_id = 'rebuild-1';
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = 9223372036854775807 WHERE aggregate_id = 'rebuild-1' AND version IN (1, 2);
UPDATE pointstore.balance SET balance = 1 WHERE aggregate_id = 'rebuild-2';
COMMIT;
SET client_min_messages = warning;
CALL pointstore.rebuild_balances();
RESET client_min_messages;
SELECT aggregate_id, version, balance FROM pointstore.balance WHERE aggregate_id IN ('rebuild-1', 'rebuild-2') ORDER BY 1;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store e SET amount = k.amount FROM kept k WHERE (e.aggregate_id, e.version) = (k.aggregate_id, k.version);
COMMIT;
SELECT changed FROM pointstore.rebuild_balance('rebuild-1');
