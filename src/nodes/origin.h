/*-------------------------------------------------------------------------
 *
 * src/nodes/origin.h
 *		Who this store is to others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ORIGIN_H
#define POINTSTORE_ORIGIN_H

#include "utils/uuid.h"

typedef struct StoreIdentity
{
	pg_uuid_t	store;
	int64		incarnation;
	bool		is_new;			/* the incarnation has begun just now, in this transaction */
} StoreIdentity;

extern void pointstore_know_store(StoreIdentity *identity);
extern char *pointstore_store_name(const StoreIdentity *identity);

#endif							/* POINTSTORE_ORIGIN_H */
