-- The feed: positions, what reads them, what proves them. In a database of its own, so that ids and positions are known.
\set VERBOSITY sqlstate
\set home :DBNAME
\set anew 'DROP EXTENSION pointstore CASCADE; DROP SCHEMA pointstore CASCADE; CREATE EXTENSION pointstore; SELECT pointstore.create_store();'
CREATE DATABASE regress_pointstore_feed TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_pointstore_feed
CREATE EXTENSION pointstore;
SELECT pointstore.create_store();
CREATE VIEW status AS SELECT head, unsequenced, oldest_unsequenced IS NULL AS no_oldest, gaps, gaps_open_pid, gaps_open_gid, sequencer_alive FROM pointstore.feed_status;

-- nothing yet
SELECT pointstore.feed_head(), pointstore.position_of(1), pointstore.sequence_feed();
SELECT count(*) FROM pointstore.read_feed();
SELECT * FROM status;
SELECT sequenced_at, gaps_open_since FROM pointstore.feed_status;
SELECT * FROM pointstore.feed_check();
CALL pointstore.wait_for_feed(0, '0');

-- events have no position until they are given one, and then it is theirs
SELECT outcome, id FROM pointstore.append_event('f-1', 'Earned', 10, '{"n": 1}', request_id => 'feed-1', metadata => '{"by": "me"}');
SELECT outcome, id FROM pointstore.append_event('f-2', 'Earned', 20);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "f-1", "event_type": "Moved", "amount": -3}, {"aggregate_id": "f-3", "event_type": "Moved", "amount": 3}]', 'feed-2');
SELECT pointstore.feed_head(), pointstore.position_of(1);
SELECT * FROM status;
SELECT pointstore.sequence_feed();
SELECT pointstore.sequence_feed(), pointstore.feed_head();
SELECT "position", id, aggregate_id, version, event_type, amount, held, balance_after, payload, metadata, request_id, leg, cause_id,
       occurred_at = created_at AS at_once, read_feed_to FROM pointstore.read_feed();
SELECT first_position, last_position, ids, sealed, settled_below FROM pointstore.feed_block;
SELECT * FROM status;
SELECT sequenced_at <= clock_timestamp() AS sequenced_at FROM pointstore.feed_status;
CALL pointstore.wait_for_feed(3, '1 min');
CALL pointstore.wait_for_feed(4, '10 ms');
SELECT pointstore.feed_incarnation() ~ '^\d+/\d+$' AS incarnation;

-- a page: after, max_events, filters, and where it ended
SELECT array_agg("position" ORDER BY n), min(read_feed_to) FROM pointstore.read_feed(1) WITH ORDINALITY r("position", id, aggregate_id, version, event_type, amount, held, balance_after, payload,
    metadata, request_id, leg, cause_id, occurred_at, created_at, payload_version, state_after, read_feed_to, n);
CREATE FUNCTION page(after bigint = 0, max_events integer = 1000, event_types text[] = NULL, prefix text = NULL, OUT positions bigint[], OUT read_to bigint, OUT in_order boolean)
LANGUAGE sql AS $$
    SELECT array_agg(r."position"), max(r.read_feed_to), coalesce(array_agg(r."position") = array_agg(r."position" ORDER BY r."position"), true)
      FROM pointstore.read_feed(after, max_events, event_types, prefix) r
$$;
SELECT * FROM page(1);
SELECT * FROM page(0, 2);
SELECT * FROM page(2, 2);
SELECT * FROM page(3, 2);
SELECT * FROM page(4);
SELECT * FROM page(1000000);
SELECT * FROM page(9223372036854775807, 2147483647);
SELECT * FROM page(0, 0);
SELECT * FROM page(0, 1000, '{Moved}');
SELECT * FROM page(0, 1000, '{Moved,Earned,Nothing,NULL}');
SELECT * FROM page(0, 1000, '{}');
SELECT * FROM page(0, 1000, '{NULL}');
SELECT * FROM page(0, 1, '{Moved}');
SELECT * FROM page(0, 1000, NULL, 'f-1');
SELECT * FROM page(0, 1000, NULL, '');
SELECT * FROM page(0, 1000, NULL, 'f_');
SELECT * FROM page(0, 1000, NULL, '%');
SELECT * FROM page(0, 1000, '{Moved}', 'f-1');
SELECT pointstore.read_feed(NULL);
SELECT pointstore.read_feed(0, NULL);
SELECT pointstore.read_feed(-1);
SELECT pointstore.read_feed(0, -1);
SELECT count(*) FROM pointstore.read_feed(after => 1, aggregate_prefix => 'f-', event_types => '{Moved}', max_events => 5);
SELECT i, pointstore.position_of(i) FROM unnest('{0,1,4,5,-1,9223372036854775807,-9223372036854775808}'::bigint[]) i;
SELECT pointstore.position_of(NULL);

-- waiting holds no snapshot, so it is not for a block
BEGIN;
CALL pointstore.wait_for_feed(0);
ROLLBACK;
CALL pointstore.wait_for_feed(NULL);
CALL pointstore.wait_for_feed(0, NULL);
CALL pointstore.wait_for_feed(4, '-1 s');
CALL pointstore.wait_for_feed(-1);
DO $$DECLARE head bigint; BEGIN CALL pointstore.wait_for_feed(0, '1 min', head); RAISE NOTICE '%', head; END$$;

-- positions are given in a transaction of their own
BEGIN;
SELECT pointstore.sequence_feed();
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT pointstore.sequence_feed();
ROLLBACK;
CREATE FUNCTION written() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN PERFORM pointstore.append_event('f-1', 'Earned', 1); RETURN pointstore.sequence_feed(); END$$;
SELECT written();
CREATE FUNCTION caught() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN pointstore.sequence_feed(); EXCEPTION WHEN division_by_zero THEN RETURN 0; END$$;
SELECT caught();
CREATE FUNCTION plain() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN pointstore.sequence_feed(); END$$;
SELECT plain();
-- nor where something may go on after it, and would keep all others from giving positions
DO $$BEGIN PERFORM pointstore.sequence_feed(); END$$;
DO $$BEGIN PERFORM plain(); END$$;
DO $$DECLARE r record; BEGIN FOR r IN SELECT pointstore.sequence_feed() LOOP NULL; END LOOP; END$$;
CREATE PROCEDURE goes_on(INOUT head bigint) LANGUAGE plpgsql AS $$BEGIN head := pointstore.sequence_feed(); COMMIT; END$$;
CALL goes_on(NULL);
SELECT pointstore.append_event('f-1', 'Earned', 1) IS NOT NULL AND pointstore.sequence_feed() > 0;
CREATE TABLE noted (head bigint);
INSERT INTO noted SELECT pointstore.sequence_feed();
DROP TABLE noted;
SET default_transaction_read_only = on;
SELECT pointstore.sequence_feed();
RESET default_transaction_read_only;
SELECT outcome, id FROM pointstore.append_event('f-4', 'Earned', 1);
SET default_transaction_isolation = 'repeatable read';
SELECT pointstore.sequence_feed();
SELECT outcome, id FROM pointstore.append_event('f-4', 'Earned', 1);
SET default_transaction_isolation = 'serializable';
SELECT pointstore.sequence_feed();
RESET default_transaction_isolation;
SELECT pointstore.feed_head(), last_value FROM pointstore.event_store_id_seq;
SELECT * FROM pointstore.feed_check();

-- what has not been committed holds up nobody; when it comes, in a later block
BEGIN;
SELECT outcome, id FROM pointstore.append_event('f-5', 'Earned', 1);
PREPARE TRANSACTION 'feed-late';
SELECT outcome, id FROM pointstore.append_event('f-6', 'Earned', 1);
SELECT pointstore.sequence_feed();
SELECT * FROM status;
SELECT gaps_open_since <= clock_timestamp() AS since FROM pointstore.feed_status;
SELECT * FROM pointstore.feed_check();
COMMIT PREPARED 'feed-late';
SELECT * FROM status;
SELECT pointstore.sequence_feed();
SELECT "position", id, aggregate_id FROM pointstore.read_feed(6);
SELECT first_position, last_position, sealed FROM pointstore.feed_block ORDER BY 1;
-- a lower id begins another block, also when nobody knows of its gap any more
BEGIN;
SELECT outcome FROM pointstore.append_event('f-5', 'Earned', 1);
PREPARE TRANSACTION 'feed-late';
SELECT outcome FROM pointstore.append_event('f-6', 'Earned', 1);
SELECT pointstore.sequence_feed();
\c -
SELECT pointstore.sequence_feed();
COMMIT PREPARED 'feed-late';
SELECT outcome FROM pointstore.append_event('f-7', 'Earned', 1);
SELECT pointstore.sequence_feed();
SELECT "position", id - lag(id) OVER (ORDER BY "position") > 0 AS rises, aggregate_id FROM pointstore.read_feed(8);
-- what was rolled back never comes
BEGIN;
SELECT outcome FROM pointstore.append_event('f-5', 'Earned', 1);
ROLLBACK;
SELECT outcome FROM pointstore.append_event('f-6', 'Earned', 1);
SELECT pointstore.sequence_feed();
SELECT * FROM status;
SELECT * FROM pointstore.feed_check();

-- what is done to the blocks behind their back is told, with its position
SELECT first_position, last_position, ids, sealed, settled_below FROM pointstore.feed_block ORDER BY 1;
CREATE FUNCTION corrupt(statements text) RETURNS TABLE (code text, "position" bigint, event_id bigint) LANGUAGE plpgsql AS $$
DECLARE found jsonb;
BEGIN
    BEGIN
        ALTER TABLE pointstore.feed_block DISABLE TRIGGER USER;
        ALTER TABLE pointstore.feed_block DROP CONSTRAINT feed_block_pkey;
        ALTER TABLE pointstore.feed_block ALTER first_position DROP NOT NULL, ALTER last_position DROP NOT NULL, ALTER ids DROP NOT NULL, ALTER sealed DROP NOT NULL, ALTER settled_below DROP NOT NULL;
        EXECUTE statements;
        SELECT jsonb_agg(f) INTO found FROM pointstore.feed_check() f;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN QUERY SELECT * FROM jsonb_to_recordset(coalesce(found, '[]')) AS r(code text, "position" bigint, event_id bigint) ORDER BY 1, 2, 3;
END$$;
SELECT * FROM corrupt('');
CREATE FUNCTION corrupt_blocks(change text, which text) RETURNS TABLE (code text, "position" bigint, event_id bigint) LANGUAGE sql AS $$
    SELECT * FROM corrupt(format('UPDATE pointstore.feed_block SET %s WHERE %s', change, which))
$$;
-- the first block; of its first and its last event
SELECT c.change, f.* FROM (VALUES
    ($$first_position = 2$$),
    ($$first_position = 0$$),
    ($$first_position = NULL$$),
    ($$last_position = last_position + 1$$),
    ($$last_position = NULL$$),
    ($$ids = ids - '{[1,2)}'$$),
    ($$ids = ids - '{[2,3)}', last_position = last_position - 1$$),
    ($$ids = '{}'$$),
    ($$ids = NULL$$),
    ($$sealed = false$$),
    ($$sealed = NULL$$),
    ($$settled_below = NULL$$)) c(change) LEFT JOIN LATERAL corrupt_blocks(change, 'first_position = 1') f ON true;
-- the last
SELECT c.change, f.* FROM (VALUES
    ($$ids = ids + '{[1000,1001)}', last_position = last_position + 1$$),
    ($$ids = ids + '{[1,2)}', last_position = last_position + 1$$),
    ($$settled_below = settled_below + 1000$$)) c(change) LEFT JOIN LATERAL corrupt_blocks(change, 'last_position = (SELECT max(last_position) FROM pointstore.feed_block)') f ON true;
-- all
SELECT * FROM corrupt_blocks('settled_below = NULL', 'true');
SELECT * FROM corrupt('DELETE FROM pointstore.feed_block WHERE first_position = 1');
SELECT * FROM corrupt('DELETE FROM pointstore.feed_block WHERE last_position = (SELECT max(last_position) FROM pointstore.feed_block)');
SELECT * FROM corrupt('INSERT INTO pointstore.feed_block SELECT * FROM pointstore.feed_block WHERE first_position = 1');
-- two blocks whose ids are exchanged
SELECT * FROM corrupt('UPDATE pointstore.feed_block b SET ids = o.ids, last_position = b.first_position + o.last_position - o.first_position FROM pointstore.feed_block o, (SELECT min(first_position) FILTER (WHERE first_position > 1) AS second FROM pointstore.feed_block) s
    WHERE (b.first_position, o.first_position) IN ((1, second), (second, 1))');
-- an event is gone, or has another id
SELECT * FROM corrupt('ALTER TABLE pointstore.event_store DISABLE TRIGGER USER; DELETE FROM pointstore.event_store WHERE id = 1');
SELECT * FROM corrupt('ALTER TABLE pointstore.event_store DISABLE TRIGGER USER; UPDATE pointstore.event_store SET id = 1000 WHERE id = 1');

-- blocks: 100 ranges, or 4,096 events
SELECT pointstore.feed_head() AS head \gset
DO $$BEGIN FOR i IN 1 .. 250 LOOP PERFORM nextval('pointstore.event_store_id_seq'), pointstore.append_event('f-gaps', 'Earned', 1); END LOOP; END$$;
SELECT pointstore.sequence_feed() - :head AS given;
SELECT count(*), max(ranges), min(ranges) FILTER (WHERE sealed AND NOT first) AS least, sum(ranges) FROM (
    SELECT (SELECT count(*) FROM unnest(ids)) AS ranges, sealed, first_position <= :head AS first FROM pointstore.feed_block WHERE last_position > :head) b;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'f-many-' || i % 10, CASE i WHEN 1 THEN 'First' WHEN 110000 THEN 'Last' ELSE 'Earned' END, 1 FROM generate_series(1, 110000) i;
SELECT pointstore.feed_head() AS head \gset
SELECT pointstore.sequence_feed() - :head AS given;
SELECT pointstore.sequence_feed() - :head AS given;
SELECT max(last_position - first_position + 1), count(*) FILTER (WHERE last_position - first_position + 1 = 4096) AS full, bool_and(sealed = (first_position < (SELECT max(first_position) FROM pointstore.feed_block))) AS sealed
  FROM pointstore.feed_block WHERE last_position > :head + 100;
SELECT * FROM pointstore.feed_check();
-- every page is the same as the whole
SELECT count(*), bool_and(p.positions[1] = p.after + 1 AND p.positions[array_upper(p.positions, 1)] = p.read_to AND p.in_order) FROM (
    SELECT a AS after, r.* FROM generate_series(0, 110000, 3331) a, page(a, 777) r) p;
WITH RECURSIVE p AS (SELECT r.* FROM page(0, 1000000) r UNION ALL SELECT r.* FROM p, page(p.read_to, 1000000) r WHERE r.positions IS NOT NULL)
SELECT count(*) > 2 AS of_4_mb, sum(cardinality(positions)) = pointstore.feed_head() AS whole, max(read_to) = pointstore.feed_head() AS to_the_end FROM p;
SELECT bool_and(pointstore.position_of(id) = "position") FROM pointstore.read_feed(300, 500);
-- 100,000 positions are looked at for nothing, then for something
SELECT positions[1] = :head + 110000, read_to = :head + 110000 FROM page(:head, 10, '{Last}');
SELECT positions[1] = :head + 1, read_to - :head FROM page(:head, 10, '{First,Last}');
SELECT * FROM page(:head, 10, '{None}');
SELECT positions[1] - :head AS found, read_to - :head AS read_to FROM page(:head, 1, '{Earned}', 'f-many-7');

-- 4 MB and one event more, however it is stored
INSERT INTO pointstore.event_store (aggregate_id, event_type, payload)
SELECT 'f-large', 'Noted', jsonb_build_object('text', (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 40000) j)) FROM generate_series(1, 8) i;
SELECT pointstore.feed_head() AS head \gset
SELECT pointstore.sequence_feed() - :head AS given;
SELECT array_length(positions, 1), read_to - :head AS read_to FROM page(:head);
SELECT array_length(positions, 1), read_to - :head AS read_to FROM page(:head, 2);

-- ids as they come: not ASCII, as long as they may be, and numbers at the end
SELECT outcome FROM pointstore.append_event(repeat('가', 170) || 'xy', '적립', 1, '{"메모": "안녕"}');
SELECT outcome FROM pointstore.append_event('가-' || chr(128512), '적립', 1);
SELECT pointstore.sequence_feed() - :head AS given;
SELECT "position" - :head AS place, length(aggregate_id), octet_length(aggregate_id), payload ->> '메모' AS note FROM pointstore.read_feed(:head, 10, '{적립}', '가');
SELECT "position" - :head AS place, aggregate_id FROM pointstore.read_feed(:head, 10, NULL, '가-');
SELECT setval('pointstore.event_store_id_seq', 9223372036854775000);
SELECT id FROM pointstore.append_event('f-1', 'Earned', 1);
SELECT pointstore.sequence_feed() - :head AS given;
SELECT pointstore.position_of(9223372036854775001) - :head AS place;
SELECT id FROM pointstore.append_event('f-1', 'Earned', 1);
SELECT pointstore.sequence_feed() - :head AS given;
SELECT pointstore.position_of(9223372036854775002) - :head AS place;
SELECT id, "position" - :head AS place FROM pointstore.read_feed(:head + 10);
SELECT * FROM status;
SELECT * FROM pointstore.feed_check();

-- given positions are nobody's to take away
DELETE FROM pointstore.feed_block;
TRUNCATE pointstore.feed_block;

-- who may
CREATE ROLE regress_pointstore_feed_reader;
CREATE ROLE regress_pointstore_feed_nobody;
GRANT USAGE ON SCHEMA pointstore TO regress_pointstore_feed_nobody;
SELECT pointstore.grant_access('regress_pointstore_feed_reader', 'reader');
SET ROLE regress_pointstore_feed_reader;
SELECT count(*) FROM pointstore.read_feed(0, 3);
SELECT pointstore.feed_head() > 0, pointstore.position_of(1), pointstore.sequence_feed() = pointstore.feed_head(), pointstore.feed_incarnation() IS NOT NULL;
CALL pointstore.wait_for_feed(0) \gset
SELECT count(*) FROM pointstore.feed_check();
SELECT count(*) FROM pointstore.feed_status;
SELECT count(*) > 0 FROM pointstore.feed_block;
UPDATE pointstore.feed_block SET sealed = sealed;
DELETE FROM pointstore.feed_block;
INSERT INTO pointstore.feed_block (first_position) VALUES (0);
SET ROLE regress_pointstore_feed_nobody;
SELECT pointstore.read_feed();
SELECT pointstore.feed_head();
SELECT pointstore.position_of(1);
SELECT pointstore.feed_incarnation();
SELECT pointstore.sequence_feed();
SELECT pointstore.sequencer_alive();
SELECT pointstore.feed_check();
SELECT pointstore.feed_state();
SELECT * FROM pointstore.feed_status;
SELECT * FROM pointstore.feed_block;
CALL pointstore.wait_for_feed(0);
RESET ROLE;

-- names and operators of others lead none of it astray
CREATE SCHEMA astray;
CREATE FUNCTION astray.trap(a bigint, b bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION astray.trap(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION astray.trap(a numeric, b numeric) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION astray.sum(a bigint, b bigint) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION astray.unnest(a int8multirange) RETURNS SETOF int8range LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE FUNCTION astray.count(a bigint) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
DO $$
DECLARE o text; t text;
BEGIN
    FOREACH o IN ARRAY ARRAY['=', '<>', '<', '<=', '>', '>='] LOOP
        FOREACH t IN ARRAY ARRAY['bigint', 'text', 'numeric'] LOOP
            EXECUTE format('CREATE OPERATOR astray.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = astray.trap)', o, t);
        END LOOP;
    END LOOP;
    CREATE OPERATOR astray.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = astray.sum);
    CREATE OPERATOR astray.- (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = astray.sum);
    CREATE OPERATOR astray.% (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = astray.sum);
END$$;
\c -
CREATE TEMP TABLE feed_block (first_position text, last_position text, ids text, sealed text, settled_below text, at text);
SET search_path = pg_temp, astray, pg_catalog, pointstore;
SELECT 1::bigint = 1::bigint;
SELECT feed_head() IS NULL, position_of(1), sequence_feed() IS NULL, feed_incarnation() IS NULL;
SELECT pg_catalog.count(*) FROM read_feed(0, 4, '{Earned,Moved}', 'f-');
SELECT pg_catalog.count(*) FROM feed_check();
SELECT unsequenced, gaps FROM feed_status;
CALL wait_for_feed(0) \gset
RESET search_path;
DROP TABLE pg_temp.feed_block;
DROP SCHEMA astray CASCADE;

-- events of other stores, whose ids are not of the sequence's class, are not this one's to place
:anew
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT 2 RESTART 1;
SELECT array_agg((pointstore.append_event('o-1', 'Earned', 1)).id) FROM generate_series(1, 3);
CREATE FUNCTION foreign_event(id bigint) RETURNS void LANGUAGE sql SET session_replication_role = replica AS $$
    INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
    VALUES (id, 'o-' || id, 1, 'Earned', 1, 0, 1, '{}', now(), now())
$$;
SELECT foreign_event(id) FROM unnest('{2,4,-1,0,7}'::bigint[]) id;
SELECT unsequenced, gaps FROM pointstore.feed_status;
SELECT pointstore.sequence_feed();
SELECT pointstore.position_of(2), pointstore.position_of(-1), pointstore.position_of(7), pointstore.position_of(5);
SELECT first_position, last_position, ids, settled_below FROM pointstore.feed_block;
SELECT id FROM pointstore.read_feed();
SELECT head, unsequenced, gaps FROM pointstore.feed_status;
-- 7 is of its class, and beyond what it has drawn
SELECT * FROM pointstore.feed_check();
-- the first id of all is waited for as any other
:anew
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT 1024 RESTART 5;
BEGIN;
SELECT id FROM pointstore.append_event('n-1', 'Earned', 1);
PREPARE TRANSACTION 'feed-first';
SELECT pointstore.sequence_feed();
SELECT id FROM pointstore.append_event('n-2', 'Earned', 1);
SELECT pointstore.sequence_feed();
COMMIT PREPARED 'feed-first';
SELECT pointstore.sequence_feed();
SELECT id FROM pointstore.read_feed();
SELECT head, unsequenced, gaps FROM pointstore.feed_status;
SELECT * FROM pointstore.feed_check();
-- INCREMENT changed while events wait, twice: whoever goes on knows what was drawn before, in this session or another. It
-- waits for those who have drawn
SELECT array_agg((pointstore.append_event('n-4', 'Earned', 1)).id) FROM generate_series(1, 3);
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT 3000;
SELECT id FROM pointstore.append_event('n-2', 'Earned', 1);
SELECT unsequenced FROM pointstore.feed_status;
\c -
SELECT pointstore.sequence_feed();
SELECT step FROM pointstore.feed_start;
SELECT array_agg((pointstore.append_event('n-4', 'Earned', 1)).id) FROM generate_series(1, 2);
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT 5000;
SELECT id FROM pointstore.append_event('n-2', 'Earned', 1);
SELECT pointstore.sequence_feed();
SELECT position, id FROM pointstore.read_feed(2);
SELECT head, unsequenced, gaps FROM pointstore.feed_status;
SELECT step FROM pointstore.feed_start;
-- now there are others beside it
SELECT foreign_event(id) FROM unnest('{3,7174}'::bigint[]) id;
SELECT pointstore.sequence_feed();
SELECT * FROM pointstore.feed_check();
ALTER SEQUENCE pointstore.event_store_id_seq INCREMENT 1024;
-- more than one run gives come into a gap
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'n-3', 'Earned', 1 FROM generate_series(1, 100005);
PREPARE TRANSACTION 'feed-many';
SELECT version FROM pointstore.append_event('n-2', 'Earned', 1);
SELECT pointstore.sequence_feed();
COMMIT PREPARED 'feed-many';
SELECT pointstore.sequence_feed();
SELECT pointstore.sequence_feed();
SELECT head, unsequenced, gaps FROM pointstore.feed_status;

-- events of before there was a feed, whose ids fall within an account: in order all the same
:anew
SET session_replication_role = replica;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT i, 'b-' || i % 3, 10 - i / 3, 'Earned', 1, 0, 10 - i / 3, '{}', now(), now() FROM generate_series(3, 29) i;
INSERT INTO pointstore.balance (aggregate_id, version, balance) SELECT 'b-' || i, 9, 9 FROM generate_series(0, 2) i;
RESET session_replication_role;
SELECT setval('pointstore.event_store_id_seq', 29);
INSERT INTO pointstore.feed_start (unordered_below) VALUES (30);
DO $$BEGIN FOR i IN 1 .. 20 LOOP PERFORM pointstore.append_event('b-0', 'Earned', 1); END LOOP; END$$;
SELECT pointstore.sequence_feed();
\t
\a
\set ECHO none
SELECT 'SELECT FROM pointstore.sequence_feed() head WHERE head < 0' FROM generate_series(1, 20) \gexec
\set ECHO all
\t
\a
SELECT pointstore.feed_head();
SELECT aggregate_id, array_agg(version ORDER BY "position") = array_agg(version ORDER BY version) AS in_order FROM pointstore.read_feed() GROUP BY aggregate_id ORDER BY 1;
SELECT * FROM pointstore.feed_check();
SELECT head, unsequenced, gaps FROM pointstore.feed_status;

\c :home
DROP DATABASE regress_pointstore_feed;
DROP ROLE regress_pointstore_feed_reader, regress_pointstore_feed_nobody;
