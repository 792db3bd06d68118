/*-------------------------------------------------------------------------
 *
 * src/submit/submit.c
 *		Combined append: submit_event() hands its event, and submit_transfer()
 *		its two legs, to a background worker, the combiner of its database, which
 *		appends what all waiting callers have brought in one transaction and
 *		answers each by itself.
 *
 * Under a row lock an account takes one commit after another. The combiner
 * takes the lock once for all requests that wait, and it does not wait for the disk: it
 * commits asynchronously and goes on with the next batch, while one of the
 * callers, the leader, flushes WAL for all of that batch and wakes the others.
 * Each then waits for the standbys that must confirm, and returns. The rules
 * are those of append.c.
 *
 * A caller that is cancelled or terminated while its request waits takes it back, and
 * nothing has happened; later, the request is applied or refused as if the caller were
 * there (queue.c). A request that is given back, one too large for a slot, and one that gets no
 * slot or no combiner is appended plainly, with the same answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "append/append.h"
#include "append/batch.h"
#include "append/judge.h"
#include "append/leased.h"
#include "append/merge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/spread.h"
#include "ground/compat.h"
#include "ground/scan.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "money/transfer.h"
#include "submit/combiner.h"
#include "submit/message.h"
#include "submit/queue.h"
#include "submit/submit.h"

PG_FUNCTION_INFO_V1(pointstore_submit_event);
PG_FUNCTION_INFO_V1(pointstore_try_submit_event);
PG_FUNCTION_INFO_V1(pointstore_submit_transfer);
PG_FUNCTION_INFO_V1(pointstore_try_submit_transfer);

#define LOOK_AFTER	1000	/* ms that a caller sleeps before it looks for its combiner again */

static bool appended_plainly = false;	/* in this transaction */
static bool appending = false;	/* plainly: what submits now is a trigger */
static uint32 submit_wait = 0;

static Datum submit_event(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum submit_transfer(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static void begin_submit(const char *function);
static bool submit(ProposedEvent *events, Decision *decisions, int n);
static bool combine(const ProposedEvent *events, Decision *decisions, int n);
static bool await_answer(Slot *slot);
static void leave(int code, Datum slot);
static void count_wait(instr_time since);

/* submit_event(...): see the install script. */
Datum
pointstore_submit_event(PG_FUNCTION_ARGS)
{
	return submit_event(fcinfo, false);
}

/* try_submit_event(...): the same, refusals as outcomes. */
Datum
pointstore_try_submit_event(PG_FUNCTION_ARGS)
{
	return submit_event(fcinfo, true);
}

static Datum
submit_event(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	ProposedEvent event = {0};
	Decision	decision;
	Datum		result;

	begin_submit("submit_event()");
	pointstore_read_arguments(fcinfo, &event);
	if (submit(&event, &decision, 1))
		return pointstore_answer(&event, &decision, refusals_are_outcomes);
	appending = true;
	result = pointstore_append_one(&event, refusals_are_outcomes);
	appending = false;
	return result;
}

/* submit_transfer(...): see the install script. */
Datum
pointstore_submit_transfer(PG_FUNCTION_ARGS)
{
	return submit_transfer(fcinfo, false);
}

/* try_submit_transfer(...): the same, refusals as outcomes. */
Datum
pointstore_try_submit_transfer(PG_FUNCTION_ARGS)
{
	return submit_transfer(fcinfo, true);
}

static Datum
submit_transfer(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	ProposedEvent legs[POINTSTORE_TRANSFER_LEGS] = {{0}};
	Decision	decisions[POINTSTORE_TRANSFER_LEGS];
	Batch		batch = {
		.proposals = legs, .decisions = decisions, .nevents = POINTSTORE_TRANSFER_LEGS,
		.refusals_are_outcomes = refusals_are_outcomes
	};
	Datum		result;
	int			i;

	begin_submit("submit_transfer()");
	pointstore_read_transfer(fcinfo, legs);
	if (!submit(legs, decisions, POINTSTORE_TRANSFER_LEGS))
	{
		appending = true;
		result = pointstore_append_transfer(fcinfo, legs, refusals_are_outcomes);
		appending = false;
		return result;
	}
	for (i = 0; i < POINTSTORE_TRANSFER_LEGS; i++)
		if (decisions[i].outcome > OUTCOME_REPLAYED && decisions[i].outcome != OUTCOME_WITHDRAWN)
			batch.refused = &decisions[i];
	pointstore_raise_refused(&batch);
	return pointstore_answer_all(fcinfo, &batch);
}

/* What is submitted stays, so it cannot be part of a transaction that may be rolled back: 25001. */
static void
begin_submit(const char *function)
{
	PreventCommandIfReadOnly(function);
	if (pointstore_is_combiner() || appending || pointstore_in_block() || (!appended_plainly && pointstore_has_written()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s commits by itself and cannot run inside a transaction block, nor after a write", function),
				 errhint("append_event() and transfer() are part of the transaction that they are called in.")));
}

/*
 * Has a request decided. False: it is the caller's to be appended plainly, as it is where
 * it cannot be combined, and in a transaction that has done so already, whose locks a
 * combiner would wait for.
 */
static bool
submit(ProposedEvent *events, Decision *decisions, int n)
{
	text	   *tokens = pointstore_lease_setting();
	Batch		batch = {.proposals = events, .nevents = n};
	int			i;

	for (i = 0; i < n; i++)
	{
		events[i].role = GetOuterUserId();
		events[i].lease_tokens = tokens;
		events[i].has_merge_limit = true;
		events[i].merge_limit = pointstore_merge_limit();
	}
	if (!appended_plainly && !pointstore_is_spread(&batch) && combine(events, decisions, n))
		return true;
	appended_plainly = true;
	ForceSyncCommit();
	return false;
}

/* At the end of each transaction. */
void
pointstore_forget_plain_submits(void)
{
	appended_plainly = appending = false;
}

/*
 * Has a request decided by the combiner: true, and its outcome is durable; an
 * error of it is raised here. False: nothing has been done.
 */
static bool
combine(const ProposedEvent *events, Decision *decisions, int n)
{
	Slot	   *slot;
	ErrorData  *volatile error = NULL;
	instr_time	since;
	volatile bool answered = false;
	volatile AnswerKind answer = ANSWER_GIVEN_BACK;
	volatile XLogRecPtr flush = InvalidXLogRecPtr;

	if (pointstore_queue_slots() == 0 || IsBinaryUpgrade || !pointstore_message_fits(events, n))
		return false;
	INSTR_TIME_SET_CURRENT(since);
	slot = pointstore_queue_put(events, n);
	if (slot == NULL)
		return false;
	PG_ENSURE_ERROR_CLEANUP(leave, PointerGetDatum(slot));
	{
		answered = await_answer(slot);
		if (answered)
		{
			answer = slot->message.answer;
			flush = slot->flush;
			error = pointstore_message_read(&slot->message, decisions);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave, PointerGetDatum(slot));
	if (answered)
		pointstore_queue_leave(slot);
	if (answer == ANSWER_GIVEN_BACK)
	{
		pointstore_stat_add(STAT_GIVEN_BACK, 1);
		return false;
	}
	pointstore_await_standbys(flush);
	count_wait(since);
	if (error != NULL)
		ThrowErrorData(error);
	return true;
}

/* Waits until the slot is answered. False: its request was taken back, since no combiner came. */
static bool
await_answer(Slot *slot)
{
	while (!pointstore_queue_is_answered(slot))
	{
		QueueStart	start;
		QueueAdvice advice = pointstore_queue_look_after(slot, &start);

		if (advice == QUEUE_GIVE_UP)
			return false;
		if (advice == QUEUE_START_COMBINER)
			pointstore_combiner_start(&start);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_AFTER,
						 pointstore_wait_event(&submit_wait, "PointstoreSubmit"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/* The caller is cancelled, or ends, before it has the answer. */
static void
leave(int code, Datum slot)
{
	pointstore_queue_leave((Slot *) DatumGetPointer(slot));
}

/* The wait of an answered caller is over, which began then. */
static void
count_wait(instr_time since)
{
	instr_time	waited;

	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, since);
	pointstore_stat_add(STAT_ANSWERS, 1);
	pointstore_stat_add(STAT_WAITED, INSTR_TIME_GET_MICROSEC(waited));
}
