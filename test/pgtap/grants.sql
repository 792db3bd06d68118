-- Who may do what: PUBLIC nothing, and each level of grant_access() tried for real.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pointstore;
SELECT pointstore.create_store() AS store \gset
SELECT * FROM no_plan();

CREATE ROLE pointstore_test_nobody;
CREATE ROLE pointstore_test_reader;
CREATE ROLE pointstore_test_writer;
CREATE ROLE pointstore_test_operator;
CREATE ROLE pointstore_test_participant;
GRANT USAGE ON SCHEMA pointstore TO pointstore_test_nobody;
SELECT pointstore.grant_access('pointstore_test_reader', 'reader') AS granted,
       pointstore.grant_access('pointstore_test_writer', 'writer') AS granted,
       pointstore.grant_access('pointstore_test_operator', 'operator') AS granted,
       pointstore.grant_access('pointstore_test_participant', 'participant') AS granted \gset
SELECT pointstore.append_event('grants-1', 'PointEarned', 100) AS receipt \gset
SELECT pointstore.hold('grants-1', 10, 'grants-hold') AS receipt \gset
SELECT pointstore.open_account('grants-2') AS opened \gset
INSERT INTO pointstore.account_kind (kind, auto_open) VALUES ('grants-by-hand', false);
CREATE SERVER grants_server FOREIGN DATA WRAPPER pointstore;
CREATE USER MAPPING FOR CURRENT_USER SERVER grants_server OPTIONS (user 'mover');
SELECT pointstore.create_subscription('grants') AS created \gset
SELECT pointstore.open_account('grants-by-hand', 'grants-by-hand') AS opened \gset

-- The SQLSTATE of a statement run by a role, ok when it works. Its effects are undone.
CREATE FUNCTION pg_temp.tried(role_name text, query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role_name, true);
    EXECUTE query;
    RAISE SQLSTATE 'OK000';
EXCEPTION WHEN SQLSTATE 'OK000' THEN
    RETURN 'ok';
WHEN others THEN
    RETURN SQLSTATE;
END$$;

-- level: the lowest that may; outcome: what comes of it then
CREATE TEMP TABLE matrix (level int, outcome text, query text);
INSERT INTO matrix VALUES
    (1, 'ok', 'SELECT count(*) FROM pointstore.event_store'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.balance'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.pure_account'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.account_kind'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.account_log'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.account'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.store_version'),
    (1, 'ok', $$SELECT * FROM pointstore.get_balance('grants-1')$$),
    (1, 'ok', $$SELECT pointstore.balance_at('grants-1', now())$$),
    (1, 'ok', $$SELECT pointstore.balance_as_of('grants-1', 1)$$),
    (2, 'ok', $$SELECT pointstore.append_event('grants-1', 'PointSpent', -1)$$),
    (2, 'ok', $$SELECT pointstore.try_append_event('grants-1', 'PointSpent', -1000)$$),
    (2, 'ok', $$SELECT pointstore.append_events('[{"aggregate_id": "grants-1", "event_type": "Noted"}]')$$),
    (2, 'ok', $$SELECT pointstore.try_append_events('[{"aggregate_id": "grants-1", "event_type": "Noted"}]')$$),
    (2, '25001', $$SELECT pointstore.submit_event('grants-1', 'PointSpent', -1)$$),
    (2, '25001', $$SELECT pointstore.try_submit_event('grants-1', 'PointSpent', -1000)$$),
    (2, '25001', $$SELECT pointstore.submit_transfer('grants-1', 'grants-2', 1)$$),
    (2, '25001', $$SELECT pointstore.try_submit_transfer('grants-1', 'grants-2', 1)$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.hold$$),
    (1, 'ok', $$SELECT pointstore.statement('grants-1', '-infinity', 'infinity')$$),
    (2, 'ok', $$SELECT pointstore.hold('grants-1', 1)$$),
    (2, 'ok', $$SELECT pointstore.try_hold('grants-1', 1)$$),
    (2, 'ok', $$SELECT pointstore.confirm_hold('grants-hold')$$),
    (2, 'ok', $$SELECT pointstore.try_confirm_hold('grants-hold')$$),
    (2, 'ok', $$SELECT pointstore.cancel_hold('grants-none')$$),
    (2, 'ok', $$SELECT pointstore.try_cancel_hold('grants-none')$$),
    (2, 'ok', $$SELECT pointstore.transfer('grants-1', 'grants-2', 1)$$),
    (2, 'ok', $$SELECT pointstore.try_transfer('grants-1', 'grants-2', 1)$$),
    (2, 'ok', $$SELECT pointstore.reverse_event('grants-1', 1, 1)$$),
    (2, 'ok', $$SELECT pointstore.try_reverse_event('grants-1', 1, 1)$$),
    (3, 'ok', $$SELECT pointstore.reverse_event('grants-1', 1, allow_debt => true)$$),
    (3, 'ok', $$SELECT pointstore.try_reverse_event('grants-1', 1, allow_debt => true)$$),
    (3, '2D000', $$CALL pointstore.sweep_holds()$$),
    (4, '42P07', $$SELECT pointstore.create_accounts()$$),
    (4, '42P07', $$SELECT pointstore.create_events()$$),
    (4, '42P07', $$SELECT pointstore.create_holds()$$),
    (4, '22023', $$UPDATE pointstore.hold SET status = 'cancelled' WHERE hold_id = 'grants-hold'$$),
    (4, 'PS006', $$DELETE FROM pointstore.hold$$),
    (4, 'PS006', $$TRUNCATE pointstore.hold$$),
    (2, 'ok', $$SELECT pointstore.open_account('grants-3')$$),
    (2, 'ok', $$SELECT pointstore.open_account('grants-by-hand', 'grants-by-hand')$$),
    (3, 'ok', $$SELECT pointstore.open_account('grants-3', 'grants-by-hand')$$),
    (2, 'PS008', $$SELECT pointstore.append_event('grants-3', 'Noted', kind => 'grants-by-hand')$$),
    (2, 'ok', $$CREATE TEMP TABLE cart (version int);
                CREATE TRIGGER t BEFORE UPDATE ON cart FOR EACH ROW EXECUTE FUNCTION pointstore.check_version('version')$$),
    (3, 'ok', $$SELECT pointstore.freeze_account('grants-1', 'test')$$),
    (3, 'ok', $$SELECT pointstore.unfreeze_account('grants-1', 'test')$$),
    (3, 'ok', $$SELECT pointstore.close_account('grants-2')$$),
    (3, 'ok', $$SELECT pointstore.set_kind('grants-1', 'default')$$),
    (3, 'ok', $$SELECT * FROM pointstore.rebuild_balance('grants-1')$$),
    (3, '2D000', $$CALL pointstore.rebuild_balances()$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.finding$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.reconciliation_run$$),
    (1, 'ok', $$SELECT * FROM pointstore.reconciliation_status$$),
    (1, 'ok', $$SELECT * FROM pointstore.reconcile_progress$$),
    (1, 'ok', $$SELECT * FROM pointstore.progress()$$),
    (1, 'ok', $$SELECT * FROM pointstore.pg_stat_pointstore$$),
    (1, 'ok', $$SELECT * FROM pointstore.stat()$$),
    (1, 'ok', $$SELECT * FROM pointstore.stat_rules()$$),
    (3, 'ok', 'SELECT pointstore.pg_stat_pointstore_reset()'),
    (1, 'ok', $$SELECT pointstore.worker_alive()$$),
    (1, 'ok', $$SELECT * FROM pointstore.reconcile_account('grants-1')$$),
    (1, 'ok', $$SELECT * FROM pointstore.check_transitions('default')$$),
    (3, '2D000', $$CALL pointstore.reconcile('full', NULL)$$),
    (3, 'PS008', $$SELECT pointstore.repair(4711)$$),
    (3, 'PS008', $$SELECT pointstore.acknowledge(4711, 'x')$$),
    (3, '22023', $$SELECT pointstore.reconcile_now('all')$$),
    (1, 'ok', 'SELECT count(*) FROM pointstore.projection_status'),
    (3, '42704', $$SELECT pointstore.drop_projection('grants')$$),
    (3, '25001', $$SELECT pointstore.rebuild_projection('grants', 'pg_catalog.now()')$$),
    (3, '2D000', $$CALL pointstore.run_projection('grants')$$),
    (4, '42P07', $$SELECT pointstore.create_reconciliation()$$),
    (1, 'ok', $$SELECT pointstore.load_events('grants-1')$$),
    (1, '55000', $$SELECT pointstore.aggregate_state('grants-1')$$),
    (2, '55000', $$SELECT pointstore.take_snapshot('grants-1')$$),
    (3, 'ok', $$SELECT pointstore.drop_snapshots()$$),
    (3, '2D000', $$CALL pointstore.verify_replay('default')$$),
    (4, '42P07', $$SELECT pointstore.create_transitions()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_transitions()$$),
    (4, '42P07', $$SELECT pointstore.create_leases()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_leases()$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.lease$$),
    (2, 'ok', $$SELECT pointstore.acquire_lease('grants', 'me')$$),
    (2, '25001', $$CALL pointstore.wait_for_lease('grants', 'me', '1 s', '0')$$),
    (2, 'PS014', $$SELECT pointstore.renew_lease('grants', 1)$$),
    (2, 'ok', $$SELECT pointstore.release_lease('grants', 1)$$),
    (2, 'PS014', $$SELECT pointstore.check_lease('grants', 1)$$),
    (3, 'ok', $$SELECT pointstore.steal_lease('grants', 'me')$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.movement, pointstore.movement_step, pointstore.movement_log$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.movement_store, pointstore.movement_server, pointstore.participant_step, pointstore.participant_origin$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.in_transit$$),
    (1, 'ok', $$SELECT pointstore.coordinator_alive()$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.trace((SELECT min(id)::text FROM pointstore.event_store))$$),
    (2, 'ok', $$SELECT pointstore.move('grants-1', 'grants-2', 1, 'grants-move')$$),
    (2, '22004', $$SELECT pointstore.start_movement(NULL, NULL)$$),
    (4, 'ok', $$SELECT pointstore.move('grants-1', 'there', 1, 'grants-away', 'grants_server')$$),
    (3, 'ok', $$SELECT pointstore.start_movement('grants-saga', '[{"aggregate_id": "grants-1", "amount": -1, "event_type": "Spent"}, {"aggregate_id": "grants-2", "amount": 1, "event_type": "Earned"}]', 'saga')$$),
    (2, 'PS008', $$SELECT pointstore.wait_for_movement('grants-none', '0')$$),
    (2, 'ok', $$SELECT pointstore.cancel_movement('grants-none')$$),
    (3, 'PS008', $$SELECT pointstore.resolve_movement('grants-none', 'accept', 'test')$$),
    (3, 'PS008', $$SELECT pointstore.resolve_step('00000000-0000-0000-0000-000000000000', 'grants-none', 1, 'cancel', 'test')$$),
    (3, '42704', $$SELECT pointstore.reconcile_movements('grants_none')$$),
    (3, '2D000', $$CALL pointstore.drive_movements()$$),
    (4, '22004', $$SELECT pointstore.participate(NULL)$$),
    (4, 'ok', $$SELECT pointstore.take_steps('grants-1', '{"origin": "00000000-0000-0000-0000-000000000000", "source": 1, "messages": []}')$$),
    (4, 'PS008', $$SELECT pointstore.ask_movement('grants-none', '{"do": "wait", "by": "pointstore_test_nobody"}')$$),
    (4, '42P07', $$SELECT pointstore.create_participations()$$),
    (4, '42P07', $$SELECT pointstore.create_movements()$$),
    (4, '42P07', $$SELECT pointstore.create_servers()$$),
    (4, '42P07', $$SELECT pointstore.create_origins()$$),
    (4, 'ok', $$SELECT pointstore.create_prepared_view()$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.movement_status, pointstore.prepared_step$$),
    (4, 'ok', $$SELECT pointstore.create_movement_views()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_participations(), pointstore.comment_on_movements(), pointstore.comment_on_servers(), pointstore.comment_on_origins()$$),
    (4, 'ok', $$SELECT pointstore.fdw_validator('{}', 'pg_foreign_server'::regclass)$$),
    (4, 'ok', $$CREATE SERVER grants_own FOREIGN DATA WRAPPER pointstore$$),
    (4, '42P07', $$SELECT pointstore.create_replays()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_replays()$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.snapshot$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.upcaster$$),
    (4, '42P07', $$SELECT pointstore.create_upcasters()$$),
    (4, '42P07', $$SELECT pointstore.create_snapshots()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_upcasters()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_snapshots()$$),
    (1, 'ok', 'SELECT count(*) FROM pointstore.subscription'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.subscription_slot'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.subscription_account'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.subscription_log'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.subscription_retry'),
    (1, 'ok', 'SELECT count(*) FROM pointstore.subscription_status'),
    (1, 'ok', $$SELECT count(*) FROM pointstore.subscription_lag('grants')$$),
    (1, 'ok', $$SELECT pointstore.create_subscription('grants-own'), pointstore.claim('grants-own', 'm'), pointstore.drop_subscription('grants-own')$$),
    (3, 'ok', $$SELECT pointstore.drop_subscription('grants')$$),
    (3, 'ok', $$SELECT pointstore.pause_subscription('grants')$$),
    (3, 'ok', $$SELECT pointstore.resume_subscription('grants')$$),
    (3, 'ok', $$SELECT pointstore.alter_subscription('grants', max_attempts => 2)$$),
    (3, 'ok', $$SELECT pointstore.move_subscription('grants', 0)$$),
    (3, 'ok', $$SELECT pointstore.claim('grants', 'm')$$),
    (3, 'PS014', $$SELECT pointstore.ack('grants', 0::smallint, 1, 1)$$),
    (3, 'PS014', $$SELECT pointstore.nack('grants', 0::smallint, 1, 1, 'e')$$),
    (3, 'PS014', $$SELECT pointstore.renew('grants', 0::smallint, 1)$$),
    (3, 'PS014', $$SELECT pointstore.release('grants', 0::smallint, 1)$$),
    (3, 'ok', $$SELECT pointstore.replay_parked('grants')$$),
    (3, 'PS008', $$SELECT pointstore.skip_parked('grants', 'x', 1, 'why')$$),
    (1, '25001', $$CALL pointstore.wait_for_work('grants')$$),
    (3, '22004', $$SELECT pointstore.create_projection(NULL, NULL)$$),
    (4, '42P07', $$SELECT pointstore.create_projections()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_projections()$$),
    (4, 'ok', $$SELECT pointstore.create_projection_view()$$),
    (4, '42P07', $$SELECT pointstore.create_subscriptions()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_subscriptions()$$),
    (4, 'ok', $$SELECT pointstore.create_subscription_views()$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.feed_block$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.feed_status$$),
    (1, 'ok', $$SELECT pointstore.feed_head()$$),
    (1, 'ok', $$SELECT pointstore.read_feed()$$),
    (1, 'ok', $$SELECT pointstore.position_of(1)$$),
    (1, '25001', $$CALL pointstore.wait_for_feed(0)$$),
    (1, 'ok', $$SELECT pointstore.feed_incarnation()$$),
    (1, '25001', $$SELECT pointstore.sequence_feed()$$),
    (1, 'ok', $$SELECT pointstore.sequencer_alive()$$),
    (1, 'ok', $$SELECT pointstore.feed_check()$$),
    (1, 'ok', $$SELECT pointstore.feed_state()$$),
    (1, 'ok', $$SELECT pointstore.feed_states()$$),
    (1, '22023', $$SELECT pointstore.feed_head(1)$$),
    (1, '22023', $$SELECT pointstore.position_of(1, 1)$$),
    (1, '22023', $$SELECT pointstore.feed_incarnation(1)$$),
    (1, '22023', $$SELECT pointstore.feed_check(1)$$),
    (1, 'ok', $$SELECT pointstore.feed_head_part('grants-1')$$),
    (1, 'ok', $$SELECT count(*) FROM pointstore.read_feed_part(0, 1, NULL, NULL, false, 'grants-1')$$),
    (1, 'ok', $$SELECT pointstore.position_of_part(1, 'grants-1')$$),
    (1, 'ok', $$SELECT pointstore.feed_incarnation_part('grants-1')$$),
    (1, 'ok', $$SELECT pointstore.feed_check_part('grants-1')$$),
    (1, 'PS013', $$SELECT pointstore.feed_states_part('grants-1')$$),
    (4, '42P07', $$SELECT pointstore.create_feed(0)$$),
    (4, 'ok', $$SELECT pointstore.comment_on_feed()$$),
    (4, 'ok', $$SELECT pointstore.create_feed_view()$$),
    (4, 'PS006', $$TRUNCATE pointstore.feed_block$$),
    (1, '55000', $$SELECT * FROM pointstore.node_of('grants-1')$$),
    (1, '55000', $$SELECT * FROM pointstore.subscription_slots()$$),
    (1, '55000', $$SELECT * FROM pointstore.subscription_slots_part('grants-1')$$),
    (1, '55000', $$SELECT * FROM pointstore.subscription_waiting()$$),
    (1, '55000', $$SELECT * FROM pointstore.subscription_waiting_part('grants-1')$$),
    (1, '55000', $$SELECT * FROM pointstore.subscription_heritage('s', 0, 1, 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.take_subscription_part('s', '{}', '{}', 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.create_subscription_part('s', 0, 1::smallint, NULL, NULL, '1 s', 1, 'park', 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.drop_subscription_part('s', 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.pause_subscription_part('s', 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.resume_subscription_part('s', 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.alter_subscription_part('s', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.move_subscription_part('s', 0, 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.replay_parked_part('s', NULL, 'grants-1')$$),
    (1, '55000', $$SELECT pointstore.skip_parked_part('s', 'a', 1, 'why', 'grants-1')$$),
    (2, 'ok', $$SELECT * FROM pointstore.append_part('grants-1', '{"whole": 1, "events": [{"aggregate_id": "grants-1", "event_type": "PointAdjusted", "payload": {}}]}')$$),
    (2, 'ok', $$SELECT pointstore.lock_part('grants-1', ARRAY['grants-1'])$$),
    (2, '55000', $$SELECT * FROM pointstore.reverse_part('grants-1', '{"whole": 1, "events": [{"aggregate_id": "grants-1", "event_type": "EventReversed", "payload": {}, "told": {}}]}')$$),
    (2, '55000', $$SELECT * FROM pointstore.legs_part('grants-1', 1)$$),
    (4, 'ok', $$SELECT pointstore.is_distributed()$$),
    (4, 'ok', $$SELECT * FROM pointstore.distributed_tables()$$),
    (4, 'ok', $$SELECT pointstore.check_coordinator()$$),
    (4, '55000', $$SELECT pointstore.check_distributable(64)$$),
    (4, '55000', $$SELECT pointstore.check_distributable_tables()$$),
    (4, '55000', $$SELECT pointstore.distribute_store(64)$$),
    (4, '42883', $$SELECT pointstore.distribute_tables(64)$$),
    (4, '42P01', $$SELECT pointstore.create_shard_map()$$),
    (4, '42703', $$SELECT pointstore.create_reconciliation_views_of_nodes()$$),
    (4, '42883', $$SELECT pointstore.delegate_functions()$$),
    (4, '42P01', $$SELECT pointstore.grant_on_nodes('pointstore_test_reader'::regrole)$$),
    (4, 'ok', $$SELECT pointstore.alter_keys_for_nodes()$$),
    (4, 'ok', $$SELECT pointstore.digest(1, 1, 0, 1, 0, 0, 1)$$),
    (4, 'ok', $$SELECT pointstore.create_store()$$),
    (4, 'ok', $$SELECT pointstore.upgrade_store()$$),
    (4, 'ok', $$SELECT pointstore.grant_access('pointstore_test_nobody', 'reader')$$),
    (4, 'ok', $$SELECT pointstore.create_store_views()$$),
    (4, 'ok', $$SELECT pointstore.create_store_triggers()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_store()$$),
    (4, 'ok', $$SELECT pointstore.wake_workers()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_accounts()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_events()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_holds()$$),
    (4, 'ok', $$SELECT pointstore.comment_on_reconciliation()$$),
    (4, 'ok', $$SELECT pointstore.create_account_view()$$),
    (4, 'ok', $$SELECT pointstore.create_reconciliation_views()$$),
    (4, 'ok', $$SELECT pointstore.create_progress_view()$$),
    (4, 'ok', $$SELECT pointstore.create_statistics_view()$$),
    (4, 'ok', $$SELECT pointstore.grant_owner(current_user::regrole)$$),
    (4, 'ok', $$SELECT count(*) FROM pointstore.store_triggers()$$),
    (4, 'ok', $$SELECT count(*) FROM pointstore.store_relations()$$),
    (4, 'ok', $$SELECT pointstore.store_owner()$$),
    (4, 'ok', $$SELECT pointstore.check_schema()$$),
    (4, 'ok', $$SELECT pointstore.check_sequence()$$),
    (4, 'ok', $$SELECT pointstore.check_store()$$),
    (4, 'ok', $$SELECT pointstore.found_version()$$),
    (4, 'ok', $$SELECT pointstore.give_store(current_user::regrole)$$),
    (4, 'ok', $$SELECT pointstore.renew_account_view()$$),
    (4, 'ok', $$SELECT pointstore.refuse_own_names('1.5')$$),
    (4, 'ok', $$SELECT pointstore.upgrade_tables('1.0')$$),
    (4, 'ok', $$SELECT pointstore.drop_time_index()$$),
    (4, 'ok', $$INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('grants-1', 'Noted')$$),
    (4, 'ok', $$INSERT INTO pointstore.balance (aggregate_id) VALUES ('grants-3')$$),
    (4, '22023', $$INSERT INTO pointstore.pure_account VALUES ('grants-3', 'default')$$),
    (4, 'ok', $$INSERT INTO pointstore.account_kind (kind) VALUES ('grants')$$),
    (4, 'ok', $$INSERT INTO pointstore.account_log (aggregate_id, action, by_role) VALUES ('grants-1', 'open', 'x')$$),
    (4, 'PS006', 'UPDATE pointstore.event_store SET amount = 0'),
    (4, 'ok', $$UPDATE pointstore.balance SET balance = 99, version = 3 WHERE aggregate_id = 'grants-1'$$),
    (4, 'ok', $$UPDATE pointstore.account_kind SET max_balance = 1000000 WHERE kind = 'default'$$),
    (4, 'PS006', $$DELETE FROM pointstore.event_store$$),
    (4, 'PS006', $$DELETE FROM pointstore.balance$$),
    (4, 'PS006', $$DELETE FROM pointstore.account_log$$),
    (4, 'PS006', $$TRUNCATE pointstore.event_store$$),
    (4, 'PS006', $$TRUNCATE pointstore.balance$$),
    (4, 'PS006', $$TRUNCATE pointstore.pure_account$$),
    (4, 'PS006', $$TRUNCATE pointstore.account_log$$),
    (4, 'PS006', $$TRUNCATE pointstore.account_kind$$),
    (4, 'ok', $$SELECT nextval('pointstore.event_store_id_seq')$$),
    (4, 'ok', $$ALTER SEQUENCE pointstore.event_store_id_seq RESTART 1000000$$),
    (4, 'ok', $$LOCK TABLE pointstore.balance IN ACCESS EXCLUSIVE MODE$$),
    (4, 'ok', $$ALTER TABLE pointstore.event_store DISABLE TRIGGER ALL$$),
    (4, 'ok', $$CREATE TABLE pointstore.mine ()$$);
SELECT is(pg_temp.tried(r.role_name, m.query), CASE WHEN r.level >= m.level THEN m.outcome ELSE '42501' END, r.role_name || ': ' || m.query)
  FROM matrix m, (VALUES (0, 'pointstore_test_nobody'), (1, 'pointstore_test_reader'), (2, 'pointstore_test_writer'),
                         (3, 'pointstore_test_operator'), (4, current_user::text)) r(level, role_name);
-- a participant may send messages, and nothing of all that
SELECT is(pg_temp.tried('pointstore_test_participant', query), '42501', 'participant: ' || query) FROM matrix WHERE query !~ 'participate\(' AND query !~ '^CREATE TEMP TABLE';
SELECT is(pg_temp.tried('pointstore_test_participant', 'SELECT pointstore.participate(NULL)'), '22004', 'a participant sends messages');
-- every function is in that matrix, or one of the guards and of an aggregate's parts, which are no one's to call
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'pointstore'::regnamespace AND p.proname !~ '^(guard|digest)_'
                   AND NOT EXISTS (SELECT FROM matrix m WHERE m.query ~ ('pointstore\.' || p.proname || '\('))$$, 'every function was tried');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pointstore'::regnamespace
                   AND has_function_privilege('pointstore_test_nobody', oid, 'EXECUTE')$$, 'PUBLIC may execute nothing');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pointstore'::regnamespace AND proname ~ '^guard_'
                   AND has_function_privilege('pointstore_test_operator', oid, 'EXECUTE')$$, 'nobody needs the guards');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v')
                   AND has_table_privilege('pointstore_test_nobody', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$, 'PUBLIC has no table');
SELECT is_empty($$SELECT c.oid::regclass, r FROM pg_class c, unnest(ARRAY['reader', 'writer', 'operator']) r
                   WHERE c.relnamespace = 'pointstore'::regnamespace AND c.relkind IN ('r', 'v')
                     AND has_table_privilege('pointstore_test_' || r, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$, 'no level writes a table');

-- who has a level by a function of another's has it there: the rights are the current user's
CREATE FUNCTION pg_temp.lend() RETURNS SETOF pointstore.receipt LANGUAGE sql SECURITY DEFINER
    AS $$SELECT pointstore.reverse_event('grants-1', 1, 1, allow_debt => true)$$;
ALTER FUNCTION pg_temp.lend() OWNER TO pointstore_test_operator;
SELECT is(pg_temp.tried('pointstore_test_writer', 'SELECT pg_temp.lend()'), 'ok', 'an operator''s function for a writer');
ALTER FUNCTION pg_temp.lend() OWNER TO pointstore_test_writer;
SELECT is(pg_temp.tried('pointstore_test_operator', 'SELECT pg_temp.lend()'), '42501', 'a writer''s function for an operator');
GRANT pointstore_test_operator TO pointstore_test_writer;
SELECT is(pg_temp.tried('pointstore_test_writer', 'SELECT pg_temp.lend()'), 'ok', 'a member of an operator');
REVOKE pointstore_test_operator FROM pointstore_test_writer;

-- the store's owner has what an operator has
CREATE ROLE pointstore_test_owner;
SELECT pointstore.grant_owner('pointstore_test_owner') AS granted \gset
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pointstore'::regnamespace
                   AND has_function_privilege('pointstore_test_operator', oid, 'EXECUTE') AND NOT has_function_privilege('pointstore_test_owner', oid, 'EXECUTE')$$,
                'the owner is an operator');

-- grant_access itself
SELECT throws_ok($$SELECT pointstore.grant_access('pointstore_test_reader', 'owner')$$, '22023', NULL, 'unknown level');
SELECT throws_ok($$SELECT pointstore.grant_access('pointstore_test_reader', NULL)$$, '22004', NULL, 'null level');
SELECT throws_ok($$SELECT pointstore.grant_access(NULL, 'reader')$$, '22004', NULL, 'null role');
SELECT throws_ok($$SELECT pointstore.grant_access('pointstore_test_missing', 'reader')$$, '42704', NULL, 'no such role');

SELECT * FROM finish();
ROLLBACK;
