# Movements of a store on many nodes: the same answers as a plain store's, through every node; nodes killed at named points, shards
# moved and split meanwhile; to and from another store. Whatever happens, each ends as it says, and nothing is lost,
# doubled or halved. CHECK_KILLS: a twentieth of it is the number of rounds besides those of the list; CHECK_SEED: drawn again.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use List::Util qw(shuffle);
use MovementTest qw(inject is_killed movement);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'Citus is not installed' if citus_is_missing();

my $seed = $ENV{CHECK_SEED} // $$;
srand $seed;
note("CHECK_SEED=$seed");

my $conf = "include_if_exists = 'injection.conf'\n";
my $plain = new_cluster('far', conf => "listen_addresses = '127.0.0.1'\npointstore.databases = 'postgres'\npointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0\npointstore.sweep_interval = 0\nmax_prepared_transactions = 20\n$conf");
$plain->start;
create_store($plain, 'postgres');
my $nodes = new_nodes(2, conf => $conf);
my $c = $nodes->{c};
my @names = @{ $nodes->{names} };
$c->safe_psql('postgres', "SELECT citus_set_node_property('127.0.0.1', ${\$c->port}, 'shouldhaveshards', true)");

# what is there before: a movement that has ended is kept, one that has not is in the way
$_->safe_psql('postgres', q{SELECT pointstore.append_event('old-1', 'Earned', 100), pointstore.move('old-1', 'old-2', 40, 'old')}) foreach $c, $plain;
$c->safe_psql('postgres', q{CREATE SERVER nowhere FOREIGN DATA WRAPPER pointstore OPTIONS (host '127.0.0.1', port '1'); CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (user 'x');
	SELECT pointstore.move('old-1', 'old-3', 1, 'open', 'nowhere', deadline => '1 s')});
is(sqlstate($c, 'postgres', q{SELECT pointstore.distribute_store(6)}), '55000', 'a movement that is open is in the way');
poll_until($c, 'postgres', q{SELECT phase = 'cancelling' FROM pointstore.movement WHERE movement_id = 'open'});
# it never finishes: nobody is there who could acknowledge
$c->safe_psql('postgres', q{DROP SERVER nowhere CASCADE});
ok(poll_until($c, 'postgres', q{SELECT phase = 'stuck' FROM pointstore.movement WHERE movement_id = 'open'}), 'its server is gone');
$c->safe_psql('postgres', q{SELECT pointstore.resolve_movement('open', 'accept', 'test')});
ok(poll_until($c, 'postgres', q{SELECT finished_at IS NOT NULL FROM pointstore.movement WHERE movement_id = 'open'}), '... and an operator ends it');
is(distribute($nodes, 6), 'distributed', 'a store with movements that have ended is distributed');
my %group = groups_of($nodes);

# Each node has a coordinator, and all nodes are one store to others.
my $store = $c->safe_psql('postgres', 'SELECT DISTINCT store FROM pointstore.movement_store');
foreach my $name (@names)
{
	ok(poll_until($nodes->{$name}, 'postgres', q{SELECT pointstore.coordinator_alive()}), "$name has a coordinator");
	ok(poll_until($nodes->{$name}, 'postgres', q{SELECT count(*) = 3 AND count(DISTINCT incarnation) = 1 FROM pointstore.movement_store}), "$name knows all three");
}
is($c->safe_psql('postgres', q{SELECT string_agg(movement_id || ' ' || phase, ' ' ORDER BY movement_id) FROM pointstore.movement}), 'old confirmed open accepted', 'what there was is there');

# Accounts, and names of movements, that are on a node, never the same twice.
my (%on, %used);
foreach (split /\n/, $c->safe_psql('postgres', q{SELECT n.node, i FROM generate_series(1, 3000) i, LATERAL pointstore.node_of('acc' || i || 'z') n ORDER BY hashtext(i::text)}))
{
	my ($node, $i) = split /\|/;
	push @{ $on{$node} }, "acc${i}z";
}
sub name_on { my ($name) = @_; return $on{ $group{$name} }[ $used{$name}++ ]; }

# Everything of the store that is distributed, and what far has.
sub total_of_all
{
	return $c->safe_psql('postgres', 'SELECT coalesce(sum(balance), 0) FROM pointstore.balance') + $plain->safe_psql('postgres', 'SELECT coalesce(sum(balance), 0) FROM pointstore.balance');
}

# Until every movement has finished, here and far, but those that may be stuck.
sub ended
{
	my ($may_be_stuck) = @_;
	my $open = q{SELECT string_agg(movement_id || ' ' || phase, ', ' ORDER BY number) FROM pointstore.movement WHERE finished_at IS NULL} . ($may_be_stuck ? q{ AND phase <> 'stuck'} : '');
	foreach my $node ($c, $plain)
	{
		next if poll_until($node, 'postgres', "SELECT ($open) IS NULL");
		diag($node->name . ': ' . $node->safe_psql('postgres', "$open;
			SELECT movement_id, step, server, aggregate_id, amount, status, attempts, error FROM pointstore.movement_step s WHERE movement_id IN (SELECT movement_id FROM pointstore.movement WHERE finished_at IS NULL) LIMIT 20"));
		return 0;
	}
	return 1;
}

# What is wrong when all have ended, a line for each: what the events of each movement have moved on each account is what its
# phase says, nothing is reserved, and nothing is open.
sub faults_of_movements
{
	my (@faults, %should, %has);
	my $moved = q{SELECT coalesce(e.metadata ->> 'movement_id', o.metadata ->> 'movement_id') AS movement_id, e.aggregate_id, sum(e.amount) FROM pointstore.event_store e
		LEFT JOIN pointstore.event_store o ON o.aggregate_id = e.aggregate_id AND o.id = e.cause_id
		WHERE coalesce(e.metadata ->> 'movement_id', o.metadata ->> 'movement_id') IS NOT NULL GROUP BY 1, 2};
	foreach my $at (['', $c], [ 'far', $plain ])
	{
		my ($name, $node) = @$at;
		push @faults, map { "$name: $_" } split /\n/, $node->safe_psql('postgres', $_) foreach
		  q{SELECT format('open: %s %s %s', movement_id, step, status) FROM pointstore.participant_step WHERE status IN ('tried', 'done')},
		  q{SELECT format('reserved: %s %s %s', aggregate_id, held, incoming) FROM pointstore.balance WHERE held <> 0 OR incoming <> 0},
		  q{SELECT format('in transit: %s %s', unit, amount) FROM pointstore.in_transit WHERE amount <> 0},
		  q{SELECT 'stuck: ' || movement_id || ': ' || error FROM pointstore.movement WHERE phase = 'stuck'};
		foreach (split /\n/, $node->safe_psql('postgres', $moved))
		{
			my ($id, $account, $amount) = split /\|/;
			$has{"$name $id $account"} = $amount;
		}
		foreach (split /\n/, $node->safe_psql('postgres', q{SELECT m.movement_id, m.phase, coalesce(s.server, ''), s.aggregate_id, sum(s.amount) FROM pointstore.movement m JOIN pointstore.movement_step s ON s.movement_id = m.movement_id
			WHERE m.phase NOT IN ('stuck', 'accepted') GROUP BY 1, 2, 3, 4}))
		{
			my ($id, $phase, $server, $account, $amount) = split /\|/;
			my $where = $server ne '' ? ($server eq 'far' ? 'far' : '') : $name;
			$should{"$where $id $account"} = $phase =~ /^(?:confirmed|done)$/ ? $amount : 0;
		}
	}
	foreach (sort keys %{ { %should, %has } })
	{
		push @faults, "$_: moved " . ($has{$_} // 0) . ', not ' . ($should{$_} // 0) if ($has{$_} // 0) != ($should{$_} // 0);
	}
	return join "\n", @faults;
}

sub sound
{
	my ($total, $name) = @_;
	my $has_ended = ok(ended(), "$name: all has ended");
	my $is_whole = is(faults_of_movements(), '', "$name: all is whole");
	my $is_there = is(total_of_all(), $total, "$name: as much as before");
	return $has_ended && $is_whole && $is_there;
}

#
# The same statements through each node, about accounts of one node and of several, as on a plain store.
#
my $state = 'movement_id, protocol, phase, settled, error';
my @calls = (
	"SELECT outcome FROM pointstore.append_event('{a}', 'Given', 1000)",
	"SELECT outcome FROM pointstore.append_event('{b}', 'Given', 0)",
	"SELECT $state FROM pointstore.move('{a}', '{a}', 1, '{m}')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 0, '{m}')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', NULL, '{m}')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 1, '{m}', protocol => 'none')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 1, '{m}', deadline => '-1 s')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 1, '{m}', 'no such server')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 5000, '{m}')",
	"SELECT $state FROM pointstore.wait_for_movement('{m}')",
	"SELECT phase FROM pointstore.resolve_movement('{m}', 'confirm', 'test')",
	"SELECT movement_id, protocol FROM pointstore.move('{a}', '{b}', 100, '{m}')",
	"SELECT $state FROM pointstore.wait_for_movement('{m}')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 100, '{m}')",
	"SELECT $state FROM pointstore.move('{a}', '{b}', 101, '{m}')",
	q{SELECT phase FROM pointstore.start_movement('{m}', '[{"aggregate_id": "{a}", "amount": -100}, {"aggregate_id": "{b}", "amount": 100}]')},
	q{SELECT phase FROM pointstore.start_movement('{m}', '[{"aggregate_id": "{a}", "amount": -100}, {"aggregate_id": "{d}", "amount": 100}]')},
	"SELECT phase FROM pointstore.cancel_movement('{m}')",
	"SELECT phase FROM pointstore.resolve_movement('{m}', 'accept', 'test')",
	q{SELECT protocol FROM pointstore.start_movement('{m}3', '[{"aggregate_id": "{a}", "amount": -3}, {"aggregate_id": "{b}", "amount": 1, "event_type": "Given", "payload": {"x": 1}}, {"aggregate_id": "{d}", "amount": 2}]', metadata => '{"y": 2}')},
	"SELECT $state FROM pointstore.wait_for_movement('{m}3')",
	q{SELECT phase FROM pointstore.start_movement('{m}4', '[{"aggregate_id": "{a}", "amount": -3}, {"aggregate_id": "{b}", "amount": 1}]')},
	q{SELECT protocol FROM pointstore.start_movement('{m}5', '[{"aggregate_id": "{a}", "amount": -7, "balanced": false}, {"aggregate_id": "{b}", "amount": 1}]')},
	"SELECT $state FROM pointstore.wait_for_movement('{m}5')",
	q{SELECT protocol FROM pointstore.start_movement('{m}6', '[{"aggregate_id": "{a}", "amount": -4, "undo": {"event_type": "Back"}}, {"aggregate_id": "{b}", "amount": 4}]', 'saga')},
	"SELECT $state FROM pointstore.wait_for_movement('{m}6')",
	q{SELECT phase FROM pointstore.start_movement('{m}7', '[{"aggregate_id": "{b}", "amount": 4}, {"aggregate_id": "{a}", "amount": -5000}, {"aggregate_id": "{d}", "amount": 4996}]', 'saga')},
	"SELECT phase, settled FROM pointstore.cancel_movement('{m}8', 'no')",
	"SELECT phase, settled FROM pointstore.move('{a}', '{b}', 100, '{m}8')",
	"SELECT phase, settled FROM pointstore.cancel_movement('{m}8', 'no')",
	"SELECT aggregate_id = '{a}', balance, held FROM pointstore.get_balance('{a}')", "SELECT aggregate_id = '{b}', balance FROM pointstore.get_balance('{b}')",
	"SELECT aggregate_id = '{d}', balance FROM pointstore.get_balance('{d}')");

sub answers
{
	my ($node, %name) = @_;
	my $session = CitusTest::Session->new($node);
	return map { my $sql = $_; $sql =~ s/\{(\w)\}/$name{$1}/g; join '|', @{ $session->query($sql) } } @calls;
}

my %places = ('one node' => [qw(w1 w1 w1)], 'two nodes' => [qw(w1 w2 w2)], 'three nodes' => [qw(w2 c w1)]);
foreach my $place (sort keys %places)
{
	foreach my $through (@names)
	{
		my @on = @{ $places{$place} };
		my %name = (a => name_on($on[0]), b => name_on($on[1]), d => name_on($on[2]), m => name_on($names[ rand @names ]));
		my @expected = answers($plain, %name);
		my @got = answers($nodes->{$through}, %name);
		is_deeply(\@got, \@expected, "accounts on $place, through $through");
	}
}
is(state_of($nodes->{w1}, sprintf q{SELECT pointstore.move('%s', '%s', 1, 'two-phase', protocol => '2pc')}, name_on('w1'), name_on('w2')), '0A000', '2pc is not there');
is(state_of($nodes->{w1}, q{SET ROLE pg_monitor; SELECT pointstore.take_steps('a', '{}')}), '42501', 'nobody asks a node but nodes');
sound(total_of_all(), 'calls');

$plain->stop;
done_testing();
