-- append_event and try_append_event: receipts, versions, floors, ceilings.
\set VERBOSITY sqlstate

-- the first append opens the account
SELECT outcome, aggregate_id, version, balance, available, id > 0 AS id,
       created_at BETWEEN now() AND clock_timestamp() AS created
  FROM pointstore.append_event('append-1', 'PointEarned', 5000);
SELECT outcome, version, balance, available
  FROM pointstore.append_event('append-1', 'PointSpent', -1500, '{"order": "A-1"}', 1,
                               occurred_at => '2026-01-05 10:00+00', metadata => '{"actor": "shop"}');
-- amount, payload and the rest have defaults
SELECT outcome, version, balance FROM pointstore.append_event('append-1', 'ProfileRead');

SELECT version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id,
       occurred_at = created_at AS now, occurred_at = '2026-01-05 10:00+00' AS as_given
  FROM pointstore.event_store WHERE aggregate_id = 'append-1' ORDER BY version;
SELECT kind, version, balance, held, next_expiry, status FROM pointstore.balance WHERE aggregate_id = 'append-1';
SELECT action, reason, before, after ->> 'kind' AS kind, by_role = current_user AS by_me
  FROM pointstore.account_log WHERE aggregate_id = 'append-1';

-- the receipt is what is stored
CREATE TEMP TABLE receipt AS SELECT * FROM pointstore.append_event('append-1', 'PointEarned', 1);
SELECT e.id = r.id AS id, e.version = r.version AS version, e.balance_after = r.balance AS balance,
       e.created_at = r.created_at AS created_at, b.updated_at >= e.created_at AS updated_at
  FROM receipt r JOIN pointstore.event_store e USING (aggregate_id, version) JOIN pointstore.balance b USING (aggregate_id);

-- expected_version: null any, 0 no event yet, N the last
SELECT outcome, version FROM pointstore.append_event('append-2', 'Opened', 0, expected_version => 0);
SELECT outcome, version FROM pointstore.append_event('append-2', 'Opened', 0, expected_version => 0);
SELECT outcome, version FROM pointstore.append_event('append-2', 'Changed', 0, expected_version => 1);
SELECT outcome, version FROM pointstore.append_event('append-2', 'Changed', 0, expected_version => 1);
SELECT outcome, version FROM pointstore.append_event('append-2', 'Changed', 0, expected_version => 3);
SELECT outcome, version FROM pointstore.append_event('append-2', 'Changed', 0, expected_version => NULL);
SELECT outcome, version FROM pointstore.append_event('append-none', 'Changed', 0, expected_version => 1);
-- an account opened and empty has no event
SELECT pointstore.open_account('append-3');
SELECT outcome, version FROM pointstore.append_event('append-3', 'Opened', 0, expected_version => 0);

-- the floor of the default kind is 0, for debits
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointSpent', -1);
SELECT * FROM pointstore.get_balance('append-4');
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointEarned', 100);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointSpent', -101);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointSpent', -100);

-- the larger of the kind's and the call's floor
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointEarned', 100);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointSpent', -51, min_balance => 50);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointSpent', -50, min_balance => 50);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointSpent', -51, min_balance => -1000);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointEarned', 1, min_balance => 1000);
SELECT outcome, balance FROM pointstore.append_event('append-4', 'Looked', 0, min_balance => 1000);

-- other floors and ceilings; null is none
INSERT INTO pointstore.account_kind (kind, min_balance, max_balance) VALUES
    ('append-limited', -100, 1000), ('append-free', NULL, NULL);
SELECT outcome, balance FROM pointstore.append_event('append-5', 'PointSpent', -101, kind => 'append-limited');
SELECT outcome, balance FROM pointstore.append_event('append-5', 'PointSpent', -100, kind => 'append-limited');
SELECT outcome, balance FROM pointstore.append_event('append-5', 'PointEarned', 1101);
SELECT outcome, balance FROM pointstore.append_event('append-5', 'PointEarned', 1100);
SELECT outcome, balance FROM pointstore.append_event('append-5', 'PointEarned', 1);
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointSpent', -5000, kind => 'append-free');
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointSpent', -1, min_balance => -5000);
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointEarned', 4000);

-- already outside the limits: the way back is open, the way on is not
UPDATE pointstore.account_kind SET min_balance = 0, max_balance = 500 WHERE kind = 'append-free';
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointEarned', 10);
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointSpent', -10);
UPDATE pointstore.account_kind SET min_balance = -5000, max_balance = -2000 WHERE kind = 'append-free';
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointSpent', -10);
SELECT outcome, balance FROM pointstore.append_event('append-6', 'PointEarned', 10);

-- an account of another kind
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointEarned', 1, kind => 'append-limited');
SELECT outcome, balance FROM pointstore.append_event('append-4', 'PointEarned', 1, kind => 'default');

-- a kind that does not open accounts by an append
INSERT INTO pointstore.account_kind (kind, auto_open) VALUES ('append-closed-shop', false);
SELECT outcome, balance FROM pointstore.append_event('append-7', 'PointEarned', 1, kind => 'append-closed-shop');
SELECT pointstore.open_account('append-7', 'append-closed-shop');
SELECT outcome, balance FROM pointstore.append_event('append-7', 'PointEarned', 1, kind => 'append-closed-shop');
SELECT outcome, balance FROM pointstore.append_event('append-7', 'PointEarned', 1);

-- refusals as outcomes, with the account's actual state
SELECT outcome, aggregate_id, version, balance, available, id, created_at
  FROM pointstore.try_append_event('append-4', 'PointSpent', -1, expected_version => 1);
SELECT outcome, aggregate_id, version, balance, available, id, created_at
  FROM pointstore.try_append_event('append-4', 'PointSpent', -1000000);
SELECT outcome, aggregate_id, version, balance, available, id, created_at
  FROM pointstore.try_append_event('append-5', 'PointEarned', 1000000);
SELECT outcome, aggregate_id, id, created_at
  FROM pointstore.try_append_event('append-8', 'PointEarned', 1, kind => 'append-closed-shop');
SELECT outcome, version, balance, available FROM pointstore.try_append_event('append-4', 'PointEarned', 1);
-- malformed input and overflow are errors of the try_ form too
SELECT outcome FROM pointstore.try_append_event('append-4', '');
SELECT outcome FROM pointstore.try_append_event('append-4', 'PointEarned', 9223372036854775807);

-- a refusal writes nothing, opens nothing and draws no id
SELECT last_value AS before FROM pointstore.event_store_id_seq \gset
SELECT outcome FROM pointstore.append_event('append-9', 'PointSpent', -1);
SELECT outcome FROM pointstore.try_append_event('append-9', 'PointSpent', -1);
SELECT outcome FROM pointstore.append_event('append-4', 'PointSpent', -1, expected_version => 1);
SELECT outcome FROM pointstore.append_event('append-4', 'PointEarned', 9223372036854775807);
SELECT last_value = :before AS none_drawn FROM pointstore.event_store_id_seq;
SELECT count(*) FROM pointstore.account WHERE aggregate_id = 'append-9';
SELECT count(*) FROM pointstore.account_log WHERE aggregate_id = 'append-9';

-- several appends in one transaction and in one statement
BEGIN;
SELECT version, balance FROM pointstore.append_event('append-10', 'PointEarned', 10);
SAVEPOINT s;
SELECT version, balance FROM pointstore.append_event('append-10', 'PointEarned', 20);
ROLLBACK TO s;
SELECT version, balance FROM pointstore.append_event('append-10', 'PointSpent', -11);
ROLLBACK TO s;
SELECT version, balance FROM pointstore.append_event('append-10', 'PointEarned', 30);
COMMIT;
SELECT count(pointstore.append_event('append-10', 'PointEarned', 1)) FROM generate_series(1, 1000);
SELECT version, balance FROM pointstore.get_balance('append-10');
SELECT count(*), min(version), max(version), sum(amount), count(DISTINCT id)
  FROM pointstore.event_store WHERE aggregate_id = 'append-10';

-- ids go with versions, and times never go back
SELECT bool_and(id > prev_id) AS ids, bool_and(created_at >= prev_at) AS times
  FROM (SELECT id, created_at, lag(id) OVER w AS prev_id, lag(created_at) OVER w AS prev_at
          FROM pointstore.event_store WHERE aggregate_id = 'append-10' WINDOW w AS (ORDER BY version)) e;

-- ids are told apart by bytes
SELECT version FROM pointstore.append_event('append-Case', 'PointEarned', 1);
SELECT version FROM pointstore.append_event('append-case', 'PointEarned', 1);
SELECT version FROM pointstore.append_event('append-case ', 'PointEarned', 1);

-- in a transaction that may only read
BEGIN READ ONLY;
SELECT pointstore.append_event('append-1', 'PointEarned', 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT pointstore.append_events('[{"aggregate_id": "append-1", "event_type": "PointEarned"}]');
ROLLBACK;

-- a page of balances is not pruned for each append, but before it has no room for the next: accounts in turn, each append by itself
SELECT count(pointstore.append_event('append-room-' || i, 'Opened', 1)) FROM generate_series(1, 200) i;
SELECT pg_relation_size('pointstore.balance') AS size \gset
DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pointstore.append_event('append-room-' || 1 + i % 200, 'PointEarned', 1); COMMIT; END LOOP; END $$;
SELECT pg_relation_size('pointstore.balance') - :size <= 8192 AS no_larger, count(*), min(balance), max(balance) FROM pointstore.balance WHERE aggregate_id LIKE 'append-room-%';
