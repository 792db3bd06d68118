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
        state        text,
        incoming     bigint NOT NULL DEFAULT 0
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
    COMMENT ON COLUMN pointstore.balance.held IS 'what its open holds and undecided movements reserve, minor units';
    COMMENT ON COLUMN pointstore.balance.next_expiry IS 'when the first of its open holds expires; null = none';
    COMMENT ON COLUMN pointstore.balance.status IS 'open, frozen (PS004) or closed (PS005); changed by functions alone';
    COMMENT ON COLUMN pointstore.balance.state IS 'state after its last event, or as set_kind() has set it since; null = none; kept by the store, 22023 from who writes the table';
    COMMENT ON COLUMN pointstore.balance.incoming IS 'what undecided movements will credit, minor units: counts against the ceiling and keeps the account from being closed; kept by the store, 22023 from who writes the table';
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
