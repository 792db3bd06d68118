/*-------------------------------------------------------------------------
 *
 * src/account/account.c
 *		Accounts: their rows, the kinds they live under, their status, and the
 *		log of what happened to them without being an event.
 *
 * A hybrid account is a row of pointstore.balance, a pure one a row of
 * pure_account; no name is ever in both. Opening inserts the row and then looks
 * for the name in the other table with a dirty snapshot: of two sessions that
 * open one name in both modes at once, at least one sees the other's row.
 *
 * A change of status or kind locks the row, so that an append of a hybrid
 * account, which updates the same row, comes before it or after it. A pure
 * account's append takes no row lock. It puts its event there and then looks
 * whether the account's row still stands (row.c); the change updates the row and
 * then waits for events that are not committed yet. At least one sees the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/note.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/step.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_open_account);
PG_FUNCTION_INFO_V1(pointstore_close_account);
PG_FUNCTION_INFO_V1(pointstore_freeze_account);
PG_FUNCTION_INFO_V1(pointstore_unfreeze_account);
PG_FUNCTION_INFO_V1(pointstore_set_kind);

static const char *const status_names[] = {"open", "frozen", "closed"};

static List *kinds = NIL;		/* read in this transaction */
static uint64 kinds_generation = 0; /* of which they are */

static void change_status(FunctionCallInfo fcinfo, AccountStatus status, const char *action);
static void set_status(text *id, AccountStatus status, const char *action, text *reason);
static void refuse_status_change(const Account *account, AccountStatus status);
static void refuse_kind_change(const Account *account, const Kind *kind);
static void require_account(Account *account, text *id, Snapshot snapshot);
static void await_appends(Account *account, Snapshot snapshot);
static void settle_by_hand(Account *account);
static bool read_balance_row(Account *account, Snapshot snapshot, AccountLock lock);
static bool read_pure_row(Account *account, Snapshot snapshot, AccountLock lock);
static text *known_text(TupleTableSlot *row, AttrNumber att);
static bool is_being_changed(Account *account, TupleTableSlot *row);
static bool find_row(Account *account, PointstoreIndexId index, RowScan *scan, Snapshot snapshot, AccountLock lock);
static bool is_contended(const Account *account);
static bool is_being_inserted(PointstoreIndexId index, text *aggregate_id);
static Kind *find_kind(text *name);
static bool write_apart(Account *account, bool opening);
static RowWriter *begin_change(Account *account, bool *written);
static void log_opening(const Account *account);
static void fill_row(RowTarget *target, const Account *account);
static void log_side(Datum *values, char *nulls, const Account *account);

/* open_account(aggregate_id, kind): opens an account, see the install script. */
Datum
pointstore_open_account(PG_FUNCTION_ARGS)
{
	text	   *id;
	text	   *kind_name;
	PointstoreScope scope;
	bool		done = false;

	pointstore_check_arguments(fcinfo, 2);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	kind_name = pointstore_name(fcinfo, 1, "kind");
	PreventCommandIfReadOnly("open_account()");
	pointstore_act_as_owner(&scope);
	while (!done)
	{
		Snapshot	snapshot = pointstore_push_snapshot();
		Account		account;

		pointstore_read_account(&account, id, snapshot, LOCK_NOTHING);
		if (account.exists)
		{
			if (account.status == STATUS_CLOSED)
				ereport(ERROR,
						(errcode(ERRCODE_POINTSTORE_ACCOUNT_CLOSED),
						 errmsg("account \"%s\" is closed", pointstore_cstring(id)),
						 pointstore_detail_account(id)));
			if (!pointstore_same_text(account.kind_name, kind_name))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("account \"%s\" is open under kind \"%s\", not \"%s\"", pointstore_cstring(id),
								pointstore_cstring(account.kind_name), pointstore_cstring(kind_name)),
						 errhint("set_kind() changes the kind of an account.")));
			done = true;
		}
		else
		{
			const Kind *kind = pointstore_require_kind(kind_name);

			if (!kind->auto_open)
				pointstore_require_operator(scope.user, "open accounts of a kind without auto_open");
			pointstore_refuse_damaged(id, snapshot);
			done = pointstore_open_row(id, kind, InvalidOid);
		}
		pointstore_release_account(&account);
		PopActiveSnapshot();
	}
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* close_account(aggregate_id, reason) */
Datum
pointstore_close_account(PG_FUNCTION_ARGS)
{
	change_status(fcinfo, STATUS_CLOSED, "close");
	PG_RETURN_VOID();
}

/* freeze_account(aggregate_id, reason) */
Datum
pointstore_freeze_account(PG_FUNCTION_ARGS)
{
	change_status(fcinfo, STATUS_FROZEN, "freeze");
	PG_RETURN_VOID();
}

/* unfreeze_account(aggregate_id, reason) */
Datum
pointstore_unfreeze_account(PG_FUNCTION_ARGS)
{
	change_status(fcinfo, STATUS_OPEN, "unfreeze");
	PG_RETURN_VOID();
}

/* Puts an account in a status and logs it; of one that has it already nothing, but that a freeze's reason is kept. */
static void
change_status(FunctionCallInfo fcinfo, AccountStatus status, const char *action)
{
	text	   *id;
	text	   *reason;
	PointstoreScope scope;

	pointstore_check_arguments(fcinfo, 2);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	reason = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	if (reason == NULL && status != STATUS_CLOSED)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reason must not be null")));
	if (status != STATUS_CLOSED && VARSIZE_ANY_EXHDR(reason) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must not be empty")));
	PreventCommandIfReadOnly(psprintf("%s_account()", action));
	pointstore_act_as_owner(&scope);
	set_status(id, status, action, reason);
	pointstore_act_as_caller(&scope);
}

static void
set_status(text *id, AccountStatus status, const char *action, text *reason)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		before;

	require_account(&before, id, snapshot);
	if (before.status != status)
	{
		Account		after = before;
		RowWriter  *writer;
		bool		written;

		if (!before.pure)		/* that is judged when the appends under way have ended */
			refuse_status_change(&before, status);
		after.status = status;
		after.updated_at = Max(GetCurrentTimestamp(), before.updated_at);
		writer = begin_change(&after, &written);
		await_appends(&before, snapshot);
		refuse_status_change(&before, status);
		after.version = before.version;
		after.balance = before.balance;
		pointstore_log(action, reason, &before, &after);
		pointstore_writer_end(writer);	/* its AFTER triggers may change the account in turn */
	}
	else if (status == STATUS_FROZEN)
		pointstore_log(action, reason, &before, &before);
	pointstore_release_account(&before);
	PopActiveSnapshot();
}

/* Freezes an account for a reason of ours; the caller acts as the owner and knows that it is open. */
void
pointstore_freeze(text *id, text *reason)
{
	set_status(id, STATUS_FROZEN, "freeze", reason);
}

/* Closed is for good; a frozen account is not closed, nor one that holds something. */
static void
refuse_status_change(const Account *account, AccountStatus status)
{
	char	   *id = pointstore_cstring(account->id);

	if (account->status == STATUS_CLOSED)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_CLOSED),
				 errmsg("account \"%s\" is closed", id),
				 pointstore_detail_account(account->id)));
	if (status != STATUS_CLOSED)
		return;
	if (account->status == STATUS_FROZEN)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_FROZEN),
				 errmsg("account \"%s\" is frozen", id),
				 pointstore_detail_account(account->id),
				 errhint("unfreeze_account() comes first.")));
	if (account->balance != 0 || account->held != 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" cannot be closed: balance %lld, held %lld", id,
						(long long) account->balance, (long long) account->held),
				 pointstore_detail_figures(account->id, "balance", account->balance, "held", account->held),
				 errhint("Only an account that holds nothing is closed.")));
}

/* set_kind(aggregate_id, kind, reason) */
Datum
pointstore_set_kind(PG_FUNCTION_ARGS)
{
	text	   *id;
	text	   *kind_name;
	text	   *reason;
	PointstoreScope scope;
	Snapshot	snapshot;
	Account		before;

	pointstore_check_arguments(fcinfo, 3);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	kind_name = pointstore_name(fcinfo, 1, "kind");
	reason = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	PreventCommandIfReadOnly("set_kind()");
	pointstore_act_as_owner(&scope);
	snapshot = pointstore_push_snapshot();
	require_account(&before, id, snapshot);
	if (!pointstore_same_text(before.kind_name, kind_name))
	{
		const Kind *kind = pointstore_require_kind(kind_name);
		Account		after = before;
		RowWriter  *writer;
		bool		written;

		refuse_kind_change(&before, kind);
		after.kind_name = kind_name;
		after.updated_at = Max(GetCurrentTimestamp(), before.updated_at);
		writer = begin_change(&after, &written);
		await_appends(&before, snapshot);
		refuse_kind_change(&before, kind);
		after.version = before.version;
		after.balance = before.balance;
		pointstore_log("set_kind", reason, &before, &after);
		pointstore_writer_end(writer);	/* its AFTER triggers may change the account in turn */
	}
	pointstore_release_account(&before);
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

static void
refuse_kind_change(const Account *account, const Kind *kind)
{
	char	   *id = pointstore_cstring(account->id);

	if (account->status == STATUS_CLOSED)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_CLOSED),
				 errmsg("account \"%s\" is closed", id),
				 pointstore_detail_account(account->id)));
	if (kind->pure != account->pure)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" is %s, kind \"%s\" is %s", id, account->pure ? "pure" : "hybrid",
						pointstore_cstring(kind->name), kind->pure ? "pure" : "hybrid"),
				 pointstore_detail_account(account->id)));
	if (account->version > 0 && account->kind != NULL && !pointstore_same_text(account->kind->unit, kind->unit))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" counts \"%s\", kind \"%s\" counts \"%s\"", id,
						pointstore_cstring(account->kind->unit), pointstore_cstring(kind->name),
						pointstore_cstring(kind->unit)),
				 pointstore_detail_account(account->id),
				 errhint("An account with events keeps its unit.")));
}

/* Reads an account under its row lock; PS008 when it is not there. */
static void
require_account(Account *account, text *id, Snapshot snapshot)
{
	pointstore_read_account(account, id, snapshot, LOCK_ACCOUNT);
	if (!account->exists)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id)),
				 pointstore_detail_account(id)));
}

/*
 * After the row of a pure account was changed: waits for events of it that are not
 * committed yet, and brings version and balance to what it then has. None can
 * come after them (row.c). 40001 where what has come is not to be seen here.
 */
static void
await_appends(Account *account, Snapshot snapshot)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	bool		found;
	bool		isnull;

	if (!account->pure)
		return;
	InitDirtySnapshot(dirty);
	pointstore_key_text(&key, account->id);
	do
	{
		pointstore_scan_begin(&scan, INDEX_EVENT, &dirty, &key);
		found = pointstore_scan_next(&scan, BackwardScanDirection);
	} while (found && pointstore_scan_waits(&scan, &dirty));
	if (found && IsolationUsesXactSnapshot() && !table_tuple_satisfies_snapshot(scan.heap, scan.slot, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("account \"%s\" changed concurrently", pointstore_cstring(account->id))));
	if (found)
	{
		account->version = DatumGetInt64(slot_getattr(scan.slot, att[EV_VERSION], &isnull));
		account->balance = DatumGetInt64(slot_getattr(scan.slot, att[EV_BALANCE_AFTER], &isnull));
	}
	pointstore_scan_end(&scan);
}

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
			 read_pure_row(account, snapshot, lock == LOCK_BALANCE ? LOCK_NOTHING : lock))
	{
		account->exists = account->pure = true;
		(void) pointstore_last_event(account, snapshot);
	}
	if (account->exists)
		account->kind = pointstore_read_kind(account->kind_name);
	if (lock != LOCK_NOTHING && lock != LOCK_BY_HAND && account->exists && !account->pure && pointstore_has_notes())
		settle_by_hand(account);
	if (lock == LOCK_ACCOUNT)
		pointstore_refuse_waiting(account);
	if (lock == LOCK_IF_FREE && !account->busy)
		account->busy = is_contended(account);
}

/* PS010 where a change by hand waits for its other half. */
void
pointstore_refuse_waiting(const Account *account)
{
	if (account->waits)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("account \"%s\" was changed by hand in this transaction and waits for the other half of it",
						pointstore_cstring(account->id)),
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

/* Sets the locked row of an account to an event that was inserted by hand. */
void
pointstore_follow_event(Account *account, const Account *last)
{
	account->version = last->version;
	account->balance = last->balance;
	account->updated_at = Max(account->updated_at, last->updated_at);
	(void) pointstore_change_account(account);
}

static bool
read_balance_row(Account *account, Snapshot snapshot, AccountLock lock)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_BALANCE].att;
	TupleTableSlot *row;
	RowScan		scan;
	bool		isnull;

	if (!find_row(account, INDEX_BALANCE, &scan, snapshot, lock))
		return false;
	row = scan.slot;
	account->kind_name = known_text(row, att[BAL_KIND]);
	account->version = DatumGetInt64(slot_getattr(row, att[BAL_VERSION], &isnull));
	account->balance = DatumGetInt64(slot_getattr(row, att[BAL_BALANCE], &isnull));
	account->held = DatumGetInt64(slot_getattr(row, att[BAL_HELD], &isnull));
	account->next_expiry = DatumGetTimestampTz(slot_getattr(row, att[BAL_NEXT_EXPIRY], &isnull));
	account->has_expiry = !isnull;
	account->status = pointstore_status(known_text(row, att[BAL_STATUS]));
	account->updated_at = DatumGetTimestampTz(slot_getattr(row, att[BAL_UPDATED_AT], &isnull));
	pointstore_scan_end(&scan);
	return true;
}

static bool
read_pure_row(Account *account, Snapshot snapshot, AccountLock lock)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_PURE_ACCOUNT].att;
	RowScan		scan;

	if (!find_row(account, INDEX_PURE_ACCOUNT, &scan, snapshot, lock))
		return false;
	account->kind_name = known_text(scan.slot, att[PURE_KIND]);
	account->status = pointstore_status(known_text(scan.slot, att[PURE_STATUS]));
	pointstore_scan_end(&scan);
	return true;
}

/* A copy, of a column without nulls: whatever became of that, nothing is read from one. */
static text *
known_text(TupleTableSlot *row, AttrNumber att)
{
	bool		isnull;
	Datum		value = slot_getattr(row, att, &isnull);

	return isnull ? cstring_to_text("") : DatumGetTextPCopy(value);
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
	pointstore_scan_begin(scan, index, snapshot, &key);
	found = pointstore_scan_next(scan, ForwardScanDirection);
	if (found && index == INDEX_PURE_ACCOUNT && lock == LOCK_BY_HAND)
		found = pointstore_share_row(scan->heap, scan->slot, snapshot);
	else if (found && index == INDEX_PURE_ACCOUNT && lock == LOCK_IF_FREE)
		found = !is_being_changed(account, scan->slot);
	else if (found && lock != LOCK_NOTHING)
		found = pointstore_lock_row(scan->heap, scan->slot, snapshot, lock == LOCK_IF_FREE ? &account->busy : NULL);
	if (found)
		account->row = ExecCopySlotHeapTuple(scan->slot);
	else
		pointstore_scan_end(scan);
	return found;
}

/* Whether another is about to change the row of a pure account, which then is busy. */
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
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	bool		running;

	InitDirtySnapshot(dirty);
	pointstore_key_text(&key, aggregate_id);
	pointstore_scan_begin(&scan, index, &dirty, &key);
	running = pointstore_scan_next(&scan, BackwardScanDirection) && TransactionIdIsValid(dirty.xmin);
	pointstore_scan_end(&scan);
	return running;
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
 * The account's version and balance, the time and the id, by its last event; false
 * when it has none. One probe of the primary key.
 */
bool
pointstore_last_event(Account *account, Snapshot snapshot)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	RowKey		key = {0};
	RowScan		scan;
	bool		found;
	bool		isnull;

	pointstore_key_text(&key, account->id);
	pointstore_scan_begin(&scan, INDEX_EVENT, snapshot, &key);
	found = pointstore_scan_next(&scan, BackwardScanDirection);
	if (found)
	{
		account->version = DatumGetInt64(slot_getattr(scan.slot, att[EV_VERSION], &isnull));
		account->balance = DatumGetInt64(slot_getattr(scan.slot, att[EV_BALANCE_AFTER], &isnull));
		account->updated_at = DatumGetTimestampTz(slot_getattr(scan.slot, att[EV_CREATED_AT], &isnull));
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
	AttrNumber	att = pointstore_store()->table[TABLE_EVENT_STORE].att[EV_ID];
	RowKey		key = {0};
	RowScan		scan;
	int64		id = 1;
	bool		isnull;

	pointstore_scan_begin(&scan, INDEX_EVENT_ID, SnapshotAny, &key);
	if (pointstore_scan_next(&scan, BackwardScanDirection))
		id = Max(id, DatumGetInt64(slot_getattr(scan.slot, att, &isnull)));
	pointstore_scan_end(&scan);
	return id;
}

/*
 * The kind of that name as it is now, whatever the transaction's snapshot, or
 * NULL. What was read is kept until the transaction ends, a savepoint is rolled
 * back or a kind changes (guard.c). The caller has read the account before: that
 * has locked the account tables, which a change of the kind's name or mode waits for.
 */
const Kind *
pointstore_read_kind(text *name)
{
	ListCell   *cell;
	Kind	   *kind;

	if (kinds_generation != pointstore_kinds_generation())
		pointstore_forget_kinds();
	kinds_generation = pointstore_kinds_generation();
	foreach(cell, kinds)
		if (pointstore_same_text(((const Kind *) lfirst(cell))->name, name))
			return lfirst(cell);
	kind = find_kind(name);
	if (kind != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		kinds = lappend(kinds, kind);
		MemoryContextSwitchTo(old);
	}
	return kind;
}

/* Their memory is the transaction's. */
void
pointstore_forget_kinds(void)
{
	kinds = NIL;
}

/* The kind as stored, in the transaction's memory. */
static Kind *
find_kind(text *name)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	const AttrNumber *att = pointstore_store()->table[TABLE_ACCOUNT_KIND].att;
	RowKey		key = {0};
	RowScan		scan;
	Kind	   *kind = NULL;

	pointstore_key_text(&key, name);
	pointstore_scan_begin(&scan, INDEX_ACCOUNT_KIND, snapshot, &key);
	if (pointstore_scan_next(&scan, ForwardScanDirection))
	{
		bool		isnull;
		text	   *mode = known_text(scan.slot, att[KIND_MODE]);
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		kind = palloc0(sizeof(Kind));
		kind->name = DatumGetTextPCopy(slot_getattr(scan.slot, att[KIND_KIND], &isnull));
		kind->unit = DatumGetTextPCopy(PointerGetDatum(known_text(scan.slot, att[KIND_UNIT])));
		kind->pure = VARSIZE_ANY_EXHDR(mode) == 4;	/* pure, else hybrid */
		kind->auto_open = DatumGetBool(slot_getattr(scan.slot, att[KIND_AUTO_OPEN], &isnull));
		kind->amount_required = DatumGetBool(slot_getattr(scan.slot, att[KIND_AMOUNT_REQUIRED], &isnull));
		kind->floor = DatumGetInt64(slot_getattr(scan.slot, att[KIND_MIN_BALANCE], &isnull));
		kind->has_floor = !isnull;
		kind->ceiling = DatumGetInt64(slot_getattr(scan.slot, att[KIND_MAX_BALANCE], &isnull));
		kind->has_ceiling = !isnull;
		MemoryContextSwitchTo(old);
	}
	pointstore_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return kind;
}

/* The kind of that name; 22023 when there is none. */
const Kind *
pointstore_require_kind(text *name)
{
	const Kind *kind = pointstore_read_kind(name);

	if (kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no kind \"%s\"", pointstore_cstring(name)),
				 errhint("The kinds are the rows of pointstore.account_kind.")));
	return kind;
}

/*
 * Writes an account as it stands: updates the row that was read, or inserts
 * one. ROW_CONFLICT: it has changed, or come to be, since.
 */
RowOutcome
pointstore_write_account(RowWriter *writer, Account *account)
{
	RowTarget  *target = pointstore_writer_target(writer, account->pure ? TABLE_PURE_ACCOUNT : TABLE_BALANCE);

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
	}
#undef SET
	ExecStoreVirtualTuple(slot);
}

/* A statement that writes one account which the caller has locked, or which is missing: as write_apart(). */
bool
pointstore_change_account(Account *account)
{
	return write_apart(account, false);
}

/*
 * A statement that writes one account. An opening is logged before its AFTER triggers fire, which may
 * change the account in turn. False: another session was faster in putting the missing row there;
 * 40001 when that is invisible here.
 */
static bool
write_apart(Account *account, bool opening)
{
	bool		written;
	RowWriter  *writer = begin_change(account, &written);

	if (written && opening)
		log_opening(account);
	pointstore_writer_end(writer);
	return written;
}

/* Begins a statement that has written one account, its AFTER triggers yet to fire: as write_apart(). */
static RowWriter *
begin_change(Account *account, bool *written)
{
	PointstoreTableId table = account->pure ? TABLE_PURE_ACCOUNT : TABLE_BALANCE;
	RowWriter  *writer = pointstore_writer_begin(1, &table, true);

	*written = pointstore_write_account(writer, account) == ROW_WRITTEN;
	if (!*written && (account->exists || IsolationUsesXactSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("account \"%s\" changed concurrently", pointstore_cstring(account->id))));
	return writer;
}

/* After the row of a new account is in: nobody may have opened it in the other mode; and it is logged. */
void
pointstore_note_opening(const Account *account)
{
	pointstore_refuse_other_mode(account->id, account->pure);
	log_opening(account);
}

/*
 * Opens an account that was not there: inserts its empty row and logs it, in the
 * name of that role (InvalidOid: the session's).
 * False when another session was faster; 40001 when that is invisible here.
 */
bool
pointstore_open_row(text *id, const Kind *kind, Oid role)
{
	Account		account = {
		.id = id, .kind = kind, .kind_name = kind->name, .pure = kind->pure,
		.opened_by = role, .updated_at = GetCurrentTimestamp()
	};

	if (!write_apart(&account, true))
		return false;
	pointstore_refuse_other_mode(id, kind->pure);
	return true;
}

/* Events that are there before their account's row are damage, not a new account: XX001. */
void
pointstore_refuse_events(text *id, Snapshot snapshot)
{
	Account		last = {.id = id};

	if (pointstore_last_event(&last, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("account \"%s\" has %lld events and no row", pointstore_cstring(id),
						(long long) last.version),
				 errhint("SELECT * FROM pointstore.rebuild_balance('%s'); puts the row back.",
						 pointstore_cstring(id))));
}

/*
 * The same of an account that was found missing. Row and events are looked for in one
 * snapshot: somebody may have opened the account since.
 */
void
pointstore_refuse_damaged(text *id, Snapshot snapshot)
{
	Account		account;

	pointstore_read_account(&account, id, snapshot, LOCK_NOTHING);
	if (!account.exists)
		pointstore_refuse_events(id, snapshot);
	pointstore_release_account(&account);
}

/* After the row of a new account is in: nobody may have opened it in the other mode. */
void
pointstore_refuse_other_mode(text *id, bool pure)
{
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	bool		found;

	InitDirtySnapshot(dirty);
	pointstore_key_text(&key, id);
	do
	{
		pointstore_scan_begin(&scan, pure ? INDEX_BALANCE : INDEX_PURE_ACCOUNT, &dirty, &key);
		found = pointstore_scan_next(&scan, ForwardScanDirection);
	} while (found && pointstore_scan_waits(&scan, &dirty));
	pointstore_scan_end(&scan);
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("account \"%s\" was opened concurrently under a %s kind",
						pointstore_cstring(id), pure ? "hybrid" : "pure")));
}

/* An opening, whatever the account has come to hold in the same statement. */
static void
log_opening(const Account *account)
{
	Account		opened = *account;

	opened.version = opened.balance = opened.held = 0;
	pointstore_log("open", NULL, NULL, &opened);
}

/* A row of account_log; before or after may be null, or an account that is not there. */
void
pointstore_log(const char *action, text *reason, const Account *before, const Account *after)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.account_log (aggregate_id, action, reason, by_role, before, after)"
		" VALUES ($1, $2, $3, $4,"
		" CASE WHEN $5 IS NOT NULL THEN pg_catalog.jsonb_build_object('kind', $5, 'status', $6,"
		" 'version', $7, 'balance', $8, 'held', $9, 'unit', $10) END,"
		" CASE WHEN $11 IS NOT NULL THEN pg_catalog.jsonb_build_object('kind', $11, 'status', $12,"
		" 'version', $13, 'balance', $14, 'held', $15, 'unit', $16) END)",
		.nargs = 16,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID,
		TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID}
	};
	PointstoreScope scope;
	Oid			role = GetOuterUserId();
	Datum		values[16];
	char		nulls[17] = "                ";

	values[0] = PointerGetDatum(after != NULL ? after->id : before->id);
	values[1] = CStringGetTextDatum(action);
	values[2] = PointerGetDatum(reason);
	nulls[2] = reason == NULL ? 'n' : ' ';
	if (after != NULL && OidIsValid(after->opened_by))
		role = after->opened_by;
	values[3] = CStringGetTextDatum(pointstore_role_name(role));
	log_side(&values[4], &nulls[4], before);
	log_side(&values[10], &nulls[10], after);
	pointstore_act_as_owner(&scope);
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

static void
log_side(Datum *values, char *nulls, const Account *account)
{
	const Kind *kind;

	if (account == NULL || account->kind_name == NULL)
	{
		memset(values, 0, 6 * sizeof(Datum));
		memset(nulls, 'n', 6);
		return;
	}
	kind = pointstore_read_kind(account->kind_name);
	values[0] = PointerGetDatum(account->kind_name);
	values[1] = CStringGetTextDatum(status_names[account->status]);
	values[2] = Int64GetDatum(account->version);
	values[3] = Int64GetDatum(account->balance);
	values[4] = Int64GetDatum(account->held);
	values[5] = kind ? PointerGetDatum(kind->unit) : (Datum) 0;
	nulls[5] = kind ? ' ' : 'n';
}

/* A stored status; what it should not be counts as frozen, so that nothing moves. */
AccountStatus
pointstore_status(text *status)
{
	int			place = pointstore_place(status, status_names, lengthof(status_names));

	return place < 0 ? STATUS_FROZEN : (AccountStatus) place;
}
