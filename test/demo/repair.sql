\echo
\echo '### A balance corrupted with the triggers disabled, and put right from the events'
BEGIN;
ALTER TABLE pointstore.balance DISABLE TRIGGER USER;
UPDATE pointstore.balance SET balance = balance + 77777 WHERE aggregate_id = 'member-1033';
ALTER TABLE pointstore.balance ENABLE TRIGGER USER;
COMMIT;
SELECT * FROM pointstore.rebuild_balance('member-1033');
SELECT action, before ->> 'balance' AS before, after ->> 'balance' AS after, by_role
  FROM pointstore.account_log WHERE aggregate_id = 'member-1033' AND action = 'rebuild';
