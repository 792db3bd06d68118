-- src/ground/pointstore.sql
-- What a store consists of, and the schema that it stands in: the first part of the install script.

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pointstore" to load this file. \quit

-- What a store consists of. Owners, grants, what is missing and what is in the way
-- are all told by this list. kind as in pg_class: r table, S sequence, v view; since:
-- the version that brought it, 0.9 for what there has always been.
CREATE FUNCTION pointstore.store_relations(OUT name text, OUT kind "char", OUT since text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    VALUES
    ('account_kind',              'r'::"char", '0.9'),
    ('balance',                   'r', '0.9'),
    ('pure_account',              'r', '0.9'),
    ('event_store',               'r', '0.9'),
    ('event_store_id_seq',        'S', '0.9'),
    ('account_log',               'r', '0.9'),
    ('hold',                      'r', '1.0'),
    ('reconciliation',            'r', '1.0'),
    ('finding',                   'r', '1.0'),
    ('account_proof',             'r', '1.0'),
    ('reconciliation_checkpoint', 'r', '1.0'),
    ('feed_block',                'r', '1.3'),
    ('feed_start',                'r', '1.3'),
    ('subscription',              'r', '1.3'),
    ('subscription_slot',         'r', '1.3'),
    ('subscription_account',      'r', '1.3'),
    ('subscription_log',          'r', '1.3'),
    ('upcaster',                  'r', '1.3'),
    ('snapshot',                  'r', '1.3'),
    ('snapshot_progress',         'r', '1.3'),
    ('projection',                'r', '1.3'),
    ('replay_run',                'r', '1.3'),
    ('replay_slice',              'r', '1.3'),
    ('replay_difference',         'r', '1.3'),
    ('transition',                'r', '1.4'),
    ('lease',                     'r', '1.4'),
    ('participant_step',          'r', '1.5'),
    ('movement',                  'r', '1.5'),
    ('movement_step',             'r', '1.5'),
    ('movement_log',              'r', '1.5'),
    ('movement_store',            'r', '1.5'),
    ('movement_server',           'r', '1.5'),
    ('participant_origin',        'r', '1.5'),
    ('store_version',             'v', '0.9'),
    ('account',                   'v', '0.9'),
    ('reconciliation_run',        'v', '1.0'),
    ('reconciliation_status',     'v', '1.0'),
    ('reconcile_progress',        'v', '1.0'),
    ('pg_stat_pointstore',        'v', '1.0'),
    ('feed_status',               'v', '1.3'),
    ('subscription_retry',        'v', '1.3'),
    ('subscription_status',       'v', '1.3'),
    ('projection_status',         'v', '1.3'),
    ('in_transit',                'v', '1.5'),
    ('movement_status',           'v', '1.5'),
    ('prepared_step',             'v', '1.5')
$$;
COMMENT ON FUNCTION pointstore.store_relations() IS
'The tables, the sequence and the views of a store, as the installed version wants them: name, kind (r, S or v as in pg_class) and the version that brought it.';

CREATE FUNCTION pointstore.store_owner()
RETURNS regrole LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(c.oid IS NOT NULL OR r.since <> '0.9') AND count(DISTINCT c.relowner) = 1 THEN min(c.relowner) END
      FROM pointstore.store_relations() r
      LEFT JOIN pg_class c ON c.relname = r.name AND c.relkind = r.kind AND c.relnamespace = 'pointstore'::regnamespace
     WHERE r.kind <> 'v'
$$;
COMMENT ON FUNCTION pointstore.store_owner() IS
'The role that owns the store''s tables; null where the ones that every store has are not all there, or not all of one role.';

-- Whoever owns the schema may drop and replace what is in it, and whoever has made something
-- in it may have made it to be taken for ours. So before anything rests on the schema it is
-- a superuser's, and so is all that is in it but for a whole store (of an extension that was
-- dropped) and, beside one, what its users keep there under names that no function of ours has.
CREATE FUNCTION pointstore.check_schema()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home      oid := 'pointstore'::regnamespace;
    holder    regrole := (SELECT n.nspowner FROM pg_namespace n WHERE n.oid = home);
    keeper    regrole := pointstore.store_owner();
    strangers text;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = holder) THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('schema pointstore belongs to %s, who is no superuser', holder),
                  DETAIL = 'Who owns the schema may drop and replace what is in it.',
                  HINT = 'Look at what is in it, then drop it, or ALTER SCHEMA pointstore OWNER TO a superuser.';
    END IF;
    SELECT string_agg(format('%s of %s', pg_describe_object(d.classid, d.objid, 0), r.rolname), ', ') INTO strangers
      FROM pg_depend d
      JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
                        AND s.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
      JOIN pg_roles r ON r.oid = s.refobjid AND NOT r.rolsuper
      LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = home
       AND (keeper IS NULL
            OR c.relowner <> keeper AND EXISTS (SELECT FROM pointstore.store_relations() t WHERE t.name = c.relname)
            OR EXISTS (SELECT FROM pg_proc ours JOIN pg_depend m ON m.classid = 'pg_proc'::regclass AND m.objid = ours.oid
                        WHERE ours.pronamespace = home AND ours.proname = p.proname AND m.deptype = 'e'
                          AND m.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'pointstore')));
    IF strangers IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('schema pointstore has something in it that no superuser has made: %s', strangers),
                  HINT = 'Look at it, then drop it or move it to another schema.';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.check_schema() IS
'Refuses a schema pointstore that is not a superuser''s, and what others have made in it, by name (55000); a whole store of one owner may be there. Called by CREATE EXTENSION and create_store(); superusers only.';
SELECT pointstore.check_schema();
