/*-------------------------------------------------------------------------
 *
 * src/append/append.c
 *		Appends: one batch of proposed events, whatever its size and wherever
 *		it came from, is locked, judged, written and answered.
 *
 * Locking. A batch on several accounts locks their rows first (accounts.c), and
 * then judges and writes. A batch on one account needs no lock beforehand: it reads
 * the row, judges, and updates just the row version that it read, so that the update
 * is the lock; when the row has moved on meanwhile it starts over with a lock. That
 * spares a WAL record and a visit to the row on the path that nearly every append
 * takes. A refusal is decided under the lock only, so that a change under way is waited for.
 *
 * How accounts without a row lock are claimed says write.c, what comes of a request
 * that was applied before request.c. A combined batch, which can be tried again as a
 * whole, and a large one leave the look-up of requests to their unique index.
 *
 * The rules are judge.c. All that they need of the accounts is read before the first
 * event is judged; what an event says of itself only once its account is known (the step of a hold,
 * a reversal) is proposed right before it is judged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/by_hand.h"
#include "account/held.h"
#include "account/kind.h"
#include "append/accounts.h"
#include "append/append.h"
#include "append/batch.h"
#include "append/condition.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/leased.h"
#include "append/merge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/request.h"
#include "append/spread.h"
#include "append/write.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/scan.h"
#include "ground/shard.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_append_event);
PG_FUNCTION_INFO_V1(pointstore_try_append_event);
PG_FUNCTION_INFO_V1(pointstore_append_events);
PG_FUNCTION_INFO_V1(pointstore_try_append_events);

/* events of a call from which on a subtransaction is less work than to look their requests up */
#define ASSUME_NEW_EVENTS 10

/* events of a call in a distributed store up to which asking for all their accounts is less work than to set search_path */
#define ASK_ACCOUNTS 16

static Datum append_one(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum append_all(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static void append_anywhere(Batch *batch);
static bool append_or_leave(void *arg);
static bool is_plain(const Batch *batch);
static void begin_work(BatchWork *work, Batch *batch);
static bool needs_lock(const BatchWork *work);
static bool shows_tokens(const Batch *batch);
static Attempt attempt_as_new(BatchWork *work);
static bool append_as_new(void *arg);
static Attempt attempt(BatchWork *work, bool lock);
static Attempt write_judged(BatchWork *work, Attempt judged);
static Attempt judge_batch(BatchWork *work, Snapshot snapshot);
static Attempt judge_request(BatchWork *work, BatchEvent *events, HTAB *requests, Snapshot snapshot);
static Attempt judge_as_new(BatchWork *work, BatchEvent *events, Snapshot snapshot, BatchEvent **refused);
static bool is_busy(const Batch *batch, const BatchEvent *events);
static Attempt put_off(BatchEvent *events);
static bool find_request(const Batch *batch, BatchEvent *events, Snapshot snapshot);
static Attempt judge_events(BatchWork *work, BatchEvent *events, Snapshot snapshot, BatchEvent **refused);
static Attempt judge_event(BatchWork *work, BatchEvent *event, Snapshot snapshot);
static bool may_merge(const BatchWork *work, const BatchEvent *event);
static BatchEvent *find_refused(BatchEvent *events);
static BatchEvent *find_other_unit(BatchEvent *events);
static void refuse_request(Batch *batch, BatchEvent *events, const BatchEvent *refused);
static void check_units(const BatchWork *work);
static void settle_replays(BatchWork *work);

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
	Batch		batch = {.proposals = event, .nevents = 1, .refusals_are_outcomes = refusals_are_outcomes};

	pointstore_append(&batch);
	return pointstore_answer(event, batch.decisions, refusals_are_outcomes);
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
	Batch		batch = {.refusals_are_outcomes = refusals_are_outcomes, .may_spread = true};
	text	   *request_id;

	pointstore_check_arguments(fcinfo, 3);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "events" : "balanced")));
	PreventCommandIfReadOnly("append_events()");
	request_id = PG_ARGISNULL(1) ? NULL : pointstore_name(fcinfo, 1, "request_id");
	batch.balanced = PG_GETARG_BOOL(2);
	batch.proposals = pointstore_read_elements(PG_GETARG_JSONB_P(0), request_id, batch.balanced, &batch.nchecks);
	batch.nevents = JB_ROOT_COUNT(PG_GETARG_JSONB_P(0)) - batch.nchecks;
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
		append_anywhere(batch);
		return;
	}
	error = pointstore_attempt(append_or_leave, batch);
	if (error != NULL)
		ReThrowError(error);
}

/* A batch is appended where its accounts are. */
static void
append_anywhere(Batch *batch)
{
	if (batch->may_spread && pointstore_is_spread(batch))
		pointstore_append_spread(batch);
	else
		pointstore_append(batch);
}

static bool
append_or_leave(void *arg)
{
	Batch	   *batch = arg;
	int			i;

	append_anywhere(batch);
	for (i = 0; i < batch->nevents; i++)
		if (batch->proposals[i].hold != NULL)
			pointstore_release_hold(batch->proposals[i].hold);
	return batch->refused == NULL;
}

/*
 * Appends a batch whose proposals the caller has filled in and checked; batch->decisions
 * says what it came to. All or nothing, unless the requests are independent. A refusal
 * is an error, or, where the batch says so, batch->refused with the outcome in it.
 */
void
pointstore_append(Batch *batch)
{
	PointstoreScope scope;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = pointstore_element_context, .arg = &batch->current};
	BatchWork	work;
	Attempt		result;

	pointstore_refuse_in_merge();
	error_context_stack = &context;
	pointstore_act_as_owner_plainly(&scope, is_plain(batch));
	begin_work(&work, batch);
	if (batch->nevents >= ASSUME_NEW_EVENTS && !batch->independent)
		result = attempt_as_new(&work);
	else
		result = attempt(&work, needs_lock(&work));
	while (result == ATTEMPT_AGAIN_LOCKED || result == ATTEMPT_AGAIN_FRESH)
	{
		CHECK_FOR_INTERRUPTS();
		batch->assume_new = false;
		result = attempt(&work, true);
	}
	if (!batch->independent)
		(void) pointstore_count(batch);
	pointstore_raise_refused(batch);
	if (batch->refused != NULL && batch->refused < batch->decisions + batch->nevents && work.naccounts < batch->nevents + batch->nchecks)
		/* without what the events before the refused one would have made of the account */
		pointstore_report_stored_account(&batch->proposals[batch->refused - batch->decisions], batch->refused);
	settle_replays(&work);
	pointstore_act_as_caller(&scope);
	error_context_stack = context.previous;
}

/* Whether a batch runs nothing of the users'. In a distributed store each account is asked for, so of a long one that is not said. */
static bool
is_plain(const Batch *batch)
{
	int			n = batch->nevents + batch->nchecks;
	bool		plain = n > 0 && n <= ASK_ACCOUNTS;
	int			i;

	if (!plain || !pointstore_is_distributed())
		return pointstore_lock_plain(NULL);
	for (i = 0; plain && i < n; i++)
		plain = pointstore_lock_plain(batch->proposals[i].aggregate_id);
	return plain;
}

/* Room for what a batch comes to, and for the work on it. */
static void
begin_work(BatchWork *work, Batch *batch)
{
	int			n = Max(batch->nevents + batch->nchecks, 1);
	int			i;

	batch->decisions = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Decision) * n,
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	work->batch = batch;
	work->events = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(BatchEvent) * n,
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (i = 0; i < batch->nevents + batch->nchecks; i++)
	{
		work->events[i].proposal = &batch->proposals[i];
		work->events[i].decision = &batch->decisions[i];
	}
	pointstore_gather_accounts(work);
}

/* Whether the first attempt takes a lock: where the update of a single row is not lock enough. */
static bool
needs_lock(const BatchWork *work)
{
	return work->naccounts > 1 || work->batch->nchecks > 0 || !pointstore_shard_of(work->accounts->id)->table[TABLE_BALANCE].plain || pointstore_has_notes() ||
		/* a hold may expire while its account is waited for, and so may a lease */
		(work->batch->nevents > 0 && work->batch->proposals->hold != NULL) || shows_tokens(work->batch);
}

static bool
shows_tokens(const Batch *batch)
{
	int			i;

	for (i = 0; i < batch->nevents; i++)
		if (pointstore_shows_token(&batch->proposals[i]))
			return true;
	return false;
}

/*
 * An attempt in a subtransaction that looks no request up: nearly always none was applied
 * before, and to look for each costs a fifth of the whole. A refusal does not count: it may
 * be due to a request that was applied. Unless it is done nothing is left of it.
 */
static Attempt
attempt_as_new(BatchWork *work)
{
	ErrorData  *error;

	work->batch->assume_new = true;
	error = pointstore_attempt(append_as_new, work);
	work->batch->assume_new = false;
	/* whatever it is, a request that is known comes before it: but what was waited for is not waited for again */
	if (error != NULL && (pointstore_has_waited(error->sqlerrcode) || error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED))
		ReThrowError(error);
	return error == NULL ? work->attempt : ATTEMPT_AGAIN_FRESH;
}

static bool
append_as_new(void *arg)
{
	BatchWork  *work = arg;
	Attempt		result = attempt(work, true);

	/* not before: an attempt in an inner subtransaction sets it too */
	work->attempt = result == ATTEMPT_DONE && work->batch->refused != NULL ? ATTEMPT_AGAIN_FRESH : result;
	return work->attempt == ATTEMPT_DONE;
}

/* Whether an error says that something was waited for too long. */
bool
pointstore_has_waited(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/* Reads, judges and writes once. */
static Attempt
attempt(BatchWork *work, bool lock)
{
	Batch	   *batch = work->batch;
	Snapshot	snapshot = pointstore_read_accounts(work, lock);
	Attempt		result;
	int			i;

	pointstore_read_conditions(work);
	work->locked = lock || batch->independent;
	result = judge_batch(work, snapshot);
	if (result != ATTEMPT_AGAIN_FRESH)
	{
		pointstore_judge_conditions(work);
		if (batch->refused != NULL)
			result = lock ? ATTEMPT_DONE : ATTEMPT_AGAIN_LOCKED;
		else
			result = write_judged(work, result);
	}
	for (i = 0; i < work->naccounts; i++)
		pointstore_release_account(&work->accounts[i]);
	PopActiveSnapshot();
	return result;
}

/* Writes what has passed. judged: what that has come to, which stays where it is written. */
static Attempt
write_judged(BatchWork *work, Attempt judged)
{
	Attempt		written;

	work->batch->current = NULL;
	if (work->batch->balanced)
		check_units(work);
	written = pointstore_write_batch(work);
	return written != ATTEMPT_DONE ? written : judged;
}

/*
 * Decides about every event, in input order, up to the first refusal, or of independent requests
 * about all of them. Writes nothing but the structs: the accounts' versions and balances move on.
 */
static Attempt
judge_batch(BatchWork *work, Snapshot snapshot)
{
	Batch	   *batch = work->batch;
	HTAB	   *requests = pointstore_begin_requests(batch);
	Attempt		result = ATTEMPT_DONE;
	int			i;

	batch->refused = NULL;
	for (i = 0; i < batch->nevents && batch->refused == NULL && result != ATTEMPT_AGAIN_FRESH;
		 i += 1 + batch->proposals[i].followers)
	{
		Attempt		request;

		CHECK_FOR_INTERRUPTS();
		request = judge_request(work, &work->events[i], requests, snapshot);
		if (request != ATTEMPT_DONE)
			result = request;
	}
	if (requests != NULL)
		hash_destroy(requests);
	return result;
}

/*
 * Decides about the events of one request, or about one without: the request first, then
 * the rules, up to the first refusal. A batch that is assumed to be new leaves it to
 * the unique index to find a request that has been applied, and looks itself only where
 * an event would be refused. Of an independent request what is refused leaves nothing behind.
 */
static Attempt
judge_request(BatchWork *work, BatchEvent *events, HTAB *requests, Snapshot snapshot)
{
	Batch	   *batch = work->batch;
	text	   *request_id = events->proposal->request_id;
	BatchEvent *refused = NULL;
	Attempt		result = ATTEMPT_DONE;
	int			i;

	batch->current = events->proposal;
	for (i = 0; i <= events->proposal->followers; i++)
		events[i].same_as = NULL;
	if (batch->independent && is_busy(batch, events))
		return put_off(events);
	if (request_id != NULL &&
		((requests != NULL && pointstore_seen_in_batch(events, requests)) ||
		 (!batch->assume_new && find_request(batch, events, snapshot))))
		refused = find_refused(events);
	else
	{
		result = judge_events(work, events, snapshot, &refused);
		if (refused != NULL && request_id != NULL && batch->assume_new)
		{
			if (batch->independent && pointstore_is_being_applied(events->proposal))
				return put_off(events);
			if (find_request(batch, events, snapshot))
				refused = find_refused(events);
			else if (batch->independent && refused->decision->outcome == OUTCOME_VERSION_CONFLICT)
				result = judge_as_new(work, events, snapshot, &refused);
		}
	}
	if (refused != NULL)
		refuse_request(batch, events, refused);
	return result;
}

/* The rules once more, for a request that has turned out to be new: now it may merge. */
static Attempt
judge_as_new(BatchWork *work, BatchEvent *events, Snapshot snapshot, BatchEvent **refused)
{
	Attempt		result;

	work->batch->assume_new = false;
	*refused = NULL;
	result = judge_events(work, events, snapshot, refused);
	work->batch->assume_new = true;
	return result;
}

/* Whether an account of the request is busy, or the request itself is, where that is looked for. */
static bool
is_busy(const Batch *batch, const BatchEvent *events)
{
	text	   *request_id = events->proposal->request_id;
	bool		busy = false;
	int			i;

	for (i = 0; i <= events->proposal->followers; i++)
		busy |= events[i].account->busy;
	return busy || (request_id != NULL && !batch->assume_new && pointstore_is_being_applied(events->proposal));
}

/* Nothing is decided about any event of a busy request. */
static Attempt
put_off(BatchEvent *events)
{
	int			i;

	for (i = 0; i <= events->proposal->followers; i++)
	{
		events[i].decision->outcome = OUTCOME_BUSY;
		events[i].decision->account_busy = events[i].account->busy;
	}
	return ATTEMPT_BUSY;
}

/* Whether the request of these events was applied before; then each is decided. */
static bool
find_request(const Batch *batch, BatchEvent *events, Snapshot snapshot)
{
	return pointstore_find_request(events->proposal, events->decision, 1 + events->proposal->followers, batch->is_part, snapshot);
}

/* The first event that differs from what its request has written; NULL: none. */
static BatchEvent *
find_refused(BatchEvent *events)
{
	int			i;

	for (i = 0; i <= events->proposal->followers; i++)
		if (events[i].decision->outcome > OUTCOME_REPLAYED)
		{
			pointstore_report_account(events[i].decision, events[i].account);
			return &events[i];
		}
	return NULL;
}

/* The rules, for the events of one request. Says which one is refused; then the accounts stand as before. */
static Attempt
judge_events(BatchWork *work, BatchEvent *events, Snapshot snapshot, BatchEvent **refused)
{
	int			n = 1 + events->proposal->followers;
	Account    *before = n > 1 ? palloc(sizeof(Account) * n) : NULL;
	Attempt		result = ATTEMPT_DONE;
	int			i;

	for (i = 0; *refused == NULL && result == ATTEMPT_DONE && i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (before != NULL)
			before[i] = *events[i].account;
		result = judge_event(work, &events[i], snapshot);
		if (result == ATTEMPT_DONE && events[i].decision->outcome > OUTCOME_REPLAYED)
			*refused = &events[i];
	}
	if (*refused == NULL && result == ATTEMPT_DONE && work->batch->same_unit &&
		events->decision->outcome == OUTCOME_APPENDED)
		*refused = find_other_unit(events);
	while (*refused != NULL && before != NULL && i-- > 0)
		*events[i].account = before[i];
	if (*refused != NULL && (*refused)->decision->outcome == OUTCOME_NOT_ALLOWED)
		pointstore_report_account((*refused)->decision, (*refused)->account);
	return result;
}

/* Proposes an event, where it depends on its account, and judges it. */
static Attempt
judge_event(BatchWork *work, BatchEvent *event, Snapshot snapshot)
{
	Batch	   *batch = work->batch;
	Proposing	proposing = PROPOSING_DONE;

	batch->current = event->proposal;
	memset(event->decision, 0, sizeof(Decision));
	pointstore_unmerge(event->proposal);
	if (event->proposal->propose != NULL)
		proposing = event->proposal->propose(event, snapshot);
	if (proposing == PROPOSING_AGAIN)
		return ATTEMPT_AGAIN_FRESH;
	if (proposing == PROPOSING_DONE)
		pointstore_decide(event->proposal, event->decision, event->account);
	else if (event->decision->outcome > OUTCOME_REPLAYED)
		pointstore_report_account(event->decision, event->account);
	if (event->decision->outcome == OUTCOME_VERSION_CONFLICT && may_merge(work, event))
		pointstore_merge(event, batch->independent);
	return ATTEMPT_DONE;
}

/* Not before it is certain that the account stands, and that the request is new. */
static bool
may_merge(const BatchWork *work, const BatchEvent *event)
{
	return work->locked && (!work->batch->assume_new || event->proposal->request_id == NULL);
}

/* Of accounts that count different things: the first event of another unit than the first one's, refused. */
static BatchEvent *
find_other_unit(BatchEvent *events)
{
	text	   *unit = events->account->kind->unit;
	int			i;

	for (i = 1; i <= events->proposal->followers; i++)
	{
		const Account *account = events[i].account;
		Decision   *decision = events[i].decision;

		if (pointstore_same_text(unit, account->kind->unit))
			continue;
		decision->outcome = OUTCOME_NOT_ALLOWED;
		decision->reason = REASON_UNITS;
		decision->asked = pointstore_clipped(pointstore_cstring(unit));
		decision->stored = pointstore_clipped(pointstore_cstring(account->kind->unit));
		decision->opening = account->exists && !account->opened ? NULL : pointstore_cstring(account->kind->name);
		return &events[i];
	}
	return NULL;
}

/* One event of a request is refused: the others are withdrawn. */
static void
refuse_request(Batch *batch, BatchEvent *events, const BatchEvent *refused)
{
	int			i;

	batch->current = refused->proposal;
	for (i = 0; i <= events->proposal->followers; i++)
		if (&events[i] != refused)
			events[i].decision->outcome = OUTCOME_WITHDRAWN;
	if (!batch->independent)
		batch->refused = refused->decision;
}

/* What a balanced batch is about to append sums to zero in each unit: 22023. */
static void
check_units(const BatchWork *work)
{
	text	  **units = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(text *) * Max(work->batch->nevents, 1));
	int			i;

	for (i = 0; i < work->batch->nevents; i++)
		units[i] = work->events[i].decision->outcome == OUTCOME_APPENDED ? work->events[i].account->kind->unit : NULL;
	pointstore_check_sums(work->batch, units);
	pfree(units);
}

/*
 * Replays are told when what they rest on is durable; of independent requests whoever reads
 * the decisions waits for that. What repeats another event of the batch gets its receipt.
 */
static void
settle_replays(BatchWork *work)
{
	XLogRecPtr	durable = InvalidXLogRecPtr;
	int			i;

	for (i = 0; i < work->batch->nevents; i++)
	{
		Decision   *decision = work->events[i].decision;

		decision->by_this_batch = decision->outcome == OUTCOME_APPENDED;
		if (work->batch->is_part && work->events[i].account->kind != NULL)
			decision->unit = work->events[i].account->kind->unit;
		if (work->events[i].same_as != NULL)
		{
			const Decision *first = work->events[i].same_as->decision;

			decision->version = first->version;
			decision->balance = first->balance;
			decision->id = first->id;
			decision->durable = first->durable;
			decision->by_this_batch = first->by_this_batch;
			decision->created_at = first->created_at;
		}
		else if (decision->outcome == OUTCOME_REPLAYED)
			durable = Max(durable, decision->durable);
	}
	if (!work->batch->independent)
		pointstore_await_durable(durable);
}
