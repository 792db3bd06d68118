/*-------------------------------------------------------------------------
 *
 * src/feed/check.c
 *		Whether the feed is what it promises to be: feed_check(), which is also
 *		part of a full reconciliation.
 *
 * All is read in one snapshot, in two statements that are joined and sorted as a whole: of the blocks,
 * by position and by id; and of the positions that they give, with the events, by account and version.
 * Memory is bounded by work_mem, whatever there is.
 *
 * Writers and sequencer beside it are not mistaken. A block is committed after the events in it, so a snapshot that
 * has it has them; and what is below the last block's settled_below has a position in that block or an earlier
 * one, or is not committed and never will be. Above that mark nothing is asked of an event.
 *
 * Nothing is taken for granted of the rows: a block may have nulls, more ids than it may, or endless ranges. Of each
 * block the ids are counted that it may have, and no more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "feed/block.h"
#include "feed/check.h"
#include "feed/sequence.h"
#include "feed/whose.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/shard.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_feed_check);

#define FAULTS_AT_ONCE 1000
#define FAULTS_TOLD 10			/* in the detail of a finding */

#define MOST_EVENTS CppAsString2(BLOCK_EVENTS)
#define MOST_RANGES CppAsString2(BLOCK_RANGES)

/* The blocks, in order, and their ranges. */
#define BLOCKS_SQL \
"blocks AS (SELECT pg_catalog.row_number() OVER (ORDER BY b.first, b.last) AS no, b.* FROM (" \
"  SELECT CAST(first_position AS pg_catalog.int8) AS first, CAST(last_position AS pg_catalog.int8) AS last," \
"         CAST(ids AS pg_catalog.int8multirange) AS ids, CAST(sealed AS pg_catalog.bool) AS sealed," \
"         CAST(settled_below AS pg_catalog.int8) AS settled_below FROM pointstore.feed_block WHERE " OF_THIS_FEED ") b)," \
" ranges AS (SELECT r.no, r.first, pg_catalog.lower(r.ids) AS lower, pg_catalog.upper(r.ids) AS upper" \
"   FROM (SELECT b.no, b.first, pg_catalog.unnest(b.ids) AS ids FROM blocks b) r)"

/*
 * The ranges of blocks that can be gone through, each with the position of its first id and how many there are, up to
 * what a block may have. No position is beyond 2^62.
 */
#define STRETCHES_SQL \
"stretches AS (SELECT x.lower, CAST(x.first" PLUS "x.before AS pg_catalog.int8) AS position," \
"         CAST(LEAST(" MOST_EVENTS MINUS "x.before, " NUMERIC("x.upper") MINUS "x.lower, 9223372036854775808" MINUS "x.lower) AS pg_catalog.int8) AS n" \
"   FROM (SELECT r.*, coalesce(pg_catalog.sum(" NUMERIC("r.upper") MINUS "r.lower) OVER (PARTITION BY r.no ORDER BY r.lower" \
"                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before" \
"           FROM ranges r WHERE r.first" GE "1 AND r.first" LE "4611686018427387904 AND r.lower IS NOT NULL) x" \
"  WHERE x.before" LT MOST_EVENTS ")"

/* How far ids are settled, and which are of the sequence: from lowest to last, every so many. */
#define MARK_SQL \
"mark AS MATERIALIZED (SELECT (SELECT b.settled_below FROM pointstore.feed_block b WHERE b.first_position IS NOT NULL AND " OF_THIS_FEED \
"          ORDER BY b.first_position DESC LIMIT 1) AS settled_below, GREATEST(s.seqincrement, 1) AS step, s.seqmin AS lowest, q.last_value AS last," \
"         GREATEST(CASE WHEN q.is_called THEN " NUMERIC("q.last_value") " ELSE " NUMERIC("q.last_value") MINUS "1 END, " NUMERIC("s.seqmin") MINUS "1) AS drawn" \
"   FROM pointstore.event_store_id_seq q, pg_catalog.pg_sequence s" \
"  WHERE s.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass))"

/* One that has to be told. */
typedef struct Fault
{
	char	   *code;
	int64		position;
	int64		event_id;
	bool		no_position;
	bool		no_event_id;
} Fault;

/* Who is told of faults. */
typedef struct Listener
{
	void		(*tell) (struct Listener *listener, const Fault *fault);
	ReturnSetInfo *rsinfo;
	int64		n;
	StringInfoData first;		/* the first of them, as JSON */
} Listener;

/* What is wrong with the blocks themselves. $1: whether the sequence is this store's. */
static PointstorePlan blocks_plan = {
	.sql = "WITH " BLOCKS_SQL ", " STRETCHES_SQL ", " MARK_SQL ","
	" counted AS (SELECT no, pg_catalog.count(*) AS ranges, pg_catalog.sum(" NUMERIC("upper") MINUS "lower) AS n,"
	"         pg_catalog.bool_and(lower IS NOT NULL AND upper IS NOT NULL) AS bounded FROM ranges GROUP BY no),"
	" sized AS (SELECT b.*, c.ranges, c.n, c.bounded, pg_catalog.lag(" NUMERIC("b.last") PLUS "1) OVER w AS next_by_last,"
	"         pg_catalog.lag(" NUMERIC("b.first") PLUS "c.n) OVER w AS next_by_ids, pg_catalog.lead(b.first) OVER w IS NULL AS is_last"
	"   FROM blocks b LEFT JOIN counted c ON c.no" EQ "b.no WINDOW w AS (ORDER BY b.no))"
	" SELECT 'block', s.first, CAST(NULL AS pg_catalog.int8) FROM sized s"
	"  WHERE NOT coalesce(s.bounded AND s.ranges" LE MOST_RANGES " AND s.n" LE MOST_EVENTS " AND s.last" EQ "(s.first" PLUS "s.n" MINUS "1)"
	"    AND (s.sealed OR (s.is_last AND s.sealed IS NOT NULL)) AND s.settled_below IS NOT NULL, false)"
	"    OR NOT (coalesce(s.first" EQ "s.next_by_last, false) OR coalesce(s.first" EQ "s.next_by_ids, false) OR coalesce(s.no" EQ "1 AND s.first" EQ "1, false))"
	" UNION ALL SELECT 'duplicate', d.position, d.lower FROM ("
	"   SELECT lower, position, pg_catalog.max(lower" PLUS "(n" MINUS "1)) OVER (ORDER BY lower, position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach"
	"     FROM stretches) d WHERE d.lower" LE "d.reach"
	" UNION ALL SELECT 'sequence', CAST(NULL AS pg_catalog.int8), CAST(m.drawn AS pg_catalog.int8) FROM mark m WHERE $1 AND " IN_ONE_PLACE " AND m.settled_below" GT "(m.drawn" PLUS "1)"
	" ORDER BY 1, 2, 3",
	.nargs = 1, .argtypes = {BOOLOID}
};

/*
 * What is wrong with what they give, beside the events. $1: whether all events of this store are here, and the
 * sequence is its own. Sorted by a hash first, since to compare numbers is cheap. Of an event
 * with two positions the first counts for the order.
 */
static PointstorePlan events_plan = {
	.sql = "WITH " BLOCKS_SQL ", " STRETCHES_SQL ", " MARK_SQL ","
	" given AS (SELECT g.lower" PLUS "g.place AS id, g.position" PLUS "g.place AS position"
	"   FROM (SELECT lower, position, pg_catalog.generate_series(CAST(0 AS pg_catalog.int8), n" MINUS "1) AS place FROM stretches) g),"
	" placed AS (SELECT g.id AS given, g.position, e.id, e.aggregate_id, e.version"
	"   FROM given g FULL JOIN (SELECT v.id, v.aggregate_id, v.version FROM pointstore.event_store v WHERE v.id IS NOT NULL) e ON e.id" EQ "g.id),"
	" compared AS (SELECT p.*, pg_catalog.lag(p.position) OVER w AS position_before, pg_catalog.lag(p.version) OVER w AS version_before"
	"   FROM placed p WINDOW w AS (PARTITION BY CASE WHEN p.given IS NOT NULL AND p.id IS NOT NULL THEN " HASH_OF("p.aggregate_id") " END, p.aggregate_id"
	"     ORDER BY p.version, p.position DESC)),"
	" judged AS (SELECT CASE"
	"   WHEN c.id IS NULL THEN CASE WHEN $1 THEN 'missing_event' END"
	"   WHEN c.given IS NULL THEN CASE WHEN $1 AND c.id" LT "m.settled_below AND (NOT " IN_ONE_PLACE " OR (c.id" GE "m.lowest AND c.id" LE "m.drawn)) THEN"
	"     CASE WHEN NOT " IN_ONE_PLACE " OR m.step" EQ "1 OR (" NUMERIC("c.id") MINUS "m.last) OPERATOR(pg_catalog.%) m.step" EQ "0 THEN 'unsequenced' END END"
	"   WHEN c.aggregate_id IS NOT NULL AND c.version_before" LT "c.version AND c.position_before" GE "c.position THEN 'order' END AS code,"
	"   c.position, coalesce(c.id, c.given) AS id FROM compared c, mark m)"
	" SELECT j.code, j.position, j.id FROM judged j WHERE j.code IS NOT NULL ORDER BY 1, 2, 3",
	.nargs = 1, .argtypes = {BOOLOID}
};

static Datum check_here(FunctionCallInfo fcinfo);
static void tell_row(Listener *listener, const Fault *fault);
static void tell_sequence(Listener *listener);
static void tell_faults(Listener *listener);
static bool has_begun(void);
static void tell_each(Listener *listener, PointstorePlan *plan, bool sequenced);
static void note(Listener *listener, const Fault *fault);
static char *number(int64 value, bool isnull);

/* feed_check(), feed_check(shard): in the caller's snapshot; of all shards, where it says none. */
Datum
pointstore_feed_check(PG_FUNCTION_ARGS)
{
	pointstore_materialize(fcinfo);
	if (PG_NARGS() > 0 || !pointstore_is_distributed())
		return pointstore_call_of_feed(fcinfo, 1, check_here);
	pointstore_call_of_each_shard(fcinfo, check_here);
	return (Datum) 0;
}

static Datum
check_here(FunctionCallInfo fcinfo)
{
	Listener	listener = {.tell = tell_row, .rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	PointstoreScope scope;

	pointstore_act_as_verifier(&scope);
	tell_sequence(&listener);
	tell_faults(&listener);
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

static void
tell_row(Listener *listener, const Fault *fault)
{
	Datum		values[3] = {CStringGetTextDatum(fault->code), Int64GetDatum(fault->position), Int64GetDatum(fault->event_id)};
	bool		nulls[3] = {false, fault->no_position, fault->no_event_id};

	tuplestore_putvalues(listener->rsinfo->setResult, listener->rsinfo->setDesc, values, nulls);
}

/* What of the sequence's settings is not as it must be. */
static void
tell_sequence(Listener *listener)
{
	Fault		fault = {.code = "sequence", .no_position = true};
	int64		expected;
	int64		found;
	const char *setting = !pointstore_here().is_range && pointstore_is_sequenced() ? pointstore_sequence_fault(&expected, &found) : NULL;

	if (setting == NULL)
		return;
	fault.no_event_id = strcmp(setting, "next id") != 0;
	fault.event_id = expected - 1;
	listener->tell(listener, &fault);
}

/*
 * What is wrong with the feed: a finding of the store as a whole, for a reconciliation. The settings of the sequence have a
 * finding of their own. False: nothing is.
 */
bool
pointstore_examine_feed(Finding *finding)
{
	Listener	listener = {.tell = note};
	PointstoreScope scope;

	initStringInfo(&listener.first);
	pointstore_act_as_verifier(&scope);
	tell_faults(&listener);
	pointstore_act_as_caller(&scope);
	if (listener.n == 0)
		return false;
	*finding = (Finding) {.code = "feed_mismatch", .severity = "error", .found = listener.n, .no_version = true};
	finding->detail = DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("{\"times\": %lld, \"first\": [%s]}",
																			 (long long) listener.n, listener.first.data)));
	return true;
}

static void
note(Listener *listener, const Fault *fault)
{
	if (listener->n++ < FAULTS_TOLD)
		appendStringInfo(&listener->first, "%s{\"code\": \"%s\", \"position\": %s, \"event_id\": %s}", listener->n > 1 ? ", " : "",
						 fault->code, number(fault->position, fault->no_position), number(fault->event_id, fault->no_event_id));
}

static char *
number(int64 value, bool isnull)
{
	return isnull ? "null" : psprintf("%lld", (long long) value);
}

/* Tells what is wrong with the blocks and with what they give, in the active snapshot. Acting as the verifier. */
static void
tell_faults(Listener *listener)
{
	bool		sequenced = pointstore_is_sequenced();

	pointstore_set_option("jit", "off");
	SPI_connect();
	if (has_begun())
	{
		tell_each(listener, &blocks_plan, sequenced);
		tell_each(listener, &events_plan, sequenced);
	}
	SPI_finish();
}

static bool
has_begun(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.feed_block WHERE " OF_THIS_FEED " LIMIT 1"
	};

	pointstore_execute(&plan, NULL, NULL, true);
	return SPI_processed > 0;
}

/* However many there are. */
static void
tell_each(Listener *listener, PointstorePlan *plan, bool sequenced)
{
	Datum		value = BoolGetDatum(sequenced);
	Portal		cursor;

	cursor = SPI_cursor_open(NULL, pointstore_prepare(plan)->plan, &value, NULL, true);
	for (SPI_cursor_fetch(cursor, true, FAULTS_AT_ONCE); SPI_processed > 0; SPI_cursor_fetch(cursor, true, FAULTS_AT_ONCE))
	{
		SPITupleTable *rows = SPI_tuptable;
		uint64		i;

		CHECK_FOR_INTERRUPTS();
		for (i = 0; i < rows->numvals; i++)
		{
			Fault		fault = {.code = SPI_getvalue(rows->vals[i], rows->tupdesc, 1)};

			fault.position = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &fault.no_position));
			fault.event_id = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &fault.no_event_id));
			listener->tell(listener, &fault);
			pfree(fault.code);
		}
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(cursor);
}
