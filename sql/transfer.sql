-- Transfers, linked legs, what takes an event back, and statements.
\set VERBOSITY sqlstate
SET client_min_messages = error;
INSERT INTO pointstore.account_kind (kind, unit, min_balance, max_balance, mode) VALUES
    ('tr-house', '', NULL, NULL, 'hybrid'), ('tr-seat', 'seat', NULL, NULL, 'hybrid'), ('tr-cap', '', NULL, 50, 'hybrid'), ('tr-pure', '', NULL, NULL, 'pure');
CREATE VIEW tr_event AS
WITH event AS MATERIALIZED (SELECT * FROM pointstore.event_store)
SELECT e.aggregate_id, e.version, e.event_type, e.amount, e.balance_after, e.request_id, e.leg, c.aggregate_id || ' ' || c.version AS cause
  FROM event e LEFT JOIN event c ON c.id = e.cause_id
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

-- the account's rules come before the unit
SELECT count(pointstore.freeze_account('tr-cap', 'test'));
SELECT outcome, aggregate_id FROM pointstore.try_transfer('tr-cap', 'tr-seat', 1);
SELECT outcome, aggregate_id FROM pointstore.try_transfer('tr-seat', 'tr-cap', 1);
SELECT outcome, aggregate_id FROM pointstore.try_transfer('tr-none', 'tr-seat', 1);
SELECT count(pointstore.unfreeze_account('tr-cap', 'test'));

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
BEGIN;
SELECT max(id) AS last FROM pointstore.transfer('tr-b', 'tr-a', 1, payload => NULL) \gset
SELECT payload FROM pointstore.event_store WHERE id = :last;
ROLLBACK;
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
-- what is appended is balanced, whatever was appended before
SELECT outcome, aggregate_id, balance FROM pointstore.append_events('[{"aggregate_id": "tr-f", "event_type": "Part", "amount": 1, "request_id": "tr-o4"},
    {"aggregate_id": "tr-b", "event_type": "Part", "amount": -1, "request_id": "tr-o5"}]', balanced => true);
SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "tr-f", "event_type": "Part", "amount": 1, "request_id": "tr-o4"},
    {"aggregate_id": "tr-b", "event_type": "Part", "amount": -1, "request_id": "tr-o5"}]', balanced => true);
SELECT pointstore.append_events('[{"aggregate_id": "tr-f", "event_type": "Part", "amount": 1, "request_id": "tr-o4"},
    {"aggregate_id": "tr-b", "event_type": "Part", "amount": -1, "request_id": "tr-o6"}]', balanced => true);
SELECT pointstore.append_events('[{"aggregate_id": "tr-f", "event_type": "Part", "amount": 1, "request_id": "tr-o7"},
    {"aggregate_id": "tr-f", "event_type": "Part", "amount": 1, "request_id": "tr-o7"}, {"aggregate_id": "tr-b", "event_type": "Part", "amount": -2}]', balanced => true);
SELECT pointstore.append_events('[{"aggregate_id": "tr-f", "event_type": "Part", "amount": 1, "request_id": "tr-o4"},
    {"aggregate_id": "tr-b", "event_type": "Part", "amount": -2}, {"aggregate_id": "tr-seat", "event_type": "Part", "amount": 1}]', balanced => true);
-- by hand nobody makes a leg
INSERT INTO pointstore.event_store (aggregate_id, event_type, leg, cause_id) VALUES ('tr-f', 'ByHand', 1, 1) RETURNING leg, cause_id;
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id, leg, cause_id) VALUES ('tr-f', 'ByHand', 'tr-o2', 7, 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id, leg, cause_id) VALUES ('tr-f', 'ByHand', 'tr-o3', 0, 1) RETURNING leg, cause_id;
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-f', 'EventReversed');
SELECT pointstore.append_event('tr-f', 'EventReversed');

-- nor does a trigger, neither of what is inserted by hand nor of what a function appends
CREATE FUNCTION tr_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = 'cause' THEN NEW.cause_id := coalesce(NEW.cause_id, 1);
    ELSIF TG_ARGV[0] = 'no cause' THEN NEW.cause_id := NULL;
    ELSIF TG_ARGV[0] = 'leg' THEN NEW.leg := 1;
    ELSIF TG_ARGV[0] = 'no leg' THEN NEW.leg := NULL;
    ELSIF TG_ARGV[0] = 'type' THEN NEW.event_type := 'EventReversed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER zzz_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION tr_change('cause');
SELECT pointstore.transfer('tr-b', 'tr-f', 1);
SELECT pointstore.append_event('tr-b', 'Earned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id) VALUES ('tr-f', 'ByHand', 'tr-o8') RETURNING leg, cause_id;
CREATE OR REPLACE TRIGGER zzz_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION tr_change('no cause');
SELECT pointstore.transfer('tr-b', 'tr-f', 1);
CREATE OR REPLACE TRIGGER zzz_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION tr_change('leg');
SELECT pointstore.append_event('tr-b', 'Earned', 1);
SELECT pointstore.append_event('tr-b', 'Earned', 1, request_id => 'tr-o9');
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-f', 'ByHand');
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id, cause_id) VALUES ('tr-f', 'ByHand', 'tr-o9', 1);
CREATE OR REPLACE TRIGGER zzz_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION tr_change('no leg');
SELECT pointstore.transfer('tr-b', 'tr-f', 1);
SELECT pointstore.append_event('tr-b', 'Earned', 1, request_id => 'tr-o9');
INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id) VALUES ('tr-f', 'ByHand', 'tr-o9');
CREATE OR REPLACE TRIGGER zzz_change BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION tr_change('type');
SELECT pointstore.append_event('tr-b', 'Earned', 1);
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('tr-f', 'ByHand');
DROP TRIGGER zzz_change ON pointstore.event_store;
DROP FUNCTION tr_change();

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
-- all that is left is another request than a part of it
SELECT count(pointstore.append_event('tr-w', 'Earned', 100));
SELECT outcome, balance FROM pointstore.reverse_event('tr-w', 1, 20, 'tr-v4');
SELECT pointstore.reverse_event('tr-w', 1, NULL, 'tr-v4');
SELECT outcome, balance FROM pointstore.reverse_event('tr-w', 1, NULL, 'tr-v5');
SELECT outcome, balance FROM pointstore.reverse_event('tr-w', 1, 80, 'tr-v5');
SELECT outcome, balance FROM pointstore.reverse_event('tr-w', 1, NULL, 'tr-v5');
SELECT pointstore.reverse_event('tr-w', 1, NULL, 'tr-v4');
SELECT outcome, balance FROM pointstore.reverse_event('tr-w', 1, 20, 'tr-v4');
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
-- several legs of one account are taken back as they came, the last first
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "tr-house", "event_type": "Through", "amount": -100}, {"aggregate_id": "tr-x", "event_type": "Through", "amount": 100},
    {"aggregate_id": "tr-x", "event_type": "Through", "amount": -100}, {"aggregate_id": "tr-y", "event_type": "Through", "amount": 100}]', 'tr-through', true);
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-x', 1, 30, 'tr-v6');
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-x', 2, 30, 'tr-v6');
SELECT outcome, aggregate_id, balance FROM pointstore.reverse_event('tr-y', 1);
-- an amount without an opposite is taken back in parts
SELECT balance FROM pointstore.append_event('tr-z', 'Lost', -9223372036854775808, kind => 'tr-house');
SELECT pointstore.reverse_event('tr-z', 1);
SELECT outcome, balance FROM pointstore.reverse_event('tr-z', 1, 5);
SELECT outcome, balance FROM pointstore.reverse_event('tr-z', 1);
SELECT pointstore.reverse_event('tr-z', 1);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "tr-zz1", "event_type": "Deep", "amount": "-9223372036854775808", "kind": "tr-house"},
    {"aggregate_id": "tr-zz2", "event_type": "Deep", "amount": "9223372036854775807", "kind": "tr-house"}, {"aggregate_id": "tr-zz3", "event_type": "Deep", "amount": 1, "kind": "tr-house"}]', balanced => true);
SELECT pointstore.reverse_event('tr-zz3', 1, 1);
SELECT pointstore.reverse_event('tr-zz3', 1);
SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id LIKE 'tr-zz%' ORDER BY 1;
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
-- a long one, its account's events among those of others: one range of the key all the same, and nothing to be sorted
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
SELECT 'tr-long' || i % 10, 'Earned', 1, jsonb_build_object('note', repeat('x', 200)) FROM generate_series(10, 25009) i;
ANALYZE pointstore.event_store;
CREATE FUNCTION tr_scans(OUT by_key bigint, OUT others bigint, OUT seq bigint, OUT read bigint) LANGUAGE sql AS $$
    SELECT sum(pg_stat_get_xact_numscans(indexrelid)) FILTER (WHERE indexrelid = 'pointstore.event_store_pkey'::regclass),
           sum(pg_stat_get_xact_numscans(indexrelid)) FILTER (WHERE indexrelid <> 'pointstore.event_store_pkey'::regclass),
           pg_stat_get_xact_numscans('pointstore.event_store'::regclass), sum(pg_stat_get_xact_tuples_returned(indexrelid))
      FROM pg_index WHERE indrelid = 'pointstore.event_store'::regclass
$$;
BEGIN;
SELECT coalesce(by_key, 0) AS k, coalesce(others, 0) AS o, coalesce(seq, 0) AS s, coalesce(read, 0) AS r FROM tr_scans() \gset
SELECT entry, count(*), min(version), max(version), min(balance), max(balance) FROM pointstore.statement('tr-long1', '-infinity', 'infinity') GROUP BY 1 ORDER BY 3, 1;
SELECT count(*) FROM pointstore.statement('tr-s', '2026-03-03', '2026-03-05');
-- a row for each event, and a few probes for where the shorter one begins
SELECT by_key - :k <= 10 AS by_key, others - :o AS others, seq - :s AS seq, read - :r BETWEEN 2502 AND 2520 AS read FROM tr_scans();
COMMIT;
DROP FUNCTION tr_scans();
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
DELETE FROM pointstore.hold WHERE hold_id NOT LIKE 'guard-%';
COMMIT;

-- kind is that of an account which the transfer opens; those that are there may be of any
INSERT INTO pointstore.account_kind (kind, unit, auto_open) VALUES ('tr-won', 'KRW', true), ('tr-won-shut', 'KRW', false);
SELECT count(pointstore.append_event('tr-k1', 'Earned', 100, kind => 'tr-won'));
SELECT pointstore.transfer('tr-k1', 'tr-k2', 1);
SELECT outcome, aggregate_id, version FROM pointstore.try_transfer('tr-k1', 'tr-k2', 1);
SELECT pointstore.submit_transfer('tr-k1', 'tr-k2', 1);
SELECT outcome, aggregate_id, version FROM pointstore.try_submit_transfer('tr-k1', 'tr-k2', 1);
SELECT pointstore.transfer('tr-k1', 'tr-k2', 1, kind => 'tr-won-shut');
SELECT outcome, aggregate_id, version FROM pointstore.try_transfer('tr-k1', 'tr-k2', 1, kind => 'tr-won-shut');
SELECT pointstore.transfer('tr-k1', 'tr-k2', 1, kind => 'tr-none');
SELECT pointstore.transfer('tr-k1', 'tr-k2', 1, kind => '');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'tr-k2';
SELECT outcome, aggregate_id, balance FROM pointstore.transfer('tr-k1', 'tr-k2', 1, kind => 'tr-won');
SELECT outcome, aggregate_id, balance FROM pointstore.try_transfer('tr-k1', 'tr-k3', 1, kind => 'tr-won');
SELECT outcome, aggregate_id, balance FROM pointstore.submit_transfer('tr-k1', 'tr-k4', 1, kind => 'tr-won');
SELECT outcome, aggregate_id, balance FROM pointstore.try_submit_transfer('tr-k1', 'tr-k5', 1, kind => 'tr-won');
SELECT aggregate_id, kind, balance FROM pointstore.account WHERE aggregate_id LIKE 'tr-k_' ORDER BY 1;
SELECT outcome, aggregate_id, balance FROM pointstore.transfer('tr-k1', 'tr-k2', 1, kind => 'default');
SELECT outcome, aggregate_id, balance FROM pointstore.submit_transfer('tr-k1', 'tr-k2', 1, kind => 'default');
SELECT pointstore.transfer('tr-k1', 'tr-k2', 1, kind => 'tr-none');
SELECT outcome FROM pointstore.transfer('tr-k1', 'tr-k2', 1, 'tr-kr', kind => 'tr-won');
SELECT outcome FROM pointstore.transfer('tr-k1', 'tr-k2', 1, 'tr-kr');

-- try_reverse_event()
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-none', 1);
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-k1', 100);
SELECT outcome, aggregate_id, balance FROM pointstore.try_reverse_event('tr-k2', 1);
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-k2', 1);
SELECT outcome, aggregate_id, version FROM pointstore.try_reverse_event('tr-k1', 1, 101);
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-k1', 1, 50, 'tr-kv');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-k1', 1, NULL, 'tr-kv');
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-k1', 1, 50, 'tr-kv');
SELECT version AS reversal FROM pointstore.event_store WHERE request_id = 'tr-kv' \gset
SELECT outcome, aggregate_id FROM pointstore.try_reverse_event('tr-k1', :reversal);
SELECT version AS noted FROM pointstore.append_event('tr-k1', 'Noted') \gset
SELECT outcome, aggregate_id FROM pointstore.try_reverse_event('tr-k1', :noted);
SELECT outcome, aggregate_id, version, balance FROM pointstore.try_reverse_event('tr-k1', 1);
SELECT pointstore.freeze_account('tr-k3', 'test');
SELECT outcome, aggregate_id, version FROM pointstore.try_reverse_event('tr-k3', 1);
SELECT pointstore.try_reverse_event('tr-k1', NULL);
SELECT aggregate_id, balance FROM pointstore.account WHERE aggregate_id LIKE 'tr-k_' ORDER BY 1;
