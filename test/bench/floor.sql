\set account random(1, :accounts)
\set amount 2 * random(0, 99) - 99
\set request random(1, 9000000000000000000)
INSERT INTO rival.floor (id, aggregate_id, version, event_type, amount, held, balance_after, payload, request_id, leg, occurred_at, created_at) VALUES (nextval('rival.floor_id_seq'), :account, 1, 'PointAdjusted', :amount, 0, :amount, '{"order": "A-1001", "channel": "app"}', :request, 0, clock_timestamp(), clock_timestamp());
