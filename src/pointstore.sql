-- src/pointstore.sql
-- The store as a whole: created, upgraded, and who may use it. The last part of the install script.

-- The views of a store, made or remade as the installed version wants them.
CREATE FUNCTION pointstore.create_store_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.store_version AS SELECT '@version@'::text AS version;
    COMMENT ON VIEW pointstore.store_version IS
    'The version of this store. It must be the installed extension''s; SELECT pointstore.upgrade_store() brings it there.';
    COMMENT ON COLUMN pointstore.store_version.version IS 'major.minor, as the extension''s';

    PERFORM pointstore.create_account_view();
    PERFORM pointstore.create_reconciliation_views();
    PERFORM pointstore.create_progress_view();
    PERFORM pointstore.create_statistics_view();
    PERFORM pointstore.create_feed_view();
    PERFORM pointstore.create_subscription_views();
    PERFORM pointstore.create_projection_view();
    PERFORM pointstore.create_movement_views();
    PERFORM pointstore.create_prepared_view();
END
$$;
COMMENT ON FUNCTION pointstore.create_store_views() IS
'Makes or remakes the views of a store. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_store()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pointstore.comment_on_accounts();
    PERFORM pointstore.comment_on_transitions();
    PERFORM pointstore.comment_on_leases();
    PERFORM pointstore.comment_on_events();
    PERFORM pointstore.comment_on_holds();
    PERFORM pointstore.comment_on_reconciliation();
    PERFORM pointstore.comment_on_feed();
    PERFORM pointstore.comment_on_subscriptions();
    PERFORM pointstore.comment_on_upcasters();
    PERFORM pointstore.comment_on_snapshots();
    PERFORM pointstore.comment_on_projections();
    PERFORM pointstore.comment_on_replays();
    PERFORM pointstore.comment_on_participations();
    PERFORM pointstore.comment_on_movements();
    PERFORM pointstore.comment_on_servers();
    PERFORM pointstore.comment_on_origins();
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_store() IS
'Puts the comments on the store''s tables and columns. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.create_store(owner regrole = quote_ident(current_user)::regrole)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    keeper  regrole := pointstore.store_owner();
    in_way  text;
    creator regrole;
BEGIN
    IF owner IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'owner of the store must not be null';
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers create a store';
    END IF;
    PERFORM pointstore.check_schema();
    IF keeper <> owner AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = keeper) THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('there is a store already, of %s and not of %s', keeper, owner),
                  HINT = format('Where it is known to be the store: SELECT pointstore.create_store(%L);', keeper);
    END IF;
    IF keeper IS NOT NULL THEN
        PERFORM pointstore.check_sequence();
        RAISE NOTICE 'the store is there already, nothing was changed';
        RETURN 'exists';
    END IF;
    SELECT string_agg(pg_describe_object('pg_class'::regclass, c.oid, 0), ', ') INTO in_way
      FROM pg_class c JOIN pointstore.store_relations() r ON r.name = c.relname
     WHERE c.relnamespace = 'pointstore'::regnamespace;
    IF in_way IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('what is there is not a whole store: %s', in_way),
                  DETAIL = 'A store has all its tables, and they are all of one role.',
                  HINT = 'Restore what is missing from a backup, or drop or rename what is in the way.';
    END IF;

    -- whatever was granted on the schema before: nobody else makes anything in it
    REVOKE ALL ON SCHEMA pointstore FROM PUBLIC;
    FOR creator IN
        SELECT DISTINCT a.grantee FROM pg_namespace n, aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee AND NOT r.rolsuper
         WHERE n.nspname = 'pointstore' AND a.privilege_type = 'CREATE'
    LOOP
        EXECUTE format('REVOKE CREATE ON SCHEMA pointstore FROM %s CASCADE', creator);
    END LOOP;

    PERFORM pointstore.create_accounts();
    PERFORM pointstore.create_transitions();
    PERFORM pointstore.create_leases();
    PERFORM pointstore.create_events();
    PERFORM pointstore.create_holds();
    PERFORM pointstore.create_reconciliation();
    PERFORM pointstore.create_feed(0);
    PERFORM pointstore.create_subscriptions();
    PERFORM pointstore.create_upcasters();
    PERFORM pointstore.create_snapshots();
    PERFORM pointstore.create_projections();
    PERFORM pointstore.create_replays();
    PERFORM pointstore.create_participations();
    PERFORM pointstore.create_movements();
    PERFORM pointstore.create_servers();
    PERFORM pointstore.create_origins();
    PERFORM pointstore.comment_on_store();
    PERFORM pointstore.create_store_views();
    PERFORM pointstore.create_store_triggers();

    PERFORM pointstore.give_store(owner);
    PERFORM pointstore.grant_owner(owner);
    PERFORM pointstore.wake_workers();
    RETURN 'created';
END
$$;
COMMENT ON FUNCTION pointstore.create_store(regrole) IS
'Creates the tables, views and triggers of the store in schema pointstore, owned by the given role (default: the current one), and returns created. They are ordinary tables, not members of the extension: pg_dump dumps them and DROP EXTENSION leaves them. Takes USAGE on the schema from PUBLIC, and CREATE from all but superusers. Where the store is there already: a NOTICE, exists, and nothing changes. Superusers only (42501); 22004: null; 55000: the schema is not a superuser''s, something in it is not a superuser''s, what is there is no whole store, or one of another role than the given, or its sequence has been altered.';

-- All of the store, in the hands of its owner. The sequence goes with its table.
CREATE FUNCTION pointstore.give_store(owner regrole)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT r.name FROM pointstore.store_relations() r
          JOIN pg_class c ON c.relname = r.name AND c.relnamespace = 'pointstore'::regnamespace
         WHERE r.kind <> 'S' AND c.relowner <> owner
    LOOP
        EXECUTE format('ALTER TABLE pointstore.%I OWNER TO %s', part, owner);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.give_store(regrole) IS
'Makes a role the owner of all of the store. Called by create_store() and upgrade_store(); superusers only.';

-- What the owner of a store needs of the extension. Gone with DROP EXTENSION.
CREATE FUNCTION pointstore.grant_owner(owner regrole)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION pointstore.digest(bigint, bigint, bigint, bigint, bigint, bigint, bigint),
        pointstore.guard_event_store(), pointstore.guard_balance(),
        pointstore.guard_pure_account(), pointstore.guard_account_kind(), pointstore.guard_hold(), pointstore.guard_append_only(), pointstore.guard_function(), pointstore.guard_transition() TO %s', owner);
    PERFORM pointstore.grant_access(owner, 'operator'::text);
END
$$;
COMMENT ON FUNCTION pointstore.grant_owner(regrole) IS
'Grants the owner of the store what it needs of the extension''s functions. Called by create_store() and upgrade_store(); superusers only.';

-- Its new column is not the last, which CREATE OR REPLACE cannot do. What users have made of
-- the view is in the way, and theirs to drop: 2BP01.
CREATE FUNCTION pointstore.renew_account_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found  regclass := to_regclass('pointstore.account');
    in_way text;
    grants text[] := ARRAY(
        SELECT format('GRANT %s%s ON pointstore.account TO %s%s', a.privilege_type, g.columns,
                      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                      CASE WHEN a.is_grantable AND a.grantee <> 0 THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM (SELECT '' AS columns, c.relacl AS acl FROM pg_class c WHERE c.oid = found
                UNION ALL
                SELECT format(' (%I)', t.attname), t.attacl FROM pg_attribute t WHERE t.attrelid = found) g,
               aclexplode(g.acl) a);
    step   text;
BEGIN
    IF EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = found AND t.attname = 'state') THEN
        RETURN;
    END IF;
    -- these DROP would take along
    SELECT string_agg(o.name, ', ') INTO in_way
      FROM (SELECT pg_describe_object('pg_trigger'::regclass, g.oid, 0) FROM pg_trigger g WHERE g.tgrelid = found
            UNION ALL
            SELECT pg_describe_object('pg_rewrite'::regclass, r.oid, 0) FROM pg_rewrite r WHERE r.ev_class = found AND r.rulename <> '_RETURN') o (name);
    IF in_way IS NOT NULL THEN
        RAISE dependent_objects_still_exist USING MESSAGE = format('%s is in the way of a new view', in_way),
            HINT = 'Drop it, and make it anew after upgrade_store().';
    END IF;
    DROP VIEW IF EXISTS pointstore.account;
    PERFORM pointstore.create_account_view();
    FOREACH step IN ARRAY grants LOOP
        EXECUTE step;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.renew_account_view() IS
'Makes the view of accounts anew, where it lacks a column, and keeps its GRANTs. 2BP01 where a view of a user depends on it, or it has a trigger or a rule of a user. Called by upgrade_store(); superusers only.';

-- What is there under a name that a later version has brought, is not ours: a relation in the schema,
-- with triggers and GRANTs of whoever has made it, or a column of a table where users have their own.
CREATE FUNCTION pointstore.refuse_own_names(from_version text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    in_way text;
BEGIN
    SELECT string_agg(pg_describe_object('pg_class'::regclass, c.oid, 0), ', ') INTO in_way
      FROM pointstore.store_relations() r JOIN pg_class c ON c.relname = r.name AND c.relnamespace = 'pointstore'::regnamespace
     -- those of 1.0 a store of 0.9 may have
     WHERE greatest(string_to_array(from_version, '.')::integer[], ARRAY[1, 0]) < string_to_array(r.since, '.')::integer[];
    IF in_way IS NOT NULL THEN
        RAISE duplicate_table USING MESSAGE = format('what is there already has a name that the store needs: %s', in_way),
            HINT = 'Rename it, or move it to another schema.';
    END IF;
    SELECT string_agg(format('%I.%I', n.tab, n.name), ', ') INTO in_way
      FROM (VALUES (ARRAY[1, 0], 'event_store', 'metadata'),
                   (ARRAY[1, 1], 'account_kind', 'amount_required'), (ARRAY[1, 1], 'finding', 'acknowledged'),
                   (ARRAY[1, 3], 'event_store', 'payload_version'), (ARRAY[1, 3], 'account_kind', 'reducer'),
                   (ARRAY[1, 3], 'account_kind', 'reducer_version'), (ARRAY[1, 3], 'account_kind', 'snapshot_every'),
                   (ARRAY[1, 4], 'event_store', 'state_after'), (ARRAY[1, 4], 'balance', 'state'),
                   (ARRAY[1, 4], 'account_kind', 'initial_state'), (ARRAY[1, 4], 'account_kind', 'transitions'),
                   (ARRAY[1, 4], 'account_kind', 'commuting'), (ARRAY[1, 4], 'account_kind', 'merge'),
                   (ARRAY[1, 4], 'account_kind', 'lease_required'),
                   (ARRAY[1, 5], 'balance', 'incoming'), (ARRAY[1, 5], 'account_proof', 'incoming')) n (since, tab, name)
      JOIN pg_attribute a ON a.attrelid = to_regclass('pointstore.' || n.tab) AND a.attname = n.name AND NOT a.attisdropped
     WHERE string_to_array(from_version, '.')::integer[] < n.since;
    IF in_way IS NOT NULL THEN
        RAISE duplicate_column USING MESSAGE = format('a column of your own has a name that the store needs: %s', in_way),
            HINT = 'ALTER TABLE ... RENAME COLUMN comes first.';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.refuse_own_names(text) IS
'42P07 where beside a store of that version there is a relation with the name of one that it is to get, 42701 where it has such columns of a user''s. Called by upgrade_store(); superusers only.';

-- What each version has changed in tables that were there before it, oldest first; a new
-- table has its own function above, and its line in store_relations(). Run by a superuser
-- on tables of somebody else: so nothing here may make PostgreSQL evaluate what the owner has put
-- on them. Columns are added with constant defaults, indexes are created and dropped; no row is
-- written, no constraint is validated but that of a column just added, no view is read.
CREATE FUNCTION pointstore.upgrade_tables(from_version text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    version integer[] := string_to_array(from_version, '.')::integer[];
BEGIN
    IF version < ARRAY[1, 0] THEN
        ALTER TABLE pointstore.event_store ADD COLUMN metadata jsonb;
    END IF;
    IF to_regclass('pointstore.hold') IS NULL THEN
        PERFORM pointstore.create_holds();
    END IF;
    IF to_regclass('pointstore.reconciliation') IS NULL THEN
        PERFORM pointstore.create_reconciliation();
    END IF;
    IF version < ARRAY[1, 1] THEN
        ALTER TABLE pointstore.account_kind ADD COLUMN IF NOT EXISTS amount_required boolean NOT NULL DEFAULT false;
        CREATE INDEX IF NOT EXISTS reconciliation_scope_status_id_idx ON pointstore.reconciliation (scope, status, id);
        ALTER TABLE pointstore.finding ADD COLUMN IF NOT EXISTS acknowledged jsonb;
        CREATE INDEX IF NOT EXISTS finding_acknowledged_idx ON pointstore.finding (aggregate_id, code) WHERE acknowledged IS NOT NULL;
    END IF;
    IF version < ARRAY[1, 2] THEN
        PERFORM pointstore.drop_time_index();
    END IF;
    IF version < ARRAY[1, 3] THEN
        ALTER TABLE pointstore.event_store ADD COLUMN IF NOT EXISTS payload_version smallint;
        ALTER TABLE pointstore.account_kind ADD COLUMN IF NOT EXISTS reducer text,
            ADD COLUMN IF NOT EXISTS reducer_version integer,
            ADD COLUMN IF NOT EXISTS snapshot_every integer CHECK (snapshot_every > 0);
    END IF;
    IF version < ARRAY[1, 4] THEN
        ALTER TABLE pointstore.event_store ADD COLUMN IF NOT EXISTS state_after text;
        ALTER TABLE pointstore.balance ADD COLUMN IF NOT EXISTS state text;
        ALTER TABLE pointstore.account_kind ADD COLUMN IF NOT EXISTS initial_state text,
            ADD COLUMN IF NOT EXISTS transitions text NOT NULL DEFAULT 'open' CHECK (transitions IN ('open', 'strict')),
            ADD COLUMN IF NOT EXISTS commuting text[],
            ADD COLUMN IF NOT EXISTS merge text,
            ADD COLUMN IF NOT EXISTS lease_required boolean NOT NULL DEFAULT false;
    END IF;
    IF to_regclass('pointstore.transition') IS NULL THEN
        PERFORM pointstore.create_transitions();
    END IF;
    IF version < ARRAY[1, 4] THEN
        PERFORM pointstore.renew_account_view();  -- which reads it
    END IF;
    IF to_regclass('pointstore.lease') IS NULL THEN
        PERFORM pointstore.create_leases();
    END IF;
    IF to_regclass('pointstore.feed_block') IS NULL THEN
        PERFORM pointstore.create_feed(coalesce(pg_sequence_last_value('pointstore.event_store_id_seq'), 0) + 1);
    END IF;
    IF to_regclass('pointstore.subscription') IS NULL THEN
        PERFORM pointstore.create_subscriptions();
    END IF;
    IF to_regclass('pointstore.upcaster') IS NULL THEN
        PERFORM pointstore.create_upcasters();
    END IF;
    IF to_regclass('pointstore.snapshot') IS NULL THEN
        PERFORM pointstore.create_snapshots();
    END IF;
    IF to_regclass('pointstore.projection') IS NULL THEN
        PERFORM pointstore.create_projections();
    END IF;
    IF to_regclass('pointstore.replay_run') IS NULL THEN
        PERFORM pointstore.create_replays();
    END IF;
    IF version < ARRAY[1, 5] THEN
        ALTER TABLE pointstore.balance ADD COLUMN IF NOT EXISTS incoming bigint NOT NULL DEFAULT 0;
        ALTER TABLE pointstore.account_proof ADD COLUMN IF NOT EXISTS incoming bigint DEFAULT 0;
    END IF;
    IF to_regclass('pointstore.participant_step') IS NULL THEN
        PERFORM pointstore.create_participations();
    END IF;
    IF to_regclass('pointstore.movement') IS NULL THEN
        PERFORM pointstore.create_movements();
    END IF;
    IF to_regclass('pointstore.movement_server') IS NULL THEN
        PERFORM pointstore.create_servers();
    END IF;
    IF to_regclass('pointstore.participant_origin') IS NULL THEN
        PERFORM pointstore.create_origins();
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.upgrade_tables(text) IS
'Brings the tables of a store of that version to the installed one. Called by upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.upgrade_store()
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    installed text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pointstore');
    found     text;
    tables    integer;
    views     integer;
    triggers  integer;
    owner     regrole;
    granted   boolean;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers upgrade a store';
    END IF;
    IF to_regclass('pointstore.event_store') IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'the store is not created',
            HINT = 'SELECT pointstore.create_store();';
    END IF;
    owner := (SELECT c.relowner FROM pg_class c WHERE c.oid = 'pointstore.event_store'::regclass);
    found := coalesce(pointstore.found_version(), 'unknown');
    PERFORM pointstore.check_coordinator();
    IF pointstore.is_distributed() THEN
        -- as distribute_store() has made them
        SET LOCAL citus.enable_unsafe_triggers = on;
        SET LOCAL citus.multi_shard_modify_mode = 'sequential';
    END IF;
    IF found NOT IN ('0.9', '1.0', '1.1', '1.2', '1.3', '1.4', installed, 'unknown') THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('store of version %s cannot be brought to version %s', found, installed);
    END IF;

    SELECT count(*) FILTER (WHERE r.kind = 'r'), count(*) FILTER (WHERE r.kind = 'v') INTO tables, views
      FROM pointstore.store_relations() r WHERE to_regclass('pointstore.' || r.name) IS NULL;
    IF found <> 'unknown' THEN
        PERFORM pointstore.refuse_own_names(found);
    END IF;
    IF tables > 0 OR found <> installed THEN
        -- of an unknown one: steps that were done do nothing
        PERFORM pointstore.upgrade_tables(CASE WHEN found = 'unknown' THEN '1.0' ELSE found END);
        PERFORM pointstore.comment_on_store();
    END IF;
    IF tables > 0 OR views > 0 OR found <> installed THEN
        PERFORM pointstore.create_store_views();
    END IF;
    triggers := pointstore.create_store_triggers();
    PERFORM pointstore.give_store(owner);
    granted := has_function_privilege(owner, 'pointstore.guard_event_store()', 'EXECUTE');
    IF NOT granted OR tables > 0 OR views > 0 OR found <> installed THEN
        PERFORM pointstore.grant_owner(owner);
    END IF;
    IF NOT pointstore.is_distributed() THEN
        PERFORM pointstore.check_sequence();
    ELSIF found <> installed THEN
        PERFORM pointstore.create_shard_map();
        PERFORM pointstore.delegate_functions();
    END IF;
    PERFORM pointstore.check_store();
    PERFORM pointstore.wake_workers();

    IF found = installed AND tables = 0 AND views = 0 AND triggers = 0 AND granted THEN
        RETURN 'current';
    END IF;
    IF triggers > 0 AND tables = 0 AND found IN (installed, 'unknown') THEN
        RAISE NOTICE '% triggers were missing: what was written without them has not been checked', triggers
            USING HINT = 'CALL pointstore.reconcile(''full'');';
    END IF;
    RETURN format('version %s, was %s; %s tables, %s views and %s triggers restored', installed, found, tables, views, triggers);
END
$$;
COMMENT ON FUNCTION pointstore.upgrade_store() IS
'Brings the store to the version of the installed extension and restores missing triggers and views; returns current when there was nothing to do. Of a store before 1.2 it drops the index on event_store (aggregate_id, created_at, version), whatever it is called, which nothing of the store''s goes by any more. To be called after ALTER EXTENSION pointstore UPDATE, and followed by grant_access() for each role; where triggers were lost also by reconcile(''full''), which a NOTICE says. Runs nothing that the store''s owner has put on it but as that owner. Superusers only (42501); 55000 where there is no store, one of an unknown version, one that lacks a column or an index, or one whose sequence has been altered; 42P07, 42701: what is there already has the name of a relation or a column that the store is to get; 2BP01: a view, a trigger or a rule of a user''s is in the way of the new view of accounts.';

CREATE FUNCTION pointstore.grant_access(role regrole, level text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL OR level IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'role and level must not be null';
    END IF;
    IF level NOT IN ('reader', 'writer', 'operator', 'participant') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('unknown level "%s"', level),
            HINT = 'The levels are reader, writer, operator and participant.';
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers grant access to a store';
    END IF;
    IF to_regclass('pointstore.event_store') IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'the store is not created',
            HINT = 'SELECT pointstore.create_store();';
    END IF;

    PERFORM pointstore.check_coordinator();

    EXECUTE format('GRANT USAGE ON SCHEMA pointstore TO %s', role);
    IF level = 'participant' THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION pointstore.participate(jsonb) TO %s', role);
        IF pointstore.is_distributed() THEN
            PERFORM pointstore.grant_on_nodes(role);
        END IF;
        RETURN;
    END IF;
    EXECUTE (SELECT format('GRANT SELECT ON %s TO %s', string_agg(format('pointstore.%I', r.name), ', '), role)
               FROM pointstore.store_relations() r WHERE r.kind <> 'S');
    EXECUTE format('GRANT EXECUTE ON FUNCTION pointstore.get_balance(text), pointstore.balance_at(text, timestamptz),
        pointstore.balance_as_of(text, bigint), pointstore.statement(text, timestamptz, timestamptz), pointstore.check_transitions(text), pointstore.reconcile_account(text), pointstore.progress(), pointstore.worker_alive(),
        pointstore.feed_head(), pointstore.feed_head(bigint), pointstore.read_feed(bigint, integer, text[], text, boolean, bigint),
        pointstore.position_of(bigint), pointstore.position_of(bigint, bigint), pointstore.feed_incarnation(), pointstore.feed_incarnation(bigint),
        pointstore.feed_head_part(text), pointstore.read_feed_part(bigint, integer, text[], text, boolean, text), pointstore.position_of_part(bigint, text), pointstore.feed_incarnation_part(text), pointstore.feed_check_part(text),
        pointstore.load_events(text, bigint, integer, boolean), pointstore.aggregate_state(text, bigint),
        pointstore.sequence_feed(), pointstore.sequencer_alive(), pointstore.feed_check(), pointstore.feed_check(bigint), pointstore.feed_state(), pointstore.feed_states(), pointstore.feed_states_part(text),
        pointstore.create_subscription(text, bigint, smallint, text[], text, interval, integer, text),
        pointstore.drop_subscription(text), pointstore.pause_subscription(text), pointstore.resume_subscription(text),
        pointstore.alter_subscription(text, text[], text, interval, integer, text, smallint, integer, integer),
        pointstore.move_subscription(text, bigint), pointstore.claim(text, text, integer, interval),
        pointstore.ack(text, smallint, bigint, bigint), pointstore.nack(text, smallint, bigint, bigint, text, text, interval),
        pointstore.renew(text, smallint, bigint), pointstore.release(text, smallint, bigint, interval),
        pointstore.replay_parked(text, text), pointstore.skip_parked(text, text, bigint, text), pointstore.subscription_lag(text),
        pointstore.subscription_slots(), pointstore.subscription_slots_part(text), pointstore.subscription_waiting(), pointstore.subscription_waiting_part(text),
        pointstore.subscription_heritage(text, integer, integer, text), pointstore.take_subscription_part(text, jsonb, int8multirange, text),
        pointstore.create_subscription_part(text, bigint, smallint, text[], text, interval, integer, text, text),
        pointstore.drop_subscription_part(text, text), pointstore.pause_subscription_part(text, text), pointstore.resume_subscription_part(text, text),
        pointstore.alter_subscription_part(text, text[], text, interval, integer, text, smallint, integer, integer, text),
        pointstore.move_subscription_part(text, bigint, text), pointstore.replay_parked_part(text, text, text), pointstore.skip_parked_part(text, text, bigint, text, text),
        pointstore.trace(text), pointstore.coordinator_alive(), pointstore.node_of(text),
        pointstore.stat(), pointstore.stat_rules() TO %s', role);
    EXECUTE format('GRANT EXECUTE ON PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint, bigint), pointstore.wait_for_work(text, interval, boolean) TO %s', role);
    IF level IN ('writer', 'operator') THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION
            pointstore.append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.try_append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.append_events(jsonb, text, boolean),
            pointstore.append_part(text, jsonb), pointstore.lock_part(text, text[]),
            pointstore.try_append_events(jsonb, text, boolean),
            pointstore.submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.try_submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.try_submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.hold(text, bigint, text, interval, jsonb, bigint),
            pointstore.try_hold(text, bigint, text, interval, jsonb, bigint),
            pointstore.confirm_hold(text, bigint, text, text, jsonb, jsonb),
            pointstore.try_confirm_hold(text, bigint, text, text, jsonb, jsonb),
            pointstore.cancel_hold(text, text),
            pointstore.try_cancel_hold(text, text),
            pointstore.transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.try_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.reverse_event(text, bigint, bigint, text, boolean),
            pointstore.try_reverse_event(text, bigint, bigint, text, boolean),
            pointstore.reverse_part(text, jsonb), pointstore.legs_part(text, bigint),
            pointstore.open_account(text, text),
            pointstore.acquire_lease(text, text, interval), pointstore.renew_lease(text, bigint, interval),
            pointstore.release_lease(text, bigint), pointstore.check_lease(text, bigint),
            pointstore.take_snapshot(text),
            pointstore.start_movement(text, jsonb, text, interval, jsonb), pointstore.move(text, text, bigint, text, text, text, jsonb, interval, jsonb),
            pointstore.wait_for_movement(text, interval), pointstore.cancel_movement(text, text),
            pointstore.check_version() TO %s', role);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE pointstore.wait_for_lease(text, text, interval, interval, bigint, timestamptz) TO %s', role);
    END IF;
    IF level = 'operator' THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION
            pointstore.close_account(text, text),
            pointstore.freeze_account(text, text),
            pointstore.unfreeze_account(text, text),
            pointstore.set_kind(text, text, text, text),
            pointstore.rebuild_balance(text, boolean),
            pointstore.repair(bigint, text),
            pointstore.acknowledge(bigint, text),
            pointstore.drop_snapshots(text, text),
            pointstore.steal_lease(text, text, interval),
            pointstore.reconcile_now(text),
            pointstore.create_projection(text, regprocedure, bigint, text[], text, smallint, integer, text),
            pointstore.drop_projection(text), pointstore.rebuild_projection(text, regprocedure),
            pointstore.resolve_movement(text, text, text), pointstore.resolve_step(uuid, text, integer, text, text), pointstore.reconcile_movements(text),
            pointstore.take_steps(text, jsonb), pointstore.ask_movement(text, jsonb),
            pointstore.pg_stat_pointstore_reset() TO %s', role);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE pointstore.rebuild_balances(), pointstore.sweep_holds(), pointstore.verify_replay(text, regprocedure, double precision, bigint), pointstore.reconcile(text, bigint), pointstore.run_projection(text), pointstore.drive_movements() TO %s', role);
    END IF;
    IF pointstore.is_distributed() THEN
        PERFORM pointstore.grant_on_nodes(role);
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.grant_access(regrole, text) IS
'Gives a role access: reader (sees tables and views, reads balances and statements, examines an account), writer (also appends, submits, holds, transfers, reverses, but not into debt, acquires leases, starts and cancels movements, and opens accounts of kinds that an append would open, by functions alone, and may put check_version on its tables), operator (also opens accounts of every kind, reverses into debt, steals leases, closes, freezes, unfreezes, sets kinds, rebuilds, sweeps, reconciles, repairs, acknowledges findings, creates, runs, rebuilds and drops projections, starts sagas, drives, resolves and reconciles movements, and resets the statistics) or participant (for the coordinator of one other store: participate() and nothing else). PUBLIC gets nothing by itself. To be called again after an upgrade. Superusers only (42501); 22023 for an unknown level, 22004 for a null.';

-- Of the extension's routines those that are new: on the others the script that brought them
-- has done this, which PostgreSQL remembers. They keep their GRANTs, which a REVOKE in an
-- update would hide from pg_dump; and what a user keeps in the schema is no member.
DO LANGUAGE plpgsql $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT d.objid FROM pg_catalog.pg_depend d
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.refobjid OPERATOR(pg_catalog.=) (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'pointstore')
           AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND d.deptype OPERATOR(pg_catalog.=) 'e'
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i
                            WHERE i.classoid OPERATOR(pg_catalog.=) d.classid AND i.objoid OPERATOR(pg_catalog.=) d.objid)
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
    END LOOP;
END
$$;

-- once more, now that all names of ours are there
SELECT pointstore.check_schema();
