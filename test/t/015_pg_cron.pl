# Reconciliation scheduled by pg_cron as doc/operations.md says, for a role that is not a
# superuser: in pg_cron's background workers, and over connections of its own to a
# server that does not preload pointstore. The jobs are made to run when the
# server starts, so that nobody has to wait for a minute to end.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main');
$node->start;
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'}) eq '0')
{
	$node->stop;
	plan(skip_all => 'pg_cron is not installed');
}

$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'pointstore, pg_cron'
cron.database_name = 'app'
cron.host = '@{[$node->host]}'
cron.use_background_workers = on
max_worker_processes = 20
END
$node->restart;
create_store($node, 'app');
$node->safe_psql('app', q{SELECT count(pointstore.append_event('a' || n % 100, 'Earned', 1)) FROM generate_series(1, 1000) n});

my ($block) = slurp_file("$FindBin::RealBin/../../doc/operations.md") =~ /^~~~sql\n(CREATE EXTENSION pg_cron;.*?)^~~~$/ms;
$node->safe_psql('app', $block);
is($node->safe_psql('app', 'SELECT database, username, active, command FROM cron.job ORDER BY command'),
	"app|shop_cron|t|CALL pointstore.reconcile('full')\napp|shop_cron|t|CALL pointstore.reconcile()\napp|shop_cron|t|SELECT pointstore.sequence_feed()", 'the jobs of doc/operations.md');
is($node->safe_psql('app', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'shop_cron'}), 'f', 'of an ordinary role');
$node->safe_psql('app', q{UPDATE cron.job SET schedule = '@reboot'});

# Restarts the server and waits until its jobs have ended; returns what their runs say.
sub run_jobs
{
	my $jobs = 'SELECT count(*) FROM cron.job_run_details WHERE end_time IS NOT NULL';
	my $before = $node->safe_psql('app', $jobs);
	my $last = $node->safe_psql('app', 'SELECT coalesce(max(id), 0) FROM pointstore.reconciliation_run');
	$node->restart;
	$node->poll_query_until('app', "SELECT ($jobs) = $before + 3") or die 'pg_cron has not run the jobs';
	return $node->safe_psql('app', qq{SELECT scope, status, findings, triggered_by FROM pointstore.reconciliation_run
		WHERE id > $last ORDER BY scope});
}

foreach my $way ('in workers', 'over connections')
{
	is(run_jobs(), "full|clean|0|manual\nincremental|clean|0|manual", "$way: all run, and nothing is wrong");
	is($node->safe_psql('app', 'SELECT pointstore.feed_head() = count(*) FROM pointstore.event_store'), 't', "$way: each event has a position");
	$node->safe_psql('app', q{SELECT pointstore.append_event('a7', 'Earned', 1)});
	$node->safe_psql('app', q{SET session_replication_role = replica;
		UPDATE pointstore.balance SET balance = balance + 1000 WHERE aggregate_id IN ('a7', 'a8')});
	like(run_jobs(), qr/^full\|findings\|2\|manual\nincremental\|findings\|[12]\|manual$/, "$way: what was altered is found by the next");
	is($node->safe_psql('app', q{SELECT aggregate_id, code, severity FROM pointstore.finding WHERE resolved_at IS NULL ORDER BY 1}),
		"a7|balance_mismatch|error\na8|balance_mismatch|error", "$way: once");
	$node->safe_psql('app', q{SELECT pointstore.repair(id) FROM pointstore.finding WHERE resolved_at IS NULL});
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_cron'\ncron.use_background_workers = off");
}
is($node->safe_psql('app', 'SELECT status, username, count(*) FROM cron.job_run_details GROUP BY 1, 2'), 'succeeded|shop_cron|12', 'pg_cron says so too');
is(faults($node, 'app'), '', 'the store is sound');

$node->stop;
done_testing();
