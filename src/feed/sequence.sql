-- src/feed/sequence.sql
-- The feed: positions of events, and who gives them.

CREATE FUNCTION pointstore.sequence_feed()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_sequence_feed';
COMMENT ON FUNCTION pointstore.sequence_feed() IS
'Gives positions to events that are committed and have none, 200,000 at most, and returns the head of the feed: called again it goes on. For whoever has no sequencer: without preloading pg_cron, or a reader. Where a sequencer is alive that makes the run, after the call, 100,000 positions at most, and is waited for; no lock is held. Otherwise the session keeps others from giving positions to the end of its statement; a sequencer that comes waits for five times deadlock_timeout, then cancels that. Its transaction is that of the statement: 25001 in a transaction block, a subtransaction, a DO block or procedure, which would go on and keep all others from giving positions, or after a write; 25006 on a standby. 55000: the events come by a subscription of logical replication.';

CREATE FUNCTION pointstore.sequencer_alive()
RETURNS boolean LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_sequencer_alive';
COMMENT ON FUNCTION pointstore.sequencer_alive() IS
'Whether a background worker gives positions in this database: the library is preloaded, pointstore.databases names it and pointstore.sequencer is on.';

CREATE FUNCTION pointstore.create_feed(unordered_below bigint)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.feed_block (
        first_position bigint PRIMARY KEY,
        last_position  bigint NOT NULL,
        ids            int8multirange NOT NULL,
        sealed         boolean NOT NULL DEFAULT false,
        settled_below  bigint NOT NULL,
        at             timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50);
    ALTER TABLE pointstore.feed_block ALTER COLUMN ids SET STORAGE PLAIN;
    CREATE INDEX feed_block_ids_idx ON pointstore.feed_block USING gist (ids) WHERE sealed;

    CREATE TABLE pointstore.feed_start (
        single          boolean PRIMARY KEY DEFAULT true CHECK (single),
        unordered_below bigint NOT NULL,
        step            bigint,
        id              bigint
    );
    -- a new store has no row: one that is restored into it brings its own
    INSERT INTO pointstore.feed_start (unordered_below) SELECT create_feed.unordered_below WHERE create_feed.unordered_below > 0;
END
$$;
COMMENT ON FUNCTION pointstore.create_feed(bigint) IS
'Creates the tables of the feed. unordered_below: ids below it may fall within an account. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_feed()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.feed_block IS 'Positions of events in the feed: a block holds the events whose id is in ids, in order of id, and positions count on through it. Written by the sequencer alone; what was given never changes';
    COMMENT ON COLUMN pointstore.feed_block.first_position IS 'position of its first event';
    COMMENT ON COLUMN pointstore.feed_block.last_position IS 'position of its last event';
    COMMENT ON COLUMN pointstore.feed_block.ids IS 'ids of its events';
    COMMENT ON COLUMN pointstore.feed_block.sealed IS 'whether it grows no more: it has 100 ranges or 4,096 events, or another one follows';
    COMMENT ON COLUMN pointstore.feed_block.settled_below IS 'when it was written, each event with an id below had a position or never will have one';
    COMMENT ON COLUMN pointstore.feed_block.at IS 'clock when it was last written';

    COMMENT ON TABLE pointstore.feed_start IS 'What was there before the feed, and which ids may have no position yet: one row, where something is. Written by the sequencer';
    COMMENT ON COLUMN pointstore.feed_start.single IS 'true';
    COMMENT ON COLUMN pointstore.feed_start.unordered_below IS 'ids of events below it may fall while the versions of their account rise';
    COMMENT ON COLUMN pointstore.feed_start.step IS 'ids that may have no position yet are so far apart: INCREMENT, or less after that was changed, until all have theirs. Null: not known yet';
    COMMENT ON COLUMN pointstore.feed_start.id IS 'one of them, which had been drawn when this was written';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_feed() IS
'Puts the comments on the tables of the feed. Called by create_store() and upgrade_store(); superusers only.';
