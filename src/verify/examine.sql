-- src/verify/examine.sql
-- What is wrong with an account.

CREATE FUNCTION pointstore.reconcile_account(aggregate_id text,
    OUT code text, OUT severity text, OUT expected bigint, OUT found bigint, OUT version bigint, OUT detail jsonb)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_reconcile_account';
COMMENT ON FUNCTION pointstore.reconcile_account(text) IS
'What is wrong with one account, from its first event, in the caller''s snapshot; no row when nothing is, nor while a change of it by hand in this transaction waits for its event or balance. Records nothing. 22004: null; PS008: neither a row nor an event of that name, now or in an earlier run.';
