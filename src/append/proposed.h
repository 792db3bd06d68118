/*-------------------------------------------------------------------------
 *
 * src/append/proposed.h
 *		What was proposed, where something else was appended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROPOSED_H
#define POINTSTORE_PROPOSED_H

#include "append/propose.h"

extern Jsonb *pointstore_tell_proposed(const ProposedEvent *event);
extern void pointstore_read_merged(ProposedEvent *event, Jsonb *merged, const char *function);
extern void pointstore_keep_proposed(ProposedEvent *event, const ProposedEvent *proposed);
extern void pointstore_recall_proposed(ProposedEvent *stored, Jsonb *metadata);
extern const ProposedEvent *pointstore_as_proposed(const ProposedEvent *event);

#endif							/* POINTSTORE_PROPOSED_H */
