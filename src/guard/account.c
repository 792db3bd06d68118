/*-------------------------------------------------------------------------
 *
 * src/guard/account.c
 *		The guards of pure_account, account_kind and hold, of whatever is append-only,
 *		and the check of accounts inserted by hand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/kind.h"
#include "account/opening.h"
#include "account/transition.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/refusal.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "guard/account.h"
#include "guard/trigger.h"

PG_FUNCTION_INFO_V1(pointstore_guard_pure_account);
PG_FUNCTION_INFO_V1(pointstore_guard_account_kind);
PG_FUNCTION_INFO_V1(pointstore_guard_hold);
PG_FUNCTION_INFO_V1(pointstore_guard_append_only);

static void open_in_state(const Account *opened, text *state, Snapshot snapshot);
static bool pure_columns_differ(const TriggerData *trigger);
static void refuse_used_kind(text *kind);
static int	hint_instead(const char *table);

/* Trigger of pure_account: AFTER INSERT OR UPDATE. */
Datum
pointstore_guard_pure_account(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pointstore_guarded_trigger(fcinfo, TABLE_PURE_ACCOUNT, AFTER(INSERT) | AFTER(UPDATE));
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	PointstoreScope scope;

	if (pointstore_is_own_row(is_update ? trigger->tg_newtuple : trigger->tg_trigtuple))
		return PointerGetDatum(NULL);
	pointstore_act_as_owner(&scope);
	if (!is_update)
		pointstore_check_new_account(trigger, pointstore_trigger_table(trigger, TABLE_PURE_ACCOUNT)->att, true);
	else if (pure_columns_differ(trigger))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("aggregate_id, kind and status of a pure account are not changed by hand")));
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(NULL);
}

/* Whether an UPDATE changes a column of ours. */
static bool
pure_columns_differ(const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_PURE_ACCOUNT)->att;

	return pointstore_column_differs(trigger, att[PURE_AGGREGATE_ID]) ||
		pointstore_column_differs(trigger, att[PURE_KIND]) || pointstore_column_differs(trigger, att[PURE_STATUS]);
}

/*
 * A row of balance or pure_account inserted by hand: its name, kind, status;
 * no events, no row in the other mode; and, of a balance, within its limits.
 */
void
pointstore_check_new_account(const TriggerData *trigger, const AttrNumber *att, bool pure)
{
	HeapTuple	row = trigger->tg_trigtuple;
	text	   *status = pointstore_known_text_column(row, trigger, att[pure ? PURE_STATUS : BAL_STATUS]);
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		account = {
		.id = pointstore_known_text_column(row, trigger, att[0]), .pure = pure,
		.kind_name = pointstore_known_text_column(row, trigger, att[1])
	};
	ProposedEvent opening = {.aggregate_id = account.id};
	Decision	decision;

	pointstore_check_name("aggregate_id", account.id);
	account.kind = pointstore_require_kind(account.kind_name);
	if (account.kind->pure != pure || VARSIZE_ANY_EXHDR(status) != 4 ||
		pointstore_status(status) != STATUS_OPEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" must be opened with status open, under a %s kind",
						pointstore_cstring(account.id), pure ? "pure" : "hybrid")));
	pointstore_refuse_events(account.id, snapshot);
	account.state = account.kind->initial_state;
	if (!pure)
	{
		opening.amount = pointstore_bigint_column(row, trigger, att[BAL_BALANCE], NULL);
		open_in_state(&account, pointstore_some_state(pointstore_text_column(row, trigger, att[BAL_STATE])), snapshot);
	}
	account.exists = true;
	pointstore_decide(&opening, &decision, &account);
	if (decision.outcome != OUTCOME_APPENDED)
		pointstore_raise(&opening, &decision);
	pointstore_note_opening(&account);
	PopActiveSnapshot();
}

/* The row is in the state that accounts of its kind begin in: left out, that is ours to write; another is 22023. */
static void
open_in_state(const Account *opened, text *state, Snapshot snapshot)
{
	Account		account;

	if (pointstore_same_state(state, opened->state))
		return;
	if (state != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is not opened in state \"%s\"", pointstore_cstring(opened->id), pointstore_cstring(state)),
				 errhint("The state that an account begins in is its kind's initial_state.")));
	pointstore_read_account(&account, opened->id, snapshot, LOCK_BY_HAND);
	account.state = opened->state;
	(void) pointstore_change_account(&account);
	pointstore_release_account(&account);
}

/*
 * Trigger of account_kind: AFTER UPDATE OR DELETE. A used kind keeps its name,
 * mode and unit: PS011. What sessions have read of the kinds is out of date.
 */
Datum
pointstore_guard_account_kind(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pointstore_guarded_trigger(fcinfo, TABLE_ACCOUNT_KIND, AFTER(UPDATE) | AFTER(DELETE));
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_ACCOUNT_KIND)->att;
	PointstoreScope scope;

	CacheInvalidateRelcache(trigger->tg_relation);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) &&
		!pointstore_column_differs(trigger, att[KIND_KIND]) && !pointstore_column_differs(trigger, att[KIND_MODE]) &&
		!pointstore_column_differs(trigger, att[KIND_UNIT]))
		return PointerGetDatum(NULL);
	pointstore_act_as_owner(&scope);
	refuse_used_kind(pointstore_known_text_column(trigger->tg_trigtuple, trigger, att[KIND_KIND]));
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(NULL);
}

/*
 * A backend that opens an account locks the account tables before it reads the kind;
 * the lock taken here waits for all that have, and a snapshot taken after it sees their accounts.
 */
static void
refuse_used_kind(text *kind)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.balance WHERE kind" EQ "$1"
		" UNION ALL SELECT FROM pointstore.pure_account WHERE kind" EQ "$1 LIMIT 1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	int64		hash = POINTSTORE_FIRST_HASH;
	PointstorePlacement *range;

	for (; pointstore_range_from(hash, &range); hash = pointstore_next_hash(range))
	{
		const Oid  *relids = range != NULL ? range->relids : NULL;
		PointstorePlan *here = pointstore_plan_in(&plan, range);
		Datum		value = PointerGetDatum(kind);

		LockRelationOid(relids ? relids[TABLE_BALANCE] : pointstore_store()->shard.table[TABLE_BALANCE].relid, ShareRowExclusiveLock);
		LockRelationOid(relids ? relids[TABLE_PURE_ACCOUNT] : pointstore_store()->shard.table[TABLE_PURE_ACCOUNT].relid, ShareRowExclusiveLock);
		SPI_connect();
		pointstore_prepare(here);
		if (SPI_execute_snapshot(here->plan, &value, NULL, GetLatestSnapshot(), InvalidSnapshot,
								 true, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not look for accounts of a kind");
		if (SPI_processed > 0)
			ereport(ERROR,
					(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
					 errmsg("kind \"%s\" is used", pointstore_cstring(kind)),
					 errhint("A used kind keeps its name, mode and unit and is not deleted.")));
		SPI_finish();
	}
}

/* Trigger of hold: AFTER INSERT OR UPDATE. */
Datum
pointstore_guard_hold(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pointstore_guarded_trigger(fcinfo, TABLE_HOLD, AFTER(INSERT) | AFTER(UPDATE));
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_HOLD)->att;
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	bool		differs = !is_update;
	int			i;

	if (pointstore_is_own_row(is_update ? trigger->tg_newtuple : trigger->tg_trigtuple))
		return PointerGetDatum(NULL);
	for (i = 0; !differs && i < N_HOLD_COLUMNS; i++)
		differs = pointstore_column_differs(trigger, att[i]);
	if (differs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("holds are placed and closed by functions, not by hand")));
	return PointerGetDatum(NULL);
}

/* Trigger BEFORE UPDATE, DELETE or TRUNCATE of a table of the store's schema, which it refuses: PS006. */
Datum
pointstore_guard_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid("pointstore", true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_append_only() serves as a BEFORE UPDATE, DELETE or TRUNCATE trigger of the store")));
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_APPEND_ONLY),
			 errmsg("%s of table \"%s\" is not allowed",
					TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE" :
					TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "DELETE" : "TRUNCATE",
					RelationGetRelationName(trigger->tg_relation)),
			 hint_instead(RelationGetRelationName(trigger->tg_relation))));
}

/* What there is to do instead of deleting, or changing, rows of a table. */
static int
hint_instead(const char *table)
{
	if (strcmp(table, "event_store") == 0)
		return errhint("A wrong event is put right by another one: reverse_event(), or one of your own.");
	if (strcmp(table, "hold") == 0)
		return errhint("cancel_hold() releases what a hold reserves; a hold that is closed stays.");
	if (strcmp(table, "balance") == 0 || strcmp(table, "pure_account") == 0)
		return errhint("close_account() closes an account; its name is not used again.");
	if (strcmp(table, "account_kind") == 0)
		return errhint("DELETE removes a kind that no account is of.");
	return 0;
}
