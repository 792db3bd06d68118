-- src/feed/snapshot.sql
-- States that are kept.

CREATE FUNCTION pointstore.take_snapshot(aggregate_id text)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_take_snapshot';
COMMENT ON FUNCTION pointstore.take_snapshot(text) IS
'Keeps the state of an account after its last event, from which aggregate_state() goes on, and returns its version; 0: the account has no events, and nothing is kept. Drops snapshots of the account that do not fit any more. PS008: the account is missing; 40001: the reducer, or an upcaster, was replaced meanwhile; else as aggregate_state().';

CREATE FUNCTION pointstore.drop_snapshots(kind text = NULL, aggregate_id text = NULL)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_drop_snapshots';
COMMENT ON FUNCTION pointstore.drop_snapshots(text, text) IS
'Drops snapshots, of the accounts of a kind, of one account, or all, and returns their number; of a distributed store those of the node that it is called on (PS013: the account is elsewhere). States are then made from the first event again, until others are taken.';

CREATE FUNCTION pointstore.create_snapshots()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.snapshot (
        aggregate_id text COLLATE "C" NOT NULL,
        version      bigint NOT NULL,
        state        jsonb NOT NULL,
        stamp        text NOT NULL,
        at           timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (aggregate_id, version)
    );
    CREATE TABLE pointstore.snapshot_progress (
        kind           text PRIMARY KEY,
        stamp          text NOT NULL,
        snapshot_every integer NOT NULL,
        position       bigint NOT NULL,
        upto           text COLLATE "C",
        again          boolean NOT NULL DEFAULT false
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_snapshots() IS
'Creates the tables of snapshots. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_snapshots()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.snapshot IS 'States that are kept: a cache, written by take_snapshot() and the worker alone, which may be emptied at any time';
    COMMENT ON COLUMN pointstore.snapshot.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.snapshot.version IS 'version of the event after which this was the state';
    COMMENT ON COLUMN pointstore.snapshot.state IS 'what the reducer made of the events so far';
    COMMENT ON COLUMN pointstore.snapshot.stamp IS 'digest of the definitions of the reducer and of all upcasters and of account_kind.reducer_version, a colon, and the id of the event; where it is not that of now the snapshot is passed over';
    COMMENT ON COLUMN pointstore.snapshot.at IS 'clock when it was taken';

    COMMENT ON TABLE pointstore.snapshot_progress IS 'How far the worker is that takes snapshots, a row for each kind with snapshot_every: written by it alone. Of a kind whose row is deleted it goes through all accounts anew';
    COMMENT ON COLUMN pointstore.snapshot_progress.kind IS 'the kind';
    COMMENT ON COLUMN pointstore.snapshot_progress.stamp IS 'by which its snapshots are known: what comes before the colon in snapshot.stamp. When it is another all accounts of the kind are gone through';
    COMMENT ON COLUMN pointstore.snapshot_progress.snapshot_every IS 'as the kind had it; when it is another all accounts are gone through';
    COMMENT ON COLUMN pointstore.snapshot_progress.position IS 'events up to this position of the feed have been looked at';
    COMMENT ON COLUMN pointstore.snapshot_progress.upto IS 'the last account looked at, in the order of the bytes of their ids, of those that are gone through; null: they have been';
    COMMENT ON COLUMN pointstore.snapshot_progress.again IS 'whether they are gone through once more, since some were not finished';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_snapshots() IS
'Puts the comments on the tables of snapshots. Called by create_store() and upgrade_store(); superusers only.';
