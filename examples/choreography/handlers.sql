-- handlers.sql
-- An order without a coordinator: three projections, each of which reads the events that it knows about and appends
-- what follows from them.
--
--   OrderPlaced ──> stock:   StockTaken ──> payment: PointsSpent ──> order: OrderConfirmed
--                     │                       │
--                     │                       └── PaymentRefused ──> stock: StockPutBack ──> order: OrderRejected
--                     └── StockRefused ──> order: OrderRejected
--
-- What a handler appends and how far its projection has come are one transaction, so each event has its effect once.
-- Each append has, besides,
--   request_id   'order-1/StockTaken': when somebody has a projection begin anew, what follows is replayed, not done twice;
--   cause_id     the event that it follows from: trace() makes the tree of it;
--   metadata     that of the cause, with its correlation_id, so that all events of one order are found.
-- A refusal is an event too, of the order: others have to know of it. It is looked for first, for the store remembers what
-- was done and not what was refused: the same append might pass today, of an order that was rejected yesterday.

\set ON_ERROR_STOP on
BEGIN;

-- Appends what follows from an event, or, where the rules refuse that, the event that says so.
CREATE FUNCTION shop.follow(cause pointstore.feed_event, aggregate_id text, event_type text, amount bigint, kind text, refused_type text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    order_id text := cause.payload ->> 'order';
    done pointstore.receipt;
BEGIN
    IF EXISTS (SELECT FROM pointstore.event_store e WHERE e.request_id = format('%s/%s', order_id, refused_type)) THEN
        RETURN;
    END IF;
    done := pointstore.try_append_event(aggregate_id, event_type, amount, cause.payload, request_id => format('%s/%s', order_id, event_type),
        kind => kind, metadata => cause.metadata, cause_id => cause.id);
    IF done.outcome IN ('appended', 'replayed') THEN
        RETURN;
    END IF;
    IF refused_type IS NULL THEN
        RAISE EXCEPTION '% of % is refused: %', event_type, order_id, done.outcome;    -- the projection says so, and stops or parks
    END IF;
    PERFORM pointstore.append_event(order_id, refused_type, 0, cause.payload || jsonb_build_object('why', done.outcome),
        request_id => format('%s/%s', order_id, refused_type), metadata => cause.metadata, cause_id => cause.id);
END $$;

CREATE FUNCTION shop.stock(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    e pointstore.feed_event;
BEGIN
    FOREACH e IN ARRAY events LOOP
        IF e.event_type = 'OrderPlaced' THEN
            PERFORM shop.follow(e, 'stock/' || (e.payload ->> 'item'), 'StockTaken', -1, 'stock', 'StockRefused');
        ELSE    -- PaymentRefused
            PERFORM shop.follow(e, 'stock/' || (e.payload ->> 'item'), 'StockPutBack', 1, 'stock');
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION shop.payment(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    e pointstore.feed_event;
BEGIN
    FOREACH e IN ARRAY events LOOP
        PERFORM shop.follow(e, 'points/' || (e.payload ->> 'buyer'), 'PointsSpent', -(e.payload ->> 'price')::bigint, 'points', 'PaymentRefused');
    END LOOP;
END $$;

CREATE FUNCTION shop.orders(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    e pointstore.feed_event;
BEGIN
    FOREACH e IN ARRAY events LOOP
        PERFORM shop.follow(e, e.payload ->> 'order', CASE e.event_type WHEN 'PointsSpent' THEN 'OrderConfirmed' ELSE 'OrderRejected' END, 0, 'order');
    END LOOP;
END $$;

SELECT pointstore.create_projection('stock', 'shop.stock(pointstore.feed_event[])', event_types => '{OrderPlaced,PaymentRefused}'),
       pointstore.create_projection('payment', 'shop.payment(pointstore.feed_event[])', event_types => '{StockTaken}'),
       pointstore.create_projection('orders', 'shop.orders(pointstore.feed_event[])', event_types => '{PointsSpent,StockRefused,StockPutBack}');
COMMIT;

-- one order, by the application:
--   SELECT version FROM pointstore.append_event('order-1', 'OrderPlaced', 0, '{"order": "order-1", "buyer": "kim", "item": "tea", "price": 300}',
--       request_id => 'order-1/OrderPlaced', kind => 'order', metadata => '{"correlation_id": "order-1"}');
