# Projections by the workers: a table kept up to date while writers run and workers are killed; handlers that
# fail, loop, are dropped or want to be somebody else; rebuilt in place and beside; several of them, several
# databases, and a standby that is promoted.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', allows_streaming => 1, conf => <<'END');
max_worker_processes = 24
restart_after_crash = on
pointstore.databases = 'app, two'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 0
pointstore.projection_timeout = 500ms
END
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE keeper');

# A database with a read model by day, and what keeps it.
sub set_up
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	# that of one is a plain role, which has no right to the models
	$node->safe_psql($db, "CREATE EXTENSION pointstore; SELECT pointstore.create_store(CAST(@{[$db eq 'two' ? q('keeper') : 'current_user::text']} AS regrole))");
	$node->safe_psql($db, <<'END');
DO $$ BEGIN CREATE ROLE modeller LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
SELECT pointstore.grant_access('modeller', 'operator');
CREATE SCHEMA model AUTHORIZATION modeller;
SET ROLE modeller;
CREATE TABLE model.day_v1 (day date PRIMARY KEY, events bigint NOT NULL, amount bigint NOT NULL) WITH (fillfactor = 50);
CREATE VIEW model.day AS SELECT * FROM model.day_v1;
CREATE FUNCTION model.by_day(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.day_v1 AS d SELECT CAST(e.occurred_at AT TIME ZONE 'UTC' AS date), count(*), sum(e.amount) FROM unnest(events) e GROUP BY 1
        ON CONFLICT (day) DO UPDATE SET events = d.events + excluded.events, amount = d.amount + excluded.amount
$$;
CREATE FUNCTION model.reset() RETURNS void LANGUAGE sql AS 'DELETE FROM model.day_v1';
SELECT pointstore.create_projection('day', 'model.by_day(pointstore.feed_event[])', batch => 50);
END
	return;
}

# What the model says that the events do not, and the other way round.
sub differences
{
	my ($on, $db, $table) = @_;
	return $on->safe_psql($db, <<"END");
WITH truth AS (SELECT CAST(occurred_at AT TIME ZONE 'UTC' AS date) AS day, count(*) AS events, CAST(sum(amount) AS bigint) AS amount FROM pointstore.event_store GROUP BY 1)
(SELECT 'lacks', * FROM truth EXCEPT SELECT 'lacks', * FROM $table) UNION ALL (SELECT 'has', * FROM $table EXCEPT SELECT 'has', * FROM truth) ORDER BY 2, 1
END
}

sub caught_up
{
	my ($on, $db, $name, $what) = @_;
	ok(poll_until($on, $db, "SELECT (SELECT count(*) FROM pointstore.event_store) = pointstore.feed_head()
		AND bool_and(lag = 0) FROM pointstore.projection_status WHERE name = '$name'"), $what);
	return;
}

my $script = PostgreSQL::Test::Utils::tempdir() . '/append.sql';
append_to_file($script, <<'END');
\set account random(1, 50)
\set day random(1, 20)
SELECT pointstore.append_event('a' || :account, 'Earned', :day, occurred_at => timestamptz '2026-01-01 12:00+00' + make_interval(days => :day));
END

# Writers, as many transactions of each; they may be killed.
sub write_events
{
	my ($db, $transactions) = @_;
	return IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-t', $transactions, '-f', $script, '-h', $node->host, '-p', $node->port, '-U', 'postgres', $db ],
		'>', \my $out, '2>', \my $err);
}

sub projector
{
	my ($db) = @_;
	return $node->safe_psql('postgres', "SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE backend_type = 'pointstore projector' AND datname = '$db'");
}

set_up($_) foreach qw(app two);
ok(poll_until($node, 'postgres', "SELECT count(DISTINCT datname) = 2 FROM pg_stat_activity WHERE backend_type = 'pointstore projector'"), 'each database has a worker');

# killed now and then, so that all restart, or ended
foreach my $round (1 .. 4)
{
	my $before = $node->safe_psql('app', 'SELECT coalesce(sum(events), 0) FROM model.day');
	my $writers = write_events('app', 2000);
	ok(poll_until($node, 'app', "SELECT coalesce(sum(events), 0) > $before FROM model.day"), "round $round: the model moves while writers run");
	my $pid = projector('app');
	if ($pid > 0 && $round % 2)
	{
		kill 9, $pid;
		eval { $writers->finish };
		ok(poll_until($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'the server is there again');
	}
	else
	{
		$node->psql('postgres', "SELECT pg_terminate_backend($pid)");
		eval { $writers->finish };
	}
}
caught_up($node, 'app', 'day', 'it catches up');
is(differences($node, 'app', 'model.day'), '', 'nothing is lost or counted twice');
is($node->safe_psql('app', q{SELECT status, blocked FROM pointstore.projection_status WHERE name = 'day'}), 'running|0', 'and nobody was blamed');

# the second database
write_events('two', 100)->finish;
caught_up($node, 'two', 'day', 'the other database has its own');
is(differences($node, 'two', 'model.day'), '', 'and it is right');

# one that loops and heeds no cancellation, one that is slow, one that fails: the others get their turns
$node->safe_psql('app', <<'END');
SET ROLE modeller;
CREATE TABLE model.counter (name text PRIMARY KEY, n bigint NOT NULL);
INSERT INTO model.counter SELECT 'c' || g, 0 FROM generate_series(1, 7) g;
DO $do$
BEGIN
    FOR g IN 1 .. 7 LOOP
        EXECUTE format('CREATE FUNCTION model.c%s(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS %L', g,
            format('UPDATE model.counter SET n = n + cardinality(events) WHERE name = %L', 'c' || g));
    END LOOP;
END $do$;
CREATE FUNCTION model.loops(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            PERFORM pg_sleep(100);
        EXCEPTION WHEN query_canceled THEN NULL;
        END;
    END LOOP;
END $$;
CREATE FUNCTION model.slow(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(0.3)';
CREATE FUNCTION model.fails(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'SELECT 1 / (version - 3) FROM unnest(events)';
SELECT pointstore.create_projection('loops', 'model.loops(pointstore.feed_event[])');
SELECT pointstore.create_projection('slow', 'model.slow(pointstore.feed_event[])', batch => 10);
SELECT pointstore.create_projection('fails', 'model.fails(pointstore.feed_event[])');
SELECT count(pointstore.create_projection('c' || g, format('model.c%s(pointstore.feed_event[])', g)::regprocedure)) FROM generate_series(1, 7) g;
END
caught_up($node, 'app', "c$_", "the turn of c$_ comes") foreach 1 .. 7;
is($node->safe_psql('app', 'SELECT count(*) FROM model.counter WHERE n = (SELECT count(*) FROM pointstore.event_store)'), 7, 'each was given all events');
ok(poll_until($node, 'app', q{SELECT status = 'stopped' AND last_error LIKE '22012%' FROM pointstore.projection_status WHERE name = 'fails'}), 'the one that fails stops');
is($node->safe_psql('app', q{SELECT checkpoint < (SELECT min(pointstore.position_of(id)) FROM pointstore.event_store WHERE version = 3) FROM pointstore.projection_status WHERE name = 'fails'}),
	't', 'before the event that fails');
ok(poll_until($node, 'app', q{SELECT lost > 0 FROM pointstore.subscription_slot WHERE subscription = 'loops'}), 'a worker ends where the handler does not heed that it is cancelled');
$node->safe_psql('app', "SELECT pointstore.drop_projection('loops'); SELECT pointstore.drop_projection('slow'); SELECT pointstore.drop_projection('fails')");
pass('and these can be dropped');

# one that waits for another's lock blames no event, and goes on when it has it
my $in = '';
my $lock = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, '-U', 'postgres', 'app' ], '<', \$in, '>', \my $lock_out, '2>', \my $lock_err,
	IPC::Run::timeout(180));
$in .= "BEGIN; LOCK TABLE model.counter IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n";
$lock->pump until $lock_out =~ /locked/;
write_events('app', 5)->finish;
ok(poll_until($node, 'app', q{SELECT bool_and(last_error LIKE '57014%') FROM pointstore.projection_status WHERE name LIKE 'c_'}), 'those that wait for a lock say so');
is($node->safe_psql('app', q{SELECT count(*), min(status), max(status) FROM pointstore.projection_status WHERE name LIKE 'c_'}), '7|running|running', 'and are not stopped by it');
$in .= "ROLLBACK;\n\\q\n";
$lock->finish;
caught_up($node, 'app', "c$_", "without the lock c$_ goes on") foreach 1 .. 7;

# who makes way for another has not failed: the pause does not grow, the batches are smaller
$node->safe_psql('app', <<'END');
ALTER SYSTEM SET pointstore.projection_timeout = '1 min';
SELECT pg_reload_conf();
SET ROLE modeller;
CREATE TABLE model.way (n int);
CREATE FUNCTION model.way(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO model.way VALUES (cardinality(events));
    IF cardinality(events) >= 4 THEN
        PERFORM pg_sleep(60);
    END IF;
END $$;
SELECT pointstore.create_projection('way', 'model.way(pointstore.feed_event[])', pointstore.feed_head() - 8, batch => 8);
END
foreach my $time (1, 2)
{
	ok(poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore projector' AND wait_event = 'PgSleep'}), 'a batch takes long');
	is($node->safe_psql('app', "BEGIN; LOCK TABLE model.way IN SHARE MODE; SELECT 'locked'; ROLLBACK"), 'locked', 'and makes way');
}
ok(poll_until($node, 'app', q{SELECT not_before - served_at < '1.5 s' FROM pointstore.subscription_slot WHERE subscription = 'way' AND attempt = 2 AND leased_until IS NULL}),
	'it pauses as long as the first time');
caught_up($node, 'app', 'way', 'and goes on');
is($node->safe_psql('app', q{SELECT s.status, s.last_error IS NULL, (SELECT string_agg(n::text, ' ') FROM model.way) FROM pointstore.projection_status s WHERE name = 'way'}),
	'running|t|2 2 2 2', 'in smaller batches, without an error');
$node->safe_psql('app', "SELECT pointstore.drop_projection('way')");

# tables that are exchanged under a batch of one event, with the handler, do not stop it
$node->safe_psql('app', <<'END');
SET ROLE modeller;
CREATE TABLE model.exchanged (id bigint);
CREATE FUNCTION model.exchanges(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'INSERT INTO model.exchanged SELECT id FROM unnest(events)';
SELECT pointstore.create_projection('exchanges', 'model.exchanges(pointstore.feed_event[])', NULL, batch => 1);
END
($in, my $exchange_out) = ('', '');
my $exchange = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, '-U', 'postgres', 'app' ], '<', \$in, '>', \$exchange_out, '2>', \my $exchange_err,
	IPC::Run::timeout(180));
$in .= "BEGIN; SET ROLE modeller; LOCK TABLE model.exchanged; SELECT 'locked';\n";
$exchange->pump until $exchange_out =~ /locked/;
$node->safe_psql('app', q{SELECT pointstore.append_event('exchanged', 'Earned', 1)});
ok(poll_until($node, 'app', q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'model.exchanged'::regclass AND NOT granted}), 'a batch waits for its table');
$in .= <<'END';
ALTER TABLE model.exchanged RENAME TO exchanged_v1;
CREATE TABLE model.exchanged_v2 (id bigint);
CREATE OR REPLACE FUNCTION model.exchanges(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS 'INSERT INTO model.exchanged_v2 SELECT id FROM unnest(events)';
COMMIT;
\q
END
$exchange->finish;
caught_up($node, 'app', 'exchanges', 'which has another name by then');
is($node->safe_psql('app', q{SELECT status, (SELECT count(*) FROM model.exchanged_v1), (SELECT count(*) FROM model.exchanged_v2) FROM pointstore.projection_status WHERE name = 'exchanges'}),
	'running|0|1', 'and goes on with what there is now');
$node->safe_psql('app', "SELECT pointstore.drop_projection('exchanges'); ALTER SYSTEM RESET pointstore.projection_timeout; SELECT pg_reload_conf()");

# those that are there are not started once more by a first one that is started anew
sub workers
{
	return "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pointstore projector' AND datname = 'app'";
}
ok(poll_until($node, 'app', workers(), '2'), 'two workers take turns');
foreach (1 .. 3)
{
	my ($first, $second) = split /\n/, $node->safe_psql('app', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore projector' AND datname = 'app' ORDER BY backend_start});
	$node->safe_psql('app', "SELECT pg_terminate_backend($first)");
	ok(poll_until($node, 'app', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pointstore projector' AND datname = 'app' AND wait_event IS NOT NULL AND pid NOT IN ($first, $second)"),
		'another comes');
}
write_events('app', 50)->finish;
caught_up($node, 'app', "c$_", "c$_ goes on") foreach 1 .. 7;
ok(poll_until($node, 'app', workers(), '2'), 'there are still two');

# a function that is dropped, and comes back
$node->safe_psql('app', 'DROP FUNCTION model.c1(pointstore.feed_event[])');
write_events('app', 20)->finish;
ok(poll_until($node, 'app', q{SELECT status = 'stopped' AND last_error IS NOT NULL FROM pointstore.projection_status WHERE name = 'c1'}), 'a projection without its handler stops');
caught_up($node, 'app', 'c2', 'and no other');
$node->safe_psql('app', q{SET ROLE modeller; CREATE FUNCTION model.c1(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS
	$$UPDATE model.counter SET n = n + cardinality(events) WHERE name = 'c1'$$; SELECT pointstore.resume_subscription('c1')});
caught_up($node, 'app', 'c1', 'resumed it goes on');
is($node->safe_psql('app', q{SELECT n = (SELECT count(*) FROM pointstore.event_store) FROM model.counter WHERE name = 'c1'}), 't', 'where it was');

# rights that a restore grants last: what is looked at before goes on when they are there
$node->safe_psql('app', <<'END');
REVOKE EXECUTE ON FUNCTION pointstore.freeze_account(text, text) FROM modeller;
ALTER TABLE model.counter OWNER TO postgres;
END
write_events('app', 20)->finish;
ok($node->poll_query_until('app', q{SELECT bool_and(last_error = 'its role is no operator') FROM pointstore.projection_status WHERE name LIKE 'c_'}), 'those whose role is no operator say so');
$node->safe_psql('app', q{SELECT pointstore.grant_access('modeller', 'operator')});
ok($node->poll_query_until('app', q{SELECT bool_and(last_error LIKE '42501%') FROM pointstore.projection_status WHERE name LIKE 'c_'}), 'so do those whose handler lacks a right');
is($node->safe_psql('app', q{SELECT DISTINCT status FROM pointstore.projection_status}), 'running', 'and none is stopped');
$node->safe_psql('app', 'ALTER TABLE model.counter OWNER TO modeller');
caught_up($node, 'app', "c$_", "c$_ goes on") foreach 1 .. 7;
is($node->safe_psql('app', 'SELECT count(*) FROM model.counter WHERE n = (SELECT count(*) FROM pointstore.event_store)'), 7, 'each was given all events, once');

# who else its session might be
$node->safe_psql('app', <<'END');
SET ROLE modeller;
CREATE TABLE model.whoami (what text, who text);
CREATE FUNCTION model.whoami(events pointstore.feed_event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    attempt text;
BEGIN
    FOREACH attempt IN ARRAY ARRAY['SET ROLE postgres', 'SET SESSION AUTHORIZATION postgres', 'RESET SESSION AUTHORIZATION', 'SELECT pg_advisory_lock(1)'] LOOP
        BEGIN
            EXECUTE attempt;
        EXCEPTION WHEN others THEN
            INSERT INTO model.whoami VALUES (attempt, SQLSTATE);
        END;
    END LOOP;
    INSERT INTO model.whoami VALUES ('current', current_user), ('session', session_user), ('superuser', current_setting('is_superuser'));
END $$;
SELECT pointstore.create_projection('whoami', 'model.whoami(pointstore.feed_event[])', pointstore.feed_head() - 1);
END
caught_up($node, 'app', 'whoami', 'one that would be somebody else');
is($node->safe_psql('app', 'SELECT string_agg(who, $$ $$) FROM model.whoami'), '42501 42501 42501 42501 modeller modeller off', 'is its creator');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid < 3}), 0, 'and leaves no lock');
$node->safe_psql('app', "SELECT pointstore.drop_projection('whoami')");

# in place: a reader sees the old state or the new
my $writers = write_events('app', 3000);
foreach (1 .. 3)
{
	my $seen = $node->safe_psql('app', 'SELECT sum(events) FROM model.day');
	my $head = $node->safe_psql('app', q{SELECT pointstore.rebuild_projection('day', 'model.reset()')});
	my $sum = $node->safe_psql('app', 'SELECT coalesce(sum(events), 0) FROM model.day');
	ok($sum >= $seen && $sum >= $head, 'rebuilt under load, it is not behind');
}

# a reset function that truncates is refused before it waits for a reader, behind whom others would wait
($in, my $reader_out) = ('', '');
my $reader = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, '-U', 'postgres', 'app' ], '<', \$in, '>', \$reader_out, '2>', \my $reader_err,
	IPC::Run::timeout(180));
$in .= "BEGIN; SELECT 'read' FROM model.day LIMIT 1;\n";
$reader->pump until $reader_out =~ /read/;
is(sqlstate($node, 'app', q{SET ROLE modeller; CREATE FUNCTION model.truncates() RETURNS void LANGUAGE sql AS 'TRUNCATE model.day_v1'; SET statement_timeout = '20s';
	SELECT pointstore.rebuild_projection('day', 'model.truncates()')}), '0A000', 'one that truncates waits for nobody');
$in .= "ROLLBACK;\n\\q\n";
$reader->finish;

# beside: v2 is built, then takes the name in one transaction
$node->safe_psql('app', <<'END');
SET ROLE modeller;
CREATE TABLE model.day_v2 (day date PRIMARY KEY, events bigint NOT NULL, amount bigint NOT NULL) WITH (fillfactor = 50);
CREATE FUNCTION model.by_day_v2(events pointstore.feed_event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO model.day_v2 AS d SELECT CAST(e.occurred_at AT TIME ZONE 'UTC' AS date), count(*), sum(e.amount) FROM unnest(events) e GROUP BY 1
        ON CONFLICT (day) DO UPDATE SET events = d.events + excluded.events, amount = d.amount + excluded.amount
$$;
SELECT pointstore.create_projection('day_v2', 'model.by_day_v2(pointstore.feed_event[])');
END
ok(poll_until($node, 'app', q{SELECT percent > 99 FROM pointstore.projection_status WHERE name = 'day_v2'}), 'v2 catches up while writers run');
my $watch = IPC::Run::start([ 'pgbench', '-n', '-c', '1', '-T', '5', '-f', "$script.watch", '-h', $node->host, '-p', $node->port, '-U', 'postgres', 'app' ],
	'>', \my $watch_out, '2>', \my $watch_err) if append_to_file("$script.watch", <<'END') || 1;
DO $$
DECLARE
    seen bigint := 0;
    now_seen bigint;
BEGIN
    FOR i IN 1 .. 20 LOOP
        SELECT coalesce(sum(events), 0) INTO now_seen FROM model.day;
        IF now_seen < seen THEN RAISE 'the model went back from % to %', seen, now_seen; END IF;
        seen := now_seen;
        COMMIT;
    END LOOP;
END $$;
END
$node->safe_psql('app', <<'END');
BEGIN;
SELECT pointstore.drop_projection('day');
DO $$
DECLARE
    head bigint := pointstore.feed_head();
BEGIN
    WHILE EXISTS (SELECT FROM pointstore.projection_status WHERE name = 'day_v2' AND checkpoint < head AND lag > 0) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
CREATE OR REPLACE VIEW model.day AS SELECT * FROM model.day_v2;
COMMIT;
END
$watch->finish;
is($watch_err =~ /went back|ERROR/ ? $watch_err : '', '', 'no reader sees the model go back, or a gap');
$writers->finish;
caught_up($node, 'app', 'day_v2', 'v2 goes on');
is(differences($node, 'app', 'model.day'), '', 'under the name of v1');

# a standby that is promoted goes on
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
write_events('app', 50)->finish;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('app', q{SELECT count(*) FROM pointstore.projection_status WHERE name = 'day_v2'}), 1, 'a standby shows them');
$node->stop('immediate');
$standby->promote;
$standby->safe_psql('app', q{SELECT count(pointstore.append_event('p' || n, 'Earned', n)) FROM generate_series(1, 50) n});
caught_up($standby, 'app', 'day_v2', 'after the promotion it goes on');
is(differences($standby, 'app', 'model.day'), '', 'from where it was');
$standby->stop;

done_testing();
