-- Order: the shop approves it while the buyer cancels it.
--
-- With a plain table
--   UPDATE … SET status = 'approved' and SET status = 'cancelled' both succeed: what is shipped has been refunded;
--   WHERE status = 'placed' helps, where every statement has it and every caller looks at how many rows were changed.
-- Here
--   the kind's transitions say which event may follow which state. Who comes second is refused, and told the state and
--   what it allows. The table of states is data, and holds for every writer, functions, INSERT and COPY;
--   the money follows in the same transaction: a hold when the order is placed, taken or given back once.

-- Setup:
CREATE TABLE plain_order (id integer PRIMARY KEY, status text);
INSERT INTO plain_order VALUES (1, 'placed');

INSERT INTO pointstore.account_kind (kind, transitions) VALUES ('order', 'strict');    -- strict: an event that no row names is refused
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
    ('order', '', 'OrderPlaced', 'placed'),              ('order', 'placed', 'OrderApproved', 'approved'),
    ('order', 'placed', 'OrderCancelled', 'cancelled'),  ('order', 'approved', 'OrderShipped', 'shipped');
INSERT INTO pointstore.account_kind (kind, unit) VALUES ('buyer', 'KRW');
SELECT count(pointstore.append_event('buyer:' || who, 'Paid', 50000, kind => 'buyer')) FROM (VALUES ('ann'), ('bob')) v (who);
SELECT count(pointstore.append_event('order:' || n, 'OrderPlaced', kind => 'order')) FROM generate_series(1, 40) n;
SELECT pointstore.hold('buyer:ann', 30000, 'order:1'), pointstore.hold('buyer:bob', 20000, 'order:2');

-- First with the plain table. A is the shop, B the buyer; both see the order placed.
-- A:
UPDATE plain_order SET status = 'approved' WHERE id = 1 RETURNING status;
--> approved
-- B: Gets his money back, and the parcel.
UPDATE plain_order SET status = 'cancelled' WHERE id = 1 RETURNING status;
--> cancelled

-- A: The shop approves, and takes the money.
BEGIN;
SELECT version FROM pointstore.append_event('order:1', 'OrderApproved', payload => '{"by": "shop"}');
--> 2
SELECT outcome, balance FROM pointstore.confirm_hold('order:1');
--> appended | 20000

-- B: The buyer cancels at the same moment, in a transaction that would free the money.
BEGIN;
SELECT pointstore.append_event('order:1', 'OrderCancelled', payload => '{"by": "ann"}');
--> waits
-- A:
COMMIT;
-- B: Too late. The page shows what the order is now, and offers what it allows.
--> PS012 state=approved, allowed=OrderShipped
ROLLBACK;

-- B: The other way round: this time the buyer is first.
BEGIN;
SELECT version FROM pointstore.append_event('order:2', 'OrderCancelled', payload => '{"by": "bob"}');
--> 2
SELECT outcome, available FROM pointstore.cancel_hold('order:2');
--> appended | 50000

-- A: The shop approves without asking for an error: the refusal is an outcome, with the order's actual version.
SELECT outcome, version FROM pointstore.try_append_event('order:2', 'OrderApproved', payload => '{"by": "shop"}');
--> waits
-- B:
COMMIT;
-- A:
--> transition_not_allowed | 2

-- A: What happened, in order, with the state after each event.
SELECT version, event_type, state_after, payload ->> 'by' FROM pointstore.event_store WHERE aggregate_id = 'order:1' ORDER BY version;
--> 1 | OrderPlaced | placed |
--> 2 | OrderApproved | approved | shop

-- Many at once: orders are approved, cancelled and shipped by whoever comes first.
\set order random(3, 40)
\set what random(1, 3)
SELECT outcome FROM pointstore.try_append_event('order:' || :order, (ARRAY['OrderApproved', 'OrderCancelled', 'OrderShipped'])[:what]);

-- In the end: nobody ships what is cancelled, by whichever way it is written, and no misspelled event gets in.
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('order:2', 'OrderShipped');
--> PS012 state=cancelled
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('order:1', 'OrderShiped');
--> PS012 state=approved
-- No order has both; its state is what its last event says.
SELECT DISTINCT string_agg(e.event_type, ' ' ORDER BY e.version), (array_agg(e.state_after ORDER BY e.version DESC))[1] = a.state
  FROM pointstore.event_store e JOIN pointstore.account a USING (aggregate_id) WHERE a.kind = 'order' AND a.version > 1
 GROUP BY aggregate_id, a.state ORDER BY 1;
--> OrderPlaced OrderApproved | t
--> OrderPlaced OrderApproved OrderShipped | t
--> OrderPlaced OrderCancelled | t
