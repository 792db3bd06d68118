# What the tests of movements share: several clusters with a store each, which know one another as foreign servers; a
# proxy between two of them; and the question whether all of them together are sound.

package MovementTest;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use IO::Select;
use IO::Socket::UNIX;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(new_stores acquaint movement insistent start_client total sound movement_faults all_faults
  inject is_killed hold_point is_waiting start_proxy proxy stop_proxy);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;

sub store_conf
{
	my ($more) = @_;
	return <<'END' . ($more // '') . "\ninclude_if_exists = 'injection.conf'\n";
restart_after_crash = on
max_worker_processes = 16
pointstore.databases = 'postgres'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 0
END
}

# Clusters by their names, started, each with a store in the database postgres, with accounts NAME-1 .. NAME-n of
# 1000 each, NAME-poor with nothing and NAME-frozen; each knows all others as foreign servers of their names. conf: more lines.
sub new_stores
{
	my ($names, %params) = @_;
	my %net;

	foreach my $name (@$names)
	{
		$net{$name} = new_cluster($name, allows_streaming => 1, conf => store_conf($params{conf}));
		$net{$name}->start;
		create_store($net{$name}, 'postgres');
		accounts($net{$name}, $name, $params{accounts} // 5);
	}
	foreach my $name (@$names)
	{
		introduce(\%net, $name, $_) foreach grep { $_ ne $name } @$names;
	}
	return \%net;
}

# A store's coordinator may come to another.
sub introduce
{
	my ($net, $name, $other, %params) = @_;
	my $host = $params{host} // $net->{$other}->host;
	my $port = $params{port} // $net->{$other}->port;

	$net->{$other}->safe_psql('postgres', "CREATE ROLE of_$name LOGIN; SELECT pointstore.grant_access('of_$name', 'participant')");
	$net->{$name}->safe_psql('postgres', "CREATE SERVER $other FOREIGN DATA WRAPPER pointstore OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $other OPTIONS (user 'of_$name')");
	return;
}

# The same store is somewhere else now.
sub acquaint
{
	my ($net, $name, $other, $host, $port) = @_;
	$net->{$name}->safe_psql('postgres', "ALTER SERVER $other OPTIONS (SET host '$host', SET port '$port')");
	return;
}

sub accounts
{
	my ($node, $name, $n) = @_;
	$node->safe_psql('postgres', "SELECT count(pointstore.append_event('$name-' || i, 'Earned', 1000)) FROM generate_series(1, $n) i;
		SELECT pointstore.open_account('$name-poor'), pointstore.open_account('$name-frozen'); SELECT pointstore.freeze_account('$name-frozen', 'test')");
	return;
}

# A statement's answers, by the stores' names.
sub each_of
{
	my ($net, $sql) = @_;
	return map { $_ => $net->{$_}->safe_psql('postgres', $sql) } sort keys %$net;
}

# The call that starts one: steps as [account, amount, server, more keys of the step's as JSON, by their names].
sub movement
{
	my ($id, $protocol, $deadline, @steps) = @_;
	my @elements = map {
		my ($account, $amount, $server, $more) = @$_;
		my %step = (aggregate_id => qq{"$account"}, amount => $amount, event_type => '"Moved"', %{ $more // {} });
		$step{server} = qq{"$server"} if defined $server;
		'{' . join(', ', map { qq{"$_": $step{$_}} } sort keys %step) . '}';
	} @steps;

	return sprintf q{pointstore.start_movement('%s', '[%s]', '%s', '%s')}, $id, join(', ', @elements), $protocol, $deadline;
}

# As a client that does not give up: a script that may be repeated, until its session has not been lost. A psql that found
# no server reads nothing, and what is written to it dies.
sub insistent
{
	my ($node, $sql) = @_;
	my $finish = time + $timeout;

	while (time < $finish)
	{
		my ($rc, $out, $err) = eval { $node->psql('postgres', $sql, on_error_stop => 0) };
		return $out if defined $rc && $rc == 0 && $err !~ /server closed the connection|terminating connection|FATAL/;
		usleep(50_000);
	}
	die "not in time: $sql";
}

# A script in a session beside, to be finished. It goes on by itself.
sub start_client
{
	my ($node, $sql) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir . '/script.sql';
	my ($out, $err) = ('', '');

	append_to_file($file, $sql);
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($timeout));
}

# All that there is.
sub total
{
	my ($net) = @_;
	my %sum = each_of($net, 'SELECT coalesce(sum(balance), 0) FROM pointstore.balance');
	my $total = 0;
	$total += $_ foreach values %sum;
	return $total;
}

# Until every movement has finished, or is stuck.
sub settle
{
	my ($net) = @_;
	my $open = q{SELECT string_agg(movement_id || ' ' || phase, ', ' ORDER BY number) FROM pointstore.movement WHERE finished_at IS NULL AND phase <> 'stuck'};

	foreach my $name (sort keys %$net)
	{
		next if poll_until($net->{$name}, 'postgres', "SELECT ($open) IS NULL");
		diag("$name: " . $net->{$name}->safe_psql('postgres', "$open;
			SELECT s.* FROM pointstore.movement m JOIN pointstore.movement_step s USING (movement_id) WHERE m.finished_at IS NULL ORDER BY m.number, s.step LIMIT 20;
			SELECT * FROM pointstore.movement_server"));
		return 0;
	}
	return 1;
}

# What is wrong with movements when all have ended, a line for each: something is reserved, prepared or open still, or the
# events of a movement are not what its phase says, by the events alone. stuck: those that may be, which are left out.
sub movement_faults
{
	my ($net, %params) = @_;
	my %is_stuck = map { $_ => 1 } @{ $params{stuck} // [] };
	my (@faults, %should, %has);
	my %found = each_of($net, <<'END');
SELECT '- unfinished: ' || movement_id || ' ' || phase FROM pointstore.movement WHERE finished_at IS NULL
UNION ALL SELECT '- no reason: ' || movement_id || ' ' || phase FROM pointstore.movement
 WHERE phase = 'stuck' AND coalesce(error, '') = '' OR phase IN ('cancelled', 'undone') AND coalesce(reason, error, '') = ''
UNION ALL SELECT format('- open: %s %s %s', movement_id, step, status) FROM pointstore.participant_step WHERE status IN ('tried', 'done')
UNION ALL SELECT format('- reserved: %s %s %s', aggregate_id, held, incoming) FROM pointstore.balance WHERE held <> 0 OR incoming <> 0
UNION ALL SELECT '- prepared: ' || gid FROM pg_prepared_xacts
UNION ALL SELECT format('=%s=%s=%s=%s=%s', movement_id, phase, s.server, s.aggregate_id, sum(s.amount))
  FROM pointstore.movement JOIN pointstore.movement_step s USING (movement_id) GROUP BY movement_id, s.server, s.aggregate_id
UNION ALL SELECT format('+%s=%s=%s', coalesce(e.metadata ->> 'movement_id', c.metadata ->> 'movement_id'), e.aggregate_id, sum(e.amount))
  FROM pointstore.event_store e LEFT JOIN pointstore.event_store c ON c.id = e.cause_id
 WHERE coalesce(e.metadata ->> 'movement_id', c.metadata ->> 'movement_id') IS NOT NULL
 GROUP BY coalesce(e.metadata ->> 'movement_id', c.metadata ->> 'movement_id'), e.aggregate_id
END
	foreach my $name (sort keys %found)
	{
		foreach my $line (split /\n/, $found{$name})
		{
			if ($line =~ /^- /)
			{
				push @faults, "$name $line" unless grep { $is_stuck{$_} } split / /, $line;
				next;
			}
			if ($line =~ s/^\+//)
			{
				my ($id, $account, $amount) = split /=/, $line;
				$has{"$id $name $account"} = $amount;
				next;
			}
			my (undef, $id, $phase, $server, $account, $amount) = split /=/, $line;
			my $ended = $phase =~ /^(?:confirmed|done)$/ ? $amount : $phase =~ /^(?:cancelled|undone)$/ ? 0 : undef;
			$should{ join ' ', $id, $server eq '' ? $name : $server, $account } = $ended if defined $ended;
		}
	}
	foreach my $key (sort keys %{ { %should, %has } })
	{
		my ($id) = split / /, $key;
		next if $is_stuck{$id} || ($has{$key} // 0) == ($should{$key} // 0);
		push @faults, sprintf 'moved: %s is %s, not %s', $key, $has{$key} // 'nothing', $should{$key} // 'nothing';
	}
	return join "\n", @faults;
}

# All has ended, nothing is left behind, and there is as much as before. Params as for movement_faults().
sub sound
{
	my ($net, $total, $name, %params) = @_;
	my $has_ended = ok(settle($net), "$name: all has ended");
	my $is_whole = is(movement_faults($net, %params), '', "$name: all is whole");
	my $is_there = is(total($net), $total, "$name: as much as before");
	return $has_ended && $is_whole && $is_there;
}

# And with the stores themselves: by the test's own reckoning, and by a full reconciliation.
sub all_faults
{
	my ($net, %params) = @_;
	my @faults = (movement_faults($net, %params));

	foreach my $name (sort keys %$net)
	{
		my $node = $net->{$name};
		$node->safe_psql('postgres', q{CALL pointstore.reconcile('full')});
		push @faults, map { $_ eq '' ? () : "$name: $_" } faults($node, 'postgres'),
		  $node->safe_psql('postgres', q{SELECT f.code, f.severity, f.aggregate_id, f.expected, f.found, f.detail FROM pointstore.finding f WHERE resolved_at IS NULL}),
		  $node->safe_psql('postgres', q{SELECT 'the run is ' || status FROM pointstore.reconciliation_run WHERE scope = 'full' AND status <> 'clean' AND id = (SELECT max(id) FROM pointstore.reconciliation_run WHERE scope = 'full')});
	}
	return join "\n", grep { $_ ne '' } @faults;
}

# What happens at points of all processes of a server from now on; '': nothing. The server may be down.
sub inject
{
	my ($node, $injection) = @_;
	my $file = $node->data_dir . '/injection.conf';

	unlink $file;
	append_to_file($file, $injection ne '' ? "pointstore.injection = '$injection'\n" : "# nothing\n");
	# it may be on its way down or up
	kill 'HUP', $node->{_pid} if defined $node->{_pid};
	return;
}

# Whether a process has killed itself since the log had that length.
sub is_killed
{
	my ($node, $from) = @_;
	return slurp_file($node->logfile, $from) =~ /kills itself at/;
}

# Another session's lock, for which processes wait at a point, until it quits.
sub hold_point
{
	my ($node, $point) = @_;
	my $holder = $node->background_psql('postgres');
	$holder->query_safe("SELECT pg_advisory_lock(hashtext('pointstore'), hashtext('$point'))");
	return $holder;
}

# Whether, in time, a process of a server waits for such a lock.
sub is_waiting
{
	my ($node) = @_;
	return poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
}

# A proxy before a server, on a socket of its own: {host}, {port}. What it does with connections that have been made
# is said by proxy():
#   pass          everything goes through
#   delay MS      answers come that much later
#   lose PERCENT  an answer, and its connection, is lost
#   tear PERCENT  a message is cut in two, only its first half arrives, and the connection is lost
#   cut           no connections
#   hang          nothing is carried either way, nothing is closed
# The answer is how many were lost and torn until now.
sub start_proxy
{
	my ($node) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir_short;
	my ($ours, $theirs) = IO::Socket->socketpair(AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
	my $listener = IO::Socket::UNIX->new(Local => "$folder/.s.PGSQL.5432", Listen => 50) or die "$folder: $!";
	my $pid = fork // die $!;

	if ($pid == 0)
	{
		close $ours;
		eval { carry($listener, $theirs, $node->host . '/.s.PGSQL.' . $node->port) };
		print STDERR "proxy: $@" if $@;
		# without what a test does at its end
		POSIX::_exit(0);
	}
	close $theirs;
	close $listener;
	return { pid => $pid, control => $ours, host => $folder, port => 5432 };
}

sub proxy
{
	my ($proxy, $mode) = @_;
	$proxy->{control}->syswrite("$mode\n");
	my $answer = readline $proxy->{control};
	return defined $answer ? int $answer : die 'the proxy has ended';
}

sub stop_proxy
{
	my ($proxy) = @_;
	close $proxy->{control};
	waitpid $proxy->{pid}, 0;
	return;
}

# The proxy's process, until its control is closed. A connection is two ends, which know each other; what is late waits
# in @later.
sub carry
{
	my ($listener, $control, $path) = @_;
	my ($mode, $value, $lost, %end, @later) = ('pass', 0, 0);
	local $SIG{PIPE} = 'IGNORE';

	my $drop = sub {
		my ($it) = @_;
		delete $end{$_}, close $_ foreach $it->{socket}, $it->{other};
	};
	while (1)
	{
		my $select = IO::Select->new($control, $listener, $mode eq 'hang' ? () : map { $_->{socket} } values %end);
		foreach my $ready ($select->can_read(@later ? 0.005 : 1))
		{
			if ($ready == $control)
			{
				defined(my $line = readline $control) or return;
				($mode, $value) = $line =~ /(\w+) ?(\d*)/;
				$value = 100 if $value eq '';
				$control->syswrite("$lost\n");
				if ($mode eq 'cut')
				{
					$drop->($_) foreach grep { $_->{is_client} } values %end;
				}
			}
			elsif ($ready == $listener)
			{
				my $client = $listener->accept or next;
				my $server = $mode eq 'cut' ? undef : IO::Socket::UNIX->new(Peer => $path);
				if (!$server)
				{
					close $client;
					next;
				}
				$end{$client} = { socket => $client, other => $server, is_client => 1 };
				$end{$server} = { socket => $server, other => $client };
			}
			elsif (my $it = $end{$ready})
			{
				my $n = sysread $ready, my $data, 65536;
				my $is_made = ($it->{is_client} ? $end{ $it->{other} } : $it)->{is_made};
				# ReadyForQuery, for the first time
				$it->{is_made} = 1 if !$it->{is_client} && $n && $data =~ /Z\x00\x00\x00\x05/;
				if (!$n)
				{
					$drop->($it);
				}
				elsif ($is_made && rand(100) < $value && ($mode eq 'tear' || $mode eq 'lose' && !$it->{is_client}))
				{
					$lost++;
					syswrite $it->{other}, substr $data, 0, length($data) / 2 if $mode eq 'tear';
					$drop->($it);
				}
				elsif ($mode eq 'delay' && !$it->{is_client})
				{
					push @later, [ time + $value / 1000, $it->{other}, $data ];
				}
				else
				{
					syswrite $it->{other}, $data;
				}
			}
		}
		while (@later && $later[0][0] <= time)
		{
			my (undef, $socket, $data) = @{ shift @later };
			syswrite $socket, $data if $end{$socket};
		}
	}
	return;
}

1;
