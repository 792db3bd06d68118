-- What CREATE OR REPLACE cannot do on the way from 1.0 to 1.1; the rest is the install
-- script itself (src/updates/update.awk).
DROP FUNCTION pointstore.rebuild_balance(text);
