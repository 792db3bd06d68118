/*-------------------------------------------------------------------------
 *
 * src/nodes/apart.h
 *		Messages about steps whose accounts are on several nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_APART_H
#define POINTSTORE_APART_H

#include "nodes/step.h"

extern void pointstore_take_messages(const pg_uuid_t *store, StepMessage *messages, int n, MessageSource source);
extern void pointstore_take_for(PartOrigin *origin, StepMessage *messages, int n);
extern void pointstore_send_word(PartOrigin *origin, StepMessage *message, const char *role, const char *reason);
extern void pointstore_require_owner(text *of);

#endif							/* POINTSTORE_APART_H */
