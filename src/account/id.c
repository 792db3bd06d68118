/*-------------------------------------------------------------------------
 *
 * src/account/id.c
 *		The ids of events.
 *
 * They are drawn from a sequence: of a distributed store from that of the node, whose numbers, counted from its first one, stand for ids that are NODES
 * apart, so that no two nodes draw the same. Where a shard has come from another node, its ids may be above what the sequence here has come to;
 * before the first one is drawn for it the sequence is raised above them, so ids rise within an account wherever it moves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "account/account.h"
#include "account/id.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/shard.h"
#include "ground/sql.h"
#include "ground/stat.h"
#include "ground/store.h"

/* as many nodes draw ids that are not each other's: their group ids are below it */
#define NODES 1024

static uint64 drawn = 0;		/* ids, in this transaction: in which parts of the hashes, of a plain store in any */
static bool is_raised = false;	/* the node's sequence, by this session if need be */
static LWLock *raising = NULL;	/* shared by who draws for a node, exclusive for who raises its sequence; null: not preloaded */

static int64 settled_ids(void);
static void come_above(Oid sequence, PointstorePlacement *range);
static int64 highest_here(void);
static int64 first_of(Oid sequence);
static int64 next_of_node(Oid sequence, int32 node);
static int64 highest_of_shard(const PointstorePlacement *range);
static void raise_sequence(Oid sequence, int64 above);

/* Asks for its shared memory. */
void
pointstore_ids_request(void)
{
	RequestNamedLWLockTranche("pointstore_ids", 1);
}

void
pointstore_ids_set_up(void)
{
	raising = &GetNamedLWLockTranche("pointstore_ids")->lock;
}

/*
 * The next id of the store, or of this node, above that of the account's last event: 55000. The transaction has
 * its own id before: so whoever sees an event's id drawn sees its transaction running (passes.c).
 * An id above all that this server knew of before it was drawn is above the
 * account's; where that is not so, or nothing is known, the account's last event is asked. One that the feed
 * has come past before it was drawn would have no position ever: 55000 as well. How far the feed is we ask when we
 * have a transaction id: it waits for those that have one, after it has told how far it reads.
 */
int64
pointstore_draw_id(Account *account)
{
	int64		highest;
	int64		settled;
	int64		id;

	(void) GetCurrentTransactionId();
	if (pointstore_is_distributed())
	{
		drawn |= pointstore_parts_of_hashes(pointstore_hash_of(account->id), pointstore_hash_of(account->id));
		return account->last_id = pointstore_draw_for_node(account->id);
	}
	highest = pointstore_stat_highest_id();
	settled = settled_ids();
	drawn = 1;
	if (highest == 0)
		pointstore_stat_raise_id(pointstore_highest_id());
	id = nextval_internal(pointstore_store()->id_sequence, false);
	if (highest == 0 || id <= highest)
	{
		Account		last = {.id = account->id};

		if (account->last_id == 0 && pointstore_last_event(&last, GetActiveSnapshot()))
			account->last_id = last.last_id;
		if (account->last_id != 0 && id <= account->last_id)
			pointstore_refuse_sequence(psprintf("id %lld is not above %lld, that of the last event of account \"%s\"", (long long) id,
									 (long long) account->last_id, pointstore_cstring(account->id)), 0);
	}
	if (id <= settled)
		pointstore_refuse_sequence(psprintf("id %lld is not above %lld, up to which the feed has been read", (long long) id, (long long) settled), settled);
	pointstore_stat_raise_id(id);
	account->last_id = id;
	return id;
}

/* The next id of this node, of an event or for the log of an account that is here. */
int64
pointstore_draw_for_node(text *account)
{
	Oid			sequence = pointstore_store()->id_sequence;
	PointstorePlacement *range = pointstore_placement_of(account);
	int32		node = pointstore_store()->placements->node;
	int64		highest;
	int64		id;

	if (raising == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pointstore is not preloaded on this node"),
				 errhint("shared_preload_libraries = 'citus, pointstore'")));
	if (node >= NODES)
		pointstore_refuse_sequence(psprintf("node %d is not below %d", node, NODES), 0);
	/* who may store events has their table locked before, for who gives positions to them */
	if (range->writing != pointstore_lock_generation())
		LockRelationOid(range->relids[TABLE_EVENT_STORE], RowExclusiveLock);
	LockRelationOid(sequence, RowExclusiveLock);	/* before the lock that nobody waits long for */
	come_above(sequence, range);
	highest = pointstore_stat_highest_id();
	if (highest == 0 && !is_raised)
	{
		/* the first since the server's start; or of this session, where no highest id is kept */
		highest = highest_here();
		raise_sequence(sequence, highest);
	}
	is_raised = true;
	id = next_of_node(sequence, node);
	/* all that this server knew of was drawn before, or is below what the sequence was raised to: it was set back, by hand or by Citus */
	if (id <= highest)
	{
		raise_sequence(sequence, Max(highest, highest_here()));
		id = next_of_node(sequence, node);
	}
	if (id <= highest)
		pointstore_refuse_sequence(psprintf("id %lld is not above %lld", (long long) id, (long long) highest), highest);
	pointstore_stat_raise_id(id);
	return id;
}

/* The node's sequence is above the ids of a shard, whoever has drawn them. */
static void
come_above(Oid sequence, PointstorePlacement *range)
{
	if (!range->has_ids)
		raise_sequence(sequence, highest_of_shard(range));
	range->has_ids = true;
}

/* Where an account is, the id that none is above which has been drawn for it; this node draws higher ones from now on. */
int64
pointstore_last_of_node(text *account)
{
	Oid			sequence = pointstore_store()->id_sequence;
	LOCAL_FCINFO(fcinfo, 1);
	Datum		last;

	come_above(sequence, pointstore_placement_of(account));
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(sequence);
	fcinfo->args[0].isnull = false;
	last = pg_sequence_last_value(fcinfo);
	return fcinfo->isnull ? NODES - 1 : (DatumGetInt64(last) - first_of(sequence) + 1) * NODES + NODES - 1;
}

/* The highest id of all shards that are here; at least 1. */
static int64
highest_here(void)
{
	int64		highest = 1;
	int64		hash = POINTSTORE_FIRST_HASH;
	PointstorePlacement *range;

	for (; pointstore_range_from(hash, &range); hash = pointstore_next_hash(range))
		highest = Max(highest, highest_of_shard(range));
	return highest;
}

/* What a sequence begins with: that of another node than the coordinator has a range of its own, by Citus. */
static int64
first_of(Oid sequence)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	int64		first;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	first = ((Form_pg_sequence) GETSTRUCT(tuple))->seqmin;
	ReleaseSysCache(tuple);
	return first;
}

/* The next id that a node's sequence, which is locked, stands for: its numbers are counted, so no other node's ids are the same, whatever their ranges. */
static int64
next_of_node(Oid sequence, int32 node)
{
	int64		first = first_of(sequence);
	int64		place;

	LWLockAcquire(raising, LW_SHARED);
	place = nextval_internal(sequence, false) - first + 1;
	LWLockRelease(raising);
	return place * NODES + node;
}

/* The highest id that a shard's events, its logs and its runs have, by what is committed; another node may have drawn it. */
static int64
highest_of_shard(const PointstorePlacement *range)
{
	PointstoreScope scope;
	int64		highest;
	bool		isnull;

	pointstore_act_as_reader(&scope);
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute(psprintf("SELECT greatest((SELECT pg_catalog.max(id) FROM pointstore.%1$s), (SELECT pg_catalog.max(id) FROM pointstore.%2$s),"
							 " (SELECT pg_catalog.max(id) FROM pointstore.%3$s WHERE scope" EQ "'full'), (SELECT pg_catalog.max(id) FROM pointstore.%3$s WHERE scope" EQ "'incremental'),"
							 " (SELECT pg_catalog.max(id) FROM pointstore.%4$s))",
							 quote_identifier(get_rel_name(range->relids[TABLE_EVENT_STORE])), quote_identifier(get_rel_name(range->relids[TABLE_ACCOUNT_LOG])),
							 quote_identifier(get_rel_name(range->relids[TABLE_RECONCILIATION])), quote_identifier(get_rel_name(range->relids[TABLE_MOVEMENT_LOG]))),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the highest id of a shard");
	highest = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	PopActiveSnapshot();
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return isnull ? 0 : highest;
}

/* Has the sequence stand for ids above one, which costs one of those between; nobody draws meanwhile. */
static void
raise_sequence(Oid sequence, int64 above)
{
	int64		first = first_of(sequence);
	int64		place = above / NODES;
	PointstoreScope scope;

	if (place == 0)
		return;
	/* before the lock that nobody waits long for */
	LockRelationOid(sequence, RowExclusiveLock);
	pointstore_act_as_owner(&scope);
	LWLockAcquire(raising, LW_EXCLUSIVE);
	if (nextval_internal(sequence, false) - first + 1 < place)
		DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(first + place - 1));
	LWLockRelease(raising);
	/* where none is known, who draws asks all shards */
	if (pointstore_stat_highest_id() != 0)
		pointstore_stat_raise_id(above);
	pointstore_act_as_caller(&scope);
}

/*
 * The id up to which the feed has been read, or below which it is settled. Where none is kept it is read once in each
 * transaction that draws.
 */
static int64
settled_ids(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(settled_below AS pg_catalog.int8), 1) FROM pointstore.feed_block ORDER BY first_position DESC LIMIT 1"
	};
	static int64 settled = 0;
	Oid			sequence = pointstore_store()->id_sequence;
	int64		known = pointstore_stat_settled(sequence);
	bool		isnull;

	if (known >= 0)
		return known;
	if (drawn != 0)
		return settled;
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	settled = SPI_processed == 0 ? 0 : DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) - 1;
	SPI_finish();
	pointstore_stat_settle(sequence, settled);
	return settled;
}

/* In which parts of the hashes events have been written since this was asked, at the end of a transaction in that; 0: none have. */
uint64
pointstore_drawn(void)
{
	uint64		result = drawn;

	drawn = 0;
	return result;
}

/* The sequence does not give what it should; above: it has to come past that, besides all events. */
void
pointstore_refuse_sequence(const char *why, int64 above)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the ids of events do not rise: %s", why),
			 errdetail("The sequence pointstore.event_store_id_seq was set back, or behind what was restored or replicated, or has other settings than it was created with."),
			 errhint("SELECT setval('pointstore.event_store_id_seq', greatest(max(id), %lld)) FROM pointstore.event_store;", (long long) above)));
}
