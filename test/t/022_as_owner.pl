# Whatever the owner of a store can write - triggers deferred and not, cursors that
# outlast a transaction, views, index expressions, defaults, checks, policies - runs in
# our workers and in our procedures as the owner, and leaves nothing behind: also
# when the session is a superuser's.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_cluster('main', conf => <<'END');
max_worker_processes = 16
pointstore.reconcile_delay = 0
pointstore.databases = 'postgres'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 0
END
$node->start;
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

sub value
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql);
}

# As the owner. (Who reads or writes the tables himself runs what is on them as himself, a superuser too:
# that is PostgreSQL's own way.)
sub own
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'shop' ]);
}

sub wait_for
{
	my ($what, $query) = @_;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return pass($what) if own($query) eq 't';
		usleep(100_000);
	}
	return fail($what);
}

sub setting
{
	my ($line) = @_;
	$node->append_conf('postgresql.conf', $line);
	$node->reload;
	return;
}

# Starts a session that runs one script; finish() waits for it.
sub start
{
	my ($sql, $db) = @_;
	my $run = { out => '', err => '' };
	$run->{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr($db // 'postgres'), '-c', $sql ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}

value(<<'END');
CREATE ROLE shop LOGIN;
GRANT pg_monitor TO shop;
CREATE SCHEMA shop AUTHORIZATION shop;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
CREATE EXTENSION pointstore;
SELECT pointstore.create_store('shop');
GRANT CREATE ON SCHEMA pointstore TO shop;
SET ROLE shop;
-- tries to become more than the owner, and tells the log who it was
CREATE FUNCTION shop.evil(place text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    way text;
    got text := 'refused';
BEGIN
    -- in a session of his own there is nothing to be gained
    IF session_user = 'shop' AND 'client backend' = (SELECT backend_type FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()) THEN
        RETURN 1;
    END IF;
    FOREACH way IN ARRAY ARRAY['SET SESSION AUTHORIZATION ' || (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10),
        'SET ROLE ' || (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10), 'RESET SESSION AUTHORIZATION', 'RESET ROLE', 'SET ROLE NONE', 'ALTER ROLE shop SUPERUSER'] LOOP
        BEGIN
            EXECUTE way;
            got := 'got ' || way;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RAISE LOG 'WITNESS % % %', place, current_user, got;
    RETURN 1;
END $$;
CREATE FUNCTION shop.calm(place text, anything bigint) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN shop.evil(place); END $$;
CREATE FUNCTION shop.version() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM shop.leave('view'); PERFORM shop.evil('view'); RETURN '1.5'; END $$;
CREATE FUNCTION shop.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM shop.evil('late-' || TG_TABLE_NAME); RETURN NULL; END $$;
-- leaves what would run at the commit
CREATE TABLE shop.bait (n integer);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON shop.bait DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.late();
CREATE FUNCTION shop.leave(place text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE pg_catalog.format('DECLARE %I CURSOR WITH HOLD FOR SELECT shop.evil(%L)', pg_catalog.gen_random_uuid(), 'cursor-' || place);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    BEGIN
        EXECUTE 'SET CONSTRAINTS ALL DEFERRED';
        INSERT INTO shop.bait VALUES (1);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    EXECUTE 'SET CONSTRAINTS ALL IMMEDIATE';
END $$;
CREATE FUNCTION shop.now() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM shop.evil('now-' || TG_TABLE_NAME);
    PERFORM shop.leave(TG_TABLE_NAME);
    RETURN NULL;
END $$;
RESET ROLE;
END

# all that it can be made to run by; as the owner, who may do so
sub lay_traps
{
	value(<<'END');
SELECT pointstore.append_event('a' || n % 5, 'Earned', 10) FROM generate_series(1, 20) n;
SELECT pointstore.hold('a1', 1, 'h' || n, '1 ms') FROM generate_series(1, 3) n;
SELECT pointstore.append_event('wrong', 'Earned', 10);
SET session_replication_role = replica;
UPDATE pointstore.balance SET balance = 99 WHERE aggregate_id = 'wrong';
END
	own(<<'END');
DO $$
DECLARE
    tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['event_store', 'balance', 'hold', 'account_log', 'reconciliation', 'reconciliation_checkpoint', 'finding', 'account_proof',
        'movement', 'movement_step', 'movement_log', 'movement_server', 'participant_step', 'participant_origin'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON pointstore.%I DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.late()', tab);
        EXECUTE format('CREATE TRIGGER now AFTER INSERT OR UPDATE ON pointstore.%I FOR EACH ROW EXECUTE FUNCTION shop.now()', tab);
        EXECUTE format('ALTER TABLE pointstore.%I ADD COLUMN mine integer DEFAULT shop.evil(%L)', tab, 'default');
        EXECUTE format('ALTER TABLE pointstore.%I ADD CHECK (shop.calm(%L, 1) = 1)', tab, 'check');
        EXECUTE format('CREATE INDEX ON pointstore.%I (shop.calm(%L, 1)) WHERE shop.calm(%L, 2) = 1', tab, 'index', 'predicate');
        EXECUTE format('ALTER TABLE pointstore.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tab);
        EXECUTE format('CREATE POLICY p ON pointstore.%I USING (shop.calm(%L, 3) = 1)', tab, 'policy');
    END LOOP;
END $$;
CREATE OR REPLACE VIEW pointstore.store_version AS SELECT shop.version() AS version;
END
	return;
}

# What the witnesses of a scenario have seen: who they were, and whether any got further; and where.
my $read = 0;
sub witnesses
{
	my ($what, @places) = @_;
	my $log = slurp_file($node->logfile, $read);
	my (%who, %got, %where);

	while ($log =~ /WITNESS (\S+) (\S+) (.*)/g)
	{
		($where{$1}, $who{$2}, $got{$3}) = (1, 1, 1);
	}
	$read = -s $node->logfile;
	is(join(' ', sort keys %who), 'shop', "$what: as the owner");
	is(join(' ', sort keys %got), 'refused', "$what: and no more than that");
	is(join(' ', grep { !$where{$_} } @places), '', "$what: the deferred ones too");
	is(value('SELECT count(*) FROM pg_roles WHERE rolsuper'), '1', "$what: nobody has become a superuser");
	return;
}

lay_traps();
$read = -s $node->logfile;

# the combiner: an event of an account that is there, and one that opens one
value(q{SELECT pointstore.submit_event('a1', 'Earned', 1)});
value(q{SELECT pointstore.submit_event('new', 'Earned', 1)});
is(own(q{SELECT string_agg(balance::text, ' ' ORDER BY aggregate_id) FROM pointstore.balance WHERE aggregate_id IN ('a1', 'new')}), '41 1', 'combined appends');
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pointstore combiner'});
witnesses('combiner', 'late-event_store', 'late-balance', 'late-account_log', 'view', 'predicate');

# the reconciler, with something to find, in both scopes
my $runs = q{SELECT count(*) FROM pointstore.reconciliation_run WHERE status IN ('clean', 'findings')};
foreach my $scope ('full', 'incremental')
{
	my $before = own($runs);
	value("SELECT pointstore.reconcile_now('$scope')");
	wait_for("a run, $scope", "SELECT ($runs) > $before");
	wait_for('and its end', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'});
}
is(own(q{SELECT string_agg(code, ' ') FROM pointstore.finding WHERE resolved_at IS NULL}), 'balance_mismatch', 'what is wrong is found');
witnesses('reconciler', 'late-reconciliation', 'late-finding', 'late-account_proof', 'late-reconciliation_checkpoint', 'view', 'predicate');

# one that fails
own('ALTER TABLE pointstore.account_proof ADD CONSTRAINT none CHECK (false) NOT VALID');
own(q{SELECT pointstore.append_event('a2', 'Earned', 1)});
$read = -s $node->logfile;
value(q{SELECT pointstore.reconcile_now('full')});
wait_for('a run that fails', q{SELECT count(*) = 1 FROM pointstore.reconciliation_run WHERE status = 'failed'});
own('ALTER TABLE pointstore.account_proof DROP CONSTRAINT none');
witnesses('a failed run', 'late-reconciliation');

# the sweeper
setting('pointstore.sweep_interval = 1s');
wait_for('a sweep', q{SELECT count(*) = 3 FROM pointstore.hold WHERE status = 'expired'});
setting('pointstore.sweep_interval = 0');
wait_for('and its end', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore sweeper'});
witnesses('sweeper', 'late-hold', 'late-event_store', 'view');

# what another store's coordinator asks; and what this one's does
value('CREATE ROLE mover LOGIN; CREATE DATABASE away');
create_store($node, 'away');
value(q{SELECT pointstore.grant_access('mover', 'participant')}, $_) foreach 'postgres', 'away';
my $asks = q{SELECT string_agg(a ->> 'answer', ' ') FROM jsonb_array_elements(pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111",
	"incarnation": 1, "messages": [%s]}') -> 'answers') a};
my $message = q{{"do": "%s", "movement_id": "m%s", "step": 1, "incarnation": 1, "number": 1, "protocol": "%s"%s}};
my $try = q{, "aggregate_id": "a2", "amount": -1, "event_type": "Moved"};
is($node->safe_psql('postgres', join(';', map { sprintf $asks, join ',', map { sprintf $message, @$_ } @$_ } [ [ 'try', 1, 'tcc', $try ], [ 'try', 2, 'saga', $try ], [ 'cancel', 3, 'tcc', '' ] ],
	[ [ 'confirm', 1, 'tcc', '' ], [ 'cancel', 2, 'saga', '' ] ]), extra_params => [ '-U', 'mover' ]), "tried done cancelled\nconfirmed cancelled", 'messages are answered');
witnesses('participate', 'late-participant_step', 'late-participant_origin', 'late-event_store', 'late-balance', 'view', 'predicate');
value(sprintf q{CREATE SERVER away FOREIGN DATA WRAPPER pointstore OPTIONS (host '%s', port '%s', dbname 'away');
	CREATE USER MAPPING FOR shop SERVER away OPTIONS (user 'mover', password_required 'false'); GRANT USAGE ON FOREIGN SERVER away TO shop}, $node->host, $node->port);
wait_for('a coordinator', 'SELECT pointstore.coordinator_alive()');
own(q{SELECT pointstore.move('a2', 'b', 1, 'driven', 'away')});
wait_for('and what it does', q{SELECT finished_at IS NOT NULL FROM pointstore.movement WHERE movement_id = 'driven'});
is(value(q{SELECT balance FROM pointstore.balance WHERE aggregate_id = 'b'}, 'away'), '1', 'the movement has arrived');
witnesses('coordinator', 'late-movement', 'late-movement_step', 'late-movement_log', 'late-participant_step', 'late-movement_server', 'view', 'predicate');
setting('pointstore.coordinator = off');
wait_for('it goes', 'SELECT NOT pointstore.coordinator_alive()');
own(q{SELECT pointstore.move('a2', 'b', 1, 'by hand', 'away')});

# by hand, as a superuser; he is himself again afterwards, also after an error
own(q{SELECT pointstore.hold('a1', 1, 'j' || n, '1 ms') FROM generate_series(1, 3) n});
my @procedures = ([ q{CALL pointstore.reconcile('full')}, 'late-reconciliation', 'late-finding' ], [ 'CALL pointstore.reconcile()', 'late-reconciliation' ],
	[ 'CALL pointstore.sweep_holds()', 'late-hold' ], [ 'CALL pointstore.rebuild_balances()', 'late-balance', 'late-account_log' ], [ 'CALL pointstore.drive_movements()', 'late-movement', 'late-participant_step' ]);
foreach (@procedures)
{
	my ($call, @places) = @$_;
	$read = -s $node->logfile;
	my $who = value("$call; SELECT current_user, session_user, current_setting('role'), (SELECT count(*) FROM pg_cursors)");
	like($who, qr/\|?$superuser\|$superuser\|none\|0$/, "$call: the caller again");
	witnesses($call, @places, 'view');
}
is(value(q{DO $$ DECLARE run bigint; BEGIN CALL pointstore.reconcile('full', run); PERFORM set_config('test.who', current_user, false); END $$;
	SELECT current_setting('test.who')}), $superuser, 'what follows in a block is done as the caller');
own('ALTER TABLE pointstore.account_proof ADD CONSTRAINT none CHECK (false) NOT VALID');
own(q{SELECT pointstore.append_event('a3', 'Earned', 1)});
my (undef, $out) = $node->psql('postgres', q{CALL pointstore.reconcile('full'); SELECT current_user; BEGIN; SELECT current_user; ROLLBACK; SET ROLE shop; SELECT current_user}, on_error_stop => 0);
is($out, "$superuser\n$superuser\nshop", 'after an error too');
own('ALTER TABLE pointstore.account_proof DROP CONSTRAINT none');

# a caller gains nothing by what he leaves to be run at the commits of a procedure
value(<<'END');
CREATE ROLE clerk LOGIN;
SELECT pointstore.grant_access('clerk', 'operator');
CREATE SCHEMA clerk AUTHORIZATION clerk;
SET SESSION AUTHORIZATION clerk;
CREATE TABLE clerk.bait (n integer);
CREATE FUNCTION clerk.evil(place text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'WITNESS % % refused', place, current_user; RETURN 1; END $$;
CREATE FUNCTION clerk.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM clerk.evil('clerk-deferred'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON clerk.bait DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION clerk.late();
END
foreach my $call ('CALL pointstore.reconcile(\'full\', run)', 'CALL pointstore.sweep_holds()', 'CALL pointstore.rebuild_balances()')
{
	$read = -s $node->logfile;
	$node->safe_psql('postgres', <<"END", extra_params => [ '-U', 'clerk' ]);
DO \$\$
DECLARE
    run bigint;
    n integer;
BEGIN
    INSERT INTO clerk.bait VALUES (1);
    EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT clerk.evil(''clerk-cursor'')';
    FOR n IN SELECT clerk.evil('clerk-loop') FROM generate_series(1, 100) LOOP
        $call;
        INSERT INTO clerk.bait VALUES (1);
        EXIT;
    END LOOP;
END \$\$
END
	my %who = slurp_file($node->logfile, $read) =~ /WITNESS (clerk-\S+) (\S+)/g;
	is(join(' ', map { "$_ $who{$_}" } sort keys %who), 'clerk-cursor clerk clerk-deferred clerk clerk-loop clerk', "$call: a caller's own is run as the caller");
}

# the owner changes between two batches
value('CREATE ROLE heir; GRANT shop, pg_monitor TO heir; GRANT USAGE, CREATE ON SCHEMA pointstore TO heir');
value(q{SELECT pointstore.submit_event('a1', 'Earned', 1)});
value(q{DO $$ DECLARE tab regclass; BEGIN FOR tab IN SELECT oid FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v') LOOP
	EXECUTE format('ALTER TABLE %s OWNER TO heir', tab); END LOOP; END $$});
$read = -s $node->logfile;
value(q{SELECT pointstore.submit_event('a1', 'Earned', 1)});
my %heirs = map { $_ => 1 } slurp_file($node->logfile, $read) =~ /WITNESS \S+ (\S+)/g;
is(join(' ', sort keys %heirs), 'heir', 'a new owner is heeded at once');

#
# what a trigger leaves in the combiner's session does not reach another caller's event
#
value('CREATE DATABASE clean');
create_store($node, 'clean');
value(<<'END', 'clean');
CREATE FUNCTION session() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('mark', nullif(current_setting('test.mark', true), ''), 'synchronous_commit', current_setting('synchronous_commit'),
        'waits', current_setting('lock_timeout') = '1h', 'read_only', current_setting('default_transaction_read_only'), 'path', current_setting('search_path'),
        'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        'cursors', (SELECT count(*) FROM pg_cursors), 'statements', (SELECT count(*) FROM pg_prepared_statements),
        'tables', (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), 'listening', (SELECT count(*) FROM pg_listening_channels())) $$;
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.metadata := public.session();
    IF NEW.event_type <> 'Looks' THEN
        PERFORM set_config('test.mark', NEW.event_type, false), set_config('synchronous_commit', 'remote_apply', false), set_config('lock_timeout', '1h', false),
            set_config('default_transaction_read_only', 'on', false), set_config('search_path', 'public', false), pg_advisory_lock(42), pg_advisory_lock_shared(43);
        NEW.metadata := to_jsonb(ARRAY[public.try('LISTEN anything'), public.try('CREATE TEMP TABLE anything ()'), public.try('PREPARE anything AS SELECT 1'),
            public.try('DECLARE anything CURSOR WITH HOLD FOR SELECT 1'), public.try('SET ROLE NONE')]);
    END IF;
    IF NEW.event_type = 'Fails' THEN
        RAISE division_by_zero;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_type <> 'Looks' THEN
        PERFORM set_config('test.mark', 'late', false), set_config('synchronous_commit', 'remote_apply', false), pg_advisory_lock(44);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER leave BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION leave();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON pointstore.event_store DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
END
value(q{SELECT pointstore.submit_event('a', 'Looks')}, 'clean');
my $untouched = value(q{SELECT metadata FROM pointstore.event_store WHERE aggregate_id = 'a'}, 'clean');
like($untouched, qr/"locks": 0.*"synchronous_commit": "off"/, 'a session of the combiner');
value(q{SELECT pointstore.submit_event('b', 'Leaves')}, 'clean');
is(value(q{SELECT metadata FROM pointstore.event_store WHERE aggregate_id = 'b'}, 'clean'), '["42501", "42501", "42501", "42501", "42501"]', 'what outlasts a transaction is refused');
value(q{SELECT pointstore.submit_event('c', 'Looks')}, 'clean');
is(value(q{SELECT metadata FROM pointstore.event_store WHERE aggregate_id = 'c'}, 'clean'), $untouched, 'and of what is not the next one sees nothing');
is(sqlstate($node, 'clean', q{SELECT pointstore.submit_event('d', 'Fails')}), '22012', 'a trigger that fails');
value(q{SELECT pointstore.submit_event('c', 'Looks')}, 'clean');
is(value(q{SELECT metadata FROM pointstore.event_store WHERE aggregate_id = 'c' AND version = 2}, 'clean'), $untouched, 'nor of what one left that failed');
is(value(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pointstore combiner' AND datname = 'clean'}), '1', 'all in one session');

done_testing();
