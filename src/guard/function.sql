-- src/guard/function.sql
-- The trigger of functions that the store calls.

CREATE FUNCTION pointstore.guard_function()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_function';
COMMENT ON FUNCTION pointstore.guard_function() IS
'Trigger of pointstore.account_kind and pointstore.upcaster: a function is kept with its schema and arguments, must be there (42883), and is one that who names it, and the store''s owner, may have called (42501).';
