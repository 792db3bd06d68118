-- src/guard/transition.sql
-- The trigger of transition.

CREATE FUNCTION pointstore.guard_transition()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_transition';
COMMENT ON FUNCTION pointstore.guard_transition() IS
'Trigger of pointstore.transition: its rows are of a kind that there is, name states and event types as they may be, and none that asks for no transition (22023).';
