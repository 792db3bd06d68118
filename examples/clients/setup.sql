-- The shop that the clients work for: as a superuser, in an empty database.
CREATE EXTENSION pointstore;
SELECT pointstore.create_store();

-- a table of the shop's own: an order and its event are written together, or neither
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    order_id text PRIMARY KEY,
    account  text NOT NULL,
    amount   bigint NOT NULL,
    state    text NOT NULL
);

-- who appends by functions needs no right on the store's tables
CREATE ROLE shop_app LOGIN;
SELECT pointstore.grant_access('shop_app', 'writer');
GRANT USAGE ON SCHEMA shop TO shop_app;
GRANT SELECT, INSERT ON shop.orders TO shop_app;

-- a mapper that writes the tables itself, in an order of its own: what follows its INSERT is RETURNING, so it reads too
CREATE ROLE shop_mapper LOGIN IN ROLE shop_app;
GRANT SELECT, INSERT ON pointstore.event_store TO shop_mapper;
GRANT SELECT, UPDATE (version, balance) ON pointstore.balance TO shop_mapper;
ALTER ROLE shop_mapper SET pointstore.balance_writer = 'caller';
