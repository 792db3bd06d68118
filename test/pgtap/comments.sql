-- Everything that users meet says what it is.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT plan(6);

SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pointstore'::regnamespace
                   AND coalesce(obj_description(oid, 'pg_proc'), '') = ''$$, 'functions');
SELECT is_empty($$SELECT t.typname FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
                   WHERE t.typnamespace = 'pointstore'::regnamespace AND c.relkind = 'c' AND coalesce(obj_description(t.oid, 'pg_type'), '') = ''$$, 'types');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v')
                   AND coalesce(obj_description(oid, 'pg_class'), '') = ''$$, 'tables and views');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE oid = 'pointstore.event_store_id_seq'::regclass
                   AND coalesce(obj_description(oid, 'pg_class'), '') = ''$$, 'the sequence that nodes may set');
SELECT is_empty($$SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                   WHERE c.relnamespace = 'pointstore'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
                     AND coalesce(col_description(c.oid, a.attnum), '') = ''$$, 'columns of tables');
SELECT is_empty($$SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                   WHERE c.relnamespace = 'pointstore'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 AND NOT a.attisdropped
                     AND coalesce(col_description(c.oid, a.attnum), '') = ''$$, 'columns of views');

SELECT * FROM finish();
ROLLBACK;
