-- src/nodes/coordinator.sql
-- The coordinator: movements are driven to their end.

CREATE PROCEDURE pointstore.drive_movements()
LANGUAGE c
AS 'MODULE_PATHNAME', 'pointstore_drive_movements';
COMMENT ON PROCEDURE pointstore.drive_movements() IS
'Drives the movements of this store, where no worker does. To be completed.';

CREATE FUNCTION pointstore.coordinator_alive()
RETURNS boolean LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_coordinator_alive';
COMMENT ON FUNCTION pointstore.coordinator_alive() IS
'Whether a worker drives the movements of this database.';
