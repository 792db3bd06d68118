-- Comments: written and deleted at once, while the post says how many there are.
--
-- With plain tables
--   the comment goes and the counter is lowered: two people who delete one comment lower it twice;
--   count(*) is right and slow; a job that "mends the counter at night" says that nobody knows why it is wrong;
--   a thread is locked after somebody has looked whether it is, and before his comment comes.
-- Here
--   the post's comments are an account: CommentWritten is 1, the event's version is the comment's number;
--   to delete is reverse_event: an event is never taken back twice, and who comes second is told;
--   a locked thread is a frozen account, which no comment passes, also none that is under way.
-- Events are for ever. A text that must be erased later stands in a table of yours, and the event names its row.

-- Setup:
CREATE TABLE plain_comment (id integer PRIMARY KEY, text text);
CREATE TABLE plain_post_comments (post text PRIMARY KEY, comments integer NOT NULL);
INSERT INTO plain_comment VALUES (1, 'first'), (2, 'second');
INSERT INTO plain_post_comments VALUES ('post-1', 2);

INSERT INTO pointstore.account_kind (kind, unit) VALUES ('comments', 'comment');

-- First with plain tables. The author and a moderator delete comment 1:
-- A:
BEGIN;
DELETE FROM plain_comment WHERE id = 1;
UPDATE plain_post_comments SET comments = comments - 1 WHERE post = 'post-1';
-- B:
BEGIN;
DELETE FROM plain_comment WHERE id = 1;
--> waits
-- A:
COMMIT;
-- B: Nobody looks at the 0. One comment is left, and the post says none.
--> DELETE 0
UPDATE plain_post_comments SET comments = comments - 1 WHERE post = 'post-1' RETURNING comments;
--> 0
COMMIT;

-- A: Ann writes.
BEGIN;
SELECT version, balance FROM pointstore.append_event('comments:post-1', 'CommentWritten', 1, '{"by": "ann", "text": "First!"}', kind => 'comments');
--> 1 | 1

-- B: So does Bob, who is not told to read again: comments do not contradict each other, he gives no expected_version.
SELECT version, balance FROM pointstore.append_event('comments:post-1', 'CommentWritten', 1, '{"by": "bob", "text": "Nice."}', kind => 'comments');
--> waits
-- A:
COMMIT;
-- B:
--> 2 | 2

-- A: Ann deletes her comment.
BEGIN;
SELECT outcome, balance FROM pointstore.try_reverse_event('comments:post-1', 1, request_id => 'delete-by-ann');
--> appended | 1

-- M: At that moment the moderator deletes it.
SELECT outcome, balance FROM pointstore.try_reverse_event('comments:post-1', 1, request_id => 'delete-by-moderator');
--> waits
-- A:
COMMIT;
-- M: It is gone already, and counted once.
--> not_allowed | 1

-- B: Bob is writing while the moderator locks the thread. His comment is before the lock, or after it and refused.
BEGIN;
SELECT balance FROM pointstore.append_event('comments:post-1', 'CommentWritten', 1, '{"by": "bob", "text": "One more."}');
--> 2
-- M:
SELECT pointstore.freeze_account('comments:post-1', 'the thread is closed');
--> waits
-- B:
COMMIT;
-- M:
--> done
-- B:
SELECT pointstore.append_event('comments:post-1', 'CommentWritten', 1, '{"by": "bob", "text": "And another."}');
--> PS004

-- Many at once: a comment is written, and one is deleted that somebody else may be deleting.
\set number random(1, 200)
SELECT outcome FROM pointstore.append_event('comments:post-2', 'CommentWritten', 1, '{"by": "user"}', kind => 'comments');
SELECT outcome FROM pointstore.try_reverse_event('comments:post-2', :number);

-- In the end: the comments that stand, which is as many as their post says.
SELECT c.aggregate_id, count(*) = min(a.balance), count(*) < 400 OR min(a.aggregate_id) = 'comments:post-1'
  FROM pointstore.event_store c JOIN pointstore.account a USING (aggregate_id)
 WHERE a.kind = 'comments' AND c.event_type = 'CommentWritten' AND NOT EXISTS (SELECT FROM pointstore.event_store r
       WHERE r.aggregate_id = c.aggregate_id AND r.event_type = 'EventReversed' AND r.cause_id = c.id) GROUP BY 1 ORDER BY 1;
--> comments:post-1 | t | t
--> comments:post-2 | t | t
