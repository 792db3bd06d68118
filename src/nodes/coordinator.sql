-- src/nodes/coordinator.sql
-- The coordinator: movements are driven to their end.

CREATE PROCEDURE pointstore.drive_movements()
LANGUAGE c
AS 'MODULE_PATHNAME', 'pointstore_drive_movements';
COMMENT ON PROCEDURE pointstore.drive_movements() IS
'Drives the movements of this store until all that are left wait for a time, or for a store that does not answer; for pg_cron, where the library is not preloaded. Commits as it goes; 2D000 in a transaction block, 25006 on a standby. While another session drives them, a worker as a rule, a NOTICE and nothing else.';

CREATE FUNCTION pointstore.coordinator_alive()
RETURNS boolean LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_coordinator_alive';
COMMENT ON FUNCTION pointstore.coordinator_alive() IS
'Whether a worker drives the movements of this database. False where the library is not preloaded.';
