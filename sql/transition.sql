-- State machines: which event may follow which state, on every path, and what stands in the state.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, min_balance, initial_state) VALUES ('tr-order', NULL, NULL), ('tr-case', 0, 'filed');
INSERT INTO pointstore.account_kind (kind, mode, min_balance, initial_state) VALUES ('tr-pure', 'pure', NULL, 'draft');
INSERT INTO pointstore.account_kind (kind, transitions) VALUES ('tr-strict', 'strict');
INSERT INTO pointstore.account_kind (kind) VALUES ('tr-plain');
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('tr-order', '', 'OrderPlaced', 'placed'),
    ('tr-order', 'placed', 'OrderApproved', 'approved'), ('tr-order', 'placed', 'OrderCancelled', 'cancelled'),
    ('tr-order', 'approved', 'OrderShipped', 'shipped'), ('tr-order', 'approved', 'OrderCancelled', 'cancelled'),
    ('tr-order', 'cancelled', 'OrderForgotten', ''),
    ('tr-case', 'filed', 'Opened', 'open'), ('tr-case', 'open', 'Closed', 'closed'), ('tr-case', 'open', 'HoldPlaced', 'held'),
    ('tr-case', 'held', 'HoldConfirmed', 'open'), ('tr-case', 'held', 'HoldCancelled', 'open'),
    ('tr-pure', 'draft', 'Sent', 'sent'), ('tr-pure', 'sent', 'Read', 'read'),
    ('tr-strict', '', 'Began', 'going'), ('tr-strict', 'going', 'Ended', 'gone');
CREATE FUNCTION tr_now(asked text) RETURNS TABLE (version bigint, balance bigint, state text, last text) LANGUAGE sql AS
$$SELECT a.version, a.balance, a.state, (SELECT e.state_after FROM pointstore.event_store e WHERE e.aggregate_id = asked ORDER BY e.version DESC LIMIT 1)
    FROM pointstore.account a WHERE a.aggregate_id = asked$$;
CREATE FUNCTION tr_events(asked text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(event_type || '>' || coalesce(state_after, '-'), ' ' ORDER BY version) FROM pointstore.event_store WHERE aggregate_id = asked$$;
-- what a refusal tells programs
CREATE FUNCTION tr_detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    EXECUTE statement;
    RETURN 'passed';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ': ' || told;
END$$;

-- functions: a named type from the states that it is named with, others at any time
SELECT outcome, version FROM pointstore.append_event('tr-1', 'OrderApproved', kind => 'tr-order');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'tr-1';
SELECT outcome, version FROM pointstore.append_event('tr-1', 'Noted', kind => 'tr-order');
SELECT * FROM tr_now('tr-1');
SELECT outcome, version FROM pointstore.append_event('tr-1', 'OrderPlaced', 500);
SELECT * FROM tr_now('tr-1');
SELECT outcome, version FROM pointstore.append_event('tr-1', 'OrderPlaced', 500);
SELECT outcome, version FROM pointstore.append_event('tr-1', 'OrderApproved');
SELECT outcome, version FROM pointstore.append_event('tr-1', 'Noted');
SELECT * FROM tr_now('tr-1');
SELECT outcome, version, balance, available, id FROM pointstore.try_append_event('tr-1', 'OrderApproved', -1000);
SELECT tr_detail($$SELECT pointstore.append_event('tr-1', 'OrderApproved')$$);
SELECT tr_detail($$SELECT pointstore.append_event('tr-new', 'OrderShipped', kind => 'tr-order')$$);
SELECT tr_detail($$SELECT pointstore.append_event('tr-new', 'Sent, "and" read', kind => 'tr-strict')$$);
SELECT outcome FROM pointstore.append_event('tr-1', 'OrderCancelled');
SELECT outcome FROM pointstore.append_event('tr-1', 'OrderShipped');
-- a state that is none again
SELECT outcome FROM pointstore.append_event('tr-1', 'OrderForgotten');
SELECT * FROM tr_now('tr-1');
SELECT outcome FROM pointstore.append_event('tr-1', 'OrderPlaced');
SELECT tr_events('tr-1');
SELECT state FROM pointstore.get_balance('tr-1');

-- the order of the rules: the version comes before, overflow and floor after
SELECT outcome FROM pointstore.try_append_event('tr-1', 'OrderPlaced', expected_version => 1);
SELECT outcome FROM pointstore.try_append_event('tr-1', 'OrderPlaced', -9223372036854775807, min_balance => 0);
SELECT outcome FROM pointstore.append_event('tr-2', 'Opened', kind => 'tr-case');
SELECT outcome FROM pointstore.try_append_event('tr-2', 'Opened', -1);
SELECT outcome FROM pointstore.try_append_event('tr-2', 'Closed', -1);
SELECT pointstore.freeze_account('tr-2', 'test');
SELECT outcome FROM pointstore.try_append_event('tr-2', 'Opened');
SELECT pointstore.unfreeze_account('tr-2', 'test');
-- a request that was applied replays whatever the state
SELECT outcome, version FROM pointstore.append_event('tr-2', 'Noted', request_id => 'tr-r1');
SELECT outcome, version FROM pointstore.append_event('tr-1', 'OrderApproved', request_id => 'tr-r2');
SELECT outcome, version FROM pointstore.append_event('tr-1', 'OrderApproved', request_id => 'tr-r2');

-- the state that accounts begin in: opened, by the first event, by hand
SELECT pointstore.open_account('tr-3', 'tr-case');
SELECT * FROM tr_now('tr-3');
INSERT INTO pointstore.balance (aggregate_id, kind) VALUES ('tr-4', 'tr-case');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tr-5', 'tr-case', 'filed');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tr-6', 'tr-case', 'open');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tr-6', 'tr-plain', 'open');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tr-6', 'tr-plain', '');
SELECT aggregate_id, state FROM pointstore.balance WHERE aggregate_id IN ('tr-4', 'tr-5', 'tr-6') ORDER BY 1;
SELECT aggregate_id, action, after ->> 'version' AS version, after -> 'state' AS state FROM pointstore.account_log WHERE aggregate_id IN ('tr-2', 'tr-3', 'tr-4') ORDER BY aggregate_id, id;

-- strict
SELECT outcome FROM pointstore.append_event('tr-7', 'Noted', kind => 'tr-strict');
SELECT outcome FROM pointstore.append_event('tr-7', 'Began', kind => 'tr-strict');
SELECT outcome FROM pointstore.append_event('tr-7', 'Noted');
SELECT outcome FROM pointstore.hold('tr-7', 1);
SELECT outcome FROM pointstore.append_event('tr-7', 'Ended', 5);
SELECT outcome FROM pointstore.reverse_event('tr-7', 2);
SELECT tr_events('tr-7');

-- batches: each event on what those before it have made of the account; all or nothing
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "tr-8", "event_type": "OrderPlaced", "kind": "tr-order"},
    {"aggregate_id": "tr-9", "event_type": "Opened", "kind": "tr-case"},
    {"aggregate_id": "tr-8", "event_type": "OrderApproved"},
    {"aggregate_id": "tr-8", "event_type": "Noted"},
    {"aggregate_id": "tr-9", "event_type": "Closed"}]');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "tr-8", "event_type": "OrderShipped"},
    {"aggregate_id": "tr-9", "event_type": "Closed"}]');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_append_events('[
    {"aggregate_id": "tr-8", "event_type": "OrderShipped"},
    {"aggregate_id": "tr-8", "event_type": "OrderShipped"}]');
SELECT tr_detail($$SELECT pointstore.append_events('[{"aggregate_id": "tr-8", "event_type": "OrderShipped"}, {"aggregate_id": "tr-8", "event_type": "OrderShipped"}]')$$);
SELECT tr_events('tr-8'), tr_events('tr-9');

-- INSERT and COPY: several rows of an account in one statement, and what is given
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-4', 'Closed');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('tr-4', 'Opened', 7), ('tr-4', 'Noted', 0), ('tr-4', 'Closed', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-5', 'Opened'), ('tr-5', 'Opened');
COPY pointstore.event_store (aggregate_id, event_type, amount, state_after) FROM STDIN;
tr-5	Opened	3	\N
tr-5	Noted	0	open
tr-5	Closed	0	closed
\.
COPY pointstore.event_store (aggregate_id, event_type) FROM STDIN;
tr-3	Opened
tr-3	Closed
tr-3	Opened
\.
INSERT INTO pointstore.event_store (aggregate_id, event_type, state_after) VALUES ('tr-3', 'Opened', 'closed');
INSERT INTO pointstore.event_store (aggregate_id, event_type, state_after) VALUES ('tr-6', 'Opened', 'open');
INSERT INTO pointstore.event_store (aggregate_id, event_type, state_after) VALUES ('tr-6', 'Opened', '') RETURNING state_after;
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tr-3,tr-4,tr-5,tr-6}'::text[]) a;
UPDATE pointstore.balance SET state = 'open' WHERE aggregate_id = 'tr-5';
UPDATE pointstore.balance SET state = NULL, version = version + 1 WHERE aggregate_id = 'tr-5';
UPDATE pointstore.balance SET state = state WHERE aggregate_id = 'tr-5';

-- the textbook transaction: the balance first, then its event, which moves the state
BEGIN;
UPDATE pointstore.balance SET balance = balance + 5, version = version + 1 WHERE aggregate_id = 'tr-3' AND version = 0;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('tr-3', 1, 'Closed');
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 5, version = version + 1 WHERE aggregate_id = 'tr-3' AND version = 0;
SELECT state FROM pointstore.balance WHERE aggregate_id = 'tr-3';
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('tr-3', 1, 'Opened');
SELECT * FROM tr_now('tr-3');
-- two changes, then their events
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tr-3';
UPDATE pointstore.balance SET balance = balance + 2, version = version + 1 WHERE aggregate_id = 'tr-3';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('tr-3', 'Noted', 1), ('tr-3', 'Closed', 2);
COMMIT;
SELECT (tr_now('tr-3')).*, tr_events('tr-3');
-- a savepoint takes the state back
SELECT outcome FROM pointstore.append_event('tr-10', 'Opened', kind => 'tr-case');
BEGIN;
SAVEPOINT s;
UPDATE pointstore.balance SET version = version + 1 WHERE aggregate_id = 'tr-10';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-10', 'Closed');
ROLLBACK TO s;
SELECT * FROM tr_now('tr-10');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-10', 'Closed');
SAVEPOINT t;
SELECT outcome FROM pointstore.append_event('tr-10', 'Opened');
ROLLBACK TO t;
SELECT outcome, version FROM pointstore.append_event('tr-10', 'Noted');
COMMIT;
SELECT (tr_now('tr-10')).*, tr_events('tr-10');

-- the caller moves the balance, before or afterwards: the state is the store's to move
SET pointstore.balance_writer = caller;
SELECT pointstore.open_account('tr-11', 'tr-case');
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tr-11', 1, 'Opened', 10);
SELECT state, version FROM pointstore.balance WHERE aggregate_id = 'tr-11';
UPDATE pointstore.balance SET balance = balance + 10, version = version + 1 WHERE aggregate_id = 'tr-11' AND version = 0;
COMMIT;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tr-11' AND version = 1;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tr-11', 2, 'Noted', 1);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tr-11', 3, 'Closed', 1), ('tr-11', 4, 'Noted', 1);
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tr-11' AND version = 2;
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tr-11' AND version = 3;
COMMIT;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tr-11', 5, 'Opened', 1);
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tr-11', 5, 'Noted', 1);
UPDATE pointstore.balance SET state = 'open', balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tr-11';
ROLLBACK;
RESET pointstore.balance_writer;
SELECT (tr_now('tr-11')).*, tr_events('tr-11');

-- pure accounts
SELECT outcome FROM pointstore.append_event('tr-20', 'Read', kind => 'tr-pure');
SELECT outcome, version FROM pointstore.append_event('tr-20', 'Noted', kind => 'tr-pure');
SELECT outcome, version FROM pointstore.append_event('tr-20', 'Sent');
SELECT outcome, version FROM pointstore.append_event('tr-20', 'Sent');
SELECT outcome, version FROM pointstore.try_append_event('tr-20', 'Sent', 5);
SELECT pointstore.open_account('tr-21', 'tr-pure');
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('tr-22', 'tr-pure');
SELECT a, (tr_now(a)).* FROM unnest('{tr-20,tr-21,tr-22}'::text[]) a;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-21', 'Sent'), ('tr-21', 'Noted'), ('tr-21', 'Read');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-22', 'Read');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "tr-22", "event_type": "Sent"}, {"aggregate_id": "tr-21", "event_type": "Noted"}, {"aggregate_id": "tr-22", "event_type": "Read"}]');
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tr-20,tr-21,tr-22}'::text[]) a;

-- holds, reversals, transfers
SELECT outcome FROM pointstore.append_event('tr-30', 'Opened', 100, kind => 'tr-case');
SELECT outcome FROM pointstore.hold('tr-30', 10, 'tr-h1');
SELECT outcome FROM pointstore.hold('tr-30', 10, 'tr-h2');
SELECT outcome, version FROM pointstore.try_hold('tr-30', 10, 'tr-h2');
SELECT outcome FROM pointstore.confirm_hold('tr-h1');
SELECT outcome FROM pointstore.hold('tr-30', 10, 'tr-h3', expires_in => '1 microsecond');
CALL pointstore.sweep_holds();
-- an expired hold leaves the state alone
SELECT (tr_now('tr-30')).*, tr_events('tr-30');
SELECT outcome FROM pointstore.confirm_hold('tr-h1');
SELECT outcome FROM pointstore.reverse_event('tr-30', 3);
INSERT INTO pointstore.transition VALUES ('tr-case', 'open', 'EventReversed', 'open');
SELECT outcome FROM pointstore.reverse_event('tr-30', 3);
SELECT outcome FROM pointstore.append_event('tr-32', 'Opened', 10, kind => 'tr-case');
SELECT outcome FROM pointstore.append_event('tr-32', 'Closed');
SELECT outcome FROM pointstore.reverse_event('tr-32', 1);
INSERT INTO pointstore.transition VALUES ('tr-order', 'approved', 'Transferred', 'paid'), ('tr-case', 'filed', 'Transferred', 'open'), ('tr-case', 'open', 'Transferred', 'open');
SELECT outcome FROM pointstore.append_event('tr-31', 'Noted', kind => 'tr-case');
SELECT outcome FROM pointstore.transfer('tr-1', 'tr-31', 50);
SELECT outcome FROM pointstore.transfer('tr-1', 'tr-31', 50);
SELECT outcome, aggregate_id FROM pointstore.try_transfer('tr-31', 'tr-1', 50);
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tr-1,tr-31}'::text[]) a;

-- combined
SELECT outcome, version FROM pointstore.submit_event('tr-40', 'OrderPlaced', kind => 'tr-order');
SELECT outcome, version FROM pointstore.submit_event('tr-40', 'OrderShipped');
SELECT outcome, version, balance FROM pointstore.try_submit_event('tr-40', 'OrderShipped', 7);
SELECT outcome FROM pointstore.submit_event('tr-40', 'OrderApproved');
\set VERBOSITY default
SELECT outcome FROM pointstore.submit_event('tr-40', 'OrderApproved');
\set VERBOSITY sqlstate
SELECT outcome FROM pointstore.submit_transfer('tr-40', 'tr-31', 5);
SELECT outcome FROM pointstore.try_submit_transfer('tr-40', 'tr-31', 5);
SELECT outcome FROM pointstore.submit_event('tr-41', 'Sent', kind => 'tr-pure');
SELECT outcome FROM pointstore.submit_event('tr-41', 'Sent');
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tr-40,tr-41}'::text[]) a;

-- rows are guarded
INSERT INTO pointstore.transition VALUES ('tr-order', 'a', 'HoldExpired', 'b');
INSERT INTO pointstore.transition VALUES ('tr-order', 'a', 'BalanceAdjusted', 'b');
INSERT INTO pointstore.transition VALUES ('tr-order', 'a', 'MovementConfirmed', 'b');
INSERT INTO pointstore.transition VALUES ('tr-order', 'a', 'MovementCancelled', 'b');
INSERT INTO pointstore.transition VALUES ('tr-order', 'a', '', 'b');
INSERT INTO pointstore.transition VALUES ('tr-none', 'a', 'E', 'b');
INSERT INTO pointstore.transition VALUES ('tr-order', repeat('a', 513), 'E', 'b');
INSERT INTO pointstore.transition VALUES ('tr-order', 'a', 'E', NULL);
INSERT INTO pointstore.transition VALUES ('tr-order', 'placed', 'OrderApproved', 'b');
UPDATE pointstore.transition SET event_type = 'HoldExpired' WHERE kind = 'tr-pure' AND event_type = 'Sent';
UPDATE pointstore.account_kind SET transitions = 'closed' WHERE kind = 'tr-pure';

-- rows that change: at once, also in the transaction that changes them, and back again with it
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderPlaced', kind => 'tr-order');
BEGIN;
INSERT INTO pointstore.transition VALUES ('tr-order', 'placed', 'OrderLost', 'lost');
SAVEPOINT s;
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderLost');
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderLost');
ROLLBACK TO s;
DELETE FROM pointstore.transition WHERE event_type = 'OrderLost';
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderLost');
SELECT * FROM tr_now('tr-50');
ROLLBACK;
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderLost');
UPDATE pointstore.transition SET to_state = 'sent' WHERE kind = 'tr-order' AND event_type = 'OrderApproved';
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderApproved');
SELECT * FROM tr_now('tr-50');
UPDATE pointstore.transition SET to_state = 'approved' WHERE kind = 'tr-order' AND event_type = 'OrderApproved';
UPDATE pointstore.account_kind SET transitions = 'strict' WHERE kind = 'tr-order';
SELECT outcome FROM pointstore.append_event('tr-50', 'Noted');
UPDATE pointstore.account_kind SET transitions = 'open' WHERE kind = 'tr-order';
BEGIN;
TRUNCATE pointstore.transition;
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderPlaced');
ROLLBACK;
SELECT outcome FROM pointstore.append_event('tr-50', 'OrderPlaced');
-- rows that come one by one: a kind's are not read for each
BEGIN;
DO $$BEGIN FOR i IN 1..50 LOOP INSERT INTO pointstore.transition VALUES ('tr-order', 's' || i, 'OrderMoved', 's' || i + 1); END LOOP; END$$;
SELECT count(*) < 5 AS few FROM pg_backend_memory_contexts WHERE name LIKE 'pointstore transitions%';
ROLLBACK;
-- prepared
BEGIN;
SELECT outcome FROM pointstore.append_event('tr-50', 'Noted', 3);
SELECT outcome FROM pointstore.append_event('tr-51', 'OrderPlaced', kind => 'tr-order');
PREPARE TRANSACTION 'tr-prepared';
COMMIT PREPARED 'tr-prepared';
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tr-50,tr-51}'::text[]) a;
-- REPEATABLE READ
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM pointstore.append_event('tr-51', 'OrderApproved');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-51', 'OrderShipped');
COMMIT;
SELECT (tr_now('tr-51')).*, tr_events('tr-51');

-- set_kind: the state is kept where the kind knows it
INSERT INTO pointstore.account_kind (kind, initial_state, min_balance) VALUES ('tr-other', 'new', NULL);
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('tr-pure-plain', 'pure', NULL), ('tr-pure-other', 'pure', NULL);
INSERT INTO pointstore.transition VALUES ('tr-other', 'new', 'Began', 'shipped'), ('tr-other', 'shipped', 'Returned', 'new'),
    ('tr-pure-other', 'sent', 'Answered', 'done'), ('tr-pure-other', '', 'Sent', 'sent');
SELECT pointstore.set_kind('tr-51', 'tr-other');
SELECT (tr_now('tr-51')).*;
SELECT pointstore.set_kind('tr-50', 'tr-other');
SELECT pointstore.set_kind('tr-50', 'tr-other', new_state => 'lost');
SELECT pointstore.set_kind('tr-50', 'tr-other', new_state => '');
SELECT pointstore.set_kind('tr-50', 'tr-plain', new_state => 'new');
SELECT pointstore.set_kind('tr-50', 'tr-other', 'begins anew', new_state => 'new');
SELECT * FROM tr_now('tr-50');
SELECT outcome FROM pointstore.append_event('tr-50', 'Returned');
SELECT outcome FROM pointstore.append_event('tr-50', 'Began');
-- the same kind, another state
SELECT pointstore.set_kind('tr-50', 'tr-other', 'put back', new_state => 'new');
SELECT pointstore.set_kind('tr-50', 'tr-other', new_state => 'new');
SELECT pointstore.set_kind('tr-51', 'tr-plain');
SELECT * FROM tr_now('tr-51');
SELECT action, reason, before ->> 'state' AS before, after ->> 'state' AS after, after ->> 'version' AS version FROM pointstore.account_log
 WHERE aggregate_id IN ('tr-50', 'tr-51') AND action = 'set_kind' ORDER BY id;
-- without events: the state that it would begin in
SELECT pointstore.open_account('tr-52', 'tr-plain'), pointstore.open_account('tr-53', 'tr-plain');
SELECT pointstore.set_kind('tr-52', 'tr-case');
SELECT * FROM tr_now('tr-52');
SELECT outcome FROM pointstore.append_event('tr-53', 'Noted');
SELECT pointstore.set_kind('tr-53', 'tr-case');
SELECT pointstore.set_kind('tr-53', 'tr-case', new_state => 'open');
SELECT outcome FROM pointstore.append_event('tr-53', 'Closed');
-- pure: the log knows it until the next event
SELECT pointstore.set_kind('tr-20', 'tr-pure-other');
SELECT * FROM tr_now('tr-20');
SELECT pointstore.set_kind('tr-21', 'tr-pure-other');
SELECT pointstore.set_kind('tr-21', 'tr-pure-other', new_state => 'sent');
SELECT * FROM tr_now('tr-21');
SELECT pointstore.freeze_account('tr-21', 'test'), pointstore.unfreeze_account('tr-21', 'test');
SELECT outcome FROM pointstore.append_event('tr-21', 'Answered');
SELECT pointstore.set_kind('tr-22', 'tr-pure-plain');
SELECT * FROM tr_now('tr-22');
SELECT outcome FROM pointstore.append_event('tr-22', 'Read');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-22', 'Noted');
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tr-20,tr-21,tr-22}'::text[]) a;
-- in one transaction
BEGIN;
SELECT pointstore.set_kind('tr-22', 'tr-pure-other', new_state => 'sent');
SELECT outcome FROM pointstore.append_event('tr-22', 'Sent');
ROLLBACK;
BEGIN;
SELECT pointstore.set_kind('tr-22', 'tr-pure-other', new_state => 'sent');
SELECT outcome FROM pointstore.append_event('tr-22', 'Answered');
SELECT outcome FROM pointstore.append_event('tr-22', 'Answered');
ROLLBACK;
-- what a trigger of a user's may not change
CREATE FUNCTION tr_change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.state_after := 'paid'; RETURN NEW; END$$;
CREATE TRIGGER zzz_tr_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'tr-53') EXECUTE FUNCTION tr_change();
SELECT outcome FROM pointstore.append_event('tr-53', 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-53', 'Noted');
DROP TRIGGER zzz_tr_change ON pointstore.event_store;
DROP FUNCTION tr_change();

-- a kind that gets transitions late: what its accounts are in is for set_kind() to say, and which histories do not fit for check_transitions()
INSERT INTO pointstore.account_kind (kind) VALUES ('tr-late');
SELECT outcome FROM unnest('{Placed,Noted,Paid}'::text[]) t, pointstore.append_event('tr-60', t, kind => 'tr-late');
SELECT outcome FROM unnest('{Paid,Placed}'::text[]) t, pointstore.append_event('tr-61', t, kind => 'tr-late');
SELECT outcome FROM unnest('{Opened,Closed}'::text[]) t, pointstore.append_event('tr-62', t, kind => 'tr-case');
SELECT pointstore.set_kind('tr-62', 'tr-late');
SELECT outcome FROM unnest('{Placed,Paid,Paid}'::text[]) t, pointstore.append_event('tr-62', t);
SELECT * FROM pointstore.check_transitions('tr-late');
BEGIN;
INSERT INTO pointstore.transition VALUES ('tr-late', '', 'Placed', 'placed'), ('tr-late', 'placed', 'Paid', 'paid');
SELECT * FROM pointstore.check_transitions('tr-late') ORDER BY 1;
UPDATE pointstore.account_kind SET transitions = 'strict' WHERE kind = 'tr-late';
SELECT * FROM pointstore.check_transitions('tr-late') ORDER BY 1;
ROLLBACK;
INSERT INTO pointstore.transition VALUES ('tr-late', '', 'Placed', 'placed'), ('tr-late', 'placed', 'Paid', 'paid'), ('tr-late', '', 'Paid', 'ahead'), ('tr-late', 'ahead', 'Placed', 'paid'), ('tr-late', 'paid', 'Paid', 'paid');
SELECT * FROM pointstore.check_transitions('tr-late');
SELECT outcome FROM pointstore.append_event('tr-60', 'Placed');
SELECT pointstore.set_kind('tr-61', 'tr-late', new_state => 'paid');
SELECT outcome FROM pointstore.append_event('tr-61', 'Paid');
DELETE FROM pointstore.transition WHERE kind = 'tr-late' AND from_state = 'paid';
-- from where set_kind() has put it
SELECT * FROM pointstore.check_transitions('tr-late') ORDER BY 1;
SELECT * FROM pointstore.check_transitions('tr-case') ORDER BY 1;
SELECT * FROM pointstore.check_transitions('tr-pure-other') ORDER BY 1;
SELECT * FROM pointstore.check_transitions('tr-none');
SELECT * FROM pointstore.check_transitions(NULL);

-- what was altered behind the guards is rebuilt, and repaired
SET session_replication_role = replica;
UPDATE pointstore.balance SET state = 'filed' WHERE aggregate_id = 'tr-30';
UPDATE pointstore.balance SET state = NULL WHERE aggregate_id = 'tr-50';
UPDATE pointstore.balance SET state = 'open' WHERE aggregate_id = 'tr-52';
DELETE FROM pointstore.balance WHERE aggregate_id = 'tr-4';
RESET session_replication_role;
SELECT a, code, severity, expected, found, version, detail -> 'state' AS state, detail -> 'row' -> 'state' AS of_row FROM unnest('{tr-30,tr-50,tr-52}'::text[]) a, pointstore.reconcile_account(a) WHERE code = 'state_mismatch';
CALL pointstore.reconcile('full') \gset
SELECT aggregate_id, code, severity, version, action FROM pointstore.finding WHERE aggregate_id LIKE 'tr-%' AND resolved_at IS NULL ORDER BY 1, 2;
SELECT pointstore.repair(id) FROM pointstore.finding WHERE aggregate_id = 'tr-30' AND resolved_at IS NULL;
SELECT pointstore.repair(id, 'balance') FROM pointstore.finding WHERE aggregate_id = 'tr-50' AND resolved_at IS NULL;
SELECT changed FROM pointstore.rebuild_balance('tr-50');
SELECT changed FROM pointstore.rebuild_balance('tr-50');
CALL pointstore.rebuild_balances();
SELECT a, (tr_now(a)).* FROM unnest('{tr-4,tr-30,tr-50,tr-52}'::text[]) a;
-- states that the log alone knows
SET session_replication_role = replica;
UPDATE pointstore.balance SET state = NULL WHERE aggregate_id IN ('tr-50', 'tr-52');
UPDATE pointstore.balance b SET state = e.state_after FROM pointstore.event_store e WHERE (b.aggregate_id, b.version) = (e.aggregate_id, e.version) AND b.aggregate_id = 'tr-51';
RESET session_replication_role;
SELECT a, (tr_now(a)).* FROM unnest('{tr-50,tr-51,tr-52}'::text[]) a;
CALL pointstore.rebuild_balances();
SELECT a, (tr_now(a)).* FROM unnest('{tr-50,tr-51,tr-52}'::text[]) a;
-- by the policy of its kind
UPDATE pointstore.account_kind SET on_mismatch = 'repair' WHERE kind = 'tr-case';
SET session_replication_role = replica;
UPDATE pointstore.balance SET state = 'filed' WHERE aggregate_id = 'tr-30';
RESET session_replication_role;
CALL pointstore.reconcile('full') \gset
SELECT (tr_now('tr-30')).*;

-- what is read of it
SELECT event_type, state_after FROM pointstore.load_events('tr-40') ORDER BY version;
SELECT pointstore.sequence_feed() > 0;
SELECT count(*) > 0 AS with_state FROM pointstore.read_feed(0, 100000) WHERE aggregate_id = 'tr-40' AND state_after = 'approved';

-- nothing is wrong with any of it
CALL pointstore.reconcile('full') \gset
SELECT aggregate_id, code, severity, version FROM pointstore.finding WHERE aggregate_id LIKE 'tr-%' AND resolved_at IS NULL;
SELECT a.aggregate_id, r.* FROM pointstore.account a, pointstore.reconcile_account(a.aggregate_id) r WHERE a.aggregate_id LIKE 'tr-%';
SELECT a.aggregate_id FROM pointstore.account a, pointstore.rebuild_balance(a.aggregate_id) r WHERE a.aggregate_id LIKE 'tr-%' AND r.changed;
SELECT transition_not_allowed > 0 AS counted FROM pointstore.pg_stat_pointstore WHERE database = current_database();

DROP FUNCTION tr_now(text), tr_events(text), tr_detail(text);
