-- Messages about steps of movements, as a coordinator of another store sends them.
\set VERBOSITY sqlstate
SET client_min_messages = error;
INSERT INTO pointstore.account_kind (kind, unit, min_balance, max_balance, mode) VALUES
    ('pa-seat', 'seat', 0, 100, 'hybrid'), ('pa-pure', '', 0, NULL, 'pure');
CREATE ROLE pa_peer; CREATE ROLE pa_other; CREATE ROLE pa_ops;
SELECT pointstore.grant_access('pa_peer', 'participant'), pointstore.grant_access('pa_other', 'participant'), pointstore.grant_access('pa_ops', 'operator');
\set store '11111111-1111-1111-1111-111111111111'
-- a call; what it answers, without what differs between runs
CREATE FUNCTION pa_call(messages jsonb, incarnation bigint = 1, below text = '[1, 0]', origin uuid = '11111111-1111-1111-1111-111111111111')
RETURNS TABLE (answer text, unit text, has_event boolean, sqlstate text) LANGUAGE sql AS $$
    SELECT a->>'answer', a->>'unit', a->>'event_id' IS NOT NULL, a->>'sqlstate'
      FROM jsonb_array_elements(pointstore.participate(jsonb_build_object('version', 1, 'origin', $4, 'name', 'shop', 'incarnation', $2,
                'finished_below', $3::jsonb, 'messages', $1))->'answers') WITH ORDINALITY x(a, n) ORDER BY n $$;
CREATE FUNCTION pa_step(verb text, movement text, step integer = 1, protocol text = 'tcc', number bigint = 10, incarnation bigint = 1) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('do', verb, 'movement_id', movement, 'step', step, 'incarnation', incarnation, 'number', number, 'protocol', protocol) $$;
CREATE FUNCTION pa_try(movement text, account text, amount bigint, step integer = 1, protocol text = 'tcc', more jsonb = '{}', number bigint = 10) RETURNS jsonb LANGUAGE sql AS $$
    SELECT pa_step('try', movement, step, protocol, number) || jsonb_build_object('aggregate_id', account, 'amount', amount, 'event_type', 'Paid',
           'payload', '{"order": "A-1"}'::jsonb, 'metadata', '{"actor": "me"}'::jsonb) || more $$;
CREATE VIEW pa_event AS
SELECT e.aggregate_id, e.version, e.event_type, e.amount, e.held, e.balance_after, e.payload, e.metadata - 'origin' AS metadata,
       c.aggregate_id || ' ' || c.version AS cause
  FROM pointstore.event_store e LEFT JOIN pointstore.event_store c ON c.id = e.cause_id WHERE e.aggregate_id LIKE 'pa-%';
CREATE VIEW pa_row AS
SELECT movement_id, step, protocol, status, aggregate_id, amount, payload, ended_by, event_id IS NOT NULL AS event, end_event_id IS NOT NULL AS end_event,
       ended_at IS NOT NULL AS ended
  FROM pointstore.participant_step
 WHERE movement_id NOT LIKE 'mv-%';
GRANT SELECT ON pa_event, pa_row TO PUBLIC;
SELECT pointstore.open_account('pa-seat', 'pa-seat'), pointstore.open_account('pa-pure', 'pa-pure');
SELECT count(pointstore.append_event('pa-a', 'Earned', 1000));
SELECT count(pointstore.append_event('pa-seat', 'Bought', 60));

-- try, confirm; each once, however often it is asked
SET ROLE pa_peer;
SELECT * FROM pa_call('[]');
SELECT * FROM pa_call(jsonb_build_array(pa_try('m1', 'pa-a', -300), pa_try('m1', 'pa-b', 300, 2)));
SELECT * FROM pa_call(jsonb_build_array(pa_try('m1', 'pa-a', -300), pa_try('m1', 'pa-b', 300, 2)));
RESET ROLE;
SELECT aggregate_id, version, balance, held, incoming FROM pointstore.balance WHERE aggregate_id IN ('pa-a', 'pa-b') ORDER BY 1;
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'm1'), pa_step('confirm', 'm1', 2)));
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'm1'), pa_step('confirm', 'm1', 2), pa_try('m1', 'pa-a', -300), pa_step('cancel', 'm1')));
RESET ROLE;
SELECT aggregate_id, version, balance, held, incoming FROM pointstore.balance WHERE aggregate_id IN ('pa-a', 'pa-b') ORDER BY 1;
SELECT * FROM pa_row WHERE aggregate_id LIKE 'pa-%' ORDER BY movement_id, step;
SELECT * FROM pa_event ORDER BY aggregate_id, version;

-- cancel gives back what was reserved; before the try it leaves a tombstone
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('m2', 'pa-a', -300), pa_step('cancel', 'm2'), pa_step('cancel', 'm2'), pa_step('confirm', 'm2'), pa_try('m2', 'pa-a', -300)));
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'm3'), pa_try('m3', 'pa-a', -300), pa_step('confirm', 'm3'), pa_step('confirm', 'm4')));
RESET ROLE;
SELECT aggregate_id, version, balance, held, incoming FROM pointstore.balance WHERE aggregate_id IN ('pa-a', 'pa-b') ORDER BY 1;
SELECT * FROM pa_row WHERE movement_id IN ('m2', 'm3', 'm4') ORDER BY movement_id, step;
SET ROLE pa_peer;

-- refusals: each by itself, the others of the call stand
SELECT * FROM pa_call(jsonb_build_array(pa_try('m5', 'pa-a', -701), pa_try('m6', 'pa-a', -700), pa_try('m7', 'pa-a', -1),
    pa_try('m8', 'pa-seat', 41), pa_try('m9', 'pa-seat', 40), pa_try('m10', 'pa-pure', 1), pa_try('m11', 'pa-new', -1),
    pa_try('m12', 'pa-x', 1, more => '{"kind": "none"}'), pa_try('m13', 'pa-b', -9223372036854775808), pa_try('m14', 'pa-b', 9223372036854775807)));
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'm5'), pa_step('cancel', 'm5'), pa_step('cancel', 'm6'), pa_step('confirm', 'm9'), pa_step('cancel', 'm11')));
RESET ROLE;
SELECT count(*) FROM pointstore.balance WHERE aggregate_id IN ('pa-new', 'pa-x');
SELECT aggregate_id, balance, held, incoming FROM pointstore.balance WHERE aggregate_id IN ('pa-a', 'pa-b', 'pa-seat') ORDER BY 1;
SET ROLE pa_peer;

-- a try that is not what was tried
SELECT * FROM pa_call(jsonb_build_array(pa_try('m20', 'pa-a', -5), pa_try('m20', 'pa-a', -6), pa_try('m20', 'pa-b', -5), pa_try('m20', 'pa-a', -5, more => '{"payload": {}}'),
    pa_try('m20', 'pa-a', -5, more => '{"event_type": "Other"}'), pa_try('m20', 'pa-a', -5, protocol => 'saga'), pa_step('cancel', 'm20')));

-- what confirms passes freeze, ceiling and floor; what is reserved keeps the account open
SELECT * FROM pa_call(jsonb_build_array(pa_try('m21', 'pa-a', -700), pa_try('m22', 'pa-b', 50)));
RESET ROLE;
SELECT pointstore.close_account('pa-b', 'test');
SELECT pointstore.freeze_account('pa-a', 'test'), pointstore.freeze_account('pa-b', 'test');
UPDATE pointstore.account_kind SET min_balance = 10, max_balance = 10 WHERE kind = 'default';
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'm21'), pa_step('confirm', 'm22'), pa_try('m23', 'pa-b', 1)));
RESET ROLE;
UPDATE pointstore.account_kind SET min_balance = 0, max_balance = NULL WHERE kind = 'default';
SELECT pointstore.unfreeze_account('pa-a', 'test'), pointstore.unfreeze_account('pa-b', 'test');
SELECT aggregate_id, balance, held, incoming FROM pointstore.balance WHERE aggregate_id IN ('pa-a', 'pa-b') ORDER BY 1;

-- a saga's steps are events of their own, and undone by a reversal or by what was given for it; no rule refuses that
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('s1', 'pa-b', -100, protocol => 'saga'), pa_try('s1', 'pa-c', 100, 2, 'saga'),
    pa_try('s1', 'pa-d', 7, 3, 'saga', '{"undo": {"event_type": "Returned", "amount": -7, "payload": {"why": "undo"}}}'),
    pa_try('s1', 'pa-e', 0, 4, 'saga'), pa_try('s1', 'pa-f', 9, 5, 'saga'), pa_try('s1', 'pa-b', -100, protocol => 'saga')));
RESET ROLE;
SELECT outcome FROM pointstore.append_event('pa-c', 'Spent', -100);
SELECT outcome FROM pointstore.reverse_event('pa-f', 1);
SELECT pointstore.close_account('pa-c', 'test');
SELECT pointstore.freeze_account('pa-c', 'test');
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 's1', 5, 'saga'), pa_step('cancel', 's1', 4, 'saga'), pa_step('cancel', 's1', 3, 'saga'), pa_step('cancel', 's1', 2, 'saga'),
    pa_step('confirm', 's1', 1, 'saga'), pa_step('cancel', 's1', 2, 'saga'), pa_step('cancel', 's1', 1, 'saga')));
RESET ROLE;
SELECT * FROM pa_row WHERE movement_id = 's1' ORDER BY step;
SELECT * FROM pa_event WHERE aggregate_id IN ('pa-c', 'pa-d', 'pa-e', 'pa-f') ORDER BY aggregate_id, version;
SELECT aggregate_id, balance, held, incoming FROM pointstore.balance WHERE aggregate_id LIKE 'pa-%' ORDER BY 1;

-- 2pc: a transaction that is prepared
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('p1', 'pa-b', -10, protocol => '2pc')));
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('p1', 'pa-b', -10, protocol => '2pc'), pa_step('cancel', 'm1')));
ROLLBACK;
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('p1', 'pa-b', -10, protocol => '2pc')));
PREPARE TRANSACTION 'pa1';
-- meanwhile the step and its account are locked: nobody waits
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'p1', protocol => '2pc'), pa_step('confirm', 'p1', protocol => '2pc'),
    pa_try('p2', 'pa-b', -10), pa_try('p3', 'pa-a', 1)));
SELECT * FROM pa_call(jsonb_build_array(pa_try('p2', 'pa-b', -10) || '{"attempt": 5}', pa_step('cancel', 'p3')));
COMMIT PREPARED 'pa1';
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'p1', protocol => '2pc'), pa_step('cancel', 'p1', protocol => '2pc')));
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('p4', 'pa-b', -10, protocol => '2pc')));
PREPARE TRANSACTION 'pa4';
ROLLBACK PREPARED 'pa4';
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'p4', protocol => '2pc')));
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('p4', 'pa-b', -10, protocol => '2pc')));
ROLLBACK;
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('p5', 'pa-b', -1000, protocol => '2pc')));
ROLLBACK;
RESET ROLE;
SELECT * FROM pa_row WHERE protocol = '2pc' ORDER BY movement_id, step;
SELECT * FROM pa_event WHERE aggregate_id = 'pa-b' ORDER BY version DESC LIMIT 1;

-- malformed messages, by themselves
SET ROLE pa_peer;
SELECT * FROM pa_call('["x", null, {}, {"do": "none"}, {"do": "try"}, {"do": "confirm", "movement_id": "", "step": 1}]');
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'h') || '{"step": 0}', pa_step('confirm', 'h') || '{"step": 32768}', pa_step('confirm', 'h') || '{"step": 1.5}',
    pa_step('confirm', 'h') || '{"number": -1}', pa_step('confirm', 'h') || '{"protocol": "x"}', pa_step('confirm', 'h') || '{"x": 1}',
    pa_try('h', 'pa-a', 1, more => '{"amount": "9223372036854775808"}'), pa_try('h', 'pa-a', 1, more => '{"amount": null}'), pa_try('h', 'pa-a', 1, more => '{"event_type": "MovementTried"}'),
    pa_try('h', 'pa-a', 1, more => '{"metadata": []}'), pa_try('h', 'pa-a', 1, more => '{"metadata": {"pointstore.proposed": 1}}'), pa_try('h', 'pa-a', 1, more => '{"undo": {}}'),
    pa_try('h', 'pa-a', 1, protocol => 'saga', more => '{"undo": {"event_type": "U", "x": 1}}'), pa_try('h', 'pa-a', 1, protocol => 'saga', more => '{"undo": {"event_type": "EventReversed"}}'),
    pa_try('h', repeat('x', 513), 1), pa_try('h', 'pa-a', 1, more => '{"kind": ""}'), pa_try('h9', 'pa-a', 1, more => '{"payload": null, "metadata": null, "amount": "3"}')));
SELECT pointstore.participate(NULL);
SELECT pointstore.participate(m::jsonb) FROM (VALUES ('[]'), ('{"version": 2}')) v(m);
SELECT pointstore.participate('{"version": 2, "more": 1}');
SELECT pointstore.participate('{"version": 1, "origin": "x", "incarnation": 1, "messages": []}');
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": -1, "messages": []}');
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": {}}');
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "finished_below": [1], "messages": []}');
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": [], "x": 1}');
SELECT m->'version' AS version, (m->>'store')::uuid = (SELECT (pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": []}')->>'store')::uuid) AS store,
       m->>'system_identifier' ~ '^\d+$' AS system, m->'timeline' AS timeline, (m->>'lsn')::pg_lsn > '0/0' AS lsn, m->'answers' AS answers
  FROM pointstore.participate('{"version": "1", "origin": "11111111-1111-1111-1111-111111111111", "incarnation": "1", "messages": []}') m;

-- who speaks for a store, and in which incarnation
SET ROLE pa_other;
SELECT * FROM pa_call('[]');
SET ROLE pa_peer;
SELECT * FROM pa_call('[]', origin => '33333333-3333-3333-3333-333333333333');
SELECT * FROM pa_call(jsonb_build_array(pa_try('i1', 'pa-a', 1)), 2);
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'i1')), 1);
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('i2', 'pa-a', 1, protocol => '2pc')), 3);
ROLLBACK;
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'i1')), 2);
RESET ROLE;
SELECT origin, role, name, incarnation FROM pointstore.participant_origin WHERE role LIKE 'pa_%' ORDER BY origin;

-- a movement of another store's, or of this one's, of the same name
SET ROLE pa_other;
SELECT * FROM pa_call('[]', origin => '33333333-3333-3333-3333-333333333333');
SELECT * FROM pa_call(jsonb_build_array(pa_try('m1', 'pa-a', 1), pa_step('cancel', 'm1'), pa_step('confirm', 'm6')), origin => '33333333-3333-3333-3333-333333333333');
RESET ROLE;
INSERT INTO pointstore.movement (movement_id, protocol, phase, started_at, by_role, incarnation, balanced) VALUES ('own', 'tcc', 'cancelled', now(), 'x', 1, true);
SET ROLE pa_other;
SELECT * FROM pa_call(jsonb_build_array(pa_try('own', 'pa-a', 1)), origin => '33333333-3333-3333-3333-333333333333');
RESET ROLE;
DELETE FROM pointstore.movement WHERE movement_id = 'own';
-- nor does one of this very store's, or of a copy's of it
SELECT store AS here FROM pointstore.movement_store \gset
UPDATE pointstore.participant_origin SET role = NULL WHERE role = 'pa_other';
SET ROLE pa_other;
SELECT * FROM pa_call(jsonb_build_array(pa_try('self', 'pa-a', 1), pa_step('confirm', 'self'), pa_step('cancel', 'self')), origin => :'here');
RESET ROLE;

-- a store that nobody speaks for: not who tries what is to be prepared, but the next who introduces it
UPDATE pointstore.participant_origin SET role = NULL WHERE role = 'pa_peer';
SET ROLE pa_other;
BEGIN;
SELECT * FROM pa_call(jsonb_build_array(pa_try('i3', 'pa-a', 1, protocol => '2pc')), 2);
ROLLBACK;
SET ROLE pa_peer;
SELECT * FROM pa_call('[]', 2);
RESET ROLE;
SELECT role FROM pointstore.participant_origin WHERE origin = '11111111-1111-1111-1111-111111111111';

-- what comes late for what has finished; tombstones are dropped by then
UPDATE pointstore.participant_origin SET heard_at = '-infinity';
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('m3', 'pa-a', 1), pa_step('confirm', 'm3'), pa_step('cancel', 'm3'), pa_step('cancel', 'm6'), pa_step('cancel', 'z', number => 11),
    pa_step('cancel', 'm1')), 2, '[1, 11]');
RESET ROLE;
SELECT movement_id, status FROM pointstore.participant_step WHERE aggregate_id IS NULL AND origin = :'store' ORDER BY 1;

-- an operator's word
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('o1', 'pa-a', 5, number => 12), pa_try('o2', 'pa-a', 6, number => 12), pa_try('o3', 'pa-a', 7, protocol => 'saga', number => 12)), 2);
SELECT pointstore.resolve_step(:'store', 'o1', 1, 'confirm', 'x');
SET ROLE pa_ops;
SELECT pointstore.resolve_step(:'store', 'o1', 1, 'confirm', 'the other side says so');
SELECT pointstore.resolve_step(:'store', 'o1', 1, 'confirm', 'again');
SELECT pointstore.resolve_step(:'store', 'o1', 1, 'cancel', 'no');
SELECT pointstore.resolve_step(:'store', 'o2', 1, 'cancel', 'test');
SELECT pointstore.resolve_step(:'store', 'o2', 1, 'confirm', 'no');
SELECT pointstore.resolve_step(:'store', 'o3', 1, 'cancel', 'test');
SELECT pointstore.resolve_step(:'store', 'o4', 1, 'cancel', 'test');
SELECT pointstore.resolve_step(:'store', 'o4', 1, 'confirm', 'test');
SELECT pointstore.resolve_step(:'store', 'o1', 1, 'accept', 'test');
SELECT pointstore.resolve_step(:'store', 'o1', 1, 'cancel', NULL);
SELECT pointstore.resolve_step(:'store', 'o1', 0, 'cancel', 'x');
RESET ROLE;
SELECT * FROM pa_row WHERE movement_id LIKE 'o_' ORDER BY movement_id;
SELECT event_type, amount, metadata FROM pa_event WHERE metadata ? 'resolved_by' ORDER BY version;
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'o1'), pa_step('confirm', 'o2'), pa_step('confirm', 'o3')), 2);

-- rows, in pages
SELECT r->>'movement_id' AS movement_id, r->'step' AS step, r->>'status' AS status, r->'amount' AS amount, r->'applied' AS applied
  FROM jsonb_array_elements(pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 2, "messages": [
       {"do": "list", "after": {"movement_id": "m9", "step": 1}, "limit": 5}]}')->'answers'->0->'rows') r;
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 2, "messages": [
       {"do": "list", "after": {"movement_id": "zz", "step": 1}}, {"do": "list", "limit": 0}, {"do": "list", "after": 1}]}')->'answers';

-- what users have put on the tables: what it refuses is that message's alone, of what may not be refused failed
RESET ROLE;
SELECT setting AS owner FROM (SELECT relowner::regrole::text AS setting FROM pg_class WHERE oid = 'pointstore.event_store'::regclass) s \gset
ALTER TABLE pointstore.event_store ADD CONSTRAINT pa_check CHECK (payload->>'order' IS DISTINCT FROM 'bad' OR event_type <> 'MovementConfirmed') NOT VALID;
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('c1', 'pa-a', 1, number => 20), pa_try('c2', 'pa-a', 1, number => 20, more => '{"payload": {"order": "bad"}}'), pa_try('c3', 'pa-a', 1, number => 20)), 2);
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'c1'), pa_step('confirm', 'c2'), pa_step('confirm', 'c3')), 2);
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'c2')), 2);
RESET ROLE;
ALTER TABLE pointstore.event_store DROP CONSTRAINT pa_check;
CREATE TABLE pa_seen (role text);
GRANT INSERT ON pa_seen TO PUBLIC;
CREATE FUNCTION pa_spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.pa_seen VALUES (current_user);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER pa_spy AFTER INSERT OR UPDATE ON pointstore.participant_step DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pa_spy();
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('c4', 'pa-a', 1, number => 20), pa_step('cancel', 'c4')), 2);
RESET ROLE;
SELECT role = :'owner' AS as_owner, count(*) FROM pa_seen GROUP BY 1;
DROP TRIGGER pa_spy ON pointstore.participant_step;
DROP TABLE pa_seen;

-- a trigger that leaves a row out takes its event back
CREATE FUNCTION pa_drop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER pa_drop BEFORE INSERT ON pointstore.participant_step FOR EACH ROW WHEN (new.movement_id = 'c5') EXECUTE FUNCTION pa_drop();
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_try('c5', 'pa-a', 1, number => 20), pa_try('c6', 'pa-a', 1, number => 20), pa_step('cancel', 'c6')), 2);
RESET ROLE;
SELECT count(*) FROM pa_event WHERE metadata->>'movement_id' = 'c5';
DROP TRIGGER pa_drop ON pointstore.participant_step;

-- rows that are not what they say
UPDATE pointstore.participant_step SET status = 'odd' WHERE movement_id = 'h9';
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'h9'), pa_step('cancel', 'h9'), pa_try('h9', 'pa-a', 3)), 2);
RESET ROLE;
UPDATE pointstore.participant_step SET status = 'tried', event_id = NULL WHERE movement_id = 'h9';
SET ROLE pa_peer;
SELECT * FROM pa_call(jsonb_build_array(pa_step('confirm', 'h9')), 2);
RESET ROLE;
UPDATE pointstore.participant_step SET event_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'pa-a' AND metadata->>'movement_id' = 'h9') WHERE movement_id = 'h9';

-- in REPEATABLE READ what is committed meanwhile counts; not where the transaction has written
SET ROLE pa_peer;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM pa_call(jsonb_build_array(pa_step('cancel', 'h9')), 2);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CREATE TEMP TABLE pa_t (a int) ON COMMIT DROP;
INSERT INTO pa_t VALUES (1);
SELECT * FROM pa_call('[]', 2);
ROLLBACK;
RESET ROLE;

-- the answers are durable, those of repeats too, whatever synchronous_commit says
SET ROLE pa_peer;
SET synchronous_commit = off;
SELECT answer FROM pa_call(jsonb_build_array(pa_try('d1', 'pa-a', 3, number => 30)), 2);
RESET ROLE;
SELECT count(pointstore.append_event('pa-b', 'Earned', 1)) FROM generate_series(1, 100);
SELECT pg_current_wal_insert_lsn() AS lsn \gset
SET ROLE pa_peer;
SELECT answer FROM pa_call(jsonb_build_array(pa_try('d1', 'pa-a', 3, number => 30)), 2);
SELECT pg_current_wal_flush_lsn() >= :'lsn' AS flushed;
SHOW synchronous_commit;
SELECT answer FROM pa_call(jsonb_build_array(pa_step('cancel', 'd1')), 2);
RESET synchronous_commit;
RESET ROLE;

-- all is as the events say
SELECT a.aggregate_id, r.* FROM pointstore.balance a, pointstore.reconcile_account(a.aggregate_id) r WHERE a.aggregate_id LIKE 'pa-%' AND code <> 'ok';
SELECT sum(held), sum(incoming) FROM pointstore.balance WHERE aggregate_id LIKE 'pa-%';
DELETE FROM pointstore.participant_origin WHERE role LIKE 'pa_%';
DROP VIEW pa_event, pa_row;
DROP FUNCTION pa_call, pa_step, pa_try, pa_spy, pa_drop;
DROP OWNED BY pa_peer, pa_other, pa_ops;
DROP ROLE pa_peer, pa_other, pa_ops;
