/*-------------------------------------------------------------------------
 *
 * src/account/held.c
 *		Rows of pointstore.hold, and what an account's open holds reserve.
 *
 * Our columns of a hold's row change only together with the balance row of its account.
 * So a backend that has locked that row, or updates just the version of it that was read
 * in the same snapshot, knows the account's holds as well: the balance row is locked
 * first, and for our columns it is lock enough. Columns of the user's own any session may
 * change, and users' triggers need the row locked for them (update_row()); a sweep locks
 * it to see whether another session is at it.
 *
 * What has expired reserves nothing from that moment on, although the rows
 * stay open, and balance.held counts them, until they are swept. An account's
 * next_expiry is the time of the first of its open holds to expire: only once
 * that has passed is the table of holds asked, and then for those that have
 * expired alone. So an account with thousands of open holds costs an append
 * nothing.
 *
 * Time is the wall clock alone: a clock that once was wrong, and has left updated_at in
 * the future, lets no hold expire early.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/held.h"
#include "ground/name.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/shard.h"

const char *const pointstore_hold_status[] = {"open", "confirmed", "cancelled", "expired"};

static void fill_hold(Hold *hold, TupleTableSlot *row, const AttrNumber *att);
static bool same_hold(const Hold *a, const Hold *b);
static HoldStatus hold_status(text *status);
static RowOutcome update_row(RowWriter *writer, RowTarget *target, Hold *hold);
static bool renew_row(Relation heap, const PointstoreTable *table, Hold *hold, Snapshot snapshot, bool *busy);
static void fill_row(RowTarget *target, const Hold *hold);
static bool is_open(const RowScan *scan, List *closing);

/*
 * Reads a hold by its name, where an account's are; false when there is none. *again: a transaction that
 * has just written one of that name was waited for, or has committed after the
 * snapshot, so that all is to be read again in a new one; 40001 where there is none.
 */
bool
pointstore_read_hold(Hold *hold, text *of, text *id, Snapshot snapshot, bool *again)
{
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;

	*again = false;
	pointstore_key_hold(&key, id, of);
	pointstore_scan_begin(&scan, of, INDEX_HOLD, snapshot, &key);
	if (pointstore_scan_next(&scan, ForwardScanDirection))
	{
		fill_hold(hold, scan.slot, scan.table->att);
		hold->durable = pointstore_row_durable(scan.slot);
		pointstore_scan_end(&scan);
		return true;
	}
	pointstore_scan_end(&scan);
	InitDirtySnapshot(dirty);
	pointstore_scan_begin(&scan, of, INDEX_HOLD, &dirty, &key);
	*again = pointstore_scan_next(&scan, ForwardScanDirection);
	if (!*again || !pointstore_scan_waits(&scan, &dirty))
		pointstore_scan_end(&scan);
	if (*again && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("hold \"%s\" was placed or cancelled concurrently", pointstore_cstring(id))));
	return false;
}

/* Reads a hold's row, and keeps a copy of it. */
static void
fill_hold(Hold *hold, TupleTableSlot *row, const AttrNumber *att)
{
	bool		isnull;

	hold->row = ExecCopySlotHeapTuple(row);
	hold->id = DatumGetTextPCopy(slot_getattr(row, att[HOLD_HOLD_ID], &isnull));
	hold->aggregate_id = DatumGetTextPCopy(slot_getattr(row, att[HOLD_AGGREGATE_ID], &isnull));
	hold->amount = DatumGetInt64(slot_getattr(row, att[HOLD_AMOUNT], &isnull));
	hold->captured = DatumGetInt64(slot_getattr(row, att[HOLD_CAPTURED], &isnull));
	hold->status = hold_status(DatumGetTextPP(slot_getattr(row, att[HOLD_STATUS], &isnull)));
	hold->created_at = DatumGetTimestampTz(slot_getattr(row, att[HOLD_CREATED_AT], &isnull));
	hold->expires_at = DatumGetTimestampTz(slot_getattr(row, att[HOLD_EXPIRES_AT], &isnull));
	hold->closed_at = DatumGetTimestampTz(slot_getattr(row, att[HOLD_CLOSED_AT], &isnull));
	hold->event_id = DatumGetInt64(slot_getattr(row, att[HOLD_EVENT_ID], &isnull));
	hold->has_event = !isnull;
}

/* A stored status; what it should not be counts as cancelled, so that nothing moves. */
static HoldStatus
hold_status(text *status)
{
	int			place = pointstore_place(status, pointstore_hold_status, lengthof(pointstore_hold_status));

	return place < 0 ? HOLD_CANCELLED : (HoldStatus) place;
}

/* Lets go of the row that was read. */
void
pointstore_release_hold(Hold *hold)
{
	if (hold->row != NULL)
		heap_freetuple(hold->row);
	hold->row = NULL;
}

/*
 * Locks the row that was read, unless another session has it: false, and nothing is
 * known of what that makes of it.
 */
bool
pointstore_lock_hold_if_free(Hold *hold, Snapshot snapshot)
{
	const PointstoreTable *table = &pointstore_shard_of(hold->aggregate_id)->table[TABLE_HOLD];
	Relation	heap = table_open(table->relid, RowExclusiveLock);
	bool		busy = false;
	bool		locked = renew_row(heap, table, hold, snapshot, &busy);

	table_close(heap, NoLock);
	return locked;
}

/*
 * Writes a hold as it stands: updates the row that was read, or inserts one.
 * ROW_CONFLICT, where keys are given: its name is taken.
 */
RowOutcome
pointstore_write_hold(RowWriter *writer, Hold *hold, int keys)
{
	RowTarget  *target = pointstore_writer_target(writer, hold->aggregate_id, TABLE_HOLD);

	if (hold->row != NULL)
		return update_row(writer, target, hold);
	fill_row(target, hold);
	return pointstore_row_insert(writer, target, keys);
}

/*
 * Updates the row that was read. Its account's lock keeps it as it is, but for columns
 * of the user's, which any session may change meanwhile: then it is its newest version
 * that is updated. Where users' triggers fire first it has to be locked for them.
 */
static RowOutcome
update_row(RowWriter *writer, RowTarget *target, Hold *hold)
{
	Relation	heap = target->rel->ri_RelationDesc;
	RowOutcome	outcome = ROW_CONFLICT;

	if (target->table->plain)
	{
		fill_row(target, hold);
		outcome = pointstore_row_update(writer, target, &hold->row->t_self);
	}
	if (outcome == ROW_CONFLICT)
	{
		(void) renew_row(heap, target->table, hold, writer->estate->es_snapshot, NULL);
		fill_row(target, hold);
		outcome = pointstore_row_update(writer, target, &hold->row->t_self);
	}
	return outcome;
}

/*
 * Locks the row that was read and takes its newest version for it; false: another session
 * has it, where busy is given. What the hold is about to become stays as it is.
 */
static bool
renew_row(Relation heap, const PointstoreTable *table, Hold *hold, Snapshot snapshot, bool *busy)
{
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	Hold		was = {0};
	Hold		now = {0};
	bool		locked;

	ExecForceStoreHeapTuple(hold->row, slot, false);
	fill_hold(&was, slot, table->att);
	slot->tts_tid = hold->row->t_self;
	locked = pointstore_lock_row(heap, slot, snapshot, busy);
	if (locked)
		fill_hold(&now, slot, table->att);
	else if (busy == NULL || !*busy)
		elog(ERROR, "the row of hold \"%s\" is gone", pointstore_cstring(was.id));
	ExecDropSingleTupleTableSlot(slot);
	if (!locked)
		return false;
	if (!same_hold(&was, &now))
		elog(ERROR, "the row of hold \"%s\" has changed without its account's", pointstore_cstring(was.id));
	pointstore_release_hold(&was);
	pointstore_release_hold(hold);
	hold->row = now.row;
	return true;
}

/* Whether two rows are alike in what a hold's account keeps as it is. */
static bool
same_hold(const Hold *a, const Hold *b)
{
	return pointstore_same_text(a->id, b->id) && pointstore_same_text(a->aggregate_id, b->aggregate_id) &&
		a->amount == b->amount && a->captured == b->captured && a->status == b->status &&
		a->expires_at == b->expires_at && a->has_event == b->has_event && a->event_id == b->event_id;
}

/* The row to be written: ours from the hold, the user's columns from the row read. */
static void
fill_row(RowTarget *target, const Hold *hold)
{
	TupleTableSlot *slot = target->slot;
	const AttrNumber *att = target->table->att;

	pointstore_row_begin(target, hold->row);
#define SET(column, value, null) \
	(slot->tts_values[att[column] - 1] = (value), slot->tts_isnull[att[column] - 1] = (null))
	SET(HOLD_HOLD_ID, PointerGetDatum(hold->id), false);
	SET(HOLD_AGGREGATE_ID, PointerGetDatum(hold->aggregate_id), false);
	SET(HOLD_AMOUNT, Int64GetDatum(hold->amount), false);
	SET(HOLD_CAPTURED, Int64GetDatum(hold->captured), false);
	SET(HOLD_STATUS, CStringGetTextDatum(pointstore_hold_status[hold->status]), false);
	SET(HOLD_CREATED_AT, TimestampTzGetDatum(hold->created_at), false);
	SET(HOLD_EXPIRES_AT, TimestampTzGetDatum(hold->expires_at), !hold->has_event);
	SET(HOLD_CLOSED_AT, TimestampTzGetDatum(hold->closed_at), hold->status == HOLD_OPEN);
	SET(HOLD_EVENT_ID, Int64GetDatum(hold->event_id), !hold->has_event);
#undef SET
	ExecStoreVirtualTuple(slot);
}

/* The time that counts for an account's holds: read once for an account as read. */
TimestampTz
pointstore_account_clock(Account *account)
{
	if (account->clock == 0)
		account->clock = GetCurrentTimestamp();
	return account->clock;
}

/*
 * Looks up, once for an account as read, what of its held has expired. The
 * snapshot is the one in which the row was read, or one taken under its lock.
 */
void
pointstore_know_expired(Account *account, Snapshot snapshot)
{
	RowKey		key = {0};
	RowScan		scan;
	bool		isnull;

	if (account->expiry_known)
		return;
	account->expiry_known = true;
	if (!account->has_expiry || account->next_expiry > pointstore_account_clock(account))
		return;
	pointstore_key_text(&key, account->id);
	pointstore_key_until(&key, pointstore_account_clock(account));
	pointstore_scan_begin(&scan, account->id, INDEX_HOLD_EXPIRY, snapshot, &key);
	while (pointstore_scan_next(&scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_open(&scan, NIL))
			account->expired += DatumGetInt64(slot_getattr(scan.slot, scan.table->att[HOLD_AMOUNT], &isnull));
	}
	pointstore_scan_end(&scan);
}

/* Sets next_expiry to that of the first open hold which is not among those about to be closed. */
void
pointstore_find_next_expiry(Account *account, List *closing, Snapshot snapshot)
{
	RowKey		key = {0};
	RowScan		scan;
	bool		isnull;

	account->has_expiry = false;
	pointstore_key_text(&key, account->id);
	pointstore_scan_begin(&scan, account->id, INDEX_HOLD_EXPIRY, snapshot, &key);
	while (!account->has_expiry && pointstore_scan_next(&scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_open(&scan, closing))
			continue;
		account->has_expiry = true;
		account->next_expiry = DatumGetTimestampTz(slot_getattr(scan.slot, scan.table->att[HOLD_EXPIRES_AT], &isnull));
	}
	pointstore_scan_end(&scan);
}

/* Whether the hold of a row is open, and not among those about to be closed. */
static bool
is_open(const RowScan *scan, List *closing)
{
	const AttrNumber *att = scan->table->att;
	TupleTableSlot *row = scan->slot;
	bool		isnull;
	ListCell   *cell;

	if (hold_status(DatumGetTextPP(slot_getattr(row, att[HOLD_STATUS], &isnull))) != HOLD_OPEN)
		return false;
	foreach(cell, closing)
		if (pointstore_same_text(((Hold *) lfirst(cell))->id, DatumGetTextPP(slot_getattr(row, att[HOLD_HOLD_ID], &isnull))))
			return false;
	return true;
}
