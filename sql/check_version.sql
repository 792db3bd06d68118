-- check_version on tables of the user's: a shopping cart and an order's status.
\set VERBOSITY sqlstate
CREATE SCHEMA check_version;
SET search_path = check_version;

-- a shopping cart: integer
CREATE TABLE cart (cart_id int PRIMARY KEY, items jsonb NOT NULL DEFAULT '[]', version integer NOT NULL DEFAULT 1);
CREATE TRIGGER check_version BEFORE UPDATE ON cart FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
INSERT INTO cart (cart_id) VALUES (1), (2);
UPDATE cart SET items = '["tea"]', version = version + 1 WHERE cart_id = 1 AND version = 1;
\echo rows :ROW_COUNT
-- stale: no row
UPDATE cart SET items = '["cup"]', version = version + 1 WHERE cart_id = 1 AND version = 1;
\echo rows :ROW_COUNT
-- the forgotten WHERE version = ?
UPDATE cart SET items = '["cup"]', version = 2 WHERE cart_id = 1;
UPDATE cart SET items = '["cup"]' WHERE cart_id = 1;
UPDATE cart SET version = version + 2 WHERE cart_id = 1;
UPDATE cart SET version = version - 1 WHERE cart_id = 1;
UPDATE cart SET version = NULL WHERE cart_id = 1;
-- an UPDATE is an UPDATE, whatever it changes and by whatever statement
UPDATE cart SET items = items WHERE cart_id = 1;
INSERT INTO cart (cart_id) VALUES (1) ON CONFLICT (cart_id) DO UPDATE SET items = '[]';
INSERT INTO cart (cart_id) VALUES (1) ON CONFLICT (cart_id) DO UPDATE SET items = '["jar"]', version = cart.version + 1;
-- one row of several
UPDATE cart SET version = 2;
SELECT * FROM cart ORDER BY cart_id;
DELETE FROM cart WHERE cart_id = 2;

-- an order's status: bigint, kept up by the trigger
CREATE TABLE orders (order_id int PRIMARY KEY, status text NOT NULL, version bigint NOT NULL DEFAULT 1);
CREATE TRIGGER check_version BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version', 'auto');
INSERT INTO orders VALUES (1, 'new', 9000000000);
UPDATE orders SET status = 'paid' WHERE order_id = 1;
UPDATE orders SET status = 'sent', version = version + 1 WHERE order_id = 1 AND version = 9000000001;
UPDATE orders SET status = 'lost', version = version + 1 WHERE order_id = 1 AND version = 9000000001;
\echo rows :ROW_COUNT
UPDATE orders SET status = 'lost', version = version + 2 WHERE order_id = 1;
UPDATE orders SET status = 'lost', version = version - 1 WHERE order_id = 1;
UPDATE orders SET status = 'lost', version = NULL WHERE order_id = 1;
SELECT * FROM orders;
UPDATE orders SET status = 'done' RETURNING status, version;

-- smallint, with and without auto, up to its end
CREATE TABLE small (id int PRIMARY KEY, version smallint);
CREATE TRIGGER check_version BEFORE UPDATE ON small FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
INSERT INTO small VALUES (1, 32766);
UPDATE small SET version = version + 1;
UPDATE small SET version = -32768;
DROP TRIGGER check_version ON small;
CREATE TRIGGER check_version BEFORE UPDATE ON small FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version', 'auto');
UPDATE small SET id = 2;
SELECT * FROM small;
CREATE TABLE ends (kind text PRIMARY KEY, i integer, b bigint);
INSERT INTO ends VALUES ('i', 2147483647, 1), ('b', 1, 9223372036854775807);
CREATE TRIGGER check_i BEFORE UPDATE ON ends FOR EACH ROW WHEN (OLD.kind = 'i') EXECUTE FUNCTION pointstore.check_version('i', 'auto');
CREATE TRIGGER check_b BEFORE UPDATE ON ends FOR EACH ROW WHEN (OLD.kind = 'b') EXECUTE FUNCTION pointstore.check_version('b', 'auto');
UPDATE ends SET kind = 'x' WHERE kind = 'i';
UPDATE ends SET kind = 'x' WHERE kind = 'b';
UPDATE ends SET i = -2147483648 WHERE kind = 'i';
UPDATE ends SET b = -9223372036854775808 WHERE kind = 'b';

-- timestamptz: an UPDATE raises it, auto sets the clock
CREATE TABLE doc (id int PRIMARY KEY, body text, changed_at timestamptz NOT NULL);
CREATE TRIGGER check_version BEFORE UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('changed_at');
INSERT INTO doc VALUES (1, 'a', '2026-01-01 00:00+00');
UPDATE doc SET body = 'b';
UPDATE doc SET body = 'b', changed_at = '2025-12-31 00:00+00';
UPDATE doc SET body = 'b', changed_at = NULL;
UPDATE doc SET body = 'b', changed_at = changed_at + interval '1 microsecond';
SELECT body, changed_at = '2026-01-01 00:00:00.000001+00' AS as_given FROM doc;
DROP TRIGGER check_version ON doc;
CREATE TRIGGER check_version BEFORE UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('changed_at', 'auto');
UPDATE doc SET body = 'c';
SELECT body, changed_at BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() AS clock FROM doc;
UPDATE doc SET changed_at = '2026-01-01 00:00+00';
-- every UPDATE raises it, also the next at once
CREATE TEMP TABLE seen (at timestamptz UNIQUE);
DO $$
BEGIN
    FOR i IN 1..1000 LOOP
        UPDATE doc SET body = i;
        INSERT INTO seen SELECT changed_at FROM doc;
    END LOOP;
END$$;
SELECT count(*) FROM seen;
-- also past a time that lies ahead of the clock
UPDATE doc SET changed_at = '2999-01-01 00:00+00';
UPDATE doc SET body = 'd';
SELECT body, changed_at > '2999-01-01 00:00+00' AS raised FROM doc;

-- up to its end, and from the beginning of all times
UPDATE doc SET changed_at = '294276-12-31 23:59:59.999999+00';
UPDATE doc SET body = 'e';
UPDATE doc SET changed_at = 'infinity';
UPDATE doc SET body = 'e';
UPDATE doc SET changed_at = '2999-01-01 00:00+00';
INSERT INTO doc VALUES (2, 'a', '-infinity');
UPDATE doc SET body = 'b' WHERE id = 2;
SELECT body, changed_at BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() AS clock FROM doc WHERE id = 2;
-- now() is when the transaction began: of two UPDATEs in one the second does not raise it
DROP TRIGGER check_version ON doc;
CREATE TRIGGER check_version BEFORE UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('changed_at');
BEGIN;
UPDATE doc SET body = 'c', changed_at = now() WHERE id = 2;
ROLLBACK;
BEGIN;
INSERT INTO doc VALUES (3, 'a', now());
UPDATE doc SET body = 'b', changed_at = clock_timestamp() WHERE id = 3;
UPDATE doc SET body = 'c', changed_at = now() WHERE id = 3;
ROLLBACK;

-- what the error tells programs
CREATE FUNCTION told(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s text;
    t text;
    c text;
    d text;
BEGIN
    EXECUTE statement;
    RETURN 'nothing';
EXCEPTION WHEN SQLSTATE 'PS001' THEN
    GET STACKED DIAGNOSTICS s = SCHEMA_NAME, t = TABLE_NAME, c = COLUMN_NAME, d = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', s, t, c, d);
END
$$;
SELECT told('UPDATE orders SET version = 5');
SELECT told('UPDATE orders SET version = NULL');
SET TimeZone = 'UTC';
SELECT told($$UPDATE doc SET changed_at = '2026-01-01 00:00+00' WHERE id = 1$$);
SELECT told($$UPDATE doc SET changed_at = '-infinity' WHERE id = 1$$);
RESET TimeZone;

-- wrong arguments, told at the first use
CREATE TABLE wrong (id int PRIMARY KEY, version int NOT NULL, label text, price numeric, at timestamp, dropped int);
ALTER TABLE wrong DROP COLUMN dropped;
INSERT INTO wrong VALUES (1, 1);
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version();
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version', 'auto', 'more');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version', 'automatic');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version', '');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('revision');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('........pg.dropped.6........');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('ctid');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('label');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('price');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('at');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
-- wrong uses
CREATE TRIGGER t AFTER UPDATE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE UPDATE ON wrong FOR EACH STATEMENT EXECUTE FUNCTION pointstore.check_version('version');
UPDATE wrong SET version = version + 1;
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
INSERT INTO wrong VALUES (2, 1);
DROP TRIGGER t ON wrong;
CREATE TRIGGER t BEFORE DELETE ON wrong FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
DELETE FROM wrong;
DROP TRIGGER t ON wrong;
SELECT pointstore.check_version();
SELECT id, version FROM wrong;

-- beside other columns, dropped ones and other triggers
CREATE TABLE mixed (junk text, a text, version int NOT NULL, b text, total int GENERATED ALWAYS AS (version * 10) STORED);
ALTER TABLE mixed DROP COLUMN junk;
INSERT INTO mixed VALUES ('a', 1, NULL);
CREATE TRIGGER check_version BEFORE UPDATE ON mixed FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version', 'auto');
UPDATE mixed SET b = 'b';
SELECT * FROM mixed;
-- on a partitioned table, for its partitions
CREATE TABLE parted (id int, version int NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parted_1 (version int NOT NULL, id int);
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (10);
CREATE TRIGGER check_version BEFORE UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version');
INSERT INTO parted VALUES (1, 1);
UPDATE parted SET version = 3;
UPDATE parted SET version = 2;
SELECT * FROM parted;

SET client_min_messages = warning;
DROP SCHEMA check_version CASCADE;
