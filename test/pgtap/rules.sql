-- The order of the rules, each adjacent pair violated at once: the earlier decides. Then each rule by itself.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

-- the same for hybrid and for pure accounts
CREATE TEMP TABLE modes (mode text);
INSERT INTO modes VALUES ('hybrid'), ('pure');
INSERT INTO pointstore.account_kind (kind, mode, min_balance, max_balance, auto_open)
SELECT 'rules-' || mode || '-' || name, mode, floor, ceiling, auto_open
  FROM modes, (VALUES ('limited', 0, 100, true), ('free', NULL, NULL, true), ('shut', 0, NULL, false), ('debt', -100, NULL, true),
                      ('positive', 10, 20, true)) k(name, floor, ceiling, auto_open);
-- For each mode: an account with 100 of at most 100 and a request; a frozen, a closed and a free one.
DO $$
DECLARE m text;
BEGIN
    FOR m IN SELECT mode FROM modes LOOP
        PERFORM pointstore.append_event('rules-' || m, 'Changed', 100, request_id => 'rules-' || m, kind => 'rules-' || m || '-limited');
        PERFORM pointstore.append_event('rules-' || m || '-frozen', 'Changed', 50, request_id => 'rules-' || m || '-frozen', kind => 'rules-' || m || '-limited');
        PERFORM pointstore.freeze_account('rules-' || m || '-frozen', 'test');
        PERFORM pointstore.append_event('rules-' || m || '-closed', 'Changed', 0, request_id => 'rules-' || m || '-closed', kind => 'rules-' || m || '-limited');
        PERFORM pointstore.close_account('rules-' || m || '-closed');
        PERFORM pointstore.append_event('rules-' || m || '-free', 'Changed', -50, kind => 'rules-' || m || '-free');
    END LOOP;
END$$;

-- 1 malformed input, before 2 the request
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', '', 99, request_id => 'rules-%1$s')$$, mode), '22023', NULL, mode || ': malformed before mismatch') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', 'Changed', NULL, request_id => 'rules-%1$s')$$, mode), '22004', NULL, mode || ': null before replay') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', 'Changed', 100, expected_version => -1, request_id => 'rules-%1$s')$$, mode), '22023', NULL, mode || ': malformed before replay') FROM modes;
-- 2 the request, before 3 the account
SELECT is((pointstore.append_event('rules-' || mode || '-frozen', 'Changed', 50, request_id => 'rules-' || mode || '-frozen')).outcome, 'replayed', mode || ': replay before frozen') FROM modes;
SELECT is((pointstore.append_event('rules-' || mode || '-closed', 'Changed', 0, request_id => 'rules-' || mode || '-closed')).outcome, 'replayed', mode || ': replay before closed') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-frozen', 'Changed', 51, request_id => 'rules-%1$s-frozen')$$, mode), 'PS002', NULL, mode || ': mismatch before frozen') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-closed', 'Changed', 51, request_id => 'rules-%1$s-closed')$$, mode), 'PS002', NULL, mode || ': mismatch before closed') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-new', 'Changed', 100, request_id => 'rules-%1$s', kind => 'rules-%1$s-shut')$$, mode), 'PS002', NULL, mode || ': mismatch before missing') FROM modes;
-- 2 the request, before 4 to 6
SELECT is((pointstore.append_event('rules-' || mode, 'Changed', 100, expected_version => 0, request_id => 'rules-' || mode)).outcome, 'replayed', mode || ': replay before version') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', 'Changed', 9223372036854775807, expected_version => 7, request_id => 'rules-%1$s')$$, mode), 'PS002', NULL, mode || ': mismatch before version and overflow') FROM modes;
-- 3 the account, before 4 the version
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-frozen', 'Changed', 1, expected_version => 7)$$, mode), 'PS004', NULL, mode || ': frozen before version') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-closed', 'Changed', 1, expected_version => 7)$$, mode), 'PS005', NULL, mode || ': closed before version') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-new', 'Changed', 1, expected_version => 7, kind => 'rules-%1$s-shut')$$, mode), 'PS008', NULL, mode || ': missing before version') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-frozen', 'Changed', -1000)$$, mode), 'PS004', NULL, mode || ': frozen before floor') FROM modes;
-- 4 the version, before 5 overflow
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', 'Changed', 9223372036854775807, expected_version => 7)$$, mode), 'PS001', NULL, mode || ': version before overflow') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', 'Changed', -1000, expected_version => 7)$$, mode), 'PS001', NULL, mode || ': version before floor') FROM modes;
-- 5 overflow, before 6 ceiling and floor
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s', 'Changed', 9223372036854775807)$$, mode), '22003', NULL, mode || ': overflow before ceiling') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('rules-%s-free', 'Changed', -9223372036854775808, min_balance => 0)$$, mode), '22003', NULL, mode || ': overflow before floor') FROM modes;
-- the same by the try_ form
SELECT is((pointstore.try_append_event('rules-' || mode || '-frozen', 'Changed', 51, request_id => 'rules-' || mode || '-frozen')).outcome, 'request_mismatch', mode || ': try, mismatch before frozen') FROM modes;
SELECT is((pointstore.try_append_event('rules-' || mode || '-closed', 'Changed', 1, expected_version => 7)).outcome, 'account_closed', mode || ': try, closed before version') FROM modes;
SELECT is((pointstore.try_append_event('rules-' || mode, 'Changed', -1000, expected_version => 7)).outcome, 'version_conflict', mode || ': try, version before floor') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.try_append_event('rules-%s', 'Changed', 9223372036854775807)$$, mode), '22003', NULL, mode || ': try, overflow is an error') FROM modes;
-- and by the table
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('rules-%s-frozen', 'Changed', 51, 'rules-%1$s-frozen')$$, mode), 'PS002', NULL, mode || ': row, mismatch before frozen') FROM modes;
SELECT lives_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('rules-%s-frozen', 'Changed', 50, 'rules-%1$s-frozen')$$, mode), mode || ': row, replay before frozen') FROM modes;
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('rules-%s-closed', 7, 'Changed')$$, mode), 'PS005', NULL, mode || ': row, closed before version') FROM modes;
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('rules-%s', 7, 'Changed', 9223372036854775807)$$, mode), 'PS001', NULL, mode || ': row, version before overflow') FROM modes;
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rules-%s', 'Changed', 9223372036854775807)$$, mode), '22003', NULL, mode || ': row, overflow before ceiling') FROM modes;
-- in a batch the first failing element decides, whichever of its rules that is
SELECT throws_ok(format($$SELECT pointstore.append_events('[{"aggregate_id": "rules-%s", "event_type": "Changed", "amount": -1000},
    {"aggregate_id": "rules-%1$s-frozen", "event_type": "Changed", "amount": 51, "request_id": "rules-%1$s-frozen"}]')$$, mode), 'PS003', NULL, mode || ': batch, floor of the first') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_events('[{"aggregate_id": "rules-%s", "event_type": "Changed", "amount": -1},
    {"aggregate_id": "rules-%1$s-frozen", "event_type": "Changed", "amount": 1}, {"aggregate_id": "rules-%1$s", "event_type": "Changed", "expected_version": 1}]')$$, mode),
    'PS004', NULL, mode || ': batch, frozen of the second') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_events('[{"aggregate_id": "rules-%s", "event_type": "Changed", "expected_version": 7},
    {"aggregate_id": "rules-%1$s-closed", "event_type": "Changed"}]')$$, mode), 'PS001', NULL, mode || ': batch, version of the first') FROM modes;

-- A floor binds debits, a ceiling credits; the larger of the two floors counts; null is none.
-- was: the balance that the account has; made by a kind without limits and then put under the one that counts
CREATE FUNCTION pg_temp.judged(mode text, kind text, was bigint, amount bigint, min_balance bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE id text := format('rules-judged-%s-%s', mode, nextval('pg_temp.judged_seq'));
BEGIN
    PERFORM pointstore.append_event(id, 'Changed', was, kind => format('rules-%s-free', mode));
    PERFORM pointstore.set_kind(id, format('rules-%s-%s', mode, kind));
    RETURN (pointstore.try_append_event(id, 'Changed', amount, min_balance => min_balance)).outcome;
END$$;
CREATE SEQUENCE pg_temp.judged_seq;
SELECT is(pg_temp.judged(mode, kind, was, amount, min_balance), outcome, format('%s %s: %s %s floor %s', mode, kind, was, amount, min_balance))
  FROM modes, (VALUES
    ('limited', 100, -100, NULL::bigint, 'appended'), ('limited', 100, -101, NULL, 'insufficient_balance'),
    ('limited', 99, 1, NULL, 'appended'), ('limited', 99, 2, NULL, 'balance_limit'),
    ('limited', 150, -10, NULL, 'appended'), ('limited', 150, 0, NULL, 'appended'), ('limited', 150, 1, NULL, 'balance_limit'),
    ('limited', -50, 10, NULL, 'appended'), ('limited', -50, 0, NULL, 'appended'), ('limited', -50, -1, NULL, 'insufficient_balance'),
    ('limited', 100, -50, 50, 'appended'), ('limited', 100, -51, 50, 'insufficient_balance'),
    ('limited', 100, -100, -50, 'appended'), ('limited', 100, -101, -50, 'insufficient_balance'),
    ('limited', 10, 5, 50, 'appended'), ('limited', 10, 0, 50, 'appended'),
    ('debt', 0, -100, NULL, 'appended'), ('debt', 0, -101, NULL, 'insufficient_balance'),
    ('debt', 0, -50, -50, 'appended'), ('debt', 0, -51, -50, 'insufficient_balance'), ('debt', 0, -101, -500, 'insufficient_balance'),
    ('free', 0, -1000000, NULL, 'appended'), ('free', 0, -50, -50, 'appended'), ('free', 0, -51, -50, 'insufficient_balance'),
    ('free', 0, 9223372036854775807, NULL, 'appended'), ('free', 0, -9223372036854775808, NULL, 'appended'),
    ('free', -1, -9223372036854775807, NULL, 'appended'),
    ('positive', 0, 5, NULL, 'appended'), ('positive', 0, 21, NULL, 'balance_limit'), ('positive', 11, -1, NULL, 'appended'),
    ('positive', 11, -2, NULL, 'insufficient_balance')) r(kind, was, amount, min_balance, outcome);
-- held is not available
SAVEPOINT held;
SELECT pointstore.append_event('rules-held', 'Changed', 100) AS receipt \gset
SET LOCAL session_replication_role = replica;
UPDATE pointstore.balance SET held = 60 WHERE aggregate_id = 'rules-held';
SET LOCAL session_replication_role = origin;
SELECT throws_ok($$SELECT pointstore.append_event('rules-held', 'Changed', -41)$$, 'PS003', NULL, 'what is held cannot be spent');
SELECT is(available, 40::bigint, 'a refusal tells what is available') FROM pointstore.try_append_event('rules-held', 'Changed', -41);
SELECT is(ROW(balance, available), ROW(60::bigint, 0::bigint), 'the rest can') FROM pointstore.append_event('rules-held', 'Changed', -40);
SELECT throws_ok($$SELECT pointstore.append_event('rules-held', 'Changed', -1)$$, 'PS003', NULL, 'and no more');
SELECT throws_ok($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rules-held', 'Changed', -1)$$, 'PS003', NULL, 'nor by the table');
SELECT throws_ok($$UPDATE pointstore.balance SET balance = 59, version = version + 1 WHERE aggregate_id = 'rules-held'$$, 'PS003', NULL, 'nor by an update');
SELECT throws_ok($$SELECT pointstore.close_account('rules-held')$$, 'PS011', NULL, 'nor can it be closed');
SELECT throws_ok($$SELECT pointstore.append_event('rules-held', 'Changed', -60)$$, 'PS003', NULL, 'nor emptied');
ROLLBACK TO held;

-- expected_version
SELECT is((pointstore.try_append_event('rules-v-' || mode, 'Changed', expected_version => expected, kind => 'rules-' || mode || '-free')).outcome, outcome,
          format('%s: expected %s of a new account', mode, expected))
  FROM modes, (VALUES (1, 'version_conflict'), (9223372036854775807, 'version_conflict'), (0, 'appended')) v(expected, outcome);
SELECT is((pointstore.try_append_event('rules-v-' || mode, 'Changed', expected_version => expected)).outcome, outcome,
          format('%s: expected %s of version 1', mode, expected))
  FROM modes, (VALUES (0, 'version_conflict'), (2, 'version_conflict'), (NULL::bigint, 'appended'), (2, 'appended'), (2, 'version_conflict')) v(expected, outcome);

-- a refusal leaves nothing: no event, no account, no log
SELECT is((pointstore.try_append_event('rules-left', 'Changed', -1, kind => 'rules-' || mode || '-limited')).outcome, 'insufficient_balance', mode || ': refused') FROM modes;
SELECT throws_ok($$SELECT pointstore.append_events('[{"aggregate_id": "rules-left", "event_type": "Changed", "amount": 5},
    {"aggregate_id": "rules-left-2", "event_type": "Changed", "amount": 9223372036854775807}, {"aggregate_id": "rules-left", "event_type": "Changed", "amount": 9223372036854775807}]')$$,
    '22003', NULL, 'overflow in a batch');
SELECT throws_ok($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('rules-left', 'Changed', 5), ('rules-left', 'Changed', 9223372036854775807)$$,
    '22003', NULL, 'overflow in rows');
SELECT is_empty($$SELECT 1 FROM pointstore.account WHERE aggregate_id LIKE 'rules-left%'$$, 'no account');
SELECT is_empty($$SELECT 1 FROM pointstore.event_store WHERE aggregate_id LIKE 'rules-left%'$$, 'no event');
SELECT is_empty($$SELECT 1 FROM pointstore.account_log WHERE aggregate_id LIKE 'rules-left%'$$, 'no log');

SELECT * FROM finish();
ROLLBACK;
