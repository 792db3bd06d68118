# Sixteen clients at once, writing in every way there is: single events, batches,
# raw rows, textbook transactions, savepoints, rollbacks, changes of status, and
# requests sent again and again. Then the whole store is looked at.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $seconds = $ENV{POINTSTORE_SECONDS} // 15;
my $node = new_cluster('main', conf => "autovacuum = on\ndeadlock_timeout = 100ms");
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode, max_balance) VALUES ('ledger', 'pure', 20000), ('capped', 'hybrid', 2000);
CREATE TABLE told (by text, answer text, request text);

-- a statement's first column, or its SQLSTATE where that is one of those given
CREATE FUNCTION answer(statement text, allowed text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first text;
BEGIN
    EXECUTE statement INTO first;
    RETURN first;
EXCEPTION WHEN OTHERS THEN
    IF NOT SQLSTATE = ANY (allowed) THEN
        RAISE;
    END IF;
    RETURN SQLSTATE;
END $$;

-- the textbook transaction
CREATE FUNCTION textbook(account text, change bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen bigint;
    got  bigint;
BEGIN
    SELECT version INTO seen FROM pointstore.balance WHERE aggregate_id = account;
    UPDATE pointstore.balance SET balance = balance + change, version = version + 1
     WHERE aggregate_id = account AND version = seen RETURNING version INTO got;
    IF NOT FOUND THEN
        RETURN 'lost';
    END IF;
    INSERT INTO pointstore.event_store (aggregate_id, version, event_type) VALUES (account, got, 'Textbook');
    RETURN 'won';
EXCEPTION WHEN SQLSTATE 'PS003' OR SQLSTATE 'PS004' THEN
    RETURN SQLSTATE;
END $$;
END

# One script per way of writing. A request's account and amount follow from its
# number, so a repeat is the same request, and which one was applied can be told.
my %scripts = (
	append => [ 6, <<'END' ],
\set a random(1, 20)
\set amount random(-300, 400)
SELECT outcome FROM pointstore.try_append_event('h' || :a, 'Moved', :amount);
END
	request => [ 6, <<'END' ],
\set r random_zipfian(1, 20000, 1.1)
SELECT outcome FROM pointstore.try_append_event('h' || (:r % 20 + 1), 'Requested', :r % 700 - 300, request_id => 'r' || :r);
END
	mismatch => [ 1, <<'END' ],
\set r random_zipfian(1, 20000, 1.1)
SELECT outcome FROM pointstore.try_append_event('h' || (:r % 20 + 1), 'Mismatched', :r % 700 - 300, request_id => 'r' || :r)
 WHERE EXISTS (SELECT FROM pointstore.event_store WHERE request_id = 'r' || :r);
END
	fresh => [ 1, <<'END' ],
\set a random_zipfian(1, 2000, 1.1)
SELECT outcome FROM pointstore.try_append_event('new' || :a, 'Moved', 1);
END
	pure => [ 4, <<'END' ],
\set r random_zipfian(1, 20000, 1.1)
SELECT outcome FROM pointstore.try_append_event('p' || (:r % 5 + 1), 'Requested', :r % 700 - 300, kind => 'ledger', request_id => 'p' || :r);
END
	pureraw => [ 1, <<'END' ],
\set a random(1, 5)
\set amount random(-300, 400)
SELECT answer(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('p%s', 'Raw', %s) RETURNING version$$, :a, :amount),
              '{PS003,PS008,PS009,23505,22023}');
END
	expect => [ 2, <<'END' ],
\set a random(1, 20)
SELECT outcome FROM pointstore.try_append_event('h' || :a, 'Expected', 10,
    expected_version => (SELECT version FROM pointstore.balance WHERE aggregate_id = 'h' || :a));
END
	batch => [ 3, <<'END' ],
\set a random(1, 20)
\set b random(1, 20)
\set p random(1, 5)
\set n random(1, 5000)
\set amount random(1, 100)
SELECT answer(format($$SELECT count(*) FROM pointstore.append_events(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'h%s', 'event_type', 'Batched', 'amount', -%s),
    jsonb_build_object('aggregate_id', 'p%s', 'event_type', 'Batched', 'amount', 1, 'kind', 'ledger'),
    jsonb_build_object('aggregate_id', 'n%s', 'event_type', 'Batched', 'amount', 1),
    jsonb_build_object('aggregate_id', 'h%s', 'event_type', 'Batched', 'amount', %s - 2)), NULL, true)$$,
    :a, :amount, :p, :n, :b, :amount), '{PS003,PS004,PS009}');
END
	batchrequest => [ 2, <<'END' ],
\set r random_zipfian(1, 3000, 1.1)
SELECT answer(format($$SELECT outcome FROM pointstore.append_events(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'h' || %1$s %% 20 + 1, 'event_type', 'Sent', 'amount', -(%1$s %% 50)),
    jsonb_build_object('aggregate_id', 'h' || %1$s %% 7 + 1, 'event_type', 'Received', 'amount', %1$s %% 50)), 'b%1$s', true)$$, :r),
    '{PS003,PS004}');
END
	purebatch => [ 2, <<'END' ],
\set r random_zipfian(1, 3000, 1.1)
SELECT answer(format($$SELECT outcome FROM pointstore.append_events(jsonb_build_array(
    jsonb_build_object('aggregate_id', 'p' || %1$s %% 5 + 1, 'event_type', 'Sent', 'amount', -(%1$s %% 50)),
    jsonb_build_object('aggregate_id', 'p' || %1$s %% 3 + 1, 'event_type', 'Received', 'amount', %1$s %% 50)), 'q%1$s', true)$$, :r),
    '{PS003,PS009}');
END
	raw => [ 2, <<'END' ],
\set a random(1, 20)
\set amount random(-300, 400)
SELECT answer(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('h%1$s', 'Raw', %2$s), ('h%1$s', 'Raw', 1) RETURNING version$$, :a, :amount),
              '{PS003,PS004}');
END
	rawrequest => [ 2, <<'END' ],
\set r random_zipfian(1, 20000, 1.1)
SELECT answer(format($$INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id)
    VALUES ('h%s', 'Requested', %s, 'r%s') ON CONFLICT DO NOTHING RETURNING version$$, :r % 20 + 1, :r % 700 - 300, :r), '{PS003,PS004,23505}');
END
	textbook => [ 3, <<'END' ],
\set a random(1, 20)
\set amount random(-300, 400)
SELECT textbook('h' || :a, :amount);
END
	savepoint => [ 2, <<'END' ],
\set a random(1, 20)
BEGIN;
SELECT outcome FROM pointstore.try_append_event('h' || :a, 'Kept', 1);
SAVEPOINT s;
SELECT outcome FROM pointstore.try_append_event('h' || :a, 'Undone', 7);
SELECT textbook('h' || :a, 9);
ROLLBACK TO s;
SELECT outcome FROM pointstore.try_append_event('h' || :a, 'Kept', 1);
COMMIT;
END
	rollback => [ 2, <<'END' ],
\set r random_zipfian(1, 20000, 1.1)
BEGIN;
SELECT outcome FROM pointstore.try_append_event('h' || (:r % 20 + 1), 'Undone', 1);
SELECT answer(format($$SELECT outcome FROM pointstore.try_append_event('h%s', 'Requested', %s, request_id => 'r%s')$$,
    :r % 20 + 1, :r % 700 - 300, :r), '{}');
ROLLBACK;
END
	capped => [ 1, <<'END' ],
\set amount random(-300, 400)
SELECT outcome FROM pointstore.try_append_event('c', 'Moved', :amount, kind => 'capped');
END
	status => [ 1, <<'END' ],
\set a random(1, 20)
SELECT pointstore.freeze_account('h' || :a, 'busy'), pointstore.unfreeze_account('h' || :a, 'busy')
  FROM pointstore.balance WHERE aggregate_id = 'h' || :a;
END
	rebuild => [ 1, <<'END' ],
\set a random(1, 20)
INSERT INTO told SELECT 'rebuild', 'changed', aggregate_id FROM pointstore.rebuild_balance('h' || :a) WHERE changed;
END
	read => [ 2, <<'END' ]);
\set a random(1, 20)
INSERT INTO told
SELECT 'read', b.version || '/' || b.balance, b.aggregate_id FROM pointstore.get_balance('h' || :a) b
 WHERE pointstore.balance_as_of(b.aggregate_id, b.version) <> b.balance;
END

$node->safe_psql('postgres', q{SELECT pointstore.append_event('h' || n, 'Opened', 1000),
	pointstore.append_event('p' || n, 'Opened', 1000, kind => 'ledger') FROM generate_series(1, 20) n});

my $dir = PostgreSQL::Test::Utils::tempdir;
my @files;
foreach my $name (sort keys %scripts)
{
	append_to_file("$dir/$name.sql", $scripts{$name}[1]);
	push @files, '-f', "$dir/$name.sql\@$scripts{$name}[0]";
}
# two reconcilers at it all the time, who must find nothing
my @reconcilers;
foreach my $scope (qw(incremental full))
{
	append_to_file("$dir/$scope.reconcile", "CALL pointstore.reconcile('$scope');\n");
	my ($out, $err) = ('', '');
	push @reconcilers, { out => \$out, err => \$err, run => IPC::Run::start(
			[ 'pgbench', '-n', '-c', 1, '-T', $seconds, '-f', "$dir/$scope.reconcile", $node->connstr('postgres') ], '>', \$out, '2>', \$err) };
}
my ($stdout, $stderr) = ('', '');
my $finished = IPC::Run::run([ 'pgbench', '-n', '-c', 16, '-j', 2, '-T', $seconds, @files, $node->connstr('postgres') ],
	'>', \$stdout, '2>', \$stderr);
ok($finished, 'no client has met an error that it may not meet') or diag($stderr);
my ($done) = $stdout =~ /number of transactions actually processed: (\d+)/;
my ($failed) = $stdout =~ /number of failed transactions: (\d+)/;
diag(sprintf('%d transactions in %d s', $done // 0, $seconds));
cmp_ok($done // 0, '>', 0, 'there was something to do');
is($failed // 0, '0', 'no deadlock and no serialization failure in READ COMMITTED');

foreach my $reconciler (@reconcilers)
{
	ok($reconciler->{run}->finish, 'a reconciler has met no error') or diag(${ $reconciler->{err} });
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.finding'), '0', 'no finding in a healthy store');
is($node->safe_psql('postgres', q{SELECT DISTINCT status, unverified FROM pointstore.reconciliation_run}), 'clean|0', 'all runs were clean');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pointstore.reconciliation_run WHERE scope = '$_'"), '>', 3, "there were some of scope $_")
  foreach qw(incremental full);
$node->safe_psql('postgres', q{CALL pointstore.reconcile()});
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.account a LEFT JOIN pointstore.account_proof p USING (aggregate_id)
	WHERE a.version > 0 AND (p.version, p.balance) IS DISTINCT FROM (a.version, a.balance)}), '0', 'in the end every account is proved to its last event');

is(faults($node, 'postgres'), '', 'the store is sound');
is($node->safe_psql('postgres', 'SELECT * FROM told'), '', 'no reader has seen a balance without its event, nor has a rebuild');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store e WHERE balance_after < 0 AND amount < 0}), '0',
	'no debit has gone below the floor');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store e JOIN pointstore.account a USING (aggregate_id)
	JOIN pointstore.account_kind k USING (kind) WHERE e.balance_after > k.max_balance AND e.amount > 0}), '0', 'no credit has gone above the ceiling');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store WHERE event_type IN ('Undone', 'Mismatched')}), '0',
	'nothing is left of what was rolled back or refused');
is($node->safe_psql('postgres', <<'END'), '0', 'each request was applied with the content it was sent with');
SELECT count(*) FROM pointstore.event_store, CAST(substr(request_id, 2) AS integer) r
 WHERE request_id ~ '^[rp]' AND (event_type, amount, leg) <> ('Requested', r % 700 - 300, 0)
    OR request_id ~ '^r' AND aggregate_id <> 'h' || r % 20 + 1
    OR request_id ~ '^p' AND aggregate_id <> 'p' || r % 5 + 1
END
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT request_id FROM pointstore.event_store WHERE request_id ~ '^[bq]'
	GROUP BY request_id HAVING count(*) <> 2 OR sum(amount) <> 0 OR max(leg) <> 1) b}), '0', 'a request of two events is there as a whole');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.account_log WHERE action = 'open'}),
	$node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.account'), 'each account was opened once');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.account_log WHERE action = 'rebuild'}), '0', 'nothing was rebuilt');

# each way of writing has had its share, and each refusal has been met
foreach my $type (qw(Moved Requested Batched Sent Received Raw Textbook Kept Expected))
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pointstore.event_store WHERE event_type = '$type'"), '>', 0, "there are events $type");
}

$node->stop;
done_testing();
