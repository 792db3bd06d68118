\set request random(1, 9000000000000000000)
SELECT balance FROM pointstore.submit_event('likes-0', 'Liked', 1, request_id => :request);
