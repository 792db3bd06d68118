# README.md, README.ko.md and doc/: every block of SQL runs, in the order in which it
# stands, each page in a database of its own. What a block prints is compared with the
# text block that follows it; without one, its errors are those that its comments announce
# (-- ERROR: SQLSTATE). Python runs where its modules are there; other languages are checked for their syntax
# where a tool is there. The reference says what the catalogs say, the list of rooms what
# their banners say, each finding code has its heading, and contents and links point to something.

use strict;
use warnings FATAL => 'all';
use Cwd qw(abs_path);
use Encode qw(decode_utf8);
use File::Basename qw(dirname);
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run qw(run);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $root = abs_path("$FindBin::RealBin/../..");
my @pages = map { s/^\Q$root\E\///r } glob("$root/README*.md $root/doc/*.md");
my %text = map { $_ => slurp_file("$root/$_") } @pages;

my $node = new_cluster('main');
$node->start;
my $tmp = PostgreSQL::Test::Utils::tempdir();

# A page as it is shown: without its blocks, that is.
sub prose
{
	return decode_utf8($text{ $_[0] }) =~ s/^(```|~~~).*?^\1\n//msgr;
}

# What psql prints of a block, errors in their place.
sub output
{
	my ($db, $sql, $verbosity) = @_;
	my $out;
	run [ 'psql', '-Xq', '-P', 'pager=off', '-v', "VERBOSITY=$verbosity", '-v', 'SHOW_CONTEXT=never',
		'-d', $node->connstr($db), '-f', '-' ], '<', \$sql, '>&', \$out
	  or die "psql did not come to the end of a block: $out";
	$out =~ s/^psql:<stdin>:\d+: //mg;
	return $out;
}

# Runs a page's SQL in a database, and what it has in Python afterwards.
sub run_page
{
	my ($page) = @_;
	my $text = $text{$page};
	my $db = lc($page =~ s/\W/_/gr);
	my $blocks = 0;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	while ($text =~ /^```sql\n(.*?)^```\n(?:```text\n(.*?)^```\n)?/msg)
	{
		my ($sql, $expected) = ($1, $2);
		my ($name) = $sql =~ /^(.{1,70})/;
		$blocks++;
		if (defined $expected)
		{
			is(output($db, $sql, 'default'), $expected, "$page: output of: $name");
			next;
		}
		my @announced = $sql =~ /^-- ERROR: (\w{5})$/mg;
		my @errors = output($db, $sql, 'sqlstate') =~ /^(?:ERROR|FATAL):\s+(\w{5})$/mg;
		is("@errors", "@announced", "$page: errors of: $name");
	}
	is($blocks, scalar(() = $text =~ /^```sql/mg), "$page: every block was found");
	is(scalar(() = $text =~ /^```text/mg), scalar(() = $text =~ /^```\n```text/mg), "$page: each output follows its block");
	run_python($page, $db, $1) while $text =~ /^```python\n(.*?)^```$/msg;
	return if $blocks == 0;
	is(faults($node, $db), '', "$page: the store is sound afterwards");
	return $blocks;
}

# Runs a block of Python where the modules that it imports are there, else only reads it.
sub run_python
{
	my ($page, $db, $block) = @_;
	my $python = -x '/usr/bin/python3' ? '/usr/bin/python3' : 'python3';
	my ($name, $out) = ($block =~ /^(.{1,70})/);
	my $imports = join "\n", $block =~ /^((?:import|from) .*)$/mg;

	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $db, PYTHONDONTWRITEBYTECODE => 1);
	return diag("$page: there is no python3, a block is not read") if !eval { run [ $python, '-c', '' ], '>&', \$out };
	if (!run [ $python, '-c', $imports ], '>&', \$out)
	{
		ok(run([ $python, '-c', 'import ast, sys; ast.parse(sys.stdin.read())' ], '<', \$block, '>&', \$out), "$page: syntax of: $name") or diag($out);
		return;
	}
	ok(run([ $python, '-' ], '<', \$block, '>&', \$out), "$page: runs: $name") or diag($out);
	return;
}

my $blocks = 0;
$blocks += run_page($_) // 0 foreach @pages;
cmp_ok($blocks, '>', 40, 'there are some');

# Blocks of other languages, by their name: how a file of them is checked.
my %checks = (
	js => [ 'mjs', 'node', '--check' ],
	ts => [ 'ts', 'esbuild', '--log-level=error', "--outfile=$tmp/out.js" ],
	java => [ 'java', 'javac', '-proc:none', '-XDshould-stop.ifNoError=PARSE', '-d', $tmp ],
	sh => [ 'sh', 'bash', '-n' ]);
foreach my $page (@pages)
{
	while ($text{$page} =~ /^```(js|ts|java|sh)\n(.*?)^```$/msg)
	{
		my ($language, $block, $out) = ($1, $2);
		my ($ending, $tool, @arguments) = @{ $checks{$language} };
		my ($class) = $block =~ /^(?:public )?class (\w+)/m;
		my $file = "$tmp/" . ($class // 'block') . ".$ending";
		next if !grep { -x "$_/$tool" } split /:/, $ENV{PATH};
		append_to_file($file, $block);
		ok(run([ $tool, @arguments, $file ], '>&', \$out), "$page: syntax of $language") or diag($out);
		unlink $file;
	}
}

# The READMEs: short, and the same blocks in both.
sub blocks_of
{
	return join '', $text{ $_[0] } =~ /^(```(?:sql|text|sh)\n.*?^```\n)/msg;
}

foreach my $page ('README.md', 'README.ko.md')
{
	cmp_ok(scalar(() = $text{$page} =~ /\n/g), '<=', 300, "$page has at most 300 lines");
}
is(blocks_of('README.ko.md'), blocks_of('README.md'), 'README.ko.md has the blocks of README.md');

# Links and contents. GitHub makes the anchor of a heading so.
sub anchors
{
	return map { lc($_) =~ s/`//gr =~ s/[^\w\- ]//gr =~ tr/ /-/r } prose($_[0]) =~ /^#+ (.*)$/mg;
}

foreach my $page (@pages)
{
	my @broken;
	foreach my $link (prose($page) =~ /\]\(([^)\s]+)\)/g)
	{
		my ($file, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
		next if $file =~ /^https?:/;
		my $path = $file eq '' ? "$root/$page" : dirname("$root/$page") . "/$file";
		my $target = abs_path($path);
		# what else is at the root and in test/ comes with the sources
		push(@broken, $link), next if !defined $target || !-e $target;
		$target =~ s/^\Q$root\E\///;
		push @broken, $link if defined $anchor && !grep { $_ eq $anchor } anchors($target);
	}
	is("@broken", '', "$page: each link points to something");
	next if $page =~ /^README/;
	is(join("\n", $text{$page} =~ /^- \[(.*)\]\(#.*\)$/mg), join("\n", prose($page) =~ /^## (.*)$/mg), "$page: its contents are its headings");
}

# The runbook has a heading for each code, and for none that there is not; and a row for each of movements.
$node->safe_psql('postgres', 'CREATE DATABASE catalog');
my ($codes, $of_movements) = map { join(' ', sort /\b((?!reconcile_movements|resolve_movement)[a-z]+_[a-z_]+)\b/g) } split(/about movements/, $node->safe_psql('readme_md',
		q{SELECT col_description('pointstore.finding'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'pointstore.finding'::regclass AND attname = 'code'}));
is(join(' ', sort $text{'doc/operations.md'} =~ /^### `(\w+)`$/mg), $codes, 'doc/operations.md has a heading for each finding code');
is(join(' ', sort $text{'doc/operations.md'} =~ /^\| `(movement_\w+)` \|/mg), $of_movements, 'and a row for each code of movements');

# The reference: what the catalogs say stands between its marks, all of it and nothing else.
my ($out, $err);
run [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('catalog'), '-f', "$root/test/env/reference.sql" ], '>', \$out, '2>', \$err
  or die "reference.sql: $err";
my %made = $out =~ /^<!-- (?!end)(.*?) -->\n(.*?)^<!-- end -->/msg;
my %written = $text{'doc/reference.md'} =~ /^<!-- (?!end)(.*?) -->\n(.*?)^<!-- end -->/msg;
cmp_ok(scalar(keys %made), '>', 40, 'there is something to refer to');
is(join("\n", sort keys %written), join("\n", sort keys %made), 'doc/reference.md has a place for each function, type, table and view, and no others');
is($written{$_} // '', $made{$_}, "doc/reference.md: $_, made by test/env/reference") foreach sort keys %made;

run [ 'perl', "$root/test/env/rooms" ], '>', \$out, '2>', \$err or die "rooms: $err";
my ($rooms) = $text{'doc/internals.md'} =~ /^(<!-- rooms -->\n.*?^<!-- end -->\n)/ms;
is($rooms, $out, 'doc/internals.md: the rooms, by test/env/reference');

my %states;
foreach my $header (glob "$root/src/*.h $root/src/*/*.h")
{
	my $text = slurp_file($header);
	$states{"PS$1$2$3"} = 1 while $text =~ /MAKE_SQLSTATE\('P',\s*'S',\s*'(\d)',\s*'(\d)',\s*'(\d)'\)/g;
}
is(join(' ', $text{'doc/reference.md'} =~ /^\| (PS\d+) \| [a-z]+_\w+ \|/mg), join(' ', sort keys %states), 'doc/reference.md has each SQLSTATE of ours');

$node->stop;
done_testing();
