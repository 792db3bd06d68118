# Full runs in slices while everything moves: appends, transfers, holds that are placed and closed, steps of movements,
# reversals, combined appends, rollbacks, a transaction that stays open, a table that is rewritten. What
# is read in many transactions is never one state of the store; nothing is reported, and nobody is left unverified.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $seconds = 12;
my $node = new_cluster('main', conf => "max_connections = 60\nfsync = off");
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'a' || n % 50, 'Earned', 1000 FROM generate_series(1, 8000) n;
SELECT count(pointstore.append_event('p' || n % 10, 'Earned', 1000, kind => 'ledger')) FROM generate_series(1, 2000) n;
ANALYZE pointstore.event_store;
-- steps of another store's movements
CREATE FUNCTION ask(what text, id bigint, protocol text, account text = NULL, amount bigint = NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT pointstore.participate(jsonb_build_object('version', 1, 'origin', '00000000-0000-4000-8000-000000000001', 'name', 'load', 'incarnation', 1, 'finished_below', '[1, 1]'::jsonb,
        'messages', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('do', what, 'movement_id', 'm' || id, 'step', 1, 'incarnation', 1, 'number', id, 'protocol', protocol,
            'aggregate_id', account, 'amount', amount, 'event_type', CASE WHEN what = 'try' THEN 'Moved' END)))))
$$;
END

my $script = $node->basedir . '/load.sql';
append_to_file($script, <<'END');
\set a random(0, 49)
\set b random(0, 49)
\set what random(1, 14)
\set id random(1, 2000000000)
\if :what <= 3
SELECT pointstore.try_append_event('a' || :a, 'Spent', -1, request_id => 'r' || :id);
\elif :what = 4
SELECT FROM pointstore.try_append_event('p' || :a % 10, 'Earned', 1);
\elif :what = 5
SELECT count(*) FROM pointstore.transfer('a' || :a, 'a' || (:a + 1 + :b % 49) % 50, 2, request_id => 't' || :id);
\elif :what = 6
BEGIN;
SELECT count(*) FROM pointstore.transfer('a' || :a, 'a' || (:a + 1 + :b % 49) % 50, 2, request_id => 'u' || :id);
SELECT count(*) FROM pointstore.reverse_event('a' || :a, (SELECT version FROM pointstore.event_store WHERE request_id = 'u' || :id AND leg = 0));
COMMIT;
\elif :what = 7
SELECT FROM pointstore.hold('a' || :a, 5, 'h' || :id);
SELECT FROM pointstore.confirm_hold('h' || :id, 3);
\elif :what = 8
SELECT FROM pointstore.hold('a' || :a, 5, 'h' || :id, expires_in => '1 hour');
SELECT FROM pointstore.cancel_hold('h' || :id);
\elif :what = 9
SELECT FROM pointstore.try_submit_event('a' || :a, 'Earned', 3);
\elif :what = 10
SELECT FROM ask('try', :id, 'tcc', 'a' || :a, :b - 25);
SELECT FROM ask('confirm', :id, 'tcc');
\elif :what = 11
SELECT FROM ask('try', :id, 'tcc', 'a' || :a, :b - 25);
SELECT FROM ask('cancel', :id, 'tcc');
\elif :what = 12
SELECT FROM ask('try', :id, 'tcc', 'a' || :a, :b - 25);
\elif :what = 13
SELECT FROM ask('try', :id, 'saga', 'a' || :a, :b - 25);
SELECT FROM ask('cancel', :id, 'saga');
\else
BEGIN;
SELECT FROM pointstore.try_append_event('a' || :a, 'Earned', 3);
ROLLBACK;
\endif
END
chmod 0644, $script;

my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-j', 2, '-T', $seconds, '-f', $script, $node->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$err);
# it has an id, and an event that nobody sees before it ends
my ($open_out, $open_err) = ('', '');
my $open = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		q{BEGIN; INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'late', 'Earned', 1 FROM generate_series(1, 3); SELECT pg_sleep(5); COMMIT} ],
	'<', \undef, '>', \$open_out, '2>', \$open_err);

my $sliced = 'SET client_min_messages = error; SET pointstore.reconcile_max_transaction = 1';
my $runs = 0;
while ($load->pumpable)
{
	# all that was read has another place
	my $rewrite = ++$runs == 3 && IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-c', 'SELECT pg_sleep(0.2)', '-c', 'CLUSTER pointstore.event_store USING event_store_pkey' ], '<', \undef, '>', \my $rewritten);
	$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
	$rewrite->finish if $rewrite;
	$load->pump_nb;
}
$load->finish;
$open->finish;
unlike($err, qr/error|aborted/, 'the load itself');
is($open_err, '', 'and what stayed open');
is($node->safe_psql('postgres', q{SELECT DISTINCT status, findings, unverified FROM pointstore.reconciliation_run}), 'clean|0|0', "nothing is reported in $runs runs");
is($node->safe_psql('postgres', q{SELECT min(slices) > 10 FROM pointstore.reconciliation_run}), 't', 'in slices');
is(faults($node, 'postgres'), '', 'and the store is sound');
is($node->safe_psql('postgres', q{SELECT count(*) > 10, count(DISTINCT status) FROM pointstore.participant_step WHERE protocol = 'tcc'}), 't|3', 'movements have moved, too');

# what a run in slices reads of the heap is each event once
$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
$node->safe_psql('postgres', "$sliced; CALL pointstore.reconcile('full')");
my $events = $node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.event_store');
is($node->safe_psql('postgres', q{SELECT events_checked FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1}), $events, 'all events are checked');
$node->poll_query_until('postgres', qq{SELECT seq_tup_read >= 2 * $events FROM pg_stat_user_tables WHERE relid = 'pointstore.event_store'::regclass}) or die;
is($node->safe_psql('postgres', q{SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 'pointstore.event_store'::regclass}), 2 * $events,
	'and read once, beside the count of this test');

# a run that fails leaves no file behind in its session, and the next one goes through
(my $rc, $out, $err) = $node->psql('postgres', "$sliced; SET temp_file_limit = 1;\n\\set VERBOSITY sqlstate\nCALL pointstore.reconcile('full');\n"
	  . "SELECT count(*) FROM pg_ls_tmpdir();\nRESET temp_file_limit;\nCALL pointstore.reconcile('full');", on_error_stop => 0);
like($err, qr/53400/, 'a run whose files would be too large');
like($out, qr/^0\n\d+$/, 'they are gone, and without the limit it is done');
is($node->safe_psql('postgres', q{SELECT string_agg(status, ' ' ORDER BY id) FROM (SELECT * FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 2) r}),
	'interrupted clean', 'as its row says');

$node->stop;
done_testing();
