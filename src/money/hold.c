/*-------------------------------------------------------------------------
 *
 * src/money/hold.c
 *		Holds: placed, confirmed, cancelled.
 *
 * Every step is a batch for append/: an event that changes held, and, when a
 * hold is confirmed, the balance, written together with the hold's row. What
 * event that is, hold_step.c says.
 *
 * What a confirmed hold takes may go to another account: as the second leg of a movement
 * whose first is the event HoldConfirmed.
 *
 * A hold that is cancelled before it was placed leaves a row without an event:
 * of a cancellation that overtakes what it cancels, and comes first, the
 * other learns when it comes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "account/held.h"
#include "append/append.h"
#include "append/batch.h"
#include "append/judge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/step.h"
#include "ground/shard.h"
#include "ground/store.h"
#include "money/hold_step.h"
#include "money/transfer.h"

PG_FUNCTION_INFO_V1(pointstore_hold);
PG_FUNCTION_INFO_V1(pointstore_try_hold);
PG_FUNCTION_INFO_V1(pointstore_confirm_hold);
PG_FUNCTION_INFO_V1(pointstore_try_confirm_hold);
PG_FUNCTION_INFO_V1(pointstore_cancel_hold);
PG_FUNCTION_INFO_V1(pointstore_try_cancel_hold);

static Datum place_hold(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static text *draw_hold_id(void);
static Datum read_confirm(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum read_cancel(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum close_hold(HoldStep *step, bool refusals_are_outcomes);
pg_noreturn static void refuse_without_account(text *id);
static bool read_committed_hold(Hold *hold, const HoldStep *step);
static bool leave_tombstone(const HoldStep *step, Hold *hold);
static Datum append_closing(HoldStep *step, Hold *hold, bool refusals_are_outcomes);
static Datum answer_unplaced(HoldStep *step, Hold *hold, bool refusals_are_outcomes);
static Datum tombstone_receipt(const Hold *hold);

/* hold(aggregate_id, amount, hold_id, expires_in, payload): see the install script. */
Datum
pointstore_hold(PG_FUNCTION_ARGS)
{
	return place_hold(fcinfo, false);
}

/* try_hold(...): the same, refusals as outcomes. */
Datum
pointstore_try_hold(PG_FUNCTION_ARGS)
{
	return place_hold(fcinfo, true);
}

/* Reads and checks the arguments of hold(), and places it. */
static Datum
place_hold(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	HoldStep	step = {.to = HOLD_OPEN};
	Hold		hold = {0};
	ProposedEvent event;
	PointstoreScope scope;
	Datum		result;

	pointstore_check_arguments(fcinfo, 6);
	step.aggregate_id = pointstore_name(fcinfo, 0, "aggregate_id");
	PreventCommandIfReadOnly("hold()");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "amount" : "expires_in")));
	step.amount = PG_GETARG_INT64(1);
	if (step.amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amount of a hold must be positive, is %lld", (long long) step.amount)));
	step.hold_id = PG_ARGISNULL(2) ? draw_hold_id() : pointstore_name(fcinfo, 2, "hold_id");
	step.expires_in = PG_GETARG_INTERVAL_P(3);
	event = pointstore_hold_event(&step, &hold, step.aggregate_id);
	event.payload = pointstore_payload(fcinfo, 4);
	event.has_lease_token = !PG_ARGISNULL(5);
	event.lease_token = event.has_lease_token ? PG_GETARG_INT64(5) : 0;
	pointstore_act_as_owner_of_holds(&scope);
	result = pointstore_append_one(&event, refusals_are_outcomes);
	pointstore_release_hold(&hold);
	pointstore_act_as_caller(&scope);
	return result;
}

/* A name for a hold that its caller gives none. */
static text *
draw_hold_id(void)
{
	Datum		uuid = DirectFunctionCall1(gen_random_uuid, (Datum) 0);

	return cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, uuid)));
}

/* confirm_hold(hold_id, amount, aggregate_id, to_id, payload, metadata) */
Datum
pointstore_confirm_hold(PG_FUNCTION_ARGS)
{
	return read_confirm(fcinfo, false);
}

/* try_confirm_hold(...): the same, refusals as outcomes. */
Datum
pointstore_try_confirm_hold(PG_FUNCTION_ARGS)
{
	return read_confirm(fcinfo, true);
}

/* Reads and checks the arguments of confirm_hold(), and closes the hold. */
static Datum
read_confirm(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	HoldStep	step = {.to = HOLD_CONFIRMED};

	pointstore_check_arguments(fcinfo, 6);
	step.hold_id = pointstore_name(fcinfo, 0, "hold_id");
	PreventCommandIfReadOnly("confirm_hold()");
	step.whole = PG_ARGISNULL(1);
	step.amount = step.whole ? 0 : PG_GETARG_INT64(1);
	if (!step.whole && step.amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amount to be confirmed must be positive, is %lld", (long long) step.amount),
				 errhint("cancel_hold() releases all of it.")));
	step.aggregate_id = PG_ARGISNULL(2) ? NULL : pointstore_name(fcinfo, 2, "aggregate_id");
	step.to_id = PG_ARGISNULL(3) ? NULL : pointstore_name(fcinfo, 3, "to_id");
	step.payload = pointstore_payload(fcinfo, 4);
	step.metadata = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	pointstore_check_metadata(step.metadata);
	if (step.metadata != NULL && !JB_ROOT_IS_OBJECT(step.metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata of a hold must be a JSON object")));
	return close_hold(&step, refusals_are_outcomes);
}

/* cancel_hold(hold_id, aggregate_id) */
Datum
pointstore_cancel_hold(PG_FUNCTION_ARGS)
{
	return read_cancel(fcinfo, false);
}

/* try_cancel_hold(...): the same, refusals as outcomes. */
Datum
pointstore_try_cancel_hold(PG_FUNCTION_ARGS)
{
	return read_cancel(fcinfo, true);
}

/* The same of cancel_hold(). */
static Datum
read_cancel(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	HoldStep	step = {.to = HOLD_CANCELLED};

	pointstore_check_arguments(fcinfo, 2);
	step.hold_id = pointstore_name(fcinfo, 0, "hold_id");
	PreventCommandIfReadOnly("cancel_hold()");
	step.aggregate_id = PG_ARGISNULL(1) ? NULL : pointstore_name(fcinfo, 1, "aggregate_id");
	step.payload = pointstore_empty_payload();
	return close_hold(&step, refusals_are_outcomes);
}

/* Confirms or cancels a hold and returns the receipt. */
static Datum
close_hold(HoldStep *step, bool refusals_are_outcomes)
{
	PointstoreScope scope;
	Hold		hold = {0};
	Datum		result;

	pointstore_act_as_owner_of_holds(&scope);
	if (pointstore_is_distributed() && step->aggregate_id == NULL)
		refuse_without_account(step->hold_id);
	while (!read_committed_hold(&hold, step) && step->to == HOLD_CANCELLED && !leave_tombstone(step, &hold))
		 /* there is one by now */ ;
	if (hold.has_event)
		result = append_closing(step, &hold, refusals_are_outcomes);
	else
		result = answer_unplaced(step, &hold, refusals_are_outcomes);
	pointstore_release_hold(&hold);
	pointstore_act_as_caller(&scope);
	return result;
}

/* Where a hold is, its account alone tells. */
static void
refuse_without_account(text *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("aggregate_id of hold \"%s\" must not be null", pointstore_cstring(id)),
			 errdetail("In a distributed store a hold's name is unique in its account alone.")));
}

/* Reads a hold as it is now, after waiting for a backend that is about to place or cancel it. */
static bool
read_committed_hold(Hold *hold, const HoldStep *step)
{
	bool		again = true;
	bool		found = false;

	while (again)
	{
		CHECK_FOR_INTERRUPTS();
		found = pointstore_read_hold(hold, pointstore_is_distributed() ? step->aggregate_id : NULL, step->hold_id, pointstore_push_snapshot(), &again);
		PopActiveSnapshot();
	}
	return found;
}

/* The row of a hold that is cancelled before it was placed; false when there is one of that name by now. */
static bool
leave_tombstone(const HoldStep *step, Hold *hold)
{
	PointstoreTableId table = TABLE_HOLD;
	RowWriter  *writer;
	RowOutcome	outcome;

	memset(hold, 0, sizeof(Hold));
	hold->id = step->hold_id;
	hold->aggregate_id = step->aggregate_id ? step->aggregate_id : cstring_to_text("");
	hold->status = HOLD_CANCELLED;
	hold->created_at = hold->closed_at = GetCurrentTimestamp();
	(void) pointstore_push_snapshot();
	writer = pointstore_writer_begin(hold->aggregate_id, 1, &table, true);
	outcome = pointstore_write_hold(writer, hold, KEY_OF(INDEX_HOLD));
	pointstore_writer_end(writer);
	PopActiveSnapshot();
	if (outcome == ROW_CONFLICT && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("hold \"%s\" was placed or cancelled concurrently", pointstore_cstring(hold->id))));
	return outcome == ROW_WRITTEN;
}

/* Appends what closes a hold, and what credits the account that gets what is taken. */
static Datum
append_closing(HoldStep *step, Hold *hold, bool refusals_are_outcomes)
{
	text	   *id = DatumGetTextPCopy(PointerGetDatum(hold->aggregate_id));
	ProposedEvent events[POINTSTORE_TRANSFER_LEGS] = {pointstore_hold_event(step, hold, id)};
	Batch		batch = {
		.proposals = events, .nevents = POINTSTORE_TRANSFER_LEGS, .same_unit = true,
		.refusals_are_outcomes = refusals_are_outcomes
	};
	int			told;

	pointstore_release_hold(hold);	/* it is read again under the account's lock */
	events[0].payload = step->payload;
	if (step->to_id == NULL)
		return pointstore_append_one(events, refusals_are_outcomes);
	if (pointstore_same_text(id, step->to_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" does not transfer to itself", pointstore_cstring(id))));
	if (!pointstore_is_here(step->to_id))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("what a hold reserves on account \"%s\" does not go to an account on another node", pointstore_cstring(id)),
				 errhint("Confirm the hold, and transfer the amount in the same transaction.")));
	events[1] = pointstore_hold_credit(step);
	pointstore_make_request(events, POINTSTORE_TRANSFER_LEGS, NULL);
	pointstore_link_legs(events, POINTSTORE_TRANSFER_LEGS);
	pointstore_append_or_leave(&batch);
	told = batch.refused ? batch.refused - batch.decisions : 0;
	return pointstore_answer(&events[told], &batch.decisions[told], refusals_are_outcomes);
}

/* Of a hold that was never placed: its cancellation's receipt, or a refusal. There is no account to be looked at. */
static Datum
answer_unplaced(HoldStep *step, Hold *hold, bool refusals_are_outcomes)
{
	bool		cancelled = hold->id != NULL;
	ProposedEvent event = pointstore_hold_event(step, hold, cancelled ? hold->aggregate_id : step->aggregate_id);
	Decision	decision = {.account_unknown = true};

	if (!cancelled)
	{
		hold->id = step->hold_id;
		decision.reason = REASON_NO_HOLD;
		decision.outcome = OUTCOME_ACCOUNT_MISSING;
	}
	else if (!pointstore_hold_mismatch(&decision, hold, step))
	{
		if (step->to == HOLD_CANCELLED)
		{
			pointstore_await_durable(hold->durable);
			return tombstone_receipt(hold);
		}
		decision.outcome = OUTCOME_HOLD_NOT_OPEN;
	}
	pointstore_count_decision(&decision);
	return pointstore_answer(&event, &decision, refusals_are_outcomes);
}

/* Nothing has happened to an account, so there is little to tell. */
static Datum
tombstone_receipt(const Hold *hold)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(pointstore_store()->receipt_type, -1);
	Datum		values[7] = {0};
	bool		nulls[7] = {false, false, true, true, true, true, false};
	HeapTuple	row;

	values[0] = CStringGetTextDatum("tombstone");
	values[1] = PointerGetDatum(hold->aggregate_id);
	nulls[1] = VARSIZE_ANY_EXHDR(hold->aggregate_id) == 0;
	values[6] = TimestampTzGetDatum(hold->created_at);
	row = heap_form_tuple(desc, values, nulls);
	ReleaseTupleDesc(desc);
	return HeapTupleGetDatum(row);
}
