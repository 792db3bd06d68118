-- Projections, run by hand: who may create one, how its handler runs, and what becomes of its failures.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CREATE ROLE regress_pointstore_projector;
CREATE ROLE regress_pointstore_other;
GRANT regress_pointstore_other TO regress_pointstore_projector;
SELECT pointstore.grant_access('regress_pointstore_projector', 'operator');
SELECT pointstore.grant_access('regress_pointstore_other', 'writer');
CREATE SCHEMA model AUTHORIZATION regress_pointstore_projector;
GRANT USAGE, CREATE ON SCHEMA model TO regress_pointstore_other;
SET ROLE regress_pointstore_projector;

CREATE TABLE model.total (aggregate_id text PRIMARY KEY, events bigint NOT NULL, amount bigint NOT NULL);
CREATE TABLE model.call (n int GENERATED ALWAYS AS IDENTITY, events int, first bigint, last bigint, replaying text);
CREATE FUNCTION model.add_up(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql SET search_path = model, pg_catalog AS $$
BEGIN
    INSERT INTO total AS t
    SELECT e.aggregate_id, count(*), sum(e.amount) FROM unnest(events) e WHERE e.aggregate_id LIKE 'pj-%' GROUP BY 1
        ON CONFLICT (aggregate_id) DO UPDATE SET events = t.events + excluded.events, amount = t.amount + excluded.amount;
    INSERT INTO call (events, first, last, replaying)
    SELECT count(*), min(e.position), max(e.position), current_setting('pointstore.replaying') FROM unnest(events) e;
    IF EXISTS (SELECT FROM unnest(events) e WHERE e.event_type = 'Poison') THEN
        RAISE 'poisoned' USING ERRCODE = '22012';
    END IF;
END $$;
CREATE FUNCTION model.reset() RETURNS void LANGUAGE sql AS 'DELETE FROM model.total';
CREATE FUNCTION model.truncate() RETURNS void LANGUAGE sql AS 'TRUNCATE model.total';
CREATE FUNCTION model.wrong(events pointstore.feed_event[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION model.wrong(event pointstore.feed_event) RETURNS void LANGUAGE sql AS 'SELECT';
SET ROLE regress_pointstore_other;
CREATE FUNCTION model.not_mine(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION model.reset_not_mine() RETURNS void LANGUAGE sql AS 'SELECT';
SELECT pointstore.create_projection('pj', 'model.not_mine(pointstore.feed_event[])');
SET ROLE regress_pointstore_projector;

SELECT count(pointstore.append_event('pj-' || n % 3, 'Earned', n)) FROM generate_series(1, 9) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
SELECT pointstore.feed_head() - 9 AS start \gset

-- what is refused
SELECT pointstore.create_projection(NULL, 'model.add_up(pointstore.feed_event[])');
SELECT pointstore.create_projection('', 'model.add_up(pointstore.feed_event[])');
SELECT pointstore.create_projection('pj', NULL);
SELECT pointstore.create_projection('pj', 'model.wrong(pointstore.feed_event[])');
SELECT pointstore.create_projection('pj', 'model.wrong(pointstore.feed_event)');
SELECT pointstore.create_projection('pj', 'model.reset()');
SELECT pointstore.create_projection('pj', 'model.not_mine(pointstore.feed_event[])');
SELECT pointstore.create_projection('pj', 1::oid::regprocedure);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', -1);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', 1000000000);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', slots => 0::smallint);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', batch => 0);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', batch => 10001);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', on_failure => 'ignore');
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', on_failure => NULL);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', event_types => ARRAY[NULL]::text[]);
RESET ROLE;
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])');
SET ROLE regress_pointstore_projector;
CALL pointstore.run_projection('pj');
SELECT pointstore.drop_projection('pj');
SELECT pointstore.rebuild_projection('pj', 'model.reset()');

-- up to the head, in batches; what was there before counts as delivered
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', :start, batch => 4);
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])');
SELECT name, slot, status, created_by, handler, checkpoint - :start AS checkpoint, lag, member, blocked, last_error, rate, percent, time_left
  FROM pointstore.projection_status;
CALL pointstore.run_projection('pj');
SELECT * FROM model.total ORDER BY 1;
SELECT n, events, first - :start AS first, last - :start AS last, replaying FROM model.call ORDER BY n;
SELECT status, checkpoint - :start AS checkpoint, lag, member, percent, time_left FROM pointstore.projection_status;
SELECT count(pointstore.append_event('pj-1', 'Earned', 1)) FROM generate_series(1, 2) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
SELECT lag, percent FROM pointstore.projection_status;
CALL pointstore.run_projection('pj');
CALL pointstore.run_projection('pj');
SELECT n, events, first - :start AS first, last - :start AS last, replaying FROM model.call ORDER BY n DESC LIMIT 1;
SHOW pointstore.replaying;
SET pointstore.replaying = on;
BEGIN;
CALL pointstore.run_projection('pj');
ROLLBACK;

-- an event that fails is found, and stops the projection; those before it are done
SELECT count(pointstore.append_event('pj-' || n % 3, CASE n WHEN 3 THEN 'Poison' ELSE 'Earned' END, 1)) FROM generate_series(1, 6) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
CALL pointstore.run_projection('pj');
SELECT status, checkpoint - :start AS checkpoint, lag, blocked, last_error FROM pointstore.projection_status;
CALL pointstore.run_projection('pj');
SELECT sum(events) FROM model.total;
SELECT pointstore.resume_subscription('pj');
CALL pointstore.run_projection('pj');
SELECT status, checkpoint - :start AS checkpoint FROM pointstore.projection_status;

-- or is set aside with its account, while the others go on
SELECT pointstore.alter_subscription('pj', on_failure => 'park', max_attempts => 1);
SELECT pointstore.resume_subscription('pj');
CALL pointstore.run_projection('pj');
SELECT status, lag, blocked FROM pointstore.projection_status;
SELECT aggregate_id, position - :start AS position, state FROM pointstore.subscription_retry;
SELECT * FROM model.total ORDER BY 1;

-- built anew: in one statement, and by a reset function that lets readers in
SELECT pointstore.rebuild_projection('pj', NULL);
SELECT pointstore.rebuild_projection('pj', 'model.reset_not_mine()');
SELECT pointstore.rebuild_projection('pj', 'model.add_up(pointstore.feed_event[])');
SELECT pointstore.rebuild_projection('pj', 'model.truncate()');
CREATE OR REPLACE FUNCTION model.truncate() RETURNS void LANGUAGE sql AS 'LOCK TABLE model.total';
SELECT pointstore.rebuild_projection('pj', 'model.truncate()');
CREATE OR REPLACE FUNCTION model.truncate() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE model.mine (n int); RAISE division_by_zero; END $$;
SELECT pointstore.rebuild_projection('pj', 'model.truncate()');
CREATE OR REPLACE FUNCTION model.truncate() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE model.mine (t text); END $$;
SELECT pointstore.rebuild_projection('pj', 'model.reset()');
BEGIN;
SELECT pointstore.rebuild_projection('pj', 'model.reset()');
ROLLBACK;
SELECT * FROM model.total ORDER BY 1;
CREATE OR REPLACE FUNCTION model.add_up(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.call (events, first, last, replaying)
    SELECT count(*), min(e.position), max(e.position), current_setting('pointstore.replaying') FROM unnest(events) e;
    INSERT INTO model.total AS t SELECT e.aggregate_id, count(*), sum(e.amount) FROM unnest(events) e WHERE e.aggregate_id LIKE 'pj-%' GROUP BY 1
        ON CONFLICT (aggregate_id) DO UPDATE SET events = t.events + excluded.events, amount = t.amount + excluded.amount
$$;
-- a table that is made meanwhile locks nobody out
SELECT pointstore.rebuild_projection('pj', 'model.truncate()') - :start AS head;
DELETE FROM model.call;
SET default_transaction_isolation = 'serializable';
SELECT pointstore.rebuild_projection('pj', 'model.reset()') - :start AS head;
RESET default_transaction_isolation;
SELECT * FROM model.total ORDER BY 1;
SELECT events, first - :start AS first, last - :start AS last, replaying FROM model.call ORDER BY n;
SELECT status, lag, blocked, last_error FROM pointstore.projection_status;

-- moved back: delivered again
SELECT pointstore.move_subscription('pj', :start + 15);
DELETE FROM model.call;
SELECT count(pointstore.append_event('pj-1', 'Earned', 0)) FROM generate_series(1, 2) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
CALL pointstore.run_projection('pj');
SELECT events, first - :start AS first, last - :start AS last, replaying FROM model.call ORDER BY n;
-- in batches of another size
SELECT pointstore.alter_subscription('pj', batch => 0);
SELECT pointstore.alter_subscription('pj', batch => 10001);
SELECT pointstore.create_subscription('pj-plain');
SELECT pointstore.alter_subscription('pj-plain', batch => 5);
SELECT pointstore.drop_subscription('pj-plain');
SELECT pointstore.alter_subscription('pj', batch => 2);
SELECT pointstore.move_subscription('pj', :start + 15);
DELETE FROM model.call;
CALL pointstore.run_projection('pj');
SELECT events, first - :start AS first, last - :start AS last FROM model.call ORDER BY n;
SELECT pointstore.pause_subscription('pj');
CALL pointstore.run_projection('pj');
SELECT pointstore.drop_projection('pj');
SELECT pointstore.drop_projection('pj');
SELECT count(*) FROM pointstore.projection_status;

-- a filter
SELECT pointstore.create_projection('pj', 'model.add_up(pointstore.feed_event[])', event_types => ARRAY['Poison'], aggregate_prefix => 'pj-', slots => 3::smallint);
DELETE FROM model.call;
RESET ROLE;
BEGIN;
SET LOCAL track_functions = 'all';
SELECT slot, lag, lag_seconds > 0 AS since, percent FROM pointstore.projection_status ORDER BY slot;
SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'subscription_lag';
COMMIT;
SET ROLE regress_pointstore_projector;
CALL pointstore.run_projection('pj');
SELECT events, first - :start AS first, replaying FROM model.call;
SELECT slot, lag, lag_seconds, percent, time_left FROM pointstore.projection_status ORDER BY slot;
SELECT pointstore.drop_projection('pj');

-- a hostile handler: it finds no way to another role, and leaves nothing behind
CREATE TABLE model.outcome (what text, outcome text);
CREATE TABLE model.late (n int);
CREATE FUNCTION model.as_whom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO model.outcome VALUES ('trigger', current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON model.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION model.as_whom();
CREATE FUNCTION model.hostile(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    attempt text;
BEGIN
    FOREACH attempt IN ARRAY ARRAY['SET ROLE regress_pointstore_other', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
        'SET LOCAL session_authorization = regress_pointstore_projector', 'CREATE TEMP TABLE mine (n int)', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'LISTEN hostile',
        'SET CONSTRAINTS ALL DEFERRED; INSERT INTO model.late VALUES (1)', 'INSERT INTO model.late VALUES (2)', 'COMMIT', 'SET pointstore.replaying = off',
        'UPDATE pointstore.subscription SET created_by = ''postgres''', 'DELETE FROM pointstore.event_store', 'SET search_path = nowhere', 'SELECT pg_advisory_unlock_all()',
        'SELECT pg_try_advisory_lock(1)', 'SELECT pg_advisory_lock_shared(1, 2)', 'SELECT pg_advisory_unlock(7)', 'DO $x$ BEGIN PERFORM pg_advisory_lock(3); END $x$',
        'SELECT pg_advisory_xact_lock(4)', 'INSERT INTO model.guarded VALUES (1)', 'SET timezone = ''Asia/Seoul''',
        'SET pointstore.projection_timeout = 0',
        'CREATE DOMAIN pg_temp.text AS pg_catalog.text', 'CREATE TYPE pg_temp.shell', 'CREATE FUNCTION pg_temp.later() RETURNS int LANGUAGE sql RETURN 1',
        'CREATE TYPE pg_temp.colour AS ENUM (''red'')', 'CREATE DOMAIN model.text AS pg_catalog.text']
    LOOP
        BEGIN
            EXECUTE attempt;
            INSERT INTO model.outcome VALUES (attempt, 'ok');
        EXCEPTION WHEN others THEN
            INSERT INTO model.outcome VALUES (attempt, SQLSTATE);
        END;
    END LOOP;
    INSERT INTO model.outcome VALUES ('current_user', current_user);
END $$;
-- how values become text is not the session's affair, and policies bind the role where its table has them forced
CREATE TABLE model.guarded (n int);
ALTER TABLE model.guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE TABLE model.setting (name text, value text);
CREATE FUNCTION model.settings(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.setting SELECT s, current_setting(s) FROM unnest(ARRAY['TimeZone', 'DateStyle', 'IntervalStyle', 'search_path']) s
$$;
RESET ROLE;
SELECT current_setting('search_path') AS path \gset
SET ROLE regress_pointstore_projector;
SELECT pointstore.create_projection('hostile', 'model.hostile(pointstore.feed_event[])', pointstore.feed_head() - 1);
SELECT pointstore.create_projection('settings', 'model.settings(pointstore.feed_event[])', pointstore.feed_head() - 1);
RESET ROLE;
SELECT pg_advisory_lock(7);
SET timezone = 'Asia/Seoul';
SET datestyle = 'SQL, DMY';
CALL pointstore.run_projection('settings');
RESET datestyle;
CALL pointstore.run_projection('hostile');
SHOW timezone;
RESET timezone;
SELECT * FROM model.setting;
SELECT pointstore.drop_projection('settings');
SELECT classid, objid, objsubid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT pg_advisory_unlock(7);
SELECT * FROM model.outcome;
SELECT current_setting('search_path') = :'path' AS unchanged, current_user = session_user AS myself;
CREATE DOMAIN pg_temp.mine AS text;
DROP DOMAIN pg_temp.mine;

-- nor does what the store's owner has put on the tables run later, as who creates or drops one
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR DELETE ON pointstore.subscription DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION model.as_whom();
SET ROLE regress_pointstore_projector;
SELECT pointstore.create_projection('late', 'model.hostile(pointstore.feed_event[])', NULL);
RESET ROLE;
SELECT pointstore.drop_projection('hostile');
DROP TRIGGER late ON pointstore.subscription;

-- what is gone stops it
SELECT count(pointstore.append_event('pj-1', 'Earned', 0)) FROM generate_series(1, 2) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
ALTER FUNCTION model.hostile(pointstore.feed_event[]) OWNER TO regress_pointstore_other;
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
SELECT pointstore.resume_subscription('hostile');
DROP FUNCTION model.hostile(pointstore.feed_event[]);
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
SELECT pointstore.resume_subscription('hostile');
ALTER ROLE regress_pointstore_projector SUPERUSER;
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
ALTER ROLE regress_pointstore_projector NOSUPERUSER;
SELECT pointstore.resume_subscription('hostile');
ALTER ROLE regress_pointstore_projector RENAME TO regress_pointstore_renamed;
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
-- nor is it of another role that has the name now
CREATE ROLE regress_pointstore_projector;
SELECT pointstore.grant_access('regress_pointstore_projector', 'operator');
SELECT pointstore.resume_subscription('hostile');
SET ROLE regress_pointstore_renamed;
CREATE FUNCTION model.hostile(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'SELECT 1 / 0';
RESET ROLE;
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
DROP OWNED BY regress_pointstore_projector;
DROP ROLE regress_pointstore_projector;
ALTER ROLE regress_pointstore_renamed RENAME TO regress_pointstore_projector;
-- who is no operator any more: it waits to be one
SELECT pointstore.resume_subscription('hostile');
REVOKE EXECUTE ON FUNCTION pointstore.freeze_account(text, text) FROM regress_pointstore_projector;
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
SELECT pointstore.grant_access('regress_pointstore_projector', 'operator');
-- a handler that does not return void any more, and one whose name makes no sense
SELECT pointstore.resume_subscription('hostile');
DROP FUNCTION model.hostile(pointstore.feed_event[]);
CREATE FUNCTION model.hostile(events pointstore.feed_event[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION model.hostile(pointstore.feed_event[]) OWNER TO regress_pointstore_projector;
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
SELECT pointstore.resume_subscription('hostile');
UPDATE pointstore.subscription SET handler = '"model.(' WHERE name = 'hostile';
CALL pointstore.run_projection('hostile');
SELECT status, last_error FROM pointstore.projection_status;
SELECT pointstore.drop_projection('hostile');

-- a right that is missing may be granted yet, as a restore does at its end: it is waited for, and for the handler's own a minute
SET ROLE regress_pointstore_projector;
CREATE TABLE model.granted (n int);
CREATE FUNCTION model.lacks(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'INSERT INTO model.granted SELECT 1 FROM unnest(events)';
SELECT pointstore.create_projection('lacks', 'model.lacks(pointstore.feed_event[])', pointstore.feed_head() - 2);
REVOKE EXECUTE ON FUNCTION model.lacks(pointstore.feed_event[]) FROM PUBLIC, regress_pointstore_projector;
CALL pointstore.run_projection('lacks');
SELECT status, lag, last_error FROM pointstore.projection_status;
GRANT EXECUTE ON FUNCTION model.lacks(pointstore.feed_event[]) TO regress_pointstore_projector;
RESET ROLE;
ALTER TABLE model.granted OWNER TO CURRENT_USER;
CALL pointstore.run_projection('lacks');
SELECT status, lag, left(last_error, 6) AS error FROM pointstore.projection_status;
SELECT attempt, not_before - served_at BETWEEN '0.9 s' AND '1.9 s' AS a_second FROM pointstore.subscription_slot WHERE subscription = 'lacks';
UPDATE pointstore.subscription_slot SET attempt = 5, not_before = NULL WHERE subscription = 'lacks';
CALL pointstore.run_projection('lacks');
SELECT status FROM pointstore.projection_status;
UPDATE pointstore.subscription_slot SET not_before = NULL WHERE subscription = 'lacks';
CALL pointstore.run_projection('lacks');
SELECT status, lag, left(last_error, 6) AS error FROM pointstore.projection_status;
-- where accounts are set aside instead nothing waits
SELECT pointstore.alter_subscription('lacks', on_failure => 'park'), pointstore.resume_subscription('lacks');
CALL pointstore.run_projection('lacks');
SELECT status, lag, blocked FROM pointstore.projection_status;
GRANT INSERT ON model.granted TO regress_pointstore_projector;
SELECT pointstore.move_subscription('lacks', pointstore.feed_head() - 2);
CALL pointstore.run_projection('lacks');
SELECT status, lag, blocked, (SELECT count(*) FROM model.granted) FROM pointstore.projection_status;
SELECT pointstore.drop_projection('lacks');

-- a handler that is at its own projection: drops it, pauses it, moves it, has it rebuilt
SET ROLE regress_pointstore_projector;
CREATE TABLE model.tried_self (n int GENERATED ALWAYS AS IDENTITY, verb text, outcome text);
CREATE FUNCTION model.myself(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    verb text;
BEGIN
    FOR verb IN SELECT v.verb FROM model.verb v LOOP
        BEGIN
            EXECUTE verb;
            INSERT INTO model.tried_self (verb, outcome) VALUES (verb, 'ok');
        EXCEPTION WHEN others THEN
            INSERT INTO model.tried_self (verb, outcome) VALUES (verb, SQLSTATE);
        END;
    END LOOP;
END $$;
CREATE TABLE model.verb (verb text);
INSERT INTO model.verb VALUES ('SELECT pointstore.rebuild_projection(''self'', ''model.reset()'')'), ('CALL pointstore.run_projection(''self'')'),
    ('SELECT pointstore.alter_subscription(''self'', max_attempts => 3)'), ('SELECT * FROM pointstore.claim(''self'', ''me'')'),
    ('SELECT pointstore.pause_subscription(''self'')');
SELECT pointstore.create_projection('self', 'model.myself(pointstore.feed_event[])', pointstore.feed_head() - 2, batch => 1);
CALL pointstore.run_projection('self');
SELECT verb, outcome FROM model.tried_self ORDER BY n;
SELECT status, checkpoint - pointstore.feed_head() AS checkpoint FROM pointstore.projection_status;
DELETE FROM model.tried_self;
UPDATE model.verb SET verb = 'SELECT pointstore.drop_projection(''self'')';
SELECT pointstore.resume_subscription('self');
CALL pointstore.run_projection('self');
SELECT verb, outcome FROM model.tried_self ORDER BY n LIMIT 1;
SELECT count(*) FROM pointstore.projection_status;
DELETE FROM model.tried_self;
UPDATE model.verb SET verb = format('SELECT pointstore.move_subscription(''self'', %s) WHERE NOT EXISTS (SELECT FROM model.tried_self)', pointstore.feed_head() - 2);
SELECT pointstore.create_projection('self', 'model.myself(pointstore.feed_event[])', pointstore.feed_head() - 2);
CALL pointstore.run_projection('self');
SELECT count(*) AS times FROM model.tried_self;
SELECT pointstore.drop_projection('self');

-- of a long error message the beginning is kept
CREATE FUNCTION model.talks(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat('ä', 1000000); END $$;
SELECT pointstore.create_projection('talks', 'model.talks(pointstore.feed_event[])', pointstore.feed_head() - 2);
CALL pointstore.run_projection('talks');
SELECT left(last_error, 10) AS error, octet_length(last_error) < 1010 AS short FROM pointstore.projection_status;
SELECT pointstore.drop_projection('talks');
RESET ROLE;

-- an error that blames no event: the next try is later, and of fewer events
SET ROLE regress_pointstore_projector;
CREATE SEQUENCE model.tried START 100;
CREATE FUNCTION model.unlucky(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM setval('model.tried', cardinality(events));
    RAISE 'unlucky' USING ERRCODE = '40001';
END $$;
SELECT pointstore.create_projection('unlucky', 'model.unlucky(pointstore.feed_event[])', NULL, batch => 4);
SELECT percent FROM pointstore.projection_status;
SELECT pointstore.move_subscription('unlucky', 0);
SELECT percent FROM pointstore.projection_status;
SELECT pointstore.move_subscription('unlucky', pointstore.feed_head());
SELECT count(pointstore.append_event('pj-1', 'Earned', 0)) FROM generate_series(1, 8) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
CALL pointstore.run_projection('unlucky');
SELECT last_value FROM model.tried;
SELECT not_before - served_at BETWEEN '0.9 s' AND '1.9 s' AS a_second, attempt FROM pointstore.subscription_slot WHERE subscription = 'unlucky';
CALL pointstore.run_projection('unlucky');
SELECT last_value FROM model.tried;
SELECT not_before - served_at BETWEEN '1.9 s' AND '3.5 s' AS two_seconds, attempt FROM pointstore.subscription_slot WHERE subscription = 'unlucky';
CALL pointstore.run_projection('unlucky');
SELECT last_value FROM model.tried;
SELECT status, last_error FROM pointstore.projection_status;
SELECT pointstore.drop_projection('unlucky');
RESET ROLE;

-- whom errors blame: nobody, or the event
SET ROLE regress_pointstore_projector;
CREATE TABLE model.raised (code text);
INSERT INTO model.raised VALUES ('');
CREATE FUNCTION model.raises(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'raised' USING ERRCODE = (SELECT code FROM model.raised);
END $$;
SELECT format('UPDATE model.raised SET code = %L', code),
       $$SELECT pointstore.create_projection('raises', 'model.raises(pointstore.feed_event[])', pointstore.feed_head() - 1)$$ AS create,
       $$CALL pointstore.run_projection('raises')$$ AS run,
       $$SELECT r.code, s.status, s.last_error FROM pointstore.projection_status s, model.raised r$$ AS status,
       $$SELECT pointstore.drop_projection('raises')$$ AS drop
  FROM unnest('{40001,40P01,55P03,57014,57P01,53200,08006,40003,55000,22012,23505,42P01,0A000,XX000,P0001,PS014,42704,PS010}'::text[]) code
\gexec
RESET ROLE;

-- a change by hand that has no event fails with its batch, not at its commit
GRANT INSERT ON pointstore.event_store TO regress_pointstore_projector;
GRANT SELECT, UPDATE ON pointstore.balance TO regress_pointstore_projector;
SET ROLE regress_pointstore_projector;
CREATE FUNCTION model.by_hand(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'pj-1';
    IF events[1].event_type = 'Pair' THEN
        INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('pj-1', 'Paired');
    END IF;
END $$;
SELECT pointstore.create_projection('by_hand', 'model.by_hand(pointstore.feed_event[])', NULL, event_types => '{Pair,Single}', batch => 1);
SELECT pointstore.append_event('pj-2', t, 0) IS NOT NULL AS appended FROM unnest('{Pair,Single}'::text[]) t;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
SELECT balance FROM pointstore.balance WHERE aggregate_id = 'pj-1' \gset
CALL pointstore.run_projection('by_hand');
SELECT status, lag, last_error FROM pointstore.projection_status;
SELECT balance - :balance AS paired FROM pointstore.balance WHERE aggregate_id = 'pj-1';
SELECT pointstore.drop_projection('by_hand');
RESET ROLE;
REVOKE ALL ON pointstore.event_store, pointstore.balance FROM regress_pointstore_projector;
SELECT pointstore.grant_access('regress_pointstore_projector', 'operator');

-- one that takes too long is cut down until the event that does is found
SET ROLE regress_pointstore_projector;
CREATE FUNCTION model.slow(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM unnest(events) e WHERE e.event_type = 'Slow') THEN
        PERFORM pg_sleep(60);
    END IF;
END $$;
SELECT pointstore.create_projection('slow', 'model.slow(pointstore.feed_event[])', NULL);
SELECT count(pointstore.append_event('pj-1', CASE n WHEN 20 THEN 'Slow' ELSE 'Earned' END, 0)) FROM generate_series(1, 30) n;
SELECT pointstore.sequence_feed() AS head \gset
RESET ROLE;
SET pointstore.projection_timeout = '200ms';
CALL pointstore.run_projection('slow');
SELECT status, lag, last_error FROM pointstore.projection_status;
SELECT pointstore.drop_projection('slow');

-- how fast it gets on is looked at once a second, and says how long it will take
SET ROLE regress_pointstore_projector;
CREATE FUNCTION model.nothing(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT pointstore.create_projection('fast', 'model.nothing(pointstore.feed_event[])', pointstore.feed_head() - 5);
RESET ROLE;
UPDATE pointstore.projection SET measured_at = clock_timestamp() - interval '2 s', measured_position = start_after - 96 WHERE name = 'fast';
CALL pointstore.run_projection('fast');
SELECT count(pointstore.append_event('pj-1', 'Earned', 0)) FROM generate_series(1, 10) n;
SELECT pointstore.sequence_feed() > 0 AS sequenced;
SELECT lag, rate BETWEEN 5 AND 48 AS rate, time_left BETWEEN '1 s' AND '3 s' AS time_left FROM pointstore.projection_status;
CALL pointstore.run_projection('fast');
SELECT lag, time_left FROM pointstore.projection_status;
-- a handler that locks readers out while it is rebuilt
CREATE OR REPLACE FUNCTION model.nothing(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'LOCK TABLE model.total';
SELECT pointstore.rebuild_projection('fast', 'model.reset()');
SELECT pointstore.drop_projection('fast');

-- what waits with an account that is set aside is not what it is behind by
SET ROLE regress_pointstore_projector;
CREATE FUNCTION model.refuses(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'SELECT 1 / CAST(event_type <> $$Poison$$ AS int) FROM unnest(events)';
SELECT pointstore.create_projection('waits', 'model.refuses(pointstore.feed_event[])', NULL, aggregate_prefix => 'pj-wait-', on_failure => 'park');
SELECT pointstore.alter_subscription('waits', max_attempts => 1);
SELECT count(pointstore.append_event('pj-wait-1', t)) FROM unnest('{Poison,Earned}'::text[]) t;
SELECT pointstore.sequence_feed() AS head \gset
CALL pointstore.run_projection('waits');
SELECT count(pointstore.append_event('pj-wait-1', 'Earned')) FROM generate_series(1, 2) n;
SELECT pointstore.sequence_feed() - :head AS head;
SELECT lag, lag_seconds, percent, time_left, blocked FROM pointstore.projection_status;
SELECT count(pointstore.append_event('pj-wait-2', 'Earned')) FROM generate_series(1, 2) n;
SELECT pointstore.sequence_feed() - :head AS head;
SELECT lag, lag_seconds > 0 AS since, blocked FROM pointstore.projection_status;
CALL pointstore.run_projection('waits');
SELECT lag, lag_seconds, percent, blocked FROM pointstore.projection_status;
SELECT pointstore.drop_projection('waits');
RESET ROLE;

-- upcasters: the handler gets the newest forms, and one that fails is as a handler that does. A superuser's is called as the projection's role
RESET pointstore.projection_timeout;
CREATE FUNCTION pj_up(payload jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    CASE payload ->> 'do'
        WHEN 'zero' THEN PERFORM 1 / 0;
        WHEN 'busy' THEN RAISE EXCEPTION USING ERRCODE = '40001';
        WHEN 'loop' THEN PERFORM pg_sleep(60);
        WHEN 'append' THEN PERFORM pointstore.append_event('pj-by-upcaster', 'Earned', 1);
        ELSE NULL;
    END CASE;
    RETURN jsonb_build_object('n', payload -> 'n', 'who', current_user);
END $$;
CREATE FUNCTION pj_plain(payload jsonb) RETURNS jsonb IMMUTABLE RETURN jsonb_strip_nulls(payload);
INSERT INTO pointstore.upcaster VALUES ('Up', 1, 'public.pj_up'), ('Late', 1, 'public.pj_up');
SET ROLE regress_pointstore_projector;
CREATE TABLE model.kept (n int GENERATED ALWAYS AS IDENTITY, aggregate_id text, payload jsonb, form smallint, events int);
CREATE FUNCTION model.keep(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.kept (aggregate_id, payload, form, events) SELECT e.aggregate_id, e.payload, e.payload_version, cardinality(events) FROM unnest(events) e WHERE e.aggregate_id LIKE 'pj-up-%' $$;
CREATE FUNCTION model.forget() RETURNS void LANGUAGE sql AS 'DELETE FROM model.kept';
SELECT pointstore.create_projection('pj-up', 'model.keep(pointstore.feed_event[])', NULL, batch => 10);
SELECT count(pointstore.append_event('pj-up-' || n % 2, CASE n WHEN 2 THEN 'Down' ELSE 'Up' END, payload => jsonb_build_object('n', n, 'do', CASE n WHEN 4 THEN 'append' WHEN 5 THEN 'zero' END))) FROM generate_series(1, 8) n;
SELECT pointstore.sequence_feed() - 8 AS start \gset
RESET ROLE;
CALL pointstore.run_projection('pj-up');
SELECT aggregate_id, payload, form, events FROM model.kept ORDER BY n;
SELECT status, checkpoint - :start AS checkpoint, last_error FROM pointstore.projection_status;
-- what it writes is part of the batch
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'pj-by-upcaster';
-- set aside with its account, and retried when the upcaster is right
SELECT pointstore.alter_subscription('pj-up', on_failure => 'park'), pointstore.resume_subscription('pj-up');
CALL pointstore.run_projection('pj-up');
SELECT aggregate_id, position - :start AS position, state, attempts, error FROM pointstore.subscription_retry;
SELECT aggregate_id, payload -> 'n' AS n FROM model.kept ORDER BY n;
UPDATE pointstore.upcaster SET function = 'public.pj_plain' WHERE event_type = 'Up';
UPDATE pointstore.subscription_account SET next_try = now(); UPDATE pointstore.subscription_slot SET retry_at = now() WHERE retry_at IS NOT NULL;
SELECT count(pointstore.append_event('pj-up-0', 'Down', payload => '{"n": 9}')) FROM generate_series(1, 1) n;
SELECT pointstore.sequence_feed() - :start;
CALL pointstore.run_projection('pj-up');
CALL pointstore.run_projection('pj-up');
SELECT aggregate_id, payload, form FROM model.kept ORDER BY n OFFSET 6;
SELECT count(*) FROM pointstore.subscription_retry;
-- one that blames no event; one that takes too long
SELECT count(pointstore.append_event('pj-up-2', 'Late', payload => jsonb_build_object('n', n, 'do', CASE n WHEN 12 THEN 'busy' END))) FROM generate_series(10, 12) n;
SELECT pointstore.sequence_feed() - :start;
CALL pointstore.run_projection('pj-up');
SELECT status, lag, blocked, last_error FROM pointstore.projection_status;
SELECT not_before > now() AS later, attempt FROM pointstore.subscription_slot WHERE subscription = 'pj-up';
SELECT pointstore.move_subscription('pj-up', pointstore.feed_head()), pointstore.alter_subscription('pj-up', on_failure => 'stop');
SELECT count(pointstore.append_event('pj-up-2', 'Late', payload => jsonb_build_object('n', n, 'do', CASE n WHEN 14 THEN 'loop' END))) FROM generate_series(13, 14) n;
SELECT pointstore.sequence_feed() - :start;
SET pointstore.projection_timeout = '200ms';
CALL pointstore.run_projection('pj-up');
SELECT status, lag, last_error FROM pointstore.projection_status;
RESET pointstore.projection_timeout;
-- rebuilt: all or nothing
SELECT pointstore.rebuild_projection('pj-up', 'model.forget()');
SELECT payload -> 'n' AS n FROM model.kept ORDER BY n DESC LIMIT 1;
UPDATE pointstore.upcaster SET function = 'public.pj_plain' WHERE event_type = 'Late';
SELECT pointstore.rebuild_projection('pj-up', 'model.forget()') - :start AS head;
SELECT payload, form FROM model.kept WHERE aggregate_id = 'pj-up-2' ORDER BY n;
SELECT payload, form FROM model.kept WHERE aggregate_id <> 'pj-up-2' ORDER BY n LIMIT 2;
SELECT pointstore.drop_projection('pj-up');
DELETE FROM pointstore.upcaster WHERE event_type IN ('Up', 'Late');
DROP FUNCTION pj_up, pj_plain;

DROP SCHEMA model CASCADE;
DROP OWNED BY regress_pointstore_projector, regress_pointstore_other;
DROP ROLE regress_pointstore_projector, regress_pointstore_other;
