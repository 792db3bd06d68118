# A store in a dump: restored by psql and by pg_restore -j2 it is the same store,
# with its guards, grants and whatever users have added; and DROP EXTENSION
# leaves the data, which CREATE EXTENSION and upgrade_store() put back to use.

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
my $dumps = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', <<'END');
CREATE ROLE keeper; CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; CREATE ROLE manager LOGIN; CREATE ROLE mover LOGIN;
CREATE DATABASE original;
END
$node->safe_psql('original', <<'END');
CREATE EXTENSION pointstore;
SELECT pointstore.create_store('keeper');
SELECT pointstore.grant_access('auditor', 'reader'), pointstore.grant_access('clerk', 'writer'),
       pointstore.grant_access('manager', 'operator');
GRANT SELECT (aggregate_id) ON pointstore.balance TO pg_monitor;

-- what users add
ALTER TABLE pointstore.event_store ADD channel text DEFAULT 'web', ADD shop text;
ALTER TABLE pointstore.balance ADD note text, ADD CONSTRAINT modest CHECK (balance < 1000000);
CREATE INDEX event_channel ON pointstore.event_store (channel, created_at);
CREATE TABLE public.audit (aggregate_id text, version bigint);
GRANT INSERT ON public.audit TO keeper;
CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.audit VALUES (NEW.aggregate_id, NEW.version);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION public.audit();

INSERT INTO pointstore.account_kind (kind, mode, unit, min_balance) VALUES ('ledger', 'pure', 'KRW', null), ('debt', 'hybrid', 'KRW', -500);
SELECT count(pointstore.append_event('h' || n % 10, 'Earned', n, jsonb_build_object('n', n), request_id => 'r' || n,
                                     metadata => '{"by": "load"}'))
  FROM generate_series(1, 100) n;
SELECT count(pointstore.append_event('p' || n % 3, 'Moved', n - 40, kind => 'ledger')) FROM generate_series(1, 30) n;
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "h1", "event_type": "Sent", "amount": -5},
    {"aggregate_id": "d", "event_type": "Received", "amount": 5, "kind": "debt"}]', 'batch', false);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, shop, occurred_at)
VALUES ('h2', 'Earned', 1, 'Busan', '2024-02-29 12:00+09');
SELECT count(pointstore.hold('h5', n, 'hold' || n, n * interval '1 hour')) FROM generate_series(1, 3) n;
SELECT pointstore.confirm_hold('hold2', 1), pointstore.cancel_hold('tomb');
SELECT count(*) FROM pointstore.transfer('h5', 'h6', 7);
INSERT INTO pointstore.account_kind (kind, mode, initial_state) VALUES ('flow', 'hybrid', 'new'), ('pure flow', 'pure', 'new');
INSERT INTO pointstore.transition SELECT k, f, e, t FROM unnest('{flow,pure flow}'::text[]) k, (VALUES ('new', 'Began', 'going'), ('going', 'Ended', 'gone')) r (f, e, t);
SELECT pointstore.append_event(k || ' ' || n, 'Began', kind => k) FROM unnest('{flow,pure flow}'::text[]) k, generate_series(1, 2) n;
SELECT pointstore.set_kind(k || ' 2', k, new_state => 'new') FROM unnest('{flow,pure flow}'::text[]) k;
UPDATE pointstore.balance SET note = 'mind the gap' WHERE aggregate_id = 'h3';
SELECT pointstore.release_lease('given-back', (pointstore.acquire_lease('given-back', 'me')).token), pointstore.acquire_lease('held', 'me', '1 day');
CREATE SERVER away FOREIGN DATA WRAPPER pointstore OPTIONS (host '/nowhere', dbname 'there');
CREATE USER MAPPING FOR keeper SERVER away OPTIONS (user 'mover', password 'secret');
GRANT USAGE ON FOREIGN SERVER away TO keeper, clerk;
SELECT pointstore.grant_access('mover', 'participant');
SELECT pointstore.move('h7', 'there', 20, 'under way', 'away', deadline => '1 day', metadata => '{"why": "dump"}');
SELECT pointstore.move('h7', 'h8', 3, 'within'), pointstore.cancel_movement('never', 'test');
SET ROLE mover;
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "name": "elsewhere", "incarnation": 1, "messages": [
    {"do": "try", "movement_id": "in", "step": 2, "incarnation": 1, "number": 1, "protocol": "tcc", "aggregate_id": "h9", "amount": 40, "event_type": "Earned"},
    {"do": "try", "movement_id": "out", "step": 1, "incarnation": 1, "number": 2, "protocol": "tcc", "aggregate_id": "h9", "amount": -30, "event_type": "Spent"},
    {"do": "cancel", "movement_id": "tomb", "step": 1, "incarnation": 1, "number": 3, "protocol": "tcc"}]}');
RESET ROLE;
SELECT pointstore.freeze_account('h4', 'fraud?'), pointstore.open_account('empty'), pointstore.close_account('empty', 'moved');
END
is(faults($node, 'original'), '', 'the original is sound');

# Everything there is to compare of a store, as text.
my @contents = map { "SELECT * FROM pointstore.$_ t ORDER BY t::text" }
  qw(account_kind transition balance pure_account event_store account_log hold lease
  movement movement_step movement_log movement_store movement_server participant_step participant_origin in_transit store_version account);
push @contents,
  q{SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger
     WHERE tgrelid::regclass::text LIKE 'pointstore.%' AND NOT tgisinternal ORDER BY tgrelid::regclass::text, tgname},
  q{SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
     WHERE indrelid::regclass::text LIKE 'pointstore.%' ORDER BY indexrelid::regclass::text},
  q{SELECT indexrelid::regclass FROM pg_index WHERE indisreplident AND indrelid = 'pointstore.hold'::regclass},
  q{SELECT c.relname, c.relowner::regrole, a.grantee::regrole, a.privilege_type
      FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'pointstore'::regnamespace
     ORDER BY 1, 2, 3, 4},
  q{SELECT p.proname, a.grantee, a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a
     WHERE p.pronamespace = 'pointstore'::regnamespace ORDER BY 1, 2, 3},
  q{SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'pointstore'},
  q{SELECT c.relname, obj_description(c.oid), a.attname, col_description(c.oid, a.attnum), pg_get_expr(d.adbin, d.adrelid)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON adrelid = c.oid AND adnum = attnum
     WHERE c.relnamespace = 'pointstore'::regnamespace AND attnum > 0 ORDER BY 1, 3};

sub same_store
{
	my ($db, $how) = @_;
	foreach my $query (@contents)
	{
		my ($what) = $query =~ /FROM (\S+)/;
		is($node->safe_psql($db, $query), $node->safe_psql('original', $query), "$how: same rows in $what");
	}
	return;
}

# What must work in a store that has come back.
sub store_works
{
	my ($db, $how) = @_;
	my $last = $node->safe_psql($db, 'SELECT max(id) FROM pointstore.event_store');
	my $audited = $node->safe_psql($db, 'SELECT count(*) FROM audit');

	is( $node->safe_psql($db, <<'END', extra_params => [ '-U', 'clerk' ]),
SELECT outcome, version, balance FROM pointstore.append_event('h1', 'Earned', 7)
END
		'appended|12|462', "$how: a writer appends");
	cmp_ok($node->safe_psql($db, q{SELECT id FROM pointstore.event_store WHERE (aggregate_id, version) = ('h1', 12)}),
		'>', $last, "$how: ids go on");
	is($node->safe_psql($db, 'SELECT count(*) FROM audit'), $audited + 1, "$how: the user's trigger fires");
	is($node->safe_psql($db, q{SELECT channel FROM pointstore.event_store WHERE (aggregate_id, version) = ('h1', 12)}),
		'web', "$how: the user's column has its default");
	is( $node->safe_psql($db, q{SELECT outcome, version FROM pointstore.append_event('h1', 'Earned', 1, '{"n": 1}', request_id => 'r1')}),
		'replayed|1', "$how: requests are remembered");
	is($node->safe_psql($db, q{SELECT version, balance FROM pointstore.append_event('p0', 'Moved', 1)}),
		'11|-234', "$how: a pure account goes on");
	is( $node->safe_psql($db, q{SELECT pointstore.unfreeze_account('h4', 'restored');
		SELECT action, reason FROM pointstore.account_log WHERE aggregate_id = 'h4' ORDER BY id DESC LIMIT 1}),
		"\nunfreeze|restored", "$how: the log goes on");
	is($node->safe_psql($db, q{SELECT pointstore.balance_as_of('h0', 2)}), '30', "$how: history is there");
	is($node->safe_psql($db, q{SELECT acquired, token > (SELECT token FROM pointstore.lease WHERE name = 'given-back') FROM pointstore.acquire_lease('given-back', 'you');
		SELECT acquired, holder FROM pointstore.acquire_lease('held', 'you')}), "t|t\nf|me", "$how: leases go on, their tokens too");

	is($node->safe_psql($db, q{SELECT string_agg(outcome, ' ' ORDER BY a) FROM unnest('{flow 1,flow 2,pure flow 1,pure flow 2}'::text[]) a, pointstore.try_append_event(a, 'Began')}),
		'transition_not_allowed appended transition_not_allowed appended', "$how: states and transitions go on, those that were set too");
	my $answers = q{SELECT string_agg(a ->> 'answer', ' ' ORDER BY n) FROM jsonb_array_elements(pointstore.participate('{"version": 1,
		"origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": [%s]}') -> 'answers') WITH ORDINALITY a(a, n)};
	is($node->safe_psql($db, sprintf($answers, join ',', map { my ($do, $id, $step, $n) = @$_; qq({"do": "$do", "movement_id": "$id", "step": $step, "incarnation": 1, "number": $n, "protocol": "tcc") .
			($do eq 'try' ? ', "aggregate_id": "h9", "amount": 1, "event_type": "Earned"}' : '}') } [ 'confirm', 'in', 2, 1 ], [ 'cancel', 'out', 1, 2 ], [ 'try', 'tomb', 1, 3 ]), extra_params => [ '-U', 'mover' ]),
		'confirmed cancelled refused', "$how: what other stores' movements have reserved is there, and their tombstones");
	is($node->safe_psql($db, q{SELECT balance, held, incoming FROM pointstore.balance WHERE aggregate_id = 'h9'}), '580|0|0', "$how: and becomes what they say");
	is($node->safe_psql($db, q{SELECT phase, settled FROM pointstore.wait_for_movement('under way', '0'); SELECT phase FROM pointstore.cancel_movement('under way');
		SELECT phase FROM pointstore.move('h7', 'h8', 3, 'within'); SELECT incarnation > 1 FROM pointstore.movement_store}, extra_params => [ '-U', 'clerk' ]),
		"trying|f\ntrying\nconfirmed\nt", "$how: movements of its own go on, in a new incarnation");
	my %refused = (
		q{UPDATE pointstore.event_store SET amount = 1} => 'PS006',
		q{TRUNCATE pointstore.event_store} => 'PS006',
		q{DELETE FROM pointstore.balance} => 'PS006',
		q{UPDATE pointstore.balance SET balance = 9 WHERE aggregate_id = 'h5'} => 'PS001',
		q{UPDATE pointstore.balance SET balance = 9, version = version + 1 WHERE aggregate_id = 'h5'} => 'PS010',
		q{SELECT pointstore.append_event('h5', 'Spent', -100000)} => 'PS003',
		q{SELECT pointstore.append_event('h5', 'Earned', 2000000)} => '23514',
		q{SELECT pointstore.append_event('empty', 'Earned', 1)} => 'PS005',
		q{SELECT pointstore.append_event('flow 1', 'Began')} => 'PS012',
		q{DELETE FROM pointstore.account_kind WHERE kind = 'ledger'} => 'PS011');
	is(sqlstate($node, $db, $_), $refused{$_}, "$how: $refused{$_} for $_") foreach sort keys %refused;
	is(sqlstate($node, $db, q{INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('h1', 'X')},
			extra_params => [ '-U', 'clerk' ]), '42501', "$how: a writer may not INSERT");
	is(sqlstate($node, $db, q{SELECT pointstore.append_event('h1', 'X')}, extra_params => [ '-U', 'auditor' ]),
		'42501', "$how: a reader may not append");
	is($node->safe_psql($db, q{SELECT balance FROM pointstore.get_balance('h2')}, extra_params => [ '-U', 'auditor' ]),
		$node->safe_psql($db, q{SELECT balance FROM pointstore.balance WHERE aggregate_id = 'h2'}), "$how: a reader reads");
	is(faults($node, $db), '', "$how: sound afterwards");
	return;
}

# pg_dump | psql
$node->command_ok([ 'pg_dump', '-d', $node->connstr('original'), '-f', "$dumps/plain.sql" ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dumps/plain.sql" ],
	'psql reads the dump');
same_store('plain', 'psql');
store_works('plain', 'psql');

# pg_dump -Fc | pg_restore -j2
$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('original'), '-f', "$dumps/custom" ], 'pg_dump -Fc');
$node->safe_psql('postgres', 'CREATE DATABASE custom');
$node->command_ok([ 'pg_restore', '-j2', '--exit-on-error', '-d', $node->connstr('custom'), "$dumps/custom" ], 'pg_restore -j2');
same_store('custom', 'pg_restore');
store_works('custom', 'pg_restore');

# a dump of what was restored is restored again
$node->command_ok([ 'pg_dump', '-d', $node->connstr('custom'), '-f', "$dumps/second.sql" ], 'pg_dump of the restored');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('second'), '-f', "$dumps/second.sql" ],
	'psql reads that too');
is(faults($node, 'second'), '', 'and it is sound');

# the data alone, into a store that is there
$node->safe_psql('postgres', 'CREATE DATABASE data_only');
$node->safe_psql('data_only', <<'END');
CREATE EXTENSION pointstore;
SELECT pointstore.create_store('keeper');
ALTER TABLE pointstore.event_store ADD channel text DEFAULT 'web', ADD shop text;
ALTER TABLE pointstore.balance ADD note text;
DELETE FROM pointstore.account_kind;
DELETE FROM pointstore.movement_store;
END
$node->command_ok([ 'pg_restore', '--data-only', '--disable-triggers', '-n', 'pointstore', '--exit-on-error',
		'-d', $node->connstr('data_only'), "$dumps/custom" ], 'pg_restore --data-only');
is(faults($node, 'data_only'), '', 'the data alone: sound');
is($node->safe_psql('data_only', $_), $node->safe_psql('original', $_), 'the data alone: same rows') foreach @contents[ 0 .. 4 ];
is(sqlstate($node, 'data_only', 'TRUNCATE pointstore.event_store'), 'PS006', 'the data alone: guarded again');
is($node->safe_psql('data_only', q{SELECT version FROM pointstore.append_event('h1', 'Earned', 7)}), '12',
	'the data alone: appends go on');

# DROP EXTENSION: the guards go, which takes CASCADE; the data stays
is(sqlstate($node, 'plain', 'DROP EXTENSION pointstore'), '2BP01', 'DROP EXTENSION says what depends on it');
my @data = map { $node->safe_psql('plain', $_) } @contents[ 0 .. 6 ];
$node->safe_psql('plain', 'SET client_min_messages = warning; DROP EXTENSION pointstore CASCADE');
is($node->safe_psql('plain', $contents[$_]), $data[$_], "DROP EXTENSION leaves the data ($_)") foreach 0 .. 6;
is($node->safe_psql('plain', 'SELECT count(*) FROM pointstore.account'), '19', 'and the view of accounts');

# CREATE EXTENSION: unguarded tables are no store until upgrade_store() has been there
$node->safe_psql('plain', 'CREATE EXTENSION pointstore');
is(sqlstate($node, 'plain', q{SELECT pointstore.append_event('h1', 'Earned', 1)}), '55000', 'no append without the guards');
my $triggers = $node->safe_psql('plain', 'SELECT count(*) FROM pointstore.store_triggers()');
like($node->safe_psql('plain', 'SELECT pointstore.upgrade_store()'), qr/\b$triggers triggers/, 'upgrade_store() puts the guards back');
is($node->safe_psql('plain', 'SELECT pointstore.upgrade_store()'), 'current', 'and finds nothing to do then');
is(sqlstate($node, 'plain', q{SELECT pointstore.append_event('h1', 'Earned', 1)}, extra_params => [ '-U', 'clerk' ]),
	'42501', 'the grants on functions went with them');
$node->safe_psql('plain', <<'END');
SELECT pointstore.grant_access('auditor', 'reader'), pointstore.grant_access('clerk', 'writer'),
       pointstore.grant_access('manager', 'operator'), pointstore.grant_access('keeper', 'operator');
END
is($node->safe_psql('plain', q{SELECT outcome, version, balance FROM pointstore.append_event('h1', 'Earned', 1)},
		extra_params => [ '-U', 'clerk' ]), 'appended|13|463', 'grant_access() brings them back');
is(sqlstate($node, 'plain', 'UPDATE pointstore.event_store SET amount = 1'), 'PS006', 'guarded as before');
is(sqlstate($node, 'plain', q{SET ROLE keeper; INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('h1', 'Earned', 1)}),
	'00000', 'the owner writes its tables');
is(faults($node, 'plain'), '', 'sound after all that');

$node->stop;
done_testing();
