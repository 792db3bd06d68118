/* made by make from the rooms of src/ */

-- src/ground/pointstore.sql
-- What a store consists of, and the schema that it stands in: the first part of the install script.

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pointstore" to load this file. \quit

-- What a store consists of. Owners, grants, what is missing and what is in the way
-- are all told by this list. kind as in pg_class: r table, S sequence, v view; since:
-- the version that brought it, 0.9 for what there has always been.
CREATE FUNCTION pointstore.store_relations(OUT name text, OUT kind "char", OUT since text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    VALUES
    ('account_kind',              'r'::"char", '0.9'),
    ('balance',                   'r', '0.9'),
    ('pure_account',              'r', '0.9'),
    ('event_store',               'r', '0.9'),
    ('event_store_id_seq',        'S', '0.9'),
    ('account_log',               'r', '0.9'),
    ('hold',                      'r', '1.0'),
    ('reconciliation',            'r', '1.0'),
    ('finding',                   'r', '1.0'),
    ('account_proof',             'r', '1.0'),
    ('reconciliation_checkpoint', 'r', '1.0'),
    ('feed_block',                'r', '1.3'),
    ('feed_start',                'r', '1.3'),
    ('subscription',              'r', '1.3'),
    ('subscription_slot',         'r', '1.3'),
    ('subscription_account',      'r', '1.3'),
    ('subscription_log',          'r', '1.3'),
    ('upcaster',                  'r', '1.3'),
    ('snapshot',                  'r', '1.3'),
    ('snapshot_progress',         'r', '1.3'),
    ('projection',                'r', '1.3'),
    ('replay_run',                'r', '1.3'),
    ('replay_slice',              'r', '1.3'),
    ('replay_difference',         'r', '1.3'),
    ('transition',                'r', '1.4'),
    ('lease',                     'r', '1.4'),
    ('store_version',             'v', '0.9'),
    ('account',                   'v', '0.9'),
    ('reconciliation_run',        'v', '1.0'),
    ('reconciliation_status',     'v', '1.0'),
    ('reconcile_progress',        'v', '1.0'),
    ('pg_stat_pointstore',        'v', '1.0'),
    ('feed_status',               'v', '1.3'),
    ('subscription_retry',        'v', '1.3'),
    ('subscription_status',       'v', '1.3'),
    ('projection_status',         'v', '1.3')
$$;
COMMENT ON FUNCTION pointstore.store_relations() IS
'The tables, the sequence and the views of a store, as the installed version wants them: name, kind (r, S or v as in pg_class) and the version that brought it.';

CREATE FUNCTION pointstore.store_owner()
RETURNS regrole LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(c.oid IS NOT NULL OR r.since <> '0.9') AND count(DISTINCT c.relowner) = 1 THEN min(c.relowner) END
      FROM pointstore.store_relations() r
      LEFT JOIN pg_class c ON c.relname = r.name AND c.relkind = r.kind AND c.relnamespace = 'pointstore'::regnamespace
     WHERE r.kind <> 'v'
$$;
COMMENT ON FUNCTION pointstore.store_owner() IS
'The role that owns the store''s tables; null where the ones that every store has are not all there, or not all of one role.';

-- Whoever owns the schema may drop and replace what is in it, and whoever has made something
-- in it may have made it to be taken for ours. So before anything rests on the schema it is
-- a superuser's, and so is all that is in it but for a whole store (of an extension that was
-- dropped) and, beside one, what its users keep there under names that no function of ours has.
CREATE FUNCTION pointstore.check_schema()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home      oid := 'pointstore'::regnamespace;
    holder    regrole := (SELECT n.nspowner FROM pg_namespace n WHERE n.oid = home);
    keeper    regrole := pointstore.store_owner();
    strangers text;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = holder) THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('schema pointstore belongs to %s, who is no superuser', holder),
                  DETAIL = 'Who owns the schema may drop and replace what is in it.',
                  HINT = 'Look at what is in it, then drop it, or ALTER SCHEMA pointstore OWNER TO a superuser.';
    END IF;
    SELECT string_agg(format('%s of %s', pg_describe_object(d.classid, d.objid, 0), r.rolname), ', ') INTO strangers
      FROM pg_depend d
      JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
                        AND s.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
      JOIN pg_roles r ON r.oid = s.refobjid AND NOT r.rolsuper
      LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = home
       AND (keeper IS NULL
            OR c.relowner <> keeper AND EXISTS (SELECT FROM pointstore.store_relations() t WHERE t.name = c.relname)
            OR EXISTS (SELECT FROM pg_proc ours JOIN pg_depend m ON m.classid = 'pg_proc'::regclass AND m.objid = ours.oid
                        WHERE ours.pronamespace = home AND ours.proname = p.proname AND m.deptype = 'e'
                          AND m.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'pointstore')));
    IF strangers IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('schema pointstore has something in it that no superuser has made: %s', strangers),
                  HINT = 'Look at it, then drop it or move it to another schema.';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.check_schema() IS
'Refuses a schema pointstore that is not a superuser''s, and what others have made in it, by name (55000); a whole store of one owner may be there. Called by CREATE EXTENSION and create_store(); superusers only.';
SELECT pointstore.check_schema();

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

-- src/ground/wake.sql
-- Whoever makes work for workers wakes the launcher.

CREATE FUNCTION pointstore.wake_workers()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_wake_workers';
COMMENT ON FUNCTION pointstore.wake_workers() IS
'Has the launcher look at once, when the transaction has committed, for work that it looks for less and less often, up to once a minute, where it has found none. Called by create_store() and upgrade_store(); superusers only.';

-- src/account/account.sql
-- Accounts and their kinds.

CREATE TYPE pointstore.account_state AS (
    aggregate_id text,
    kind         text,
    mode         text,
    unit         text,
    version      bigint,
    balance      bigint,
    held         bigint,
    available    bigint,
    status       text,
    state        text,
    updated_at   timestamptz
);
COMMENT ON TYPE pointstore.account_state IS
'One account as the view pointstore.account shows it. Amounts in minor units; available = balance - held, expired holds not counted.';

CREATE FUNCTION pointstore.create_accounts()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.account_kind (
        kind            text COLLATE "C" PRIMARY KEY CHECK (octet_length(kind) BETWEEN 1 AND 512),
        mode            text NOT NULL DEFAULT 'hybrid' CHECK (mode IN ('hybrid', 'pure')),
        unit            text NOT NULL DEFAULT '',
        min_balance     bigint DEFAULT 0,
        max_balance     bigint,
        auto_open       boolean NOT NULL DEFAULT true,
        source_of_truth text NOT NULL DEFAULT 'events' CHECK (source_of_truth IN ('events', 'balance')),
        on_mismatch     text NOT NULL DEFAULT 'report' CHECK (on_mismatch IN ('report', 'repair', 'freeze')),
        amount_required boolean NOT NULL DEFAULT false,
        reducer         text,
        reducer_version integer,
        snapshot_every  integer CHECK (snapshot_every > 0),
        initial_state   text,
        transitions     text NOT NULL DEFAULT 'open' CHECK (transitions IN ('open', 'strict')),
        commuting       text[],
        merge           text,
        lease_required  boolean NOT NULL DEFAULT false,
        CHECK (min_balance <= max_balance)
    );
    INSERT INTO pointstore.account_kind (kind) VALUES ('default');

    CREATE TABLE pointstore.balance (
        aggregate_id text COLLATE "C" PRIMARY KEY,
        kind         text COLLATE "C" NOT NULL DEFAULT 'default',
        version      bigint NOT NULL DEFAULT 0,
        balance      bigint NOT NULL DEFAULT 0,
        held         bigint NOT NULL DEFAULT 0,
        next_expiry  timestamptz,
        status       text NOT NULL DEFAULT 'open',
        updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        state        text
    ) WITH (fillfactor = 80);

    CREATE TABLE pointstore.pure_account (
        aggregate_id text COLLATE "C" PRIMARY KEY,
        kind         text COLLATE "C" NOT NULL,
        status       text NOT NULL DEFAULT 'open'
    );

    CREATE TABLE pointstore.account_log (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        aggregate_id text COLLATE "C" NOT NULL,
        action       text NOT NULL,
        reason       text,
        before       jsonb,
        after        jsonb,
        by_role      text NOT NULL,
        at           timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE INDEX account_log_aggregate_id_id_idx ON pointstore.account_log (aggregate_id, id);
END
$$;
COMMENT ON FUNCTION pointstore.create_accounts() IS
'Creates the tables of accounts, of their kinds and of what happened to them. Called by create_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_accounts()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.account_kind IS 'The rules that accounts live under, one row per kind; the row default serves accounts opened without a kind';
    COMMENT ON COLUMN pointstore.account_kind.kind IS 'name of the kind, 1 to 512 bytes; fixed once the kind is used';
    COMMENT ON COLUMN pointstore.account_kind.mode IS 'hybrid (balance row beside the events, default) or pure (events alone); fixed once the kind is used';
    COMMENT ON COLUMN pointstore.account_kind.unit IS 'what the amounts count, such as KRW, point or seat; default empty; fixed once the kind is used';
    COMMENT ON COLUMN pointstore.account_kind.min_balance IS 'floor in minor units that a debit may not cross (PS003); null = none; default 0';
    COMMENT ON COLUMN pointstore.account_kind.max_balance IS 'ceiling in minor units that a credit may not cross (PS009); null = none, the default';
    COMMENT ON COLUMN pointstore.account_kind.auto_open IS 'whether the first append opens the account (default true); false: PS008';
    COMMENT ON COLUMN pointstore.account_kind.source_of_truth IS 'which side is right when balance and events differ: events (default) or balance';
    COMMENT ON COLUMN pointstore.account_kind.on_mismatch IS 'what reconciliation does about a difference: report (default), repair or freeze';
    COMMENT ON COLUMN pointstore.account_kind.amount_required IS 'whether an event inserted by hand must give its amount (22004); false, the default: what is left out is what the balance changed by';
    COMMENT ON COLUMN pointstore.account_kind.reducer IS 'function (state jsonb, event pointstore.event) returns jsonb, not null, from which aggregate_state() makes the state; kept with its schema; null = none. Called as its owner, one of a superuser as the store''s owner or, where he is one too, as the caller, in a security-restricted operation with search_path pg_catalog, pg_temp and TimeZone UTC, unless its own SET says otherwise. 42501: who writes it, or the store''s owner, may not have it called so';
    COMMENT ON COLUMN pointstore.account_kind.reducer_version IS 'the user''s: another number makes snapshots stale, for changes that the reducer''s own definition does not show, such as one of a function that it calls; null = 0';
    COMMENT ON COLUMN pointstore.account_kind.snapshot_every IS 'after how many events of an account the worker takes a snapshot of its state, at versions that are multiples of it; null = never';

    COMMENT ON COLUMN pointstore.account_kind.initial_state IS 'state that an account of the kind begins in; null or empty: none, which pointstore.transition writes as an empty from_state';
    COMMENT ON COLUMN pointstore.account_kind.transitions IS 'what becomes of event types that no row of pointstore.transition names for the kind: open (default), they leave the state alone; strict: they are refused (PS012)';
    COMMENT ON COLUMN pointstore.account_kind.commuting IS 'event types whose order among one another does not matter: an event of one of them with a stale expected_version is renumbered (outcome merged) where all events since are of these types too; null = none, the default';
    COMMENT ON COLUMN pointstore.account_kind.merge IS 'function (proposed jsonb, base_version bigint, since pointstore.event[]) returns jsonb that makes, of an event with a stale expected_version, the event to append instead, or null: PS001; kept with its schema; null = none, the default';
    COMMENT ON COLUMN pointstore.account_kind.lease_required IS 'whether events of an account X are taken only from who holds the lease account:X (PS014); default false';

    COMMENT ON TABLE pointstore.balance IS 'What each hybrid account holds now. A change must raise version by 1 (PS001) and come with its event before commit (PS010)';
    COMMENT ON COLUMN pointstore.balance.aggregate_id IS 'name of the account, 1 to 512 bytes';
    COMMENT ON COLUMN pointstore.balance.kind IS 'its rules, see pointstore.account_kind; changed by set_kind() alone';
    COMMENT ON COLUMN pointstore.balance.version IS 'version of its last event; 0 = no event';
    COMMENT ON COLUMN pointstore.balance.balance IS 'sum of its events'' amounts, minor units';
    COMMENT ON COLUMN pointstore.balance.held IS 'what its open holds reserve, minor units';
    COMMENT ON COLUMN pointstore.balance.next_expiry IS 'when the first of its open holds expires; null = none';
    COMMENT ON COLUMN pointstore.balance.status IS 'open, frozen (PS004) or closed (PS005); changed by functions alone';
    COMMENT ON COLUMN pointstore.balance.state IS 'state after its last event, or as set_kind() has set it since; null = none; kept by the store, 22023 from who writes the table';
    COMMENT ON COLUMN pointstore.balance.updated_at IS 'when the row last changed, never before its last event; kept by the store, a given value is replaced';

    COMMENT ON TABLE pointstore.pure_account IS 'The pure accounts: what they hold is what their last event says. Read by appends, written on a change of status';
    COMMENT ON COLUMN pointstore.pure_account.aggregate_id IS 'name of the account, 1 to 512 bytes';
    COMMENT ON COLUMN pointstore.pure_account.kind IS 'its rules, see pointstore.account_kind; changed by set_kind() alone';
    COMMENT ON COLUMN pointstore.pure_account.status IS 'open, frozen (PS004) or closed (PS005); changed by functions alone';

    COMMENT ON TABLE pointstore.account_log IS 'What happened to an account without being an event, append-only (PS006)';
    COMMENT ON COLUMN pointstore.account_log.id IS 'place in the log, with gaps';
    COMMENT ON COLUMN pointstore.account_log.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.account_log.action IS 'open, close, freeze, unfreeze, set_kind, rebuild, repair or acknowledge';
    COMMENT ON COLUMN pointstore.account_log.reason IS 'as the caller gave it';
    COMMENT ON COLUMN pointstore.account_log.before IS 'the account before; null when there was none';
    COMMENT ON COLUMN pointstore.account_log.after IS 'the account afterwards';
    COMMENT ON COLUMN pointstore.account_log.by_role IS 'the role that acted';
    COMMENT ON COLUMN pointstore.account_log.at IS 'clock when it acted';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_accounts() IS
'Puts the comments on the tables of accounts. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.create_account_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.account AS
    SELECT b.aggregate_id, b.kind, 'hybrid'::text AS mode, k.unit, b.version, b.balance, b.held,
           -- the first of its holds to expire tells whether any has; at most what bigint holds
           least(greatest(b.balance - b.held::numeric + CASE WHEN b.next_expiry <= clock_timestamp()
               THEN (SELECT coalesce(sum(h.amount), 0)
                       FROM pointstore.hold h
                      WHERE h.aggregate_id = b.aggregate_id AND h.status = 'open'
                        AND h.expires_at <= clock_timestamp())
               ELSE 0 END, -9223372036854775808), 9223372036854775807)::bigint AS available, b.status, b.state, b.updated_at
      FROM pointstore.balance b
      LEFT JOIN pointstore.account_kind k ON k.kind = b.kind
    UNION ALL
    SELECT p.aggregate_id, p.kind, 'pure'::text, k.unit, coalesce(e.version, 0), coalesce(e.balance_after, 0), 0,
           coalesce(e.balance_after, 0), p.status,
           -- the last event's, unless the log says that it was set since, or at the opening
           nullif(CASE WHEN l.after ->> 'version' = coalesce(e.version, 0)::text THEN l.after ->> 'state' ELSE e.state_after END, ''),
           e.created_at
      FROM pointstore.pure_account p
      LEFT JOIN pointstore.account_kind k ON k.kind = p.kind
      LEFT JOIN LATERAL (SELECT s.version, s.balance_after, s.state_after, s.created_at
                           FROM pointstore.event_store s
                          WHERE s.aggregate_id = p.aggregate_id
                          ORDER BY s.version DESC LIMIT 1) e ON true
      LEFT JOIN LATERAL (SELECT g.after
                           FROM pointstore.account_log g
                          WHERE g.aggregate_id = p.aggregate_id AND g.after ? 'state' AND g.action IN ('open', 'set_kind', 'rebuild', 'repair')
                            AND (e.state_after IS NOT NULL OR k.initial_state IS NOT NULL OR EXISTS (SELECT FROM pointstore.transition))
                          ORDER BY g.id DESC LIMIT 1) l ON true;
    COMMENT ON VIEW pointstore.account IS
    'Every account, hybrid and pure alike: what it holds now and the rules it lives under. Amounts in minor units. updated_at of a pure account is that of its last event.';
    COMMENT ON COLUMN pointstore.account.aggregate_id IS 'name of the account';
    COMMENT ON COLUMN pointstore.account.kind IS 'its rules, see pointstore.account_kind';
    COMMENT ON COLUMN pointstore.account.mode IS 'hybrid or pure';
    COMMENT ON COLUMN pointstore.account.unit IS 'what its amounts count';
    COMMENT ON COLUMN pointstore.account.version IS 'version of its last event; 0 = no event';
    COMMENT ON COLUMN pointstore.account.balance IS 'sum of its events'' amounts, minor units';
    COMMENT ON COLUMN pointstore.account.held IS 'what its open holds reserve, minor units; also those that have expired and are not swept yet';
    COMMENT ON COLUMN pointstore.account.available IS 'balance - held, expired holds not counted: what a debit may take, before the floor; minor units';
    COMMENT ON COLUMN pointstore.account.status IS 'open, frozen or closed';
    COMMENT ON COLUMN pointstore.account.state IS 'state after its last event, or as set_kind() has set it since; before the first event the kind''s initial_state; null = none';
    COMMENT ON COLUMN pointstore.account.updated_at IS 'when a hybrid account''s row last changed; of a pure one its last event''s created_at, null without events';
END
$$;
COMMENT ON FUNCTION pointstore.create_account_view() IS
'Makes or remakes the view of accounts. Called by create_store() and upgrade_store(); superusers only.';

-- src/account/held.sql
-- Holds, as they are stored.

-- Holds, and the index by which an event finds what follows from it: its reversals, the other legs.
CREATE FUNCTION pointstore.create_holds()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.hold (
        hold_id      text COLLATE "C" PRIMARY KEY,
        aggregate_id text COLLATE "C" NOT NULL,
        amount       bigint NOT NULL,
        captured     bigint NOT NULL,
        status       text NOT NULL,
        created_at   timestamptz NOT NULL,
        expires_at   timestamptz,
        closed_at    timestamptz,
        event_id     bigint
    );
    -- by its name: the functions go by it
    CREATE INDEX hold_open_idx ON pointstore.hold (aggregate_id, expires_at) WHERE status = 'open';
    -- replication that is divided by account needs the account of a row that is updated; with
    -- FULL a subscriber before PostgreSQL 16 would read the whole table for each of them
    CREATE UNIQUE INDEX hold_identity_idx ON pointstore.hold (hold_id, aggregate_id);
    ALTER TABLE pointstore.hold REPLICA IDENTITY USING INDEX hold_identity_idx;
    CREATE INDEX IF NOT EXISTS event_store_cause_id_idx ON pointstore.event_store (cause_id) WHERE cause_id IS NOT NULL;
END
$$;
COMMENT ON FUNCTION pointstore.create_holds() IS
'Creates the table of holds and the index of causes. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_holds()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.hold IS 'What is or was reserved, one row per hold; written by functions alone (22023, PS006)';
    COMMENT ON COLUMN pointstore.hold.hold_id IS 'name of the hold, 1 to 512 bytes, unique in the store';
    COMMENT ON COLUMN pointstore.hold.aggregate_id IS 'the account; empty where it was cancelled before it was placed and no account was named';
    COMMENT ON COLUMN pointstore.hold.amount IS 'what it reserves, minor units; 0 = cancelled before it was placed';
    COMMENT ON COLUMN pointstore.hold.captured IS 'what was taken of it when it was confirmed, minor units';
    COMMENT ON COLUMN pointstore.hold.status IS 'open, confirmed, cancelled or expired; an open one whose expires_at has passed reserves nothing any more';
    COMMENT ON COLUMN pointstore.hold.created_at IS 'when it was placed';
    COMMENT ON COLUMN pointstore.hold.expires_at IS 'when it ceases to reserve; null where it was never placed';
    COMMENT ON COLUMN pointstore.hold.closed_at IS 'when it was confirmed, cancelled or swept; null = open';
    COMMENT ON COLUMN pointstore.hold.event_id IS 'id of its event HoldPlaced, the cause of the one that closes it; null where it was never placed';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_holds() IS
'Puts the comments on the table of holds. Called by create_store() and upgrade_store(); superusers only.';

-- src/account/lease.sql
-- Leases: locks with a name, for a time.

CREATE TYPE pointstore.lease_grant AS (
    acquired   boolean,
    token      bigint,
    holder     text,
    expires_at timestamptz
);
COMMENT ON TYPE pointstore.lease_grant IS
'What has become of an acquire_lease(): whether the lease is the caller''s, then with its token, the fence; whose it is, null where nobody has it yet and others come before; until when, null with a session.';

CREATE FUNCTION pointstore.create_leases()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- no index on what changes: a lease that changes hands leaves nothing in an index
    CREATE TABLE pointstore.lease (
        name        text COLLATE "C" PRIMARY KEY,
        holder      text,
        token       bigint NOT NULL,
        acquired_at timestamptz,
        expires_at  timestamptz
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_leases() IS
'Creates the table of leases. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_leases()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.lease IS 'Leases, those that have ended too: the sweep deletes them a day later. Changed by functions alone';
    COMMENT ON COLUMN pointstore.lease.name IS 'name of the lease, 1 to 520 bytes; account:X is that of account X';
    COMMENT ON COLUMN pointstore.lease.holder IS 'a label, as acquire_lease() was given it; null = it was released';
    COMMENT ON COLUMN pointstore.lease.token IS 'the last one that was given; each is larger than all before it: at least the clock in microseconds since 1970';
    COMMENT ON COLUMN pointstore.lease.acquired_at IS 'clock when it was acquired';
    COMMENT ON COLUMN pointstore.lease.expires_at IS 'clock when it ends, or was released; null = with the session that has acquired it';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_leases() IS
'Puts the comments on the table of leases. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.acquire_lease(name text, holder text, ttl interval = '30 s')
RETURNS pointstore.lease_grant LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_acquire_lease';
COMMENT ON FUNCTION pointstore.acquire_lease(text, text, interval) IS
'Acquires a lease that is nobody''s, or has expired, and returns its token; else says whose it is. Waits for nobody: not for transactions that have checked a lease which has ended, nor before those who wait in wait_for_lease(). holder: a label; the same one again does not acquire it again. ttl: how long it stands from now, by the server''s clock; null = as long as this session, or until it gives up its advisory locks (DISCARD ALL). The lease of account X is account:X. To be called in a transaction of its own: until that commits the lease is nobody else''s, and who appends to the account waits for it. 22004: null name or holder; 22023: a bad name, a ttl that is not positive.';

CREATE PROCEDURE pointstore.wait_for_lease(name text, holder text, ttl interval, wait interval,
    INOUT token bigint = NULL, INOUT expires_at timestamptz = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_lease';
COMMENT ON PROCEDURE pointstore.wait_for_lease(text, text, interval, interval, bigint, timestamptz) IS
'Waits for a lease, wait at most, and acquires it: returns its token and its end, nulls at the timeout. Who waits is served in the order of arrival, as soon as the lease is released, expires or ends with its session, and all transactions that have checked it have ended; without preloading in no order, a look at most each second. Holds no snapshot while it waits, and commits the lease. ttl as for acquire_lease(). 25001: in a transaction block; else as acquire_lease().';

CREATE FUNCTION pointstore.renew_lease(name text, token bigint, ttl interval = '30 s')
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_renew_lease';
COMMENT ON FUNCTION pointstore.renew_lease(text, bigint, interval) IS
'A lease ends ttl from now; returns when. Not held up by transactions that have checked it. null = as long as this session (then 55006 where it is another session''s). PS014: it has expired, or passed to another, so that there is nothing to renew; 22004: null; 22023: a ttl that is not positive.';

CREATE FUNCTION pointstore.release_lease(name text, token bigint)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_release_lease';
COMMENT ON FUNCTION pointstore.release_lease(text, bigint) IS
'Gives a lease back: with the commit it is nobody''s. False, and nothing is done, where it has expired or passed to another. 22004: null.';

CREATE FUNCTION pointstore.check_lease(name text, token bigint)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_check_lease';
COMMENT ON FUNCTION pointstore.check_lease(text, bigint) IS
'PS014 unless the token is that of the lease, which has not expired. Until this transaction ends it then changes hands no more, also where it expires meanwhile. 22004: null.';

CREATE FUNCTION pointstore.steal_lease(name text, holder text, ttl interval = '30 s')
RETURNS pointstore.lease_grant LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_steal_lease';
COMMENT ON FUNCTION pointstore.steal_lease(text, text, interval) IS
'An operator''s: acquires a lease whoever has it, before all who wait for it. The former holder''s token is worth nothing from then on. Transactions that have checked it are waited for, up to lock_timeout: 55P03, which names their processes. Else as acquire_lease().';

-- src/account/opening.sql
-- Accounts are opened.

CREATE FUNCTION pointstore.open_account(aggregate_id text, kind text = 'default')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_open_account';
COMMENT ON FUNCTION pointstore.open_account(text, text) IS
'Opens an account under a kind; under one without auto_open operators alone (42501). Opening an open or frozen account again under its own kind does nothing. 22023: bad or unknown name, or an account of another kind; 22004: null; PS005: the account was closed.';

-- src/account/status.sql
-- Status and kind of an account.

CREATE FUNCTION pointstore.close_account(aggregate_id text, reason text = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_close_account';
COMMENT ON FUNCTION pointstore.close_account(text, text) IS
'Closes an account for good; the reason goes into account_log. PS011: balance or held is not 0; PS004: it is frozen; PS008: it is not there; PS010: a change by hand waits for its event or balance. Transactions that have appended to it are waited for. Closing a closed account does nothing.';

CREATE FUNCTION pointstore.freeze_account(aggregate_id text, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_freeze_account';
COMMENT ON FUNCTION pointstore.freeze_account(text, text) IS
'Freezes an account: appends are refused (PS004) until unfreeze_account(). The reason goes into account_log, also that of a later freeze, which does nothing else. 22004: a null; 22023: an empty reason; PS005: it is closed; PS008: it is not there; PS010: a change by hand waits for its event or balance.';

CREATE FUNCTION pointstore.unfreeze_account(aggregate_id text, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_unfreeze_account';
COMMENT ON FUNCTION pointstore.unfreeze_account(text, text) IS
'Ends a freeze; the reason goes into account_log. 22004: a null; 22023: an empty reason; PS005: it is closed; PS008: it is not there; PS010: a change by hand waits for its event or balance. Unfreezing an open account does nothing.';

CREATE FUNCTION pointstore.set_kind(aggregate_id text, kind text, reason text = NULL, new_state text = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_set_kind';
COMMENT ON FUNCTION pointstore.set_kind(text, text, text, text) IS
'Puts an account under the rules of another kind of the same mode and unit. What it holds is not checked against the new floor and ceiling: they bind the next appends. It keeps its state where that is the kind''s initial_state or in a row of pointstore.transition of the kind; without events it gets the initial_state; under a kind without states it has none. new_state: the state to put it in, empty = none; also of an account that is under the kind already. 22023: unknown kind, or a new_state that it does not have; PS011: another mode, another unit and the account has events, or a state that the kind does not know; PS005: it is closed; PS008: it is not there; PS010: a change by hand waits for its event or balance.';

-- src/account/transition.sql
-- State machines: which event may follow which state.

CREATE FUNCTION pointstore.create_transitions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.transition (
        kind       text COLLATE "C" NOT NULL,
        from_state text COLLATE "C" NOT NULL,
        event_type text COLLATE "C" NOT NULL,
        to_state   text COLLATE "C" NOT NULL,
        PRIMARY KEY (kind, from_state, event_type)
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_transitions() IS
'Creates the table of transitions. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_transitions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.transition IS 'Which event moves an account of a kind from which state to which. A type that a kind''s rows name is refused (PS012) from any state that they do not name with it';
    COMMENT ON COLUMN pointstore.transition.kind IS 'kind of account, see pointstore.account_kind';
    COMMENT ON COLUMN pointstore.transition.from_state IS 'state before the event; empty = none, as before the first event of an account whose kind has no initial_state';
    COMMENT ON COLUMN pointstore.transition.event_type IS 'type of the event';
    COMMENT ON COLUMN pointstore.transition.to_state IS 'state after it; empty = none';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_transitions() IS
'Puts the comments on the table of transitions. Called by create_store() and upgrade_store(); superusers only.';

-- src/append/append.sql
-- Events, and what appends them.

CREATE TYPE pointstore.receipt AS (
    outcome      text,
    aggregate_id text,
    version      bigint,
    balance      bigint,
    available    bigint,
    id           bigint,
    created_at   timestamptz
);
COMMENT ON TYPE pointstore.receipt IS
'What an append returns. outcome: appended or replayed; from the try_ forms also version_conflict, request_mismatch, insufficient_balance, balance_limit, account_frozen, account_closed, account_missing, not_allowed, transition_not_allowed or lease_lost, with the actual version, balance and available of the account; from cancel_hold() of a hold that was not there tombstone; of a condition in append_events() checked. Where an event with a stale expected_version was merged (account_kind.commuting, account_kind.merge), merged instead of appended. Amounts in minor units. A replayed receipt is the first one again, with available null.';

CREATE FUNCTION pointstore.append_event(
    aggregate_id     text,
    event_type       text,
    amount           bigint = 0,
    payload          jsonb = '{}',
    expected_version bigint = NULL,
    request_id       text = NULL,
    min_balance      bigint = NULL,
    occurred_at      timestamptz = NULL,
    kind             text = NULL,
    metadata         jsonb = NULL,
    payload_version  smallint = NULL,
    cause_id         bigint = NULL,
    lease_token      bigint = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_append_event';
COMMENT ON FUNCTION pointstore.append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint) IS
'Appends one event and changes the balance by its amount (minor units), in the caller''s transaction. To be called as SELECT * FROM append_event(...): SELECT (append_event(...)).* calls it once for each column, and appends seven times. A null payload is {}. expected_version: null = any, 0 = no event yet, N = the last version. A stale one may be merged by the account''s kind (commuting, merge), which is outcome merged. request_id: applied once, a repeat returns the first receipt. min_balance: a floor for this call beside the kind''s. kind: opens the account under it. payload_version: the form of the payload, null = 1 (see pointstore.upcaster); part of what a repeat is compared by. cause_id: the id of the event that this one follows from, as a note: no rule looks at it, nor whether there is such an event, for it may be in another store; nor is it compared with that of a repeat; 22023 where it is not positive, and, since that is what a reversal looks like, with an amount and a payload of nothing but a version. lease_token: that of the lease account:X of account X, which is looked at whether its kind has lease_required or not; null: those of the setting pointstore.lease_token count, where it has. Refusals: PS001 version, PS002 request_id used otherwise, PS003 floor, PS004 frozen, PS005 closed, PS008 missing, PS009 ceiling, PS012 state (DETAIL: the state and what it allows), PS014 lease, 22003 overflow, 22004 null, 22023 bad value, 40001 in REPEATABLE READ and above.';

CREATE FUNCTION pointstore.try_append_event(
    aggregate_id     text,
    event_type       text,
    amount           bigint = 0,
    payload          jsonb = '{}',
    expected_version bigint = NULL,
    request_id       text = NULL,
    min_balance      bigint = NULL,
    occurred_at      timestamptz = NULL,
    kind             text = NULL,
    metadata         jsonb = NULL,
    payload_version  smallint = NULL,
    cause_id         bigint = NULL,
    lease_token      bigint = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_append_event';
COMMENT ON FUNCTION pointstore.try_append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint) IS
'append_event() that answers a refusal with a receipt instead of an error: outcome version_conflict, request_mismatch, insufficient_balance, balance_limit, account_frozen, account_closed, account_missing, not_allowed, transition_not_allowed or lease_lost, with the account''s actual version, balance and available. Malformed input and overflow are errors still (22003, 22004, 22023).';

CREATE FUNCTION pointstore.append_events(events jsonb, request_id text = NULL, balanced boolean = false)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_append_events';
COMMENT ON FUNCTION pointstore.append_events(jsonb, text, boolean) IS
'Appends an array of events, all or nothing, and returns their receipts in input order. Each element is an object with the arguments of append_event() as keys (amounts also as strings); an unknown key is 22023. A cause_id is 22023 where it would make the element a leg of a transfer: in a balanced call whose elements have no request_ids, and in any but the first of a call with a request_id. Either the call has a request_id (replayed only as a whole) or its elements may have their own, not both (22023). balanced: the amounts must sum to zero per unit (22023), and the events are legs of one movement: each but the first has it as its cause, unless the elements have request_ids of their own. An element {"check": true, "aggregate_id": ..., "expected_version": ...} is a condition: it writes nothing, and the call is refused (PS001) unless the account had that version before the call, which it then keeps until the transaction ends: its row is locked FOR SHARE. Its receipt''s outcome is checked, without id and created_at. It has no other key, takes no leg and is not judged in a replay; a call of checks alone has no request_id (22023); on a missing account with expected_version 0, and on a pure one, it is 0A000. Refusals as for append_event(), of the first failing element, which their DETAIL, and the CONTEXT of any error, names.';

CREATE FUNCTION pointstore.try_append_events(events jsonb, request_id text = NULL, balanced boolean = false)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_append_events';
COMMENT ON FUNCTION pointstore.try_append_events(jsonb, text, boolean) IS
'append_events() that answers a refusal with one receipt instead of an error, that of the element which is refused, with the account as it stands, without the elements before it, and leaves nothing behind. Malformed input, overflow and amounts that are not balanced are errors still (22003, 22004, 22023).';

CREATE FUNCTION pointstore.create_events()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- No defaults here: a BEFORE trigger could not tell them from given values,
    -- and nextval would be drawn before the checks. No CHECK constraints
    -- either: the executor parses each of them again for every statement, and
    -- append.c has checked already.
    CREATE TABLE pointstore.event_store (
        id            bigint NOT NULL,
        aggregate_id  text COLLATE "C" NOT NULL,
        version       bigint NOT NULL,
        event_type    text NOT NULL,
        amount        bigint NOT NULL,
        held          bigint NOT NULL,
        balance_after bigint NOT NULL,
        payload       jsonb NOT NULL,
        metadata      jsonb,
        request_id    text COLLATE "C",
        leg           smallint,
        cause_id      bigint,
        occurred_at   timestamptz NOT NULL,
        created_at    timestamptz NOT NULL,
        payload_version smallint,
        state_after   text,
        PRIMARY KEY (aggregate_id, version),
        UNIQUE (request_id, leg),
        UNIQUE (id)
    );
    CREATE SEQUENCE pointstore.event_store_id_seq OWNED BY pointstore.event_store.id;
END
$$;
COMMENT ON FUNCTION pointstore.create_events() IS
'Creates the table of events and its sequence. Called by create_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_events()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.event_store IS 'Every change of every account, append-only (PS006)';
    COMMENT ON COLUMN pointstore.event_store.id IS 'place in the whole store: in the order in which appends began, with gaps; drawn by the store, a given one is ignored';
    COMMENT ON COLUMN pointstore.event_store.aggregate_id IS 'the account, 1 to 512 bytes';
    COMMENT ON COLUMN pointstore.event_store.version IS 'number of the event in its account: 1, 2, 3 without gaps; null in an INSERT = the next';
    COMMENT ON COLUMN pointstore.event_store.event_type IS 'what kind of thing happened, in the user''s words, 1 to 512 bytes';
    COMMENT ON COLUMN pointstore.event_store.amount IS 'change of balance, minor units; null in an INSERT = what the balance changed by in this transaction, else 0; 22004 where the kind has amount_required, or nothing has changed and pointstore.balance_writer is caller';
    COMMENT ON COLUMN pointstore.event_store.held IS 'change of held, minor units';
    COMMENT ON COLUMN pointstore.event_store.balance_after IS 'balance after this event, minor units; computed';
    COMMENT ON COLUMN pointstore.event_store.payload IS 'what happened; default {}';
    COMMENT ON COLUMN pointstore.event_store.metadata IS 'who and how: actor, correlation id, trace; never compared with a repeated request. The key pointstore.proposed is the store''s (22023): of an event that a merge function made, what was proposed, which a repeat is compared with';
    COMMENT ON COLUMN pointstore.event_store.request_id IS 'the caller''s name for the request, 1 to 512 bytes: applied once; null = none';
    COMMENT ON COLUMN pointstore.event_store.leg IS 'place in a request of several events, or among the legs of a balanced call, from 0';
    COMMENT ON COLUMN pointstore.event_store.cause_id IS 'id of the event this one follows from, here or in another store; null = none. Of a leg of a transfer, from the second on, that of its first; of a step of a hold that of its placing; of a reversal that of what it reverses; of other events what their callers have given';
    COMMENT ON COLUMN pointstore.event_store.occurred_at IS 'business time: as given, else created_at';
    COMMENT ON COLUMN pointstore.event_store.created_at IS 'clock at the append, never before the account''s previous event; may be given by who may write the table, not in the future (22023)';
    COMMENT ON COLUMN pointstore.event_store.payload_version IS 'form of the payload, from 1; null = 1. Upcasters (pointstore.upcaster) bring older forms to the newest wherever events are read, never what is stored';
    COMMENT ON COLUMN pointstore.event_store.state_after IS 'state of the account after this event, where its kind has transitions (pointstore.transition); null = none; computed, 22023 from who writes the table';
    COMMENT ON SEQUENCE pointstore.event_store_id_seq IS 'source of event_store.id; may be given a range of its own per node';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_events() IS
'Puts the comments on the table of events. Called by create_store() and upgrade_store(); superusers only.';

-- Until 1.2 events were found by time in an index (aggregate_id, created_at, version). It is
-- known by that alone, whatever it is called by now; one that is anything more, or
-- that a constraint rests on, is the user's.
CREATE FUNCTION pointstore.drop_time_index()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    index_name name;
BEGIN
    FOR index_name IN
        SELECT c.relname
          FROM pg_index i
          JOIN pg_class c ON c.oid = i.indexrelid AND NOT c.relispartition
          JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
         WHERE i.indrelid = 'pointstore.event_store'::regclass AND i.indnatts = 3 AND i.indnkeyatts = 3
           AND NOT i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL
           AND NOT EXISTS (SELECT FROM pg_constraint t WHERE t.conindid = i.indexrelid)
           AND NOT EXISTS (SELECT FROM unnest(ARRAY['aggregate_id', 'created_at', 'version']) WITH ORDINALITY k (name, place)
                             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = k.name
                             LEFT JOIN pg_opclass o ON o.oid = i.indclass[k.place - 1]
                            WHERE a.attnum IS DISTINCT FROM i.indkey[k.place - 1] OR o.opcdefault IS NOT TRUE
                               OR a.attcollation <> i.indcollation[k.place - 1] OR i.indoption[k.place - 1] <> 0)
    LOOP
        EXECUTE format('DROP INDEX pointstore.%I', index_name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.drop_time_index() IS
'Drops the index on event_store (aggregate_id, created_at, version) of stores before 1.2. Called by upgrade_store(); superusers only.';

-- src/guard/account.sql
-- The triggers of the other tables.

CREATE FUNCTION pointstore.guard_pure_account()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_pure_account';
COMMENT ON FUNCTION pointstore.guard_pure_account() IS
'Trigger of pointstore.pure_account: rows are opened under a pure kind and change by functions alone (22023).';

CREATE FUNCTION pointstore.guard_account_kind()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_account_kind';
COMMENT ON FUNCTION pointstore.guard_account_kind() IS
'Trigger of pointstore.account_kind: a used kind keeps its name, mode and unit and is not deleted (PS011).';

CREATE FUNCTION pointstore.guard_hold()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_hold';
COMMENT ON FUNCTION pointstore.guard_hold() IS
'Trigger of pointstore.hold: its rows are written by functions alone (22023).';

CREATE FUNCTION pointstore.guard_append_only()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_append_only';
COMMENT ON FUNCTION pointstore.guard_append_only() IS
'Trigger BEFORE UPDATE, DELETE or TRUNCATE of a table of the store, which it refuses (PS006).';

-- src/guard/balance.sql
-- The triggers of balance.

CREATE FUNCTION pointstore.guard_balance()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_balance';
COMMENT ON FUNCTION pointstore.guard_balance() IS
'Trigger of pointstore.balance: a change raises version by 1 (PS001), keeps the account''s rules, and has its event before commit (PS010).';

-- src/guard/check_version.sql
-- The trigger for tables of the users'.

CREATE FUNCTION pointstore.check_version()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_check_version';
COMMENT ON FUNCTION pointstore.check_version() IS
'Trigger for any table: BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION pointstore.check_version(''version'' [, ''auto'']). An UPDATE must raise the named smallint, integer or bigint column by exactly 1, or raise the named timestamptz column, else PS001; with auto an UPDATE that leaves the column alone raises it. Wrong arguments or use: 22023, 42703, 42804 or 39P01.';

-- src/guard/event.sql
-- The triggers of event_store.

CREATE FUNCTION pointstore.guard_event_store()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_event_store';
COMMENT ON FUNCTION pointstore.guard_event_store() IS
'Trigger of pointstore.event_store: numbers and checks an inserted event under the rules of append_event(), and moves the balance once it is stored, unless pointstore.balance_writer is caller: then the caller''s UPDATE is its pair before commit (PS010). 39P01: elsewhere.';

-- src/guard/function.sql
-- The trigger of functions that the store calls.

CREATE FUNCTION pointstore.guard_function()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_function';
COMMENT ON FUNCTION pointstore.guard_function() IS
'Trigger of pointstore.account_kind and pointstore.upcaster: a function is kept with its schema and arguments, must be there (42883), and is one that who names it, and the store''s owner, may have called (42501).';

-- src/guard/transition.sql
-- The trigger of transition.

CREATE FUNCTION pointstore.guard_transition()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_transition';
COMMENT ON FUNCTION pointstore.guard_transition() IS
'Trigger of pointstore.transition: its rows are of a kind that there is, name states and event types as they may be, and none that asks for no transition (22023).';

-- src/guard/trigger.sql
-- All triggers of a store.

-- What every store has besides its tables: the list that create_store() and
-- upgrade_store() make complete, and that the functions check before they trust
-- a store. One row per trigger.
CREATE FUNCTION pointstore.store_triggers(OUT tab text, OUT trigger_name text, OUT definition text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    VALUES
    ('event_store',  'zz_pointstore_append',      'BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.guard_event_store()'),
    ('event_store',  '_pointstore_settle',        'AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.guard_event_store()'),
    ('event_store',  '_pointstore_append_only',   'BEFORE UPDATE OR DELETE ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('event_store',  '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.event_store FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('balance',      'zz_pointstore_stamp',       'BEFORE UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pointstore.guard_balance()'),
    ('balance',      '_pointstore_check',         'AFTER INSERT OR UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pointstore.guard_balance()'),
    ('balance',      '_pointstore_append_only',   'BEFORE DELETE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('balance',      '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.balance FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('pure_account', '_pointstore_check',         'AFTER INSERT OR UPDATE ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION pointstore.guard_pure_account()'),
    ('pure_account', '_pointstore_append_only',   'BEFORE DELETE ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('pure_account', '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.pure_account FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_kind', '_pointstore_check',         'AFTER UPDATE OR DELETE ON pointstore.account_kind FOR EACH ROW EXECUTE FUNCTION pointstore.guard_account_kind()'),
    ('account_kind', '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.account_kind FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_kind', 'zz_pointstore_function',    'BEFORE INSERT OR UPDATE ON pointstore.account_kind FOR EACH ROW EXECUTE FUNCTION pointstore.guard_function()'),
    ('transition',   '_pointstore_check',         'AFTER INSERT OR UPDATE OR DELETE ON pointstore.transition FOR EACH ROW EXECUTE FUNCTION pointstore.guard_transition()'),
    ('upcaster',     'zz_pointstore_function',    'BEFORE INSERT OR UPDATE ON pointstore.upcaster FOR EACH ROW EXECUTE FUNCTION pointstore.guard_function()'),
    ('hold',         '_pointstore_check',         'AFTER INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION pointstore.guard_hold()'),
    ('hold',         '_pointstore_append_only',   'BEFORE DELETE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('hold',         '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.hold FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_log',  '_pointstore_append_only',   'BEFORE UPDATE OR DELETE ON pointstore.account_log FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_log',  '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.account_log FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('feed_block',   '_pointstore_append_only',   'BEFORE DELETE ON pointstore.feed_block FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('feed_block',   '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.feed_block FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()')
$$;
COMMENT ON FUNCTION pointstore.store_triggers() IS
'The triggers that guard a store, as the installed version wants them: table, name and definition. upgrade_store() creates the missing ones.';

-- Creates the triggers that are missing and says how many.
CREATE FUNCTION pointstore.create_store_triggers()
RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing record;
    created integer := 0;
BEGIN
    FOR missing IN
        SELECT t.trigger_name, t.definition FROM pointstore.store_triggers() t
         WHERE NOT EXISTS (SELECT FROM pg_trigger g
                            WHERE g.tgrelid = ('pointstore.' || t.tab)::regclass
                              AND g.tgname = t.trigger_name)
    LOOP
        EXECUTE format('CREATE TRIGGER %I %s', missing.trigger_name, missing.definition);
        created := created + 1;
    END LOOP;
    RETURN created;
END
$$;
COMMENT ON FUNCTION pointstore.create_store_triggers() IS
'Creates the triggers of pointstore.store_triggers() that a store lacks and returns their number. Called by create_store() and upgrade_store(); superusers only.';

-- src/money/hold.sql
-- Holds.

CREATE FUNCTION pointstore.hold(
    aggregate_id text,
    amount       bigint,
    hold_id      text = NULL,
    expires_in   interval = '15 min',
    payload      jsonb = '{}',
    lease_token  bigint = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_hold';
COMMENT ON FUNCTION pointstore.hold(text, bigint, text, interval, jsonb, bigint) IS
'Reserves an amount (minor units) of an account: an event HoldPlaced, and a row of pointstore.hold. hold_id: unique in the store, a repeat returns the first receipt; null draws one, which stands in the row whose event_id is the receipt''s id. From expires_in on it reserves nothing. lease_token: as for append_event(); confirm_hold() and cancel_hold() go by the setting pointstore.lease_token. Refusals: PS002 hold_id used for another account, amount or payload, PS003 floor, PS004 frozen, PS005 closed, PS007 cancelled before, PS008 missing, PS012 state, PS014 lease, 0A000 a pure account, 22003, 22004, 22023.';

CREATE FUNCTION pointstore.try_hold(
    aggregate_id text,
    amount       bigint,
    hold_id      text = NULL,
    expires_in   interval = '15 min',
    payload      jsonb = '{}',
    lease_token  bigint = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_hold';
COMMENT ON FUNCTION pointstore.try_hold(text, bigint, text, interval, jsonb, bigint) IS
'hold() that answers a refusal with a receipt instead of an error: outcome request_mismatch, insufficient_balance, account_frozen, account_closed, account_missing, transition_not_allowed, lease_lost or, where it was cancelled before, not_allowed. Amount in minor units. Malformed input and a pure account are errors still (0A000, 22003, 22004, 22023).';

CREATE FUNCTION pointstore.confirm_hold(
    hold_id      text,
    amount       bigint = NULL,
    aggregate_id text = NULL,
    to_id        text = NULL,
    payload      jsonb = '{}',
    metadata     jsonb = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_confirm_hold';
COMMENT ON FUNCTION pointstore.confirm_hold(text, bigint, text, text, jsonb, jsonb) IS
'Takes what a hold reserves, or an amount of it (minor units), and releases the rest: an event HoldConfirmed, once; a repeat returns the first receipt. The floor is not asked again. to_id: the account that gets what is taken, by an event Transferred with the first as its cause, as a transfer''s second leg; the receipt is the payer''s. metadata: a JSON object, which hold_id is added to; never compared. PS002: it was confirmed with another amount, to_id or payload, or is one of another account than the given; PS004: an account is frozen; PS007: it has expired or was cancelled; PS008: there is no such hold; PS011: more than it reserves, or the accounts count different units; refusals of to_id as for append_event(); 22004, 22023.';

CREATE FUNCTION pointstore.try_confirm_hold(
    hold_id      text,
    amount       bigint = NULL,
    aggregate_id text = NULL,
    to_id        text = NULL,
    payload      jsonb = '{}',
    metadata     jsonb = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_confirm_hold';
COMMENT ON FUNCTION pointstore.try_confirm_hold(text, bigint, text, text, jsonb, jsonb) IS
'confirm_hold() that answers a refusal with a receipt instead of an error, of to_id''s account where that refuses, and leaves nothing behind; account_missing where there is no such hold, not_allowed where it is not open. Amount in minor units. Malformed input and overflow are errors still (22003, 22004, 22023).';

CREATE FUNCTION pointstore.cancel_hold(hold_id text, aggregate_id text = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_cancel_hold';
COMMENT ON FUNCTION pointstore.cancel_hold(text, text) IS
'Releases what a hold reserves: an event HoldCancelled, also on a frozen account; a repeat, or after it has expired, returns the first receipt. Of a hold that is not there yet it leaves a row, without an event, so that placing it is refused (PS007); the receipt''s outcome is tombstone then, also when that is repeated, and it has no version. aggregate_id: must be the hold''s account, where given. PS002: it is one of another account; PS007: it was confirmed; 22004, 22023.';

CREATE FUNCTION pointstore.try_cancel_hold(hold_id text, aggregate_id text = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_cancel_hold';
COMMENT ON FUNCTION pointstore.try_cancel_hold(text, text) IS
'cancel_hold() that answers a refusal with a receipt instead of an error: request_mismatch, or not_allowed where it was confirmed. Malformed input is an error still (22004, 22023).';

-- src/money/reversal.sql
-- Reversals.

CREATE FUNCTION pointstore.reverse_event(
    aggregate_id text,
    version      bigint,
    amount       bigint = NULL,
    request_id   text = NULL,
    allow_debt   boolean = false)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_reverse_event';
COMMENT ON FUNCTION pointstore.reverse_event(text, bigint, bigint, text, boolean) IS
'Takes an event back, in whole or in part: an event EventReversed with the opposite amount and the reversed one as its cause; of a transfer all legs, in the same proportion and from the last to the first. amount: minor units, positive; null = what is left. allow_debt: the account may go below its floor; operators alone (42501). request_id: applied once; PS002 where it took back a part and all is asked for. Returns the receipts. PS008: no such event; PS011: more than what is left, a reversal, or an event that moved nothing; refusals as for append_event().';

CREATE FUNCTION pointstore.try_reverse_event(
    aggregate_id text,
    version      bigint,
    amount       bigint = NULL,
    request_id   text = NULL,
    allow_debt   boolean = false)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_try_reverse_event';
COMMENT ON FUNCTION pointstore.try_reverse_event(text, bigint, bigint, text, boolean) IS
'reverse_event() that answers a refusal with one receipt instead of an error, that of the leg which is refused, and leaves nothing behind: account_missing where there is no such event. Amount in minor units. Malformed input and overflow are errors still (22003, 22004, 22023).';

-- src/money/statement.sql
-- Balances and statements.

CREATE FUNCTION pointstore.get_balance(aggregate_id text)
RETURNS SETOF pointstore.account_state LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_get_balance';
COMMENT ON FUNCTION pointstore.get_balance(text) IS
'The account as the view pointstore.account shows it, or no row when it is not there. Amounts in minor units. 22004: null.';

CREATE FUNCTION pointstore.balance_at(aggregate_id text, at timestamptz)
RETURNS bigint LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_balance_at';
COMMENT ON FUNCTION pointstore.balance_at(text, timestamptz) IS
'The balance that was known at a time (by created_at, inclusive), minor units; 0 before the first event. Found by halving over the primary key: the cost grows with the logarithm of the history. 22004: null.';

CREATE FUNCTION pointstore.balance_as_of(aggregate_id text, version bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_balance_as_of';
COMMENT ON FUNCTION pointstore.balance_as_of(text, bigint) IS
'The balance after the event of that version, minor units; 0 for version 0. One index probe. 22004: null; 22023: a negative version; PS008: the account has no event of that version.';

CREATE FUNCTION pointstore.statement(aggregate_id text, since timestamptz, until timestamptz,
    OUT entry text, OUT version bigint, OUT event_type text, OUT amount bigint, OUT balance bigint, OUT payload jsonb,
    OUT id bigint, OUT cause_id bigint, OUT occurred_at timestamptz, OUT created_at timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_statement';
COMMENT ON FUNCTION pointstore.statement(text, timestamptz, timestamptz) IS
'What happened to an account from since to before until, by created_at: a row opening with the balance before, a row event for each event with its amount and the balance after it, a row closing with the balance at the end. Minor units. Of an account that is not there both balances are 0. 22004: null; 22023: since after until.';

-- src/money/sweep.sql
-- Expired holds.

CREATE PROCEDURE pointstore.sweep_holds()
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_sweep_holds';
COMMENT ON PROCEDURE pointstore.sweep_holds() IS
'Closes the holds that have expired, each with an event HoldExpired, in batches that commit; what others have locked is passed over. They reserve nothing in any case. Deletes rows of leases that ended more than a day ago. 2D000: in a transaction block.';

-- src/money/transfer.sql
-- Transfers.

CREATE FUNCTION pointstore.transfer(
    from_id    text,
    to_id      text,
    amount     bigint,
    request_id text = NULL,
    event_type text = 'Transferred',
    payload    jsonb = '{}',
    metadata   jsonb = NULL,
    kind       text = NULL,
    lease_token bigint = NULL)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_transfer';
COMMENT ON FUNCTION pointstore.transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint) IS
'Moves an amount (minor units, positive) from one account to another: two events, the second with the first as its cause, all or nothing; returns both receipts, the payer''s first. request_id: applied once, as a whole. kind: that of an account which it opens, null = default; accounts that are there may be of any. lease_token: of the lease of whichever account''s kind asks for one; the tokens of two stand in the setting pointstore.lease_token. Refusals as for append_event(), of the leg that fails; PS011: the accounts count different units; 22023: to itself, or not positive.';

CREATE FUNCTION pointstore.try_transfer(
    from_id    text,
    to_id      text,
    amount     bigint,
    request_id text = NULL,
    event_type text = 'Transferred',
    payload    jsonb = '{}',
    metadata   jsonb = NULL,
    kind       text = NULL,
    lease_token bigint = NULL)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_try_transfer';
COMMENT ON FUNCTION pointstore.try_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint) IS
'transfer() that answers a refusal with one receipt instead of an error, that of the leg which is refused, and leaves nothing behind. Amount in minor units. Malformed input and overflow are errors still (22003, 22004, 22023).';

-- src/submit/submit.sql
-- Appends that are combined with those of others.

CREATE FUNCTION pointstore.submit_event(
    aggregate_id     text,
    event_type       text,
    amount           bigint = 0,
    payload          jsonb = '{}',
    expected_version bigint = NULL,
    request_id       text = NULL,
    min_balance      bigint = NULL,
    occurred_at      timestamptz = NULL,
    kind             text = NULL,
    metadata         jsonb = NULL,
    payload_version  smallint = NULL,
    cause_id         bigint = NULL,
    lease_token      bigint = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_submit_event';
COMMENT ON FUNCTION pointstore.submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint) IS
'append_event() that commits by itself, together with the events of other callers who wait at the same time: by a background worker of the database, the combiner, where the library is preloaded. Durable when it returns. Amount in minor units; arguments and refusals as for append_event(). 25001: in a transaction block, a subtransaction, a pipeline, after a write, or in a trigger or function of a statement that writes. Cancelled, terminated or without an answer the event may have been appended all the same: repeat the call with the same request_id.';

CREATE FUNCTION pointstore.try_submit_event(
    aggregate_id     text,
    event_type       text,
    amount           bigint = 0,
    payload          jsonb = '{}',
    expected_version bigint = NULL,
    request_id       text = NULL,
    min_balance      bigint = NULL,
    occurred_at      timestamptz = NULL,
    kind             text = NULL,
    metadata         jsonb = NULL,
    payload_version  smallint = NULL,
    cause_id         bigint = NULL,
    lease_token      bigint = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_submit_event';
COMMENT ON FUNCTION pointstore.try_submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint) IS
'submit_event() that answers a refusal with a receipt instead of an error, as try_append_event() does. Malformed input and overflow are errors still (22003, 22004, 22023), and so is 25001.';

CREATE FUNCTION pointstore.submit_transfer(
    from_id    text,
    to_id      text,
    amount     bigint,
    request_id text = NULL,
    event_type text = 'Transferred',
    payload    jsonb = '{}',
    metadata   jsonb = NULL,
    kind       text = NULL,
    lease_token bigint = NULL)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_submit_transfer';
COMMENT ON FUNCTION pointstore.submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint) IS
'transfer() that commits by itself, together with the events of other callers, as submit_event() does. Amount in minor units; arguments, receipts and refusals as for transfer(), and 25001 as for submit_event().';

CREATE FUNCTION pointstore.try_submit_transfer(
    from_id    text,
    to_id      text,
    amount     bigint,
    request_id text = NULL,
    event_type text = 'Transferred',
    payload    jsonb = '{}',
    metadata   jsonb = NULL,
    kind       text = NULL,
    lease_token bigint = NULL)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_try_submit_transfer';
COMMENT ON FUNCTION pointstore.try_submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint) IS
'submit_transfer() that answers a refusal with one receipt instead of an error, as try_transfer() does. Malformed input and overflow are errors still (22003, 22004, 22023), and so is 25001.';

-- src/verify/acknowledge.sql
-- What an operator has acknowledged.

CREATE FUNCTION pointstore.acknowledge(finding_id bigint, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_acknowledge';
COMMENT ON FUNCTION pointstore.acknowledge(bigint, text) IS
'The operator''s word that a finding which cannot be repaired is known and lived with: it is closed as acknowledged, and stays so while exactly that is wrong with exactly those events; anything further is a new finding. Runs are clean then, and nothing is frozen again. The reason goes into account_log. 22004: a null; 22023: an empty reason; PS008: no open finding of that number; PS011: it is not what is wrong now, or an index hides it.';

-- src/verify/course.sql
-- Histories, and the transitions of today.

CREATE FUNCTION pointstore.check_transitions(kind text,
    OUT aggregate_id text, OUT version bigint, OUT event_type text, OUT state text, OUT allowed text[])
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_check_transitions';
COMMENT ON FUNCTION pointstore.check_transitions(text) IS
'The accounts of a kind whose history its rows of pointstore.transition would refuse: the first event of each that they do not allow, the state that the account would be in before it (null = none), and the event types that they allow in that state. Each history is gone through from the kind''s initial_state, and from what set_kind() has said where it did; what came before an account was under the kind is passed over, and so are the states that are stored. To be run in the transaction that changes the rows, before it is committed. Reads all events of the kind''s accounts once, in order. 22023: there is no such kind.';

-- src/verify/digest.sql
-- The aggregate that proves a history.

CREATE TYPE pointstore.event_digest AS (
    events       bigint,
    last_version bigint,
    total        bigint,
    held         bigint,
    sound        boolean
);
COMMENT ON TYPE pointstore.event_digest IS
'What an account''s events say: their number, the largest version, the sums of amount and held (null beyond bigint), and whether versions are 1..n and every balance_after follows from the one before.';

CREATE FUNCTION pointstore.digest_add(internal, bigint, bigint, bigint, bigint, bigint, bigint, bigint)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_add';
COMMENT ON FUNCTION pointstore.digest_add(internal, bigint, bigint, bigint, bigint, bigint, bigint, bigint) IS 'Transition function of digest().';
CREATE FUNCTION pointstore.digest_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_combine';
COMMENT ON FUNCTION pointstore.digest_combine(internal, internal) IS 'Combines the states of parallel workers for digest().';
CREATE FUNCTION pointstore.digest_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_serialize';
COMMENT ON FUNCTION pointstore.digest_serialize(internal) IS 'Writes a state of digest() for another process.';
CREATE FUNCTION pointstore.digest_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_deserialize';
COMMENT ON FUNCTION pointstore.digest_deserialize(bytea, internal) IS 'Reads a state of digest() of another process.';
CREATE FUNCTION pointstore.digest_final(internal)
RETURNS pointstore.event_digest LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_final';
COMMENT ON FUNCTION pointstore.digest_final(internal) IS 'Final function of digest().';
CREATE AGGREGATE pointstore.digest(version bigint, amount bigint, held bigint, balance_after bigint, base_version bigint, base_balance bigint, key bigint) (
    SFUNC = pointstore.digest_add, STYPE = internal, SSPACE = 64,
    COMBINEFUNC = pointstore.digest_combine, SERIALFUNC = pointstore.digest_serialize, DESERIALFUNC = pointstore.digest_deserialize,
    FINALFUNC = pointstore.digest_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE pointstore.digest(bigint, bigint, bigint, bigint, bigint, bigint, bigint) IS
'The digest of one account''s events after a base (0, 0: all of them), in whatever order. key: drawn at random for each run.';

-- src/verify/examine.sql
-- What is wrong with an account.

CREATE FUNCTION pointstore.reconcile_account(aggregate_id text,
    OUT code text, OUT severity text, OUT expected bigint, OUT found bigint, OUT version bigint, OUT detail jsonb)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_reconcile_account';
COMMENT ON FUNCTION pointstore.reconcile_account(text) IS
'What is wrong with one account, from its first event, in the caller''s snapshot; no row when nothing is, nor while a change of it by hand in this transaction waits for its event or balance. Records nothing. 22004: null; PS008: neither a row nor an event of that name, now or in an earlier run.';

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

-- src/verify/rebuild.sql
-- Balance rows set to what the events say.

CREATE FUNCTION pointstore.rebuild_balance(
    INOUT aggregate_id text,
    force boolean = false,
    OUT old_version bigint, OUT new_version bigint,
    OUT old_balance bigint, OUT new_balance bigint,
    OUT old_held bigint, OUT new_held bigint,
    OUT changed boolean)
RETURNS record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_rebuild_balance';
COMMENT ON FUNCTION pointstore.rebuild_balance(text, boolean) IS
'Sets an account''s version, balance and held (minor units) to what its events say, under its row lock, and puts a missing row back; writes only when something differs, with before and after in account_log. The old values are null when the row was missing. force: also where the events are inconsistent. updated_at in the future is set to the clock, but never before the last event. 22003: the events'' sum is out of range; 22004: null; PS008: no account and no events of that name; PS011: the events are inconsistent (default), or an index does not say what its table says.';

CREATE PROCEDURE pointstore.rebuild_balances()
LANGUAGE c
AS 'MODULE_PATHNAME', 'pointstore_rebuild_balances';
COMMENT ON PROCEDURE pointstore.rebuild_balances() IS
'rebuild_balance() for every account, in batches that commit, with a NOTICE for each batch. Accounts whose events are inconsistent, or about which an index lies, are left as they are, with a WARNING for each. May be cancelled and called again: what it has done stays. Not inside a transaction block (2D000).';

-- src/verify/repair.sql
-- What is done about findings.

CREATE FUNCTION pointstore.repair(finding_id bigint, source_of_truth text = NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_repair';
COMMENT ON FUNCTION pointstore.repair(bigint, text) IS
'The operator''s decision about a finding: events sets the row to what the events say, balance appends an event BalanceAdjusted that brings the events to the balance; null (default) takes the kind''s source_of_truth. Returns what was done. 22004: null finding; 22023: another source; PS008: no open finding of that number; PS011: the events themselves are inconsistent, or the balance cannot be the truth here.';

-- src/verify/run.sql
-- Reconciliation: its runs, and what it keeps of its own.

CREATE PROCEDURE pointstore.reconcile(scope text = 'incremental', INOUT run_id bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_reconcile';
COMMENT ON PROCEDURE pointstore.reconcile(text, bigint) IS
'Compares balances with events and acts by each kind''s policy; commits as it goes and returns its run in run_id. scope incremental (default): the accounts that had events since the last run, from their last proved version. full: every account from its first event; an interrupted full run goes on where it stopped. Where another session reconciles the same scope: a NOTICE, and null. 22023: another scope; 2D000: in a transaction block.';

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
        proved_at    timestamptz NOT NULL
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
    COMMENT ON COLUMN pointstore.finding.run_id IS 'run that found it first';
    COMMENT ON COLUMN pointstore.finding.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.finding.code IS 'about the events: version_gap, chain_break, time_order, link_broken, duplicate_request or transfer_unbalanced (critical); about rows: balance_mismatch, version_mismatch, held_mismatch, hold_mismatch, missing_balance, orphan_balance, duplicate_row, account_mismatch or state_mismatch; index_mismatch (critical: an index hides or invents rows); sequence_settings, feed_mismatch (error: of the store as a whole)';
    COMMENT ON COLUMN pointstore.finding.severity IS 'critical: the events themselves are inconsistent; error: an overspend is possible; warning: the balance understates';
    COMMENT ON COLUMN pointstore.finding.expected IS 'what it should be by the events, minor units or a version';
    COMMENT ON COLUMN pointstore.finding.found IS 'what it is';
    COMMENT ON COLUMN pointstore.finding.version IS 'first bad version, or the last one';
    COMMENT ON COLUMN pointstore.finding.detail IS 'the account''s row and what its events say';
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
    COMMENT ON TABLE pointstore.reconciliation_checkpoint IS 'One row: up to which event id everything had come to rest when an incremental run looked';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.single IS 'true';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.safe_id IS 'events up to this id have been looked at, and no transaction that may have drawn one is still running';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.pending_id IS 'the same, once the transactions before pending_xmax have ended';
    COMMENT ON COLUMN pointstore.reconciliation_checkpoint.pending_xmax IS 'transaction id drawn after pending_id was read';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_reconciliation() IS
'Puts the comments on the tables of reconciliation. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.create_reconciliation_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
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
           pointstore.worker_alive() AS worker_alive
      FROM pointstore.finding f WHERE f.resolved_at IS NULL;
    COMMENT ON VIEW pointstore.reconciliation_status IS
    'One row: when the store was last proved, what is not proved yet, the open findings by severity, and whether the schedule is served.';
    COMMENT ON COLUMN pointstore.reconciliation_status.last_clean_full IS 'end of the last full run that found nothing';
    COMMENT ON COLUMN pointstore.reconciliation_status.last_incremental IS 'end of the last incremental run';
    COMMENT ON COLUMN pointstore.reconciliation_status.oldest_unproved IS 'created_at of the first event that no run has proved or looked at to the end yet; null = none';
    COMMENT ON COLUMN pointstore.reconciliation_status.open_critical IS 'open findings: the events themselves are inconsistent';
    COMMENT ON COLUMN pointstore.reconciliation_status.open_error IS 'open findings: an overspend is possible';
    COMMENT ON COLUMN pointstore.reconciliation_status.open_warning IS 'open findings: the balance understates';
    COMMENT ON COLUMN pointstore.reconciliation_status.worker_alive IS 'whether the launcher runs and this database is in pointstore.databases, with an interval that is not 0';
END
$$;
COMMENT ON FUNCTION pointstore.create_reconciliation_views() IS
'Makes or remakes the views of reconciliation. Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/check.sql
-- Whether the feed is what it promises to be.

CREATE FUNCTION pointstore.feed_check(OUT code text, OUT "position" bigint, OUT event_id bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_feed_check';
COMMENT ON FUNCTION pointstore.feed_check() IS
'Proves the feed in one snapshot, beside writers and the sequencer, also on a standby: no row where it is in order. code block: a row of feed_block does not follow the one before it, or its last_position is not what its ids come to, or it has nulls, more than it may, or is not sealed and not the last; position is its first. duplicate: an id, from which on ids may be, is in two blocks. missing_event: a position of an event that is not there. unsequenced: a committed event has no position and will not get one. order: an event has a position that is not above that of its account''s event before it. sequence: event_store_id_seq would not draw rising ids (event_id is null, or the highest id), or draws ids that pass for settled (event_id is the last one drawn). Where the events come by a subscription of logical replication only block, duplicate and order are judged. Reads all events and sorts them, within work_mem.';

-- src/feed/feed.sql
-- The feed, read.

CREATE TYPE pointstore.feed_event AS (
    "position"    bigint,
    id            bigint,
    aggregate_id  text,
    version       bigint,
    event_type    text,
    amount        bigint,
    held          bigint,
    balance_after bigint,
    payload       jsonb,
    metadata      jsonb,
    request_id    text,
    leg           smallint,
    cause_id      bigint,
    occurred_at   timestamptz,
    created_at    timestamptz,
    payload_version smallint,
    state_after   text,
    read_feed_to  bigint
);
COMMENT ON TYPE pointstore.feed_event IS
'An event of the feed: its position, the columns of event_store, and in read_feed_to the last position that the call which returned it has looked at.';

CREATE FUNCTION pointstore.feed_head()
RETURNS bigint LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_head';
COMMENT ON FUNCTION pointstore.feed_head() IS
'The last position given in the feed; 0 = none.';

CREATE FUNCTION pointstore.read_feed(
    after            bigint = 0,
    max_events       integer = 1000,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    raw              boolean = false)
RETURNS SETOF pointstore.feed_event LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_read_feed';
COMMENT ON FUNCTION pointstore.read_feed(bigint, integer, text[], text, boolean) IS
'Events after a position, in order of position; also on a standby. Payloads in their newest form (see pointstore.upcaster) or, raw, as they are stored. event_types, aggregate_prefix: only these, types as stored; null = all. Returns max_events at most, and fewer where they come to 4 MB, or 100,000 positions were looked at and something was found: read_feed_to says up to where, and the next call goes on there. Nothing: there is nothing up to the head that feed_head() told before. 22004: null, 22023: negative; 40001: ALTER TABLE has written event_store anew meanwhile; what an upcaster raises, with position=... in DETAIL.';

CREATE FUNCTION pointstore.position_of(event_id bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_position_of';
COMMENT ON FUNCTION pointstore.position_of(bigint) IS
'The position of an event in the feed, by its id; null: it has none yet. 22004: null.';

CREATE PROCEDURE pointstore.wait_for_feed(after bigint, timeout interval = '30 s', INOUT head bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_feed';
COMMENT ON PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint) IS
'Returns, with the head, as soon as the head of the feed is above after, or at the timeout (default 30 s). Holds no snapshot while it waits. Woken by the sequencer; without one, and on a standby, it looks every 20 ms. 25001: in a transaction block; 22004: null.';

CREATE FUNCTION pointstore.feed_incarnation()
RETURNS text LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_incarnation';
COMMENT ON FUNCTION pointstore.feed_incarnation() IS
'Whose positions these are: system identifier and timeline of the server, separated by a slash. Where it has changed, by a failover to a standby that lagged or a restore to a point in time, positions past that point may have been given anew.';

-- src/feed/projection.sql
-- Projections: read models that the background workers keep.

CREATE FUNCTION pointstore.create_projection(
    name             text,
    handler          regprocedure,
    start_after      bigint = 0,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    slots            smallint = 1,
    batch            integer = 500,
    on_failure       text = 'stop')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_create_projection';
COMMENT ON FUNCTION pointstore.create_projection(text, regprocedure, bigint, text[], text, smallint, integer, text) IS
'Creates a projection: a subscription whose events the background worker gives to handler(events pointstore.feed_event[]) returns void, in order, batch of them at most (1 to 10,000), payloads in their newest form (see pointstore.upcaster). The handler runs as the role that creates the projection, in a security-restricted operation; what it writes and how far the projection has come are one transaction. start_after: the first event is the one after that position; 0 = all, null = from now on. event_types, aggregate_prefix: only these; null = all. slots: of an account''s events each comes after the one before, those of different slots side by side. on_failure, of an event whose handler or upcaster fails: stop (the projection) or park (its account is retried, then parked). pointstore.replaying is on for events that were there when it was created. An operator''s. 42501: the caller is a superuser, or does not own the handler; 42710: there is a subscription of that name; 22023: the handler has other arguments or another result, or a value is out of range; 22004: null.';

CREATE FUNCTION pointstore.drop_projection(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_drop_projection';
COMMENT ON FUNCTION pointstore.drop_projection(text) IS
'Drops a projection; the tables that its handler has written stay. Waits for a batch that is under way. An operator''s. 42704: there is none of that name.';

CREATE PROCEDURE pointstore.run_projection(name text)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_run_projection';
COMMENT ON PROCEDURE pointstore.run_projection(text) IS
'Runs a projection up to the head of the feed as it is now, in this session, by transactions of its own; beside workers too. Without preloading pg_cron does this. The view projection_status shows how far it is. An operator''s. 42704: there is none of that name; 55000: it is paused or stopped, or its role lacks a right, which projection_status explains; 2D000: in a transaction block.';

CREATE FUNCTION pointstore.rebuild_projection(name text, reset regprocedure)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_rebuild_projection';
COMMENT ON FUNCTION pointstore.rebuild_projection(text, regprocedure) IS
'Builds a projection anew, in the transaction of the statement: calls reset(), which empties its tables as the projection''s role, then the handler with all events from where it began up to the head, which it returns. Readers see the old state until it commits; where anything fails, for good. A stopped one runs again. An operator''s. 42704: there is none of that name; 42501: reset is not owned by the projection''s role; 22023: it takes an argument or returns something; 0A000: it or the handler would TRUNCATE, or has locked a table in ACCESS EXCLUSIVE MODE; 54000: there are more than a million positions to go through: build another projection beside it; 25001: in a transaction block, a subtransaction, or after a write; 55000: its role or its handler is gone, or the one may not call the other.';

CREATE FUNCTION pointstore.create_projections()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.projection (
        name              text COLLATE "C" PRIMARY KEY,
        start_after       bigint NOT NULL,
        measured_at       timestamptz,
        measured_position bigint,
        rate              double precision
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_projections() IS
'Creates the table of projections. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_projections()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.projection IS 'Projections: where each began, and how fast it gets on; what else is known of one stands in subscription. Changed by functions alone';
    COMMENT ON COLUMN pointstore.projection.name IS 'name of the subscription that it is';
    COMMENT ON COLUMN pointstore.projection.start_after IS 'its first event is the one after this position';
    COMMENT ON COLUMN pointstore.projection.measured_at IS 'clock when it was last looked how fast it gets on; null = it was not yet';
    COMMENT ON COLUMN pointstore.projection.measured_position IS 'position up to which it was done then';
    COMMENT ON COLUMN pointstore.projection.rate IS 'positions a second that it got on between the last two looks; null = they were far apart';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_projections() IS
'Puts the comments on the table of projections. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.create_projection_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.projection_status AS
    SELECT s.name, k.slot, s.status, s.created_by, s.handler, k.checkpoint, k.events AS lag,
           coalesce(greatest(extract(epoch FROM clock_timestamp() - k.since), 0), 0)::double precision AS lag_seconds,
           CASE WHEN k.leased_until IS NOT NULL THEN k.member END AS member,
           k.blocked, s.last_error,
           CASE WHEN p.measured_at > clock_timestamp() - interval '10 s' THEN round(p.rate::numeric, 1) END AS rate,
           CASE WHEN k.events = 0 THEN 100.0
                ELSE trunc(100.0 * greatest(k.checkpoint - p.start_after, 0) / greatest(h.head - least(p.start_after, k.checkpoint), 1), 1) END AS percent,
           CASE WHEN k.events = 0 THEN interval '0'
                WHEN p.measured_at > clock_timestamp() - interval '10 s' AND p.rate > 0
                THEN make_interval(secs => ceil(greatest(h.head - k.checkpoint, 0) / p.rate)) END AS time_left
      FROM pointstore.subscription s
      -- apart, so that it is called once for a projection and not for each of its slots
     CROSS JOIN LATERAL (SELECT l.slot, l.checkpoint, l.member, l.leased_until, l.blocked, g.events, g.since
                           FROM pointstore.subscription_lag(s.name) g
                           JOIN pointstore.subscription_slot l ON l.subscription = s.name AND l.slot = g.slot OFFSET 0) k
      LEFT JOIN pointstore.projection p ON p.name = s.name
     CROSS JOIN (SELECT pointstore.feed_head() AS head OFFSET 0) h
     WHERE s.handler IS NOT NULL;
    COMMENT ON VIEW pointstore.projection_status IS
    'The projections, a row for each slot: how far each has come, how fast, and what has stopped it. Parked accounts are in subscription_retry.';
    COMMENT ON COLUMN pointstore.projection_status.name IS 'name of the projection';
    COMMENT ON COLUMN pointstore.projection_status.slot IS 'number of the slot, from 0';
    COMMENT ON COLUMN pointstore.projection_status.status IS 'running, paused or stopped: of the last two nothing is done';
    COMMENT ON COLUMN pointstore.projection_status.created_by IS 'the role that its handler runs as';
    COMMENT ON COLUMN pointstore.projection_status.handler IS 'the function that it calls';
    COMMENT ON COLUMN pointstore.projection_status.checkpoint IS 'every event of the slot up to this position is done, passed over or set aside';
    COMMENT ON COLUMN pointstore.projection_status.lag IS 'its events after that, those of its slot that the filter lets pass and that do not wait in subscription_retry; estimated where that is more than 100,000 positions behind';
    COMMENT ON COLUMN pointstore.projection_status.lag_seconds IS 'how long ago the first of them was created; 0 = there is none';
    COMMENT ON COLUMN pointstore.projection_status.member IS 'who is at it; null = nobody';
    COMMENT ON COLUMN pointstore.projection_status.blocked IS 'accounts that a failed event has set aside';
    COMMENT ON COLUMN pointstore.projection_status.last_error IS 'why it was stopped, or its last error';
    COMMENT ON COLUMN pointstore.projection_status.rate IS 'positions a second, of all its slots together, of late; null = it was not at it for 10 seconds';
    COMMENT ON COLUMN pointstore.projection_status.percent IS 'how much of the feed from its start to the head is done; 100 = it has caught up';
    COMMENT ON COLUMN pointstore.projection_status.time_left IS 'until it has caught up, at that rate; null = unknown';
END
$$;
COMMENT ON FUNCTION pointstore.create_projection_view() IS
'Makes or remakes the view of the projections. Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/replay.sql
-- Whether other logic makes other states.

CREATE PROCEDURE pointstore.verify_replay(kind text, reducer regprocedure = NULL, sample double precision = 1, INOUT run bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_verify_replay';
COMMENT ON PROCEDURE pointstore.verify_replay(text, regprocedure, double precision, bigint) IS
'Goes through the events of a kind''s accounts with its reducer and with another one, and notes in pointstore.replay_difference each account whose states differ, with the first version at which they do; or, without another reducer, each whose snapshots are not what its events come to. Where a reducer fails that is noted too. Of the accounts the part sample (above 0 up to 1), by a hash of their ids: the same ones each time. In slices that commit; pointstore.replay_run shows how far it is. run: null = a new one, whose number is returned; of a run that has not ended, with the same arguments (22023): it goes on, and where another session is at it the two share its slices, and both return when all are done. What a session that has ended was at is left to the others. 22004: null; 22023: sample, a kind or a run that is not there; 42501: who calls may not have the reducer called; 55000: the kind has no reducer, or the run was dropped; 2D000: in a transaction block; 25006: on a standby.';

CREATE FUNCTION pointstore.create_replays()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.replay_run (
        run            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind           text NOT NULL,
        reducer        text,
        sample         double precision NOT NULL,
        started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at    timestamptz,
        upto           text COLLATE "C" NOT NULL DEFAULT '',
        accounts       bigint NOT NULL DEFAULT 0,
        accounts_total bigint,
        events         bigint NOT NULL DEFAULT 0,
        differences    bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE pointstore.replay_slice (
        run   bigint NOT NULL,
        after text COLLATE "C" NOT NULL,
        upto  text COLLATE "C" NOT NULL,
        PRIMARY KEY (run, upto)
    );
    CREATE TABLE pointstore.replay_difference (
        run          bigint NOT NULL,
        aggregate_id text COLLATE "C" NOT NULL,
        version      bigint NOT NULL,
        before       jsonb,
        after        jsonb,
        error        text,
        PRIMARY KEY (run, aggregate_id)
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_replays() IS
'Creates the tables of verify_replay(). Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_replays()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.replay_run IS 'Runs of verify_replay(), and how far they are: written slice by slice';
    COMMENT ON COLUMN pointstore.replay_run.run IS 'number of the run';
    COMMENT ON COLUMN pointstore.replay_run.kind IS 'whose accounts are gone through';
    COMMENT ON COLUMN pointstore.replay_run.reducer IS 'the other reducer; null: snapshots are compared';
    COMMENT ON COLUMN pointstore.replay_run.sample IS 'which part of the accounts, by a hash of their ids';
    COMMENT ON COLUMN pointstore.replay_run.started_at IS 'clock when it began';
    COMMENT ON COLUMN pointstore.replay_run.finished_at IS 'clock when it ended; null: it is under way, or was interrupted';
    COMMENT ON COLUMN pointstore.replay_run.upto IS 'the last account that is in a slice, in the order of the bytes of their ids; those after it are in none yet';
    COMMENT ON COLUMN pointstore.replay_run.accounts IS 'accounts gone through';
    COMMENT ON COLUMN pointstore.replay_run.accounts_total IS 'accounts to go through, when it began';
    COMMENT ON COLUMN pointstore.replay_run.events IS 'events gone through';
    COMMENT ON COLUMN pointstore.replay_run.differences IS 'accounts that differ';

    COMMENT ON TABLE pointstore.replay_slice IS 'Accounts of a run of verify_replay() that a session is at, which has the row locked, or that one was when it ended';
    COMMENT ON COLUMN pointstore.replay_slice.run IS 'the run';
    COMMENT ON COLUMN pointstore.replay_slice.after IS 'the last account before it, or the last of it that was gone through';
    COMMENT ON COLUMN pointstore.replay_slice.upto IS 'its last account';

    COMMENT ON TABLE pointstore.replay_difference IS 'Accounts of which verify_replay() has found that their states differ';
    COMMENT ON COLUMN pointstore.replay_difference.run IS 'the run';
    COMMENT ON COLUMN pointstore.replay_difference.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.replay_difference.version IS 'version of the first event after which they differ, or at which one was not to be had';
    COMMENT ON COLUMN pointstore.replay_difference.before IS 'the state by the kind''s reducer, or of the snapshot; null: not to be had';
    COMMENT ON COLUMN pointstore.replay_difference.after IS 'the state by the other reducer, or by the events; null: not to be had';
    COMMENT ON COLUMN pointstore.replay_difference.error IS 'SQLSTATE and message, or the beginning of it, of the one that failed; null: none';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_replays() IS
'Puts the comments on the tables of verify_replay(). Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/sequence.sql
-- The feed: positions of events, and who gives them.

CREATE FUNCTION pointstore.sequence_feed()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_sequence_feed';
COMMENT ON FUNCTION pointstore.sequence_feed() IS
'Gives positions to events that are committed and have none, 200,000 at most, and returns the head of the feed: called again it goes on. For whoever has no sequencer: without preloading pg_cron, or a reader. Where a sequencer is alive that makes the run, after the call, 100,000 positions at most, and is waited for; no lock is held. Otherwise the session keeps others from giving positions to the end of its statement; a sequencer that comes waits for five times deadlock_timeout, then cancels that. Its transaction is that of the statement: 25001 in a transaction block, a subtransaction, a DO block or procedure, which would go on and keep all others from giving positions, or after a write; 25006 on a standby. 55000: the events come by a subscription of logical replication.';

CREATE FUNCTION pointstore.sequencer_alive()
RETURNS boolean LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'pointstore_sequencer_alive';
COMMENT ON FUNCTION pointstore.sequencer_alive() IS
'Whether a background worker gives positions in this database: the library is preloaded, pointstore.databases names it and pointstore.sequencer is on.';

CREATE FUNCTION pointstore.create_feed(unordered_below bigint)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.feed_block (
        first_position bigint PRIMARY KEY,
        last_position  bigint NOT NULL,
        ids            int8multirange NOT NULL,
        sealed         boolean NOT NULL DEFAULT false,
        settled_below  bigint NOT NULL,
        at             timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50);
    ALTER TABLE pointstore.feed_block ALTER COLUMN ids SET STORAGE PLAIN;
    CREATE INDEX feed_block_ids_idx ON pointstore.feed_block USING gist (ids) WHERE sealed;

    CREATE TABLE pointstore.feed_start (
        single          boolean PRIMARY KEY DEFAULT true CHECK (single),
        unordered_below bigint NOT NULL,
        step            bigint,
        id              bigint
    );
    -- a new store has no row: one that is restored into it brings its own
    INSERT INTO pointstore.feed_start (unordered_below) SELECT create_feed.unordered_below WHERE create_feed.unordered_below > 0;
END
$$;
COMMENT ON FUNCTION pointstore.create_feed(bigint) IS
'Creates the tables of the feed. unordered_below: ids below it may fall within an account. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_feed()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.feed_block IS 'Positions of events in the feed: a block holds the events whose id is in ids, in order of id, and positions count on through it. Written by the sequencer alone; what was given never changes';
    COMMENT ON COLUMN pointstore.feed_block.first_position IS 'position of its first event';
    COMMENT ON COLUMN pointstore.feed_block.last_position IS 'position of its last event';
    COMMENT ON COLUMN pointstore.feed_block.ids IS 'ids of its events';
    COMMENT ON COLUMN pointstore.feed_block.sealed IS 'whether it grows no more: it has 100 ranges or 4,096 events, or another one follows';
    COMMENT ON COLUMN pointstore.feed_block.settled_below IS 'when it was written, each event with an id below had a position or never will have one';
    COMMENT ON COLUMN pointstore.feed_block.at IS 'clock when it was last written';

    COMMENT ON TABLE pointstore.feed_start IS 'What was there before the feed, and which ids may have no position yet: one row, where something is. Written by the sequencer';
    COMMENT ON COLUMN pointstore.feed_start.single IS 'true';
    COMMENT ON COLUMN pointstore.feed_start.unordered_below IS 'ids of events below it may fall while the versions of their account rise';
    COMMENT ON COLUMN pointstore.feed_start.step IS 'ids that may have no position yet are so far apart: INCREMENT, or less after that was changed, until all have theirs. Null: not known yet';
    COMMENT ON COLUMN pointstore.feed_start.id IS 'one of them, which had been drawn when this was written';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_feed() IS
'Puts the comments on the tables of the feed. Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/snapshot.sql
-- States that are kept.

CREATE FUNCTION pointstore.take_snapshot(aggregate_id text)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_take_snapshot';
COMMENT ON FUNCTION pointstore.take_snapshot(text) IS
'Keeps the state of an account after its last event, from which aggregate_state() goes on, and returns its version; 0: the account has no events, and nothing is kept. Drops snapshots of the account that do not fit any more. PS008: the account is missing; 40001: the reducer, or an upcaster, was replaced meanwhile; else as aggregate_state().';

CREATE FUNCTION pointstore.drop_snapshots(kind text = NULL, aggregate_id text = NULL)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_drop_snapshots';
COMMENT ON FUNCTION pointstore.drop_snapshots(text, text) IS
'Drops snapshots, of the accounts of a kind, of one account, or all, and returns their number. States are then made from the first event again, until others are taken.';

CREATE FUNCTION pointstore.create_snapshots()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.snapshot (
        aggregate_id text COLLATE "C" NOT NULL,
        version      bigint NOT NULL,
        state        jsonb NOT NULL,
        stamp        text NOT NULL,
        at           timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (aggregate_id, version)
    );
    CREATE TABLE pointstore.snapshot_progress (
        kind           text PRIMARY KEY,
        stamp          text NOT NULL,
        snapshot_every integer NOT NULL,
        position       bigint NOT NULL,
        upto           text COLLATE "C",
        again          boolean NOT NULL DEFAULT false
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_snapshots() IS
'Creates the tables of snapshots. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_snapshots()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.snapshot IS 'States that are kept: a cache, written by take_snapshot() and the worker alone, which may be emptied at any time';
    COMMENT ON COLUMN pointstore.snapshot.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.snapshot.version IS 'version of the event after which this was the state';
    COMMENT ON COLUMN pointstore.snapshot.state IS 'what the reducer made of the events so far';
    COMMENT ON COLUMN pointstore.snapshot.stamp IS 'digest of the definitions of the reducer and of all upcasters and of account_kind.reducer_version, a colon, and the id of the event; where it is not that of now the snapshot is passed over';
    COMMENT ON COLUMN pointstore.snapshot.at IS 'clock when it was taken';

    COMMENT ON TABLE pointstore.snapshot_progress IS 'How far the worker is that takes snapshots, a row for each kind with snapshot_every: written by it alone. Of a kind whose row is deleted it goes through all accounts anew';
    COMMENT ON COLUMN pointstore.snapshot_progress.kind IS 'the kind';
    COMMENT ON COLUMN pointstore.snapshot_progress.stamp IS 'by which its snapshots are known: what comes before the colon in snapshot.stamp. When it is another all accounts of the kind are gone through';
    COMMENT ON COLUMN pointstore.snapshot_progress.snapshot_every IS 'as the kind had it; when it is another all accounts are gone through';
    COMMENT ON COLUMN pointstore.snapshot_progress.position IS 'events up to this position of the feed have been looked at';
    COMMENT ON COLUMN pointstore.snapshot_progress.upto IS 'the last account looked at, in the order of the bytes of their ids, of those that are gone through; null: they have been';
    COMMENT ON COLUMN pointstore.snapshot_progress.again IS 'whether they are gone through once more, since some were not finished';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_snapshots() IS
'Puts the comments on the tables of snapshots. Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/standing.sql
-- How the feed stands.

CREATE FUNCTION pointstore.feed_state(OUT head bigint, OUT sequenced_at timestamptz, OUT unsequenced bigint, OUT oldest_unsequenced timestamptz,
    OUT gaps bigint, OUT gaps_open_since timestamptz, OUT gaps_open_pid integer, OUT gaps_open_gid text, OUT sequencer_alive boolean)
RETURNS record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_feed_state';
COMMENT ON FUNCTION pointstore.feed_state() IS
'How the feed stands. For the view feed_status.';

CREATE FUNCTION pointstore.create_feed_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.feed_status AS
    SELECT s.head, s.sequenced_at, s.unsequenced, s.oldest_unsequenced, s.gaps, s.gaps_open_since, s.gaps_open_pid, s.gaps_open_gid, s.sequencer_alive
      FROM pointstore.feed_state() s;
    COMMENT ON VIEW pointstore.feed_status IS
    'One row: how the feed stands. Cheap where nothing waits, however large the store is; where much waits it reads that.';
    COMMENT ON COLUMN pointstore.feed_status.head IS 'last position given; 0 = none';
    COMMENT ON COLUMN pointstore.feed_status.sequenced_at IS 'when a position was last given; null = never';
    COMMENT ON COLUMN pointstore.feed_status.unsequenced IS 'events that are committed and have no position yet; null: the events come by a subscription of logical replication, which gives no positions';
    COMMENT ON COLUMN pointstore.feed_status.oldest_unsequenced IS 'the earliest created_at of these; null = none';
    COMMENT ON COLUMN pointstore.feed_status.gaps IS 'ranges of ids in which an event may still come, from a transaction that is open or prepared; 0: none such has written events; null: not known, on a standby or where the events come by a subscription';
    COMMENT ON COLUMN pointstore.feed_status.gaps_open_since IS 'start of the oldest transaction that keeps one open; of a prepared one when it was prepared; null = none';
    COMMENT ON COLUMN pointstore.feed_status.gaps_open_pid IS 'process of that transaction; null = it is prepared, or there is none';
    COMMENT ON COLUMN pointstore.feed_status.gaps_open_gid IS 'name of that transaction, if it is prepared';
    COMMENT ON COLUMN pointstore.feed_status.sequencer_alive IS 'whether a background worker gives positions in this database';
END
$$;
COMMENT ON FUNCTION pointstore.create_feed_view() IS
'Makes or remakes the view of the feed. Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/state.sql
-- An account's events, and the state that they come to.

CREATE TYPE pointstore.event AS (
    id              bigint,
    aggregate_id    text,
    version         bigint,
    event_type      text,
    amount          bigint,
    held            bigint,
    balance_after   bigint,
    payload         jsonb,
    metadata        jsonb,
    request_id      text,
    leg             smallint,
    cause_id        bigint,
    occurred_at     timestamptz,
    created_at      timestamptz,
    payload_version smallint,
    state_after     text
);
COMMENT ON TYPE pointstore.event IS
'An event: the columns of event_store, without those of the user''s own. What functions return, and what functions of users take.';

CREATE FUNCTION pointstore.load_events(
    aggregate_id  text,
    after_version bigint = 0,
    max_events    integer = NULL,
    raw           boolean = false)
RETURNS SETOF pointstore.event LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_load_events';
COMMENT ON FUNCTION pointstore.load_events(text, bigint, integer, boolean) IS
'The events of an account after a version (default 0: from the first), in order, max_events at most (null = all), with their payloads in the newest form (see pointstore.upcaster) or, raw, as they are stored. Nothing of an account that is missing. Also on a standby. 22004: null; 22023: negative; what an upcaster raises, with aggregate_id, version and event_type in DETAIL.';

CREATE FUNCTION pointstore.aggregate_state(
    aggregate_id  text,
    INOUT version bigint = NULL,
    OUT state     jsonb)
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_aggregate_state';
COMMENT ON FUNCTION pointstore.aggregate_state(text, bigint) IS
'The state of an account after a version (null = its last): {} passed through the reducer of its kind, event by event, from the newest snapshot that fits. version 0, and an account that is missing: {}. Stores nothing. Also on a standby. To be called as SELECT * FROM aggregate_state(...). 22023: above the last version, or negative; 55000: the kind has no reducer; 42883: it is gone; 42501: who it is called as may not call it; 22004: it has returned null; what it raises, with the version in CONTEXT.';

-- src/feed/subscription.sql
-- Subscriptions: the feed delivered to members that share the work.

CREATE FUNCTION pointstore.create_subscriptions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.subscription (
        name             text COLLATE "C" PRIMARY KEY,
        created_by       text NOT NULL,
        status           text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'paused', 'stopped')),
        slots            smallint NOT NULL CHECK (slots BETWEEN 1 AND 1024),
        event_types      text[],
        aggregate_prefix text,
        lease            interval NOT NULL,
        max_attempts     integer NOT NULL CHECK (max_attempts > 0),
        on_failure       text NOT NULL CHECK (on_failure IN ('park', 'stop')),
        max_retrying     integer NOT NULL DEFAULT 100,
        last_error       text,
        handler          text,
        batch            integer,
        replay_upto      bigint NOT NULL DEFAULT 0,
        created_at       timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50);

    -- its rows change with each claim and ack: in place, and no index knows of it
    CREATE TABLE pointstore.subscription_slot (
        subscription text COLLATE "C" NOT NULL,
        slot         smallint NOT NULL,
        checkpoint   bigint NOT NULL,
        epoch        bigint NOT NULL,
        member       text,
        leased_until timestamptz,
        retried      text COLLATE "C",
        delivered    bigint NOT NULL DEFAULT 0,
        read_to      bigint NOT NULL DEFAULT 0,
        alone        boolean NOT NULL DEFAULT false,
        attempt      integer NOT NULL DEFAULT 0,
        lost         integer NOT NULL DEFAULT 0,
        alone_upto   bigint NOT NULL DEFAULT 0,
        blocked      integer NOT NULL DEFAULT 0,
        retry_at     timestamptz,
        retried_last boolean NOT NULL DEFAULT false,
        not_before   timestamptz,
        served_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (subscription, slot)
    ) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

    CREATE TABLE pointstore.subscription_account (
        subscription text COLLATE "C" NOT NULL,
        slot         smallint NOT NULL,
        aggregate_id text COLLATE "C" NOT NULL,
        position     bigint NOT NULL,
        version      bigint NOT NULL,
        state        text NOT NULL CHECK (state IN ('retrying', 'parked')),
        attempts     integer NOT NULL,
        alone_upto   bigint NOT NULL,
        next_try     timestamptz,
        error        text,
        PRIMARY KEY (subscription, slot, aggregate_id)
    ) WITH (fillfactor = 50);
    CREATE INDEX subscription_account_due_idx ON pointstore.subscription_account (subscription, slot, next_try) WHERE state = 'retrying';

    CREATE TABLE pointstore.subscription_log (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subscription text COLLATE "C" NOT NULL,
        action       text NOT NULL,
        slot         smallint,
        member       text,
        aggregate_id text COLLATE "C",
        position     bigint,
        error        text,
        by_role      text NOT NULL,
        at           timestamptz NOT NULL DEFAULT clock_timestamp()
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_subscriptions() IS
'Creates the tables of subscriptions. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_subscriptions()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.subscription IS 'Subscriptions to the feed, and projections, one row each; changed by functions alone';
    COMMENT ON COLUMN pointstore.subscription.name IS 'its name, 1 to 512 bytes';
    COMMENT ON COLUMN pointstore.subscription.created_by IS 'the role whose it is: its members and operators alone claim, acknowledge, move, alter and drop';
    COMMENT ON COLUMN pointstore.subscription.status IS 'running, paused (pause_subscription()) or stopped (by a failure): of the last two nothing is claimed';
    COMMENT ON COLUMN pointstore.subscription.slots IS 'how many slots it has; the slot of an account is the CRC-32C of the bytes of its id, modulo slots';
    COMMENT ON COLUMN pointstore.subscription.event_types IS 'event types that it delivers; null = all';
    COMMENT ON COLUMN pointstore.subscription.aggregate_prefix IS 'what the aggregate_id of the events begins with that it delivers; null = all';
    COMMENT ON COLUMN pointstore.subscription.lease IS 'how long a claim stands without ack or renew';
    COMMENT ON COLUMN pointstore.subscription.max_attempts IS 'how often an event may fail';
    COMMENT ON COLUMN pointstore.subscription.on_failure IS 'what happens then: park (its account waits for replay_parked() or skip_parked()) or stop (the subscription)';
    COMMENT ON COLUMN pointstore.subscription.max_retrying IS 'accounts that may be retried at once; one more stops the subscription';
    COMMENT ON COLUMN pointstore.subscription.last_error IS 'why it was stopped, or the last error that was told';
    COMMENT ON COLUMN pointstore.subscription.handler IS 'of a projection: the function that it calls, qualified; null = a subscription';
    COMMENT ON COLUMN pointstore.subscription.batch IS 'of a projection: events that its handler gets at once, at most';
    COMMENT ON COLUMN pointstore.subscription.replay_upto IS 'the highest position that had been delivered when it was last moved; 0 = it never was';
    COMMENT ON COLUMN pointstore.subscription.created_at IS 'clock when it was created';

    COMMENT ON TABLE pointstore.subscription_slot IS 'Slots of subscriptions, and who has claimed them; changed by functions alone';
    COMMENT ON COLUMN pointstore.subscription_slot.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_slot.slot IS 'its number, from 0';
    COMMENT ON COLUMN pointstore.subscription_slot.checkpoint IS 'every event of the slot up to this position is done, passed over, or waits in subscription_account';
    COMMENT ON COLUMN pointstore.subscription_slot.epoch IS 'of the last claim; only ever rises';
    COMMENT ON COLUMN pointstore.subscription_slot.member IS 'label of who made the last claim';
    COMMENT ON COLUMN pointstore.subscription_slot.leased_until IS 'clock until which the claim stands, and longer while nobody else makes one; null = the slot is nobody''s';
    COMMENT ON COLUMN pointstore.subscription_slot.retried IS 'account whose waiting events were claimed; null = new events were';
    COMMENT ON COLUMN pointstore.subscription_slot.delivered IS 'last position that the claim has delivered';
    COMMENT ON COLUMN pointstore.subscription_slot.read_to IS 'position up to which the slot was looked at for the claim';
    COMMENT ON COLUMN pointstore.subscription_slot.alone IS 'whether the claim delivered one event alone';
    COMMENT ON COLUMN pointstore.subscription_slot.attempt IS 'how often the first event after the checkpoint was delivered';
    COMMENT ON COLUMN pointstore.subscription_slot.lost IS 'how often it was delivered alone and not heard of again';
    COMMENT ON COLUMN pointstore.subscription_slot.alone_upto IS 'events up to this position are delivered one at a time';
    COMMENT ON COLUMN pointstore.subscription_slot.blocked IS 'its accounts in subscription_account';
    COMMENT ON COLUMN pointstore.subscription_slot.retry_at IS 'clock when the first of them is to be retried; null = none is';
    COMMENT ON COLUMN pointstore.subscription_slot.retried_last IS 'whether the last claim was a retry: the next is not, where there is something new';
    COMMENT ON COLUMN pointstore.subscription_slot.not_before IS 'clock before which it is not claimed (release()); null = at once';
    COMMENT ON COLUMN pointstore.subscription_slot.served_at IS 'clock when it was last given back: who waits longest is claimed first';

    COMMENT ON TABLE pointstore.subscription_account IS 'Accounts that a failed event has set aside: their later events wait behind it; see the view subscription_retry';
    COMMENT ON COLUMN pointstore.subscription_account.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_account.slot IS 'the account''s slot';
    COMMENT ON COLUMN pointstore.subscription_account.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.subscription_account.position IS 'its first event that is not done; above the slot''s checkpoint where its upcaster has failed and what was delivered before it is not acknowledged';
    COMMENT ON COLUMN pointstore.subscription_account.version IS 'the version of that event';
    COMMENT ON COLUMN pointstore.subscription_account.state IS 'retrying or parked';
    COMMENT ON COLUMN pointstore.subscription_account.attempts IS 'how often that event has failed';
    COMMENT ON COLUMN pointstore.subscription_account.alone_upto IS 'events up to this position are retried one at a time';
    COMMENT ON COLUMN pointstore.subscription_account.next_try IS 'clock when it is to be retried; null = it is parked';
    COMMENT ON COLUMN pointstore.subscription_account.error IS 'the last error, as nack() was given it or an upcaster raised it';

    COMMENT ON TABLE pointstore.subscription_log IS 'What was decided about subscriptions and events that failed; rows older than pointstore.log_retention go as others come';
    COMMENT ON COLUMN pointstore.subscription_log.id IS 'place in the log, with gaps';
    COMMENT ON COLUMN pointstore.subscription_log.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_log.action IS 'create, drop, pause, resume, alter, move, forget (an account, by a move), takeover (of a lost claim), retry, park, skip, stop or replay';
    COMMENT ON COLUMN pointstore.subscription_log.slot IS 'the slot; null = the subscription as a whole';
    COMMENT ON COLUMN pointstore.subscription_log.member IS 'label of who had claimed it';
    COMMENT ON COLUMN pointstore.subscription_log.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.subscription_log.position IS 'position of the event, or that moved to';
    COMMENT ON COLUMN pointstore.subscription_log.error IS 'error or reason, as given';
    COMMENT ON COLUMN pointstore.subscription_log.by_role IS 'the role that acted';
    COMMENT ON COLUMN pointstore.subscription_log.at IS 'clock when it acted';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_subscriptions() IS
'Puts the comments on the tables of subscriptions. Called by create_store() and upgrade_store(); superusers only.';

CREATE TYPE pointstore.delivery AS (
    slot            smallint,
    epoch           bigint,
    attempt         integer,
    "position"      bigint,
    id              bigint,
    aggregate_id    text,
    version         bigint,
    event_type      text,
    amount          bigint,
    held            bigint,
    balance_after   bigint,
    payload         jsonb,
    metadata        jsonb,
    request_id      text,
    leg             smallint,
    cause_id        bigint,
    occurred_at     timestamptz,
    created_at      timestamptz,
    payload_version smallint,
    state_after     text
);
COMMENT ON TYPE pointstore.delivery IS
'An event that claim() has delivered: slot and epoch of the claim, which ack(), nack(), renew() and release() take; how often the first event of the claim was delivered, this time included; its position in the feed, and the columns of event_store.';

CREATE FUNCTION pointstore.create_subscription(
    name             text,
    start_after      bigint = 0,
    slots            smallint = 4,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    lease            interval = '30 s',
    max_attempts     integer = 5,
    on_failure       text = 'park')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_create_subscription';
COMMENT ON FUNCTION pointstore.create_subscription(text, bigint, smallint, text[], text, interval, integer, text) IS
'Creates a subscription, which is the caller''s: members of his role and operators use it. It begins after a position (null = from now: the head at the call; what was committed and has no position yet still comes). slots: how many members can work at once, 1 to 1024; each reads all events. event_types, aggregate_prefix: only these; null or empty = all. lease: how long a claim stands. max_attempts: how often an event may fail; on_failure: then its account is parked (park) or the subscription stops (stop). 42710: there is one of that name; 22004: null; 22023: a bad value, or a position above the head.';

CREATE FUNCTION pointstore.drop_subscription(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_drop_subscription';
COMMENT ON FUNCTION pointstore.drop_subscription(text) IS
'Drops a subscription, whoever has claimed slots of it: their next ack() is 42704. 42704: there is none of that name; 42501: it is another''s.';

CREATE FUNCTION pointstore.pause_subscription(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_pause_subscription';
COMMENT ON FUNCTION pointstore.pause_subscription(text) IS
'Pauses a subscription: claim() returns nothing until resume_subscription(). What is claimed may be acknowledged. 42704: there is none of that name; 42501: it is another''s.';

CREATE FUNCTION pointstore.resume_subscription(name text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_resume_subscription';
COMMENT ON FUNCTION pointstore.resume_subscription(text) IS
'Lets a subscription go on that was paused or has stopped, from where it was. 42704: there is none of that name; 42501: it is another''s.';

CREATE FUNCTION pointstore.alter_subscription(
    name             text,
    event_types      text[] = NULL,
    aggregate_prefix text = NULL,
    lease            interval = NULL,
    max_attempts     integer = NULL,
    on_failure       text = NULL,
    slots            smallint = NULL,
    max_retrying     integer = NULL,
    batch            integer = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_alter_subscription';
COMMENT ON FUNCTION pointstore.alter_subscription(text, text[], text, interval, integer, text, smallint, integer, integer) IS
'Changes a subscription; what is null stays as it is, an empty filter lets all pass. Another filter holds for what is claimed from then on. max_retrying (100 at first): of an event that fails while so many accounts are retried the subscription stops. slots: only when all are at one position, no account is set aside and nothing claimed (55000). batch: of a projection, events at once (1 to 10,000). 42704: there is none of that name; 42501: it is another''s; 22023: a bad value.';

CREATE FUNCTION pointstore.move_subscription(name text, after bigint)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_move_subscription';
COMMENT ON FUNCTION pointstore.move_subscription(text, bigint) IS
'Puts every slot of a subscription at a position, back or forth: events after it come, again perhaps. All claims end, accounts that were set aside are forgotten, each with a row in subscription_log. 42704: there is none of that name; 42501: it is another''s; 22004: null; 22023: negative, or above the head.';

CREATE FUNCTION pointstore.claim(subscription text, member text, max_events integer = 100, wait interval = '0')
RETURNS SETOF pointstore.delivery LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_claim';
COMMENT ON FUNCTION pointstore.claim(text, text, integer, interval) IS
'Takes the slot that waits longest and is nobody''s, and returns its next events, or those of one account that is retried, in order of position: max_events at most, and fewer where they come to 4 MB or 100,000 positions were looked at. Payloads in their newest form (see pointstore.upcaster): an event whose upcaster fails is not delivered, its account is set aside as by nack(), and the rest comes. They are the caller''s until he calls ack(), nack() or release(), or his lease ends and another claims. Nothing: there is nothing now, or the subscription is paused or has stopped. member: a label. wait: waits so long for something, 1 s at most; wait_for_work() longer. 42704: there is no such subscription; 42501: it is another''s; 42809: it is a projection; 22004: null; 22023: a bad value; what an upcaster raises that blames no event (40001, 40P01, 55P03, classes 57, 53 and 08).';

CREATE PROCEDURE pointstore.wait_for_work(subscription text, timeout interval = '30 s', INOUT ready boolean = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_work';
COMMENT ON PROCEDURE pointstore.wait_for_work(text, interval, boolean) IS
'Returns true as soon as there is something that claim() would take, false at the timeout (default 30 s). Holds no snapshot while it waits, and writes nothing. 25001: in a transaction block; else as claim().';

CREATE FUNCTION pointstore.ack(subscription text, slot smallint, epoch bigint, "position" bigint)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_ack';
COMMENT ON FUNCTION pointstore.ack(text, smallint, bigint, bigint) IS
'The events of a claim are done up to a position; returns the checkpoint. Of all that were delivered it gives the slot back; of some it keeps the claim, whose lease begins anew. At or below the checkpoint it is harmless. PS014: another has claimed the slot; 22023: beyond what was delivered, or no such slot; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.nack(subscription text, slot smallint, epoch bigint, "position" bigint, error text,
    action text = 'retry', retry_in interval = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_nack';
COMMENT ON FUNCTION pointstore.nack(text, smallint, bigint, bigint, text, text, interval) IS
'The event at a position has failed; those of the claim before it are done, those after it come again, and the claim ends. action: retry (its account is set aside and tried again, after retry_in or pauses that grow from 1 s to 5 min, max_attempts times in all), park (its account waits for replay_parked() or skip_parked()), skip (passes over the event) or stop (the subscription stops before it). PS014: another has claimed the slot, or the claim has ended; 22023: an event that was not delivered, an unknown action; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.renew(subscription text, slot smallint, epoch bigint)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_renew';
COMMENT ON FUNCTION pointstore.renew(text, smallint, bigint) IS
'The lease of a claim begins anew; returns its end. Writes only where a third of it is over. PS014: another has claimed the slot, or the claim has ended; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.release(subscription text, slot smallint, epoch bigint, delay interval = '0')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_release';
COMMENT ON FUNCTION pointstore.release(text, smallint, bigint, interval) IS
'Gives a slot back and blames no event: what was claimed and not acknowledged comes again, after delay, to whoever claims then. PS014: another has claimed the slot, or the claim has ended; 42704, 42501, 22004 as claim().';

CREATE FUNCTION pointstore.replay_parked(subscription text, aggregate_id text = NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_replay_parked';
COMMENT ON FUNCTION pointstore.replay_parked(text, text) IS
'Parked accounts, one or (null) all, are retried from attempt 0: their waiting events come in order, before anything newer of theirs. Returns how many accounts. 42704: there is no such subscription; 42501: it is another''s.';

CREATE FUNCTION pointstore.skip_parked(subscription text, aggregate_id text, "position" bigint, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_skip_parked';
COMMENT ON FUNCTION pointstore.skip_parked(text, text, bigint, text) IS
'Passes over the event at which an account is parked; the account goes on with the next one. PS008: it is not parked; 22023: not at that position; 55000: what was delivered before it is not acknowledged; 22004: null; 42704: there is no such subscription; 42501: it is another''s.';

CREATE FUNCTION pointstore.subscription_lag(name text, OUT slot smallint, OUT events bigint, OUT since timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL SAFE COST 100000 ROWS 4
AS 'MODULE_PATHNAME', 'pointstore_subscription_lag';
COMMENT ON FUNCTION pointstore.subscription_lag(text) IS
'How far the slots of a subscription are behind: their events after the checkpoint that do not wait with an account in subscription_retry, and created_at of the first of them. More than 100,000 positions are estimated by those. Nothing where there is no such subscription.';

CREATE FUNCTION pointstore.create_subscription_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.subscription_retry AS
    SELECT a.subscription, a.slot, a.aggregate_id, a.position, a.state, a.attempts, a.next_try, a.error,
           (SELECT count(*) FROM pointstore.event_store e
             WHERE e.aggregate_id = a.aggregate_id AND e.version >= a.version
               AND (s.event_types IS NULL OR e.event_type = ANY (s.event_types))) AS waiting
      FROM pointstore.subscription_account a JOIN pointstore.subscription s ON s.name = a.subscription;
    COMMENT ON VIEW pointstore.subscription_retry IS 'Accounts that a failed event has set aside';
    COMMENT ON COLUMN pointstore.subscription_retry.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_retry.slot IS 'the account''s slot';
    COMMENT ON COLUMN pointstore.subscription_retry.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.subscription_retry.position IS 'its first event that is not done';
    COMMENT ON COLUMN pointstore.subscription_retry.state IS 'retrying or parked (until replay_parked() or skip_parked())';
    COMMENT ON COLUMN pointstore.subscription_retry.attempts IS 'how often that event has failed';
    COMMENT ON COLUMN pointstore.subscription_retry.next_try IS 'clock when it is to be retried; null = it is parked';
    COMMENT ON COLUMN pointstore.subscription_retry.error IS 'the last error, as nack() was given it or an upcaster raised it';
    COMMENT ON COLUMN pointstore.subscription_retry.waiting IS 'events of the account from there on';

    CREATE OR REPLACE VIEW pointstore.subscription_status AS
    SELECT s.name AS subscription, l.slot, s.status, l.checkpoint, l.events AS lag_events,
           coalesce(greatest(extract(epoch FROM clock_timestamp() - l.since), 0), 0)::double precision AS lag_seconds,
           l.member, l.epoch, l.leased_until, coalesce(a.blocked, 0) AS accounts_blocked, coalesce(a.parked, 0) AS events_parked,
           s.last_error
      FROM pointstore.subscription s
      -- apart, so that it is called once for a subscription and not for each of its slots
      CROSS JOIN LATERAL (SELECT k.slot, k.checkpoint, k.member, k.epoch, k.leased_until, g.events, g.since
                            FROM pointstore.subscription_lag(s.name) g
                            JOIN pointstore.subscription_slot k ON k.subscription = s.name AND k.slot = g.slot OFFSET 0) l
      LEFT JOIN (SELECT r.subscription, r.slot, count(*) AS blocked, sum(r.waiting) FILTER (WHERE r.state = 'parked')::bigint AS parked
                   FROM pointstore.subscription_retry r GROUP BY r.subscription, r.slot) a
        ON a.subscription = s.name AND a.slot = l.slot
     WHERE s.handler IS NULL;
    COMMENT ON VIEW pointstore.subscription_status IS 'Subscriptions, a row for each slot';
    COMMENT ON COLUMN pointstore.subscription_status.subscription IS 'name of the subscription';
    COMMENT ON COLUMN pointstore.subscription_status.slot IS 'number of the slot, from 0';
    COMMENT ON COLUMN pointstore.subscription_status.status IS 'running, paused or stopped';
    COMMENT ON COLUMN pointstore.subscription_status.checkpoint IS 'every event of the slot up to this position is done, passed over, or waits in subscription_retry';
    COMMENT ON COLUMN pointstore.subscription_status.lag_events IS 'events of the slot after the checkpoint that do not wait in subscription_retry; estimated where that is more than 100,000 positions behind';
    COMMENT ON COLUMN pointstore.subscription_status.lag_seconds IS 'how long ago the first of them was created; 0 = there is none';
    COMMENT ON COLUMN pointstore.subscription_status.member IS 'who has claimed it; null = nobody';
    COMMENT ON COLUMN pointstore.subscription_status.epoch IS 'of the last claim';
    COMMENT ON COLUMN pointstore.subscription_status.leased_until IS 'clock when its lease ends; null = it is nobody''s';
    COMMENT ON COLUMN pointstore.subscription_status.accounts_blocked IS 'its accounts that are set aside';
    COMMENT ON COLUMN pointstore.subscription_status.events_parked IS 'events that wait behind parked ones, these included';
    COMMENT ON COLUMN pointstore.subscription_status.last_error IS 'why the subscription has stopped';
END
$$;
COMMENT ON FUNCTION pointstore.create_subscription_views() IS
'Makes or remakes the views of subscriptions. Called by create_store() and upgrade_store(); superusers only.';

-- src/feed/upcast.sql
-- Older forms of payloads.

CREATE FUNCTION pointstore.create_upcasters()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.upcaster (
        event_type      text COLLATE "C" NOT NULL,
        payload_version smallint NOT NULL CHECK (payload_version BETWEEN 1 AND 32766),
        function        text NOT NULL,
        PRIMARY KEY (event_type, payload_version)
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_upcasters() IS
'Creates the table of upcasters. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_upcasters()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.upcaster IS 'What makes the next form of a payload: applied, one after the other, wherever events are read: by load_events(), aggregate_state(), verify_replay(), read_feed(), claim() and projections, never to what is stored. Where one fails in a claim, the event''s account is set aside as by nack(); in a projection, that is as if the handler had failed at that event. A change of it makes snapshots stale';
    COMMENT ON COLUMN pointstore.upcaster.event_type IS 'type of the events whose payload it changes';
    COMMENT ON COLUMN pointstore.upcaster.payload_version IS 'the form that it takes, from 1; it makes the next';
    COMMENT ON COLUMN pointstore.upcaster.function IS 'function (payload jsonb) returns jsonb, not null; kept with its schema. Called as its owner, one of a superuser as the store''s owner or, where he is one too, as the caller (for a projection: its role), in a security-restricted operation with search_path pg_catalog, pg_temp and TimeZone UTC, unless its own SET says otherwise. 42501: who writes it, or the store''s owner, may not have it called so';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_upcasters() IS
'Puts the comments on the table of upcasters. Called by create_store() and upgrade_store(); superusers only.';

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

-- src/pointstore.sql
-- The store as a whole: created, upgraded, and who may use it. The last part of the install script.

-- The views of a store, made or remade as the installed version wants them.
CREATE FUNCTION pointstore.create_store_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.store_version AS SELECT '1.4'::text AS version;
    COMMENT ON VIEW pointstore.store_version IS
    'The version of this store. It must be the installed extension''s; SELECT pointstore.upgrade_store() brings it there.';
    COMMENT ON COLUMN pointstore.store_version.version IS 'major.minor, as the extension''s';

    PERFORM pointstore.create_account_view();
    PERFORM pointstore.create_reconciliation_views();
    PERFORM pointstore.create_progress_view();
    PERFORM pointstore.create_statistics_view();
    PERFORM pointstore.create_feed_view();
    PERFORM pointstore.create_subscription_views();
    PERFORM pointstore.create_projection_view();
END
$$;
COMMENT ON FUNCTION pointstore.create_store_views() IS
'Makes or remakes the views of a store. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_store()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pointstore.comment_on_accounts();
    PERFORM pointstore.comment_on_transitions();
    PERFORM pointstore.comment_on_leases();
    PERFORM pointstore.comment_on_events();
    PERFORM pointstore.comment_on_holds();
    PERFORM pointstore.comment_on_reconciliation();
    PERFORM pointstore.comment_on_feed();
    PERFORM pointstore.comment_on_subscriptions();
    PERFORM pointstore.comment_on_upcasters();
    PERFORM pointstore.comment_on_snapshots();
    PERFORM pointstore.comment_on_projections();
    PERFORM pointstore.comment_on_replays();
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_store() IS
'Puts the comments on the store''s tables and columns. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.create_store(owner regrole = quote_ident(current_user)::regrole)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    keeper  regrole := pointstore.store_owner();
    in_way  text;
    creator regrole;
BEGIN
    IF owner IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'owner of the store must not be null';
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers create a store';
    END IF;
    PERFORM pointstore.check_schema();
    IF keeper <> owner AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = keeper) THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('there is a store already, of %s and not of %s', keeper, owner),
                  HINT = format('Where it is known to be the store: SELECT pointstore.create_store(%L);', keeper);
    END IF;
    IF keeper IS NOT NULL THEN
        PERFORM pointstore.check_sequence();
        RAISE NOTICE 'the store is there already, nothing was changed';
        RETURN 'exists';
    END IF;
    SELECT string_agg(pg_describe_object('pg_class'::regclass, c.oid, 0), ', ') INTO in_way
      FROM pg_class c JOIN pointstore.store_relations() r ON r.name = c.relname
     WHERE c.relnamespace = 'pointstore'::regnamespace;
    IF in_way IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('what is there is not a whole store: %s', in_way),
                  DETAIL = 'A store has all its tables, and they are all of one role.',
                  HINT = 'Restore what is missing from a backup, or drop or rename what is in the way.';
    END IF;

    -- whatever was granted on the schema before: nobody else makes anything in it
    REVOKE ALL ON SCHEMA pointstore FROM PUBLIC;
    FOR creator IN
        SELECT DISTINCT a.grantee FROM pg_namespace n, aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee AND NOT r.rolsuper
         WHERE n.nspname = 'pointstore' AND a.privilege_type = 'CREATE'
    LOOP
        EXECUTE format('REVOKE CREATE ON SCHEMA pointstore FROM %s CASCADE', creator);
    END LOOP;

    PERFORM pointstore.create_accounts();
    PERFORM pointstore.create_transitions();
    PERFORM pointstore.create_leases();
    PERFORM pointstore.create_events();
    PERFORM pointstore.create_holds();
    PERFORM pointstore.create_reconciliation();
    PERFORM pointstore.create_feed(0);
    PERFORM pointstore.create_subscriptions();
    PERFORM pointstore.create_upcasters();
    PERFORM pointstore.create_snapshots();
    PERFORM pointstore.create_projections();
    PERFORM pointstore.create_replays();
    PERFORM pointstore.comment_on_store();
    PERFORM pointstore.create_store_views();
    PERFORM pointstore.create_store_triggers();

    PERFORM pointstore.give_store(owner);
    PERFORM pointstore.grant_owner(owner);
    PERFORM pointstore.wake_workers();
    RETURN 'created';
END
$$;
COMMENT ON FUNCTION pointstore.create_store(regrole) IS
'Creates the tables, views and triggers of the store in schema pointstore, owned by the given role (default: the current one), and returns created. They are ordinary tables, not members of the extension: pg_dump dumps them and DROP EXTENSION leaves them. Takes USAGE on the schema from PUBLIC, and CREATE from all but superusers. Where the store is there already: a NOTICE, exists, and nothing changes. Superusers only (42501); 22004: null; 55000: the schema is not a superuser''s, something in it is not a superuser''s, what is there is no whole store, or one of another role than the given, or its sequence has been altered.';

-- All of the store, in the hands of its owner. The sequence goes with its table.
CREATE FUNCTION pointstore.give_store(owner regrole)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT r.name FROM pointstore.store_relations() r
          JOIN pg_class c ON c.relname = r.name AND c.relnamespace = 'pointstore'::regnamespace
         WHERE r.kind <> 'S' AND c.relowner <> owner
    LOOP
        EXECUTE format('ALTER TABLE pointstore.%I OWNER TO %s', part, owner);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.give_store(regrole) IS
'Makes a role the owner of all of the store. Called by create_store() and upgrade_store(); superusers only.';

-- What the owner of a store needs of the extension. Gone with DROP EXTENSION.
CREATE FUNCTION pointstore.grant_owner(owner regrole)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION pointstore.digest(bigint, bigint, bigint, bigint, bigint, bigint, bigint),
        pointstore.guard_event_store(), pointstore.guard_balance(),
        pointstore.guard_pure_account(), pointstore.guard_account_kind(), pointstore.guard_hold(), pointstore.guard_append_only(), pointstore.guard_function(), pointstore.guard_transition() TO %s', owner);
    PERFORM pointstore.grant_access(owner, 'operator'::text);
END
$$;
COMMENT ON FUNCTION pointstore.grant_owner(regrole) IS
'Grants the owner of the store what it needs of the extension''s functions. Called by create_store() and upgrade_store(); superusers only.';

-- Its new column is not the last, which CREATE OR REPLACE cannot do. What users have made of
-- the view is in the way, and theirs to drop: 2BP01.
CREATE FUNCTION pointstore.renew_account_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found  regclass := to_regclass('pointstore.account');
    in_way text;
    grants text[] := ARRAY(
        SELECT format('GRANT %s%s ON pointstore.account TO %s%s', a.privilege_type, g.columns,
                      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                      CASE WHEN a.is_grantable AND a.grantee <> 0 THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM (SELECT '' AS columns, c.relacl AS acl FROM pg_class c WHERE c.oid = found
                UNION ALL
                SELECT format(' (%I)', t.attname), t.attacl FROM pg_attribute t WHERE t.attrelid = found) g,
               aclexplode(g.acl) a);
    step   text;
BEGIN
    IF EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = found AND t.attname = 'state') THEN
        RETURN;
    END IF;
    -- these DROP would take along
    SELECT string_agg(o.name, ', ') INTO in_way
      FROM (SELECT pg_describe_object('pg_trigger'::regclass, g.oid, 0) FROM pg_trigger g WHERE g.tgrelid = found
            UNION ALL
            SELECT pg_describe_object('pg_rewrite'::regclass, r.oid, 0) FROM pg_rewrite r WHERE r.ev_class = found AND r.rulename <> '_RETURN') o (name);
    IF in_way IS NOT NULL THEN
        RAISE dependent_objects_still_exist USING MESSAGE = format('%s is in the way of a new view', in_way),
            HINT = 'Drop it, and make it anew after upgrade_store().';
    END IF;
    DROP VIEW IF EXISTS pointstore.account;
    PERFORM pointstore.create_account_view();
    FOREACH step IN ARRAY grants LOOP
        EXECUTE step;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pointstore.renew_account_view() IS
'Makes the view of accounts anew, where it lacks a column, and keeps its GRANTs. 2BP01 where a view of a user depends on it, or it has a trigger or a rule of a user. Called by upgrade_store(); superusers only.';

-- The columns that versions have added to tables where users have columns of their own.
CREATE FUNCTION pointstore.refuse_own_columns(from_version text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    in_way text;
BEGIN
    SELECT string_agg(format('%I.%I', n.tab, n.name), ', ') INTO in_way
      FROM (VALUES (ARRAY[1, 0], 'event_store', 'metadata'),
                   (ARRAY[1, 1], 'account_kind', 'amount_required'), (ARRAY[1, 1], 'finding', 'acknowledged'),
                   (ARRAY[1, 3], 'event_store', 'payload_version'), (ARRAY[1, 3], 'account_kind', 'reducer'),
                   (ARRAY[1, 3], 'account_kind', 'reducer_version'), (ARRAY[1, 3], 'account_kind', 'snapshot_every'),
                   (ARRAY[1, 4], 'event_store', 'state_after'), (ARRAY[1, 4], 'balance', 'state'),
                   (ARRAY[1, 4], 'account_kind', 'initial_state'), (ARRAY[1, 4], 'account_kind', 'transitions'),
                   (ARRAY[1, 4], 'account_kind', 'commuting'), (ARRAY[1, 4], 'account_kind', 'merge'),
                   (ARRAY[1, 4], 'account_kind', 'lease_required')) n (since, tab, name)
      JOIN pg_attribute a ON a.attrelid = to_regclass('pointstore.' || n.tab) AND a.attname = n.name AND NOT a.attisdropped
     WHERE string_to_array(from_version, '.')::integer[] < n.since;
    IF in_way IS NOT NULL THEN
        RAISE duplicate_column USING MESSAGE = format('a column of your own has a name that the store needs: %s', in_way),
            HINT = 'ALTER TABLE ... RENAME COLUMN comes first.';
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.refuse_own_columns(text) IS
'42701 where a store of that version has columns of a user''s with names of columns that it is to get. Called by upgrade_store(); superusers only.';

-- What each version has changed in tables that were there before it, oldest first; a new
-- table has its own function above, and its line in store_relations(). Run by a superuser
-- on tables of somebody else: so nothing here may make PostgreSQL evaluate what the owner has put
-- on them. Columns are added with constant defaults, indexes are created and dropped; no row is
-- written, no constraint is validated but that of a column just added, no view is read.
CREATE FUNCTION pointstore.upgrade_tables(from_version text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    version integer[] := string_to_array(from_version, '.')::integer[];
BEGIN
    IF version < ARRAY[1, 0] THEN
        ALTER TABLE pointstore.event_store ADD COLUMN metadata jsonb;
    END IF;
    IF to_regclass('pointstore.hold') IS NULL THEN
        PERFORM pointstore.create_holds();
    END IF;
    IF to_regclass('pointstore.reconciliation') IS NULL THEN
        PERFORM pointstore.create_reconciliation();
    END IF;
    IF version < ARRAY[1, 1] THEN
        ALTER TABLE pointstore.account_kind ADD COLUMN IF NOT EXISTS amount_required boolean NOT NULL DEFAULT false;
        CREATE INDEX IF NOT EXISTS reconciliation_scope_status_id_idx ON pointstore.reconciliation (scope, status, id);
        ALTER TABLE pointstore.finding ADD COLUMN IF NOT EXISTS acknowledged jsonb;
        CREATE INDEX IF NOT EXISTS finding_acknowledged_idx ON pointstore.finding (aggregate_id, code) WHERE acknowledged IS NOT NULL;
    END IF;
    IF version < ARRAY[1, 2] THEN
        PERFORM pointstore.drop_time_index();
    END IF;
    IF version < ARRAY[1, 3] THEN
        ALTER TABLE pointstore.event_store ADD COLUMN IF NOT EXISTS payload_version smallint;
        ALTER TABLE pointstore.account_kind ADD COLUMN IF NOT EXISTS reducer text,
            ADD COLUMN IF NOT EXISTS reducer_version integer,
            ADD COLUMN IF NOT EXISTS snapshot_every integer CHECK (snapshot_every > 0);
    END IF;
    IF version < ARRAY[1, 4] THEN
        ALTER TABLE pointstore.event_store ADD COLUMN IF NOT EXISTS state_after text;
        ALTER TABLE pointstore.balance ADD COLUMN IF NOT EXISTS state text;
        ALTER TABLE pointstore.account_kind ADD COLUMN IF NOT EXISTS initial_state text,
            ADD COLUMN IF NOT EXISTS transitions text NOT NULL DEFAULT 'open' CHECK (transitions IN ('open', 'strict')),
            ADD COLUMN IF NOT EXISTS commuting text[],
            ADD COLUMN IF NOT EXISTS merge text,
            ADD COLUMN IF NOT EXISTS lease_required boolean NOT NULL DEFAULT false;
    END IF;
    IF to_regclass('pointstore.transition') IS NULL THEN
        PERFORM pointstore.create_transitions();
    END IF;
    IF version < ARRAY[1, 4] THEN
        PERFORM pointstore.renew_account_view();  -- which reads it
    END IF;
    IF to_regclass('pointstore.lease') IS NULL THEN
        PERFORM pointstore.create_leases();
    END IF;
    IF to_regclass('pointstore.feed_block') IS NULL THEN
        PERFORM pointstore.create_feed(coalesce(pg_sequence_last_value('pointstore.event_store_id_seq'), 0) + 1);
    END IF;
    IF to_regclass('pointstore.subscription') IS NULL THEN
        PERFORM pointstore.create_subscriptions();
    END IF;
    IF to_regclass('pointstore.upcaster') IS NULL THEN
        PERFORM pointstore.create_upcasters();
    END IF;
    IF to_regclass('pointstore.snapshot') IS NULL THEN
        PERFORM pointstore.create_snapshots();
    END IF;
    IF to_regclass('pointstore.projection') IS NULL THEN
        PERFORM pointstore.create_projections();
    END IF;
    IF to_regclass('pointstore.replay_run') IS NULL THEN
        PERFORM pointstore.create_replays();
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.upgrade_tables(text) IS
'Brings the tables of a store of that version to the installed one. Called by upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.upgrade_store()
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    installed text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pointstore');
    found     text;
    tables    integer;
    views     integer;
    triggers  integer;
    owner     regrole;
    granted   boolean;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers upgrade a store';
    END IF;
    IF to_regclass('pointstore.event_store') IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'the store is not created',
            HINT = 'SELECT pointstore.create_store();';
    END IF;
    owner := (SELECT c.relowner FROM pg_class c WHERE c.oid = 'pointstore.event_store'::regclass);
    found := coalesce(pointstore.found_version(), 'unknown');
    IF found NOT IN ('0.9', '1.0', '1.1', '1.2', '1.3', installed, 'unknown') THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = format('store of version %s cannot be brought to version %s', found, installed);
    END IF;

    SELECT count(*) FILTER (WHERE r.kind = 'r'), count(*) FILTER (WHERE r.kind = 'v') INTO tables, views
      FROM pointstore.store_relations() r WHERE to_regclass('pointstore.' || r.name) IS NULL;
    IF found <> 'unknown' THEN
        PERFORM pointstore.refuse_own_columns(found);
    END IF;
    IF tables > 0 OR found <> installed THEN
        -- of an unknown one: steps that were done do nothing
        PERFORM pointstore.upgrade_tables(CASE WHEN found = 'unknown' THEN '1.0' ELSE found END);
        PERFORM pointstore.comment_on_store();
    END IF;
    IF tables > 0 OR views > 0 OR found <> installed THEN
        PERFORM pointstore.create_store_views();
    END IF;
    triggers := pointstore.create_store_triggers();
    PERFORM pointstore.give_store(owner);
    granted := has_function_privilege(owner, 'pointstore.guard_event_store()', 'EXECUTE');
    IF NOT granted OR tables > 0 OR views > 0 OR found <> installed THEN
        PERFORM pointstore.grant_owner(owner);
    END IF;
    PERFORM pointstore.check_sequence();
    PERFORM pointstore.check_store();
    PERFORM pointstore.wake_workers();

    IF found = installed AND tables = 0 AND views = 0 AND triggers = 0 AND granted THEN
        RETURN 'current';
    END IF;
    IF triggers > 0 AND tables = 0 AND found IN (installed, 'unknown') THEN
        RAISE NOTICE '% triggers were missing: what was written without them has not been checked', triggers
            USING HINT = 'CALL pointstore.reconcile(''full'');';
    END IF;
    RETURN format('version %s, was %s; %s tables, %s views and %s triggers restored', installed, found, tables, views, triggers);
END
$$;
COMMENT ON FUNCTION pointstore.upgrade_store() IS
'Brings the store to the version of the installed extension and restores missing triggers and views; returns current when there was nothing to do. Of a store before 1.2 it drops the index on event_store (aggregate_id, created_at, version), whatever it is called, which nothing of the store''s goes by any more. To be called after ALTER EXTENSION pointstore UPDATE, and followed by grant_access() for each role; where triggers were lost also by reconcile(''full''), which a NOTICE says. Runs nothing that the store''s owner has put on it but as that owner. Superusers only (42501); 55000 where there is no store, one of an unknown version, one that lacks a column or an index, or one whose sequence has been altered.';

CREATE FUNCTION pointstore.grant_access(role regrole, level text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL OR level IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'role and level must not be null';
    END IF;
    IF level NOT IN ('reader', 'writer', 'operator') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('unknown level "%s"', level),
            HINT = 'The levels are reader, writer and operator.';
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only superusers grant access to a store';
    END IF;
    IF to_regclass('pointstore.event_store') IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'the store is not created',
            HINT = 'SELECT pointstore.create_store();';
    END IF;

    EXECUTE format('GRANT USAGE ON SCHEMA pointstore TO %s', role);
    EXECUTE (SELECT format('GRANT SELECT ON %s TO %s', string_agg(format('pointstore.%I', r.name), ', '), role)
               FROM pointstore.store_relations() r WHERE r.kind <> 'S');
    EXECUTE format('GRANT EXECUTE ON FUNCTION pointstore.get_balance(text), pointstore.balance_at(text, timestamptz),
        pointstore.balance_as_of(text, bigint), pointstore.statement(text, timestamptz, timestamptz), pointstore.check_transitions(text), pointstore.reconcile_account(text), pointstore.progress(), pointstore.worker_alive(),
        pointstore.feed_head(), pointstore.read_feed(bigint, integer, text[], text, boolean), pointstore.position_of(bigint), pointstore.feed_incarnation(),
        pointstore.load_events(text, bigint, integer, boolean), pointstore.aggregate_state(text, bigint),
        pointstore.sequence_feed(), pointstore.sequencer_alive(), pointstore.feed_check(), pointstore.feed_state(),
        pointstore.create_subscription(text, bigint, smallint, text[], text, interval, integer, text),
        pointstore.drop_subscription(text), pointstore.pause_subscription(text), pointstore.resume_subscription(text),
        pointstore.alter_subscription(text, text[], text, interval, integer, text, smallint, integer, integer),
        pointstore.move_subscription(text, bigint), pointstore.claim(text, text, integer, interval),
        pointstore.ack(text, smallint, bigint, bigint), pointstore.nack(text, smallint, bigint, bigint, text, text, interval),
        pointstore.renew(text, smallint, bigint), pointstore.release(text, smallint, bigint, interval),
        pointstore.replay_parked(text, text), pointstore.skip_parked(text, text, bigint, text), pointstore.subscription_lag(text),
        pointstore.stat(), pointstore.stat_rules() TO %s', role);
    EXECUTE format('GRANT EXECUTE ON PROCEDURE pointstore.wait_for_feed(bigint, interval, bigint), pointstore.wait_for_work(text, interval, boolean) TO %s', role);
    IF level IN ('writer', 'operator') THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION
            pointstore.append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.try_append_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.append_events(jsonb, text, boolean),
            pointstore.try_append_events(jsonb, text, boolean),
            pointstore.submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.try_submit_event(text, text, bigint, jsonb, bigint, text, bigint, timestamptz, text, jsonb, smallint, bigint, bigint),
            pointstore.submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.try_submit_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.hold(text, bigint, text, interval, jsonb, bigint),
            pointstore.try_hold(text, bigint, text, interval, jsonb, bigint),
            pointstore.confirm_hold(text, bigint, text, text, jsonb, jsonb),
            pointstore.try_confirm_hold(text, bigint, text, text, jsonb, jsonb),
            pointstore.cancel_hold(text, text),
            pointstore.try_cancel_hold(text, text),
            pointstore.transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.try_transfer(text, text, bigint, text, text, jsonb, jsonb, text, bigint),
            pointstore.reverse_event(text, bigint, bigint, text, boolean),
            pointstore.try_reverse_event(text, bigint, bigint, text, boolean),
            pointstore.open_account(text, text),
            pointstore.acquire_lease(text, text, interval), pointstore.renew_lease(text, bigint, interval),
            pointstore.release_lease(text, bigint), pointstore.check_lease(text, bigint),
            pointstore.take_snapshot(text),
            pointstore.check_version() TO %s', role);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE pointstore.wait_for_lease(text, text, interval, interval, bigint, timestamptz) TO %s', role);
    END IF;
    IF level = 'operator' THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION
            pointstore.close_account(text, text),
            pointstore.freeze_account(text, text),
            pointstore.unfreeze_account(text, text),
            pointstore.set_kind(text, text, text, text),
            pointstore.rebuild_balance(text, boolean),
            pointstore.repair(bigint, text),
            pointstore.acknowledge(bigint, text),
            pointstore.drop_snapshots(text, text),
            pointstore.steal_lease(text, text, interval),
            pointstore.reconcile_now(text),
            pointstore.create_projection(text, regprocedure, bigint, text[], text, smallint, integer, text),
            pointstore.drop_projection(text), pointstore.rebuild_projection(text, regprocedure),
            pointstore.pg_stat_pointstore_reset() TO %s', role);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE pointstore.rebuild_balances(), pointstore.sweep_holds(), pointstore.verify_replay(text, regprocedure, double precision, bigint), pointstore.reconcile(text, bigint), pointstore.run_projection(text) TO %s', role);
    END IF;
END
$$;
COMMENT ON FUNCTION pointstore.grant_access(regrole, text) IS
'Gives a role access: reader (sees tables and views, reads balances and statements, examines an account), writer (also appends, submits, holds, transfers, reverses, but not into debt, acquires leases, and opens accounts of kinds that an append would open, by functions alone, and may put check_version on its tables) or operator (also opens accounts of every kind, reverses into debt, steals leases, closes, freezes, unfreezes, sets kinds, rebuilds, sweeps, reconciles, repairs, acknowledges findings, creates, runs, rebuilds and drops projections, and resets the statistics). PUBLIC gets nothing by itself. To be called again after an upgrade. Superusers only (42501); 22023 for an unknown level, 22004 for a null.';

-- Of the extension's routines those that are new: on the others the script that brought them
-- has done this, which PostgreSQL remembers. They keep their GRANTs, which a REVOKE in an
-- update would hide from pg_dump; and what a user keeps in the schema is no member.
DO LANGUAGE plpgsql $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT d.objid FROM pg_catalog.pg_depend d
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.refobjid OPERATOR(pg_catalog.=) (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'pointstore')
           AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND d.deptype OPERATOR(pg_catalog.=) 'e'
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i
                            WHERE i.classoid OPERATOR(pg_catalog.=) d.classid AND i.objoid OPERATOR(pg_catalog.=) d.objid)
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
    END LOOP;
END
$$;

-- once more, now that all names of ours are there
SELECT pointstore.check_schema();
