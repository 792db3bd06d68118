# Movements over a network that cuts, delays, tears and loses; messages that come again, all of them, in any order; clocks
# that are hours off; a standby promoted in the middle, of the participant and of the coordinator; and stores
# restored from an older backup. Each time everything ends, or is stuck with a reason.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::INET;
use List::Util qw(shuffle);
use MovementTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{CHECK_SEED} // time % 1_000_000;
note("CHECK_SEED=$seed");
srand($seed);

my $net = new_stores([ 'a', 'b', 'c' ], conf => "pointstore.movement_timeout = 1s\nlog_parameter_max_length = -1");
my $total = total($net);
my $proxy = start_proxy($net->{b});
my $waves = 0;
acquaint($net, 'a', 'b', $proxy->{host}, $proxy->{port});

sub ask
{
	my ($name, $sql) = @_;
	return $net->{$name}->safe_psql('postgres', $sql);
}

# A few of every protocol and end, from a store.
sub wave
{
	my ($store, $tag) = @_;
	my ($one, $two) = grep { $_ ne $store } 'a', 'b', 'c';
	my $account = sub { return sprintf '%s-%d', $_[0], 1 + rand 5 };
	my @calls = map {
		my $id = "$tag-$_";
		(   movement("$id-two", $_, '6 s', [ $account->($store), -2 ], [ $account->($one), 2, $one ]),
			movement("$id-three", $_, '6 s', [ $account->($one), -3, $one ], [ $account->($store), 1 ], [ $account->($two), 2, $two ]),
			movement("$id-refused", $_, '6 s', [ $account->($store), 4 ], [ "$one-poor", -4, $one ]))
	} 'tcc', 'saga', '2pc';
	return join '', map { "SELECT $_;\n" } @calls;
}

# Answers that are late, lost, torn; no connections; a peer that says nothing any more, and comes back.
foreach my $trouble ('delay 100', 'lose 100', 'lose 30', 'tear 100', 'tear 30', 'cut', 'hang')
{
	my $tag = $trouble =~ s/ /-/r;
	my $before = proxy($proxy, $trouble);
	my $all = $trouble =~ /100$/ && $trouble !~ /delay/;
	ask('a', wave('a', $tag));
	if ($all)
	{
		my $finish = time + 20;
		usleep(50_000) until proxy($proxy, $trouble) >= $before + 3 || time > $finish;
		is(proxy($proxy, 'pass') >= $before + 3, 1, "$trouble: some were");
	}
	elsif ($trouble =~ /cut|hang/)
	{
		ok(poll_until($net->{a}, 'postgres', q{SELECT failures >= 2 AND error <> '' FROM pointstore.movement_server WHERE server = 'b'}), "$trouble: it is noticed");
		proxy($proxy, 'pass');
	}
	sound($net, $total, $trouble);
	proxy($proxy, 'pass');
}
is(ask('a', q{SELECT string_agg(DISTINCT phase, ' ' ORDER BY phase) FROM pointstore.movement WHERE movement_id ~ '^delay'}), 'cancelled confirmed done undone', 'what is only late goes through');
is(ask('a', q{SELECT failures, paused_until IS NULL, error IS NULL FROM pointstore.movement_server WHERE server = 'b'}), '0|t|t', 'in the end it answers');

# A server whose packets are dropped, as by a firewall: no connection comes about, and nobody else waits for that.
{
	my $deaf = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!;
	# its queue is filled: whoever comes now is not answered
	my @queued = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->sockport, Blocking => 0) } 1 .. 8;
	ask('a', sprintf q{CREATE SERVER deaf FOREIGN DATA WRAPPER pointstore OPTIONS (host '127.0.0.1', port '%d', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER deaf OPTIONS (user 'of_a')}, $deaf->sockport);
	ask('a', 'SELECT ' . movement('deaf', 'tcc', '2 s', [ 'a-1', -1 ], [ 'deaf-1', 1, 'deaf' ]));
	my $begin = time;
	foreach my $n (1 .. 20)
	{
		ask('a', 'SELECT ' . movement("beside-deaf-$n", 'tcc', '1 min', [ 'a-2', -1 ], [ 'b-2', 1, 'b' ]));
		is(ask('a', "SELECT phase FROM pointstore.wait_for_movement('beside-deaf-$n', '60 s')"), 'confirmed', "beside a server that does not answer: $n");
	}
	cmp_ok(time - $begin, '<', 60, '... and in time');
	$deaf->close;
	$_->close foreach grep { defined } @queued;
	ask('a', 'DROP SERVER deaf CASCADE');
	ok(poll_until($net->{a}, 'postgres', q{SELECT phase = 'stuck' FROM pointstore.movement WHERE movement_id = 'deaf'}), '... which is dropped: stuck');
	ask('a', q{SELECT pointstore.resolve_movement('deaf', 'accept', 'it never was there')});
	my $failures = q{SELECT failures FROM pointstore.movement_server WHERE server = 'deaf'};
	my $before = ask('a', $failures);
	sound($net, $total, 'deaf');
	ask('a', 'SELECT ' . movement('after-deaf', 'tcc', '1 min', [ 'a-2', -1 ], [ 'b-2', 1, 'b' ]));
	sound($net, $total, 'after deaf');
	is(ask('a', $failures), $before, '... nobody is looked for who has nothing to do');
}

# One that is dropped before it was looked for has failed once: had it to be looked for again, that would soon be twice, and be written.
{
	ask('a', q{BEGIN; CREATE SERVER gone FOREIGN DATA WRAPPER pointstore OPTIONS (host '127.0.0.1', dbname 'postgres'); CREATE USER MAPPING FOR CURRENT_USER SERVER gone;
		SELECT } . movement('gone', 'tcc', '1 min', [ 'a-1', -1 ], [ 'gone-1', 1, 'gone' ]) . q{; DROP SERVER gone CASCADE; COMMIT});
	ok(poll_until($net->{a}, 'postgres', q{SELECT phase = 'stuck' FROM pointstore.movement WHERE movement_id = 'gone'}), 'a server that was dropped at once: stuck');
	ask('a', q{SELECT pointstore.resolve_movement('gone', 'accept', 'it never was there')});
	my $failures = q{SELECT failures FROM pointstore.movement_server WHERE server = 'gone'};
	my $before = ask('a', $failures);
	foreach my $n (1 .. 30)
	{
		ask('a', 'SELECT ' . movement("beside-gone-$n", 'tcc', '1 min', [ 'a-2', -1 ], [ 'b-2', 1, 'b' ]));
		ask('a', "SELECT phase FROM pointstore.wait_for_movement('beside-gone-$n', '60 s')");
	}
	cmp_ok($before, '>', 0, '... it was looked for');
	is(ask('a', $failures), $before, '... and is not any more');
	sound($net, $total, 'gone');
}

# Every message comes again, as it was and in any order: nothing is done twice. (A restart of the origin only raises what is finished.)
{
	my $b = $net->{b};
	ask('b', q{ALTER SYSTEM SET log_min_duration_statement = 0; SELECT pg_reload_conf()});
	my $from = -s $b->logfile;
	# a session of the coordinator's that was there before may take it in late
	ask('b', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'of_a'});
	ask('a', wave('a', 'again'));
	sound($net, $total, 'again');
	ask('b', 'ALTER SYSTEM RESET log_min_duration_statement; SELECT pg_reload_conf()');
	my @messages = map { s/''/'/gr } slurp_file($b->logfile, $from) =~ /parameters: \$1 = '((?:[^']|'')*)'/gi;
	cmp_ok(scalar @messages, '>', 3, 'the messages of a wave');
	my $rows = q{SELECT md5(string_agg(format('%s %s %s %s', movement_id, step, status, event_id), ',' ORDER BY movement_id, step)) FROM pointstore.participant_step WHERE status <> 'cancelled' OR event_id IS NOT NULL};
	my $events = 'SELECT count(*), sum(amount), sum(held) FROM pointstore.event_store';
	my @before = (ask('b', $rows), ask('b', $events));
	my %state;
	foreach my $message (shuffle(@messages, @messages))
	{
		# what was tried to be prepared comes in a transaction block again
		my $call = "SELECT pointstore.participate('" . ($message =~ s/'/''/gr) . "')";
		$call = "BEGIN;\n$call;\nCOMMIT" if $message =~ /"do": ?"try".*"protocol": ?"2pc"/;
		my ($rc, $out, $err) = $b->psql('postgres', "\\set VERBOSITY sqlstate\nSET ROLE of_a;\n$call");
		$state{ $rc == 0 ? '00000' : $err =~ /ERROR:\s+(\w+)/ ? $1 : $err }++;
	}
	is(join(' ', sort keys %state), '00000', 'all of them come again');
	is_deeply([ ask('b', $rows), ask('b', $events) ], \@before, '... and nothing is done twice');
	sound($net, $total, 'came again');
}

# Clocks that are hours off, one each way.
SKIP:
{
	my $library = "$ENV{TESTDIR}/unit/clock.so";
	skip 'make -C test/unit builds the clock', 1 unless -e $library;
	foreach my $offset (-7 * 3600, 7 * 3600)
	{
		$net->{b}->stop;
		{
			local $ENV{LD_PRELOAD} = $library;
			local $ENV{CLOCK_OFFSET} = $offset;
			$net->{b}->start;
		}
		is(ask('b', 'SELECT round(extract(epoch FROM clock_timestamp()) / 3600)') - int(time / 3600 + 0.5), $offset / 3600, "a clock that is $offset s off");
		ask('a', wave('a', "clock$offset"));
		ask('b', wave('b', "clock-b$offset"));
		sound($net, $total, "clock $offset");
		is(ask('a', qq{SELECT string_agg(DISTINCT phase, ' ' ORDER BY phase) FROM pointstore.movement WHERE movement_id ~ '^clock$offset'}), 'cancelled confirmed done undone', '... and everything goes through');
	}
	$net->{b}->restart;
}
is(all_faults($net), '', 'the stores are sound') if $ENV{CHECK_SOAK};

# A participant fails over to its synchronous standby in the middle.
sub standby_of
{
	my ($name) = @_;
	my $primary = $net->{$name};
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby_$waves");

	$waves++;
	$primary->backup("base$waves");
	$standby->init_from_backup($primary, "base$waves", has_streaming => 1);
	$standby->start;
	$primary->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()});
	poll_until($primary, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}) or die;
	return $standby;
}

foreach my $protocol ('tcc', 'saga', '2pc')
{
	last if $protocol ne 'tcc' && !$ENV{CHECK_SOAK};
	my $standby = standby_of('b');
	my $held = hold_point($net->{a}, 'coordinator-decided');
	inject($net->{a}, 'coordinator-decided=wait');
	ask('a', wave('a', "promoted-$protocol"));
	ok(is_waiting($net->{a}), 'something is about to be decided');
	$net->{b}->stop('immediate');
	$standby->promote;
	$standby->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
	$net->{b} = $standby;
	acquaint($net, $_, 'b', $standby->host, $standby->port) foreach 'a', 'c';
	inject($net->{a}, '');
	$held->quit;
	sound($net, $total, "participant failed over, $protocol");
	is(ask('a', q{SELECT string_agg(movement_id, ' ') FROM pointstore.movement WHERE phase = 'stuck'}), '', '... nothing is lost');
	isnt(ask('a', q{SELECT reopened_at FROM pointstore.movement_server WHERE server = 'b'}), '', '... and it is known to be on another timeline');
	is(ask('a', q{SELECT count(*) FROM pointstore.reconcile_movements('b')}), 0, '... where nothing is missing');
	is(ask('a', q{SELECT reopened_at FROM pointstore.movement_server WHERE server = 'b'}), '', '... as is known then');
}
stop_proxy($proxy);

# The coordinator fails over; the old one comes back, and is not listened to.
{
	my $old = $net->{a};
	my $incarnation = ask('a', 'SELECT incarnation FROM pointstore.movement_store');
	my $standby = standby_of('a');
	ask('a', wave('a', 'failover'));
	$old->stop('immediate');
	$standby->promote;
	$standby->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
	$net->{a} = $standby;
	acquaint($net, $_, 'a', $standby->host, $standby->port) foreach 'b', 'c';
	# what was asked for and not answered is asked for again
	insistent($standby, wave('a', 'after'));
	sound($net, $total, 'coordinator failed over');
	is(ask('a', "SELECT incarnation > $incarnation FROM pointstore.movement_store"), 't', '... as another incarnation');
	$old->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''");
	$old->start;
	$old->safe_psql('postgres', 'SELECT ' . movement('fenced', 'tcc', '1 min', [ 'a-1', -1 ], [ 'c-1', 1, 'c' ]));
	ok(poll_until($old, 'postgres', q{SELECT error ~ '^55000' FROM pointstore.movement_step WHERE movement_id = 'fenced' AND step = 2}), 'the old one is not listened to');
	is(ask('c', q{SELECT count(*) FROM pointstore.participant_step WHERE movement_id = 'fenced'}), 0, '... nothing is done for it');
	$old->stop('immediate');
	sound($net, $total, 'fenced');
}

# A participant restored from an older backup: what was confirmed is lost there, which is found; what was tried is stuck.
{
	my $c = $net->{c};
	$c->backup('older');
	# what is restored is further back than what was heard of
	ask('c', 'SELECT pg_switch_wal(); CREATE TABLE written (i integer); SELECT pg_switch_wal(); DROP TABLE written; SELECT pg_switch_wal()');
	ask('a', 'SELECT ' . movement('lost', 'tcc', '1 min', [ 'a-1', -9 ], [ 'c-1', 9, 'c' ]));
	is(ask('a', q{SELECT phase FROM pointstore.wait_for_movement('lost', '60 s')}), 'confirmed', 'one that will be lost');
	my $held = hold_point($net->{a}, 'coordinator-decided');
	inject($net->{a}, 'coordinator-decided=wait');
	ask('a', 'SELECT ' . movement('in-the-middle', 'tcc', '10 min', [ 'a-1', -5 ], [ 'c-1', 5, 'c' ]));
	ok(is_waiting($net->{a}), 'another is tried, and about to be decided');
	$c->stop('immediate');
	my $restored = PostgreSQL::Test::Cluster->new('c_restored');
	$restored->init_from_backup($c, 'older');
	$restored->append_conf('postgresql.conf', 'port = ' . $restored->port);
	$restored->start;
	$net->{c} = $restored;
	acquaint($net, $_, 'c', $restored->host, $restored->port) foreach 'a', 'b';
	inject($net->{a}, '');
	$held->quit;
	is(ask('a', q{SELECT phase FROM pointstore.wait_for_movement('in-the-middle', '60 s')}), 'stuck', 'what was tried there is not: stuck');
	isnt(ask('a', q{SELECT error FROM pointstore.wait_for_movement('in-the-middle')}), '', '... with the reason');
	ok(poll_until($net->{a}, 'postgres', q{SELECT reopened_at IS NOT NULL FROM pointstore.movement_server WHERE server = 'c'}), 'a step back is seen');
	is(ask('a', q{SELECT string_agg(DISTINCT movement_id, ' ' ORDER BY movement_id) FROM pointstore.reconcile_movements('c')}), 'lost', 'what it has lost of what was acknowledged is found');
	is(sqlstate($net->{a}, 'postgres', q{SELECT pointstore.resolve_movement('in-the-middle', 'cancel', 'test')}), 'PS011', 'decided, it is not cancelled');
	ask('a', q{SELECT pointstore.resolve_movement('in-the-middle', 'confirm', 'once more')});
	is(ask('a', q{SELECT phase FROM pointstore.wait_for_movement('in-the-middle', '60 s')}), 'confirmed', 'an operator has it done again');
	is(total($net), $total - 9, 'what is missing is what was found');
	ask('c', q{SELECT pointstore.append_event('c-1', 'Corrected', 9)});
	ask('a', wave('a', 'restored'));
	sound($net, $total, 'participant restored', stuck => ['lost']);
}

# The coordinator restored from an older backup: steps elsewhere that it knows nothing of. A repeat of such a movement is no repeat in silence.
{
	my $old = $net->{a};
	my $incarnation = ask('a', 'SELECT incarnation FROM pointstore.movement_store');
	$old->backup('older');
	ask('a', 'SELECT ' . movement('unknown', 'tcc', '1 min', [ 'b-1', -4, 'b' ], [ 'c-1', 4, 'c' ]));
	is(ask('a', q{SELECT phase FROM pointstore.wait_for_movement('unknown', '60 s')}), 'confirmed', 'one that its coordinator will not know');
	$old->stop('immediate');
	my $restored = PostgreSQL::Test::Cluster->new('a_restored');
	$restored->init_from_backup($old, 'older', has_restoring => 1);
	$restored->start;
	$restored->promote;
	$net->{a} = $restored;
	acquaint($net, $_, 'a', $restored->host, $restored->port) foreach 'b', 'c';
	ok(poll_until($restored, 'postgres', "SELECT incarnation > $incarnation FROM pointstore.movement_store"), 'restored, it is another incarnation');
	is(ask('a', q{SELECT count(*) FROM pointstore.reconcile_movements() WHERE movement_id = 'unknown'}), 2, 'steps without a movement are found');
	ask('a', 'SELECT ' . movement('unknown', 'tcc', '1 min', [ 'b-1', -4, 'b' ], [ 'c-1', 4, 'c' ]));
	is(ask('a', q{SELECT phase FROM pointstore.wait_for_movement('unknown', '60 s')}), 'stuck', 'when it is asked for again it is stuck');
	is(total($net), $total, '... and not done twice');
	ask('a', q{SELECT pointstore.resolve_movement('unknown', 'accept', 'it was done')});
	ask('a', wave('a', 'again-restored'));
	sound($net, $total, 'coordinator restored', stuck => [ 'lost', 'unknown' ]);
	is(ask('a', q{SELECT string_agg(DISTINCT movement_id, ' ') FROM pointstore.reconcile_movements()}), 'lost', 'what is known now is no finding');
	ask('a', q{SELECT pointstore.acknowledge(id, 'corrected') FROM pointstore.finding WHERE code = 'movement_lost' AND resolved_at IS NULL});
}
is(all_faults($net, stuck => [ 'lost', 'unknown' ]), '', 'the stores are sound');
$_->stop foreach values %$net;
done_testing();
