-- Reservation: a seat is held while somebody pays; it is confirmed, given back, or the time is over.
--
-- With a plain table
--   both see a free seat and write their name on it: the last one has it, and two have a ticket;
--   a column held_until and a job that frees seats every minute: the payment that comes as the job runs is for a seat
--   that somebody else has.
-- Here
--   a seat is an account with one piece in it, and a hold takes it out of what is available, until expires_in;
--   the clock decides, not a job: a hold that is over reserves nothing and cannot be confirmed, from that moment on;
--   of a confirm, a cancel and the end of its time one happens. The payment is in the confirm's transaction.

-- Setup:
CREATE TABLE plain_seat (seat text PRIMARY KEY, taken_by text);
INSERT INTO plain_seat VALUES ('F-12', NULL);

INSERT INTO pointstore.account_kind (kind, unit, max_balance) VALUES ('seat', 'seat', 1);
SELECT count(pointstore.append_event(format('seat:F-%s', number), 'SeatOffered', 1, kind => 'seat')) FROM generate_series(1, 20) number;

-- First with the plain table. Both see that the seat is free:
-- A:
SELECT taken_by IS NULL FROM plain_seat WHERE seat = 'F-12';
--> t
-- B:
SELECT taken_by IS NULL FROM plain_seat WHERE seat = 'F-12';
--> t
UPDATE plain_seat SET taken_by = 'bob' WHERE seat = 'F-12' RETURNING taken_by;
--> bob
-- A: Bob has his ticket, and will meet Ann on his seat.
UPDATE plain_seat SET taken_by = 'ann' WHERE seat = 'F-12' RETURNING taken_by;
--> ann

-- A: Ann chooses a seat. It is hers for ten minutes.
BEGIN;
SELECT outcome, available FROM pointstore.hold('seat:F-12', 1, 'ann:F-12', expires_in => '10 min');
--> appended | 0
-- B: Bob wants it too.
SELECT outcome, available FROM pointstore.try_hold('seat:F-12', 1, 'bob:F-12', expires_in => '10 min');
--> waits
-- A:
COMMIT;
-- B: The seat is taken; he looks at others.
--> insufficient_balance | 0

-- A: Ann pays.
BEGIN;
SELECT outcome, balance FROM pointstore.confirm_hold('ann:F-12');
--> appended | 0
-- B: In her other window she has pressed "cancel". It waits, and learns that she has paid.
SELECT pointstore.cancel_hold('ann:F-12');
--> waits
-- A:
COMMIT;
-- B:
--> PS007
-- A: The payment's answer was lost. Asked again it is the first one.
SELECT outcome, balance FROM pointstore.confirm_hold('ann:F-12');
--> replayed | 0

-- B: Bob holds another seat, for a second only, so that we need not wait.
SELECT outcome FROM pointstore.hold('seat:F-13', 1, 'bob:F-13', expires_in => '1 s');
--> appended
-- A, until it is so: Ann wants it for a friend. As soon as Bob's time is over it is hers, swept or not.
SELECT outcome FROM pointstore.try_hold('seat:F-13', 1, 'ann:F-13');
--> appended
-- B: Bob pays too late. He has no seat, and as the payment is part of this transaction, nothing is taken from him.
SELECT pointstore.confirm_hold('bob:F-13');
--> PS007
-- A: The friend does not come. The seat is free at once.
SELECT outcome, available FROM pointstore.cancel_hold('ann:F-13');
--> appended | 1

-- Many at once: somebody takes a seat, one that is free or not, and pays, gives it back or goes away.
\set seat random(1, 20)
\set what random(1, 10)
\set name random(1, 1000000000)
SELECT outcome FROM pointstore.try_hold('seat:F-:seat', 1, 'many:F-:seat-:name', expires_in => '0.5 s');
SELECT CASE WHEN :what < 3 THEN (SELECT outcome FROM pointstore.try_confirm_hold('many:F-:seat-:name'))
            WHEN :what < 9 THEN (SELECT outcome FROM pointstore.try_cancel_hold('many:F-:seat-:name')) END;

-- In the end: no seat is sold twice, and what was sold is what was paid.
SELECT min(balance), max(balance), sum(1 - balance) = (SELECT count(*) FROM pointstore.hold WHERE aggregate_id LIKE 'seat:%' AND status = 'confirmed'),
       sum(1 - balance) > 1 FROM pointstore.account WHERE kind = 'seat';
--> 0 | 1 | t | t
