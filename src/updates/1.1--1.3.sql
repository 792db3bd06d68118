-- What CREATE OR REPLACE cannot do on the way from 1.1 to 1.3; the rest is the install
-- script itself (src/updates/update.awk).
DROP FUNCTION pointstore.append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.try_append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
DROP FUNCTION pointstore.try_submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb);
