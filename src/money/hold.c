/*-------------------------------------------------------------------------
 *
 * src/money/hold.c
 *		Holds: placed, confirmed, cancelled, expired.
 *
 * Every step is a batch for append.c: an event that changes held, and, when a
 * hold is confirmed, the balance, written together with the hold's row. What
 * the step does depends on that row, so the event is proposed from inside the
 * attempt, when the account is locked or its row is about to be (held.c).
 *
 * A step that has been done is not done again: the hold's row knows the event
 * that placed it, and what closed it has that event as its cause. So a repeat
 * finds the first receipt without any other name than the hold's.
 *
 * What a confirmed hold takes may go to another account: as the second leg of a movement
 * whose first is the event HoldConfirmed.
 *
 * A hold that is cancelled before it was placed leaves a row without an event:
 * of a cancellation that overtakes what it cancels, and comes first, the
 * other learns when it comes.
 *
 * Expired holds are swept in batches, each a transaction, in the order of
 * accounts. Accounts that others have locked are passed over; the next sweep
 * comes by again. That expired holds reserve nothing does not wait for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "account/held.h"
#include "append/append.h"
#include "append/batch.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/row.h"
#include "ground/sql.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/store.h"
#include "money/hold.h"
#include "money/transfer.h"

PG_FUNCTION_INFO_V1(pointstore_hold);
PG_FUNCTION_INFO_V1(pointstore_try_hold);
PG_FUNCTION_INFO_V1(pointstore_confirm_hold);
PG_FUNCTION_INFO_V1(pointstore_try_confirm_hold);
PG_FUNCTION_INFO_V1(pointstore_cancel_hold);
PG_FUNCTION_INFO_V1(pointstore_try_cancel_hold);
PG_FUNCTION_INFO_V1(pointstore_sweep_holds);

/* holds that are closed in one transaction */
#define SWEEP_BATCH 1000

/* What a caller asks for. */
typedef struct Step
{
	text	   *hold_id;
	text	   *aggregate_id;	/* closing: null = whatever it is */
	HoldStatus	to;
	bool		whole;			/* confirm: all of it */
	int64		amount;
	Interval   *expires_in;
	text	   *to_id;			/* confirm: who gets what is taken; null = nobody */
	Jsonb	   *payload;		/* confirm */
	Jsonb	   *metadata;		/* confirm: an object that hold_id is added to; null = none */
} Step;

/* How far a sweep is. */
typedef struct Place
{
	text	   *account;
	bool		may_stay;		/* further holds of that account are tried */
	TimestampTz expires_at;
	text	   *hold;
} Place;

static const char *const step_types[] = {"HoldPlaced", "HoldConfirmed", "HoldCancelled", "HoldExpired"};

static Datum place(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static text *draw_hold_id(void);
static bool propose_placing(ProposedEvent *event, Snapshot snapshot);
static bool repeat_placing(ProposedEvent *event, const Step *step);
static Datum confirm(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum cancel(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum close_hold(Step *step, bool refusals_are_outcomes);
static bool read_committed_hold(Hold *hold, text *id);
static bool leave_tombstone(const Step *step, Hold *hold);
static Datum answer_unplaced(Step *step, Hold *hold, bool refusals_are_outcomes);
static Datum tombstone_receipt(const Hold *hold);
static Datum append_closing(Step *step, Hold *hold, bool refusals_are_outcomes);
static bool propose_credit(ProposedEvent *event, Snapshot snapshot);
static bool is_other_account(const Hold *hold, const Step *step);
static bool propose_closing(ProposedEvent *event, Snapshot snapshot);
static bool repeat_closing(ProposedEvent *event, const Step *step);
static text *find_credited(int64 confirmed);
static bool decide(ProposedEvent *event, Outcome outcome);
static bool differ(ProposedEvent *event, const char *field, const char *asked, const char *stored);
static bool differ_in_number(ProposedEvent *event, const char *field, int64 asked, int64 stored);
static bool end_repeat(ProposedEvent *event, Jsonb *stored);
static Jsonb *replay(ProposedEvent *event, PointstorePlan *plan);
static ProposedEvent step_event(Step *step, Hold *hold, text *aggregate_id);
static Jsonb *hold_metadata(const Step *step, const Hold *hold);
static void push_member(JsonbParseState **state, const char *key, const char *value, int length);
static int	find_expired(Place *place, ProposedEvent **events);
static void close_expired(ProposedEvent *events, int n);
static bool close_batch(ProposedEvent *events, int n);
static bool is_news(const ProposedEvent *event, const ErrorData *error);
static bool append_closings(void *arg);

/* hold(aggregate_id, amount, hold_id, expires_in, payload): see the install script. */
Datum
pointstore_hold(PG_FUNCTION_ARGS)
{
	return place(fcinfo, false);
}

/* try_hold(...): the same, refusals as outcomes. */
Datum
pointstore_try_hold(PG_FUNCTION_ARGS)
{
	return place(fcinfo, true);
}

static Datum
place(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	Step		step = {.to = HOLD_OPEN};
	Hold		hold = {0};
	ProposedEvent event;
	PointstoreScope scope;
	Datum		result;

	pointstore_check_arguments(fcinfo, 5);
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
	event = step_event(&step, &hold, step.aggregate_id);
	event.payload = pointstore_payload(fcinfo, 4);
	event.propose = propose_placing;
	pointstore_act_as_owner_of_holds(&scope);
	result = pointstore_append_one(&event, refusals_are_outcomes);
	pointstore_release_hold(&hold);
	pointstore_act_as_caller(&scope);
	return result;
}

/* A name for a hold whose caller has none. */
static text *
draw_hold_id(void)
{
	Datum		uuid = DirectFunctionCall1(gen_random_uuid, (Datum) 0);

	return cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, uuid)));
}

/* An event of a step, but for what depends on the store. */
static ProposedEvent
step_event(Step *step, Hold *hold, text *aggregate_id)
{
	ProposedEvent event = {
		.aggregate_id = aggregate_id,
		.event_type = cstring_to_text(step_types[step->to]),
		.payload = pointstore_empty_payload(),
		.hold = hold, .subject = step, .propose = propose_closing,
		/* what was reserved is there, whatever became of the floor */
		.any_floor = step->to == HOLD_CONFIRMED,
		.any_status = step->to == HOLD_CANCELLED || step->to == HOLD_EXPIRED
	};

	return event;
}

/*
 * {"hold_id": ...}, added to the caller's own, and of a new hold "expires_at": so the events by
 * themselves tell what became of each.
 */
static Jsonb *
hold_metadata(const Step *step, const Hold *hold)
{
	JsonbParseState *state = NULL;
	char		expiry[MAXDATELEN + 1];
	int			utc = 0;
	Jsonb	   *ours;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_member(&state, "hold_id", VARDATA_ANY(step->hold_id), VARSIZE_ANY_EXHDR(step->hold_id));
	if (step->to == HOLD_OPEN)
	{
		JsonEncodeDateTime(expiry, TimestampTzGetDatum(hold->expires_at), TIMESTAMPTZOID, &utc);
		push_member(&state, "expires_at", expiry, strlen(expiry));
	}
	ours = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (step->metadata == NULL)
		return ours;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(step->metadata), JsonbPGetDatum(ours)));
}

static void
push_member(JsonbParseState **state, const char *key, const char *value, int length)
{
	JsonbValue	text = {.type = jbvString};

	text.val.string.val = unconstify(char *, key);
	text.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &text);
	text.val.string.val = unconstify(char *, value);
	text.val.string.len = length;
	(void) pushJsonbValue(state, WJB_VALUE, &text);
}

/* A new hold, unless there is one of that name. */
static bool
propose_placing(ProposedEvent *event, Snapshot snapshot)
{
	const Step *step = event->subject;
	Hold	   *hold = event->hold;
	TimestampTz now = pointstore_account_clock(event->account);

	pointstore_release_hold(hold);
	memset(hold, 0, sizeof(Hold));
	if (pointstore_read_hold(hold, step->hold_id, snapshot, &event->again))
		return repeat_placing(event, step);
	if (event->again)
		return decide(event, OUTCOME_REPLAYED);
	hold->id = step->hold_id;
	hold->aggregate_id = step->aggregate_id;
	hold->amount = event->held = step->amount;
	hold->expires_at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
															   IntervalPGetDatum(step->expires_in)));
	if (hold->expires_at <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hold must expire in the future")));
	event->metadata = hold_metadata(step, hold);
	return true;
}

/* The first receipt; a request mismatch where it was for something else; not open where it was cancelled before. */
static bool
repeat_placing(ProposedEvent *event, const Step *step)
{
	static PointstorePlan plan = {
		.sql = "SELECT version FROM pointstore.event_store WHERE id" EQ "$1 AND aggregate_id" EQ "$2",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	const Hold *hold = event->hold;
	Jsonb	   *payload = hold->has_event ? replay(event, &plan) : NULL;

	if (is_other_account(hold, step))
		return differ(event, "aggregate_id", pointstore_cstring(step->aggregate_id), pointstore_cstring(hold->aggregate_id));
	if (!hold->has_event)
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	if (hold->amount != step->amount)
		return differ_in_number(event, "amount", step->amount, hold->amount);
	return end_repeat(event, payload);
}

/* Whether a caller who names the account means another one. */
static bool
is_other_account(const Hold *hold, const Step *step)
{
	return step->aggregate_id != NULL && VARSIZE_ANY_EXHDR(hold->aggregate_id) > 0 &&
		!pointstore_same_text(hold->aggregate_id, step->aggregate_id);
}

/* propose() has decided. */
static bool
decide(ProposedEvent *event, Outcome outcome)
{
	event->outcome = outcome;
	return false;
}

/* propose() has decided: that field is one thing here, and was another. */
static bool
differ(ProposedEvent *event, const char *field, const char *asked, const char *stored)
{
	event->mismatch = field;
	event->asked = pointstore_clipped(asked);
	event->stored = pointstore_clipped(stored);
	return decide(event, OUTCOME_REQUEST_MISMATCH);
}

static bool
differ_in_number(ProposedEvent *event, const char *field, int64 asked, int64 stored)
{
	return differ(event, field, psprintf(INT64_FORMAT, asked), psprintf(INT64_FORMAT, stored));
}

/* The outcome of a repeat that is the same but for its payload, perhaps. */
static bool
end_repeat(ProposedEvent *event, Jsonb *stored)
{
	ProposedEvent first = {.payload = stored};

	if (compareJsonbContainers(&event->payload->root, &stored->root) == 0)
		return decide(event, OUTCOME_REPLAYED);
	event->mismatch = "payload";
	pointstore_tell_difference(event, &first);
	return decide(event, OUTCOME_REQUEST_MISMATCH);
}

/*
 * The receipt of a step that was done before, by its event, whose version the plan
 * finds; XX001 when that is gone. Returns that event's payload.
 */
static Jsonb *
replay(ProposedEvent *event, PointstorePlan *plan)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	Datum		values[2];
	RowKey		key = {0};
	RowScan		scan;
	Jsonb	   *payload;
	bool		found;
	bool		isnull;

	values[0] = Int64GetDatum(event->hold->event_id);
	values[1] = PointerGetDatum(event->hold->aggregate_id);
	SPI_connect();
	pointstore_execute(plan, values, NULL, true);
	found = SPI_processed > 0;
	if (found)
		event->applied_version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the event of a step of hold \"%s\" is gone", pointstore_cstring(event->hold->id)),
				 errhint("SELECT * FROM pointstore.reconcile_account('%s'); says what else is wrong.",
						 pointstore_cstring(event->hold->aggregate_id))));
	pointstore_key_text(&key, event->hold->aggregate_id);
	pointstore_key_at_most(&key, event->applied_version);
	pointstore_scan_begin(&scan, INDEX_EVENT, GetActiveSnapshot(), &key);
	if (!pointstore_scan_next(&scan, BackwardScanDirection))
		elog(ERROR, "version %lld is gone", (long long) event->applied_version);
	event->version = event->applied_version;
	event->balance = DatumGetInt64(slot_getattr(scan.slot, att[EV_BALANCE_AFTER], &isnull));
	event->id = DatumGetInt64(slot_getattr(scan.slot, att[EV_ID], &isnull));
	event->created_at = DatumGetTimestampTz(slot_getattr(scan.slot, att[EV_CREATED_AT], &isnull));
	event->durable = pointstore_row_durable(scan.slot);
	payload = DatumGetJsonbPCopy(slot_getattr(scan.slot, att[EV_PAYLOAD], &isnull));
	pointstore_scan_end(&scan);
	return payload;
}

/* confirm_hold(hold_id, amount, aggregate_id, to_id, payload, metadata) */
Datum
pointstore_confirm_hold(PG_FUNCTION_ARGS)
{
	return confirm(fcinfo, false);
}

/* try_confirm_hold(...): the same, refusals as outcomes. */
Datum
pointstore_try_confirm_hold(PG_FUNCTION_ARGS)
{
	return confirm(fcinfo, true);
}

static Datum
confirm(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	Step		step = {.to = HOLD_CONFIRMED};

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
	return cancel(fcinfo, false);
}

/* try_cancel_hold(...): the same, refusals as outcomes. */
Datum
pointstore_try_cancel_hold(PG_FUNCTION_ARGS)
{
	return cancel(fcinfo, true);
}

static Datum
cancel(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	Step		step = {.to = HOLD_CANCELLED};

	pointstore_check_arguments(fcinfo, 2);
	step.hold_id = pointstore_name(fcinfo, 0, "hold_id");
	PreventCommandIfReadOnly("cancel_hold()");
	step.aggregate_id = PG_ARGISNULL(1) ? NULL : pointstore_name(fcinfo, 1, "aggregate_id");
	step.payload = pointstore_empty_payload();
	return close_hold(&step, refusals_are_outcomes);
}

/* Confirms or cancels a hold and returns the receipt. */
static Datum
close_hold(Step *step, bool refusals_are_outcomes)
{
	PointstoreScope scope;
	Hold		hold = {0};
	Datum		result;

	pointstore_act_as_owner_of_holds(&scope);
	while (!read_committed_hold(&hold, step->hold_id) && step->to == HOLD_CANCELLED && !leave_tombstone(step, &hold))
		 /* there is one by now */ ;
	if (hold.has_event)
		result = append_closing(step, &hold, refusals_are_outcomes);
	else
		result = answer_unplaced(step, &hold, refusals_are_outcomes);
	pointstore_release_hold(&hold);
	pointstore_act_as_caller(&scope);
	return result;
}

/* Of a hold that was never placed: its cancellation's receipt, or a refusal. There is no account to be looked at. */
static Datum
answer_unplaced(Step *step, Hold *hold, bool refusals_are_outcomes)
{
	bool		cancelled = hold->id != NULL;
	ProposedEvent event = step_event(step, hold, cancelled ? hold->aggregate_id : step->aggregate_id);

	event.untold = true;
	if (!cancelled)
	{
		hold->id = step->hold_id;
		event.reason = REASON_NO_HOLD;
		(void) decide(&event, OUTCOME_ACCOUNT_MISSING);
	}
	else if (is_other_account(hold, step))
		(void) differ(&event, "aggregate_id", pointstore_cstring(step->aggregate_id), pointstore_cstring(hold->aggregate_id));
	else if (step->to == HOLD_CANCELLED)
	{
		pointstore_await_durable(hold->durable);
		return tombstone_receipt(hold);
	}
	else
		(void) decide(&event, OUTCOME_HOLD_NOT_OPEN);
	pointstore_count_event(&event);
	return pointstore_answer(&event, refusals_are_outcomes);
}

/* Appends what closes a hold, and what credits the account that gets what is taken. */
static Datum
append_closing(Step *step, Hold *hold, bool refusals_are_outcomes)
{
	text	   *id = DatumGetTextPCopy(PointerGetDatum(hold->aggregate_id));
	ProposedEvent events[POINTSTORE_TRANSFER_LEGS] = {step_event(step, hold, id)};
	Batch		batch = {.events = events, .nevents = 1, .refusals_are_outcomes = refusals_are_outcomes};

	pointstore_release_hold(hold);	/* it is read again under the account's lock */
	events[0].payload = step->payload;
	if (step->to_id == NULL)
		return pointstore_append_one(events, refusals_are_outcomes);
	if (pointstore_same_text(id, step->to_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" does not transfer to itself", pointstore_cstring(id))));
	events[1] = (ProposedEvent) {
		.aggregate_id = step->to_id, .event_type = cstring_to_text("Transferred"), .payload = step->payload,
		.propose = propose_credit
	};
	pointstore_make_request(events, POINTSTORE_TRANSFER_LEGS, NULL);
	pointstore_link_legs(events, POINTSTORE_TRANSFER_LEGS);
	batch.nevents = POINTSTORE_TRANSFER_LEGS;
	batch.same_unit = true;
	pointstore_append_or_leave(&batch);
	return pointstore_answer(batch.refused ? batch.refused : events, refusals_are_outcomes);
}

/* What was taken, by the event before. */
static bool
propose_credit(ProposedEvent *event, Snapshot snapshot)
{
	const ProposedEvent *confirmed = event - 1;

	if (confirmed->outcome == OUTCOME_REPLAYED)
		return decide(event, OUTCOME_REPLAYED);
	event->amount = -confirmed->amount;
	event->metadata = confirmed->metadata;
	return true;
}

/* Reads a hold as it is now, after waiting for who is about to place or cancel it. */
static bool
read_committed_hold(Hold *hold, text *id)
{
	bool		again = true;
	bool		found = false;

	while (again)
	{
		CHECK_FOR_INTERRUPTS();
		found = pointstore_read_hold(hold, id, pointstore_push_snapshot(), &again);
		PopActiveSnapshot();
	}
	return found;
}

/* The row of a hold that is cancelled before it was placed; false when there is one of that name by now. */
static bool
leave_tombstone(const Step *step, Hold *hold)
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
	writer = pointstore_writer_begin(1, &table, true);
	outcome = pointstore_write_hold(writer, hold, KEY_OF(INDEX_HOLD));
	pointstore_writer_end(writer);
	PopActiveSnapshot();
	if (outcome == ROW_CONFLICT && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("hold \"%s\" was placed or cancelled concurrently", pointstore_cstring(hold->id))));
	return outcome == ROW_WRITTEN;
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

/* What closes an open hold; a repeat, or a hold that is not open, is decided here. */
static bool
propose_closing(ProposedEvent *event, Snapshot snapshot)
{
	const Step *step = event->subject;
	Hold	   *hold = event->hold;

	pointstore_release_hold(hold);
	memset(hold, 0, sizeof(Hold));
	if (!pointstore_read_hold(hold, step->hold_id, snapshot, &event->again))
		elog(ERROR, "hold \"%s\" is gone", pointstore_cstring(step->hold_id));
	if (is_other_account(hold, step))
		return differ(event, "aggregate_id", pointstore_cstring(step->aggregate_id), pointstore_cstring(hold->aggregate_id));
	if (hold->status != HOLD_OPEN)
		return repeat_closing(event, step);
	hold->has_expired = hold->expires_at <= pointstore_account_clock(event->account);
	/* a sweep waits for nobody, and goes on to the account's other holds */
	if (step->to == HOLD_EXPIRED && !pointstore_lock_hold_if_free(hold, snapshot))
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	if (step->to == HOLD_CONFIRMED ? hold->has_expired : step->to == HOLD_EXPIRED && !hold->has_expired)
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	if (step->to == HOLD_CONFIRMED)
		hold->captured = step->whole ? hold->amount : step->amount;
	if (hold->captured > hold->amount)
	{
		event->reason = REASON_HOLD_SMALLER;
		event->limit = hold->amount;
		event->requested = hold->captured;
		return decide(event, OUTCOME_NOT_ALLOWED);
	}
	event->amount = -hold->captured;
	event->held = -hold->amount;
	event->has_cause = true;
	event->cause_id = hold->event_id;
	hold->status = step->to;
	event->metadata = hold_metadata(step, hold);
	return true;
}

/* A hold that is closed: the first receipt, where the same was done, or it was given back by itself. */
static bool
repeat_closing(ProposedEvent *event, const Step *step)
{
	static PointstorePlan plan = {
		.sql = "SELECT version FROM pointstore.event_store WHERE cause_id" EQ "$1 AND aggregate_id" EQ "$2"
		" AND event_type" EQ "ANY (ARRAY['HoldConfirmed', 'HoldCancelled', 'HoldExpired'])",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	const Hold *hold = event->hold;
	bool		same = hold->status == step->to || (step->to == HOLD_CANCELLED && hold->status == HOLD_EXPIRED);
	int64		amount = step->whole ? hold->amount : step->amount;
	Jsonb	   *payload;
	text	   *credited;

	if (!same)
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	payload = replay(event, &plan);
	if (step->to != HOLD_CONFIRMED)
		return decide(event, OUTCOME_REPLAYED);
	if (hold->captured != amount)
		return differ_in_number(event, "amount", amount, hold->captured);
	credited = find_credited(event->id);
	if ((credited == NULL) != (step->to_id == NULL) ||
		(credited != NULL && !pointstore_same_text(credited, step->to_id)))
		return differ(event, "to_id", step->to_id ? pointstore_cstring(step->to_id) : "null",
					  credited ? pointstore_cstring(credited) : "null");
	return end_repeat(event, payload);
}

/* The account that got what the event of a confirmed hold has taken, or NULL. */
static text *
find_credited(int64 confirmed)
{
	static PointstorePlan plan = {
		.sql = "SELECT aggregate_id FROM pointstore.event_store WHERE cause_id" EQ "$1 AND leg" EQ "1"
		" AND event_type" EQ "'Transferred' AND request_id IS NULL",
		.nargs = 1, .argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		id = Int64GetDatum(confirmed);
	text	   *credited = NULL;

	SPI_connect();
	pointstore_execute(&plan, &id, NULL, true);
	if (SPI_processed > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		credited = cstring_to_text(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return credited;
}

/* sweep_holds(): 2D000 in a transaction block. */
Datum
pointstore_sweep_holds(PG_FUNCTION_ARGS)
{
	pointstore_begin_procedure(fcinfo, "sweep_holds()");
	pointstore_sweep();
	PG_RETURN_VOID();
}

/*
 * Closes what has expired, in transactions of its own; the caller is in one that has
 * not written. What others have locked, and what cannot be closed, is passed over.
 */
void
pointstore_sweep(void)
{
	MemoryContext context;
	Place		place = {.may_stay = false};
	int			n = SWEEP_BATCH;

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* a child of SPI's, which outlives transactions */
	context = AllocSetContextCreate(CurrentMemoryContext, "pointstore sweep", ALLOCSET_DEFAULT_SIZES);
	place.account = cstring_to_text("");
	place.hold = cstring_to_text("");
	pointstore_next_step();
	while (n == SWEEP_BATCH)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		PointstoreScope scope;
		ProposedEvent *events;

		pointstore_act_as_owner_of_holds(&scope);
		n = find_expired(&place, &events);
		if (n > 0)
		{
			close_expired(events, n);
			/* the other holds of an account that is locked are locked too */
			place.may_stay = events[n - 1].outcome != OUTCOME_BUSY;
		}
		pointstore_act_as_caller(&scope);
		MemoryContextSwitchTo(old);
		place.account = DatumGetTextPCopy(PointerGetDatum(place.account));
		place.hold = DatumGetTextPCopy(PointerGetDatum(place.hold));
		MemoryContextReset(context);
		pointstore_next_step();
	}
	pointstore_last_step();
	SPI_finish();
}

/* The next expired holds as events to be appended; *place becomes that of the last one. */
static int
find_expired(Place *place, ProposedEvent **events)
{
	static PointstorePlan plan = {
		.sql = "SELECT hold_id, aggregate_id, expires_at FROM pointstore.hold"
		" WHERE status" EQ "'open' AND expires_at" LE "pg_catalog.clock_timestamp()"
		"   AND aggregate_id" GE "$1"
		"   AND (aggregate_id" GT "$1 OR ($2 AND (expires_at" GT "$3 OR (expires_at" EQ "$3 AND hold_id" GT "$4))))"
		" ORDER BY aggregate_id, expires_at, hold_id LIMIT $5",
		.nargs = 5, .argtypes = {TEXTOID, BOOLOID, TIMESTAMPTZOID, TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[5];
	int			n;
	int			i;
	bool		isnull;

	values[0] = PointerGetDatum(place->account);
	values[1] = BoolGetDatum(place->may_stay);
	values[2] = TimestampTzGetDatum(place->expires_at);
	values[3] = PointerGetDatum(place->hold);
	values[4] = Int64GetDatum(SWEEP_BATCH);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	n = SPI_processed;
	MemoryContextSwitchTo(context);
	*events = palloc0(sizeof(ProposedEvent) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		Step	   *step = palloc0(sizeof(Step));

		step->to = HOLD_EXPIRED;
		step->hold_id = place->hold = cstring_to_text(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		place->account = cstring_to_text(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		place->expires_at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &isnull));
		(*events)[i] = step_event(step, palloc0(sizeof(Hold)), place->account);
	}
	SPI_finish();
	return n;
}

/* Closes a batch; where something in it fails, each by itself, and what fails then stays open. */
static void
close_expired(ProposedEvent *events, int n)
{
	int			i;

	if (close_batch(events, n) || n == 1)
		return;
	for (i = 0; i < n; i++)
		(void) close_batch(&events[i], 1);
}

/* False, with a WARNING where it is a single one and that is news: an error, and nothing is done. */
static bool
close_batch(ProposedEvent *events, int n)
{
	Batch		batch = {.events = events, .nevents = n, .apart = true};
	ErrorData  *error = pointstore_attempt(append_closings, &batch);

	if (error == NULL)
		return true;
	if (n == 1 && is_news(events, error))
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("hold \"%s\" has expired and cannot be closed: %s",
						pointstore_cstring(((Step *) events->subject)->hold_id), error->message),
				 errdetail("Until tomorrow nothing more of the kind is told of its account's holds.")));
	return false;
}

/* Whether that has not been told of this account lately. */
static bool
is_news(const ProposedEvent *event, const ErrorData *error)
{
	text	   *account = event->aggregate_id;
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account), 0));

	return pointstore_is_news(hash_combine64(hash, error->sqlerrcode));
}

static bool
append_closings(void *arg)
{
	Batch	   *batch = arg;
	int			i;

	pointstore_append(batch);
	for (i = 0; i < batch->nevents; i++)
	{
		pointstore_release_hold(batch->events[i].hold);
		/* what somebody else has closed meanwhile is no refusal */
		if (batch->events[i].outcome == OUTCOME_APPENDED)
			pointstore_count_event(&batch->events[i]);
	}
	return true;
}
