/*-------------------------------------------------------------------------
 *
 * src/verify/across.c
 *		Movements whose legs are on several nodes.
 *
 * A shard sees its own events alone. So a full run of one shard, that of the account '', has Citus compare the legs of all movements, by
 * the ids of first legs, so many at once. Nodes commit one after the other: of a movement that is being committed some legs may be seen, and others
 * not yet. What does not come to zero is therefore looked at once more when all has ended that was prepared on any node
 * after it was seen: a leg that was missing is there then. Where something stays prepared it is unverified. So is a movement that is being
 * taken back, in parts, all the while: nodes are not looked at in one moment, and of one reversal or another a part is missing each time.
 *
 * What is found is a finding of the first leg's account, on whatever node; it is reported, and no policy acts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "account/id.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "verify/across.h"
#include "verify/rules.h"

/* ids of first legs that one statement compares, which the nodes share: what is kept of their legs is sent to each */
#define IDS_AT_ONCE (4000000 * INT64CONST(1024))

/* how long what is prepared may take, and how often that is asked */
#define LONGEST_WAIT 5000		/* ms */
#define WAIT 100				/* ms */

/* movements that are told of in a run; more are for the next */
#define MOST_UNBALANCED 1000

/* A movement that does not come to zero. */
typedef struct Unbalanced
{
	int64		first_id;		/* the event that is its first leg */
	text	   *account;		/* and that one's */
	int64		version;
	int64		total;
	int64		events;			/* that were seen of it, which become more, never fewer */
} Unbalanced;

/* What is compared, and what has become known. */
typedef struct Comparison
{
	Run		   *run;
	int64		from;			/* ids of first legs */
	int64		to;
	int64		at_once;
	bool		has_more;		/* there are any */
	List	   *unbalanced;		/* by accounts and versions */
	char	   *prepared;		/* names of the transactions that are prepared on any node, as an array's text */
	bool		ended;			/* these are not any more */
	bool		in_doubt;		/* something is unverified */
} Comparison;

static List *compare(Comparison *comparison, bool *answered);
static List *in_both(Comparison *comparison, const List *before, const List *now);
static bool attempt(Comparison *comparison, bool (*what) (void *));
static bool read_nodes(void *arg);
static bool find_next(void *arg);
static bool read_unbalanced(void *arg);
static bool read_prepared(void *arg);
static bool have_ended(Comparison *comparison);
static bool ask_prepared(void *arg);
static bool settle(void *arg);
static void record(Run *run, const Unbalanced *first, int times, TimestampTz now);
static bool is_acknowledged(const Unbalanced *found);
static void announce(const Unbalanced *found, int64 id);

/*
 * Compares the legs of all movements, in steps, and brings the findings of that up to date. Where a node does not answer this is told, and is
 * for the next run.
 */
void
pointstore_compare_across(Run *run)
{
	Comparison	comparison = {.run = run};
	bool		answered;
	List	   *before;

	if (!attempt(&comparison, read_nodes))
		return;
	before = compare(&comparison, &answered);
	if (answered && before != NIL && attempt(&comparison, read_prepared))
	{
		if (!have_ended(&comparison))
		{
			run->unverified += list_length(before);
			return;
		}
		comparison.unbalanced = in_both(&comparison, before, compare(&comparison, &answered));
	}
	if (answered)
		(void) attempt(&comparison, settle);
}

/* Those that do not come to zero now, in the order of their accounts; false: they are not known. */
static List *
compare(Comparison *comparison, bool *answered)
{
	comparison->unbalanced = NIL;
	comparison->to = -1;
	do
		*answered = attempt(comparison, find_next) && (!comparison->has_more || attempt(comparison, read_unbalanced));
	while (*answered && comparison->has_more);
	/* of what is left out nothing is known */
	comparison->in_doubt |= list_length(comparison->unbalanced) >= MOST_UNBALANCED;
	return comparison->unbalanced;
}

/* What was not seen before may be under way; of what was otherwise before nobody knows. */
static List *
in_both(Comparison *comparison, const List *before, const List *now)
{
	List	   *both = NIL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, now)
		foreach(other, before)
		{
			const Unbalanced *seen = lfirst(cell);
			const Unbalanced *earlier = lfirst(other);

			if (seen->first_id == earlier->first_id && seen->events == earlier->events)
				both = lappend(both, lfirst(cell));
			else if (seen->first_id == earlier->first_id)
			{
				comparison->run->unverified++;
				comparison->in_doubt = true;
			}
		}
	return both;
}

/* A step, which may fail where another node does: then it is told, and something is unverified. */
static bool
attempt(Comparison *comparison, bool (*what) (void *))
{
	PointstoreScope owner;
	ErrorData  *error;

	pointstore_act_as_verifier(&owner);
	error = pointstore_attempt(what, comparison);
	pointstore_act_as_caller(&owner);
	if (error != NULL)
	{
		comparison->run->unverified++;
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("movements over nodes were not compared: %s", error->message)));
	}
	pointstore_run_next_step();
	return error == NULL;
}

/* How many ids are compared at once. */
static bool
read_nodes(void *arg)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_dist_node WHERE isactive", .spans_nodes = true
	};
	Comparison *comparison = arg;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	comparison->at_once = IDS_AT_ONCE / Max(1, DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	SPI_finish();
	return true;
}

/* The next ids, from the lowest that an event follows from: callers may say any, and of what lies between them there is nothing to compare. */
static bool
find_next(void *arg)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.min(cause_id) FROM pointstore.event_store WHERE cause_id" GT "$1",
		.nargs = 1, .argtypes = {INT8OID}, .spans_nodes = true
	};
	Comparison *comparison = arg;
	Datum		value = Int64GetDatum(comparison->to);
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	comparison->from = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	comparison->to = comparison->from > PG_INT64_MAX - comparison->at_once ? PG_INT64_MAX : comparison->from + comparison->at_once - 1;
	comparison->has_more = !isnull;
	SPI_finish();
	return true;
}

/* Adds the movements of some ids whose legs do not come to zero, or were not taken back alike; as MOVEMENTS_SQL of a store in one place. */
static bool
read_unbalanced(void *arg)
{
	static PointstorePlan plan = {
		.sql = "WITH legs AS MATERIALIZED ("
		" SELECT l.cause_id AS first_id, coalesce(l.request_id, '') AS request, pg_catalog.sum(l.amount) AS total, pg_catalog.count(*) AS events FROM pointstore.event_store l"
		"  WHERE l.leg" GE "1 AND l.event_type" NE "'EventReversed' AND l.cause_id" GE "$1 AND l.cause_id" LE "$2"
		"  GROUP BY l.cause_id, coalesce(l.request_id, '')),"
		" taken AS MATERIALIZED ("
		" SELECT " FIRST_OF("o") " AS first_id, pg_catalog.sum(r.amount) AS total, pg_catalog.count(*) AS events"
		"   FROM pointstore.event_store o JOIN pointstore.event_store r ON r.aggregate_id" EQ "o.aggregate_id AND r.cause_id" EQ "o.id"
		"  WHERE r.event_type" EQ "'EventReversed' AND o.event_type" NE "'EventReversed'"
		"    AND ((o.id" GE "$1 AND o.id" LE "$2) OR (o.cause_id" GE "$1 AND o.cause_id" LE "$2))"
		"  GROUP BY " FIRST_OF("o") ")"
		" SELECT f.id, CAST(f.aggregate_id AS pg_catalog.text), f.version,"
		"        " AS_BIGINT("(CASE WHEN f.amount" PLUS "l.total" NE "0 THEN f.amount" PLUS "l.total ELSE t.total END)") ","
		"        l.events" PLUS "coalesce(t.events, 0)"
		"   FROM pointstore.event_store f JOIN legs l ON l.first_id" EQ "f.id AND l.request" EQ "coalesce(f.request_id, '')"
		"   LEFT JOIN taken t ON t.first_id" EQ "f.id"
		"  WHERE " IS_FIRST_LEG("f") " AND f.id" GE "$1 AND f.id" LE "$2 AND (f.amount" PLUS "l.total" NE "0 OR coalesce(t.total, 0)" NE "0)"
		"  ORDER BY f.aggregate_id, f.version LIMIT $3",
		.nargs = 3, .argtypes = {INT8OID, INT8OID, INT8OID}, .spans_nodes = true
	};
	Comparison *comparison = arg;
	Datum		values[3] = {Int64GetDatum(comparison->from), Int64GetDatum(comparison->to),
	Int64GetDatum(MOST_UNBALANCED - list_length(comparison->unbalanced))};
	MemoryContext old;
	uint64		i;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	old = MemoryContextSwitchTo(comparison->run->context);
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Unbalanced *found = palloc(sizeof(Unbalanced));

		found->first_id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		found->account = DatumGetTextPCopy(SPI_getbinval(row, desc, 2, &isnull));
		found->version = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
		found->total = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
		found->events = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
		comparison->unbalanced = lappend(comparison->unbalanced, found);
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
	return true;
}

/* What is prepared on any node: of a transaction that some nodes have committed, the others have it there. */
static bool
read_prepared(void *arg)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(pg_catalog.array_agg(g.gid) AS pg_catalog.text)"
		"  FROM pg_catalog.run_command_on_all_nodes('SELECT pg_catalog.array_agg(gid) FROM pg_catalog.pg_prepared_xacts') n,"
		"       pg_catalog.unnest(CAST(NULLIF(n.result, '') AS pg_catalog.text[])) g (gid)",
		.spans_nodes = true
	};
	Comparison *comparison = arg;
	char	   *prepared;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	prepared = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	comparison->prepared = prepared == NULL ? NULL : MemoryContextStrdup(comparison->run->context, prepared);
	SPI_finish();
	return true;
}

/* Waits a moment until none of these is prepared any more. */
static bool
have_ended(Comparison *comparison)
{
	TimestampTz start = GetCurrentTimestamp();

	comparison->ended = comparison->prepared == NULL;
	while (!comparison->ended && attempt(comparison, ask_prepared) && !comparison->ended)
	{
		/* a step of a throttled run takes its time as well */
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LONGEST_WAIT))
			break;
		pg_usleep(WAIT * INT64CONST(1000));
	}
	return comparison->ended;
}

static bool
ask_prepared(void *arg)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.bool_and(n.success AND n.result" EQ "'0') FROM pg_catalog.run_command_on_all_nodes("
		" pg_catalog.format('SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts WHERE gid" EQ "ANY (%L)', $1)) n",
		.nargs = 1, .argtypes = {TEXTOID}, .spans_nodes = true
	};
	Comparison *comparison = arg;
	Datum		value = CStringGetTextDatum(comparison->prepared);
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	comparison->ended = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
	SPI_finish();
	return true;
}

/* Records what is wrong, of an account with its first movement, and closes findings of the others. */
static bool
settle(void *arg)
{
	static PointstorePlan close = {
		.sql = "UPDATE pointstore.finding SET resolved_at = $1, resolved_by = 'reconcile'"
		" WHERE code" EQ "'transfer_unbalanced' AND resolved_at IS NULL AND aggregate_id" NE "ALL ($2)",
		.nargs = 2, .argtypes = {TIMESTAMPTZOID, TEXTARRAYOID}, .spans_nodes = true
	};
	static PointstorePlan others = {
		.sql = "SELECT 1 FROM pointstore.finding WHERE code" EQ "'transfer_unbalanced' AND resolved_at IS NULL AND aggregate_id" NE "ALL ($1) LIMIT 1",
		.nargs = 1, .argtypes = {TEXTARRAYOID}, .spans_nodes = true
	};
	Comparison *comparison = arg;
	TimestampTz now = GetCurrentTimestamp();
	Datum	   *accounts = palloc(sizeof(Datum) * (list_length(comparison->unbalanced) + 1));
	Datum		values[2] = {TimestampTzGetDatum(now)};
	int			n = 0;
	int			i;
	int			next;

	SPI_connect();
	for (i = 0; i < list_length(comparison->unbalanced); i = next)
	{
		const Unbalanced *first = list_nth(comparison->unbalanced, i);

		for (next = i + 1; next < list_length(comparison->unbalanced); next++)
			if (strcmp(pointstore_cstring(((Unbalanced *) list_nth(comparison->unbalanced, next))->account), pointstore_cstring(first->account)) != 0)
				break;
		if (is_acknowledged(first))
			continue;
		accounts[n++] = PointerGetDatum(first->account);
		record(comparison->run, first, next - i, now);
	}
	comparison->run->findings += n;
	values[1] = pointstore_text_array(accounts, n);
	/* which writes on every node */
	pointstore_execute(&others, &values[1], NULL, true);
	if (SPI_processed > 0 && !comparison->in_doubt)
		pointstore_execute(&close, values, NULL, false);
	SPI_finish();
	return true;
}

/* A finding of an account, wherever it is: seen again, or new. */
static void
record(Run *run, const Unbalanced *first, int times, TimestampTz now)
{
#define DETAIL "pg_catalog.jsonb_build_object('times', $6, 'event_id', $7)"
	static PointstorePlan update = {
		.sql = "UPDATE pointstore.finding SET last_seen_at = $5, found = $3, version = $4, detail = " DETAIL
		" WHERE aggregate_id" EQ "$2 AND code" EQ "'transfer_unbalanced' AND resolved_at IS NULL AND $1 IS NOT NULL",
		.nargs = 7, .argtypes = {INT8OID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, INT8OID}, .spans_nodes = true
	};
	static PointstorePlan insert = {
		.sql = "INSERT INTO pointstore.finding (id, run_id, aggregate_id, code, severity, expected, found, version, detail, detected_at, last_seen_at, action)"
		" VALUES ($8, $1, $2, 'transfer_unbalanced', 'critical', 0, $3, $4, " DETAIL ", $5, $5, 'reported')",
		.nargs = 8, .argtypes = {INT8OID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, INT8OID, INT8OID}, .spans_nodes = true
	};
	Datum		values[8] = {Int64GetDatum(run->id), PointerGetDatum(first->account), Int64GetDatum(first->total), Int64GetDatum(first->version),
	TimestampTzGetDatum(now), Int32GetDatum(times), Int64GetDatum(first->first_id)};

	pointstore_execute(&update, values, NULL, false);
	if (SPI_processed > 0)
		return;
	values[7] = Int64GetDatum(pointstore_draw_for_node(pointstore_name_of_place()));
	pointstore_execute(&insert, values, NULL, false);
	announce(first, DatumGetInt64(values[7]));
}

/* By the WARNING and the notification that findings of accounts have. */
static void
announce(const Unbalanced *found, int64 id)
{
	StringInfoData told;

	initStringInfo(&told);
	appendStringInfo(&told, "{\"id\": %lld, \"code\": \"transfer_unbalanced\", \"found\": %lld, \"version\": %lld, \"action\": \"reported\", \"expected\": 0, \"severity\": \"critical\", \"aggregate_id\": ",
					 (long long) id, (long long) found->total, (long long) found->version);
	escape_json(&told, pointstore_cstring(found->account));
	appendStringInfoChar(&told, '}');
	Async_Notify("pointstore_finding", told.data);
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("finding %lld: transfer_unbalanced of account \"%s\" (critical), reported", (long long) id, pointstore_cstring(found->account))));
}

/* Whether an operator has closed, as known, what is wrong with an account's first movement that is. */
static bool
is_acknowledged(const Unbalanced *found)
{
	static PointstorePlan plan = {
		.sql = "SELECT 1 FROM pointstore.finding WHERE aggregate_id" EQ "$1 AND code" EQ "'transfer_unbalanced'"
		" AND acknowledged" EQ "pg_catalog.jsonb_build_object('version', $2, 'found', $3)",
		.nargs = 3, .argtypes = {TEXTOID, INT8OID, INT8OID}, .spans_nodes = true
	};
	Datum		values[3] = {PointerGetDatum(found->account), Int64GetDatum(found->version), Int64GetDatum(found->total)};

	pointstore_execute(&plan, values, NULL, true);
	return SPI_processed > 0;
}

/*
 * Closes an open finding of that as known, where its account is, whatever the movement has come to since; false: it is none. The caller is there, and
 * acts as the owner.
 */
bool
pointstore_acknowledge_across(int64 number, Oid by)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.finding SET resolved_at = pg_catalog.clock_timestamp(), resolved_by = $2, action = 'acknowledged',"
		" acknowledged = pg_catalog.jsonb_build_object('version', version, 'found', found)"
		" WHERE id" EQ "$1 AND resolved_at IS NULL AND " IS_ACROSS("code"),
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(number), CStringGetTextDatum(pointstore_role_name(by))};
	bool		closed;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	closed = SPI_processed > 0;
	SPI_finish();
	return closed;
}
