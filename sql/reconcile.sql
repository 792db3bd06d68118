-- Reconciliation: each way of corrupting a store is found, with its code, severity
-- and first bad version, and nothing else is; repairs do what the policy says.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL pointstore.reconcile('full') \gset
CALL pointstore.rebuild_balances();
UPDATE pointstore.account_kind SET on_mismatch = 'report';
INSERT INTO pointstore.account_kind (kind, min_balance, on_mismatch, source_of_truth) VALUES
    ('rec-report', NULL, 'report', 'events'), ('rec-events', NULL, 'repair', 'events'), ('rec-balance', NULL, 'repair', 'balance'),
    ('rec-freeze', NULL, 'freeze', 'events');
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('rec-pure', 'pure', NULL);

-- what the findings of these tests are
CREATE VIEW rec_finding AS
SELECT aggregate_id, code, severity, expected, found, version, action FROM pointstore.finding
 WHERE resolved_at IS NULL AND aggregate_id LIKE 'rec-%';

-- accounts of ten events, 1 .. 10, as many as there are ways
SELECT count(pointstore.append_event('rec-' || lpad(a::text, 2, '0'), 'Earned', e, kind => 'rec-report'))
  FROM generate_series(1, 34) a, generate_series(1, 10) e;
SELECT count(pointstore.append_event('rec-p' || a, 'Earned', e, kind => 'rec-pure'))
  FROM generate_series(1, 9) a, generate_series(1, 10) e;

-- a healthy store has no findings of its own
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding;
SELECT scope, status, findings, unverified, triggered_by, error FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT count(*), min(version), max(version) FROM pointstore.account_proof WHERE aggregate_id LIKE 'rec-%';

BEGIN;
SET LOCAL session_replication_role = replica;
-- the row
UPDATE pointstore.balance SET balance = balance + 7 WHERE aggregate_id = 'rec-01';
UPDATE pointstore.balance SET balance = balance - 7 WHERE aggregate_id = 'rec-02';
UPDATE pointstore.balance SET version = 11 WHERE aggregate_id = 'rec-03';
UPDATE pointstore.balance SET version = 9 WHERE aggregate_id = 'rec-04';
UPDATE pointstore.balance SET held = 5 WHERE aggregate_id = 'rec-05';
UPDATE pointstore.balance SET held = -5 WHERE aggregate_id = 'rec-06';
DELETE FROM pointstore.balance WHERE aggregate_id = 'rec-07';
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-08';
-- amounts: of the first event, one in the middle, the last, with the balance following or not
UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = 'rec-09' AND version = 1;
UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = 'rec-10' AND version = 5;
UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = 'rec-11' AND version = 10;
-- two compensating ones in one account: the sum is right
UPDATE pointstore.event_store SET amount = amount + CASE version WHEN 3 THEN 1 ELSE -1 END WHERE aggregate_id = 'rec-12' AND version IN (3, 7);
-- and across two accounts
UPDATE pointstore.event_store SET amount = amount + CASE aggregate_id WHEN 'rec-13' THEN 1 ELSE -1 END
 WHERE aggregate_id IN ('rec-13', 'rec-14') AND version = 4;
-- a history rewritten consistently, events and chain, but not the row
UPDATE pointstore.event_store SET amount = amount + CASE version WHEN 2 THEN 100 ELSE 0 END, balance_after = balance_after + 100
 WHERE aggregate_id = 'rec-15' AND version >= 2;
-- balance_after of the first, a middle and the last event
UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'rec-16' AND version = 1;
UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'rec-17' AND version = 6;
UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'rec-18' AND version = 10;
-- two balance_after exchanged: their sum is right
UPDATE pointstore.event_store SET balance_after = CASE version WHEN 3 THEN 10 ELSE 6 END WHERE aggregate_id = 'rec-19' AND version IN (3, 4);
-- versions and accounts
UPDATE pointstore.event_store SET version = 20 WHERE aggregate_id = 'rec-20' AND version = 10;
UPDATE pointstore.event_store SET version = 0 WHERE aggregate_id = 'rec-21' AND version = 1;
UPDATE pointstore.event_store SET version = CASE version WHEN 4 THEN 104 ELSE version END WHERE aggregate_id = 'rec-22';
UPDATE pointstore.event_store SET aggregate_id = 'rec-24', version = 11 WHERE aggregate_id = 'rec-23' AND version = 10;
-- deleted: the first, one in the middle, the last
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-25' AND version = 1;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-26' AND version = 5;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-27' AND version = 10;
-- the last, and the row with it: found by what was proved before
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-28' AND version = 10;
UPDATE pointstore.balance SET version = 9, balance = balance - 10 WHERE aggregate_id = 'rec-28';
-- an account altogether: its events, and its row
DELETE FROM pointstore.event_store WHERE aggregate_id IN ('rec-34', 'rec-p8', 'rec-p9');
DELETE FROM pointstore.balance WHERE aggregate_id = 'rec-34';
DELETE FROM pointstore.pure_account WHERE aggregate_id = 'rec-p9';
-- an event of amount 0 slipped in at the end, with nobody the richer
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (-1, 'rec-29', 11, 'Slipped', 0, 0, 55, '{}', now(), now());
-- held of an event, beyond bigint in the sum, and what no finding is for
UPDATE pointstore.event_store SET held = 3 WHERE aggregate_id = 'rec-30' AND version = 2;
UPDATE pointstore.event_store SET amount = 9223372036854775807 WHERE aggregate_id = 'rec-31' AND version IN (2, 3);
UPDATE pointstore.event_store SET created_at = now(), metadata = '{"harmless": 1}' WHERE aggregate_id = 'rec-32' AND version = 10;
-- a chain that holds but for 2 ^ 64
UPDATE pointstore.event_store SET amount = CASE version WHEN 2 THEN 9223372036854775807 ELSE -9223372036854775802 END,
       balance_after = CASE version WHEN 2 THEN -9223372036854775808 ELSE balance_after END WHERE aggregate_id = 'rec-33' AND version IN (2, 3);
-- pure accounts
UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = 'rec-p1' AND version = 1;
UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'rec-p2' AND version = 10;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-p3' AND version = 5;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-p4' AND version = 10;
DELETE FROM pointstore.pure_account WHERE aggregate_id = 'rec-p5';
UPDATE pointstore.event_store SET version = 11 WHERE aggregate_id = 'rec-p6' AND version = 10;
INSERT INTO pointstore.balance (aggregate_id, kind, version, balance) VALUES ('rec-p7', 'rec-report', 10, 55);
INSERT INTO pointstore.balance (aggregate_id, kind, version, balance) VALUES ('rec-orphan', 'rec-report', 3, 30), ('rec-empty', 'rec-report', 0, 0);
COMMIT;

CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding ORDER BY aggregate_id, code COLLATE "C";
SELECT status, findings = (SELECT count(*) FROM rec_finding) AS all_counted, unverified FROM pointstore.reconciliation_run WHERE id = :run_id;

-- an account by itself says the same, and records nothing
SELECT count(*) AS differ FROM rec_finding f
  FULL JOIN (SELECT a.aggregate_id, r.* FROM (SELECT DISTINCT aggregate_id FROM rec_finding) a, pointstore.reconcile_account(a.aggregate_id) r) r
    USING (aggregate_id, code)
 WHERE (f.severity, f.expected, f.found, f.version) IS DISTINCT FROM (r.severity, r.expected, r.found, r.version);
SELECT count(*) FROM pointstore.reconcile_account('rec-32');
SELECT * FROM pointstore.reconcile_account('rec-none');
SELECT * FROM pointstore.reconcile_account(NULL);

-- seen again it is the same finding
CREATE TEMP TABLE seen AS SELECT * FROM pointstore.finding WHERE resolved_at IS NULL;
CALL pointstore.reconcile('full') \gset
SELECT count(*) AS same, bool_and(f.last_seen_at > s.last_seen_at) AS seen_again, bool_and(f.detected_at = s.detected_at AND f.run_id = s.run_id) AS first_time_kept
  FROM pointstore.finding f JOIN seen s USING (id) WHERE f.resolved_at IS NULL;
SELECT count(*) FROM pointstore.finding f WHERE f.resolved_at IS NULL AND NOT EXISTS (SELECT FROM seen s WHERE s.id = f.id);

-- the operator decides: by the kind's source, by another one, and not where the events are broken
SELECT pointstore.repair(id) IS NOT NULL AS done FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-01';
SELECT pointstore.repair(id, 'balance') IS NOT NULL AS done FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-02';
SELECT aggregate_id, version, balance, (SELECT sum(amount) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id) AS events
  FROM pointstore.balance b WHERE aggregate_id IN ('rec-01', 'rec-02') ORDER BY 1;
SELECT version, event_type, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'rec-02' AND version > 9;
SELECT aggregate_id, action, before ->> 'balance' AS before, after ->> 'balance' AS after, before ->> 'version' AS version_before, after ->> 'version' AS version_after
  FROM pointstore.account_log WHERE action = 'repair' ORDER BY id;
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-17';
SELECT pointstore.repair(id, 'balance') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-17';
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-p7';
SELECT pointstore.repair(id, 'balance') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-03';
SELECT pointstore.repair(id, 'balance') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-07';
-- what an event says was held, and no hold knows of, is in the row then, and the finding stays
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-30';
SELECT pointstore.repair(id, 'oracle') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-07';
SELECT pointstore.repair(NULL);
SELECT pointstore.repair(0);
SELECT pointstore.repair(id) FROM pointstore.finding WHERE aggregate_id = 'rec-01';
SELECT count(pointstore.repair(id)) FROM pointstore.finding WHERE resolved_at IS NULL
   AND aggregate_id IN ('rec-03', 'rec-04', 'rec-05', 'rec-06', 'rec-07', 'rec-08', 'rec-15', 'rec-27', 'rec-28', 'rec-29', 'rec-34', 'rec-orphan', 'rec-p4', 'rec-p8', 'rec-p9')
   AND id IN (SELECT min(id) FROM pointstore.finding WHERE resolved_at IS NULL GROUP BY aggregate_id);
SELECT aggregate_id, code, action, resolved_by = current_user AS by_me FROM pointstore.finding
 WHERE resolved_at IS NOT NULL AND aggregate_id LIKE 'rec-%' ORDER BY aggregate_id, code COLLATE "C";
CALL pointstore.reconcile('full') \gset
SELECT DISTINCT aggregate_id, severity FROM rec_finding WHERE severity <> 'critical' AND aggregate_id NOT IN (SELECT aggregate_id FROM rec_finding WHERE severity = 'critical');
-- what is put right by hand is closed as resolved
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET balance_after = balance_after - 1 WHERE aggregate_id = 'rec-17' AND version = 6;
COMMIT;
CALL pointstore.reconcile('incremental') \gset
SELECT code, action, resolved_by FROM pointstore.finding WHERE aggregate_id = 'rec-17';

-- policies
SELECT count(pointstore.append_event(k || '-' || a, 'Earned', e, kind => k))
  FROM unnest(ARRAY['rec-events', 'rec-balance', 'rec-freeze']) k, generate_series(1, 4) a, generate_series(1, 3) e;
CALL pointstore.reconcile('incremental') \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = balance + 100 WHERE aggregate_id LIKE 'rec-%-1' AND kind <> 'rec-report';
UPDATE pointstore.balance SET held = 9 WHERE aggregate_id LIKE 'rec-%-2' AND kind <> 'rec-report';
UPDATE pointstore.event_store SET amount = 77 WHERE aggregate_id LIKE 'rec-%-3' AND version = 2;
COMMIT;
SELECT status FROM pointstore.get_balance('rec-freeze-1');
CALL pointstore.reconcile('full') \gset
SELECT aggregate_id, code, severity, action, resolved_at IS NOT NULL AS resolved, resolved_by FROM pointstore.finding
 WHERE aggregate_id ~ '^rec-(events|balance|freeze)' ORDER BY aggregate_id, code COLLATE "C";
SELECT aggregate_id, version, balance, held, status FROM pointstore.balance WHERE aggregate_id ~ '^rec-(events|balance|freeze)' ORDER BY 1;
SELECT event_type, amount, balance_after FROM pointstore.event_store WHERE aggregate_id = 'rec-balance-1' AND version = 4;
SELECT aggregate_id, action, reason FROM pointstore.account_log WHERE aggregate_id ~ '^rec-(events|balance|freeze)' AND action <> 'open' ORDER BY aggregate_id;
SELECT pointstore.append_event('rec-freeze-1', 'Earned', 1);
SELECT pointstore.append_event('rec-freeze-1', 'Spent', -1);
-- the next run finds what is left, repairs nothing again and accuses nobody else
CREATE TEMP TABLE logged AS SELECT count(*) AS rows FROM pointstore.account_log;
CALL pointstore.reconcile('full') \gset
SELECT count(*) = (SELECT rows FROM logged) AS nothing_done FROM pointstore.account_log;

-- the breaker: more accounts than it may touch
SELECT count(pointstore.append_event('rec-many-' || a, 'Earned', 5, kind => 'rec-events')) FROM generate_series(1, 20) a;
CALL pointstore.reconcile('incremental') \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 6 WHERE aggregate_id LIKE 'rec-many-%';
COMMIT;
SET pointstore.max_auto_actions = 5;
CALL pointstore.reconcile('full') \gset
SELECT action, count(*) FROM pointstore.finding WHERE aggregate_id LIKE 'rec-many-%' GROUP BY action ORDER BY action;
SELECT status, error IS NOT NULL AS said FROM pointstore.reconciliation_run WHERE id = :run_id;
RESET pointstore.max_auto_actions;
CALL pointstore.reconcile('full') \gset
SELECT action, resolved_at IS NOT NULL AS resolved, count(*) FROM pointstore.finding WHERE aggregate_id LIKE 'rec-many-%' GROUP BY 1, 2 ORDER BY 1, 2;

-- what cannot be repaired is reported, undone altogether, and holds nobody up
SELECT count(pointstore.append_event('rec-cannot-' || a, 'Earned', 5, kind => 'rec-events')) FROM generate_series(1, 4) a;
SELECT version FROM pointstore.append_event('rec-cannot-5', 'Spent', -5, kind => 'rec-balance');
ALTER TABLE pointstore.balance ADD CONSTRAINT rec_no_debt CHECK (balance > -100 OR aggregate_id <> 'rec-cannot-2');
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO pointstore.pure_account VALUES ('rec-cannot-1', 'rec-pure');
UPDATE pointstore.event_store SET amount = -500, balance_after = -500 WHERE aggregate_id = 'rec-cannot-2';
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id IN ('rec-cannot-1', 'rec-cannot-4');
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT -10 - v, 'rec-cannot-3', v, 'Slipped', 0, 9223372036854775807, 5, '{}', now(), now() FROM generate_series(2, 3) v;
UPDATE pointstore.balance SET balance = 9223372036854775807 WHERE aggregate_id = 'rec-cannot-5';
COMMIT;
CALL pointstore.reconcile('full') \gset
CALL pointstore.reconcile('full') \gset
SELECT status FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT aggregate_id, code, action, resolved_at IS NOT NULL AS resolved FROM pointstore.finding WHERE aggregate_id LIKE 'rec-cannot-%' ORDER BY aggregate_id, code COLLATE "C";
SELECT aggregate_id, version, balance FROM pointstore.balance WHERE aggregate_id LIKE 'rec-cannot-%' ORDER BY 1;
SELECT aggregate_id, action FROM pointstore.account_log WHERE aggregate_id LIKE 'rec-cannot-%' AND action <> 'open' ORDER BY id;
ALTER TABLE pointstore.balance DROP CONSTRAINT rec_no_debt;

-- a missing account's policy is that of the kind it had
SELECT pointstore.open_account('rec-missing', 'rec-events');
SELECT version FROM pointstore.append_event('rec-missing', 'Earned', 5);
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.balance WHERE aggregate_id = 'rec-missing';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT code, action, resolved_at IS NOT NULL AS resolved FROM pointstore.finding WHERE aggregate_id = 'rec-missing';
SELECT action, reason, after ->> 'kind' AS kind FROM pointstore.account_log WHERE aggregate_id = 'rec-missing' AND action <> 'open';

-- an operator who takes an account as it is leaves that in the log, too
SELECT count(pointstore.append_event('rec-gone', 'Earned', 5, kind => 'rec-report')) FROM generate_series(1, 3);
CALL pointstore.reconcile() \gset
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-gone' AND version = 3;
UPDATE pointstore.balance SET version = 2, balance = 10 WHERE aggregate_id = 'rec-gone';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT pointstore.repair(id) IS NOT NULL AS done FROM pointstore.finding WHERE aggregate_id = 'rec-gone';
SELECT action, before = after AS as_it_was FROM pointstore.account_log WHERE aggregate_id = 'rec-gone' AND action = 'repair';

-- many findings put right behind its back: a full run believes what it has read
SELECT count(pointstore.append_event('rec-back-' || a, 'Earned', 5, kind => 'rec-report')) FROM generate_series(1, 25) a;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 6 WHERE aggregate_id LIKE 'rec-back-%';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id LIKE 'rec-back-%';
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 5 WHERE aggregate_id LIKE 'rec-back-%';
COMMIT;
SELECT DISTINCT pointstore.repair(id) IS NOT NULL AS done FROM pointstore.finding WHERE aggregate_id = 'rec-back-1';
CALL pointstore.reconcile('full') \gset
SELECT unverified FROM pointstore.reconciliation_run WHERE id = :run_id;
-- what nobody had to repair was not repaired
SELECT action, resolved_at IS NOT NULL AS resolved, count(*) FROM pointstore.finding WHERE aggregate_id LIKE 'rec-back-%' GROUP BY 1, 2;

-- a row that stands twice, where its key is gone
BEGIN;
SET LOCAL session_replication_role = replica;
ALTER TABLE pointstore.balance DROP CONSTRAINT balance_pkey;
INSERT INTO pointstore.balance (aggregate_id, kind, version, balance) VALUES ('rec-back-2', 'rec-report', 1, 7);
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-back-%';
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.balance WHERE aggregate_id = 'rec-back-2' AND balance = 7;
ALTER TABLE pointstore.balance ADD PRIMARY KEY (aggregate_id);
COMMIT;

-- incremental: what came since, by whatever way, and no more
SELECT count(pointstore.append_event('rec-inc-' || a, 'Earned', 1, kind => 'rec-report')) FROM generate_series(1, 5) a;
CALL pointstore.reconcile() \gset
SELECT status <> 'running' AS done, accounts_checked >= 5 AS some FROM pointstore.reconciliation_run WHERE id = :run_id;
CALL pointstore.reconcile() \gset
SELECT accounts_checked, events_checked FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT count(pointstore.append_event('rec-inc-1', 'Earned', 1)) FROM generate_series(1, 3);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rec-inc-2', 'Earned', 1);
CALL pointstore.reconcile() \gset
SELECT accounts_checked, events_checked FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT aggregate_id, version, balance FROM pointstore.account_proof WHERE aggregate_id IN ('rec-inc-1', 'rec-inc-2') ORDER BY 1;
SELECT count(pointstore.append_event('rec-inc-1', 'Earned', 1)) FROM generate_series(1, 3);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = 2 WHERE aggregate_id = 'rec-inc-1' AND version = 6;
UPDATE pointstore.balance SET balance = 1000 WHERE aggregate_id = 'rec-inc-3';
COMMIT;
CALL pointstore.reconcile() \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-inc-%' ORDER BY aggregate_id, code COLLATE "C";

-- accounts whose names have one hash are two, and so are their findings
SELECT count(DISTINCT hashtextextended(a COLLATE "C", 0)), count(pointstore.append_event(a, 'Earned', 5, kind => 'rec-report'))
  FROM unnest(ARRAY['rec-fraudster-account-01', 'rec-eyls31jzEQnREB>KXBrN']) a;
CALL pointstore.reconcile() \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 500 WHERE aggregate_id IN ('rec-fraudster-account-01', 'rec-eyls31jzEQnREB>KXBrN');
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT aggregate_id, code FROM rec_finding WHERE aggregate_id IN ('rec-fraudster-account-01', 'rec-eyls31jzEQnREB>KXBrN') ORDER BY 1;
SELECT count(changed) FROM unnest(ARRAY['rec-fraudster-account-01', 'rec-eyls31jzEQnREB>KXBrN']) a, pointstore.rebuild_balance(a);
-- a clock that once was wrong: said by a full run, no finding
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET updated_at = '2100-01-01' WHERE aggregate_id = 'rec-fraudster-account-01';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT error IS NOT NULL AS said, (SELECT count(*) FROM rec_finding WHERE aggregate_id = 'rec-fraudster-account-01') FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT changed FROM pointstore.rebuild_balance('rec-fraudster-account-01');
CALL pointstore.reconcile('full') \gset
SELECT error IS NOT NULL AS said FROM pointstore.reconciliation_run WHERE id = :run_id;

-- more accounts than fit in memory, in both scopes
SET work_mem = '64kB';
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'rec-spill-' || i, 'Earned', i FROM generate_series(1, 3000) i;
CALL pointstore.reconcile() \gset
SELECT status <> 'failed' AS done, accounts_checked >= 3000 AS all_checked FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT count(*), sum(balance) FROM pointstore.account_proof WHERE aggregate_id LIKE 'rec-spill-%';
DELETE FROM pointstore.account_proof WHERE aggregate_id LIKE 'rec-spill-%';
CALL pointstore.reconcile('full') \gset
SELECT count(*), sum(balance) FROM pointstore.account_proof WHERE aggregate_id LIKE 'rec-spill-%';
RESET work_mem;

-- a store without its key, and the same event twice: everything else refuses, the verifier says so
SELECT count(pointstore.append_event('rec-dup-' || a, 'Earned', e, kind => 'rec-events')) FROM generate_series(1, 3) a, generate_series(1, 4) e;
CALL pointstore.reconcile() \gset
BEGIN;
SET LOCAL session_replication_role = replica;
ALTER TABLE pointstore.event_store DROP CONSTRAINT event_store_pkey;
ALTER TABLE pointstore.event_store DROP CONSTRAINT event_store_id_key;
INSERT INTO pointstore.event_store SELECT * FROM pointstore.event_store WHERE aggregate_id = 'rec-dup-1' AND version IN (1, 2);
INSERT INTO pointstore.event_store SELECT * FROM pointstore.event_store WHERE aggregate_id = 'rec-dup-2' AND version = 4;
UPDATE pointstore.balance SET balance = 0 WHERE aggregate_id = 'rec-dup-3';
COMMIT;
SELECT pointstore.append_event('rec-dup-1', 'Earned', 1);
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-dup-%' ORDER BY aggregate_id, code COLLATE "C";
SELECT code, severity, expected, found, version FROM pointstore.reconcile_account('rec-dup-2') ORDER BY code COLLATE "C";
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-dup-3';
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store a USING pointstore.event_store b
 WHERE a.aggregate_id LIKE 'rec-dup-%' AND (a.aggregate_id, a.version) = (b.aggregate_id, b.version) AND a.ctid > b.ctid;
ALTER TABLE pointstore.event_store ADD PRIMARY KEY (aggregate_id, version), ADD UNIQUE (id);
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT aggregate_id, code, action, resolved_by FROM pointstore.finding WHERE aggregate_id LIKE 'rec-dup-%' ORDER BY aggregate_id, code COLLATE "C";
SELECT version, balance FROM pointstore.append_event('rec-dup-1', 'Earned', 1);

-- holds, transfers and what takes back: a healthy store is clean, whatever steps it is in
SELECT count(pointstore.append_event(a, 'Earned', 1000, kind => 'rec-report'))
  FROM (SELECT 'rec-h' || i FROM generate_series(1, 9) i UNION ALL SELECT 'rec-t' || i FROM generate_series(1, 9) i) x(a);
SELECT count(pointstore.hold('rec-h' || i, 100, 'rec-hold-' || i || k, CASE k WHEN 'e' THEN '1 ms' ELSE '1 day' END::interval))
  FROM generate_series(1, 8) i, unnest(ARRAY['o', 'c', 'x', 'e', 'p']) k;
SELECT count(pointstore.confirm_hold('rec-hold-' || i || 'c', 60)), count(pointstore.cancel_hold('rec-hold-' || i || 'x')) FROM generate_series(1, 8) i;
SELECT count(pointstore.cancel_hold('rec-hold-tomb'));
SELECT count(*) FROM generate_series(1, 8) i, pointstore.transfer('rec-t' || i, 'rec-t' || i + 1, 64, CASE WHEN i % 2 = 0 THEN 'rec-req-' || i END);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "rec-t1", "event_type": "Split", "amount": -30}, {"aggregate_id": "rec-t2", "event_type": "Split", "amount": 10},
    {"aggregate_id": "rec-t9", "event_type": "Split", "amount": 20}]', 'rec-req-split', true);
SELECT count(*) FROM pointstore.reverse_event('rec-t7', 2, 20) a, pointstore.reverse_event('rec-t7', 2, 20, 'rec-req-back') b, pointstore.reverse_event('rec-h1', 1, 10) c;
-- what merely follows from a leg is none, nor is what a first event of a request was the cause of
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id, leg, cause_id)
SELECT 'rec-h9', 'Followed', 5, CASE WHEN n = 1 THEN 'rec-req-follow' END, 0, id FROM pointstore.event_store, generate_series(1, 2) n WHERE aggregate_id = 'rec-t1' AND version = 2;
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id ~ '^rec-[ht]\d';
CALL pointstore.sweep_holds();
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id ~ '^rec-[ht]\d';
BEGIN;
SET LOCAL session_replication_role = replica;
-- an open hold: of more, of less, closed, gone; a closed one open again; one of nobody; one that row and event have forgotten, row alone
UPDATE pointstore.hold SET amount = 101 WHERE hold_id = 'rec-hold-1o';
UPDATE pointstore.hold SET amount = 99 WHERE hold_id = 'rec-hold-2o';
UPDATE pointstore.hold SET status = 'cancelled' WHERE hold_id = 'rec-hold-3o';
DELETE FROM pointstore.hold WHERE hold_id = 'rec-hold-4o';
UPDATE pointstore.hold SET status = 'open' WHERE hold_id = 'rec-hold-5c';
INSERT INTO pointstore.hold (hold_id, aggregate_id, amount, captured, status, created_at, expires_at, event_id) VALUES ('rec-hold-nobody', 'rec-hnobody', 7, 0, 'open', now(), now(), 0);
UPDATE pointstore.event_store SET held = 0 WHERE aggregate_id = 'rec-h6' AND version = 2;
UPDATE pointstore.balance SET held = held - 100 WHERE aggregate_id IN ('rec-h6', 'rec-h7');
-- a leg's amount, with all of its account following: the second of two, the first, the third of three
UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id = 'rec-t4' AND amount = 64;
UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'rec-t4' AND amount = -64;
UPDATE pointstore.event_store SET amount = amount - 1, balance_after = balance_after - 1 WHERE aggregate_id = 'rec-t8' AND amount = -64;
UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id = 'rec-t9' AND amount = 20;
UPDATE pointstore.balance SET balance = balance + CASE aggregate_id WHEN 'rec-t8' THEN -1 ELSE 1 END WHERE aggregate_id IN ('rec-t4', 'rec-t8', 'rec-t9');
-- taken back by more than there was
UPDATE pointstore.event_store SET amount = amount - 991, balance_after = balance_after - 991 WHERE aggregate_id = 'rec-h1' AND event_type = 'EventReversed';
UPDATE pointstore.event_store SET balance_after = balance_after - 991 WHERE aggregate_id = 'rec-h1' AND version > (SELECT version FROM pointstore.event_store WHERE aggregate_id = 'rec-h1' AND event_type = 'EventReversed');
UPDATE pointstore.balance SET balance = balance - 991 WHERE aggregate_id = 'rec-h1';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id ~ '^rec-[ht](\d|nobody)' ORDER BY aggregate_id, code COLLATE "C";
SELECT findings = (SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL) AS each_once FROM pointstore.reconciliation_run WHERE id = :run_id;
SELECT count(*) AS differ FROM rec_finding f
  FULL JOIN (SELECT a.aggregate_id, r.* FROM (SELECT DISTINCT aggregate_id FROM rec_finding WHERE aggregate_id ~ '^rec-[ht]\d') a, pointstore.reconcile_account(a.aggregate_id) r) r
    USING (aggregate_id, code)
 WHERE (f.severity, f.expected, f.found, f.version) IS DISTINCT FROM (r.severity, r.expected, r.found, r.version) AND aggregate_id ~ '^rec-[ht]\d';
-- repair sets a row to what the events say, and where that is not enough it says so
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-h3';
SELECT pointstore.repair(id) IS NOT NULL AS done FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-h7';
UPDATE pointstore.account_kind SET on_mismatch = 'repair' WHERE kind = 'rec-report';
CALL pointstore.reconcile() \gset
SELECT aggregate_id, code, action FROM rec_finding WHERE aggregate_id ~ '^rec-h[1-7]' ORDER BY aggregate_id, code COLLATE "C";
UPDATE pointstore.account_kind SET on_mismatch = 'report' WHERE kind = 'rec-report';
-- put right by hand it is closed
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.hold SET status = 'open' WHERE hold_id = 'rec-hold-3o';
UPDATE pointstore.event_store SET amount = amount - 1, balance_after = balance_after - 1 WHERE aggregate_id = 'rec-t9' AND amount = 21;
UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = 'rec-t9';
COMMIT;
CALL pointstore.reconcile() \gset
SELECT aggregate_id, code, resolved_by FROM pointstore.finding WHERE aggregate_id IN ('rec-h3', 'rec-t1', 'rec-t9') ORDER BY aggregate_id, code COLLATE "C";
-- and what came since is seen by an incremental run: a leg, what takes back, a hold
SELECT count(pointstore.append_event('rec-n' || i, 'Earned', 1000, kind => 'rec-report')) FROM generate_series(1, 3) i;
SELECT count(*) FROM pointstore.transfer('rec-n1', 'rec-n2', 64), pointstore.hold('rec-n3', 8, 'rec-hold-n3');
SELECT count(*) FROM pointstore.reverse_event('rec-n3', 1, 600);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id = 'rec-n2' AND amount = 64;
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'rec-n2';
UPDATE pointstore.event_store SET amount = -1001, balance_after = -1 WHERE aggregate_id = 'rec-n3' AND event_type = 'EventReversed';
UPDATE pointstore.balance SET balance = -1 WHERE aggregate_id = 'rec-n3';
UPDATE pointstore.hold SET amount = 9 WHERE hold_id = 'rec-hold-n3';
COMMIT;
CALL pointstore.reconcile() \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-n_' ORDER BY aggregate_id, code COLLATE "C";

-- what takes back: of two legs, of three, of several on one account, in part, in whole, of a hold that was confirmed
SELECT count(pointstore.append_event('rec-r' || i, 'Earned', 1000, kind => 'rec-report')) FROM generate_series(1, 15) i;
SELECT count(*) FROM generate_series(1, 7, 2) i, pointstore.transfer('rec-r' || i, 'rec-r' || i + 1, 500, CASE WHEN i < 5 THEN 'rec-rr-' || i END);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "rec-r9", "event_type": "Split", "amount": -30}, {"aggregate_id": "rec-r10", "event_type": "Split", "amount": 10},
    {"aggregate_id": "rec-r11", "event_type": "Split", "amount": 20}]', balanced => true);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "rec-r9", "event_type": "Round", "amount": -900}, {"aggregate_id": "rec-r10", "event_type": "Round", "amount": 900},
    {"aggregate_id": "rec-r10", "event_type": "Round", "amount": -900}, {"aggregate_id": "rec-r11", "event_type": "Round", "amount": 900}]', 'rec-rr-round', true);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "rec-r13", "event_type": "Split", "amount": -30}, {"aggregate_id": "rec-r14", "event_type": "Split", "amount": 10},
    {"aggregate_id": "rec-r15", "event_type": "Split", "amount": 20}]', balanced => true);
SELECT count(pointstore.hold('rec-r12', 100, 'rec-rhold')), count(pointstore.confirm_hold('rec-rhold', 60));
SELECT count(*) FROM (VALUES ('rec-r1', 2, 100, NULL), ('rec-r2', 2, 30, 'rec-rr-part'), ('rec-r10', 2, 5, NULL), ('rec-r9', 3, NULL, NULL), ('rec-r12', 3, 50, NULL),
    ('rec-r3', 2, NULL, NULL), ('rec-r5', 2, 7, NULL), ('rec-r7', 1, 300, NULL), ('rec-r8', 1, 300, NULL), ('rec-r12', 1, 10, NULL)) v(id, version, amount, request),
    pointstore.reverse_event(id, v.version, amount, request);
CALL pointstore.reconcile() \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-r%';
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-r%';
SELECT count(*) FROM generate_series(1, 15) i, pointstore.reconcile_account('rec-r' || i);
-- and each of these with one side altered, all of its account following: another amount, gone, of another
-- account's event, of none, of a reversal; and a movement's last leg gone
SELECT count(*) FROM (VALUES ('rec-r1', 2, NULL), ('rec-r5', 2, 13), ('rec-r7', 1, 1), ('rec-r8', 1, 1), ('rec-r12', 1, 1)) v(id, version, amount),
    pointstore.reverse_event(id, v.version, amount);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id = 'rec-r2' AND version = 5;
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'rec-r2';
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-r6' AND version = 4;
UPDATE pointstore.balance b SET version = 3, balance = (SELECT sum(amount) FROM pointstore.event_store e WHERE e.aggregate_id = 'rec-r6') WHERE aggregate_id = 'rec-r6';
UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'rec-r9' AND version = 1) WHERE aggregate_id = 'rec-r7' AND version = 4;
UPDATE pointstore.event_store SET cause_id = NULL WHERE aggregate_id = 'rec-r8' AND version = 4;
UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'rec-r12' AND version = 5) WHERE aggregate_id = 'rec-r12' AND version = 6;
DELETE FROM pointstore.event_store WHERE aggregate_id = 'rec-r15' AND version >= 2;
DELETE FROM pointstore.account_proof WHERE aggregate_id IN ('rec-r6', 'rec-r15');
UPDATE pointstore.balance SET version = 1, balance = 1000 WHERE aggregate_id = 'rec-r15';
COMMIT;
CALL pointstore.reconcile() \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-r%' ORDER BY aggregate_id, code COLLATE "C";
-- each scope by itself
DELETE FROM pointstore.finding WHERE aggregate_id LIKE 'rec-r%' AND resolved_at IS NULL AND code IN ('transfer_unbalanced', 'chain_break');
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-r%' ORDER BY aggregate_id, code COLLATE "C";
SELECT findings = (SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL) AS each_once FROM pointstore.reconciliation_run WHERE id = :run_id;
-- also those that another run has seen since this one began
UPDATE pointstore.finding SET last_seen_at = clock_timestamp() + interval '1 hour' WHERE resolved_at IS NULL;
CALL pointstore.reconcile('full') \gset
SELECT findings = (SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL) AS each_once FROM pointstore.reconciliation_run WHERE id = :run_id;
UPDATE pointstore.finding SET last_seen_at = clock_timestamp() + interval '1 hour' WHERE resolved_at IS NULL;
CALL pointstore.reconcile() \gset
SELECT findings = (SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL AND NOT detail ? 'hidden') AS each_once FROM pointstore.reconciliation_run WHERE id = :run_id;
-- a leg that says it is a reversal is none, to one account's look as to a run
SELECT count(pointstore.append_event('rec-q' || i, 'Earned', 1000, kind => 'rec-report')) FROM generate_series(1, 2) i;
SELECT count(*) FROM pointstore.transfer('rec-q1', 'rec-q2', 10);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET event_type = 'EventReversed' WHERE aggregate_id = 'rec-q2' AND version = 2;
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT aggregate_id, code, version FROM rec_finding WHERE aggregate_id LIKE 'rec-q%' ORDER BY aggregate_id, code COLLATE "C";
SELECT 'rec-q' || i AS aggregate_id, r.code, r.version FROM generate_series(1, 2) i, pointstore.reconcile_account('rec-q' || i) r ORDER BY 1, r.code COLLATE "C";
-- in slices too, though an account and its links may be in two
SELECT count(pointstore.append_event('rec-z' || i, 'Earned', 1000, kind => 'rec-report')) FROM generate_series(1, 40) i;
SELECT count(*) FROM generate_series(1, 39, 2) i, pointstore.transfer('rec-z' || i, 'rec-z' || i + 1, 5);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id LIKE 'rec-z%' AND amount = -5;
COMMIT;
SET pointstore.reconcile_max_transaction = 1;
CALL pointstore.reconcile('full') \gset
RESET pointstore.reconcile_max_transaction;
SELECT code, count(*) FROM rec_finding WHERE aggregate_id LIKE 'rec-z%' GROUP BY code ORDER BY code;
SELECT findings = (SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL) AS each_once FROM pointstore.reconciliation_run WHERE id = :run_id;

-- an event that no index of its table leads to, and with it the sum: who goes by the heap sees it
SELECT count(pointstore.append_event('rec-hid-' || a, 'Earned', 10, kind => 'rec-report')) FROM generate_series(1, 2) a, generate_series(1, 3);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = 'pointstore.event_store'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (-2, 'rec-hid-1', 4, 'Hidden', 70, 0, 100, '{}', now(), now()), (-3, 'rec-hid-2', 2, 'Hidden', 70, 0, 100, '{}', now(), now());
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indrelid = 'pointstore.event_store'::regclass;
COMMIT;
SET enable_seqscan = off;
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id LIKE 'rec-hid-_';
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'rec-hid-1';
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-hid-%' ORDER BY aggregate_id, code COLLATE "C";
-- an incremental run, which does not see it, does not close it
CALL pointstore.reconcile() \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id LIKE 'rec-hid-%';
RESET enable_seqscan;
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
DELETE FROM pointstore.event_store WHERE event_type = 'Hidden';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id LIKE 'rec-hid-%';

-- an index that hides the newest event makes no run set the row back
SELECT count(pointstore.append_event('rec-tail', 'Earned', 5, kind => 'rec-events')) FROM generate_series(1, 3);
CALL pointstore.reconcile() \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pg_index SET indisready = false, indisvalid = false
 WHERE indrelid = 'pointstore.event_store'::regclass AND indexrelid <> 'pointstore.event_store_id_key'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (nextval('pointstore.event_store_id_seq'), 'rec-tail', 4, 'Hidden', 5, 0, 20, '{}', now(), now());
UPDATE pointstore.balance SET version = 4, balance = 20 WHERE aggregate_id = 'rec-tail';
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indrelid = 'pointstore.event_store'::regclass;
COMMIT;
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id = 'rec-tail' ORDER BY code COLLATE "C";
SELECT version, balance FROM pointstore.balance WHERE aggregate_id = 'rec-tail';
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-tail';
REINDEX TABLE pointstore.event_store;
CALL pointstore.reconcile('full') \gset
SELECT code, action, resolved_by FROM pointstore.finding WHERE aggregate_id = 'rec-tail' ORDER BY code COLLATE "C";
-- nor one that hides the row put a second one beside it, in either scope, or an operator
SELECT version FROM pointstore.append_event('rec-row', 'Earned', 5, kind => 'rec-events');
CALL pointstore.reconcile() \gset
SELECT version FROM pointstore.append_event('rec-row', 'Earned', 5);
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.balance'::regclass;
DELETE FROM pointstore.balance WHERE aggregate_id = 'rec-row';
INSERT INTO pointstore.balance (aggregate_id, kind, version, balance) VALUES ('rec-row', 'rec-events', 2, 10);
UPDATE pg_index SET indisready = true WHERE indrelid = 'pointstore.balance'::regclass;
COMMIT;
CALL pointstore.reconcile() \gset
SELECT code, severity, action FROM rec_finding WHERE aggregate_id = 'rec-row' ORDER BY code COLLATE "C";
CALL pointstore.reconcile('full') \gset
SELECT code, severity, action FROM rec_finding WHERE aggregate_id = 'rec-row' ORDER BY code COLLATE "C";
SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-row';
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
SELECT count(*) FROM pointstore.balance WHERE aggregate_id = 'rec-row';
RESET enable_indexscan;
RESET enable_bitmapscan;
RESET enable_indexonlyscan;
REINDEX TABLE pointstore.balance;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id = 'rec-row';

-- what an operator has acknowledged is known, while it stays as it is: a run has none of it, and freezes nothing again
SELECT count(pointstore.append_event('rec-ack-' || a, 'Earned', e, kind => CASE a WHEN 1 THEN 'rec-freeze' ELSE 'rec-report' END)) FROM generate_series(1, 2) a, generate_series(1, 5) e;
CALL pointstore.reconcile() \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id LIKE 'rec-ack-_' AND version = 2;
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-ack-_' ORDER BY aggregate_id, code COLLATE "C";
SELECT pointstore.acknowledge(NULL, 'x');
SELECT pointstore.acknowledge(id, NULL) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-ack-1';
SELECT pointstore.acknowledge(id, '') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-ack-1';
SELECT pointstore.acknowledge(0, 'x');
SELECT count(pointstore.acknowledge(id, 'known since the fire')) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id LIKE 'rec-ack-_';
SELECT pointstore.acknowledge(id, 'x') FROM pointstore.finding WHERE aggregate_id = 'rec-ack-2' AND code = 'chain_break';
SELECT pointstore.unfreeze_account('rec-ack-1', 'known');
SELECT aggregate_id, code, action, resolved_by = current_user AS by_me FROM pointstore.finding WHERE aggregate_id LIKE 'rec-ack-_' ORDER BY aggregate_id, code COLLATE "C";
SELECT aggregate_id, action, reason, before = after AS as_it_was FROM pointstore.account_log WHERE aggregate_id LIKE 'rec-ack-_' AND action = 'acknowledge' ORDER BY aggregate_id, id;
CALL pointstore.reconcile('full') \gset
SELECT count(pointstore.append_event('rec-ack-' || a, 'Earned', 5)) FROM generate_series(1, 2) a;
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id LIKE 'rec-ack-_';
SELECT aggregate_id, status, version FROM pointstore.account WHERE aggregate_id LIKE 'rec-ack-_' ORDER BY 1;
SELECT code, version FROM pointstore.reconcile_account('rec-ack-1') ORDER BY code COLLATE "C";
-- anything further is new: another break, after it or the same event altered again; more that is missing
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'rec-ack-1' AND version = 4;
UPDATE pointstore.balance SET balance = balance + 2 WHERE aggregate_id = 'rec-ack-2';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT * FROM rec_finding WHERE aggregate_id LIKE 'rec-ack-_' ORDER BY aggregate_id, code COLLATE "C";
SELECT status FROM pointstore.get_balance('rec-ack-1');
-- what is not wrong as the finding says is not acknowledged
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'rec-ack-1';
COMMIT;
SELECT code, pointstore.acknowledge(id, 'x') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = 'rec-ack-1' AND code = 'balance_mismatch';
BEGIN READ ONLY;
SELECT pointstore.acknowledge(1, 'x');
ROLLBACK;
-- of the store as a whole, which refuses everything else until its sequence is set right
ALTER SEQUENCE pointstore.event_store_id_seq CACHE 2;
CALL pointstore.reconcile() \gset
SELECT aggregate_id, code, severity, expected, found FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = '';
SELECT pointstore.acknowledge(id, 'it must be') FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = '';
CALL pointstore.reconcile() \gset
SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = '';
ALTER SEQUENCE pointstore.event_store_id_seq CACHE 3;
CALL pointstore.reconcile() \gset
SELECT aggregate_id, code, severity, expected, found FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = '';
ALTER SEQUENCE pointstore.event_store_id_seq CACHE 1;
CALL pointstore.reconcile() \gset
SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id = '';

-- more of these than are looked for by the heap: what is not sure stays open
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 6 WHERE aggregate_id LIKE 'rec-back-%';
COMMIT;
CALL pointstore.reconcile('full') \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 5 WHERE aggregate_id LIKE 'rec-back-%';
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = 'pointstore.event_store'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT -100 - a, 'rec-back-' || a, 2, 'Hidden', 1, 0, 6, '{}', now(), now() FROM generate_series(1, 25) a;
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indrelid = 'pointstore.event_store'::regclass;
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT unverified, (SELECT count(DISTINCT aggregate_id) FROM rec_finding WHERE aggregate_id LIKE 'rec-back-%') AS open
  FROM pointstore.reconciliation_run WHERE id = :run_id;
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
DELETE FROM pointstore.event_store WHERE event_type = 'Hidden';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id LIKE 'rec-back-%';

-- the sequence set back: events of smaller ids than those that were looked at
SELECT last_value AS ids_so_far FROM pointstore.event_store_id_seq \gset
ALTER SEQUENCE pointstore.event_store_id_seq MINVALUE -1000000 RESTART WITH -1000000;
SELECT version FROM pointstore.append_event('rec-range', 'Earned', 1, kind => 'rec-report');
CALL pointstore.reconcile() \gset
SELECT version FROM pointstore.account_proof WHERE aggregate_id = 'rec-range';
SELECT version FROM pointstore.append_event('rec-range', 'Earned', 1);
CALL pointstore.reconcile() \gset
SELECT version FROM pointstore.account_proof WHERE aggregate_id = 'rec-range';
SELECT setval('pointstore.event_store_id_seq', :ids_so_far) = :ids_so_far AS forward_again;
SELECT version FROM pointstore.append_event('rec-range', 'Earned', 1);
CALL pointstore.reconcile() \gset
SELECT version FROM pointstore.account_proof WHERE aggregate_id = 'rec-range';

-- triggers of the user's that let no row in: of a finding then nothing is known, and a run is none
CREATE FUNCTION rec_no_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER rec_no_row BEFORE INSERT ON pointstore.finding FOR EACH ROW EXECUTE FUNCTION rec_no_row();
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 1000 WHERE aggregate_id = 'rec-range';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM rec_finding WHERE aggregate_id = 'rec-range';
DROP TRIGGER rec_no_row ON pointstore.finding;
CREATE TRIGGER rec_no_row BEFORE INSERT ON pointstore.reconciliation FOR EACH ROW EXECUTE FUNCTION rec_no_row();
CALL pointstore.reconcile();
DROP TRIGGER rec_no_row ON pointstore.reconciliation;
DROP FUNCTION rec_no_row();

-- an incremental run looks at a hundred accounts with open findings, and at others the next time
SELECT count(pointstore.append_event('rec-turn-' || a, 'Earned', 5, kind => 'rec-report')) FROM generate_series(1, 120) a;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 4 WHERE aggregate_id LIKE 'rec-turn-%';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT clock_timestamp() AS full_run \gset
CALL pointstore.reconcile() \gset
SELECT count(DISTINCT aggregate_id) FROM pointstore.finding WHERE last_seen_at > :'full_run';
CALL pointstore.reconcile() \gset
SELECT count(DISTINCT aggregate_id) FILTER (WHERE last_seen_at > :'full_run') AS seen_again,
       count(*) FILTER (WHERE last_seen_at <= :'full_run') AS missed
  FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id LIKE 'rec-turn-%' AND NOT detail ? 'hidden';
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET balance = 5 WHERE aggregate_id LIKE 'rec-turn-%';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id LIKE 'rec-turn-%';

-- a run forgets those that began a month ago, but never the last of a scope and outcome
DELETE FROM pointstore.reconciliation WHERE status IN ('clean', 'failed', 'interrupted');
INSERT INTO pointstore.reconciliation (scope, status, started_at, finished_at, triggered_by)
SELECT scope, status, now() - interval '31 days', now() - interval '31 days', 'worker'
  FROM unnest(ARRAY['full', 'incremental']) scope, unnest(ARRAY['clean', 'findings', 'failed', 'interrupted']) status, generate_series(1, 3);
CALL pointstore.reconcile('full') \gset
SELECT scope, status, count(*) FROM pointstore.reconciliation WHERE started_at < now() - interval '30 days' GROUP BY 1, 2 ORDER BY 1, 2;
DELETE FROM pointstore.reconciliation WHERE started_at < now() - interval '30 days';

-- what the status says
SELECT last_clean_full IS NULL AS never_clean, last_incremental > now() - interval '1 hour' AS incremental, oldest_unproved,
       open_critical > 5 AS critical, open_error >= 0 AS error, worker_alive FROM pointstore.reconciliation_status;
SELECT open_critical = count(*) FILTER (WHERE severity = 'critical') AS critical, open_error = count(*) FILTER (WHERE severity = 'error') AS error,
       open_warning = count(*) FILTER (WHERE severity = 'warning') AS warning
  FROM pointstore.finding, pointstore.reconciliation_status WHERE resolved_at IS NULL GROUP BY open_critical, open_error, open_warning;
SELECT count(pointstore.append_event('rec-late', 'Earned', 1)) FROM generate_series(1, 2);
SELECT oldest_unproved = (SELECT created_at FROM pointstore.event_store WHERE aggregate_id = 'rec-late' AND version = 1) AS oldest
  FROM pointstore.reconciliation_status;
SELECT * FROM pointstore.reconcile_progress;

-- refusals
CALL pointstore.reconcile('all');
CALL pointstore.reconcile(NULL);
CALL pointstore.reconcile('');
BEGIN;
CALL pointstore.reconcile('full');
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.repair(1);
ROLLBACK;
SELECT pointstore.digest(1, NULL, 0, 1, 0, 0, 1);
-- the digest by itself: parallel workers or not, in any order
SELECT (pointstore.digest(v, 1, 0, v, 0, 0, 42)).* FROM generate_series(1, 1000) v;
SELECT (pointstore.digest(v, 1, 0, v, 0, 0, 42)).sound FROM (SELECT v FROM generate_series(1, 1000) v ORDER BY v % 7, v) s;
SELECT (pointstore.digest(v, 1, 0, v, 0, 0, 42)).sound FROM generate_series(2, 1000) v;
SELECT (pointstore.digest(v, 1, 0, v, 1, 1, 42)).sound FROM generate_series(2, 1000) v;
SELECT (pointstore.digest(least(v, 999), 1, 0, least(v, 999), 0, 0, 42)).sound FROM generate_series(1, 1000) v;
SELECT (pointstore.digest(v, -9223372036854775808, 0, 9223372036854775807, 0, 0, 42)).* FROM generate_series(1, 2) v;
-- a balance_after that went round the end of bigint, and came back
SELECT (pointstore.digest(v, a, 0, b, 0, 0, 42)).* FROM (VALUES (1, 9223372036854775807, 9223372036854775807), (2, 1, -9223372036854775808), (3, -1, 9223372036854775807)) e (v, a, b);
SELECT pointstore.digest(1, 1, 0, 1, 0, 0, 1) WHERE false;

-- parallel workers say what one process says
CREATE FUNCTION pg_temp.is_parallel(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN plan::text LIKE '%"Partial Mode": "Partial"%';
END$$;
CREATE TABLE rec_links AS SELECT v::bigint AS v, v * 3 - 2 AS amount, (v * (3 * v - 1) / 2)::bigint AS balance FROM generate_series(1, 20000) v;
ANALYZE rec_links;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT pg_temp.is_parallel('SELECT pointstore.digest(v, amount, -amount, balance, 0, 0, 42) FROM rec_links');
SELECT (pointstore.digest(v, amount, -amount, balance, 0, 0, 42)).* FROM rec_links;
SELECT (pointstore.digest(v, amount, 9223372036854775807, balance + CASE v WHEN 9999 THEN 1 ELSE 0 END, 0, 0, 42)).* FROM rec_links;
SELECT pointstore.digest(v, amount, 0, balance, 0, 0, 42) FROM rec_links WHERE v < 0;
DROP TABLE rec_links;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- the store as it was
DROP VIEW rec_finding;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE aggregate_id LIKE 'rec-%';
DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'rec-%';
DELETE FROM pointstore.pure_account WHERE aggregate_id LIKE 'rec-%';
DELETE FROM pointstore.account_proof WHERE aggregate_id LIKE 'rec-%';
DELETE FROM pointstore.hold WHERE hold_id LIKE 'rec-%';
COMMIT;
CALL pointstore.reconcile('full') \gset
SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL AND aggregate_id LIKE 'rec-%';
