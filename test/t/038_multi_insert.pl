# The event rows of a batch are stored together, a WAL record for those of a page, whatever
# columns of their own users have added; one by one where code of theirs might look for
# them. What is stored is the same: payloads that are toasted, indexes, what triggers see,
# after a crash too.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main', conf => 'checkpoint_timeout = 1h');
$node->start;
create_store($node, 'postgres');
# a payload of every tenth event is too large for a page
my $n = 1000;
$node->safe_psql('postgres', <<"END");
CREATE FUNCTION batch(name text) RETURNS jsonb LANGUAGE sql AS \$\$
SELECT jsonb_agg(jsonb_build_object('aggregate_id', 'account-' || i % 30, 'event_type', 'Earned', 'amount', 1,
	'payload', jsonb_build_object('batch', name, 'i', i, 'text', CASE WHEN i % 10 = 0 THEN
		(SELECT string_agg(md5(name || i || k), '가') FROM generate_series(1, 300) k) END)) ORDER BY i)
  FROM generate_series(1, $n) i \$\$;
END

# Appends a batch by a statement; returns the WAL records that store its rows: one by one, together.
sub records
{
	my ($statement) = @_;
	my $file = $node->safe_psql('postgres', q{SELECT pg_relation_filenode('pointstore.event_store')});
	my ($from, $to) = split /\n/, $node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn(); DO \$\$ BEGIN PERFORM $statement; END \$\$; SELECT pg_current_wal_insert_lsn()");
	my ($wal) = run_command([ 'pg_waldump', '-p', $node->data_dir . '/pg_wal', '-s', $from, '-e', $to ]);
	my @stored = grep { m{rel \d+/\d+/$file\b} } split /\n/, $wal;
	return (scalar(grep { /desc: INSERT/ } @stored), scalar(grep { /desc: MULTI_INSERT/ } @stored));
}

sub appends
{
	my ($name, $statement) = @_;
	my ($single, $together) = records($statement // "pointstore.append_events(batch('$name'))");
	is($node->safe_psql('postgres', <<"END"), 't', "$name: what is stored is what was given");
SELECT count(*) = $n AND bool_and(e.payload = b.element -> 'payload' AND e.aggregate_id = b.element ->> 'aggregate_id')
  FROM jsonb_array_elements(batch('$name')) WITH ORDINALITY b(element, i)
  JOIN pointstore.event_store e ON e.payload ->> 'batch' = '$name' AND e.payload ->> 'i' = b.i::text
END
	return ($single, $together);
}

sub together
{
	my ($name) = @_;
	my ($single, $together) = appends($name);
	is($single, 0, "$name: no row by itself");
	cmp_ok($together, '<', $n / 4, "$name: a record has the rows of a page");
	cmp_ok($together, '>', 0, "$name: there are some");
	return;
}

together('plain');
$node->safe_psql('postgres', 'ALTER TABLE pointstore.event_store ADD channel text, ADD gone integer; ALTER TABLE pointstore.event_store DROP gone; CREATE INDEX own ON pointstore.event_store USING gin (payload jsonb_path_ops)');
together('own columns and indexes');

# crashed right after it was told
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*), sum(amount) FROM pointstore.event_store}), (2 * $n) . '|' . (2 * $n), 'all is there after a crash');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM pointstore.event_store WHERE payload @> '{"batch": "plain"}'}), $n, 'and found by an index');

# code of the users' is called for each row, and finds those before it as it always did
$node->safe_psql('postgres', q{CREATE TABLE seen (id bigint, before bigint, statement integer); CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.seen VALUES (NEW.id, (SELECT count(*) FROM pointstore.event_store WHERE payload ->> 'batch' = 'trigger'), 0); RETURN NEW; END $$;
	CREATE FUNCTION see_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen SELECT id, 0, 1 FROM news; RETURN NULL; END $$;
	CREATE TRIGGER see AFTER INSERT ON pointstore.event_store FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TRIGGER see_all AFTER INSERT ON pointstore.event_store REFERENCING NEW TABLE AS news FOR EACH STATEMENT EXECUTE FUNCTION see_all()});
my ($single, $together) = appends('trigger');
is("$single $together", "$n 0", 'beside a trigger each row by itself');
is($node->safe_psql('postgres', q{SELECT statement, count(*), count(DISTINCT id), max(before) FROM seen GROUP BY 1 ORDER BY 1}), "0|$n|$n|$n\n1|$n|$n|0", 'triggers see each row once');
$node->safe_psql('postgres', q{DROP TRIGGER see ON pointstore.event_store; DROP TRIGGER see_all ON pointstore.event_store;
	ALTER TABLE pointstore.event_store ADD source text DEFAULT 'web', ADD twice bigint GENERATED ALWAYS AS (amount * 2) STORED, ADD CHECK (event_type <> 'Bad')});
appends('defaults');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store WHERE source IS DISTINCT FROM 'web' OR twice IS DISTINCT FROM 2 * amount}), 0, 'defaults and generated columns');

# what fails when it is stored names its element, and nothing is left
$node->safe_psql('postgres', q{ALTER TABLE pointstore.event_store DROP source, DROP twice; ALTER TABLE pointstore.event_store DROP CONSTRAINT event_store_event_type_check;
	CREATE UNIQUE INDEX only_once ON pointstore.event_store (event_type, amount) WHERE amount > 1});
my $before = $node->safe_psql('postgres', 'SELECT count(*), sum(amount), (SELECT sum(balance) FROM pointstore.balance) FROM pointstore.event_store');
foreach my $element (1, 255, 256, 999)
{
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT pointstore.append_events(jsonb_set(jsonb_set(batch('bad'), '{0,amount}', '2'), '{$element,amount}', '2'))");
	like($err, qr/ERROR:  23505: .*element $element\b/s, "element $element is named");
}
is($node->safe_psql('postgres', 'SELECT count(*), sum(amount), (SELECT sum(balance) FROM pointstore.balance) FROM pointstore.event_store'), $before, 'nothing of them is left');
is(faults($node, 'postgres'), '', 'the store is sound');
$node->stop;
done_testing();
