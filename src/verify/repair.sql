-- src/verify/repair.sql
-- What is done about findings.

CREATE FUNCTION pointstore.repair(finding_id bigint, source_of_truth text = NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_repair';
COMMENT ON FUNCTION pointstore.repair(bigint, text) IS
'The operator''s decision about a finding: events sets the row to what the events say, balance appends an event BalanceAdjusted that brings the events to the balance; null (default) takes the kind''s source_of_truth. Returns what was done. 22004: null finding; 22023: another source; PS008: no open finding of that number; PS011: the events themselves are inconsistent, or the balance cannot be the truth here; PS013: of a distributed store, the account is on another node.';
