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

-- state: {} passed through the reducer, event by event
CREATE FUNCTION st_sum(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS
$$ SELECT state || jsonb_build_object('sum', coalesce((state ->> 'sum')::bigint, 0) + event.amount, 'n', event.version, 'last', event.payload) $$;
SELECT * FROM pointstore.aggregate_state('st-none');
SELECT * FROM pointstore.aggregate_state('st-none', 1);
SELECT pointstore.open_account('st-empty');
SELECT * FROM pointstore.aggregate_state('st-empty');
SELECT * FROM pointstore.aggregate_state('st-2');
INSERT INTO pointstore.account_kind (kind, mode, min_balance, reducer, snapshot_every) VALUES
    ('st-hybrid', 'hybrid', NULL, 'st_sum', NULL), ('st-pure', 'pure', NULL, 'public.st_sum(jsonb, pointstore.event)', 100);
SELECT kind, reducer, reducer_version, snapshot_every FROM pointstore.account_kind WHERE kind LIKE 'st-%' ORDER BY kind;
SELECT count(*) FROM generate_series(1, 250) i, pointstore.append_event('st-h', 'Earned', i, jsonb_build_object('i', i), kind => 'st-hybrid');
SELECT count(*) FROM generate_series(1, 250) i, pointstore.append_event('st-p', 'Earned', i, jsonb_build_object('i', i), kind => 'st-pure');
SELECT * FROM pointstore.aggregate_state('st-h');
SELECT * FROM pointstore.aggregate_state('st-p', 101);
SELECT * FROM pointstore.aggregate_state('st-h', 0);
SELECT * FROM pointstore.aggregate_state('st-h', 251);
SELECT * FROM pointstore.aggregate_state('st-h', -1);
SELECT * FROM pointstore.aggregate_state(NULL);

-- snapshots: gone on from, and a cache that is never an error
SELECT pointstore.take_snapshot('st-none');
SELECT pointstore.take_snapshot('st-empty');
SELECT pointstore.take_snapshot('st-2');
SELECT pointstore.take_snapshot('st-h');
SELECT outcome FROM pointstore.append_event('st-h', 'Earned', 1000);
-- what is kept is what is gone on from: shown by a state altered by hand
UPDATE pointstore.snapshot SET state = '{"sum": 1}' WHERE aggregate_id = 'st-h';
SELECT * FROM pointstore.aggregate_state('st-h');
SELECT * FROM pointstore.aggregate_state('st-h', 250);
SELECT state ->> 'sum' AS sum FROM pointstore.aggregate_state('st-h', 249);
-- twice is once; an older one stays for older versions
SELECT pointstore.take_snapshot('st-h'), pointstore.take_snapshot('st-h');
SELECT version, state ->> 'sum' AS sum FROM pointstore.snapshot WHERE aggregate_id = 'st-h' ORDER BY version;
-- another definition of the reducer: stale; the first again: it fits again
CREATE OR REPLACE FUNCTION st_sum(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS
$$ SELECT state || jsonb_build_object('sum', coalesce((state ->> 'sum')::bigint, 0) + event.amount, 'n', event.version) $$;
SELECT * FROM pointstore.aggregate_state('st-h');
CREATE OR REPLACE FUNCTION st_sum(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS
$$ SELECT state || jsonb_build_object('sum', coalesce((state ->> 'sum')::bigint, 0) + event.amount, 'n', event.version, 'last', event.payload) $$;
SELECT state ->> 'sum' AS sum FROM pointstore.aggregate_state('st-h', 250);
-- so do reducer_version, settings of the function, an upcaster, and another last event
BEGIN;
UPDATE pointstore.account_kind SET reducer_version = 2 WHERE kind = 'st-hybrid';
SELECT state ->> 'sum' AS sum FROM pointstore.aggregate_state('st-h', 250);
ROLLBACK;
BEGIN;
ALTER FUNCTION st_sum SET work_mem = '5MB';
SELECT state ->> 'sum' AS sum FROM pointstore.aggregate_state('st-h', 250);
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET id = id + 1000000 WHERE aggregate_id = 'st-h' AND version = 250;
SELECT state ->> 'sum' AS sum FROM pointstore.aggregate_state('st-h', 250);
ROLLBACK;
-- what a session's settings are makes no other state, and none stale
CREATE FUNCTION st_said(state jsonb, event pointstore.event) RETURNS jsonb RETURN jsonb_build_object('day', '2024-01-31'::date, 'float', 0.1::float8 + 0.2::float8, 'bytes', '\x41'::bytea);
BEGIN;
UPDATE pointstore.account_kind SET reducer = 'st_said' WHERE kind = 'st-hybrid';
SELECT state, pointstore.take_snapshot('st-h') FROM pointstore.aggregate_state('st-h');
UPDATE pointstore.snapshot SET state = '"kept"' WHERE version = 251;
SET LOCAL DateStyle = 'SQL, DMY';
SET LOCAL extra_float_digits = 0;
SET LOCAL bytea_output = 'escape';
SET LOCAL quote_all_identifiers = on;
SELECT state FROM pointstore.aggregate_state('st-h');
SELECT state FROM pointstore.aggregate_state('st-h', 249);
ROLLBACK;
DROP FUNCTION st_said;
-- what fits no more is dropped when another is taken
BEGIN;
UPDATE pointstore.account_kind SET reducer_version = 2 WHERE kind = 'st-hybrid';
SELECT pointstore.take_snapshot('st-h');
SELECT version, state ->> 'sum' AS sum FROM pointstore.snapshot WHERE aggregate_id = 'st-h' ORDER BY version;
ROLLBACK;
SELECT pointstore.take_snapshot('st-p');
SELECT count(*) FROM pointstore.snapshot;
SELECT pointstore.drop_snapshots('st-none'), pointstore.drop_snapshots('st-pure', 'st-h'), pointstore.drop_snapshots('st-pure'), pointstore.drop_snapshots(aggregate_id => 'st-h'), pointstore.drop_snapshots();
-- by one snapshot, with what this transaction has done
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT version FROM pointstore.aggregate_state('st-h');
SELECT version FROM pointstore.append_event('st-h', 'Earned', 1);
SELECT version FROM pointstore.aggregate_state('st-h');
SELECT pointstore.take_snapshot('st-h');
ROLLBACK;
SELECT count(*) FROM pointstore.snapshot;
-- read only: states are read, and nothing is kept
BEGIN READ ONLY;
SELECT version FROM pointstore.aggregate_state('st-h');
SELECT pointstore.take_snapshot('st-h');
ROLLBACK;

-- load_events
SELECT version, payload FROM pointstore.load_events('st-h', 248);
SELECT version FROM pointstore.load_events('st-h', 10, 2);
SELECT * FROM pointstore.load_events('st-h', 10, 0);
SELECT * FROM pointstore.load_events('st-none');
SELECT pointstore.load_events('st-h', -1);
SELECT pointstore.load_events('st-h', 0, -1);
SELECT pointstore.load_events('st-h', NULL);
SELECT pointstore.load_events('st-h', raw => NULL);
SELECT count(*) FROM pointstore.event_store e JOIN pointstore.load_events('st-p', raw => true) l ON l.id = e.id WHERE to_jsonb(e) @> to_jsonb(l) AND e.aggregate_id = 'st-p';

-- upcasters: chained, wherever events are read, never what is stored
CREATE FUNCTION st_up1(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('points', payload -> 'p') $$;
CREATE FUNCTION st_up2(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT payload || '{"unit": "point"}' $$;
INSERT INTO pointstore.upcaster VALUES ('Counted', 1, 'st_up1'), ('Counted', 2, 'public.st_up2(jsonb)');
SELECT * FROM pointstore.upcaster ORDER BY event_type, payload_version;
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "st-u", "event_type": "Counted", "payload": {"p": 1}},
    {"aggregate_id": "st-u", "event_type": "Counted", "payload": {"p": 2}, "payload_version": 1}, {"aggregate_id": "st-u", "event_type": "Counted", "payload": {"points": 3}, "payload_version": 2},
    {"aggregate_id": "st-u", "event_type": "Counted", "payload": {"points": 4, "unit": "seat"}, "payload_version": 3}, {"aggregate_id": "st-u", "event_type": "Other", "payload": {"p": 5}}]');
SELECT version, payload, payload_version FROM pointstore.load_events('st-u');
SELECT version, payload, payload_version FROM pointstore.load_events('st-u', raw => true);
SELECT pointstore.set_kind('st-u', 'st-hybrid');
SELECT * FROM pointstore.aggregate_state('st-u', 3);
SELECT pointstore.take_snapshot('st-u');
SELECT pointstore.sequence_feed() > 0;
SELECT version, payload, payload_version FROM pointstore.read_feed(0, 10, aggregate_prefix => 'st-u');
SELECT version, payload, payload_version FROM pointstore.read_feed(0, 10, aggregate_prefix => 'st-u', raw => true);
SELECT pointstore.read_feed(raw => NULL);
-- of the stored type
SELECT version, payload FROM pointstore.read_feed(0, 10, ARRAY['Other'], 'st-u');
-- a change of an upcaster makes snapshots stale
UPDATE pointstore.snapshot SET state = '{"altered": true}';
SELECT * FROM pointstore.aggregate_state('st-u');
CREATE OR REPLACE FUNCTION st_up2(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT payload || '{"unit": "stamp"}' $$;
SELECT state FROM pointstore.aggregate_state('st-u', 4);
SELECT state FROM pointstore.aggregate_state('st-u', 3);
SELECT pointstore.drop_snapshots();
-- one that fails, is gone, or says nothing: an error that names the event
CREATE FUNCTION st_tell(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text; BEGIN EXECUTE statement; RETURN 'none'; EXCEPTION WHEN OTHERS OR query_canceled THEN GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL; RETURN SQLSTATE || ' ' || regexp_replace(d, 'position=\d+', 'position=N'); END $$;
BEGIN;
CREATE OR REPLACE FUNCTION st_up2(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero USING DETAIL = 'its own'; END $$;
SELECT st_tell($$SELECT * FROM pointstore.load_events('st-u')$$), st_tell($$SELECT * FROM pointstore.read_feed(aggregate_prefix => 'st-u')$$), st_tell($$SELECT * FROM pointstore.read_feed(aggregate_prefix => 'st-u', raw => true)$$);
SELECT st_tell($$SELECT * FROM pointstore.load_events('st-u', 4)$$), st_tell($$SELECT * FROM pointstore.load_events('st-u', raw => true)$$), st_tell($$SELECT * FROM pointstore.aggregate_state('st-u', 1)$$);
CREATE OR REPLACE FUNCTION st_up2(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
SELECT st_tell($$SELECT * FROM pointstore.load_events('st-u')$$);
DROP FUNCTION st_up2;
SELECT st_tell($$SELECT * FROM pointstore.load_events('st-u')$$), st_tell($$SELECT * FROM pointstore.load_events('st-u', 3)$$);
UPDATE pointstore.upcaster SET payload_version = 9 WHERE payload_version = 2;
SELECT version, payload, payload_version FROM pointstore.load_events('st-u', 0, 1);
ROLLBACK;
INSERT INTO pointstore.upcaster VALUES ('Counted', 0, 'st_up1');
INSERT INTO pointstore.upcaster VALUES ('Counted', 3, 'st_gone');
INSERT INTO pointstore.upcaster VALUES ('Counted', 3, 'pg_catalog.jsonb_pretty');
INSERT INTO pointstore.upcaster VALUES ('Counted', 3, NULL);
UPDATE pointstore.account_kind SET reducer = 'st_up1' WHERE kind = 'st-pure';
UPDATE pointstore.account_kind SET reducer = 'st_up1(jsonb)' WHERE kind = 'st-pure';
UPDATE pointstore.account_kind SET snapshot_every = 0 WHERE kind = 'st-pure';

-- reducers that mean harm, or none and do it all the same
CREATE ROLE regress_st_owner; CREATE ROLE regress_st_reader; CREATE ROLE regress_st_author;
GRANT regress_st_author TO regress_st_owner;
SELECT pointstore.grant_access('regress_st_reader', 'reader'), pointstore.grant_access('regress_st_author', 'writer');
CREATE SCHEMA st AUTHORIZATION regress_st_author;
GRANT USAGE ON SCHEMA st TO PUBLIC;
SET ROLE regress_st_author;
CREATE TABLE st.note (who text, path text, zone text, told text);
CREATE FUNCTION st.r(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO st.note VALUES (current_user, current_setting('search_path'), current_setting('TimeZone'), to_char(event.created_at, 'TZ'));
    PERFORM set_config('search_path', 'st', false), set_config('TimeZone', 'Asia/Seoul', false);
    RETURN jsonb_build_object('n', event.version);
END $$;
RESET ROLE;
UPDATE pointstore.account_kind SET reducer = 'st.r' WHERE kind = 'st-pure';
SET ROLE regress_st_reader;
SET search_path = pg_temp, public;
SELECT * FROM pointstore.aggregate_state('st-p', 2);
SHOW search_path;
RESET search_path;
RESET ROLE;
SELECT * FROM st.note;
-- its own SET
ALTER FUNCTION st.r SET search_path = st, pg_catalog;
ALTER FUNCTION st.r SET TimeZone = 'Asia/Tokyo';
SELECT version FROM pointstore.aggregate_state('st-p', 1);
SELECT who, path, zone FROM st.note OFFSET 2;
-- raises, loops, becomes another, leaves something behind, appends
CREATE FUNCTION st_try(body text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET ROLE regress_st_author;
    EXECUTE format('CREATE OR REPLACE FUNCTION st.h(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql AS %L', 'BEGIN ' || body || '; RETURN state; END');
    RESET ROLE;
    UPDATE pointstore.account_kind SET reducer = 'st.h' WHERE kind = 'st-pure';
    RETURN st_tell($q$SELECT * FROM pointstore.aggregate_state('st-p', 3)$q$);
END $$;
\x
SELECT st_try('RAISE EXCEPTION USING ERRCODE = ''ZZ123''') AS raises, st_try('SET ROLE regress_st_owner') AS set_role, st_try('RESET ROLE') AS reset_role,
       st_try('SET SESSION AUTHORIZATION DEFAULT') AS authorization, st_try('CREATE TEMP TABLE st_t ()') AS temp,
       st_try('EXECUTE ''DECLARE st_c CURSOR WITH HOLD FOR SELECT 1''') AS cursor, st_try('LISTEN st_l') AS listen, st_try('COMMIT') AS commits,
       st_try('PERFORM pg_catalog.pg_read_file(''postgresql.conf'')') AS file, st_try('state := NULL') AS says_nothing,
       st_try('UPDATE pointstore.balance SET version = version + 1') AS balance,
       st_try('PERFORM pointstore.append_event(event.aggregate_id, ''ByReducer'')') AS appends;
\x
SELECT last.version FROM pointstore.load_events('st-p', 250) last;
BEGIN;
SET LOCAL statement_timeout = '200ms';
SELECT st_try('LOOP NULL; END LOOP') AS loops;
ROLLBACK;
SELECT st_try('PERFORM pointstore.aggregate_state(event.aggregate_id)') AS calls_itself;
-- it is gone; the row can be changed otherwise
DROP FUNCTION st.h;
SELECT * FROM pointstore.aggregate_state('st-p', 3);
UPDATE pointstore.account_kind SET max_balance = 1000000000 WHERE kind = 'st-pure';
-- a superuser's function is called as the store's owner or, where he is one too, as the caller
CREATE FUNCTION st_who(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user::text) $$;
UPDATE pointstore.account_kind SET reducer = 'st_who' WHERE kind = 'st-pure';
SET ROLE regress_st_reader;
SELECT state FROM pointstore.aggregate_state('st-p', 1);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION st_who FROM PUBLIC;
SET ROLE regress_st_reader;
SELECT state FROM pointstore.aggregate_state('st-p', 1);
RESET ROLE;
-- nobody names a function that he may not have called: as another, or at all
GRANT UPDATE, SELECT ON pointstore.account_kind TO regress_st_owner, regress_st_reader;
GRANT USAGE ON SCHEMA pointstore TO regress_st_owner;
GRANT INSERT ON pointstore.upcaster TO regress_st_reader;
SET ROLE regress_st_reader;
UPDATE pointstore.account_kind SET reducer = 'st.r' WHERE kind = 'st-pure';
UPDATE pointstore.account_kind SET reducer = 'public.st_who' WHERE kind = 'st-hybrid';
INSERT INTO pointstore.upcaster VALUES ('Earned', 1, 'public.st_up1');
RESET ROLE;
SET ROLE regress_st_owner;
UPDATE pointstore.account_kind SET reducer = 'st.r' WHERE kind = 'st-pure' RETURNING reducer;
RESET ROLE;
ALTER TABLE pointstore.account_kind DISABLE TRIGGER zz_pointstore_function;
-- what is no name at all is 42883 from PostgreSQL 16 on
CREATE FUNCTION st_refused() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM pointstore.aggregate_state('st-p', 3);
    RETURN false;
EXCEPTION WHEN invalid_text_representation OR invalid_name OR undefined_function THEN
    RETURN true;
END $$;
UPDATE pointstore.account_kind SET reducer = 'nonsense(' WHERE kind = 'st-pure';
SELECT st_refused();
UPDATE pointstore.account_kind SET reducer = '' WHERE kind = 'st-pure';
SELECT st_refused();
DROP FUNCTION st_refused();
UPDATE pointstore.account_kind SET reducer = 'st_sum' WHERE kind = 'st-pure';
SELECT * FROM pointstore.aggregate_state('st-p', 3);
ALTER TABLE pointstore.account_kind ENABLE TRIGGER zz_pointstore_function;
-- nor does the store's owner, past all triggers; nor anybody else for that owner
BEGIN;
SET LOCAL ROLE regress_st_author;
CREATE FUNCTION st.u(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user::text) $$;
RESET ROLE;
SELECT pointstore.give_store('regress_st_owner'), pointstore.grant_owner('regress_st_owner');
REVOKE regress_st_author FROM regress_st_owner;
SELECT st_tell($$UPDATE pointstore.account_kind SET reducer = 'st.r' WHERE kind = 'st-hybrid'$$), st_tell($$INSERT INTO pointstore.upcaster VALUES ('Counted', 3, 'st.u')$$);
SET LOCAL ROLE regress_st_owner;
ALTER TABLE pointstore.account_kind DISABLE TRIGGER USER;
ALTER TABLE pointstore.upcaster DISABLE TRIGGER USER;
UPDATE pointstore.account_kind SET reducer = 'st.r(jsonb,pointstore.event)' WHERE kind = 'st-pure';
INSERT INTO pointstore.upcaster VALUES ('Counted', 3, 'st.u(jsonb)');
RESET ROLE;
SELECT st_tell($$SELECT * FROM pointstore.aggregate_state('st-p', 1)$$), left(st_tell($$SELECT * FROM pointstore.load_events('st-u', 3)$$), 5), left(st_tell($$SELECT * FROM pointstore.read_feed(aggregate_prefix => 'st-u')$$), 5);
GRANT regress_st_author TO regress_st_owner;
SELECT state FROM pointstore.aggregate_state('st-p', 1);
SELECT payload FROM pointstore.load_events('st-u', 3, 1);
-- a superuser's function is called as that owner, and by a superuser too
UPDATE pointstore.account_kind SET reducer = 'public.st_who(jsonb,pointstore.event)' WHERE kind = 'st-pure';
GRANT EXECUTE ON FUNCTION st_who TO regress_st_owner;
SELECT state FROM pointstore.aggregate_state('st-p', 1);
ROLLBACK;
-- who may what
UPDATE pointstore.account_kind SET reducer = 'public.st_sum' WHERE kind = 'st-pure';
SET ROLE regress_st_reader;
SELECT version FROM pointstore.aggregate_state('st-p', 3);
SELECT count(*) > 0 FROM pointstore.load_events('st-p');
SELECT pointstore.take_snapshot('st-p');
RESET ROLE;
SET ROLE regress_st_author;
SELECT pointstore.take_snapshot('st-p') > 0;
SELECT pointstore.drop_snapshots();
INSERT INTO pointstore.snapshot VALUES ('st-p', 1, '{}', '', now());
RESET ROLE;
-- tables that somebody has altered
BEGIN;
ALTER TABLE pointstore.snapshot ALTER state DROP NOT NULL, ALTER stamp DROP NOT NULL;
UPDATE pointstore.snapshot SET state = NULL;
SELECT version FROM pointstore.aggregate_state('st-p', 250);
UPDATE pointstore.snapshot SET stamp = NULL;
SELECT version FROM pointstore.aggregate_state('st-p', 250);
ALTER TABLE pointstore.upcaster DROP CONSTRAINT upcaster_pkey;
ALTER TABLE pointstore.upcaster ALTER payload_version DROP NOT NULL, ALTER event_type DROP NOT NULL, ALTER function DROP NOT NULL;
INSERT INTO pointstore.upcaster VALUES (NULL, NULL, NULL), ('Counted', 2, 'st_up1');
SELECT version, payload FROM pointstore.load_events('st-u', 2, 1);
ROLLBACK;
DELETE FROM pointstore.upcaster;
SELECT pointstore.drop_snapshots() > 0;

-- verify_replay: another reducer, and snapshots
CREATE FUNCTION st_new(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF event.aggregate_id = 'st-v3' AND event.version = 2 THEN RAISE division_by_zero USING MESSAGE = repeat('x', 100000); END IF;
    RETURN public.st_sum(state, event) || CASE WHEN event.aggregate_id = 'st-v2' AND event.version >= 3 THEN '{"more": 1}'::jsonb ELSE '{}' END;
END $$;
INSERT INTO pointstore.account_kind (kind, reducer) VALUES ('st-v', 'public.st_sum');
SELECT count(*) FROM generate_series(1, 5) a, generate_series(1, 4) i, pointstore.append_event('st-v' || a, 'Earned', i, kind => 'st-v');
DO $$ DECLARE r bigint; BEGIN CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)', 1, r); RAISE NOTICE '%', r; END $$;
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)');
SELECT d.run, d.aggregate_id, d.version, d.before, d.after, left(d.error, 5) AS error, length(d.error) FROM pointstore.replay_difference d ORDER BY run, aggregate_id;
SELECT run, kind, reducer, sample, finished_at IS NOT NULL AS finished, accounts, accounts_total, events, differences FROM pointstore.replay_run ORDER BY run;
-- the same accounts each time
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)', 0.5);
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)', 0.5);
SELECT count(DISTINCT (accounts, events, differences)), max(accounts) < 5 AS fewer FROM pointstore.replay_run WHERE sample < 1;
-- snapshots that are what the events come to, and one that is not
SELECT pointstore.take_snapshot('st-v' || a) FROM generate_series(1, 4) a;
CALL pointstore.verify_replay('st-v');
UPDATE pointstore.snapshot SET state = '{"sum": 0}' WHERE aggregate_id = 'st-v4';
CALL pointstore.verify_replay('st-v');
SELECT run, aggregate_id, version, before, after, error FROM pointstore.replay_difference WHERE run > 4 ORDER BY run;
-- what it refuses
CALL pointstore.verify_replay('st-none');
CALL pointstore.verify_replay(NULL);
CALL pointstore.verify_replay('st-v', NULL, 0);
CALL pointstore.verify_replay('st-v', NULL, 'NaN');
CALL pointstore.verify_replay('st-v', NULL, 1, 1);
CALL pointstore.verify_replay('default');
CALL pointstore.verify_replay('st-v', 'pg_catalog.jsonb_pretty(jsonb)');
CALL pointstore.verify_replay('st-v', 4294967295::oid::regprocedure);
-- a run that somebody has dropped; tables that somebody has altered
CREATE FUNCTION st_meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM pointstore.replay_run WHERE run = NEW.run; RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE INSERT ON pointstore.replay_difference FOR EACH ROW EXECUTE FUNCTION st_meddle();
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)');
DROP TRIGGER meddle ON pointstore.replay_difference;
DROP FUNCTION st_meddle;
ALTER TABLE pointstore.replay_run ALTER upto DROP NOT NULL, ALTER upto DROP DEFAULT;
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)');
DELETE FROM pointstore.replay_run WHERE upto IS NULL;
ALTER TABLE pointstore.replay_run ALTER upto SET NOT NULL, ALTER upto SET DEFAULT '';
BEGIN;
CALL pointstore.verify_replay('st-v');
ROLLBACK;
-- one that was interrupted goes on
UPDATE pointstore.replay_run SET finished_at = NULL, upto = 'st-v2' WHERE run = 1;
DELETE FROM pointstore.replay_difference WHERE run = 1;
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)', 1, 1);
SELECT aggregate_id, version FROM pointstore.replay_difference WHERE run = 1;
-- what a session that ended was at is taken first, from where it was put off
UPDATE pointstore.replay_run SET finished_at = NULL, upto = 'st-v4', accounts = 0, events = 0, differences = 0 WHERE run = 1;
INSERT INTO pointstore.replay_slice VALUES (1, 'st-v1', 'st-v2'), (1, 'st-v2', 'st-v3');
DELETE FROM pointstore.replay_difference WHERE run = 1;
CALL pointstore.verify_replay('st-v', 'st_new(jsonb,pointstore.event)', 1, 1);
SELECT aggregate_id, version FROM pointstore.replay_difference WHERE run = 1;
SELECT accounts, events, differences, finished_at IS NOT NULL AS finished, (SELECT count(*) FROM pointstore.replay_slice WHERE run = 1) AS slices FROM pointstore.replay_run WHERE run = 1;
-- few accounts with many events are slices of their own
CREATE TABLE st_slices (upto text);
CREATE FUNCTION st_slice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.st_slices VALUES (NEW.upto); RETURN NEW; END $$;
CREATE TRIGGER slice BEFORE INSERT ON pointstore.replay_slice FOR EACH ROW EXECUTE FUNCTION st_slice();
INSERT INTO pointstore.account_kind (kind, mode, reducer) VALUES ('st-few', 'pure', 'public.st_sum');
SELECT count(pointstore.open_account('st-few-' || a, 'st-few')) FROM generate_series(1, 3) a;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'st-few-' || a, 'Earned', 1 FROM generate_series(1, 3) a, generate_series(1, 9000);
CALL pointstore.verify_replay('st-few');
SELECT upto FROM st_slices;
SELECT accounts, accounts_total, differences FROM pointstore.replay_run WHERE kind = 'st-few';
DROP TRIGGER slice ON pointstore.replay_slice;
DROP FUNCTION st_slice;
DROP TABLE st_slices;
SELECT pointstore.drop_snapshots();
-- takes no more memory for more accounts: what each slice leaves is seen at its end
CREATE TABLE st_memory (n serial, bytes numeric);
CREATE FUNCTION st_measure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.st_memory (bytes) SELECT sum(used_bytes) FROM pg_backend_memory_contexts; RETURN NEW; END $$;
CREATE TRIGGER measure BEFORE UPDATE ON pointstore.replay_run FOR EACH ROW EXECUTE FUNCTION st_measure();
INSERT INTO pointstore.account_kind (kind, reducer) VALUES ('st-many', 'public.st_sum');
SELECT count(pointstore.open_account('st-many-' || a || repeat('x', 400), 'st-many')) FROM generate_series(1, 4000) a;
CALL pointstore.verify_replay('st-many');
SELECT count(*), max(bytes) - (SELECT bytes FROM st_memory WHERE n = 3) < 500000 AS steady FROM st_memory;
DROP TRIGGER measure ON pointstore.replay_run;
DROP FUNCTION st_measure;
DROP TABLE st_memory;
UPDATE pointstore.account_kind SET reducer = NULL;
DROP SCHEMA st CASCADE;
DROP OWNED BY regress_st_owner, regress_st_reader, regress_st_author;
DROP FUNCTION st_new, st_sum, st_who, st_up1, st_up2, st_try, st_tell;
DROP ROLE regress_st_owner, regress_st_reader, regress_st_author;
