/*-------------------------------------------------------------------------
 *
 * src/money/reversal.h
 *		Reversals as proposed events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REVERSAL_H
#define POINTSTORE_REVERSAL_H

#include "append/propose.h"

extern ProposedEvent pointstore_undoing_event(text *aggregate_id, int64 id);

#endif							/* POINTSTORE_REVERSAL_H */
