# Many sessions do whatever there is to do with holds, transfers and reversals, states,
# stale versions that merge, conditions and leases that pass on, at random, with requests of each
# other's repeated and some rolled back; the server is killed in between. Afterwards a simple model of the rules goes through the events
# alone, and every receipt that a client has got must be found there.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $clients = $ENV{POINTSTORE_CLIENTS} // 6;
my $calls = $ENV{POINTSTORE_CALLS} // 700;
my $seed = $ENV{POINTSTORE_SEED} // int(rand(1 << 30));
note("POINTSTORE_SEED=$seed");

my $node = new_cluster('main', conf => <<'END');
deadlock_timeout = 100ms
max_worker_processes = 16
pointstore.databases = 'postgres'
pointstore.reconcile_interval = 2s
pointstore.sweep_interval = 1s
END
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode, min_balance) VALUES ('house', 'hybrid', NULL), ('ledger', 'pure', 0);
SELECT pointstore.append_event('house', 'Opened', kind => 'house'), pointstore.append_event('p1', 'Earned', 4096, kind => 'ledger'),
       pointstore.append_event('p2', 'Earned', 4096, kind => 'ledger');
CREATE TABLE strict (since timestamptz);
CREATE ROLE author;
CREATE FUNCTION public.merge_note(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('payload', jsonb_build_object('since', cardinality(since), 'base', base_version)) $$;
ALTER FUNCTION public.merge_note(jsonb, bigint, pointstore.event[]) OWNER TO author;
INSERT INTO pointstore.account_kind (kind, commuting, merge, initial_state) VALUES ('post', '{Liked}', 'public.merge_note', 'open');
INSERT INTO pointstore.transition VALUES ('post', 'open', 'Shut', 'shut'), ('post', 'shut', 'Opened', 'open'), ('post', 'open', 'Liked', 'open'), ('post', 'shut', 'Liked', 'shut');
INSERT INTO pointstore.account_kind (kind, lease_required) VALUES ('leased', true);
SELECT pointstore.append_event('m' || n, 'Liked', 1, kind => 'post') FROM generate_series(1, 2) n;
SELECT pointstore.open_account('l1', 'leased');
CREATE TABLE promised (answer text, aggregate_id text, version bigint, balance bigint, id bigint);
END

# What request n asks for follows from n: so whoever repeats it repeats the same.
sub request
{
	my ($n) = @_;
	my $random = $n * 7919 + 13;
	my $pick = sub { $random = ($random * 1103515245 + 12345) % 2147483648; return int($random / 65536) % $_[0] };
	my @accounts = ((map { "a$_" } 1 .. 8), 'house', 'p1', 'p2');
	my $from = $accounts[$pick->(11)];
	my $amount = 1 << $pick->(11);
	my $what = $pick->(10);

	return "pointstore.try_append_event('$from', 'Earned', $amount, request_id => 'r$n')" if $what < 2;
	return "pointstore.try_append_event('$from', 'Spent', -$amount, request_id => 'r$n')" if $what < 3;
	if ($what == 5 && $n % 3 == 0)
	{
		my @legs = map { $accounts[$pick->(11)] } 1 .. 3;
		my $half = $amount >> 1;
		return sprintf q{pointstore.append_events('[{"aggregate_id": "%s", "event_type": "Split", "amount": %d}, {"aggregate_id": "%s", "event_type": "Split", "amount": %d},
			{"aggregate_id": "%s", "event_type": "Split", "amount": %d}]', 'r%d', true)}, $legs[0], -$amount, $legs[1], $half, $legs[2], $amount - $half, $n;
	}
	if ($what < 6)
	{
		my $to = $accounts[$pick->(11)];
		$to = $from eq 'house' ? 'a1' : 'house' if $to eq $from;
		return "pointstore.try_transfer('$from', '$to', $amount, 'r$n')";
	}
	if ($what == 6)
	{
		my $type = ('Liked', 'Liked', 'Noted', 'Shut', 'Opened')[$pick->(5)];
		return sprintf "pointstore.try_append_event('m%d', '%s', %d, '{\"n\": %d}', %d, 'r%d')", 1 + $pick->(2), $type, $pick->(3), $n, 1 + $pick->(5), $n if $pick->(4);
		return sprintf q{(SELECT version AS v, 'm%d' AS m FROM pointstore.account WHERE aggregate_id = 'm%1$d') c, pointstore.append_events(jsonb_build_array(
			jsonb_build_object('check', true, 'aggregate_id', m, 'expected_version', v), '{"aggregate_id": "a1", "event_type": "Earned", "amount": 1, "payload": {"checked": true}}'::jsonb), 'r%d')}, 1 + $pick->(2), $n;
	}
	return "(SELECT coalesce(max(token), 0) AS t FROM pointstore.lease WHERE name = 'account:l1') l, "
	  . "pointstore.try_append_event('l1', 'Earned', 1, request_id => 'r$n', metadata => jsonb_build_object('token', t), lease_token => t)" if $what == 7;
	my $ms = (5, 10, 50, 60000)[$pick->(4)];
	return sprintf "pointstore.try_hold('a%d', %d, 'h%d', '%d ms')", 1 + $pick->(8), $amount, $n, $ms;
}

# One client's calls, as a script; each prints the receipts it gets, marked x where they are rolled back.
sub script
{
	my ($client, $round) = @_;
	my $numbers = $clients * $calls / 4;
	my @lines = ("\\set VERBOSITY sqlstate", "SET client_min_messages = error;");

	srand($seed + 1000 * $round + $client);
	foreach (1 .. $calls)
	{
		my $n = 1 + int(rand($numbers)) + $round * 100000;
		my $what = rand();
		my $call =
		    $what < 0.55 ? request($n)
		  : $what < 0.75 ? sprintf("pointstore.confirm_hold('h%d'%s)", $n, rand() < 0.3 ? ', 1' : '')
		  : $what < 0.85 ? "pointstore.cancel_hold('h$n')"
		  : sprintf("(SELECT aggregate_id AS a, version AS v FROM pointstore.event_store WHERE aggregate_id = '%s' ORDER BY md5(version::text || '%s') LIMIT 1) e,
			pointstore.reverse_event(a, v, %s, %s, %s)", (map({ "a$_" } 1 .. 8), 'house', 'p1')[rand 10], $n, rand() < 0.5 ? 'NULL' : 1 << int(rand(8)),
			rand() < 0.5 ? "'v$n'" : 'NULL', $round < 3 && rand() < 0.3 ? 'true' : 'false');
		my $undone = rand() < 0.1;

		# a request is the same in every form of its call
		$call =~ s/try_(append_event|transfer)/{ append_event => 'try_submit_event', transfer => 'try_submit_transfer' }->{$1}/e if !$undone && rand() < 0.5;
		push @lines, 'BEGIN;' if $undone;
		push @lines, "SELECT '" . ($undone ? 'x' : '') . "' || outcome, aggregate_id, version, balance, id FROM $call;";
		push @lines, 'ROLLBACK;' if $undone;
		push @lines, 'CALL pointstore.sweep_holds();' if rand() < 0.002;
		push @lines, "SELECT FROM pointstore.acquire_lease('account:l1', 'client $client', '30 ms');" if rand() < 0.1;
	}
	return join("\n", @lines) . "\n";
}

# Runs a round of all clients at once; killed after so many seconds where these are given.
sub run_round
{
	my ($round, $seconds) = @_;
	my @runs;
	my $files = PostgreSQL::Test::Utils::tempdir;

	# by files: what a client has got is there whatever becomes of it
	foreach my $client (1 .. $clients)
	{
		append_to_file("$files/$client.sql", script($client, $round));
		push @runs, IPC::Run::start([ 'psql', '-XAtq', '-F', ',', '-d', $node->connstr('postgres'), '-f', "$files/$client.sql" ],
			'>', "$files/$client.out", '2>', "$files/$client.err");
	}
	if ($seconds)
	{
		select(undef, undef, undef, $seconds);
		$node->kill9;
	}
	foreach my $run (@runs)
	{
		eval { $run->finish };
	}
	my $told = join '', map { slurp_file("$files/$_.out") } 1 .. $clients;
	my $errors = join '', map { slurp_file("$files/$_.err") } 1 .. $clients;
	my %codes;
	$codes{$1}++ while $errors =~ /ERROR:\s+(\w{5})/g;
	start_again($node) if $seconds;
	my @receipts = grep { /^(?:appended|merged|replayed),[^,]+,\d+,-?\d+,\d+$/ } split /\n/, $told;
	my ($in, $out) = ("COPY promised FROM STDIN (FORMAT csv);\n" . join("\n", @receipts) . "\n\\.\n", '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out) or die 'receipts could not be loaded';
	cmp_ok(scalar(@receipts), '>', $seconds ? 0 : $calls, "round $round: receipts");
	my @odd = grep { !/^(?:PS001|PS003|PS004|PS002|PS007|PS008|PS009|PS011|0A000|40001|57P0\d)$/ } keys %codes;
	is("@odd", '', "round $round: no error but refusals (" . join(' ', map { "$_: $codes{$_}" } sort keys %codes) . ')');
	return;
}

# The rules, told once more: what is wrong with the events, a line for each.
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION broken_rules() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    e record;
    account text := '';
    balance numeric;
    version bigint;
    held numeric;       -- what is placed and not closed, expired or not
    state text;         -- of an account whose kind has states
    reserved numeric;   -- of that, what has not expired
    min_balance bigint;
BEGIN
    CREATE TEMP TABLE open_hold (id bigint PRIMARY KEY, amount numeric, expires_at timestamptz) ON COMMIT DROP;
    FOR e IN SELECT s.*, k.min_balance AS floor, k.initial_state, (s.metadata ->> 'expires_at')::timestamptz AS expiry, o.amount AS original, o.event_type AS original_type
               FROM pointstore.event_store s JOIN pointstore.account a USING (aggregate_id) JOIN pointstore.account_kind k USING (kind)
               LEFT JOIN pointstore.event_store o ON o.id = s.cause_id
              ORDER BY s.aggregate_id, s.version
    LOOP
        IF e.aggregate_id <> account THEN
            account := e.aggregate_id; balance := 0; version := 0; held := 0; state := e.initial_state;
            DELETE FROM open_hold;
        END IF;
        IF e.initial_state IS NOT NULL THEN
            IF e.event_type <> 'Noted' THEN
                state := (SELECT t.to_state FROM pointstore.transition t WHERE t.kind = 'post' AND t.from_state = state AND t.event_type = e.event_type);
            END IF;
            IF e.state_after IS DISTINCT FROM state THEN
                RETURN NEXT format('%s %s: %s in the state %s', account, e.version, e.event_type, e.state_after);
            END IF;
            state := e.state_after;
        END IF;
        version := version + 1; balance := balance + e.amount; held := held + e.held;
        IF e.event_type = 'HoldPlaced' THEN
            INSERT INTO open_hold VALUES (e.id, e.held, e.expiry);
        ELSIF e.event_type LIKE 'Hold%' THEN
            IF e.event_type = 'HoldConfirmed' AND e.created_at > (SELECT o.expires_at + interval '50 ms' FROM open_hold o WHERE o.id = e.cause_id) THEN
                RETURN NEXT format('%s %s: confirmed after it expired', account, version);
            ELSIF e.event_type = 'HoldExpired' AND e.created_at < (SELECT o.expires_at FROM open_hold o WHERE o.id = e.cause_id) THEN
                RETURN NEXT format('%s %s: expired before its time', account, version);
            END IF;
            DELETE FROM open_hold o WHERE o.id = e.cause_id AND o.amount = -e.held AND -e.amount <= o.amount;
            IF NOT FOUND THEN
                RETURN NEXT format('%s %s: closes no open hold', account, version);
            END IF;
        ELSIF e.held <> 0 THEN
            RETURN NEXT format('%s %s: holds nothing and says so', account, version);
        END IF;
        SELECT coalesce(sum(o.amount), 0) INTO reserved FROM open_hold o WHERE o.expires_at > e.created_at;
        IF (e.version, e.balance_after) IS DISTINCT FROM (version, balance::bigint) THEN
            RETURN NEXT format('%s %s: version or balance', account, version);
        ELSIF (e.amount < 0 OR e.held > 0) AND e.event_type <> 'HoldConfirmed' AND balance - reserved < e.floor
              AND (e.event_type <> 'EventReversed' OR e.created_at > (SELECT since FROM strict)) THEN
            RETURN NEXT format('%s %s: %s available, below the floor', account, version, balance - reserved);
        ELSIF e.event_type = 'EventReversed' AND (e.original IS NULL OR e.original_type = 'EventReversed' OR sign(e.amount) = sign(e.original)) THEN
            RETURN NEXT format('%s %s: reverses what it may not', account, version);
        END IF;
        IF held <> (SELECT coalesce(sum(o.amount), 0) FROM open_hold o) THEN
            RETURN NEXT format('%s %s: held', account, version);
        END IF;
    END LOOP;
    RETURN QUERY SELECT format('%s %s: reversed by %s of %s', o.aggregate_id, o.version, sum(r.amount), o.amount)
      FROM pointstore.event_store r JOIN pointstore.event_store o ON o.id = r.cause_id
     WHERE r.event_type = 'EventReversed' GROUP BY o.id, o.aggregate_id, o.version, o.amount HAVING abs(sum(r.amount)) > abs(o.amount);
    RETURN QUERY SELECT format('%s %s: %s legs of %s in all', type, id, count, total) FROM (
        SELECT coalesce(cause_id, id) AS id, min(event_type) AS type, count(*), sum(amount) AS total FROM pointstore.event_store
         WHERE event_type IN ('Transferred', 'Split') GROUP BY 1) t WHERE count <> CASE type WHEN 'Split' THEN 3 ELSE 2 END OR total <> 0;
    RETURN QUERY SELECT format('reversal of the movement %s: %s in all', coalesce(o.cause_id, o.id), sum(r.amount))
      FROM pointstore.event_store r JOIN pointstore.event_store o ON o.id = r.cause_id
     WHERE r.event_type = 'EventReversed' AND o.event_type IN ('Transferred', 'Split') GROUP BY coalesce(o.cause_id, o.id) HAVING sum(r.amount) <> 0;
    RETURN QUERY SELECT format('request %s: %s events', request_id, count(*)) FROM pointstore.event_store
     WHERE request_id LIKE 'r%' GROUP BY request_id HAVING count(*) > CASE min(event_type) WHEN 'Split' THEN 3 WHEN 'Transferred' THEN 2 ELSE 1 END;
    RETURN QUERY SELECT format('money: %s in the accounts, %s came in', held_in_all, came_in) FROM (
        SELECT (SELECT sum(a.balance) FROM pointstore.account a) AS held_in_all,
               (SELECT sum(s.amount) FROM pointstore.event_store s WHERE s.event_type NOT IN ('Transferred', 'Split')) AS came_in) m WHERE held_in_all <> came_in;
    RETURN QUERY SELECT format('%s %s: by a lease that had passed on', aggregate_id, s.version)
      FROM (SELECT v.*, max((metadata ->> 'token')::bigint) OVER (PARTITION BY aggregate_id ORDER BY v.version) AS newest FROM pointstore.event_store v WHERE aggregate_id = 'l1') s
     WHERE (metadata ->> 'token')::bigint IS DISTINCT FROM newest;
    RETURN QUERY SELECT format('promised: %s', p) FROM promised p
      LEFT JOIN pointstore.event_store s ON (s.aggregate_id, s.version, s.balance_after, s.id) = (p.aggregate_id, p.version, p.balance, p.id)
     WHERE s.id IS NULL;
END $$;
END

sub judge
{
	my ($when) = @_;

	is($node->safe_psql('postgres', 'SELECT * FROM broken_rules() LIMIT 20'), '', "$when: the events keep the rules, and the promises");
	is(faults($node, 'postgres'), '', "$when: the accounts say what their events say");
	$node->safe_psql('postgres', q{SET client_min_messages = error; CALL pointstore.reconcile('full')});
	is($node->safe_psql('postgres', 'SELECT aggregate_id, code FROM pointstore.finding'), '', "$when: reconciliation finds nothing, nor has it");
	return;
}

run_round(1);
judge('undisturbed');
run_round(2, 0.7);
judge('after kill -9');
$node->safe_psql('postgres', 'INSERT INTO strict VALUES (clock_timestamp())');
run_round(3);
judge('and on, without debts');
foreach my $type (qw(HoldPlaced HoldConfirmed HoldCancelled HoldExpired EventReversed Transferred Split))
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pointstore.event_store WHERE event_type = '$type'"), '>', 10, "$type happened");
}
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM promised WHERE answer = 'replayed'}), '>', 10, 'requests were repeated');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM promised WHERE answer = 'merged'}), '>', 10, 'stale versions were merged');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store WHERE metadata ? 'pointstore.proposed'}), '>', 3, 'by the function, too');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store WHERE payload ? 'checked'}), '>', 3, 'conditions held');
cmp_ok($node->safe_psql('postgres', q{SELECT count(DISTINCT metadata ->> 'token') FROM pointstore.event_store WHERE aggregate_id = 'l1'}), '>', 3, 'a lease passed on');

# the schedule sweeps what has expired by itself
$node->safe_psql('postgres', q{SELECT pointstore.append_event('swept', 'Earned', 2000);
	SELECT count(pointstore.hold('swept', 1, 'sweep' || n, '1 ms')) FROM generate_series(1, 1500) n});
ok($node->poll_query_until('postgres', q{SELECT held = 0 AND next_expiry IS NULL FROM pointstore.balance WHERE aggregate_id = 'swept'}), 'swept on schedule');
is($node->safe_psql('postgres', q{SELECT max(n) <= 1000 FROM (SELECT count(*) AS n FROM pointstore.event_store WHERE event_type = 'HoldExpired' AND aggregate_id = 'swept' GROUP BY xmin::text) t}),
	't', 'in batches');
$node->append_conf('postgresql.conf', 'pointstore.sweep_interval = 0');
$node->reload;
sleep 2;
$node->safe_psql('postgres', q{SELECT pointstore.hold('swept', 1, 'unswept', '1 ms')});
sleep 2;
is($node->safe_psql('postgres', q{SELECT status FROM pointstore.hold WHERE hold_id = 'unswept'}), 'open', 'off is off');
is($node->safe_psql('postgres', q{SELECT held, available FROM pointstore.get_balance('swept')}), '1|2000', 'and it reserves nothing all the same');

# a step can be prepared
$node->safe_psql('postgres', q{BEGIN; SELECT pointstore.hold('swept', 2, 'prepared'); PREPARE TRANSACTION 'p1'});
$node->safe_psql('postgres', q{COMMIT PREPARED 'p1'});
$node->safe_psql('postgres', q{BEGIN; SELECT pointstore.confirm_hold('prepared'); SELECT pointstore.transfer('swept', 'house', 1); PREPARE TRANSACTION 'p2'});
$node->restart;
$node->safe_psql('postgres', q{COMMIT PREPARED 'p2'});
is($node->safe_psql('postgres', q{SELECT status, captured FROM pointstore.hold WHERE hold_id = 'prepared'}), 'confirmed|2', 'prepared, and committed after a restart');
judge('in the end');
$node->stop;
done_testing();
