/*-------------------------------------------------------------------------
 *
 * src/account/lease_queue.c
 *		Who waits for which lease, in shared memory, so with the library preloaded only; and the
 *		last token that the server has given.
 *
 * Each backend has a place, for it waits for one lease at most: so there is always room. Those who wait for the
 * same lease are in the order of their tickets. The first of them alone looks at the lease; the others sleep until he leaves, who
 * wakes the next. Whoever ends a transaction in which a lease has changed hands, or ended, wakes the first that waits for
 * it; one that has only checked a lease wakes him where he is blocked, by somebody who has checked. Names are told by
 * their hash then: who is woken for another's sake looks once more.
 *
 * A transaction remembers some leases; of more than that it wakes the first of each.
 *
 * Locking: the places change under one lock, held for a few instructions. Whoever waits has entered before he
 * looks at the lease; who changes it looks for waiters after that has become visible: one of them sees the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/int.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "account/lease_queue.h"
#include "ground/compat.h"

#define REMEMBERED 16

typedef struct Waiter
{
	Oid			database;		/* InvalidOid: it does not wait */
	uint64		ticket;
	uint64		hash;			/* of the name */
	Latch	   *latch;
	bool		first;			/* of those who wait for the same */
	bool		blocked;		/* the lease is nobody's, and somebody has it locked */
	int			length;
	char		name[POINTSTORE_MAX_LEASE];
} Waiter;

typedef struct Shared
{
	LWLock		lock;
	pg_atomic_uint64 last_token;
	pg_atomic_uint32 nwaiters;
	uint64		next_ticket;
	int			nplaces;
	Waiter		places[FLEXIBLE_ARRAY_MEMBER];
} Shared;

static Shared *shared = NULL;	/* null: not preloaded */
static Waiter *own = NULL;		/* null: this backend does not wait */

/* leases that this transaction has changed or checked; n may be more than there is room for */
static uint64 changed[REMEMBERED];
static uint64 checked[REMEMBERED];
static int	nchanged = 0;
static int	nchecked = 0;

static void remember(uint64 *hashes, int *n, uint64 hash);
static bool is_among(const uint64 *hashes, int n, uint64 hash);
static Waiter *first_of(const Waiter *like);
static bool waits_for_same(const Waiter *a, const Waiter *b);

/* What it needs of shared memory. */
Size
pointstore_lease_memory(void)
{
	return add_size(offsetof(Shared, places), mul_size(sizeof(Waiter), pointstore_max_backends()));
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_lease_set_up(void)
{
	bool		found;

	shared = ShmemInitStruct("pointstore lease", pointstore_lease_memory(), &found);
	if (!found)
	{
		memset(shared, 0, pointstore_lease_memory());
		LWLockInitialize(&shared->lock, LWLockNewTrancheId());
		pg_atomic_init_u64(&shared->last_token, 0);
		pg_atomic_init_u32(&shared->nwaiters, 0);
		shared->nplaces = pointstore_max_backends();
	}
	LWLockRegisterTranche(shared->lock.tranche, "pointstore_lease");
}

/* A moment as tokens count it: microseconds since 1970. */
int64
pointstore_lease_clock(TimestampTz at)
{
	return at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/*
 * A token above the last one of its lease, the clock, and all that the server has given since it was started. A row that was altered leads its
 * own lease alone astray.
 */
int64
pointstore_draw_lease_token(int64 last)
{
	int64		now = pointstore_lease_clock(GetCurrentTimestamp());
	int64		token;
	uint64		given;

	if (pg_add_s64_overflow(last, 1, &token))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("there is no token above that of the lease, %lld", (long long) last)));
	token = Max(token, now);
	if (shared == NULL || last > now + USECS_PER_DAY)
		return token;
	given = pg_atomic_read_u64(&shared->last_token);
	do
		token = Max(token, (int64) given + 1);
	while (!pg_atomic_compare_exchange_u64(&shared->last_token, &given, token));
	return token;
}

/* Waits for a lease from now on; false: nobody tells whose turn it is. */
bool
pointstore_lease_queue_enter(text *name)
{
	int			place = MyProc - ProcGlobal->allProcs;

	if (shared == NULL || place < 0 || place >= shared->nplaces)
		return false;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	own = &shared->places[place];
	own->database = MyDatabaseId;
	own->ticket = shared->next_ticket++;
	own->hash = pointstore_lease_hash(name);
	own->latch = MyLatch;
	own->blocked = false;
	own->length = VARSIZE_ANY_EXHDR(name);
	memcpy(own->name, VARDATA_ANY(name), own->length);
	own->first = first_of(own) == own;
	pg_atomic_fetch_add_u32(&shared->nwaiters, 1);
	LWLockRelease(&shared->lock);
	return true;
}

/* Waits no longer: it is the next one's turn. */
void
pointstore_lease_queue_leave(void)
{
	Waiter		left;
	Waiter	   *next;

	if (own == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	left = *own;
	own->database = InvalidOid;
	own = NULL;
	pg_atomic_fetch_sub_u32(&shared->nwaiters, 1);
	next = first_of(&left);
	if (next != NULL)
	{
		next->first = true;
		SetLatch(next->latch);
	}
	LWLockRelease(&shared->lock);
}

/* Whether it is this backend's turn. */
bool
pointstore_lease_queue_is_first(void)
{
	bool		first;

	if (own == NULL)
		return true;
	LWLockAcquire(&shared->lock, LW_SHARED);
	first = own->first;
	LWLockRelease(&shared->lock);
	return first;
}

/* What keeps this backend from the lease that it waits for: that somebody has locked it, which does not change it. */
void
pointstore_lease_queue_is_blocked(bool blocked)
{
	if (own == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	own->blocked = blocked;
	LWLockRelease(&shared->lock);
}

/* Whether another waits for a lease. */
bool
pointstore_lease_is_awaited(text *name)
{
	Waiter		like = {.database = MyDatabaseId};
	Waiter	   *first;

	if (shared == NULL || pg_atomic_read_u32(&shared->nwaiters) == 0)
		return false;
	like.hash = pointstore_lease_hash(name);
	like.length = VARSIZE_ANY_EXHDR(name);
	memcpy(like.name, VARDATA_ANY(name), like.length);
	LWLockAcquire(&shared->lock, LW_SHARED);
	first = first_of(&like);
	LWLockRelease(&shared->lock);
	return first != NULL && first != own;
}

/* The first who waits for the same as that one, under the lock. */
static Waiter *
first_of(const Waiter *like)
{
	Waiter	   *first = NULL;
	int			i;

	for (i = 0; i < shared->nplaces; i++)
	{
		Waiter	   *waiter = &shared->places[i];

		if (waits_for_same(waiter, like) && (first == NULL || waiter->ticket < first->ticket))
			first = waiter;
	}
	return first;
}

static bool
waits_for_same(const Waiter *a, const Waiter *b)
{
	return OidIsValid(a->database) && a->database == b->database && a->hash == b->hash && a->length == b->length &&
		memcmp(a->name, b->name, a->length) == 0;
}

/* A lease ends, or changes hands, by this transaction. */
void
pointstore_lease_changes(text *name)
{
	remember(changed, &nchanged, pointstore_lease_hash(name));
}

/* The same of a lease by its hash. */
void
pointstore_lease_hash_changes(uint64 hash)
{
	remember(changed, &nchanged, hash);
}

/* A lease cannot change hands before this transaction ends. */
void
pointstore_lease_is_checked(text *name)
{
	if (shared != NULL)
		remember(checked, &nchecked, pointstore_lease_hash(name));
}

uint64
pointstore_lease_hash(text *name)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), MyDatabaseId);
}

static void
remember(uint64 *hashes, int *n, uint64 hash)
{
	if (is_among(hashes, *n, hash))
		return;
	if (*n < REMEMBERED)
		hashes[*n] = hash;
	(*n)++;
}

/* Of more than there was room for any may be among them. */
static bool
is_among(const uint64 *hashes, int n, uint64 hash)
{
	int			i;

	for (i = 0; i < Min(n, REMEMBERED); i++)
		if (hashes[i] == hash)
			return true;
	return n > REMEMBERED;
}

/* At the end of each transaction, and of the session: those who wait look again. */
void
pointstore_wake_lease_waiters(void)
{
	bool		any = shared != NULL && nchanged + nchecked > 0 && pg_atomic_read_u32(&shared->nwaiters) > 0;
	int			i;

	if (any)
		LWLockAcquire(&shared->lock, LW_SHARED);
	for (i = 0; any && i < shared->nplaces; i++)
	{
		Waiter	   *waiter = &shared->places[i];

		if (waiter != own && waiter->database == MyDatabaseId && waiter->first &&
			(is_among(changed, nchanged, waiter->hash) || (waiter->blocked && is_among(checked, nchecked, waiter->hash))))
			SetLatch(waiter->latch);
	}
	if (any)
		LWLockRelease(&shared->lock);
	nchanged = nchecked = 0;
}
