/*-------------------------------------------------------------------------
 *
 * src/ground/limit.h
 *		How long a user's code may take.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LIMIT_H
#define POINTSTORE_LIMIT_H

/* How it ended. */
typedef enum LimitEnd
{
	LIMIT_KEPT,
	LIMIT_PASSED,				/* its time was over */
	LIMIT_HELD_UP				/* and it waited for a lock then */
} LimitEnd;

extern void pointstore_begin_limit(int timeout);
extern LimitEnd pointstore_end_limit(void);

#endif							/* POINTSTORE_LIMIT_H */
