# Reconciliation of a store on Citus: each node goes through its own shards, and finds there what a plain store's
# reconciler would, whatever was done behind the store's back, and nothing of what is well.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'Citus is not installed' if citus_is_missing();

# the feed is 078's: what is done behind the store's back here, and put right, has had positions
my $nodes = new_nodes(2, conf => "max_parallel_workers_per_gather = 0\npointstore.sequencer = off");
my ($c, $w1, $w2) = map { $nodes->{$_} } @{ $nodes->{names} };
my @all = ($c, $w1, $w2);
my @names = @{ $nodes->{names} };
my %group = groups_of($nodes);
my %node_of_group = map { $group{$_} => $nodes->{$_} } @names;

# the plain store that says what is to be found, in a database beside it
$c->safe_psql('postgres', 'CREATE DATABASE plain');
create_store($c, 'plain');
my $behind = 'SET client_min_messages = error; SET citus.override_table_visibility = off; SET session_replication_role = replica; SET citus.enable_manual_changes_to_shards = on;';

$c->safe_psql('postgres', sprintf(q{SELECT citus_set_node_property('127.0.0.1', %d, 'shouldhaveshards', true)}, $c->port));
distribute($nodes, 6);

# The same in both stores: each statement through the next node, and in the plain one.
my %session = map { $_->name => CitusTest::Session->new($_, options => '-c client_min_messages=error') } @all;
my $turn = 0;
sub both
{
	my (@statements) = @_;
	foreach my $sql (@statements)
	{
		my $session = $session{ $all[ $turn++ % 3 ]->name };
		my $state = state_of($session, $sql);
		$state eq '00000' or die "$state $session->{error}: $sql";
	}
	$c->safe_psql('plain', join ";\n", @statements);
	return;
}

# Accounts of a node, as many as wanted, whose names begin so; shard: all of one shard.
sub accounts_on
{
	my ($name, $n, $prefix, %params) = @_;
	my @rows = map { [ split /\|/ ] } split /\n/, rows_of($session{c}, "SELECT m.shard, '$prefix' || i FROM generate_series(1, 200) i
		JOIN pointstore.shard_map m ON hashtext('$prefix' || i) BETWEEN m.min_hash AND m.max_hash WHERE m.node = $group{$name} ORDER BY i");
	@rows = grep { $_->[0] == $rows[0][0] } @rows if $params{shard};
	return map { $_->[1] } @rows[ 0 .. $n - 1 ];
}

sub node_with { return $node_of_group{ rows_of($session{c}, "SELECT node FROM pointstore.node_of('$_[0]')") }; }
sub others_than { my ($node) = @_; return grep { $_ != $node } @all; }

# What names tables of the store, of the shards where an account is.
sub in_shards_of
{
	my ($account, $sql) = @_;
	my %shard = map { split /\|/ } split /\n/, rows_of($session{c}, "SELECT t.tab, get_shard_id_for_distribution_column('pointstore.' || t.tab, '$account')
		FROM pointstore.distributed_tables() t WHERE t.by_column IN ('aggregate_id', 'place')");
	return $sql =~ s/pointstore\.(\w+)\b/exists $shard{$1} ? "pointstore.$1_$shard{$1}" : "pointstore.$1"/ger;
}

# Does something behind the stores' backs: to the shards of accounts, and in the plain one. List of [account, SQL].
sub corrupt
{
	my (@ways) = @_;
	my %script;

	push @{ $script{ node_with($_->[0])->name } }, in_shards_of(@$_) foreach @ways;
	$nodes->{$_}->safe_psql('postgres', $behind . join ";\n", @{ $script{$_} }) foreach keys %script;
	$c->safe_psql('plain', $behind . join ";\n", map { $_->[1] } @ways);
	return;
}

# Runs of a scope on all nodes, and of the plain store. What became of each: ok, or its SQLSTATE.
sub reconcile
{
	my ($scope, %params) = @_;
	my @became = map { state_of($session{ $_->name }, "CALL pointstore.reconcile('$scope')") } @{ $params{on} // \@all };
	$c->safe_psql('plain', "SET client_min_messages = error; CALL pointstore.reconcile('$scope')") if $params{plain};
	return join ' ', @became;
}

# Open findings: account, code, severity, expected, found, version. Where two of these are ids of events it is their versions that count.
sub open_findings
{
	my ($node, $db) = @_;
	return $node->safe_psql($db // 'postgres', q{
		SELECT f.aggregate_id, f.code, f.severity, coalesce('event ' || x.version, f.expected::text), coalesce('event ' || y.version, CASE WHEN f.code = 'link_broken' AND f.expected IS NULL AND f.found IS NOT NULL THEN 'event' END, f.found::text), f.version
		  FROM pointstore.finding f
		  LEFT JOIN pointstore.event_store x ON x.aggregate_id = f.aggregate_id AND x.id = f.expected AND f.code = 'duplicate_request'
		  LEFT JOIN pointstore.event_store y ON y.aggregate_id = f.aggregate_id AND y.id = f.found AND f.code = 'duplicate_request'
		 WHERE f.resolved_at IS NULL ORDER BY f.aggregate_id COLLATE "C", f.code COLLATE "C"});
}

sub statuses { return join ' ', map { $_->safe_psql('postgres', $_[0]) } @all; }

# No finding, and the last run of each shard that came to an end was clean.
sub is_clean
{
	my ($what) = @_;
	is(open_findings($c), '', "$what: no finding");
	is($c->safe_psql('postgres', q{SELECT string_agg(DISTINCT status || ' ' || unverified, ', ') FROM (
		SELECT DISTINCT ON (place) status, unverified FROM pointstore.reconciliation WHERE status IN ('clean', 'findings', 'failed') ORDER BY place, id DESC) r}), 'clean 0', "$what: clean");
	return;
}

#
# What is well
#

my $kinds = q{INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('seat', 'seat', NULL);
	INSERT INTO pointstore.account_kind (kind, mode) VALUES ('pure', 'pure');
	INSERT INTO pointstore.account_kind (kind, initial_state) VALUES ('flow', 'new');
	INSERT INTO pointstore.account_kind (kind, on_mismatch, source_of_truth) VALUES ('events', 'repair', 'events'), ('balance', 'repair', 'balance'), ('freeze', 'freeze', 'events');
	INSERT INTO pointstore.transition VALUES ('flow', 'new', 'Began', 'going'), ('flow', 'going', 'Ended', 'gone')};
both(split /;/, $kinds);

is(statuses('SELECT last_clean_full IS NULL AND last_incremental IS NULL AND oldest_unproved IS NULL FROM pointstore.reconciliation_status'), 't t t', 'no run yet');
my @odd = (' ', '  ', "\xc3\xa4\xe2\x98\x83", 'null', 'NULL', '0', '-1', '%', '\\', 'a"b', '{}', '\N', 'x' x 255);
foreach my $i (0 .. $#all)
{
	my ($name, $node, $session) = ($names[$i], $all[$i], $session{ $all[$i]->name });
	my @mine = accounts_on($name, 3, 'well');
	my ($there) = accounts_on($names[ ($i + 1) % 3 ], 1, 'well');
	my ($r, $f, $x, $l, $p) = map { "$_$name" } qw(r f x l p);
	my @statements = (
		(map {; "append_event('$_', 'Given', 1000, request_id => 'same')" } @mine, $there),
		(map {; "hold('$_', 10, 'open')", "hold('$_', 10, 'taken')", "confirm_hold('taken', 4, '$_')", "hold('$_', 10, 'left')", "cancel_hold('left', '$_')", "cancel_hold('never', '$_')", "hold('$_', 5, 'short', '1 ms')" } @mine),
		"transfer('$mine[0]', '$mine[1]', 100)", "transfer('$mine[0]', '$there', 100, '$name')", "transfer('$there', '$mine[2]', 50)", "transfer('$mine[1]', '$there', 1, 'req2')",
		"hold('$mine[0]', 3, 'given')", "confirm_hold('given', aggregate_id => '$mine[0]')",
		"append_event('$r', 'Given', 10)", "append_event('$r', 'Given', 5)", "reverse_event('$r', 1)", "reverse_event('$r', 2, 3)", "reverse_event('$r', 2, 2)",
		qq{append_events('[{"aggregate_id": "$mine[0]", "event_type": "E", "amount": -5}, {"aggregate_id": "$there", "event_type": "E", "amount": 5}, {"aggregate_id": "$r", "event_type": "E", "amount": 0}]', balanced => true)},
		"append_event('$f', 'Given', 10)", "hold('$f', 1, 'short', '1 ms')", "freeze_account('$f', 'test')", "open_account('$x')", "close_account('$x')", "append_event('w$x', 'Began', kind => 'flow')", "set_kind('w$x', 'flow', new_state => 'gone')", "open_account('o$x', 'flow')",
		"acquire_lease('$l', 'me')", "append_event('$p', 'Given', 3, kind => 'pure')", "append_event('$p', 'Given', -2)", "open_account('o$p', 'pure')", "rebuild_balance('$r', true)",
		$i == 0 ? (map {; "append_event(\$odd\$$_\$odd\$, 'Given', 1, kind => 'seat')" } @odd) : ());
	foreach (@statements)
	{
		is(state_of($session, "SELECT pointstore.$_"), '00000', "$name: $_");
	}
}
usleep(10_000);
is(state_of($session{ $_->name }, 'CALL pointstore.sweep_holds()'), '00000', 'sweep on ' . $_->name) foreach @all;
cmp_ok($c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.hold WHERE status = 'expired'}), '>=', 9, 'holds have expired');
is(statuses('SELECT oldest_unproved = (SELECT min(created_at) FROM pointstore.event_store) FROM pointstore.reconciliation_status'), 't t t', 'nothing is proved');
foreach my $scope (qw(incremental full incremental full))
{
	is(reconcile($scope), '00000 00000 00000', "runs, $scope");
	is_clean("healthy, $scope");
}
is(statuses('SELECT oldest_unproved IS NULL AND last_clean_full IS NOT NULL AND last_incremental IS NOT NULL AND open_critical + open_error + open_warning = 0 FROM pointstore.reconciliation_status'), 't t t', 'all is proved');
is($c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store e LEFT JOIN pointstore.account_proof p ON p.aggregate_id = e.aggregate_id WHERE p.version IS NULL OR p.version < e.version}), 0, 'each account to its last event');

#
# What is not
#

# The accounts that a way needs, by their letters: how each comes to be.
my %made = (
	a => [ map {; "append_event('{a}', 'Given', $_)" } 1 .. 4 ],
	p => [ map {; "append_event('{p}', 'Given', $_, kind => 'pure')" } 1 .. 2 ],
	f => [ "append_event('{f}', 'Given', 3)", "freeze_account('{f}', 'test')" ],
	w => [ "append_event('{w}', 'Began', kind => 'flow')", "append_event('{w}', 'Noted')" ],
	v => [ "append_event('{v}', 'Began', kind => 'flow')", "set_kind('{v}', 'flow', new_state => 'gone')" ],
	u => [ "open_account('{u}', 'flow')" ],
	h => [ "append_event('{h}', 'Given', 100)", "hold('{h}', 10, '{h}o', '1 day')", "hold('{h}', 10, '{h}c', '2 days')", "confirm_hold('{h}c', 4, '{h}')", "hold('{h}', 5, '{h}x', '3 days')", "cancel_hold('{h}x', '{h}')", "hold('{h}', 20, '{h}q', '4 days')" ],
	r => [ "append_event('{r}', 'Given', 10)", "append_event('{r}', 'Given', 10)", "reverse_event('{r}', 1)" ],
	t => [ "append_event('{t}', 'Given', 100)", "transfer('{t}', '{s}', 10, '{t}transfer')" ]);
my @ways = (
	# rows of balances
	[ a => q{UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = '{a}'} ],
	[ a => q{UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = '{a}'} ],
	[ a => q{UPDATE pointstore.balance SET version = 5 WHERE aggregate_id = '{a}'} ],
	[ a => q{UPDATE pointstore.balance SET version = 9223372036854775807 WHERE aggregate_id = '{a}'} ],
	[ a => q{UPDATE pointstore.balance SET held = 1 WHERE aggregate_id = '{a}'} ],
	[ h => q{UPDATE pointstore.balance SET held = held - 1 WHERE aggregate_id = '{h}'} ],
	[ h => q{UPDATE pointstore.balance SET next_expiry = next_expiry + interval '1 day' WHERE aggregate_id = '{h}'} ],
	[ a => q{UPDATE pointstore.balance SET incoming = 1 WHERE aggregate_id = '{a}'} ],
	[ a => q{DELETE FROM pointstore.balance WHERE aggregate_id = '{a}'} ],
	[ a => q{DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}'} ],
	[ a => q{DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}'; DELETE FROM pointstore.balance WHERE aggregate_id = '{a}'} ],
	[ a => q{INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('{o}', 3, 30)} ],
	[ p => q{INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('{p}', 2, 3)} ],
	[ p => q{DELETE FROM pointstore.pure_account WHERE aggregate_id = '{p}'} ],
	[ a => q{UPDATE pointstore.balance SET kind = 'seat' WHERE aggregate_id = '{a}'} ],
	[ f => q{UPDATE pointstore.balance SET status = 'open' WHERE aggregate_id = '{f}'} ],
	[ a => q{UPDATE pointstore.balance SET status = 'frozen' WHERE aggregate_id = '{a}'} ],
	[ p => q{UPDATE pointstore.pure_account SET status = 'closed' WHERE aggregate_id = '{p}'} ],
	[ w => q{UPDATE pointstore.balance SET state = 'gone' WHERE aggregate_id = '{w}'} ],
	[ a => q{UPDATE pointstore.balance SET state = 'gone' WHERE aggregate_id = '{a}'} ],
	[ v => q{UPDATE pointstore.balance SET state = 'going' WHERE aggregate_id = '{v}'} ],
	[ v => q{UPDATE pointstore.account_log SET after = after || '{"state": "new"}' WHERE aggregate_id = '{v}'} ],
	[ u => q{UPDATE pointstore.balance SET state = 'gone' WHERE aggregate_id = '{u}'} ],
	# events
	[ w => q{UPDATE pointstore.event_store SET state_after = 'gone' WHERE aggregate_id = '{w}' AND version = 2} ],
	[ a => q{UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = '{a}' AND version = 2} ],
	[ a => q{UPDATE pointstore.event_store SET amount = amount + CASE version WHEN 2 THEN 1 ELSE -1 END WHERE aggregate_id = '{a}' AND version IN (2, 4)} ],
	[ p => q{UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = '{p}' AND version = 1} ],
	[ a => q{UPDATE pointstore.event_store SET balance_after = balance_after + 1 WHERE aggregate_id = '{a}' AND version = 3} ],
	[ a => q{DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}' AND version = 2} ],
	[ a => q{DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}' AND version = 4} ],
	[ a => q{DELETE FROM pointstore.event_store WHERE aggregate_id = '{a}' AND version = 4; UPDATE pointstore.balance SET version = 3, balance = balance - 4 WHERE aggregate_id = '{a}'} ],
	[ p => q{DELETE FROM pointstore.event_store WHERE aggregate_id = '{p}' AND version = 1} ],
	[ a => q{UPDATE pointstore.event_store SET version = 9223372036854775807 WHERE aggregate_id = '{a}' AND version = 4} ],
	[ a => q{UPDATE pointstore.event_store SET version = 0 WHERE aggregate_id = '{a}' AND version = 1} ],
	[ a => q{UPDATE pointstore.event_store SET created_at = created_at - interval '1 day' WHERE aggregate_id = '{a}' AND version = 3} ],
	[ a => q{UPDATE pointstore.event_store SET request_id = '{a}', leg = NULL WHERE aggregate_id = '{a}' AND version IN (2, 3)} ],
	# holds: o is open, q too, c confirmed in part, x cancelled
	[ h => q{UPDATE pointstore.hold SET amount = amount + 1 WHERE hold_id = '{h}o'} ],
	[ h => q{UPDATE pointstore.hold SET amount = amount - 1 WHERE hold_id = '{h}o'} ],
	[ h => q{UPDATE pointstore.hold SET amount = 30 - amount WHERE hold_id IN ('{h}o', '{h}q')} ],
	[ h => q{UPDATE pointstore.hold SET event_id = event_id - 1 WHERE hold_id = '{h}o'} ],
	[ h => q{UPDATE pointstore.hold SET status = 'cancelled' WHERE hold_id = '{h}o'} ],
	[ h => q{UPDATE pointstore.hold SET status = 'open' WHERE hold_id = '{h}x'} ],
	[ h => q{UPDATE pointstore.hold SET status = 'confirmed' WHERE hold_id = '{h}x'} ],
	[ h => q{UPDATE pointstore.hold SET captured = captured + 1 WHERE hold_id = '{h}c'} ],
	[ h => q{UPDATE pointstore.hold SET expires_at = expires_at + interval '1 second' WHERE hold_id = '{h}q'} ],
	[ h => q{DELETE FROM pointstore.hold WHERE hold_id = '{h}o'} ],
	[ h => q{DELETE FROM pointstore.hold WHERE hold_id = '{h}c'} ],
	[ a => q{INSERT INTO pointstore.hold (hold_id, aggregate_id, amount, captured, status, created_at, expires_at) VALUES ('{a}', '{a}', 0, 0, 'open', now(), NULL)} ],
	[ h => q{UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = '{h}' AND version = 1) WHERE aggregate_id = '{h}' AND version = 6} ],
	[ h => q{UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = '{h}' AND version = 3) WHERE aggregate_id = '{h}' AND version = 6} ],
	# links of an account, and of two in one shard
	[ r => q{UPDATE pointstore.event_store SET amount = amount - 1, balance_after = balance_after - 1 WHERE aggregate_id = '{r}' AND version = 3; UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = '{r}'} ],
	[ r => q{UPDATE pointstore.event_store SET cause_id = NULL WHERE aggregate_id = '{r}' AND version = 3} ],
	[ t => q{UPDATE pointstore.event_store SET cause_id = (SELECT id FROM pointstore.event_store WHERE aggregate_id = '{s}' AND version = 1) WHERE aggregate_id = '{s}' AND version = 1} ],
	[ t => q{UPDATE pointstore.event_store SET cause_id = NULL, request_id = NULL WHERE aggregate_id = '{s}' AND version = 1} ],
	[ t => q{UPDATE pointstore.event_store SET request_id = '{s}other' WHERE aggregate_id = '{t}' AND version = 2} ],
	[ t => q{UPDATE pointstore.event_store SET leg = 7 WHERE aggregate_id = '{t}' AND version = 2} ],
	# index_mismatch: a row that no index knows of
	[ a => q{UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.event_store'::regclass;
		INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at) VALUES (-9, '{a}', 5, 'Slipped', 5, 0, 15, '{}', now(), now());
		UPDATE pg_index SET indisready = true WHERE indrelid = 'pointstore.event_store'::regclass} ],
	# duplicate_row
	[ a => q{UPDATE pg_index SET indisready = false WHERE indrelid = 'pointstore.balance'::regclass; INSERT INTO pointstore.balance SELECT * FROM pointstore.balance WHERE aggregate_id = '{a}';
		UPDATE pg_index SET indisready = true WHERE indrelid = 'pointstore.balance'::regclass} ],
);

# The accounts of a way are all of one shard, those of the ways in turn of all nodes: the one that is accused, SQL, and the calls that make it.
my $n_ways = 0;
sub make_way
{
	my ($round, $way) = @_;
	my ($letter, $corruption) = @$way;
	my @accounts = accounts_on($names[ $n_ways++ % 3 ], 2, "$round$n_ways$letter", shard => 1);
	my %account = ($letter => $accounts[0], s => $accounts[1], o => $accounts[1]);
	my ($sql, @calls) = map { s/\{(\w)\}/$account{$1} \/\/ die $_/ger } $corruption, @{ $made{$letter} };
	return [ $letter eq 't' || $corruption =~ /\{o\}/ ? $accounts[1] : $accounts[0], $sql, @calls ];
}

# Each way to accounts of its own, in both stores, which find the same by a run of that scope; then others of the other.
foreach my $scope (qw(incremental full))
{
	my @made = map { make_way(substr($scope, 0, 1), $_) } @ways;
	both(map {; "SELECT pointstore.$_" } map { @$_[ 2 .. $#$_ ] } @made);
	is(reconcile('incremental', plain => 1), '00000 00000 00000', 'runs of what is well') if $scope eq 'full';
	corrupt(@made);
	is(reconcile($scope, plain => 1), '00000 00000 00000', "runs, $scope");
	my ($found, $expected) = map { open_findings($c, $_) } 'postgres', 'plain';
	is($found, $expected, "the findings of a plain store, $scope");
	my %accused = map { (split /\|/)[0] => 1 } split /\n/, $found;
	is(scalar(grep { !$accused{ $_->[0] } } @made), $scope eq 'full' ? 0 : 10, 'each is accused, but those that an incremental run does not look at');
	foreach my $node (@all)
	{
		is($node->safe_psql('postgres', 'SELECT open_critical, open_error, open_warning FROM pointstore.reconciliation_status'),
			$c->safe_psql('plain', 'SELECT open_critical, open_error, open_warning FROM pointstore.reconciliation_status'), 'the status counts them, on ' . $node->name);
		is(open_findings($node), $found, '... and they are seen');
	}
}


# Rows of an account in a shard that is not its: told, and not what ends the run. By themselves they look well.
{
	my ($mine) = accounts_on('w1', 1, 'mis');
	my ($theirs) = accounts_on('w2', 1, 'mis');
	my $before = $w1->safe_psql('postgres', q{SELECT max(id) FROM pointstore.reconciliation});
	$w1->safe_psql('postgres', $behind . in_shards_of($mine, "INSERT INTO pointstore.balance (aggregate_id, balance, version) VALUES ('$theirs', 5, 1);
		INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at) VALUES (-1, '$theirs', 1, 'E', 5, 0, 5, '{}', now(), now())"));
	is(reconcile('full', on => [$w1]), '00000', 'a full run of a node with misplaced rows');
	is($w1->safe_psql('postgres', qq{SELECT count(*), sum(unverified) FROM pointstore.reconciliation WHERE id > $before AND status <> 'running'}), '2|1', '... of all its shards, one unverified');
	is($w1->safe_psql('postgres', "SELECT count(*) FROM pointstore.finding WHERE aggregate_id = '$theirs'"), 0, '... without a finding');
	$w1->safe_psql('postgres', $behind . in_shards_of($mine, "DELETE FROM pointstore.balance WHERE aggregate_id = '$theirs'; DELETE FROM pointstore.event_store WHERE aggregate_id = '$theirs'"));
}

# What is put right by hand is closed: here, accounts that are not there any more.
{
	my $open = open_findings($c);
	$_->safe_psql('postgres', $behind . q{DO $$ DECLARE t record; BEGIN
		FOR t IN SELECT c.oid::regclass AS tab FROM pg_class c WHERE relnamespace = 'pointstore'::regnamespace AND relkind = 'r' AND relname ~ '^(event_store|balance|pure_account|hold|account_log|account_proof)_\d+$' LOOP
			EXECUTE format('DELETE FROM %s WHERE aggregate_id ~ %L', t.tab, '^[if]\d+[a-z]');
		END LOOP; END $$}) foreach @all;
	is(reconcile('full'), '00000 00000 00000', 'runs of what was put right');
	is_clean('what was put right');
	is($c->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE resolved_by = 'reconcile'), count(*) FROM pointstore.finding}), join('|', ($open =~ tr/\n// + 1) x 2), '... each by a run');
}

#
# What is done about it
#

sub make_accounts
{
	my ($kind, $prefix) = @_;
	my @accounts = map { accounts_on($_, 1, $prefix) } @names;
	both(map {; "SELECT pointstore.append_event('$accounts[$_]', 'Given', 5, kind => '$kind')", "SELECT pointstore.append_event('$accounts[$_]', 'Given', 5)" } 0 .. 2);
	return @accounts;
}
sub finding_of { return $c->safe_psql('postgres', "SELECT id FROM pointstore.finding WHERE aggregate_id = '$_[0]' AND resolved_at IS NULL"); }
sub put_balance { return corrupt(map { [ $_, "UPDATE pointstore.balance SET balance = $_[0] WHERE aggregate_id = '$_'" ] } @_[ 1 .. $#_ ]); }
my $row = q{SELECT string_agg(concat_ws(' ', version, balance, status), ', ') FROM pointstore.account WHERE aggregate_id = ANY ('{%s}')};

# by each kind's policy, and in the shard: account, log, finding
foreach my $policy ([ events => 'repaired', '2 10 open', 'repair' ], [ balance => 'repaired', '3 11 open', 'repair' ], [ freeze => 'frozen', '2 11 frozen', 'freeze' ], [ default => 'reported', '2 11 open', '' ])
{
	my ($kind, $action, $after, $logged) = @$policy;
	my @accounts = make_accounts($kind, "policy$kind");
	my $list = join ',', @accounts;
	put_balance(11, @accounts);
	is(reconcile($kind eq 'events' ? 'incremental' : 'full', plain => 1), '00000 00000 00000', "policy of kind $kind");
	foreach my $db ('postgres', 'plain')
	{
		is($c->safe_psql($db, sprintf $row, $list), join(', ', ($after) x 3), "$db: ... accounts");
		is($c->safe_psql($db, "SELECT DISTINCT action, resolved_at IS NOT NULL FROM pointstore.finding WHERE aggregate_id = ANY ('{$list}')"), $action eq 'repaired' ? 'repaired|t' : "$action|f", "$db: ... findings");
		is($c->safe_psql($db, "SELECT DISTINCT action || ' ' || reason FROM pointstore.account_log WHERE aggregate_id = ANY ('{$list}') AND action <> 'open'"), $logged && "$logged reconciliation", "$db: ... log");
	}
	if ($action ne 'repaired')
	{
		# the operator's: on the node that has the account, nowhere else
		foreach my $account (@accounts)
		{
			my ($id, $here) = (finding_of($account), node_with($account));
			foreach my $node (others_than($here))
			{
				is(state_of($session{ $node->name }, "SELECT pointstore.repair($id)"), 'PS013', 'repair() on another node');
				is(state_of($session{ $node->name }, "SELECT pointstore.acknowledge($id, 'x')"), 'PS013', '... acknowledge()');
			}
			is(state_of($session{ $here->name }, 'SELECT pointstore.repair(-1)'), 'PS008', '... of no finding');
			is(state_of($session{ $here->name }, "SELECT pointstore.repair($id)"), '00000', '... where it is');
			is(rows_of($session{ $here->name }, "SELECT version, balance FROM pointstore.account WHERE aggregate_id = '$account'"), '2|10', '... is done');
			is(rows_of($session{c}, "SELECT action, resolved_by = current_user FROM pointstore.finding WHERE id = $id"), 'repaired|t', '... and closed');
			# a session that has repaired in one shard still goes to others
			is(state_of($session{ $here->name }, "SELECT pointstore.repair($id)"), 'PS008', '... once');
		}
		is(state_of($session{ node_with($accounts[0])->name }, "SELECT pointstore.unfreeze_account('$accounts[0]', 'x')"), '00000', 'unfrozen') if $action eq 'frozen';
	}
}
is(reconcile('full'), '00000 00000 00000', 'runs after all that');
is_clean('after all that');

# acknowledged: quiet, until something further is wrong
{
	my @accounts = make_accounts('default', 'known');
	corrupt(map { [ $_, "UPDATE pointstore.event_store SET amount = amount + 1 WHERE aggregate_id = '$_' AND version = 1" ] } @accounts);
	is(reconcile('incremental'), '00000 00000 00000', 'runs that find it');
	foreach my $account (@accounts)
	{
		my $node = node_with($account);
		is(state_of($session{ $node->name }, "SELECT pointstore.acknowledge($_, 'known')"), '00000', "acknowledged on " . $node->name) foreach split /\n/, finding_of($account);
	}
	both(map {; "SELECT pointstore.append_event('$_', 'Given', 5)" } @accounts);
	foreach my $scope ('incremental', 'full')
	{
		is(reconcile($scope), '00000 00000 00000', "runs, $scope");
		is_clean("acknowledged, $scope");
	}
	is(rows_of($session{c}, q{SELECT count(*), count(DISTINCT aggregate_id) FROM pointstore.finding WHERE action = 'acknowledged'}), '6|3', 'each is kept');
	put_balance(99, $accounts[0]);
	is(reconcile('full'), '00000 00000 00000', 'something further');
	is(open_findings($c), "$accounts[0]|balance_mismatch|error|16|99|3", '... is a finding');
	put_balance(15, $accounts[0]);
	is(reconcile('incremental'), '00000 00000 00000', 'put back');
	is_clean('put back');
	corrupt(map { [ $_, "UPDATE pointstore.event_store SET amount = amount - 1 WHERE aggregate_id = '$_' AND version = 1" ] } @accounts);
}


#
# By themselves
#

# Waits until a query says t, on every node or those given.
sub wait_for
{
	my ($what, $query, @on) = @_;
	ok(poll_until($_, 'postgres', $query), "$what, " . $_->name) foreach @on ? @on : @all;
	return;
}

# A setting of all nodes.
sub setting
{
	foreach my $node (@all)
	{
		$node->append_conf('postgresql.conf', join "\n", @_);
		$node->reload;
	}
	return;
}

# Whether each shard that this node has, has had a run of a scope by the worker that began since then.
sub since
{
	my ($scope, $start, $but) = @_;
	$but = $but ? "NOT hashtext('$but') BETWEEN m.min_hash AND m.max_hash" : 'true';
	return "WITH r AS MATERIALIZED (SELECT place FROM pointstore.reconciliation WHERE scope = '$scope' AND status = 'clean' AND triggered_by = 'worker' AND started_at > '$start')
		SELECT count(DISTINCT m.shard) FILTER (WHERE r.place IS NOT NULL) = count(DISTINCT m.shard)
		  FROM pointstore.shard_map m JOIN pg_dist_local_group l ON l.groupid = m.node LEFT JOIN r ON hashtext(r.place) BETWEEN m.min_hash AND m.max_hash WHERE $but";
}
sub now { return rows_of($session{c}, 'SELECT clock_timestamp()'); }
sub move
{
	my ($account, $to, $mode) = @_;
	my $from = node_with($account);
	my $sql = sprintf q{SELECT citus_move_shard_placement((SELECT shard FROM pointstore.node_of('%s')), '127.0.0.1', %d, '127.0.0.1', %d, '%s')}, $account, $from->port, $to->port, $mode // 'block_writes';
	return is(state_of(CitusTest::Session->new($c), $sql), '00000', sprintf 'the shard of %s moves from %s to %s', $account, $from->name, $to->name);
}

{
	my $start = now();
	setting('pointstore.reconcile_interval = 1s', 'pointstore.full_reconcile_interval = 2s', 'pointstore.reconcile_delay = 0');
	is(statuses('SELECT worker_alive FROM pointstore.reconciliation_status'), 't t t', 'the schedule is served');
	foreach my $scope ('incremental', 'full')
	{
		wait_for("runs by themselves, $scope", since($scope, $start));
		wait_for('... again', since($scope, now()));
	}
	is_clean('by themselves');
}

# Moves to and fro, in the midst of slow runs; what is appended on the new node is looked at there.
my ($mover) = accounts_on('w1', 1, 'mover');
both("SELECT pointstore.append_event('$mover', 'Given', 1)");
setting('pointstore.reconcile_delay = 100ms', 'pointstore.full_reconcile_interval = 1s');
foreach my $mode ('block_writes', 'force_logical', 'block_writes', 'block_writes')
{
	my ($from) = node_with($mover);
	my ($to) = others_than($from);
	my $running = q{SELECT EXISTS (SELECT FROM pointstore.reconcile_progress WHERE scope = 'full')};
	ok(poll_until($from, 'postgres', $running), 'a run is under way');
	move($mover, $to, $mode);
	my $moved = now();
	setting('pointstore.reconcile_delay = 0');
	wait_for('incremental runs go on', since('incremental', $moved));
	wait_for('... full ones', since('full', $moved));
	both("SELECT pointstore.append_event('$mover', 'Given', 1)");
	wait_for('... and prove what is appended there', "SELECT count(*) = 1 FROM pointstore.account_proof p JOIN pointstore.account a USING (aggregate_id) WHERE p.aggregate_id = '$mover' AND p.version = a.version", $to);
	is_clean("after a move ($mode)");
	is($c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.reconciliation r JOIN pointstore.reconciliation o ON o.place = r.place AND o.scope = r.scope AND o.id < r.id AND o.started_at > r.started_at}), 0, '... ids of runs rise');
	setting('pointstore.reconcile_delay = 100ms');
}
setting('pointstore.reconcile_interval = 0', 'pointstore.full_reconcile_interval = 0', 'pointstore.reconcile_delay = 0');

# What was appended on the new node, and corrupted there, is found by an incremental run.
wait_for('no worker is left', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'});
{
	my ($to) = others_than(node_with($mover));
	is(reconcile('incremental'), '00000 00000 00000', 'runs before');
	move($mover, $to);
	both("SELECT pointstore.append_event('$mover', 'Given', 1)");
	corrupt([ $mover, "UPDATE pointstore.balance SET balance = 100 WHERE aggregate_id = '$mover'" ]);
	is(reconcile('incremental', on => [$to]), '00000', 'a run there');
	like(open_findings($_), qr/^\Q$mover\E\|balance_mismatch\|error\|6\|100\|6$/, 'seen on ' . $_->name) foreach @all;
	is(state_of($session{ $to->name }, "SELECT pointstore.repair(" . finding_of($mover) . ')'), '00000', 'repaired where it is now');
	is(reconcile('incremental'), '00000 00000 00000', 'runs after that');
	is_clean('repaired');
}

# A shard is split: each part has runs of its own.
{
	my ($shard, $min, $max, $port) = split /\|/, rows_of($session{c}, "SELECT m.shard, min_hash, max_hash, m.port FROM pointstore.shard_map m JOIN pointstore.node_of('$mover') n USING (shard)");
	my %id = map { split /\|/ } split /\n/, $c->safe_psql('postgres', 'SELECT nodeport, nodeid FROM pg_dist_node');
	my $middle = int(($min + $max) / 2);
	my ($here) = grep { $_->port == $port } @all;
	my ($there) = others_than($here);
	setting('pointstore.reconcile_delay = 100ms', 'pointstore.reconcile_interval = 1s', 'pointstore.full_reconcile_interval = 1s');
	ok(poll_until($here, 'postgres', q{SELECT EXISTS (SELECT FROM pointstore.reconcile_progress WHERE scope = 'full')}), 'a run is under way');
	is(state_of(CitusTest::Session->new($c), "SELECT citus_split_shard_by_split_points($shard, ARRAY['$middle'], ARRAY[" . join(', ', map { $id{ $_->port } } $here, $there) . "], 'block_writes')"), '00000', 'a shard is split');
	my $split = now();
	setting('pointstore.reconcile_delay = 0');
	wait_for("runs of all shards, $_", since($_, $split)) foreach 'incremental', 'full';
	is_clean('after a split');
	is(statuses('SELECT last_clean_full IS NOT NULL AND last_incremental IS NOT NULL AND oldest_unproved IS NULL FROM pointstore.reconciliation_status'), 't t t', '... and the status');
}

# A worker that is killed: its run is interrupted, and the next goes on.
{
	setting('pointstore.reconcile_delay = 500ms');
	ok(poll_until($w1, 'postgres', q{SELECT count(pg_terminate_backend(pid)) = 1 FROM (SELECT pid FROM pointstore.reconcile_progress WHERE scope = 'full' OFFSET 0) p}), 'a worker is ended');
	my $ended = now();
	setting('pointstore.reconcile_delay = 0');
	wait_for('its run is interrupted, in the end', q{SELECT count(*) > 0 FROM pointstore.reconciliation_run WHERE status = 'interrupted' AND scope = 'full'}, $w1);
	wait_for('... and the next is clean', since('full', $ended), $w1);
}

# One shard that has no run let in does not keep the others waiting.
{
	my $place = $w1->safe_psql('postgres', q{WITH r AS MATERIALIZED (SELECT DISTINCT place FROM pointstore.reconciliation WHERE place <> '')
		SELECT r.place FROM r JOIN pointstore.shard_map m ON hashtext(r.place) BETWEEN m.min_hash AND m.max_hash JOIN pg_dist_local_group l ON l.groupid = m.node ORDER BY m.min_hash LIMIT 1});
	my $broken = in_shards_of($place, 'pointstore.reconciliation');
	foreach my $when ('INSERT', 'INSERT OR UPDATE')
	{
		$w1->safe_psql('postgres', $behind . qq{SET citus.enable_ddl_propagation = off; SET citus.enable_unsafe_triggers = on;
			CREATE OR REPLACE FUNCTION public.no_run() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''U0666''; END';
			CREATE TRIGGER no_run BEFORE $when ON $broken FOR EACH ROW EXECUTE FUNCTION public.no_run()});
		my $start = now();
		wait_for("the other shards have runs, $when", since('full', $start, $place), $w1);
		wait_for('... again', since('full', now(), $place), $w1);
		is($w1->safe_psql('postgres', "SELECT count(*) FROM pointstore.reconciliation WHERE place = '$place' AND started_at > timestamptz '$start' + interval '1 second' AND status = 'clean'"), 0, '... this one has none');
		$w1->safe_psql('postgres', $behind . "DROP TRIGGER no_run ON $broken");
	}
	wait_for('... until it may', since($_, now()), $w1) foreach 'incremental', 'full';
	setting('pointstore.reconcile_interval = 0', 'pointstore.full_reconcile_interval = 0');
	wait_for('no worker is left', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler'});
}


#
# While it is used, it never cries wolf
#

{
	my @accounts = map { accounts_on($_, 4, 'busy') } @names;
	my @clients = map {
		my $node = $all[ $_ % 3 ];
		start_client("client $_", $nodes->{c}->basedir . "/client$_", sub {
			my ($told) = @_;
			my ($session, $finish, $n) = (CitusTest::Session->new($node), time + 20, 0);
			while (time < $finish)
			{
				my ($one, $other) = map { $accounts[ rand @accounts ] } 1, 2;
				my $kind = int rand 5;
				my @calls = $kind == 0 ? "append_event('$one', 'Given', 100)" : $kind == 1 ? "append_event('$one', 'Taken', -1)" : $kind == 2 ? "reverse_event('$one', 1 + floor(random() * 5)::int, 1)"
				  : $kind == 3 ? ("hold('$one', 3, 'h$$-$n')", int rand 2 ? "confirm_hold('h$$-$n', 2, '$one')" : "cancel_hold('h$$-$n', '$one')") : "transfer('$one', '$other', 1)";
				foreach my $call (@calls) { printf $told "%s\n", $session->query("SELECT pointstore.$call")->[0]; }
				$n++;
			}
		})
	} 0 .. 3;
	my $finish = time + 19;
	my %became;
	while (time < $finish)
	{
		$became{ reconcile($_) }++ foreach 'incremental', 'incremental', 'full';
	}
	waitpid $_->{pid}, 0 foreach @clients;
	my %states;
	foreach my $i (0 .. 3) { $states{$_}++ foreach split /\n/, slurp_file($nodes->{c}->basedir . "/client$i"); }
	note(join ', ', map { "$_: $states{$_}" } sort keys %states);
	cmp_ok($states{'00000'}, '>', 200, 'clients have written');
	is(join(' ', keys %became), '00000 00000 00000', 'runs beside them');
	is($c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.finding WHERE aggregate_id LIKE 'busy%'}), 0, '... never find anything');

	# a movement that is taken back bit by bit all the while, which the nodes are never seen in step of
	my ($from, $to) = map { accounts_on($_, 1, 'busyleg') } 'w1', 'w2';
	is(state_of($c, "SELECT pointstore.append_event('$from', 'Given', 1000)"), '00000', 'a movement');
	my $version = rows_of($c, "SELECT version FROM pointstore.transfer('$from', '$to', 1000) WHERE aggregate_id = '$from'");
	my $bits = start_client('bits', $nodes->{c}->basedir . '/bits', sub {
		my ($session, $stop) = (CitusTest::Session->new($w1), time + 7);
		while (time < $stop) { print { $_[0] } $session->query("SELECT pointstore.reverse_event('$from', $version, 1)")->[0], "\n"; }
	});
	my $until = time + 6;
	while (time < $until) { reconcile('full'); }
	waitpid $bits->{pid}, 0;
	like(slurp_file($nodes->{c}->basedir . '/bits'), qr/^(00000\n){30,}/, '... that is taken back in bits');
	is($c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.finding WHERE aggregate_id LIKE 'busyleg%'}), 0, '... is not found to be unbalanced');
	corrupt([ $to, "UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE aggregate_id = '$to' AND version = 1" ]);
	reconcile('full');
	is($c->safe_psql('postgres', "SELECT found FROM pointstore.finding WHERE aggregate_id = '$from' AND code = 'transfer_unbalanced' AND resolved_at IS NULL"), 1, '... and is when it is');
	corrupt([ $to, "UPDATE pointstore.event_store SET amount = amount - 1, balance_after = balance_after - 1 WHERE aggregate_id = '$to' AND version = 1" ]);
	is(reconcile('full'), '00000 00000 00000', 'a last run');
	is_clean('after use');
	is(node_faults($nodes), '', '... and sound');
}

#
# A full store of a role's that is distributed; what the role has put on its tables runs as that role
#

{
	my $own = new_nodes(1, prefix => 'own_');
	my ($oc, $ow) = map { $own->{$_} } @{ $own->{names} };
	$oc->safe_psql('postgres', sprintf q{SELECT citus_set_node_property('127.0.0.1', %d, 'shouldhaveshards', true)}, $oc->port);
	$oc->safe_psql('postgres', q{CREATE ROLE keeper; DROP SCHEMA pointstore CASCADE; DROP EXTENSION IF EXISTS pointstore CASCADE; CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper');
		GRANT CREATE ON SCHEMA pointstore, public TO keeper});
	$oc->safe_psql('postgres', q{SELECT pointstore.append_event('old' || a, 'Given', 1) FROM generate_series(1, 40) a, generate_series(1, 3)});
	$oc->safe_psql('postgres', q{SET client_min_messages = error; CALL pointstore.reconcile('full')});
	$oc->safe_psql('postgres', q{SET session_replication_role = replica; UPDATE pointstore.balance SET balance = 9 WHERE aggregate_id IN ('old1', 'old2', 'old3');
		UPDATE pointstore.event_store SET created_at = '2001-01-01' WHERE version = 3 AND aggregate_id IN ('old4', 'old5')});
	$oc->safe_psql('postgres', q{SET client_min_messages = error; CALL pointstore.reconcile('full')});
	$oc->safe_psql('postgres', q{SELECT pointstore.acknowledge(id, 'known') FROM pointstore.finding WHERE aggregate_id IN ('old1', 'old4')});
	$oc->safe_psql('postgres', q{INSERT INTO pointstore.reconciliation (scope, status, slices, slices_done, triggered_by) VALUES ('full', 'interrupted', 3, 2, 'worker')});
	$oc->safe_psql('postgres', q{SET citus.enable_ddl_propagation = off; SET ROLE keeper;
		CREATE FUNCTION public.mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN RAISE EXCEPTION USING ERRCODE = 'U0666'; END IF;
			IF TG_TABLE_NAME LIKE 'finding%' AND TG_OP <> 'DELETE' THEN NEW.detail := NEW.detail || jsonb_build_object('by', current_user); END IF;
			RETURN coalesce(NEW, OLD); END $$;
		CREATE RULE mine AS ON DELETE TO pointstore.reconciliation_checkpoint DO ALSO SELECT 1 / (SELECT count(*) FILTER (WHERE NOT rolsuper) FROM pg_catalog.pg_roles WHERE rolname = current_user)});
	$oc->safe_psql('postgres', "SET citus.enable_ddl_propagation = off; SET ROLE keeper; CREATE TRIGGER mine BEFORE INSERT OR UPDATE OR DELETE ON pointstore.$_ FOR EACH ROW EXECUTE FUNCTION public.mine()")
	  foreach qw(finding reconciliation reconciliation_checkpoint account_proof);
	my $kept = q{SELECT (SELECT string_agg(concat_ws(' ', id, scope, status), ', ' ORDER BY id) FROM pointstore.reconciliation), (SELECT string_agg(concat_ws(' ', id, aggregate_id, code, severity, expected, found, version, action, resolved_at IS NULL), ', ' ORDER BY id) FROM pointstore.finding)};
	my $before = $oc->safe_psql('postgres', $kept);
	like($before, qr/acknowledged.*reported/, 'a store with findings');
	is(state_of($oc, 'SELECT pointstore.distribute_store(4)'), '00000', '... is distributed, without what its owner has put there');
	$oc->safe_psql('postgres', q{SELECT pointstore.grant_access('keeper', 'operator')});
	is($_->safe_psql('postgres', $kept), $before, '... all is kept, on ' . $_->name) foreach $oc, $ow;
	is($_->safe_psql('postgres', 'SELECT last_clean_full IS NULL, last_incremental IS NULL, open_critical, open_error, open_warning FROM pointstore.reconciliation_status'), 't|t|1|2|0', '... nothing of it proved, on ' . $_->name) foreach $oc, $ow;
	foreach my $scope ('incremental', 'full')
	{
		is(state_of($_, "CALL pointstore.reconcile('$scope')"), '00000', "a superuser's run, $scope, on " . $_->name) foreach $oc, $ow;
	}
	is($oc->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE detail ->> 'by' = 'keeper') FROM pointstore.finding WHERE resolved_at IS NULL}), '3|3', 'what is open stays, the triggers ran as the owner');
	is($oc->safe_psql('postgres', q{SELECT count(*) FROM pointstore.reconciliation WHERE place <> '' AND scope = 'full' AND slices_done < slices}), 0, '... no run of before goes on');
	is($oc->safe_psql('postgres', q{SELECT count(*) FROM pointstore.reconciliation WHERE place = '' AND status = 'interrupted'}), 1, '... nor in its shard');
	foreach (split /\n/, $oc->safe_psql('postgres', q{SELECT id, aggregate_id FROM pointstore.finding WHERE resolved_at IS NULL AND code = 'balance_mismatch'}))
	{
		my ($id, $account) = split /\|/;
		my $port = $oc->safe_psql('postgres', "SELECT port FROM pointstore.node_of('$account')");
		my ($here, $there) = $port == $oc->port ? ($oc, $ow) : ($ow, $oc);
		is(join(' ', map { state_of($_, "SELECT pointstore.repair($id)") } $there, $here, $there), 'PS013 00000 PS008', "repaired where it is, though the owner logs in nowhere: $account");
	}
	is(state_of($_, "CALL pointstore.reconcile('full')"), '00000', "a last run on " . $_->name) foreach $oc, $ow;
	is($oc->safe_psql('postgres', q{SELECT string_agg(aggregate_id || ' ' || code, ', ') FROM pointstore.finding WHERE resolved_at IS NULL}), 'old5 time_order', 'one is left');
}

done_testing();
