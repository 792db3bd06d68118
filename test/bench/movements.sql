-- test/bench/movements.sql
-- One of the three stores of the movements' part: accounts, each with an opening event of 1,000,000, and
-- the rival's tables. Its transfer between two stores is what a good engineer writes in a client: dblink,
-- PREPARE TRANSACTION there, its own commit with a row that says so as the decision, COMMIT PREPARED there;
-- both accounts locked, numbered entries with the balance after them, floor, a request once, a lookup
-- of the decision for a repeat. Without the job that recovers what a death leaves behind, which it would need.
-- Variables: accounts, prefix.

CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store();
CREATE EXTENSION IF NOT EXISTS dblink;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount)
SELECT :'prefix' || '-' || i, 'Opened', 1000000 FROM generate_series(1, :accounts) i;

CREATE SCHEMA IF NOT EXISTS rival;
CREATE TABLE rival.account (aggregate_id text PRIMARY KEY, version bigint NOT NULL, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 80);
CREATE TABLE rival.account_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, aggregate_id text NOT NULL, version bigint NOT NULL, event_type text NOT NULL, amount bigint NOT NULL,
    balance_after bigint NOT NULL, payload jsonb NOT NULL, request_id text, created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (aggregate_id, version), UNIQUE (request_id));
CREATE TABLE rival.decision (request_id text PRIMARY KEY, phase text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
INSERT INTO rival.account SELECT aggregate_id, version, balance FROM pointstore.balance WHERE aggregate_id LIKE :'prefix' || '-%';

CREATE FUNCTION rival.book(p_account text, p_amount bigint, p_request text, p_payload jsonb) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    after record;
BEGIN
    UPDATE rival.account SET balance = balance + p_amount, version = version + 1 WHERE aggregate_id = p_account
    RETURNING balance, version INTO STRICT after;
    INSERT INTO rival.account_entry (aggregate_id, version, event_type, amount, balance_after, payload, request_id)
    VALUES (p_account, after.version, 'Transferred', p_amount, after.balance, p_payload, p_request);
    RETURN after.balance;
END
$$;

VACUUM (FULL, ANALYZE);
CHECKPOINT;
