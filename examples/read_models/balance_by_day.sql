-- balance_by_day.sql
-- What each account held at the end of each day on which something happened to it.
--
-- Readers use the view, so that another table can take its place (balance_by_day_v2.sql). A batch may
-- have many events of one account and day: they are put together first, for a row can be inserted or
-- updated once in a statement. Events of an account come in the order of versions, so the last is the newest.
-- The days are those of UTC: which day an instant belongs to must not hang on a session's TimeZone.

\set ON_ERROR_STOP on
BEGIN;
CREATE TABLE model.balance_by_day_v1 (
    aggregate_id text COLLATE "C",
    day          date,
    events       bigint NOT NULL,
    balance      bigint NOT NULL,
    PRIMARY KEY (aggregate_id, day)
) WITH (fillfactor = 70);
CREATE VIEW model.balance_by_day AS SELECT aggregate_id, day, events, balance FROM model.balance_by_day_v1;
GRANT SELECT ON model.balance_by_day TO shop_reader;

CREATE FUNCTION model.balance_by_day_v1(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.balance_by_day_v1 AS b
    SELECT e.aggregate_id, CAST(e.created_at AT TIME ZONE 'UTC' AS date), count(*),
           (array_agg(e.balance_after ORDER BY e.version DESC))[1]
      FROM unnest(events) e GROUP BY 1, 2
        ON CONFLICT (aggregate_id, day) DO UPDATE SET events = b.events + excluded.events, balance = excluded.balance
$$;
SELECT pointstore.create_projection('balance_by_day_v1', 'model.balance_by_day_v1(pointstore.feed_event[])');
COMMIT;

-- what an account held at the end of a day, whether something happened on it or not:
--   SELECT balance FROM model.balance_by_day WHERE aggregate_id = 'user-1' AND day <= '2026-03-31' ORDER BY day DESC LIMIT 1;
