-- test/bench/models.sql
-- A read model, the events of each day, kept by a projection and by triggers; and the states
-- of accounts with snapshots and without.

CREATE ROLE bench_modeller;
SELECT pointstore.grant_access('bench_modeller', 'operator');
CREATE SCHEMA model AUTHORIZATION bench_modeller;
SET ROLE bench_modeller;

CREATE TABLE model.day (day date PRIMARY KEY, events bigint NOT NULL, amount numeric NOT NULL) WITH (fillfactor = 50);
CREATE FUNCTION model.count_days(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.day AS d
    SELECT (e.created_at AT TIME ZONE 'UTC')::date, count(*), sum(e.amount) FROM unnest(events) e GROUP BY 1
        ON CONFLICT (day) DO UPDATE SET events = d.events + excluded.events, amount = d.amount + excluded.amount
$$;
RESET ROLE;

-- By triggers: a row for each day; and one for each day and part of the sessions, so that appends
-- seldom wait for each other's row.
CREATE TABLE model.trigger_day (day date PRIMARY KEY, events bigint NOT NULL, amount numeric NOT NULL) WITH (fillfactor = 50);
CREATE FUNCTION bench.count_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO model.trigger_day AS d VALUES ((new.created_at AT TIME ZONE 'UTC')::date, 1, new.amount)
        ON CONFLICT (day) DO UPDATE SET events = d.events + 1, amount = d.amount + excluded.amount;
    RETURN NULL;
END
$$;
CREATE TABLE model.trigger_day_spread (day date, part integer, events bigint NOT NULL, amount numeric NOT NULL, PRIMARY KEY (day, part)) WITH (fillfactor = 50);
CREATE FUNCTION bench.count_day_spread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO model.trigger_day_spread AS d VALUES ((new.created_at AT TIME ZONE 'UTC')::date, pg_backend_pid() % 64, 1, new.amount)
        ON CONFLICT (day, part) DO UPDATE SET events = d.events + 1, amount = d.amount + excluded.amount;
    RETURN NULL;
END
$$;

-- The projection begins after a position, its model with nothing.
CREATE FUNCTION bench.project(start_after bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL ROLE bench_modeller;
    PERFORM pointstore.drop_projection(s.name) FROM pointstore.subscription s WHERE s.name = 'by_day';
    DELETE FROM model.day;
    PERFORM pointstore.create_projection('by_day', 'model.count_days(pointstore.feed_event[])', start_after);
    RESET ROLE;
END
$$;
CREATE FUNCTION bench.prepare_projection() RETURNS void LANGUAGE sql AS 'SELECT bench.project(0)';
-- All that there is: it goes up to the head.
CREATE PROCEDURE bench.work_off_projection(events bigint) LANGUAGE plpgsql AS $$
BEGIN
    CALL pointstore.run_projection('by_day');
END
$$;

-- Two accounts of the same events and reducer.
CREATE FUNCTION bench.reduce(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN jsonb_build_object('events', coalesce((state ->> 'events')::bigint, 0) + 1,
                              'amount', coalesce((state ->> 'amount')::bigint, 0) + event.amount,
                              'last', event.payload -> 'order');
END
$$;
INSERT INTO pointstore.account_kind (kind, reducer) VALUES ('bench_state', 'bench.reduce');
SELECT count(pointstore.open_account(account, 'bench_state')) FROM (VALUES ('replayed'), ('snapshots')) v(account);

-- Snapshots every 100 events, the last one 50 before the end: as far as it lies on an average.
DO $$
BEGIN
    FOR n IN 1..10000 LOOP
        PERFORM pointstore.append_event('replayed', 'PointAdjusted', 1, '{"order": "A-1001", "channel": "app"}');
        PERFORM pointstore.append_event('snapshots', 'PointAdjusted', 1, '{"order": "A-1001", "channel": "app"}');
        IF n % 100 = 50 THEN
            PERFORM pointstore.take_snapshot('snapshots');
        END IF;
    END LOOP;
END
$$;

-- The median time of so many calls.
CREATE FUNCTION bench.state_ms(account text, version bigint, calls integer) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    ms    float8[];
    start timestamptz;
    state jsonb;
BEGIN
    FOR n IN 1..calls LOOP
        start := clock_timestamp();
        SELECT s.state INTO state FROM pointstore.aggregate_state(account, version) s;
        ms := ms || extract(epoch FROM clock_timestamp() - start)::float8 * 1000;
        ASSERT (state ->> 'events')::bigint = version;
    END LOOP;
    RETURN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY m) FROM unnest(ms) m);
END
$$;
