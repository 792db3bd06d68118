-- Bad input: nulls, empty and long names, large payloads, the ends of bigint.
\set VERBOSITY sqlstate
CREATE FUNCTION pg_temp.sqlstate(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RETURN 'ok';
EXCEPTION WHEN others THEN
    RETURN SQLSTATE;
END$$;

-- nulls
SELECT pointstore.append_event(NULL, 'Noted');
SELECT pointstore.append_event('bad-1', NULL);
SELECT pointstore.append_event('bad-1', 'Noted', NULL);
SELECT pointstore.try_append_event(NULL, 'Noted');
SELECT pointstore.try_append_event('bad-1', NULL);
SELECT pointstore.try_append_event('bad-1', 'Noted', NULL);
-- a null payload is an empty one
BEGIN;
SELECT outcome FROM pointstore.append_event('bad-1', 'Noted', 0, NULL);
SELECT outcome FROM pointstore.try_append_event('bad-1', 'Noted', 0, NULL);
SELECT payload FROM pointstore.event_store WHERE aggregate_id = 'bad-1';
ROLLBACK;
-- where null means "none" it does; JSON's null is a payload
SELECT outcome, version FROM pointstore.append_event('bad-2', 'Noted', 0, 'null', NULL, NULL, NULL, NULL, NULL, NULL);
SELECT payload, metadata, request_id, leg FROM pointstore.event_store WHERE aggregate_id = 'bad-2';

-- empty names
SELECT pointstore.append_event('', 'Noted');
SELECT pointstore.append_event('bad-1', '');
SELECT pointstore.append_event('bad-1', 'Noted', request_id => '');
SELECT pointstore.append_event('bad-1', 'Noted', kind => '');
SELECT pointstore.append_event('bad-1', 'Noted', expected_version => -1);
SELECT pointstore.append_event('bad-1', 'Noted', expected_version => -9223372036854775808);
SELECT pointstore.append_event('bad-1', 'Noted', kind => 'no-such-kind');
-- reserved types
SELECT pointstore.append_event('bad-1', 'HoldPlaced');
SELECT pointstore.append_event('bad-1', 'HoldConfirmed');
SELECT pointstore.append_event('bad-1', 'HoldCancelled');
SELECT pointstore.try_append_event('bad-1', 'HoldExpired');
SELECT outcome FROM pointstore.append_event('bad-2', 'holdplaced');

-- 512 bytes are a name, 513 are not
SELECT outcome, octet_length(aggregate_id) FROM pointstore.append_event(repeat('a', 512), repeat('e', 512), request_id => repeat('r', 512));
SELECT outcome, octet_length(aggregate_id) FROM pointstore.append_event(repeat('a', 512), repeat('e', 512), request_id => repeat('r', 512));
SELECT pointstore.append_event(repeat('a', 513), 'Noted');
SELECT pointstore.append_event('bad-1', repeat('e', 513));
SELECT pointstore.append_event('bad-1', 'Noted', request_id => repeat('r', 513));
SELECT pointstore.append_event('bad-1', 'Noted', kind => repeat('k', 513));
INSERT INTO pointstore.account_kind (kind) VALUES (repeat('k', 512));
SELECT outcome FROM pointstore.append_event('bad-3', 'Noted', kind => repeat('k', 512));
INSERT INTO pointstore.account_kind (kind) VALUES (repeat('k', 513));
-- bytes, not characters
SELECT outcome, octet_length(aggregate_id) FROM pointstore.append_event(repeat(convert_from('\xc3a9', 'UTF8'), 256), 'Noted');
SELECT pointstore.append_event(repeat(convert_from('\xc3a9', 'UTF8'), 256) || 'x', 'Noted');
-- a name may look like anything else
SELECT outcome, aggregate_id = E'bad\n\t''";\\ --' AS same
  FROM pointstore.append_event(E'bad\n\t''";\\ --', E'Robert''); DROP TABLE "students', request_id => E'%s %n \\');
SELECT version FROM pointstore.get_balance(E'bad\n\t''";\\ --');
SELECT pointstore.append_event(E'bad\n\t''";\\ --', 'PointSpent', -1);

-- what is no text of this server never arrives
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event('bad-1', 'Noted', 0, '{"a": "\u0000"}')$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event('bad-1', 'Noted', 0, jsonb_build_object('a', convert_from('\x00', 'UTF8')))$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event(convert_from('\xff', 'UTF8'), 'Noted')$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_events('[{"aggregate_id": "bad-1\u0000", "event_type": "Noted"}]')$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event('bad-1', 'Noted', 0, '{"a": ')$$);

-- a megabyte is fine, and compared to its last byte
SELECT outcome, version FROM pointstore.append_event('bad-4', 'Noted', 0, jsonb_build_object('text', repeat('x', 1024 * 1024)),
                                                     request_id => 'bad-r1', metadata => to_jsonb(repeat('m', 1024 * 1024)));
SELECT length(payload ->> 'text'), length(metadata #>> '{}') FROM pointstore.event_store WHERE aggregate_id = 'bad-4';
SELECT outcome, version FROM pointstore.append_event('bad-4', 'Noted', 0, jsonb_build_object('text', repeat('x', 1024 * 1024)), request_id => 'bad-r1');
SELECT outcome, version FROM pointstore.append_event('bad-4', 'Noted', 0, jsonb_build_object('text', repeat('x', 1024 * 1024 - 1) || 'y'), request_id => 'bad-r1');
SELECT outcome, version FROM pointstore.append_events(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'bad-4', 'event_type', 'Noted', 'payload', repeat('x', 1024 * 1024)),
    jsonb_build_object('aggregate_id', 'bad-4', 'event_type', 'Noted', 'payload', repeat('y', 1024 * 1024))), 'bad-r2');
-- three hundred are not
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event('bad-1', 'Noted', 0, to_jsonb(repeat(repeat('x', 1024 * 1024), 300)))$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event('bad-1', 'Noted', metadata => to_jsonb(repeat(repeat('x', 1024 * 1024), 300)))$$);
SELECT pg_temp.sqlstate($$INSERT INTO pointstore.event_store (aggregate_id, event_type, payload) VALUES ('bad-1', 'Noted', to_jsonb(repeat(repeat('x', 1024 * 1024), 300)))$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event(repeat(repeat('x', 1024 * 1024), 300), 'Noted')$$);
SELECT pg_temp.sqlstate($$SELECT pointstore.append_event('bad-1', 'Noted', request_id => repeat(repeat('x', 1024 * 1024), 300))$$);

-- amounts at both ends of bigint
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('bad-free', NULL);
SELECT outcome, balance, available FROM pointstore.append_event('bad-5', 'PointEarned', 9223372036854775807);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointEarned', 1);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointEarned', 9223372036854775807);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointSpent', -9223372036854775808);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointSpent', -9223372036854775807);
SELECT outcome, balance, available FROM pointstore.append_event('bad-6', 'PointSpent', -9223372036854775808, kind => 'bad-free');
SELECT outcome, balance FROM pointstore.append_event('bad-6', 'PointSpent', -1);
SELECT outcome, balance FROM pointstore.try_append_event('bad-6', 'PointSpent', -9223372036854775808);
SELECT outcome, balance FROM pointstore.append_event('bad-6', 'PointEarned', 9223372036854775807);
SELECT outcome, balance FROM pointstore.append_event('bad-6', 'PointEarned', 1);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'Noted', 0, min_balance => 9223372036854775807);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointEarned', 5, min_balance => 9223372036854775807);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointSpent', -5, min_balance => 9223372036854775807);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'PointSpent', -5, min_balance => -9223372036854775808);
SELECT outcome, balance FROM pointstore.append_event('bad-5', 'Noted', expected_version => 9223372036854775807);
-- in a batch: neither a step of it nor the whole may pass the end
SELECT balance FROM pointstore.append_events('[
    {"aggregate_id": "bad-7", "event_type": "PointEarned", "amount": "9223372036854775807"},
    {"aggregate_id": "bad-7", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "bad-7", "event_type": "PointSpent", "amount": "-9223372036854775807"}]');
SELECT balance FROM pointstore.append_events('[
    {"aggregate_id": "bad-7", "event_type": "PointEarned", "amount": "9223372036854775807"},
    {"aggregate_id": "bad-7", "event_type": "PointSpent", "amount": "-9223372036854775807"},
    {"aggregate_id": "bad-8", "event_type": "PointSpent", "amount": "-9223372036854775808", "kind": "bad-free"}]');
SELECT version, balance FROM pointstore.get_balance('bad-7');
-- by the table too
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('bad-8', 'PointSpent', -1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('bad-9', 'PointEarned', 9223372036854775807), ('bad-9', 'PointEarned', 1);
BEGIN;
UPDATE pointstore.balance SET balance = 9223372036854775807, version = version + 1 WHERE aggregate_id = 'bad-8';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('bad-8', 'PointEarned');
ROLLBACK;

-- none of it left a trace
SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('bad-1', 'bad-9');
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id IN ('bad-1', 'bad-9');
SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id ~ '^bad-\d$' ORDER BY 1;

-- an SQL function of another version than the library
CREATE FUNCTION other_append(text, text) RETURNS pointstore.receipt LANGUAGE c AS '$libdir/pointstore', 'pointstore_append_event';
CREATE FUNCTION other_freeze(text) RETURNS void LANGUAGE c AS '$libdir/pointstore', 'pointstore_freeze_account';
SELECT other_append('bad-1', 'Noted');
SELECT other_freeze('bad-1');
DROP FUNCTION other_append(text, text);
DROP FUNCTION other_freeze(text);
