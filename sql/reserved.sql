-- What movements reserve on an account: held and incoming, the rules, and reconciliation.
\set VERBOSITY sqlstate
SET client_min_messages = error;
-- one role speaks for one store
UPDATE pointstore.participant_origin SET role = NULL;
-- a message of another store's coordinator, and how it is answered
CREATE FUNCTION rsv_ask(what text, movement text, account text = NULL, amount bigint = NULL, more jsonb = '{}') RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', a ->> 'answer', a ->> 'sqlstate', a ->> 'unit')
      FROM jsonb_array_elements(pointstore.participate(jsonb_build_object('version', 1, 'origin', '0b0e8400-e29b-41d4-a716-446655440000', 'name', 'rsv', 'incarnation', 1,
           'finished_below', '[1, 1]'::jsonb, 'messages', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('do', what, 'movement_id', movement, 'step', 1, 'incarnation', 1, 'number', 7,
           'protocol', 'tcc', 'aggregate_id', account, 'amount', amount, 'event_type', CASE WHEN what = 'try' THEN 'Moved' END)) || more)))
           -> 'answers') a
$$;
CREATE FUNCTION rsv_account(account text, OUT version bigint, OUT balance bigint, OUT held bigint, OUT incoming bigint, OUT available bigint, OUT status text) LANGUAGE sql AS $$
    SELECT b.version, b.balance, b.held, b.incoming, a.available, a.status FROM pointstore.balance b JOIN pointstore.account a USING (aggregate_id) WHERE aggregate_id = account
$$;
CREATE FUNCTION rsv_behind(statement text) RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
    EXECUTE statement;
END$$;
INSERT INTO pointstore.account_kind (kind, unit, max_balance) VALUES ('rsv-point', 'point', 100);
INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('rsv-free', 'point', NULL);
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('rsv-pure', 'pure');
INSERT INTO pointstore.account_kind (kind, unit, lease_required) VALUES ('rsv-leased', 'point', true);
INSERT INTO pointstore.account_kind (kind, unit) VALUES ('rsv-seat', 'seat');
SELECT outcome FROM pointstore.append_event('rsv-a', 'Earned', 50, kind => 'rsv-point');

-- a debit is held, and applied by its confirmation
SELECT rsv_ask('try', 'rsv-1', 'rsv-a', -20, '{"payload": {"order": 1}, "metadata": {"actor": "test"}}');
SELECT * FROM rsv_account('rsv-a');
SELECT outcome, available FROM pointstore.try_append_event('rsv-a', 'Spent', -31);
SELECT rsv_ask('try', 'rsv-2', 'rsv-a', -31);
SELECT rsv_ask('confirm', 'rsv-1');
SELECT rsv_ask('confirm', 'rsv-1');
SELECT * FROM rsv_account('rsv-a');

-- a credit is incoming: it counts against the ceiling, of everybody
SELECT rsv_ask('try', 'rsv-3', 'rsv-a', 60);
SELECT * FROM rsv_account('rsv-a');
SELECT outcome, balance FROM pointstore.try_append_event('rsv-a', 'Earned', 11);
\set VERBOSITY default
SELECT FROM pointstore.append_event('rsv-a', 'Earned', 11);
\set VERBOSITY sqlstate
SELECT rsv_ask('try', 'rsv-4', 'rsv-a', 11);
SELECT outcome, balance FROM pointstore.try_append_event('rsv-a', 'Earned', 10);
SELECT rsv_ask('confirm', 'rsv-3');
SELECT * FROM rsv_account('rsv-a');
SELECT rsv_ask('try', 'rsv-5', 'rsv-a', 1);

-- what is cancelled is given back, in both directions
SELECT outcome FROM pointstore.append_event('rsv-a', 'Spent', -50);
SELECT rsv_ask('try', 'rsv-6', 'rsv-a', 50), rsv_ask('try', 'rsv-7', 'rsv-a', -50);
SELECT * FROM rsv_account('rsv-a');
SELECT rsv_ask('cancel', 'rsv-6'), rsv_ask('cancel', 'rsv-7');
SELECT * FROM rsv_account('rsv-a');
SELECT version, event_type, amount, held, balance_after, payload, metadata,
       (SELECT version FROM pointstore.event_store c WHERE c.id = e.cause_id) AS cause FROM pointstore.event_store e WHERE aggregate_id = 'rsv-a' ORDER BY version;

-- nothing refuses the end of what was tried: a freeze, a floor, a ceiling, a lease, a state
SELECT outcome FROM pointstore.append_event('rsv-b', 'Earned', 50, kind => 'rsv-point');
SELECT rsv_ask('try', m, 'rsv-b', a) FROM (VALUES ('rsv-b1', 30), ('rsv-b2', -30), ('rsv-b3', 20), ('rsv-b4', -20)) t (m, a);
UPDATE pointstore.account_kind SET min_balance = 90, max_balance = 95, lease_required = true, transitions = 'strict' WHERE kind = 'rsv-point';
SELECT pointstore.freeze_account('rsv-b', 'test');
SELECT rsv_ask('try', 'rsv-b5', 'rsv-b', 1);
SELECT rsv_ask('confirm', m) FROM unnest('{rsv-b1,rsv-b2}'::text[]) m;
SELECT rsv_ask('cancel', m) FROM unnest('{rsv-b3,rsv-b4}'::text[]) m;
SELECT * FROM rsv_account('rsv-b');
UPDATE pointstore.account_kind SET min_balance = 0, max_balance = 100, lease_required = false, transitions = 'open' WHERE kind = 'rsv-point';
SELECT pointstore.unfreeze_account('rsv-b', 'test');
SELECT action, before -> 'incoming' AS incoming, after -> 'held' AS held FROM pointstore.account_log WHERE aggregate_id = 'rsv-b' ORDER BY id;
-- but of the try all do
SELECT pointstore.open_account('rsv-l', 'rsv-leased');
SELECT rsv_ask('try', 'rsv-l1', 'rsv-l', 1);
INSERT INTO pointstore.account_kind (kind, initial_state, transitions) VALUES ('rsv-strict', 'new', 'strict');
INSERT INTO pointstore.transition VALUES ('rsv-strict', 'new', 'MovementTried', 'moving'), ('rsv-strict', 'moving', 'Ended', 'gone');
SELECT pointstore.open_account('rsv-t', 'rsv-strict');
SELECT rsv_ask('try', 'rsv-t1', 'rsv-t', 1), rsv_ask('try', 'rsv-t2', 'rsv-t', 1), rsv_ask('confirm', 'rsv-t1');
SELECT state FROM pointstore.account WHERE aggregate_id = 'rsv-t';

-- the ends of bigint: what is reserved has room until it is applied
SELECT outcome FROM pointstore.append_event('rsv-w', 'Earned', 9223372036854775000, kind => 'rsv-free');
SELECT rsv_ask('try', 'rsv-w1', 'rsv-w', 800), rsv_ask('try', 'rsv-w2', 'rsv-w', 8);
SELECT outcome FROM pointstore.append_event('rsv-w', 'Earned', 8);
SELECT outcome FROM pointstore.append_event('rsv-w', 'Earned', 7);
SELECT rsv_ask('confirm', 'rsv-w1');
SELECT * FROM rsv_account('rsv-w');
SELECT outcome FROM pointstore.append_event('rsv-w', 'Spent', -9223372036854775807);
SELECT rsv_ask('try', 'rsv-w3', 'rsv-w', -9223372036854775807), rsv_ask('try', 'rsv-w4', 'rsv-w', -2), rsv_ask('try', 'rsv-w5', 'rsv-w', -1), rsv_ask('try', 'rsv-w6', 'rsv-w', '-9223372036854775808');
SELECT rsv_ask('confirm', 'rsv-w3'), rsv_ask('confirm', 'rsv-w5');
SELECT * FROM rsv_account('rsv-w');

-- accounts that take no part
SELECT pointstore.open_account('rsv-p', 'rsv-pure');
SELECT rsv_ask('try', 'rsv-p1', 'rsv-p', 1), rsv_ask('try', 'rsv-p2', 'rsv-p2', 1, '{"kind": "rsv-pure"}');

-- an account with a step on it is not closed, nor put under another unit
SELECT pointstore.open_account('rsv-c', 'rsv-point');
SELECT rsv_ask('try', 'rsv-c1', 'rsv-c', 5);
SELECT pointstore.close_account('rsv-c');
SELECT pointstore.set_kind('rsv-c', 'rsv-seat');
SELECT pointstore.set_kind('rsv-c', 'rsv-free');
SELECT rsv_ask('cancel', 'rsv-c1');
SELECT rsv_ask('try', 'rsv-c2', 'rsv-c', 0, '{"protocol": "saga"}');
SELECT pointstore.close_account('rsv-c');
SELECT rsv_ask('confirm', 'rsv-c2', NULL, NULL, '{"protocol": "saga"}');
SELECT pointstore.close_account('rsv-c');
SELECT rsv_ask('try', 'rsv-c3', 'rsv-c', 5);
-- a saga's undo passes what its step would not
SELECT rsv_ask('try', 'rsv-s1', 'rsv-s', 40, '{"protocol": "saga", "kind": "rsv-point"}'), rsv_ask('try', 'rsv-s2', 'rsv-s', -10, '{"protocol": "saga"}');
SELECT outcome FROM pointstore.append_event('rsv-s', 'Earned', 70);
SELECT pointstore.freeze_account('rsv-s', 'test');
SELECT rsv_ask('cancel', 'rsv-s2', NULL, NULL, '{"protocol": "saga"}');
SELECT * FROM rsv_account('rsv-s');
SELECT pointstore.unfreeze_account('rsv-s', 'test');
SELECT outcome FROM pointstore.append_event('rsv-s', 'Spent', -90);
SELECT rsv_ask('cancel', 'rsv-s1', NULL, NULL, '{"protocol": "saga"}');
SELECT * FROM rsv_account('rsv-s');

-- in a state that does not allow it too; and the history of the account is none that the rows would refuse
INSERT INTO pointstore.account_kind (kind, initial_state, transitions) VALUES ('rsv-flow', 'new', 'strict');
INSERT INTO pointstore.transition VALUES ('rsv-flow', 'new', 'Go', 'going'), ('rsv-flow', 'going', 'Stop', 'stopped');
SELECT rsv_ask('try', 'rsv-f1', 'rsv-f', 5, '{"protocol": "saga", "kind": "rsv-flow", "event_type": "Go"}'), rsv_ask('try', 'rsv-f2', 'rsv-f', 5, '{"protocol": "saga", "event_type": "Go"}');
SELECT outcome FROM pointstore.append_event('rsv-f', 'Stop');
SELECT rsv_ask('cancel', 'rsv-f1', NULL, NULL, '{"protocol": "saga"}');
SELECT version, event_type, amount, state_after FROM pointstore.event_store WHERE aggregate_id = 'rsv-f' ORDER BY version;
SELECT * FROM pointstore.check_transitions('rsv-flow');

-- what is prepared applies at once, under all the rules
BEGIN;
SELECT rsv_ask('try', 'rsv-2pc', 'rsv-b', 50, '{"protocol": "2pc"}'), rsv_ask('try', 'rsv-2pc2', 'rsv-b', 1, '{"protocol": "2pc"}');
COMMIT;
SELECT event_type, amount, held, cause_id FROM pointstore.event_store WHERE aggregate_id = 'rsv-b' ORDER BY version DESC LIMIT 1;
SELECT outcome FROM pointstore.append_event('rsv-b', 'Spent', -50);

-- nobody else writes any of it
UPDATE pointstore.balance SET incoming = 1 WHERE aggregate_id = 'rsv-a';
UPDATE pointstore.balance SET version = version + 1, balance = balance + 1, incoming = incoming + 1 WHERE aggregate_id = 'rsv-a';
INSERT INTO pointstore.balance (aggregate_id, kind, incoming) VALUES ('rsv-n', 'rsv-point', 1);
SELECT FROM pointstore.append_event('rsv-a', 'MovementTried', 1);
SELECT FROM pointstore.append_event('rsv-a', 'MovementConfirmed', 1);
SELECT FROM pointstore.append_event('rsv-a', 'MovementCancelled');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rsv-a', 'MovementTried', 0);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rsv-a', 'MovementConfirmed', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rsv-a', 'MovementCancelled', 0);
-- a balance that is changed by hand keeps to what is reserved as well
SELECT rsv_ask('try', 'rsv-h1', 'rsv-a', 40), rsv_ask('try', 'rsv-h2', 'rsv-a', -40);
BEGIN;
UPDATE pointstore.balance SET version = version + 1, balance = balance + 11 WHERE aggregate_id = 'rsv-a';
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET version = version + 1, balance = balance - 11 WHERE aggregate_id = 'rsv-a';
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET version = version + 1, balance = balance + 10 WHERE aggregate_id = 'rsv-a';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('rsv-a', 'Earned');
COMMIT;
SELECT * FROM rsv_account('rsv-a');

-- what an account held then, and its statement
SELECT pointstore.balance_as_of('rsv-a', v) FROM generate_series(1, 4) v;
SELECT entry, event_type, amount, balance FROM pointstore.statement('rsv-b', '-infinity', 'infinity');
-- events of movements are events: a stale version is refused for them, unless they commute
SELECT rsv_ask('try', 'rsv-m1', 'rsv-b', 1);
SELECT outcome FROM pointstore.try_append_event('rsv-b', 'Earned', 1, expected_version => (SELECT version - 1 FROM rsv_account('rsv-b')));
UPDATE pointstore.account_kind SET commuting = '{Earned,MovementTried}' WHERE kind = 'rsv-point';
SELECT outcome FROM pointstore.try_append_event('rsv-b', 'Earned', 1, expected_version => (SELECT version - 1 FROM rsv_account('rsv-b')));

-- all of that is in order: by every scope, and by the functions that put right
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SET pointstore.reconcile_max_transaction = 1;
UPDATE pg_class SET reltuples = 7000 WHERE oid = 'pointstore.event_store'::regclass;
CALL pointstore.reconcile('full') \gset
SELECT slices > 3 AS in_slices FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1;
RESET pointstore.reconcile_max_transaction;
SELECT aggregate_id, code FROM pointstore.finding WHERE aggregate_id LIKE 'rsv-%';
SELECT r.* FROM pointstore.balance, pointstore.reconcile_account(aggregate_id) r WHERE aggregate_id LIKE 'rsv-%';
SELECT b.aggregate_id, r.changed FROM pointstore.balance b, LATERAL pointstore.rebuild_balance(b.aggregate_id) r WHERE b.aggregate_id LIKE 'rsv-%' AND r.changed;
SELECT p.incoming = b.incoming AS proved, count(*) FROM pointstore.account_proof p JOIN pointstore.balance b USING (aggregate_id, version, balance, held)
 WHERE aggregate_id LIKE 'rsv-%' GROUP BY 1;

-- a row that says otherwise is found, and put right by the events
SELECT rsv_behind($$UPDATE pointstore.balance SET incoming = incoming - 3, held = held + 2 WHERE aggregate_id = 'rsv-a'$$);
SELECT code, severity, expected, found, detail - '{log,row}'::text[] AS detail FROM pointstore.reconcile_account('rsv-a');
SELECT changed, old_held, new_held FROM pointstore.rebuild_balance('rsv-a');
SELECT * FROM rsv_account('rsv-a');
SELECT before -> 'incoming' AS before, after -> 'incoming' AS after FROM pointstore.account_log WHERE aggregate_id = 'rsv-a' AND action = 'rebuild';
SELECT rsv_behind($$DELETE FROM pointstore.balance WHERE aggregate_id = 'rsv-a'$$);
CALL pointstore.rebuild_balances();
SELECT * FROM rsv_account('rsv-a');
SELECT rsv_behind($$UPDATE pointstore.balance SET incoming = 0 WHERE aggregate_id = 'rsv-a'$$);
CALL pointstore.rebuild_balances();
SELECT * FROM rsv_account('rsv-a');
UPDATE pointstore.account_kind SET on_mismatch = 'repair' WHERE kind = 'rsv-point';
SELECT rsv_behind($$UPDATE pointstore.balance SET incoming = 0 WHERE aggregate_id = 'rsv-a'$$);
CALL pointstore.reconcile('full') \gset
SELECT code, severity, expected, found, action FROM pointstore.finding WHERE aggregate_id = 'rsv-a';
SELECT * FROM rsv_account('rsv-a');
-- a row of a step is not put right: nobody but the events says what it was
SELECT rsv_behind($$UPDATE pointstore.participant_step SET amount = 41 WHERE movement_id = 'rsv-h1'$$);
CALL pointstore.reconcile('full') \gset
SELECT code, severity, expected, found, action FROM pointstore.finding WHERE aggregate_id = 'rsv-a' AND resolved_at IS NULL ORDER BY code;
SELECT pointstore.repair(id) FROM pointstore.finding WHERE aggregate_id = 'rsv-a' AND resolved_at IS NULL ORDER BY code LIMIT 1;
SELECT rsv_behind($$UPDATE pointstore.participant_step SET amount = 40 WHERE movement_id = 'rsv-h1'$$);
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM pointstore.finding WHERE aggregate_id = 'rsv-a' AND resolved_at IS NULL;
SELECT rsv_ask('confirm', 'rsv-h1'), rsv_ask('confirm', 'rsv-h2');
SELECT * FROM rsv_account('rsv-a');

-- a user's trigger may write metadata as it likes: what it does not say any more is no disagreement
CREATE FUNCTION rsv_wipe() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.metadata := CASE current_setting('rsv.metadata') WHEN '' THEN NULL ELSE current_setting('rsv.metadata')::jsonb END;
    RETURN new;
END$$;
CREATE TRIGGER rsv_wipe BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (new.aggregate_id = 'rsv-u') EXECUTE FUNCTION rsv_wipe();
SET rsv.metadata = '';
SELECT pointstore.open_account('rsv-u', 'rsv-point');
SELECT rsv_ask('try', 'rsv-u1', 'rsv-u', 10), rsv_ask('try', 'rsv-u2', 'rsv-u', 20), rsv_ask('confirm', 'rsv-u2'), rsv_ask('try', 'rsv-u3', 'rsv-u', -5);
SET rsv.metadata = '["movement_id"]';
SELECT rsv_ask('try', 'rsv-u4', 'rsv-u', 7), rsv_ask('try', 'rsv-u5', 'rsv-u', 8), rsv_ask('cancel', 'rsv-u4');
SET rsv.metadata = '"movement_id"';
SELECT rsv_ask('try', 'rsv-u6', 'rsv-u', 1);
SET rsv.metadata = '{"amount": "9"}';
SELECT rsv_ask('try', 'rsv-u7', 'rsv-u', 2);
SELECT * FROM rsv_account('rsv-u');
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM pointstore.finding WHERE aggregate_id = 'rsv-u';
SELECT code FROM pointstore.reconcile_account('rsv-u');
SELECT changed FROM pointstore.rebuild_balance('rsv-u');
SELECT version > 0 AS proved, incoming FROM pointstore.account_proof WHERE aggregate_id = 'rsv-u';
SELECT rsv_behind($$UPDATE pointstore.balance SET incoming = incoming + 1 WHERE aggregate_id = 'rsv-u'$$);
SELECT code, severity, expected, found FROM pointstore.reconcile_account('rsv-u');
SELECT changed FROM pointstore.rebuild_balance('rsv-u');
SELECT * FROM rsv_account('rsv-u');
DROP TRIGGER rsv_wipe ON pointstore.event_store;
SELECT rsv_ask('confirm', m) FROM unnest('{rsv-u1,rsv-u3,rsv-u5,rsv-u6,rsv-u7}'::text[]) m;
SELECT * FROM rsv_account('rsv-u');
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM pointstore.finding WHERE aggregate_id LIKE 'rsv-%' AND resolved_at IS NULL;
DROP FUNCTION rsv_wipe(), rsv_ask(text, text, text, bigint, jsonb), rsv_account(text), rsv_behind(text);
DELETE FROM pointstore.participant_origin WHERE name = 'rsv';
