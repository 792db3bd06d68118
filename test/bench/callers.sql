-- test/bench/callers.sql
-- What the callers' part measures on: kinds with and without transitions and leases, their
-- accounts, and a counter.
-- Variable: accounts, of each of the first two kinds.

INSERT INTO pointstore.account_kind (kind, initial_state, lease_required) VALUES ('plain', NULL, false), ('ten', 's0', false), ('leased', NULL, true);
-- a ring of ten states
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state)
SELECT 'ten', 's' || i, 'Step', 's' || (i + 1) % 10 FROM generate_series(0, 9) i;

INSERT INTO pointstore.balance (aggregate_id, kind)
SELECT kind || '-' || i, kind FROM generate_series(1, :accounts) i, unnest(ARRAY['plain', 'ten']) kind ORDER BY kind, i;
INSERT INTO pointstore.balance (aggregate_id, kind)
SELECT name || '-' || i, kind FROM generate_series(0, 7) i, (VALUES ('own', 'plain'), ('leased', 'leased'), ('likes', 'plain'), ('likes-one-by-one', 'plain')) v(name, kind);

CREATE TABLE bench.counter (id integer PRIMARY KEY, v bigint NOT NULL) WITH (fillfactor = 80);
INSERT INTO bench.counter VALUES (1, 0);
VACUUM ANALYZE;
