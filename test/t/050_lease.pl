# Leases between sessions: 64 who wait for one are served in the order of arrival; who is cancelled or ends leaves
# the queue; a lease of a session ends with it, and with a crash; who holds up a theft is named; thousands of leases
# leave nothing behind; and without preloading.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $callers = 64;
my $node = new_cluster('lease', conf => "max_connections = 100\n");
my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $watcher;

$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
CREATE TABLE served (n bigserial, who text, token bigint);
-- until so many sessions wait for a lease
CREATE PROCEDURE await_waiters(wanted integer) LANGUAGE plpgsql AS $$
BEGIN
    WHILE (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE '%wait_for_lease%') <> wanted LOOP
        PERFORM pg_stat_clear_snapshot();
        PERFORM pg_sleep(0.002);
    END LOOP;
END $$;
END

# A session that a script is given to, bit by bit.
sub session
{
	my ($in, $out, $err) = ('', '', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout($timeout));

	return { psql => $psql, in => \$in, out => \$out, err => \$err };
}

# Gives it a statement without waiting for it.
sub say_to
{
	my ($session, $sql) = @_;
	${ $session->{in} } .= "$sql\n";
	$session->{psql}->pump_nb;
	return;
}

# What a statement, and what it was told before, answers.
sub ask
{
	my ($session, $sql) = @_;
	say_to($session, "$sql\n\\echo answered");
	$session->{psql}->pump until ${ $session->{out} } =~ s/^answered\n\z//m;
	my $answer = ${ $session->{out} };
	${ $session->{out} } = '';
	chomp $answer;
	return $answer;
}

# Ends a session, which may have ended by itself.
sub leave
{
	my ($session) = @_;
	local $SIG{PIPE} = 'IGNORE';
	eval { say_to($session, '\q'); };
	eval { $session->{psql}->finish };
	return;
}

# A session that waits for a lease, and when it has it says so, and gives it back.
sub waiter
{
	my ($who, $lease, $waiting) = @_;
	my $session = session();

	say_to($session, "CALL pointstore.wait_for_lease('$lease', '$who', '1 min', '3 min') \\gset\n"
		. "INSERT INTO served (who, token) VALUES ('$who', :token);\nSELECT pointstore.release_lease('$lease', :token);");
	ask($watcher, "CALL await_waiters($waiting);");
	return $session;
}

# Who was served, and in which order; ends the sessions.
sub served
{
	my @sessions = @_;
	foreach my $session (@sessions)
	{
		leave($session);
	}
	my $who = $node->safe_psql('postgres', q{SELECT string_agg(who, ' ' ORDER BY n) || CASE WHEN bool_and(rises) THEN '' ELSE ', tokens fell' END
		FROM (SELECT *, token > lag(token, 1, 0::bigint) OVER (ORDER BY n) AS rises FROM served) s});
	$node->safe_psql('postgres', 'TRUNCATE served');
	return $who;
}

my $holder = session();
$watcher = session();

# in order
is(ask($holder, q{SELECT token FROM pointstore.acquire_lease('one', 'holder', '10 min') \gset
SELECT 'held';}), 'held', 'the lease is held');
my @waiters = map { waiter($_, 'one', $_) } 1 .. $callers;
is($node->safe_psql('postgres', q{SELECT acquired, holder FROM pointstore.acquire_lease('one', 'late')}), 'f|holder', 'who would acquire it is told whose it is');
ask($holder, q{SELECT pointstore.release_lease('one', :token);});
is(served(@waiters), join(' ', 1 .. $callers), "$callers callers, each once, in the order of arrival");

# who has had it and does not give it back is followed when it expires
ask($holder, q{SELECT token FROM pointstore.acquire_lease('one', 'holder', '10 min') \gset});
@waiters = (session());
say_to($waiters[0], q{CALL pointstore.wait_for_lease('one', 'keeps', '100 ms', '3 min') \gset
INSERT INTO served (who, token) VALUES ('keeps', :token);});
ask($watcher, 'CALL await_waiters(1);');
push @waiters, waiter('next', 'one', 2);
my $given_back = ask($holder, q{SELECT pointstore.release_lease('one', :token) \gset
SELECT clock_timestamp();});
is(served(@waiters), 'keeps next', 'a lease that is not given back expires');
is($node->safe_psql('postgres', qq{SELECT acquired_at < timestamptz '$given_back' + interval '30 s' FROM pointstore.lease WHERE name = 'one'}), 't', 'and is the next one\'s then');

# who is cancelled, and who ends, leaves the queue
ask($holder, q{SELECT token FROM pointstore.acquire_lease('one', 'holder', '10 min') \gset});
@waiters = map { waiter($_, 'one', $_) } 1 .. 4;
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%wait_for_lease(''one'', ''1''%' AND pid <> pg_backend_pid()");
ask($watcher, 'CALL await_waiters(3);');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%wait_for_lease(''one'', ''2''%' AND pid <> pg_backend_pid()");
ask($watcher, 'CALL await_waiters(2);');
ask($holder, q{SELECT pointstore.release_lease('one', :token);});
is(served(@waiters), '3 4', 'the others go on');
like(${ $waiters[0]{err} }, qr/canceling statement/, 'one was cancelled');

# who waits is woken by the end of a session, and of a transaction that has checked; nobody comes before him
my $checker = session();
ask($holder, q{SELECT acquired FROM pointstore.acquire_lease('one', 'holder', NULL);});
ask($checker, q{BEGIN; SELECT pointstore.check_lease('one', token) FROM pointstore.lease WHERE name = 'one';});
@waiters = (waiter('w', 'one', 1));
leave($holder);
poll_until($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')");
is($node->safe_psql('postgres', q{SELECT acquired, holder FROM pointstore.acquire_lease('one', 'late')}), 'f|', 'nobody comes before who waits');
is($node->safe_psql('postgres', 'SELECT count(*) FROM served'), '0', 'who has checked keeps the lease');
ask($checker, 'COMMIT;');
is(served(@waiters), 'w', 'a lease ends with its session');

# a theft names who holds it up
my $pid = ask($checker, 'SELECT pg_backend_pid();');
$node->safe_psql('postgres', q{INSERT INTO pointstore.lease VALUES ('two', 'a', 17, now(), now() + interval '1 h')});
ask($checker, q{BEGIN; SELECT pointstore.check_lease('two', 17);});
my $theft = q{SET lock_timeout = '10 ms'; SELECT acquired FROM pointstore.steal_lease('two', 'thief')};
is(sqlstate($node, 'postgres', $theft), '55P03', 'a theft waits up to lock_timeout');
my ($rc, $out, $err) = $node->psql('postgres', $theft);
like($err, qr/process $pid\b/, 'and names the process');
ask($checker, q{PREPARE TRANSACTION 'checked';});
($rc, $out, $err) = $node->psql('postgres', $theft);
like($err, qr/prepared transaction \d+/, 'or the prepared transaction');
$node->safe_psql('postgres', q{UPDATE pointstore.lease SET expires_at = now() WHERE name = 'two'});
@waiters = (waiter('w', 'two', 1));
$node->safe_psql('postgres', q{COMMIT PREPARED 'checked'});
is(served(@waiters), 'w', 'who waits sees that it has ended');
ask($checker, q{BEGIN; SELECT token FROM pointstore.steal_lease('two', 'a', '10 min') \gset
COMMIT;});
@waiters = (waiter('w', 'two', 1));
ask($checker, q{BEGIN; SELECT pointstore.release_lease('two', :token); PREPARE TRANSACTION 'released';});
$node->safe_psql('postgres', q{COMMIT PREPARED 'released'});
my $released = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
is(served(@waiters), 'w', 'and so of a release that was prepared');
is($node->safe_psql('postgres', qq{SELECT acquired_at < timestamptz '$released' + interval '1 min' FROM pointstore.lease WHERE name = 'two'}), 't', 'long before he would give up');

# thousands of leases that change hands leave nothing in the index, and what is dead makes room
my $round = q{DO $$ DECLARE t bigint; BEGIN
    FOR i IN 1 .. 2000 LOOP
        t := (pointstore.acquire_lease('many' || i, 'me')).token;
        COMMIT;
        PERFORM pointstore.renew_lease('many' || i, t), pointstore.release_lease('many' || i, t);
        COMMIT;
    END LOOP; END $$;};
my $sizes = q{SELECT pg_relation_size('pointstore.lease'), pg_relation_size('pointstore.lease_pkey')};
$node->safe_psql('postgres', "SET synchronous_commit = off; $round") for 1 .. 2;
my $before = $node->safe_psql('postgres', $sizes);
$node->safe_psql('postgres', "SET synchronous_commit = off; $round") for 1 .. 3;
is($node->safe_psql('postgres', $sizes), $before, 'thousands of leases take the room that they have');

# a crash ends leases of sessions, not others, and no token falls
is(ask($checker, q{SELECT acquired FROM pointstore.acquire_lease('session', 'me', NULL);}), 't', 'a lease of a session');
$node->safe_psql('postgres', q{INSERT INTO pointstore.lease VALUES ('ahead', NULL, 3000000000000000, now(), now())});
my $tokens = $node->safe_psql('postgres', q{SELECT acquired FROM pointstore.acquire_lease('timed', 'me', '10 min');
	SELECT max(token) FROM pointstore.lease WHERE name IN ('session', 'timed')});
$tokens =~ s/.*\n//;
$node->stop('immediate');
eval { $_->{psql}->kill_kill } foreach $checker, $watcher;
$node->start;
is($node->safe_psql('postgres', qq{SELECT acquired, token > $tokens FROM pointstore.acquire_lease('session', 'you')}), 't|t', 'a crash ends a lease of a session');
is($node->safe_psql('postgres', q{SELECT acquired, holder FROM pointstore.acquire_lease('timed', 'you')}), 'f|me', 'and not one with a time');
is($node->safe_psql('postgres', q{SELECT acquired, token FROM pointstore.acquire_lease('ahead', 'you')}), 't|3000000000000001', 'a row ahead of the clock goes on');

# without preloading
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
$holder = session();
$watcher = session();
ask($holder, q{SELECT token FROM pointstore.acquire_lease('one', 'holder', '10 min') \gset});
@waiters = map { waiter($_, 'one', $_) } 1 .. 2;
ask($holder, q{SELECT pointstore.release_lease('one', :token);});
is(join(' ', sort split / /, served(@waiters)), '1 2', 'without preloading those who wait look again');
is(faults($node, 'postgres'), '', 'the store is sound');
leave($_) foreach $holder, $watcher;

$node->stop;
done_testing();
