# A full run in slices: it finds what a run in one piece finds and counts everything
# once, also when it is interrupted in the middle and goes on in another session;
# and an account that stays locked is neither clean nor forgotten.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $slices = 5;
my $node = new_cluster('main');
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<"END");
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
SELECT pointstore.open_account('unused' || n) FROM generate_series(1, 10) n;
SELECT pointstore.open_account('p' || n, 'ledger') FROM generate_series(1, 60) n;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount)
SELECT 'a' || n, 'Earned', n FROM generate_series(1, 300) n, generate_series(1, 15)
UNION ALL SELECT 'p' || n, 'Earned', n FROM generate_series(1, 60) n, generate_series(1, 4);
ANALYZE pointstore.event_store;
CREATE FUNCTION public.slice_of(aggregate_id text) RETURNS bigint LANGUAGE sql AS
\$\$SELECT mod(hashtextextended(aggregate_id, 0) & 9223372036854775807, $slices)\$\$;
CREATE VIEW public.compared AS SELECT aggregate_id FROM pointstore.balance UNION SELECT aggregate_id FROM pointstore.event_store;
END
$node->safe_psql('template1', "CREATE DATABASE $_ TEMPLATE postgres") foreach qw(busy1 busy2 busy3);

my $sliced = 'SET client_min_messages = error; SET pointstore.reconcile_max_transaction = 3';
my $last = q{SELECT * FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1};
my $columns = 'status, slices, slices_done, accounts_checked, events_checked, findings, unverified';
my $findings = q{SELECT aggregate_id, code, severity, expected, found, version, detail FROM pointstore.finding
	WHERE resolved_at IS NULL ORDER BY 1, 2};
my $proofs = 'SELECT aggregate_id, version, balance, held FROM pointstore.account_proof ORDER BY 1';

# what one run should count
sub counts
{
	my ($db) = @_;
	return $node->safe_psql($db, 'SELECT (SELECT count(*) FROM public.compared), (SELECT count(*) FROM pointstore.event_store)');
}

sub last_run
{
	my ($db) = @_;
	return $node->safe_psql($db, "SELECT $columns FROM ($last) r");
}

# a healthy store
is($node->safe_psql('postgres', 'SELECT count(DISTINCT slice_of(aggregate_id)) FROM public.compared'), $slices, 'there are accounts in every slice');
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
is(last_run('postgres'), "clean|$slices|$slices|" . counts('postgres') . '|0|0', 'clean, everything counted once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.account_proof'),
	$node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.account WHERE version > 0'), 'and every account with events proved');

# Damage of every kind in every slice. seat: an account's number in its slice.
$node->safe_psql('postgres', <<'END');
CREATE TABLE public.seat AS
SELECT aggregate_id, mode, slice_of(aggregate_id) AS slice,
       row_number() OVER (PARTITION BY slice_of(aggregate_id), mode ORDER BY aggregate_id) AS seat
  FROM pointstore.account WHERE version > 0;
SET session_replication_role = replica;
UPDATE pointstore.balance b SET balance = balance - 1 FROM seat s WHERE s.aggregate_id = b.aggregate_id AND seat BETWEEN 1 AND 20;
UPDATE pointstore.balance b SET version = version + 1 FROM seat s WHERE s.aggregate_id = b.aggregate_id AND seat = 21;
UPDATE pointstore.balance b SET held = 5 FROM seat s WHERE s.aggregate_id = b.aggregate_id AND seat = 22;
DELETE FROM pointstore.balance b USING seat s WHERE s.aggregate_id = b.aggregate_id AND seat = 23;
DELETE FROM pointstore.event_store e USING seat s WHERE s.aggregate_id = e.aggregate_id AND seat = 24;
DELETE FROM pointstore.event_store e USING seat s WHERE s.aggregate_id = e.aggregate_id AND seat = 25 AND version = 7;
UPDATE pointstore.event_store e SET balance_after = balance_after + 1 FROM seat s WHERE s.aggregate_id = e.aggregate_id AND seat = 26 AND version = 7;
UPDATE pointstore.event_store e SET amount = 0 FROM seat s WHERE s.aggregate_id = e.aggregate_id AND mode = 'pure' AND seat = 1 AND version = 2;
END
$node->safe_psql('template1', "CREATE DATABASE $_ TEMPLATE postgres") foreach qw(whole piecewise policy);

# In one piece; and what it finds there is what was done.
$node->safe_psql('whole', "SET client_min_messages = error; CALL pointstore.reconcile('full')");
my $found = $node->safe_psql('whole', 'SELECT count(*) FROM pointstore.finding');
my $outcome = counts('whole') . "|$found|0";
is(last_run('whole'), "findings|1|1|$outcome", 'damage, in one piece');
is($node->safe_psql('whole', q{SELECT DISTINCT string_agg(code || ' ' || n, ', ' ORDER BY code) FROM
	(SELECT slice_of(aggregate_id) AS slice, code, count(*) AS n FROM pointstore.finding GROUP BY 1, 2) f GROUP BY slice}),
	'balance_mismatch 21, chain_break 2, held_mismatch 1, missing_balance 1, orphan_balance 1, version_gap 2, version_mismatch 1',
	'the same in every slice');

# In slices.
$node->safe_psql('piecewise', "$sliced; CALL pointstore.reconcile('full')");
is(last_run('piecewise'), "findings|$slices|$slices|$outcome", 'damage, in slices');
is($node->safe_psql('piecewise', $findings), $node->safe_psql('whole', $findings), 'the same findings');
is($node->safe_psql('piecewise', $proofs), $node->safe_psql('whole', $proofs), 'the same proofs');

# Interrupts a run in the middle of a slice, where another session has locked every second
# damaged row and the run takes a second for each, after its first findings there, by a
# function of the server or a sub that does it. Returns the run's id and what its session said.
sub interrupt
{
	my ($db, $slice, $how) = @_;
	my $holder = $node->background_psql($db);
	my ($out, $err) = ('', '');
	$holder->query_safe(qq{BEGIN; SELECT FROM pointstore.balance WHERE aggregate_id IN
		(SELECT aggregate_id FROM public.seat WHERE slice = $slice AND seat <= 26 AND seat % 2 = 0) FOR UPDATE});
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr($db),
			'-c', 'SET client_min_messages = error', '-c', 'SET pointstore.reconcile_max_transaction = 3',
			'-c', q{CALL pointstore.reconcile('full')} ], '<', \undef, '>', \$out, '2>', \$err);
	my $at_work = q{FROM pg_stat_activity WHERE query LIKE 'CALL%'};
	$node->poll_query_until($db, qq{SELECT status = 'running' AND slices_done = $slice
		AND EXISTS (SELECT $at_work AND wait_event_type = 'Lock')
		AND EXISTS (SELECT FROM pointstore.finding JOIN public.seat USING (aggregate_id) WHERE slice = $slice) FROM ($last) r})
	  or die "the run does not come to slice $slice";
	ref $how ? $how->() : $node->safe_psql($db, "SELECT $how(pid) $at_work");
	$psql->finish;
	$holder->quit;
	is($node->safe_psql($db, "SELECT status, slices, slices_done FROM ($last) r"), "interrupted|$slices|$slice", "interrupted in slice $slice");
	return ($node->safe_psql($db, "SELECT id FROM ($last) r"), $err);
}

my ($id, $again, $error);
my ($abandoned) = interrupt('postgres', 0, 'pg_terminate_backend');
($id, $error) = interrupt('postgres', 1, 'pg_terminate_backend');
like($error, qr/57P01|server closed/, 'its session was terminated');
isnt($id, $abandoned, 'before the first slice is done there is nothing to go on with');
($again, $error) = interrupt('postgres', 2, 'pg_cancel_backend');
like($error, qr/57014/, 'its call was cancelled');
is($again, $id, 'the same run had gone on');
is($node->safe_psql('postgres', "SELECT accounts_checked FROM ($last) r"),
	$node->safe_psql('postgres', 'SELECT count(*) FROM public.compared WHERE slice_of(aggregate_id) < 2'), 'what is done stays counted');
($again) = interrupt('postgres', 3, sub { $node->stop('immediate'); $node->start });
is($again, $id, 'the same run had gone on, when the server stopped');
is($node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')"), $id, 'the same run goes on');
is(last_run('postgres'), "findings|$slices|$slices|$outcome", 'and ends as if it had never been interrupted');
is($node->safe_psql('postgres', $findings), $node->safe_psql('whole', $findings), 'with the same findings');
is($node->safe_psql('postgres', $proofs), $node->safe_psql('whole', $proofs), 'and the same proofs');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.finding'), $found, 'each recorded once');
isnt($node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')"), $id, 'the next is a run of its own');
is(last_run('postgres'), "findings|$slices|$slices|$outcome", 'which sees the same');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.finding'), $found, 'and doubles nothing');

# Repaired before an interruption is counted all the same, and max_auto_actions is for the whole run.
$node->safe_psql('policy', q{UPDATE pointstore.account_kind SET on_mismatch = 'repair' WHERE kind = 'default'});
# what was done in earlier runs, and is seen again, does not count for this one
$node->safe_psql('policy', q{UPDATE pointstore.account_kind SET on_mismatch = 'freeze' WHERE kind = 'default'});
$node->safe_psql('policy', "$sliced; SET pointstore.max_auto_actions = 90; CALL pointstore.reconcile('full')");
is($node->safe_psql('policy', q{SELECT count(DISTINCT aggregate_id) FROM pointstore.finding WHERE action = 'frozen'}), 90, 'frozen in an earlier run');
$node->safe_psql('policy', q{UPDATE pointstore.account_kind SET on_mismatch = 'repair' WHERE kind = 'default'});
interrupt('policy', 1, 'pg_cancel_backend');
$node->safe_psql('policy', "$sliced; CALL pointstore.reconcile('full')");
is(last_run('policy'), "findings|$slices|$slices|$outcome", 'with repairs, too, it ends as if it had never been interrupted');
is($node->safe_psql('policy', 'SELECT count(*) FROM pointstore.finding'), $found, 'each recorded once');
is($node->safe_psql('policy', q{SELECT action, count(DISTINCT aggregate_id) FROM pointstore.finding WHERE action = 'repaired' GROUP BY 1}),
	'repaired|100', 'and no more accounts repaired than one run may');

# What does not fit into memory goes to files, and a cancelled run leaves none of them.
$node->safe_psql('template1', 'CREATE DATABASE spill TEMPLATE busy1');
my $spilling = $node->background_psql('spill', on_error_stop => 0);
$spilling->query(q{SET client_min_messages = error; SET work_mem = '64kB'; SET pointstore.max_auto_actions = 0;
	SET session_replication_role = replica; TRUNCATE pointstore.account_proof, pointstore.finding;
	INSERT INTO pointstore.balance (aggregate_id, version) SELECT 'orphan' || n, 1 FROM generate_series(1, 5000) n;
	RESET session_replication_role; CREATE FUNCTION public.stop_here() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN IF (SELECT count(*) > 0 FROM pg_ls_tmpdir()) THEN RAISE query_canceled; END IF; RETURN NEW; END';
	CREATE TRIGGER stop_here BEFORE INSERT ON pointstore.finding FOR EACH ROW EXECUTE FUNCTION public.stop_here()});
$spilling->query(q{CALL pointstore.reconcile('full')});
is($node->safe_psql('spill', "SELECT status FROM ($last) r"), 'interrupted', 'cancelled while it kept rows in a file');
is($node->safe_psql('spill', 'SELECT count(*) FROM pg_ls_tmpdir()'), 0, 'which is gone, with the session still there');
$spilling->quit;

# An account that stays locked, by a transaction that writes and by one that has no
# transaction id and holds up no checkpoint; once new to the run, once with an open finding.
my $row = q{SELECT FROM pointstore.balance WHERE aggregate_id = 'a7' FOR UPDATE};
my $table = 'LOCK TABLE pointstore.balance IN EXCLUSIVE MODE';
foreach my $case ([ 'busy1', 'full', $row ], [ 'busy2', 'incremental', $row ], [ 'busy3', 'incremental', $table ])
{
	my ($db, $scope, $lock) = @$case;
	my $call = "$sliced; CALL pointstore.reconcile('$scope')";
	my $state = "SELECT status, findings, unverified FROM ($last) r";
	my $holder = $node->background_psql($db);

	$node->safe_psql($db, $call);
	$node->safe_psql($db, q{SELECT pointstore.append_event('a7', 'Earned', 1)});
	$node->safe_psql($db, q{SET session_replication_role = replica; UPDATE pointstore.balance SET balance = 0 WHERE aggregate_id = 'a7'});
	foreach my $known (0, 1)
	{
		$holder->query_safe("BEGIN; $lock");
		$node->safe_psql($db, $call);
		is($node->safe_psql($db, $state), 'findings|0|1', "$scope, $db: what stays locked is not verified");
		is($node->safe_psql($db, 'SELECT count(*) FROM pointstore.finding'), $known, "$scope, $db: nor a new finding");
		$holder->query_safe('COMMIT');
		$node->safe_psql($db, $call);
		is($node->safe_psql($db, $state), 'findings|1|0', "$scope, $db: the next run verifies it");
		is($node->safe_psql($db, "SELECT aggregate_id, code, found FROM ($findings) f"), 'a7|balance_mismatch|0', "$scope, $db: and finds it");
	}
	$holder->quit;
}

$node->stop;
done_testing();
