/*-------------------------------------------------------------------------
 *
 * src/append/propose.h
 *		Proposed events, from arguments and from JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROPOSE_H
#define POINTSTORE_PROPOSE_H

#include "fmgr.h"
#include "utils/jsonb.h"

#include "append/batch.h"

extern void pointstore_read_arguments(FunctionCallInfo fcinfo, ProposedEvent *event);
extern void pointstore_check_event(const ProposedEvent *event);
extern void pointstore_make_request(ProposedEvent *events, int n, text *request_id);
extern void pointstore_link_legs(ProposedEvent *events, int n);
extern void pointstore_read_elements(Batch *batch, Jsonb *elements, text *request_id);
extern void pointstore_tell_element(void *arg);

#endif							/* POINTSTORE_PROPOSE_H */
