-- src/nodes/movement.sql
-- Movements: changes of accounts that live in several stores.

CREATE TYPE pointstore.movement_state AS (
    movement_id text,
    protocol    text,
    phase       text,
    settled     boolean,
    error       text
);
COMMENT ON TYPE pointstore.movement_state IS
'Where a movement is: its phase, whether that is its last, and why it was cancelled, undone or is stuck.';

CREATE FUNCTION pointstore.create_movements()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.movement (
        movement_id text COLLATE "C" PRIMARY KEY,
        protocol    text NOT NULL,
        phase       text NOT NULL,
        deadline    timestamptz,
        started_at  timestamptz NOT NULL,
        finished_at timestamptz,
        by_role     text NOT NULL,
        metadata    jsonb,
        number      bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        incarnation bigint NOT NULL,
        balanced    boolean NOT NULL,
        body        bytea,
        reason      text,
        error       text
    ) WITH (fillfactor = 70);
    CREATE INDEX movement_unfinished_idx ON pointstore.movement (number) WHERE finished_at IS NULL;
    CREATE TABLE pointstore.movement_step (
        movement_id  text COLLATE "C" NOT NULL,
        step         smallint NOT NULL,
        server       text COLLATE "C",
        aggregate_id text COLLATE "C" NOT NULL,
        amount       bigint NOT NULL,
        status       text NOT NULL DEFAULT 'pending',
        attempts     integer NOT NULL DEFAULT 0,
        next_try     timestamptz,
        error        text,
        event_id     bigint,
        at           timestamptz NOT NULL,
        event_type   text NOT NULL,
        payload      jsonb,
        undo         jsonb,
        kind         text COLLATE "C",
        unit         text,
        PRIMARY KEY (movement_id, step)
    ) WITH (fillfactor = 70);
    CREATE TABLE pointstore.movement_log (
        id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        movement_id text COLLATE "C" NOT NULL,
        step        smallint,
        status      text NOT NULL,
        error       text,
        by_role     text NOT NULL,
        at          timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE INDEX movement_log_movement_id_id_idx ON pointstore.movement_log (movement_id, id);
    CREATE TABLE pointstore.movement_store (
        only_one          boolean PRIMARY KEY DEFAULT true CHECK (only_one),
        store             uuid NOT NULL,
        incarnation       bigint NOT NULL,
        system_identifier text,
        timeline          integer,
        database          bigint,
        finished_incarnation bigint NOT NULL DEFAULT 0,
        finished_below    bigint NOT NULL DEFAULT 0,
        since             timestamptz NOT NULL
    ) WITH (fillfactor = 50);
    INSERT INTO pointstore.movement_store (store, incarnation, since) VALUES (gen_random_uuid(), 1, clock_timestamp());
END
$$;
COMMENT ON FUNCTION pointstore.create_movements() IS
'Creates the tables of movements. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_movements()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.movement IS 'Movements that began in this store; pruned to their outcome pointstore.movement_retention after they have finished; written by functions alone';
    COMMENT ON COLUMN pointstore.movement.movement_id IS 'its name, 1 to 512 bytes, as the caller gave it; kept for ever';
    COMMENT ON COLUMN pointstore.movement.protocol IS 'tcc, saga or 2pc';
    COMMENT ON COLUMN pointstore.movement.phase IS 'trying, confirming, confirmed, cancelling or cancelled; of a saga doing, done, undoing or undone; stuck: an operator decides, resolve_movement(); accepted: one has taken it as it was';
    COMMENT ON COLUMN pointstore.movement.deadline IS 'when it is cancelled, or undone, unless it was decided before; null: it was cancelled before it began';
    COMMENT ON COLUMN pointstore.movement.started_at IS 'when it began';
    COMMENT ON COLUMN pointstore.movement.finished_at IS 'when all its participants had acknowledged the outcome; null = not yet';
    COMMENT ON COLUMN pointstore.movement.by_role IS 'who has started it';
    COMMENT ON COLUMN pointstore.movement.metadata IS 'as the caller gave it; goes into its events'' metadata; null once it is pruned';
    COMMENT ON COLUMN pointstore.movement.number IS 'in the order in which they began, with gaps';
    COMMENT ON COLUMN pointstore.movement.incarnation IS 'of this store when it began, see pointstore.movement_store';
    COMMENT ON COLUMN pointstore.movement.balanced IS 'whether its amounts have to sum to zero for each unit';
    COMMENT ON COLUMN pointstore.movement.body IS 'digest of what was asked for, by which a repeat is known; null: it was cancelled before it began';
    COMMENT ON COLUMN pointstore.movement.reason IS 'as given with the cancellation, or by an operator';
    COMMENT ON COLUMN pointstore.movement.error IS 'why it was cancelled or undone, or is stuck';
    COMMENT ON TABLE pointstore.movement_step IS 'Steps of movements that are not pruned: where each stands; written by functions alone';
    COMMENT ON COLUMN pointstore.movement_step.movement_id IS 'the movement';
    COMMENT ON COLUMN pointstore.movement_step.step IS 'place in it, from 1';
    COMMENT ON COLUMN pointstore.movement_step.server IS 'foreign server of the store that it goes to; null = this store';
    COMMENT ON COLUMN pointstore.movement_step.aggregate_id IS 'the account there';
    COMMENT ON COLUMN pointstore.movement_step.amount IS 'what the account gets, minor units; below 0: what it pays';
    COMMENT ON COLUMN pointstore.movement_step.status IS 'pending, tried, refused, confirmed or cancelled; of a saga done or undone; missing: the participant has lost it; failed: a constraint or a trigger there refuses what may not be refused';
    COMMENT ON COLUMN pointstore.movement_step.attempts IS 'messages that were sent in this phase and not answered';
    COMMENT ON COLUMN pointstore.movement_step.next_try IS 'when it is asked again; null = nothing is asked, or it is under way';
    COMMENT ON COLUMN pointstore.movement_step.error IS 'the last refusal or failure';
    COMMENT ON COLUMN pointstore.movement_step.event_id IS 'id, in its store, of the last event of the step';
    COMMENT ON COLUMN pointstore.movement_step.at IS 'when the row last changed';
    COMMENT ON COLUMN pointstore.movement_step.event_type IS 'type of its event';
    COMMENT ON COLUMN pointstore.movement_step.payload IS 'of its event';
    COMMENT ON COLUMN pointstore.movement_step.undo IS 'of a saga: event_type, amount and payload of the event that undoes it; null: a reversal does';
    COMMENT ON COLUMN pointstore.movement_step.kind IS 'of an account that it opens; null = default';
    COMMENT ON COLUMN pointstore.movement_step.unit IS 'what the account counts, as its store has answered';
    COMMENT ON TABLE pointstore.movement_log IS 'Every change of a movement''s phase and of a step''s status';
    COMMENT ON COLUMN pointstore.movement_log.id IS 'place in the log, with gaps';
    COMMENT ON COLUMN pointstore.movement_log.movement_id IS 'the movement';
    COMMENT ON COLUMN pointstore.movement_log.step IS 'the step; null = the movement itself';
    COMMENT ON COLUMN pointstore.movement_log.status IS 'the phase or the status that it came to';
    COMMENT ON COLUMN pointstore.movement_log.error IS 'why';
    COMMENT ON COLUMN pointstore.movement_log.by_role IS 'who has brought it there; the store''s owner: the coordinator';
    COMMENT ON COLUMN pointstore.movement_log.at IS 'when';
    COMMENT ON TABLE pointstore.movement_store IS 'Who this store is to others: one row';
    COMMENT ON COLUMN pointstore.movement_store.only_one IS 'true';
    COMMENT ON COLUMN pointstore.movement_store.store IS 'its name among stores, drawn when it was created; a copy of it has the same';
    COMMENT ON COLUMN pointstore.movement_store.incarnation IS 'one more each time that the store is found in another cluster, on another timeline or in another database than before: restored, promoted or copied';
    COMMENT ON COLUMN pointstore.movement_store.system_identifier IS 'of the cluster where it was last found';
    COMMENT ON COLUMN pointstore.movement_store.timeline IS 'that it was last found on';
    COMMENT ON COLUMN pointstore.movement_store.database IS 'oid of the database where it was last found';
    COMMENT ON COLUMN pointstore.movement_store.finished_incarnation IS 'of the movements that finished_below counts';
    COMMENT ON COLUMN pointstore.movement_store.finished_below IS 'all movements with a lower number, and of earlier incarnations, have finished';
    COMMENT ON COLUMN pointstore.movement_store.since IS 'when the incarnation began';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_movements() IS
'Puts the comments on the tables of movements. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.create_movement_views()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.in_transit AS
    SELECT s.unit, -sum(s.amount)::numeric AS amount, count(DISTINCT s.movement_id) AS movements
      FROM pointstore.movement m JOIN pointstore.movement_step s ON s.movement_id = m.movement_id
     WHERE m.balanced AND m.finished_at IS NULL AND s.status IN ('confirmed', 'done')
     GROUP BY s.unit;
    COMMENT ON VIEW pointstore.in_transit IS 'What this store''s movements have taken from one account and not yet given to another, by unit: with the balances of all stores it comes to what there was. Exact when no answer is under way; not of movements that need not balance, nor of accepted ones that have finished';
    COMMENT ON COLUMN pointstore.in_transit.unit IS 'what the amount counts';
    COMMENT ON COLUMN pointstore.in_transit.amount IS 'minor units; below 0: given before it was taken';
    COMMENT ON COLUMN pointstore.in_transit.movements IS 'how many movements';

    CREATE OR REPLACE VIEW pointstore.movement_status AS
    SELECT m.movement_id, m.protocol, m.phase, m.started_at, m.deadline, coalesce(m.deadline < clock_timestamp(), false) AS late,
           s.steps, s.outstanding, s.waits_for, s.attempts, s.next_try, coalesce(m.error, s.error) AS error
      FROM pointstore.movement m
     CROSS JOIN LATERAL (
           SELECT count(*) AS steps, count(*) FILTER (WHERE w.waits) AS outstanding,
                  array_agg(DISTINCT coalesce(t.server, '') ORDER BY coalesce(t.server, '')) FILTER (WHERE w.waits) AS waits_for,
                  max(t.attempts) FILTER (WHERE w.waits) AS attempts, min(t.next_try) FILTER (WHERE w.waits) AS next_try,
                  min(t.error) FILTER (WHERE w.waits) AS error
             FROM pointstore.movement_step t
            CROSS JOIN LATERAL (SELECT CASE WHEN m.phase = 'trying' THEN t.status NOT IN ('tried', 'refused')
                                            WHEN m.phase = 'doing' THEN t.status NOT IN ('done', 'refused')
                                            ELSE t.status NOT IN ('confirmed', 'cancelled', 'undone') END) w (waits)
            WHERE t.movement_id = m.movement_id) s
     WHERE m.finished_at IS NULL;
    COMMENT ON VIEW pointstore.movement_status IS 'The movements of this store that have not finished, a row each: where they are, and whom they wait for. The runbook in doc/operations.md goes by it';
    COMMENT ON COLUMN pointstore.movement_status.movement_id IS 'its name';
    COMMENT ON COLUMN pointstore.movement_status.protocol IS 'tcc, saga or 2pc';
    COMMENT ON COLUMN pointstore.movement_status.phase IS 'as in pointstore.movement; stuck: an operator decides, resolve_movement()';
    COMMENT ON COLUMN pointstore.movement_status.started_at IS 'when it began';
    COMMENT ON COLUMN pointstore.movement_status.deadline IS 'when it is given up, unless it was decided before';
    COMMENT ON COLUMN pointstore.movement_status.late IS 'whether that has passed: what was decided is carried out all the same';
    COMMENT ON COLUMN pointstore.movement_status.steps IS 'how many it has';
    COMMENT ON COLUMN pointstore.movement_status.outstanding IS 'how many of them the phase still waits for';
    COMMENT ON COLUMN pointstore.movement_status.waits_for IS 'the servers of those; an empty one is this store';
    COMMENT ON COLUMN pointstore.movement_status.attempts IS 'messages to one of them that were not answered, in this phase';
    COMMENT ON COLUMN pointstore.movement_status.next_try IS 'when the first of them is asked again; null = it is being asked, or nothing is';
    COMMENT ON COLUMN pointstore.movement_status.error IS 'why it is cancelled, undone or stuck, or what the last attempt has failed by';
END
$$;
COMMENT ON FUNCTION pointstore.create_movement_views() IS
'Makes the views of movements. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.start_movement(movement_id text, steps jsonb, protocol text = 'tcc', deadline interval = '1 min', metadata jsonb = NULL)
RETURNS pointstore.movement_state LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_start_movement';
COMMENT ON FUNCTION pointstore.start_movement(text, jsonb, text, interval, jsonb) IS
'Starts a movement: a change of several accounts that live in several stores, applied by all or by none. movement_id: its name, 1 to 512 bytes; a repeat with the same protocol and steps, whoever asks, is answered with where it is, with others PS002. steps: a JSON array of up to 1,000 objects {"aggregate_id", "amount" (what the account gets, minor units; below 0: what it pays), "event_type" (default Transferred), "payload", "server" (a foreign server; null = this store), "kind" (of an account that it opens), "undo" (of a saga: {"event_type", "amount", "payload"}; null: a reversal)}. The amounts sum to zero, for each unit, unless a step says "balanced": false; then an undo need not be the opposite either. protocol: tcc reserves, then applies; saga applies step by step, and undoes (operators, 42501); 2pc prepares, then commits. deadline: when it is given up, unless it is decided. metadata: an object, added to that of its events. What is of this store is tried at once, and a refusal is an error, as append_event()''s, which leaves nothing; the coordinator does the rest when this transaction has committed. All in this store, and of a distributed one on one node: one transaction, over as it begins. A distributed store does no 2pc (0A000). 42501: no USAGE on a server; 42704: no such server, or no user mapping of the store''s owner; 42809: it is of another wrapper; PS002 too where the movement began in another store.';

CREATE FUNCTION pointstore.move(from_id text, to_id text, amount bigint, movement_id text, to_server text = NULL, protocol text = 'tcc',
    payload jsonb = '{}', deadline interval = '1 min', metadata jsonb = NULL)
RETURNS pointstore.movement_state LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_move';
COMMENT ON FUNCTION pointstore.move(text, text, bigint, text, text, text, jsonb, interval, jsonb) IS
'start_movement() of two steps: an amount (minor units, positive) from an account of this store to one of the store that a foreign server names, null = this one, where it is a transfer. Returns at once; wait_for_movement() waits until it is settled.';

CREATE FUNCTION pointstore.wait_for_movement(movement_id text, timeout interval = '10 s')
RETURNS pointstore.movement_state LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_wait_for_movement';
COMMENT ON FUNCTION pointstore.wait_for_movement(text, interval) IS
'Waits until a movement that began in this store is settled, or stuck, but no longer than timeout, and returns where it is. What it says is durable. Keeps the snapshot of the statement meanwhile. PS008: there is no such movement, or it is not committed; 25001: this transaction has started or changed it, and it goes on only after the commit.';

CREATE FUNCTION pointstore.cancel_movement(movement_id text, reason text = NULL)
RETURNS pointstore.movement_state LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_cancel_movement';
COMMENT ON FUNCTION pointstore.cancel_movement(text, text) IS
'Cancels a movement that is not decided, and returns where it is: cancelling, of a saga undoing, until all its stores have acknowledged, as wait_for_movement() waits for. One that is cancelled already stays so. One that was not started: it is cancelled before it begins, and start_movement() then answers cancelled. Sagas by operators alone (42501). PS011: it was decided otherwise, or is stuck; PS002: it began in another store.';

CREATE FUNCTION pointstore.resolve_movement(movement_id text, decision text, reason text)
RETURNS pointstore.movement_state LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_resolve_movement';
COMMENT ON FUNCTION pointstore.resolve_movement(text, text, text) IS
'An operator''s word on a movement that is stuck, with its reason. confirm: it goes on, and what was lost is tried again, unless it was decided to be cancelled or a step was; cancel: it goes back, unless it was decided to be confirmed or a step was; accept: it ends as it is, what is reserved is given back, and what its steps were is kept as a closed finding, movement_accepted. PS011: it is not stuck, or that must not be; PS008: there is no such movement; 22023: another decision, or an empty reason.';

CREATE FUNCTION pointstore.ask_movement(movement_id text, call jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_ask_about_movement';
COMMENT ON FUNCTION pointstore.ask_movement(text, jsonb) IS
'What is asked about a movement of a distributed store, on the node that has its rows: to begin, wait for, cancel or resolve it. Called by start_movement(), move(), wait_for_movement(), cancel_movement() and resolve_movement(), as the store''s owner (42501).';
