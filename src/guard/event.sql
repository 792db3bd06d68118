-- src/guard/event.sql
-- The triggers of event_store.

CREATE FUNCTION pointstore.guard_event_store()
RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_guard_event_store';
COMMENT ON FUNCTION pointstore.guard_event_store() IS
'Trigger of pointstore.event_store: numbers and checks an inserted event under the rules of append_event(), and moves the balance once it is stored, unless pointstore.balance_writer is caller: then the caller''s UPDATE is its pair before commit (PS010). 39P01: elsewhere.';
