-- src/account/held.sql
-- Holds, as they are stored.

-- Holds, and the index by which an event finds what follows from it: its reversals, the other legs.
CREATE FUNCTION pointstore.create_holds()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.hold (
        hold_id      text COLLATE "C" PRIMARY KEY,
        aggregate_id text COLLATE "C" NOT NULL,
        amount       bigint NOT NULL,
        captured     bigint NOT NULL,
        status       text NOT NULL,
        created_at   timestamptz NOT NULL,
        expires_at   timestamptz,
        closed_at    timestamptz,
        event_id     bigint
    );
    -- by its name: the functions go by it
    CREATE INDEX hold_open_idx ON pointstore.hold (aggregate_id, expires_at) WHERE status = 'open';
    -- replication that is divided by account needs the account of a row that is updated; with
    -- FULL a subscriber before PostgreSQL 16 would read the whole table for each of them
    CREATE UNIQUE INDEX hold_identity_idx ON pointstore.hold (hold_id, aggregate_id);
    ALTER TABLE pointstore.hold REPLICA IDENTITY USING INDEX hold_identity_idx;
    CREATE INDEX IF NOT EXISTS event_store_cause_id_idx ON pointstore.event_store (cause_id) WHERE cause_id IS NOT NULL;
END
$$;
COMMENT ON FUNCTION pointstore.create_holds() IS
'Creates the table of holds and the index of causes. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_holds()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.hold IS 'What is or was reserved, one row per hold; written by functions alone (22023, PS006)';
    COMMENT ON COLUMN pointstore.hold.hold_id IS 'name of the hold, 1 to 512 bytes, unique in the store';
    COMMENT ON COLUMN pointstore.hold.aggregate_id IS 'the account; empty where it was cancelled before it was placed and no account was named';
    COMMENT ON COLUMN pointstore.hold.amount IS 'what it reserves, minor units; 0 = cancelled before it was placed';
    COMMENT ON COLUMN pointstore.hold.captured IS 'what was taken of it when it was confirmed, minor units';
    COMMENT ON COLUMN pointstore.hold.status IS 'open, confirmed, cancelled or expired; an open one whose expires_at has passed reserves nothing any more';
    COMMENT ON COLUMN pointstore.hold.created_at IS 'when it was placed';
    COMMENT ON COLUMN pointstore.hold.expires_at IS 'when it ceases to reserve; null where it was never placed';
    COMMENT ON COLUMN pointstore.hold.closed_at IS 'when it was confirmed, cancelled or swept; null = open';
    COMMENT ON COLUMN pointstore.hold.event_id IS 'id of its event HoldPlaced, the cause of the one that closes it; null where it was never placed';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_holds() IS
'Puts the comments on the table of holds. Called by create_store() and upgrade_store(); superusers only.';
