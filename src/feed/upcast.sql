-- src/feed/upcast.sql
-- Older forms of payloads.

CREATE FUNCTION pointstore.create_upcasters()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.upcaster (
        event_type      text COLLATE "C" NOT NULL,
        payload_version smallint NOT NULL CHECK (payload_version BETWEEN 1 AND 32766),
        function        text NOT NULL,
        PRIMARY KEY (event_type, payload_version)
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_upcasters() IS
'Creates the table of upcasters. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_upcasters()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.upcaster IS 'What makes the next form of a payload: applied, one after the other, wherever events are read: by load_events(), aggregate_state(), verify_replay(), read_feed(), claim() and projections, never to what is stored. Where one fails in a claim, the event''s account is set aside as by nack(); in a projection, that is as if the handler had failed at that event. A change of it makes snapshots stale';
    COMMENT ON COLUMN pointstore.upcaster.event_type IS 'type of the events whose payload it changes';
    COMMENT ON COLUMN pointstore.upcaster.payload_version IS 'the form that it takes, from 1; it makes the next';
    COMMENT ON COLUMN pointstore.upcaster.function IS 'function (payload jsonb) returns jsonb, not null; kept with its schema. Called as its owner, one of a superuser as the store''s owner or, where he is one too, as the caller (for a projection: its role), in a security-restricted operation with search_path pg_catalog, pg_temp and TimeZone UTC, unless its own SET says otherwise. 42501: who writes it, or the store''s owner, may not have it called so';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_upcasters() IS
'Puts the comments on the table of upcasters. Called by create_store() and upgrade_store(); superusers only.';
