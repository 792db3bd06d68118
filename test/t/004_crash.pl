# Immediate stop under load. After each restart every acknowledged append is
# there exactly once and every balance equals its events; a client that sends
# everything again gets each of its requests applied once.
#
# Each account is given each power of two below 2^50 once, by clients that write
# in every way there is. So a wrong balance tells which event it lacks or has
# twice, and in the end all balances are 2^50 - 1.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $bits = 50;
my $nclients = 8;
my @accounts = ((map { "h$_" } 0 .. 299), (map { "p$_" } 0 .. 99));

my $node = new_cluster('main', conf => "synchronous_commit = on\ncheckpoint_timeout = 30s\nmax_wal_size = 64MB\nautovacuum = on");
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
INSERT INTO pointstore.account_kind (kind, mode) VALUES ('ledger', 'pure');
SELECT pointstore.open_account('h' || n) FROM generate_series(0, 299) n;
SELECT pointstore.open_account('p' || n, 'ledger') FROM generate_series(0, 99) n;
END

# What each client has to bring, in order: request id => [account, amount].
my @work = map { [] } 1 .. $nclients;
foreach my $bit (0 .. $bits - 1)
{
	push @{ $work[ ($_ + $bit) % $nclients ] },
	  { request => "$accounts[$_]-$bit", account => $accounts[$_], bit => $bit, amount => 1 << $bit }
	  foreach 0 .. $#accounts;
}

# A client's script: it prints the request ids of what has been answered.
sub script
{
	my ($client, $again) = @_;
	my @todo = @{ $work[$client] };
	my $sql = "\\set ON_ERROR_STOP on\n\\set QUIET on\n\\pset format unaligned\n\\pset tuples_only on\n";

	return $sql . join('', map { plain($_) } @todo) if $client < 4 || $again;
	if ($client == 4)
	{
		# two events a call, each with a request of its own
		while (my @pair = splice @todo, 0, 2)
		{
			my $elements = join ', ', map {
				qq({"aggregate_id": "$_->{account}", "event_type": "Earned", "amount": "$_->{amount}", "request_id": "$_->{request}"})
			} @pair;
			my $ack = join '\n', map { $_->{request} } @pair;
			$sql .= "SELECT E'$ack' WHERE (SELECT count(*) FROM pointstore.append_events('[$elements]')) = " . @pair . ";\n";
		}
		return $sql;
	}
	return $sql . join '', map { $_->{account} =~ /^p/ ? plain($_) : $client == 5 ? insert($_) : $client == 6 ? copy($_) : textbook($_) } @todo;
}

sub plain
{
	my ($event) = @_;
	return "SELECT '$event->{request}' FROM pointstore.append_event('$event->{account}', 'Earned', $event->{amount}, "
	  . "request_id => '$event->{request}');\n";
}

sub insert
{
	my ($event) = @_;
	return "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id) "
	  . "VALUES ('$event->{account}', 'Earned', $event->{amount}, '$event->{request}') RETURNING request_id;\n";
}

sub copy
{
	my ($event) = @_;
	return "COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM stdin;\n"
	  . "$event->{account}\tEarned\t$event->{amount}\t$event->{request}\n\\.\n\\echo $event->{request}\n";
}

sub textbook
{
	my ($event) = @_;
	return "BEGIN;\nUPDATE pointstore.balance SET balance = balance + $event->{amount}, version = version + 1 "
	  . "WHERE aggregate_id = '$event->{account}';\n"
	  . "INSERT INTO pointstore.event_store (aggregate_id, event_type, request_id) "
	  . "VALUES ('$event->{account}', 'Earned', '$event->{request}');\nCOMMIT;\n\\echo $event->{request}\n";
}

my %acknowledged;
my $dir = PostgreSQL::Test::Utils::tempdir;

# Lets all clients run until the store has so many events, and stops the server.
# Without a number they run to their end.
sub run_clients
{
	my ($round, $enough) = @_;
	my @clients;
	foreach my $client (0 .. $nclients - 1)
	{
		my $file = "$dir/$round-$client";
		append_to_file("$file.sql", script($client, $round > 1));
		push @clients,
		  { file => $file, run => IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-f', "$file.sql" ],
				'<', \undef, '>', "$file.out", '2>', "$file.err") };
	}
	if ($enough)
	{
		$node->poll_query_until('postgres', "SELECT count(*) >= $enough FROM pointstore.event_store")
		  or die 'the clients do not get on';
		$node->stop('immediate');
	}
	$_->{run}->finish foreach @clients;
	foreach my $client (@clients)
	{
		unlike(slurp_file("$client->{file}.err"), qr/ERROR/, "round $round: no client has had an error but the stop");
		$acknowledged{$_} = 1 foreach split /\n/, slurp_file("$client->{file}.out");
	}
	return;
}

# After a restart: everything acknowledged is there, once, in the events and in the balance.
sub check_store
{
	my ($round) = @_;
	my (%balance, %stored, @wrong);

	is(faults($node, 'postgres'), '', "round $round: the store is sound");
	%balance = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT aggregate_id, balance FROM pointstore.account');
	$stored{$_}++ foreach split /\n/, $node->safe_psql('postgres', 'SELECT request_id FROM pointstore.event_store');
	foreach my $event (map { @$_ } @work)
	{
		my $has = $balance{ $event->{account} } >> $event->{bit} & 1;
		my $known = $stored{ $event->{request} } // 0;
		push @wrong, "$event->{request} stands $known times, the balance says $has"
		  if $known > 1 || $has != $known || $acknowledged{ $event->{request} } && !$known;
	}
	is(join("\n", @wrong), '', "round $round: every acknowledged append is there once");
	my $beyond = keys(%stored) - keys(%acknowledged);
	note(sprintf('round %d: %d acknowledged, %d stored, of %d', $round, scalar keys %acknowledged, scalar keys %stored, $bits * @accounts));
	cmp_ok($beyond, '<=', 2 * $nclients, "round $round: at most the calls under way were not acknowledged");
	cmp_ok($beyond, '>=', 0, "round $round: nothing was acknowledged that is not there");
	return;
}

run_clients(1, 4000);
cmp_ok(scalar keys %acknowledged, '<', $bits * @accounts, 'the clients were interrupted');
$node->start;
check_store(1);

# everything again, and stopped again
run_clients(2, 9000);
$node->start;
check_store(2);

# everything again, to the end
run_clients(3);
check_store(3);
is($node->safe_psql('postgres', 'SELECT DISTINCT balance FROM pointstore.account'), (1 << $bits) - 1, 'each amount has counted once');
is($node->safe_psql('postgres', 'SELECT DISTINCT version FROM pointstore.account'), $bits, 'by one event each');

$node->stop;
done_testing();
