# The sequencer: woken by whatever commits events, held up by nobody, killed, stopped, on a standby,
# in several databases. A reader keeps all that it has seen, and at the end the feed
# must say the same.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', allows_streaming => 1, conf => <<'END');
max_worker_processes = 16
autovacuum = on
restart_after_crash = on
pointstore.databases = 'postgres, other'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 0
END
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE other');
create_store($node, 'postgres');
$node->safe_psql('postgres', q{INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure'); CREATE TABLE kept (position bigint, id bigint)});

my $pid = q{(SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer' AND datname = 'postgres')};
my $asleep = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer' AND datname = 'postgres' AND state = 'idle' AND wait_event_type = 'Extension'};

sub sequencer
{
	my ($db) = @_;
	poll_until($node, $db // 'postgres', 'SELECT pointstore.sequencer_alive()') or die 'no sequencer';
	return;
}

# Waits until the head is there, for as long; the head.
sub await_head
{
	my ($head, $timeout, $db) = @_;
	return $node->safe_psql($db // 'postgres', sprintf q{CALL pointstore.wait_for_feed(%d, '%s')}, $head - 1, $timeout // '20 s');
}

# read_feed takes 4 MB at most at once: all of it, page by page, into the table of what was seen
sub keep
{
	$node->safe_psql('postgres', q{DO $$
DECLARE after bigint := (SELECT coalesce(max(position), 0) FROM kept); n bigint;
BEGIN
	LOOP
		INSERT INTO kept SELECT position, id FROM pointstore.read_feed(after, 1000);
		GET DIAGNOSTICS n = ROW_COUNT;
		EXIT WHEN n = 0;
		after := (SELECT max(position) FROM kept);
	END LOOP;
END $$});
	return;
}

sub moved
{
	return $node->safe_psql('postgres', 'SELECT count(*) FROM kept k WHERE pointstore.position_of(k.id) IS DISTINCT FROM k.position');
}

# it wakes up, whoever commits; its own next look would be a minute later
sequencer();
my $head = 0;
foreach my $write (
	q{SELECT pointstore.append_event('a', 'Earned', 100)},
	q{SELECT pointstore.submit_event('a', 'Earned', 1)},
	q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('a', 'Earned', 1)},
	q{SELECT pointstore.hold('a', 10, 'h')},
	q{SELECT pointstore.confirm_hold('h')},
	q{SELECT pointstore.append_event('p', 'Earned', 5, kind => 'ledger')},
	q{BEGIN; SAVEPOINT s; SELECT pointstore.append_event('a', 'Earned', 1); ROLLBACK TO SAVEPOINT s; SELECT pointstore.append_event('a', 'Earned', 1); COMMIT},
	q{SET synchronous_commit = off; SELECT pointstore.append_event('a', 'Earned', 1)})
{
	poll_until($node, 'postgres', $asleep) or die;
	$node->safe_psql('postgres', $write);
	is(await_head(++$head), $head, "woken by: $write");
}

# a prepared transaction: others pass it, it comes at once when it is committed, and when it is prepared it holds nobody up
$node->safe_psql('postgres', q{BEGIN; SELECT pointstore.append_event('late', 'Earned', 1); PREPARE TRANSACTION 'late'});
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head(++$head), $head, 'a prepared transaction holds nobody up');
poll_until($node, 'postgres', $asleep) or die;
$node->safe_psql('postgres', q{COMMIT PREPARED 'late'});
is(await_head(++$head), $head, 'COMMIT PREPARED wakes it');
is($node->safe_psql('postgres', "SELECT aggregate_id FROM pointstore.read_feed($head - 1)"), 'late', 'and its event has the next position');
# one that was seen open before
{
	my $open = $node->background_psql('postgres');
	$open->query_safe(q{BEGIN; SELECT pointstore.append_event('later', 'Earned', 1)});
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is(await_head(++$head), $head, 'an open transaction holds nobody up');
	$open->query_safe(q{PREPARE TRANSACTION 'later'});
	poll_until($node, 'postgres', $asleep) or die;
	$node->safe_psql('postgres', q{COMMIT PREPARED 'later'});
	is(await_head(++$head), $head, 'COMMIT PREPARED of one that it has seen open wakes it');

	# in another database, open and prepared
	$node->safe_psql('other', q{CREATE TABLE t (i integer); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'elsewhere'});
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is(await_head(++$head), $head, 'a prepared transaction of another database holds nobody up');
	$node->safe_psql('other', q{ROLLBACK PREPARED 'elsewhere'});
	$open->quit;
	$open = $node->background_psql('other');
	$open->query_safe('BEGIN; INSERT INTO t VALUES (2)');
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is(await_head(++$head), $head, 'an open one of another database neither');
	$open->quit;
}
is(feed_faults($node, 'postgres'), '', 'the feed is whole');

# idle: nothing happens. What it did is in the statistics of its table's scans, and in when it last began something
poll_until($node, 'postgres', $asleep) or die;
my $still = "SELECT state_change, query_start FROM pg_stat_activity WHERE pid = $pid";
my $since = $node->safe_psql('postgres', $still);
sleep 3;
is($node->safe_psql('postgres', $still), $since, 'idle it does not wake up');
$node->safe_psql('postgres', 'CREATE TABLE noise (i integer); INSERT INTO noise VALUES (1)');
is($node->safe_psql('postgres', $still), $since, 'nor at commits that have written no event');

# who cancels it does not end it; who ends it has another
my $before = $node->safe_psql('postgres', "SELECT $pid");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head(++$head), $head, 'a cancelled sequencer goes on');
is($node->safe_psql('postgres', "SELECT $pid"), $before, 'in the same process');
# the launcher anew does not start a second one
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pointstore launcher'});
poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore launcher'}) or die;
sleep 2;
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head(++$head), $head, 'a new launcher leaves the sequencer alone');
is($node->safe_psql('postgres', "SELECT $pid"), $before, 'there is still that one');

# sequence_feed() has it make a run, which takes what was committed before the call. Whoever goes on with his
# statement afterwards keeps nobody waiting
sub ask_and_stay
{
	my @psql = ('psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', 'SELECT pointstore.sequence_feed(), pg_sleep(3600)');
	my $psql = IPC::Run::start(\@psql, '>', '/dev/null', '2>', \$_[0]);
	poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pointstore.sequence_feed()%' AND wait_event = 'PgSleep'}) or die;
	return $psql;
}
my $told = '';
my $asking = ask_and_stay($told);
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND query LIKE 'SELECT pointstore.sequence_feed()%'}), 0, 'who asks has no lock');
foreach my $try (1 .. 3)
{
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, "sequence_feed() where a sequencer is alive, $try");
}
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pointstore.sequence_feed()%'});
$asking->finish;
# where it cannot, the error is his who asks
$node->safe_psql('postgres', q{ALTER TABLE pointstore.feed_block ADD CONSTRAINT no CHECK (at IS NULL) NOT VALID; SELECT pointstore.append_event('b', 'Earned', 1)});
is(sqlstate($node, 'postgres', 'SELECT pointstore.sequence_feed()'), '23514', 'its error is told') foreach 1 .. 4;
is(sqlstate($node, 'postgres', q{SET statement_timeout = '5 s'; SELECT pointstore.sequence_feed()}), '23514', 'at once, whenever it tries again itself');
$node->safe_psql('postgres', q{ALTER TABLE pointstore.feed_block DROP CONSTRAINT no});
is(await_head(++$head), $head, 'it goes on');

# off and on
$node->append_conf('postgresql.conf', 'pointstore.sequencer = off');
$node->reload;
poll_until($node, 'postgres', 'SELECT NOT pointstore.sequencer_alive()') or die;
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head($head + 1, '0.5 s'), $head, 'off is off');
is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'sequence_feed() by hand');
is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), $head, 'again there is nothing');
is(sqlstate($node, 'postgres', 'BEGIN; SELECT pointstore.sequence_feed(); COMMIT;'), '25001', 'not in a transaction block');
is(sqlstate($node, 'postgres', q{DO $$BEGIN PERFORM pointstore.sequence_feed(); EXCEPTION WHEN no_data_found THEN NULL; END$$}), '25001', 'not in a subtransaction');
is(sqlstate($node, 'postgres', q{SELECT pointstore.append_event('b', 'Earned', 1), pointstore.sequence_feed()}), '25001', 'not after a write');
is(sqlstate($node, 'postgres', q{SET default_transaction_read_only = on; SELECT pointstore.sequence_feed()}), '25006', 'not read-only');
is($node->safe_psql('postgres', q{SET default_transaction_isolation = 'repeatable read'; SELECT pointstore.sequence_feed()}), $head, 'whatever the isolation');
# nor does it hold on to its turn where a pipeline goes on
my $pipeline = $node->basedir . '/pipeline.sql';
append_to_file($pipeline, <<'END');
\startpipeline
SELECT pointstore.sequence_feed();
SELECT 1 / (count(*) = 0)::integer FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
\endpipeline
END
$node->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', 1, '-f', $pipeline, $node->connstr('postgres') ], 'in a pipeline it ends at once');

# who waits for the feed is in nobody's way
{
	my $waiting = $node->background_psql('postgres');
	$waiting->query_until(qr/waits/, "\\echo waits\nCALL pointstore.wait_for_feed($head, '1 min');\n\\echo done\n");
	poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL pointstore.wait_for_feed%' AND wait_event_type = 'Extension'}) or die;
	is(sqlstate($node, 'postgres', q{BEGIN; SET LOCAL lock_timeout = '10 s'; LOCK TABLE pointstore.feed_block IN ACCESS EXCLUSIVE MODE; COMMIT}), '00000', 'who waits for the feed holds no lock');
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'and what it waits for comes');
	like($waiting->query_until(qr/done/, ''), qr/^$head\s/m, 'which it says');
	$waiting->quit;
}

# the sequence set back: an id that the feed has come past is refused
$node->safe_psql('postgres', q{BEGIN; SELECT pointstore.append_event('gone', 'Earned', 1); ROLLBACK});
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'a gap is passed');
my $last = $node->safe_psql('postgres', 'SELECT last_value FROM pointstore.event_store_id_seq');
$node->safe_psql('postgres', "SELECT setval('pointstore.event_store_id_seq', $last - 2)");
is(sqlstate($node, 'postgres', q{SELECT pointstore.append_event('new', 'Earned', 1)}), '55000', 'an event that would have no position is refused');
$node->safe_psql('postgres', "SELECT setval('pointstore.event_store_id_seq', $last)");
$node->safe_psql('postgres', q{ALTER SEQUENCE pointstore.event_store_id_seq CACHE 50});
is(sqlstate($node, 'postgres', q{SELECT pointstore.append_event('new', 'Earned', 1)}), '55000', 'a cache of ids is refused');
is(sqlstate($node, 'postgres', q{SELECT pointstore.sequence_feed()}), '55000', 'by the sequencer too');
$node->safe_psql('postgres', q{ALTER SEQUENCE pointstore.event_store_id_seq CACHE 1});
is(sqlstate($node, 'postgres', q{DELETE FROM pointstore.feed_block}), 'PS006', 'blocks are not deleted');
is(sqlstate($node, 'postgres', q{TRUNCATE pointstore.feed_block}), 'PS006', 'nor truncated');

# what users put on the table: an error is told, and the feed goes on when it is gone
$node->safe_psql('postgres', q{ALTER TABLE pointstore.feed_block ADD COLUMN note text DEFAULT 'x'; SELECT pointstore.append_event('b', 'Earned', 1)});
is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'a column of the user\'s');
$node->safe_psql('postgres', q{ALTER TABLE pointstore.feed_block ADD CONSTRAINT no CHECK (note <> 'x') NOT VALID; SELECT pointstore.append_event('b', 'Earned', 1)});
is(sqlstate($node, 'postgres', 'SELECT pointstore.sequence_feed()'), '23514', 'a CHECK that fails');
$node->safe_psql('postgres', q{ALTER TABLE pointstore.feed_block DROP CONSTRAINT no});
is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'gone');
$node->safe_psql('postgres', q{CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER nothing BEFORE INSERT OR UPDATE ON pointstore.feed_block FOR EACH ROW EXECUTE FUNCTION nothing(); SELECT pointstore.append_event('b', 'Earned', 1)});
is(sqlstate($node, 'postgres', 'SELECT pointstore.sequence_feed()'), 'XX001', 'a trigger that drops what is written');
$node->safe_psql('postgres', 'DROP TRIGGER nothing ON pointstore.feed_block');
is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'gone');

# a block that was changed behind its back is not written over: what it knew is made up anew
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
{
	my $knowing = $node->background_psql('postgres');
	is($knowing->query_safe('SELECT pointstore.sequence_feed()'), ++$head, 'a session that knows the feed');
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is($node->safe_psql('postgres', 'SELECT pointstore.sequence_feed()'), ++$head, 'another gives a position');
	$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
	is($knowing->query_safe('SELECT pointstore.sequence_feed()'), ++$head, 'which it sees');
	$knowing->quit;
}

# a statement that has looked for events when a sequencer comes looks again itself: that waits for it
$node->safe_psql('postgres', q{CREATE FUNCTION twice() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pointstore.sequence_feed();
	WHILE NOT pointstore.sequencer_alive() LOOP PERFORM pg_sleep(0.01); END LOOP;
	RETURN pointstore.sequence_feed();
END$$});
{
	my $both = IPC::Run::start([ 'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', 'SELECT twice()' ], '>', \my $said, '2>&1');
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT twice()' AND wait_event = 'PgSleep'}) or die;
	$node->append_conf('postgresql.conf', "deadlock_timeout = 200ms\npointstore.sequencer = on");
	$node->reload;
	$both->finish;
	is($said, "$head\n", 'they do not wait for each other');
	$node->append_conf('postgresql.conf', 'pointstore.sequencer = off');
	$node->reload;
	$node->poll_query_until('postgres', 'SELECT NOT pointstore.sequencer_alive()') or die;
}

# NOTIFY, on; a session that has given positions before and does not end is cancelled, for it would keep the sequencer waiting
$asking = ask_and_stay($told = '');
$node->append_conf('postgresql.conf', "pointstore.sequencer = on\npointstore.notify_feed = on");
$node->reload;
sequencer();
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head(++$head), $head, 'nobody keeps a sequencer waiting for ever');
$asking->finish;
like($told, qr/57014/, 'he is cancelled');
my ($rc, $out, $err) = $node->psql('postgres', <<'END');
LISTEN pointstore_feed;
SELECT pointstore.append_event('b', 'Earned', 1);
DO $$BEGIN PERFORM pg_sleep(0.01); END$$;
CALL pointstore.wait_for_feed((SELECT count(*) - 1 FROM pointstore.event_store), '20 s');
SELECT 1;
END
$head++;
like($out, qr/notification "pointstore_feed" with payload "$head"/, 'a notification tells the head');

# other databases: one that gets its store later, and makes way when it is dropped
create_store($node, 'other');
sequencer('other');
$node->safe_psql('other', q{SELECT pointstore.append_event('o', 'Earned', 1)});
is(await_head(1, '20 s', 'other'), 1, 'a store that is made later is sequenced');
$node->safe_psql('other', 'DROP EXTENSION pointstore CASCADE');
$node->safe_psql('other', 'CREATE EXTENSION pointstore');
$node->safe_psql('other', 'SELECT pointstore.upgrade_store()');
sequencer('other');
$node->safe_psql('other', q{SELECT pointstore.append_event('o', 'Earned', 1)});
is(await_head(2, '20 s', 'other'), 2, 'DROP EXTENSION and upgrade_store() beside it');
is(sqlstate($node, 'postgres', 'DROP DATABASE other'), '00000', 'it makes way for DROP DATABASE');

# REINDEX and VACUUM FULL beside it
is(sqlstate($node, 'postgres', "REINDEX TABLE CONCURRENTLY pointstore.$_"), '00000', "REINDEX TABLE CONCURRENTLY $_") foreach qw(feed_block event_store);
is(sqlstate($node, 'postgres', "VACUUM FULL pointstore.$_"), '00000', "VACUUM FULL $_") foreach qw(feed_block event_store);
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head(++$head), $head, 'it goes on');

# one transaction of 20,000 events between 20,000 of others, which commits late
{
	my $open = $node->background_psql('postgres');
	$open->query_safe(q{BEGIN; SELECT pointstore.append_event('long', 'Earned', 1)});
	foreach my $round (1 .. 20)
	{
		$open->query_safe(q{SELECT count(pointstore.append_event('long' || i % 7, 'Earned', 1)) FROM generate_series(1, 500) i});
		$node->safe_psql('postgres', q{SELECT count(pointstore.append_event('short' || i % 7, 'Earned', 1)) FROM generate_series(1, 500) i});
	}
	is(await_head($head += 10000), $head, 'a long transaction holds nobody up');
	keep();
	$open->query_safe('COMMIT');
	$open->quit;
	is(await_head($head += 10001), $head, 'and comes when it commits');
}
is(feed_faults($node, 'postgres'), '', 'the feed is whole');
is(moved(), 0, 'nothing has moved');

# a standby
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

# writers, some asynchronous, a reader; the sequencer is killed, and the postmaster
my $writer = $node->basedir . '/writer.sql';
append_to_file($writer, <<'END');
\set a random(1, 20)
\set b random(1, 20)
\set r random(1, 10)
\if :r < 5
SELECT pointstore.append_event('w' || :a, 'Earned', 1);
\elif :r < 7
BEGIN;
SELECT pointstore.append_event('w' || :a, 'Earned', 1);
SELECT pointstore.append_event('x' || :b, 'Earned', 1);
ROLLBACK;
\elif :r < 9
BEGIN;
SET LOCAL synchronous_commit = off;
SELECT pointstore.append_event('w' || :a, 'Earned', 1);
SELECT pointstore.append_event('x' || :b, 'Earned', 1);
COMMIT;
\else
SELECT pointstore.try_submit_event('w' || :a, 'Earned', 1);
\endif
END
sub load
{
	my ($seconds) = @_;
	my @run = (File::Spec->catfile($node->config_data('--bindir'), 'pgbench'), '-n', '-c', 8, '-T', $seconds, '-f', $writer, '--max-tries=10', $node->connstr('postgres'));
	return IPC::Run::start(\@run, '>', '/dev/null', '2>', '/dev/null');
}
foreach my $round (1 .. 3)
{
	my $load = load(4);
	foreach (1 .. 3)
	{
		sleep 1;
		keep();
		is($standby->safe_psql('postgres', q{SELECT count(*) FROM (SELECT version, lag(version, 1, 0::bigint) OVER (PARTITION BY aggregate_id ORDER BY position) AS before
			FROM pointstore.read_feed(0, 1000000)) f WHERE version <> before + 1}), 0, 'in order on the standby') if $_ == 2;
	}
	my $victim = $node->safe_psql('postgres', "SELECT $pid");
	if ($round == 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		kill 'KILL', $victim;
	}
	$load->finish;
	poll_until($node, 'postgres', q{SELECT true}) or die;
	sequencer();
	is(moved(), 0, "round $round: nothing given has moved");
	poll_until($node, 'postgres', 'SELECT pointstore.feed_head() = count(*) FROM pointstore.event_store');
	is(feed_faults($node, 'postgres'), '', "round $round: the feed is whole");
}

# Who reads the sequence while an id is drawn may see the one that is logged beforehand, 32 ahead: runs in quick succession
# beside appends take none for drawn that was not.
my $tmp = PostgreSQL::Test::Utils::tempdir;
append_to_file("$tmp/sequence", "SELECT pointstore.sequence_feed();\n");
append_to_file("$tmp/append", "SELECT pointstore.append_event('quick-' || :client_id, 'Earned', 1);\n");
my @pgbench = ('pgbench', '-n', '-T', 4, $node->connstr('postgres'));
my $runs = IPC::Run::start([ @pgbench, '-c', 1, '-f', "$tmp/sequence" ], '>&', \my $ran);
$node->command_ok([ @pgbench, '-c', 4, '-f', "$tmp/append" ], 'no append is refused beside many runs');
ok($runs->finish, 'nor a run');
poll_until($node, 'postgres', 'SELECT pointstore.feed_head() = count(*) FROM pointstore.event_store');
is(feed_faults($node, 'postgres'), '', 'and the feed is whole');

# on the standby, and after it was promoted
$head = $node->safe_psql('postgres', 'SELECT pointstore.feed_head()');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', 'SELECT pointstore.feed_head()'), $head, 'the standby has the head');
is(feed_faults($standby, 'postgres'), '', 'and the feed');
is(sqlstate($standby, 'postgres', 'SELECT pointstore.sequence_feed()'), '25006', 'gives no positions');
is($standby->safe_psql('postgres', "CALL pointstore.wait_for_feed($head - 1, '5 s')"), $head, 'waits');
is($standby->safe_psql('postgres', "CALL pointstore.wait_for_feed($head, '0.2 s')"), $head, 'and gives up waiting');
my $incarnation = $standby->safe_psql('postgres', 'SELECT pointstore.feed_incarnation()');
is($incarnation, $node->safe_psql('postgres', 'SELECT pointstore.feed_incarnation()'), 'it is of the same incarnation');
keep();
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->stop('immediate');
$standby->promote;
$node = $standby;
sequencer();
$node->safe_psql('postgres', q{SELECT pointstore.append_event('b', 'Earned', 1)});
is(await_head($head + 1), $head + 1, 'a promoted standby goes on');
isnt($node->safe_psql('postgres', 'SELECT pointstore.feed_incarnation()'), $incarnation, 'as another incarnation');
is(moved(), 0, 'nothing given has moved');
is(feed_faults($node, 'postgres'), '', 'the feed is whole');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->stop;

done_testing();
