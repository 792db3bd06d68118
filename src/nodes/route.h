/*-------------------------------------------------------------------------
 *
 * src/nodes/route.h
 *		What is asked about a movement of a distributed store.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ROUTE_H
#define POINTSTORE_ROUTE_H

#include "utils/jsonb.h"

#include "nodes/record.h"

extern JsonbParseState *pointstore_begin_asking(const char *what, Oid caller);
extern Jsonb *pointstore_ask_movement(JsonbParseState *state, text *movement_id, MovementRow *row);
extern void pointstore_tell_row(JsonbParseState **state, const MovementRow *row);
extern int64 pointstore_told(Jsonb *call, const char *key);
extern text *pointstore_told_text(Jsonb *call, const char *key);

#endif							/* POINTSTORE_ROUTE_H */
