/*-------------------------------------------------------------------------
 *
 * src/append/spread.h
 *		Batches whose accounts are on other nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SPREAD_H
#define POINTSTORE_SPREAD_H

#include "append/batch.h"

/* the columns of append_part() */
typedef enum PartColumn
{
	PART_PLACE, PART_OUTCOME, PART_IS_MERGED, PART_IS_RECALLED, PART_VERSION, PART_BALANCE, PART_AVAILABLE, PART_ID, PART_CREATED_AT, PART_UNIT,
	PART_APPLIED_VERSION, PART_AMOUNT, PART_REASON, PART_ACCOUNT_UNKNOWN,
	N_PART_COLUMNS
} PartColumn;

extern bool pointstore_is_spread(const Batch *batch);
extern void pointstore_append_spread(Batch *batch);

#endif							/* POINTSTORE_SPREAD_H */
