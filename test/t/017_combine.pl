# Combined appends under everything that may happen to them: many callers and
# few slots, locked accounts, poisonous events, cancelled and terminated callers,
# combiners that are terminated, killed and not to be had, databases that go away
# from under them, and a server that stops in the middle.

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
my $patience = $PostgreSQL::Test::Utils::timeout_default;
my $is_combiner = q{backend_type = 'pointstore combiner'};
my $stat = 'pointstore.pg_stat_pointstore WHERE database = current_database()';

my $node = new_cluster('main', conf => <<'END', allows_streaming => 1);
synchronous_commit = on
max_worker_processes = 10
restart_after_crash = on
max_connections = 60
pointstore.combine_slots = 12
pointstore.combine_idle_timeout = 1h
END
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
-- what users put on the tables: Slow takes its time, as long as its account has a gate, Poison
-- fails, Late fails at commit; those that a caller has appended himself and rolled back are counted
CREATE TABLE gate (account text PRIMARY KEY);
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM public.gate WHERE account = NEW.aggregate_id) LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER wait_at_gate BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type = 'Slow') EXECUTE FUNCTION wait_at_gate();
CREATE SEQUENCE rolled_back;
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_type = 'Slow' THEN
        PERFORM pg_sleep(CASE WHEN EXISTS (SELECT FROM public.gate) THEN 0 ELSE 2 END);
    ELSIF NEW.event_type = TG_ARGV[0] THEN
        IF TG_WHEN = 'AFTER' AND (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'client backend' THEN
            PERFORM nextval('public.rolled_back');
        END IF;
        RAISE division_by_zero USING MESSAGE = 'poison';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER act BEFORE INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION act('Poison');
CREATE CONSTRAINT TRIGGER act_late AFTER INSERT ON pointstore.event_store DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.event_type = 'Late') EXECUTE FUNCTION act('Late');
ALTER TABLE pointstore.event_store ADD CONSTRAINT small CHECK (amount < 1000000);
SELECT pointstore.append_event('held', 'Opened', 1000), pointstore.append_event('free', 'Opened', 1000);
END

sub value
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql);
}

# Starts a session that runs one script; done() waits for it.
sub start
{
	my ($sql, %params) = @_;
	my $run = { out => '', err => '' };
	my $on = $params{node} // $node;

	local $ENV{PGOPTIONS} = '-c statement_timeout=' . ($params{statement_timeout} // 0);
	$run->{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'VERBOSITY=sqlstate', '-d', $on->connstr($params{db} // 'postgres'), '-c', $sql ],
		'>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout($patience));
	return $run;
}

# What the session has printed: rows, or the SQLSTATE.
sub done
{
	my ($run) = @_;
	open_gate('slow') if delete $run->{gate};
	$run->{run}->finish;
	chomp($run->{out});
	return $run->{out} if $run->{err} eq '';
	return $run->{err} =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $run->{err};
}

sub wait_for
{
	my ($what, $query, $db) = @_;
	ok($node->poll_query_until($db // 'postgres', $query), $what);
	return;
}

# the callers that are in submit_event and wait
sub wait_for_callers
{
	my ($n, $what) = @_;
	wait_for($what // "$n callers wait", "SELECT count(*) >= $n FROM pg_stat_activity WHERE query ~ 'submit_' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid() AND NOT $is_combiner");
	return;
}

sub submit
{
	my ($account, $type, $amount, $more) = @_;
	return "SELECT outcome FROM pointstore.submit_event('$account', '$type', $amount" . ($more ? ", $more" : '') . ')';
}

sub move
{
	my ($from, $to, $amount, $more) = @_;
	return "SELECT string_agg(outcome || ' ' || version || ' ' || balance, ', ') FROM pointstore.submit_transfer('$from', '$to', $amount" . ($more ? ", $more" : '') . ')';
}

sub close_gate
{
	my ($account) = @_;
	value("INSERT INTO gate VALUES ('$account')");
	return;
}

sub open_gate
{
	my ($account) = @_;
	value("DELETE FROM gate WHERE account = '$account'");
	return;
}

# A session of its own is at an event that takes until done(), so that others gather.
sub start_slow
{
	close_gate('slow');
	my $slow = start(submit('slow', 'Slow', 1));
	$slow->{gate} = 1;
	wait_for('the combiner is at work', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
	return $slow;
}

sub pgbench
{
	my ($clients, $seconds, %scripts) = @_;
	my $run = { out => '', err => '' };
	my @files;

	foreach my $name (sort keys %scripts)
	{
		unlink "$dir/$name.sql";
		append_to_file("$dir/$name.sql", $scripts{$name});
		push @files, '-f', "$dir/$name.sql";
	}
	$run->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-T', $seconds, '-D', 'n=0', '-l', "--log-prefix=$dir/acks", @files,
			$node->connstr('postgres') ], '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

#
# stale versions: types that commute are merged in the batch, each after the one before; what a function is to merge is its
# caller's, with the caller's statement_timeout, and whatever it does the others do not wait for it
#
value(<<'END');
CREATE FUNCTION merge_by(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 / (proposed->>'amount')::int;
    IF (proposed->>'amount')::int > 1 THEN
        PERFORM pg_sleep(1000);
    END IF;
    RETURN proposed;
END $$;
INSERT INTO pointstore.account_kind (kind, commuting, merge) VALUES ('post', '{Liked}', 'public.merge_by');
SELECT pointstore.append_event('post', 'Posted', kind => 'post'), pointstore.append_event('post', 'Liked', 1);
SELECT pointstore.append_event('other post', 'Posted', kind => 'post'), pointstore.append_event('other post', 'Edited', 1);
END
my $slow = start_slow();
my @likes = map { start(submit('post', 'Liked', 1, "expected_version => 1, request_id => 'like-$_'")) } 1 .. 5;
my %stale = (
	merged => start(submit('other post', 'Edited', 1, 'expected_version => 1')),
	raises => start(submit('other post', 'Edited', 0, 'expected_version => 1')),
	hangs => start(submit('other post', 'Edited', 2, 'expected_version => 1'), statement_timeout => 3000),
	ahead => start(submit('post', 'Liked', 1, 'expected_version => 99')));
wait_for_callers(9);
is(done($slow), 'appended', 'the slow one before stale versions');
is(join(' ', map { done($_) } @likes), join(' ', ('merged') x 5), 'five that commute');
is(done($stale{ahead}), 'PS001', 'a version that is yet to come');
is(done($stale{merged}), 'merged', 'by a function');
is(done($stale{raises}), '22012', 'by one that raises');
is(done($stale{hangs}), '57014', 'by one that does not end');
is(value(submit('post', 'Liked', 1, "expected_version => 1, request_id => 'like-3'")), 'replayed', 'a repeat of what was merged');
is(value("SELECT version || ' ' || balance FROM pointstore.get_balance('post')"), '7 6', 'each once');
is(value(q{SELECT count(DISTINCT xmin::text) FROM pointstore.event_store WHERE request_id ~ '^like-'}), '1', 'in one transaction');

#
# a batch of good events and of poison, of twins and of refusals
#
$slow = start_slow();
my %run = (
	good => start(submit('batch', 'Good', 5)),
	other => start(submit('batch-2', 'Good', 5)),
	poison => start(submit('batch', 'Poison', 1)),
	late => start(submit('batch-2', 'Late', 1)),
	refused => start(submit('batch', 'Spent', -1000)),
	tried => start(q{SELECT outcome FROM pointstore.try_submit_event('batch', 'Spent', -1000)}),
	overflow => start(submit('held', 'Earned', '9223372036854775807 - 100')),
	large => start(submit('free', 'Earned', 1000000)));
wait_for_callers(9);
is(done($slow), 'appended', 'the slow one');
is(done($run{good}), 'appended', 'good ones are appended');
is(done($run{other}), 'appended', 'and others');
is(done($run{poison}), '22012', 'a poisonous event fails alone');
is(done($run{late}), '22012', 'one that fails at commit too');
is(done($run{refused}), 'PS003', 'a refusal is an error');
is(done($run{tried}), 'insufficient_balance', 'or an outcome');
is(done($run{overflow}), '22003', 'an overflow');
is(done($run{large}), '23514', 'a CHECK');
is(value(q{SELECT string_agg(event_type || ' ' || balance_after, ', ' ORDER BY aggregate_id) FROM pointstore.event_store WHERE aggregate_id ~ '^batch'}),
	'Good 5, Good 5', 'no more than that was appended');
my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n" . submit('free', 'Earned', 1000000));
like($err, qr/CONSTRAINT NAME:\s+small/, 'an error keeps its constraint');
like($err, qr/DETAIL:.*1000000/, 'and its detail');

$slow = start_slow();
my @twins = map { start(submit('batch', 'Good', 7, q{request_id => 'twin'})) } 1 .. 4;
my $odd = start(submit('batch', 'Good', 8, q{request_id => 'twin'}));
wait_for_callers(6);
done($slow);
my @told = sort map { done($_) } @twins;
ok((join(' ', @told) eq 'appended replayed replayed replayed' && done($odd) eq 'PS002') || join(' ', @told) eq 'PS002 PS002 PS002 PS002',
	"of twins in one batch one is appended: @told");
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE request_id = 'twin'}), '1', 'once');

#
# transfers among them: both legs or none, whatever became of those before them in the batch
#
value(q{SELECT pointstore.append_event('tight', 'Opened', 5), pointstore.append_event('shut', 'Opened'), pointstore.freeze_account('shut', 'test')});
$slow = start_slow();
my @moves;
foreach my $sql (move('tight', 'shut', 5), move('tight', 'moved', 5, q{'move-1'}), move('tight', 'moved', 5, q{'move-1'}), move('moved', 'tight', 2, q{'move-2'}),
	move('tight', 'moved', 2, q{'move-2'}), move('tight', 'moved', 3), move('free', 'moved', 1, q{event_type => 'Poison'}), submit('moved', 'Good', 1))
{
	push @moves, start($sql);
	wait_for_callers(@moves + 1);
}
is(done($slow), 'appended', 'a batch with transfers');
my @moved = map { done($_) } @moves;
is(join('; ', @moved[0, 5, 6, 7]), 'PS004; PS003; 22012; appended', 'refused at the second leg and at the first, poison, an event');
is(join('; ', @moved[1, 2]), 'appended 2 0, appended 1 5; replayed 2 0, replayed 1 5', 'twins, of what a refused one before them would have spent');
is(join('; ', @moved[3, 4]), 'appended 2 3, appended 3 2; PS002', 'back again; and its request the other way round');
is(value(q{SELECT string_agg(aggregate_id || ' ' || version || ' ' || balance, ', ' ORDER BY aggregate_id) FROM pointstore.account WHERE aggregate_id IN ('moved', 'shut', 'tight')}),
	'moved 3 4, shut 1 0, tight 3 2', 'nothing else');
is(value(q{SELECT string_agg(l.aggregate_id || ' ' || c.aggregate_id, ', ' ORDER BY l.id) FROM pointstore.event_store l JOIN pointstore.event_store c ON c.id = l.cause_id WHERE l.leg = 1}),
	'moved tight, tight moved', 'each pair linked');

# a pure account that others change once rows of the batch are written: all of it is judged anew
value(q{CREATE TRIGGER wait_here BEFORE UPDATE ON pointstore.balance FOR EACH ROW WHEN (NEW.aggregate_id = 'waits') EXECUTE FUNCTION wait_at_gate();
	INSERT INTO pointstore.account_kind (kind, mode, max_balance) VALUES ('ledger', 'pure', 300);
	SELECT pointstore.append_event('waits', 'Opened', 100), pointstore.append_event('pure', 'Opened', 100, kind => 'ledger')});
$slow = start_slow();
close_gate('waits');
my @judged = (start(submit('waits', 'Good', 1)));
wait_for_callers(2);
push @judged, map { start("SELECT outcome FROM pointstore.try_submit_event('pure', 'Spent', $_)") } -80, -50;
wait_for_callers(4);
done($slow);
wait_for('a row is being written', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
value(q{SELECT pointstore.append_event('pure', 'Earned', 100)});
open_gate('waits');
is(join(' ', map { done($_) } @judged), 'appended appended appended', 'nobody is refused for what was not');
foreach my $call ('try_transfer', 'try_submit_transfer')
{
	close_gate('waits');
	my $tried = start("SELECT outcome || ' ' || aggregate_id || ' ' || version || ' ' || balance FROM pointstore.$call('waits', 'pure', 80)");
	wait_for('a row is being written', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
	value(q{SELECT pointstore.append_event('pure', 'Set', 290 - (SELECT balance FROM pointstore.get_balance('pure')))});
	open_gate('waits');
	is(done($tried), "balance_limit pure " . ($call eq 'try_transfer' ? 5 : 7) . ' 290', "$call: what is refused in the end is an outcome");
	value(q{SELECT pointstore.append_event('pure', 'Spent', -190)});
}
value('DROP TRIGGER wait_here ON pointstore.balance');

# in order of arrival
$slow = start_slow();
my @ordered;
foreach my $n (1 .. 6)
{
	push @ordered, start("SELECT version FROM pointstore.submit_event('ordered', 'Good', $n)");
	wait_for_callers($n + 1);
}
done($slow);
is(join(' ', map { done($_) } @ordered), '1 2 3 4 5 6', 'in order of arrival');

#
# a locked account
#
my $holder = $node->background_psql('postgres');
value(q{SELECT pointstore.append_event('before', 'Opened', 4)});
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('before', 'Kept', 1)});
my $given_back = value("SELECT given_back FROM $stat");
$slow = start_slow();
my $put_off = start(move('free', 'before', 1));
wait_for_callers(2);
my $beside = start(submit('free', 'Good', 1));
wait_for_callers(3);
done($slow);
is(done($beside), 'appended', 'beside a transfer whose second account is locked another is appended');
is(value("SET statement_timeout = '30s'; " . submit('free', 'Good', 1)), 'appended', 'a transfer that waits for its first account does not keep the other') foreach 1 .. 3;
wait_for('the transfer waits for itself', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'submit_transfer' AND wait_event_type = 'Lock'});
$holder->query_safe('COMMIT');
like(done($put_off), qr/^appended .*, appended 3 6$/, 'and is then made');
is(value("SELECT given_back FROM $stat") - $given_back, 1, 'the transfer alone was given back');
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('held', 'Kept', 1)});
my $waiting = start(submit('held', 'Good', 1));
my $limited = start(submit('held', 'Good', 1, q{request_id => 'limited'}), statement_timeout => 1000);
is(value("SET statement_timeout = '30s'; " . submit('free', 'Good', 1)), 'appended', 'others go on meanwhile') foreach 1 .. 3;
is(done($limited), '57014', 'a caller that waits for the lock is cancelled by its statement_timeout');
wait_for('the others wait as append_event does', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event_type = 'Lock'});
$holder->query_safe('COMMIT');
is(done($waiting), 'appended', 'and are appended when it is free');
is(value(submit('held', 'Good', 1, q{request_id => 'limited'})), 'appended', 'what was cancelled there was not');
$holder->query_safe(q{BEGIN; LOCK TABLE pointstore.balance});
$waiting = start(submit('free', 'Good', 1));
wait_for('a locked table is waited for too', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event_type = 'Lock'});
$holder->query_safe('COMMIT');
is(done($waiting), 'appended', 'and got');
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('elsewhere', 'Good', 1, request_id => 'elsewhere')});
$waiting = start(submit('free', 'Good', 1, q{request_id => 'elsewhere'}));
wait_for('as is a request under way', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event_type = 'Lock'});
$holder->query_safe('ROLLBACK');
is(done($waiting), 'appended', 'which came to nothing');
$holder->quit;
cmp_ok(value("SELECT given_back FROM $stat"), '>=', 3, 'those who waited themselves are counted as given back');

#
# nothing that others have under way keeps those waiting who have nothing to do with it, however long
# the others are put off
#
$node->append_conf('postgresql.conf', 'pointstore.combine_lock_timeout = 60s');
$node->reload;
wait_for('reloaded', q{SELECT current_setting('pointstore.combine_lock_timeout') = '1min'});
value(q{CREATE TABLE customer (aggregate_id text PRIMARY KEY);
	INSERT INTO customer SELECT unnest(ARRAY['fk-1', 'fk-2']);
	ALTER TABLE pointstore.event_store ADD COLUMN customer text GENERATED ALWAYS AS (CASE WHEN event_type = 'Referred' THEN aggregate_id END) STORED REFERENCES customer;
	CREATE TABLE taken (aggregate_id text PRIMARY KEY);
	CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.taken VALUES (NEW.aggregate_id) ON CONFLICT DO NOTHING; RETURN NEW; END $$;
	CREATE TRIGGER take BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type = 'Taken') EXECUTE FUNCTION take();
	SELECT pointstore.append_event('locked', 'Opened', 5)});
$given_back = value("SELECT given_back FROM $stat");
foreach my $case (
	[ 'a locked row', q{SELECT FROM pointstore.append_event('locked', 'Kept', 1)}, submit('locked', 'Good', 1), 0 ],
	[ 'an event of a pure account', q{SELECT FROM pointstore.append_event('pure', 'Kept', 1)}, submit('pure', 'Good', 1), 0 ],
	[ 'an account being opened', q{SELECT FROM pointstore.append_event('opened', 'Kept', 1)}, submit('opened', 'Good', 1), 0 ],
	[ 'one in the other mode', q{SELECT FROM pointstore.open_account('opened-pure', 'ledger')}, submit('opened-pure', 'Good', 1), 0 ],
	[ 'a pure account being frozen', q{SELECT FROM pointstore.freeze_account('pure', 'test')}, submit('pure', 'Good', 1), 0 ],
	[ 'a request', q{SELECT FROM pointstore.append_event('elsewhere', 'Good', 1, request_id => 'under way')}, submit('free-2', 'Good', 1, q{request_id => 'under way'}), 0 ],
	[ 'a transfer', q{SELECT FROM pointstore.append_event('locked', 'Kept', 1)}, "SELECT min(outcome) FROM pointstore.submit_transfer('waits', 'locked', 1)", 0 ],
	[ 'a row that a trigger wants', q{INSERT INTO taken VALUES ('taken')}, submit('taken', 'Taken', 1), 1 ],
	[ 'a foreign key', q{SELECT FROM customer FOR UPDATE}, submit('fk-1', 'Referred', 1), 1 ])
{
	my ($what, $under_way, $call, $waits_himself) = @$case;
	my $other = $node->background_psql('postgres');
	$other->query_safe("BEGIN; $under_way");
	my $put_off = start($call);
	wait_for_callers(1) unless $waits_himself;
	wait_for('the caller waits himself', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event_type = 'Lock'}) if $waits_himself;
	my @free = map { start(submit("free-$_", 'Good', 1), statement_timeout => 30000) } 1, 1, 3, 3, 4, 5;
	is(join(' ', map { done($_) } @free), join(' ', ('appended') x 6), "$what: others go on");
	is(value("SELECT count(*) FROM pg_stat_activity WHERE $is_combiner AND wait_event_type = 'Lock'"), '0', "$what: the combiner waits for no lock");
	$other->query_safe($under_way =~ /freeze|other mode|open_account|elsewhere/ ? 'ROLLBACK' : 'COMMIT');
	is(done($put_off), 'appended', "$what: and is appended in the end");
	$other->quit;
	is(value("SELECT given_back FROM $stat") - $given_back, $waits_himself, "$what: no other is given back");
	$given_back += $waits_himself;
}
# in order of arrival, also of those who come while others are put off
$holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('ordered', 'Kept', 1)});
@ordered = ();
foreach my $n (1 .. 6)
{
	push @ordered, start("SELECT version FROM pointstore.submit_event('ordered', 'Good', $n)");
	wait_for_callers($n);
	value(submit('free', 'Good', 1));
}
$holder->query_safe('COMMIT');
is(join(' ', map { done($_) } @ordered), '8 9 10 11 12 13', 'in order of arrival');
$holder->quit;
value('ALTER TABLE pointstore.event_store DROP COLUMN customer; DROP TRIGGER take ON pointstore.event_store; DROP TABLE customer, taken');
# who is cancelled while he is put off
$holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('ordered', 'Kept', 1)});
is(done(start(submit('ordered', 'Good', 1, q{request_id => 'cancelled'}), statement_timeout => 1000)), '57014', 'cancelled while it is put off');
$holder->query_safe('COMMIT');
is(value(submit('ordered', 'Good', 1)) . value(q{SELECT count(*) FROM pointstore.event_store WHERE request_id = 'cancelled'}), 'appended0', 'is not appended later');
# a try that takes long is no reason to rest for longer
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('ordered', 'Kept', 1)});
my $other_holder = $node->background_psql('postgres');
$other_holder->query_safe(q{BEGIN; SELECT pointstore.append_event('slow', 'Kept', 1)});
close_gate('slow');
$slow = start(submit('slow', 'Slow', 1));
$slow->{gate} = 1;
wait_for_callers(1);
$put_off = start(submit('ordered', 'Good', 1), statement_timeout => 14000);
wait_for_callers(2);
$other_holder->query_safe('COMMIT');
$other_holder->quit;
wait_for('the combiner is at work', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
$holder->query_safe('COMMIT');
sleep 5;
is(done($slow), 'appended', 'a long try');
is(done($put_off), 'appended', 'and those that are put off are tried again soon');
is(value("SELECT given_back FROM $stat") - $given_back, 0, 'nor then');

#
# of those that wait for one account the first alone is given back: when it is free, the others are combined
#
$node->append_conf('postgresql.conf', 'pointstore.combine_lock_timeout = 4s');
$node->reload;
wait_for('reloaded', q{SELECT current_setting('pointstore.combine_lock_timeout') = '4s'});
$holder->query_safe(q{BEGIN; SELECT pointstore.append_event('ordered', 'Kept', 1)});
@ordered = map { start(submit('ordered', 'Good', $_)) } 1 .. 4;
wait_for_callers(4);
wait_for('one waits himself', q{SELECT count(*) >= 1 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event_type = 'Lock'});
sleep 1;
$holder->query_safe('COMMIT');
$holder->quit;
is(join(' ', map { done($_) } @ordered), join(' ', ('appended') x 4), 'all are appended');
is(value("SELECT given_back FROM $stat") - $given_back, 1, 'one was given back');
$node->append_conf('postgresql.conf', 'pointstore.combine_lock_timeout = 100ms');
$node->reload;

#
# a database whose trigger is slow has all slots but the last, which are for others; who gets none appends himself
#
value('CREATE DATABASE beside');
create_store($node, 'beside');
$slow = start_slow();
my @crowd = map { start(submit('crowd', 'Good', 1)) } 1 .. 10;
wait_for_callers(11);
is(value("SET statement_timeout = '30s'; " . submit('free', 'Good', 1)), 'appended', 'who gets no slot appends himself');
is(value("SET statement_timeout = '30s'; " . submit('free', 'Good', 1), 'beside'), 'appended', 'another database is served meanwhile');
is(value("SELECT combined_events FROM $stat", 'beside'), '1', 'by its combiner');
done($slow);
is(join(' ', map { done($_) } @crowd), join(' ', ('appended') x 10), 'and then all the others');
value('DROP DATABASE beside WITH (FORCE)');

#
# callers that are cancelled and terminated, more often than there are slots
#
foreach my $round (1 .. 2)
{
	$slow = start_slow();
	my @gone = map { start(submit('gone', 'Good', 1, "request_id => 'gone-$round-$_'"), statement_timeout => 500) } 1 .. 11;
	is(join(' ', map { done($_) } @gone), join(' ', ('57014') x 11), 'cancelled while they wait');
	done($slow);
	# a batch of them, taken with a slow one after the slow one before it
	$slow = start_slow();
	close_gate('late');
	@gone = map { start(submit('late', $_ == 1 ? 'Slow' : 'Good', 1, "request_id => 'late-$round-$_'"), statement_timeout => 8000) } 1 .. 10;
	wait_for_callers(11);
	done($slow);
	is(join(' ', map { done($_) } @gone), join(' ', ('57014') x 10), 'cancelled in a batch under way');
	open_gate('late');
	wait_for('which goes on', "SELECT count(*) = 0 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
	like(value("SET statement_timeout = '60s'; " . submit('late', $_ == 1 ? 'Slow' : 'Good', 1, "request_id => 'late-$round-$_'")), qr/^(replayed|appended)$/, 'the request tells') foreach 1, 2, 10;
	my $taken = start(submit('slow', 'Slow', 1, "request_id => 'taken-$round'"), statement_timeout => 500);
	is(done($taken), '57014', 'cancelled when it is under way');
	wait_for('which goes on', "SELECT count(*) = 0 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
	$taken = start(submit('slow', 'Slow', 1, "request_id => 'killed-$round'"));
	wait_for('one is under way', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
	value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'killed-' AND pid <> pg_backend_pid()});
	is(done($taken), '57P01', 'terminated when it is under way');
	is(value(submit('slow', 'Slow', 1, "request_id => '$_-$round'")), 'replayed', 'applied all the same: the request tells') foreach qw(taken killed);
}
is(value(q{SELECT count(*) FROM (SELECT FROM pointstore.event_store WHERE aggregate_id = 'late' GROUP BY request_id HAVING count(*) > 1) r}), '0', 'none was applied twice');
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = 'gone'}), '0', 'who was cancelled before was not appended');
@told = map { done($_) } map { start(submit('gone', 'Good', 1), statement_timeout => 60000) } 1 .. 24;
is(join(' ', @told), join(' ', ('appended') x 24), 'no slot is lost');

#
# a combiner that is terminated and cancelled
#
close_gate('slow');
my $at_work = start(submit('slow', 'Slow', 1, q{request_id => 'terminated'}));
wait_for('at work', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
my @queued = map { start(submit('queued', 'Good', 1)) } 1 .. 3;
wait_for_callers(4);
is(value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE $is_combiner"), '1', 'terminated');
open_gate('slow');
is(done($at_work), 'appended', 'its callers get their answers');
is(join(' ', map { done($_) } @queued), 'appended appended appended', 'and those in the queue');
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE request_id = 'terminated'}), '1', 'once');
$at_work = start(submit('slow', 'Slow', 1));
wait_for('at work', "SELECT count(*) = 1 FROM pg_stat_activity WHERE $is_combiner AND wait_event = 'PgSleep'");
value("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE $is_combiner");
is(done($at_work), 'appended', 'cancelled');

#
# where it may be called
#
value('CREATE SEQUENCE request_number');
is(value(submit('numbered', 'Good', 1, q{request_id => 'n' || nextval('public.request_number')})), 'appended', 'with a request_id from a sequence');
is(sqlstate($node, 'postgres', q{DO $$ BEGIN PERFORM pointstore.try_append_event('written', 'Good', 1); PERFORM pointstore.submit_event('numbered', 'Good'); END $$}), '25001', 'not after a write');
is(sqlstate($node, 'postgres', q{DO $$ BEGIN PERFORM pointstore.submit_event('stays', 'Good', 1); RAISE division_by_zero; END $$}), '22012', 'a call that fails afterwards');
is(value(q{SELECT version FROM pointstore.get_balance('stays')}), '1', 'what was submitted stays');
append_to_file("$dir/pipeline.sql", "\\startpipeline\n" . (submit('piped', 'Good', 1) . ";\n") x 3 . "\\endpipeline\n");
isnt(system("pgbench -n -M extended -t 1 -f $dir/pipeline.sql '" . $node->connstr('postgres') . "' >$dir/pipeline.log 2>&1"), 0, 'not in a pipeline');
is(value(q{SELECT version FROM pointstore.get_balance('piped')}), '1', 'but for its first statement');

#
# 32 clients in every way, 12 slots, a combiner that is terminated again and again
#
value(q{SELECT count(pointstore.append_event('m' || n, 'Opened', 1000)) FROM generate_series(0, 9) n});
value(q{SELECT pointstore.pg_stat_pointstore_reset(), setval('rolled_back', 1, false)});
my $load = pgbench(32, 8,
	hot => "\\set n :n + 1\n" . submit('hot', 'Acked', 1, q{request_id => 'hot-' || :client_id || '-' || :n}) . ";\n",
	uniform => "\\set n :n + 1\n\\set a random(1, 500)\n" . submit(q{u' || :a || '}, 'Acked', 1, q{request_id => 'uniform-' || :client_id || '-' || :n}) . ";\n",
	moved => "\\set n :n + 1\n\\set a random(0, 9)\n\\set b (:a + random(1, 9)) % 10\n" . move(q{m' || :a || '}, q{m' || :b || '}, 1, q{'moved-' || :client_id || '-' || :n, 'Acked'}) . ";\n",
	append => "\\set n :n + 1\n" . q{SELECT outcome FROM pointstore.append_event('hot', 'Acked', 1, request_id => 'append-' || :client_id || '-' || :n)} . ";\n",
	refused => q{SELECT outcome FROM pointstore.try_submit_event('hot', 'Refused', -1000000);} . "\n",
	repeated => "\\set r random(1, 300)\n" . submit(q{r' || :r || '}, 'Repeated', ':r', q{request_id => 'repeated-' || :r}) . ";\n");
my $terminated = 0;
foreach (1 .. 6)
{
	$terminated += value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE $is_combiner");
	is(sqlstate($node, 'postgres', submit('hot', $_, 1)), '22012', "poison among them: $_") foreach qw(Poison Late);
	sleep 1;
}
ok($load->{run}->finish, 'no client has met an error') or diag($load->{err});
cmp_ok($terminated, '>', 2, 'combiners were terminated');

sub acknowledged
{
	my %count;
	foreach my $log (glob "$dir/acks.*")
	{
		foreach (split /\n/, slurp_file($log))
		{
			my ($client, undef, undef, $script) = split / /;
			$count{$client}{$script}++;
		}
		unlink $log;
	}
	return %count;
}
is(sqlstate($node, 'postgres', q{SELECT pointstore.append_event('hot', 'Late', 1)}), '22012', 'one that is rolled back');
my %acks = acknowledged();
my $acked = 0;
my $refused = 0;
my $repeated = 0;
foreach my $client (values %acks)
{
	# by the names of the scripts; a transfer has two events
	$acked += $client->{$_} // 0 foreach 0, 1, 2, 2, 5;
	$refused += $client->{3} // 0;
	$repeated += $client->{4} // 0;
}
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE event_type = 'Acked'}), $acked, 'acknowledged = stored');
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE event_type = 'Repeated'}), value(q{SELECT count(DISTINCT request_id) FROM pointstore.event_store WHERE event_type = 'Repeated'}), 'each request once');
is(value(q{SELECT count(*) FROM pointstore.event_store WHERE event_type IN ('Refused', 'Poison', 'Late')}), '0', 'nothing that was refused');
is(faults($node, 'postgres'), '', 'the store is sound');
is(value(q{SELECT sum(balance) FROM pointstore.balance WHERE aggregate_id ~ '^m[0-9]$'}), '10000', 'what was moved is neither more nor less');
is(value(q{SELECT count(*) FROM (SELECT FROM pointstore.event_store WHERE request_id ~ '^moved-' GROUP BY request_id HAVING count(*) <> 2 OR sum(amount) <> 0) r}), '0', 'by pairs');
my $applied = value(q{SELECT count(*) FROM pointstore.event_store WHERE event_type = 'Repeated'});
my $rolled_back = value('SELECT last_value FROM rolled_back WHERE is_called');
is(value("SELECT appends, replays, insufficient_balance FROM $stat"), join('|', $acked + $applied + $rolled_back, $repeated - $applied, $refused),
	'the statistics say what the clients were told, and count what was rolled back');
is(value("SELECT version_conflicts + request_mismatches + balance_limit + account_frozen + account_closed + account_missing + not_allowed FROM $stat"), '0', 'and nothing else');
is(value("SELECT combined_events BETWEEN 1 AND appends + replays + insufficient_balance AND combined_batches < combined_events
	AND avg_batch = round(combined_events::numeric / combined_batches, 1) AND avg_wait > 0 FROM $stat"), 't', 'and of batches');
cmp_ok(value(q{SELECT count(DISTINCT xmin::text) < count(*) FROM pointstore.event_store WHERE request_id ~ '^hot-'}), 'eq', 't', 'they were combined');

#
# killed combiner, and a server that stops at once, under load: what was acknowledged is there
#
foreach my $end ('kill', 'immediate')
{
	my $account = "end-$end";
	$load = pgbench(16, 30, $end => "\\set n :n + 1\n" . submit($account, 'Acked', 1, "request_id => '$end-' || :client_id || '-' || :n") . ";\n");
	sleep 3;
	if ($end eq 'kill')
	{
		my $pid = value("SELECT pid FROM pg_stat_activity WHERE $is_combiner");
		kill 'KILL', $pid;
	}
	else
	{
		$node->stop('immediate');
	}
	$load->{run}->finish;
	$node->start if $end eq 'immediate';
	wait_for('the server is back', 'SELECT true');
	is(value('SELECT count(*) FROM pointstore.pg_stat_pointstore'), '0', 'its statistics begin anew');
	%acks = acknowledged();
	cmp_ok(scalar(keys %acks), '>', 0, 'there was something acknowledged');
	my ($lost, $more) = (0, 0);
	my %stored = map { split /\|/ } split /\n/, value("SELECT split_part(request_id, '-', 2), count(*) FROM pointstore.event_store WHERE request_id ~ '^$end-' GROUP BY 1");
	foreach my $client (0 .. 15)
	{
		my $told = $acks{$client}{0} // 0;
		my $is = $stored{$client} // 0;
		$lost++ if $is < $told;
		$more++ if $is > $told + 1;
	}
	is("$lost $more", '0 0', "$end: acknowledged events are there, and at most one more for each client");
	is(faults($node, 'postgres'), '', 'the store is sound');
}

#
# a second database; databases that are dropped and copied; the extension dropped
#
value('CREATE DATABASE second');
create_store($node, 'second');
is(value(submit('free', 'Good', 1)) . ' ' . value(submit('free', 'Good', 1), 'second'), 'appended appended', 'two databases');
is(value("SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE $is_combiner"), 'postgres second', 'each has its combiner');
value('CREATE DATABASE third TEMPLATE second');
is(value('SELECT version FROM pointstore.get_balance(\'free\')', 'third'), '1', 'a database with an idle combiner is copied');
is(value(submit('free', 'Good', 1), 'third'), 'appended', 'and the copy has its own');
value('DROP DATABASE third');
is(value(q{SELECT string_agg(database::text, ' ' ORDER BY database) FROM pointstore.pg_stat_pointstore}), 'postgres second', 'and is dropped, out of the statistics too');
is(value(submit('free', 'Good', 1), 'second'), 'appended', 'once more');
$load = { out => '', err => '' };
append_to_file("$dir/second.sql", submit('hot', 'Good', 1) . ";\n");
$load->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-T', 60, '-f', "$dir/second.sql", $node->connstr('second') ], '>', \$load->{out}, '2>', \$load->{err});
wait_for('busy', q{SELECT version > 100 FROM pointstore.get_balance('hot')}, 'second');
value('DROP DATABASE second WITH (FORCE)');
$load->{run}->finish;
is(value("SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE $is_combiner"), 'postgres', 'dropped while it was busy');
value('SET client_min_messages = warning; DROP EXTENSION pointstore CASCADE');
wait_for('gone with the extension', "SELECT count(*) = 0 FROM pg_stat_activity WHERE $is_combiner");
value('CREATE EXTENSION pointstore; SELECT pointstore.upgrade_store()');
is(value(submit('free', 'Good', 1)), 'appended', 'and back with it');
value('ALTER EXTENSION pointstore UPDATE; SELECT pointstore.upgrade_store()');
is(value(submit('free', 'Good', 1)), 'appended', 'an upgrade of the store does not trouble it');

# idle
$node->append_conf('postgresql.conf', 'pointstore.combine_idle_timeout = 1s');
$node->reload;
wait_for('it leaves when it is idle', "SELECT count(*) = 0 FROM pg_stat_activity WHERE $is_combiner");
is(value(submit('free', 'Good', 1)), 'appended', 'and comes back');
$node->append_conf('postgresql.conf', "pointstore.combine_idle_timeout = 1h\npointstore.combine_delay = 5000");
$node->reload;
is(value(submit('free', 'Good', 1)), 'appended', 'a delay before each batch');

# what the rows hold may be longer than any name: a refusal tells it as far as there is room
$node->safe_psql('postgres', q{SELECT pointstore.append_event('odd', 'Good', 1); SET session_replication_role = replica;
	UPDATE pointstore.balance SET kind = repeat('x', 100000) WHERE aggregate_id = 'odd'});
my ($failed, undef, $refusal) = $node->psql('postgres', q{SELECT pointstore.submit_event('odd', 'Good', 1)});
is($failed, 3, 'an account of no kind');
cmp_ok(length($refusal), '<', 1000, 'its refusal is told as far as it fits');
$node->safe_psql('postgres', q{SET session_replication_role = replica; UPDATE pointstore.balance SET kind = 'default' WHERE aggregate_id = 'odd'});
is($node->safe_psql('postgres', submit('odd', 'Good', 1)), 'appended', 'and the slots are as they were');

# a standby that must confirm; and calls on a standby
my $backup = $node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
is(sqlstate($standby, 'postgres', submit('free', 'Good', 1)), '25006', 'not on a standby');
$node->append_conf('postgresql.conf', q{synchronous_standby_names = 'nobody'});
$node->reload;
wait_for('reloaded', q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
$holder = $node->background_psql('postgres');
$holder->query_safe(q{SET synchronous_commit = local; BEGIN; SELECT pointstore.append_event('held', 'Kept', 1)});
$given_back = value("SELECT given_back FROM $stat");
$waiting = start(submit('held', 'Good', 1, q{request_id => 'limited'}));
wait_for('a repeat that is given back waits for it too', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event = 'SyncRep'});
is(value("SELECT given_back FROM $stat") - $given_back, 1, 'as it was');
$holder->query_safe('COMMIT');
$holder->quit;
my @unconfirmed = ($waiting, start(submit('held', 'Good', 1, q{request_id => 'limited'})));
wait_for('and one that is not', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event = 'SyncRep'});
$waiting = start(submit('confirmed', 'Good', 1));
wait_for('the standby that must confirm is waited for', q{SELECT count(*) = 3 FROM pg_stat_activity WHERE query ~ 'submit_event' AND wait_event = 'SyncRep'});
$node->append_conf('postgresql.conf', q{synchronous_standby_names = ''});
$node->reload;
is(join(' ', map { done($_) } @unconfirmed, $waiting), 'replayed replayed appended', 'and then told');
$node->wait_for_catchup($standby);
$standby->promote;
is($standby->safe_psql('postgres', submit('free', 'Good', 1)), 'appended', 'after promotion');
$standby->stop('fast');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->stop('fast');
pass('a fast stop is not held up');

#
# no worker to be had, no slots, no preloading: plainly, with the same answers
#
foreach my $case ([ 'no worker', 'max_worker_processes = 1' ], [ 'no slots', 'pointstore.combine_slots = 0' ], [ 'not preloaded', q{shared_preload_libraries = ''} ])
{
	my ($name, $conf) = @$case;
	my $plain = new_cluster($name =~ s/ /_/gr, conf => "max_connections = 60\n$conf");
	$plain->start;
	create_store($plain, 'postgres');
	is($plain->safe_psql('postgres', submit('a', 'Good', 1, q{request_id => 'r'})), 'appended', "$name: appended");
	is($plain->safe_psql('postgres', submit('a', 'Good', 1, q{request_id => 'r'})), 'replayed', "$name: replayed");
	is($plain->safe_psql('postgres', q{SELECT outcome FROM pointstore.try_submit_event('a', 'Spent', -2)}), 'insufficient_balance', "$name: refused");
	is($plain->safe_psql('postgres', move('t', 'u', 1, q{'t'}) =~ s/submit_/try_submit_/r), 'insufficient_balance 0 0', "$name: a transfer refused");
	is($plain->safe_psql('postgres', q{SELECT FROM pointstore.append_event('t', 'Opened', 1);} . move('t', 'u', 1, q{'t'})), "appended 2 0, appended 1 1", "$name: and made");
	is($plain->safe_psql('postgres', move('t', 'u', 1, q{'t'})), 'replayed 2 0, replayed 1 1', "$name: once");
	is($plain->safe_psql('postgres', q{SELECT (pointstore.submit_event('a', 'Good', 1)).version FROM generate_series(1, 3)}), "2\n3\n4", "$name: several in one statement");
	is(sqlstate($plain, 'postgres', 'BEGIN; ' . submit('a', 'Good', 1)), '25001', "$name: not in a transaction block");
	is(sqlstate($plain, 'postgres', q{DO $$ BEGIN PERFORM pointstore.append_event('b', 'Good'); PERFORM pointstore.submit_event('a', 'Good'); END $$}), '25001', "$name: nor after a write");
	my @many = map { start(submit('a', 'Good', 1), node => $plain) } 1 .. 20;
	is(join(' ', map { done($_) } @many), join(' ', ('appended') x 20), "$name: many at once");
	is($plain->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE $is_combiner"), '0', "$name: there is no combiner");
	is($plain->safe_psql('postgres', "SELECT appends, replays, insufficient_balance, combined_events FROM $stat"), $name eq 'not preloaded' ? '' : '28|3|2|0', "$name: statistics");
	is(sqlstate($plain, 'postgres', 'SELECT pointstore.pg_stat_pointstore_reset()'), $name eq 'not preloaded' ? '55000' : '00000', "$name: their reset");
	is(faults($plain, 'postgres'), '', "$name: the store is sound");
	$plain->stop;
}

done_testing();
