# Many clients on few accounts, pure ones too, in batches, transfers, raw rows and
# through the combiner, while indexes are built anew beside them: nothing fails on
# contention, and ids rise with the versions of each account.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $seconds = $ENV{POINTSTORE_SECONDS} // 10;
my $node = new_cluster('main', conf => "fsync = off\ndeadlock_timeout = 100ms");
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('ledger', 'pure', NULL), ('free', 'hybrid', NULL);
SELECT pointstore.open_account('p' || n, 'ledger'), pointstore.open_account('h' || n, 'free') FROM generate_series(1, 5) n;
END

my %scripts = (
	single => [ 4, q{SELECT FROM pointstore.append_event('p' || :a, 'Moved', 1)} ],
	batch => [ 3, q{SELECT count(*) FROM pointstore.append_events(jsonb_build_array(
		jsonb_build_object('aggregate_id', 'p' || :b, 'event_type', 'Moved', 'amount', 1),
		jsonb_build_object('aggregate_id', 'h' || :a, 'event_type', 'Moved', 'amount', 1),
		jsonb_build_object('aggregate_id', 'p' || :a, 'event_type', 'Moved', 'amount', 1)))} ],
	transfer => [ 3, q{SELECT count(*) FROM pointstore.transfer('p' || :a, 'p' || (:a % 5 + 1), 1)} ],
	try => [ 2, q{SELECT count(*) FROM pointstore.try_transfer('p' || :b, 'p' || (:b % 5 + 1), 1)} ],
	combined => [ 3, q{SELECT FROM pointstore.submit_event('h' || :a, 'Moved', 1)} ],
	raw => [ 2, q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('h' || :a, 'Moved', 1), ('h' || :a, 'Moved', 1)} ]);
my $dir = PostgreSQL::Test::Utils::tempdir;
my @clients;
foreach my $name (sort keys %scripts)
{
	append_to_file("$dir/$name.sql", "\\set a random(1, 5)\n\\set b random(1, 5)\n$scripts{$name}[1];\n");
	my %client = (name => $name, out => '', err => '');
	$client{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $scripts{$name}[0], '-T', $seconds, '-f', "$dir/$name.sql", $node->connstr('postgres') ],
		'<', \undef, '>', \$client{out}, '2>', \$client{err});
	push @clients, \%client;
}
foreach my $index (qw(event_store_pkey event_store_request_id_leg_key event_store_id_key balance_pkey pure_account_pkey))
{
	is(sqlstate($node, 'postgres', "REINDEX INDEX CONCURRENTLY pointstore.$index"), '00000', "$index is built anew");
}
is(sqlstate($node, 'postgres', 'REINDEX TABLE CONCURRENTLY pointstore.event_store'), '00000', 'all of them are');
foreach my $client (@clients)
{
	$client->{run}->finish;
	unlike($client->{err}, qr/ERROR/, "$client->{name}: nothing fails");
}
is($node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE id <= before) FROM (
	SELECT id, lag(id) OVER (PARTITION BY aggregate_id ORDER BY version) AS before FROM pointstore.event_store) e}), '0', 'ids rise with versions');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store e WHERE cause_id IS NOT NULL
	AND NOT EXISTS (SELECT FROM pointstore.event_store f WHERE f.id = e.cause_id AND f.leg = 0 AND f.amount = -e.amount)}), '0', 'and every second leg has its first as its cause');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->stop;
done_testing();
