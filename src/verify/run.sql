-- src/verify/run.sql
-- Reconciliation: its runs, and what it keeps of its own.

CREATE PROCEDURE pointstore.reconcile(scope text = 'incremental', INOUT run_id bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_reconcile';
COMMENT ON PROCEDURE pointstore.reconcile(text, bigint) IS
'Compares balances with events and acts by each kind''s policy; commits as it goes and returns its run in run_id. scope incremental (default): the accounts that had events since the last run, from their last proved version. full: every account from its first event; an interrupted full run goes on where it stopped. Where another session reconciles the same scope: a NOTICE, and null. 22023: another scope; 2D000: in a transaction block. In a distributed store: of the shards that this node has, a run for each, of which the last is told; null where it has none.';

-- What reconciliation keeps of its own: runs, findings, and how far each account is proved.
CREATE FUNCTION pointstore.create_reconciliation()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.reconciliation (
        id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        scope            text NOT NULL CHECK (scope IN ('incremental', 'full')),
        started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at      timestamptz,
        status           text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'clean', 'findings', 'interrupted', 'failed')),
        accounts_checked bigint NOT NULL DEFAULT 0,
        events_checked   bigint NOT NULL DEFAULT 0,
        findings         bigint NOT NULL DEFAULT 0,
        unverified       bigint NOT NULL DEFAULT 0,
        triggered_by     text NOT NULL,
        error            text,
        slices           integer NOT NULL DEFAULT 1,
        slices_done      integer NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50);
    CREATE INDEX reconciliation_scope_id_idx ON pointstore.reconciliation (scope, id);
    CREATE INDEX reconciliation_scope_status_id_idx ON pointstore.reconciliation (scope, status, id);

    CREATE TABLE pointstore.finding (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id       bigint,
        aggregate_id text COLLATE "C" NOT NULL,
        code         text NOT NULL,
        severity     text NOT NULL,
        expected     bigint,
        found        bigint,
        version      bigint,
        detail       jsonb NOT NULL,
        detected_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        action       text NOT NULL DEFAULT 'reported',
        resolved_at  timestamptz,
        resolved_by  text,
        acknowledged jsonb
    ) WITH (fillfactor = 80);
    CREATE UNIQUE INDEX finding_open_idx ON pointstore.finding (aggregate_id, code) WHERE resolved_at IS NULL;
    CREATE INDEX finding_acknowledged_idx ON pointstore.finding (aggregate_id, code) WHERE acknowledged IS NOT NULL;

    CREATE TABLE pointstore.account_proof (
        aggregate_id text COLLATE "C" PRIMARY KEY,
        version      bigint NOT NULL,
        balance      bigint NOT NULL,
        held         bigint NOT NULL,
        proved_at    timestamptz NOT NULL,
        incoming     bigint DEFAULT 0
    ) WITH (fillfactor = 70);

    CREATE TABLE pointstore.reconciliation_checkpoint (
        single       boolean PRIMARY KEY DEFAULT true CHECK (single),
        safe_id      bigint NOT NULL DEFAULT 0,
        pending_id   bigint NOT NULL DEFAULT 0,
        pending_xmax xid8 NOT NULL DEFAULT '0'
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_reconciliation() IS
'Creates the tables of reconciliation. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_reconciliation()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.reconciliation IS 'Passes of the reconciler, as the view reconciliation_run shows them';
    COMMENT ON COLUMN pointstore.reconciliation.id IS 'number of the run';
    COMMENT ON COLUMN pointstore.reconciliation.scope IS 'incremental or full';
    COMMENT ON COLUMN pointstore.reconciliation.started_at IS 'when it began';
    COMMENT ON COLUMN pointstore.reconciliation.finished_at IS 'when it ended; null until then';
    COMMENT ON COLUMN pointstore.reconciliation.status IS 'running, clean, findings, interrupted or failed';
    COMMENT ON COLUMN pointstore.reconciliation.accounts_checked IS 'accounts compared';
    COMMENT ON COLUMN pointstore.reconciliation.events_checked IS 'events read';
    COMMENT ON COLUMN pointstore.reconciliation.findings IS 'findings that were true in this run, new and seen again';
    COMMENT ON COLUMN pointstore.reconciliation.unverified IS 'accounts that looked wrong and stayed locked too long to be sure';
    COMMENT ON COLUMN pointstore.reconciliation.triggered_by IS 'worker or manual';
    COMMENT ON COLUMN pointstore.reconciliation.error IS 'why it failed, or what was left undone';
    COMMENT ON COLUMN pointstore.reconciliation.slices IS 'parts that a full run is cut into, by a hash of the account';
    COMMENT ON COLUMN pointstore.reconciliation.slices_done IS 'parts that are done; an interrupted run goes on after them';
    COMMENT ON TABLE pointstore.finding IS 'Proven disagreements: one open row for each account and code';
    COMMENT ON COLUMN pointstore.finding.id IS 'number of the finding, for repair() and acknowledge()';
    COMMENT ON COLUMN pointstore.finding.run_id IS 'run that found it first; null of what is about a movement';
    COMMENT ON COLUMN pointstore.finding.aggregate_id IS 'the account; empty: the store as a whole; of what is about a movement the movement''s id';
    COMMENT ON COLUMN pointstore.finding.code IS 'about the events: version_gap, chain_break, time_order, link_broken, duplicate_request or transfer_unbalanced (critical); about rows: balance_mismatch, version_mismatch, held_mismatch, hold_mismatch, movement_mismatch, missing_balance, orphan_balance, duplicate_row, account_mismatch or state_mismatch; index_mismatch (critical: an index hides or invents rows); sequence_settings, feed_mismatch (error: of the store as a whole); about movements: movement_lost, movement_doubled, movement_one_legged, movement_open, movement_unknown (reconcile_movements()) or movement_accepted (resolve_movement())';
    COMMENT ON COLUMN pointstore.finding.severity IS 'critical: the events themselves are inconsistent; error: an overspend is possible; warning: the balance understates';
    COMMENT ON COLUMN pointstore.finding.expected IS 'what it should be by the events, minor units or a version';
    COMMENT ON COLUMN pointstore.finding.found IS 'what it is';
    COMMENT ON COLUMN pointstore.finding.version IS 'first bad version, or the last one';
    COMMENT ON COLUMN pointstore.finding.detail IS 'the account''s row and what its events say; of a movement what is said of its steps, by server, empty = this store, and step';
    COMMENT ON COLUMN pointstore.finding.detected_at IS 'when it was found first';
    COMMENT ON COLUMN pointstore.finding.last_seen_at IS 'when it was last found true';
    COMMENT ON COLUMN pointstore.finding.action IS 'reported, repaired, frozen or acknowledged';
    COMMENT ON COLUMN pointstore.finding.resolved_at IS 'when it was no longer true, or acknowledged; null = open';
    COMMENT ON COLUMN pointstore.finding.resolved_by IS 'the role that repaired or acknowledged it, or reconcile';
    COMMENT ON COLUMN pointstore.finding.acknowledged IS 'what acknowledge() has closed, to know it again: what is wrong, how often, and with which events; null = nothing';
    COMMENT ON TABLE pointstore.account_proof IS 'How far each account has been proved: where an incremental run begins';
    COMMENT ON COLUMN pointstore.account_proof.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.account_proof.version IS 'version up to which its events were proved';
    COMMENT ON COLUMN pointstore.account_proof.balance IS 'sum of the amounts up to there, minor units';
    COMMENT ON COLUMN pointstore.account_proof.held IS 'sum of the held changes up to there, minor units';
    COMMENT ON COLUMN pointstore.account_proof.proved_at IS 'when';
    COMMENT ON COLUMN pointstore.account_proof.incoming IS 'what movements were to credit up to there by the events, minor units; null: their metadata does not say';
    COMMENT ON TABLE pointstore.reconciliation_checkpoint IS 'One row: up to which event id everything had come to rest when an incremental run looked';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.single IS 'true';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.safe_id IS 'events up to this id have been looked at, and no transaction that may have drawn one is still running';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.pending_id IS 'the same, once the transactions before pending_xmax have ended';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.pending_xmax IS 'transaction id drawn after pending_id was read';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_reconciliation() IS
'Puts the comments on the tables of reconciliation. Called by create_store() and upgrade_store(); superusers only.';

-- The same of a distributed store: each shard has runs of its own.
CREATE FUNCTION pointstore.create_reconciliation_views_of_nodes()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.reconciliation_run AS
    SELECT r.id, r.scope, r.started_at, r.finished_at, r.status,
           r.accounts_checked, r.events_checked, r.findings, r.unverified, r.triggered_by, r.error, r.slices, r.slices_done
      FROM pointstore.reconciliation r;
    CREATE OR REPLACE VIEW pointstore.reconciliation_status AS
    WITH ended AS MATERIALIZED (
        SELECT r.place, max(r.finished_at) FILTER (WHERE r.scope = 'full' AND r.status = 'clean') AS full_at,
               max(r.finished_at) FILTER (WHERE r.scope = 'incremental' AND r.status IN ('clean', 'findings')) AS incremental_at
          FROM pointstore.reconciliation r WHERE r.place <> '' GROUP BY r.place),
    checkpoint AS MATERIALIZED (SELECT c.place, c.safe_id FROM pointstore.reconciliation_checkpoint c),
    looked_at AS MATERIALIZED (
        SELECT m.min_hash, m.max_hash, c.safe_id
          FROM pointstore.shard_map m JOIN checkpoint c ON hashtext(c.place) BETWEEN m.min_hash AND m.max_hash),
    unproved AS MATERIALIZED (
        SELECT min(e.created_at) AS oldest
          FROM pointstore.balance b
          LEFT JOIN pointstore.account_proof p ON p.aggregate_id = b.aggregate_id
          JOIN pointstore.event_store e ON e.aggregate_id = b.aggregate_id AND e.version > coalesce(p.version, 0)
          LEFT JOIN looked_at l ON hashtext(b.aggregate_id) BETWEEN l.min_hash AND l.max_hash
         WHERE b.version > coalesce(p.version, 0) AND e.id > coalesce(l.safe_id, -9223372036854775808)),
    found AS MATERIALIZED (
        SELECT count(*) FILTER (WHERE f.severity = 'critical') AS critical, count(*) FILTER (WHERE f.severity = 'error') AS error,
               count(*) FILTER (WHERE f.severity = 'warning') AS warning
          FROM pointstore.finding f WHERE f.resolved_at IS NULL),
    -- of the shard that has waited longest; null where one has none
    behind AS (
        SELECT CASE WHEN count(s.full_at) = count(*) THEN min(s.full_at) END AS full_at,
               CASE WHEN count(s.incremental_at) = count(*) THEN min(s.incremental_at) END AS incremental_at
          FROM (SELECT m.shard, max(d.full_at) AS full_at, max(d.incremental_at) AS incremental_at
                  FROM pointstore.shard_map m LEFT JOIN ended d ON hashtext(d.place) BETWEEN m.min_hash AND m.max_hash GROUP BY m.shard) s)
    SELECT b.full_at AS last_clean_full, b.incremental_at AS last_incremental, u.oldest AS oldest_unproved,
           f.critical AS open_critical, f.error AS open_error, f.warning AS open_warning,
           pointstore.worker_alive() AS worker_alive, 0::bigint AS movements_stuck, 0::bigint AS movements_late
      FROM behind b, unproved u, found f;
    COMMENT ON VIEW pointstore.reconciliation_status IS
    'One row: when every shard of the store was last proved, what is not proved yet, the open findings of all nodes by severity, and whether the schedule of this node is served.';
END
$$;
COMMENT ON FUNCTION pointstore.create_reconciliation_views_of_nodes() IS
'Makes or remakes the views of reconciliation of a distributed store. Called by create_reconciliation_views(); superusers only.';

CREATE FUNCTION pointstore.create_reconciliation_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pointstore.is_distributed() THEN
        PERFORM pointstore.create_reconciliation_views_of_nodes();
        RETURN;
    END IF;
    CREATE OR REPLACE VIEW pointstore.reconciliation_run AS
    SELECT r.id, r.scope, r.started_at, r.finished_at,
           CASE WHEN r.status = 'running' AND NOT pg_is_in_recovery()
                     AND NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
                                      WHERE l.locktype = 'advisory' AND l.classid = 1886349678 AND l.objsubid = 3
                                        AND l.objid = CASE WHEN r.scope = 'full' THEN 2 ELSE 1 END)
                THEN 'interrupted' ELSE r.status END AS status,
           r.accounts_checked, r.events_checked, r.findings, r.unverified, r.triggered_by, r.error, r.slices, r.slices_done
      FROM pointstore.reconciliation r;
    COMMENT ON VIEW pointstore.reconciliation_run IS
    'The runs of the reconciler. A run whose session is gone shows as interrupted.';
    COMMENT ON COLUMN pointstore.reconciliation_run.id IS 'number of the run';
    COMMENT ON COLUMN pointstore.reconciliation_run.scope IS 'incremental or full';
    COMMENT ON COLUMN pointstore.reconciliation_run.started_at IS 'when it began';
    COMMENT ON COLUMN pointstore.reconciliation_run.finished_at IS 'when it ended; null until then';
    COMMENT ON COLUMN pointstore.reconciliation_run.status IS 'running, clean, findings, interrupted or failed';
    COMMENT ON COLUMN pointstore.reconciliation_run.accounts_checked IS 'accounts compared';
    COMMENT ON COLUMN pointstore.reconciliation_run.events_checked IS 'events read';
    COMMENT ON COLUMN pointstore.reconciliation_run.findings IS 'findings that were true in this run, new and seen again';
    COMMENT ON COLUMN pointstore.reconciliation_run.unverified IS 'accounts that looked wrong and stayed locked too long to be sure';
    COMMENT ON COLUMN pointstore.reconciliation_run.triggered_by IS 'worker or manual';
    COMMENT ON COLUMN pointstore.reconciliation_run.error IS 'why it failed, or what was left undone';
    COMMENT ON COLUMN pointstore.reconciliation_run.slices IS 'parts that a full run is cut into';
    COMMENT ON COLUMN pointstore.reconciliation_run.slices_done IS 'parts that are done';

    CREATE OR REPLACE VIEW pointstore.reconciliation_status AS
    -- one row of each by its index, however many runs are kept
    SELECT (SELECT r.finished_at FROM pointstore.reconciliation r
             WHERE r.scope = 'full' AND r.status = 'clean' ORDER BY r.id DESC LIMIT 1) AS last_clean_full,
           (SELECT max(r.finished_at) FROM (VALUES ('clean'), ('findings')) s (status)
             CROSS JOIN LATERAL (SELECT d.finished_at FROM pointstore.reconciliation d
                                  WHERE d.scope = 'incremental' AND d.status = s.status ORDER BY d.id DESC LIMIT 1) r) AS last_incremental,
           (SELECT e.created_at FROM pointstore.event_store e
              LEFT JOIN pointstore.account_proof p ON p.aggregate_id = e.aggregate_id
             WHERE e.id > coalesce((SELECT c.safe_id FROM pointstore.reconciliation_checkpoint c), -9223372036854775808)
               AND e.version > coalesce(p.version, 0)
             ORDER BY e.id LIMIT 1) AS oldest_unproved,
           count(*) FILTER (WHERE f.severity = 'critical') AS open_critical,
           count(*) FILTER (WHERE f.severity = 'error') AS open_error,
           count(*) FILTER (WHERE f.severity = 'warning') AS open_warning,
           pointstore.worker_alive() AS worker_alive,
           (SELECT count(*) FROM pointstore.movement m WHERE m.finished_at IS NULL AND m.phase = 'stuck') AS movements_stuck,
           (SELECT count(*) FROM pointstore.movement m WHERE m.finished_at IS NULL AND m.phase <> 'stuck'
               AND m.deadline < clock_timestamp()) AS movements_late
      FROM pointstore.finding f WHERE f.resolved_at IS NULL;
    COMMENT ON VIEW pointstore.reconciliation_status IS
    'One row: when the store was last proved, what is not proved yet, the open findings by severity, whether the schedule is served, and movements that do not get on.';
    COMMENT ON COLUMN pointstore.reconciliation_status.last_clean_full IS 'end of the last full run that found nothing';
    COMMENT ON COLUMN pointstore.reconciliation_status.last_incremental IS 'end of the last incremental run';
    COMMENT ON COLUMN pointstore.reconciliation_status.oldest_unproved IS 'created_at of the first event that no run has proved or looked at to the end yet; null = none';
    COMMENT ON COLUMN pointstore.reconciliation_status.open_critical IS 'open findings: the events themselves are inconsistent';
    COMMENT ON COLUMN pointstore.reconciliation_status.open_error IS 'open findings: an overspend is possible';
    COMMENT ON COLUMN pointstore.reconciliation_status.open_warning IS 'open findings: the balance understates';
    COMMENT ON COLUMN pointstore.reconciliation_status.worker_alive IS 'whether the launcher runs and this database is in pointstore.databases, with an interval that is not 0';
    COMMENT ON COLUMN pointstore.reconciliation_status.movements_stuck IS 'movements that can neither go on nor back: an operator decides, resolve_movement()';
    COMMENT ON COLUMN pointstore.reconciliation_status.movements_late IS 'movements that have not finished though their deadline has passed, see movement_status';
END
$$;
COMMENT ON FUNCTION pointstore.create_reconciliation_views() IS
'Makes or remakes the views of reconciliation. Called by create_store() and upgrade_store(); superusers only.';
