-- request_id: applied once, the first receipt comes back, anything else is PS002.
\set VERBOSITY sqlstate

CREATE TEMP TABLE first AS
SELECT * FROM pointstore.append_event('idem-1', 'PointEarned', 100, '{"a": 1, "b": [2]}', request_id => 'idem-r1');
SELECT outcome, version, balance, available FROM first;
-- the same again: the first receipt, nothing written, no id drawn
SELECT last_value AS before FROM pointstore.event_store_id_seq \gset
SELECT r.outcome, r.aggregate_id, r.version, r.balance, r.available, r.id = first.id AS id, r.created_at = first.created_at AS created_at
  FROM pointstore.append_event('idem-1', 'PointEarned', 100, '{"b": [2], "a": 1}', request_id => 'idem-r1') r, first;
SELECT r.outcome, r.version, r.balance, r.available, r.id = first.id AS id
  FROM pointstore.try_append_event('idem-1', 'PointEarned', 100, '{"b": [2.0], "a": 1}', request_id => 'idem-r1') r, first;
SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'idem-1';
SELECT last_value = :before AS none_drawn FROM pointstore.event_store_id_seq;

-- also when the version has moved on, against an expected_version, a floor, a kind
SELECT outcome, version, balance FROM pointstore.append_event('idem-1', 'PointSpent', -100, request_id => 'idem-r2');
SELECT outcome, version, balance FROM pointstore.append_event('idem-1', 'PointEarned', 100, '{"a": 1, "b": [2]}', request_id => 'idem-r1');
SELECT outcome, version, balance FROM pointstore.append_event('idem-1', 'PointEarned', 100, '{"a": 1, "b": [2]}', 0, 'idem-r1');
SELECT outcome, version, balance FROM pointstore.append_event('idem-1', 'PointSpent', -100, request_id => 'idem-r2', min_balance => 1000000);
SELECT outcome, version, balance FROM pointstore.append_event('idem-1', 'PointSpent', -100, request_id => 'idem-r2');
-- metadata is not compared and the first stays
SELECT outcome FROM pointstore.append_event('idem-1', 'PointSpent', -100, request_id => 'idem-r2', metadata => '{"try": 2}');
SELECT metadata FROM pointstore.event_store WHERE request_id = 'idem-r2';

-- every other field is compared
SELECT outcome FROM pointstore.append_event('idem-other', 'PointSpent', -100, request_id => 'idem-r2');
SELECT outcome FROM pointstore.append_event('idem-1', 'PointLost', -100, request_id => 'idem-r2');
SELECT outcome FROM pointstore.append_event('idem-1', 'PointSpent', -101, request_id => 'idem-r2');
SELECT outcome FROM pointstore.append_event('idem-1', 'PointSpent', -100, '{"x": 1}', request_id => 'idem-r2');
SELECT outcome FROM pointstore.append_event('idem-1', 'PointSpent', -100, request_id => 'idem-r2', occurred_at => '2026-01-01');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'idem-other';
-- the try_ form tells the account's actual state
SELECT outcome, aggregate_id, version, balance, available, id, created_at
  FROM pointstore.try_append_event('idem-1', 'PointSpent', -101, request_id => 'idem-r2');

-- occurred_at counts where it is given
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r3', occurred_at => '2026-01-01 00:00+00');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r3', occurred_at => '2026-01-01 00:00+00');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r3');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r3', occurred_at => '2026-01-01 00:00:01+00');

-- ids are told apart by bytes
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-R3');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r3 ');

-- frozen and closed accounts replay too
SELECT pointstore.freeze_account('idem-2', 'test');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r3');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 2, request_id => 'idem-r3');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r4');
SELECT pointstore.close_account('idem-1');
SELECT outcome, version, balance FROM pointstore.append_event('idem-1', 'PointEarned', 100, '{"a": 1, "b": [2]}', request_id => 'idem-r1');
SELECT outcome FROM pointstore.append_event('idem-1', 'PointEarned', 100, request_id => 'idem-r5');
-- a refusal is not remembered
SELECT pointstore.unfreeze_account('idem-2', 'test');
SELECT outcome FROM pointstore.append_event('idem-2', 'PointEarned', 1, request_id => 'idem-r4');

-- in one transaction, and given back by a savepoint
BEGIN;
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r6');
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r6');
SAVEPOINT s;
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r7');
ROLLBACK TO s;
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r7');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r7');
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r8');
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r8');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r8');
SELECT outcome, version FROM pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r9');
COMMIT;
-- in one statement
SELECT (r).outcome, (r).version FROM (SELECT pointstore.append_event('idem-3', 'PointEarned', 1, request_id => 'idem-r10') AS r FROM generate_series(1, 3) OFFSET 0) s;

-- a call of several events replays as a whole
CREATE TEMP TABLE batch AS SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": 5},
    {"aggregate_id": "idem-b1", "event_type": "PointEarned", "amount": 7, "metadata": {"try": 1}}]', 'idem-batch');
SELECT outcome, aggregate_id, version, balance, available FROM batch;
SELECT aggregate_id, request_id, leg FROM pointstore.event_store WHERE request_id = 'idem-batch' ORDER BY leg;
SELECT r.outcome, r.aggregate_id, r.version, r.balance, r.available, r.id = batch.id AS id, r.created_at = batch.created_at AS created_at
  FROM pointstore.append_events('[
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": "5"},
    {"aggregate_id": "idem-b1", "event_type": "PointEarned", "amount": 7, "metadata": {"try": 2}}]', 'idem-batch') WITH ORDINALITY r
  JOIN batch USING (aggregate_id) ORDER BY r.ordinality;
-- fewer, more, in another order, one changed
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": 5}]', 'idem-batch');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": 5},
    {"aggregate_id": "idem-b1", "event_type": "PointEarned", "amount": 7},
    {"aggregate_id": "idem-b1", "event_type": "PointEarned", "amount": 7}]', 'idem-batch');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-b1", "event_type": "PointEarned", "amount": 7},
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": 5}]', 'idem-batch');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": 5},
    {"aggregate_id": "idem-b1", "event_type": "PointEarned", "amount": 8}]', 'idem-batch');
-- one of its elements alone is not that request
SELECT outcome FROM pointstore.append_event('idem-b2', 'PointEarned', 5, request_id => 'idem-batch');
SELECT outcome FROM pointstore.append_event('idem-b1', 'PointEarned', 7, request_id => 'idem-batch');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-b2", "event_type": "PointEarned", "amount": 5, "request_id": "idem-batch"}]');
-- a call of one event and an element of that id are the same request
SELECT outcome, version FROM pointstore.append_events('[{"aggregate_id": "idem-3", "event_type": "PointEarned", "amount": 1}]', 'idem-r8');
SELECT outcome, version FROM pointstore.append_events('[{"aggregate_id": "idem-3", "event_type": "PointEarned", "amount": 1, "request_id": "idem-r8"}]');
-- a single request cannot grow
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-3", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "idem-3", "event_type": "PointEarned", "amount": 1}]', 'idem-r8');

-- elements with requests of their own stand alone
SELECT outcome, version, balance, available FROM pointstore.append_events('[
    {"aggregate_id": "idem-e1", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-1"},
    {"aggregate_id": "idem-e1", "event_type": "PointEarned", "amount": 2, "request_id": "idem-e-2"},
    {"aggregate_id": "idem-e2", "event_type": "PointEarned", "amount": 3}]');
SELECT outcome, version, balance, available FROM pointstore.append_events('[
    {"aggregate_id": "idem-e2", "event_type": "PointEarned", "amount": 4, "request_id": "idem-e-3"},
    {"aggregate_id": "idem-e1", "event_type": "PointEarned", "amount": 2, "request_id": "idem-e-2"},
    {"aggregate_id": "idem-e2", "event_type": "PointEarned", "amount": 3}]');
SELECT outcome, version FROM pointstore.append_event('idem-e1', 'PointEarned', 1, request_id => 'idem-e-1');
-- one of them used otherwise: all fail
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "idem-e2", "event_type": "PointEarned", "amount": 4, "request_id": "idem-e-4"},
    {"aggregate_id": "idem-e1", "event_type": "PointEarned", "amount": 99, "request_id": "idem-e-2"}]');
SELECT count(*) FROM pointstore.event_store WHERE request_id = 'idem-e-4';
-- the same request twice within one batch, alike and otherwise
SELECT outcome, version, balance, available FROM pointstore.append_events('[
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-5"},
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 2, "request_id": "idem-e-6"},
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-5"}]');
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-7"},
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 2, "request_id": "idem-e-7"}]');
SELECT outcome, version FROM pointstore.append_events('[
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-7"},
    {"aggregate_id": "idem-e4", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-7"}]');
SELECT version, balance FROM pointstore.get_balance('idem-e3');
-- a replayed element does not open its account's way for the next
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "idem-e3", "event_type": "PointEarned", "amount": 1, "request_id": "idem-e-5"},
    {"aggregate_id": "idem-e3", "event_type": "PointSpent", "amount": -4}]');
-- both is neither
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "idem-e1", "event_type": "PointEarned", "amount": 1, "request_id": "idem-x-1"}]', 'idem-x');

-- rows of the table and calls share the ids
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('idem-3', 'PointEarned', 1, 'idem-r8');
\echo rows :ROW_COUNT
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('idem-3', 'PointEarned', 2, 'idem-r8');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('idem-3', 'PointEarned', 2, 'idem-r11');
SELECT outcome FROM pointstore.append_event('idem-3', 'PointEarned', 2, request_id => 'idem-r11');
SELECT outcome FROM pointstore.append_event('idem-3', 'PointEarned', 3, request_id => 'idem-r11');

-- what it came to
SELECT b.aggregate_id, b.version, b.balance FROM pointstore.balance b WHERE b.aggregate_id LIKE 'idem-%' ORDER BY 1;
SELECT count(*) FROM pointstore.balance b WHERE aggregate_id LIKE 'idem-%'
   AND (version, balance) <> (SELECT count(*), sum(amount) FROM pointstore.event_store e WHERE e.aggregate_id = b.aggregate_id);
