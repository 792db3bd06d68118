/* test/upgrade/pointstore--0.9.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pointstore VERSION '0.9'" to load this file. \quit

-- An older version, for the tests of the way to the installed one: what the
-- installed script of 1.0 says, without what stores of 0.9 did not have, which is
-- event_store.metadata and the index for balance_at().
DO LANGUAGE plpgsql $install$
DECLARE
    script text := pg_catalog.pg_read_file((SELECT setting FROM pg_catalog.pg_config WHERE name = 'SHAREDIR')
                                           || '/extension/pointstore--1.0.sql');
    change text[];
BEGIN
    FOREACH change SLICE 1 IN ARRAY ARRAY[
        ['^\\echo.*?$', ''],
        ['MODULE[_]PATHNAME', '$libdir/pointstore'],
        ['SELECT ''1\.0''::text AS version', 'SELECT ''0.9''::text AS version'],
        ['^ +metadata +jsonb,$', ''],
        ['^ +COMMENT ON COLUMN pointstore\.event_store\.metadata .*?$', ''],
        ['CREATE INDEX event_store_aggregate_id_created_at_version_idx\s+ON pointstore\.event_store \(aggregate_id, created_at, version\);\s+CREATE SEQUENCE',
         'CREATE SEQUENCE']]
    LOOP
        IF script !~ ('(?n)' || change[1]) THEN
            RAISE EXCEPTION 'the script of 1.0 has no %', change[1];
        END IF;
        script := regexp_replace(script, '(?n)' || change[1], change[2], 'g');
    END LOOP;
    EXECUTE script;
END
$install$;
