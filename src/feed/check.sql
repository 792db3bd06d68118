-- src/feed/check.sql
-- Whether the feed is what it promises to be.

CREATE FUNCTION pointstore.feed_check(OUT code text, OUT "position" bigint, OUT event_id bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_feed_check';
COMMENT ON FUNCTION pointstore.feed_check() IS
'Proves the feed in one snapshot, beside writers and the sequencer, also on a standby: no row where it is in order. code block: a row of feed_block does not follow the one before it, or its last_position is not what its ids come to, or it has nulls, more than it may, or is not sealed and not the last; position is its first. duplicate: an id, from which on ids may be, is in two blocks. missing_event: a position of an event that is not there. unsequenced: a committed event has no position and will not get one. order: an event has a position that is not above that of its account''s event before it. sequence: event_store_id_seq would not draw rising ids (event_id is null, or the highest id), or draws ids that pass for settled (event_id is the last one drawn). Where the events come by a subscription of logical replication only block, duplicate and order are judged. Of a distributed store it goes through the feeds of all shards, one after the other. Reads all events and sorts them, within work_mem.';

CREATE FUNCTION pointstore.feed_check(shard bigint, OUT code text, OUT "position" bigint, OUT event_id bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_feed_check';
COMMENT ON FUNCTION pointstore.feed_check(bigint) IS
'The same of the feed of a shard of a distributed store. shard: its number, in pointstore.shard_map. 22004: null; 22023: there is no such shard; PS013: it was moved or split meanwhile.';

CREATE FUNCTION pointstore.feed_check_part(aggregate_id text, OUT code text, OUT "position" bigint, OUT event_id bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_feed_check';
COMMENT ON FUNCTION pointstore.feed_check_part(text) IS
'For feed_check(), where the shard is on another node: what is wrong with the feed of the shard that has aggregate_id.';
