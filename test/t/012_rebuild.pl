# rebuild_balances() over many accounts: cancelled and killed in the middle it
# leaves what it has committed, and the next call does the rest; in the meantime
# appends go on.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $accounts = 20_000;
my $node = new_cluster('main');
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<"END");
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount)
SELECT 'a' || n, 'Earned', n FROM generate_series(1, $accounts) n, generate_series(1, 2);
SET session_replication_role = replica;
UPDATE pointstore.balance SET balance = balance + 1, held = 7;
DELETE FROM pointstore.balance WHERE aggregate_id LIKE 'a%9';
END

my $rebuilt = q{SELECT count(*) FROM pointstore.account_log WHERE action = 'rebuild'};

# Calls it in a session of its own, waits until it has got on, and ends it by a function.
sub interrupt
{
	my ($how) = @_;
	my $before = $node->safe_psql('postgres', $rebuilt);
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-Xq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres'),
			'-c', 'CALL pointstore.rebuild_balances()' ], '<', \undef, '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', "SELECT ($rebuilt) > $before") or die 'it does not get on';
	is($node->safe_psql('postgres', "SELECT $how(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'"), 't', "$how finds it at work");
	$run->finish;
	my $after = $node->safe_psql('postgres', $rebuilt);
	cmp_ok($after, '>', $before, "$how: what was committed stays");
	cmp_ok($after, '<', $accounts, "$how: and it was not done");
	return $err;
}

like(interrupt('pg_cancel_backend'), qr/NOTICE.*ERROR:\s+57014/s, 'cancelled, after a NOTICE');
like(interrupt('pg_terminate_backend'), qr/57P01|server closed/, 'terminated');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.balance b
	WHERE held <> 0 AND EXISTS (SELECT FROM pointstore.account_log l WHERE l.aggregate_id = b.aggregate_id AND action = 'rebuild')}),
	0, 'a committed batch is complete');

# the rest, while others append, to old accounts that are in order again and to new ones
my $script = PostgreSQL::Test::Utils::tempdir . '/append.sql';
append_to_file($script, "\\set n random(1, 500)\nSELECT pointstore.append_event('b' || :n, 'Earned', 1);\n"
	  . "SELECT pointstore.append_event('a1', 'Earned', 1);\n");
my ($out, $err);
my $clients = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 3, '-f', $script, $node->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$err);
$node->poll_query_until('postgres', q{SELECT count(*) > 100 FROM pointstore.balance WHERE aggregate_id LIKE 'b%'}) or die 'no client appends';
$node->safe_psql('postgres', 'CALL pointstore.rebuild_balances()');
$clients->finish;
unlike($err, qr/ERROR/, 'appends went on');
is($node->safe_psql('postgres', $rebuilt), $accounts, 'in the end each account was rebuilt, once');
is(faults($node, 'postgres'), '', 'and the store is sound');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.balance WHERE held <> 0'), 0, 'held too');
$node->safe_psql('postgres', 'CALL pointstore.rebuild_balances()');
is($node->safe_psql('postgres', $rebuilt), $accounts, 'a healthy store is left alone');

$node->stop;
done_testing();
