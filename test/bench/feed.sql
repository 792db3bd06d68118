-- test/bench/feed.sql
-- Who follows the feed, and who follows the events without it.

CREATE TABLE bench.delivered (id bigint, ms float8);

-- The rivals' ways: a queue with a row for each event, a notification of each (listen.c), and polling
-- by id up to where every transaction has ended.
CREATE TABLE bench.queue (id bigint PRIMARY KEY);

CREATE FUNCTION bench.enqueue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench.queue VALUES (new.id);
    RETURN NULL;
END
$$;
CREATE FUNCTION bench.notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('bench', new.id::text);
    RETURN NULL;
END
$$;

CREATE PROCEDURE bench.follow_by_wait_for_feed(seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    finish timestamptz := clock_timestamp() + make_interval(secs => seconds);
    done   bigint := pointstore.feed_head();
    head   bigint;
BEGIN
    SET synchronous_commit = off;
    WHILE clock_timestamp() < finish LOOP
        CALL pointstore.wait_for_feed(done, '100 ms', head);
        WITH page AS (SELECT f.id, f.read_feed_to, extract(epoch FROM clock_timestamp() - f.created_at) * 1000 AS ms FROM pointstore.read_feed(done) f),
             kept AS (INSERT INTO bench.delivered SELECT p.id, p.ms FROM page p)
        SELECT coalesce(max(p.read_feed_to), done) INTO done FROM page p;
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE bench.follow_by_claim(seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    finish timestamptz := clock_timestamp() + make_interval(secs => seconds);
    got    record;
BEGIN
    SET synchronous_commit = off;
    WHILE clock_timestamp() < finish LOOP
        WITH page AS (SELECT d.id, d.slot, d.epoch, d."position", extract(epoch FROM clock_timestamp() - d.created_at) * 1000 AS ms
                        FROM pointstore.claim('bench', 'follower', 500, '100 ms') d),
             kept AS (INSERT INTO bench.delivered SELECT p.id, p.ms FROM page p)
        SELECT p.slot, p.epoch, max(p."position") AS last INTO got FROM page p GROUP BY p.slot, p.epoch;
        IF FOUND THEN
            PERFORM pointstore.ack('bench', got.slot, got.epoch, got.last);
        END IF;
        COMMIT;
    END LOOP;
END
$$;

-- By id, up to where every transaction has ended: looked at every 5 ms.
CREATE PROCEDURE bench.follow_by_poll_by_xmin(seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    finish timestamptz := clock_timestamp() + make_interval(secs => seconds);
    done   bigint := (SELECT max(e.id) FROM pointstore.event_store e);
BEGIN
    SET synchronous_commit = off;
    WHILE clock_timestamp() < finish LOOP
        WITH page AS (SELECT e.id, extract(epoch FROM clock_timestamp() - e.created_at) * 1000 AS ms
                        FROM pointstore.event_store e
                       WHERE e.id > done AND e.xmin::text::bigint < (pg_snapshot_xmin(pg_current_snapshot())::text::bigint & 4294967295)
                       ORDER BY e.id LIMIT 1000),
             kept AS (INSERT INTO bench.delivered SELECT p.id, p.ms FROM page p)
        SELECT coalesce(max(p.id), done) INTO done FROM page p;
        COMMIT;
        PERFORM pg_sleep(0.005);
    END LOOP;
END
$$;

-- One worker of the queue, which looks every 5 ms when there was nothing.
CREATE PROCEDURE bench.follow_by_queue(seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    finish timestamptz := clock_timestamp() + make_interval(secs => seconds);
BEGIN
    SET synchronous_commit = off;
    WHILE clock_timestamp() < finish LOOP
        WITH mine AS (DELETE FROM bench.queue q
                       WHERE q.id = ANY (ARRAY(SELECT n.id FROM bench.queue n ORDER BY n.id LIMIT 500 FOR UPDATE SKIP LOCKED))
                      RETURNING q.id)
        INSERT INTO bench.delivered SELECT e.id, extract(epoch FROM clock_timestamp() - e.created_at) * 1000
                                      FROM mine m JOIN pointstore.event_store e ON e.id = m.id;
        IF FOUND THEN
            COMMIT;
        ELSE
            COMMIT;
            PERFORM pg_sleep(0.005);
        END IF;
    END LOOP;
END
$$;

-- The subscription begins where the feed is, or at its beginning.
CREATE FUNCTION bench.subscribe(start_after bigint, slots smallint = 1) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pointstore.drop_subscription(s.name) FROM pointstore.subscription s WHERE s.name = 'bench';
    PERFORM pointstore.create_subscription('bench', start_after, slots);
END
$$;

-- What an append does for who follows by it, before the first one of them.
CREATE FUNCTION bench.start_following(how text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DROP TRIGGER IF EXISTS follow ON pointstore.event_store;
    TRUNCATE bench.delivered, bench.queue;
    IF how IN ('claim', 'group') THEN
        PERFORM bench.subscribe(NULL, CASE how WHEN 'group' THEN 16 ELSE 1 END::smallint);
    ELSIF how IN ('queue', 'notify', 'trigger', 'trigger_spread') THEN
        EXECUTE format('CREATE TRIGGER follow AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION bench.%I()',
                       CASE how WHEN 'queue' THEN 'enqueue' WHEN 'trigger' THEN 'count_day' WHEN 'trigger_spread' THEN 'count_day_spread' ELSE how END);
    END IF;
END
$$;

-- What was delivered twice, or not at all before something later was, by its position, where there are positions; 1 when nothing was.
CREATE FUNCTION bench.wrongly_delivered() RETURNS bigint LANGUAGE sql AS $$
    WITH d AS (SELECT d.id, count(*) AS times FROM bench.delivered d GROUP BY 1),
         e AS (SELECT e.id, pointstore.position_of(e.id) AS pos FROM pointstore.event_store e WHERE e.id >= (SELECT min(id) - 1000 FROM d)),
         span AS (SELECT min(e.pos) AS first, max(e.pos) AS last FROM d JOIN e USING (id))
    SELECT (SELECT CASE count(*) WHEN 0 THEN 1 ELSE count(*) FILTER (WHERE d.times > 1) END FROM d)
         + (SELECT count(*) FROM span, e LEFT JOIN d USING (id) WHERE e.pos BETWEEN span.first AND span.last AND d.id IS NULL)
$$;

CREATE FUNCTION bench.prepare_read_feed() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION bench.prepare_read_feed_1000() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION bench.prepare_claim() RETURNS void LANGUAGE sql AS 'SELECT bench.subscribe(0)';
CREATE FUNCTION bench.prepare_claim_16_slots() RETURNS void LANGUAGE sql AS 'SELECT bench.subscribe(0, 16::smallint)';
CREATE FUNCTION bench.prepare_queue() RETURNS void LANGUAGE sql AS $$
    TRUNCATE bench.queue;
    INSERT INTO bench.queue SELECT e.id FROM pointstore.event_store e;
$$;

-- One statement, since positions have no gaps: nothing is done for a row but to count it.
CREATE FUNCTION bench.count_pages(events bigint, page integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    SELECT sum(f.n) INTO found
      FROM generate_series(0, events - 1, page) p,
           LATERAL (SELECT count(*) AS n FROM pointstore.read_feed(p, least(page, events - p)::integer)) f;
    ASSERT found = events, format('%s events were read, not %s', found, events);
END
$$;
CREATE PROCEDURE bench.work_off_read_feed(events bigint) LANGUAGE sql AS 'SELECT bench.count_pages(events, 10000)';
CREATE PROCEDURE bench.work_off_read_feed_1000(events bigint) LANGUAGE sql AS 'SELECT bench.count_pages(events, 1000)';

-- One member; with several slots it is given them in turn.
CREATE PROCEDURE bench.work_off_claim(events bigint) LANGUAGE plpgsql AS $$
DECLARE
    done bigint := 0;
    got  record;
BEGIN
    WHILE done < events LOOP
        SELECT d.slot, d.epoch, max(d."position") AS last, count(*) AS n INTO got
          FROM pointstore.claim('bench', 'worker', 500) d GROUP BY d.slot, d.epoch;
        IF FOUND THEN
            PERFORM pointstore.ack('bench', got.slot, got.epoch, got.last);
            done := done + got.n;
        END IF;
        COMMIT;
    END LOOP;
END
$$;
CREATE PROCEDURE bench.work_off_claim_16_slots(events bigint) LANGUAGE plpgsql AS 'BEGIN CALL bench.work_off_claim(events); END';

CREATE PROCEDURE bench.work_off_queue(events bigint) LANGUAGE plpgsql AS $$
DECLARE
    done bigint := 0;
    got  bigint;
BEGIN
    WHILE done < events LOOP
        WITH mine AS (DELETE FROM bench.queue q
                       WHERE q.id = ANY (ARRAY(SELECT n.id FROM bench.queue n ORDER BY n.id LIMIT 500 FOR UPDATE SKIP LOCKED))
                      RETURNING q.id)
        SELECT count(e.payload) INTO STRICT got FROM mine m JOIN pointstore.event_store e ON e.id = m.id;
        COMMIT;
        done := done + got;
    END LOOP;
END
$$;
