/*-------------------------------------------------------------------------
 *
 * src/feed/snapshotter.h
 *		The background worker that takes snapshots.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SNAPSHOTTER_H
#define POINTSTORE_SNAPSHOTTER_H

#define POINTSTORE_SNAPSHOTTER "pointstore snapshotter"

extern void pointstore_snapshotter_init(void);
extern void pointstore_run_snapshotter(void);

#endif							/* POINTSTORE_SNAPSHOTTER_H */
