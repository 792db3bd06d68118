# The demo: it runs, shows what README.md says it shows, leaves a cluster running
# that can be connected to as it says, and is stopped.

use strict;
use warnings FATAL => 'all';
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $demo = "$FindBin::RealBin/../demo";
$ENV{DEMO_INSTALLED} = 1;
delete @ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)};

my ($out, $err) = run_command([ 'bash', "$demo/run" ]);
is($err, '', 'it complains of nothing');
my %shown = (
	'a retry in the file is skipped' => qr/^COPY 57$/m,
	'the week adds up' => qr/^ +57 \| +57 \| +81710$/m,
	'the late booking keeps its time' => qr/1595 \| 2026-11-09 18:42:00\+09 \| t/,
	'the first debit succeeds' => qr/^first: appended\|2\|1000$/m,
	'the second is refused' => qr/^second: -- SQLSTATE PS003$/m,
	'no oversell' => qr/^2\|1000$/m,
	'the same request' => qr/^ replayed \| +5 \| +8675$/m,
	'a misused request' => qr/^-- SQLSTATE PS002$/m,
	'a stale version' => qr/^-- SQLSTATE PS001$/m,
	'a stale version as an outcome' => qr/^ version_conflict \| +5 \| +8675$/m,
	'a raw UPDATE' => qr/^-- SQLSTATE PS010$/m,
	'an UPDATE and a TRUNCATE of events' => qr/^-- SQLSTATE PS006\nTRUNCATE.*^-- SQLSTATE PS006$/ms,
	'what was known' => qr/^ +0 \| +2775 \| +8675 \| +1625$/m,
	'the repair' => qr/^ rebuild \| 94552 +\| 16775 \|/m);
like($out, $shown{$_}, $_) foreach sort keys %shown;

my ($connect) = $out =~ /^    (psql .*)$/m;
($out, $err) = run_command([ 'sh', '-c', "$connect -XAtc 'SELECT count(*) FROM pointstore.account'" ]);
is($out, '11', 'the cluster is left running, to be connected to as it says');
($out, $err) = run_command([ 'bash', "$demo/stop" ]);
like($out, qr/stopped/, 'and is stopped');
($out, $err) = run_command([ 'bash', "$demo/stop" ]);
is($out, '', 'once');

done_testing();
