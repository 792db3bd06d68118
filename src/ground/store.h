/*-------------------------------------------------------------------------
 *
 * src/ground/store.h
 *		Where the store is: its tables, their columns, their indexes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_STORE_H
#define POINTSTORE_STORE_H

#include "ground/placement.h"
#include "ground/table.h"

/* What was found of the store; generation changes each time that it is looked up anew. */
typedef struct PointstoreStore
{
	uint64		generation;
	PointstoreShard shard;		/* its only one; of a distributed store the rules, and the others as they are made, without rows */
	PointstorePlacements *placements;	/* NULL: it is not distributed */
	Oid			owner;
	Oid			id_sequence;
	Oid			receipt_type;
	StoreLack	lack;
} PointstoreStore;

extern const PointstoreStore *pointstore_store(void);
extern const PointstoreStore *pointstore_known_store(void);
extern bool pointstore_store_exists(void);
extern bool pointstore_store_is_complete(void);
extern bool pointstore_is_distributed(void);
extern Oid	pointstore_store_owner(void);
extern bool pointstore_store_is_whole(void);
extern uint64 pointstore_kinds_generation(void);
extern uint64 pointstore_transitions_generation(void);
extern const char *pointstore_sequence_fault(int64 *expected, int64 *found);

#endif							/* POINTSTORE_STORE_H */
