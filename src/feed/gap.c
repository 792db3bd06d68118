/*-------------------------------------------------------------------------
 *
 * src/feed/gap.c
 *		Gaps in the ids: drawn, not seen, and still to come or never.
 *
 * Who draws an id has locked the table of events, and keeps the lock to the end, over
 * PREPARE too. So the writers that had it locked after the id was drawn are all who
 * may still store that event: these are the gap's horizon. When one of them has ended,
 * its gaps are looked at, by a snapshot taken afterwards; when all have, what is not
 * seen then will never come. A lasting writer costs nothing as long as it
 * lasts: nobody looks at gaps that wait for it alone, and those of one horizon are kept together.
 *
 * What is kept is 16 bytes a gap: of a gap that waits for nobody, and of an event that has come,
 * nothing. So there are no more gaps than ids that running transactions have drawn, and
 * that transactions which failed beside them have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#include "feed/gap.h"
#include "ground/store.h"

static int	compare_writers(const void *a, const void *b);
static bool drop_ended(Horizon *horizon);
static bool same_writers(const Horizon *a, const Horizon *b);
static void join_horizons(Gaps *gaps);
static void put(Gaps *gaps, Horizon *horizon, int64 lower, int64 upper);
static int	compare_ranges(const void *a, const void *b);
static void free_horizon(Horizon *horizon);

/* The transactions that may store events now, prepared ones too, but for our own. */
VirtualTransactionId *
pointstore_event_writers(int *n)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, pointstore_store()->table[TABLE_EVENT_STORE].relid);
	return GetLockConflicts(&tag, ShareLock, n);
}

/* A horizon of these writers, without gaps. */
Horizon *
pointstore_add_horizon(Gaps *gaps, const VirtualTransactionId *writers, int nwriters, bool withheld)
{
	MemoryContext old = MemoryContextSwitchTo(gaps->context);
	Horizon    *horizon = palloc0(sizeof(Horizon));

	horizon->writers = palloc(sizeof(VirtualTransactionId) * (nwriters + 1));
	memcpy(horizon->writers, writers, sizeof(VirtualTransactionId) * nwriters);
	qsort(horizon->writers, nwriters, sizeof(VirtualTransactionId), compare_writers);
	horizon->nwriters = nwriters;
	horizon->withheld = withheld;
	gaps->horizons = lappend(gaps->horizons, horizon);
	MemoryContextSwitchTo(old);
	return horizon;
}

/* In whatever order, as long as it is one. */
static int
compare_writers(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(VirtualTransactionId));
}

/* A gap of a horizon, above those that it has. */
void
pointstore_add_gap(Gaps *gaps, Horizon *horizon, int64 lower, int64 upper)
{
	if (lower < upper)
		put(gaps, horizon, lower, upper);
}

static void
put(Gaps *gaps, Horizon *horizon, int64 lower, int64 upper)
{
	if (horizon->ngaps == horizon->room)
	{
		horizon->room = Max(16, 2 * horizon->room);
		horizon->gaps = horizon->gaps == NULL ?
			MemoryContextAllocHuge(gaps->context, sizeof(IdRange) * horizon->room) :
			repalloc_huge(horizon->gaps, sizeof(IdRange) * horizon->room);
	}
	horizon->gaps[horizon->ngaps].lower = lower;
	horizon->gaps[horizon->ngaps++].upper = upper;
}

/*
 * Finds the writers that have ended, and those gaps thereby that have to be looked
 * at: to be called before the snapshot that decides. False: there are none.
 */
bool
pointstore_find_ended(Gaps *gaps)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, gaps->horizons)
		any |= drop_ended(lfirst(cell));
	return any;
}

static bool
drop_ended(Horizon *horizon)
{
	int			left = 0;
	int			i;

	for (i = 0; i < horizon->nwriters; i++)
		if (!VirtualXactLock(horizon->writers[i], false))
			horizon->writers[left++] = horizon->writers[i];
	horizon->look |= left < horizon->nwriters || left == 0 || horizon->withheld;
	horizon->nwriters = left;
	return horizon->look;
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
		bool		looked = horizon->ngaps == 0 || horizon->gaps[horizon->ngaps - 1].upper <= upto + 1;

		if (looked && (horizon->ngaps == 0 || (horizon->nwriters == 0 && !horizon->withheld)))
		{
			free_horizon(horizon);
			gaps->horizons = foreach_delete_current(gaps->horizons, cell);
		}
		else if (looked)
			horizon->look = false;
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
				put(gaps, first, other->gaps[k].lower, other->gaps[k].upper);
			qsort(first->gaps, first->ngaps, sizeof(IdRange), compare_ranges);
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
		if (!VirtualTransactionIdEquals(a->writers[i], b->writers[i]))
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

/* Whether one of these transactions is prepared: nobody tells when it ends. */
bool
pointstore_is_any_prepared(const VirtualTransactionId *writers, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (VirtualTransactionIdIsRecoveredPreparedXact(writers[i]))
			return true;
	return false;
}
