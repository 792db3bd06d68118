# A store that is being filled by others: while it is restored, or a subscription brings it
# up to date, nothing is done there on schedule; where rows come from elsewhere the
# reconciler is in nobody's way, and its runs look at what is new alone.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', allows_streaming => 'logical', conf => "max_worker_processes = 16\nlog_min_messages = log");
$node->start;
my $copy = new_cluster('copy', allows_streaming => 'logical',
	conf => "max_worker_processes = 16\npointstore.reconcile_interval = 1s\npointstore.sweep_interval = 1s\npointstore.full_reconcile_interval = 1s");
$copy->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', q{SELECT count(pointstore.append_event('a' || n % 10, 'Earned', 1)) FROM generate_series(1, 100) n;
	SELECT pointstore.hold('a1', 1, 'h', '1 second');
	SET client_min_messages = error; CALL pointstore.reconcile('full'); CALL pointstore.reconcile()});

sub serve
{
	my ($db) = @_;
	$copy->append_conf('postgresql.conf', "pointstore.databases = '$db'");
	$copy->reload;
	return;
}

# Whether the schedule has looked at a database: its worker says so once when it leaves it alone.
sub left_alone
{
	my ($db, $why) = @_;
	foreach (1 .. 600)
	{
		# a moment more, for the schedule of whatever else there is
		return sleep 3 if slurp_file($copy->logfile) =~ /LOG:  the store of database "$db" $why/;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

my $runs = 'SELECT count(*) FROM pointstore.reconciliation WHERE id > 2';

# a restore: data first, keys and triggers last
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
$copy->safe_psql('postgres', 'CREATE DATABASE restored');
$copy->command_ok([ 'pg_restore', "--section=$_", '-d', $copy->connstr('restored'), $dump ], "restored: $_") foreach qw(pre-data data);
serve('restored');
ok(left_alone('restored', 'lacks'), 'the schedule comes to it');
is($copy->safe_psql('restored', $runs), 0, 'and makes no run while keys and triggers are missing');
is($copy->safe_psql('restored', q{SELECT status FROM pointstore.hold}), 'open', 'nor a sweep');
$copy->command_ok([ 'pg_restore', '--section=post-data', '-d', $copy->connstr('restored'), $dump ], 'restored: the rest');
ok($copy->poll_query_until('restored', "SELECT count(*) > 2 FROM pointstore.reconciliation WHERE id > 2 AND status = 'clean'"), 'then there are runs, and clean ones');
ok($copy->poll_query_until('restored', q{SELECT status = 'expired' FROM pointstore.hold}), 'and sweeps');

# ids that were restored, and not drawn from the sequences
$copy->safe_psql('postgres', 'CREATE DATABASE ids');
create_store($copy, 'ids');
$copy->safe_psql('ids', q{INSERT INTO pointstore.reconciliation (id, scope, triggered_by) OVERRIDING SYSTEM VALUE SELECT n, 'full', 'manual' FROM generate_series(1, 5) n;
	INSERT INTO pointstore.finding (id, aggregate_id, code, severity, detail, resolved_at) OVERRIDING SYSTEM VALUE SELECT n, 'x', 'x', 'error', '{}', now() FROM generate_series(1, 5) n;
	SELECT pointstore.append_event('wrong', 'Earned', 1); SET session_replication_role = replica; UPDATE pointstore.balance SET balance = 2});
is($copy->safe_psql('ids', q{SET client_min_messages = error; CALL pointstore.reconcile('full')}), 6, 'a run has an id of its own');
is($copy->safe_psql('ids', 'SELECT id FROM pointstore.finding WHERE resolved_at IS NULL'), 6, 'and so has a finding');

# what else a store lacks is found on schedule
$copy->safe_psql('ids', 'ALTER SEQUENCE pointstore.event_store_id_seq CACHE 2');
serve('ids');
ok($copy->poll_query_until('ids', q{SELECT count(*) = 1 FROM pointstore.finding WHERE code = 'sequence_settings' AND resolved_at IS NULL}), 'settings of the sequence');

# a subscription that does not come to an end: a row is in its way
my $tables = join ', ', map { "pointstore.$_" } qw(account_kind balance pure_account event_store hold account_log);
$node->safe_psql('postgres', "CREATE PUBLICATION store FOR TABLE $tables; CREATE PUBLICATION everything FOR ALL TABLES");
$copy->safe_psql('postgres', 'CREATE DATABASE fed');
create_store($copy, 'fed');
my $connstr = $node->connstr . ' dbname=postgres';
$copy->safe_psql('fed', qq{CREATE SUBSCRIPTION fed CONNECTION '$connstr' PUBLICATION store});
serve('fed');
ok(left_alone('fed', 'is written by a subscription'), 'the schedule comes to a subscriber');
is($copy->safe_psql('fed', 'SELECT count(*) FROM pointstore.reconciliation'), 0, 'no run while it is not in sync');
$copy->safe_psql('fed', 'SET session_replication_role = replica; DELETE FROM pointstore.account_kind');
$copy->wait_for_subscription_sync($node, 'fed');
ok($copy->poll_query_until('fed', q{SELECT count(*) > 3 FROM pointstore.reconciliation WHERE status = 'clean' AND scope = 'incremental'}), 'then there are, clean ones');
is($copy->safe_psql('fed', q{SELECT status FROM pointstore.hold}), 'open', 'and no sweep: the events come from elsewhere');

# by hand, one after the other
serve('none');
$copy->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'});
my $checked = q{SET client_min_messages = error; CALL pointstore.reconcile(); SELECT accounts_checked FROM pointstore.reconciliation ORDER BY id DESC LIMIT 1};
$copy->safe_psql('fed', $checked) foreach 1, 2;
is((split /\n/, $copy->safe_psql('fed', $checked))[-1], 0, 'with nothing new an incremental run looks at nothing');
$node->safe_psql('postgres', q{SELECT pointstore.append_event('a3', 'Earned', 1)});
$node->wait_for_catchup('fed');
is((split /\n/, $copy->safe_psql('fed', $checked))[-1], 1, 'and with an event at its account');
is($copy->safe_psql('fed', q{SELECT version = 11 FROM pointstore.account_proof WHERE aggregate_id = 'a3'}), 't', 'which is proved');

# what the reconciler keeps of its own, replicated against the advice
$copy->safe_psql('postgres', 'CREATE DATABASE everything');
create_store($copy, 'everything');
$copy->safe_psql('everything', 'DELETE FROM pointstore.account_kind');
$copy->safe_psql('everything', qq{CREATE SUBSCRIPTION everything CONNECTION '$connstr' PUBLICATION everything});
$copy->wait_for_subscription_sync($node, 'everything');
serve('everything');
ok(left_alone('everything', 'is written by a subscription'), 'the schedule comes to who subscribes to everything');
$node->safe_psql('postgres', q{SELECT pointstore.append_event('new', 'Earned', 1); SET client_min_messages = error; CALL pointstore.reconcile(); CALL pointstore.reconcile('full')});
$node->wait_for_catchup('everything');
is($copy->safe_psql('everything', q{SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'new'}), 1, 'and is not in the way of replication');
is($copy->safe_psql('everything', 'SELECT count(*) FROM pointstore.reconciliation'), $node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.reconciliation'), 'nor does it make runs of its own');

$copy->stop;
$node->stop;
done_testing();
