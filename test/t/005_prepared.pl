# Prepared transactions: whatever appends can be prepared, and is committed or
# rolled back later, from another session or after a restart; a balance without
# its event cannot.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main');
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
END

# What can be prepared; each on accounts of its own, named by %s.
my %writes = (
	append => q{SELECT pointstore.append_event('%s', 'Earned', 1, request_id => '%s')},
	new => q{SELECT pointstore.append_event('new %s', 'Earned', 1)},
	pure => q{SELECT pointstore.append_event('pure %s', 'Earned', 1, request_id => '%s')},
	newpure => q{SELECT pointstore.append_event('new %s', 'Earned', 1, kind => 'ledger')},
	try => q{SELECT pointstore.try_append_event('%s', 'Spent', -900); SELECT pointstore.try_append_event('%s', 'Spent', -100)},
	batch => q{SELECT pointstore.append_events('[{"aggregate_id": "%s", "event_type": "Sent", "amount": -5},
		{"aggregate_id": "pure %s", "event_type": "Received", "amount": 5}, {"aggregate_id": "new %s", "event_type": "X"}]', '%s')},
	insert => q{INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('%s', 'Earned', 1), ('%s', 'Earned', 2)},
	textbook => q{UPDATE pointstore.balance SET balance = balance - 4, version = version + 1 WHERE aggregate_id = '%s';
		INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('%s', 'Spent')},
	row => q{INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('new %s', 1, 7);
		INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('new %s', 'Earned')},
	savepoint => q{SAVEPOINT s; SELECT pointstore.append_event('%s', 'Earned', 1); ROLLBACK TO s;
		UPDATE pointstore.balance SET balance = 0, version = version + 1 WHERE aggregate_id = '%s'; ROLLBACK TO s;
		SELECT pointstore.append_event('%s', 'Earned', 2)},
	status => q{SELECT pointstore.freeze_account('%s', 'x'), pointstore.open_account('new %s')},
	rebuild => q{SELECT pointstore.rebuild_balance('%s')});

sub write_of
{
	my ($what, $name) = @_;
	return $writes{$what} =~ s/%s/$name/gr;
}

foreach my $what (sort keys %writes)
{
	$node->safe_psql('postgres', "SELECT pointstore.append_event('$what $_', 'Opened', 100),
		pointstore.append_event('pure $what $_', 'Opened', 100, kind => 'ledger')")
	  foreach qw(committed aborted recovered dropped);
	foreach my $end (qw(committed aborted recovered dropped))
	{
		my $write = write_of($what, "$what $end");
		is(sqlstate($node, 'postgres', "BEGIN; $write; PREPARE TRANSACTION '$what $end'"), '00000', "$what is prepared ($end)");
	}
}

is(faults($node, 'postgres'), '', 'sound while they are prepared');
$node->safe_psql('postgres', "COMMIT PREPARED '$_ committed'") foreach sort keys %writes;
$node->safe_psql('postgres', "ROLLBACK PREPARED '$_ aborted'") foreach sort keys %writes;
is(faults($node, 'postgres'), '', 'sound when half of them are decided');

# an immediate stop, then the rest
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 2 * keys %writes, 'the rest has survived the restart');
$node->safe_psql('postgres', "COMMIT PREPARED '$_ recovered'") foreach sort keys %writes;
$node->safe_psql('postgres', "ROLLBACK PREPARED '$_ dropped'") foreach sort keys %writes;
is(faults($node, 'postgres'), '', 'sound afterwards');

my %events;
foreach (split /\n/, $node->safe_psql('postgres', 'SELECT aggregate_id, version, amount FROM pointstore.event_store ORDER BY 1, 2'))
{
	my ($id, $rest) = split /\|/, $_, 2;
	$events{$id} .= "$rest ";
}
my %expected = (
	append => { '' => '2|1 ' },
	new => { 'new ' => '1|1 ' },
	pure => { 'pure ' => '2|1 ' },
	newpure => { 'new ' => '1|1 ' },
	try => { '' => '2|-100 ' },
	batch => { '' => '2|-5 ', 'pure ' => '2|5 ', 'new ' => '1|0 ' },
	insert => { '' => '2|1 3|2 ' },
	textbook => { '' => '2|-4 ' },
	row => { 'new ' => '1|7 ' },
	savepoint => { '' => '2|2 ' },
	status => {},
	rebuild => {});
foreach my $what (sort keys %writes)
{
	foreach my $end (qw(committed aborted recovered dropped))
	{
		my $applied = $end =~ /committed|recovered/;
		foreach my $prefix ('', 'pure ', 'new ')
		{
			my $opening = $prefix eq 'new ' ? '' : '1|100 ';
			is($events{"$prefix$what $end"} // '', $opening . ($applied ? $expected{$what}{$prefix} // '' : ''),
				"$prefix$what, $end: its events");
		}
	}
}
is($node->safe_psql('postgres', q{SELECT aggregate_id, status FROM pointstore.account WHERE status = 'frozen' OR aggregate_id LIKE 'new status%' ORDER BY 1}),
	"new status committed|open\nnew status recovered|open\nstatus committed|frozen\nstatus recovered|frozen", 'status, and who was opened');
is($node->safe_psql('postgres', q{SELECT outcome, version FROM pointstore.append_event('append recovered', 'Earned', 1, request_id => 'append recovered')}),
	'replayed|2', 'a committed request is remembered');
is($node->safe_psql('postgres', q{SELECT outcome, version FROM pointstore.append_event('append dropped', 'Earned', 1, request_id => 'append dropped')}),
	'appended|2', 'a dropped one is not');

# what has no event is not prepared
foreach my $write (
	q{UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'append aborted'},
	q{INSERT INTO pointstore.balance (aggregate_id, version, balance) VALUES ('alone', 1, 7)},
	q{SAVEPOINT s; UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'append aborted'; RELEASE s},
	q{UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'append aborted';
	  SAVEPOINT s; INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('append aborted', 'Spent'); ROLLBACK TO s})
{
	is(sqlstate($node, 'postgres', "BEGIN; $write; PREPARE TRANSACTION 'alone'"), 'PS010', "not prepared: $write");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'none of them');
is(faults($node, 'postgres'), '', 'and nothing has moved');

# two of the same request, one of them prepared: the second waits
foreach my $account ('append aborted', 'pure append aborted', 'fresh', 'pure fresh')
{
	my $kind = $account eq 'pure fresh' ? q{, kind => 'ledger'} : '';
	foreach my $end ('ROLLBACK', 'COMMIT')
	{
		my $call = "SELECT outcome FROM pointstore.append_event('$account', 'Earned', 3, request_id => '$end $account'$kind)";
		$node->safe_psql('postgres', "BEGIN; $call; PREPARE TRANSACTION 'twin'");
		is(sqlstate($node, 'postgres', "SET lock_timeout = '200ms'; $call"), '55P03', "the twin on $account waits");
		my $second = $node->background_psql('postgres');
		$second->query_until(qr/sent/, "\\echo sent\n$call;\n\\echo done\n");
		$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'}) or die 'the twin does not wait';
		$node->safe_psql('postgres', "$end PREPARED 'twin'");
		my $answer = $second->query_until(qr/done/, '');
		like($answer, $end eq 'COMMIT' ? qr/replayed/ : qr/appended/, "and is answered after $end on $account");
		$second->quit;
	}
}
is(faults($node, 'postgres'), '', 'sound in the end');

$node->stop;
done_testing();
