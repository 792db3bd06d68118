/*-------------------------------------------------------------------------
 *
 * src/ground/placement.h
 *		Where Citus has placed the shards of a distributed store.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PLACEMENT_H
#define POINTSTORE_PLACEMENT_H

#include "ground/table.h"

/* The shards of all tables that have the rows of one range of hashes. */
typedef struct PointstorePlacement
{
	int32		min;
	int32		max;
	uint32		index;			/* its place among the ranges, by which Citus locks them */
	int32		node;			/* group id of the node that has it */
	int64		shard_number;	/* number of the shard of event_store, in Citus */
	Oid			relids[N_PLACED_TABLES]; /* here; invalid where they are elsewhere */
	bool		has_ids;		/* of which ids drawn here are above (account/id.c) */
	uint64		locked;			/* in which generation of locks it was locked (shard.c) */
	uint64		writing;		/* in which its tables were, to be written (owner.c) */
	MemoryContext context;		/* of the next */
	PointstoreShard *shard;		/* as looked up; NULL: not yet, or not since one of these relations has changed */
} PointstorePlacement;

typedef struct PointstorePlacements
{
	uint32		colocation;
	int32		node;			/* this one's group id */
	int			n;
	PointstorePlacement ranges[FLEXIBLE_ARRAY_MEMBER];	/* by their hashes */
} PointstorePlacements;

extern bool pointstore_have_placements(Oid events);
extern PointstorePlacements *pointstore_load_placements(MemoryContext context, Oid schema);
extern void pointstore_rules_here(const PointstorePlacements *map, Oid *relids);
extern PointstorePlacement *pointstore_placement_of_shard(PointstorePlacements *map, int64 shard);
extern PointstorePlacement *pointstore_placement_of_hash(PointstorePlacements *map, int32 hash);
extern PointstorePlacement *pointstore_placement_of_relation(PointstorePlacements *map, Oid relid, PointstoreTableId table);
extern void pointstore_forget_placed(PointstorePlacements *map, Oid relid);
extern char *pointstore_node_name(int32 node);
extern bool pointstore_is_sent_by_citus(void);

#endif							/* POINTSTORE_PLACEMENT_H */
