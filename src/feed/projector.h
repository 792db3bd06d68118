/*-------------------------------------------------------------------------
 *
 * src/feed/projector.h
 *		The background workers that run projections.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROJECTOR_H
#define POINTSTORE_PROJECTOR_H

#define POINTSTORE_PROJECTOR "pointstore projector"
#define MAX_PROJECTORS 8		/* of a database */

extern void pointstore_projector_init(void);
extern int	pointstore_projectors(void);
extern void pointstore_run_projector(int number, void (*start_others) (int n));

#endif							/* POINTSTORE_PROJECTOR_H */
