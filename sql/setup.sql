-- Before there is a store, and creating it. The other tests build on this one.
\set VERBOSITY sqlstate
CREATE EXTENSION pointstore;

-- the extension brings functions and types, but no table, view or sequence
SELECT count(*) FROM pg_class
 WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S');

-- without a store every function says so
SELECT pointstore.append_event('setup-1', 'PointEarned', 100);
SELECT pointstore.try_append_event('setup-1', 'PointEarned', 100);
SELECT pointstore.append_events('[{"aggregate_id": "setup-1", "event_type": "PointEarned"}]');
SELECT pointstore.append_events('[]');
SELECT pointstore.submit_event('setup-1', 'PointEarned', 100);
SELECT pointstore.try_submit_event('setup-1', 'PointEarned', 100);
SELECT pointstore.open_account('setup-1');
SELECT pointstore.close_account('setup-1');
SELECT pointstore.freeze_account('setup-1', 'why');
SELECT pointstore.unfreeze_account('setup-1', 'why');
SELECT pointstore.set_kind('setup-1', 'default');
SELECT * FROM pointstore.get_balance('setup-1');
SELECT pointstore.balance_at('setup-1', now());
SELECT pointstore.balance_as_of('setup-1', 0);
SELECT * FROM pointstore.rebuild_balance('setup-1');
CALL pointstore.rebuild_balances();
SELECT pointstore.upgrade_store();
SELECT pointstore.grant_access(current_user::regrole, 'reader');

-- check_version needs no store
BEGIN;
CREATE TABLE setup_cart (id int PRIMARY KEY, version int NOT NULL);
CREATE TRIGGER check_version BEFORE UPDATE ON setup_cart
    FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
INSERT INTO setup_cart VALUES (1, 1);
UPDATE setup_cart SET version = 2;
UPDATE setup_cart SET version = 2;
ROLLBACK;

-- an owner there must be
SELECT pointstore.create_store(NULL);

SELECT pointstore.create_store();

-- the tables are the user's, not the extension's
SELECT relname, relkind FROM pg_class
 WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
 ORDER BY relname COLLATE "C";
SELECT count(*) FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
 WHERE d.deptype = 'e' AND c.relnamespace = 'pointstore'::regnamespace AND c.relkind IN ('r', 'v', 'S');
SELECT count(*) FROM pg_class
 WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v', 'S')
   AND relowner <> current_user::regrole;

-- one kind is there from the start
SELECT * FROM pointstore.account_kind;

-- a second call changes nothing, and there is nothing to upgrade
SELECT outcome, version, balance FROM pointstore.append_event('setup-1', 'PointEarned', 100);
SELECT pointstore.create_store();
SELECT pointstore.upgrade_store();
SELECT version, balance FROM pointstore.get_balance('setup-1');
SELECT version FROM pointstore.store_version;
