/*-------------------------------------------------------------------------
 *
 * src/append/write.h
 *		The rows of a batch that has passed every rule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_WRITE_H
#define POINTSTORE_WRITE_H

#include "append/batch.h"

/* What an attempt to append a batch has come to. */
typedef enum Attempt
{
	ATTEMPT_DONE,				/* it is decided, and what passed is written */
	ATTEMPT_BUSY,				/* the same, but for requests that would have had to wait */
	ATTEMPT_AGAIN_LOCKED,		/* nothing is written: others were faster, or a refusal needs the lock */
	ATTEMPT_AGAIN_FRESH			/* nothing that was read counts any more, and what was written was taken back */
} Attempt;

/* A batch while it is worked on. */
typedef struct BatchWork
{
	Batch	   *batch;
	BatchEvent *events;			/* in the order of the proposals */
	Account    *accounts;		/* in the one lock order: by the bytes of the id */
	int			naccounts;
	BatchEvent **first;			/* of each account, the others by ->next */
	bool		locked;			/* the accounts are, as far as they have rows that appends lock */
	Attempt		attempt;		/* what one in a subtransaction has come to */
} BatchWork;

extern Attempt pointstore_write_batch(BatchWork *work);
extern void pointstore_append_adjustment(Account *account, int64 last_version, int64 amount, Jsonb *payload);

#endif							/* POINTSTORE_WRITE_H */
