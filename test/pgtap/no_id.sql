-- No id is drawn before every rule has passed: the sequence stands still over refusals and replays.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

INSERT INTO pointstore.account_kind (kind, mode) VALUES ('no-id-pure', 'pure');
SELECT pointstore.append_event('no-id', 'Changed', 100, request_id => 'no-id-r') AS receipt,
       pointstore.append_event('no-id-p', 'Changed', 100, kind => 'no-id-pure') AS receipt,
       pointstore.open_account('no-id-f') AS opened, pointstore.freeze_account('no-id-f', 'test') AS frozen \gset
CREATE FUNCTION pg_temp.drawn(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint := (SELECT last_value FROM pointstore.event_store_id_seq);
BEGIN
    BEGIN
        EXECUTE query;
    EXCEPTION WHEN others THEN NULL;
    END;
    RETURN (SELECT last_value - before FROM pointstore.event_store_id_seq);
END$$;
SELECT is(pg_temp.drawn(query), n::bigint, n || ': ' || query) FROM (VALUES
    (1, $$SELECT pointstore.append_event('no-id', 'Changed', 1)$$),
    (1, $$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('no-id', 'Changed')$$),
    (2, $$SELECT pointstore.append_events('[{"aggregate_id": "no-id", "event_type": "Changed"}, {"aggregate_id": "no-id-p", "event_type": "Changed"}]')$$),
    (0, $$SELECT pointstore.append_event('', 'Changed', 1)$$),
    (0, $$SELECT pointstore.append_event('no-id', 'Changed', 100, request_id => 'no-id-r')$$),
    (0, $$SELECT pointstore.append_event('no-id', 'Changed', 101, request_id => 'no-id-r')$$),
    (0, $$SELECT pointstore.append_event('no-id-f', 'Changed')$$),
    (0, $$SELECT pointstore.append_event('no-id', 'Changed', expected_version => 1)$$),
    (0, $$SELECT pointstore.append_event('no-id', 'Changed', 9223372036854775807)$$),
    (0, $$SELECT pointstore.append_event('no-id', 'Changed', -1000)$$),
    (0, $$SELECT pointstore.try_append_event('no-id', 'Changed', -1000)$$),
    (0, $$SELECT pointstore.append_event('no-id-p', 'Changed', -1000)$$),
    (0, $$SELECT pointstore.append_event('no-id-new', 'Changed', -1)$$),
    (0, $$SELECT pointstore.append_events('[{"aggregate_id": "no-id", "event_type": "Changed"}, {"aggregate_id": "no-id-p", "event_type": "Changed", "amount": -1000}]')$$),
    (0, $$SELECT pointstore.append_events('[{"aggregate_id": "no-id-p", "event_type": "Changed"}, {"aggregate_id": "no-id-f", "event_type": "Changed"}]')$$),
    (0, $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('no-id', 'Changed', -1000)$$),
    (0, $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('no-id-p', 'Changed', -1000)$$),
    (0, $$INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('no-id', 1, 'Changed')$$),
    (0, $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('no-id', 'Changed', 100, 'no-id-r')$$),
    (0, $$SELECT pointstore.open_account('no-id-new')$$)) q(n, query);

SELECT * FROM finish();
ROLLBACK;
