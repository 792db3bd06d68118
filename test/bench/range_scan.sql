SELECT * FROM pointstore.event_store WHERE id > :after ORDER BY id LIMIT 1000;
