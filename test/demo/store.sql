\echo
\echo '### The extension, and a store in this database'
CREATE EXTENSION pointstore;
SELECT pointstore.create_store();
