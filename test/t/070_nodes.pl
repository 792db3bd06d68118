# A store on Citus: an empty one and a full one are distributed, and every interface answers through the coordinator and
# through each worker as a plain store does, wherever the account is; nothing crashes by a null account, and a call that
# came to the wrong node has written nothing.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

plan skip_all => 'Citus is not installed' if citus_is_missing();

our $TODO;

# One store that is not distributed says what is right.
my $plain = new_cluster('plain', conf => "listen_addresses = '127.0.0.1'\npointstore.reconcile_interval = 0\npointstore.full_reconcile_interval = 0\npointstore.sweep_interval = 0\n");
$plain->start;
create_store($plain, 'postgres');

my $nodes = new_nodes(2);
my ($c, @workers) = map { $nodes->{$_} } @{ $nodes->{names} };
$c->safe_psql('postgres', "SELECT citus_set_node_property('127.0.0.1', ${\$c->port}, 'shouldhaveshards', true)");

# an empty store
is(state_of($c, 'SELECT pointstore.distribute_store(NULL)'), '22004', 'no number of shards');
is(state_of($c, 'SELECT pointstore.distribute_store(0)'), '22023', 'none');
is(state_of($c, q{SELECT * FROM pointstore.node_of('a')}), '55000', 'no node before');
is(rows_of($c, 'SELECT pointstore.is_distributed()'), 'f', 'a store is not distributed');
is(distribute($nodes, 8), 'distributed', '... until it is');
is(rows_of($_, 'SELECT pointstore.is_distributed()'), 't', '... as ' . $_->name . ' says too') foreach $c, @workers;
is(distribute($nodes, 8), 'exists', '... once');
is(state_of($workers[0], 'SELECT pointstore.distribute_store(8)'), '55000', '... and from the coordinator');

my $map = rows_of($c, 'SELECT min_hash, max_hash, shard, node, host, port FROM pointstore.shard_map ORDER BY 1');
my %group = groups_of($nodes);
is(scalar(split /\n/, $map), 8, 'the map has each shard');
is(rows_of($_, 'SELECT min_hash, max_hash, shard, node, host, port FROM pointstore.shard_map ORDER BY 1'), $map, 'the map of ' . $_->name) foreach @workers;
is(rows_of($c, 'SELECT count(DISTINCT node) FROM pointstore.shard_map'), 3, 'each node has some');
my $agree = q{SELECT count(*) FROM generate_series(1, 500) i, LATERAL pointstore.node_of('acc-' || i || chr(44032 + i)) n
	JOIN pg_dist_node d ON d.groupid = n.node AND d.nodename = n.host AND d.nodeport = n.port
	WHERE n.shard = get_shard_id_for_distribution_column('pointstore.event_store', 'acc-' || i || chr(44032 + i))};
is(rows_of($_, $agree), 500, 'node_of() agrees with Citus on ' . $_->name) foreach $c, @workers;
is(rows_of($c, q{SELECT node FROM pointstore.node_of(NULL)}), '', 'no account is nowhere');

# Accounts of each node, never the same twice.
my (%names, %used);
foreach (split /\n/, rows_of($c, q{SELECT n.node, i FROM generate_series(1, 4000) i, LATERAL pointstore.node_of('acc' || i || 'z') n}))
{
	my ($node, $i) = split /\|/;
	push @{ $names{$node} }, "acc${i}z";
}

sub account_on
{
	my ($name) = @_;
	return $names{ $group{$name} }[ $used{$name}++ ];
}

my $kinds = q{
INSERT INTO pointstore.account_kind (kind, mode, unit, min_balance, max_balance, initial_state) VALUES ('pure', 'pure', 'pt', 0, 1000, NULL),
	('order', 'hybrid', '', NULL, NULL, NULL), ('small', 'hybrid', '', -10, 100, NULL), ('other', 'hybrid', 'seat', 0, NULL, NULL);
INSERT INTO pointstore.account_kind (kind, lease_required) VALUES ('leased', true);
INSERT INTO pointstore.account_kind (kind, commuting) VALUES ('merging', '{Added}');
INSERT INTO pointstore.account_kind (kind, auto_open) VALUES ('closed shop', false);
INSERT INTO pointstore.transition (kind, from_state, event_type, to_state) VALUES
	('order', '', 'Placed', 'placed'), ('order', 'placed', 'Shipped', 'shipped'), ('order', 'placed', 'Cancelled', 'cancelled')};
is(state_of($_, $kinds), '00000', 'kinds') foreach $plain, $c;

# Everything that is asked of accounts {a} {b} {d} {e} {f} {g}; requests and holds begin with {a}. An array: COPY and what it reads.
my $receipt = 'outcome, version, balance, available';
my @appends = (
	"SELECT pointstore.open_account('{a}')",
	"SELECT pointstore.open_account('{a}')",
	"SELECT pointstore.open_account('{a}', 'small')",
	"SELECT pointstore.open_account('{d}', 'no such kind')",
	"SELECT $receipt, aggregate_id = '{a}', id > 0, created_at <= clock_timestamp() FROM pointstore.append_event('{a}', 'Earned', 1000, '{\"a\": [1, null]}', request_id => '{a}1')",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Earned', 1000, '{\"a\": [1, null]}', request_id => '{a}1')",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Earned', 1001, '{\"a\": [1, null]}', request_id => '{a}1')",
	"SELECT $receipt FROM pointstore.append_event(event_type => 'Spent', amount => -10, aggregate_id => '{a}', metadata => '{\"by\": \"me\"}', occurred_at => '2020-01-01 UTC')",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Spent', -10, expected_version => 2)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Spent', -10, expected_version => 2)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Spent', -10, expected_version => 0)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Spent', -100000)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Spent', -10, min_balance => 975)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Earned', 9223372036854775807)",
	"SELECT $receipt FROM pointstore.append_event('{a}', '', 1)",
	"SELECT $receipt FROM pointstore.append_event('{a}', NULL, 1)",
	"SELECT $receipt FROM pointstore.append_event('', 'Earned', 1)",
	"SELECT $receipt FROM pointstore.append_event(repeat('x', 513), 'Earned', 1)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'HoldPlaced', 1)",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Earned', 1, kind => 'small')",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Earned', 1, kind => 'no such kind')",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Earned', 1, kind => 'closed shop')",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Spent', -11, kind => 'small')",
	"SELECT count(*) FROM pointstore.account WHERE aggregate_id = '{b}'",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Spent', -10, kind => 'small')",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Earned', 111)",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Earned', '110')",
	"SELECT $receipt FROM pointstore.try_append_event('{b}', 'Earned', 1)",
	"SELECT $receipt FROM pointstore.try_append_event('{a}', 'Spent', -100000)",
	"SELECT $receipt FROM pointstore.try_append_event('{a}', 'Spent', -1, expected_version => 99)",
	"SELECT $receipt FROM pointstore.try_append_event('{a}', 'Spent', -1, request_id => '{a}1')",
	"SELECT $receipt FROM pointstore.try_append_event('{a}', 'Spent', -1)",
	"SELECT outcome, version, balance FROM pointstore.submit_event('{a}', 'Spent', -1, request_id => '{a}2')",
	"SELECT outcome, version, balance FROM pointstore.submit_event('{a}', 'Spent', -1, request_id => '{a}2')",
	"SELECT outcome, version, balance FROM pointstore.submit_event('{a}', 'Spent', -2, request_id => '{a}2')",
	"SELECT outcome, version, balance FROM pointstore.submit_event('{a}', 'Spent', -100000)",
	"SELECT outcome, version, balance FROM pointstore.try_submit_event('{a}', 'Spent', -100000)",
	"SELECT outcome, version, balance FROM pointstore.try_submit_event('{d}', 'Earned', 5)",
	'BEGIN', "SELECT outcome FROM pointstore.submit_event('{a}', 'Spent', -1)", 'COMMIT',
	"SELECT pointstore.append_event('{merging}', 'Noted', kind => 'merging') IS NOT NULL AND false",
	"SELECT outcome, version FROM pointstore.append_event('{e}', 'Added', 1, kind => 'merging')",
	"SELECT outcome, version FROM pointstore.append_event('{e}', 'Added', 1, expected_version => 0)",
	"SELECT outcome, version FROM pointstore.append_event('{e}', 'Taken', -1, expected_version => 0)",
	"SELECT outcome, version FROM pointstore.append_event('{e}', 'Taken', -1, cause_id => 1)");
@appends = grep { !/\{merging\}/ } @appends;

my @holds = (
	"SELECT outcome, version, balance FROM pointstore.append_event('{a}', 'Earned', 1000)",
	"SELECT $receipt FROM pointstore.hold('{a}', 300, '{a}h1')",
	"SELECT $receipt FROM pointstore.hold('{a}', 300, '{a}h1')",
	"SELECT $receipt FROM pointstore.hold('{a}', 301, '{a}h1')",
	"SELECT $receipt FROM pointstore.hold('{a}', 701, '{a}h2')",
	"SELECT $receipt FROM pointstore.try_hold('{a}', 701, '{a}h2')",
	"SELECT $receipt FROM pointstore.hold('{a}', 0, '{a}h2')",
	"SELECT $receipt FROM pointstore.append_event('{a}', 'Spent', -701)",
	"SELECT $receipt FROM pointstore.confirm_hold('{a}h1', 200, '{a}')",
	"SELECT $receipt FROM pointstore.confirm_hold('{a}h1', 200, '{a}')",
	"SELECT $receipt FROM pointstore.confirm_hold('{a}h1', 201, '{a}')",
	"SELECT $receipt FROM pointstore.cancel_hold('{a}h1', '{a}')",
	"SELECT $receipt FROM pointstore.try_cancel_hold('{a}h1', '{a}')",
	"SELECT $receipt FROM pointstore.hold('{a}', 50, hold_id => '{a}h3', expires_in => '10 min')",
	"SELECT $receipt FROM pointstore.cancel_hold(aggregate_id => '{a}', hold_id => '{a}h3')",
	"SELECT $receipt FROM pointstore.cancel_hold('{a}h3', '{a}')",
	"SELECT $receipt FROM pointstore.try_confirm_hold('{a}h3', aggregate_id => '{a}')",
	"SELECT $receipt FROM pointstore.confirm_hold('{a}none', aggregate_id => '{a}')",
	"SELECT outcome FROM pointstore.cancel_hold('{a}tomb', '{a}')",
	"SELECT outcome FROM pointstore.hold('{a}', 1, '{a}tomb')",
	"SELECT outcome FROM pointstore.hold('{a}', 5, '{a}short', '1 ms')",
	"SELECT pg_sleep(0.01)",
	"SELECT outcome FROM pointstore.confirm_hold('{a}short', aggregate_id => '{a}')",
	"SELECT balance, held, available FROM pointstore.get_balance('{a}')",
	"SELECT outcome, available FROM pointstore.hold('{a}', 7, '{a}h4')",
	"SELECT pointstore.close_account('{a}', 'x')",
	"SELECT outcome FROM pointstore.confirm_hold('{a}h4', aggregate_id => '{a}', to_id => '{a}')",
	"SELECT hold_id, amount, captured, status FROM pointstore.hold WHERE aggregate_id = '{a}' ORDER BY hold_id",
	"UPDATE pointstore.hold SET amount = 1 WHERE aggregate_id = '{a}'",
	"SELECT outcome FROM pointstore.hold('{none}', 7, 'x')");

my @statuses = (
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 30, request_id => '{a}1')",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 1, 10, request_id => '{a}rv')",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 1, 10, request_id => '{a}rv')",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 1, 21)",
	"SELECT outcome, version, balance FROM pointstore.try_reverse_event('{a}', 1, 21)",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 2)",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 9)",
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Spent', -20)",
	"SELECT outcome, version FROM pointstore.reverse_event('{a}', 1)",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 1, allow_debt => true)",
	"SELECT pointstore.close_account('{a}')",
	"SELECT outcome, version, balance FROM pointstore.append_event('{a}', 'Earned', 20)",
	"SELECT pointstore.freeze_account('{a}', 'a reason')",
	"SELECT pointstore.freeze_account('{a}', NULL)",
	"SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 20)",
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 30, request_id => '{a}1')",
	"SELECT outcome FROM pointstore.try_append_event('{a}', 'Earned', 20)",
	"SELECT outcome FROM pointstore.try_submit_event('{a}', 'Earned', 20)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'Earned', 1)",
	"SELECT status FROM pointstore.account WHERE aggregate_id = '{a}'",
	"SELECT pointstore.unfreeze_account('{a}', 'another')",
	"SELECT pointstore.set_kind('{a}', 'small', 'smaller')",
	"SELECT pointstore.set_kind('{a}', 'other', 'x')",
	"SELECT pointstore.close_account('{a}', 'gone')",
	"SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 20)",
	"SELECT outcome FROM pointstore.try_append_event('{a}', 'Earned', 20)",
	"SELECT pointstore.freeze_account('{none}', 'x')",
	"SELECT pointstore.close_account('{none}')",
	"SELECT action, reason, by_role FROM pointstore.account_log WHERE aggregate_id = '{a}' ORDER BY id",
	"SELECT r.aggregate_id = '{a}', old_version, new_version, old_balance, new_balance, changed FROM pointstore.rebuild_balance('{a}') r",
	"SELECT aggregate_id, balance FROM pointstore.get_balance('{a}')");

my @raw = (
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'Earned', 5)",
	"INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('{a}', 2, 'Earned', 5), ('{a}', 3, 'Spent', -1)",
	"INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('{a}', 2, 'Earned', 5)",
	"INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('{a}', 9, 'Earned', 5)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'Spent', -500)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'HoldPlaced', 1)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES (NULL, 'Earned', 1)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('{b}', 'Earned', 5, '{a}1') RETURNING version, balance_after",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('{b}', 'Earned', 5, '{a}1') RETURNING version",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('{b}', 'Earned', 6, '{a}1')",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT '{b}', 'Earned', i FROM generate_series(1, 5) i",
	[ 'COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin', "{a}\tC\t1\t{a}c1\n{b}\tC\t2\t{a}c2\n{d}\tC\t3\t{a}c3\n{a}\tC\t1\t{a}c1\n" ],
	[ 'COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin', "{a}\tC\t1\t{a}c1\n{b}\tC\t2\t{a}c2\n{e}\tC\t3\t{a}c4\n" ],
	'BEGIN',
	"UPDATE pointstore.balance SET balance = balance - 4, version = version + 1 WHERE aggregate_id = '{a}' AND version = 4",
	"INSERT INTO pointstore.event_store (aggregate_id, version, event_type, payload) VALUES ('{a}', 5, 'Spent', '{\"order\": 1}')",
	'COMMIT',
	'BEGIN',
	"UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = '{a}' AND version = 4",
	'COMMIT',
	'BEGIN',
	"UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = '{a}'",
	"INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount) VALUES ('{a}', 6, 'Spent', -2)",
	'ROLLBACK',
	'BEGIN', 'SAVEPOINT s',
	"UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = '{a}'",
	'ROLLBACK TO s',
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 1)",
	'COMMIT',
	'BEGIN',
	"INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('{f}', 1, 7)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('{f}', 'Opened')",
	'COMMIT',
	"UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = '{a}'",
	"UPDATE pointstore.balance SET status = 'frozen' WHERE aggregate_id = '{a}'",
	"UPDATE pointstore.event_store SET amount = 1 WHERE aggregate_id = '{a}'",
	'UPDATE pointstore.event_store SET amount = 1',
	"DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}'",
	"DELETE FROM pointstore.balance WHERE aggregate_id = '{a}'",
	'DELETE FROM pointstore.balance', 'TRUNCATE pointstore.event_store', 'TRUNCATE pointstore.balance',
	"SELECT aggregate_id = '{b}', version, balance FROM pointstore.account WHERE aggregate_id IN ('{a}', '{b}', '{d}', '{e}', '{f}') ORDER BY 1, 2, 3");
# what is refused so late that Citus tells of it in words of its own
my @copies = (
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('{b}', 'Earned', 5, '{a}c2')",
	[ 'COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin', "{a}\tC\t1\t{a}c5\n{b}\tC\t3\t{a}c2\n" ],
	[ 'COPY pointstore.event_store (aggregate_id, event_type, amount) FROM stdin', "{a}\tC\t1\n{b}\tC\t-3000\n" ]);
my @unpaired = (
	"UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = '{a}'",
	"BEGIN", "UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = '{a}'", "COMMIT",
	"BEGIN", "INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('{g}', 1, 7)", "COMMIT",
	"SELECT count(*) FROM pointstore.account WHERE aggregate_id = '{g}'");

my @others = (
	"SELECT outcome, version, balance FROM pointstore.append_event('{a}', 'Earned', 5, kind => 'pure', request_id => '{a}1')",
	"SELECT outcome, version, balance FROM pointstore.append_event('{a}', 'Earned', 5, request_id => '{a}1')",
	"SELECT outcome, version, balance FROM pointstore.append_event('{a}', 'Earned', 996)",
	"SELECT outcome, version, balance FROM pointstore.submit_event('{a}', 'Spent', -2)",
	"SELECT outcome, version, balance FROM pointstore.try_append_event('{a}', 'Spent', -9)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'Earned', 1), ('{a}', 'Earned', 2)",
	"SELECT outcome FROM pointstore.hold('{a}', 1, '{a}h')",
	"SELECT mode, unit, version, balance, status FROM pointstore.get_balance('{a}')",
	"SELECT count(*) FROM pointstore.balance WHERE aggregate_id = '{a}'",
	"SELECT pointstore.freeze_account('{a}', 'x')", "SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 1)", "SELECT pointstore.unfreeze_account('{a}', 'x')",
	"SELECT outcome FROM pointstore.append_event('{b}', 'Shipped', kind => 'order')",
	"SELECT outcome FROM pointstore.append_event('{b}', 'Placed', kind => 'order')",
	"SELECT outcome FROM pointstore.append_event('{b}', 'Placed')",
	"SELECT outcome FROM pointstore.try_append_event('{b}', 'Placed')",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{b}', 'Placed', 0)",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{b}', 'Shipped', 0)",
	"SELECT state FROM pointstore.account WHERE aggregate_id = '{b}'",
	"SELECT version, event_type, state_after FROM pointstore.load_events('{b}')",
	"SELECT acquired FROM pointstore.acquire_lease('{d}', 'me')",
	"SELECT acquired, holder FROM pointstore.acquire_lease('{d}', 'you')",
	"SELECT pointstore.check_lease('{d}', 1)",
	"SELECT pointstore.release_lease('{d}', 1)",
	"SELECT pointstore.renew_lease('{d}', 1)",
	"SELECT acquired FROM pointstore.steal_lease('{d}', 'thief')",
	"SELECT holder FROM pointstore.lease WHERE name = '{d}'",
	"SELECT outcome, version FROM pointstore.append_event('{e}', 'Earned', 10)",
	"SELECT outcome, version FROM pointstore.append_event('{e}', 'Spent', -3)",
	"SELECT pointstore.balance_as_of('{e}', 2)",
	"SELECT pointstore.balance_as_of('{e}', 1)",
	"SELECT pointstore.balance_at('{e}', 'infinity')",
	"SELECT pointstore.balance_at('{e}', '2020-01-01')",
	"SELECT entry, version, event_type, amount, balance FROM pointstore.statement('{e}', '-infinity', 'infinity')",
	"SELECT version, amount, balance_after FROM pointstore.load_events('{e}', 1)",
	"SELECT count(*) FROM pointstore.get_balance('{none}')");

my @leases = (
	"SELECT outcome FROM pointstore.append_event('{d}', 'Earned', 1, kind => 'leased')",
	"SELECT acquired FROM pointstore.acquire_lease('account:{d}', 'me')",
	"SELECT outcome FROM pointstore.append_event('{d}', 'Earned', 1, kind => 'leased', lease_token => 1)");
my @verifying = (
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 1)",
	"SELECT count(*) FROM pointstore.reconcile_account('{a}')",
	"SELECT * FROM pointstore.aggregate_state('{a}')",
	"SELECT pointstore.take_snapshot('{a}')");
my @reads = (
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 10)", "SELECT outcome, version FROM pointstore.append_event('{b}', 'Earned', 10)",
	'BEGIN ISOLATION LEVEL REPEATABLE READ', "SELECT balance FROM pointstore.get_balance('{a}')", "SELECT version FROM pointstore.append_event('{a}', 'Earned', 1)",
	"SELECT version FROM pointstore.append_event('{b}', 'Earned', 1)", "SELECT balance FROM pointstore.get_balance('{a}')", 'COMMIT',
	'BEGIN', "SELECT count(*) FROM pointstore.statement('{a}', '-infinity', 'infinity')", "SELECT pointstore.balance_as_of('{a}', 1)", "SELECT pointstore.balance_at('{a}', 'infinity')",
	"SELECT count(*) FROM pointstore.load_events('{a}')", "SELECT balance FROM pointstore.account WHERE aggregate_id = '{a}'", 'COMMIT',
	'BEGIN', "SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 1, 4)", 'SAVEPOINT s', "SELECT balance FROM pointstore.get_balance('{a}')",
	"SELECT outcome, version, balance FROM pointstore.reverse_event('{a}', 1, 400)", 'ROLLBACK TO s', "SELECT version FROM pointstore.append_event('{a}', 'Earned', 1)", 'COMMIT',
	"SELECT version, balance FROM pointstore.get_balance('{a}')");

my @transactions = (
	'BEGIN', "SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 5)", "SELECT outcome FROM pointstore.append_event('{b}', 'Earned', 6)", 'COMMIT',
	'BEGIN', "SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 5)", "SELECT outcome FROM pointstore.append_event('{b}', 'Earned', 6)", 'ROLLBACK',
	'BEGIN', 'SAVEPOINT s', "SELECT outcome FROM pointstore.append_event('{a}', 'Spent', -500)", 'ROLLBACK TO s', "SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 5)", 'COMMIT',
	'BEGIN', "SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 5)", 'SAVEPOINT s', "SELECT version FROM pointstore.append_event('{a}', 'Earned', 6)",
	"SELECT version FROM pointstore.append_event('{d}', 'Earned', 6)", 'ROLLBACK TO s', "SELECT version FROM pointstore.append_event('{a}', 'Earned', 7)", 'RELEASE s', 'COMMIT',
	'BEGIN', "SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 5)", "SELECT outcome FROM pointstore.append_event('{b}', 'Spent', -500)",
	"SELECT outcome FROM pointstore.append_event('{a}', 'Earned', 5)", 'COMMIT',
	'BEGIN ISOLATION LEVEL REPEATABLE READ', "SELECT balance FROM pointstore.account WHERE aggregate_id = '{a}'", "SELECT version FROM pointstore.append_event('{a}', 'Earned', 1)",
	"SELECT version FROM pointstore.append_event('{b}', 'Earned', 1)", "SELECT balance FROM pointstore.account WHERE aggregate_id = '{a}'", 'COMMIT',
	'BEGIN ISOLATION LEVEL SERIALIZABLE', "SELECT version FROM pointstore.append_event('{a}', 'Earned', 1, request_id => '{a}1')", 'COMMIT',
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 1, request_id => '{a}1')",
	'BEGIN READ ONLY', "SELECT version FROM pointstore.append_event('{a}', 'Earned', 1)", 'ROLLBACK',
	"SELECT version, balance FROM pointstore.get_balance('{a}')", "SELECT version, balance FROM pointstore.get_balance('{b}')", "SELECT version, balance FROM pointstore.get_balance('{d}')");

my $history = q{SELECT aggregate_id = '{a}', version, event_type, amount, held, balance_after, payload, regexp_replace(metadata::text, '"expires_at": "[^"]*"', ''),
	replace(request_id, '{a}', '') AS request, leg, state_after, payload_version, occurred_at = created_at
	FROM pointstore.event_store WHERE aggregate_id IN ('{a}', '{b}', '{d}', '{e}', '{f}', '{g}') ORDER BY 1, 2, 3, 4, 5, 6, request};

# What a session makes of statements about accounts: the answers, a line for each.
sub answers
{
	my ($session, $accounts, @statements) = @_;
	my @lines;

	foreach my $statement (@statements)
	{
		my ($sql, $data) = ref $statement ? @$statement : ($statement, undef);
		s/\{(\w+)\}/$accounts->{$1} \/\/ "{$1}"/ge foreach grep { defined } $sql, $data;
		my ($state, $rows) = @{ ask($session, $sql, copy => $data) };
		push @lines, "$sql: $state" . ($state eq '00000' ? " $session->{tag} $rows" : $session->{detail} =~ /^\w+=/ ? " $session->{detail}" : '');
		$lines[-1] =~ s/acc\w+?z/ACC/g;
		# each lease has tokens of its own; Citus counts the rows that COPY sends
		$lines[-1] =~ s/token=\d{9,}/token=N/;
		$lines[-1] =~ s/ COPY \d+ $//;
		if ($session->lost)
		{
			push @lines, 'THE CONNECTION IS LOST';
			return @lines;
		}
	}
	return @lines;
}

my @letters = qw(a b d e f g);

# Statements asked of a plain store once, and of each node for accounts on each node.
sub compare
{
	my ($what, $setup, $statements, %params) = @_;
	my $first = CitusTest::Session->new($plain, %params);
	my %accounts = map { $_ => "acc" . ($what =~ s/\W//gr) . $_ . "z" } @letters;

	$first->query($_) foreach @$setup;
	$accounts{none} = 'none';
	my @right = answers($first, \%accounts, @$statements, $history);
	foreach my $through (@{ $nodes->{names} })
	{
		foreach my $owner (@{ $nodes->{names} }, 'all')
		{
			my $session = CitusTest::Session->new($nodes->{$through}, %params);
			my @owners = $owner eq 'all' ? @{ $nodes->{names} } : ($owner);
			%accounts = map { $_ => account_on($owners[ ord() % @owners ]) } @letters;
			$accounts{none} = 'none';
			$session->query($_) foreach @$setup;
			my @got = answers($session, \%accounts, @$statements, $history);
			my @wrong = grep { ($got[$_] // '') ne $right[$_] } 0 .. $#right;
			is(join('', map { "$right[$_]\n   BUT " . (($got[$_] // 'nothing') =~ s/^.*?: (?=\w{5}\b)//sr) . "\n" } @wrong), '', "$what, through $through of accounts on $owner");
		}
	}
	return;
}

compare('appends', [], \@appends);
compare('holds', [], \@holds);
compare('statuses', [], \@statuses);
compare('raw', [], \@raw);
compare('others', [], \@others);
compare('transactions', [], \@transactions);
{
	local $TODO = 'Citus has an SQLSTATE of its own for what is refused late';
	compare('copies', [], \@copies);
	compare('unpaired', [], \@unpaired);
}
compare('verifying', [], \@verifying);
compare('reads', [], \@reads);
{
	local $TODO = 'not there yet';
	compare('leases', [], \@leases);
}

# Holds ask for the account.
foreach my $name (@{ $nodes->{names} })
{
	my $account = account_on($name);
	foreach my $through (map { $nodes->{$_} } @{ $nodes->{names} })
	{
		my $hold = $account . $through->name;
		ask($through, "SELECT pointstore.append_event('$account', 'Earned', 5); SELECT pointstore.hold('$account', 5, '$hold')");
		is(join(' ', map { state_of($through, "SELECT pointstore.$_") } "confirm_hold('$hold')", "try_confirm_hold('$hold', 1)", "cancel_hold('$hold')", "try_cancel_hold('$hold', NULL)"),
			'22004 22004 22004 22004', "holds of $name through " . $through->name . ' ask for the account');
	}
}

# Functions that are delegated: their names and what they need, by which argument they go, whether it has a default.
my @delegated = map { [ split /\|/ ] } split /\n/, rows_of($c, q{
SELECT p.proname, a.account,
       array_to_string(ARRAY(SELECT format('%s => %s', t.name, CASE t.type::regtype::text WHEN 'text' THEN '''x''' WHEN 'bigint' THEN '1' WHEN 'interval' THEN '''1 s'''
                                           WHEN 'timestamp with time zone' THEN 'now()' WHEN 'jsonb' THEN '''{}''' ELSE format('NULL::%s', t.type::regtype) END)
                               FROM unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY t (name, type, place)
                              WHERE t.place <= p.pronargs - p.pronargdefaults AND t.name <> a.account), ', '),
       d.distribution_argument_index >= p.pronargs - p.pronargdefaults
  FROM pg_dist_object d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
 CROSS JOIN LATERAL (SELECT p.proargnames[d.distribution_argument_index + 1]) a (account)
 WHERE d.distribution_argument_index IS NOT NULL AND p.pronamespace = 'pointstore'::regnamespace ORDER BY 1});
cmp_ok(scalar @delegated, '>', 25, scalar(@delegated) . ' functions are delegated');

sub call
{
	my ($function, $account) = @_;
	my ($name, $argument, $others) = @$function;
	return "pointstore.$name(" . join(', ', grep { $_ ne '' } defined $account ? "$argument => $account" : '', $others) . ')';
}

# no account, in every way
my %nulls = (
	literal => sub { 'SELECT ' . call($_[0], 'NULL') },
	typed => sub { 'SELECT * FROM ' . call($_[0], 'NULL::text') },
	folded => sub { 'SELECT ' . call($_[0], q{NULL::text || 'x'}) },
	nullif => sub { 'SELECT * FROM ' . call($_[0], q{nullif('x', 'x')}) },
	case => sub { 'SELECT ' . call($_[0], q{CASE WHEN 1 = 2 THEN 'x' END}) },
	stable => sub { 'SELECT ' . call($_[0], q{current_setting('no.such', true)}) },
	volatile => sub { 'SELECT ' . call($_[0], q{nullif(random()::text, 'x') || NULL::text}) },
	subquery => sub { 'SELECT ' . call($_[0], q{(SELECT NULL::text)}) },
	CTE => sub { 'WITH x AS (SELECT * FROM ' . call($_[0], 'NULL') . ') SELECT count(*) FROM x' },
	LATERAL => sub { 'SELECT count(*) FROM (VALUES (NULL::text)) v (a), LATERAL ' . call($_[0], 'v.a') . ' r' },
	column => sub { 'SELECT ' . call($_[0], 'v.a') . ' FROM (VALUES (NULL::text)) v (a)' },
	twice => sub { 'SELECT ' . call($_[0], 'NULL') . ', ' . call($_[0], 'NULL') },
	DO => sub { 'DO $$ BEGIN PERFORM ' . call($_[0], 'NULL') . '; END $$' },
	variable => sub { 'DO $$ DECLARE a text; BEGIN PERFORM ' . call($_[0], 'a') . '; END $$' },
	prepared => sub { 'DEALLOCATE ALL; PREPARE p(text) AS SELECT ' . call($_[0], '$1') . '; EXECUTE p(NULL)' },
	generic => sub { q{DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS SELECT * FROM } . call($_[0], '$1') . '; EXECUTE p(NULL)' },
	cursor => sub { 'BEGIN; DECLARE k CURSOR FOR SELECT ' . call($_[0], 'NULL') . '; FETCH k; COMMIT' },
	explained => sub { 'EXPLAIN ANALYZE SELECT ' . call($_[0], 'NULL') },
	table => sub { 'CREATE TEMP TABLE t AS SELECT ' . call($_[0], 'NULL') . '; DROP TABLE t' },
	parameter => [ sub { 'SELECT ' . call($_[0], '$1') }, [undef], 1 ],
	parameters => [ sub { 'SELECT * FROM ' . call($_[0], q{$1}) }, [undef], 8 ],
	concatenated => [ sub { 'SELECT ' . call($_[0], q{$1::text || 'x'}) }, [undef], 2 ],
	default => sub { 'SELECT ' . call($_[0]) });

sub null_state
{
	my ($session, $way, $function) = @_;
	my $state = ref $nulls{$way} eq 'CODE' ? $session->query($nulls{$way}->($function))->[0]
	  : $session->extended($nulls{$way}[0]->($function), @{ $nulls{$way} }[ 1, 2 ])->[0];
	$session->query('ROLLBACK') if !$session->lost && $session->{in_transaction} ne 'I';
	$session->query('DROP TABLE IF EXISTS t; RESET plan_cache_mode') if !$session->lost;
	return $state;
}

# Every way in one go; what is null only when it is executed can have been told PS013 as well. Parts are of no plain store.
my $right = CitusTest::Session->new($plain);
foreach my $way (sort keys %nulls)
{
	next if $way =~ /^(LATERAL|column)$/;
	my @functions = grep { $way ne 'default' || $_->[3] eq 't' } @delegated;
	my %right = map { $_->[0] => $_->[0] =~ /(confirm|cancel)_hold$|_part$/ ? '22004' : null_state($right, $way, $_) } @functions;
	foreach my $through (@{ $nodes->{names} })
	{
		my $session = CitusTest::Session->new($nodes->{$through});
		my @wrong;
		foreach my $function (@functions)
		{
			my $got = null_state($session, $way, $function);
			push @wrong, "$function->[0]: $got, not $right{ $function->[0] }" if $got ne $right{ $function->[0] };
			$session = CitusTest::Session->new($nodes->{$through}) if $session->lost;
		}
		is(join("\n", @wrong), '', "no account ($way), through $through");
	}
}
is(rows_of($c, 'SELECT count(*) FROM pointstore.event_store WHERE aggregate_id IS NULL'), '0', 'nothing was written of nobody');

# A call that Citus does not delegate is refused where the account is not, and has done nothing.
my %undelegated = (
	CTE => sub { "WITH x AS (SELECT * FROM $_[0]) SELECT count(*) FROM x" },
	LATERAL => sub { "SELECT count(*) FROM (VALUES (1)) v (a), LATERAL $_[0] r" },
	DO => sub { "DO \$\$ BEGIN PERFORM $_[0]; END \$\$" },
	wrapped => sub { "SELECT count(*) FROM (SELECT wrapped(\$w\$$_[0]\$w\$)) w" },
	columns => sub { "SELECT $_[0], 1" },
	twice => sub { "SELECT $_[0], count(*) FROM generate_series(1, 2)" },
	subquery => sub { "SELECT count(*) FROM (SELECT $_[0] OFFSET 0) s" },
	union => sub { "SELECT $_[0]::text UNION ALL SELECT 'x'" });
$c->safe_psql('postgres', q{CREATE FUNCTION public.wrapped(called text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SELECT ' || called; END$$});
my $rows_of_account = q{SELECT (SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = '%1$s'), (SELECT count(*) FROM pointstore.balance WHERE aggregate_id = '%1$s'),
	(SELECT count(*) FROM pointstore.account_log WHERE aggregate_id = '%1$s'), (SELECT count(*) FROM pointstore.lease WHERE name = '%1$s'), (SELECT count(*) FROM pointstore.hold WHERE aggregate_id = '%1$s')};
# those that only read may answer from anywhere; reverse_event looks before it writes
my @writing = grep { $_->[0] !~ /^(get_balance|load_events|aggregate_state|statement|balance_.*|reconcile_account|.*_part|take_snapshot|(try_)?reverse_event)$/ } @delegated;
my $look = CitusTest::Session->new($c);
foreach my $way (sort keys %undelegated)
{
	next if $way eq 'LATERAL';
	my @wrong;
	foreach my $owner (@{ $nodes->{names} })
	{
		foreach my $through (grep { $_ ne $owner } @{ $nodes->{names} })
		{
			my $session = CitusTest::Session->new($nodes->{$through});
			foreach my $function (@writing)
			{
				my $account = account_on($owner);
				my $got = $session->query($undelegated{$way}->(call($function, "'$account'")))->[0];
				push @wrong, "$function->[0] of $owner through $through: $got" if $got ne 'PS013';
				push @wrong, "$function->[0] of $owner through $through: node $1" if $got eq 'PS013' && $session->{detail} =~ /:(\d+)/ && $1 ne $nodes->{$owner}->port;
				push @wrong, "$function->[0] of $owner through $through has written" if $got ne '00000' && rows_of($look, sprintf $rows_of_account, $account) ne '0|0|0|0|0';
			}
			my $account = account_on($owner);
			$session->query($undelegated{$way}->("pointstore.append_event('$account', 'Earned', 7, request_id => 'r')"));
			push @wrong, "of $owner through $through: the repeat" if rows_of($session, "SELECT outcome, version, balance FROM pointstore.append_event('$account', 'Earned', 7, request_id => 'r')") ne 'appended|1|7';
			push @wrong, "of $owner through $owner" if state_of($nodes->{$owner}, $undelegated{$way}->("pointstore.append_event('$account', 'Earned', 7)")) ne '00000';
		}
	}
	is(join("\n", @wrong), '', "$way: PS013 where it is not here");
}

# Parameters: the same statement for accounts on every node, with plans of its own and with a generic one.
foreach my $mode ('auto', 'force_generic_plan', 'force_custom_plan')
{
	foreach my $through (@{ $nodes->{names} })
	{
		my $session = CitusTest::Session->new($nodes->{$through}, options => "-c plan_cache_mode=$mode");
		my $prepared = $session->query('PREPARE p(text, bigint) AS SELECT outcome, version FROM pointstore.append_event($1, $2::text, $2)');
		my @answers;
		foreach my $i (1 .. 9)
		{
			my $account = account_on($nodes->{names}[ $i % 3 ]);
			push @answers, join ' ', map { $session->query("EXECUTE p('$account', $i)")->[1] || $session->{error} } 1, 2;
		}
		is(join(', ', @answers), join(', ', ('appended|1 appended|2') x 9), "a prepared statement through $through, $mode");
		my $account = account_on($nodes->{names}[1]);
		is($session->extended('SELECT version FROM pointstore.append_event($1, $2, 1)', [ $account, 'Earned' ], 8)->[1], join("\n", 1 .. 8), "parameters through $through, $mode");
	}
}

# A kept plan is for accounts wherever they are, whatever the call looks like and whoever makes it.
$c->safe_psql('postgres', q{
CREATE FUNCTION public.looped(account text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r record; BEGIN FOR r IN SELECT outcome, version FROM pointstore.append_event(account, 'Earned') LOOP RETURN r.outcome || '|' || r.version; END LOOP; END$$;
CREATE FUNCTION public.scrolled(account text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE k refcursor; r record;
BEGIN OPEN k SCROLL FOR SELECT outcome, version FROM pointstore.append_event(account, 'Earned'); FETCH LAST FROM k INTO r; FETCH FIRST FROM k INTO r; RETURN r.outcome || '|' || r.version; END$$});
my %calls = (
	names => [ 'text', 'SELECT outcome, version FROM pointstore.append_event(event_type => \'Earned\', aggregate_id => $1)' ],
	receipt => [ 'text', 'SELECT pointstore.append_event($1, \'Earned\')' ],
	concatenated => [ 'text', 'SELECT outcome, version FROM pointstore.append_event($1 || \'\', \'Earned\')' ],
	varchar => [ 'varchar', 'SELECT outcome, version FROM pointstore.append_event($1, \'Earned\')' ],
	bpchar => [ 'char(40)', 'SELECT outcome, version FROM pointstore.append_event($1, \'Earned\')' ],
	loop => [ 'text', 'SELECT public.looped($1)' ],
	cursor => [ 'text', 'SELECT public.scrolled($1)' ]);
foreach my $mode ('auto', 'force_generic_plan')
{
	foreach my $through (@{ $nodes->{names} })
	{
		my $session = CitusTest::Session->new($nodes->{$through}, options => "-c plan_cache_mode=$mode");
		foreach my $name (sort keys %calls)
		{
			my ($type, $sql) = @{ $calls{$name} };
			my (@answers, @wrong);
			is(state_of($session, "DEALLOCATE ALL; PREPARE p($type) AS $sql"), '00000', "$name through $through, $mode");
			foreach my $owner (map { @{ $nodes->{names} } } 1 .. 3)
			{
				my $account = account_on($owner);
				push @answers, map { rows_of($session, "EXECUTE p('$account')") } 1, 2;
				my $is_elsewhere = rows_of($session, "EXPLAIN EXECUTE p('$account')") =~ /Custom Scan/ ? 1 : 0;
				push @wrong, "of $owner" if $name !~ /loop|cursor/ && $is_elsewhere != ($owner ne $through);
			}
			s/^\(appended,[^,]*,(\d+),.*/appended|$1/ foreach @answers;
			is(join(', ', @answers), join(', ', ('appended|1', 'appended|2') x 9), '... appends');
			is(join(', ', @wrong), '', '... where the account is');
			is(state_of($session, 'EXECUTE p(NULL)'), '22004', '... and to none');
		}
	}
}

# Roles: granted on the coordinator, and everywhere.
my @roles = ('CREATE ROLE shop LOGIN', 'CREATE ROLE nobody_else LOGIN', q{SELECT pointstore.grant_access('shop', 'writer')});
foreach my $node ($plain, $c)
{
	is(join(' ', map { state_of($node, $_) } @roles), '00000 00000 00000', 'roles');
}
my @as_role = (
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 10)", "SELECT outcome, version FROM pointstore.try_append_event('{a}', 'Earned', 10)",
	"SELECT outcome, version FROM pointstore.submit_event('{a}', 'Earned', 10)",
	"SELECT outcome FROM pointstore.hold('{a}', 5, '{a}h')", "SELECT outcome FROM pointstore.confirm_hold('{a}h', aggregate_id => '{a}')",
	"SELECT outcome FROM pointstore.reverse_event('{a}', 1)", "SELECT outcome FROM pointstore.reverse_event('{a}', 2, allow_debt => true)",
	"SELECT pointstore.freeze_account('{a}', 'x')", "SELECT pointstore.close_account('{a}')", "SELECT pointstore.set_kind('{a}', 'small')",
	"SELECT pointstore.open_account('{b}')", "SELECT pointstore.open_account('{d}', 'closed shop')",
	"SELECT count(*) FROM pointstore.rebuild_balance('{a}')",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'Earned', 5)",
	[ 'COPY pointstore.event_store (aggregate_id, event_type, amount) FROM stdin', "{a}\tC\t1\n" ],
	"UPDATE pointstore.balance SET balance = balance + 1, version = version + 1 WHERE aggregate_id = '{a}'", "DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}'",
	"INSERT INTO pointstore.account_kind (kind) VALUES ('mine')", 'SELECT count(*) > 0 FROM pointstore.account_kind',
	"SELECT balance FROM pointstore.get_balance('{a}')", "SELECT balance FROM pointstore.account WHERE aggregate_id = '{a}'", "SELECT count(*) FROM pointstore.statement('{a}', '-infinity', 'infinity')",
	"SELECT acquired FROM pointstore.acquire_lease('{a}', 'me')", "SELECT acquired FROM pointstore.steal_lease('{a}', 'me')",
	'SELECT pointstore.distribute_store(8)');
compare('a writer', [], \@as_role, user => 'shop');
compare('a stranger', [], \@as_role, user => 'nobody_else');

# Whatever is in front of pg_catalog is nothing to us.
my $evil = q{SET citus.enable_ddl_propagation = off; CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.hashtext(text) RETURNS integer LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE 'EV002'; END$$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE 'EV003'; END$$;
CREATE FUNCTION evil.format(text, text, integer) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE 'EV004'; END$$;
CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE 'EV005'; END$$;
CREATE TABLE evil.event_store (); CREATE TABLE evil.balance (); CREATE TABLE evil.pg_dist_shard (); CREATE TABLE evil.pg_dist_placement (); CREATE TABLE evil.pg_dist_node (); CREATE TABLE evil.pg_dist_partition ();
CREATE TABLE evil.pg_dist_local_group (); CREATE TABLE evil.shard_map ()};
$evil .= "; CREATE FUNCTION evil.hijack($_, $_) RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN RAISE SQLSTATE 'EV001'; END\$\$" foreach 'text', 'integer', 'bigint', 'oid', 'regclass';
$evil .= "; CREATE OPERATOR evil.$$_[0] (LEFTARG = $$_[1], RIGHTARG = $$_[1], FUNCTION = evil.hijack)"
  foreach map { my $type = $_; map { [ $_, $type ] } '=', '>=', '<=', '<>' } 'text', 'integer', 'bigint', 'oid', 'regclass';
is(state_of($_, $evil), '00000', 'a hostile schema') foreach $plain, map { $nodes->{$_} } @{ $nodes->{names} };
compare('a hostile search_path', ['SET search_path = evil, pg_catalog, public'], [
	"SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 10, request_id => '{a}1')", "SELECT outcome, version FROM pointstore.append_event('{a}', 'Earned', 10, request_id => '{a}1')",
	"SELECT outcome, version FROM pointstore.try_append_event('{a}', 'Spent', -100)", "SELECT outcome, version FROM pointstore.submit_event('{a}', 'Earned', 10)",
	"SELECT outcome FROM pointstore.hold('{a}', 5, '{a}h')", "SELECT outcome FROM pointstore.confirm_hold('{a}h', aggregate_id => '{a}')",
	"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('{a}', 'Earned', 5)",
	[ 'COPY pointstore.event_store (aggregate_id, event_type, amount) FROM stdin', "{a}\tC\t1\n{b}\tC\t1\n" ],
	"SELECT pointstore.freeze_account('{a}', 'x')", "SELECT pointstore.unfreeze_account('{a}', 'x')", "SELECT balance FROM pointstore.get_balance('{a}')", "SELECT pointstore.balance_as_of('{a}', 1)",
	"SELECT acquired FROM pointstore.acquire_lease('{d}', 'me')", 'RESET search_path' ]);
{
	my $account = account_on('w1');
	is(rows_of($_, "SET search_path = evil, pg_catalog; SELECT node FROM pointstore.node_of('$account')"), $group{w1}, 'node_of() by a hostile search_path on ' . $_->name) foreach $c, @workers;
}

is(node_faults($nodes), '', 'all is sound');

# What the planner makes of these Citus takes for calls to delegate.
{
	my %calls = map { $_ => account_on('w1') } 'CTE', 'LATERAL', 'no account in LATERAL', 'a column without an account';
	my %states = (
		(map { $_ => state_of($c, $undelegated{$_}->("pointstore.load_events('$calls{$_}')")) } 'CTE', 'LATERAL'),
		'no account in LATERAL' => null_state(CitusTest::Session->new($workers[0]), 'LATERAL', $delegated[0]),
		'a column without an account' => null_state(CitusTest::Session->new($workers[1]), 'column', $delegated[0]));
	like($states{$_}, /no account|without/ ? qr/^22004$/ : qr/^(00000|PS013)$/, "a function that only reads: $_") foreach sort keys %states;
	ok(poll_until($nodes->{$_}, 'postgres', 'SELECT true'), "... and $_ is there") foreach @{ $nodes->{names} };
}
$nodes->{$_}->stop foreach reverse @{ $nodes->{names} };
$plain->stop;

# A full store: all kinds of rows, columns, constraints and triggers of users.
my $full = new_nodes(1, prefix => 'full_');
my ($fc, $fw) = ($full->{c}, $full->{w1});
$fc->safe_psql('postgres', "SELECT citus_set_node_property('127.0.0.1', ${\$fc->port}, 'shouldhaveshards', true)");
$fc->safe_psql('postgres', join(';', $kinds, @roles, "\n") . <<'END');
ALTER TABLE pointstore.event_store ADD channel text DEFAULT 'web', ADD CONSTRAINT not_too_much CHECK (amount < 100000);
ALTER TABLE pointstore.balance ADD vip boolean DEFAULT false, ADD tier integer, ADD CONSTRAINT tiers CHECK (tier <= 5);
CREATE INDEX by_channel ON pointstore.event_store (channel, id);
CREATE FUNCTION public.forbid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.event_type = 'Forbidden' THEN
		RAISE SQLSTATE 'U0001';
	END IF;
	RETURN NULL;
END$$;
CREATE TRIGGER forbid AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION public.forbid();
SELECT count(*) FROM generate_series(1, 4500) i, LATERAL pointstore.append_event('f' || i % 250, 'Earned', i, jsonb_build_object('i', i), request_id => 'rq' || i, metadata => CASE WHEN i % 3 = 0 THEN '{"by": "me"}'::jsonb END);
SELECT count(*) FROM generate_series(1, 300) i, LATERAL pointstore.append_event('p' || i % 25, 'Earned', 1, kind => 'pure');
SELECT count(*) FROM generate_series(1, 20) i, LATERAL pointstore.append_event('o' || i, 'Placed', 1, kind => 'order');
SELECT count(*) FROM generate_series(1, 60) i, LATERAL pointstore.hold('f' || i, 10, 'hold' || i, '1 day');
SELECT count(*) FROM generate_series(1, 20) i, LATERAL pointstore.confirm_hold('hold' || i);
SELECT count(*) FROM generate_series(21, 40) i, LATERAL pointstore.cancel_hold('hold' || i);
SELECT count(*) FROM generate_series(61, 100) i, LATERAL pointstore.transfer('f' || i, 'f' || i + 50, 3, 'tr' || i);
SELECT pointstore.freeze_account('f7', 'x'), pointstore.open_account('empty'), pointstore.open_account('closed'), pointstore.close_account('closed', 'x');
UPDATE pointstore.balance SET vip = true, tier = 3 WHERE aggregate_id IN ('f1', 'f2', 'f3');
SELECT pointstore.acquire_lease('l' || i, 'me', '1 day') FROM generate_series(1, 30) i;
END
my %contents = map { $_->[0] => "SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY $_->[1])) FROM (SELECT * FROM pointstore.$_->[0]) t" }
  ([ 'event_store', 'aggregate_id, version' ], [ 'balance', 'aggregate_id' ], [ 'pure_account', 'aggregate_id' ], [ 'hold', 'hold_id' ], [ 'account_log', 'aggregate_id, id' ],
	[ 'lease', 'name' ], [ 'account_kind', 'kind' ], [ 'transition', 'kind, from_state, event_type' ], [ 'account', 'aggregate_id' ]);
my %before = map { $_ => rows_of($fc, $contents{$_}) } sort keys %contents;
cmp_ok((split /\|/, $before{event_store})[0], '>=', 5000, 'a full store');
is(distribute($full, 12), 'distributed', '... is distributed');
foreach my $node ($fc, $fw)
{
	is(rows_of($node, $contents{$_}), $before{$_}, "$_ is as before, on " . $node->name) foreach sort keys %contents;
}
is(rows_of($fc, 'SELECT count(DISTINCT node) FROM pointstore.shard_map'), 2, '... over all nodes');
is(node_faults($full), '', '... and sound');
my $last = rows_of($fc, 'SELECT max(id) FROM pointstore.event_store');
foreach my $node ($fc, $fw)
{
	my $name = $node->name;
	my $session = CitusTest::Session->new($node);
	my @answers = map { rows_of($session, "SELECT outcome, version FROM pointstore.append_event('f" . $_ % 250 . "', 'Earned', $_, '{\"i\": $_}', request_id => 'rq$_')") =~ /^replayed\|/ ? () : $session->{error} } map { 97 * $_ } 1 .. 40;
	is(join("\n", @answers), '', "$name: requests of before are replayed");
	is(rows_of($session, "SELECT min(id) > $last FROM (SELECT (SELECT max(id) FROM pointstore.event_store) AS id) m"), 'f', "$name: nothing was written by them") if $node == $fc;
	is(state_of($session, "SELECT pointstore.append_event('f$_', 'Earned', 1, request_id => 'rq$_')"), 'PS002', "$name: rq$_ is used") foreach 8, 9;
	foreach my $i (10 .. 14)
	{
		my $account = "f$i";
		is(rows_of($session, "SELECT id > $last FROM pointstore.append_event('$account', 'Earned', 5)"), 't', "$name: ids of $account rise");
		is(state_of($session, "SELECT pointstore.append_event('$account', 'Earned', 100000)"), '23514', '... a CHECK holds');
		is(state_of($session, "SELECT pointstore.append_event('$account', 'Forbidden', 1)"), 'U0001', '... a trigger too');
		is(state_of($session, "SELECT pointstore.submit_event('$account', 'Forbidden', 1)"), 'U0001', '... also in the combiner');
		is(state_of($session, "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('$account', 'Forbidden', 1)"), 'U0001', '... for INSERT');
		is(rows_of($session, "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, channel) VALUES ('$account', 'Earned', 1, 'shop') RETURNING channel"), 'shop', '... and a column');
		is(rows_of($session, "SELECT channel FROM pointstore.event_store WHERE aggregate_id = '$account' ORDER BY version DESC LIMIT 2"), "shop\nweb", '... with its default');
		is(state_of($session, "UPDATE pointstore.balance SET tier = 6 WHERE aggregate_id = '$account'"), '23514', '... and a CHECK of the balance');
		is(state_of($session, "UPDATE pointstore.balance SET tier = 5 WHERE aggregate_id = '$account'"), '00000', '... a column of it is free');
	}
	my $hold = $node == $fc ? 41 : 50;
	foreach my $i ($hold .. $hold + 4)
	{
		is(rows_of($session, "SELECT outcome FROM pointstore.confirm_hold('hold$i', 4, 'f$i')"), 'appended', "$name: hold$i of before is confirmed");
		is(rows_of($session, "SELECT outcome FROM pointstore.confirm_hold('hold$i', 4, 'f$i')"), 'replayed', '... once');
	}
	is(state_of($session, q{SELECT pointstore.append_event('f7', 'Earned', 1)}), 'PS004', "$name: frozen");
	is(state_of($session, q{SELECT pointstore.append_event('closed', 'Earned', 1)}), 'PS005', "$name: closed");
	is(state_of($session, q{SELECT pointstore.append_event('o1', 'Placed')}), 'PS012', "$name: a state");
	is(rows_of($session, q{SELECT acquired FROM pointstore.acquire_lease('l3', 'you')}), 'f', "$name: a lease");
	is(rows_of($node, q{SELECT outcome FROM pointstore.append_event('f20', 'Earned', 1)}, user => 'shop'), 'appended', "$name: a writer of before writes");
	is(state_of($node, q{SELECT pointstore.freeze_account('f20', 'x')}, user => 'shop'), '42501', "$name: ... and freezes nothing");
	is(state_of($node, q{SELECT pointstore.append_event('f20', 'Earned', 1)}, user => 'nobody_else'), '42501', "$name: a stranger does not");
}
is(node_faults($full), '', 'all is sound at the end');
done_testing();
