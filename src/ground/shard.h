/*-------------------------------------------------------------------------
 *
 * src/ground/shard.h
 *		Which tables an access means.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SHARD_H
#define POINTSTORE_SHARD_H

#include "ground/store.h"

extern const PointstoreShard *pointstore_shard_of(text *of);
extern const PointstoreTable *pointstore_table_of_relation(Oid relid, PointstoreTableId table);

#endif							/* POINTSTORE_SHARD_H */
