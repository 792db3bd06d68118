/*-------------------------------------------------------------------------
 *
 * src/nodes/prune.h
 *		Movements that finished long ago keep their outcome alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PRUNE_H
#define POINTSTORE_PRUNE_H

extern void pointstore_prune_init(void);
extern void pointstore_prune_movements(void);

#endif							/* POINTSTORE_PRUNE_H */
