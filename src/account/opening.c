/*-------------------------------------------------------------------------
 *
 * src/account/opening.c
 *		How an account comes to be: open_account(), and the first event's account.
 *
 * A name is never in both balance and pure_account. Opening inserts the row and then
 * looks for the name in the other table with a dirty snapshot: of two sessions that
 * open one name in both modes at once, at least one sees the other's row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/kind.h"
#include "account/log.h"
#include "account/opening.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_open_account);

static void refuse_other_state(const Account *account, text *kind_name);
static bool open_missing(text *id, text *kind_name, Oid role, Snapshot snapshot);
static void log_opening(const Account *account);

/* open_account(aggregate_id, kind): see the install script. */
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
			refuse_other_state(&account, kind_name);
		done = account.exists || open_missing(id, kind_name, scope.user, snapshot);
		pointstore_release_account(&account);
		PopActiveSnapshot();
	}
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* An account that is there already is not closed, and of that kind: PS005, 22023. */
static void
refuse_other_state(const Account *account, text *kind_name)
{
	if (account->status == STATUS_CLOSED)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_CLOSED),
				 errmsg("account \"%s\" is closed", pointstore_cstring(account->id)),
				 pointstore_detail_account(account->id)));
	if (!pointstore_same_text(account->kind_name, kind_name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is open under kind \"%s\", not \"%s\"", pointstore_cstring(account->id),
						pointstore_cstring(account->kind_name), pointstore_cstring(kind_name)),
				 errhint("set_kind() changes the kind of an account.")));
}

/* Opens an account that was found missing, if that role may; false when another session was faster. */
static bool
open_missing(text *id, text *kind_name, Oid role, Snapshot snapshot)
{
	const Kind *kind = pointstore_require_kind(kind_name);

	if (!kind->auto_open)
		pointstore_require_operator(role, "open accounts of a kind without auto_open");
	pointstore_refuse_damaged(id, snapshot);
	return pointstore_open_row(id, kind, InvalidOid);
}

/*
 * Opens an account that was not there: inserts its empty row and logs it, in the
 * name of that role (InvalidOid: the session's), before the AFTER triggers of the row
 * fire, which may change the account in turn.
 * False when another session was faster; 40001 when that is invisible here.
 */
bool
pointstore_open_row(text *id, const Kind *kind, Oid role)
{
	Account		account = {
		.id = id, .kind = kind, .kind_name = kind->name, .pure = kind->pure, .state = kind->initial_state,
		.opened_by = role, .updated_at = GetCurrentTimestamp()
	};
	bool		written;
	RowWriter  *writer = pointstore_begin_change(&account, &written);

	if (written)
		log_opening(&account);
	pointstore_writer_end(writer);
	if (!written)
		return false;
	pointstore_refuse_other_mode(id, kind->pure);
	return true;
}

/* After the row of a new account was inserted: as pointstore_refuse_other_mode(), and the opening is logged. */
void
pointstore_note_opening(const Account *account)
{
	pointstore_refuse_other_mode(account->id, account->pure);
	log_opening(account);
}

/* Logs an opening, whatever the account has come to hold, and to be, in the same statement. */
static void
log_opening(const Account *account)
{
	Account		opened = *account;

	opened.version = opened.balance = opened.held = opened.incoming = 0;
	opened.state = account->kind->initial_state;
	pointstore_log("open", NULL, NULL, &opened);
}

/* After the row of a new account was inserted: 40001 where another session has opened it in the other mode. */
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
		pointstore_scan_begin(&scan, id, pure ? INDEX_BALANCE : INDEX_PURE_ACCOUNT, &dirty, &key);
		found = pointstore_scan_next(&scan, ForwardScanDirection);
	} while (found && pointstore_scan_waits(&scan, &dirty));
	pointstore_scan_end(&scan);
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("account \"%s\" was opened concurrently under a %s kind",
						pointstore_cstring(id), pure ? "hybrid" : "pure")));
}

/* Events that are there before their account's row are damage, not a new account: XX001. */
void
pointstore_refuse_events(text *id, Snapshot snapshot)
{
	Account		last = {.id = id};

	if (pointstore_last_event(&last, snapshot))
		pointstore_raise_stray_events(id, last.version);
}

/* XX001 */
void
pointstore_raise_stray_events(text *id, int64 version)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("account \"%s\" has %lld events and no row", pointstore_cstring(id), (long long) version),
			 errhint("SELECT * FROM pointstore.rebuild_balance('%s'); puts the row back.",
					 pointstore_cstring(id))));
}

/* The same as pointstore_refuse_events() of an account that was found missing. */
void
pointstore_refuse_damaged(text *id, Snapshot snapshot)
{
	Account		account = {.id = id};

	pointstore_find_stray_events(&account, snapshot);
	if (account.has_stray_events)
		pointstore_raise_stray_events(id, account.stray_version);
}

/*
 * Whether an account that was found missing has events. Row and events are looked for in one
 * snapshot: another session may have opened the account since.
 */
void
pointstore_find_stray_events(Account *account, Snapshot snapshot)
{
	Account		now;
	Account		last = {.id = account->id};

	pointstore_read_account(&now, account->id, snapshot, LOCK_NOTHING);
	account->has_stray_events = !now.exists && pointstore_last_event(&last, snapshot);
	account->stray_version = last.version;
	pointstore_release_account(&now);
}
