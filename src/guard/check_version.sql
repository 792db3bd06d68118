-- src/guard/check_version.sql
-- The trigger for tables of the users'.

CREATE FUNCTION pointstore.check_version()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_check_version';
COMMENT ON FUNCTION pointstore.check_version() IS
'Trigger for any table: BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION pointstore.check_version(''version'' [, ''auto'']). An UPDATE must raise the named smallint, integer or bigint column by exactly 1, or raise the named timestamptz column, else PS001; with auto an UPDATE that leaves the column alone raises it. Wrong arguments or use: 22023, 42703, 42804 or 39P01.';
