-- setup.sql
-- Once, as a superuser: the kinds of accounts, the role that owns the handlers, and the application's.
-- handlers.sql is run as shop_handlers, an operator of the store and no superuser; handlers run as it.

\set ON_ERROR_STOP on
BEGIN;
CREATE ROLE shop_handlers LOGIN;
CREATE ROLE shop_app LOGIN;
SELECT pointstore.grant_access('shop_handlers', 'operator'), pointstore.grant_access('shop_app', 'writer');
CREATE SCHEMA shop AUTHORIZATION shop_handlers;

-- An order goes from state to state; what comes late, or twice, is refused by its state.
INSERT INTO pointstore.account_kind (kind, unit, initial_state, transitions) VALUES ('order', '', 'new', 'strict');
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('order', 'new', 'OrderPlaced', 'placed'),
    ('order', 'placed', 'StockRefused', 'placed'),
    ('order', 'placed', 'PaymentRefused', 'placed'),
    ('order', 'placed', 'OrderConfirmed', 'confirmed'),
    ('order', 'placed', 'OrderRejected', 'rejected');
-- Stock does not fall below 0, nor do points: the floor decides, not the handler.
INSERT INTO pointstore.account_kind (kind, unit) VALUES ('stock', 'piece'), ('points', 'point');
COMMIT;
