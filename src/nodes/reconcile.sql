-- src/nodes/reconcile.sql
-- Movements compared with what their participants have.

CREATE FUNCTION pointstore.reconcile_movements(server text = NULL,
    OUT server_name text, OUT movement_id text, OUT step integer, OUT code text, OUT here text, OUT there text, OUT detail jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_reconcile_movements';
COMMENT ON FUNCTION pointstore.reconcile_movements(text) IS
'Compares the movements that began in this store with what a participant has of them, and with the events there; null: all servers of the foreign data wrapper pointstore, and this store, whose server_name is null. A row for each step that the two do not agree in: movement_lost (acknowledged here as applied, and is not there), movement_doubled (another amount was applied there), movement_one_legged (cancelled here, applied there), movement_open (cancelled here, still reserved there), movement_unknown (there, and no such movement or step here); here and there are the status of the step, or the phase of a movement that was pruned. Nothing is said of what is under way. What is found is recorded in pointstore.finding, with the movement as its aggregate_id; what is no longer true is closed, what was acknowledged with acknowledge() is passed over. A server that was compared is not reopened any more. Where a server of all does not answer: a WARNING and a row unverified; of one that is named an error. 25001: in REPEATABLE READ; 42704: there is no such server; 55000: it is another store than before; 08000, 08001, 08006: it does not answer; else what it has answered.';
