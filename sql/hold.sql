-- Holds: placed, confirmed, cancelled, expired; each step once, whatever is repeated.
\set VERBOSITY sqlstate
SET client_min_messages = error;
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('hold-pure', 'pure', NULL);
INSERT INTO pointstore.account_kind (kind, min_balance, max_balance) VALUES ('hold-free', NULL, 100), ('hold-floor', -50, NULL);
INSERT INTO pointstore.account_kind (kind, auto_open) VALUES ('hold-shut', false);
CREATE VIEW hold_row AS
SELECT hold_id, aggregate_id, amount, captured, status, expires_at > created_at AS expires, closed_at >= created_at AS closed
  FROM pointstore.hold WHERE hold_id LIKE 'hold-%';
CREATE FUNCTION hold_state(id text, OUT version bigint, OUT balance bigint, OUT held bigint, OUT available bigint, OUT next_is_right boolean)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT g.version, g.balance, g.held, g.available INTO version, balance, held, available FROM pointstore.get_balance(id) g;
    SELECT b.next_expiry IS NOT DISTINCT FROM (SELECT min(h.expires_at) FROM pointstore.hold h WHERE h.aggregate_id = id AND h.status = 'open')
      INTO next_is_right FROM pointstore.balance b WHERE b.aggregate_id = id;
END$$;

-- in whole, in part, cancelled
SELECT outcome, version, balance, available FROM pointstore.append_event('hold-1', 'Earned', 100);
SELECT outcome, aggregate_id, version, balance, available, id > 0 AS id FROM pointstore.hold('hold-1', 30, 'hold-a', '1 hour', '{"order": 1}');
SELECT outcome, version, balance, available FROM pointstore.hold('hold-1', 20, 'hold-b');
SELECT outcome, version, balance, available FROM pointstore.hold('hold-1', 10, 'hold-c', '2 hours');
SELECT * FROM hold_state('hold-1');
SELECT pointstore.append_event('hold-1', 'Spent', -41);
SELECT pointstore.hold('hold-1', 41, 'hold-d');
SELECT outcome, version, balance, available FROM pointstore.try_append_event('hold-1', 'Spent', -41);
SELECT outcome, version, balance, available FROM pointstore.try_hold('hold-1', 41, 'hold-d');
SELECT outcome, version, balance, available FROM pointstore.confirm_hold('hold-a');
SELECT outcome, version, balance, available FROM pointstore.confirm_hold('hold-b', 5);
SELECT * FROM hold_state('hold-1');
SELECT outcome, version, balance, available FROM pointstore.cancel_hold('hold-c');
SELECT * FROM hold_state('hold-1');
SELECT * FROM hold_row ORDER BY hold_id;
SELECT e.version, e.event_type, e.amount, e.held, e.balance_after, e.payload, e.metadata - 'expires_at' AS metadata, e.request_id, e.leg, c.version AS cause
  FROM pointstore.event_store e LEFT JOIN pointstore.event_store c ON c.aggregate_id = e.aggregate_id AND c.id = e.cause_id
 WHERE e.aggregate_id = 'hold-1' ORDER BY e.version;
SELECT h.hold_id, e.version FROM pointstore.hold h JOIN pointstore.event_store e ON e.aggregate_id = h.aggregate_id AND e.id = h.event_id WHERE h.aggregate_id = 'hold-1' ORDER BY 1;

-- repeated, each step is answered with its first receipt, also when all has moved on
SELECT outcome, version, balance, available FROM pointstore.hold('hold-1', 30, 'hold-a', '7 days', '{"order": 1}');
SELECT outcome, version, balance, available FROM pointstore.try_hold('hold-1', 20, 'hold-b');
SELECT outcome, version, balance, available FROM pointstore.confirm_hold('hold-a');
SELECT outcome, version, balance, available FROM pointstore.confirm_hold('hold-a', 30, 'hold-1');
SELECT outcome, version, balance, available FROM pointstore.confirm_hold('hold-b', 5);
SELECT outcome, version, balance, available FROM pointstore.cancel_hold('hold-c', 'hold-1');
-- and for something else it is refused
SELECT pointstore.hold('hold-1', 31, 'hold-a', payload => '{"order": 1}');
SELECT pointstore.hold('hold-1', 30, 'hold-a');
SELECT pointstore.hold('hold-2', 30, 'hold-a', payload => '{"order": 1}');
SELECT outcome, version, balance, available FROM pointstore.try_hold('hold-1', 31, 'hold-a');
SELECT pointstore.confirm_hold('hold-a', 29);
SELECT pointstore.confirm_hold('hold-b');
SELECT pointstore.confirm_hold('hold-a', aggregate_id => 'hold-2');
SELECT pointstore.cancel_hold('hold-c', 'hold-2');
-- one end only
SELECT pointstore.cancel_hold('hold-a');
SELECT pointstore.confirm_hold('hold-c');
SELECT pointstore.confirm_hold('hold-none');
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'hold-1';

-- cancelled before it was placed
SELECT outcome, aggregate_id, version, balance, available, id, created_at IS NOT NULL AS at FROM pointstore.cancel_hold('hold-t1');
SELECT outcome, aggregate_id, version, balance, available, id, created_at IS NOT NULL AS at FROM pointstore.cancel_hold('hold-t2', 'hold-1');
SELECT outcome, aggregate_id FROM pointstore.cancel_hold('hold-t1', 'hold-1');
SELECT pointstore.cancel_hold('hold-t2', 'hold-2');
SELECT pointstore.hold('hold-1', 1, 'hold-t1');
SELECT pointstore.hold('hold-1', 1, 'hold-t2');
SELECT pointstore.hold('hold-2', 1, 'hold-t2');
SELECT outcome, version, balance, available FROM pointstore.try_hold('hold-1', 1, 'hold-t1');
SELECT pointstore.confirm_hold('hold-t1');
SELECT * FROM hold_row WHERE hold_id LIKE 'hold-t%' ORDER BY hold_id;
SELECT count(*) FROM pointstore.get_balance('hold-2');

-- from the moment it expires a hold reserves nothing, swept or not
SELECT outcome, version, available FROM pointstore.append_event('hold-3', 'Earned', 64);
SELECT outcome, available FROM pointstore.hold('hold-3', 32, 'hold-e1', '50 ms');
SELECT outcome, available FROM pointstore.hold('hold-3', 16, 'hold-e2', '51 ms');
SELECT outcome, available FROM pointstore.hold('hold-3', 8, 'hold-e3', '1 hour');
SELECT outcome, available FROM pointstore.try_append_event('hold-3', 'Spent', -9);
SELECT count(*) FROM pg_sleep(0.1);
SELECT * FROM hold_state('hold-3');
SELECT available FROM pointstore.account WHERE aggregate_id = 'hold-3';
SELECT outcome, version, balance, available FROM pointstore.try_append_event('hold-3', 'Spent', -57);
SELECT outcome, version, balance, available FROM pointstore.append_event('hold-3', 'Spent', -4);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('hold-3', 'Spent', -4);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('hold-3', 'Spent', -49);
BEGIN;
UPDATE pointstore.balance SET balance = balance - 49, version = version + 1 WHERE aggregate_id = 'hold-3';
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = balance - 48, version = version + 1 WHERE aggregate_id = 'hold-3';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('hold-3', 'Spent') RETURNING version, amount, balance_after;
ROLLBACK;
SELECT outcome, version, balance, available FROM pointstore.hold('hold-3', 48, 'hold-e4');
SELECT * FROM hold_state('hold-3');
SELECT pointstore.confirm_hold('hold-e1');
SELECT outcome, version, balance, available FROM pointstore.cancel_hold('hold-e2');
SELECT * FROM hold_state('hold-3');
CALL pointstore.sweep_holds();
SELECT * FROM hold_state('hold-3');
SELECT * FROM hold_row WHERE hold_id LIKE 'hold-e%' ORDER BY hold_id;
SELECT version, event_type, amount, held FROM pointstore.event_store WHERE aggregate_id = 'hold-3' AND version > 6 ORDER BY version;
SELECT pointstore.confirm_hold('hold-e1');
SELECT outcome, version, balance FROM pointstore.cancel_hold('hold-e1');
SELECT outcome, version, balance FROM pointstore.hold('hold-3', 32, 'hold-e1');
CALL pointstore.sweep_holds();
SELECT max(version) FROM pointstore.event_store WHERE aggregate_id = 'hold-3';
-- a confirm does not ask the floor again
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('hold-higher', 1000);
SELECT pointstore.set_kind('hold-3', 'hold-higher');
SELECT outcome, version, balance, available FROM pointstore.confirm_hold('hold-e4');
SELECT pointstore.append_event('hold-3', 'Spent', -1);

-- floors and kinds
SELECT outcome, available FROM pointstore.append_event('hold-4', 'Earned', 10, kind => 'hold-floor');
SELECT outcome, available FROM pointstore.try_hold('hold-4', 61, 'hold-f1');
SELECT outcome, available FROM pointstore.try_hold('hold-4', 60, 'hold-f1');
SELECT outcome, balance, available FROM pointstore.confirm_hold('hold-f1');
SELECT pointstore.open_account('hold-5', 'hold-free');
SELECT outcome, available FROM pointstore.hold('hold-5', 9223372036854775807, 'hold-f2');
SELECT pointstore.hold('hold-5', 1, 'hold-f3');
SELECT outcome, available FROM pointstore.append_event('hold-5', 'Spent', -1);
SELECT pointstore.append_event('hold-5', 'Earned', 102);
SELECT outcome, available FROM pointstore.append_event('hold-5', 'Spent', -9223372036854775807);
SELECT outcome, available FROM pointstore.cancel_hold('hold-f2');
SELECT outcome, available FROM pointstore.try_hold('hold-6', 1, 'hold-f4');
SELECT count(*) FROM pointstore.get_balance('hold-6');
BEGIN;
UPDATE pointstore.account_kind SET auto_open = false WHERE kind = 'default';
SELECT outcome, available FROM pointstore.try_hold('hold-6', 1, 'hold-f4');
SELECT pointstore.hold('hold-6', 1, 'hold-f4');
ROLLBACK;
SELECT count(*) FROM pointstore.append_event('hold-7', 'Earned', 1, kind => 'hold-pure');
SELECT pointstore.hold('hold-7', 1, 'hold-f5');
SELECT pointstore.try_hold('hold-7', 1, 'hold-f5');

-- frozen: cancelled and expired, not placed or confirmed; and what was done is repeated
SELECT count(pointstore.append_event('hold-8', 'Earned', 100));
SELECT count(pointstore.hold('hold-8', 1, 'hold-g' || i, CASE i WHEN 3 THEN '1 ms' ELSE '1 hour' END::interval)) FROM generate_series(1, 4) i;
SELECT count(pointstore.confirm_hold('hold-g4'));
SELECT pointstore.freeze_account('hold-8', 'test');
SELECT pointstore.hold('hold-8', 1, 'hold-g5');
SELECT outcome, version FROM pointstore.try_hold('hold-8', 1, 'hold-g5');
SELECT pointstore.confirm_hold('hold-g1');
SELECT outcome FROM pointstore.confirm_hold('hold-g4');
SELECT outcome FROM pointstore.hold('hold-8', 1, 'hold-g1');
SELECT outcome, version FROM pointstore.cancel_hold('hold-g2');
SELECT count(*) FROM pg_sleep(0.01);
CALL pointstore.sweep_holds();
SELECT hold_id, status FROM hold_row WHERE hold_id LIKE 'hold-g%' ORDER BY 1;
SELECT pointstore.unfreeze_account('hold-8', 'test');
SELECT count(pointstore.append_event('hold-8', 'Spent', -98));
-- closing waits for the last of them
SELECT pointstore.close_account('hold-8');
SELECT outcome, balance FROM pointstore.confirm_hold('hold-g1');
SELECT pointstore.close_account('hold-8');
SELECT pointstore.hold('hold-8', 1, 'hold-g5');
SELECT outcome, version FROM pointstore.try_hold('hold-8', 1, 'hold-g5');
SELECT outcome, version FROM pointstore.confirm_hold('hold-g1');

-- a name is drawn for who has none
SELECT id AS placed FROM pointstore.hold('hold-1', 1) \gset
SELECT hold_id AS drawn FROM pointstore.hold WHERE event_id = :placed \gset
SELECT metadata ->> 'hold_id' = :'drawn' AS told, (metadata ->> 'expires_at')::timestamptz = expires_at AS expiry_told
  FROM pointstore.event_store e JOIN pointstore.hold h ON h.event_id = e.id WHERE e.id = :placed;
SELECT outcome FROM pointstore.cancel_hold(:'drawn');

-- bad input
SELECT pointstore.hold(NULL, 1, 'hold-x');
SELECT pointstore.hold('', 1, 'hold-x');
SELECT pointstore.hold('hold-1', NULL, 'hold-x');
SELECT pointstore.hold('hold-1', 0, 'hold-x');
SELECT pointstore.hold('hold-1', -1, 'hold-x');
SELECT pointstore.hold('hold-1', 1, '');
SELECT pointstore.hold('hold-1', 1, repeat('x', 513));
SELECT pointstore.hold('hold-1', 1, 'hold-x', NULL);
SELECT pointstore.hold('hold-1', 1, 'hold-x', '0');
SELECT pointstore.hold('hold-1', 1, 'hold-x', '-1 s');
SELECT pointstore.hold('hold-1', 1, 'hold-x', '300000 years');
BEGIN;
SELECT count(pointstore.hold('hold-1', 1, 'hold-x', payload => NULL));
SELECT outcome, version FROM pointstore.hold('hold-1', 1, 'hold-x');
ROLLBACK;
SELECT pointstore.confirm_hold(NULL);
SELECT pointstore.confirm_hold('hold-x', 0);
SELECT pointstore.confirm_hold('hold-x', -1);
SELECT pointstore.confirm_hold('hold-x', aggregate_id => '');
SELECT pointstore.cancel_hold(NULL);
SELECT pointstore.cancel_hold('');
SELECT count(pointstore.hold('hold-1', 10, 'hold-x'));
SELECT pointstore.confirm_hold('hold-x', 11);
SELECT status, captured FROM pointstore.hold WHERE hold_id = 'hold-x';
BEGIN;
CALL pointstore.sweep_holds();
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.cancel_hold('hold-x');
ROLLBACK;

-- nobody else writes holds, or their events
SELECT pointstore.append_event('hold-1', t) FROM unnest(ARRAY['HoldPlaced']) t;
SELECT pointstore.append_event('hold-1', 'HoldConfirmed');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "hold-1", "event_type": "HoldCancelled"}]');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('hold-1', 'HoldExpired');
INSERT INTO pointstore.event_store (aggregate_id, event_type, held) VALUES ('hold-1', 'Earned', 1);
INSERT INTO pointstore.hold (hold_id, aggregate_id, amount, captured, status, created_at) VALUES ('hold-y', 'hold-1', 1, 0, 'open', now());
UPDATE pointstore.hold SET status = 'cancelled' WHERE hold_id = 'hold-x';
UPDATE pointstore.hold SET expires_at = expires_at + interval '1 s' WHERE hold_id = 'hold-x';
DELETE FROM pointstore.hold WHERE hold_id = 'hold-x';
TRUNCATE pointstore.hold;
UPDATE pointstore.balance SET held = 0, version = version + 1 WHERE aggregate_id = 'hold-1';

-- a column and triggers of the user's on the table of holds, whose names are not looked up on the caller's path
ALTER TABLE pointstore.hold ADD COLUMN note text DEFAULT 'mine';
UPDATE pointstore.hold SET note = 'yours' WHERE hold_id = 'hold-x';
CREATE TABLE hold_audit (path text, status text, note text);
CREATE FUNCTION hold_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.hold_audit VALUES (current_setting('search_path'), NEW.status, NEW.note);
    RETURN NEW;
END$$;
CREATE TRIGGER hold_audit AFTER INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_audit();
SELECT count(pointstore.hold('hold-1', 1, 'hold-u1'));
SELECT outcome, available FROM pointstore.confirm_hold('hold-x', 2);
SELECT outcome FROM pointstore.cancel_hold('hold-u2');
SELECT * FROM hold_audit;
DROP TRIGGER hold_audit ON pointstore.hold;
CREATE FUNCTION hold_veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER hold_veto BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_veto();
SELECT pointstore.hold('hold-1', 1, 'hold-u3');
SELECT pointstore.cancel_hold('hold-u1');
SELECT pointstore.cancel_hold('hold-u4');
DROP TRIGGER hold_veto ON pointstore.hold;
ALTER TABLE pointstore.hold DROP COLUMN note;
DROP TABLE hold_audit;
DROP FUNCTION hold_audit();
DROP FUNCTION hold_veto();
SELECT * FROM hold_state('hold-1');

-- what is rolled back was never held
BEGIN;
SAVEPOINT s;
SELECT count(pointstore.hold('hold-1', 1, 'hold-s1'));
SELECT count(pointstore.cancel_hold('hold-u1'));
ROLLBACK TO s;
SELECT outcome FROM pointstore.hold('hold-1', 2, 'hold-s1');
SELECT outcome FROM pointstore.confirm_hold('hold-u1');
SELECT outcome FROM pointstore.confirm_hold('hold-s1');
COMMIT;
SELECT hold_id, status, amount FROM hold_row WHERE hold_id IN ('hold-s1', 'hold-u1') ORDER BY 1;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM pointstore.hold('hold-1', 2, 'hold-s2');
SELECT outcome FROM pointstore.hold('hold-1', 2, 'hold-s2');
SELECT outcome FROM pointstore.confirm_hold('hold-s2', 1);
SELECT outcome FROM pointstore.cancel_hold('hold-s3');
COMMIT;
SELECT * FROM hold_state('hold-1');

-- the row's held and next_expiry are put back
SELECT count(pointstore.append_event('hold-9', 'Earned', 100));
SELECT count(pointstore.hold('hold-9', 1, 'hold-r' || i, make_interval(hours => i))) FROM generate_series(1, 3) i;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.balance WHERE aggregate_id = 'hold-9';
COMMIT;
SELECT old_held, new_held, changed FROM pointstore.rebuild_balance('hold-9');
SELECT * FROM hold_state('hold-9');
SELECT changed FROM pointstore.rebuild_balance('hold-9');
-- and next_expiry alone, also by way of all accounts
SELECT count(pointstore.append_event('hold-9' || x, 'Earned', 100)), count(pointstore.hold('hold-9' || x, 1, 'hold-r' || x)) FROM unnest(ARRAY['b', 'c']) x;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET next_expiry = next_expiry + interval '1 day' WHERE aggregate_id = 'hold-9';
UPDATE pointstore.balance SET next_expiry = NULL WHERE aggregate_id = 'hold-9b';
UPDATE pointstore.balance SET next_expiry = 'infinity' WHERE aggregate_id = 'hold-8';
COMMIT;
CALL pointstore.rebuild_balances();
SELECT s.* FROM unnest(ARRAY['hold-8', 'hold-9', 'hold-9b', 'hold-9c']) a, hold_state(a) s;
SELECT aggregate_id, count(*) FROM pointstore.account_log WHERE aggregate_id IN ('hold-8', 'hold-9', 'hold-9b', 'hold-9c') AND action = 'rebuild' GROUP BY 1 ORDER BY 1;

-- thousands of open holds: an append does not look at them, and asks for the expired ones alone
SELECT count(pointstore.append_event('hold-10', 'Earned', 10000));
SELECT count(pointstore.hold('hold-10', 1, 'hold-many-' || i, CASE WHEN i <= 3 THEN '200 ms' ELSE '1 hour' END::interval)) FROM generate_series(1, 3000) i;
VACUUM ANALYZE pointstore.hold;
BEGIN;
SELECT coalesce(sum(seq_scan), 0) AS seq, coalesce(sum(idx_scan), 0) AS idx FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.hold'::regclass \gset
SELECT count(pointstore.append_event('hold-1', 'Spent', -1)), count(pointstore.append_event('hold-9', 'Spent', -1)) FROM generate_series(1, 10);
SELECT coalesce(sum(seq_scan), 0) - :seq AS seq, coalesce(sum(idx_scan), 0) - :idx AS idx FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.hold'::regclass;
COMMIT;
SELECT count(*) FROM pg_sleep(0.2);
SELECT * FROM hold_state('hold-10');
BEGIN;
SELECT coalesce(sum(idx_tup_fetch), 0) AS rows FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.hold'::regclass \gset
SELECT available FROM pointstore.append_event('hold-10', 'Spent', -1);
SELECT sum(idx_tup_fetch) - :rows AS rows FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.hold'::regclass;
COMMIT;
CALL pointstore.sweep_holds();
SELECT * FROM hold_state('hold-10');

-- swept in batches, whatever their accounts; one that cannot be closed keeps no other from it
SELECT count(pointstore.append_event('hold-s-' || a, 'Earned', 2000)) FROM generate_series(1, 3) a;
SELECT count(pointstore.hold('hold-s-' || (1 + i % 3), 1, 'hold-sweep-' || i, '1 ms')) FROM generate_series(1, 2500) i;
ALTER TABLE pointstore.event_store ADD CONSTRAINT hold_bad CHECK (aggregate_id <> 'hold-s-2' OR event_type <> 'HoldExpired') NOT VALID;
CALL pointstore.sweep_holds();
SELECT aggregate_id, status, count(*) FROM pointstore.hold WHERE aggregate_id LIKE 'hold-s-%' GROUP BY 1, 2 ORDER BY 1, 2;
ALTER TABLE pointstore.event_store DROP CONSTRAINT hold_bad;
CALL pointstore.sweep_holds();
SELECT a, (hold_state('hold-s-' || a)).* FROM generate_series(1, 3) a;

-- what users' triggers make of a hold's row: columns of their own, and none of ours
ALTER TABLE pointstore.hold ADD COLUMN hold_note text DEFAULT 'none';
SELECT count(pointstore.append_event('hold-y', 'Earned', 1000));
SELECT count(pointstore.hold('hold-y', 10, 'hold-y0'));
CREATE FUNCTION hold_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.hold_note := TG_ARGV[0];
    IF TG_ARGV[0] = 'amount' THEN NEW.amount := NEW.amount - 5;
    ELSIF TG_ARGV[0] = 'hold_id' THEN NEW.hold_id := upper(NEW.hold_id);
    ELSIF TG_ARGV[0] = 'expires_at' THEN NEW.expires_at := NEW.expires_at - interval '1 second';
    ELSIF TG_ARGV[0] = 'status' THEN NEW.status := 'cancelled';
    ELSIF TG_ARGV[0] = 'captured' THEN NEW.captured := 1;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold_change BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_change('amount');
SELECT pointstore.hold('hold-y', 10, 'hold-y1');
SELECT pointstore.confirm_hold('hold-y0');
CREATE OR REPLACE TRIGGER hold_change BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_change('hold_id');
SELECT pointstore.hold('hold-y', 10, 'hold-y1');
SELECT outcome FROM pointstore.cancel_hold('hold-y2');
CREATE OR REPLACE TRIGGER hold_change BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_change('expires_at');
SELECT outcome FROM pointstore.try_hold('hold-y', 10, 'hold-y1');
CREATE OR REPLACE TRIGGER hold_change BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_change('status');
SELECT pointstore.confirm_hold('hold-y0');
CREATE OR REPLACE TRIGGER hold_change BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_change('captured');
SELECT pointstore.cancel_hold('hold-y0');
CREATE OR REPLACE TRIGGER hold_change BEFORE INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION hold_change('mine');
SELECT outcome FROM pointstore.confirm_hold('hold-y0');
SELECT outcome FROM pointstore.hold('hold-y', 10, 'hold-y1');
SELECT hold_id, amount, captured, status, hold_note FROM pointstore.hold WHERE hold_id ILIKE 'hold-y%' ORDER BY 1;
DROP TRIGGER hold_change ON pointstore.hold;
DROP FUNCTION hold_change();
ALTER TABLE pointstore.hold DROP COLUMN hold_note;

-- a sweep goes on past what cannot be closed, on the same account too
SELECT count(pointstore.append_event('hold-v', 'Earned', 5000));
SELECT count(pointstore.hold('hold-v', 1, 'hold-v' || i, '1 ms')) FROM generate_series(1, 2200) i;
CREATE FUNCTION hold_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_type = 'HoldExpired' AND (NEW.metadata ->> 'hold_id') ~ '^hold-v([1-9]|[1-9][0-9]{1,2}|1000)$' THEN
        RAISE 'not this one';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold_refuse BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION hold_refuse();
SELECT FROM pg_sleep(0.01);
CALL pointstore.sweep_holds();
SELECT status, count(*) FROM pointstore.hold WHERE aggregate_id = 'hold-v' GROUP BY 1 ORDER BY 1;
DROP TRIGGER hold_refuse ON pointstore.event_store;
DROP FUNCTION hold_refuse();
CALL pointstore.sweep_holds();
SELECT status, count(*) FROM pointstore.hold WHERE aggregate_id = 'hold-v' GROUP BY 1 ORDER BY 1;

-- what reserves more than bigint is told as far as bigint goes, on every read
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('hold-deep', NULL);
SELECT balance, available FROM pointstore.append_event('hold-w', 'Spent', -5, kind => 'hold-deep');
SELECT balance, available FROM pointstore.hold('hold-w', 9223372036854775807, 'hold-w1');
SELECT balance, held, available FROM pointstore.get_balance('hold-w');
SELECT count(available) > 1 AS all_read FROM pointstore.account;
SELECT outcome FROM pointstore.cancel_hold('hold-w1');

-- a read does not ask for an account's holds before the first has expired
CREATE FUNCTION hold_scans() RETURNS bigint LANGUAGE sql AS $$
    SELECT coalesce(sum(seq_scan + idx_scan), 0)::bigint FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.hold'::regclass
$$;
SELECT count(pointstore.hold('hold-1', 1, 'hold-scan'));
BEGIN;
SELECT hold_scans() AS before \gset
SELECT held > 0 AS holds FROM pointstore.get_balance('hold-1');
SELECT hold_scans() - :before AS scans;
COMMIT;
SELECT outcome FROM pointstore.cancel_hold('hold-scan');
DROP FUNCTION hold_scans();

-- a step whose event is gone is not repeated by guessing
SELECT count(pointstore.hold('hold-y', 1, 'hold-gone')), count(pointstore.hold('hold-y', 1, 'hold-gone2'));
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE id = (SELECT event_id FROM pointstore.hold WHERE hold_id = 'hold-gone2');
SELECT pointstore.hold('hold-y', 1, 'hold-gone2');
ROLLBACK;

-- the store is sound, and as it was
SELECT aggregate_id, code FROM pointstore.balance, pointstore.reconcile_account(aggregate_id) WHERE aggregate_id LIKE 'hold-%';
DROP VIEW hold_row;
DROP FUNCTION hold_state(text);
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE aggregate_id LIKE 'hold-%';
DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'hold-%';
DELETE FROM pointstore.pure_account WHERE aggregate_id LIKE 'hold-%';
DELETE FROM pointstore.hold WHERE hold_id NOT LIKE 'guard-%';
COMMIT;

SET client_min_messages = warning;
-- what is taken goes to another account, as the second leg of a movement that the confirmation begins
INSERT INTO pointstore.account_kind (kind, mode, min_balance, max_balance, unit) VALUES
    ('hold-cap', 'hybrid', 0, 50, ''), ('hold-won', 'hybrid', 0, NULL, 'KRW'), ('hold-pure-to', 'pure', 0, NULL, '');
SELECT count(pointstore.append_event('hold-p', 'Earned', 1000));
SELECT count(pointstore.hold('hold-p', 100, 'hold-to' || i)) FROM generate_series(1, 9) i;
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.confirm_hold('hold-to1', to_id => 'hold-shop', payload => '{"order": 7}', metadata => '{"actor": "me", "hold_id": "x"}');
WITH event AS MATERIALIZED (SELECT * FROM pointstore.event_store)
SELECT e.aggregate_id, e.version, e.event_type, e.amount, e.held, e.balance_after, e.payload, e.metadata, e.request_id, e.leg, c.event_type AS cause
  FROM event e LEFT JOIN event c ON c.id = e.cause_id
 WHERE e.aggregate_id = 'hold-shop' OR (e.aggregate_id = 'hold-p' AND e.version > 10) ORDER BY e.id;
SELECT status, captured FROM pointstore.hold WHERE hold_id = 'hold-to1';
-- repeated it is the first receipt, whatever the metadata; and anything else is another request
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.confirm_hold('hold-to1', to_id => 'hold-shop', payload => '{"order": 7}');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_confirm_hold('hold-to1', 100, 'hold-p', 'hold-shop', '{"order": 7}', '{"actor": "you"}');
SELECT pointstore.confirm_hold('hold-to1', payload => '{"order": 7}');
SELECT pointstore.confirm_hold('hold-to1', to_id => 'hold-other', payload => '{"order": 7}');
SELECT pointstore.confirm_hold('hold-to1', to_id => 'hold-shop');
SELECT pointstore.confirm_hold('hold-to1', 99, to_id => 'hold-shop', payload => '{"order": 7}');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_confirm_hold('hold-to1', to_id => 'hold-other', payload => '{"order": 7}');
SELECT outcome, aggregate_id, version FROM pointstore.try_confirm_hold('hold-to1', payload => '{"order": 7}');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'hold-other';
SELECT outcome, version FROM pointstore.confirm_hold('hold-to2', 30, payload => NULL);
SELECT pointstore.confirm_hold('hold-to2', 30, to_id => 'hold-shop');
-- the other account's rules; what is refused leaves nothing behind
SELECT pointstore.open_account('hold-full', 'hold-cap'), pointstore.open_account('hold-krw', 'hold-won'), pointstore.open_account('hold-ice');
SELECT pointstore.freeze_account('hold-ice', 'test');
SELECT pointstore.confirm_hold('hold-to3', to_id => 'hold-full');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_confirm_hold('hold-to3', to_id => 'hold-full');
SELECT pointstore.confirm_hold('hold-to3', to_id => 'hold-krw');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_confirm_hold('hold-to3', to_id => 'hold-krw');
SELECT pointstore.confirm_hold('hold-to3', to_id => 'hold-ice');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_confirm_hold('hold-to3', to_id => 'hold-ice');
SELECT pointstore.confirm_hold('hold-to3', to_id => 'hold-p');
SELECT pointstore.try_confirm_hold('hold-to3', to_id => 'hold-p');
SELECT pointstore.confirm_hold('hold-to3', to_id => '');
SELECT pointstore.confirm_hold('hold-to3', to_id => 'hold-shop', metadata => '[1]');
SELECT outcome, aggregate_id, version FROM pointstore.try_confirm_hold('hold-to3', 101, to_id => 'hold-new');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'hold-new';
SELECT status FROM pointstore.hold WHERE hold_id = 'hold-to3';
SELECT outcome, version, balance FROM pointstore.try_confirm_hold('hold-to3', 50, to_id => 'hold-full');
-- a pure account, a savepoint that is rolled back, REPEATABLE READ, a prepared transaction
SELECT count(pointstore.append_event('hold-pp', 'Earned', 1, kind => 'hold-pure-to'));
SELECT outcome, version, balance FROM pointstore.confirm_hold('hold-to4', to_id => 'hold-pp');
SELECT balance FROM pointstore.account WHERE aggregate_id = 'hold-pp';
BEGIN;
SAVEPOINT s;
SELECT outcome, version FROM pointstore.confirm_hold('hold-to5', to_id => 'hold-other');
ROLLBACK TO s;
SELECT outcome, version FROM pointstore.try_confirm_hold('hold-to5', 1000, to_id => 'hold-other');
SELECT outcome, version FROM pointstore.confirm_hold('hold-to5', to_id => 'hold-shop');
SELECT outcome, version FROM pointstore.confirm_hold('hold-to5', to_id => 'hold-shop');
COMMIT;
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'hold-other';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome, version FROM pointstore.confirm_hold('hold-to6', to_id => 'hold-shop');
SELECT outcome, version FROM pointstore.try_confirm_hold('hold-to6', to_id => 'hold-shop');
SELECT outcome, version FROM pointstore.try_confirm_hold('hold-to6', to_id => 'hold-pp');
COMMIT;
BEGIN;
SELECT outcome, version FROM pointstore.confirm_hold('hold-to7', to_id => 'hold-shop');
PREPARE TRANSACTION 'hold-to7';
COMMIT PREPARED 'hold-to7';
SELECT outcome, version FROM pointstore.confirm_hold('hold-to7', to_id => 'hold-shop');
-- reversed it is in both legs, whichever is named, and in the same proportion
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('hold-shop', 1, 40, 'hold-rev');
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('hold-p', 11);
SELECT outcome, aggregate_id, version FROM pointstore.try_reverse_event('hold-p', 11);
SELECT outcome, version FROM pointstore.confirm_hold('hold-to1', to_id => 'hold-shop', payload => '{"order": 7}');
SELECT aggregate_id, version, balance, held, available FROM pointstore.account WHERE aggregate_id IN ('hold-p', 'hold-shop', 'hold-full', 'hold-pp') ORDER BY 1;
SELECT a, r.* FROM unnest(ARRAY['hold-p', 'hold-shop', 'hold-full', 'hold-pp']) a, pointstore.reconcile_account(a) r;
SET client_min_messages = error;
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SET client_min_messages = warning;
SELECT aggregate_id, code, detail FROM pointstore.finding WHERE aggregate_id ~ '^hold-(p|shop|full|pp)$';
-- a leg that is altered shows
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = 99, balance_after = 99 WHERE aggregate_id = 'hold-shop' AND version = 1;
SET LOCAL session_replication_role = origin;
SELECT count(*) FROM pointstore.reconcile_account('hold-p') WHERE code = 'transfer_unbalanced';
ROLLBACK;

-- the try_ forms
SELECT outcome, aggregate_id, version, balance, available, id FROM pointstore.try_confirm_hold('hold-none');
SELECT outcome, aggregate_id FROM pointstore.try_confirm_hold('hold-none', aggregate_id => 'hold-p');
SELECT count(pointstore.cancel_hold('hold-t4')), count(pointstore.cancel_hold('hold-t5', 'hold-p'));
SELECT outcome, aggregate_id, version, id FROM pointstore.try_confirm_hold('hold-t4');
SELECT outcome, aggregate_id, version, id FROM pointstore.try_confirm_hold('hold-t5');
SELECT outcome, aggregate_id, version, id FROM pointstore.try_confirm_hold('hold-t5', aggregate_id => 'hold-shop');
SELECT outcome, version, available FROM pointstore.try_confirm_hold('hold-to8', 101);
SELECT outcome, version, available FROM pointstore.try_confirm_hold('hold-to8', aggregate_id => 'hold-shop');
SELECT outcome, version, balance, available FROM pointstore.try_confirm_hold('hold-to8', 60);
SELECT outcome, version, available FROM pointstore.try_confirm_hold('hold-to8', 61);
SELECT outcome, version, available FROM pointstore.try_cancel_hold('hold-to8');
SELECT outcome, version, available FROM pointstore.try_cancel_hold('hold-to9', 'hold-shop');
SELECT outcome, version, available FROM pointstore.try_cancel_hold('hold-to9', 'hold-p');
SELECT outcome, version FROM pointstore.try_cancel_hold('hold-to9');
SELECT outcome, version, available FROM pointstore.try_confirm_hold('hold-to9');
SELECT outcome, aggregate_id, version FROM pointstore.try_cancel_hold('hold-t3', 'hold-p');
SELECT outcome, aggregate_id, version FROM pointstore.try_cancel_hold('hold-t3', 'hold-shop');
SELECT pointstore.try_cancel_hold('');
SELECT pointstore.try_confirm_hold(NULL);
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'hold-p';

-- functions of version 1.0, and the library of this one
CREATE FUNCTION old_confirm_hold(text, bigint, text) RETURNS pointstore.receipt LANGUAGE c AS '$libdir/pointstore', 'pointstore_confirm_hold';
CREATE FUNCTION old_transfer(text, text, bigint, text, text, jsonb, jsonb) RETURNS SETOF pointstore.receipt LANGUAGE c AS '$libdir/pointstore', 'pointstore_transfer';
CREATE FUNCTION old_submit_transfer(text, text, bigint, text, text, jsonb, jsonb) RETURNS SETOF pointstore.receipt LANGUAGE c AS '$libdir/pointstore', 'pointstore_submit_transfer';
SELECT old_confirm_hold('hold-to8', NULL, NULL);
SELECT old_transfer('hold-p', 'hold-shop', 1, NULL, 'Transferred', '{}', NULL);
SELECT old_submit_transfer('hold-p', 'hold-shop', 1, NULL, 'Transferred', '{}', NULL);
DROP FUNCTION old_confirm_hold(text, bigint, text), old_transfer(text, text, bigint, text, text, jsonb, jsonb), old_submit_transfer(text, text, bigint, text, text, jsonb, jsonb);
