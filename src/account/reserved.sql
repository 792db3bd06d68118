-- src/account/reserved.sql
-- Steps of movements that this store takes part in, and what they reserve on its accounts.

CREATE FUNCTION pointstore.create_participations()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.participant_step (
        origin       uuid NOT NULL,
        movement_id  text COLLATE "C" NOT NULL,
        step         smallint NOT NULL,
        incarnation  bigint NOT NULL,
        number       bigint NOT NULL,
        protocol     text NOT NULL,
        aggregate_id text COLLATE "C",
        amount       bigint NOT NULL,
        event_type   text,
        payload      jsonb,
        metadata     jsonb,
        undo         jsonb,
        status       text NOT NULL,
        ended_by     text,
        event_id     bigint,
        end_event_id bigint,
        tried_at     timestamptz NOT NULL,
        ended_at     timestamptz,
        PRIMARY KEY (origin, movement_id, step)
    );
    CREATE INDEX participant_step_open_idx ON pointstore.participant_step (aggregate_id) WHERE status IN ('tried', 'done');
    CREATE INDEX participant_step_movement_id_idx ON pointstore.participant_step (movement_id);
    CREATE INDEX participant_step_tombstone_idx ON pointstore.participant_step (origin, incarnation, number) WHERE aggregate_id IS NULL;
END
$$;
COMMENT ON FUNCTION pointstore.create_participations() IS
'Creates the table of steps that this store takes part in. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_participations()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.participant_step IS 'Steps of movements, of this store''s and of others'', that this store takes part in; written by functions alone';
    COMMENT ON COLUMN pointstore.participant_step.origin IS 'the store where the movement began, see pointstore.movement_store';
    COMMENT ON COLUMN pointstore.participant_step.movement_id IS 'name of the movement, as its origin knows it';
    COMMENT ON COLUMN pointstore.participant_step.step IS 'which of its steps, from 1';
    COMMENT ON COLUMN pointstore.participant_step.incarnation IS 'of the origin, when the movement began';
    COMMENT ON COLUMN pointstore.participant_step.number IS 'of the movement, in that incarnation: rows of movements below what the origin has finished are dropped where nothing was applied';
    COMMENT ON COLUMN pointstore.participant_step.protocol IS 'tcc, saga or 2pc';
    COMMENT ON COLUMN pointstore.participant_step.aggregate_id IS 'the account; null: cancelled before it was tried';
    COMMENT ON COLUMN pointstore.participant_step.amount IS 'what the account gets, minor units; below 0: what it pays';
    COMMENT ON COLUMN pointstore.participant_step.event_type IS 'type of the event that a saga''s step appends; of the others it stands in the events'' metadata';
    COMMENT ON COLUMN pointstore.participant_step.payload IS 'of its events; null once it has ended';
    COMMENT ON COLUMN pointstore.participant_step.metadata IS 'of its events; null once it has ended';
    COMMENT ON COLUMN pointstore.participant_step.undo IS 'event_type, amount and payload of the event that undoes a saga''s step; null: a reversal does';
    COMMENT ON COLUMN pointstore.participant_step.status IS 'tried (reserved), done (of a saga, may still be undone), confirmed or cancelled (undone, or cancelled before it was tried)';
    COMMENT ON COLUMN pointstore.participant_step.ended_by IS 'the role that has ended it by hand; null: its coordinator has';
    COMMENT ON COLUMN pointstore.participant_step.event_id IS 'id of the event that it was tried or done by; null: cancelled before';
    COMMENT ON COLUMN pointstore.participant_step.end_event_id IS 'id of the event that has ended it; null: none has';
    COMMENT ON COLUMN pointstore.participant_step.tried_at IS 'when it was tried, or cancelled before';
    COMMENT ON COLUMN pointstore.participant_step.ended_at IS 'when it was confirmed, cancelled or undone; null = undecided';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_participations() IS
'Puts the comments on the table of steps that this store takes part in. Called by create_store() and upgrade_store(); superusers only.';
