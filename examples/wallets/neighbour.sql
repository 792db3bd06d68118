-- neighbour.sql
-- In each of the stores, for each of the others, as a superuser: where that is, and as whom the coordinator goes there.
--   psql -v here=seoul -v name=busan -v host=… -v port=… -v dbname=… -f neighbour.sql
-- Between machines the server's options have sslmode 'verify-full' as well, and the mapping has a password. Here all is
-- on sockets of one machine that ask for none; that a mapping does without one is a superuser's to say.

\set ON_ERROR_STOP on
BEGIN;
CREATE SERVER :"name" FOREIGN DATA WRAPPER pointstore OPTIONS (host :'host', port :'port', dbname :'dbname');
SELECT 'of_' || :'here' AS as_role \gset
CREATE USER MAPPING FOR wallets_owner SERVER :"name" OPTIONS (user :'as_role', password_required 'false');
GRANT USAGE ON FOREIGN SERVER :"name" TO wallets_owner, payments, orders;     -- the coordinator acts as the owner
COMMIT;
