# Who may be in the way of an installation, and what an owner has put on the store when a
# superuser installs, upgrades or grants: nothing of it is taken for ours, and nothing
# of it runs as the superuser.

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
$node->safe_psql('postgres', 'CREATE ROLE mole LOGIN; CREATE ROLE keeper LOGIN; CREATE ROLE dev LOGIN; CREATE ROLE clerk LOGIN');

# What comes of a statement of the superuser's after mole, who may create schemas, and then the superuser have done something.
$node->safe_psql('postgres', 'CREATE DATABASE store; GRANT CREATE ON DATABASE store TO mole');
sub outcome
{
	my ($moles, $superusers, $statement) = @_;
	return sqlstate($node, 'store', "BEGIN; SET client_min_messages = warning; SET LOCAL ROLE mole; $moles; RESET ROLE; $superusers; $statement; ROLLBACK");
}
my $install = 'CREATE EXTENSION pointstore';
my $create = 'SELECT pointstore.create_store()';
my $take = 'ALTER SCHEMA pointstore OWNER TO CURRENT_USER;';
my $whole_store = q{CREATE EXTENSION pointstore; SELECT pointstore.create_store('mole'); DROP EXTENSION pointstore CASCADE;};

# the schema
is(outcome('CREATE SCHEMA pointstore', '', $install), '55000', 'a schema of somebody else is refused');
is(outcome('CREATE SCHEMA pointstore', $take, "$install; $create"), '00000', 'taken over and empty it serves');
is(outcome('', 'CREATE SCHEMA pointstore', "$install; $create"), '00000', q{a superuser's serves});
is(outcome('', "$install; ALTER SCHEMA pointstore OWNER TO mole", $create), '55000', 'one that was given away since is refused');

# what is in it
my $in_between = "$install; GRANT CREATE, USAGE ON SCHEMA pointstore TO mole; SET LOCAL ROLE mole; %s; RESET ROLE";
foreach my $squat (
	'CREATE TABLE pointstore.event_store (id bigint, aggregate_id text, version bigint)',
	'CREATE TABLE pointstore.account_log ()',
	'CREATE TABLE pointstore.anything ()',
	'CREATE VIEW pointstore.store_version AS SELECT 1',
	'CREATE SEQUENCE pointstore.event_store_id_seq',
	q{CREATE FUNCTION pointstore.append_event(text, text, integer) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'},
	'CREATE OPERATOR pointstore.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)')
{
	is(outcome("CREATE SCHEMA pointstore; $squat", $take, $install), '55000', "refused before: $squat");
	is(outcome('', sprintf($in_between, $squat), $create), '55000', "refused between: $squat");
}
foreach my $squat (
	'CREATE TYPE pointstore.receipt AS (outcome text)',
	'CREATE DOMAIN pointstore.account_state AS text',
	q{CREATE FUNCTION pointstore.store_triggers() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'})
{
	is(outcome("CREATE SCHEMA pointstore; $squat", $take, $install), '55000', "refused before: $squat");
}
foreach my $half ('CREATE TABLE pointstore.hold ()', 'CREATE VIEW pointstore.finding AS SELECT 1', 'CREATE TYPE pointstore.balance AS (x int)')
{
	is(outcome('', "$install; $half", $create), '55000', "not a whole store: $half");
}

# a whole store of mole's making is taken for one where mole is said to be its owner, and else not
is(outcome('', $whole_store, $install), '00000', 'a whole store may be there');
is(outcome('', "$whole_store $install", $create), '55000', 'it is another one than is asked for');
is(outcome('', "$whole_store $install", q{SELECT pointstore.create_store('keeper')}), '55000', 'or than is asked for');
is(outcome('', "$whole_store $install", q{SELECT pointstore.create_store('mole'); SELECT pointstore.upgrade_store(); SELECT pointstore.append_event('a', 'Earned', 1)}),
	'00000', 'it is that one, and is completed');
is(outcome('', "$whole_store DROP TABLE pointstore.pure_account CASCADE", $install), '55000', 'a store of somebody that lacks a table is none');
is(outcome('', "$whole_store ALTER TABLE pointstore.balance OWNER TO dev", $install), '55000', 'nor is one of two owners');
is(outcome('', $whole_store . q{GRANT CREATE ON SCHEMA pointstore TO mole; CREATE FUNCTION pointstore.append_event(text, text, integer) RETURNS text LANGUAGE sql AS 'SELECT $1';
	ALTER FUNCTION pointstore.append_event(text, text, integer) OWNER TO mole}, $install), '55000', 'a function beside it that calls of ours would find');

# A database, and what is done there by mole and then by the superuser.
my $databases = 0;
sub database
{
	my ($moles, $superusers) = @_;
	my $db = 'db' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $db; GRANT CREATE ON DATABASE $db TO mole");
	$node->safe_psql($db, $moles, extra_params => [ '-U', 'mole' ]) if $moles;
	$node->safe_psql($db, $superusers) if $superusers;
	return $db;
}
my $db;

# users' own functions keep their rights when the extension is installed, installed anew, and updated
$db = database('', q{CREATE SCHEMA pointstore; CREATE FUNCTION pointstore.own() RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE PROCEDURE pointstore.own_procedure() LANGUAGE sql AS ''; GRANT EXECUTE ON FUNCTION pointstore.own() TO dev;});
my $rights = q{SELECT has_function_privilege('clerk', 'pointstore.own()', 'EXECUTE'), has_function_privilege('clerk', 'pointstore.own_procedure()', 'EXECUTE'),
	has_function_privilege('dev', 'pointstore.own()', 'EXECUTE')};
$node->safe_psql($db, "$install; SELECT pointstore.create_store('keeper')");
is($node->safe_psql($db, $rights), 't|t|t', 'rights on functions that were there before');
$node->safe_psql($db, q{GRANT CREATE ON SCHEMA pointstore TO dev});
$node->safe_psql($db, q{GRANT USAGE ON SCHEMA pointstore TO dev; SET ROLE dev; CREATE FUNCTION pointstore.devs() RETURNS int LANGUAGE sql AS 'SELECT 1'});
$node->safe_psql($db, "SET client_min_messages = warning; DROP EXTENSION pointstore CASCADE; $install; SELECT pointstore.upgrade_store()");
is($node->safe_psql($db, $rights), 't|t|t', 'and after an installation anew');
is($node->safe_psql($db, q{SELECT has_function_privilege('clerk', 'pointstore.devs()', 'EXECUTE')}), 't', q{and on somebody's beside the store});

# PUBLIC may nothing, whatever new functions and schemas get by default, and under whatever search_path
my $nothing = q{SELECT count(*), count(*) FILTER (WHERE has_function_privilege('public', p.oid, 'EXECUTE')) FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pointstore'};
$db = database('CREATE SCHEMA evil; CREATE TABLE evil.ran (by_role name); GRANT ALL ON SCHEMA evil TO PUBLIC; GRANT ALL ON evil.ran TO PUBLIC;'
	. q{CREATE FUNCTION evil.caught() RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO evil.ran VALUES (current_user); END$$;}
	. join('', map { qq{CREATE FUNCTION evil.trap(a $_, b $_) RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN PERFORM evil.caught(); RETURN false; END\$\$;
		CREATE OPERATOR evil.= (LEFTARG = $_, RIGHTARG = $_, FUNCTION = evil.trap);} } 'oid', 'name', 'text', '"char"', 'bigint')
	. q{CREATE FUNCTION evil.format(text, regprocedure) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM evil.caught(); RETURN 'SELECT 1'; END$$;
		CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS $$BEGIN PERFORM evil.caught(); RETURN NULL; END$$;});
$node->safe_psql('postgres', "ALTER DATABASE $db SET search_path = evil, pg_catalog");
$node->safe_psql($db, 'ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO dev; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC');
$node->safe_psql($db, "CREATE SCHEMA pointstore; GRANT ALL ON SCHEMA pointstore TO PUBLIC; GRANT ALL ON SCHEMA pointstore TO dev; $install; SELECT pointstore.create_store('keeper'); SELECT pointstore.grant_access('clerk', 'writer'); SELECT pointstore.upgrade_store()");
like($node->safe_psql($db, "SET search_path = pg_catalog; $nothing"), qr/^\d\d+\|0$/, 'PUBLIC may execute nothing');
is($node->safe_psql($db, q{SELECT pg_catalog.has_schema_privilege('public', 'pointstore', 'USAGE'), pg_catalog.has_schema_privilege('dev', 'pointstore', 'CREATE'),
	pg_catalog.has_schema_privilege('keeper', 'pointstore', 'CREATE'), pg_catalog.has_schema_privilege('keeper', 'pointstore', 'USAGE')}), 'f|f|f|t', 'the schema is shut');
is($node->safe_psql($db, 'SELECT pg_catalog.count(*) FROM evil.ran'), '0', 'nobody steps into the trap');

# what the owner has put on an older store, when it is upgraded
my $ran = q{SELECT coalesce(string_agg(DISTINCT by_role || '/' || what, ' '), 'nothing') FROM public.ran WHERE by_role <> 'keeper'};
my $traps = <<'END';
CREATE TABLE public.ran (by_role name, what text);
GRANT INSERT ON public.ran TO PUBLIC;
GRANT CREATE ON SCHEMA public TO keeper;
GRANT CREATE ON SCHEMA pointstore TO keeper;
SET ROLE keeper;
CREATE FUNCTION public.evil(what text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.ran VALUES (current_user, what); RETURN true; END$$;
CREATE FUNCTION public.evil_fixed(what text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$BEGIN PERFORM public.evil(what); RETURN true; END$$;
CREATE FUNCTION public.evil_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.evil('trigger ' || TG_NAME); RETURN NULL; END$$;
END
my $traps_on_tables = <<'END';
SET ROLE keeper;
ALTER TABLE pointstore.account_kind ADD CONSTRAINT evil CHECK (public.evil('check of a kind')) NOT VALID;
ALTER TABLE pointstore.event_store ADD CONSTRAINT evil CHECK (public.evil('check of an event')) NOT VALID;
ALTER TABLE pointstore.account_kind ADD COLUMN evil boolean DEFAULT public.evil('default');
ALTER TABLE pointstore.event_store ADD COLUMN evil boolean GENERATED ALWAYS AS (public.evil_fixed('generated' || aggregate_id)) STORED;
CREATE INDEX evil ON pointstore.event_store (public.evil_fixed('index' || aggregate_id));
CREATE INDEX evil_part ON pointstore.event_store (version) WHERE public.evil_fixed('predicate' || aggregate_id);
CREATE TRIGGER evil AFTER INSERT OR UPDATE ON pointstore.account_kind FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
CREATE CONSTRAINT TRIGGER evil_late AFTER INSERT OR UPDATE ON pointstore.account_kind DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
CREATE RULE evil AS ON INSERT TO pointstore.hold DO ALSO SELECT public.evil('rule');
END
# how the view may say its version; those that come first are refused
my @version_views = (
	q{CREATE FUNCTION public.hold_on() RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE format('DECLARE %%I CURSOR WITH HOLD FOR SELECT public.evil(''cursor'')', 'c' || random()); RETURN '%s'; END$$;
		CREATE OR REPLACE VIEW pointstore.store_version AS SELECT public.hold_on() AS version},
	q{CREATE FUNCTION public.leave() RETURNS text LANGUAGE plpgsql AS $$BEGIN RESET ROLE; PERFORM public.evil('role'); RETURN '%s'; END$$;
		CREATE OR REPLACE VIEW pointstore.store_version AS SELECT public.leave() AS version},
	q{CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO pointstore.store_version DO INSTEAD SELECT CASE WHEN public.evil('version') THEN '%s' END::text AS version});
my $old = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extension_versions WHERE name = 'pointstore' AND version IN ('0.9', '1.0', '1.1', '1.2', '1.3', '1.4')}) eq '6';
foreach my $version ($old ? ('0.9', '1.0', '1.1', '1.2', '1.3', '1.4') : (), '1.5')
{
	$db = database('', "CREATE EXTENSION pointstore VERSION '$version'; SELECT pointstore.create_store('keeper')");
	$node->safe_psql($db, q{SET session_replication_role = replica;
		INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
		VALUES (nextval('pointstore.event_store_id_seq'), 'a', 1, 'Earned', 1, 0, 1, '{}', now(), now()); INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('a', 1, 1)});
	$node->safe_psql($db, $traps);
	$node->safe_psql($db, $traps_on_tables);
	$node->safe_psql($db, 'ALTER EXTENSION pointstore UPDATE') if $version ne '1.5';
	foreach my $view (@version_views)
	{
		$node->safe_psql($db, 'SET ROLE keeper;' . sprintf($view, $version));
		# each by itself: what is kept is run when it commits
		$node->psql($db, $_) foreach 'SELECT pointstore.upgrade_store()', q{SELECT pointstore.create_store('keeper')}, q{SELECT pointstore.grant_access('clerk', 'writer')}, 'SELECT pointstore.upgrade_store()';
		is($node->safe_psql($db, $ran), 'nothing', "nothing has run as the superuser: $version");
	}
	is($node->safe_psql($db, 'SELECT pointstore.upgrade_store()'), 'current', 'the store is upgraded');
	is($node->safe_psql($db, q{SELECT count(*) > 0 FROM public.ran WHERE what = 'version'}), 't', 'the traps are set');
}

# a caller whose role was dropped is logged by its number
$db = database('', "$install; $create; SELECT pointstore.append_event('a', 'Earned', 5); CREATE ROLE leaver LOGIN");
$node->safe_psql($db, q{CREATE FUNCTION public.mend() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT pointstore.repair(max(id)) FROM pointstore.finding';
	CREATE FUNCTION public.stop() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$SELECT pointstore.freeze_account('a', 'gone')$$;
	SET session_replication_role = replica; UPDATE pointstore.balance SET balance = 6});
$node->safe_psql($db, q{CALL pointstore.reconcile('full')});
my $number = $node->safe_psql($db, q{SELECT 'leaver'::regrole::oid});
my $leaver = $node->background_psql($db, extra_params => [ '-U', 'leaver' ]);
is($leaver->query_safe('SELECT 1'), '1', 'a session');
$node->safe_psql($db, 'DROP ROLE leaver');
is($leaver->query_safe('SELECT public.mend() IS NOT NULL'), 't', 'repairs');
$leaver->query_safe('SELECT public.stop()');
$leaver->quit;
is($node->safe_psql($db, 'SELECT resolved_by FROM pointstore.finding'), $number, 'as nobody any more');
is($node->safe_psql($db, q{SELECT by_role FROM pointstore.account_log WHERE action = 'freeze'}), $number, 'and freezes');

$node->stop;
done_testing();
