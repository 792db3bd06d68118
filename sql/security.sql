-- Who may do what, and callers who would lead the functions astray.
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on
CREATE ROLE regress_pointstore_reader;
CREATE ROLE regress_pointstore_writer;
CREATE ROLE regress_pointstore_operator;
CREATE ROLE regress_pointstore_nobody;
SELECT pointstore.grant_access('regress_pointstore_reader', 'reader');
SELECT pointstore.grant_access('regress_pointstore_writer', 'writer');
SELECT pointstore.grant_access('regress_pointstore_operator', 'operator');
SELECT pointstore.grant_access('regress_pointstore_writer', 'writer');
SELECT pointstore.grant_access('regress_pointstore_writer', 'owner');
SELECT pointstore.grant_access('regress_pointstore_writer', NULL);
SELECT pointstore.grant_access(NULL, 'writer');

-- a writer appends by functions, and by nothing else
SET ROLE regress_pointstore_writer;
SELECT outcome, version, balance FROM pointstore.append_event('security-1', 'PointEarned', 100);
SELECT outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "security-1", "event_type": "PointSpent", "amount": -1}]');
SELECT balance FROM pointstore.get_balance('security-1');
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'security-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('security-1', 'Noted');
UPDATE pointstore.balance SET balance = 0, version = version + 1 WHERE aggregate_id = 'security-1';
INSERT INTO pointstore.balance (aggregate_id) VALUES ('security-2');
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('security-2', 'default');
INSERT INTO pointstore.account_kind (kind) VALUES ('security');
INSERT INTO pointstore.account_log (aggregate_id, action, by_role) VALUES ('security-1', 'open', 'me');
DELETE FROM pointstore.event_store;
TRUNCATE pointstore.event_store;
SELECT nextval('pointstore.event_store_id_seq');
SELECT setval('pointstore.event_store_id_seq', 1);
SELECT * FROM pointstore.event_store FOR UPDATE;
BEGIN;
LOCK TABLE pointstore.balance IN EXCLUSIVE MODE;
ROLLBACK;
CREATE TABLE pointstore.mine ();
CREATE TRIGGER mine AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
SELECT pointstore.freeze_account('security-1', 'test');
RESET ROLE;

-- whom the log names
SET ROLE regress_pointstore_operator;
SELECT pointstore.open_account('security-3');
SELECT pointstore.freeze_account('security-3', 'test');
RESET ROLE;
SELECT action, by_role FROM pointstore.account_log WHERE aggregate_id = 'security-3' ORDER BY id;

-- with the schema but nothing in it: PUBLIC may execute nothing
GRANT USAGE ON SCHEMA pointstore TO regress_pointstore_nobody;
SET ROLE regress_pointstore_nobody;
SELECT pointstore.append_event('security-1', 'PointEarned', 1);
SELECT pointstore.try_append_event('security-1', 'PointEarned', 1);
SELECT pointstore.append_events('[]');
SELECT * FROM pointstore.get_balance('security-1');
SELECT pointstore.balance_at('security-1', now());
SELECT * FROM pointstore.event_store;
SELECT * FROM pointstore.account;
SELECT pointstore.create_store();
SELECT pointstore.upgrade_store();
RESET ROLE;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'pointstore'::regnamespace AND has_function_privilege('regress_pointstore_nobody', oid, 'EXECUTE');

-- called by SECURITY DEFINER code of a writer
CREATE SCHEMA security;
GRANT USAGE, CREATE ON SCHEMA security TO regress_pointstore_writer, regress_pointstore_nobody;
SET ROLE regress_pointstore_writer;
CREATE FUNCTION security.earn(id text, amount bigint) RETURNS pointstore.receipt LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS 'SELECT pointstore.append_event(id, ''PointEarned'', amount)';
GRANT EXECUTE ON FUNCTION security.earn TO PUBLIC;
SET ROLE regress_pointstore_nobody;
SELECT outcome, version, balance FROM security.earn('security-1', 1);
SELECT pointstore.append_event('security-1', 'PointEarned', 1);
RESET ROLE;
-- afterwards the caller is who he was, also after an error
SET ROLE regress_pointstore_writer;
SELECT r.outcome, current_user, current_setting('search_path') = 'security' AS path
  FROM set_config('search_path', 'security', false), pointstore.append_event('security-1', 'PointEarned', 1) r;
SELECT pointstore.append_event('security-1', 'PointSpent', -1000000);
SELECT current_user, current_setting('search_path');
DO $$
BEGIN
    PERFORM pointstore.append_event('security-1', 'PointSpent', -1000000);
EXCEPTION WHEN others THEN NULL;
END$$;
SELECT current_user, current_setting('search_path');
RESET search_path;
RESET ROLE;

-- objects of a caller's own under the names that the functions use
SET ROLE regress_pointstore_writer;
CREATE TEMP TABLE event_store (LIKE pointstore.event_store);
CREATE TEMP TABLE balance (LIKE pointstore.balance);
CREATE TEMP TABLE account_kind (LIKE pointstore.account_kind);
CREATE TEMP TABLE account_log (LIKE pointstore.account_log);
CREATE TEMP TABLE pg_trigger (tgname name, tgrelid oid);
CREATE FUNCTION security.trap() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped as %', current_user USING ERRCODE = 'TRAP1'; END$$;
CREATE FUNCTION security.trap(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN true; END$$;
CREATE FUNCTION security.trap(a bigint, b bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN true; END$$;
CREATE FUNCTION security.trap(a integer, b integer) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN true; END$$;
CREATE FUNCTION security.trap(a oid, b oid) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN true; END$$;
CREATE FUNCTION security.trap(a name, b name) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN true; END$$;
CREATE FUNCTION security.trap(a timestamptz, b timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN true; END$$;
CREATE FUNCTION security.trap_text(a text, b text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN a; END$$;
CREATE FUNCTION security.trap_bigint(a bigint, b bigint) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN a; END$$;
CREATE FUNCTION security.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN NULL; END$$;
CREATE FUNCTION security.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN NULL; END$$;
CREATE FUNCTION security.to_regclass(a text) RETURNS regclass LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN NULL; END$$;
CREATE FUNCTION security.jsonb_build_object(VARIADIC a text[]) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN NULL; END$$;
CREATE FUNCTION security.count(a text) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN PERFORM security.trap(); RETURN 0; END$$;
DO $$
DECLARE t pg_catalog.text; o pg_catalog.text;
BEGIN
    FOREACH o IN ARRAY ARRAY['=', '<>', '<', '<=', '>', '>='] LOOP
        FOREACH t IN ARRAY ARRAY['pg_catalog.text', 'bigint', 'integer', 'oid', 'name', 'timestamptz'] LOOP
            EXECUTE format('CREATE OPERATOR security.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = security.trap)', o, t);
        END LOOP;
    END LOOP;
    CREATE OPERATOR security.|| (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = security.trap_text);
    CREATE OPERATOR security.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = security.trap_bigint);
    CREATE OPERATOR security.- (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = security.trap_bigint);
END$$;
CREATE TYPE pg_temp.text AS ENUM ('trap');
CREATE TYPE pg_temp.receipt AS (trap int);
SET search_path = pg_temp, security, pg_catalog, pointstore;
-- the trap works
SELECT 1::bigint = 1::bigint;
-- and nobody steps into it
SELECT outcome, version, balance FROM append_event('security-4', 'PointEarned', 100, request_id => 'security-r1');
SELECT outcome, version, balance FROM append_event('security-4', 'PointEarned', 100, request_id => 'security-r1');
SELECT outcome, version, balance FROM try_append_event('security-4', 'PointSpent', -1000);
SELECT outcome, aggregate_id, version, balance FROM append_events('[
    {"aggregate_id": "security-5", "event_type": "Moved", "amount": 7}, {"aggregate_id": "security-4", "event_type": "Moved", "amount": -7}]', 'security-r2', true);
SELECT open_account('security-6');
SELECT version, balance FROM get_balance('security-4');
SELECT balance_at('security-4', 'infinity'), balance_as_of('security-4', 1);
SELECT pg_catalog.count(*) FROM pg_temp.event_store;
RESET search_path;
RESET ROLE;
-- as an operator, in a session that has no plan kept yet for these
DISCARD PLANS;
SET ROLE regress_pointstore_writer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA security TO regress_pointstore_operator;
RESET ROLE;
GRANT USAGE ON SCHEMA security TO regress_pointstore_operator;
SET search_path = pg_temp, security, pg_catalog, pointstore;
SET ROLE regress_pointstore_operator;
SELECT freeze_account('security-4', 'test');
SELECT unfreeze_account('security-4', 'test');
SELECT set_kind('security-4', 'default');
SELECT close_account('security-6');
SELECT aggregate_id, new_version, new_balance, changed FROM rebuild_balance('security-4');
RESET ROLE;
RESET search_path;
-- a superuser with such a path
SET search_path = pg_temp, security, pg_catalog, pointstore;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('security-4', 'PointEarned', 1);
BEGIN;
UPDATE pointstore.balance SET balance = 100, version = 4 WHERE aggregate_id OPERATOR(pg_catalog.=) 'security-4';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('security-4', 'PointEarned');
COMMIT;
SELECT upgrade_store();
SELECT pointstore.create_store();
SELECT grant_access('regress_pointstore_reader', 'reader');
SET client_min_messages = warning;
CALL rebuild_balances();
RESET client_min_messages;
RESET search_path;
DISCARD TEMP;
SELECT version, balance FROM pointstore.get_balance('security-4');
SELECT action FROM pointstore.account_log WHERE aggregate_id = 'security-4' ORDER BY id;

-- a trigger of the user's runs as the tables' owner, under a path that the caller does not choose, and may not change who it is
CREATE TABLE security.ran (as_role name, path text);
CREATE FUNCTION security.trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO security.ran VALUES (current_user, current_setting('search_path'));
    IF NEW.event_type = 'SetRole' THEN
        SET ROLE regress_pointstore_writer;
    ELSIF NEW.event_type = 'SetAuthorization' THEN
        SET SESSION AUTHORIZATION regress_pointstore_writer;
    ELSIF NEW.event_type = 'ResetRole' THEN
        RESET ROLE;
    ELSIF NEW.event_type = 'Unqualified' THEN
        INSERT INTO ran VALUES ('astray', '');
    END IF;
    RETURN NULL;
END$$;
CREATE TRIGGER security AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION security.trigger();
SET ROLE regress_pointstore_writer;
SET search_path = security;
SELECT outcome FROM pointstore.append_event('security-7', 'Noted');
SELECT outcome FROM pointstore.append_event('security-7', 'SetRole');
SELECT outcome FROM pointstore.append_event('security-7', 'SetAuthorization');
SELECT outcome FROM pointstore.append_event('security-7', 'ResetRole');
SELECT outcome FROM pointstore.append_event('security-7', 'Unqualified');
SELECT current_user, current_setting('search_path');
RESET search_path;
RESET ROLE;
SELECT as_role = (SELECT relowner::regrole::name FROM pg_class WHERE oid = 'pointstore.event_store'::regclass) AS as_owner, path FROM security.ran;
SELECT version FROM pointstore.get_balance('security-7');
DROP FUNCTION security.trigger() CASCADE;

-- a store owned by an ordinary role, row level security in force
BEGIN;
SET LOCAL client_min_messages = warning;
DROP SCHEMA pointstore CASCADE;
CREATE ROLE regress_pointstore_owner;
CREATE EXTENSION pointstore;
SELECT pointstore.create_store('regress_pointstore_owner');
SELECT pointstore.grant_access('regress_pointstore_writer', 'writer');
SELECT pointstore.grant_access('regress_pointstore_operator', 'operator');
SELECT relname, relowner::regrole FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v', 'S') ORDER BY relname COLLATE "C";
SET LOCAL ROLE regress_pointstore_owner;
SELECT outcome, version FROM pointstore.append_event('owner-1', 'PointEarned', 100);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('owner-1', 'PointEarned', 1);
UPDATE pointstore.balance SET balance = 100, version = 3 WHERE aggregate_id = 'owner-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('owner-1', 'PointSpent');
UPDATE pointstore.event_store SET amount = 0;
TRUNCATE pointstore.event_store;
DELETE FROM pointstore.balance;
SET LOCAL session_replication_role = replica;
INSERT INTO pointstore.account_kind (kind) VALUES ('owner-kind');
SELECT version, balance FROM pointstore.account WHERE aggregate_id = 'owner-1';
SELECT new_balance, changed FROM pointstore.rebuild_balance('owner-1');
SELECT pointstore.create_store();
SELECT pointstore.upgrade_store();
SELECT pointstore.grant_access('regress_pointstore_nobody', 'reader');
-- forced on its own owner
ALTER TABLE pointstore.event_store ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE pointstore.balance ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE pointstore.pure_account ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE pointstore.account_kind ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE pointstore.account_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM pointstore.event_store;
SELECT outcome, version, balance FROM pointstore.append_event('owner-1', 'PointEarned', 1);
SET LOCAL ROLE regress_pointstore_writer;
SELECT count(*) FROM pointstore.event_store;
SELECT outcome, version, balance FROM pointstore.append_event('owner-1', 'PointEarned', 1, request_id => 'owner-r1');
SELECT outcome, version, balance FROM pointstore.append_event('owner-1', 'PointEarned', 1, request_id => 'owner-r1');
SELECT outcome, version, balance FROM pointstore.append_event('owner-2', 'PointEarned', 1);
SELECT outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "owner-1", "event_type": "Noted"}, {"aggregate_id": "owner-3", "event_type": "Noted"}]');
SELECT version, balance FROM pointstore.get_balance('owner-1');
SELECT pointstore.balance_at('owner-1', 'infinity'), pointstore.balance_as_of('owner-1', 1);
SET LOCAL ROLE regress_pointstore_operator;
SELECT pointstore.freeze_account('owner-1', 'test'), pointstore.unfreeze_account('owner-1', 'test');
SELECT pointstore.set_kind('owner-2', 'owner-kind');
SELECT new_version, new_balance, changed FROM pointstore.rebuild_balance('owner-1');
RESET ROLE;
SELECT aggregate_id, kind, version, balance FROM pointstore.balance ORDER BY 1;
SELECT aggregate_id, action, by_role FROM pointstore.account_log ORDER BY id;
ROLLBACK;
SELECT balance FROM pointstore.get_balance('security-1');

SET client_min_messages = warning;
DROP SCHEMA security CASCADE;
DROP OWNED BY regress_pointstore_reader, regress_pointstore_writer, regress_pointstore_operator, regress_pointstore_nobody;
DROP ROLE regress_pointstore_reader, regress_pointstore_writer, regress_pointstore_operator, regress_pointstore_nobody;
