-- src/account/status.sql
-- Status and kind of an account.

CREATE FUNCTION pointstore.close_account(aggregate_id text, reason text = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_close_account';
COMMENT ON FUNCTION pointstore.close_account(text, text) IS
'Closes an account for good; the reason goes into account_log. PS011: balance or held is not 0, or a movement that has not ended has a step on it; PS004: it is frozen; PS008: it is not there; PS010: a change by hand waits for its event or balance. Transactions that have appended to it are waited for. Closing a closed account does nothing.';

CREATE FUNCTION pointstore.freeze_account(aggregate_id text, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_freeze_account';
COMMENT ON FUNCTION pointstore.freeze_account(text, text) IS
'Freezes an account: appends are refused (PS004) until unfreeze_account(). The reason goes into account_log, also that of a later freeze, which does nothing else. 22004: a null; 22023: an empty reason; PS005: it is closed; PS008: it is not there; PS010: a change by hand waits for its event or balance.';

CREATE FUNCTION pointstore.unfreeze_account(aggregate_id text, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_unfreeze_account';
COMMENT ON FUNCTION pointstore.unfreeze_account(text, text) IS
'Ends a freeze; the reason goes into account_log. 22004: a null; 22023: an empty reason; PS005: it is closed; PS008: it is not there; PS010: a change by hand waits for its event or balance. Unfreezing an open account does nothing.';

CREATE FUNCTION pointstore.set_kind(aggregate_id text, kind text, reason text = NULL, new_state text = NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_set_kind';
COMMENT ON FUNCTION pointstore.set_kind(text, text, text, text) IS
'Puts an account under the rules of another kind of the same mode and unit. What it holds is not checked against the new floor and ceiling: they bind the next appends. It keeps its state where that is the kind''s initial_state or in a row of pointstore.transition of the kind; without events it gets the initial_state; under a kind without states it has none. new_state: the state to put it in, empty = none; also of an account that is under the kind already. 22023: unknown kind, or a new_state that it does not have; PS011: another mode, another unit and the account has events, or a state that the kind does not know; PS005: it is closed; PS008: it is not there; PS010: a change by hand waits for its event or balance.';
