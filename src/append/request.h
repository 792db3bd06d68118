/*-------------------------------------------------------------------------
 *
 * src/append/request.h
 *		Idempotency.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REQUEST_H
#define POINTSTORE_REQUEST_H

#include "ground/pointstore.h"

#include "utils/hsearch.h"

extern bool pointstore_is_being_applied(text *request_id);
extern HTAB *pointstore_begin_requests(const Batch *batch);
extern bool pointstore_seen_in_batch(ProposedEvent *events, HTAB *requests);

#endif							/* POINTSTORE_REQUEST_H */
