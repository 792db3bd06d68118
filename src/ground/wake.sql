-- src/ground/wake.sql
-- Whoever makes work for workers wakes the launcher.

CREATE FUNCTION pointstore.wake_workers()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_wake_workers';
COMMENT ON FUNCTION pointstore.wake_workers() IS
'Has the launcher look at once, when the transaction has committed, for work that it looks for less and less often, up to once a minute, where it has found none. Called by create_store() and upgrade_store(); superusers only.';
