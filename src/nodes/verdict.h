/*-------------------------------------------------------------------------
 *
 * src/nodes/verdict.h
 *		What callers and operators decide about movements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERDICT_H
#define POINTSTORE_VERDICT_H

#include "nodes/record.h"

extern void pointstore_cancel_here(MovementRow *row, text *movement_id, text *reason, Oid caller);
extern void pointstore_resolve_here(MovementRow *row, text *movement_id, Resolution decision, text *reason, Oid caller);

#endif							/* POINTSTORE_VERDICT_H */
