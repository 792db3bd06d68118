-- src/nodes/trace.sql
-- What followed from what.

CREATE FUNCTION pointstore.trace(cause_or_movement text,
    OUT depth integer, OUT at timestamptz, OUT what text, OUT id text, OUT aggregate_id text, OUT version bigint,
    OUT name text, OUT amount bigint, OUT status text, OUT server text, OUT because text)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_trace';
COMMENT ON FUNCTION pointstore.trace(text) IS
'What followed from what in this store, as a tree: a row for each event, movement, phase and step, before those that follow from it. cause_or_movement: the name of a movement that began here or that this store takes part in, else an event''s id, else what events and movements have as correlation_id in their metadata. what: event, movement, phase or step. id: the event''s, the movement''s name, the step''s place. name: an event''s type, a movement''s protocol. status: a movement''s phase, a step''s status. server: where a step is, or where a movement began. because: its cause, its error, who has done it. Events are found by cause_id, movements by cause_id in their metadata: all movements are read for each level of the tree. PS008: there is no such.';
