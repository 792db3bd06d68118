/*-------------------------------------------------------------------------
 *
 * src/feed/gap.c
 *		Gaps in the ids: drawn, not seen, and still to come or never.
 *
 * Who draws an id has locked the table of events and has a transaction id by then, and keeps
 * both to the end, over PREPARE too. So the transactions that had it locked after the id was
 * drawn are all who may still store that event: these are the gap's horizon. The snapshot that decides
 * says which of them have ended: no clock, and not the lock, which is let go of a moment
 * after the events have become visible. Where one of them has ended, its horizon's gaps are looked at by
 * that snapshot; where all have, what it does not see will never come. A lasting writer
 * costs nothing as long as it lasts: nobody looks at gaps that wait for it alone, and those of one
 * horizon are kept together.
 *
 * What is kept is 16 bytes a gap: of a gap that waits for nobody, and of an event that has come,
 * nothing. So there are no more gaps than ids that running transactions have drawn, and
 * that transactions which failed beside them have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "feed/gap.h"
#include "ground/compat.h"

static int	compare_xids(const void *a, const void *b);
static int	drop_ended(TransactionId *writers, int n, Snapshot snapshot);
static bool same_writers(const Horizon *a, const Horizon *b);
static void join_horizons(Gaps *gaps);
static int	compare_ranges(const void *a, const void *b);
static void sort_gaps(Horizon *horizon);
static void free_horizon(Horizon *horizon);

/*
 * The transactions that may store events in that table of ids drawn until now, prepared ones too, but
 * for our own. Who has the table locked and no transaction id has drawn none. One that ends while we
 * look may be left out: its end is seen by any snapshot from now on.
 */
void
pointstore_event_writers(Oid events, Writers *writers)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			n;
	int			i;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, events);
	holders = GetLockConflicts(&tag, ShareLock, &n);
	memset(writers, 0, sizeof(Writers));
	writers->xid = palloc(sizeof(TransactionId) * (n + 1));
	for (i = 0; i < n; i++)
	{
		TransactionId xid = holders[i].localTransactionId;
		bool		more;

		if (!pointstore_is_running(holders[i], &xid))
		{
			/* a backend that goes on with something else has prepared it, or ended it */
			if (!VirtualTransactionIdIsRecoveredPreparedXact(holders[i]))
				xid = TwoPhaseGetXidByVirtualXID(holders[i], &more);
			writers->prepared |= TransactionIdIsValid(xid);
		}
		if (TransactionIdIsValid(xid))
			writers->xid[writers->n++] = xid;
	}
	qsort(writers->xid, writers->n, sizeof(TransactionId), compare_xids);
	pfree(holders);
}

/* In whatever order, as long as it is one. */
static int
compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return x < y ? -1 : x > y;
}

/* A horizon of these writers, or of nobody, without gaps. */
Horizon *
pointstore_add_horizon(Gaps *gaps, const Writers *writers, bool withheld)
{
	MemoryContext old = MemoryContextSwitchTo(gaps->context);
	Horizon    *horizon = palloc0(sizeof(Horizon));

	horizon->nwriters = writers != NULL ? writers->n : 0;
	horizon->writers = palloc(sizeof(TransactionId) * (horizon->nwriters + 1));
	if (horizon->nwriters > 0)
		memcpy(horizon->writers, writers->xid, sizeof(TransactionId) * horizon->nwriters);
	horizon->withheld = withheld;
	gaps->horizons = lappend(gaps->horizons, horizon);
	MemoryContextSwitchTo(old);
	return horizon;
}

/* Adds a gap to a horizon. */
void
pointstore_add_gap(Gaps *gaps, Horizon *horizon, int64 lower, int64 upper)
{
	if (lower >= upper)
		return;
	if (horizon->ngaps == horizon->room)
	{
		horizon->room = Max(16, 2 * horizon->room);
		horizon->gaps = horizon->gaps == NULL ?
			MemoryContextAllocHuge(gaps->context, sizeof(IdRange) * horizon->room) :
			repalloc_huge(horizon->gaps, sizeof(IdRange) * horizon->room);
	}
	horizon->unsorted |= horizon->ngaps > 0 && lower < horizon->gaps[horizon->ngaps - 1].upper;
	horizon->gaps[horizon->ngaps].lower = lower;
	horizon->gaps[horizon->ngaps++].upper = upper;
}

/* Leaves out the writers that have ended for a snapshot, which sees what they have stored. */
void
pointstore_drop_ended(Writers *writers, Snapshot snapshot)
{
	writers->n = drop_ended(writers->xid, writers->n, snapshot);
}

static int
drop_ended(TransactionId *writers, int n, Snapshot snapshot)
{
	int			left = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (XidInMVCCSnapshot(writers[i], snapshot))
			writers[left++] = writers[i];
	return left;
}

/* The same for all gaps; finds those thereby that have to be looked at by the snapshot. False: there are none. */
bool
pointstore_find_ended(Gaps *gaps, Snapshot snapshot)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, gaps->horizons)
	{
		Horizon    *horizon = lfirst(cell);
		int			left = drop_ended(horizon->writers, horizon->nwriters, snapshot);

		horizon->look |= left < horizon->nwriters || left == 0 || horizon->withheld;
		horizon->nwriters = left;
		any |= horizon->look;
	}
	return any;
}

/* The gaps that have to be looked at, ascending. */
int
pointstore_gaps_to_look_at(const Gaps *gaps, IdRange **ranges)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, gaps->horizons)
		n += ((Horizon *) lfirst(cell))->look ? ((Horizon *) lfirst(cell))->ngaps : 0;
	*ranges = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(IdRange) * (n + 1));
	n = 0;
	foreach(cell, gaps->horizons)
	{
		Horizon    *horizon = lfirst(cell);

		if (!horizon->look)
			continue;
		memcpy(*ranges + n, horizon->gaps, sizeof(IdRange) * horizon->ngaps);
		n += horizon->ngaps;
	}
	qsort(*ranges, n, sizeof(IdRange), compare_ranges);
	return n;
}

static int
compare_ranges(const void *a, const void *b)
{
	int64		x = ((const IdRange *) a)->lower;
	int64		y = ((const IdRange *) b)->lower;

	return x < y ? -1 : x > y;
}

/* Takes these ids, ascending, out of the gaps. */
void
pointstore_fill_gaps(Gaps *gaps, const Ids *ids)
{
	ListCell   *cell;

	foreach(cell, gaps->horizons)
	{
		Horizon    *horizon = lfirst(cell);
		IdRange    *before = horizon->gaps;
		int			n = horizon->ngaps;
		int			next = 0;
		int			i;

		if (!horizon->look || n == 0)
			continue;
		horizon->gaps = NULL;
		horizon->ngaps = horizon->room = 0;
		for (i = 0; i < n; i++)
		{
			int64		lower = before[i].lower;

			while (next < ids->n && ids->id[next] < lower)
				next++;
			for (; next < ids->n && ids->id[next] < before[i].upper; next++)
			{
				pointstore_add_gap(gaps, horizon, lower, ids->id[next]);
				lower = ids->id[next] + 1;
			}
			pointstore_add_gap(gaps, horizon, lower, before[i].upper);
		}
		pfree(before);
	}
}

/*
 * After a look at all gaps up to an id: those that nobody is left to fill are given up, and
 * those that wait for the same writers are put together.
 */
void
pointstore_settle_gaps(Gaps *gaps, int64 upto)
{
	ListCell   *cell;

	foreach(cell, gaps->horizons)
	{
		Horizon    *horizon = lfirst(cell);
		bool		looked;

		sort_gaps(horizon);
		looked = horizon->ngaps == 0 || horizon->gaps[horizon->ngaps - 1].upper <= upto + 1;

		if (looked && (horizon->ngaps == 0 || (horizon->nwriters == 0 && !horizon->withheld)))
		{
			free_horizon(horizon);
			gaps->horizons = foreach_delete_current(gaps->horizons, cell);
			continue;
		}
		horizon->look &= !looked;
	}
	join_horizons(gaps);
}

static void
free_horizon(Horizon *horizon)
{
	if (horizon->gaps != NULL)
		pfree(horizon->gaps);
	pfree(horizon->writers);
	pfree(horizon);
}

static void
sort_gaps(Horizon *horizon)
{
	if (horizon->unsorted)
		qsort(horizon->gaps, horizon->ngaps, sizeof(IdRange), compare_ranges);
	horizon->unsorted = false;
}

/* Each horizon after the first of the same writers goes into that. */
static void
join_horizons(Gaps *gaps)
{
	int			i;
	int			j;
	int			k;

	for (i = 0; i < list_length(gaps->horizons); i++)
		for (j = list_length(gaps->horizons) - 1; j > i; j--)
		{
			Horizon    *first = list_nth(gaps->horizons, i);
			Horizon    *other = list_nth(gaps->horizons, j);

			if (!same_writers(first, other))
				continue;
			for (k = 0; k < other->ngaps; k++)
				pointstore_add_gap(gaps, first, other->gaps[k].lower, other->gaps[k].upper);
			sort_gaps(first);
			free_horizon(other);
			gaps->horizons = list_delete_nth_cell(gaps->horizons, j);
		}
}

/* What was not looked at yet stays apart. */
static bool
same_writers(const Horizon *a, const Horizon *b)
{
	int			i;

	if (a->withheld != b->withheld || a->look || b->look || a->nwriters != b->nwriters)
		return false;
	for (i = 0; i < a->nwriters; i++)
		if (a->writers[i] != b->writers[i])
			return false;
	return true;
}

/* Whether an id is in a gap. */
bool
pointstore_in_gap(const Gaps *gaps, int64 id)
{
	ListCell   *cell;

	foreach(cell, gaps->horizons)
	{
		Horizon    *horizon = lfirst(cell);
		int			low = 0;
		int			high = horizon->ngaps;

		while (low < high)
		{
			int			middle = (low + high) / 2;

			if (horizon->gaps[middle].upper <= id)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < horizon->ngaps && horizon->gaps[low].lower <= id)
			return true;
	}
	return false;
}

/* The lowest id that may still come; PG_INT64_MAX: none may. */
int64
pointstore_lowest_gap(const Gaps *gaps)
{
	int64		lowest = PG_INT64_MAX;
	ListCell   *cell;

	foreach(cell, gaps->horizons)
		if (((Horizon *) lfirst(cell))->ngaps > 0)
			lowest = Min(lowest, ((Horizon *) lfirst(cell))->gaps[0].lower);
	return lowest;
}

/* Whether there is a gap that somebody may still fill. */
bool
pointstore_gaps_await_writers(const Gaps *gaps)
{
	ListCell   *cell;

	foreach(cell, gaps->horizons)
		if (((Horizon *) lfirst(cell))->nwriters > 0 && ((Horizon *) lfirst(cell))->ngaps > 0)
			return true;
	return false;
}
