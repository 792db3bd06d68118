/*-------------------------------------------------------------------------
 *
 * src/ground/stat.c
 *		What appends have come to, in the view pointstore.pg_stat_pointstore.
 *
 * The counters stand in shared memory, one entry for each database, so they
 * need preloading: without it nothing is counted. An entry is claimed by the first who
 * counts something in its database, and kept until the server ends: entries are
 * taken in order and never given back, so that no database gets two. A session looks
 * its entry up once. When all are claimed, the counts of further databases are
 * dropped.
 *
 * Counting is one atomic add, without a lock and outside of transactions: what
 * was rolled back afterwards stays counted, as in PostgreSQL's own counters
 * of tuples. A backend that reads or resets an entry meanwhile may see one counter a moment ahead
 * of another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/stat.h"

PG_FUNCTION_INFO_V1(pointstore_stat);
PG_FUNCTION_INFO_V1(pointstore_stat_rules);
PG_FUNCTION_INFO_V1(pointstore_pg_stat_pointstore_reset);

#define MAX_DATABASES 64

typedef struct DatabaseStats
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint64 since;		/* TimestampTz; 0: just being claimed */
	pg_atomic_uint64 highest_id;	/* of events, stored or drawn; 0: unknown */
	pg_atomic_uint32 sequence;	/* of the store whose feed has read up to settled */
	pg_atomic_uint64 settled;	/* 1 more than an id that was drawn; 0: unknown */
	pg_atomic_uint64 counts[N_STATS];
} DatabaseStats;

/* no two databases in one cache line */
typedef union Entry
{
	DatabaseStats stats;
	char		padding[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(DatabaseStats))];
} Entry;

/*
 * What was told lately: a worker that is started for a moment, again and again, tells it once a day. A
 * thing has its place in one of a few slots, where the one told longest ago makes room.
 */
#define TOLD_SLOTS 1024
#define TOLD_PLACES 8

typedef struct Told
{
	pg_atomic_uint64 what;		/* a hash; 0: free */
	pg_atomic_uint64 at;
} Told;

static Told *told = NULL;
static Entry *entries = NULL;	/* null: not preloaded */
static DatabaseStats *own = NULL;
static bool has_looked = false; /* for own, which may be in vain */

static void free_slots(Told *slots);
static DatabaseStats *known_stats(void);
static DatabaseStats *own_stats(void);
static bool get_counts(DatabaseStats *stats, int first, int last, Datum *values);

/* What it needs of shared memory. */
Size
pointstore_stat_memory(void)
{
	return add_size(sizeof(Entry) * MAX_DATABASES, sizeof(Told) * TOLD_SLOTS);
}

/* Finds its shared memory, made where it is not yet, under AddinShmemInitLock. */
void
pointstore_stat_set_up(void)
{
	bool		found;
	int			i;
	int			j;

	told = ShmemInitStruct("pointstore warnings", sizeof(Told) * TOLD_SLOTS, &found);
	if (!found)
		free_slots(told);
	entries = ShmemInitStruct("pointstore statistics", sizeof(Entry) * MAX_DATABASES, &found);
	for (i = 0; !found && i < MAX_DATABASES; i++)
	{
		pg_atomic_init_u32(&entries[i].stats.database, InvalidOid);
		pg_atomic_init_u64(&entries[i].stats.since, 0);
		pg_atomic_init_u64(&entries[i].stats.highest_id, 0);
		pg_atomic_init_u32(&entries[i].stats.sequence, InvalidOid);
		pg_atomic_init_u64(&entries[i].stats.settled, 0);
		for (j = 0; j < N_STATS; j++)
			pg_atomic_init_u64(&entries[i].stats.counts[j], 0);
	}
}

static void
free_slots(Told *slots)
{
	int			i;

	for (i = 0; i < TOLD_SLOTS; i++)
	{
		pg_atomic_init_u64(&slots[i].what, 0);
		pg_atomic_init_u64(&slots[i].at, 0);
	}
}

/*
 * Whether something is news in this database, by a hash of it: from now on for a day it is none, for any
 * session where the library is preloaded, else for this one. Two at once may both hear that it is.
 */
bool
pointstore_is_news(uint64 what)
{
	static Told own_slots[TOLD_SLOTS];
	static bool has_slots = false;
	uint64		now = GetCurrentTimestamp();
	Told	   *oldest = NULL;
	int			i;

	if (told == NULL && !has_slots)
		free_slots(own_slots);
	has_slots = true;
	what = hash_combine64(what, MyDatabaseId) | 1;
	for (i = 0; i < TOLD_PLACES; i++)
	{
		Told	   *slot = &(told ? told : own_slots)[(what / 2 + i) % TOLD_SLOTS];

		if (pg_atomic_read_u64(&slot->what) == what &&
			now - pg_atomic_read_u64(&slot->at) < USECS_PER_DAY)
			return false;
		if (oldest == NULL || pg_atomic_read_u64(&slot->what) == what ||
			pg_atomic_read_u64(&slot->at) < pg_atomic_read_u64(&oldest->at))
			oldest = slot;
	}
	pg_atomic_write_u64(&oldest->what, what);
	pg_atomic_write_u64(&oldest->at, now);
	return true;
}

/* Adds to a counter of this database. Nothing happens where none is kept. */
void
pointstore_stat_add(PointstoreStat counter, int64 n)
{
	DatabaseStats *stats = known_stats();

	if (stats != NULL)
		pg_atomic_fetch_add_u64(&stats->counts[counter], n);
}

/* The highest id of this database's events that was told by pointstore_stat_raise_id(); 0: none, or none is kept. */
int64
pointstore_stat_highest_id(void)
{
	DatabaseStats *stats = known_stats();

	return stats == NULL ? 0 : pg_atomic_read_u64(&stats->highest_id);
}

/* There is an event of that id, or may come to be; of a range below 0 nothing is kept. */
void
pointstore_stat_raise_id(int64 id)
{
	DatabaseStats *stats = known_stats();
	uint64		highest;

	if (stats == NULL || id <= 0)
		return;
	highest = pg_atomic_read_u64(&stats->highest_id);
	while (highest < (uint64) id && !pg_atomic_compare_exchange_u64(&stats->highest_id, &highest, id))
		 /* another has raised it */ ;
}

/* The id that was told by pointstore_stat_settle() of this sequence, which draws nothing up to it any more; -1: none was, or none is kept. */
int64
pointstore_stat_settled(Oid sequence)
{
	DatabaseStats *stats = known_stats();

	if (stats == NULL || pg_atomic_read_u32(&stats->sequence) != sequence)
		return -1;
	pg_read_barrier();
	return (int64) pg_atomic_read_u64(&stats->settled) - 1;
}

/* Ids up to this one are behind a sequence; 0: none that is kept. */
void
pointstore_stat_settle(Oid sequence, int64 id)
{
	DatabaseStats *stats = known_stats();
	uint64		settled;

	if (stats == NULL)
		return;
	if (pg_atomic_read_u32(&stats->sequence) != sequence)
	{
		pg_atomic_write_u64(&stats->settled, 0);
		pg_write_barrier();
		pg_atomic_write_u32(&stats->sequence, sequence);
	}
	settled = pg_atomic_read_u64(&stats->settled);
	while (settled <= (uint64) Max(id, 0) && !pg_atomic_compare_exchange_u64(&stats->settled, &settled, Max(id, 0) + 1))
		 /* another has raised it */ ;
}

static DatabaseStats *
known_stats(void)
{
	if (!has_looked)
		own = own_stats();
	has_looked = true;
	return own;
}

/* The entry of this database, claimed if need be; NULL: there is none. */
static DatabaseStats *
own_stats(void)
{
	int			i;

	for (i = 0; entries != NULL && i < MAX_DATABASES; i++)
	{
		DatabaseStats *stats = &entries[i].stats;
		uint32		database = InvalidOid;

		if (pg_atomic_compare_exchange_u32(&stats->database, &database, MyDatabaseId))
		{
			pg_atomic_write_u64(&stats->since, GetCurrentTimestamp());
			return stats;
		}
		if (database == MyDatabaseId)
			return stats;
	}
	return NULL;
}

/* stat(): a row for each database in which something was counted, dropped ones included. */
Datum
pointstore_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[STAT_MERGES + 2];
	bool		nulls[STAT_MERGES + 2] = {0};
	int			i;

	pointstore_materialize(fcinfo);
	for (i = 0; entries != NULL && i < MAX_DATABASES; i++)
		if (get_counts(&entries[i].stats, STAT_APPENDS, STAT_MERGES, values))
		{
			TimestampTz since = pg_atomic_read_u64(&entries[i].stats.since);

			values[1 + STAT_MERGES] = TimestampTzGetDatum(since);
			nulls[1 + STAT_MERGES] = since == 0;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	return (Datum) 0;
}

/* stat_rules(): the same of the counters that came later. */
Datum
pointstore_stat_rules(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[1 + N_STATS - STAT_MERGES];
	bool		nulls[lengthof(values)] = {0};
	int			i;

	pointstore_materialize(fcinfo);
	for (i = 0; entries != NULL && i < MAX_DATABASES; i++)
		if (get_counts(&entries[i].stats, STAT_MERGES, N_STATS, values))
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* The database of an entry and some of its counters, up to and without the last; false where it is free. */
static bool
get_counts(DatabaseStats *stats, int first, int last, Datum *values)
{
	int			i;

	values[0] = ObjectIdGetDatum(pg_atomic_read_u32(&stats->database));
	for (i = first; i < last; i++)
		values[1 + i - first] = Int64GetDatum(pg_atomic_read_u64(&stats->counts[i]));
	return DatumGetObjectId(values[0]) != InvalidOid;
}

/* pg_stat_pointstore_reset(): this database's counters begin at 0 again. 55000: not preloaded. */
Datum
pointstore_pg_stat_pointstore_reset(PG_FUNCTION_ARGS)
{
	DatabaseStats *stats = own_stats();
	int			i;

	if (entries == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pointstore is not preloaded and counts nothing"),
				 errhint("Set shared_preload_libraries = 'pointstore' and restart the server.")));
	for (i = 0; stats != NULL && i < N_STATS; i++)
		pg_atomic_write_u64(&stats->counts[i], 0);
	if (stats != NULL)
		pg_atomic_write_u64(&stats->since, GetCurrentTimestamp());
	PG_RETURN_VOID();
}
