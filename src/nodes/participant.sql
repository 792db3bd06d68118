-- src/nodes/participant.sql
-- What coordinators of other stores ask of this one.

CREATE FUNCTION pointstore.create_origins()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.participant_origin (
        origin               uuid PRIMARY KEY,
        role                 text UNIQUE,
        name                 text,
        incarnation          bigint NOT NULL,
        finished_incarnation bigint NOT NULL DEFAULT 0,
        finished_below       bigint NOT NULL DEFAULT 0,
        heard_at             timestamptz NOT NULL
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_origins() IS
'Creates the table of stores whose movements this one takes part in. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_origins()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.participant_origin IS 'Stores whose movements this one takes part in';
    COMMENT ON COLUMN pointstore.participant_origin.origin IS 'the store, by its movement_store.store';
    COMMENT ON COLUMN pointstore.participant_origin.role IS 'the role that its first message came from, and all others have to';
    COMMENT ON COLUMN pointstore.participant_origin.name IS 'what it calls itself, for people';
    COMMENT ON COLUMN pointstore.participant_origin.incarnation IS 'its newest: messages of earlier ones are refused';
    COMMENT ON COLUMN pointstore.participant_origin.finished_incarnation IS 'of the movements that finished_below counts';
    COMMENT ON COLUMN pointstore.participant_origin.finished_below IS 'its movements with a lower number have finished: what comes late for them is refused';
    COMMENT ON COLUMN pointstore.participant_origin.heard_at IS 'when it was last heard of';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_origins() IS
'Puts the comments on the table of stores whose movements this one takes part in. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.participate(messages jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_participate';
COMMENT ON FUNCTION pointstore.participate(jsonb) IS
'What the coordinator of another store asks of this one. To be completed.';

CREATE FUNCTION pointstore.resolve_step(origin uuid, movement_id text, step integer, decision text, reason text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_resolve_step';
COMMENT ON FUNCTION pointstore.resolve_step(uuid, text, integer, text, text) IS
'An operator''s word on a step that this store takes part in. To be completed.';
