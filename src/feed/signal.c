/*-------------------------------------------------------------------------
 *
 * src/feed/signal.c
 *		Who writes events wakes the sequencer; the sequencer wakes who waits for the feed.
 *		In shared memory, so with the library preloaded only.
 *
 * There is an entry for each database that has a sequencer, and one sequencer at most: it claims
 * the entry, under AddinShmemInitLock, and another database's may take it over when it has ended. So a
 * backend looks whose the entry is that it knows.
 *
 * A backend whose transaction has written events sets pending after it has become visible,
 * and then, if the sequencer is asleep, its latch. The sequencer clears pending before it
 * reads, and looks at it again between saying that it is asleep and waiting: so no commit is
 * missed, and one latch is set for all that commit while it is awake. Of a transaction
 * that was prepared nobody knows at its end what it had written: while the sequencer knows of
 * one, every commit in the database counts, and after it has said so it looks once more.
 *
 * Who wants a run of its own asks for one, and waits for the end of one that has begun after that: runs are
 * counted as they begin and as they end. Of one that has failed he is told, to look himself for what is wrong; and at once while
 * the last one has failed, for the next is tried after a pause.
 *
 * Each commit of a run, by whomever, changes a number that was never had before: by it a session knows whether
 * another has sequenced since. It is changed under the lock of those who sequence.
 *
 * The head that is published is one that has been committed. It is for comparing: what is
 * read is read from the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "feed/signal.h"
#include "ground/compat.h"

#define MAX_DATABASES 64
#define POLL_INTERVAL 20		/* ms, of who waits where no sequencer is alive to wake him */
#define SHORT_INTERVAL 1		/* ms, where the head is told to be past what he waits for, and he has not seen it */

typedef struct FeedSignal
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint32 pending;	/* something was committed since the sequencer began to read */
	pg_atomic_uint32 asleep;	/* it waits to be woken */
	pg_atomic_uint32 every_commit;	/* may be one that it waits for */
	pg_atomic_uint64 touched;	/* where, by parts of the hashes: pointstore_drawn() */
	pg_atomic_uint64 latch;		/* the sequencer's; 0: none is alive */
	pg_atomic_uint64 head;		/* last position that is known to be given */
	pg_atomic_uint64 change;	/* the last that was committed to the feed */
	pg_atomic_uint64 begun;		/* runs of the sequencer */
	pg_atomic_uint64 ended;		/* the last of them that has ended */
	pg_atomic_uint64 failures;
	pg_atomic_uint32 failing;	/* the last of them has failed */
	ConditionVariable moved;
	ConditionVariable run_ended;
} FeedSignal;

/* no two databases in one cache line */
typedef union Entry
{
	FeedSignal	signal;
	char		padding[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(FeedSignal))];
} Entry;

static Entry *entries = NULL;	/* null: not preloaded */
static FeedSignal *own = NULL;

static FeedSignal *own_signal(void);
static FeedSignal *claim_signal(void);
static void wake_sequencer(FeedSignal *signal, uint64 drawn);
static bool await_run(FeedSignal *signal, uint64 run, uint64 failures);
static void sequencer_ended(int code, Datum arg);

/* What it needs of shared memory. */
Size
pointstore_feed_memory(void)
{
	return sizeof(Entry) * MAX_DATABASES;
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_feed_set_up(void)
{
	bool		found;
	int			i;

	entries = ShmemInitStruct("pointstore feed", sizeof(Entry) * MAX_DATABASES, &found);
	for (i = 0; !found && i < MAX_DATABASES; i++)
	{
		FeedSignal *signal = &entries[i].signal;

		pg_atomic_init_u32(&signal->database, InvalidOid);
		pg_atomic_init_u32(&signal->pending, 0);
		pg_atomic_init_u32(&signal->asleep, 0);
		pg_atomic_init_u32(&signal->every_commit, 0);
		pg_atomic_init_u64(&signal->touched, 0);
		pg_atomic_init_u64(&signal->latch, 0);
		pg_atomic_init_u64(&signal->head, 0);
		pg_atomic_init_u64(&signal->change, 0);
		pg_atomic_init_u64(&signal->begun, 0);
		pg_atomic_init_u64(&signal->ended, 0);
		pg_atomic_init_u64(&signal->failures, 0);
		pg_atomic_init_u32(&signal->failing, 0);
		ConditionVariableInit(&signal->moved);
		ConditionVariableInit(&signal->run_ended);
	}
}

/* This database's entry, or NULL where no sequencer has claimed one. */
static FeedSignal *
own_signal(void)
{
	int			i;

	if (own != NULL && pg_atomic_read_u32(&own->database) == MyDatabaseId)
		return own;
	own = NULL;
	for (i = 0; own == NULL && entries != NULL && i < MAX_DATABASES; i++)
	{
		Oid			database = pg_atomic_read_u32(&entries[i].signal.database);

		if (!OidIsValid(database))
			break;
		if (database == MyDatabaseId)
			own = &entries[i].signal;
	}
	return own;
}

/* The same, claimed where there is none: a free one, or one whose sequencer has ended. NULL: there is no such. */
static FeedSignal *
claim_signal(void)
{
	int			i;

	for (i = 0; entries != NULL && own_signal() == NULL && i < MAX_DATABASES; i++)
	{
		FeedSignal *signal = &entries[i].signal;

		if (pg_atomic_read_u64(&signal->latch) != 0)
			continue;
		/* what another database's sessions know, or ours before, is no number of this one's: they rise slower than the clock */
		pg_atomic_write_u64(&signal->change, (uint64) GetCurrentTimestamp());
		pg_atomic_write_u32(&signal->database, MyDatabaseId);
	}
	return own_signal();
}

/* A transaction has become visible, or was prepared: the sequencer is woken where it matters to it. drawn: of pointstore_drawn(). */
void
pointstore_feed_commit(uint64 drawn)
{
	FeedSignal *signal = own_signal();

	if (signal != NULL && (drawn != 0 || pg_atomic_read_u32(&signal->every_commit)))
		wake_sequencer(signal, drawn);
}

/* There is something for it to do. */
static void
wake_sequencer(FeedSignal *signal, uint64 drawn)
{
	uint64		latch;

	if ((pg_atomic_read_u64(&signal->touched) & drawn) != drawn)
		pg_atomic_fetch_or_u64(&signal->touched, drawn);
	if (pg_atomic_read_u32(&signal->pending) == 0)
		pg_atomic_write_u32(&signal->pending, 1);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&signal->asleep) == 0 || pg_atomic_exchange_u32(&signal->asleep, 0) == 0)
		return;
	latch = pg_atomic_read_u64(&signal->latch);
	if (latch != 0)
		SetLatch((Latch *) (uintptr_t) latch);
}

/* This process is the sequencer of its database from now on; false: that has one, or there are too many databases. */
bool
pointstore_sequencer_begin(void)
{
	FeedSignal *signal;
	bool		result;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	signal = claim_signal();
	result = signal != NULL && pg_atomic_read_u64(&signal->latch) == 0;
	if (result)
	{
		pg_atomic_write_u32(&signal->asleep, 0);
		pg_atomic_write_u32(&signal->every_commit, 0);
		pg_atomic_write_u32(&signal->failing, 0);
		pg_atomic_write_u64(&signal->head, 0);
		pg_atomic_write_u64(&signal->latch, (uint64) (uintptr_t) MyLatch);
		before_shmem_exit(sequencer_ended, (Datum) 0);
	}
	LWLockRelease(AddinShmemInitLock);
	return result;
}

/* Those who wait look for themselves from now on. */
static void
sequencer_ended(int code, Datum arg)
{
	pg_atomic_write_u32(&own->every_commit, 0);
	pg_memory_barrier();
	pg_atomic_write_u64(&own->latch, 0);
	ConditionVariableBroadcast(&own->moved);
	ConditionVariableBroadcast(&own->run_ended);
}

/* Whether it wants to hear of every commit in the database. True: it did not until now, and has to look at what it missed. */
bool
pointstore_sequencer_watch(bool every_commit)
{
	bool		before = pg_atomic_exchange_u32(&own->every_commit, every_commit) != 0;

	return every_commit && !before;
}

/* It takes what has been committed, and asked for: a run begins. To be called before it reads. Returns in which parts of the hashes that is. */
uint64
pointstore_sequencer_take(void)
{
	pg_atomic_write_u32(&own->pending, 0);
	pg_memory_barrier();
	pg_atomic_fetch_add_u64(&own->begun, 1);
	return pg_atomic_exchange_u64(&own->touched, 0);
}

/* Its run has ended, and was committed or has failed. */
void
pointstore_sequencer_run_ended(bool failed)
{
	if (failed)
		pg_atomic_fetch_add_u64(&own->failures, 1);
	pg_atomic_write_u32(&own->failing, failed);
	pg_atomic_write_u64(&own->ended, pg_atomic_read_u64(&own->begun));
	ConditionVariableBroadcast(&own->run_ended);
}

/*
 * Has the sequencer of this database make a run, and waits until one that has begun since has been
 * committed. False: there is none alive, or it has failed, or the last one has.
 */
bool
pointstore_sequencer_ask(void)
{
	uint64		run;
	uint64		failures;

	if (!pointstore_sequencer_is_alive() || pg_atomic_read_u32(&own->failing))
		return false;
	failures = pg_atomic_read_u64(&own->failures);
	run = pg_atomic_read_u64(&own->begun) + 1;
	pg_memory_barrier();
	wake_sequencer(own, ~UINT64CONST(0));
	return await_run(own, run, failures);
}

/* Runs are counted in each entry: where the database has got another one meanwhile, its sequencer has ended. */
static bool
await_run(FeedSignal *signal, uint64 run, uint64 failures)
{
	static uint32 wait_event = 0;
	uint32		event = pointstore_wait_event(&wait_event, "PointstoreSequencerRun");
	bool		alive;

	ConditionVariablePrepareToSleep(&signal->run_ended);
	while ((alive = pointstore_sequencer_is_alive() && own == signal) && pg_atomic_read_u64(&signal->ended) < run)
		ConditionVariableSleep(&signal->run_ended, event);
	ConditionVariableCancelSleep();
	return alive && pg_atomic_read_u64(&signal->failures) == failures;
}

/* The number of the feed's last change that was told; 0 where none is. */
uint64
pointstore_feed_change(void)
{
	FeedSignal *signal = own_signal();

	return signal != NULL ? pg_atomic_read_u64(&signal->change) : 0;
}

/* The feed has changed: its new number. */
uint64
pointstore_change_feed(void)
{
	FeedSignal *signal = own_signal();

	return signal != NULL ? pg_atomic_add_fetch_u64(&signal->change, 1) : 0;
}

/* Waits until something is committed, not longer than timeout (ms). */
void
pointstore_sequencer_sleep(long timeout)
{
	static uint32 wait_event = 0;

	pg_atomic_write_u32(&own->asleep, 1);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&own->pending) == 0)
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
						 pointstore_wait_event(&wait_event, "PointstoreSequencerMain"));
	pg_atomic_write_u32(&own->asleep, 0);
	ResetLatch(MyLatch);
}

/* The feed has come to a position, which is committed: those who wait are woken. Who tells it later than another is too late. */
void
pointstore_publish_head(int64 head)
{
	FeedSignal *signal = own_signal();
	uint64		known = signal != NULL ? pg_atomic_read_u64(&signal->head) : 0;

	while (signal != NULL && head > (int64) known)
		if (pg_atomic_compare_exchange_u64(&signal->head, &known, head))
		{
			ConditionVariableBroadcast(&signal->moved);
			return;
		}
}

/* The feed is another one: nothing is known of its head. */
void
pointstore_forget_head(void)
{
	FeedSignal *signal = own_signal();

	if (signal != NULL)
		pg_atomic_write_u64(&signal->head, 0);
}

/* Whether a sequencer of this database runs. */
bool
pointstore_sequencer_is_alive(void)
{
	FeedSignal *signal = own_signal();

	return signal != NULL && pg_atomic_read_u64(&signal->latch) != 0;
}

/* A position that is given; 0 where nobody tells. */
int64
pointstore_published_head(void)
{
	return pointstore_sequencer_is_alive() ? (int64) pg_atomic_read_u64(&own->head) : 0;
}

/*
 * Waits until the head is told to be above a position, or for timeout (ms); where no sequencer is
 * alive, for a moment, for then the caller must look for himself. To be called without a
 * snapshot.
 */
void
pointstore_await_head(int64 after, long timeout)
{
	static uint32 wait_event = 0;
	uint32		event = pointstore_wait_event(&wait_event, "PointstoreFeed");
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);

	if (!pointstore_sequencer_is_alive() || pointstore_published_head() > after)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(timeout, pointstore_sequencer_is_alive() ? SHORT_INTERVAL : POLL_INTERVAL), event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		return;
	}
	ConditionVariablePrepareToSleep(&own->moved);
	while (pointstore_sequencer_is_alive() && (int64) pg_atomic_read_u64(&own->head) <= after)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (left <= 0 || ConditionVariableTimedSleep(&own->moved, left, event))
			break;
	}
	ConditionVariableCancelSleep();
}
