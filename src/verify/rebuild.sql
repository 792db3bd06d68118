-- src/verify/rebuild.sql
-- Balance rows set to what the events say.

CREATE FUNCTION pointstore.rebuild_balance(
    INOUT aggregate_id text,
    force boolean = false,
    OUT old_version bigint, OUT new_version bigint,
    OUT old_balance bigint, OUT new_balance bigint,
    OUT old_held bigint, OUT new_held bigint,
    OUT changed boolean)
RETURNS record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_rebuild_balance';
COMMENT ON FUNCTION pointstore.rebuild_balance(text, boolean) IS
'Sets an account''s version, balance, held and incoming (minor units) to what its events say, under its row lock, and puts a missing row back; writes only when something differs, with before and after in account_log. The old values are null when the row was missing. force: also where the events are inconsistent. updated_at in the future is set to the clock, but never before the last event. 22003: the events'' sum is out of range; 22004: null; PS008: no account and no events of that name; PS011: the events are inconsistent (default), or an index does not say what its table says.';

CREATE PROCEDURE pointstore.rebuild_balances()
LANGUAGE c
AS 'MODULE_PATHNAME', 'pointstore_rebuild_balances';
COMMENT ON PROCEDURE pointstore.rebuild_balances() IS
'rebuild_balance() for every account, in batches that commit, with a NOTICE for each batch. Accounts whose events are inconsistent, or about which an index lies, are left as they are, with a WARNING for each. May be cancelled and called again: what it has done stays. Not inside a transaction block (2D000). Of a distributed store: every account of the node that it is called on.';
