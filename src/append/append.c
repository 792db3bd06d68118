/*-------------------------------------------------------------------------
 *
 * src/append/append.c
 *		Appends: one batch of proposed events, whatever its size and wherever
 *		it came from, is locked, judged, written and answered.
 *
 * Locking. A batch on several accounts locks their rows first, in the order
 * of the bytes of their ids whatever the order of the input, opens the missing
 * ones in that order too, and then judges and writes. A batch on one account
 * needs no lock beforehand: it reads the row, judges, and updates just the row
 * version that it read, so that the update is the lock; when the row has moved
 * on meanwhile it starts over with a lock. That spares a WAL record and a
 * visit to the row on the path that nearly every append takes. A refusal is
 * decided under the lock only, so that a change under way is waited for.
 *
 * How accounts without a row lock are claimed says write.c, what comes of a request
 * that was applied before request.c. A combined batch, which can be tried again as a
 * whole, and a large one leave the look-up of requests to their unique index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/by_hand.h"
#include "account/held.h"
#include "account/kind.h"
#include "account/opening.h"
#include "append/append.h"
#include "append/batch.h"
#include "append/judge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/request.h"
#include "append/write.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/scan.h"
#include "ground/step.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_append_event);
PG_FUNCTION_INFO_V1(pointstore_try_append_event);
PG_FUNCTION_INFO_V1(pointstore_append_events);
PG_FUNCTION_INFO_V1(pointstore_try_append_events);

/* events of a call from which on a subtransaction is less work than to look their requests up */
#define TRUSTED_EVENTS 10

static Datum append_one(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum append_all(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static bool append_or_leave(void *arg);
static void tell_as_stored(ProposedEvent *refused);
static void settle_replays(Batch *batch);
static void gather_accounts(Batch *batch);
static int	compare_events(const void *a, const void *b);
static bool attempt_trusting(Batch *batch);
static bool trust(void *arg);
static bool attempt(Batch *batch, bool lock);
static void check_units(const Batch *batch);
static void lock_accounts(Batch *batch);
static void lock_existing(Batch *batch);
static bool open_missing(Batch *batch, Account *account, Snapshot snapshot);
static void judge_batch(Batch *batch, Snapshot snapshot);
static ProposedEvent *judge_request(Batch *batch, ProposedEvent *events, HTAB *requests, Snapshot snapshot);
static bool is_busy(const Batch *batch, const ProposedEvent *events);
static ProposedEvent *put_off(ProposedEvent *events);
static ProposedEvent *find_refused(ProposedEvent *events, Snapshot snapshot);
static ProposedEvent *judge_events(Batch *batch, ProposedEvent *events, Snapshot snapshot);
static void judge_event(Batch *batch, ProposedEvent *event, Snapshot snapshot);
static ProposedEvent *find_other_unit(ProposedEvent *events);

/* append_event(...): see the install script. */
Datum
pointstore_append_event(PG_FUNCTION_ARGS)
{
	return append_one(fcinfo, false);
}

/* try_append_event(...): the same, refusals as outcomes. */
Datum
pointstore_try_append_event(PG_FUNCTION_ARGS)
{
	return append_one(fcinfo, true);
}

static Datum
append_one(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	ProposedEvent event = {0};

	PreventCommandIfReadOnly("append_event()");
	pointstore_read_arguments(fcinfo, &event);
	return pointstore_append_one(&event, refusals_are_outcomes);
}

/* Appends one checked event and returns its receipt. */
Datum
pointstore_append_one(ProposedEvent *event, bool refusals_are_outcomes)
{
	Batch		batch = {.events = event, .nevents = 1, .refusals_are_outcomes = refusals_are_outcomes};

	pointstore_append(&batch);
	return pointstore_answer(event, refusals_are_outcomes);
}

/* append_events(events, request_id, balanced) */
Datum
pointstore_append_events(PG_FUNCTION_ARGS)
{
	return append_all(fcinfo, false);
}

/* try_append_events(...): the same, a refusal as the outcome of one receipt. */
Datum
pointstore_try_append_events(PG_FUNCTION_ARGS)
{
	return append_all(fcinfo, true);
}

static Datum
append_all(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	Batch		batch = {.refusals_are_outcomes = refusals_are_outcomes};
	text	   *request_id;

	pointstore_check_arguments(fcinfo, 3);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "events" : "balanced")));
	PreventCommandIfReadOnly("append_events()");
	request_id = PG_ARGISNULL(1) ? NULL : pointstore_name(fcinfo, 1, "request_id");
	batch.balanced = PG_GETARG_BOOL(2);
	pointstore_read_elements(&batch, PG_GETARG_JSONB_P(0), request_id);
	pointstore_append_or_leave(&batch);
	return pointstore_answer_all(fcinfo, &batch);
}

/*
 * Appends a batch. One that is refused, where that is to be an outcome, leaves nothing behind:
 * no lock, and no account that it has opened.
 */
void
pointstore_append_or_leave(Batch *batch)
{
	ErrorData  *error;

	if (!batch->refusals_are_outcomes)
	{
		pointstore_append(batch);
		return;
	}
	error = pointstore_attempt(append_or_leave, batch);
	if (error != NULL)
		ReThrowError(error);
}

static bool
append_or_leave(void *arg)
{
	Batch	   *batch = arg;
	int			i;

	pointstore_append(batch);
	for (i = 0; i < batch->nevents; i++)
		if (batch->events[i].hold != NULL)
			pointstore_release_hold(batch->events[i].hold);
	return batch->refused == NULL;
}

/*
 * Appends a batch whose events the caller has filled in and checked. All or
 * nothing; receipts are in the events afterwards. A refusal is an error, or,
 * where the batch says so, batch->refused with the outcome in it.
 */
void
pointstore_append(Batch *batch)
{
	PointstoreScope scope;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = pointstore_tell_element, .arg = batch};
	bool		lock;
	bool		done;

	error_context_stack = &context;
	pointstore_act_as_owner_plainly(&scope);
	gather_accounts(batch);
	lock = batch->naccounts > 1 || !pointstore_store()->table[TABLE_BALANCE].plain || pointstore_has_notes() ||
		/* a hold may expire while its account is waited for */
		(batch->nevents > 0 && batch->events->hold != NULL);
	done = batch->nevents >= TRUSTED_EVENTS && !batch->apart && attempt_trusting(batch);
	while (!done && !attempt(batch, lock))
	{
		CHECK_FOR_INTERRUPTS();
		lock = true;
		batch->trusting = false;
	}
	if (!batch->apart)
		(void) pointstore_count(batch);
	pointstore_raise_refused(batch);
	if (batch->refused != NULL && batch->naccounts < batch->nevents)
		tell_as_stored(batch->refused);
	settle_replays(batch);
	pointstore_act_as_caller(&scope);
	error_context_stack = context.previous;
}

/* A receipt says how the account stands, without what the events before the refused one would have made of it. */
static void
tell_as_stored(ProposedEvent *refused)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account    *judged = refused->account;
	Account		stored;

	pointstore_read_account(&stored, refused->aggregate_id, snapshot, LOCK_NOTHING);
	refused->account = &stored;
	pointstore_tell_account(refused, snapshot);
	refused->account = judged;
	pointstore_release_account(&stored);
	PopActiveSnapshot();
}

/*
 * Replays are told when what they rest on is durable; who reads the answers of a batch that
 * stands apart waits for that himself. Who repeats another event of the batch gets its receipt.
 */
static void
settle_replays(Batch *batch)
{
	XLogRecPtr	durable = InvalidXLogRecPtr;
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		if (event->same_as != NULL)
		{
			event->version = event->same_as->version;
			event->balance = event->same_as->balance;
			event->id = event->same_as->id;
			event->durable = event->same_as->durable;
			event->created_at = event->same_as->created_at;
		}
		else if (event->outcome == OUTCOME_REPLAYED)
			durable = Max(durable, event->durable);
	}
	if (!batch->apart)
		pointstore_await_durable(durable);
}

/* The batch's accounts, each once, in the order of the bytes of their ids. */
static void
gather_accounts(Batch *batch)
{
	ProposedEvent **sorted = palloc(sizeof(ProposedEvent *) * Max(batch->nevents, 1));
	int			i;

	batch->naccounts = 0;
	batch->accounts = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Account) * Max(batch->nevents, 1),
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	batch->first = palloc0(sizeof(ProposedEvent *) * Max(batch->nevents, 1));
	for (i = 0; i < batch->nevents; i++)
		sorted[i] = &batch->events[i];
	if (batch->nevents > 1)
		qsort(sorted, batch->nevents, sizeof(ProposedEvent *), compare_events);
	for (i = 0; i < batch->nevents; i++)
	{
		if (i == 0 || !pointstore_same_text(sorted[i]->aggregate_id, sorted[i - 1]->aggregate_id))
			batch->accounts[batch->naccounts++].id = sorted[i]->aggregate_id;
		sorted[i]->account = &batch->accounts[batch->naccounts - 1];
	}
	pfree(sorted);
	for (i = batch->nevents - 1; i >= 0; i--)
	{
		ProposedEvent **first = &batch->first[batch->events[i].account - batch->accounts];

		batch->events[i].next = *first;
		*first = &batch->events[i];
	}
}

static int
compare_events(const void *a, const void *b)
{
	text	   *x = (*(ProposedEvent *const *) a)->aggregate_id;
	text	   *y = (*(ProposedEvent *const *) b)->aggregate_id;
	Size		shorter = Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y));
	int			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), shorter);

	if (order != 0)
		return order;
	return (VARSIZE_ANY_EXHDR(x) > shorter) - (VARSIZE_ANY_EXHDR(y) > shorter);
}

/*
 * An attempt in a subtransaction that looks no request up: nearly always none was applied
 * before, and to look for each costs a fifth of the whole. False: nothing is left of
 * it, and it has to be done again under a lock.
 */
static bool
attempt_trusting(Batch *batch)
{
	ErrorData  *error;
	bool		done;

	batch->trusting = true;
	error = pointstore_attempt(trust, batch);
	/* whatever it is, a request that is known comes before it: but what was waited for is not waited for again */
	if (error != NULL && (pointstore_has_waited(error->sqlerrcode) || error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED))
		ReThrowError(error);
	done = !batch->trusting;
	batch->overtaken = false;
	if (!done)
		gather_accounts(batch);
	batch->trusting = false;
	return done;
}

/* Whether an error says that something was waited for too long. */
bool
pointstore_has_waited(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/*
 * What attempt_trusting() does in a subtransaction; trusting stays where it was in
 * vain. A refusal, too: it may be due to a request that was applied before.
 */
static bool
trust(void *arg)
{
	Batch	   *batch = arg;

	batch->trusting = !attempt(batch, true) || batch->refused != NULL;
	return !batch->trusting;
}

/*
 * Reads, checks and writes once. False: it has to be done again under a lock,
 * because others were faster, or because a refusal is not decided without one.
 */
static bool
attempt(Batch *batch, bool lock)
{
	Snapshot	snapshot;
	bool		done;
	int			i;

	if (batch->apart)
		lock_existing(batch);
	else if (batch->naccounts > 1)
		lock_accounts(batch);
	snapshot = pointstore_push_snapshot();
	if (batch->naccounts == 1 && !batch->apart)
	{
		pointstore_read_account(&batch->accounts[0], batch->accounts[0].id, snapshot,
								lock ? LOCK_BALANCE : LOCK_NOTHING);
		if (lock)
		{
			PopActiveSnapshot();	/* what goes with the row is read after its lock was waited for */
			snapshot = pointstore_push_snapshot();
		}
	}
	judge_batch(batch, snapshot);
	if (batch->again)
		done = false;
	else if (batch->refused != NULL)
		done = lock;
	else
	{
		batch->current = NULL;
		if (batch->balanced)
			check_units(batch);
		done = pointstore_may_be_taken_back(batch) ? pointstore_write_or_take_back(batch) : pointstore_write_batch(batch);
	}
	for (i = 0; i < batch->naccounts; i++)
		pointstore_release_account(&batch->accounts[i]);
	PopActiveSnapshot();
	return done;
}

/* What a balanced batch is about to append sums to zero in each unit: 22023. */
static void
check_units(const Batch *batch)
{
	struct UnitSum
	{
		text	   *unit;
		int128		sum;
	}		   *sums = palloc0(sizeof(struct UnitSum) * Max(batch->nevents, 1));
	int			nsums = 0;
	int			i;
	int			j;

	for (i = 0; i < batch->nevents; i++)
	{
		const ProposedEvent *event = &batch->events[i];

		if (event->outcome != OUTCOME_APPENDED)
			continue;
		for (j = 0; j < nsums && !pointstore_same_text(sums[j].unit, event->account->kind->unit); j++)
			 /* look on */ ;
		if (j == nsums)
			sums[nsums++].unit = event->account->kind->unit;
		sums[j].sum += event->amount;
	}
	for (j = 0; j < nsums; j++)
		if (sums[j].sum != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the amounts of a balanced batch do not sum to zero"),
					 errdetail("Unit \"%s\".", pointstore_cstring(sums[j].unit))));
	pfree(sums);
}

/* Locks the accounts in order, and opens the missing ones so that they are locked too. */
static void
lock_accounts(Batch *batch)
{
	int			i;

	for (i = 0; i < batch->naccounts; i++)
	{
		Account    *account = &batch->accounts[i];
		bool		again = true;
		bool		opened = false;

		while (again)
		{
			Snapshot	snapshot = pointstore_push_snapshot();

			CHECK_FOR_INTERRUPTS();
			pointstore_read_account(account, account->id, snapshot, LOCK_BALANCE);
			again = !account->exists && open_missing(batch, account, snapshot);
			opened |= again;
			PopActiveSnapshot();
		}
		account->opened = opened;
	}
}

/*
 * Locks the accounts that are there, in order. A missing one is opened only when
 * an event of it has passed; one that would have to be waited for is busy.
 */
static void
lock_existing(Batch *batch)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	int			i;

	for (i = 0; i < batch->naccounts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(&batch->accounts[i], batch->accounts[i].id, snapshot, LOCK_IF_FREE);
	}
	PopActiveSnapshot();
}

/* Opens an account, if its first event may; false leaves it missing, for judge_batch(). */
static bool
open_missing(Batch *batch, Account *account, Snapshot snapshot)
{
	const ProposedEvent *event = batch->first[account - batch->accounts];
	const Kind *kind = pointstore_read_kind(event->kind ? event->kind : cstring_to_text("default"));

	if (kind == NULL || !kind->auto_open)
		return false;
	pointstore_refuse_damaged(account->id, snapshot);
	(void) pointstore_open_row(account->id, kind, event->role);
	return true;
}

/*
 * Decides about every event, in input order, up to the first refusal, or apart all
 * of them. Writes nothing but the structs: the accounts' versions and balances move on.
 */
static void
judge_batch(Batch *batch, Snapshot snapshot)
{
	HTAB	   *requests = pointstore_begin_requests(batch);
	int			i;

	batch->refused = NULL;
	batch->again = false;
	for (i = 0; i < batch->nevents && batch->refused == NULL && !batch->again; i += 1 + batch->events[i].further)
	{
		ProposedEvent *refused;

		CHECK_FOR_INTERRUPTS();
		refused = judge_request(batch, &batch->events[i], requests, snapshot);
		if (!batch->apart)
			batch->refused = refused;
	}
	if (requests != NULL)
		hash_destroy(requests);
}

/*
 * Decides about the events of one request, or about one without: the request first, then
 * the rules, up to the first refusal, which is returned. A trusting batch leaves
 * it to the unique index to find a request that has been applied, and looks itself
 * only where an event would be refused. Apart, what is refused leaves nothing behind.
 */
static ProposedEvent *
judge_request(Batch *batch, ProposedEvent *events, HTAB *requests, Snapshot snapshot)
{
	int			n = 1 + events->further;
	ProposedEvent *refused;
	int			i;

	batch->current = events;
	if (batch->apart && is_busy(batch, events))
		return put_off(events);
	for (i = 0; i < n; i++)
		events[i].same_as = NULL;
	if (events->request_id != NULL &&
		((requests != NULL && pointstore_seen_in_batch(events, requests)) ||
		 (!batch->trusting && pointstore_find_request(events, n, false, snapshot))))
		refused = find_refused(events, snapshot);
	else
	{
		refused = judge_events(batch, events, snapshot);
		if (refused != NULL && events->request_id != NULL && batch->trusting)
		{
			if (batch->apart && pointstore_is_being_applied(events->request_id))
				return put_off(events);
			if (pointstore_find_request(events, n, false, snapshot))
				refused = find_refused(events, snapshot);
		}
	}
	if (refused != NULL)
		batch->current = refused;
	for (i = 0; refused != NULL && i < n; i++)
		if (&events[i] != refused)
			events[i].outcome = OUTCOME_WITHDRAWN;
	return refused;
}

/* Whether an account of the request is busy, or the request itself is, where that is looked for. */
static bool
is_busy(const Batch *batch, const ProposedEvent *events)
{
	bool		busy = false;
	int			i;

	for (i = 0; i <= events->further; i++)
		busy |= events[i].account->busy;
	return busy || (events->request_id != NULL && !batch->trusting && pointstore_is_being_applied(events->request_id));
}

/* Nothing is decided about any event of a busy request. Returns the first. */
static ProposedEvent *
put_off(ProposedEvent *events)
{
	int			i;

	for (i = 0; i <= events->further; i++)
		events[i].outcome = OUTCOME_BUSY;
	return events;
}

/* The first event that differs from what its request has written; NULL: none. */
static ProposedEvent *
find_refused(ProposedEvent *events, Snapshot snapshot)
{
	int			i;

	for (i = 0; i <= events->further; i++)
		if (events[i].outcome > OUTCOME_REPLAYED)
		{
			pointstore_tell_account(&events[i], snapshot);
			return &events[i];
		}
	return NULL;
}

/* The rules, for the events of one request. Returns the refused one; then the accounts stand as before. */
static ProposedEvent *
judge_events(Batch *batch, ProposedEvent *events, Snapshot snapshot)
{
	int			n = 1 + events->further;
	Account    *before = n > 1 ? palloc(sizeof(Account) * n) : NULL;
	ProposedEvent *refused = NULL;
	int			i;

	for (i = 0; refused == NULL && !batch->again && i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (before != NULL)
			before[i] = *events[i].account;
		judge_event(batch, &events[i], snapshot);
		if (events[i].outcome > OUTCOME_REPLAYED)
			refused = &events[i];
	}
	if (refused == NULL && !batch->again && batch->same_unit && events->outcome == OUTCOME_APPENDED)
		refused = find_other_unit(events);
	while (refused != NULL && before != NULL && i-- > 0)
		*events[i].account = before[i];
	if (refused != NULL && refused->outcome == OUTCOME_NOT_ALLOWED)
		pointstore_tell_account(refused, snapshot);
	return refused;
}

static void
judge_event(Batch *batch, ProposedEvent *event, Snapshot snapshot)
{
	batch->current = event;
	event->reason = REASON_PLAIN;
	if (event->propose == NULL || event->propose(event, snapshot))
		pointstore_judge(event, event->account, snapshot);
	else if (event->outcome > OUTCOME_REPLAYED)
		pointstore_tell_account(event, snapshot);
	batch->again |= event->again;
	event->again = false;
}

/* A refusal's receipt says how the account stands. */
void
pointstore_tell_account(ProposedEvent *event, Snapshot snapshot)
{
	pointstore_know_expired(event->account, snapshot);
	event->version = event->account->version;
	event->balance = event->account->balance;
	event->available = pointstore_available(event->account);
}

/* Of accounts that count different things: the first event of another unit than the first one's, refused. */
static ProposedEvent *
find_other_unit(ProposedEvent *events)
{
	text	   *unit = events->account->kind->unit;
	int			i;

	for (i = 1; i <= events->further; i++)
	{
		ProposedEvent *event = &events[i];

		if (pointstore_same_text(unit, event->account->kind->unit))
			continue;
		event->outcome = OUTCOME_NOT_ALLOWED;
		event->reason = REASON_UNITS;
		event->asked = pointstore_clipped(pointstore_cstring(unit));
		event->stored = pointstore_clipped(pointstore_cstring(event->account->kind->unit));
		event->opening = event->account->exists && !event->account->opened ? NULL :
			pointstore_cstring(event->account->kind->name);
		return event;
	}
	return NULL;
}
