/*-------------------------------------------------------------------------
 *
 * src/money/sweep.h
 *		The sweep: holds that have expired are closed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SWEEP_H
#define POINTSTORE_SWEEP_H

extern void pointstore_sweep(void);

#endif							/* POINTSTORE_SWEEP_H */
