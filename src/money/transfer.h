/*-------------------------------------------------------------------------
 *
 * src/money/transfer.h
 *		Transfers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_TRANSFER_H
#define POINTSTORE_TRANSFER_H

#include "fmgr.h"

#include "append/refusal.h"

#define POINTSTORE_TRANSFER_LEGS 2

extern void pointstore_read_transfer(FunctionCallInfo fcinfo, ProposedEvent *legs);
extern Datum pointstore_append_transfer(FunctionCallInfo fcinfo, ProposedEvent *legs, bool refusals_are_outcomes);

#endif							/* POINTSTORE_TRANSFER_H */
