# From a store of each older version to the installed one: ALTER EXTENSION UPDATE,
# then upgrade_store(), and nothing works in between. What comes of it is what a new
# store is, with the data, the grants and whatever users have added as they were.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $installed = '1.5';
my $node = new_cluster('main');
$node->start;
my $olds = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extension_versions WHERE name = 'pointstore' AND version IN ('0.9', '1.0', '1.1', '1.2', '1.3', '1.4')});
if ($olds ne '6')
{
	$node->stop;
	plan(skip_all => 'versions 0.9, 1.0, 1.1, 1.2, 1.3 and 1.4 of test/upgrade are not installed');
}
$node->safe_psql('postgres', 'CREATE ROLE keeper; CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; CREATE ROLE manager LOGIN; CREATE DATABASE fresh');
$node->safe_psql('fresh', q{CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper')});

# What 55000 is expected of, as long as store and functions are of two versions.
my @calls = (
	q{SELECT pointstore.append_event('a', 'Earned', 1)},
	q{SELECT pointstore.try_append_event('a', 'Earned', 1)},
	q{SELECT pointstore.append_events('[{"aggregate_id": "a", "event_type": "Earned"}]')},
	q{SELECT pointstore.submit_event('a', 'Earned', 1)},
	q{SELECT pointstore.transfer('a', 'b', 1)},
	q{SELECT pointstore.hold('a', 1)},
	q{SELECT pointstore.confirm_hold('open')},
	q{SELECT pointstore.cancel_hold('open')},
	q{SELECT pointstore.reverse_event('a', 1)},
	q{SELECT pointstore.open_account('b')},
	q{SELECT pointstore.freeze_account('a', 'x')},
	q{SELECT pointstore.unfreeze_account('a', 'x')},
	q{SELECT pointstore.close_account('a')},
	q{SELECT pointstore.set_kind('a', 'default')},
	q{SELECT pointstore.get_balance('a')},
	q{SELECT pointstore.balance_at('a', now())},
	q{SELECT pointstore.balance_as_of('a', 1)},
	q{SELECT pointstore.statement('a', '-infinity', 'infinity')},
	q{SELECT pointstore.rebuild_balance('a')},
	q{CALL pointstore.rebuild_balances()},
	q{CALL pointstore.sweep_holds()},
	q{CALL pointstore.reconcile('full')},
	q{SELECT pointstore.reconcile_account('a')},
	q{SELECT pointstore.repair(1)},
	q{SELECT pointstore.move('a', 'b', 1, 'm')},
	q{SELECT pointstore.start_movement('m', '[{"aggregate_id": "a", "amount": -1, "event_type": "Spent"}, {"aggregate_id": "b", "amount": 1, "event_type": "Earned"}]')},
	q{SELECT pointstore.wait_for_movement('m')},
	q{SELECT pointstore.cancel_movement('m')},
	q{SELECT pointstore.resolve_movement('m', 'cancel', 'x')},
	q{SELECT pointstore.resolve_step('11111111-1111-1111-1111-111111111111', 'm', 1, 'cancel', 'x')},
	q{SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": []}')},
	q{CALL pointstore.drive_movements()},
	q{SELECT pointstore.reconcile_movements()},
	q{SELECT pointstore.trace('1')},
	q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('a', 'Earned', 1)},
	q{UPDATE pointstore.balance SET balance = 56, version = 13 WHERE aggregate_id = 'a'});

# Grants of routines that there have been since 1.0, and those of the tables.
my $grants = q{SELECT p.proname, a.grantee::regrole, a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a
	WHERE p.pronamespace = 'pointstore'::regnamespace AND a.grantee <> 0 AND p.proname IN ('get_balance', 'balance_at', 'append_events', 'freeze_account', 'reconcile')
	ORDER BY 1, 2, 3};
my $table_grants = q{SELECT c.relname, a.grantee::regrole, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
	WHERE c.relnamespace = 'pointstore'::regnamespace AND a.grantee <> c.relowner AND c.relname IN ('event_store', 'balance', 'account', 'finding') ORDER BY 1, 2, 3};

# A store of that version as it was used then. The library is the installed one, which does not
# write it, so its rows are put there by hand.
sub old_store
{
	my ($version, $db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION pointstore VERSION '$version'");
	is($node->safe_psql($db, q{SELECT pointstore.create_store('keeper')}), 'created', "a store of $version");
	$node->safe_psql($db, <<'END');
SELECT pointstore.grant_access('auditor', 'reader'), pointstore.grant_access('clerk', 'writer'), pointstore.grant_access('manager', 'operator');
GRANT SELECT (version) ON pointstore.event_store TO pg_monitor;
ALTER TABLE pointstore.event_store ADD channel text DEFAULT 'web';
ALTER TABLE pointstore.account_kind ADD note text;
CREATE INDEX event_own_channel ON pointstore.event_store (channel);
ALTER INDEX IF EXISTS pointstore.event_store_aggregate_id_created_at_version_idx RENAME TO "history, by time";
CREATE UNIQUE INDEX event_own_unique ON pointstore.event_store (aggregate_id, created_at, version);
CREATE INDEX event_own_part ON pointstore.event_store (aggregate_id, created_at, version) WHERE amount < 0;
CREATE INDEX event_own_more ON pointstore.event_store (aggregate_id, created_at, version, id);
CREATE INDEX event_own_less ON pointstore.event_store (aggregate_id, created_at);
CREATE INDEX event_own_included ON pointstore.event_store (aggregate_id, created_at, version) INCLUDE (amount);
CREATE INDEX event_own_include ON pointstore.event_store (aggregate_id, created_at) INCLUDE (version);
CREATE INDEX event_own_down ON pointstore.event_store (aggregate_id, created_at DESC, version);
CREATE INDEX event_own_order ON pointstore.event_store (created_at, aggregate_id, version);
CREATE INDEX event_own_words ON pointstore.event_store (aggregate_id text_pattern_ops, created_at, version);
CREATE INDEX event_own_collation ON pointstore.event_store (aggregate_id COLLATE "POSIX", created_at, version);
CREATE INDEX event_own_expression ON pointstore.event_store (aggregate_id, created_at, (version + 0));
CREATE INDEX event_own_brin ON pointstore.event_store USING brin (aggregate_id, created_at, version);
ALTER TABLE pointstore.event_store ADD CONSTRAINT event_own_key EXCLUDE USING btree (aggregate_id WITH =, created_at WITH =, version WITH =);
CREATE VIEW public.recent AS SELECT aggregate_id, version, amount FROM pointstore.event_store ORDER BY id DESC LIMIT 10;
CREATE TABLE public.seen (version bigint);
GRANT INSERT ON public.seen TO keeper;
CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (NEW.version); RETURN NULL; END';
CREATE TRIGGER seen AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION public.see();
CREATE FUNCTION pointstore.shops_own(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT $1 + 1';
SET session_replication_role = replica;
INSERT INTO pointstore.account_kind (kind, mode, unit, min_balance, note) VALUES ('ledger', 'pure', 'KRW', null, 'books');
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, request_id, leg, cause_id, occurred_at, created_at)
SELECT nextval('pointstore.event_store_id_seq'), i.id, e.version, e.event_type, e.amount, e.held,
       sum(e.amount) OVER (PARTITION BY i.id ORDER BY e.version), '{}', e.request || i.id, 0,
       CASE WHEN e.event_type = 'HoldConfirmed' THEN 22 + (i.id = 'b')::int END, '2024-01-01'::timestamptz + e.version * interval '1 day', '2024-01-01'::timestamptz + e.version * interval '1 day'
  FROM (SELECT n AS version, 'Earned' AS event_type, n AS amount, 0 AS held, 'r' || n AS request FROM generate_series(1, 10) n
        UNION ALL VALUES (11, 'HoldPlaced', 0, 5, NULL), (12, 'HoldPlaced', 0, 2, NULL), (13, 'HoldConfirmed', -2, -2, NULL)) e, (VALUES ('a'), ('b')) i(id)
 ORDER BY e.version, i.id;
UPDATE pointstore.event_store e SET cause_id = (SELECT c.id FROM pointstore.event_store c WHERE c.aggregate_id = e.aggregate_id AND c.version = 12) WHERE version = 13;
INSERT INTO pointstore.balance (aggregate_id, version, balance, held, next_expiry, updated_at)
VALUES ('a', 13, 53, 5, '2100-01-01', '2024-01-14'), ('b', 13, 53, 5, '2100-01-01', '2024-01-14');
INSERT INTO pointstore.hold (hold_id, aggregate_id, amount, captured, status, created_at, expires_at, closed_at, event_id)
SELECT CASE version WHEN 11 THEN 'open-' ELSE 'done-' END || aggregate_id, aggregate_id, held, CASE version WHEN 12 THEN 2 ELSE 0 END,
       CASE version WHEN 11 THEN 'open' ELSE 'confirmed' END, created_at, '2100-01-01', CASE version WHEN 12 THEN created_at + interval '1 day' END, id
  FROM pointstore.event_store WHERE event_type = 'HoldPlaced';
INSERT INTO pointstore.pure_account (aggregate_id, kind) VALUES ('p', 'ledger');
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (nextval('pointstore.event_store_id_seq'), 'p', 1, 'Moved', -7, 0, -7, '{}', '2024-02-01', '2024-02-01');
INSERT INTO pointstore.account_log (aggregate_id, action, reason, after, by_role, at)
SELECT aggregate_id, 'open', NULL, jsonb_build_object('kind', kind, 'status', 'open', 'version', 0, 'balance', 0, 'held', 0), 'clerk', '2024-01-01'
  FROM (SELECT aggregate_id, kind FROM pointstore.balance UNION ALL SELECT aggregate_id, kind FROM pointstore.pure_account) a;
INSERT INTO pointstore.reconciliation (scope, started_at, finished_at, status, findings, triggered_by)
VALUES ('full', '2024-02-01', '2024-02-01 00:01', 'findings', 1, 'worker'), ('incremental', '2024-02-02', '2024-02-02 00:01', 'clean', 0, 'worker');
INSERT INTO pointstore.finding (run_id, aggregate_id, code, severity, expected, found, version, detail, detected_at, last_seen_at, action, resolved_at, resolved_by)
VALUES (1, 'a', 'balance_mismatch', 'error', 53, 54, 13, '{}', '2024-02-01', '2024-02-01', 'repaired', '2024-02-01', 'manager'),
       (1, 'b', 'balance_mismatch', 'error', 53, 54, 13, '{}', '2024-02-01', '2024-02-01', 'reported', NULL, NULL);
INSERT INTO pointstore.account_proof VALUES ('b', 10, 55, 0, '2024-02-01');
END
	return;
}

sub upgrade_from
{
	my ($version) = @_;
	my $db = 'store_' . $version =~ tr/./_/r;

	old_store($version, $db);
	my $had_metadata = $version eq '0.9' ? '0' : '1';
	is($node->safe_psql($db, q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'pointstore.event_store'::regclass AND attname = 'metadata'}),
		$had_metadata, 'with the columns of its time');
	my $granted = $node->safe_psql($db, $grants);
	like($granted, qr/append_events\|clerk\|EXECUTE/, 'the writer has its grants');
	my $tables_granted = $node->safe_psql($db, $table_grants);
	my $rows = $node->safe_psql($db, 'SELECT count(*) FROM pointstore.event_store');
	is($node->safe_psql($db, q{SELECT count(*) FROM pg_indexes WHERE indexname = 'history, by time'}), $version =~ /^1\.[01]$/ ? '1' : '0', 'and its index by time');
	my $own_indexes = $node->safe_psql($db, q{SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE indexname ~ '^event_own' AND indexdef ~ 'created_at'});

	my $session = $node->background_psql($db);
	$session->query_safe(q{SELECT 1});
	$node->safe_psql($db, 'ALTER EXTENSION pointstore UPDATE');
	is($node->safe_psql($db, q{SELECT extversion FROM pg_extension WHERE extname = 'pointstore'}), $installed, "the functions are of $installed");
	is($node->safe_psql($db, 'SELECT version FROM pointstore.store_version'), $version, 'the store is not yet');
	is(sqlstate($node, $db, $_), '55000', "refused: $_") foreach @calls;
	is($node->safe_psql($db, 'SELECT count(*) FROM pointstore.event_store'), $rows, 'nothing has changed');
	is(sqlstate($node, $db, 'SELECT pointstore.upgrade_store()', extra_params => [ '-U', 'clerk' ]), '42501', 'not everybody upgrades a store');
	is($node->safe_psql($db, q{SELECT has_function_privilege('auditor', 'pointstore.shops_own(bigint)', 'EXECUTE'), proacl IS NULL FROM pg_proc WHERE proname = 'shops_own'}),
		't|t', q{a user's function keeps its rights});

	$node->safe_psql($db, <<'END');
ALTER TABLE pointstore.balance ADD incoming integer;
GRANT SELECT (aggregate_id), UPDATE (balance) ON pointstore.account TO pg_monitor;
CREATE FUNCTION public.instead() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER instead INSTEAD OF UPDATE ON pointstore.account FOR EACH ROW EXECUTE FUNCTION public.instead();
CREATE VIEW public.rests AS SELECT aggregate_id FROM pointstore.account;
END
	my $renews = $version lt '1.4';
	foreach my $own ('TABLE pointstore.movement (name text)', 'VIEW pointstore.in_transit AS SELECT 1', $renews ? 'VIEW pointstore.transition AS SELECT 1' : ())
	{
		is(sqlstate($node, $db, "CREATE $own; SELECT pointstore.upgrade_store()"), '42P07', "what a user has made is not taken for the store's: $own");
		$node->safe_psql($db, 'DROP ' . $own =~ s/ (?:AS|\().*//r);
	}
	is(sqlstate($node, $db, 'SELECT pointstore.upgrade_store()'), '42701', 'columns of a user are not taken for new ones');
	$node->safe_psql($db, 'ALTER TABLE pointstore.balance RENAME incoming TO own_incoming');
	is(sqlstate($node, $db, 'SELECT pointstore.upgrade_store()'), '2BP01', q{nor is a trigger of a user's dropped with the view}) if $renews;
	$node->safe_psql($db, 'DROP TRIGGER instead ON pointstore.account');
	is(sqlstate($node, $db, 'SELECT pointstore.upgrade_store()'), '2BP01', q{nor a user's view}) if $renews;
	$node->safe_psql($db, 'DROP VIEW public.rests');
	like($node->safe_psql($db, 'SELECT pointstore.upgrade_store()'), qr/^version \Q$installed\E, was \Q$version\E/, 'upgrade_store()');
	is($node->safe_psql($db, 'SELECT pointstore.upgrade_store()'), 'current', 'once more: nothing to do');
	is($node->safe_psql($db, 'SELECT version FROM pointstore.store_version'), $installed, "the store is of $installed");
	is($node->safe_psql($db, q{SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'pointstore'::regnamespace AND relkind IN ('r', 'v', 'S')}),
		'keeper', 'all of it belongs to its owner');
	is($node->safe_psql($db, q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass
		AND objid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'v', 'i', 'S'))}), '0', 'none of it has become a member of the extension');
	is($node->safe_psql($db, $grants), $granted, 'the grants are what they were');
	is($node->safe_psql($db, $table_grants), $tables_granted, 'those of the tables too');
	is($node->safe_psql($db, q{SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'pointstore.account'::regclass AND attacl IS NOT NULL ORDER BY 1}),
		"aggregate_id|{pg_monitor=r/keeper}\nbalance|{pg_monitor=w/keeper}", q{and those of the view's columns});
	$node->safe_psql($db, 'ALTER TABLE pointstore.balance DROP own_incoming');
	$node->safe_psql($db, q{SELECT pointstore.grant_access('auditor', 'reader'), pointstore.grant_access('clerk', 'writer'), pointstore.grant_access('manager', 'operator')});
	is($node->safe_psql($db, 'SELECT count(*) FROM recent'), '10', q{a user's view works});
	is($node->safe_psql($db, q{SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'event_store' AND indexdef ~ 'created_at'}),
		$own_indexes, q{the index by time is gone, the user's own are not});

	works($db, $session);
	same_as_new($db);
	dumps($db);
	return;
}

# The functions do their work on what the older version has left.
sub works
{
	my ($db, $session) = @_;
	is($session->query_safe(q{SELECT version FROM pointstore.append_event('a', 'Earned', 12, metadata => '{"by": "x"}')}), '14', 'a session from before appends');
	$session->quit;
	is($node->safe_psql($db, q{SELECT outcome, version, balance FROM pointstore.append_event('a', 'Spent', -60)}, extra_params => [ '-U', 'clerk' ]),
		'appended|15|5', 'a writer appends');
	is(sqlstate($node, $db, q{SELECT pointstore.append_event('a', 'Spent', -1)}), 'PS003', 'what is held is not spent');
	is($node->safe_psql($db, q{SELECT outcome, version FROM pointstore.append_event('a', 'Earned', 3, request_id => 'r3a')}), 'replayed|3', 'requests are remembered');
	is($node->safe_psql($db, q{SELECT outcome, version, balance FROM pointstore.confirm_hold('open-a', 4)}, extra_params => [ '-U', 'clerk' ]),
		'appended|16|1', 'a hold placed before is confirmed');
	is($node->safe_psql($db, q{SELECT outcome, version FROM pointstore.confirm_hold('done-a')}), 'replayed|13', 'one confirmed before is remembered');
	is($node->safe_psql($db, q{SELECT outcome, version, balance FROM pointstore.reverse_event('a', 10, 1)}), 'appended|17|0', 'an event from before is reversed');
	is($node->safe_psql($db, q{SELECT balance, version FROM pointstore.append_event('p', 'Moved', -1)}), '-8|2', 'a pure account goes on');
	is($node->safe_psql($db, q{SELECT pointstore.balance_at('a', '2024-01-04 12:00')}, extra_params => [ '-U', 'auditor' ]), '6', 'a reader reads');
	is($node->safe_psql($db, q{SELECT metadata ->> 'by', channel FROM pointstore.event_store WHERE aggregate_id = 'a' AND version = 14}), 'x|web', 'metadata and the user\'s column');
	is($node->safe_psql($db, q{SELECT note FROM pointstore.account_kind WHERE kind = 'ledger'}), 'books', 'what the user kept of a kind');
	is($node->safe_psql($db, 'SELECT count(*) > 0 FROM seen'), 't', q{the user's trigger fires});
	is(sqlstate($node, $db, 'DELETE FROM pointstore.event_store'), 'PS006', 'guarded');
	moves($db);
	is($node->safe_psql($db, q{SELECT count(*) FROM pointstore.reconcile_account('a')}), '0', 'nothing is wrong with an account');
	$node->safe_psql($db, q{CALL pointstore.reconcile('full')}, extra_params => [ '-U', 'manager' ]);
	is($node->safe_psql($db, 'SELECT status FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1'), 'clean', 'a full run is clean');
	is($node->safe_psql($db, 'SELECT count(*), count(*) FILTER (WHERE resolved_at IS NULL) FROM pointstore.finding'), '2|0', 'findings are kept, an open one is looked at again');
	is(faults($node, $db), '', 'sound');
	return;
}

# Movements begin, and end, in it and in a new one.
sub moves
{
	my ($db) = @_;
	$node->safe_psql('fresh', qq{CREATE ROLE mover_$db LOGIN; SELECT pointstore.grant_access('mover_$db', 'participant')});
	$node->safe_psql($db, sprintf q{CREATE SERVER fresh FOREIGN DATA WRAPPER pointstore OPTIONS (host '%s', port '%s', dbname 'fresh');
		CREATE USER MAPPING FOR keeper SERVER fresh OPTIONS (user 'mover_%s', password_required 'false'); GRANT USAGE ON FOREIGN SERVER fresh TO keeper, clerk}, $node->host, $node->port, $db);
	is($node->safe_psql($db, qq{SELECT phase FROM pointstore.move('b', 'c', 1, 'within'); SELECT phase FROM pointstore.move('b', '$db', 3, 'away_$db', 'fresh')}, extra_params => [ '-U', 'clerk' ]),
		"confirmed\ntrying", 'movements begin');
	is($node->safe_psql($db, 'SELECT balance, held FROM pointstore.balance WHERE aggregate_id = \'b\''), '52|8', 'what it moves is reserved');
	$node->safe_psql($db, 'CALL pointstore.drive_movements()', extra_params => [ '-U', 'manager' ]);
	is($node->safe_psql($db, qq{SELECT phase, finished_at IS NOT NULL FROM pointstore.movement WHERE movement_id = 'away_$db'; SELECT balance, held FROM pointstore.balance WHERE aggregate_id = 'b'}),
		"confirmed|t\n49|5", 'and end');
	is($node->safe_psql('fresh', "SELECT balance, incoming FROM pointstore.balance WHERE aggregate_id = '$db'"), '3|0', 'there too');
	return;
}

# A new database with the installed version has the same store, but for the order of its columns.
sub same_as_new
{
	my ($db) = @_;
	foreach my $query (
		q{SELECT c.relname, a.attname, a.atttypid::regtype, a.attnotnull, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
		  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
		  WHERE c.relnamespace = 'pointstore'::regnamespace AND c.relkind IN ('r', 'v', 'S') AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('channel', 'note') ORDER BY 1, 2},
		q{SELECT c.relname, c.relkind, c.relpersistence, c.relreplident, c.reloptions, obj_description(c.oid) FROM pg_class c
		  WHERE c.relnamespace = 'pointstore'::regnamespace AND relname !~ '^event_own' ORDER BY 1},
		q{SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'pointstore'::regnamespace AND conname !~ '^event_own' ORDER BY conrelid::regclass::text, 2},
		q{SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'pointstore' AND indexname !~ '^event_own' ORDER BY 1},
		q{SELECT viewname, definition FROM pg_views WHERE schemaname = 'pointstore' ORDER BY 1},
		q{SELECT sequencename, data_type, start_value, min_value, max_value, increment_by, cycle, cache_size FROM pg_sequences WHERE schemaname = 'pointstore' ORDER BY 1},
		q{SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgname <> 'seen' ORDER BY tgrelid::regclass::text, 1},
		q{SELECT p.oid::regprocedure, pg_get_functiondef(p.oid), obj_description(p.oid) FROM pg_proc p
		  WHERE pronamespace = 'pointstore'::regnamespace AND prokind <> 'a' AND proname <> 'shops_own' ORDER BY p.oid::regprocedure::text},
		q{SELECT p.oid::regprocedure, has_function_privilege('public', p.oid, 'EXECUTE') FROM pg_proc p
		  WHERE pronamespace = 'pointstore'::regnamespace AND proname <> 'shops_own' ORDER BY p.oid::regprocedure::text},
		q{SELECT p.oid::regprocedure, has_function_privilege('keeper', p.oid, 'EXECUTE') FROM pg_proc p
		  WHERE pronamespace = 'pointstore'::regnamespace AND proname <> 'shops_own' ORDER BY p.oid::regprocedure::text},
		q{SELECT t.typname, t.typtype, a.attname, a.atttypid::regtype, obj_description(t.oid, 'pg_type') FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
		  JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c' WHERE t.typnamespace = 'pointstore'::regnamespace ORDER BY 1, a.attnum},
		q{SELECT pg_describe_object(classid, objid, 0) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pointstore') ORDER BY 1})
	{
		my $new = $node->safe_psql('fresh', $query);
		ok($new ne '', 'there is something to compare');
		is($node->safe_psql($db, $query), $new, 'as a new one: ' . substr($query, 0, 60));
	}
	return;
}

# Its dump is one of an ordinary store: with all its grants, whenever they were given.
sub dumps
{
	my ($db) = @_;
	my $dump = PostgreSQL::Test::Utils::tempdir . "/$db.sql";
	my $all = q{SELECT p.oid::regprocedure, a.grantee, a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'pointstore'::regnamespace ORDER BY p.oid::regprocedure::text, 2, 3};
	$node->command_ok([ 'pg_dump', '-d', $node->connstr($db), '-f', $dump ], 'pg_dump');
	$node->safe_psql('postgres', "CREATE DATABASE restored_$db");
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr("restored_$db"), '-f', $dump ], 'psql reads it');
	is($node->safe_psql("restored_$db", $all), $node->safe_psql($db, $all), 'the grants have come along');
	is($node->safe_psql("restored_$db", $table_grants), $node->safe_psql($db, $table_grants), 'those of the tables too');
	is($node->safe_psql("restored_$db", q{SELECT outcome, version FROM pointstore.append_event('a', 'Earned', 6)}, extra_params => [ '-U', 'clerk' ]),
		'appended|18', 'a writer appends');
	is($node->safe_psql("restored_$db", 'SELECT pointstore.upgrade_store()'), 'current', 'nothing is missing');
	is(faults($node, "restored_$db"), '', 'sound');
	return;
}

upgrade_from($_) foreach '0.9', '1.0', '1.1', '1.2', '1.3', '1.4';

# a store of a version that nobody knows
$node->safe_psql('fresh', q{CREATE OR REPLACE VIEW pointstore.store_version AS SELECT '7.0'::text AS version});
is(sqlstate($node, 'fresh', q{SELECT pointstore.append_event('a', 'Earned', 1)}), '55000', 'a store of 7.0 is not written');
is(sqlstate($node, 'fresh', 'SELECT pointstore.upgrade_store()'), '55000', 'nor upgraded');

$node->stop;
done_testing();
