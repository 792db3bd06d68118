/* test/upgrade/pointstore--0.9--1.0.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION pointstore UPDATE TO '1.0'" to load this file. \quit

-- Brings the functions to what the installed script of 1.0 says. The store is
-- for upgrade_store(). What is there keeps its GRANTs: a REVOKE here would hide
-- them from pg_dump.
DO LANGUAGE plpgsql $update$
DECLARE
    script text := pg_catalog.pg_read_file((SELECT setting FROM pg_catalog.pg_config WHERE name = 'SHAREDIR')
                                           || '/extension/pointstore--1.0.sql');
    change text[];
BEGIN
    FOREACH change SLICE 1 IN ARRAY ARRAY[
        ['^\\echo.*?$', ''],
        ['MODULE[_]PATHNAME', '$libdir/pointstore'],
        ['^CREATE (FUNCTION|PROCEDURE|AGGREGATE) ', 'CREATE OR REPLACE \1 '],
        ['^CREATE TYPE (.|\n)*?\n\);$', ''],
        ['^REVOKE ALL ON ALL ROUTINES IN SCHEMA pointstore FROM PUBLIC;$', '']]
    LOOP
        IF script !~ ('(?n)' || change[1]) THEN
            RAISE EXCEPTION 'the script of 1.0 has no %', change[1];
        END IF;
        script := regexp_replace(script, '(?n)' || change[1], change[2], 'g');
    END LOOP;
    EXECUTE script;
END
$update$;
