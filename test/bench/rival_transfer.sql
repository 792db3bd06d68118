-- test/bench/rival_transfer.sql
-- A transfer as it is written by hand, with the guarantees of pointstore.transfer():
-- both accounts locked in one order, a request once, compared when it is repeated,
-- floor, ceiling, unit and status of both, two numbered entries with the balance
-- after them; account 0, to which many transfer; and the two accounts for appends
-- beside open holds.
-- Variable: accounts.

CREATE TABLE rival.party (LIKE pointstore.balance INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE rival.transfer (
    request_id text COLLATE "C" PRIMARY KEY,
    from_id    text COLLATE "C" NOT NULL,
    to_id      text COLLATE "C" NOT NULL,
    amount     bigint NOT NULL,
    event_type text NOT NULL,
    payload    jsonb NOT NULL,
    at         timestamptz NOT NULL
);
CREATE TABLE rival.entry (LIKE pointstore.event_store INCLUDING INDEXES);
CREATE SEQUENCE rival.entry_id_seq;
SELECT pointstore.append_event('0', 'Opened', 1000000);
INSERT INTO rival.party SELECT * FROM pointstore.balance WHERE aggregate_id ~ '^\d+$';
UPDATE rival.party SET balance = 1000000;
INSERT INTO rival.entry SELECT nextval('rival.entry_id_seq'), aggregate_id, version, 'Opened', balance, 0, balance, '{}', NULL, NULL, NULL, NULL, now(), now()
  FROM rival.party;

CREATE FUNCTION rival.double_entry(p_from text, p_to text, p_amount bigint, p_request_id text, p_event_type text, p_payload jsonb)
RETURNS TABLE (version bigint, balance bigint) LANGUAGE plpgsql AS $$
DECLARE
    payer record;
    payee record;
    party record;
    done  record;
    at    timestamptz;
BEGIN
    IF p_amount <= 0 OR p_from = p_to THEN
        RAISE EXCEPTION 'bad transfer' USING ERRCODE = '22023';
    END IF;
    FOR party IN SELECT b.*, k.min_balance, k.max_balance, k.unit FROM rival.party b JOIN rival.account_kind k ON k.kind = b.kind
                  WHERE b.aggregate_id IN (p_from, p_to) ORDER BY b.aggregate_id FOR NO KEY UPDATE OF b
    LOOP
        IF party.aggregate_id = p_from THEN payer := party; ELSE payee := party; END IF;
    END LOOP;
    SELECT t.* INTO done FROM rival.transfer t WHERE t.request_id = p_request_id;
    IF FOUND THEN
        IF (done.from_id, done.to_id, done.amount, done.event_type, done.payload) IS DISTINCT FROM (p_from, p_to, p_amount, p_event_type, p_payload) THEN
            RAISE EXCEPTION 'request "%" was used for something else', p_request_id USING ERRCODE = 'PS002';
        END IF;
        RETURN QUERY SELECT e.version, e.balance_after FROM rival.entry e WHERE e.request_id = p_request_id ORDER BY e.leg;
        RETURN;
    END IF;
    IF payer.status <> 'open' OR payee.status <> 'open' OR payer.unit <> payee.unit
       OR payer.balance - payer.held - p_amount < payer.min_balance OR payee.balance + p_amount > payee.max_balance THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'PS003';
    END IF;
    at := greatest(clock_timestamp(), payer.updated_at, payee.updated_at);
    INSERT INTO rival.transfer VALUES (p_request_id, p_from, p_to, p_amount, p_event_type, p_payload, at);
    UPDATE rival.party b SET balance = payer.balance - p_amount, version = payer.version + 1, updated_at = at WHERE b.aggregate_id = p_from;
    UPDATE rival.party b SET balance = payee.balance + p_amount, version = payee.version + 1, updated_at = at WHERE b.aggregate_id = p_to;
    INSERT INTO rival.entry (id, aggregate_id, version, event_type, amount, held, balance_after, payload, request_id, leg, cause_id, occurred_at, created_at)
    VALUES (nextval('rival.entry_id_seq'), p_from, payer.version + 1, p_event_type, -p_amount, 0, payer.balance - p_amount, p_payload, p_request_id, 0, NULL, at, at),
           (nextval('rival.entry_id_seq'), p_to, payee.version + 1, p_event_type, p_amount, 0, payee.balance + p_amount, p_payload, p_request_id, 1, currval('rival.entry_id_seq') - 1, at, at);
    RETURN QUERY VALUES (payer.version + 1, payer.balance - p_amount), (payee.version + 1, payee.balance + p_amount);
END
$$;

-- a table that is empty when it is planned for would be scanned by the first sessions
INSERT INTO rival.transfer SELECT 'before-' || i, '1', '2', 1, 'Transferred', '{}', now() FROM generate_series(1, 10000) i;

SELECT pointstore.append_event('held', 'Opened', 1000000000), pointstore.append_event('unheld', 'Opened', 1000000000);
SELECT count(pointstore.hold('held', 1, 'held-' || i, '1 day')) FROM generate_series(1, 10000) i;
VACUUM (FULL, ANALYZE) rival.party, rival.entry, rival.transfer;
VACUUM (FULL, ANALYZE) pointstore.balance;
VACUUM ANALYZE pointstore.hold;
CHECKPOINT;
