# A store on Citus and those who do not mean well: settings that would part what belongs together, queries that the
# planner makes calls of, rows put into shards by hand, sequences that were set back, what the owner of a store leaves in
# its tables before it is distributed.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

plan skip_all => 'Citus is not installed' if citus_is_missing();

my $nodes = new_nodes(2);
my ($c, $w1, $w2) = map { $nodes->{$_} } @{ $nodes->{names} };

# a role of before, who is granted again
$c->safe_psql('postgres', q{CREATE ROLE writer LOGIN; SELECT pointstore.grant_access('writer', 'writer')});
distribute($nodes, 4);
$c->safe_psql('postgres', q{SELECT pointstore.grant_access('writer', 'writer')});
my %group = groups_of($nodes);

# Accounts of a node, the names of each shard by themselves.
sub accounts_on
{
	my ($name, $n) = @_;
	return split /\n/, rows_of($c, "SELECT 'acc' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('acc' || i) n WHERE n.node = $group{$name} ORDER BY i LIMIT $n");
}
my ($a, $a2) = accounts_on('w1', 2);
my ($b) = accounts_on('w2', 1);
sub balances { return rows_of($c, "SELECT string_agg(balance::text, ' ' ORDER BY aggregate_id = '$b') FROM pointstore.account WHERE aggregate_id IN ('$a', '$b')"); }

is(state_of($c, "SELECT pointstore.append_event('$_', 'Given', 1000)"), '00000', "$_ has something") foreach $a, $a2, $b;

# What a role may set parts nothing: the first leg is not committed by itself.
foreach my $node ($c, $w1, $w2)
{
	my $name = $node->name;
	foreach my $setting ('citus.function_opens_transaction_block = off', 'citus.select_opens_transaction_block = off', "application_name = 'citus_internal'", 'citus.enable_local_execution = off')
	{
		my $session = CitusTest::Session->new($node, user => 'writer');
		is(state_of($session, "SET $setting"), '00000', "$name, $setting");
		foreach my $pair ([ $a, $b ], [ $b, $a ])
		{
			my $events = qq{[{"aggregate_id": "$pair->[0]", "event_type": "E", "amount": 100}, {"aggregate_id": "$pair->[1]", "event_type": "E", "amount": -99999}]};
			my $state = state_of($session, "SELECT outcome FROM pointstore.append_events('$events')");
			like($state, qr/^(PS003|XX000)$/, "... a batch is refused whole: $state");
		}
		is(balances(), '1000 1000', '... nothing is left of it');
	}
}

# A conflict that is seen by the commit alone, in a session that has given itself Citus' name meanwhile.
{
	my ($one, $other) = map { CitusTest::Session->new($w1, user => 'writer') } 1, 2;
	$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE') foreach $one, $other;
	$one->query("SELECT balance FROM pointstore.get_balance('$a2')");
	is(rows_of($one, "SELECT outcome FROM pointstore.transfer('$a', '$b', 100)"), "appended\nappended", 'a transfer to another node');
	$one->query("SET application_name = 'citus_internal'");
	$other->query("SELECT balance FROM pointstore.get_balance('$a')");
	is(rows_of($other, "SELECT outcome FROM pointstore.append_event('$a2', 'Given', 1)"), 'appended', '... and who has read what it writes');
	is(state_of($other, 'COMMIT'), '00000', '... commits first');
	is(state_of($one, 'COMMIT'), '40001', '... the transfer does not');
	is(balances(), '1000 1000', '... with neither leg');
}

# Queries that are no call by themselves, and would be one once they are planned; with null, and with an account elsewhere.
$c->safe_psql('postgres', q{
CREATE FUNCTION public.holds(text) RETURNS SETOF bigint STABLE LANGUAGE sql AS 'SELECT balance FROM pointstore.get_balance($1)';
CREATE FUNCTION public.held(text) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT pointstore.balance_as_of($1, 1)';
CREATE FUNCTION public.held(text, integer) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT pointstore.balance_as_of($1, 1)';
CREATE OPERATOR public.@@@ (LEFTARG = text, RIGHTARG = integer, FUNCTION = public.held);
CREATE FUNCTION public.given(who text DEFAULT NULL) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT pointstore.balance_as_of(who, 1)';
});
foreach my $node ($c, $w1, $w2)
{
	my $name = $node->name;
	foreach my $account ("'$a'", "'$b'", 'NULL::text')
	{
		foreach my $sql (
			"SELECT pointstore.get_balance($account) GROUP BY ()", "SELECT balance FROM pointstore.get_balance($account) GROUP BY ROLLUP (balance)",
			"SELECT * FROM public.holds($account)", "SELECT public.held($account)", 'SELECT public.given()',
			# Citus hands on functions, not operators
			$node == $c ? "SELECT $account OPERATOR(public.@@@) 1" : (),
			"SELECT x FROM (VALUES ($account)) v (a), LATERAL public.holds(a) x",
			"SELECT * FROM public.holds($account) WHERE true OR EXISTS (SELECT FROM pointstore.event_store)",
			"SELECT * FROM pointstore.get_balance($account) WHERE true OR EXISTS (SELECT FROM pointstore.event_store)",
			"WITH x AS (SELECT * FROM pointstore.aggregate_state($account)) SELECT count(*) FROM x",
			"SELECT count(*) FROM pointstore.get_balance($account) x, pointstore.get_balance($account) y",
			"SELECT pointstore.get_balance($account) ORDER BY 1", "SELECT DISTINCT pointstore.get_balance($account)", "SELECT pointstore.get_balance($account) LIMIT 1",
			"SELECT pointstore.get_balance($account) UNION ALL SELECT pointstore.get_balance($account)",
			"EXPLAIN SELECT pointstore.get_balance($account) GROUP BY ()", "COPY (SELECT pointstore.get_balance($account) GROUP BY ()) TO STDOUT")
		{
			# a true answer or a refusal, never an empty answer
			my $answer = rows_of($node, $sql);
			my $true = $sql =~ /^EXPLAIN/ ? qr/cost=/ : $account eq 'NULL::text' || $sql =~ /given|aggregate_state/ ? qr/^(22004|55000)$/ : $sql =~ /^COPY/ ? qr/^$/ : $sql =~ /count/ ? qr/^1$/ : qr/\b1000\b/;
			like($answer, qr/$true|^(PS013|0A000|XX000)$/, "$name: $sql");
		}
	}
	# a call that is one still goes where its account is, whatever was planned before it
	is(rows_of($node, "SELECT balance FROM pointstore.get_balance('$_')"), $_ eq $a2 ? 1001 : 1000, "$name: $_") foreach $a, $a2, $b;
}

# What functions are is not remembered for longer than they are it.
{
	my $session = CitusTest::Session->new($c);
	is(rows_of($session, 'SELECT 1 FROM public.held(NULL, 1) x'), '22004', 'a function in SQL');
	$c->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION public.held(text, integer) RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN 7; END'});
	is(rows_of($session, 'SELECT public.held(NULL, 1)'), '7', '... becomes another');
	$c->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION public.held(text, integer) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT pointstore.balance_as_of($1, 1)'});
	is(state_of($session, 'SELECT public.held(NULL, 1)'), '22004', '... and back');
}

# Parts by hand.
foreach my $part ('null', '{}', '{"events": 1}', '{"events": [1]}', '{"events": [{}]}', qq({"events": [{"aggregate_id": "$a"}]}),
	qq({"whole": 1, "events": [{"aggregate_id": "$a", "event_type": "E", "payload": {}, "followers": 5}]}),
	qq({"events": [{"aggregate_id": "$a", "event_type": "E", "payload": {}, "leg": -1}]}),
	qq({"events": [{"aggregate_id": "$a", "event_type": "HoldPlaced", "payload": {}}]}),
	qq({"events": [{"aggregate_id": "$a", "event_type": "E", "amount": 1, "payload": {"version": 1}, "cause_id": 1}]}),
	qq({"events": [{"is_check": 1, "aggregate_id": "$a", "expected_version": 1}, {"aggregate_id": "$a", "event_type": "E", "payload": {}}]}))
{
	is(state_of($w1, "SELECT pointstore.append_part('$a', '$part')"), '22023', "a part: $part");
}
is(state_of($w1, qq{SELECT pointstore.append_part('$a', '{"events": [{"aggregate_id": "$a", "event_type": "E", "payload": {}, "occurred": $_}]}')}), '22008', "a time: $_")
  foreach '9223372036854775000', '-9223372036854775000';
is(balances(), '1000 1000', 'nothing came of it');

# Reversals by hand: of what is there, once, and not more than it was; into debt an operator alone.
{
	my $id = rows_of($w1, "SELECT id FROM pointstore.append_event('$a', 'Given', 50)");
	my $other = rows_of($w2, "SELECT id FROM pointstore.append_event('$b', 'Given', 50)");
	my $reverses = sub { my ($account, $cause, $told, $more) = @_;
		my $event = qq({"aggregate_id": "$account", "event_type": "EventReversed", "payload": {}, "cause_id": $cause, "told": {$told}});
		return "SELECT outcome FROM pointstore.reverse_part('$account', '{" . ($more ? $more : '') . '"events": [' . ($more ? "$event, $event" : $event) . "]}')" };
	my $writer = CitusTest::Session->new($w1, user => 'writer');
	is(state_of($writer, "SELECT pointstore.reverse_part('$a', '$_')"), '22023', "a part: $_") foreach '{}', qq({"events": [{"aggregate_id": "$a", "event_type": "E", "payload": {}}]}),
	  qq({"events": [{"aggregate_id": "$a", "event_type": "E", "payload": {}, "cause_id": $id, "told": 5}]}), qq({"events": [{"is_check": 1, "aggregate_id": "$a", "expected_version": 1, "told": {}}]});
	foreach my $told ('', '"amount": 5', '"amount": 5, "whole": 0', '"amount": 0, "whole": 5', '"amount": -5, "whole": -5', '"any_amount": "x"')
	{
		is(state_of($writer, $reverses->($a, $id, $told)), '22023', "told: $told");
	}
	is(state_of($writer, $reverses->($a, $id, '"any_amount": 1, "any_floor": 1')), '42501', 'a writer, into debt');
	is(state_of($writer, $reverses->($a, $id, '"any_amount": 1', $_)), '22023', 'twice in a part') foreach '"whole": 1, ', '"outcomes": 1, ';
	is(state_of($writer, $reverses->($a, $id, '"amount": 9223372036854775807, "whole": 1')), 'PS011', 'more than it was');
	is(state_of($writer, $reverses->($a, $id, '"amount": 9223372036854775807, "whole": -9223372036854775808')), 'PS011', 'a fraction');
	is(state_of($writer, $reverses->($a, $other, '"any_amount": 1')), 'PS008', "an event of another's");
	is(state_of($writer, $reverses->($b, $other, '"any_amount": 1') =~ s/reverse_part\('$b'/reverse_part('$a'/r), 'PS013', '... and of another node');
	is(rows_of($writer, $reverses->($a, $id, '"amount": 20, "whole": 50')), '0', 'in part');
	is(rows_of($c, "SELECT event_type, amount, payload, cause_id = $id FROM pointstore.event_store WHERE aggregate_id = '$a' ORDER BY version DESC LIMIT 1"), 'EventReversed|-20|{"version": ' .
		rows_of($c, "SELECT version FROM pointstore.event_store WHERE aggregate_id = '$a' AND id = $id") . '}|t', '... as it is written');
	is(state_of($writer, $reverses->($a, $id, '"amount": 31, "whole": 50')), 'PS011', '... no more than is left');
	is(rows_of($writer, $reverses->($a, $id, '"any_amount": 1')), '0', '... the rest');
	is(state_of($writer, $reverses->($a, $id, '"any_amount": 1')), 'PS011', '... once');
	is(state_of($writer, $reverses->($a, rows_of($c, "SELECT max(id) FROM pointstore.event_store WHERE aggregate_id = '$a'"), '"any_amount": 1')), 'PS011', 'a reversal');
	is(state_of($writer, "SELECT pointstore.legs_part($_)"), '22004', "legs_part($_)") foreach 'NULL, 1', "'$a', NULL";
	is(state_of($c, "SELECT pointstore.reverse_event('$b', 2)"), '00000', 'the other too');
	is(balances(), '1000 1000', '... as before');

	# a leg that its caller may not see is reversed all the same, and an index that does not have it hides nothing
	is(state_of($c, "SELECT pointstore.transfer('$a', '$b', 30)"), '00000', 'a transfer');
	$c->safe_psql('postgres', "CREATE POLICY hides ON pointstore.event_store USING (aggregate_id <> '$b'); ALTER TABLE pointstore.event_store ENABLE ROW LEVEL SECURITY");
	$c->safe_psql('postgres', 'CREATE INDEX hides ON pointstore.event_store (cause_id) WHERE amount < 0; CREATE INDEX hides_too ON pointstore.event_store (id) WHERE amount > 0');
	my $version = rows_of($c, "SELECT max(version) FROM pointstore.event_store WHERE aggregate_id = '$a'");
	is(rows_of($writer, "SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = '$b'"), '0', '... one leg of which is hidden');
	is(rows_of($writer, "SELECT aggregate_id, outcome FROM pointstore.reverse_event('$a', $version)"), "$a|appended\n$b|appended", '... is reversed whole');
	$c->safe_psql('postgres', 'ALTER TABLE pointstore.event_store DISABLE ROW LEVEL SECURITY; DROP POLICY hides ON pointstore.event_store; DROP INDEX pointstore.hides; DROP INDEX pointstore.hides_too');
	is(balances(), '1000 1000', '... and no leg alone');
	# settings that would part it
	my $session = CitusTest::Session->new($w2, user => 'writer');
	foreach my $setting ('citus.function_opens_transaction_block = off', 'citus.select_opens_transaction_block = off', "application_name = 'citus_internal'", 'citus.enable_local_execution = off')
	{
		is(state_of($session, "SET $setting"), '00000', $setting);
		is(state_of($c, "SELECT pointstore.append_event('$a', 'Emptied', -1000); SELECT pointstore.append_event('$b', 'Emptied', -1000)"), '00000', '... accounts without anything');
		$version = rows_of($c, "SELECT version FROM pointstore.append_event('$a', 'Given', 1)");
		is(rows_of($c, "SELECT outcome FROM pointstore.transfer('$a', '$b', 1)"), "appended\nappended", '... a transfer');
		is(rows_of($c, "SELECT outcome FROM pointstore.transfer('$b', '$a', 1)"), "appended\nappended", '... and back');
		is(state_of($c, "SELECT pointstore.append_event('$a', 'Emptied', -1)"), '00000', '... which is spent');
		my $state = state_of($session, "SELECT pointstore.reverse_event('$a', $version + 2)");
		like($state, qr/^(PS003|XX000)$/, "... is not reversed: $state");
		is(balances(), '0 0', '... in neither leg');
		is(state_of($c, "SELECT pointstore.append_event('$a', 'Given', 1000); SELECT pointstore.append_event('$b', 'Given', 1000)"), '00000', '... accounts as before');
	}
}

# Rows of an account in another's shard.
{
	my $shard = rows_of($w1, "SELECT 'event_store_' || shard FROM pointstore.node_of('$a')");
	my $foreign = rows_of($c, "SELECT 'acc' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('acc' || i) n WHERE n.node = $group{w1} AND n.shard <> (SELECT shard FROM pointstore.node_of('$a')) LIMIT 1");
	is(state_of($w1, "INSERT INTO pointstore.$shard (aggregate_id, event_type, amount) VALUES ('$foreign', 'E', 5)"), '22023', 'an event in a shard that is not its');
	is(state_of($w1, "INSERT INTO pointstore.$shard (aggregate_id, event_type, amount) VALUES ('$b', 'E', 5)"), 'PS013', '... and of another node');
	my $balances = $w1->safe_psql('postgres', "SELECT result FROM run_command_on_shards('pointstore.balance', 'SELECT ''%s''') WHERE shardid = (SELECT min(shardid) FROM citus_shards WHERE table_name = 'pointstore.balance'::regclass AND nodeport = " . $w1->port . ')');
	my $lost = rows_of($c, "SELECT 'acc' || i FROM generate_series(1, 1000) i WHERE get_shard_id_for_distribution_column('pointstore.balance', 'acc' || i)::text <> regexp_replace('$balances', '^.*_', '') AND (SELECT node FROM pointstore.node_of('acc' || i)) = $group{w1} AND i > 500 LIMIT 1");
	is(state_of($w1, "INSERT INTO $balances (aggregate_id) VALUES ('$lost')"), '22023', 'a row of balance');
	is(state_of($c, "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('$foreign', 'E', 5)"), '00000', 'through the table');
}

# Ids rise, and are nobody else's, whatever becomes of a node's sequence.
{
	my $session = CitusTest::Session->new($w1);
	my $append = sub { rows_of($session, "SELECT id FROM pointstore.append_event('$a2', 'Given', 0)") };
	my $before = $append->();
	is($before % 1024, $group{w1}, 'an id of its node');
	foreach my $harm ("SELECT setval('pointstore.event_store_id_seq', min_value) FROM pg_sequences WHERE sequencename = 'event_store_id_seq'",
		q{SET citus.enable_ddl_propagation = off; ALTER SEQUENCE pointstore.event_store_id_seq RESTART})
	{
		$w1->safe_psql('postgres', $harm);
		my $id = $append->();
		cmp_ok($id, '>', $before, "an id after: $harm");
		is($id % 1024, $group{w1}, '... of its node');
		$before = $id;
	}
	$c->safe_psql('postgres', 'SELECT start_metadata_sync_to_all_nodes()');
	cmp_ok(rows_of($w1, "SELECT id FROM pointstore.append_event('$a2', 'Given', 0)"), '>', $before, 'after Citus has made the metadata anew');
	$w1->restart;
	cmp_ok(rows_of($w1, "SELECT id FROM pointstore.append_event('$a2', 'Given', 0)"), '>', $before, '... and a restart');
	is(state_of($w1, "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) SELECT 'bulk' || i, 'E', 1 FROM generate_series(1, 200) i"), '00000', 'many first rows at once');
	is(state_of($_, q{SELECT pointstore.upgrade_store()}), $_ == $c ? '00000' : '55000', 'upgrade_store() on ' . $_->name) foreach $c, $w1;
}

# A role with the table's rights alone, none on the sequence.
{
	$c->safe_psql('postgres', 'CREATE ROLE loader LOGIN; GRANT USAGE ON SCHEMA pointstore TO loader; GRANT INSERT ON pointstore.event_store TO loader');
	my ($mine) = rows_of($c, "SELECT 'load' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('load' || i) n WHERE n.node = $group{w2} LIMIT 1");
	$w2->restart;
	is(state_of($_, "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('$mine', 'E', 1)", user => 'loader'), '00000', 'a loader, through ' . $_->name) foreach $w2, $c;
}

# What is not there is refused, and not answered as if there were nothing.
is(state_of($c, $_), '0A000', "not there: $_") foreach 'SELECT pointstore.read_feed(0)', 'CALL pointstore.rebuild_balances()',
  "SELECT pointstore.create_subscription('s')", "SELECT pointstore.check_transitions('default')";
is(rows_of($c, 'SELECT pointstore.distribute_store(4)'), 'exists', 'it is distributed once');
is(node_faults($nodes), '', 'the store is sound');

# The view of accounts, made anew while a session has it in its statements.
{
	my $session = CitusTest::Session->new($w1);
	is(rows_of($session, "SELECT status FROM pointstore.get_balance('$a')"), 'open', 'a session reads');
	$c->safe_psql('postgres', q{
		SET citus.enable_ddl_propagation = on;
		CREATE OR REPLACE VIEW pointstore.account AS } . ($c->safe_psql('postgres', q{SELECT pg_get_viewdef('pointstore.account')}) =~ s/b\.status/'made anew'::text AS status/r));
	is(rows_of($session, "SELECT status FROM pointstore.get_balance('$a')"), 'made anew', '... the view as it is now');
}

# What the owner puts on the table that a commit of several nodes writes does not run there.
{
	my ($mine) = rows_of($c, "SELECT 'own' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('own' || i) n WHERE n.node = $group{w1} LIMIT 1");
	my ($other) = rows_of($c, "SELECT 'own' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('own' || i) n WHERE n.node = $group{w2} LIMIT 1");
	my $both = "BEGIN; SELECT pointstore.append_event('$mine', 'E', 1); SELECT pointstore.append_event('$other', 'E', 1); COMMIT";
	my $table = 'pointstore.account_proof';
	my $shard = "${table}_" . $w1->safe_psql('postgres', "SELECT get_shard_id_for_distribution_column('$table', '$mine')");
	$_->safe_psql('postgres', q{SET citus.enable_ddl_propagation = off;
		CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''U0666''; END';
		CREATE FUNCTION public.evil(bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''U0666''; END'}) foreach $c, $w1, $w2;
	is(state_of($w1, $both), '00000', 'both are written');
	foreach my $put (
		[ "CREATE TRIGGER evil BEFORE UPDATE ON $shard FOR EACH STATEMENT EXECUTE FUNCTION public.evil()", "DROP TRIGGER evil ON $shard" ],
		[ "CREATE TRIGGER evil AFTER UPDATE ON $shard FOR EACH STATEMENT EXECUTE FUNCTION public.evil()", "DROP TRIGGER evil ON $shard" ],
		[ "CREATE RULE evil AS ON UPDATE TO $table DO ALSO SELECT public.evil(1)", "DROP RULE evil ON $table" ],
		[ "CREATE RULE evil AS ON UPDATE TO $shard DO ALSO SELECT public.evil(1)", "DROP RULE evil ON $shard" ],
		[ "CREATE POLICY evil ON $shard USING (public.evil(1)); ALTER TABLE $shard ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
			"DROP POLICY evil ON $shard; ALTER TABLE $shard DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY" ])
	{
		my ($made, $dropped) = map { "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on; SET citus.enable_unsafe_triggers = on; $_" } @$put;
		$w1->safe_psql('postgres', $made);
		is(state_of($w1, $both), '55000', "refused at COMMIT: $put->[0]");
		$w1->safe_psql('postgres', $dropped);
		is(state_of($w1, $both), '00000', '... and not without');
	}

	# so it shows which transactions Citus is told of: whatever has written two nodes, by kept plans as well, and none that has not
	my ($made, $dropped) = map { "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on; SET citus.enable_unsafe_triggers = on; $_" }
	  "CREATE TRIGGER evil BEFORE UPDATE ON $shard FOR EACH STATEMENT EXECUTE FUNCTION public.evil()", "DROP TRIGGER evil ON $shard";
	$c->safe_psql('postgres', q{CREATE FUNCTION public.also(account text) RETURNS text LANGUAGE plpgsql AS $$DECLARE r record; BEGIN SELECT * INTO r FROM pointstore.append_event(account, 'E', 1); RETURN r.outcome; END$$;
		CREATE PROCEDURE public.in_two(here text, there text) LANGUAGE plpgsql AS $$DECLARE r record; BEGIN
			SELECT * INTO r FROM pointstore.append_event(here, 'E', 1); COMMIT;
			SELECT * INTO r FROM pointstore.append_event(here, 'E', 1); SELECT * INTO r FROM pointstore.append_event(there, 'E', 1); END$$});
	my $session = CitusTest::Session->new($w1, options => '-c plan_cache_mode=force_generic_plan');
	is(state_of($session, q{
		PREPARE one(text) AS SELECT outcome FROM pointstore.append_event($1, 'E', 1);
		PREPARE also(text, text) AS SELECT public.also($2) FROM pointstore.append_event($1, 'E', 1);
		PREPARE moved(text, text) AS SELECT outcome FROM pointstore.transfer($1, $2, 1)}), '00000', 'kept plans');
	my ($near) = rows_of($c, "SELECT 'own' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('own' || i) n WHERE n.node = $group{w1} AND 'own' || i <> '$mine' LIMIT 1");
	is(state_of($session, "EXECUTE one('$mine')"), '00000', '... here');
	$w1->safe_psql('postgres', $made);
	foreach my $whole ("EXECUTE one('$mine')", "BEGIN; EXECUTE one('$mine'); EXECUTE one('$near'); COMMIT", "EXECUTE moved('$mine', '$near')", "EXECUTE one('$other')", "EXECUTE also('$mine', '$near')")
	{
		is(rows_of($session, $whole) =~ /^(appended\n?)+$/, 1, "one node: $whole");
	}
	foreach my $parts ("BEGIN; EXECUTE one('$mine'); EXECUTE one('$other'); COMMIT", "BEGIN; EXECUTE one('$other'); EXECUTE one('$mine'); COMMIT",
		"EXECUTE moved('$mine', '$other')", "EXECUTE also('$mine', '$other')", "BEGIN; EXECUTE one('$mine'); INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('$other', 'E'); COMMIT",
		"CALL public.in_two('$mine', '$other')")
	{
		is(state_of($session, $parts), '55000', "two nodes: $parts");
		$session->query('ROLLBACK');
	}
	$w1->safe_psql('postgres', $dropped);
	is(state_of($session, "BEGIN; EXECUTE one('$mine'); EXECUTE one('$other'); COMMIT"), '00000', '... and done without');

	# what a function does elsewhere is undone with its statement, wherever that calls it, and whatever its caller has set
	my $before = rows_of($c, "SELECT version FROM pointstore.get_balance('$other')");
	is(state_of($session, q{PREPARE fails(integer) AS SELECT 1 / $1; SET citus.enable_ddl_propagation = off; CREATE PROCEDURE public.nothing(n integer) LANGUAGE plpgsql AS 'BEGIN END';
		CREATE FUNCTION public.fixed(account text) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN length(public.also(account)) - 8; END'}), '00000', 'calls that fail');
	foreach my $setting ('on', 'off')
	{
		$session->query("SET citus.function_opens_transaction_block = $setting");
		is(state_of($session, $_), '22012', "undone: $_") foreach "EXECUTE fails(length(public.also('$other')) - 8)", "CALL public.nothing(1 / (length(public.also('$other')) - 8))",
		  "SELECT 1 / (length(public.also('$other')) - 8)", "SELECT outcome FROM pointstore.append_event('$mine', 'E', 1 / public.fixed('$other'))";
	}
	is(rows_of($c, "SELECT version FROM pointstore.get_balance('$other')"), $before, '... all of it');
}

# A kept plan goes after its account, and asks for the right to call what it calls.
{
	my ($mine) = rows_of($c, "SELECT 'own' || i FROM generate_series(1, 1000) i, LATERAL pointstore.node_of('own' || i) n WHERE n.node = $group{w1} ORDER BY i DESC LIMIT 1");
	my $shard = rows_of($c, "SELECT shard FROM pointstore.node_of('$mine')");
	my %port = (w1 => $w1->port, w2 => $w2->port);
	$c->safe_psql('postgres', 'CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA pointstore TO stranger');
	my @sessions = map { CitusTest::Session->new($w1, options => "-c plan_cache_mode=$_") } 'auto', 'force_generic_plan';
	my $version = 0;
	foreach my $session (@sessions)
	{
		is(state_of($session, qq{PREPARE p(text) AS SELECT version FROM pointstore.append_event(\$1, 'E'); PREPARE l AS SELECT version FROM pointstore.append_event('$mine', 'E')}), '00000', 'plans to be kept');
		is(rows_of($session, "EXECUTE $_"), ++$version, "... $_") foreach ("p('$mine')", 'l') x 7;
	}
	foreach my $move ([ 'w1', 'w2' ], [ 'w2', 'w1' ])
	{
		my ($from, $to) = @$move;
		is(state_of($c, "SELECT citus_move_shard_placement($shard, '127.0.0.1', $port{$from}, '127.0.0.1', $port{$to}, 'block_writes')"), '00000', "to $to");
		foreach my $session (@sessions)
		{
			is(rows_of($session, "EXECUTE $_"), ++$version, "... $_") foreach $to eq 'w2' ? ("p('$mine')", 'l', "p('$mine')") : ("p('$mine')", "p('$mine')");
			$session->query('SET ROLE stranger');
			is(state_of($session, "EXECUTE p('$mine')"), '42501', '... by a stranger');
			$session->query('RESET ROLE');
		}
	}
}

# What runs as the owner finds no operator and no table by the caller's search_path.
{
	my ($first, $second) = split /\n/, rows_of($c, "SELECT 'path' || i FROM generate_series(1, 100) i, LATERAL pointstore.node_of('path' || i) n WHERE n.node = $group{w1} ORDER BY i LIMIT 2");
	$_->safe_psql('postgres', q{SET citus.enable_ddl_propagation = off;
		CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;
		CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''U0667''; END';
		CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung);
		CREATE TABLE trap.event_store (); CREATE TABLE trap.balance (); CREATE TABLE trap.account_kind ()}) foreach $c, $w1, $w2;
	my $session = CitusTest::Session->new($w1, user => 'writer');
	is(state_of($session, 'SET search_path = trap, pointstore, pg_catalog'), '00000', 'a search_path');
	foreach my $call ("append_event('$first', 'E', 100, request_id => 'path')", "append_event('$first', 'E', 100, request_id => 'path')", "transfer('$first', '$second', 1)",
		"submit_event('$first', 'E', 1)", "hold('$first', 5, 'path')", "confirm_hold('path', 5, '$first')", "reverse_event('$first', 3)", "get_balance('$first')", "append_event('$first', 'E', 1, min_balance => 10)")
	{
		is(state_of($session, "SELECT count(*) FROM pointstore.$call"), '00000', "... leads nothing astray: $call");
	}
	# a user's trigger does not either, from the moment that it is there
	is(state_of($session, "SELECT pointstore.append_event('$first', 'E', 1)"), '00000', 'plain tables');
	my $shard = rows_of($w1, "SELECT 'pointstore.event_store_' || shard FROM pointstore.node_of('$first')");
	$w1->safe_psql('postgres', qq{SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on; SET citus.enable_unsafe_triggers = on;
		CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = CASE WHEN current_setting(''search_path'') = ''pg_catalog, pg_temp'' THEN ''U0001'' ELSE ''U0668'' END; END';
		CREATE TRIGGER tell AFTER INSERT ON $shard FOR EACH ROW EXECUTE FUNCTION public.tell()});
	is(state_of($session, "SELECT pointstore.$_"), 'U0001', "... and one with a trigger: $_") foreach "append_event('$first', 'E', 1)", "transfer('$first', '$second', 1)", "hold('$first', 1, 'h')";
	$w1->safe_psql('postgres', "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on; SET citus.enable_unsafe_triggers = on; DROP TRIGGER tell ON $shard");
	is(state_of($session, "SELECT pointstore.append_event('$first', 'E', 1)"), '00000', '... until it is gone');
}

# What the owner leaves in its tables would run as who distributes them.
{
	my $own = new_nodes(1, prefix => 'own_');
	my $oc = $own->{c};
	my $store = q{DROP SCHEMA IF EXISTS pointstore CASCADE; DROP EXTENSION IF EXISTS pointstore CASCADE; DROP OWNED BY keeper; GRANT CREATE ON SCHEMA public TO keeper; CREATE EXTENSION pointstore; SELECT pointstore.create_store('keeper'); GRANT CREATE ON SCHEMA pointstore TO keeper};
	$oc->safe_psql('postgres', 'CREATE ROLE keeper LOGIN');
	foreach my $left (
		q{CREATE FUNCTION public.evil(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''U0666''; END'; ALTER TABLE pointstore.event_store ADD CONSTRAINT cc CHECK (public.evil(event_type)) NOT VALID},
		q{CREATE FUNCTION public.evil(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; CREATE INDEX ON pointstore.event_store (version) WHERE public.evil(event_type)},
		q{CREATE FUNCTION public.evil(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; CREATE INDEX ON pointstore.balance (public.evil(aggregate_id))},
		q{ALTER TABLE pointstore.balance ADD COLUMN mine integer GENERATED ALWAYS AS (length(aggregate_id)) STORED},
		q{CREATE DOMAIN public.evil AS integer; ALTER TABLE pointstore.balance ADD COLUMN mine public.evil[]},
		q{CREATE SEQUENCE public.evil; ALTER TABLE pointstore.balance ADD COLUMN mine bigint DEFAULT nextval('public.evil')})
	{
		$oc->safe_psql('postgres', $store);
		$oc->safe_psql('postgres', q{SELECT pointstore.append_event('x', 'E', 1)});
		$oc->safe_psql('postgres', 'SET ROLE keeper; ' . $left);
		is(state_of($oc, 'SELECT pointstore.distribute_store(2)'), '55000', "refused: $left");
	}
	$oc->safe_psql('postgres', $store);
	is(state_of($oc, 'SELECT pointstore.distribute_store(2)'), '00000', '... and done where nothing is left');
}

done_testing();
