-- Each SQLSTATE of the contract, where it is due, with DETAIL or HINT where there is something to say or do.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

INSERT INTO pointstore.account_kind (kind, unit, max_balance, auto_open) VALUES ('errors-limited', '', 100, true), ('errors-shut', '', NULL, false), ('errors-seat', 'seat', NULL, true);
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('errors-pure', 'pure');
SELECT pointstore.append_event('errors-1', 'PointEarned', 100, request_id => 'errors-r1') AS receipt,
       pointstore.append_event('errors-limited', 'PointEarned', 100, kind => 'errors-limited') AS receipt,
       pointstore.append_event('errors-pure', 'PointEarned', 100, kind => 'errors-pure') AS receipt,
       pointstore.open_account('errors-frozen') AS opened, pointstore.freeze_account('errors-frozen', 'test') AS frozen,
       pointstore.open_account('errors-closed') AS opened, pointstore.close_account('errors-closed') AS closed \gset

CREATE SERVER errors_server FOREIGN DATA WRAPPER pointstore;
CREATE USER MAPPING FOR CURRENT_USER SERVER errors_server OPTIONS (user 'mover');
CREATE SERVER errors_unmapped FOREIGN DATA WRAPPER pointstore;
SELECT pointstore.append_event('errors-mover', 'PointEarned', 100) AS receipt \gset
SELECT pointstore.move('errors-mover', 'errors-other', 1, 'errors-within') AS state, pointstore.move('errors-mover', 'there', 1, 'errors-away', 'errors_server') AS state \gset

SELECT throws_ok(query, state, NULL, state || ': ' || query) FROM (VALUES
    ('PS001', $$SELECT pointstore.append_event('errors-1', 'Noted', expected_version => 0)$$),
    ('PS001', $$SELECT pointstore.append_event('errors-1', 'Noted', expected_version => 2)$$),
    ('PS001', $$SELECT pointstore.append_event('errors-pure', 'Noted', expected_version => 2)$$),
    ('PS001', $$SELECT pointstore.append_event('errors-new', 'Noted', expected_version => 1)$$),
    ('PS001', $$INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES ('errors-1', 1, 'Noted')$$),
    ('PS001', $$UPDATE pointstore.balance SET balance = 0 WHERE aggregate_id = 'errors-1'$$),
    ('PS001', $$INSERT INTO pointstore.balance (aggregate_id, version) VALUES ('errors-new', 2)$$),
    ('PS002', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 99, request_id => 'errors-r1')$$),
    ('PS002', $$SELECT pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "PointEarned", "amount": 100}, {"aggregate_id": "errors-1", "event_type": "Noted"}]', 'errors-r1')$$),
    ('PS002', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('errors-1', 'PointEarned', 99, 'errors-r1')$$),
    ('PS002', $$SELECT pointstore.move('errors-mover', 'errors-other', 2, 'errors-within')$$),
    ('PS002', $$SELECT pointstore.move('errors-mover', 'there', 1, 'errors-away', 'errors_server', 'saga')$$),
    ('PS003', $$SELECT pointstore.append_event('errors-1', 'PointSpent', -101)$$),
    ('PS003', $$SELECT pointstore.move('errors-mover', 'errors-other', 101, 'errors-2')$$),
    ('PS003', $$SELECT pointstore.move('errors-mover', 'there', 101, 'errors-2', 'errors_server')$$),
    ('PS003', $$SELECT pointstore.append_event('errors-pure', 'PointSpent', -101)$$),
    ('PS003', $$SELECT pointstore.append_event('errors-new', 'PointSpent', -1)$$),
    ('PS003', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('errors-1', 'PointSpent', -101)$$),
    ('PS003', $$UPDATE pointstore.balance SET balance = -1, version = version + 1 WHERE aggregate_id = 'errors-1'$$),
    ('PS004', $$SELECT pointstore.append_event('errors-frozen', 'Noted')$$),
    ('PS004', $$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('errors-frozen', 'Noted')$$),
    ('PS004', $$UPDATE pointstore.balance SET balance = 1, version = 1 WHERE aggregate_id = 'errors-frozen'$$),
    ('PS004', $$SELECT pointstore.close_account('errors-frozen')$$),
    ('PS004', $$SELECT pointstore.move('errors-frozen', 'there', 1, 'errors-2', 'errors_server')$$),
    ('PS005', $$SELECT pointstore.move('errors-closed', 'there', 1, 'errors-2', 'errors_server')$$),
    ('PS008', $$SELECT pointstore.wait_for_movement('errors-none', '0')$$),
    ('PS008', $$SELECT pointstore.resolve_movement('errors-none', 'accept', 'test')$$),
    ('PS008', $$SELECT pointstore.resolve_step('11111111-1111-1111-1111-111111111111', 'errors-none', 1, 'cancel', 'test')$$),
    ('PS011', $$SELECT pointstore.cancel_movement('errors-within')$$),
    ('PS011', $$SELECT pointstore.resolve_movement('errors-away', 'confirm', 'test')$$),
    ('PS011', $$SELECT pointstore.close_account('errors-mover')$$),
    ('22023', $$SELECT pointstore.move('errors-mover', 'there', 1, '', 'errors_server')$$),
    ('22023', $$SELECT pointstore.move('errors-mover', 'there', -1, 'errors-2', 'errors_server')$$),
    ('22023', $$SELECT pointstore.move('errors-mover', 'there', 1, 'errors-2', 'errors_server', 'magic')$$),
    ('22023', $$SELECT pointstore.start_movement('errors-2', '[]')$$),
    ('22023', $$SELECT pointstore.start_movement('errors-2', '[{"aggregate_id": "errors-1", "amount": -1, "event_type": "Spent", "colour": "red"}]')$$),
    ('22023', $$SELECT pointstore.start_movement('errors-2', '[{"aggregate_id": "errors-1", "amount": -1, "event_type": "MovementTried"}]')$$),
    ('22023', $$SELECT pointstore.resolve_movement('errors-away', 'perhaps', 'test')$$),
    ('22023', $$SELECT pointstore.resolve_step('11111111-1111-1111-1111-111111111111', 'errors-none', 0, 'cancel', 'test')$$),
    ('22023', $$SELECT pointstore.participate('{}')$$),
    ('22023', $$SELECT pointstore.participate('[]')$$),
    ('22023', $$SELECT pointstore.trace('')$$),
    ('22004', $$SELECT pointstore.start_movement('errors-2', NULL)$$),
    ('22004', $$SELECT pointstore.move('errors-mover', 'there', NULL, 'errors-2', 'errors_server')$$),
    ('22004', $$SELECT pointstore.cancel_movement(NULL)$$),
    ('22004', $$SELECT pointstore.resolve_movement('errors-away', 'accept', NULL)$$),
    ('22004', $$SELECT pointstore.participate(NULL)$$),
    ('22004', $$SELECT pointstore.trace(NULL)$$),
    ('25001', $$SELECT pointstore.wait_for_movement('errors-away')$$),
    ('0A000', $$SELECT pointstore.move('errors-pure', 'there', 1, 'errors-2', 'errors_server')$$),
    ('0A000', $$SELECT pointstore.participate('{"version": 2, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": []}')$$),
    ('42704', $$SELECT pointstore.move('errors-mover', 'there', 1, 'errors-2', 'errors_none')$$),
    ('42704', $$SELECT pointstore.move('errors-mover', 'there', 1, 'errors-2', 'errors_unmapped')$$),
    ('42704', $$SELECT pointstore.reconcile_movements('errors_none')$$),
    ('HV00D', $$CREATE SERVER errors_own FOREIGN DATA WRAPPER pointstore OPTIONS (colour 'red')$$),
    ('PS005', $$SELECT pointstore.append_event('errors-closed', 'Noted')$$),
    ('PS005', $$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('errors-closed', 'Noted')$$),
    ('PS005', $$UPDATE pointstore.balance SET balance = 1, version = 1 WHERE aggregate_id = 'errors-closed'$$),
    ('PS005', $$SELECT pointstore.open_account('errors-closed')$$),
    ('PS005', $$SELECT pointstore.freeze_account('errors-closed', 'test')$$),
    ('PS005', $$SELECT pointstore.unfreeze_account('errors-closed', 'test')$$),
    ('PS005', $$SELECT pointstore.set_kind('errors-closed', 'errors-limited')$$),
    ('PS006', $$UPDATE pointstore.event_store SET amount = 0 WHERE aggregate_id = 'errors-1'$$),
    ('PS006', $$DELETE FROM pointstore.event_store WHERE aggregate_id = 'errors-1'$$),
    ('PS006', $$TRUNCATE pointstore.event_store$$),
    ('PS006', $$DELETE FROM pointstore.balance WHERE aggregate_id = 'errors-1'$$),
    ('PS006', $$TRUNCATE pointstore.balance$$),
    ('PS006', $$DELETE FROM pointstore.pure_account WHERE aggregate_id = 'errors-pure'$$),
    ('PS006', $$TRUNCATE pointstore.pure_account$$),
    ('PS006', $$UPDATE pointstore.account_log SET reason = '' WHERE aggregate_id = 'errors-1'$$),
    ('PS006', $$DELETE FROM pointstore.account_log WHERE aggregate_id = 'errors-1'$$),
    ('PS006', $$TRUNCATE pointstore.account_log$$),
    ('PS006', $$TRUNCATE pointstore.account_kind$$),
    ('PS008', $$SELECT pointstore.append_event('errors-new', 'Noted', kind => 'errors-shut')$$),
    ('PS008', $$SELECT pointstore.close_account('errors-new')$$),
    ('PS008', $$SELECT pointstore.freeze_account('errors-new', 'test')$$),
    ('PS008', $$SELECT pointstore.unfreeze_account('errors-new', 'test')$$),
    ('PS008', $$SELECT pointstore.set_kind('errors-new', 'errors-limited')$$),
    ('PS008', $$SELECT pointstore.rebuild_balance('errors-new')$$),
    ('PS008', $$SELECT pointstore.balance_as_of('errors-1', 2)$$),
    ('PS009', $$SELECT pointstore.append_event('errors-limited', 'PointEarned', 1)$$),
    ('PS009', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('errors-limited', 'PointEarned', 1)$$),
    ('PS009', $$UPDATE pointstore.balance SET balance = 101, version = 2 WHERE aggregate_id = 'errors-limited'$$),
    ('PS010', $$DO 'BEGIN
                    UPDATE pointstore.balance SET balance = 50, version = 2 WHERE aggregate_id = ''errors-1'';
                    INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES (''errors-1'', ''PointSpent'', -49);
                END'$$),
    ('PS010', $$DO 'BEGIN
                    UPDATE pointstore.balance SET balance = 50, version = 2 WHERE aggregate_id = ''errors-1'';
                    PERFORM pointstore.append_event(''errors-1'', ''PointSpent'', -50);
                END'$$),
    ('PS011', $$SELECT pointstore.close_account('errors-1')$$),
    ('PS011', $$SELECT pointstore.close_account('errors-pure')$$),
    ('PS011', $$SELECT pointstore.set_kind('errors-1', 'errors-pure')$$),
    ('PS011', $$SELECT pointstore.set_kind('errors-1', 'errors-seat')$$),
    ('PS011', $$UPDATE pointstore.account_kind SET mode = 'hybrid' WHERE kind = 'errors-pure'$$),
    ('PS011', $$UPDATE pointstore.account_kind SET kind = 'errors-2' WHERE kind = 'errors-limited'$$),
    ('PS011', $$DELETE FROM pointstore.account_kind WHERE kind = 'errors-limited'$$),
    ('22003', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 9223372036854775807)$$),
    ('22003', $$SELECT pointstore.append_event('errors-pure', 'PointEarned', 9223372036854775807)$$),
    ('22003', $$SELECT pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "PointEarned", "amount": 9223372036854775808}]')$$),
    ('22003', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('errors-1', 'PointEarned', 9223372036854775807)$$),
    ('22004', $$SELECT pointstore.append_event(NULL, 'Noted')$$),
    ('22004', $$SELECT pointstore.append_event('errors-1', NULL)$$),
    ('22004', $$SELECT pointstore.append_event('errors-1', 'Noted', NULL)$$),
    ('22004', $$SELECT * FROM pointstore.append_events(NULL)$$),
    ('22004', $$SELECT * FROM pointstore.append_events('[{"event_type": "Noted"}]')$$),
    ('22004', $$SELECT pointstore.open_account(NULL)$$),
    ('22004', $$SELECT pointstore.freeze_account('errors-1', NULL)$$),
    ('22004', $$SELECT pointstore.unfreeze_account('errors-1', NULL)$$),
    ('22023', $$SELECT pointstore.freeze_account('errors-1', '')$$),
    ('22023', $$SELECT pointstore.freeze_account('errors-frozen', '')$$),
    ('22023', $$SELECT pointstore.unfreeze_account('errors-frozen', '')$$),
    ('22004', $$SELECT * FROM pointstore.get_balance(NULL)$$),
    ('22004', $$SELECT pointstore.balance_at('errors-1', NULL)$$),
    ('22004', $$SELECT pointstore.balance_as_of(NULL, 1)$$),
    ('22004', $$SELECT pointstore.rebuild_balance(NULL)$$),
    ('22004', $$SELECT pointstore.create_store(NULL)$$),
    ('22023', $$SELECT pointstore.append_event('', 'Noted')$$),
    ('22023', $$SELECT pointstore.append_event(repeat('x', 513), 'Noted')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', '')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'Noted', expected_version => -1)$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'Noted', request_id => '')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'Noted', kind => 'errors-none')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'Noted', kind => 'errors-limited')$$),
    ('22023', $$SELECT pointstore.append_event('errors-new', 'Noted', kind => 'errors-none')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'HoldPlaced')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'BalanceAdjusted')$$),
    ('22023', $$SELECT pointstore.append_event('errors-1', 'MovementTried')$$),
    ('22023', $$SELECT * FROM pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "MovementConfirmed"}]')$$),
    ('22023', $$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('errors-1', 'MovementCancelled')$$),
    ('22023', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('errors-1', 'BalanceAdjusted', 1)$$),
    ('22023', $$SELECT * FROM pointstore.append_events('{}')$$),
    ('22023', $$SELECT * FROM pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "Noted", "note": 1}]')$$),
    ('22023', $$SELECT * FROM pointstore.append_events('[{"check": true, "aggregate_id": "errors-1", "expected_version": 1}]', 'errors-r2')$$),
    ('0A000', $$SELECT * FROM pointstore.append_events('[{"check": true, "aggregate_id": "errors-pure", "expected_version": 1}]')$$),
    ('PS001', $$SELECT * FROM pointstore.append_events('[{"check": true, "aggregate_id": "errors-1", "expected_version": 2}]')$$),
    ('22023', $$SELECT * FROM pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "Noted", "request_id": "a"}]', 'b')$$),
    ('22023', $$SELECT * FROM pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "Noted", "amount": 1}]', balanced => true)$$),
    ('22023', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, held) VALUES ('errors-1', 'Noted', 1)$$),
    ('22023', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, balance_after) VALUES ('errors-1', 'Noted', 99)$$),
    ('22023', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('errors-1', 'Noted', now() + interval '1 day')$$),
    ('22023', $$INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('errors-1', 'Noted', now() - interval '1 day')$$),
    ('22023', $$UPDATE pointstore.balance SET held = 1 WHERE aggregate_id = 'errors-1'$$),
    ('22023', $$UPDATE pointstore.balance SET status = 'frozen' WHERE aggregate_id = 'errors-1'$$),
    ('22023', $$UPDATE pointstore.balance SET kind = 'errors-limited' WHERE aggregate_id = 'errors-1'$$),
    ('22023', $$INSERT INTO pointstore.balance (aggregate_id, kind) VALUES ('errors-new', 'errors-pure')$$),
    ('22023', $$SELECT pointstore.open_account('errors-1', 'errors-limited')$$),
    ('22023', $$SELECT pointstore.balance_as_of('errors-1', -1)$$),
    ('2D000', $$CALL pointstore.rebuild_balances()$$)) e(state, query);

-- 25006 where nothing may be written (a subtransaction may be read only on its own)
CREATE FUNCTION pg_temp.read_only(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL transaction_read_only = on;
    EXECUTE query;
    RETURN 'ok';
EXCEPTION WHEN others THEN
    RETURN SQLSTATE;
END$$;
SELECT is(pg_temp.read_only(query), '25006', '25006: ' || query) FROM (VALUES
    ($$SELECT pointstore.append_event('errors-1', 'Noted')$$),
    ($$SELECT pointstore.try_append_event('errors-1', 'Noted')$$),
    ($$SELECT pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "Noted"}]')$$),
    ($$SELECT pointstore.open_account('errors-new')$$),
    ($$SELECT pointstore.freeze_account('errors-1', 'test')$$),
    ($$SELECT pointstore.unfreeze_account('errors-frozen', 'test')$$),
    ($$SELECT pointstore.close_account('errors-closed')$$),
    ($$SELECT pointstore.set_kind('errors-1', 'errors-limited')$$),
    ($$SELECT pointstore.rebuild_balance('errors-1')$$)) q(query);

-- What goes with an error. text: the message, its DETAIL and its HINT.
CREATE FUNCTION pg_temp.told(query text, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    state := 'ok';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END$$;
-- the actual values and the account's id are in the message
SELECT ok(t.message ~ id AND (SELECT bool_and(t.message ~ ('(^|[^0-9-])' || v || '([^0-9]|$)')) FROM unnest(vals) v) IS NOT FALSE AND t.message ~ '^[a-z]',
          state || ' names ' || id || ' and ' || vals::text)
  FROM (VALUES
    ('errors-1', ARRAY['7', '1'], $$SELECT pointstore.append_event('errors-1', 'Noted', expected_version => 7)$$),
    ('errors-1', ARRAY['100', '-123|123'], $$SELECT pointstore.append_event('errors-1', 'PointSpent', -123)$$),
    ('errors-frozen', ARRAY[]::text[], $$SELECT pointstore.append_event('errors-frozen', 'Noted')$$),
    ('errors-closed', ARRAY[]::text[], $$SELECT pointstore.append_event('errors-closed', 'Noted')$$),
    ('errors-new', ARRAY[]::text[], $$SELECT pointstore.append_event('errors-new', 'Noted', kind => 'errors-shut')$$),
    ('errors-limited', ARRAY['100'], $$SELECT pointstore.append_event('errors-limited', 'PointEarned', 57)$$),
    ('errors-1', ARRAY['100'], $$SELECT pointstore.close_account('errors-1')$$)) e(id, vals, query), pg_temp.told(query) t;
SELECT is(message ~ 'errors-1', true, 'PS002 names the account') FROM pg_temp.told($$SELECT pointstore.append_event('errors-1', 'PointEarned', 99, request_id => 'errors-r1')$$);
SELECT is(concat_ws(' ', message, detail) ~ field AND concat_ws(' ', message, detail) ~ '\y1\y', true, 'PS002 names ' || field || ' and the version applied') FROM (VALUES
    ('aggregate_id', $$SELECT pointstore.append_event('errors-new', 'PointEarned', 100, request_id => 'errors-r1')$$),
    ('event_type', $$SELECT pointstore.append_event('errors-1', 'Noted', 99, request_id => 'errors-r1')$$),
    ('amount', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 99, '{"a": 2}', request_id => 'errors-r1')$$),
    ('payload', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 100, '{"a": 2}', request_id => 'errors-r1', occurred_at => '2020-01-01')$$),
    ('occurred_at', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 100, request_id => 'errors-r1', occurred_at => '2020-01-01')$$)) e(field, query), pg_temp.told(query);


-- The DETAIL of a refusal is for programs: key=value, a value that would end itself as a JSON string.
SAVEPOINT details;
SELECT pointstore.append_event('errors, "d" = 1', 'PointEarned', 100, request_id => 'errors r2') AS receipt,
       pointstore.append_event('errors-seat', 'PointEarned', 100, kind => 'errors-seat') AS receipt,
       pointstore.hold('errors-1', 10, 'errors-h1') AS receipt, pointstore.hold('errors-1', 10, 'errors-h2') AS receipt,
       pointstore.cancel_hold('errors-h2') AS receipt, pointstore.cancel_hold('errors-h3') AS receipt,
       pointstore.hold('errors-1', 10, 'errors-h4') AS receipt, pointstore.confirm_hold('errors-h4', 4, to_id => 'errors-to') AS receipt,
       pointstore.reverse_event('errors-seat', 1, 60) AS receipt \gset
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('errors-debt', -50);
SELECT is(ROW(t.state, t.detail), ROW(e.state, e.detail), e.state || ' DETAIL: ' || e.detail) FROM (VALUES
    ('PS001', 'aggregate_id=errors-limited, expected_version=7, actual_version=1', $$SELECT pointstore.append_event('errors-limited', 'Noted', expected_version => 7)$$),
    ('PS001', 'aggregate_id=errors-limited, element=1, expected_version=7, actual_version=2', $$SELECT pointstore.append_events('[{"aggregate_id": "errors-limited", "event_type": "Noted"}, {"aggregate_id": "errors-limited", "event_type": "Noted", "expected_version": 7}]')$$),
    ('PS002', 'aggregate_id=errors-1, request_id=errors-r1, field=amount, requested=99, stored=100, version=1', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 99, request_id => 'errors-r1')$$),
    ('PS002', 'aggregate_id=errors-1, request_id=errors-r1, field=event_type, requested=Noted, stored=PointEarned, version=1', $$SELECT pointstore.append_event('errors-1', 'Noted', 100, request_id => 'errors-r1')$$),
    ('PS002', 'aggregate_id=errors-to, request_id=errors-r1, field=aggregate_id, requested=errors-to, stored=errors-1, version=1', $$SELECT pointstore.append_event('errors-to', 'Noted', 100, request_id => 'errors-r1')$$),
    ('PS002', 'aggregate_id=errors-1, request_id=errors-r1, field=payload, requested="{\"a\": 2}", stored={}, version=1', $$SELECT pointstore.append_event('errors-1', 'PointEarned', 100, '{"a": 2}', request_id => 'errors-r1')$$),
    ('PS002', 'aggregate_id=errors-1, element=0, request_id=errors-r1, field=events, requested=2, stored=1, version=1', $$SELECT pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "PointEarned", "amount": 100}, {"aggregate_id": "errors-1", "event_type": "Noted"}]', 'errors-r1')$$),
    ('PS002', 'aggregate_id="errors, \"d\" = 1", request_id="errors r2", field=amount, requested=1, stored=100, version=1', $$SELECT pointstore.append_event('errors, "d" = 1', 'PointEarned', 1, request_id => 'errors r2')$$),
    ('PS002', 'aggregate_id=errors-1, hold_id=errors-h1, field=amount, requested=11, stored=10, version=2', $$SELECT pointstore.hold('errors-1', 11, 'errors-h1')$$),
    ('PS002', 'aggregate_id=errors-1, hold_id=errors-h1, field=aggregate_id, requested=errors-to, stored=errors-1', $$SELECT pointstore.confirm_hold('errors-h1', aggregate_id => 'errors-to')$$),
    ('PS002', 'aggregate_id=errors-1, hold_id=errors-h4, field=amount, requested=10, stored=4, version=6', $$SELECT pointstore.confirm_hold('errors-h4')$$),
    ('PS002', 'aggregate_id=errors-1, hold_id=errors-h4, field=to_id, requested=null, stored=errors-to, version=6', $$SELECT pointstore.confirm_hold('errors-h4', 4)$$),
    ('PS003', 'aggregate_id=errors-limited, available=100, floor=0, requested=-123', $$SELECT pointstore.append_event('errors-limited', 'PointSpent', -123)$$),
    ('PS003', 'aggregate_id=errors-limited, available=100, floor=90, requested=-20', $$SELECT pointstore.append_event('errors-limited', 'PointSpent', -20, min_balance => 90)$$),
    ('PS003', 'aggregate_id=errors-debt, available=0, floor=-50, requested=-51', $$SELECT pointstore.append_event('errors-debt', 'PointSpent', -51, kind => 'errors-debt')$$),
    ('PS003', 'aggregate_id=errors-to, hold_id=errors-h5, available=4, floor=0, requested=-5', $$SELECT pointstore.hold('errors-to', 5, 'errors-h5')$$),
    ('PS003', 'aggregate_id=errors-limited, element=1, available=100, floor=0, requested=-102', $$SELECT pointstore.append_events('[{"aggregate_id": "errors-to", "event_type": "Noted"}, {"aggregate_id": "errors-limited", "event_type": "PointSpent", "amount": "-102"}]')$$),
    ('PS004', 'aggregate_id=errors-frozen', $$SELECT pointstore.append_event('errors-frozen', 'Noted')$$),
    ('PS005', 'aggregate_id=errors-closed', $$SELECT pointstore.append_event('errors-closed', 'Noted')$$),
    ('PS001', 'aggregate_id=errors-limited, expected_version=2, actual_version=1', $$UPDATE pointstore.balance SET balance = 0 WHERE aggregate_id = 'errors-limited'$$),
    ('PS004', 'aggregate_id=errors-frozen', $$SELECT pointstore.close_account('errors-frozen')$$),
    ('PS005', 'aggregate_id=errors-closed', $$SELECT pointstore.set_kind('errors-closed', 'errors-limited')$$),
    ('PS008', 'aggregate_id=errors-new', $$SELECT pointstore.freeze_account('errors-new', 'test')$$),
    ('PS008', 'aggregate_id=errors-1, version=99', $$SELECT pointstore.balance_as_of('errors-1', 99)$$),
    ('PS011', 'aggregate_id=errors-limited, balance=100, held=0', $$SELECT pointstore.close_account('errors-limited')$$),
    ('PS007', 'aggregate_id=errors-1, hold_id=errors-h4, status=confirmed', $$SELECT pointstore.cancel_hold('errors-h4')$$),
    ('PS007', 'aggregate_id=errors-1, hold_id=errors-h2, status=cancelled', $$SELECT pointstore.confirm_hold('errors-h2')$$),
    ('PS007', 'hold_id=errors-h3, status=cancelled', $$SELECT pointstore.confirm_hold('errors-h3')$$),
    ('PS008', 'aggregate_id=errors-new', $$SELECT pointstore.append_event('errors-new', 'Noted', kind => 'errors-shut')$$),
    ('PS008', 'hold_id=errors-none', $$SELECT pointstore.confirm_hold('errors-none')$$),
    ('PS008', 'aggregate_id=errors-1, version=99', $$SELECT pointstore.reverse_event('errors-1', 99)$$),
    ('PS009', 'aggregate_id=errors-limited, balance=100, ceiling=100, requested=57', $$SELECT pointstore.append_event('errors-limited', 'PointEarned', 57)$$),
    ('PS011', 'aggregate_id=errors-seat, unit=seat, other_unit=""', $$SELECT pointstore.transfer('errors-1', 'errors-seat', 1)$$),
    ('PS011', 'aggregate_id=errors-new, unit="", other_unit=seat, kind=default', $$SELECT pointstore.transfer('errors-seat', 'errors-new', 1)$$),
    ('PS011', 'aggregate_id=errors-1, hold_id=errors-h1, available=10, requested=11', $$SELECT pointstore.confirm_hold('errors-h1', 11)$$),
    ('PS011', 'aggregate_id=errors-seat, version=1, available=40, requested=41', $$SELECT pointstore.reverse_event('errors-seat', 1, 41)$$),
    ('PS011', 'aggregate_id=errors-seat, version=2', $$SELECT pointstore.reverse_event('errors-seat', 2)$$),
    ('PS011', 'aggregate_id=errors-1, version=2', $$SELECT pointstore.reverse_event('errors-1', 2)$$)) e(state, detail, query), pg_temp.told(query) t;
SELECT is(ROW(t.message ~ 'floor -?[1-9]', t.message ~ 'floor'), ROW(has_floor, has_floor), 'PS003 tells a floor that is not 0: ' || query) FROM (VALUES
    (false, $$SELECT pointstore.append_event('errors-limited', 'PointSpent', -123)$$),
    (true, $$SELECT pointstore.append_event('errors-limited', 'PointSpent', -20, min_balance => 90)$$)) e(has_floor, query), pg_temp.told(query) t;
SELECT is(ROW(t.state, t.hint ~ 'reverse_event'), ROW('PS006'::text, of_events), 'PS006 with its own HINT: ' || query) FROM (VALUES
    (true, $$DELETE FROM pointstore.event_store WHERE aggregate_id = 'errors-1'$$),
    (false, $$DELETE FROM pointstore.hold WHERE hold_id = 'errors-h1'$$),
    (false, $$DELETE FROM pointstore.balance WHERE aggregate_id = 'errors-1'$$)) e(of_events, query), pg_temp.told(query) t;

-- any error of a batch says of which element
CREATE FUNCTION pg_temp.context_of(query text, OUT state text, OUT context text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE query;
    state := 'ok';
EXCEPTION WHEN others THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, context = PG_EXCEPTION_CONTEXT;
END$$;
ALTER TABLE pointstore.event_store ADD CONSTRAINT errors_check CHECK (payload ->> 'bad' IS NULL);
ALTER TABLE pointstore.balance ADD CONSTRAINT errors_check CHECK (balance <> 13);
SELECT is(ROW(t.state, t.context ~ '^element 1 of events'), ROW(e.state, true), e.state || ' of element 1: ' || e.element) FROM (VALUES
    ('22023', '{"aggregate_id": "errors-1", "event_type": "Noted", "note": 1}'),
    ('22023', '{"aggregate_id": "errors-1", "event_type": "HoldPlaced"}'),
    ('22023', '{"aggregate_id": "errors-1", "event_type": "Noted", "kind": "errors-none"}'),
    ('22023', '1'),
    ('22023', '{"aggregate_id": "errors-1", "event_type": "Noted", "kind": "errors-seat"}'),
    ('22003', '{"aggregate_id": "errors-1", "event_type": "PointEarned", "amount": 9223372036854775808}'),
    ('22003', '{"aggregate_id": "errors-1", "event_type": "PointEarned", "amount": 9223372036854775807}'),
    ('22004', '{"aggregate_id": "errors-1"}'),
    ('22007', '{"aggregate_id": "errors-1", "event_type": "Noted", "occurred_at": "then"}'),
    ('23514', '{"aggregate_id": "errors-1", "event_type": "Noted", "payload": {"bad": 1}}'),
    ('23514', '{"aggregate_id": "errors-new", "event_type": "PointEarned", "amount": 13}'),
    ('PS004', '{"aggregate_id": "errors-frozen", "event_type": "Noted"}')) e(state, element),
    pg_temp.context_of(format('SELECT pointstore.append_events(%L)', '[{"aggregate_id": "errors-to", "event_type": "Noted"}, ' || element || ']')) t;
ALTER TABLE pointstore.event_store DROP CONSTRAINT errors_check;
ALTER TABLE pointstore.balance DROP CONSTRAINT errors_check;
SELECT count(*) AS receipts FROM pointstore.append_events('[{"aggregate_id": "errors-to", "event_type": "Noted"}, {"aggregate_id": "errors-to", "event_type": "Noted"}]', 'errors-r7') \gset
SELECT is(ROW(t.state, t.context ~ '^element 1 of events'), ROW('PS002'::text, true), 'PS002 of element 1: a repeat that differs there')
  FROM pg_temp.context_of($$SELECT pointstore.append_events('[{"aggregate_id": "errors-to", "event_type": "Noted"}, {"aggregate_id": "errors-to", "event_type": "Other"}]', 'errors-r7')$$) t;

-- try_append_events(): a refusal is one receipt, and leaves nothing
SELECT is(ROW(count(*), min(outcome), min(aggregate_id), min(version), min(available)), ROW(1::bigint, 'insufficient_balance'::text, 'errors-limited'::text, 1::bigint, 100::bigint), 'try_append_events: refused')
  FROM pointstore.try_append_events('[{"aggregate_id": "errors-new", "event_type": "Noted"}, {"aggregate_id": "errors-limited", "event_type": "PointSpent", "amount": -101}]');
SELECT is(array_agg(outcome || ' ' || aggregate_id), ARRAY['appended errors-to', 'appended errors-to'], 'try_append_events: appended')
  FROM pointstore.try_append_events('[{"aggregate_id": "errors-to", "event_type": "Noted"}, {"aggregate_id": "errors-to", "event_type": "PointSpent", "amount": "-1"}]', 'errors-r3');
SELECT is(array_agg(outcome || ' ' || aggregate_id), ARRAY['replayed errors-to', 'replayed errors-to'], 'try_append_events: replayed')
  FROM pointstore.try_append_events('[{"aggregate_id": "errors-to", "event_type": "Noted"}, {"aggregate_id": "errors-to", "event_type": "PointSpent", "amount": "-1"}]', 'errors-r3');
SELECT is(array_agg(outcome || ' ' || aggregate_id), ARRAY['request_mismatch errors-to'], 'try_append_events: another request')
  FROM pointstore.try_append_events('[{"aggregate_id": "errors-to", "event_type": "Noted"}]', 'errors-r3');
-- its receipt says how the account stands, whatever came before the refused element
SELECT is(ROW(t.outcome, t.version, t.balance, t.available), ROW(e.outcome, 1::bigint, 100::bigint, 100::bigint), 'try_append_events: as it stands: ' || e.element) FROM (VALUES
    ('insufficient_balance', 'errors-limited', NULL, '"amount": -100'), ('version_conflict', 'errors-limited', NULL, '"expected_version": 9'), ('insufficient_balance', 'errors-limited', 'errors-r9', '"amount": -100'),
    ('insufficient_balance', 'errors-pure', NULL, '"amount": -100'), ('version_conflict', 'errors-pure', 'errors-r9', '"expected_version": 9'), ('request_mismatch', 'errors-limited', NULL, '"request_id": "errors-r1"')) e(outcome, account, request, element),
    pointstore.try_append_events(replace(format('[{"aggregate_id": "%%", "event_type": "PointSpent", "amount": -1}, {"aggregate_id": "%%", "event_type": "PointSpent", %s}]', e.element), '%', e.account)::jsonb, e.request) t(outcome, aggregate_id, version, balance, available, id, created_at);
SELECT is(ROW(t.outcome, t.version, t.balance), ROW('account_missing'::text, e.version, e.balance), 'try_reverse_event: no such event of ' || e.account) FROM (VALUES
    ('errors-limited', 1::bigint, 100::bigint), ('errors-new', NULL, NULL)) e(account, version, balance), pointstore.try_reverse_event(e.account, 99) t;
SELECT is(t.detail, e.detail, e.query) FROM (VALUES
    ('finding=99999', 'SELECT pointstore.repair(99999)'), ('finding=99999', $$SELECT pointstore.acknowledge(99999, 'known')$$),
    ('aggregate_id=errors-new', $$SELECT pointstore.reconcile_account('errors-new')$$)) e(detail, query), pg_temp.told(e.query) t;
SELECT is((SELECT state FROM pg_temp.told($$SELECT pointstore.try_append_events('[{"aggregate_id": "errors-to", "event_type": "Noted", "amount": 1}]', balanced => true)$$)), '22023', 'try_append_events: not balanced');
ROLLBACK TO details;

-- XX001: events without their row, with a HINT to rebuild_balance
SAVEPOINT damage;
SET LOCAL session_replication_role = replica;
DELETE FROM pointstore.balance WHERE aggregate_id = 'errors-1';
DELETE FROM pointstore.pure_account WHERE aggregate_id = 'errors-pure';
SET LOCAL session_replication_role = origin;
SELECT is(ROW(state, hint ~ 'rebuild_balance'), ROW('XX001'::text, true), 'XX001: ' || query) FROM (VALUES
    ($$SELECT pointstore.append_event('errors-1', 'Noted')$$),
    ($$SELECT pointstore.append_event('errors-1', 'Noted', expected_version => 0)$$),
    ($$SELECT pointstore.append_event('errors-1', 'Noted', kind => 'errors-limited')$$),
    ($$SELECT pointstore.append_event('errors-1', 'Noted', kind => 'errors-shut')$$),
    ($$SELECT pointstore.try_append_event('errors-1', 'Noted')$$),
    ($$SELECT pointstore.append_events('[{"aggregate_id": "errors-1", "event_type": "Noted"}]')$$),
    ($$SELECT pointstore.append_events('[{"aggregate_id": "errors-limited", "event_type": "Noted"}, {"aggregate_id": "errors-1", "event_type": "Noted"}]')$$),
    ($$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('errors-1', 'Noted')$$),
    ($$SELECT pointstore.open_account('errors-1')$$),
    ($$SELECT pointstore.append_event('errors-pure', 'Noted')$$),
    ($$SELECT pointstore.append_event('errors-pure', 'Noted', kind => 'errors-pure')$$)) q(query), pg_temp.told(query);
ROLLBACK TO damage;

-- 55000: a store that lacks something, or none at all, with a HINT
SELECT is(ROW(state, hint <> ''), ROW('55000'::text, true), '55000: ' || what) FROM (VALUES
    ('a lost column', $$ALTER TABLE pointstore.event_store DROP COLUMN cause_id; SELECT pointstore.append_event('errors-1', 'Noted')$$),
    ('a lost trigger', $$DROP TRIGGER _pointstore_append_only ON pointstore.event_store; SELECT pointstore.append_event('errors-1', 'Noted')$$),
    ('a lost trigger, by the table', $$DROP TRIGGER _pointstore_settle ON pointstore.event_store; INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('errors-1', 'Noted')$$),
    ('a lost table', $$DROP TABLE pointstore.pure_account CASCADE; SELECT pointstore.append_event('errors-1', 'Noted')$$),
    ('another version', $$CREATE OR REPLACE VIEW pointstore.store_version AS SELECT '0.5'::text AS version; SELECT pointstore.append_event('errors-1', 'Noted')$$)) q(what, query),
    pg_temp.told(query);
SELECT is(ROW(state, hint ~ 'create_store'), ROW('55000'::text, true), '55000 without a store: ' || query) FROM (VALUES
    ($$SELECT pointstore.append_event('errors-1', 'Noted')$$),
    ($$SELECT * FROM pointstore.append_events('[]')$$),
    ($$SELECT pointstore.open_account('errors-1')$$),
    ($$SELECT * FROM pointstore.get_balance('errors-1')$$),
    ($$SELECT pointstore.balance_at('errors-1', now())$$),
    ($$SELECT pointstore.rebuild_balance('errors-1')$$),
    ($$SELECT pointstore.upgrade_store()$$),
    ($$SELECT pointstore.grant_access(current_user::regrole, 'reader')$$)) q(query),
    pg_temp.told('DROP TABLE pointstore.event_store, pointstore.balance, pointstore.pure_account, pointstore.account_kind, pointstore.account_log CASCADE;'
                 || 'DROP VIEW IF EXISTS pointstore.store_version;' || query);
SELECT lives_ok($$SELECT pointstore.append_event('errors-1', 'Noted')$$, 'and the store is as it was');

-- none of the refusals left anything
SELECT is_empty($$SELECT 1 FROM pointstore.account WHERE aggregate_id = 'errors-new'$$, 'no account was opened');
SELECT results_eq($$SELECT aggregate_id COLLATE "default", version, balance FROM pointstore.account WHERE aggregate_id LIKE 'errors-%' ORDER BY 1$$,
    $$VALUES ('errors-1', 2::bigint, 100::bigint), ('errors-closed', 0, 0), ('errors-frozen', 0, 0), ('errors-limited', 1, 100), ('errors-mover', 3, 99), ('errors-other', 1, 1), ('errors-pure', 1, 100)$$,
    'no balance was changed');
SELECT is(count(*), 8::bigint, 'no event was written') FROM pointstore.event_store WHERE aggregate_id LIKE 'errors-%';

SELECT * FROM finish();
ROLLBACK;
