/*-------------------------------------------------------------------------
 *
 * src/nodes/notice.c
 *		Who starts or decides movements wakes the coordinator; who settles them wakes who waits.
 *		In shared memory, so with the library preloaded only.
 *
 * There is an entry for each database that has a coordinator. It claims the entry, under AddinShmemInitLock, and
 * another database's may take it over when it has ended: so a backend looks whose the entry is that it knows.
 *
 * Two numbers are counted up when a transaction has become visible: one by those that have started a movement,
 * the other by those that have changed the phase of one that is under way. Then the coordinator's latch is set. It
 * reads the numbers before it reads the tables, and so misses nothing. A session of Citus' tells when it commits what it
 * has prepared; of any other transaction that was prepared nobody is told: the coordinator looks from time to time.
 *
 * Who waits for a movement sleeps on one of many condition variables, by the hash of its name. Whoever settles it,
 * a worker or not, wakes all that sleep there, when that has been committed; they look for themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "ground/compat.h"
#include "ground/twophase.h"
#include "ground/wake.h"
#include "nodes/notice.h"

#define MAX_DATABASES 64
#define N_PLACES 1024			/* a power of 2 */
#define POLL_INTERVAL 20		/* ms, of who waits where nobody would wake him */

/* A database's coordinator. */
typedef struct Driver
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint64 latch;		/* 0: none is alive */
	pg_atomic_uint64 started;
	pg_atomic_uint64 changed;
} Driver;

/* no two databases in one cache line */
typedef union Entry
{
	Driver		driver;
	char		padding[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(Driver))];
} Entry;

typedef struct Notices
{
	Entry		entries[MAX_DATABASES];
	ConditionVariable settled[N_PLACES];
} Notices;

static Notices *notices = NULL; /* null: not preloaded */
static Driver *own = NULL;

/* of this transaction */
static bool starts = false;
static bool changes = false;
static bool settles = false;
static bool settles_at[N_PLACES];

/* of the last one of this session that was prepared */
static bool prepared_starts = false;
static bool prepared_changes = false;

static void tell(bool started, bool changed);
static void tell_prepared(void);
static Driver *own_driver(void);
static int	place_of(text *movement_id);
static void tell_settled(void);
static void coordinator_ended(int code, Datum arg);

/* What it needs of shared memory. */
Size
pointstore_notice_memory(void)
{
	return sizeof(Notices);
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_notice_set_up(void)
{
	bool		found;
	int			i;

	pointstore_prepared_committed = tell_prepared;
	notices = ShmemInitStruct("pointstore movements", sizeof(Notices), &found);
	for (i = 0; !found && i < MAX_DATABASES; i++)
	{
		Driver	   *driver = &notices->entries[i].driver;

		pg_atomic_init_u32(&driver->database, InvalidOid);
		pg_atomic_init_u64(&driver->latch, 0);
		pg_atomic_init_u64(&driver->started, 0);
		pg_atomic_init_u64(&driver->changed, 0);
	}
	for (i = 0; !found && i < N_PLACES; i++)
		ConditionVariableInit(&notices->settled[i]);
}

/* This database's entry, or NULL where no coordinator has claimed one. */
static Driver *
own_driver(void)
{
	int			i;

	if (own != NULL && pg_atomic_read_u32(&own->database) == MyDatabaseId)
		return own;
	own = NULL;
	for (i = 0; own == NULL && notices != NULL && i < MAX_DATABASES; i++)
		if (pg_atomic_read_u32(&notices->entries[i].driver.database) == MyDatabaseId)
			own = &notices->entries[i].driver;
	return own;
}

/*
 * This transaction has started a movement that is to be driven. Its commit is flushed, whatever synchronous_commit says: what is
 * sent rests on it. Where no coordinator is there the launcher is told that there is something for one.
 */
void
pointstore_movement_starts(void)
{
	starts = true;
	ForceSyncCommit();
	if (!pointstore_coordinator_is_alive())
		pointstore_wake_at_commit();
}

/* It has changed the phase of one that is under way. The same. */
void
pointstore_movement_changes(void)
{
	changes = true;
	ForceSyncCommit();
	if (!pointstore_coordinator_is_alive())
		pointstore_wake_at_commit();
}

/* It has brought one to its last phase, or to stuck. */
void
pointstore_movement_settles(text *movement_id)
{
	settles = true;
	settles_at[place_of(movement_id)] = true;
}

static int
place_of(text *movement_id)
{
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(movement_id), VARSIZE_ANY_EXHDR(movement_id));

	return hash_combine(hash, MyDatabaseId) % N_PLACES;
}

/* At the end of each transaction, when it has become visible. */
void
pointstore_notices_ended(XactEvent event)
{
	bool		committed = event == XACT_EVENT_COMMIT;

	if (event == XACT_EVENT_PREPARE)
	{
		prepared_starts = starts;
		prepared_changes = changes;
	}
	if ((starts || changes) && committed)
		tell(starts, changes);
	starts = changes = false;
	if (settles && committed && notices != NULL)
		tell_settled();
	if (settles)
		memset(settles_at, 0, sizeof(settles_at));
	settles = false;
}

/* Wakes the coordinator, if there is one. */
static void
tell(bool started, bool changed)
{
	Driver	   *driver = own_driver();
	uint64		latch;

	if (driver == NULL)
		return;
	if (started)
		pg_atomic_fetch_add_u64(&driver->started, 1);
	if (changed)
		pg_atomic_fetch_add_u64(&driver->changed, 1);
	latch = pg_atomic_read_u64(&driver->latch);
	if (latch != 0)
		SetLatch((Latch *) (uintptr_t) latch);
}

/* What this session has prepared is committed, or something else: then it is looked in vain, once. */
static void
tell_prepared(void)
{
	if (prepared_starts || prepared_changes)
		tell(prepared_starts, prepared_changes);
	prepared_starts = prepared_changes = false;
}

static void
tell_settled(void)
{
	int			i;

	for (i = 0; i < N_PLACES; i++)
		if (settles_at[i])
			ConditionVariableBroadcast(&notices->settled[i]);
}

/*
 * This process drives the movements of its database, until it ends. False: another does, or there is no room.
 * Not preloaded: true, nobody can tell.
 */
bool
pointstore_coordinator_begin(void)
{
	bool		free = false;
	int			i;

	if (notices == NULL)
		return true;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (i = 0; own_driver() == NULL && i < MAX_DATABASES; i++)
		if (pg_atomic_read_u64(&notices->entries[i].driver.latch) == 0)
			pg_atomic_write_u32(&notices->entries[i].driver.database, MyDatabaseId);
	free = own_driver() != NULL && pg_atomic_read_u64(&own->latch) == 0;
	if (free)
		pg_atomic_write_u64(&own->latch, (uint64) (uintptr_t) MyLatch);
	LWLockRelease(AddinShmemInitLock);
	if (free)
		before_shmem_exit(coordinator_ended, (Datum) 0);
	return free;
}

static void
coordinator_ended(int code, Datum arg)
{
	pg_atomic_write_u64(&own->latch, 0);
}

/* How many transactions have started movements; to be read before the tables are. */
uint64
pointstore_movements_started(void)
{
	Driver	   *driver = own_driver();

	return driver != NULL ? pg_atomic_read_u64(&driver->started) : 0;
}

/* How many have changed the phase of one under way. */
uint64
pointstore_movements_changed(void)
{
	Driver	   *driver = own_driver();

	return driver != NULL ? pg_atomic_read_u64(&driver->changed) : 0;
}

/* Whether a worker drives the movements of this database. */
bool
pointstore_coordinator_is_alive(void)
{
	Driver	   *driver = own_driver();

	return driver != NULL && pg_atomic_read_u64(&driver->latch) != 0;
}

/* To be called before one looks whether a movement is settled: what comes after that is not missed. */
void
pointstore_begin_to_await(text *movement_id)
{
	if (notices != NULL)
		ConditionVariablePrepareToSleep(&notices->settled[place_of(movement_id)]);
}

/* Sleeps until it may be settled, or for timeout (ms). */
void
pointstore_await_notice(text *movement_id, long timeout)
{
	static uint32 wait_event = 0;
	uint32		event = pointstore_wait_event(&wait_event, "PointstoreMovement");

	if (notices != NULL)
	{
		(void) ConditionVariableTimedSleep(&notices->settled[place_of(movement_id)], timeout, event);
		return;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(timeout, POLL_INTERVAL), event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

void
pointstore_end_to_await(void)
{
	if (notices != NULL)
		ConditionVariableCancelSleep();
}
