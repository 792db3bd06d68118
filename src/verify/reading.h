/*-------------------------------------------------------------------------
 *
 * src/verify/reading.h
 *		Statements of a run, and what they return.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_READING_H
#define POINTSTORE_VERIFY_READING_H

#include "executor/tuptable.h"
#include "tcop/dest.h"

#include "verify/index.h"
#include "verify/runstate.h"

/* columns of the rows of compared accounts: whether it has moved on since; how many of its events were there before the run began to read */
#define ROW_AHEAD 10
#define ROW_SEEN 11
#define ROW_INCOMING 12

/* A statement of a run, and how it is executed. */
typedef struct Reading
{
	const char *sql;
	int			n;
	const Oid  *types;
	const Datum *values;
	bool		compared;		/* its rows are as slice_pass's */
	bool		by_heap;
	bool		by_tid;
	bool		spooled;
	SpoolFamily family;
	int			part;
} Reading;

extern Tuplestorestate *pointstore_collect(Run *run, const Reading *reading);
extern void pointstore_run_execute(Run *run, const Reading *reading, DestReceiver *dest);
extern bool pointstore_is_misplaced(TupleTableSlot *slot);
extern bool pointstore_is_true(TupleTableSlot *slot, int column);
extern TupleDesc pointstore_compared_desc(void);
extern HeapView pointstore_compared_heap(const Run *run, TupleTableSlot *slot);

#endif
