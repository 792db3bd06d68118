-- src/guard/balance.sql
-- The triggers of balance.

CREATE FUNCTION pointstore.guard_balance()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_balance';
COMMENT ON FUNCTION pointstore.guard_balance() IS
'Trigger of pointstore.balance: a change raises version by 1 (PS001), keeps the account''s rules, and has its event before commit (PS010).';
