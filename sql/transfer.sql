-- Transfers, linked legs, what takes an event back, and statements.
\set VERBOSITY sqlstate
SET client_min_messages = error;
INSERT INTO pointstore.account_kind (kind, unit, min_balance, max_balance, mode) VALUES
    ('tr-house', '', NULL, NULL, 'hybrid'), ('tr-seat', 'seat', NULL, NULL, 'hybrid'), ('tr-cap', '', NULL, 50, 'hybrid'), ('tr-pure', '', NULL, NULL, 'pure');
CREATE VIEW tr_event AS
SELECT e.aggregate_id, e.version, e.event_type, e.amount, e.balance_after, e.request_id, e.leg, c.aggregate_id || ' ' || c.version AS cause
  FROM pointstore.event_store e LEFT JOIN pointstore.event_store c ON c.id = e.cause_id
 WHERE e.aggregate_id LIKE 'tr-%';

-- both legs, linked, and with a request once
SELECT count(pointstore.append_event('tr-b', 'Earned', 1000));
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.transfer('tr-b', 'tr-a', 30);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.transfer('tr-b', 'tr-a', 5, 'tr-r1', 'Gift', '{"for": "you"}', '{"actor": "me"}');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.transfer('tr-b', 'tr-a', 5, 'tr-r1', 'Gift', '{"for": "you"}');
SELECT aggregate_id, payload, metadata FROM pointstore.event_store WHERE request_id = 'tr-r1' ORDER BY leg;
SELECT pointstore.transfer('tr-b', 'tr-a', 6, 'tr-r1', 'Gift', '{"for": "you"}');
SELECT pointstore.transfer('tr-a', 'tr-b', 5, 'tr-r1', 'Gift', '{"for": "you"}');
SELECT outcome, aggregate_id, version FROM pointstore.try_transfer('tr-b', 'tr-c', 5, 'tr-r1', 'Gift', '{"for": "you"}');
SELECT * FROM tr_event ORDER BY aggregate_id, version;

-- refusals name the leg, and the try form leaves nothing behind
SELECT pointstore.transfer('tr-b', 'tr-new', 966);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_transfer('tr-b', 'tr-new', 966);
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.try_transfer('tr-aa', 'tr-b', 1);
SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('tr-new', 'tr-aa');
SELECT count(*) FROM pointstore.account_log WHERE aggregate_id IN ('tr-new', 'tr-aa');
SELECT pointstore.open_account('tr-cap', 'tr-cap'), pointstore.open_account('tr-seat', 'tr-seat'), pointstore.open_account('tr-house', 'tr-house');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_transfer('tr-b', 'tr-cap', 51);
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_transfer('tr-b', 'tr-seat', 1);
SELECT pointstore.transfer('tr-seat', 'tr-b', 1);
SELECT outcome, aggregate_id, version, balance FROM pointstore.transfer('tr-house', 'tr-b', 7);
SELECT pointstore.freeze_account('tr-cap', 'test');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_transfer('tr-b', 'tr-cap', 1);
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_transfer('tr-cap', 'tr-b', 1);
SELECT pointstore.unfreeze_account('tr-cap', 'test');
BEGIN;
UPDATE pointstore.account_kind SET auto_open = false WHERE kind = 'default';
SELECT outcome, aggregate_id, version FROM pointstore.try_transfer('tr-b', 'tr-new', 1);
SELECT pointstore.transfer('tr-b', 'tr-new', 1);
ROLLBACK;
BEGIN;
SELECT outcome, version FROM pointstore.try_transfer('tr-b', 'tr-a', 973);
SELECT outcome, version FROM pointstore.try_transfer('tr-b', 'tr-a', 1);
COMMIT;
-- held amounts are not transferred
SELECT count(pointstore.hold('tr-b', 970, 'tr-h'));
SELECT outcome, aggregate_id, available FROM pointstore.try_transfer('tr-b', 'tr-a', 2);
SELECT count(pointstore.cancel_hold('tr-h'));

-- bad input
SELECT pointstore.transfer('tr-b', 'tr-b', 1);
SELECT pointstore.try_transfer('tr-b', 'tr-b', 1);
SELECT pointstore.transfer('tr-b', 'tr-a', 0);
SELECT pointstore.transfer('tr-b', 'tr-a', -1);
SELECT pointstore.transfer('tr-b', 'tr-a', NULL);
SELECT pointstore.transfer(NULL, 'tr-a', 1);
SELECT pointstore.transfer('tr-b', NULL, 1);
SELECT pointstore.transfer('tr-b', 'tr-a', 1, '');
SELECT pointstore.transfer('tr-b', 'tr-a', 1, event_type => 'HoldPlaced');
SELECT pointstore.transfer('tr-b', 'tr-a', 1, event_type => 'EventReversed');
SELECT pointstore.transfer('tr-b', 'tr-a', 1, event_type => NULL);
SELECT pointstore.transfer('tr-b', 'tr-a', 1, payload => NULL);
SELECT pointstore.transfer('tr-house', 'tr-a', 9223372036854775807);

-- between a hybrid and a pure account, and two pure ones
SELECT count(pointstore.append_event('tr-p1', 'Earned', 10, kind => 'tr-pure')), count(pointstore.append_event('tr-p2', 'Earned', 10, kind => 'tr-pure'));
SELECT outcome, aggregate_id, version, balance FROM pointstore.transfer('tr-p1', 'tr-b', 4);
SELECT outcome, aggregate_id, version, balance FROM pointstore.transfer('tr-p2', 'tr-p1', 4);

-- more than two legs; linked where the call is one movement, and not where each stands alone
SELECT outcome, aggregate_id, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "tr-d", "event_type": "Split", "amount": 10}, {"aggregate_id": "tr-b", "event_type": "Split", "amount": -30},
    {"aggregate_id": "tr-c", "event_type": "Split", "amount": 20}]', balanced => true);
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "tr-f", "event_type": "Alone", "amount": 1, "request_id": "tr-o1"}, {"aggregate_id": "tr-b", "event_type": "Alone", "amount": -1}]', balanced => true);
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "tr-f", "event_type": "Batch", "amount": 1}, {"aggregate_id": "tr-b", "event_type": "Batch", "amount": -1}]', request_id => 'tr-o2');
SELECT * FROM tr_event WHERE event_type IN ('Split', 'Alone', 'Batch') ORDER BY event_type, aggregate_id;
-- by hand nobody makes a leg
INSERT INTO pointstore.event_store (aggregate_id, event_type, leg, cause_id) VALUES ('tr-f', 'ByHand', 1, 1) RETURNING leg, cause_id;
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id, leg, cause_id) VALUES ('tr-f', 'ByHand', 'tr-o2', 7, 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id, leg, cause_id) VALUES ('tr-f', 'ByHand', 'tr-o3', 0, 1) RETURNING leg, cause_id;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-f', 'EventReversed');
SELECT pointstore.append_event('tr-f', 'EventReversed');

-- taken back: a single event, in parts, never more than there was
SELECT version AS v FROM pointstore.append_event('tr-u', 'Earned', 100) \gset
SELECT version AS s FROM pointstore.append_event('tr-u', 'Spent', -60) \gset
SELECT outcome, version, balance FROM pointstore.reverse_event('tr-u', :s, 20, 'tr-v1');
SELECT outcome, version, balance FROM pointstore.reverse_event('tr-u', :s, 20, 'tr-v1');
SELECT pointstore.reverse_event('tr-u', :s, 21, 'tr-v1');
SELECT pointstore.reverse_event('tr-u', :v, 20, 'tr-v1');
SELECT pointstore.reverse_event('tr-u', :s, 41);
SELECT outcome, version, balance FROM pointstore.reverse_event('tr-u', :s, request_id => 'tr-v2');
SELECT outcome, version, balance FROM pointstore.reverse_event('tr-u', :s, request_id => 'tr-v2');
SELECT pointstore.reverse_event('tr-u', :s, 1);
SELECT pointstore.reverse_event('tr-u', :s);
SELECT pointstore.reverse_event('tr-u', 3);
SELECT * FROM tr_event WHERE aggregate_id = 'tr-u' ORDER BY version;
SELECT payload FROM pointstore.event_store WHERE aggregate_id = 'tr-u' AND version = 3;
-- the floor, and a debt that the next credits pay back
SELECT count(pointstore.append_event('tr-u', 'Spent', -90));
SELECT pointstore.reverse_event('tr-u', :v);
SELECT outcome, balance, available FROM pointstore.reverse_event('tr-u', :v, 40, allow_debt => true);
SELECT balance, available FROM pointstore.get_balance('tr-u');
SELECT pointstore.append_event('tr-u', 'Spent', -1);
SELECT pointstore.hold('tr-u', 1, 'tr-debt');
SELECT outcome, balance, available FROM pointstore.append_event('tr-u', 'Earned', 31);
SELECT outcome, balance FROM pointstore.append_event('tr-u', 'Spent', -1);
-- allow_debt is about the floor alone
SELECT count(pointstore.append_event('tr-cap', 'Spent', -10)), count(pointstore.append_event('tr-cap', 'Earned', 60));
SELECT pointstore.reverse_event('tr-cap', 1, allow_debt => true);
SELECT pointstore.freeze_account('tr-u', 'test');
SELECT pointstore.reverse_event('tr-u', :v, 1, allow_debt => true);
SELECT outcome FROM pointstore.reverse_event('tr-u', :s, 20, 'tr-v1');
SELECT pointstore.unfreeze_account('tr-u', 'test');
-- a transfer is taken back on both sides, by whichever leg
SELECT version AS b FROM pointstore.transfer('tr-b', 'tr-e', 8) WHERE aggregate_id = 'tr-b' \gset
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-b', :b, 2, 'tr-v3');
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-e', 1, 3);
SELECT pointstore.reverse_event('tr-e', 1, 4);
SELECT count(pointstore.append_event('tr-e', 'Spent', -2));
SELECT pointstore.reverse_event('tr-b', :b);
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-b', :b, allow_debt => true);
SELECT * FROM tr_event WHERE aggregate_id = 'tr-e' ORDER BY version;
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-b', :b, 2, 'tr-v3');
-- and so are three legs, where it comes to whole amounts
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-c', 1, 2);
SELECT pointstore.reverse_event('tr-d', 1, 5, allow_debt => true) IS NOT NULL;
SELECT pointstore.reverse_event('tr-b', (SELECT version FROM tr_event WHERE aggregate_id = 'tr-b' AND event_type = 'Split'), 1);
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-d', 1);
-- a leg that stands alone is taken back alone; so is one of a batch that is no movement
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-f', 1);
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-f', 2);
-- what was captured of a hold can be paid back; what moved nothing cannot
SELECT count(pointstore.hold('tr-b', 10, 'tr-cap1')), count(pointstore.confirm_hold('tr-cap1', 6));
SELECT max(version) AS c FROM pointstore.event_store WHERE aggregate_id = 'tr-b' AND event_type = 'HoldConfirmed' \gset
SELECT outcome, balance - (SELECT balance_after FROM pointstore.event_store WHERE aggregate_id = 'tr-b' AND version = :c) AS back FROM pointstore.reverse_event('tr-b', :c);
SELECT pointstore.reverse_event('tr-b', :c, 1);
SELECT pointstore.reverse_event('tr-b', :c - 1);
SELECT outcome FROM pointstore.confirm_hold('tr-cap1', 6);
-- of a pure account
SELECT outcome, version, balance FROM pointstore.reverse_event('tr-p2', 1, 3);
SELECT pointstore.reverse_event('tr-p2', 1, 8);
-- bad input
SELECT pointstore.reverse_event('tr-b', 999);
SELECT pointstore.reverse_event('tr-none', 1);
SELECT pointstore.reverse_event(NULL, 1);
SELECT pointstore.reverse_event('tr-b', NULL);
SELECT pointstore.reverse_event('tr-b', 1, 0);
SELECT pointstore.reverse_event('tr-b', 1, -1);
SELECT pointstore.reverse_event('tr-b', 1, allow_debt => NULL);
SELECT pointstore.reverse_event('tr-b', 1, 9223372036854775807);
SELECT pointstore.reverse_event('tr-b', 1, request_id => '');

-- statements: a history with times of its own
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at)
SELECT 'tr-s', 'Earned', d, make_timestamptz(2026, 3, d, 12, 0, 0, 'UTC') FROM generate_series(1, 9) d;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, created_at) VALUES ('tr-s', 'Spent', -5, '2026-03-09 12:00+00');
SET timezone = 'UTC';
SELECT entry, version, event_type, amount, balance, created_at FROM pointstore.statement('tr-s', '2026-03-03 12:00', '2026-03-05 12:00');
SELECT entry, version, amount, balance FROM pointstore.statement('tr-s', '2026-03-09 12:00', 'infinity');
SELECT entry, version, amount, balance, created_at FROM pointstore.statement('tr-s', '-infinity', '2026-03-01 12:00');
SELECT entry, version, amount, balance FROM pointstore.statement('tr-s', '2026-03-04 12:00:01', '2026-03-05 12:00');
SELECT entry, version, amount, balance FROM pointstore.statement('tr-s', '2027-01-01', '2027-01-01');
SELECT entry, version, amount, balance FROM pointstore.statement('tr-none', '-infinity', 'infinity');
SELECT count(*), sum(amount), max(balance) FILTER (WHERE entry = 'closing') AS closing FROM pointstore.statement('tr-b', '-infinity', 'infinity');
SELECT * FROM pointstore.statement('tr-s', '2026-03-05', '2026-03-04');
SELECT * FROM pointstore.statement(NULL, '2026-03-05', '2026-03-06');
SELECT * FROM pointstore.statement('tr-s', NULL, '2026-03-06');
SELECT * FROM pointstore.statement('tr-s', '2026-03-05', NULL);
-- a long one, and one range of an index
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'tr-long', 'Earned', 1 FROM generate_series(1, 2500);
SELECT entry, count(*), min(version), max(version), min(balance), max(balance) FROM pointstore.statement('tr-long', '-infinity', 'infinity') GROUP BY 1 ORDER BY 3, 1;
ANALYZE pointstore.event_store;
BEGIN;
SELECT coalesce(sum(idx_scan), 0) AS scans, coalesce(sum(seq_scan), 0) AS seq FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.event_store'::regclass \gset
SELECT count(*) FROM pointstore.statement('tr-s', '2026-03-03', '2026-03-05');
SELECT sum(idx_scan) - :scans AS scans, sum(seq_scan) - :seq AS seq FROM pg_stat_xact_user_tables WHERE relid = 'pointstore.event_store'::regclass;
COMMIT;
RESET timezone;

-- an error in a block that catches it takes back the whole block, and no more
SELECT outcome FROM pointstore.append_event('tr-ox', 'Earned', 5);
SELECT outcome FROM pointstore.append_event('tr-oy', 'Earned', 9223372036854775807);
DO $$
BEGIN
    PERFORM pointstore.append_event('tr-ox', 'Before', 1);
    BEGIN
        PERFORM pointstore.append_event('tr-ox', 'InBlock', 1);
        PERFORM * FROM pointstore.try_transfer('tr-ox', 'tr-oy', 2);
    EXCEPTION WHEN numeric_value_out_of_range THEN
        PERFORM pointstore.append_event('tr-ox', 'Caught', 1);
    END;
    PERFORM * FROM pointstore.try_transfer('tr-ox', 'tr-none', 1000);
    PERFORM pointstore.append_event('tr-ox', 'After', 1);
END $$;
SELECT version, event_type, balance_after FROM pointstore.event_store WHERE aggregate_id = 'tr-ox' ORDER BY version;
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'tr-none';

-- nothing was made or lost, the store is sound, and as it was
SELECT sum(amount) FROM pointstore.event_store WHERE event_type IN ('Transferred', 'Gift', 'Split') AND aggregate_id LIKE 'tr-%';
SELECT aggregate_id, code FROM pointstore.account, pointstore.reconcile_account(aggregate_id) WHERE aggregate_id LIKE 'tr-%';
DROP VIEW tr_event;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.event_store WHERE aggregate_id LIKE 'tr-%';
DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'tr-%';
DELETE FROM pointstore.pure_account WHERE aggregate_id LIKE 'tr-%';
DELETE FROM pointstore.hold;
COMMIT;
