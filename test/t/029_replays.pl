# What a replay rests on is durable, and confirmed by the standbys that must confirm,
# before it is told: whatever the first call waited for, and by whichever way the
# repeat comes.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

# nothing is flushed but by who waits for it
my $primary = new_cluster('primary', allows_streaming => 1, conf => "fsync = on\nwal_writer_delay = 10s\nwal_writer_flush_after = 1GB\nbgwriter_lru_maxpages = 0");
$primary->start;
create_store($primary, 'postgres');
$primary->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
SELECT pointstore.append_event(a, 'Earned', 5000) FROM unnest('{a, b, c, d, e, f, g}'::text[]) a;
SELECT pointstore.append_event('p', 'Earned', 5000, kind => 'ledger');
SELECT pointstore.append_event('q', 'Earned', 5000, kind => 'ledger');
END

# a way => what is done first, and repeats it: each on a hybrid account of its own, whose lock is kept meanwhile
my $events = '[{"aggregate_id": "a", "event_type": "Earned", "amount": 1}, {"aggregate_id": "q", "event_type": "Earned", "amount": 1}]';
my %ways = (
	append_event => q{SELECT FROM pointstore.append_event('p', 'Earned', 1, request_id => 'r-append_event')},
	try_append_event => q{SELECT FROM pointstore.try_append_event('c', 'Earned', 1, request_id => 'r-try')},
	append_events => qq{SELECT FROM pointstore.append_events('$events', 'r-append_events')},
	transfer => q{SELECT FROM pointstore.transfer('q', 'p', 1, 'r-transfer')},
	reverse_event => q{SELECT FROM pointstore.reverse_event('p', 1, 1, 'r-reverse')},
	submit_event => q{SELECT FROM pointstore.submit_event('p', 'Earned', 1, request_id => 'r-submit')},
	hold => q{SELECT FROM pointstore.hold('d', 1, 'h-hold', '1 day')},
	tombstone => q{SELECT FROM pointstore.cancel_hold('h-never')},
	insert => q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('p', 'Earned', 1, 'r-insert')},
	insert_hybrid => q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('e', 'Earned', 1, 'r-hybrid')});

my $walwriter = $primary->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
kill 'STOP', $walwriter;

# first asynchronously, then the repeat, which flushes. A submitted event waits for itself.
foreach my $way (sort grep { !/submit/ } keys %ways)
{
	$primary->safe_psql('postgres', "SET synchronous_commit = off; $ways{$way}");
	my $after = $primary->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	is($primary->safe_psql('postgres', "SELECT pg_current_wal_flush_lsn() >= '$after'"), 'f', "$way: the first is not durable");
	$primary->safe_psql('postgres', "SET synchronous_commit = off; $ways{$way}");
	is($primary->safe_psql('postgres', "SELECT pg_current_wal_flush_lsn() >= '$after'"), 't', "$way: the repeat is told when it is");
}
kill 'CONT', $walwriter;
$primary->safe_psql('postgres', $ways{submit_event});
$primary->safe_psql('postgres', q{SELECT FROM pointstore.hold('f', 1, 'h-confirm', '1 day'); SELECT FROM pointstore.hold('g', 1, 'h-cancel', '1 day');
	SELECT FROM pointstore.confirm_hold('h-confirm'); SELECT FROM pointstore.cancel_hold('h-cancel')});
$ways{confirm_hold} = q{SELECT FROM pointstore.confirm_hold('h-confirm')};
$ways{cancel_hold} = q{SELECT FROM pointstore.cancel_hold('h-cancel')};

# a standby that must confirm and has stopped; all of the above is committed without it
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'flush', $primary->lsn('insert'));
$standby->stop;
$primary->safe_psql('postgres', "SET synchronous_commit = local; SELECT FROM pointstore.append_event('b', 'Earned', 1)");
$primary->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT setting = '*' FROM pg_settings WHERE name = 'synchronous_standby_names'});

my %clients;
foreach my $way (sort keys %ways)
{
	my ($out, $err) = ('', '');
	$clients{$way} = IPC::Run::start([ 'psql', '-X', '-d', $primary->connstr('postgres'), '-c', "SET application_name = '$way'", '-c', $ways{$way} ],
		'<', \undef, '>', \$out, '2>', \$err);
}
my $waiting = q{SELECT string_agg(application_name, ' ' ORDER BY application_name COLLATE "C") FROM pg_stat_activity
	WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'};
my $all = join ' ', sort keys %ways;
ok($primary->poll_query_until('postgres', "SELECT ($waiting) = '$all'"), 'every repeat waits for the standby')
  or diag($primary->safe_psql('postgres', $waiting));
# as a commit with another setting would not
is($primary->safe_psql('postgres', qq{SET synchronous_commit = local;
	SELECT outcome FROM pointstore.append_event('p', 'Earned', 1, request_id => 'r-append_event')}), 'replayed', 'a session that asks for less does not wait');
# own events are confirmed with their transaction
is($primary->safe_psql('postgres', qq{BEGIN; SET LOCAL synchronous_commit = on;
	SELECT FROM pointstore.append_event('b', 'Earned', 1, request_id => 'r-own');
	SELECT outcome FROM pointstore.append_event('b', 'Earned', 1, request_id => 'r-own'); ROLLBACK;}), 'replayed', 'nor does who repeats what is his own');

$standby->start;
$clients{$_}->finish foreach keys %clients;
is(join(' ', grep { $clients{$_}->result } sort keys %clients), '', 'then all are told');
is($primary->safe_psql('postgres', q{SELECT count(*) = count(DISTINCT (request_id, leg)) FROM pointstore.event_store WHERE request_id IS NOT NULL}), 't', 'and nothing was done twice');
is(faults($primary, 'postgres'), '', 'the store is sound');
$standby->stop;
$primary->stop;
done_testing();
