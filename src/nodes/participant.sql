-- src/nodes/participant.sql
-- What coordinators of other stores ask of this one.

CREATE FUNCTION pointstore.create_origins()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.participant_origin (
        origin               uuid PRIMARY KEY,
        role                 text UNIQUE,
        name                 text,
        incarnation          bigint NOT NULL,
        finished_incarnation bigint NOT NULL DEFAULT 0,
        finished_below       bigint NOT NULL DEFAULT 0,
        heard_at             timestamptz NOT NULL
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_origins() IS
'Creates the table of stores whose movements this one takes part in. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_origins()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.participant_origin IS 'Stores whose movements this one takes part in';
    COMMENT ON COLUMN pointstore.participant_origin.origin IS 'the store, by its movement_store.store';
    COMMENT ON COLUMN pointstore.participant_origin.role IS 'the role that its first message came from, and all others have to';
    COMMENT ON COLUMN pointstore.participant_origin.name IS 'what it calls itself, for people';
    COMMENT ON COLUMN pointstore.participant_origin.incarnation IS 'its newest: messages of earlier ones are refused';
    COMMENT ON COLUMN pointstore.participant_origin.finished_incarnation IS 'of the movements that finished_below counts';
    COMMENT ON COLUMN pointstore.participant_origin.finished_below IS 'its movements with a lower number have finished: what comes late for them is refused';
    COMMENT ON COLUMN pointstore.participant_origin.heard_at IS 'when it was last heard of';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_origins() IS
'Puts the comments on the table of stores whose movements this one takes part in. Called by create_store() and upgrade_store(); superusers only.';

-- Their rows are not visible before they are committed: what is known of them is their names.
CREATE FUNCTION pointstore.create_prepared_view()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE OR REPLACE VIEW pointstore.prepared_step AS
    SELECT n.part[1]::uuid AS origin, n.part[3] AS movement_id, n.part[4]::integer AS step, n.part[2]::bigint AS incarnation,
           x.prepared AS prepared_at, clock_timestamp() - x.prepared AS age, x.owner::text AS role,
           ARRAY(SELECT l.pid FROM pg_locks l WHERE NOT l.granted AND l.locktype = 'transactionid' AND l.transactionid = x.transaction
                  ORDER BY l.waitstart, l.pid) AS blocks,
           x.gid
      FROM pg_prepared_xacts x,
           regexp_match(x.gid, '^pointstore:([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}):([0-9]{1,18}):(.*):([0-9]{1,5})$') n (part)
     WHERE x.database = current_database() AND n.part IS NOT NULL;
    COMMENT ON VIEW pointstore.prepared_step IS 'Steps of other stores'' movements by 2pc that are prepared in this database, and in doubt until their coordinator ends them: their accounts are locked';
    COMMENT ON COLUMN pointstore.prepared_step.origin IS 'the store whose movement it is, see participant_origin';
    COMMENT ON COLUMN pointstore.prepared_step.movement_id IS 'the movement; of more than 100 bytes # and its SHA-256';
    COMMENT ON COLUMN pointstore.prepared_step.step IS 'its step; what it is about stands in movement_step of its store';
    COMMENT ON COLUMN pointstore.prepared_step.incarnation IS 'of its store when it began';
    COMMENT ON COLUMN pointstore.prepared_step.prepared_at IS 'since when it is in doubt';
    COMMENT ON COLUMN pointstore.prepared_step.age IS 'for how long; its coordinator gives up what is not decided after its pointstore.prepared_limit';
    COMMENT ON COLUMN pointstore.prepared_step.role IS 'who may end it, and superusers; who does so by hand decides against the coordinator, perhaps: the movement is stuck then';
    COMMENT ON COLUMN pointstore.prepared_step.blocks IS 'pids of the sessions that wait for it, who waits longest first';
    COMMENT ON COLUMN pointstore.prepared_step.gid IS 'name of the prepared transaction';
END
$$;
COMMENT ON FUNCTION pointstore.create_prepared_view() IS
'Makes the view of prepared steps. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.participate(messages jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_participate';
COMMENT ON FUNCTION pointstore.participate(jsonb) IS
'What the coordinator of another store asks of this one about steps of its movements: {"version": 1, "origin": its uuid, "name", "incarnation", "finished_below": [incarnation, number], "messages": [{"do": "try" | "confirm" | "cancel", "movement_id", "step", "incarnation", "number", "protocol", "attempt", "aggregate_id" (which a distributed store needs); of a try "amount", "event_type", "payload", "metadata", "undo", "kind"} | {"do": "list", "after": {"movement_id", "step"}, "limit"}]}. Returns {"version", "store", "system_identifier", "timeline", "lsn", "answers": [{"answer": "tried" | "done" | "refused" | "confirmed" | "cancelled" | "missing" | "closed" | "failed" | "busy" | "list", "unit", "event_id", "sqlstate", "error", "rows"}]}, in the order asked. Each message stands for itself, and may come twice, late or in another order. What would have to be waited for is busy. One transaction, durable with its commit whatever synchronous_commit says. A step of 2pc is tried by itself in a transaction block, to be prepared (25P01); a distributed store refuses it (0A000). Level participant. 42501: another role speaks for that store, or this one for another; 55000: the store has a newer incarnation; 0A000: another version; 22023, 22004: no messages; 25001: in a transaction that has written in REPEATABLE READ or above.';

CREATE FUNCTION pointstore.take_steps(aggregate_id text, call jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_take_steps';
COMMENT ON FUNCTION pointstore.take_steps(text, jsonb) IS
'What a node of a distributed store is asked by another about steps of movements on its accounts: participate() where these are not all here, and the coordinator. Called by these, as the store''s owner (42501).';

CREATE FUNCTION pointstore.resolve_step(origin uuid, movement_id text, step integer, decision text, reason text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_resolve_step';
COMMENT ON FUNCTION pointstore.resolve_step(uuid, text, integer, text, text) IS
'An operator''s word on a step that this store takes part in, where its coordinator cannot be reached any more: decision confirm or cancel. Returns what the step then is, confirmed or cancelled; repeated it says so again. Who has decided stands in participant_step.ended_by, and with the reason in the event''s metadata. Where the coordinator decides otherwise its movement is stuck. PS008: there is no such step; PS007: it has ended in another way; 22023, 22004. Operators.';
