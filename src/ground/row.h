/*-------------------------------------------------------------------------
 *
 * src/ground/row.h
 *		Rows of the store's tables, by the executor's own steps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ROW_H
#define POINTSTORE_ROW_H

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/xlogdefs.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "ground/store.h"

/* One table that a writer writes. */
typedef struct RowTarget
{
	const PointstoreTable *table;
	ResultRelInfo *rel;
	TupleTableSlot *slot;
	bool		inserts;		/* its BEFORE INSERT statement triggers have fired */
	bool		updates;		/* its replica identity was asked for, and likewise for UPDATE */
	TransitionCaptureState *insert_capture;
	TransitionCaptureState *update_capture;
	ExprState **defaults;		/* of the user's own columns, by attribute; NULL = not prepared; itself NULL: none has one */
	int			keys;			/* whose indexes are the next */
	List	   *arbiters;
	TupleTableSlot **gathered;	/* rows that are stored together */
	const void **origins;		/* what each is written for */
	int			ngathered;
	Size		gathered_bytes;
} RowTarget;

/*
 * A statement of ours: rows of one or more tables written under one command
 * id, with the users' triggers fired as by any other statement.
 */
typedef struct RowWriter
{
	struct RowWriter *outer;
	int			nest_level;
	EState	   *estate;
	CommandId	cid;
	bool		speculative;	/* indexes are opened for inserts that may meet a key */
	bool		fires;			/* triggers of its tables may have to be fired at its end */
	bool		plain;			/* no table so far has any */
	bool		gathers;		/* rows without keys are stored together, where nobody can tell */
	const void **current;		/* of one that gathers: what the caller writes a row for, as its error context tells it */
	List	   *targets;		/* RowTarget */
	TupleTableSlot *firing;		/* the row whose BEFORE triggers are firing */
	HeapTuple	fence;		/* null, or a row, as read, that must stand when a row with keys is in */
	RowTarget  *storing;		/* where a row is being stored, while it is */
} RowWriter;

typedef enum RowOutcome
{
	ROW_WRITTEN,
	ROW_CONFLICT				/* insert: its key is there; update: the row has moved on */
} RowOutcome;

extern RowWriter *pointstore_writer_begin(text *of, int ntargets, const PointstoreTableId *tables, bool speculative);
extern void pointstore_writer_end(RowWriter *writer);
extern RowTarget *pointstore_writer_target(RowWriter *writer, text *of, PointstoreTableId table);
extern void pointstore_row_begin(RowTarget *target, HeapTuple read);
extern RowOutcome pointstore_row_insert(RowWriter *writer, RowTarget *target, int keys);
extern void pointstore_store_gathered(RowWriter *writer);
extern RowOutcome pointstore_row_update(RowWriter *writer, RowTarget *target, ItemPointer tid);
extern PointstoreIndexId pointstore_violated_key(const RowWriter *writer, const ErrorData *error);
extern bool pointstore_is_own_slot(TupleTableSlot *slot);
extern bool pointstore_is_own_row(HeapTuple tuple);
extern bool pointstore_is_being_written(HeapTuple row);
extern void pointstore_forget_writers(int nest_level);

#endif							/* POINTSTORE_ROW_H */
