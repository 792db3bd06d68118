-- src/verify/acknowledge.sql
-- What an operator has acknowledged.

CREATE FUNCTION pointstore.acknowledge(finding_id bigint, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_acknowledge';
COMMENT ON FUNCTION pointstore.acknowledge(bigint, text) IS
'The operator''s word that a finding which cannot be repaired is known and lived with: it is closed as acknowledged, and stays so while exactly that is wrong with exactly those events; anything further is a new finding. Runs are clean then, and nothing is frozen again. The reason goes into account_log. 22004: a null; 22023: an empty reason; PS008: no open finding of that number; PS011: it is not what is wrong now, or an index hides it; PS013: of a distributed store, the account is on another node.';
