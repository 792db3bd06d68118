/*-------------------------------------------------------------------------
 *
 * src/append/append.h
 *		One batch of proposed events: lock, judge, write, answer.
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
extern bool pointstore_has_waited(int sqlerrcode);

#endif							/* POINTSTORE_APPEND_H */
