-- What CREATE OR REPLACE cannot do on the way from 1.4 to 1.5; the rest is the install
-- script itself (src/updates/update.awk).
-- types that stay: receipt account_state event_digest event feed_event delivery lease_grant
DROP FUNCTION pointstore.refuse_own_columns(text);
DROP FUNCTION pointstore.read_feed(bigint, integer, text[], text, boolean);
DROP PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint);
