-- expiring_holds.sql
-- Holds that are open, by the time at which they expire: whom to remind within the next hour.
--
-- A hold is a row from the event that places it to the one that ends it. Its name stands in the events'
-- metadata, of the first its time too. A name is used once, so what is placed and ended in one batch is gone
-- when both statements are done. A hold that has expired stays until it is swept: ask for those to come.

\set ON_ERROR_STOP on
BEGIN;
CREATE TABLE model.open_hold_v1 (
    hold_id      text PRIMARY KEY,
    aggregate_id text COLLATE "C" NOT NULL,
    amount       bigint NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX ON model.open_hold_v1 (expires_at);
CREATE VIEW model.open_hold AS SELECT hold_id, aggregate_id, amount, expires_at FROM model.open_hold_v1;
GRANT SELECT ON model.open_hold TO shop_reader;

CREATE FUNCTION model.open_hold_v1(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.open_hold_v1
    SELECT e.metadata ->> 'hold_id', e.aggregate_id, e.held, CAST(e.metadata ->> 'expires_at' AS timestamptz)
      FROM unnest(events) e WHERE e.event_type = 'HoldPlaced';
    DELETE FROM model.open_hold_v1 h USING unnest(events) e
     WHERE e.event_type <> 'HoldPlaced' AND h.hold_id = e.metadata ->> 'hold_id'
$$;
SELECT pointstore.create_projection('open_hold_v1', 'model.open_hold_v1(pointstore.feed_event[])',
                                    event_types => ARRAY['HoldPlaced', 'HoldConfirmed', 'HoldCancelled', 'HoldExpired']);
COMMIT;

-- those that end within an hour:
--   SELECT hold_id, aggregate_id, amount, expires_at FROM model.open_hold
--    WHERE expires_at > now() AND expires_at <= now() + interval '1 hour' ORDER BY expires_at;
