/*-------------------------------------------------------------------------
 *
 * src/submit/combiner.h
 *		The background worker that serves a database's queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_COMBINER_H
#define POINTSTORE_COMBINER_H

#include "submit/queue.h"

extern void pointstore_combiner_init(void);
extern void pointstore_combiner_start(const QueueStart *start);
extern bool pointstore_is_combiner(void);

#endif							/* POINTSTORE_COMBINER_H */
