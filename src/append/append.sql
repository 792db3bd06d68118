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

-- Parts of calls that begin on another node of a distributed store.
CREATE FUNCTION pointstore.append_part(aggregate_id text, part jsonb, OUT place integer, OUT outcome integer, OUT is_merged boolean, OUT is_recalled boolean,
    OUT version bigint, OUT balance bigint, OUT available bigint, OUT id bigint, OUT created_at timestamptz, OUT unit text, OUT applied_version bigint, OUT amount bigint,
    OUT reason integer, OUT account_unknown boolean)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_append_part';
COMMENT ON FUNCTION pointstore.append_part(text, jsonb) IS
'Appends, on the node that has the account, what a transfer() or append_events() that was called on another node has for accounts there. Called by these.';

CREATE FUNCTION pointstore.lock_part(aggregate_id text, accounts text[])
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_lock_part';
COMMENT ON FUNCTION pointstore.lock_part(text, text[]) IS
'Locks accounts, on the node that has them, for a transfer(), append_events() or reverse_event() that was called on another node. Called by these.';
