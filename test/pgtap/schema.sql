-- The store's tables, columns, keys, indexes, sequence, views, triggers and types.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

SELECT tables_are('pointstore', ARRAY['account_kind', 'account_log', 'account_proof', 'balance', 'event_store', 'feed_block', 'feed_start', 'finding', 'hold', 'lease', 'movement', 'movement_log', 'movement_server', 'movement_step', 'movement_store', 'participant_origin', 'participant_step', 'projection', 'pure_account',
    'reconciliation', 'reconciliation_checkpoint', 'replay_difference', 'replay_run', 'replay_slice', 'snapshot', 'snapshot_progress', 'subscription', 'subscription_account', 'subscription_log', 'subscription_slot', 'transition', 'upcaster']);
SELECT views_are('pointstore', ARRAY['account', 'feed_status', 'in_transit', 'movement_status', 'pg_stat_pointstore', 'prepared_step', 'reconcile_progress', 'reconciliation_run', 'reconciliation_status', 'store_version',
    'subscription_retry', 'subscription_status', 'projection_status']);
SELECT has_sequence('pointstore', 'event_store_id_seq', 'event_store_id_seq');

-- columns: name, type, collation, not null, default; in their order
CREATE FUNCTION pg_temp.columns_of(rel text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
                     CASE WHEN a.attcollation = 'pg_catalog."C"'::regcollation AND a.atttypid = 'text'::regtype THEN 'C' END,
                     CASE WHEN a.attnotnull THEN 'not null' END,
                     CASE WHEN a.attidentity = 'a' THEN 'identity' ELSE 'default ' || pg_get_expr(d.adbin, d.adrelid) END)
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = ('pointstore.' || rel)::regclass AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum
$$;
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('event_store')$$, ARRAY[
    'id bigint not null', 'aggregate_id text C not null', 'version bigint not null', 'event_type text not null',
    'amount bigint not null', 'held bigint not null', 'balance_after bigint not null', 'payload jsonb not null', 'metadata jsonb',
    'request_id text C', 'leg smallint', 'cause_id bigint', 'occurred_at timestamp with time zone not null',
    'created_at timestamp with time zone not null', 'payload_version smallint', 'state_after text'], 'columns of event_store, none with a default');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('balance')$$, ARRAY[
    'aggregate_id text C not null', 'kind text C not null default ''default''::text', 'version bigint not null default 0',
    'balance bigint not null default 0', 'held bigint not null default 0', 'next_expiry timestamp with time zone',
    'status text not null default ''open''::text', 'updated_at timestamp with time zone not null default clock_timestamp()', 'state text', 'incoming bigint not null default 0'],
    'columns of balance');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('pure_account')$$, ARRAY[
    'aggregate_id text C not null', 'kind text C not null', 'status text not null default ''open''::text'], 'columns of pure_account');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('account_kind')$$, ARRAY[
    'kind text C not null', 'mode text not null default ''hybrid''::text', 'unit text not null default ''''::text',
    'min_balance bigint default 0', 'max_balance bigint', 'auto_open boolean not null default true',
    'source_of_truth text not null default ''events''::text', 'on_mismatch text not null default ''report''::text',
    'amount_required boolean not null default false', 'reducer text', 'reducer_version integer', 'snapshot_every integer',
    'initial_state text', 'transitions text not null default ''open''::text', 'commuting text[]', 'merge text', 'lease_required boolean not null default false'],
    'columns of account_kind');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('account_log')$$, ARRAY[
    'id bigint not null identity', 'aggregate_id text C not null', 'action text not null', 'reason text', 'before jsonb', 'after jsonb',
    'by_role text not null', 'at timestamp with time zone not null default clock_timestamp()'], 'columns of account_log');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('hold')$$, ARRAY[
    'hold_id text C not null', 'aggregate_id text C not null', 'amount bigint not null', 'captured bigint not null', 'status text not null',
    'created_at timestamp with time zone not null', 'expires_at timestamp with time zone', 'closed_at timestamp with time zone',
    'event_id bigint'], 'columns of hold');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('feed_block')$$, ARRAY[
    'first_position bigint not null', 'last_position bigint not null', 'ids int8multirange not null', 'sealed boolean not null default false',
    'settled_below bigint not null', 'at timestamp with time zone not null default clock_timestamp()'], 'columns of feed_block');
SELECT col_is_pk('pointstore', 'feed_block', ARRAY['first_position'], 'key of feed_block');
SELECT columns_are('pointstore', 'feed_status', ARRAY['head', 'sequenced_at', 'unsequenced', 'oldest_unsequenced', 'gaps', 'gaps_open_since', 'gaps_open_pid',
    'gaps_open_gid', 'sequencer_alive']);
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('movement') LIMIT 8$$, ARRAY[
    'movement_id text C not null', 'protocol text not null', 'phase text not null', 'deadline timestamp with time zone', 'started_at timestamp with time zone not null',
    'finished_at timestamp with time zone', 'by_role text not null', 'metadata jsonb'], 'columns of movement');
SELECT results_eq($$SELECT * FROM pg_temp.columns_of('movement_step') LIMIT 11$$, ARRAY[
    'movement_id text C not null', 'step smallint not null', 'server text C', 'aggregate_id text C not null', 'amount bigint not null',
    'status text not null default ''pending''::text', 'attempts integer not null default 0', 'next_try timestamp with time zone', 'error text', 'event_id bigint',
    'at timestamp with time zone not null'], 'columns of movement_step');
SELECT col_is_pk('pointstore', 'movement', ARRAY['movement_id'], 'key of movement');
SELECT col_is_pk('pointstore', 'movement_step', ARRAY['movement_id', 'step'], 'key of movement_step');
SELECT col_is_pk('pointstore', 'participant_step', ARRAY['origin', 'movement_id', 'step'], 'key of participant_step');
SELECT is_indexed('pointstore', 'participant_step', ARRAY['aggregate_id'], 'what reserves something of an account');
SELECT columns_are('pointstore', 'account', ARRAY['aggregate_id', 'kind', 'mode', 'unit', 'version', 'balance', 'held', 'available', 'status', 'state', 'updated_at']);
SELECT columns_are('pointstore', 'pg_stat_pointstore', ARRAY['database', 'appends', 'replays', 'version_conflicts', 'request_mismatches', 'insufficient_balance',
    'balance_limit', 'account_frozen', 'account_closed', 'account_missing', 'not_allowed', 'combined_batches', 'combined_events', 'avg_batch', 'avg_wait',
    'given_back', 'stats_reset', 'merges', 'transition_not_allowed', 'lease_lost']);

-- no plain OID columns, which pg_upgrade would refuse
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                   WHERE c.relnamespace = 'pointstore'::regnamespace AND c.relkind = 'r' AND attnum > 0
                     AND atttypid IN (SELECT oid FROM pg_type WHERE typname ~ '^reg' OR typname = 'oid')$$, 'no column of an OID type');

SELECT col_is_pk('pointstore', 'event_store', ARRAY['aggregate_id', 'version'], 'key of event_store');
SELECT col_is_pk('pointstore', 'balance', ARRAY['aggregate_id'], 'key of balance');
SELECT col_is_pk('pointstore', 'pure_account', ARRAY['aggregate_id'], 'key of pure_account');
SELECT col_is_pk('pointstore', 'account_kind', ARRAY['kind'], 'key of account_kind');
SELECT col_is_pk('pointstore', 'account_log', ARRAY['id'], 'key of account_log');
SELECT col_is_unique('pointstore', 'event_store', ARRAY['request_id', 'leg'], 'a request and leg once');
SELECT is_indexed('pointstore', 'event_store', ARRAY['id'], 'event_store.id');
SELECT results_eq($$SELECT substring(pg_get_indexdef(indexrelid) FROM ' USING (.*)') FROM pg_index WHERE indrelid = 'pointstore.event_store'::regclass ORDER BY 1$$,
    ARRAY['btree (aggregate_id, version)', 'btree (cause_id) WHERE (cause_id IS NOT NULL)', 'btree (id)', 'btree (request_id, leg)'], 'three indexes for a plain event, and one for what has a cause');
SELECT col_is_pk('pointstore', 'hold', ARRAY['hold_id'], 'key of hold');
SELECT is_indexed('pointstore', 'hold', ARRAY['aggregate_id', 'expires_at'], 'open holds by account');
SELECT is_indexed('pointstore', 'event_store', ARRAY['cause_id'], 'what follows from an event');
SELECT is(pg_get_indexdef(indexrelid, 0, false) ~ '\(hold_id, aggregate_id\)', true, 'the replica identity has the account in it')
  FROM pg_index WHERE indisreplident AND indrelid = 'pointstore.hold'::regclass;
SELECT is_indexed('pointstore', 'account_log', ARRAY['aggregate_id', 'id'], 'log by account');

-- the kind that is there from the start
SELECT results_eq($$SELECT kind COLLATE "default", mode, unit, min_balance, max_balance, auto_open, source_of_truth, on_mismatch, amount_required
                      FROM pointstore.account_kind WHERE kind = 'default'$$,
                  $$VALUES ('default', 'hybrid', '', 0::bigint, NULL::bigint, true, 'events', 'report', false)$$, 'kind default');

-- triggers: those that are wanted, plain ones, and no others
SELECT set_eq($$SELECT c.relname || '.' || g.tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
                 WHERE c.relnamespace = 'pointstore'::regnamespace AND NOT g.tgisinternal$$,
              $$SELECT tab || '.' || trigger_name FROM pointstore.store_triggers()$$, 'triggers of the store');
SELECT is_empty($$SELECT tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
                   WHERE c.relnamespace = 'pointstore'::regnamespace AND NOT g.tgisinternal AND (g.tgenabled <> 'O' OR g.tgdeferrable)$$,
                'plain origin triggers, none deferred');

-- functions: names, arguments with their defaults, results
CREATE FUNCTION pg_temp.signature(name text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(pg_get_function_arguments(oid) || ' -> ' || coalesce(pg_get_function_result(oid), 'procedure'), 'pointstore\.', '', 'g')
      FROM pg_proc WHERE pronamespace = 'pointstore'::regnamespace AND proname = name
$$;
SELECT is(pg_temp.signature(name), signature, name) FROM (VALUES
    ('append_event', 'aggregate_id text, event_type text, amount bigint DEFAULT 0, payload jsonb DEFAULT ''{}''::jsonb, expected_version bigint DEFAULT NULL::bigint, request_id text DEFAULT NULL::text, min_balance bigint DEFAULT NULL::bigint, occurred_at timestamp with time zone DEFAULT NULL::timestamp with time zone, kind text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb, payload_version smallint DEFAULT NULL::smallint, cause_id bigint DEFAULT NULL::bigint, lease_token bigint DEFAULT NULL::bigint -> receipt'),
    ('try_append_event', 'aggregate_id text, event_type text, amount bigint DEFAULT 0, payload jsonb DEFAULT ''{}''::jsonb, expected_version bigint DEFAULT NULL::bigint, request_id text DEFAULT NULL::text, min_balance bigint DEFAULT NULL::bigint, occurred_at timestamp with time zone DEFAULT NULL::timestamp with time zone, kind text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb, payload_version smallint DEFAULT NULL::smallint, cause_id bigint DEFAULT NULL::bigint, lease_token bigint DEFAULT NULL::bigint -> receipt'),
    ('submit_event', 'aggregate_id text, event_type text, amount bigint DEFAULT 0, payload jsonb DEFAULT ''{}''::jsonb, expected_version bigint DEFAULT NULL::bigint, request_id text DEFAULT NULL::text, min_balance bigint DEFAULT NULL::bigint, occurred_at timestamp with time zone DEFAULT NULL::timestamp with time zone, kind text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb, payload_version smallint DEFAULT NULL::smallint, cause_id bigint DEFAULT NULL::bigint, lease_token bigint DEFAULT NULL::bigint -> receipt'),
    ('try_submit_event', 'aggregate_id text, event_type text, amount bigint DEFAULT 0, payload jsonb DEFAULT ''{}''::jsonb, expected_version bigint DEFAULT NULL::bigint, request_id text DEFAULT NULL::text, min_balance bigint DEFAULT NULL::bigint, occurred_at timestamp with time zone DEFAULT NULL::timestamp with time zone, kind text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb, payload_version smallint DEFAULT NULL::smallint, cause_id bigint DEFAULT NULL::bigint, lease_token bigint DEFAULT NULL::bigint -> receipt'),
    ('append_events', 'events jsonb, request_id text DEFAULT NULL::text, balanced boolean DEFAULT false -> SETOF receipt'),
    ('try_append_events', 'events jsonb, request_id text DEFAULT NULL::text, balanced boolean DEFAULT false -> SETOF receipt'),
    ('hold', 'aggregate_id text, amount bigint, hold_id text DEFAULT NULL::text, expires_in interval DEFAULT ''00:15:00''::interval, payload jsonb DEFAULT ''{}''::jsonb, lease_token bigint DEFAULT NULL::bigint -> receipt'),
    ('try_hold', 'aggregate_id text, amount bigint, hold_id text DEFAULT NULL::text, expires_in interval DEFAULT ''00:15:00''::interval, payload jsonb DEFAULT ''{}''::jsonb, lease_token bigint DEFAULT NULL::bigint -> receipt'),
    ('confirm_hold', 'hold_id text, amount bigint DEFAULT NULL::bigint, aggregate_id text DEFAULT NULL::text, to_id text DEFAULT NULL::text, payload jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT NULL::jsonb -> receipt'),
    ('cancel_hold', 'hold_id text, aggregate_id text DEFAULT NULL::text -> receipt'),
    ('try_confirm_hold', 'hold_id text, amount bigint DEFAULT NULL::bigint, aggregate_id text DEFAULT NULL::text, to_id text DEFAULT NULL::text, payload jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT NULL::jsonb -> receipt'),
    ('try_cancel_hold', 'hold_id text, aggregate_id text DEFAULT NULL::text -> receipt'),
    ('transfer', 'from_id text, to_id text, amount bigint, request_id text DEFAULT NULL::text, event_type text DEFAULT ''Transferred''::text, payload jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT NULL::jsonb, kind text DEFAULT NULL::text, lease_token bigint DEFAULT NULL::bigint -> SETOF receipt'),
    ('submit_transfer', 'from_id text, to_id text, amount bigint, request_id text DEFAULT NULL::text, event_type text DEFAULT ''Transferred''::text, payload jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT NULL::jsonb, kind text DEFAULT NULL::text, lease_token bigint DEFAULT NULL::bigint -> SETOF receipt'),
    ('try_transfer', 'from_id text, to_id text, amount bigint, request_id text DEFAULT NULL::text, event_type text DEFAULT ''Transferred''::text, payload jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT NULL::jsonb, kind text DEFAULT NULL::text, lease_token bigint DEFAULT NULL::bigint -> SETOF receipt'),
    ('try_submit_transfer', 'from_id text, to_id text, amount bigint, request_id text DEFAULT NULL::text, event_type text DEFAULT ''Transferred''::text, payload jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT NULL::jsonb, kind text DEFAULT NULL::text, lease_token bigint DEFAULT NULL::bigint -> SETOF receipt'),
    ('reverse_event', 'aggregate_id text, version bigint, amount bigint DEFAULT NULL::bigint, request_id text DEFAULT NULL::text, allow_debt boolean DEFAULT false -> SETOF receipt'),
    ('try_reverse_event', 'aggregate_id text, version bigint, amount bigint DEFAULT NULL::bigint, request_id text DEFAULT NULL::text, allow_debt boolean DEFAULT false -> SETOF receipt'),
    ('open_account', 'aggregate_id text, kind text DEFAULT ''default''::text -> void'),
    ('close_account', 'aggregate_id text, reason text DEFAULT NULL::text -> void'),
    ('freeze_account', 'aggregate_id text, reason text -> void'),
    ('unfreeze_account', 'aggregate_id text, reason text -> void'),
    ('set_kind', 'aggregate_id text, kind text, reason text DEFAULT NULL::text, new_state text DEFAULT NULL::text -> void'),
    ('get_balance', 'aggregate_id text -> SETOF account_state'),
    ('balance_at', 'aggregate_id text, at timestamp with time zone -> bigint'),
    ('balance_as_of', 'aggregate_id text, version bigint -> bigint'),
    ('feed_head', ' -> bigint'),
    ('read_feed', 'after bigint DEFAULT 0, max_events integer DEFAULT 1000, event_types text[] DEFAULT NULL::text[], aggregate_prefix text DEFAULT NULL::text, raw boolean DEFAULT false, shard bigint DEFAULT NULL::bigint -> SETOF feed_event'),
    ('position_of', 'event_id bigint -> bigint'),
    ('sequence_feed', ' -> bigint'),
    ('feed_incarnation', ' -> text'),
    ('feed_check', 'OUT code text, OUT "position" bigint, OUT event_id bigint -> SETOF record'),
    ('start_movement', 'movement_id text, steps jsonb, protocol text DEFAULT ''tcc''::text, deadline interval DEFAULT ''00:01:00''::interval, metadata jsonb DEFAULT NULL::jsonb -> movement_state'),
    ('move', 'from_id text, to_id text, amount bigint, movement_id text, to_server text DEFAULT NULL::text, protocol text DEFAULT ''tcc''::text, payload jsonb DEFAULT ''{}''::jsonb, deadline interval DEFAULT ''00:01:00''::interval, metadata jsonb DEFAULT NULL::jsonb -> movement_state'),
    ('wait_for_movement', 'movement_id text, timeout interval DEFAULT ''00:00:10''::interval -> movement_state'),
    ('cancel_movement', 'movement_id text, reason text DEFAULT NULL::text -> movement_state'),
    ('resolve_movement', 'movement_id text, decision text, reason text -> movement_state'),
    ('participate', 'messages jsonb -> jsonb'),
    ('check_version', ' -> trigger'),
    ('pg_stat_pointstore_reset', ' -> void'),
    ('grant_access', 'role regrole, level text -> void')) f(name, signature);
SELECT is(pg_get_function_result('pointstore.rebuild_balance(text, boolean)'::regprocedure), 'record', 'rebuild_balance returns one row');
SELECT results_eq($$SELECT unnest(proargnames) COLLATE "default" FROM pg_proc WHERE oid = 'pointstore.rebuild_balance(text, boolean)'::regprocedure$$,
    ARRAY['aggregate_id', 'force', 'old_version', 'new_version', 'old_balance', 'new_balance', 'old_held', 'new_held', 'changed'], 'columns of rebuild_balance');
SELECT is(prokind, 'p'::"char", 'rebuild_balances is a procedure') FROM pg_proc WHERE oid = 'pointstore.rebuild_balances()'::regprocedure;
SELECT is(pg_get_function_arguments('pointstore.create_store(regrole)'::regprocedure) ~ '^owner regrole DEFAULT ', true, 'create_store(owner) has a default');

-- receipts and states
CREATE FUNCTION pg_temp.type_of(name text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT attname::text COLLATE "default" || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
     WHERE attrelid = ('pointstore.' || name)::regclass AND attnum > 0 ORDER BY attnum
$$;
SELECT results_eq($$SELECT * FROM pg_temp.type_of('receipt')$$, ARRAY[
    'outcome text', 'aggregate_id text', 'version bigint', 'balance bigint', 'available bigint', 'id bigint',
    'created_at timestamp with time zone'], 'columns of a receipt');
SELECT results_eq($$SELECT * FROM pg_temp.type_of('account_state')$$, ARRAY[
    'aggregate_id text', 'kind text', 'mode text', 'unit text', 'version bigint', 'balance bigint', 'held bigint', 'available bigint',
    'status text', 'state text', 'updated_at timestamp with time zone'], 'columns of an account''s state');
SELECT results_eq($$SELECT * FROM pg_temp.type_of('movement_state')$$, ARRAY['movement_id text', 'protocol text', 'phase text', 'settled boolean', 'error text'],
    'columns of a movement''s state');
SELECT results_eq($$SELECT attname::text COLLATE "default" || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
                     WHERE attrelid = 'pointstore.account'::regclass AND attnum > 0 ORDER BY attnum$$,
                  $$SELECT * FROM pg_temp.type_of('account_state')$$, 'the view account has the same');

-- the extension: superusers', in its own schema, and nothing of the store in it
SELECT results_eq($$SELECT superuser, trusted, relocatable, schema::text COLLATE "default" FROM pg_available_extension_versions
                     WHERE name = 'pointstore' AND installed$$, $$VALUES (true, false, false, 'pointstore')$$, 'control file');
SELECT is_empty($$SELECT c.relname FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
                   WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relnamespace = 'pointstore'::regnamespace
                     AND c.relkind <> 'c'$$, 'no table, view or sequence is the extension''s');

SELECT * FROM finish();
ROLLBACK;
