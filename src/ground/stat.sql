-- src/ground/stat.sql
-- The statistics.

CREATE FUNCTION pointstore.stat(OUT database_id oid, OUT appends bigint, OUT replays bigint, OUT version_conflicts bigint,
    OUT request_mismatches bigint, OUT insufficient_balance bigint, OUT balance_limit bigint, OUT account_frozen bigint,
    OUT account_closed bigint, OUT account_missing bigint, OUT not_allowed bigint, OUT combined_batches bigint,
    OUT combined_events bigint, OUT answers bigint, OUT waited bigint, OUT given_back bigint, OUT stats_reset timestamptz)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'pointstore_stat';
COMMENT ON FUNCTION pointstore.stat() IS
'The counters of the view pg_stat_pointstore as they stand in shared memory, a row for each database, dropped ones included. answers: callers of submit_event() and submit_transfer() that the combiner answered; waited: how long they have waited, all together, microseconds. No row where the library is not preloaded.';

CREATE FUNCTION pointstore.stat_rules(OUT database_id oid, OUT merges bigint, OUT transition_not_allowed bigint, OUT lease_lost bigint)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'pointstore_stat_rules';
COMMENT ON FUNCTION pointstore.stat_rules() IS
'More counters of the view pg_stat_pointstore, as stat() has the others.';

CREATE FUNCTION pointstore.pg_stat_pointstore_reset()
RETURNS void LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_pg_stat_pointstore_reset';
COMMENT ON FUNCTION pointstore.pg_stat_pointstore_reset() IS
'Sets this database''s counters in the view pg_stat_pointstore to 0. 55000: the library is not preloaded.';

CREATE FUNCTION pointstore.create_statistics_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.pg_stat_pointstore AS
    SELECT d.datname AS database, s.appends, s.replays, s.version_conflicts, s.request_mismatches, s.insufficient_balance,
           s.balance_limit, s.account_frozen, s.account_closed, s.account_missing, s.not_allowed, s.combined_batches, s.combined_events,
           round(1.0 * s.combined_events / CASE WHEN s.combined_batches > 0 THEN s.combined_batches END, 1) AS avg_batch,
           round(0.001 * s.waited / CASE WHEN s.answers > 0 THEN s.answers END, 3) AS avg_wait,
           s.given_back, s.stats_reset, r.merges, r.transition_not_allowed, r.lease_lost
      FROM pointstore.stat() s
      JOIN pointstore.stat_rules() r ON r.database_id = s.database_id
      JOIN pg_database d ON d.oid = s.database_id;
    COMMENT ON VIEW pointstore.pg_stat_pointstore IS
    'What appends have come to, a row for each database of the server in which there was one since the server started or crashed. Counted is each event by what was decided about it, once for each call, also where the transaction was rolled back afterwards; of a batch that is refused only the event that is. Errors in every form of a call are not counted, nor what reconciliation writes. Needs shared_preload_libraries = ''pointstore'', else it is empty; the 65th database and those after it are not counted. pointstore.pg_stat_pointstore_reset() begins anew.';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.database IS 'name of the database';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.appends IS 'events appended, by functions, INSERT and COPY; those rolled back included';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.replays IS 'events whose request had been applied: the first receipt came back, or the row was skipped';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.version_conflicts IS 'events refused: another version than expected (PS001)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.request_mismatches IS 'events refused: request_id was used for something else (PS002)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.insufficient_balance IS 'events refused: below the floor (PS003)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.balance_limit IS 'events refused: above the ceiling (PS009)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.account_frozen IS 'events refused: the account is frozen (PS004)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.account_closed IS 'events refused: the account is closed (PS005)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.account_missing IS 'events refused: the account is missing (PS008)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.not_allowed IS 'events refused: not allowed (PS011)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.combined_batches IS 'transactions in which the combiner has decided about events of submit_event() and submit_transfer()';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.combined_events IS 'events that it has decided about in them, appended, replayed and refused; each is in its own column too';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.avg_batch IS 'combined_events / combined_batches, events; null = none';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.avg_wait IS 'mean time from a caller''s arrival in submit_event() or submit_transfer() to its answer by the combiner, flush and standbys included, milliseconds; null = none';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.given_back IS 'calls of submit_event() and submit_transfer() that the combiner did not decide about, so that the caller appended plainly: an account locked for long, a merge function to be asked, or no combiner came';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.stats_reset IS 'since when it is counted: the last reset, else the first append since the server''s start';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.merges IS 'events appended though their expected_version was stale, merged; they are among appends';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.transition_not_allowed IS 'events refused: the state does not allow them (PS012)';
    COMMENT ON COLUMN pointstore.pg_stat_pointstore.lease_lost IS 'events refused: the lease that they need is not held (PS014)';
END
$$;
COMMENT ON FUNCTION pointstore.create_statistics_view() IS
'Makes or remakes the view of the statistics. Called by create_store() and upgrade_store(); superusers only.';
