-- test/bench/rivals.sql
-- What pointstore is measured against, in a schema of its own:
--   rival.floor          one table of the event store's columns without an index
--   rival.append_update  the PL/pgSQL function that one writes by hand: look the
--                        request up, change the balance by a conditional UPDATE,
--                        insert the event
--   rival.append_lock    the same with SELECT ... FOR UPDATE
--   rival.append_optimistic  the same by a version that was read before, tried again
--                        until nobody was faster
-- These functions work on tables with pointstore's columns and storage settings and
-- with the textbook's indexes: id, (aggregate_id, version) and request_id of the events,
-- aggregate_id of the balances, and no more. They read the rules of the account's kind
-- from a table as pointstore does, and give the same guarantees. They avoid what would
-- slow them down without need: an EXCEPTION block (a subtransaction for every event),
-- dynamic SQL, whole-row variables, a second lookup.

CREATE SCHEMA rival;

CREATE TABLE rival.floor (LIKE pointstore.event_store);
CREATE SEQUENCE rival.floor_id_seq OWNED BY rival.floor.id;

CREATE TABLE rival.account_kind (LIKE pointstore.account_kind INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
INSERT INTO rival.account_kind (kind) VALUES ('default');

CREATE TABLE rival.balance (LIKE pointstore.balance INCLUDING DEFAULTS, PRIMARY KEY (aggregate_id)) WITH (fillfactor = 80);
CREATE TABLE rival.event_store (LIKE pointstore.event_store,
                                PRIMARY KEY (id), UNIQUE (aggregate_id, version), UNIQUE (request_id));
CREATE SEQUENCE rival.event_store_id_seq OWNED BY rival.event_store.id;

CREATE TABLE rival.lock_balance (LIKE rival.balance INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 80);
CREATE TABLE rival.lock_event_store (LIKE rival.event_store INCLUDING INDEXES);
CREATE SEQUENCE rival.lock_event_store_id_seq OWNED BY rival.lock_event_store.id;

CREATE TABLE rival.optimistic_balance (LIKE rival.balance INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 80);
CREATE TABLE rival.optimistic_event_store (LIKE rival.event_store INCLUDING INDEXES);
CREATE SEQUENCE rival.optimistic_event_store_id_seq OWNED BY rival.optimistic_event_store.id;

-- Conditional UPDATE. The row lock that the UPDATE takes makes the version the
-- next one; a twin of the same request that committed while we waited for it is
-- met by ON CONFLICT, whereupon the change is taken back and the twin's result returned.
CREATE FUNCTION rival.append_update(
    p_aggregate_id text, p_event_type text, p_amount bigint, p_payload jsonb,
    p_request_id text, p_expected_version bigint DEFAULT NULL,
    OUT version bigint, OUT balance bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    same boolean;
BEGIN
    SELECT e.version, e.balance_after,
           e.aggregate_id = p_aggregate_id AND e.event_type = p_event_type
             AND e.amount = p_amount AND e.payload = p_payload
      INTO version, balance, same
      FROM rival.event_store e
     WHERE e.request_id = p_request_id;
    IF FOUND THEN
        IF NOT same THEN
            RAISE EXCEPTION 'request "%" was used for something else', p_request_id USING ERRCODE = 'PS002';
        END IF;
        RETURN;
    END IF;

    at := clock_timestamp();
    FOR attempt IN 1..2 LOOP
        UPDATE rival.balance b
           SET version = b.version + 1, balance = b.balance + p_amount, updated_at = greatest(at, b.updated_at)
          FROM rival.account_kind k
         WHERE b.aggregate_id = p_aggregate_id AND k.kind = b.kind
           AND b.status = 'open'
           AND (p_expected_version IS NULL OR b.version = p_expected_version)
           AND (p_amount >= 0 OR k.min_balance IS NULL OR b.balance - b.held + p_amount >= k.min_balance)
           AND (p_amount <= 0 OR k.max_balance IS NULL OR b.balance + p_amount <= k.max_balance)
        RETURNING b.version, b.balance, b.updated_at INTO version, balance, at;
        EXIT WHEN FOUND;
        INSERT INTO rival.balance (aggregate_id) VALUES (p_aggregate_id) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            PERFORM rival.refuse(b.status, b.version, b.balance - b.held, p_amount, p_expected_version)
               FROM rival.balance b WHERE b.aggregate_id = p_aggregate_id;
        END IF;
    END LOOP;

    INSERT INTO rival.event_store (id, aggregate_id, version, event_type, amount, held, balance_after,
                                   payload, request_id, occurred_at, created_at)
    VALUES (nextval('rival.event_store_id_seq'), p_aggregate_id, version, p_event_type, p_amount, 0, balance,
            p_payload, p_request_id, at, at)
    ON CONFLICT (request_id) DO NOTHING;
    IF NOT FOUND THEN
        UPDATE rival.balance b SET version = b.version - 1, balance = b.balance - p_amount
         WHERE b.aggregate_id = p_aggregate_id;
        SELECT a.version, a.balance INTO version, balance
          FROM rival.append_update(p_aggregate_id, p_event_type, p_amount, p_payload, p_request_id) a;
    END IF;
END
$$;

-- SELECT ... FOR UPDATE. The request is looked up under the lock, where a twin
-- for the same account is visible; one for another account is an error (23505).
CREATE FUNCTION rival.append_lock(
    p_aggregate_id text, p_event_type text, p_amount bigint, p_payload jsonb,
    p_request_id text, p_expected_version bigint DEFAULT NULL,
    OUT version bigint, OUT balance bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    same boolean;
    old_version bigint;
    old_balance bigint;
    held bigint;
    status text;
    updated_at timestamptz;
    floor bigint;
    ceiling bigint;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT b.version, b.balance, b.held, b.status, b.updated_at, k.min_balance, k.max_balance
          INTO old_version, old_balance, held, status, updated_at, floor, ceiling
          FROM rival.lock_balance b JOIN rival.account_kind k ON k.kind = b.kind
         WHERE b.aggregate_id = p_aggregate_id
           FOR UPDATE OF b;
        EXIT WHEN FOUND;
        INSERT INTO rival.lock_balance (aggregate_id) VALUES (p_aggregate_id) ON CONFLICT DO NOTHING;
    END LOOP;

    SELECT e.version, e.balance_after,
           e.aggregate_id = p_aggregate_id AND e.event_type = p_event_type
             AND e.amount = p_amount AND e.payload = p_payload
      INTO version, balance, same
      FROM rival.lock_event_store e
     WHERE e.request_id = p_request_id;
    IF FOUND THEN
        IF NOT same THEN
            RAISE EXCEPTION 'request "%" was used for something else', p_request_id USING ERRCODE = 'PS002';
        END IF;
        RETURN;
    END IF;

    IF status <> 'open' OR old_version <> p_expected_version
       OR (p_amount < 0 AND old_balance - held + p_amount < floor)
       OR (p_amount > 0 AND old_balance + p_amount > ceiling) THEN
        PERFORM rival.refuse(status, old_version, old_balance - held, p_amount, p_expected_version);
    END IF;

    at := greatest(clock_timestamp(), updated_at);
    version := old_version + 1;
    balance := old_balance + p_amount;
    UPDATE rival.lock_balance b
       SET version = append_lock.version, balance = append_lock.balance, updated_at = at
     WHERE b.aggregate_id = p_aggregate_id;
    INSERT INTO rival.lock_event_store (id, aggregate_id, version, event_type, amount, held, balance_after,
                                        payload, request_id, occurred_at, created_at)
    VALUES (nextval('rival.lock_event_store_id_seq'), p_aggregate_id, append_lock.version, p_event_type, p_amount, 0, append_lock.balance,
            p_payload, p_request_id, at, at);
END
$$;

-- Optimistic versions: read, decide, and write only if the version is still that one. The
-- request is looked up after the row was read, so that a twin which moved the row is visible.
CREATE FUNCTION rival.append_optimistic(
    p_aggregate_id text, p_event_type text, p_amount bigint, p_payload jsonb,
    p_request_id text, p_expected_version bigint DEFAULT NULL,
    OUT version bigint, OUT balance bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    same boolean;
    old_version bigint;
    old_balance bigint;
    held bigint;
    status text;
    updated_at timestamptz;
    floor bigint;
    ceiling bigint;
BEGIN
    LOOP
        SELECT b.version, b.balance, b.held, b.status, b.updated_at, k.min_balance, k.max_balance
          INTO old_version, old_balance, held, status, updated_at, floor, ceiling
          FROM rival.optimistic_balance b JOIN rival.account_kind k ON k.kind = b.kind
         WHERE b.aggregate_id = p_aggregate_id;
        IF NOT FOUND THEN
            INSERT INTO rival.optimistic_balance (aggregate_id) VALUES (p_aggregate_id) ON CONFLICT DO NOTHING;
            CONTINUE;
        END IF;

        SELECT e.version, e.balance_after,
               e.aggregate_id = p_aggregate_id AND e.event_type = p_event_type
                 AND e.amount = p_amount AND e.payload = p_payload
          INTO version, balance, same
          FROM rival.optimistic_event_store e
         WHERE e.request_id = p_request_id;
        IF FOUND THEN
            IF NOT same THEN
                RAISE EXCEPTION 'request "%" was used for something else', p_request_id USING ERRCODE = 'PS002';
            END IF;
            RETURN;
        END IF;

        IF status <> 'open' OR old_version <> p_expected_version
           OR (p_amount < 0 AND old_balance - held + p_amount < floor)
           OR (p_amount > 0 AND old_balance + p_amount > ceiling) THEN
            PERFORM rival.refuse(status, old_version, old_balance - held, p_amount, p_expected_version);
        END IF;

        at := greatest(clock_timestamp(), updated_at);
        version := old_version + 1;
        balance := old_balance + p_amount;
        UPDATE rival.optimistic_balance b
           SET version = append_optimistic.version, balance = append_optimistic.balance, updated_at = at
         WHERE b.aggregate_id = p_aggregate_id AND b.version = old_version;
        EXIT WHEN FOUND;
    END LOOP;
    INSERT INTO rival.optimistic_event_store (id, aggregate_id, version, event_type, amount, held, balance_after,
                                              payload, request_id, occurred_at, created_at)
    VALUES (nextval('rival.optimistic_event_store_id_seq'), p_aggregate_id, append_optimistic.version, p_event_type, p_amount, 0,
            append_optimistic.balance, p_payload, p_request_id, at, at);
END
$$;

-- Says why an append is refused.
CREATE FUNCTION rival.refuse(status text, version bigint, available bigint, amount bigint, expected_version bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF status <> 'open' THEN
        RAISE EXCEPTION 'account is %', status USING ERRCODE = 'PS004';
    ELSIF version <> expected_version THEN
        RAISE EXCEPTION 'expected version %, is %', expected_version, version USING ERRCODE = 'PS001';
    ELSIF amount < 0 THEN
        RAISE EXCEPTION 'available %, requested %', available, -amount USING ERRCODE = 'PS003';
    END IF;
    RAISE EXCEPTION 'balance would cross its ceiling' USING ERRCODE = 'PS009';
END
$$;
