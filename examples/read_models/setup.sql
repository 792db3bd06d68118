-- setup.sql
-- Once, as a superuser: the role that owns the read models, and their schema. It is an operator of
-- the store and no superuser; handlers run as it. Readers of the models need no right on the store.
-- The other files are run as that role.

\set ON_ERROR_STOP on
BEGIN;
CREATE ROLE shop_models LOGIN;
CREATE ROLE shop_reader LOGIN;
SELECT pointstore.grant_access('shop_models', 'operator');
CREATE SCHEMA model AUTHORIZATION shop_models;
GRANT USAGE ON SCHEMA model TO shop_reader;
COMMIT;
