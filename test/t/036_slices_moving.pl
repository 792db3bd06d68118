# What a full run in slices makes of accounts that move while it reads: what is wrong is found all the same,
# beside transactions that stay open, too; nothing else is reported, and nobody is waited for who is well.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', conf => "max_connections = 40\nfsync = off");
$node->start;
create_store($node, 'postgres');

my $sliced = 'SET client_min_messages = error; SET pointstore.reconcile_max_transaction = 1';
my $findings = q{SELECT coalesce(string_agg(aggregate_id || ' ' || code, ', ' ORDER BY aggregate_id, code), '') FROM pointstore.finding WHERE resolved_at IS NULL};
my $last = q{SELECT slices > 5, findings, unverified FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1};

sub value { return $node->safe_psql('postgres', shift) }

# a session that a query is sent to and that is not waited for
sub send_to
{
	my ($session, $sql) = @_;
	return $session->query_until(qr/sent/, "\\echo sent\n$sql\n");
}

sub wait_for
{
	my ($what, $sql) = @_;
	$node->poll_query_until('postgres', $sql) or die "$what does not come";
	return;
}

# A run in slices, in a session that knows the store, of which what is passed is done before it, and when that is true.
my $runner = $node->background_psql('postgres');
$runner->query_safe($sliced);

sub reconcile_while
{
	my ($before, $until, $meanwhile) = @_;
	$runner->query_safe(q{SELECT FROM pointstore.reconcile_account('well')});
	$before->();
	send_to($runner, q{CALL pointstore.reconcile('full');});
	wait_for('the run', $until);
	$meanwhile->();
	$runner->query_safe('SELECT 1');
	return value($last);
}
my $waits = q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event_type = 'Lock' AND wait_event = 'relation')};

$node->safe_psql('postgres', <<'END_SQL');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'a' || n % 50, 'Earned', 1000 FROM generate_series(1, 3000) n;
SELECT count(pointstore.append_event('hid', 'Earned', 10)) FROM generate_series(1, 3);
SELECT count(pointstore.append_event('bad', 'Earned', 10)) FROM generate_series(1, 3);
SELECT count(pointstore.append_event('well', 'Earned', 10)) FROM generate_series(1, 3);
SELECT FROM pointstore.hold('well', 5, 'h1');
SELECT FROM pointstore.transfer('a1', 'a2', 10, 't1');
ANALYZE pointstore.event_store;
END_SQL

# an account is examined by look-ups, and not compiled, whatever the planner thinks of its size
SKIP:
{
	skip 'no JIT here', 2 unless value('SELECT pg_jit_available()') eq 't';
	my @plans = plans($node, 'postgres', q{SELECT count(*) FROM pointstore.reconcile_account('well')});
	my ($examination) = grep { /transfer_unbalanced/ } @plans;
	ok((grep { /JIT:/ } @plans), 'something is compiled');
	unlike($examination // 'JIT: of a plan that is not there', qr/JIT:/, 'an examination is not');
}

# who has merely closed a hold meanwhile is well, and not waited for while somebody has the row
my $writer = $node->background_psql('postgres');
my $holder = $node->background_psql('postgres');
my $lock = 'BEGIN; LOCK TABLE pointstore.event_store IN ACCESS EXCLUSIVE MODE;';

# The same, when it has read how far the ids go and not yet an event: then the writer has the table.
sub reconcile_after_horizon
{
	my ($meanwhile) = @_;
	return reconcile_while(sub { $holder->query_safe($lock) }, $waits, sub { hand_over($holder, $writer); $meanwhile->() });
}

# The table goes from one session, for which the run waits, to another; in between the run makes a step.
sub hand_over
{
	my ($from, $to) = @_;
	send_to($to, $lock);
	wait_for('the other', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'relation'});
	$from->query_safe('COMMIT');
	$to->query_safe('SELECT 1');
	wait_for('the run', $waits);
	return;
}
is(reconcile_after_horizon(sub {
	$writer->query_safe(q{SELECT FROM pointstore.confirm_hold('h1')});
	send_to($holder, q{BEGIN; SELECT FROM pointstore.balance WHERE aggregate_id = 'well' FOR UPDATE;});
	wait_for('who waits', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ 'FOR UPDATE' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()});
	$writer->query_safe('COMMIT');
}), 't|0|0', 'a hold that is closed meanwhile');
$holder->query_safe('COMMIT');
is(value(q{SELECT p.version = b.version FROM pointstore.account_proof p JOIN pointstore.balance b USING (aggregate_id) WHERE aggregate_id = 'well'}), 't',
	'what has come since is proved, too');

# a table that is rewritten between two ranges of blocks is read again
is(reconcile_after_horizon(sub {
	hand_over($writer, $holder);	# it has read how large the table is
	hand_over($holder, $writer);	# and a range of blocks
	$writer->query_safe('CLUSTER pointstore.event_store USING event_store_pkey; COMMIT');
}), 't|0|0', 'events that have all got another place');
is(value(q{SELECT events_checked = (SELECT count(*) FROM pointstore.event_store) FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1}), 't', 'each is read once');

# an event that no index leads to is found, however busy its account is
$node->safe_psql('postgres', <<'END_SQL');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = 'pointstore.event_store'::regclass;
INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
VALUES (-3, 'hid', 2, 'Hidden', 70, 0, 100, '{}', now(), now());
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indrelid = 'pointstore.event_store'::regclass;
COMMIT;
END_SQL
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
like(value($findings), qr/hid index_mismatch/, 'what an index hides');
reconcile_after_horizon(sub {
	$writer->query_safe(q{SELECT FROM pointstore.append_event('hid', 'Earned', 0); COMMIT});
});
like(value($findings), qr/hid index_mismatch/, 'is not forgotten where the account has moved');
is(value(q{SELECT count(*) FROM pointstore.finding WHERE aggregate_id = 'hid' AND resolved_at IS NOT NULL}), '0', 'or closed');
$node->safe_psql('postgres', q{SET session_replication_role = replica; SET enable_indexscan = off; SET enable_bitmapscan = off;
	DELETE FROM pointstore.event_store WHERE event_type = 'Hidden'});
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
is(value($findings), '', 'it is gone');

# A transaction that writes is open when the run begins, and commits when some of its events have been passed and others have not.
# Of its accounts what is wrong is found, and no index is said to lie; a movement is verified beside it.
$node->safe_psql('postgres', <<'END_SQL');
SET session_replication_role = replica;
UPDATE pointstore.balance SET balance = balance - 1 WHERE aggregate_id = 'bad';
UPDATE pointstore.event_store SET amount = amount + 1, balance_after = balance_after + 1 WHERE request_id = 't1' AND leg = 1;
UPDATE pointstore.balance SET balance = balance + 1 WHERE aggregate_id = 'a2';
END_SQL
$writer->query_safe(q{BEGIN; SET LOCAL session_replication_role = replica;
	INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
	SELECT nextval('pointstore.event_store_id_seq'), 'bad', 4, 'Earned', 0, 0, 30, '{}', now(), now()});
$node->safe_psql('postgres', q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'b' || n % 50, 'Earned', 1000 FROM generate_series(1, 60000) n});
$writer->query_safe(q{INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
	SELECT nextval('pointstore.event_store_id_seq'), 'bad', 5, 'Earned', 0, 0, 30, '{}', now(), now();
	UPDATE pointstore.balance SET version = 5 WHERE aggregate_id = 'bad'});
# the writer looks for itself: what the run spools may be done before another session has looked
my $ends = q{DO $$ BEGIN
	WHILE NOT EXISTS (SELECT FROM pointstore.reconcile_progress WHERE phase = 'spooling events') LOOP
		PERFORM pg_sleep(0.001), pg_stat_clear_snapshot();
	END LOOP;
	PERFORM pg_sleep(0.05);
END $$; COMMIT;};
is(reconcile_while(sub { send_to($writer, $ends) }, 'SELECT true', sub { $writer->query_safe('SELECT 1') }), 't|2|0', 'beside a writer that ends');
is(value($findings), 'a1 transfer_unbalanced, bad balance_mismatch', 'this is what is wrong');

# one that stays open, whatever it does, keeps nothing from being verified
$node->safe_psql('postgres', q{DELETE FROM pointstore.finding; DELETE FROM pointstore.reconciliation_checkpoint});
$writer->query_safe(q{BEGIN; SELECT FROM pointstore.append_event('a40', 'Earned', 1)});
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
is(value($findings), 'a1 transfer_unbalanced, bad balance_mismatch', 'beside one that goes on');
$writer->query_safe('ROLLBACK');

# ids that no sequence has drawn are verified, too
$node->safe_psql('postgres', <<'END_SQL');
DELETE FROM pointstore.finding;
SET session_replication_role = replica;
UPDATE pointstore.event_store SET id = 9000000000000000000 WHERE request_id = 't1' AND leg = 1;
END_SQL
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
is(value($findings), 'a1 transfer_unbalanced, bad balance_mismatch', 'a leg beyond the sequence');

# what stands in a table that inherits from the events, which statements read
$node->safe_psql('postgres', <<'END_SQL');
CREATE TABLE public.more () INHERITS (pointstore.event_store);
INSERT INTO public.more (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
SELECT -n, 'ghost' || n / 100000, n, 'Earned', 1, 0, n, '{}', now(), now() FROM generate_series(1, 100000) n;
END_SQL
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
like(value($findings), qr/ghost1 missing_balance/, 'to its end');

$runner->quit;
$writer->quit;
$holder->quit;
$node->stop;
done_testing();
