/*-------------------------------------------------------------------------
 *
 * src/feed/everywhere.c
 *		Calls that mean every shard.
 *
 * Each shard has a subscription of its own, and what is done to a subscription is done in each, in the order of their hashes, in one
 * transaction. Where a shard is on another node Citus delegates that, as whose.c says. A shard that has come of a split, and has not the subscription
 * yet, is given it from here, for a call that was delegated cannot ask other nodes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/guc.h"

#include "feed/everywhere.h"
#include "feed/heritage.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/pointstore.h"
#include "ground/store.h"
#include "ground/twophase.h"

static int32 call_there(FunctionCallInfo fcinfo, int nargs, FeedCall call, int64 shard);
static int64 *shards_of_store(int *n);

/*
 * Makes a call of so many arguments in each shard, or once in a plain store. Returns the sum of what it returns. One argument more is the name of
 * an account whose shard alone is meant. Each shard is held where it is until the transaction ends; PS013 where one was split before.
 */
int64
pointstore_call_in_shards(FunctionCallInfo fcinfo, int nargs, FeedCall call)
{
	int64		sum = 0;
	int64	   *shards;
	int64	   *after;
	int			level;
	int			n;
	int			m;
	int			i;

	if (PG_NARGS() == nargs + 1)
	{
		pointstore_require_shards();
		return DatumGetInt32(pointstore_call_of_anybody(fcinfo, call));
	}
	pointstore_check_arguments(fcinfo, nargs);
	if (!pointstore_is_distributed())
		return DatumGetInt32(call(fcinfo));
	level = pointstore_pin_transaction();
	shards = shards_of_store(&n);
	for (i = 0; i < n; i++)
		sum += call_there(fcinfo, nargs, call, shards[i]);
	after = shards_of_store(&m);
	if (n != m || memcmp(shards, after, sizeof(int64) * n) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
				 errmsg("a shard was split meanwhile"),
				 errhint("Repeat the call.")));
	AtEOXact_GUC(true, level);
	return sum;
}

/* Makes a call of so many arguments where an account is, or in a plain store. */
int64
pointstore_call_where(FunctionCallInfo fcinfo, int nargs, FeedCall call, text *of)
{
	PointstorePlacements *map = pointstore_is_distributed() ? pointstore_store()->placements : NULL;
	int64		result;
	int			level;

	if (map == NULL)
		return DatumGetInt32(call(fcinfo));
	level = pointstore_pin_transaction();
	result = call_there(fcinfo, nargs, call, pointstore_placement_of_hash(map, pointstore_hash_of(of))->shard_number);
	AtEOXact_GUC(true, level);
	return result;
}

/* Makes it in a shard, which then has the subscription. 42704: no shard has it; 55000: the shard cannot have it yet. */
static int32
call_there(FunctionCallInfo fcinfo, int nargs, FeedCall call, int64 shard)
{
	int32		result = DatumGetInt32(pointstore_call_in_shard(fcinfo, nargs, call, shard));
	Heritage	heritage;

	if (result != NOT_THERE)
		return result;
	heritage = pointstore_bring_heritage(PG_GETARG_TEXT_PP(0), shard);
	if (heritage == HERITAGE_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	if (heritage == HERITAGE_LATER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a shard that was split has not got its feed yet"),
				 errhint("Repeat the call.")));
	return DatumGetInt32(pointstore_call_in_shard(fcinfo, nargs, call, shard));
}

/* The numbers of the shards, in the order of their hashes. */
static int64 *
shards_of_store(int *n)
{
	const PointstorePlacements *map = pointstore_store()->placements;
	int64	   *shards = palloc(sizeof(int64) * map->n);
	int			i;

	*n = map->n;
	for (i = 0; i < map->n; i++)
		shards[i] = map->ranges[i].shard_number;
	return shards;
}
