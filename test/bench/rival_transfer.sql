-- test/bench/rival_transfer.sql
-- Double entry as it is written by hand, with the guarantees of pointstore.transfer():
-- both accounts locked in one order (SELECT ... FOR UPDATE), a request once, compared when
-- it is repeated, floor, ceiling, unit and status of both, two numbered entries with the
-- balance after them. The entries have the textbook's indexes, id, (aggregate_id, version)
-- and the request's, and no more; they are what the request is looked up in, without a
-- row for the transfer itself.
-- And account 0, to which many transfer, and two accounts for appends beside open holds.
-- Variable: accounts.

CREATE TABLE rival.party (LIKE pointstore.balance INCLUDING DEFAULTS, PRIMARY KEY (aggregate_id)) WITH (fillfactor = 80);
CREATE TABLE rival.entry (LIKE pointstore.event_store,
                          PRIMARY KEY (id), UNIQUE (aggregate_id, version), UNIQUE (request_id, leg));
CREATE SEQUENCE rival.entry_id_seq OWNED BY rival.entry.id;
SELECT pointstore.append_event('0', 'Opened', 1000000);
INSERT INTO rival.party (aggregate_id, version, balance) SELECT i::text, 1, 1000000 FROM generate_series(0, :accounts) i;
INSERT INTO rival.entry (id, aggregate_id, version, event_type, amount, held, balance_after, payload, request_id, leg, occurred_at, created_at)
SELECT nextval('rival.entry_id_seq'), aggregate_id, 1, 'Opened', balance, 0, balance, '{}', 'open-' || aggregate_id, 0, updated_at, updated_at
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
                  WHERE b.aggregate_id IN (p_from, p_to) ORDER BY b.aggregate_id FOR UPDATE OF b
    LOOP
        IF party.aggregate_id = p_from THEN payer := party; ELSE payee := party; END IF;
    END LOOP;
    SELECT e.aggregate_id, e.amount, e.event_type, e.payload INTO done
      FROM rival.entry e WHERE e.request_id = p_request_id AND e.leg = 0;
    IF FOUND THEN
        RETURN QUERY SELECT e.version, e.balance_after FROM rival.entry e WHERE e.request_id = p_request_id
                        AND (done.aggregate_id, -done.amount, done.event_type, done.payload) = (p_from, p_amount, p_event_type, p_payload)
                        AND EXISTS (SELECT FROM rival.entry l WHERE (l.request_id, l.leg, l.aggregate_id) = (p_request_id, 1, p_to))
                      ORDER BY e.leg;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'request "%" was used for something else', p_request_id USING ERRCODE = 'PS002';
        END IF;
        RETURN;
    END IF;
    IF payer.status <> 'open' OR payee.status <> 'open' OR payer.unit <> payee.unit
       OR payer.balance - payer.held - p_amount < payer.min_balance OR payee.balance + p_amount > payee.max_balance THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'PS003';
    END IF;
    at := greatest(clock_timestamp(), payer.updated_at, payee.updated_at);
    UPDATE rival.party b SET balance = payer.balance - p_amount, version = payer.version + 1, updated_at = at WHERE b.aggregate_id = p_from;
    UPDATE rival.party b SET balance = payee.balance + p_amount, version = payee.version + 1, updated_at = at WHERE b.aggregate_id = p_to;
    INSERT INTO rival.entry (id, aggregate_id, version, event_type, amount, held, balance_after, payload, request_id, leg, cause_id, occurred_at, created_at)
    VALUES (nextval('rival.entry_id_seq'), p_from, payer.version + 1, p_event_type, -p_amount, 0, payer.balance - p_amount, p_payload, p_request_id, 0, NULL, at, at),
           (nextval('rival.entry_id_seq'), p_to, payee.version + 1, p_event_type, p_amount, 0, payee.balance + p_amount, p_payload, p_request_id, 1, currval('rival.entry_id_seq') - 1, at, at);
    RETURN QUERY VALUES (payer.version + 1, payer.balance - p_amount), (payee.version + 1, payee.balance + p_amount);
END
$$;

SELECT pointstore.append_event('held', 'Opened', 1000000000), pointstore.append_event('unheld', 'Opened', 1000000000);
SELECT count(pointstore.hold('held', 1, 'held-' || i, '1 day')) FROM generate_series(1, 10000) i;
VACUUM (FULL, ANALYZE) rival.party, rival.entry;
VACUUM (FULL, ANALYZE) pointstore.balance;
VACUUM ANALYZE pointstore.hold;
CHECKPOINT;
