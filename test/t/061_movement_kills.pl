use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

# the points themselves
{
	my $node = new_cluster('points', conf => 'restart_after_crash = on');
	$node->start;
	create_store($node, 'postgres');
	foreach my $bad ('nonsense', 'a', '=kill', 'a=b', 'a=kill:0', 'a=kill:1x', 'a=kill,', "'a=kill,=wait'")
	{
		my $fine = $bad eq 'a=kill,';
		is(sqlstate($node, 'postgres', sprintf q{SET pointstore.injection = '%s'}, $bad =~ tr/'//dr), $fine ? '00000' : '22023', "set to $bad");
	}
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'pointstore.injection'}), 0, 'in no list of settings');
	is(sqlstate($node, 'postgres', q{CREATE ROLE nobody; SET ROLE nobody; SET pointstore.injection = 'before-commit=kill'}), '42501', 'a superuser sets it');
	is(sqlstate($node, 'postgres', q{SET pointstore.injection = 'other=kill, before-commit=error:2'; SELECT 1; SELECT pointstore.append_event('a', 'Earned', 1)}), '58000', 'an error, the second time');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store}), 0, '... and nothing is written');

	my $holder = $node->background_psql('postgres');
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('pointstore'), hashtext('before-commit'))});
	my $waiting = $node->background_psql('postgres');
	$waiting->query_until(qr/sent/, q{\echo sent
SET pointstore.injection = 'before-commit=wait:2';
SELECT pointstore.append_event('a', 'Earned', 1);
});
	ok(poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}), 'it waits');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pointstore.event_store}), 0, '... before its commit');
	$holder->quit;
	ok(poll_until($node, 'postgres', q{SELECT count(*) = 1 FROM pointstore.event_store}), '... no longer than the lock is held');
	$waiting->quit;

	foreach my $point ('before-commit', 'committed')
	{
		$node->psql('postgres', qq{SET pointstore.injection = 'any=wait, $point=kill:2'; SELECT pointstore.append_event('$point', 'Earned', 1)});
		poll_until($node, 'postgres', 'SELECT true');
		like(slurp_file($node->logfile), qr/kills itself at "$point"/, "killed: $point");
		is($node->safe_psql('postgres', qq{SELECT count(*) FROM pointstore.event_store WHERE aggregate_id = '$point'}), $point eq 'committed' ? 1 : 0, "... and what is there then");
	}
	$node->stop;
}

done_testing();
