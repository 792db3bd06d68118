-- What CREATE OR REPLACE cannot do on the way from 1.2 to 1.5; the rest is the install
-- script itself (src/updates/update.awk).
-- types that stay: receipt account_state event_digest
DROP FUNCTION pointstore.append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.try_append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.try_submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.hold(text, bigint, text, interval, jsonb);
DROP FUNCTION pointstore.try_hold(text, bigint, text, interval, jsonb);
DROP FUNCTION pointstore.set_kind(text, text, text);
DROP FUNCTION pointstore.transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.try_transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text);
DROP FUNCTION pointstore.try_submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text);
-- updated_at stays the last one
ALTER TYPE pointstore.account_state ALTER ATTRIBUTE updated_at TYPE text;
ALTER TYPE pointstore.account_state RENAME ATTRIBUTE updated_at TO state;
ALTER TYPE pointstore.account_state ADD ATTRIBUTE updated_at timestamptz;
