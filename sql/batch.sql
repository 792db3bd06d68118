-- append_events: order, all or nothing, balanced, bad elements.
\set VERBOSITY sqlstate

-- receipts come in input order, whatever order the accounts are locked in
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.append_events('[
    {"aggregate_id": "batch-z", "event_type": "PointEarned", "amount": 100},
    {"aggregate_id": "batch-a", "event_type": "PointEarned", "amount": "200"},
    {"aggregate_id": "batch-z", "event_type": "PointSpent", "amount": -30, "payload": {"order": "B-1"}},
    {"aggregate_id": "batch-m", "event_type": "Noted"},
    {"aggregate_id": "batch-a", "event_type": "PointSpent", "amount": "-50", "metadata": {"actor": "x"}}]');
SELECT aggregate_id, version, event_type, amount, balance_after, payload, metadata, request_id, leg
  FROM pointstore.event_store WHERE aggregate_id LIKE 'batch-_' ORDER BY aggregate_id, version;
SELECT aggregate_id, version, balance FROM pointstore.balance WHERE aggregate_id LIKE 'batch-_' ORDER BY 1;
-- ids are in input order too
SELECT bool_and(id > prev) FROM (SELECT id, lag(id) OVER (ORDER BY ordinality) AS prev
  FROM pointstore.append_events('[
    {"aggregate_id": "batch-z", "event_type": "Noted"}, {"aggregate_id": "batch-a", "event_type": "Noted"},
    {"aggregate_id": "batch-z", "event_type": "Noted"}]') WITH ORDINALITY) r;

-- every key, and null for "not given"
SELECT outcome, version, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-k", "event_type": "PointEarned", "amount": 10, "payload": [1, "two"], "expected_version": 0,
     "request_id": "batch-k-1", "min_balance": 0, "occurred_at": "2026-02-03 04:05:06+00", "kind": "default",
     "metadata": {"trace": 1}},
    {"aggregate_id": "batch-k", "event_type": "PointEarned", "amount": "5", "expected_version": "1", "min_balance": "-3"},
    {"aggregate_id": "batch-k", "event_type": "Noted", "amount": null, "payload": null, "expected_version": null,
     "request_id": null, "min_balance": null, "occurred_at": null, "kind": null, "metadata": null}]');
SELECT version, amount, payload, metadata, request_id, leg, occurred_at = '2026-02-03 04:05:06+00' AS as_given,
       occurred_at = created_at AS now
  FROM pointstore.event_store WHERE aggregate_id = 'batch-k' ORDER BY version;

-- expected_version of a later element counts the earlier ones
SELECT version FROM pointstore.append_events('[
    {"aggregate_id": "batch-v", "event_type": "Noted", "expected_version": 0},
    {"aggregate_id": "batch-v", "event_type": "Noted", "expected_version": 1},
    {"aggregate_id": "batch-v", "event_type": "Noted", "expected_version": 2}]');
SELECT version FROM pointstore.append_events('[
    {"aggregate_id": "batch-v", "event_type": "Noted", "expected_version": 3},
    {"aggregate_id": "batch-v", "event_type": "Noted", "expected_version": 3}]');

-- a debit may spend what an earlier element earned, not what a later one will
SELECT balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-f", "event_type": "PointEarned", "amount": 100},
    {"aggregate_id": "batch-f", "event_type": "PointSpent", "amount": -100}]');
SELECT balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-f", "event_type": "PointSpent", "amount": -100},
    {"aggregate_id": "batch-f", "event_type": "PointEarned", "amount": 100}]');

-- all or nothing: the last of three fails, nothing is left and no id drawn
SELECT last_value AS before FROM pointstore.event_store_id_seq \gset
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "batch-z", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "batch-new", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "batch-a", "event_type": "PointSpent", "amount": -100000}]');
SELECT last_value = :before AS none_drawn FROM pointstore.event_store_id_seq;
SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id IN ('batch-z', 'batch-a', 'batch-new') ORDER BY 1;
SELECT count(*) FROM pointstore.account_log WHERE aggregate_id = 'batch-new';

-- the first failing element decides
SELECT pointstore.open_account('batch-frozen');
SELECT pointstore.freeze_account('batch-frozen', 'test');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "batch-a", "event_type": "PointSpent", "amount": -100000},
    {"aggregate_id": "batch-frozen", "event_type": "PointEarned", "amount": 1}]');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "batch-frozen", "event_type": "PointEarned", "amount": 1},
    {"aggregate_id": "batch-a", "event_type": "PointSpent", "amount": -100000}]');
SELECT * FROM pointstore.append_events('[
    {"aggregate_id": "batch-a", "event_type": "Noted", "expected_version": 99},
    {"aggregate_id": "batch-frozen", "event_type": "PointEarned", "amount": 1}]');

-- balanced: zero per unit
INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES
    ('batch-won', 'KRW', NULL), ('batch-seat', 'seat', NULL);
SELECT aggregate_id, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": -70, "kind": "batch-won"},
    {"aggregate_id": "batch-w2", "event_type": "Moved", "amount": 70, "kind": "batch-won"},
    {"aggregate_id": "batch-s1", "event_type": "Moved", "amount": -2, "kind": "batch-seat"},
    {"aggregate_id": "batch-s2", "event_type": "Moved", "amount": 2, "kind": "batch-seat"}]', balanced => true);
SELECT aggregate_id, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": -70},
    {"aggregate_id": "batch-w2", "event_type": "Moved", "amount": 69}]', balanced => true);
SELECT aggregate_id, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": -70},
    {"aggregate_id": "batch-s1", "event_type": "Moved", "amount": 70}]', balanced => true);
SELECT aggregate_id, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": -70},
    {"aggregate_id": "batch-s1", "event_type": "Moved", "amount": 70}]');
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "batch-w1", "event_type": "Noted"}]', balanced => true);
-- the sum of many amounts does not wrap
SELECT count(*) FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": 9223372036854775807},
    {"aggregate_id": "batch-w2", "event_type": "Moved", "amount": 9223372036854775807},
    {"aggregate_id": "batch-w2", "event_type": "Moved", "amount": 2}]', balanced => true);
-- a replay of a balanced request is a replay
SELECT outcome, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": -5},
    {"aggregate_id": "batch-w2", "event_type": "Moved", "amount": 5}]', 'batch-balanced', true);
SELECT outcome, balance FROM pointstore.append_events('[
    {"aggregate_id": "batch-w1", "event_type": "Moved", "amount": -5},
    {"aggregate_id": "batch-w2", "event_type": "Moved", "amount": 5}]', 'batch-balanced', true);

-- hybrid and pure accounts in one batch
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('batch-pure', 'pure');
SELECT outcome, aggregate_id, version, balance, available FROM pointstore.append_events('[
    {"aggregate_id": "batch-p", "event_type": "PointEarned", "amount": 10, "kind": "batch-pure"},
    {"aggregate_id": "batch-h", "event_type": "PointEarned", "amount": 20},
    {"aggregate_id": "batch-p", "event_type": "PointSpent", "amount": -3},
    {"aggregate_id": "batch-h", "event_type": "PointSpent", "amount": -4}]');
SELECT aggregate_id, mode, version, balance FROM pointstore.account WHERE aggregate_id IN ('batch-p', 'batch-h') ORDER BY 1;

-- nothing in, nothing out, with and without a request_id
SELECT * FROM pointstore.append_events('[]');
SELECT * FROM pointstore.append_events('[]', 'batch-empty');
SELECT * FROM pointstore.append_events('[]', 'batch-empty', true);

-- ten thousand events in one call, of one account and of many
SELECT count(*), min(version), max(version), max(balance), bool_and(version = ordinality) AS in_order
  FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'batch-10k', 'event_type', 'PointEarned', 'amount', 1))
                                   FROM generate_series(1, 10000))) WITH ORDINALITY;
SELECT version, balance FROM pointstore.get_balance('batch-10k');
SELECT count(*), count(DISTINCT aggregate_id), min(version), max(version)
  FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'batch-10k-' || g % 3000, 'event_type', 'PointEarned', 'amount', g))
                                   FROM generate_series(1, 10000) g), 'batch-10k');
SELECT outcome, count(*)
  FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'batch-10k-' || g % 3000, 'event_type', 'PointEarned', 'amount', g))
                                   FROM generate_series(1, 10000) g), 'batch-10k') GROUP BY 1;
SELECT count(*), sum(balance) FROM pointstore.balance WHERE aggregate_id LIKE 'batch-10k-%';

-- what does not hang together
SELECT * FROM pointstore.append_events(NULL);
SELECT * FROM pointstore.append_events('[]', balanced => NULL);
SELECT * FROM pointstore.append_events('{}');
SELECT * FROM pointstore.append_events('{"aggregate_id": "batch-a", "event_type": "Noted"}');
SELECT * FROM pointstore.append_events('"batch-a"');
SELECT * FROM pointstore.append_events('null');
SELECT * FROM pointstore.append_events('[1]');
SELECT * FROM pointstore.append_events('[null]');
SELECT * FROM pointstore.append_events('["batch-a"]');
SELECT * FROM pointstore.append_events('[[]]');
SELECT * FROM pointstore.append_events('[{}]');
SELECT * FROM pointstore.append_events('[{"event_type": "Noted"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": null, "event_type": "Noted"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": null}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "colour": "red"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "Amount": 1}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "held": 1}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "version": 1}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": 7, "event_type": "Noted"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": ["batch-a"], "event_type": "Noted"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": true}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "", "event_type": "Noted"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": ""}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "request_id": ""}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "request_id": 5}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "kind": ""}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "kind": {}}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-n", "event_type": "Noted", "kind": "no-such-kind"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "expected_version": -1}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "occurred_at": "yesteryear"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "occurred_at": 20260101}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "HoldPlaced"}]');
SELECT * FROM pointstore.append_events('[]', '');
SELECT * FROM pointstore.append_events('[]', repeat('r', 513));
-- amounts: whole numbers, or strings of them
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": 1.5}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "1.5"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": true}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": {}}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": [5]}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": ""}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "-"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "ten"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "0x10"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "10 "}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": 9223372036854775808}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "9223372036854775808"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": "-9223372036854775809"}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "amount": 1e400}]');
SELECT * FROM pointstore.append_events('[{"aggregate_id": "batch-a", "event_type": "Noted", "min_balance": 0.1}]');
SELECT balance FROM pointstore.append_events('[{"aggregate_id": "batch-w2", "event_type": "Noted", "amount": 1e2}]');
SELECT balance FROM pointstore.append_events('[{"aggregate_id": "batch-w2", "event_type": "Noted", "amount": -100.0}]');
-- none of it left a trace
SELECT version, balance FROM pointstore.get_balance('batch-a');
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'batch-n';

-- calls of many events, whose requests the unique index looks for
CREATE FUNCTION batch_many(a text, first integer, last integer, amount bigint) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_agg(jsonb_build_object('aggregate_id', a, 'event_type', 'Many', 'amount', amount, 'request_id', a || '-' || i) ORDER BY i)
  FROM generate_series(first, last) i
$$;
SELECT outcome, count(*), max(version) FROM pointstore.append_events(batch_many('batch-many', 1, 12, 5)) GROUP BY 1;
SELECT outcome, count(*), max(version) FROM pointstore.append_events(batch_many('batch-many', 1, 12, 5)) GROUP BY 1;
SELECT outcome, count(*), max(version) FROM pointstore.append_events(batch_many('batch-many', 7, 20, 5)) GROUP BY 1 ORDER BY 1;
SELECT pointstore.append_events(batch_many('batch-many', 15, 30, 6));
-- debits that were applied before leave the rest its balance, and a refusal is one still
SELECT outcome, count(*), min(balance) FROM pointstore.append_events(batch_many('batch-few', 1, 1, 120)) GROUP BY 1;
SELECT outcome, count(*), min(balance) FROM pointstore.append_events(batch_many('batch-few', 2, 13, -5)) GROUP BY 1;
SELECT outcome, count(*), min(balance) FROM pointstore.append_events(batch_many('batch-few', 2, 25, -5)) GROUP BY 1 ORDER BY 1;
SELECT pointstore.append_events(batch_many('batch-few', 26, 40, -5));
SELECT version, balance FROM pointstore.get_balance('batch-few');
-- and one that was applied comes before all that would hinder it now: what was taken back, rules of the user's, a unit, a change by hand
CREATE FUNCTION batch_round(n int) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'batch-o' || i % 4, 'event_type', 'Round', 'amount', CASE i % 2 WHEN 0 THEN 1 ELSE -1 END) ORDER BY i) FROM generate_series(1, n) i
$$;
INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('batch-one', 'u', NULL), ('batch-two', 'u', NULL);
SELECT pointstore.open_account('batch-o' || i, CASE i % 2 WHEN 0 THEN 'batch-one' ELSE 'batch-two' END) FROM generate_series(0, 3) i;
SELECT outcome, count(*) FROM pointstore.append_events(batch_round(12), 'batch-round', true) GROUP BY 1;
SELECT outcome, count(*) FROM pointstore.reverse_event('batch-o1', 1, request_id => 'batch-back') GROUP BY 1;
SELECT outcome, count(*) FROM pointstore.reverse_event('batch-o1', 1, request_id => 'batch-back') GROUP BY 1;
SELECT pointstore.reverse_event('batch-o1', 1, request_id => 'batch-back2');
BEGIN;
ALTER TABLE pointstore.event_store ADD CONSTRAINT batch_none CHECK (event_type <> 'Round') NOT VALID;
SELECT outcome, count(*) FROM pointstore.append_events(batch_round(12), 'batch-round', true) GROUP BY 1;
SELECT pointstore.append_events(batch_round(12), 'batch-round2', true);
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pointstore.account_kind SET unit = 'v' WHERE kind = 'batch-two';
SET LOCAL session_replication_role = origin;
SELECT outcome, count(*) FROM pointstore.append_events(batch_round(12), 'batch-round', true) GROUP BY 1;
SELECT pointstore.append_events(batch_round(12), 'batch-round3', true);
ROLLBACK;
BEGIN;
UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'batch-o1';
SELECT outcome, count(*) FROM pointstore.append_events(batch_round(12), 'batch-round', true) GROUP BY 1;
ROLLBACK;
DROP FUNCTION batch_round;
-- in a block that catches an error of theirs the block is taken back, and no more
DO $$
BEGIN
    PERFORM pointstore.append_event('batch-few', 'Before', 1);
    BEGIN
        PERFORM pointstore.append_event('batch-few', 'InBlock', 1);
        PERFORM pointstore.append_events(batch_many('batch-few', 41, 60, 9223372036854775807));
    EXCEPTION WHEN numeric_value_out_of_range THEN
        PERFORM pointstore.append_event('batch-few', 'Caught', 1);
    END;
END $$;
SELECT version, event_type, balance_after FROM pointstore.event_store WHERE aggregate_id = 'batch-few' AND version > 25 ORDER BY version;
DROP FUNCTION batch_many;
