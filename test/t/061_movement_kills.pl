# Movements between three clusters, of which some process is killed with SIGKILL, at each named point of every protocol:
# and the points themselves.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use MovementTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

# the points themselves
{
	my $node = new_cluster('points', conf => 'restart_after_crash = on');
	$node->start;
	create_store($node, 'postgres');
	foreach my $bad ('nonsense', 'a', '=kill', 'a=b', 'a=kill:0', 'a=kill:1x', 'a=kill,', "'a=kill,=wait'")
	{
		my $fine = $bad eq 'a=kill,';
		is(sqlstate($node, 'postgres', sprintf q{SET pointstore.injection = '%s'}, $bad =~ tr/'//dr), $fine ? '00000' : '22023', "set to $bad");
	}
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'pointstore.injection'}), 0, 'in no list of settings');
	is(sqlstate($node, 'postgres', q{CREATE ROLE nobody; SET ROLE nobody; SET pointstore.injection = 'before-commit=kill'}), '42501', 'a superuser sets it');
	is(sqlstate($node, 'postgres', q{SET pointstore.injection = 'other=kill, before-commit=error:2'; SELECT 1; SELECT pointstore.append_event('a', 'Earned', 1)}), '58000', 'an error, the second time');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store}), 0, '... and nothing is written');

	my $holder = $node->background_psql('postgres');
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('pointstore'), hashtext('before-commit'))});
	my $waiting = $node->background_psql('postgres');
	$waiting->query_until(qr/sent/, q{\echo sent
SET pointstore.injection = 'before-commit=wait:2';
SELECT pointstore.append_event('a', 'Earned', 1);
});
	ok(is_waiting($node), 'it waits');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store}), 0, '... before its commit');
	$holder->quit;
	ok(poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pointstore.event_store}), '... no longer than the lock is held');
	$waiting->quit;

	foreach my $point ('before-commit', 'committed')
	{
		$node->psql('postgres', qq{SET pointstore.injection = 'any=wait, $point=kill:2'; SELECT pointstore.append_event('$point', 'Earned', 1)});
		poll_until($node, 'postgres', 'SELECT true');
		like(slurp_file($node->logfile), qr/kills itself at "$point"/, "killed: $point");
		is($node->safe_psql('postgres', qq{SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = '$point'}), $point eq 'committed' ? 1 : 0, "... and what is there then");
	}
	$node->stop;
}

# Movements of every protocol and every end, fifteen from a and five from b at once, and a kill in the middle of them: then
# everything ends, nothing is lost, halved or left behind. Each round is one place of a kill; CHECK_MOVEMENT_KILLS: how many
# rounds, those beyond the list at places drawn by chance; CHECK_SEED: drawn again.

my $seed = $ENV{CHECK_SEED} // time % 1_000_000;
note("CHECK_SEED=$seed");
srand($seed);

my $net = new_stores([ 'a', 'b', 'c' ]);
my $total = total($net);

# What a wave of a store's is; whatever of it was done before is a repeat.
sub wave
{
	my ($store, $tag, @protocols) = @_;
	my ($one, $two) = grep { $_ ne $store } 'a', 'b', 'c';
	my $account = sub { return sprintf '%s-%d', $_[0], 1 + rand 5 };
	my @calls;

	foreach my $protocol (@protocols)
	{
		my $id = "$tag-$store-$protocol";
		push @calls, movement("$id-two", $protocol, '8 s', [ $account->($store), -10 ], [ $account->($one), 10, $one ]),
		  movement("$id-three", $protocol, '8 s', [ $account->($one), -7, $one ], [ $account->($store), -3 ], [ $account->($two), 10, $two ]),
		  movement("$id-away", $protocol, '8 s', [ $account->($one), -5, $one ], [ $account->($two), 5, $two ]),
		  movement("$id-refused", $protocol, '8 s', [ $account->($store), 4 ], [ "$one-poor", -4, $one ]),
		  movement("$id-called-off", $protocol, '8 s', [ $account->($one), 6, $one ], [ $account->($store), -6 ]),
		  "pointstore.cancel_movement('$id-called-off', 'called off')";
	}
	return join '', map { "SELECT $_;\n" } @calls;
}

# What is to be killed: [store, where]. where: a point with its count, or a process.
my @places = (
	map({ [ a => $_ ] } 'start-before-commit:3', 'coordinator-sent', 'coordinator-sent:4', 'coordinator-answered:2', 'coordinator-decided', 'coordinator-decided:2', 'coordinator-decided:7',
		'coordinator-finished', 'prepare-before', 'prepare-after', 'commit-prepared-before:2', 'committed:9', 'the coordinator', 'the server'),
	map({ [ b => $_ ] } 'participant-tried:2', 'participant-confirmed', 'participant-cancelled', 'committed:6', 'those of a', 'the server'));
my @points = ('start-before-commit', 'coordinator-sent', 'coordinator-answered', 'coordinator-decided', 'coordinator-finished', 'prepare-before', 'prepare-after',
	'commit-prepared-before', 'participant-tried', 'participant-confirmed', 'participant-cancelled', 'before-commit', 'committed', 'any', 'any', 'any');
my $rounds = $ENV{CHECK_MOVEMENT_KILLS} // ($ENV{CHECK_SOAK} ? 300 : @places);

sub drawn_place
{
	my $where = rand() < 0.3 ? ('the coordinator', 'those of a', 'the server')[ rand 3 ] : $points[ rand @points ] . ':' . (1 + int rand 12);
	return [ ('a', 'b')[ rand 2 ], $where ];
}

# Kills a process of a server's, now.
sub kill_process
{
	my ($node, $which) = @_;
	if ($which eq 'the server')
	{
		$node->kill9;
		start_again($node);
		return;
	}
	my $whose = $which eq 'the coordinator' ? q{backend_type = 'pointstore coordinator'} : q{usename = 'of_a'};
	my $finish = time + 10;
	my $pids = '';
	$pids = insistent($node, "SELECT pid FROM pg_stat_activity WHERE $whose") until $pids ne '' || time > $finish;
	isnt($pids, '', "there is $which to be killed");
	kill 'KILL', $_ foreach split /\n/, $pids;
	return;
}

sub round_of_kills
{
	my ($tag, $name, $where) = @_;
	my $node = $net->{$name};
	my $is_point = $where !~ /^th/;
	my $from = -s $node->logfile;
	my %script = (a => wave('a', $tag, 'tcc', 'saga', '2pc'), b => wave('b', $tag, $ENV{CHECK_SOAK} ? ('tcc', 'saga', '2pc') : 'tcc'));

	inject($node, $where =~ s/^([\w-]+)(.*)/$1=kill$2/r) if $is_point;
	my %client = map { $_ => start_client($net->{$_}, $script{$_}) } keys %script;
	if ($is_point)
	{
		my $finish = time + 10;
		usleep(10_000) until is_killed($node, $from) || time > $finish;
		my $is_reached = is_killed($node, $from);
		# of those drawn by chance some are not
		ok($is_reached, "$tag: $name $where: is reached") if grep { "@$_" eq "$name $where" } @places;
		diag("$tag: not reached: $name $where") unless $is_reached;
		inject($node, '');
	}
	else
	{
		usleep(rand 300_000);
		kill_process($node, $where);
	}
	eval { $client{$_}->finish } foreach keys %client;
	insistent($net->{$_}, $script{$_}) foreach sort keys %script;
	return sound($net, $total, "$tag: $name $where");
}

for my $round (1 .. $rounds)
{
	my ($name, $where) = @{ $places[$round - 1] // drawn_place() };
	last unless round_of_kills("r$round", $name, $where);
	next if $round % 50 && $round != $rounds;
	is(all_faults($net), '', 'the stores are sound');
	foreach my $name ('a', 'b')
	{
		is($net->{$name}->safe_psql('postgres', q{SELECT count(*) FROM pointstore.movement m WHERE phase IN ('confirmed', 'done')}) > 0, 1, "$name: some have been confirmed");
		is($net->{$name}->safe_psql('postgres', q{SELECT count(*) FROM pointstore.reconcile_movements()}), 0, "$name: and agree with what is away");
	}
}
$_->stop foreach values %$net;
done_testing();
