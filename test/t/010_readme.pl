# README.md: every block of SQL in it runs, in the order in which it stands, in one
# database. What a block prints is compared with the text block that follows it;
# without one, its errors are those that its comments announce (-- ERROR: SQLSTATE).
# And its reference has every function that a role is granted, and every argument.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run qw(run);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main');
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE readme');

# What psql prints of a block, errors in their place.
sub output
{
	my ($sql, $verbosity) = @_;
	my $out;
	run [ 'psql', '-Xq', '-P', 'pager=off', '-v', "VERBOSITY=$verbosity", '-v', 'SHOW_CONTEXT=never',
		'-d', $node->connstr('postgres') =~ s/dbname=\S+/dbname=readme/r, '-f', '-' ], '<', \$sql, '>&', \$out
	  or die "psql did not come to the end of a block: $out";
	$out =~ s/^psql:<stdin>:\d+: //mg;
	return $out;
}

my $text = slurp_file("$FindBin::RealBin/../../README.md");
my $blocks = 0;
while ($text =~ /^```sql\n(.*?)^```\n(?:```text\n(.*?)^```\n)?/msg)
{
	my ($sql, $expected) = ($1, $2);
	my ($name) = $sql =~ /^(.{1,70})/;
	$blocks++;
	if (defined $expected)
	{
		is(output($sql, 'default'), $expected, "output of: $name");
		next;
	}
	my @announced = $sql =~ /^-- ERROR: (\w{5})$/mg;
	my @errors = output($sql, 'sqlstate') =~ /^(?:ERROR|FATAL):\s+(\w{5})$/mg;
	is("@errors", "@announced", "errors of: $name");
}
is($blocks, scalar(() = $text =~ /^```sql/mg), 'every block was found');
cmp_ok($blocks, '>', 15, 'and there are some');
is(scalar(() = $text =~ /^```text/mg), scalar(() = $text =~ /^```\n```text/mg), 'each output follows its block');
is(faults($node, 'readme'), '', 'the store is sound afterwards');

my ($reference) = $text =~ /^## Reference\n(.*?)^## /ms;
my @functions = split /\n/, $node->safe_psql('readme', <<'END');
SELECT proname, array_to_string(proargnames[1:pronargs], ' ') FROM pg_proc
 WHERE pronamespace = 'pointstore'::regnamespace
   AND (has_function_privilege('shop_ops', oid, 'EXECUTE') OR proname IN ('create_store', 'upgrade_store', 'grant_access'))
 ORDER BY proname
END
cmp_ok(scalar(@functions), '>', 15, 'there are functions to call');
foreach my $function (@functions)
{
	my ($name, $arguments) = split /\|/, $function;
	my @missing = grep { $reference !~ /\b\Q$_\E\b/ } $name, split(/ /, $arguments);
	is("@missing", '', "reference of $name");
}

$node->stop;
done_testing();
