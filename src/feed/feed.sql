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
'The last position given in the feed; 0 = none.';

CREATE FUNCTION pointstore.read_feed(
    after            bigint = 0,
    max_events       integer = 1000,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    raw              boolean = false)
RETURNS SETOF pointstore.feed_event LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_read_feed';
COMMENT ON FUNCTION pointstore.read_feed(bigint, integer, text[], text, boolean) IS
'Events after a position, in order of position; also on a standby. Payloads in their newest form (see pointstore.upcaster) or, raw, as they are stored. event_types, aggregate_prefix: only these, types as stored; null = all. Returns max_events at most, and fewer where they come to 4 MB, or 100,000 positions were looked at and something was found: read_feed_to says up to where, and the next call goes on there. Nothing: there is nothing up to the head that feed_head() told before. 22004: null, 22023: negative; 40001: ALTER TABLE has written event_store anew meanwhile; what an upcaster raises, with position=... in DETAIL.';

CREATE FUNCTION pointstore.position_of(event_id bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_position_of';
COMMENT ON FUNCTION pointstore.position_of(bigint) IS
'The position of an event in the feed, by its id; null: it has none yet. 22004: null.';

CREATE PROCEDURE pointstore.wait_for_feed(after bigint, timeout interval = '30 s', INOUT head bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_feed';
COMMENT ON PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint) IS
'Returns, with the head, as soon as the head of the feed is above after, or at the timeout (default 30 s). Holds no snapshot while it waits. Woken by the sequencer; without one, and on a standby, it looks every 20 ms. 25001: in a transaction block; 22004: null.';

CREATE FUNCTION pointstore.feed_incarnation()
RETURNS text LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_incarnation';
COMMENT ON FUNCTION pointstore.feed_incarnation() IS
'Whose positions these are: system identifier and timeline of the server, separated by a slash. Where it has changed, by a failover to a standby that lagged or a restore to a point in time, positions past that point may have been given anew.';
