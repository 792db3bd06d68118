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

#include "feed/page.h"
#include "feed/signal.h"
#include "feed/upcast.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/index.h"

#define LONGEST_WAIT 10000		/* ms, until the table is looked at, whatever was told */

PG_FUNCTION_INFO_V1(pointstore_feed_head);
PG_FUNCTION_INFO_V1(pointstore_position_of);
PG_FUNCTION_INFO_V1(pointstore_read_feed);
PG_FUNCTION_INFO_V1(pointstore_wait_for_feed);
PG_FUNCTION_INFO_V1(pointstore_feed_incarnation);
PG_FUNCTION_INFO_V1(pointstore_sequencer_alive);

static int64 read_head(void);
static void put_events(ReturnSetInfo *rsinfo, const FeedPage *page);
static int64 await_head(int64 after, TimestampTz until);

/* feed_head(): the last position given. */
Datum
pointstore_feed_head(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(read_head());
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

/* position_of(event_id): null where it has none. */
Datum
pointstore_position_of(PG_FUNCTION_ARGS)
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

/* read_feed(after, max_events, event_types, aggregate_prefix, raw) */
Datum
pointstore_read_feed(PG_FUNCTION_ARGS)
{
	FeedPage	page = {.upto = PG_INT64_MAX, .until_one = true};
	PointstoreScope scope;

	pointstore_check_arguments(fcinfo, 5);
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
	pointstore_materialize(fcinfo);
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

/* wait_for_feed(after, timeout, head): a procedure, which holds no snapshot while it waits. */
Datum
pointstore_wait_for_feed(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	bool		isnull = false;
	Datum		head;

	pointstore_check_wait(fcinfo, "wait_for_feed()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "after" : "timeout")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	head = Int64GetDatum(await_head(PG_GETARG_INT64(0), pointstore_begin_wait(PG_GETARG_INTERVAL_P(1))));
	SPI_finish();
	return HeapTupleGetDatum(heap_form_tuple(desc, &head, &isnull));
}

/* Waits until the head is above a position, or it is that late. Returns the head. */
static int64
await_head(int64 after, TimestampTz until)
{
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		int64		head;

		PushActiveSnapshot(GetTransactionSnapshot());
		head = read_head();
		PopActiveSnapshot();
		if (head > after || left <= 0)
			return head;
		pointstore_let_go();
		pointstore_await_head(after, Min(left, LONGEST_WAIT));
	}
}

/* feed_incarnation(): the system identifier and the timeline. */
Datum
pointstore_feed_incarnation(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), pointstore_timeline())));
}

/* sequencer_alive(): whether a worker sequences this database. */
Datum
pointstore_sequencer_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pointstore_sequencer_is_alive());
}
