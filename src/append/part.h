/*-------------------------------------------------------------------------
 *
 * src/append/part.h
 *		Parts of batches whose other parts are on other nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PART_H
#define POINTSTORE_PART_H

#include "fmgr.h"

#include "append/batch.h"

extern void pointstore_read_part(FunctionCallInfo fcinfo, Batch *batch, Proposing (*propose) (BatchEvent *event, Snapshot snapshot));
extern Datum pointstore_answer_part(FunctionCallInfo fcinfo, const Batch *batch);

#endif							/* POINTSTORE_PART_H */
