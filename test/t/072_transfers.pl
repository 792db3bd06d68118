# Transfers, and whatever else concerns accounts on several nodes: all legs are there or none, once, whoever dies at which
# moment, and while shards move. CHECK_KILLS: a twentieth of it is the number of rounds of load with a kill, at least three;
# CHECK_SEED: repeats what clients choose.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use List::Util qw(shuffle sum0);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'Citus is not installed' if citus_is_missing();

our $TODO;
my $rounds = int(($ENV{CHECK_KILLS} // 60) / 20);
$rounds = 3 if $rounds < 3;
my $seed = $ENV{CHECK_SEED} // $$;
srand $seed;
note("CHECK_SEED=$seed");

# One store that is not distributed says what is right.
my $plain = new_cluster('plain', conf => "listen_addresses = '127.0.0.1'\npointstore.reconcile_interval = 0\npointstore.full_reconcile_interval = 0\npointstore.sweep_interval = 0\n");
$plain->start;
create_store($plain, 'postgres');
my $nodes = new_nodes(2);
my $c = $nodes->{c};
my @names = @{ $nodes->{names} };
$c->safe_psql('postgres', "SELECT citus_set_node_property('127.0.0.1', ${\$c->port}, 'shouldhaveshards', true)");

my $rules = q{
INSERT INTO pointstore.account_kind (kind, unit, min_balance, max_balance) VALUES ('small', '', 0, 100), ('seats', 'seat', 0, NULL), ('debt', '', NULL, NULL);
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('pure', 'pure');
ALTER TABLE pointstore.event_store ADD CONSTRAINT no_666 CHECK (amount <> 666);
CREATE FUNCTION public.forbid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.payload ->> TG_ARGV[0] = NEW.aggregate_id THEN
		RAISE SQLSTATE 'U0001';
	END IF;
	RETURN NULL;
END$$;
CREATE TRIGGER forbid AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION public.forbid('at once');
CREATE CONSTRAINT TRIGGER forbid_late AFTER INSERT ON pointstore.event_store DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.forbid('late')};
$_->safe_psql('postgres', $rules) foreach $plain, $c;
is(distribute($nodes, 6), 'distributed', 'a store of six shards on three nodes');
my %group = groups_of($nodes);
note(sprintf '%.0f s', time - $^T);

# Accounts of each node, never the same twice: {c}, {w1}, {w2} for one that is there.
my (%on, %used);
foreach (split /\n/, $c->safe_psql('postgres', q{SELECT n.node, i FROM generate_series(1, 2000) i, LATERAL pointstore.node_of('acc' || i || 'z') n ORDER BY hashtext(i::text)}))
{
	my ($node, $i) = split /\|/;
	push @{ $on{$node} }, "acc${i}z";
}
sub account_on { my ($name) = @_; return $on{ $group{$name} }[ $used{$name}++ ]; }

# what was given to accounts outside of the load
my $given = 0;

sub give
{
	my ($amount, @accounts) = @_;
	foreach (@accounts)
	{
		my $state = state_of($c, "SELECT pointstore.append_event('$_', 'Given', $amount)");
		is($state, '00000', "$_ has $amount") if $state ne '00000';
		$given += $amount;
	}
	return;
}

# What is there of accounts, by a node's shell tables, and what is left of the nodes' transactions.
sub rows_about
{
	my $in = join ', ', map { "'$_'" } @_;
	return rows_of($c, "SELECT (SELECT count(*) FROM pointstore.event_store WHERE aggregate_id IN ($in)), (SELECT count(*) FROM pointstore.balance WHERE aggregate_id IN ($in)),
		(SELECT coalesce(sum(balance), 0) FROM pointstore.balance WHERE aggregate_id IN ($in))");
}

# Sessions of clients that are in a transaction, or wait, after some seconds.
sub stuck
{
	my ($seconds) = @_;
	my $finish = time + $seconds;
	my @stuck;
	do
	{
		usleep(200_000) if @stuck;
		@stuck = map { my $name = $_; map { "$name: $_" } split /\n/, $nodes->{$name}->safe_psql('postgres', q{SELECT application_name, state, wait_event, left(query, 100) FROM pg_stat_activity
			WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start < now() - interval '1 s'}) } @names;
	} while (@stuck && time < $finish);
	return join "\n", @stuck;
}

# What is wrong with the reversals of transfers: of each the legs are taken back alike, and no more than there was.
sub reversal_faults
{
	return $c->safe_psql('postgres', q{
		WITH event AS MATERIALIZED (SELECT aggregate_id, id, version, event_type, amount, leg, cause_id FROM pointstore.event_store),
		taken AS (SELECT aggregate_id, cause_id AS id, sum(amount) AS amount FROM event WHERE event_type = 'EventReversed' GROUP BY 1, 2)
		SELECT format('%s of %s: %s and %s', f.version, f.aggregate_id, t.amount, u.amount)
		  FROM event f JOIN event l ON l.cause_id = f.id AND l.leg = 1 AND l.event_type = 'Transferred'
		  LEFT JOIN taken t ON t.id = f.id LEFT JOIN taken u ON u.id = l.id
		 WHERE coalesce(t.amount, 0) + coalesce(u.amount, 0) <> 0 OR t.amount > -f.amount
		UNION ALL
		SELECT format('%s of %s has cause %s', t.amount, t.aggregate_id, t.id) FROM taken t LEFT JOIN event e ON e.id = t.id AND e.aggregate_id = t.aggregate_id WHERE e.id IS NULL});
}

#
# The same statements about accounts on one node and on several, through each node, as on a plain store.
#
my $receipt = 'aggregate_id, outcome, version, balance, available';
my @calls = (
	"SELECT outcome FROM pointstore.append_event('{a}', 'Given', 1000)",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100, '{a}r')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100, '{a}r')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 101, '{a}r')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{d}', 100, '{a}r')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100, '{a}r', 'Paid')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100, '{a}r', payload => '{\"x\": 1}')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100, '{a}r', metadata => '{\"x\": 1}')",
	"SELECT $receipt FROM pointstore.submit_transfer('{a}', '{b}', 100, '{a}r')",
	"SELECT $receipt FROM pointstore.submit_transfer('{a}', '{b}', 99, '{a}r')",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{b}', 100, '{a}r')",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{b}', 99, '{a}r')",
	"SELECT outcome FROM pointstore.try_transfer('{a}', '{d}', 100, '{a}r')",
	"SELECT outcome FROM pointstore.try_submit_transfer('{a}', '{d}', 100, '{a}r')",
	# one leg alone, and more than both
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Transferred', 100, request_id => '{a}r')",
	"SELECT $receipt FROM pointstore.append_event('{b}', 'Transferred', 101, request_id => '{a}r')",
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{a}", "event_type": "Transferred", "amount": -100}, {"aggregate_id": "{b}", "event_type": "Transferred", "amount": 100}]', '{a}r')},
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "Transferred", "amount": 100}]', '{a}r')},
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{a}", "event_type": "Transferred", "amount": -100}, {"aggregate_id": "{b}", "event_type": "Transferred", "amount": 100}, {"aggregate_id": "{d}", "event_type": "Noted"}]', '{a}r')},
	"SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('{d}')",
	# a request of one event, used for more
	"SELECT outcome FROM pointstore.append_event('{b}', 'Given', 1, request_id => '{a}one')",
	"SELECT outcome FROM pointstore.transfer('{b}', '{a}', 1, '{a}one', 'Given')",
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "Given", "amount": 1}, {"aggregate_id": "{a}", "event_type": "Given", "amount": 1}]', '{a}one')},
	# refusals
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100000)",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{b}', 100000)",
	"SELECT $receipt FROM pointstore.try_submit_transfer('{a}', '{b}', 100000)",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 0)", "SELECT $receipt FROM pointstore.transfer('{a}', '{a}', 1)",
	"SELECT $receipt FROM pointstore.transfer('{a}', NULL, 1)", "SELECT $receipt FROM pointstore.transfer(NULL, '{b}', 1)",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{d}', 1, kind => 'seats')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{d}', 101, kind => 'small')",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{d}', 101, kind => 'small')",
	"SELECT $receipt FROM pointstore.transfer('{d}', '{a}', 1, kind => 'small')",
	"SELECT count(*) FROM pointstore.account WHERE aggregate_id IN ('{d}')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{d}', 100, kind => 'small')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{d}', 1)",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{d}', 1)",
	"SELECT pointstore.open_account('{e}', 'seats')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{e}', 1)",
	"SELECT $receipt FROM pointstore.try_transfer('{e}', '{a}', 1)",
	"SELECT pointstore.freeze_account('{b}', 'x')",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 1)", "SELECT $receipt FROM pointstore.transfer('{b}', '{a}', 1)",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{b}', 1)",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 100, '{a}r')",
	"SELECT pointstore.unfreeze_account('{b}', 'x')",
	# batches, in any order, balanced and not, an account more than once, checks
	q{SELECT aggregate_id, outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 5}, {"aggregate_id": "{a}", "event_type": "X", "amount": -3}, {"aggregate_id": "{b}", "event_type": "Y", "amount": -2}]', '{a}b', balanced => true)},
	q{SELECT aggregate_id, outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 5}, {"aggregate_id": "{a}", "event_type": "X", "amount": -3}, {"aggregate_id": "{b}", "event_type": "Y", "amount": -2}]', '{a}b', balanced => true)},
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 5}, {"aggregate_id": "{a}", "event_type": "X", "amount": -3}, {"aggregate_id": "{b}", "event_type": "Y", "amount": -1}]', '{a}b2', balanced => true)},
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{e}", "event_type": "X", "amount": 5}, {"aggregate_id": "{a}", "event_type": "X", "amount": -5}]', '{a}b2', balanced => true)},
	q{SELECT outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{e}", "event_type": "X", "amount": 5}, {"aggregate_id": "{a}", "event_type": "X", "amount": -5}]', '{a}b3')},
	q{SELECT outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 5, "expected_version": 77}, {"aggregate_id": "{a}", "event_type": "X", "amount": -5}]', '{a}b4')},
	q{SELECT outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{a}", "event_type": "X", "amount": -5}, {"aggregate_id": "{b}", "event_type": "X", "amount": 5, "expected_version": 77}]', '{a}b4')},
	q{SELECT aggregate_id, outcome, version, balance FROM pointstore.try_append_events('[{"aggregate_id": "{a}", "event_type": "X", "amount": -5}, {"aggregate_id": "{b}", "event_type": "X", "amount": 5, "expected_version": 77}]', '{a}b4')},
	q{SELECT aggregate_id, outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{a}", "event_type": "X", "amount": -5, "request_id": "{a}e1"}, {"aggregate_id": "{b}", "event_type": "X", "amount": 5, "request_id": "{a}e2"}]')},
	q{SELECT aggregate_id, outcome, version, balance FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 5, "request_id": "{a}e2"}, {"aggregate_id": "{d}", "event_type": "X", "amount": -5, "request_id": "{a}e3"}]')},
	q{SELECT aggregate_id, outcome FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 6, "request_id": "{a}e2"}, {"aggregate_id": "{d}", "event_type": "X", "amount": -5, "request_id": "{a}e4"}]')},
	# the user's: a CHECK, a trigger, a deferred one, on either leg
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 666)",
	"SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 1, payload => '{\"at once\": \"{a}\"}')", "SELECT $receipt FROM pointstore.transfer('{a}', '{b}', 1, payload => '{\"at once\": \"{b}\"}')",
	"SELECT $receipt FROM pointstore.try_transfer('{a}', '{b}', 1, payload => '{\"at once\": \"{b}\"}')",
	"SELECT $receipt FROM pointstore.submit_transfer('{a}', '{b}', 1, payload => '{\"at once\": \"{b}\"}')",
	# all that is there
	"SELECT aggregate_id, version, event_type, amount, balance_after, request_id, leg, cause_id IS NULL, payload, metadata FROM pointstore.event_store WHERE aggregate_id IN ('{a}', '{b}', '{d}', '{e}') ORDER BY aggregate_id COLLATE \"C\", version",
	"SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id IN ('{a}', '{b}', '{d}', '{e}') ORDER BY aggregate_id COLLATE \"C\"");
my @reversals = (
	"SELECT outcome FROM pointstore.append_event('{a}', 'Given', 1000)",
	"SELECT outcome FROM pointstore.transfer('{a}', '{b}', 100, '{a}r')",
	# in part, repeated, repeated as something else, by either leg
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 40, '{a}v')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 40, '{a}v')",
	"SELECT $receipt FROM pointstore.reverse_event('{b}', 1, 40, '{a}v')",
	"SELECT $receipt FROM pointstore.try_reverse_event('{b}', 1, 40, '{a}v')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 41, '{a}v')",
	"SELECT $receipt FROM pointstore.try_reverse_event('{a}', 2, 41, '{a}v')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, NULL, '{a}v')",
	"SELECT $receipt FROM pointstore.try_reverse_event('{b}', 1, NULL, '{a}v')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 40, '{a}r')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 1, 40, '{a}v')",
	"SELECT outcome FROM pointstore.append_event('{a}', 'EventReversed', 40, request_id => '{a}v')",
	# more than is left, what is none, what is not there
	"SELECT $receipt FROM pointstore.reverse_event('{b}', 1, 61)", "SELECT $receipt FROM pointstore.try_reverse_event('{b}', 1, 61)", "SELECT $receipt FROM pointstore.try_reverse_event('{a}', 2, 61)",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 9223372036854775807)", "SELECT $receipt FROM pointstore.try_reverse_event('{a}', 2, 9223372036854775807)",
	"SELECT $receipt FROM pointstore.reverse_event('{b}', 2)", "SELECT $receipt FROM pointstore.try_reverse_event('{b}', 2)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 3)",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 99)", "SELECT $receipt FROM pointstore.try_reverse_event('{a}', 99)", "SELECT $receipt FROM pointstore.reverse_event('{a}', -1, 5, '{a}x')",
	"SELECT $receipt FROM pointstore.reverse_event('{d}', 1)", "SELECT $receipt FROM pointstore.try_reverse_event('{d}', 1)",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 0)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2, -1)", "SELECT $receipt FROM pointstore.reverse_event('{a}', NULL)",
	"SELECT $receipt FROM pointstore.reverse_event(NULL, 2)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2, allow_debt => NULL)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 1, '')",
	# refused on either leg
	"SELECT pointstore.freeze_account('{b}', 'x')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 1)", "SELECT $receipt FROM pointstore.try_reverse_event('{b}', 1, 1)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 40, '{a}v')",
	"SELECT pointstore.unfreeze_account('{b}', 'x')", "SELECT pointstore.freeze_account('{a}', 'x')",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 1)", "SELECT $receipt FROM pointstore.try_reverse_event('{b}', 1, 1)",
	"SELECT pointstore.unfreeze_account('{a}', 'x')",
	"SELECT outcome FROM pointstore.append_event('{b}', 'Spent', -50)",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2)", "SELECT $receipt FROM pointstore.try_reverse_event('{a}', 2)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 11)",
	"SELECT $receipt FROM pointstore.reverse_event('{a}', 2, 10)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2, request_id => '{a}all', allow_debt => true)",
	"SELECT $receipt FROM pointstore.reverse_event('{b}', 1, request_id => '{a}all')", "SELECT $receipt FROM pointstore.reverse_event('{a}', 2)", "SELECT $receipt FROM pointstore.try_reverse_event('{b}', 1, 1)",
	"SELECT outcome FROM pointstore.append_event('{b}', 'Given', 500)",
	"SELECT outcome FROM pointstore.transfer('{a}', '{d}', 5)", "SELECT outcome FROM pointstore.transfer('{d}', '{a}', 5)", "SELECT pointstore.close_account('{d}', 'x')",
	"SELECT $receipt FROM pointstore.reverse_event('{d}', 1)", "SELECT $receipt FROM pointstore.try_reverse_event('{d}', 2)",
	# legs in any order, an account more than once, of nothing; no legs
	q{SELECT aggregate_id, version FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 6}, {"aggregate_id": "{a}", "event_type": "X", "amount": -4}, {"aggregate_id": "{a}", "event_type": "Noted"}, {"aggregate_id": "{b}", "event_type": "X", "amount": -2}]', '{a}b', balanced => true)},
	"SELECT $receipt FROM pointstore.reverse_event('{b}', 6, 2)", "SELECT $receipt FROM pointstore.reverse_event('{b}', 6, 3, '{a}b3')", "SELECT $receipt FROM pointstore.reverse_event('{b}', 6, 3, '{a}b3')",
	"SELECT $receipt FROM pointstore.reverse_event('{b}', 7, 2)", "SELECT $receipt FROM pointstore.try_reverse_event('{b}', 7, 2)", "SELECT $receipt FROM pointstore.reverse_event('{b}', 7)", "SELECT $receipt FROM pointstore.reverse_event('{a}', 10)",
	q{SELECT outcome FROM pointstore.append_events('[{"aggregate_id": "{b}", "event_type": "X", "amount": 6}, {"aggregate_id": "{a}", "event_type": "X", "amount": -4}]', '{a}n')},
	"SELECT max(version) FROM pointstore.event_store WHERE aggregate_id = '{b}'", "SELECT $receipt FROM pointstore.reverse_event('{b}', 12)",
	# a pure account
	"SELECT pointstore.open_account('{e}', 'pure')", "SELECT outcome FROM pointstore.transfer('{b}', '{e}', 9)", "SELECT $receipt FROM pointstore.reverse_event('{e}', 1, 4, '{a}p')", "SELECT $receipt FROM pointstore.reverse_event('{e}', 1, 4, '{a}p')",
	"SELECT $receipt FROM pointstore.reverse_event('{e}', 1, 6)", "SELECT $receipt FROM pointstore.try_reverse_event('{e}', 1, 6)", "SELECT $receipt FROM pointstore.reverse_event('{e}', 1)", "SELECT $receipt FROM pointstore.reverse_event('{e}', 1)",
	# the user's
	"SELECT outcome FROM pointstore.transfer('{a}', '{b}', 700)", "SELECT max(version) FROM pointstore.event_store WHERE aggregate_id = '{b}'", "SELECT $receipt FROM pointstore.reverse_event('{b}', 17, 666)", "SELECT $receipt FROM pointstore.reverse_event('{b}', 17, 667)",
	"SELECT aggregate_id, version, event_type, amount, balance_after, request_id, leg, cause_id IS NULL, payload, metadata FROM pointstore.event_store WHERE aggregate_id IN ('{a}', '{b}', '{d}', '{e}') ORDER BY aggregate_id COLLATE \"C\", version",
	"SELECT aggregate_id, version, balance FROM pointstore.account WHERE aggregate_id IN ('{a}', '{b}', '{d}', '{e}') ORDER BY aggregate_id COLLATE \"C\"");
# Requests made again as something else, and what does not agree yet: why, and statements.
my $first = "SELECT outcome FROM pointstore.append_event('{a}', 'Given', 1000)";
my $request = "SELECT outcome, balance FROM pointstore.transfer('{a}', '{b}', 100, '{a}r')";
my @repeats = (
	[ 'legs exchanged are the same request', $first, $request, "SELECT outcome, balance FROM pointstore.transfer('{b}', '{a}', 100, '{a}r')" ],
	[ 'legs exchanged are the same request', $first, $request, "SELECT outcome FROM pointstore.append_events('[{\"aggregate_id\": \"{b}\", \"event_type\": \"X\", \"amount\": -7}, {\"aggregate_id\": \"{a}\", \"event_type\": \"X\", \"amount\": 9}]', '{a}r')" ],
	[ 'a request of another number of legs', $first, "SELECT outcome FROM pointstore.append_event('{b}', 'Given', 1, request_id => '{a}r')", "SELECT outcome FROM pointstore.transfer('{a}', '{b}', 1, '{a}r', 'Given')" ]);
my @differ = (
	[ 'a request is looked up before anything is refused', $first, $request, "SELECT outcome FROM pointstore.transfer('{d}', '{b}', 100, '{a}r')" ],
	[ 'one leg alone is another request', $first, $request, "SELECT outcome FROM pointstore.append_event('{a}', 'Transferred', -100, request_id => '{a}r')" ],
	[ 'one leg alone is another request', $first, $request, "SELECT outcome FROM pointstore.append_events('[{\"aggregate_id\": \"{a}\", \"event_type\": \"Transferred\", \"amount\": -100}]', '{a}r')" ]);

# The answers of statements, {x} being what an account is called.
sub answers
{
	my ($node, $statements, $accounts) = @_;
	my $session = CitusTest::Session->new($node);
	my $call = join '|', map { quotemeta $accounts->{$_} } sort keys %$accounts;
	my %letter = reverse %$accounts;
	return map {
		my $sql = s/\{(\w)\}/$accounts->{$1}/gr;
		my ($state, $rows) = @{ $session->query($sql) };
		sprintf("%s\n\t%s %s", $_, $state, $state eq '00000' ? $rows =~ s/($call)/{$letter{$1}}/gr : '')
	} @$statements;
}

sub compare_all
{
	my ($what, $statements, $accounts, $through, $placement) = @_;
	my @expected = answers($plain, $statements, $accounts);
	my @got = answers($nodes->{$through}, $statements, $accounts);
	my @wrong = map { $got[$_] eq $expected[$_] ? () : "$got[$_]\nexpected: $expected[$_]" } 0 .. $#expected;
	is(join("\n", @wrong), '', "$what, accounts on @$placement, through $through: as in a plain store");
	note(scalar(grep { /00000/ } @expected) . ' of ' . @expected . ' are done');
	return;
}

# a and b in each order of their names, for they are locked in that
foreach my $placement ([qw(w1 w2 c c)], [qw(c w1 w1 w2)], [qw(w1 w1 w1 w1)])
{
	# of the last, which are on one node, one way is enough
	foreach my $through ($placement->[0] eq $placement->[2] ? 'c' : @names)
	{
		my @accounts = sort map { account_on($_) } @$placement[ 0, 1 ];
		@accounts = reverse @accounts if $through eq 'w2';
		my %accounts = (a => $accounts[0], b => $accounts[1], d => account_on($placement->[2]), e => account_on($placement->[3]));
		# as they are called here they are sorted as the letters stand for
		compare_all('transfers', \@calls, \%accounts, $through, $placement);
		@accounts = sort map { account_on($_) } @$placement[ 0, 1 ];
		@accounts = reverse @accounts if $through eq 'w1';
		%accounts = (a => $accounts[0], b => $accounts[1], d => account_on($placement->[2]), e => account_on($placement->[3]));
		compare_all('reversals', \@reversals, \%accounts, $through, $placement);
	}
}
sub compare_again
{
	my ($why, @statements) = @{ $_[0] };
	foreach my $placement ([qw(w1 w2 c)], [qw(c w1 w2)], [qw(w1 w1 w1)])
	{
		next if $placement->[0] eq $placement->[1] && $why !~ /alone|reversal/;
		my %accounts = map { (qw(a b d))[$_] => account_on($placement->[$_]) } 0 .. 2;
		is(join("\n", answers($c, \@statements, \%accounts)), join("\n", answers($plain, \@statements, \%accounts)), "on @$placement: $why");
	}
}
compare_again($_) foreach @repeats;
foreach my $differ (@differ)
{
	local $TODO = $differ->[0];
	compare_again($differ);
}
$given = rows_of($c, 'SELECT sum(amount) FROM pointstore.event_store');

# Two other accounts know nothing of a request: it is unique within an account.
{
	my ($a, $b, $d, $e) = map { account_on($_) } 'w1', 'w2', 'w1', 'w2';
	give(10, $a, $d);
	is(state_of($c, "SELECT pointstore.transfer('$a', '$b', 1, 'here')"), '00000', 'a request');
	is(rows_of($c, "SELECT outcome FROM pointstore.transfer('$d', '$e', 1, 'here')"), "appended\nappended", '... is another of other accounts');
}

# A user's trigger that fails late: at commit, on either node; nothing is left on the other.
foreach my $through (@names)
{
	foreach my $late (0, 1)
	{
		my @pair = (account_on('w1'), account_on($through eq 'c' ? 'w2' : 'c'));
		give(10, $pair[0]);
		my $state = state_of($nodes->{$through}, "SELECT pointstore.transfer('$pair[0]', '$pair[1]', 1, payload => '{\"late\": \"$pair[$late]\"}')");
		like($state, qr/^(U0001|XX000)$/, "a deferred trigger fails on leg $late, through $through: $state");
		is(rows_about(@pair), '1|1|10', '... and nothing is left');
		$state = state_of($nodes->{$through}, "SELECT pointstore.try_transfer('$pair[0]', '$pair[1]', 1, payload => '{\"late\": \"$pair[$late]\"}')");
		like($state, qr/^(U0001|XX000)$/, "... nor of try_transfer: $state");
		is(rows_about(@pair), '1|1|10', '... and nothing is left');
	}
}

# A refused try_ leaves nothing: neither locks nor accounts, while its transaction goes on.
foreach my $through (@names)
{
	my ($a, $b, $d) = map { account_on($_) } 'w1', 'w2', 'c';
	give(10, $a);
	my ($session, $other) = map { CitusTest::Session->new($_) } $nodes->{$through}, $c;
	$other->query("SET lock_timeout = '2s'");
	$session->query('BEGIN');
	is($session->query("SELECT outcome FROM pointstore.try_transfer('$b', '$a', 1)")->[1], 'insufficient_balance', "$through: refused");
	is($session->query("SELECT outcome FROM pointstore.try_transfer('$a', '$b', 11)")->[1], 'insufficient_balance', '... and again');
	is($session->query(qq{SELECT outcome FROM pointstore.try_append_events('[{"aggregate_id": "$a", "event_type": "X", "amount": -5}, {"aggregate_id": "$d", "event_type": "X", "amount": 5}, {"aggregate_id": "$b", "event_type": "X", "amount": -1}]')})->[1],
		'insufficient_balance', '... and a batch');
	is($other->query("SELECT pointstore.append_event('$_', 'Given', 1)")->[0], '00000', '... others write meanwhile') foreach $a, $b, $d;
	is($session->query("SELECT outcome FROM pointstore.try_transfer('$a', '$b', 11)")->[1], "appended\nappended", '... then it is not refused');
	is($session->query('COMMIT')->[0], '00000', '... committed');
	is(rows_about($a, $b, $d), '6|3|13', '... with all that and no more');
	$given += 3;
	my ($e, $f) = map { account_on($_) } 'w1', 'w2';
	is(rows_of($nodes->{$through}, "SELECT outcome FROM pointstore.try_transfer('$e', '$f', 1)"), 'insufficient_balance', '... and of new accounts');
	is(rows_about($e, $f), '0|0|0', '... nothing');
	# a savepoint
	give(5, $a);
	$session->query("BEGIN; SELECT pointstore.transfer('$a', '$b', 1); SAVEPOINT s; SELECT pointstore.transfer('$a', '$d', 1)");
	is($session->query("ROLLBACK TO s; SELECT pointstore.transfer('$b', '$d', 2); COMMIT")->[0], '00000', '... a savepoint');
	is(rows_about($a, $b, $d), '11|3|18', '... what it held is undone, the rest is there');
}

# Snapshots: what has changed since on either node is 40001; repeated it is done.
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	foreach my $through (@names)
	{
		foreach my $changed ($level eq 'SERIALIZABLE' ? 1 : (0, 1))
		{
			my @pair = (account_on('w1'), account_on('w2'));
			give(10, @pair);
			my $session = CitusTest::Session->new($nodes->{$through});
			$session->query("BEGIN ISOLATION LEVEL $level");
			$session->query("SELECT balance FROM pointstore.account WHERE aggregate_id = '$_'") foreach @pair;
			give(1, $pair[$changed]);
			my ($state) = @{ $session->query("SELECT pointstore.transfer('$pair[0]', '$pair[1]', 1, 'iso')") };
			is($state, '40001', "$level through $through: leg $changed has changed");
			$session->query('ROLLBACK');
			is(rows_about(@pair), '3|2|21', '... and nothing is left');
			is(state_of($session, "BEGIN ISOLATION LEVEL $level; SELECT pointstore.transfer('$pair[0]', '$pair[1]', 1, 'iso'); COMMIT"), '00000', '... the repeat');
			is(rows_about(@pair), '5|2|21', '... is done');
		}
	}
}
is(node_faults($nodes, $given), '', 'sound');
note(sprintf '%.0f s', time - $^T);

# Reversals in blocks, of what the block itself has transferred; undone by a savepoint; refused, they leave nothing, no lock either.
foreach my $through (@names)
{
	my ($a, $b) = map { account_on($_) } 'w1', 'w2';
	give(10, $a);
	my ($session, $other) = map { CitusTest::Session->new($_) } $nodes->{$through}, $c;
	$other->query("SET lock_timeout = '2s'");
	is($session->query("BEGIN; SELECT pointstore.transfer('$a', '$b', 5); SAVEPOINT s; SELECT pointstore.reverse_event('$a', 2); ROLLBACK TO s; SELECT pointstore.reverse_event('$b', 1, 2); COMMIT")->[0], '00000', "$through: in a block");
	is(rows_about($a, $b), '5|2|10', '... reversed once');
	is(rows_of($c, "SELECT balance FROM pointstore.account WHERE aggregate_id = '$b'"), '3', '... in part');
	$session->query('BEGIN');
	is($session->query("SELECT outcome, aggregate_id FROM pointstore.try_reverse_event('$a', 2, 4)")->[1], "not_allowed|$b", '... more is refused');
	is($session->query("SELECT outcome FROM pointstore.try_reverse_event('$a', 7)")->[1], 'account_missing', '... and what is not there');
	is($other->query("SELECT pointstore.append_event('$_', 'Given', 1)")->[0], '00000', '... others write meanwhile') foreach $a, $b;
	is($session->query("SELECT outcome FROM pointstore.try_reverse_event('$a', 2, 3)")->[1], "appended\nappended", '... then it is not refused');
	is($session->query('COMMIT')->[0], '00000', '... committed');
	is(rows_about($a, $b), '9|2|12', '... with all that and no more');
	$given += 2;
}

# Snapshots.
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	foreach my $through (@names)
	{
		foreach my $changed (0, 1)
		{
			my @pair = (account_on('w1'), account_on('w2'));
			give(10, @pair);
			is(state_of($c, "SELECT pointstore.transfer('$pair[0]', '$pair[1]', 4)"), '00000', 'a transfer');
			my $session = CitusTest::Session->new($nodes->{$through});
			$session->query("BEGIN ISOLATION LEVEL $level");
			$session->query("SELECT balance FROM pointstore.account WHERE aggregate_id = '$_'") foreach @pair;
			is(state_of($c, "SELECT pointstore.reverse_event('$pair[0]', 2, 1)"), '00000', '... reversed in part') if $changed;
			give(1, $pair[1]) if !$changed;
			is($session->query("SELECT pointstore.reverse_event('$pair[$changed]', 2)")->[0], '40001', "$level through $through: an account has changed");
			$session->query('ROLLBACK');
			is(state_of($session, "BEGIN ISOLATION LEVEL $level; SELECT pointstore.reverse_event('$pair[$changed]', 2); COMMIT"), '00000', '... the repeat');
			is(rows_of($c, "SELECT sum(amount) FROM pointstore.event_store WHERE event_type = 'EventReversed' AND aggregate_id = '$pair[0]'"), 4, '... has done what was left');
		}
	}
}
is(reversal_faults(), '', 'both legs are reversed');

# A leg that is in doubt while the other is there, made by hand: it is waited for, and never is one leg reversed alone.
foreach my $case ([ 'c', 0, 1, 'default' ], [ 'w1', 1, 1, 'default' ], [ 'w2', 0, 1, 'pure' ], [ 'c', 1, 1, 'pure' ], [ 'w1', 0, 0, 'default' ])
{
	my ($through, $asked, $comes, $kind) = @$case;
	my @pair = (account_on('w1'), account_on('w2'));
	is(state_of($c, "SELECT pointstore.append_event('$_', 'Given', 10, kind => '$kind')"), '00000', "an account of kind $kind") foreach @pair;
	my $part = sub { my ($account, $leg, $amount, $cause) = @_;
		return qq{SELECT id FROM pointstore.append_part('$account', '{"events": [{"aggregate_id": "$account", "event_type": "Transferred", "amount": $amount, "payload": {}, "leg": $leg, "legs_here": 1, "is_linked": 1, "request_id": "doubt"$cause}]}')} };
	my ($there, $doubt) = $asked ? (1, 0) : (0, 1);
	# the first leg's id is the other's cause; of the case that the first one is in doubt it is known beforehand
	my @node = ($nodes->{w1}, $nodes->{w2});
	my ($prepares, $id) = (CitusTest::Session->new($node[$doubt]));
	$id = rows_of($node[0], $part->($pair[0], 0, -3, '')) if !$asked;
	$prepares->query('BEGIN');
	$id = $prepares->query($part->($pair[0], 0, -3, ''))->[1] if $asked;
	$prepares->query($part->($pair[1], 1, 3, qq(, "cause_id": $id))) if !$asked;
	is($prepares->query("PREPARE TRANSACTION 'doubt'")->[0], '00000', "leg $doubt is in doubt");
	is(state_of($node[1], $part->($pair[1], 1, 3, qq(, "cause_id": $id))), '00000', '... the other is there') if $asked;
	is(state_of($nodes->{$through}, "SET statement_timeout = '1s'; SELECT pointstore.reverse_event('$pair[$there]', 2)"), '57014', "... its reversal through $through waits");
	my $snapshot = CitusTest::Session->new($nodes->{$through});
	$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$snapshot->query("SELECT balance FROM pointstore.account WHERE aggregate_id = '$_'") foreach @pair;
	my $pid = fork // die "no fork: $!";
	POSIX::_exit(state_of(CitusTest::Session->new($nodes->{$through}), "SELECT pointstore.reverse_event('$pair[$there]', 2, 2, 'undone')") eq '00000' ? 0 : 1) if !$pid;
	usleep(500_000);
	is(rows_of($c, "SELECT count(*) FROM pointstore.event_store WHERE aggregate_id IN ('$pair[0]', '$pair[1]')"), 3, '... nothing is reversed');
	is(state_of($node[$doubt], ($comes ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'doubt'"), '00000', '... until it is decided');
	waitpid $pid, 0;
	is($?, 0, '... then it is done');
	is(rows_of($c, "SELECT aggregate_id, amount FROM pointstore.event_store WHERE aggregate_id IN ('$pair[0]', '$pair[1]') AND event_type = 'EventReversed' ORDER BY amount"),
		$comes ? "$pair[1]|-2\n$pair[0]|2" : "$pair[0]|2", $comes ? '... in both legs' : '... in the one that there is');
	is($snapshot->query("SELECT pointstore.reverse_event('$pair[$there]', 2, 1)")->[0], '40001', '... an older snapshot is too old') if $comes;
	$snapshot->query('ROLLBACK');
}

# Where shards go reversals go, and all nodes together have looked at all hashes.
{
	my ($a, $b) = (account_on('w1'), account_on('w2'));
	my ($shard, $host, $port) = split /\|/, $c->safe_psql('postgres', "SELECT shard, host, port FROM pointstore.node_of('$b')");
	give(10, $a);
	is(state_of($c, "SELECT pointstore.transfer('$a', '$b', 6)"), '00000', 'a transfer');
	my %sessions = map { $_ => CitusTest::Session->new($nodes->{$_}) } @names;
	is(state_of($sessions{$_}, "SELECT pointstore.reverse_event('$a', 2, 1)"), '00000', "... reversed through $_") foreach @names;
	is(state_of($c, "SELECT citus_move_shard_placement($shard, '$host', $port, '127.0.0.1', ${\$nodes->{w1}->port}, 'block_writes')"), '00000', '... its second leg moves');
	is(state_of($sessions{$_}, "SELECT pointstore.reverse_event('$b', 1, 1)"), '00000', "... reversed through $_") foreach @names;
	is(state_of($c, "SELECT citus_move_shard_placement($shard, '127.0.0.1', ${\$nodes->{w1}->port}, '$host', $port, 'block_writes')"), '00000', '... and back');
	is(state_of($sessions{$_}, "SELECT pointstore.reverse_event('$a', 2, 1)"), 'PS011', "... there is nothing left, through $_") foreach @names;
	is(reversal_faults(), '', '... of either leg');
	is(rows_about($a, $b), '15|2|10', '... all is there');
	my $hashes = 0;
	$hashes += rows_of($c, "SELECT max(hashes) FROM pointstore.legs_part('" . account_on($_) . "', 1)") foreach @names;
	is($hashes, 2**32, 'all hashes');
	state_of($c, 'SELECT citus_cleanup_orphaned_resources()');
}

# Deadlocks: there are none, for accounts are locked in their order.
{
	my %errors;
	my ($a, $b) = sort map { account_on($_) } 'w1', 'w2';
	my ($d) = account_on('c');
	give(100000, $a, $b, $d);
	my @pids;
	my $finish = time + 5;
	my $i = 0;
	foreach my $pair ([ $a, $b ], [ $b, $a ], [ $a, $b ], [ $b, $a ], [ $d, $a ], [ $b, $d ])
	{
		$i++;
		my $pid = fork // die "no fork: $!";
		push @pids, $pid;
		next if $pid;
		my $session = CitusTest::Session->new($nodes->{ $names[ $i % 3 ] });
		my ($n, %seen) = (0);
		while (time < $finish)
		{
			my $undone = $n % 4 == 3 ? $session->query("SELECT aggregate_id, version FROM pointstore.transfer('$pair->[0]', '$pair->[1]', 1)") : undef;
			my ($leg) = $undone && $undone->[0] eq '00000' ? shuffle split /\n/, $undone->[1] : ();
			$seen{ $undone->[0] }++ if $undone;
			my $sql = $n++ % 4 == 3 ? 'SELECT * FROM pointstore.reverse_event(' . (defined $leg ? $leg =~ s/^(.*)\|(.*)$/'$1', $2/r : "'$pair->[0]', 0") . ')'
			  : $n % 4 == 1 ? qq{SELECT * FROM pointstore.append_events('[{"aggregate_id": "$pair->[0]", "event_type": "X", "amount": -1}, {"aggregate_id": "$pair->[1]", "event_type": "X", "amount": 1}]')}
			  : $n % 4 == 2 ? "SELECT * FROM pointstore.transfer('$pair->[0]', '$pair->[1]', 1)" : "SELECT * FROM pointstore.submit_transfer('$pair->[0]', '$pair->[1]', 1)";
			my $state = $session->query($sql)->[0];
			$seen{$state}++;
			$seen{"$state $session->{error}"}++ if $state ne '00000';
		}
		append_to_file($c->basedir . '/deadlocks', join '', map { "$seen{$_}|$_\n" } sort keys %seen);
		POSIX::_exit(0);
	}
	waitpid $_, 0 foreach @pids;
	foreach (split /\n/, slurp_file($c->basedir . '/deadlocks'))
	{
		my ($n, $what) = split /\|/, $_, 2;
		$errors{$what} += $n // 0 if defined $what;
	}
	note('to and fro: ' . join ', ', map { "$_: $errors{$_}" } sort keys %errors);
	is($errors{'40P01'} // 0, 0, 'no deadlock');
	cmp_ok(delete $errors{'00000'} // 0, '>', 30, '... of many transfers');
	is(join("\n", sort keys %errors), '', '... and no other error');
	is(rows_of($c, "SELECT sum(balance) FROM pointstore.account WHERE aggregate_id IN ('$a', '$b', '$d')"), '300000', '... nothing lost');
	is(reversal_faults(), '', '... what was reversed was in both legs');
}

# Many take the same back at once, by either leg, from all nodes: never more than there was, and both legs the same.
{
	my ($a, $b) = (account_on('w1'), account_on('w2'));
	give(30, $a);
	is(state_of($c, "SELECT pointstore.transfer('$a', '$b', 30)"), '00000', 'a transfer');
	my @pids;
	foreach my $i (0 .. 5)
	{
		my $pid = fork // die "no fork: $!";
		push @pids, $pid;
		next if $pid;
		my $session = CitusTest::Session->new($nodes->{ $names[ $i % 3 ] });
		foreach my $n (1 .. 8)
		{
			my $leg = ($i + $n) % 2 ? "'$a', 2" : "'$b', 1";
			my $request = $n % 2 ? "'many-$i-$n'" : 'NULL';
			my $state;
			do { $state = $session->query("SELECT pointstore.reverse_event($leg, 1, $request)")->[0] } while $state eq '40001';
			append_to_file($c->basedir . '/taken_back', "$state\n");
		}
		POSIX::_exit(0);
	}
	waitpid $_, 0 foreach @pids;
	my %count;
	$count{$_}++ foreach split /\n/, slurp_file($c->basedir . '/taken_back');
	is(join(', ', map { "$_: $count{$_}" } sort keys %count), '00000: 30, PS011: 18', '... taken back in 48 calls');
	is(rows_about($a, $b), '63|2|30', '... all of it and no more');
	is(reversal_faults(), '', '... in both legs');
}

# A server that is stopped between the phases. What waits for a standby that is not there has flushed, and goes no further.
# where: whose commit, or PREPARE, waits; then kill which servers; all: whether the transfer is there then.
sub wait_for_nobody
{
	my ($name, $on) = @_;
	$nodes->{$name}->safe_psql('postgres', 'ALTER SYSTEM SET synchronous_standby_names = ' . ($on ? q{'nobody'} : q{''}));
	$nodes->{$name}->reload;
	return poll_until($nodes->{$name}, 'postgres', 'SELECT setting = ' . ($on ? q{'nobody'} : q{''}) . q{ FROM pg_settings WHERE name = 'synchronous_standby_names'});
}

sub prepared { return join ' ', map { "$_ " . $nodes->{$_}->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') } @_; }

my %ways = (
	'transfer()' => sub { my ($from, $to, $request) = @_; return "SELECT pointstore.transfer('$from', '$to', 3, '$request')" },
	'reverse_event()' => sub { my ($from, $to, $request) = @_; return "SELECT pointstore.reverse_event('$to', 1, 2, '$request')" },
	'a block' => sub {
		my ($from, $to, $request) = @_;
		return "BEGIN; SELECT pointstore.append_event('$from', 'Transferred', -3, request_id => '$request'); SELECT pointstore.append_event('$to', 'Transferred', 3, request_id => '$request'); COMMIT" },
	'a block with INSERT' => sub {
		my ($from, $to, $request) = @_;
		return "BEGIN; INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('$from', 'Transferred', -3, '$request'); SELECT pointstore.append_event('$to', 'Transferred', 3, request_id => '$request'); COMMIT" });
foreach my $case (
	[ 'transfer()', 'c', 'c', 'w1', 'c', ['c'], 1 ], [ 'transfer()', 'w1', 'w2', 'w1', 'w1', ['w1'], 1 ], [ 'a block', 'w2', 'w2', 'c', 'w2', ['w2'], 1 ], [ 'a block with INSERT', 'w1', 'w1', 'w2', 'w1', ['w1'], 1 ],
	[ 'transfer()', 'c', 'w1', 'w2', 'w2', ['c'], 0 ], [ 'a block', 'w1', 'w1', 'w2', 'w2', [ 'w1', 'w2' ], 0 ], [ 'transfer()', 'c', 'w1', 'w2', 'c', [ 'c', 'w1', 'w2' ], 1 ],
	[ 'reverse_event()', 'c', 'c', 'w1', 'c', ['c'], 1 ], [ 'reverse_event()', 'c', 'w1', 'w2', 'w1', ['c'], 0 ], [ 'reverse_event()', 'w1', 'w2', 'w1', 'w1', [ 'w1', 'w2' ], 1 ])
{
	my ($way, $through, $from_node, $to_node, $waits, $killed, $all) = @$case;
	my ($from, $to) = (account_on($from_node), account_on($to_node));
	my $what = "$way through $through from $from_node to $to_node, $waits waits, @$killed killed";
	my ($none, $done) = ('1|1|10', '3|2|10');
	give(10, $from);
	if ($way eq 'reverse_event()')
	{
		is(state_of($c, "SELECT pointstore.transfer('$from', '$to', 3)"), '00000', 'a transfer');
		($none, $done) = ('3|2|10', '5|2|10');
	}
	wait_for_nobody($waits, 1);
	my $pid = fork // die "no fork: $!";
	if (!$pid)
	{
		my $session = CitusTest::Session->new($nodes->{$through});
		POSIX::_exit($session->query($ways{$way}->($from, $to, 'phase'))->[0] eq '00000' ? 0 : 1);
	}
	ok(poll_until($nodes->{$waits}, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}), "$what: it waits");
	my @others = grep { $_ ne $through } $from_node, $to_node;
	is(prepared(@others), join(' ', map { "$_ 1" } @others), '... prepared elsewhere: two phases');
	$nodes->{$_}->kill9 foreach @$killed;
	# the setting must not stop recovery either
	foreach my $name (@$killed)
	{
		$nodes->{$name}->append_conf('postgresql.auto.conf', q{synchronous_standby_names = ''}) if $name eq $waits;
		start_again($nodes->{$name});
	}
	wait_for_nobody($waits, 0) if !grep { $_ eq $waits } @$killed;
	waitpid $pid, 0;
	isnt($?, 0, '... its client is not told');
	my $began = time;
	is(settled($nodes), '', '... nothing stays prepared');
	note(sprintf 'settled in %.1f s', time - $began);
	is(rows_about($from, $to), $all ? $done : $none, '... ' . ($all ? 'it is there' : 'nothing of it is there'));
	is(state_of($nodes->{w2}, $ways{$way}->($from, $to, 'phase')), '00000', '... repeated');
	is(rows_about($from, $to), $done, '... it is there once');
}
is(node_faults($nodes), '', 'sound after that');
is(reversal_faults(), '', '... with both legs reversed');
note(sprintf '%.0f s', time - $^T);

# A transaction that has written holds off moves of what it has written.
{
	my ($a, $b) = (account_on('w1'), account_on('c'));
	my %mode = ($a => 'block_writes', $b => 'force_logical');
	give(10, $a);
	my $session = CitusTest::Session->new($nodes->{w1});
	is($session->query("BEGIN; SELECT pointstore.transfer('$a', '$b', 1)")->[0], '00000', 'a transfer is open');
	foreach my $account ($a, $b)
	{
		my ($shard, $host, $port) = split /\|/, $c->safe_psql('postgres', "SELECT shard, host, port FROM pointstore.node_of('$account')");
		is(state_of($c, "SET statement_timeout = '1500ms'; SELECT citus_move_shard_placement($shard, '$host', $port, '$host', ${\$nodes->{w2}->port}, '$mode{$account}')"), '57014', "... a move waits for it: $mode{$account}");
	}
	is($session->query('COMMIT')->[0], '00000', '... it commits');
	is(rows_about($a, $b), '3|2|10', '... and is there');
	state_of($c, 'SELECT citus_cleanup_orphaned_resources()');
}

#
# Load, kills and moves.
#
note(sprintf '%.0f s', time - $^T);
my @pool = map { my $name = $_; map { account_on($name) } 1 .. 6 } @names;
give(1_000_000, @pool);
my $before_load = rows_of($c, 'SELECT sum(amount) FROM pointstore.event_store');
my $dir = $c->basedir;
my @clients;
my (%told, %maybe, %held);

sub is_passing { return $_[0] =~ /^(PS013|55000|40001|40P01|57P0[1-5]|08...|53300|XX000|no answer)$/; }

# What a client does next: statements, and which events they make, as 'account request leg amount'.
sub choose
{
	my ($request) = @_;
	my @accounts = (shuffle @pool)[ 0 .. 3 ];
	my $amount = 1 + int rand 9;
	my $kind = (qw(transfer transfer transfer reverse reverse submit events events block block hold append))[ rand 12 ];
	my $isolation = (('READ COMMITTED') x 6, 'REPEATABLE READ', 'SERIALIZABLE')[ rand 8 ];

	if ($kind eq 'transfer' || $kind eq 'submit')
	{
		my $function = $kind eq 'submit' ? 'submit_transfer' : rand() < 0.2 ? 'try_transfer' : 'transfer';
		my $sql = "SELECT aggregate_id, outcome, version, balance, id FROM pointstore.$function('$accounts[0]', '$accounts[1]', $amount, '$request')";
		return { kind => 'transfer', receipts => 1, sql => [$sql], events => [ "$accounts[0] $request 0 -$amount", "$accounts[1] $request 1 $amount" ] };
	}
	if ($kind eq 'reverse')
	{
		my $part = 1 + int rand $amount;
		my $leg = int rand 2;
		return { kind => 'reverse', sql => [ "SELECT aggregate_id, outcome, version FROM pointstore.transfer('$accounts[0]', '$accounts[1]', $amount, '$request')",
				sub { my $version = (split /\|/, (split /\n/, $_[0])[$leg])[2]; return "SELECT aggregate_id, outcome FROM pointstore.reverse_event('$accounts[$leg]', $version, $part, '$request/v')" } ],
			events => [ "$accounts[0] $request 0 -$amount", "$accounts[1] $request 1 $amount", "$accounts[1] $request/v 0 -$part", "$accounts[0] $request/v 1 $part" ] };
	}
	if ($kind eq 'events')
	{
		my $balanced = rand() < 0.6;
		my @events = map { [ $accounts[$_], 1 + int rand 9 ] } 0 .. 1 + int rand 3;
		push @events, [ $events[0][0], 2 ] if rand() < 0.3;
		$events[-1][1] = -sum0(map { $_->[1] } @events[ 0 .. $#events - 1 ]) if $balanced;
		my $json = join ', ', map { qq({"aggregate_id": "$_->[0]", "event_type": "Moved", "amount": $_->[1]}) } @events;
		my $leg = 0;
		return { kind => 'events', receipts => 1, sql => [ "SELECT aggregate_id, outcome, version, balance, id FROM pointstore.append_events('[$json]', '$request', balanced => " . ($balanced ? 'true' : 'false') . ')' ],
			events => [ map { "$_->[0] $request " . $leg++ . " $_->[1]" } @events ] };
	}
	if ($kind eq 'block')
	{
		return { kind => 'block', isolation => $isolation, sql => [
				"BEGIN ISOLATION LEVEL $isolation",
				"SELECT outcome FROM pointstore.append_event('$accounts[0]', 'Moved', -$amount, request_id => '$request/x')",
				"SELECT outcome FROM pointstore.append_event('$accounts[1]', 'Moved', $amount, request_id => '$request/y')",
				"INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) VALUES ('$accounts[2]', 'Moved', 1, '$request/z')",
				'COMMIT' ],
			events => [ "$accounts[0] $request/x 0 -$amount", "$accounts[1] $request/y 0 $amount", "$accounts[2] $request/z 0 1" ] };
	}
	if ($kind eq 'hold')
	{
		my $confirms = rand() < 0.5;
		return { kind => 'hold', hold => $confirms ? "$amount confirmed" : '0 cancelled', sql => [ "SELECT outcome FROM pointstore.hold('$accounts[0]', $amount, '$request', '1 hour')",
				$confirms ? "SELECT outcome FROM pointstore.confirm_hold('$request', aggregate_id => '$accounts[0]')" : "SELECT outcome FROM pointstore.cancel_hold('$request', '$accounts[0]')" ], events => [] };
	}
	return { kind => 'append', sql => ["SELECT outcome FROM pointstore.append_event('$accounts[0]', 'Moved', $amount, request_id => '$request')"], events => ["$accounts[0] $request 0 $amount"] };
}

# A client in a process of its own, by sessions with any node: does what it has chosen until it is told that it is done, or
# now and then gives up after an error. Ends with 0 at SIGTERM.
sub client
{
	my ($name) = @_;

	push @clients, start_client($name, "$dir/$name.told", sub { move_all($name, @_) });
	return;
}

sub move_all
{
	my ($name, $out) = @_;
	my ($stop, $session, $i) = (0, undef, 0);
	local $SIG{TERM} = sub { $stop = 1 };
	srand $seed + unpack '%32N*', pack 'A64', $name =~ s/\D//gr;
	until ($stop)
	{
		my $request = "$name-" . ++$i;
		my $action = choose($request);
		my $began = time;
		my ($tries, $at) = (0, 0);
		until ($at > $#{ $action->{sql} })
		{
			if (!$session || $session->lost || ($at == 0 && rand() < 0.02))
			{
				my $node = $nodes->{ $names[ rand @names ] };
				$session = CitusTest::Session->new($node, options => '-c statement_timeout=25s');
			}
			my $sql = $action->{sql}[$at];
			my ($state, $rows) = @{ $session->query(ref $sql ? $sql->($action->{rows}) : $sql) };
			$state = '57P02' if ($session->{error} // '') =~ /postmaster was shut down/;
			$state = 'rolled back' if $state eq '00000' && $action->{sql}[$at] eq 'COMMIT' && $session->{tag} ne 'COMMIT';
			if ($state eq '00000' && ($rows eq '' || $rows =~ /^(acc\w+\|)?(appended|replayed)\b/))
			{
				$action->{rows} = $rows;
				$at++;
				next;
			}
			$state = "outcome $rows" if $state eq '00000';
			printf $out "error|%s|%s %s: %s\n", $state, $action->{kind}, $action->{isolation} // '', substr(($session->{error} // ''), 0, 150) =~ s/\s+/ /gr;
			if (!is_passing($state) || time - $began > 30)
			{
				printf $out "stuck|%s|%s\n", $state, $action->{sql}[$at];
				POSIX::_exit(3);
			}
			my $gives_up = $action->{kind} !~ /^(hold|reverse)$/ && rand() < 0.1;
			# a connection that ends rolls back; its transaction may yet be committed
			if ($action->{kind} eq 'block' && !$session->lost)
			{
				$session->query('ROLLBACK');
			}
			$at = 0 if $action->{kind} eq 'block';
			$tries++;
			if ($gives_up)
			{
				$action->{given_up} = 1;
				last;
			}
			usleep($session->lost ? 50_000 : 5_000 + rand 10_000);
			$session = undef if rand() < 0.3;
		}
		printf $out "%s|%s|%s|%s|%.3f|%d|%s\n", $action->{given_up} ? 'maybe' : 'ok', $request, join(',', @{ $action->{events} }), $action->{hold} // '', time - $began, $tries,
		  $action->{receipts} && !$action->{given_up} ? $action->{rows} =~ s/\n/,/gr =~ s/\|/ /gr : '';
	}
	return;
}

# Ends the clients and reads what they were told.
sub end_load
{
	my ($what) = @_;
	my (%errors, @stuck, $longest, $n, $retried);

	($longest, $n, $retried) = (0, 0, 0);
	kill 'TERM', map { $_->{pid} } @clients;
	foreach my $client (splice @clients)
	{
		waitpid $client->{pid}, 0;
		push @stuck, "$client->{name} ended with $?" if $?;
		foreach (split /\n/, slurp_file("$dir/$client->{name}.told"))
		{
			my ($said, @fields) = split /\|/, $_, -1;
			$errors{"$fields[0]"}++ if $said eq 'error';
			$errors{"   $fields[0] $fields[1]"}++ if $said eq 'error' && $fields[0] =~ /^(XX000|55000|40P01)$/;
			push @stuck, "$client->{name}: $fields[0] of $fields[1]" if $said eq 'stuck';
			$told{ $fields[0] } = { events => $fields[1], receipts => $fields[5] } if $said eq 'ok' && $fields[1] ne '';
			$held{ $fields[0] } = $fields[2] if $said eq 'ok' && $fields[2] ne '';
			$maybe{ $fields[0] } = $fields[1] if $said eq 'maybe';
			next if $said ne 'ok';
			$n++;
			$retried++ if $fields[4];
			$longest = $fields[3] if $fields[3] > $longest;
		}
	}
	is(join("\n", @stuck), '', "$what: all clients were told");
	note("$n were told, $retried of them repeated, the longest in $longest s; " . join "\n", map { "$_: $errors{$_}" } sort keys %errors);
	return $n;
}

# What was told is stored once and whole; what was not, whole or not at all.
sub check_stored
{
	my ($what) = @_;
	my (@wrong, %stored, %row, %legs);
	my $total = $before_load;

	foreach (split /\n/, $c->safe_psql('postgres', q{SELECT request_id, aggregate_id, coalesce(leg, 0), amount, version, balance_after, id, coalesce(cause_id, 0) FROM pointstore.event_store WHERE request_id LIKE 'L%' ORDER BY id}))
	{
		my ($request, $account, $leg, $amount, $version, $balance, $id, $cause) = split /\|/;
		my ($base) = $request =~ /^([^\/]+)/;
		push @{ $stored{$base} }, "$account $request $leg $amount";
		$row{$base}{$leg} = { id => $id, cause => $cause, receipt => "$account $version $balance $id" };
		$total += $amount;
	}
	foreach my $request (sort keys %told)
	{
		my $got = join ',', sort @{ delete $stored{$request} // [] };
		my $expected = join ',', sort split /,/, $told{$request}{events};
		push @wrong, "$request: told $expected, stored '$got'" if $got ne $expected;
		my $leg = 0;
		foreach (split /,/, $told{$request}{receipts})
		{
			my $there = $row{$request}{ $leg++ };
			push @wrong, "$request leg " . ($leg - 1) . ": told $_, stored " . ($there ? $there->{receipt} : 'nothing') if !$there || s/ (appended|replayed) / /r ne $there->{receipt};
		}
	}
	foreach my $request (sort keys %maybe)
	{
		my $got = join ',', sort @{ delete $stored{$request} // [] };
		my $expected = join ',', sort split /,/, $maybe{$request};
		push @wrong, "$request, given up: $expected, stored '$got'" if $got ne '' && $got ne $expected;
	}
	push @wrong, "$_: nobody knows of it" foreach sort keys %stored;
	my %hold = map { my ($id, $state) = split /\|/; $id => $state } split /\n/, $c->safe_psql('postgres', q{SELECT hold_id, captured || ' ' || status FROM pointstore.hold WHERE hold_id LIKE 'L%'});
	foreach (sort keys %held)
	{
		push @wrong, "hold $_: told $held{$_}, is " . ($hold{$_} // 'missing') if ($hold{$_} // '') ne $held{$_};
		$total -= (split / /, $held{$_})[0];
	}
	push @wrong, split /\n/, $c->safe_psql('postgres', q{WITH event AS MATERIALIZED (SELECT id, request_id, leg, cause_id, amount FROM pointstore.event_store WHERE event_type = 'Transferred' AND request_id LIKE 'L%')
		SELECT format('%s: leg 1 has cause %s, leg 0 is %s', o.request_id, o.cause_id, f.id) FROM event o LEFT JOIN event f ON f.request_id = o.request_id AND f.leg = 0
		WHERE o.leg = 1 AND (f.id IS NULL OR o.cause_id IS DISTINCT FROM f.id)});
	splice @wrong, 20;
	is(join("\n", @wrong), '', "$what: what was told is stored once and whole");
	is(node_faults($nodes, $total), '', "$what: sound");
	is(reversal_faults(), '', "$what: both legs are reversed");
	return;
}

# Shards of random accounts from where they are to another node, until told to stop.
sub mover
{
	my $pid = fork // die "no fork: $!";
	return $pid if $pid;
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	srand $seed + $$;
	my $moved = 0;
	until ($stop)
	{
		my $session = CitusTest::Session->new($c, options => '-c statement_timeout=15s');
		my ($shard, $host, $port) = split /\|/, $session->query("SELECT shard, host, port FROM pointstore.shard_map ORDER BY random() LIMIT 1")->[1];
		if (defined $port)
		{
			my ($to) = grep { $_ != $port } shuffle map { $nodes->{$_}->port } @names;
			my $mode = (qw(block_writes force_logical))[ rand 2 ];
			my $state = $session->query("SELECT citus_move_shard_placement($shard, '$host', $port, '$host', $to, '$mode')")->[0];
			append_to_file("$dir/moves", "$mode $state\n");
		}
		usleep(300_000);
		$session->query('SELECT citus_cleanup_orphaned_resources()') if !$session->lost;
	}
	POSIX::_exit(0);
}

foreach my $round (1 .. $rounds)
{
	# the coordinator, a worker, and any two
	my @victims = $round % 4 == 1 ? ('c') : $round % 4 == 3 ? (shuffle @names)[ 0, 1 ] : ('w' . (1 + int rand 2));
	my $mover = $round % 2 == 0 ? mover() : undef;
	my $how = rand() < 0.6 ? 'kill -9' : 'immediate';
	my $what = "round $round, $how of @victims" . ($mover ? ', moves' : '');
	client("L$round-$_-") foreach 1 .. 7;
	usleep(1_500_000 + rand 1_000_000);
	# when something is prepared, if it can be seen
	my $watch = CitusTest::Session->new($nodes->{w1});
	my $finish = time + 1;
	my $seen = 0;
	$seen = $watch->query('SELECT count(*) FROM pg_prepared_xacts')->[1] until $seen || time > $finish;
	$how eq 'kill -9' ? $nodes->{$_}->kill9 : $nodes->{$_}->stop('immediate') foreach @victims;
	usleep(300_000 + rand 700_000);
	start_again($nodes->{$_}) foreach @victims;
	my $began = time;
	usleep(1_500_000);
	my $n = end_load($what);
	if ($mover)
	{
		kill 'TERM', $mover;
		waitpid $mover, 0;
		my %count;
		$count{$_}++ foreach split /\n/, slurp_file("$dir/moves");
		note('moves: ' . join ', ', map { "$_: $count{$_}" } sort keys %count);
		state_of($c, 'SELECT citus_cleanup_orphaned_resources()');
	}
	cmp_ok($n, '>', 30, "$what: many were told");
	is(settled($nodes, 15 - (time - $began)), '', "$what: nothing stays prepared");
	note(sprintf '%s, %s prepared before: settled %.1f s after the start', $what, $seen, time - $began);
	is(stuck(5), '', "$what: no session is stuck");
	check_stored($what);
}

END
{
	my $status = $?;
	kill 'KILL', map { $_->{pid} } @clients;
	$? = $status;
}
done_testing();
