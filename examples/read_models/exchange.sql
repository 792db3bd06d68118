-- exchange.sql
-- balance_by_day_v2 takes the place of v1, while events come and the view is read.
--
-- First v2 catches up, however long that takes, and nothing is locked. Then, in one transaction: v1 is
-- dropped, which holds it where it is; v2, which the workers go on running, comes to where v1 was; the view gets
-- the new table. No reader finds the view gone, a row missing, or the model behind what it was. The view is locked
-- for that last statement alone. Where somebody has been reading it for lock_timeout all is as before: run it again.
--
-- CREATE OR REPLACE VIEW keeps the columns that there are, and adds others at the end.

\set ON_ERROR_STOP on
DO $$
BEGIN
    WHILE (SELECT max(lag) > 10000 FROM pointstore.projection_status WHERE name = 'balance_by_day_v2' AND status = 'running') LOOP
        COMMIT;
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

BEGIN;
SET LOCAL lock_timeout = '5 s';
SELECT pointstore.drop_projection('balance_by_day_v1');
DO $$
DECLARE
    head  bigint := pointstore.feed_head();
    until timestamptz := clock_timestamp() + interval '30 s';
BEGIN
    WHILE NOT EXISTS (SELECT FROM pointstore.projection_status WHERE name = 'balance_by_day_v2' HAVING bool_and(checkpoint >= head OR lag = 0)) LOOP
        IF clock_timestamp() > until THEN
            RAISE 'balance_by_day_v2 does not catch up: look at pointstore.projection_status';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
CREATE OR REPLACE VIEW model.balance_by_day AS SELECT aggregate_id, day, events, balance, came, went FROM model.balance_by_day_v2;
COMMIT;

-- when v2 has proved good:
--   DROP FUNCTION model.balance_by_day_v1(pointstore.feed_event[]);
--   DROP TABLE model.balance_by_day_v1;
