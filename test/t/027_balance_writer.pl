# Rows and events written by hand, in either order: prepared over a restart, at once by a
# mapper that checks no versions, and never in our workers, whatever the database says.

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
create_store($node, 'postgres');
$node->safe_psql('postgres', <<'END');
SELECT pointstore.open_account('fees');
SELECT pointstore.append_event('a' || n, 'Earned', 1000) FROM generate_series(1, 3) n;
CREATE FUNCTION fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('fees', 'Fee', 1);
    RETURN NULL;
END $$;
CREATE TRIGGER fee AFTER INSERT ON pointstore.event_store FOR EACH ROW WHEN (NEW.event_type = 'Sold') EXECUTE FUNCTION fee();
ALTER DATABASE postgres SET pointstore.balance_writer = 'caller';
END

# the combiner's triggers insert as ever; the same in a session is the session's to pair
is($node->safe_psql('postgres', "SELECT outcome FROM pointstore.submit_event('a1', 'Sold', 1)"), 'appended', 'a submitted event, whose trigger inserts another');
is($node->safe_psql('postgres', "SELECT version, balance FROM pointstore.get_balance('fees')"), '1|1', 'moves that balance too');
is($node->safe_psql('postgres', "SELECT current_setting('pointstore.balance_writer')"), 'caller', 'where sessions write their balances');
is(sqlstate($node, 'postgres', "SELECT pointstore.append_event('a1', 'Sold', 1)"), 'PS010', 'and one of them has not');

# what is paired can be prepared, and is what it was after a restart
$node->safe_psql('postgres', <<'END');
BEGIN;
INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('a1', 'Spent', -1);
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'a1';
PREPARE TRANSACTION 'paired';
END
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', "COMMIT PREPARED 'paired'");
is($node->safe_psql('postgres', "SELECT version, balance FROM pointstore.get_balance('a1')"), '3|1000', 'prepared, and committed after a crash');

# sixteen that read a balance, and write event and balance from what they have read, in both orders:
# who was overtaken gets PS001 or PS010, and nothing is lost
my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/mapper.sql", <<'END');
\set n random(2, 3)
\set event_first random(0, 1)
SELECT balance AS b, version AS v FROM pointstore.balance WHERE aggregate_id = 'a:n' \gset
SELECT mapper('a:n', :b, :v, :event_first = 1);
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE mapped (account text, outcome text);
CREATE FUNCTION mapper(account text, read bigint, version_read bigint, event_first boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        FOR step IN 1 .. 2 LOOP
            IF (step = 1) = event_first THEN
                INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES (account, 'Spent', -1);
            ELSE
                UPDATE pointstore.balance SET balance = read - 1, version = version + 1 WHERE aggregate_id = account;
            END IF;
        END LOOP;
        INSERT INTO mapped VALUES (account, 'committed');
    EXCEPTION WHEN SQLSTATE 'PS001' OR SQLSTATE 'PS010' THEN
        INSERT INTO mapped VALUES (account, SQLSTATE);
    END;
END $$;
END
$node->command_ok(['pgbench', '-n', '-c', '16', '-j', '2', '-t', '20', '-f', "$dir/mapper.sql", 'postgres'], 'sixteen mappers');
is($node->safe_psql('postgres', "SELECT count(*) FROM mapped"), 320, 'each told');
is($node->safe_psql('postgres', <<'END'), '', 'what was committed was spent');
SELECT a.aggregate_id, 1000 - a.balance, count(m.*) FROM pointstore.account a
  LEFT JOIN mapped m ON m.account = a.aggregate_id AND m.outcome = 'committed'
 WHERE a.aggregate_id IN ('a2', 'a3') GROUP BY a.aggregate_id, a.balance HAVING 1000 - a.balance <> count(m.*)
END
is(faults($node, 'postgres'), '', 'the store is sound');
is($node->safe_psql('postgres', "CALL pointstore.reconcile('full')") =~ s/\D//gr > 0, 1, 'reconciliation runs');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pointstore.finding'), 0, 'and finds nothing');

done_testing();
