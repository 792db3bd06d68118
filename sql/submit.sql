-- submit_event, submit_transfer and their try_ forms: the answers of append_event and transfer, committed by themselves.
\set VERBOSITY sqlstate

INSERT INTO pointstore.account_kind (kind, mode, min_balance, max_balance, auto_open) VALUES
    ('submit-limited', 'hybrid', -100, 1000, true), ('submit-shut', 'hybrid', 0, NULL, false),
    ('submit-pure', 'pure', 0, 1000, true);

-- the first opens the account, in the name of who called
SELECT outcome, aggregate_id, version, balance, available, id > 0 AS id,
       created_at BETWEEN now() AND clock_timestamp() AS created
  FROM pointstore.submit_event('submit-1', 'PointEarned', 5000);
SELECT outcome, version, balance, available
  FROM pointstore.submit_event('submit-1', 'PointSpent', -1500, '{"order": "A-1"}', 1,
                               occurred_at => '2026-01-05 10:00+00', metadata => '{"actor": "shop"}');
SELECT outcome, version, balance FROM pointstore.submit_event('submit-1', 'ProfileRead');
SELECT version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id,
       occurred_at = created_at AS now, occurred_at = '2026-01-05 10:00+00' AS as_given
  FROM pointstore.event_store WHERE aggregate_id = 'submit-1' ORDER BY version;
SELECT kind, version, balance, held, status FROM pointstore.balance WHERE aggregate_id = 'submit-1';
CREATE ROLE submit_writer;
SELECT pointstore.grant_access('submit_writer', 'writer');
SET ROLE submit_writer;
SELECT outcome, version FROM pointstore.submit_event('submit-2', 'PointEarned', 1);
SELECT outcome, version FROM pointstore.try_submit_event('submit-2', 'PointEarned', 1);
SELECT outcome, version FROM pointstore.submit_event('submit-12', 'Released', 1, kind => 'submit-pure');
RESET ROLE;
SELECT aggregate_id, action, by_role = current_user AS by_me, by_role = 'submit_writer' AS by_writer
  FROM pointstore.account_log WHERE aggregate_id IN ('submit-1', 'submit-12', 'submit-2') ORDER BY aggregate_id;
CREATE ROLE submit_nobody;
GRANT USAGE ON SCHEMA pointstore TO submit_nobody;
SET ROLE submit_nobody;
SELECT pointstore.submit_event('submit-1', 'PointEarned');
SELECT pointstore.try_submit_event('submit-1', 'PointEarned');
RESET ROLE;
DROP OWNED BY submit_writer, submit_nobody;
DROP ROLE submit_writer, submit_nobody;

-- the receipt is what is stored
SELECT * FROM pointstore.submit_event('submit-1', 'PointEarned', 1) \gset
SELECT id = :id AS id, balance_after = :balance AS balance, created_at = :'created_at' AS created_at
  FROM pointstore.event_store WHERE aggregate_id = 'submit-1' AND version = :version;
SELECT version, balance FROM pointstore.get_balance('submit-1');

-- refusals: errors, and outcomes with the account's state
SELECT pointstore.submit_event('submit-1', 'Changed', expected_version => 3);
SELECT pointstore.submit_event('submit-1', 'PointSpent', -3502);
SELECT pointstore.submit_event('submit-1', 'PointSpent', -2, min_balance => 3500);
SELECT pointstore.submit_event('submit-none', 'PointSpent', -1);
SELECT pointstore.submit_event('submit-none', 'Changed', expected_version => 1);
SELECT pointstore.submit_event('submit-none', 'Changed', kind => 'submit-shut');
SELECT pointstore.submit_event('submit-3', 'PointEarned', 1001, kind => 'submit-limited');
SELECT outcome, version, balance FROM pointstore.submit_event('submit-3', 'PointSpent', -100, kind => 'submit-limited');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'submit-none';
SELECT outcome, version, balance, available, id, created_at FROM pointstore.try_submit_event('submit-1', 'Changed', expected_version => 3);
SELECT outcome, version, balance, available, id, created_at FROM pointstore.try_submit_event('submit-1', 'PointSpent', -3502);
SELECT outcome, version, balance, available, id, created_at FROM pointstore.try_submit_event('submit-3', 'PointEarned', 1101);
SELECT outcome, version, balance, available, id, created_at FROM pointstore.try_submit_event('submit-none', 'Changed', kind => 'submit-shut');
SELECT pointstore.freeze_account('submit-3', 'why');
SELECT pointstore.submit_event('submit-3', 'PointEarned', 1);
SELECT outcome, version, balance, available, id, created_at FROM pointstore.try_submit_event('submit-3', 'PointEarned', 1);
SELECT pointstore.open_account('submit-4');
SELECT pointstore.close_account('submit-4');
SELECT pointstore.submit_event('submit-4', 'PointEarned', 1);
SELECT outcome, version, balance, available, id, created_at FROM pointstore.try_submit_event('submit-4', 'PointEarned', 1);

-- a pure account
SELECT outcome, version, balance FROM pointstore.submit_event('submit-5', 'Released', 200, kind => 'submit-pure');
SELECT outcome, version, balance FROM pointstore.submit_event('submit-5', 'Sold', -150);
SELECT outcome, version, balance FROM pointstore.try_submit_event('submit-5', 'Sold', -51);
SELECT count(*) FROM pointstore.pure_account WHERE aggregate_id = 'submit-5';

-- errors of both forms
SELECT pointstore.submit_event(NULL, 'PointEarned');
SELECT pointstore.try_submit_event('submit-1', NULL);
SELECT pointstore.submit_event('submit-1', 'PointEarned', NULL);
SELECT outcome FROM pointstore.submit_event('submit-null', 'PointEarned', payload => NULL);
SELECT pointstore.submit_event('', 'PointEarned');
SELECT pointstore.submit_event(repeat('x', 513), 'PointEarned');
SELECT pointstore.submit_event('submit-1', 'HoldPlaced');
SELECT pointstore.try_submit_event('submit-1', 'Changed', expected_version => -1);
SELECT pointstore.try_submit_event('submit-1', 'PointEarned', 9223372036854775807);
SELECT pointstore.try_submit_event('submit-1', 'PointEarned', kind => 'submit-limited');
SELECT pointstore.try_submit_event('submit-none', 'PointEarned', kind => 'submit-unknown');

-- a request is applied once, whichever way it comes; and comes before a refusal also where
-- the index is trusted to know it, as it is a second after the last error
SELECT pg_sleep(1.1);
SELECT outcome, version, balance, available FROM pointstore.submit_event('submit-6', 'PointEarned', 10, '{"a": 1}', request_id => 'submit-r1');
SELECT outcome, version, balance, available FROM pointstore.submit_event('submit-6', 'PointEarned', 10, '{"a": 1}', request_id => 'submit-r1', expected_version => 7);
SELECT outcome, version, balance, available FROM pointstore.append_event('submit-6', 'PointEarned', 10, '{"a": 1}', request_id => 'submit-r1');
SELECT outcome, version, balance, available FROM pointstore.append_event('submit-6', 'PointEarned', 10, request_id => 'submit-r2');
SELECT outcome, version, balance, available FROM pointstore.try_submit_event('submit-6', 'PointEarned', 10, request_id => 'submit-r2');
SELECT outcome, version, balance, available FROM pointstore.try_submit_event('submit-6', 'PointEarned', 11, request_id => 'submit-r2');
SELECT pointstore.submit_event('submit-6', 'PointEarned', 11, request_id => 'submit-r2');
SELECT pointstore.submit_event('submit-7', 'PointEarned', 10, request_id => 'submit-r2');
-- a refusal is not remembered
SELECT outcome, version FROM pointstore.try_submit_event('submit-6', 'PointSpent', -1000, request_id => 'submit-r3');
SELECT outcome, version FROM pointstore.submit_event('submit-6', 'PointEarned', 1000);
SELECT outcome, version FROM pointstore.try_submit_event('submit-6', 'PointSpent', -1000, request_id => 'submit-r3');

-- texts of all sizes: also larger than what is handed over
SELECT outcome, version FROM pointstore.submit_event('submit-계좌-' || repeat('é', 240), 'Été', 1, '{"größe": "ß"}', request_id => repeat('ü', 256));
SELECT octet_length(aggregate_id), event_type, payload, octet_length(request_id) FROM pointstore.event_store WHERE event_type = 'Été';
SELECT n, outcome, version FROM unnest(ARRAY[1, 7000, 7500, 7600, 7700, 100000]) n,
       pointstore.submit_event('submit-8', 'Noted', 1, jsonb_build_object('size', n, 'text', repeat('x', n)), request_id => 'submit-size-' || n);
SELECT n, outcome, version FROM unnest(ARRAY[1, 7000, 7500, 7600, 7700, 100000]) n,
       pointstore.submit_event('submit-8', 'Noted', 1, jsonb_build_object('size', n, 'text', repeat('x', n)), request_id => 'submit-size-' || n);
SELECT version, payload -> 'size' AS size, length(payload ->> 'text') AS length FROM pointstore.event_store WHERE aggregate_id = 'submit-8' ORDER BY version;

-- not where it would be part of something that may be rolled back
BEGIN;
SELECT pointstore.submit_event('submit-9', 'PointEarned');
ROLLBACK;
DO 'BEGIN END'\; SELECT pointstore.submit_event('submit-9', 'PointEarned');
CREATE TABLE submit_written (n bigint);
INSERT INTO submit_written VALUES (1);
INSERT INTO submit_written SELECT version FROM pointstore.submit_event('submit-10', 'PointEarned');
UPDATE submit_written SET n = n + 1 WHERE (SELECT version FROM pointstore.try_submit_event('submit-10', 'PointEarned')) > 0;
WITH gone AS (DELETE FROM submit_written RETURNING n) SELECT n, (pointstore.submit_event('submit-9', 'PointEarned')).version FROM gone;
DO $$ BEGIN INSERT INTO submit_written VALUES (2); PERFORM pointstore.submit_event('submit-9', 'PointEarned'); END $$;
DO $$ BEGIN PERFORM pointstore.submit_event('submit-9', 'PointEarned'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
DO $$ BEGIN PERFORM pointstore.append_event('submit-10', 'PointEarned'); PERFORM pointstore.submit_event('submit-9', 'PointEarned'); END $$;
BEGIN READ ONLY;
SELECT pointstore.submit_event('submit-9', 'PointEarned');
ROLLBACK;
SET default_transaction_read_only = on;
SELECT pointstore.try_submit_event('submit-9', 'PointEarned');
RESET default_transaction_read_only;
-- nor, however deep, in a statement that writes or locks rows
CREATE FUNCTION submit_nested() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT version FROM pointstore.submit_event('submit-9', 'PointEarned'));
END $$;
CREATE FUNCTION submit_fired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    FOR NEW.n IN SELECT submit_nested() LOOP END LOOP;
    RETURN NEW;
END $$;
SELECT submit_nested() FROM submit_written FOR UPDATE;
INSERT INTO submit_written SELECT submit_nested();
DELETE FROM submit_written WHERE n = submit_nested();
WITH gone AS (DELETE FROM submit_written WHERE n = -1 RETURNING n) SELECT submit_nested();
CREATE TABLE submit_copy AS SELECT submit_nested();
PREPARE submit_write AS INSERT INTO submit_written VALUES (submit_nested());
EXECUTE submit_write;
DEALLOCATE submit_write;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO submit_written SELECT submit_nested();
CREATE TRIGGER submit_row BEFORE INSERT OR UPDATE ON submit_written FOR EACH ROW EXECUTE FUNCTION submit_fired();
INSERT INTO submit_written VALUES (5);
UPDATE submit_written SET n = 6;
COPY submit_written FROM stdin;
7
\.
DROP TRIGGER submit_row ON submit_written;
CREATE TRIGGER submit_statement BEFORE INSERT ON submit_written FOR EACH STATEMENT EXECUTE FUNCTION submit_fired();
INSERT INTO submit_written VALUES (8);
DROP TRIGGER submit_statement ON submit_written;
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'submit-9';
SELECT * FROM submit_written;
-- in a SELECT, prepared or not, and in a procedure where it has written nothing since it has committed
SELECT submit_nested();
PREPARE submit_read AS SELECT submit_nested();
EXECUTE submit_read;
DEALLOCATE submit_read;
COPY (SELECT submit_nested()) TO stdout;
DO $$
BEGIN
    PERFORM submit_nested();
    INSERT INTO submit_written VALUES (9);
    COMMIT;
    PERFORM submit_nested();
END $$;
SELECT * FROM submit_written;
DROP FUNCTION submit_fired(), submit_nested();
-- but wherever nothing has been written, also several at once
SELECT (pointstore.submit_event('submit-11', 'PointEarned', 1)).version FROM generate_series(1, 3);
DO $$ BEGIN PERFORM pointstore.submit_event('submit-11', 'PointEarned', n) FROM generate_series(2, 3) n; END $$;
SELECT version, balance FROM pointstore.get_balance('submit-11');
SET default_transaction_isolation = serializable;
SELECT outcome, version FROM pointstore.submit_event('submit-11', 'PointEarned', 1);
RESET default_transaction_isolation;
SET synchronous_commit = off;
SELECT outcome, version FROM pointstore.submit_event('submit-11', 'PointEarned', 1);
RESET synchronous_commit;

-- what the user has put on the tables holds, and an error is the caller's alone
ALTER TABLE pointstore.event_store ADD CONSTRAINT submit_small CHECK (amount < 100000) NOT VALID;
SELECT pointstore.submit_event('submit-11', 'PointEarned', 100000);
SELECT outcome, version FROM pointstore.submit_event('submit-11', 'PointEarned', 99999);
ALTER TABLE pointstore.event_store DROP CONSTRAINT submit_small;
CREATE FUNCTION submit_raise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_type = 'Divided' THEN
        RAISE division_by_zero USING DETAIL = repeat('d', 10000), HINT = repeat('h', 10000);
    ELSIF NEW.event_type = 'Nested' THEN
        PERFORM pointstore.submit_event('submit-11', 'PointEarned', 1);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER submit_raise BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION submit_raise();
SELECT pointstore.submit_event('submit-11', 'Divided', 1);
SELECT pointstore.submit_event('submit-11', 'Nested', 1);
SELECT outcome, version FROM pointstore.submit_event('submit-11', 'PointEarned', 1);
DROP TRIGGER submit_raise ON pointstore.event_store;
CREATE CONSTRAINT TRIGGER submit_raise AFTER INSERT ON pointstore.event_store DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION submit_raise();
SELECT pointstore.submit_event('submit-11', 'Divided', 1);
SELECT outcome, version FROM pointstore.submit_event('submit-11', 'PointEarned', 1);
DROP TRIGGER submit_raise ON pointstore.event_store;
DROP FUNCTION submit_raise();

-- one whose trigger appends what it is about to write itself can never succeed: 27000
CREATE FUNCTION submit_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pointstore.append_event(CASE NEW.event_type WHEN 'Paid' THEN NEW.aggregate_id ELSE 'submit-30' END, 'Fee', 1, request_id => NEW.request_id);
    RETURN NEW;
END $$;
CREATE TRIGGER submit_fee BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type IN ('Paid', 'Twin')) EXECUTE FUNCTION submit_fee();
SET statement_timeout = '60s';
SELECT pointstore.submit_event('submit-5', 'Paid', 1);
SELECT pointstore.submit_event('submit-5', 'Twin', 1, request_id => 'submit-fee');
SELECT pointstore.submit_event('submit-11', 'Twin', 1, request_id => 'submit-fee');
SELECT outcome, version FROM pointstore.submit_event('submit-11', 'Twin', 1);
RESET statement_timeout;
DROP TRIGGER submit_fee ON pointstore.event_store;
DROP FUNCTION submit_fee();

-- damage is told as by append_event
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.balance WHERE aggregate_id = 'submit-2';
COMMIT;
SELECT pointstore.try_submit_event('submit-2', 'PointEarned', 1);
SELECT changed FROM pointstore.rebuild_balance('submit-2');
SELECT outcome, version FROM pointstore.submit_event('submit-2', 'PointEarned', 1);

-- transfers: both legs or none, linked, in the name of who called, once by their request
INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('submit-seat', 'seat', NULL);
SELECT count(pointstore.append_event('submit-6', 'PointEarned', 100));
SELECT outcome, aggregate_id, version, balance, available, id > 0 AS id FROM pointstore.submit_transfer('submit-6', 'submit-20', 30);
CREATE ROLE submit_writer;
SELECT pointstore.grant_access('submit_writer', 'writer');
SET ROLE submit_writer;
SELECT outcome, aggregate_id, version, balance, available
  FROM pointstore.submit_transfer('submit-6', 'submit-21', 5, 'submit-t1', 'Gift', '{"for": "you"}', '{"actor": "me"}');
RESET ROLE;
DROP OWNED BY submit_writer;
SELECT aggregate_id, action, by_role = 'submit_writer' AS by_writer FROM pointstore.account_log WHERE aggregate_id IN ('submit-20', 'submit-21') ORDER BY 1;
DROP ROLE submit_writer;
WITH event AS MATERIALIZED (SELECT * FROM pointstore.event_store)
SELECT e.aggregate_id, e.event_type, e.amount, e.balance_after, e.payload, e.metadata, e.request_id, e.leg, c.aggregate_id AS cause
  FROM event e LEFT JOIN event c ON c.id = e.cause_id
 WHERE e.event_type IN ('Transferred', 'Gift') AND e.aggregate_id LIKE 'submit-%' ORDER BY e.id;
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.submit_transfer('submit-6', 'submit-21', 5, 'submit-t1', 'Gift', '{"for": "you"}');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.transfer('submit-6', 'submit-21', 5, 'submit-t1', 'Gift', '{"for": "you"}');
SELECT outcome, aggregate_id FROM pointstore.transfer('submit-6', 'submit-21', 6, 'submit-t2');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_submit_transfer('submit-6', 'submit-21', 6, 'submit-t2');
SELECT pointstore.submit_transfer('submit-6', 'submit-21', 7, 'submit-t2');
SELECT pointstore.submit_transfer('submit-21', 'submit-6', 6, 'submit-t2');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_submit_transfer('submit-6', 'submit-20', 6, 'submit-t2');
SELECT outcome FROM pointstore.try_submit_event('submit-6', 'Transferred', -6, request_id => 'submit-t2');
-- refusals name the leg, with how its account stands, and nothing is left of them
SELECT pointstore.submit_transfer('submit-6', 'submit-new', 1000);
SELECT outcome, aggregate_id, version, balance, available, id, created_at FROM pointstore.try_submit_transfer('submit-6', 'submit-new', 1000);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-new', 'submit-6', 1);
SELECT pointstore.unfreeze_account('submit-3', 'why');
SELECT count(pointstore.append_event('submit-3', 'PointEarned', 1000));
SELECT count(pointstore.append_event('submit-11', 'PointEarned', 1000));
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-11', 'submit-3', 101);
SELECT pointstore.submit_transfer('submit-11', 'submit-3', 101);
SELECT pointstore.freeze_account('submit-3', 'why');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-11', 'submit-3', 1);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-3', 'submit-11', 1);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-11', 'submit-4', 1);
SELECT pointstore.open_account('submit-22', 'submit-seat');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-11', 'submit-22', 1);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_submit_transfer('submit-22', 'submit-new', 1);
SELECT pointstore.submit_transfer('submit-22', 'submit-new', 1);
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'submit-new';
-- whatever the unit is
INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('submit-long', repeat('u', 9000), NULL);
SELECT pointstore.open_account('submit-24', 'submit-long');
SELECT outcome, aggregate_id FROM pointstore.try_submit_transfer('submit-11', 'submit-24', 1);
SELECT pointstore.submit_transfer('submit-24', 'submit-11', 1);
-- between accounts of both modes
SELECT outcome, aggregate_id, version, balance FROM pointstore.submit_transfer('submit-5', 'submit-20', 10);
SELECT outcome, aggregate_id, version, balance FROM pointstore.submit_transfer('submit-20', 'submit-12', 10);
-- errors
SELECT pointstore.submit_transfer('submit-6', 'submit-6', 1);
SELECT pointstore.submit_transfer('submit-6', 'submit-20', 0);
SELECT pointstore.try_submit_transfer('submit-6', 'submit-20', -1);
SELECT pointstore.submit_transfer('submit-6', 'submit-20', NULL);
SELECT pointstore.submit_transfer(NULL, 'submit-20', 1);
SELECT pointstore.submit_transfer('submit-6', 'submit-20', 1, event_type => 'EventReversed');
SELECT pointstore.try_submit_transfer('submit-22', 'submit-20', 9223372036854775807);
SELECT count(pointstore.append_event('submit-22', 'Taken', -2)), pointstore.open_account('submit-23', 'submit-seat');
SELECT pointstore.try_submit_transfer('submit-22', 'submit-23', 9223372036854775807);
BEGIN;
SELECT pointstore.submit_transfer('submit-6', 'submit-20', 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.try_submit_transfer('submit-6', 'submit-20', 1);
ROLLBACK;
-- larger than what is handed over; the texts that the legs share count once
SELECT n, outcome, aggregate_id, version FROM unnest(ARRAY[5000, 7000, 10000]) n,
       pointstore.submit_transfer('submit-6', 'submit-20', 1, 'submit-both-' || n, payload => jsonb_build_object('text', repeat('x', n)));
SELECT version, length(payload ->> 'text') AS length FROM pointstore.event_store WHERE aggregate_id = 'submit-20' AND payload ? 'text' ORDER BY version;
-- one that fails is the caller's alone, and all of it
ALTER TABLE pointstore.event_store ADD CONSTRAINT submit_small CHECK (amount < 900) NOT VALID;
SELECT count(pointstore.append_event('submit-6', 'PointEarned', 899)), count(pointstore.append_event('submit-6', 'PointEarned', 899));
SELECT pointstore.submit_transfer('submit-6', 'submit-20', 900);
ALTER TABLE pointstore.event_store DROP CONSTRAINT submit_small;
-- it is taken back as any transfer
SELECT outcome, aggregate_id, version FROM pointstore.reverse_event('submit-21', 1);

SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id ~ '^submit-[0-9]' ORDER BY aggregate_id;
DROP TABLE submit_written;

-- a refusal tells the same as that of a plain append, whatever the session's settings
SET timezone = 'Asia/Seoul';
SET datestyle = 'SQL, DMY';
INSERT INTO pointstore.account_kind (kind, min_balance, max_balance, unit) VALUES ('submit-told', -50, 100, 'point');
SELECT count(pointstore.submit_event('submit-told1', 'Earned', 10, '{"a": 1}', request_id => 'submit-told', kind => 'submit-told', occurred_at => '2026-02-03 04:05:06'));
SELECT pointstore.open_account('submit-told2');
SELECT pointstore.freeze_account('submit-told2', 'test');
SELECT pointstore.append_event('submit-told1', 'Noted', expected_version => 7);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Noted', expected_version => 7);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Spent', -61);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Spent', -61);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Spent', -41, min_balance => -30);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Spent', -41, min_balance => -30);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Earned', 91);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Earned', 91);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Earned', 11, '{"a": 1}', request_id => 'submit-told');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Earned', 11, '{"a": 1}', request_id => 'submit-told');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Earned', 10, jsonb_build_object('a', repeat('x', 3000)), request_id => 'submit-told');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Earned', 10, jsonb_build_object('a', repeat('x', 3000)), request_id => 'submit-told');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Earned', 10, '{"a": 1}', request_id => 'submit-told', occurred_at => '2026-02-03 04:05:07');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Earned', 10, '{"a": 1}', request_id => 'submit-told', occurred_at => '2026-02-03 04:05:07');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told3', 'Earned', 10, '{"a": 1}', request_id => 'submit-told');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told3', 'Earned', 10, '{"a": 1}', request_id => 'submit-told');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told2', 'Earned');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told2', 'Earned');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Earned', 9223372036854775807);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Earned', 9223372036854775807);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.append_event('submit-told1', 'Noted', kind => 'default');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_event('submit-told1', 'Noted', kind => 'default');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.transfer('submit-told1', 'submit-told3', 1);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_transfer('submit-told1', 'submit-told3', 1);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.transfer('submit-told1', 'submit-told2', 1);
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_transfer('submit-told1', 'submit-told2', 1);
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
SELECT pointstore.transfer('submit-told1', 'submit-told4', 10, 'submit-told');
\set plain :LAST_ERROR_MESSAGE
SELECT pointstore.submit_transfer('submit-told1', 'submit-told4', 10, 'submit-told');
SELECT :'plain' = :'LAST_ERROR_MESSAGE' AS same;
RESET timezone;
RESET datestyle;
