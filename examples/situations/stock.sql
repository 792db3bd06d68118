-- Stock: the last piece is wanted twice, and baskets cross.
--
-- With a plain table
--   SELECT says 1, both sell: the stock is -1, or 0 and two were sold;
--   a CHECK (pieces >= 0) helps, but a repeated order sells twice, and nobody knows afterwards where pieces went;
--   baskets that name the same articles in another order deadlock (40P01).
-- Here
--   each article is an account; its floor is 0, and the one that comes second is refused, with what there is;
--   a basket is one append_events: all articles or none, and its locks are taken in one order whatever the basket's;
--   request_id names the order, what comes back is a reversal: never more than was sold.

-- Setup:
CREATE TABLE plain_stock (article text PRIMARY KEY, pieces integer NOT NULL);
INSERT INTO plain_stock VALUES ('cup', 1);

INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('stock', 'piece', 0);
SELECT pointstore.append_event(format('stock:%s', article), 'Received', pieces, kind => 'stock')
  FROM (VALUES ('cup', 1), ('tea', 5), ('pot', 2), ('saucer', 100), ('spoon', 100)) v (article, pieces);

-- First with the plain table. Both have looked, and there is one:
-- A:
SELECT pieces FROM plain_stock WHERE article = 'cup';
--> 1
-- B:
SELECT pieces FROM plain_stock WHERE article = 'cup';
--> 1
UPDATE plain_stock SET pieces = pieces - 1 WHERE article = 'cup' RETURNING pieces;
--> 0
-- A: It is sold once more.
UPDATE plain_stock SET pieces = pieces - 1 WHERE article = 'cup' RETURNING pieces;
--> -1

-- A: Takes the last cup, as part of a transaction of the shop's.
BEGIN;
SELECT outcome, balance FROM pointstore.append_event('stock:cup', 'Sold', -1, '{"order": "A-1"}', request_id => 'A-1');
--> appended | 0

-- B: Wants it too, and waits until it is known whether A has it.
SELECT outcome, available FROM pointstore.try_append_event('stock:cup', 'Sold', -1, '{"order": "B-1"}', request_id => 'B-1');
--> waits

-- A:
COMMIT;

-- B: "Sold out". Had A rolled back, the cup would be B's.
--> insufficient_balance | 0
-- As an error, for who wants one:
SELECT pointstore.append_event('stock:cup', 'Sold', -1, '{"order": "B-1"}', request_id => 'B-1');
--> PS003 aggregate_id=stock:cup, available=0, floor=0, requested=-1

-- A: The answer was lost, so the shop asks again. One cup was sold.
SELECT outcome, balance FROM pointstore.append_event('stock:cup', 'Sold', -1, '{"order": "A-1"}', request_id => 'A-1');
--> replayed | 0

-- A: Tea and a pot.
BEGIN;
SELECT aggregate_id, balance FROM pointstore.append_events('[
    {"aggregate_id": "stock:tea", "event_type": "Sold", "amount": -2},
    {"aggregate_id": "stock:pot", "event_type": "Sold", "amount": -1}]', 'A-2');
--> stock:tea | 3
--> stock:pot | 1

-- B: Two pots and tea, in the other order: no deadlock. There are not two pots left then, so the tea is not sold either.
SELECT outcome, aggregate_id, available FROM pointstore.try_append_events('[
    {"aggregate_id": "stock:pot", "event_type": "Sold", "amount": -2},
    {"aggregate_id": "stock:tea", "event_type": "Sold", "amount": -1}]', 'B-2');
--> waits
-- A:
COMMIT;
-- B:
--> insufficient_balance | stock:pot | 1

-- A: The cup comes back. The parcel is scanned twice; it counts once.
SELECT outcome, balance FROM pointstore.reverse_event('stock:cup', 2, request_id => 'back-A-1');
--> appended | 1
SELECT outcome, balance FROM pointstore.try_reverse_event('stock:cup', 2, request_id => 'back-A-1-again');
--> not_allowed | 1

-- Many at once: four hundred want a saucer and a spoon, each pair in the order it likes. There are a hundred.
\set first random(0, 1)
SELECT outcome FROM pointstore.try_append_events(jsonb_build_array(
    jsonb_build_object('aggregate_id', (ARRAY['stock:saucer', 'stock:spoon'])[1 + :first], 'event_type', 'Sold', 'amount', -1),
    jsonb_build_object('aggregate_id', (ARRAY['stock:saucer', 'stock:spoon'])[2 - :first], 'event_type', 'Sold', 'amount', -1)));

-- In the end: a hundred were sold, and what each account holds is what came less what went.
SELECT aggregate_id, balance, version FROM pointstore.account WHERE kind = 'stock' ORDER BY 1;
--> stock:cup | 1 | 3
--> stock:pot | 1 | 2
--> stock:saucer | 0 | 101
--> stock:spoon | 0 | 101
--> stock:tea | 3 | 2
