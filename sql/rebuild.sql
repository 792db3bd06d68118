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

-- events that are inconsistent say nothing, unless that is forced; what is all right by them is not refused
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = amount + 3 WHERE aggregate_id = 'rebuild-2' AND version = 2;
SET LOCAL session_replication_role = origin;
SAVEPOINT s;
SELECT * FROM pointstore.rebuild_balance('rebuild-2');
ROLLBACK TO s;
SELECT * FROM pointstore.rebuild_balance('rebuild-2', false);
ROLLBACK TO s;
SELECT * FROM pointstore.rebuild_balance('rebuild-2', NULL);
ROLLBACK TO s;
SELECT * FROM pointstore.rebuild_balance('rebuild-2', force => true);
SELECT * FROM pointstore.rebuild_balance('rebuild-2');
ROLLBACK;

-- a clock that once was wrong: updated_at comes back to now, but not behind the last event
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET updated_at = '2100-01-01' WHERE aggregate_id IN ('rebuild-1', 'rebuild-2');
UPDATE pointstore.event_store SET created_at = '2099-01-01' WHERE aggregate_id = 'rebuild-2' AND version = 5;
SET LOCAL session_replication_role = origin;
SELECT held, available FROM pointstore.account WHERE aggregate_id = 'rebuild-1';
SELECT outcome FROM pointstore.hold('rebuild-1', 1, 'rebuild-hold', '1 hour');
SELECT h.expires_at < clock_timestamp() + interval '2 hours' AS soon FROM pointstore.hold h WHERE h.hold_id = 'rebuild-hold';
SELECT held, available FROM pointstore.account WHERE aggregate_id = 'rebuild-1';
SELECT changed FROM pointstore.rebuild_balance('rebuild-2');
SELECT updated_at = '2099-01-01' AS of_its_last_event FROM pointstore.balance WHERE aggregate_id = 'rebuild-2';
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET updated_at = '2100-01-01' WHERE aggregate_id = 'rebuild-1';
SET LOCAL session_replication_role = origin;
SELECT changed FROM pointstore.rebuild_balance('rebuild-1');
SELECT updated_at <= clock_timestamp() AS now FROM pointstore.balance WHERE aggregate_id = 'rebuild-1';
ROLLBACK;

-- an index that hides the row, or the last event: nothing is written
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.balance'::regclass;
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('rebuild-hid', 1, 5);
UPDATE pg_index SET indisready = true WHERE indrelid = 'pointstore.balance'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (-1, 'rebuild-hid', 1, 'Earned', 5, 0, 5, '{}', now(), now());
UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.event_store'::regclass;
UPDATE pointstore.balance SET version = 6, balance = 51 WHERE aggregate_id = 'rebuild-1';
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (-2, 'rebuild-1', 6, 'Earned', 10, 0, 51, '{}', now(), now());
UPDATE pg_index SET indisready = true WHERE indrelid = 'pointstore.event_store'::regclass;
COMMIT;
SET enable_seqscan = off;
SELECT * FROM pointstore.rebuild_balance('rebuild-hid');
SELECT * FROM pointstore.rebuild_balance('rebuild-1', force => true);
SET client_min_messages = warning;
CALL pointstore.rebuild_balances();
RESET client_min_messages;
RESET enable_seqscan;
BEGIN;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT aggregate_id, version, balance FROM pointstore.balance WHERE aggregate_id IN ('rebuild-1', 'rebuild-hid') ORDER BY 1;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE id < 0;
DELETE FROM pointstore.balance WHERE aggregate_id = 'rebuild-hid';
COMMIT;
SELECT old_version, new_version, new_balance FROM pointstore.rebuild_balance('rebuild-1');

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
