-- src/account/transition.sql
-- State machines: which event may follow which state.

CREATE FUNCTION pointstore.create_transitions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.transition (
        kind       text COLLATE "C" NOT NULL,
        from_state text COLLATE "C" NOT NULL,
        event_type text COLLATE "C" NOT NULL,
        to_state   text COLLATE "C" NOT NULL,
        PRIMARY KEY (kind, from_state, event_type)
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_transitions() IS
'Creates the table of transitions. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_transitions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.transition IS 'Which event moves an account of a kind from which state to which. A type that a kind''s rows name is refused (PS012) from any state that they do not name with it';
    COMMENT ON COLUMN pointstore.transition.kind IS 'kind of account, see pointstore.account_kind';
    COMMENT ON COLUMN pointstore.transition.from_state IS 'state before the event; empty = none, as before the first event of an account whose kind has no initial_state';
    COMMENT ON COLUMN pointstore.transition.event_type IS 'type of the event';
    COMMENT ON COLUMN pointstore.transition.to_state IS 'state after it; empty = none';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_transitions() IS
'Puts the comments on the table of transitions. Called by create_store() and upgrade_store(); superusers only.';
