/*-------------------------------------------------------------------------
 *
 * src/nodes/participant_event.h
 *		What is done about a message, and by which event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PARTICIPANT_EVENT_H
#define POINTSTORE_PARTICIPANT_EVENT_H

#include "append/judge.h"
#include "nodes/participant_row.h"

extern void pointstore_decide_step(const PartOrigin *origin, StepWork *work);
extern bool pointstore_changes_something(const StepWork *work);
extern bool pointstore_step_event(const PartOrigin *origin, StepWork *work, ProposedEvent *event);
extern bool pointstore_has_nothing_left(const ProposedEvent *event, const Decision *decision);
extern const char *pointstore_undo_fault(Jsonb *undo);

#endif							/* POINTSTORE_PARTICIPANT_EVENT_H */
