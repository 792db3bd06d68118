# reconcile_movements(): what two stores say of the movements between them. What a coordinator would have written and sent is written and
# sent by hand, so that each disagreement is there, and what is under way beside it.

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
$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE mover LOGIN; CREATE ROLE manager LOGIN; CREATE ROLE clerk LOGIN; CREATE DATABASE here; CREATE DATABASE there; CREATE DATABASE other');
foreach my $db ('here', 'there', 'other')
{
	$node->safe_psql($db, q{CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper'), pointstore.grant_access('mover', 'participant'), pointstore.grant_access('manager', 'operator'),
		pointstore.grant_access('clerk', 'writer')});
	$node->safe_psql($db, q{SELECT count(pointstore.append_event('a' || n, 'Earned', 1000)) FROM generate_series(1, 9) n});
}
my $where = sprintf q{host '%s', port '%s'}, $node->host, $node->port;
$node->safe_psql('here', <<"END");
CREATE SERVER there FOREIGN DATA WRAPPER pointstore OPTIONS ($where, dbname 'there');
CREATE SERVER away FOREIGN DATA WRAPPER pointstore OPTIONS ($where, dbname 'nowhere');
CREATE USER MAPPING FOR keeper SERVER there OPTIONS (user 'mover', password_required 'false');
CREATE USER MAPPING FOR keeper SERVER away OPTIONS (user 'mover', password_required 'false');
GRANT USAGE ON FOREIGN SERVER there TO keeper;
GRANT USAGE ON FOREIGN SERVER away TO keeper;
END
my ($origin, $incarnation);

# What its coordinator would send there about movements.
sub ask
{
	my ($ids, @verbs) = @_;
	my @calls;

	foreach my $id (@$ids)
	{
		my ($n) = $id =~ /(\d)/;
		push @calls, map { my $try = $_ eq 'try' ? qq(, "aggregate_id": "a$n", "amount": 10, "event_type": "Moved") : '';
			qq{SELECT pointstore.participate('{"version": 1, "origin": "$origin", "incarnation": $incarnation, "messages": [
				{"do": "$_", "movement_id": "$id", "step": 2, "incarnation": $incarnation, "number": $n, "protocol": "tcc"$try}]}');} } @verbs;
	}
	$node->safe_psql('there', join("\n", @calls), extra_params => [ '-U', 'mover' ]);
	return;
}

# What it would write here.
sub are_known_as
{
	my ($status, $finished, @ids) = @_;
	my $ids = join ',', map { "'$_'" } @ids;
	$node->safe_psql('here', "UPDATE pointstore.movement_step SET status = '$status' WHERE movement_id IN ($ids) AND step = 2;
		UPDATE pointstore.movement SET phase = '$status', finished_at = @{[ $finished ? 'now()' : 'NULL' ]} WHERE movement_id IN ($ids)");
	return;
}

sub compared
{
	my ($server, @how) = @_;
	return $node->safe_psql('here', "SET client_min_messages = error; SELECT server_name, movement_id, step, code, here, there FROM pointstore.reconcile_movements($server) ORDER BY 1, 2, 3", @how);
}

is(compared(q{'there'}), '', 'nothing, of nothing');
$node->safe_psql('here', q{SELECT pointstore.move('a8', 'a9', 10, 'm8 within')});
unlike(compared('NULL'), qr/m8/, 'nothing, of a movement within this store');
$node->safe_psql('here', q{SELECT pointstore.move('a' || substr(id, 2, 1), 'a' || substr(id, 2, 1), 10, id, 'there', deadline => '1 day')
	FROM unnest(ARRAY['m1 right', 'm1 under way', 'm2 no row', 'm2 tried', 'm3 no event', 'm3 twice', 'm4 leg', 'm5 open', 'm6 pruned', 'm6 pruned right', 'm7 right cancelled']) id});
($origin, $incarnation) = split /\|/, $node->safe_psql('here', 'SELECT store, incarnation FROM pointstore.movement_store');
is($node->safe_psql('there', 'SELECT role, origin FROM pointstore.participant_origin'), "mover|$origin", 'it was asked');
ask([ 'm1 right', 'm1 under way' ], 'try', 'confirm');
are_known_as('confirmed', 1, 'm1 right');
ask([ 'm7 right cancelled' ], 'try', 'cancel');
are_known_as('cancelled', 1, 'm7 right cancelled');
is(compared(q{'there'}), '', 'nothing, where both agree, or it is under way');

ask([ 'm2 tried', 'm5 open' ], 'try');
ask([ 'm3 no event', 'm3 twice', 'm4 leg', 'm6 pruned right', 'm8 unknown' ], 'try', 'confirm');
ask([ 'm6 pruned' ], 'try', 'cancel');
ask([ 'm9 unknown' ], 'cancel');
are_known_as('confirmed', 1, 'm2 tried', 'm3 no event', 'm3 twice', 'm6 pruned', 'm6 pruned right');
are_known_as('confirmed', 0, 'm2 no row');
are_known_as('cancelled', 1, 'm4 leg');
are_known_as('cancelled', 0, 'm5 open');
$node->safe_psql('there', q{SET session_replication_role = replica;
	DELETE FROM pointstore.event_store WHERE id = (SELECT end_event_id FROM pointstore.participant_step WHERE movement_id = 'm3 no event');
	UPDATE pointstore.event_store SET amount = 20 WHERE id = (SELECT end_event_id FROM pointstore.participant_step WHERE movement_id = 'm3 twice')});
$node->safe_psql('here', q{DELETE FROM pointstore.movement_step WHERE movement_id ~ 'pruned'});
my $wrong = <<'END';
there|m2 no row|2|movement_lost|confirmed|
there|m2 tried|2|movement_lost|confirmed|tried
there|m3 no event|2|movement_lost|confirmed|confirmed
there|m3 twice|2|movement_doubled|confirmed|confirmed
there|m4 leg|2|movement_one_legged|cancelled|confirmed
there|m5 open|2|movement_open|cancelled|tried
there|m6 pruned|2|movement_lost|confirmed|cancelled
there|m8 unknown|2|movement_unknown||confirmed
END
chomp $wrong;
is(compared(q{'there'}, extra_params => [ '-U', 'manager' ]), $wrong, 'each disagreement, by an operator');
my $open = 'SELECT aggregate_id, code, severity, expected, found FROM pointstore.finding WHERE resolved_at IS NULL ORDER BY 1';
is($node->safe_psql('here', $open), <<'END' =~ s/\n\z//r, 'and they are findings');
m2 no row|movement_lost|error|10|0
m2 tried|movement_lost|error|10|0
m3 no event|movement_lost|error|10|0
m3 twice|movement_doubled|error|10|20
m4 leg|movement_one_legged|error|0|10
m5 open|movement_open|warning|0|0
m6 pruned|movement_lost|error|10|0
m8 unknown|movement_unknown|error||10
END
is($node->safe_psql('here', q{SELECT detail #>> '{there,2,there}', detail #>> '{there,2,applied}' FROM pointstore.finding WHERE aggregate_id = 'm3 twice'}), 'confirmed|20', 'with what is said of the step');
is($node->safe_psql('here', 'SELECT open_error, open_warning FROM pointstore.reconciliation_status'), '7|1', 'which the status counts');
my $seen = $node->safe_psql('here', 'SELECT max(id), max(last_seen_at) FROM pointstore.finding');
is(compared(q{'there'}), $wrong, 'once more the same');
is($node->safe_psql('here', "SELECT max(id) = split_part('$seen', '|', 1)::bigint, min(last_seen_at) > split_part('$seen', '|', 2)::timestamptz FROM pointstore.finding"), 't|t', 'seen again');

# runs of the reconciler leave them alone, and nothing repairs them
$node->safe_psql('here', q{CALL pointstore.reconcile('full'); CALL pointstore.reconcile()});
is($node->safe_psql('here', 'SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL'), 8, 'a run closes none of them');
is(sqlstate($node, 'here', q{SELECT pointstore.repair(id) FROM pointstore.finding WHERE aggregate_id = 'm4 leg'}, extra_params => [ '-U', 'manager' ]), 'PS011', 'none is repaired');

# what is set right is closed, what is acknowledged is not told again unless it changes
$node->safe_psql('here', q{SELECT pointstore.acknowledge(id, 'we know') FROM pointstore.finding WHERE code <> 'movement_open'}, extra_params => [ '-U', 'manager' ]);
$node->safe_psql('there', "SELECT pointstore.resolve_step('$origin', 'm5 open', 2, 'cancel', 'left behind')", extra_params => [ '-U', 'manager' ]);
is(compared(q{'there'}), '', 'nothing is left to say');
is($node->safe_psql('here', q{SELECT string_agg(DISTINCT resolved_by || ' ' || action || ' ' || (detail ? 'reason'), ',') FROM pointstore.finding}), 'manager acknowledged true,reconcile_movements reported false', 'who has closed them');
$node->safe_psql('there', q{SET session_replication_role = replica; UPDATE pointstore.event_store SET amount = 30 WHERE amount = 20});
is(compared(q{'there'}), 'there|m3 twice|2|movement_doubled|confirmed|confirmed', 'it has changed');
$node->safe_psql('there', q{SET session_replication_role = replica; UPDATE pointstore.event_store SET amount = 10 WHERE amount = 30});
is(compared(q{'there'}), '', 'and was set right');
is($node->safe_psql('here', 'SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL'), 0, 'that closes it');

# this store's own steps; and all
$node->safe_psql('here', q{DELETE FROM pointstore.participant_step WHERE movement_id ~ 'pruned';
	UPDATE pointstore.movement_step SET status = 'confirmed' WHERE movement_id = 'm1 right' AND step = 1;
	UPDATE pointstore.movement_step SET status = 'cancelled' WHERE movement_id = 'm5 open' AND step = 1});
is(compared('NULL'), "away|||unverified||\n|m1 right|1|movement_lost|confirmed|tried\n|m5 open|1|movement_open|cancelled|tried", 'all: its own too, and one that does not answer');
is($node->safe_psql('here', q{SELECT detail #>> '{"",1,there}' FROM pointstore.finding WHERE resolved_at IS NULL AND code = 'movement_lost'}), 'tried', 'its own have no server');
$node->safe_psql('here', q{UPDATE pointstore.movement_step SET status = 'tried' WHERE step = 1});
is(compared('NULL'), 'away|||unverified||', 'closed');
is($node->safe_psql('here', 'SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL'), 0, 'closed');

# a server that leads to this store itself is not compared with it
$node->safe_psql('here', qq{CREATE SERVER self FOREIGN DATA WRAPPER pointstore OPTIONS ($where, dbname 'here');
	CREATE USER MAPPING FOR keeper SERVER self OPTIONS (user 'mover', password_required 'false'); GRANT USAGE ON FOREIGN SERVER self TO keeper});
is(compared('NULL'), "away|||unverified||\nself|||unverified||", 'a server that is this store');
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('self')}), '55000', '... by itself');
is($node->safe_psql('here', 'SELECT count(*) FROM pointstore.finding WHERE resolved_at IS NULL'), 0, '... is no finding');
$node->safe_psql('here', 'DROP SERVER self CASCADE');

# many pages
$node->safe_psql('here', q{INSERT INTO pointstore.movement (movement_id, protocol, phase, started_at, finished_at, by_role, incarnation, balanced)
	SELECT 'p' || n, 'tcc', 'confirmed', now(), now(), 'x', 1, true FROM generate_series(1, 3000) n});
$node->safe_psql('there', "INSERT INTO pointstore.participant_step (origin, movement_id, step, incarnation, number, protocol, aggregate_id, amount, status, event_id, tried_at)
	SELECT '$origin', 'p' || n, 2, 1, n, 'tcc', 'a1', 1000, CASE n % 1000 WHEN 0 THEN 'cancelled' ELSE 'confirmed' END, 1, now() FROM generate_series(1, 3002) n");
is(compared(q{'there'}) =~ s/\|2\|/|/gr, "there|p1000|movement_lost|confirmed|cancelled\nthere|p2000|movement_lost|confirmed|cancelled\nthere|p3000|movement_lost|confirmed|cancelled\n" .
	"there|p3001|movement_unknown||confirmed\nthere|p3002|movement_unknown||confirmed", 'page after page');

# a server that was compared is not reopened any more; another store under its name is not compared
$node->safe_psql('here', qq{INSERT INTO pointstore.movement_server (server, store, reopened_at) VALUES ('there', '@{[ $node->safe_psql('there', 'SELECT store FROM pointstore.movement_store') ]}', now())
	ON CONFLICT (server) DO UPDATE SET store = EXCLUDED.store, reopened_at = EXCLUDED.reopened_at});
compared(q{'there'});
is($node->safe_psql('here', 'SELECT reopened_at IS NULL FROM pointstore.movement_server'), 't', 'not reopened any more');
$node->safe_psql('here', q{ALTER SERVER there OPTIONS (SET dbname 'other')});
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('there')}), '55000', 'another store');
is(compared('NULL') =~ s/\n.*//sr, 'away|||unverified||', 'all others are compared all the same');
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('away')}), '08001', 'one that does not answer');
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('none')}), '42704', 'none');
is(sqlstate($node, 'here', q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pointstore.reconcile_movements('there')}), '25001', 'not in one old snapshot');
is(sqlstate($node, 'here', q{SET default_transaction_read_only = on; SELECT pointstore.reconcile_movements('there')}), '25006', 'nor where nothing is recorded');
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('there')}, extra_params => [ '-U', 'clerk' ]), '42501', 'nor by a writer');

# the store's owner is no superuser: he is let in by a password alone, which stands in the mapping and is asked for
$node->safe_psql('here', q{ALTER USER MAPPING FOR keeper SERVER there OPTIONS (DROP password_required)});
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('there')}), '2F003', 'there is no password');
$node->safe_psql('here', q{ALTER USER MAPPING FOR keeper SERVER there OPTIONS (ADD password 'seCret-1')});
is(sqlstate($node, 'here', q{SELECT pointstore.reconcile_movements('there')}), '08001', 'nobody asks for it');
unlike(slurp_file($node->logfile), qr/seCret-1/, 'nor is it in the log');

$node->stop;
done_testing();
