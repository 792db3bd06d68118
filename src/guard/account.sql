-- src/guard/account.sql
-- The triggers of the other tables.

CREATE FUNCTION pointstore.guard_pure_account()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_pure_account';
COMMENT ON FUNCTION pointstore.guard_pure_account() IS
'Trigger of pointstore.pure_account: rows are opened under a pure kind and change by functions alone (22023).';

CREATE FUNCTION pointstore.guard_account_kind()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_account_kind';
COMMENT ON FUNCTION pointstore.guard_account_kind() IS
'Trigger of pointstore.account_kind: a used kind keeps its name, mode and unit and is not deleted (PS011).';

CREATE FUNCTION pointstore.guard_hold()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_hold';
COMMENT ON FUNCTION pointstore.guard_hold() IS
'Trigger of pointstore.hold: its rows are written by functions alone (22023).';

CREATE FUNCTION pointstore.guard_append_only()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_append_only';
COMMENT ON FUNCTION pointstore.guard_append_only() IS
'Trigger BEFORE UPDATE, DELETE or TRUNCATE of a table of the store, which it refuses (PS006).';
