# pg_upgrade of a cluster whose databases are reconciled every second, to one with the
# same settings: neither launcher nor workers run while pg_upgrade does, and
# afterwards the store is what it was, and is served again.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time);

# postgres, too: pg_upgrade drops that database in the new cluster, and makes it anew
my $conf = <<'END';
pointstore.databases = 'postgres, app'
pointstore.reconcile_interval = 1s
END
my $old = new_cluster('old', conf => $conf);
my $new = new_cluster('new', conf => $conf);
my @served = qw(postgres app);

$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE app; CREATE ROLE keeper; CREATE ROLE clerk LOGIN');
foreach my $db (@served)
{
	$old->safe_psql($db, <<'END');
CREATE EXTENSION pointstore;
SELECT pointstore.create_store('keeper');
SELECT pointstore.grant_access('clerk', 'writer');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
SELECT count(pointstore.append_event('a' || n % 100, 'Earned', n, request_id => 'r' || n)) FROM generate_series(1, 1000) n;
SELECT count(pointstore.append_event('p' || n % 10, 'Earned', n, kind => 'ledger')) FROM generate_series(1, 100) n;
SELECT pointstore.freeze_account('a5', 'test');
END
	ok($old->poll_query_until($db, q{SELECT count(*) > 0 FROM pointstore.reconciliation_run WHERE status = 'clean' AND accounts_checked = 110}),
		"$db: served before");
}

my $state = q{SELECT aggregate_id, kind, version, balance, status, updated_at FROM pointstore.account ORDER BY 1};
my %before = map { $_ => $old->safe_psql($_, $state) } @served;
$old->stop;
my $stopped = time;

chomp(my $bin = qx(pg_config --bindir));
chdir(PostgreSQL::Test::Utils::tempdir);
$old->command_ok([ 'pg_upgrade', '--no-sync', '-b', $bin, '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');

$new->start;
foreach my $db (@served)
{
	is($new->safe_psql($db, "SELECT count(*) FROM pointstore.reconciliation_run WHERE started_at BETWEEN to_timestamp($stopped) AND pg_postmaster_start_time()"),
		0, "$db: no run during the upgrade");
	is($new->safe_psql($db, $state), $before{$db}, "$db: the accounts are what they were");
	is(faults($new, $db), '', "$db: sound");
	is($new->safe_psql($db, q{SELECT outcome, version FROM pointstore.append_event('a7', 'Earned', 7, request_id => 'r7')}, extra_params => [ '-U', 'clerk' ]),
		'replayed|1', "$db: requests are remembered");
	is($new->safe_psql($db, q{SELECT outcome, version FROM pointstore.append_event('a7', 'Earned', 7)}, extra_params => [ '-U', 'clerk' ]),
		'appended|11', "$db: a writer appends");
	is(sqlstate($new, $db, q{SELECT pointstore.append_event('a5', 'Earned', 1)}), 'PS004', "$db: a freeze holds");
	is(sqlstate($new, $db, 'DELETE FROM pointstore.event_store'), 'PS006', "$db: guarded");
	is($new->safe_psql($db, 'SELECT pointstore.upgrade_store()'), 'current', "$db: nothing is missing");
	ok($new->poll_query_until($db, q{SELECT count(*) > 0 FROM pointstore.reconciliation_run
		WHERE triggered_by = 'worker' AND status = 'clean' AND started_at > pg_postmaster_start_time()}), "$db: served again");
	my $run = $new->safe_psql($db, q{CALL pointstore.reconcile('full')});
	is($new->safe_psql($db, "SELECT status, accounts_checked, events_checked, findings FROM pointstore.reconciliation_run WHERE id = $run"),
		'clean|110|1101|0', "$db: proved");
}

$new->stop;
done_testing();
