# Holds whose steps meet at the same instant, by names that many sessions try, confirm
# and cancel at once, and others sweep; and holds so old that nothing is known
# any more of the transactions that wrote their events.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', conf => <<'END');
deadlock_timeout = 100ms
END
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
SELECT pointstore.append_event('a' || n, 'Earned', 1000000) FROM generate_series(0, 2) n;
-- a step, whose refusals are as good as its receipts; what else is raised ends the client
CREATE FUNCTION step(what float, name text, account text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
BEGIN
    outcome := CASE
        WHEN what < 0.7 THEN (SELECT h.outcome FROM pointstore.hold(account, 1, name, CASE WHEN what < 0.5 THEN '1 ms' ELSE '1 hour' END::interval) h)
        WHEN what < 0.8 THEN (SELECT h.outcome FROM pointstore.confirm_hold(name) h)
        WHEN what < 0.85 THEN (SELECT h.outcome FROM pointstore.cancel_hold(name) h)
        ELSE (SELECT h.outcome FROM pointstore.cancel_hold(name, account) h) END;
    RETURN outcome;
EXCEPTION
    WHEN SQLSTATE 'PS002' OR SQLSTATE 'PS007' OR SQLSTATE 'PS008' THEN
        RETURN SQLSTATE;
END $$;
END

# every name for a millisecond, so that all sessions are at the same one; its account follows from it
my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/sweep.sql", 'CALL pointstore.sweep_holds();');
append_to_file("$dir/steps.sql", <<'END');
SELECT step(random(), n::text, 'a' || n % 3) FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint OFFSET 0) x(n);
END
my ($out, $err) = ('', '');
my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', 8, '-j', 2, '-T', 6, '-f', "$dir/steps.sql\@300", '-f', "$dir/sweep.sql\@1", $node->connstr('postgres') ], '>', \$out, '2>', \$err);
ok($ok, 'steps at the same instant: no error but refusals') or diag($err =~ s/^(?!.*ERROR).*\n//gmr);
foreach my $status (qw(confirmed cancelled expired))
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pointstore.hold WHERE status = '$status'"), '>', 10, "some are $status");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.hold h WHERE status <> 'open' AND event_id IS NOT NULL
	AND (SELECT count(*) FROM pointstore.event_store e WHERE e.cause_id = h.event_id) <> 1}), '0', 'what was placed and is closed was closed once');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->safe_psql('postgres', q{SET client_min_messages = error; CALL pointstore.reconcile('full')});
is($node->safe_psql('postgres', 'SELECT aggregate_id, code FROM pointstore.finding'), '', 'reconciliation finds nothing');

#
# rows that are frozen, of transactions whose outcome nobody knows any more
#
$node->safe_psql('postgres', q{SELECT pointstore.hold('a0', 5, 'old-open', '1 day'), pointstore.hold('a0', 5, 'old-confirmed', '1 day'), pointstore.hold('a0', 5, 'old-cancelled', '1 day');
	SELECT pointstore.confirm_hold('old-confirmed', 3), pointstore.cancel_hold('old-cancelled');
	SELECT pointstore.append_event('a0', 'Earned', 1, request_id => 'old'); SELECT pointstore.transfer('a0', 'a1', 1, 'old-transfer');
	SELECT pointstore.reverse_event('a0', 1, 7, 'old-back')});
my %calls = map { $_ => "SELECT outcome, version, balance, id, created_at FROM pointstore.$_" } (
	q{hold('a0', 5, 'old-open', '1 day')}, q{hold('a0', 5, 'old-confirmed', '1 day')}, q{confirm_hold('old-confirmed', 3)}, q{cancel_hold('old-cancelled')},
	q{append_event('a0', 'Earned', 1, request_id => 'old')}, q{transfer('a0', 'a1', 1, 'old-transfer')}, q{reverse_event('a0', 1, 7, 'old-back')});
my %first = map { $_ => $node->safe_psql('postgres', $calls{$_}) } keys %calls;
$node->safe_psql('postgres', q{ALTER DATABASE template0 ALLOW_CONNECTIONS true});
$node->stop;
my $data = $node->data_dir;
command_ok([ 'pg_resetwal', '-x', 5 << 20, $data ], 'five million transactions later');
append_to_file("$data/pg_xact/0005", "\0" x 262144);
$node->start;
$node->command_ok([ 'vacuumdb', '-a', '--freeze' ], 'all is frozen');
ok(!-e "$data/pg_xact/0000", 'and the outcomes of old transactions are gone');
foreach my $call (sort keys %calls)
{
	is($node->safe_psql('postgres', $calls{$call}), $first{$call}, "$call is repeated");
}
is($node->safe_psql('postgres', q{SELECT outcome FROM pointstore.confirm_hold('old-open')}), 'appended', 'an old hold is confirmed');
is($node->safe_psql('postgres', q{SELECT outcome FROM pointstore.confirm_hold('old-open')}), 'replayed', 'and that is repeated');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->stop;
done_testing();
