/*-------------------------------------------------------------------------
 *
 * src/append/receipt.h
 *		What an append returns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_RECEIPT_H
#define POINTSTORE_RECEIPT_H

#include "fmgr.h"

#include "append/batch.h"

extern Datum pointstore_answer(const ProposedEvent *event, bool refusals_are_outcomes);
extern Datum pointstore_answer_all(FunctionCallInfo fcinfo, const Batch *batch);
extern void pointstore_raise_refused(const Batch *batch);
extern int	pointstore_count(const Batch *batch);
extern void pointstore_count_event(const ProposedEvent *event);

#endif							/* POINTSTORE_RECEIPT_H */
