/*-------------------------------------------------------------------------
 *
 * src/nodes/await.h
 *		Until a movement is settled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_AWAIT_H
#define POINTSTORE_AWAIT_H

#include "nodes/record.h"

extern void pointstore_wait_here(MovementRow *row, text *movement_id, int64 timeout);

#endif							/* POINTSTORE_AWAIT_H */
