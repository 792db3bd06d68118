/*-------------------------------------------------------------------------
 *
 * src/money/hold.h
 *		Holds.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_HOLD_H
#define POINTSTORE_HOLD_H

extern void pointstore_sweep(void);

#endif							/* POINTSTORE_HOLD_H */
