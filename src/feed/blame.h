/*-------------------------------------------------------------------------
 *
 * src/feed/blame.h
 *		Batches of a projection that fail: how long one may take, and whom an error blames.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_BLAME_H
#define POINTSTORE_BLAME_H

#include "fmgr.h"

/* What the error of a batch says. */
typedef enum Blame
{
	BLAME_NOBODY,				/* other sessions, or a shortage */
	BLAME_HASTE,				/* nobody: it was cancelled for somebody who waited */
	BLAME_LENGTH,				/* it took too long */
	BLAME_CHANGE,				/* an event, or what was exchanged while it was used */
	BLAME_EVENT					/* an event */
} Blame;

extern void pointstore_blame_init(void);
extern void pointstore_heed_cancels(void);

/* Around each batch; from the limit on its time counts. */
extern void pointstore_begin_batch(void);
extern void pointstore_limit_batch(void);
extern void pointstore_end_batch(void);

extern Blame pointstore_blame(const ErrorData *error);
extern text *pointstore_describe_error(const ErrorData *error);

#endif							/* POINTSTORE_BLAME_H */
