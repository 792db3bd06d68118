# Movements that a worker drives, between two databases: those of many steps, of many sessions at once, of transactions that were
# prepared; who waits for them; and what is kept of them.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main');
$node->append_conf('postgresql.conf', "pointstore.databases = 'here, there'\nmax_prepared_transactions = 10\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE mover LOGIN; CREATE DATABASE here; CREATE DATABASE there');
$node->safe_psql($_, q{CREATE EXTENSION pointstore; SELECT pointstore.create_store(), pointstore.grant_access('mover', 'participant')}) foreach 'here', 'there';
$node->safe_psql('here', sprintf q{CREATE SERVER there FOREIGN DATA WRAPPER pointstore OPTIONS (host '%s', port '%s', dbname 'there');
	CREATE USER MAPPING FOR CURRENT_USER SERVER there OPTIONS (user 'mover', password_required 'false');
	SELECT count(pointstore.append_event('a' || n, 'Earned', 1000)) FROM generate_series(1, 9) n}, $node->host, $node->port);

# more own steps than a round has memory for at first
is($node->safe_psql('here', q{SELECT phase FROM pointstore.start_movement('many', (SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'x' || n, 'amount', 1, 'balanced', false,
	'server', CASE WHEN n > 490 THEN 'there' END)) FROM generate_series(1, 500) n));
	SELECT phase FROM pointstore.wait_for_movement('many', '2 min')}), "trying\nconfirmed", 'a movement of many steps');

# a transaction that was prepared is not told of, and looked for
$node->safe_psql('here', q{BEGIN; SELECT pointstore.move('a1', 'b1', 10, 'prepared', 'there'); PREPARE TRANSACTION 'start'});
$node->safe_psql('here', q{SELECT pointstore.move('a2', 'b2', 10, 'later', 'there')});
is($node->safe_psql('here', q{SELECT phase FROM pointstore.wait_for_movement('later', '2 min')}), 'confirmed', 'one that began later');
$node->safe_psql('here', q{COMMIT PREPARED 'start'});
is($node->safe_psql('here', q{SELECT phase FROM pointstore.wait_for_movement('prepared', '2 min')}), 'confirmed', 'one whose transaction was prepared');

# numbers that come late are not passed over
my $script = $node->basedir . '/move.sql';
append_to_file($script, <<'END');
SELECT gen_random_uuid() AS id \gset
\set n random(1, 9)
SELECT pointstore.move('a' || :n, 'b' || :n, 1, ':id', 'there');
SELECT pointstore.wait_for_movement(':id', '2 min');
END
$node->command_ok([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 8, '-t', 20, '-f', $script, 'here' ], 'eight sessions');
is($node->safe_psql('here', q{SELECT phase, count(*) FROM pointstore.movement WHERE movement_id NOT IN ('many', 'prepared', 'later') GROUP BY 1}), 'confirmed|160', 'all were driven');
is($node->safe_psql('there', q{SELECT sum(balance), sum(held), sum(incoming) FROM pointstore.balance WHERE aggregate_id LIKE 'b%'}), '180|0|0', 'and came');

# cancelled by who has not started it, before and after
is($node->safe_psql('here', q{SELECT phase FROM pointstore.cancel_movement('never'); SELECT phase FROM pointstore.move('a1', 'b1', 1, 'never', 'there')}), "cancelled\ncancelled", 'cancelled before it began');

# what is kept, of those that finished long ago
$node->append_conf('postgresql.conf', 'pointstore.movement_retention = 1s');
$node->reload;
$node->poll_query_until('here', 'SELECT NOT EXISTS (SELECT FROM pointstore.movement_step) AND NOT EXISTS (SELECT FROM pointstore.movement_log)') or die 'nothing is pruned';
is($node->safe_psql('here', 'SELECT count(*), count(metadata) FROM pointstore.movement'), '164|0', 'the outcomes are kept');
is($node->safe_psql('here', q{SELECT phase FROM pointstore.move('a1', 'b1', 10, 'prepared', 'there')}), 'confirmed', 'and a repeat is known');
my ($rc, $out, $err) = $node->psql('here', q{SELECT pointstore.move('a1', 'b1', 11, 'prepared', 'there')}, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($err, qr/PS002/, 'by what was asked for');

unlike(slurp_file($node->logfile), qr/terminated by signal/, 'nothing has crashed');
$node->stop;
done_testing();
