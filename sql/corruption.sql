-- One table of corruptions: each is made behind the guards' back to an account of its own,
-- and a full run finds exactly what it says there, as reconcile_account does; undone, all is well.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CREATE TABLE cor_way (
    way         text PRIMARY KEY,
    account     text NOT NULL,      -- that is accused
    corrupt     text NOT NULL,
    findings    text[] NOT NULL,    -- code severity version
    incremental boolean NOT NULL DEFAULT false);    -- an incremental run sees it, too: it is about what came since
INSERT INTO cor_way VALUES
-- rows of balances
('balance more',        'cor-a', $$UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'cor-a'$$, '{balance_mismatch error 4}', true),
('balance less',        'cor-a', $$UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = 'cor-a'$$, '{balance_mismatch warning 4}', true),
('balance null',        'cor-a', $$UPDATE pointstore.balance SET balance = NULL WHERE aggregate_id = 'cor-a'$$, '{balance_mismatch error 4}', true),
('version ahead',       'cor-a', $$UPDATE pointstore.balance SET version = 5 WHERE aggregate_id = 'cor-a'$$, '{version_mismatch error 4}', true),
('version at the end',  'cor-a', $$UPDATE pointstore.balance SET version = 9223372036854775807 WHERE aggregate_id = 'cor-a'$$, '{version_mismatch error 4}', true),
('version null',        'cor-a', $$UPDATE pointstore.balance SET version = NULL WHERE aggregate_id = 'cor-a'$$, '{version_mismatch error 4}', true),
('held more',           'cor-a', $$UPDATE pointstore.balance SET held = 1 WHERE aggregate_id = 'cor-a'$$, '{held_mismatch warning 4}', true),
('held less',           'cor-h', $$UPDATE pointstore.balance SET held = held - 1 WHERE aggregate_id = 'cor-h'$$, '{held_mismatch error 7}', true),
('next_expiry',         'cor-h', $$UPDATE pointstore.balance SET next_expiry = next_expiry + interval '1 day' WHERE aggregate_id = 'cor-h'$$, '{held_mismatch warning 7}', true),
('next_expiry null',    'cor-h', $$UPDATE pointstore.balance SET next_expiry = NULL WHERE aggregate_id = 'cor-h'$$, '{held_mismatch warning 7}', true),
('row gone',            'cor-a', $$DELETE FROM pointstore.balance WHERE aggregate_id = 'cor-a'$$, '{missing_balance error 4}', true),
('events gone',         'cor-a', $$DELETE FROM pointstore.event_store WHERE aggregate_id = 'cor-a'$$, '{orphan_balance error 4,version_gap critical 1}', false),
('row twice',           'cor-a', $$INSERT INTO pointstore.balance SELECT * FROM pointstore.balance WHERE aggregate_id = 'cor-a'$$, '{duplicate_row error 4}', true),
('pure row twice',      'cor-p', $$INSERT INTO pointstore.pure_account SELECT * FROM pointstore.pure_account WHERE aggregate_id = 'cor-p'$$, '{duplicate_row error 2}', true),
('empty pure row twice', 'cor-e', $$INSERT INTO pointstore.pure_account SELECT * FROM pointstore.pure_account WHERE aggregate_id = 'cor-e'$$, '{duplicate_row error 0}', false),
('kind of the row',     'cor-a', $$UPDATE pointstore.balance SET kind = 'cor-seat' WHERE aggregate_id = 'cor-a'$$, '{account_mismatch error 4}', true),
('unit of the kind',    'cor-s', $$UPDATE pointstore.account_kind SET unit = 'KRW' WHERE kind = 'cor-seat'$$, '{account_mismatch error 1}', true),
('status',              'cor-f', $$UPDATE pointstore.balance SET status = 'open' WHERE aggregate_id = 'cor-f'$$, '{account_mismatch error 1}', true),
('status stricter',     'cor-a', $$UPDATE pointstore.balance SET status = 'frozen' WHERE aggregate_id = 'cor-a'$$, '{account_mismatch warning 4}', true),
('status null',         'cor-a', $$UPDATE pointstore.balance SET status = NULL WHERE aggregate_id = 'cor-a'$$, '{account_mismatch error 4}', true),
('pure status',         'cor-p', $$UPDATE pointstore.pure_account SET status = 'closed' WHERE aggregate_id = 'cor-p'$$, '{account_mismatch warning 2}', false),
-- states: w has come to one by its events, w2 was put in one since, w3 has no event yet
('state',               'cor-w', $$UPDATE pointstore.balance SET state = 'gone' WHERE aggregate_id = 'cor-w'$$, '{state_mismatch error 2}', true),
('state where none is', 'cor-a', $$UPDATE pointstore.balance SET state = 'gone' WHERE aggregate_id = 'cor-a'$$, '{state_mismatch error 4}', true),
('state that was set',  'cor-w2', $$UPDATE pointstore.balance SET state = 'going' WHERE aggregate_id = 'cor-w2'$$, '{state_mismatch error 1}', false),
('state in the log',    'cor-w2', $$UPDATE pointstore.account_log SET after = after || '{"state": "new"}' WHERE aggregate_id = 'cor-w2'$$, '{state_mismatch error 1}', false),
('state before events', 'cor-w3', $$UPDATE pointstore.balance SET state = 'gone' WHERE aggregate_id = 'cor-w3'$$, '{state_mismatch error 0}', false),
('state_after',         'cor-w', $$UPDATE pointstore.event_store SET state_after = 'gone' WHERE aggregate_id = 'cor-w' AND version = 2$$, '{state_mismatch error 2}', true),
-- events by themselves
('amount',              'cor-a', $$UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = 'cor-a' AND version = 2$$, '{balance_mismatch warning 4,chain_break critical 2}', true),
('amount null',         'cor-a', $$UPDATE pointstore.event_store SET amount = NULL WHERE aggregate_id = 'cor-a' AND version = 2$$, '{balance_mismatch error 4,chain_break critical 2}', true),
('held null',           'cor-a', $$UPDATE pointstore.event_store SET held = NULL WHERE aggregate_id = 'cor-a'$$, '{}', false),
('balance_after',       'cor-a', $$UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = 'cor-a' AND version = 3$$, '{chain_break critical 3}', true),
('balance_after null',  'cor-a', $$UPDATE pointstore.event_store SET balance_after = NULL WHERE aggregate_id = 'cor-a' AND version = 3$$, '{chain_break critical 3}', true),
('event gone',          'cor-a', $$DELETE FROM pointstore.event_store WHERE aggregate_id = 'cor-a' AND version = 2$$, '{balance_mismatch error 4,version_gap critical 3}', true),
('event twice',         'cor-a', $$INSERT INTO pointstore.event_store SELECT * FROM pointstore.event_store WHERE aggregate_id = 'cor-a' AND version = 2$$, '{balance_mismatch warning 4,version_gap critical 2}', true),
('last version at the end', 'cor-a', $$UPDATE pointstore.event_store SET version = 9223372036854775807 WHERE aggregate_id = 'cor-a' AND version = 4$$, '{version_gap critical 9223372036854775807,version_mismatch error 9223372036854775807}', true),
('first version at the end', 'cor-p', $$UPDATE pointstore.event_store SET version = 9223372036854775807 WHERE aggregate_id = 'cor-p' AND version = 1$$, '{version_gap critical 2}', true),
('version of an event null', 'cor-a', $$UPDATE pointstore.event_store SET version = NULL WHERE aggregate_id = 'cor-a' AND version = 4$$, '{version_gap critical NULL,version_mismatch error 3}', false),
('created_at',          'cor-a', $$UPDATE pointstore.event_store SET created_at = created_at - interval '1 day' WHERE aggregate_id = 'cor-a' AND version = 3$$, '{time_order critical 3}', true),
('request twice',       'cor-a', $$UPDATE pointstore.event_store SET request_id = 'cor-request', leg = 0 WHERE aggregate_id = 'cor-a' AND version IN (2, 3)$$, '{duplicate_request critical 3}', true),
('request of another',  'cor-s', $$UPDATE pointstore.event_store SET request_id = 'cor-request', leg = 0 WHERE aggregate_id IN ('cor-a', 'cor-s') AND version = 1$$, '{duplicate_request critical 1}', true),
-- holds: o is open, c confirmed in part, x cancelled; e is another account's
('open hold more',      'cor-h', $$UPDATE pointstore.hold SET amount = amount + 1 WHERE hold_id = 'cor-o'$$, '{held_mismatch error 7,hold_mismatch warning 2}', true),
('open hold less',      'cor-h', $$UPDATE pointstore.hold SET amount = amount - 1 WHERE hold_id = 'cor-o'$$, '{held_mismatch warning 7,hold_mismatch error 2}', true),
('open holds exchanged', 'cor-h', $$UPDATE pointstore.hold SET amount = 30 - amount WHERE hold_id IN ('cor-o', 'cor-o2')$$, '{hold_mismatch error 7}', true),
('event of an open hold', 'cor-h', $$UPDATE pointstore.hold SET event_id = event_id - 1000000 WHERE hold_id = 'cor-o'$$, '{hold_mismatch error 2}', true),
('open hold of another', 'cor-h', $$UPDATE pointstore.hold SET aggregate_id = 'cor-a' WHERE hold_id = 'cor-o'$$,
                                 '{cor-a held_mismatch error 4,cor-a hold_mismatch warning 4,held_mismatch warning 7,hold_mismatch error 2}', true),
('open hold closed',    'cor-h', $$UPDATE pointstore.hold SET status = 'cancelled' WHERE hold_id = 'cor-o'$$, '{held_mismatch warning 7,hold_mismatch error 2}', true),
('open hold gone',      'cor-h', $$DELETE FROM pointstore.hold WHERE hold_id = 'cor-o'$$, '{held_mismatch warning 7,hold_mismatch error 2}', true),
('expires_at',          'cor-h', $$UPDATE pointstore.hold SET expires_at = expires_at + interval '1 second' WHERE hold_id = 'cor-o2'$$, '{hold_mismatch warning 7}', true),
('closed hold as open', 'cor-h', $$UPDATE pointstore.hold SET status = 'open' WHERE hold_id = 'cor-x'$$, '{held_mismatch error 7,hold_mismatch error 5}', true),
('closed hold gone',    'cor-h', $$DELETE FROM pointstore.hold WHERE hold_id = 'cor-c'$$, '{hold_mismatch error 3}', true),
('how it was closed',   'cor-h', $$UPDATE pointstore.hold SET status = 'confirmed' WHERE hold_id = 'cor-x'$$, '{hold_mismatch warning 5}', true),
('what was captured',   'cor-h', $$UPDATE pointstore.hold SET captured = captured + 1 WHERE hold_id = 'cor-c'$$, '{hold_mismatch warning 3}', true),
('captured null',       'cor-h', $$UPDATE pointstore.hold SET captured = NULL WHERE hold_id = 'cor-c'$$, '{hold_mismatch warning 3}', true),
('hold of nothing',     'cor-a', $$INSERT INTO pointstore.hold (hold_id, aggregate_id, amount, captured, status, created_at, expires_at) VALUES ('cor-n', 'cor-a', 0, 0, 'open', now(), NULL)$$, '{hold_mismatch warning 4}', false),
('cause of a step',     'cor-h', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-h' AND version = 1) WHERE aggregate_id = 'cor-h' AND version = 6$$,
                                 '{hold_mismatch error 5,link_broken critical 6}', true),
('closed twice',        'cor-h', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-h' AND version = 3) WHERE aggregate_id = 'cor-h' AND version = 6$$,
                                 '{hold_mismatch error 5,link_broken critical 6}', true),
-- movements: of m a credit of 10 (2) and a debit of 20 (3) are tried, a credit of 30 (4) is confirmed (5), a debit of 40 (6) cancelled (7), and of those at once 5 is applied at once (9)
('incoming more',       'cor-m', $$UPDATE pointstore.balance SET incoming = incoming + 1 WHERE aggregate_id = 'cor-m'$$, '{held_mismatch warning 8}', true),
('incoming less',       'cor-m', $$UPDATE pointstore.balance SET incoming = incoming - 1 WHERE aggregate_id = 'cor-m'$$, '{held_mismatch error 8}', true),
('incoming null',       'cor-m', $$UPDATE pointstore.balance SET incoming = NULL WHERE aggregate_id = 'cor-m'$$, '{held_mismatch error 8}', true),
('incoming of nothing', 'cor-a', $$UPDATE pointstore.balance SET incoming = 1 WHERE aggregate_id = 'cor-a'$$, '{held_mismatch warning 4}', true),
('incoming without events', 'cor-i', $$UPDATE pointstore.balance SET incoming = 1 WHERE aggregate_id = 'cor-i'$$, '{orphan_balance warning 0}', false),
('step to credit more', 'cor-m', $$UPDATE pointstore.participant_step SET amount = amount + 1 WHERE movement_id = 'cor-1'$$, '{held_mismatch error 8,movement_mismatch error 2}', true),
('step to debit less',  'cor-m', $$UPDATE pointstore.participant_step SET amount = amount + 1 WHERE movement_id = 'cor-2'$$, '{held_mismatch warning 8,movement_mismatch error 3}', true),
('steps exchanged',     'cor-m', $$UPDATE pointstore.participant_step SET amount = -10 - amount WHERE movement_id IN ('cor-1', 'cor-2')$$, '{movement_mismatch error 2}', true),
('tried step gone',     'cor-m', $$DELETE FROM pointstore.participant_step WHERE movement_id = 'cor-1'$$, '{held_mismatch warning 8,movement_mismatch error 2}', true),
('tried step confirmed', 'cor-m', $$UPDATE pointstore.participant_step SET status = 'confirmed' WHERE movement_id = 'cor-2'$$, '{held_mismatch warning 8,movement_mismatch error 3}', true),
('tried step done',     'cor-m', $$UPDATE pointstore.participant_step SET status = 'done' WHERE movement_id = 'cor-1'$$, '{held_mismatch warning 8,movement_mismatch error 2}', true),
('status of a step null', 'cor-m', $$UPDATE pointstore.participant_step SET status = NULL WHERE movement_id = 'cor-1'$$, '{held_mismatch warning 8,movement_mismatch error 2}', true),
('event of a tried step', 'cor-m', $$UPDATE pointstore.participant_step SET event_id = event_id - 1000000 WHERE movement_id = 'cor-1'$$, '{movement_mismatch error 2}', true),
('tried step of another', 'cor-m', $$UPDATE pointstore.participant_step SET aggregate_id = 'cor-a' WHERE movement_id = 'cor-1'$$,
                                 '{cor-a held_mismatch error 4,cor-a movement_mismatch warning 4,held_mismatch warning 8,movement_mismatch error 2}', true),
('tried step of another movement', 'cor-m', $$UPDATE pointstore.participant_step SET movement_id = 'cor-other' WHERE movement_id = 'cor-1'$$, '{movement_mismatch error 2}', true),
('confirmed step open', 'cor-m', $$UPDATE pointstore.participant_step SET status = 'tried' WHERE movement_id = 'cor-3'$$, '{held_mismatch error 8,movement_mismatch error 4}', true),
('confirmed step gone', 'cor-m', $$DELETE FROM pointstore.participant_step WHERE movement_id = 'cor-3'$$, '{movement_mismatch error 4}', true),
('confirmed step cancelled', 'cor-m', $$UPDATE pointstore.participant_step SET status = 'cancelled' WHERE movement_id = 'cor-3'$$, '{movement_mismatch error 4}', true),
('cancelled step confirmed', 'cor-m', $$UPDATE pointstore.participant_step SET status = 'confirmed' WHERE movement_id = 'cor-4'$$, '{movement_mismatch error 6}', true),
('what has ended a step', 'cor-m', $$UPDATE pointstore.participant_step SET end_event_id = event_id WHERE movement_id = 'cor-4'$$, '{movement_mismatch error 6}', true),
('step applied at once gone', 'cor-m', $$DELETE FROM pointstore.participant_step WHERE movement_id = 'cor-5'$$, '{movement_mismatch error 9}', true),
('amount of a step applied at once', 'cor-m', $$UPDATE pointstore.participant_step SET amount = 6 WHERE movement_id = 'cor-5'$$, '{movement_mismatch error 9}', true),
('tried step of nothing', 'cor-m', $$INSERT INTO pointstore.participant_step (origin, movement_id, step, incarnation, number, protocol, aggregate_id, amount, status, tried_at)
                                 VALUES ('00000000-0000-4000-8000-00000000c0e0', 'cor-9', 1, 1, 9, 'tcc', 'cor-m', 1, 'tried', now())$$, '{held_mismatch error 8,movement_mismatch warning 8}', true),
('cause of an end',     'cor-m', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-m' AND version = 1) WHERE aggregate_id = 'cor-m' AND version = 7$$,
                                 '{link_broken critical 7,movement_mismatch error 6}', true),
('end without a cause', 'cor-m', $$UPDATE pointstore.event_store SET cause_id = NULL WHERE aggregate_id = 'cor-m' AND version = 7$$, '{link_broken critical 7,movement_mismatch error 6}', true),
('ended twice',         'cor-m', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-m' AND version = 4) WHERE aggregate_id = 'cor-m' AND version = 7$$,
                                 '{link_broken critical 7,movement_mismatch error 6}', true),
('amount in metadata',  'cor-m', $$UPDATE pointstore.event_store SET metadata = metadata || '{"amount": 11}' WHERE aggregate_id = 'cor-m' AND version = 2$$, '{held_mismatch error 8,movement_mismatch error 2}', true),
('movement in metadata', 'cor-m', $$UPDATE pointstore.event_store SET metadata = metadata || '{"movement_id": "cor-2"}' WHERE aggregate_id = 'cor-m' AND version = 2$$, '{movement_mismatch error 2}', true),
('origin in metadata',  'cor-m', $$UPDATE pointstore.event_store SET metadata = metadata || '{"origin": "x"}' WHERE aggregate_id = 'cor-m' AND version = 2$$, '{movement_mismatch error 2}', true),
('type of an end',      'cor-m', $$UPDATE pointstore.event_store SET event_type = 'MovementCancelled' WHERE aggregate_id = 'cor-m' AND version = 5$$, '{link_broken critical 5,movement_mismatch error 4}', true),
-- links: t1 to t2 is a transfer, of a request; u1 to u2 and u3 a split without one; r has a reversal
('cause of a leg',      'cor-t2', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-a' AND version = 1) WHERE aggregate_id = 'cor-t2' AND version = 1$$, '{link_broken critical 1}', true),
('request of a first leg', 'cor-t2', $$UPDATE pointstore.event_store SET request_id = 'cor-other' WHERE aggregate_id = 'cor-t1' AND version = 2$$, '{link_broken critical 1}', true),
('leg of a first leg',  'cor-t2', $$UPDATE pointstore.event_store SET leg = 7 WHERE aggregate_id = 'cor-t1' AND version = 2$$, '{link_broken critical 1}', true),
('leg without a cause', 'cor-u3', $$UPDATE pointstore.event_store SET cause_id = NULL WHERE aggregate_id = 'cor-u3'$$, '{link_broken critical 1}', true),
('leg of a plain event', 'cor-u3', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-u1' AND version = 1) WHERE aggregate_id = 'cor-u3'$$, '{link_broken critical 1}', true),
('leg of another leg',  'cor-u3', $$UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = 'cor-u2' AND version = 1) WHERE aggregate_id = 'cor-u3'$$, '{link_broken critical 1}', true),
('amount of a leg',     'cor-t1', $$UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id = 'cor-t2';
                                    UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'cor-t2'$$, '{transfer_unbalanced critical 2}', true),
('amount of a reversal', 'cor-r', $$UPDATE pointstore.event_store SET amount = amount - 1, balance_after = balance_after - 1 WHERE aggregate_id = 'cor-r' AND version = 2;
                                    UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = 'cor-r'$$, '{link_broken critical 1}', true),
('cause of a reversal', 'cor-r', $$UPDATE pointstore.event_store SET cause_id = NULL WHERE aggregate_id = 'cor-r' AND version = 2$$, '{link_broken critical 2}', true),
('type of a reversal',  'cor-r', $$UPDATE pointstore.event_store SET event_type = 'Taken' WHERE aggregate_id = 'cor-r' AND version = 2;
                                   INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, cause_id, occurred_at, created_at)
                                   SELECT id + 1000000, 'cor-r', 3, 'EventReversed', -10, 0, -10, '{"version": 1}', id, created_at, now() FROM pointstore.event_store WHERE aggregate_id = 'cor-r' AND version = 1;
                                   UPDATE pointstore.balance SET version = 3, balance = -10 WHERE aggregate_id = 'cor-r'$$, '{link_broken critical 1}', false),
-- the store as a whole
('sequence cache',      '', $$ALTER SEQUENCE pointstore.event_store_id_seq CACHE 50$$, '{sequence_settings error NULL}', true),
('sequence increment',  '', $$ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT -1$$, '{sequence_settings error NULL}', true),
('sequence cycle',      '', $$ALTER SEQUENCE pointstore.event_store_id_seq CYCLE$$, '{sequence_settings error NULL}', true),
('event of nobody',     '', $$INSERT INTO pointstore.event_store (id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at) VALUES (-1, 1, 'Earned', 1, 0, 1, '{}', now(), now())$$,
                            '{version_gap critical NULL}', false),
('events of nobody',    '', $$INSERT INTO pointstore.event_store (id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
                              SELECT nextval('pointstore.event_store_id_seq'), v, 'Earned', 1, 0, v, '{}', now(), now() - v * interval '1 day' FROM generate_series(1, 2) v$$,
                            '{version_gap critical NULL}', true),
-- the feed: several blocks
('feed block gone', '', $$DELETE FROM pointstore.feed_block WHERE first_position = (SELECT min(first_position) FROM pointstore.feed_block WHERE first_position > 1)$$,
                            '{feed_mismatch error NULL}', false),
('feed first block gone', '', $$DELETE FROM pointstore.feed_block WHERE first_position = 1$$,
                            '{feed_mismatch error NULL}', false),
('feed first_position', '', $$UPDATE pointstore.feed_block SET first_position = first_position + 1000000 WHERE first_position = (SELECT max(first_position) FROM pointstore.feed_block)$$,
                            '{feed_mismatch error NULL}', false),
('feed last_position', '', $$UPDATE pointstore.feed_block SET last_position = last_position + 1 WHERE first_position = 1$$,
                            '{feed_mismatch error NULL}', false),
('feed last_position null', '', $$UPDATE pointstore.feed_block SET last_position = NULL WHERE first_position = 1$$,
                            '{feed_mismatch error NULL}', false),
('feed ids less', '', $$UPDATE pointstore.feed_block SET ids = ids - int8multirange(int8range(lower(ids), lower(ids) + 1)) WHERE first_position = 1$$,
                            '{feed_mismatch error NULL}', false),
('feed ids twice', '', $$UPDATE pointstore.feed_block SET ids = (SELECT ids FROM pointstore.feed_block WHERE first_position = 1) WHERE first_position > 1$$,
                            '{feed_mismatch error NULL}', false),
('feed ids null', '', $$UPDATE pointstore.feed_block SET ids = NULL WHERE first_position > 1$$,
                            '{feed_mismatch error NULL}', false),
('feed ids endless', '', $$UPDATE pointstore.feed_block SET ids = int8multirange(int8range(NULL, NULL))$$,
                            '{feed_mismatch error NULL}', false),
('feed sealed', '', $$UPDATE pointstore.feed_block SET sealed = false WHERE first_position = 1$$,
                            '{feed_mismatch error NULL}', false),
('feed settled_below', '', $$UPDATE pointstore.feed_block SET settled_below = settled_below + 1000000$$,
                            '{feed_mismatch error NULL}', false),
('feed event gone', '', $$DELETE FROM pointstore.event_store WHERE aggregate_id = 'cor-e1'; DELETE FROM pointstore.balance WHERE aggregate_id = 'cor-e1'; DELETE FROM pointstore.account_proof WHERE aggregate_id = 'cor-e1'$$,
                            '{feed_mismatch error NULL}', false),
('feed event late', '', $$UPDATE pointstore.event_store SET id = (SELECT min(id) + 1 FROM pointstore.event_store WHERE aggregate_id = 'cor-k') WHERE aggregate_id = 'cor-late'$$,
                            '{feed_mismatch error NULL}', false),
('feed order', '', $$UPDATE pointstore.event_store SET id = -id WHERE aggregate_id = 'cor-k'; UPDATE pointstore.event_store e SET id = -o.id FROM pointstore.event_store o WHERE e.aggregate_id = 'cor-k' AND o.aggregate_id = 'cor-k' AND o.version = 231 - e.version$$,
                            '{feed_mismatch error NULL}', false);

-- a coordinator's message about a step on cor-m
CREATE FUNCTION cor_ask(what text, movement integer, amount bigint = NULL, protocol text = 'tcc') RETURNS jsonb LANGUAGE sql AS $$
    SELECT pointstore.participate(jsonb_build_object('version', 1, 'origin', '00000000-0000-4000-8000-00000000c0e0', 'name', 'cor', 'incarnation', 1, 'finished_below', '[1, 1]'::jsonb,
        'messages', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('do', what, 'movement_id', 'cor-' || movement, 'step', 1, 'incarnation', 1, 'number', movement, 'protocol', protocol,
            'aggregate_id', CASE WHEN what = 'try' THEN 'cor-m' END, 'amount', amount, 'event_type', CASE WHEN what = 'try' THEN 'Moved' END)))))
$$;
CREATE FUNCTION cor_make() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('cor-seat', 'seat', NULL);
    INSERT INTO pointstore.account_kind (kind, mode) VALUES ('cor-pure', 'pure');
    PERFORM pointstore.append_event('cor-a', 'Earned', v) FROM generate_series(1, 4) v;
    INSERT INTO pointstore.account_kind (kind, initial_state) VALUES ('cor-flow', 'new');
    INSERT INTO pointstore.transition VALUES ('cor-flow', 'new', 'Began', 'going'), ('cor-flow', 'going', 'Ended', 'gone');
    PERFORM pointstore.append_event(a, 'Began', kind => 'cor-flow') FROM unnest('{cor-w,cor-w2}'::text[]) a;
    PERFORM pointstore.append_event('cor-w', 'Noted');
    PERFORM pointstore.set_kind('cor-w2', 'cor-flow', new_state => 'gone');
    PERFORM pointstore.open_account('cor-w3', 'cor-flow');
    PERFORM pointstore.append_event('cor-p', 'Earned', v, kind => 'cor-pure') FROM generate_series(1, 2) v;
    PERFORM pointstore.open_account('cor-e', 'cor-pure');
    PERFORM pointstore.append_event('cor-s', 'Booked', 3, kind => 'cor-seat');
    PERFORM pointstore.append_event('cor-f', 'Earned', 3);
    PERFORM pointstore.freeze_account('cor-f', 'test');
    PERFORM pointstore.append_event('cor-h', 'Earned', 100);
    PERFORM pointstore.hold('cor-h', 10, 'cor-o', '1 day');
    PERFORM pointstore.hold('cor-h', 10, 'cor-c', '2 days');
    PERFORM pointstore.confirm_hold('cor-c', 4);
    PERFORM pointstore.hold('cor-h', 5, 'cor-x', '3 days');
    PERFORM pointstore.cancel_hold('cor-x');
    PERFORM pointstore.hold('cor-h', 20, 'cor-o2', '4 days');
    PERFORM pointstore.append_event('cor-m', 'Earned', 100);
    PERFORM cor_ask('try', 1, 10), cor_ask('try', 2, -20), cor_ask('try', 3, 30), cor_ask('confirm', 3), cor_ask('try', 4, -40), cor_ask('cancel', 4);
    PERFORM pointstore.append_event('cor-m', 'Noted');
    PERFORM pointstore.open_account('cor-i');
    PERFORM pointstore.append_event('cor-t1', 'Earned', 100);
    PERFORM pointstore.transfer('cor-t1', 'cor-t2', 10, 'cor-transfer');
    PERFORM pointstore.append_event('cor-u1', 'Earned', 100);
    PERFORM pointstore.append_events('[{"aggregate_id": "cor-u1", "event_type": "Split", "amount": -3}, {"aggregate_id": "cor-u2", "event_type": "Split", "amount": 3},
        {"aggregate_id": "cor-u3", "event_type": "Split", "amount": 0}]', balanced => true);
    PERFORM pointstore.append_event('cor-r', 'Earned', 10);
    PERFORM pointstore.reverse_event('cor-r', 1);
    -- what anybody may write: it looks like a reversal of another type, and is none
    PERFORM pointstore.append_event('cor-g', 'Earned', v) FROM unnest(ARRAY[10, 100]) v;
    INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload, cause_id)
        SELECT aggregate_id, t.event_type, t.amount, '{"version": 1}', id FROM pointstore.event_store, (VALUES ('Bonus', 5), ('Spent', -12), ('Spent', -8), ('Spent', -8)) t (event_type, amount)
         WHERE aggregate_id = 'cor-g' AND version = 1;
END$$;
-- events with gaps between their ids, so that there are blocks
CREATE FUNCTION cor_make_feed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pointstore.append_event('cor-e1', 'Earned', 1);
    FOR i IN 1 .. 230 LOOP
        PERFORM nextval('pointstore.event_store_id_seq'), pointstore.append_event('cor-k', 'Earned', 1);
    END LOOP;
END$$;
CREATE FUNCTION cor_unmake() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
    DELETE FROM pointstore.feed_block;
    DELETE FROM pointstore.event_store WHERE aggregate_id LIKE 'cor-%' OR aggregate_id IS NULL;
    DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'cor-%';
    DELETE FROM pointstore.pure_account WHERE aggregate_id LIKE 'cor-%';
    DELETE FROM pointstore.account_proof WHERE aggregate_id LIKE 'cor-%';
    DELETE FROM pointstore.hold WHERE hold_id LIKE 'cor-%';
    DELETE FROM pointstore.participant_step WHERE movement_id LIKE 'cor-%';
    DELETE FROM pointstore.account_kind WHERE kind LIKE 'cor-%';
    DELETE FROM pointstore.transition WHERE kind LIKE 'cor-%';
    DELETE FROM pointstore.account_log WHERE aggregate_id LIKE 'cor-%';
    DELETE FROM pointstore.finding WHERE aggregate_id LIKE 'cor-%' OR aggregate_id = '';
    ALTER SEQUENCE pointstore.event_store_id_seq CACHE 1 INCREMENT 1 NO CYCLE;
END$$;
CREATE FUNCTION cor_corrupt(statement text) RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
    EXECUTE statement;
END$$;
-- what is open about these accounts, and what each by itself says
CREATE FUNCTION cor_found(asked text) RETURNS text[] LANGUAGE sql AS $$
    SELECT coalesce(array_agg(concat_ws(' ', CASE WHEN aggregate_id <> asked THEN aggregate_id END, code, severity, coalesce(version::text, 'NULL')) ORDER BY aggregate_id, code COLLATE "C"), '{}')
      FROM pointstore.finding WHERE resolved_at IS NULL AND (aggregate_id LIKE 'cor-%' OR aggregate_id = '')
$$;
CREATE FUNCTION cor_said(asked text) RETURNS text[] LANGUAGE sql AS $$
    SELECT coalesce(array_agg(concat_ws(' ', CASE WHEN a.id <> asked THEN a.id END, r.code, r.severity, coalesce(r.version::text, 'NULL')) ORDER BY a.id, r.code COLLATE "C"), '{}')
      FROM (SELECT DISTINCT aggregate_id FROM pointstore.event_store WHERE aggregate_id LIKE 'cor-%'
             UNION SELECT aggregate_id FROM pointstore.balance WHERE aggregate_id LIKE 'cor-%'
             UNION SELECT aggregate_id FROM pointstore.pure_account WHERE aggregate_id LIKE 'cor-%') a(id), pointstore.reconcile_account(a.id) r
$$;
CREATE TABLE cor_result (way text, scope text, healthy text[], found text[], said text[]);

-- the columns and keys that keep some of these away
CREATE TEMP TABLE cor_column AS
SELECT attrelid::regclass::text AS tab, attname FROM pg_attribute
 WHERE attrelid = ANY ('{pointstore.balance,pointstore.event_store,pointstore.hold,pointstore.participant_step,pointstore.feed_block}'::regclass[]) AND attnum > 0 AND attnotnull AND NOT attisdropped
   AND NOT (attrelid = 'pointstore.hold'::regclass AND attname IN ('hold_id', 'aggregate_id')) AND attname NOT IN ('first_position', 'origin', 'movement_id', 'step');
CREATE TEMP TABLE cor_key AS
SELECT conrelid::regclass::text AS tab, conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint
 WHERE conrelid = ANY ('{pointstore.balance,pointstore.event_store,pointstore.pure_account}'::regclass[]) AND contype IN ('p', 'u');
CREATE PROCEDURE cor_guard(guarded boolean) LANGUAGE plpgsql AS $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT * FROM cor_key LOOP
        EXECUTE format(CASE WHEN guarded THEN 'ALTER TABLE %s ADD CONSTRAINT %I %s' ELSE 'ALTER TABLE %s DROP CONSTRAINT %I' END, k.tab, k.conname, k.definition);
    END LOOP;
    FOR k IN SELECT * FROM cor_column LOOP
        EXECUTE format(CASE WHEN guarded THEN 'ALTER TABLE %s ALTER %I SET NOT NULL' ELSE 'ALTER TABLE %s ALTER %I DROP NOT NULL' END, k.tab, k.attname);
    END LOOP;
END$$;
-- what a way needs; then the way itself. In between the feed is sequenced, which is a statement of its own
CREATE PROCEDURE cor_begin(way text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cor_make();
    COMMIT;
    IF way ~ '^feed' THEN
        PERFORM cor_make_feed();
    END IF;
END$$;
CREATE PROCEDURE cor_go(way text, scope text) LANGUAGE plpgsql AS $$
DECLARE
    w cor_way;
    unguarded boolean;
    healthy text[];
    run bigint;
BEGIN
    SELECT * INTO w FROM cor_way c WHERE c.way = cor_go.way;
    unguarded := w.corrupt ~ 'NULL|INSERT INTO pointstore.(balance|pure_account|event_store)|request_id';
    IF way ~ '^feed' THEN
        -- it comes after all that is given
        PERFORM pointstore.append_event('cor-late', 'Earned', 1);
        COMMIT;
    END IF;
    IF scope <> 'incremental' THEN
        CALL pointstore.reconcile('incremental', run);
    END IF;
    healthy := cor_found('');
    IF unguarded THEN
        CALL cor_guard(false);
    END IF;
    PERFORM cor_corrupt(w.corrupt);
    IF scope = 'sliced' THEN
        UPDATE pg_class SET reltuples = 7000 WHERE oid = 'pointstore.event_store'::regclass;
    END IF;
    COMMIT;
    CALL pointstore.reconcile(CASE scope WHEN 'sliced' THEN 'full' ELSE scope END, run);
    INSERT INTO cor_result VALUES (way, scope, healthy, cor_found(w.account), CASE WHEN w.account <> '' THEN cor_said(w.account) END);
    PERFORM cor_unmake();
    IF unguarded THEN
        CALL cor_guard(true);
    END IF;
END$$;
-- the statements of a scope, for \gexec
CREATE FUNCTION cor_all(scope text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT s.statement FROM cor_way w, LATERAL (VALUES
        (1, format('CALL cor_begin(%L)', way)),
        (2, CASE WHEN way ~ '^feed' THEN 'SELECT FROM pointstore.sequence_feed() head WHERE head < 230' END),
        (3, CASE WHEN way ~ 'at once' THEN 'BEGIN' END), (4, CASE WHEN way ~ 'at once' THEN 'SELECT FROM cor_ask(''try'', 5, 5, ''2pc'')' END), (5, CASE WHEN way ~ 'at once' THEN 'COMMIT' END),
        (6, format('CALL cor_go(%L, %L)', way, scope))) s(step, statement)
     WHERE scope <> 'incremental' OR incremental ORDER BY way COLLATE "C", step
$$;
UPDATE pointstore.participant_origin SET role = NULL;
SELECT cor_make();
SELECT cor_make_feed();
SELECT pointstore.sequence_feed() > 230 AS sequenced;
SELECT count(*) > 2 AS blocks FROM pointstore.feed_block;
CALL pointstore.reconcile('full') \gset
SELECT cor_found(''), cor_said('');
-- a finding of the feed is seen by full runs alone, and closed by them
SELECT cor_corrupt($$UPDATE pointstore.feed_block SET last_position = last_position + 1 WHERE first_position = 1$$);
CALL pointstore.reconcile() \gset
SELECT cor_found('');
CALL pointstore.reconcile('full') \gset
CALL pointstore.reconcile() \gset
SELECT aggregate_id, code, severity, expected, found, version, detail, action FROM pointstore.finding WHERE resolved_at IS NULL;
SELECT pointstore.acknowledge(id, 'test') FROM pointstore.finding WHERE code = 'feed_mismatch' AND resolved_at IS NULL;
CALL pointstore.reconcile('full') \gset
SELECT cor_found(''), status FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1;
SELECT cor_corrupt($$UPDATE pointstore.feed_block SET sealed = NOT sealed$$);
CALL pointstore.reconcile('full') \gset
SELECT cor_found('');
SELECT cor_corrupt($$UPDATE pointstore.feed_block SET sealed = NOT sealed; UPDATE pointstore.feed_block SET last_position = last_position - 1 WHERE first_position = 1$$);
CALL pointstore.reconcile('full') \gset
SELECT cor_found(''), status FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1;
SELECT action, resolved_by = 'reconcile' AS by_itself FROM pointstore.finding WHERE code = 'feed_mismatch' ORDER BY id;
SELECT cor_unmake();
\t
\a
\set ECHO none
SELECT cor_all('full') \gexec
SET pointstore.reconcile_max_transaction = 1;
SELECT cor_all('sliced') \gexec
RESET pointstore.reconcile_max_transaction;
\set ECHO all
\t
\a
SELECT slices > 3 AND slices = slices_done AS in_slices FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1;
\t
\a
\set ECHO none
SELECT cor_all('incremental') \gexec
\set ECHO all
\t
\a
SELECT scope, count(*), count(DISTINCT way) FROM cor_result GROUP BY scope ORDER BY scope;
SELECT r.way, r.scope, r.healthy, w.findings AS wanted, r.found, r.said FROM cor_result r JOIN cor_way w USING (way)
 WHERE r.healthy <> '{}' OR r.found <> w.findings OR r.said <> w.findings ORDER BY r.scope, r.way COLLATE "C";
SELECT code, count(*) FROM cor_way, unnest(findings) f, split_part(f, ' ', 1) code GROUP BY code ORDER BY code COLLATE "C";
-- findings without an account or a code: whatever is done about them, nothing crashes
ALTER TABLE pointstore.finding ALTER aggregate_id DROP NOT NULL, ALTER code DROP NOT NULL;
SELECT cor_make();
SELECT cor_corrupt($$UPDATE pointstore.balance SET balance = 1000 WHERE aggregate_id = 'cor-a'$$);
INSERT INTO pointstore.finding (id, aggregate_id, code, severity, detail) OVERRIDING SYSTEM VALUE
VALUES (-1, NULL, 'balance_mismatch', 'error', '{}'), (-2, 'cor-a', NULL, 'error', '{}');
CALL pointstore.reconcile() \gset
CALL pointstore.reconcile('full') \gset
SELECT pointstore.acknowledge(-1, 'test');
SELECT pointstore.acknowledge(-2, 'test');
SELECT pointstore.repair(-1);
SELECT cor_unmake();
DELETE FROM pointstore.finding WHERE id < 0;
ALTER TABLE pointstore.finding ALTER aggregate_id SET NOT NULL, ALTER code SET NOT NULL;
DROP PROCEDURE cor_begin(text), cor_go(text, text), cor_guard(boolean);
DROP FUNCTION cor_all(text), cor_ask(text, integer, bigint, text), cor_make(), cor_make_feed(), cor_unmake(), cor_corrupt(text), cor_found(text), cor_said(text);
DROP TABLE cor_way, cor_result;
DELETE FROM pointstore.participant_origin WHERE name = 'cor';
