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
    COMMENT ON COLUMN pointstore.subscription.slots IS 'how many slots it has; the slot of an account is the CRC-32C of the bytes of its id, modulo slots';
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
    COMMENT ON COLUMN pointstore.subscription_account.position IS 'its first event that is not done';
    COMMENT ON COLUMN pointstore.subscription_account.version IS 'the version of that event';
    COMMENT ON COLUMN pointstore.subscription_account.state IS 'retrying or parked';
    COMMENT ON COLUMN pointstore.subscription_account.attempts IS 'how often that event has failed';
    COMMENT ON COLUMN pointstore.subscription_account.alone_upto IS 'events up to this position are retried one at a time';
    COMMENT ON COLUMN pointstore.subscription_account.next_try IS 'clock when it is to be retried; null = it is parked';
    COMMENT ON COLUMN pointstore.subscription_account.error IS 'the last error, as nack() was given it';

    COMMENT ON TABLE pointstore.subscription_log IS 'What was decided about subscriptions and events that failed; rows older than pointstore.log_retention go as others come';
    COMMENT ON COLUMN pointstore.subscription_log.id IS 'place in the log, with gaps';
    COMMENT ON COLUMN pointstore.subscription_log.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_log.action IS 'create, drop, pause, resume, alter, move, forget (an account, by a move), takeover (of a lost claim), retry, park, skip, stop or replay';
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
