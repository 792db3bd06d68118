-- store.sql
-- Once in each of the stores, as a superuser: psql -v neighbours='{busan,jeju}' -f store.sql
-- The tables belong to a role that nobody logs in as. payments is the application that moves money, orders the one
-- that starts sagas, which others see the middle of: that takes an operator. For each of the other stores there is a role
-- of its own, of_NAME, whose coordinator takes part in movements with it and may do nothing else.

\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION pointstore;
CREATE ROLE wallets_owner;
SELECT pointstore.create_store('wallets_owner');
CREATE ROLE payments LOGIN;
CREATE ROLE orders LOGIN;
SELECT pointstore.grant_access('payments', 'writer'), pointstore.grant_access('orders', 'operator');
SELECT format('CREATE ROLE %I LOGIN', 'of_' || name) FROM unnest(:'neighbours'::text[]) name \gexec
SELECT pointstore.grant_access(('of_' || name)::regrole, 'participant') FROM unnest(:'neighbours'::text[]) name;

-- Nothing falls below 0, and a wallet holds at most two millions.
INSERT INTO pointstore.account_kind (kind, unit, max_balance) VALUES
    ('won', 'KRW', 2000000), ('till', 'KRW', NULL), ('points', 'point', NULL), ('goods', 'piece', NULL), ('coupons', 'coupon', NULL);
COMMIT;
