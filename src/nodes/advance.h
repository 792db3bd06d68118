/*-------------------------------------------------------------------------
 *
 * src/nodes/advance.h
 *		Movements are brought on: what has come of them is written down, and decided.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ADVANCE_H
#define POINTSTORE_ADVANCE_H

#include "nodes/live.h"
#include "nodes/origin.h"

/* Movements of one transaction. */
typedef struct Advance
{
	LiveSet    *set;
	const StoreIdentity *identity;
	Live	  **lives;
	int			n;
	bool	   *failed;			/* nothing has been written of it */
	int			nwritten;
} Advance;

extern void pointstore_advance(Advance *advance, LiveSet *set, const StoreIdentity *identity);
extern void pointstore_advance_committed(Advance *advance);

#endif							/* POINTSTORE_ADVANCE_H */
