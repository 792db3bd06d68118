-- Cart: two friends change one cart at once.
--
-- With a plain table
--   the page reads the cart, changes it and writes it back: the cups that Ann put in are gone when Bob's tea is written;
--   a version column saves them, and makes Bob try again each time, though tea and cups do not contradict each other;
--   and the one who pays, pays for what the other one has just put in.
-- Here
--   the cart is its events. The kind says that ItemAdded commutes: made from an older version it is renumbered, outcome merged;
--   to take something out, or to check out, is about what one has seen: with an older version it is refused (PS001);
--   after the checkout nothing is added: transitions. What is in the cart the kind's reducer says, the balance is its price.

-- Setup:
CREATE TABLE plain_cart (id integer PRIMARY KEY, items jsonb);
INSERT INTO plain_cart VALUES (1, '{"rice": 1}');

CREATE FUNCTION cart_items(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE event.event_type
        WHEN 'ItemAdded'   THEN state || jsonb_build_object(event.payload ->> 'item', coalesce(CAST(state ->> (event.payload ->> 'item') AS integer), 0) + 1)
        WHEN 'ItemRemoved' THEN state - (event.payload ->> 'item')
        ELSE state END
$$;
INSERT INTO pointstore.account_kind (kind, unit, initial_state, commuting, reducer) VALUES ('cart', 'KRW', 'open', '{ItemAdded}', 'public.cart_items');
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('cart', 'open', 'ItemAdded', 'open'), ('cart', 'open', 'ItemRemoved', 'open'), ('cart', 'open', 'CheckedOut', 'ordered');
SELECT pointstore.append_event('cart:1', 'ItemAdded', 9000, '{"item": "rice"}', kind => 'cart'), pointstore.append_event('price:tea', 'PriceSet', 3000);

-- First with the plain table. Both have read {"rice": 1}.
-- A:
UPDATE plain_cart SET items = '{"rice": 1, "cup": 1}' WHERE id = 1;
-- B:
UPDATE plain_cart SET items = '{"rice": 1, "tea": 1}' WHERE id = 1;
-- A: Where is the cup?
SELECT items FROM plain_cart WHERE id = 1;
--> {"tea": 1, "rice": 1}

-- A: Ann and Bob look at version 1. Ann adds a cup.
BEGIN;
SELECT outcome, version, balance FROM pointstore.append_event('cart:1', 'ItemAdded', 5000, '{"item": "cup"}', 1);
--> appended | 2 | 14000
-- B: Bob adds tea, to the version that he sees.
SELECT outcome, version, balance FROM pointstore.append_event('cart:1', 'ItemAdded', 3000, '{"item": "tea"}', 1, request_id => 'put-7');
--> waits
-- A:
COMMIT;
-- B: Both are in. Bob's page learns from the version that there is something new to show.
--> merged | 3 | 17000
SELECT state FROM pointstore.aggregate_state('cart:1');
--> {"cup": 1, "tea": 1, "rice": 1}
-- The answer was lost, and he asks again: the tea is in once.
SELECT outcome, version, balance FROM pointstore.append_event('cart:1', 'ItemAdded', 3000, '{"item": "tea"}', 1, request_id => 'put-7');
--> replayed | 3 | 17000

-- A: Both think the rice is too much, and take it out at once. Once is enough.
BEGIN;
SELECT outcome, version, balance FROM pointstore.append_event('cart:1', 'ItemRemoved', -9000, '{"item": "rice"}', 3);
--> appended | 4 | 8000
-- B:
SELECT outcome, version, balance FROM pointstore.try_append_event('cart:1', 'ItemRemoved', -9000, '{"item": "rice"}', 3);
--> waits
-- A:
COMMIT;
-- B: He looks again: it is gone.
--> version_conflict | 4 | 8000

-- A: Ann pays for what she sees, version 4, 8000. Bob adds another tea at the same moment, and is first.
-- M:
SELECT pointstore.append_event('price:tea', 'PriceChanged', -100);
-- B:
BEGIN;
SELECT outcome, balance FROM pointstore.append_event('cart:1', 'ItemAdded', 3000, '{"item": "tea"}', 4);
--> appended | 11000
-- A:
SELECT outcome, version, balance FROM pointstore.try_append_event('cart:1', 'CheckedOut', expected_version => 4);
--> waits
-- B:
COMMIT;
-- A: She does not pay for what she has not seen. The page shows it, and asks her again.
--> version_conflict | 5 | 11000
-- The tea's price has changed, too, since she saw it. A check writes nothing: it holds the whole call to what was seen.
SELECT aggregate_id, outcome FROM pointstore.try_append_events('[
    {"check": true, "aggregate_id": "price:tea", "expected_version": 1},
    {"aggregate_id": "cart:1", "event_type": "CheckedOut", "expected_version": 5}]');
--> price:tea | version_conflict
SELECT aggregate_id, outcome FROM pointstore.append_events('[
    {"check": true, "aggregate_id": "price:tea", "expected_version": 2},
    {"aggregate_id": "cart:1", "event_type": "CheckedOut", "expected_version": 5}]');
--> price:tea | checked
--> cart:1 | appended
-- B: His cake comes too late, from whichever version, and opens another cart.
SELECT pointstore.append_event('cart:1', 'ItemAdded', 8000, '{"item": "cake"}');
--> PS012 state=ordered

-- Many at once: eight friends fill one cart, each from what he saw a moment ago.
SELECT version AS seen FROM pointstore.append_event('cart:2', 'ItemAdded', 3000, '{"item": "tea"}', kind => 'cart') \gset
SELECT outcome FROM pointstore.append_event('cart:2', 'ItemAdded', 5000, '{"item": "cup"}', :seen);

-- In the end: everything is in it, and nobody had to try again.
SELECT version, balance, (SELECT state FROM pointstore.aggregate_state('cart:2')) FROM pointstore.get_balance('cart:2');
--> 800 | 3200000 | {"cup": 400, "tea": 400}
