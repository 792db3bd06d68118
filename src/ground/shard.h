/*-------------------------------------------------------------------------
 *
 * src/ground/shard.h
 *		Which tables an access means.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SHARD_H
#define POINTSTORE_SHARD_H

#include "utils/rel.h"

#include "ground/store.h"

/* where a round of the ranges that are here begins */
#define POINTSTORE_FIRST_HASH ((int64) PG_INT32_MIN)

extern const PointstoreShard *pointstore_shard_of(text *of);
extern const PointstoreTable *pointstore_table_of_relation(Oid relid, PointstoreTableId table);
extern PointstorePlacement *pointstore_placement_of(text *of);
extern void pointstore_refuse_left_shard(Relation relation, PointstoreTableId table);
extern bool pointstore_range_from(int64 hash, PointstorePlacement **range);
extern bool pointstore_free_range_from(int64 hash, PointstorePlacement **range, bool *passed);
extern int64 pointstore_next_hash(const PointstorePlacement *range);
extern int32 pointstore_hash_of(text *of);
extern uint64 pointstore_parts_of_hashes(int32 min, int32 max);
extern int32 pointstore_node_of(text *of);
extern void pointstore_check_place(Relation relation, PointstoreTableId table, text *of);
extern bool pointstore_is_here(text *of);
extern bool pointstore_is_known_here(text *of);
extern uint64 pointstore_lock_generation(void);
extern void pointstore_forget_shard_locks(void);

#endif							/* POINTSTORE_SHARD_H */
