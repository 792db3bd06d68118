-- Document: two people edit it, field by field, and one of them leaves his laptop open.
--
-- With a plain table
--   a form writes all its fields: the title that Ann has changed meanwhile is Bob's old one again;
--   a version column saves it, and Bob types his paragraph once more, though Ann has changed the title only;
--   locked_by = 'bob' in the row: he goes home, and somebody clears it by hand while he is still typing.
-- Here
--   an event is a JSON merge patch (RFC 7396): what was changed, nothing else. The kind's reducer applies one after another;
--   the kind's merge is a three-way merge: a patch made from an older version goes in when no patch since has changed
--   the same to something else; otherwise PS001, and the page shows mine, theirs and what both began from;
--   a lease says who is writing, ends by the clock, and who comes back after it has ended is refused (PS014).

-- Setup:
CREATE TABLE plain_document (id integer PRIMARY KEY, title text, body text);
INSERT INTO plain_document VALUES (1, 'Plan', 'Hello.');

CREATE FUNCTION patched(old jsonb, patch jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN jsonb_typeof(patch) <> 'object' THEN patch ELSE (
        SELECT coalesce(jsonb_object_agg(key, CASE WHEN new.value IS NULL THEN field.value ELSE public.patched(field.value, new.value) END), '{}')
          FROM jsonb_each(CASE jsonb_typeof(old) WHEN 'object' THEN old ELSE '{}' END) field FULL JOIN jsonb_each(patch) new USING (key)
         WHERE new.value IS NULL OR new.value <> 'null') END
$$;
CREATE FUNCTION document_state(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS $$ SELECT public.patched(state, event.payload) $$;
CREATE FUNCTION differ(mine jsonb, theirs jsonb) RETURNS boolean LANGUAGE sql AS $$    -- the same field, to something else
    SELECT CASE WHEN jsonb_typeof(mine) = 'object' AND jsonb_typeof(theirs) = 'object'
        THEN EXISTS (SELECT FROM jsonb_each(mine) m JOIN jsonb_each(theirs) t USING (key) WHERE public.differ(m.value, t.value))
        ELSE mine <> theirs END
$$;
CREATE FUNCTION document_merge(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN NOT EXISTS (SELECT FROM unnest(since) e WHERE public.differ(proposed -> 'payload', e.payload)) THEN proposed END
$$;
INSERT INTO pointstore.account_kind (kind, reducer, merge) VALUES ('document', 'public.document_state', 'public.document_merge');
SELECT pointstore.append_event('doc:1', 'Patched', payload => '{"title": "Plan", "body": {"start": "Hello.", "end": "Bye."}}', kind => 'document');
SELECT pointstore.append_event('doc:2', 'Patched', payload => '{"title": "Many"}', kind => 'document');

-- First with the plain table. Both have the form open.
-- A:
UPDATE plain_document SET title = 'The plan', body = 'Hello.' WHERE id = 1;
-- B: Ann's title is gone.
UPDATE plain_document SET title = 'Plan', body = 'Good morning.' WHERE id = 1 RETURNING title;
--> Plan

-- A: Ann and Bob have version 1. Ann changes the title.
BEGIN;
SELECT outcome, version FROM pointstore.append_event('doc:1', 'Patched', 0, '{"title": "The plan"}', 1);
--> appended | 2
-- B: Bob changes the end of the body, and takes out its start.
SELECT outcome, version FROM pointstore.append_event('doc:1', 'Patched', 0, '{"body": {"end": "Thanks.", "start": null}}', 1, 'save-7');
--> waits
-- A:
COMMIT;
-- B: Both changes are in.
--> merged | 3
SELECT version, state FROM pointstore.aggregate_state('doc:1');
--> 3 | {"body": {"end": "Thanks."}, "title": "The plan"}
-- The answer was lost, and the page saves again: nothing more happens.
SELECT outcome, version FROM pointstore.append_event('doc:1', 'Patched', 0, '{"body": {"end": "Thanks.", "start": null}}', 1, 'save-7');
--> replayed | 3

-- A: Both have version 3, and change the title.
SELECT outcome, version FROM pointstore.append_event('doc:1', 'Patched', 0, '{"title": "Our plan"}', 3);
--> appended | 4
-- B: That is for a person to decide: his, hers, and what both began from.
SELECT outcome, version FROM pointstore.try_append_event('doc:1', 'Patched', 0, '{"title": "My plan"}', 3);
--> version_conflict | 4
SELECT payload FROM pointstore.load_events('doc:1', 3);
--> {"title": "Our plan"}
SELECT state -> 'title' FROM pointstore.aggregate_state('doc:1', 3);
--> "The plan"

-- B: He wants to write the body anew, and says so: for three seconds only, so that we need not wait.
SELECT token AS bobs FROM pointstore.acquire_lease('body of doc:1', 'bob', '3 s') \gset
-- A: "Bob is writing", her page says, and until when. She may wait for him, or change another field.
SELECT acquired, holder, expires_at > now() FROM pointstore.acquire_lease('body of doc:1', 'ann');
--> f | bob | t
-- A, until it is so: Bob has closed his laptop. When his time is over it is hers.
SELECT acquired, holder FROM pointstore.acquire_lease('body of doc:1', 'ann');
--> t | ann
-- B: Back at his desk he saves. The token of his lease is out of date: nothing is written over what Ann writes.
BEGIN;
SELECT pointstore.check_lease('body of doc:1', :bobs);
--> PS014
ROLLBACK;

-- Many at once: eight people write fields of their own into one document, each from what he saw a moment ago.
\set field random(1, 1000000000)
SELECT version AS seen FROM pointstore.get_balance('doc:2') \gset
SELECT outcome FROM pointstore.append_event('doc:2', 'Patched', 0, '{"field-:field": :client_id}', :seen);

-- In the end: every field is there, and nobody had to try again.
SELECT version, (SELECT count(*) FROM jsonb_object_keys(state)) FROM pointstore.aggregate_state('doc:2');
--> 401 | 401
