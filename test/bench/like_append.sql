\set request random(1, 9000000000000000000)
SELECT balance FROM pointstore.append_event('likes-one-by-one-0', 'Liked', 1, request_id => :request);
