-- src/account/opening.sql
-- Accounts are opened.

CREATE FUNCTION pointstore.open_account(aggregate_id text, kind text = 'default')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_open_account';
COMMENT ON FUNCTION pointstore.open_account(text, text) IS
'Opens an account under a kind; under one without auto_open operators alone (42501). Opening an open or frozen account again under its own kind does nothing. 22023: bad or unknown name, or an account of another kind; 22004: null; PS005: the account was closed.';
