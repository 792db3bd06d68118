-- Accounts: kinds, open, close, freeze, unfreeze, set_kind, and the log of it.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, unit, min_balance, max_balance) VALUES
    ('account-won', 'KRW', 0, NULL), ('account-won-gold', 'KRW', -1000, 5000), ('account-seat', 'seat', 0, NULL);
INSERT INTO pointstore.account_kind (kind, mode, unit) VALUES ('account-pure', 'pure', 'KRW'), ('account-pure-2', 'pure', 'KRW'), ('account-pure-seat', 'pure', 'seat');

-- open: once; again under the same kind does nothing
SELECT pointstore.open_account('account-1');
SELECT pointstore.open_account('account-1');
SELECT pointstore.open_account('account-2', 'account-won');
SELECT pointstore.open_account('account-2', 'account-won');
SELECT pointstore.open_account('account-3', 'account-pure');
SELECT pointstore.open_account('account-3', 'account-pure');
SELECT aggregate_id, kind, mode, unit, version, balance, held, available, status FROM pointstore.account
 WHERE aggregate_id LIKE 'account-_' ORDER BY 1;
SELECT aggregate_id, action, reason, before, by_role = current_user AS by_me FROM pointstore.account_log
 WHERE aggregate_id LIKE 'account-_' ORDER BY id;
-- under another kind is refused
SELECT pointstore.open_account('account-1', 'account-won');
SELECT pointstore.open_account('account-2');
SELECT pointstore.open_account('account-1', 'account-pure');
SELECT pointstore.open_account('account-3', 'account-won');
SELECT pointstore.open_account('account-4', 'no-such-kind');
SELECT pointstore.open_account(NULL);
SELECT pointstore.open_account('account-4', NULL);
SELECT pointstore.open_account('');
SELECT pointstore.open_account('account-4', '');
SELECT pointstore.open_account(repeat('x', 513));
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'account-4';

-- freeze: nothing moves, neither in nor out, until unfrozen
SELECT version, balance FROM pointstore.append_event('account-1', 'PointEarned', 100);
SELECT pointstore.freeze_account('account-1', 'fraud');
SELECT pointstore.freeze_account('account-1', 'fraud again');
SELECT pointstore.append_event('account-1', 'PointEarned', 1);
SELECT pointstore.append_event('account-1', 'PointSpent', -1);
SELECT pointstore.append_event('account-1', 'Noted');
SELECT outcome, version, balance, available FROM pointstore.try_append_event('account-1', 'PointEarned', 1);
SELECT pointstore.open_account('account-1');
SELECT status, version, balance FROM pointstore.get_balance('account-1');
SELECT pointstore.close_account('account-1');
SELECT pointstore.unfreeze_account('account-1', 'cleared');
SELECT pointstore.unfreeze_account('account-1', 'cleared again');
-- no version has gone stale by it
SELECT outcome, version, balance FROM pointstore.append_event('account-1', 'PointSpent', -40, expected_version => 1);
-- who and why must be known
SELECT pointstore.freeze_account('account-1', NULL);
SELECT pointstore.freeze_account(NULL, 'why');
SELECT pointstore.unfreeze_account('account-1', NULL);
SELECT pointstore.freeze_account('account-1', '');
SELECT pointstore.unfreeze_account('account-1', '');
SELECT pointstore.unfreeze_account(NULL, 'why');
SELECT pointstore.freeze_account('', 'why');
SELECT pointstore.freeze_account('account-none', 'why');
SELECT pointstore.unfreeze_account('account-none', 'why');
SELECT pointstore.close_account('account-none');
SELECT pointstore.close_account(NULL);
SELECT pointstore.close_account('');
SELECT pointstore.set_kind('account-none', 'account-won');

-- close: only what is empty, and for good
SELECT pointstore.close_account('account-1');
SELECT version, balance FROM pointstore.append_event('account-1', 'PointSpent', -60);
SELECT pointstore.close_account('account-1', 'moved away');
SELECT pointstore.close_account('account-1', 'moved away');
SELECT pointstore.append_event('account-1', 'PointEarned', 1);
SELECT outcome, version, balance, available FROM pointstore.try_append_event('account-1', 'PointEarned', 1);
SELECT pointstore.open_account('account-1');
SELECT pointstore.open_account('account-1', 'account-won');
SELECT pointstore.freeze_account('account-1', 'why');
SELECT pointstore.unfreeze_account('account-1', 'why');
SELECT pointstore.set_kind('account-1', 'account-won');
SELECT status, version, balance FROM pointstore.get_balance('account-1');
-- a debt is a balance too
SELECT balance FROM pointstore.append_event('account-5', 'PointSpent', -1, kind => 'account-won-gold');
SELECT pointstore.close_account('account-5');

-- set_kind: other rules from the next append on
SELECT version, balance FROM pointstore.append_event('account-2', 'PointEarned', 9000);
SELECT pointstore.set_kind('account-2', 'account-won-gold', 'gold member');
SELECT pointstore.set_kind('account-2', 'account-won-gold', 'gold member');
SELECT kind, unit, version, balance FROM pointstore.get_balance('account-2');
SELECT outcome, balance FROM pointstore.append_event('account-2', 'PointEarned', 1);
SELECT outcome, balance FROM pointstore.append_event('account-2', 'PointSpent', -10000, expected_version => 1);
SELECT outcome, balance FROM pointstore.append_event('account-2', 'PointSpent', -1);
SELECT pointstore.set_kind('account-2', 'account-seat');
SELECT pointstore.set_kind('account-2', 'account-pure');
SELECT pointstore.set_kind('account-2', 'no-such-kind');
SELECT pointstore.set_kind('account-2', NULL);
SELECT pointstore.set_kind(NULL, 'account-won');
SELECT pointstore.set_kind('account-2', '');
-- without events the unit may change, the mode never
SELECT pointstore.open_account('account-6', 'account-won');
SELECT pointstore.set_kind('account-6', 'account-pure');
SELECT pointstore.set_kind('account-6', 'account-seat');
SELECT kind, unit FROM pointstore.get_balance('account-6');
-- a frozen account may change its kind and stays frozen
SELECT pointstore.freeze_account('account-6', 'test');
SELECT pointstore.set_kind('account-6', 'account-won');
SELECT kind, status FROM pointstore.get_balance('account-6');

-- the log: one row for each thing that happened, none for what did not
SELECT aggregate_id, action, reason, before ->> 'status' AS was, before ->> 'kind' AS was_kind, after ->> 'status' AS is, after ->> 'kind' AS is_kind,
       CASE WHEN action <> 'open' THEN after ->> 'version' END AS version, CASE WHEN action <> 'open' THEN after ->> 'balance' END AS balance
  FROM pointstore.account_log WHERE aggregate_id LIKE 'account-_' ORDER BY aggregate_id, id;
SELECT bool_and(at BETWEEN now() - interval '1 hour' AND clock_timestamp()) FROM pointstore.account_log WHERE aggregate_id LIKE 'account-_';

-- pure accounts alike
SELECT version, balance FROM pointstore.append_event('account-3', 'PointEarned', 100);
SELECT pointstore.freeze_account('account-3', 'fraud');
SELECT pointstore.append_event('account-3', 'PointEarned', 1);
SELECT status, version, balance FROM pointstore.get_balance('account-3');
SELECT pointstore.unfreeze_account('account-3', 'cleared');
SELECT pointstore.close_account('account-3');
SELECT pointstore.set_kind('account-3', 'account-pure-2');
SELECT pointstore.set_kind('account-3', 'account-pure-seat');
SELECT pointstore.set_kind('account-3', 'account-won');
SELECT version, balance FROM pointstore.append_event('account-3', 'PointSpent', -100, expected_version => 1);
SELECT pointstore.close_account('account-3');
SELECT pointstore.append_event('account-3', 'PointEarned', 1);
SELECT action, reason, after ->> 'kind' AS kind, after ->> 'status' AS status FROM pointstore.account_log WHERE aggregate_id = 'account-3' ORDER BY id;

-- what is rolled back did not happen
BEGIN;
SELECT pointstore.open_account('account-7');
SELECT pointstore.freeze_account('account-7', 'test');
ROLLBACK;
SELECT count(*) FROM pointstore.account_log WHERE aggregate_id = 'account-7';
BEGIN READ ONLY;
SELECT pointstore.freeze_account('account-2', 'test');
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.open_account('account-7');
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.set_kind('account-2', 'account-won');
ROLLBACK;

-- accounts opened by the default kind when that does not open them
BEGIN;
UPDATE pointstore.account_kind SET auto_open = false WHERE kind = 'default';
SELECT outcome FROM pointstore.try_append_event('account-8', 'PointEarned', 1);
SELECT pointstore.append_event('account-8', 'PointEarned', 1);
ROLLBACK;
BEGIN;
UPDATE pointstore.account_kind SET auto_open = false WHERE kind = 'default';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('account-8', 'Noted');
ROLLBACK;

-- a kind's limits, changed while they are in use: they bind from the next statement on, also after a savepoint
INSERT INTO pointstore.account_kind (kind) VALUES ('account-limits');
BEGIN;
SELECT balance FROM pointstore.append_event('account-9', 'PointEarned', 10, kind => 'account-limits');
UPDATE pointstore.account_kind SET min_balance = -5, max_balance = 20 WHERE kind = 'account-limits';
SELECT balance FROM pointstore.append_event('account-9', 'PointSpent', -15);
SAVEPOINT s;
UPDATE pointstore.account_kind SET min_balance = -100 WHERE kind = 'account-limits';
SELECT balance FROM pointstore.append_event('account-9', 'PointSpent', -50);
ROLLBACK TO s;
SELECT outcome, balance FROM pointstore.try_append_event('account-9', 'PointSpent', -50);
SELECT outcome, balance FROM pointstore.try_append_event('account-9', 'PointEarned', 26);
INSERT INTO pointstore.account_kind (kind) VALUES ('account-brief');
SELECT balance FROM pointstore.append_event('account-10', 'PointEarned', 1, kind => 'account-brief');
ROLLBACK TO s;
SELECT balance FROM pointstore.append_event('account-10', 'PointEarned', 1, kind => 'account-brief');
ROLLBACK;

-- an account is opened before its own triggers freeze it, on every path: its log says so in that order, and nothing is found
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('account-iced', 'pure');
CREATE FUNCTION account_ice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pointstore.freeze_account(NEW.aggregate_id, 'to be looked at first');
    RETURN NEW;
END $$;
BEGIN;
CREATE TRIGGER account_ice AFTER INSERT ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION account_ice();
CREATE TRIGGER account_ice AFTER INSERT ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION account_ice();
SELECT pointstore.open_account('iced-1'), pointstore.open_account('iced-2', 'account-iced');
SELECT outcome FROM pointstore.append_event('iced-3', 'PointEarned', 5);
INSERT INTO pointstore.balance (aggregate_id) VALUES ('iced-4');
DROP TRIGGER account_ice ON pointstore.balance;
DROP TRIGGER account_ice ON pointstore.pure_account;
CREATE TRIGGER account_ice AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION account_ice();
SELECT outcome FROM pointstore.append_event('iced-5', 'PointEarned', 5);
SELECT outcome FROM pointstore.append_event('iced-6', 'PointEarned', 5, kind => 'account-iced');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "iced-7", "event_type": "Noted"}, {"aggregate_id": "iced-8", "event_type": "Noted"}]');
DROP TRIGGER account_ice ON pointstore.event_store;
CREATE TRIGGER account_ice BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION account_ice();
SELECT outcome FROM pointstore.append_event('iced-9', 'PointEarned', 5);
SELECT a.aggregate_id, status, string_agg(action, ' ' ORDER BY l.id), (SELECT count(*) FROM pointstore.reconcile_account(a.aggregate_id)) AS found
  FROM pointstore.account a JOIN pointstore.account_log l USING (aggregate_id) WHERE aggregate_id LIKE 'iced-%' GROUP BY 1, 2 ORDER BY 1;
ROLLBACK;
DELETE FROM pointstore.account_kind WHERE kind = 'account-iced';
DROP FUNCTION account_ice();
-- what its triggers make of a change of status or kind is logged after it
CREATE FUNCTION account_undo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'frozen' THEN
        PERFORM pointstore.unfreeze_account(NEW.aggregate_id, 'not this one');
    ELSIF NEW.kind = 'account-undone' THEN
        PERFORM pointstore.set_kind(NEW.aggregate_id, OLD.kind);
    END IF;
    RETURN NEW;
END $$;
BEGIN;
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('account-undone-pure', 'pure'), ('account-undone', 'hybrid');
CREATE TRIGGER account_undo AFTER UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION account_undo();
CREATE TRIGGER account_undo AFTER UPDATE ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION account_undo();
SELECT pointstore.open_account('undone-1'), pointstore.open_account('undone-2', 'account-undone-pure');
SELECT pointstore.freeze_account('undone-1', 'test'), pointstore.freeze_account('undone-2', 'test'), pointstore.set_kind('undone-1', 'account-undone');
SELECT a.aggregate_id, kind, status, string_agg(action, ' ' ORDER BY l.id), (SELECT count(*) FROM pointstore.reconcile_account(a.aggregate_id)) AS found
  FROM pointstore.account a JOIN pointstore.account_log l USING (aggregate_id) WHERE aggregate_id LIKE 'undone-%' GROUP BY 1, 2, 3 ORDER BY 1;
ROLLBACK;
DROP FUNCTION account_undo();
