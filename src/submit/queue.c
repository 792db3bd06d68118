/*-------------------------------------------------------------------------
 *
 * src/submit/queue.c
 *		Slots of shared memory in which requests wait for the combiner of their
 *		database, and answers for their callers. What is in a request or an answer
 *		(message.c) does not matter here.
 *
 * Slots. Each request lies in a slot of its own, whose state says to whom the slot
 * belongs:
 *
 *	free		nobody's; in the list of free slots
 *	waiting		the caller's; in the queue of its database
 *	taken		the combiner's: its transaction may be under way
 *	abandoned	taken or decided, and the caller is gone: the request is applied or
 *				refused all the same
 *	decided		nobody's: answered, but not durable yet; it follows a leader
 *	answered	the caller's: it reads the answer
 *
 * and changes as follows, and in no other way:
 *
 *	free      -> waiting	enter()				a caller brings a request
 *	waiting   -> free		withdraw()			the caller gives up, and nothing has happened
 *	waiting   -> taken		take()				the combiner takes all that wait
 *	taken     -> answered	answer()			nothing has to become durable first, or it leads
 *	taken     -> decided	follow()			an earlier slot of the same batch leads
 *	decided   -> answered	answer()			the leader has flushed WAL
 *	taken     -> abandoned	abandon()			the caller is cancelled, or ends
 *	decided   -> abandoned	abandon()			likewise
 *	abandoned -> free		release()			the combiner, or the leader, was to answer it
 *	answered  -> free		release()			the caller has the answer, or is gone without it
 *
 * Leaders. The combiner does not wait for the disk. Of the slots that it answers at
 * once, those whose answer has to become durable form a chain: the first, the leader,
 * is answered, the others follow it. The leader's caller flushes WAL for all of
 * them, then answers those that follow, before it leaves its slot for whatever reason.
 *
 * Queues. One for each database that is being served; in it slots wait in order of
 * arrival. Its combiner is a worker:
 *
 *	none		nobody serves the queue
 *	starting	a caller has asked for a worker; its generation tells one that comes
 *				too late that it is not meant any more
 *	running		it serves the queue, until it closes it
 *
 * A combiner that was asked for and does not come is not waited for: callers take
 * their requests back a second later. Another is not asked for at once when some have
 * failed. A queue is another database's as soon as it is empty and has no combiner.
 *
 * No database takes the last slots while it has some: so a slow trigger in one does
 * not keep the callers of the others waiting.
 *
 * Locking. All states, lists and queues change under one lock, held for a few
 * instructions and never while anything is waited for. A caller reads its slot's
 * state without the lock: when that is "answered", it stays so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "append/refusal.h"
#include "ground/compat.h"
#include "submit/message.h"
#include "submit/queue.h"

#define SLOT_PATIENCE	1000	/* ms that callers wait for a slot */
#define SLOT_RECHECK	100		/* ms */
#define START_PATIENCE	1000	/* ms that callers wait for a combiner to come */
#define START_TIMEOUT	5000	/* ms after which another is asked for, when some did not come */
#define MAX_FAILURES	2		/* in a row, before that counts */
#define RESERVE			8		/* this part of the slots is for databases that have less of them */
#define WAKE_AT_ONCE	32		/* callers that a leader answers under the lock */

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_WAITING,
	SLOT_TAKEN,
	SLOT_ABANDONED,
	SLOT_DECIDED,
	SLOT_ANSWERED
} SlotState;

/* as a member of a set of states */
#define IN(state) (1 << (state))

typedef enum CombinerState
{
	COMBINER_NONE,
	COMBINER_STARTING,
	COMBINER_RUNNING
} CombinerState;

struct Queue
{
	Oid			database;
	CombinerState combiner;
	uint32		generation;
	TimestampTz since;			/* when a combiner was asked for */
	int			failures;		/* times that it was, since one has served */
	Latch	   *latch;			/* the combiner's, while it runs */
	int			first;			/* of the slots that wait; -1: none */
	int			last;
	int			nslots;			/* that its callers have */
};

typedef struct Shared
{
	LWLock		lock;
	ConditionVariable freed;	/* a slot */
	int			free;			/* the first free slot; -1: none */
	int			nfree;
	int			nqueues;
	Queue	   *queues;
	Slot	   *slots;
} Shared;

static int	combine_slots = 0;
static Shared *shared = NULL;	/* null: not preloaded, or turned off */
static uint32 submit_wait = 0;

static void initialize(Shared *memory);
static Queue *await_slot(void);
static bool has_slot_for(const Queue *queue);
static Queue *find_queue(void);
static bool is_vacant(const Queue *queue);
static bool needs_combiner(const Queue *queue, TimestampTz now);
static void wake_callers(const Queue *queue);
static void lead(Slot *leader);
static int	answer_followers(Slot *leader, Latch **latches);
static Slot *enter(Queue *queue, const ProposedEvent *events, int n);
static void withdraw(Slot *slot);
static void take(Slot *slot);
static void follow(Slot *slot, Slot *leader, Slot *last);
static void answer(Slot *slot);
static void abandon(Slot *slot);
static void release(Slot *slot);
static void put_back(Slot *slot);
static SlotState state_of(Slot *slot);
static void change(Slot *slot, int from, SlotState to);

/* Called once when the library is loaded. */
void
pointstore_queue_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("pointstore.combine_slots",
								"Callers of submit_event that are served at once; 0 lets them append plainly.",
								NULL, &combine_slots, 256, 0, 10000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

/* What it needs of shared memory. There are never more combiners than workers. */
Size
pointstore_queue_memory(void)
{
	return add_size(MAXALIGN(sizeof(Shared)),
					add_size(MAXALIGN(mul_size(sizeof(Queue), max_worker_processes)),
							 mul_size(sizeof(Slot), combine_slots)));
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_queue_set_up(void)
{
	bool		found;

	if (combine_slots == 0 || max_worker_processes == 0)
		return;
	shared = ShmemInitStruct("pointstore combine", pointstore_queue_memory(), &found);
	if (!found)
		initialize(shared);
	LWLockRegisterTranche(shared->lock.tranche, "pointstore_combine");
}

/* Memory of that size: all slots are free, no queue is any database's. */
static void
initialize(Shared *memory)
{
	int			i;

	memset(memory, 0, pointstore_queue_memory());
	LWLockInitialize(&memory->lock, LWLockNewTrancheId());
	ConditionVariableInit(&memory->freed);
	memory->nqueues = max_worker_processes;
	memory->queues = (Queue *) ((char *) memory + MAXALIGN(sizeof(Shared)));
	memory->slots = (Slot *) ((char *) memory->queues + MAXALIGN(sizeof(Queue) * memory->nqueues));
	for (i = 0; i < memory->nqueues; i++)
		memory->queues[i].first = memory->queues[i].last = -1;
	memory->nfree = combine_slots;
	for (i = 0; i < combine_slots; i++)
	{
		pg_atomic_init_u32(&memory->slots[i].state, SLOT_FREE);
		memory->slots[i].next = i + 1 < combine_slots ? i + 1 : -1;
	}
}

/* How many slots there are; 0: nothing can be combined. */
int
pointstore_queue_slots(void)
{
	return shared == NULL ? 0 : combine_slots;
}

/*
 * Puts a request at the end of this database's queue and wakes its combiner. NULL: there
 * is no slot, or no queue, to be had.
 */
Slot *
pointstore_queue_put(const ProposedEvent *events, int n)
{
	Queue	   *queue = await_slot();
	Latch	   *latch = NULL;
	Slot	   *slot;

	if (queue == NULL)
		return NULL;
	slot = enter(queue, events, n);
	if (queue->combiner == COMBINER_RUNNING)
		latch = queue->latch;
	LWLockRelease(&shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	return slot;
}

/*
 * Waits, not for ever, until this database may have one of the free slots. Returns its
 * queue, under the lock; NULL, not under the lock: none can be had.
 */
static Queue *
await_slot(void)
{
	TimestampTz since = GetCurrentTimestamp();
	Queue	   *queue;

	for (;;)
	{
		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		queue = find_queue();
		if (queue == NULL || has_slot_for(queue))
			break;
		LWLockRelease(&shared->lock);
		if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), SLOT_PATIENCE))
		{
			ConditionVariableCancelSleep();
			return NULL;
		}
		/* the timeout: a caller that was woken may have no use for the slot, or was cancelled in that moment */
		(void) ConditionVariableTimedSleep(&shared->freed, SLOT_RECHECK,
										   pointstore_wait_event(&submit_wait, "PointstoreSubmit"));
	}
	ConditionVariableCancelSleep();
	if (queue == NULL)
		LWLockRelease(&shared->lock);
	return queue;
}

/* The last slots are for databases that have few, so that none keeps all to itself; under the lock. */
static bool
has_slot_for(const Queue *queue)
{
	int			reserved = combine_slots / RESERVE;

	return shared->nfree > (queue->nslots < reserved ? 0 : reserved);
}

/* This database's queue, or a vacant one that becomes its, or NULL; under the lock. */
static Queue *
find_queue(void)
{
	Queue	   *vacant = NULL;
	int			i;

	for (i = 0; i < shared->nqueues; i++)
	{
		Queue	   *queue = &shared->queues[i];

		if (queue->database == MyDatabaseId)
			return queue;
		if (vacant == NULL && is_vacant(queue))
			vacant = queue;
	}
	if (vacant != NULL)
	{
		vacant->database = MyDatabaseId;
		vacant->combiner = COMBINER_NONE;
		vacant->generation++;
	}
	return vacant;
}

/* Whether no request waits, and no combiner serves or is about to come. */
static bool
is_vacant(const Queue *queue)
{
	if (queue->first >= 0)
		return false;
	return queue->combiner == COMBINER_NONE ||
		(queue->combiner == COMBINER_STARTING &&
		 TimestampDifferenceExceeds(queue->since, GetCurrentTimestamp(), START_TIMEOUT));
}

/* Whether the caller's slot is answered: then it reads the answer, and leaves. */
bool
pointstore_queue_is_answered(Slot *slot)
{
	if (state_of(slot) != SLOT_ANSWERED)
		return false;
	pg_read_barrier();
	return true;
}

/*
 * For a caller that waits: sees to it that a combiner comes where there is none. When the advice is
 * to start one, it is that of *start, and this caller's to ask for.
 */
QueueAdvice
pointstore_queue_look_after(Slot *slot, QueueStart *start)
{
	Queue	   *queue = &shared->queues[slot->queue];
	QueueAdvice advice = QUEUE_WAIT;
	TimestampTz now;

	if (*(volatile CombinerState *) &queue->combiner == COMBINER_RUNNING)
		return QUEUE_WAIT;
	now = GetCurrentTimestamp();
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (state_of(slot) == SLOT_WAITING && queue->combiner != COMBINER_RUNNING)
	{
		if (needs_combiner(queue, now))
		{
			queue->combiner = COMBINER_STARTING;
			queue->since = now;
			queue->failures++;
			*start = (QueueStart) {slot->queue, ++queue->generation, queue->database};
			advice = QUEUE_START_COMBINER;
		}
		else if (queue->combiner == COMBINER_NONE || TimestampDifferenceExceeds(queue->since, now, START_PATIENCE))
		{
			withdraw(slot);
			advice = QUEUE_GIVE_UP;
		}
	}
	LWLockRelease(&shared->lock);
	return advice;
}

/* Whether a combiner is to be asked for: not at once again when some have failed; under the lock. */
static bool
needs_combiner(const Queue *queue, TimestampTz now)
{
	return TimestampDifferenceExceeds(queue->since, now, START_TIMEOUT) ||
		(queue->combiner == COMBINER_NONE && queue->failures < MAX_FAILURES);
}

/* There is no worker to be had: all that wait are told, this caller too. */
void
pointstore_queue_start_failed(const QueueStart *start)
{
	Queue	   *queue = &shared->queues[start->queue];

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (queue->generation == start->generation && queue->combiner == COMBINER_STARTING)
	{
		queue->combiner = COMBINER_NONE;
		queue->failures = MAX_FAILURES;
		wake_callers(queue);
	}
	LWLockRelease(&shared->lock);
}

/* Lets all that wait look after themselves; under the lock. */
static void
wake_callers(const Queue *queue)
{
	int			i;

	for (i = queue->first; i >= 0; i = shared->slots[i].next)
		SetLatch(shared->slots[i].latch);
}

/*
 * The caller leaves its slot: it has read the answer, or is cancelled or ends before. A
 * slot that it has left already, or that was taken back, is not its any more.
 */
void
pointstore_queue_leave(Slot *slot)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	switch (state_of(slot))
	{
		case SLOT_WAITING:
			withdraw(slot);
			break;
		case SLOT_TAKEN:
		case SLOT_DECIDED:
			abandon(slot);
			break;
		case SLOT_ANSWERED:
			LWLockRelease(&shared->lock);
			lead(slot);
			LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
			release(slot);
			break;
		case SLOT_ABANDONED:
		case SLOT_FREE:
			break;
	}
	LWLockRelease(&shared->lock);
}

/* A leader's duty: flushes WAL for itself and those that follow, and answers these. */
static void
lead(Slot *leader)
{
	Latch	   *latches[WAKE_AT_ONCE];
	int			n;
	int			i;

	XLogFlush(leader->flush);
	while (leader->next >= 0)
	{
		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		n = answer_followers(leader, latches);
		LWLockRelease(&shared->lock);
		for (i = 0; i < n; i++)
			SetLatch(latches[i]);
	}
}

/* Answers the next of those that follow; returns how many callers there are to be woken. Under the lock. */
static int
answer_followers(Slot *leader, Latch **latches)
{
	int			n = 0;

	while (leader->next >= 0 && n < WAKE_AT_ONCE)
	{
		Slot	   *slot = &shared->slots[leader->next];

		leader->next = slot->next;
		slot->next = -1;
		if (state_of(slot) == SLOT_ABANDONED)
			release(slot);
		else
		{
			latches[n++] = slot->latch;
			answer(slot);
		}
	}
	return n;
}

/* A worker becomes the combiner of the queue for which it was started. NULL: it is not meant any more. */
Queue *
pointstore_queue_open(const QueueStart *start)
{
	Queue	   *queue = &shared->queues[start->queue];
	bool		meant;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	meant = queue->generation == start->generation && queue->combiner == COMBINER_STARTING;
	if (meant)
	{
		queue->combiner = COMBINER_RUNNING;
		queue->latch = MyLatch;
	}
	LWLockRelease(&shared->lock);
	return meant ? queue : NULL;
}

/* The combiner takes all that wait, in order of arrival; returns their number. */
int
pointstore_queue_take(Queue *queue, Slot **slots)
{
	int			n = 0;
	int			i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (i = queue->first; i >= 0; i = shared->slots[i].next)
	{
		take(&shared->slots[i]);
		slots[n++] = &shared->slots[i];
	}
	queue->first = queue->last = -1;
	if (n > 0)
		queue->failures = 0;
	LWLockRelease(&shared->lock);
	return n;
}

/*
 * Of slots that are taken, and of which nothing has happened, frees those whose callers are gone;
 * they become NULL in the array.
 */
void
pointstore_queue_drop_abandoned(Slot **slots, int n)
{
	int			i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < n; i++)
		if (state_of(slots[i]) == SLOT_ABANDONED)
		{
			release(slots[i]);
			slots[i] = NULL;
		}
	LWLockRelease(&shared->lock);
}

/*
 * The combiner hands slots back, with the answers that are in them. Of those whose
 * answer has to become durable the first leads. The array is used up.
 */
void
pointstore_queue_answer(Slot **slots, int n)
{
	Slot	   *leader = NULL;
	Slot	   *last = NULL;
	int			nwoken = 0;
	int			i;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < n; i++)
	{
		Slot	   *slot = slots[i];

		slot->next = -1;
		if (state_of(slot) == SLOT_ABANDONED)
			release(slot);
		else if (slot->flush != InvalidXLogRecPtr && leader != NULL)
		{
			follow(slot, leader, last);
			last = slot;
		}
		else
		{
			if (slot->flush != InvalidXLogRecPtr)
				leader = last = slot;
			answer(slot);
			slots[nwoken++] = slot;
		}
	}
	LWLockRelease(&shared->lock);
	for (i = 0; i < nwoken; i++)
		SetLatch(slots[i]->latch);
}

/*
 * The combiner serves the queue no more; callers that wait start another. if_empty: unless
 * some do. Returns whether it is closed.
 */
bool
pointstore_queue_close(Queue *queue, bool if_empty)
{
	bool		closed;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	closed = !if_empty || queue->first < 0;
	if (closed)
	{
		queue->combiner = COMBINER_NONE;
		wake_callers(queue);
	}
	LWLockRelease(&shared->lock);
	return closed;
}

/*
 * The changes of a slot's state, one function for each; all under the lock.
 */

/* free -> waiting: a request, at the end of the queue. There is a free slot. */
static Slot *
enter(Queue *queue, const ProposedEvent *events, int n)
{
	int			number = shared->free;
	Slot	   *slot = &shared->slots[number];

	change(slot, IN(SLOT_FREE), SLOT_WAITING);
	shared->free = slot->next;
	shared->nfree--;
	queue->nslots++;
	pointstore_message_ask(&slot->message, events, n);
	slot->queue = queue - shared->queues;
	slot->latch = MyLatch;
	slot->flush = InvalidXLogRecPtr;
	slot->next = -1;
	if (queue->first < 0)
		queue->first = number;
	else
		shared->slots[queue->last].next = number;
	queue->last = number;
	return slot;
}

/* waiting -> free: out of the middle of its queue. */
static void
withdraw(Slot *slot)
{
	Queue	   *queue = &shared->queues[slot->queue];
	int			number = slot - shared->slots;
	int			before = -1;
	int			i;

	change(slot, IN(SLOT_WAITING), SLOT_FREE);
	for (i = queue->first; i != number; i = shared->slots[i].next)
		before = i;
	if (before < 0)
		queue->first = slot->next;
	else
		shared->slots[before].next = slot->next;
	if (queue->last == number)
		queue->last = before;
	put_back(slot);
}

/* waiting -> taken; the queue is emptied by pointstore_queue_take(). */
static void
take(Slot *slot)
{
	change(slot, IN(SLOT_WAITING), SLOT_TAKEN);
}

/* taken -> decided: at the end of the leader's chain. */
static void
follow(Slot *slot, Slot *leader, Slot *last)
{
	change(slot, IN(SLOT_TAKEN), SLOT_DECIDED);
	last->next = slot - shared->slots;
	leader->flush = Max(leader->flush, slot->flush);
}

/* taken, decided -> answered. The caller is to be woken when the lock is released. */
static void
answer(Slot *slot)
{
	change(slot, IN(SLOT_TAKEN) | IN(SLOT_DECIDED), SLOT_ANSWERED);
}

/* taken, decided -> abandoned. */
static void
abandon(Slot *slot)
{
	change(slot, IN(SLOT_TAKEN) | IN(SLOT_DECIDED), SLOT_ABANDONED);
}

/* abandoned, answered -> free. */
static void
release(Slot *slot)
{
	change(slot, IN(SLOT_ABANDONED) | IN(SLOT_ANSWERED), SLOT_FREE);
	put_back(slot);
}

/* Into the list of free slots. */
static void
put_back(Slot *slot)
{
	slot->next = shared->free;
	shared->free = slot - shared->slots;
	shared->nfree++;
	shared->queues[slot->queue].nslots--;
	ConditionVariableSignal(&shared->freed);
}

static SlotState
state_of(Slot *slot)
{
	return (SlotState) pg_atomic_read_u32(&slot->state);
}

/* Changes a slot's state, which must be one of those. */
static void
change(Slot *slot, int from, SlotState to)
{
	SlotState	state = state_of(slot);

	if (!(from & IN(state)))
		elog(ERROR, "slot %d of pointstore's queue cannot change from state %d to %d",
			 (int) (slot - shared->slots), state, to);
	pg_atomic_write_u32(&slot->state, to);
}
