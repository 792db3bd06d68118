-- balance_by_day_v2.sql
-- Another form of balance_by_day, built beside the one that is read: what came and what went, too.
-- It begins with the first event. exchange.sql puts it in the place of v1.

\set ON_ERROR_STOP on
BEGIN;
CREATE TABLE model.balance_by_day_v2 (
    aggregate_id text COLLATE "C",
    day          date,
    events       bigint NOT NULL,
    balance      bigint NOT NULL,
    came         numeric NOT NULL,
    went         numeric NOT NULL,
    PRIMARY KEY (aggregate_id, day)
) WITH (fillfactor = 70);

CREATE FUNCTION model.balance_by_day_v2(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.balance_by_day_v2 AS b
    SELECT e.aggregate_id, CAST(e.created_at AT TIME ZONE 'UTC' AS date), count(*),
           (array_agg(e.balance_after ORDER BY e.version DESC))[1],
           sum(greatest(e.amount, 0)), sum(-CAST(least(e.amount, 0) AS numeric))
      FROM unnest(events) e GROUP BY 1, 2
        ON CONFLICT (aggregate_id, day) DO UPDATE SET events = b.events + excluded.events, balance = excluded.balance,
            came = b.came + excluded.came, went = b.went + excluded.went
$$;
SELECT pointstore.create_projection('balance_by_day_v2', 'model.balance_by_day_v2(pointstore.feed_event[])');
COMMIT;
