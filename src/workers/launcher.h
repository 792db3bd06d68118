/*-------------------------------------------------------------------------
 *
 * src/workers/launcher.h
 *		Workers and their schedule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LAUNCHER_H
#define POINTSTORE_LAUNCHER_H

extern void pointstore_launcher_init(void);

#endif							/* POINTSTORE_LAUNCHER_H */
