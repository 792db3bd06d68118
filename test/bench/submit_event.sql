\set account random(1, :accounts)
\set amount 2 * random(0, 99) - 99
\set request random(1, 9000000000000000000)
SELECT version, balance FROM pointstore.submit_event(:account, 'PointAdjusted', :amount, '{"order": "A-1001", "channel": "app"}', request_id => :request);
