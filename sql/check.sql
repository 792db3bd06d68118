-- Conditions: elements of append_events that write nothing, and stand or fall with the call.
\set VERBOSITY sqlstate
INSERT INTO pointstore.account_kind (kind, mode, unit) VALUES ('check-pure', 'pure', '');
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "check-a", "event_type": "PointEarned", "amount": 100},
    {"aggregate_id": "check-b", "event_type": "PointEarned", "amount": 50},
    {"aggregate_id": "check-b", "event_type": "Noted"},
    {"aggregate_id": "check-p", "event_type": "Noted", "kind": "check-pure"}]');
SELECT pointstore.open_account('check-empty');

-- receipts in input order; a check takes no version, no id and no leg
SELECT outcome, aggregate_id, version, balance, available, id IS NULL AS no_id, created_at IS NULL AS no_time
  FROM pointstore.append_events('[
    {"aggregate_id": "check-b", "expected_version": 2, "check": true},
    {"aggregate_id": "check-a", "event_type": "PointSpent", "amount": -30},
    {"check": true, "expected_version": "1", "aggregate_id": "check-a"},
    {"aggregate_id": "check-c", "event_type": "PointEarned", "amount": 30},
    {"check": true, "expected_version": 0, "aggregate_id": "check-empty", "event_type": null}]', 'check-1');
SELECT aggregate_id, version, event_type, leg FROM pointstore.event_store WHERE request_id = 'check-1' ORDER BY leg;
-- a replay judges no check: that of check-a does not hold any more, nor did another one ever
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.append_events('[
    {"aggregate_id": "check-b", "expected_version": 2, "check": true},
    {"aggregate_id": "check-a", "event_type": "PointSpent", "amount": -30},
    {"check": true, "expected_version": 1, "aggregate_id": "check-a"},
    {"aggregate_id": "check-c", "event_type": "PointEarned", "amount": 30}]', 'check-1');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "check-a", "event_type": "PointSpent", "amount": -30},
    {"aggregate_id": "check-c", "event_type": "PointEarned", "amount": 30},
    {"check": true, "expected_version": 77, "aggregate_id": "check-p"}]', 'check-1');
-- elements with requests of their own: judged where any of them is new
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "check-c", "event_type": "Noted", "request_id": "check-2"},
    {"check": true, "expected_version": 1, "aggregate_id": "check-c"}]');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "check-c", "event_type": "Noted", "request_id": "check-2"},
    {"check": true, "expected_version": 1, "aggregate_id": "check-c"}]');
SELECT outcome FROM pointstore.append_events('[
    {"aggregate_id": "check-c", "event_type": "Noted", "request_id": "check-2"},
    {"aggregate_id": "check-c", "event_type": "Noted", "request_id": "check-3"},
    {"check": true, "expected_version": 1, "aggregate_id": "check-c"}]');

-- refused as a whole; the account and the element are in the DETAIL
CREATE FUNCTION pg_temp.detail_of(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE told text;
BEGIN
    EXECUTE call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ' ' || told;
END $$;
SELECT pg_temp.detail_of($$SELECT pointstore.append_events('[
    {"aggregate_id": "check-a", "event_type": "PointEarned", "amount": 1},
    {"check": true, "aggregate_id": "check-b", "expected_version": 1}]')$$);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_append_events('[
    {"aggregate_id": "check-a", "event_type": "PointEarned", "amount": 1},
    {"check": true, "aggregate_id": "check-a", "expected_version": 3}]');
SELECT version, balance FROM pointstore.get_balance('check-a');
-- the first failing element decides, whichever it is
SELECT outcome, aggregate_id FROM pointstore.try_append_events('[
    {"check": true, "aggregate_id": "check-b", "expected_version": 1},
    {"aggregate_id": "check-a", "event_type": "PointSpent", "amount": -1000}]');
SELECT outcome, aggregate_id FROM pointstore.try_append_events('[
    {"aggregate_id": "check-a", "event_type": "PointSpent", "amount": -1000},
    {"check": true, "aggregate_id": "check-b", "expected_version": 1}]');
SELECT outcome, aggregate_id, version FROM pointstore.try_append_events('[
    {"check": true, "aggregate_id": "check-b", "expected_version": 3},
    {"check": true, "aggregate_id": "check-a", "expected_version": 9}]', NULL);
-- a refusal of an event of an account that comes twice tells it as it stands, checks or not
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_append_events('[
    {"check": true, "aggregate_id": "check-b", "expected_version": 2},
    {"check": true, "aggregate_id": "check-c", "expected_version": 2},
    {"aggregate_id": "check-a", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "check-a", "event_type": "PointSpent", "amount": -1000}]');

-- a missing account has version 0; what cannot be locked is 0A000
SELECT pg_temp.detail_of($$SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-none", "expected_version": 1}]')$$);
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-none", "expected_version": 0}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-none", "expected_version": 0},
    {"aggregate_id": "check-none", "event_type": "Noted"}, {"aggregate_id": "check-a", "event_type": "Noted"}]');
SELECT pointstore.try_append_events('[{"check": true, "aggregate_id": "check-p", "expected_version": 1}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-p", "expected_version": 5},
    {"aggregate_id": "check-p", "event_type": "Noted"}]');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'check-none';

-- checks alone; frozen and closed accounts have versions too
SELECT pointstore.freeze_account('check-b', 'why');
SELECT pointstore.close_account('check-empty');
SELECT outcome, aggregate_id, version FROM pointstore.append_events('[
    {"check": true, "aggregate_id": "check-empty", "expected_version": 0},
    {"check": true, "aggregate_id": "check-b", "expected_version": 2},
    {"check": true, "aggregate_id": "check-b", "expected_version": 2}]');

-- balanced: a check is no leg and has no amount
SELECT outcome, version FROM pointstore.append_events('[
    {"check": true, "aggregate_id": "check-b", "expected_version": 2},
    {"aggregate_id": "check-a", "event_type": "Moved", "amount": -5},
    {"check": true, "aggregate_id": "check-b", "expected_version": 2},
    {"aggregate_id": "check-c", "event_type": "Moved", "amount": 5}]', balanced => true);
SELECT aggregate_id, leg, cause_id IS NULL AS first FROM pointstore.event_store
 WHERE event_type = 'Moved' AND aggregate_id LIKE 'check-%' ORDER BY leg;

-- many events: the attempt that takes all requests for new is taken back
SELECT count(*), min(outcome), max(outcome) FROM pointstore.append_events(
    (SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'check-n', 'event_type', 'Noted', 'request_id', 'check-n' || n)) FROM generate_series(1, 20) n)
    || '{"check": true, "aggregate_id": "check-a", "expected_version": 3}');
SELECT count(*), min(outcome), max(outcome) FROM pointstore.append_events(
    (SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'check-n', 'event_type', 'Noted', 'request_id', 'check-n' || n)) FROM generate_series(1, 20) n)
    || '{"check": true, "aggregate_id": "check-a", "expected_version": 2}');
SELECT pointstore.append_events(
    (SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'check-n', 'event_type', 'Noted', 'request_id', 'check-m' || n)) FROM generate_series(1, 20) n)
    || '{"check": true, "aggregate_id": "check-a", "expected_version": 2}');

-- what a check may not say
SELECT pointstore.append_events('[{"check": true, "expected_version": 1}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a"}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": -1}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "", "expected_version": 1}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": 3, "amount": 0}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": 3, "request_id": "x"}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": 3, "wrong": 1}]');
SELECT pointstore.append_events('[{"check": "true", "aggregate_id": "check-a", "expected_version": 3}]');
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": 3}]', 'check-4');
-- false, and null, are a plain element
SELECT outcome, version FROM pointstore.append_events('[
    {"check": false, "aggregate_id": "check-a", "event_type": "Noted", "expected_version": 3},
    {"check": null, "aggregate_id": "check-a", "event_type": "Noted"}]');

-- by hand before: the version is that of what this transaction has done
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('check-a', 'PointEarned', 1);
SELECT outcome, version FROM pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": 6}]');
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'check-a';
SELECT pointstore.append_events('[{"check": true, "aggregate_id": "check-a", "expected_version": 7}]');
ROLLBACK;
SELECT * FROM pointstore.reconcile_account('check-a');
