-- State machines: which event may follow which state, on every path, and what stands in the state.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, min_balance, initial_state) VALUES ('tn-order', NULL, NULL), ('tn-case', 0, 'filed');
INSERT INTO pointstore.account_kind (kind, mode, min_balance, initial_state) VALUES ('tn-pure', 'pure', NULL, 'draft');
INSERT INTO pointstore.account_kind (kind, transitions) VALUES ('tn-strict', 'strict');
INSERT INTO pointstore.account_kind (kind) VALUES ('tn-plain');
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('tn-order', '', 'OrderPlaced', 'placed'),
    ('tn-order', 'placed', 'OrderApproved', 'approved'), ('tn-order', 'placed', 'OrderCancelled', 'cancelled'),
    ('tn-order', 'approved', 'OrderShipped', 'shipped'), ('tn-order', 'approved', 'OrderCancelled', 'cancelled'),
    ('tn-order', 'cancelled', 'OrderForgotten', ''),
    ('tn-case', 'filed', 'Opened', 'open'), ('tn-case', 'open', 'Closed', 'closed'), ('tn-case', 'open', 'HoldPlaced', 'held'),
    ('tn-case', 'held', 'HoldConfirmed', 'open'), ('tn-case', 'held', 'HoldCancelled', 'open'),
    ('tn-pure', 'draft', 'Sent', 'sent'), ('tn-pure', 'sent', 'Read', 'read'),
    ('tn-strict', '', 'Began', 'going'), ('tn-strict', 'going', 'Ended', 'gone');
CREATE FUNCTION tr_now(asked text) RETURNS TABLE (version bigint, balance bigint, state text, last text) LANGUAGE plpgsql AS
$$BEGIN RETURN QUERY SELECT a.version, a.balance, a.state, (SELECT e.state_after FROM pointstore.event_store e WHERE e.aggregate_id = asked ORDER BY e.version DESC LIMIT 1)
    FROM pointstore.account a WHERE a.aggregate_id = asked; END$$;
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
SELECT outcome, version FROM pointstore.append_event('tn-1', 'OrderApproved', kind => 'tn-order');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'tn-1';
SELECT outcome, version FROM pointstore.append_event('tn-1', 'Noted', kind => 'tn-order');
SELECT * FROM tr_now('tn-1');
SELECT outcome, version FROM pointstore.append_event('tn-1', 'OrderPlaced', 500);
SELECT * FROM tr_now('tn-1');
SELECT outcome, version FROM pointstore.append_event('tn-1', 'OrderPlaced', 500);
SELECT outcome, version FROM pointstore.append_event('tn-1', 'OrderApproved');
SELECT outcome, version FROM pointstore.append_event('tn-1', 'Noted');
SELECT * FROM tr_now('tn-1');
SELECT outcome, version, balance, available, id FROM pointstore.try_append_event('tn-1', 'OrderApproved', -1000);
SELECT tr_detail($$SELECT pointstore.append_event('tn-1', 'OrderApproved')$$);
SELECT tr_detail($$SELECT pointstore.append_event('tn-new', 'OrderShipped', kind => 'tn-order')$$);
SELECT tr_detail($$SELECT pointstore.append_event('tn-new', 'Sent, "and" read', kind => 'tn-strict')$$);
SELECT outcome FROM pointstore.append_event('tn-1', 'OrderCancelled');
SELECT outcome FROM pointstore.append_event('tn-1', 'OrderShipped');
-- a state that is none again
SELECT outcome FROM pointstore.append_event('tn-1', 'OrderForgotten');
SELECT * FROM tr_now('tn-1');
SELECT outcome FROM pointstore.append_event('tn-1', 'OrderPlaced');
SELECT tr_events('tn-1');
SELECT state FROM pointstore.get_balance('tn-1');

-- the order of the rules: the version comes before, overflow and floor after
SELECT outcome FROM pointstore.try_append_event('tn-1', 'OrderPlaced', expected_version => 1);
SELECT outcome FROM pointstore.try_append_event('tn-1', 'OrderPlaced', -9223372036854775807, min_balance => 0);
SELECT outcome FROM pointstore.append_event('tn-2', 'Opened', kind => 'tn-case');
SELECT outcome FROM pointstore.try_append_event('tn-2', 'Opened', -1);
SELECT outcome FROM pointstore.try_append_event('tn-2', 'Closed', -1);
SELECT pointstore.freeze_account('tn-2', 'test');
SELECT outcome FROM pointstore.try_append_event('tn-2', 'Opened');
SELECT pointstore.unfreeze_account('tn-2', 'test');
-- a request that was applied replays whatever the state
SELECT outcome, version FROM pointstore.append_event('tn-2', 'Noted', request_id => 'tn-r1');
SELECT outcome, version FROM pointstore.append_event('tn-1', 'OrderApproved', request_id => 'tn-r2');
SELECT outcome, version FROM pointstore.append_event('tn-1', 'OrderApproved', request_id => 'tn-r2');

-- the state that accounts begin in: opened, by the first event, by hand
SELECT pointstore.open_account('tn-3', 'tn-case');
SELECT * FROM tr_now('tn-3');
INSERT INTO pointstore.balance (aggregate_id, kind) VALUES ('tn-4', 'tn-case');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tn-5', 'tn-case', 'filed');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tn-6', 'tn-case', 'open');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tn-6', 'tn-plain', 'open');
INSERT INTO pointstore.balance (aggregate_id, kind, state) VALUES ('tn-6', 'tn-plain', '');
SELECT aggregate_id, state FROM pointstore.balance WHERE aggregate_id IN ('tn-4', 'tn-5', 'tn-6') ORDER BY 1;
SELECT aggregate_id, action, after ->> 'version' AS version, after -> 'state' AS state FROM pointstore.account_log WHERE aggregate_id IN ('tn-2', 'tn-3', 'tn-4') ORDER BY aggregate_id, id;

-- strict
SELECT outcome FROM pointstore.append_event('tn-7', 'Noted', kind => 'tn-strict');
SELECT outcome FROM pointstore.append_event('tn-7', 'Began', kind => 'tn-strict');
SELECT outcome FROM pointstore.append_event('tn-7', 'Noted');
SELECT outcome FROM pointstore.hold('tn-7', 1);
SELECT outcome FROM pointstore.append_event('tn-7', 'Ended', 5);
SELECT outcome FROM pointstore.reverse_event('tn-7', 2);
SELECT tr_events('tn-7');

-- batches: each event on what those before it have made of the account; all or nothing
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "tn-8", "event_type": "OrderPlaced", "kind": "tn-order"},
    {"aggregate_id": "tn-9", "event_type": "Opened", "kind": "tn-case"},
    {"aggregate_id": "tn-8", "event_type": "OrderApproved"},
    {"aggregate_id": "tn-8", "event_type": "Noted"},
    {"aggregate_id": "tn-9", "event_type": "Closed"}]');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "tn-8", "event_type": "OrderShipped"},
    {"aggregate_id": "tn-9", "event_type": "Closed"}]');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_append_events('[
    {"aggregate_id": "tn-8", "event_type": "OrderShipped"},
    {"aggregate_id": "tn-8", "event_type": "OrderShipped"}]');
SELECT tr_detail($$SELECT pointstore.append_events('[{"aggregate_id": "tn-8", "event_type": "OrderShipped"}, {"aggregate_id": "tn-8", "event_type": "OrderShipped"}]')$$);
SELECT tr_events('tn-8'), tr_events('tn-9');

-- INSERT and COPY: several rows of an account in one statement, and what is given
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-4', 'Closed');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('tn-4', 'Opened', 7), ('tn-4', 'Noted', 0), ('tn-4', 'Closed', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-5', 'Opened'), ('tn-5', 'Opened');
COPY pointstore.event_store (aggregate_id, event_type, amount, state_after) FROM STDIN;
tn-5	Opened	3	\N
tn-5	Noted	0	open
tn-5	Closed	0	closed
\.
COPY pointstore.event_store (aggregate_id, event_type) FROM STDIN;
tn-3	Opened
tn-3	Closed
tn-3	Opened
\.
INSERT INTO pointstore.event_store (aggregate_id, event_type, state_after) VALUES ('tn-3', 'Opened', 'closed');
INSERT INTO pointstore.event_store (aggregate_id, event_type, state_after) VALUES ('tn-6', 'Opened', 'open');
INSERT INTO pointstore.event_store (aggregate_id, event_type, state_after) VALUES ('tn-6', 'Opened', '') RETURNING state_after;
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tn-3,tn-4,tn-5,tn-6}'::text[]) a;
UPDATE pointstore.balance SET state = 'open' WHERE aggregate_id = 'tn-5';
UPDATE pointstore.balance SET state = NULL, version = version + 1 WHERE aggregate_id = 'tn-5';
UPDATE pointstore.balance SET state = state WHERE aggregate_id = 'tn-5';

-- the textbook transaction: the balance first, then its event, which moves the state
BEGIN;
UPDATE pointstore.balance SET balance = balance + 5, version = version + 1 WHERE aggregate_id = 'tn-3' AND version = 0;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('tn-3', 1, 'Closed');
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 5, version = version + 1 WHERE aggregate_id = 'tn-3' AND version = 0;
SELECT state FROM pointstore.balance WHERE aggregate_id = 'tn-3';
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('tn-3', 1, 'Opened');
SELECT * FROM tr_now('tn-3');
-- two changes, then their events
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tn-3';
UPDATE pointstore.balance SET balance = balance + 2, version = version + 1 WHERE aggregate_id = 'tn-3';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('tn-3', 'Noted', 1), ('tn-3', 'Closed', 2);
COMMIT;
SELECT (tr_now('tn-3')).*, tr_events('tn-3');
-- a savepoint takes the state back
SELECT outcome FROM pointstore.append_event('tn-10', 'Opened', kind => 'tn-case');
BEGIN;
SAVEPOINT s;
UPDATE pointstore.balance SET version = version + 1 WHERE aggregate_id = 'tn-10';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-10', 'Closed');
ROLLBACK TO s;
SELECT * FROM tr_now('tn-10');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-10', 'Closed');
SAVEPOINT t;
SELECT outcome FROM pointstore.append_event('tn-10', 'Opened');
ROLLBACK TO t;
SELECT outcome, version FROM pointstore.append_event('tn-10', 'Noted');
COMMIT;
SELECT (tr_now('tn-10')).*, tr_events('tn-10');

-- the caller moves the balance, before or afterwards: the state is the store's to move
SET pointstore.balance_writer = caller;
SELECT pointstore.open_account('tn-11', 'tn-case');
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tn-11', 1, 'Opened', 10);
SELECT state, version FROM pointstore.balance WHERE aggregate_id = 'tn-11';
UPDATE pointstore.balance SET balance = balance + 10, version = version + 1 WHERE aggregate_id = 'tn-11' AND version = 0;
COMMIT;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tn-11' AND version = 1;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tn-11', 2, 'Noted', 1);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tn-11', 3, 'Closed', 1), ('tn-11', 4, 'Noted', 1);
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tn-11' AND version = 2;
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tn-11' AND version = 3;
COMMIT;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tn-11', 5, 'Opened', 1);
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('tn-11', 5, 'Noted', 1);
UPDATE pointstore.balance SET state = 'open', balance = balance + 1, version = version + 1 WHERE aggregate_id = 'tn-11';
ROLLBACK;
RESET pointstore.balance_writer;
SELECT (tr_now('tn-11')).*, tr_events('tn-11');

-- pure accounts
SELECT outcome FROM pointstore.append_event('tn-20', 'Read', kind => 'tn-pure');
SELECT outcome, version FROM pointstore.append_event('tn-20', 'Noted', kind => 'tn-pure');
SELECT outcome, version FROM pointstore.append_event('tn-20', 'Sent');
SELECT outcome, version FROM pointstore.append_event('tn-20', 'Sent');
SELECT outcome, version FROM pointstore.try_append_event('tn-20', 'Sent', 5);
SELECT pointstore.open_account('tn-21', 'tn-pure');
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('tn-22', 'tn-pure');
SELECT a, (tr_now(a)).* FROM unnest('{tn-20,tn-21,tn-22}'::text[]) a;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-21', 'Sent'), ('tn-21', 'Noted'), ('tn-21', 'Read');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-22', 'Read');
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "tn-22", "event_type": "Sent"}, {"aggregate_id": "tn-21", "event_type": "Noted"}, {"aggregate_id": "tn-22", "event_type": "Read"}]');
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tn-20,tn-21,tn-22}'::text[]) a;
-- a state that was set stands though the log has said other things since, and though it has no index
SELECT outcome FROM pointstore.append_event('tn-23', 'Sent', kind => 'tn-pure');
SELECT FROM pointstore.set_kind('tn-23', 'tn-pure', new_state => 'draft');
SELECT FROM pointstore.freeze_account('tn-23', 'test');
SELECT FROM pointstore.unfreeze_account('tn-23', 'test');
SELECT outcome FROM pointstore.append_event('tn-23', 'Noted');
SELECT outcome FROM pointstore.append_event('tn-23', 'Sent');
BEGIN;
DROP INDEX pointstore.account_log_aggregate_id_id_idx;
SELECT outcome FROM pointstore.append_event('tn-23', 'Read');
SELECT FROM pointstore.set_kind('tn-23', 'tn-pure', new_state => 'draft');
SELECT outcome FROM pointstore.append_event('tn-23', 'Sent');
COMMIT;
CREATE INDEX ON pointstore.account_log (aggregate_id, id);
SELECT (tr_now('tn-23')).*, tr_events('tn-23');

-- holds, reversals, transfers
SELECT outcome FROM pointstore.append_event('tn-30', 'Opened', 100, kind => 'tn-case');
SELECT outcome FROM pointstore.hold('tn-30', 10, 'tn-h1');
SELECT outcome FROM pointstore.hold('tn-30', 10, 'tn-h2');
SELECT outcome, version FROM pointstore.try_hold('tn-30', 10, 'tn-h2');
SELECT outcome FROM pointstore.confirm_hold('tn-h1');
SELECT outcome FROM pointstore.hold('tn-30', 10, 'tn-h3', expires_in => '1 microsecond');
CALL pointstore.sweep_holds();
-- an expired hold leaves the state alone
SELECT (tr_now('tn-30')).*, tr_events('tn-30');
SELECT outcome FROM pointstore.confirm_hold('tn-h1');
SELECT outcome FROM pointstore.reverse_event('tn-30', 3);
INSERT INTO pointstore.transition VALUES ('tn-case', 'open', 'EventReversed', 'open');
SELECT outcome FROM pointstore.reverse_event('tn-30', 3);
SELECT outcome FROM pointstore.append_event('tn-32', 'Opened', 10, kind => 'tn-case');
SELECT outcome FROM pointstore.append_event('tn-32', 'Closed');
SELECT outcome FROM pointstore.reverse_event('tn-32', 1);
INSERT INTO pointstore.transition VALUES ('tn-order', 'approved', 'Transferred', 'paid'), ('tn-case', 'filed', 'Transferred', 'open'), ('tn-case', 'open', 'Transferred', 'open');
SELECT outcome FROM pointstore.append_event('tn-31', 'Noted', kind => 'tn-case');
SELECT outcome FROM pointstore.transfer('tn-1', 'tn-31', 50);
SELECT outcome FROM pointstore.transfer('tn-1', 'tn-31', 50);
SELECT outcome, aggregate_id FROM pointstore.try_transfer('tn-31', 'tn-1', 50);
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tn-1,tn-31}'::text[]) a;

-- combined
SELECT outcome, version FROM pointstore.submit_event('tn-40', 'OrderPlaced', kind => 'tn-order');
SELECT outcome, version FROM pointstore.submit_event('tn-40', 'OrderShipped');
SELECT outcome, version, balance FROM pointstore.try_submit_event('tn-40', 'OrderShipped', 7);
SELECT outcome FROM pointstore.submit_event('tn-40', 'OrderApproved');
\set VERBOSITY default
SELECT outcome FROM pointstore.submit_event('tn-40', 'OrderApproved');
\set VERBOSITY sqlstate
SELECT outcome FROM pointstore.submit_transfer('tn-40', 'tn-31', 5);
SELECT outcome FROM pointstore.try_submit_transfer('tn-40', 'tn-31', 5);
SELECT outcome FROM pointstore.submit_event('tn-41', 'Sent', kind => 'tn-pure');
SELECT outcome FROM pointstore.submit_event('tn-41', 'Sent');
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tn-40,tn-41}'::text[]) a;

-- rows are guarded
INSERT INTO pointstore.transition VALUES ('tn-order', 'a', 'HoldExpired', 'b');
INSERT INTO pointstore.transition VALUES ('tn-order', 'a', 'BalanceAdjusted', 'b');
INSERT INTO pointstore.transition VALUES ('tn-order', 'a', 'MovementConfirmed', 'b');
INSERT INTO pointstore.transition VALUES ('tn-order', 'a', 'MovementCancelled', 'b');
INSERT INTO pointstore.transition VALUES ('tn-order', 'a', '', 'b');
INSERT INTO pointstore.transition VALUES ('tn-none', 'a', 'E', 'b');
INSERT INTO pointstore.transition VALUES ('tn-order', repeat('a', 513), 'E', 'b');
INSERT INTO pointstore.transition VALUES ('tn-order', 'a', 'E', NULL);
INSERT INTO pointstore.transition VALUES ('tn-order', 'placed', 'OrderApproved', 'b');
UPDATE pointstore.transition SET event_type = 'HoldExpired' WHERE kind = 'tn-pure' AND event_type = 'Sent';
UPDATE pointstore.account_kind SET transitions = 'closed' WHERE kind = 'tn-pure';

-- rows that change: at once, also in the transaction that changes them, and back again with it
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderPlaced', kind => 'tn-order');
BEGIN;
INSERT INTO pointstore.transition VALUES ('tn-order', 'placed', 'OrderLost', 'lost');
SAVEPOINT s;
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderLost');
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderLost');
ROLLBACK TO s;
DELETE FROM pointstore.transition WHERE event_type = 'OrderLost';
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderLost');
SELECT * FROM tr_now('tn-50');
ROLLBACK;
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderLost');
UPDATE pointstore.transition SET to_state = 'sent' WHERE kind = 'tn-order' AND event_type = 'OrderApproved';
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderApproved');
SELECT * FROM tr_now('tn-50');
UPDATE pointstore.transition SET to_state = 'approved' WHERE kind = 'tn-order' AND event_type = 'OrderApproved';
UPDATE pointstore.account_kind SET transitions = 'strict' WHERE kind = 'tn-order';
SELECT outcome FROM pointstore.append_event('tn-50', 'Noted');
UPDATE pointstore.account_kind SET transitions = 'open' WHERE kind = 'tn-order';
BEGIN;
TRUNCATE pointstore.transition;
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderPlaced');
ROLLBACK;
SELECT outcome FROM pointstore.append_event('tn-50', 'OrderPlaced');
-- rows that come one by one: a kind's are not read for each
BEGIN;
DO $$BEGIN FOR i IN 1..50 LOOP INSERT INTO pointstore.transition VALUES ('tn-order', 's' || i, 'OrderMoved', 's' || i + 1); END LOOP; END$$;
SELECT count(*) < 5 AS few FROM pg_backend_memory_contexts WHERE name LIKE 'pointstore transitions%';
ROLLBACK;
-- prepared
BEGIN;
SELECT outcome FROM pointstore.append_event('tn-50', 'Noted', 3);
SELECT outcome FROM pointstore.append_event('tn-51', 'OrderPlaced', kind => 'tn-order');
PREPARE TRANSACTION 'tn-prepared';
COMMIT PREPARED 'tn-prepared';
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tn-50,tn-51}'::text[]) a;
-- REPEATABLE READ
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome FROM pointstore.append_event('tn-51', 'OrderApproved');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-51', 'OrderShipped');
COMMIT;
SELECT (tr_now('tn-51')).*, tr_events('tn-51');

-- set_kind: the state is kept where the kind knows it
INSERT INTO pointstore.account_kind (kind, initial_state, min_balance) VALUES ('tn-other', 'new', NULL);
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('tn-pure-plain', 'pure', NULL), ('tn-pure-other', 'pure', NULL);
INSERT INTO pointstore.transition VALUES ('tn-other', 'new', 'Began', 'shipped'), ('tn-other', 'shipped', 'Returned', 'new'),
    ('tn-pure-other', 'sent', 'Answered', 'done'), ('tn-pure-other', '', 'Sent', 'sent');
SELECT pointstore.set_kind('tn-51', 'tn-other');
SELECT (tr_now('tn-51')).*;
SELECT pointstore.set_kind('tn-50', 'tn-other');
SELECT pointstore.set_kind('tn-50', 'tn-other', new_state => 'lost');
SELECT pointstore.set_kind('tn-50', 'tn-other', new_state => '');
SELECT pointstore.set_kind('tn-50', 'tn-plain', new_state => 'new');
SELECT pointstore.set_kind('tn-50', 'tn-other', 'begins anew', new_state => 'new');
SELECT * FROM tr_now('tn-50');
SELECT outcome FROM pointstore.append_event('tn-50', 'Returned');
SELECT outcome FROM pointstore.append_event('tn-50', 'Began');
-- the same kind, another state
SELECT pointstore.set_kind('tn-50', 'tn-other', 'put back', new_state => 'new');
SELECT pointstore.set_kind('tn-50', 'tn-other', new_state => 'new');
SELECT pointstore.set_kind('tn-51', 'tn-plain');
SELECT * FROM tr_now('tn-51');
SELECT action, reason, before ->> 'state' AS before, after ->> 'state' AS after, after ->> 'version' AS version FROM pointstore.account_log
 WHERE aggregate_id IN ('tn-50', 'tn-51') AND action = 'set_kind' ORDER BY id;
-- without events: the state that it would begin in
SELECT pointstore.open_account('tn-52', 'tn-plain'), pointstore.open_account('tn-53', 'tn-plain');
SELECT pointstore.set_kind('tn-52', 'tn-case');
SELECT * FROM tr_now('tn-52');
SELECT outcome FROM pointstore.append_event('tn-53', 'Noted');
SELECT pointstore.set_kind('tn-53', 'tn-case');
SELECT pointstore.set_kind('tn-53', 'tn-case', new_state => 'open');
SELECT outcome FROM pointstore.append_event('tn-53', 'Closed');
-- pure: the log knows it until the next event
SELECT pointstore.set_kind('tn-20', 'tn-pure-other');
SELECT * FROM tr_now('tn-20');
SELECT pointstore.set_kind('tn-21', 'tn-pure-other');
SELECT pointstore.set_kind('tn-21', 'tn-pure-other', new_state => 'sent');
SELECT * FROM tr_now('tn-21');
SELECT pointstore.freeze_account('tn-21', 'test'), pointstore.unfreeze_account('tn-21', 'test');
SELECT outcome FROM pointstore.append_event('tn-21', 'Answered');
SELECT pointstore.set_kind('tn-22', 'tn-pure-plain');
SELECT * FROM tr_now('tn-22');
SELECT outcome FROM pointstore.append_event('tn-22', 'Read');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-22', 'Noted');
SELECT a, (tr_now(a)).*, tr_events(a) FROM unnest('{tn-20,tn-21,tn-22}'::text[]) a;
-- in one transaction
BEGIN;
SELECT pointstore.set_kind('tn-22', 'tn-pure-other', new_state => 'sent');
SELECT outcome FROM pointstore.append_event('tn-22', 'Sent');
ROLLBACK;
BEGIN;
SELECT pointstore.set_kind('tn-22', 'tn-pure-other', new_state => 'sent');
SELECT outcome FROM pointstore.append_event('tn-22', 'Answered');
SELECT outcome FROM pointstore.append_event('tn-22', 'Answered');
ROLLBACK;
-- what a trigger of a user's may not change
CREATE FUNCTION tr_change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.state_after := 'paid'; RETURN NEW; END$$;
CREATE TRIGGER zzz_tr_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'tn-53') EXECUTE FUNCTION tr_change();
SELECT outcome FROM pointstore.append_event('tn-53', 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tn-53', 'Noted');
DROP TRIGGER zzz_tr_change ON pointstore.event_store;
DROP FUNCTION tr_change();

-- a kind that gets transitions late: what its accounts are in is for set_kind() to say, and which histories do not fit for check_transitions()
INSERT INTO pointstore.account_kind (kind) VALUES ('tn-late');
SELECT outcome FROM unnest('{Placed,Noted,Paid}'::text[]) t, pointstore.append_event('tn-60', t, kind => 'tn-late');
SELECT outcome FROM unnest('{Paid,Placed}'::text[]) t, pointstore.append_event('tn-61', t, kind => 'tn-late');
SELECT outcome FROM unnest('{Opened,Closed}'::text[]) t, pointstore.append_event('tn-62', t, kind => 'tn-case');
SELECT pointstore.set_kind('tn-62', 'tn-late');
SELECT outcome FROM unnest('{Placed,Paid,Paid}'::text[]) t, pointstore.append_event('tn-62', t);
SELECT * FROM pointstore.check_transitions('tn-late');
BEGIN;
INSERT INTO pointstore.transition VALUES ('tn-late', '', 'Placed', 'placed'), ('tn-late', 'placed', 'Paid', 'paid');
SELECT * FROM pointstore.check_transitions('tn-late') ORDER BY 1;
UPDATE pointstore.account_kind SET transitions = 'strict' WHERE kind = 'tn-late';
SELECT * FROM pointstore.check_transitions('tn-late') ORDER BY 1;
ROLLBACK;
INSERT INTO pointstore.transition VALUES ('tn-late', '', 'Placed', 'placed'), ('tn-late', 'placed', 'Paid', 'paid'), ('tn-late', '', 'Paid', 'ahead'), ('tn-late', 'ahead', 'Placed', 'paid'), ('tn-late', 'paid', 'Paid', 'paid');
SELECT * FROM pointstore.check_transitions('tn-late');
SELECT outcome FROM pointstore.append_event('tn-60', 'Placed');
SELECT pointstore.set_kind('tn-61', 'tn-late', new_state => 'paid');
SELECT outcome FROM pointstore.append_event('tn-61', 'Paid');
DELETE FROM pointstore.transition WHERE kind = 'tn-late' AND from_state = 'paid';
-- from where set_kind() has put it
SELECT * FROM pointstore.check_transitions('tn-late') ORDER BY 1;
SELECT * FROM pointstore.check_transitions('tn-case') ORDER BY 1;
SELECT * FROM pointstore.check_transitions('tn-pure-other') ORDER BY 1;
SELECT * FROM pointstore.check_transitions('tn-none');
SELECT * FROM pointstore.check_transitions(NULL);

-- what was altered behind the guards is rebuilt, and repaired
SET session_replication_role = replica;
UPDATE pointstore.balance SET state = 'filed' WHERE aggregate_id = 'tn-30';
UPDATE pointstore.balance SET state = NULL WHERE aggregate_id = 'tn-50';
UPDATE pointstore.balance SET state = 'open' WHERE aggregate_id = 'tn-52';
DELETE FROM pointstore.balance WHERE aggregate_id = 'tn-4';
RESET session_replication_role;
SELECT a, code, severity, expected, found, version, detail -> 'state' AS state, detail -> 'row' -> 'state' AS of_row FROM unnest('{tn-30,tn-50,tn-52}'::text[]) a, pointstore.reconcile_account(a) WHERE code = 'state_mismatch';
SET client_min_messages = error;
CALL pointstore.reconcile('full') \gset
RESET client_min_messages;
SELECT aggregate_id, code, severity, version, action FROM pointstore.finding WHERE aggregate_id LIKE 'tn-%' AND resolved_at IS NULL ORDER BY 1, 2;
SELECT pointstore.repair(id) FROM pointstore.finding WHERE aggregate_id = 'tn-30' AND resolved_at IS NULL;
SELECT pointstore.repair(id, 'balance') FROM pointstore.finding WHERE aggregate_id = 'tn-50' AND resolved_at IS NULL;
SELECT changed FROM pointstore.rebuild_balance('tn-50');
SELECT changed FROM pointstore.rebuild_balance('tn-50');
SET client_min_messages = error;
CALL pointstore.rebuild_balances();
RESET client_min_messages;
SELECT a, (tr_now(a)).* FROM unnest('{tn-4,tn-30,tn-50,tn-52}'::text[]) a;
-- states that the log alone knows
SET session_replication_role = replica;
UPDATE pointstore.balance SET state = NULL WHERE aggregate_id IN ('tn-50', 'tn-52');
UPDATE pointstore.balance b SET state = e.state_after FROM pointstore.event_store e WHERE (b.aggregate_id, b.version) = (e.aggregate_id, e.version) AND b.aggregate_id = 'tn-51';
RESET session_replication_role;
SELECT a, (tr_now(a)).* FROM unnest('{tn-50,tn-51,tn-52}'::text[]) a;
SET client_min_messages = error;
CALL pointstore.rebuild_balances();
RESET client_min_messages;
SELECT a, (tr_now(a)).* FROM unnest('{tn-50,tn-51,tn-52}'::text[]) a;
-- by the policy of its kind
UPDATE pointstore.account_kind SET on_mismatch = 'repair' WHERE kind = 'tn-case';
SET session_replication_role = replica;
UPDATE pointstore.balance SET state = 'filed' WHERE aggregate_id = 'tn-30';
RESET session_replication_role;
SET client_min_messages = error;
CALL pointstore.reconcile('full') \gset
RESET client_min_messages;
SELECT (tr_now('tn-30')).*;

-- what is read of it
SELECT event_type, state_after FROM pointstore.load_events('tn-40') ORDER BY version;
SELECT pointstore.sequence_feed() > 0;
SELECT count(*) > 0 AS with_state
  FROM pointstore.read_feed((SELECT min(pointstore.position_of(id)) - 1 FROM pointstore.event_store WHERE aggregate_id = 'tn-40'), aggregate_prefix => 'tn-40') WHERE state_after = 'approved';

-- nothing is wrong with any of it
SET client_min_messages = error;
CALL pointstore.reconcile('full') \gset
RESET client_min_messages;
SELECT aggregate_id, code, severity, version FROM pointstore.finding WHERE aggregate_id LIKE 'tn-%' AND resolved_at IS NULL;
SELECT a.aggregate_id, r.* FROM pointstore.account a, pointstore.reconcile_account(a.aggregate_id) r WHERE a.aggregate_id LIKE 'tn-%';
SELECT a.aggregate_id FROM pointstore.account a, pointstore.rebuild_balance(a.aggregate_id) r WHERE a.aggregate_id LIKE 'tn-%' AND r.changed;
SELECT transition_not_allowed > 0 AS counted FROM pointstore.pg_stat_pointstore WHERE database = current_database();

DROP FUNCTION tr_now(text), tr_events(text), tr_detail(text);
