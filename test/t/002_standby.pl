# A physical standby: it answers reads, refuses every write with 25006, and
# appends as soon as it is promoted.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $primary = new_cluster('primary', allows_streaming => 1);
$primary->start;
create_store($primary, 'postgres');
$primary->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
SELECT pointstore.append_event('a', 'Earned', 5000, request_id => 'r1');
SELECT pointstore.append_event('p', 'Earned', 700, kind => 'ledger');
INSERT INTO pointstore.transition VALUES ('ledger', '', 'Spent', 'spent'), ('ledger', 'spent', 'Earned', '');
END

$primary->safe_psql('postgres', <<'END');
CREATE SERVER away FOREIGN DATA WRAPPER pointstore OPTIONS (host '/nowhere');
CREATE USER MAPPING FOR CURRENT_USER SERVER away OPTIONS (user 'mover');
SELECT pointstore.append_event('w', 'Earned', 100);
SELECT pointstore.move('w', 'there', 10, 'under way', 'away', deadline => '1 day');
END

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', <<'END');
SELECT pointstore.append_event('a', 'Spent', -4000, request_id => 'r2');
SELECT pointstore.append_event('p', 'Spent', -70);
SELECT pointstore.freeze_account('p', 'test');
END
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my $columns = 'aggregate_id, kind, mode, version, balance, held, available, status';
is($standby->safe_psql('postgres', "SELECT $columns FROM pointstore.get_balance('a')"),
	'a|default|hybrid|2|1000|0|1000|open', 'get_balance');
is($standby->safe_psql('postgres', "SELECT $columns FROM pointstore.get_balance('p')"),
	'p|ledger|pure|2|630|0|630|frozen', 'get_balance of a pure account');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pointstore.get_balance('nobody')}), '0', 'no row for nobody');
is($standby->safe_psql('postgres', q{SELECT pointstore.balance_as_of('a', 1), pointstore.balance_as_of('p', 2)}),
	'5000|630', 'balance_as_of');
is($standby->safe_psql('postgres', q{
	SELECT pointstore.balance_at('a', created_at), pointstore.balance_at('a', now() + '1 day'), pointstore.balance_at('a', '1990-01-01')
	  FROM pointstore.event_store WHERE (aggregate_id, version) = ('a', 1)}), '5000|1000|0', 'balance_at');
is($standby->safe_psql('postgres', q{SELECT * FROM pointstore.check_transitions('ledger')}), 'p|1|Earned||{Spent}', 'check_transitions');
is($standby->safe_psql('postgres', q{SELECT phase, settled FROM pointstore.wait_for_movement('under way', '0'); SELECT amount FROM pointstore.in_transit;
	SELECT what, status FROM pointstore.trace('under way') LIMIT 1}), "trying|f\nmovement|trying", 'movements are read');
is(faults($standby, 'postgres'), '', 'the standby is sound');

my @writes = (
	q{SELECT pointstore.append_event('a', 'Earned', 1)},
	q{SELECT pointstore.append_event('a', 'Spent', -4000, request_id => 'r2')},
	q{SELECT pointstore.append_event('new', 'Earned', 1)},
	q{SELECT pointstore.append_event('p', 'Earned', 1)},
	q{SELECT pointstore.try_append_event('a', 'Spent', -9000)},
	q{SELECT pointstore.append_events('[{"aggregate_id": "a", "event_type": "Earned", "amount": 1}]')},
	q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('a', 'Earned', 1)},
	q{UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = 'a'},
	q{SELECT pointstore.open_account('new')},
	q{SELECT pointstore.close_account('a')},
	q{SELECT pointstore.freeze_account('a', 'x')},
	q{SELECT pointstore.unfreeze_account('p', 'x')},
	q{SELECT pointstore.set_kind('a', 'default')},
	q{SELECT pointstore.rebuild_balance('a')},
	q{SELECT pointstore.move('a', 'p', 1, 'm')},
	q{SELECT pointstore.move('a', 'there', 1, 'm', 'away')},
	q{SELECT pointstore.start_movement('m', '[{"aggregate_id": "a", "amount": -1, "event_type": "Spent"}, {"aggregate_id": "x", "server": "away", "amount": 1, "event_type": "Earned"}]', 'saga')},
	q{SELECT pointstore.cancel_movement('under way')},
	q{SELECT pointstore.cancel_movement('none')},
	q{SELECT pointstore.resolve_movement('under way', 'cancel', 'test')},
	q{SELECT pointstore.resolve_step((SELECT store FROM pointstore.movement_store), 'under way', 1, 'cancel', 'test')},
	q{SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": []}')},
	q{SELECT pointstore.reconcile_movements()},
	q{CALL pointstore.drive_movements()},
	q{CALL pointstore.rebuild_balances()});
is(sqlstate($standby, 'postgres', $_), '25006', "refused: $_") foreach @writes;

# the same in a read-only transaction of the primary
is(sqlstate($primary, 'postgres', "SET default_transaction_read_only = on; $_"), '25006', "read only: $_")
  foreach grep { !/^CALL/ } @writes;
is(faults($primary, 'postgres'), '', 'the primary is sound');

my $lease = $primary->safe_psql('postgres', q{SELECT token FROM pointstore.acquire_lease('lease', 'me', '1 day');
	SELECT acquired FROM pointstore.acquire_lease('of session', 'me', NULL)});
$lease =~ s/\n.*//;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(sqlstate($standby, 'postgres', q{SELECT pointstore.acquire_lease('other', 'me')}), '25006', 'refused: a lease');
is(sqlstate($standby, 'postgres', qq{SELECT pointstore.check_lease('lease', $lease)}), '25006', 'refused: checking it');
# of this the standby learns nothing
$standby->stop;
my $later = $primary->safe_psql('postgres', q{SELECT token FROM pointstore.steal_lease('lease', 'you')});
$primary->stop('immediate');
$standby->start;
$standby->promote;
is($standby->safe_psql('postgres', qq{SELECT pointstore.check_lease('lease', $lease); SELECT acquired, token > $later FROM pointstore.steal_lease('lease', 'them')}),
	"\nt|t", 'a token after the failover is above what the standby has not seen');
is($standby->safe_psql('postgres', q{SELECT acquired FROM pointstore.acquire_lease('of session', 'you')}), 't', 'a lease of a session of the old primary has ended');
is($standby->safe_psql('postgres', q{SELECT outcome, version, balance FROM pointstore.append_event('a', 'Spent', -300)}),
	'appended|3|700', 'an append after promotion');
is($standby->safe_psql('postgres', q{SELECT outcome, version FROM pointstore.append_event('a', 'Spent', -4000, request_id => 'r2')}),
	'replayed|2', 'a request of the old primary is remembered');
is(sqlstate($standby, 'postgres', q{SELECT pointstore.append_event('a', 'Spent', -4000)}), 'PS003', 'the floor holds');
is(sqlstate($standby, 'postgres', q{SELECT pointstore.append_event('p', 'Earned', 1)}), 'PS004', 'a freeze holds');
is(sqlstate($standby, 'postgres', q{DELETE FROM pointstore.event_store}), 'PS006', 'guarded');
is($standby->safe_psql('postgres', q{SELECT phase FROM pointstore.cancel_movement('under way'); SELECT incarnation > 1 FROM pointstore.movement_store}), "trying\nt",
	'movements go on, in a new incarnation, which asks all steps before it decides');
is($standby->safe_psql('postgres', q{SELECT count(*) = count(DISTINCT id) AND bool_and(id < (SELECT id FROM pointstore.event_store
	WHERE (aggregate_id, version) = ('a', 3)) OR (aggregate_id, version) = ('a', 3)) FROM pointstore.event_store}),
	't', 'ids go on upwards');
is(faults($standby, 'postgres'), '', 'the new primary is sound');

$standby->stop;
$primary->stop;
done_testing();
