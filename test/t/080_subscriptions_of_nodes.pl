# Subscriptions of a store on Citus: each shard is a slot. Verbs from any node mean all of them, a claim is settled where it was made, and members on
# each node, while shards are moved and split and servers killed, have every event once, in the order of its account.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'Citus is not installed' if citus_is_missing();

our $TODO;
my $nodes = new_nodes(2);
my ($c, $w1, $w2) = map { $nodes->{$_} } qw(c w1 w2);
distribute($nodes, 4);
my %group = groups_of($nodes);
my %node_of_group = map { $group{$_} => $nodes->{$_} } keys %group;
my %node_id = map { $_ => $c->safe_psql('postgres', "SELECT nodeid FROM pg_dist_node WHERE groupid = $group{$_}") } keys %group;
my $dir = $c->basedir;

sub append
{
	my ($account, $n, $type) = @_;
	$type //= 'Earned';
	$c->safe_psql('postgres', "SELECT pointstore.append_event('$account', '$type', 1)") foreach 1 .. $n;
	return;
}

# The node that has an account.
sub node_with
{
	my ($account) = @_;
	return $node_of_group{ $c->safe_psql('postgres', "SELECT node FROM pointstore.node_of('$account')") };
}

# Until all that is committed has a position: the sum of heads is that of events. Of a split nobody tells the sequencer.
sub sequenced
{
	$_->safe_psql('postgres', 'SELECT pointstore.sequence_feed()') foreach $w1, $w2;
	return $c->poll_query_until('postgres', 'SELECT (SELECT sum(pointstore.feed_head(shard)) FROM pointstore.shard_map) = (SELECT count(*) FROM pointstore.event_store)');
}

# Claims on a node until there is nothing: what came, by account; acknowledged.
sub drain
{
	my ($node, $subscription) = @_;
	my %came;

	for (1 .. 60)
	{
		my $rows = rows_of($node, "SELECT slot, epoch, position, aggregate_id, version FROM pointstore.claim('$subscription', 'drain')");
		last if $rows eq '';
		my ($slot, $epoch, $last);
		foreach (split /\n/, $rows)
		{
			($slot, $epoch, $last, my ($account, $version)) = split /\|/;
			push @{ $came{$account} }, $version;
		}
		is(state_of($node, "SELECT pointstore.ack('$subscription', ${slot}::smallint, $epoch, $last)"), '00000', "slot $slot is acknowledged");
	}
	return join ' ', map { "$_:" . join ',', @{ $came{$_} } } sort keys %came;
}

sub drain_all
{
	my ($subscription) = @_;
	return join ' ', sort grep { $_ ne '' } map { split / / } map { drain($_, $subscription) } $w1, $w2;
}

# The number of the slot of an account.
sub slot_of
{
	my ($account) = @_;
	return $c->safe_psql('postgres', "SELECT (hashtext('$account' COLLATE \"C\")::bigint + 2147483648) / 1073741824 * 8192");
}

# verbs
is(state_of($w1, q{SELECT pointstore.create_subscription('s', lease => '1 min')}), '00000', 'a subscription is created on any node');
is(state_of($_, q{SELECT pointstore.create_subscription('s')}), '42710', '... once, says ' . $_->name) foreach $c, $w2;
is(rows_of($_, 'SELECT subscription, slot, status, checkpoint FROM pointstore.subscription_status ORDER BY slot'),
	"s|0|running|0\ns|8192|running|0\ns|16384|running|0\ns|24576|running|0", '... and has a slot for each shard, as seen from ' . $_->name) foreach $c, $w1, $w2;
is(state_of($c, q{SELECT pointstore.create_subscription('t', 5)}), '22023', 'a position is of no feed in particular');
is(state_of($c, q{SELECT pointstore.create_subscription('t', -1)}), '22023', '... nor is a negative one');
is(state_of($c, q{SELECT pointstore.create_subscription('t', lease => '-1 s')}), '22023', 'no lease of less than nothing');
is(state_of($c, q{SELECT pointstore.move_subscription('s', 1)}), '22023', 'it is moved to no position but the beginning');
is(state_of($c, q{SELECT pointstore.move_subscription('s', 0)}), '00000', '... to that it is');
is(state_of($c, q{SELECT pointstore.alter_subscription('s', slots => 2::smallint)}), '0A000', 'its slots are the shards');
is(state_of($w2, q{SELECT pointstore.alter_subscription('s', max_attempts => 2)}), '00000', 'it is altered');
is(rows_of($c, 'SELECT DISTINCT max_attempts, slots FROM pointstore.subscription'), '2|1', '... everywhere');
is(state_of($_, q{SELECT pointstore.pause_subscription('no')}), '42704', 'no such subscription, says ' . $_->name) foreach $c, $w1;
is(state_of($_, q{SELECT pointstore.drop_subscription('no')}), '42704', '... nor to be dropped') foreach $c, $w1;
is(state_of($w1, q{SELECT * FROM pointstore.claim('no', 'm')}), '42704', '... nor to be claimed');

append($_, 3) foreach map { "a$_" } 1 .. 12;
sequenced();
is(rows_of($w2, 'SELECT sum(lag_events) FROM pointstore.subscription_status'), 36, 'the lag of all slots');
is(state_of($w1, q{SELECT pointstore.pause_subscription('s')}), '00000', 'it is paused');
is(rows_of($_, q{SELECT * FROM pointstore.claim('s', 'm')}), '', '... on ' . $_->name) foreach $w1, $w2;
is(state_of($c, q{SELECT pointstore.resume_subscription('s')}), '00000', '... and resumed');
is(rows_of($w1, q{BEGIN; SELECT pointstore.pause_subscription('s'); ROLLBACK; SELECT DISTINCT status FROM pointstore.subscription_status}), "\nrunning",
	'what is rolled back was done nowhere');

# claims
is(state_of($c, q{SELECT * FROM pointstore.claim('s', 'm')}), 'PS013', 'nothing is claimed where no shard is');
is(state_of($c, q{CALL pointstore.wait_for_work('s', '1 s')}), 'PS013', '... nor waited for');
is(rows_of($w1, q{CALL pointstore.wait_for_work('s', '1 s')}), 't', 'there is something on a node');
my $claimed = rows_of($w1, q{SELECT DISTINCT slot, epoch, max(position) OVER () FROM pointstore.claim('s', 'm1')});
my ($slot, $epoch, $last) = split /\|/, $claimed;
is($slot % 8192, 0, "slot $slot is claimed");
is(rows_of($w1, "SELECT member FROM pointstore.subscription_status WHERE slot = $slot"), 'm1', '... by who it says');
my $session = CitusTest::Session->new($w2);
is($session->query("SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $last)")->[0], 'PS013', '... and not settled on another node');
like($session->{detail}, qr/\bnode=$group{w1}\b/, '... which says where it is');
foreach my $verb ("nack('s', ${slot}::smallint, $epoch, $last, 'bad')", "renew('s', ${slot}::smallint, $epoch)", "release('s', ${slot}::smallint, $epoch)")
{
	is(state_of($w2, "SELECT pointstore.$verb"), 'PS013', "... whatever it is: $verb");
}
is(state_of($w1, "SELECT pointstore.ack('s', 5::smallint, $epoch, $last)"), '22023', 'no shard has that number');
is(state_of($w1, "SELECT pointstore.ack('s', (-1)::smallint, $epoch, $last)"), '22023', '... nor a negative one');
is(state_of($w1, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch - 1, $last)"), 'PS014', 'another epoch');
is(state_of($w1, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $last + 1)"), '22023', 'more than was delivered');
is(state_of($w1, "SELECT pointstore.renew('s', ${slot}::smallint, $epoch)"), '00000', 'it is renewed');
is(state_of($w1, "SELECT pointstore.release('s', ${slot}::smallint, $epoch)"), '00000', '... and released');
is(state_of($w1, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $last)"), 'PS014', '... which ends it');
is(drain_all('s'), join(' ', sort map { "a$_:1,2,3" } 1 .. 12), 'each event comes once, in order, on the node that has it');
is(rows_of($c, 'SELECT sum(lag_events), count(member) FROM pointstore.subscription_status'), '0|0', '... and all of them are done');

# what is not there
is(state_of($c, q{SELECT pointstore.create_projection('p', 'pg_catalog.now'::regproc::oid::regprocedure)}), '42501', 'a superuser creates no projection');
is(state_of($_, q{CALL pointstore.run_projection('p')}), '0A000', 'there are no projections on ' . $_->name) foreach $c, $w1;
is(rows_of($_, 'SELECT count(*) FROM pointstore.projection_status'), 0, '... as their view says') foreach $c, $w1;

# from now on
is(state_of($w2, q{SELECT pointstore.create_subscription('new', NULL, event_types => '{Spent}')}), '00000', 'one from now on, of one type');
append($_, 1, 'Spent') foreach map { "a$_" } 1 .. 12;
append('a1', 1);
sequenced();
is(drain_all('new'), join(' ', sort map { "a$_:4" } 1 .. 12), 'it has what came since, of that type');
is(drain_all('s'), join(' ', sort map { $_ == 1 ? 'a1:4,5' : "a$_:4" } 1 .. 12), '... another has all');

# roles
$c->safe_psql('postgres', 'CREATE ROLE reader LOGIN; CREATE ROLE other LOGIN; CREATE ROLE chief LOGIN');
$c->safe_psql('postgres', "SELECT pointstore.grant_access('$_', 'reader')") foreach qw(reader other);
$c->safe_psql('postgres', "SELECT pointstore.grant_access('chief', 'operator')");
is(state_of($c, q{SELECT pointstore.create_subscription('theirs')}, user => 'reader'), '00000', 'readers have subscriptions');
is(state_of($_, q{SELECT pointstore.pause_subscription('theirs')}, user => 'other'), '42501', '... of their own, on ' . $_->name) foreach $c, $w1;
is(state_of($w1, q{SELECT * FROM pointstore.claim('theirs', 'm')}, user => 'other'), '42501', '... to claim') ;
is(state_of($w2, q{SELECT pointstore.drop_subscription('theirs')}, user => 'other'), '42501', '... to drop');
is(state_of($w1, q{SELECT * FROM pointstore.claim('theirs', 'm')}, user => 'reader'), '00000', 'its creator claims');
is(rows_of($w2, q{SELECT count(*) FROM pointstore.subscription_status WHERE subscription = 'theirs'}, user => 'other'), 4, 'readers see all');
is(state_of($w2, q{SELECT pointstore.drop_subscription('theirs')}, user => 'chief'), '00000', 'operators drop it');
is(rows_of($c, q{SELECT (SELECT count(*) FROM pointstore.subscription WHERE name = 'theirs') + (SELECT count(*) FROM pointstore.subscription_slot WHERE subscription = 'theirs')}), 0, '... everywhere');
is(rows_of($c, q{SELECT DISTINCT by_role FROM pointstore.subscription_log WHERE subscription = 'theirs' AND action = 'drop'}), 'chief', '... which the log says');

# events that fail
sub set_aside
{
	my ($account, $action) = @_;
	my $node = node_with($account);
	append($account, 2);
	sequenced();
	my $rows = rows_of($node, q{SELECT slot, epoch, position, aggregate_id FROM pointstore.claim('s', 'm')});
	my ($found) = grep { /\|\Q$account\E$/ } split /\n/, $rows;
	my ($slot, $epoch, $position) = split /\|/, $found // '';
	is(state_of($node, "SELECT pointstore.nack('s', ${slot}::smallint, $epoch, $position, 'bad', '$action')"), '00000', "an event of $account fails: $action");
	return $position;
}

my $position = set_aside('a1', 'park');
set_aside('a2', 'park');
is(rows_of($c, q{SELECT aggregate_id, slot, state, waiting FROM pointstore.subscription_retry ORDER BY 1}),
	join("\n", 'a1|' . slot_of('a1') . '|parked|2', 'a2|' . slot_of('a2') . '|parked|2'), 'two accounts are set aside');
is(rows_of($w1, q{SELECT sum(accounts_blocked), sum(events_parked) FROM pointstore.subscription_status WHERE subscription = 's'}), '2|4', '... as their slots say');
foreach my $node ($c, $w1, $w2)
{
	is(state_of($node, q{SELECT pointstore.skip_parked('s', 'a3', 1, 'why')}), 'PS008', 'not parked, says ' . $node->name);
	is(rows_of($node, q{SELECT pointstore.replay_parked('s', 'a3')}), 0, '... and not replayed');
}
is(state_of($_, "SELECT pointstore.skip_parked('s', 'a1', $position + 1, 'why')"), '22023', 'not at that position, says ' . $_->name) foreach $w1, $w2;
is(state_of($c, "SELECT pointstore.skip_parked('s', 'a1', $position, 'why')"), '00000', 'it is passed over');
is(rows_of($w1, q{SELECT pointstore.replay_parked('s')}), 1, 'the other is replayed');
is(drain_all('s'), 'a1:7 a2:5,6', '... and comes, and the one after what was passed over');
is(rows_of($c, q{SELECT count(*) FROM pointstore.subscription_retry}), 0, 'none is set aside any more');
is(rows_of($c, q{SELECT string_agg(action, ' ' ORDER BY at) FROM pointstore.subscription_log WHERE aggregate_id IN ('a1', 'a2')}), 'park park skip replay', 'the log says so');

# moves: a claim goes with its shard
sub shard_of
{
	my ($account) = @_;
	return split /\|/, $c->safe_psql('postgres', "SELECT shard, node FROM pointstore.node_of('$account')");
}

sub move
{
	my ($shard, $from, $to) = @_;
	return state_of($c, sprintf q{SELECT citus_move_shard_placement(%d, '127.0.0.1', %d, '127.0.0.1', %d, 'force_logical')}, $shard, $from->port, $to->port);
}

append('a3', 4);
sequenced();
my ($shard, $group) = shard_of('a3');
my $from = $node_of_group{$group};
my $to = $from == $w1 ? $w2 : $w1;
($slot, $epoch, $last) = split /\|/, rows_of($from, q{SELECT DISTINCT slot, epoch, max(position) OVER () FROM pointstore.claim('s', 'mover')});
is($slot, slot_of('a3'), 'the slot of an account is claimed');
is(move($shard, $from, $to), '00000', 'its shard is moved');
is(state_of($from, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $last)"), 'PS013', 'the claim is settled there no more');
is(rows_of($to, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $last - 2) = $last - 2"), 't', '... but where the shard has gone');
is(rows_of($to, "SELECT member FROM pointstore.subscription_status WHERE subscription = 's' AND slot = $slot"), 'mover', '... whose it stays');
is(state_of($to, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $last)"), '00000', '... to its end');
is(drain_all('s'), '', '... and nothing comes again');

# splits: what was delivered is not again, what was not is; accounts that are set aside stay so
sub split_at
{
	my ($account, @nodes) = @_;
	my ($shard) = shard_of($account);
	my ($min, $max) = split /\|/, $c->safe_psql('postgres', "SELECT min_hash, max_hash FROM pointstore.shard_map WHERE shard = $shard");
	my $ids = join ',', map { $node_id{$_} } @nodes;
	is(state_of($c, sprintf(q{SELECT citus_split_shard_by_split_points(%d, ARRAY['%d'], ARRAY[%s], 'block_writes')}, $shard, ($min + $max) / 2, $ids)), '00000', "a shard is split, to @nodes");
	return;
}

# Accounts in both halves of the first quarter of hashes.
my @halves = map { [ split /\n/, $c->safe_psql('postgres', "SELECT 'h' || i FROM generate_series(1, 400) i WHERE hashtext('h' || i) BETWEEN -2147483648 + $_ * 536870912 AND -2147483648 + ($_ + 1) * 536870912::bigint - 1 ORDER BY i LIMIT 4") ] } 0, 1;
my @h = map { @$_ } @halves;
append($_, 1) foreach (@h) x 3;
sequenced();
my $node = node_with($h[0]);
my @rows = split /\n/, rows_of($node, q{SELECT slot, epoch, position, aggregate_id, version FROM pointstore.claim('s', 'm', 14)});
is(scalar @rows, 14, 'some events of a shard are claimed');
($slot, $epoch) = split /\|/, $rows[0];
# one is set aside in each half: the first of an account, of which others wait
my %done;
foreach my $half (@halves)
{
	my $row = (grep { /\|\Q$half->[1]\E\|1$/ } @rows)[0];
	my $position = (split /\|/, $row)[2];
	is(state_of($node, "SELECT pointstore.nack('s', ${slot}::smallint, $epoch, $position, 'bad', 'park')"), '00000', "$half->[1] is parked");
	@rows = split /\n/, rows_of($node, q{SELECT slot, epoch, position, aggregate_id, version FROM pointstore.claim('s', 'm', 14)});
	($slot, $epoch) = split /\|/, $rows[0];
}
# of the next ones, some are done, and the claim stands
my $done = (split /\|/, $rows[6])[2];
is(state_of($node, "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $done)"), '00000', 'a part of a claim is done');
is(state_of($c, q{SELECT pointstore.alter_subscription('new', event_types => '{}')}), '00000', 'another has all types from now on');
my $before = $c->safe_psql('postgres', q{SELECT string_agg(DISTINCT slot || '', ',') FROM pointstore.subscription_status});
split_at($h[0], 'w1', 'w2');
is(state_of(node_with($halves[0][0]), "SELECT pointstore.ack('s', ${slot}::smallint, $epoch, $done)"), 'PS014', 'the claim has ended with its shard');
is(rows_of(node_with($h[0]), q{SELECT count(*) FROM pointstore.claim('s', 'early') WHERE aggregate_id LIKE 'h%'}), 0, '... and nobody has another while its lease stands');
my $own = $c->safe_psql('postgres', q{SELECT count(*) FROM pointstore.subscription_slot WHERE place LIKE '-2147483648..-1610612736/%' AND subscription = 's'});
is($own, 1, 'the new shard has a slot');
# what comes meanwhile is new
append($h[0], 1);
append($halves[1][0], 1);
sequenced();
is(state_of($c, q{SELECT pointstore.alter_subscription('s', lease => '2 s')}), '00000', 'a verb means the new shards too');
is(rows_of($c, q{SELECT count(*), count(DISTINCT slot) FROM pointstore.subscription_status WHERE subscription = 's'}), '5|5', '... which have slots of their own');
is(rows_of($c, q{SELECT string_agg(DISTINCT slot || '', ',') FROM pointstore.subscription_status WHERE slot % 8192 = 0}), $before, '... and the others are what they were');
is(rows_of($w1, q{SELECT count(*), sum(waiting) FROM pointstore.subscription_retry WHERE subscription = 's'}), '2|6', 'two accounts are set aside still');
is(rows_of($w1, q{SELECT count(*) FROM pointstore.subscription_log WHERE subscription = 's' AND action = 'split'}), 2, 'the log says that they were split');
# the lease of the former shard ends
$c->safe_psql('postgres', q{UPDATE pointstore.subscription_slot SET not_before = NULL});
my %rest = map { my (undef, undef, $position, $account, $version) = split /\|/; $position > $done ? ("$account:$version" => 1) : () } @rows;
my %came = map { my ($account, $versions) = split /:/; map { ("$account:$_" => 1) } split /,/, $versions } split / /, drain_all('s');
my %expected = %rest;
$expected{"$h[0]:4"} = $expected{"$halves[1][0]:4"} = 1;
my %first = map { my (undef, undef, undef, $account, $version) = split /\|/; ("$account:$version" => 1) } @rows;
is(join(' ', grep { !$came{$_} } sort keys %expected), '', 'what was not acknowledged comes');
my @again = grep { !$expected{$_} && $first{$_} } sort keys %came;
is("@again", '', '... and what was does not');
is(rows_of($w2, q{SELECT pointstore.replay_parked('s')}), 2, 'the accounts are replayed');
is(drain_all('s'), join(' ', sort map { "$_->[1]:1,2,3" } @halves), '... and all that waited comes, in order');
is(drain_all('s'), '', '... once');
is(rows_of($c, q{SELECT sum(lag_events) FROM pointstore.subscription_status WHERE subscription = 's'}), 0, 'nothing is left');
# a subscription that nobody has claimed since
is(drain_all('new'), join(' ', sort 'a1:6,7', 'a2:5,6', 'a3:5,6,7,8', map { $_ eq $h[0] || $_ eq $halves[1][0] ? "$_:1,2,3,4" : "$_:1,2,3" } @h),
	'another one has all that it had not, before and after the split');

# an event that was committed late comes before others in the new feed, by its id: they were delivered
my ($late, $soon) = split /\n/, $c->safe_psql('postgres', "SELECT 'q' || i FROM generate_series(1, 400) i WHERE hashtext('q' || i) BETWEEN 0 AND 500000000 ORDER BY i LIMIT 2");
my $slow = CitusTest::Session->new(node_with($late));
is($slow->query("BEGIN; SELECT outcome FROM pointstore.append_event('$late', 'Earned', 1)")->[0], '00000', 'an event is stored, and not committed');
append($soon, 2);
sequenced();
is(drain_all('s'), "$soon:1,2", '... while others are delivered');
is($slow->query('COMMIT')->[0], '00000', '... but after them');
sequenced();
split_at($late, 'w1', 'w2');
sequenced();
is(drain_all('s'), "$late:1", '... it alone comes after a split');
is(drain_all('new'), join(' ', sort "$late:1", "$soon:1,2"), '... and all of them where none was delivered');

# moved to the beginning all of it comes again
is(state_of($w1, q{SELECT pointstore.move_subscription('s', 0)}), '00000', 'it is moved to the beginning');
my $events = $c->safe_psql('postgres', 'SELECT count(*) FROM pointstore.event_store');
is(rows_of($c, q{SELECT sum(lag_events) FROM pointstore.subscription_status WHERE subscription = 's'}), $events, '... of everything, what was delivered before the split too');

# a split of a split, that nobody has claimed of: and dropped
is(state_of($c, q{SELECT pointstore.create_subscription('drop')}), '00000', 'one to be dropped');
split_at($h[0], 'w1', 'w2');
split_at($h[0], 'w2', 'w1');
is(state_of($w1, q{SELECT pointstore.create_subscription('drop')}), '42710', '... is there where its shards were split');
is(state_of($w2, q{SELECT pointstore.drop_subscription('drop')}), '00000', '... and dropped');
is(rows_of($c, q{SELECT (SELECT count(*) FROM pointstore.subscription WHERE name = 'drop') + (SELECT count(*) FROM pointstore.subscription_slot WHERE subscription = 'drop')}), 0, '... everywhere');
is(state_of($_, q{SELECT * FROM pointstore.claim('drop', 'm')}), '42704', '... and taken over by none, on ' . $_->name) foreach $w1, $w2;
sequenced();
is(drain_all('new'), '', 'nothing comes again after two splits');

# Members on each node, while shards are moved and split and a server is killed: each event has its effect once, in the order of its account.
is(state_of($c, q{SELECT pointstore.drop_subscription('new')}), '00000', 'one is dropped');
is(state_of($c, q{SELECT pointstore.drop_subscription('s')}), '00000', '... and another');
is(state_of($c, q{SELECT pointstore.create_subscription('load', NULL, lease => '1 s')}), '00000', 'one for the load');
$_->safe_psql('postgres', 'CREATE TABLE effect (account text, version bigint, at timestamptz DEFAULT clock_timestamp())') foreach $w1, $w2;
my $known = $c->safe_psql('postgres', 'SELECT count(*) FROM pointstore.event_store');

sub is_passing
{
	return $_[0] =~ /^(PS013|PS014|55000|40001|40P01|57P0[1-5]|08...|53300|no answer)$/;
}

# A session that is made anew where it was lost.
sub attempt
{
	my ($session, $where, $sql) = @_;
	$$session = CitusTest::Session->new($where) if !$$session || $$session->lost;
	return $$session->query($sql);
}

# What was delivered is done together with ack(), which is the fence, in the transaction of the claim or in a later one; or fails now and then, or is forgotten.
sub work
{
	my ($name, $where, $told) = @_;
	my ($stop, $session) = (0);
	local $SIG{TERM} = sub { $stop = 1 };
	srand unpack '%32C*', $name;
	until ($stop)
	{
		my $together = rand() < 0.5;
		my $state = '00000';
		# one that is lost loses all of its transaction
		$session = CitusTest::Session->new($where) if !$session || $session->lost;
		$session->query('BEGIN') if $together;
		my ($claimed, $rows) = @{ $session->query("SELECT slot, epoch, position, aggregate_id, version FROM pointstore.claim('load', '$name', 10)") };
		my @rows = map { [ split /\|/ ] } split /\n/, $rows;
		if (@rows && rand() > 0.03)
		{
			my ($slot, $epoch) = @{ $rows[0] };
			my $failing = rand() < 0.05 ? int rand @rows : @rows;
			$session->query('BEGIN') if !$together;
			$session->query("INSERT INTO effect VALUES ('$_->[3]', $_->[4])") foreach @rows[ 0 .. $failing - 1 ];
			my $settle = $failing < @rows ? "nack('load', ${slot}::smallint, $epoch, $rows[$failing][2], 'bad luck', retry_in => '50 ms')"
			  : "ack('load', ${slot}::smallint, $epoch, $rows[-1][2])";
			$state = $session->query("SELECT pointstore.$settle")->[0];
		}
		$session->query($state eq '00000' ? 'COMMIT' : 'ROLLBACK');
		print $told "$_\n" foreach grep { $_ ne '00000' } $claimed, $state;
		usleep(@rows ? 1_000 : 20_000);
	}
	return;
}

sub write_events
{
	my ($name, $where, $told) = @_;
	my ($stop, $session, $i) = (0, undef, 0);
	local $SIG{TERM} = sub { $stop = 1 };
	until ($stop)
	{
		my $sql = sprintf q{SELECT pointstore.append_event('load%d', 'Earned', 1, request_id => '%s-%d')}, int rand 40, $name, ++$i;
		my $state;
		while (($state = attempt(\$session, $where, $sql)->[0]) ne '00000')
		{
			print $told "$state\n";
			usleep(50_000);
			last if $stop;
		}
		usleep(5_000);
	}
	return;
}

my @members = map { my $node = $_; map { my $name = $node->name . $_; start_client($name, "$dir/$name.told", sub { work($name, $node, @_) }) } 1, 2 } $w1, $w2;
my @writers = map { my $node = $_; my $name = 'writer' . $node->name; start_client($name, "$dir/$name.told", sub { write_events($name, $node, @_) }) } $c, $w1, $w2;

sub end_clients
{
	my %seen;
	kill 'TERM', map { $_->{pid} } @_;
	foreach my $client (@_)
	{
		waitpid $client->{pid}, 0;
		is($?, 0, "$client->{name} has ended");
		$seen{$_}++ foreach split /\n/, slurp_file("$dir/$client->{name}.told");
	}
	note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
	is(join(' ', grep { !is_passing($_) } sort keys %seen), '', 'no error but those that pass');
	return;
}

sub move_one
{
	my ($account) = @_;
	my ($shard, $group) = shard_of($account);
	return move($shard, $node_of_group{$group}, $node_of_group{$group} == $w1 ? $w2 : $w1);
}

usleep(500_000);
is(move_one('load1'), '00000', 'a shard is moved under load');
split_at('load2', 'w1', 'w2');
is(move_one('load2'), '00000', '... and one that was split');
$w1->stop('immediate');
$w1->start;
usleep(1_000_000);
split_at('load3', 'w2', 'w1');
is(move_one('load3'), '00000', '... and back');
$w2->stop('immediate');
$w2->start;
usleep(1_000_000);
end_clients(@writers);
is(settled($nodes), '', 'no transaction is in doubt');
sequenced();
is($c->safe_psql('postgres', 'SELECT count(*) FROM pointstore.feed_check()'), 0, 'every event has a position');
my $left = q{SELECT coalesce(sum(lag_events), 0) + coalesce(sum(accounts_blocked), 0) || ' ' || count(DISTINCT slot) FROM pointstore.subscription_status WHERE subscription = 'load'};
my $shards = $c->safe_psql('postgres', 'SELECT count(*) FROM pointstore.shard_map');
ok($c->poll_query_until('postgres', $left, "0 $shards"), 'the members come to the end');
end_clients(@members);
my @effects = map { split /\n/, $_->safe_psql('postgres', q{SELECT account || ' ' || version, extract(epoch FROM at) FROM effect}) } $w1, $w2;
my $new = $c->safe_psql('postgres', 'SELECT count(*) FROM pointstore.event_store') - $known;
my (%at, @twice, @early);
foreach (@effects)
{
	my ($event, $at) = split /\|/;
	push @twice, $event if $at{$event};
	$at{$event} = $at;
}
foreach my $event (sort keys %at)
{
	my ($account, $version) = split / /, $event;
	push @early, $event if $version > 1 && ($at{"$account " . ($version - 1)} // $at{$event}) > $at{$event};
}
cmp_ok($new, '>', 500, "$new events were written");
is(scalar keys %at, $new, '... each has had its effect');
is("@twice", '', '... once');
is("@early", '', '... after those before it of its account');

done_testing();
