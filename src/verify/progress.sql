-- src/verify/progress.sql
-- What a reconciliation under way shows of itself.

CREATE FUNCTION pointstore.progress(OUT pid integer, OUT database_id oid, OUT scope text, OUT phase text,
    OUT accounts_done bigint, OUT accounts_total bigint, OUT events_done bigint, OUT events_total bigint, OUT started_at timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_progress';
COMMENT ON FUNCTION pointstore.progress() IS
'The reconciliations under way in this server, all databases. For the view reconcile_progress.';

CREATE FUNCTION pointstore.create_progress_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.reconcile_progress AS
    SELECT p.pid, d.datname AS database, p.scope, p.phase, p.accounts_done, p.accounts_total, p.events_done, p.started_at,
           round(CASE p.scope WHEN 'full' THEN least(100, 100.0 * p.events_done / p.events_total)
                              ELSE least(100, 100.0 * p.accounts_done / p.accounts_total) END, 1) AS percent
      FROM pointstore.progress() p
      JOIN pg_database d ON d.oid = p.database_id;
    COMMENT ON VIEW pointstore.reconcile_progress IS
    'The reconciliations under way in this server, all databases, as far as track_activities is on.';
    COMMENT ON COLUMN pointstore.reconcile_progress.pid IS 'process of the session';
    COMMENT ON COLUMN pointstore.reconcile_progress.database IS 'the database that is reconciled';
    COMMENT ON COLUMN pointstore.reconcile_progress.scope IS 'incremental or full';
    COMMENT ON COLUMN pointstore.reconcile_progress.phase IS 'initializing, waiting for older transactions, scanning events, examining accounts or examining open findings';
    COMMENT ON COLUMN pointstore.reconcile_progress.accounts_done IS 'accounts compared';
    COMMENT ON COLUMN pointstore.reconcile_progress.accounts_total IS 'accounts to compare, in a full run by the last ANALYZE; null = unknown';
    COMMENT ON COLUMN pointstore.reconcile_progress.events_done IS 'events read';
    COMMENT ON COLUMN pointstore.reconcile_progress.started_at IS 'when this session began the run or went on with it';
    COMMENT ON COLUMN pointstore.reconcile_progress.percent IS 'of a full run the part of the events that is read, by the last ANALYZE, of an incremental one the part of the accounts; null = unknown';
END
$$;
COMMENT ON FUNCTION pointstore.create_progress_view() IS
'Makes or remakes the view of the reconciliations under way. Called by create_store() and upgrade_store(); superusers only.';
