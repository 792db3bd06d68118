/*-------------------------------------------------------------------------
 *
 * src/feed/status.c
 *		How far subscriptions are behind.
 *
 * The events of all slots are counted in one pass over the feed, from the first checkpoint on. It
 * ends after 100,000 positions; of what is beyond them there is taken to be as much in proportion. Those that wait with
 * an account that is set aside are not counted: the slot passes them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/delivery.h"
#include "feed/everywhere.h"
#include "feed/number.h"
#include "feed/page.h"
#include "feed/slot.h"
#include "feed/subscription.h"
#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_subscription_lag);
PG_FUNCTION_INFO_V1(pointstore_subscription_slots);
PG_FUNCTION_INFO_V1(pointstore_subscription_waiting);

typedef struct SlotLag
{
	int64		events;
	TimestampTz since;			/* created_at of the first */
} SlotLag;

typedef struct Count
{
	int			n;
	const Slot *slots;
	SlotLag    *lags;
	Wanted	  **wanted;			/* of each slot */
} Count;

static void count_events(const Subscription *subscription, Count *count);
static bool count_event(const FeedEvent *event, TupleDesc desc, void *arg);
static void put_lags(ReturnSetInfo *rsinfo, const Count *count);
static Datum slots_here(FunctionCallInfo fcinfo);
static Datum waiting_here(FunctionCallInfo fcinfo);
static void put_rows(FunctionCallInfo fcinfo, PointstorePlan *plan);

/* subscription_lag(name): of each slot the events after its checkpoint; nothing where there is no such subscription. */
Datum
pointstore_subscription_lag(PG_FUNCTION_ARGS)
{
	Subscription subscription;
	PointstoreScope scope;
	Count		count = {0};
	text	   *name;

	pointstore_check_arguments(fcinfo, 1);
	name = pointstore_name(fcinfo, 0, "name");
	pointstore_materialize(fcinfo);
	pointstore_act_as_reader(&scope);
	(void) pointstore_push_snapshot();
	if (pointstore_find_subscription(&subscription, name))
	{
		count.n = subscription.slots;
		count.slots = pointstore_read_slots(name, count.n);
		count.lags = palloc0(sizeof(SlotLag) * count.n);
		count_events(&subscription, &count);
	}
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
	put_lags((ReturnSetInfo *) fcinfo->resultinfo, &count);
	return (Datum) 0;
}

static void
count_events(const Subscription *subscription, Count *count)
{
	FeedPage	page = {.after = PG_INT64_MAX, .upto = PG_INT64_MAX, .max_events = PAGE_POSITIONS, .wants = count_event, .arg = count,
		.event_types = subscription->event_types, .prefix = subscription->prefix};
	int			i;

	count->wanted = palloc(sizeof(Wanted *) * count->n);
	for (i = 0; i < count->n; i++)
	{
		count->wanted[i] = pointstore_new_events(subscription, &count->slots[i]);
		if (ItemPointerIsValid((ItemPointer) &count->slots[i].place))
			page.after = Min(page.after, count->slots[i].checkpoint);
	}
	pointstore_read_page(&page);
	for (i = 0; i < count->n; i++)
	{
		int64		seen = page.read_to - Max(count->slots[i].checkpoint, page.after);

		if (page.read_to >= page.upto)
			continue;
		if (seen > 0)
			count->lags[i].events += (double) count->lags[i].events / seen * (page.upto - page.read_to);
		else
			count->lags[i].events = (page.upto - count->slots[i].checkpoint) / count->n;
	}
}

static bool
count_event(const FeedEvent *event, TupleDesc desc, void *arg)
{
	Count	   *count = arg;
	bool		isnull;
	Datum		id = heap_getattr(event->row, EV_AGGREGATE_ID + 1, desc, &isnull);
	int16		slot = isnull ? 0 : pointstore_slot_of(DatumGetTextPP(id), count->n);
	SlotLag    *lag = &count->lags[slot];

	if (event->position <= count->slots[slot].checkpoint || !pointstore_is_new(event, desc, count->wanted[slot]))
		return false;
	if (lag->events++ == 0)
		lag->since = DatumGetTimestampTz(heap_getattr(event->row, EV_CREATED_AT + 1, desc, &isnull));
	return false;
}

static void
put_lags(ReturnSetInfo *rsinfo, const Count *count)
{
	int			i;

	for (i = 0; i < count->n; i++)
	{
		Datum		values[3] = {Int16GetDatum(i), Int64GetDatum(count->lags[i].events), TimestampTzGetDatum(count->lags[i].since)};
		bool		nulls[3] = {false, false, count->lags[i].since == 0};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* subscription_slots(): what subscription_status shows of a distributed store. */
Datum
pointstore_subscription_slots(PG_FUNCTION_ARGS)
{
	pointstore_require_shards();
	pointstore_materialize(fcinfo);
	(void) pointstore_call_in_shards(fcinfo, 0, slots_here);
	return (Datum) 0;
}

static Datum
slots_here(FunctionCallInfo fcinfo)
{
	static PointstorePlan plan = {
		.sql = "SELECT s.name, $1, s.status, k.checkpoint, g.events, g.since, k.member, k.epoch, k.leased_until, coalesce(a.blocked, 0),"
		"   coalesce(a.parked, 0), s.last_error"
		"  FROM (SELECT * FROM pointstore.subscription WHERE " OF_THIS_FEED ") s JOIN pointstore.subscription_slot k ON k.subscription" EQ "s.name AND k.slot" EQ "0 AND k.place" EQ "s.place,"
		"   LATERAL pointstore.subscription_lag(s.name) g,"
		"   LATERAL (SELECT pg_catalog.count(DISTINCT r.aggregate_id) AS blocked, pg_catalog.count(e.version) FILTER (WHERE r.state" EQ "'parked') AS parked"
		"     FROM pointstore.subscription_account r LEFT JOIN pointstore.event_store e ON e.aggregate_id" EQ "r.aggregate_id AND e.version" GE "r.version"
		"       AND (s.event_types IS NULL OR e.event_type" EQ "ANY (s.event_types))"
		"    WHERE r.subscription" EQ "s.name AND r.slot" EQ "0) a"
		" WHERE s.handler IS NULL",
		.nargs = 1, .argtypes = {INT2OID}
	};

	put_rows(fcinfo, &plan);
	return (Datum) 0;
}

/* subscription_waiting(): what subscription_retry shows of one. */
Datum
pointstore_subscription_waiting(PG_FUNCTION_ARGS)
{
	pointstore_require_shards();
	pointstore_materialize(fcinfo);
	(void) pointstore_call_in_shards(fcinfo, 0, waiting_here);
	return (Datum) 0;
}

static Datum
waiting_here(FunctionCallInfo fcinfo)
{
	static PointstorePlan plan = {
		.sql = "SELECT a.subscription, $1, a.aggregate_id, a.position, a.state, a.attempts, a.next_try, a.error,"
		"   (SELECT pg_catalog.count(*) FROM pointstore.event_store e WHERE e.aggregate_id" EQ "a.aggregate_id AND e.version" GE "a.version"
		"      AND (s.event_types IS NULL OR e.event_type" EQ "ANY (s.event_types)))"
		"  FROM pointstore.subscription_account a JOIN (SELECT name, event_types FROM pointstore.subscription WHERE " OF_THIS_FEED ") s ON s.name" EQ "a.subscription",
		.nargs = 1, .argtypes = {INT2OID}
	};

	put_rows(fcinfo, &plan);
	return (Datum) 0;
}

/* Rows of the shard where we stay, with the number of its slot. */
static void
put_rows(FunctionCallInfo fcinfo, PointstorePlan *plan)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		number = Int16GetDatum(pointstore_number_of_slot(0));
	PointstoreScope scope;
	uint64		i;

	pointstore_act_as_reader(&scope);
	(void) pointstore_push_snapshot();
	SPI_connect();
	pointstore_execute(plan, &number, NULL, true);
	for (i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
}
