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
	'retries in the file are skipped' => qr/^  66 lines\n    -> 57 events of 10 accounts, 81710 points$/m,
	'the same request' => qr/-> appended, version 5, balance 8675, .*\n.*\n    -> replayed, version 5, balance 8675,/,
	'a misused request' => qr/-900.*\n    -> PS002: /,
	'the first debit succeeds' => qr/^  first session\n    -> appended, version 2, balance 1000,/m,
	'the second is refused' => qr/^  second session\n    -> PS003: /m,
	'a hold' => qr/^  hold\(.*\n    -> appended, version 6, balance 8675, available 5675$/m,
	'a part of it is taken' => qr/^  confirm_hold\(.*\n    -> appended, version 7, balance 6175, available 6175$/m,
	'a transfer' => qr/^  transfer\(.*\n    -> appended, version 8, balance 5175, .*\n    -> appended, version 3, balance 2000, /m,
	'and its compensation' => qr/^  reverse_event\(.*\n    -> .* balance 6175, .*\n    -> .* balance 1000, /m,
	'a raw UPDATE' => qr/-> PS010: /,
	'an UPDATE of events' => qr/-> PS006: /,
	'callers alone and combined' => qr/^  append_event\n    -> [1-9]\d* a second\n  submit_event\n    -> [1-9]\d* a second$/m,
	'what was tampered with is found' => qr/-> findings: 12 accounts, .*\n    -> balance_mismatch of member-1033: expected 16775, found 94552 \(error\)$/m,
	'and is clean after the repair' => qr/repair\(.*\n.*\n.*\n    -> clean: 12 accounts, /,
	'on one screen' => qr/\A(?:.*\n){1,60}.*\z/);
like($out, $shown{$_}, $_) foreach sort keys %shown;

my ($connect) = $out =~ /^    (psql .*)$/m;
($out, $err) = run_command([ 'sh', '-c', "$connect -XAtc 'SELECT count(*) FROM pointstore.account'" ]);
is($out, '12', 'the cluster is left running, to be connected to as it says');
run_command([ 'bash', "$demo/run" ]);
($out, $err) = run_command([ 'sh', '-c', "$connect -XAtc 'SELECT count(*) FROM pointstore.account'" ]);
is($out, '12', 'another run leaves it alone');
($out, $err) = run_command([ 'bash', "$demo/stop" ]);
is(scalar(() = $out =~ /^stopped/mg), 2, 'both are stopped');
($out, $err) = run_command([ 'bash', "$demo/stop" ]);
is($out, '', 'once');

done_testing();
