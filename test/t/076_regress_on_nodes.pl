# The regression tests in a distributed store: what they tell differs from what they tell in a plain one only where
# test/nodes/differences says so, and why. CHECK_DIFFERENCES=write writes that file anew, in the copy of the sources that is
# tested; what is new in it then has no reason yet.
#
# The coordinator has all shards, so that no call is refused for its node alone (PS013), and everything after it; the tests of
# nodes (070 to 075) are about that. Everything else is as on many nodes: shards, rules on every node, commits of Citus.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use CitusTest;
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

plan skip_all => 'Citus is not installed' if citus_is_missing();

my $sources = "$FindBin::RealBin/../..";
my $list = "$sources/test/nodes/differences";
my $work = "$PostgreSQL::Test::Utils::tmp_check/regress";

# The file: comments, what is left out, or from a line on, reasons by name, and of each test its differences: [reason, text].
my (@head, %left_out, %until, %reason, %differences, $test);
foreach (split /\n/, slurp_file($list))
{
	if (/^== (\S+)$/) { $differences{ $test = $1 } = []; }
	elsif (defined $test && /^@@ (\S+) (.*)$/) { push @{ $differences{$test} }, [ $1, "$2\n" ]; }
	elsif (defined $test) { $differences{$test}[-1][1] .= "$_\n"; }
	else
	{
		push @head, $_;
		$left_out{$1} = $2 if /^out (\S+): (.+)$/;
		$until{$1} = $2 if /^until (\S+): (.+)$/;
		$reason{$1} = $2 if /^because (\S+): (.+)$/;
	}
}

# A test, or what is expected of it, as it is on nodes: roles log in on other nodes, and a step of a hold says its account.
sub adapted
{
	my ($text, $until) = @_;
	# of each hold, or of those whose names begin so, the account that places it first
	my %account = reverse $text =~ /(?<!confirm_)(?<!cancel_)hold\('([^']+)', *[^,]+, *'([^']+)'/g;
	my @holds = sort { length $b <=> length $a } keys %account;
	my $ended = sub {
		my ($step, $hold, $name) = @_;
		my ($placed) = grep { index($hold, $_) == 0 } @holds;
		return $step . (defined $placed ? ", $name'$account{$placed}')" : ')');
	};

	$text =~ s/^\Q$until\E\n.*//ms if defined $until;
	$text =~ s/(CREATE ROLE (?:(?!LOGIN)[^;])+);/$1 LOGIN;/g;
	$text =~ s/(confirm_hold\('([^']+)')((?:, [^,()']+)?(?:, (?!aggregate_id)\w+ => (?:'[^']*'|[^(),']+))*)\)/$ended->("$1$3", $2, 'aggregate_id => ')/ge;
	$text =~ s/(cancel_hold\('([^']+)')\)/$ended->($1, $2, '')/ge;
	return $text;
}

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>', $name or die "$name: $!";
	print $file $text;
	close $file or die;
	return;
}

# What one text has other than another, each difference under the statement that it is of. What is never the same twice is left out.
sub compared
{
	my ($expected, $result) = @_;
	my @lines = split /\n/, slurp_file($expected);
	my @found;

	foreach (split /\n/, `diff -U0 $expected $result`)
	{
		next if /^(---|\+\+\+) /;
		if (/^@@ -(\d+)/)
		{
			my ($statement) = grep { /^(\\|[A-Z]+\b.*[^:]$|[A-Z]+;)/ && !/^(ERROR|WARNING|NOTICE|DETAIL|HINT|LINE|CONTEXT)/ } reverse @lines[ 0 .. $1 - 1 ];
			push @found, substr($statement // 'nothing', 0, 80) =~ s/\s+$//r . "\n";
			next;
		}
		if (/^\+/)
		{
			s/"?\w{3} \w{3} \d\d \d\d:\d\d:\d\d[.\d]* \d{4} \w+"?/TIME/g;
			s/"?\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d[.\d]* \w+"?/TIME/g;
			s/\d{5,}/N/g unless /^\+(ERROR|WARNING):/;
			s/-{2,}/--/g;
			s/ {2,}/ /g;
		}
		$found[-1] .= s/\s+$//r . "\n";
	}
	return @found;
}

my $nodes = new_nodes(2);
my $c = $nodes->{c};
my @tests = grep { !exists $left_out{$_} } map { m{([^/]+)\.sql$} } grep { !/--/ } sort glob "$sources/sql/*.sql";

make_path("$work/sql", "$work/expected");
foreach my $name (@tests)
{
	write_file("$work/sql/$name.sql", adapted(slurp_file("$sources/sql/$name.sql"), $until{$name}));
	write_file("$work/expected/$name.out", adapted(slurp_file("$sources/expected/$name.out"), $until{$name}));
}
$c->safe_psql('postgres', sprintf(q{SELECT citus_set_node_property('127.0.0.1', %d, 'shouldhaveshards', %s)}, $nodes->{$_}->port, $_ eq 'c' ? 'true' : 'false')) foreach @{ $nodes->{names} };
distribute($nodes, 8);
# users' triggers are about rows that are together
$c->safe_psql('postgres', q{ALTER DATABASE postgres SET citus.enable_unsafe_triggers = on; ALTER DATABASE postgres SET statement_timeout = '3min'});

run_log([ $ENV{PG_REGRESS}, '--bindir=', "--inputdir=$work", "--outputdir=$work", '--use-existing', '--host=' . $c->host, '--port=' . $c->port, '--dbname=postgres', @tests ]);
my $new = join "\n", @head, '';
foreach my $name (@tests)
{
	my @found = compared("$work/expected/$name.out", "$work/results/$name.out");
	my @meant = @{ $differences{$name} // [] };
	my %reason_of = map { $_->[1] => $_->[0] } @meant;

	is(join("\n", @found), join("\n", map { $_->[1] } @meant), "$name differs where it is meant to");
	$new .= "== $name\n" . join '', map { '@@ ' . ($reason_of{$_} // '?') . " $_" } @found if @found;
	is(join(' ', grep { !exists $reason{$_} } map { $_->[0] } @meant), '', '... and for reasons that are told');
}
write_file($list, $new) if ($ENV{CHECK_DIFFERENCES} // '') eq 'write';
done_testing();
