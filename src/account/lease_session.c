/*-------------------------------------------------------------------------
 *
 * src/account/lease_session.c
 *		Leases that last as long as the session.
 *
 * Such a lease is its holder's while the session has an advisory lock of a number of its own, the token: a session that
 * ends, however, a crash and a promotion leave no such lock behind. Whoever wants to know whether the session lives asks for the
 * lock in a mode that goes with others who ask.
 *
 * The lock is taken when the lease is acquired, and given back when that was rolled back, or when a transaction has committed that
 * has released it. What the session has acquired it knows in its own memory, found by its token; what this transaction has acquired
 * or released is a list besides, the last first, so that the end of a savepoint looks at no more than came after it.
 * pg_advisory_unlock_all() and DISCARD ALL end all leases of the session, as they end its other locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "account/lease_queue.h"
#include "account/lease_session.h"
#include "ground/compat.h"

/* A lease as it was acquired, and has its lock once: more than one of a token where it was released and acquired again. */
typedef struct SessionLease
{
	struct SessionLease *before;	/* of the same token */
	dlist_node	node;			/* of those that this transaction has to do with */
	int64		token;
	uint64		hash;			/* of the name */
	SubTransactionId acquired;	/* in this transaction; invalid: before it */
	SubTransactionId released;	/* likewise; invalid: it is not */
	SubTransactionId touched;	/* likewise: when it came into the list; invalid: it is not in it */
} SessionLease;

/* The leases of a token. */
typedef struct OwnToken
{
	int64		token;			/* the key */
	SessionLease *last;
} OwnToken;

static HTAB *own_leases = NULL;
static dlist_head touched_leases = DLIST_STATIC_INIT(touched_leases);	/* by when they were, the last first */

static void set_tag(LOCKTAG *tag, int64 token);
static SessionLease *find_own(int64 token);
static void add_own(SessionLease *lease);
static void remove_own(SessionLease *lease);
static void touch(SessionLease *lease);
static void give_back(SessionLease *lease);
static void session_ended(int code, Datum arg);

/* The lease of that token is this session's, until it is released or this is rolled back; false: another has that number. */
bool
pointstore_begin_session_lease(text *name, int64 token)
{
	SessionLease *lease = find_own(token);
	LOCKTAG		tag;

	set_tag(&tag, token);
	if (lease != NULL && lease->released == InvalidSubTransactionId && pointstore_holds_lock(&tag, ExclusiveLock))
		return true;
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	lease = MemoryContextAllocZero(TopMemoryContext, sizeof(SessionLease));
	lease->token = token;
	lease->hash = pointstore_lease_hash(name);
	lease->acquired = GetCurrentSubTransactionId();
	add_own(lease);
	touch(lease);
	return true;
}

/* It is released by this transaction, where it is this session's. */
void
pointstore_end_session_lease(int64 token)
{
	SessionLease *lease = find_own(token);

	if (lease == NULL || lease->released != InvalidSubTransactionId)
		return;
	lease->released = GetCurrentSubTransactionId();
	touch(lease);
}

/* Whether the session that has acquired it lives, whichever. */
bool
pointstore_session_lease_lives(int64 token)
{
	LOCKTAG		tag;

	set_tag(&tag, token);
	if (pointstore_holds_lock(&tag, ExclusiveLock))
		return true;
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, ShareLock, false);
	return false;
}

/* 0A000: a transaction that would outlast the session has to do with leases of the session. */
void
pointstore_refuse_session_leases(void)
{
	dlist_iter	place;

	dlist_foreach(place, &touched_leases)
	{
		SessionLease *lease = dlist_container(SessionLease, node, place.cur);

		if (lease->acquired != InvalidSubTransactionId || lease->released != InvalidSubTransactionId)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has acquired or released a lease of the session")));
	}
}

/* At the end of each transaction. */
void
pointstore_session_leases_ended(bool committed)
{
	dlist_mutable_iter place;

	dlist_foreach_modify(place, &touched_leases)
	{
		SessionLease *lease = dlist_container(SessionLease, node, place.cur);

		dlist_delete(place.cur);
		if ((committed ? lease->released : lease->acquired) != InvalidSubTransactionId)
			give_back(lease);
		else
			lease->acquired = lease->released = lease->touched = InvalidSubTransactionId;
	}
}

/* At the end of each subtransaction. */
void
pointstore_session_leases_subended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent)
{
	SubTransactionId left = event == SUBXACT_EVENT_COMMIT_SUB ? parent : InvalidSubTransactionId;
	dlist_mutable_iter place;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(place, &touched_leases)
	{
		SessionLease *lease = dlist_container(SessionLease, node, place.cur);

		if (lease->touched < mine)
			break;
		if (event == SUBXACT_EVENT_ABORT_SUB && lease->acquired == mine)
		{
			dlist_delete(place.cur);
			give_back(lease);
			continue;
		}
		if (lease->acquired == mine)
			lease->acquired = left;
		if (lease->released == mine)
			lease->released = left;
	}
}

/* As those of users, but of another kind. */
static void
set_tag(LOCKTAG *tag, int64 token)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) ((uint64) token >> 32), (uint32) token, SESSION_LEASE_LOCK);
}

/* The last that was acquired of a token. */
static SessionLease *
find_own(int64 token)
{
	OwnToken   *own = own_leases == NULL ? NULL : hash_search(own_leases, &token, HASH_FIND, NULL);

	return own == NULL ? NULL : own->last;
}

static void
add_own(SessionLease *lease)
{
	OwnToken   *own;
	bool		found;

	if (own_leases == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(OwnToken)};

		own_leases = hash_create("pointstore session leases", 16, &control, HASH_ELEM | HASH_BLOBS);
		on_shmem_exit(session_ended, (Datum) 0);
	}
	own = hash_search(own_leases, &lease->token, HASH_ENTER, &found);
	lease->before = found ? own->last : NULL;
	own->last = lease;
}

/* Which need not be the last of its token. */
static void
remove_own(SessionLease *lease)
{
	OwnToken   *own = hash_search(own_leases, &lease->token, HASH_FIND, NULL);
	SessionLease **place = &own->last;

	while (*place != lease)
		place = &(*place)->before;
	*place = lease->before;
	if (own->last == NULL)
		hash_search(own_leases, &lease->token, HASH_REMOVE, NULL);
}

/* This transaction has to do with it: it becomes the first of the list. */
static void
touch(SessionLease *lease)
{
	if (lease->touched != InvalidSubTransactionId)
		dlist_delete(&lease->node);
	lease->touched = GetCurrentSubTransactionId();
	dlist_push_head(&touched_leases, &lease->node);
}

/* Gives the lock back, if it is there yet, and forgets the lease. */
static void
give_back(SessionLease *lease)
{
	LOCKTAG		tag;

	set_tag(&tag, lease->token);
	if (pointstore_holds_lock(&tag, ExclusiveLock))
		(void) LockRelease(&tag, ExclusiveLock, true);
	remove_own(lease);
	pfree(lease);
}

/* Its locks are gone. */
static void
session_ended(int code, Datum arg)
{
	HASH_SEQ_STATUS scan;
	OwnToken   *own;

	hash_seq_init(&scan, own_leases);
	while ((own = hash_seq_search(&scan)) != NULL)
		pointstore_lease_hash_changes(own->last->hash);
	pointstore_wake_lease_waiters();
}
