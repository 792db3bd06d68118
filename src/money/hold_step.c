/*-------------------------------------------------------------------------
 *
 * src/money/hold_step.c
 *		Steps of holds as proposed events.
 *
 * What a step does depends on the hold's row, so its event is proposed from inside
 * the attempt, when the account is locked or its row is about to be (account/held.c).
 *
 * A step that has been done is not done again: the hold's row knows the event
 * that placed it, and what closed it has that event as its cause. So a repeat
 * finds the first receipt without any other name than the hold's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/held.h"
#include "append/refusal.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/scan.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "money/hold_step.h"

static const char *const step_types[] = {"HoldPlaced", "HoldConfirmed", "HoldCancelled", "HoldExpired"};

static bool propose_placing(ProposedEvent *event, Snapshot snapshot);
static bool repeat_placing(ProposedEvent *event, const HoldStep *step);
static bool propose_closing(ProposedEvent *event, Snapshot snapshot);
static bool refuse_excess(ProposedEvent *event, const Hold *hold);
static bool repeat_closing(ProposedEvent *event, const HoldStep *step);
static bool repeat_credit(ProposedEvent *event, const HoldStep *step);
static text *find_credited(int64 confirmed);
static bool propose_credit(ProposedEvent *event, Snapshot snapshot);
static bool decide(ProposedEvent *event, Outcome outcome);
static bool mismatch(ProposedEvent *event, const char *field, const char *asked, const char *stored);
static bool mismatch_in_number(ProposedEvent *event, const char *field, int64 asked, int64 stored);
static bool end_repeat(ProposedEvent *event, Jsonb *stored);
static Jsonb *replay(ProposedEvent *event, PointstorePlan *plan);
static int64 find_version(const Hold *hold, PointstorePlan *plan);
static Jsonb *hold_metadata(const HoldStep *step, const Hold *hold);
static void push_member(JsonbParseState **state, const char *key, const char *value, int length);

/* An event of a step, but for what depends on the store. */
ProposedEvent
pointstore_hold_event(HoldStep *step, Hold *hold, text *aggregate_id)
{
	ProposedEvent event = {
		.aggregate_id = aggregate_id,
		.event_type = cstring_to_text(step_types[step->to]),
		.payload = pointstore_empty_payload(),
		.hold = hold, .subject = step,
		.propose = step->to == HOLD_OPEN ? propose_placing : propose_closing,
		/* what was reserved is there, whatever became of the floor */
		.any_floor = step->to == HOLD_CONFIRMED,
		.any_status = step->to == HOLD_CANCELLED || step->to == HOLD_EXPIRED
	};

	return event;
}

/* The event after that of a confirmation: what it has taken goes to the account that is named. */
ProposedEvent
pointstore_hold_credit(const HoldStep *step)
{
	ProposedEvent event = {
		.aggregate_id = step->to_id, .event_type = cstring_to_text("Transferred"), .payload = step->payload,
		.propose = propose_credit
	};

	return event;
}

/* A new hold, unless there is one of that name. */
static bool
propose_placing(ProposedEvent *event, Snapshot snapshot)
{
	const HoldStep *step = event->subject;
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
repeat_placing(ProposedEvent *event, const HoldStep *step)
{
	static PointstorePlan plan = {
		.sql = "SELECT version FROM pointstore.event_store WHERE id" EQ "$1 AND aggregate_id" EQ "$2",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	const Hold *hold = event->hold;
	Jsonb	   *payload = hold->has_event ? replay(event, &plan) : NULL;

	if (pointstore_hold_mismatch(event, step))
		return false;
	if (!hold->has_event)
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	if (hold->amount != step->amount)
		return mismatch_in_number(event, "amount", step->amount, hold->amount);
	return end_repeat(event, payload);
}

/* What closes an open hold; a repeat, or a hold that is not open, is decided here. */
static bool
propose_closing(ProposedEvent *event, Snapshot snapshot)
{
	const HoldStep *step = event->subject;
	Hold	   *hold = event->hold;

	pointstore_release_hold(hold);
	memset(hold, 0, sizeof(Hold));
	if (!pointstore_read_hold(hold, step->hold_id, snapshot, &event->again))
		elog(ERROR, "hold \"%s\" is gone", pointstore_cstring(step->hold_id));
	if (pointstore_hold_mismatch(event, step))
		return false;
	if (hold->status != HOLD_OPEN)
		return repeat_closing(event, step);
	hold->has_expired = hold->expires_at <= pointstore_account_clock(event->account);
	/* a sweep waits for no other backend, and goes on to the account's other holds */
	if (step->to == HOLD_EXPIRED && !pointstore_lock_hold_if_free(hold, snapshot))
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	if (step->to == HOLD_CONFIRMED ? hold->has_expired : step->to == HOLD_EXPIRED && !hold->has_expired)
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	if (step->to == HOLD_CONFIRMED)
		hold->captured = step->whole ? hold->amount : step->amount;
	if (hold->captured > hold->amount)
		return refuse_excess(event, hold);
	event->amount = -hold->captured;
	event->held = -hold->amount;
	event->has_cause = true;
	event->cause_id = hold->event_id;
	hold->status = step->to;
	event->metadata = hold_metadata(step, hold);
	return true;
}

/* More is to be confirmed than is held. */
static bool
refuse_excess(ProposedEvent *event, const Hold *hold)
{
	event->reason = REASON_HOLD_SMALLER;
	event->limit = hold->amount;
	event->requested = hold->captured;
	return decide(event, OUTCOME_NOT_ALLOWED);
}

/* A hold that is closed: the first receipt, where the same was done, or it was given back by itself. */
static bool
repeat_closing(ProposedEvent *event, const HoldStep *step)
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

	if (!same)
		return decide(event, OUTCOME_HOLD_NOT_OPEN);
	payload = replay(event, &plan);
	if (step->to != HOLD_CONFIRMED)
		return decide(event, OUTCOME_REPLAYED);
	if (hold->captured != amount)
		return mismatch_in_number(event, "amount", amount, hold->captured);
	return repeat_credit(event, step) && end_repeat(event, payload);
}

/* Whether what was taken went to the account that is named now; else that is decided. */
static bool
repeat_credit(ProposedEvent *event, const HoldStep *step)
{
	text	   *credited = find_credited(event->id);

	if (credited == NULL && step->to_id == NULL)
		return true;
	if (credited != NULL && step->to_id != NULL && pointstore_same_text(credited, step->to_id))
		return true;
	return mismatch(event, "to_id", step->to_id ? pointstore_cstring(step->to_id) : "null",
					credited ? pointstore_cstring(credited) : "null");
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

/* Whether the caller names another account than the hold's: then that is decided. */
bool
pointstore_hold_mismatch(ProposedEvent *event, const HoldStep *step)
{
	text	   *account = event->hold->aggregate_id;

	if (step->aggregate_id == NULL || VARSIZE_ANY_EXHDR(account) == 0 ||
		pointstore_same_text(account, step->aggregate_id))
		return false;
	(void) mismatch(event, "aggregate_id", pointstore_cstring(step->aggregate_id), pointstore_cstring(account));
	return true;
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
mismatch(ProposedEvent *event, const char *field, const char *asked, const char *stored)
{
	event->mismatch = field;
	event->asked = pointstore_clipped(asked);
	event->stored = pointstore_clipped(stored);
	return decide(event, OUTCOME_REQUEST_MISMATCH);
}

/* The same of a number. */
static bool
mismatch_in_number(ProposedEvent *event, const char *field, int64 asked, int64 stored)
{
	return mismatch(event, field, psprintf(INT64_FORMAT, asked), psprintf(INT64_FORMAT, stored));
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
	RowKey		key = {0};
	RowScan		scan;
	Jsonb	   *payload;
	bool		isnull;

	event->applied_version = find_version(event->hold, plan);
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

/* The version of the event of a step that was done; XX001 when it is gone. */
static int64
find_version(const Hold *hold, PointstorePlan *plan)
{
	Datum		values[2];
	int64		version = 0;
	bool		found;
	bool		isnull;

	values[0] = Int64GetDatum(hold->event_id);
	values[1] = PointerGetDatum(hold->aggregate_id);
	SPI_connect();
	pointstore_execute(plan, values, NULL, true);
	found = SPI_processed > 0;
	if (found)
		version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the event of a step of hold \"%s\" is gone", pointstore_cstring(hold->id)),
				 errhint("SELECT * FROM pointstore.reconcile_account('%s'); says what else is wrong.",
						 pointstore_cstring(hold->aggregate_id))));
	return version;
}

/*
 * {"hold_id": ...}, added to the caller's own, and of a new hold "expires_at": so the events by
 * themselves tell what became of each.
 */
static Jsonb *
hold_metadata(const HoldStep *step, const Hold *hold)
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

/* Adds a member to an object that is being made. */
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
