-- Movements: what begins in this store, and what is asked of it alone. There is no coordinator here.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
SELECT pointstore.append_event('m-a', 'PointEarned', 1000) IS NOT NULL, pointstore.open_account('m-b') IS NOT NULL;
INSERT INTO pointstore.account_kind (kind, unit) VALUES ('m-stock', 'piece'), ('m-point', 'point');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('m-pure', 'pure');
SELECT pointstore.append_event('m-stock', 'Stocked', 10, kind => 'm-stock') IS NOT NULL;
CREATE VIEW m_accounts AS
SELECT aggregate_id, version, balance, held, incoming FROM pointstore.balance WHERE aggregate_id LIKE 'm-%' AND version > 0 ORDER BY 1;

-- in one store it is a transfer
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-1', metadata => '{"actor": "x"}');
SELECT aggregate_id, version, event_type, amount, balance_after, leg, metadata FROM pointstore.event_store WHERE aggregate_id IN ('m-a', 'm-b') ORDER BY id;
SELECT step, status, error FROM pointstore.movement_log WHERE movement_id = 'mv-1' ORDER BY id;
SELECT protocol, phase, finished_at = started_at, deadline - started_at, balanced, metadata FROM pointstore.movement WHERE movement_id = 'mv-1';
SELECT depth, what, id, aggregate_id, version, name, amount, status, server, because = 'by ' || current_user AS by_me FROM pointstore.trace('mv-1') WHERE what <> 'event';
SELECT depth, what, aggregate_id, version, name, amount, because FROM pointstore.trace('mv-1') WHERE what = 'event';

-- a repeat: neither deadline nor metadata are compared
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-1', deadline => '1 h', metadata => NULL);
SELECT * FROM pointstore.start_movement('mv-1', '[{"aggregate_id": "m-a", "amount": "-300"}, {"amount": 300, "aggregate_id": "m-b", "server": null, "payload": {}}]');
SELECT * FROM pointstore.move('m-a', 'm-b', 301, 'mv-1');
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-1', protocol => '2pc');
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-1', payload => '{"a": 1}');
SELECT * FROM pointstore.wait_for_movement('mv-1');

-- a refusal leaves nothing
SELECT * FROM pointstore.move('m-a', 'm-b', 3000, 'mv-2');
SELECT * FROM pointstore.move('m-a', 'm-stock', 1, 'mv-2');
SELECT * FROM pointstore.move('m-a', 'm-a', 1, 'mv-2');
SELECT * FROM pointstore.start_movement('mv-2', '[{"aggregate_id": "m-a", "amount": -1}, {"aggregate_id": "m-stock", "amount": 1}]');
SELECT count(*) FROM pointstore.movement WHERE movement_id = 'mv-2';

-- more than two accounts, and more than one unit; what does not balance is no transfer
SELECT * FROM pointstore.start_movement('mv-3', '[{"aggregate_id": "m-a", "amount": -30}, {"aggregate_id": "m-b", "amount": 10}, {"aggregate_id": "m-c", "amount": 20}]', 'saga');
SELECT * FROM pointstore.start_movement('mv-4', '[{"aggregate_id": "m-a", "amount": -30, "event_type": "Bought"}, {"aggregate_id": "m-stock", "amount": -1, "event_type": "Sold", "balanced": false},
    {"aggregate_id": "m-new", "amount": 7, "kind": "m-point"}]', '2pc');
SELECT aggregate_id, event_type, amount, leg, cause_id IS NOT NULL AS caused FROM pointstore.event_store WHERE metadata ->> 'movement_id' IN ('mv-3', 'mv-4') ORDER BY id;
SELECT kind FROM pointstore.balance WHERE aggregate_id = 'm-new';
SELECT * FROM pointstore.start_movement('mv-5', (SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'm-ü' || i, 'amount', CASE WHEN i <= 500 THEN 1 ELSE 0 END, 'balanced', false, 'payload', '{"글": "값"}'::jsonb)) FROM generate_series(1, 1000) i));
SELECT count(*), sum(amount) FROM pointstore.movement_step WHERE movement_id = 'mv-5' AND status = 'confirmed' AND event_id IS NOT NULL;
SELECT * FROM m_accounts WHERE aggregate_id !~ 'm-ü';

-- a step in another store, which nobody drives here
CREATE FOREIGN DATA WRAPPER m_other;
CREATE SERVER m_other FOREIGN DATA WRAPPER m_other;
CREATE SERVER m_away FOREIGN DATA WRAPPER pointstore OPTIONS (host '/nowhere', dbname 'nowhere');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_none');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_other');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_away');
CREATE USER MAPPING FOR CURRENT_USER SERVER m_away OPTIONS (user 'nobody', password_required 'false');
SELECT * FROM pointstore.move('m-a', 'x', 20000, 'mv-6', 'm_away');
SELECT * FROM pointstore.start_movement('mv-6', '[{"aggregate_id": "m-p", "kind": "m-pure", "amount": 1}, {"aggregate_id": "x", "server": "m_away", "amount": -1}]');
SELECT count(*) FROM pointstore.movement WHERE movement_id = 'mv-6';
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_away');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_away');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-6');
SELECT * FROM m_accounts WHERE aggregate_id = 'm-a';
SELECT step, server, aggregate_id, amount, status, event_type FROM pointstore.movement_step WHERE movement_id = 'mv-6' ORDER BY step;
SELECT depth, what, aggregate_id, name, amount, status, server FROM pointstore.trace('mv-6');
SELECT * FROM pointstore.wait_for_movement('mv-6', '10 ms');
SELECT phase, late, steps, outstanding, waits_for FROM pointstore.movement_status;
SELECT movements_stuck, movements_late FROM pointstore.reconciliation_status;

-- a saga goes as far as its first step away
SELECT * FROM pointstore.start_movement('mv-7', '[{"aggregate_id": "m-a", "amount": -10, "event_type": "Paid", "undo": {"event_type": "Repaid"}}, {"aggregate_id": "m-b", "amount": 5},
    {"aggregate_id": "x", "amount": 3, "server": "m_away"}, {"aggregate_id": "m-c", "amount": 2}]', 'saga');
SELECT step, server, aggregate_id, amount, status, undo FROM pointstore.movement_step WHERE movement_id = 'mv-7' ORDER BY step;
SELECT * FROM pointstore.start_movement('mv-8', '[{"aggregate_id": "m-a", "amount": -10}, {"aggregate_id": "m-b", "amount": -50000}, {"aggregate_id": "x", "amount": 50010, "server": "m_away"}]', 'saga');
SELECT * FROM pointstore.start_movement('mv-8', '[{"aggregate_id": "x", "amount": 10, "server": "m_away"}, {"aggregate_id": "m-a", "amount": -10}]', 'saga');
SELECT step, status FROM pointstore.movement_step WHERE movement_id = 'mv-8' ORDER BY step;
SELECT * FROM m_accounts WHERE aggregate_id !~ 'm-ü';

-- not in the transaction that starts or changes it
BEGIN;
SELECT phase FROM pointstore.move('m-a', 'x', 1, 'mv-9', 'm_away');
SELECT * FROM pointstore.wait_for_movement('mv-9');
ROLLBACK;
BEGIN;
SELECT phase FROM pointstore.move('m-a', 'm-b', 1, 'mv-9');
SELECT phase FROM pointstore.wait_for_movement('mv-9');
ROLLBACK;
SELECT * FROM pointstore.wait_for_movement('mv-9');
SELECT * FROM pointstore.wait_for_movement(NULL);
SELECT * FROM pointstore.wait_for_movement('mv-1', NULL);

-- cancelled: in time, before it began, too late
SELECT phase, settled, replace(error, current_user, 'me') FROM pointstore.cancel_movement('mv-6', 'changed my mind');
SELECT phase FROM pointstore.cancel_movement('mv-6');
SELECT phase, settled FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_away');
SELECT phase FROM pointstore.cancel_movement('mv-7');
SELECT phase, steps, outstanding, waits_for FROM pointstore.movement_status ORDER BY movement_id;
SELECT phase, settled FROM pointstore.cancel_movement('mv-10', 'never');
SELECT phase FROM pointstore.cancel_movement('mv-10');
SELECT phase, settled FROM pointstore.move('m-a', 'x', 200, 'mv-10', 'm_away');
SELECT phase, finished_at = started_at, body, reason FROM pointstore.movement WHERE movement_id = 'mv-10';
SELECT * FROM pointstore.cancel_movement('mv-1');
SELECT * FROM pointstore.cancel_movement(NULL);

-- what began in an earlier incarnation of the store is not decided here
UPDATE pointstore.movement SET incarnation = incarnation - 1, deadline = 'infinity' WHERE movement_id = 'mv-8';
SELECT phase FROM pointstore.cancel_movement('mv-8', 'too old');
SELECT deadline < now(), reason FROM pointstore.movement WHERE movement_id = 'mv-8';

-- an operator's word
SELECT * FROM pointstore.resolve_movement('mv-6', 'confirm', 'must be');
SELECT * FROM pointstore.resolve_movement('mv-6', 'forget', 'must be');
SELECT * FROM pointstore.resolve_movement('mv-6', 'accept', '');
SELECT * FROM pointstore.resolve_movement('mv-none', 'accept', 'why not');
BEGIN;
SELECT phase FROM pointstore.move('m-a', 'x', 100, 'mv-11', 'm_away');
COMMIT;
UPDATE pointstore.movement SET phase = 'stuck', error = 'lost' WHERE movement_id = 'mv-11';
SELECT * FROM pointstore.wait_for_movement('mv-11');
SELECT movements_stuck FROM pointstore.reconciliation_status;
SELECT * FROM pointstore.cancel_movement('mv-11');
SELECT * FROM pointstore.resolve_movement('mv-11', 'confirm', 'not all were tried');
INSERT INTO pointstore.movement_log (movement_id, status, by_role) VALUES ('mv-11', 'confirming', 'test');
UPDATE pointstore.movement_step SET status = 'missing', attempts = 3, error = 'lost' WHERE movement_id = 'mv-11' AND step = 2;
BEGIN;
SELECT * FROM pointstore.resolve_movement('mv-11', 'cancel', 'it was decided');
ROLLBACK;
BEGIN;
SELECT phase, settled, replace(error, current_user, 'me') FROM pointstore.resolve_movement('mv-11', 'confirm', 'again');
SELECT step, status, attempts, error FROM pointstore.movement_step WHERE movement_id = 'mv-11' ORDER BY step;
SELECT deadline, reason FROM pointstore.movement WHERE movement_id = 'mv-11';
ROLLBACK;
SELECT phase, settled, replace(error, current_user, 'me') FROM pointstore.resolve_movement('mv-11', 'accept', 'written off');
SELECT step, status, replace(error, current_user, 'me') FROM pointstore.movement_log WHERE movement_id = 'mv-11' ORDER BY id;
SELECT code, severity, resolved_at IS NOT NULL AS closed, detail ->> 'reason' AS reason, detail -> 'steps' -> 1 ->> 'status' AS second FROM pointstore.finding WHERE code = 'movement_accepted';

-- a movement of another store by that name
CREATE ROLE regress_m_peer;
SELECT pointstore.grant_access('regress_m_peer', 'participant');
SET ROLE regress_m_peer;
SELECT (pointstore.participate(jsonb_build_object('version', 1, 'origin', '00000000-0000-0000-0000-00000000000a', 'name', 'elsewhere', 'incarnation', 1,
    'messages', '[{"do": "try", "movement_id": "mv-12", "step": 1, "incarnation": 1, "number": 1, "protocol": "tcc", "aggregate_id": "m-b", "amount": 5, "event_type": "T", "payload": {}}]'::jsonb)) -> 'answers' -> 0) ->> 'answer';
RESET ROLE;
SELECT * FROM pointstore.move('m-a', 'm-b', 1, 'mv-12');
SELECT * FROM pointstore.cancel_movement('mv-12');
SELECT depth, what, aggregate_id, name, amount, status, server FROM pointstore.trace('mv-12');

-- who may
CREATE ROLE regress_m_writer;
CREATE ROLE regress_m_operator;
SELECT pointstore.grant_access('regress_m_writer', 'writer'), pointstore.grant_access('regress_m_operator', 'operator');
SET ROLE regress_m_writer;
SELECT phase FROM pointstore.move('m-a', 'm-b', 1, 'mv-13');
SELECT phase FROM pointstore.move('m-a', 'x', 1, 'mv-14', 'm_away');
SELECT phase FROM pointstore.move('m-a', 'm-b', 1, 'mv-14', protocol => 'saga');
SELECT phase FROM pointstore.move('m-a', 'x', 200, 'mv-6', 'm_away');
SELECT phase FROM pointstore.cancel_movement('mv-8');
SELECT phase FROM pointstore.resolve_movement('mv-11', 'accept', 'no');
SELECT phase FROM pointstore.cancel_movement('mv-14');
UPDATE pointstore.movement SET phase = 'confirmed';
RESET ROLE;
SET ROLE regress_m_operator;
SELECT phase FROM pointstore.move('m-a', 'm-b', 1, 'mv-15', protocol => 'saga');
RESET ROLE;
SELECT movement_id, by_role FROM pointstore.movement WHERE by_role LIKE 'regress_m%' ORDER BY 1;

-- malformed
SELECT pointstore.start_movement(NULL, '[]');
SELECT pointstore.start_movement('', '[]');
SELECT pointstore.start_movement('bad', NULL);
SELECT pointstore.start_movement('bad', '[]', NULL);
SELECT pointstore.start_movement('bad', '[]', 'tcc', NULL);
SELECT pointstore.start_movement('bad', '[]');
SELECT pointstore.start_movement('bad', '{}');
SELECT pointstore.start_movement('bad', '7');
SELECT pointstore.start_movement('bad', '[7]');
SELECT pointstore.start_movement('bad', '[{}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "balanced": false}]', 'xa');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 1}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 1.5, "balanced": false}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": -9223372036854775808, "balanced": false}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 9223372036854775807}, {"aggregate_id": "m-b", "amount": 9223372036854775807}, {"aggregate_id": "m-c", "amount": 2}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "what": 1}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "event_type": "MovementTried"}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": {"event_type": "U"}}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": {}}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": 7}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": {"event_type": "U", "amount": 1}}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": {"event_type": "HoldPlaced"}}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": {"event_type": "U", "x": 1}}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "undo": {"event_type": "U", "payload": [1]}}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": -9223372036854775807, "balanced": false, "undo": {"event_type": "U", "amount": -9223372036854775808}}]', 'saga');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "x", "amount": 1, "event_type": "M", "server": "m_away"}, {"aggregate_id": "x", "amount": -1, "event_type": "M", "server": "m_away"}]', '2pc');
SELECT phase FROM pointstore.move('m-a', 'x', 1, 'bad', 'm_away', payload => jsonb_build_object('x', repeat('x', 9000000)));
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0, "server": ""}]');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0}]', 'tcc', '0 s');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0}]', 'tcc', '1000000 years');
SELECT pointstore.start_movement('bad', '[{"aggregate_id": "m-a", "amount": 0}]', metadata => '[]');
SELECT pointstore.start_movement('bad', (SELECT jsonb_agg('{"aggregate_id": "m-a", "amount": 0}'::jsonb) FROM generate_series(1, 1001)));
SELECT pointstore.move('m-a', 'm-b', 0, 'bad');
SELECT pointstore.move('m-a', 'm-b', NULL, 'bad');
SELECT pointstore.move('m-a', NULL, 1, 'bad');
SELECT pointstore.move('m-a', 'm-b', 1, repeat('x', 513));
SELECT count(*) FROM pointstore.movement WHERE movement_id = 'bad';

-- rows that somebody has altered
BEGIN;
ALTER TABLE pointstore.movement ALTER phase DROP NOT NULL, ALTER incarnation TYPE integer USING 1, ALTER body TYPE text USING 'x', ALTER reason TYPE varchar(80);
UPDATE pointstore.movement SET phase = NULL WHERE movement_id = 'mv-6';
UPDATE pointstore.movement SET protocol = 'own' WHERE movement_id = 'mv-1';
SAVEPOINT s;
SELECT pointstore.wait_for_movement('mv-6');
ROLLBACK TO s;
SELECT pointstore.cancel_movement('mv-1');
ROLLBACK TO s;
SELECT phase FROM pointstore.wait_for_movement('mv-10');
DELETE FROM pointstore.movement_store;
SELECT pointstore.cancel_movement('mv-10');
ROLLBACK;

-- what followed from what
SELECT e.id AS first FROM pointstore.append_event('m-t1', 'Ordered', metadata => '{"correlation_id": "c-1"}') e \gset
SELECT e.id AS second FROM pointstore.append_event('m-t2', 'Packed', cause_id => :first, metadata => '{"correlation_id": "c-1"}') e \gset
SELECT e.id AS third FROM pointstore.append_event('m-t3', 'Sent', cause_id => :second) e \gset
SELECT phase FROM pointstore.move('m-a', 'm-b', 1, 'mv-16', metadata => jsonb_build_object('cause_id', :second, 'correlation_id', 'c-1'));
SELECT depth, what, CASE what WHEN 'event' THEN name ELSE id END AS id, aggregate_id, amount, status FROM pointstore.trace(:'first');
SELECT depth, what, CASE what WHEN 'event' THEN name ELSE id END AS id, aggregate_id, amount, status FROM pointstore.trace('c-1');
SELECT depth, what, name, because = 'cause ' || :second AS by_second FROM pointstore.trace(:'third');
SELECT * FROM pointstore.trace('nothing');
SELECT * FROM pointstore.trace('99999999999999999999');
SELECT * FROM pointstore.trace(NULL);
-- causes that go in a circle
SELECT nextval('pointstore.event_store_id_seq') + 2 AS later \gset
SELECT e.id AS one FROM pointstore.append_event('m-t4', 'One', cause_id => :later) e \gset
SELECT e.id = :later AS is_that FROM pointstore.append_event('m-t4', 'Two', cause_id => :one) e;
SELECT depth, name FROM pointstore.trace(:'one');

-- a movement starts in a transaction that is prepared
BEGIN;
SELECT phase FROM pointstore.move('m-a', 'x', 2, 'mv-17', 'm_away');
PREPARE TRANSACTION 'movement';
COMMIT PREPARED 'movement';
SELECT phase FROM pointstore.wait_for_movement('mv-17', '1 ms');

-- whatever the snapshot of who waits
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT phase FROM pointstore.wait_for_movement('mv-17', '1 ms');
COMMIT;

-- all that was reserved is what the movements say
SELECT DISTINCT code FROM pointstore.balance b, pointstore.reconcile_account(b.aggregate_id) WHERE b.aggregate_id LIKE 'm-%';

-- a trigger that leaves out steps is told
CREATE FUNCTION m_leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER m_leave_out BEFORE INSERT ON pointstore.movement_step FOR EACH ROW EXECUTE FUNCTION m_leave_out();
SELECT phase FROM pointstore.move('m-a', 'x', 1, 'mv-left-out', 'm_away');
DROP TRIGGER m_leave_out ON pointstore.movement_step;
DROP FUNCTION m_leave_out();
SELECT count(*) FROM pointstore.movement WHERE movement_id = 'mv-left-out';

-- rows that an owner has left without a name are passed over
BEGIN;
ALTER TABLE pointstore.movement_step DROP CONSTRAINT movement_step_pkey, ALTER step DROP NOT NULL;
UPDATE pointstore.movement_step SET step = NULL WHERE movement_id = 'mv-6' AND step = 1;
SELECT count(*) > 0 AS told FROM pointstore.trace('mv-6');
ROLLBACK;

DROP VIEW m_accounts;
DROP USER MAPPING FOR CURRENT_USER SERVER m_away;
DROP SERVER m_away;
DROP FOREIGN DATA WRAPPER m_other CASCADE;
DROP OWNED BY regress_m_writer, regress_m_operator, regress_m_peer;
DROP ROLE regress_m_writer, regress_m_operator, regress_m_peer;
