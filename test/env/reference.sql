-- What doc/reference.md says of each function, type, table, view and setting, taken from
-- the catalogs and the COMMENTs: a block of text for each, between the lines that mark it
-- there. Run by psql -XAtq in a database without the extension, of a server that preloads
-- the library and has no settings of its own; leaves nothing behind.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION pointstore;
\o /dev/null
SELECT pointstore.create_store();
CREATE ROLE reference_reader; CREATE ROLE reference_writer; CREATE ROLE reference_operator; CREATE ROLE reference_participant;
SELECT pointstore.grant_access(('reference_' || level)::regrole, level) FROM unnest('{reader,writer,operator,participant}'::text[]) level;
SELECT pointstore.append_event('a', 'Opened');		-- the library is loaded
\o
SET LOCAL search_path = pointstore;

WITH routine AS (
    SELECT p.*, replace(pg_get_function_arguments(p.oid), '(quote_ident((CURRENT_USER)))::regrole', 'current_user') AS all_arguments,
           (SELECT level FROM unnest('{reader,writer,operator,participant}'::text[]) WITH ORDINALITY l (level, n)
             WHERE has_function_privilege('reference_' || level, p.oid, 'EXECUTE') ORDER BY n LIMIT 1) AS level
      FROM pg_proc p WHERE pronamespace = 'pointstore'::regnamespace
), public AS (
    SELECT *, CASE prokind WHEN 'p' THEN 'CALL ' ELSE '' END || proname || '('
           || regexp_replace(regexp_replace(regexp_replace(all_arguments, '(^|, )OUT [^,]+', '', 'g'), '^IN ', ''),
                             ' DEFAULT (''[^'']*''|[^ ,:]+)(::[a-z ]+)?', ' = \1', 'g') || ')'
           || coalesce(' returns ' || replace(lower(pg_get_function_result(oid)), 'record', coalesce(
                  (SELECT '(' || string_agg(column_of[1], ', ' ORDER BY n) || ')'
                     FROM regexp_matches(all_arguments, '\mOUT ([^,]+)', 'g') WITH ORDINALITY m (column_of, n)), 'record')), '') AS signature
      FROM routine WHERE level IS NOT NULL OR proname IN ('create_store', 'upgrade_store', 'distribute_store', 'grant_access')
), attribute AS (
    SELECT attrelid, string_agg(format('| `%s` | %s | %s |', attname, format_type(atttypid, NULL),
                                       replace(col_description(attrelid, attnum), '|', '\|')), E'\n' ORDER BY attnum) AS rows,
           string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) AS list
      FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped GROUP BY attrelid
), index AS (
    SELECT indrelid, string_agg(regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX (\S+) ON .* USING btree (.*)$',
                     CASE WHEN indisprimary THEN '\3, the primary key' WHEN indisunique THEN '\3, unique' ELSE '\3' END), '; ' ORDER BY NOT indisprimary, indexrelid) AS list
      FROM pg_index GROUP BY indrelid
), block (key, text) AS (
    SELECT 'function ' || proname,
           format(E'```\n%s\n```\n\nLevel: %s. %s', regexp_replace(replace(signature, 'NULL', 'null'), '(.{90,}?,) ', E'\\1\n    ', 'g'), coalesce(level, 'superuser'), obj_description(oid, 'pg_proc'))
      FROM public
    UNION ALL
    SELECT 'type ' || relname, format(E'`(%s)`\n\n%s', a.list, obj_description(reltype, 'pg_type'))
      FROM pg_class c JOIN attribute a ON a.attrelid = c.oid
     WHERE relkind = 'c' AND reltype IN (SELECT prorettype FROM public)
    UNION ALL
    SELECT CASE relkind WHEN 'r' THEN 'table ' ELSE 'view ' END || relname,
           format(E'%s\n\n| column | type | |\n|---|---|---|\n%s%s', rtrim(obj_description(c.oid, 'pg_class'), '.') || '.', a.rows, E'\n\nIndexes: ' || i.list || '.')
      FROM pg_class c JOIN attribute a ON a.attrelid = c.oid LEFT JOIN index i ON i.indrelid = c.oid
     WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v')
    UNION ALL
    SELECT 'settings', E'| setting | default | set | |\n|---|---|---|---|\n' || string_agg(format('| `%s` | %s | %s | %s |', name,
               coalesce('`' || nullif(current_setting(name), '') || '`', 'empty'),
               CASE context WHEN 'user' THEN 'by a session' WHEN 'superuser' THEN 'by a superuser' WHEN 'sighup' THEN 'in postgresql.conf' ELSE 'at the start' END,
               short_desc), E'\n' ORDER BY name)
      FROM pg_settings WHERE name ~ '^pointstore\.'
)
SELECT format(E'<!-- %s -->\n%s\n<!-- end -->', key,
              replace(text, 'timestamp with time zone', 'timestamptz')) FROM block ORDER BY key;
ROLLBACK;
