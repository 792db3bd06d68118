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
-- not frozen between the change and its event, in one transaction
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

-- what is called while a statement's events are not settled finds the account as they leave it
CREATE FUNCTION guard_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE NEW.payload ->> 'then'
        WHEN 'fee' THEN PERFORM pointstore.append_event(NEW.aggregate_id, 'Fee', -1);
        WHEN 'fees' THEN PERFORM pointstore.append_events(jsonb_build_array(
            jsonb_build_object('aggregate_id', NEW.aggregate_id, 'event_type', 'Fee', 'amount', -1),
            jsonb_build_object('aggregate_id', 'guard-f0', 'event_type', 'Fee', 'amount', 1)));
        WHEN 'hold' THEN PERFORM pointstore.hold(NEW.aggregate_id, 3, 'guard-h' || NEW.version);
        WHEN 'transfer' THEN PERFORM pointstore.transfer(NEW.aggregate_id, 'guard-f0', 1);
        WHEN 'reverse' THEN PERFORM pointstore.reverse_event(NEW.aggregate_id, NEW.version, 1);
        WHEN 'close' THEN PERFORM pointstore.close_account(NEW.aggregate_id);
        WHEN 'freeze' THEN PERFORM pointstore.freeze_account(NEW.aggregate_id, 'test');
        WHEN 'kind' THEN PERFORM pointstore.set_kind(NEW.aggregate_id, 'guard-limited');
        WHEN 'rebuild' THEN IF (SELECT changed FROM pointstore.rebuild_balance(NEW.aggregate_id)) THEN RAISE 'rebuilt'; END IF;
        WHEN 'insert' THEN INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES (NEW.aggregate_id, 'Fee', -1);
        WHEN 'update' THEN UPDATE pointstore.balance SET balance = NEW.balance_after, version = NEW.version WHERE aggregate_id = NEW.aggregate_id;
        WHEN 'update wrongly' THEN UPDATE pointstore.balance SET balance = 0, version = NEW.version WHERE aggregate_id = NEW.aggregate_id;
        ELSE NULL;
    END CASE;
    RETURN NEW;
END$$;
CREATE TRIGGER guard_follow AFTER INSERT ON pointstore.event_store FOR EACH ROW
    WHEN (NEW.payload ? 'then') EXECUTE FUNCTION guard_follow();
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
SELECT 'guard-f-' || what, 'Sold', amount, jsonb_build_object('then', what)
  FROM unnest(ARRAY['fee', 'fees', 'hold', 'transfer', 'reverse', 'freeze', 'kind', 'rebuild', 'insert', 'update']) WITH ORDINALITY w(what, n),
       unnest(ARRAY[10, 20]) amount ORDER BY n, amount;
SELECT a.aggregate_id, a.version, a.balance, a.held, a.status, a.version = count(*) AND a.balance = sum(e.amount) AND a.held = sum(e.held) AS agrees
  FROM pointstore.account a JOIN pointstore.event_store e USING (aggregate_id) WHERE a.aggregate_id LIKE 'guard-f%' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
VALUES ('guard-f1', 'Sold', 10, '{"then": "update wrongly"}'), ('guard-f1', 'Sold', 20, '{}');
-- so nothing is closed with something in it
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
VALUES ('guard-f1', 'Sold', 10, '{"then": "close"}'), ('guard-f1', 'Noted', 0, '{}');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
VALUES ('guard-f1', 'Sold', 10, '{"then": "close"}'), ('guard-f1', 'Spent', -10, '{}');
SELECT version, balance, status FROM pointstore.get_balance('guard-f1');
-- where the caller writes the balances they wait for it
SELECT pointstore.open_account('guard-f2');
SET pointstore.balance_writer = 'caller';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('guard-f2', 'Sold', 10, '{"then": "fee"}');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('guard-f2', 'Sold', 10, '{"then": "update"}');
RESET pointstore.balance_writer;
SELECT version, balance FROM pointstore.get_balance('guard-f2');
DROP TRIGGER guard_follow ON pointstore.event_store;

-- an event that a BEFORE trigger inserts by hand takes nothing that belongs to another
CREATE FUNCTION guard_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES (NEW.aggregate_id, 'Fee', (NEW.payload ->> 'fee')::bigint);
    RETURN NEW;
END$$;
CREATE TRIGGER aa_guard_before BEFORE INSERT ON pointstore.event_store FOR EACH ROW
    WHEN (NEW.payload ? 'fee') EXECUTE FUNCTION guard_before();
SELECT outcome, version, balance FROM pointstore.append_event('guard-b', 'Earned', 100);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
VALUES ('guard-b', 'Spent', -10, '{"fee": -1}'), ('guard-b', 'Spent', -10, '{"fee": -1}');
BEGIN;
UPDATE pointstore.balance SET balance = balance - 10, version = version + 1 WHERE aggregate_id = 'guard-b';
INSERT INTO pointstore.event_store (aggregate_id, event_type, payload) VALUES ('guard-b', 'Spent', '{"fee": null}');
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = balance - 10, version = version + 1 WHERE aggregate_id = 'guard-b';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('guard-b', 'Spent', -10, '{"fee": -10}');
ROLLBACK;
SELECT pointstore.append_event('guard-b', 'Spent', -10, '{"fee": -10}');
SELECT pointstore.append_event('guard-b', 'Spent', -10, '{"fee": null}');
SELECT version, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'guard-b' ORDER BY version;
DROP TRIGGER aa_guard_before ON pointstore.event_store;
-- the event of a change may come from a trigger of the change
CREATE FUNCTION guard_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES (NEW.aggregate_id, 'Changed');
    RETURN NULL;
END$$;
CREATE TRIGGER guard_event AFTER UPDATE ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'guard-b' AND NEW.version = 6) EXECUTE FUNCTION guard_event();
BEGIN;
UPDATE pointstore.balance SET balance = balance - 7, version = version + 1 WHERE aggregate_id = 'guard-b';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('guard-b', 'Spent', -1);
COMMIT;
SELECT version, balance FROM pointstore.get_balance('guard-b');
DROP TRIGGER guard_event ON pointstore.balance;

-- what is stored is what was let in, but for the columns that are free
CREATE FUNCTION guard_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_populate_record(NEW, NEW.payload -> 'change');
END$$;
CREATE TRIGGER zzz_guard_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION guard_change();
DO $$
DECLARE
    change jsonb;
BEGIN
    FOREACH change IN ARRAY ARRAY['{"id": -1}', '{"id": 9223372036854775807}', '{"id": null}', '{"created_at": "2999-01-01"}', '{"created_at": "2026-01-01"}',
        '{"amount": -9, "balance_after": 9}', '{"balance_after": 19}', '{"cause_id": 1}', '{"request_id": "guard-r"}', '{"request_id": "guard-r", "leg": 0}', '{"leg": 0}',
        '{"event_type": "Other"}', '{"version": 7}', '{"aggregate_id": "guard-c2"}', '{"held": 1}']::jsonb[] LOOP
        BEGIN
            INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
            VALUES ('guard-c', 'Earned', 18, jsonb_build_object('change', change));
            RAISE 'changed: %', change;
        EXCEPTION WHEN SQLSTATE 'PS010' OR not_null_violation THEN NULL;
        END;
    END LOOP;
END$$;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
VALUES ('guard-c', 'Earned', 18, '{"change": {"payload": {"free": true}, "metadata": {"actor": "trigger"}, "occurred_at": "2020-01-01 00:00+00"}}')
RETURNING version, balance_after, payload, metadata, occurred_at = '2020-01-01 00:00+00' AS occurred;
DROP TRIGGER zzz_guard_change ON pointstore.event_store;

-- a guard elsewhere, at another time, for another event or statement refuses and does not fall over
CREATE TABLE guard_table (LIKE pointstore.balance);
DO $$
DECLARE
    tab text;
    guard text;
    timing text;
    event text;
    level text;
    wrong int := 0;
BEGIN
    FOR tab, guard, timing, event, level IN
        SELECT t, g, w, e, l FROM unnest(ARRAY['pointstore.event_store', 'pointstore.balance', 'pointstore.pure_account', 'pointstore.account_kind', 'pointstore.hold', 'guard_table']) t,
             unnest(ARRAY['event_store', 'balance', 'pure_account', 'account_kind', 'hold', 'append_only']) g,
             unnest(ARRAY['BEFORE', 'AFTER']) w, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) e, unnest(ARRAY['ROW', 'STATEMENT']) l LOOP
        BEGIN
            SET LOCAL session_replication_role = replica;	-- but for the trigger itself
            EXECUTE format('CREATE TRIGGER guard_wrong %s %s ON %s FOR EACH %s EXECUTE FUNCTION pointstore.guard_%s()', timing, event, tab, level, guard);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_wrong', tab);
            EXECUTE CASE event
                WHEN 'INSERT' THEN CASE tab
                    WHEN 'pointstore.event_store' THEN $i$INSERT INTO pointstore.event_store VALUES (1, 'guard-w', 1, 'Noted', 0, 0, 0, '{}', NULL, NULL, NULL, NULL, now(), now())$i$
                    WHEN 'pointstore.pure_account' THEN $i$INSERT INTO pointstore.pure_account VALUES ('guard-w', 'guard-pure', 'open')$i$
                    WHEN 'pointstore.account_kind' THEN $i$INSERT INTO pointstore.account_kind (kind) VALUES ('guard-w')$i$
                    WHEN 'pointstore.hold' THEN $i$INSERT INTO pointstore.hold (hold_id, aggregate_id, amount, captured, status, created_at) VALUES ('guard-w', 'guard-b', 1, 0, 'open', now())$i$
                    ELSE format($i$INSERT INTO %s (aggregate_id, kind, version, balance, held, incoming, status, updated_at) VALUES ('guard-w', 'default', 0, 0, 0, 0, 'open', now())$i$, tab) END
                WHEN 'UPDATE' THEN format('UPDATE %s SET %I = %2$I', tab, (SELECT attname FROM pg_attribute WHERE attrelid = tab::regclass AND attnum = 1))
                ELSE format('DELETE FROM %s', tab) END;
            RAISE 'passed';
        EXCEPTION
            WHEN trigger_protocol_violated THEN wrong := wrong + 1;
            WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    PERFORM set_config('guard.refused', wrong::text, false);
END$$;
SELECT current_setting('guard.refused') AS refused;
DROP TABLE guard_table;
SELECT version, balance FROM pointstore.append_event('guard-b', 'Earned', 1);
