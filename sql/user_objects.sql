-- What users put on the store's tables, and do to its sequence, as far as the functions' own
-- way of writing rows has to heed it like an INSERT or UPDATE by hand.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('object-pure', 'pure');
SELECT outcome FROM pointstore.append_event('object-1', 'PointEarned', 100);
SELECT outcome FROM pointstore.append_event('object-2', 'PointEarned', 100, kind => 'object-pure');

-- other unique indexes on the keys, in whatever order, are not taken for those that are read by
BEGIN;
CREATE UNIQUE INDEX object_a ON pointstore.event_store (aggregate_id, version DESC);
CREATE UNIQUE INDEX object_b ON pointstore.event_store (version, aggregate_id);
CREATE UNIQUE INDEX object_c ON pointstore.event_store (request_id DESC, leg DESC);
CREATE UNIQUE INDEX object_d ON pointstore.balance (aggregate_id DESC);
SELECT outcome, version, balance FROM pointstore.append_event('object-1', 'PointSpent', -1);
SELECT outcome, version, balance FROM pointstore.append_event('object-2', 'PointSpent', -1);
SELECT outcome, version, balance FROM pointstore.append_event('object-3', 'PointEarned', 1);
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "object-2", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "object-1", "event_type": "PointEarned", "amount": 2}]', 'object-r1');
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "object-2", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "object-1", "event_type": "PointEarned", "amount": 2}]', 'object-r1');
ROLLBACK;

-- a domain is asked for its null where a column has no default
CREATE DOMAIN object_given AS integer NOT NULL;
CREATE DOMAIN object_checked AS integer CHECK (VALUE IS NOT NULL);
CREATE DOMAIN object_preset AS integer DEFAULT 7 CHECK (VALUE IS NOT NULL);
BEGIN;
ALTER TABLE pointstore.event_store ADD COLUMN object_column object_preset;
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
SELECT object_column FROM pointstore.event_store WHERE (aggregate_id, version) = ('object-1', 2);
ALTER TABLE pointstore.event_store ALTER COLUMN object_column TYPE object_given, ALTER COLUMN object_column DROP DEFAULT;
SAVEPOINT given;
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
ROLLBACK TO given;
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "object-2", "event_type": "PointSpent", "amount": -1}]');
ROLLBACK TO given;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('object-1', 'Noted');
ROLLBACK;
BEGIN;
ALTER TABLE pointstore.balance ADD COLUMN object_column object_checked DEFAULT 1;
ALTER TABLE pointstore.balance ALTER COLUMN object_column DROP DEFAULT;
-- what a row has it keeps
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
SELECT outcome FROM pointstore.append_event('object-3', 'PointEarned', 1);
ROLLBACK;

-- a trigger fires wherever its function is, and so does check_version()
CREATE TABLE object_fired (by text);
CREATE FUNCTION pointstore.object_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.object_fired VALUES (TG_NAME);
    RETURN NEW;
END $$;
BEGIN;
ALTER TABLE pointstore.balance ADD COLUMN revision integer NOT NULL DEFAULT 1;
CREATE TRIGGER object_b BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.object_trigger();
CREATE TRIGGER object_a AFTER INSERT ON pointstore.event_store EXECUTE FUNCTION pointstore.object_trigger();
CREATE TRIGGER object_revision BEFORE UPDATE ON pointstore.balance
    FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('revision', 'auto');
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
SELECT revision FROM pointstore.balance WHERE aggregate_id = 'object-1';
SELECT by, count(*) FROM object_fired GROUP BY by ORDER BY by;
ROLLBACK;

-- a publication that an UPDATE by hand may not be published by: nor one of ours
SET client_min_messages = error;
CREATE PUBLICATION object_publication FOR TABLE pointstore.balance;
RESET client_min_messages;
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
ALTER TABLE pointstore.balance REPLICA IDENTITY NOTHING;
UPDATE pointstore.balance SET kind = kind WHERE aggregate_id = 'object-1';
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
SELECT outcome FROM pointstore.append_event('object-2', 'PointSpent', -1);
SELECT pointstore.freeze_account('object-1', 'why');
ALTER TABLE pointstore.balance REPLICA IDENTITY DEFAULT;
SELECT outcome FROM pointstore.append_event('object-1', 'PointSpent', -1);
DROP PUBLICATION object_publication;

-- ids rise with the versions also where a trigger of the balance appends to another account of the call
CREATE FUNCTION object_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.aggregate_id = 'object-5' THEN
        PERFORM pointstore.append_event('object-4', 'Followed', 1);
    END IF;
    RETURN NEW;
END $$;
SELECT outcome FROM pointstore.append_event('object-4', 'PointEarned', 1);
SELECT outcome FROM pointstore.append_event('object-5', 'PointEarned', 1);
CREATE TRIGGER object_follow BEFORE UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION object_follow();
SELECT outcome, aggregate_id, version FROM pointstore.append_events('[
    {"aggregate_id": "object-4", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "object-5", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "object-4", "event_type": "PointEarned", "amount": 1}]');
DROP TRIGGER object_follow ON pointstore.balance;
SELECT version, event_type, id > lag(id) OVER (ORDER BY version) AS rises
  FROM pointstore.event_store WHERE aggregate_id = 'object-4' ORDER BY version;

-- an index of the user's refuses the element whose row has its key, wherever in the call that is
CREATE UNIQUE INDEX object_daily ON pointstore.event_store (event_type, occurred_at) WHERE event_type = 'Daily';
SELECT version FROM pointstore.append_event('object-7', 'Daily', 1, occurred_at => '2026-01-01 00:00+00');
\set VERBOSITY default
SELECT version FROM pointstore.append_events('[
    {"aggregate_id": "object-8", "event_type": "Noted"},
    {"aggregate_id": "object-7", "event_type": "Daily", "occurred_at": "2026-01-01 00:00+00"},
    {"aggregate_id": "object-8", "event_type": "Noted"},
    {"aggregate_id": "object-7", "event_type": "Noted"}]');
\set VERBOSITY sqlstate
DROP INDEX pointstore.object_daily;

-- no id is drawn below the account's last one, nor one that is there
CREATE FUNCTION object_draw(below bigint) RETURNS TABLE (hybrid text, pure text, fresh text, by_hand text) LANGUAGE plpgsql AS $$
DECLARE
    statements text[] := ARRAY[
        $q$SELECT outcome FROM pointstore.append_event('object-1', 'Noted')$q$,
        $q$SELECT outcome FROM pointstore.append_event('object-2', 'Noted')$q$,
        $q$SELECT outcome FROM pointstore.append_event('object-6', 'Noted')$q$,
        $q$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('object-1', 'Noted') RETURNING event_type$q$];
    answers text[];
    answer text;
BEGIN
    FOR i IN 1 .. 4 LOOP
        BEGIN
            PERFORM setval('pointstore.event_store_id_seq', below);
            EXECUTE statements[i] INTO answer;
            answers[i] := answer;
        EXCEPTION WHEN OTHERS THEN
            answers[i] := SQLSTATE;
        END;
    END LOOP;
    RETURN QUERY SELECT answers[1], answers[2], answers[3], answers[4];
END $$;
SELECT id AS highest FROM pointstore.event_store ORDER BY id DESC LIMIT 1 \gset
SELECT * FROM object_draw((SELECT id - 1 FROM pointstore.event_store WHERE (aggregate_id, version) = ('object-2', 1)));
SELECT setval('pointstore.event_store_id_seq', :highest) > 0 AS mended;
SELECT outcome FROM pointstore.append_event('object-1', 'Noted');
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT BY -1;
SELECT outcome FROM pointstore.append_event('object-1', 'Noted');
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT BY 1;
SELECT setval('pointstore.event_store_id_seq', max(id)) > 0 AS mended FROM pointstore.event_store;
SELECT outcome FROM pointstore.append_event('object-1', 'Noted');

SELECT count(*) FROM (SELECT id <= lag(id) OVER (PARTITION BY aggregate_id ORDER BY version) AS falls FROM pointstore.event_store) e WHERE falls;
SELECT code FROM pointstore.reconcile_account('object-1') UNION ALL SELECT code FROM pointstore.reconcile_account('object-2')
 UNION ALL SELECT code FROM pointstore.reconcile_account('object-4');
DROP FUNCTION pointstore.object_trigger(), object_follow(), object_draw(bigint);
DROP TABLE object_fired;
DROP DOMAIN object_given, object_checked, object_preset;
