/*-------------------------------------------------------------------------
 *
 * src/append/write.h
 *		The rows of a batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_WRITE_H
#define POINTSTORE_WRITE_H

#include "append/batch.h"

extern bool pointstore_may_be_taken_back(const Batch *batch);
extern bool pointstore_write_or_take_back(Batch *batch);
extern bool pointstore_write_batch(Batch *batch);
extern int64 pointstore_draw_id(Account *account);
extern void pointstore_append_adjustment(Account *account, int64 last_version, int64 amount, Jsonb *payload);

#endif							/* POINTSTORE_WRITE_H */
