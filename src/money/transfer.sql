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
