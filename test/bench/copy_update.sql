-- test/bench/copy_update.sql
-- What bulk loads are measured against: COPY of the resulting rows, versions and
-- balances in them, into a table with pointstore's columns and indexes and as many rows,
-- and one set-based UPDATE of the balances; both tables without triggers. It checks nothing.

DROP TABLE IF EXISTS rival.copied, rival.updated;
CREATE TABLE rival.copied (LIKE pointstore.event_store INCLUDING INDEXES);
CREATE TABLE rival.updated (LIKE pointstore.balance INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 80);
INSERT INTO rival.copied SELECT * FROM pointstore.event_store ORDER BY id;
INSERT INTO rival.updated SELECT * FROM pointstore.balance;
VACUUM (ANALYZE) rival.copied, rival.updated;
