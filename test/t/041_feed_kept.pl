# Positions are kept: in a dump, by a subscriber of logical replication, and what was there before
# there was a feed gets its positions in the order of versions, whatever the ids say.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $many = $ENV{CHECK_FEED_EVENTS} // 250000;
my $node = new_cluster('main', allows_streaming => 'logical', conf => <<'END');
max_worker_processes = 16
autovacuum = on
pointstore.databases = 'served, restored, old_and_large'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 0
END
$node->start;
my $subscriber = new_cluster('subscriber', allows_streaming => 'logical', conf => "pointstore.databases = 'whole, events_only'\npointstore.sweep_interval = 0\npointstore.reconcile_interval = 0");
$subscriber->start;

my $positions = q{SELECT md5(string_agg(position || ':' || id, ',' ORDER BY position)), count(*) FROM pointstore.read_feed(0, 10000000)};

sub sequencer
{
	my ($server, $db) = @_;
	$server->poll_query_until($db, 'SELECT pointstore.sequencer_alive()') or die 'no sequencer';
	return;
}

# dump and restore, of a store in the middle of its feed
$node->safe_psql('postgres', 'CREATE DATABASE original');
create_store($node, 'original');
$node->safe_psql('original', q{SELECT count(pointstore.append_event('a' || i % 10, 'Earned', 1)) FROM generate_series(1, 500) i});
$node->safe_psql('original', 'SELECT pointstore.sequence_feed()');
$node->safe_psql('original', q{BEGIN; SELECT pointstore.append_event('gone', 'Earned', 1); ROLLBACK});
my $open = $node->background_psql('original');
$open->query_safe(q{BEGIN; SELECT pointstore.append_event('late', 'Earned', 1)});
$node->safe_psql('original', q{SELECT pointstore.append_event('a' || i, 'Earned', 1) FROM generate_series(1, 3) i});
is($node->safe_psql('original', 'SELECT pointstore.sequence_feed()'), 503, 'a gap is open');
$open->query_safe('COMMIT');
$open->quit;
$node->safe_psql('original', q{SELECT pointstore.append_event('a1', 'Earned', 1)});
my $kept = $node->safe_psql('original', $positions);
my $dump = PostgreSQL::Test::Utils::tempdir . '/store.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('original') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copied; CREATE DATABASE restored');
foreach my $db ('copied', 'restored')
{
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr($db) ], "restored into $db");
}
is($node->safe_psql('copied', $positions), $kept, 'the positions are what they were');
is($node->safe_psql('copied', 'SELECT pointstore.sequence_feed()'), 505, 'the feed goes on');
is($node->safe_psql('copied', 'SELECT aggregate_id, version FROM pointstore.read_feed(503)'), "late|1\na1|52", 'with what had no position yet');
is(feed_faults($node, 'copied'), '', 'the feed is whole');
sequencer($node, 'restored');
$node->safe_psql('restored', q{SELECT pointstore.append_event('a1', 'Earned', 1)});
is($node->safe_psql('restored', q{CALL pointstore.wait_for_feed(505, '20 s')}), 506, 'where a sequencer is waiting too');
is($node->safe_psql('restored', 'SELECT md5(string_agg(position || \':\' || id, \',\' ORDER BY position)), count(*) FROM pointstore.read_feed(0, 503)'), $kept, 'it has changed no position');
is(feed_faults($node, 'restored'), '', 'the feed is whole');

# logical replication: with the blocks the feed is the publisher's, without them there is none
$node->safe_psql('postgres', 'CREATE DATABASE served');
create_store($node, 'served');
$subscriber->safe_psql('postgres', 'CREATE DATABASE whole; CREATE DATABASE events_only');
create_store($subscriber, $_) foreach 'whole', 'events_only';
sequencer($subscriber, $_) foreach 'whole', 'events_only';
sequencer($node, 'served');
$node->safe_psql('served', q{SELECT count(pointstore.append_event('a' || i % 10, 'Earned', 1)) FROM generate_series(1, 100) i});
my @tables = map { "pointstore.$_" } qw(account_kind balance pure_account event_store account_log hold);
$node->safe_psql('served', 'CREATE PUBLICATION events_only FOR TABLE ' . join(', ', @tables));
$node->safe_psql('served', 'CREATE PUBLICATION whole FOR TABLE pointstore.feed_block, ' . join(', ', @tables));
foreach my $db ('whole', 'events_only')
{
	$subscriber->safe_psql($db, 'DELETE FROM pointstore.account_kind');
	$subscriber->safe_psql($db, sprintf q{CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION %s}, $db, $node->connstr . ' dbname=served', $db);
	$subscriber->wait_for_subscription_sync($node, $db, $db);
}
$node->safe_psql('served', q{SELECT count(pointstore.append_event('a' || i % 10, 'Earned', 1)) FROM generate_series(1, 200) i});
$node->safe_psql('served', q{BEGIN; SELECT pointstore.append_event('a1', 'Earned', 1); ROLLBACK});
$node->safe_psql('served', q{SELECT pointstore.append_event('a1', 'Earned', 1)});
is($node->safe_psql('served', q{CALL pointstore.wait_for_feed(300, '20 s')}), 301, 'the publisher has its feed');
$node->wait_for_catchup($_) foreach 'whole', 'events_only';
is($subscriber->safe_psql('whole', $positions), $node->safe_psql('served', $positions), 'a subscriber of the blocks reads the same feed');
is(sqlstate($subscriber, 'whole', 'SELECT pointstore.sequence_feed()'), '55000', 'and gives no positions');
is($subscriber->safe_psql('events_only', 'SELECT count(*), pointstore.feed_head() FROM pointstore.event_store'), '301|0', 'a subscriber of events alone has no feed');
is(sqlstate($subscriber, 'events_only', 'SELECT pointstore.sequence_feed()'), '55000', 'and gives no positions either');
ok($subscriber->poll_query_until($_, 'SELECT NOT pointstore.sequencer_alive()'), "no sequencer in $_") foreach 'whole', 'events_only';
# it takes over
$node->safe_psql('served', q{SELECT pointstore.append_event('a1', 'Earned', 1)});
$node->safe_psql('served', q{CALL pointstore.wait_for_feed(301, '20 s')});
$node->wait_for_catchup('whole');
$kept = $subscriber->safe_psql('whole', $positions);
is($kept, $node->safe_psql('served', $positions), 'all of it has come');
$subscriber->safe_psql('whole', 'DROP SUBSCRIPTION whole');
$subscriber->safe_psql('whole', q{SELECT setval('pointstore.event_store_id_seq', max(id)) FROM pointstore.event_store});
sequencer($subscriber, 'whole');
$subscriber->safe_psql('whole', q{SELECT pointstore.append_event('a1', 'Earned', 1)});
is($subscriber->safe_psql('whole', q{CALL pointstore.wait_for_feed(302, '20 s')}), 303, 'the feed goes on where the subscriber takes over');
is($subscriber->safe_psql('whole', 'SELECT md5(string_agg(position || \':\' || id, \',\' ORDER BY position)), count(*) FROM pointstore.read_feed(0, 302)'), $kept, 'nothing has moved');
is(feed_faults($subscriber, 'whole'), '', 'the feed is whole');
$subscriber->safe_psql('events_only', 'DROP SUBSCRIPTION events_only');
$subscriber->stop;

# stores of before there was a feed, whose ids do not rise with the versions
SKIP:
{
	skip('versions 1.0 and 1.2 of test/upgrade are not installed', 1)
	  if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extension_versions WHERE name = 'pointstore' AND version IN ('1.0', '1.2')}) ne '2';

	# A store of that version with so many accounts and events of each, every so many account with ids without an order
	my $old_store = sub {
		my ($db, $version, $accounts, $versions, $every) = @_;

		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql($db, <<"END");
CREATE EXTENSION pointstore VERSION '$version';
SELECT pointstore.create_store();
SET session_replication_role = replica;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT row_number() OVER (ORDER BY CASE WHEN a % $every = 0 THEN abs(hashint8(a * 100000 + v)) % $versions ELSE v END, a, v), 'a' || a, v, 'Earned', 1, 0, v, '{}', '2024-01-01', '2024-01-01'
  FROM generate_series(1, $accounts) a, generate_series(1, $versions) v;
INSERT INTO pointstore.balance (aggregate_id, version, balance, held, updated_at) SELECT 'a' || a, $versions, $versions, 0, '2024-01-01' FROM generate_series(1, $accounts) a;
-- and some that are upside down
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT $accounts * $versions + 1000 - v * 7 - a, 'down' || a, v, 'Earned', 1, 0, v, '{}', '2024-01-01', '2024-01-01'
  FROM generate_series(1, 3) a, generate_series(1, 9) v;
INSERT INTO pointstore.balance (aggregate_id, version, balance, held, updated_at) SELECT 'down' || a, 9, 9, 0, '2024-01-01' FROM generate_series(1, 3) a;
SELECT setval('pointstore.event_store_id_seq', $accounts * $versions + 1000);
ALTER EXTENSION pointstore UPDATE;
SELECT pointstore.upgrade_store();
END
		return;
	};

	foreach my $version ('1.2', '1.0')
	{
		my $db = 'old_' . $version =~ tr/./_/r;
		$old_store->($db, $version, 100, 20, 2);
		my $n = 2027;
		$node->safe_psql($db, q{SELECT count(pointstore.append_event('a' || i, 'Earned', 1)), count(pointstore.append_event('down1', 'Earned', 1)) FROM generate_series(1, 100) i});
		my ($head, $before) = (0, -1);
		my $runs = 0;
		while ($head > $before)
		{
			$before = $head;
			$head = $node->safe_psql($db, 'SELECT pointstore.sequence_feed()');
			$node->safe_psql($db, q{SELECT pointstore.append_event('a7', 'Earned', 1), pointstore.append_event('down2', 'Earned', 1)}) if $runs++ < 3;
		}
		is($head, $n + 200 + 6, "$version: every event gets a position");
		is(feed_faults($node, $db), '', "$version: one, and in the order of versions");
		is($node->safe_psql($db, q{SELECT settled_below > (SELECT max(id) FROM pointstore.event_store) FROM pointstore.feed_block ORDER BY first_position DESC LIMIT 1}), 't', "$version: all is settled");
		is($node->safe_psql($db, q{SELECT count(*) FROM pointstore.event_store WHERE pointstore.position_of(id) IS NULL}), 0, "$version: position_of knows each");
	}

	# a large one, which the sequencer catches up with while writers go on
	my $accounts = int($many / 50);
	$old_store->('old_and_large', '1.2', $accounts, 50, 1000);
	my $script = $node->basedir . '/writer.sql';
	append_to_file($script, "\\set a random(1, $accounts)\nSELECT pointstore.append_event('a' || :a, 'Earned', 1);\n");
	my $load = IPC::Run::start([ File::Spec->catfile($node->config_data('--bindir'), 'pgbench'), '-n', '-c', 4, '-t', 300, '-f', $script, $node->connstr('old_and_large') ], '>', '/dev/null', '2>', '/dev/null');
	$load->finish;
	ok($node->poll_query_until('old_and_large', 'SELECT pointstore.feed_head() = count(*) FROM pointstore.event_store'), 'the sequencer catches up');
	is($node->safe_psql('old_and_large', 'SELECT count(*) FROM pointstore.event_store'), $accounts * 50 + 27 + 1200, 'with writers beside it');
	is(feed_faults($node, 'old_and_large'), '', 'the feed is whole');
	my ($runs, $largest) = split /\|/, $node->safe_psql('old_and_large', q{SELECT count(*), max(n) FROM (SELECT sum(last_position - first_position + 1) AS n FROM pointstore.feed_block GROUP BY xmin) r});
	cmp_ok($largest, '<=', 105000, 'by transactions that do not grow with it');
	cmp_ok($runs, '>=', int($many / 100000), 'more than one');
}
$node->stop;

done_testing();
