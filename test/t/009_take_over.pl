# Taking over an existing system: a point_history and a user_balance become a
# store, by opening balances or with the whole history; and a bank's statements,
# where they are at hand (bank_statements_1993.csv in the folder POINTSTORE_DATA).

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time);

my $rows = $ENV{POINTSTORE_ROWS} // 100_000;
my $node = new_cluster('main', conf => "autovacuum = on\nmax_wal_size = 1GB");
$node->start;

# The old system: some of its balances went below zero at times, several rows are
# of one moment, and not every row has an order number.
sub old_system
{
	my ($db, $n) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	create_store($node, $db);
	$node->safe_psql($db, <<"END");
CREATE TABLE point_history (id bigint PRIMARY KEY, user_id integer NOT NULL, delta integer NOT NULL, reason text NOT NULL,
                            order_no text, created_at timestamptz NOT NULL);
INSERT INTO point_history
SELECT n, n % 1000, CASE WHEN n % 7 = 3 THEN -(n % 900) ELSE n % 500 END, CASE WHEN n % 7 = 3 THEN 'spent' ELSE 'earned' END,
       CASE WHEN n % 5 > 0 THEN 'order-' || n END, '2020-01-01'::timestamptz + n / 3 * interval '97 s'
  FROM generate_series(1, $n) n;
CREATE TABLE user_balance AS SELECT user_id, sum(delta) AS balance FROM point_history GROUP BY user_id;
ALTER TABLE user_balance ADD PRIMARY KEY (user_id);
CREATE VIEW differences AS
SELECT u.user_id, u.balance AS old, a.balance AS new
  FROM user_balance u FULL JOIN pointstore.account a ON a.aggregate_id = 'user-' || u.user_id
 WHERE u.balance IS DISTINCT FROM a.balance;
END
	return;
}

# opening balances, as one event each
old_system('opening', 10_000);
$node->safe_psql('opening', <<'END');
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('import', NULL);
SELECT pointstore.open_account('user-' || user_id, 'import') FROM user_balance;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id)
SELECT 'user-' || user_id, 'OpeningBalance', balance, 'opening-' || user_id FROM user_balance;
SELECT pointstore.set_kind('user-' || user_id, 'default', 'taken over') FROM user_balance;
END
is($node->safe_psql('opening', 'SELECT count(*) FROM differences'), '0', 'opening balances: they are the old ones');
is(faults($node, 'opening'), '', 'opening balances: sound');
is($node->safe_psql('opening', 'SELECT DISTINCT version, kind FROM pointstore.balance'), '1|default', 'opening balances: one event each');
is($node->safe_psql('opening', <<'END'), '', 'opening balances: once more does nothing');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id)
SELECT 'user-' || user_id, 'OpeningBalance', balance, 'opening-' || user_id FROM user_balance RETURNING version
END
is(faults($node, 'opening'), '', 'opening balances: still sound');

# whole histories, by COPY, with their own times
old_system('history', $rows);
my $file = PostgreSQL::Test::Utils::tempdir . '/history';
$node->safe_psql('history', <<"END");
INSERT INTO pointstore.account_kind (kind, min_balance) VALUES ('import', NULL);
SELECT pointstore.open_account('user-' || user_id, 'import') FROM user_balance;
COPY (SELECT 'user-' || user_id, reason, delta, jsonb_build_object('history_id', id, 'note', repeat('x', 200)), order_no, created_at, created_at
        FROM point_history ORDER BY created_at, id) TO '$file';
END

# private memory of a backend, in kB, as Linux tells; its peak since the session began
sub peak
{
	my ($session) = @_;
	my ($kb) = $session->query_safe(q{SELECT pg_read_file('/proc/self/status', 0, 10000, true)}) =~ /^VmPeak:\s+(\d+)/m;
	return $kb;
}

my $columns = 'aggregate_id, event_type, amount, payload, request_id, occurred_at, created_at';
my $session = $node->background_psql('history');
$session->query_safe(q{SELECT pointstore.get_balance('user-1')});
my $before = peak($session);
my $start = time;
$session->query_safe("COPY pointstore.event_store ($columns) FROM '$file'");
my $seconds = time - $start;
diag(sprintf('%d events by COPY in %.1f s, %.0f a second', $rows, $seconds, $rows / $seconds));
SKIP:
{
	skip 'a system without /proc', 1 unless $before;
	my $grown = peak($session) - $before;
	diag(sprintf('the backend grew by %.1f MB', $grown / 1024));
	cmp_ok($grown, '<', 32 * 1024, 'the backend has not grown with its file');
}
$session->quit;

is($node->safe_psql('history', 'SELECT count(*) FROM pointstore.event_store'), $rows, 'history: all of it');
is($node->safe_psql('history', 'SELECT count(*) FROM differences'), '0', 'history: its balances are the old ones');
is(faults($node, 'history'), '', 'history: sound');
is($node->safe_psql('history', 'SELECT count(*) FROM pointstore.event_store e JOIN point_history h ON h.id = (e.payload ->> \'history_id\')::bigint
	WHERE (e.created_at, e.occurred_at, e.amount) = (h.created_at, h.created_at, h.delta)'), $rows, 'history: with its own times');
my $then = q{'2020-02-01'};
is($node->safe_psql('history', "SELECT sum(pointstore.balance_at('user-' || user_id, $then)) FROM user_balance"),
	$node->safe_psql('history', "SELECT sum(delta) FROM point_history WHERE created_at <= $then"), 'history: balance_at tells what was known then');
is($node->safe_psql('history', q{SELECT count(*) > 0 FROM pointstore.event_store WHERE balance_after < 0}), 't', 'history: it did go below zero');

# the file once more: what had an order number is skipped, nothing else may be in it
$node->safe_psql('history', "COPY (SELECT 'user-' || user_id, reason, delta, jsonb_build_object('history_id', id, 'note', repeat('x', 200)), order_no, created_at, created_at
	FROM point_history WHERE order_no IS NOT NULL AND id <= 20000 ORDER BY created_at, id) TO '$file'");
is($node->safe_psql('history', "COPY pointstore.event_store ($columns) FROM '$file'; SELECT count(*) FROM pointstore.event_store"), $rows, 'history: a second load is skipped');

# what a history may not say
my $newest = q{(SELECT max(created_at) FROM pointstore.event_store WHERE aggregate_id = 'user-1')};
is(sqlstate($node, 'history', "INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('user-1', 'x', $newest - interval '1 us')"), '22023', 'history: not before the account\'s last event');
is(sqlstate($node, 'history', "INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('user-1', 'x', now() + interval '1 h')"), '22023', 'history: not in the future');
is(sqlstate($node, 'history', "BEGIN; INSERT INTO pointstore.event_store (aggregate_id, event_type, created_at) VALUES ('user-1', 'x', $newest); ROLLBACK"), '00000', 'history: at the same moment it may be');
$node->safe_psql('history', q{SELECT pointstore.set_kind('user-' || user_id, 'default', 'taken over') FROM user_balance});
is($node->safe_psql('history', q{SELECT outcome FROM pointstore.try_append_event((SELECT aggregate_id FROM pointstore.balance ORDER BY balance LIMIT 1), 'spent', -1000000)}),
	'insufficient_balance', 'afterwards the floor holds');
is(faults($node, 'history'), '', 'history: sound in the end');

# a bank's statements
SKIP:
{
	my $statements = ($ENV{POINTSTORE_DATA} // '') . '/bank_statements_1993.csv';
	skip 'no bank statements at hand', 1 unless -r $statements;

	$node->safe_psql('postgres', 'CREATE DATABASE bank');
	create_store($node, 'bank');
	$node->safe_psql('bank', <<'END');
INSERT INTO pointstore.account_kind (kind, unit, min_balance) VALUES ('current account', 'CZK/100', NULL), ('no debt', 'CZK/100', 0);
CREATE TABLE line (trans_id integer, account_id integer, booked_on date, direction text, operation text, amount numeric, stated_balance numeric,
                   place integer GENERATED ALWAYS AS IDENTITY);
END
	$node->run_log([ 'psql', '-X', '-d', $node->connstr('bank'), '-c',
			'\copy line (trans_id, account_id, booked_on, direction, operation, amount, stated_balance) FROM ' . "'$statements' CSV HEADER" ]);
	cmp_ok($node->safe_psql('bank', 'SELECT count(*) FROM line'), '>', 20_000, 'bank: its lines are read');
	$start = time;
	$node->safe_psql('bank', <<'END');
SELECT pointstore.open_account('account-' || account_id, 'current account') FROM line GROUP BY account_id;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload, request_id, occurred_at, created_at)
SELECT 'account-' || account_id, coalesce(nullif(operation, ''), direction), (CASE direction WHEN 'credit' THEN amount ELSE -amount END * 100)::bigint,
       jsonb_build_object('stated_balance', stated_balance), 'line-' || trans_id, booked_on, booked_on
  FROM line ORDER BY booked_on, place;
END
	diag(sprintf('the bank in %.1f s', time - $start));
	is($node->safe_psql('bank', 'SELECT count(*) FROM pointstore.event_store'), $node->safe_psql('bank', 'SELECT count(*) FROM line'), 'bank: each line is an event');
	is($node->safe_psql('bank', <<'END'), '0', 'bank: each balance is the plain sum of its lines');
SELECT count(*) FROM pointstore.account a
  FULL JOIN (SELECT 'account-' || account_id AS aggregate_id, sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) AS total
               FROM line GROUP BY account_id) l USING (aggregate_id)
 WHERE a.balance / 100.0 IS DISTINCT FROM l.total
END
	is(faults($node, 'bank'), '', 'bank: sound');
	cmp_ok($node->safe_psql('bank', 'SELECT count(*) FROM pointstore.event_store WHERE balance_after < 0'), '>', 0, 'bank: there are overdrawn accounts');
	cmp_ok($node->safe_psql('bank', q{SELECT count(*) FROM pointstore.event_store WHERE balance_after / 100.0 <> (payload ->> 'stated_balance')::numeric}), '>', 0,
		'bank: it does not always state what its lines say');
	is($node->safe_psql('bank', q{SELECT sum(pointstore.balance_at('account-' || account_id, '1993-06-30')) / 100.0 FROM (SELECT DISTINCT account_id FROM line) a}) + 0,
		$node->safe_psql('bank', q{SELECT sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END) FROM line WHERE booked_on <= '1993-06-30'}) + 0,
		'bank: what it held in June');
	is(sqlstate($node, 'bank', 'SELECT pointstore.set_kind(aggregate_id, \'default\') FROM pointstore.balance'), 'PS011', 'bank: crowns do not become points');
	$node->safe_psql('bank', q{SELECT pointstore.set_kind(aggregate_id, 'no debt', 'no more credit') FROM pointstore.balance});
	is($node->safe_psql('bank', q{SELECT DISTINCT outcome FROM pointstore.balance b, pointstore.try_append_event(b.aggregate_id, 'VYBER', -1) WHERE b.balance <= 0}),
		'insufficient_balance', 'bank: who is overdrawn takes nothing more');
	is($node->safe_psql('bank', q{SELECT DISTINCT outcome FROM pointstore.balance b, pointstore.try_append_event(b.aggregate_id, 'VKLAD', 1)}), 'appended', 'bank: but may pay in');
	is(faults($node, 'bank'), '', 'bank: sound in the end');
}

$node->stop;
done_testing();
