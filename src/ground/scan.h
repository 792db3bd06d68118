/*-------------------------------------------------------------------------
 *
 * src/ground/scan.h
 *		Rows of the store's tables, found, read and locked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SCAN_H
#define POINTSTORE_SCAN_H

#include "access/genam.h"
#include "access/relscan.h"
#include "access/sdir.h"
#include "access/skey.h"
#include "access/xlogdefs.h"
#include "nodes/lockoptions.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "ground/store.h"

/* What a scan looks for: conditions on an index's first columns, none at first. */
typedef struct RowKey
{
	int			n;
	ScanKeyData columns[3];
} RowKey;

typedef struct RowScan
{
	const PointstoreTable *table;
	Relation	heap;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	bool		spares_pages;	/* its rows are read to be updated: see pointstore_scan_next() */
} RowScan;

extern void pointstore_key_text(RowKey *key, text *value);
extern void pointstore_key_request(RowKey *key, text *aggregate_id, text *request_id);
extern void pointstore_key_hold(RowKey *key, text *hold_id, text *aggregate_id);
extern void pointstore_key_smallint(RowKey *key, int16 value);
extern void pointstore_key_bigint(RowKey *key, int64 value);
extern void pointstore_key_at_least(RowKey *key, int64 value);
extern void pointstore_key_at_most(RowKey *key, int64 value);
extern void pointstore_key_until(RowKey *key, TimestampTz value);
extern void pointstore_scan_begin(RowScan *scan, text *of, PointstoreIndexId index, Snapshot snapshot, RowKey *key);
extern void pointstore_scan_begin_reading(RowScan *scan, text *of, PointstoreIndexId index, Snapshot snapshot, RowKey *key);
extern void pointstore_scan_again(RowScan *scan, RowKey *key);
extern bool pointstore_scan_next(RowScan *scan, ScanDirection direction);
extern void pointstore_scan_end(RowScan *scan);
extern text *pointstore_slot_text(TupleTableSlot *row, AttrNumber att);
extern text *pointstore_slot_state(TupleTableSlot *row, AttrNumber att);
extern bool pointstore_row_is_ours(HeapTuple row);
extern XLogRecPtr pointstore_row_durable(TupleTableSlot *slot);
extern void pointstore_await_durable(XLogRecPtr lsn);
extern void pointstore_await_standbys(XLogRecPtr lsn);
extern bool pointstore_scan_waits(RowScan *scan, SnapshotData *dirty);
extern void pointstore_await_inserter(const SnapshotData *seen);
extern bool pointstore_lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot, bool *busy);
extern bool pointstore_share_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot);
extern bool pointstore_lock_version(Relation heap, TupleTableSlot *slot, LockTupleMode mode, bool *busy);
extern bool pointstore_is_being_inserted(text *of, PointstoreIndexId index, RowKey *key);
extern bool pointstore_row_stands(HeapTuple read, TransactionId *changer);

#endif							/* POINTSTORE_SCAN_H */
