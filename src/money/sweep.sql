-- src/money/sweep.sql
-- Expired holds.

CREATE PROCEDURE pointstore.sweep_holds()
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_sweep_holds';
COMMENT ON PROCEDURE pointstore.sweep_holds() IS
'Closes the holds that have expired, each with an event HoldExpired, in batches that commit; what others have locked is passed over. They reserve nothing in any case. Deletes rows of leases that ended more than a day ago. 2D000: in a transaction block.';
