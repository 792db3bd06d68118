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
#include "append/batch.h"
#include "append/refusal.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/scan.h"
#include "ground/sql.h"
#include "money/hold_step.h"

static const char *const step_types[] = {"HoldPlaced", "HoldConfirmed", "HoldCancelled", "HoldExpired"};

static Proposing propose_placing(BatchEvent *event, Snapshot snapshot);
static Proposing repeat_placing(BatchEvent *event, const HoldStep *step);
static Proposing propose_closing(BatchEvent *event, Snapshot snapshot);
static Proposing refuse_excess(Decision *decision, const Hold *hold);
static Proposing repeat_closing(BatchEvent *event, const HoldStep *step);
static Proposing repeat_credit(BatchEvent *event, const HoldStep *step);
static bool is_leg(text *account, int64 version);
static text *find_credited(text *where, int64 confirmed);
static Proposing propose_credit(BatchEvent *event, Snapshot snapshot);
static Proposing decide(Decision *decision, Outcome outcome);
static Proposing mismatch(Decision *decision, const char *field, const char *asked, const char *stored);
static Proposing mismatch_in_number(Decision *decision, const char *field, int64 asked, int64 stored);
static Proposing end_repeat(BatchEvent *event, Jsonb *stored);
static Jsonb *replay(BatchEvent *event, PointstorePlan *plan);
static int64 find_version(const Hold *hold, PointstorePlan *plan);
static Jsonb *hold_metadata(const HoldStep *step, const Hold *hold);

/* An event of a step, but for what depends on the store. */
ProposedEvent
pointstore_hold_event(HoldStep *step, Hold *hold, text *aggregate_id)
{
	ProposedEvent event = {
		.aggregate_id = aggregate_id,
		.event_type = cstring_to_text(step_types[step->to]),
		.payload = pointstore_empty_payload(),
		.hold = hold, .propose_arg = step,
		.propose = step->to == HOLD_OPEN ? propose_placing : propose_closing,
		/* what was reserved is there, whatever became of the floor */
		.any_floor = step->to == HOLD_CONFIRMED,
		.any_status = step->to == HOLD_CANCELLED || step->to == HOLD_EXPIRED,
		.any_lease = step->to == HOLD_EXPIRED
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
static Proposing
propose_placing(BatchEvent *event, Snapshot snapshot)
{
	ProposedEvent *proposal = event->proposal;
	const HoldStep *step = proposal->propose_arg;
	Hold	   *hold = proposal->hold;
	bool		again;
	TimestampTz now = pointstore_account_clock(event->account);

	pointstore_release_hold(hold);
	memset(hold, 0, sizeof(Hold));
	if (pointstore_read_hold(hold, step->aggregate_id, step->hold_id, snapshot, &again))
		return repeat_placing(event, step);
	if (again)
		return PROPOSING_AGAIN;
	hold->id = step->hold_id;
	hold->aggregate_id = step->aggregate_id;
	hold->amount = proposal->held = step->amount;
	hold->expires_at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
															   IntervalPGetDatum(step->expires_in)));
	if (hold->expires_at <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hold must expire in the future")));
	proposal->metadata = hold_metadata(step, hold);
	return PROPOSING_DONE;
}

/* The first receipt; a request mismatch where it was for something else; not open where it was cancelled before. */
static Proposing
repeat_placing(BatchEvent *event, const HoldStep *step)
{
	static PointstorePlan plan = {
		.sql = "SELECT version FROM pointstore.event_store WHERE id" EQ "$1 AND aggregate_id" EQ "$2",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	const Hold *hold = event->proposal->hold;
	Jsonb	   *payload = hold->has_event ? replay(event, &plan) : NULL;

	if (pointstore_hold_mismatch(event->decision, hold, step))
		return PROPOSING_DECIDED;
	if (!hold->has_event)
		return decide(event->decision, OUTCOME_HOLD_NOT_OPEN);
	if (hold->amount != step->amount)
		return mismatch_in_number(event->decision, "amount", step->amount, hold->amount);
	return end_repeat(event, payload);
}

/* What closes an open hold; a repeat, or a hold that is not open, is decided here. */
static Proposing
propose_closing(BatchEvent *event, Snapshot snapshot)
{
	ProposedEvent *proposal = event->proposal;
	const HoldStep *step = proposal->propose_arg;
	Hold	   *hold = proposal->hold;
	bool		again;

	pointstore_release_hold(hold);
	memset(hold, 0, sizeof(Hold));
	if (!pointstore_read_hold(hold, step->aggregate_id, step->hold_id, snapshot, &again))
		elog(ERROR, "hold \"%s\" is gone", pointstore_cstring(step->hold_id));
	if (pointstore_hold_mismatch(event->decision, hold, step))
		return PROPOSING_DECIDED;
	if (hold->status != HOLD_OPEN)
		return repeat_closing(event, step);
	hold->has_expired = hold->expires_at <= pointstore_account_clock(event->account);
	/* a sweep waits for no other backend, and goes on to the account's other holds */
	if (step->to == HOLD_EXPIRED && !pointstore_lock_hold_if_free(hold, snapshot))
		return decide(event->decision, OUTCOME_HOLD_NOT_OPEN);
	if (step->to == HOLD_CONFIRMED ? hold->has_expired : step->to == HOLD_EXPIRED && !hold->has_expired)
		return decide(event->decision, OUTCOME_HOLD_NOT_OPEN);
	if (step->to == HOLD_CONFIRMED)
		hold->captured = step->whole ? hold->amount : step->amount;
	if (hold->captured > hold->amount)
		return refuse_excess(event->decision, hold);
	proposal->amount = -hold->captured;
	proposal->held = -hold->amount;
	proposal->has_cause = true;
	proposal->cause_id = hold->event_id;
	hold->status = step->to;
	proposal->metadata = hold_metadata(step, hold);
	return PROPOSING_DONE;
}

/* More is to be confirmed than is held. */
static Proposing
refuse_excess(Decision *decision, const Hold *hold)
{
	decision->reason = REASON_HOLD_SMALLER;
	decision->limit = hold->amount;
	decision->requested = hold->captured;
	return decide(decision, OUTCOME_NOT_ALLOWED);
}

/* A hold that is closed: the first receipt, where the same was done, or it was given back by itself. */
static Proposing
repeat_closing(BatchEvent *event, const HoldStep *step)
{
	static PointstorePlan plan = {
		.sql = "SELECT version FROM pointstore.event_store WHERE cause_id" EQ "$1 AND aggregate_id" EQ "$2"
		" AND event_type" EQ "ANY (ARRAY['HoldConfirmed', 'HoldCancelled', 'HoldExpired'])",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	const Hold *hold = event->proposal->hold;
	bool		same = hold->status == step->to || (step->to == HOLD_CANCELLED && hold->status == HOLD_EXPIRED);
	int64		amount = step->whole ? hold->amount : step->amount;
	Jsonb	   *payload;
	Proposing	credit;

	if (!same)
		return decide(event->decision, OUTCOME_HOLD_NOT_OPEN);
	payload = replay(event, &plan);
	if (step->to != HOLD_CONFIRMED)
		return decide(event->decision, OUTCOME_REPLAYED);
	if (hold->captured != amount)
		return mismatch_in_number(event->decision, "amount", amount, hold->captured);
	credit = repeat_credit(event, step);
	return credit == PROPOSING_DONE ? end_repeat(event, payload) : credit;
}

/* Whether what was taken went to the account that is named now; else that is decided. */
static Proposing
repeat_credit(BatchEvent *event, const HoldStep *step)
{
	text	   *credited = find_credited(step->to_id != NULL ? step->to_id : event->account->id, event->decision->id);

	if (credited == NULL && step->to_id == NULL && !(pointstore_is_distributed() && is_leg(event->account->id, event->decision->version)))
		return PROPOSING_DONE;
	if (credited != NULL && step->to_id != NULL && pointstore_same_text(credited, step->to_id))
		return PROPOSING_DONE;
	return mismatch(event->decision, "to_id", step->to_id ? pointstore_cstring(step->to_id) : "null",
					credited ? pointstore_cstring(credited) : step->to_id ? "null" : "an account elsewhere");
}

/* The account that got what the event of a confirmed hold has taken, or NULL; of a distributed store one that is where an account is. */
static text *
find_credited(text *where, int64 confirmed)
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
	pointstore_execute_of(&plan, where, &id, NULL, true);
	if (SPI_processed > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		credited = cstring_to_text(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return credited;
}

/* Whether an event is one of several of a movement, of which the others may be elsewhere. */
static bool
is_leg(text *account, int64 version)
{
	static PointstorePlan plan = {
		.sql = "SELECT 1 FROM pointstore.event_store WHERE aggregate_id" EQ "$1 AND version" EQ "$2 AND leg IS NOT NULL",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {PointerGetDatum(account), Int64GetDatum(version)};
	bool		found;

	SPI_connect();
	pointstore_execute_of(&plan, account, values, NULL, true);
	found = SPI_processed > 0;
	SPI_finish();
	return found;
}

/* What was taken, by the event before. */
static Proposing
propose_credit(BatchEvent *event, Snapshot snapshot)
{
	const BatchEvent *confirmed = event - 1;

	if (confirmed->decision->outcome == OUTCOME_REPLAYED)
		return decide(event->decision, OUTCOME_REPLAYED);
	event->proposal->amount = -confirmed->proposal->amount;
	event->proposal->metadata = confirmed->proposal->metadata;
	return PROPOSING_DONE;
}

/* Whether the caller names another account than the hold's: then that is decided. */
bool
pointstore_hold_mismatch(Decision *decision, const Hold *hold, const HoldStep *step)
{
	text	   *account = hold->aggregate_id;

	if (step->aggregate_id == NULL || VARSIZE_ANY_EXHDR(account) == 0 ||
		pointstore_same_text(account, step->aggregate_id))
		return false;
	(void) mismatch(decision, "aggregate_id", pointstore_cstring(step->aggregate_id), pointstore_cstring(account));
	return true;
}

/* propose() has decided. */
static Proposing
decide(Decision *decision, Outcome outcome)
{
	decision->outcome = outcome;
	return PROPOSING_DECIDED;
}

/* propose() has decided: that field is one thing here, and was another. */
static Proposing
mismatch(Decision *decision, const char *field, const char *asked, const char *stored)
{
	decision->mismatch = field;
	decision->asked = pointstore_clipped(asked);
	decision->stored = pointstore_clipped(stored);
	return decide(decision, OUTCOME_REQUEST_MISMATCH);
}

/* The same of a number. */
static Proposing
mismatch_in_number(Decision *decision, const char *field, int64 asked, int64 stored)
{
	return mismatch(decision, field, psprintf(INT64_FORMAT, asked), psprintf(INT64_FORMAT, stored));
}

/* The outcome of a repeat that is the same but for its payload, perhaps. */
static Proposing
end_repeat(BatchEvent *event, Jsonb *stored)
{
	ProposedEvent first = {.payload = stored};

	if (compareJsonbContainers(&event->proposal->payload->root, &stored->root) == 0)
		return decide(event->decision, OUTCOME_REPLAYED);
	event->decision->mismatch = "payload";
	pointstore_tell_difference(event->proposal, event->decision, &first);
	return decide(event->decision, OUTCOME_REQUEST_MISMATCH);
}

/*
 * The receipt of a step that was done before, by its event, whose version the plan
 * finds; XX001 when that is gone. Returns that event's payload.
 */
static Jsonb *
replay(BatchEvent *event, PointstorePlan *plan)
{
	const Hold *hold = event->proposal->hold;
	Decision   *decision = event->decision;
	const AttrNumber *att;
	RowKey		key = {0};
	RowScan		scan;
	Jsonb	   *payload;
	bool		isnull;

	decision->applied_version = find_version(hold, plan);
	pointstore_key_text(&key, hold->aggregate_id);
	pointstore_key_at_most(&key, decision->applied_version);
	pointstore_scan_begin(&scan, hold->aggregate_id, INDEX_EVENT, GetActiveSnapshot(), &key);
	att = scan.table->att;
	if (!pointstore_scan_next(&scan, BackwardScanDirection))
		elog(ERROR, "version %lld is gone", (long long) decision->applied_version);
	decision->version = decision->applied_version;
	decision->balance = DatumGetInt64(slot_getattr(scan.slot, att[EV_BALANCE_AFTER], &isnull));
	decision->id = DatumGetInt64(slot_getattr(scan.slot, att[EV_ID], &isnull));
	decision->created_at = DatumGetTimestampTz(slot_getattr(scan.slot, att[EV_CREATED_AT], &isnull));
	decision->durable = pointstore_row_durable(scan.slot);
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
	pointstore_execute_of(plan, hold->aggregate_id, values, NULL, true);
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
	pointstore_push_text(&state, "hold_id", step->hold_id);
	if (step->to == HOLD_OPEN)
	{
		JsonEncodeDateTime(expiry, TimestampTzGetDatum(hold->expires_at), TIMESTAMPTZOID, &utc);
		pointstore_push_string(&state, "expires_at", expiry);
	}
	ours = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (step->metadata == NULL)
		return ours;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(step->metadata), JsonbPGetDatum(ours)));
}
