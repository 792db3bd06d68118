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
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/claim.h"
#include "feed/settle.h"
#include "feed/signal.h"
#include "feed/upcast.h"
#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/step.h"
#include "ground/store.h"

#define LONGEST_CLAIM 1000		/* ms, that claim() waits */
#define LONGEST_WAIT 10000		/* ms, until the tables are looked at, whatever was told */
#define N_DELIVERY_COLUMNS (4 + N_EVENT_COLUMNS)

PG_FUNCTION_INFO_V1(pointstore_claim);
PG_FUNCTION_INFO_V1(pointstore_wait_for_work);
PG_FUNCTION_INFO_V1(pointstore_ack);
PG_FUNCTION_INFO_V1(pointstore_nack);
PG_FUNCTION_INFO_V1(pointstore_renew);
PG_FUNCTION_INFO_V1(pointstore_release);

static void begin_member_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb);
static bool claim_or_wait(Subscription *subscription, text *member, int max_events, TimestampTz until, Claim *claim);
static void wait_until(int64 head, TimestampTz next_look, TimestampTz until);
static void put_delivery(ReturnSetInfo *rsinfo, const Claim *claim);
static bool await_work(text *name, TimestampTz until);
static int64 slot_argument(FunctionCallInfo fcinfo, int16 *slot);

/* claim(subscription, member, max_events, wait) */
Datum
pointstore_claim(PG_FUNCTION_ARGS)
{
	Subscription subscription;
	PointstoreScope scope;
	Claim		claim;
	text	   *name;
	text	   *member;
	int			max_events;
	TimestampTz until;

	pointstore_check_arguments(fcinfo, 4);
	name = pointstore_name(fcinfo, 0, "subscription");
	member = pointstore_name(fcinfo, 1, "member");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(2) ? "max_events" : "wait")));
	max_events = PG_GETARG_INT32(2);
	until = pointstore_wait_ends(PG_GETARG_INTERVAL_P(3));
	if (max_events < 1 || until > TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LONGEST_CLAIM))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 max_events < 1 ? errmsg("max_events must be at least 1") : errmsg("claim() waits for a second at most"),
				 max_events < 1 ? 0 : errhint("CALL pointstore.wait_for_work(), which holds no snapshot.")));
	pointstore_materialize(fcinfo);
	begin_member_verb(&scope, &subscription, name, "claim()");
	if (claim_or_wait(&subscription, member, max_events, until, &claim))
		put_delivery((ReturnSetInfo *) fcinfo->resultinfo, &claim);
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* As every verb, but no upcaster's; a projection's member is the worker alone: 42809. */
static void
begin_member_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb)
{
	pointstore_refuse_in_upcaster(verb);
	pointstore_begin_verb(scope, subscription, name, verb);
	if (subscription->handler != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a projection", text_to_cstring(name))));
}

/* Claims what there is, or waits for it, unless it has looked at enough. A snapshot that stays as it was would never show it. */
static bool
claim_or_wait(Subscription *subscription, text *member, int max_events, TimestampTz until, Claim *claim)
{
	for (;;)
	{
		int64		head = pointstore_published_head();

		if (pointstore_claim_events(subscription, member, max_events, claim))
			return true;
		if (claim->unfinished || GetCurrentTimestamp() >= until || IsolationUsesXactSnapshot() || !subscription->running)
			return false;
		wait_until(head, claim->next_look, until);
	}
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
		PointstoreScope scope;
		Subscription subscription;
		TimestampTz next_look;
		bool		ready;

		PushActiveSnapshot(GetTransactionSnapshot());
		old = MemoryContextSwitchTo(context);
		begin_member_verb(&scope, &subscription, name, "wait_for_work()");
		ready = pointstore_is_claimable(&subscription, &next_look);
		pointstore_act_as_caller(&scope);
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

/* ack(subscription, slot, epoch, position): the checkpoint. */
Datum
pointstore_ack(PG_FUNCTION_ARGS)
{
	Subscription subscription;
	PointstoreScope scope;
	int16		slot;
	int64		epoch;
	int64		checkpoint;

	pointstore_check_arguments(fcinfo, 4);
	epoch = slot_argument(fcinfo, &slot);
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("position must not be null")));
	begin_member_verb(&scope, &subscription, PG_GETARG_TEXT_PP(0), "ack()");
	checkpoint = pointstore_ack_claim(&subscription, slot, epoch, PG_GETARG_INT64(3));
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT64(checkpoint);
}

/* The arguments that name a claim: its slot, and the epoch, which is returned. */
static int64
slot_argument(FunctionCallInfo fcinfo, int16 *slot)
{
	(void) pointstore_name(fcinfo, 0, "subscription");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "slot" : "epoch")));
	*slot = PG_GETARG_INT16(1);
	return PG_GETARG_INT64(2);
}

/* nack(subscription, slot, epoch, position, error, action, retry_in) */
Datum
pointstore_nack(PG_FUNCTION_ARGS)
{
	static const char *const actions[] = {"retry", "park", "skip", "stop"};
	Subscription subscription;
	PointstoreScope scope;
	Nack		nack = {0};
	int			action;

	pointstore_check_arguments(fcinfo, 7);
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
	begin_member_verb(&scope, &subscription, PG_GETARG_TEXT_PP(0), "nack()");
	pointstore_nack_claim(&subscription, &nack);
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* renew(subscription, slot, epoch): the end of the lease. */
Datum
pointstore_renew(PG_FUNCTION_ARGS)
{
	Subscription subscription;
	PointstoreScope scope;
	TimestampTz until;
	int16		slot;
	int64		epoch;

	pointstore_check_arguments(fcinfo, 3);
	epoch = slot_argument(fcinfo, &slot);
	begin_member_verb(&scope, &subscription, PG_GETARG_TEXT_PP(0), "renew()");
	until = pointstore_renew_claim(&subscription, slot, epoch);
	pointstore_act_as_caller(&scope);
	PG_RETURN_TIMESTAMPTZ(until);
}

/* release(subscription, slot, epoch, delay) */
Datum
pointstore_release(PG_FUNCTION_ARGS)
{
	Subscription subscription;
	PointstoreScope scope;
	int16		slot;
	int64		epoch;

	pointstore_check_arguments(fcinfo, 4);
	epoch = slot_argument(fcinfo, &slot);
	begin_member_verb(&scope, &subscription, PG_GETARG_TEXT_PP(0), "release()");
	pointstore_release_claim(&subscription, slot, epoch, PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3), false);
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}
