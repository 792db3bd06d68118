/*-------------------------------------------------------------------------
 *
 * src/verify/rebuild.h
 *		Balance rows set to what the events say.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REBUILD_H
#define POINTSTORE_REBUILD_H

#include "account/account.h"
#include "verify/index.h"

/* How an account is rebuilt. */
typedef struct Rebuild
{
	const char *action;			/* that is logged */
	text	   *reason;			/* or null */
	bool		force;			/* also by events that are inconsistent */
	const HeapView *heap;		/* what the heaps said; null: they are read before anything is written */
	bool		unchecked;		/* the caller has compared them with the keys */
} Rebuild;

extern bool pointstore_rebuild(text *id, const Rebuild *how, Account *before, Account *after);

#endif							/* POINTSTORE_REBUILD_H */
