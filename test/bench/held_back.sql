-- test/bench/held_back.sql
-- Members of a group, and workers of a queue, who note what they have done, ten times a second and with what they do.

CREATE TABLE bench.worked (worker text, at timestamptz, events bigint, claims bigint, ms float8);

CREATE PROCEDURE bench.work(how text, worker text, finish timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    got   record;
    ready boolean;
    done  bench.worked := (worker, start, 0, 0, 0);
BEGIN
    WHILE clock_timestamp() < finish LOOP
        start := clock_timestamp();
        IF start > done.at + interval '100 ms' THEN
            INSERT INTO bench.worked SELECT done.*;
            done := (worker, start, 0, 0, 0);
        END IF;
        IF how = 'group' THEN
            SELECT d.slot, d.epoch, max(d."position") AS last, count(*) AS n INTO got
              FROM pointstore.claim('bench', worker, 500) d GROUP BY d.slot, d.epoch;
            IF FOUND THEN
                PERFORM pointstore.ack('bench', got.slot, got.epoch, got.last);
            END IF;
        ELSE
            WITH mine AS (DELETE FROM bench.queue q
                           WHERE q.id = ANY (ARRAY(SELECT n.id FROM bench.queue n ORDER BY n.id LIMIT 500 FOR UPDATE SKIP LOCKED))
                          RETURNING q.id)
            SELECT count(e.payload) AS n INTO got FROM mine m JOIN pointstore.event_store e ON e.id = m.id;
        END IF;
        COMMIT;
        IF got.n > 0 THEN
            done.events := done.events + got.n;
            done.claims := done.claims + 1;
            done.ms := done.ms + extract(epoch FROM clock_timestamp() - start) * 1000;
        ELSIF how = 'group' THEN
            CALL pointstore.wait_for_work('bench', '100 ms', ready);
        ELSE
            PERFORM pg_sleep(0.005);
        END IF;
    END LOOP;
    INSERT INTO bench.worked SELECT done.*;
END
$$;
