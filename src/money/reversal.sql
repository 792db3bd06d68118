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

CREATE FUNCTION pointstore.reverse_part(aggregate_id text, version bigint, amount bigint, request_id text, allow_debt boolean, outcomes boolean)
RETURNS SETOF pointstore.receipt LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
AS 'MODULE_PATHNAME', 'pointstore_reverse_part';
COMMENT ON FUNCTION pointstore.reverse_part(text, bigint, bigint, text, boolean, boolean) IS
'reverse_event(), or where outcomes are asked for try_reverse_event(), on the node of a distributed store that has the account, of an event without other legs. Called by these.';
