INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload) SELECT i::text, 'PointAdjusted', 1, '{"order": "A-1001", "channel": "app"}' FROM generate_series(1, 100) i;
SELECT pointstore.sequence_feed();
