# What the TAP tests of pointstore share: clusters with the library loaded, a
# statement's SQLSTATE, and the question whether a whole store is sound.

package StoreTest;

use strict;
use warnings FATAL => 'all';

use Exporter qw(import);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(new_cluster start_again create_store sqlstate plans poll_until faults feed_faults);

# The plans of a statement, and of those within it, as they come when whatever is planned would be compiled.
sub plans
{
	my ($node, $db, $sql) = @_;
	my (undef, undef, $told) = $node->psql($db, "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
 SET auto_explain.log_level = notice; SET jit_above_cost = 0; $sql; SELECT count(*) FROM pg_class");

	return split /^(?:psql:\S+ )?NOTICE: /m, $told;
}

# A cluster that is initialised but not started, ready for clients and prepared
# transactions. Parameters as for init(); conf: more lines of postgresql.conf.
sub new_cluster
{
	my ($name, %params) = @_;
	my $conf = delete $params{conf} // '';
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%params);
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'pointstore'
max_connections = 40
max_prepared_transactions = 60
shared_buffers = 64MB
log_statement = none
autovacuum = off
$conf
END
	return $node;
}

# Starts the server after kill -9: once the last of its processes is gone, and without its lock
# files, which name a process that nobody may have waited for yet.
sub start_again
{
	my ($node) = @_;
	my $data = $node->data_dir;

	foreach (1 .. 600)
	{
		last if !grep { (readlink("$_/cwd") // '') eq $data } glob '/proc/[0-9]*';
		select(undef, undef, undef, 0.1);
	}
	unlink "$data/postmaster.pid", sprintf('%s/.s.PGSQL.%d.lock', $node->host, $node->port);
	$node->start;
	return;
}

# The extension and an empty store in a database.
sub create_store
{
	my ($node, $db) = @_;
	$node->safe_psql($db, 'CREATE EXTENSION pointstore; SELECT pointstore.create_store();');
	return;
}

# The SQLSTATE of a script's first error, or 00000.
sub sqlstate
{
	my ($node, $db, $sql, %params) = @_;
	my ($rc, $out, $err) = $node->psql($db, "\\set VERBOSITY sqlstate\n$sql", %params);

	return '00000' if $rc == 0;
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err;
}

# Waits until a query says t, or what is expected; false when it does not in time. As poll_query_until(), but in one
# session, which is begun again when it has ended: errors, and a server that is away, are waited out.
sub poll_until
{
	my ($node, $db, $query, $expected) = @_;
	my $finish = time + $PostgreSQL::Test::Utils::timeout_default;
	my ($psql, $in, $out, $err, $reached) = (undef, '', '', '', 0);
	$expected //= 't';

	until ($reached || time > $finish)
	{
		my $answered = eval {
			($out, $err) = ('', '');
			$psql //= IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db) ], '<', \$in, '>', \$out, '2>', \$err,
				IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
			$in .= "$query\n;\n\\echo answered\n";
			$psql->pump until $out =~ s/^answered\n\z//m;
			1;
		};
		$reached = $answered && $out eq "$expected\n" && $err eq '';
		usleep(50_000) unless $reached;
		next if $answered;
		eval { $psql->kill_kill } if $psql;
		($psql, $in) = (undef, '');
	}
	eval { $psql->finish } if $psql;
	diag("not in time: $query\nlast answer: $out$err") unless $reached;
	return $reached;
}

# Whatever is wrong with a store, a line for each; empty when it is sound:
# versions are 1..n, balance_after is a chain, times do not go back, the account
# says what its events say, each id and each request stands once.
sub faults
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, <<'END');
WITH event AS (
    SELECT aggregate_id, version, amount, balance_after, created_at,
           lag(version, 1, 0::bigint) OVER account AS version_before,
           lag(balance_after, 1, 0::bigint) OVER account AS balance_before,
           lag(created_at) OVER account AS created_before
      FROM pointstore.event_store
    WINDOW account AS (PARTITION BY aggregate_id ORDER BY version)
), history AS (
    SELECT aggregate_id, count(*) AS events, sum(amount) AS total,
           bool_and(version = version_before + 1) AS gapless,
           bool_and(balance_after = balance_before + amount) AS chained,
           bool_and(created_at >= coalesce(created_before, created_at)) AS ordered
      FROM event
     GROUP BY aggregate_id
)
SELECT format('account %s: version %s and balance %s, but %s events of %s in all, gapless %s, chained %s, ordered %s',
              aggregate_id, a.version, a.balance, h.events, h.total, h.gapless, h.chained, h.ordered)
  FROM history h
  FULL JOIN pointstore.account a USING (aggregate_id)
 WHERE a.version IS DISTINCT FROM coalesce(h.events, 0)
    OR a.balance IS DISTINCT FROM coalesce(h.total, 0)
    OR NOT coalesce(h.gapless AND h.chained AND h.ordered, true)
UNION ALL
SELECT 'in both tables: ' || aggregate_id FROM pointstore.balance JOIN pointstore.pure_account USING (aggregate_id)
UNION ALL
SELECT format('request %s leg %s stands %s times', request_id, leg, count(*))
  FROM pointstore.event_store WHERE request_id IS NOT NULL
 GROUP BY request_id, leg HAVING count(*) > 1
UNION ALL
SELECT format('id %s stands %s times', id, count(*)) FROM pointstore.event_store GROUP BY id HAVING count(*) > 1
 ORDER BY 1
END
}

# What is wrong with the feed of a store: what feed_check() finds and, by SQL of our own, positions
# that are missing, given twice or not in the order of versions, and events without one.
sub feed_faults
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, <<'END');
WITH feed AS MATERIALIZED (SELECT b.first_position + row_number() OVER (PARTITION BY b.first_position ORDER BY i.id) - 1 AS position, i.id, e.aggregate_id, e.version
  FROM pointstore.feed_block b, unnest(b.ids) r, LATERAL generate_series(lower(r), upper(r) - 1) AS i(id) LEFT JOIN pointstore.event_store e USING (id))
SELECT format('check %s %s %s', code, position, event_id) FROM pointstore.feed_check()
UNION ALL SELECT 'position ' || p.position FROM feed f FULL JOIN generate_series(1, pointstore.feed_head()) p(position) USING (position) WHERE f.id IS NULL OR p.position IS NULL
UNION ALL SELECT 'no position ' || e.id FROM pointstore.event_store e LEFT JOIN feed f USING (id) WHERE f.id IS NULL
UNION ALL SELECT 'no event ' || id FROM feed WHERE aggregate_id IS NULL
UNION ALL SELECT 'twice ' || id FROM feed GROUP BY id HAVING count(*) > 1
UNION ALL SELECT format('order %s %s', aggregate_id, version) FROM (SELECT aggregate_id, version, lag(version, 1, 0::bigint) OVER (PARTITION BY aggregate_id ORDER BY position) AS before FROM feed) f WHERE version <> before + 1
UNION ALL SELECT 'position_of ' || id FROM feed WHERE position % 97 = 0 AND pointstore.position_of(id) IS DISTINCT FROM position
 LIMIT 10
END
}

1;
