\set request random(1, 9000000000000000000)
SELECT version, balance FROM pointstore.append_event('own-' || :client_id::text, 'Step', 1, '{"order": "A-1001", "channel": "app"}', request_id => :request);
