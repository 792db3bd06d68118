\set name :client_id * 100 + random(0, 99)
SELECT token FROM pointstore.acquire_lease('lease-' || :name::text, 'bench') \gset
SELECT pointstore.release_lease('lease-' || :name::text, :token);
