/*-------------------------------------------------------------------------
 *
 * src/ground/limit.h
 *		How long a user's code may take in a worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LIMIT_H
#define POINTSTORE_LIMIT_H

extern void pointstore_begin_limit(int timeout);
extern bool pointstore_end_limit(void);

#endif							/* POINTSTORE_LIMIT_H */
