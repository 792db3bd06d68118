-- Movements between this database and another one of the server, driven by hand
SELECT current_database() AS here, current_setting('port') AS port, split_part(current_setting('unix_socket_directories'), ',', 1) AS host \gset
CREATE DATABASE pointstore_drive;
\c pointstore_drive
SET client_min_messages = warning;
CREATE EXTENSION pointstore;
SELECT pointstore.create_store();
CREATE ROLE regress_d_away LOGIN;
SELECT pointstore.grant_access('regress_d_away', 'participant');
SELECT outcome FROM pointstore.append_event('d-away', 'Earned', 100);
\c :here
SET client_min_messages = error;

-- options of servers and user mappings: HV00D
\set VERBOSITY sqlstate
CREATE SERVER d_bad FOREIGN DATA WRAPPER pointstore OPTIONS (host 'x', nonsense 'y');
CREATE SERVER d_bad FOREIGN DATA WRAPPER pointstore OPTIONS (user 'x');
CREATE SERVER d_bad FOREIGN DATA WRAPPER pointstore OPTIONS (password 'x');
CREATE SERVER d_bad FOREIGN DATA WRAPPER pointstore OPTIONS (client_encoding 'LATIN1');
CREATE SERVER d_bad FOREIGN DATA WRAPPER pointstore OPTIONS (password_required 'false');
CREATE SERVER d_away FOREIGN DATA WRAPPER pointstore OPTIONS (host :'host', port :'port', dbname 'pointstore_drive', sslmode 'prefer', connect_timeout '5');
CREATE USER MAPPING FOR CURRENT_USER SERVER d_away OPTIONS (host 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER d_away OPTIONS (user 'regress_d_away', password_required 'perhaps');
CREATE USER MAPPING FOR CURRENT_USER SERVER d_away OPTIONS (user 'regress_d_away');
-- what only superusers may say: 42501
CREATE ROLE regress_d_plain;
GRANT USAGE ON FOREIGN SERVER d_away TO regress_d_plain;
SET ROLE regress_d_plain;
CREATE USER MAPPING FOR CURRENT_USER SERVER d_away OPTIONS (password_required 'false');
CREATE USER MAPPING FOR CURRENT_USER SERVER d_away OPTIONS (sslkey '/etc/passwd');
CREATE USER MAPPING FOR CURRENT_USER SERVER d_away OPTIONS (user 'x', password 'y', password_required 'true');
DROP USER MAPPING FOR CURRENT_USER SERVER d_away;
RESET ROLE;

-- each protocol, to its end and back
SELECT outcome FROM pointstore.append_event('d-a', 'Earned', 100);
SELECT phase FROM pointstore.move('d-a', 'd-b', 10, 'd-tcc', 'd_away');
SELECT phase FROM pointstore.move('d-a', 'd-b', 10, 'd-2pc', 'd_away', '2pc');
SELECT phase FROM pointstore.move('d-a', 'd-b', 10, 'd-saga', 'd_away', 'saga');
SELECT phase FROM pointstore.start_movement('d-tcc-back', '[{"aggregate_id": "d-a", "amount": 1000, "event_type": "Moved"},
  {"aggregate_id": "d-away", "amount": -1000, "event_type": "Moved", "server": "d_away"}]');
SELECT phase FROM pointstore.start_movement('d-2pc-back', '[{"aggregate_id": "d-a", "amount": 1000, "event_type": "Moved"},
  {"aggregate_id": "d-away", "amount": -1000, "event_type": "Moved", "server": "d_away"}]', '2pc');
SELECT phase FROM pointstore.start_movement('d-saga-back', '[{"aggregate_id": "d-a", "amount": -7, "event_type": "Moved"},
  {"aggregate_id": "d-away", "amount": 1007, "event_type": "Moved", "server": "d_away"}, {"aggregate_id": "d-a", "amount": -1000, "event_type": "Moved"}]', 'saga');
CALL pointstore.drive_movements();
SELECT movement_id, phase, finished_at IS NOT NULL AS finished, substr(error, 1, 25) AS error FROM pointstore.movement WHERE movement_id LIKE 'd-%' ORDER BY 1;
SELECT movement_id, step, status, substr(error, 1, 5) AS error FROM pointstore.movement_step WHERE movement_id LIKE 'd-%' ORDER BY 1, 2;
SELECT movement_id, string_agg(coalesce(step || ' ', '') || status, ', ' ORDER BY step IS NOT NULL, step, id) FROM pointstore.movement_log WHERE movement_id LIKE 'd-%' GROUP BY 1 ORDER BY 1;
SELECT aggregate_id, balance, held, incoming FROM pointstore.balance WHERE aggregate_id LIKE 'd-%' ORDER BY 1;
SELECT server, failures, error, answered_at IS NOT NULL AS answered, reopened_at FROM pointstore.movement_server WHERE server = 'd_away';
SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'pointstore:%';
\c pointstore_drive
SELECT aggregate_id, balance, held, incoming FROM pointstore.balance ORDER BY 1;
SELECT event_type, count(*), sum(amount) AS amount FROM pointstore.event_store WHERE aggregate_id = 'd-b' GROUP BY 1 ORDER BY 1;
\c :here
SET client_min_messages = error;
\set VERBOSITY sqlstate

-- units that do not add up are seen as the tries are answered
INSERT INTO pointstore.account_kind (kind, unit) VALUES ('d-won', 'KRW');
SELECT outcome FROM pointstore.append_event('d-won', 'Earned', 100, kind => 'd-won');
SELECT phase FROM pointstore.move('d-won', 'd-b', 10, 'd-units', 'd_away');
-- what is cancelled before it is driven, and what is late
SELECT phase FROM pointstore.move('d-a', 'd-b', 1, 'd-cancel', 'd_away');
SELECT phase FROM pointstore.cancel_movement('d-cancel', 'changed my mind');
SELECT phase FROM pointstore.move('d-a', 'd-b', 1, 'd-late', 'd_away', deadline => '1 us');
CALL pointstore.drive_movements();
SELECT movement_id, phase, finished_at IS NOT NULL AS finished, error IS NOT NULL AS has_error FROM pointstore.movement
 WHERE movement_id IN ('d-units', 'd-cancel', 'd-late') ORDER BY 1;
SELECT balance, held FROM pointstore.balance WHERE aggregate_id = 'd-a';

-- a server that does not answer delays what goes there; one that is gone ends it
CREATE SERVER d_nowhere FOREIGN DATA WRAPPER pointstore OPTIONS (host :'host', port :'port', dbname 'no such database');
CREATE USER MAPPING FOR CURRENT_USER SERVER d_nowhere OPTIONS (user 'regress_d_away');
SELECT phase FROM pointstore.move('d-a', 'd-b', 1, 'd-nowhere', 'd_nowhere');
SELECT phase FROM pointstore.move('d-a', 'd-b', 1, 'd-beside', 'd_away');
CALL pointstore.drive_movements();
SELECT movement_id, phase FROM pointstore.movement WHERE movement_id IN ('d-nowhere', 'd-beside') ORDER BY 1;
SELECT failures > 0 AS failed, error IS NOT NULL AS has_error, paused_until IS NOT NULL AS paused FROM pointstore.movement_server WHERE server = 'd_nowhere';
DROP SERVER d_nowhere CASCADE;
CALL pointstore.drive_movements();
SELECT phase, error FROM pointstore.movement WHERE movement_id = 'd-nowhere';
SELECT phase FROM pointstore.resolve_movement('d-nowhere', 'accept', 'the server is gone');
CALL pointstore.drive_movements();
SELECT phase, finished_at IS NOT NULL AS finished FROM pointstore.movement WHERE movement_id = 'd-nowhere';
SELECT balance, held FROM pointstore.balance WHERE aggregate_id = 'd-a';

-- what is prepared by others' coordinators is told by its name
BEGIN;
SELECT outcome FROM pointstore.append_event('d-p', 'Earned', 1);
PREPARE TRANSACTION 'pointstore:00000000-0000-0000-0000-000000000001:7:a:b c:2';
SELECT origin, movement_id, step, incarnation, role = current_user AS own_role, age > '0' AS has_age, blocks FROM pointstore.prepared_step;
ROLLBACK PREPARED 'pointstore:00000000-0000-0000-0000-000000000001:7:a:b c:2';

-- it commits: 2D000 in a block
BEGIN;
CALL pointstore.drive_movements();
ROLLBACK;

DROP USER MAPPING FOR CURRENT_USER SERVER d_away;
DROP SERVER d_away CASCADE;
DROP ROLE regress_d_plain;
\c pointstore_drive
DROP OWNED BY regress_d_away;
\c :here
SET client_min_messages = error;
DROP DATABASE pointstore_drive;
DROP ROLE regress_d_away;
