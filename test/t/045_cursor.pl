# What a language of functions leaves behind: a cursor that PL/Perl has pinned is not run to its end as somebody else
# when a procedure commits.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

my $node = new_cluster('main');
$node->start;
plan(skip_all => 'a server without PL/Perl') unless $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'plperl'});

$node->safe_psql('postgres', 'CREATE DATABASE app');
create_store($node, 'app');
$node->safe_psql('app', <<'END');
CREATE EXTENSION plperl;
CREATE ROLE modeller LOGIN;
SELECT pointstore.grant_access('modeller', 'operator');
CREATE SCHEMA model AUTHORIZATION modeller;
SET ROLE modeller;
CREATE TABLE model.call (n int, who text);
CREATE FUNCTION model.seen(n int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO model.call VALUES (n, current_user); RETURN n; END';
GRANT ALL ON model.call TO PUBLIC;
GRANT USAGE ON SCHEMA model TO PUBLIC;
CREATE FUNCTION model.leaves(events pointstore.feed_event[]) RETURNS void LANGUAGE plperl AS $$
	my $cursor = spi_query('SELECT model.seen(g) FROM generate_series(1, 1000) g');
	spi_fetchrow($cursor);
	return undef;
$$;
SELECT pointstore.create_projection('leaves', 'model.leaves(pointstore.feed_event[])');
SELECT pointstore.append_event('a', 'Earned', 1);
END
$node->safe_psql('app', 'SELECT pointstore.sequence_feed()');
is(sqlstate($node, 'app', q{CALL pointstore.run_projection('leaves')}), '00000', 'a handler that leaves a cursor open is run');
is($node->safe_psql('app', q{SELECT count(*) > 0, bool_and(n < 1000), string_agg(DISTINCT who, ' ') FROM model.call}), 't|t|modeller', 'and the cursor ends with it');
is($node->safe_psql('app', 'SELECT lag FROM pointstore.projection_status'), 0, 'what it was given is done');

# one of the caller's own goes on
is($node->safe_psql('app', <<'END'), '3', 'a loop around the procedure goes on');
CREATE TABLE turn (n int);
DO $$
DECLARE
    n int;
BEGIN
    FOR n IN SELECT g FROM generate_series(1, 3) g LOOP
        CALL pointstore.run_projection('leaves');
        INSERT INTO turn VALUES (n);
    END LOOP;
END $$;
SELECT count(*) FROM turn;
END
$node->stop;

done_testing();
