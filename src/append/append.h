/*-------------------------------------------------------------------------
 *
 * src/append/append.h
 *		One batch of proposed events: lock, check, write.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_APPEND_H
#define POINTSTORE_APPEND_H

#include "fmgr.h"

#include "append/batch.h"

extern void pointstore_append(Batch *batch);
extern void pointstore_append_or_leave(Batch *batch);
extern Datum pointstore_append_one(ProposedEvent *event, bool refusals_are_outcomes);
extern void pointstore_tell_account(ProposedEvent *event, Snapshot snapshot);
extern bool pointstore_has_waited(int sqlerrcode);

#endif							/* POINTSTORE_APPEND_H */
