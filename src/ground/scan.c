/*-------------------------------------------------------------------------
 *
 * src/ground/scan.c
 *		Rows of the store's tables, found by an index, read and locked, as the
 *		executor's own steps do it.
 *
 * Locks: tables and their indexes in RowExclusiveLock, of callers that only read in
 * AccessShareLock, to the end of the transaction; rows FOR NO KEY UPDATE, so that users'
 * foreign keys do not wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/scan.h"
#include "ground/shard.h"

/* a page of balances has room for so many updates, or is pruned */
#define UPDATES_AT_ONCE 8

static void scan_begin(RowScan *scan, text *of, PointstoreIndexId index, Snapshot snapshot, RowKey *key, LOCKMODE lock);
static Relation open_table(text *of, PointstoreTableId table, LOCKMODE lock);
static bool next_row_sparing(RowScan *scan, ScanDirection direction);
static bool is_crowded(Page page);
static bool lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot, LockTupleMode mode, bool *busy);

/*
 * Begins a scan of an index from a key on its first columns, where the rows of an account or a lease
 * are; of NULL: of rules, or of all that is here. The slot is valid until pointstore_scan_end(). Which index it is, is asked under the table's lock: from
 * then on REINDEX CONCURRENTLY takes none away.
 */
void
pointstore_scan_begin(RowScan *scan, text *of, PointstoreIndexId index, Snapshot snapshot, RowKey *key)
{
	scan_begin(scan, of, index, snapshot, key, RowExclusiveLock);
}

/* The same for callers that will not write the table: also on a standby, and beside a CREATE INDEX. */
void
pointstore_scan_begin_reading(RowScan *scan, text *of, PointstoreIndexId index, Snapshot snapshot, RowKey *key)
{
	scan_begin(scan, of, index, snapshot, key, AccessShareLock);
}

static void
scan_begin(RowScan *scan, text *of, PointstoreIndexId index, Snapshot snapshot, RowKey *key, LOCKMODE lock)
{
	scan->heap = open_table(of, pointstore_table_of(index), lock);
	scan->index = index_open(pointstore_shard_of(of)->index[index], lock);
	scan->table = &pointstore_shard_of(of)->table[pointstore_table_of(index)];
	scan->spares_pages = index == INDEX_BALANCE;
	scan->slot = table_slot_create(scan->heap, NULL);
	scan->scan = pointstore_index_beginscan(scan->heap, scan->index, snapshot, key->n);
	index_rescan(scan->scan, key->columns, key->n, NULL, 0);
}

/* A table of the store. Where another has got its name while its lock was waited for, that one: it is the one whose columns are known. */
static Relation
open_table(text *of, PointstoreTableId table, LOCKMODE lock)
{
	for (;;)
	{
		Relation	heap = table_open(pointstore_shard_of(of)->table[table].relid, lock);

		if (RelationGetRelid(heap) == pointstore_shard_of(of)->table[table].relid)
			return heap;
		table_close(heap, lock);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Begins a scan anew from another key, on as many columns. */
void
pointstore_scan_again(RowScan *scan, RowKey *key)
{
	Assert(key->n == scan->scan->numberOfKeys);
	index_rescan(scan->scan, key->columns, key->n, NULL, 0);
}

/* The next row into scan->slot, or false. */
bool
pointstore_scan_next(RowScan *scan, ScanDirection direction)
{
	if (scan->spares_pages && IsMVCCSnapshot(scan->scan->xs_snapshot) && scan->heap->rd_rel->relam == HEAP_TABLE_AM_OID)
		return next_row_sparing(scan, direction);
	return index_getnext_slot(scan->scan, direction, scan->slot);
}

/*
 * The same where each row that is read is about to be updated. index_getnext_slot() prunes a page
 * as soon as less of it is free than the table's fillfactor leaves, which one update sees
 * to: each append would prune the page for a single dead row, and log that. Here a page is
 * pruned when it has no room for a few more versions of its rows.
 */
static bool
next_row_sparing(RowScan *scan, ScanDirection direction)
{
	HeapTuple	row = &((BufferHeapTupleTableSlot *) scan->slot)->base.tupdata;
	ItemPointer tid;
	bool		found = false;

	while (!found && (tid = index_getnext_tid(scan->scan, direction)) != NULL)
	{
		Buffer		buffer = ReadBuffer(scan->heap, ItemPointerGetBlockNumber(tid));
		bool		all_dead = false;

		ExecClearTuple(scan->slot);
		if (is_crowded(BufferGetPage(buffer)))
			heap_page_prune_opt(scan->heap, buffer);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		found = heap_hot_search_buffer(tid, scan->heap, buffer, scan->scan->xs_snapshot, row, &all_dead, true);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (found)
		{
			row->t_self = *tid;
			scan->slot->tts_tableOid = RelationGetRelid(scan->heap);
			ExecStoreBufferHeapTuple(row, scan->slot, buffer);
			pgstat_count_heap_fetch(scan->index);
		}
		/* the next step, if there is one, marks the index's entry, as after index_fetch_heap() */
		if (!scan->scan->xactStartedInRecovery)
			scan->scan->kill_prior_tuple = all_dead;
		ReleaseBuffer(buffer);
	}
	return found;
}

/* Whether a page has no room for a few more rows as it has on average; a hint, looked at without a lock. */
static bool
is_crowded(Page page)
{
	PageHeader	header = (PageHeader) page;

	return PageIsFull(page) ||
		PageGetHeapFreeSpace(page) * PageGetMaxOffsetNumber(page) < UPDATES_AT_ONCE * (Size) (header->pd_special - header->pd_upper);
}

void
pointstore_scan_end(RowScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, NoLock);
	table_close(scan->heap, NoLock);
}

/* A copy of a text column declared NOT NULL: where that constraint was dropped a null reads as ''. */
text *
pointstore_slot_text(TupleTableSlot *row, AttrNumber att)
{
	bool		isnull;
	Datum		value = slot_getattr(row, att, &isnull);

	return isnull ? cstring_to_text("") : DatumGetTextPCopy(value);
}

/* A copy of a state; NULL where it is null or '', which is none. */
text *
pointstore_slot_state(TupleTableSlot *row, AttrNumber att)
{
	bool		isnull;
	Datum		value = slot_getattr(row, att, &isnull);
	text	   *state = isnull ? NULL : DatumGetTextPCopy(value);

	return state == NULL || VARSIZE_ANY_EXHDR(state) == 0 ? NULL : state;
}

/* Whether a row was inserted, or last updated, by this transaction. */
bool
pointstore_row_is_ours(HeapTuple row)
{
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row->t_data));
}

/*
 * What has to be awaited before others are told of a committed row: at least the LSN of
 * its commit. Of an asynchronous commit PostgreSQL remembers that, or a later one, until it is
 * flushed; of any other it knows nothing, but that it is flushed. A row that was frozen has
 * forgotten its commit, which came before the record of the freezing. Invalid
 * for a row of this transaction, which is told of when that commits.
 */
XLogRecPtr
pointstore_row_durable(TupleTableSlot *slot)
{
	TransactionId xid = HeapTupleHeaderGetXmin(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data);
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	if (TransactionIdIsCurrentTransactionId(xid))
		return InvalidXLogRecPtr;
	if (TransactionIdIsNormal(xid))
		lsn = TransactionIdGetCommitLSN(xid);
	else if (TTS_IS_BUFFERTUPLE(slot) && BufferIsValid(((BufferHeapTupleTableSlot *) slot)->buffer))
		lsn = BufferGetLSNAtomic(((BufferHeapTupleTableSlot *) slot)->buffer);
	return Max(lsn, pointstore_flushed_lsn());
}

/*
 * Waits for an LSN as a commit of this session would, had it written that: until it is
 * flushed, whatever synchronous_commit says, and until the standbys have confirmed it that
 * synchronous_commit asks for. Locks are kept meanwhile, as by a commit; and
 * a cancellation ends the wait for standbys with a WARNING, as it ends a commit's.
 */
void
pointstore_await_durable(XLogRecPtr lsn)
{
	if (XLogRecPtrIsInvalid(lsn))
		return;
	XLogFlush(lsn);
	pointstore_await_standbys(lsn);
}

/*
 * Waits until the standbys have confirmed an LSN that synchronous_commit asks for. Several sessions may wait for the same one, as
 * no two commits do: an assert-enabled server takes that for a mistake, so there each waits for a record of its own behind it.
 */
void
pointstore_await_standbys(XLogRecPtr lsn)
{
#ifdef USE_ASSERT_CHECKING
	if (!XLogRecPtrIsInvalid(lsn) && SyncRepRequested() && SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0')
		XLogFlush(lsn = pointstore_mark_wal(false));
#endif
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(lsn, true);
	RESUME_INTERRUPTS();
}

/*
 * For a scan with a dirty snapshot, which sees what running transactions have
 * inserted: when the row it has just returned is such a one, ends the scan,
 * waits for that transaction and returns true. The caller scans again.
 */
bool
pointstore_scan_waits(RowScan *scan, SnapshotData *dirty)
{
	SnapshotData seen = *dirty;

	if (!TransactionIdIsValid(seen.xmin))
		return false;
	pointstore_scan_end(scan);
	pointstore_await_inserter(&seen);
	return true;
}

/* Waits for the transaction that has inserted the row which a dirty snapshot has just seen; a scan has ended before. */
void
pointstore_await_inserter(const SnapshotData *seen)
{
	if (seen->speculativeToken != 0)
		SpeculativeInsertionWait(seen->xmin, seen->speculativeToken);
	else
		XactLockTableWait(seen->xmin, NULL, NULL, XLTW_None);
	CHECK_FOR_INTERRUPTS();
}

/* Equality with a text on the index's next column, in collation "C". */
void
pointstore_key_text(RowKey *key, text *value)
{
	key->n++;
	ScanKeyInit(&key->columns[key->n - 1], key->n, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(value));
}

/* A request of an account: in a distributed store its name is the account's. */
void
pointstore_key_request(RowKey *key, text *aggregate_id, text *request_id)
{
	if (pointstore_is_distributed())
		pointstore_key_text(key, aggregate_id);
	pointstore_key_text(key, request_id);
}

/* A hold, whose name in a distributed store is the account's, too. */
void
pointstore_key_hold(RowKey *key, text *hold_id, text *aggregate_id)
{
	pointstore_key_text(key, hold_id);
	if (pointstore_is_distributed())
		pointstore_key_text(key, aggregate_id);
}

/* Equality with a smallint on the next column. */
void
pointstore_key_smallint(RowKey *key, int16 value)
{
	key->n++;
	ScanKeyInit(&key->columns[key->n - 1], key->n, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(value));
}

/* Equality with a bigint on the next column. */
void
pointstore_key_bigint(RowKey *key, int64 value)
{
	key->n++;
	ScanKeyInit(&key->columns[key->n - 1], key->n, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(value));
}

/* At least a bigint in the next column. */
void
pointstore_key_at_least(RowKey *key, int64 value)
{
	key->n++;
	ScanKeyInit(&key->columns[key->n - 1], key->n, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(value));
}

/* At most a bigint in the next column. */
void
pointstore_key_at_most(RowKey *key, int64 value)
{
	key->n++;
	ScanKeyInit(&key->columns[key->n - 1], key->n, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(value));
}

/* At most a time in the next column. */
void
pointstore_key_until(RowKey *key, TimestampTz value)
{
	key->n++;
	ScanKeyInit(&key->columns[key->n - 1], key->n, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(value));
}

/*
 * Locks the row in a slot FOR NO KEY UPDATE and replaces the slot by its
 * newest version. False: it is gone; or, where busy is given and not waiting is
 * meant, another has it: *busy. In REPEATABLE READ and above a row that has
 * changed since the snapshot is 40001.
 */
bool
pointstore_lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot, bool *busy)
{
	return lock_row(heap, slot, snapshot, LockTupleNoKeyExclusive, busy);
}

/* The same FOR SHARE, which is waited for. */
bool
pointstore_share_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot)
{
	return lock_row(heap, slot, snapshot, LockTupleShare, NULL);
}

/*
 * Locks just the version of a row that is in a slot, whatever the isolation level. False: it is not the newest any more, which is to
 * be read again; or, where busy is given and not waiting is meant, another has it: *busy. FOR KEY SHARE, which goes with all updates
 * but of who has it FOR UPDATE, a version may have been updated: then the newer ones are locked too.
 */
bool
pointstore_lock_version(Relation heap, TupleTableSlot *slot, LockTupleMode mode, bool *busy)
{
	TM_FailureData failure;
	TM_Result	result;
	ItemPointerData tid = slot->tts_tid;

	result = table_tuple_lock(heap, &tid, GetActiveSnapshot(), slot, GetCurrentCommandId(false), mode,
							  busy != NULL ? LockWaitSkip : LockWaitBlock, TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS, &failure);
	if (result == TM_WouldBlock)
		*busy = true;
	else if (result != TM_Ok && result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "unexpected result %d of locking a row", result);
	return result == TM_Ok;
}

/* Whether a running transaction has inserted the last row with a key. */
bool
pointstore_is_being_inserted(text *of, PointstoreIndexId index, RowKey *key)
{
	SnapshotData dirty;
	RowScan		scan;
	bool		running;

	InitDirtySnapshot(dirty);
	pointstore_scan_begin(&scan, of, index, &dirty, key);
	running = pointstore_scan_next(&scan, BackwardScanDirection) && TransactionIdIsValid(dirty.xmin);
	pointstore_scan_end(&scan);
	return running;
}

static bool
lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot, LockTupleMode mode, bool *busy)
{
	TM_FailureData failure;
	TM_Result	result;
	ItemPointerData tid = slot->tts_tid;

	result = table_tuple_lock(heap, &tid, snapshot, slot, GetCurrentCommandId(false),
							  mode, busy != NULL ? LockWaitSkip : LockWaitBlock,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);
	if (result == TM_Ok)
		return true;
	if (result == TM_WouldBlock)
	{
		*busy = true;
		return false;
	}
	if (IsolationUsesXactSnapshot() && (result == TM_Updated || result == TM_Deleted))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	if (result != TM_Deleted && result != TM_Updated)
		elog(ERROR, "unexpected result %d of locking a row", result);
	return false;
}

/*
 * Whether a row still stands as it was read. False: it was changed since, or another
 * transaction is about to: its id, else invalid.
 */
bool
pointstore_row_stands(HeapTuple read, TransactionId *changer)
{
	Relation	heap = table_open(read->t_tableOid, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	SnapshotData dirty;
	bool		stands;

	InitDirtySnapshot(dirty);
	*changer = InvalidTransactionId;
	stands = table_tuple_fetch_row_version(heap, &read->t_self, &dirty, slot) &&
		/* its place may be another's by now */
		HeapTupleHeaderGetRawXmin(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data) == HeapTupleHeaderGetRawXmin(read->t_data);
	if (stands && TransactionIdIsValid(dirty.xmax))
	{
		*changer = dirty.xmax;
		stands = false;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(heap, NoLock);
	return stands;
}
