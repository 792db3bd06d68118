-- src/verify/course.sql
-- Histories, and the transitions of today.

CREATE FUNCTION pointstore.check_transitions(kind text,
    OUT aggregate_id text, OUT version bigint, OUT event_type text, OUT state text, OUT allowed text[])
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_check_transitions';
COMMENT ON FUNCTION pointstore.check_transitions(text) IS
'The accounts of a kind whose history its rows of pointstore.transition would refuse: the first event of each that they do not allow, the state that the account would be in before it (null = none), and the event types that they allow in that state. Each history is gone through from the kind''s initial_state, and from what set_kind() has said where it did; what came before an account was under the kind is passed over, and so are the states that are stored. To be run in the transaction that changes the rows, before it is committed. Reads all events of the kind''s accounts once, in order; of a distributed store those of all nodes, as the caller. 22023: there is no such kind.';
