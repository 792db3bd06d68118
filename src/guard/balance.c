/*-------------------------------------------------------------------------
 *
 * src/guard/balance.c
 *		The guard of balance: rows inserted and updated by hand.
 *
 * A balance changed by hand is checked after it is stored; its event may have been
 * inserted before or may come until the commit (account/pair.c). All guards are row
 * triggers, so that they also fire for a change through an inheritance parent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/by_hand.h"
#include "account/kind.h"
#include "account/transition.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/refusal.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/shard.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/step.h"
#include "guard/account.h"
#include "guard/trigger.h"

PG_FUNCTION_INFO_V1(pointstore_guard_balance);

static HeapTuple stamped(const TriggerData *trigger);
static bool balance_columns_differ(const TriggerData *trigger, int from, int to);
static void check_changed_balance(const TriggerData *trigger);
static bool meets_event(text *id, int64 version, int64 balance);
static void check_changed_limits(const TriggerData *trigger, text *id);
static void read_old_row(Account *account, const TriggerData *trigger, text *id);
static void check_new_balance(const TriggerData *trigger);

/* Trigger of balance: BEFORE UPDATE stamps updated_at, AFTER INSERT OR UPDATE checks. */
Datum
pointstore_guard_balance(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pointstore_guarded_trigger(fcinfo, TABLE_BALANCE, BEFORE(UPDATE) | AFTER(INSERT) | AFTER(UPDATE));
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	HeapTuple	row = is_update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	PointstoreScope scope;

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		return PointerGetDatum(pointstore_is_own_slot(trigger->tg_newslot) ? row : stamped(trigger));
	if (pointstore_is_own_row(row))
		return PointerGetDatum(row);
	pointstore_act_as_owner(&scope);
	if (is_update)
		check_changed_balance(trigger);
	else
		check_new_balance(trigger);
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(row);
}

/* The new row with its updated_at: the clock, where a column of ours changes, else as it was. */
static HeapTuple
stamped(const TriggerData *trigger)
{
	AttrNumber	att = pointstore_trigger_table(trigger, TABLE_BALANCE)->att[BAL_UPDATED_AT];
	int			columns[] = {att};
	bool		nulls[] = {false};
	Datum		stamp = pointstore_bigint_column(trigger->tg_trigtuple, trigger, att, NULL);

	if (balance_columns_differ(trigger, 0, BAL_UPDATED_AT) || balance_columns_differ(trigger, BAL_STATE, N_BALANCE_COLUMNS))
		stamp = TimestampTzGetDatum(Max(DatumGetTimestampTz(stamp), GetCurrentTimestamp()));
	return heap_modify_tuple_by_cols(trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation),
									 1, columns, &stamp, nulls);
}

/* Whether an UPDATE changes one of the columns of ours, from one up to, but not including, the other. */
static bool
balance_columns_differ(const TriggerData *trigger, int from, int to)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_BALANCE)->att;
	int			i;

	for (i = from; i < to; i++)
		if (pointstore_column_differs(trigger, att[i]))
			return true;
	return false;
}

/* A balance updated by hand: PS001, PS003, PS004, PS005, PS009, 22023; its event may come until commit. */
static void
check_changed_balance(const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_BALANCE)->att;
	text	   *id = pointstore_known_text_column(trigger->tg_trigtuple, trigger, att[BAL_AGGREGATE_ID]);
	int64		old_version = pointstore_bigint_column(trigger->tg_trigtuple, trigger, att[BAL_VERSION], NULL);
	int64		new_version = pointstore_bigint_column(trigger->tg_newtuple, trigger, att[BAL_VERSION], NULL);

	if (!balance_columns_differ(trigger, 0, BAL_UPDATED_AT) && !balance_columns_differ(trigger, BAL_STATE, N_BALANCE_COLUMNS))
		return;
	if (balance_columns_differ(trigger, BAL_HELD, BAL_UPDATED_AT) || balance_columns_differ(trigger, BAL_STATE, N_BALANCE_COLUMNS) ||
		balance_columns_differ(trigger, BAL_AGGREGATE_ID, BAL_VERSION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\": aggregate_id, kind, held, incoming, next_expiry, status and state are not changed by hand",
						pointstore_cstring(id))));
	if (old_version == PG_INT64_MAX || new_version != old_version + 1)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
				 errmsg("version conflict on account \"%s\": expected %lld, actual %lld", pointstore_cstring(id),
						(long long) old_version + (old_version < PG_INT64_MAX), (long long) new_version),
				 pointstore_detail_figures(id, "expected_version", old_version + (old_version < PG_INT64_MAX),
										   "actual_version", new_version),
				 errhint("A change of a balance raises its version by 1.")));
	if (!meets_event(id, new_version, pointstore_bigint_column(trigger->tg_newtuple, trigger, att[BAL_BALANCE], NULL)))
		check_changed_limits(trigger, id);
	pointstore_note_change(id, new_version);
}

/*
 * Whether a balance comes to an event that was inserted by hand before it, and was judged then.
 * PS010 where that event says a different balance.
 */
static bool
meets_event(text *id, int64 version, int64 balance)
{
	RowKey		key = {0};
	RowScan		scan;
	int64		found = 0;
	int64		balance_after = 0;
	bool		isnull;

	if (!pointstore_has_noted_events())
		return false;
	pointstore_key_text(&key, id);
	pointstore_key_at_most(&key, version);
	pointstore_scan_begin(&scan, id, INDEX_EVENT, pointstore_push_snapshot(), &key);
	if (pointstore_scan_next(&scan, BackwardScanDirection))
	{
		found = DatumGetInt64(slot_getattr(scan.slot, scan.table->att[EV_VERSION], &isnull));
		balance_after = DatumGetInt64(slot_getattr(scan.slot, scan.table->att[EV_BALANCE_AFTER], &isnull));
	}
	pointstore_scan_end(&scan);
	PopActiveSnapshot();
	if (found == version && balance_after != balance)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the balance of account \"%s\" at version %lld is changed to %lld, its event says %lld",
						pointstore_cstring(id), (long long) version, (long long) balance, (long long) balance_after)));
	return found == version;
}

/* The rules of an append for a balance that comes before its event. */
static void
check_changed_limits(const TriggerData *trigger, text *id)
{
	Account		account;
	ProposedEvent change = {.aggregate_id = id};
	Decision	decision = {0};
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_BALANCE)->att;
	int64		balance = pointstore_bigint_column(trigger->tg_newtuple, trigger, att[BAL_BALANCE], NULL);
	Snapshot	snapshot = pointstore_push_snapshot();

	read_old_row(&account, trigger, id);
	if (pg_sub_s64_overflow(balance, account.balance, &change.amount))
	{
		decision.outcome = OUTCOME_OVERFLOW;
		decision.balance = account.balance;
		change.amount = balance;
	}
	else
	{
		pointstore_know_account(&account, snapshot);
		pointstore_decide(&change, &decision, &account);
	}
	if (decision.outcome != OUTCOME_APPENDED)
		pointstore_raise(&change, &decision);
	PopActiveSnapshot();
}

/* The account as it stood before the UPDATE. */
static void
read_old_row(Account *account, const TriggerData *trigger, text *id)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_BALANCE)->att;
	HeapTuple	row = trigger->tg_trigtuple;
	bool		has_expiry;

	memset(account, 0, sizeof(Account));
	account->id = id;
	account->exists = true;
	account->kind_name = pointstore_known_text_column(row, trigger, att[BAL_KIND]);
	account->kind = pointstore_require_kind(account->kind_name);
	account->status = pointstore_status(pointstore_known_text_column(row, trigger, att[BAL_STATUS]));
	account->version = pointstore_bigint_column(row, trigger, att[BAL_VERSION], NULL);
	account->balance = pointstore_bigint_column(row, trigger, att[BAL_BALANCE], NULL);
	account->held = pointstore_bigint_column(row, trigger, att[BAL_HELD], NULL);
	account->incoming = pointstore_bigint_column(row, trigger, att[BAL_INCOMING], NULL);
	account->updated_at = pointstore_bigint_column(row, trigger, att[BAL_UPDATED_AT], NULL);
	account->next_expiry = pointstore_bigint_column(row, trigger, att[BAL_NEXT_EXPIRY], &has_expiry);
	account->has_expiry = has_expiry;
	account->state = pointstore_some_state(pointstore_text_column(row, trigger, att[BAL_STATE]));
}

/* A balance row inserted by hand: empty, or at version 1 and waiting for that event. */
static void
check_new_balance(const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_BALANCE)->att;
	HeapTuple	row = trigger->tg_trigtuple;
	text	   *id = pointstore_known_text_column(row, trigger, att[BAL_AGGREGATE_ID]);
	int64		version = pointstore_bigint_column(row, trigger, att[BAL_VERSION], NULL);
	int64		balance = pointstore_bigint_column(row, trigger, att[BAL_BALANCE], NULL);
	bool		has_expiry;

	pointstore_check_place(trigger->tg_relation, TABLE_BALANCE, id);
	(void) pointstore_bigint_column(row, trigger, att[BAL_NEXT_EXPIRY], &has_expiry);
	if (pointstore_bigint_column(row, trigger, att[BAL_HELD], NULL) != 0 ||
		pointstore_bigint_column(row, trigger, att[BAL_INCOMING], NULL) != 0 || has_expiry)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is not opened with held, incoming or next_expiry", pointstore_cstring(id))));
	if (version < 0 || version > 1 || (version == 0 && balance != 0))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
				 errmsg("version conflict on account \"%s\": expected %d, actual %lld", pointstore_cstring(id),
						balance != 0, (long long) version),
				 pointstore_detail_figures(id, "expected_version", balance != 0, "actual_version", version),
				 errhint("A new balance row is empty at version 0, or at version 1 and waits for its event.")));
	pointstore_check_new_account(trigger, att, false);
	if (version == 1)
		pointstore_note_change(id, version);
}
