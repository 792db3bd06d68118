-- src/nodes/server.sql
-- Other stores: foreign servers, and what was last heard of them.

CREATE FUNCTION pointstore.fdw_validator(options text[], catalog oid)
RETURNS void LANGUAGE c STRICT
AS 'MODULE_PATHNAME', 'pointstore_fdw_validator';
COMMENT ON FUNCTION pointstore.fdw_validator(text[], oid) IS
'Checks options of servers and user mappings of the foreign data wrapper pointstore. HV00D: unknown; 22023: a bad value.';

CREATE FOREIGN DATA WRAPPER pointstore VALIDATOR pointstore.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER pointstore IS
'Other stores that movements go to: CREATE SERVER takes libpq''s options as postgres_fdw''s, CREATE USER MAPPING for the store''s owner user, password and password_required. There are no foreign tables of it.';

CREATE FUNCTION pointstore.create_servers()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.movement_server (
        server            text COLLATE "C" PRIMARY KEY,
        store             uuid,
        system_identifier text,
        timeline          integer,
        lsn               pg_lsn,
        failures          integer NOT NULL DEFAULT 0,
        paused_until      timestamptz,
        error             text,
        answered_at       timestamptz,
        reopened_at       timestamptz
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_servers() IS
'Creates the table of what was heard of other stores. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_servers()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.movement_server IS 'What the coordinator last heard of each foreign server';
    COMMENT ON COLUMN pointstore.movement_server.server IS 'name of the foreign server';
    COMMENT ON COLUMN pointstore.movement_server.store IS 'the store there; another one than before is refused (55000)';
    COMMENT ON COLUMN pointstore.movement_server.system_identifier IS 'of its cluster';
    COMMENT ON COLUMN pointstore.movement_server.timeline IS 'of its cluster';
    COMMENT ON COLUMN pointstore.movement_server.lsn IS 'the furthest place in its WAL that an answer came from';
    COMMENT ON COLUMN pointstore.movement_server.failures IS 'round trips that have failed since the last answer';
    COMMENT ON COLUMN pointstore.movement_server.paused_until IS 'until when nothing is sent; null = it answers';
    COMMENT ON COLUMN pointstore.movement_server.error IS 'of the last round trip that has failed; null = it answers';
    COMMENT ON COLUMN pointstore.movement_server.answered_at IS 'when it last answered';
    COMMENT ON COLUMN pointstore.movement_server.reopened_at IS 'since when its answers come from a new timeline, another cluster or an earlier place: reconcile_movements() compares all movements with it; null = they do not';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_servers() IS
'Puts the comments on the table of what was heard of other stores. Called by create_store() and upgrade_store(); superusers only.';
