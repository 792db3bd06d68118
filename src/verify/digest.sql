-- src/verify/digest.sql
-- The aggregate that proves a history.

CREATE TYPE pointstore.event_digest AS (
    events       bigint,
    last_version bigint,
    total        bigint,
    held         bigint,
    sound        boolean
);
COMMENT ON TYPE pointstore.event_digest IS
'What an account''s events say: their number, the largest version, the sums of amount and held (null beyond bigint), and whether versions are 1..n and every balance_after follows from the one before.';

CREATE FUNCTION pointstore.digest_add(internal, bigint, bigint, bigint, bigint, bigint, bigint, bigint)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_add';
COMMENT ON FUNCTION pointstore.digest_add(internal, bigint, bigint, bigint, bigint, bigint, bigint, bigint) IS 'Transition function of digest().';
CREATE FUNCTION pointstore.digest_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_combine';
COMMENT ON FUNCTION pointstore.digest_combine(internal, internal) IS 'Combines the states of parallel workers for digest().';
CREATE FUNCTION pointstore.digest_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_serialize';
COMMENT ON FUNCTION pointstore.digest_serialize(internal) IS 'Writes a state of digest() for another process.';
CREATE FUNCTION pointstore.digest_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_deserialize';
COMMENT ON FUNCTION pointstore.digest_deserialize(bytea, internal) IS 'Reads a state of digest() of another process.';
CREATE FUNCTION pointstore.digest_final(internal)
RETURNS pointstore.event_digest LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pointstore_digest_final';
COMMENT ON FUNCTION pointstore.digest_final(internal) IS 'Final function of digest().';
CREATE AGGREGATE pointstore.digest(version bigint, amount bigint, held bigint, balance_after bigint, base_version bigint, base_balance bigint, key bigint) (
    SFUNC = pointstore.digest_add, STYPE = internal, SSPACE = 64,
    COMBINEFUNC = pointstore.digest_combine, SERIALFUNC = pointstore.digest_serialize, DESERIALFUNC = pointstore.digest_deserialize,
    FINALFUNC = pointstore.digest_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE pointstore.digest(bigint, bigint, bigint, bigint, bigint, bigint, bigint) IS
'The digest of one account''s events after a base (0, 0: all of them), in whatever order. key: drawn at random for each run.';
