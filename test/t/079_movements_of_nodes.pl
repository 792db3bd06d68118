# Movements of a store on many nodes: the same answers as a plain store's, through every node; nodes killed at named points, shards
# moved and split meanwhile; to and from another store. Whatever happens, each ends as it says, and nothing is lost,
# doubled or halved. CHECK_SEED: repeats what clients choose.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use List::Util qw(shuffle);
use MovementTest qw(hold_point inject is_killed is_waiting movement);
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
my $plain = new_cluster('far', conf => "listen_addresses = '127.0.0.1'\nrestart_after_crash = on\npointstore.databases = 'postgres'\npointstore.reconcile_interval = 0
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


#
# Nodes that are killed in the midst of it.
#

# What is asked may be asked again, by a client's one session, until it is answered or refused by a rule.
my $session;
sub insist
{
	my ($port, $sql) = @_;
	my $finish = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $finish)
	{
		$session = CitusTest::Session->new($port) if !$session || $session->lost;
		my ($state, $rows) = @{ $session->query($sql) };
		return "$state $rows" if $state =~ /^(?:00000|PS(?!013)|22|42)/;
		usleep(50_000 + rand 100_000);
	}
	return 'not in time';
}

# Calls of a client at a node; each is answered with a phase, or refused.
sub wave
{
	my ($tag, $n, $accounts, $servers) = @_;
	my @calls;

	foreach my $i (1 .. $n)
	{
		my ($one, $two, $three) = shuffle @$accounts;
		my ($id, $amount) = ("$tag-$i", 1 + int rand 9);
		my @server = $servers && rand() < 0.5 ? ('far') : ();
		my $kind = $i % 6;
		push @calls, "SELECT phase FROM pointstore.move('$one', '$two', $amount, '$id', deadline => '20 s')" if $kind == 0;
		push @calls, 'SELECT phase FROM ' . movement($id, 'tcc', '20 s', [ $one, -$amount ], [ @server ? 'far-' . (1 + int rand 5) : $two, $amount, @server ]) if $kind == 1;
		push @calls, 'SELECT phase FROM ' . movement($id, 'tcc', '20 s', [ $one, -$amount ], [ $two, -1 ], [ $three, $amount + 1 ]) if $kind == 2;
		push @calls, 'SELECT phase FROM ' . movement($id, 'saga', '20 s', [ $one, -$amount ], [ $two, 1 ], [ @server ? 'far-1' : $three, $amount - 1, @server ]) if $kind == 3;
		push @calls, 'SELECT phase FROM ' . movement($id, $i % 4 ? 'tcc' : 'saga', '20 s', [ $one, 1_000_000 ], [ @server ? 'far-2' : $two, -1_000_000, @server ]) if $kind == 4;
		push @calls, 'SELECT phase FROM ' . movement($id, 'tcc', '20 s', [ $one, -$amount ], [ @server ? 'far-3' : $two, $amount, @server ]), "SELECT phase FROM pointstore.cancel_movement('$id', 'called off')" if $kind == 5;
		push @calls, "SELECT phase FROM pointstore.wait_for_movement('$id', '1 s')";
	}
	return @calls;
}

# The same of the other store's movements, to accounts on all nodes.
sub far_wave
{
	my ($tag, $n, $accounts) = @_;
	my @calls;

	foreach my $i (1 .. $n)
	{
		my ($one, $two) = shuffle @$accounts;
		my ($id, $own, $amount) = ("$tag-$i", 'far-' . (1 + int rand 5), 1 + int rand 9);
		my $protocol = ('tcc', 'saga', 'tcc', 'tcc', '2pc', 'saga')[ $i % 6 ];
		my @steps = $i % 3 == 0 ? ([ $one, -$amount, 'shop' ], [ $two, $amount, 'shop' ]) : $i % 3 == 1 ? ([ $own, -$amount ], [ $one, $amount - 1, 'shop' ], [ $two, 1, 'shop' ]) :
		  ([ $own, 1_000_000 ], [ $one, -1_000_000, 'shop' ]);
		push @calls, 'SELECT phase FROM ' . movement($id, $protocol, '20 s', @steps);
		push @calls, "SELECT phase FROM pointstore.cancel_movement('$id', 'called off')" if $i % 4 == 0;
		push @calls, "SELECT phase FROM pointstore.wait_for_movement('$id', '1 s')";
	}
	return @calls;
}

my $file = 0;

# A client that begins now, and tells what it was answered about each movement.
sub start_wave
{
	my ($name, @calls) = @_;
	my $path = PostgreSQL::Test::Utils::tempdir . '/told' . $file++;
	my $port = ($nodes->{$name} // $plain)->port;
	my $client = start_client($name, $path, sub {
			my ($told) = @_;
			srand;
			foreach my $sql (@calls)
			{
				my ($id) = $sql =~ /'(\w+-\w+-\d+)'/;
				print $told "$id " . insist($port, $sql) . "\n";
			}
		});
	return { %$client, told => $path };
}

# What clients were told, and is not so: a phase that was the last is the last.
sub untrue
{
	my @untrue;
	foreach my $client (@_)
	{
		waitpid $client->{pid}, 0;
		push @untrue, "$client->{name} has ended with $?" if $? != 0;
	}
	poll_until($c, 'postgres', 'SELECT count(*) >= 0 FROM pointstore.movement');
	my %phase = map { split /\|/, $_, 2 } map { split /\n/, $_->safe_psql('postgres', 'SELECT movement_id, phase FROM pointstore.movement') } $c, $plain;
	foreach my $client (@_)
	{
		foreach (split /\n/, slurp_file($client->{told}))
		{
			my ($id, $state, $told) = split / /;
			push @untrue, "$id: $_" if $state eq 'not';
			next if $state ne '00000';
			push @untrue, "$id was told, and is not there" if !exists $phase{$id};
			push @untrue, "$id was told to be $told, and is $phase{$id}" if $told =~ /^(?:confirmed|cancelled|done|undone)$/ && ($phase{$id} // '') ne $told;
		}
	}
	return join "\n", @untrue;
}

my @load = map { my $name = $_; map { name_on($name) } 1 .. 5 } @names;
is(state_of($c, "SELECT pointstore.append_event('$_', 'Given', 1000)"), '00000', "$_ has something") foreach @load;
$plain->safe_psql('postgres', q{SELECT count(pointstore.append_event('far-' || i, 'Given', 1000)) FROM generate_series(1, 5) i});
my $total = total_of_all();

sub kill_process
{
	my ($node, $which) = @_;
	if ($which eq 'the server')
	{
		$node->kill9;
		start_again($node);
		return;
	}
	my $whose = $which eq 'the coordinator' ? q{backend_type = 'pointstore coordinator'} : q{application_name LIKE 'citus_internal%'};
	my ($pid) = split /\n/, rows_of($node, "SELECT pid FROM pg_stat_activity WHERE $whose");
	kill 'KILL', $pid if $pid =~ /^\d+$/;
	return;
}

sub round_of_kills
{
	my ($tag, $name, $where, $servers) = @_;
	my $node = $nodes->{$name} // $plain;
	my $is_point = $where !~ /^th/;
	my $from = -s $node->logfile;
	my @clients;

	inject($node, $where =~ s/^([\w-]+)(.*)/$1=kill$2/r) if $is_point;
	@clients = map { start_wave($_, wave("$tag-$_", 18, \@load, $servers)) } @names;
	push @clients, start_wave('far', far_wave("$tag-far", 12, \@load)) if $servers;
	if ($is_point)
	{
		my $finish = time + 10;
		usleep(10_000) until is_killed($node, $from) || time > $finish;
		ok(is_killed($node, $from), "$tag: $name $where: is reached");
		inject($node, '');
	}
	else
	{
		usleep(rand 500_000);
		kill_process($node, $where);
	}
	my $untrue = untrue(@clients);
	my $is_sound = sound($total, "$tag: $name $where");
	is($untrue, '', "$tag: $name $where: each has ended as it was told");
	is(settled($nodes), '', "$tag: $name $where: nothing stays prepared");
	return $is_sound;
}

my @kills = ([ w1 => 'start-before-commit:2' ], [ w1 => 'participant-tried:3' ], [ w2 => 'participant-confirmed:2' ], [ c => 'participant-cancelled' ],
	[ w2 => 'coordinator-decided:2' ], [ c => 'coordinator-decided:3' ], [ w1 => 'coordinator-finished:2' ], [ w1 => 'before-commit:12' ], [ w2 => 'committed:8' ], [ c => 'committed:5' ],
	[ w1 => 'the coordinator' ], [ w2 => 'the server' ], [ c => 'the server' ], [ w1 => 'those of others' ]);
my $round = 0;
foreach (@kills)
{
	last unless round_of_kills('k' . ++$round, @$_);
}


# What the coordinator of a node writes there and asks of another is committed in two phases: neither has it then, or both.
{
	my ($one, $two, $id) = (name_on('w1'), name_on('w2'), name_on('w1'));
	my $w2 = $nodes->{w2};
	is(state_of($c, "SELECT pointstore.append_event('$one', 'Given', 100)"), '00000', 'an account');
	$total += 100;
	$w2->append_conf('postgresql.conf', "log_statement = 'all'");
	$w2->reload;
	my $pid = $nodes->{w1}->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore coordinator'});
	my $from = -s $w2->logfile;
	is(state_of($nodes->{w1}, "SELECT pointstore.move('$one', '$two', 10, '$id')"), '00000', 'a movement from w1 to w2');
	is(rows_of($c, "SELECT phase FROM pointstore.wait_for_movement('$id')"), 'confirmed', '... is confirmed');
	like(slurp_file($w2->logfile, $from), qr/PREPARE TRANSACTION 'citus_$group{w1}_${pid}_/, '... in two phases');
	$w2->append_conf('postgresql.conf', "log_statement = 'none'");
	$w2->reload;
}

# A node dies while it commits what the coordinator of another asks of it.
{
	my ($one, $two, $id) = (name_on('w1'), name_on('w2'), name_on('w1'));
	my $w2 = $nodes->{w2};
	is(state_of($c, "SELECT pointstore.append_event('$one', 'Given', 100)"), '00000', 'an account');
	my $holder = hold_point($w2, 'participant-confirmed');
	inject($w2, 'participant-confirmed=wait');
	is(state_of($nodes->{w1}, "SELECT pointstore.move('$one', '$two', 10, '$id')"), '00000', 'a movement from w1 to w2');
	ok(is_waiting($w2), '... is to be confirmed on w2');
	my $from = -s $w2->logfile;
	inject($w2, 'committed=kill');
	$holder->quit;
	my $finish = time + 10;
	usleep(10_000) until is_killed($w2, $from) || time > $finish;
	ok(is_killed($w2, $from), '... which is killed meanwhile');
	inject($w2, '');
	ok(poll_until($c, 'postgres', "SELECT phase = 'confirmed' FROM pointstore.movement WHERE movement_id = '$id'"), '... and it is confirmed');
	sound($total += 100, 'killed meanwhile');
}

#
# To and from another store: it is one store that far has to do with, whichever node a message comes from or goes to.
#
$plain->safe_psql('postgres', q{CREATE ROLE of_shop LOGIN; SELECT pointstore.grant_access('of_shop', 'participant')});
$c->safe_psql('postgres', q{CREATE ROLE of_far LOGIN});
$c->safe_psql('postgres', q{SELECT pointstore.grant_access('of_far', 'participant')});
# Citus carries the server to all nodes, and no user mapping
$c->safe_psql('postgres', sprintf q{CREATE SERVER far FOREIGN DATA WRAPPER pointstore OPTIONS (host '127.0.0.1', port '%d', dbname 'postgres')}, $plain->port);
$nodes->{$_}->safe_psql('postgres', q{CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user 'of_shop')}) foreach @names;
$plain->safe_psql('postgres', sprintf q{CREATE SERVER shop FOREIGN DATA WRAPPER pointstore OPTIONS (host '127.0.0.1', port '%d', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (user 'of_far')}, $nodes->{w1}->port);

foreach my $through (@names)
{
	my ($one, $two) = (name_on('w1'), name_on('w2'));
	state_of($c, "SELECT pointstore.append_event('$_', 'Given', 100)") foreach $one, $two;
	my $id = name_on($through);
	is(state_of($nodes->{$through}, "SELECT pointstore.move('$one', 'far-1', 10, '$id', 'far')"), '00000', "from w1 to far, of $through");
	is(rows_of($nodes->{$through}, "SELECT phase FROM pointstore.wait_for_movement('$id')"), 'confirmed', '... is confirmed');
	is($plain->safe_psql('postgres', "SELECT origin FROM pointstore.participant_step WHERE movement_id = '$id'"), $store, '... of one store');
	is(state_of($nodes->{$through}, sprintf q{SELECT pointstore.start_movement('%sx', '[{"aggregate_id": "%s", "amount": 1}, {"aggregate_id": "%s", "amount": 1}, {"aggregate_id": "far-poor", "amount": -2, "server": "far"}]')}, $id, $one, $two), '00000', '... from far, which has nothing');
	is(rows_of($nodes->{$through}, "SELECT phase, error LIKE '%PS003%' FROM pointstore.wait_for_movement('${id}x')"), 'cancelled|t', '... is cancelled');
	$plain->safe_psql('postgres', sprintf q{ALTER SERVER shop OPTIONS (SET port '%d')}, $nodes->{$through}->port);
	foreach my $protocol ('tcc', 'saga')
	{
		$plain->safe_psql('postgres', 'SELECT ' . movement("far-$through-$protocol", $protocol, '20 s', [ 'far-1', -3 ], [ $one, 1, 'shop' ], [ $two, 2, 'shop' ]));
		is($plain->safe_psql('postgres', "SELECT phase FROM pointstore.wait_for_movement('far-$through-$protocol')"), $protocol eq 'tcc' ? 'confirmed' : 'done', "from far through $through to w1 and w2, $protocol");
	}
	is(state_of($plain, 'SELECT ' . movement("far-$through-2pc", '2pc', '20 s', [ 'far-1', -3 ], [ $one, 3, 'shop' ])), '00000', '... by 2pc');
	is($plain->safe_psql('postgres', "SELECT phase, error LIKE '%0A000%' FROM pointstore.wait_for_movement('far-$through-2pc')"), 'cancelled|t', '... is cancelled');
}
is($plain->safe_psql('postgres', q{SELECT count(*) FROM pointstore.reconcile_movements('shop')}), 0, 'far and the nodes agree');
$total = total_of_all();
sound($total, 'another store');

foreach ([ w1 => 'coordinator-sent:2' ], [ w2 => 'coordinator-answered:2' ], [ w1 => 'participant-tried:2' ], [ w2 => 'participant-confirmed' ], [ far => 'participant-confirmed:2' ], [ far => 'the server' ], [ w1 => 'the server' ])
{
	last unless round_of_kills('f' . ++$round, @$_, 1);
}
is($plain->safe_psql('postgres', q{SELECT count(*) FROM pointstore.reconcile_movements('shop')}), 0, 'far and the nodes agree after all that');

#
# Shards change places, and are split, meanwhile.
#
{
	my @clients = map { start_wave($_, wave("m-$_", 90, \@load, 1)) } @names;
	push @clients, start_wave('far', far_wave('m-far', 60, \@load));
	my %port = map { $group{$_} => $nodes->{$_}->port } @names;
	foreach my $i (1 .. 5)
	{
		my ($shard, $node) = split /\|/, $c->safe_psql('postgres', 'SELECT shard, node FROM pointstore.shard_map ORDER BY random() LIMIT 1');
		my ($to) = shuffle grep { $_ != $node } values %group;
		my $state = state_of($c, sprintf q{SELECT citus_move_shard_placement(%d, '127.0.0.1', %d, '127.0.0.1', %d, '%s')}, $shard, $port{$node}, $port{$to}, $i % 2 ? 'block_writes' : 'force_logical');
		is($state, '00000', "a shard moves from $node to $to");
	}
	my ($shard, $middle) = split /\|/, $c->safe_psql('postgres', 'SELECT shard, (min_hash::bigint + max_hash) / 2 FROM pointstore.shard_map ORDER BY random() LIMIT 1');
	is(state_of($c, sprintf q{SELECT citus_split_shard_by_split_points(%d, ARRAY['%d'], ARRAY(SELECT nodeid::int FROM pg_dist_node WHERE groupid IN (%d, %d)), 'block_writes')}, $shard, $middle, $group{w1}, $group{w2}), '00000', 'one is split');
	my $untrue = untrue(@clients);
	sound($total, 'moves');
	is($untrue, '', 'moves: each has ended as it was told');
}
foreach my $name (@names)
{
	ok(poll_until($nodes->{$name}, 'postgres', q{SELECT pointstore.coordinator_alive()}), "$name has a coordinator still");
}
is(node_faults($nodes), '', 'the store is sound');
$c->safe_psql('postgres', q{SELECT run_command_on_all_nodes('CALL pointstore.reconcile(''full'')')});
is($c->safe_psql('postgres', q{SELECT code, aggregate_id, detail FROM pointstore.finding WHERE resolved_at IS NULL}), '', '... as reconciliation says');

#
# What operators see and do, on any node.
#
{
	my ($one, $two, $id) = (name_on('w1'), name_on('w2'), name_on('c'));
	my $through = $nodes->{w2};
	state_of($c, "SELECT pointstore.append_event('$_', 'Given', 100)") foreach $one, $two;
	is(state_of($through, 'SELECT ' . movement($id, 'tcc', '20 s', [ $one, -5 ], [ $two, 2 ], [ 'far-1', 3, 'far' ])), '00000', 'a movement of three accounts');
	is(rows_of($c, "SELECT phase FROM pointstore.wait_for_movement('$id')"), 'confirmed', '... is confirmed');
	is(rows_of($nodes->{$_}, "SELECT string_agg(what || coalesce(' ' || name, '') || coalesce(' ' || status, ''), ', ' ORDER BY what, name, status) FROM pointstore.trace('$id') WHERE what IN ('event', 'step')"),
		'event MovementConfirmed, event MovementConfirmed, event MovementTried, event MovementTried, step Moved confirmed, step Moved confirmed, step Moved confirmed', "... its trace, from $_") foreach @names;
	is(state_of($through, "SELECT * FROM pointstore.reconcile_movements()"), '0A000', 'reconcile_movements() is not there');

	# what is tried here is decided by hand where far's coordinator is away
	inject($plain, 'coordinator-decided=wait');
	my $holder = $plain->background_psql('postgres');
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('pointstore'), hashtext('coordinator-decided'))});
	my $origin = $plain->safe_psql('postgres', q{SELECT store FROM pointstore.movement_store});
	$plain->safe_psql('postgres', 'SELECT ' . movement('by-hand', 'tcc', '1 min', [ 'far-1', -5 ], [ $one, 5, 'shop' ]));
	ok(poll_until($c, 'postgres', q{SELECT count(*) = 1 FROM pointstore.participant_step WHERE movement_id = 'by-hand' AND status = 'tried'}), 'a step of far is tried');
	is(rows_of($through, "SELECT pointstore.resolve_step('$origin', 'by-hand', 2, 'cancel', 'test')"), 'cancelled', '... and cancelled by hand, on another node');
	is(rows_of($nodes->{w1}, "SELECT pointstore.resolve_step('$origin', 'by-hand', 2, 'cancel', 'test')"), 'cancelled', '... again');
	is(state_of($nodes->{c}, "SELECT pointstore.resolve_step('$origin', 'by-hand', 2, 'confirm', 'test')"), 'PS007', '... and not confirmed then');
	is(state_of($nodes->{c}, "SELECT pointstore.resolve_step('$origin', 'by-hand', 3, 'confirm', 'test')"), 'PS008', 'there is no other');
	inject($plain, '');
	$holder->quit;
	ok(poll_until($plain, 'postgres', q{SELECT phase = 'stuck' FROM pointstore.movement WHERE movement_id = 'by-hand'}), 'its movement is stuck');
	is($plain->safe_psql('postgres', q{SELECT (pointstore.resolve_movement('by-hand', 'accept', 'test')).phase}), 'accepted', '... and accepted');

	# one of the nodes' own
	is(state_of($through, 'SELECT ' . movement('own-stuck', 'tcc', '1 min', [ $one, -5 ], [ 'far-1', 5, 'far' ])), '00000', 'another one');
	is(rows_of($c, "SELECT phase FROM pointstore.wait_for_movement('own-stuck')"), 'confirmed', '... is confirmed');
	state_of($c, "UPDATE pointstore.movement SET phase = 'stuck', finished_at = NULL WHERE movement_id = 'own-stuck'");
	is(state_of($nodes->{w1}, "SELECT pointstore.resolve_movement('own-stuck', 'cancel', 'test')"), 'PS011', 'one that is stuck, and was confirmed, is not cancelled');
	is(rows_of($nodes->{w2}, "SELECT phase FROM pointstore.resolve_movement('own-stuck', 'accept', 'test')"), 'accepted', '... but accepted');
	is(rows_of($nodes->{w1}, "SELECT code, detail ->> 'reason' FROM pointstore.finding WHERE aggregate_id = 'own-stuck'"), 'movement_accepted|test', '... which is a finding');
	ok(ended(), 'all has ended');
}

#
# A node that is not where it was begins a new incarnation of the store, on all nodes and at other stores.
#
{
	my $before = $c->safe_psql('postgres', 'SELECT max(incarnation) FROM pointstore.movement_store');
	$c->safe_psql('postgres', "UPDATE pointstore.movement_store SET timeline = 99 WHERE node = $group{w2}");
	ok(poll_until($nodes->{$_}, 'postgres', "SELECT max(incarnation) > $before FROM pointstore.movement_store"), "$_ hears of a new incarnation") foreach @names;
	my $one = name_on('w1');
	state_of($c, "SELECT pointstore.append_event('$one', 'Given', 100)");
	foreach my $name (@names)
	{
		my $id = name_on($name);
		is(state_of($nodes->{w1}, "SELECT pointstore.move('$one', 'far-1', 10, '$id', 'far')"), '00000', "a movement of $name");
		is(rows_of($nodes->{w1}, "SELECT phase FROM pointstore.wait_for_movement('$id', '30 s')"), 'confirmed', '... is confirmed');
	}
	is($plain->safe_psql('postgres', "SELECT incarnation FROM pointstore.participant_origin WHERE origin = '$store'"),
		$c->safe_psql('postgres', 'SELECT max(incarnation) FROM pointstore.movement_store'), 'far has heard of it');
}

#
# What finished long ago is pruned, on each node.
#
{
	foreach my $name (@names)
	{
		$nodes->{$name}->append_conf('postgresql.conf', 'pointstore.movement_retention = 1s');
		$nodes->{$name}->restart;
	}
	ok(poll_until($c, 'postgres', 'SELECT count(*) = 0 FROM pointstore.movement_step'), 'steps are pruned');
	is($c->safe_psql('postgres', 'SELECT count(*) FROM pointstore.movement_log'), 0, '... and the log');
	is(rows_of($nodes->{w1}, q{SELECT phase FROM pointstore.wait_for_movement('old')}), 'confirmed', '... and outcomes are kept');
}

$plain->stop;
done_testing();
