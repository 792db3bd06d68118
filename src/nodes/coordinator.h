/*-------------------------------------------------------------------------
 *
 * src/nodes/coordinator.h
 *		The background worker that drives movements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_COORDINATOR_H
#define POINTSTORE_COORDINATOR_H

#define POINTSTORE_COORDINATOR "pointstore coordinator"

extern void pointstore_coordinator_init(void);
extern bool pointstore_coordinator_is_on(void);
extern void pointstore_run_coordinator(void);

#endif							/* POINTSTORE_COORDINATOR_H */
