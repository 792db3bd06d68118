# Random calls, one after another, in every form that an append has, on kinds with transitions, commuting
# types, a merge function and leases; a model of the rules says beforehand what each comes to: outcome or
# SQLSTATE, version and balance of every receipt, and how its accounts stand afterwards.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Storable qw(dclone);
use StoreTest;
use Test::More;

my $calls = $ENV{POINTSTORE_CALLS} // 1500;
my $seed = $ENV{POINTSTORE_SEED} // int(rand(1 << 30));
note("POINTSTORE_SEED=$seed");
srand($seed);

use constant HUGE => '9223372036854775807';

my %code = (version_conflict => 'PS001', request_mismatch => 'PS002', insufficient_balance => 'PS003', account_frozen => 'PS004',
	account_closed => 'PS005', account_missing => 'PS008', balance_limit => 'PS009', not_allowed => 'PS011', hold_not_open => 'PS007',
	transition_not_allowed => 'PS012', lease_lost => 'PS014');

# Rows of transitions: from, type, to. Without strict, a type that no row names passes.
my @order = (['new', 'Paid', 'paid'], ['paid', 'Sent', 'sent'], ['new', 'Dropped', 'dropped'], ['paid', 'Dropped', 'dropped'], ['sent', 'Paid', 'sent']);
my @strict = (['', 'Paid', 'on'], ['on', 'Paid', 'on'], ['on', 'Liked', 'on'], ['on', 'Seen', 'on'], ['on', 'HoldPlaced', 'on'], ['on', 'HoldConfirmed', 'on'], ['on', 'Dropped', ''],
	['', 'Seen', '']);
my %kind = (
	plain => { mode => 'hybrid', max => 100 },
	order => { mode => 'hybrid', max => 100, initial => 'new', rows => \@order, commuting => [ 'Liked', 'Seen' ] },
	tough => { mode => 'hybrid', max => 100, strict => 1, rows => \@strict },
	post => { mode => 'hybrid', max => undef, commuting => [ 'Liked', 'Seen', 'Sent' ] },
	form => { mode => 'hybrid', max => 100, merge => 1, initial => 'new', rows => \@order, commuting => ['Seen'] },
	guarded => { mode => 'hybrid', max => 100, lease => 1, merge => 1, strict => 1, rows => \@strict, commuting => ['Liked'] },
	pure => { mode => 'pure', max => 100, initial => 'new', rows => \@order, merge => 1, commuting => [ 'Liked', 'Seen' ] },
	fenced => { mode => 'pure', max => 100, lease => 1, strict => 1, rows => \@strict, commuting => [ 'Liked', 'Paid' ] },
	shut => { mode => 'hybrid', max => 100, shut => 1 });
my @kinds = sort keys %kind;

my $node = new_cluster('main', conf => <<'END_CONF');
fsync = off
pointstore.databases = ''
END_CONF
$node->start;
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END_SQL');
CREATE ROLE author;
CREATE SCHEMA made AUTHORIZATION author;
-- a conflict where one of the events since has the same k; else as many more as there are events since, and where k is 3 another type
CREATE FUNCTION made.merge(proposed jsonb, base_version bigint, since pointstore.event[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN proposed #>> '{payload,k}' IN (SELECT s.payload ->> 'k' FROM unnest(since) s) THEN NULL
		ELSE jsonb_build_object('amount', (proposed ->> 'amount')::bigint + cardinality(since),
			'event_type', CASE proposed #>> '{payload,k}' WHEN '3' THEN 'Sent' ELSE proposed ->> 'event_type' END) END
$$;
ALTER FUNCTION made.merge(jsonb, bigint, pointstore.event[]) OWNER TO author;
END_SQL
foreach my $name (@kinds)
{
	my $kind = $kind{$name};
	$node->safe_psql('postgres', sprintf(q{INSERT INTO pointstore.account_kind (kind, mode, max_balance, initial_state, transitions, commuting, merge, lease_required, auto_open) VALUES ('%s', '%s', %s, %s, '%s', %s, %s, %s, %s);},
		$name, $kind->{mode}, $kind->{max} // 'NULL', $kind->{initial} ? "'$kind->{initial}'" : 'NULL', $kind->{strict} ? 'strict' : 'open',
		$kind->{commuting} ? "'{" . join(',', @{ $kind->{commuting} }) . "}'" : 'NULL', $kind->{merge} ? "'made.merge'" : 'NULL',
		$kind->{lease} ? 'true' : 'false', $kind->{shut} ? 'false' : 'true')
		. join('', map { sprintf("INSERT INTO pointstore.transition VALUES ('%s', '%s', '%s', '%s');", $name, @$_) } @{ $kind->{rows} // [] }));
}

# The model: accounts with their events, requests with their legs, holds, and leases, by label: none, held or gone.
my $now = { account => {}, request => {}, hold => {} };
my %lease;    # account -> 'held' | 'gone'; no part of what a ROLLBACK undoes: leases change in transactions of their own
my @script = ("\\set ON_ERROR_STOP 0\n\\set VERBOSITY sqlstate\n\\pset null -\nSET client_min_messages = error;\n");
my @expected;
my (%seen, %both);

foreach my $name (@kinds)
{
	foreach my $n (1 .. ($name eq 'shut' ? 1 : 3))
	{
		$now->{account}{"$name$n"} = { id => "$name$n", kind => $name, exists => 0, version => 0, balance => 0, held => 0, state => undef, status => 'open', events => [] };
		push @script, "SELECT 1 AS t_$name$n, 1 AS o_$name$n \\gset\n";
	}
}
foreach my $name (qw(order pure guarded))
{
	my $account = $now->{account}{"${name}9"} = { id => "${name}9", kind => $name, exists => 1, version => 0, balance => 0, held => 0,
		state => $kind{$name}{initial}, status => 'closed', events => [] };
	push @script, "SELECT pointstore.open_account('$account->{id}', '$name'), pointstore.close_account('$account->{id}') \\g /dev/null\n", "SELECT 1 AS t_$account->{id}, 1 AS o_$account->{id} \\gset\n";
}
my @ids = sort keys %{ $now->{account} };
my @open_ids = grep { $now->{account}{$_}{status} eq 'open' && !/^shut/ } @ids;

sub pick { return $_[ int rand @_ ] }

sub chance { return rand() < $_[0] }

sub available { return $_[0]{balance} - $_[0]{held} }

sub same { return ($_[0] // '') eq ($_[1] // '') }

# Where an event leads: (1, state) or nothing.
sub follow
{
	my ($kind, $type, $state) = @_;
	my @named = grep { $_->[1] eq $type } @{ $kind->{rows} // [] };

	return (1, $state) if !@named && !$kind->{strict};
	foreach my $row (@named)
	{
		return (1, $row->[2]) if same($row->[0], $state);
	}
	return;
}

# What becomes of a stale event: (type, amount) to append instead, or nothing.
sub merge
{
	my ($event, $account) = @_;
	my $kind = $kind{ $account->{kind} };
	my $base = $event->{expected};
	return if !$event->{may_merge} || $base == 0 || $base > $account->{version};
	my @since = @{ $account->{events} }[ $base .. $account->{version} - 1 ];
	my %commutes = map { $_ => 1 } @{ $kind->{commuting} // [] };

	return ($event->{type}, $event->{amount}) if !grep { !$commutes{$_} } $event->{type}, map { $_->{type} } @since;
	return if !$kind->{merge};
	return if defined $event->{k} && grep { defined $_->{k} && $_->{k} == $event->{k} } @since;
	return (($event->{k} // 0) == 3 ? 'Sent' : $event->{type}, $event->{amount} + @since);
}

# Of an event that breaks several rules: each rule with the next one.
sub note_order
{
	$both{"$_[$_] before $_[$_ + 1]"}++ foreach 0 .. $#_ - 1;
	return;
}

# The rules, in their order: a refusal's name or SQLSTATE, or (appended or merged, version, balance); the account moves on.
sub judge
{
	my ($event, $account, $by_hand) = @_;
	my $kind = $kind{ $account->{kind} };
	my ($type, $amount, $held, $outcome) = ($event->{type}, $event->{amount}, $event->{held} // 0, 'appended');

	return 'account_missing' if !$account->{exists} && ($kind->{shut} || $event->{opens_not});
	return '0A000' if $event->{hold} && $kind->{mode} eq 'pure';
	my $state = $account->{exists} ? $account->{state} : $kind->{initial};
	my $limits = sub {
		return '22003' if $amount eq HUGE && $account->{balance} > 0;
		return 'insufficient_balance' if ($amount < 0 || $held > 0) && !$event->{any_floor}
		  && available($account) + $amount - $held < (($event->{floor} // 0) > 0 ? $event->{floor} : 0);
		return 'balance_limit' if $amount > 0 && defined $kind->{max} && $account->{balance} + $amount > $kind->{max};
		return;
	};
	my $stranger = ($kind->{lease} || ($event->{by_argument} && !$event->{if_asked}))
	  && !($event->{token} eq 'right' && ($lease{ $account->{id} } // '') eq 'held');
	my $stale = defined $event->{expected} && $event->{expected} != $account->{version} && !merge($event, $account);
	note_order($account->{status} ne 'open' ? 'status' : (), $stranger ? 'lease' : (), $stale ? 'version' : (),
		follow($kind, $type, $state) ? () : 'transition', $limits->() // ()) if !$by_hand;
	return "account_$account->{status}" if $account->{status} ne 'open' && !$event->{any_status};
	return '22023' if $account->{exists} && defined $event->{kind} && $event->{kind} ne $account->{kind};
	# who changes the balance before its event is told of its limits then
	if ($by_hand)
	{
		my $refused = $limits->();
		return $refused if $refused;
	}
	return 'lease_lost' if $stranger;
	if (defined $event->{expected} && $event->{expected} != $account->{version})
	{
		my ($as, $of) = merge($event, $account);
		return 'version_conflict' if !defined $as;
		($type, $amount, $outcome) = ($as, $of, 'merged');
	}
	my ($may, $to) = follow($kind, $type, $state);
	return 'transition_not_allowed' if !$may;
	my $refused = $by_hand ? undef : $limits->();
	return $refused if $refused;
	$account->{exists} = 1;
	$account->{version}++;
	$account->{balance} += $amount;
	$account->{held} += $held;
	$account->{state} = $to;
	push @{ $account->{events} }, { type => $type, k => $event->{k}, after => $account->{balance} };
	return ($outcome, $account->{version}, $account->{balance}, available($account), $amount);
}

sub total { my $sum = 0; $sum += $_ foreach @_; return $sum }

sub line { return join('|', map { !defined $_ || $_ eq '' ? '-' : $_ } @_) }

# What a list of elements comes to: the lines of its receipts, or one SQLSTATE. $now moves on when all pass. Options: request
# (of the whole), balanced, try.
sub expect
{
	my ($elements, %as) = @_;
	my @events = grep { !$_->{check} } @$elements;
	my $before = dclone($now->{account});
	my (@receipts, @refused, @legs, $sum, %mine);
	my ($leg, $old) = (0, 0);

	return '22023' if grep { $_->{malformed} } @$elements;
	return '22023' if !@events && defined $as{request};
	return '22023' if $as{balanced} && total(map { $_->{amount} } @events) != 0;
	if (defined $as{request} && (my $stored = $now->{request}{ $as{request} }))
	{
		$leg = 0;
		foreach my $element (@$elements)
		{
			my $as_checked = $element->{check} ? $now->{account}{ $element->{id} } : undef;
			if ($as_checked)
			{
				push @receipts, line('checked', $element->{id}, $element->{expected},
					$element->{expected} > 0 && $element->{expected} <= $as_checked->{version} ? $as_checked->{events}[ $element->{expected} - 1 ]{after} : 0, undef);
				next;
			}
			my $past = $stored->[ $leg++ ];
			my $is = $past && same_event($element, $past) && !($leg == @events && @$stored != @events);
			if (!$is)
			{
				my $account = $now->{account}{ $element->{id} };
				return refusal('request_mismatch', $element->{id}, $account, $as{try});
			}
			push @receipts, line('replayed', $element->{id}, $past->{version}, $past->{after}, undef);
		}
		$seen{replayed}++;
		return join("\n", @receipts);
	}
	foreach my $i (0 .. $#$elements)
	{
		my $element = $elements->[$i];
		my $account = $now->{account}{ $element->{id} };

		if ($element->{check})
		{
			my $then = $before->{ $element->{id} };
			my $pure = $then->{exists} && $kind{ $then->{kind} }{mode} eq 'pure';
			my $outcome = $pure ? '0A000' : $element->{expected} != $then->{version} ? 'version_conflict' : !$then->{exists} ? '0A000' : undef;
			push @refused, [ $outcome, $element->{id} ] if $outcome;
			push @receipts, line('checked', $element->{id}, $then->{version}, $then->{balance}, available($then));
			next;
		}
		last if @refused && !grep { !$_->{check} } @$elements[ 0 .. $i ];
		if (defined $element->{request} && (my $past = $mine{ $element->{request} } // $now->{request}{ $element->{request} }))
		{
			if (@$past == 1 && same_event($element, $past->[0]))
			{
				push @receipts, line('replayed', $element->{id}, $past->[0]{version}, $past->[0]{after}, undef);
				$old++;
				next;
			}
			push @refused, [ 'request_mismatch', $element->{id} ];
			last;
		}
		my ($outcome, $version, $balance, $available, $amount) = judge($element, $account, $as{by_hand});
		$seen{$outcome}++;
		if (!defined $version)
		{
			push @refused, [ $outcome, $element->{id} ];
			last;
		}
		push @receipts, line($outcome, $element->{id}, $version, $balance, $available);
		$sum += $amount;
		my $made = { %$element, version => $version, after => $balance };
		push @legs, $made;
		$mine{ $element->{request} } = [$made] if defined $element->{request};
	}
	if (@refused)
	{
		$now->{account} = $before;
		my ($outcome, $id) = @{ $refused[0] };
		return refusal($outcome, $id, $before->{$id}, $as{try});
	}
	if ($as{balanced} && ($sum // 0) != 0)
	{
		$now->{account} = $before;
		return '22023';
	}
	$now->{request}{ $as{request} } = \@legs if defined $as{request};
	$now->{request}{$_} = $mine{$_} foreach keys %mine;
	return join("\n", @receipts);
}

sub same_event
{
	my ($event, $past) = @_;
	return $event->{id} eq $past->{id} && $event->{type} eq $past->{type} && $event->{amount} eq $past->{amount} && same($event->{k}, $past->{k});
}

sub refusal
{
	my ($outcome, $id, $account, $try) = @_;
	my $raised = $code{$outcome} // $outcome;

	return $raised if !$try || !$code{$outcome};
	return line($outcome eq 'hold_not_open' ? 'not_allowed' : $outcome, $id) . '|-|-|-' if $outcome eq 'account_missing';
	return line($outcome, $id, $account->{version}, $account->{balance}, available($account));
}

# A random event, or a repeat of one that was.
sub random_event
{
	my $account = $now->{account}{ pick(@open_ids, @open_ids, @ids) };
	my $version = $account->{version};
	my $type = pick(qw(Paid Paid Paid Sent Dropped Liked Liked Seen Seen Noted));
	my $event = {
		id => $account->{id}, type => $type, amount => pick(0, 1, 2, 5, 9, 12, 30, -1, -2, -7, -60), k => pick(undef, 0 .. 8), token => pick(('right') x 12, qw(wrong old none none)),
		expected => pick(undef, undef, undef, undef, $version, $version, $version, $version, $version + 1, 0, map { $_ < 0 ? 0 : $_ } $version - 1, $version - 1, $version - 2, $version - 4), may_merge => 1,
	};
	$event->{by_argument} = chance(0.5) ? 1 : 0 if $event->{token} ne 'none';
	$event->{amount} = HUGE if chance(0.03) && !$kind{ $account->{kind} }{merge} && defined $kind{ $account->{kind} }{max};
	$event->{floor} = pick(3, 20, -5) if chance(0.05);
	$event->{malformed} = pick('type', 'metadata', 'expected') if chance(0.01);
	$event->{kind} = $account->{exists} && chance(0.03) ? pick(grep { $_ ne $account->{kind} } @kinds) : $account->{kind} if !$account->{exists} || chance(0.1);
	return $event;
}

sub quoted { return defined $_[0] ? "'$_[0]'" : 'NULL' }

sub payload { return defined $_[0]{k} ? qq({"k": $_[0]{k}}) : '{}' }

sub token_sql
{
	my ($event) = @_;
	return { right => ":t_$event->{id}", old => ":o_$event->{id}", wrong => '7', none => 'NULL' }->{ $event->{token} };
}

# The setting with the tokens of these events.
sub setting
{
	my @tokens = map { token_sql($_) } grep { !$_->{check} && $_->{token} ne 'none' && !$_->{by_argument} } @_;
	return sprintf("SELECT set_config('pointstore.lease_token', concat_ws(',', '5'%s), false) \\g /dev/null\n", join('', map { ", $_" } @tokens));
}

sub broken
{
	my ($event) = @_;
	my $what = $event->{malformed} // '';
	return ($what eq 'type' ? 'HoldPlaced' : $event->{type}, $what eq 'expected' ? -1 : $event->{expected}, $what eq 'metadata' ? '{"pointstore.proposed": 1}' : undef);
}

sub function_call
{
	my ($name, $event, $request) = @_;
	my ($type, $expected, $metadata) = broken($event);

	return sprintf("SELECT outcome, aggregate_id, version, balance, available FROM pointstore.%s('%s', '%s', %s, '%s', %s, %s, %s, NULL, %s, %s, lease_token => %s);",
		$name, $event->{id}, $type, $event->{amount}, payload($event), $expected // 'NULL', quoted($request), $event->{floor} // 'NULL', quoted($event->{kind}),
		quoted($metadata), $event->{by_argument} ? token_sql($event) : 'NULL');
}

sub array_call
{
	my ($name, $elements, %as) = @_;
	my @parts;

	foreach my $event (@$elements)
	{
		if ($event->{check})
		{
			push @parts, "jsonb_build_object('check', true, 'aggregate_id', '$event->{id}', 'expected_version', $event->{expected})";
			next;
		}
		my ($type, $expected, $metadata) = broken($event);
		push @parts, sprintf("jsonb_build_object('aggregate_id', '%s', 'event_type', '%s', 'amount', %s, 'payload', '%s'::jsonb, 'expected_version', %s, 'request_id', %s, 'min_balance', %s, 'kind', %s, 'metadata', %s::jsonb, 'lease_token', %s)",
			$event->{id}, $type, $event->{amount}, payload($event), $expected // 'NULL', quoted($event->{request}), $event->{floor} // 'NULL',
			quoted($event->{kind}), quoted($metadata), $event->{by_argument} ? token_sql($event) : 'NULL');
	}
	return sprintf("SELECT outcome, aggregate_id, version, balance, available FROM pointstore.%s(jsonb_build_array(%s), %s, %s);",
		$name, join(', ', @parts), quoted($as{request}), $as{balanced} ? 'true' : 'false');
}

my (%asked, $requests);

# Adds a call: what it is, the SQL, what is expected of it, the accounts it is about; some are rolled back or in a block of their own.
sub add
{
	my ($sql, $expect, $alone, @about) = @_;
	my $how = $alone ? '' : chance(0.08) ? 'ROLLBACK' : chance(0.1) ? 'COMMIT' : '';
	my $before = $how eq 'ROLLBACK' ? dclone($now) : undef;
	my $expected = $expect->();
	my %once;
	my $n = @expected;

	@about = grep { !$once{$_}++ } sort @about;
	if ($how ne '')
	{
		my $begin = pick('BEGIN', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'BEGIN ISOLATION LEVEL SERIALIZABLE');
		$sql = "$begin;\n" . ($how eq 'ROLLBACK' ? 'SAVEPOINT s; SELECT 1 \g /dev/null' : '') . "\n$sql\n\\set told :SQLSTATE\n$how;";
	}
	else
	{
		$sql = "$sql\n\\set told :SQLSTATE";
	}
	$now = $before if $before;
	my $state = $expected =~ /^(?:PS|\d[\dA-Z])[\dA-Z]{3}$/ ? $expected : '00000';
	push @script, "\\echo #$n\n$sql\n\\echo :told\n", sprintf("SELECT aggregate_id, version, balance, available, status, state FROM pointstore.account WHERE aggregate_id IN (%s) ORDER BY 1;\n", join(', ', map { "'$_'" } @about));
	push @expected, { sql => $sql, lines => join("\n", ($state eq '00000' && $expected ne '' ? ($expected) : ()), $state,
		map { line(@{ $now->{account}{$_} }{qw(id version balance)}, available($now->{account}{$_}), @{ $now->{account}{$_} }{qw(status state)}) } grep { $now->{account}{$_}{exists} } @about) };
	return;
}

sub request_for
{
	my ($elements) = @_;
	my $request = 'r' . ++$requests;
	$asked{$request} = dclone($elements);
	return $request;
}

# One event, in a form at random.
sub one
{
	my $event = random_event();
	my $request = chance(0.4) ? request_for([$event]) : undef;
	if (chance(0.12) && (my @known = grep { @{ $asked{$_} } == 1 && !$asked{$_}[0]{check} } sort keys %asked))
	{
		$request = pick(@known);
		my $token = $event->{token};
		$event = dclone($asked{$request}[0]);
		$event->{expected} = pick(undef, $event->{expected}, 1);
		$event->{token} = 'none';
		$event->{by_argument} = 0;
		$event->{amount} += 1 if chance(0.2) && $event->{amount} ne HUGE;
	}
	my $account = $now->{account}{ $event->{id} };
	my $form = pick(qw(append_event try_append_event submit_event try_submit_event append_events try_append_events element insert insert caller book));
	$form = 'append_event' if !$account->{exists} && $form =~ /insert|caller|book/;
	my $try = $form =~ /^try/ ? 1 : 0;
	my $sql = setting($event);

	if ($form =~ /events$|^element$/)
	{
		$event->{request} = $request if $form eq 'element';
		$sql .= array_call($form eq 'element' ? 'append_events' : $form, [$event], request => $form eq 'element' ? undef : $request);
		add($sql, sub { expect([$event], request => $form eq 'element' ? undef : $request, try => $try) }, 0, $event->{id});
	}
	elsif ($form =~ /event$/)
	{
		add($sql . function_call($form, $event, $request), sub { expect([$event], request => $request, try => $try) }, $form =~ /submit/, $event->{id});
	}
	else
	{
		by_hand($form, $event, $request, $account);
	}
	return;
}

# By INSERT: alone, paired by the caller afterwards, or of a balance that was changed before.
sub by_hand
{
	my ($form, $event, $request, $account) = @_;
	my $pure = $kind{ $account->{kind} }{mode} eq 'pure';
	my ($type, $expected, $metadata);

	delete @$event{qw(floor kind)};
	$event->{by_argument} = 0;
	$event->{may_merge} = 0;
	$request = undef if $form ne 'insert';
	$event->{amount} = 1 if $form ne 'insert' && $event->{amount} eq HUGE;
	delete $event->{malformed} if ($event->{malformed} // '') eq 'expected' || $form ne 'insert';
	$form = 'insert' if $pure;
	$event->{expected} = $account->{version} if $form eq 'book' && !defined $event->{expected};
	($type, $expected, $metadata) = broken($event);
	my $insert = sprintf("INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount, payload, request_id, metadata) VALUES ('%s', %s, '%s', %s, '%s', %s, %s);",
		$event->{id}, defined $expected ? $expected + 1 : 'NULL', $type, $event->{amount}, payload($event), quoted($request), quoted($metadata));
	my $update = "UPDATE pointstore.balance SET balance = balance + $event->{amount}, version = version + 1 WHERE aggregate_id = '$event->{id}'";
	my $sql = setting($event);

	if ($form eq 'caller')
	{
		$sql .= "SET pointstore.balance_writer = 'caller';\nDO \$\$ BEGIN $insert $update; END \$\$;\n\\set told :SQLSTATE\nRESET pointstore.balance_writer;";
	}
	elsif ($form eq 'book')
	{
		my $stale = $event->{expected} != $account->{version};
		$sql .= "DO \$\$ BEGIN $update AND version = $event->{expected}; $insert END \$\$;";
		$event->{stale} = $stale;
		add($sql, sub { my $told = expect([$event], by_hand => !$stale); return $told =~ /\|/ ? '' : $told }, 0, $event->{id});
		return;
	}
	else
	{
		$sql .= $insert;
	}
	# the setting is put back after the call: told is what the call said
	if ($form eq 'caller')
	{
		add_told($sql, sub { my $told = expect([$event]); return $told =~ /\|/ ? '' : $told }, $event->{id});
		return;
	}
	add($sql, sub { my $told = expect([$event], request => $request); return $told =~ /\|/ ? '' : $told }, 0, $event->{id});
	return;
}

sub add_told
{
	my ($sql, $expect, $id) = @_;
	add($sql, $expect, 1, $id);
	$script[-2] =~ s/\n\\set told :SQLSTATE\n\\echo/\n\\echo/;
	return;
}

# Several at once, with conditions among them.
sub several
{
	my @elements = map { random_event() } 1 .. pick(1, 1, 2, 2, 2, 3, 3, 12);
	my $balanced = chance(0.2);
	my ($request, $try) = (undef, chance(0.5));

	if ($balanced && @elements > 1)
	{
		$_->{amount} = pick(0, 1, -1, 2) foreach @elements;
		$_->{expected} = undef foreach grep { chance(0.7) } @elements;
		my $sum = 0;
		$sum += $_->{amount} foreach @elements[ 0 .. $#elements - 1 ];
		$elements[-1]{amount} = -$sum if chance(0.9);
	}
	# elements that come one after another on an account rest on one another
	my %n;
	foreach my $event (@elements)
	{
		$event->{expected} += $n{ $event->{id} }++ // 0 if defined $event->{expected} && chance(0.6);
		$event->{kind} = $now->{account}{ $event->{id} }{kind} if !$now->{account}{ $event->{id} }{exists};
	}
	foreach (1 .. pick(0, 0, 1, 1, 2))
	{
		my $account = $now->{account}{ pick(@ids) };
		splice @elements, int rand(@elements + 1), 0, { check => 1, id => $account->{id}, expected => chance(0.8) ? $account->{version} : pick(0, 1, $account->{version} + 1) };
	}
	@elements = grep { $_->{check} } @elements if chance(0.05) && grep { $_->{check} } @elements;
	if (chance(0.35))
	{
		$request = request_for(\@elements);
	}
	elsif (chance(0.3))
	{
		foreach my $event (grep { !$_->{check} } @elements)
		{
			$event->{request} = chance(0.1) && $requests ? pick(sort keys %asked) : request_for([$event]);
		}
	}
	if (chance(0.12) && (my @known = grep { @{ $asked{$_} } > 1 } sort keys %asked))
	{
		$request = pick(@known);
		@elements = @{ dclone($asked{$request}) };
		pop @elements if chance(0.1);
		foreach (@elements) { delete @$_{qw(request if_asked)} }
		return if !@elements;
	}
	# the setting is one for all of them
	my %shown = map { $_->{id} => 1 } grep { !$_->{check} && !$_->{by_argument} && $_->{token} eq 'right' } @elements;
	$_->{token} = 'right' foreach grep { !$_->{check} && !$_->{by_argument} && $shown{ $_->{id} } } @elements;
	add(setting(@elements) . array_call($try ? 'try_append_events' : 'append_events', \@elements, request => $request, balanced => $balanced),
		sub { expect(\@elements, request => $request, balanced => $balanced, try => $try) }, 0, map { $_->{id} } @elements);
	return;
}

sub transfer
{
	my ($from, $to) = map { $now->{account}{ pick(@ids) } } 1 .. 2;
	return if $from == $to || !$from->{exists} || !$to->{exists};
	my $amount = pick(1, 1, 2, 7, 40);
	my $token = pick(qw(right right wrong none));
	my $owner = pick($from, $to);
	my @legs = map { { id => $_->{id}, type => 'Paid', token => $token eq 'right' ? ($_ == $owner ? 'right' : 'wrong') : $token, if_asked => 1, by_argument => $token ne 'none' ? 1 : 0 } } $from, $to;
	@legs[0, 1] = ({ %{ $legs[0] }, amount => -$amount }, { %{ $legs[1] }, amount => $amount });
	my $request = chance(0.5) ? request_for(\@legs) : undef;
	my $form = pick(qw(transfer try_transfer submit_transfer try_submit_transfer));

	add(sprintf("%sSELECT outcome, aggregate_id, version, balance, available FROM pointstore.%s('%s', '%s', %d, %s, 'Paid', lease_token => %s);", setting(), $form, $from->{id}, $to->{id}, $amount,
			quoted($request), token_sql({ id => $owner->{id}, token => $token })),
		sub { expect(\@legs, request => $request, try => scalar($form =~ /^try/)) }, $form =~ /submit/, $from->{id}, $to->{id});
	return;
}

# A hold placed, confirmed or cancelled; or one that is known, once more.
sub holding
{
	my $account = $now->{account}{ pick(@ids) };
	my ($id, $what) = ('h' . ++$requests, 'hold');
	my $token = pick(qw(right right right wrong none));
	my @open = sort keys %{ $now->{hold} };
	my $hold = { id => $account->{id}, amount => pick(1, 3, 20) };
	my ($held, $amount) = ($hold->{amount}, 0);

	return if !$account->{exists};
	if (@open && chance(0.7))
	{
		$id = pick(@open[ ($#open > 6 ? $#open - 6 : 0) .. $#open ]);
		$hold = $now->{hold}{$id};
		$what = pick(qw(hold confirm_hold confirm_hold cancel_hold));
		$account = $now->{account}{ $hold->{id} };
		($held, $amount) = ($what eq 'hold' ? $hold->{amount} : -$hold->{amount}, $what eq 'confirm_hold' ? -$hold->{amount} : 0);
	}
	my $event = { id => $account->{id}, hold => 1, type => { hold => 'HoldPlaced', confirm_hold => 'HoldConfirmed', cancel_hold => 'HoldCancelled' }->{$what}, amount => $amount,
		held => $held, token => $token, by_argument => $what eq 'hold' && $token ne 'none' && chance(0.5) ? 1 : 0, any_floor => $what ne 'hold', any_status => $what eq 'cancel_hold' };
	my $try = chance(0.5);
	my $sql = setting($event) . sprintf('SELECT outcome, aggregate_id, version, balance, available FROM pointstore.%s%s(', $try ? 'try_' : '', $what)
	  . ($what eq 'hold' ? sprintf("'%s', %d, '%s', '1 day', lease_token => %s", $account->{id}, $hold->{amount}, $id, $event->{by_argument} ? token_sql($event) : 'NULL') : "'$id'") . ');';

	add($sql, sub {
		my $known = $now->{hold}{$id};
		if ($known && (my $past = $known->{$what}))
		{
			return line('replayed', $account->{id}, @$past, undef);
		}
		if ($known && ($known->{confirm_hold} || $known->{cancel_hold}))
		{
			return $try ? line('not_allowed', $account->{id}, $account->{version}, $account->{balance}, available($account)) : 'PS007';
		}
		my $before = dclone($account);
		my $there = $now->{account}{ $account->{id} };
		my ($outcome, $version, $balance, $available) = judge($event, $there);
		$seen{"$what $outcome"}++;
		if (!defined $version)
		{
			$now->{account}{ $account->{id} } = $before;
			return refusal($outcome, $account->{id}, $before, $try);
		}
		$now->{hold}{$id} = { %$hold, %{ $known // {} }, $what => [ $version, $balance ] };
		return line($outcome, $account->{id}, $version, $balance, $available);
	}, 0, $account->{id});
	return;
}

sub take_lease
{
	my ($id, $gone) = @_;
	push @script, sprintf("SELECT :t_$id AS o_$id, token AS t_$id FROM pointstore.acquire_lease('account:$id', 'model', '%s') \\gset\nSELECT pg_sleep(%s) \\g /dev/null\n", $gone ? '1 ms' : '1 day', $gone ? 0.003 : 0);
	$lease{$id} = $gone ? 'gone' : 'held';
	return;
}

# Leases are taken, lost to the clock and released; accounts are frozen, and change their kinds.
sub lease
{
	my $id = pick(grep { !/9$/ } @ids);

	if (($lease{$id} // '') ne 'held')
	{
		take_lease($id, chance(0.2));
	}
	elsif (chance(0.2))
	{
		push @script, "SELECT pointstore.release_lease('account:$id', :t_$id) \\g /dev/null\n";
		$lease{$id} = 'gone';
	}
	return;
}

sub freeze
{
	my $account = $now->{account}{ pick(@ids) };
	my @frozen = grep { $_->{status} eq 'frozen' } map { $now->{account}{$_} } @ids;
	$account = $frozen[0] if @frozen > 1;
	return if !$account->{exists} || $account->{status} eq 'closed';
	my $frozen = $account->{status} eq 'frozen';

	add(sprintf("SELECT pointstore.%sfreeze_account('%s', 'model') \\g /dev/null", $frozen ? 'un' : '', $account->{id}),
		sub { $now->{account}{ $account->{id} }{status} = $frozen ? 'open' : 'frozen'; return '' }, 0, $account->{id});
	return;
}

sub set_kind
{
	my $account = $now->{account}{ pick(@ids) };
	return if !$account->{exists} || $account->{status} eq 'closed';
	my $to = pick(grep { $kind{$_}{mode} eq $kind{ $account->{kind} }{mode} && $_ ne 'shut' } @kinds);
	my $kind = $kind{$to};
	my $given = pick(undef, undef, 'new', 'paid', 'on', '', 'nowhere');
	my $knows = sub { my $state = $_[0] // ''; return same($kind->{initial}, $state) || !!grep { $_->[0] eq $state || $_->[2] eq $state } @{ $kind->{rows} // [] } };

	add(sprintf("SELECT pointstore.set_kind('%s', '%s', 'model', %s) \\g /dev/null", $account->{id}, $to, quoted($given)), sub {
		my $there = $now->{account}{ $account->{id} };
		return '22023' if defined $given && !$knows->($given);
		my $state = defined $given ? $given : $there->{kind} eq $to ? $there->{state} : $there->{version} == 0 ? $kind->{initial} : !$kind->{rows} ? undef : $there->{state};
		return 'PS011' if !defined $given && $there->{kind} ne $to && $kind->{rows} && !$knows->($state);
		$there->{kind} = $to;
		$there->{state} = $state;
		$seen{set_kind}++;
		return '';
	}, 0, $account->{id});
	return;
}

take_lease($_, 0) foreach grep { /^(?:guarded|fenced)\d/ && !/9$/ } @ids;
foreach (1 .. $calls)
{
	my $what = rand();
	$what < 0.55 ? one() : $what < 0.72 ? several() : $what < 0.78 ? transfer() : $what < 0.9 ? holding() : $what < 0.965 ? lease() : $what < 0.98 ? freeze() : set_kind();
}

my $files = PostgreSQL::Test::Utils::tempdir;
append_to_file("$files/calls.sql", join('', @script));
my ($told, $errors) = ('', '');
IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', "$files/calls.sql" ], '>', \$told, '2>', \$errors);
my %got;
while ($told =~ /^#(\d+)\n(.*?)(?=^#\d+\n|\z)/gms)
{
	$got{$1} = $2;
}
my @wrong = grep { ($got{$_} // '') ne "$expected[$_]{lines}\n" } 0 .. $#expected;
is(scalar(@wrong), 0, scalar(@expected) . ' calls came to what the model says');
diag("call $_: $expected[$_]{sql}\nexpected:\n$expected[$_]{lines}\ngot:\n" . ($got{$_} // 'nothing')) foreach @wrong[ 0 .. ($#wrong > 2 ? 2 : $#wrong) ];
is(scalar(keys %got), scalar(@expected), 'all were made');
foreach my $outcome (qw(appended merged replayed version_conflict insufficient_balance account_frozen account_closed account_missing transition_not_allowed lease_lost))
{
	cmp_ok($seen{$outcome} // 0, '>', 0, "$outcome happened");
}
foreach my $pair ('status before lease', 'status before version', 'lease before version', 'lease before transition', 'version before transition',
	'version before insufficient_balance', 'transition before insufficient_balance')
{
	cmp_ok($both{$pair} // 0, '>', 0, "$pair was asked");
}
note(join ', ', map({ "$_: $seen{$_}" } sort keys %seen), map { "$_: $both{$_}" } sort keys %both);

is(faults($node, 'postgres'), '', 'the accounts say what their events say');
$node->safe_psql('postgres', q{SET client_min_messages = error; CALL pointstore.reconcile('full')});
is($node->safe_psql('postgres', 'SELECT aggregate_id, code, detail FROM pointstore.finding'), '', 'reconciliation finds nothing');
is($node->safe_psql('postgres', q{SELECT status, unverified FROM pointstore.reconciliation_run}), 'clean|0', 'and is clean');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.balance b, pointstore.rebuild_balance(b.aggregate_id) r WHERE r.changed}), '0', 'to rebuild changes nothing');
$node->stop;
done_testing();
