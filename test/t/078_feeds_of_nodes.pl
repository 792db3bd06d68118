# The feeds of a store on Citus: each shard has one, which its node gives positions to, whatever is moved, split or killed;
# which any node reads, and a check proves.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'Citus is not installed' if citus_is_missing();

my $nodes = new_nodes(2);
my ($c, $w1, $w2) = map { $nodes->{$_} } @{ $nodes->{names} };
my @all = ($c, $w1, $w2);
my %session = map { $_->name => CitusTest::Session->new($_, options => '-c client_min_messages=error') } @all;
my $behind = 'SET client_min_messages = error; SET citus.override_table_visibility = off; SET session_replication_role = replica; SET citus.enable_manual_changes_to_shards = on;';

sub state_on { my ($node, $sql) = @_; return state_of($session{ $node->name }, $sql); }
sub rows_on { my ($node, $sql) = @_; return rows_of($session{ $node->name }, $sql); }

#
# A store that has events and a feed is distributed
#

$c->safe_psql('postgres', q{SELECT pointstore.append_event('old' || i % 30, 'Earned', i) FROM generate_series(1, 300) i});
$c->safe_psql('postgres', 'SELECT pointstore.sequence_feed()');
is($c->safe_psql('postgres', 'SELECT pointstore.feed_head()'), 300, 'the feed of a plain store');
is(state_on($c, 'SELECT pointstore.feed_head(1)'), '22023', '... which has no shards');
is(state_on($c, 'SELECT pointstore.read_feed(shard => 1)'), '22023', '... none to read');
is(state_on($c, 'SELECT pointstore.feed_head(NULL)'), '00000', '... and none is all there is');
distribute($nodes, 8);
$_->safe_psql('postgres', 'SELECT pointstore.wake_workers()') foreach @all;
ok(poll_until($_, 'postgres', 'SELECT pointstore.sequencer_alive()'), 'a sequencer is alive: ' . $_->name) foreach @all;

sub shards { return split /\n/, rows_on($c, 'SELECT shard FROM pointstore.shard_map ORDER BY min_hash'); }
sub node_with
{
	my ($shard) = @_;
	my $port = rows_on($c, "SELECT port FROM pointstore.shard_map WHERE shard = $shard");
	return (grep { $_->port == $port } @all)[0];
}
sub others_than { my ($node) = @_; return grep { $_ != $node } @all; }

# Whether all that is there has a position, once; waits for it.
sub all_has_come
{
	my ($what) = @_;
	ok(poll_until($c, 'postgres', 'SELECT sum(head) = (SELECT count(*) FROM pointstore.event_store) AND sum(unsequenced) = 0 FROM pointstore.feed_status'), "$what: all has a position");
	my (%seen, @wrong);
	foreach my $shard (shards())
	{
		my ($next, %version) = (1);
		foreach (split /\n/, rows_on($all[ rand 3 ], "SELECT position, id, aggregate_id, version FROM pointstore.read_feed(max_events => 1000000, shard => $shard)"))
		{
			my ($position, $id, $account, $version) = split /\|/;
			push @wrong, "shard $shard: $position is not $next" if $position != $next++;
			push @wrong, "event $id comes twice" if $seen{$id}++;
			push @wrong, "$account: version $version after " . ($version{$account} // 'none') if $version != ($version{$account} // 0) + 1;
			$version{$account} = $version;
		}
	}
	is(join("\n", @wrong), '', '... in order, once');
	is(keys %seen, rows_on($c, 'SELECT count(*) FROM pointstore.event_store'), '... all of them');
	is($c->safe_psql('postgres', 'SELECT * FROM pointstore.feed_check()'), '', '... and the check says so');
	return;
}
all_has_come('after distribution');

#
# From any node, with the same answers
#

my ($shard) = shards();
my $home = node_with($shard);
foreach my $node (@all)
{
	my $name = $node->name . ($node == $home ? ', which has it' : '');
	is(rows_on($node, "SELECT pointstore.feed_head($shard)"), rows_on($home, "SELECT count(*) FROM pointstore.read_feed(shard => $shard)"), "head: $name");
	is(rows_on($node, "SELECT * FROM pointstore.read_feed(1, 2, ARRAY['Earned', NULL], 'old', true, $shard)"), rows_on($home, "SELECT * FROM pointstore.read_feed(1, 2, ARRAY['Earned'], 'old', false, $shard)"), "events: $name");
	is(rows_on($node, "SELECT * FROM pointstore.read_feed(0, 5, ARRAY['None'], shard => $shard)"), '', "none of that type: $name");
	is(rows_on($node, "SELECT min(pointstore.position_of(id, $shard)) = 1 FROM pointstore.read_feed(0, 1, shard => $shard)"), 't', "position: $name");
	is(rows_on($node, "SELECT pointstore.position_of(7, $shard) IS NULL"), 't', "no position: $name") if rows_on($home, "SELECT count(*) FROM pointstore.read_feed(shard => $shard) WHERE id = 7") == 0;
	is(rows_on($node, "SELECT pointstore.feed_incarnation($shard)"), rows_on($home, "SELECT pointstore.feed_incarnation($shard)"), "incarnation: $name");
	is(rows_on($node, "SELECT count(*) FROM pointstore.feed_check($shard)"), 0, "check: $name");
	is(rows_on($node, 'SELECT count(*), count(DISTINCT shard), bool_and(sequencer_alive) FROM pointstore.feed_status'), '8|8|t', "status: $name");
	is(rows_on($node, "CALL pointstore.wait_for_feed(0, shard => $shard)"), rows_on($node, "SELECT pointstore.feed_head($shard)"), "wait: $name");
	is(rows_on($node, "CALL pointstore.wait_for_feed(1000000, '100 ms', shard => $shard)"), rows_on($node, "SELECT pointstore.feed_head($shard)"), "wait in vain: $name");
	is(state_on($node, $_), '22004', "$_: $name") foreach 'SELECT pointstore.feed_head()', 'SELECT pointstore.feed_head(NULL)', 'SELECT pointstore.read_feed()', 'SELECT pointstore.position_of(1)', 'SELECT pointstore.feed_incarnation()',
	  'SELECT pointstore.feed_state()', "SELECT pointstore.position_of(NULL, $shard)", "SELECT pointstore.read_feed(NULL, shard => $shard)", 'CALL pointstore.wait_for_feed(0)';
	is(state_on($node, $_), '22023', "$_: $name") foreach 'SELECT pointstore.feed_head(1)', 'SELECT pointstore.read_feed(shard => 0)', 'SELECT pointstore.feed_check(-1)', "SELECT pointstore.read_feed(-1, shard => $shard)", 'CALL pointstore.wait_for_feed(0, shard => 1)';
	# an error leaves no shard behind that a session goes on in
	is(state_on($node, 'CALL pointstore.verify_replay(\'k\')'), '0A000', "what is not there is refused: $name");
}
is(rows_on($w1, 'SELECT pointstore.sequence_feed()') + rows_on($w2, 'SELECT pointstore.sequence_feed()'), 300, 'by hand, of all that a node has');
is(rows_on($c, 'SELECT pointstore.sequence_feed()'), 0, '... the coordinator has none');

# another role: what it is granted, and what the other nodes know of it
$c->safe_psql('postgres', 'CREATE ROLE reader LOGIN; CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA pointstore TO nobody');
$c->safe_psql('postgres', q{SELECT pointstore.grant_access('reader', 'reader')});
foreach my $node (@all)
{
	my $name = $node->name;
	my ($reader, $nobody) = map { CitusTest::Session->new($node, user => $_) } 'reader', 'nobody';
	is(rows_of($reader, "SELECT pointstore.feed_head($shard) > 0, (SELECT count(*) > 0 FROM pointstore.read_feed(shard => $shard)), (SELECT count(*) FROM pointstore.feed_check())"), 't|t|0', "$name: a reader reads");
	is(state_of($nobody, $_), '42501', "$name: nobody does not: $_") foreach "SELECT pointstore.feed_head($shard)", "SELECT pointstore.read_feed(shard => $shard)", "SELECT pointstore.read_feed_part(0, 1, null, null, false, 'x')";
}

#
# Who waits for whom
#

# accounts of two shards of one node
my ($here, $there) = grep { node_with($_) == $w1 } shards();
sub account_of
{
	my ($of, $prefix) = @_;
	$prefix //= 'a';
	return rows_on($c, "SELECT '$prefix' || i FROM generate_series(1, 300) i WHERE (SELECT shard FROM pointstore.node_of('$prefix' || i)) = $of LIMIT 1");
}
my ($slow, $fast) = map { account_of($_) } $here, $there;
sub head { my ($of) = @_; return rows_on($c, "SELECT pointstore.feed_head($of)"); }
{
	my $open = CitusTest::Session->new($w1);
	my ($before, $other) = map { head($_) } $here, $there;
	is(state_of($open, "BEGIN; SELECT pointstore.append_event('$slow', 'Earned', 1)"), '00000', 'a transaction is open');
	is(state_on($c, "SELECT pointstore.append_event('@{[ account_of($here, 'b') ]}', 'Earned', 1)"), '00000', '... another account') foreach 1 .. 3;
	is(state_on($c, "SELECT pointstore.append_event('$fast', 'Earned', 1)"), '00000', '... another shard');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($there) = $other + 1"), '... whose feed goes on');
	is(rows_on($c, "SELECT gaps > 0, gaps_open_pid IS NOT NULL FROM pointstore.feed_status WHERE shard = $here"), 't|t', '... what it keeps open is shown');
	is(rows_on($c, "SELECT gaps FROM pointstore.feed_status WHERE shard = $there"), 0, '... in its shard alone');
	is(state_of($open, 'COMMIT'), '00000', '... it ends');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($here) > $before"), '... and has a position');
	ok(poll_until($c, 'postgres', 'SELECT sum(gaps) = 0 FROM pointstore.feed_status'), '... no gap is left');
}
{
	# a shard that is being moved for long
	my $mover = CitusTest::Session->new($w1);
	my $other = head($there);
	is(state_of($mover, "BEGIN; SELECT lock_shard_metadata(7, ARRAY[$here])"), '00000', 'a shard is kept from all');
	is(state_on($w1, "SELECT pointstore.append_event('$fast', 'Earned', 1)"), '00000', '... another one is not');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($there) = $other + 1"), '... nor its feed');
	is(state_of($mover, 'ROLLBACK'), '00000', '... it ends');
}
sub end_sequencer
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer'});
	return;
}
{
	# one whose table another keeps from all
	my $keeper = CitusTest::Session->new($w1);
	my ($before, $other) = map { head($_) } $here, $there;
	is(state_on($c, "SELECT pointstore.append_event('$slow', 'Earned', 1)"), '00000', 'an event');
	is(state_of($keeper, "BEGIN; SET LOCAL citus.enable_manual_changes_to_shards = on; LOCK TABLE pointstore.event_store_$here"), '00000', 'the table of a shard is locked');
	end_sequencer($w1);		# which looks at all shards when it begins
	is(state_on($w1, "SELECT pointstore.append_event('$fast', 'Earned', 1)"), '00000', '... another one is not');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($there) = $other + 1"), '... nor its feed');
	is(state_of($keeper, 'ROLLBACK'), '00000', '... it ends');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($here) = $before + 1"), '... and its feed goes on');
}
{
	# ids are raised and drawn while somebody waits for their sequence
	my ($writer, $owner) = map { CitusTest::Session->new($w1) } 1 .. 2;
	my $before = head($here);
	is(state_of($writer, "BEGIN; SELECT pointstore.append_event('$slow', 'Earned', 1)"), '00000', 'a transaction has drawn an id');
	is(state_of($owner, 'SET citus.enable_ddl_propagation = off'), '00000', 'who owns the sequence');
	$owner->put(CitusTest::Session::message('Q', "ALTER SEQUENCE pointstore.event_store_id_seq CACHE 1\0"));
	ok(poll_until($w1, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER SEQUENCE%' AND wait_event_type = 'Lock'}), '... waits to alter it');
	end_sequencer($w1);
	ok(poll_until($w1, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer' AND wait_event_type = 'Lock'}), '... and the sequencer behind him');
	is(state_of($writer, "SELECT pointstore.append_event('$slow', 'Earned', 1)"), '00000', '... it draws another');
	is(state_of($writer, 'COMMIT'), '00000', '... and ends');
	is($owner->answer->[0], '00000', '... and it is altered');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($here) = $before + 2"), '... and both have a position');
}
{
	# one whose table of positions refuses
	my ($before, $other) = map { head($_) } $here, $there;
	$w1->safe_psql('postgres', "$behind ALTER TABLE pointstore.feed_block_" . block_shard($here) . ' ADD CONSTRAINT broken CHECK (last_position < 0) NOT VALID');
	is(state_on($c, "SELECT pointstore.append_event('$_', 'Earned', 1)"), '00000', "an event of $_") foreach $slow, $fast;
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($there) = $other + 1"), 'a feed that fails holds up no other');
	is(state_on($w1, 'SELECT pointstore.sequence_feed()'), '23514', '... and who asks is told');
	$w1->safe_psql('postgres', "$behind ALTER TABLE pointstore.feed_block_" . block_shard($here) . ' DROP CONSTRAINT broken');
	ok(poll_until($w1, 'postgres', "SELECT pointstore.feed_head($here) = $before + 1"), '... it goes on when it can');
}

# the shard of feed_block that lies with a shard of event_store
sub block_shard
{
	my ($of) = @_;
	return $c->safe_psql('postgres', "SELECT b.shardid FROM pg_dist_shard b JOIN pg_dist_shard e USING (shardminvalue)
		WHERE b.logicalrelid = 'pointstore.feed_block'::regclass AND e.shardid = $of");
}

# transfers over nodes: prepared ones are waited for, and nobody is told of their end
{
	my ($one, $two) = map { account_of($_) } (grep { node_with($_) == $w1 } shards())[0], (grep { node_with($_) == $w2 } shards())[0];
	is(state_on($c, "SELECT pointstore.append_event('$one', 'Earned', 100)"), '00000', 'something to transfer');
	is(state_on($all[ $_ % 3 ], "SELECT pointstore.transfer('$one', '$two', 1)"), '00000', "transfer $_") foreach 1 .. 6;
}
all_has_come('after all that');

#
# Under load
#

my $dir = $c->basedir;
my @clients;
sub is_passing { return $_[0] =~ /^(PS013|55000|40001|40P01|57P0[1-5]|08...|53300|no answer)$/; }

# Appends to accounts, each event until it is acknowledged.
sub append_all
{
	my ($name, $node, $told) = @_;
	my ($stop, $session, $i) = (0, undef, 0);
	local $SIG{TERM} = sub { $stop = 1 };
	srand unpack '%32C*', $name;
	until ($stop)
	{
		my $request = "$name-" . ++$i;
		my ($one, $two) = map { 'load' . int rand 40 } 1 .. 2;
		my $sql = $i % 5 || $one eq $two ? "SELECT pointstore.append_event('$one', 'Earned', 5, request_id => '$request')" : "SELECT pointstore.transfer('$one', '$two', 1, request_id => '$request')";
		while (1)
		{
			$session = CitusTest::Session->new($node) if !$session || $session->lost;
			my $state = $session->query($sql)->[0];
			last if $state =~ /^(00000|PS003|PS008)$/;
			# a commit that fails on another node, or the words of Citus for a server that goes down
			$state = '57P02' if $state eq 'XX000' || ($session->{error} // '') =~ /postmaster was shut down/;
			print $told "error $state\n" unless is_passing($state);
			usleep(20_000);
		}
	}
	return;
}

# Reads all feeds on and on, and writes down what came: incarnation, position, id, account, version.
sub follow_all
{
	my ($node, $told) = @_;
	my ($stop, $session, %after) = (0);
	local $SIG{TERM} = sub { $stop = 1 };
	until ($stop)
	{
		$session = CitusTest::Session->new($node) if !$session || $session->lost;
		my ($state, $map) = @{ $session->query('SELECT shard FROM pointstore.shard_map') };
		foreach my $of ($state eq '00000' ? split /\n/, $map : ())
		{
			# the incarnation before and after: what is read between is its
			my ($said, $incarnation) = @{ $session->query("SELECT pointstore.feed_incarnation($of)") };
			next if $said ne '00000';
			my $from = $after{$incarnation} // 0;
			my ($read, $rows) = @{ $session->query("SELECT position, id, aggregate_id, version FROM pointstore.read_feed($from, 200, shard => $of)") };
			if ($read ne '00000')
			{
				print $told "error $read\n" unless is_passing($read) || $read eq '22023';
				next;
			}
			my ($still) = @{ $session->query("SELECT pointstore.feed_incarnation($of)") }[1];
			next if $still ne $incarnation;
			foreach (split /\n/, $rows)
			{
				print $told "$incarnation|$_\n";
				$after{$incarnation} = (split /\|/)[0];
			}
		}
		usleep(20_000);
	}
	return;
}

push @clients, start_client("client $_", "$dir/client$_", do { my ($name, $node) = ("client$_", $all[ $_ % 3 ]); sub { append_all($name, $node, @_) } }) foreach 1 .. 4;
push @clients, start_client("follower $_", "$dir/follower$_", do { my $node = $all[$_]; sub { follow_all($node, @_) } }) foreach 0, 1;

sub move
{
	my ($of, $to, $mode) = @_;
	my $from = node_with($of);
	return is(state_of(CitusTest::Session->new($c), sprintf q{SET statement_timeout = '60s'; SELECT citus_move_shard_placement(%d, '127.0.0.1', %d, '127.0.0.1', %d, '%s')}, $of, $from->port, $to->port, $mode),
		'00000', sprintf 'a shard moves from %s to %s, %s', $from->name, $to->name, $mode);
}
my %incarnation = map { $_ => rows_on($c, "SELECT pointstore.feed_incarnation($_)") } shards();
foreach my $mode ('force_logical', 'block_writes')
{
	foreach my $of ((shards())[ 0, 3, 5 ])
	{
		move($of, node_with($of) == $w1 ? $w2 : $w1, $mode);
	}
}
is(rows_on($c, "SELECT pointstore.feed_incarnation($_)"), $incarnation{$_}, "a shard that was moved has its feed still: $_") foreach shards();

# a split ends a feed
my ($min, $max, $split) = split /\|/, rows_on($c, 'SELECT min_hash, max_hash, shard FROM pointstore.shard_map ORDER BY min_hash LIMIT 1');
{
	my $middle = int(($min + $max) / 2);
	my %id = map { split /\|/ } split /\n/, rows_on($c, 'SELECT nodeport, nodeid FROM pg_dist_node');
	is(state_of(CitusTest::Session->new($c), "SET statement_timeout = '60s'; SELECT citus_split_shard_by_split_points($split, ARRAY['$middle'], ARRAY[$id{ $w1->port }, $id{ $w2->port }], 'block_writes')"), '00000', 'a shard is split');
	is(state_on($c, "SELECT pointstore.feed_head($split)"), '22023', '... and is none any more');
	my @children = split /\n/, rows_on($c, "SELECT shard FROM pointstore.shard_map WHERE min_hash BETWEEN $min AND $max");
	is(@children, 2, '... there are two');
	isnt(rows_on($c, "SELECT pointstore.feed_incarnation($_)"), $incarnation{$split}, '... each with a feed of its own') foreach @children;
	is(rows_on($c, "SELECT count(*) FROM pointstore.read_feed(0, 1, shard => $_) WHERE position = 1 AND version = 1"), 1, '... from the beginning') foreach grep { poll_until($c, 'postgres', "SELECT pointstore.feed_head($_) > 0") } @children;
}

# a shard of one hash
{
	my ($account, $of) = split /\|/, rows_on($c, "SELECT '$fast', shard FROM pointstore.node_of('$fast')");
	is(state_of(CitusTest::Session->new($c), "SET statement_timeout = '60s'; SELECT isolate_tenant_to_new_shard('pointstore.event_store', '$account', 'CASCADE', shard_transfer_mode => 'block_writes')"), '00000', 'an account gets a shard of its own');
	my $alone = rows_on($c, "SELECT shard FROM pointstore.node_of('$account')");
	is(rows_on($c, "SELECT min_hash = max_hash FROM pointstore.shard_map WHERE shard = $alone"), 't', '... of its hash alone');
	ok(poll_until($c, 'postgres', "SELECT pointstore.feed_head($alone) = (SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = '$account')"), '... which has a feed');
	is(rows_on($_, "SELECT count(*) FROM pointstore.feed_check($alone)"), 0, '... as it should be') foreach @all;
}

# killed: the sequencer, and servers
foreach my $victim ($w1, $w2)
{
	my $pid = $victim->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer'});
	$victim->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $pid;
	usleep(500_000);
	$victim->kill9;
	usleep(200_000);
	start_again($victim);
	$session{ $victim->name } = CitusTest::Session->new($victim, options => '-c client_min_messages=error');
}
sleep 3;
kill 'TERM', map { $_->{pid} } @clients;
foreach my $client (@clients)
{
	waitpid $client->{pid}, 0;
	is($?, 0, "$client->{name} ends");
}
$session{c} = CitusTest::Session->new($c, options => '-c client_min_messages=error');
is(slurp_file("$dir/client$_") =~ s/^\n//r, '', "client $_ was told of nothing but what passes") foreach 1 .. 4;
is(node_faults($nodes), '', 'the store is sound');
all_has_come('after the load');

# What a follower has seen is what is there, in every feed that there has been.
foreach my $follower (0, 1)
{
	my (%next, %version, @wrong);
	foreach (split /\n/, slurp_file("$dir/follower$follower"))
	{
		push(@wrong, $_), next if /^error/;
		my ($incarnation, $position, $id, $account, $version) = split /\|/;
		push @wrong, "$incarnation: $position is not " . ($next{$incarnation} // 1) if $position != ($next{$incarnation} // 1);
		$next{$incarnation} = $position + 1;
		push @wrong, "$incarnation: $account $version" if $version != ($version{$incarnation}{$account} // 0) + 1;
		$version{$incarnation}{$account} = $version;
	}
	is(join("\n", @wrong[ 0 .. ($#wrong > 20 ? 20 : $#wrong) ]), '', "follower $follower: no gap, and in order");
	cmp_ok(scalar keys %next, '>=', 9, '... of all feeds');
}

#
# What is done behind its back
#

sub corrupt
{
	my ($of, $sql) = @_;
	node_with($of)->safe_psql('postgres', $behind . sprintf $sql =~ s/feed_block/pointstore.feed_block_@{[ block_shard($of) ]}/gr);
	return;
}
my ($sick, $well) = shards();
foreach my $case ([ 'a block is gone', "CREATE TABLE public.kept AS SELECT * FROM feed_block; DELETE FROM feed_block WHERE first_position = 1 AND place = (SELECT place FROM feed_block ORDER BY at DESC LIMIT 1)" ],
	[ 'an event has no position', "CREATE TABLE public.kept AS SELECT * FROM feed_block; UPDATE feed_block SET ids = ids - int8multirange(int8range(lower(ids), lower(ids) + 1)) WHERE first_position = 1" ],
	[ 'a position is given twice', "CREATE TABLE public.kept AS SELECT * FROM feed_block; UPDATE feed_block SET first_position = first_position + 1 WHERE first_position = 1" ])
{
	my ($what, $sql) = @$case;
	corrupt($sick, $sql);
	foreach my $node (@all)
	{
		isnt(rows_on($node, "SELECT count(*) FROM pointstore.feed_check($sick)"), 0, "$what: " . $node->name);
		is(rows_on($node, "SELECT count(*) FROM pointstore.feed_check($well)"), 0, '... in that shard alone');
		isnt(rows_on($node, 'SELECT count(*) FROM pointstore.feed_check()'), 0, '... and of all');
	}
	is(state_of(CitusTest::Session->new(node_with($sick), options => '-c client_min_messages=error'), q{CALL pointstore.reconcile('full')}), '00000', '... a full run');
	is($c->safe_psql('postgres', q{SELECT split_part(f.aggregate_id, '/', 1) || ' ' || m.shard FROM pointstore.finding f JOIN pointstore.shard_map m ON hashtext(f.aggregate_id) BETWEEN m.min_hash AND m.max_hash
		WHERE f.code = 'feed_mismatch' AND resolved_at IS NULL}), "@{[ rows_on($c, qq{SELECT min_hash || '..' || max_hash FROM pointstore.shard_map WHERE shard = $sick}) ]} $sick", '... reports it');
	corrupt($sick, 'DELETE FROM feed_block; INSERT INTO feed_block SELECT * FROM public.kept; DROP TABLE public.kept');
	is($c->safe_psql('postgres', 'SELECT * FROM pointstore.feed_check()'), '', '... put back');
	is(state_of(CitusTest::Session->new(node_with($sick), options => '-c client_min_messages=error'), q{CALL pointstore.reconcile('full')}), '00000', '... a full run');
	is($c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.finding WHERE code = 'feed_mismatch' AND resolved_at IS NULL}), 0, '... closes it');
}
is(state_on($c, 'DELETE FROM pointstore.feed_block'), 'PS006', 'no position is taken back by hand');

#
# A standby of a node: it reads, and where it takes over after it has lost something, consumers are told
#

$w1->backup('w1');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($w1, 'w1', has_streaming => 1);
$standby->start;
my ($of) = grep { node_with($_) == $w1 } shards();
my $known = rows_on($w1, "SELECT pointstore.feed_incarnation($of)");
ok(poll_until($standby, 'postgres', "SELECT pointstore.feed_head($of) = " . head($of)), 'a standby has the head');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pointstore.read_feed(max_events => 1000000, shard => $of)"), head($of), '... and the events');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pointstore.feed_check($of)"), 0, '... and the check');
is($standby->safe_psql('postgres', "SELECT pointstore.feed_incarnation($of)"), $known, '... of the same feed');
$w1->stop('immediate');
$standby->promote;
ok(poll_until($standby, 'postgres', "SELECT pointstore.feed_incarnation($of) <> '$known'"), 'promoted, the feed is another incarnation');

done_testing();
