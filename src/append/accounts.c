/*-------------------------------------------------------------------------
 *
 * src/append/accounts.c
 *		The accounts of a batch: gathered, locked, opened where they are missing, and read.
 *
 * The one lock order is that of the bytes of their ids, whatever the order of the input: a batch on several
 * accounts locks their rows first, and opens the missing ones in that order too, so that batches do not
 * deadlock. Independent requests wait for no row: an account that another has locked is busy. What goes with a
 * row is read after its lock was waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/kind.h"
#include "account/opening.h"
#include "append/accounts.h"
#include "append/decide.h"
#include "ground/name.h"
#include "ground/step.h"

static int	compare_events(const void *a, const void *b);
static void lock_accounts(BatchWork *work);
static void lock_existing(BatchWork *work);
static bool open_missing(const BatchWork *work, Account *account, Snapshot snapshot);

/* The batch's accounts, each once, in the order of the bytes of their ids. */
void
pointstore_gather_accounts(BatchWork *work)
{
	int			n = work->batch->nevents + work->batch->nchecks;
	BatchEvent **sorted = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(BatchEvent *) * Max(n, 1), MCXT_ALLOC_HUGE);
	int			i;

	work->naccounts = 0;
	work->accounts = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Account) * Max(n, 1),
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	work->first = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(BatchEvent *) * Max(n, 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (i = 0; i < n; i++)
		sorted[i] = &work->events[i];
	if (n > 1)
		qsort(sorted, n, sizeof(BatchEvent *), compare_events);
	for (i = 0; i < n; i++)
	{
		text	   *id = sorted[i]->proposal->aggregate_id;

		if (i == 0 || !pointstore_same_text(id, sorted[i - 1]->proposal->aggregate_id))
			work->accounts[work->naccounts++].id = id;
		sorted[i]->account = &work->accounts[work->naccounts - 1];
	}
	pfree(sorted);
	for (i = work->batch->nevents - 1; i >= 0; i--)
	{
		BatchEvent **first = &work->first[work->events[i].account - work->accounts];

		work->events[i].next = *first;
		if (*first != NULL)
			(*first)->previous = &work->events[i];
		*first = &work->events[i];
	}
}

/* Reads the accounts with all that the rules need of them, under their locks where they are taken; pushes a snapshot. */
Snapshot
pointstore_read_accounts(BatchWork *work, bool lock)
{
	Snapshot	snapshot;
	BatchEvent *event;
	int			i;

	if (work->batch->independent)
		lock_existing(work);
	else if (work->naccounts > 1 || work->batch->nchecks > 0)
		lock_accounts(work);
	snapshot = pointstore_push_snapshot();
	if (work->naccounts == 1 && !work->batch->independent && work->batch->nchecks == 0)
	{
		pointstore_read_account(&work->accounts[0], work->accounts[0].id, snapshot,
								lock ? LOCK_BALANCE : LOCK_NOTHING);
		if (lock)
		{
			PopActiveSnapshot();	/* what goes with the row is read after its lock was waited for */
			snapshot = pointstore_push_snapshot();
		}
	}
	for (i = 0; i < work->naccounts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!work->accounts[i].busy)
			pointstore_know_account(&work->accounts[i], snapshot);
		for (event = work->first[i]; work->batch->independent && event != NULL && !work->accounts[i].busy; event = event->next)
			work->accounts[i].busy = !pointstore_know_account_lease(event->proposal, event->account);
	}
	return snapshot;
}

/* By the bytes of the accounts' ids. */
static int
compare_events(const void *a, const void *b)
{
	return pointstore_compare_text((*(BatchEvent *const *) a)->proposal->aggregate_id, (*(BatchEvent *const *) b)->proposal->aggregate_id);
}

/*
 * Locks the accounts in order, and opens the missing ones so that they are locked too; those of which there are
 * but conditions FOR SHARE.
 */
static void
lock_accounts(BatchWork *work)
{
	int			i;

	for (i = 0; i < work->naccounts; i++)
	{
		Account    *account = &work->accounts[i];
		bool		again = true;
		bool		opened = false;

		while (again)
		{
			Snapshot	snapshot = pointstore_push_snapshot();

			CHECK_FOR_INTERRUPTS();
			pointstore_read_account(account, account->id, snapshot, work->first[i] != NULL ? LOCK_BALANCE : LOCK_SHARE);
			again = !account->exists && work->first[i] != NULL && open_missing(work, account, snapshot);
			opened |= again;
			PopActiveSnapshot();
		}
		account->opened = opened;
	}
}

/*
 * Locks the accounts that are there, in order. A missing one is opened only when
 * an event of it has passed; one that would have to be waited for is busy.
 */
static void
lock_existing(BatchWork *work)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	int			i;

	for (i = 0; i < work->naccounts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(&work->accounts[i], work->accounts[i].id, snapshot, LOCK_IF_FREE);
	}
	PopActiveSnapshot();
}

/* Opens an account, if its first event may; false leaves it missing, for the rules. */
static bool
open_missing(const BatchWork *work, Account *account, Snapshot snapshot)
{
	const ProposedEvent *event = work->first[account - work->accounts]->proposal;
	const Kind *kind = pointstore_read_kind(event->kind ? event->kind : cstring_to_text("default"));

	if (kind == NULL || !kind->auto_open)
		return false;
	pointstore_refuse_damaged(account->id, snapshot);
	(void) pointstore_open_row(account->id, kind, event->role);
	return true;
}
