/*-------------------------------------------------------------------------
 *
 * src/money/legs.c
 *		The legs of a movement, found by any of them.
 *
 * Events do not change, so they are read before any lock is taken.
 *
 * In a distributed store the others may be on any node: of an event that may be a leg all nodes are asked (legs_part). A transaction of
 * several nodes is committed on one after the other, and after a failure much later: one leg is seen while another is
 * prepared. So it is not the snapshot that decides which legs there are: one that is not committed yet is waited for. As
 * the one that is asked for has been, the transaction has been prepared everywhere by then, and waits for nobody. One that
 * was committed after a snapshot that must not see it is 40001.
 *
 * Nothing is locked against moves: what was prepared is in a shard wherever it goes. But the nodes, which are asked one after
 * the other, must have looked at each hash once, else a shard has changed places meanwhile: PS013.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/shard.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "money/legs.h"

PG_FUNCTION_INFO_V1(pointstore_legs_part);

/* hashes that there are */
#define ALL_HASHES (INT64CONST(1) << 32)

/* names that are tried for one whose hash a node has */
#define MAX_TRIES 10000000

/* of legs_part() */
typedef enum LegColumn
{
	LEG_ACCOUNT, LEG_REQUEST_ID, LEG_ID, LEG_VERSION, LEG_AMOUNT, LEG_CAUSE_ID, LEG_LEG, LEG_EVENT_TYPE, LEG_IS_ASKED,
	LEG_HASHES = LEG_IS_ASKED,	/* of its last row, which has nothing else */
	N_LEG_COLUMNS
} LegColumn;

#define LEG_COLUMNS(e) e ".aggregate_id, " e ".request_id, " e ".id, " e ".version, " e ".amount, " e ".cause_id, " e ".leg, " e ".event_type"

/* Legs as they are found. */
typedef struct Found
{
	Leg		   *legs;
	int			n;
	int			room;
	MemoryContext context;
} Found;

static void find_here(text *aggregate_id, int64 version, Found *found);
static void find_on_nodes(text *aggregate_id, int64 version, Found *found);
static void add_rows(Found *found);
static void add_row(Found *found, HeapTuple row, TupleDesc desc);
static void ask_nodes(int64 id, Found *found);
static int64 ask_node(int32 node, int64 id, Found *found);
static text *some_account_of(int32 node);
static void keep_movement(Found *found);
static bool is_first_leg(const Leg *leg);
static bool same_request(const Leg *a, const Leg *b);
static int	compare_legs(const void *a, const void *b);
static bool look_at_shard(Oid relid, int64 id, FunctionCallInfo fcinfo);
static void look_for(Relation events, const char *column, int64 id, FunctionCallInfo fcinfo);
static bool scan_for(Relation events, AttrNumber att, int64 id, TupleDesc desc, List **rows);
static Oid	index_on(Relation events, AttrNumber att);
static bool has_all(Relation index, AttrNumber att);
static bool may_be_leg(Relation events, TupleTableSlot *row, int64 id);
static Datum value_of(Relation events, TupleTableSlot *row, const char *column, bool *isnull);
static HeapTuple row_of(Relation events, TupleTableSlot *row, TupleDesc desc);

/*
 * The event of an account and, where it is a leg of a movement, the others, from the last to the first; none where there
 * is no such event.
 */
int
pointstore_find_legs(text *aggregate_id, int64 version, Leg **legs)
{
	Found		found = {.context = CurrentMemoryContext};

	SPI_connect();
	if (pointstore_is_distributed())
		find_on_nodes(aggregate_id, version, &found);
	else
		find_here(aggregate_id, version, &found);
	SPI_finish();
	*legs = found.legs;
	return found.n;
}

/* Of a plain store, as its owner. */
static void
find_here(text *aggregate_id, int64 version, Found *found)
{
	static PointstorePlan plan = {
		.sql = "WITH asked AS (SELECT * FROM pointstore.event_store WHERE aggregate_id" EQ "$1 AND version" EQ "$2),"
		" first AS (SELECT f.* FROM asked a JOIN pointstore.event_store f"
		"   ON f.id" EQ FIRST_OF("a")
		"  WHERE " IS_FIRST_LEG("f") " AND " SAME_REQUEST("f", "a") "),"
		" legs AS (SELECT * FROM first UNION ALL"
		"  SELECT l.* FROM first f JOIN pointstore.event_store l ON " IS_LEG("l", "f") ")"
		" SELECT " LEG_COLUMNS("legs") ", id" EQ "(SELECT id FROM asked) FROM legs WHERE EXISTS (SELECT FROM first)"
		" UNION ALL SELECT " LEG_COLUMNS("asked") ", true FROM asked WHERE NOT EXISTS (SELECT FROM first)"
		" ORDER BY leg DESC",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {PointerGetDatum(aggregate_id), Int64GetDatum(version)};
	PointstoreScope scope;

	pointstore_act_as_owner(&scope);
	pointstore_execute(&plan, values, NULL, false);
	add_rows(found);
	pointstore_act_as_caller(&scope);
}

/* Of a distributed one, as the caller, whom Citus has in this transaction on the other nodes. */
static void
find_on_nodes(text *aggregate_id, int64 version, Found *found)
{
	static PointstorePlan plan = {
		.sql = "SELECT " LEG_COLUMNS("e") ", true FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 AND e.version" EQ "$2",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}, .spans_nodes = true
	};
	Datum		values[2] = {PointerGetDatum(aggregate_id), Int64GetDatum(version)};
	int			level = pointstore_pin_transaction();

	pointstore_execute(&plan, values, NULL, true);
	add_rows(found);
	if (found->n == 1 && found->legs->leg >= 0 && !found->legs->is_reversal)
	{
		const Leg  *asked = found->legs;

		ask_nodes(asked->leg >= 1 && asked->cause_id != 0 ? asked->cause_id : asked->id, found);
		keep_movement(found);
	}
	AtEOXact_GUC(true, level);
}

static void
add_rows(Found *found)
{
	uint64		i;

	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		add_row(found, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		found->legs[found->n - 1].is_asked = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, LEG_IS_ASKED + 1, &isnull));
	}
}

/* One more leg, in memory that outlives the SPI connection. */
static void
add_row(Found *found, HeapTuple row, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(found->context);
	char	   *type = SPI_getvalue(row, desc, LEG_EVENT_TYPE + 1);
	char	   *request_id = SPI_getvalue(row, desc, LEG_REQUEST_ID + 1);
	bool		no_leg;
	bool		no_cause;
	bool		isnull;
	Leg		   *leg;

	if (found->n == found->room)
	{
		found->room = Max(2 * found->room, 4);
		found->legs = found->legs == NULL ? palloc_extended(sizeof(Leg) * found->room, MCXT_ALLOC_HUGE) :
			repalloc_huge(found->legs, sizeof(Leg) * found->room);
	}
	leg = &found->legs[found->n++];
	leg->aggregate_id = cstring_to_text(SPI_getvalue(row, desc, LEG_ACCOUNT + 1));
	leg->request_id = request_id == NULL ? NULL : cstring_to_text(request_id);
	leg->id = DatumGetInt64(SPI_getbinval(row, desc, LEG_ID + 1, &isnull));
	leg->version = DatumGetInt64(SPI_getbinval(row, desc, LEG_VERSION + 1, &isnull));
	leg->amount = DatumGetInt64(SPI_getbinval(row, desc, LEG_AMOUNT + 1, &isnull));
	leg->cause_id = DatumGetInt64(SPI_getbinval(row, desc, LEG_CAUSE_ID + 1, &no_cause));
	if (no_cause)
		leg->cause_id = 0;
	leg->leg = DatumGetInt16(SPI_getbinval(row, desc, LEG_LEG + 1, &no_leg));
	if (no_leg)
		leg->leg = -1;
	leg->is_reversal = type != NULL && strcmp(type, "EventReversed") == 0;
	leg->is_confirmed_hold = type != NULL && strcmp(type, "HoldConfirmed") == 0;
	leg->is_asked = false;
	MemoryContextSwitchTo(old);
}

/* Adds what all nodes have of a movement whose first leg has that id. PS013 where shards have changed places meanwhile. */
static void
ask_nodes(int64 id, Found *found)
{
	const PointstorePlacements *map = pointstore_store()->placements;
	int32	   *nodes = palloc(sizeof(int32) * map->n);
	int64		hashes = 0;
	int			n = 0;
	int			i;
	int			j;

	for (i = 0; i < map->n; i++)
	{
		for (j = 0; j < n && nodes[j] != map->ranges[i].node; j++)
			 /* no other */ ;
		if (j == n)
			nodes[n++] = map->ranges[i].node;
	}
	for (i = 0; i < n; i++)
		hashes += ask_node(nodes[i], id, found);
	if (hashes != ALL_HASHES)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
				 errmsg("a shard of the store has changed places"),
				 errhint("Repeat the call.")));
}

/* The same of one node; returns how many hashes it has looked at. */
static int64
ask_node(int32 node, int64 id, Found *found)
{
	char	   *sql = psprintf("SELECT * FROM pointstore.legs_part(%s, " INT64_FORMAT ")", quote_literal_cstr(pointstore_cstring(some_account_of(node))), id);
	int64		hashes = 0;
	bool		isnull;
	uint64		i;

	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask a node for legs");
	for (i = 0; i < SPI_processed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, LEG_ID + 1, &isnull);
		if (isnull)
			hashes = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, LEG_HASHES + 1, &isnull));
		else
			add_row(found, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	}
	return hashes;
}

/* The name of an account, there or not, which a node has: so Citus delegates a call to it. */
static text *
some_account_of(int32 node)
{
	int			i;

	for (i = 0; i < MAX_TRIES; i++)
	{
		char		digits[12];
		text	   *name;

		CHECK_FOR_INTERRUPTS();
		pg_ltoa(i, digits);
		name = cstring_to_text(digits);
		if (pointstore_node_of(name) == node)
			return name;
		pfree(name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("no account was found that would be on %s", pointstore_node_name(node)),
			 errdetail("It has shards of hardly any hash.")));
}

/* Of what was found, the first of which is the event that is asked for, the legs of its movement: alone it is where its first leg is not there. */
static void
keep_movement(Found *found)
{
	Leg			asked = found->legs[0];
	const Leg  *there = NULL;
	Leg			first;
	int			n = 0;
	int			i;

	for (i = 1; i < found->n; i++)
		if (found->legs[i].id == (asked.leg >= 1 && asked.cause_id != 0 ? asked.cause_id : asked.id) &&
			is_first_leg(&found->legs[i]) && same_request(&found->legs[i], &asked))
			there = &found->legs[i];
	if (there == NULL)
	{
		found->n = 1;
		return;
	}
	first = *there;
	for (i = 1; i < found->n; i++)
	{
		Leg			leg = found->legs[i];

		leg.is_asked = leg.id == asked.id;
		if (leg.id == first.id || (leg.cause_id == first.id && leg.leg >= 1 && !leg.is_reversal && same_request(&leg, &first)))
			found->legs[n++] = leg;
	}
	found->n = n;
	qsort(found->legs, n, sizeof(Leg), compare_legs);
}

/* As IS_FIRST_LEG says. */
static bool
is_first_leg(const Leg *leg)
{
	return leg->leg == 0 && (leg->cause_id == 0 || leg->is_confirmed_hold);
}

/* As SAME_REQUEST says. */
static bool
same_request(const Leg *a, const Leg *b)
{
	return a->request_id == NULL || b->request_id == NULL ? a->request_id == b->request_id : pointstore_same_text(a->request_id, b->request_id);
}

/* From the last to the first. */
static int
compare_legs(const void *a, const void *b)
{
	return ((const Leg *) b)->leg - ((const Leg *) a)->leg;
}

/* 55000 where a store is not distributed: what nodes ask of each other nobody else does. */
void
pointstore_require_nodes(void)
{
	if (!pointstore_is_distributed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is not distributed")));
}

/*
 * legs_part(aggregate_id, first_id): the events in the shards of this node that are the one with that id, or may be legs of
 * it; in the last row, which has nothing else, of how many hashes they are. What runs is waited for; 40001.
 */
Datum
pointstore_legs_part(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const PointstorePlacements *map;
	Datum		values[N_LEG_COLUMNS] = {0};
	bool		nulls[N_LEG_COLUMNS];
	int64		hashes = 0;
	int			i;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "aggregate_id" : "first_id")));
	pointstore_materialize(fcinfo);
	AcceptInvalidationMessages();
	pointstore_require_nodes();
	map = pointstore_store()->placements;
	(void) pointstore_push_snapshot();
	for (i = 0; i < map->n && pointstore_store()->placements == map; i++)
		if (map->ranges[i].node == map->node && look_at_shard(map->ranges[i].relids[TABLE_EVENT_STORE], PG_GETARG_INT64(1), fcinfo))
			hashes += (int64) map->ranges[i].max - map->ranges[i].min + 1;
	PopActiveSnapshot();
	memset(nulls, true, sizeof(nulls));
	values[LEG_HASHES] = Int64GetDatum(hashes);
	nulls[LEG_HASHES] = false;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* Whether a shard's table of events is there; then what is in it. */
static bool
look_at_shard(Oid relid, int64 id, FunctionCallInfo fcinfo)
{
	Relation	events = try_relation_open(relid, AccessShareLock);

	if (events == NULL)
		return false;
	look_for(events, "id", id, fcinfo);
	look_for(events, "cause_id", id, fcinfo);
	relation_close(events, AccessShareLock);
	return true;
}

/* The events that have that id, or that cause. */
static void
look_for(Relation events, const char *column, int64 id, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	AttrNumber	att = get_attnum(RelationGetRelid(events), column);
	List	   *rows;
	ListCell   *cell;

	while (!scan_for(events, att, id, rsinfo->setDesc, &rows))
		CHECK_FOR_INTERRUPTS();
	foreach(cell, rows)
		tuplestore_puttuple(rsinfo->setResult, lfirst(cell));
}

/* Scans for these once; false: something had to be waited for, and all is to be read again. */
static bool
scan_for(Relation events, AttrNumber att, int64 id, TupleDesc desc, List **rows)
{
	SnapshotData dirty;
	SnapshotData seen;
	ScanKeyData key;
	SysScanDesc scan;
	bool		waits = false;

	*rows = NIL;
	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, att, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = systable_beginscan(events, index_on(events, att), true, &dirty, 1, &key);
	while (!waits && HeapTupleIsValid(systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		seen = dirty;
		if (!may_be_leg(events, scan->slot, id))
			continue;
		waits = TransactionIdIsValid(seen.xmin);
		if (!waits && IsolationUsesXactSnapshot() && !table_tuple_satisfies_snapshot(events, scan->slot, GetActiveSnapshot()))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("a leg of the event with id %lld was appended concurrently", (long long) id)));
		*rows = lappend(*rows, row_of(events, scan->slot, desc));
	}
	systable_endscan(scan);
	if (waits)
		pointstore_await_inserter(&seen);
	return !waits;
}

/* An index that has a row for each value of a column which is not null; InvalidOid: none. */
static Oid
index_on(Relation events, AttrNumber att)
{
	List	   *indexes = RelationGetIndexList(events);
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid && index->rd_index->indkey.values[0] == att &&
			has_all(index, att))
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* Whether an index is of all rows, but for those in which that column is null. */
static bool
has_all(Relation index, AttrNumber att)
{
	List	   *conditions = RelationGetIndexPredicate(index);
	NullTest   *test = conditions == NIL ? NULL : linitial(conditions);

	return test == NULL ||
		(list_length(conditions) == 1 && IsA(test, NullTest) && test->nulltesttype == IS_NOT_NULL &&
		 IsA(test->arg, Var) && ((Var *) test->arg)->varattno == att);
}

/* Whether an event has that id, or a place among legs. */
static bool
may_be_leg(Relation events, TupleTableSlot *row, int64 id)
{
	bool		no_id;
	bool		no_leg;
	bool		no_type;
	int64		its_id = DatumGetInt64(value_of(events, row, "id", &no_id));
	int16		leg = DatumGetInt16(value_of(events, row, "leg", &no_leg));
	Datum		type = value_of(events, row, "event_type", &no_type);

	return (!no_id && its_id == id) || (!no_leg && leg >= 1 && !no_type && strcmp(TextDatumGetCString(type), "EventReversed") != 0);
}

static Datum
value_of(Relation events, TupleTableSlot *row, const char *column, bool *isnull)
{
	return slot_getattr(row, get_attnum(RelationGetRelid(events), column), isnull);
}

/* An event as legs_part() tells it. */
static HeapTuple
row_of(Relation events, TupleTableSlot *row, TupleDesc desc)
{
	static const char *const columns[] = {"aggregate_id", "request_id", "id", "version", "amount", "cause_id", "leg", "event_type"};
	Datum		values[N_LEG_COLUMNS] = {0};
	bool		nulls[N_LEG_COLUMNS] = {0};
	int			i;

	for (i = 0; i < lengthof(columns); i++)
		values[i] = value_of(events, row, columns[i], &nulls[i]);
	nulls[LEG_HASHES] = true;
	return heap_form_tuple(desc, values, nulls);
}
