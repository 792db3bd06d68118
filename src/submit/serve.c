/*-------------------------------------------------------------------------
 *
 * src/submit/serve.c
 *		What a combiner does with the requests that it takes: it appends them in
 *		batches, answers them, and puts off what would have to wait.
 *
 * A batch is one transaction, which commits asynchronously, of requests that stand apart
 * (append.c): one that is refused touches no other.
 *
 * Errors. A batch whose transaction fails has written nothing. Perhaps one of its
 * requests was applied before, which is left to the unique index to find: so it is tried
 * again with all its requests looked up, as are all batches for a second, and what is
 * put off. Then its halves are tried as batches, down to the request that fails alone, which
 * gets the error.
 *
 * What is locked. While the combiner waits, all callers wait. So the batch looks,
 * before anything is written, whether a request would have to wait for another session: for
 * a row that is locked, an account that is being opened, a pure account's event or a
 * request that is not committed. Such a request is put off, and with it the later
 * ones on the account, while all others are applied. It is tried again after a few
 * milliseconds, more as time goes on, for all that are put off at once. What has been put off
 * for pointstore.combine_lock_timeout is given back, of the requests that wait for one account
 * only the first: its caller queues for the account, and the others begin to wait anew.
 * Were all given back, they would keep it locked one after another, those that come next
 * would be put off and given back in turn, and nothing of that account would ever be
 * combined again. (Where slots are short all are.) A request that is cancelled
 * while it is put off was not appended.
 *
 * What the batch could not foresee (a row that came to be since it has looked, or what users'
 * triggers and foreign keys run into) it waits for, but not for long: the
 * request that was being written is put off, or found as one that fails is, and the
 * others go on without it. One that has waited twice is given back. For a table
 * everybody waits: all are put off.
 *
 * The end. What a combiner has taken when it ends is given back: its transaction is
 * rolled back then. Between its commit and the answers nothing interrupts it. Should it end
 * there all the same, the answers say that the outcome is unknown.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "append/append.h"
#include "append/batch.h"
#include "append/judge.h"
#include "append/receipt.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/worker.h"
#include "submit/busy.h"
#include "submit/message.h"
#include "submit/queue.h"
#include "submit/serve.h"

#define WARINESS		1000	/* ms in which requests are looked up, after a batch has failed */
#define PATIENCE		20		/* ms for a lock that nobody has foreseen */
#define WARY_PATIENCE	2		/* the same, when there was one just now */
#define RETRY_SOONEST	1		/* ms, after which what is put off is tried again: at first, */
#define RETRY_LATEST	16		/* and in the end */
#define RETRY_REST		100		/* ms at most, however long the last try took */

/* A request that was taken. */
typedef struct Request
{
	Slot	   *slot;			/* null: it is answered */
	TimestampTz put_off;		/* since when; 0: not */
	bool		has_waited;		/* put off because it alone has waited for a lock */
} Request;

static int	combine_lock_timeout = 100; /* ms */

static MemoryContext context = NULL;	/* of what is done with what was taken */
static Request *taken = NULL;	/* first those that are put off, each part in order of arrival */
static Slot **slots = NULL;		/* as many, for what is said to the queue */
static int	ntaken = 0;
static int	nput_off = 0;
static TimestampTz retry_at = 0;	/* when those are tried again */
static int	retry_pause = 0;	/* ms, that they were left alone last */
static bool retry_paid = false;	/* one of them was decided since */
static TimestampTz wary_until = 0;
static TransactionId committing = InvalidTransactionId; /* until its events are answered */

static void allocate(void);
static void drop_abandoned(void);
static int	put_off_behind(void);
static void keep_unanswered(void);
static void schedule_retry(TimestampTz since);
static void run(Request *requests, int n);
static void set_patience(int patience);
static void run_halves(Request *requests, int n, const Batch *batch, const ErrorData *error);
static void gather_events(Batch *batch, const Request *requests, int n);
static int	find_guilty(const Batch *batch, const Request *requests, int n);
static void settle(Request *requests, int n, const Batch *batch, const ErrorData *error);
static bool answer_decision(Request *request, const ProposedEvent *events, const Decision *decisions);
static bool answer_failure(Request *request, const Batch *batch, const ErrorData *error);
static bool is_hopeless(Request *request, const Batch *batch, const ErrorData *error);
static ErrorData *append_batch(Batch *batch);
static void append_in_step(void *arg);
static void count_batch(const Batch *batch);
static bool is_passing(int sqlerrcode);
static bool put_off(Request *request, bool anew);
static XLogRecPtr flush_of(const Decision *decisions, int n);

/* Called once when the library is loaded. */
void
pointstore_serve_init(void)
{
	DefineCustomIntVariable("pointstore.combine_lock_timeout",
							"How long callers are put off because of what another session has locked before they wait for it themselves.",
							NULL, &combine_lock_timeout, 100, 1, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* Takes all that wait; returns their number. */
int
pointstore_serve_take(Queue *queue)
{
	int			n;
	int			i;

	if (taken == NULL)
		allocate();
	n = pointstore_queue_take(queue, slots);
	for (i = 0; i < n; i++)
		taken[ntaken++] = (Request) {.slot = slots[i]};
	return n;
}

/* There is never more to do than there are slots. */
static void
allocate(void)
{
	slots = MemoryContextAlloc(TopMemoryContext, sizeof(Slot *) * pointstore_queue_slots());
	taken = MemoryContextAlloc(TopMemoryContext, sizeof(Request) * pointstore_queue_slots());
}

/* The number of requests that were not tried yet. */
int
pointstore_serve_fresh(void)
{
	return ntaken - nput_off;
}

/* Whether there is something to do. */
bool
pointstore_serve_is_due(void)
{
	return ntaken > nput_off || (nput_off > 0 && GetCurrentTimestamp() >= retry_at);
}

/* In how many ms there will be, if nothing else is taken; -1: not by itself. */
long
pointstore_serve_pause(void)
{
	return nput_off == 0 ? -1 : TimestampDifferenceMilliseconds(GetCurrentTimestamp(), retry_at);
}

/*
 * Appends and answers what is fresh, or, when that is due, all that was taken. What is
 * not answered then is put off.
 */
void
pointstore_serve(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		retry = nput_off > 0 && now >= retry_at;
	int			first = 0;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "pointstore batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	if (retry)
	{
		pointstore_busy_forget();
		drop_abandoned();
	}
	else
		first = put_off_behind();
	retry_paid = false;
	run(taken + first, ntaken - first);
	keep_unanswered();
	nput_off = ntaken;
	if (nput_off == 0)
		pointstore_busy_forget();
	if (nput_off == 0 || retry_paid)
		retry_pause = 0;
	if (nput_off > 0 && (retry || retry_pause == 0))
		schedule_retry(now);
	MemoryContextReset(context);
}

/* Of those that are put off frees the ones whose callers are gone: nothing has happened to them. */
static void
drop_abandoned(void)
{
	int			before = ntaken;
	int			i;

	for (i = 0; i < nput_off; i++)
		slots[i] = taken[i].slot;
	pointstore_queue_drop_abandoned(slots, nput_off);
	for (i = 0; i < nput_off; i++)
		taken[i].slot = slots[i];
	keep_unanswered();
	nput_off -= before - ntaken;
}

/*
 * Of those that are fresh puts off the ones on accounts that earlier ones wait for. Returns
 * their number with those that were put off before; the others come after them.
 */
static int
put_off_behind(void)
{
	Request    *ready;
	int			nready = 0;
	int			behind = nput_off;
	int			i;

	if (!pointstore_busy_is_any())
		return behind;
	ready = palloc(sizeof(Request) * ntaken);
	for (i = nput_off; i < ntaken; i++)
		if (pointstore_busy_has(taken[i].slot->message.events, taken[i].slot->message.nevents))
		{
			(void) put_off(&taken[i], false);
			taken[behind++] = taken[i];
		}
		else
			ready[nready++] = taken[i];
	memcpy(taken + behind, ready, nready * sizeof(Request));
	return behind;
}

/* Of all that was taken. */
static void
keep_unanswered(void)
{
	int			left = 0;
	int			i;

	for (i = 0; i < ntaken; i++)
		if (taken[i].slot != NULL)
			taken[left++] = taken[i];
	ntaken = left;
}

/* The next try of what is put off, of which the last took from then till now: a fourth of the time, if it was short. */
static void
schedule_retry(TimestampTz since)
{
	TimestampTz now = GetCurrentTimestamp();

	retry_pause = Min(Max(2 * retry_pause, RETRY_SOONEST), RETRY_LATEST);
	retry_at = Max(TimestampTzPlusMilliseconds(now, retry_pause),
				   Min(now + 3 * (now - since), TimestampTzPlusMilliseconds(now, RETRY_REST)));
}

/*
 * Applies some requests in one transaction. What is answered has no slot afterwards;
 * what is put off keeps it. When the transaction fails, the request to
 * blame, or each half of them, goes by itself.
 */
static void
run(Request *requests, int n)
{
	Batch		batch = {.independent = true, .same_unit = true};
	bool		assume_new;
	ErrorData  *error;

	if (n == 0)
		return;
	/* of what is put off, which comes first, perhaps the request is what it waits for */
	assume_new = batch.assume_new = requests[0].put_off == 0 && GetCurrentTimestamp() >= wary_until;
	set_patience(Min(assume_new ? PATIENCE : WARY_PATIENCE, combine_lock_timeout));
	gather_events(&batch, requests, n);
	error = append_batch(&batch);
	if (error != NULL)
		wary_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WARINESS);
	if (error != NULL && assume_new && !pointstore_has_waited(error->sqlerrcode))
		run(requests, n);
	else if (error == NULL || n == 1 || (is_passing(error->sqlerrcode) && batch.current == NULL && !batch.written))
		settle(requests, n, &batch, error);
	else
		run_halves(requests, n, &batch, error);
}

/* How long a batch waits for a lock, in ms. */
static void
set_patience(int patience)
{
	static int	current = 0;
	char		timeout[16];

	if (patience == current)
		return;
	snprintf(timeout, sizeof(timeout), "%d", patience);
	SetConfigOption("lock_timeout", timeout, PGC_SUSET, PGC_S_OVERRIDE);
	current = patience;
}

/* After an error that is not everybody's: the one to blame, where it is known, is put off or given back. */
static void
run_halves(Request *requests, int n, const Batch *batch, const ErrorData *error)
{
	int			half = n / 2;

	if (!is_passing(error->sqlerrcode) || batch->current == NULL)
	{
		run(requests, half);
		run(requests + half, n - half);
		return;
	}
	half = find_guilty(batch, requests, n);
	settle(requests + half, 1, batch, error);
	run(requests, half);
	run(requests + half + 1, n - half - 1);
}

/* The batch's events: copies of all that the requests propose. */
static void
gather_events(Batch *batch, const Request *requests, int n)
{
	int			i;

	batch->proposals = palloc(sizeof(ProposedEvent) * MESSAGE_EVENTS * n);
	for (i = 0; i < n; i++)
	{
		const Message *message = &requests[i].slot->message;

		memcpy(&batch->proposals[batch->nevents], message->events, sizeof(ProposedEvent) * message->nevents);
		batch->nevents += message->nevents;
	}
}

/* The place of the request whose event was being written. */
static int
find_guilty(const Batch *batch, const Request *requests, int n)
{
	const ProposedEvent *end = batch->proposals;
	int			i;

	for (i = 0; i < n - 1; i++)
	{
		end += requests[i].slot->message.nevents;
		if (batch->current < end)
			break;
	}
	return i;
}

/* Answers the requests of a batch that is committed, or has failed for good, or puts them off. */
static void
settle(Request *requests, int n, const Batch *batch, const ErrorData *error)
{
	int			nanswered = 0;
	int			first = 0;
	int			i;

	if (error == NULL)
		count_batch(batch);
	for (i = 0; i < n; i++)
	{
		Slot	   *slot = requests[i].slot;

		if (error == NULL ? answer_decision(&requests[i], &batch->proposals[first], &batch->decisions[first]) :
			answer_failure(&requests[i], batch, error))
		{
			slots[nanswered++] = slot;
			requests[i].slot = NULL;
		}
		first += slot->message.nevents;
	}
	pointstore_queue_answer(slots, nanswered);
	committing = InvalidTransactionId;
}

/* What a committed batch has come to for a request, or that its caller is to append by itself. False: it is put off. */
static bool
answer_decision(Request *request, const ProposedEvent *events, const Decision *decisions)
{
	Slot	   *slot = request->slot;
	int			n = slot->message.nevents;
	bool		again;

	if (decisions->outcome == OUTCOME_LEFT)
	{
		slot->message.answer = ANSWER_GIVEN_BACK;
		return true;
	}
	if (decisions->outcome != OUTCOME_BUSY)
	{
		retry_paid |= request->put_off != 0;
		slot->flush = flush_of(decisions, n);
		pointstore_message_decide(&slot->message, decisions);
		return true;
	}
	again = put_off(request, pointstore_busy_is_relieved(events, decisions, n));
	pointstore_busy_note(events, decisions, n, !again);
	slot->message.answer = ANSWER_GIVEN_BACK;
	return !again;
}

/* The same of a batch that has failed. */
static bool
answer_failure(Request *request, const Batch *batch, const ErrorData *error)
{
	Message    *message = &request->slot->message;

	if (!is_passing(error->sqlerrcode))
	{
		pointstore_message_fail(message, error);
		return true;
	}
	message->answer = ANSWER_GIVEN_BACK;
	return is_hopeless(request, batch, error) || !put_off(request, false);
}

/*
 * Whether a request that is to be put off is better given back: it has waited for an
 * unforeseen lock once more, or somebody has cancelled what it does. Notes the first time.
 */
static bool
is_hopeless(Request *request, const Batch *batch, const ErrorData *error)
{
	bool		before = request->has_waited;

	if (!pointstore_has_waited(error->sqlerrcode) || (batch->current == NULL && !batch->written))
		return false;
	request->has_waited = true;
	return before || error->sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/* One transaction. Its error, after which nothing of it is left, or NULL. */
static ErrorData *
append_batch(Batch *batch)
{
	ErrorData  *error = pointstore_in_transaction(append_in_step, batch, false);

	if (error != NULL && TransactionIdIsValid(committing))
		batch->current = NULL;
	if (error != NULL)
		committing = InvalidTransactionId;
	pointstore_worker_clean_up();
	return error;
}

static void
append_in_step(void *arg)
{
	pointstore_begin_step();
	MemoryContextSwitchTo(context); /* what refusals say is told after the commit */
	pointstore_append(arg);
	committing = GetTopTransactionIdIfAny();
}

/* A committed batch; events that are put off or given back are none of it. */
static void
count_batch(const Batch *batch)
{
	int			events = pointstore_count(batch);

	if (events == 0)
		return;
	pointstore_stat_add(STAT_BATCHES, 1);
	pointstore_stat_add(STAT_COMBINED, events);
}

/* Whether an error says nothing of the events themselves, but of what else goes on. */
static bool
is_passing(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK || pointstore_has_waited(sqlerrcode);
}

/*
 * Whether a request, one of whose accounts is locked, is to be tried again; false: it has been for long.
 * anew: one before it was given back, and while slots are not short its time begins again.
 */
static bool
put_off(Request *request, bool anew)
{
	TimestampTz now = GetCurrentTimestamp();

	if (request->put_off == 0 || (anew && nput_off <= pointstore_queue_slots() / 2))
		request->put_off = now;
	return !TimestampDifferenceExceeds(request->put_off, now, combine_lock_timeout);
}

/* WAL that must be durable before a request's decision, of the batch just committed, is told; invalid: none. */
static XLogRecPtr
flush_of(const Decision *decisions, int n)
{
	XLogRecPtr	flush = InvalidXLogRecPtr;
	int			i;

	for (i = 0; i < n; i++)
	{
		if (decisions[i].outcome == OUTCOME_REPLAYED)
			flush = Max(flush, decisions[i].durable);
		if (decisions[i].by_this_batch)
			flush = XactLastCommitEnd;
	}
	return flush;
}

/* Before the combiner ends, for whatever reason: what it has taken is not its any more. */
void
pointstore_serve_give_back(void)
{
	static const ErrorData lost = {
		.elevel = ERROR, .sqlerrcode = ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
		.message = "the combiner has ended, and whether the event was appended is unknown",
		.hint = "Repeat the call: with a request_id it is applied once."
	};
	bool		unknown = TransactionIdIsValid(committing) && TransactionIdDidCommit(committing);
	int			n = 0;
	int			i;

	for (i = 0; i < ntaken; i++)
	{
		Slot	   *slot = taken[i].slot;

		if (slot == NULL)
			continue;
		slot->message.answer = ANSWER_GIVEN_BACK;
		if (unknown)
			pointstore_message_fail(&slot->message, &lost);
		slots[n++] = slot;
	}
	ntaken = nput_off = 0;
	pointstore_queue_answer(slots, n);
}
