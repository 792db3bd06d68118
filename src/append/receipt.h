/*-------------------------------------------------------------------------
 *
 * src/append/receipt.h
 *		Receipts of decided events, and how decisions are counted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_RECEIPT_H
#define POINTSTORE_RECEIPT_H

#include "fmgr.h"

#include "append/batch.h"

extern Datum pointstore_answer(const ProposedEvent *event, const Decision *decision, bool refusals_are_outcomes);
extern Datum pointstore_answer_all(FunctionCallInfo fcinfo, const Batch *batch);
extern void pointstore_raise_refused(const Batch *batch);
extern int	pointstore_count(const Batch *batch);
extern void pointstore_count_decision(const Decision *decision);

#endif							/* POINTSTORE_RECEIPT_H */
