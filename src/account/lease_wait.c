/*-------------------------------------------------------------------------
 *
 * src/account/lease_wait.c
 *		wait_for_lease(): leases in the order in which they were asked for.
 *
 * Who waits looks at the lease in transactions of his own, when it is his turn (lease_queue.c), and sleeps in between, in no
 * transaction that anybody would have to wait for. He is woken when the lease has changed hands or has ended with its
 * session, and wakes himself when it expires. Where nobody would tell he looks again after a while: of a session that
 * lives on and has given up its locks, and of prepared transactions that have checked, renewed or released the lease.
 *
 * Without preloading there is no order, and nobody is woken: each looks again and again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/lease.h"
#include "account/lease_queue.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_wait_for_lease);

#define FIRST_PAUSE 10			/* ms, where nobody tells that it is worth to look again; doubled each time */
#define LONGEST_PAUSE 1000
#define LONGEST_WAIT 60000L		/* so that a clock that was set is noticed */

static bool await_lease(LeaseRequest *request, Lease *lease, TimestampTz until);
static LeaseOutcome look(const LeaseRequest *request, Lease *lease);
static void leave(int code, Datum arg);

/* wait_for_lease(name, holder, ttl, wait, token, expires_at): see the install script. */
Datum
pointstore_wait_for_lease(PG_FUNCTION_ARGS)
{
	LeaseRequest request = {.in_turn = true};
	Lease		lease = {0};
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];
	volatile bool taken = false;
	TimestampTz until;

	pointstore_check_wait(fcinfo, "wait_for_lease()");
	PreventCommandIfReadOnly("wait_for_lease()");
	pointstore_read_lease_request(fcinfo, &request);
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("wait must not be null")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	until = pointstore_begin_wait(PG_GETARG_INTERVAL_P(3));
	PG_ENSURE_ERROR_CLEANUP(leave, (Datum) 0);
	{
		taken = await_lease(&request, &lease, until);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave, (Datum) 0);
	pointstore_lease_queue_leave();
	values[0] = Int64GetDatum(lease.token);
	values[1] = TimestampTzGetDatum(lease.expires_at);
	nulls[0] = !taken;
	nulls[1] = !taken || lease.of_session;
	SPI_finish();
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static void
leave(int code, Datum arg)
{
	pointstore_lease_queue_leave();
}

/* Waits until the lease is the caller's, true, or it is that late. */
static bool
await_lease(LeaseRequest *request, Lease *lease, TimestampTz until)
{
	static uint32 wait_event = 0;
	long		pause = FIRST_PAUSE;
	bool		in_order = pointstore_lease_queue_enter(request->name);

	for (;;)
	{
		TimestampTz again = DT_NOEND;
		LeaseOutcome outcome = LEASE_HELD;
		TimestampTz now;

		if (pointstore_lease_queue_is_first())
		{
			outcome = look(request, lease);
			if (outcome == LEASE_TAKEN)
				return true;
			if (outcome == LEASE_HELD && !lease->of_session)
				again = lease->expires_at;
			if (outcome == LEASE_BLOCKED || lease->of_session || lease->is_changing || !in_order)
			{
				again = Min(again, GetCurrentTimestamp() + pause * 1000);
				pause = Min(pause * 2, LONGEST_PAUSE);
			}
		}
		now = GetCurrentTimestamp();
		if (now >= until)
			return false;
		if (again <= now)
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(TimestampDifferenceMilliseconds(now, Min(again, until)) + 1, LONGEST_WAIT),
						 pointstore_wait_event(&wait_event, "PointstoreLease"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* One look at the lease, in a transaction that takes it where that may be. */
static LeaseOutcome
look(const LeaseRequest *request, Lease *lease)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pointstore lease", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PointstoreScope scope;
	LeaseOutcome outcome;

	/* until it is known: who has checked the lease may end just after the look */
	pointstore_lease_queue_is_blocked(true);
	pointstore_next_step();
	MemoryContextSwitchTo(context);
	pointstore_act_as_owner_of_leases(&scope);
	outcome = pointstore_take_lease(lease, request);
	pointstore_act_as_caller(&scope);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	pointstore_lease_queue_is_blocked(outcome == LEASE_BLOCKED);
	pointstore_let_go();
	return outcome;
}
