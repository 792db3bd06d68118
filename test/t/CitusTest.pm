# What the tests of a store on Citus share: a coordinator and its workers, sessions that say what became of each
# statement, and the question whether the whole store is sound, over all nodes.

package CitusTest;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use IO::Handle;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(citus_is_missing new_nodes add_node distribute ask state_of rows_of node_faults settled groups_of start_client);

my $host = '127.0.0.1';

sub citus_is_missing
{
	my ($sharedir) = run_command([ $ENV{PG_CONFIG} // 'pg_config', '--sharedir' ]);
	return !-e "$sharedir/extension/citus.control";
}

# A node of Citus, started, with an empty database; conf: more lines.
sub new_node
{
	my ($name, $conf) = @_;
	my $node = new_cluster($name, conf => <<"END" . ($conf // ''));
shared_preload_libraries = 'citus, pointstore'
listen_addresses = '$host'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_connections = 100
max_prepared_transactions = 100
max_worker_processes = 24
fsync = off
restart_after_crash = on
citus.recover_2pc_interval = '5s'
citus.node_conninfo = 'sslmode=disable'
citus.enable_statistics_collection = off
citus.background_task_queue_interval = '1s'
pointstore.databases = 'postgres'
pointstore.reconcile_interval = 0
pointstore.full_reconcile_interval = 0
pointstore.sweep_interval = 0
END
	$node->start;
	# newer minor versions decode by no library that is not named; Citus splits shards by its own
	if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}))
	{
		$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pgoutput, test_decoding, citus'");
		$node->restart;
	}
	$node->safe_psql('postgres', 'CREATE EXTENSION citus');
	return $node;
}

# A coordinator 'c' and workers 'w1' ... with a store on the coordinator, which is not distributed yet. prefix: of the
# names of clusters; conf: more lines.
sub new_nodes
{
	my ($workers, %params) = @_;
	my $prefix = $params{prefix} // '';
	my %nodes = (names => ['c'], prefix => $prefix, conf => $params{conf}, c => new_node("${prefix}c", $params{conf}));

	$nodes{c}->safe_psql('postgres', sprintf(q{SELECT citus_set_coordinator_host('%s', %d)}, $host, $nodes{c}->port));
	create_store($nodes{c}, 'postgres');
	add_node(\%nodes, "w$_") foreach 1 .. $workers;
	return \%nodes;
}

# One more worker.
sub add_node
{
	my ($nodes, $name) = @_;

	$nodes->{$name} = new_node($nodes->{prefix} . $name, $nodes->{conf});
	$nodes->{c}->safe_psql('postgres', sprintf(q{SELECT citus_add_node('%s', %d)}, $host, $nodes->{$name}->port));
	push @{ $nodes->{names} }, $name;
	return;
}

sub distribute
{
	my ($nodes, $shards) = @_;
	return $nodes->{c}->safe_psql('postgres', "SELECT pointstore.distribute_store($shards)");
}

# Group ids by the names of nodes.
sub groups_of
{
	my ($nodes) = @_;
	return map { $_ => $nodes->{$_}->safe_psql('postgres', 'SELECT groupid FROM pg_dist_local_group') } @{ $nodes->{names} };
}

# What became of the statements of a string: [SQLSTATE, rows], in a session of its own or a given one.
sub ask
{
	my ($where, $sql, %params) = @_;
	my $session = $where->isa('CitusTest::Session') ? $where : CitusTest::Session->new($where, %params);
	return $session->query($sql, $params{copy});
}

sub state_of { return ask(@_)->[0]; }

sub rows_of
{
	my ($state, $rows) = @{ ask(@_) };
	return $state eq '00000' ? $rows : $state;
}

# A client in a process of its own: work, with a file to write down in what it was told. Ends with 0 when that returns.
sub start_client
{
	my ($name, $file, $work) = @_;
	my $pid = fork // die "no fork: $!";

	return { pid => $pid, name => $name } if $pid;
	open my $told, '>', $file or die;
	$told->autoflush(1);
	$work->($told);
	close $told;
	POSIX::_exit(0);
}

# Which nodes have transactions prepared even after some time; empty when none has.
sub settled
{
	my ($nodes, $seconds) = @_;
	my $finish = time + ($seconds // 15);
	my %left;

	while (1)
	{
		%left = map { $_ => $nodes->{$_}->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') } @{ $nodes->{names} };
		last if time > $finish || !grep { $_ } values %left;
		usleep(200_000);
	}
	return join ' ', map { "$_ has $left{$_} prepared" } grep { $left{$_} } sort keys %left;
}

# Whatever is wrong with the store over all nodes, a line for each: versions 1..n, balances a chain, ids that rise with
# versions, accounts that say what their events say, each request of an account and each id once; rows that lie where
# they do not belong; what is prepared and stays so. total: what all amounts sum up to.
sub node_faults
{
	my ($nodes, $total) = @_;
	my $c = $nodes->{c};
	my @faults = settled($nodes);

	push @faults, map { $c->safe_psql('postgres', $_) } <<'END',
WITH event AS (
    SELECT aggregate_id, version, amount, balance_after, held, id, created_at,
           lag(version, 1, 0::bigint) OVER account AS version_before, lag(balance_after, 1, 0::bigint) OVER account AS balance_before,
           lag(id) OVER account AS id_before, lag(created_at) OVER account AS created_before
      FROM pointstore.event_store
    WINDOW account AS (PARTITION BY aggregate_id ORDER BY version)
), history AS (
    SELECT aggregate_id, count(*) AS events, sum(amount) AS total, sum(held) AS held,
           bool_and(version = version_before + 1) AS gapless, bool_and(balance_after = balance_before + amount) AS chained,
           bool_and(id > coalesce(id_before, 0)) AS rising, bool_and(created_at >= coalesce(created_before, created_at)) AS ordered
      FROM event GROUP BY aggregate_id
)
SELECT format('account %s: version %s and balance %s, but %s events of %s in all, gapless %s, chained %s, ids rising %s, ordered %s',
              h.aggregate_id, b.version, b.balance, h.events, h.total, h.gapless, h.chained, h.rising, h.ordered)
  FROM history h LEFT JOIN pointstore.balance b ON b.aggregate_id = h.aggregate_id
  LEFT JOIN pointstore.pure_account p ON p.aggregate_id = h.aggregate_id
 WHERE NOT (h.gapless AND h.chained AND h.rising AND h.ordered)
    OR CASE WHEN p.aggregate_id IS NULL THEN b.version IS DISTINCT FROM h.events OR b.balance IS DISTINCT FROM h.total OR b.held IS DISTINCT FROM h.held
            ELSE b.aggregate_id IS NOT NULL END
END
	  q{SELECT 'no events: ' || b.aggregate_id FROM pointstore.balance b LEFT JOIN pointstore.event_store e ON e.aggregate_id = b.aggregate_id WHERE e.aggregate_id IS NULL AND b.version <> 0},
	  q{SELECT 'both hybrid and pure: ' || b.aggregate_id FROM pointstore.balance b JOIN pointstore.pure_account p ON p.aggregate_id = b.aggregate_id},
	  q{SELECT format('held %s: %s', b.aggregate_id, b.held) FROM pointstore.balance b
		LEFT JOIN (SELECT aggregate_id, sum(amount) AS held FROM pointstore.hold WHERE status = 'open' GROUP BY aggregate_id) h ON h.aggregate_id = b.aggregate_id
		WHERE b.held <> coalesce(h.held, 0)},
	  q{SELECT format('request %s leg %s of %s: %s times', request_id, leg, aggregate_id, count(*)) FROM pointstore.event_store
		WHERE request_id IS NOT NULL GROUP BY aggregate_id, request_id, leg HAVING count(*) > 1},
	  q{SELECT format('id %s: %s times', id, count(*)) FROM pointstore.event_store GROUP BY id HAVING count(*) > 1},
	  # where rows lie
	  q{SELECT format('shard %s: %s', shardid, result)
		FROM run_command_on_shards('pointstore.event_store', $$SELECT count(*) FROM %1$s s, pg_dist_shard d
			WHERE d.shardid = regexp_replace('%1$s', '^.*_', '')::bigint AND hashtext(s.aggregate_id) NOT BETWEEN d.shardminvalue::int AND d.shardmaxvalue::int$$)
		WHERE NOT success OR result <> '0'};

	# whether the other nodes say what the coordinator says
	my $sums = 'SELECT (SELECT count(*) FROM pointstore.event_store), (SELECT sum(amount) FROM pointstore.event_store),
		(SELECT sum(balance) FROM pointstore.balance), (SELECT count(*) FROM pointstore.balance)';
	my $expected = $c->safe_psql('postgres', $sums);
	foreach my $name (@{ $nodes->{names} })
	{
		my $got = $nodes->{$name}->safe_psql('postgres', $sums);
		push @faults, "$name says $got, not $expected" if $got ne $expected;
	}
	if (defined $total)
	{
		my $sum = $c->safe_psql('postgres', 'SELECT coalesce(sum(amount), 0) FROM pointstore.event_store');
		push @faults, "sum is $sum, not $total" if $sum != $total;
	}
	return join "\n", grep { $_ ne '' } @faults;
}

# A session that speaks the protocol itself: every statement's SQLSTATE, parameters that are null, and the end of a
# connection as an answer, 08006. In query(): rows with | between columns; copy: what COPY FROM stdin reads.
package CitusTest::Session;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::INET;

sub new
{
	my ($class, $node, %params) = @_;
	my $self = bless { port => ref $node ? $node->port : $node, user => $params{user} // getpwuid($>), buffer => '', options => $params{options} // '' }, $class;

	$self->{socket} = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 10) or return $self;
	my $startup = pack 'N', 196608;
	$startup .= "$_\0" foreach 'user', $self->{user}, 'database', 'postgres', 'application_name', 'session', 'options', $self->{options};
	$startup .= "\0";
	$self->{greeting} = [ '00000', '' ];
	$self->{greeting} = $self->exchange(pack('N', 4 + length $startup) . $startup);
	return $self;
}

sub put
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes)
	{
		my $n = $self->{socket}->syswrite($bytes) // die "connection lost\n";
		substr($bytes, 0, $n) = '';
	}
	return;
}

sub message
{
	my ($type, $body) = @_;
	return $type . pack('N', 4 + length $body) . $body;
}

# The next n bytes.
sub take
{
	my ($self, $n) = @_;
	while (length $self->{buffer} < $n)
	{
		my $finish = time + $PostgreSQL::Test::Utils::timeout_default;
		# a signal ends the wait early
		until (IO::Select->new($self->{socket})->can_read(1)) { die "no answer\n" if time > $finish; }
		$self->{socket}->sysread($self->{buffer}, 65536, length $self->{buffer}) or die "connection lost\n";
	}
	return substr $self->{buffer}, 0, $n, '';
}

# All up to ReadyForQuery; the first error is the answer.
sub answer
{
	my ($self, $copy) = @_;
	my ($state, @rows) = ('00000');

	$self->{error} = $self->{detail} = '';
	while (1)
	{
		my ($type, $length) = unpack 'aN', $self->take(5);
		my $body = $self->take($length - 4);
		if ($type eq 'Z')
		{
			$self->{in_transaction} = $body;
			return [ $state, join "\n", @rows ];
		}
		elsif ($type eq 'R') { die "a password is asked for\n" if unpack('N', $body) != 0; }
		elsif ($type eq 'C') { ($self->{tag} = $body) =~ s/\0//; }
		elsif ($type eq 'G')
		{
			$self->put(message('d', $copy)) if defined $copy;
			$self->put(message('c', ''));
		}
		elsif ($type eq 'E')
		{
			my %field = map { substr($_, 0, 1) => substr $_, 1 } grep { $_ ne '' } split /\0/, $body;
			($state, $self->{error}, $self->{detail}) = ($field{C}, $field{M}, $field{D} // '') if $state eq '00000';
			# no ReadyForQuery comes after this
			die "$field{C} $field{M}\n" if $field{V} ne 'ERROR';
		}
		elsif ($type eq 'D')
		{
			my ($columns, $at, @values) = (unpack('n', $body), 2);
			foreach (1 .. $columns)
			{
				my $size = unpack 'l>', substr $body, $at, 4;
				push @values, $size < 0 ? '' : substr $body, $at + 4, $size;
				$at += 4 + ($size < 0 ? 0 : $size);
			}
			push @rows, join '|', @values;
		}
	}
}

sub exchange
{
	my ($self, $bytes, $copy) = @_;

	return [ '08006', '' ] if $self->lost;
	my $answer = eval { $self->put($bytes); $self->answer($copy) };
	return $answer if $answer;
	$self->{lost} = 1;
	$self->{error} = $@;
	$self->{socket}->close;
	return [ $@ =~ /^(\w{5}) / ? $1 : $@ eq "no answer\n" ? 'no answer' : '08006', '' ];
}

sub query
{
	my ($self, $sql, $copy) = @_;
	return $self->exchange(message('Q', "$sql\0"), $copy);
}

# One statement by the extended protocol, with text parameters $1, …, of which undef is null; executed so many times.
sub extended
{
	my ($self, $sql, $values, $times) = @_;
	my @values = map { defined $_ ? pack('N', length $_) . $_ : pack 'l>', -1 } @$values;
	my $execute = message('B', "\0\0" . pack('nn', 0, scalar @values) . join('', @values) . pack('n', 0)) . message('E', "\0" . pack 'N', 0);

	return $self->exchange(message('P', "\0$sql\0" . pack('n', 0)) . $execute x ($times // 1) . message('S', ''));
}

sub lost
{
	my ($self) = @_;
	return !$self->{socket} || $self->{lost} || $self->{greeting}[0] ne '00000';
}

1;
