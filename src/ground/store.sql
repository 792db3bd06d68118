-- src/ground/store.sql
-- What the store is asked before anything rests on it.

CREATE FUNCTION pointstore.found_version()
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_found_version';
COMMENT ON FUNCTION pointstore.found_version() IS
'The version that the store''s view store_version says, read as its owner in a security-restricted operation; null where the view is missing. 55000: there is no store. Called by upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.check_store()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_check_store';
COMMENT ON FUNCTION pointstore.check_store() IS
'55000 where the store is of another version than the library or lacks something that the functions need: a column, NOT NULL, an index, a trigger. Called by upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.check_sequence()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_check_sequence';
COMMENT ON FUNCTION pointstore.check_sequence() IS
'55000 where event_store_id_seq would not draw rising ids: increment below 1, cache above 1, CYCLE, another type than bigint, or a next id that is not above the last event''s. Called by create_store() and upgrade_store(); superusers only.';
