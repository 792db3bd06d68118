# Movements between three clusters: every protocol, to its end and back; what is refused, and by whom; a participant that is
# away, of another unit, full, without prepared transactions; deadlines, cancellations, an operator's word; roles,
# passwords; and who repeats what, where.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use MovementTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $net = new_stores([ 'a', 'b', 'c' ]);
my ($a, $b, $c) = map { $net->{$_} } 'a', 'b', 'c';
my %ended = (tcc => [ 'confirmed', 'cancelled' ], saga => [ 'done', 'undone' ], '2pc' => [ 'confirmed', 'cancelled' ]);
my $total = total($net);

sub ask
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub start
{
	return ask($a, 'SELECT phase FROM ' . movement(@_));
}

sub ends
{
	my ($id, $phase, $name) = @_;
	is(ask($a, "SELECT phase FROM pointstore.wait_for_movement('$id', '60 s')"), $phase, $name // "$id: $phase");
	return;
}

sub balances
{
	my (@accounts) = @_;
	return join ' ', map { ask($net->{ substr $_, 0, 1 }, "SELECT balance || CASE WHEN held <> 0 THEN ' held ' || held ELSE '' END FROM pointstore.balance WHERE aggregate_id = '$_'") } @accounts;
}

# to its end, and refused by the second, the third, and the first away
foreach my $protocol (sort keys %ended)
{
	my ($through, $back) = @{ $ended{$protocol} };
	start("$protocol-two", $protocol, '1 min', [ 'a-1', -10 ], [ 'b-1', 10, 'b' ]);
	ends("$protocol-two", $through);
	start("$protocol-three", $protocol, '1 min', [ 'b-2', -30, 'b' ], [ 'a-2', 10 ], [ 'c-2', 20, 'c' ]);
	ends("$protocol-three", $through);
	start("$protocol-away", $protocol, '1 min', [ 'c-1', -5, 'c' ], [ 'b-1', 5, 'b' ]);
	ends("$protocol-away", $through);
	is(start("$protocol-two", $protocol, '1 min', [ 'a-1', -10 ], [ 'b-1', 10, 'b' ]), $through, "$protocol: a repeat is answered");
	is(sqlstate($a, 'postgres', 'SELECT ' . movement("$protocol-two", $protocol, '1 min', [ 'a-1', -11 ], [ 'b-1', 11, 'b' ])), 'PS002', "$protocol: another body is not");
	is(sqlstate($b, 'postgres', 'SELECT ' . movement("$protocol-two", $protocol, '1 min', [ 'b-1', -10 ], [ 'c-1', 10, 'c' ])), 'PS002', "$protocol: nor is it, where it takes part");

	start("$protocol-short", $protocol, '1 min', [ 'a-3', 7 ], [ 'b-3', 3, 'b' ], [ 'c-poor', -10, 'c' ]);
	ends("$protocol-short", $back);
	start("$protocol-frozen", $protocol, '1 min', [ 'a-3', -7 ], [ 'b-frozen', 7, 'b' ]);
	ends("$protocol-frozen", $back);
	start("$protocol-missing", $protocol, '1 min', [ 'b-3', -7, 'b' ], [ 'c-none', 7, 'c', { kind => '"no such kind"' } ]);
	ends("$protocol-missing", $back);
	is(sqlstate($a, 'postgres', 'SELECT ' . movement("$protocol-here", $protocol, '1 min', [ 'a-poor', -7 ], [ 'b-3', 7, 'b' ])), 'PS003', "$protocol: refused here, and at once");
	is(ask($a, "SELECT count(*) FROM pointstore.movement WHERE movement_id = '$protocol-here'"), 0, '... and nothing is left of it');
	isnt(ask($a, "SELECT coalesce(error, '') FROM pointstore.wait_for_movement('$protocol-short')"), '', "$protocol: it says why it went back");
	is(ask($a, "SELECT count(*) FROM pointstore.movement_step WHERE movement_id = '$protocol-short' AND step = 3 AND error IS NOT NULL"), 1, '... and which step');
	sound($net, $total, $protocol);
}
is(balances('a-1', 'a-2', 'b-1', 'b-2', 'c-1', 'c-2', 'a-3', 'b-3', 'c-poor'), '970 1030 1045 910 985 1060 1000 1000 0', 'what has moved');
is(sqlstate($a, 'postgres', q{BEGIN; SELECT pointstore.move('a-1', 'b-1', 1, 'own', 'b'); SELECT pointstore.wait_for_movement('own')}), '25001', 'nobody waits for his own transaction');
is(ask($a, q{SELECT phase FROM pointstore.move('a-1', 'a-2', 1, 'local')}), 'confirmed', 'within a store it is a transfer');
is(sqlstate($a, 'postgres', q{SELECT pointstore.move('a-1', 'b-1', 1, 'nowhere', 'no such server')}) =~ /^(42704|22023)$/, 1, 'a server that is none');
is(sqlstate($a, 'postgres', q{SELECT pointstore.start_movement('more', '[{"aggregate_id": "a-1", "amount": -2, "event_type": "Moved"}, {"aggregate_id": "b-1", "amount": 1, "event_type": "Moved", "server": "b"}]')}),
	'22023', 'amounts sum to zero');

# away: tried later, cancelled at the deadline, and cancelled by hand; told where it comes back
$c->stop;
foreach my $protocol (sort keys %ended)
{
	my $back = $ended{$protocol}[1];
	is(start("$protocol-waits", $protocol, '10 min', [ 'a-4', -1 ], [ 'c-4', 1, 'c' ]), $protocol eq 'saga' ? 'doing' : 'trying', "$protocol: one is away");
	start("$protocol-late", $protocol, '200 ms', [ 'b-4', -2, 'b' ], [ 'a-4', -2 ], [ 'c-4', 4, 'c' ]);
	start("$protocol-called-off", $protocol, '10 min', [ 'a-4', -3 ], [ 'c-4', 3, 'c' ]);
	is(ask($a, "SELECT settled FROM pointstore.wait_for_movement('$protocol-waits', '10 ms')"), 'f', '... so that it is not settled');
	is(ask($a, "SELECT phase FROM pointstore.cancel_movement('$protocol-called-off', 'changed my mind')"), $protocol eq 'saga' ? 'undoing' : 'cancelling', '... nor is what is called off');
	ok(poll_until($a, 'postgres', "SELECT phase IN ('cancelling', 'undoing') FROM pointstore.movement WHERE movement_id = '$protocol-late'"), '... and what is late goes back');
	is(ask($a, "SELECT phase FROM pointstore.cancel_movement('$protocol-never', 'before')"), 'cancelled', 'one that has not begun is cancelled');
	is(start("$protocol-never", $protocol, '1 min', [ 'a-4', -9 ], [ 'b-4', 9, 'b' ]), 'cancelled', '... and does not begin');
}
# the others are not held up
start('beside', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
ends('beside', 'confirmed');
is(ask($a, q{SELECT failures > 0 AND error IS NOT NULL FROM pointstore.movement_server WHERE server = 'c'}), 't', 'who is away is named');
$c->start;
sound($net, $total, 'away');
foreach my $protocol (sort keys %ended)
{
	my ($through, $back) = @{ $ended{$protocol} };
	ends("$protocol-waits", $through);
	ends("$protocol-late", $back);
	ends("$protocol-called-off", $back);
	is(sqlstate($a, 'postgres', "SELECT pointstore.cancel_movement('$protocol-waits', 'too late')"), 'PS011', "$protocol: what is decided is not cancelled");
}

# between try and confirm: what was reserved cannot be spent, frozen away, closed or filled up; nothing is locked in tcc
{
	my $held = hold_point($a, 'coordinator-decided');
	inject($a, 'coordinator-decided=wait');
	start('between', 'tcc', '10 min', [ 'b-poor', 0, 'b' ], [ 'a-1', -900 ], [ 'b-1', 900, 'b' ]);
	ok(is_waiting($a), 'the coordinator is about to decide');
	is(sqlstate($a, 'postgres', q{SELECT pointstore.append_event('a-1', 'Spent', -100)}), 'PS003', 'what is reserved is not there to be spent');
	is(sqlstate($b, 'postgres', q{SELECT pointstore.close_account('b-1')}), 'PS011', 'where something is due is not closed');
	ask($b, q{SELECT pointstore.freeze_account('b-1', 'test')});
	ask($a, q{SELECT pointstore.freeze_account('a-1', 'test')});
	is(ask($a, q{SELECT balance, held, incoming FROM pointstore.balance WHERE aggregate_id = 'a-1'}), '969|900|0', 'the debit');
	is(ask($b, q{SELECT balance, held, incoming FROM pointstore.balance WHERE aggregate_id = 'b-1'}), '1045|0|900', 'the credit');
	inject($a, '');
	$held->quit;
	ends('between', 'confirmed', 'a freeze is no way out');
	ask($b, q{SELECT pointstore.unfreeze_account('b-1', 'test')});
	ask($a, q{SELECT pointstore.unfreeze_account('a-1', 'test')});
	sound($net, $total, 'between');
}

# what a participant cannot take: another unit, a pure account, no room under the ceiling
ask($c, q{INSERT INTO pointstore.account_kind (kind, unit) VALUES ('seats', 'seat'); INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
	INSERT INTO pointstore.account_kind (kind, max_balance) VALUES ('small', 10);
	SELECT pointstore.open_account('c-seats', 'seats'), pointstore.open_account('c-ledger', 'ledger'), pointstore.open_account('c-small', 'small')});
foreach my $protocol (sort keys %ended)
{
	foreach my $account ('c-seats', 'c-ledger', 'c-small')
	{
		start("$protocol-$account", $protocol, '1 min', [ 'a-5', -11 ], [ $account, 11, 'c' ]);
		ends("$protocol-$account", $ended{$protocol}[1]);
	}
}
sound($net, $total, 'not taken');

# a user's own constraint: at the try it is a refusal; where it may not refuse any more, and a full disk, is another matter
ask($b, q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = TG_ARGV[0]; END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type IN ('MovementTried', 'Moved') AND NEW.aggregate_id = 'b-5') EXECUTE FUNCTION refuse('23514')});
foreach my $protocol ('saga', 'tcc')
{
	start("$protocol-refused", $protocol, '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
	ends("$protocol-refused", $ended{$protocol}[1]);
}
ask($b, q{DROP TRIGGER refuse ON pointstore.event_store;
	CREATE TRIGGER refuse BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type = 'MovementConfirmed' AND NEW.aggregate_id = 'b-5') EXECUTE FUNCTION refuse('53100')});
start('full', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
ok(poll_until($a, 'postgres', q{SELECT phase = 'confirming' AND attempts > 1 FROM pointstore.movement JOIN pointstore.movement_step USING (movement_id) WHERE movement_id = 'full' AND step = 2}), 'a disk is full: tried again');
start('beside-full', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-4', 1, 'b' ]);
ends('beside-full', 'confirmed', '... and others are not held up');
ask($b, q{DROP TRIGGER refuse ON pointstore.event_store});
ends('full', 'confirmed', '... until it has room');
ask($b, q{CREATE TRIGGER refuse BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type = 'MovementConfirmed' AND NEW.aggregate_id = 'b-5') EXECUTE FUNCTION refuse('23514')});
start('stuck', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
ends('stuck', 'stuck', 'refused where it must not be: stuck');
isnt(ask($a, q{SELECT coalesce(error, '') FROM pointstore.wait_for_movement('stuck')}), '', '... with the reason');
is(sqlstate($a, 'postgres', q{SELECT pointstore.resolve_movement('stuck', 'cancel', 'test')}), 'PS011', 'it is decided: an operator does not cancel it');
ask($b, q{DROP TRIGGER refuse ON pointstore.event_store});
ask($a, q{SELECT pointstore.resolve_movement('stuck', 'confirm', 'the trigger is gone')});
ends('stuck', 'confirmed', '... but has it confirmed');
sound($net, $total, 'triggers');

# an operator at the participant, against the decision
{
	my $held = hold_point($a, 'coordinator-decided');
	inject($a, 'coordinator-decided=wait');
	start('torn', 'tcc', '10 min', [ 'a-5', -50 ], [ 'b-5', 50, 'b' ]);
	ok(is_waiting($a), 'the coordinator is about to decide');
	ask($b, q{SELECT pointstore.resolve_step(origin, movement_id, step, 'cancel', 'test') FROM pointstore.participant_step WHERE movement_id = 'torn'});
	inject($a, '');
	$held->quit;
	ends('torn', 'stuck', 'confirm meets a step that an operator has cancelled');
	is(ask($b, q{SELECT ended_by IS NOT NULL FROM pointstore.participant_step WHERE movement_id = 'torn'}), 't', '... who is known');
	is(total($net), $total - 50, '... of what it has cost');
	ask($b, q{SELECT pointstore.append_event('b-5', 'Corrected', 50)});
	ask($a, q{SELECT pointstore.resolve_movement('torn', 'accept', 'corrected by hand')});
	ends('torn', 'accepted');
	is(ask($a, q{SELECT code, resolved_by IS NOT NULL FROM pointstore.finding WHERE aggregate_id = 'torn'}), 'movement_accepted|t', '... which is a finding');
	sound($net, $total, 'operator', stuck => ['torn']);
}

# two-phase commit where transactions cannot be prepared
$c->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
$c->restart;
start('unprepared', '2pc', '1 min', [ 'a-5', -1 ], [ 'c-5', 1, 'c' ]);
ends('unprepared', 'cancelled', 'where nothing can be prepared it goes back');
like(ask($a, q{SELECT error FROM pointstore.wait_for_movement('unprepared')}), qr/55000/, '... and says why');
$c->append_conf('postgresql.conf', 'max_prepared_transactions = 60');
$c->restart;
start('prepared', '2pc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
ends('prepared', 'confirmed');
sound($net, $total, 'unprepared', stuck => ['torn']);

# what the other store's encoding does not have is said to no one: nobody else waits for it, and an operator ends it
ask($b, q{CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
$b->safe_psql('latin', q{CREATE EXTENSION pointstore; SELECT pointstore.create_store(), pointstore.grant_access('of_a', 'participant')});
ask($a, sprintf q{CREATE SERVER latin FOREIGN DATA WRAPPER pointstore OPTIONS (host '%s', port '%s', dbname 'latin'); CREATE USER MAPPING FOR CURRENT_USER SERVER latin OPTIONS (user 'of_a')}, $b->host, $b->port);
foreach my $protocol (sort keys %ended)
{
	my $amount = $protocol eq 'saga' ? 0 : 1;
	start("\xed\x95\x9c-$protocol", $protocol, '1 min', [ 'a-5', -$amount ], [ 'l-5', $amount, 'latin' ]);
	ends("\xed\x95\x9c-$protocol", 'stuck', "what cannot be said: $protocol");
	start("beside-$protocol", 'tcc', '1 min', [ 'a-4', 0 ], [ 'l-4', 0, 'latin' ]);
	ends("beside-$protocol", 'confirmed', '... and another beside it');
}
is(ask($a, q{SELECT count(*) FROM pointstore.movement_step WHERE status = 'failed' AND error ~ '^22' AND server = 'latin'}), 3, '... which its step says');
ask($a, "SELECT pointstore.resolve_movement(movement_id, 'accept', 'test') FROM pointstore.movement WHERE phase = 'stuck'");
ok(poll_until($a, 'postgres', q{SELECT held = 0 FROM pointstore.balance WHERE aggregate_id = 'a-5'}), '... nothing is reserved for it any more');

# ids too long for the name of a prepared transaction, and one that looks like what stands for it there
my $long = 'long-' . 'x' x 200;
my $alike = ask($a, "SELECT '#' || encode(sha256('$long'), 'hex')");
ask($a, 'BEGIN; SELECT ' . movement($long, '2pc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]) . '; SELECT ' . movement($alike, '2pc', '1 min', [ 'a-5', -2 ], [ 'b-4', 2, 'b' ]) . '; COMMIT');
ends($long, 'confirmed', 'a long id');
ends($alike, 'confirmed', 'one like its digest');
sound($net, $total, 'ids', stuck => ['torn']);

# left behind in a prepared transaction: what is of a movement that has finished is rolled back when its store comes back, what only looks like it is not
{
	my $neither = ask($a, q{SELECT '#' || encode(sha256('neither'), 'hex')});
	start($neither, '2pc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
	ends($neither, 'confirmed', 'one like the digest of none');
	my ($store, $incarnation) = split /\|/, ask($a, q{SELECT s.store, m.incarnation FROM pointstore.movement_store s, pointstore.movement m WHERE m.movement_id = 'prepared'});
	# $alike stands for the long id there
	my @left = map { "pointstore:$store:$incarnation:$_" } 'prepared:9', "$alike:9";
	my @strange = map { "pointstore:$store:$incarnation$_" } ':prepared', ';prepared:9', ":$neither:9";
	my $among = sub { return sprintf 'SELECT count(*) FROM pg_prepared_xacts WHERE gid IN (%s)', join ', ', map { "'$_'" } @_ };
	$b->safe_psql('postgres', "BEGIN; PREPARE TRANSACTION '$_'", extra_params => [ '-U', 'of_a' ]) foreach @left, @strange;
	my $from = -s $a->logfile;
	$a->restart;
	# the first lists them, the second brings what is to be rolled back
	foreach my $n (1, 2)
	{
		start("back-$n", 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
		ends("back-$n", 'confirmed');
	}
	ok(poll_until($b, 'postgres', 'SELECT (' . $among->(@left) . ') = 0'), 'what was left behind is rolled back');
	start('back-3', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
	ends('back-3', 'confirmed');
	is(ask($b, $among->(@strange)), 3, '... what is strange is not touched');
	is(join(' ', slurp_file($a->logfile, $from) =~ /prepared transaction of a movement that this store does not have: (\S+)/g), $strange[2], '... and what is of no movement is told of');
	$b->safe_psql('postgres', "ROLLBACK PREPARED '$_'") foreach @strange;
	sound($net, $total, 'left behind', stuck => ['torn']);
}

# by several connections at once
ask($a, "ALTER SYSTEM SET pointstore.movement_connections = 4");
ask($a, "ALTER SYSTEM SET pointstore.movement_batch = 3; SELECT pg_reload_conf()");
ask($a, join ";\n", map { 'SELECT ' . movement("wide-$_", (sort keys %ended)[$_ % 3], '1 min', [ 'a-' . (1 + $_ % 5), -1 ], [ 'b-' . (1 + $_ % 5), 1, 'b' ]) } 1 .. 60);
sound($net, $total, 'several connections', stuck => ['torn']);
is(ask($a, q{SELECT count(*) FROM pointstore.movement WHERE movement_id ~ '^wide' AND phase IN ('confirmed', 'done')}), 60, '... all went through');
cmp_ok(ask($b, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'of_a' AND datname = 'postgres'}), '>', 1, '... by more than one');
ask($a, "ALTER SYSTEM RESET pointstore.movement_connections");
ask($a, "ALTER SYSTEM RESET pointstore.movement_batch; SELECT pg_reload_conf()");

# roles: who may start, by which servers; what a participant's role may do
ask($a, q{CREATE ROLE clerk LOGIN; SELECT pointstore.grant_access('clerk', 'writer')});
is(sqlstate($a, 'postgres', q{SET ROLE clerk; SELECT pointstore.move('a-5', 'b-5', 1, 'clerk-1', 'b')}), '42501', 'who may not use the server');
ask($a, q{GRANT USAGE ON FOREIGN SERVER b TO clerk});
ask($a, q{SET ROLE clerk; SELECT pointstore.move('a-5', 'b-5', 1, 'clerk-1', 'b')});
ends('clerk-1', 'confirmed', 'who may');
is(sqlstate($a, 'postgres', q{SET ROLE clerk; SELECT pointstore.move('a-5', 'b-5', 1, 'clerk-2', 'b', 'saga')}), '42501', 'a saga is an operator\'s');
foreach my $call (q{append_event('b-5', 'Earned', 1)}, q{get_balance('b-5')}, q{move('b-5', 'a-5', 1, 'x', 'a')}, q{resolve_step(gen_random_uuid(), 'x', 1, 'cancel', 'x')})
{
	is(sqlstate($b, 'postgres', "SET ROLE of_a; SELECT pointstore.$call"), '42501', "not for a participant: $call");
}
is(sqlstate($b, 'postgres', q{SET ROLE of_a; SELECT * FROM pointstore.event_store}), '42501', '... nor the tables');
my $hello = q{SELECT pointstore.participate(jsonb_build_object('version', %s, 'origin', '%s'::uuid, 'name', 'x', 'incarnation', %s, 'finished_below', '[1, 0]'::jsonb, 'messages', '[]'::jsonb))};
my $origin = ask($a, 'SELECT store FROM pointstore.movement_store');
is(sqlstate($b, 'postgres', 'SET ROLE of_c; ' . sprintf $hello, 1, $origin, 1), '42501', 'an origin has one role');
is(sqlstate($b, 'postgres', 'SET ROLE of_a; ' . sprintf $hello, 1, ask($c, 'SELECT store FROM pointstore.movement_store'), 1), '42501', '... and a role one origin');
is(sqlstate($b, 'postgres', 'SET ROLE of_a; ' . sprintf $hello, 99, $origin, 1), '0A000', 'another version is not spoken');
is(sqlstate($b, 'postgres', 'SET ROLE of_a; ' . sprintf $hello, 1, $origin, 0), '55000', 'an earlier incarnation is fenced');
ask($a, q{ALTER USER MAPPING FOR CURRENT_USER SERVER b OPTIONS (ADD password 'seCret-1')});
start('by-password', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
ends('by-password', 'confirmed', 'with a password');
unlike(slurp_file($_->logfile), qr/seCret-1/, $_->name . ': no password in the log') foreach $a, $b, $c;
sound($net, $total, 'roles', stuck => ['torn']);

is(all_faults($net, stuck => ['torn']), '', 'the stores are sound');
is(ask($a, 'SELECT count(*) FROM pointstore.in_transit'), 0, 'nothing is on its way');
is(ask($a, q{SELECT string_agg(movement_id, ' ') FROM pointstore.reconcile_movements() WHERE movement_id <> 'torn'}), '', 'both sides of each agree');
is(ask($a, q{SELECT count(*) > 3 FROM pointstore.trace('tcc-three')}), 't', 'trace() tells of one');
is(ask($a, q{SELECT count(DISTINCT status) >= 3 FROM pointstore.movement_log WHERE movement_id = 'tcc-three'}), 't', '... and so does the log');
$_->stop foreach values %$net;

# without preloading it is driven by hand
$a->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$_->start foreach values %$net;
start('by-hand', 'tcc', '1 min', [ 'a-5', -1 ], [ 'b-5', 1, 'b' ]);
ask($a, 'CALL pointstore.drive_movements()');
ok(poll_until($a, 'postgres', q{CALL pointstore.drive_movements(); SELECT phase = 'confirmed' FROM pointstore.wait_for_movement('by-hand', '0 s')}), 'driven by hand');
sound($net, $total, 'by hand', stuck => ['torn']);
$_->stop foreach values %$net;
done_testing();
