-- What a receipt says, for each outcome, and that it is what was stored.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

CREATE TEMP TABLE modes (mode text);
INSERT INTO modes VALUES ('hybrid'), ('pure');
INSERT INTO pointstore.account_kind (kind, mode, max_balance) SELECT 'receipts-' || mode, mode, 1000 FROM modes;
INSERT INTO pointstore.account_kind (kind, mode, auto_open) SELECT 'receipts-shut-' || mode, mode, false FROM modes;

CREATE TEMP TABLE receipt AS
SELECT m.mode, r.* FROM modes m, pointstore.append_event('receipts-' || m.mode, 'Changed', 100, kind => 'receipts-' || m.mode) r;
SELECT is(ROW(r.outcome, r.aggregate_id, r.version, r.balance, r.available, r.id, r.created_at),
          ROW('appended'::text, e.aggregate_id COLLATE "default", e.version, e.balance_after, e.balance_after, e.id, e.created_at), r.mode || ': appended, as stored')
  FROM receipt r LEFT JOIN pointstore.event_store e USING (aggregate_id);
SELECT is(ROW(outcome, version, balance, available), ROW('appended'::text, 1::bigint, 100::bigint, 100::bigint), mode || ': appended') FROM receipt;
SELECT ok(r.created_at BETWEEN now() AND clock_timestamp(), mode || ': the clock, not the start of the transaction') FROM receipt r;
SELECT ok(e.created_at > r.created_at, mode || ': the next is later') FROM receipt r, pointstore.append_event(r.aggregate_id, 'Changed', -10) e;

-- refusals: the actual version, balance and available, no id and no time
SELECT is(ROW(r.outcome, r.aggregate_id, r.version, r.balance, r.available, r.id, r.created_at),
          ROW(q.outcome, 'receipts-' || mode, 2::bigint, 90::bigint, 90::bigint, NULL::bigint, NULL::timestamptz), mode || ': ' || q.outcome)
  FROM modes, (VALUES ('version_conflict', 1, 1::bigint), ('insufficient_balance', -91, NULL), ('balance_limit', 911, NULL)) q(outcome, amount, expected),
       pointstore.try_append_event('receipts-' || mode, 'Changed', q.amount, expected_version => q.expected) r;
SELECT is(ROW(r.outcome, r.aggregate_id, r.version, r.balance, r.available, r.id, r.created_at),
          ROW('version_conflict'::text, 'receipts-none-' || mode, 0::bigint, 0::bigint, 0::bigint, NULL::bigint, NULL::timestamptz), mode || ': version_conflict of a new account')
  FROM modes, pointstore.try_append_event('receipts-none-' || mode, 'Changed', 1, expected_version => 1, kind => 'receipts-' || mode) r;
SELECT is(ROW(r.outcome, r.aggregate_id, r.id, r.created_at), ROW('account_missing'::text, 'receipts-none-' || mode, NULL::bigint, NULL::timestamptz), mode || ': account_missing')
  FROM modes, pointstore.try_append_event('receipts-none-' || mode, 'Changed', 1, kind => 'receipts-shut-' || mode) r;
SELECT lives_ok(format($$SELECT pointstore.freeze_account('receipts-%s', 'test')$$, mode), mode || ': freeze') FROM modes;
SELECT is(ROW(r.outcome, r.version, r.balance, r.available, r.id, r.created_at),
          ROW('account_frozen'::text, 2::bigint, 90::bigint, 90::bigint, NULL::bigint, NULL::timestamptz), mode || ': account_frozen')
  FROM modes, pointstore.try_append_event('receipts-' || mode, 'Changed', 1) r;
SELECT lives_ok(format($$SELECT pointstore.unfreeze_account('receipts-%s', 'test')$$, mode), mode || ': unfreeze') FROM modes;
SELECT is((pointstore.append_event('receipts-' || mode, 'Changed', -90)).version, 3::bigint, mode || ': emptied') FROM modes;
SELECT lives_ok(format($$SELECT pointstore.close_account('receipts-%s')$$, mode), mode || ': close') FROM modes;
SELECT is(ROW(r.outcome, r.version, r.balance, r.available, r.id, r.created_at),
          ROW('account_closed'::text, 3::bigint, 0::bigint, 0::bigint, NULL::bigint, NULL::timestamptz), mode || ': account_closed')
  FROM modes, pointstore.try_append_event('receipts-' || mode, 'Changed', 1) r;

-- held is not available: on every receipt but a replay
SELECT pointstore.append_event('receipts-held', 'Changed', 100) AS receipt \gset
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET held = 30 WHERE aggregate_id = 'receipts-held';
SET LOCAL session_replication_role = origin;
SELECT is(ROW(balance, available), ROW(110::bigint, 80::bigint), 'append_event') FROM pointstore.append_event('receipts-held', 'Changed', 10, request_id => 'receipts-held');
SELECT is(ROW(outcome, balance, available), ROW('insufficient_balance'::text, 110::bigint, 80::bigint), 'a refusal') FROM pointstore.try_append_event('receipts-held', 'Changed', -81);
SELECT is(ROW(balance, available), ROW(109::bigint, 79::bigint), 'append_events') FROM pointstore.append_events('[{"aggregate_id": "receipts-held", "event_type": "Changed", "amount": -1}]');
SELECT is(ROW(balance, available), ROW(110::bigint, NULL::bigint), 'a replay') FROM pointstore.append_event('receipts-held', 'Changed', 10, request_id => 'receipts-held');
SELECT is(ROW(balance, held, available), ROW(109::bigint, 30::bigint, 79::bigint), 'get_balance') FROM pointstore.get_balance('receipts-held');

-- a receipt can be taken apart and passed on as one value
SELECT is(pg_typeof(r)::text, 'pointstore.receipt', 'its type') FROM (SELECT pointstore.append_event('receipts-held', 'Changed') AS r) x;
SELECT is(to_jsonb(r) ? 'created_at', true, 'as JSON') FROM pointstore.append_event('receipts-held', 'Changed') r;

SELECT * FROM finish();
ROLLBACK;
