/*-------------------------------------------------------------------------
 *
 * src/ground/step.h
 *		Transactions of our own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_STEP_H
#define POINTSTORE_STEP_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/snapshot.h"

extern ErrorData *pointstore_in_transaction(void (*what) (void *), void *arg, bool logged);
extern void pointstore_begin_step(void);
extern void pointstore_step_ended(bool committed);
extern void pointstore_begin_procedure(FunctionCallInfo fcinfo, const char *name);
extern void pointstore_check_wait(FunctionCallInfo fcinfo, const char *name);
extern TimestampTz pointstore_begin_wait(Interval *timeout);
extern void pointstore_let_go(void);
extern TimestampTz pointstore_wait_ends(Interval *timeout);
extern void pointstore_next_step(void);
extern void pointstore_last_step(void);
extern void pointstore_step_through_places(void (*what) (void *), void *arg);
extern ErrorData *pointstore_attempt(bool (*what) (void *), void *arg);
extern void pointstore_read_committed(void);
extern void pointstore_commit_durably(void);
extern bool pointstore_in_block(void);
extern bool pointstore_has_written(void);
extern Snapshot pointstore_push_snapshot(void);

#endif							/* POINTSTORE_STEP_H */
