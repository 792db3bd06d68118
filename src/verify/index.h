/*-------------------------------------------------------------------------
 *
 * src/verify/index.h
 *		Whether the keys say what the heaps say.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_INDEX_H
#define POINTSTORE_INDEX_H

#include "utils/snapshot.h"

/* What the heaps said of an account. */
typedef struct HeapView
{
	int64		events;
	int64		last;			/* version */
	int64		newest;			/* id up to which its events were looked at */
	int64		mark;			/* of the events, HEAP_MARK() */
	int64		balances;		/* rows that it has */
	int64		pures;
} HeapView;

extern void pointstore_use_no_index(void);
extern void pointstore_use_indexes(void);
extern void pointstore_view_heaps(Datum *ids, int n, HeapView *views);
extern const char *pointstore_find_lie(text *id, const HeapView *heap, Snapshot snapshot);
extern void pointstore_refuse_lie(text *id, const char *table);

#endif							/* POINTSTORE_INDEX_H */
