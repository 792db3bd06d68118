/*-------------------------------------------------------------------------
 *
 * src/guard/trigger.h
 *		What the guards have in common: whether one is fired as it must be, and
 *		the columns of the rows that it is fired for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_GUARD_TRIGGER_H
#define POINTSTORE_GUARD_TRIGGER_H

#include "commands/trigger.h"
#include "fmgr.h"

#include "ground/store.h"

/* What a guard may be fired by: bits for pointstore_guarded_trigger(). */
#define BEFORE(event) (1 << TRIGGER_EVENT_##event)
#define AFTER(event) (16 << TRIGGER_EVENT_##event)

extern TriggerData *pointstore_guarded_trigger(FunctionCallInfo fcinfo, PointstoreTableId table, int firings);
extern const PointstoreTable *pointstore_trigger_table(const TriggerData *trigger, PointstoreTableId table);
extern text *pointstore_text_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att);
extern text *pointstore_known_text_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att);
extern int64 pointstore_bigint_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att, bool *given);
extern bool pointstore_column_differs(const TriggerData *trigger, AttrNumber att);

#endif							/* POINTSTORE_GUARD_TRIGGER_H */
