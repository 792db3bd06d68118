/*-------------------------------------------------------------------------
 *
 * src/feed/feed.c
 *		The feed, for SQL: read_feed() and what goes with it. All of it on a standby too.
 *
 * These read as the owner of the store, in a security-restricted operation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/block.h"
#include "feed/page.h"
#include "feed/signal.h"
#include "feed/upcast.h"
#include "feed/whose.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/index.h"

#define LONGEST_WAIT 10000		/* ms, until the table is looked at, whatever was told */
#define SHARD_INTERVAL 100		/* ms, the same of a shard, which may be on another node */

PG_FUNCTION_INFO_V1(pointstore_feed_head);
PG_FUNCTION_INFO_V1(pointstore_position_of);
PG_FUNCTION_INFO_V1(pointstore_read_feed);
PG_FUNCTION_INFO_V1(pointstore_wait_for_feed);
PG_FUNCTION_INFO_V1(pointstore_feed_incarnation);
PG_FUNCTION_INFO_V1(pointstore_sequencer_alive);

static Datum head_here(FunctionCallInfo fcinfo);
static Datum position_here(FunctionCallInfo fcinfo);
static Datum read_here(FunctionCallInfo fcinfo);
static Datum incarnation_here(FunctionCallInfo fcinfo);
static int64 read_head(void);
static void put_events(ReturnSetInfo *rsinfo, const FeedPage *page);
static int64 await_head(int64 after, TimestampTz until, int64 shard);
static int64 read_head_of(int64 shard);

/* feed_head(shard): the last position given. */
Datum
pointstore_feed_head(PG_FUNCTION_ARGS)
{
	return pointstore_call_of_feed(fcinfo, 1, head_here);
}

static Datum
head_here(FunctionCallInfo fcinfo)
{
	return Int64GetDatum(read_head());
}

static int64
read_head(void)
{
	PointstoreScope scope;
	int64		head;

	pointstore_act_as_reader(&scope);
	SPI_connect();
	head = pointstore_head();
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return head;
}

/* position_of(event_id, shard): null where it has none. */
Datum
pointstore_position_of(PG_FUNCTION_ARGS)
{
	return pointstore_call_of_feed(fcinfo, 2, position_here);
}

static Datum
position_here(FunctionCallInfo fcinfo)
{
	PointstoreScope scope;
	int64		position;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event_id must not be null")));
	pointstore_act_as_reader(&scope);
	pointstore_use_indexes();
	SPI_connect();
	position = pointstore_position(PG_GETARG_INT64(0));
	SPI_finish();
	pointstore_act_as_caller(&scope);
	if (position == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(position);
}

/* read_feed(after, max_events, event_types, aggregate_prefix, raw, shard) */
Datum
pointstore_read_feed(PG_FUNCTION_ARGS)
{
	pointstore_materialize(fcinfo);
	return pointstore_call_of_feed(fcinfo, 6, read_here);
}

static Datum
read_here(FunctionCallInfo fcinfo)
{
	FeedPage	page = {.upto = PG_INT64_MAX, .until_one = true};
	PointstoreScope scope;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "after" : PG_ARGISNULL(1) ? "max_events" : "raw")));
	page.after = PG_GETARG_INT64(0);
	page.max_events = PG_GETARG_INT32(1);
	if (page.after < 0 || page.max_events < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", page.after < 0 ? "after" : "max_events")));
	page.event_types = PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2);
	page.prefix = PG_ARGISNULL(3) ? 0 : PG_GETARG_DATUM(3);
	pointstore_act_as_reader(&scope);
	pointstore_read_page(&page);
	if (!PG_GETARG_BOOL(4))
		pointstore_upcast_page(&page);
	pointstore_act_as_caller(&scope);
	put_events((ReturnSetInfo *) fcinfo->resultinfo, &page);
	return (Datum) 0;
}

/* Events as rows of type feed_event. */
static void
put_events(ReturnSetInfo *rsinfo, const FeedPage *page)
{
	Datum		values[N_EVENT_COLUMNS + 2];
	bool		nulls[N_EVENT_COLUMNS + 2] = {false};
	int			i;

	for (i = 0; i < page->nevents; i++)
	{
		CHECK_FOR_INTERRUPTS();
		values[0] = Int64GetDatum(page->events[i].position);
		heap_deform_tuple(page->events[i].row, page->desc, values + 1, nulls + 1);
		values[N_EVENT_COLUMNS + 1] = Int64GetDatum(page->read_to);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* wait_for_feed(after, timeout, head, shard): a procedure, which holds no snapshot while it waits. */
Datum
pointstore_wait_for_feed(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	bool		isnull = false;
	Datum		head;
	int64		shard;

	pointstore_check_arguments(fcinfo, 4);
	pointstore_check_wait(fcinfo, "wait_for_feed()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "after" : "timeout")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	shard = pointstore_shard_of_call(fcinfo);
	head = Int64GetDatum(await_head(PG_GETARG_INT64(0), pointstore_begin_wait(PG_GETARG_INTERVAL_P(1)), shard));
	SPI_finish();
	return HeapTupleGetDatum(heap_form_tuple(desc, &head, &isnull));
}

/* Waits until the head is above a position, or it is that late. Returns the head. Of shards it is told that some feed here has moved. */
static int64
await_head(int64 after, TimestampTz until, int64 shard)
{
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		int64		told = shard == NO_SHARD ? after : pointstore_published_head();
		int64		head;

		PushActiveSnapshot(GetTransactionSnapshot());
		head = shard == NO_SHARD ? read_head() : read_head_of(shard);
		PopActiveSnapshot();
		if (head > after || left <= 0)
			return head;
		pointstore_let_go();
		pointstore_await_head(told, Min(left, shard == NO_SHARD ? LONGEST_WAIT : SHARD_INTERVAL));
	}
}

/* The head of a shard's feed, wherever that is, as the caller. */
static int64
read_head_of(int64 shard)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(shard);
	bool		isnull;
	int64		head;

	SPI_connect();
	if (SPI_execute_with_args("SELECT pointstore.feed_head($1)", 1, &type, &value, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the head of shard %lld", (long long) shard);
	head = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return head;
}

/* feed_incarnation(shard): the system identifier and the timeline; before them of what hashes a shard's is. */
Datum
pointstore_feed_incarnation(PG_FUNCTION_ARGS)
{
	return pointstore_call_of_feed(fcinfo, 1, incarnation_here);
}

static Datum
incarnation_here(FunctionCallInfo fcinfo)
{
	PointstorePlace place = pointstore_here();
	Incarnation incarnation;
	PointstoreScope scope;

	if (place.is_range)
	{
		pointstore_act_as_reader(&scope);
		SPI_connect();
		pointstore_read_incarnation(&incarnation);
		SPI_finish();
		pointstore_act_as_caller(&scope);
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("%d..%d/%s", place.min, place.max, incarnation.given)));
	}
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), pointstore_timeline())));
}

/* sequencer_alive(): whether a worker sequences this database. */
Datum
pointstore_sequencer_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pointstore_sequencer_is_alive());
}
