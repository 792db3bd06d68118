/*-------------------------------------------------------------------------
 *
 * src/money/reversal.c
 *		Reversals: events that take others back.
 *
 * An event is taken back by events EventReversed, whose cause it is. How much
 * of it has been taken back before is summed when the account is locked, or its
 * row about to be (append/append.c), so that two at once never take back more than
 * there was. A movement of several legs (transfer.c) is taken back in all of them, in the
 * same proportion and from the last to the first: so an account that several of them
 * went through stands, after each, where it stood before.
 *
 * Legs on other nodes of a distributed store go there as parts of the batch (append/spread.c): reverse_part() proposes them
 * once more, from the event as it finds it there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "append/append.h"
#include "append/batch.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/part.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "ground/identity.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/shard.h"
#include "ground/store.h"
#include "ground/step.h"
#include "money/legs.h"
#include "money/reversal.h"

PG_FUNCTION_INFO_V1(pointstore_reverse_event);
PG_FUNCTION_INFO_V1(pointstore_try_reverse_event);
PG_FUNCTION_INFO_V1(pointstore_reverse_part);

/* What is to be taken back of one event. */
typedef struct Reversal
{
	int64		id;
	int64		version;
	int64		amount;
	int64		requested;		/* of the asked event; 0: whatever is left */
	int128		part;			/* of the amount, without sign; likewise */
	bool		is_asked;		/* the event that the caller has named */
	Reason		refusal;		/* why it cannot be reversed */
} Reversal;

static Datum reverse(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static void check_arguments(FunctionCallInfo fcinfo);
static int	propose_reversals(text *id, int64 version, ProposedEvent **events);
static bool read_event(text *aggregate_id, Reversal *reversal);
static ProposedEvent refused_event(text *id, int64 version, Reason refusal);
static ProposedEvent reversal_event(text *id, Reversal *reversal);
static void share_out(ProposedEvent *events, int n, int64 amount);
static void take_share(ProposedEvent *event, int64 amount, int64 whole);
static void append_reversals(Batch *batch);
static void tell_nodes(const Batch *batch);
static ProposedEvent told_reversal(const ProposedEvent *told);
static void check_told(const ProposedEvent *told);
static void refuse_twice(const Batch *batch);
static int	compare_causes(const void *a, const void *b);
static Proposing propose_reversal(BatchEvent *event, Snapshot snapshot);
static Proposing refuse(BatchEvent *event, Reason reason);
static int128 left_of(text *id, const Reversal *reversal, int64 version);
static void refuse_partial_replay(Batch *batch);
static void reverse_order(Batch *batch);

/* reverse_event(aggregate_id, version, amount, request_id, allow_debt) */
Datum
pointstore_reverse_event(PG_FUNCTION_ARGS)
{
	return reverse(fcinfo, false);
}

/* try_reverse_event(...): the same, a refusal as the outcome of one receipt. */
Datum
pointstore_try_reverse_event(PG_FUNCTION_ARGS)
{
	return reverse(fcinfo, true);
}

/* An event, with the other legs of its movement, taken back in the caller's transaction. */
static Datum
reverse(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	Batch		batch = {.refusals_are_outcomes = refusals_are_outcomes, .may_spread = true, .part_function = "reverse_part"};
	text	   *id;
	text	   *request_id;
	int			i;

	pointstore_check_arguments(fcinfo, 5);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	check_arguments(fcinfo);
	request_id = PG_ARGISNULL(3) ? NULL : pointstore_name(fcinfo, 3, "request_id");
	if (PG_GETARG_BOOL(4))
		pointstore_require_operator(GetUserId(), "reverse events into debt");
	batch.nevents = propose_reversals(id, PG_GETARG_INT64(1), &batch.proposals);
	pointstore_make_request(batch.proposals, batch.nevents, request_id);
	for (i = 0; i < batch.nevents; i++)
	{
		batch.proposals[i].any_amount = PG_ARGISNULL(2);
		batch.proposals[i].any_floor = PG_GETARG_BOOL(4);
	}
	if (!PG_ARGISNULL(2))
		share_out(batch.proposals, batch.nevents, PG_GETARG_INT64(2));
	if (pointstore_is_distributed())
		tell_nodes(&batch);
	append_reversals(&batch);
	if (batch.refused == NULL)
		reverse_order(&batch);
	return pointstore_answer_all(fcinfo, &batch);
}

/* What the arguments may not be: 22004, 22023, 25006. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "version" : "allow_debt")));
	if (!PG_ARGISNULL(2) && PG_GETARG_INT64(2) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amount to be reversed must be positive, is %lld", (long long) PG_GETARG_INT64(2))));
	PreventCommandIfReadOnly("reverse_event()");
}

/*
 * What reverses an event and, where it is a leg, the other legs that moved something. Of one
 * that is not there, or is none to be reversed, an event that is refused.
 */
static int
propose_reversals(text *id, int64 version, ProposedEvent **events)
{
	Leg		   *legs;
	int			nlegs = pointstore_find_legs(id, version, &legs);
	Reason		refusal = nlegs == 0 ? REASON_NO_EVENT : REASON_PLAIN;
	int			n = 0;
	int			i;

	*events = palloc_extended(sizeof(ProposedEvent) * Max(nlegs, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (i = 0; i < nlegs; i++)
	{
		Reversal   *reversal = palloc0(sizeof(Reversal));

		reversal->id = legs[i].id;
		reversal->version = legs[i].version;
		reversal->amount = legs[i].amount;
		reversal->is_asked = legs[i].is_asked;
		if (legs[i].is_asked && (legs[i].is_reversal || legs[i].amount == 0))
			refusal = legs[i].is_reversal ? REASON_IS_REVERSAL : REASON_MOVED_NOTHING;
		if (reversal->amount != 0)
			(*events)[n++] = reversal_event(legs[i].aggregate_id, reversal);
	}
	if (refusal == REASON_PLAIN)
		return n;
	(*events)[0] = refused_event(id, version, refusal);
	return 1;
}

/* What takes back whatever is left of one event of an account, without other legs; refused where it is gone. */
ProposedEvent
pointstore_undoing_event(text *aggregate_id, int64 id)
{
	Reversal   *reversal = palloc0(sizeof(Reversal));

	reversal->id = id;
	/* one that lacks them has not been taken back: it is damaged */
	return read_event(aggregate_id, reversal) ? reversal_event(aggregate_id, reversal) : refused_event(aggregate_id, 0, REASON_NO_EVENT);
}

/* Reads the version and the amount of an event of an account by its id; false: it is not there, or lacks them. */
static bool
read_event(text *aggregate_id, Reversal *reversal)
{
	static PointstorePlan plan = {
		.sql = "SELECT version, amount, event_type" EQ "'EventReversed' FROM pointstore.event_store WHERE id" EQ "$1 AND aggregate_id" EQ "$2",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2];
	bool		no_version = true;
	bool		no_amount = true;
	bool		isnull;

	values[0] = Int64GetDatum(reversal->id);
	values[1] = PointerGetDatum(aggregate_id);
	SPI_connect();
	pointstore_execute_of(&plan, aggregate_id, values, NULL, false);
	if (SPI_processed > 0)
	{
		reversal->version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &no_version));
		reversal->amount = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &no_amount));
		if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull)))
			reversal->refusal = REASON_IS_REVERSAL;
	}
	SPI_finish();
	return !no_version && !no_amount;
}

/* An event that propose_reversal() refuses. */
static ProposedEvent
refused_event(text *id, int64 version, Reason refusal)
{
	Reversal   *asked = palloc0(sizeof(Reversal));

	asked->version = version;
	asked->refusal = refusal;
	return reversal_event(id, asked);
}

/* What takes back one event, as far as propose_reversal() then finds it has not been. */
static ProposedEvent
reversal_event(text *id, Reversal *reversal)
{
	ProposedEvent event = {
		.aggregate_id = id,
		.event_type = cstring_to_text("EventReversed"),
		.payload = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(
			psprintf("{\"version\": " INT64_FORMAT "}", reversal->version)))),
		.has_cause = reversal->id != 0, .cause_id = reversal->id,
		.propose = propose_reversal, .propose_arg = reversal
	};

	return event;
}

/* Gives each leg its part of an amount that is meant of the asked one. */
static void
share_out(ProposedEvent *events, int n, int64 amount)
{
	int64		whole = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (((Reversal *) events[i].propose_arg)->is_asked)
			whole = ((Reversal *) events[i].propose_arg)->amount;
	for (i = 0; i < n; i++)
		take_share(&events[i], amount, whole);
}

/* Of one leg, where that amount is meant of one whose whole it is; refused where that comes to fractions. */
static void
take_share(ProposedEvent *event, int64 amount, int64 whole)
{
	Reversal   *reversal = event->propose_arg;
	int128		part = (int128) reversal->amount * amount;

	if (reversal->refusal != REASON_PLAIN)
		return;
	if (part % whole != 0)
		reversal->refusal = REASON_FRACTION;
	reversal->requested = amount;
	part /= whole;
	if (part < 0)
		part = -part;
	reversal->part = part;
	/* what bigint has no room for propose_reversal() refuses */
	event->amount = part > PG_INT64_MAX ? 0 : (int64) (reversal->amount < 0 ? part : -part);
}

/* Appends proposed reversals, here or where their accounts are. */
static void
append_reversals(Batch *batch)
{
	pointstore_append_or_leave(batch);
	if (batch->proposals->any_amount && batch->refused == NULL && batch->decisions->outcome == OUTCOME_REPLAYED &&
		pointstore_is_here(batch->proposals->aggregate_id))
		refuse_partial_replay(batch);
}

/* What another node needs to propose the same, besides the event's id, which is the cause. */
static void
tell_nodes(const Batch *batch)
{
	const Reversal *asked = NULL;
	int			i;

	for (i = 0; i < batch->nevents; i++)
		if (((const Reversal *) batch->proposals[i].propose_arg)->is_asked)
			asked = batch->proposals[i].propose_arg;
	for (i = 0; i < batch->nevents; i++)
	{
		const Reversal *reversal = batch->proposals[i].propose_arg;
		JsonbParseState *state = NULL;

		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		if (!batch->proposals[i].has_cause)
		{
			pointstore_push_number(&state, "refusal", reversal->refusal);
			pointstore_push_number(&state, "version", reversal->version);
		}
		else if (!batch->proposals[i].any_amount)
		{
			pointstore_push_number(&state, "amount", asked->requested);
			pointstore_push_number(&state, "whole", asked->amount);
		}
		pointstore_push_number(&state, "any_amount", batch->proposals[i].any_amount);
		pointstore_push_number(&state, "any_floor", batch->proposals[i].any_floor);
		batch->proposals[i].told = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	}
}

/*
 * reverse_part(aggregate_id, part): what reverse_event() on another node has for this one. Its callers say which legs of a
 * movement are taken back, as they may append the opposite anyway; how much there is to be taken back of each is looked up here.
 */
Datum
pointstore_reverse_part(PG_FUNCTION_ARGS)
{
	Batch		batch = {0};
	PointstoreScope scope;
	int			i;

	pointstore_read_part(fcinfo, &batch, propose_reversal);
	pointstore_require_nodes();
	pointstore_act_as_owner(&scope);
	for (i = 0; i < batch.nevents + batch.nchecks; i++)
	{
		CHECK_FOR_INTERRUPTS();
		check_told(&batch.proposals[i]);
		batch.proposals[i] = told_reversal(&batch.proposals[i]);
		if (batch.proposals[i].any_floor)
			pointstore_require_operator(scope.user, "reverse events into debt");
	}
	refuse_twice(&batch);
	if (batch.nevents > 0)
		append_reversals(&batch);
	pointstore_act_as_caller(&scope);
	return pointstore_answer_part(fcinfo, &batch);
}

/* What a told event may not say: 22023. */
static void
check_told(const ProposedEvent *told)
{
	bool		any_amount = pointstore_told_number(told, "any_amount", 0) != 0;

	if (told->is_check || told->told == NULL ||
		(told->has_cause && !any_amount &&
		 (pointstore_told_number(told, "whole", 0) == 0 || pointstore_told_number(told, "amount", 0) <= 0)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reversal of a part lacks something")));
}

/* The reversal that another node tells; the event is looked up by its id. */
static ProposedEvent
told_reversal(const ProposedEvent *told)
{
	Reversal   *reversal = palloc0(sizeof(Reversal));
	int64		refusal = pointstore_told_number(told, "refusal", REASON_NO_EVENT);
	ProposedEvent event;

	reversal->id = told->cause_id;
	if (told->has_cause && read_event(told->aggregate_id, reversal))
		event = reversal_event(told->aggregate_id, reversal);
	else
		event = refused_event(told->aggregate_id, pointstore_told_number(told, "version", 0),
							  refusal == REASON_IS_REVERSAL || refusal == REASON_MOVED_NOTHING ? (Reason) refusal : REASON_NO_EVENT);
	event.any_amount = pointstore_told_number(told, "any_amount", 0) != 0;
	event.any_floor = pointstore_told_number(told, "any_floor", 0) != 0;
	if (event.has_cause && !event.any_amount)
		take_share(&event, pointstore_told_number(told, "amount", 0), pointstore_told_number(told, "whole", 0));
	event.request_id = told->request_id;
	event.leg = told->leg;
	event.legs_here = told->legs_here;
	event.followers = told->followers;
	return event;
}

/* No event of a part is taken back twice in it, for what is left of it is read before any of them is written: 22023. */
static void
refuse_twice(const Batch *batch)
{
	int64	   *causes = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * Max(batch->nevents, 1));
	int			n = 0;
	int			i;

	for (i = 0; i < batch->nevents; i++)
		if (batch->proposals[i].has_cause)
			causes[n++] = batch->proposals[i].cause_id;
	qsort(causes, n, sizeof(int64), compare_causes);
	for (i = 1; i < n; i++)
		if (causes[i] == causes[i - 1])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("an event is reversed twice in a part")));
	pfree(causes);
}

static int
compare_causes(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* What takes an event back, as far as it has not been taken back before; 22003 for what bigint has no opposite of. */
static Proposing
propose_reversal(BatchEvent *event, Snapshot snapshot)
{
	const Reversal *reversal = event->proposal->propose_arg;
	int128		left;
	int128		part;

	event->decision->applied_version = reversal->version;
	event->decision->requested = reversal->requested;
	if (reversal->refusal != REASON_PLAIN)
		return refuse(event, reversal->refusal);
	left = left_of(event->proposal->aggregate_id, reversal, PG_INT64_MAX);
	part = reversal->part > 0 ? reversal->part : left;
	if (left <= 0)
		return refuse(event, REASON_NOTHING_LEFT);
	if (part > left)
	{
		event->decision->limit = (int64) Min(left, PG_INT64_MAX);
		event->decision->requested = (int64) Min(part, PG_INT64_MAX);
		return refuse(event, REASON_LESS_LEFT);
	}
	if (part > PG_INT64_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the opposite of %lld is out of range for type bigint", (long long) reversal->amount)));
	event->proposal->amount = reversal->amount < 0 ? (int64) part : -(int64) part;
	return PROPOSING_DONE;
}

/* PS008 or PS011, for that reason. */
static Proposing
refuse(BatchEvent *event, Reason reason)
{
	event->decision->outcome = reason == REASON_NO_EVENT ? OUTCOME_ACCOUNT_MISSING : OUTCOME_NOT_ALLOWED;
	event->decision->account_unknown = !event->account->exists || event->account->opened;
	event->decision->reason = reason;
	return PROPOSING_DECIDED;
}

/*
 * What is left of an event, without sign, once its reversals up to that version of its account
 * have taken back what they did, in the active snapshot.
 */
static int128
left_of(text *id, const Reversal *reversal, int64 version)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST($3" PLUS "coalesce(pg_catalog.sum(amount), 0) AS pg_catalog.int8) FROM pointstore.event_store"
		" WHERE cause_id" EQ "$1 AND event_type" EQ "'EventReversed' AND version" LE "$2",
		.nargs = 3, .argtypes = {INT8OID, INT8OID, INT8OID}
	};
	Datum		values[3];
	bool		isnull;
	int128		left;

	values[0] = Int64GetDatum(reversal->id);
	values[1] = Int64GetDatum(version);
	values[2] = Int64GetDatum(reversal->amount);
	SPI_connect();
	pointstore_execute_of(&plan, id, values, NULL, true);
	left = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return reversal->amount < 0 ? -left : left;
}

/*
 * A request for all that is left is no repeat of one that has left something: PS002. One
 * leg tells, since all are taken back in the same proportion.
 */
static void
refuse_partial_replay(Batch *batch)
{
	ProposedEvent *event = &batch->proposals[0];
	Decision   *decision = &batch->decisions[0];
	PointstoreScope scope;

	pointstore_act_as_owner(&scope);
	(void) pointstore_push_snapshot();
	if (left_of(event->aggregate_id, event->propose_arg, decision->version) != 0)
	{
		decision->outcome = OUTCOME_REQUEST_MISMATCH;
		decision->mismatch = "amount";
		decision->asked = "all";
		decision->stored = psprintf(INT64_FORMAT, event->amount);
		batch->refused = decision;
		pointstore_raise_refused(batch);
		pointstore_report_stored_account(event, decision);
	}
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
}

/* The receipts come in the order of the legs. */
static void
reverse_order(Batch *batch)
{
	int			i;

	for (i = 0; i < batch->nevents / 2; i++)
	{
		int			other = batch->nevents - 1 - i;
		ProposedEvent proposal = batch->proposals[i];
		Decision	decision = batch->decisions[i];

		batch->proposals[i] = batch->proposals[other];
		batch->proposals[other] = proposal;
		batch->decisions[i] = batch->decisions[other];
		batch->decisions[other] = decision;
	}
}
