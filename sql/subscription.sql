-- Subscriptions: every verb, and what it refuses.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
SELECT pointstore.sequence_feed() AS base \gset
CREATE ROLE subs_owner; CREATE ROLE subs_member; CREATE ROLE subs_other;
GRANT subs_owner TO subs_member;
SELECT pointstore.grant_access('subs_owner', 'reader'), pointstore.grant_access('subs_other', 'writer');

-- what a definition must be
SELECT pointstore.create_subscription(NULL);
SELECT pointstore.create_subscription('');
SELECT pointstore.create_subscription('subs', slots => NULL);
SELECT pointstore.create_subscription('subs', slots => 0::smallint);
SELECT pointstore.create_subscription('subs', slots => 1025::smallint);
SELECT pointstore.create_subscription('subs', lease => '0');
SELECT pointstore.create_subscription('subs', lease => '101 years');
SELECT pointstore.create_subscription('subs', max_attempts => 0);
SELECT pointstore.create_subscription('subs', on_failure => 'fly');
SELECT pointstore.create_subscription('subs', event_types => ARRAY['E', NULL]);
SELECT pointstore.create_subscription('subs', start_after => -1);
SELECT pointstore.create_subscription('subs', start_after => pointstore.feed_head() + 1);
-- whose it is
SET ROLE subs_owner;
SELECT pointstore.create_subscription('subs', NULL, 1::smallint, NULL, 'subs-', max_attempts => 3);
SELECT pointstore.create_subscription('subs');
RESET ROLE;
SELECT name, created_by, status, slots, event_types, aggregate_prefix, lease, max_attempts, on_failure, max_retrying, handler IS NULL AS is_subscription
  FROM pointstore.subscription WHERE name = 'subs';
SET ROLE subs_other;
SELECT * FROM pointstore.claim('subs', 'm');
SELECT pointstore.ack('subs', 0::smallint, 1, 1);
SELECT pointstore.nack('subs', 0::smallint, 1, 1, 'no');
SELECT pointstore.renew('subs', 0::smallint, 1);
SELECT pointstore.release('subs', 0::smallint, 1);
SELECT pointstore.replay_parked('subs');
SELECT pointstore.skip_parked('subs', 'x', 1, 'no');
SELECT pointstore.pause_subscription('subs');
SELECT pointstore.resume_subscription('subs');
SELECT pointstore.alter_subscription('subs', max_attempts => 9);
SELECT pointstore.move_subscription('subs', 0);
SELECT pointstore.drop_subscription('subs');
CALL pointstore.wait_for_work('subs', '0');
SELECT count(*) FROM pointstore.subscription_status WHERE subscription = 'subs';
RESET ROLE;
-- there is none of that name
SELECT * FROM pointstore.claim('nobody', 'm');
SELECT pointstore.ack('nobody', 0::smallint, 1, 1);
SELECT pointstore.drop_subscription('nobody');
CALL pointstore.wait_for_work('nobody', '0');
-- nulls, and what is no value
SELECT * FROM pointstore.claim(NULL, 'm');
SELECT * FROM pointstore.claim('subs', NULL);
SELECT * FROM pointstore.claim('subs', 'm', NULL);
SELECT * FROM pointstore.claim('subs', 'm', 0);
SELECT * FROM pointstore.claim('subs', 'm', 1, '2 s');
SELECT pointstore.ack('subs', NULL, 1, 1);
SELECT pointstore.ack('subs', 0::smallint, NULL, 1);
SELECT pointstore.ack('subs', 0::smallint, 1, NULL);
SELECT pointstore.nack('subs', 0::smallint, 1, 1, 'e', 'fly');
SELECT pointstore.nack('subs', 0::smallint, 1, NULL, 'e');
SELECT pointstore.ack('subs', 5::smallint, 1, 1);
SELECT pointstore.ack('subs', 0::smallint, 1, 1);
SELECT pointstore.move_subscription('subs', NULL);
SELECT pointstore.move_subscription('subs', -1);
SELECT pointstore.move_subscription('subs', pointstore.feed_head() + 1);

-- what is claimed
CREATE TEMP TABLE got (n serial, d pointstore.delivery);
CREATE FUNCTION pg_temp.take(name text, member text, n integer) RETURNS TABLE (slot smallint, attempt integer, pos bigint, aggregate_id text, version bigint)
LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE got;
    INSERT INTO got (d) SELECT d FROM pointstore.claim(name, member, n) d;
    RETURN QUERY SELECT (g.d).slot, (g.d).attempt, (g.d).position - current_setting('subs.base')::bigint, (g.d).aggregate_id, (g.d).version FROM got g ORDER BY g.n;
END $$;
CREATE FUNCTION pg_temp.epoch() RETURNS bigint LANGUAGE sql AS 'SELECT max((d).epoch) FROM got';
CREATE FUNCTION pg_temp.ack(name text, pos bigint) RETURNS bigint LANGUAGE sql AS
$$ SELECT pointstore.ack(name, (SELECT max((d).slot) FROM got), pg_temp.epoch(), pos + current_setting('subs.base')::bigint) - current_setting('subs.base')::bigint $$;
CREATE FUNCTION pg_temp.nack(name text, pos bigint, action text = 'retry', retry_in interval = '0') RETURNS void LANGUAGE sql AS
$$ SELECT pointstore.nack(name, (SELECT max((d).slot) FROM got), pg_temp.epoch(), pos + current_setting('subs.base')::bigint, 'failed at ' || pos, action, retry_in) $$;
CREATE VIEW pg_temp.slots AS SELECT subscription, slot, checkpoint - current_setting('subs.base')::bigint AS checkpoint, member, retried, attempt, lost, blocked, retry_at IS NOT NULL AS retries
  FROM pointstore.subscription_slot;
SELECT set_config('subs.base', :'base', false) = :'base';
GRANT ALL ON got, got_n_seq TO PUBLIC; GRANT SELECT ON pg_temp.slots TO PUBLIC;
-- nothing there
SELECT * FROM pg_temp.take('subs', 'm1', 10);
CALL pointstore.wait_for_work('subs', '10 ms');
SELECT count(*) FROM (SELECT pointstore.append_event('subs-' || i % 3, 'E' || i % 2, 1) FROM generate_series(1, 9) i) s;
SELECT pointstore.sequence_feed() - :base;
CALL pointstore.wait_for_work('subs', '10 s');
BEGIN; CALL pointstore.wait_for_work('subs', '0'); ROLLBACK;
CALL pointstore.wait_for_work('subs', NULL);
SELECT slot, lag_events, lag_seconds >= 0, member, accounts_blocked FROM pointstore.subscription_status WHERE subscription = 'subs';
-- the feed is read once, however many slots there are
SELECT pointstore.create_subscription('slots', :base, 9::smallint);
BEGIN;
SET LOCAL track_functions = 'all';
SELECT count(*), sum(lag_events) FROM pointstore.subscription_status WHERE subscription = 'slots';
SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'subscription_lag';
COMMIT;
SELECT pointstore.drop_subscription('slots');
SET ROLE subs_member;
SELECT * FROM pg_temp.take('subs', 'm1', 3);
-- it is nobody else's, the same member included
SELECT count(*) FROM pointstore.claim('subs', 'm1');
CALL pointstore.wait_for_work('subs', '10 ms');
SELECT pg_temp.ack('subs', 4);
SELECT pg_temp.ack('subs', 1);
SELECT pg_temp.ack('subs', 1);
SELECT pg_temp.ack('subs', -1);
SELECT pointstore.renew('subs', 0::smallint, pg_temp.epoch()) > now() + '25 s';
SELECT pointstore.renew('subs', 0::smallint, pg_temp.epoch() - 1);
SELECT pointstore.ack('subs', 0::smallint, pg_temp.epoch() - 1, 1);
RESET ROLE;
SELECT checkpoint, member, attempt FROM pg_temp.slots WHERE subscription = 'subs';
SELECT pg_temp.ack('subs', 3);
SELECT pg_temp.ack('subs', 3);
SELECT pg_temp.ack('subs', 4);
SELECT pointstore.renew('subs', 0::smallint, pg_temp.epoch());
SELECT pointstore.release('subs', 0::smallint, pg_temp.epoch());
SELECT pg_temp.nack('subs', 3);
-- given back without blame: the attempt is the same
SELECT * FROM pg_temp.take('subs', 'm1', 2);
SELECT pointstore.release('subs', 0::smallint, pg_temp.epoch(), '1 h');
SELECT pg_temp.ack('subs', 5);
SELECT count(*) FROM pointstore.claim('subs', 'm2');
SELECT pg_temp.epoch() < epoch FROM pointstore.subscription_slot WHERE subscription = 'subs';
UPDATE pointstore.subscription_slot SET not_before = NULL WHERE subscription = 'subs';
SELECT * FROM pg_temp.take('subs', 'm1', 6);

-- a failing event blocks its own account and no other: what came before is done, what is after comes again
SELECT pg_temp.nack('subs', 10);
SELECT pg_temp.nack('subs', 3);
SELECT pg_temp.nack('subs', 5, 'retry', '1 h');
SELECT pg_temp.nack('subs', 5);
SELECT pg_temp.ack('subs', 5);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT aggregate_id, position - :base AS pos, state, attempts, next_try > now() + '50 min' AS later, error, waiting FROM pointstore.subscription_retry WHERE subscription = 'subs';
SELECT pg_temp.ack('subs', 9);
SELECT accounts_blocked, events_parked, lag_events, checkpoint - :base AS checkpoint FROM pointstore.subscription_status WHERE subscription = 'subs';
-- retried, alone first; it fails again; then it is done, and the rest of the account comes
UPDATE pointstore.subscription_account SET next_try = now(); UPDATE pointstore.subscription_slot SET retry_at = now() WHERE retry_at IS NOT NULL;
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 8);
SELECT pg_temp.nack('subs', 5);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.ack('subs', 5);
SELECT count(*) FROM (SELECT pointstore.append_event('subs-' || i % 3, 'E' || i % 2, 1) FROM generate_series(10, 12) i) s;
SELECT pointstore.sequence_feed() - :base;
-- no retry twice in a row where there is something new
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.ack('subs', 12);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.ack('subs', 8);
SELECT position - :base AS pos, version, state, attempts FROM pointstore.subscription_account WHERE subscription = 'subs';
SELECT pg_temp.ack('subs', 11);
SELECT * FROM pg_temp.slots WHERE subscription = 'subs';
SELECT count(*) FROM pointstore.subscription_account WHERE subscription = 'subs';

-- parked after max_attempts; the account waits, others go on; replayed
SELECT count(*) FROM (SELECT pointstore.append_event('subs-' || i % 3, 'E' || i % 2, 1) FROM generate_series(13, 18) i) s;
SELECT pointstore.sequence_feed() - :base;
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 13);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 13);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.ack('subs', 18);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 13);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT aggregate_id, position - :base AS pos, state, attempts, next_try, error, waiting FROM pointstore.subscription_retry WHERE subscription = 'subs';
SELECT accounts_blocked, events_parked FROM pointstore.subscription_status WHERE subscription = 'subs';
SELECT pointstore.replay_parked('subs', 'subs-2'), pointstore.replay_parked('subs', 'subs-1'), pointstore.replay_parked('subs');
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 13, 'park');
-- passed over by hand
SELECT pointstore.skip_parked('subs', 'subs-2', 13, 'why');
SELECT pointstore.skip_parked('subs', 'subs-1', 13 + :base + 1, 'why');
SELECT pointstore.skip_parked('subs', 'subs-1', 13 + :base, NULL);
SELECT pointstore.skip_parked('subs', 'subs-1', 13 + :base, 'known');
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 16, 'skip');
SELECT * FROM pg_temp.slots WHERE subscription = 'subs';
SELECT action, slot, member, aggregate_id, position - :base AS pos, error FROM pointstore.subscription_log WHERE subscription = 'subs' ORDER BY id;

-- stop, resume, pause
SELECT count(*) FROM (SELECT pointstore.append_event('subs-' || i % 3, 'E' || i % 2, 1) FROM generate_series(19, 21) i) s;
SELECT pointstore.sequence_feed() - :base;
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pg_temp.nack('subs', 20, 'stop');
SELECT status, checkpoint - :base AS checkpoint, last_error FROM pointstore.subscription_status WHERE subscription = 'subs';
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pointstore.resume_subscription('subs');
SELECT * FROM pg_temp.take('subs', 'm1', 10);
SELECT pointstore.pause_subscription('subs');
SELECT pg_temp.ack('subs', 20);
SELECT count(*) FROM pointstore.claim('subs', 'm2');
SELECT pointstore.resume_subscription('subs'), pointstore.alter_subscription('subs', on_failure => 'stop', max_attempts => 1);
SELECT pg_temp.nack('subs', 21);
SELECT status, checkpoint - :base AS checkpoint, last_error, accounts_blocked FROM pointstore.subscription_status WHERE subscription = 'subs';
SELECT pointstore.resume_subscription('subs'), pointstore.alter_subscription('subs', on_failure => 'park', max_attempts => 3, max_retrying => 0);
SELECT * FROM pg_temp.take('subs', 'm1', 10);
-- as many as that are an outage
SELECT pg_temp.nack('subs', 21);
SELECT status, checkpoint - :base AS checkpoint, accounts_blocked FROM pointstore.subscription_status WHERE subscription = 'subs';
SELECT pointstore.resume_subscription('subs'), pointstore.alter_subscription('subs', max_retrying => 100);

-- a lost claim: one at a time until it has passed it; lost alone is blamed

SELECT pointstore.move_subscription('subs', :base + 15);
SELECT * FROM pg_temp.take('subs', 'm1', 3);
SELECT pg_temp.epoch() AS late \gset
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'subs';
-- the lease has ended, nobody else has claimed: accepted
SELECT pg_temp.ack('subs', 16);
SELECT checkpoint, member FROM pg_temp.slots WHERE subscription = 'subs';
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'subs';
SELECT * FROM pg_temp.take('subs', 'm2', 3);
SELECT pointstore.ack('subs', 0::smallint, :late, :base + 17);
SELECT pointstore.nack('subs', 0::smallint, :late, :base + 17, 'late');
SELECT pointstore.renew('subs', 0::smallint, :late);
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'subs';
SELECT * FROM pg_temp.take('subs', 'm3', 3);
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'subs';
SELECT * FROM pg_temp.take('subs', 'm4', 3);
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'subs';
-- lost alone three times: parked
SELECT * FROM pg_temp.take('subs', 'm5', 3);
SELECT aggregate_id, position - :base AS pos, state, attempts, error FROM pointstore.subscription_retry WHERE subscription = 'subs';
SELECT pg_temp.ack('subs', 18);
SELECT * FROM pg_temp.take('subs', 'm5', 3);
SELECT pg_temp.ack('subs', 21);

-- lost by a lease that ended: parked, and what comes of that account waits, however it is looked for
SELECT pointstore.create_subscription('lost', :base + 16, 1::smallint, NULL, 'subs-2', max_attempts => 1);
SELECT * FROM pg_temp.take('lost', 'm1', 1);
SELECT pg_temp.epoch() AS late \gset
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'lost';
SELECT * FROM pg_temp.take('lost', 'm2', 10);
SELECT aggregate_id, position - :base AS pos, state FROM pointstore.subscription_retry WHERE subscription = 'lost';
SELECT checkpoint, member, blocked FROM pg_temp.slots WHERE subscription = 'lost';
-- who had it is too late, though nobody has the slot: it would be done, and done again when it is replayed
SELECT pointstore.ack('lost', 0::smallint, :late, :base + 17);
SELECT pointstore.drop_subscription('lost');
-- an account of which nothing is left is set aside no more, and what comes of it is new in the same claim
SELECT pointstore.create_subscription('left', :base, 1::smallint, NULL, 'subs-', max_attempts => 3);
SELECT * FROM pg_temp.take('left', 'm1', 3);
SELECT pg_temp.nack('left', 1, 'park');
SELECT * FROM pg_temp.take('left', 'm1', 3);
SELECT pg_temp.nack('left', 2, 'park');
SELECT * FROM pg_temp.take('left', 'm1', 4);
-- with a claim under way the account waits at the next one that that has come past; then the claim is given back
SELECT pointstore.skip_parked('left', 'subs-1', :base + 1, 'known');
SELECT pointstore.release('left', 0::smallint, pg_temp.epoch());
SELECT aggregate_id, position - :base AS pos, state FROM pointstore.subscription_retry WHERE subscription = 'left' ORDER BY 1;
SELECT * FROM pg_temp.take('left', 'm1', 4);
SELECT aggregate_id, position - :base AS pos, state FROM pointstore.subscription_retry WHERE subscription = 'left' ORDER BY 1;
SELECT pointstore.drop_subscription('left');
-- nothing is to be retried, whatever the slot says: it is written once
SELECT pointstore.create_subscription('stale', NULL, 1::smallint);
UPDATE pointstore.subscription_slot SET retry_at = now() WHERE subscription = 'stale';
SELECT count(*) FROM pointstore.claim('stale', 'm1');
SELECT ctid AS place FROM pointstore.subscription_slot WHERE subscription = 'stale' \gset
SELECT count(*) FROM pointstore.claim('stale', 'm1');
SELECT ctid = :'place' AS kept FROM pointstore.subscription_slot WHERE subscription = 'stale';
SELECT pointstore.drop_subscription('stale');

-- moved back and forth
SELECT pointstore.move_subscription('subs', :base + 2);
SELECT * FROM pg_temp.slots WHERE subscription = 'subs';
SELECT replay_upto - :base AS replay_upto FROM pointstore.subscription WHERE name = 'subs';
SELECT * FROM pg_temp.take('subs', 'm1', 2);
SELECT pointstore.move_subscription('subs', pointstore.feed_head());
SELECT pg_temp.ack('subs', 4);
SELECT * FROM pg_temp.take('subs', 'm1', 2);
SELECT action, aggregate_id, position - :base AS pos FROM pointstore.subscription_log WHERE subscription = 'subs' AND action IN ('move', 'forget', 'takeover') ORDER BY id;

-- filters: what is left out is passed over
SELECT pointstore.alter_subscription('subs', event_types => ARRAY['E1'], aggregate_prefix => 'subs-1');
SELECT pointstore.move_subscription('subs', :base);
SELECT * FROM pg_temp.take('subs', 'm1', 100);
SELECT pg_temp.ack('subs', 19);
SELECT pointstore.alter_subscription('subs', event_types => '{}', aggregate_prefix => '');
SELECT event_types, aggregate_prefix FROM pointstore.subscription WHERE name = 'subs';
-- altered under a claim: what was delivered may fail still; it is not retried, for the filter leaves it out by now
SELECT pointstore.move_subscription('subs', :base);
SELECT * FROM pg_temp.take('subs', 'm1', 3);
SELECT pointstore.alter_subscription('subs', event_types => ARRAY['E0']);
SELECT pg_temp.nack('subs', 3, 'retry', '0');
SELECT checkpoint, member, blocked FROM pg_temp.slots WHERE subscription = 'subs';
SELECT * FROM pg_temp.take('subs', 'm1', 1);
SELECT pg_temp.nack('subs', 4, 'retry', '0');
SELECT * FROM pg_temp.take('subs', 'm1', 1);
SELECT pg_temp.ack('subs', 4);
SELECT aggregate_id, position - :base AS pos, waiting FROM pointstore.subscription_retry WHERE subscription = 'subs' ORDER BY 1;
SELECT pointstore.alter_subscription('subs', event_types => '{}'), pointstore.move_subscription('subs', pointstore.feed_head());
SELECT pointstore.alter_subscription('subs', lease => '-1 s');

-- slots: an account is always in one, and the hash is CRC-32C
SELECT pointstore.alter_subscription('subs', slots => 4::smallint);
SELECT * FROM pg_temp.take('subs', 'm1', 100);
SELECT pointstore.alter_subscription('subs', slots => 2::smallint);
SELECT pointstore.move_subscription('subs', :base);
SELECT slot, checkpoint, member FROM pg_temp.slots WHERE subscription = 'subs' ORDER BY slot;
CREATE TEMP TABLE had (slot smallint, aggregate_id text, version bigint, epoch bigint, pos bigint);
INSERT INTO had SELECT slot, aggregate_id, version, epoch, position FROM pointstore.claim('subs', 'm1', 100);
INSERT INTO had SELECT slot, aggregate_id, version, epoch, position FROM pointstore.claim('subs', 'm1', 100);
INSERT INTO had SELECT slot, aggregate_id, version, epoch, position FROM pointstore.claim('subs', 'm1', 100);
INSERT INTO had SELECT slot, aggregate_id, version, epoch, position FROM pointstore.claim('subs', 'm1', 100);
SELECT slot, aggregate_id, count(*), min(version), max(version), count(DISTINCT epoch) FROM had GROUP BY slot, aggregate_id ORDER BY aggregate_id;
SELECT count(pointstore.ack('subs', slot, epoch, pos)) FROM (SELECT slot, epoch, max(pos) AS pos FROM had GROUP BY slot, epoch) h;
SELECT count(*) FROM pointstore.claim('subs', 'm1', 100);
SELECT lag_events, accounts_blocked FROM pointstore.subscription_status WHERE subscription = 'subs';
-- a claim of any slot keeps them from being divided; the epoch goes on from the highest
SELECT pointstore.create_subscription('slots', :base, 3::smallint);
BEGIN;
UPDATE pointstore.subscription_slot SET epoch = 4 - slot, member = CASE slot WHEN 1 THEN 'm1' END, leased_until = CASE slot WHEN 1 THEN now() + interval '1 h' END WHERE subscription = 'slots';
SAVEPOINT claimed;
SELECT pointstore.alter_subscription('slots', slots => 2::smallint);
ROLLBACK TO claimed;
UPDATE pointstore.subscription_slot SET epoch = 8000000000000000000 + slot, member = NULL, leased_until = NULL WHERE subscription = 'slots';
SELECT pointstore.alter_subscription('slots', slots => 2::smallint);
SELECT slot, epoch > 8000000000000000002 AS above FROM pointstore.subscription_slot WHERE subscription = 'slots' ORDER BY 1;
ROLLBACK;
SELECT pointstore.drop_subscription('slots');

-- claim and effects in one transaction: a savepoint after the claim, nack after going back to it
SELECT pointstore.move_subscription('subs', :base);
CREATE TEMP TABLE effect (pos bigint);
BEGIN;
INSERT INTO got (d) SELECT d FROM (SELECT 1) s, LATERAL (SELECT d FROM pointstore.claim('subs', 'm1', 2) d) c;
SAVEPOINT claimed;
INSERT INTO effect SELECT (d).position FROM got;
ROLLBACK TO claimed;
SELECT count(pointstore.nack('subs', (d).slot, (d).epoch, (d).position, 'no', 'park')) FROM (SELECT d FROM got ORDER BY n DESC LIMIT 1) g;
COMMIT;
SELECT count(*) FROM effect;
SELECT count(*) FROM pointstore.subscription_retry WHERE subscription = 'subs' AND state = 'parked';

-- read-only, repeatable read
BEGIN READ ONLY; SELECT * FROM pointstore.claim('subs', 'm'); ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) > 0 FROM pointstore.claim('subs', 'm', 1, '1 s');
COMMIT;

-- dropped while members hold slots
SELECT count(*) > 0 FROM pg_temp.take('subs', 'm1', 2);
SELECT pointstore.drop_subscription('subs');
SELECT pg_temp.ack('subs', 1);
SELECT count(*) FROM pointstore.subscription_slot WHERE subscription = 'subs';
SELECT count(*) FROM pointstore.subscription_account WHERE subscription = 'subs';
-- another of that name has other epochs
SELECT pointstore.create_subscription('subs');
SELECT pg_temp.ack('subs', 1);

-- whatever has been altered about the tables
UPDATE pointstore.subscription SET slots = 3 WHERE name = 'subs';
SELECT count(*) > 0 FROM pointstore.claim('subs', 'm1');
-- numbers that are rounded
BEGIN;
DROP VIEW pg_temp.slots, pointstore.subscription_status, pointstore.projection_status;
ALTER TABLE pointstore.subscription_slot ALTER slot TYPE numeric;
UPDATE pointstore.subscription_slot SET slot = slot + 0.6 WHERE subscription = 'subs';
SELECT count(*) FROM pointstore.subscription_lag('subs');
SELECT count(*) >= 0 FROM pointstore.claim('subs', 'm1');
ROLLBACK;
-- names of another type, an account that is null
SELECT pointstore.create_subscription('lost', 0, 1::smallint);
BEGIN;
DROP VIEW pg_temp.slots, pointstore.subscription_status, pointstore.projection_status, pointstore.subscription_retry;
ALTER TABLE pointstore.subscription ALTER name TYPE name;
ALTER TABLE pointstore.subscription_account DROP CONSTRAINT subscription_account_pkey, ALTER aggregate_id DROP NOT NULL, ALTER aggregate_id TYPE name;
INSERT INTO pointstore.subscription_account VALUES ('lost', 0, NULL, 1, 1, 'retrying', 1, 0, '-infinity'), ('lost', 0, 'lost', 1, 1, 'retrying', 1, 0, '-infinity');
UPDATE pointstore.subscription_slot SET retry_at = now(), checkpoint = 1, blocked = 2 WHERE subscription = 'lost';
SET LOCAL statement_timeout = '60s';
SELECT count(*) FROM pointstore.claim('lost', 'm1', 3);
SELECT aggregate_id FROM pointstore.subscription_account WHERE subscription = 'lost';
ROLLBACK;
-- a trigger that keeps an account's row as it is: neither is that looked for without end, nor its events lost
BEGIN;
SET LOCAL statement_timeout = '60s';
CREATE FUNCTION pg_temp.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE INSERT OR DELETE ON pointstore.subscription_account FOR EACH ROW EXECUTE FUNCTION pg_temp.keep();
SAVEPOINT kept;
SELECT pointstore.nack('lost', d.slot, d.epoch, d.position, 'e') FROM pointstore.claim('lost', 'm1', 1) d;
ROLLBACK TO kept;
ALTER TABLE pointstore.subscription_account DISABLE TRIGGER USER;
INSERT INTO pointstore.subscription_account VALUES ('lost', 0, 'nobody', 1, 1, 'retrying', 1, 0, '-infinity');
ALTER TABLE pointstore.subscription_account ENABLE TRIGGER USER;
UPDATE pointstore.subscription_slot SET retry_at = now(), checkpoint = 1, blocked = 1 WHERE subscription = 'lost';
SELECT count(*) FROM pointstore.claim('lost', 'm1', 3);
ROLLBACK;
SELECT pointstore.drop_subscription('lost');
DELETE FROM pointstore.subscription_slot WHERE subscription = 'subs';
-- a view in its place
BEGIN;
ALTER TABLE pointstore.subscription_slot RENAME TO was;
CREATE VIEW pointstore.subscription_slot AS SELECT * FROM pointstore.was;
SELECT count(*) FROM pointstore.claim('subs', 'm1');
ROLLBACK;
SELECT count(*) FROM pointstore.claim('subs', 'm1');
SELECT pointstore.move_subscription('subs', 0);
SELECT count(*) FROM pointstore.subscription_status WHERE subscription = 'subs';
SELECT pointstore.drop_subscription('subs');

-- upcasters: of an event whose upcaster fails the account is set aside, as by nack, and the rest comes
CREATE FUNCTION subs_up(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    CASE payload ->> 'do'
        WHEN 'null' THEN RETURN NULL;
        WHEN 'zero' THEN PERFORM 1 / 0;
        WHEN 'busy' THEN RAISE EXCEPTION USING ERRCODE = current_setting('subs.state');
        WHEN 'loop' THEN LOOP NULL; END LOOP;
        WHEN 'append' THEN PERFORM pointstore.append_event('subs-by-upcaster', 'E', 1);
        WHEN 'stored' THEN INSERT INTO public.subs_stored VALUES (jsonb_build_object('up', repeat('y', 10000))); SELECT s.payload INTO payload FROM public.subs_stored s; RETURN payload;
        WHEN 'gone' THEN INSERT INTO public.subs_stored VALUES (jsonb_build_object('up', repeat('y', 10000))); SELECT s.payload INTO payload FROM public.subs_stored s; TRUNCATE public.subs_stored; RETURN payload;
        WHEN 'long' THEN RETURN jsonb_build_object('up', repeat('x', 1500000));
        ELSE NULL;
    END CASE;
    RETURN jsonb_build_object('up', payload -> 'n');
END $$;
CREATE TABLE subs_stored (payload jsonb); ALTER TABLE subs_stored ALTER payload SET STORAGE EXTERNAL;
INSERT INTO pointstore.upcaster VALUES ('Up', 1, 'public.subs_up');
SELECT pointstore.sequence_feed() AS base \gset
SELECT set_config('subs.base', :'base', false) = :'base';
CREATE FUNCTION pg_temp.add(accounts text, what text[]) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. length(accounts) LOOP
        PERFORM pointstore.append_event('up-' || substr(accounts, i, 1), 'Up', payload => jsonb_build_object('n', i, 'do', what[i]));
    END LOOP;
    RETURN length(accounts);
END $$;
CREATE FUNCTION pg_temp.take_up(name text, n integer) RETURNS TABLE (attempt integer, pos bigint, aggregate_id text, version bigint, payload text, payload_version smallint)
LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE got;
    INSERT INTO got (d) SELECT d FROM pointstore.claim(name, 'm', n) d;
    RETURN QUERY SELECT (g.d).attempt, (g.d).position - current_setting('subs.base')::bigint, (g.d).aggregate_id, (g.d).version, left((g.d).payload::text, 20), (g.d).payload_version FROM got g ORDER BY g.n;
END $$;
CREATE VIEW pg_temp.retry AS SELECT aggregate_id, position - current_setting('subs.base')::bigint AS pos, state, attempts, error, waiting
  FROM pointstore.subscription_retry WHERE subscription = 'up' ORDER BY 1;
CREATE FUNCTION pg_temp.due() RETURNS void LANGUAGE sql AS $$
    UPDATE pointstore.subscription_account SET next_try = now() WHERE state = 'retrying'; UPDATE pointstore.subscription_slot SET retry_at = now() WHERE retry_at IS NOT NULL $$;
--                        1      2      3     4     5     6     7      8
SELECT pg_temp.add('abbcadbc', ARRAY[NULL, 'zero', NULL, NULL, 'null', NULL, NULL, NULL]);
SELECT pointstore.sequence_feed() - :base;
SELECT pointstore.create_subscription('up', :base, 1::smallint, NULL, 'up-', max_attempts => 2);
SELECT * FROM pg_temp.take_up('up', 100);
SELECT * FROM pg_temp.retry;
SELECT checkpoint, attempt, blocked, retries FROM pg_temp.slots WHERE subscription = 'up';
SELECT action, aggregate_id, position - :base AS pos, error FROM pointstore.subscription_log WHERE subscription = 'up' AND action <> 'create' ORDER BY id;
-- they wait for the slot, though they are due: it may come back before them. Nothing of an account is lost, nor out of order
SELECT pg_temp.due();
SELECT pg_temp.nack('up', 1);
SELECT * FROM pg_temp.retry;
SELECT pg_temp.due();
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 1);
SELECT * FROM pg_temp.retry;
SELECT * FROM pg_temp.take_up('up', 100);
SELECT checkpoint FROM pg_temp.slots WHERE subscription = 'up';
UPDATE pointstore.subscription_slot SET leased_until = now() - interval '1 s' WHERE subscription = 'up';
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 4);
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 6);
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 8);
SELECT * FROM pg_temp.retry;
-- the next failure is the last: parked
SELECT pg_temp.due();
SELECT * FROM pg_temp.take_up('up', 100);
SELECT * FROM pg_temp.retry;
-- replayed in order, up to the next that fails; passed over by hand
CREATE OR REPLACE FUNCTION subs_up_2(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT payload || CASE WHEN payload @> '{"n": 7}' THEN NULL ELSE '{"two": 2}' END::jsonb $$;
UPDATE pointstore.upcaster SET function = 'public.subs_up_2' WHERE event_type = 'Up';
SELECT pointstore.replay_parked('up', 'up-b');
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 2);
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 3);
SELECT * FROM pg_temp.take_up('up', 100);
SELECT * FROM pg_temp.retry;
SELECT pointstore.skip_parked('up', 'up-a', :base + 5, 'known');
UPDATE pointstore.upcaster SET function = 'public.subs_up' WHERE event_type = 'Up';
SELECT pg_temp.due();
SELECT * FROM pg_temp.take_up('up', 100);
SELECT pg_temp.ack('up', 7);
SELECT * FROM pg_temp.retry;
SELECT * FROM pg_temp.slots WHERE subscription = 'up';
-- an event before the one that failed fails in the member's hands: its account waits at that
SELECT pointstore.move_subscription('up', :base);
SELECT * FROM pg_temp.take_up('up', 5);
SELECT * FROM pg_temp.retry;
SELECT pg_temp.nack('up', 1);
SELECT * FROM pg_temp.retry;
SELECT * FROM pg_temp.take_up('up', 3);
-- not passed over while what was delivered before is not done
SELECT pointstore.move_subscription('up', :base), pointstore.alter_subscription('up', max_attempts => 1);
SELECT * FROM pg_temp.take_up('up', 5);
SELECT * FROM pg_temp.retry;
SELECT pointstore.skip_parked('up', 'up-b', :base + 2, 'known');
SELECT pointstore.release('up', 0::smallint, pg_temp.epoch());
SELECT pointstore.skip_parked('up', 'up-b', :base + 2, 'known');
SELECT pg_temp.epoch() IS NOT NULL FROM pg_temp.take_up('up', 5) LIMIT 1;
SELECT pg_temp.ack('up', 4);
SELECT pointstore.skip_parked('up', 'up-b', :base + 2, 'known');
-- stops where on_failure says so: after what comes before it was delivered
SELECT pointstore.move_subscription('up', :base), pointstore.alter_subscription('up', on_failure => 'stop');
SELECT * FROM pg_temp.take_up('up', 5);
SELECT pg_temp.ack('up', 1);
SELECT * FROM pg_temp.take_up('up', 5);
SELECT status, checkpoint - :base AS checkpoint, accounts_blocked, last_error FROM pointstore.subscription_status WHERE subscription = 'up';
SELECT pointstore.resume_subscription('up'), pointstore.alter_subscription('up', on_failure => 'park', max_attempts => 2, max_retrying => 1);
SELECT * FROM pg_temp.take_up('up', 5);
SELECT * FROM pg_temp.retry;
SELECT pg_temp.ack('up', 4);
SELECT * FROM pg_temp.take_up('up', 5);
SELECT status, checkpoint - :base AS checkpoint, accounts_blocked, last_error FROM pointstore.subscription_status WHERE subscription = 'up';
SELECT pointstore.resume_subscription('up'), pointstore.alter_subscription('up', max_retrying => 100);
-- all that was found fails: what is after it comes in the same claim
SELECT pointstore.move_subscription('up', :base + 1);
SELECT * FROM pg_temp.take_up('up', 1);
SELECT checkpoint, attempt, blocked FROM pg_temp.slots WHERE subscription = 'up';
-- a failure that blames no event is raised, and nothing has happened
SELECT pointstore.sequence_feed() AS base2 \gset
SELECT pg_temp.add('eef', ARRAY['zero', 'busy', NULL]), pg_temp.add('g', ARRAY['busy']);
SELECT pointstore.sequence_feed() > :base2;
SELECT pointstore.move_subscription('up', :base2);
CREATE FUNCTION pg_temp.with_state(state text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('subs.state', state, true);
    PERFORM pointstore.claim('up', 'm');
    RETURN 'ok';
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN SQLSTATE || (SELECT count(*) FROM pg_temp.retry);
END $$;
SELECT state, pg_temp.with_state(state) FROM unnest(ARRAY['40001', '40P01', '55P03', '57014', '57P03', '53200', '08006']) state;
UPDATE pointstore.subscription_slot SET leased_until = NULL, member = NULL WHERE subscription = 'up';
BEGIN; SELECT pg_temp.with_state('40003'); SELECT aggregate_id, left(error, 6) AS error FROM pg_temp.retry; ROLLBACK;
-- other slots come first for a second, and new events before those that are retried
SELECT pointstore.create_subscription('up-2', :base2, 2::smallint, NULL, 'up-', max_attempts => 2);
CREATE FUNCTION pg_temp.state_of(statement text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN EXECUTE statement INTO r; RETURN r; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;
SET subs.state = '40001';
SELECT pg_temp.state_of($$SELECT count(*) FROM pointstore.claim('up-2', 'm')$$) FROM generate_series(1, 3);
SELECT pointstore.drop_subscription('up-2');
SELECT pointstore.create_subscription('up-2', :base2, 1::smallint, NULL, 'up-g', max_attempts => 2);
SET subs.state = '40003';
SELECT count(*) FROM pointstore.claim('up-2', 'm');
SELECT pointstore.append_event('up-g2', 'Down') IS NOT NULL;
SELECT pointstore.sequence_feed() > :base2 + 4;
SELECT pg_temp.due();
SET subs.state = '40001';
SELECT pg_temp.state_of($$SELECT max(aggregate_id) FROM pointstore.claim('up-2', 'm')$$) FROM generate_series(1, 2);
SELECT pointstore.drop_subscription('up-2');
SELECT pg_temp.add('h', ARRAY['loop']);
SELECT pointstore.sequence_feed() AS base3 \gset
BEGIN; SET LOCAL statement_timeout = '50ms'; SELECT pointstore.move_subscription('up', :base3 - 1); SELECT * FROM pg_temp.take_up('up', 1); ROLLBACK;
-- one that writes, before another fails: nothing of that stays; payloads that become long
SELECT pg_temp.add('ijio', ARRAY['append', 'stored', NULL, 'gone']), pg_temp.add('klmn', ARRAY['long', 'long', 'long', 'long']);
SELECT pointstore.sequence_feed() - :base3;
SELECT pointstore.move_subscription('up', :base3);
SELECT aggregate_id, payload FROM pg_temp.take_up('up', 100);
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'subs-by-upcaster';
SELECT pg_temp.ack('up', max((d).position) - :base) - :base3 + :base AS checkpoint FROM got;
SELECT aggregate_id, payload FROM pg_temp.take_up('up', 100);
SELECT count(*), max(read_feed_to) - :base3 AS read_to FROM pointstore.read_feed(:base3 + 4);
SELECT count(*), max(read_feed_to) - :base3 AS read_to FROM pointstore.read_feed(:base3 + 4, raw => true);
-- more than are told at once: parked in one claim, or an outage
SELECT pointstore.sequence_feed() AS base4 \gset
SELECT count(pointstore.append_event('up-many-' || n, 'Up', payload => CASE WHEN n <= 120 THEN '{"do": "zero"}' ELSE '{}' END::jsonb)) FROM generate_series(1, 121) n;
SELECT pointstore.sequence_feed() - :base4;
SELECT pointstore.move_subscription('up', :base4), pointstore.alter_subscription('up', max_attempts => 1);
SELECT aggregate_id FROM pg_temp.take_up('up', 1000);
SELECT state, count(*) FROM pg_temp.retry GROUP BY 1;
SELECT pointstore.move_subscription('up', :base4), pointstore.alter_subscription('up', max_attempts => 2);
SELECT aggregate_id FROM pg_temp.take_up('up', 1000);
SELECT state, count(*) FROM pg_temp.retry GROUP BY 1;
SELECT status, checkpoint - :base4 AS checkpoint FROM pointstore.subscription_status WHERE subscription = 'up';
SELECT pointstore.resume_subscription('up');
UPDATE pointstore.subscription SET max_retrying = 1000 WHERE name = 'up';
-- it is gone, or drops itself
SELECT pointstore.move_subscription('up', :base3);
DROP FUNCTION subs_up;
SELECT count(*) FROM pg_temp.take_up('up', 1);
SELECT left(error, 5) AS error, count(*) FROM pg_temp.retry GROUP BY 1;
CREATE FUNCTION subs_up(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN DROP FUNCTION public.subs_up; RETURN payload; END $$;
SELECT pointstore.move_subscription('up', :base3);
SELECT count(*) > 0 FROM pg_temp.take_up('up', 100);
-- or claims
CREATE OR REPLACE FUNCTION subs_up(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM pointstore.claim('up', 'upcaster'); RETURN payload; END $$;
SELECT pointstore.move_subscription('up', :base3);
SET statement_timeout = '60s';
SELECT count(*) FROM pg_temp.take_up('up', 100);
RESET statement_timeout;
SELECT left(error, 5) AS error, count(*) > 0 FROM pg_temp.retry GROUP BY 1;
DELETE FROM pointstore.upcaster WHERE event_type = 'Up';
SELECT pointstore.move_subscription('up', :base2);
SELECT aggregate_id, payload, payload_version FROM pg_temp.take_up('up', 1);
SELECT pointstore.drop_subscription('up');
DROP FUNCTION pg_temp.take_up(text, integer);
DROP TABLE subs_stored;
DROP FUNCTION subs_up_2; DROP FUNCTION IF EXISTS subs_up;

-- the log is pruned
-- the oldest ones are only looked at, where they are not old
SELECT string_agg(l::text || l.xmax, ',') AS oldest FROM (SELECT *, xmax FROM pointstore.subscription_log ORDER BY id LIMIT 20) l \gset
SELECT pointstore.create_subscription('subs-kept'), pointstore.drop_subscription('subs-kept');
SELECT string_agg(l::text || l.xmax, ',') = :'oldest' AS kept FROM (SELECT *, xmax FROM pointstore.subscription_log ORDER BY id LIMIT 20) l;
SELECT set_config('subs.n', count(*)::text, false) <> '' FROM pointstore.subscription_log;
UPDATE pointstore.subscription_log SET at = now() - interval '31 days';
SELECT pointstore.create_subscription('subs');
SELECT current_setting('subs.n')::integer - count(*) AS gone FROM pointstore.subscription_log;
SELECT pointstore.drop_subscription('subs');
DROP FUNCTION pg_temp.take(text, text, integer);
DROP OWNED BY subs_owner, subs_member, subs_other; DROP ROLE subs_owner, subs_member, subs_other;
