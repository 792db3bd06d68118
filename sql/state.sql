-- Forms of payloads and causes; events loaded, state, snapshots.
\set VERBOSITY sqlstate
SET client_min_messages = error;
-- payload_version and cause_id, on every path
CREATE TEMP TABLE first AS SELECT id FROM pointstore.append_event('st-1', 'Earned', 100, '{"v": 2}', payload_version => 2::smallint, request_id => 'st-r1');
SELECT outcome FROM pointstore.append_event('st-1', 'Earned', 100, '{"v": 2}', payload_version => 2::smallint, request_id => 'st-r1');
-- part of what a repeat is; null is 1
SELECT pointstore.append_event('st-1', 'Earned', 100, '{"v": 2}', request_id => 'st-r1');
SELECT outcome FROM pointstore.try_append_event('st-1', 'Earned', 100, '{"v": 2}', payload_version => 3::smallint, request_id => 'st-r1');
SELECT outcome FROM pointstore.append_event('st-1', 'Earned', 1, request_id => 'st-r2');
SELECT outcome FROM pointstore.append_event('st-1', 'Earned', 1, request_id => 'st-r2', payload_version => 1::smallint);
-- a cause is not compared
SELECT outcome FROM pointstore.append_event('st-1', 'Spent', -1, request_id => 'st-r3', cause_id => (SELECT id FROM first));
SELECT outcome FROM pointstore.append_event('st-1', 'Spent', -1, request_id => 'st-r3');
SELECT count(*) FROM pointstore.append_events(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'st-2', 'event_type', 'Earned', 'amount', 5, 'payload_version', 3, 'cause_id', (SELECT id FROM first)),
    jsonb_build_object('aggregate_id', 'st-2', 'event_type', 'Earned', 'amount', 5, 'payload_version', '4', 'cause_id', (SELECT id::text FROM first)),
    jsonb_build_object('aggregate_id', 'st-2', 'event_type', 'Earned', 'payload_version', NULL, 'cause_id', NULL)));
SELECT outcome FROM pointstore.submit_event('st-3', 'Earned', 5, payload_version => 5::smallint, cause_id => (SELECT id FROM first), request_id => 'st-r4');
SELECT outcome FROM pointstore.try_submit_event('st-3', 'Earned', 5, payload_version => 6::smallint, cause_id => (SELECT id FROM first), request_id => 'st-r4');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload_version, cause_id, request_id) SELECT 'st-4', 'Earned', 5, 7, id, 'st-r5' FROM first;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload_version, request_id) VALUES ('st-4', 'Earned', 5, 7, 'st-r5');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload_version, request_id) VALUES ('st-4', 'Earned', 5, 8, 'st-r5');
COPY pointstore.event_store (aggregate_id, event_type, amount, payload_version) FROM stdin;
st-4	Earned	5	9
st-4	Earned	5	\N
\.
SELECT aggregate_id, version, payload_version, cause_id = (SELECT id FROM first) AS caused FROM pointstore.event_store WHERE aggregate_id LIKE 'st-%' ORDER BY aggregate_id, version;
-- what they may not be
SELECT pointstore.append_event('st-1', 'Earned', payload_version => 0::smallint);
SELECT pointstore.append_event('st-1', 'Earned', cause_id => 0);
INSERT INTO pointstore.event_store (aggregate_id, event_type, payload_version) VALUES ('st-4', 'Earned', -1);
SELECT pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned", "payload_version": 40000}]');
SELECT pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned", "payload_version": 1.5}]');
SELECT pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned", "cause_id": -1}]');
-- nothing that would be taken for a leg, or for a reversal
SELECT pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned"}, {"aggregate_id": "st-1", "event_type": "Earned", "cause_id": 1}]', 'st-r6');
SELECT pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned", "cause_id": 1}, {"aggregate_id": "st-1", "event_type": "Earned"}]', balanced => true);
SELECT pointstore.append_event('st-1', 'Spent', -1, '{"version": 1}', cause_id => (SELECT id FROM first));
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned", "cause_id": 1}, {"aggregate_id": "st-1", "event_type": "Earned"}]', 'st-r6');
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "st-1", "event_type": "Earned", "amount": 1, "cause_id": 1, "request_id": "st-r7"}, {"aggregate_id": "st-2", "event_type": "Earned", "amount": -1, "cause_id": 2, "request_id": "st-r8"}]', balanced => true);
-- an event with a cause of its caller's is reversed by itself, and reconciliation has nothing to say
SELECT count(*) FROM pointstore.reverse_event('st-1', 3);
SELECT a.aggregate_id, r.* FROM pointstore.account a, pointstore.reconcile_account(a.aggregate_id) r WHERE a.aggregate_id LIKE 'st-%';
