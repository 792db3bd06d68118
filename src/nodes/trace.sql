-- src/nodes/trace.sql
-- What followed from what.

CREATE FUNCTION pointstore.trace(cause_or_movement text,
    OUT depth integer, OUT at timestamptz, OUT what text, OUT id text, OUT aggregate_id text, OUT version bigint,
    OUT name text, OUT amount bigint, OUT status text, OUT server text, OUT because text)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_trace';
COMMENT ON FUNCTION pointstore.trace(text) IS
'The tree of events, steps and movements that follow from one another. To be completed.';
