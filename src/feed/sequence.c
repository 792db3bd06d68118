/*-------------------------------------------------------------------------
 *
 * src/feed/sequence.c
 *		Positions: given to events after they have been committed.
 *
 * One run reads, in this order: the last id that was drawn; who may still store events; and,
 * by one snapshot taken after that, the events themselves. Whatever was drawn is then in the snapshot,
 * or in a gap that waits for those writers (gap.c). An account's later event is in no snapshot
 * that lacks its earlier one, and ids rise with versions: so the events of one
 * snapshot, by id, from the lowest on, are in the order of every account.
 *
 * Ids that the sequence does not draw, by INCREMENT, are another store's. feed_start knows what it drew before
 * INCREMENT was changed, as long as some of that may have no position.
 *
 * Events of before there was a feed may have ids that fall within an account. Below feed_start's
 * mark each is therefore held against the one before it, and withheld, as a gap, until that has
 * a position: a later run gives it one, in a later block.
 *
 * Who sequences holds a lock of the database's to the end of its transaction, which never commits
 * asynchronously. What it knows of gaps it keeps in memory, for the next run of its session; where
 * another session has sequenced meanwhile, or nobody has yet, that is made up from the blocks:
 * what is in none of them, from settled_below on, is a gap. Whether another has, signal.c tells; the
 * last block is read once a second all the same, and each run that writes it finds it as it was left, or fails.
 *
 * Where a sequencer is alive sequence_feed() has it work, and holds no lock. A session that
 * has begun before there was one might go on with its statement for ever: the sequencer waits for the lock for
 * five times deadlock_timeout, and then cancels that statement. What it has given is
 * not committed, and given anew.
 *
 * A run reads ids by the index itself: it is short, and a statement costs more than what it finds. The table of events it
 * locks before all else, and before the sequence, as an append does: to a snapshot of before a table that ALTER TABLE has written
 * anew is empty, and what was in it would be given up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/block.h"
#include "feed/drawn.h"
#include "feed/gap.h"
#include "feed/page.h"
#include "feed/sequence.h"
#include "feed/signal.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/scan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/index.h"

#define SEQUENCE_LOCK 0x70736671	/* field of an advisory lock tag, which users' numbers do not reach */
#define SEQUENCE_LOCK_KIND 13
#define RUN_EVENTS 100000		/* positions that one run gives at most */
#define SETTLED_STEP 10000		/* ids that settled_below advances without a position given, before it is written */
#define LOCK_INTERVAL 10		/* ms, between two tries of a worker to be the one who sequences */
#define FIRST_PAUSE 1000		/* ms, after an error; twice as long after each further one */
#define LONGEST_PAUSE 15000

/* What a session knows of a feed while nobody else sequences. */
typedef struct Sequencer
{
	PointstorePlace place;		/* of which shard it is */
	Incarnation incarnation;	/* of a shard's */
	uint64		generation;		/* of the store, by which its tables were found */
	bool		more;			/* the last run has left something */
	TimestampTz rests_until;	/* after an error */
	long		pause;			/* ms, after the last one */
	MemoryContext context;
	Oid			events;			/* whose it is */
	bool		valid;			/* of what is committed, or in this transaction */
	bool		under_way;
	uint64		change;			/* of the feed, that has made this; 0: nobody tells */
	TimestampTz read_at;		/* when the last block was read */
	FeedBlock	block;			/* the last */
	int64		settled_below;	/* as it is stored */
	int64		highest;		/* up to there every id has a position, or is in a gap, or is given up */
	int64		top;			/* the highest that an event was seen with */
	int64		unordered_below;	/* ids below it may fall within an account */
	int64		step;			/* ids that may have no position yet: one of them, and how far they are apart; 0: not known */
	int64		id;
	Gaps		gaps;
} Sequencer;

typedef struct Run
{
	Drawn		drawn;
	Writers		writers;		/* who might store events after that was read */
	int			limit;			/* of events read */
	Ids			seen;			/* without a position until now, ascending */
	Ids			given;			/* which of them are given one */
	Ids			withheld;
	int64		upto;			/* below this everything was looked at */
} Run;

static Sequencer *sequencer;		/* of the feed where we stay */
static List *sequencers = NIL;	/* all that this session knows */

static void find_sequencer(void);
static Oid	events_here(void);
static void lock_sequencing(void);
static bool try_lock(bool wait);
static void cancel_holder(void);
static bool is_up_to_date(const Drawn *drawn);
static bool is_unchanged(Oid events);
static void restore(Drawn *drawn, const Writers *writers);
static void read_start(void);
static void widen(Drawn *drawn);
static void restore_gaps(const Drawn *drawn, Horizon *horizon);
static void read_events(Run *run);
static void read_gaps(Run *run);
static void read_new(Run *run);
static void read_ids(Run *run, const IdRange *ranges, int n);
static void key_of(RowKey *key, const IdRange *range);
static void add_id(Ids *ids, int64 id);
static Datum id_array(const Ids *ids);
static void withhold(Run *run);
static bool has_come(const Run *run, const bool *refused, int64 id, int64 before);
static int	find_id(const Ids *ids, int64 id);
static void note_gaps(Run *run, Horizon *horizon);
static void note_gap(const Drawn *drawn, Horizon *horizon, int64 lower, int64 upper);
static void note_withheld(const Ids *withheld);
static Horizon *withheld_horizon(void);
static void store_positions(const Ids *ids);
static void store_class(const Drawn *drawn, int64 increment);

/* Whether this store gives positions itself: not where its events come by a subscription. As the owner. */
bool
pointstore_is_sequenced(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid" EQ "r.srrelid"
		" WHERE c.relnamespace" EQ "CAST('pointstore' AS pg_catalog.regnamespace)"
		" AND CAST(c.relname AS pg_catalog.text)" EQ "ANY (ARRAY['event_store', 'feed_block']) LIMIT 1"
	};
	bool		result;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	result = SPI_processed == 0;
	SPI_finish();
	return result;
}

/*
 * One run, inside the caller's transaction, which has written no event, and acting as the
 * verifier. What it has given stands when that has committed.
 */
void
pointstore_sequence(SequenceRun *result)
{
	Run			run = {.limit = RUN_EVENTS};
	int64		increment;

	find_sequencer();
	lock_sequencing();
	LockRelationOid(events_here(), AccessShareLock);
	if (pointstore_is_distributed() && !sequencer->place.is_range)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store has been distributed meanwhile")));
	SPI_connect();
	sequencer->under_way = true;
	pointstore_read_drawn(&run.drawn);
	pointstore_event_writers(events_here(), &run.writers);
	result->prepared |= run.writers.prepared;
	increment = run.drawn.increment;
	if (is_up_to_date(&run.drawn))
		widen(&run.drawn);
	else
		restore(&run.drawn, &run.writers);
	sequencer->valid = false;
	read_events(&run);
	pointstore_fill_gaps(&sequencer->gaps, &run.seen);
	if (run.upto > sequencer->highest)
		note_gaps(&run, pointstore_add_horizon(&sequencer->gaps, &run.writers, false));
	note_withheld(&run.withheld);
	pointstore_settle_gaps(&sequencer->gaps, run.upto);
	store_positions(&run.given);
	store_class(&run.drawn, increment);
	result->more = sequencer->more = run.seen.n == run.limit || (run.given.n > 0 && run.withheld.n > 0);
	result->head = Max(sequencer->block.last, 0);
	result->given = run.given.n;
	result->id = sequencer->highest;
	result->last = run.drawn.last;
	sequencer->valid = true;
	sequencer->pause = 0;
	sequencer->generation = pointstore_store()->generation;
	SPI_finish();
}

/* What is known of the feed where we stay. What a split has ended is forgotten. */
static void
find_sequencer(void)
{
	PointstorePlace place = pointstore_here();
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, sequencers)
	{
		Sequencer  *known = lfirst(cell);

		if (known->place.is_range == place.is_range && (!place.is_range || (known->place.min == place.min && known->place.max == place.max)))
		{
			sequencer = known;
			return;
		}
		if (known->place.is_range != place.is_range || (known->place.min <= place.max && known->place.max >= place.min))
		{
			if (known->context != NULL)
				MemoryContextDelete(known->context);
			pfree(known);
			sequencers = foreach_delete_current(sequencers, cell);
		}
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	sequencer = palloc0(sizeof(Sequencer));
	sequencer->place = place;
	sequencers = lappend(sequencers, sequencer);
	MemoryContextSwitchTo(old);
}

/* The table of events where we stay. */
static Oid
events_here(void)
{
	return pointstore_shard_of(pointstore_anybody_here())->table[TABLE_EVENT_STORE].relid;
}

/* The feed where we stay has failed: it rests, longer each time. Events that it was told of before are not forgotten. */
void
pointstore_sequence_failed(void)
{
	find_sequencer();
	sequencer->valid = false;
	sequencer->pause = Max(FIRST_PAUSE, Min(2 * sequencer->pause, LONGEST_PAUSE));
	sequencer->rests_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), sequencer->pause);
}

/*
 * Whether there is something to do for the feed where we stay: events there may be, in these parts of the hashes, or a gap may end that one which is
 * prepared keeps open, or its shard has come from elsewhere.
 */
bool
pointstore_sequence_is_due(uint64 drawn)
{
	find_sequencer();
	return !sequencer->place.is_range || !sequencer->valid || sequencer->more || sequencer->generation != pointstore_store()->generation ||
		sequencer->gaps.horizons != NIL || (drawn & pointstore_parts_of_hashes(sequencer->place.min, sequencer->place.max)) != 0;
}

/* Whether it still rests after it has failed. */
bool
pointstore_sequence_rests(void)
{
	find_sequencer();
	return sequencer->rests_until > GetCurrentTimestamp();
}

/* One sequencer at a time; the lock goes with the transaction. A worker does not wait for a session that keeps it. */
static void
lock_sequencing(void)
{
	static uint32 wait_event = 0;
	TimestampTz since = GetCurrentTimestamp();
	bool		cancelled = false;

	if (try_lock(!AmBackgroundWorkerProcess()))
		return;
	while (!try_lock(false))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_INTERVAL,
						 pointstore_wait_event(&wait_event, "PointstoreSequencerLock"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (!cancelled && TimestampDifferenceExceeds(since, GetCurrentTimestamp(), 5 * DeadlockTimeout))
		{
			cancel_holder();
			cancelled = true;
		}
	}
}

static bool
try_lock(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, SEQUENCE_LOCK, 0, SEQUENCE_LOCK_KIND);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Cancels the statement of the session that has the lock, whoever's it is. */
static void
cancel_holder(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.pg_cancel_backend(l.pid), l.pid FROM pg_catalog.pg_locks l"
		" WHERE l.locktype" EQ "'advisory' AND l.granted AND l.pid IS NOT NULL AND l.classid" EQ "CAST($1 AS pg_catalog.oid)"
		"   AND l.objid" EQ "CAST(0 AS pg_catalog.oid) AND l.objsubid" EQ "CAST($2 AS pg_catalog.int2)"
		"   AND l.database" EQ "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname" EQ "pg_catalog.current_database())",
		.nargs = 2, .argtypes = {INT8OID, INT4OID}
	};
	Datum		values[2] = {Int64GetDatum(SEQUENCE_LOCK), Int32GetDatum(SEQUENCE_LOCK_KIND)};
	PointstoreScope scope;
	bool		isnull;

	pointstore_act_as_restricted(BOOTSTRAP_SUPERUSERID, &scope);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	if (SPI_processed > 0)
		ereport(LOG,
				(errmsg("process %d has given positions in a statement that goes on: cancelled",
						DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)))));
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/*
 * Whether what this session knows is how the feed stands; the last block is, from now on. Nothing
 * is of another store, nor where the sequence was set back.
 */
static bool
is_up_to_date(const Drawn *drawn)
{
	Oid			events = events_here();
	FeedBlock	last;
	int64		settled_below;
	bool		result;

	if (is_unchanged(events))
		return sequencer->highest <= drawn->last;
	pointstore_read_last_block(&last, &settled_below);
	result = sequencer->valid && sequencer->events == events && sequencer->highest <= drawn->last &&
		sequencer->block.first == last.first && sequencer->block.last == last.last;
	if (!sequencer->place.is_range && OidIsValid(sequencer->events) && sequencer->events != events)
		pointstore_forget_head();
	sequencer->events = events;
	sequencer->block = last;
	sequencer->settled_below = settled_below;
	sequencer->read_at = GetCurrentTransactionStartTimestamp();
	return result;
}

/* Whether nobody else can have changed the feed since, as far as is told, for a second. */
static bool
is_unchanged(Oid events)
{
	return sequencer->valid && sequencer->events == events && sequencer->change != 0 && sequencer->change == pointstore_feed_change() &&
		!TimestampDifferenceExceeds(sequencer->read_at, GetCurrentTransactionStartTimestamp(), 1000);
}

/* Makes up from the blocks what the session has to know. */
static void
restore(Drawn *drawn, const Writers *writers)
{
	Horizon    *horizon;

	if (sequencer->context == NULL)
		sequencer->context = AllocSetContextCreate(TopMemoryContext, "pointstore sequencer", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(sequencer->context);
	if (sequencer->place.is_range)
		pointstore_read_incarnation(&sequencer->incarnation);
	sequencer->gaps.context = sequencer->context;
	sequencer->gaps.horizons = NIL;
	read_start();
	widen(drawn);
	/* what was not settled is looked at, even where MINVALUE was raised above it */
	sequencer->highest = (sequencer->block.first > 0 ? sequencer->settled_below : drawn->lowest) - 1;
	sequencer->top = sequencer->highest;
	/* what has come in the meantime was seen by nobody */
	horizon = pointstore_add_horizon(&sequencer->gaps, writers, false);
	horizon->look = true;
	restore_gaps(drawn, horizon);
}

static void
read_start(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(pg_catalog.max(CAST(unordered_below AS pg_catalog.int8)), 0), coalesce(pg_catalog.max(CAST(step AS pg_catalog.int8)), 0),"
		" coalesce(pg_catalog.max(CAST(id AS pg_catalog.int8)), 0) FROM pointstore.feed_start"
	};
	bool		isnull;

	pointstore_execute(&plan, NULL, NULL, false);
	sequencer->unordered_below = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	sequencer->step = Max(DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)), 0);
	sequencer->id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
}

/*
 * What may have no position yet was drawn before INCREMENT was changed, or the sequence set: until all of it
 * is settled, ids of the smallest class that has both are taken for drawn.
 */
static void
widen(Drawn *drawn)
{
	if (sequencer->step > 0)
		pointstore_widen_class(drawn, sequencer->step, sequencer->id);
}

/* What is between the ranges of the blocks. However many blocks there are, gaps alone are kept. */
static void
restore_gaps(const Drawn *drawn, Horizon *horizon)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.lower(r.ids), pg_catalog.upper(r.ids) FROM"
		" (SELECT s.ids FROM pointstore.feed_block s WHERE s.sealed AND s.ids OPERATOR(pg_catalog.&&) pg_catalog.int8range($1, NULL) AND " OF_THIS_FEED
		"  UNION ALL SELECT l.ids FROM (SELECT ids, sealed FROM pointstore.feed_block WHERE " OF_THIS_FEED " ORDER BY first_position DESC LIMIT 1) l WHERE NOT l.sealed) b,"
		" LATERAL pg_catalog.unnest(CAST(b.ids AS pg_catalog.int8multirange)) AS r(ids) WHERE pg_catalog.upper(r.ids)" GT "$1 ORDER BY 1",
		.nargs = 1, .argtypes = {INT8OID},
		.generic = true
	};
	Datum		value = Int64GetDatum(sequencer->highest + 1);
	Portal		cursor = SPI_cursor_open(NULL, pointstore_prepare(&plan)->plan, &value, NULL, false);

	for (SPI_cursor_fetch(cursor, true, 1000); SPI_processed > 0; SPI_cursor_fetch(cursor, true, 1000))
	{
		uint64		i;

		CHECK_FOR_INTERRUPTS();
		for (i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			int64		lower = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

			note_gap(drawn, horizon, sequencer->highest + 1, lower);
			sequencer->highest = Max(sequencer->highest,
									DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)) - 1);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(cursor);
}

/* Reads the events that have no position, from the lowest id on, and decides which are given one. All by one snapshot. */
static void
read_events(Run *run)
{
	PushActiveSnapshot(GetLatestSnapshot());
	pointstore_drop_ended(&run->writers, GetActiveSnapshot());
	run->limit += withheld_horizon()->ngaps;
	if (pointstore_find_ended(&sequencer->gaps, GetActiveSnapshot()))
		read_gaps(run);
	if (run->seen.n == run->limit)
		run->upto = Min(run->seen.id[run->seen.n - 1], sequencer->highest);
	else
		read_new(run);
	if (run->seen.n > 0 && run->seen.id[0] < sequencer->unordered_below)
		withhold(run);
	else
		run->given = run->seen;
	PopActiveSnapshot();
}

/* What has come in the gaps that are looked at. */
static void
read_gaps(Run *run)
{
	IdRange    *ranges;
	int			n = pointstore_gaps_to_look_at(&sequencer->gaps, &ranges);

	read_ids(run, ranges, n);
	pfree(ranges);
}

/* What has come above all that was read before. */
static void
read_new(Run *run)
{
	IdRange		range = {sequencer->highest + 1, run->drawn.last};

	run->upto = Max(run->drawn.last, sequencer->highest);
	if (run->drawn.last <= sequencer->highest)
		return;
	/* the last one itself may be the highest there is */
	range.upper += range.upper < PG_INT64_MAX;
	read_ids(run, &range, 1);
	if (run->seen.n == run->limit)
		run->upto = run->seen.id[run->seen.n - 1];
}

/* The ids in these ranges, ascending, that the active snapshot sees, and are of the sequence, up to the limit. */
static void
read_ids(Run *run, const IdRange *ranges, int n)
{
	RowScan		scan;
	int			i;

	for (i = 0; i < n && run->seen.n < run->limit; i++)
	{
		RowKey		key;

		CHECK_FOR_INTERRUPTS();
		key_of(&key, &ranges[i]);
		if (i == 0)
			pointstore_scan_begin_reading(&scan, pointstore_anybody_here(), INDEX_EVENT_ID, GetActiveSnapshot(), &key);
		else
			pointstore_scan_again(&scan, &key);
		while (run->seen.n < run->limit && pointstore_scan_next(&scan, ForwardScanDirection))
		{
			bool		isnull;
			int64		id = DatumGetInt64(slot_getattr(scan.slot, scan.table->att[EV_ID], &isnull));

			CHECK_FOR_INTERRUPTS();
			if (!isnull && pointstore_is_of_class(&run->drawn, id))
				add_id(&run->seen, id);
		}
	}
	if (i > 0)
		pointstore_scan_end(&scan);
}

static void
key_of(RowKey *key, const IdRange *range)
{
	key->n = 2;
	ScanKeyInit(&key->columns[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(range->lower));
	ScanKeyInit(&key->columns[1], 1, range->upper == PG_INT64_MAX ? BTLessEqualStrategyNumber : BTLessStrategyNumber,
				range->upper == PG_INT64_MAX ? F_INT8LE : F_INT8LT, Int64GetDatum(range->upper));
}

static void
add_id(Ids *ids, int64 id)
{
	if (ids->n == ids->room)
	{
		ids->room = Max(64, 2 * ids->room);
		ids->id = ids->id == NULL ? palloc(sizeof(int64) * ids->room) : repalloc_huge(ids->id, sizeof(int64) * ids->room);
	}
	ids->id[ids->n++] = id;
}

static Datum
id_array(const Ids *ids)
{
	Datum	   *elements = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * (ids->n + 1));
	ArrayType  *array;
	int			i;

	for (i = 0; i < ids->n; i++)
		elements[i] = Int64GetDatum(ids->id[i]);
	array = construct_array(elements, ids->n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	pfree(elements);
	return PointerGetDatum(array);
}

/*
 * Of the events seen, which are given a position: not one whose account's earlier event has
 * none, nor one that would come before it in this run.
 */
static void
withhold(Run *run)
{
	static PointstorePlan plan = {
		.sql = "SELECT i.id, p.id FROM pg_catalog.unnest($1) AS i(id),"
		" LATERAL (SELECT s.aggregate_id, s.version FROM pointstore.event_store s WHERE s.id" EQ "i.id LIMIT 1) AS e,"
		" LATERAL (SELECT b.id FROM pointstore.event_store b WHERE b.aggregate_id" EQ "e.aggregate_id AND b.version" EQ "(e.version" MINUS "1) LIMIT 1) AS p"
		" WHERE $3" EQ "1 OR (p.id" MINUS "$2) OPERATOR(pg_catalog.%) $3" EQ "0 ORDER BY i.id",
		.nargs = 3, .argtypes = {INT8ARRAYOID, INT8OID, INT8OID},
		.generic = true
	};
	Datum		values[3] = {id_array(&run->seen), Int64GetDatum(run->drawn.last), Int64GetDatum(run->drawn.increment)};
	bool	   *refused = palloc0(run->seen.n * sizeof(bool));
	uint64		next = 0;
	int			i;

	pointstore_execute(&plan, values, NULL, true);
	for (i = 0; i < run->seen.n; i++)
	{
		int64		id = run->seen.id[i];
		bool		isnull;

		if (next < SPI_processed && DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[next], SPI_tuptable->tupdesc, 1, &isnull)) == id)
			refused[i] = !has_come(run, refused, id, DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[next++], SPI_tuptable->tupdesc, 2, &isnull)));
		add_id(refused[i] ? &run->withheld : &run->given, id);
	}
	SPI_freetuptable(SPI_tuptable);
	pfree(refused);
}

/* Whether the event before an account's event has its position when that is given one. */
static bool
has_come(const Run *run, const bool *refused, int64 id, int64 before)
{
	int			place = find_id(&run->seen, before);

	if (place >= 0)
		return before < id && !refused[place];
	return before <= sequencer->highest && !pointstore_in_gap(&sequencer->gaps, before);
}

/* Where an id is among others, ascending; -1: nowhere. */
static int
find_id(const Ids *ids, int64 id)
{
	int			low = 0;
	int			high = ids->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (ids->id[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ids->n && ids->id[low] == id ? low : -1;
}

/* What was drawn, up to where this run has read, and not seen, waits for the writers. */
static void
note_gaps(Run *run, Horizon *horizon)
{
	int64		next = sequencer->highest + 1;
	int			i;

	for (i = 0; i < run->seen.n; i++)
	{
		if (run->seen.id[i] < next)
			continue;
		note_gap(&run->drawn, horizon, next, run->seen.id[i]);
		next = run->seen.id[i] + 1;
	}
	note_gap(&run->drawn, horizon, next, run->upto + 1);
	sequencer->highest = run->upto;
	if (run->seen.n > 0)
		sequencer->top = Max(sequencer->top, run->seen.id[run->seen.n - 1]);
}

/* The ids from lower to below upper, if some of them are of the sequence's class. */
static void
note_gap(const Drawn *drawn, Horizon *horizon, int64 lower, int64 upper)
{
	uint64		step = drawn->increment;
	uint64		above;			/* how far the last id is above the class's last in there, or before */

	if (lower >= upper)
		return;
	above = drawn->last < upper ? ((uint64) upper - 1 - (uint64) drawn->last) % step :
		(step - ((uint64) drawn->last - ((uint64) upper - 1)) % step) % step;
	if ((uint64) upper - 1 - (uint64) lower >= above)
		pointstore_add_gap(&sequencer->gaps, horizon, lower, upper);
}

/* The events that are withheld. */
static void
note_withheld(const Ids *withheld)
{
	int			i;

	for (i = 0; i < withheld->n; i++)
		pointstore_add_gap(&sequencer->gaps, withheld_horizon(), withheld->id[i], withheld->id[i] + 1);
}

static Horizon *
withheld_horizon(void)
{
	ListCell   *cell;

	foreach(cell, sequencer->gaps.horizons)
		if (((Horizon *) lfirst(cell))->withheld)
			return lfirst(cell);
	return pointstore_add_horizon(&sequencer->gaps, NULL, true);
}

/*
 * The blocks, and how far all is settled, as it is worth a write. The node to which a shard moves draws ids above those of its events: above them nothing
 * is settled for it.
 */
static void
store_positions(const Ids *ids)
{
	int64		settled_below = Min(pointstore_lowest_gap(&sequencer->gaps), (sequencer->place.is_range ? sequencer->top : sequencer->highest) + 1);

	if (ids->n > 0)
		pointstore_write_positions(&sequencer->block, ids, settled_below, sequencer->place.is_range ? &sequencer->incarnation : NULL);
	else if (sequencer->block.first > 0 && settled_below >= sequencer->settled_below + SETTLED_STEP)
		pointstore_write_settled(&sequencer->block, settled_below);
	else
		return;
	sequencer->settled_below = settled_below;
	ForceSyncCommit();
}

/*
 * Which ids may have no position yet, where that has changed: when all is settled, those that the sequence draws now. In a shard ids of any are drawn,
 * by other nodes.
 */
static void
store_class(const Drawn *drawn, int64 increment)
{
	static PointstorePlan update = {
		.sql = "UPDATE pointstore.feed_start SET step = $1, id = $2",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	static PointstorePlan insert = {
		.sql = "INSERT INTO pointstore.feed_start (single, unordered_below, step, id) VALUES (true, 0, $1, $2)",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	Drawn		class = *drawn;
	Datum		values[2];

	if (sequencer->place.is_range)
		return;
	if (Min(pointstore_lowest_gap(&sequencer->gaps), sequencer->highest + 1) > drawn->last)
		class.increment = increment;
	if (drawn->last < drawn->lowest || (sequencer->step == class.increment && pointstore_is_of_class(&class, sequencer->id)))
		return;
	values[0] = Int64GetDatum(class.increment);
	values[1] = Int64GetDatum(drawn->last);
	pointstore_execute(&update, values, NULL, false);
	if (SPI_processed == 0)
		pointstore_execute(&insert, values, NULL, false);
	sequencer->step = class.increment;
	sequencer->id = drawn->last;
	ForceSyncCommit();
}

/* Whether a statement of this session's is at it, in this transaction. */
bool
pointstore_sequence_is_under_way(void)
{
	ListCell   *cell;

	foreach(cell, sequencers)
		if (((Sequencer *) lfirst(cell))->under_way)
			return true;
	return false;
}

/* Whether there are gaps, where we stay, that somebody may still fill, by now. */
bool
pointstore_sequence_awaits_writers(void)
{
	(void) pointstore_find_ended(&sequencer->gaps, GetLatestSnapshot());
	return pointstore_gaps_await_writers(&sequencer->gaps);
}

/*
 * At the end of each transaction: what the session knows counts if that was committed, and those who wait for it are told. The lock is kept a moment
 * longer: who has it next knows of it.
 */
void
pointstore_sequence_ended(bool committed)
{
	uint64		change = pointstore_sequence_is_under_way() && committed ? pointstore_change_feed() : 0;
	ListCell   *cell;

	foreach(cell, sequencers)
	{
		Sequencer  *known = lfirst(cell);

		if (known->under_way && !committed)
			known->valid = false;
		/* nobody has sequenced between */
		if (change != 0 && (known->under_way || known->change == change - 1))
			known->change = change;
		if (known->under_way && committed)
			pointstore_publish_head(known->place.is_range ? (int64) change : known->block.last);
		known->under_way = false;
	}
}
