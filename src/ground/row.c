/*-------------------------------------------------------------------------
 *
 * src/ground/row.c
 *		Rows of the store's tables, inserted and updated by the executor's own
 *		steps.
 *
 * An append reads one row by its key, updates it and inserts another: for
 * that the planner's and SPI's work around the executor costs more than the
 * rows do. So this room calls what the executor calls: index scans, the row
 * triggers, generated columns, constraints, the table access method, index
 * entries. It is the way a logical replication worker writes rows too, with
 * the users' statement triggers and transition tables added. Everything that
 * is not on the path of an append is SQL (store.c).
 *
 * A RowWriter is one statement: its rows carry one command id that no other
 * statement has, which is how the guards know a row of ours (guard/): the
 * command counter is raised before and after. Writers nest, when a user's
 * trigger appends in turn; the stack is cut back when a subtransaction ends
 * with an error, which is why they live in the transaction's memory and not on
 * the C stack.
 *
 * Locks: tables and their indexes in RowExclusiveLock, to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "replication/syncrep.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/shard.h"
#include "ground/store.h"
#include "ground/twophase.h"

/* rows that are stored together at the most: some pages */
#define ROWS_GATHERED 256
#define BYTES_GATHERED 131072

static RowWriter *own_writers = NULL;	/* the innermost; the rest by ->outer */

static List *arbiters_of(RowWriter *writer, RowTarget *target, int keys);
static bool gather(RowWriter *writer, RowTarget *target);
static void store_gathered(RowWriter *writer, RowTarget *target);
static RowTarget *open_target(RowWriter *writer, const PointstoreTable *table);
static Bitmapset *updated_columns(const PointstoreTable *table);
static void open_indices(RowWriter *writer, RowTarget *target);
static Node *null_of_domain(Form_pg_attribute att);
static void fill_defaults(RowWriter *writer, RowTarget *target);
static void fire_before(RowWriter *writer, RowTarget *target, ItemPointer tid);
pg_noreturn static void refuse_interference(const PointstoreTable *table, TupleDesc desc, const Datum *values, const char *what);
static void check_row(RowWriter *writer, RowTarget *target, CmdType command);
static void refuse_own_keys(RowTarget *target);
static void refuse_own_row(text *of, PointstoreIndexId index, RowKey *key);
static bool insert_speculatively(RowWriter *writer, RowTarget *target, int keys, List **recheck);
static bool is_ours(Relation heap, ItemPointer tid);
static bool is_changed_by_us(HeapTuple read);
pg_noreturn static void refuse_triggered(const char *table);
static void end_target(RowWriter *writer, RowTarget *target);

/*
 * Whether this transaction itself has changed the very row that was read, by a user's
 * trigger, then. Others who would change it wait.
 */
static bool
is_changed_by_us(HeapTuple read)
{
	Relation	heap = table_open(read->t_tableOid, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	ItemPointerData tid = read->t_self;
	HeapTuple	row;
	bool		ours = false;

	if (table_tuple_fetch_row_version(heap, &tid, SnapshotAny, slot))
	{
		row = ExecFetchSlotHeapTuple(slot, false, NULL);
		ours = HeapTupleHeaderGetRawXmin(row->t_data) == HeapTupleHeaderGetRawXmin(read->t_data) &&
			!(row->t_data->t_infomask & HEAP_XMAX_INVALID) &&
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(row->t_data));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(heap, NoLock);
	return ours;
}

/*
 * Begins a statement that writes the given tables, where the rows of an account or a lease are; of NULL: of any account. Every writer must be ended,
 * also when it wrote nothing. speculative: rows will be inserted with arbiters. The shards of a distributed store are opened as
 * they are asked for.
 */
RowWriter *
pointstore_writer_begin(text *of, int ntargets, const PointstoreTableId *tables, bool speculative)
{
	RowWriter  *writer = MemoryContextAllocZero(TopTransactionContext, sizeof(RowWriter));
	bool		distributed;
	int			i;

	pointstore_lock_tables();
	distributed = pointstore_is_distributed();
	writer->speculative = speculative;
	CommandCounterIncrement();
	writer->cid = GetCurrentCommandId(true);
	writer->estate = CreateExecutorState();
	writer->estate->es_output_cid = writer->cid;
	writer->estate->es_snapshot = GetActiveSnapshot();
	writer->plain = true;
	for (i = 0; !distributed && i < ntargets; i++)
		(void) open_target(writer, &pointstore_shard_of(of)->table[tables[i]]);
	writer->fires = distributed || !writer->plain;
	if (writer->fires)
		AfterTriggerBeginQuery();

	writer->nest_level = GetCurrentTransactionNestLevel();
	writer->outer = own_writers;
	return own_writers = writer;
}

/* Opens a table, which is locked. What was gathered for others is stored before users' code may look for it. */
static RowTarget *
open_target(RowWriter *writer, const PointstoreTable *table)
{
	int			rtindex = pointstore_add_to_range_table(writer->estate, table->relid, updated_columns(table));
	MemoryContext old;
	RowTarget  *target;
	TupleDesc	desc;

	if (writer->plain && !table->plain)
		pointstore_store_gathered(writer);
	writer->plain &= table->plain;
	old = MemoryContextSwitchTo(writer->estate->es_query_cxt);
	target = palloc0(sizeof(RowTarget));
	target->table = table;
	target->rel = makeNode(ResultRelInfo);
	ExecInitResultRelation(writer->estate, target->rel, rtindex);
	target->slot = table_slot_create(target->rel->ri_RelationDesc, &writer->estate->es_tupleTable);
	desc = RelationGetDescr(target->rel->ri_RelationDesc);
	if (!table->plain && desc->natts > table->ncolumns)
		target->defaults = palloc0(sizeof(ExprState *) * desc->natts);
	writer->targets = lappend(writer->targets, target);
	MemoryContextSwitchTo(old);
	return target;
}

/* The columns that an update of ours may set: all of ours but those of unique indexes. */
static Bitmapset *
updated_columns(const PointstoreTable *table)
{
	Bitmapset  *columns = NULL;
	int			i;

	for (i = 0; i < table->ncolumns; i++)
		if (table->mark[i] != COLUMN_KEYED)
			columns = bms_add_member(columns, table->att[i] - FirstLowInvalidHeapAttributeNumber);
	return columns;
}

/* Fires what is due at the end of a statement and closes it. */
void
pointstore_writer_end(RowWriter *writer)
{
	ListCell   *cell;

	pointstore_store_gathered(writer);
	foreach(cell, writer->targets)
		end_target(writer, lfirst(cell));
	if (writer->fires)
		AfterTriggerEndQuery(writer->estate);
	own_writers = writer->outer;

	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	ExecCloseResultRelations(writer->estate);
	ExecCloseRangeTableRelations(writer->estate);
	FreeExecutorState(writer->estate);
	pfree(writer);
	CommandCounterIncrement();
}

static void
end_target(RowWriter *writer, RowTarget *target)
{
	if (target->inserts)
		ExecASInsertTriggers(writer->estate, target->rel, target->insert_capture);
	if (target->updates && !target->table->plain)
		ExecASUpdateTriggers(writer->estate, target->rel, target->update_capture);
}

/* The writer's target for one of its tables, where those rows are. */
RowTarget *
pointstore_writer_target(RowWriter *writer, text *of, PointstoreTableId table)
{
	const PointstoreTable *found = &pointstore_shard_of(of)->table[table];
	ListCell   *cell;

	foreach(cell, writer->targets)
		if (((RowTarget *) lfirst(cell))->table->relid == found->relid)
			return lfirst(cell);
	if (!found->is_distributed)
		elog(ERROR, "the writer does not write table %d", table);
	LockRelationOid(found->relid, RowExclusiveLock);
	pointstore_note_written(of);
	/* as it is now that it stays so */
	found = &pointstore_shard_of(of)->table[table];
	if (!found->plain)
		pointstore_note_spread();
	return open_target(writer, found);
}

/* A row to be written begins as the row that was read, with the user's columns; without one, as nulls. */
void
pointstore_row_begin(RowTarget *target, HeapTuple read)
{
	TupleTableSlot *slot = target->slot;

	ExecClearTuple(slot);
	if (read != NULL)
		heap_deform_tuple(read, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	else
		memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
}

/*
 * Inserts the row in target->slot, whose own columns the caller has stored
 * there; the user's columns get their defaults. keys: which of the table may be
 * there already, which then is ROW_CONFLICT and not an error; a
 * transaction that is about to insert it is waited for. 27000: what a trigger of the
 * row has written has the key.
 */
RowOutcome
pointstore_row_insert(RowWriter *writer, RowTarget *target, int keys)
{
	EState	   *estate = writer->estate;
	ResultRelInfo *rel = target->rel;
	TupleTableSlot *slot = target->slot;
	List	   *recheck = NIL;
	CommandId	command;

	if (!target->table->plain && !target->inserts)
	{
		target->inserts = true;
		ExecBSInsertTriggers(estate, rel);
		target->insert_capture = MakeTransitionCaptureState(rel->ri_TrigDesc,
															target->table->relid, CMD_INSERT);
	}
	if (rel->ri_IndexRelationDescs == NULL)
		open_indices(writer, target);
	ResetPerTupleExprContext(estate);
	if (target->defaults != NULL)
		fill_defaults(writer, target);
	command = GetCurrentCommandId(false);
	fire_before(writer, target, NULL);
	check_row(writer, target, CMD_INSERT);
	if (GetCurrentCommandId(false) != command)
		refuse_own_keys(target);
	if (keys == 0 && gather(writer, target))
		return ROW_WRITTEN;
	writer->storing = target;
	if (keys == 0)
	{
		table_tuple_insert(rel->ri_RelationDesc, slot, writer->cid, 0, NULL);
		recheck = pointstore_insert_index_tuples(rel, slot, estate, NULL, NIL);
	}
	else if (!insert_speculatively(writer, target, keys, &recheck))
	{
		writer->storing = NULL;
		return ROW_CONFLICT;
	}
	writer->storing = NULL;
	if (!target->table->plain)
		ExecARInsertTriggers(estate, rel, slot, recheck, target->insert_capture);
	list_free(recheck);
	return ROW_WRITTEN;
}

/*
 * Keeps a row to be stored together with others: one WAL record for those of a page. False: it is
 * to be stored at once, since users' code might look for it, or the table is no heap. The caller
 * goes on with pointstore_store_gathered().
 */
static bool
gather(RowWriter *writer, RowTarget *target)
{
	MemoryContext old;

	if (!writer->gathers || !writer->plain || !TTS_IS_BUFFERTUPLE(target->slot))
		return false;
	old = MemoryContextSwitchTo(writer->estate->es_query_cxt);
	if (target->gathered == NULL)
	{
		target->gathered = palloc0(sizeof(TupleTableSlot *) * ROWS_GATHERED);
		target->origins = palloc(sizeof(void *) * ROWS_GATHERED);
	}
	if (target->gathered[target->ngathered] == NULL)
		target->gathered[target->ngathered] = table_slot_create(target->rel->ri_RelationDesc, &writer->estate->es_tupleTable);
	MemoryContextSwitchTo(old);
	ExecCopySlot(target->gathered[target->ngathered], target->slot);
	target->origins[target->ngathered++] = *writer->current;
	target->gathered_bytes += ((HeapTupleTableSlot *) target->gathered[target->ngathered - 1])->tuple->t_len;
	if (target->ngathered == ROWS_GATHERED || target->gathered_bytes >= BYTES_GATHERED)
		store_gathered(writer, target);
	return true;
}

/* Stores the rows that were gathered. */
void
pointstore_store_gathered(RowWriter *writer)
{
	ListCell   *cell;

	foreach(cell, writer->targets)
		store_gathered(writer, lfirst(cell));
}

static void
store_gathered(RowWriter *writer, RowTarget *target)
{
	MemoryContext old;
	int			i;

	if (target->ngathered == 0)
		return;
	writer->storing = target;
	ResetPerTupleExprContext(writer->estate);
	/* it leaves there what it has toasted */
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));
	table_multi_insert(target->rel->ri_RelationDesc, target->gathered, target->ngathered, writer->cid, 0, NULL);
	MemoryContextSwitchTo(old);
	for (i = 0; i < target->ngathered; i++)
	{
		*writer->current = target->origins[i];
		ResetPerTupleExprContext(writer->estate);
		list_free(pointstore_insert_index_tuples(target->rel, target->gathered[i], writer->estate, NULL, NIL));
		ExecClearTuple(target->gathered[i]);
	}
	writer->storing = NULL;
	target->ngathered = 0;
	target->gathered_bytes = 0;
}

/*
 * Opens a table's indexes. The executor would release their locks at the end of
 * the statement; an extra lock keeps them to the end of the transaction, since
 * to take them again for every append costs a tenth of it.
 */
static void
open_indices(RowWriter *writer, RowTarget *target)
{
	PointstoreTable *table = unconstify(PointstoreTable *, target->table);
	ResultRelInfo *rel = target->rel;
	int			i;

	ExecOpenIndices(rel, writer->speculative);
	for (i = 0; table->indexes_locked != pointstore_lock_generation() && i < rel->ri_NumIndices; i++)
		LockRelation(rel->ri_IndexRelationDescs[i], RowExclusiveLock);
	table->indexes_locked = pointstore_lock_generation();
}

static Node *
null_of_domain(Form_pg_attribute att)
{
	int32		typmod = att->atttypmod;
	Oid			type = getBaseTypeAndTypmod(att->atttypid, &typmod);
	Const	   *null = makeConst(type, typmod, att->attcollation, att->attlen, (Datum) 0, true, att->attbyval);

	return coerce_to_domain((Node *) null, type, typmod, att->atttypid, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1, false);
}

/* Gives the user's own columns their defaults; they are null in the slot so far. */
static void
fill_defaults(RowWriter *writer, RowTarget *target)
{
	Relation	rel = target->rel->ri_RelationDesc;
	TupleDesc	desc = RelationGetDescr(rel);
	ExprContext *context = GetPerTupleExprContext(writer->estate);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated || pointstore_is_store_column(target->table, i + 1))
			continue;
		if (target->defaults[i] == NULL)
		{
			Node	   *expr = build_column_default(rel, i + 1);

			/* a domain is asked for its null, as by an INSERT that leaves the column out */
			if (expr == NULL && get_typtype(att->atttypid) != TYPTYPE_DOMAIN)
				continue;
			if (expr == NULL)
				expr = null_of_domain(att);
			target->defaults[i] = ExecPrepareExpr((Expr *) expr, writer->estate);
		}
		target->slot->tts_values[i] = ExecEvalExprSwitchContext(target->defaults[i], context,
																&target->slot->tts_isnull[i]);
	}
}

/*
 * Fires users' BEFORE triggers of an insert or, with tid, of an update. They may change
 * the user's own columns and the free ones of ours; to change others, or to keep the row
 * from being written, is PS010. Our own triggers would only pass a row of ours; and to
 * fire one for an update costs a row lock.
 */
static void
fire_before(RowWriter *writer, RowTarget *target, ItemPointer tid)
{
	TupleTableSlot *slot = target->slot;
	TupleDesc	desc = slot->tts_tupleDescriptor;
	const PointstoreTable *table = target->table;
	Datum	   *values;
	bool	   *nulls;
	bool		kept;
	int			i;

	if (table->plain || target->rel->ri_TrigDesc == NULL)
		return;
	values = memcpy(palloc(desc->natts * sizeof(Datum)), slot->tts_values, desc->natts * sizeof(Datum));
	nulls = memcpy(palloc(desc->natts * sizeof(bool)), slot->tts_isnull, desc->natts * sizeof(bool));
	writer->firing = slot;
	kept = tid != NULL ? pointstore_before_row_update(writer->estate, target->rel, tid, slot)
		: ExecBRInsertTriggers(writer->estate, target->rel, slot);
	writer->firing = NULL;
	if (!kept)
		refuse_interference(table, desc, values, "it was suppressed");
	slot_getallattrs(slot);
	for (i = 0; i < table->ncolumns; i++)
	{
		int			att = table->att[i] - 1;
		Form_pg_attribute form = TupleDescAttr(desc, att);

		if (table->mark[i] != COLUMN_FREE &&
			(nulls[att] != slot->tts_isnull[att] ||
			 (!nulls[att] && !datum_image_eq(values[att], slot->tts_values[att], form->attbyval, form->attlen))))
			refuse_interference(table, desc, values,
								psprintf("column \"%s\" was changed", NameStr(form->attname)));
	}
	pfree(values);
	pfree(nulls);
}

/* The row is named by its first text: the account, or the hold. */
static void
refuse_interference(const PointstoreTable *table, TupleDesc desc, const Datum *values, const char *what)
{
	int			i = 0;

	while (TupleDescAttr(desc, table->att[i] - 1)->atttypid != TEXTOID)
		i++;
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
			 errmsg("the row of \"%s\" cannot be written to %s: %s",
					pointstore_cstring(DatumGetTextPP(values[table->att[i] - 1])), get_rel_name(table->relid), what),
			 errdetail("A BEFORE trigger of the table did that. It may change columns of the user's own, "
					   "and of an event payload, metadata and occurred_at.")));
}

/* Generated columns, then NOT NULL, CHECK and partition constraints. */
static void
check_row(RowWriter *writer, RowTarget *target, CmdType command)
{
	ResultRelInfo *rel = target->rel;
	TupleConstr *constraints = RelationGetDescr(rel->ri_RelationDesc)->constr;

	target->slot->tts_tableOid = RelationGetRelid(rel->ri_RelationDesc);
	if (constraints != NULL)
	{
		if (constraints->has_generated_stored)
			ExecComputeStoredGenerated(rel, writer->estate, target->slot, command);
		ExecConstraints(rel, target->slot, writer->estate);
	}
	if (rel->ri_RelationDesc->rd_rel->relispartition)
		ExecPartitionCheck(rel, target->slot, writer->estate, true);
}

/* All unique indexes of a table that decide one of these keys; there may be more than one of each. */
static List *
arbiters_of(RowWriter *writer, RowTarget *target, int keys)
{
	MemoryContext old = MemoryContextSwitchTo(writer->estate->es_query_cxt);
	int			i;
	int			key;

	if (target->keys != keys)
		target->arbiters = NIL;
	for (i = 0; target->keys != keys && i < target->rel->ri_NumIndices; i++)
		for (key = 0; key < N_STORE_INDEXES; key++)
			if ((keys & KEY_OF(key)) && pointstore_index_decides(target->rel->ri_IndexRelationDescs[i], target->table, key))
				target->arbiters = list_append_unique_oid(target->arbiters,
														  RelationGetRelid(target->rel->ri_IndexRelationDescs[i]));
	target->keys = keys;
	MemoryContextSwitchTo(old);
	return target->arbiters;
}

/*
 * Users' code that has run for a row about to be inserted has written something itself:
 * 27000 when that has the row's request or hold. A version that is claimed is looked after
 * by insert_speculatively().
 */
static void
refuse_own_keys(RowTarget *target)
{
	TupleTableSlot *slot = target->slot;
	const AttrNumber *att = target->table->att;
	RowKey		key = {0};
	bool		isnull;

	slot_getallattrs(slot);
	if (target->table->id == TABLE_EVENT_STORE && !slot->tts_isnull[att[EV_REQUEST_ID] - 1])
	{
		pointstore_key_request(&key, DatumGetTextPP(slot->tts_values[att[EV_AGGREGATE_ID] - 1]),
							   DatumGetTextPP(slot->tts_values[att[EV_REQUEST_ID] - 1]));
		pointstore_key_smallint(&key, DatumGetInt16(slot_getattr(slot, att[EV_LEG], &isnull)));
		refuse_own_row(DatumGetTextPP(slot->tts_values[att[EV_AGGREGATE_ID] - 1]), INDEX_EVENT_REQUEST, &key);
	}
	if (target->table->id == TABLE_HOLD)
	{
		pointstore_key_hold(&key, DatumGetTextPP(slot->tts_values[att[HOLD_HOLD_ID] - 1]),
							DatumGetTextPP(slot->tts_values[att[HOLD_AGGREGATE_ID] - 1]));
		refuse_own_row(DatumGetTextPP(slot->tts_values[att[HOLD_AGGREGATE_ID] - 1]), INDEX_HOLD, &key);
	}
}

/* 27000 when this transaction has written a row with that key. */
static void
refuse_own_row(text *of, PointstoreIndexId index, RowKey *key)
{
	SnapshotData dirty;
	RowScan		scan;
	bool		ours = false;

	InitDirtySnapshot(dirty);
	pointstore_scan_begin(&scan, of, index, &dirty, key);
	while (!ours && pointstore_scan_next(&scan, ForwardScanDirection))
		ours = pointstore_row_is_ours(ExecFetchSlotHeapTuple(scan.slot, false, NULL));
	if (ours)
		refuse_triggered(RelationGetRelationName(scan.heap));
	pointstore_scan_end(&scan);
}

/*
 * Inserts unless an index that decides one of the keys knows it: first looks, waiting for a
 * running transaction that has it; then inserts under a token that tells others
 * to wait for us, and withdraws when one of them was faster. A row of our own was not there
 * when the key was chosen: users' code has written it since, and would do so each time.
 *
 * It withdraws too when others have changed the writer's fence, once its row is there for
 * others to see: a backend that changes the fence looks for such rows afterwards and waits
 * for them, so one of the two sees the other, and neither waits for one that waits for it.
 */
static bool
insert_speculatively(RowWriter *writer, RowTarget *target, int keys, List **recheck)
{
	ResultRelInfo *rel = target->rel;
	List	   *arbiters = arbiters_of(writer, target, keys);
	bool		conflict = true;
	ItemPointerData twin;

	while (conflict)
	{
		uint32		token;
		bool		stands = true;
		TransactionId changer = InvalidTransactionId;

		CHECK_FOR_INTERRUPTS();
		if (!pointstore_check_index_constraints(rel, target->slot, writer->estate, &twin, arbiters))
		{
			if (is_ours(rel->ri_RelationDesc, &twin))
				refuse_triggered(RelationGetRelationName(rel->ri_RelationDesc));
			return false;
		}
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(rel->ri_RelationDesc, target->slot, writer->cid, 0, NULL, token);
		conflict = false;
		*recheck = pointstore_insert_index_tuples(rel, target->slot, writer->estate, &conflict, arbiters);
		if (!conflict && writer->fence != NULL)
			stands = pointstore_row_stands(writer->fence, &changer) ||
				(!TransactionIdIsValid(changer) && is_changed_by_us(writer->fence));
		table_tuple_complete_speculative(rel->ri_RelationDesc, target->slot, token, !conflict && stands);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (TransactionIdIsValid(changer))
			XactLockTableWait(changer, NULL, NULL, XLTW_None);
		if (!stands)
			return false;
	}
	return true;
}

/* Whether this transaction has inserted the row there. */
static bool
is_ours(Relation heap, ItemPointer tid)
{
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	bool		ours = table_tuple_fetch_row_version(heap, tid, SnapshotAny, slot) &&
		pointstore_row_is_ours(ExecFetchSlotHeapTuple(slot, false, NULL));

	ExecDropSingleTupleTableSlot(slot);
	return ours;
}

/* As PostgreSQL refuses an UPDATE whose trigger has updated the row. */
static void
refuse_triggered(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("a row to be inserted into %s was already written by an operation triggered by the current command", table),
			 errhint("An append from a trigger to the account, or with the request, of the event that fires it belongs into an AFTER trigger.")));
}

/*
 * Updates the row at tid to target->slot. ROW_CONFLICT: it has changed since
 * it was read (in REPEATABLE READ and above that is 40001). Where users have
 * BEFORE UPDATE row triggers the caller must have locked the row.
 */
RowOutcome
pointstore_row_update(RowWriter *writer, RowTarget *target, ItemPointer tid)
{
	EState	   *estate = writer->estate;
	ResultRelInfo *rel = target->rel;
	TupleTableSlot *slot = target->slot;
	PointstoreUpdateIndexes update_indexes = POINTSTORE_NO_INDEXES;
	LockTupleMode lock_mode;
	TM_FailureData failure;
	TM_Result	result;
	List	   *recheck = NIL;

	if (!target->updates)
		CheckCmdReplicaIdentity(rel->ri_RelationDesc, CMD_UPDATE);
	if (!target->table->plain && !target->updates)
	{
		ExecBSUpdateTriggers(estate, rel);
		target->update_capture = MakeTransitionCaptureState(rel->ri_TrigDesc,
															target->table->relid, CMD_UPDATE);
	}
	target->updates = true;
	ResetPerTupleExprContext(estate);
	fire_before(writer, target, tid);
	check_row(writer, target, CMD_UPDATE);
	writer->storing = target;
	result = table_tuple_update(rel->ri_RelationDesc, tid, slot, writer->cid, estate->es_snapshot,
								InvalidSnapshot, true, &failure, &lock_mode, &update_indexes);
	if (result == TM_Updated || result == TM_Deleted)
	{
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update")));
		writer->storing = NULL;
		return ROW_CONFLICT;
	}
	if (result == TM_SelfModified)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("row to be updated was already modified by an operation triggered by the current command")));
	if (result != TM_Ok)
		elog(ERROR, "unexpected result %d of updating a row", result);
	if (update_indexes != POINTSTORE_NO_INDEXES)
	{
		if (rel->ri_IndexRelationDescs == NULL)
			open_indices(writer, target);
		recheck = pointstore_update_index_tuples(rel, slot, estate, update_indexes);
	}
	writer->storing = NULL;
	if (!target->table->plain)
		pointstore_after_row_update(estate, rel, tid, slot, recheck, target->update_capture);
	list_free(recheck);
	return ROW_WRITTEN;
}

/*
 * The key that an error of a writer's statement says is there already, N_STORE_INDEXES
 * for any other error: what a user's trigger does is its own affair.
 */
PointstoreIndexId
pointstore_violated_key(const RowWriter *writer, const ErrorData *error)
{
	const RowTarget *target = writer->storing;
	int			i;
	int			key;

	if (target == NULL || error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || error->constraint_name == NULL)
		return N_STORE_INDEXES;
	for (i = 0; i < target->rel->ri_NumIndices; i++)
		for (key = 0; key < N_STORE_INDEXES; key++)
			if (strcmp(RelationGetRelationName(target->rel->ri_IndexRelationDescs[i]), error->constraint_name) == 0 &&
				pointstore_index_decides(target->rel->ri_IndexRelationDescs[i], target->table, key))
				return key;
	return N_STORE_INDEXES;
}

/* Whether a BEFORE row trigger fires for a row that a writer of ours is writing. */
bool
pointstore_is_own_slot(TupleTableSlot *slot)
{
	return own_writers != NULL && own_writers->firing == slot;
}

/* Whether a stored row, of this transaction, was written by a writer still at work. */
bool
pointstore_is_own_row(HeapTuple tuple)
{
	RowWriter  *writer;
	CommandId	cid;

	if (own_writers == NULL)
		return false;
	cid = HeapTupleHeaderGetCmin(tuple->t_data);
	for (writer = own_writers; writer != NULL; writer = writer->outer)
		if (writer->cid == cid)
			return true;
	return false;
}

/* Whether a row that was read was written by a writer still at work. */
bool
pointstore_is_being_written(HeapTuple row)
{
	return own_writers != NULL && pointstore_row_is_ours(row) && pointstore_is_own_row(row);
}

/* Forgets the writers that a failed (sub)transaction left behind. */
void
pointstore_forget_writers(int nest_level)
{
	while (own_writers != NULL && own_writers->nest_level >= nest_level)
		own_writers = own_writers->outer;
}
