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
