-- The shop's store: as a superuser, once, in a database of its own.
--   psql -v ON_ERROR_STOP=1 -f setup.sql shop
-- Two roles: shop_owner owns the tables and the functions below, and nobody logs in as he;
-- shop is what the server connects as, and may call functions of the level "writer", nothing else.
--
-- An account's name begins with its customer: '9f2c…/wallet', '9f2c…/cart', '9f2c…/profile',
-- '9f2c…/order/4b1d…'. So one prefix of the feed is one customer. Stock is 'stock/green-tea'.

CREATE EXTENSION pointstore;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop_owner') THEN
        CREATE ROLE shop_owner NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop') THEN
        CREATE ROLE shop LOGIN;
    END IF;
END $$;

SELECT pointstore.create_store('shop_owner');
SELECT pointstore.grant_access('shop', 'writer');

CREATE SCHEMA shop AUTHORIZATION shop_owner;
GRANT USAGE ON SCHEMA shop TO shop;
SET ROLE shop_owner;

-- What is sold. Names are the browser's, in its own language.
CREATE TABLE shop.product (
    sku   text PRIMARY KEY,
    place integer NOT NULL,
    price integer NOT NULL CHECK (price > 0)
);
COMMENT ON TABLE shop.product IS 'What is sold, in the order in which it is shown; prices in points';
GRANT SELECT ON shop.product TO shop;
INSERT INTO shop.product VALUES
    ('green-tea', 1, 8000), ('black-tea', 2, 7000), ('teapot', 3, 24000),
    ('cup', 4, 9000), ('rice-cake', 5, 5000), ('honey', 6, 12000);

-- A cart is {"green-tea": {"quantity": 2, "price": 8000}, …}: the price is the one that was seen.
CREATE FUNCTION shop.cart_state(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    change   jsonb := event.payload;
    sku      text := change ->> 'sku';
    quantity bigint := (change ->> 'quantity')::bigint;
BEGIN
    CASE event.event_type
        WHEN 'CheckedOut' THEN
            RETURN '{}';
        WHEN 'ItemAdded' THEN
            quantity := quantity + coalesce((state -> sku ->> 'quantity')::bigint, 0);
        WHEN 'QuantitySet' THEN
            NULL;
        ELSE
            RETURN state;
    END CASE;
    IF quantity = 0 THEN
        RETURN state - sku;
    END IF;
    RETURN state || jsonb_build_object(sku, jsonb_build_object('quantity', quantity, 'price', change -> 'price'));
END $$;
COMMENT ON FUNCTION shop.cart_state(jsonb, pointstore.event) IS 'Reducer of carts: what is in the cart after an event';

-- An order keeps what was ordered; where it stands is account.state, by the transitions below.
CREATE FUNCTION shop.order_state(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE event.event_type WHEN 'OrderPlaced' THEN event.payload ELSE state END
$$;
COMMENT ON FUNCTION shop.order_state(jsonb, pointstore.event) IS 'Reducer of orders: lines, total and note, as placed';

-- A profile's events are JSON merge patches (RFC 7396) of one level: a null takes a field away.
CREATE FUNCTION shop.profile_state(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_strip_nulls(state || event.payload)
$$;
COMMENT ON FUNCTION shop.profile_state(jsonb, pointstore.event) IS 'Reducer of profiles: the fields after a change';

INSERT INTO pointstore.account_kind (kind, unit, reducer, transitions) VALUES
    ('wallet', 'P', NULL, 'open'),
    ('stock', 'piece', NULL, 'open'),
    ('cart', '', 'shop.cart_state', 'open'),
    ('profile', '', 'shop.profile_state', 'open'),
    ('order', '', 'shop.order_state', 'strict');

-- placed -> approved -> shipped; what is not shipped yet can be cancelled.
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('order', '',         'OrderPlaced',    'placed'),
    ('order', 'placed',   'OrderApproved',  'approved'),
    ('order', 'approved', 'OrderShipped',   'shipped'),
    ('order', 'placed',   'OrderCancelled', 'cancelled'),
    ('order', 'approved', 'OrderCancelled', 'cancelled');

-- A shelf full of each
SELECT pointstore.append_event('stock/' || sku, 'StockReceived', 500, kind => 'stock', request_id => 'shelf/' || sku)
  FROM shop.product ORDER BY place;
RESET ROLE;
