\set account random(1, :accounts)
SELECT balance, version FROM pointstore.get_balance(:account);
