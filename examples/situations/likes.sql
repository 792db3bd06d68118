-- Likes and views: thousands count on one post, and people click twice.
--
-- With a plain table
--   read 10, write 11: of two at once one is lost;
--   SET likes = likes + 1: both count, but the click that is repeated after a timeout counts again, so does the second
--   window, an "unlike" without a like takes somebody else's, and all queue at one row, one commit after another.
-- Here
--   views: submit_event, many callers' events in one commit. request_id names the click: a repeat counts once.
--   likes: a person's like is an account that holds 0 or 1, the post's total is another; both move, or neither.

-- Setup:
CREATE TABLE plain_post (post text PRIMARY KEY, likes integer NOT NULL);
INSERT INTO plain_post VALUES ('post-1', 10);

INSERT INTO pointstore.account_kind (kind, unit, min_balance, max_balance) VALUES ('like', 'like', 0, 1), ('likes', 'like', 0, NULL);

CREATE FUNCTION like_post(post text, person text, change integer, click text = NULL) RETURNS text LANGUAGE sql AS $$
    SELECT min(outcome) FROM pointstore.try_append_events(jsonb_build_array(
        jsonb_build_object('aggregate_id', format('like:%s:%s', post, person), 'event_type', 'Liked', 'amount', change, 'kind', 'like'),
        jsonb_build_object('aggregate_id', format('likes:%s', post), 'event_type', 'Liked', 'amount', change, 'kind', 'likes')), click)
$$;

-- First with the plain table. Both have read 10:
-- A:
SELECT likes FROM plain_post WHERE post = 'post-1';
--> 10
-- B:
SELECT likes FROM plain_post WHERE post = 'post-1';
--> 10
UPDATE plain_post SET likes = 11 WHERE post = 'post-1' RETURNING likes;
--> 11
-- A: Bob's like is gone, and nobody is told.
UPDATE plain_post SET likes = 11 WHERE post = 'post-1' RETURNING likes;
--> 11

-- A: Ann likes the post, on her phone.
BEGIN;
SELECT like_post('post-1', 'ann', 1, 'click-1');
--> appended

-- B: At the same moment she does so on her laptop.
SELECT like_post('post-1', 'ann', 1, 'click-2');
--> waits

-- A:
COMMIT;

-- B: She likes it already. Nothing is counted; the page shows a full heart.
--> balance_limit

-- A: The phone has had no answer and asks again.
SELECT like_post('post-1', 'ann', 1, 'click-1');
--> replayed

-- B: Bob likes it too.
SELECT like_post('post-1', 'bob', 1, 'click-3');
--> appended

-- A: Ann takes hers back, in both windows. It is taken once, and never Bob's.
SELECT like_post('post-1', 'ann', -1, 'click-4');
--> appended

-- B:
SELECT like_post('post-1', 'ann', -1, 'click-5');
--> insufficient_balance
SELECT balance FROM pointstore.get_balance('likes:post-1');
--> 1

-- A: A view, which needs no account of a person's.
SELECT outcome, balance FROM pointstore.submit_event('views:post-1', 'Viewed', 1, request_id => 'view-1');
--> appended | 1
SELECT outcome, balance FROM pointstore.submit_event('views:post-1', 'Viewed', 1, request_id => 'view-1');
--> replayed | 1

-- Many at once: twenty people look, like and take back.
\set person random(1, 20)
\set change 2 * random(0, 1) - 1
SELECT outcome FROM pointstore.submit_event('views:post-1', 'Viewed', 1);
SELECT like_post('post-1', 'user-:person', :change);

-- In the end: every view counts, and the post has as many likes as there are people who like it.
SELECT balance, version FROM pointstore.get_balance('views:post-1');
--> 401 | 401
SELECT (SELECT balance FROM pointstore.get_balance('likes:post-1')) = count(*) FILTER (WHERE balance = 1), min(balance), max(balance)
  FROM pointstore.account WHERE kind = 'like';
--> t | 0 | 1
