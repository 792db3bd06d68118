/*-------------------------------------------------------------------------
 *
 * src/append/request.h
 *		Idempotency.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REQUEST_H
#define POINTSTORE_REQUEST_H

#include "utils/hsearch.h"

#include "append/batch.h"

extern bool pointstore_find_request(ProposedEvent *events, Decision *decisions, int nevents, bool one_leg, Snapshot snapshot);
extern bool pointstore_is_being_applied(const ProposedEvent *events);
extern HTAB *pointstore_begin_requests(const Batch *batch);
extern bool pointstore_seen_in_batch(BatchEvent *events, HTAB *requests);

#endif							/* POINTSTORE_REQUEST_H */
