-- request_id: what is compared, what replays and how, single and in batches, for hybrid and pure accounts.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

CREATE TEMP TABLE modes (mode text);
INSERT INTO modes VALUES ('hybrid'), ('pure');
INSERT INTO pointstore.account_kind (kind, mode) SELECT 'idempotency-' || mode, mode FROM modes;
CREATE TEMP TABLE first AS
SELECT mode, r.* FROM modes, pointstore.append_event('idempotency-' || mode, 'Changed', 100, '{"a": [1, "x"], "b": null}', 0, 'idempotency-' || mode,
    NULL, '2026-01-01 12:00+00', 'idempotency-' || mode, '{"actor": "first"}') r;
SELECT is(outcome, 'appended', mode || ': first') FROM first;

-- every compared field
SELECT throws_ok(format(query, mode), 'PS002', NULL, mode || ': ' || field) FROM modes, (VALUES
    ('aggregate_id', $$SELECT pointstore.append_event('idempotency-%s-2', 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-%1$s', occurred_at => '2026-01-01 12:00+00')$$),
    ('event_type', $$SELECT pointstore.append_event('idempotency-%s', 'changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-%1$s', occurred_at => '2026-01-01 12:00+00')$$),
    ('amount', $$SELECT pointstore.append_event('idempotency-%s', 'Changed', -100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-%1$s', occurred_at => '2026-01-01 12:00+00')$$),
    ('payload', $$SELECT pointstore.append_event('idempotency-%s', 'Changed', 100, '{"a": [1, "x"]}', request_id => 'idempotency-%1$s', occurred_at => '2026-01-01 12:00+00')$$),
    ('payload, order of an array', $$SELECT pointstore.append_event('idempotency-%s', 'Changed', 100, '{"a": ["x", 1], "b": null}', request_id => 'idempotency-%1$s', occurred_at => '2026-01-01 12:00+00')$$),
    ('occurred_at', $$SELECT pointstore.append_event('idempotency-%s', 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-%1$s', occurred_at => '2026-01-01 12:00:00.000001+00')$$),
    ('number of events', $$SELECT pointstore.append_events('[{"aggregate_id": "idempotency-%s", "event_type": "Changed", "amount": 100, "payload": {"a": [1, "x"], "b": null}}, {"aggregate_id": "idempotency-%1$s", "event_type": "Changed"}]', 'idempotency-%1$s')$$)
    ) q(field, query);
-- and those that are not: metadata, expected_version, min_balance, kind, occurred_at not given; nor the order of keys, nor how a time is written
SELECT is(ROW(r.outcome, r.aggregate_id, r.version, r.balance, r.available, r.id, r.created_at),
          ROW('replayed'::text, f.aggregate_id, f.version, f.balance, NULL::bigint, f.id, f.created_at), f.mode || ': the first receipt comes back')
  FROM first f, pointstore.append_event('idempotency-' || f.mode, 'Changed', 100, '{"b": null, "a": [1.0, "x"]}', 7, 'idempotency-' || f.mode,
    1000000, NULL, NULL, '{"actor": "second"}') r;
SELECT is((pointstore.append_event('idempotency-' || mode, 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-' || mode,
    occurred_at => '2026-01-01 21:00+09')).outcome, 'replayed', mode || ': the same instant') FROM modes;
SELECT is((pointstore.try_append_event('idempotency-' || mode, 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-' || mode)).outcome,
    'replayed', mode || ': by the try_ form') FROM modes;
SELECT is(metadata, '{"actor": "first"}'::jsonb, 'the first metadata stay') FROM pointstore.event_store WHERE request_id LIKE 'idempotency-%';
-- a refusal's receipt tells the account's state, of the account that was asked for
SELECT is(ROW(outcome, aggregate_id, version, balance, available, id, created_at),
          ROW('request_mismatch'::text, 'idempotency-' || mode, 1::bigint, 100::bigint, 100::bigint, NULL::bigint, NULL::timestamptz), mode || ': request_mismatch')
  FROM modes, pointstore.try_append_event('idempotency-' || mode, 'Changed', 101, request_id => 'idempotency-' || mode);

-- whatever happens to the account meanwhile
SELECT is((pointstore.append_event('idempotency-' || mode, 'Changed', -100)).version, 2::bigint, mode || ': the version moves on') FROM modes;
SELECT is(ROW(outcome, version, balance), ROW('replayed'::text, 1::bigint, 100::bigint), mode || ': replay of an older version')
  FROM modes, pointstore.append_event('idempotency-' || mode, 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-' || mode);
SELECT lives_ok(format($$SELECT pointstore.freeze_account('idempotency-%s', 'test')$$, mode), mode || ': frozen') FROM modes;
SELECT is((pointstore.append_event('idempotency-' || mode, 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-' || mode)).outcome,
    'replayed', mode || ': replay when frozen') FROM modes;
SELECT lives_ok(format($$SELECT pointstore.unfreeze_account('idempotency-%s', 'test'), pointstore.close_account('idempotency-%1$s')$$, mode), mode || ': closed') FROM modes;
SELECT is((pointstore.append_event('idempotency-' || mode, 'Changed', 100, '{"a": [1, "x"], "b": null}', request_id => 'idempotency-' || mode)).outcome,
    'replayed', mode || ': replay when closed') FROM modes;
SELECT is(count(*), 4::bigint, 'nothing was written') FROM pointstore.event_store WHERE aggregate_id LIKE 'idempotency-%';

-- A call with several events: as a whole, same elements, same order.
CREATE FUNCTION pg_temp.batch(mode text, VARIADIC amounts int[]) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('aggregate_id', format('idempotency-b%s-%s', n % 2, mode), 'event_type', 'Changed', 'amount', amount,
                                        'kind', 'idempotency-' || mode) ORDER BY n)
      FROM unnest(amounts) WITH ORDINALITY a(amount, n)
$$;
CREATE TEMP TABLE batch AS
SELECT mode, r.* FROM modes, pointstore.append_events(pg_temp.batch(mode, 10, 20, 30), 'idempotency-b-' || mode) WITH ORDINALITY r;
SELECT is(ROW(outcome, version, balance), ROW('appended'::text, v::bigint, b::bigint), mode || ': element ' || n)
  FROM batch JOIN (VALUES (1, 1, 10), (2, 1, 20), (3, 2, 40)) x(n, v, b) ON n = ordinality ORDER BY mode, n;
SELECT results_eq(format($$SELECT leg::int, amount FROM pointstore.event_store WHERE request_id = 'idempotency-b-%s' ORDER BY id$$, mode),
    $$VALUES (0, 10::bigint), (1, 20), (2, 30)$$, mode || ': legs count from 0') FROM modes;
SELECT results_eq(format($$SELECT outcome, aggregate_id, version, balance, available, id, created_at FROM pointstore.append_events(pg_temp.batch(%L, 10, 20, 30), 'idempotency-b-%1$s')$$, mode),
    format($$SELECT 'replayed'::text, aggregate_id, version, balance, NULL::bigint, id, created_at FROM batch WHERE mode = %L ORDER BY ordinality$$, mode), mode || ': a batch replays') FROM modes;
SELECT throws_ok(format($$SELECT * FROM pointstore.append_events(%L, %L)$$, elements, 'idempotency-b-' || mode), 'PS002', NULL, mode || ': ' || what)
  FROM modes, LATERAL (VALUES
    ('fewer', pg_temp.batch(mode, 10, 20)), ('one', pg_temp.batch(mode, 10)), ('more', pg_temp.batch(mode, 10, 20, 30, 40)),
    ('another order', (SELECT jsonb_agg(e ORDER BY n DESC) FROM jsonb_array_elements(pg_temp.batch(mode, 10, 20, 30)) WITH ORDINALITY x(e, n))),
    ('the last changed', pg_temp.batch(mode, 10, 20, 31)), ('the first changed', pg_temp.batch(mode, 11, 20, 30))) q(what, elements);
SELECT throws_ok(format($$SELECT pointstore.append_event('idempotency-b1-%s', 'Changed', 10, request_id => 'idempotency-b-%1$s')$$, mode), 'PS002', NULL, mode || ': its first alone') FROM modes;
SELECT throws_ok(format($$SELECT pointstore.append_event('idempotency-b0-%s', 'Changed', 20, request_id => 'idempotency-b-%1$s')$$, mode), 'PS002', NULL, mode || ': its second alone') FROM modes;
-- a call that was refused is not remembered
SELECT throws_ok(format($$SELECT * FROM pointstore.append_events(pg_temp.batch(%L, 1, -1000), 'idempotency-c-%1$s')$$, mode), 'PS003', NULL, mode || ': refused') FROM modes;
SELECT is(array_agg(outcome), ARRAY['appended', 'appended'], mode || ': and then applied') FROM modes, pointstore.append_events(pg_temp.batch(mode, 1, 2), 'idempotency-c-' || mode) GROUP BY mode;

-- Elements with requests of their own.
CREATE FUNCTION pg_temp.elements(mode text, VARIADIC requests text[]) RETURNS jsonb LANGUAGE sql AS $$
    -- 'r5': request r with amount 5; '-5': no request, amount 5
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('aggregate_id', 'idempotency-e-' || mode, 'event_type', 'Changed', 'amount', substr(r, 2)::bigint,
             'kind', 'idempotency-' || mode, 'request_id', CASE WHEN left(r, 1) <> '-' THEN format('idempotency-e-%s-%s', mode, left(r, 1)) END)) ORDER BY n)
      FROM unnest(requests) WITH ORDINALITY a(r, n)
$$;
CREATE FUNCTION pg_temp.answers(mode text, VARIADIC requests text[]) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', outcome, version, balance, coalesce(available::text, '-')), ', ' ORDER BY ordinality)
      FROM pointstore.append_events(pg_temp.elements(mode, VARIADIC requests)) WITH ORDINALITY
$$;
SELECT is(pg_temp.answers(mode, 'a1', 'b2', '-4'), 'appended 1 1 1, appended 2 3 3, appended 3 7 7', mode || ': three new') FROM modes;
SELECT is(pg_temp.answers(mode, 'c8', 'a1', '-4'), 'appended 4 15 15, replayed 1 1 -, appended 5 19 19', mode || ': one of them again') FROM modes;
SELECT is(pg_temp.answers(mode, 'b2', 'a1'), 'replayed 2 3 -, replayed 1 1 -', mode || ': all again, in another order') FROM modes;
SELECT throws_ok(format($$SELECT pg_temp.answers(%L, 'd1', 'a2')$$, mode), 'PS002', NULL, mode || ': one used otherwise fails all') FROM modes;
SELECT is(pg_temp.answers(mode, 'd1', '-1', 'd1'), 'appended 6 20 20, appended 7 21 21, replayed 6 20 -', mode || ': twice within one batch') FROM modes;
SELECT throws_ok(format($$SELECT pg_temp.answers(%L, 'e1', 'e2')$$, mode), 'PS002', NULL, mode || ': twice within one batch, otherwise') FROM modes;
SELECT is((pointstore.append_event('idempotency-e-' || mode, 'Changed', 2, request_id => format('idempotency-e-%s-b', mode))).outcome, 'replayed', mode || ': an element''s request alone') FROM modes;
SELECT is(leg, 0::smallint, 'of a single event leg is 0') FROM pointstore.event_store WHERE request_id LIKE 'idempotency-e-%';
SELECT is_empty($$SELECT 1 FROM pointstore.event_store WHERE (request_id IS NULL) <> (leg IS NULL)$$, 'leg goes with request_id');
-- replayed elements against the limits: they count for nothing
SELECT throws_ok(format($$SELECT pg_temp.answers(%L, 'c8', '--22')$$, mode), 'PS003', NULL, mode || ': a replay adds nothing') FROM modes;
-- both is 22023, also when both are the same, or applied already
SELECT throws_ok(format($$SELECT * FROM pointstore.append_events(pg_temp.elements(%L, 'x1'), 'idempotency-x')$$, mode), '22023', NULL, mode || ': both') FROM modes;
SELECT throws_ok(format($$SELECT * FROM pointstore.append_events(pg_temp.elements(%L, '-1', 'a1'), 'idempotency-e-%1$s-a')$$, mode), '22023', NULL, mode || ': both the same') FROM modes;

-- by the table: skipped, or refused
CREATE FUNCTION pg_temp.inserted(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE query;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END$$;
SELECT is(pg_temp.inserted(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES
    ('idempotency-e-%s', 'Changed', 2, 'idempotency-e-%1$s-b'), ('idempotency-e-%1$s', 'Changed', 1, 'idempotency-e-%1$s-t'), ('idempotency-e-%1$s', 'Changed', 1, 'idempotency-e-%1$s-t')$$, mode)),
    1::bigint, mode || ': of three rows one is new') FROM modes;
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('idempotency-e-%s', 'Changed', 3, 'idempotency-e-%1$s-b')$$, mode),
    'PS002', NULL, mode || ': another amount') FROM modes;
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id, payload) VALUES ('idempotency-e-%s', 'Changed', 2, 'idempotency-e-%1$s-b', '1')$$, mode),
    'PS002', NULL, mode || ': another payload') FROM modes;
SELECT throws_ok(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id, occurred_at) VALUES ('idempotency-e-%s', 'Changed', 2, 'idempotency-e-%1$s-b', '2020-01-01')$$, mode),
    'PS002', NULL, mode || ': another time') FROM modes;
SELECT is(pg_temp.inserted(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id, metadata) VALUES ('idempotency-e-%s', 'Changed', 2, 'idempotency-e-%1$s-b', '1')$$, mode)),
    0::bigint, mode || ': other metadata') FROM modes;
SELECT is(pg_temp.inserted(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id, version) VALUES ('idempotency-e-%s', 'Changed', 2, 'idempotency-e-%1$s-b', 2)$$, mode)),
    0::bigint, mode || ': with the version that it got') FROM modes;
SELECT is((pointstore.append_event('idempotency-e-' || mode, 'Changed', 1, request_id => format('idempotency-e-%s-t', mode))).outcome, 'replayed', mode || ': a row''s request, by the function') FROM modes;

-- balances and events agree after all that
SELECT is_empty($$SELECT a.aggregate_id FROM pointstore.account a WHERE a.aggregate_id LIKE 'idempotency-%'
    AND (a.version, a.balance) <> (SELECT count(*), coalesce(sum(amount), 0) FROM pointstore.event_store e WHERE e.aggregate_id = a.aggregate_id)$$, 'accounts and events agree');

SELECT * FROM finish();
ROLLBACK;
