# What stays as it is is told once, and not by every run and every sweep anew.

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
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, on_mismatch) VALUES ('mended', 'repair');
SELECT pointstore.append_event('stuck', 'Earned', 100, kind => 'mended'), pointstore.append_event('holder', 'Earned', 100);
SELECT count(pointstore.hold('holder', 1, 'h' || n, '1 second')) FROM generate_series(1, 20) n;
SET session_replication_role = replica;
UPDATE pointstore.balance SET balance = 99 WHERE aggregate_id = 'stuck';
RESET session_replication_role;
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'stuck' OR NEW.held < OLD.held) EXECUTE FUNCTION public.refuse();
END

sub told
{
	my ($what) = @_;
	my @lines = grep { /WARNING:.*$what/ } split /\n/, slurp_file($node->logfile);
	return scalar @lines;
}

my $quiet = 'SET client_min_messages = error';
$node->safe_psql('postgres', "$quiet; CALL pointstore.reconcile('$_')") foreach qw(full incremental full);
is(told('"stuck" was not repaired'), 1, 'what cannot be repaired is told once');
is($node->safe_psql('postgres', q{SELECT action, detail ->> 'failed' IS NOT NULL FROM pointstore.finding WHERE resolved_at IS NULL}), 'reported|t',
	'and stands in the finding');
$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE no_data_found; END $$});
$node->safe_psql('postgres', "$quiet; CALL pointstore.reconcile('full')") foreach 1, 2;
is(told('"stuck" was not repaired'), 2, 'another reason is told, once');

sleep 1;
$node->safe_psql('postgres', "$quiet; CALL pointstore.sweep_holds()") foreach 1, 2, 3;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.hold WHERE status = 'open'}), 20, 'holds that cannot be closed');
is(told('has expired and cannot be closed'), 1, 'of one account are told once, whichever session sweeps');

$node->safe_psql('postgres', 'DROP TRIGGER refuse ON pointstore.balance');
$node->safe_psql('postgres', "$quiet; CALL pointstore.sweep_holds(); CALL pointstore.reconcile('full')");
is($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM pointstore.hold WHERE status = 'open'), (SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL)}),
	'0|0', 'what hindered is gone: all is done');

$node->stop;
done_testing();
