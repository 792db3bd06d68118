/*-------------------------------------------------------------------------
 *
 * src/verify/reconcile.c
 *		Reconciliation: compares balance rows with the events, confirms what
 *		differs under the account's lock, records it as a finding, and acts by
 *		the policy of the account's kind.
 *
 * A full run reads every event of the store in one pass (digest.c), parallel or, in
 * a throttled worker, by itself and with pauses. It reads heaps alone, so that no
 * index can hide a row; it trusts no earlier proof and no balance_after. What
 * differs there, in one snapshot, is a candidate only.
 * An incremental run looks at the accounts that have had events since the last
 * one, from the version up to which each is proved.
 *
 * Which events are new is told by their ids, which are not in the order of
 * commits: an event with a smaller id may become visible later. An append
 * has a transaction id before it draws an event's id. So when the sequence is
 * read first and a transaction id is drawn afterwards, every event up to the one
 * belongs to a transaction before the other; a run that begins when none of these is
 * running sees them all, and the next run may begin after them.
 *
 * Every step is a transaction of its own. A candidate is examined from its
 * first event in one snapshot, without any lock: a balance and its events commit
 * together, so what is wrong there was wrong then. Only then is its row locked,
 * and what has come since is read, which is little however long the history is:
 * where the row has moved as those events say, and nobody has repaired anything, what
 * was found still stands. Who waits for the lock too long leaves the account unverified,
 * but for what is wrong with the events themselves, which cannot change. Two
 * runs of one scope in one database exclude each other by a session lock; a run whose
 * session is gone shows as interrupted, since nobody holds that lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "ground/compat.h"
#include "ground/pointstore.h"
#include "ground/sql.h"

PG_FUNCTION_INFO_V1(pointstore_reconcile);
PG_FUNCTION_INFO_V1(pointstore_reconcile_account);
PG_FUNCTION_INFO_V1(pointstore_repair);
PG_FUNCTION_INFO_V1(pointstore_acknowledge);

/*
 * Our locks are advisory ones, as the view reconciliation_run knows them, of a kind
 * that no function of SQL takes: nobody else can keep a run away.
 */
#define RECONCILE_LOCK 1886349678
#define RECONCILE_LOCK_KIND 3

/* accounts whose proofs are written, or whose tails are read, in one statement */
#define PROOFS_AT_ONCE 1000
#define PROOFS_BETWEEN_PAUSES 100	/* of a throttled run */
#define LOCK_TIMEOUT "1s"

/* open findings that an incremental run looks at again: accounts, and for how long */
#define OPEN_FINDINGS_AT_ONCE 100
#define OPEN_FINDINGS_TIME 10000	/* ms */

/* slices at the most: for each there are a few files */
#define MAX_SLICES 256

#define RUNS_FORGOTTEN_AT_ONCE 1000

/* each reads the whole table while an account is locked; the accounts after these are unverified */
#define MAX_HEAP_LOOKS 20

/* times that an account is examined which somebody repairs, or changes otherwise, meanwhile */
#define MAX_ATTEMPTS 3

/* kilobytes of a sort, and how many times as much a hash table may have: a process has a few of these */
#define WORK_MEM_LIMIT 32768
#define HASH_MEM_LIMIT 2

static int	max_auto_actions = 100;
static int	reconcile_max_transaction = 300000; /* ms */
static int	reconcile_delay = 10;	/* ms */

/* the reason that account_log gives for what policy does */
#define OUR_REASON "reconciliation"

static const char *const too_many = "more accounts than pointstore.max_auto_actions would have been touched: the rest is reported";
static const char *const too_early = "%lld accounts were last changed in the future, by a clock that was wrong";

typedef struct Run
{
	int64		id;
	int64	   *reported_id;
	const char *triggered_by;
	bool		full;
	int64		key;			/* of the digests */
	int			slices;
	int			slice;
	Spool	   *spool;			/* the events, of a run in several slices */
	bool		resumed;		/* an earlier session has done some slices */
	int64		accounts;
	int64		events;
	int64		findings;
	int64		unverified;
	List	   *rows;			/* tuplestores that are open */
	HTAB	   *done;			/* names of the accounts that it has found something about, or left unverified */
	int64		acted;			/* accounts that were repaired or frozen */
	bool		breaker;		/* more would have been */
	int64		ahead;			/* accounts that were last changed in the future */
	int			heap_looks;		/* accounts examined by the heap */
	TimestampTz started_at;
	int64		since_id;		/* the checkpoint as it was, what it becomes, and what it may become */
	int64		safe_id;
	int64		pending_id;
	char	   *pending_xmax;
	bool		fed;			/* the events come by a subscription */
	MemoryContext context;		/* lives as long as the run */
} Run;

/* What was found wrong with an account, of one code. */
typedef struct Finding
{
	char	   *code;
	char	   *severity;
	int64		expected;
	int64		found;
	int64		version;
	bool		no_expected;
	bool		no_found;
	bool		no_version;
	Datum		detail;
} Finding;

typedef struct Findings
{
	int			n;
	Finding	   *findings;
	bool		critical;
} Findings;

/* What an account's kind says about findings. */
typedef struct Policy
{
	bool		freeze;
	bool		repair;
	bool		by_events;
} Policy;

/* column of the rows of compared accounts: whether it has moved on since */
#define ROW_AHEAD 10

/* Where the rows of compared accounts go. */
typedef struct Receiver
{
	DestReceiver dest;
	Run		   *run;
	Tuplestorestate *rows;
} Receiver;

/* A statement of a run, and how it is executed. */
typedef struct Reading
{
	const char *sql;
	int			n;
	const Oid  *types;
	const Datum *values;
	bool		compared;		/* its rows are as slice_pass's */
	bool		by_heap;
	bool		by_tid;
	bool		spooled;
	SpoolFamily family;
	int			part;
} Reading;

/* What the passes of a full run are given. */
#define N_PASS_VALUES 5
static const Oid pass_types[N_PASS_VALUES] = {INT8OID, INT8OID, INT8OID, INT8OID, BOOLOID};
#define PASS_VALUES(run, part) \
	{Int64GetDatum((run)->key), Int64GetDatum((run)->slices), Int64GetDatum(part), \
	 Int64GetDatum((run)->spool ? (run)->safe_id : PG_INT64_MAX), BoolGetDatum((run)->spool != NULL)}

/* An account that looks wrong, as it is dealt with. */
typedef struct Case
{
	Run		   *run;
	text	   *id;
	bool		by_heap;		/* it is the heap that has shown it */
	const HeapView *heap;		/* what the heaps say; null: not known */
	const char *lie;			/* table whose key says something else */
	bool		not_compared;	/* heap looks have run out */
	bool		known;			/* something is wrong that was acknowledged */
	bool		hidden;			/* and an index hides it */
	bool		unsure;			/* there were too many that only the heap shows */
	char	   *stamp;			/* what of the account cannot change by appends to it */
	int64		version;		/* of its row when that was read */
	Findings   *found;
	Policy		policy;
	bool		settled;		/* it has been dealt with */
	int			findings;		/* for the run to count, once this is done */
	int			acted;
	char	   *failure;		/* why policy could not do what it wants */
} Case;

/* Proofs to be written together. */
typedef struct Proofs
{
	int			n;
	Datum		id[PROOFS_AT_ONCE];
	Datum		version[PROOFS_AT_ONCE];
	Datum		balance[PROOFS_AT_ONCE];
	Datum		held[PROOFS_AT_ONCE];
} Proofs;

/* Whether two values that should be alike are not; a null, where the table lets that be, is like nothing. */
#define DIFFERS(a, b) "NOT coalesce(" a EQ b ", false)"

/* The same, where null is a value. */
#define DIFFERS_OR_NULL(a, b) "coalesce(" a NE b ", (" a " IS NULL)" NE "(" b " IS NULL))"

/* Whether what was taken back is more than there was, or of the other sign. */
#define EXCEEDS(back, amount) \
" CASE WHEN " amount GE "0 THEN " back GT amount " OR " back LT "0 ELSE " back LT amount " OR " back GT "0 END"

/* Whether an event is what a reversal takes back. */
#define IS_ORIGINAL(o, r) \
"(" o ".id" EQ r ".cause_id AND " o ".aggregate_id" EQ r ".aggregate_id AND " o ".event_type" NE "'EventReversed')"

/* What reversals have moved of an event. */
#define TAKEN_OF(id) \
"(SELECT pg_catalog.sum(b.amount) AS total FROM pointstore.event_store b WHERE b.cause_id" EQ id " AND b.event_type" EQ "'EventReversed')"

/* Anybody may write such an event: it counts where it can have been one, and beside a reversal alone. */
#define SAYS_REVERSED(says, r, o) says EQ "pg_catalog.jsonb_build_object('version', " o ".version)" \
" AND NOT (" EXCEEDS("(CAST(0 AS pg_catalog.numeric)" MINUS r ".amount)", o ".amount") ")"

/* The status of a hold that an event of that type has closed. */
#define STATUS_AFTER(type) \
"CASE WHEN " type " IS NULL THEN 'open' WHEN " type EQ "'HoldConfirmed' THEN 'confirmed'" \
" WHEN " type EQ "'HoldCancelled' THEN 'cancelled' ELSE 'expired' END"

/* A time as hold.c writes it into an event's metadata. */
#define AS_IN_METADATA(at) \
"CASE WHEN pg_catalog.isfinite(" at ") THEN (pg_catalog.to_jsonb(pg_catalog.timezone('UTC', " at ")) OPERATOR(pg_catalog.#>>) CAST('{}' AS pg_catalog.text[]))" \
" OPERATOR(pg_catalog.||) '+00:00' ELSE CAST(" at " AS pg_catalog.text) END"

/*
 * Whether a hold's row h, null where it is gone, is not what the event p that placed it and, by c_type,
 * what closed it say of it. p has id, aggregate_id, held, hold_id and, where the event says so, expires_at.
 */
#define IS_OTHER_HOLD(h, p, c_type, c_amount) \
"(NOT coalesce(" h ".aggregate_id" EQ p ".aggregate_id AND " h ".event_id" EQ p ".id AND " h ".amount" EQ p ".held" \
" AND " h ".status" EQ STATUS_AFTER(c_type) " AND " h ".captured" EQ "(0" MINUS "coalesce(" c_amount ", 0)), false)" \
" OR (" p ".expires_at IS NOT NULL AND " DIFFERS(p ".expires_at", AS_IN_METADATA(h ".expires_at")) "))"

/* Whether what closes a hold is not what can close it. */
#define IS_OTHER_STEP(c, p) \
"(" p ".id IS NULL OR NOT coalesce(" c ".held" EQ "(0" MINUS p ".held) AND " c ".amount" LE "0 AND " c ".amount" GE c ".held, false))"

/* Whether an account's row a, under a kind of unit k, is not what its log says last; of what it does not say nothing is known. */
#define IS_OTHER_ACCOUNT(a, unit, after) \
"(NOT coalesce(" a ".kind" EQ "(" after " OPERATOR(pg_catalog.->>) 'kind'), (" after " OPERATOR(pg_catalog.->>) 'kind') IS NULL)" \
" OR NOT coalesce(" a ".status" EQ "(" after " OPERATOR(pg_catalog.->>) 'status'), (" after " OPERATOR(pg_catalog.->>) 'status') IS NULL)" \
" OR NOT coalesce(" unit EQ "(" after " OPERATOR(pg_catalog.->>) 'unit'), (" after " OPERATOR(pg_catalog.->>) 'unit') IS NULL))"

/* How rows that belong to an account's are found: by an index, for each; or from the heap, for all at once. */
#define BY_INDEX(join, table, x, condition) \
" " join " JOIN LATERAL (SELECT " x ".* FROM pointstore." table " " x " WHERE " condition " OFFSET 0) " x " ON true"
#define BY_HEAP(join, table, x, condition) \
" " join " JOIN pointstore." table " " x " ON " condition

/*
 * What is wrong with an account, from its first event, in one snapshot. Whatever its rows hold
 * is a finding: they may be there twice, and hold nulls or the ends of bigint. A break is looked for only where the
 * event before is there. A movement that does not come to zero, or was not taken back alike in
 * all its legs, is a finding of its first leg's account; where it does not come to zero,
 * which legs there are is not known. A cause that is not there may be in another store, but for those that are
 * of the account itself. Of each code the worst is told, of these the first, and how many there are.
 *
 * FIND: how rows that belong to the account's are found, BY_INDEX or BY_HEAP. Which of them is
 * not left to statistics, that may be as old as the last bulk load: an account may
 * have a leg of every movement of the store.
 */
#define EXAMINE_SQL(FIND) \
"WITH e AS (" \
" SELECT id, aggregate_id, version, event_type, amount, held, balance_after, request_id, leg, cause_id, created_at," \
"        CASE WHEN event_type" EQ "'HoldPlaced' THEN metadata END AS metadata, " SAYS_AS_REVERSAL("v") " AS says," \
"        CAST(pg_catalog.lag(version, 1, CAST(0 AS pg_catalog.int8)) OVER w AS pg_catalog.numeric)" PLUS "1 AS next," \
"        pg_catalog.lag(balance_after, 1, CAST(0 AS pg_catalog.int8)) OVER w AS balance_before," \
"        pg_catalog.lag(created_at) OVER w AS created_before" \
"   FROM pointstore.event_store v WHERE aggregate_id" EQ "$1 WINDOW w AS (ORDER BY version, id))," \
" links AS (SELECT e.*, " DIFFERS("version", "next") " AS gap," \
"        coalesce(version" EQ "next, false) AND " DIFFERS("balance_after", "(CAST(balance_before AS pg_catalog.numeric)" PLUS "amount)") " AS broken FROM e)," \
" s AS (SELECT pg_catalog.count(*) AS events, pg_catalog.max(version) AS last, pg_catalog.sum(amount) AS total," \
"        pg_catalog.sum(held) AS held, coalesce(pg_catalog.bool_or(gap), false) AS gap FROM links)," \
" b AS (SELECT * FROM pointstore.balance WHERE aggregate_id" EQ "$1)," \
" p AS (SELECT * FROM pointstore.pure_account WHERE aggregate_id" EQ "$1)," \
" q AS (SELECT pg_catalog.max(version) AS version FROM pointstore.account_proof WHERE aggregate_id" EQ "$1)," \
" a AS (SELECT kind, status FROM b UNION ALL SELECT kind, status FROM p)," \
" l AS (SELECT after FROM pointstore.account_log WHERE aggregate_id" EQ "$1 AND after IS NOT NULL ORDER BY id DESC LIMIT 1)," \
" h AS (SELECT * FROM pointstore.hold WHERE aggregate_id" EQ "$1 AND status" EQ "'open')," \
" o AS (SELECT coalesce(pg_catalog.sum(amount), 0) AS open, pg_catalog.min(expires_at) AS first FROM h)," \
" steps AS (SELECT c.*, pg_catalog.row_number() OVER (PARTITION BY c.cause_id ORDER BY c.version) AS place FROM e c" \
"   WHERE c.event_type" EQ "ANY (ARRAY['HoldConfirmed', 'HoldCancelled', 'HoldExpired']))," \
" placed AS (SELECT p.id, p.aggregate_id, p.version, p.held, p.metadata OPERATOR(pg_catalog.->>) 'hold_id' AS hold_id," \
"        p.metadata OPERATOR(pg_catalog.->>) 'expires_at' AS expires_at, c.event_type AS closed_by, c.amount AS taken" \
"   FROM e p LEFT JOIN steps c ON c.cause_id" EQ "p.id AND c.place" EQ "1 WHERE p.event_type" EQ "'HoldPlaced')," \
" legs AS MATERIALIZED (SELECT e.version, e.id AS first_id, e.amount AS first_amount, l.id, l.amount" \
"   FROM e" FIND("", "event_store", "l", IS_LEG("l", "e")) " WHERE " IS_FIRST_LEG("e") ")," \
" moved AS (SELECT version, pg_catalog.sum(amount)" PLUS "first_amount AS total FROM legs GROUP BY version, first_amount" \
"   UNION ALL SELECT x.version, pg_catalog.sum(r.amount)" \
"   FROM (SELECT version, id FROM legs UNION ALL SELECT DISTINCT version, first_id FROM legs) x" \
    FIND("", "event_store", "r", "r.cause_id" EQ "x.id AND r.event_type" EQ "'EventReversed'") " GROUP BY x.version)," \
" back AS (SELECT o.version, o.amount, CAST(0 AS pg_catalog.numeric)" MINUS "pg_catalog.sum(r.amount) AS total" \
"   FROM e o JOIN e r ON r.cause_id" EQ "o.id AND (r.event_type" EQ "'EventReversed' OR (" SAYS_REVERSED("r.says", "r", "o") "))" \
"  WHERE o.event_type" NE "'EventReversed' GROUP BY o.version, o.amount HAVING pg_catalog.bool_or(r.event_type" EQ "'EventReversed'))," \
" judged (code, severity, expected, found, version) AS (" \
" SELECT 'version_gap', 'critical', next, CAST(version AS pg_catalog.numeric), version FROM links WHERE gap" \
" UNION ALL" \
" SELECT 'version_gap', 'critical', q.version, coalesce(s.last, 0), CAST(coalesce(s.last, 0)" PLUS "CAST(1 AS pg_catalog.numeric) AS pg_catalog.int8)" \
"   FROM s, q WHERE q.version" GT "coalesce(s.last, 0) AND NOT s.gap" \
" UNION ALL" \
" SELECT 'chain_break', 'critical', CAST(balance_before AS pg_catalog.numeric)" PLUS "amount, balance_after, version FROM links WHERE broken" \
" UNION ALL" \
" SELECT 'time_order', 'critical', NULL, NULL, version FROM links WHERE NOT gap AND coalesce(created_at" LT "created_before, created_at IS NULL)" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', amount, total, version FROM back WHERE " EXCEEDS("total", "amount") \
" UNION ALL" \
" SELECT 'link_broken', 'critical', 0, r.amount, r.version FROM e r LEFT JOIN e o ON o.id" EQ "r.cause_id AND o.event_type" NE "'EventReversed'" \
"  WHERE r.event_type" EQ "'EventReversed' AND o.id IS NULL" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', NULL, e.cause_id, e.version" \
"   FROM (SELECT * FROM e WHERE leg" GE "1 AND cause_id IS NOT NULL AND event_type" NE "'EventReversed') e" \
    FIND("", "event_store", "f", "f.id" EQ "e.cause_id") \
"  WHERE NOT coalesce(" IS_FIRST_LEG("f") " AND " SAME_REQUEST("f", "e") ", false)" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', NULL, NULL, version FROM e WHERE leg" GE "1 AND request_id IS NULL AND cause_id IS NULL" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', CAST(0 AS pg_catalog.numeric)" MINUS "p.held, c.held, c.version FROM steps c LEFT JOIN placed p ON p.id" EQ "c.cause_id" \
"  WHERE c.place" GT "1 OR " IS_OTHER_STEP("c", "p") \
" UNION ALL" \
" SELECT 'duplicate_request', 'critical', t.id, e.id, e.version FROM (SELECT * FROM e WHERE request_id IS NOT NULL) e" \
    FIND("", "event_store", "t", "t.request_id" EQ "e.request_id AND coalesce(t.leg, -1)" EQ "coalesce(e.leg, -1)" \
		 " AND (t.id" LT "e.id OR (t.id" EQ "e.id AND t.aggregate_id" LT "e.aggregate_id))") \
" UNION ALL" \
" SELECT 'transfer_unbalanced', 'critical', 0, total, version FROM moved WHERE total" NE "0" \
" UNION ALL" \
" SELECT 'balance_mismatch', CASE WHEN b.balance" LT "s.total THEN 'warning' ELSE 'error' END, s.total, b.balance, s.last" \
"   FROM s, b WHERE s.events" GT "0 AND " DIFFERS("b.balance", "coalesce(s.total, 0)") \
" UNION ALL" \
" SELECT 'version_mismatch', 'error', s.last, b.version, s.last FROM s, b WHERE s.events" GT "0 AND " DIFFERS("b.version", "s.last") \
" UNION ALL" \
" SELECT 'held_mismatch', CASE WHEN b.held" GT "s.held THEN 'warning' ELSE 'error' END, s.held, b.held, s.last" \
"   FROM s, b WHERE s.events" GT "0 AND " DIFFERS("b.held", "coalesce(s.held, 0)") \
" UNION ALL" \
" SELECT 'held_mismatch', CASE WHEN o.open" GT "x.held THEN 'error' ELSE 'warning' END, x.held, o.open, coalesce(s.last, 0)" \
"   FROM s CROSS JOIN o LEFT JOIN b ON true, LATERAL (SELECT coalesce(s.held, 0) AS held) x" \
"  WHERE o.open" NE "x.held AND (s.events" EQ "0 OR b.held IS NULL OR b.held" EQ "x.held)" \
" UNION ALL" \
" SELECT 'held_mismatch', 'warning', NULL, NULL, coalesce(s.last, 0) FROM s, b, o WHERE " DIFFERS_OR_NULL("b.next_expiry", "o.first") \
" UNION ALL" \
" SELECT 'hold_mismatch', CASE WHEN h.hold_id IS NOT NULL AND coalesce(h.aggregate_id" EQ "p.aggregate_id AND h.event_id" EQ "p.id, false)" \
"          AND CASE WHEN p.closed_by IS NULL THEN coalesce(h.status" EQ "'open' AND h.amount" GE "p.held, false)" \
"                   ELSE coalesce(h.status" NE "'open', false) END THEN 'warning' ELSE 'error' END," \
"        CASE WHEN h.hold_id IS NULL OR " DIFFERS("h.amount", "p.held") " THEN p.held WHEN " DIFFERS("h.captured", "(0" MINUS "coalesce(p.taken, 0))") " THEN 0" MINUS "coalesce(p.taken, 0)" \
"             WHEN p.closed_by IS NULL THEN p.held ELSE 0 END," \
"        CASE WHEN h.hold_id IS NULL OR " DIFFERS("h.amount", "p.held") " THEN h.amount WHEN " DIFFERS("h.captured", "(0" MINUS "coalesce(p.taken, 0))") " THEN h.captured" \
"             WHEN h.status" EQ "'open' THEN h.amount ELSE 0 END, p.version" \
"   FROM (SELECT * FROM placed WHERE hold_id IS NOT NULL) p" FIND("LEFT", "hold", "h", "h.hold_id" EQ "p.hold_id") \
"  WHERE " IS_OTHER_HOLD("h", "p", "p.closed_by", "p.taken") \
" UNION ALL" \
" SELECT 'hold_mismatch', 'warning', 0, h.amount, coalesce(s.last, 0)" \
"   FROM s, h LEFT JOIN placed p ON p.id" EQ "h.event_id WHERE p.id IS NULL" \
" UNION ALL" \
" SELECT 'missing_balance', 'error', s.total, CAST(NULL AS pg_catalog.numeric), s.last" \
"   FROM s WHERE s.events" GT "0 AND NOT EXISTS (SELECT FROM b) AND NOT EXISTS (SELECT FROM p)" \
" UNION ALL" \
" SELECT 'orphan_balance', CASE WHEN b.balance" LE "0 AND NOT EXISTS (SELECT FROM p) THEN 'warning' ELSE 'error' END," \
"        CAST(0 AS pg_catalog.numeric), b.balance, b.version" \
"   FROM s, b WHERE (s.events" EQ "0 AND NOT coalesce(b.version" EQ "0 AND b.balance" EQ "0 AND b.held" EQ "0, false)) OR EXISTS (SELECT FROM p)" \
" UNION ALL" \
" SELECT 'duplicate_row', 'error', 1, x.rows, coalesce(s.last, 0)" \
"   FROM s, (SELECT pg_catalog.count(*) AS rows FROM b UNION ALL SELECT pg_catalog.count(*) FROM p) x WHERE x.rows" GT "1" \
" UNION ALL" \
" SELECT 'account_mismatch', CASE WHEN a.kind" EQ "(l.after OPERATOR(pg_catalog.->>) 'kind') AND a.status" NE "'open' THEN 'warning' ELSE 'error' END," \
"        NULL, NULL, coalesce(s.last, 0)" \
"   FROM s, l, a LEFT JOIN pointstore.account_kind k ON k.kind" EQ "a.kind" \
"  WHERE (SELECT pg_catalog.count(*) FROM a)" EQ "1 AND " IS_OTHER_ACCOUNT("a", "k.unit", "l.after") ")," \
" told AS (SELECT DISTINCT ON (code) *, pg_catalog.count(*) OVER (PARTITION BY code) AS times FROM judged" \
"  ORDER BY code, CASE WHEN severity" EQ "'critical' THEN 0 WHEN severity" EQ "'error' THEN 1 ELSE 2 END, version, expected, found)" \
" SELECT j.code, j.severity, " AS_BIGINT("j.expected") ", " AS_BIGINT("j.found") ", j.version, pg_catalog.jsonb_build_object(" \
"          'events', s.events, 'last_version', s.last, 'sum', s.total, 'held', s.held, 'open_holds', o.open, 'times', j.times," \
"          'row', (SELECT pg_catalog.jsonb_build_object('kind', b.kind, 'version', b.version, 'balance', b.balance, 'held', b.held, 'status', b.status," \
"                   'next_expiry', b.next_expiry) FROM b LIMIT 1)," \
"          'log', (SELECT pg_catalog.jsonb_build_object('kind', l.after OPERATOR(pg_catalog.->) 'kind', 'status', l.after OPERATOR(pg_catalog.->) 'status'," \
"                   'unit', l.after OPERATOR(pg_catalog.->) 'unit') FROM l))" \
"   FROM told j, s, o"

#define AS_BIGINT(number) \
"CAST(CASE WHEN " number GE "-9223372036854775808 AND " number LE "9223372036854775807 THEN " number " END AS pg_catalog.int8)"

static PointstorePlan examine_plan = {
	.sql = EXAMINE_SQL(BY_INDEX), .nargs = 1, .argtypes = {TEXTOID}
};
/* What is wrong with the store as a whole, which has findings of the account '': its sequence, and rows without a name. */
static PointstorePlan examine_store_plan = {
	.sql = "WITH judged (code, severity, expected, found) AS ("
	" SELECT 'sequence_settings', 'error', CAST(1 AS pg_catalog.int8), CASE WHEN q.seqcache" NE "1 THEN q.seqcache ELSE q.seqincrement END"
	"   FROM pg_catalog.pg_sequence q WHERE q.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass)"
	"    AND (q.seqcache" NE "1 OR q.seqincrement" LT "1 OR q.seqcycle)"
	" UNION ALL SELECT 'version_gap', 'critical', 0, pg_catalog.count(*) FROM pointstore.event_store WHERE aggregate_id IS NULL HAVING pg_catalog.count(*)" GT "0"
	" UNION ALL SELECT 'orphan_balance', 'error', 0, pg_catalog.count(*) FROM pointstore.balance WHERE aggregate_id IS NULL HAVING pg_catalog.count(*)" GT "0)"
	" SELECT j.code, j.severity, j.expected, j.found, CAST(NULL AS pg_catalog.int8), pg_catalog.jsonb_build_object("
	"   'times', 1, 'cache', q.seqcache, 'increment', q.seqincrement, 'cycle', q.seqcycle)"
	"   FROM judged j, pg_catalog.pg_sequence q WHERE q.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass)"
};
static PointstorePlan examine_heap_plan = {
	.sql = EXAMINE_SQL(BY_HEAP), .nargs = 1, .argtypes = {TEXTOID}
};

static bool lock_scope(bool full, LOCKTAG *tag);
static void run_under_lock(Run *run, const LOCKTAG *tag);
static void leave(const LOCKTAG *tag);
static void forget_files(Run *run);
static void run_all(Run *run);
static void start_run(Run *run, const char *scope);
static void take_over(Run *run, HeapTuple row, TupleDesc desc);
static void require_stored(void);
static void show_size(Run *run);
static void show_done(Run *run);
static void next_step(void);
static void rest(void);
static bool is_throttled(void);
static double event_time(void);
static void plan_with_care(void);
static void scan_store(Run *run);
static void spool_events(Run *run);
static Oid	spool_blocks(Run *run, BlockNumber first, BlockNumber end);
static Oid	read_size(BlockNumber *blocks);
static void resolve_reversals(Run *run, int part);
static void forget_spool(Run *run);
static void scan_slice(Run *run);
static void read_horizon(Run *run);
static bool has_come_to_rest(const char *xmax);
static void scan_new_events(Run *run);
static void let_go(Run *run, Tuplestorestate *rows);
static void examine_named(Run *run, Tuplestorestate *ids, bool by_heap, long most);
static void use_indexes(void);
static void tell(Run *run, const char *what);
static Tuplestorestate *collect(Run *run, const Reading *reading);
static void execute(Run *run, const Reading *reading, DestReceiver *dest);
static DestReceiver *create_receiver(Run *run, Tuplestorestate *rows);
static bool count_account(TupleTableSlot *slot, DestReceiver *self);
static bool is_true(TupleTableSlot *slot, int column);
static void start_receiver(DestReceiver *self, int operation, TupleDesc desc);
static void end_receiver(DestReceiver *self);
static void take_proofs_and_candidates(Run *run, Tuplestorestate *rows, bool by_heap);
static HeapView heap_view(TupleTableSlot *slot);
static TupleDesc row_desc(void);
static void write_proofs(Run *run, Proofs *proofs);
static void prove_tails(Run *run, Tuplestorestate *accounts);
static void examine_open_findings(Run *run);
static void look_at_clock(Run *run);
static void finish_run(Run *run);
static void forget_runs(void);
static void confirm(Run *run, const char *account, bool by_heap, const HeapView *heap);
static ErrorData *attempt(Case *wrong, bool (*what) (void *));
static bool decide(void *arg);
static void look(Case *wrong);
static void compare_with_heap(Case *wrong, Snapshot snapshot);
static void add_index_mismatch(Case *wrong);
static void pass_over_acknowledged(Case *wrong);
static bool is_acknowledged(text *id, const Finding *finding);
static void finding_values(Datum *values, char *nulls, text *id, const Finding *finding);
static void require_same(int64 number, const Finding *finding);
static const Finding *find_code(const Findings *found, int64 number);
static char *read_stamp(const Case *wrong, bool again, int64 *version);
static bool still_stands(Case *wrong);
static bool record_certain(void *arg);
static void settle(Case *wrong);
static bool is_done(Run *run, const char *account, HASHACTION action);
static uint32 hash_name(const void *key, Size size);
static int	match_name(const void *a, const void *b, Size size);
static void count_repaired(Run *run, int findings);
static void lock_account(text *id);
static Findings *examine(text *id, PointstorePlan *plan);
static Findings *examine_now(text *id);
static void record(const Case *wrong, const char *action, bool hidden);
static void announce(const Case *wrong, const Finding *finding, const char *action);
static void forget_proof(text *id);
static void resolve(const Case *wrong, const Findings *found, const char *by, const char *action);
static const char *act(Case *wrong);
static bool has_failed_before(const Case *wrong);
static bool follow_policy(void *arg);
static void put_right(Case *wrong, text *reason);
static void require_right(text *id);
static void log_as_it_is(text *id);
static Policy read_policy(text *id);
static bool is_shut(text *id);
static bool can_repair(const Case *wrong);
static bool can_adjust(const Findings *found);
static void adjust(text *id, text *reason);
static void refuse_lies(text *id);
static text *account_of(int64 finding);
static void lock_whole_account(text *id);
static Datum bigint_array(Datum *elements, bool *nulls, int n);
static bool has_moved(const Case *wrong);
static Datum text_array(Datum *elements, int n, Oid type);

/* Called once when the library is loaded. */
void
pointstore_reconcile_init(void)
{
	DefineCustomIntVariable("pointstore.max_auto_actions",
							"Accounts that one reconciliation may repair or freeze by itself; the rest is reported.",
							NULL, &max_auto_actions, 100, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.reconcile_delay",
							"How long the reconciling worker rests between two steps.",
							NULL, &reconcile_delay, 10, 0, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.reconcile_max_transaction",
							"How long one transaction of a full reconciliation should take at most; a larger store is cut into slices.",
							NULL, &reconcile_max_transaction, 300000, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* reconcile(scope, INOUT run_id) */
Datum
pointstore_reconcile(PG_FUNCTION_ARGS)
{
	char	   *scope = text_to_cstring(pointstore_name(fcinfo, 0, "scope"));
	bool		full = strcmp(scope, "full") == 0;
	TupleDesc	desc;
	Datum		value;
	int64		id;
	bool		isnull;

	if (!full && strcmp(scope, "incremental") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope must be incremental or full, is \"%s\"", scope)));
	pointstore_begin_procedure(fcinfo, "reconcile()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(CreateTupleDescCopy(desc));
	isnull = !pointstore_run_reconciliation(full, "manual", &id);
	value = Int64GetDatum(id);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull)));
}

/*
 * One run, in transactions of its own; the caller is in one that has not written.
 * False: another session is at that scope. *id is the run's as soon as it has
 * one, so that who catches an error can say so of it.
 */
bool
pointstore_run_reconciliation(bool full, const char *triggered_by, int64 *id)
{
	Run			run = {.full = full, .triggered_by = triggered_by, .reported_id = id};
	LOCKTAG		tag;

	*id = 0;
	if (!lock_scope(full, &tag))
	{
		ereport(NOTICE,
				(errmsg("another session is at a reconciliation of scope %s, this one leaves",
						full ? "full" : "incremental")));
		return false;
	}
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	run.context = CurrentMemoryContext;
	run_under_lock(&run, &tag);
	SPI_finish();
	return true;
}

/* A relation of the schema whose rows come by a subscription. */
#define IS_SUBSCRIBED "FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid" EQ "r.srrelid" \
" WHERE c.relnamespace" EQ "CAST('pointstore' AS pg_catalog.regnamespace)"

/*
 * Whether nothing is done here on schedule, for the store is not whole, or not ours to write: a key or a
 * trigger is missing, as until the end of a restore; a subscription has not brought a table of it up to
 * date; what reconciliation keeps of its own comes from elsewhere, where a row of ours would be in the
 * way of the next one; or holds are to be closed and the events come from elsewhere. Told once a day.
 */
bool
pointstore_is_off_schedule(bool sweeps)
{
	static PointstorePlan plan = {
		.sql = "SELECT " IS_SUBSCRIBED " AND ($1 OR r.srsubstate" NE "'r' OR CAST(c.relname AS pg_catalog.text)" EQ
		"ANY (ARRAY['reconciliation', 'finding', 'account_proof', 'reconciliation_checkpoint'])) LIMIT 1",
		.nargs = 1, .argtypes = {BOOLOID}
	};
	Datum		value = BoolGetDatum(sweeps);
	/* what is to be swept is written, which a store that lacks anything refuses */
	bool		complete = sweeps ? pointstore_store_is_complete() : pointstore_store_is_whole();
	bool		subscribed;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	subscribed = SPI_processed > 0;
	SPI_finish();
	if ((!complete || subscribed) && pointstore_is_news(complete ? 1 : 2))
		ereport(LOG,
				(errmsg(complete ? "the store of database \"%s\" is written by a subscription, and is not reconciled or swept on schedule" :
						"the store of database \"%s\" lacks a key or a trigger, and is not reconciled or swept on schedule",
						get_database_name(MyDatabaseId))));
	return !complete || subscribed;
}

/* Takes the session lock of a scope; false when another session has it. */
static bool
lock_scope(bool full, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, RECONCILE_LOCK, full ? 2 : 1, RECONCILE_LOCK_KIND);
	return LockAcquire(tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* The session lock is let go, no file is left and progress no longer shown, also when the run fails. */
static void
run_under_lock(Run *run, const LOCKTAG *tag)
{
	PG_TRY();
	{
		run_all(run);
	}
	PG_CATCH();
	{
		leave(tag);
		forget_files(run);
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave(tag);
}

/* To close a file writes what is left of it, which must not fail for the files' size a second time. */
static void
forget_files(Run *run)
{
	int			limit = temp_file_limit;

	temp_file_limit = -1;
	while (run->rows != NIL)
		let_go(run, linitial(run->rows));
	forget_spool(run);
	temp_file_limit = limit;
}

static void
leave(const LOCKTAG *tag)
{
	pointstore_progress_end();
	LockRelease(tag, ExclusiveLock, true);
}

static void
run_all(Run *run)
{
	pointstore_next_step();		/* 55000 where there is no store */
	pointstore_progress_start(run->full);
	start_run(run, run->full ? "full" : "incremental");
	show_size(run);
	pointstore_digest_pause = AmBackgroundWorkerProcess() ? rest : NULL;
	read_horizon(run);
	if (run->full)
		scan_store(run);
	else
		scan_new_events(run);
	confirm(run, "", false, NULL);	/* the store as a whole */
	if (run->full)
		look_at_clock(run);
	examine_open_findings(run);
	finish_run(run);
	pointstore_last_step();
}

/* Ends a step's transaction and begins the next, after the throttle's delay. */
static void
next_step(void)
{
	pointstore_next_step();
	rest();
}

/* Whether this run makes way for others: a worker's does. */
static bool
is_throttled(void)
{
	return AmBackgroundWorkerProcess() && reconcile_delay > 0;
}

/*
 * Between two steps, and within a long one: a worker hears of changed settings, and
 * waits as long as the throttle says.
 */
static void
rest(void)
{
	static uint32 wait_event = 0;

	if (!AmBackgroundWorkerProcess())
		return;
	(void) pointstore_worker_reload();
	if (!is_throttled())
		return;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, reconcile_delay,
					 pointstore_wait_event(&wait_event, "PointstoreReconcileDelay"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* What an event takes, in milliseconds, with the pauses. */
static double
event_time(void)
{
	return 0.003 + (is_throttled() ? (double) reconcile_delay / POINTSTORE_DIGEST_PACE : 0);
}

/* events of some 150 bytes */
#define EVENTS_PER_BLOCK (BLCKSZ / 150)

/*
 * A row for the run: a new one, or that of an interrupted full run, which goes
 * on after the slices that are done. Runs that are gone are marked so.
 */
static void
start_run(Run *run, const char *scope)
{
	static PointstorePlan abandon = {
		.sql = "UPDATE pointstore.reconciliation SET status = 'interrupted', error = 'its session ended before it did'"
		" WHERE scope" EQ "$1 AND status" EQ "'running'",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	static PointstorePlan resume = {
		.sql = "UPDATE pointstore.reconciliation SET status = 'running', error = NULL"
		" WHERE id" EQ "(SELECT pg_catalog.max(id) FROM pointstore.reconciliation WHERE scope" EQ "$1)"
		"   AND status" EQ "'interrupted' AND slices_done" GT "0 AND slices_done" LT "slices"
		/* what was proved longer ago is proved anew */
		"   AND started_at" GT "(pg_catalog.clock_timestamp()" MINUS "CAST('1 day' AS pg_catalog.interval))"
		" RETURNING id, slices, slices_done, accounts_checked, events_checked, started_at, findings, unverified,"
		"   (SELECT pg_catalog.count(DISTINCT l.aggregate_id) FROM pointstore.account_log l"
		"     WHERE l.at" GE "started_at AND l.reason" EQ "'" OUR_REASON "')",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	static PointstorePlan start = {
		.sql = "INSERT INTO pointstore.reconciliation (scope, triggered_by, slices)"
		" SELECT $1, $2, CASE WHEN $1" EQ "'full' THEN LEAST(GREATEST(1, pg_catalog.ceil("
		/* never analyzed: an event takes some 150 bytes */
		"        CASE WHEN c.reltuples" LT "0 THEN pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog./) 150.0 ELSE c.reltuples END"
		"        OPERATOR(pg_catalog./) $3)), $4) ELSE 1 END"
		"   FROM pg_catalog.pg_class c WHERE c.oid" EQ "CAST('pointstore.event_store' AS pg_catalog.regclass)"
		" RETURNING id, slices, slices_done, accounts_checked, events_checked, started_at, findings, unverified,"
		"   CAST(0 AS pg_catalog.int8)",
		.nargs = 4, .argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT4OID}
	};
	/* of rows that were restored, or came from elsewhere */
	static PointstorePlan pass_ids = {
		.sql = "SELECT pg_catalog.setval(o.seq, o.last) FROM ("
		" SELECT CAST(pg_catalog.pg_get_serial_sequence('pointstore.reconciliation', 'id') AS pg_catalog.regclass) AS seq,"
		"        (SELECT pg_catalog.max(id) FROM pointstore.reconciliation) AS last"
		" UNION ALL SELECT CAST(pg_catalog.pg_get_serial_sequence('pointstore.finding', 'id') AS pg_catalog.regclass),"
		"        (SELECT pg_catalog.max(id) FROM pointstore.finding)) o"
		" WHERE o.last" GT "coalesce(pg_catalog.pg_sequence_last_value(o.seq), 0)"
	};
	Datum		values[4];
	PointstoreScope owner;

	if (!pg_strong_random(&run->key, sizeof(run->key)))
		elog(ERROR, "could not draw a random key");
	pointstore_act_as_verifier(&owner);
	use_indexes();
	SPI_connect();
	values[0] = CStringGetTextDatum(scope);
	values[1] = CStringGetTextDatum(run->triggered_by);
	values[2] = Float8GetDatum(reconcile_max_transaction / event_time());
	values[3] = Int32GetDatum(MAX_SLICES);
	pointstore_execute(&pass_ids, NULL, NULL, false);
	pointstore_execute(&abandon, values, NULL, false);
	pointstore_execute(&resume, values, NULL, false);
	if (SPI_processed == 0 || !run->full)
		pointstore_execute(&start, values, NULL, false);
	require_stored();
	take_over(run, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	*run->reported_id = run->id;
	next_step();
}

/* What the run's row says, as start_run() returns it. */
static void
take_over(Run *run, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	run->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	run->slices = DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
	run->slice = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
	run->accounts = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	run->events = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	run->started_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 6, &isnull));
	run->findings = DatumGetInt64(SPI_getbinval(row, desc, 7, &isnull));
	run->unverified = DatumGetInt64(SPI_getbinval(row, desc, 8, &isnull));
	run->acted = DatumGetInt64(SPI_getbinval(row, desc, 9, &isnull));
	run->resumed = run->slice > 0;
}

/* 09000 where a trigger of the user's has let no row in for the run. */
static void
require_stored(void)
{
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("the run was not stored"),
				 errdetail("A BEFORE trigger of the table suppressed it.")));
}

/* Shows how large the store is, as far as ANALYZE knows, and how much of it is done. */
static void
show_size(Run *run)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(GREATEST(e.reltuples, 0) AS pg_catalog.int8),"
		" CAST(GREATEST(b.reltuples, 0)" PLUS "GREATEST(p.reltuples, 0) AS pg_catalog.int8)"
		"  FROM pg_catalog.pg_class e, pg_catalog.pg_class b, pg_catalog.pg_class p"
		" WHERE e.oid" EQ "CAST('pointstore.event_store' AS pg_catalog.regclass)"
		"   AND b.oid" EQ "CAST('pointstore.balance' AS pg_catalog.regclass)"
		"   AND p.oid" EQ "CAST('pointstore.pure_account' AS pg_catalog.regclass)"
	};
	PointstoreScope owner;
	bool		isnull;

	if (run->full)
	{
		pointstore_act_as_verifier(&owner);
		SPI_connect();
		pointstore_execute(&plan, NULL, NULL, false);
		pointstore_progress_set(PROGRESS_EVENTS_TOTAL,
								DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
		pointstore_progress_set(PROGRESS_ACCOUNTS_TOTAL,
								DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)));
		SPI_finish();
		pointstore_act_as_caller(&owner);
		next_step();
	}
	show_done(run);
}

static void
show_done(Run *run)
{
	pointstore_progress_set(PROGRESS_ACCOUNTS_DONE, run->accounts);
	pointstore_progress_set(PROGRESS_EVENTS_DONE, run->events);
}

/* Whether an account is of the slice $3 of $2. */
#define IN_SLICE(account) "($2" EQ "1 OR " PART_OF_TEXT(account, "$2") EQ "$3)"

/*
 * The statements of a full run, over the store's events or, of a run in slices, over those of a part that
 * were spooled: $1 the key of the digests, $2 slices, $3 the slice, $4 the last id of which every event was there before
 * the run began to read, $5 whether the events were spooled, so that accounts may have moved meanwhile.
 */

/*
 * The balance rows, and the accounts that were proved once, beside what the events say, by their
 * heaps. A row for each account: whether it looks wrong, whether its proof is out of
 * date, what its events say, what tells whether an index hides some of it, and whether it has moved on since its
 * events were read. Rows without a name are those of the account ''.
 */
#define IS_AHEAD "($5 AND coalesce(GREATEST(b.version, q.version)" GT "coalesce((e.d).last_version, 0), false))"
#define SLICE_SQL(events) \
"WITH digested AS (" \
" SELECT e.aggregate_id, pointstore.digest(e.version, e.amount, e.held, e.balance_after, 0, 0, $1) AS d, " HEAP_MARK("e.version", "e.amount") " AS mark" \
"   FROM " events " e GROUP BY e.aggregate_id)," \
" balances AS (" \
" SELECT b.aggregate_id, pg_catalog.count(*) AS rows, pg_catalog.max(b.version) AS version, pg_catalog.max(b.balance) AS balance," \
"        pg_catalog.max(b.held) AS held, pg_catalog.max(b.next_expiry) AS next_expiry FROM pointstore.balance b" \
"  WHERE " IN_SLICE("b.aggregate_id") " GROUP BY b.aggregate_id)," \
" pures AS (" \
" SELECT p.aggregate_id, pg_catalog.count(*) AS rows FROM pointstore.pure_account p" \
"  WHERE " IN_SLICE("p.aggregate_id") " GROUP BY p.aggregate_id)," \
" proofs AS (" \
" SELECT * FROM pointstore.account_proof q" \
"  WHERE " IN_SLICE("q.aggregate_id") ")," \
" reserved AS (" \
" SELECT h.aggregate_id, coalesce(pg_catalog.sum(h.amount), 0) AS open, pg_catalog.min(h.expires_at) AS first FROM pointstore.hold h" \
"  WHERE h.status" EQ "'open' AND " IN_SLICE("h.aggregate_id") \
"  GROUP BY h.aggregate_id)," \
" compared AS (" \
" SELECT coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id, p.aggregate_id, '') AS id," \
"        (b.aggregate_id IS NOT NULL AND p.aggregate_id IS NOT NULL)" \
"        OR coalesce(b.rows, 0)" GT "1 OR coalesce(p.rows, 0)" GT "1" \
"        OR coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id, p.aggregate_id) IS NULL" \
"        OR (e.aggregate_id IS NOT NULL AND (NOT (e.d).sound OR (b.aggregate_id IS NULL AND p.aggregate_id IS NULL)))" \
"        OR (NOT " IS_AHEAD " AND (" \
"            (b.aggregate_id IS NOT NULL AND NOT coalesce(b.version" EQ "coalesce((e.d).last_version, 0) AND b.balance" EQ "coalesce((e.d).total, 0)" \
"                                                         AND b.held" EQ "coalesce((e.d).held, 0), false))" \
"            OR (e.aggregate_id IS NULL AND r.aggregate_id IS NOT NULL)" \
"            OR coalesce(r.open, 0)" NE "coalesce((e.d).held, 0)" \
"            OR (b.aggregate_id IS NOT NULL AND " DIFFERS_OR_NULL("b.next_expiry", "r.first") ")" \
"            OR coalesce(q.version" GT "coalesce((e.d).last_version, 0), false))) AS bad," \
"        e.aggregate_id IS NOT NULL AND (q.aggregate_id IS NULL OR q.version" NE "(e.d).last_version" \
"        OR q.balance" NE "(e.d).total OR q.held" NE "(e.d).held) AS moved," \
"        (e.d).last_version AS last, (e.d).total AS total, (e.d).held AS held, (e.d).events AS events, e.mark, b.rows AS balances, p.rows AS pures," \
"        " IS_AHEAD " AS ahead," \
"        coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id) IS NOT NULL AS known" \
"   FROM digested e" \
"   FULL JOIN balances b ON b.aggregate_id" EQ "e.aggregate_id" \
"   FULL JOIN reserved r ON r.aggregate_id" EQ "coalesce(e.aggregate_id, b.aggregate_id)" \
"   FULL JOIN proofs q ON q.aggregate_id" EQ "coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id)" \
"   FULL JOIN pures p ON p.aggregate_id" EQ "coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id))" \
" SELECT id, bad, moved, last, total, held, events, mark, balances, pures, ahead FROM compared WHERE known OR bad"

/* The accounts within which created_at falls; sorted by a hash first, since to compare numbers is cheap. */
#define ORDER_SQL(events) \
"SELECT DISTINCT x.aggregate_id FROM (" \
" SELECT e.aggregate_id, e.created_at, pg_catalog.lag(e.created_at) OVER (PARTITION BY " HASH_OF("e.aggregate_id") ", e.aggregate_id ORDER BY e.version, e.id) AS before" \
"   FROM " events " e) x" \
" WHERE coalesce(x.created_at" LT "x.before, x.created_at IS NULL)"

/* The accounts whose holds' rows are not what their events say, and those whose steps do not fit together. */
#define HOLDS_SQL(events) \
"WITH steps AS MATERIALIZED (" \
" SELECT e.id, e.aggregate_id, e.event_type, e.amount, e.held, e.cause_id, e.metadata OPERATOR(pg_catalog.->>) 'hold_id' AS hold_id," \
"        e.metadata OPERATOR(pg_catalog.->>) 'expires_at' AS expires_at" \
"   FROM " events " e WHERE " IS_STEP("e") ")," \
" placed AS (SELECT * FROM steps WHERE event_type" EQ "'HoldPlaced')," \
" closed AS (SELECT aggregate_id, cause_id, pg_catalog.count(*) AS times, pg_catalog.min(event_type) AS event_type, pg_catalog.min(amount) AS amount," \
"        pg_catalog.min(held) AS held FROM steps WHERE event_type" NE "'HoldPlaced' GROUP BY aggregate_id, cause_id)" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT c.aggregate_id FROM closed c LEFT JOIN placed p ON p.id" EQ "c.cause_id AND p.aggregate_id" EQ "c.aggregate_id" \
"   WHERE c.times" GT "1 OR " IS_OTHER_STEP("c", "p") \
"  UNION ALL" \
"  SELECT p.aggregate_id FROM placed p LEFT JOIN closed c ON c.cause_id" EQ "p.id AND c.aggregate_id" EQ "p.aggregate_id" \
"    LEFT JOIN pointstore.hold h ON h.hold_id" EQ "p.hold_id" \
"   WHERE p.hold_id IS NOT NULL AND " IS_OTHER_HOLD("h", "p", "c.event_type", "c.amount") \
"  UNION ALL" \
"  SELECT h.aggregate_id FROM pointstore.hold h LEFT JOIN placed p ON p.id" EQ "h.event_id AND p.aggregate_id" EQ "h.aggregate_id" \
"   WHERE h.status" EQ "'open' AND " IN_SLICE("h.aggregate_id") " AND p.id IS NULL AND coalesce(h.event_id" LE "$4, true)) x"

/* The accounts whose kind, its unit, or status is not what their log says last. */
#define LOG_SQL(events) \
"SELECT DISTINCT a.aggregate_id FROM (" \
" SELECT b.aggregate_id, b.kind, b.status FROM pointstore.balance b WHERE " IN_SLICE("b.aggregate_id") \
" UNION ALL SELECT p.aggregate_id, p.kind, p.status FROM pointstore.pure_account p WHERE " IN_SLICE("p.aggregate_id") ") a" \
" JOIN (SELECT l.aggregate_id, pg_catalog.max(l.id) AS id FROM pointstore.account_log l" \
"        WHERE l.after IS NOT NULL AND " IN_SLICE("l.aggregate_id") " GROUP BY l.aggregate_id) x ON x.aggregate_id" EQ "a.aggregate_id" \
" JOIN pointstore.account_log l ON l.id" EQ "x.id" \
" LEFT JOIN pointstore.account_kind k ON k.kind" EQ "a.kind" \
" WHERE " IS_OTHER_ACCOUNT("a", "k.unit", "l.after")

/* What was taken back, by account and event; id null: there is no such event. */
#define REVERSED(events) \
"SELECT r.aggregate_id, r.cause_id, r.total, CAST(0 AS pg_catalog.numeric)" MINUS "r.total AS back, r.newest, o.id, o.amount, " FIRST_OF("o") " AS first_id" \
"   FROM (SELECT e.aggregate_id, e.cause_id, pg_catalog.sum(e.amount) AS total, pg_catalog.max(e.id) AS newest FROM " events " e" \
"          WHERE e.event_type" EQ "'EventReversed' GROUP BY e.aggregate_id, e.cause_id) r" \
"   LEFT JOIN " events " o ON " IS_ORIGINAL("o", "r")

/*
 * The accounts with an event that was taken back by more than it was, be it that the type of what did was altered,
 * and those where something takes back nothing of the account.
 */
#define REVERSALS_SQL(events) \
"WITH reversed AS MATERIALIZED (" REVERSED(events) ")" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT aggregate_id FROM reversed WHERE id IS NULL OR " EXCEEDS("back", "amount") \
"  UNION ALL" \
"  SELECT a.aggregate_id FROM (" \
"   SELECT r.aggregate_id, r.amount, r.back" MINUS "pg_catalog.sum(e.amount) AS back" \
"     FROM reversed r JOIN " events " o ON " IS_ORIGINAL("o", "r") " JOIN " events " e ON e.cause_id" EQ "r.cause_id AND e.aggregate_id" EQ "r.aggregate_id" \
"      AND " SAYS_REVERSED("(" SAYS_AS_REVERSAL("e") ")", "e", "o") \
"    GROUP BY r.aggregate_id, r.back, r.amount, o.id) a WHERE " EXCEEDS("a.back", "a.amount") ") x"

/* What was taken back of a movement, by its first leg: for the parts of the movements, of which it is no matter whose they are. */
static const char resolve_sql[] =
"SELECT CAST(" PART_OF_ID("v.first_id", "$2") " AS pg_catalog.int4), v.first_id, v.total, v.newest FROM (" REVERSED("events") ") v WHERE v.id IS NOT NULL";

/* The accounts with an event of a request and leg that another has: of those whose hashes are alike. */
#define REQUESTS_SQL(events) \
"WITH alike AS (" \
" SELECT " HASH_OF("e.request_id") " AS hash FROM " events " e WHERE e.request_id IS NOT NULL" \
"  GROUP BY pg_catalog.hashint8extended(coalesce(e.leg, -1), " HASH_OF("e.request_id") "), " HASH_OF("e.request_id") " HAVING pg_catalog.count(*)" GT "1)," \
" named AS (SELECT e.aggregate_id, e.request_id, e.leg FROM " events " e WHERE " HASH_OF("e.request_id") EQ "ANY (ARRAY(SELECT hash FROM alike)))" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT n.aggregate_id, pg_catalog.count(*) OVER (PARTITION BY n.request_id, n.leg) AS times FROM named n) x WHERE x.times" GT "1"

/*
 * The accounts of first legs whose legs do not sum to zero or were not taken back alike; those of legs whose
 * cause is no first leg, or that say neither their request nor their cause. All sides of a movement are written together, so a snapshot
 * has all or none; of one to which something belongs that came since the run began to read, some may be missing.
 */
#define MOVEMENTS_SQL(events, reversed) \
"WITH marked AS (" \
" SELECT e.cause_id, e.request_id, pg_catalog.sum(e.amount) AS total, pg_catalog.max(e.id) AS newest FROM " events " e" \
"  WHERE e.event_type" NE "'EventReversed' AND e.leg" GE "1 AND e.cause_id IS NOT NULL GROUP BY e.cause_id, e.request_id)," \
" taken AS (" \
" SELECT v.first_id, pg_catalog.sum(v.total) AS total, pg_catalog.max(v.newest) AS newest FROM " reversed " v GROUP BY v.first_id)," \
" caused AS MATERIALIZED ("	/* once for both that ask */ \
" SELECT l.cause_id, l.request_id, l.total, l.newest, f.id, f.aggregate_id, f.amount, coalesce(" IS_FIRST_LEG("f") " AND " SAME_REQUEST("l", "f") ", false) AS fits" \
"   FROM marked l JOIN " events " f ON f.id" EQ "l.cause_id)" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT l.aggregate_id FROM caused w JOIN " events " l ON l.cause_id" EQ "w.cause_id AND l.leg" GE "1 AND " SAME_REQUEST("l", "w") \
"   WHERE NOT w.fits" \
"  UNION ALL" \
"  SELECT c.aggregate_id FROM caused c LEFT JOIN taken t ON t.first_id" EQ "c.id" \
"   WHERE c.fits AND (c.amount" PLUS "c.total" NE "0 OR t.total" NE "0)" \
"     AND coalesce(c.newest" LE "$4, true) AND coalesce(t.newest" LE "$4, true)" \
"  UNION ALL" \
"  SELECT e.aggregate_id FROM " events " e WHERE e.leg" GE "1 AND e.request_id IS NULL AND e.cause_id IS NULL) x"

/* What a full run goes through: a statement over the store's events, the same over those of a part, and what parts these are of. */
typedef struct Pass
{
	const char *by_heap;
	const char *by_spool;
	SpoolFamily family;
} Pass;

static void go_through(Run *run, const Pass *passes, int n, int part);
static Tuplestorestate *go_over(Run *run, const Pass *pass, int part, bool compared);

#define PASS(sql, family) {sql("pointstore.event_store"), sql("events"), family}

static const Pass slice_pass = PASS(SLICE_SQL, SPOOL_ACCOUNTS);
static const Pass account_passes[] = {
	PASS(ORDER_SQL, SPOOL_ACCOUNTS), PASS(HOLDS_SQL, SPOOL_ACCOUNTS), PASS(LOG_SQL, SPOOL_ACCOUNTS), PASS(REVERSALS_SQL, SPOOL_ACCOUNTS)
};
static const Pass link_passes[] = {
	PASS(REQUESTS_SQL, SPOOL_REQUESTS),
	{MOVEMENTS_SQL("pointstore.event_store", "(" REVERSED("pointstore.event_store") ")"), MOVEMENTS_SQL("events", "reversals"), SPOOL_MOVEMENTS}
};

/* The same among the causes of events that have come since. */
static const char *const new_links_sql =
"WITH recent AS (SELECT DISTINCT aggregate_id, cause_id, event_type" EQ "'EventReversed' AS reverses FROM pointstore.event_store"
"                 WHERE id" GT "$1 AND (event_type" EQ "'EventReversed' OR (leg" GE "1 AND cause_id IS NOT NULL))),"
" reversed AS (SELECT r.aggregate_id, o.id, o.amount, " FIRST_OF("o") " AS first_id"
"   FROM recent r LEFT JOIN pointstore.event_store o ON " IS_ORIGINAL("o", "r") " WHERE r.reverses),"
" first AS (SELECT cause_id AS id FROM recent WHERE NOT reverses UNION SELECT first_id FROM reversed)"
" SELECT DISTINCT x.aggregate_id FROM ("
"  SELECT f.aggregate_id FROM first n JOIN pointstore.event_store f ON f.id" EQ "n.id"
"   CROSS JOIN LATERAL (SELECT pg_catalog.sum(l.amount) AS moved, pg_catalog.sum(r.total) AS taken"
"                         FROM pointstore.event_store l LEFT JOIN LATERAL " TAKEN_OF("l.id") " r ON true"
"                        WHERE " IS_LEG("l", "f") ") t"
"   CROSS JOIN LATERAL " TAKEN_OF("f.id") " own"
"   WHERE " IS_FIRST_LEG("f") " AND t.moved IS NOT NULL"
"     AND (f.amount" PLUS "t.moved" NE "0 OR coalesce(t.taken, 0)" PLUS "coalesce(own.total, 0)" NE "0)"
"  UNION ALL"
"  SELECT l.aggregate_id FROM pointstore.event_store l JOIN pointstore.event_store f ON f.id" EQ "l.cause_id"
"   WHERE l.id" GT "$1 AND l.leg" GE "1 AND l.event_type" NE "'EventReversed' AND NOT coalesce(" IS_FIRST_LEG("f") " AND " SAME_REQUEST("f", "l") ", false)"
"  UNION ALL"
"  SELECT e.aggregate_id FROM pointstore.event_store e WHERE e.id" GT "$1 AND e.leg" GE "1 AND e.request_id IS NULL AND e.cause_id IS NULL"
"  UNION ALL"
"  SELECT e.aggregate_id FROM pointstore.event_store e JOIN pointstore.event_store t ON t.request_id" EQ "e.request_id"
"   WHERE e.id" GT "$1 AND e.request_id IS NOT NULL AND coalesce(t.leg, -1)" EQ "coalesce(e.leg, -1)"
"     AND (t.id" LT "e.id OR (t.id" EQ "e.id AND t.aggregate_id" LT "e.aggregate_id))"
"  UNION ALL"
"  SELECT c.aggregate_id FROM pointstore.event_store c LEFT JOIN pointstore.event_store p"
"      ON p.id" EQ "c.cause_id AND p.aggregate_id" EQ "c.aggregate_id AND p.event_type" EQ "'HoldPlaced'"
"   WHERE c.id" GT "$1 AND " IS_STEP("c") " AND c.event_type" NE "'HoldPlaced' AND " IS_OTHER_STEP("c", "p")
"  UNION ALL"
"  SELECT p.aggregate_id FROM (SELECT e.id, e.aggregate_id, e.held, e.metadata OPERATOR(pg_catalog.->>) 'hold_id' AS hold_id,"
"        e.metadata OPERATOR(pg_catalog.->>) 'expires_at' AS expires_at FROM pointstore.event_store e"
"         WHERE e.id" GT "$1 AND e.event_type" EQ "'HoldPlaced') p"
"    LEFT JOIN pointstore.hold h ON h.hold_id" EQ "p.hold_id LEFT JOIN pointstore.event_store c"
"      ON c.cause_id" EQ "p.id AND c.aggregate_id" EQ "p.aggregate_id AND " IS_STEP("c")
"   WHERE p.hold_id IS NOT NULL AND " IS_OTHER_HOLD("h", "p", "c.event_type", "c.amount")
"  UNION ALL"
"  SELECT v.aggregate_id FROM reversed v LEFT JOIN LATERAL " TAKEN_OF("v.id") " r ON true"
"   WHERE v.id IS NULL OR " EXCEEDS("(CAST(0 AS pg_catalog.numeric)" MINUS "r.total)", "v.amount") ") x";

/*
 * A full run: in one slice by the heap itself; in several by what is spooled first, in one reading of the heap. All
 * events of an account are of one slice; the links between accounts come afterwards, by parts of their own.
 */
static void
scan_store(Run *run)
{
	int			part;
	int			family;

	if (run->slices > 1)
		spool_events(run);
	for (part = 0; part < run->slices; part++)
	{
		if (run->spool)
			resolve_reversals(run, part);
		if (part == run->slice)
			scan_slice(run);
		if (run->spool)
			pointstore_spool_forget(run->spool, SPOOL_ACCOUNTS, part);
	}
	for (part = 0; part < run->slices; part++)
	{
		go_through(run, link_passes, lengthof(link_passes), part);
		if (run->spool)
			for (family = 0; family < N_SPOOL_FAMILIES; family++)
				pointstore_spool_forget(run->spool, family, part);
	}
	forget_spool(run);
}

/*
 * Reads the heap from end to end, in transactions over so many blocks each, and spools of it what the
 * passes need. Events that come meanwhile need not be seen; should the table be rewritten, all is read again.
 */
static void
spool_events(Run *run)
{
	BlockNumber at_once = Max(1, reconcile_max_transaction / event_time() / EVENTS_PER_BLOCK);
	BlockNumber blocks;
	BlockNumber block;
	Oid			file;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_SPOOLING);
	do
	{
		forget_spool(run);
		run->spool = pointstore_spool_create(run->slices, WORK_MEM_LIMIT, run->context);
		file = read_size(&blocks);
		next_step();
		for (block = 0; block == 0 || (block < blocks && file != InvalidOid); block += at_once)
		{
			if (spool_blocks(run, block, block + at_once) != file)
				file = InvalidOid;
			next_step();
		}
	} while (file == InvalidOid);
}

/* Spools the events of some blocks; the table's file, which stays the same until the transaction's end. */
static Oid
spool_blocks(Run *run, BlockNumber first, BlockNumber end)
{
	static const Oid types[] = {INT8OID, INT8OID, TIDOID, TIDOID};
	ItemPointerData from;
	ItemPointerData to;
	Datum		values[] = {
		Int64GetDatum(run->slices), Int64GetDatum(run->pending_id), PointerGetDatum(&from), PointerGetDatum(&to)
	};
	BlockNumber blocks;

	ItemPointerSet(&from, first, 0);
	ItemPointerSet(&to, end, 0);
	execute(run, &(Reading) {.sql = pointstore_spool_sql, .n = 4, .types = types, .values = values, .by_heap = true, .by_tid = true},
			pointstore_spool_receiver(run->spool));
	return read_size(&blocks);
}

static Oid
read_size(BlockNumber *blocks)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.pg_relation_filenode(e.oid), pg_catalog.pg_relation_size(e.oid)"
		"  FROM pg_catalog.pg_class e WHERE e.oid" EQ "CAST('pointstore.event_store' AS pg_catalog.regclass)"
	};
	PointstoreScope owner;
	Oid			file;
	bool		isnull;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, false);
	file = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*blocks = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) / BLCKSZ;
	SPI_finish();
	pointstore_act_as_caller(&owner);
	return file;
}

/* Spools what was taken back by accounts of a part, by the movements that it belongs to. */
static void
resolve_reversals(Run *run, int part)
{
	execute(run, &(Reading) {.sql = resolve_sql, .values = (Datum[]) PASS_VALUES(run, part), .n = N_PASS_VALUES, .types = pass_types,
			.by_heap = true, .spooled = true, .family = SPOOL_ACCOUNTS, .part = part},
			pointstore_spool_reversals_receiver(run->spool));
	next_step();
}

static void
forget_spool(Run *run)
{
	if (run->spool != NULL)
		pointstore_spool_free(run->spool);
	run->spool = NULL;
}

/* Goes through the accounts of one slice. */
static void
scan_slice(Run *run)
{
	static PointstorePlan done = {
		.sql = "UPDATE pointstore.reconciliation SET slices_done = $2, accounts_checked = $3, events_checked = $4,"
		" findings = $5, unverified = $6 WHERE id" EQ "$1",
		.nargs = 6, .argtypes = {INT8OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[6];
	PointstoreScope owner;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_SCANNING);
	take_proofs_and_candidates(run, go_over(run, &slice_pass, run->slice, true), true);
	go_through(run, account_passes, lengthof(account_passes), run->slice);
	run->slice++;
	values[0] = Int64GetDatum(run->id);
	values[1] = Int32GetDatum(run->slice);
	values[2] = Int64GetDatum(run->accounts);
	values[3] = Int64GetDatum(run->events);
	values[4] = Int64GetDatum(run->findings);
	values[5] = Int64GetDatum(run->unverified);
	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&done, values, NULL, false);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	if (run->slices > 1)
		tell(run, psprintf("part %d of %d", run->slice, run->slices));
	next_step();
}

/* Examines the accounts that these passes name of a part. */
static void
go_through(Run *run, const Pass *passes, int n, int part)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		pointstore_progress_set(PROGRESS_PHASE, PHASE_SCANNING);
		examine_named(run, go_over(run, &passes[i], part, false), true, 0);
	}
}

static Tuplestorestate *
go_over(Run *run, const Pass *pass, int part, bool compared)
{
	return collect(run, &(Reading) {.sql = run->spool ? pass->by_spool : pass->by_heap, .n = N_PASS_VALUES, .types = pass_types,
				   .values = (Datum[]) PASS_VALUES(run, part), .compared = compared, .by_heap = true, .spooled = run->spool != NULL,
				   .family = pass->family, .part = part});
}

/* For who watches a run by hand: how far it is. */
static void
tell(Run *run, const char *what)
{
	if (!AmBackgroundWorkerProcess())
		ereport(NOTICE,
				(errmsg("reconciliation %lld, %s: %lld accounts, %lld events, %lld findings, %lld accounts unverified",
						(long long) run->id, what, (long long) run->accounts, (long long) run->events,
						(long long) run->findings, (long long) run->unverified)));
}

/*
 * What a statement returns, in a tuplestore that lives as long as the run; of
 * compared accounts, which are counted, those alone about which there is something to
 * do; of others the names, '' of rows without one.
 */
static Tuplestorestate *
collect(Run *run, const Reading *reading)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	Tuplestorestate *rows = tuplestore_begin_heap(false, true, Min(work_mem, WORK_MEM_LIMIT));
	DestReceiver *dest = reading->compared ? create_receiver(run, rows) : CreateTuplestoreDestReceiver();
	Reading		named = *reading;

	run->rows = lappend(run->rows, rows);
	MemoryContextSwitchTo(old);
	if (!reading->compared)
	{
		named.sql = psprintf("SELECT coalesce(CAST(n.aggregate_id AS pg_catalog.text), '') FROM (%s) n", reading->sql);
		SetTuplestoreDestReceiverParams(dest, rows, run->context, false, NULL, NULL);
	}
	execute(run, &named, dest);
	if (reading->compared)
		show_done(run);
	next_step();
	return rows;
}

/*
 * Hands over what a statement returns. It may be run by parallel workers; by_heap: it uses no index, by_tid: but reads blocks that it
 * names; spooled: the relation "events" is a part of what was spooled, and "reversals" what was taken back of its movements.
 */
static void
execute(Run *run, const Reading *reading, DestReceiver *dest)
{
	ParamListInfo params = makeParamList(reading->n);
	SPIExecuteOptions options = {.params = params, .read_only = true, .dest = dest};
	PointstoreScope owner;
	int			i;

	for (i = 0; i < reading->n; i++)
		params->params[i] = (ParamExternData) {.value = reading->values[i], .pflags = PARAM_FLAG_CONST, .ptype = reading->types[i]};
	pointstore_act_as_verifier(&owner);
	if (reading->by_heap)
		pointstore_use_no_index();
	if (reading->by_tid)
		pointstore_set_option("enable_seqscan", "off");
	plan_with_care();
	SPI_connect();
	if (reading->spooled)
	{
		pointstore_spool_show(run->spool, reading->family, reading->part, "events");
		if (reading->family == SPOOL_MOVEMENTS)
			pointstore_spool_show(run->spool, SPOOL_REVERSALS, reading->part, "reversals");
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute_extended(reading->sql, &options) < 0)
		elog(ERROR, "could not execute \"%s\"", reading->sql);
	PopActiveSnapshot();
	SPI_finish();
	pointstore_act_as_caller(&owner);
}

/* What collect() returned: its file would else stay until the session ends. */
static void
let_go(Run *run, Tuplestorestate *rows)
{
	run->rows = list_delete_ptr(run->rows, rows);
	tuplestore_end(rows);
}

/*
 * How statements are planned from now on: within bounds of memory, whatever the
 * number of accounts; by parallel workers while this process collects what they
 * say; where it is throttled, by this process alone.
 */
static void
plan_with_care(void)
{
	if (work_mem > WORK_MEM_LIMIT)
		pointstore_set_option("work_mem", CppAsString2(WORK_MEM_LIMIT));
	if (hash_mem_multiplier > HASH_MEM_LIMIT)
		pointstore_set_option("hash_mem_multiplier", CppAsString2(HASH_MEM_LIMIT));
	pointstore_set_option("parallel_leader_participation", "off");
	pointstore_set_option("jit", "off");	/* it takes longer than a thousand short histories */
	if (is_throttled())
		pointstore_set_option("max_parallel_workers_per_gather", "0");
}

/* Takes the rows of slice_pass or tail_sql. */
static DestReceiver *
create_receiver(Run *run, Tuplestorestate *rows)
{
	Receiver   *receiver = palloc0(sizeof(Receiver));

	receiver->dest.receiveSlot = count_account;
	receiver->dest.rStartup = start_receiver;
	receiver->dest.rShutdown = receiver->dest.rDestroy = end_receiver;
	receiver->dest.mydest = DestTuplestore;
	receiver->run = run;
	receiver->rows = rows;
	return &receiver->dest;
}

/* Counts an account, and keeps it when it looks wrong or its proof is to be written. */
static bool
count_account(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;

	slot_getallattrs(slot);
	receiver->run->accounts += is_true(slot, ROW_AHEAD) ? 0 : 1;	/* its tail counts it */
	receiver->run->events += slot->tts_isnull[6] ? 0 : DatumGetInt64(slot->tts_values[6]);
	if (is_true(slot, 1) || is_true(slot, 2) || is_true(slot, ROW_AHEAD))
		tuplestore_puttupleslot(receiver->rows, slot);
	return true;
}

static bool
is_true(TupleTableSlot *slot, int column)
{
	return !slot->tts_isnull[column] && DatumGetBool(slot->tts_values[column]);
}

static void
start_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiver(DestReceiver *self)
{
}

/*
 * Statements planned from now on look rows up by an index where there is one: their
 * plans are kept, and a table that is small now may be large before the run ends.
 */
static void
use_indexes(void)
{
	pointstore_set_option("enable_seqscan", "off");
	pointstore_set_option("jit", "off");	/* where there is none the cost is immense */
}

/*
 * Goes through the rows of slice_pass or tail_sql: writes the proofs, examines what looks wrong, and
 * reads what has come since of accounts that have moved on.
 */
static void
take_proofs_and_candidates(Run *run, Tuplestorestate *rows, bool by_heap)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(row_desc(), &TTSOpsMinimalTuple);
	Proofs	   *proofs = palloc(sizeof(Proofs));
	MemoryContext batch = AllocSetContextCreate(run->context, "pointstore proofs", ALLOCSET_DEFAULT_SIZES);
	Tuplestorestate *ahead = tuplestore_begin_heap(false, true, Min(work_mem, WORK_MEM_LIMIT));

	run->rows = lappend(run->rows, ahead);
	MemoryContextSwitchTo(old);
	proofs->n = 0;
	pointstore_progress_set(PROGRESS_PHASE, PHASE_EXAMINING);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (is_true(slot, 1))
		{
			char	   *id = TextDatumGetCString(slot->tts_values[0]);
			HeapView	heap = heap_view(slot);

			confirm(run, id, by_heap, by_heap ? &heap : NULL);
			pfree(id);
			continue;
		}
		if (is_true(slot, ROW_AHEAD))
		{
			tuplestore_puttupleslot(ahead, slot);
			continue;
		}
		old = MemoryContextSwitchTo(batch);
		proofs->id[proofs->n] = PointerGetDatum(DatumGetTextPCopy(slot->tts_values[0]));
		MemoryContextSwitchTo(old);
		proofs->version[proofs->n] = slot->tts_values[3];
		proofs->balance[proofs->n] = slot->tts_values[4];
		proofs->held[proofs->n++] = slot->tts_values[5];
		if (proofs->n >= (is_throttled() ? PROOFS_BETWEEN_PAUSES : PROOFS_AT_ONCE))
		{
			write_proofs(run, proofs);
			MemoryContextReset(batch);
		}
	}
	write_proofs(run, proofs);
	pfree(proofs);
	MemoryContextDelete(batch);
	ExecDropSingleTupleTableSlot(slot);
	let_go(run, rows);
	prove_tails(run, ahead);
}

/* What a row of slice_pass says of the heaps. */
static HeapView
heap_view(TupleTableSlot *slot)
{
	return (HeapView)
	{
		.last = slot->tts_isnull[3] ? 0 : DatumGetInt64(slot->tts_values[3]),
		.events = slot->tts_isnull[6] ? 0 : DatumGetInt64(slot->tts_values[6]),
		.mark = slot->tts_isnull[7] ? 0 : DatumGetInt64(slot->tts_values[7]),
		.balances = slot->tts_isnull[8] ? 0 : DatumGetInt64(slot->tts_values[8]),
		.pures = slot->tts_isnull[9] ? 0 : DatumGetInt64(slot->tts_values[9])
	};
}

/* As the rows of slice_pass and tail_sql; of accounts that are merely named, the first column. */
static TupleDesc
row_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(ROW_AHEAD + 1);

	TupleDescInitEntry(desc, 1, "id", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "bad", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 3, "moved", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 4, "version", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 5, "balance", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 6, "held", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 7, "events", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 8, "mark", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 9, "balances", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 10, "pures", INT8OID, -1, 0);
	TupleDescInitEntry(desc, ROW_AHEAD + 1, "ahead", BOOLOID, -1, 0);
	return desc;
}

/* Writes proofs, by updates in place where the account had one. */
static void
write_proofs(Run *run, Proofs *proofs)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.account_proof AS p (aggregate_id, version, balance, held, proved_at)"
		" SELECT n.id, n.version, n.balance, n.held, pg_catalog.clock_timestamp()"
		"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4))"
		"        AS n (id, version, balance, held)"
		"  ORDER BY n.id"
		" ON CONFLICT (aggregate_id) DO UPDATE SET version = EXCLUDED.version, balance = EXCLUDED.balance,"
		" held = EXCLUDED.held, proved_at = EXCLUDED.proved_at"
		/* a run of the other scope may have got further meanwhile */
		" WHERE p.version" LE "EXCLUDED.version",
		.nargs = 4, .argtypes = {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[4];
	PointstoreScope owner;

	if (proofs->n == 0)
		return;
	pointstore_act_as_verifier(&owner);
	SPI_connect();
	values[0] = text_array(proofs->id, proofs->n, TEXTOID);
	values[1] = text_array(proofs->version, proofs->n, INT8OID);
	values[2] = text_array(proofs->balance, proofs->n, INT8OID);
	values[3] = text_array(proofs->held, proofs->n, INT8OID);
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	proofs->n = 0;
	next_step();
}

static Datum
text_array(Datum *elements, int n, Oid type)
{
	return PointerGetDatum(type == TEXTOID ? construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT)
						   : construct_array(elements, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Reads how far the ids of events go, and waits a moment until every
 * transaction that may have drawn one of these has ended: then this run sees
 * all of them, and the next begins there. Where some go on, it begins at an earlier
 * point that has come to rest. Events that a subscription brings leave the sequence alone and come
 * in the order of the origin's commits: there the next begins where this one's predecessor looked.
 */
static void
read_horizon(Run *run)
{
	static PointstorePlan sequence = {
		.sql = "SELECT coalesce(c.safe_id, 0), coalesce(c.pending_id, 0), CAST(coalesce(c.pending_xmax, '0') AS pg_catalog.text),"
		" CASE WHEN f.fed THEN GREATEST(s.last_value, (SELECT pg_catalog.max(id) FROM pointstore.event_store)) ELSE s.last_value END, f.fed"
		"  FROM pointstore.event_store_id_seq s LEFT JOIN pointstore.reconciliation_checkpoint c ON true,"
		"       (SELECT EXISTS (SELECT " IS_SUBSCRIBED " AND c.relname" EQ "'event_store') AS fed) f"
	};
	static PointstorePlan own_xid = {
		.sql = "SELECT CAST(pg_catalog.pg_current_xact_id() AS pg_catalog.text)"
	};
	PointstoreScope owner;
	int64		pending_id;
	char	   *pending_xmax;
	bool		isnull;
	int			i;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&sequence, NULL, NULL, false);
	run->since_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pending_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	pending_xmax = MemoryContextStrdup(run->context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3));
	run->pending_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	run->fed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &isnull));
	if (run->pending_id < run->since_id)
		run->since_id = pending_id = PG_INT64_MIN;	/* the sequence was set back: all over again */
	/*
	 * Drawn after the sequence was read. The xmax of a snapshot would not do: it
	 * is next to the last one that has ended, and later ones may be running.
	 */
	pointstore_execute(&own_xid, NULL, NULL, false);
	run->pending_xmax = MemoryContextStrdup(run->context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	pointstore_act_as_caller(&owner);
	next_step();

	pointstore_progress_set(PROGRESS_PHASE, PHASE_WAITING);
	for (i = 0; i < 20 && !has_come_to_rest(run->pending_xmax); i++)
		pg_usleep(10000L);
	if (run->fed)
		run->safe_id = Max(pending_id, run->since_id);
	else if (i < 20)
		run->safe_id = run->pending_id;
	else
		run->safe_id = has_come_to_rest(pending_xmax) ? pending_id : run->since_id;
}

/* Whether every transaction before that one has ended. */
static bool
has_come_to_rest(const char *xmax)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST($1 AS pg_catalog.xid8)" LE "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(xmax);
	PointstoreScope owner;
	bool		isnull;
	bool		result;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	result = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&owner);
	next_step();
	return result;
}

/* The accounts that have had events since then, each from the version up to which it is proved. */
static void
scan_new_events(Run *run)
{
	static const Oid types[] = {INT8OID};
	Datum		since[] = {Int64GetDatum(run->since_id)};
	Reading		accounts = {
		.sql = "SELECT DISTINCT aggregate_id FROM pointstore.event_store WHERE id" GT "$1", .n = 1, .types = types, .values = since
	};
	Reading		links = {.sql = new_links_sql, .n = 1, .types = types, .values = since};
	Tuplestorestate *rows;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_SCANNING);
	rows = collect(run, &accounts);
	pointstore_progress_set(PROGRESS_ACCOUNTS_TOTAL, tuplestore_tuple_count(rows));
	prove_tails(run, rows);
	examine_named(run, collect(run, &links), false, 0);
}

/* Examines accounts that are merely named, all of them or, not 0, until that has taken so many milliseconds. */
static void
examine_named(Run *run, Tuplestorestate *ids, bool by_heap, long most)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(row_desc(), &TTSOpsMinimalTuple);
	long		spent = 0;

	MemoryContextSwitchTo(old);
	while ((most == 0 || spent < most) && tuplestore_gettupleslot(ids, true, false, slot))
	{
		TimestampTz start = GetCurrentTimestamp();
		int64		unverified = run->unverified;
		char	   *id;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		id = TextDatumGetCString(slot->tts_values[0]);
		confirm(run, id, by_heap, NULL);
		pfree(id);
		if (run->unverified == unverified)
			spent += TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());
	}
	ExecDropSingleTupleTableSlot(slot);
	let_go(run, ids);
}

/*
 * Accounts from the version up to which they are proved, by what was read of them, else by their proof; the rows are as
 * slice_pass's, but that nothing is known of the heap.
 */
static const char *const tail_sql =
"WITH compared AS ("
" SELECT n.id, (t.d).events AS events, CAST(coalesce(q.version, 0) AS pg_catalog.numeric)" PLUS "coalesce((t.d).events, 0) AS last,"
"        CAST(coalesce(q.balance, 0) AS pg_catalog.numeric)" PLUS "coalesce((t.d).total, 0) AS total,"
"        CAST(coalesce(q.held, 0) AS pg_catalog.numeric)" PLUS "coalesce((t.d).held, 0) AS held,"
"        coalesce((t.d).sound, true) AND NOT coalesce(t.falls, false) AS sound, b.rows, b.version, b.balance, b.held AS row_held, b.next_expiry, p.rows AS pures,"
"        o.open, o.first, q.proved,"
"        coalesce(" IS_OTHER_ACCOUNT("b", "k.unit", "l.after") ", false) AS other"
"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) AS n (id, version, balance, held)"
"   LEFT JOIN pointstore.account_proof r ON r.aggregate_id" EQ "n.id"
"  CROSS JOIN LATERAL (SELECT r.version AS proved, CASE WHEN n.version IS NULL THEN r.version ELSE n.version END AS version,"
"                             CASE WHEN n.version IS NULL THEN r.balance ELSE n.balance END AS balance,"
"                             CASE WHEN n.version IS NULL THEN r.held ELSE n.held END AS held) q"
"  CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS rows, pg_catalog.max(version) AS version, pg_catalog.max(balance) AS balance,"
"                             pg_catalog.max(held) AS held, pg_catalog.max(next_expiry) AS next_expiry, pg_catalog.max(kind) AS kind, pg_catalog.max(status) AS status"
"                        FROM pointstore.balance WHERE aggregate_id" EQ "n.id) b"
"  CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS rows FROM pointstore.pure_account WHERE aggregate_id" EQ "n.id) p"
"  CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.sum(h.amount), 0) AS open, pg_catalog.min(h.expires_at) AS first FROM pointstore.hold h"
"                       WHERE h.aggregate_id" EQ "n.id AND h.status" EQ "'open') o"
"   LEFT JOIN LATERAL (SELECT l.after FROM pointstore.account_log l"
"                       WHERE l.aggregate_id" EQ "n.id AND l.after IS NOT NULL AND b.rows" EQ "1 ORDER BY l.id DESC LIMIT 1) l ON true"
"   LEFT JOIN pointstore.account_kind k ON k.kind" EQ "b.kind"
"  CROSS JOIN LATERAL (SELECT pointstore.digest(e.version, e.amount, e.held, e.balance_after,"
"                             coalesce(q.version, 0), coalesce(q.balance, 0), $2) FILTER (WHERE e.version" GT "coalesce(q.version, 0)) AS d,"
"                             pg_catalog.bool_or(coalesce(e.created_at" LT "e.before, e.created_at IS NULL)) AS falls"
"                        FROM (SELECT e.*, pg_catalog.lag(e.created_at) OVER (ORDER BY e.version) AS before FROM pointstore.event_store e"
"                               WHERE e.aggregate_id" EQ "n.id AND e.version" GE "coalesce(q.version, 0)) e) t),"
" judged AS (SELECT c.*, NOT sound OR (rows" EQ "0 AND pures" EQ "0) OR rows" PLUS "pures" GT "1 OR other OR c.open" NE "c.held OR coalesce(c.proved" GT "last, false)"
"        OR (rows" GT "0 AND (NOT coalesce(c.version" EQ "last AND c.balance" EQ "total AND c.row_held" EQ "c.held, false)"
"                             OR " DIFFERS_OR_NULL("c.next_expiry", "c.first") ")) AS bad"
"   FROM compared c)"
" SELECT id, bad, coalesce(events, 0)" GT "0 AS moved, CASE WHEN NOT bad THEN " AS_BIGINT("last") " END,"
"        CASE WHEN NOT bad THEN " AS_BIGINT("total") " END, CASE WHEN NOT bad THEN " AS_BIGINT("held") " END, events,"
"        CAST(NULL AS pg_catalog.int8), CAST(NULL AS pg_catalog.int8), CAST(NULL AS pg_catalog.int8), false"
"   FROM judged";

static void
prove_tails(Run *run, Tuplestorestate *accounts)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(row_desc(), &TTSOpsMinimalTuple);
	MemoryContext batch = AllocSetContextCreate(run->context, "pointstore tails", ALLOCSET_DEFAULT_SIZES);
	Proofs	   *from = palloc(sizeof(Proofs));
	bool		unread[PROOFS_AT_ONCE];
	bool		more = true;

	MemoryContextSwitchTo(old);
	while (more)
	{
		static const Oid types[] = {TEXTARRAYOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
		Datum		values[5];

		old = MemoryContextSwitchTo(batch);
		for (from->n = 0; from->n < PROOFS_AT_ONCE && (more = tuplestore_gettupleslot(accounts, true, false, slot)); from->n++)
		{
			slot_getallattrs(slot);
			from->id[from->n] = PointerGetDatum(DatumGetTextPCopy(slot->tts_values[0]));
			unread[from->n] = !is_true(slot, ROW_AHEAD);
			/* null, of an account that has had no events, is 0 */
			from->version[from->n] = slot->tts_isnull[3] ? 0 : slot->tts_values[3];
			from->balance[from->n] = slot->tts_isnull[4] ? 0 : slot->tts_values[4];
			from->held[from->n] = slot->tts_isnull[5] ? 0 : slot->tts_values[5];
		}
		values[0] = text_array(from->id, from->n, TEXTOID);
		values[1] = Int64GetDatum(run->key);
		values[2] = bigint_array(from->version, unread, from->n);
		values[3] = bigint_array(from->balance, unread, from->n);
		values[4] = bigint_array(from->held, unread, from->n);
		MemoryContextSwitchTo(old);
		if (from->n > 0)
			take_proofs_and_candidates(run, collect(run, &(Reading) {.sql = tail_sql, .n = 5, .types = types, .values = values, .compared = true}), false);
		ExecClearTuple(slot);	/* its tuple, read from a file, is of that memory */
		MemoryContextReset(batch);
	}
	pfree(from);
	MemoryContextDelete(batch);
	ExecDropSingleTupleTableSlot(slot);
	let_go(run, accounts);
}

static Datum
bigint_array(Datum *elements, bool *nulls, int n)
{
	int			lower = 1;

	return PointerGetDatum(construct_md_array(elements, nulls, 1, &n, &lower, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * The accounts with open findings, those that were seen true longest ago first. Not those that an
 * earlier session of this run has counted; what another run has seen this one counts too. Those that
 * an index hides are for a full run alone, which has gone by the heap.
 */
static const char *const open_findings_sql =
"SELECT aggregate_id FROM pointstore.finding"
" WHERE resolved_at IS NULL AND last_seen_at" LT "$1 AND ($2 OR NOT detail OPERATOR(pg_catalog.?) 'hidden')"
" GROUP BY aggregate_id ORDER BY pg_catalog.min(last_seen_at), aggregate_id LIMIT $3";

/*
 * Findings that are still open and were not seen true in this run are looked at again: by a full run all,
 * by an incremental one so many, or for so long, that it does not keep the next one waiting; each has its
 * turn. Who waits for a lock has not used up that time.
 */
static void
examine_open_findings(Run *run)
{
	static const Oid types[] = {TIMESTAMPTZOID, BOOLOID, INT8OID};
	Datum		values[] = {
		TimestampTzGetDatum(run->resumed ? run->started_at : DT_NOEND), BoolGetDatum(run->full),
		Int64GetDatum(run->full ? PG_INT64_MAX : OPEN_FINDINGS_AT_ONCE)
	};
	Tuplestorestate *ids;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_FINDINGS);
	ids = collect(run, &(Reading) {.sql = open_findings_sql, .n = 3, .types = types, .values = values, .by_heap = run->full});
	examine_named(run, ids, false, run->full ? 0 : OPEN_FINDINGS_TIME);
}

/* Counts the accounts that a clock which once was wrong has left in the future: rebuild_balance() brings them back. */
static void
look_at_clock(Run *run)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.count(*) FROM pointstore.balance"
		" WHERE updated_at" GT "(pg_catalog.clock_timestamp()" PLUS "CAST('1 min' AS pg_catalog.interval))"
	};
	PointstoreScope owner;
	bool		isnull;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, false);
	run->ahead = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&owner);
	if (run->ahead > 0)
		ereport(WARNING,
				(errmsg("reconciliation %lld: %s", (long long) run->id, psprintf(too_early, (long long) run->ahead)),
				 errhint("rebuild_balance() sets updated_at back to the clock.")));
	next_step();
}

/* Whether an id of the checkpoint has been passed by this run's, or the sequence was set back before it. */
#define IS_OVER(id) "(" id LE "$1 OR " id GT "(SELECT last_value FROM pointstore.event_store_id_seq))"

static void
finish_run(Run *run)
{
	static PointstorePlan finish = {
		.sql = "UPDATE pointstore.reconciliation SET finished_at = pg_catalog.clock_timestamp(),"
		" status = CASE WHEN $4" EQ "0 AND $5" EQ "0 THEN 'clean' ELSE 'findings' END,"
		" accounts_checked = $2, events_checked = $3, findings = $4, unverified = $5, error = $6"
		" WHERE id" EQ "$1",
		.nargs = 6, .argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID}
	};
	static PointstorePlan checkpoint = {
		.sql = "INSERT INTO pointstore.reconciliation_checkpoint AS c (safe_id, pending_id, pending_xmax)"
		" VALUES ($1, $2, CAST($3 AS pg_catalog.xid8)) ON CONFLICT (single) DO UPDATE SET safe_id = $1,"
		" pending_id = CASE WHEN " IS_OVER("c.pending_id") " THEN $2 ELSE c.pending_id END,"
		" pending_xmax = CASE WHEN " IS_OVER("c.pending_id") " THEN CAST($3 AS pg_catalog.xid8) ELSE c.pending_xmax END"
		" WHERE " IS_OVER("c.safe_id"),
		.nargs = 3, .argtypes = {INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[6];
	PointstoreScope owner;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	values[0] = Int64GetDatum(run->id);
	values[1] = Int64GetDatum(run->accounts);
	values[2] = Int64GetDatum(run->events);
	values[3] = Int64GetDatum(run->findings);
	values[4] = Int64GetDatum(run->unverified);
	values[5] = CStringGetTextDatum(run->breaker ? too_many : psprintf(too_early, (long long) run->ahead));
	pointstore_execute(&finish, values, run->breaker || run->ahead > 0 ? "      " : "     n", false);
	forget_runs();
	/*
	 * The slices of an earlier session have not seen what came before this one; and
	 * what stayed locked is for the next incremental run to look at again.
	 */
	if (!run->resumed && run->unverified == 0)
	{
		values[0] = Int64GetDatum(run->safe_id);
		values[1] = Int64GetDatum(run->pending_id);
		values[2] = CStringGetTextDatum(run->pending_xmax);
		pointstore_execute(&checkpoint, values, NULL, false);
	}
	SPI_finish();
	pointstore_act_as_caller(&owner);
	tell(run, run->full ? "full, done" : "incremental, done");
	next_step();
}

/* Forgets runs that began a month ago, the oldest ones, but for the last of each scope and outcome. */
static void
forget_runs(void)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.reconciliation r"
		" WHERE id" EQ "ANY (ARRAY(SELECT o.id FROM pointstore.reconciliation o ORDER BY o.id LIMIT $1))"
		"   AND started_at" LT "(pg_catalog.clock_timestamp()" MINUS "CAST('30 days' AS pg_catalog.interval))"
		"   AND id" LT "(SELECT pg_catalog.max(l.id) FROM pointstore.reconciliation l WHERE l.scope" EQ "r.scope AND l.status" EQ "r.status)",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		at_once = Int64GetDatum(RUNS_FORGOTTEN_AT_ONCE);

	use_indexes();
	pointstore_execute(&plan, &at_once, NULL, false);
}

/*
 * Examines an account, in a transaction of its own: records what is wrong, acts, and
 * closes findings that are no longer true. by_heap: the heap has shown in this run
 * that something is. Who waits for any lock too long, or for a deadlock, or is cancelled
 * on schedule, leaves the account unverified. An account is dealt with once in
 * a run, however it came to notice.
 */
static void
confirm(Run *run, const char *account, bool by_heap, const HeapView *heap)
{
	MemoryContext context;
	MemoryContext old;
	Case		wrong = {.run = run, .by_heap = by_heap, .heap = heap};
	ErrorData  *error = NULL;
	PointstoreScope owner;
	int			attempts = 0;

	if (is_done(run, account, HASH_FIND))
		return;
	context = AllocSetContextCreate(run->context, "pointstore account", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	wrong.id = cstring_to_text(account);
	pointstore_act_as_verifier(&owner);
	pointstore_set_option("lock_timeout", LOCK_TIMEOUT);
	use_indexes();
	while (error == NULL && !wrong.settled && !wrong.unsure && attempts++ < MAX_ATTEMPTS)
		error = attempt(&wrong, decide);
	if (!wrong.settled && wrong.found != NULL && wrong.found->critical)
		(void) attempt(&wrong, record_certain);
	run->unverified += wrong.settled ? 0 : 1;
	run->findings += wrong.findings;
	run->acted += wrong.acted;
	if (!wrong.settled || wrong.findings > 0)
		(void) is_done(run, account, HASH_ENTER);
	pointstore_act_as_caller(&owner);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	next_step();
}

/*
 * Does a step of an account's in a subtransaction. Where it cannot have a lock, or is
 * cancelled on schedule, returns that error with nothing done; any other is raised.
 */
static ErrorData *
attempt(Case *wrong, bool (*what) (void *))
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	PushActiveSnapshot(GetTransactionSnapshot());
	PG_TRY();
	{
		error = pointstore_attempt(what, wrong);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = resources;
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error != NULL)
	{
		wrong->findings = wrong->acted = 0;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED &&
			(error->sqlerrcode != ERRCODE_QUERY_CANCELED || strcmp(wrong->run->triggered_by, "worker") != 0))
			ReThrowError(error);
	}
	PopActiveSnapshot();
	return error;
}

/* Looks, locks the row, and settles the account where what was seen still stands; false, undone: it does not. */
static bool
decide(void *arg)
{
	Case	   *wrong = arg;

	look(wrong);
	if (wrong->unsure)
		return true;
	/* what has come while it was looked at is read before the lock, and what has come since then under it */
	if (!still_stands(wrong))
		return false;
	lock_account(wrong->id);
	if (!still_stands(wrong))
		return false;
	(void) pointstore_push_snapshot();
	settle(wrong);
	PopActiveSnapshot();
	return true;
}

/*
 * Examines an account in one snapshot, in which its stamp is taken too. Where an index
 * lies about it, what its heaps say is what is wrong, and that.
 */
static void
look(Case *wrong)
{
	Run		   *run = wrong->run;
	Snapshot	snapshot = pointstore_push_snapshot();

	wrong->stamp = read_stamp(wrong, false, &wrong->version);
	wrong->found = examine(wrong->id, VARSIZE_ANY_EXHDR(wrong->id) == 0 ? &examine_store_plan : &examine_plan);
	compare_with_heap(wrong, snapshot);
	/* an index may hide from this what the heap has shown */
	wrong->hidden = wrong->lie != NULL || (wrong->found->n == 0 && wrong->by_heap && !has_moved(wrong));
	wrong->unsure = wrong->hidden && run->heap_looks == MAX_HEAP_LOOKS;
	if (wrong->hidden && !wrong->unsure)
	{
		run->heap_looks++;
		wrong->found = examine(wrong->id, &examine_heap_plan);
		if (wrong->lie != NULL || wrong->found->n > 0)
			add_index_mismatch(wrong);
	}
	pass_over_acknowledged(wrong);
	PopActiveSnapshot();
}

/* Whether an account has had events while the events were spooled, so that these may not be all it had at any time. */
static bool
has_moved(const Case *wrong)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM (SELECT e.id FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 ORDER BY e.version DESC LIMIT 1) l WHERE l.id" GT "$2",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {PointerGetDatum(wrong->id), Int64GetDatum(wrong->run->safe_id)};
	bool		moved;

	if (wrong->run->spool == NULL)
		return false;
	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	moved = SPI_processed > 0;
	SPI_finish();
	return moved;
}

/*
 * Whether the keys say of an account what its heaps do, where the heaps have been read or something
 * would be written: then they are read for it, so many times in a run.
 */
static void
compare_with_heap(Case *wrong, Snapshot snapshot)
{
	Datum		id = PointerGetDatum(wrong->id);
	HeapView   *view;

	if (wrong->found->n == 0 || VARSIZE_ANY_EXHDR(wrong->id) == 0 || !pointstore_store_is_complete())
		return;
	wrong->policy = read_policy(wrong->id);
	if (wrong->heap == NULL && (!wrong->policy.repair || !can_repair(wrong)))
		return;
	wrong->not_compared = wrong->heap == NULL && wrong->run->heap_looks == MAX_HEAP_LOOKS;
	if (wrong->not_compared)
		return;
	if (wrong->heap == NULL)
	{
		wrong->run->heap_looks++;
		wrong->heap = view = palloc(sizeof(HeapView));
		pointstore_view_heaps(&id, 1, view);
	}
	wrong->lie = pointstore_find_lie(wrong->id, wrong->heap, snapshot);
}

/* That an index hides or invents rows is a finding, too. */
static void
add_index_mismatch(Case *wrong)
{
	Findings   *found = wrong->found;
	Finding    *finding;

	found->findings = repalloc(found->findings, sizeof(Finding) * (found->n + 1));
	finding = &found->findings[found->n++];
	*finding = (Finding) {.code = "index_mismatch", .severity = "critical", .no_expected = true, .no_found = true, .no_version = true};
	finding->detail = DirectFunctionCall1(jsonb_in, CStringGetDatum(
		wrong->lie ? psprintf("{\"table\": \"%s\"}", wrong->lie) : "{}"));
	found->critical = true;
}

/*
 * What an operator has acknowledged is no finding, while exactly that is wrong with exactly those
 * events. That the events are inconsistent is still to be minded.
 */
static void
pass_over_acknowledged(Case *wrong)
{
	Findings   *found = wrong->found;
	int			n = 0;
	int			i;

	for (i = 0; i < found->n; i++)
		if (wrong->hidden || !is_acknowledged(wrong->id, &found->findings[i]))
			found->findings[n++] = found->findings[i];
	wrong->known = n < found->n;
	found->n = n;
}

/*
 * What an acknowledgement is of: what is wrong, how often, and the account's events up to a last one, by our columns.
 * Of a row, which goes on with its account, it is by how much it differs. From a statement with the account $1, the
 * code $2, severity $3, expected $4, found $5, version $6, detail $7.
 */
#define ACKNOWLEDGED(last) \
"pg_catalog.jsonb_build_object('last', " last ", 'times', $7 OPERATOR(pg_catalog.->) 'times'," \
" 'wrong', CASE WHEN $3" EQ "'critical' OR $2" EQ "'hold_mismatch' THEN pg_catalog.jsonb_build_array($6, $4, $5)" \
"               ELSE pg_catalog.jsonb_build_array(CAST($5 AS pg_catalog.numeric)" MINUS "$4) END," \
" 'events', (SELECT pg_catalog.jsonb_build_array(pg_catalog.count(*), pg_catalog.sum(pg_catalog.hash_record_extended(" \
"   ROW(e.id, e.version, e.event_type, e.amount, e.held, e.balance_after, e.request_id, e.leg, e.cause_id, e.created_at), 0)))" \
"   FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 AND coalesce(e.version" LE last ", true)))"

static bool
is_acknowledged(text *id, const Finding *finding)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding f WHERE f.aggregate_id" EQ "$1 AND f.code" EQ "$2 AND f.acknowledged IS NOT NULL"
		" AND f.acknowledged" EQ ACKNOWLEDGED("CAST((f.acknowledged OPERATOR(pg_catalog.->) 'last') AS pg_catalog.int8)"),
		.nargs = 7, .argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID}
	};
	Datum		values[7];
	char		nulls[8] = "       ";
	bool		acknowledged;

	finding_values(values, nulls, id, finding);
	SPI_connect();
	pointstore_execute(&plan, values, nulls, true);
	acknowledged = SPI_processed > 0;
	SPI_finish();
	return acknowledged;
}

static void
finding_values(Datum *values, char *nulls, text *id, const Finding *finding)
{
	values[0] = PointerGetDatum(id);
	values[1] = CStringGetTextDatum(finding->code);
	values[2] = CStringGetTextDatum(finding->severity);
	values[3] = Int64GetDatum(finding->expected);
	values[4] = Int64GetDatum(finding->found);
	values[5] = Int64GetDatum(finding->version);
	values[6] = finding->detail;
	nulls[3] = finding->no_expected ? 'n' : ' ';
	nulls[4] = finding->no_found ? 'n' : ' ';
	nulls[5] = finding->no_version ? 'n' : ' ';
}

/*
 * What valid appends leave as it is, in the active snapshot: the row less its events after a version (at
 * first its own, which it also returns; then that of before), and the last entry of the account's log, where
 * everything is that was done to the account otherwise.
 */
static char *
read_stamp(const Case *wrong, bool again, int64 *version)
{
	static PointstorePlan plan = {
		.sql = "WITH b AS (SELECT pg_catalog.count(*) AS rows, pg_catalog.max(version) AS version, pg_catalog.max(balance) AS balance,"
		"        pg_catalog.max(held) AS held FROM pointstore.balance WHERE aggregate_id" EQ "$1)"
		" SELECT CAST(ROW(b.rows, CAST(b.version AS pg_catalog.numeric)" MINUS "t.events, b.balance" MINUS "t.total, b.held" MINUS "t.held,"
		"        (SELECT pg_catalog.max(l.id) FROM pointstore.account_log l WHERE l.aggregate_id" EQ "$1)) AS pg_catalog.text),"
		"        coalesce(b.version, 0)"
		"   FROM b CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS events, coalesce(pg_catalog.sum(e.amount), 0) AS total,"
		"                                     coalesce(pg_catalog.sum(e.held), 0) AS held"
		"                                FROM pointstore.event_store e"
		"                               WHERE e.aggregate_id" EQ "$1 AND b.rows" GT "0 AND e.version" GT "coalesce($2, b.version, 0)) t",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2] = {PointerGetDatum(wrong->id), Int64GetDatum(wrong->version)};
	char	   *stamp;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, values, again ? NULL : " n", true);
	stamp = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	*version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	return stamp;
}

/* Whether an account has moved by appends alone since it was looked at; the stamp becomes that of now. */
static bool
still_stands(Case *wrong)
{
	bool		stands;
	int64		version;

	(void) pointstore_push_snapshot();
	stands = strcmp(read_stamp(wrong, true, &version), wrong->stamp) == 0;
	if (stands && version != wrong->version)
		wrong->stamp = read_stamp(wrong, false, &wrong->version);
	PopActiveSnapshot();
	return stands;
}

/* Of an account that stays locked: records what is wrong with its events, for they stay as they are. */
static bool
record_certain(void *arg)
{
	Case	   *wrong = arg;
	Findings   *found = wrong->found;
	int			n = 0;
	int			i;

	if (!still_stands(wrong))
		return false;
	for (i = 0; i < found->n; i++)
		if (strcmp(found->findings[i].severity, "critical") == 0)
			found->findings[n++] = found->findings[i];
	found->n = wrong->findings = n;
	record(wrong, "reported", wrong->hidden);
	return true;
}

/* Records what was found wrong with a locked account, and acts; closes what is no longer true. */
static void
settle(Case *wrong)
{
	if (wrong->found->n > 0)
	{
		/* what would be done goes by the index, and would do nothing */
		const char *action = wrong->hidden ? "reported" : act(wrong);

		wrong->findings = wrong->found->n;
		record(wrong, action, wrong->hidden);
		if (strcmp(action, "repaired") == 0)
		{
			count_repaired(wrong->run, wrong->found->n);
			wrong->found->n = 0;
		}
	}
	else if (!wrong->known)
		forget_proof(wrong->id);	/* what looked wrong was the proof */
	resolve(wrong, wrong->found, "reconcile", NULL);
	wrong->settled = true;
}

/* Whether an account was dealt with before; HASH_ENTER: it is now. By its name, since hashes can be made to collide. */
static bool
is_done(Run *run, const char *account, HASHACTION action)
{
	HASHCTL		control = {.keysize = sizeof(char *), .entrysize = sizeof(char *), .hash = hash_name, .match = match_name,
	.hcxt = run->context};
	const char **name;
	bool		found;

	if (run->done == NULL)
		run->done = hash_create("pointstore accounts", 256, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	name = hash_search(run->done, &account, action, &found);
	if (action == HASH_ENTER && !found)
		*name = MemoryContextStrdup(run->context, account);
	return found;
}

static uint32
hash_name(const void *key, Size size)
{
	const char *name = *(const char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name)));
}

static int
match_name(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* What is repaired is counted at once: a session that does an interrupted slice again does not find it. */
static void
count_repaired(Run *run, int findings)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.reconciliation SET findings = findings" PLUS "$2 WHERE id" EQ "$1",
		.nargs = 2, .argtypes = {INT8OID, INT4OID}
	};
	Datum		values[2];

	SPI_connect();
	values[0] = Int64GetDatum(run->id);
	values[1] = Int32GetDatum(findings);
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
}

/* Locks an account's balance row, if it has one; the store as a whole, which has no name, has none. */
static void
lock_account(text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.balance WHERE aggregate_id" EQ "$1 FOR NO KEY UPDATE",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);

	if (VARSIZE_ANY_EXHDR(id) == 0)
		return;
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
}

/* An account's findings, in the active snapshot; of the caller's memory. */
static Findings *
examine(text *id, PointstorePlan *plan)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = PointerGetDatum(id);
	Findings   *found = palloc0(sizeof(Findings));
	PointstoreScope scope;
	uint64		i;

	pointstore_act_as_verifier(&scope);
	if (plan == &examine_heap_plan)
		pointstore_use_no_index();
	else
	{
		use_indexes();
		pointstore_set_option("enable_nestloop", "off");	/* but where nothing else will do */
	}
	SPI_connect();
	pointstore_execute(plan, &value, NULL, true);
	found->n = SPI_processed;
	found->findings = MemoryContextAllocZero(context, sizeof(Finding) * Max(found->n, 1));
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Finding    *finding = &found->findings[i];
		bool		isnull;

		finding->code = MemoryContextStrdup(context, SPI_getvalue(row, desc, 1));
		finding->severity = MemoryContextStrdup(context, SPI_getvalue(row, desc, 2));
		finding->expected = DatumGetInt64(SPI_getbinval(row, desc, 3, &finding->no_expected));
		finding->found = DatumGetInt64(SPI_getbinval(row, desc, 4, &finding->no_found));
		finding->version = DatumGetInt64(SPI_getbinval(row, desc, 5, &finding->no_version));
		finding->detail = SPI_datumTransfer(SPI_getbinval(row, desc, 6, &isnull), false, -1);
		found->critical |= strcmp(finding->severity, "critical") == 0;
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return found;
}

/* The same in a snapshot of now. */
static Findings *
examine_now(text *id)
{
	Findings   *found;

	(void) pointstore_push_snapshot();
	found = examine(id, VARSIZE_ANY_EXHDR(id) == 0 ? &examine_store_plan : &examine_plan);
	PopActiveSnapshot();
	return found;
}

/*
 * Records an account's findings: open ones are seen again, new ones and what is done
 * about any are announced by a WARNING in the server's log and by NOTIFY
 * pointstore_finding with JSON.
 * Those that an index hides say so, for only a full run can see them again; and those about
 * which what was tried has failed say why.
 */
static void
record(const Case *wrong, const char *action, bool hidden)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.finding AS f (run_id, aggregate_id, code, severity, expected, found, version, detail, action)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7,"
		"  $8 OPERATOR(pg_catalog.||) CASE WHEN $10 THEN pg_catalog.jsonb_build_object('hidden', true) ELSE '{}' END"
		"     OPERATOR(pg_catalog.||) CASE WHEN $11 IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('failed', $11) END, $9)"
		" ON CONFLICT (aggregate_id, code) WHERE resolved_at IS NULL DO UPDATE"
		" SET last_seen_at = pg_catalog.clock_timestamp(), severity = EXCLUDED.severity, expected = EXCLUDED.expected,"
		" found = EXCLUDED.found, version = EXCLUDED.version, detail = EXCLUDED.detail,"
		" action = CASE WHEN EXCLUDED.action" EQ "'reported' THEN f.action ELSE EXCLUDED.action END"
		" RETURNING id, f.xmax" EQ "0,"	/* true: inserted just now */
		" CAST(pg_catalog.jsonb_build_object('id', id, 'aggregate_id', $2, 'code', $3, 'severity', $4,"
		" 'expected', $5, 'found', $6, 'version', $7, 'action', $9) AS pg_catalog.text)",
		.nargs = 11,
		.argtypes = {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID, TEXTOID, BOOLOID, TEXTOID}
	};
	int			i;

	for (i = 0; i < wrong->found->n; i++)
	{
		Finding    *finding = &wrong->found->findings[i];
		Datum		values[11];
		char		nulls[12] = "           ";

		values[0] = Int64GetDatum(wrong->run->id);
		values[1] = PointerGetDatum(wrong->id);
		values[2] = CStringGetTextDatum(finding->code);
		values[3] = CStringGetTextDatum(finding->severity);
		values[4] = Int64GetDatum(finding->expected);
		values[5] = Int64GetDatum(finding->found);
		values[6] = Int64GetDatum(finding->version);
		values[7] = finding->detail;
		values[8] = CStringGetTextDatum(action);
		values[9] = BoolGetDatum(hidden);
		values[10] = wrong->failure ? CStringGetTextDatum(wrong->failure) : (Datum) 0;
		nulls[4] = finding->no_expected ? 'n' : ' ';
		nulls[5] = finding->no_found ? 'n' : ' ';
		nulls[6] = finding->no_version ? 'n' : ' ';
		nulls[10] = wrong->failure ? ' ' : 'n';
		SPI_connect();
		pointstore_execute(&plan, values, nulls, false);
		/* no row where a trigger of the user's does not want it */
		if (SPI_processed > 0)
			announce(wrong, finding, action);
		SPI_finish();
	}
}

/* Tells of a finding by what record() returns of it, when it is new or something was done about it. */
static void
announce(const Case *wrong, const Finding *finding, const char *action)
{
	HeapTuple	row = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;

	if (strcmp(action, "reported") != 0 || DatumGetBool(SPI_getbinval(row, desc, 2, &isnull)))
	{
		Async_Notify("pointstore_finding", SPI_getvalue(row, desc, 3));
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("finding %s: %s of account \"%s\" (%s), %s", SPI_getvalue(row, desc, 1), finding->code,
						pointstore_cstring(wrong->id), finding->severity, action),
				 strcmp(finding->code, "index_mismatch") == 0 ?
				 errhint("The extension amcheck tells which index it is; REINDEX mends it.") : 0));
	}
}

static void
forget_proof(text *id)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.account_proof WHERE aggregate_id" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
}

/*
 * Closes an account's open findings that are not among these, by an action or, null, by the way of the world. Those
 * that an index hides are not closed by a run that goes by it.
 */
static void
resolve(const Case *wrong, const Findings *found, const char *by, const char *action)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.finding SET resolved_at = pg_catalog.clock_timestamp(), resolved_by = $3,"
		" action = coalesce($4, action) WHERE aggregate_id" EQ "$1 AND resolved_at IS NULL AND code" NE "ALL ($2)"
		" AND ($5 OR NOT detail OPERATOR(pg_catalog.?) 'hidden')",
		.nargs = 5, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, BOOLOID}
	};
	Datum		values[5];
	Datum	   *codes = palloc(sizeof(Datum) * Max(found->n, 1));
	int			i;

	for (i = 0; i < found->n; i++)
		codes[i] = CStringGetTextDatum(found->findings[i].code);
	values[0] = PointerGetDatum(wrong->id);
	values[1] = text_array(codes, found->n, TEXTOID);
	values[2] = CStringGetTextDatum(by);
	values[3] = action ? CStringGetTextDatum(action) : (Datum) 0;
	values[4] = BoolGetDatum(wrong->run == NULL || wrong->run->full);
	SPI_connect();
	pointstore_execute(&plan, values, action ? "     " : "   n ", false);
	SPI_finish();
}

/*
 * What the kind's policy does about a locked account: "reported", "repaired" or
 * "frozen". What is critical is not repaired; when too many accounts have been
 * touched in this run the rest is reported, and so is what cannot be put right.
 */
static const char *
act(Case *wrong)
{
	Run		   *run = wrong->run;
	Policy	   *policy = &wrong->policy;
	ErrorData  *error;

	/* a store that lacks a key or a trigger is not written to, nor one that is another's copy */
	if (!pointstore_store_is_complete() || run->fed)
		return "reported";
	*policy = read_policy(wrong->id);
	if (policy->freeze ? is_shut(wrong->id) : !policy->repair || wrong->not_compared || !can_repair(wrong))
		return "reported";
	if (run->acted >= max_auto_actions)
	{
		if (!run->breaker)
			ereport(WARNING,
					(errmsg("reconciliation %lld: %s", (long long) run->id, too_many)));
		run->breaker = true;
		return "reported";
	}
	error = pointstore_attempt(follow_policy, wrong);
	if (error != NULL)
	{
		wrong->failure = error->message;
		if (!has_failed_before(wrong))
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("account \"%s\" was not %s: %s", pointstore_cstring(wrong->id),
							policy->freeze ? "frozen" : "repaired", error->message)));
		return "reported";
	}
	wrong->acted = 1;
	return policy->freeze ? "frozen" : "repaired";
}

/* Whether that is how it went already when a finding of the account, which is open still, was seen last. */
static bool
has_failed_before(const Case *wrong)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding WHERE aggregate_id" EQ "$1 AND resolved_at IS NULL"
		" AND (detail OPERATOR(pg_catalog.->>) 'failed')" EQ "$2",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {PointerGetDatum(wrong->id), CStringGetTextDatum(wrong->failure)};
	bool		before;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	before = SPI_processed > 0;
	SPI_finish();
	return before;
}

/* Freezes an account, or puts it right altogether. */
static bool
follow_policy(void *arg)
{
	Case	   *wrong = arg;
	text	   *reason = cstring_to_text(OUR_REASON);

	if (wrong->policy.freeze)
		pointstore_freeze(wrong->id, reason);
	else
		put_right(wrong, reason);
	return true;
}

/*
 * Sets the row to what the events say, or brings the events to the balance: PS011
 * where that cannot be the truth, or something stays wrong. The keys agree with the heaps.
 */
static void
put_right(Case *wrong, text *reason)
{
	Account		before;
	Account		after;

	if (wrong->policy.by_events)
	{
		if (!pointstore_rebuild(wrong->id, &(Rebuild) {.action = "repair", .reason = reason, .unchecked = true}, &before, &after))
			log_as_it_is(wrong->id);
		forget_proof(wrong->id);
	}
	else if (can_adjust(wrong->found))
		adjust(wrong->id, reason);
	else
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("the balance of account \"%s\" cannot be the truth", pointstore_cstring(wrong->id)),
				 pointstore_detail_account(wrong->id),
				 errhint("Only a balance that is off, in an account that is in order otherwise, is taken for it.")));
	require_right(wrong->id);
}

/* PS011 where something is wrong with an account still. */
static void
require_right(text *id)
{
	Findings   *left = examine_now(id);

	if (left->n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" cannot be repaired: its %s at version %lld would stay", pointstore_cstring(id),
						left->findings[0].code, (long long) left->findings[0].version),
				 pointstore_detail_figures(id, "version", left->findings[0].version, NULL, 0)));
}

/* The operator's word that an account is right as it is, where what was wrong is that events are gone. */
static void
log_as_it_is(text *id)
{
	Account		account;

	pointstore_read_account(&account, id, pointstore_push_snapshot(), LOCK_NOTHING);
	if (account.exists)
		pointstore_log("repair", cstring_to_text("taken as it is"), &account, &account);
	pointstore_release_account(&account);
	PopActiveSnapshot();
}

/* The policy of the account's kind; of a missing account the kind it had by the log, else the default kind. */
static Policy
read_policy(text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT on_mismatch" EQ "'freeze', on_mismatch" EQ "'repair', source_of_truth" EQ "'events' FROM pointstore.account_kind"
		" WHERE kind" EQ "coalesce((SELECT kind FROM pointstore.balance WHERE aggregate_id" EQ "$1 LIMIT 1),"
		"                          (SELECT kind FROM pointstore.pure_account WHERE aggregate_id" EQ "$1 LIMIT 1),"
		"                          (SELECT after OPERATOR(pg_catalog.->>) 'kind' FROM pointstore.account_log"
		"                            WHERE aggregate_id" EQ "$1 AND after IS NOT NULL ORDER BY id DESC LIMIT 1), 'default')",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);
	Policy		policy = {.by_events = true};
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	if (SPI_processed > 0)
	{
		policy.freeze = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		policy.repair = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		policy.by_events = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	}
	SPI_finish();
	return policy;
}

/* Whether an account is frozen or closed already, or has no row to freeze. */
static bool
is_shut(text *id)
{
	Account		account;
	bool		shut;

	pointstore_read_account(&account, id, GetActiveSnapshot(), LOCK_NOTHING);
	shut = !account.exists || account.status != STATUS_OPEN;
	pointstore_release_account(&account);
	return shut;
}

/* Whether what is wrong with an account is a row that can be set right. */
static bool
can_repair(const Case *wrong)
{
	static const char *const codes[] = {"balance_mismatch", "version_mismatch", "held_mismatch", "missing_balance", "orphan_balance"};
	const Findings *found = wrong->found;
	int			i;

	if (!wrong->policy.by_events)
		return can_adjust(found);
	for (i = 0; i < found->n; i++)
		if (pointstore_place(cstring_to_text(found->findings[i].code), codes, lengthof(codes)) < 0)
			return false;
	return true;
}

/* Only a balance that is off, in an account that is in order otherwise, can be the truth. */
static bool
can_adjust(const Findings *found)
{
	return found->n == 1 && strcmp(found->findings[0].code, "balance_mismatch") == 0;
}

/* Brings the events of a locked account to its balance. */
static void
adjust(text *id, text *reason)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.max(version), CAST($2" MINUS "pg_catalog.sum(amount) AS pg_catalog.int8)"
		" FROM pointstore.event_store WHERE aggregate_id" EQ "$1",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		before;
	Account		after;
	Datum		values[2];
	int64		last;
	int64		amount;
	bool		isnull;

	pointstore_read_account(&before, id, snapshot, LOCK_BALANCE);
	after = before;
	values[0] = PointerGetDatum(id);
	values[1] = Int64GetDatum(before.balance);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	amount = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	pointstore_append_adjustment(&after, last, amount,
								 DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"by\": \"reconciliation\"}"))));
	pointstore_log("repair", reason, &before, &after);
	pointstore_release_account(&before);
	PopActiveSnapshot();
}

/* reconcile_account(aggregate_id): what is wrong, in the caller's snapshot. */
Datum
pointstore_reconcile_account(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	static PointstorePlan known = {
		.sql = "SELECT FROM pointstore.account WHERE aggregate_id" EQ "$1 UNION ALL"
		" SELECT FROM pointstore.account_proof WHERE aggregate_id" EQ "$1 UNION ALL"
		" SELECT FROM pointstore.event_store WHERE aggregate_id" EQ "$1 LIMIT 1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);
	PointstoreScope owner;
	uint64		i;

	pointstore_materialize(fcinfo);
	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&known, &value, NULL, true);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id)),
				 pointstore_detail_account(id)));
	/* what the caller has yet to pair is not accused */
	if (!pointstore_is_unpaired(id))
		pointstore_execute(&examine_plan, &value, NULL, true);
	else
		SPI_processed = 0;
	for (i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	return (Datum) 0;
}

/* repair(finding_id, source_of_truth) */
Datum
pointstore_repair(PG_FUNCTION_ARGS)
{
	char	   *source;
	Case		wrong = {.by_heap = true};
	PointstoreScope owner;

	pointstore_check_arguments(fcinfo, 2);
	source = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("finding_id must not be null")));
	if (source != NULL && strcmp(source, "events") != 0 && strcmp(source, "balance") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source_of_truth must be events or balance, is \"%s\"", source)));
	PreventCommandIfReadOnly("repair()");
	pointstore_act_as_owner(&owner);
	wrong.id = account_of(PG_GETARG_INT64(0));
	refuse_lies(wrong.id);
	lock_whole_account(wrong.id);
	wrong.policy = read_policy(wrong.id);
	if (source != NULL)
		wrong.policy.by_events = strcmp(source, "events") == 0;
	wrong.found = examine_now(wrong.id);
	if (wrong.found->n > 0)
		put_right(&wrong, NULL);
	resolve(&wrong, &(Findings) {0}, pointstore_role_name(GetOuterUserId()), wrong.found->n > 0 ? "repaired" : NULL);
	pointstore_act_as_caller(&owner);
	PG_RETURN_TEXT_P(cstring_to_text(wrong.found->n == 0 ? "nothing was wrong any more" :
									 !wrong.policy.by_events ? "the events were brought to the balance by BalanceAdjusted" :
									 "the balance row was set to what the events say"));
}

/* acknowledge(finding_id, reason): closes an open finding as known; see the install script. */
Datum
pointstore_acknowledge(PG_FUNCTION_ARGS)
{
	static PointstorePlan close = {
		.sql = "UPDATE pointstore.finding SET resolved_at = pg_catalog.clock_timestamp(), resolved_by = $8, action = 'acknowledged',"
		" acknowledged = " ACKNOWLEDGED("x.last")
		"  FROM (SELECT coalesce(pg_catalog.max(version), 0) AS last FROM pointstore.event_store WHERE aggregate_id" EQ "$1) x WHERE id" EQ "$9",
		.nargs = 9, .argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID, TEXTOID, INT8OID}
	};
	int64		number;
	text	   *reason;
	PointstoreScope owner;
	text	   *id;
	Account		account;
	const Finding *finding;
	Datum		values[9];
	char		nulls[10] = "         ";

	pointstore_check_arguments(fcinfo, 2);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "finding_id" : "reason")));
	number = PG_GETARG_INT64(0);
	reason = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(reason) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must not be empty")));
	PreventCommandIfReadOnly("acknowledge()");
	pointstore_act_as_owner(&owner);
	id = account_of(number);
	pointstore_read_account(&account, id, pointstore_push_snapshot(), LOCK_ACCOUNT);
	finding = find_code(examine_now(id), number);
	require_same(number, finding);
	finding_values(values, nulls, id, finding);
	values[7] = CStringGetTextDatum(pointstore_role_name(GetOuterUserId()));
	values[8] = Int64GetDatum(number);
	SPI_connect();
	pointstore_execute(&close, values, nulls, false);
	SPI_finish();
	pointstore_log("acknowledge", reason, account.exists ? &account : NULL, &account);
	pointstore_release_account(&account);
	PopActiveSnapshot();
	pointstore_act_as_caller(&owner);
	PG_RETURN_VOID();
}

/* What is wrong now of a finding's code: null, nothing, or an index hides it. */
static const Finding *
find_code(const Findings *found, int64 number)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(code AS pg_catalog.text), '') FROM pointstore.finding WHERE id" EQ "$1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(number);
	const Finding *result = NULL;
	int			i;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	for (i = 0; i < found->n && SPI_processed > 0; i++)
		if (strcmp(found->findings[i].code, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)) == 0)
			result = &found->findings[i];
	SPI_finish();
	return result;
}

/* Who acknowledges a finding has seen what it says: PS011 where that is not what is wrong now. */
static void
require_same(int64 number, const Finding *finding)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding WHERE id" EQ "$1"
		" AND (detail OPERATOR(pg_catalog.->) 'times')" EQ "($5 OPERATOR(pg_catalog.->) 'times')"
		" AND CASE WHEN severity" EQ "'critical' OR code" EQ "'hold_mismatch'"
		"          THEN pg_catalog.jsonb_build_array(version, expected, found)" EQ "pg_catalog.jsonb_build_array($4, $2, $3)"
		"          ELSE coalesce(CAST(found AS pg_catalog.numeric)" MINUS "expected" EQ "(CAST($3 AS pg_catalog.numeric)" MINUS "$2), found IS NULL OR expected IS NULL) END",
		.nargs = 5, .argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, JSONBOID}
	};
	Datum		values[5] = {Int64GetDatum(number)};
	char		nulls[6] = "     ";
	bool		same = false;

	if (finding != NULL)
	{
		values[1] = Int64GetDatum(finding->expected);
		values[2] = Int64GetDatum(finding->found);
		values[3] = Int64GetDatum(finding->version);
		values[4] = finding->detail;
		nulls[1] = finding->no_expected ? 'n' : ' ';
		nulls[2] = finding->no_found ? 'n' : ' ';
		nulls[3] = finding->no_version ? 'n' : ' ';
		SPI_connect();
		pointstore_execute(&plan, values, nulls, false);
		same = SPI_processed > 0;
		SPI_finish();
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("finding %lld is not what is wrong now", (long long) number),
				 errdetail_internal("finding=%lld", (long long) number),
				 errhint("CALL pointstore.reconcile('full'); brings the findings up to date. What an index hides is not acknowledged: REINDEX mends it.")));
}

/* PS011 where an index says of an account something else than its table. */
static void
refuse_lies(text *id)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Datum		value = PointerGetDatum(id);
	HeapView	heap;

	pointstore_view_heaps(&value, 1, &heap);
	pointstore_refuse_lie(id, pointstore_find_lie(id, &heap, snapshot));
	PopActiveSnapshot();
}

/* The account of an open finding (PS008). */
static text *
account_of(int64 finding)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(aggregate_id AS pg_catalog.text), '') FROM pointstore.finding WHERE id" EQ "$1 AND resolved_at IS NULL",
		.nargs = 1, .argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = Int64GetDatum(finding);
	char	   *id;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("there is no open finding %lld", (long long) finding),
				 errdetail_internal("finding=%lld", (long long) finding)));
	id = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return cstring_to_text(id);
}

/* Locks whatever row an account has. */
static void
lock_whole_account(text *id)
{
	Account		account;

	pointstore_read_account(&account, id, pointstore_push_snapshot(), LOCK_ACCOUNT);
	pointstore_release_account(&account);
	PopActiveSnapshot();
}
