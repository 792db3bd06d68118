# What is done to all accounts of a store on Citus: balances are rebuilt, and snapshots dropped, by each node for its own shards;
# histories are gone through on all nodes, from any of them.

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

my $nodes = new_nodes(2);
my ($c, $w1, $w2) = map { $nodes->{$_} } @{ $nodes->{names} };
my @all = ($c, $w1, $w2);
my $quiet = '-c client_min_messages=error';
my $behind = 'SET citus.override_table_visibility = off; SET session_replication_role = replica; SET citus.enable_manual_changes_to_shards = on;';

# the plain store beside it, in which the same is done; both are of a role that cannot log in
$c->safe_psql('postgres', 'CREATE DATABASE plain; CREATE ROLE keeper; CREATE ROLE looker LOGIN');
create_store($c, 'plain');
$c->safe_psql($_, q{SELECT pointstore.give_store('keeper'), pointstore.grant_owner('keeper')}) foreach 'postgres', 'plain';
distribute($nodes, 6);
$c->safe_psql($_, q{SELECT pointstore.grant_access('keeper', 'operator'), pointstore.grant_access('looker', 'reader')}) foreach 'postgres', 'plain';
my $made = <<'END';
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('order', NULL);
SELECT count(*) FROM pointstore.append_events((SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'o' || i % 30, 'event_type', 'E' || i % 7, 'amount', i, 'kind', 'order')) FROM generate_series(1, 300) i));
END
$c->safe_psql($_, $made) foreach 'postgres', 'plain';
my %group = groups_of($nodes);
my %accounts = map { my $name = $_; $name => [ split /\n/, rows_of($c, "SELECT 'o' || i FROM generate_series(0, 29) i JOIN pointstore.shard_map m ON hashtext('o' || i) BETWEEN m.min_hash AND m.max_hash WHERE m.node = $group{$name} ORDER BY i") ] } 'w1', 'w2';
cmp_ok(scalar @{ $accounts{$_} }, '>', 5, "$_ has accounts") foreach 'w1', 'w2';

# One too much in each of these, on its node.
sub damage
{
	my ($name, @accounts) = @_;
	foreach my $account (@accounts)
	{
		my $shard = $c->safe_psql('postgres', "SELECT get_shard_id_for_distribution_column('pointstore.balance', '$account')");
		$nodes->{$name}->safe_psql('postgres', "$behind UPDATE pointstore.balance_$shard SET balance = balance + 1 WHERE aggregate_id = '$account'");
	}
	return;
}
sub damaged { return rows_of($c, 'SELECT count(*) FROM pointstore.balance b JOIN (SELECT aggregate_id, sum(amount) AS total FROM pointstore.event_store GROUP BY 1) e USING (aggregate_id) WHERE b.balance <> e.total'); }
sub run_on { my ($node, $sql) = @_; return state_of(CitusTest::Session->new($node, options => $quiet), $sql); }

# One account, through each node.
my ($a, $b) = ($accounts{w1}[0], $accounts{w2}[0]);
foreach my $through (@all)
{
	damage('w1', $a);
	damage('w2', $b);
	is(rows_of($through, "SELECT old_balance - new_balance, changed FROM pointstore.rebuild_balance('$_')"), '1|t', "$_ is rebuilt through " . $through->name) foreach $a, $b;
	is(rows_of($through, "SELECT changed FROM pointstore.rebuild_balance('$_')"), 'f', '... once') foreach $a, $b;
}
is(damaged(), 0, 'balances are right');

# All accounts.
damage($_, @{ $accounts{$_} }) foreach 'w1', 'w2';
is(damaged(), 30, 'balances are wrong');
is(run_on($c, 'CALL pointstore.rebuild_balances()'), '00000', 'the coordinator, which has none, rebuilds');
is(damaged(), 30, '... none');
is(run_on($w1, 'CALL pointstore.rebuild_balances()'), '00000', 'w1 rebuilds');
is(damaged(), scalar @{ $accounts{w2} }, '... its own');
is(rows_of($c, q{SELECT bool_and(success) FROM run_command_on_all_nodes('CALL pointstore.rebuild_balances()')}), 't', 'all nodes rebuild');
is(damaged(), 0, '... the rest');
is(rows_of($c, q{SELECT count(DISTINCT aggregate_id), count(*) FROM pointstore.account_log WHERE action = 'rebuild'}), '30|36', '... which is on record, once for each');
is(run_on($w1, 'BEGIN; CALL pointstore.rebuild_balances()'), '2D000', 'not in a transaction');
is(run_on($w1, "CALL pointstore.reconcile('full')"), '00000', 'a run');
is(rows_of($c, 'SELECT count(*) FROM pointstore.finding'), 0, '... finds nothing');

# What an account's events are inconsistent about is not rebuilt, the others are.
{
	my ($bad, $good) = @{ $accounts{w2} }[ 1, 2 ];
	my $shard = $c->safe_psql('postgres', "SELECT get_shard_id_for_distribution_column('pointstore.event_store', '$bad')");
	$w2->safe_psql('postgres', "$behind UPDATE pointstore.event_store_$shard SET amount = amount + 1 WHERE aggregate_id = '$bad' AND version = 2");
	damage('w2', $good);
	is(run_on($w2, 'CALL pointstore.rebuild_balances()'), '00000', 'w2 rebuilds what it can');
	is(damaged(), 1, '... all but one');
	is(state_of($_, "SELECT pointstore.rebuild_balance('$bad')"), 'PS011', '... which is refused through ' . $_->name) foreach @all;
	$w2->safe_psql('postgres', "$behind UPDATE pointstore.event_store_$shard SET amount = amount - 1 WHERE aggregate_id = '$bad' AND version = 2");
	is(damaged(), 0, '... until it is mended');
}

# Histories of all nodes, from any, also beside rows that are not committed.
my $rules = q{INSERT INTO pointstore.transition VALUES ('order', '', 'E1', 'one'), ('order', 'one', 'E2', 'two'), ('order', 'two', 'E3', 'three')};
my $check = q{SELECT * FROM pointstore.check_transitions('order') ORDER BY 1};
my $expected = $c->safe_psql('plain', "$rules; $check");
cmp_ok(scalar(split /\n/, $expected), '>', 10, 'histories that are not allowed');
foreach my $through (@all)
{
	my $session = CitusTest::Session->new($through);
	is(rows_of($session, $check), '', 'all are allowed through ' . $through->name);
	is(state_of($session, "BEGIN; $rules"), '00000', '... until there are rules');
	is(rows_of($session, $check), $expected, '... then they are as in a plain store');
	is(state_of($session, 'ROLLBACK'), '00000', '... but for others');
	is(state_of($through, q{SELECT * FROM pointstore.check_transitions('none')}), '22023', '... and a kind must be there');
}
is(state_of($c, $rules), '00000', 'rules for all');
is(rows_of($_, $check, user => 'looker'), $expected, 'who reads finds them through ' . $_->name) foreach @all;

# Snapshots.
$c->safe_psql('postgres', q{CREATE FUNCTION public.last_type(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(event.event_type)'; ALTER FUNCTION public.last_type OWNER TO keeper});
is(state_of($c, q{UPDATE pointstore.account_kind SET reducer = 'public.last_type' WHERE kind = 'order'}), '00000', 'a reducer');
is(state_of($c, "SELECT pointstore.take_snapshot('$_')"), '00000', "a snapshot of $_") foreach @{ $accounts{w1} }, @{ $accounts{w2} };
is(rows_of($c, 'SELECT pointstore.drop_snapshots()'), 0, 'the coordinator, which has none, drops none');
is(state_of($w1, "SELECT pointstore.drop_snapshots(aggregate_id => '$b')"), 'PS013', 'w1 does not drop that of an account of w2');
is(rows_of($w2, "SELECT pointstore.drop_snapshots(aggregate_id => '$b')"), 1, '... w2 does');
is(rows_of($w2, "SELECT pointstore.drop_snapshots('default')"), 0, '... and none of another kind');
is(rows_of($w2, "SELECT pointstore.drop_snapshots('order')"), $#{ $accounts{w2} }, '... all others of the kind');
is(rows_of($c, 'SELECT count(*) FROM pointstore.snapshot'), scalar @{ $accounts{w1} }, '... those of w1 stay');
is(rows_of($w1, 'SELECT pointstore.drop_snapshots()'), scalar @{ $accounts{w1} }, '... until it drops them');

# A confirmed hold whose credit is in another shard: a repeat without it is not the same.
my ($payer, $shop) = ($a, grep { rows_of($c, "SELECT (SELECT shard FROM pointstore.node_of('$_')) <> (SELECT shard FROM pointstore.node_of('$a'))") eq 't' } @{ $accounts{w1} });
SKIP:
{
	skip 'w1 has one shard with accounts', 5 if !defined $shop;
	is(rows_of($c, "SELECT outcome FROM pointstore.hold('$payer', 5, 'h')"), 'appended', "$payer holds something for $shop");
	is(rows_of($c, "SELECT outcome FROM pointstore.confirm_hold('h', aggregate_id => '$payer', to_id => '$shop')"), 'appended', '... which gets it');
	is(rows_of($c, "SELECT outcome FROM pointstore.confirm_hold('h', aggregate_id => '$payer', to_id => '$shop')"), 'replayed', '... once');
	is(state_of($c, "SELECT pointstore.confirm_hold('h', aggregate_id => '$payer')"), 'PS002', '... and a repeat without it is not the same');
	is(rows_of($c, "SELECT outcome FROM pointstore.try_confirm_hold('h', aggregate_id => '$payer')"), 'request_mismatch', '... as an outcome');
}
is(node_faults($nodes), '', 'all is sound');
done_testing();
