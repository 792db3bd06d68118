/*-------------------------------------------------------------------------
 *
 * src/verify/spool.h
 *		What a full run in slices has read of the events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SPOOL_H
#define POINTSTORE_SPOOL_H

#include "tcop/dest.h"

typedef struct Spool Spool;

/* What the partitions are of. */
typedef enum SpoolFamily
{
	SPOOL_ACCOUNTS,				/* an account's events */
	SPOOL_REQUESTS,				/* a request's */
	SPOOL_MOVEMENTS,			/* a movement's, by its first leg */
	SPOOL_REVERSALS,			/* what was taken back of these movements */
	N_SPOOL_FAMILIES
} SpoolFamily;

extern const char *const pointstore_spool_sql;
extern Spool *pointstore_spool_create(int parts, int memory, MemoryContext context);
extern void pointstore_spool_free(Spool *spool);
extern void pointstore_spool_forget(Spool *spool, SpoolFamily family, int part);
extern DestReceiver *pointstore_spool_receiver(Spool *spool);
extern DestReceiver *pointstore_spool_reversals_receiver(Spool *spool);
extern void pointstore_spool_show(Spool *spool, SpoolFamily family, int part, const char *name);

#endif							/* POINTSTORE_SPOOL_H */
