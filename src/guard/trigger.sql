-- src/guard/trigger.sql
-- All triggers of a store.

-- What every store has besides its tables: the list that create_store() and
-- upgrade_store() make complete, and that the functions check before they trust
-- a store. One row per trigger.
CREATE FUNCTION pointstore.store_triggers(OUT tab text, OUT trigger_name text, OUT definition text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    VALUES
    ('event_store',  'zz_pointstore_append',      'BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.guard_event_store()'),
    ('event_store',  '_pointstore_settle',        'AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.guard_event_store()'),
    ('event_store',  '_pointstore_append_only',   'BEFORE UPDATE OR DELETE ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('event_store',  '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.event_store FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('balance',      'zz_pointstore_stamp',       'BEFORE UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pointstore.guard_balance()'),
    ('balance',      '_pointstore_check',         'AFTER INSERT OR UPDATE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pointstore.guard_balance()'),
    ('balance',      '_pointstore_append_only',   'BEFORE DELETE ON pointstore.balance FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('balance',      '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.balance FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('pure_account', '_pointstore_check',         'AFTER INSERT OR UPDATE ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION pointstore.guard_pure_account()'),
    ('pure_account', '_pointstore_append_only',   'BEFORE DELETE ON pointstore.pure_account FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('pure_account', '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.pure_account FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_kind', '_pointstore_check',         'AFTER UPDATE OR DELETE ON pointstore.account_kind FOR EACH ROW EXECUTE FUNCTION pointstore.guard_account_kind()'),
    ('account_kind', '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.account_kind FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_kind', 'zz_pointstore_function',    'BEFORE INSERT OR UPDATE ON pointstore.account_kind FOR EACH ROW EXECUTE FUNCTION pointstore.guard_function()'),
    ('transition',   '_pointstore_check',         'AFTER INSERT OR UPDATE OR DELETE ON pointstore.transition FOR EACH ROW EXECUTE FUNCTION pointstore.guard_transition()'),
    ('upcaster',     'zz_pointstore_function',    'BEFORE INSERT OR UPDATE ON pointstore.upcaster FOR EACH ROW EXECUTE FUNCTION pointstore.guard_function()'),
    ('hold',         '_pointstore_check',         'AFTER INSERT OR UPDATE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION pointstore.guard_hold()'),
    ('hold',         '_pointstore_append_only',   'BEFORE DELETE ON pointstore.hold FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('hold',         '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.hold FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_log',  '_pointstore_append_only',   'BEFORE UPDATE OR DELETE ON pointstore.account_log FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('account_log',  '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.account_log FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('feed_block',   '_pointstore_append_only',   'BEFORE DELETE ON pointstore.feed_block FOR EACH ROW EXECUTE FUNCTION pointstore.guard_append_only()'),
    ('feed_block',   '_pointstore_no_truncate',   'BEFORE TRUNCATE ON pointstore.feed_block FOR EACH STATEMENT EXECUTE FUNCTION pointstore.guard_append_only()')
$$;
COMMENT ON FUNCTION pointstore.store_triggers() IS
'The triggers that guard a store, as the installed version wants them: table, name and definition. upgrade_store() creates the missing ones.';

-- Creates the triggers that are missing and says how many.
CREATE FUNCTION pointstore.create_store_triggers()
RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing record;
    created integer := 0;
BEGIN
    FOR missing IN
        SELECT t.trigger_name, t.definition FROM pointstore.store_triggers() t
         WHERE NOT EXISTS (SELECT FROM pg_trigger g
                            WHERE g.tgrelid = ('pointstore.' || t.tab)::regclass
                              AND g.tgname = t.trigger_name)
    LOOP
        EXECUTE format('CREATE TRIGGER %I %s', missing.trigger_name, missing.definition);
        created := created + 1;
    END LOOP;
    RETURN created;
END
$$;
COMMENT ON FUNCTION pointstore.create_store_triggers() IS
'Creates the triggers of pointstore.store_triggers() that a store lacks and returns their number. Called by create_store() and upgrade_store(); superusers only.';
