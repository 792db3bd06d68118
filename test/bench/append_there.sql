\set account random(1, :accounts)
\set request random(1, 9000000000000000000)
SELECT version, balance FROM pointstore.append_event('b-' || :account, 'PointAdjusted', 1, '{"order": "A-1001", "channel": "app"}', request_id => :request);
