/*-------------------------------------------------------------------------
 *
 * src/ground/worker.h
 *		How our background workers begin, and make way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_WORKER_H
#define POINTSTORE_WORKER_H

#define POINTSTORE_COMBINER "pointstore combiner"

extern void pointstore_worker_signals(void);
extern void pointstore_worker_connected(void);
extern bool pointstore_worker_reload(void);
extern void pointstore_worker_clean_up(void);
extern void pointstore_make_way(void);

#endif							/* POINTSTORE_WORKER_H */
