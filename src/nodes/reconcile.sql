-- src/nodes/reconcile.sql
-- Movements compared with what their participants have.

CREATE FUNCTION pointstore.reconcile_movements(server text = NULL,
    OUT server_name text, OUT movement_id text, OUT step integer, OUT code text, OUT here text, OUT there text, OUT detail jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_reconcile_movements';
COMMENT ON FUNCTION pointstore.reconcile_movements(text) IS
'Compares movements with what their participants have. To be completed.';
