/*-------------------------------------------------------------------------
 *
 * src/ground/shard.c
 *		Which tables an access means.
 *
 * Whoever reads or writes rows says whose they are: of which account, or which lease. Nobody but this room and
 * that which looks the tables up (store.c) knows how many of each there are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ground/shard.h"

/* Where the rows of an account are, or those of a lease; of NULL: the rules, and where there is but one shard that. */
const PointstoreShard *
pointstore_shard_of(text *of)
{
	return &pointstore_store()->shard;
}

/* A relation as that table of the store; NULL: it is none of these. */
const PointstoreTable *
pointstore_table_of_relation(Oid relid, PointstoreTableId table)
{
	const PointstoreTable *found = &pointstore_store()->shard.table[table];

	return found->relid == relid ? found : NULL;
}
