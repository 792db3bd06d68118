-- The tables as an interface: the textbook hybrid transaction, raw INSERT and COPY.
\set VERBOSITY sqlstate
SELECT version, balance FROM pointstore.append_event('textbook-1', 'PointEarned', 10000);

-- balance first, then its event: the amount is inferred
BEGIN;
UPDATE pointstore.balance SET balance = balance - 4000, version = version + 1
 WHERE aggregate_id = 'textbook-1' AND version = 1;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, payload)
VALUES ('textbook-1', 2, 'PointSpent', '{"order": "A-1"}');
COMMIT;
SELECT version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id,
       id > 0 AS id, occurred_at = created_at AS now
  FROM pointstore.event_store WHERE aggregate_id = 'textbook-1' ORDER BY version;

-- the amount may be given, the version left out
BEGIN;
UPDATE pointstore.balance SET balance = balance + 1000, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-1', 'PointEarned', 1000);
COMMIT;
SELECT version, balance FROM pointstore.get_balance('textbook-1');

-- a stale version updates no row, and the event then is not the next one
BEGIN;
UPDATE pointstore.balance SET balance = balance - 4000, version = version + 1
 WHERE aggregate_id = 'textbook-1' AND version = 1;
\echo rows :ROW_COUNT
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('textbook-1', 2, 'PointSpent');
ROLLBACK;

-- a balance without its event does not commit
BEGIN;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'textbook-1';
COMMIT;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'textbook-1';
UPDATE pointstore.balance SET version = version + 1 WHERE aggregate_id = 'textbook-1';
DO $$BEGIN UPDATE pointstore.balance SET balance = 0, version = version + 1 WHERE aggregate_id = 'textbook-1'; END$$;
SELECT version, balance FROM pointstore.get_balance('textbook-1');

-- nor with another event than that of its change
BEGIN;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-1', 'PointSpent', -99);
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-2', 'PointEarned', 5);
COMMIT;
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'textbook-2';
-- nor does a function pair it
BEGIN;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
SELECT pointstore.append_event('textbook-1', 'PointSpent', -100);
ROLLBACK;

-- two changes, two events: one after another, and both changes first
BEGIN;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-1', 'PointSpent');
UPDATE pointstore.balance SET balance = balance - 200, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-1', 'PointSpent');
COMMIT;
BEGIN;
UPDATE pointstore.balance SET balance = balance - 10, version = version + 1 WHERE aggregate_id = 'textbook-1';
UPDATE pointstore.balance SET balance = balance - 20, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES
    ('textbook-1', 'PointSpent', -10), ('textbook-1', 'PointSpent', -20);
COMMIT;
SELECT version, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'textbook-1' AND version > 3 ORDER BY version;
-- of two waiting changes one has no event
BEGIN;
UPDATE pointstore.balance SET balance = balance - 10, version = version + 1 WHERE aggregate_id = 'textbook-1';
UPDATE pointstore.balance SET balance = balance - 20, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-1', 'PointSpent', -10);
COMMIT;
SELECT version, balance FROM pointstore.get_balance('textbook-1');
-- several accounts in one statement
SELECT count(pointstore.append_event('textbook-m' || g, 'PointEarned', 100)) FROM generate_series(1, 3) g;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 5, version = version + 1 WHERE aggregate_id LIKE 'textbook-m_';
INSERT INTO pointstore.event_store (aggregate_id, event_type)
SELECT 'textbook-m' || g, 'PointEarned' FROM generate_series(1, 3) g;
COMMIT;
SELECT aggregate_id, version, amount FROM pointstore.event_store WHERE aggregate_id LIKE 'textbook-m_' AND version = 2 ORDER BY 1;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 5, version = version + 1 WHERE aggregate_id LIKE 'textbook-m_';
INSERT INTO pointstore.event_store (aggregate_id, event_type)
SELECT 'textbook-m' || g, 'PointEarned' FROM generate_series(1, 2) g;
COMMIT;

-- savepoints: what is rolled back is neither expected nor accused
BEGIN;
SAVEPOINT s;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
ROLLBACK TO s;
COMMIT;
BEGIN;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
SAVEPOINT s;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-1', 'PointSpent');
ROLLBACK TO s;
COMMIT;
BEGIN;
SAVEPOINT s;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
RELEASE s;
COMMIT;
BEGIN;
SAVEPOINT s;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-1', 'PointSpent');
RELEASE s;
SAVEPOINT s;
UPDATE pointstore.balance SET balance = balance - 100, version = version + 1 WHERE aggregate_id = 'textbook-1';
ROLLBACK TO s;
UPDATE pointstore.balance SET balance = balance - 50, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-1', 'PointSpent');
COMMIT;
SELECT version, balance FROM pointstore.get_balance('textbook-1');
-- an account that disagrees already, touched and let go, is not accused
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'textbook-m3';
COMMIT;
BEGIN;
SAVEPOINT s;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'textbook-m3';
ROLLBACK TO s;
SELECT balance FROM pointstore.append_event('textbook-m1', 'PointEarned', 1);
COMMIT;
SELECT version, balance FROM pointstore.get_balance('textbook-m1');
SELECT changed FROM pointstore.rebuild_balance('textbook-m3');

-- SET CONSTRAINTS moves nothing, ALTER TABLE in the same transaction works
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'textbook-1';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-1', 'PointSpent');
ALTER TABLE pointstore.balance ADD COLUMN textbook_note text;
ALTER TABLE pointstore.balance DROP COLUMN textbook_note;
COMMIT;
-- a user's deferred trigger may bring the event
CREATE FUNCTION textbook_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES (NEW.aggregate_id, 'Late');
    RETURN NULL;
END$$;
CREATE CONSTRAINT TRIGGER textbook_event AFTER UPDATE ON pointstore.balance DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.aggregate_id = 'textbook-m1' AND NEW.version = 4) EXECUTE FUNCTION textbook_event();
UPDATE pointstore.balance SET balance = balance - 2, version = version + 1 WHERE aggregate_id = 'textbook-m1';
SELECT version, event_type, amount FROM pointstore.event_store WHERE aggregate_id = 'textbook-m1' AND version = 4;
DROP FUNCTION textbook_event() CASCADE;

-- an event first: it moves the balance, and who updates that too finds the version moved
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-3', 'PointEarned', 300);
UPDATE pointstore.balance SET balance = balance + 300, version = version + 1 WHERE aggregate_id = 'textbook-3' AND version = 0;
\echo rows :ROW_COUNT
COMMIT;
SELECT version, balance FROM pointstore.get_balance('textbook-3');
SELECT action FROM pointstore.account_log WHERE aggregate_id = 'textbook-3';

-- raw inserts: what is left out or null is filled in
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-4', 'Opened');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id, occurred_at, created_at, id)
VALUES ('textbook-4', NULL, 'PointEarned', 70, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id, occurred_at, id)
VALUES ('textbook-4', 3, 'PointSpent', -20, 0, 50, '{"order": 4}', '{"actor": "me"}', 'textbook-r1', 0, 12345, '2026-01-01 00:00+00', -77);
SELECT version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id,
       occurred_at = created_at AS now, id > 0 AS own_id
  FROM pointstore.event_store WHERE aggregate_id = 'textbook-4' ORDER BY version;
SELECT version, balance FROM pointstore.get_balance('textbook-4');
-- RETURNING shows what is stored
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-4', 'PointEarned', 1)
RETURNING version, amount, held, balance_after, payload;
-- several rows of one statement, of one account
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount)
VALUES ('textbook-5', 'PointEarned', 10), ('textbook-5', 'PointSpent', -4), ('textbook-6', 'PointEarned', 1), ('textbook-5', 'PointSpent', -6);
SELECT aggregate_id, version, balance_after FROM pointstore.event_store WHERE aggregate_id IN ('textbook-5', 'textbook-6') ORDER BY 1, 2;
-- the rules are those of the functions
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-5', 'PointSpent', -1);
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('textbook-5', 3, 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('textbook-5', 5, 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('textbook-7', 2, 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('textbook-7', 0, 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('textbook-7', -1, 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-1', 'PointEarned', 9223372036854775807);
INSERT INTO pointstore.event_store (aggregate_id, event_type, balance_after, amount) VALUES ('textbook-5', 'PointEarned', 2, 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, held) VALUES ('textbook-5', 'Noted', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-5', 'HoldPlaced');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-5', 'HoldConfirmed');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-5', 'HoldCancelled');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-5', 'HoldExpired');
INSERT INTO pointstore.event_store (event_type) VALUES ('Noted');
INSERT INTO pointstore.event_store (aggregate_id) VALUES ('textbook-5');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('', 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES (repeat('x', 513), 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-5', repeat('x', 513));
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id) VALUES ('textbook-5', 'Noted', '');
-- one bad row of three, and nothing is left
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount)
VALUES ('textbook-5', 'PointEarned', 1), ('textbook-8', 'PointEarned', 1), ('textbook-5', 'PointSpent', -100);
SELECT version, balance FROM pointstore.get_balance('textbook-5');
SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('textbook-7', 'textbook-8');

-- a leg counts within a request only
INSERT INTO pointstore.event_store (aggregate_id, event_type, leg) VALUES ('textbook-5', 'Noted', 3) RETURNING request_id, leg;
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id, leg)
VALUES ('textbook-5', 'Noted', 'textbook-legs', 0), ('textbook-5', 'Noted', 'textbook-legs', 1) RETURNING request_id, leg;

-- a history of its own time: not in the future, not before the account's previous event
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at)
VALUES ('textbook-9', 'PointEarned', 10, '2020-01-01 00:00+00'), ('textbook-9', 'PointEarned', 20, '2020-02-01 00:00+00'),
       ('textbook-9', 'PointEarned', 30, '2020-02-01 00:00+00');
INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('textbook-9', 'Noted', '2020-01-31 23:59+00');
INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('textbook-9', 'Noted', now() + interval '1 minute');
INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('textbook-9', 'Noted', 'infinity');
INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('textbook-10', 'Noted', '-infinity');
SELECT pointstore.balance_at('textbook-9', '2020-01-15'), pointstore.balance_at('textbook-9', '2020-03-01');
SELECT version, amount, occurred_at = created_at AS same FROM pointstore.event_store WHERE aggregate_id = 'textbook-9' ORDER BY 1;
-- and goes on with the clock
SELECT version, balance, created_at > '2026-01-01' AS now FROM pointstore.append_event('textbook-9', 'PointSpent', -1);

-- a retry is skipped, as a row and in a file
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-11', 'PointEarned', 5, 'textbook-r2');
\echo rows :ROW_COUNT
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-11', 'PointEarned', 5, 'textbook-r2');
\echo rows :ROW_COUNT
-- a retry of an amount left out is one too
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id) VALUES ('textbook-11', 'PointEarned', 'textbook-r2');
\echo rows :ROW_COUNT
COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin;
textbook-12	PointEarned	100	textbook-c1
textbook-12	PointSpent	-30	textbook-c2
textbook-12	PointEarned	100	textbook-c1
textbook-11	PointEarned	5	textbook-r2
textbook-12	PointSpent	-70	\N
\.
\echo rows :ROW_COUNT
SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id IN ('textbook-11', 'textbook-12') ORDER BY 1;
-- another content is not a retry, and takes the whole file with it
COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin;
textbook-12	PointEarned	100	textbook-c3
textbook-12	PointEarned	101	textbook-c1
\.
COPY pointstore.event_store (aggregate_id, event_type, amount) FROM stdin;
textbook-12	PointEarned	100
textbook-12	PointSpent	-101
\.
SELECT version, balance FROM pointstore.get_balance('textbook-12');

-- ON CONFLICT DO NOTHING skips, or fails by commit, but leaves no half
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-12', 'PointEarned', 100, 'textbook-c1')
ON CONFLICT DO NOTHING;
\echo rows :ROW_COUNT
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-12', 'PointEarned', 4, 'textbook-c4')
ON CONFLICT (request_id, leg) DO NOTHING;
\echo rows :ROW_COUNT
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('textbook-12', 1, 'PointEarned', 4)
ON CONFLICT DO NOTHING;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-12', 'PointEarned', 100, 'textbook-c1')
ON CONFLICT (request_id, leg) DO UPDATE SET amount = 7;
-- an index of the user's: the row is dropped after our trigger saw it
CREATE UNIQUE INDEX textbook_once ON pointstore.event_store ((payload ->> 'textbook_once'));
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('textbook-13', 'PointEarned', 1, '{"textbook_once": "x"}');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('textbook-13', 'PointEarned', 1, '{"textbook_once": "x"}')
ON CONFLICT DO NOTHING;
SELECT b.version, b.balance, count(e.*), sum(e.amount) FROM pointstore.balance b JOIN pointstore.event_store e USING (aggregate_id)
 WHERE aggregate_id = 'textbook-13' GROUP BY 1, 2;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('textbook-13', 'PointEarned', 1, '{"textbook_once": "x"}');
SELECT pointstore.append_event('textbook-13', 'PointEarned', 1, '{"textbook_once": "x"}');
SELECT version, balance FROM pointstore.get_balance('textbook-13');
DROP INDEX pointstore.textbook_once;

-- a kind may demand that the amount is given: a blind update then is no event of its own making
INSERT INTO pointstore.account_kind (kind, amount_required) VALUES ('textbook-strict', true);
INSERT INTO pointstore.account_kind (kind, mode, amount_required) VALUES ('textbook-strict-pure', 'pure', true);
SELECT pointstore.open_account('textbook-14', 'textbook-strict'), pointstore.open_account('textbook-15', 'textbook-strict-pure');
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id) VALUES ('textbook-14', 'Noted', 'textbook-r3');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-15', 'Noted');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-15', 'Noted', 0);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-14', 'PointEarned', 500, 'textbook-r3');
BEGIN;
UPDATE pointstore.balance SET balance = 400, version = version + 1 WHERE aggregate_id = 'textbook-14';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-14', 'PointSpent');
ROLLBACK;
-- two that have read 500 and write what they think: the second one's update does not match what it says
BEGIN;
UPDATE pointstore.balance SET balance = 400, version = version + 1 WHERE aggregate_id = 'textbook-14';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-14', 'PointSpent', -100);
COMMIT;
BEGIN;
UPDATE pointstore.balance SET balance = 400, version = version + 1 WHERE aggregate_id = 'textbook-14';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-14', 'PointSpent', -100);
ROLLBACK;
SELECT version, balance FROM pointstore.get_balance('textbook-14');

-- the caller writes the balances: an event never moves one, its update comes before or after it
SET pointstore.balance_writer = 'caller';
-- the account's row comes before its first event
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-16', 'PointEarned', 5);
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-16', 'PointEarned', 5);
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('textbook-16', 1, 5);
ROLLBACK;
BEGIN;
INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('textbook-16', 1, 5);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-16', 'PointEarned', 5);
COMMIT;
BEGIN;
INSERT INTO pointstore.balance (aggregate_id) VALUES ('textbook-17');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 1000);
SELECT version, balance FROM pointstore.balance WHERE aggregate_id = 'textbook-17';
UPDATE pointstore.balance SET balance = 1000, version = version + 1 WHERE aggregate_id = 'textbook-17' AND version = 0;
COMMIT;
-- alone it does not commit, nor is it prepared; nor with another balance; nor is an amount made up
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 5);
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 5);
PREPARE TRANSACTION 'textbook-p1';
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 5);
UPDATE pointstore.balance SET balance = 1006, version = version + 1 WHERE aggregate_id = 'textbook-17';
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = 1006, version = version + 1 WHERE aggregate_id = 'textbook-17';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 5);
ROLLBACK;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-17', 'Noted');
-- several events and updates, in mixed order, of several accounts; rows of one statement, and a COPY
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -100), ('textbook-16', 'PointEarned', 1), ('textbook-17', 'PointSpent', -200);
UPDATE pointstore.balance SET balance = 900, version = version + 1 WHERE aggregate_id = 'textbook-17';
COPY pointstore.event_store (aggregate_id, version, event_type, amount) FROM stdin;
textbook-17	4	PointSpent	-300
\.
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'textbook-16';
UPDATE pointstore.balance SET balance = 700, version = version + 1 WHERE aggregate_id = 'textbook-17';
UPDATE pointstore.balance SET balance = 400, version = version + 1 WHERE aggregate_id = 'textbook-17';
UPDATE pointstore.balance SET balance = 395, version = version + 1 WHERE aggregate_id = 'textbook-17';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-17', 'PointSpent');
COMMIT;
SELECT version, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'textbook-17' ORDER BY version;
SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id IN ('textbook-16', 'textbook-17') ORDER BY 1;
-- one of several is missing
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -1), ('textbook-17', 'PointSpent', -1);
UPDATE pointstore.balance SET balance = 394, version = version + 1 WHERE aggregate_id = 'textbook-17';
COMMIT;
-- the rules are asked at the event, of what the balance will be, and once; versions count what waits
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -395);
SAVEPOINT s;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -1);
ROLLBACK TO s;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('textbook-17', 6, 'Noted', 0);
ROLLBACK TO s;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('textbook-17', 7, 'PointEarned', 395);
UPDATE pointstore.balance SET balance = 0, version = version + 1 WHERE aggregate_id = 'textbook-17';
UPDATE pointstore.balance SET balance = 395, version = version + 1 WHERE aggregate_id = 'textbook-17';
COMMIT;
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-14', 'PointSpent', -100);
UPDATE pointstore.account_kind SET min_balance = 1000 WHERE kind = 'textbook-strict';
UPDATE pointstore.balance SET balance = 300, version = version + 1 WHERE aggregate_id = 'textbook-14';
SELECT version, balance FROM pointstore.get_balance('textbook-14');
ROLLBACK;
-- no function while something waits, whatever it is; a replay says what was; reconciliation does not accuse
SELECT outcome FROM pointstore.append_event('textbook-17', 'Noted', request_id => 'textbook-r4');
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -5);
SELECT count(*) FROM pointstore.reconcile_account('textbook-17');
SELECT outcome, version FROM pointstore.append_event('textbook-17', 'Noted', request_id => 'textbook-r4');
SAVEPOINT s;
SELECT pointstore.append_event('textbook-17', 'Noted');
ROLLBACK TO s;
SELECT pointstore.append_events('[{"aggregate_id": "textbook-16", "event_type": "Noted"}, {"aggregate_id": "textbook-17", "event_type": "Noted"}]');
ROLLBACK TO s;
SELECT pointstore.hold('textbook-17', 1);
ROLLBACK TO s;
SELECT pointstore.transfer('textbook-16', 'textbook-17', 1);
ROLLBACK TO s;
SELECT pointstore.reverse_event('textbook-17', 1);
ROLLBACK TO s;
SELECT pointstore.close_account('textbook-17');
ROLLBACK TO s;
SELECT pointstore.freeze_account('textbook-17', 'test');
ROLLBACK TO s;
SELECT pointstore.set_kind('textbook-17', 'textbook-strict');
ROLLBACK TO s;
SELECT pointstore.rebuild_balance('textbook-17');
ROLLBACK TO s;
UPDATE pointstore.balance SET balance = balance - 5, version = version + 1 WHERE aggregate_id = 'textbook-17';
SELECT count(*) FROM pointstore.reconcile_account('textbook-17');
SELECT balance FROM pointstore.append_event('textbook-17', 'PointEarned', 5);
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'textbook-17';
SELECT count(*) FROM pointstore.reconcile_account('textbook-17');
SELECT pointstore.append_event('textbook-17', 'Noted');
ROLLBACK;
-- what waits outlives the setting; what comes behind it waits too
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -5);
SET LOCAL pointstore.balance_writer = 'store';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -6);
SELECT version, balance FROM pointstore.get_balance('textbook-17');
SAVEPOINT s;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('textbook-17', 'Noted');
ROLLBACK TO s;
UPDATE pointstore.balance SET balance = balance - 5, version = version + 1 WHERE aggregate_id = 'textbook-17';
UPDATE pointstore.balance SET balance = balance - 6, version = version + 1 WHERE aggregate_id = 'textbook-17';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 11);
COMMIT;
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -5);
SET LOCAL pointstore.balance_writer = 'store';
COMMIT;
SELECT version, balance FROM pointstore.get_balance('textbook-17');
-- savepoints: a change taken back leaves its event waiting, an event taken back is not missed
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -5);
SAVEPOINT s;
UPDATE pointstore.balance SET balance = balance - 5, version = version + 1 WHERE aggregate_id = 'textbook-17';
ROLLBACK TO s;
COMMIT;
BEGIN;
SAVEPOINT s;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -5);
ROLLBACK TO s;
SET LOCAL pointstore.balance_writer = 'store';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointSpent', -4);
COMMIT;
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-17', 'PointEarned', 4);
UPDATE pointstore.balance SET balance = balance + 4, version = version + 1 WHERE aggregate_id = 'textbook-17';
PREPARE TRANSACTION 'textbook-p2';
COMMIT PREPARED 'textbook-p2';
SELECT version, balance FROM pointstore.get_balance('textbook-17');
-- an event that is skipped has no change, and a change without it no event
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-17', 'Noted', 0, 'textbook-r4');
\echo rows :ROW_COUNT
COMMIT;
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('textbook-17', 'Noted', 0, 'textbook-r4') ON CONFLICT DO NOTHING;
UPDATE pointstore.balance SET version = version + 1 WHERE aggregate_id = 'textbook-17';
COMMIT;
CREATE UNIQUE INDEX textbook_once ON pointstore.event_store ((payload ->> 'textbook_once'));
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) VALUES ('textbook-17', 'PointEarned', 1, '{"textbook_once": "x"}') ON CONFLICT DO NOTHING;
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'textbook-17';
COMMIT;
DROP INDEX pointstore.textbook_once;
-- functions and pure accounts are as ever
SELECT outcome, version, balance FROM pointstore.append_event('textbook-18', 'PointEarned', 7);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-15', 'Noted', 3);
SELECT version, balance FROM pointstore.get_balance('textbook-15');
RESET pointstore.balance_writer;
SET pointstore.balance_writer = 'nobody';

-- of two changes that wait the first one's event keeps to the rules as the change did
SELECT pointstore.open_account('textbook-19');
BEGIN;
UPDATE pointstore.balance SET balance = 50, version = 1 WHERE aggregate_id = 'textbook-19';
UPDATE pointstore.balance SET balance = 60, version = 2 WHERE aggregate_id = 'textbook-19';
SAVEPOINT s;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-19', 'PointSpent', -500), ('textbook-19', 'PointEarned', 560);
ROLLBACK TO s;
INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('textbook-19', 2, 'PointEarned', 50);
ROLLBACK TO s;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('textbook-19', 'PointEarned', 50), ('textbook-19', 'PointEarned', 10);
COMMIT;
SELECT version, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'textbook-19' ORDER BY version;

-- whatever was tried, rows and events agree
SELECT count(*) FROM pointstore.balance b WHERE aggregate_id LIKE 'textbook-%'
   AND (version, balance) <> (SELECT count(*), coalesce(sum(amount), 0) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id);
