/*-------------------------------------------------------------------------
 *
 * src/account/status.c
 *		Changes of an account's status or kind: close_account(), freeze_account(),
 *		unfreeze_account(), set_kind().
 *
 * A change of status or kind locks the row, so that an append of a hybrid
 * account, which updates the same row, comes before it or after it. A pure
 * account's append takes no row lock. It puts its event there and then looks
 * whether the account's row still stands (ground/row.c); the change updates the row and
 * then waits for events that are not committed yet. At least one sees the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/kind.h"
#include "account/log.h"
#include "account/reserved.h"
#include "account/status.h"
#include "account/transition.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_close_account);
PG_FUNCTION_INFO_V1(pointstore_freeze_account);
PG_FUNCTION_INFO_V1(pointstore_unfreeze_account);
PG_FUNCTION_INFO_V1(pointstore_set_kind);

/* The state that an account is to be put in; not given: the one it is in. */
typedef struct NewState
{
	bool		given;
	text	   *state;			/* null: none */
} NewState;

static void change_status(FunctionCallInfo fcinfo, AccountStatus status, const char *action);
static void set_status(text *id, AccountStatus status, const char *action, text *reason);
static void refuse_status_change(const Account *account, AccountStatus status);
static void change_kind(text *id, text *kind_name, text *reason, const NewState *state);
static text *state_under(const Account *account, const Kind *kind, const NewState *state);
pg_noreturn static void refuse_state(const Account *account, const Kind *kind, const NewState *state);
static void refuse_kind_change(const Account *account, const Kind *kind);
static void require_account(Account *account, text *id, Snapshot snapshot);
static void await_appends(Account *account, Snapshot snapshot);

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

/* Reads and checks the arguments of these functions, and puts the account in that status. */
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

/* Puts an account in a status and logs it; of one that has it already nothing, but that a freeze's reason is kept. */
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
		writer = pointstore_begin_change(&after, &written);
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
	int64		steps;

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
	steps = account->pure ? 0 : pointstore_open_steps(account->id);
	if (account->incoming != 0 || steps > 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" cannot be closed: steps of movements on it that have not ended: %lld", id, (long long) steps),
				 pointstore_detail_figures(account->id, "incoming", account->incoming, "steps", steps),
				 errhint("pointstore.participant_step has the steps.")));
	if (account->balance != 0 || account->held != 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" cannot be closed: balance %lld, held %lld", id,
						(long long) account->balance, (long long) account->held),
				 pointstore_detail_figures(account->id, "balance", account->balance, "held", account->held),
				 errhint("Only an account that holds nothing is closed.")));
}

/* set_kind(aggregate_id, kind, reason, new_state) */
Datum
pointstore_set_kind(PG_FUNCTION_ARGS)
{
	text	   *id;
	text	   *kind_name;
	text	   *reason;
	NewState	state = {0};
	PointstoreScope scope;

	pointstore_check_arguments(fcinfo, 4);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	kind_name = pointstore_name(fcinfo, 1, "kind");
	reason = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	state.given = !PG_ARGISNULL(3);
	if (state.given)
		state.state = pointstore_some_state(PG_GETARG_TEXT_PP(3));
	PreventCommandIfReadOnly("set_kind()");
	pointstore_act_as_owner(&scope);
	change_kind(id, kind_name, reason, &state);
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* Puts an account under a kind, and in a state, and logs it; of one that is there already nothing. */
static void
change_kind(text *id, text *kind_name, text *reason, const NewState *state)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		before;

	require_account(&before, id, snapshot);
	if (!pointstore_same_text(before.kind_name, kind_name) || (state->given && !pointstore_same_state(before.state, state->state)))
	{
		const Kind *kind = pointstore_require_kind(kind_name);
		Account		after = before;
		RowWriter  *writer;
		bool		written;

		refuse_kind_change(&before, kind);
		if (!before.pure)		/* that is known when the appends under way have ended */
			after.state = state_under(&before, kind, state);
		after.kind_name = kind_name;
		after.updated_at = Max(GetCurrentTimestamp(), before.updated_at);
		writer = pointstore_begin_change(&after, &written);
		await_appends(&before, snapshot);
		refuse_kind_change(&before, kind);
		after.version = before.version;
		after.balance = before.balance;
		after.state = state_under(&before, kind, state);
		pointstore_log("set_kind", reason, &before, &after);
		pointstore_writer_end(writer);	/* its AFTER triggers may change the account in turn */
	}
	pointstore_release_account(&before);
	PopActiveSnapshot();
}

/*
 * The state of an account that comes under a kind: none, where that has no states; as asked for; the one it is in, where
 * the kind knows that; and of one without events the kind's initial_state. Else PS011, or 22023 of a state that is asked for.
 */
static text *
state_under(const Account *account, const Kind *kind, const NewState *state)
{
	text	   *wanted = state->given ? state->state : pointstore_has_states(kind) ? account->state : NULL;

	if (pointstore_is_state_of(kind, wanted))
		return wanted;
	if (!state->given && account->version == 0)
		return kind->initial_state;
	refuse_state(account, kind, state);
}

static void
refuse_state(const Account *account, const Kind *kind, const NewState *state)
{
	char	   *id = pointstore_cstring(account->id);
	char	   *name = pointstore_cstring(kind->name);

	if (state->given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind \"%s\" has no state \"%s\"", name, state->state ? pointstore_cstring(state->state) : ""),
				 errhint("Its states are its initial_state and those in its rows of pointstore.transition.")));
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 errmsg("account \"%s\" is in state \"%s\", which kind \"%s\" does not know", id,
					account->state ? pointstore_cstring(account->state) : "", name),
			 pointstore_detail_account(account->id),
			 errhint("set_kind(..., new_state => ...) says in which state it is to be.")));
}

/* A closed account keeps its kind; a new one is of the same mode and, of an account with events, of the same unit. */
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
 * committed yet, and brings version, balance and state to what it then has. None can
 * come after them (ground/row.c). 40001 where what has come is not to be seen here.
 */
static void
await_appends(Account *account, Snapshot snapshot)
{
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
		pointstore_scan_begin(&scan, account->id, INDEX_EVENT, &dirty, &key);
		found = pointstore_scan_next(&scan, BackwardScanDirection);
	} while (found && pointstore_scan_waits(&scan, &dirty));
	if (found && IsolationUsesXactSnapshot() && !table_tuple_satisfies_snapshot(scan.heap, scan.slot, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("account \"%s\" changed concurrently", pointstore_cstring(account->id))));
	if (found)
	{
		int64		version = account->version;

		account->version = DatumGetInt64(slot_getattr(scan.slot, scan.table->att[EV_VERSION], &isnull));
		if (account->version != version)
			account->state = pointstore_slot_state(scan.slot, scan.table->att[EV_STATE_AFTER]);
		account->balance = DatumGetInt64(slot_getattr(scan.slot, scan.table->att[EV_BALANCE_AFTER], &isnull));
	}
	pointstore_scan_end(&scan);
}
