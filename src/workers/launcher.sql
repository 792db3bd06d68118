-- src/workers/launcher.sql
-- The schedule of the workers.

CREATE FUNCTION pointstore.reconcile_now(scope text = 'incremental')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_reconcile_now';
COMMENT ON FUNCTION pointstore.reconcile_now(text) IS
'Starts a background worker that reconciles this database once, whatever the schedule, and returns when it has started. scope: incremental (default) or full (22023 otherwise). 53000: no background worker is free.';

CREATE FUNCTION pointstore.worker_alive()
RETURNS boolean LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_worker_alive';
COMMENT ON FUNCTION pointstore.worker_alive() IS
'Whether the launcher of the reconciling workers runs and this database is in pointstore.databases, with an interval that is not 0. For the view reconciliation_status.';
