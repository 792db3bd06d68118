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
