/*-------------------------------------------------------------------------
 *
 * src/nodes/movement.h
 *		Movements as they begin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_MOVEMENT_H
#define POINTSTORE_MOVEMENT_H

#include "nodes/record.h"

extern void pointstore_begin_here(MovementRow *row, text *movement_id, Jsonb *call, Oid caller, JsonbParseState **state);

#endif							/* POINTSTORE_MOVEMENT_H */
