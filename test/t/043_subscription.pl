# Subscriptions: members that are killed, a poisoned event, parked accounts that are replayed while others
# go on, a filter that nothing passes, a crash of the server, a dump and its restore.
#
# Members are psql sessions that loop in a procedure; a third of the time one is killed. Where effects
# and ack are one transaction each event has its effect once; where they are two, at least once.
# CHECK_KILLS: how many are killed (default 100), half of them here, half in 042.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = int(($ENV{CHECK_KILLS} // 100) / 2);
my $accounts = 40;
my $node = new_cluster('subscription', conf => "pointstore.databases = 'postgres'\n");
my $bin = $node->config_data('--bindir');

$node->start;
create_store($node, 'postgres');
poll_until($node, 'postgres', 'SELECT pointstore.sequencer_alive()') or die 'no sequencer';
$node->safe_psql('postgres', <<'END');
CREATE TABLE effect (subscription text, aggregate_id text, version bigint, position bigint, n bigserial);
-- effects and ack in one transaction, after a claim that was committed; or in two
CREATE PROCEDURE work(sub text, me text, one_transaction boolean, batch integer) LANGUAGE plpgsql AS $$
DECLARE
    got pointstore.delivery[];
    d pointstore.delivery;
BEGIN
    LOOP
        got := ARRAY(SELECT c FROM pointstore.claim(sub, me, batch, '0.2 s') c);
        COMMIT;
        CONTINUE WHEN got = '{}';
        d := got[array_upper(got, 1)];
        INSERT INTO effect SELECT sub, g.aggregate_id, g.version, g.position FROM unnest(got) g;
        IF NOT one_transaction THEN
            COMMIT;
        END IF;
        BEGIN
            PERFORM pointstore.ack(sub, d.slot, d.epoch, d.position);
        EXCEPTION WHEN SQLSTATE 'PS014' THEN
            IF one_transaction THEN
                RAISE EXCEPTION 'late';
            END IF;
        END;
        COMMIT;
    END LOOP;
END $$;
END

sub append
{
	my ($n, $type) = @_;
	$type //= 'E';
	return $node->safe_psql('postgres', "SELECT count(*) FROM (SELECT pointstore.append_event('a' || i % $accounts, '$type', 1) FROM generate_series(1, $n) i) s");
}

sub sequenced
{
	return poll_until($node, 'postgres', 'SELECT pointstore.feed_head() = (SELECT count(*) FROM pointstore.event_store)');
}

sub value
{
	return $node->safe_psql('postgres', $_[0]);
}

# Starts a member; what it says is kept where nobody looks.
sub member
{
	my ($sub, $name, $one) = @_;
	my ($in, $out, $err) = ('', '', '');
	return IPC::Run::start([ "$bin/psql", '-XAtq', '-d', $node->connstr('postgres'), '-v', 'ON_ERROR_STOP=1', '-c',
			"CALL work('$sub', '$name', $one, 7)" ], \$in, \$out, \$err);
}

sub kill_backend
{
	my ($sub) = @_;
	return value("SELECT coalesce((SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE query LIKE 'CALL work(''$sub''%' ORDER BY random() LIMIT 1), 'none')");
}

sub killed_members
{
	my ($sub, $one, $n) = @_;
	my @members;
	my $killed = 0;
	my $started = 0;

	for (1 .. 4) { push @members, member($sub, 'm' . ++$started, $one); }
	while ($killed < $n)
	{
		append(20) if $killed % 4 == 0;
		usleep(20_000);
		$killed++ if kill_backend($sub) eq 'true';
		@members = grep { $_->pump_nb; 1 } grep { $_->pumpable || do { eval { $_->finish }; 0 } } @members;
		push @members, member($sub, 'm' . ++$started, $one) while @members < 4;
	}
	return @members;
}

sub end_members
{
	my ($sub, @members) = @_;
	value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'CALL work(''$sub''%'");
	foreach (@members) { eval { $_->finish }; }
}

my %order = map { $_ => "SELECT count(*) FROM (SELECT version, max(version) OVER (PARTITION BY aggregate_id ORDER BY n ROWS UNBOUNDED PRECEDING) AS highest,
 lag(version, 1, 0::bigint) OVER (PARTITION BY aggregate_id ORDER BY n) AS before FROM effect WHERE subscription = '$_') e WHERE version > before + 1" } qw(once least);

foreach my $case (['once', 'true'], ['least', 'false'])
{
	my ($sub, $one) = @$case;
	value("SELECT pointstore.create_subscription('$sub', lease => '0.3 s', max_attempts => 1000)");
	append(200);
	my @members = killed_members($sub, $one, int($kills / 2));
	sequenced();
	ok(poll_until($node, 'postgres', "SELECT sum(lag_events) = 0 AND sum(accounts_blocked) = 0 AND count(member) = 0 FROM pointstore.subscription_status WHERE subscription = '$sub'"),
		"$sub: comes to the end");
	end_members($sub, @members);
	my $events = value('SELECT count(*) FROM pointstore.event_store');
	is(value("SELECT count(DISTINCT (aggregate_id, version)) FROM effect WHERE subscription = '$sub'"), $events, "$sub: every event had its effect");
	is(value("SELECT count(*) FROM effect WHERE subscription = '$sub'"), $events, "$sub: once") if $one eq 'true';
	is(value($order{$sub}), 0, "$sub: no event of an account before its earlier one");
	is(value("SELECT count(*) FROM pointstore.subscription_log WHERE subscription = '$sub' AND action NOT IN ('create', 'takeover')"), 0, "$sub: nobody was parked");
}

# one round of a member by hand; what is poisoned fails
sub rounds
{
	my ($sub, $poison, $n) = @_;
	return value(<<"END");
CREATE FUNCTION pg_temp.round() RETURNS integer LANGUAGE plpgsql AS \$\$
DECLARE got pointstore.delivery[]; d pointstore.delivery;
BEGIN
    got := ARRAY(SELECT c FROM pointstore.claim('$sub', 'hand', 10) c);
    FOREACH d IN ARRAY got LOOP
        IF $poison THEN
            PERFORM pointstore.nack('$sub', d.slot, d.epoch, d.position, 'poisoned', 'retry', '0');
            RETURN 1;
        END IF;
        INSERT INTO effect VALUES ('$sub', d.aggregate_id, d.version, d.position);
    END LOOP;
    IF got <> '{}' THEN PERFORM pointstore.ack('$sub', d.slot, d.epoch, d.position); END IF;
    RETURN cardinality(got);
END \$\$;
SELECT count(pg_temp.round()) FROM generate_series(1, $n);
END
}

# a poisoned event in the middle, while its account goes on receiving
append(200);
sequenced();
value("SELECT pointstore.create_subscription('poison', max_attempts => 3)");
my $bad = "(d.aggregate_id IN ('a5', 'a6') AND d.version = 3)";
rounds('poison', $bad, 20);
append(200);
sequenced();
my $all = value('SELECT count(*) FROM pointstore.event_store');
rounds('poison', $bad, int($all / 10) * 2 + 50);
is(value("SELECT string_agg(format('%s %s %s', aggregate_id, state, attempts), ',' ORDER BY aggregate_id) FROM pointstore.subscription_retry WHERE subscription = 'poison'"),
	'a5 parked 3,a6 parked 3', 'two accounts are parked');
is(value("SELECT sum(lag_events) FROM pointstore.subscription_status WHERE subscription = 'poison'"), 0, 'the others have come to the end');
is(value("SELECT count(*) FROM effect WHERE subscription = 'poison' AND aggregate_id NOT IN ('a5', 'a6')"),
	value("SELECT count(*) FROM pointstore.event_store WHERE aggregate_id NOT IN ('a5', 'a6')"), 'each of their events once');
is(value("SELECT count(*) FROM effect WHERE subscription = 'poison' AND aggregate_id IN ('a5', 'a6')"), 4, 'of the parked ones what came before');
is(value("SELECT sum(events_parked) FROM pointstore.subscription_status WHERE subscription = 'poison'"),
	value("SELECT count(*) FROM pointstore.event_store WHERE aggregate_id IN ('a5', 'a6') AND version >= 3"), 'what waits');

# one is replayed, then all, while others go on
is(value("SELECT pointstore.replay_parked('poison', 'a5')"), 1, 'one is replayed');
append(40);
sequenced();
rounds('poison', "(d.aggregate_id = 'a6' AND d.version = 3)", 60);
is(value("SELECT string_agg(aggregate_id || state, ',') FROM pointstore.subscription_retry WHERE subscription = 'poison'"), 'a6parked', 'the other is parked still');
is(value("SELECT pointstore.replay_parked('poison')"), 1, 'all are replayed');
append(40);
sequenced();
rounds('poison', 'false', 60);
is(value("SELECT count(*) FROM pointstore.subscription_retry WHERE subscription = 'poison'"), 0, 'nothing is left');
is(value("SELECT count(*) || ' ' || count(DISTINCT (aggregate_id, version)) FROM effect WHERE subscription = 'poison'"),
	value("SELECT count(*) || ' ' || count(*) FROM pointstore.event_store"), 'each event had its effect once');
is(value("SELECT count(*) FROM (SELECT version - lag(version, 1, 0::bigint) OVER (PARTITION BY aggregate_id ORDER BY n) AS step FROM effect WHERE subscription = 'poison') e WHERE step <> 1"),
	0, 'in the order of each account');

# a filter that nothing passes: the checkpoint moves, now and then
value("SELECT pointstore.create_subscription('nothing', event_types => ARRAY['Never'], slots => 2::smallint)");
append(3000);
sequenced();
is(value("SELECT count(*) FROM pointstore.claim('nothing', 'm')"), 0, 'nothing passes');
ok(value("SELECT min(checkpoint) = pointstore.feed_head() FROM pointstore.subscription_status WHERE subscription = 'nothing'") eq 't', 'the checkpoint moves');
my $place = value("SELECT string_agg(ctid::text, ',' ORDER BY slot) FROM pointstore.subscription_slot WHERE subscription = 'nothing'");
append(100);
sequenced();
is(value("SELECT count(*) FROM pointstore.claim('nothing', 'm')"), 0, 'nothing passes, still');
is(value("SELECT string_agg(ctid::text, ',' ORDER BY slot) FROM pointstore.subscription_slot WHERE subscription = 'nothing'"), $place, 'and nothing is written');

# who waits for work: a retry that is due wakes him, whatever comes in between that is not his; and he holds no table
value("SELECT pointstore.create_subscription('due', NULL, 1::smallint, ARRAY['Due'])");
append(1, 'Due');
sequenced();
value("SELECT pointstore.nack('due', slot, epoch, position, 'later', 'retry', '1 s') FROM pointstore.claim('due', 'm')");
append(10);
sequenced();
is(value("SELECT clock_timestamp() AS begun \\gset\nCALL pointstore.wait_for_work('due', '9 s');\nSELECT clock_timestamp() < :'begun'::timestamptz + '6 s'"), "t\nt", 'a retry that is due');
value("SELECT pointstore.ack('due', slot, epoch, position) FROM pointstore.claim('due', 'm')");
foreach my $call ("work('due', '180 s')", "feed(pointstore.feed_head(), '180 s')")
{
	my ($in, $said, $why) = ('', '', '');
	my $waiting = IPC::Run::start([ "$bin/psql", '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL pointstore.wait_for_$call" ], \$in, \$said, \$why);
	my $waiter = "FROM pg_stat_activity WHERE query LIKE 'CALL pointstore.wait_for_%' AND pid <> pg_backend_pid()";
	ok(poll_until($node, 'postgres', "SELECT count(*) = 1 $waiter AND wait_event_type = 'Extension'"), "wait_for_$call waits");
	is(value("SELECT count(*) FROM pg_locks l JOIN (SELECT pid $waiter) a USING (pid) WHERE l.locktype = 'relation'"), 0, 'and has locked no table');
	append(1, 'Due');
	$waiting->finish;
	like($said, qr/^(t|[0-9]+)$/, 'and is woken');
}

# a slot that is given back while others wait for work, a subscription that is resumed
foreach my $verb ("SELECT pointstore.release('due', slot, epoch) FROM pointstore.subscription_slot WHERE subscription = 'due'", "SELECT pointstore.resume_subscription('due')")
{
	my ($in, $said, $why) = ('', '', '');
	value($verb =~ /release/ ? "SELECT count(*) FROM pointstore.claim('due', 'm')" : "SELECT pointstore.pause_subscription('due')");
	my $waiting = IPC::Run::start([ "$bin/psql", '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL pointstore.wait_for_work('due', '180 s')", '-c', 'SELECT clock_timestamp()' ], \$in, \$said, \$why);
	ok(poll_until($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL pointstore.wait_for_%' AND wait_event_type = 'Extension'"), 'who waits for work');
	my $freed = value("WITH v AS MATERIALIZED ($verb) SELECT clock_timestamp() FROM v");
	$waiting->finish;
	is(value("SELECT '" . ($said =~ s/^t\n//r) . "'::timestamptz < '$freed'::timestamptz + '8 s'"), 't', 'has it soon when it is given back');
}

# a page is read by look-ups, and not compiled, however large the planner thinks that it is
SKIP:
{
	skip 'no JIT here', 2 unless value('SELECT pg_jit_available()') eq 't';
	my @plans = plans($node, 'postgres', q{SELECT count(*) FROM pointstore.claim('poison', 'plan', 1)});
	my ($page) = grep { /ROWS FROM/ } @plans;
	ok((grep { /JIT:/ } @plans), 'something is compiled');
	unlike($page, qr/JIT:|Seq Scan/, 'a page is not');
}

# a crash: what was acknowledged is done, what was claimed is claimed
my $before = value("SELECT epoch FROM pointstore.claim('poison', 'crash', 5) LIMIT 1");
$node->stop('immediate');
$node->start;
is(value("SELECT count(*) FROM pointstore.subscription_slot WHERE subscription = 'poison' AND epoch = $before AND member = 'crash'"), 1, 'a claim outlives a crash');
ok(value("SELECT min(c.epoch) > $before FROM pointstore.claim('poison', 'other', 5) c") eq 't', 'epochs rise');

# dump and restore
value("SELECT pointstore.create_subscription('dumped', slots => 1::smallint, max_attempts => 1)");
rounds('dumped', "(d.aggregate_id = 'a5')", 4);
my $dump = $node->basedir . '/dump.sql';
$node->run_log([ "$bin/pg_dump", '-f', $dump, $node->connstr('postgres') ]);
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my ($rc, $out, $err) = $node->psql('copy', undef, extra_params => [ '-f', $dump ]);
is($err, '', 'a dump is restored');
foreach my $table (qw(subscription subscription_slot subscription_account subscription_log))
{
	my $sum = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM pointstore.$table t";
	is($node->safe_psql('copy', $sum), value($sum), "$table is what it was");
}
is($node->safe_psql('copy', "SELECT count(*) FROM pointstore.claim('dumped', 'm', 5)"), 5, 'a restored subscription goes on');

# more that a filter leaves out than one look examines: neither is it waited for, nor is one call long
value("INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'a' || i % $accounts, 'E', 1 FROM generate_series(1, 100500) i");
append(1, 'Rare');
sequenced();
value("SELECT pointstore.create_subscription('rare', event_types => ARRAY['Rare'], slots => 2::smallint)");
is(value("SELECT count(*) FROM pointstore.claim('rare', 'm')"), 0, 'one look ends before it');
is(value("SELECT min(checkpoint) FROM pointstore.subscription_status WHERE subscription = 'rare'"), 100000, 'and the checkpoint is there');
value("SELECT pointstore.move_subscription('rare', 0)");
is(value("SELECT clock_timestamp() AS begun \\gset\nCALL pointstore.wait_for_work('rare', '100 s');\nSELECT clock_timestamp() < :'begun'::timestamptz + '8 s'"), "t\nt", 'work that is far away is found');
# slots that were idle are moved by a claim; who waits for them waits for that to end
value("SELECT pointstore.create_subscription('idle', NULL, 2::smallint)");
value("INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'a1', 'E', 1 FROM generate_series(1, 2000) i");
sequenced();
my ($in, $said) = ("BEGIN; SELECT count(*) FROM pointstore.claim('idle', 'm', 5000);\n", '');
my $claiming = IPC::Run::start([ "$bin/psql", '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$said);
$claiming->pump until $said =~ /2000/;
append(40);
sequenced();
is(value("CALL pointstore.wait_for_work('idle', '0.3 s')"), 'f', 'it is not to be had before');
$claiming->finish;
is(value("CALL pointstore.wait_for_work('idle', '100 s')"), 't', 'and is then');

is(faults($node, 'postgres'), '', 'the store is sound');
$node->stop;
done_testing();
