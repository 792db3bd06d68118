-- What CREATE OR REPLACE cannot do on the way from 1.3 to 1.5; the rest is the install
-- script itself (src/updates/update.awk).
-- types that stay: receipt account_state event_digest event feed_event delivery
DROP FUNCTION pointstore.append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint);
DROP FUNCTION pointstore.try_append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint);
DROP FUNCTION pointstore.submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint);
DROP FUNCTION pointstore.try_submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint);
DROP FUNCTION pointstore.hold(text, bigint, text, interval, jsonb);
DROP FUNCTION pointstore.try_hold(text, bigint, text, interval, jsonb);
DROP FUNCTION pointstore.transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.try_transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.try_submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.set_kind(text, text, text);
-- updated_at stays the last one
ALTER TYPE pointstore.account_state ALTER ATTRIBUTE updated_at TYPE text;
ALTER TYPE pointstore.account_state RENAME ATTRIBUTE updated_at TO state;
ALTER TYPE pointstore.account_state ADD ATTRIBUTE updated_at timestamptz;
ALTER TYPE pointstore.event ADD ATTRIBUTE state_after text;
ALTER TYPE pointstore.delivery ADD ATTRIBUTE state_after text;
-- read_feed_to stays the last one
ALTER TYPE pointstore.feed_event ALTER ATTRIBUTE read_feed_to TYPE text;
ALTER TYPE pointstore.feed_event RENAME ATTRIBUTE read_feed_to TO state_after;
ALTER TYPE pointstore.feed_event ADD ATTRIBUTE read_feed_to bigint;
DROP FUNCTION pointstore.read_feed(bigint, integer, text[], text, boolean);
DROP PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint);
