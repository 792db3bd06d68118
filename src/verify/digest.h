/*-------------------------------------------------------------------------
 *
 * src/verify/digest.h
 *		The aggregate that proves a history.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DIGEST_H
#define POINTSTORE_DIGEST_H

#define POINTSTORE_DIGEST_PACE 1000		/* events between two pauses: a millisecond or two */

/* what is called after so many events digested in this process; null: nothing */
extern void (*pointstore_digest_pause) (void);
extern void pointstore_digest_pace(bool digested);

#endif							/* POINTSTORE_DIGEST_H */
