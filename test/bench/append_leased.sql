\set request random(1, 9000000000000000000)
\set token case when :client_id = 0 then :token_0 when :client_id = 1 then :token_1 when :client_id = 2 then :token_2 when :client_id = 3 then :token_3 when :client_id = 4 then :token_4 when :client_id = 5 then :token_5 when :client_id = 6 then :token_6 else :token_7 end
SELECT version, balance FROM pointstore.append_event('leased-' || :client_id::text, 'Step', 1, '{"order": "A-1001", "channel": "app"}', request_id => :request, lease_token => :token);
