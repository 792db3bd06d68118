/*-------------------------------------------------------------------------
 *
 * src/account/account.c
 *		Rows of accounts: read, locked, written; and an account's last event.
 *
 * A hybrid account is a row of pointstore.balance, a pure one a row of
 * pure_account; no name is ever in both (opening.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/by_hand.h"
#include "account/kind.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/shard.h"
#include "ground/sql.h"
#include "ground/step.h"

static const char *const status_names[] = {"open", "frozen", "closed"};

static bool read_balance_row(Account *account, Snapshot snapshot, AccountLock lock);
static bool read_pure_row(Account *account, Snapshot snapshot, AccountLock lock);
static void read_pure_state(Account *account, Snapshot snapshot, bool locked);
static bool log_is_past(const Account *account, Snapshot snapshot);
static bool find_row(Account *account, PointstoreIndexId index, RowScan *scan, Snapshot snapshot, AccountLock lock);
static bool is_being_changed(Account *account, TupleTableSlot *row);
static bool is_contended(const Account *account);
static bool is_being_inserted(PointstoreIndexId index, text *aggregate_id);
static void refuse_waiting(const Account *account);
static void settle_by_hand(Account *account);
static void fill_row(RowTarget *target, const Account *account);

/*
 * Reads an account, and locks its row where asked to: then what is read is its
 * newest version. account->exists says whether there is one. The row is kept
 * until pointstore_release_account(). With LOCK_IF_FREE nothing is waited for, nor has
 * an append to be waited for that follows: then account->busy.
 */
void
pointstore_read_account(Account *account, text *id, Snapshot snapshot, AccountLock lock)
{
	memset(account, 0, sizeof(Account));
	account->id = id;
	if (read_balance_row(account, snapshot, lock))
		account->exists = true;
	else if (!account->busy &&
			 read_pure_row(account, snapshot, lock == LOCK_BALANCE || lock == LOCK_SHARE ? LOCK_NOTHING : lock))
		account->exists = account->pure = true;
	if (account->exists)
		account->kind = pointstore_read_kind(account->kind_name);
	if (account->pure)
		read_pure_state(account, snapshot, lock == LOCK_BY_HAND || lock == LOCK_ACCOUNT);
	if (lock != LOCK_NOTHING && lock != LOCK_BY_HAND && account->exists && !account->pure && pointstore_has_notes())
		settle_by_hand(account);
	if (lock == LOCK_ACCOUNT)
		refuse_waiting(account);
	if (lock == LOCK_IF_FREE && !account->busy)
		account->busy = is_contended(account);
}

/* Reads the row of a hybrid account; false when there is none. */
static bool
read_balance_row(Account *account, Snapshot snapshot, AccountLock lock)
{
	const AttrNumber *att;
	TupleTableSlot *row;
	RowScan		scan;
	bool		isnull;

	if (!find_row(account, INDEX_BALANCE, &scan, snapshot, lock))
		return false;
	row = scan.slot;
	att = scan.table->att;
	account->kind_name = pointstore_slot_text(row, att[BAL_KIND]);
	account->version = DatumGetInt64(slot_getattr(row, att[BAL_VERSION], &isnull));
	account->balance = DatumGetInt64(slot_getattr(row, att[BAL_BALANCE], &isnull));
	account->held = DatumGetInt64(slot_getattr(row, att[BAL_HELD], &isnull));
	account->incoming = DatumGetInt64(slot_getattr(row, att[BAL_INCOMING], &isnull));
	account->next_expiry = DatumGetTimestampTz(slot_getattr(row, att[BAL_NEXT_EXPIRY], &isnull));
	account->has_expiry = !isnull;
	account->status = pointstore_status(pointstore_slot_text(row, att[BAL_STATUS]));
	account->updated_at = DatumGetTimestampTz(slot_getattr(row, att[BAL_UPDATED_AT], &isnull));
	account->state = pointstore_slot_state(row, att[BAL_STATE]);
	pointstore_scan_end(&scan);
	return true;
}

/* The same of a pure one. */
static bool
read_pure_row(Account *account, Snapshot snapshot, AccountLock lock)
{
	const AttrNumber *att;
	RowScan		scan;

	if (!find_row(account, INDEX_PURE_ACCOUNT, &scan, snapshot, lock))
		return false;
	att = scan.table->att;
	account->kind_name = pointstore_slot_text(scan.slot, att[PURE_KIND]);
	account->status = pointstore_status(pointstore_slot_text(scan.slot, att[PURE_STATUS]));
	pointstore_scan_end(&scan);
	return true;
}

/* What a pure account holds and the state it is in. Of a locked one as of now: its lock may have been waited for. */
static void
read_pure_state(Account *account, Snapshot snapshot, bool locked)
{
	if (locked)
		snapshot = pointstore_push_snapshot();
	(void) pointstore_last_event(account, snapshot);
	if ((account->state != NULL || (account->kind != NULL && pointstore_has_states(account->kind))) && !log_is_past(account, snapshot))
		pointstore_read_set_state(account, snapshot);
	if (locked)
		PopActiveSnapshot();
}

/*
 * Whether the log says nothing of an account with events but that it was opened, before them: then its state is its last
 * event's. One probe, so that an append of such an account needs no SQL; false where the log has no index for it.
 */
static bool
log_is_past(const Account *account, Snapshot snapshot)
{
	static const char *const opening[] = {"open"};
	RowKey		key = {0};
	RowScan		scan;
	bool		past;

	if (account->version == 0 || !OidIsValid(pointstore_shard_of(account->id)->index[INDEX_ACCOUNT_LOG]))
		return false;
	pointstore_key_text(&key, account->id);
	pointstore_scan_begin_reading(&scan, account->id, INDEX_ACCOUNT_LOG, snapshot, &key);
	past = !pointstore_scan_next(&scan, BackwardScanDirection) ||
		pointstore_place(pointstore_slot_text(scan.slot, scan.table->att[LOG_ACTION]), opening, lengthof(opening)) == 0;
	pointstore_scan_end(&scan);
	return past;
}

/*
 * Finds the account's row in one of its two tables: in scan->slot until the caller ends
 * the scan, and a copy in account->row. A copy is no slot: a slot for each account of
 * a batch costs more the more there are.
 */
static bool
find_row(Account *account, PointstoreIndexId index, RowScan *scan, Snapshot snapshot, AccountLock lock)
{
	RowKey		key = {0};
	bool		found;

	pointstore_key_text(&key, account->id);
	pointstore_scan_begin(scan, account->id, index, snapshot, &key);
	found = pointstore_scan_next(scan, ForwardScanDirection);
	if (found && index == INDEX_PURE_ACCOUNT && lock == LOCK_BY_HAND)
		found = pointstore_share_row(scan->heap, scan->slot, snapshot);
	else if (found && index == INDEX_PURE_ACCOUNT && lock == LOCK_IF_FREE)
		found = !is_being_changed(account, scan->slot);
	else if (found && lock == LOCK_SHARE)
		found = pointstore_share_row(scan->heap, scan->slot, snapshot);
	else if (found && lock != LOCK_NOTHING)
		found = pointstore_lock_row(scan->heap, scan->slot, snapshot, lock == LOCK_IF_FREE ? &account->busy : NULL);
	if (found)
		account->row = ExecCopySlotHeapTuple(scan->slot);
	else
		pointstore_scan_end(scan);
	return found;
}

/* Whether another session is about to change the row of a pure account, which then is busy. */
static bool
is_being_changed(Account *account, TupleTableSlot *row)
{
	TransactionId changer;

	account->busy = !pointstore_row_stands(ExecFetchSlotHeapTuple(row, false, NULL), &changer) && TransactionIdIsValid(changer);
	return account->busy;
}

/*
 * Whether a running transaction has written a row whose key an append to the account would wait
 * for: a pure account's next event, or the row of one that is missing, in either mode.
 */
static bool
is_contended(const Account *account)
{
	if (account->exists)
		return account->pure && is_being_inserted(INDEX_EVENT, account->id);
	return is_being_inserted(INDEX_BALANCE, account->id) || is_being_inserted(INDEX_PURE_ACCOUNT, account->id);
}

/* Whether a running transaction has inserted the account's last row in a table. */
static bool
is_being_inserted(PointstoreIndexId index, text *aggregate_id)
{
	RowKey		key = {0};

	pointstore_key_text(&key, aggregate_id);
	return pointstore_is_being_inserted(aggregate_id, index, &key);
}

/*
 * The state of an account at its version is its last event's, unless the log says that it was set since
 * (set_kind), or when the account was opened. What the log said of an earlier version is past. A hybrid account has it
 * in its row as well.
 */
void
pointstore_read_set_state(Account *account, Snapshot snapshot)
{
	static PointstorePlan plan = {
		.sql = "SELECT " LOGGED_STATE("s.after") " FROM"
		" (SELECT after FROM pointstore.account_log l WHERE aggregate_id" EQ "$1 AND " SAYS_STATE("l") " ORDER BY id DESC LIMIT 1) s"
		" WHERE " LOGS_STATE("s.after", "$2"),
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {PointerGetDatum(account->id), Int64GetDatum(account->version)};
	PointstorePlan *here;
	MemoryContext context = CurrentMemoryContext;

	SPI_connect();
	here = pointstore_plan_of(&plan, account->id);
	pointstore_prepare(here);
	if (SPI_execute_snapshot(here->plan, values, NULL, snapshot, InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the state of an account");
	if (SPI_processed > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *state = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		account->state = state == NULL ? NULL : pointstore_some_state(cstring_to_text(state));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

/*
 * Brings the locked row of an account to its last event, where events that this transaction has
 * inserted by hand are ahead of it because their statement is still at work. Where row
 * and events are the caller's to bring together, it waits.
 */
static void
settle_by_hand(Account *account)
{
	Account		last = {.id = account->id};
	Snapshot	snapshot = pointstore_push_snapshot();
	const EventNote *note;

	(void) pointstore_last_event(&last, snapshot);
	note = last.last_is_ours ? pointstore_noted_event(last.last_id) : NULL;
	account->waits = (last.version > account->version && note != NULL && note->by_caller) ||
		(last.version < account->version && pointstore_is_noted_change(account->id) &&
		 pointstore_row_is_ours(account->row) && !pointstore_is_being_written(account->row));
	if (last.version > account->version && note != NULL && !note->by_caller)
	{
		pointstore_follow_event(account, &last);
		pointstore_release_account(account);
		PopActiveSnapshot();
		pointstore_read_account(account, account->id, pointstore_push_snapshot(), LOCK_NOTHING);
	}
	PopActiveSnapshot();
}

/* PS010 where a change by hand waits for its other half. */
static void
refuse_waiting(const Account *account)
{
	if (account->waits)
		pointstore_raise_waiting(account->id);
}

/* PS010 */
void
pointstore_raise_waiting(text *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
			 errmsg("account \"%s\" was changed by hand in this transaction and waits for the other half of it",
					pointstore_cstring(id)),
			 errdetail("A balance that is updated by hand waits for its event; an event inserted while "
					   "pointstore.balance_writer is caller waits for its balance.")));
}

/* As PostgreSQL refuses an UPDATE whose trigger has updated the row. */
void
pointstore_refuse_triggered_status(text *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("status or kind of account \"%s\" was changed by an operation triggered by an event of it", pointstore_cstring(id)),
			 errhint("What changes the status or kind of the account whose event fires it belongs into an AFTER trigger.")));
}

/* Lets go of the row that was read. */
void
pointstore_release_account(Account *account)
{
	if (account->row != NULL)
		heap_freetuple(account->row);
	account->row = NULL;
}

/*
 * The account's version, balance and state, the time and the id, by its last event; false
 * when it has none. One probe of the primary key.
 */
bool
pointstore_last_event(Account *account, Snapshot snapshot)
{
	const AttrNumber *att;
	RowKey		key = {0};
	RowScan		scan;
	bool		found;
	bool		isnull;

	pointstore_key_text(&key, account->id);
	pointstore_scan_begin(&scan, account->id, INDEX_EVENT, snapshot, &key);
	att = scan.table->att;
	found = pointstore_scan_next(&scan, BackwardScanDirection);
	if (found)
	{
		account->version = DatumGetInt64(slot_getattr(scan.slot, att[EV_VERSION], &isnull));
		account->balance = DatumGetInt64(slot_getattr(scan.slot, att[EV_BALANCE_AFTER], &isnull));
		account->updated_at = DatumGetTimestampTz(slot_getattr(scan.slot, att[EV_CREATED_AT], &isnull));
		account->state = pointstore_slot_state(scan.slot, att[EV_STATE_AFTER]);
		account->last_id = DatumGetInt64(slot_getattr(scan.slot, att[EV_ID], &isnull));
		account->last_is_ours = pointstore_row_is_ours(ExecFetchSlotHeapTuple(scan.slot, false, NULL));
		if (account->last_is_ours)
			account->last_cid = HeapTupleHeaderGetCmin(ExecFetchSlotHeapTuple(scan.slot, false, NULL)->t_data);
	}
	pointstore_scan_end(&scan);
	return found;
}

/* The highest id that an event has, of whatever transaction, or had; at least 1. */
int64
pointstore_highest_id(void)
{
	RowKey		key = {0};
	RowScan		scan;
	int64		id = 1;
	bool		isnull;

	pointstore_scan_begin(&scan, NULL, INDEX_EVENT_ID, SnapshotAny, &key);
	if (pointstore_scan_next(&scan, BackwardScanDirection))
		id = Max(id, DatumGetInt64(slot_getattr(scan.slot, scan.table->att[EV_ID], &isnull)));
	pointstore_scan_end(&scan);
	return id;
}

/* A statement that writes one account which the caller has locked, or which is missing: as pointstore_begin_change(). */
bool
pointstore_change_account(Account *account)
{
	bool		written;
	RowWriter  *writer = pointstore_begin_change(account, &written);

	pointstore_writer_end(writer);
	return written;
}

/* Sets the locked row of an account to an event that was inserted by hand. */
void
pointstore_follow_event(Account *account, const Account *last)
{
	account->version = last->version;
	account->balance = last->balance;
	account->state = last->state;
	account->updated_at = Max(account->updated_at, last->updated_at);
	(void) pointstore_change_account(account);
}

/*
 * Begins a statement that has written one account, its AFTER triggers yet to fire. Not *written:
 * another session was faster in putting the missing row there; 40001 when that is invisible here.
 */
RowWriter *
pointstore_begin_change(Account *account, bool *written)
{
	PointstoreTableId table = account->pure ? TABLE_PURE_ACCOUNT : TABLE_BALANCE;
	RowWriter  *writer = pointstore_writer_begin(account->id, 1, &table, true);

	*written = pointstore_write_account(writer, account) == ROW_WRITTEN;
	if (!*written && (account->exists || IsolationUsesXactSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("account \"%s\" changed concurrently", pointstore_cstring(account->id))));
	return writer;
}

/*
 * Writes an account as it stands: updates the row that was read, or inserts
 * one. ROW_CONFLICT: it has changed, or come to be, since.
 */
RowOutcome
pointstore_write_account(RowWriter *writer, Account *account)
{
	RowTarget  *target = pointstore_writer_target(writer, account->id, account->pure ? TABLE_PURE_ACCOUNT : TABLE_BALANCE);

	fill_row(target, account);
	return account->exists ? pointstore_row_update(writer, target, &account->row->t_self)
		: pointstore_row_insert(writer, target, KEY_OF(account->pure ? INDEX_PURE_ACCOUNT : INDEX_BALANCE));
}

/* The row to be written: ours from the account, the user's columns from the row read. */
static void
fill_row(RowTarget *target, const Account *account)
{
	TupleTableSlot *slot = target->slot;
	const AttrNumber *att = target->table->att;

	pointstore_row_begin(target, account->exists ? account->row : NULL);
#define SET(column, value, null) \
	(slot->tts_values[att[column] - 1] = (value), slot->tts_isnull[att[column] - 1] = (null))
	if (account->pure)
	{
		SET(PURE_AGGREGATE_ID, PointerGetDatum(account->id), false);
		SET(PURE_KIND, PointerGetDatum(account->kind_name), false);
		SET(PURE_STATUS, CStringGetTextDatum(status_names[account->status]), false);
	}
	else
	{
		SET(BAL_AGGREGATE_ID, PointerGetDatum(account->id), false);
		SET(BAL_KIND, PointerGetDatum(account->kind_name), false);
		SET(BAL_VERSION, Int64GetDatum(account->version), false);
		SET(BAL_BALANCE, Int64GetDatum(account->balance), false);
		SET(BAL_HELD, Int64GetDatum(account->held), false);
		SET(BAL_NEXT_EXPIRY, TimestampTzGetDatum(account->next_expiry), !account->has_expiry);
		SET(BAL_STATUS, CStringGetTextDatum(status_names[account->status]), false);
		SET(BAL_UPDATED_AT, TimestampTzGetDatum(account->updated_at), false);
		SET(BAL_INCOMING, Int64GetDatum(account->incoming), false);
		SET(BAL_STATE, PointerGetDatum(account->state), account->state == NULL);
	}
#undef SET
	ExecStoreVirtualTuple(slot);
}

/* A stored status; what it should not be counts as frozen, so that nothing moves. */
AccountStatus
pointstore_status(text *status)
{
	int			place = pointstore_place(status, status_names, lengthof(status_names));

	return place < 0 ? STATUS_FROZEN : (AccountStatus) place;
}

/* A status as it is stored. */
const char *
pointstore_status_name(AccountStatus status)
{
	return status_names[status];
}
