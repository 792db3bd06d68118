-- src/money/statement.sql
-- Balances and statements.

CREATE FUNCTION pointstore.get_balance(aggregate_id text)
RETURNS SETOF pointstore.account_state LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'pointstore_get_balance';
COMMENT ON FUNCTION pointstore.get_balance(text) IS
'The account as the view pointstore.account shows it, or no row when it is not there. Amounts in minor units. 22004: null.';

CREATE FUNCTION pointstore.balance_at(aggregate_id text, at timestamptz)
RETURNS bigint LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_balance_at';
COMMENT ON FUNCTION pointstore.balance_at(text, timestamptz) IS
'The balance that was known at a time (by created_at, inclusive), minor units; 0 before the first event. Found by halving over the primary key: the cost grows with the logarithm of the history. 22004: null.';

CREATE FUNCTION pointstore.balance_as_of(aggregate_id text, version bigint)
RETURNS bigint LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_balance_as_of';
COMMENT ON FUNCTION pointstore.balance_as_of(text, bigint) IS
'The balance after the event of that version, minor units; 0 for version 0. One index probe. 22004: null; 22023: a negative version; PS008: the account has no event of that version.';

CREATE FUNCTION pointstore.statement(aggregate_id text, since timestamptz, until timestamptz,
    OUT entry text, OUT version bigint, OUT event_type text, OUT amount bigint, OUT balance bigint, OUT payload jsonb,
    OUT id bigint, OUT cause_id bigint, OUT occurred_at timestamptz, OUT created_at timestamptz)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_statement';
COMMENT ON FUNCTION pointstore.statement(text, timestamptz, timestamptz) IS
'What happened to an account from since to before until, by created_at: a row opening with the balance before, a row event for each event with its amount and the balance after it, a row closing with the balance at the end. Minor units. Of an account that is not there both balances are 0. 22004: null; 22023: since after until.';
