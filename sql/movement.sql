-- Movements: what begins in this store.
SELECT pointstore.open_account('m-a'), pointstore.open_account('m-b');
