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

CREATE FUNCTION pointstore.reverse_part(aggregate_id text, part jsonb, OUT place integer, OUT outcome integer, OUT is_merged boolean, OUT is_recalled boolean,
    OUT version bigint, OUT balance bigint, OUT available bigint, OUT id bigint, OUT created_at timestamptz, OUT unit text, OUT applied_version bigint, OUT amount bigint,
    OUT reason integer, OUT account_unknown boolean)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_reverse_part';
COMMENT ON FUNCTION pointstore.reverse_part(text, jsonb) IS
'Appends, on the node that has the account, what a reverse_event() that was called on another node has for accounts there. 55000: the store is not distributed. Called by it.';

CREATE FUNCTION pointstore.legs_part(aggregate_id text, first_id bigint, OUT account text, OUT request_id text, OUT id bigint, OUT version bigint,
    OUT amount bigint, OUT cause_id bigint, OUT leg smallint, OUT event_type text, OUT hashes bigint)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_legs_part';
COMMENT ON FUNCTION pointstore.legs_part(text, bigint) IS
'The events, in the shards of the node that has the account, that are legs of the movement whose first has that id, amounts in minor units; in the last row, which has nothing else, how many hashes those shards are of. A leg that is not committed yet is waited for. 40001 in REPEATABLE READ and above where one was committed later. 55000: the store is not distributed. Called by reverse_event().';
