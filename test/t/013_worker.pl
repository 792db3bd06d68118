# The scheduled reconciler: a launcher without a database, a worker that comes and
# goes, settings that are reloaded, and everything that must not trouble it or be
# troubled by it.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', conf => <<'END', allows_streaming => 1);
max_worker_processes = 16
restart_after_crash = on
pointstore.databases = 'app, "no such one", bare, closed'
pointstore.reconcile_interval = 1s
pointstore.full_reconcile_interval = 0
END
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE app; CREATE DATABASE bare; CREATE DATABASE closed ALLOW_CONNECTIONS false; CREATE ROLE keeper');
$node->safe_psql('app', q{CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper');
	SELECT count(pointstore.append_event('a' || n % 100, 'Earned', 1)) FROM generate_series(1, 1000) n});

sub wait_for
{
	my ($what, $query, $db) = @_;
	ok(poll_until($node, $db // 'app', $query), $what);
	return;
}

my $runs = q{SELECT count(*) FROM pointstore.reconciliation_run WHERE triggered_by = 'worker' AND status = 'clean'};
wait_for('it runs by itself', "SELECT ($runs AND scope = 'incremental') > 0");
wait_for('and again', "SELECT ($runs AND scope = 'incremental') > 1");
is($node->safe_psql('app', "$runs AND scope = 'full'"), 0, 'no full run where that is off');

# whatever the database says for its sessions
$node->safe_psql('postgres', q{ALTER DATABASE app SET default_transaction_read_only = on; ALTER DATABASE app SET default_transaction_isolation = 'serializable'});
wait_for('runs go on in a database that is read-only by default', "SELECT ($runs) > " . $node->safe_psql('app', $runs) . " + 1");
$node->safe_psql('postgres', 'ALTER DATABASE app RESET ALL');

# what is seen of it
is($node->safe_psql('app', 'SELECT worker_alive FROM pointstore.reconciliation_status'), 't', 'the status says that it is alive');
is($node->safe_psql('postgres', q{SELECT count(*), count(datid) FROM pg_stat_activity WHERE backend_type = 'pointstore launcher' AND query <> ''}),
	'1|0', 'the launcher shows itself, in no database');
my @refused = grep { /"(?:no such one|closed)".*not reconciled/ } split /\n/, slurp_file($node->logfile);
is(scalar(@refused), 2, 'a database that is not there, and one that is closed, are logged once');

# one that comes later
$node->safe_psql('postgres', 'CREATE DATABASE "no such one"');
create_store($node, 'no such one');
wait_for('a database that is made later is served', "SELECT ($runs) > 0", 'no such one');
$node->safe_psql('postgres', 'DROP DATABASE "no such one"');

# reloaded settings
$node->append_conf('postgresql.conf', "pointstore.full_reconcile_interval = 1d");
$node->reload;
wait_for('a full run when it is due', "SELECT ($runs AND scope = 'full') = 1");
my $seen = $node->safe_psql('app', $runs);
wait_for('and then incremental ones again', "SELECT ($runs) >= $seen + 2");
is($node->safe_psql('app', "$runs AND scope = 'full'"), 1, 'a full run once a day');
$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 0\npointstore.full_reconcile_interval = 0");
$node->reload;
sleep 2;
$seen = $node->safe_psql('app', 'SELECT count(*) FROM pointstore.reconciliation_run');
sleep 2;
is($node->safe_psql('app', 'SELECT count(*) FROM pointstore.reconciliation_run'), $seen, 'off is off');
is($node->safe_psql('app', 'SELECT worker_alive FROM pointstore.reconciliation_status'), 'f', 'and the status says so');

# now, and what it finds
$node->safe_psql('app', q{UPDATE pointstore.account_kind SET on_mismatch = 'freeze'; SET session_replication_role = replica; UPDATE pointstore.balance SET balance = 99 WHERE aggregate_id = 'a7'});
$node->safe_psql('app', q{SELECT pointstore.reconcile_now('full')});
wait_for('a run told to start now finds it', q{SELECT count(*) = 1 FROM pointstore.finding WHERE aggregate_id = 'a7' AND resolved_at IS NULL});
is($node->safe_psql('app', q{SELECT action, by_role FROM pointstore.account_log WHERE aggregate_id = 'a7' AND action <> 'open'}), 'freeze|keeper',
	'and acts as the owner');
is(sqlstate($node, 'app', q{SELECT pointstore.reconcile_now('all')}), '22023', 'of a scope that there is');
like(slurp_file($node->logfile), qr/WARNING:.*a7/, 'with a WARNING in the log');
$node->safe_psql('app', q{SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL; SELECT pointstore.unfreeze_account('a7', 'repaired')});

# an error of its own stands in the run's row
$node->safe_psql('app', q{ALTER TABLE pointstore.account_proof ADD CONSTRAINT no_x CHECK (aggregate_id <> 'x')});
$node->safe_psql('app', q{SELECT pointstore.append_event('x', 'Earned', 1); SELECT pointstore.reconcile_now()});
wait_for('an error ends the run and is told', q{SELECT count(*) = 1 FROM pointstore.reconciliation_run WHERE status = 'failed' AND error LIKE '%no_x%'});
# on schedule it backs off: after n failures in a row 2 ^ (n - 1) intervals
$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 1s");
$node->reload;
wait_for('it fails again and again', q{SELECT count(*) > 4 FROM pointstore.reconciliation_run WHERE status = 'failed'});
is($node->safe_psql('app', q{SELECT bool_and(pause > interval '0.9 s' * 2 ^ (n - 2)) FROM (
		SELECT started_at - lag(started_at) OVER (ORDER BY id) AS pause, row_number() OVER (ORDER BY id) AS n
		  FROM pointstore.reconciliation_run WHERE status = 'failed') r WHERE n > 1}), 't', 'less and less often');
$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 0");
$node->reload;
$node->safe_psql('app', 'ALTER TABLE pointstore.account_proof DROP CONSTRAINT no_x; CALL pointstore.reconcile()');

# full runs that fail do not keep incremental ones away
$node->safe_psql('app', q{CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING MESSAGE = ''no full run''; END';
	CREATE TRIGGER refuse BEFORE UPDATE ON pointstore.reconciliation FOR EACH ROW WHEN (NEW.scope = 'full' AND NEW.status IN ('clean', 'findings')) EXECUTE FUNCTION public.refuse();
	DELETE FROM pointstore.reconciliation WHERE scope = 'full'});
$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 1s\npointstore.full_reconcile_interval = 1d");
$node->reload;
wait_for('incremental runs go on', q{SELECT max(id) FILTER (WHERE scope = 'incremental' AND status = 'clean') > min(id) FILTER (WHERE scope = 'full' AND status = 'failed')
	FROM pointstore.reconciliation_run});
$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 0\npointstore.full_reconcile_interval = 0");
$node->reload;
$node->safe_psql('app', 'DROP TRIGGER refuse ON pointstore.reconciliation; DROP FUNCTION public.refuse()');
wait_for('no worker', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');

# incremental runs go on beside a full one that takes long, a worker's or a manual one
$node->safe_psql('app', q{CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END';
	CREATE TRIGGER wait AFTER INSERT ON pointstore.reconciliation FOR EACH ROW WHEN (NEW.scope = 'full') EXECUTE FUNCTION public.wait();
	DELETE FROM pointstore.reconciliation WHERE scope = 'full'});
foreach my $whose ('worker', 'manual')
{
	my $waiting = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 7};
	my $keeper = $node->background_psql('app');
	$keeper->query_safe('SELECT FROM pg_advisory_lock(7)');
	my ($told, $said) = ('', '');
	my $call = IPC::Run::start([ 'psql', '-Xqt', '-d', $node->connstr('app'), '-c',
			$whose eq 'manual' ? q{CALL pointstore.reconcile('full')} : 'SELECT' ], '<', \undef, '>', \$told, '2>', \$said);
	wait_for('a manual full run', $waiting) if $whose eq 'manual';
	$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 1s\npointstore.full_reconcile_interval = 1d");
	$node->reload;
	wait_for("a full run that takes long: $whose", $waiting);
	my $done = $node->safe_psql('app', "$runs AND scope = 'incremental'");
	wait_for("$whose: incremental ones go on beside it", "SELECT ($runs AND scope = 'incremental') > $done + 1");
	is($node->safe_psql('app', $waiting), 't', "$whose: and it still runs");
	$node->append_conf('postgresql.conf', "pointstore.reconcile_interval = 0\npointstore.full_reconcile_interval = 0");
	$node->reload;
	$keeper->quit;
	$call->finish;
	wait_for('no worker', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');
}
$node->safe_psql('app', 'DROP TRIGGER wait ON pointstore.reconciliation; DROP FUNCTION public.wait()');

# what the database prescribes for its sessions is not for it
my @prescribed = ("default_transaction_read_only = on", "default_transaction_isolation = serializable", "lock_timeout = 1");
$node->safe_psql('postgres', "ALTER DATABASE app SET $_") foreach @prescribed;
$seen = $node->safe_psql('app', $runs);
$node->safe_psql('app', 'BEGIN READ WRITE; SELECT pointstore.reconcile_now(); COMMIT');
wait_for('a run in a database that is read only by default', "SELECT ($runs) = $seen + 1");
$node->safe_psql('postgres', 'ALTER DATABASE app RESET ALL');

# settings change while it runs
$node->append_conf('postgresql.conf', "pointstore.reconcile_delay = 60s");
$node->reload;
$node->safe_psql('app', q{SELECT pointstore.append_event('late', 'Earned', 1)});
my $writer = $node->background_psql('app');
$writer->query_safe('BEGIN; SELECT pg_current_xact_id()');
$seen = $node->safe_psql('app', $runs);
$node->safe_psql('app', q{SELECT pointstore.reconcile_now()});
wait_for('a run that rests', q{SELECT count(*) = 1 FROM pointstore.reconciliation_run WHERE status = 'running'});
$node->append_conf('postgresql.conf', "pointstore.reconcile_delay = 0");
$node->reload;
wait_for('rests no more', "SELECT ($runs) = $seen + 1");
$writer->quit;

# killed in the middle it shows as interrupted, and the next run goes on; this one looks at one account
# again, for a transaction that may have written events was open in the run before
$node->safe_psql('app', q{SELECT count(pointstore.append_event('b' || n, 'Earned', 1)) FROM generate_series(1, 30000) n});
$node->append_conf('postgresql.conf', "pointstore.reconcile_delay = 200ms");
$node->reload;
$node->safe_psql('app', q{SELECT pointstore.reconcile_now()});
wait_for('a slow run', q{SELECT count(*) = 1 FROM pointstore.reconciliation_run WHERE status = 'running'});
wait_for('shows what it is doing', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler' AND query LIKE 'pointstore: incremental%' AND wait_event_type IS NOT NULL});
wait_for('and how far it is', q{SELECT count(*) = 1 FROM pointstore.reconcile_progress p JOIN pg_stat_activity a USING (pid)
	WHERE database = 'app' AND scope = 'incremental' AND phase = 'examining accounts' AND accounts_done > 0
	  AND accounts_total = 30001 AND events_done IN (accounts_done, accounts_done - 1) AND percent BETWEEN 3 AND 99 AND started_at > a.backend_start});
$node->safe_psql('app', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'});
is($node->safe_psql('app', 'SELECT count(*) FROM pointstore.reconcile_progress'), 0, 'progress ends with it');
wait_for('terminated: interrupted', q{SELECT count(*) = 1 FROM pointstore.reconciliation_run WHERE status = 'interrupted'});

# DROP DATABASE and a copy do not wait for it
$node->safe_psql('app', q{SELECT pointstore.reconcile_now()});
wait_for('at work again', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
is($node->safe_psql('copy', 'SELECT count(*) > 30000 FROM pointstore.event_store'), 't', 'the database is copied from under it');
$node->safe_psql('copy', q{SELECT pointstore.reconcile_now()});
wait_for('at work in the copy', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');
$node->safe_psql('postgres', 'DROP DATABASE copy');
pass('and dropped');

# who needs a lock that it holds for long gets it: here it waits for one lock and holds others
my ($out, $err) = ('', '');
my $holder = IPC::Run::start([ 'psql', '-Xqt', '-d', $node->connstr('app'), '-c',
		'BEGIN; LOCK TABLE pointstore.account_proof IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)' ], '<', \undef, '>', \$out, '2>', \$err);
wait_for('a lock', q{SELECT count(*) = 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'pointstore.account_proof'::regclass AND granted});
$node->safe_psql('app', q{SELECT pointstore.reconcile_now('full')});
wait_for('a run that waits for it', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'pointstore.account_proof'::regclass});
is($node->safe_psql('app', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'pointstore.event_store'::regclass
	AND pid = (SELECT pid FROM pointstore.reconcile_progress)}), 't', 'and keeps a lock on the events');
$node->safe_psql('app', q{SET lock_timeout = '60s'; BEGIN; LOCK TABLE pointstore.event_store; COMMIT});
$node->safe_psql('app', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'});
$holder->finish;
wait_for('the lock is gone', q{SELECT count(*) = 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'pointstore.account_proof'::regclass});
is($node->safe_psql('app', q{SELECT status, error IS NOT NULL, finished_at IS NULL FROM pointstore.reconciliation_run WHERE scope = 'full' ORDER BY id DESC LIMIT 1}),
	'interrupted|t|t', 'it was cancelled, which is an interruption');

# DROP EXTENSION while it rests between two steps
$node->safe_psql('app', q{SELECT pointstore.reconcile_now()});
wait_for('at work once more', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');
$node->safe_psql('app', 'SET client_min_messages = warning; DROP EXTENSION pointstore CASCADE');
wait_for('it is gone with the extension', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');
$node->safe_psql('app', 'CREATE EXTENSION pointstore; SELECT pointstore.upgrade_store()');

# kill -9 of the worker: the server starts again, and the run shows as interrupted
$node->safe_psql('app', q{SELECT pointstore.reconcile_now()});
wait_for('a last time', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'}, 'postgres');
my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'});
kill 'KILL', $pid;
sleep 1;
wait_for('the server is back', 'SELECT true');
is($node->safe_psql('app', q{SELECT count(*) FROM pointstore.reconciliation_run WHERE status = 'running'}), 0, 'nothing is left running');
$node->append_conf('postgresql.conf', "pointstore.reconcile_delay = 0\npointstore.reconcile_interval = 1s");
$node->reload;
wait_for('and runs again, to the end', q{SELECT count(*) > 0 FROM pointstore.reconciliation_run WHERE status = 'clean' AND accounts_checked > 20000});
is(faults($node, 'app'), '', 'the store is sound');

# a standby has no launcher until it is promoted
my $backup = $node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
my $before = $standby->safe_psql('app', 'SELECT count(*) FROM pointstore.reconciliation_run');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pointstore%'}), 0, 'none on a standby');
is(sqlstate($standby, 'app', 'CALL pointstore.reconcile()'), '25006', 'nor by hand');
$standby->promote;
ok(poll_until($standby, 'app', "SELECT count(*) > $before FROM pointstore.reconciliation_run"), 'it runs after promotion');
$standby->stop('fast');

$node->stop('fast');
pass('a fast stop is not held up');
done_testing();
