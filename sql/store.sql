-- A store that lacks something, and one that its users have added to.
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on
SELECT balance FROM pointstore.append_event('store-1', 'PointEarned', 100);

-- a lost column, on every table that an append needs
BEGIN;
ALTER TABLE pointstore.event_store DROP COLUMN metadata;
SELECT pointstore.upgrade_store();
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
SELECT pointstore.try_append_event('store-1', 'PointEarned', 1);
SELECT pointstore.append_events('[{"aggregate_id": "store-1", "event_type": "Noted"}]');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('store-1', 'Noted');
SELECT pointstore.freeze_account('store-1', 'test');
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.balance RENAME COLUMN next_expiry TO expiry;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.account_kind DROP COLUMN max_balance;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
DROP TABLE pointstore.pure_account CASCADE;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.event_store DROP CONSTRAINT event_store_request_id_leg_key;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
-- what holds need: the index by which the open ones are found, by its name and on these columns; a store from before there were holds gets all of it
BEGIN;
DROP INDEX pointstore.hold_open_idx;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
CREATE INDEX hold_open_idx ON pointstore.hold (aggregate_id, created_at);
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
DROP TABLE pointstore.hold CASCADE;
DROP INDEX pointstore.event_store_cause_id_idx;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
SELECT pointstore.upgrade_store() <> 'current' AS upgraded;
SELECT pointstore.upgrade_store();
SELECT balance, available FROM pointstore.hold('store-1', 1, 'store-hold');
SELECT available FROM pointstore.account WHERE aggregate_id = 'store-1';
ROLLBACK;
-- what must not be null may be null: no row of it is read
CREATE TEMP TABLE nullable (col text, refused text);
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT attrelid::regclass AS tab, attname FROM pg_attribute a
              WHERE attnotnull AND attnum > 0 AND attrelid IN ('pointstore.event_store'::regclass, 'pointstore.balance'::regclass,
                    'pointstore.pure_account'::regclass, 'pointstore.account_kind'::regclass, 'pointstore.hold'::regclass)
                AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey))
                AND (attrelid, attname) NOT IN (('pointstore.account_kind'::regclass, 'source_of_truth'), ('pointstore.account_kind'::regclass, 'on_mismatch'),
                                                ('pointstore.hold'::regclass, 'aggregate_id'))
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER %I DROP NOT NULL', c.tab, c.attname);
        BEGIN
            PERFORM pointstore.append_event('store-1', 'PointEarned', 1);
            INSERT INTO nullable VALUES (c.tab || '.' || c.attname, 'no');
        EXCEPTION WHEN others THEN INSERT INTO nullable VALUES (c.tab || '.' || c.attname, SQLSTATE);
        END;
        EXECUTE format('ALTER TABLE %s ALTER %I SET NOT NULL', c.tab, c.attname);
    END LOOP;
END$$;
SELECT refused, count(*) > 15 AS columns FROM nullable GROUP BY refused;
BEGIN;
ALTER TABLE pointstore.balance ALTER status DROP NOT NULL;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET status = NULL, kind = 'default' WHERE aggregate_id = 'store-1';
SET LOCAL session_replication_role = origin;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('store-1', 'Noted');
SELECT pointstore.freeze_account('store-1', 'test');
SELECT pointstore.upgrade_store();
ROLLBACK;
-- computed, compared otherwise, or kept in another order than it is looked for
BEGIN;
ALTER TABLE pointstore.balance DROP COLUMN held CASCADE;
ALTER TABLE pointstore.balance ADD COLUMN held bigint NOT NULL GENERATED ALWAYS AS (balance / 2) STORED;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.event_store DROP CONSTRAINT event_store_pkey;
CREATE UNIQUE INDEX store_down ON pointstore.event_store (aggregate_id, version DESC);
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
DROP INDEX pointstore.hold_open_idx;
CREATE INDEX hold_open_idx ON pointstore.hold (aggregate_id, expires_at DESC) WHERE status = 'open';
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
-- the sequence
CREATE TEMP TABLE sequence_change (change text, appended text, upgraded text, created text, back text);
INSERT INTO sequence_change (change, back) VALUES
    ('CACHE 50', 'CACHE 1'), ('CYCLE', 'NO CYCLE'), ('INCREMENT -1', 'INCREMENT 1'), ('INCREMENT 1024', 'INCREMENT 1'), ('AS integer', 'AS bigint');
CREATE FUNCTION pg_temp.tried(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    RAISE SQLSTATE 'OK000';
EXCEPTION WHEN others THEN RETURN SQLSTATE;
END$$;
DO $$
DECLARE
    c record;
BEGIN
    PERFORM set_config('client_min_messages', 'warning', true);
    FOR c IN SELECT * FROM sequence_change LOOP
        EXECUTE 'ALTER SEQUENCE pointstore.event_store_id_seq ' || c.change;
        UPDATE sequence_change SET appended = pg_temp.tried($q$SELECT pointstore.append_event('store-1', 'Noted')$q$),
                                   upgraded = pg_temp.tried('SELECT pointstore.upgrade_store()'), created = pg_temp.tried('SELECT pointstore.create_store()')
         WHERE change = c.change;
        EXECUTE 'ALTER SEQUENCE pointstore.event_store_id_seq ' || c.back;
    END LOOP;
END$$;
SELECT change, appended, upgraded, created FROM sequence_change ORDER BY change COLLATE "C";
BEGIN;
SELECT setval('pointstore.event_store_id_seq', 1) AS backwards;
SELECT pointstore.upgrade_store();
ROLLBACK;
SELECT setval('pointstore.event_store_id_seq', (SELECT max(id) FROM pointstore.event_store)) IS NOT NULL AS forwards;
SELECT pointstore.upgrade_store();
-- one of another type
BEGIN;
ALTER TABLE pointstore.event_store ALTER COLUMN amount TYPE numeric;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.event_store ALTER COLUMN payload TYPE json;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
SELECT balance FROM pointstore.append_event('store-1', 'PointEarned', 1);

-- a lost trigger: refused until upgrade_store() has put it back
CREATE TEMP TABLE lost (tab text, trigger_name text, refused text, upgraded text, after text);
DO $$
DECLARE
    t record;
    refused text;
    upgraded text;
    after text;
BEGIN
    PERFORM set_config('client_min_messages', 'warning', true);
    FOR t IN SELECT * FROM pointstore.store_triggers() LOOP
        EXECUTE format('DROP TRIGGER %I ON pointstore.%I', t.trigger_name, t.tab);
        BEGIN
            PERFORM pointstore.append_event('store-1', 'PointEarned', 1);
            refused := 'no';
        EXCEPTION WHEN others THEN refused := SQLSTATE;
        END;
        upgraded := pointstore.upgrade_store();
        SELECT outcome INTO after FROM pointstore.append_event('store-1', 'PointEarned', 1);
        INSERT INTO lost VALUES (t.tab, t.trigger_name, refused, upgraded, after);
    END LOOP;
END$$;
SELECT tab, trigger_name, refused, upgraded <> 'current' AS upgraded, after FROM lost ORDER BY tab COLLATE "C", trigger_name COLLATE "C";
SELECT pointstore.upgrade_store();
SELECT count(*) FROM pointstore.store_triggers() t
 WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgname = t.trigger_name AND g.tgrelid = ('pointstore.' || t.tab)::regclass);
-- which says that what was written meanwhile is to be looked at
DROP TRIGGER _pointstore_append_only ON pointstore.event_store;
SELECT pointstore.upgrade_store() <> 'current' AS upgraded;
-- a lost view
BEGIN;
DROP VIEW pointstore.account;
SELECT * FROM pointstore.get_balance('store-1');
SELECT pointstore.append_event('store-1', 'Noted');
SELECT pointstore.upgrade_store() <> 'current' AS upgraded;
SELECT balance FROM pointstore.account WHERE aggregate_id = 'store-1';
SELECT relowner = (SELECT relowner FROM pg_class WHERE oid = 'pointstore.event_store'::regclass) AS owner
  FROM pg_class WHERE oid = 'pointstore.account'::regclass;
ROLLBACK;
BEGIN;
DROP VIEW pointstore.store_version;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
SELECT pointstore.upgrade_store() <> 'current' AS upgraded;
SELECT version FROM pointstore.store_version;
SELECT outcome FROM pointstore.append_event('store-1', 'PointEarned', 1);
ROLLBACK;
-- a view that somebody has made anew, with other types
BEGIN;
DROP VIEW pointstore.account;
CREATE VIEW pointstore.account AS
SELECT aggregate_id, kind, 'hybrid'::text AS mode, ''::text AS unit, version::int, balance, held, balance AS available, status, NULL::text AS state, updated_at
  FROM pointstore.balance;
SELECT * FROM pointstore.get_balance('store-1');
ROLLBACK;
-- a store of another version
BEGIN;
CREATE OR REPLACE VIEW pointstore.store_version AS SELECT '0.5'::text AS version;
SELECT pointstore.append_event('store-1', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('store-1', 'Noted');
SELECT pointstore.open_account('store-2');
SELECT pointstore.balance_at('store-1', now());
SELECT * FROM pointstore.get_balance('store-1');
SELECT * FROM pointstore.rebuild_balance('store-1');
SELECT pointstore.upgrade_store();
ROLLBACK;

-- columns of the user's: nullable, with defaults, generated, identity, and dropped again
ALTER TABLE pointstore.event_store
    ADD COLUMN store_dropped text, ADD COLUMN store_null text, ADD COLUMN store_default text NOT NULL DEFAULT 'shop',
    ADD COLUMN store_random text NOT NULL DEFAULT md5(random()::text), ADD COLUMN store_tenth bigint GENERATED ALWAYS AS (amount / 10) STORED;
ALTER TABLE pointstore.event_store DROP COLUMN store_dropped;
ALTER TABLE pointstore.event_store ADD COLUMN store_number bigint GENERATED BY DEFAULT AS IDENTITY;
ALTER TABLE pointstore.balance
    ADD COLUMN store_dropped int, ADD COLUMN store_region text NOT NULL DEFAULT 'KR', ADD COLUMN store_note text,
    ADD COLUMN store_half bigint GENERATED ALWAYS AS (balance / 2) STORED;
ALTER TABLE pointstore.balance DROP COLUMN store_dropped;
ALTER TABLE pointstore.pure_account ADD COLUMN store_region text NOT NULL DEFAULT 'JP';
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('store-pure', 'pure');
SELECT outcome, version, balance FROM pointstore.append_event('store-3', 'PointEarned', 10);
UPDATE pointstore.balance SET store_note = 'mine', store_region = 'US' WHERE aggregate_id = 'store-3';
SELECT outcome, version, balance FROM pointstore.append_event('store-3', 'PointEarned', 10);
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "store-4", "event_type": "PointEarned", "amount": 6},
    {"aggregate_id": "store-3", "event_type": "PointEarned", "amount": 4}]');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, store_null, store_default) VALUES ('store-3', 'PointSpent', -2, 'given', 'web');
SELECT outcome FROM pointstore.append_event('store-p', 'PointEarned', 3, kind => 'store-pure');
SELECT aggregate_id, version, store_null, store_default, length(store_random), store_tenth, store_number IS NOT NULL AS numbered
  FROM pointstore.event_store WHERE aggregate_id IN ('store-3', 'store-4', 'store-p') ORDER BY 1, 2;
SELECT count(*) = count(DISTINCT store_number) AS numbers, count(DISTINCT store_random) = count(*) AS each_drawn
  FROM pointstore.event_store WHERE aggregate_id IN ('store-3', 'store-4', 'store-p');
SELECT aggregate_id, version, balance, store_region, store_note, store_half FROM pointstore.balance WHERE aggregate_id IN ('store-3', 'store-4') ORDER BY 1;
SELECT aggregate_id, kind, status, store_region FROM pointstore.pure_account WHERE aggregate_id = 'store-p';
SELECT pointstore.freeze_account('store-3', 'test'), pointstore.unfreeze_account('store-3', 'test');
SELECT store_region, store_note, store_half FROM pointstore.balance WHERE aggregate_id = 'store-3';
-- a default that fails, or one that is missing, is its error
BEGIN;
ALTER TABLE pointstore.event_store ADD COLUMN store_broken int DEFAULT 1;
ALTER TABLE pointstore.event_store ALTER COLUMN store_broken SET DEFAULT 1 / (random() * 0)::int;
SELECT pointstore.append_event('store-3', 'PointEarned', 1);
ALTER TABLE pointstore.event_store ALTER COLUMN store_broken DROP DEFAULT, ALTER COLUMN store_broken SET NOT NULL;
SELECT pointstore.append_event('store-3', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('store-3', 'Noted');
ROLLBACK;
SELECT version, balance FROM pointstore.get_balance('store-3');

-- triggers of the user's
CREATE TABLE store_seen (what text, rows bigint, balance numeric);
CREATE FUNCTION store_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_NAME
    WHEN 'store_before' THEN            -- adds to the metadata, before and after our own trigger
        NEW.metadata := coalesce(NEW.metadata, '{}') || '{"before": true}';
        RETURN NEW;
    WHEN 'zzz_store_before' THEN
        NEW.metadata := coalesce(NEW.metadata, '{}') || '{"zzz": true}';
        RETURN NEW;
    WHEN 'store_after' THEN             -- reads the new balance
        INSERT INTO public.store_seen SELECT 'after row', NEW.version, balance FROM pointstore.account WHERE aggregate_id = NEW.aggregate_id;
    WHEN 'store_statement' THEN
        INSERT INTO public.store_seen SELECT 'events', count(*), sum(amount) FROM new_events;
    WHEN 'store_balance_statement' THEN
        INSERT INTO public.store_seen SELECT 'balances', count(*), sum(n.balance) - sum(o.balance) FROM new_rows n JOIN old_rows o USING (aggregate_id);
    WHEN 'store_balance_insert' THEN
        INSERT INTO public.store_seen SELECT 'new balances', count(*), sum(balance) FROM new_rows;
    WHEN 'store_before_balance' THEN
        NEW.store_note := coalesce(NEW.store_note, '') || '+';
        RETURN NEW;
    END CASE;
    RETURN NULL;
END$$;
CREATE TRIGGER store_before BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION store_trigger();
CREATE TRIGGER zzz_store_before BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION store_trigger();
CREATE TRIGGER store_after AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION store_trigger();
CREATE TRIGGER store_statement AFTER INSERT ON pointstore.event_store REFERENCING NEW TABLE AS new_events FOR EACH STATEMENT EXECUTE FUNCTION store_trigger();
CREATE TRIGGER store_balance_statement AFTER UPDATE ON pointstore.balance REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION store_trigger();
CREATE TRIGGER store_balance_insert AFTER INSERT ON pointstore.balance REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION store_trigger();
CREATE TRIGGER store_before_balance BEFORE INSERT OR UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION store_trigger();

SELECT outcome, version, balance FROM pointstore.append_event('store-5', 'PointEarned', 10, metadata => '{"actor": "me"}', request_id => 'store-r1');
SELECT what, rows, balance FROM store_seen ORDER BY 1, 2;
TRUNCATE store_seen;
SELECT outcome, version, balance FROM pointstore.append_event('store-5', 'PointEarned', 5);
SELECT what, rows, balance FROM store_seen ORDER BY 1, 2;
TRUNCATE store_seen;
-- a replay fires nothing
SELECT outcome, version, balance FROM pointstore.append_event('store-5', 'PointEarned', 10, request_id => 'store-r1');
SELECT what, rows, balance FROM store_seen ORDER BY 1, 2;
-- a batch is one statement
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "store-5", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "store-4", "event_type": "PointEarned", "amount": 2},
    {"aggregate_id": "store-5", "event_type": "PointEarned", "amount": 3}]');
SELECT what, rows, balance FROM store_seen ORDER BY 1, 2, 3;
TRUNCATE store_seen;
-- the table's own way
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-5', 'PointSpent', -1);
SELECT what, rows, balance FROM store_seen WHERE what IN ('after row', 'events') ORDER BY 1, 2, 3;
TRUNCATE store_seen;
SELECT outcome FROM pointstore.append_event('store-p', 'PointEarned', 3);
SELECT what, rows, balance FROM store_seen ORDER BY 1, 2, 3;
SELECT version, metadata FROM pointstore.event_store WHERE aggregate_id = 'store-5' ORDER BY version;
SELECT version, balance, store_note FROM pointstore.balance WHERE aggregate_id = 'store-5';
DROP FUNCTION store_trigger() CASCADE;

-- a trigger that returns NULL, early and late in the order of names: all or nothing
CREATE FUNCTION store_null() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER a_store_null BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'store-6') EXECUTE FUNCTION store_null();
SELECT pointstore.append_event('store-6', 'PointEarned', 1);
SELECT pointstore.append_events('[{"aggregate_id": "store-5", "event_type": "Noted"}, {"aggregate_id": "store-6", "event_type": "Noted"}]');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-6', 'PointEarned', 1);
\echo rows :ROW_COUNT
SELECT count(*) FROM pointstore.balance WHERE aggregate_id = 'store-6' AND version > 0;
DROP TRIGGER a_store_null ON pointstore.event_store;
CREATE TRIGGER zzz_store_null BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'store-6') EXECUTE FUNCTION store_null();
SELECT pointstore.append_event('store-6', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-6', 'PointEarned', 1);
\echo rows :ROW_COUNT
SELECT count(*) FROM pointstore.balance WHERE aggregate_id = 'store-6' AND version > 0;
DROP TRIGGER zzz_store_null ON pointstore.event_store;
SELECT pointstore.open_account('store-7');
CREATE TRIGGER zzz_store_null BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'store-7') EXECUTE FUNCTION store_null();
BEGIN;
UPDATE pointstore.balance SET balance = 1, version = 1 WHERE aggregate_id = 'store-7';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('store-7', 'PointEarned');
COMMIT;
DROP TRIGGER zzz_store_null ON pointstore.event_store;
CREATE TRIGGER store_null BEFORE UPDATE ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'store-7') EXECUTE FUNCTION store_null();
SELECT pointstore.append_event('store-7', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-7', 'PointEarned', 1);
SELECT pointstore.freeze_account('store-7', 'test');
DROP TRIGGER store_null ON pointstore.balance;
CREATE TRIGGER store_null BEFORE INSERT ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'store-8') EXECUTE FUNCTION store_null();
SELECT pointstore.append_event('store-8', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-8', 'PointEarned', 1);
SELECT pointstore.open_account('store-8');
DROP FUNCTION store_null() CASCADE;
SELECT aggregate_id, version, balance, (SELECT count(*) FROM pointstore.event_store e WHERE e.aggregate_id = a.aggregate_id) AS events
  FROM pointstore.account a WHERE aggregate_id IN ('store-6', 'store-7', 'store-8') ORDER BY 1;

-- a trigger that changes what the rules were checked on, on either table and either path
CREATE FUNCTION store_meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'balance' THEN NEW.balance := NEW.balance + 1000; ELSE NEW.amount := NEW.amount + 1000; END IF;
    RETURN NEW;
END$$;
CREATE TRIGGER zzz_store_meddle BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'store-9') EXECUTE FUNCTION store_meddle();
SELECT pointstore.append_event('store-9', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-9', 'PointEarned', 1);
DROP TRIGGER zzz_store_meddle ON pointstore.event_store;
CREATE TRIGGER a_store_meddle BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.aggregate_id = 'store-9') EXECUTE FUNCTION store_meddle();
SELECT pointstore.append_event('store-9', 'PointEarned', 1);
-- (before our own trigger it is as if the user had inserted that)
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-9', 'PointEarned', 1);
DROP TRIGGER a_store_meddle ON pointstore.event_store;
CREATE TRIGGER zzz_store_meddle BEFORE UPDATE ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'store-9') EXECUTE FUNCTION store_meddle();
SELECT pointstore.append_event('store-9', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-9', 'PointEarned', 1);
DROP TRIGGER zzz_store_meddle ON pointstore.balance;
CREATE TRIGGER a_store_meddle BEFORE UPDATE ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'store-9') EXECUTE FUNCTION store_meddle();
SELECT pointstore.append_event('store-9', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-9', 'PointEarned', 1);
DROP FUNCTION store_meddle() CASCADE;
SELECT b.version, b.balance, (SELECT sum(amount) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id) AS events
  FROM pointstore.balance b WHERE aggregate_id = 'store-9';

-- a trigger that appends in turn, to another account and to the same one
CREATE FUNCTION store_bonus() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pointstore.append_event(NEW.payload ->> 'to', 'Bonus', 1);
    RETURN NULL;
END$$;
CREATE TRIGGER store_bonus AFTER INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.payload ? 'to') EXECUTE FUNCTION store_bonus();
SELECT outcome, version, balance FROM pointstore.append_event('store-10', 'PointEarned', 10, '{"to": "store-11"}');
SELECT outcome, version, balance FROM pointstore.append_event('store-10', 'PointEarned', 10, '{"to": "store-10"}');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('store-10', 'PointEarned', 10, '{"to": "store-11"}');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('store-10', 'PointEarned', 10, '{"to": "store-10"}');
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "store-10", "event_type": "PointEarned", "amount": 1, "payload": {"to": "store-11"}},
    {"aggregate_id": "store-11", "event_type": "PointEarned", "amount": 1, "payload": {"to": "store-10"}}]');
DROP FUNCTION store_bonus() CASCADE;
SELECT b.aggregate_id, b.version, b.balance, count(*), sum(e.amount), max(e.version) FROM pointstore.balance b JOIN pointstore.event_store e USING (aggregate_id)
 WHERE aggregate_id IN ('store-10', 'store-11') GROUP BY 1, 2, 3 ORDER BY 1;

-- CHECK constraints of the user's: 23514, and nothing is lost
ALTER TABLE pointstore.event_store ADD CONSTRAINT store_check CHECK (aggregate_id <> 'store-12' OR payload ? 'order');
ALTER TABLE pointstore.balance ADD CONSTRAINT store_check CHECK (aggregate_id <> 'store-12' OR balance < 100);
SELECT outcome, balance FROM pointstore.append_event('store-12', 'PointEarned', 10);
SELECT outcome, balance FROM pointstore.try_append_event('store-12', 'PointEarned', 10);
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'store-12';
SELECT outcome, balance FROM pointstore.append_event('store-12', 'PointEarned', 10, '{"order": 1}');
SELECT outcome, balance FROM pointstore.append_event('store-12', 'PointEarned', 90, '{"order": 2}');
SELECT outcome, balance FROM pointstore.append_events('[
    {"aggregate_id": "store-5", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "store-12", "event_type": "PointEarned", "amount": 1}]');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('store-12', 'PointEarned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('store-12', 'PointEarned', 90, '{"order": 2}');
SELECT outcome, balance FROM pointstore.append_event('store-12', 'PointEarned', 5, '{"order": 3}');
SELECT aggregate_id, version, balance, (SELECT sum(amount) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id) AS events
  FROM pointstore.balance b WHERE aggregate_id IN ('store-5', 'store-12') ORDER BY 1;
ALTER TABLE pointstore.event_store DROP CONSTRAINT store_check;
ALTER TABLE pointstore.balance DROP CONSTRAINT store_check;

-- foreign keys of the user's, to and from the store's tables
CREATE TABLE store_customer (customer_id text PRIMARY KEY REFERENCES pointstore.balance);
CREATE TABLE store_invoice (aggregate_id text, version bigint, FOREIGN KEY (aggregate_id, version) REFERENCES pointstore.event_store);
CREATE TABLE store_member (member_id text COLLATE "C" PRIMARY KEY);
INSERT INTO store_customer VALUES ('store-5'), ('no-such-account');
INSERT INTO store_customer VALUES ('store-5');
INSERT INTO store_invoice VALUES ('store-5', 1);
INSERT INTO store_invoice VALUES ('store-5', 9999);
SELECT outcome FROM pointstore.append_event('store-5', 'PointEarned', 1);
ALTER TABLE pointstore.event_store ADD COLUMN store_member text DEFAULT 'store-nobody';
ALTER TABLE pointstore.event_store ADD FOREIGN KEY (store_member) REFERENCES store_member NOT VALID;
SELECT outcome FROM pointstore.append_event('store-5', 'PointEarned', 1);
INSERT INTO store_member VALUES ('store-nobody');
SELECT outcome FROM pointstore.append_event('store-5', 'PointEarned', 1);
SELECT b.version = count(*) AS agree, b.balance = sum(amount) AS agree FROM pointstore.balance b JOIN pointstore.event_store e USING (aggregate_id)
 WHERE aggregate_id = 'store-5' GROUP BY b.version, b.balance;
ALTER TABLE pointstore.event_store DROP COLUMN store_member;
DROP TABLE store_customer, store_invoice, store_member, store_seen;

-- the store as it was
ALTER TABLE pointstore.event_store DROP COLUMN store_null, DROP COLUMN store_default, DROP COLUMN store_random, DROP COLUMN store_tenth, DROP COLUMN store_number;
ALTER TABLE pointstore.balance DROP COLUMN store_region, DROP COLUMN store_note, DROP COLUMN store_half;
ALTER TABLE pointstore.pure_account DROP COLUMN store_region;
SELECT outcome FROM pointstore.append_event('store-5', 'PointEarned', 1);
SELECT pointstore.upgrade_store();
