# Thirty-two writers do whatever writes events, and what does not in the end: they roll back, prepare,
# stay open for seconds. Beside them four members of a subscription, whose clients are killed at random. The sequencer is killed now and then. Readers keep what they see. At
# the end every committed event has one position, 1 to n, versions rise in each account, and nothing that was
# read has changed; and each was delivered, in its account's order, and had its effect once. feed_check() is asked all the time, here and on a standby, and never has anything to say.
#
# CHECK_FEED_SECONDS: for how long, 20 by default. CHECK_KILLS: how many clients are killed (default 100), half of them here,
# half in 043.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $seconds = $ENV{CHECK_FEED_SECONDS} // 20;
my $kills = int(($ENV{CHECK_KILLS} // 100) / 2);
my $rounds = 3;
my $node = new_cluster('main', allows_streaming => 1, conf => <<'END');
max_worker_processes = 16
max_connections = 100
autovacuum = on
restart_after_crash = on
deadlock_timeout = 100ms
pointstore.databases = 'postgres'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 1s
END
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('house', 'hybrid', NULL), ('ledger', 'pure', NULL);
SELECT count(pointstore.append_event('h' || i, 'Opened', 1000000, kind => 'house')), count(pointstore.append_event('p' || i, 'Opened', 1000000, kind => 'ledger')) FROM generate_series(1, 12) i;
CREATE TABLE kept (position bigint, id bigint, aggregate_id text, version bigint);

-- reads the feed page by page and keeps it
CREATE PROCEDURE keep() LANGUAGE plpgsql AS $$
DECLARE
	after bigint := (SELECT coalesce(max(position), 0) FROM kept);
	page bigint;
BEGIN
	LOOP
		INSERT INTO kept SELECT position, id, aggregate_id, version FROM pointstore.read_feed(after, 5000);
		SELECT max(position) INTO page FROM kept WHERE position > after;
		EXIT WHEN page IS NULL;
		after := page;
		COMMIT;
	END LOOP;
END $$;
CREATE INDEX ON kept (position);
CREATE TABLE effect (aggregate_id text, version bigint, n bigserial);
SELECT pointstore.create_subscription('group', lease => '0.5 s', max_attempts => 1000);

-- a statement, whose error is no matter
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
END

# a standby follows; the feed is whole there, too, at every instant
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my %checks = (main => 0, standby => 0);
my @faults;

# Whether the feed is whole now; after a crash a server may not be up yet, and a standby may have to let go of what it reads.
sub check_now
{
	foreach my $server ($node, $standby)
	{
		my ($rc, $out) = $server->psql('postgres', 'SELECT code, position, event_id FROM pointstore.feed_check() LIMIT 5');
		next if $rc != 0;
		$checks{ $server->name }++;
		push @faults, $server->name . ": $out" if $out ne '';
	}
	return;
}

# The ways of writing, each a script of pgbench and how many clients have it.
my %scripts = (
	append => [ 6, <<'END' ],
\set a random(1, 12)
\set k random(1, 4)
\if :k = 1
SELECT pointstore.append_event('p' || :a, 'Earned', 1);
\elif :k = 2
SET synchronous_commit = off;
SELECT pointstore.append_event('h' || :a, 'Earned', 1);
SET synchronous_commit = on;
\else
SELECT pointstore.append_event('h' || :a, 'Earned', 1);
\endif
END
	batch => [ 4, <<'END' ],
\set a random(1, 12)
\set b random(1, 12)
SELECT pointstore.append_events(jsonb_build_array(
	jsonb_build_object('aggregate_id', 'h' || :a, 'event_type', 'Earned', 'amount', 1),
	jsonb_build_object('aggregate_id', 'p' || :b, 'event_type', 'Earned', 'amount', 1),
	jsonb_build_object('aggregate_id', 'p' || :a, 'event_type', 'Earned', 'amount', 1),
	jsonb_build_object('aggregate_id', 'h' || :a, 'event_type', 'Earned', 'amount', 1)));
END
	move => [ 4, <<'END' ],
\set a random(1, 12)
\set b random(1, 12)
\set n random(1, 1000000000)
SELECT pointstore.try_transfer('h' || :a, 'h' || :b, 1) WHERE :a <> :b;
SELECT pointstore.try_hold('h' || :a, 5, 'hold' || :n, '300 ms');
SELECT pointstore.try_confirm_hold('hold' || :n) WHERE :a < 6;
SELECT pointstore.try_transfer('p' || :a, 'h' || :b, 1);
END
	submit => [ 4, <<'END' ],
\set a random(1, 12)
SELECT pointstore.try_submit_event('h' || :a, 'Submitted', 1);
END
	raw => [ 4, <<'END' ],
\set a random(1, 12)
\set b random(1, 12)
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('h' || :a, 'Earned', 1), ('h' || :a, 'Earned', 1);
SELECT try(format('INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES (%L, %L, 1), (%L, %L, 1)', 'p' || :a, 'Earned', 'h' || :b, 'Earned'));
COPY pointstore.event_store (aggregate_id, event_type, amount) FROM PROGRAM 'for i in 1 2 3 4 5; do printf "h%d\tEarned\t1\n" $i; done';
END
	undo => [ 4, <<'END' ],
\set a random(1, 12)
\set b random(1, 12)
BEGIN;
SELECT pointstore.append_event('h' || :a, 'Earned', 1);
SAVEPOINT s;
SELECT pointstore.append_event('p' || :b, 'Earned', 1);
SELECT pointstore.append_event('q' || :b, 'Earned', 1);
ROLLBACK TO SAVEPOINT s;
SELECT pointstore.append_event('q' || :a, 'Earned', 1);
COMMIT;
BEGIN;
SELECT pointstore.append_event('h' || :a, 'Earned', 1);
SELECT pointstore.append_event('p' || :a, 'Earned', 1);
ROLLBACK;
END
	prepare => [ 4, <<'END' ],
\set a random(1, 12)
\set c random(1, 2)
\set ms random(1, 200)
BEGIN;
SELECT pointstore.append_event('r' || :a, 'Earned', 1);
SELECT pointstore.append_event('r' || (:a + 20), 'Earned', 1);
PREPARE TRANSACTION 'feed:client_id';
\sleep :ms ms
\if :c = 1
COMMIT PREPARED 'feed:client_id';
\else
ROLLBACK PREPARED 'feed:client_id';
\endif
END
	long => [ 2, <<'END' ],
\set a random(1, 1000000)
BEGIN;
SELECT count(pointstore.append_event('l' || (i + :a) % 20, 'Earned', 1)) FROM generate_series(1, 50) i;
\sleep 1500 ms
SELECT count(pointstore.append_event('l' || (i + :a) % 20, 'Earned', 1)) FROM generate_series(1, 50) i;
COMMIT;
END
);

my $pgbench = File::Spec->catfile($node->config_data('--bindir'), 'pgbench');

# A member as a client of its own: a claim that is committed, then its effects and the acknowledgement in one transaction. Who is
# late ends; so does who is killed wherever he is.
my $member = $node->basedir . '/member.sql';
PostgreSQL::Test::Utils::append_to_file($member, <<'END');
SELECT coalesce(max(slot), -1) AS slot, max(epoch) AS epoch, max(position) AS position, array_agg(c)::text AS got FROM pointstore.claim('group', 'm', 100, '0.2 s') c \gset
\if :slot >= 0
BEGIN;
INSERT INTO effect SELECT aggregate_id, version FROM unnest(:got::pointstore.delivery[]);
SELECT pointstore.ack('group', :slot, :epoch, :position);
COMMIT;
\endif
END

sub start_member
{
	my $pid = fork // die;
	return $pid if $pid;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>', '/dev/null';
	open STDERR, '>>', $node->basedir . '/member.err';
	exec $pgbench, '-n', '-M', 'extended', '-T', 86400, '-f', $member, $node->connstr('postgres') or POSIX::_exit(1);
}

# Four members, until TERM, or the test has ended: whoever ends is started again. At USR1, the beginning of a round, it goes on to
# kill some of them at random instants. Says when all is done and how many had come to an end by themselves.
sub keep_members
{
	my ($said) = @_;
	my @members = map { start_member() } 1 .. 4;
	my ($killed, $ended, $round) = (0, 0, 0);
	my $end = sub { kill 'KILL', @members; POSIX::_exit(0); };
	my $test = getppid();

	$SIG{TERM} = $end;
	$SIG{USR1} = sub { $round++; };
	syswrite $said, "ready\n";
	while (1)
	{
		$end->() if getppid() != $test;
		my $more = $killed < $kills * $round / $rounds;
		select undef, undef, undef, $more ? rand(2) * $seconds / $kills : 0.1;
		foreach my $pid (@members)
		{
			next if waitpid($pid, POSIX::WNOHANG()) == 0;
			$ended++;
			$pid = start_member();
		}
		next if !$more;
		my $victim = int rand 4;
		kill 'KILL', $members[$victim];
		waitpid $members[$victim], 0;
		$killed++ if ($? & 127) == 9;
		syswrite $said, "$killed killed, $ended ended\n" if $killed == $kills;
		$members[$victim] = start_member();
	}
}

pipe my $hears, my $says or die;
my $group = fork // die;
keep_members($says) if $group == 0;
close $says;
is(<$hears>, "ready\n", 'members are there');

# All of them for so long; the sequencer's end in the middle. Clients that a crash has ended are no fault.
sub run_round
{
	my ($time) = @_;
	my @runs;

	foreach my $name (sort keys %scripts)
	{
		my ($clients, $script) = @{ $scripts{$name} };
		my $file = $node->basedir . "/$name.sql";
		$script =~ s/feed:client_id/feed$name:client_id/g;
		# pgbench knows no variable in a string
		$script =~ s/PREPARE TRANSACTION '(\w+):client_id'/PREPARE TRANSACTION '$1CLIENT'/;
		open my $out, '>', $file or die;
		print $out $script;
		close $out;
		foreach my $client (1 .. $clients)
		{
			my $own = $node->basedir . "/$name$client.sql";
			my $text = $script =~ s/CLIENT|:client_id/$client/gr;
			open $out, '>', $own or die;
			print $out $text;
			close $out;
			push @runs, IPC::Run::start([ $pgbench, '-n', '-c', 1, '-T', $time, '--max-tries=100', '-f', $own, $node->connstr('postgres') ], '>', '/dev/null', '2>', $node->basedir . "/$name$client.err");
		}
	}
	my $until = time() + $time;
	while (time() < $until - 1)
	{
		# after a crash it may not be up yet
		$node->psql('postgres', 'CALL keep()');
		check_now();
	}
	my ($rc, $victim) = $node->psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer'});
	kill 'KILL', $victim if $victim =~ /^\d+$/;
	$_->finish foreach @runs;
	return;
}

# What is in the middle of something ends; then the feed comes to its end.
sub settle
{
	foreach my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts ORDER BY gid'))
	{
		$node->safe_psql('postgres', "COMMIT PREPARED '$gid'");
	}
	return $node->poll_query_until('postgres', q{SELECT pointstore.sequencer_alive() AND pointstore.feed_head() = count(*) FROM pointstore.event_store});
}

foreach my $round (1 .. $rounds)
{
	kill 'USR1', $group;
	run_round(int($seconds / $rounds) + 1);
	$node->poll_query_until('postgres', 'SELECT true') or die;
	ok(settle(), "round $round: every event gets a position");
	$node->safe_psql('postgres', 'CALL keep()');
	is(feed_faults($node, 'postgres'), '', "round $round: one each, in order");
	is($node->safe_psql('postgres', q{WITH feed AS MATERIALIZED (SELECT b.first_position + row_number() OVER (PARTITION BY b.first_position ORDER BY i.id) - 1 AS position, i.id
			FROM pointstore.feed_block b, unnest(b.ids) r, LATERAL generate_series(lower(r), upper(r) - 1) AS i(id))
		SELECT k.position FROM kept k LEFT JOIN feed f USING (position) LEFT JOIN pointstore.event_store e ON e.id = f.id
		WHERE (k.id, k.aggregate_id, k.version) IS DISTINCT FROM (f.id, e.aggregate_id, e.version) LIMIT 10}), '', "round $round: nothing has moved");
}

# all kills are done, and the members come to the end
my $killed = <$hears> // 'none';
note($killed);
like($killed, qr/^$kills killed/, 'members were killed');
ok($node->poll_query_until('postgres', q{SELECT sum(lag_events) = 0 AND sum(accounts_blocked) = 0 AND count(member) = 0 FROM pointstore.subscription_status WHERE subscription = 'group'}),
	'the members come to the end');
kill 'TERM', $group;
waitpid $group, 0;
is($node->safe_psql('postgres', q{SELECT format('%s %s %s', aggregate_id, version, count(n)) FROM pointstore.event_store FULL JOIN effect USING (aggregate_id, version)
	GROUP BY aggregate_id, version HAVING count(id) <> 1 OR count(n) <> 1 LIMIT 10}), '', 'each event had its effect once');
is($node->safe_psql('postgres', q{SELECT format('%s %s', aggregate_id, version) FROM (SELECT *, lag(version, 1, 0::bigint) OVER (PARTITION BY aggregate_id ORDER BY n) AS before FROM effect) e
	WHERE version <> before + 1 LIMIT 10}), '', 'in the order of its account');
is($node->safe_psql('postgres', q{SELECT action, aggregate_id, count(*) FROM pointstore.subscription_log WHERE action NOT IN ('create', 'takeover') GROUP BY 1, 2}), '', 'and nobody was set aside');
note('takeovers: ' . $node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.subscription_log WHERE action = 'takeover'}));

is(join("\n", @faults), '', 'the feed was whole whenever it was looked at');
cmp_ok($checks{$_}, '>', 0, "on $_ too") foreach sort keys %checks;
my ($events, $types) = split /\|/, $node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT left(aggregate_id, 1)) FROM pointstore.event_store});
note("$events events in " . $node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.feed_block') . ' blocks');
cmp_ok($events, '>', 1000, 'there was something to do');
is($types, 5, 'in every way');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT event_type, ' ' ORDER BY event_type) FROM pointstore.event_store}),
	'Earned HoldConfirmed HoldExpired HoldPlaced Opened Submitted Transferred', 'of every type');

# and then nothing is left open
$node->safe_psql('postgres', q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('h1', 'Earned', 1)});
ok(settle(), 'the last one');
is($node->safe_psql('postgres', q{SELECT settled_below > (SELECT max(id) FROM pointstore.event_store) FROM pointstore.feed_block ORDER BY first_position DESC LIMIT 1}), 't', 'all is settled');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT id, position FROM kept ORDER BY random() LIMIT 500) k WHERE pointstore.position_of(k.id) IS DISTINCT FROM k.position}), 0, 'position_of says the same');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(feed_faults($standby, 'postgres'), '', 'the feed of the standby is whole');
$standby->stop;
$node->stop;

done_testing();
