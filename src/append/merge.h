/*-------------------------------------------------------------------------
 *
 * src/append/merge.h
 *		Merging: what becomes of an event whose expected_version is stale.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_MERGE_H
#define POINTSTORE_MERGE_H

#include "append/batch.h"
#include "append/columns.h"

extern void pointstore_merge_init(void (*upcast) (EventColumns *events, int n));
extern int	pointstore_merge_limit(void);
extern void pointstore_unmerge(ProposedEvent *event);
extern void pointstore_merge(BatchEvent *event, bool by_caller);
extern void pointstore_refuse_in_merge(void);

#endif							/* POINTSTORE_MERGE_H */
