-- src/feed/feed.sql
-- The feed, read.

CREATE TYPE pointstore.feed_event AS (
    "position"    bigint,
    id            bigint,
    aggregate_id  text,
    version       bigint,
    event_type    text,
    amount        bigint,
    held          bigint,
    balance_after bigint,
    payload       jsonb,
    metadata      jsonb,
    request_id    text,
    leg           smallint,
    cause_id      bigint,
    occurred_at   timestamptz,
    created_at    timestamptz,
    payload_version smallint,
    state_after   text,
    read_feed_to  bigint
);
COMMENT ON TYPE pointstore.feed_event IS
'An event of the feed: its position, the columns of event_store, and in read_feed_to the last position that the call which returned it has looked at.';

CREATE FUNCTION pointstore.feed_head()
RETURNS bigint LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_head';
COMMENT ON FUNCTION pointstore.feed_head() IS
'The last position given in the feed; 0 = none. 22004: the store is distributed, and each of its shards has a feed.';

CREATE FUNCTION pointstore.feed_head(shard bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_feed_head';
COMMENT ON FUNCTION pointstore.feed_head(bigint) IS
'The last position given in the feed of a shard of a distributed store; 0 = none. shard: its number, in pointstore.shard_map. 22004: null; 22023: there is no such shard; PS013: it was moved or split meanwhile.';

CREATE FUNCTION pointstore.feed_head_part(aggregate_id text)
RETURNS bigint LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_feed_head';
COMMENT ON FUNCTION pointstore.feed_head_part(text) IS
'For feed_head(), where the shard is on another node: the head of the shard that has aggregate_id.';

CREATE FUNCTION pointstore.read_feed(
    after            bigint = 0,
    max_events       integer = 1000,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    raw              boolean = false,
    shard            bigint = NULL)
RETURNS SETOF pointstore.feed_event LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_read_feed';
COMMENT ON FUNCTION pointstore.read_feed(bigint, integer, text[], text, boolean, bigint) IS
'Events after a position, in order of position; also on a standby. Payloads in their newest form (see pointstore.upcaster) or, raw, as they are stored. event_types, aggregate_prefix: only these, types as stored; null = all. Returns max_events at most, and fewer where they come to 4 MB, or 100,000 positions were looked at and something was found: read_feed_to says up to where, and the next call goes on there. Nothing: there is nothing up to the head that feed_head() told before. shard: of a distributed store whose feed that is, by its number in pointstore.shard_map. 22004: null, 22023: negative, or no shard; PS013: the shard was moved or split meanwhile; 40001: ALTER TABLE has written event_store anew meanwhile; what an upcaster raises, with position=... in DETAIL.';

CREATE FUNCTION pointstore.read_feed_part(
    after            bigint,
    max_events       integer,
    event_types      text[],
    aggregate_prefix text,
    raw              boolean,
    aggregate_id     text)
RETURNS SETOF pointstore.feed_event LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_read_feed';
COMMENT ON FUNCTION pointstore.read_feed_part(bigint, integer, text[], text, boolean, text) IS
'For read_feed(), where the shard is on another node: events of the feed of the shard that has aggregate_id.';

CREATE FUNCTION pointstore.position_of(event_id bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_position_of';
COMMENT ON FUNCTION pointstore.position_of(bigint) IS
'The position of an event in the feed, by its id; null: it has none yet. 22004: null, or the store is distributed.';

CREATE FUNCTION pointstore.position_of(event_id bigint, shard bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_position_of';
COMMENT ON FUNCTION pointstore.position_of(bigint, bigint) IS
'The position of an event in the feed of a shard of a distributed store; null: it has none yet, or is of another shard. shard: its number, in pointstore.shard_map. 22004: null; 22023: there is no such shard; PS013: it was moved or split meanwhile.';

CREATE FUNCTION pointstore.position_of_part(event_id bigint, aggregate_id text)
RETURNS bigint LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_position_of';
COMMENT ON FUNCTION pointstore.position_of_part(bigint, text) IS
'For position_of(), where the shard is on another node: the position of an event in the feed of the shard that has aggregate_id.';

CREATE PROCEDURE pointstore.wait_for_feed(after bigint, timeout interval = '30 s', INOUT head bigint = NULL, shard bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_feed';
COMMENT ON PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint, bigint) IS
'Returns, with the head, as soon as the head of the feed is above after, or at the timeout (default 30 s). Holds no snapshot while it waits. Woken by the sequencer; without one, and on a standby, it looks every 20 ms; where the shard is on another node, at least every 100 ms. shard: of a distributed store whose feed that is. 25001: in a transaction block; 22004: null; 22023: there is no such shard.';

CREATE FUNCTION pointstore.feed_incarnation()
RETURNS text LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_incarnation';
COMMENT ON FUNCTION pointstore.feed_incarnation() IS
'Whose positions these are: system identifier and timeline of the server, separated by a slash. Where it has changed, by a failover to a standby that lagged or a restore to a point in time, positions past that point may have been given anew. 22004: the store is distributed.';

CREATE FUNCTION pointstore.feed_incarnation(shard bigint)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_feed_incarnation';
COMMENT ON FUNCTION pointstore.feed_incarnation(bigint) IS
'The same of the feed of a shard of a distributed store: which hashes it has, system identifier and timeline of the server that began it, separated by slashes. A shard that is moved takes its feed along, which stays what it was. A split begins a feed in each shard that comes of it, from position 1 on. shard: its number, in pointstore.shard_map. 22004: null; 22023: there is no such shard; PS013: it was moved or split meanwhile.';

CREATE FUNCTION pointstore.feed_incarnation_part(aggregate_id text)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_feed_incarnation';
COMMENT ON FUNCTION pointstore.feed_incarnation_part(text) IS
'For feed_incarnation(), where the shard is on another node: that of the feed of the shard that has aggregate_id.';
