-- Leases: acquired, renewed, checked, released, stolen; tokens that only grow; accounts that ask for theirs.
\set VERBOSITY sqlstate
SET client_min_messages = error;
-- the token of a lease
CREATE FUNCTION token_of(name text) RETURNS bigint LANGUAGE sql AS 'SELECT l.token FROM pointstore.lease l WHERE l.name = $1';
CREATE VIEW lease_row AS
SELECT name, holder, token >= extract(epoch FROM acquired_at) * 1000000 AS by_clock, expires_at > clock_timestamp() AS lasts, expires_at - acquired_at AS ttl
  FROM pointstore.lease WHERE name LIKE 'lease-%';

-- once
SELECT acquired, token = token_of('lease-1') AS token, holder, expires_at - clock_timestamp() BETWEEN '29 s' AND '30 s' AS in_30_s
  FROM pointstore.acquire_lease('lease-1', 'me');
SELECT acquired, token, holder, expires_at > clock_timestamp() AS lasts FROM pointstore.acquire_lease('lease-1', 'you');
-- not even by the same holder
SELECT acquired, token, holder FROM pointstore.acquire_lease('lease-1', 'me');
SELECT * FROM lease_row;
SELECT pointstore.check_lease('lease-1', token_of('lease-1'));
SELECT pointstore.renew_lease('lease-1', token_of('lease-1'), '1 hour') - clock_timestamp() > '59 min' AS in_1_h;
SELECT pointstore.renew_lease('lease-1', token_of('lease-1'), '10 min') - clock_timestamp() < '11 min' AS in_10_min;

-- what is not the lease's
SELECT pointstore.check_lease('lease-1', token_of('lease-1') - 1);
SELECT pointstore.check_lease('lease-1', token_of('lease-1') + 1);
SELECT pointstore.renew_lease('lease-1', 17);
SELECT pointstore.release_lease('lease-1', 17);
SELECT pointstore.check_lease('lease-none', 17);
SELECT pointstore.renew_lease('lease-none', 17);
SELECT pointstore.release_lease('lease-none', 17);

-- released, once; the row says the last token
SELECT token_of('lease-1') AS first \gset
SELECT pointstore.release_lease('lease-1', :first);
SELECT pointstore.release_lease('lease-1', :first);
SELECT pointstore.check_lease('lease-1', :first);
SELECT pointstore.renew_lease('lease-1', :first);
SELECT holder, token = :first AS token, expires_at <= clock_timestamp() AS ended FROM pointstore.lease WHERE name = 'lease-1';
SELECT acquired, token > :first AS grows FROM pointstore.acquire_lease('lease-1', 'you');

-- expired: by the clock, at the instant
SELECT acquired FROM pointstore.acquire_lease('lease-2', 'me', '50 ms');
SELECT pg_sleep(extract(epoch FROM expires_at - clock_timestamp()) + 0.001) FROM pointstore.lease WHERE name = 'lease-2';
SELECT token_of('lease-2') AS first \gset
SELECT pointstore.check_lease('lease-2', :first);
SELECT pointstore.renew_lease('lease-2', :first);
SELECT pointstore.release_lease('lease-2', :first);
SELECT acquired, token > :first AS grows, holder FROM pointstore.acquire_lease('lease-2', 'you');

-- tokens do not fall: where the row is ahead of the clock, where the acquisition was rolled back, where the row is gone
UPDATE pointstore.lease SET token = token + 3600000000, expires_at = clock_timestamp() WHERE name = 'lease-2';
SELECT token_of('lease-2') AS first \gset
SELECT acquired, token = :first + 1 AS next FROM pointstore.acquire_lease('lease-2', 'me');
BEGIN;
SELECT token AS first FROM pointstore.acquire_lease('lease-3', 'me') \gset
ROLLBACK;
SELECT token > :first AS grows FROM pointstore.acquire_lease('lease-3', 'me');
SELECT token_of('lease-3') AS first \gset
DELETE FROM pointstore.lease WHERE name = 'lease-3';
SELECT token > :first AS grows FROM pointstore.acquire_lease('lease-3', 'me');
BEGIN;
SAVEPOINT s;
SELECT acquired FROM pointstore.acquire_lease('lease-4', 'me');
ROLLBACK TO s;
SELECT acquired FROM pointstore.acquire_lease('lease-4', 'you');
SELECT pointstore.release_lease('lease-4', token_of('lease-4'));
SELECT acquired FROM pointstore.acquire_lease('lease-4', 'you');
COMMIT;
SELECT holder FROM pointstore.lease WHERE name = 'lease-4';

-- stolen
SELECT token_of('lease-1') AS first \gset
SELECT acquired, token > :first AS grows, holder FROM pointstore.steal_lease('lease-1', 'thief', '1 min');
SELECT pointstore.check_lease('lease-1', :first);
SELECT pointstore.release_lease('lease-1', :first);
SELECT pointstore.check_lease('lease-1', token_of('lease-1'));
SELECT acquired FROM pointstore.steal_lease('lease-free', 'thief');

-- a lease that is held is not waited for longer than said; one that ends, until then
CALL pointstore.wait_for_lease('lease-1', 'me', '10 s', '10 ms');
SELECT acquired FROM pointstore.steal_lease('lease-1', 'thief', '100 ms');
DO $$
DECLARE
    token bigint;
    until timestamptz;
BEGIN
    CALL pointstore.wait_for_lease('lease-1', 'me', '10 s', '1 min', token, until);
    RAISE invalid_parameter_value USING MESSAGE = 'it does not wait in a block';
EXCEPTION WHEN active_sql_transaction THEN
    NULL;
END
$$;
CREATE PROCEDURE take(name text, ttl interval, wait interval, INOUT taken boolean = NULL) LANGUAGE plpgsql AS $$
DECLARE
    t bigint;
    e timestamptz;
BEGIN
    CALL pointstore.wait_for_lease(name, 'me', ttl, wait, t, e);
    taken := t = token_of(name) AND (e - clock_timestamp() > ttl - interval '1 s' OR ttl IS NULL);
END
$$;
CALL take('lease-1', '10 s', '1 min');
CALL take('lease-5', '10 min', '0');
CALL take('lease-5', '10 min', '0');
BEGIN;
CALL pointstore.wait_for_lease('lease-6', 'me', '10 s', '0');
ROLLBACK;

-- as long as the session: its lock is that of the token
CREATE VIEW session_lock AS
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 15 AND pid = pg_backend_pid();
SELECT acquired, expires_at FROM pointstore.acquire_lease('lease-7', 'me', NULL);
SELECT acquired, holder, expires_at FROM pointstore.acquire_lease('lease-7', 'you', NULL);
SELECT pointstore.check_lease('lease-7', token_of('lease-7'));
BEGIN;
SELECT pointstore.release_lease('lease-7', token_of('lease-7'));
ROLLBACK;
SELECT pointstore.check_lease('lease-7', token_of('lease-7'));
BEGIN;
SAVEPOINT s;
SELECT pointstore.release_lease('lease-7', token_of('lease-7'));
ROLLBACK TO s;
SAVEPOINT s;
SELECT acquired FROM pointstore.acquire_lease('lease-8', 'me', NULL);
RELEASE s;
SELECT * FROM session_lock;
ROLLBACK;
SELECT * FROM session_lock;
BEGIN;
SAVEPOINT s;
SELECT acquired FROM pointstore.acquire_lease('lease-8', 'me', NULL);
ROLLBACK TO s;
SELECT * FROM session_lock;
COMMIT;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), NULL);
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), '1 min') > clock_timestamp() AS lasts;
SELECT * FROM session_lock;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), NULL);
SELECT * FROM session_lock;
-- given a time twice, once in a savepoint that is taken back: it is not the session's
BEGIN;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), '1 min') > clock_timestamp() AS lasts;
SAVEPOINT s;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), '2 min') > clock_timestamp() AS lasts;
ROLLBACK TO s;
COMMIT;
SELECT * FROM session_lock;
-- it is, then not, then is again, whatever is taken back of that
BEGIN;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), NULL);
SAVEPOINT s;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), '1 min') > clock_timestamp() AS lasts;
SAVEPOINT t;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), NULL);
ROLLBACK TO t;
RELEASE s;
SAVEPOINT s;
SELECT pointstore.renew_lease('lease-7', token_of('lease-7'), NULL);
RELEASE s;
COMMIT;
SELECT pointstore.check_lease('lease-7', token_of('lease-7'));
SELECT * FROM session_lock;
-- its own, taken by force
SELECT acquired FROM pointstore.steal_lease('lease-7', 'me', NULL);
SELECT * FROM session_lock;
SELECT pointstore.release_lease('lease-7', token_of('lease-7'));
SELECT * FROM session_lock;
CALL take('lease-7', NULL, '0');
BEGIN;
SELECT acquired FROM pointstore.acquire_lease('lease-8', 'me', NULL);
PREPARE TRANSACTION 'lease';
SELECT * FROM session_lock;
-- the session has given up its locks
SELECT pg_advisory_unlock_all();
SELECT pointstore.check_lease('lease-7', token_of('lease-7'));
SELECT acquired FROM pointstore.acquire_lease('lease-7', 'you');

-- a kind that asks for it
INSERT INTO pointstore.account_kind (kind, lease_required) VALUES ('lease-hybrid', true);
INSERT INTO pointstore.account_kind (kind, mode, lease_required) VALUES ('lease-pure', 'pure', true);
SELECT outcome, version FROM pointstore.try_append_event('lease-a', 'E', 1, kind => 'lease-hybrid');
SELECT token AS a FROM pointstore.acquire_lease('account:lease-a', 'me') \gset
SELECT outcome, version FROM pointstore.append_event('lease-a', 'E', 100, kind => 'lease-hybrid', request_id => 'lease-r', lease_token => :a);
SELECT outcome, version, balance FROM pointstore.try_append_event('lease-a', 'E', 1, lease_token => 17);
SELECT pointstore.append_event('lease-a', 'E', 1);
-- what was applied is replayed, also without
SELECT outcome, version FROM pointstore.append_event('lease-a', 'E', 100, request_id => 'lease-r');
-- after the status, before the version
SELECT outcome FROM pointstore.try_append_event('lease-a', 'E', 1, expected_version => 7);
SELECT outcome FROM pointstore.try_append_event('lease-a', 'E', 1, expected_version => 7, lease_token => :a);
SELECT pointstore.freeze_account('lease-a', 'why');
SELECT outcome FROM pointstore.try_append_event('lease-a', 'E', 1);
SELECT pointstore.unfreeze_account('lease-a', 'why');
-- the setting, a list; the argument goes before it
SET pointstore.lease_token = 'x';
SET pointstore.lease_token = '1,';
SET pointstore.lease_token = '1 2';
SELECT set_config('pointstore.lease_token', '17, ' || :a, false) IS NOT NULL AS set;
SELECT outcome FROM pointstore.append_event('lease-a', 'E', 1);
SELECT outcome FROM pointstore.try_append_event('lease-a', 'E', 1, lease_token => 17);
SELECT outcome FROM pointstore.submit_event('lease-a', 'E', 1);
SELECT outcome FROM pointstore.try_submit_event('lease-a', 'E', 1, lease_token => 17);
SELECT outcome, version FROM pointstore.append_events('[{"aggregate_id": "lease-a", "event_type": "E"}, {"aggregate_id": "lease-a", "event_type": "E"}]');
SELECT outcome, version FROM pointstore.try_append_events('[{"aggregate_id": "lease-a", "event_type": "E"}, {"aggregate_id": "lease-a", "event_type": "E", "lease_token": 17}]');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-a', 'E', 1), ('lease-a', 'E', 1);
COPY pointstore.event_store (aggregate_id, event_type, amount) FROM stdin;
lease-a	E	1
\.
BEGIN;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'lease-a';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('lease-a', 'E');
COMMIT;
SELECT version, balance FROM pointstore.get_balance('lease-a');
SELECT outcome FROM pointstore.hold('lease-a', 5, 'lease-h');
SELECT outcome FROM pointstore.confirm_hold('lease-h');
-- likewise where who writes moves the balance, before the event or after it
SET pointstore.balance_writer = 'caller';
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-a', 'E', 1);
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'lease-a';
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'lease-a';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-a', 'E', -1);
ROLLBACK;
RESET pointstore.lease_token;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-a', 'E', 1);
BEGIN;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'lease-a';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-a', 'E', -1);
ROLLBACK;
RESET pointstore.balance_writer;
SELECT outcome FROM pointstore.try_submit_event('lease-a', 'E', 1);
SELECT outcome FROM pointstore.submit_event('lease-a', 'E', 1, lease_token => :a);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-a', 'E', 1);
COPY pointstore.event_store (aggregate_id, event_type, amount) FROM stdin;
lease-a	E	1
\.
BEGIN;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'lease-a';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('lease-a', 'E');
ROLLBACK;
SELECT outcome, version FROM pointstore.append_events(format('[{"aggregate_id": "lease-a", "event_type": "E", "lease_token": "%s"}]', :a)::jsonb);
SELECT outcome FROM pointstore.try_hold('lease-a', 5, 'lease-h2');
SELECT outcome FROM pointstore.hold('lease-a', 5, 'lease-h2', lease_token => :a);
SELECT outcome FROM pointstore.try_cancel_hold('lease-h2');
SELECT outcome FROM pointstore.try_reverse_event('lease-a', 1);
-- no lease for what the clock does
SELECT outcome FROM pointstore.hold('lease-a', 5, 'lease-h3', '1 ms', lease_token => :a);
SELECT pg_sleep(extract(epoch FROM expires_at - clock_timestamp()) + 0.001) FROM pointstore.hold WHERE hold_id = 'lease-h3';
-- nor does what the user does to leases keep the sweep from holds
INSERT INTO pointstore.lease VALUES ('lease-undeleted', NULL, 5, now() - interval '3 d', now() - interval '25 h');
CREATE FUNCTION lease_undeleted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END';
CREATE TRIGGER t BEFORE DELETE ON pointstore.lease FOR EACH ROW EXECUTE FUNCTION lease_undeleted();
CALL pointstore.sweep_holds();
SELECT status FROM pointstore.hold WHERE hold_id = 'lease-h3';
DROP TRIGGER t ON pointstore.lease;
DROP FUNCTION lease_undeleted();

-- transfers: the argument is that of the account which asks; two of them by the setting
SELECT outcome FROM pointstore.append_event('lease-n', 'E', 50);
SELECT aggregate_id, outcome FROM pointstore.try_transfer('lease-n', 'lease-a', 1);
SELECT aggregate_id, outcome FROM pointstore.transfer('lease-n', 'lease-a', 1, lease_token => :a);
SELECT aggregate_id, outcome FROM pointstore.transfer('lease-a', 'lease-n', 1, lease_token => :a);
SELECT aggregate_id, outcome FROM pointstore.submit_transfer('lease-a', 'lease-n', 1, lease_token => :a);
SELECT token AS b FROM pointstore.acquire_lease('account:lease-b', 'me') \gset
SELECT outcome FROM pointstore.append_event('lease-b', 'E', 50, kind => 'lease-hybrid', lease_token => :b);
SELECT aggregate_id, outcome FROM pointstore.try_transfer('lease-a', 'lease-b', 1, lease_token => :a);
SELECT aggregate_id, outcome FROM pointstore.try_submit_transfer('lease-a', 'lease-b', 1, lease_token => :a);
SELECT set_config('pointstore.lease_token', :a || ',' || :b, false) IS NOT NULL AS set;
SELECT aggregate_id, outcome FROM pointstore.transfer('lease-a', 'lease-b', 1);
SELECT aggregate_id, outcome FROM pointstore.submit_transfer('lease-a', 'lease-b', 1);
RESET pointstore.lease_token;

-- a token that is given is looked at, whatever the kind
SELECT outcome FROM pointstore.try_append_event('lease-n', 'E', 1, lease_token => :a);
SELECT token AS n FROM pointstore.acquire_lease('account:lease-n', 'me') \gset
SELECT outcome FROM pointstore.append_event('lease-n', 'E', 1, lease_token => :n);
SELECT outcome FROM pointstore.append_event('lease-n', 'E', 1);

-- pure accounts
SELECT outcome FROM pointstore.try_append_event('lease-p', 'E', 1, kind => 'lease-pure');
SELECT token AS p FROM pointstore.acquire_lease('account:lease-p', 'me', '10 min') \gset
SELECT outcome, version FROM pointstore.append_event('lease-p', 'E', 1, kind => 'lease-pure', lease_token => :p);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('lease-p', 'E', 1);
SELECT outcome, version FROM pointstore.append_event('lease-p', 'E', 1, lease_token => :p);

-- the lease is lost
SELECT token AS taken FROM pointstore.steal_lease('account:lease-a', 'thief', '10 min') \gset
SELECT outcome FROM pointstore.try_append_event('lease-a', 'E', 1, lease_token => :a);
SELECT outcome FROM pointstore.append_event('lease-a', 'E', 1, lease_token => :taken);
SELECT pointstore.renew_lease('account:lease-a', :taken, '1 ms') > clock_timestamp() - interval '1 min' AS ends;
SELECT pg_sleep(extract(epoch FROM expires_at - clock_timestamp()) + 0.001) FROM pointstore.lease WHERE name = 'account:lease-a';
SELECT outcome FROM pointstore.try_append_event('lease-a', 'E', 1, lease_token => :taken);
SELECT count(*) FROM pointstore.reconcile_account('lease-a');
-- what programs read of it
DO $$
DECLARE
    detail text;
BEGIN
    PERFORM pointstore.append_event('lease-p', 'E', 1, lease_token => 17);
EXCEPTION WHEN SQLSTATE 'PS014' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    IF detail <> format('aggregate_id=lease-p, requested=17, token=%s', token_of('account:lease-p')) THEN
        RAISE EXCEPTION '%', detail;
    END IF;
END
$$;
DO $$
DECLARE
    detail text;
BEGIN
    PERFORM pointstore.check_lease('lease-5', 17);
EXCEPTION WHEN SQLSTATE 'PS014' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    IF detail <> format('lease=lease-5, requested=17, token=%s', token_of('lease-5')) THEN
        RAISE EXCEPTION '%', detail;
    END IF;
END
$$;

-- the row as it was altered: nothing crashes, and nobody has what is not there
UPDATE pointstore.lease SET holder = NULL WHERE name = 'lease-3';
SELECT pointstore.check_lease('lease-3', token_of('lease-3'));
UPDATE pointstore.lease SET holder = 'me', expires_at = 'infinity' WHERE name = 'lease-3';
SELECT pointstore.check_lease('lease-3', token_of('lease-3'));
UPDATE pointstore.lease SET expires_at = NULL, acquired_at = NULL WHERE name = 'lease-3';
SELECT pointstore.check_lease('lease-3', token_of('lease-3'));
UPDATE pointstore.lease SET token = 9223372036854775807 WHERE name = 'lease-3';
SELECT acquired FROM pointstore.acquire_lease('lease-3', 'me');
SELECT token < 9000000000000000000 AS sound FROM pointstore.acquire_lease('lease-9', 'me');

-- what ended more than a day ago is swept, a session's only when that is gone
INSERT INTO pointstore.lease VALUES
    ('lease-old', NULL, 5, now() - interval '3 d', now() - interval '25 h'), ('lease-old-held', 'me', 6, now() - interval '3 d', now() - interval '25 h'),
    ('lease-old-session', 'me', 7, now() - interval '3 d', NULL), ('lease-recent', 'me', 8, now() - interval '3 d', now() - interval '23 h'),
    ('lease-ahead', 'me', 9000000000000000000, now() - interval '3 d', now() - interval '25 h');
SELECT acquired FROM pointstore.acquire_lease('lease-of-session', 'me', NULL);
UPDATE pointstore.lease SET acquired_at = now() - interval '3 d' WHERE name = 'lease-of-session';
CALL pointstore.sweep_holds();
SELECT name FROM pointstore.lease WHERE name IN ('lease-old', 'lease-old-held', 'lease-old-session', 'lease-recent', 'lease-ahead', 'lease-of-session') ORDER BY 1;
-- however many there are
INSERT INTO pointstore.lease SELECT 'lease-old' || i, NULL, 5, now() - interval '3 d', now() - interval '25 h' FROM generate_series(1, 20000) i;
SELECT pg_relation_size('pointstore.lease') / current_setting('block_size')::integer > 256 AS many_pages;
CALL pointstore.sweep_holds();
SELECT count(*) FROM pointstore.lease WHERE name LIKE 'lease-old%';

-- arguments
SELECT pointstore.acquire_lease(NULL, 'me');
SELECT pointstore.acquire_lease('', 'me');
SELECT pointstore.acquire_lease(repeat('x', 521), 'me');
SELECT acquired FROM pointstore.acquire_lease('account:' || repeat('x', 512), 'me');
SELECT pointstore.acquire_lease('lease-x', NULL);
SELECT pointstore.acquire_lease('lease-x', '');
SELECT pointstore.acquire_lease('lease-x', 'me', '0');
SELECT pointstore.acquire_lease('lease-x', 'me', '-1 s');
SELECT pointstore.steal_lease('lease-x', 'me', '-1 s');
SELECT pointstore.renew_lease('lease-x', NULL);
SELECT pointstore.renew_lease('lease-x', 1, '-1 s');
SELECT pointstore.release_lease(NULL, 1);
SELECT pointstore.check_lease('lease-x', NULL);
CALL pointstore.wait_for_lease('lease-x', 'me', '10 s', NULL);
CALL pointstore.wait_for_lease('lease-x', 'me', '-10 s', '0');
BEGIN READ ONLY;
SELECT pointstore.acquire_lease('lease-x', 'me');
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.check_lease('lease-1', 1);
ROLLBACK;

-- rights: readers see, writers acquire, operators steal
CREATE ROLE lease_reader;
CREATE ROLE lease_writer;
CREATE ROLE lease_operator;
SELECT pointstore.grant_access('lease_reader', 'reader');
SELECT pointstore.grant_access('lease_writer', 'writer');
SELECT pointstore.grant_access('lease_operator', 'operator');
SET ROLE lease_reader;
SELECT count(*) > 0 AS sees FROM pointstore.lease;
SELECT pointstore.acquire_lease('lease-y', 'me');
CALL pointstore.wait_for_lease('lease-y', 'me', '10 s', '0');
SET ROLE lease_writer;
SELECT acquired FROM pointstore.acquire_lease('lease-y', 'me');
SELECT pointstore.check_lease('lease-y', token) FROM pointstore.lease WHERE name = 'lease-y';
SELECT pointstore.steal_lease('lease-y', 'me');
DELETE FROM pointstore.lease;
SELECT pointstore.release_lease('lease-y', token) FROM pointstore.lease WHERE name = 'lease-y';
CALL pointstore.wait_for_lease('lease-z', 'me', NULL, '0') \gset
SELECT :token > 0 AS token;
SET ROLE lease_operator;
SELECT acquired FROM pointstore.steal_lease('lease-z', 'op');
RESET ROLE;

-- triggers on the table run as its owner, and may not change what the functions write
CREATE FUNCTION lease_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.name = 'lease-refused' THEN
        RAISE check_violation;
    ELSIF new.name = 'lease-changed' THEN
        new.token := 5;
    ELSIF new.name = 'lease-kept' THEN
        RETURN NULL;
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON pointstore.lease FOR EACH ROW EXECUTE FUNCTION lease_trigger();
SELECT pointstore.acquire_lease('lease-refused', 'me');
SELECT pointstore.acquire_lease('lease-changed', 'me');
SELECT pointstore.acquire_lease('lease-kept', 'me');
SELECT acquired FROM pointstore.acquire_lease('lease-passed', 'me');
SELECT pointstore.renew_lease('lease-passed', token_of('lease-passed')) > clock_timestamp() AS lasts;
DROP TRIGGER t ON pointstore.lease;

-- what runs for others does not hold leases of the session
CREATE MATERIALIZED VIEW lease_of_session AS SELECT acquired FROM pointstore.acquire_lease('lease-v', 'me', NULL);
CREATE MATERIALIZED VIEW lease_timed AS SELECT acquired FROM pointstore.acquire_lease('lease-v', 'me');
SELECT * FROM lease_timed;
DROP MATERIALIZED VIEW lease_timed;

-- columns, checks and indexes of the user's, without a trigger
ALTER TABLE pointstore.lease ADD COLUMN note text NOT NULL DEFAULT 'none', ADD COLUMN size integer GENERATED ALWAYS AS (length(name)) STORED,
    ADD CONSTRAINT lease_short CHECK (holder <> 'long');
CREATE INDEX lease_upper ON pointstore.lease (upper(name));
SELECT acquired FROM pointstore.acquire_lease('lease-with', 'me');
SELECT pointstore.renew_lease('lease-with', token_of('lease-with')) > clock_timestamp() AS lasts;
SELECT pointstore.acquire_lease('lease-without', 'long');
SELECT pointstore.release_lease('lease-with', token_of('lease-with'));
SELECT note, size FROM pointstore.lease WHERE name = 'lease-with';
DROP INDEX pointstore.lease_upper;
ALTER TABLE pointstore.lease DROP CONSTRAINT lease_short, DROP COLUMN note, DROP COLUMN size;

DROP OWNED BY lease_reader, lease_writer, lease_operator;
DROP ROLE lease_reader, lease_writer, lease_operator;
DROP FUNCTION lease_trigger();
DROP PROCEDURE take(text, interval, interval, boolean);
DROP VIEW session_lock, lease_row;
DROP FUNCTION token_of(text);
