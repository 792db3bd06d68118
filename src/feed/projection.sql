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
    IF pointstore.is_distributed() THEN
        -- which has no projections yet
        CREATE OR REPLACE VIEW pointstore.projection_status AS
        SELECT NULL::text COLLATE "C" AS name, NULL::smallint AS slot, NULL::text AS status, NULL::text AS created_by, NULL::text AS handler, NULL::bigint AS checkpoint,
               NULL::bigint AS lag, NULL::double precision AS lag_seconds, NULL::text AS member, NULL::integer AS blocked, NULL::text AS last_error,
               NULL::numeric AS rate, NULL::numeric AS percent, NULL::interval AS time_left
         WHERE false;
        RETURN;
    END IF;
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
