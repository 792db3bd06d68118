# An account with a long history that is appended to all the time: it is examined without a
# lock, so nobody waits for the reconciler; what is wrong with it is found nevertheless, and
# who cancels a run on schedule while it examines that account stops nothing else.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $events = 200000;
my $node = new_cluster('main', conf => 'max_worker_processes = 16');
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<"END");
BEGIN;
SELECT pointstore.open_account('busy'), pointstore.open_account('quiet');
SET LOCAL session_replication_role = replica;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), 'busy', n, 'Earned', 1, 0, n, '{}', '2026-01-01', '2026-01-01' FROM generate_series(1, $events) n;
UPDATE pointstore.balance SET version = $events, balance = $events, held = 5 WHERE aggregate_id = 'busy';
UPDATE pointstore.balance SET balance = 5, version = 1 WHERE aggregate_id = 'quiet';
COMMIT;
VACUUM ANALYZE pointstore.event_store;
END

my $last = q{SELECT * FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1};

# Starts a statement in a session of its own.
sub begin
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET client_min_messages = error', '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err);
}

# Looks at the row again and again, until the run is over: how often it was locked, and how often not.
sub watch
{
	my ($call) = @_;
	my %seen = (free => 0, locked => 0);
	my $run = begin($call);
	while ($run->pumpable)
	{
		my $state = sqlstate($node, 'postgres', q{SELECT FROM pointstore.balance WHERE aggregate_id = 'busy' FOR NO KEY UPDATE NOWAIT});
		$seen{ $state eq '00000' ? 'free' : 'locked' }++;
		$run->pump_nb;
	}
	$run->finish;
	return %seen;
}

foreach my $scope ('full', 'incremental')
{
	my %seen = watch("CALL pointstore.reconcile('$scope')");
	cmp_ok($seen{locked}, '<', 3, "$scope: the row is locked a moment only ($seen{locked} of " . ($seen{locked} + $seen{free}) . ' looks)');
	is($node->safe_psql('postgres', "SELECT scope, status, findings, unverified FROM ($last) r"), "$scope|findings|2|0", "$scope: and what is wrong is seen");
}
$node->safe_psql('postgres', 'DELETE FROM pointstore.finding');

# two that append meanwhile
$node->safe_psql('postgres', 'CREATE TABLE public.go_on ()');
$node->safe_psql('postgres', <<'END');
CREATE PROCEDURE public.append() LANGUAGE plpgsql AS $$
BEGIN
    WHILE to_regclass('public.go_on') IS NOT NULL LOOP
        PERFORM pointstore.append_event('busy', 'Earned', 1);
        COMMIT;
    END LOOP;
END $$
END
my @appenders = map { begin('CALL public.append()') } 1, 2;
my $columns = 'aggregate_id, code, found - expected';
foreach my $scope ('full', 'incremental')
{
	$node->safe_psql('postgres', "SET client_min_messages = error; CALL pointstore.reconcile('$scope')");
	is($node->safe_psql('postgres', "SELECT status, findings, unverified FROM ($last) r"), 'findings|2|0', "$scope, while it is appended to: nothing is left unverified");
	is($node->safe_psql('postgres', "SELECT $columns FROM pointstore.finding WHERE resolved_at IS NULL ORDER BY 1, 2"),
		"busy|held_mismatch|5\nquiet|orphan_balance|5", "$scope: what differs is what differed");
}

# cancelled on schedule while it examines the account
$node->safe_psql('postgres', q{SELECT pointstore.reconcile_now('full')});
my $examining = q{SELECT pid FROM pointstore.reconcile_progress WHERE phase = 'examining accounts'};
$node->poll_query_until('postgres', "SELECT count(pg_cancel_backend(pid)) > 0 FROM ($examining) p");
$node->poll_query_until('postgres', "SELECT status <> 'running' FROM ($last) r");
is($node->safe_psql('postgres', "SELECT triggered_by, status, findings + unverified, unverified > 0 FROM ($last) r"), 'worker|findings|2|t',
	'an account whose examination was cancelled is unverified, and the run goes on');
# by hand the cancel is the user's
my $run = begin(q{CALL pointstore.reconcile('full')});
$node->poll_query_until('postgres', "SELECT count(pg_cancel_backend(pid)) > 0 FROM ($examining) p");
$run->finish;
is($node->safe_psql('postgres', "SELECT triggered_by, status FROM ($last) r"), 'manual|interrupted', 'a call that its user cancels ends');

$node->safe_psql('postgres', 'DROP TABLE public.go_on');
$_->finish foreach @appenders;
# repaired while somebody looks: what was seen does not stand any more, and is not recorded again
$node->safe_psql('postgres', q{CALL pointstore.reconcile('full')});
$run = begin(q{CALL pointstore.reconcile('full')});
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM ($examining) p");
$node->safe_psql('postgres', q{SELECT pointstore.repair(id) FROM pointstore.finding WHERE aggregate_id = 'busy' AND resolved_at IS NULL});
$run->finish;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.finding WHERE aggregate_id = 'busy' AND resolved_at IS NULL}), 0,
	'a finding that is repaired meanwhile is not raised again');

# however short a transaction should be, there is a limit to the slices
$node->safe_psql('postgres', q{SET client_min_messages = error; SET pointstore.reconcile_max_transaction = 1; CALL pointstore.reconcile('full')});
is($node->safe_psql('postgres', "SELECT slices, slices_done FROM ($last) r"), '256|256', 'so many slices at the most');

$node->stop;
done_testing();
