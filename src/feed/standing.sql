-- src/feed/standing.sql
-- How the feed stands.

CREATE FUNCTION pointstore.feed_state(OUT head bigint, OUT sequenced_at timestamptz, OUT unsequenced bigint, OUT oldest_unsequenced timestamptz,
    OUT gaps bigint, OUT gaps_open_since timestamptz, OUT gaps_open_pid integer, OUT gaps_open_gid text, OUT sequencer_alive boolean)
RETURNS record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_state';
COMMENT ON FUNCTION pointstore.feed_state() IS
'How the feed stands. For the view feed_status.';

CREATE FUNCTION pointstore.feed_states(OUT head bigint, OUT sequenced_at timestamptz, OUT unsequenced bigint, OUT oldest_unsequenced timestamptz,
    OUT gaps bigint, OUT gaps_open_since timestamptz, OUT gaps_open_pid integer, OUT gaps_open_gid text, OUT sequencer_alive boolean, OUT shard bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_states';
COMMENT ON FUNCTION pointstore.feed_states() IS
'How the feeds of the shards of a distributed store stand, a row for each; none, where the store is not distributed. For the view feed_status.';

CREATE FUNCTION pointstore.feed_states_part(aggregate_id text, OUT head bigint, OUT sequenced_at timestamptz, OUT unsequenced bigint, OUT oldest_unsequenced timestamptz,
    OUT gaps bigint, OUT gaps_open_since timestamptz, OUT gaps_open_pid integer, OUT gaps_open_gid text, OUT sequencer_alive boolean, OUT shard bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_states';
COMMENT ON FUNCTION pointstore.feed_states_part(text) IS
'For feed_states(), where the shard is on another node: how the feed of the shard that has aggregate_id stands.';

CREATE FUNCTION pointstore.create_feed_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pointstore.is_distributed() THEN
        CREATE OR REPLACE VIEW pointstore.feed_status AS
        SELECT s.head, s.sequenced_at, s.unsequenced, s.oldest_unsequenced, s.gaps, s.gaps_open_since, s.gaps_open_pid, s.gaps_open_gid, s.sequencer_alive, s.shard
          FROM pointstore.feed_states() s;
        COMMENT ON COLUMN pointstore.feed_status.shard IS 'number of the shard whose feed it is, in pointstore.shard_map';
    ELSE
        CREATE OR REPLACE VIEW pointstore.feed_status AS
        SELECT s.head, s.sequenced_at, s.unsequenced, s.oldest_unsequenced, s.gaps, s.gaps_open_since, s.gaps_open_pid, s.gaps_open_gid, s.sequencer_alive
          FROM pointstore.feed_state() s;
    END IF;
    COMMENT ON VIEW pointstore.feed_status IS
    'How the feed stands: one row, or, of a distributed store, one for each shard. Cheap where nothing waits, however large the store is; where much waits it reads that.';
    COMMENT ON COLUMN pointstore.feed_status.head IS 'last position given; 0 = none';
    COMMENT ON COLUMN pointstore.feed_status.sequenced_at IS 'when a position was last given; null = never';
    COMMENT ON COLUMN pointstore.feed_status.unsequenced IS 'events that are committed and have no position yet; null: the events come by a subscription of logical replication, which gives no positions';
    COMMENT ON COLUMN pointstore.feed_status.oldest_unsequenced IS 'the earliest created_at of these; null = none';
    COMMENT ON COLUMN pointstore.feed_status.gaps IS 'ranges of ids in which an event may still come, from a transaction that is open or prepared; 0: none such has written events; null: not known, on a standby or where the events come by a subscription';
    COMMENT ON COLUMN pointstore.feed_status.gaps_open_since IS 'start of the oldest transaction that keeps one open; of a prepared one when it was prepared; null = none';
    COMMENT ON COLUMN pointstore.feed_status.gaps_open_pid IS 'process of that transaction; null = it is prepared, or there is none';
    COMMENT ON COLUMN pointstore.feed_status.gaps_open_gid IS 'name of that transaction, if it is prepared';
    COMMENT ON COLUMN pointstore.feed_status.sequencer_alive IS 'whether a background worker gives positions in this database';
END
$$;
COMMENT ON FUNCTION pointstore.create_feed_view() IS
'Makes or remakes the view of the feed. Called by create_store() and upgrade_store(); superusers only.';
