# What serves others makes way for them: who builds an index, who drops or copies a
# database, who needs a lock, and other libraries that need room in the same process.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_cluster('main', conf => <<'END');
max_worker_processes = 16
deadlock_timeout = 100ms
pointstore.combine_idle_timeout = 1h
END
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE app');
create_store($node, 'app');
$node->safe_psql('app', <<'END');
-- an event waits as long as there is a file of that name
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE NEW.event_type = 'Waits' AND (pg_stat_file('wait', true)).size IS NOT NULL LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER wait BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION wait();
CREATE TABLE other AS SELECT generate_series(1, 10) n;
SELECT count(pointstore.append_event('a' || n % 10, 'Earned', 1)) FROM generate_series(1, 5000) n;
END

sub value
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'app', $sql);
}

sub wait_for
{
	my ($what, $query, $db) = @_;
	ok($node->poll_query_until($db // 'app', $query), $what);
	return;
}

# Starts a session that runs one script; done() waits for it.
sub start
{
	my ($sql, $db) = @_;
	my $run = { out => '', err => '' };
	$run->{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr($db // 'app'), '-c', $sql ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}

sub done
{
	my ($run) = @_;
	$run->{run}->finish;
	chomp($run->{out});
	return $run->{out} if $run->{err} eq '';
	return $run->{err} =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $run->{err};
}

#
# an index that is built concurrently is not valid before the combiner's snapshots are gone
#
my $file = $node->data_dir . '/wait';
append_to_file($file, '');
my $waits = start(q{SELECT outcome FROM pointstore.submit_event('a1', 'Waits', 1)});
wait_for('the combiner is in a transaction', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore combiner' AND wait_event = 'PgSleep' AND backend_xmin IS NOT NULL});
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'submit_event' AND pid <> pg_backend_pid()});
is(done($waits), '57P01', 'and its caller gone');
my $index = start('CREATE INDEX CONCURRENTLY other_n ON other (n)');
wait_for('an index is built', q{SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE phase ~ 'waiting for old snapshots') OR EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('other_n') AND indisvalid)});
is(value(q{SELECT phase || ' ' || a.backend_type FROM pg_stat_progress_create_index p JOIN pg_stat_activity a ON a.pid = p.current_locker_pid}),
	'waiting for old snapshots pointstore combiner', 'and waits for the combiner');
is(value(q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'other_n'::regclass}), 'f', 'before it is valid');
unlink $file;
is(done($index), '', 'and then is done');
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE event_type = 'Waits'}), '1', 'nor was the combiner disturbed');

#
# a run is cancelled for it, as for who waits for a lock; here it waits for one and has a snapshot
#
my $holder = $node->background_psql('app');
$holder->query_safe('BEGIN; LOCK TABLE pointstore.account_proof IN ACCESS EXCLUSIVE MODE');
value(q{SELECT pointstore.reconcile_now('full')});
wait_for('a run has a snapshot', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore reconciler' AND wait_event_type = 'Lock' AND backend_xmin IS NOT NULL});
$index = start('CREATE INDEX CONCURRENTLY other_n2 ON other (n)');
is(done($index), '', 'an index is built concurrently');
$holder->quit;
is(value(q{SELECT string_agg(status || ' ' || (error IS NOT NULL), ' ') FROM pointstore.reconciliation_run}), 'interrupted true', 'the run was cancelled for it, which is an interruption');

#
# who drops a database, or copies it, does not wait for a combiner whose callers are gone
#
foreach ([ 'app', 'CREATE DATABASE copy TEMPLATE app' ], [ 'app', 'ALTER DATABASE app RENAME TO renamed' ], [ 'renamed', 'DROP DATABASE renamed' ])
{
	my ($db, $statement) = @$_;
	append_to_file($file, '');
	$waits = start(q{SELECT outcome FROM pointstore.submit_event('a1', 'Waits', 1)}, $db);
	wait_for('the combiner is in a transaction', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore combiner' AND wait_event = 'PgSleep'}, 'postgres');
	value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'submit_event' AND pid <> pg_backend_pid()}, 'postgres');
	is(done($waits), '57P01', 'its caller is gone');
	is(sqlstate($node, 'postgres', $statement), '00000', $statement);
	unlink $file;
}

#
# other libraries find room for what they register in the same process
#
create_store($node, 'postgres');
append_to_file("$dir/room.c", <<'END');
#include "postgres.h"
#include "fmgr.h"
#include "utils/inval.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(take_room);
static void hear(Datum arg, Oid relid) {}
Datum take_room(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < PG_GETARG_INT32(0); i++)
		CacheRegisterRelcacheCallback(hear, (Datum) 0);
	PG_RETURN_VOID();
}
END
my $include = qx($ENV{PG_CONFIG} --includedir-server);
chomp $include;
SKIP:
{
	skip 'no compiler', 2 if system("gcc -shared -fPIC -o '$dir/room.so' -I'$include' '$dir/room.c' >'$dir/room.log' 2>&1") != 0;
	value("CREATE FUNCTION take_room(integer) RETURNS void LANGUAGE C AS '$dir/room.so'", 'postgres');
	# of ten the server takes two in such a session
	is(sqlstate($node, 'postgres', 'SELECT take_room(8)'), '00000', 'where there is no call to the store all are free');
	is(sqlstate($node, 'postgres', q{SELECT take_room(7); SELECT pointstore.append_event('a', 'Earned', 1)}), '00000', 'and one is enough for it');
}

done_testing();
