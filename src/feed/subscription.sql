-- src/feed/subscription.sql
-- Subscriptions: the feed delivered to members that share the work.

CREATE FUNCTION pointstore.create_subscriptions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.subscription (
        name             text COLLATE "C" PRIMARY KEY,
        created_by       text NOT NULL,
        status           text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'paused', 'stopped')),
        slots            smallint NOT NULL CHECK (slots BETWEEN 1 AND 1024),
        event_types      text[],
        aggregate_prefix text,
        lease            interval NOT NULL,
        max_attempts     integer NOT NULL CHECK (max_attempts > 0),
        on_failure       text NOT NULL CHECK (on_failure IN ('park', 'stop')),
        max_retrying     integer NOT NULL DEFAULT 100,
        last_error       text,
        handler          text,
        batch            integer,
        replay_upto      bigint NOT NULL DEFAULT 0,
        created_at       timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50);

    -- its rows change with each claim and ack: in place, and no index knows of it
    CREATE TABLE pointstore.subscription_slot (
        subscription text COLLATE "C" NOT NULL,
        slot         smallint NOT NULL,
        checkpoint   bigint NOT NULL,
        epoch        bigint NOT NULL,
        member       text,
        leased_until timestamptz,
        retried      text COLLATE "C",
        delivered    bigint NOT NULL DEFAULT 0,
        read_to      bigint NOT NULL DEFAULT 0,
        alone        boolean NOT NULL DEFAULT false,
        attempt      integer NOT NULL DEFAULT 0,
        lost         integer NOT NULL DEFAULT 0,
        alone_upto   bigint NOT NULL DEFAULT 0,
        blocked      integer NOT NULL DEFAULT 0,
        retry_at     timestamptz,
        retried_last boolean NOT NULL DEFAULT false,
        not_before   timestamptz,
        served_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (subscription, slot)
    ) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

    CREATE TABLE pointstore.subscription_account (
        subscription text COLLATE "C" NOT NULL,
        slot         smallint NOT NULL,
        aggregate_id text COLLATE "C" NOT NULL,
        position     bigint NOT NULL,
        version      bigint NOT NULL,
        state        text NOT NULL CHECK (state IN ('retrying', 'parked')),
        attempts     integer NOT NULL,
        alone_upto   bigint NOT NULL,
        next_try     timestamptz,
        error        text,
        PRIMARY KEY (subscription, slot, aggregate_id)
    ) WITH (fillfactor = 50);
    CREATE INDEX subscription_account_due_idx ON pointstore.subscription_account (subscription, slot, next_try) WHERE state = 'retrying';

    CREATE TABLE pointstore.subscription_log (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subscription text COLLATE "C" NOT NULL,
        action       text NOT NULL,
        slot         smallint,
        member       text,
        aggregate_id text COLLATE "C",
        position     bigint,
        error        text,
        by_role      text NOT NULL,
        at           timestamptz NOT NULL DEFAULT clock_timestamp()
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_subscriptions() IS
'Creates the tables of subscriptions. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_subscriptions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.subscription IS 'Subscriptions to the feed, and projections, one row each; changed by functions alone';
    COMMENT ON COLUMN pointstore.subscription.name IS 'its name, 1 to 512 bytes';
    COMMENT ON COLUMN pointstore.subscription.created_by IS 'the role whose it is: its members and operators alone claim, acknowledge, move, alter and drop';
    COMMENT ON COLUMN pointstore.subscription.status IS 'running, paused (pause_subscription()) or stopped (by a failure): of the last two nothing is claimed';
    COMMENT ON COLUMN pointstore.subscription.slots IS 'how many slots it has (a distributed store: 1 in each shard); the slot of an account is the CRC-32C of the bytes of its id, modulo slots';
    COMMENT ON COLUMN pointstore.subscription.event_types IS 'event types that it delivers; null = all';
    COMMENT ON COLUMN pointstore.subscription.aggregate_prefix IS 'what the aggregate_id of the events begins with that it delivers; null = all';
    COMMENT ON COLUMN pointstore.subscription.lease IS 'how long a claim stands without ack or renew';
    COMMENT ON COLUMN pointstore.subscription.max_attempts IS 'how often an event may fail';
    COMMENT ON COLUMN pointstore.subscription.on_failure IS 'what happens then: park (its account waits for replay_parked() or skip_parked()) or stop (the subscription)';
    COMMENT ON COLUMN pointstore.subscription.max_retrying IS 'accounts that may be retried at once; one more stops the subscription';
    COMMENT ON COLUMN pointstore.subscription.last_error IS 'why it was stopped, or the last error that was told';
    COMMENT ON COLUMN pointstore.subscription.handler IS 'of a projection: the function that it calls, qualified; null = a subscription';
    COMMENT ON COLUMN pointstore.subscription.batch IS 'of a projection: events that its handler gets at once, at most';
    COMMENT ON COLUMN pointstore.subscription.replay_upto IS 'the highest position that had been delivered when it was last moved; 0 = it never was';
    COMMENT ON COLUMN pointstore.subscription.created_at IS 'clock when it was created';

    COMMENT ON TABLE pointstore.subscription_slot IS 'Slots of subscriptions, and who has claimed them; changed by functions alone';
    COMMENT ON COLUMN pointstore.subscription_slot.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_slot.slot IS 'its number, from 0';
    COMMENT ON COLUMN pointstore.subscription_slot.checkpoint IS 'every event of the slot up to this position is done, passed over, or waits in subscription_account';
    COMMENT ON COLUMN pointstore.subscription_slot.epoch IS 'of the last claim; only ever rises';
    COMMENT ON COLUMN pointstore.subscription_slot.member IS 'label of who made the last claim';
    COMMENT ON COLUMN pointstore.subscription_slot.leased_until IS 'clock until which the claim stands, and longer while nobody else makes one; null = the slot is nobody''s';
    COMMENT ON COLUMN pointstore.subscription_slot.retried IS 'account whose waiting events were claimed; null = new events were';
    COMMENT ON COLUMN pointstore.subscription_slot.delivered IS 'last position that the claim has delivered';
    COMMENT ON COLUMN pointstore.subscription_slot.read_to IS 'position up to which the slot was looked at for the claim';
    COMMENT ON COLUMN pointstore.subscription_slot.alone IS 'whether the claim delivered one event alone';
    COMMENT ON COLUMN pointstore.subscription_slot.attempt IS 'how often the first event after the checkpoint was delivered';
    COMMENT ON COLUMN pointstore.subscription_slot.lost IS 'how often it was delivered alone and not heard of again';
    COMMENT ON COLUMN pointstore.subscription_slot.alone_upto IS 'events up to this position are delivered one at a time';
    COMMENT ON COLUMN pointstore.subscription_slot.blocked IS 'its accounts in subscription_account';
    COMMENT ON COLUMN pointstore.subscription_slot.retry_at IS 'clock when the first of them is to be retried; null = none is';
    COMMENT ON COLUMN pointstore.subscription_slot.retried_last IS 'whether the last claim was a retry: the next is not, where there is something new';
    COMMENT ON COLUMN pointstore.subscription_slot.not_before IS 'clock before which it is not claimed (release()); null = at once';
    COMMENT ON COLUMN pointstore.subscription_slot.served_at IS 'clock when it was last given back: who waits longest is claimed first';

    COMMENT ON TABLE pointstore.subscription_account IS 'Accounts that a failed event has set aside: their later events wait behind it; see the view subscription_retry';
    COMMENT ON COLUMN pointstore.subscription_account.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_account.slot IS 'the account''s slot';
    COMMENT ON COLUMN pointstore.subscription_account.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.subscription_account.position IS 'its first event that is not done; above the slot''s checkpoint where its upcaster has failed and what was delivered before it is not acknowledged';
    COMMENT ON COLUMN pointstore.subscription_account.version IS 'the version of that event';
    COMMENT ON COLUMN pointstore.subscription_account.state IS 'retrying or parked';
    COMMENT ON COLUMN pointstore.subscription_account.attempts IS 'how often that event has failed';
    COMMENT ON COLUMN pointstore.subscription_account.alone_upto IS 'events up to this position are retried one at a time';
    COMMENT ON COLUMN pointstore.subscription_account.next_try IS 'clock when it is to be retried; null = it is parked';
    COMMENT ON COLUMN pointstore.subscription_account.error IS 'the last error, as nack() was given it or an upcaster raised it';

    COMMENT ON TABLE pointstore.subscription_log IS 'What was decided about subscriptions and events that failed; rows older than pointstore.log_retention go as others come';
    COMMENT ON COLUMN pointstore.subscription_log.id IS 'place in the log, with gaps';
    COMMENT ON COLUMN pointstore.subscription_log.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_log.action IS 'create, drop, pause, resume, alter, move, forget (an account, by a move), takeover (of a lost claim), split (its shard came of one), retry, park, skip, stop or replay';
    COMMENT ON COLUMN pointstore.subscription_log.slot IS 'the slot; null = the subscription as a whole';
    COMMENT ON COLUMN pointstore.subscription_log.member IS 'label of who had claimed it';
    COMMENT ON COLUMN pointstore.subscription_log.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.subscription_log.position IS 'position of the event, or that moved to';
    COMMENT ON COLUMN pointstore.subscription_log.error IS 'error or reason, as given';
    COMMENT ON COLUMN pointstore.subscription_log.by_role IS 'the role that acted';
    COMMENT ON COLUMN pointstore.subscription_log.at IS 'clock when it acted';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_subscriptions() IS
'Puts the comments on the tables of subscriptions. Called by create_store() and upgrade_store(); superusers only.';

CREATE TYPE pointstore.delivery AS (
    slot            smallint,
    epoch           bigint,
    attempt         integer,
    "position"      bigint,
    id              bigint,
    aggregate_id    text,
    version         bigint,
    event_type      text,
    amount          bigint,
    held            bigint,
    balance_after   bigint,
    payload         jsonb,
    metadata        jsonb,
    request_id      text,
    leg             smallint,
    cause_id        bigint,
    occurred_at     timestamptz,
    created_at      timestamptz,
    payload_version smallint,
    state_after     text
);
COMMENT ON TYPE pointstore.delivery IS
'An event that claim() has delivered: slot and epoch of the claim, which ack(), nack(), renew() and release() take; how often the first event of the claim was delivered, this time included; its position in the feed, and the columns of event_store.';

CREATE FUNCTION pointstore.create_subscription(
    name             text,
    start_after      bigint = 0,
    slots            smallint = 4,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    lease            interval = '30 s',
    max_attempts     integer = 5,
    on_failure       text = 'park')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_create_subscription';
COMMENT ON FUNCTION pointstore.create_subscription(text, bigint, smallint, text[], text, interval, integer, text) IS
'Creates a subscription, which is the caller''s: members of his role and operators use it. It begins after a position (null = from now: the head at the call; what was committed and has no position yet still comes). slots: how many members can work at once, 1 to 1024; each reads all events. event_types, aggregate_prefix: only these; null or empty = all. lease: how long a claim stands. max_attempts: how often an event may fail; on_failure: then its account is parked (park) or the subscription stops (stop). 42710: there is one of that name; 22004: null; 22023: a bad value, or a position above the head. Of a distributed store the slots are the shards, whatever slots says, and start_after is 0 or null; PS013: a shard was split meanwhile.';

CREATE FUNCTION pointstore.drop_subscription(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_drop_subscription';
COMMENT ON FUNCTION pointstore.drop_subscription(text) IS
'Drops a subscription, whoever has claimed slots of it: their next ack() is 42704. 42704: there is none of that name; 42501: it is another''s.';

CREATE FUNCTION pointstore.pause_subscription(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_pause_subscription';
COMMENT ON FUNCTION pointstore.pause_subscription(text) IS
'Pauses a subscription: claim() returns nothing until resume_subscription(). What is claimed may be acknowledged. 42704: there is none of that name; 42501: it is another''s.';

CREATE FUNCTION pointstore.resume_subscription(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_resume_subscription';
COMMENT ON FUNCTION pointstore.resume_subscription(text) IS
'Lets a subscription go on that was paused or has stopped, from where it was. 42704: there is none of that name; 42501: it is another''s.';

CREATE FUNCTION pointstore.alter_subscription(
    name             text,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    lease            interval = NULL,
    max_attempts     integer = NULL,
    on_failure       text = NULL,
    slots            smallint = NULL,
    max_retrying     integer = NULL,
    batch            integer = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_alter_subscription';
COMMENT ON FUNCTION pointstore.alter_subscription(text, text[], text, interval, integer, text, smallint, integer, integer) IS
'Changes a subscription; what is null stays as it is, an empty filter lets all pass. Another filter holds for what is claimed from then on. max_retrying (100 at first): of an event that fails while so many accounts are retried the subscription stops. slots: only when all are at one position, no account is set aside and nothing claimed (55000); not of a distributed store (0A000). batch: of a projection, events at once (1 to 10,000). 42704: there is none of that name; 42501: it is another''s; 22023: a bad value.';

CREATE FUNCTION pointstore.move_subscription(name text, after bigint)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_move_subscription';
COMMENT ON FUNCTION pointstore.move_subscription(text, bigint) IS
'Puts every slot of a subscription at a position, back or forth: events after it come, again perhaps. All claims end, accounts that were set aside are forgotten, each with a row in subscription_log. 42704: there is none of that name; 42501: it is another''s; 22004: null; 22023: negative, or above the head; of a distributed store, other than 0.';

CREATE FUNCTION pointstore.claim(subscription text, member text, max_events integer = 100, wait interval = '0')
RETURNS SETOF pointstore.delivery LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_claim';
COMMENT ON FUNCTION pointstore.claim(text, text, integer, interval) IS
'Takes the slot that waits longest and is nobody''s, and returns its next events, or those of one account that is retried, in order of position: max_events at most, and fewer where they come to 4 MB or 100,000 positions were looked at. Payloads in their newest form (see pointstore.upcaster): an event whose upcaster fails is not delivered, its account is set aside as by nack(), and the rest comes. They are the caller''s until he calls ack(), nack() or release(), or his lease ends and another claims. Nothing: there is nothing now, or the subscription is paused or has stopped. member: a label. wait: waits so long for something, 1 s at most; wait_for_work() longer. Of a distributed store: from the shards of this node, in turn; PS013: it has none. 42704: there is no such subscription; 42501: it is another''s; 42809: it is a projection; 22004: null; 22023: a bad value; what an upcaster raises that blames no event (40001, 40P01, 55P03, classes 57, 53 and 08).';

CREATE PROCEDURE pointstore.wait_for_work(subscription text, timeout interval = '30 s', INOUT ready boolean = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_work';
COMMENT ON PROCEDURE pointstore.wait_for_work(text, interval, boolean) IS
'Returns true as soon as there is something that claim() would take, false at the timeout (default 30 s). Holds no snapshot while it waits, and writes nothing. 25001: in a transaction block; else as claim().';

CREATE FUNCTION pointstore.ack(subscription text, slot smallint, epoch bigint, "position" bigint)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_ack';
COMMENT ON FUNCTION pointstore.ack(text, smallint, bigint, bigint) IS
'The events of a claim are done up to a position; returns the checkpoint. Of all that were delivered it gives the slot back; of some it keeps the claim, whose lease begins anew. At or below the checkpoint it is harmless. PS014: another has claimed the slot, or its shard was split; 22023: beyond what was delivered, or no such slot; PS013: its shard is on another node, which DETAIL names; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.nack(subscription text, slot smallint, epoch bigint, "position" bigint, error text,
    action text = 'retry', retry_in interval = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_nack';
COMMENT ON FUNCTION pointstore.nack(text, smallint, bigint, bigint, text, text, interval) IS
'The event at a position has failed; those of the claim before it are done, those after it come again, and the claim ends. action: retry (its account is set aside and tried again, after retry_in or pauses that grow from 1 s to 5 min, max_attempts times in all), park (its account waits for replay_parked() or skip_parked()), skip (passes over the event) or stop (the subscription stops before it). PS014: another has claimed the slot, or the claim has ended; 22023: an event that was not delivered, an unknown action; PS013: its shard is on another node; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.renew(subscription text, slot smallint, epoch bigint)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_renew';
COMMENT ON FUNCTION pointstore.renew(text, smallint, bigint) IS
'The lease of a claim begins anew; returns its end. Writes only where a third of it is over. PS014: another has claimed the slot, or the claim has ended; PS013: its shard is on another node; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.release(subscription text, slot smallint, epoch bigint, delay interval = '0')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_release';
COMMENT ON FUNCTION pointstore.release(text, smallint, bigint, interval) IS
'Gives a slot back and blames no event: what was claimed and not acknowledged comes again, after delay, to whoever claims then. PS014: another has claimed the slot, or the claim has ended; PS013: its shard is on another node; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.replay_parked(subscription text, aggregate_id text = NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_replay_parked';
COMMENT ON FUNCTION pointstore.replay_parked(text, text) IS
'Parked accounts, one or (null) all, are retried from attempt 0: their waiting events come in order, before anything newer of theirs. Returns how many accounts. 42704: there is no such subscription; 42501: it is another''s.';

CREATE FUNCTION pointstore.skip_parked(subscription text, aggregate_id text, "position" bigint, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_skip_parked';
COMMENT ON FUNCTION pointstore.skip_parked(text, text, bigint, text) IS
'Passes over the event at which an account is parked; the account goes on with the next one. PS008: it is not parked; 22023: not at that position; 55000: what was delivered before it is not acknowledged; 22004: null; 42704: there is no such subscription; 42501: it is another''s.';

CREATE FUNCTION pointstore.subscription_lag(name text, OUT slot smallint, OUT events bigint, OUT since timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL SAFE COST 100000 ROWS 4
AS 'MODULE_PATHNAME', 'pointstore_subscription_lag';
COMMENT ON FUNCTION pointstore.subscription_lag(text) IS
'How far the slots of a subscription of a plain store are behind: their events after the checkpoint that do not wait with an account in subscription_retry, and created_at of the first of them. More than 100,000 positions are estimated by those. Nothing where there is no such subscription.';

CREATE FUNCTION pointstore.subscription_slots(OUT subscription text, OUT slot smallint, OUT status text, OUT checkpoint bigint, OUT lag_events bigint,
    OUT lag_since timestamptz, OUT member text, OUT epoch bigint, OUT leased_until timestamptz, OUT accounts_blocked bigint, OUT events_parked bigint, OUT last_error text)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_subscription_slots';
COMMENT ON FUNCTION pointstore.subscription_slots() IS
'What subscription_status shows of a distributed store, from every node. PS013: a shard was moved or split meanwhile; 55000: the store is not distributed.';

CREATE FUNCTION pointstore.subscription_slots_part(aggregate_id text, OUT subscription text, OUT slot smallint, OUT status text, OUT checkpoint bigint, OUT lag_events bigint,
    OUT lag_since timestamptz, OUT member text, OUT epoch bigint, OUT leased_until timestamptz, OUT accounts_blocked bigint, OUT events_parked bigint, OUT last_error text)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_subscription_slots';
COMMENT ON FUNCTION pointstore.subscription_slots_part(text) IS
'For subscription_slots(), where a shard is on another node: of the shard that has aggregate_id.';

CREATE FUNCTION pointstore.subscription_waiting(OUT subscription text, OUT slot smallint, OUT account text, OUT "position" bigint, OUT state text,
    OUT attempts integer, OUT next_try timestamptz, OUT error text, OUT waiting bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_subscription_waiting';
COMMENT ON FUNCTION pointstore.subscription_waiting() IS
'What subscription_retry shows of a distributed store, from every node. PS013: a shard was moved or split meanwhile; 55000: the store is not distributed.';

CREATE FUNCTION pointstore.subscription_waiting_part(aggregate_id text, OUT subscription text, OUT slot smallint, OUT account text, OUT "position" bigint, OUT state text,
    OUT attempts integer, OUT next_try timestamptz, OUT error text, OUT waiting bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_subscription_waiting';
COMMENT ON FUNCTION pointstore.subscription_waiting_part(text) IS
'For subscription_waiting(), where a shard is on another node: of the shard that has aggregate_id.';

CREATE FUNCTION pointstore.subscription_heritage(subscription text, min_hash integer, max_hash integer, aggregate_id text,
    OUT width bigint, OUT definition jsonb, OUT passed int8multirange)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_subscription_heritage';
COMMENT ON FUNCTION pointstore.subscription_heritage(text, integer, integer, text) IS
'For claim(), after a split of shards: what the shard that has aggregate_id keeps of a subscription of one that had all hashes from min_hash to max_hash and more, the narrowest of them: how many hashes that had, its definition, and the ids of the events that were delivered. 42501: the subscription is another''s.';

CREATE FUNCTION pointstore.create_subscription_part(
    subscription     text,
    start_after      bigint,
    slots            smallint,
    event_types      text[],
    aggregate_prefix text,
    lease            interval,
    max_attempts     integer,
    on_failure       text,
    aggregate_id     text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_create_subscription';
COMMENT ON FUNCTION pointstore.create_subscription_part(text, bigint, smallint, text[], text, interval, integer, text, text) IS
'For create_subscription(), where a shard is on another node: in the shard that has aggregate_id.';

CREATE FUNCTION pointstore.drop_subscription_part(subscription text, aggregate_id text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_drop_subscription';
COMMENT ON FUNCTION pointstore.drop_subscription_part(text, text) IS
'For drop_subscription(), where a shard is on another node: in the shard that has aggregate_id. Returns 1, or 0 where there was none.';

CREATE FUNCTION pointstore.pause_subscription_part(subscription text, aggregate_id text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_pause_subscription';
COMMENT ON FUNCTION pointstore.pause_subscription_part(text, text) IS
'For pause_subscription(), where a shard is on another node: in the shard that has aggregate_id.';

CREATE FUNCTION pointstore.resume_subscription_part(subscription text, aggregate_id text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_resume_subscription';
COMMENT ON FUNCTION pointstore.resume_subscription_part(text, text) IS
'For resume_subscription(), where a shard is on another node: in the shard that has aggregate_id.';

CREATE FUNCTION pointstore.alter_subscription_part(
    subscription     text,
    event_types      text[],
    aggregate_prefix text,
    lease            interval,
    max_attempts     integer,
    on_failure       text,
    slots            smallint,
    max_retrying     integer,
    batch            integer,
    aggregate_id     text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_alter_subscription';
COMMENT ON FUNCTION pointstore.alter_subscription_part(text, text[], text, interval, integer, text, smallint, integer, integer, text) IS
'For alter_subscription(), where a shard is on another node: in the shard that has aggregate_id.';

CREATE FUNCTION pointstore.move_subscription_part(subscription text, after bigint, aggregate_id text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_move_subscription';
COMMENT ON FUNCTION pointstore.move_subscription_part(text, bigint, text) IS
'For move_subscription(), where a shard is on another node: in the shard that has aggregate_id.';

CREATE FUNCTION pointstore.replay_parked_part(subscription text, account text, aggregate_id text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_replay_parked';
COMMENT ON FUNCTION pointstore.replay_parked_part(text, text, text) IS
'For replay_parked(), where a shard is on another node: accounts of the shard that has aggregate_id; null = all.';

CREATE FUNCTION pointstore.skip_parked_part(subscription text, account text, "position" bigint, reason text, aggregate_id text)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_skip_parked';
COMMENT ON FUNCTION pointstore.skip_parked_part(text, text, bigint, text, text) IS
'For skip_parked(), where the account is on another node: in the shard that has aggregate_id.';

CREATE FUNCTION pointstore.take_subscription_part(subscription text, definition jsonb, passed int8multirange, aggregate_id text)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_take_subscription_part';
COMMENT ON FUNCTION pointstore.take_subscription_part(text, jsonb, int8multirange, text) IS
'For what is done to a subscription after a split of shards: the shard that has aggregate_id takes over what subscription_heritage() says. False: its feed has not come to all of these events yet.';

-- Of a store that is distributed each shard has slots and accounts of its own.
CREATE FUNCTION pointstore.create_subscription_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pointstore.is_distributed() THEN
        CREATE OR REPLACE VIEW pointstore.subscription_retry AS
        SELECT w.subscription COLLATE "C" AS subscription, w.slot, w.account COLLATE "C" AS aggregate_id, w.position, w.state, w.attempts, w.next_try, w.error, w.waiting
          FROM pointstore.subscription_waiting() w;
        CREATE OR REPLACE VIEW pointstore.subscription_status AS
        SELECT s.subscription COLLATE "C" AS subscription, s.slot, s.status, s.checkpoint, s.lag_events,
               coalesce(greatest(extract(epoch FROM clock_timestamp() - s.lag_since), 0), 0)::double precision AS lag_seconds,
               s.member, s.epoch, s.leased_until, s.accounts_blocked, s.events_parked, s.last_error
          FROM pointstore.subscription_slots() s;
        RETURN;
    END IF;
    CREATE OR REPLACE VIEW pointstore.subscription_retry AS
    SELECT a.subscription, a.slot, a.aggregate_id, a.position, a.state, a.attempts, a.next_try, a.error,
           (SELECT count(*) FROM pointstore.event_store e
             WHERE e.aggregate_id = a.aggregate_id AND e.version >= a.version
               AND (s.event_types IS NULL OR e.event_type = ANY (s.event_types))) AS waiting
      FROM pointstore.subscription_account a JOIN pointstore.subscription s ON s.name = a.subscription;
    COMMENT ON VIEW pointstore.subscription_retry IS 'Accounts that a failed event has set aside';
    COMMENT ON COLUMN pointstore.subscription_retry.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_retry.slot IS 'the account''s slot';
    COMMENT ON COLUMN pointstore.subscription_retry.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.subscription_retry.position IS 'its first event that is not done';
    COMMENT ON COLUMN pointstore.subscription_retry.state IS 'retrying or parked (until replay_parked() or skip_parked())';
    COMMENT ON COLUMN pointstore.subscription_retry.attempts IS 'how often that event has failed';
    COMMENT ON COLUMN pointstore.subscription_retry.next_try IS 'clock when it is to be retried; null = it is parked';
    COMMENT ON COLUMN pointstore.subscription_retry.error IS 'the last error, as nack() was given it or an upcaster raised it';
    COMMENT ON COLUMN pointstore.subscription_retry.waiting IS 'events of the account from there on';

    CREATE OR REPLACE VIEW pointstore.subscription_status AS
    SELECT s.name AS subscription, l.slot, s.status, l.checkpoint, l.events AS lag_events,
           coalesce(greatest(extract(epoch FROM clock_timestamp() - l.since), 0), 0)::double precision AS lag_seconds,
           l.member, l.epoch, l.leased_until, coalesce(a.blocked, 0) AS accounts_blocked, coalesce(a.parked, 0) AS events_parked,
           s.last_error
      FROM pointstore.subscription s
      -- apart, so that it is called once for a subscription and not for each of its slots
      CROSS JOIN LATERAL (SELECT k.slot, k.checkpoint, k.member, k.epoch, k.leased_until, g.events, g.since
                            FROM pointstore.subscription_lag(s.name) g
                            JOIN pointstore.subscription_slot k ON k.subscription = s.name AND k.slot = g.slot OFFSET 0) l
      LEFT JOIN (SELECT r.subscription, r.slot, count(*) AS blocked, sum(r.waiting) FILTER (WHERE r.state = 'parked')::bigint AS parked
                   FROM pointstore.subscription_retry r GROUP BY r.subscription, r.slot) a
        ON a.subscription = s.name AND a.slot = l.slot
     WHERE s.handler IS NULL;
    COMMENT ON VIEW pointstore.subscription_status IS 'Subscriptions, a row for each slot';
    COMMENT ON COLUMN pointstore.subscription_status.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_status.slot IS 'number of the slot, from 0';
    COMMENT ON COLUMN pointstore.subscription_status.status IS 'running, paused or stopped';
    COMMENT ON COLUMN pointstore.subscription_status.checkpoint IS 'every event of the slot up to this position is done, passed over, or waits in subscription_retry';
    COMMENT ON COLUMN pointstore.subscription_status.lag_events IS 'events of the slot after the checkpoint that do not wait in subscription_retry; estimated where that is more than 100,000 positions behind';
    COMMENT ON COLUMN pointstore.subscription_status.lag_seconds IS 'how long ago the first of them was created; 0 = there is none';
    COMMENT ON COLUMN pointstore.subscription_status.member IS 'who has claimed it; null = nobody';
    COMMENT ON COLUMN pointstore.subscription_status.epoch IS 'of the last claim';
    COMMENT ON COLUMN pointstore.subscription_status.leased_until IS 'clock when its lease ends; null = it is nobody''s';
    COMMENT ON COLUMN pointstore.subscription_status.accounts_blocked IS 'its accounts that are set aside';
    COMMENT ON COLUMN pointstore.subscription_status.events_parked IS 'events that wait behind parked ones, these included';
    COMMENT ON COLUMN pointstore.subscription_status.last_error IS 'why the subscription has stopped';
END
$$;
COMMENT ON FUNCTION pointstore.create_subscription_views() IS
'Makes or remakes the views of subscriptions. Called by create_store() and upgrade_store(); superusers only.';
