/*-------------------------------------------------------------------------
 *
 * src/nodes/participant.h
 *		What a store is asked about steps of movements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PARTICIPANT_H
#define POINTSTORE_PARTICIPANT_H

#include "nodes/step.h"

extern void pointstore_take_here(PartOrigin *origin, StepMessage *messages, int n);
extern void pointstore_take_word(PartOrigin *origin, StepMessage *message, const char *role, const char *reason);

#endif							/* POINTSTORE_PARTICIPANT_H */
