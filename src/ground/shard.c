/*-------------------------------------------------------------------------
 *
 * src/ground/shard.c
 *		Which tables an access means.
 *
 * Whoever reads or writes rows says whose they are: of which account, or which lease. Nobody but this room and
 * those which look the tables up (store.c, placement.c) knows how many of each there are.
 *
 * A shard that is written while Citus moves or splits it loses what is written. Citus holds off its own writers by
 * a lock for each range of hashes, which it takes in ExclusiveLock on every node before it cuts over; so do we hold it,
 * in ShareLock, from the first access to a range to the end of the transaction. Once it is granted
 * the placements are looked up anew where they have changed: then, and not before, we know
 * whether the range is here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/pointstore.h"
#include "ground/shard.h"

/* by which Citus tells its lock on the metadata of colocated shards from its others */
#define LOCK_OF_COLOCATED_SHARDS 8

static uint64 lock_generation = 1;

static PointstorePlacement *range_of(PointstorePlacements *map, text *of);
static const PointstoreShard *locked_shard(text *of);
static bool lock_range(const PointstorePlacements *map, const PointstorePlacement *range, bool wait);
static bool range_from(int64 hash, PointstorePlacement **range, bool wait, bool *passed);
static void look_up(const PointstoreStore *store, PointstorePlacement *range);
pg_noreturn static void refuse_elsewhere(const PointstorePlacement *range, text *of);

/*
 * Where the rows of an account are, or those of a lease; of NULL: the rules, and where there is but one shard that.
 * Of a distributed store PS013 where that is another node.
 */
const PointstoreShard *
pointstore_shard_of(text *of)
{
	const PointstoreStore *store = pointstore_store();
	PointstorePlacement *range;

	if (store->placements == NULL || of == NULL)
		return &store->shard;
	range = range_of(store->placements, of);
	return range->locked == lock_generation && range->shard != NULL ? range->shard : locked_shard(of);
}

/* What tells an account's range: Citus hashes as hashtext() does in collation "C". */
int32
pointstore_hash_of(text *of)
{
	return (int32) DatumGetUInt32(hash_any((unsigned char *) VARDATA_ANY(of), VARSIZE_ANY_EXHDR(of)));
}

/* A bit for each 64th part of all hashes that those from one to another are in. */
uint64
pointstore_parts_of_hashes(int32 min, int32 max)
{
	int			first = ((int64) min - PG_INT32_MIN) >> 26;
	int			last = ((int64) max - PG_INT32_MIN) >> 26;

	return (~UINT64CONST(0) << first) & (~UINT64CONST(0) >> (63 - last));
}

static PointstorePlacement *
range_of(PointstorePlacements *map, text *of)
{
	return pointstore_placement_of_hash(map, pointstore_hash_of(of));
}

/* Locks the range, and looks it up, until nothing has changed meanwhile. */
static const PointstoreShard *
locked_shard(text *of)
{
	for (;;)
	{
		const PointstoreStore *store = pointstore_store();
		PointstorePlacement *range = range_of(store->placements, of);

		CHECK_FOR_INTERRUPTS();
		if (range->locked != lock_generation)
			(void) lock_range(store->placements, range, true);
		if (pointstore_store() != store)
			continue;
		range->locked = lock_generation;
		if (range->node != store->placements->node)
			refuse_elsewhere(range, of);
		if (range->shard == NULL)
			look_up(store, range);
		if (pointstore_store() == store && range->shard != NULL)
			return range->shard;
	}
}

/*
 * Holds off moves and splits of a range to the end of the transaction; what they have changed before is known afterwards.
 * False: one of them has it, and is not waited for.
 */
static bool
lock_range(const PointstorePlacements *map, const PointstorePlacement *range, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, range->index, map->colocation, LOCK_OF_COLOCATED_SHARDS);
	if (LockAcquire(&tag, ShareLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

/* Looks a shard's tables up, as the owner: see pointstore_load_shard(). Its memory is its own: what was looked up before lives as long as this transaction. */
static void
look_up(const PointstoreStore *store, PointstorePlacement *range)
{
	StoreLack	lack = {0};
	PointstoreScope scope;
	PointstoreShard *shard;

	if (range->context != NULL)
		MemoryContextSetParent(range->context, TopTransactionContext);
	range->context = AllocSetContextCreate(GetMemoryChunkContext((void *) store), "pointstore shard", ALLOCSET_SMALL_SIZES);
	shard = MemoryContextAllocZero(range->context, sizeof(PointstoreShard));
	range->shard = shard;		/* forgotten, where one of its relations changes meanwhile */
	PG_TRY();
	{
		pointstore_act_as_restricted(store->owner, &scope);
		pointstore_load_shard(shard, range->relids, true, &lack);
		pointstore_act_as_caller(&scope);
	}
	PG_CATCH();
	{
		range->shard = NULL;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (lack.what != NULL)
	{
		range->shard = NULL;
		pointstore_refuse_lack(lack.what, lack.name);
	}
}

static void
refuse_elsewhere(const PointstorePlacement *range, text *of)
{
	StringInfoData detail;

	initStringInfo(&detail);
	pointstore_detail(&detail, "aggregate_id", pointstore_cstring(of));
	pointstore_detail_number(&detail, "node", range->node);
	pointstore_detail(&detail, "server", pointstore_node_name(range->node));
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
			 errmsg("account \"%s\" is not on this node", pointstore_cstring(of)),
			 errdetail_internal("%s", detail.data),
			 errhint("Repeat the call, as the only one of its statement: SELECT * FROM pointstore.f(...). Clients that go to the nodes themselves ask pointstore.node_of().")));
}

/* The range of an account of a distributed store, which is here and locked; else PS013. */
PointstorePlacement *
pointstore_placement_of(text *of)
{
	(void) pointstore_shard_of(of);
	return range_of(pointstore_store()->placements, of);
}

/*
 * The first range here that has hashes from one on, locked as for an access; of a plain store NULL, which has them all.
 * False: there is none.
 */
bool
pointstore_range_from(int64 hash, PointstorePlacement **range)
{
	return range_from(hash, range, true, NULL);
}

/* The same, past those that are being moved or split. *passed: one was. */
bool
pointstore_free_range_from(int64 hash, PointstorePlacement **range, bool *passed)
{
	return range_from(hash, range, false, passed);
}

static bool
range_from(int64 hash, PointstorePlacement **range, bool wait, bool *passed)
{
	*range = NULL;
	while (hash <= PG_INT32_MAX)
	{
		const PointstoreStore *store = pointstore_store();
		PointstorePlacements *map = store->placements;

		CHECK_FOR_INTERRUPTS();
		if (map == NULL)
			return true;
		*range = pointstore_placement_of_hash(map, hash);
		if ((*range)->node == map->node && (*range)->locked != lock_generation && !lock_range(map, *range, wait))
		{
			*passed = true;
			hash = pointstore_next_hash(*range);
			continue;
		}
		if (pointstore_store() != store)
			continue;
		if ((*range)->node == map->node)
		{
			(*range)->locked = lock_generation;
			return true;
		}
		hash = pointstore_next_hash(*range);
	}
	return false;
}

/* Where the range after one begins. */
int64
pointstore_next_hash(const PointstorePlacement *range)
{
	return (range == NULL ? (int64) PG_INT32_MAX : range->max) + 1;
}

/* The group id of the node that has an account of a distributed store, by what is known here. */
int32
pointstore_node_of(text *of)
{
	return range_of(pointstore_store()->placements, of)->node;
}

/* Whether an account is on this node, by what is known here. */
bool
pointstore_is_here(text *of)
{
	return !pointstore_is_distributed() || pointstore_node_of(of) == pointstore_store()->placements->node;
}

/* Whether this session knows already that an account is here: where it would have to look that up, false. */
bool
pointstore_is_known_here(text *of)
{
	const PointstoreStore *store;

	AcceptInvalidationMessages();
	store = pointstore_known_store();
	return store != NULL && (store->placements == NULL || range_of(store->placements, of)->node == store->placements->node);
}

/*
 * A relation as that table of the store; NULL: it is none of these. Where Citus has sent the statement that fires for it, it holds the range
 * at the node that the statement began on; to wait for that lock here as well would be a deadlock with a move that has it here and
 * waits for it there, which nobody finds.
 */
const PointstoreTable *
pointstore_table_of_relation(Oid relid, PointstoreTableId table)
{
	const PointstoreStore *store = pointstore_store();
	PointstorePlacement *range;

	if (store->shard.table[table].relid == relid)
		return &store->shard.table[table];
	range = store->placements == NULL ? NULL : pointstore_placement_of_relation(store->placements, relid, table);
	if (range == NULL)
		return NULL;
	if (pointstore_is_sent_by_citus())
		range->locked = lock_generation;
	if (range->shard == NULL)
		look_up(store, range);
	return &range->shard->table[table];
}

/* A row is written by hand where its account's are: else, in a shard of a distributed store's, 22023. */
void
pointstore_check_place(Relation relation, PointstoreTableId table, text *of)
{
	if (pointstore_is_distributed() && pointstore_placement_of(of)->relids[table] != RelationGetRelid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is not of shard \"%s\"", pointstore_cstring(of), RelationGetRelationName(relation)),
				 errhint("Write to the table, not to its shards.")));
}

/* PS013 for a relation that was a shard of that table before Citus moved or split it; else nothing. */
void
pointstore_refuse_left_shard(Relation relation, PointstoreTableId table)
{
	const char *name = pointstore_table_names[table];
	const char *found = RelationGetRelationName(relation);

	if (pointstore_is_distributed() && RelationGetNamespace(relation) == get_namespace_oid("pointstore", true) &&
		strncmp(found, name, strlen(name)) == 0 && found[strlen(name)] == '_')
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
				 errmsg("\"%s\" is not a shard of the store on this node any more", found),
				 errhint("Repeat the statement.")));
}

/* Changes when locks may have been released: at the end of each transaction, and where a subtransaction is rolled back. */
uint64
pointstore_lock_generation(void)
{
	return lock_generation;
}

void
pointstore_forget_shard_locks(void)
{
	lock_generation++;
}
