# Databases of other encodings and collations: names are compared and ordered by
# their bytes, limits count bytes of the server's encoding, and bytes that are no
# text are refused.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StoreTest;
use Test::More;

$ENV{PGCLIENTENCODING} = 'UTF8';

my $node = new_cluster('main', extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->start;

# Names with a letter of the encoding's own, its bytes there, and a name of 512 bytes
my %databases = (
	utf8 => { encoding => 'UTF8', name => "\xed\x9a\x8c\xec\x9b\x90-10", bytes => 9, letter => "\xed\x9a\x8c", letter_bytes => 3 },
	latin1 => { encoding => 'LATIN1', name => "M\xc3\xbcller-10", bytes => 9, letter => "\xc3\xbc", letter_bytes => 1 },
	euckr => { encoding => 'EUC_KR', name => "\xed\x9a\x8c\xec\x9b\x90-10", bytes => 7, letter => "\xed\x9a\x8c", letter_bytes => 2 });

foreach my $db (sort keys %databases)
{
	my ($encoding, $name, $letter) = @{ $databases{$db} }{qw(encoding name letter)};
	my $longest = $letter x (512 / $databases{$db}{letter_bytes}) . 'x' x (512 % $databases{$db}{letter_bytes});
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	create_store($node, $db);

	is($node->safe_psql($db, "SELECT outcome, aggregate_id, octet_length(aggregate_id), version, balance
		FROM pointstore.append_event('$name', '$letter', 5000, '{\"$letter\": \"$letter\"}', request_id => '$letter')"),
		"appended|$name|$databases{$db}{bytes}|1|5000", "$db: appends under a name of its own letters");
	is($node->safe_psql($db, "SELECT outcome, version FROM pointstore.append_event('$name', '$letter', 5000, '{\"$letter\": \"$letter\"}', request_id => '$letter')"),
		'replayed|1', "$db: and replays");
	is($node->safe_psql($db, "SELECT version, balance FROM pointstore.append_events('[
		{\"aggregate_id\": \"$name\", \"event_type\": \"$letter\", \"amount\": -1}, {\"aggregate_id\": \"$letter\", \"event_type\": \"x\", \"amount\": 1}]', '$letter-2')"),
		"2|4999\n1|1", "$db: in a batch");
	is($node->safe_psql($db, "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount) VALUES ('$name', '$letter', 1) RETURNING version, balance_after"),
		'3|5000', "$db: by INSERT");
	is($node->safe_psql($db, "SELECT balance, pointstore.balance_as_of('$name', 2) FROM pointstore.get_balance('$name')"), '5000|4999', "$db: is read");
	is($node->safe_psql($db, "SELECT version FROM pointstore.append_event('$longest', '$longest', 1, request_id => '$longest')"), '1', "$db: 512 bytes are a name");
	is(sqlstate($node, $db, "SELECT pointstore.append_event('${longest}x', 'x', 1)"), '22023', "$db: 513 are not");
	is(sqlstate($node, $db, "SELECT pointstore.append_event('x', '${longest}x', 1)"), '22023', "$db: nor an event type");
	is(sqlstate($node, $db, "SELECT pointstore.append_event('x', 'x', 1, request_id => '${longest}x')"), '22023', "$db: nor a request id");

	# what is no text, or none that this database can write
	is(sqlstate($node, $db, "SELECT pointstore.append_event('a\xff', 'x', 1)"), '22021', "$db: bytes that are not UTF-8");
	is(sqlstate($node, $db, "SELECT pointstore.append_event('a\xed\xa0\x80', 'x', 1)"), '22021', "$db: half a surrogate pair");
	is(sqlstate($node, $db, "SELECT pointstore.append_event(E'a\\x00b', 'x', 1)"), '22021', "$db: a NUL");
	is(sqlstate($node, $db, q{SELECT pointstore.append_event('a', 'x', 1, '{"a": "\u0000"}')}), '22P05', "$db: a NUL in the payload");
	is(sqlstate($node, $db, q{SELECT pointstore.append_events('[{"aggregate_id": "a\u0000b", "event_type": "x"}]')}), '22P05', "$db: a NUL in a batch");
	is(sqlstate($node, $db, "SELECT pointstore.append_event('\xf0\x9f\x98\x80', 'x', 1)"), $db eq 'utf8' ? '00000' : '22P05',
		"$db: a letter that it may not have");

	# bytes decide about order and equality
	$node->safe_psql($db, qq{SELECT pointstore.append_event(a, 'x', 1) FROM unnest('{b,B,a,A,_,"a b",aB,ab,$letter$letter}'::text[]) a});
	is($node->safe_psql($db, q{SELECT string_agg(aggregate_id, ',') FROM (SELECT aggregate_id FROM pointstore.balance
		WHERE octet_length(aggregate_id) < 9 AND aggregate_id ~ '^[ -z]*$' ORDER BY aggregate_id) o}), 'A,B,_,a,a b,aB,ab,b', "$db: order of names");
	is(faults($node, $db), '', "$db: sound");
	is(sqlstate($node, $db, 'UPDATE pointstore.event_store SET amount = 0'), 'PS006', "$db: guarded");
}

# from a client of another encoding it is the same account
$ENV{PGCLIENTENCODING} = 'LATIN1';
is($node->safe_psql('utf8', "SELECT version, balance FROM pointstore.append_event('M\xfcller', 'x', 3)"), '1|3', 'a client in LATIN1');
$ENV{PGCLIENTENCODING} = 'UTF8';
is($node->safe_psql('utf8', "SELECT version, balance FROM pointstore.append_event('M\xc3\xbcller', 'x', 4)"), '2|7', 'and one in UTF8 mean the same');
# an accent that is a letter of its own is another name
is($node->safe_psql('utf8', "SELECT version FROM pointstore.append_event('Mu\xcc\x88ller', 'x', 4)"), '1', 'written otherwise it is another name');
$node->stop;

# a cluster whose default order is not that of bytes
SKIP:
{
	my $icu = $node->config_data('--configure') =~ /--with-icu/ && $node->pg_version >= 15;
	skip 'a server without ICU', 1 unless $icu;

	my $other = new_cluster('icu', extra => [ '--encoding=UTF8', '--locale=C', '--locale-provider=icu', '--icu-locale=en' ]);
	$other->start;
	create_store($other, 'postgres');
	is($other->safe_psql('postgres', q{SELECT string_agg(a, ',' ORDER BY a) FROM unnest('{b,B,a,A}'::text[]) a}), 'a,A,b,B', 'here B comes after a');
	is($other->safe_psql('postgres', <<'END'), "1|1\n1|2\n1|3\n1|4", 'a batch over names that differ by case alone');
SELECT version, balance FROM pointstore.append_events('[{"aggregate_id": "b", "event_type": "x", "amount": 1}, {"aggregate_id": "B", "event_type": "x", "amount": 2},
    {"aggregate_id": "a", "event_type": "x", "amount": 3}, {"aggregate_id": "A", "event_type": "x", "amount": 4}]', 'Request')
END
	is($other->safe_psql('postgres', q{SELECT outcome FROM pointstore.append_event('b', 'x', 9, request_id => 'request')}), 'appended', 'request ids too');
	is($other->safe_psql('postgres', q{SELECT string_agg(aggregate_id, ',') FROM (SELECT aggregate_id FROM pointstore.balance ORDER BY aggregate_id) o}), 'A,B,a,b', 'names are ordered by bytes');
	is($other->safe_psql('postgres', q{SELECT kind FROM pointstore.get_balance('B')}), 'default', 'and read');
	$other->safe_psql('postgres', q{INSERT INTO pointstore.account_kind (kind, mode) VALUES ('Default', 'pure')});
	is($other->safe_psql('postgres', q{SELECT pointstore.append_event('c', 'x', 1, kind => 'Default'); SELECT mode FROM pointstore.get_balance('c')}) =~ s/.*\n//r, 'pure', 'kinds too');
	is(sqlstate($other, 'postgres', q{SELECT pointstore.append_event('B', 'x', 1, kind => 'Default')}), '22023', 'and are told apart');
	is($other->safe_psql('postgres', <<'END'), '3', 'the textbook transaction');
BEGIN;
UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = 'b';
INSERT INTO pointstore.event_store (aggregate_id, event_type) VALUES ('b', 'x') RETURNING version;
COMMIT;
END
	is(faults($other, 'postgres'), '', 'sound');
	$other->stop;
}

done_testing();
