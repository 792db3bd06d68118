/*-------------------------------------------------------------------------
 *
 * src/feed/number.c
 *		The number by which members know a slot.
 *
 * In a plain store it is the slot's. In a distributed one the slots are the shards, each of which has one slot, and the number tells the range of its
 * hashes: by where that begins, in 32,768ths of all. Every node says the same, a move changes none, and a split only adds some. Where ranges are so narrow
 * that several begin in one such part, a number is the next one that is free; and leaves as many above it as there are ranges.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "feed/number.h"
#include "ground/detail.h"
#include "ground/placed.h"
#include "ground/pointstore.h"
#include "ground/store.h"

static int32 next_number(const PointstorePlacements *map, int range, int32 before);
pg_noreturn static void refuse_elsewhere(text *subscription, int16 number, int32 node);

/* That of a slot where we stay. */
int16
pointstore_number_of_slot(int16 slot)
{
	PointstorePlace place = pointstore_here();
	const PointstorePlacements *map = pointstore_store()->placements;
	int32		number = -1;
	int			i;

	if (!place.is_range)
		return slot;
	for (i = 0; i < map->n && map->ranges[i].min <= place.min; i++)
		number = next_number(map, i, number);
	return number;
}

/* Goes to the shard that a number tells, and returns what the slot is there. 22023: there is none; PS013: it is on another node. */
int16
pointstore_go_to_slot(text *subscription, int16 number)
{
	const PointstorePlacements *map = pointstore_is_distributed() ? pointstore_store()->placements : NULL;
	int32		found = -1;
	int64		shard;
	int32		node;
	int			i;

	if (map == NULL)
		return number;
	for (i = 0; i < map->n && found < number; i++)
		found = next_number(map, i, found);
	if (found != number || i == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription \"%s\" has no slot %d", text_to_cstring(subscription), number)));
	shard = map->ranges[i - 1].shard_number;
	node = map->ranges[i - 1].node;
	if (!pointstore_go_to_shard(shard))
		refuse_elsewhere(subscription, number, node);
	return 0;
}

/* That of a range, by that of the one before it. */
static int32
next_number(const PointstorePlacements *map, int range, int32 before)
{
	int32		part = ((int64) map->ranges[range].min - PG_INT32_MIN) >> 17;

	return Min(Max(before + 1, part), PG_INT16_MAX - (map->n - 1 - range));
}

static void
refuse_elsewhere(text *subscription, int16 number, int32 node)
{
	StringInfoData detail;

	initStringInfo(&detail);
	pointstore_detail(&detail, "subscription", text_to_cstring(subscription));
	pointstore_detail_number(&detail, "slot", number);
	pointstore_detail_number(&detail, "node", node);
	pointstore_detail(&detail, "server", pointstore_node_name(node));
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
			 errmsg("slot %d of subscription \"%s\" is on another node", number, text_to_cstring(subscription)),
			 errdetail_internal("%s", detail.data),
			 errhint("A claim is settled on the node that has the shard: on this one it was, perhaps, before the shard was moved.")));
}
