# The house: src/ is built as test/env/house wants it, and that notices when it is not.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname($ENV{TESTDIR});

sub faults_of
{
	my ($house) = @_;
	my $found = `"$house/test/env/house"`;
	return ($? >> 8, $found);
}

# a small house of its own, in which nothing is wrong, and a file of it as it is said
sub house_with
{
	my (%changed) = @_;
	my $house = PostgreSQL::Test::Utils::tempdir();
	my %file = (
		'Makefile' => "floors = ground account\n",
		'src/ground/pointstore.h' => "#define ALL 1\n",
		'src/ground/row.h' => "extern void pointstore_row(void);\n",
		'src/ground/row.c' => "#include \"ground/row.h\"\nvoid\npointstore_row(void)\n{\n}\n",
		'src/account/account.c' => "#include \"ground/row.h\"\nvoid\nopen_account(int a,\n\t\t\t int b)\n{\n\tpointstore_row();\n}\n",
		%changed);
	foreach my $name (keys %file)
	{
		make_path(dirname("$house/$name"));
		append_to_file("$house/$name", $file{$name});
	}
	make_path("$house/test/env");
	my $script = slurp_file("$root/test/env/house") =~ s/(my %is_known = .*? qw\().*?\)/$1)/sr;
	append_to_file("$house/test/env/house", $script);
	chmod 0755, "$house/test/env/house";
	return $house;
}

my ($status, $found) = faults_of($root);
is($found, '', 'nothing is wrong with the house');
is($status, 0, 'and it says so');

($status, $found) = faults_of(house_with());
is("$status$found", '0', 'nor with a small one');

my $long = join '', "\tpointstore_row();\n" x 60;
my %broken = (
	# which makes a circle too, told of both its rooms
	'an include that goes up' => [ 3, qr/row\.c includes account\/account\.h, of a floor above/,
		'src/account/account.h' => '', 'src/ground/row.c' => "#include \"account/account.h\"\n" ],
	'a circle' => [ 2, qr/ground\/row includes ground\/stat includes ground\/row/,
		'src/ground/row.c' => "#include \"ground/row.h\"\n#include \"ground/stat.h\"\n", 'src/ground/stat.h' => "#include \"ground/row.h\"\n" ],
	'a function that nobody else calls' => [ 1, qr/row\.h: no other room calls pointstore_alone\(\)/,
		'src/ground/row.h' => "extern void pointstore_row(void);\npg_noreturn extern void pointstore_alone(int a);\n" ],
	'a long function' => [ 1, qr/account\.c:open_account\(\) has 63 lines/,
		'src/account/account.c' => "#include \"ground/row.h\"\nvoid\nopen_account(void)\n{\n$long}\n" ],
	'a long file' => [ 1, qr/account\.c has 801 lines/, 'src/account/account.c' => "pointstore_row();\n" . "\n" x 800 ],
	'a long header for all' => [ 1, qr/pointstore\.h has 151 lines/, 'src/ground/pointstore.h' => "\n" x 151 ],
	'a folder that is no floor' => [ 1, qr/src\/attic is no floor/, 'src/attic/old.c' => '' ]);
foreach my $what (sort keys %broken)
{
	my ($n, $fault, @changed) = @{ $broken{$what} };
	($status, $found) = faults_of(house_with(@changed));
	like($found, $fault, $what);
	is("$status" . ($found =~ tr/\n//), "1$n", 'nothing else, and it fails');
}

done_testing();
