-- Movements: what begins in this store, and what is asked of it alone. There is no coordinator here.
\set VERBOSITY sqlstate
SELECT pointstore.append_event('m-a', 'PointEarned', 1000, kind => 'default') IS NOT NULL, pointstore.open_account('m-b') IS NOT NULL;

-- in one store it is a transfer
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-1');
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-1');
SELECT * FROM pointstore.move('m-a', 'm-b', 301, 'mv-1');
SELECT aggregate_id, version, event_type, amount, balance_after, leg, metadata FROM pointstore.event_store WHERE aggregate_id IN ('m-a', 'm-b') ORDER BY id;
SELECT * FROM pointstore.wait_for_movement('mv-1');
SELECT * FROM pointstore.cancel_movement('mv-1');
SELECT * FROM pointstore.cancel_movement('mv-2', 'not needed');
SELECT * FROM pointstore.cancel_movement('mv-2', 'not needed');
SELECT * FROM pointstore.move('m-a', 'm-b', 300, 'mv-2');
SELECT step, status, error FROM pointstore.movement_log ORDER BY id;
SELECT * FROM pointstore.move('m-a', 'm-b', 3000, 'mv-3');
SELECT movement_id FROM pointstore.movement ORDER BY 1;

-- a step of another store, which nobody drives here
CREATE SERVER m_away FOREIGN DATA WRAPPER pointstore OPTIONS (host '/nowhere', dbname 'nowhere');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-4', 'm_away');
CREATE USER MAPPING FOR CURRENT_USER SERVER m_away OPTIONS (user 'nobody', password_required 'false');
SELECT * FROM pointstore.move('m-a', 'x', 200, 'mv-4', 'm_away');
SELECT aggregate_id, balance, held, incoming FROM pointstore.balance WHERE aggregate_id IN ('m-a', 'm-b') ORDER BY 1;
SELECT step, server, aggregate_id, amount, status, event_type, unit FROM pointstore.movement_step WHERE movement_id = 'mv-4' ORDER BY step;
SELECT * FROM pointstore.wait_for_movement('mv-4', '10 ms');
SELECT * FROM pointstore.cancel_movement('mv-4', 'too slow');
SELECT phase, steps, outstanding, waits_for FROM pointstore.movement_status;
SELECT depth, what, id, aggregate_id, version, name, amount, status, server FROM pointstore.trace('mv-1') WHERE what <> 'event';
