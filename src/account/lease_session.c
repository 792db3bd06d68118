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
 * has released it. What the session has acquired it knows in its own memory. pg_advisory_unlock_all() and DISCARD ALL end
 * all leases of the session, as they end its other locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#include "account/lease_queue.h"
#include "account/lease_session.h"
#include "ground/compat.h"

typedef struct SessionLease
{
	struct SessionLease *next;
	int64		token;
	uint64		hash;			/* of the name */
	SubTransactionId acquired;	/* in this transaction; invalid: before it */
	SubTransactionId released;	/* likewise; invalid: it is not */
} SessionLease;

static SessionLease *own_leases = NULL;

static void set_tag(LOCKTAG *tag, int64 token);
static SessionLease *find_own(int64 token);
static void give_back(SessionLease **place);
static void session_ended(int code, Datum arg);

/* The lease of that token is this session's, until it is released or this is rolled back; false: another has that number. */
bool
pointstore_begin_session_lease(text *name, int64 token)
{
	static bool registered = false;
	SessionLease *lease = find_own(token);
	LOCKTAG		tag;

	set_tag(&tag, token);
	if (lease != NULL && lease->released == InvalidSubTransactionId && pointstore_holds_lock(&tag, ExclusiveLock))
		return true;
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (!registered)
		on_shmem_exit(session_ended, (Datum) 0);
	registered = true;
	lease = MemoryContextAllocZero(TopMemoryContext, sizeof(SessionLease));
	lease->next = own_leases;
	lease->token = token;
	lease->hash = pointstore_lease_hash(name);
	lease->acquired = GetCurrentSubTransactionId();
	own_leases = lease;
	return true;
}

/* It is released by this transaction, where it is this session's. */
void
pointstore_end_session_lease(int64 token)
{
	SessionLease *lease = find_own(token);

	if (lease != NULL)
		lease->released = GetCurrentSubTransactionId();
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
	SessionLease *lease;

	for (lease = own_leases; lease != NULL; lease = lease->next)
		if (lease->acquired != InvalidSubTransactionId || lease->released != InvalidSubTransactionId)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has acquired or released a lease of the session")));
}

/* At the end of each transaction. */
void
pointstore_session_leases_ended(bool committed)
{
	SessionLease **place = &own_leases;

	while (*place != NULL)
	{
		SessionLease *lease = *place;

		if ((committed ? lease->released : lease->acquired) != InvalidSubTransactionId)
		{
			give_back(place);
			continue;
		}
		lease->acquired = lease->released = InvalidSubTransactionId;
		place = &lease->next;
	}
}

/* At the end of each subtransaction. */
void
pointstore_session_leases_subended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent)
{
	SessionLease **place = &own_leases;
	SubTransactionId left = event == SUBXACT_EVENT_COMMIT_SUB ? parent : InvalidSubTransactionId;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*place != NULL)
	{
		SessionLease *lease = *place;

		if (event == SUBXACT_EVENT_ABORT_SUB && lease->acquired == mine)
		{
			give_back(place);
			continue;
		}
		if (lease->acquired == mine)
			lease->acquired = left;
		if (lease->released == mine)
			lease->released = left;
		place = &lease->next;
	}
}

/* As those of users, but of another kind. */
static void
set_tag(LOCKTAG *tag, int64 token)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) ((uint64) token >> 32), (uint32) token, SESSION_LEASE_LOCK);
}

static SessionLease *
find_own(int64 token)
{
	SessionLease *lease = own_leases;

	while (lease != NULL && lease->token != token)
		lease = lease->next;
	return lease;
}

/* Gives the lock back, if it is there yet, and forgets the lease. */
static void
give_back(SessionLease **place)
{
	SessionLease *lease = *place;
	LOCKTAG		tag;

	set_tag(&tag, lease->token);
	if (pointstore_holds_lock(&tag, ExclusiveLock))
		(void) LockRelease(&tag, ExclusiveLock, true);
	*place = lease->next;
	pfree(lease);
}

/* Its locks are gone. */
static void
session_ended(int code, Datum arg)
{
	SessionLease *lease;

	for (lease = own_leases; lease != NULL; lease = lease->next)
		pointstore_lease_hash_changes(lease->hash);
	pointstore_wake_lease_waiters();
}
