# From a store of an older version to the installed one: ALTER EXTENSION UPDATE,
# then upgrade_store(), and nothing works in between.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main');
$node->start;
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extension_versions WHERE (name, version) = ('pointstore', '0.9')}) eq '0')
{
	$node->stop;
	plan(skip_all => 'version 0.9 of test/upgrade is not installed');
}

$node->safe_psql('postgres', 'CREATE ROLE keeper; CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; CREATE DATABASE store');
$node->safe_psql('store', q{CREATE EXTENSION pointstore VERSION '0.9'});
is($node->safe_psql('store', q{SELECT pointstore.create_store('keeper')}), 'created', 'a store of 0.9');
$node->safe_psql('store', <<'END');
SELECT pointstore.grant_access('auditor', 'reader'), pointstore.grant_access('clerk', 'writer');
GRANT SELECT (version) ON pointstore.event_store TO pg_monitor;
ALTER TABLE pointstore.event_store ADD channel text DEFAULT 'web';
CREATE INDEX event_channel ON pointstore.event_store (channel);
CREATE VIEW public.recent AS SELECT aggregate_id, version, amount FROM pointstore.event_store ORDER BY id DESC LIMIT 10;
SET session_replication_role = replica;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, request_id, leg, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), 'a', n, 'Earned', n, 0, n * (n + 1) / 2, '{}', 'r' || n, 0, '2024-01-01'::timestamptz + n * interval '1 day', '2024-01-01'::timestamptz + n * interval '1 day'
  FROM generate_series(1, 10) n;
INSERT INTO pointstore.balance (aggregate_id, version, balance, updated_at) VALUES ('a', 10, 55, '2024-01-11');
END
is($node->safe_psql('store', q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'pointstore.event_store'::regclass AND attname = 'metadata'}),
	'0', 'without metadata');
is($node->safe_psql('store', q{SELECT to_regclass('pointstore.event_store_aggregate_id_created_at_version_idx') IS NULL}), 't', 'without the index');

# What 55000 is expected of, as long as store and functions are of two versions.
my @calls = (
	q{SELECT pointstore.append_event('a', 'Earned', 1)},
	q{SELECT pointstore.try_append_event('a', 'Earned', 1)},
	q{SELECT pointstore.append_events('[{"aggregate_id": "a", "event_type": "Earned"}]')},
	q{SELECT pointstore.open_account('b')},
	q{SELECT pointstore.freeze_account('a', 'x')},
	q{SELECT pointstore.unfreeze_account('a', 'x')},
	q{SELECT pointstore.close_account('a')},
	q{SELECT pointstore.set_kind('a', 'default')},
	q{SELECT pointstore.get_balance('a')},
	q{SELECT pointstore.balance_at('a', now())},
	q{SELECT pointstore.balance_as_of('a', 1)},
	q{SELECT pointstore.rebuild_balance('a')},
	q{CALL pointstore.rebuild_balances()},
	q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('a', 'Earned', 1)},
	q{UPDATE pointstore.balance SET balance = 56, version = 11 WHERE aggregate_id = 'a'});

my $grants = q{SELECT p.proname, a.grantee::regrole, a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a
	WHERE p.pronamespace = 'pointstore'::regnamespace AND a.grantee <> 0 ORDER BY 1, 2, 3};
my $granted = $node->safe_psql('store', $grants);
like($granted, qr/append_event\|clerk\|EXECUTE/, 'the writer has its grants');

my $session = $node->background_psql('store');
$session->query_safe(q{SELECT 1});
$node->safe_psql('store', 'ALTER EXTENSION pointstore UPDATE');
is($node->safe_psql('store', q{SELECT extversion FROM pg_extension WHERE extname = 'pointstore'}), '1.1', 'the functions are of 1.1');
is($node->safe_psql('store', 'SELECT version FROM pointstore.store_version'), '0.9', 'the store is not yet');
is(sqlstate($node, 'store', $_), '55000', "refused: $_") foreach @calls;
is($node->safe_psql('store', 'SELECT count(*) FROM pointstore.event_store'), '10', 'nothing has changed');
is(sqlstate($node, 'store', 'SELECT pointstore.upgrade_store()', extra_params => [ '-U', 'clerk' ]), '42501', 'not everybody upgrades a store');

like($node->safe_psql('store', 'SELECT pointstore.upgrade_store()'), qr/^version 1\.1, was 0\.9/, 'upgrade_store()');
is($node->safe_psql('store', 'SELECT pointstore.upgrade_store()'), 'current', 'once more: nothing to do');
is($node->safe_psql('store', 'SELECT version FROM pointstore.store_version'), '1.1', 'the store is of 1.1');
is($node->safe_psql('store', q{SELECT relowner::regrole FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v', 'S') GROUP BY 1}),
	'keeper', 'all of it belongs to its owner');
is($node->safe_psql('store', q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass
	AND objid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'v', 'i', 'S'))}), '0', 'none of it has become a member of the extension');
is($node->safe_psql('store', $grants), $granted, 'the grants are what they were');
is($node->safe_psql('store', 'SELECT count(*) FROM recent'), '10', q{a user's view works});

is($session->query_safe(q{SELECT version FROM pointstore.append_event('a', 'Earned', 11, metadata => '{"by": "x"}')}), '11', 'a session from before appends');
$session->quit;
is($node->safe_psql('store', q{SELECT outcome, version, balance FROM pointstore.append_event('a', 'Spent', -60)}, extra_params => [ '-U', 'clerk' ]),
	'appended|12|6', 'a writer appends');
is($node->safe_psql('store', q{SELECT outcome, version FROM pointstore.append_event('a', 'Earned', 3, request_id => 'r3')}), 'replayed|3', 'requests of 0.9 are remembered');
is($node->safe_psql('store', q{SELECT pointstore.balance_at('a', '2024-01-04 12:00')}, extra_params => [ '-U', 'auditor' ]), '6', 'a reader reads');
is($node->safe_psql('store', q{SELECT metadata ->> 'by', channel FROM pointstore.event_store WHERE version = 11}), 'x|web', 'the new column and the user\'s');
is(sqlstate($node, 'store', 'DELETE FROM pointstore.event_store'), 'PS006', 'guarded');
is(faults($node, 'store'), '', 'sound');

# a new database with 1.1 has the same store, but for the order of its columns
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', q{CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper')});
foreach my $query (
	q{SELECT c.relname, a.attname, a.atttypid::regtype, a.attnotnull, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	  WHERE c.relnamespace = 'pointstore'::regnamespace AND c.relkind IN ('r', 'v') AND attnum > 0 AND attname <> 'channel' ORDER BY 1, 2},
	q{SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'pointstore' AND indexname <> 'event_channel' ORDER BY 1},
	q{SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, 1},
	q{SELECT p.oid::regprocedure, md5(prosrc), obj_description(p.oid) FROM pg_proc p WHERE pronamespace = 'pointstore'::regnamespace ORDER BY p.oid::regprocedure::text})
{
	is($node->safe_psql('store', $query), $node->safe_psql('fresh', $query), 'as a new one: ' . substr($query, 0, 60));
}

# its dump is one of an ordinary store
my $dump = PostgreSQL::Test::Utils::tempdir . '/upgraded.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('store'), '-f', $dump ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'psql reads it');
is($node->safe_psql('restored', $grants), $granted, 'the grants have come along');
is($node->safe_psql('restored', q{SELECT outcome, version, balance FROM pointstore.append_event('a', 'Spent', -6)}, extra_params => [ '-U', 'clerk' ]),
	'appended|13|0', 'a writer appends');
is(faults($node, 'restored'), '', 'sound');

# a store of a version that nobody knows
$node->safe_psql('fresh', q{CREATE OR REPLACE VIEW pointstore.store_version AS SELECT '7.0'::text AS version});
is(sqlstate($node, 'fresh', q{SELECT pointstore.append_event('a', 'Earned', 1)}), '55000', 'a store of 7.0 is not written');
is(sqlstate($node, 'fresh', 'SELECT pointstore.upgrade_store()'), '55000', 'nor upgraded');

$node->stop;
done_testing();
