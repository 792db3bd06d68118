-- Merging: an event whose expected_version is stale, by commuting types and by the kind's function.
\set VERBOSITY sqlstate
CREATE ROLE merge_author;
CREATE SCHEMA merging AUTHORIZATION merge_author;
-- fields that both have set to something else: a conflict; all others pass
CREATE FUNCTION merging.by_field(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb
LANGUAGE sql STABLE RETURN CASE WHEN NOT EXISTS (
    SELECT FROM unnest(since) theirs, jsonb_each(theirs.payload) t, jsonb_each(proposed->'payload') m
     WHERE t.key = m.key AND t.value <> m.value) THEN proposed END;
-- answers by what the event asks for
CREATE FUNCTION merging.ask(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    result jsonb;
BEGIN
    EXECUTE proposed->'payload'->>'do' INTO result USING proposed, base_version, since;
    RETURN result;
END $$;
ALTER FUNCTION merging.by_field(jsonb, bigint, pointstore.event[]) OWNER TO merge_author;
ALTER FUNCTION merging.ask(jsonb, bigint, pointstore.event[]) OWNER TO merge_author;
INSERT INTO pointstore.account_kind (kind, mode, commuting, merge) VALUES
    ('merge-likes', 'hybrid', '{Liked,Unliked,NULL}', NULL),
    ('merge-doc', 'hybrid', '{Viewed}', 'merging.by_field'),
    ('merge-pure', 'pure', '{Liked}', 'merging.by_field'),
    ('merge-ask', 'hybrid', NULL, 'merging.ask');
SELECT kind, merge FROM pointstore.account_kind WHERE merge IS NOT NULL ORDER BY kind;

-- as data: types that commute are renumbered
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "merge-l", "event_type": "Created", "kind": "merge-likes"},
    {"aggregate_id": "merge-l", "event_type": "Liked", "amount": 1},
    {"aggregate_id": "merge-l", "event_type": "Liked", "amount": 1}]');
SELECT outcome, version, balance, available FROM pointstore.append_event('merge-l', 'Unliked', -1, expected_version => 1, request_id => 'merge-1', metadata => '"free"');
SELECT version, event_type, amount, balance_after, metadata FROM pointstore.event_store WHERE aggregate_id = 'merge-l' ORDER BY version;
SELECT outcome, version, balance FROM pointstore.append_event('merge-l', 'Unliked', -1, expected_version => 1, request_id => 'merge-1');
SELECT outcome, version, balance FROM pointstore.append_event('merge-l', 'Unliked', -1, expected_version => 4);
-- one that does not, or one since that does not
SELECT outcome, version FROM pointstore.try_append_event('merge-l', 'Renamed', expected_version => 2);
SELECT count(*) FROM pointstore.append_event('merge-l', 'Renamed');
SELECT pointstore.append_event('merge-l', 'Liked', 1, expected_version => 4);
SELECT outcome, version, balance FROM pointstore.try_append_event('merge-l', 'Liked', 1, expected_version => 6);
SELECT outcome, version FROM pointstore.try_append_event('merge-l', 'Liked', 1, expected_version => 4);
-- 0 and what is ahead never merge; a raw INSERT never does
SELECT outcome, version FROM pointstore.try_append_event('merge-l', 'Liked', 1, expected_version => 0);
SELECT outcome, version FROM pointstore.try_append_event('merge-l', 'Liked', 1, expected_version => 8);
SELECT outcome, version FROM pointstore.append_event('merge-l', 'Liked', 1);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('merge-l', 7, 'Liked', 1);
-- the rules bind what is merged
SELECT outcome, version, balance FROM pointstore.try_append_event('merge-l', 'Unliked', -3, expected_version => 6);
-- the limit
SET pointstore.merge_limit = 1;
SELECT outcome, version FROM pointstore.append_event('merge-l', 'Liked', 1, expected_version => 6);
SELECT outcome, version FROM pointstore.try_append_event('merge-l', 'Liked', 1, expected_version => 6);
SET pointstore.merge_limit = 0;
SELECT outcome, version FROM pointstore.try_append_event('merge-l', 'Liked', 1, expected_version => 7);
RESET pointstore.merge_limit;
-- within a batch: what the batch appends has come since too
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "merge-l", "event_type": "Liked", "amount": 1, "expected_version": 8},
    {"aggregate_id": "merge-l", "event_type": "Liked", "amount": 1, "expected_version": 8},
    {"aggregate_id": "merge-l", "event_type": "Liked", "amount": 1, "expected_version": 6}]');
SELECT outcome, version FROM pointstore.try_append_events('[
    {"aggregate_id": "merge-l", "event_type": "Renamed", "expected_version": 11},
    {"aggregate_id": "merge-l", "event_type": "Liked", "amount": 1, "expected_version": 11}]');
-- by submit_event
SELECT outcome, version, balance FROM pointstore.submit_event('merge-l', 'Liked', 1, expected_version => 9, request_id => 'merge-2');
SELECT outcome, version, balance FROM pointstore.submit_event('merge-l', 'Liked', 1, expected_version => 9, request_id => 'merge-2');
SELECT outcome, version FROM pointstore.try_submit_event('merge-l', 'Renamed', expected_version => 9);
SET pointstore.merge_limit = 0;
SELECT outcome FROM pointstore.try_submit_event('merge-l', 'Liked', 1, expected_version => 9);
RESET pointstore.merge_limit;

-- by the kind's function: other fields pass, the same field is a conflict
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "merge-d", "event_type": "Edited", "kind": "merge-doc", "payload": {"title": "a", "text": "b"}},
    {"aggregate_id": "merge-d", "event_type": "Edited", "payload": {"title": "A"}}]');
SELECT outcome, version FROM pointstore.append_event('merge-d', 'Edited', 5, '{"text": "B"}', 1, 'merge-3', metadata => '{"actor": "ann"}');
SELECT version, amount, payload, jsonb_pretty(metadata) AS metadata FROM pointstore.event_store WHERE aggregate_id = 'merge-d' AND version = 3;
SELECT outcome, version FROM pointstore.try_append_event('merge-d', 'Edited', 0, '{"title": "x"}', 1);
SELECT pointstore.append_event('merge-d', 'Edited', 0, '{"title": "x"}', 1);
-- a repeat is compared with what was proposed
SELECT outcome, version FROM pointstore.append_event('merge-d', 'Edited', 5, '{"text": "B"}', 1, 'merge-3');
SELECT outcome, version FROM pointstore.append_event('merge-d', 'Edited', 5, '{"text": "B"}', 3, 'merge-3');
SELECT outcome, version FROM pointstore.try_append_event('merge-d', 'Edited', 5, '{"text": "C"}', 1, 'merge-3');
-- commuting types come first: the function is not asked
SELECT count(*) FROM pointstore.append_event('merge-d', 'Viewed', payload => '{"by": 1}');
SELECT outcome, version FROM pointstore.append_event('merge-d', 'Viewed', payload => '{"by": 2}', expected_version => 3);
SELECT metadata FROM pointstore.event_store WHERE aggregate_id = 'merge-d' AND version = 5;
-- combined, and as one of a batch: the function is given what the batch appends before
SELECT outcome, version FROM pointstore.submit_event('merge-d', 'Edited', payload => '{"note": 1}', expected_version => 2);
SELECT outcome, version FROM pointstore.try_append_events('[
    {"aggregate_id": "merge-d", "event_type": "Edited", "expected_version": 6, "payload": {"x": 1}},
    {"aggregate_id": "merge-d", "event_type": "Edited", "expected_version": 6, "payload": {"y": 1}},
    {"aggregate_id": "merge-d", "event_type": "Edited", "expected_version": 6, "payload": {"x": 2}}]');
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "merge-d", "event_type": "Edited", "expected_version": 6, "payload": {"x": 1}},
    {"aggregate_id": "merge-d", "event_type": "Edited", "expected_version": 6, "payload": {"y": 1}, "request_id": "merge-4"},
    {"aggregate_id": "merge-d", "event_type": "Edited", "expected_version": 6, "payload": {"y": 1}, "request_id": "merge-4"}]');

-- pure accounts
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "merge-p", "event_type": "Edited", "kind": "merge-pure", "payload": {"a": 1}},
    {"aggregate_id": "merge-p", "event_type": "Edited", "payload": {"b": 1}}]');
SELECT outcome, version FROM pointstore.append_event('merge-p', 'Edited', payload => '{"c": 1}', expected_version => 1);
SELECT outcome, version FROM pointstore.try_append_event('merge-p', 'Edited', payload => '{"c": 2}', expected_version => 1);
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "merge-p", "event_type": "Liked"}, {"aggregate_id": "merge-l", "event_type": "Liked"},
    {"aggregate_id": "merge-p", "event_type": "Liked", "expected_version": 3}]');
SELECT outcome, version FROM pointstore.submit_event('merge-p', 'Liked', expected_version => 3);

-- what the function is given, and may return
CREATE FUNCTION pg_temp.ask(answer text, proposed jsonb = '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    receipt pointstore.receipt;
BEGIN
    SELECT * INTO receipt FROM pointstore.append_event('merge-a', coalesce(proposed->>'event_type', 'Asked'), coalesce((proposed->>'amount')::bigint, 7),
        jsonb_build_object('do', 'SELECT ' || answer), 1, metadata => coalesce(proposed->'metadata', '{"m": 1}'));
    RETURN (SELECT format('%s %s %s %s', receipt.outcome, event_type, amount, metadata - 'pointstore.proposed')
              FROM pointstore.event_store WHERE aggregate_id = 'merge-a' AND version = receipt.version);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "merge-a", "event_type": "Made", "kind": "merge-ask", "amount": 100},
    {"aggregate_id": "merge-a", "event_type": "Other", "amount": 10, "metadata": {"a": 1}}]');
SELECT pg_temp.ask($$ '{}' $$) AS as_proposed, pg_temp.ask('$1') AS the_same;
SELECT pg_temp.ask('NULL');
SELECT pg_temp.ask($$ jsonb_build_object('metadata', jsonb_build_object('keys', (SELECT jsonb_agg(k ORDER BY k) FROM jsonb_object_keys($1) k), 'base', $2,
    'since', (SELECT jsonb_agg(jsonb_build_array(s.version, s.event_type, s.amount, s.balance_after, s.id IS NULL, s.metadata) ORDER BY s.version) FROM unnest($3) s WHERE s.version < 3),
    'n', cardinality($3), 'as', current_user, 'path', current_setting('search_path'), 'zone', current_setting('TimeZone'))) $$);
SELECT pg_temp.ask($$ '{"event_type": "Changed", "amount": "8", "metadata": null, "payload": null}' $$);
SELECT pg_temp.ask($$ '{"amount": -200}' $$) AS floor, pg_temp.ask($$ '{"amount": 9223372036854775807}' $$) AS overflow;
SELECT n, pg_temp.ask(n) FROM unnest(ARRAY[$$ '[]' $$, $$ '1' $$, $$ '"x"' $$, $$ 'null' $$, $$ '{"aggregate_id": "merge-l"}' $$, $$ '{"request_id": "x"}' $$,
    $$ '{"amount": 1.5}' $$, $$ '{"amount": null}' $$, $$ '{"amount": "9223372036854775808"}' $$, $$ '{"event_type": null}' $$, $$ '{"event_type": ""}' $$, $$ '{"event_type": 1}' $$,
    $$ '{"event_type": "HoldPlaced"}' $$, $$ '{"metadata": [1]}' $$, $$ '{"metadata": {"pointstore.proposed": 1}}' $$, $$ '{"payload_version": 0}' $$]) n;
SELECT pg_temp.ask('$1', '{"metadata": [1]}');
-- the key is the store's
SELECT pointstore.append_event('merge-a', 'Noted', metadata => '{"pointstore.proposed": null}');
SELECT pointstore.append_events('[{"aggregate_id": "merge-a", "event_type": "Noted", "metadata": {"pointstore.proposed": {}}}]');
SELECT pointstore.transfer('merge-a', 'merge-b', 1, metadata => '{"pointstore.proposed": {}}');
SELECT pointstore.hold('merge-a', 1, 'merge-h') IS NOT NULL;
SELECT pointstore.confirm_hold('merge-h', metadata => '{"pointstore.proposed": {}}');
INSERT INTO pointstore.event_store (aggregate_id, event_type, metadata) VALUES ('merge-a', 'Noted', '{"pointstore.proposed": {}}');
COPY pointstore.event_store (aggregate_id, event_type, metadata) FROM stdin;
merge-a	Noted	{"pointstore.proposed": 1}
\.

-- hostile functions
SELECT pg_temp.ask($$ pointstore.append_event('merge-a', 'Noted') $$) AS appends, pg_temp.ask($$ 1/0 $$) AS raises;
SELECT count(*) FROM pointstore.grant_access('merge_author', 'operator');
GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA pointstore TO merge_author;
SELECT pg_temp.ask($$ to_jsonb(pointstore.append_event('merge-a', 'Noted')) $$) AS same, pg_temp.ask($$ to_jsonb(pointstore.append_event('merge-l', 'Noted')) $$) AS other,
       pg_temp.ask($$ to_jsonb(pointstore.submit_event('merge-a', 'Noted')) $$) AS submits;
CREATE FUNCTION merging.harm(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE proposed->'payload'->>'do';
    RETURN proposed;
END $$;
ALTER FUNCTION merging.harm(jsonb, bigint, pointstore.event[]) OWNER TO merge_author;
GRANT USAGE, CREATE ON SCHEMA merging TO merge_author;
UPDATE pointstore.account_kind SET merge = 'merging.harm' WHERE kind = 'merge-ask';
CREATE FUNCTION pg_temp.harm(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT outcome FROM pointstore.append_event('merge-a', 'Asked', 0, jsonb_build_object('do', statement), 1));
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT s AS statement, pg_temp.harm(s) FROM unnest(ARRAY[
    'INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES (''merge-a'', ''Noted'')',
    'UPDATE pointstore.balance SET balance = 0, version = version + 1 WHERE aggregate_id = ''merge-a''',
    'UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = ''merge-a''',
    'SELECT pointstore.freeze_account(''merge-a'', ''harm'')', 'SELECT pointstore.open_account(''merge-new'')',
    'SET work_mem = ''99MB''', 'SET search_path = merging', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'CREATE TABLE merging.left_behind ()',
    'CREATE TEMP TABLE left_behind ()', 'LISTEN merging', 'SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT', 'COMMIT', 'SELECT pg_advisory_lock(1)',
    'DROP FUNCTION merging.harm(jsonb, bigint, pointstore.event[])', 'SELECT set_config(''pointstore.balance_writer'', ''caller'', false)']) s;
SELECT count(*) FROM pg_cursors WHERE name = 'c';
SELECT current_setting('work_mem'), current_setting('pointstore.balance_writer'), to_regclass('merging.left_behind'), to_regproc('merging.harm') IS NOT NULL AS stays;
SELECT aggregate_id, status FROM pointstore.account WHERE aggregate_id IN ('merge-a', 'merge-new');
-- one that does not come to an end
SET statement_timeout = '200ms';
SELECT pointstore.append_event('merge-a', 'Asked', 0, '{"do": "SELECT pg_sleep(1000)"}', 1);
SELECT pointstore.submit_event('merge-a', 'Asked', 0, '{"do": "SELECT pg_sleep(1000)"}', 1);
RESET statement_timeout;
-- one that is gone, that the store's owner may not have called, and a superuser's own, which runs as the owner
ALTER FUNCTION merging.harm(jsonb, bigint, pointstore.event[]) RENAME TO gone;
SELECT pointstore.append_event('merge-a', 'Asked', 0, '{"do": "SELECT 1"}', 1);
UPDATE pointstore.account_kind SET merge = 'merging.harm' WHERE kind = 'merge-ask';
UPDATE pointstore.account_kind SET merge = 'merging.none' WHERE kind = 'merge-ask';
CREATE FUNCTION merging.no_merge(jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
UPDATE pointstore.account_kind SET merge = 'merging.no_merge(jsonb)' WHERE kind = 'merge-ask';
UPDATE pointstore.account_kind SET merge = NULL WHERE kind = 'merge-ask';
SELECT outcome FROM pointstore.try_append_event('merge-a', 'Asked', 0, '{"do": "SELECT 1"}', 1);

-- a superuser's function is called as the store's owner, and where he is a superuser too as the caller; a writer reads nothing else by it
CREATE ROLE merge_writer;
SELECT count(*) FROM pointstore.grant_access('merge_writer', 'writer');
UPDATE pointstore.account_kind SET merge = 'merging.ask' WHERE kind = 'merge-ask';
ALTER FUNCTION merging.ask(jsonb, bigint, pointstore.event[]) OWNER TO CURRENT_USER;
SET ROLE merge_writer;
SELECT outcome FROM pointstore.append_event('merge-a', 'Asked', 0, jsonb_build_object('do', $$SELECT jsonb_build_object('event_type', 'As ' || current_user)$$), 1);
SELECT pointstore.append_event('merge-a', 'Asked', 0, jsonb_build_object('do', $$SELECT to_jsonb(rolpassword) FROM pg_authid LIMIT 1$$), 1);
RESET ROLE;
SELECT event_type FROM pointstore.event_store WHERE aggregate_id = 'merge-a' AND event_type LIKE 'As %';
ALTER FUNCTION merging.ask(jsonb, bigint, pointstore.event[]) OWNER TO merge_author;
DROP OWNED BY merge_writer;
DROP ROLE merge_writer;

-- payloads of older forms: the function sees the newest, what it makes is stored as that
CREATE FUNCTION merging.longer(payload jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN jsonb_build_object('full_title', payload->'title');
ALTER FUNCTION merging.longer(jsonb) OWNER TO merge_author;
INSERT INTO pointstore.upcaster (event_type, payload_version, function) VALUES ('Titled', 1, 'merging.longer');
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "merge-u", "event_type": "Titled", "kind": "merge-doc", "payload": {"title": 1}},
    {"aggregate_id": "merge-u", "event_type": "Titled", "payload": {"full_title": 2}, "payload_version": 2}]');
SELECT outcome FROM pointstore.try_append_event('merge-u', 'Titled', payload => '{"title": 3}', expected_version => 1);
SELECT outcome, version FROM pointstore.append_event('merge-u', 'Titled', payload => '{"title": 2}', expected_version => 1, request_id => 'merge-u');
SELECT payload, payload_version, metadata FROM pointstore.event_store WHERE aggregate_id = 'merge-u' AND version = 3;
SELECT outcome FROM pointstore.append_event('merge-u', 'Titled', payload => '{"title": 2}', expected_version => 1, request_id => 'merge-u');
DELETE FROM pointstore.upcaster WHERE event_type = 'Titled';

-- balanced: the sum is that of what is appended
UPDATE pointstore.account_kind SET merge = 'merging.ask' WHERE kind = 'merge-ask';
SELECT outcome, aggregate_id FROM pointstore.append_events('[
    {"aggregate_id": "merge-a", "event_type": "Moved", "amount": -5, "expected_version": 1, "payload": {"do": "SELECT ''{}''::jsonb"}},
    {"aggregate_id": "merge-c", "event_type": "Moved", "amount": 5}]', balanced => true);
SELECT pointstore.append_events('[
    {"aggregate_id": "merge-a", "event_type": "Moved", "amount": -5, "expected_version": 1, "payload": {"do": "SELECT ''{\"amount\": -4}''::jsonb"}},
    {"aggregate_id": "merge-c", "event_type": "Moved", "amount": 5}]', balanced => true);
-- a request of several events, merged, is replayed as it was proposed
SELECT outcome, aggregate_id FROM pointstore.append_events('[
    {"aggregate_id": "merge-c", "event_type": "Noted"},
    {"aggregate_id": "merge-a", "event_type": "Noted", "amount": 1, "expected_version": 1, "payload": {"do": "SELECT ''{\"amount\": 2}''::jsonb"}}]', 'merge-5');
SELECT outcome, aggregate_id FROM pointstore.append_events('[
    {"aggregate_id": "merge-c", "event_type": "Noted"},
    {"aggregate_id": "merge-a", "event_type": "Noted", "amount": 1, "expected_version": 1, "payload": {"do": "SELECT ''{\"amount\": 2}''::jsonb"}}]', 'merge-5');
SELECT outcome, aggregate_id FROM pointstore.try_append_events('[
    {"aggregate_id": "merge-c", "event_type": "Noted"},
    {"aggregate_id": "merge-a", "event_type": "Noted", "amount": 2, "expected_version": 1, "payload": {"do": "SELECT ''{\"amount\": 2}''::jsonb"}}]', 'merge-5');
-- one request twice in one call: the second repeats what was proposed by the first
SELECT outcome, version = max(version) OVER () AS same FROM pointstore.append_events('[
    {"aggregate_id": "merge-a", "event_type": "Noted", "amount": 1, "expected_version": 1, "payload": {"do": "SELECT ''{\"amount\": 2}''::jsonb"}, "request_id": "merge-6"},
    {"aggregate_id": "merge-a", "event_type": "Noted", "amount": 1, "expected_version": 1, "payload": {"do": "SELECT ''{\"amount\": 2}''::jsonb"}, "request_id": "merge-6"}]');
-- transitions come after merging: by the state as it is, and by the type that is appended; the function sees the states
INSERT INTO pointstore.account_kind (kind, initial_state, commuting, merge) VALUES ('merge-order', 'new', '{Noted}', 'merging.ask');
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES ('merge-order', 'new', 'Paid', 'paid'), ('merge-order', 'paid', 'Shipped', 'shipped'), ('merge-order', 'new', 'Cancelled', 'cancelled');
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "merge-o", "event_type": "Noted", "kind": "merge-order"}, {"aggregate_id": "merge-o", "event_type": "Paid"}]');
SELECT outcome, version FROM pointstore.try_append_event('merge-o', 'Cancelled', 0, '{"do": "SELECT $1"}', 1);
SELECT outcome, version FROM pointstore.append_event('merge-o', 'Cancelled', 0, '{"do": "SELECT ''{\"event_type\": \"Shipped\"}''::jsonb"}', 1, 'merge-o1');
SELECT outcome, version FROM pointstore.append_event('merge-o', 'Cancelled', 0, '{"do": "SELECT ''{\"event_type\": \"Shipped\"}''::jsonb"}', 1, 'merge-o1');
SELECT outcome, version FROM pointstore.append_events('[{"aggregate_id": "merge-o", "event_type": "Noted"},
    {"aggregate_id": "merge-o", "event_type": "Asked", "expected_version": 1, "payload": {"do": "SELECT jsonb_build_object(''payload'', (SELECT jsonb_agg(jsonb_build_array(version, state_after)) FROM unnest($3)))"}}]');
SELECT version, event_type, state_after, CASE WHEN event_type = 'Asked' THEN payload END AS seen FROM pointstore.event_store WHERE aggregate_id = 'merge-o' ORDER BY version;

-- many events: the attempt that takes all requests for new does not merge what was merged before
SELECT n, outcome, count(*) FROM generate_series(1, 2) n, LATERAL pointstore.append_events(
    (SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'merge-l', 'event_type', 'Liked', 'expected_version', 11 + n - n, 'request_id', 'merge-m' || i)) FROM generate_series(1, 20) i)) r
 GROUP BY n, outcome ORDER BY n;

-- what the calls of a function have needed is given back after each
GRANT SELECT ON pg_backend_memory_contexts TO merge_author;
GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts() TO merge_author;
SELECT count(*), max(balance) FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'merge-m', 'event_type', 'Noted', 'kind', 'merge-ask') ||
    CASE WHEN i > 1 THEN jsonb_build_object('expected_version', 1, 'payload', jsonb_build_object('do',
        CASE WHEN i < 300 THEN 'SELECT $1' ELSE 'SELECT jsonb_build_object(''amount'', trunc(sum(total_bytes) / 40000000)) FROM pg_backend_memory_contexts' END)) ELSE '{}' END)
    FROM generate_series(1, 300) i));
REVOKE ALL ON pg_backend_memory_contexts FROM merge_author;
REVOKE ALL ON FUNCTION pg_get_backend_memory_contexts() FROM merge_author;

SELECT aggregate_id, code FROM unnest(ARRAY['merge-l', 'merge-d', 'merge-p', 'merge-a', 'merge-u', 'merge-o']) aggregate_id, pointstore.reconcile_account(aggregate_id);
UPDATE pointstore.account_kind SET merge = NULL WHERE merge IS NOT NULL;
DROP SCHEMA merging CASCADE;
