\set account random(1, :accounts)
\set hold random(1, 9000000000000000000)
SELECT version, balance FROM pointstore.hold(:account, 1, :hold, payload => '{"order": "A-1001", "channel": "app"}');
SELECT version, balance FROM pointstore.confirm_hold(:hold);
