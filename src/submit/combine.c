/*-------------------------------------------------------------------------
 *
 * src/submit/combine.c
 *		Combined append: submit_event() hands its event, and submit_transfer()
 *		its two legs, to a background worker, the combiner of its database, which
 *		appends what all waiting callers have brought in one transaction and
 *		answers each by itself. What the store's owner has put on the tables runs there
 *		as him and leaves nothing to the next transaction (step.c).
 *
 * Under a row lock an account takes one commit after another. The combiner
 * takes the lock once for all that wait, and it does not wait for the disk: it
 * commits asynchronously and goes on with the next batch, while one of the
 * callers, the leader, flushes WAL for all of that batch and wakes the others.
 * Each then waits for the standbys that must confirm, and returns. The rules
 * are those of append.c, to which a batch goes as requests that stand apart.
 *
 * Slots. What a caller brings, called his request here, lies in a slot of
 * shared memory. All states change under one lock, held for a few instructions:
 *
 *	free		in the list of free slots
 *	waiting		in the queue of its database; the caller's. A caller who gives up
 *				takes it back, and nothing has happened
 *	taken		the combiner's: its transaction may be under way
 *	abandoned	taken, and the caller is gone: the request is applied or refused
 *				as if he were there, then the combiner frees the slot
 *	decided		answered, but not durable yet: it follows a leader
 *	answered	the caller's again: he takes the answer and frees the slot. The
 *				leader of a batch answers those that follow him before all
 *				else, whether he is still there to be answered or not
 *
 * An answer is a decision (an applied request or a refusal, of which the caller
 * makes a receipt or an error), an error (which the caller raises as his own), or
 * the request given back, undecided: then the caller appends plainly, waiting
 * where append_event() or transfer() would wait, and gets the answer that it would get.
 *
 * Errors. A batch whose transaction fails has written nothing. Perhaps one of its
 * requests was applied before, which is left to the unique index to find: so it is
 * tried again with all its requests looked up, as are all for a second, and what is put off. Then its halves are
 * tried as batches, down to the request that fails alone, which gets the error.
 *
 * What is locked. While the combiner waits, all wait. So it looks, before anything is
 * written, whether a request would have to wait for another session: for a row that is
 * locked, an account that is being opened, a pure account's event or a request
 * that is not committed. Such a request is put off, and with it the later ones on
 * the account, while all others are applied. It is tried again after a few
 * milliseconds, more as time goes on, for all that are put off at once; in between the
 * combiner sleeps when nobody else calls. Who has been put off for
 * pointstore.combine_lock_timeout is given back, of those who wait for one account only the first:
 * he queues for it, and the others begin to wait anew. Were all given back, they would
 * keep it locked one after another, those who come next would be put off and given back in
 * turn, and nothing of that account would ever be combined again. (Where slots are short all are.)
 * Who is cancelled while he is put off was not appended.
 *
 * What it could not foresee (a row that came to be since it has looked, or what users' triggers
 * and foreign keys run into) it waits for, but not for long: the request that
 * was being written is put off, or found as one that fails is, and the others go on without
 * it. One that has waited twice is given back. For a table everybody waits: all
 * are put off.
 *
 * Who dies. A caller who is cancelled or terminated leaves his slot as said
 * above; a leader does his duty first. A combiner that ends for whatever reason first gives back what it has
 * taken: its transaction is rolled back then. (Between its commit and the answers
 * nothing interrupts it. Should it end there all the same, it says that the
 * outcome is unknown.) Who still waits starts another. A killed process restarts
 * the server, and shared memory is made anew; the callers lose their
 * connections, and a request_id tells them what happened. A combiner that was asked
 * for and does not come is not waited for: a second later the callers append plainly, as do those
 * who got no slot. No database takes the last slots while it has some: so a slow trigger in
 * one does not keep the callers of the others waiting.
 *
 * Combiners. One for each database that is being served, started by the first
 * caller and gone after pointstore.combine_idle_timeout. While it is idle
 * it has no transaction and no lock, and it leaves when the extension is gone; at any
 * time it makes way for who drops or copies its database (worker.c). Starting it, and its end, are
 * changes of its entry's state under the same lock; the entry's generation tells a
 * worker that comes too late that it is not meant any more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/extension.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "replication/syncrep.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "ground/compat.h"
#include "ground/pointstore.h"

PG_FUNCTION_INFO_V1(pointstore_submit_event);
PG_FUNCTION_INFO_V1(pointstore_try_submit_event);
PG_FUNCTION_INFO_V1(pointstore_submit_transfer);
PG_FUNCTION_INFO_V1(pointstore_try_submit_transfer);

PGDLLEXPORT void pointstore_combiner_main(Datum arg);

#define SLOT_EVENTS		POINTSTORE_TRANSFER_LEGS	/* events of a request, at most */
#define SLOT_TEXT		7680	/* bytes of its texts, or of an error's */
#define TICK			200		/* ms, between two looks of an idle combiner */
#define START_PATIENCE	1000	/* ms that callers wait for a slot, and for a combiner to come */
#define RESERVE			8		/* this part of the slots is for databases that have less of them */
#define START_TIMEOUT	5000	/* ms after which another is asked for, when some did not come */
#define ENOUGH			16		/* callers that are worth a batch, while others may be about to come */
#define WARINESS		1000	/* ms in which requests are looked up, after a batch has failed */
#define MAX_FAILURES	2		/* in a row, before that counts */
#define PATIENCE		20		/* ms for a lock that nobody has foreseen */
#define WARY_PATIENCE	2		/* the same, when there was one just now */
#define RETRY_SOONEST	1		/* ms, after which what is put off is tried again: at first, */
#define RETRY_LATEST	16		/* and in the end */
#define RETRY_REST		100		/* ms at most, however long the last try took */

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_WAITING,
	SLOT_TAKEN,
	SLOT_ABANDONED,
	SLOT_DECIDED,
	SLOT_ANSWERED
} SlotState;

typedef enum AnswerKind
{
	ANSWER_DECIDED,				/* the slot's events have the outcome */
	ANSWER_ERROR,				/* slot->error */
	ANSWER_GIVEN_BACK
} AnswerKind;

/* Pointers in events and error are into text: shared memory has one address in all processes. */
typedef struct Slot
{
	pg_atomic_uint32 state;		/* SlotState, changed under the lock */
	int			next;			/* in the queue, the free list, or after the leader; -1: the last */
	int			combiner;		/* whose queue */
	Latch	   *latch;			/* the caller's */
	TimestampTz put_off;		/* by the combiner, since when; 0: not */
	bool		has_waited;		/* put off because it alone has waited for a lock */
	AnswerKind	answer;
	XLogRecPtr	flush;			/* WAL up to here comes before the answer */
	int			nevents;
	ProposedEvent events[SLOT_EVENTS];
	ErrorData	error;
	Size		used;			/* of text */
	char		text[SLOT_TEXT];
} Slot;

typedef enum CombinerState
{
	COMBINER_NONE,
	COMBINER_STARTING,
	COMBINER_RUNNING
} CombinerState;

typedef struct Combiner
{
	Oid			database;
	CombinerState state;
	uint32		generation;
	TimestampTz since;			/* when it was asked for */
	int			failures;		/* times that it was, since one has served */
	Latch	   *latch;			/* while it runs */
	int			first;			/* of the slots that wait, in order of arrival; -1: none */
	int			last;
	int			nslots;			/* that its callers have */
} Combiner;

/* An account that requests wait for which are put off: of the combiner alone. */
typedef struct BusyAccount
{
	uint64		account;		/* its hash */
	bool		relieved;		/* one of them is given back */
} BusyAccount;

typedef struct Shared
{
	LWLock		lock;
	ConditionVariable freed;	/* a slot */
	int			free;			/* the first free slot; -1: none */
	int			nfree;
	int			ncombiners;
	Combiner   *combiners;
	Slot	   *slots;
} Shared;

/* What a worker is told, in bgw_extra. */
typedef struct Order
{
	int			combiner;
	uint32		generation;
	Oid			database;
} Order;

static int	combine_slots = 0;
static int	combine_delay = 0;	/* us */
static int	combine_lock_timeout = 100; /* ms */
static int	combine_idle_timeout = 10;	/* s */

static Shared *shared = NULL;	/* null: not preloaded, or turned off */
static bool appended_plainly = false;	/* in this transaction */
static bool appending = false;	/* plainly, so that who submits now is a trigger */
static uint32 submit_wait = 0;
static uint32 combine_wait = 0;

/* of the combiner alone */
static Combiner *combiner = NULL;	/* its entry, while it is in charge */
static Slot **taken;			/* first those that are put off, each part in order of arrival */
static Slot **decided;			/* by the batch at hand */
static int	ntaken = 0;
static int	nput_off = 0;
static TimestampTz retry_at = 0;	/* when those are tried again */
static int	retry_pause = 0;	/* ms, that they were left alone last */
static bool retry_paid = false;	/* one of them was decided since */
static HTAB *busy_accounts = NULL;	/* that they wait for; null: none */
static int	idle_ticks = 0;
static TimestampTz wary_until = 0;
static TransactionId committing = InvalidTransactionId; /* until its events are answered */

static Datum submit_event(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum submit_transfer(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static void begin_submit(const char *function);
static bool has_written(void);
static bool submit(ProposedEvent *events, int n);
static bool combine(ProposedEvent *events, int n);
static void count_wait(instr_time since);
static Size size_of_texts(const ProposedEvent *events, int n);
static Size size_of_text(const void *text, const void *first);
static pg_noinline Slot *enqueue(const ProposedEvent *events, int n);
static Combiner *await_slot(void);
static Combiner *find_combiner(void);
static void fill_slot(Slot *slot, const ProposedEvent *events, int n);
static void *put(Slot *slot, const void *data, Size size);
static bool await_answer(Slot *slot);
static bool look_after_combiner(Slot *slot);
static bool needs_start(const Combiner *entry, TimestampTz now);
static void start_combiner(Combiner *wanted, uint32 generation);
static void wake_queue(Combiner *of);
static ErrorData *read_answer(Slot *slot, ProposedEvent *events);
static ErrorData *copy_error(const ErrorData *error);
static void abandon(int code, Datum slot);
static void withdraw(Slot *slot);
static void free_slot(Slot *slot);
static void lead(Slot *leader);
static bool take_charge(const Order *order);
static void set_up_session(void);
static void set_patience(int patience);
static void attend(void);
static void leave(int code, Datum arg);
static int	take_waiting(void);
static void serve(void);
static void drop_abandoned(void);
static int	put_off_behind(void);
static bool is_behind(const Slot *slot);
static uint64 hash_of(text *account);
static void note_busy(const ProposedEvent *events, int n, bool given_back);
static bool is_relieved(const ProposedEvent *events, int n);
static void forget_busy(void);
static void schedule_retry(TimestampTz since);
static void run(Slot **slots, int n);
static void run_halves(Slot **slots, int n, const Batch *batch, const ErrorData *error);
static void gather_events(Batch *batch, Slot **slots, int n);
static int	find_guilty(const Batch *batch, Slot **slots, int n);
static void settle(Slot **slots, int n, const Batch *batch, const ErrorData *error);
static bool is_hopeless(Slot *slot, const Batch *batch, const ErrorData *error);
static ErrorData *append_batch(Batch *batch);
static void count_batch(const Batch *batch);
static bool is_passing(int sqlerrcode);
static bool put_off(Slot *slot, bool anew);
static void decide(Slot *slot, const ProposedEvent *events, XLogRecPtr commit);
static void answer_error(Slot *slot, const ErrorData *error);
static void answer(Slot **slots, int n);
static bool idle(void);
static bool give_up_entry(void);
static bool is_unwanted(void);

/* Called once when the library is loaded: the settings, and preloaded the memory. */
void
pointstore_combine_init(void)
{
	DefineCustomIntVariable("pointstore.combine_delay",
							"How long the combiner waits for more callers before it appends.",
							NULL, &combine_delay, 0, 0, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.combine_lock_timeout",
							"How long callers are put off because of what another session has locked before they wait for it themselves.",
							NULL, &combine_lock_timeout, 100, 1, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.combine_idle_timeout",
							"How long a combiner without callers stays.",
							NULL, &combine_idle_timeout, 10, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("pointstore.combine_slots",
							"Callers of submit_event that are served at once; 0 lets them append plainly.",
							NULL, &combine_slots, 256, 0, 10000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

/* What it needs of shared memory. There are never more combiners than workers. */
Size
pointstore_combine_memory(void)
{
	return add_size(MAXALIGN(sizeof(Shared)),
					add_size(MAXALIGN(mul_size(sizeof(Combiner), max_worker_processes)),
							 mul_size(sizeof(Slot), combine_slots)));
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_combine_set_up(void)
{
	bool		found;
	int			i;

	if (combine_slots == 0 || max_worker_processes == 0)
		return;
	shared = ShmemInitStruct("pointstore combine", pointstore_combine_memory(), &found);
	if (!found)
	{
		memset(shared, 0, pointstore_combine_memory());
		LWLockInitialize(&shared->lock, LWLockNewTrancheId());
		ConditionVariableInit(&shared->freed);
		shared->ncombiners = max_worker_processes;
		shared->combiners = (Combiner *) ((char *) shared + MAXALIGN(sizeof(Shared)));
		shared->slots = (Slot *) ((char *) shared->combiners + MAXALIGN(sizeof(Combiner) * shared->ncombiners));
		for (i = 0; i < shared->ncombiners; i++)
			shared->combiners[i].first = shared->combiners[i].last = -1;
		shared->nfree = combine_slots;
		for (i = 0; i < combine_slots; i++)
		{
			pg_atomic_init_u32(&shared->slots[i].state, SLOT_FREE);
			shared->slots[i].next = i + 1 < combine_slots ? i + 1 : -1;
		}
	}
	LWLockRegisterTranche(shared->lock.tranche, "pointstore_combine");
}

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
	Datum		result;

	begin_submit("submit_event()");
	pointstore_read_arguments(fcinfo, &event);
	if (submit(&event, 1))
		return pointstore_answer(&event, refusals_are_outcomes);
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
	Batch		batch = {
		.events = legs, .nevents = POINTSTORE_TRANSFER_LEGS, .refusals_are_outcomes = refusals_are_outcomes
	};
	Datum		result;
	int			i;

	begin_submit("submit_transfer()");
	pointstore_read_transfer(fcinfo, legs);
	if (!submit(legs, POINTSTORE_TRANSFER_LEGS))
	{
		appending = true;
		result = pointstore_append_transfer(fcinfo, legs, refusals_are_outcomes);
		appending = false;
		return result;
	}
	for (i = 0; i < POINTSTORE_TRANSFER_LEGS; i++)
		if (legs[i].outcome > OUTCOME_REPLAYED && legs[i].outcome != OUTCOME_WITHDRAWN)
			batch.refused = &legs[i];
	pointstore_raise_refused(&batch);
	return pointstore_answer_all(fcinfo, &batch);
}

/* What is submitted stays, so it cannot be part of a transaction that may be rolled back: 25001. */
static void
begin_submit(const char *function)
{
	PreventCommandIfReadOnly(function);
	if (combiner != NULL || appending || IsTransactionBlock() || IsSubTransaction() ||
		(MyXactFlags & XACT_FLAGS_PIPELINING) || (!appended_plainly && has_written()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s commits by itself and cannot run inside a transaction block, nor after a write", function),
				 errhint("append_event() and transfer() are part of the transaction that they are called in.")));
}

/*
 * Whether this transaction has written rows, or a statement under way is one that writes or locks
 * some: the executor then marks the command's id as used before the first row, whatever
 * fires or calls us and however deep, and a used one is counted up. A transaction id
 * says less: nextval() takes one now and then, and what it has drawn stays drawn.
 */
static bool
has_written(void)
{
	CommandCounterIncrement();
	return GetCurrentCommandId(false) != FirstCommandId;
}

/*
 * Has a request decided. False: it is the caller's to be appended plainly, as it is where
 * it cannot be combined, and in a transaction that has done so already, whose locks a
 * combiner would wait for.
 */
static bool
submit(ProposedEvent *events, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		events[i].role = GetOuterUserId();
	if (!appended_plainly && combine(events, n))
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
combine(ProposedEvent *events, int n)
{
	Slot	   *slot;
	ErrorData  *volatile error = NULL;
	instr_time	since;
	volatile bool answered = false;
	volatile AnswerKind answer = ANSWER_GIVEN_BACK;
	volatile XLogRecPtr flush = InvalidXLogRecPtr;

	if (shared == NULL || IsBinaryUpgrade || size_of_texts(events, n) > SLOT_TEXT)
		return false;
	INSTR_TIME_SET_CURRENT(since);
	slot = enqueue(events, n);
	if (slot == NULL)
		return false;
	PG_ENSURE_ERROR_CLEANUP(abandon, PointerGetDatum(slot));
	{
		answered = await_answer(slot);
		if (answered)
		{
			answer = slot->answer;
			flush = slot->flush;
			error = read_answer(slot, events);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon, PointerGetDatum(slot));
	if (answered)
		abandon(0, PointerGetDatum(slot));
	if (answer == ANSWER_GIVEN_BACK)
	{
		pointstore_stat_add(STAT_GIVEN_BACK, 1);
		return false;
	}
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(flush, true);
	RESUME_INTERRUPTS();
	count_wait(since);
	if (error != NULL)
		ThrowErrorData(error);
	return true;
}

/* A caller's wait for his answer is over, which began then. */
static void
count_wait(instr_time since)
{
	instr_time	waited;

	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, since);
	pointstore_stat_add(STAT_ANSWERS, 1);
	pointstore_stat_add(STAT_WAITED, INSTR_TIME_GET_MICROSEC(waited));
}

/* What fill_slot() puts. */
static Size
size_of_texts(const ProposedEvent *events, int n)
{
	Size		size = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
#define SIZE(field) size_of_text(events[i].field, i > 0 ? events[0].field : NULL)
		size += SIZE(aggregate_id) + SIZE(event_type) + SIZE(payload) + SIZE(metadata) +
			SIZE(request_id) + SIZE(kind);
#undef SIZE
	}
	return size;
}

/* Nothing where the request's first event has the same. */
static Size
size_of_text(const void *text, const void *first)
{
	return text == NULL || text == first ? 0 : MAXALIGN(VARSIZE_ANY(text));
}

/*
 * Puts a request into a slot at the end of its database's queue; NULL: no combiner can be
 * had. Not inlined: compilers then see its variables beside the caller's PG_TRY, and warn.
 */
static pg_noinline Slot *
enqueue(const ProposedEvent *events, int n)
{
	Combiner   *mine;
	Slot	   *slot;
	Latch	   *latch = NULL;

	mine = await_slot();
	if (mine == NULL)
		return NULL;
	slot = &shared->slots[shared->free];
	shared->free = slot->next;
	shared->nfree--;
	mine->nslots++;
	fill_slot(slot, events, n);
	slot->combiner = mine - shared->combiners;
	if (mine->first < 0)
		mine->first = slot - shared->slots;
	else
		shared->slots[mine->last].next = slot - shared->slots;
	mine->last = slot - shared->slots;
	pg_atomic_write_u32(&slot->state, SLOT_WAITING);
	if (mine->state == COMBINER_RUNNING)
		latch = mine->latch;
	LWLockRelease(&shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	return slot;
}

/*
 * Waits, not for ever, until this database may have one of the free slots: the last ones are
 * for databases that have few, so that none keeps all to itself. Returns its entry, under
 * the lock; NULL, not under the lock: no combiner can be had.
 */
static Combiner *
await_slot(void)
{
	TimestampTz since = GetCurrentTimestamp();
	Combiner   *mine;

	for (;;)
	{
		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		mine = find_combiner();
		if (mine == NULL || shared->nfree > (mine->nslots < combine_slots / RESERVE ? 0 : combine_slots / RESERVE))
			break;
		LWLockRelease(&shared->lock);
		if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), START_PATIENCE))
		{
			ConditionVariableCancelSleep();
			return NULL;
		}
		/* the timeout is for the one who was woken and may have none, or was cancelled in that moment */
		(void) ConditionVariableTimedSleep(&shared->freed, 100, pointstore_wait_event(&submit_wait, "PointstoreSubmit"));
	}
	ConditionVariableCancelSleep();
	if (mine == NULL)
		LWLockRelease(&shared->lock);
	return mine;
}

/* The entry of this database, or one that is not in use, or NULL; under the lock. */
static Combiner *
find_combiner(void)
{
	Combiner   *vacant = NULL;
	int			i;

	for (i = 0; i < shared->ncombiners; i++)
	{
		Combiner   *entry = &shared->combiners[i];

		if (entry->database == MyDatabaseId)
			return entry;
		if (entry->first < 0 && vacant == NULL &&
			(entry->state == COMBINER_NONE ||
			 (entry->state == COMBINER_STARTING &&
			  TimestampDifferenceExceeds(entry->since, GetCurrentTimestamp(), START_TIMEOUT))))
			vacant = entry;
	}
	if (vacant != NULL)
	{
		vacant->database = MyDatabaseId;
		vacant->state = COMBINER_NONE;
		vacant->generation++;
	}
	return vacant;
}

static void
fill_slot(Slot *slot, const ProposedEvent *events, int n)
{
	int			i;

	slot->next = -1;
	slot->latch = MyLatch;
	slot->put_off = 0;
	slot->has_waited = false;
	slot->flush = InvalidXLogRecPtr;
	slot->used = 0;
	slot->nevents = n;
	for (i = 0; i < n; i++)
	{
		slot->events[i] = events[i];
#define PUT(field) \
		if (events[i].field != NULL) \
			slot->events[i].field = i > 0 && events[i].field == events[0].field ? slot->events[0].field \
				: put(slot, events[i].field, VARSIZE_ANY(events[i].field))
		PUT(aggregate_id);
		PUT(event_type);
		PUT(payload);
		PUT(metadata);
		PUT(request_id);
		PUT(kind);
#undef PUT
	}
}

/* Copies data into the slot's text, where there is room for it. */
static void *
put(Slot *slot, const void *data, Size size)
{
	void	   *place = slot->text + slot->used;

	Assert(slot->used + size <= SLOT_TEXT);
	memcpy(place, data, size);
	slot->used += MAXALIGN(size);
	return place;
}

/* Waits until the slot is answered. False: it was taken back, since no combiner came. */
static bool
await_answer(Slot *slot)
{
	while (pg_atomic_read_u32(&slot->state) != SLOT_ANSWERED)
	{
		if (!look_after_combiner(slot))
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, START_PATIENCE,
						 pointstore_wait_event(&submit_wait, "PointstoreSubmit"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	pg_read_barrier();
	return true;
}

/*
 * Sees to it that somebody takes the slot: starts a combiner where there is
 * none. False: none comes, and the slot was taken back.
 */
static bool
look_after_combiner(Slot *slot)
{
	Combiner   *mine = &shared->combiners[slot->combiner];
	TimestampTz now;
	uint32		generation = 0;
	bool		give_up = false;

	if (*(volatile CombinerState *) &mine->state == COMBINER_RUNNING)
		return true;
	now = GetCurrentTimestamp();
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u32(&slot->state) == SLOT_WAITING && mine->state != COMBINER_RUNNING)
	{
		if (needs_start(mine, now))
		{
			mine->state = COMBINER_STARTING;
			mine->since = now;
			mine->failures++;
			generation = ++mine->generation;
		}
		else if (mine->state == COMBINER_NONE || TimestampDifferenceExceeds(mine->since, now, START_PATIENCE))
		{
			withdraw(slot);
			give_up = true;
		}
	}
	LWLockRelease(&shared->lock);
	if (generation != 0)
		start_combiner(mine, generation);
	return !give_up;
}

/* Whether a combiner is to be asked for: not at once again when some have failed. */
static bool
needs_start(const Combiner *entry, TimestampTz now)
{
	return TimestampDifferenceExceeds(entry->since, now, START_TIMEOUT) ||
		(entry->state == COMBINER_NONE && entry->failures < MAX_FAILURES);
}

/* Asks for the worker; where none is free, all who wait are told, ourselves too. */
static void
start_combiner(Combiner *wanted, uint32 generation)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_type = POINTSTORE_COMBINER,
		.bgw_library_name = "pointstore", .bgw_function_name = "pointstore_combiner_main"
	};
	Order		order = {wanted - shared->combiners, generation, MyDatabaseId};

	StaticAssertStmt(sizeof(Order) <= BGW_EXTRALEN, "the order fits");
	memcpy(worker.bgw_extra, &order, sizeof(order));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pointstore combiner of database %u", MyDatabaseId);
	if (RegisterDynamicBackgroundWorker(&worker, NULL))
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (wanted->generation == generation && wanted->state == COMBINER_STARTING)
	{
		wanted->state = COMBINER_NONE;
		wanted->failures = MAX_FAILURES;
		wake_queue(wanted);
	}
	LWLockRelease(&shared->lock);
}

/* Lets all who wait look after themselves; under the lock. */
static void
wake_queue(Combiner *of)
{
	int			i;

	for (i = of->first; i >= 0; i = shared->slots[i].next)
		SetLatch(shared->slots[i].latch);
}

/* Copies an answer out of its slot: a decision into the events, an error as the result. */
static ErrorData *
read_answer(Slot *slot, ProposedEvent *events)
{
	int			i;

	if (slot->answer == ANSWER_ERROR)
		return copy_error(&slot->error);
	for (i = 0; slot->answer == ANSWER_DECIDED && i < slot->nevents; i++)
	{
		ProposedEvent asked = events[i];
		ProposedEvent *event = &events[i];

		*event = slot->events[i];
		event->aggregate_id = asked.aggregate_id;
		event->event_type = asked.event_type;
		event->payload = asked.payload;
		event->metadata = asked.metadata;
		event->request_id = asked.request_id;
		event->kind = asked.kind;
#define COPY(field) event->field = event->field ? pstrdup(event->field) : NULL
		COPY(mismatch);
		COPY(asked);
		COPY(stored);
		COPY(opening);
#undef COPY
		event->account = NULL;	/* the combiner's, and gone */
	}
	return NULL;
}

static ErrorData *
copy_error(const ErrorData *error)
{
	ErrorData  *copy = palloc(sizeof(ErrorData));

	*copy = *error;
#define COPY(field) copy->field = error->field ? pstrdup(error->field) : NULL
	COPY(message);
	COPY(detail);
	COPY(hint);
	COPY(context);
	COPY(schema_name);
	COPY(table_name);
	COPY(column_name);
	COPY(datatype_name);
	COPY(constraint_name);
#undef COPY
	copy->assoc_context = CurrentMemoryContext;
	return copy;
}

/* The caller leaves his slot: he has the answer, or he is cancelled or ends before. */
static void
abandon(int code, Datum arg)
{
	Slot	   *slot = (Slot *) DatumGetPointer(arg);

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	switch ((SlotState) pg_atomic_read_u32(&slot->state))
	{
		case SLOT_WAITING:
			withdraw(slot);
			break;
		case SLOT_TAKEN:
		case SLOT_DECIDED:
			pg_atomic_write_u32(&slot->state, SLOT_ABANDONED);
			break;
		case SLOT_ANSWERED:
			LWLockRelease(&shared->lock);
			lead(slot);
			LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
			free_slot(slot);
			break;
		case SLOT_ABANDONED:
		case SLOT_FREE:
			break;				/* not the caller's any more */
	}
	LWLockRelease(&shared->lock);
}

/* A leader's duty: flushes WAL for himself and those who follow, and answers these. */
static void
lead(Slot *leader)
{
	Latch	   *latches[32];
	int			n;
	int			i;

	XLogFlush(leader->flush);
	while (leader->next >= 0)
	{
		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		for (n = 0; leader->next >= 0 && n < lengthof(latches);)
		{
			Slot	   *slot = &shared->slots[leader->next];

			leader->next = slot->next;
			slot->next = -1;
			if (pg_atomic_read_u32(&slot->state) == SLOT_ABANDONED)
				free_slot(slot);
			else
			{
				latches[n++] = slot->latch;
				pg_atomic_write_u32(&slot->state, SLOT_ANSWERED);
			}
		}
		LWLockRelease(&shared->lock);
		for (i = 0; i < n; i++)
			SetLatch(latches[i]);
	}
}

/* Takes a slot that waits out of its queue and frees it; under the lock. */
static void
withdraw(Slot *slot)
{
	Combiner   *mine = &shared->combiners[slot->combiner];
	int			number = slot - shared->slots;
	int			before = -1;
	int			i;

	for (i = mine->first; i != number; i = shared->slots[i].next)
		before = i;
	if (before < 0)
		mine->first = slot->next;
	else
		shared->slots[before].next = slot->next;
	if (mine->last == number)
		mine->last = before;
	free_slot(slot);
}

/* Under the lock. */
static void
free_slot(Slot *slot)
{
	pg_atomic_write_u32(&slot->state, SLOT_FREE);
	slot->next = shared->free;
	shared->free = slot - shared->slots;
	shared->nfree++;
	shared->combiners[slot->combiner].nslots--;
	ConditionVariableSignal(&shared->freed);
}

/* The combiner. */
void
pointstore_combiner_main(Datum arg)
{
	Order		order;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pointstore_worker_signals();
	before_shmem_exit(leave, PointerGetDatum(NULL));
	if (shared == NULL || !take_charge(&order))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(order.database, InvalidOid, 0);
	set_up_session();
	pgstat_report_activity(STATE_RUNNING, "pointstore: combined append");
	for (;;)
	{
		attend();
		if (take_waiting() > 0)
		{
			if (ntaken - nput_off < ENOUGH)
			{
				/* a transaction for few costs nearly what it costs for many */
				pointstore_yield();
				(void) take_waiting();
			}
			if (combine_delay > 0)
			{
				pg_usleep(combine_delay);
				(void) take_waiting();
			}
		}
		if (ntaken > nput_off || (nput_off > 0 && GetCurrentTimestamp() >= retry_at))
			serve();
		else if (!idle())
			proc_exit(0);
	}
}

/* Takes over the entry that the order names; false: it is not meant any more. */
static bool
take_charge(const Order *order)
{
	Combiner   *entry = &shared->combiners[order->combiner];

	taken = MemoryContextAlloc(TopMemoryContext, sizeof(Slot *) * combine_slots);
	decided = MemoryContextAlloc(TopMemoryContext, sizeof(Slot *) * combine_slots);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (entry->generation == order->generation && entry->state == COMBINER_STARTING)
	{
		entry->state = COMBINER_RUNNING;
		entry->latch = MyLatch;
		combiner = entry;
	}
	LWLockRelease(&shared->lock);
	return combiner != NULL;
}

/* Its commits do not wait for the disk. */
static void
set_up_session(void)
{
	pointstore_worker_connected();
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/* How long it waits for a lock, in ms. */
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

/* To signals and changed settings. */
static void
attend(void)
{
	CHECK_FOR_INTERRUPTS();
	(void) pointstore_worker_reload();
}

/*
 * Gives up the entry, whatever the reason for the end: what was taken is given
 * back, since its transaction will be rolled back; and who waits starts another.
 */
static void
leave(int code, Datum arg)
{
	bool		unknown = TransactionIdIsValid(committing) && TransactionIdDidCommit(committing);
	int			i;

	if (combiner == NULL)
		return;
	for (i = 0; i < ntaken; i++)
		if (taken[i] != NULL)
		{
			static const ErrorData lost = {
				.elevel = ERROR, .sqlerrcode = ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
				.message = "the combiner has ended, and whether the event was appended is unknown",
				.hint = "Repeat the call: with a request_id it is applied once."
			};

			taken[i]->answer = ANSWER_GIVEN_BACK;
			if (unknown)
				answer_error(taken[i], &lost);
		}
	answer(taken, ntaken);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	combiner->state = COMBINER_NONE;
	wake_queue(combiner);
	combiner = NULL;
	LWLockRelease(&shared->lock);
}

/* Takes all that wait; returns their number. */
static int
take_waiting(void)
{
	int			before = ntaken;
	int			i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (i = combiner->first; i >= 0; i = shared->slots[i].next)
	{
		pg_atomic_write_u32(&shared->slots[i].state, SLOT_TAKEN);
		taken[ntaken++] = &shared->slots[i];
	}
	combiner->first = combiner->last = -1;
	LWLockRelease(&shared->lock);
	return ntaken - before;
}

/*
 * Appends and answers what is fresh, or, when that is due, all that was taken. What is
 * not answered then is put off.
 */
static void
serve(void)
{
	static MemoryContext context = NULL;
	TimestampTz now = GetCurrentTimestamp();
	bool		retry = nput_off > 0 && now >= retry_at;
	int			left = 0;
	int			first;
	int			i;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "pointstore batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	if (idle_ticks > 0)
		pgstat_report_activity(STATE_RUNNING, "pointstore: combined append");
	idle_ticks = 0;
	combiner->failures = 0;
	if (retry)
	{
		forget_busy();
		drop_abandoned();
	}
	retry_paid = false;
	first = retry ? 0 : put_off_behind();
	run(taken + first, ntaken - first);
	for (i = 0; i < ntaken; i++)
		if (taken[i] != NULL)
			taken[left++] = taken[i];
	ntaken = nput_off = left;
	if (nput_off == 0)
		forget_busy();
	if (nput_off == 0 || retry_paid)
		retry_pause = 0;
	if (nput_off > 0 && (retry || retry_pause == 0))
		schedule_retry(now);
	MemoryContextReset(context);
	(void) pgstat_report_stat(false);
}

/* Of those that are put off frees the ones whose callers are gone: nothing has happened to them. */
static void
drop_abandoned(void)
{
	int			left = 0;
	int			i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < ntaken; i++)
		if (i < nput_off && pg_atomic_read_u32(&taken[i]->state) == SLOT_ABANDONED)
			free_slot(taken[i]);
		else
			taken[left++] = taken[i];
	nput_off -= ntaken - left;
	ntaken = left;
	LWLockRelease(&shared->lock);
}

/*
 * Of those that are fresh puts off whose account earlier ones wait for. Returns their
 * number with those that were put off before; the others come after them.
 */
static int
put_off_behind(void)
{
	int			behind = nput_off;
	int			ready = 0;
	int			i;

	for (i = nput_off; busy_accounts != NULL && i < ntaken; i++)
		if (is_behind(taken[i]))
		{
			(void) put_off(taken[i], false);
			taken[behind++] = taken[i];
		}
		else
			decided[ready++] = taken[i];	/* lent */
	memcpy(taken + behind, decided, ready * sizeof(Slot *));
	return behind;
}

static bool
is_behind(const Slot *slot)
{
	int			i;

	for (i = 0; i < slot->nevents; i++)
	{
		uint64		account = hash_of(slot->events[i].aggregate_id);

		if (hash_search(busy_accounts, &account, HASH_FIND, NULL) != NULL)
			return true;
	}
	return false;
}

/* Who has the hash of a busy account in common with it is put off a little too. */
static uint64
hash_of(text *account)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) VARDATA_ANY(account),
											VARSIZE_ANY_EXHDR(account), 0));
}

/* Notes which accounts a request waits for that is put off or, then they are relieved, given back. */
static void
note_busy(const ProposedEvent *events, int n, bool given_back)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(BusyAccount)};
	int			i;

	if (busy_accounts == NULL)
		busy_accounts = hash_create("pointstore busy accounts", 64, &control, HASH_ELEM | HASH_BLOBS);
	for (i = 0; i < n; i++)
	{
		uint64		account = hash_of(events[i].aggregate_id);
		BusyAccount *entry;
		bool		known;

		if (!events[i].account->busy)
			continue;
		entry = hash_search(busy_accounts, &account, HASH_ENTER, &known);
		entry->relieved = given_back || (known && entry->relieved);
	}
}

/* Whether one that waits for the same account was given back just now. */
static bool
is_relieved(const ProposedEvent *events, int n)
{
	int			i;

	for (i = 0; busy_accounts != NULL && i < n; i++)
	{
		uint64		account = hash_of(events[i].aggregate_id);
		const BusyAccount *entry = hash_search(busy_accounts, &account, HASH_FIND, NULL);

		if (events[i].account->busy && entry != NULL && entry->relieved)
			return true;
	}
	return false;
}

static void
forget_busy(void)
{
	if (busy_accounts != NULL)
		hash_destroy(busy_accounts);
	busy_accounts = NULL;
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
 * Applies the requests of some slots in one transaction. A slot that is answered
 * becomes NULL in the array; one that is put off stays. When the transaction fails,
 * the request to blame, or each half of them, goes by itself.
 */
static void
run(Slot **slots, int n)
{
	Batch		batch = {.apart = true, .same_unit = true};
	bool		trusting;
	ErrorData  *error;

	if (n == 0)
		return;
	/* of what is put off, which comes first, perhaps the request is what it waits for */
	trusting = batch.trusting = slots[0]->put_off == 0 && GetCurrentTimestamp() >= wary_until;
	set_patience(Min(trusting ? PATIENCE : WARY_PATIENCE, combine_lock_timeout));
	gather_events(&batch, slots, n);
	error = append_batch(&batch);
	if (error != NULL)
		wary_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WARINESS);
	if (error != NULL && trusting && !pointstore_has_waited(error->sqlerrcode))
		run(slots, n);
	else if (error == NULL || n == 1 || (is_passing(error->sqlerrcode) && batch.current == NULL && !batch.written))
		settle(slots, n, &batch, error);
	else
		run_halves(slots, n, &batch, error);
}

/* After an error that is not everybody's: the one to blame, where it is known, is put off or given back. */
static void
run_halves(Slot **slots, int n, const Batch *batch, const ErrorData *error)
{
	int			half = n / 2;

	if (!is_passing(error->sqlerrcode) || batch->current == NULL)
	{
		run(slots, half);
		run(slots + half, n - half);
		return;
	}
	half = find_guilty(batch, slots, n);
	settle(slots + half, 1, batch, error);
	run(slots, half);
	run(slots + half + 1, n - half - 1);
}

static void
gather_events(Batch *batch, Slot **slots, int n)
{
	int			i;

	batch->events = palloc(sizeof(ProposedEvent) * SLOT_EVENTS * n);
	for (i = 0; i < n; i++)
	{
		memcpy(&batch->events[batch->nevents], slots[i]->events, sizeof(ProposedEvent) * slots[i]->nevents);
		batch->nevents += slots[i]->nevents;
	}
}

/* Whose event was being written. */
static int
find_guilty(const Batch *batch, Slot **slots, int n)
{
	const ProposedEvent *end = batch->events;
	int			i;

	for (i = 0; i < n - 1; i++)
	{
		end += slots[i]->nevents;
		if (batch->current < end)
			break;
	}
	return i;
}

/* Answers the slots of a batch that is committed, or has failed for good, or puts them off. */
static void
settle(Slot **slots, int n, const Batch *batch, const ErrorData *error)
{
	const ProposedEvent *events = batch->events;
	int			ndecided = 0;
	int			i;

	if (error == NULL)
		count_batch(batch);
	for (i = 0; i < n; i++)
	{
		Slot	   *slot = slots[i];

		slot->answer = ANSWER_GIVEN_BACK;
		if (error == NULL && events->outcome != OUTCOME_BUSY)
			decide(slot, events, XactLastCommitEnd);
		else if (error != NULL && !is_passing(error->sqlerrcode))
			answer_error(slot, error);
		else if (!is_hopeless(slot, batch, error) && put_off(slot, error == NULL && is_relieved(events, slot->nevents)))
		{
			if (error == NULL)
				note_busy(events, slot->nevents, false);
			events += slot->nevents;
			continue;
		}
		else if (error == NULL)
			note_busy(events, slot->nevents, true);
		events += slot->nevents;
		decided[ndecided++] = slot;
		slots[i] = NULL;
	}
	answer(decided, ndecided);
	committing = InvalidTransactionId;
}

/*
 * Whether a request that is to be put off is better given back: it has waited for an
 * unforeseen lock once more, or somebody has cancelled what it does. Notes the first time.
 */
static bool
is_hopeless(Slot *slot, const Batch *batch, const ErrorData *error)
{
	bool		before = slot->has_waited;

	if (error == NULL || !pointstore_has_waited(error->sqlerrcode) || (batch->current == NULL && !batch->written))
		return false;
	slot->has_waited = true;
	return before || error->sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/* One transaction. Its error, after which nothing of it is left, or NULL. */
static ErrorData *
append_batch(Batch *batch)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		pointstore_begin_step();
		MemoryContextSwitchTo(context); /* what refusals say is told after the commit */
		pointstore_append(batch);
		committing = GetTopTransactionIdIfAny();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		if (TransactionIdIsValid(committing))
			batch->current = NULL;
		committing = InvalidTransactionId;
	}
	PG_END_TRY();
	pointstore_worker_clean_up();
	MemoryContextSwitchTo(context);
	return error;
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
 * Whether a slot, one of whose accounts is locked, is to be tried again; false: it has been for long.
 * anew: one before it was given back, and while slots are not short its time begins again.
 */
static bool
put_off(Slot *slot, bool anew)
{
	TimestampTz now = GetCurrentTimestamp();

	if (slot->put_off == 0 || (anew && nput_off <= combine_slots / 2))
		slot->put_off = now;
	return !TimestampDifferenceExceeds(slot->put_off, now, combine_lock_timeout);
}

/* The answer for a request that a committed batch has decided. */
static void
decide(Slot *slot, const ProposedEvent *events, XLogRecPtr commit)
{
	int			i;

	retry_paid |= slot->put_off != 0;
	slot->answer = ANSWER_DECIDED;
	slot->flush = InvalidXLogRecPtr;
	slot->used = 0;
	for (i = 0; i < slot->nevents; i++)
	{
		const ProposedEvent *event = &events[i];

		slot->events[i] = *event;
		/* as far as they are its refusal's: others may be left from an attempt before */
		slot->events[i].mismatch = slot->events[i].asked = slot->events[i].stored = slot->events[i].opening = NULL;
#define PUT(field) \
		if (event->field != NULL) \
			slot->events[i].field = put(slot, event->field, strlen(event->field) + 1)
		if (event->outcome == OUTCOME_REQUEST_MISMATCH || event->outcome == OUTCOME_NOT_ALLOWED)
		{
			PUT(mismatch);
			PUT(asked);
			PUT(stored);
			PUT(opening);
		}
#undef PUT
		if (event->outcome == OUTCOME_REPLAYED)
			slot->flush = Max(slot->flush, event->durable);
		if (event->outcome == OUTCOME_APPENDED ||
			(event->same_as != NULL && event->same_as->outcome == OUTCOME_APPENDED))
			slot->flush = commit;
	}
}

/* Puts an error into a slot, its texts as far as they fit. */
static void
answer_error(Slot *slot, const ErrorData *error)
{
	slot->answer = ANSWER_ERROR;
	slot->used = 0;
	memset(&slot->error, 0, sizeof(ErrorData));
	slot->error.elevel = ERROR;
	slot->error.sqlerrcode = error->sqlerrcode;
#define PUT(field, most) \
	if (error->field != NULL) \
	{ \
		int			length = pg_mbcliplen(error->field, strlen(error->field), (most)); \
		slot->error.field = put(slot, error->field, length + 1); \
		slot->error.field[length] = '\0'; \
	}
	PUT(schema_name, NAMEDATALEN);
	PUT(table_name, NAMEDATALEN);
	PUT(column_name, NAMEDATALEN);
	PUT(datatype_name, NAMEDATALEN);
	PUT(constraint_name, NAMEDATALEN);
	PUT(message, 3000);
	PUT(detail, 2000);
	PUT(hint, 1000);
	PUT(context, 1000);
#undef PUT
}

/*
 * Hands these slots back, with what is in them; NULLs are passed over. Of those whose
 * answer has to become durable the first leads, and the others follow it.
 */
static void
answer(Slot **slots, int n)
{
	Slot	   *leader = NULL;
	Slot	   *last = NULL;
	int			i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < n; i++)
	{
		Slot	   *slot = slots[i];

		if (slot == NULL)
			continue;
		slot->next = -1;
		slots[i] = NULL;
		if (pg_atomic_read_u32(&slot->state) == SLOT_ABANDONED)
			free_slot(slot);
		else if (slot->flush != InvalidXLogRecPtr && leader != NULL)
		{
			last->next = slot - shared->slots;
			last = slot;
			leader->flush = Max(leader->flush, slot->flush);
			pg_atomic_write_u32(&slot->state, SLOT_DECIDED);
		}
		else
		{
			if (slot->flush != InvalidXLogRecPtr)
				leader = last = slot;
			slots[i] = slot;
			pg_atomic_write_u32(&slot->state, SLOT_ANSWERED);
		}
	}
	LWLockRelease(&shared->lock);
	for (i = 0; i < n; i++)
		if (slots[i] != NULL)
			SetLatch(slots[i]->latch);
}

/* Sleeps until somebody calls or is to be tried again, at most a tick. False: it is time to go. */
static bool
idle(void)
{
	long		timeout = nput_off == 0 ? TICK : TimestampDifferenceMilliseconds(GetCurrentTimestamp(), retry_at);
	int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
								   pointstore_wait_event(&combine_wait, "PointstoreCombine"));

	ResetLatch(MyLatch);
	if ((events & WL_LATCH_SET) || nput_off > 0)
		return true;
	if (idle_ticks++ == 0)
		pgstat_report_activity(STATE_IDLE, NULL);
	(void) pgstat_report_stat(false);
	if (is_unwanted())
		return false;
	return idle_ticks * TICK < combine_idle_timeout * 1000 || !give_up_entry();
}

/* Gives up the entry, unless somebody waits. */
static bool
give_up_entry(void)
{
	bool		done;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	done = combiner->first < 0;
	if (done)
	{
		combiner->state = COMBINER_NONE;
		combiner = NULL;
	}
	LWLockRelease(&shared->lock);
	return done;
}

/* Whether the database has the extension no more. */
static bool
is_unwanted(void)
{
	bool		unwanted;

	StartTransactionCommand();
	unwanted = !OidIsValid(get_extension_oid("pointstore", true));
	CommitTransactionCommand();
	return unwanted;
}
