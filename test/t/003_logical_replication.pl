# Logical replication of the store's tables into a second store: rows arrive as
# they are, no trigger fires, and the subscriber takes over once its sequences
# are set.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $publisher = new_cluster('publisher', allows_streaming => 'logical');
$publisher->start;
my $subscriber = new_cluster('subscriber', allows_streaming => 'logical');
$subscriber->start;
create_store($_, 'postgres') foreach $publisher, $subscriber;

# on the subscriber a trigger of the user's that would show, and no kind that would collide
$subscriber->safe_psql('postgres', <<'END');
DELETE FROM pointstore.account_kind;
DELETE FROM pointstore.movement_store;
CREATE TABLE fired (aggregate_id text);
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.fired VALUES (NEW.aggregate_id);
    RETURN NULL;
END $$;
CREATE TRIGGER fired AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION fired();
END

my @tables = map { "pointstore.$_" } qw(account_kind balance pure_account event_store account_log
  movement movement_step movement_log movement_store participant_step participant_origin);
$publisher->safe_psql('postgres', <<'END');
CREATE ROLE mover;
SELECT pointstore.grant_access('mover', 'participant');
CREATE SERVER away FOREIGN DATA WRAPPER pointstore OPTIONS (host '/nowhere');
CREATE USER MAPPING FOR CURRENT_USER SERVER away OPTIONS (user 'mover');
END
$publisher->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('ledger', 'pure', -100);
SELECT count(pointstore.append_event('h' || n % 7, 'Earned', n, request_id => 'r' || n)) FROM generate_series(1, 50) n;
SELECT count(pointstore.append_event('p' || n % 3, 'Earned', n, kind => 'ledger')) FROM generate_series(1, 20) n;
END
$publisher->safe_psql('postgres', 'CREATE PUBLICATION store FOR TABLE ' . join(', ', @tables));
my $connstr = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION store CONNECTION '$connstr' PUBLICATION store");
$subscriber->wait_for_subscription_sync($publisher, 'store');

# every way of writing, after the first copy
$publisher->safe_psql('postgres', <<'END');
SELECT pointstore.append_event('h1', 'Spent', -5);
SELECT pointstore.append_event('p1', 'Spent', -5);
SELECT count(*) FROM pointstore.append_events('[{"aggregate_id": "h1", "event_type": "Sent", "amount": -3},
    {"aggregate_id": "new", "event_type": "Received", "amount": 3}]', 'batch', true);
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('h2', 'Earned', 9), ('h2', 'Earned', 10);
BEGIN;
UPDATE pointstore.balance SET balance = balance + 11, version = version + 1 WHERE aggregate_id = 'h3';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('h3', 'Earned');
COMMIT;
SELECT pointstore.move('h6', 'there', 5, 'under way', 'away', deadline => '1 day'), pointstore.move('h6', 'h2', 4, 'within');
SET ROLE mover;
SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 1, "messages": [
    {"do": "try", "movement_id": "in", "step": 2, "incarnation": 1, "number": 1, "protocol": "tcc", "aggregate_id": "h2", "amount": 40, "event_type": "Earned"}]}');
RESET ROLE;
SELECT pointstore.freeze_account('h4', 'fraud?'), pointstore.open_account('empty'), pointstore.close_account('empty');
SET session_replication_role = replica;
UPDATE pointstore.balance SET balance = 1 WHERE aggregate_id = 'h5';
RESET session_replication_role;
SELECT pointstore.rebuild_balance('h5');
END
$publisher->wait_for_catchup('store');

foreach my $table (@tables)
{
	my $query = "SELECT * FROM $table ORDER BY 1, 2";
	is($subscriber->safe_psql('postgres', $query), $publisher->safe_psql('postgres', $query), "same rows in $table");
}
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM fired'), '0', 'no trigger has fired');
is(faults($subscriber, 'postgres'), '', 'the subscriber is sound');
is($subscriber->safe_psql('postgres', q{SELECT version, balance FROM pointstore.get_balance('h3')}),
	$publisher->safe_psql('postgres', q{SELECT version, balance FROM pointstore.get_balance('h3')}), 'the subscriber reads');

# taking over: the sequences are not replicated
$publisher->stop;
$subscriber->safe_psql('postgres', <<'END');
ALTER SUBSCRIPTION store DISABLE;
ALTER SUBSCRIPTION store SET (slot_name = NONE);
DROP SUBSCRIPTION store;
END
is(sqlstate($subscriber, 'postgres', q{SELECT pointstore.append_event('h1', 'Earned', 1)}), '55000',
	'ids that are taken are not drawn again unnoticed');
is(faults($subscriber, 'postgres'), '', 'that has left nothing behind');
$subscriber->safe_psql('postgres', <<'END');
SELECT setval('pointstore.event_store_id_seq', (SELECT max(id) FROM pointstore.event_store)),
       setval(pg_get_serial_sequence('pointstore.account_log', 'id'), (SELECT max(id) FROM pointstore.account_log)),
       setval(pg_get_serial_sequence('pointstore.movement', 'number'), (SELECT max(number) FROM pointstore.movement)),
       setval(pg_get_serial_sequence('pointstore.movement_log', 'id'), (SELECT max(id) FROM pointstore.movement_log));
END
$subscriber->safe_psql('postgres', q{CREATE ROLE mover; SELECT pointstore.grant_access('mover', 'participant')});
is($subscriber->safe_psql('postgres', q{SELECT phase FROM pointstore.cancel_movement('under way'); SELECT phase FROM pointstore.move('h6', 'h2', 4, 'within');
	SELECT phase FROM pointstore.move('h6', 'h2', 1, 'another'); SELECT incarnation > 1 FROM pointstore.movement_store;
	SET ROLE mover; SELECT pointstore.participate('{"version": 1, "origin": "11111111-1111-1111-1111-111111111111", "incarnation": 2, "messages": [
	{"do": "confirm", "movement_id": "in", "step": 2, "incarnation": 1, "number": 1, "protocol": "tcc"}]}') #>> '{answers,0,answer}'}), "trying\nconfirmed\nconfirmed\nt\nconfirmed",
	'movements go on, in a new incarnation, and what others have reserved');
is($subscriber->safe_psql('postgres', q{SELECT outcome, version, balance FROM pointstore.append_event('new', 'Earned', 4)}),
	'appended|2|7', 'the subscriber appends');
is($subscriber->safe_psql('postgres', q{SELECT outcome FROM pointstore.append_event('h1', 'Earned', 1, request_id => 'r1')}),
	'replayed', 'and knows the requests');
is($subscriber->safe_psql('postgres', q{SELECT version FROM pointstore.append_event('p1', 'Earned', 4)}),
	'9', 'pure accounts too');
is($subscriber->safe_psql('postgres', q{SELECT pointstore.unfreeze_account('h4', 'taken over');
	SELECT action FROM pointstore.account_log ORDER BY id DESC LIMIT 1}), "\nunfreeze", 'and writes the log');
is(sqlstate($subscriber, 'postgres', q{DELETE FROM pointstore.event_store}), 'PS006', 'guarded');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM fired'), '5', 'triggers fire again');
is(faults($subscriber, 'postgres'), '', 'the new main store is sound');

$subscriber->stop;
done_testing();
