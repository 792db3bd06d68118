/*-------------------------------------------------------------------------
 *
 * src/feed/member.c
 *		What members of a subscription call: claim, ack, nack, renew, release.
 *
 * A member is whoever calls: its name is a label, its epoch what it is judged by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/claim.h"
#include "feed/number.h"
#include "feed/settle.h"
#include "feed/signal.h"
#include "feed/upcast.h"
#include "feed/whose.h"
#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/pointstore.h"
#include "ground/step.h"
#include "ground/store.h"

#define LONGEST_CLAIM 1000		/* ms, that claim() waits */
#define LONGEST_WAIT 10000		/* ms, until the tables are looked at, whatever was told */
#define MOVED_PAUSE 100			/* ms, until another look at a shard that is being moved or split */
#define N_DELIVERY_COLUMNS (4 + N_EVENT_COLUMNS)

PG_FUNCTION_INFO_V1(pointstore_claim);
PG_FUNCTION_INFO_V1(pointstore_wait_for_work);
PG_FUNCTION_INFO_V1(pointstore_ack);
PG_FUNCTION_INFO_V1(pointstore_nack);
PG_FUNCTION_INFO_V1(pointstore_renew);
PG_FUNCTION_INFO_V1(pointstore_release);

/* What claim() is asked for. */
typedef struct Wish
{
	text	   *subscription;
	text	   *member;
	int			max_events;
	TimestampTz until;
} Wish;

/* A round of the places that are here, from where the session has claimed last. */
typedef struct Tour
{
	int64		first;			/* hash with which it has begun */
	int64		next;
	bool		again;			/* from the first place there is on */
	bool		visited;		/* one */
	bool		passed;			/* one that is being moved or split, or was just now */
} Tour;

static int64 tours_begin = PG_INT64_MIN;

static bool begin_member_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb);
static void begin_tour(Tour *tour);
static bool go_on(Tour *tour);
static bool claim_or_wait(const Wish *wish, Claim *claim);
static bool claim_once(const Wish *wish, Claim *claim);
static Datum settle_here(FunctionCallInfo fcinfo, FeedCall settle);
static Datum ack_here(FunctionCallInfo fcinfo);
static Datum nack_here(FunctionCallInfo fcinfo);
static Datum renew_here(FunctionCallInfo fcinfo);
static Datum release_here(FunctionCallInfo fcinfo);
static void begin_settling(PointstoreScope *scope, Subscription *subscription, FunctionCallInfo fcinfo, const char *verb);
static bool look_for_work(text *name, TimestampTz *next_look);
static void wait_until(int64 head, TimestampTz next_look, TimestampTz until);
static void put_delivery(ReturnSetInfo *rsinfo, const Claim *claim);
static bool await_work(text *name, TimestampTz until);
static int64 slot_argument(FunctionCallInfo fcinfo, int16 *slot);

/* claim(subscription, member, max_events, wait) */
Datum
pointstore_claim(PG_FUNCTION_ARGS)
{
	PointstorePlace before = pointstore_here();
	Claim		claim;
	Wish		wish;

	pointstore_check_arguments(fcinfo, 4);
	wish.subscription = pointstore_name(fcinfo, 0, "subscription");
	wish.member = pointstore_name(fcinfo, 1, "member");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(2) ? "max_events" : "wait")));
	wish.max_events = PG_GETARG_INT32(2);
	wish.until = pointstore_wait_ends(PG_GETARG_INTERVAL_P(3));
	if (wish.max_events < 1 || wish.until > TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LONGEST_CLAIM))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 wish.max_events < 1 ? errmsg("max_events must be at least 1") : errmsg("claim() waits for a second at most"),
				 wish.max_events < 1 ? 0 : errhint("CALL pointstore.wait_for_work(), which holds no snapshot.")));
	pointstore_materialize(fcinfo);
	PG_TRY();
	{
		if (claim_or_wait(&wish, &claim))
			put_delivery((ReturnSetInfo *) fcinfo->resultinfo, &claim);
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* As every verb, but no upcaster's; a projection's member is the worker alone: 42809. False: see pointstore_begin_verb(). */
static bool
begin_member_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb)
{
	pointstore_refuse_in_upcaster(verb);
	if (!pointstore_begin_verb(scope, subscription, name, verb))
		return false;
	if (subscription->handler != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a projection", text_to_cstring(name))));
	return true;
}

/* From where the last tour has come to: so each place has its turn. */
static void
begin_tour(Tour *tour)
{
	/* sessions begin in different ones */
	if (tours_begin == PG_INT64_MIN)
		tours_begin = (int64) (hash_bytes_uint32(MyProcPid)) + POINTSTORE_FIRST_HASH;
	*tour = (Tour) {.first = tours_begin, .next = tours_begin};
}

/* Goes to the next place; false: there is none left. A plain store is one. PS013 where none is here at all. */
static bool
go_on(Tour *tour)
{
	bool		found = pointstore_next_free_place(&tour->next, &tour->passed);

	if (!found && !tour->again)
	{
		tour->again = true;
		tour->next = POINTSTORE_FIRST_HASH;
		found = pointstore_is_distributed() && pointstore_next_free_place(&tour->next, &tour->passed);
	}
	found = found && !(tour->again && pointstore_here().max >= tour->first);
	tour->visited |= found;
	/* the next one begins behind this, whatever comes of it */
	if (found && pointstore_here().is_range)
		tours_begin = tour->next > PG_INT32_MAX ? POINTSTORE_FIRST_HASH : tour->next;
	if (!found && !tour->visited && !tour->passed)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
				 errmsg("no shard of the store is on this node"),
				 errhint("Members connect to the nodes that pointstore.shard_map shows.")));
	return found;
}

/* Claims what there is, or waits for it, unless it has looked at enough. A snapshot that stays as it was would never show it. */
static bool
claim_or_wait(const Wish *wish, Claim *claim)
{
	for (;;)
	{
		int64		head = pointstore_published_head();

		if (claim_once(wish, claim))
			return true;
		if (claim->unfinished || GetCurrentTimestamp() >= wish->until || IsolationUsesXactSnapshot() || claim->paused)
			return false;
		wait_until(head, claim->next_look, wish->until);
	}
}

/* Looks at all places that are here, until one has something. */
static bool
claim_once(const Wish *wish, Claim *claim)
{
	Claim		all = {.next_look = DT_NOEND, .paused = true};
	bool		found = false;
	Tour		tour;

	begin_tour(&tour);
	while (!found && go_on(&tour))
	{
		Subscription subscription;
		PointstoreScope scope;

		if (!begin_member_verb(&scope, &subscription, wish->subscription, "claim()"))
		{
			tour.passed = true;
			continue;
		}
		found = pointstore_claim_events(&subscription, wish->member, wish->max_events, claim);
		pointstore_act_as_caller(&scope);
		all.next_look = Min(all.next_look, claim->next_look);
		all.unfinished |= claim->unfinished;
		all.paused &= !subscription.running;
	}
	if (found)
		return true;
	*claim = all;
	if (tour.passed)
		claim->next_look = Min(claim->next_look, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MOVED_PAUSE));
	return false;
}

/* Waits until the head is above what it was, or something is due, or it is that late. */
static void
wait_until(int64 head, TimestampTz next_look, TimestampTz until)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), Min(next_look, until));

	pointstore_await_head(head, Min(left + 1, LONGEST_WAIT));
	CHECK_FOR_INTERRUPTS();
}

/* What was claimed as rows of type delivery. */
static void
put_delivery(ReturnSetInfo *rsinfo, const Claim *claim)
{
	Datum		values[N_DELIVERY_COLUMNS];
	bool		nulls[N_DELIVERY_COLUMNS] = {false};
	int			i;

	values[0] = Int16GetDatum(claim->slot);
	values[1] = Int64GetDatum(claim->epoch);
	values[2] = Int32GetDatum(claim->attempt);
	for (i = 0; i < claim->page.nevents; i++)
	{
		CHECK_FOR_INTERRUPTS();
		values[3] = Int64GetDatum(claim->page.events[i].position);
		heap_deform_tuple(claim->page.events[i].row, claim->page.desc, values + 4, nulls + 4);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* wait_for_work(subscription, timeout, ready): a procedure, which holds no snapshot while it waits. */
Datum
pointstore_wait_for_work(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	bool		isnull = false;
	text	   *name;
	Datum		ready;

	pointstore_check_wait(fcinfo, "wait_for_work()");
	name = pointstore_name(fcinfo, 0, "subscription");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	ready = BoolGetDatum(await_work(name, pointstore_begin_wait(PG_GETARG_INTERVAL_P(1))));
	SPI_finish();
	return HeapTupleGetDatum(heap_form_tuple(desc, &ready, &isnull));
}

/* Waits until there is something to claim, or it is that late. */
static bool
await_work(text *name, TimestampTz until)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pointstore wait for work", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		MemoryContext old;
		int64		head = pointstore_published_head();
		TimestampTz next_look;
		bool		ready;

		PushActiveSnapshot(GetTransactionSnapshot());
		old = MemoryContextSwitchTo(context);
		ready = look_for_work(name, &next_look);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		PopActiveSnapshot();
		if (ready || GetCurrentTimestamp() >= until)
			return ready;
		pointstore_let_go();
		if (next_look != DT_NOBEGIN)
			wait_until(head, next_look, until);
	}
}

/* Whether there is something in any place that is here; else when the next look is worth it. */
static bool
look_for_work(text *name, TimestampTz *next_look)
{
	PointstorePlace before = pointstore_here();
	bool		ready = false;
	Tour		tour;

	*next_look = DT_NOEND;
	PG_TRY();
	{
		begin_tour(&tour);
		while (!ready && go_on(&tour))
		{
			Subscription subscription;
			PointstoreScope scope;
			TimestampTz next;

			if (!begin_member_verb(&scope, &subscription, name, "wait_for_work()"))
			{
				tour.passed = true;
				continue;
			}
			ready = pointstore_is_claimable(&subscription, &next);
			pointstore_act_as_caller(&scope);
			*next_look = Min(*next_look, next);
		}
		if (tour.passed)
			*next_look = Min(*next_look, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MOVED_PAUSE));
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	return ready;
}

/* Settles a claim where its slot is: 22023, PS013. */
static Datum
settle_here(FunctionCallInfo fcinfo, FeedCall settle)
{
	PointstorePlace before = pointstore_here();
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = settle(fcinfo);
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	return result;
}

/* ack(subscription, slot, epoch, position): the checkpoint. */
Datum
pointstore_ack(PG_FUNCTION_ARGS)
{
	pointstore_check_arguments(fcinfo, 4);
	return settle_here(fcinfo, ack_here);
}

static Datum
ack_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;
	int16		slot;
	int64		epoch;
	int64		checkpoint;

	epoch = slot_argument(fcinfo, &slot);
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("position must not be null")));
	begin_settling(&scope, &subscription, fcinfo, "ack()");
	checkpoint = pointstore_ack_claim(&subscription, slot, epoch, PG_GETARG_INT64(3));
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT64(checkpoint);
}

/* A shard that cannot take over the subscription yet has taken over no claim: PS014. */
static void
begin_settling(PointstoreScope *scope, Subscription *subscription, FunctionCallInfo fcinfo, const char *verb)
{
	if (!begin_member_verb(scope, subscription, PG_GETARG_TEXT_PP(0), verb))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_LEASE_LOST),
				 errmsg("slot %d of subscription \"%s\" is not claimed any more", PG_GETARG_INT16(1), text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errdetail("subscription=%s, slot=%d, epoch=%lld", text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT16(1),
						   (long long) PG_GETARG_INT64(2))));
}

/* The arguments that name a claim: its slot, where it is, and the epoch, which is returned. */
static int64
slot_argument(FunctionCallInfo fcinfo, int16 *slot)
{
	(void) pointstore_name(fcinfo, 0, "subscription");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "slot" : "epoch")));
	*slot = pointstore_go_to_slot(PG_GETARG_TEXT_PP(0), PG_GETARG_INT16(1));
	return PG_GETARG_INT64(2);
}

/* nack(subscription, slot, epoch, position, error, action, retry_in) */
Datum
pointstore_nack(PG_FUNCTION_ARGS)
{
	pointstore_check_arguments(fcinfo, 7);
	return settle_here(fcinfo, nack_here);
}

static Datum
nack_here(FunctionCallInfo fcinfo)
{
	static const char *const actions[] = {"retry", "park", "skip", "stop"};
	Subscription subscription;
	PointstoreScope scope;
	Nack		nack = {0};
	int			action;

	nack.epoch = slot_argument(fcinfo, &nack.slot);
	if (PG_ARGISNULL(3) || PG_ARGISNULL(5))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(3) ? "position" : "action")));
	nack.position = PG_GETARG_INT64(3);
	nack.error = PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4);
	action = pointstore_place(PG_GETARG_TEXT_PP(5), actions, lengthof(actions));
	nack.retry_in = PG_ARGISNULL(6) ? NULL : PG_GETARG_INTERVAL_P(6);
	if (action < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown action \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(5))),
				 errhint("The actions are retry, park, skip and stop.")));
	nack.action = actions[action];
	begin_settling(&scope, &subscription, fcinfo, "nack()");
	pointstore_nack_claim(&subscription, &nack);
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* renew(subscription, slot, epoch): the end of the lease. */
Datum
pointstore_renew(PG_FUNCTION_ARGS)
{
	pointstore_check_arguments(fcinfo, 3);
	return settle_here(fcinfo, renew_here);
}

static Datum
renew_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;
	TimestampTz until;
	int16		slot;
	int64		epoch;

	epoch = slot_argument(fcinfo, &slot);
	begin_settling(&scope, &subscription, fcinfo, "renew()");
	until = pointstore_renew_claim(&subscription, slot, epoch);
	pointstore_act_as_caller(&scope);
	PG_RETURN_TIMESTAMPTZ(until);
}

/* release(subscription, slot, epoch, delay) */
Datum
pointstore_release(PG_FUNCTION_ARGS)
{
	pointstore_check_arguments(fcinfo, 4);
	return settle_here(fcinfo, release_here);
}

static Datum
release_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;
	int16		slot;
	int64		epoch;

	epoch = slot_argument(fcinfo, &slot);
	begin_settling(&scope, &subscription, fcinfo, "release()");
	pointstore_release_claim(&subscription, slot, epoch, PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3), false);
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}
