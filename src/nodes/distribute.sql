-- src/nodes/distribute.sql
-- A store on many nodes: distributed by Citus.

-- What is distributed, by which column, and after what it is placed; without a column every node has it all.
CREATE FUNCTION pointstore.distributed_tables(OUT tab text, OUT by_column text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    VALUES ('account_kind', NULL), ('transition', NULL), ('upcaster', NULL), ('feed_start', NULL),
           ('event_store', 'aggregate_id'), ('balance', 'aggregate_id'), ('pure_account', 'aggregate_id'),
           ('hold', 'aggregate_id'), ('account_log', 'aggregate_id'), ('account_proof', 'aggregate_id'),
           ('snapshot', 'aggregate_id'), ('participant_step', 'aggregate_id'), ('finding', 'aggregate_id'),
           ('reconciliation', 'place'), ('reconciliation_checkpoint', 'place'), ('feed_block', 'place'), ('subscription', 'place'), ('subscription_slot', 'place'), ('subscription_log', 'place'),
           ('subscription_account', 'aggregate_id'), ('lease', 'name'),
           ('movement', 'movement_id'), ('movement_step', 'movement_id'), ('movement_log', 'movement_id'),
           ('movement_store', NULL), ('movement_server', NULL), ('participant_origin', NULL)
$$;
COMMENT ON FUNCTION pointstore.distributed_tables() IS
'The tables of a store that distribute_store() distributes, and by which column; null: every node has all of it.';

-- Of a store of whatever version.
CREATE FUNCTION pointstore.is_distributed()
RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL THEN
        RETURN false;
    END IF;
    RETURN EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = to_regclass('pointstore.event_store'));
END
$$;
COMMENT ON FUNCTION pointstore.is_distributed() IS
'Whether the store of this database is distributed by Citus. Called by distribute_store() and upgrade_store(); superusers only.';

-- What is done to all of a distributed store is done from the coordinator of Citus.
CREATE FUNCTION pointstore.check_coordinator()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pointstore.is_distributed() THEN
        IF (SELECT l.groupid FROM pg_dist_local_group l) <> 0 THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE = 'this is not the coordinator of the distributed store',
                HINT = 'SELECT nodename, nodeport FROM pg_dist_node WHERE groupid = 0;';
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.check_coordinator() IS
'55000 on a node of a distributed store that is not its coordinator. Called by upgrade_store() and grant_access(); superusers only.';

-- What distribute_store() needs.
CREATE FUNCTION pointstore.check_distributable(shard_count integer)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    citus text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'citus');
BEGIN
    IF shard_count IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'shard_count must not be null';
    END IF;
    IF shard_count NOT BETWEEN 1 AND 32000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('shard_count must be from 1 to 32000, is %s', shard_count);
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers distribute a store';
    END IF;
    PERFORM pointstore.check_store();
    IF citus IS NULL OR split_part(citus, '.', 1) NOT IN ('12', '13') THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = CASE WHEN citus IS NULL THEN 'Citus is not installed in this database' ELSE format('Citus is of version %s', citus) END,
                  HINT = 'A store is distributed by Citus 12 or 13: CREATE EXTENSION citus, and citus_add_node() for each node.';
    END IF;
    IF current_setting('shared_preload_libraries') !~ '\mpointstore\M' THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'pointstore is not preloaded', HINT = 'On every node: shared_preload_libraries = ''citus, pointstore''.';
    END IF;
    IF (SELECT l.groupid FROM pg_dist_local_group l) <> 0 THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'a store is distributed from the coordinator of Citus';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.check_distributable(integer) IS
'Raises what is missing for the distribution of a store. Called by distribute_store(); superusers only.';

-- To be called with the tables locked. Rows are copied into shards as the caller, a superuser, and what is checked of them would run so.
CREATE FUNCTION pointstore.check_distributable_tables()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    in_way text;
BEGIN
    SELECT string_agg(what, ', ') INTO in_way
      FROM (SELECT format('subscription %s', s.name) AS what FROM pointstore.subscription s
            UNION ALL SELECT format('projection %s', p.name) FROM pointstore.projection p
            UNION ALL SELECT format('movement %s', m.movement_id) FROM pointstore.movement m WHERE m.finished_at IS NULL
            UNION ALL SELECT format('step %s of movement %s', s.step, s.movement_id) FROM pointstore.participant_step s
                       WHERE s.status IN ('tried', 'done')
                          -- cancelled before it was tried, where a try may come late: it names no account, by which that would find it in a shard
                          OR (s.aggregate_id IS NULL AND s.origin NOT IN (SELECT m.store FROM pointstore.movement_store m)
                              AND NOT EXISTS (SELECT FROM pointstore.participant_origin o WHERE o.origin = s.origin
                                                 AND (o.finished_incarnation, o.finished_below) > (s.incarnation, s.number)))
            UNION ALL SELECT format('default of column %s of %s, which is drawn from a sequence', a.attname, d.adrelid::regclass)
                        FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                        JOIN pointstore.distributed_tables() t ON d.adrelid = ('pointstore.' || t.tab)::regclass
                       WHERE pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%'
            UNION ALL SELECT format('trigger %s of %s, which is not in its usual state', g.tgname, g.tgrelid::regclass)
                        FROM pg_trigger g JOIN pointstore.distributed_tables() t ON g.tgrelid = ('pointstore.' || t.tab)::regclass
                       WHERE NOT g.tgisinternal AND g.tgenabled <> 'O') w;
    IF in_way IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('the store has what is not distributed yet: %s', left(in_way, 500));
    END IF;
    SELECT string_agg(what, ', ') INTO in_way
      FROM (SELECT format('constraint %s of %s', c.conname, c.conrelid::regclass) AS what, c.conrelid AS tab
              FROM pg_constraint c WHERE c.contype = 'c' AND c.conrelid NOT IN ('pointstore.reconciliation'::regclass, 'pointstore.reconciliation_checkpoint'::regclass,
                       'pointstore.subscription'::regclass, 'pointstore.subscription_account'::regclass)
            UNION ALL
            SELECT format('column %s of %s', a.attname, a.attrelid::regclass), a.attrelid
              FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
             WHERE a.attnum > 0 AND NOT a.attisdropped AND (a.attgenerated <> '' OR (y.oid >= 16384 AND y.typtype <> 'e'))
            UNION ALL
            SELECT format('index %s', i.indexrelid::regclass), i.indrelid
              FROM pg_index i
             WHERE i.indexprs IS NOT NULL
                OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid >= 16384
                              AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass))) w
      JOIN pointstore.distributed_tables() t ON w.tab = ('pointstore.' || t.tab)::regclass AND t.by_column IS NOT NULL;
    IF in_way IS NOT NULL AND NOT (SELECT r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = 'pointstore.event_store'::regclass) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('the tables have what runs for rows that are copied: %s', left(in_way, 500)),
            HINT = 'Drop it, and add it again when the store is distributed.';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.check_distributable_tables() IS
'Raises what a store has that stands against its distribution. Called by distribute_store(); superusers only.';

-- Unique keys have the account in them, and ids are drawn by each node.
CREATE FUNCTION pointstore.alter_keys_for_nodes()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lost record;
BEGIN
    FOR lost IN
        SELECT c.conrelid::regclass AS tab, c.conname
          FROM pg_constraint c
         WHERE (c.contype IN ('p', 'u')
           AND (c.conrelid, (SELECT array_agg(a.attname ORDER BY k.place)::text[]
                               FROM unnest(c.conkey) WITH ORDINALITY k (attnum, place)
                               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum))
               IN (('pointstore.event_store'::regclass, ARRAY['request_id', 'leg']), ('pointstore.event_store'::regclass, ARRAY['id']),
                   ('pointstore.hold'::regclass, ARRAY['hold_id']), ('pointstore.participant_step'::regclass, ARRAY['origin', 'movement_id', 'step']), ('pointstore.account_log'::regclass, ARRAY['id']),
                   ('pointstore.finding'::regclass, ARRAY['id']), ('pointstore.movement'::regclass, ARRAY['number']), ('pointstore.movement_log'::regclass, ARRAY['id'])))
            OR c.conrelid IN ('pointstore.reconciliation'::regclass, 'pointstore.reconciliation_checkpoint'::regclass, 'pointstore.feed_block'::regclass, 'pointstore.movement_store'::regclass)
            OR c.contype = 'p' AND c.conrelid IN ('pointstore.subscription'::regclass, 'pointstore.subscription_slot'::regclass, 'pointstore.subscription_log'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', lost.tab, lost.conname);
    END LOOP;
    ALTER TABLE pointstore.event_store ADD CONSTRAINT event_store_request_key UNIQUE (aggregate_id, request_id, leg);
    CREATE INDEX event_store_id_idx ON pointstore.event_store (id);
    ALTER TABLE pointstore.participant_step ADD CONSTRAINT participant_step_key UNIQUE (origin, movement_id, step, aggregate_id);
    -- Citus moves by logical replication what has one
    ALTER TABLE pointstore.participant_step REPLICA IDENTITY FULL;
    DROP INDEX IF EXISTS pointstore.account_log_aggregate_id_id_idx;
    ALTER TABLE pointstore.account_log ADD CONSTRAINT account_log_pkey PRIMARY KEY (aggregate_id, id);
    CREATE INDEX account_log_id_idx ON pointstore.account_log (id);
    -- from the sequence of events, which each node draws from in steps of its own
    ALTER TABLE pointstore.account_log ALTER COLUMN id DROP IDENTITY IF EXISTS,
        ALTER COLUMN id SET DEFAULT nextval('pointstore.event_store_id_seq');
    ALTER TABLE pointstore.finding ALTER COLUMN id DROP IDENTITY IF EXISTS, ADD CONSTRAINT finding_pkey PRIMARY KEY (aggregate_id, id);
    CREATE INDEX finding_id_idx ON pointstore.finding (id);
    -- each shard is gone through by itself, and keeps that: place is a name that hashes into it
    ALTER TABLE pointstore.reconciliation ALTER COLUMN id DROP IDENTITY IF EXISTS, ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE pointstore.reconciliation ADD CONSTRAINT reconciliation_pkey PRIMARY KEY (place, id);
    ALTER TABLE pointstore.reconciliation_checkpoint ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE pointstore.reconciliation_checkpoint ADD CONSTRAINT reconciliation_checkpoint_pkey PRIMARY KEY (place, single);
    -- so has each a feed: place is a name that hashes into it, and tells it from those that it is split into
    ALTER TABLE pointstore.feed_block ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '', ADD COLUMN incarnation text, ADD COLUMN server text;
    ALTER TABLE pointstore.feed_block ADD CONSTRAINT feed_block_pkey PRIMARY KEY (place, first_position);
    -- and a subscription: its definition, and its one slot
    ALTER TABLE pointstore.subscription ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '', ADD COLUMN passed int8multirange, ADD COLUMN passed_upto bigint;
    ALTER TABLE pointstore.subscription ADD CONSTRAINT subscription_pkey PRIMARY KEY (place, name);
    CREATE INDEX subscription_name_idx ON pointstore.subscription (name);
    ALTER TABLE pointstore.subscription_slot ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE pointstore.subscription_slot ADD CONSTRAINT subscription_slot_pkey PRIMARY KEY (place, subscription, slot);
    ALTER TABLE pointstore.subscription_log ALTER COLUMN id DROP IDENTITY IF EXISTS, ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE pointstore.subscription_log ADD CONSTRAINT subscription_log_pkey PRIMARY KEY (place, id);
    CREATE INDEX subscription_log_id_idx ON pointstore.subscription_log (id);
    COMMENT ON COLUMN pointstore.subscription.place IS 'the shard whose it is, as in feed_block';
    COMMENT ON COLUMN pointstore.subscription.passed IS 'ids of events that were delivered before the shard was split from another, as far as they come after some that were not';
    COMMENT ON COLUMN pointstore.subscription.passed_upto IS 'position of the last of them';
    COMMENT ON COLUMN pointstore.subscription_slot.place IS 'the shard whose it is, as in feed_block; slot is 0';
    COMMENT ON COLUMN pointstore.subscription_log.place IS 'the shard that it is about, as in feed_block; empty: before the store was distributed';
    COMMENT ON COLUMN pointstore.feed_block.place IS 'the shard whose feed it is of: its hashes, and what makes this a name that hashes into it';
    COMMENT ON COLUMN pointstore.feed_block.incarnation IS 'system identifier and timeline by which feed_incarnation() tells the feed';
    COMMENT ON COLUMN pointstore.feed_block.server IS 'the same of the server that wrote it last, to which the shard may have moved';
    COMMENT ON COLUMN pointstore.reconciliation.place IS 'a name that hashes into the shard that was gone through; empty: before the store was distributed';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.place IS 'a name that hashes into the shard that it is about';
    ALTER TABLE pointstore.movement ALTER COLUMN number DROP IDENTITY IF EXISTS;
    CREATE INDEX movement_number_idx ON pointstore.movement (number);
    ALTER TABLE pointstore.movement_log ALTER COLUMN id DROP IDENTITY IF EXISTS, ADD CONSTRAINT movement_log_pkey PRIMARY KEY (movement_id, id);
    CREATE INDEX movement_log_id_idx ON pointstore.movement_log (id);
    DROP INDEX IF EXISTS pointstore.movement_log_movement_id_id_idx;
    -- one store to others, and where each of its nodes was last found
    ALTER TABLE pointstore.movement_store ADD COLUMN node integer NOT NULL DEFAULT 0;
    ALTER TABLE pointstore.movement_store ADD CONSTRAINT movement_store_pkey PRIMARY KEY (node);
    COMMENT ON TABLE pointstore.movement_store IS 'Who this store is to others: a row for each node that movements are driven on, whose incarnation is the highest of all';
    COMMENT ON COLUMN pointstore.movement_store.node IS 'group id of the node';
    DELETE FROM pointstore.participant_step s WHERE s.aggregate_id IS NULL;
    ALTER SEQUENCE pointstore.event_store_id_seq OWNED BY NONE;
END
$$;
COMMENT ON FUNCTION pointstore.alter_keys_for_nodes() IS
'Gives the tables of a store the keys that they have on many nodes. Called by distribute_store(); superusers only.';

-- Triggers fire for no row that is only put into its shard.
CREATE FUNCTION pointstore.distribute_tables(shard_count integer)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part     record;
    trigger  record;
    triggers text[] := '{}';
BEGIN
    FOR trigger IN
        SELECT g.tgname, g.tgrelid::regclass AS tab, pg_get_triggerdef(g.oid) AS definition
          FROM pg_trigger g JOIN pointstore.distributed_tables() t ON g.tgrelid = ('pointstore.' || t.tab)::regclass
         WHERE NOT g.tgisinternal
    LOOP
        triggers := triggers || trigger.definition;
        EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.tab);
    END LOOP;
    -- what will be in shards has been gone through in none; no rule of the owner's fires for this
    TRUNCATE pointstore.reconciliation_checkpoint, pointstore.feed_block, pointstore.subscription_slot, pointstore.subscription_account;
    FOR part IN SELECT t.tab, t.by_column FROM pointstore.distributed_tables() t LOOP
        IF part.by_column IS NULL THEN
            PERFORM create_reference_table(('pointstore.' || part.tab)::regclass);
        ELSIF part.tab = 'event_store' THEN
            PERFORM create_distributed_table('pointstore.event_store'::regclass, part.by_column, shard_count => distribute_tables.shard_count, colocate_with => 'none');
        ELSE
            PERFORM create_distributed_table(('pointstore.' || part.tab)::regclass, part.by_column, colocate_with => 'pointstore.event_store');
        END IF;
        -- what is in its shards by now
        PERFORM truncate_local_data_after_distributing_table(('pointstore.' || part.tab)::regclass);
        RAISE NOTICE 'table % is distributed', part.tab;
    END LOOP;
    FOR trigger IN SELECT u.definition FROM unnest(triggers) u (definition) LOOP
        EXECUTE trigger.definition;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.distribute_tables(integer) IS
'Distributes the tables of a store, their triggers put back afterwards. Called by distribute_store(); superusers only.';

-- A call goes to the node that has its account: by the argument aggregate_id, or the name of a lease, or of a movement.
CREATE FUNCTION pointstore.delegate_functions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    delegated record;
BEGIN
    FOR delegated IN
        SELECT p.oid::regprocedure AS function, a.name
          FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid AND p.prokind = 'f'
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pointstore'
         CROSS JOIN LATERAL (SELECT n.name FROM unnest(p.proargnames[:p.pronargs]) n (name)
                              WHERE n.name = 'aggregate_id' OR (n.name = 'name' AND p.proname LIKE '%\_lease')
                                 OR (n.name = 'movement_id' AND p.proname = 'ask_movement')) a
         WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND p.proname NOT IN ('node_of', 'replay_parked', 'skip_parked', 'drop_snapshots', 'reverse_event', 'try_reverse_event')
    LOOP
        PERFORM create_distributed_function(delegated.function, delegated.name, colocate_with => 'pointstore.event_store', force_delegation => true);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.delegate_functions() IS
'Has Citus delegate the functions of one account to the node that has it. Called by distribute_store() and upgrade_store(); superusers only.';

-- Citus carries what is granted on the functions that it delegates to every node, and of an extension's on no others.
CREATE FUNCTION pointstore.grant_on_nodes(role regrole)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    routines text;
    failed   text;
BEGIN
    SELECT string_agg(p.oid::regprocedure::text, ', ') INTO routines
      FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pointstore'
     WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
       AND EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = role)
       AND NOT EXISTS (SELECT FROM pg_dist_object o WHERE o.classid = 'pg_proc'::regclass AND o.objid = p.oid);
    IF routines IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(format('%s:%s: %s', r.nodename, r.nodeport, r.result), '; ') INTO failed
      FROM run_command_on_workers(format('GRANT EXECUTE ON ROUTINE %s TO %s', routines, role)) r WHERE NOT r.success;
    IF failed IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('access was not granted on every node: %s', failed),
            HINT = 'A role is created in a transaction before. Call grant_access() again when the node is there.';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.grant_on_nodes(regrole) IS
'Grants a role on the other nodes what it has been granted here. Called by grant_access(); superusers only.';

CREATE FUNCTION pointstore.create_shard_map()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.shard_map AS
    SELECT s.shardminvalue::integer AS min_hash, s.shardmaxvalue::integer AS max_hash, s.shardid AS shard,
           p.groupid AS node, n.nodename AS host, n.nodeport AS port
      FROM pg_dist_shard s
      JOIN pg_dist_placement p ON p.shardid = s.shardid
      JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
     WHERE s.logicalrelid = 'pointstore.event_store'::regclass;
    COMMENT ON VIEW pointstore.shard_map IS
    'Which node has which accounts: those whose hashtext() is from min_hash to max_hash. For clients that go to the node themselves, and look again after a PS013';
    COMMENT ON COLUMN pointstore.shard_map.min_hash IS 'lowest hash of the shard, by hashtext()';
    COMMENT ON COLUMN pointstore.shard_map.max_hash IS 'highest hash of the shard';
    COMMENT ON COLUMN pointstore.shard_map.shard IS 'number of the shard of event_store, in Citus';
    COMMENT ON COLUMN pointstore.shard_map.node IS 'group id of the node that has it';
    COMMENT ON COLUMN pointstore.shard_map.host IS 'its host, as Citus knows it';
    COMMENT ON COLUMN pointstore.shard_map.port IS 'its port';
    GRANT SELECT ON pointstore.shard_map TO PUBLIC;
END
$$;
COMMENT ON FUNCTION pointstore.create_shard_map() IS
'Makes or remakes the view of shards. Called by distribute_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.distribute_store(shard_count integer = 64)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pointstore.check_distributable(shard_count);
    IF pointstore.is_distributed() THEN
        RAISE NOTICE 'the store is distributed already, nothing was changed';
        RETURN 'exists';
    END IF;
    -- triggers of a distributed table are made by nothing but this, of tables whose accounts are in one shard each
    SET LOCAL citus.enable_unsafe_triggers = on;
    SET LOCAL citus.multi_shard_modify_mode = 'sequential';
    SET LOCAL citus.shard_replication_factor = 1;
    -- in the order in which appends lock them
    LOCK TABLE pointstore.event_store, pointstore.balance, pointstore.pure_account, pointstore.hold, pointstore.account_log, pointstore.account_proof,
        pointstore.snapshot, pointstore.participant_step, pointstore.finding, pointstore.reconciliation, pointstore.reconciliation_checkpoint, pointstore.feed_block, pointstore.feed_start, pointstore.lease, pointstore.account_kind, pointstore.transition, pointstore.upcaster,
        pointstore.subscription, pointstore.subscription_slot, pointstore.subscription_account, pointstore.subscription_log, pointstore.projection, pointstore.movement, pointstore.movement_step, pointstore.movement_log,
        pointstore.movement_store, pointstore.movement_server, pointstore.participant_origin IN ACCESS EXCLUSIVE MODE;
    PERFORM pointstore.check_distributable_tables();
    PERFORM pointstore.alter_keys_for_nodes();
    PERFORM pointstore.distribute_tables(shard_count);
    PERFORM pointstore.create_account_view();
    PERFORM pointstore.create_shard_map();
    PERFORM pointstore.create_feed_view();
    PERFORM pointstore.create_reconciliation_views();
    PERFORM pointstore.create_movement_views();
    PERFORM pointstore.create_subscription_views();
    PERFORM pointstore.create_projection_view();
    PERFORM pointstore.delegate_functions();
    PERFORM pointstore.wake_workers();
    RAISE NOTICE 'what roles may do on the other nodes grant_access() grants, to be called again for each, the owner''s among them (operator)';
    RAISE WARNING 'a distributed store is a preview: its projections are not there'
        USING HINT = 'doc/operations.md, Many nodes, says what is there.';
    RETURN 'distributed';
END
$$;
COMMENT ON FUNCTION pointstore.distribute_store(integer) IS
'Distributes the store of this database over the nodes of Citus 12 or 13, and returns distributed: its tables in shards by aggregate_id, the rules of kinds on every node, calls about one account delegated to the node that has it. Called on the coordinator, in one transaction; whoever uses the store waits until it commits. What the store holds is copied into its shards. shard_count: into how many ranges of hashes, 1 to 32000; a range is what moves from node to node. Where the store is distributed already: a NOTICE, exists, and nothing changes. Followed by grant_access() for each role. Superusers only (42501); 22004: null; 22023: shard_count out of its range; 55000: no store, no Citus of these versions, the library is not preloaded, this is not the coordinator, or the store has what is not distributed yet (subscriptions, projections, open movements, triggers that are disabled) or, owned by no superuser, what would run for rows that are copied (CHECKs, generated columns, users'' types but enums, indexes with expressions or users'' functions), which the message names. Nothing undoes it but a dump.';

CREATE FUNCTION pointstore.node_of(aggregate_id text, OUT node integer, OUT host text, OUT port integer, OUT shard bigint)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regclass('pointstore.shard_map') IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'the store is not distributed';
    END IF;
    SELECT m.node, m.host, m.port, m.shard INTO node, host, port, shard
      FROM pointstore.shard_map m WHERE hashtext(aggregate_id COLLATE "C") BETWEEN m.min_hash AND m.max_hash;
END
$$;
COMMENT ON FUNCTION pointstore.node_of(text) IS
'Which node has an account, whether the account is there or not: its group id, host and port, as Citus knows them, and the number of its shard of event_store. For clients that go to the node themselves; where the account has moved since, the node answers PS013. Null of null. 55000: the store is not distributed.';
