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
'Takes what a hold reserves, or an amount of it (minor units), and releases the rest: an event HoldConfirmed, once; a repeat returns the first receipt. The floor is not asked again. to_id: the account that gets what is taken, by an event Transferred with the first as its cause, as a transfer''s second leg; the receipt is the payer''s. metadata: a JSON object, which hold_id is added to; never compared. PS002: it was confirmed with another amount, to_id or payload, or is one of another account than the given; PS004: an account is frozen; PS007: it has expired or was cancelled; PS008: there is no such hold; PS011: more than it reserves, or the accounts count different units; PS012: state; PS014: lease; refusals of to_id as for append_event(); 22004, 22023.';

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
'Releases what a hold reserves: an event HoldCancelled, also on a frozen account; a repeat, or after it has expired, returns the first receipt. Of a hold that is not there yet it leaves a row, without an event, so that placing it is refused (PS007); the receipt''s outcome is tombstone then, also when that is repeated, and it has no version. aggregate_id: must be the hold''s account, where given. PS002: it is one of another account; PS007: it was confirmed; PS012: state; PS014: lease; 22004, 22023.';

CREATE FUNCTION pointstore.try_cancel_hold(hold_id text, aggregate_id text = NULL)
RETURNS pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_try_cancel_hold';
COMMENT ON FUNCTION pointstore.try_cancel_hold(text, text) IS
'cancel_hold() that answers a refusal with a receipt instead of an error: request_mismatch, transition_not_allowed, lease_lost, or not_allowed where it was confirmed. Malformed input is an error still (22004, 22023).';
