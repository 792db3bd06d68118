# The worker that takes snapshots, sessions that share a run of verify_replay(), and when the launcher looks for
# what workers have to do.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', conf => <<'END');
max_worker_processes = 16
restart_after_crash = on
pointstore.snapshot_timeout = 300ms
pointstore.databases = 'app, bare'
pointstore.reconcile_interval = 1h
pointstore.full_reconcile_interval = 0
END
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE app; CREATE DATABASE bare; CREATE ROLE keeper');
$node->safe_psql('app', q{CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper')});
sub wait_for
{
	my ($what, $query, $db) = @_;
	ok(poll_until($node, $db // 'app', $query), $what);
	return;
}

# snapshots: a worker takes them at multiples of snapshot_every, and no account or kind holds up another
$node->safe_psql('app', <<'END');
CREATE ROLE author ROLE keeper;
SELECT pointstore.grant_access('author', 'reader');
CREATE SCHEMA author AUTHORIZATION author;
SET ROLE author;
CREATE TABLE author.seen (who text);
CREATE FUNCTION author.state(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO author.seen VALUES (current_user);
    IF event.aggregate_id = 's-fails' THEN RAISE division_by_zero; END IF;
    IF event.aggregate_id IN ('s-sleeps', 's-kills') THEN PERFORM pg_sleep(100); END IF;
    IF event.aggregate_id = 's-escapes' THEN SET ROLE postgres; END IF;
    RETURN jsonb_build_object('sum', coalesce((state ->> 'sum')::bigint, 0) + event.amount, 'who', current_user, 'super', current_setting('is_superuser'));
END $$;
RESET ROLE;
CREATE FUNCTION public.ours(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT jsonb_build_object('n', event.version, 'at', statement_timestamp(), 'super', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)) $$;
INSERT INTO pointstore.account_kind (kind, mode, min_balance, reducer, snapshot_every) VALUES
    ('snap', 'hybrid', NULL, 'author.state', 10), ('pure-snap', 'pure', NULL, 'author.state', 25), ('late', 'hybrid', NULL, 'public.ours', NULL);
SELECT count(pointstore.append_event(a, 'Earned', n, kind => 'snap')) FROM unnest(ARRAY['s-fails', 's-a', 's-sleeps', 's-b', 's-escapes', 's-z']) a, generate_series(1, 25) n;
SELECT count(pointstore.append_event('s-p', 'Earned', n, kind => 'pure-snap')) FROM generate_series(1, 60) n;
SELECT count(pointstore.append_event('s-late', 'Earned', n, kind => 'late')) FROM generate_series(1, 60) n;
END
wait_for('snapshots are taken of every account that can be, of both modes', q{SELECT string_agg(format('%s %s %s', aggregate_id, version, state ->> 'sum'), ', ' ORDER BY aggregate_id, version DESC)
	= 's-a 20 210, s-b 20 210, s-p 50 1275, s-z 20 210' FROM pointstore.snapshot WHERE aggregate_id LIKE 's-%'});
# killed with the server in the middle of an account: that is not the first thing of the next, nor the end of the others
my $killed = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore snapshotter'});
$node->append_conf('postgresql.conf', "pointstore.snapshot_timeout = 0");
$node->reload;
$node->safe_psql('app', q{SELECT count(pointstore.append_event('s-kills', 'Earned', n, kind => 'snap')) FROM generate_series(1, 25) n});
wait_for('it is at an account', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore snapshotter' AND wait_event = 'PgSleep' AND query LIKE '%s-kills'});
$node->append_conf('postgresql.conf', "pointstore.snapshot_timeout = 300ms");
$node->reload;
$node->safe_psql('app', q{SELECT count(pointstore.append_event('s-' || a, 'Earned', n, kind => 'snap')) FROM unnest(ARRAY['kills', 'y', 'kills']) a, generate_series(1, 15) n});
kill 'KILL', $killed;
wait_for('the others get theirs afterwards', q{SELECT count(*) = 1 FROM pointstore.snapshot WHERE aggregate_id = 's-y' AND version = 10});
is($node->safe_psql('app', q{SELECT DISTINCT (state ->> 'who') || ' ' || (state ->> 'super') FROM pointstore.snapshot}), 'author off', 'as the owner of the reducer');
is($node->safe_psql('app', 'SELECT count(*) FROM author.seen'), 0, 'and what that writes does not stay');
like(slurp_file($node->logfile), qr/LOG:  no snapshot is taken of account "s-(?:fails|sleeps|escapes|kills)"/, 'the log says of which there are none');
# a kind that gets them later, and one whose reducer is another: all accounts
$node->safe_psql('app', q{CREATE TABLE public.stamp AS SELECT stamp FROM pointstore.snapshot WHERE aggregate_id = 's-p';
	UPDATE pointstore.account_kind SET snapshot_every = 7 WHERE kind = 'late'; UPDATE pointstore.account_kind SET reducer_version = 2 WHERE kind = 'pure-snap';
	SELECT pointstore.append_event('s-moves', 'Earned', 1)});
wait_for('a kind that gets them later has its accounts gone through', q{SELECT count(*) = 1 FROM pointstore.snapshot WHERE aggregate_id = 's-late' AND version = 56});
is($node->safe_psql('app', q{SELECT state ->> 'super' FROM pointstore.snapshot WHERE aggregate_id = 's-late'}), 'false', 'a reducer of a superuser is not called as one');
wait_for('stale ones are taken anew', q{SELECT count(*) = 1 FROM pointstore.snapshot WHERE aggregate_id = 's-p' AND version = 50 AND stamp NOT IN (SELECT stamp FROM public.stamp)});
foreach my $n (1 .. 3)
{
	$node->safe_psql('app', q{SELECT count(pointstore.append_event('s-late', 'Earned', 1)) FROM generate_series(1, 7)});
	wait_for("the next when it is due: $n", sprintf(q{SELECT max(version) = %s FROM pointstore.snapshot WHERE aggregate_id = 's-late'}, 56 + 7 * $n));
}
is($node->safe_psql('app', q{SELECT string_agg(version::text, ' ' ORDER BY version) FROM pointstore.snapshot WHERE aggregate_id = 's-late'}), '63 70 77', 'the newest three are kept');
is($node->safe_psql('app', q{SELECT (s.state ->> 'at')::timestamptz > e.created_at FROM pointstore.snapshot s JOIN pointstore.event_store e USING (aggregate_id, version)
	WHERE s.aggregate_id = 's-late' AND s.version = 77}), 't', 'to a reducer it is now, not when the worker began');
is($node->safe_psql('app', q{SELECT count(*) FROM pointstore.snapshot WHERE aggregate_id IN ('s-fails', 's-sleeps', 's-escapes', 's-kills')}), 0, 'and none of what fails');

# sessions share a run of verify_replay, and one that is killed leaves its slice to the others
$node->safe_psql('app', q{INSERT INTO pointstore.account_kind (kind, reducer) VALUES ('replay', 'public.ours');
	CREATE FUNCTION public.theirs(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_advisory_xact_lock_shared(9); RETURN public.ours(state, event) || CASE WHEN event.aggregate_id = 'r1700' AND event.version = 2 THEN '{"n": 0}' ELSE '{}' END::jsonb; END $$;
	SELECT count(pointstore.append_event('r' || n % 2000, 'Earned', 1, kind => 'replay')) FROM generate_series(1, 6000) n});
my $gate = $node->background_psql('app');
$gate->query_safe('SELECT FROM pg_advisory_lock(9)');
my (@sessions, $run);
foreach my $n (1 .. 3)
{
	my ($told, $said) = ('', '');
	push @sessions, IPC::Run::start([ 'psql', '-Xqt', '-d', $node->connstr('app'), '-c',
			"CALL pointstore.verify_replay('replay', 'public.theirs(jsonb,pointstore.event)'" . ($n > 1 ? ", 1, $run)" : ')') ], '<', \undef, '>', \$told, '2>', \$said);
	wait_for("$n at slices of their own", "SELECT count(*) = $n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 9");
	$run = $node->safe_psql('app', 'SELECT max(run) FROM pointstore.replay_run');
}
is($node->safe_psql('app', "SELECT count(*) FROM pointstore.replay_slice WHERE run = $run"), 3, 'which are seen');
$node->safe_psql('app', q{SELECT pg_terminate_backend((SELECT min(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 9))});
$gate->quit;
is(scalar(grep { $_->finish } @sessions), 2, 'one is killed, the others come to the end');
is($node->safe_psql('app', "SELECT finished_at IS NOT NULL, accounts, accounts_total, events, differences FROM pointstore.replay_run WHERE run = $run"), 't|2000|2000|5999|1',
	'nothing is left out, or counted twice; of an account that differs no later events are read');
is($node->safe_psql('app', "SELECT aggregate_id, version FROM pointstore.replay_difference WHERE run = $run"), 'r1700|2', 'the first version that differs is named');
is($node->safe_psql('app', "SELECT count(*) FROM pointstore.replay_slice WHERE run = $run"), 0, 'no slice is left');

# where there is nothing to do it is looked for less and less often, and at once when there is
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pointstore sequencer', 'pointstore snapshotter') AND datname = 'bare'}), 0, 'nobody is where there is no store');
my $began = time;
create_store($node, 'bare');
$node->safe_psql('bare', q{CREATE FUNCTION public.ours(state jsonb, event pointstore.event) RETURNS jsonb LANGUAGE sql AS 'SELECT state'; INSERT INTO pointstore.account_kind (kind, reducer, snapshot_every) VALUES ('k', 'public.ours', 2)});
wait_for('a store that is made has its sequencer, a kind with snapshots its worker', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type IN ('pointstore sequencer', 'pointstore snapshotter') AND datname = 'bare'}, 'postgres');
cmp_ok(time - $began, '<', 20, 'at once');
$node->safe_psql('bare', q{DELETE FROM pointstore.account_kind WHERE kind = 'k'; SELECT pointstore.append_event('s-moves', 'Earned', 1)});
$node->safe_psql('app', q{UPDATE pointstore.account_kind SET snapshot_every = NULL; SELECT pointstore.append_event('s-moves', 'Earned', 1)});
wait_for('without one it leaves', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pointstore snapshotter'}, 'postgres');

$node->stop('fast');
done_testing();
