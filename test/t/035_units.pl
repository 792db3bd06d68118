# Rooms by themselves, in a server without pointstore: test/unit, built by test/env/check.

use strict;
use warnings FATAL => 'all';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $unit = "$ENV{TESTDIR}/unit";
plan skip_all => 'make -C test/unit builds what is tested here' unless -e "$unit/queue.so";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', <<"END");
CREATE FUNCTION queue_transitions() RETURNS text LANGUAGE c AS '$unit/queue';
CREATE FUNCTION queue_walk(seed integer, steps integer) RETURNS void LANGUAGE c AS '$unit/queue';
CREATE FUNCTION queue_starts() RETURNS void LANGUAGE c AS '$unit/queue';
CREATE FUNCTION protocol_participant() RETURNS text LANGUAGE c AS '$unit/protocol';
CREATE FUNCTION protocol_coordinator() RETURNS text LANGUAGE c AS '$unit/protocol';
CREATE FUNCTION protocol_walks(long boolean) RETURNS text LANGUAGE c AS '$unit/protocol';
CREATE FUNCTION protocol_rules() RETURNS text LANGUAGE c AS '$unit/protocol';
CREATE FUNCTION protocol_walk(name text, mended boolean) RETURNS text LANGUAGE c AS '$unit/protocol';
CREATE FUNCTION judge_cases() RETURNS text LANGUAGE c AS '$unit/judge';
CREATE FUNCTION judge_order() RETURNS text LANGUAGE c AS '$unit/judge';
END

# what each change makes of a slot that is free, waiting, taken, abandoned, decided, answered
is($node->safe_psql('postgres', 'SELECT rtrim(queue_transitions(), chr(10))'), <<'END' =~ s/\n\z//r, 'a slot changes only as it may');
enter waiting - - - - -
withdraw - free - - - -
take - taken - - - -
follow - - decided - - -
answer - - answered - answered -
abandon - - abandoned - abandoned -
release - - - free - free
END

is($node->psql('postgres', 'SELECT queue_starts()'), 0, 'a queue gets the combiner that is meant, and its callers wait for no other');
foreach my $seed (1 .. 10)
{
	is($node->psql('postgres', "SELECT queue_walk($seed, 20000)"), 0, "all lists are sound on walk $seed");
}

is($node->safe_psql('postgres', 'SELECT judge_cases()'), '', 'the rules decide each case as the table says');
# an event that breaks all of them, as one after the other is kept
is($node->safe_psql('postgres', 'SELECT judge_order()'), 
	'change_waits pure no_kind account_closed account_frozen wrong_kind lease_lost version_conflict transition_not_allowed overflow'
	. ' insufficient_balance balance_limit appended', 'and in their order');

# movements: the tables in doc/internals.md are what the code does
my $document = PostgreSQL::Test::Utils::slurp_file("$ENV{TESTDIR}/../doc/internals.md");
foreach my $table (['participant', qr/^\| row \|.*\n\|---.*\n/m], ['coordinator', qr/^\| protocol \|.*\n\|---.*\n/m])
{
	my ($name, $head) = @$table;
	my ($rows) = $document =~ /$head((?:\|.*\n)+)/;
	is($node->safe_psql('postgres', "SELECT rtrim(protocol_$name(), chr(10))") . "\n", $rows // '', "the table of what a movement's $name does");
}

# each walk's name, and the states that it saw, or the way to a fault
sub walked
{
	my ($from, $mended) = @_;
	return map { [split /\t/] } split /\n/, $node->safe_psql('postgres', <<"END");
SELECT w || E'\t' || replace(protocol_walk(w, $mended), E'\n', '; ') FROM regexp_split_to_table(rtrim($from, E'\n'), E'\n') w
END
}

# all that may happen to a movement: each walk sees every state, and finds no fault
foreach my $walk (map { walked("protocol_walks($_)", 'false') } $ENV{CHECK_SOAK} ? ('false', 'true') : ('false'))
{
	my ($name, $found) = @$walk;
	ok($found =~ /^\d+\z/ && $found > 400, "movements, $name: $found states");
}

# and finds one where a rule is broken, which is there for no other reason
foreach my $walk (walked('protocol_rules()', 'false'))
{
	my ($name, $found) = @$walk;
	like($found, qr/ -> /, "movements, broken: $name");
}
is_deeply([map { $_->[0] } grep { $_->[1] !~ /^\d+\z/ } walked('protocol_rules()', 'true')], [], 'movements, the same walks with nothing broken');
$node->stop;
done_testing();
