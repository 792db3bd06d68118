-- Auction: two bids are made from the same price.
--
-- With a plain table
--   both see 100, Ann bids 150, Bob 120: the last one wins, which is the lower one;
--   WHERE price < 120 keeps the price right, but the money of who is outbid, and of who bid without any, is another story.
-- Here
--   the auction is an account, its balance the highest bid, an event the step up from the price that the bidder saw;
--   expected_version is the version he saw: who bid from an older one is refused, sees the price and decides anew;
--   the bidder's money is held by the same transaction, and that of the bidder before him is free again;
--   after the hammer no bid is taken: transitions.

-- Setup:
CREATE TABLE plain_auction (lot text PRIMARY KEY, price integer, bidder text);
INSERT INTO plain_auction VALUES ('lot-7', 100, NULL);

INSERT INTO pointstore.account_kind (kind, unit) VALUES ('auction', 'KRW'), ('wallet', 'KRW');
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('auction', '', 'Opened', 'open'), ('auction', 'open', 'Bid', 'open'), ('auction', 'open', 'Sold', 'sold');
SELECT pointstore.append_event(lot, 'Opened', 100, kind => 'auction') FROM (VALUES ('lot-7'), ('lot-8')) v (lot);
SELECT count(pointstore.append_event('wallet:' || who, 'Paid', 1000, kind => 'wallet')) FROM (VALUES ('ann'), ('bob')) v (who);
SELECT count(pointstore.append_event('wallet:user-' || n, 'Paid', 100000, kind => 'wallet')) FROM generate_series(0, 7) n;

CREATE FUNCTION bid(lot text, bidder text, price bigint, seen bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    step bigint := price - pointstore.balance_as_of(lot, seen);
    answer pointstore.receipt;
BEGIN
    IF step <= 0 THEN RETURN 'too low'; END IF;
    answer := pointstore.try_append_event(lot, 'Bid', step, jsonb_build_object('by', bidder, 'price', price), expected_version => seen);
    IF answer.outcome = 'appended' THEN
        PERFORM pointstore.hold('wallet:' || bidder, price, format('%s:%s', lot, answer.version), expires_in => '1 day');   -- PS003: no bid either
        PERFORM pointstore.cancel_hold(format('%s:%s', lot, seen)) WHERE seen > 1;
    END IF;
    RETURN answer.outcome;
END
$$;

-- First with the plain table. Both have seen 100:
-- A:
UPDATE plain_auction SET price = 150, bidder = 'ann' WHERE lot = 'lot-7' RETURNING price;
--> 150
-- B: The price falls, and Ann is not told.
UPDATE plain_auction SET price = 120, bidder = 'bob' WHERE lot = 'lot-7' RETURNING price;
--> 120

-- B: Bob has seen version 1, price 100. So has Ann.
SELECT version, balance FROM pointstore.get_balance('lot-7');
--> 1 | 100
-- A:
BEGIN;
SELECT bid('lot-7', 'ann', 150, 1);
--> appended
-- B:
SELECT bid('lot-7', 'bob', 120, 1);
--> waits
-- A:
COMMIT;
-- B: "Somebody else has bid: it is 150 now." He goes higher, from what he sees now.
--> version_conflict
SELECT version, balance FROM pointstore.get_balance('lot-7');
--> 2 | 150
SELECT bid('lot-7', 'bob', 200, 2);
--> appended

-- A: Ann's money is free again, Bob's is held.
SELECT aggregate_id, balance, available FROM pointstore.account WHERE aggregate_id IN ('wallet:ann', 'wallet:bob') ORDER BY 1;
--> wallet:ann | 1000 | 1000
--> wallet:bob | 1000 | 800
-- She bids more than she has: the bid is not there either.
SELECT bid('lot-7', 'ann', 5000, 3);
--> PS003

-- B: The hammer falls, for the bid that was seen last. The winner pays, and nobody bids afterwards.
BEGIN;
SELECT version, balance FROM pointstore.append_event('lot-7', 'Sold', expected_version => 3);
--> 4 | 200
SELECT outcome, balance FROM pointstore.confirm_hold('lot-7:3');
--> appended | 800
-- A:
SELECT bid('lot-7', 'ann', 250, 3);
--> waits
-- B:
COMMIT;
-- A: Ann looks again. It is sold, and a bid from what she sees now is no bid either.
--> version_conflict
SELECT version, balance, state FROM pointstore.get_balance('lot-7');
--> 4 | 200 | sold
SELECT bid('lot-7', 'ann', 250, 4);
--> transition_not_allowed

-- Many at once: eight bidders look, and bid a little more than they saw.
SELECT version, balance + 10 AS price FROM pointstore.get_balance('lot-8') \gset
SELECT bid('lot-8', 'user-:client_id', :price, :version);

-- In the end: each bid is the price that it said, above the one before, and only the highest bidder's money is held.
SELECT bool_and(balance_after = CAST(payload ->> 'price' AS bigint)), bool_and(amount = 10), count(*) > 8 FROM pointstore.event_store
 WHERE aggregate_id = 'lot-8' AND event_type = 'Bid';
--> t | t | t
SELECT sum(w.held) = min(l.balance) FROM pointstore.account w, pointstore.account l WHERE w.aggregate_id LIKE 'wallet:user-%' AND l.aggregate_id = 'lot-8';
--> t
