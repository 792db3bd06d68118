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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "append/append.h"
#include "append/batch.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "ground/step.h"
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

static Datum reverse(FunctionCallInfo fcinfo, int arguments, bool refusals_are_outcomes);
static Datum reverse_there(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static void refuse_other_legs(text *id, int64 version);
static void check_arguments(FunctionCallInfo fcinfo);
static int	find_legs(text *id, int64 version, ProposedEvent **events);
static Reversal *read_leg(HeapTuple row, TupleDesc desc, Reason *refusal);
static ProposedEvent refused_event(text *id, int64 version, Reason refusal);
static ProposedEvent reversal_event(text *id, Reversal *reversal);
static void share_out(ProposedEvent *events, int n, int64 amount);
static Proposing propose_reversal(BatchEvent *event, Snapshot snapshot);
static Proposing refuse(BatchEvent *event, Reason reason);
static int128 left_of(text *id, const Reversal *reversal, int64 version);
static void refuse_partial_replay(Batch *batch);
static void reverse_order(Batch *batch);

/* reverse_event(aggregate_id, version, amount, request_id, allow_debt) */
Datum
pointstore_reverse_event(PG_FUNCTION_ARGS)
{
	return pointstore_is_distributed() ? reverse_there(fcinfo, false) : reverse(fcinfo, 5, false);
}

/* try_reverse_event(...): the same, a refusal as the outcome of one receipt. */
Datum
pointstore_try_reverse_event(PG_FUNCTION_ARGS)
{
	return pointstore_is_distributed() ? reverse_there(fcinfo, true) : reverse(fcinfo, 5, true);
}

/* reverse_part(..., outcomes): what these do, on the node that has the account. */
Datum
pointstore_reverse_part(PG_FUNCTION_ARGS)
{
	pointstore_check_arguments(fcinfo, 6);
	if (PG_ARGISNULL(5))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("outcomes must not be null")));
	return reverse(fcinfo, 6, PG_GETARG_BOOL(5));
}

/* In a distributed store an event is taken back on its node, as the caller; one with other legs, which may be anywhere, is 0A000. */
static Datum
reverse_there(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *id;
	char	   *sql;
	int			level;
	uint64		i;

	pointstore_check_arguments(fcinfo, 5);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	check_arguments(fcinfo);
	pointstore_materialize(fcinfo);
	sql = psprintf("SELECT * FROM pointstore.reverse_part(%s, %lld, %s, %s, %s, %s)", quote_literal_cstr(pointstore_cstring(id)),
				   (long long) PG_GETARG_INT64(1), PG_ARGISNULL(2) ? "NULL" : psprintf("%lld", (long long) PG_GETARG_INT64(2)),
				   PG_ARGISNULL(3) ? "NULL" : quote_literal_cstr(text_to_cstring(PG_GETARG_TEXT_PP(3))),
				   PG_GETARG_BOOL(4) ? "true" : "false", refusals_are_outcomes ? "true" : "false");
	level = pointstore_pin_transaction();
	SPI_connect();
	refuse_other_legs(id, PG_GETARG_INT64(1));
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not reverse an event on its node");
	for (i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	AtEOXact_GUC(true, level);
	return (Datum) 0;
}

/* Whether an event is a leg of several, on whatever node. */
static void
refuse_other_legs(text *id, int64 version)
{
	static PointstorePlan asked = {
		.sql = "SELECT e.id, e.leg, e.cause_id FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 AND e.version" EQ "$2",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}, .spans_nodes = true
	};
	static PointstorePlan others = {
		.sql = "SELECT pg_catalog.count(*) FROM pointstore.event_store e WHERE e.cause_id" EQ "$1 AND e.leg" GE "1 AND e.event_type" NE "'EventReversed'",
		.nargs = 1, .argtypes = {INT8OID}, .spans_nodes = true
	};
	Datum		values[2] = {PointerGetDatum(id), Int64GetDatum(version)};
	HeapTuple	row;
	bool		no_leg;
	bool		no_cause;
	bool		isnull;
	int16		leg;

	pointstore_execute(&asked, values, NULL, true);
	if (SPI_processed == 0)
		return;
	row = SPI_tuptable->vals[0];
	leg = DatumGetInt16(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &no_leg));
	(void) SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &no_cause);
	if (no_leg)
		return;
	values[0] = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull);
	if (leg == 0)
		pointstore_execute(&others, values, NULL, true);
	if (leg == 0 ? DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) > 0 : !no_cause)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a distributed store does not reverse transfers yet"),
				 errhint("A transfer in the other direction gives the amount back.")));
}

/* An event, with the other legs of its movement, taken back in the caller's transaction. */
static Datum
reverse(FunctionCallInfo fcinfo, int arguments, bool refusals_are_outcomes)
{
	Batch		batch = {.refusals_are_outcomes = refusals_are_outcomes};
	PointstoreScope scope;
	text	   *id;
	text	   *request_id;
	int			i;

	pointstore_check_arguments(fcinfo, arguments);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	check_arguments(fcinfo);
	request_id = PG_ARGISNULL(3) ? NULL : pointstore_name(fcinfo, 3, "request_id");
	pointstore_act_as_owner(&scope);
	if (PG_GETARG_BOOL(4))
		pointstore_require_operator(scope.user, "reverse events into debt");
	batch.nevents = find_legs(id, PG_GETARG_INT64(1), &batch.proposals);
	pointstore_make_request(batch.proposals, batch.nevents, request_id);
	for (i = 0; i < batch.nevents; i++)
	{
		batch.proposals[i].any_amount = PG_ARGISNULL(2);
		batch.proposals[i].any_floor = PG_GETARG_BOOL(4);
	}
	if (!PG_ARGISNULL(2))
		share_out(batch.proposals, batch.nevents, PG_GETARG_INT64(2));
	pointstore_append_or_leave(&batch);
	if (PG_ARGISNULL(2) && batch.refused == NULL && batch.decisions[0].outcome == OUTCOME_REPLAYED)
		refuse_partial_replay(&batch);
	if (batch.refused == NULL)
		reverse_order(&batch);
	pointstore_act_as_caller(&scope);
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
 * that is not there, or is none to be reversed, an event that is refused. Events do not
 * change, so they are read before any lock is taken.
 */
static int
find_legs(text *id, int64 version, ProposedEvent **events)
{
	static PointstorePlan plan = {
		.sql = "WITH asked AS (SELECT * FROM pointstore.event_store WHERE aggregate_id" EQ "$1 AND version" EQ "$2),"
		" first AS (SELECT f.* FROM asked a JOIN pointstore.event_store f"
		"   ON f.id" EQ FIRST_OF("a")
		"  WHERE " IS_FIRST_LEG("f") " AND " SAME_REQUEST("f", "a") "),"
		" legs AS (SELECT * FROM first UNION ALL"
		"  SELECT l.* FROM first f JOIN pointstore.event_store l ON " IS_LEG("l", "f") ")"
		" SELECT id, version, amount, event_type, aggregate_id, id" EQ "(SELECT id FROM asked), leg FROM legs"
		"  WHERE EXISTS (SELECT FROM first)"
		" UNION ALL SELECT id, version, amount, event_type, aggregate_id, true, leg FROM asked WHERE NOT EXISTS (SELECT FROM first)"
		" ORDER BY 7 DESC",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2];
	Reason		refusal;
	int			n = 0;
	uint64		i;

	values[0] = PointerGetDatum(id);
	values[1] = Int64GetDatum(version);
	SPI_connect();
	pointstore_execute_of(&plan, id, values, NULL, false);
	MemoryContextSwitchTo(context);
	*events = palloc0(sizeof(ProposedEvent) * Max(SPI_processed, 1));
	refusal = SPI_processed == 0 ? REASON_NO_EVENT : REASON_PLAIN;
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Reversal   *reversal = read_leg(row, desc, &refusal);

		if (reversal->amount != 0)
			(*events)[n++] = reversal_event(cstring_to_text(SPI_getvalue(row, desc, 5)), reversal);
	}
	SPI_finish();
	if (refusal == REASON_PLAIN)
		return n;
	(*events)[0] = refused_event(id, version, refusal);
	return 1;
}

/* A leg as that query finds it; *refusal where it is the event asked for and none to be reversed. */
static Reversal *
read_leg(HeapTuple row, TupleDesc desc, Reason *refusal)
{
	Reversal   *reversal = palloc0(sizeof(Reversal));
	bool		isnull;

	reversal->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	reversal->version = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
	reversal->amount = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
	reversal->is_asked = DatumGetBool(SPI_getbinval(row, desc, 6, &isnull));
	if (reversal->is_asked && strcmp(SPI_getvalue(row, desc, 4), "EventReversed") == 0)
		*refusal = REASON_IS_REVERSAL;
	else if (reversal->is_asked && reversal->amount == 0)
		*refusal = REASON_MOVED_NOTHING;
	return reversal;
}

/* What takes back whatever is left of one event of an account, without other legs; refused where it is gone. */
ProposedEvent
pointstore_undoing_event(text *aggregate_id, int64 id)
{
	static PointstorePlan plan = {
		.sql = "SELECT version, amount FROM pointstore.event_store WHERE id" EQ "$1 AND aggregate_id" EQ "$2",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	Reversal   *reversal = palloc0(sizeof(Reversal));
	Datum		values[2];
	bool		no_version = true;
	bool		no_amount = true;

	values[0] = Int64GetDatum(id);
	values[1] = PointerGetDatum(aggregate_id);
	SPI_connect();
	pointstore_execute_of(&plan, aggregate_id, values, NULL, false);
	if (SPI_processed > 0)
	{
		reversal->id = id;
		reversal->version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &no_version));
		reversal->amount = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &no_amount));
	}
	SPI_finish();
	/* one that lacks them has not been taken back: it is damaged */
	return !no_version && !no_amount ? reversal_event(aggregate_id, reversal) : refused_event(aggregate_id, 0, REASON_NO_EVENT);
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
		.propose = propose_reversal, .propose_arg = reversal
	};

	return event;
}

/* Gives each leg its part of an amount that is meant of the asked one; refuses a leg where that comes to fractions. */
static void
share_out(ProposedEvent *events, int n, int64 amount)
{
	int128		whole = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (((Reversal *) events[i].propose_arg)->is_asked)
			whole = ((Reversal *) events[i].propose_arg)->amount;
	for (i = 0; i < n; i++)
	{
		Reversal   *reversal = events[i].propose_arg;
		int128		part = (int128) reversal->amount * amount;

		if (reversal->refusal != REASON_PLAIN)
			continue;
		if (part % whole != 0)
			reversal->refusal = REASON_FRACTION;
		reversal->requested = amount;
		part /= whole;
		if (part < 0)
			part = -part;
		reversal->part = part;
		/* what bigint has no room for propose_reversal() refuses */
		events[i].amount = part > PG_INT64_MAX ? 0 : (int64) (reversal->amount < 0 ? part : -part);
	}
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
	event->proposal->has_cause = true;
	event->proposal->cause_id = reversal->id;
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
