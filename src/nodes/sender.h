/*-------------------------------------------------------------------------
 *
 * src/nodes/sender.h
 *		Stores whose movements this one takes part in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SENDER_H
#define POINTSTORE_SENDER_H

#include "ground/compat.h"
#include "nodes/step.h"

extern void pointstore_know_sender(const PartOrigin *origin, const char *role, text *name, bool prepares);
pg_noreturn extern void pointstore_refuse_fenced(const PartOrigin *origin);

#endif							/* POINTSTORE_SENDER_H */
