-- leaderboard.sql
-- Who has earned most points in a month.
--
-- A rank is a place in the index, read from its top; none is stored, for one event would change many.
-- What an account earns is the sum of its credits of one type; say yours.

\set ON_ERROR_STOP on
BEGIN;
CREATE TABLE model.leaderboard_v1 (
    month        date,
    aggregate_id text COLLATE "C",
    points       bigint NOT NULL,
    PRIMARY KEY (month, aggregate_id)
) WITH (fillfactor = 70);
CREATE INDEX ON model.leaderboard_v1 (month, points DESC, aggregate_id);
CREATE VIEW model.leaderboard AS SELECT month, aggregate_id, points FROM model.leaderboard_v1;
GRANT SELECT ON model.leaderboard TO shop_reader;

CREATE FUNCTION model.leaderboard_v1(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.leaderboard_v1 AS l
    SELECT CAST(date_trunc('month', e.created_at AT TIME ZONE 'UTC') AS date), e.aggregate_id, sum(e.amount)
      FROM unnest(events) e GROUP BY 1, 2
        ON CONFLICT (month, aggregate_id) DO UPDATE SET points = l.points + excluded.points
$$;
SELECT pointstore.create_projection('leaderboard_v1', 'model.leaderboard_v1(pointstore.feed_event[])',
                                    event_types => ARRAY['PointEarned']);
COMMIT;

-- the ten first, and the place of one:
--   SELECT aggregate_id, points FROM model.leaderboard WHERE month = '2026-03-01' ORDER BY points DESC, aggregate_id LIMIT 10;
--   SELECT count(*) + 1 FROM model.leaderboard WHERE month = '2026-03-01' AND points >
--          (SELECT points FROM model.leaderboard WHERE month = '2026-03-01' AND aggregate_id = 'user-1');
