/*-------------------------------------------------------------------------
 *
 * src/append/write.h
 *		The rows of a batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_WRITE_H
#define POINTSTORE_WRITE_H

#include "ground/pointstore.h"

extern bool pointstore_may_be_taken_back(const Batch *batch);
extern bool pointstore_write_or_take_back(Batch *batch);
extern bool pointstore_write_batch(Batch *batch);

#endif							/* POINTSTORE_WRITE_H */
