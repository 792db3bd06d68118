/*-------------------------------------------------------------------------
 *
 * src/verify/run.h
 *		Reconciliation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_RUN_H
#define POINTSTORE_VERIFY_RUN_H

extern void pointstore_reconcile_init(void);
extern bool pointstore_is_off_schedule(bool sweeps);
extern bool pointstore_run_reconciliation(bool full, const char *triggered_by, int64 *id);

#endif
