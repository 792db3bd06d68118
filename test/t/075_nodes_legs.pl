# Legs of a transfer on several nodes, compared by full runs: what does not come to zero is found, of the first leg's account,
# and nothing of what is under way.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

plan skip_all => 'Citus is not installed' if citus_is_missing();

my $nodes = new_nodes(2, conf => 'pointstore.sequencer = off');
my ($c, $w1, $w2) = map { $nodes->{$_} } @{ $nodes->{names} };
distribute($nodes, 4);
my %group = groups_of($nodes);

sub accounts_on
{
	my ($name, $n) = @_;
	return split /\n/, rows_of($c, "SELECT 'acc' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('acc' || i) n WHERE n.node = $group{$name} ORDER BY i LIMIT $n");
}
my ($a, $a2) = accounts_on('w1', 2);
my ($b, $b2) = accounts_on('w2', 2);

# Alters the last event of an account on w2, and its balance with it, so that the account is sound by itself.
sub alter_leg
{
	my ($account, $by) = @_;
	my ($events, $balances) = map { "pointstore.${_}_" . $c->safe_psql('postgres', "SELECT get_shard_id_for_distribution_column('pointstore.$_', '$account')") } 'event_store', 'balance';
	$w2->safe_psql('postgres', qq{SET citus.enable_manual_changes_to_shards = on; SET session_replication_role = replica;
		UPDATE $events SET amount = amount + $by, balance_after = balance_after + $by WHERE aggregate_id = '$account' AND version = (SELECT version FROM $balances WHERE aggregate_id = '$account');
		UPDATE $balances SET balance = balance + $by WHERE aggregate_id = '$account'});
	return;
}

sub run_on { my ($node, $scope) = @_; return state_of(CitusTest::Session->new($node, options => '-c client_min_messages=error -c statement_timeout=2min'), "CALL pointstore.reconcile('$scope')"); }
sub reconcile { my ($scope) = @_; return join ' ', map { run_on($_, $scope) } $w1, $w2; }
sub open_findings { return rows_of($_[0] // $c, q{SELECT aggregate_id, code, severity, expected, found, version, action FROM pointstore.finding WHERE resolved_at IS NULL ORDER BY 1}); }
sub unverified { return rows_of($c, q{SELECT sum(unverified) FROM (SELECT DISTINCT ON (place) unverified FROM pointstore.reconciliation WHERE scope = 'full' ORDER BY place, id DESC) r}); }

is(state_of($c, "SELECT pointstore.append_event('$_', 'Given', 1000)"), '00000', "$_ has something") foreach $a, $a2, $b, $b2;
# the cause of an event may be any number
is(state_of($c, "SELECT pointstore.append_event('$a2', 'Caused', cause_id => $_)"), '00000', "... and an event caused by $_") foreach '9223372036854775807', '9223372036850000000';
is(state_of($c, "SELECT pointstore.transfer($_)"), '00000', "transfer($_)") foreach "'$b', '$a', 20, 'back'", "'$a', '$b2', 10, 'taken back'", "'$a', '$a2', 5, 'within'";
my $taken = rows_of($c, "SELECT version FROM pointstore.event_store WHERE aggregate_id = '$a' AND request_id = 'taken back'");
is(state_of($c, "SELECT pointstore.reverse_event('$a', $taken, 4)"), '00000', 'a part of one is taken back');
is(state_of($c, "SELECT pointstore.transfer('$a', '$b', 50, 'pay')"), '00000', 'a transfer');
my $version = rows_of($c, "SELECT version FROM pointstore.event_store WHERE aggregate_id = '$a' AND request_id = 'pay'");
is(reconcile('full'), '00000 00000', 'full runs');
is(open_findings(), '', 'nothing is wrong');
is(unverified(), 0, '... and all is verified');

# a leg that says something else
alter_leg($b, 1);
is(reconcile('incremental'), '00000 00000', 'incremental runs');
is(open_findings(), '', '... do not compare legs');
reconcile('full');
is(open_findings($_), "$a|transfer_unbalanced|critical|0|1|$version|reported", 'a full one does: seen on ' . $_->name) foreach $c, $w1, $w2;
reconcile('incremental');
reconcile('full');
is(open_findings(), "$a|transfer_unbalanced|critical|0|1|$version|reported", 'it stays');
is(rows_of($c, 'SELECT count(*) FROM pointstore.finding'), 1, '... one');
is(rows_of($w2, 'SELECT open_critical FROM pointstore.reconciliation_status'), 1, '... and is counted');
is(rows_of($w2, 'SELECT last_clean_full IS NOT NULL FROM pointstore.reconciliation_status'), 't', '... beside the clean runs of before');
alter_leg($b, -1);
reconcile('full');
is(open_findings(), '', 'put right, it is closed');
is(rows_of($c, 'SELECT resolved_by FROM pointstore.finding'), 'reconcile', '... by reconcile');

# what was taken back by one leg alone
alter_leg($b2, -1);
reconcile('full');
is(open_findings(), "$a|transfer_unbalanced|critical|0|-1|$taken|reported", 'a leg of a reversal');
alter_leg($b2, 1);

# known to an operator
alter_leg($b, 2);
reconcile('full');
my $finding = rows_of($c, 'SELECT id FROM pointstore.finding WHERE resolved_at IS NULL');
is(open_findings(), "$a|transfer_unbalanced|critical|0|2|$version|reported", 'wrong once more');
is(state_of($w2, "SELECT pointstore.acknowledge($finding, 'known')"), 'PS013', 'acknowledged where the account is not');
is(state_of($w1, "SELECT pointstore.acknowledge($finding, 'known')"), '00000', '... where it is');
reconcile('full');
is(open_findings(), '', 'it is not told again');
alter_leg($b, 1);
reconcile('full');
is(open_findings(), "$a|transfer_unbalanced|critical|0|3|$version|reported", '... but what is worse');

# Something stays prepared: what is wrong may be a leg that is under way.
alter_leg($b, -3);
reconcile('full');
is(open_findings(), '', 'right again');
alter_leg($b, 1);
$w2->safe_psql('postgres', q{BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'under way'});
reconcile('full');
is(open_findings(), '', 'beside a prepared transaction nothing is told');
is(unverified(), 1, '... and it is unverified');
$w2->safe_psql('postgres', q{ROLLBACK PREPARED 'under way'});
reconcile('full');
is(open_findings(), "$a|transfer_unbalanced|critical|0|1|$version|reported", '... afterwards it is');
alter_leg($b, -1);

# A node is away: the others go through their shards.
my ($with, $away) = rows_of($c, "SELECT node = $group{w1} FROM pointstore.node_of('')") eq 't' ? ($w1, $w2) : ($w2, $w1);
$away->stop('immediate');
is(run_on($with, 'full'), '00000', 'a run beside a node that is away');
$away->start;
is(unverified(), 1, '... has compared nothing');
is(reconcile('full'), '00000 00000', 'it is there again');
is(open_findings() . unverified(), '0', '... all is as it should be');

done_testing();
