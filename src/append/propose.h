/*-------------------------------------------------------------------------
 *
 * src/append/propose.h
 *		Proposed events from JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROPOSE_H
#define POINTSTORE_PROPOSE_H

#include "ground/pointstore.h"

extern void pointstore_read_elements(Batch *batch, Jsonb *elements, text *request_id);
extern void pointstore_tell_element(void *arg);

#endif							/* POINTSTORE_PROPOSE_H */
