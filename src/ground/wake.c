/*-------------------------------------------------------------------------
 *
 * src/ground/wake.c
 *		Whoever makes work for workers wakes the launcher: it looks less and less often for work
 *		where it has found none. In shared memory, so with the library preloaded only.
 *
 * A transaction that makes a store, a projection, or a kind with snapshots says so, and wakes the launcher when it
 * has become visible: the count goes up first, then the launcher's latch is set. The launcher remembers the
 * count from before it started a worker, and so knows whether one that found nothing may have looked too early. Of one that
 * was prepared nobody is told: its work is found when the launcher looks next.
 *
 * A worker that leaves because there is nothing to do says so by the number that it was started with; one that
 * was ended says nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "ground/wake.h"

PG_FUNCTION_INFO_V1(pointstore_wake_workers);

#define MAX_NUMBERS 1024		/* workers beyond are always looked for as often as one that was ended */

typedef struct Wake
{
	pg_atomic_uint64 latch;		/* the launcher's; 0: there is none */
	pg_atomic_uint64 wakes;
	pg_atomic_uint32 idle[MAX_NUMBERS];
} Wake;

static Wake *wake = NULL;		/* null: not preloaded */
static bool marked = false;		/* this transaction wakes it */

static void launcher_ended(int code, Datum arg);

/* What it needs of shared memory. */
Size
pointstore_wake_memory(void)
{
	return sizeof(Wake);
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_wake_set_up(void)
{
	bool		found;
	int			i;

	wake = ShmemInitStruct("pointstore wake", sizeof(Wake), &found);
	if (found)
		return;
	pg_atomic_init_u64(&wake->latch, 0);
	pg_atomic_init_u64(&wake->wakes, 0);
	for (i = 0; i < MAX_NUMBERS; i++)
		pg_atomic_init_u32(&wake->idle[i], 0);
}

/* The launcher is woken when this transaction has committed. */
void
pointstore_wake_at_commit(void)
{
	marked = true;
}

/* At the end of each transaction. */
void
pointstore_wake_ended(bool committed)
{
	bool		now = marked && committed && wake != NULL;
	uint64		latch;

	marked = false;
	if (!now)
		return;
	pg_atomic_fetch_add_u64(&wake->wakes, 1);
	latch = pg_atomic_read_u64(&wake->latch);
	if (latch != 0)
		SetLatch((Latch *) (uintptr_t) latch);
}

/* This process is the launcher. */
void
pointstore_wake_me(void)
{
	if (wake == NULL)
		return;
	pg_atomic_write_u64(&wake->latch, (uint64) (uintptr_t) MyLatch);
	before_shmem_exit(launcher_ended, (Datum) 0);
}

static void
launcher_ended(int code, Datum arg)
{
	pg_atomic_write_u64(&wake->latch, 0);
}

/* How often it was woken. */
uint64
pointstore_wakes(void)
{
	return wake == NULL ? 0 : pg_atomic_read_u64(&wake->wakes);
}

/* Whether the worker of a number has found nothing to do. */
void
pointstore_set_idle(int number, bool idle)
{
	if (wake != NULL && number >= 0 && number < MAX_NUMBERS)
		pg_atomic_write_u32(&wake->idle[number], idle);
}

bool
pointstore_was_idle(int number)
{
	return wake != NULL && number >= 0 && number < MAX_NUMBERS && pg_atomic_read_u32(&wake->idle[number]) != 0;
}

/* wake_workers() */
Datum
pointstore_wake_workers(PG_FUNCTION_ARGS)
{
	pointstore_wake_at_commit();
	PG_RETURN_VOID();
}
