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
extern bool pointstore_is_only(int kind, int number);
extern bool pointstore_look(bool (*what) (void *), void *arg, bool *failed);
extern bool pointstore_is_paused(uint32 hash, int patience);
extern void pointstore_note_outcome(uint32 hash, bool failed, int longest);
extern void pointstore_heed_signals(void);
extern void pointstore_rest(long timeout, const char *event);
extern void pointstore_make_way(void);

#endif							/* POINTSTORE_WORKER_H */
