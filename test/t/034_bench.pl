# The benchmark's rivals do what they claim, so that a comparison with them is one: the
# same appends and transfers leave the same balances and versions as pointstore's, a
# repeated request is applied once, what the rules forbid is refused, and their tables
# have the textbook's indexes and no more. And the benchmark runs, in small, with totals
# that add up, and reports what it is to measure.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $bench = "$FindBin::RealBin/../bench";
my $node = new_cluster('main');
$node->start;
$node->command_ok([ 'psql', '-Xq', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-v', 'accounts=20', '-d', $node->connstr('postgres'),
		'-f', "$bench/result.sql", '-f', "$bench/setup.sql", '-f', "$bench/rival_transfer.sql" ], 'the rivals are set up');

my %rivals = (
	'rival.append_update' => [ 'rival.balance', 'rival.event_store' ],
	'rival.append_lock' => [ 'rival.lock_balance', 'rival.lock_event_store' ],
	'rival.append_optimistic' => [ 'rival.optimistic_balance', 'rival.optimistic_event_store' ]);

# The columns of a table's indexes.
sub indexes
{
	return $node->safe_psql('postgres', <<"END");
SELECT string_agg(substring(pg_get_indexdef(indexrelid) FROM 'btree (.*)\$'), ' ' ORDER BY indexrelid) FROM pg_index WHERE indrelid = '$_[0]'::regclass AND indisunique
HAVING count(*) = (SELECT count(*) FROM pg_index WHERE indrelid = '$_[0]'::regclass)
END
}

# What 200 calls of a function leave behind, one in five a repeated request.
sub append_all
{
	my ($function, $balance, $events) = @_;
	my $request = $function =~ /^pointstore/ ? 'request_id => r::text' : 'r::text';
	return $node->safe_psql('postgres', <<"END");
SELECT count($function((r * 7 % 20 + 1)::text, 'PointAdjusted', r * 13 % 199 - 99::bigint, '{}', $request))
  FROM (SELECT CASE i % 5 WHEN 4 THEN i - 4 ELSE i END FROM generate_series(0, 199) i) v(r);
SELECT count(*), sum(amount) FROM $events WHERE event_type = 'PointAdjusted';
SELECT md5(string_agg((aggregate_id, version, balance)::text, ',' ORDER BY aggregate_id)) FROM $balance WHERE aggregate_id ~ '^[1-9]';
SELECT bench.faults('$balance', '$events');
END
}

my $expected = append_all('pointstore.append_event', 'pointstore.balance', 'pointstore.event_store');
like($expected, qr/\A200\n160\|/, 'pointstore applies each request once');
foreach my $function (sort keys %rivals)
{
	my ($balance, $events) = @{ $rivals{$function} };
	is(append_all($function, $balance, $events), $expected, "$function leaves the same");
	is(indexes($events), '(id) (aggregate_id, version) (request_id)', 'with the textbook\'s indexes');
	is(indexes($balance), '(aggregate_id)', 'and its balances\'');

	my %refused = (PS001 => "'1', 'E', 1, '{}', 'new', 1", PS002 => "'2', 'E', 1, '{}', '1'", PS003 => "'1', 'E', -2000000, '{}', 'new'");
	is(sqlstate($node, 'postgres', "SELECT $function($refused{$_})"), $_, "it refuses $_") foreach sort keys %refused;
	is(sqlstate($node, 'postgres', "UPDATE $balance SET status = 'frozen' WHERE aggregate_id = '3'; SELECT $function('3', 'E', 1, '{}', 'new')"), 'PS004', 'it refuses a frozen account');
	is($node->safe_psql('postgres', "SELECT version, balance FROM $function('opened', 'E', 7, '{}', 'opened')"), '1|7', 'it opens an account');
	is($node->safe_psql('postgres', "SELECT bench.faults('$balance', '$events')"), '0', 'and its totals agree');
}

# What 100 transfers leave behind, one in five a repeated request.
sub transfer_all
{
	my ($function, $events) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT count(*), min(versions) FROM (SELECT CASE i % 5 WHEN 4 THEN i - 4 ELSE i END FROM generate_series(0, 99) i) v(r),
       LATERAL (SELECT count(t.version) AS versions FROM $function((r * 7 % 20 + 1)::text, ((r * 7 % 20 + r % 19 + 1) % 20 + 1)::text, r + 1, 'transfer-' || r, 'Transferred', '{}') t) t;
SELECT count(*), sum(amount), md5(string_agg((aggregate_id, amount, leg, cause_id IS NULL)::text, ',' ORDER BY id)) FROM $events WHERE event_type = 'Transferred';
END
}

$expected = transfer_all('pointstore.transfer', 'pointstore.event_store');
like($expected, qr/\A100\|2\n160\|0\|/, 'pointstore transfers once for each request');
is(transfer_all('rival.double_entry', 'rival.entry'), $expected, 'double_entry leaves the same');
is(indexes('rival.entry'), '(id) (aggregate_id, version) (request_id, leg)', 'with the textbook\'s indexes');
is(indexes('rival.party'), '(aggregate_id)', 'and its balances\'');
my %refused = (
	'another amount' => [ 'PS002', "'8', '10', 3, 'transfer-1'" ], 'another payer' => [ 'PS002', "'9', '10', 2, 'transfer-1'" ],
	'another payee' => [ 'PS002', "'8', '11', 2, 'transfer-1'" ], 'too much' => [ 'PS003', "'1', '2', 2000000, 'new'" ]);
is(sqlstate($node, 'postgres', "SELECT rival.double_entry($refused{$_}[1], 'Transferred', '{}')"), $refused{$_}[0], "it refuses $_") foreach sort keys %refused;
is($node->safe_psql('postgres', "SELECT bench.faults('rival.party', 'rival.entry')"), '0', 'and its totals agree');
$node->stop;

# In small, with what is installed: CHECK_BENCH=1, since it takes minutes.
SKIP:
{
	skip 'CHECK_BENCH is not set', 1 unless $ENV{CHECK_BENCH};
	my $results = PostgreSQL::Test::Utils::tempdir;
	delete @ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)};
	%ENV = (%ENV, BENCH_INSTALLED => 1, BENCH_FSYNC => 'off', BENCH_RESULTS => $results, BENCH_PARTS => 'append clients batches balance_at feed callers movements', BENCH_ROUNDS => 1,
		BENCH_ACCOUNTS => 1000, BENCH_SECONDS => 1, BENCH_CLIENTS => 2, BENCH_BATCHED => 200, BENCH_EVENTS => 200,
		BENCH_MANY => 100, BENCH_COPY => 1000, BENCH_HISTORY => 11000,
		BENCH_CATCH_UP => 1000, BENCH_IDLE_SECONDS => 1, BENCH_XMIN_SECONDS => 3);
	my ($out, $err) = run_command([ 'bash', "$bench/run" ]);
	like($out, qr/ verdict /, 'the benchmark comes to its end') or die $err;
	foreach ('table and indexes per event', 'WAL per event', 'append_events of 1,000, distinct accounts', 'COPY, 1000 accounts',
		'one call over 8 times the accounts', 'balance_at, 10 events', 'balance_at, buffers per doubling, the longest history',
		'sequencer, CPU for each event, 8 clients', 'submit_event beside the sequencer', 'delivery by claim, 99 %', 'idle, CPU of the launcher',
		'catching up, one member, 16 slots', 'read_feed inside the server', 'catching up, projection that counts by day', 'group at the end, row versions kept',
		'aggregate_state replayed, to that by snapshots', 'append with ten transitions in 1.05 times the time', 'append that checks a lease in 1.2 times the time',
		'acquire and release, of two appends', '64 callers on one lease, turns, most - fewest', 'movements a second, 16 callers', 'movement, latency',
		'movements beside a server that answers after 1 s', 'appends on accounts in movements, tcc', 'all settled after the return, s', 'movements at the end, row versions kept')
	{
		like($out, qr/^ \Q$_\E\b.*\| (met|missed) *$/m, "its report has: $_");
	}
	my $figures = slurp_file("$results/figures.csv");
	is(scalar(() = $figures =~ m{^"clients: uniform, 2",\w+,"CPU s/1,000 calls",1,0?\.\d+$}mg), 6, 'the CPU of every caller');
	my ($calls) = $figures =~ /^balance_at,longest,buffers,1,([\d.]+)$/m;
	cmp_ok($calls, '<', 100, 'balance_at touches few buffers');
}

done_testing();
