/*-------------------------------------------------------------------------
 *
 * src/append/append.c
 *		Appends: one batch of proposed events, whatever its size and wherever
 *		it came from, is locked, checked, written and answered. The rules stand
 *		here and nowhere else.
 *
 * Locking. A batch on several accounts locks their rows first, in the order
 * of the bytes of their ids whatever the order of the input, opens the missing
 * ones in that order too, and then checks and writes. A batch on one account
 * needs no lock beforehand: it reads the row, checks, and updates just the row
 * version that it read, so that the update is the lock; when the row has moved
 * on meanwhile it starts over with a lock. That spares a WAL record and a
 * visit to the row on the path that nearly every append takes. A refusal is
 * decided under the lock only, so that a change under way is waited for.
 *
 * A pure account has no row to lock: the primary key of its next event
 * decides. That event is inserted speculatively; whoever comes second starts
 * over. When rows of other accounts are written already, a batch that stands or
 * falls as one judges this account's events again; one whose requests stand
 * apart, or whose refusal is to be an outcome, is taken back and begun anew.
 * All row locks are taken before any such claim, both in account order, so
 * batches do not deadlock.
 *
 * Idempotency. A request is looked up with a dirty snapshot, which sees a twin
 * under way and waits for it. Twins on one account meet at its row lock or its
 * primary key. What remains is one request_id used for two accounts at the
 * same instant: its unique index then stops the second with 40001, and the
 * retry says what happened (PS002). A combined batch, which can be tried again as
 * a whole, leaves the look-up to that index altogether (judge_request).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "ground/compat.h"
#include "ground/pointstore.h"

PG_FUNCTION_INFO_V1(pointstore_append_event);
PG_FUNCTION_INFO_V1(pointstore_try_append_event);
PG_FUNCTION_INFO_V1(pointstore_append_events);
PG_FUNCTION_INFO_V1(pointstore_try_append_events);

/* events of a call from which on a subtransaction is less work than to look their requests up */
#define TRUSTED_EVENTS 10

static const char *const outcome_names[] = {
	"appended", "replayed", "version_conflict", "request_mismatch", "insufficient_balance",
	"balance_limit", "account_frozen", "account_closed", "account_missing", "not_allowed", "not_allowed"
};

/* event types that functions of ours alone write */
static const char *const reserved_types[] = {
	"HoldPlaced", "HoldConfirmed", "HoldCancelled", "HoldExpired", "EventReversed", "BalanceAdjusted",
	"MovementTried", "MovementConfirmed", "MovementCancelled"
};

/* A request of the batch. */
typedef struct SeenRequest
{
	text	   *request_id;		/* the key */
	ProposedEvent *events;
} SeenRequest;

static Datum append_one(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static Datum append_all(FunctionCallInfo fcinfo, bool refusals_are_outcomes);
static bool append_or_leave(void *arg);
static Datum receipt(const ProposedEvent *event, TupleDesc desc);
static void read_elements(Batch *batch, Jsonb *elements, text *request_id);
static void read_element(ProposedEvent *event, JsonbValue *element);
static void read_key(ProposedEvent *event, const char *key, JsonbValue *value);
static text *json_text(const char *key, JsonbValue *value);
static int64 json_bigint(const char *key, JsonbValue *value);
static int64 parse_bigint(const char *key, const char *digits);
static void check_balanced(const Batch *batch, bool per_unit);
static void tell_element(void *arg);
static void gather_accounts(Batch *batch);
static int	compare_events(const void *a, const void *b);
static void tell_as_stored(ProposedEvent *refused);
static void settle_replays(Batch *batch);
static bool attempt_trusting(Batch *batch);
static bool trust(void *arg);
static bool attempt(Batch *batch, bool lock);
static void lock_accounts(Batch *batch);
static void lock_existing(Batch *batch);
static bool open_missing(Batch *batch, Account *account, Snapshot snapshot);
static void judge_batch(Batch *batch, Snapshot snapshot);
static HTAB *begin_requests(const Batch *batch);
static uint32 hash_request(const void *key, Size size);
static int	match_requests(const void *a, const void *b, Size size);
static ProposedEvent *judge_request(Batch *batch, ProposedEvent *events, HTAB *requests, Snapshot snapshot);
static bool is_busy(const Batch *batch, const ProposedEvent *events);
static bool is_being_applied(text *request_id);
static ProposedEvent *put_off(ProposedEvent *events);
static ProposedEvent *find_refused(ProposedEvent *events, Snapshot snapshot);
static ProposedEvent *judge_events(Batch *batch, ProposedEvent *events, Snapshot snapshot);
static void judge_event(Batch *batch, ProposedEvent *event, Snapshot snapshot);
static bool seen_in_batch(ProposedEvent *events, HTAB *requests);
static ProposedEvent *find_other_unit(ProposedEvent *events);
static void compare_numbers(ProposedEvent *events, int nevents, int found);
static void expect_legs(ProposedEvent *events, int nevents, TupleTableSlot *stored);
static void compare_with_stored(ProposedEvent *events, int nevents, TupleTableSlot *stored);
static void compare(ProposedEvent *event, const ProposedEvent *stored);
static const char *first_difference(const ProposedEvent *a, const ProposedEvent *b);
static Outcome check_account(const ProposedEvent *event, Account *account, Snapshot snapshot);
static Outcome check_limits(const ProposedEvent *event, const Account *account);
static int64 floor_of(const ProposedEvent *event, const Kind *kind);
static bool may_be_taken_back(const Batch *batch);
static bool write_or_take_back(Batch *batch);
static bool write_whole(void *arg);
static bool write_batch(Batch *batch);
static bool write_balances(Batch *batch, RowWriter *writer);
static bool write_events(Batch *batch, RowWriter *writer);
static bool write_events_guarded(Batch *batch, RowWriter *writer);
pg_noreturn static void translate_duplicate(const Batch *batch, const RowWriter *writer);
static bool settle_holds(Batch *batch);
static void write_hold(RowWriter *writer, const ProposedEvent *event);
static void stamp_events(Batch *batch);
static void draw_ids(Batch *batch);
static bool renew_cause(ProposedEvent *first);
pg_noreturn static void refuse_sequence(const char *why);
static bool claim(Batch *batch, RowWriter *writer, Account *account);
static RowOutcome write_claim(RowWriter *writer, const ProposedEvent *event, int keys);
static void refuse_triggered_change(const Account *account);
static bool judge_again(Batch *batch, Account *account);
static RowOutcome write_event(RowWriter *writer, const ProposedEvent *event, int keys);

/* append_event(...): see the install script. */
Datum
pointstore_append_event(PG_FUNCTION_ARGS)
{
	return append_one(fcinfo, false);
}

/* try_append_event(...): the same, refusals as outcomes. */
Datum
pointstore_try_append_event(PG_FUNCTION_ARGS)
{
	return append_one(fcinfo, true);
}

static Datum
append_one(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	ProposedEvent event = {0};

	PreventCommandIfReadOnly("append_event()");
	pointstore_read_arguments(fcinfo, &event);
	return pointstore_append_one(&event, refusals_are_outcomes);
}

/* Appends one checked event and returns its receipt. */
Datum
pointstore_append_one(ProposedEvent *event, bool refusals_are_outcomes)
{
	Batch		batch = {.events = event, .nevents = 1, .refusals_are_outcomes = refusals_are_outcomes};

	pointstore_append(&batch);
	return pointstore_answer(event, refusals_are_outcomes);
}

/* The receipt of a decided event, as pointstore.receipt; or the error that its refusal is. */
Datum
pointstore_answer(const ProposedEvent *event, bool refusals_are_outcomes)
{
	TupleDesc	desc;
	Datum		result;

	if (event->outcome > (refusals_are_outcomes ? OUTCOME_LAST_REFUSAL : OUTCOME_REPLAYED))
		pointstore_raise(event);
	desc = lookup_rowtype_tupdesc(pointstore_store()->receipt_type, -1);
	result = receipt(event, desc);
	ReleaseTupleDesc(desc);
	return result;
}

/* The arguments of append_event, checked: 22004, 22023. */
void
pointstore_read_arguments(FunctionCallInfo fcinfo, ProposedEvent *event)
{
	pointstore_check_arguments(fcinfo, 10);
	event->aggregate_id = pointstore_name(fcinfo, 0, "aggregate_id");
	event->event_type = pointstore_name(fcinfo, 1, "event_type");
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("amount must not be null")));
	event->amount = PG_GETARG_INT64(2);
	event->payload = pointstore_payload(fcinfo, 3);
	event->has_expected = !PG_ARGISNULL(4);
	event->expected_version = event->has_expected ? PG_GETARG_INT64(4) : 0;
	event->request_id = PG_ARGISNULL(5) ? NULL : PG_GETARG_TEXT_PP(5);
	event->has_floor = !PG_ARGISNULL(6);
	event->floor = event->has_floor ? PG_GETARG_INT64(6) : 0;
	event->has_occurred = !PG_ARGISNULL(7);
	event->occurred_at = event->has_occurred ? PG_GETARG_TIMESTAMPTZ(7) : 0;
	event->kind = PG_ARGISNULL(8) ? NULL : PG_GETARG_TEXT_PP(8);
	event->metadata = PG_ARGISNULL(9) ? NULL : PG_GETARG_JSONB_P(9);
	pointstore_check_event(event);
}

/* What can be said of a proposed event without looking at the store: 22023. */
void
pointstore_check_event(const ProposedEvent *event)
{
	pointstore_check_name("aggregate_id", event->aggregate_id);
	pointstore_check_name("event_type", event->event_type);
	if (event->request_id != NULL)
		pointstore_check_name("request_id", event->request_id);
	if (event->kind != NULL)
		pointstore_check_name("kind", event->kind);
	if (event->has_expected && event->expected_version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative, is %lld", (long long) event->expected_version)));
	if (event->propose == NULL && pointstore_is_reserved(event->event_type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event type \"%s\" is reserved", pointstore_cstring(event->event_type))));
}

/* Whether events of that type are written by functions of ours alone. */
bool
pointstore_is_reserved(text *event_type)
{
	return pointstore_place(event_type, reserved_types, lengthof(reserved_types)) >= 0;
}

/* An event's receipt as a row of the given type. */
static Datum
receipt(const ProposedEvent *event, TupleDesc desc)
{
	bool		stored = event->outcome <= OUTCOME_REPLAYED;
	bool		missing = event->outcome == OUTCOME_ACCOUNT_MISSING && event->reason != REASON_NO_EVENT;
	bool		known = stored || (!missing && !event->untold);
	Datum		values[7];
	bool		nulls[7] = {0};

	values[0] = CStringGetTextDatum(outcome_names[event->outcome]);
	values[1] = PointerGetDatum(event->aggregate_id);
	values[2] = Int64GetDatum(event->version);
	values[3] = Int64GetDatum(event->balance);
	values[4] = Int64GetDatum(event->available);
	values[5] = Int64GetDatum(event->id);
	values[6] = TimestampTzGetDatum(event->created_at);
	nulls[1] = event->aggregate_id == NULL || VARSIZE_ANY_EXHDR(event->aggregate_id) == 0;
	nulls[2] = nulls[3] = !known;
	nulls[4] = !known || event->outcome == OUTCOME_REPLAYED;
	nulls[5] = nulls[6] = !stored;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* append_events(events, request_id, balanced) */
Datum
pointstore_append_events(PG_FUNCTION_ARGS)
{
	return append_all(fcinfo, false);
}

/* try_append_events(...): the same, a refusal as the outcome of one receipt. */
Datum
pointstore_try_append_events(PG_FUNCTION_ARGS)
{
	return append_all(fcinfo, true);
}

static Datum
append_all(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	Batch		batch = {.refusals_are_outcomes = refusals_are_outcomes};
	text	   *request_id;

	pointstore_check_arguments(fcinfo, 3);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "events" : "balanced")));
	PreventCommandIfReadOnly("append_events()");
	request_id = PG_ARGISNULL(1) ? NULL : pointstore_name(fcinfo, 1, "request_id");
	batch.balanced = PG_GETARG_BOOL(2);
	read_elements(&batch, PG_GETARG_JSONB_P(0), request_id);
	pointstore_append_or_leave(&batch);
	return pointstore_answer_all(fcinfo, &batch);
}

/* The receipts of a decided batch as the result set of a function; of a refused one that of the refused event. */
Datum
pointstore_answer_all(FunctionCallInfo fcinfo, const Batch *batch)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	pointstore_materialize(fcinfo);
	for (i = 0; i < batch->nevents; i++)
	{
		HeapTupleHeader row;
		HeapTupleData tuple = {0};

		if (batch->refused != NULL && batch->refused != &batch->events[i])
			continue;
		row = DatumGetHeapTupleHeader(receipt(&batch->events[i], rsinfo->setDesc));
		tuple.t_len = HeapTupleHeaderGetDatumLength(row);
		tuple.t_data = row;
		tuplestore_puttuple(rsinfo->setResult, &tuple);
	}
	return (Datum) 0;
}

/* Makes one request of these events, of that id or without one: each has its place in it. */
void
pointstore_make_request(ProposedEvent *events, int n, text *request_id)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		events[i].request_id = request_id;
		events[i].leg = i;
		events[i].further = n - 1 - i;
	}
}

/* Marks the events as the legs of one movement: the first is the cause of the others. */
void
pointstore_link_legs(ProposedEvent *events, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		events[i].is_linked = true;
}

/* Fills in the batch's events from a JSON array of objects: 22004, 22023, 22003. */
static void
read_elements(Batch *batch, Jsonb *elements, text *request_id)
{
	int			n = JB_ROOT_COUNT(elements);
	bool		own_requests = false;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = tell_element, .arg = batch};
	int			i;

	if (!JB_ROOT_IS_ARRAY(elements) || JB_ROOT_IS_SCALAR(elements))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must be a JSON array")));
	if ((request_id != NULL || batch->balanced) && n > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a request, and a balanced call, has at most %d events, this one %d", PG_INT16_MAX, n)));
	batch->nevents = n;
	batch->events = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(ProposedEvent) * Max(n, 1),
											   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	error_context_stack = &context;
	for (i = 0; i < n; i++)
	{
		ProposedEvent *event = &batch->events[i];

		CHECK_FOR_INTERRUPTS();
		event->element = i + 1;
		batch->current = event;
		read_element(event, getIthJsonbValueFromContainer(&elements->root, i));
		own_requests |= event->request_id != NULL;
		if (own_requests && request_id != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d has a request_id, and so has the call", i),
					 errdetail("Either the call has a request_id or its elements have.")));
	}
	error_context_stack = context.previous;
	batch->current = NULL;
	if (batch->balanced)
		check_balanced(batch, false);
	if (request_id != NULL || (batch->balanced && !own_requests))
		pointstore_make_request(batch->events, n, request_id);
	if (batch->balanced && !own_requests)
		pointstore_link_legs(batch->events, n);
}

static void
read_element(ProposedEvent *event, JsonbValue *element)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an element of events is not an object")));
	iterator = JsonbIteratorInit(element->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			read_key(event, pnstrdup(key.val.string.val, key.val.string.len), &value);
		}
	if (event->aggregate_id == NULL || event->event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", event->aggregate_id == NULL ? "aggregate_id" : "event_type")));
	if (event->payload == NULL)
		event->payload = pointstore_empty_payload();
	pointstore_check_event(event);
}

/* One key of an element; null means that it is not given. */
static void
read_key(ProposedEvent *event, const char *key, JsonbValue *value)
{
	bool		given = value->type != jbvNull;

	if (strcmp(key, "aggregate_id") == 0)
		event->aggregate_id = given ? json_text(key, value) : NULL;
	else if (strcmp(key, "event_type") == 0)
		event->event_type = given ? json_text(key, value) : NULL;
	else if (strcmp(key, "amount") == 0)
		event->amount = given ? json_bigint(key, value) : 0;
	else if (strcmp(key, "payload") == 0)
		event->payload = given ? JsonbValueToJsonb(value) : NULL;
	else if (strcmp(key, "metadata") == 0)
		event->metadata = given ? JsonbValueToJsonb(value) : NULL;
	else if (strcmp(key, "request_id") == 0)
		event->request_id = given ? json_text(key, value) : NULL;
	else if (strcmp(key, "kind") == 0)
		event->kind = given ? json_text(key, value) : NULL;
	else if (strcmp(key, "expected_version") == 0)
	{
		event->has_expected = given;
		event->expected_version = given ? json_bigint(key, value) : 0;
	}
	else if (strcmp(key, "min_balance") == 0)
	{
		event->has_floor = given;
		event->floor = given ? json_bigint(key, value) : 0;
	}
	else if (strcmp(key, "occurred_at") == 0)
	{
		event->has_occurred = given;
		if (given)
			event->occurred_at = DatumGetTimestampTz(
				DirectFunctionCall3(timestamptz_in, CStringGetDatum(text_to_cstring(json_text(key, value))),
									ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in an element of events", key)));
}

static text *
json_text(const char *key, JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a string", key)));
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

/* A whole number, or a string of its digits: 22023, out of range 22003. */
static int64
json_bigint(const char *key, JsonbValue *value)
{
	if (value->type == jbvString)
		return parse_bigint(key, pnstrdup(value->val.string.val, value->val.string.len));
	if (value->type == jbvNumeric)
	{
		Datum		number = NumericGetDatum(value->val.numeric);
		Datum		whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));

		if (DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)))
			return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be a whole number", key)));
}

static int64
parse_bigint(const char *key, const char *digits)
{
	const char *first = digits + (digits[0] == '-' || digits[0] == '+' ? 1 : 0);
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoll(digits, &end, 10);
	if (*first < '0' || *first > '9' || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a whole number, is \"%s\"", key, digits)));
	if (errno == ERANGE)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s %s is out of range for type bigint", key, digits)));
	return number;
}

/*
 * The amounts of a balanced batch sum to zero: 22023. First in all, which needs
 * no account; then those that are about to be appended, in each unit.
 */
static void
check_balanced(const Batch *batch, bool per_unit)
{
	struct UnitSum
	{
		text	   *unit;
		int128		sum;
	}		   *sums = palloc0(sizeof(struct UnitSum) * Max(batch->nevents, 1));
	int			nsums = 0;
	int			i;
	int			j;

	for (i = 0; i < batch->nevents; i++)
	{
		const Kind *kind = per_unit ? batch->events[i].account->kind : NULL;

		if (per_unit && batch->events[i].outcome != OUTCOME_APPENDED)
			continue;
		for (j = 0; j < nsums && kind != NULL && !pointstore_same_text(sums[j].unit, kind->unit); j++)
			 /* look on */ ;
		if (j == nsums)
			sums[nsums++].unit = kind ? kind->unit : NULL;
		sums[j].sum += batch->events[i].amount;
	}
	for (j = 0; j < nsums; j++)
		if (sums[j].sum != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the amounts of a balanced batch do not sum to zero"),
					 sums[j].unit ? errdetail("Unit \"%s\".", pointstore_cstring(sums[j].unit)) : 0));
	pfree(sums);
}

/*
 * Appends a batch. One that is refused, where that is to be an outcome, leaves nothing behind:
 * no lock, and no account that it has opened.
 */
void
pointstore_append_or_leave(Batch *batch)
{
	ErrorData  *error;

	if (!batch->refusals_are_outcomes)
	{
		pointstore_append(batch);
		return;
	}
	error = pointstore_attempt(append_or_leave, batch);
	if (error != NULL)
		ReThrowError(error);
}

static bool
append_or_leave(void *arg)
{
	Batch	   *batch = arg;
	int			i;

	pointstore_append(batch);
	for (i = 0; i < batch->nevents; i++)
		if (batch->events[i].hold != NULL)
			pointstore_release_hold(batch->events[i].hold);
	return batch->refused == NULL;
}

/*
 * Appends a batch whose events the caller has filled in and checked. All or
 * nothing; receipts are in the events afterwards. A refusal is an error, or,
 * where the batch says so, batch->refused with the outcome in it.
 */
void
pointstore_append(Batch *batch)
{
	PointstoreScope scope;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = tell_element, .arg = batch};
	bool		lock;
	bool		done;

	error_context_stack = &context;
	pointstore_act_as_owner_plainly(&scope);
	gather_accounts(batch);
	lock = batch->naccounts > 1 || !pointstore_store()->table[TABLE_BALANCE].plain || pointstore_has_notes() ||
		/* a hold may expire while its account is waited for */
		(batch->nevents > 0 && batch->events->hold != NULL);
	done = batch->nevents >= TRUSTED_EVENTS && !batch->apart && attempt_trusting(batch);
	while (!done && !attempt(batch, lock))
	{
		CHECK_FOR_INTERRUPTS();
		lock = true;
		batch->trusting = false;
	}
	if (!batch->apart)
		(void) pointstore_count(batch);
	pointstore_raise_refused(batch);
	if (batch->refused != NULL && batch->naccounts < batch->nevents)
		tell_as_stored(batch->refused);
	settle_replays(batch);
	pointstore_act_as_caller(&scope);
	error_context_stack = context.previous;
}

/* A receipt says how the account stands, without what the events before the refused one would have made of it. */
static void
tell_as_stored(ProposedEvent *refused)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account    *judged = refused->account;
	Account		stored;

	pointstore_read_account(&stored, refused->aggregate_id, snapshot, LOCK_NOTHING);
	refused->account = &stored;
	pointstore_tell_account(refused, snapshot);
	refused->account = judged;
	pointstore_release_account(&stored);
	PopActiveSnapshot();
}

/*
 * Replays are told when what they rest on is durable; who reads the answers of a batch that
 * stands apart waits for that himself. Who repeats another event of the batch gets its receipt.
 */
static void
settle_replays(Batch *batch)
{
	XLogRecPtr	durable = InvalidXLogRecPtr;
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		if (event->same_as != NULL)
		{
			event->version = event->same_as->version;
			event->balance = event->same_as->balance;
			event->id = event->same_as->id;
			event->durable = event->same_as->durable;
			event->created_at = event->same_as->created_at;
		}
		else if (event->outcome == OUTCOME_REPLAYED)
			durable = Max(durable, event->durable);
	}
	if (!batch->apart)
		pointstore_await_durable(durable);
}

/* An error of one of append_events() says of which element; of a balance, the first of its account. */
static void
tell_element(void *arg)
{
	const ProposedEvent *event = ((Batch *) arg)->current;

	if (event != NULL && event->element > 0)
		errcontext("element %d of events", event->element - 1);
}

/*
 * Counts what was decided about a batch: its refusal, or each of its events; returns
 * their number. Not before it is certain: one that stands apart may be tried again
 * until it is committed.
 */
int
pointstore_count(const Batch *batch)
{
	int64		counts[OUTCOME_NOT_ALLOWED + 1] = {0};
	int			total = 0;
	int			i;

	if (batch->refused != NULL)
	{
		pointstore_count_event(batch->refused);
		return 1;
	}
	for (i = 0; i < batch->nevents; i++)
		if (batch->events[i].outcome <= OUTCOME_LAST_REFUSAL)
		{
			counts[Min(batch->events[i].outcome, OUTCOME_NOT_ALLOWED)]++;
			total++;
		}
	for (i = 0; i < lengthof(counts); i++)
		if (counts[i] > 0)
			pointstore_stat_add((PointstoreStat) i, counts[i]);
	return total;
}

/* The same for one event. An error in every form of the call is not counted. */
void
pointstore_count_event(const ProposedEvent *event)
{
	StaticAssertStmt((int) STAT_NOT_ALLOWED == (int) OUTCOME_NOT_ALLOWED, "outcomes are the first counters");
	if (event->outcome <= OUTCOME_LAST_REFUSAL)
		pointstore_stat_add((PointstoreStat) Min(event->outcome, OUTCOME_NOT_ALLOWED), 1);
}

/* The batch's accounts, each once, in the order of the bytes of their ids. */
static void
gather_accounts(Batch *batch)
{
	ProposedEvent **sorted = palloc(sizeof(ProposedEvent *) * Max(batch->nevents, 1));
	int			i;

	batch->naccounts = 0;
	batch->accounts = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Account) * Max(batch->nevents, 1),
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	batch->first = palloc0(sizeof(ProposedEvent *) * Max(batch->nevents, 1));
	for (i = 0; i < batch->nevents; i++)
		sorted[i] = &batch->events[i];
	if (batch->nevents > 1)
		qsort(sorted, batch->nevents, sizeof(ProposedEvent *), compare_events);
	for (i = 0; i < batch->nevents; i++)
	{
		if (i == 0 || !pointstore_same_text(sorted[i]->aggregate_id, sorted[i - 1]->aggregate_id))
			batch->accounts[batch->naccounts++].id = sorted[i]->aggregate_id;
		sorted[i]->account = &batch->accounts[batch->naccounts - 1];
	}
	pfree(sorted);
	for (i = batch->nevents - 1; i >= 0; i--)
	{
		ProposedEvent **first = &batch->first[batch->events[i].account - batch->accounts];

		batch->events[i].next = *first;
		*first = &batch->events[i];
	}
}

static int
compare_events(const void *a, const void *b)
{
	text	   *x = (*(ProposedEvent *const *) a)->aggregate_id;
	text	   *y = (*(ProposedEvent *const *) b)->aggregate_id;
	Size		shorter = Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y));
	int			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), shorter);

	if (order != 0)
		return order;
	return (VARSIZE_ANY_EXHDR(x) > shorter) - (VARSIZE_ANY_EXHDR(y) > shorter);
}

/*
 * An attempt in a subtransaction that looks no request up: nearly always none was applied
 * before, and to look for each costs a fifth of the whole. False: nothing is left of
 * it, and it has to be done again under a lock.
 */
static bool
attempt_trusting(Batch *batch)
{
	ErrorData  *error;
	bool		done;

	batch->trusting = true;
	error = pointstore_attempt(trust, batch);
	/* whatever it is, a request that is known comes before it: but what was waited for is not waited for again */
	if (error != NULL && (pointstore_has_waited(error->sqlerrcode) || error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED))
		ReThrowError(error);
	done = !batch->trusting;
	batch->overtaken = false;
	if (!done)
		gather_accounts(batch);
	batch->trusting = false;
	return done;
}

/* Whether an error says that something was waited for too long. */
bool
pointstore_has_waited(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/*
 * What attempt_trusting() does in a subtransaction; trusting stays where it was in
 * vain. A refusal, too: it may be due to a request that was applied before.
 */
static bool
trust(void *arg)
{
	Batch	   *batch = arg;

	batch->trusting = !attempt(batch, true) || batch->refused != NULL;
	return !batch->trusting;
}

/*
 * Reads, checks and writes once. False: it has to be done again under a lock,
 * because others were faster, or because a refusal is not decided without one.
 */
static bool
attempt(Batch *batch, bool lock)
{
	Snapshot	snapshot;
	bool		done;
	int			i;

	if (batch->apart)
		lock_existing(batch);
	else if (batch->naccounts > 1)
		lock_accounts(batch);
	snapshot = pointstore_push_snapshot();
	if (batch->naccounts == 1 && !batch->apart)
	{
		pointstore_read_account(&batch->accounts[0], batch->accounts[0].id, snapshot,
								lock ? LOCK_BALANCE : LOCK_NOTHING);
		if (lock)
		{
			PopActiveSnapshot();	/* what goes with the row is read after its lock was waited for */
			snapshot = pointstore_push_snapshot();
		}
	}
	judge_batch(batch, snapshot);
	if (batch->again)
		done = false;
	else if (batch->refused != NULL)
		done = lock;
	else
	{
		batch->current = NULL;
		if (batch->balanced)
			check_balanced(batch, true);
		done = may_be_taken_back(batch) ? write_or_take_back(batch) : write_batch(batch);
	}
	for (i = 0; i < batch->naccounts; i++)
		pointstore_release_account(&batch->accounts[i]);
	PopActiveSnapshot();
	return done;
}

/* Locks the accounts in order, and opens the missing ones so that they are locked too. */
static void
lock_accounts(Batch *batch)
{
	int			i;

	for (i = 0; i < batch->naccounts; i++)
	{
		Account    *account = &batch->accounts[i];
		bool		again = true;
		bool		opened = false;

		while (again)
		{
			Snapshot	snapshot = pointstore_push_snapshot();

			CHECK_FOR_INTERRUPTS();
			pointstore_read_account(account, account->id, snapshot, LOCK_BALANCE);
			again = !account->exists && open_missing(batch, account, snapshot);
			opened |= again;
			PopActiveSnapshot();
		}
		account->opened = opened;
	}
}

/*
 * Locks the accounts that are there, in order. A missing one is opened only when
 * an event of it has passed; one that would have to be waited for is busy.
 */
static void
lock_existing(Batch *batch)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	int			i;

	for (i = 0; i < batch->naccounts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(&batch->accounts[i], batch->accounts[i].id, snapshot, LOCK_IF_FREE);
	}
	PopActiveSnapshot();
}

/* Opens an account, if its first event may; false leaves it missing, for judge_batch(). */
static bool
open_missing(Batch *batch, Account *account, Snapshot snapshot)
{
	const ProposedEvent *event = batch->first[account - batch->accounts];
	const Kind *kind = pointstore_read_kind(event->kind ? event->kind : cstring_to_text("default"));

	if (kind == NULL || !kind->auto_open)
		return false;
	pointstore_refuse_damaged(account->id, snapshot);
	(void) pointstore_open_row(account->id, kind, event->role);
	return true;
}

/*
 * Decides about every event, in input order, up to the first refusal, or apart all
 * of them. Writes nothing but the structs: the accounts' versions and balances move on.
 */
static void
judge_batch(Batch *batch, Snapshot snapshot)
{
	HTAB	   *requests = begin_requests(batch);
	int			i;

	batch->refused = NULL;
	batch->again = false;
	for (i = 0; i < batch->nevents && batch->refused == NULL && !batch->again; i += 1 + batch->events[i].further)
	{
		ProposedEvent *refused;

		CHECK_FOR_INTERRUPTS();
		refused = judge_request(batch, &batch->events[i], requests, snapshot);
		if (!batch->apart)
			batch->refused = refused;
	}
	if (requests != NULL)
		hash_destroy(requests);
}

/* For the requests of a batch to be found again in it; NULL: it has no two. */
static HTAB *
begin_requests(const Batch *batch)
{
	HASHCTL		control = {
		.keysize = sizeof(text *), .entrysize = sizeof(SeenRequest), .hash = hash_request,
		.match = match_requests, .hcxt = CurrentMemoryContext
	};
	int			n = 0;
	int			i;

	for (i = 0; i < batch->nevents && n < 2; i += 1 + batch->events[i].further)
		n += batch->events[i].request_id != NULL;
	if (n < 2)
		return NULL;
	return hash_create("pointstore requests", 256, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static uint32
hash_request(const void *key, Size size)
{
	text	   *id = *(text *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

static int
match_requests(const void *a, const void *b, Size size)
{
	return pointstore_same_text(*(text *const *) a, *(text *const *) b) ? 0 : 1;
}

/*
 * Decides about the events of one request, or about one without: the request first, then
 * the rules, up to the first refusal, which is returned. A trusting batch leaves
 * it to the unique index to find a request that has been applied, and looks itself
 * only where an event would be refused. Apart, what is refused leaves nothing behind.
 */
static ProposedEvent *
judge_request(Batch *batch, ProposedEvent *events, HTAB *requests, Snapshot snapshot)
{
	int			n = 1 + events->further;
	ProposedEvent *refused;
	int			i;

	batch->current = events;
	if (batch->apart && is_busy(batch, events))
		return put_off(events);
	for (i = 0; i < n; i++)
		events[i].same_as = NULL;
	if (events->request_id != NULL &&
		((requests != NULL && seen_in_batch(events, requests)) ||
		 (!batch->trusting && pointstore_find_request(events, n, false, snapshot))))
		refused = find_refused(events, snapshot);
	else
	{
		refused = judge_events(batch, events, snapshot);
		if (refused != NULL && events->request_id != NULL && batch->trusting)
		{
			if (batch->apart && is_being_applied(events->request_id))
				return put_off(events);
			if (pointstore_find_request(events, n, false, snapshot))
				refused = find_refused(events, snapshot);
		}
	}
	if (refused != NULL)
		batch->current = refused;
	for (i = 0; refused != NULL && i < n; i++)
		if (&events[i] != refused)
			events[i].outcome = OUTCOME_WITHDRAWN;
	return refused;
}

/* Whether an account of the request is busy, or the request itself is, where that is looked for. */
static bool
is_busy(const Batch *batch, const ProposedEvent *events)
{
	bool		busy = false;
	int			i;

	for (i = 0; i <= events->further; i++)
		busy |= events[i].account->busy;
	return busy || (events->request_id != NULL && !batch->trusting && is_being_applied(events->request_id));
}

/* Whether a running transaction has written an event of that request. */
static bool
is_being_applied(text *request_id)
{
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	bool		running = false;

	InitDirtySnapshot(dirty);
	pointstore_key_text(&key, request_id);
	pointstore_scan_begin(&scan, INDEX_EVENT_REQUEST, &dirty, &key);
	while (!running && pointstore_scan_next(&scan, ForwardScanDirection))
		running = TransactionIdIsValid(dirty.xmin);
	pointstore_scan_end(&scan);
	return running;
}

/* Nothing is decided about any event of a busy request. Returns the first. */
static ProposedEvent *
put_off(ProposedEvent *events)
{
	int			i;

	for (i = 0; i <= events->further; i++)
		events[i].outcome = OUTCOME_BUSY;
	return events;
}

/* The first event that differs from what its request has written; NULL: none. */
static ProposedEvent *
find_refused(ProposedEvent *events, Snapshot snapshot)
{
	int			i;

	for (i = 0; i <= events->further; i++)
		if (events[i].outcome > OUTCOME_REPLAYED)
		{
			pointstore_tell_account(&events[i], snapshot);
			return &events[i];
		}
	return NULL;
}

/* The rules, for the events of one request. Returns the refused one; then the accounts stand as before. */
static ProposedEvent *
judge_events(Batch *batch, ProposedEvent *events, Snapshot snapshot)
{
	int			n = 1 + events->further;
	Account    *before = n > 1 ? palloc(sizeof(Account) * n) : NULL;
	ProposedEvent *refused = NULL;
	int			i;

	for (i = 0; refused == NULL && !batch->again && i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (before != NULL)
			before[i] = *events[i].account;
		judge_event(batch, &events[i], snapshot);
		if (events[i].outcome > OUTCOME_REPLAYED)
			refused = &events[i];
	}
	if (refused == NULL && !batch->again && batch->same_unit && events->outcome == OUTCOME_APPENDED)
		refused = find_other_unit(events);
	while (refused != NULL && before != NULL && i-- > 0)
		*events[i].account = before[i];
	if (refused != NULL && refused->outcome == OUTCOME_NOT_ALLOWED)
		pointstore_tell_account(refused, snapshot);
	return refused;
}

static void
judge_event(Batch *batch, ProposedEvent *event, Snapshot snapshot)
{
	batch->current = event;
	event->reason = REASON_PLAIN;
	if (event->propose == NULL || event->propose(event, snapshot))
		pointstore_judge(event, event->account, snapshot);
	else if (event->outcome > OUTCOME_REPLAYED)
		pointstore_tell_account(event, snapshot);
	batch->again |= event->again;
	event->again = false;
}

/* A refusal's receipt says how the account stands. */
void
pointstore_tell_account(ProposedEvent *event, Snapshot snapshot)
{
	pointstore_know_expired(event->account, snapshot);
	event->version = event->account->version;
	event->balance = event->account->balance;
	event->available = pointstore_available(event->account);
}

/* Of accounts that count different things: the first event of another unit than the first one's, refused. */
static ProposedEvent *
find_other_unit(ProposedEvent *events)
{
	text	   *unit = events->account->kind->unit;
	int			i;

	for (i = 1; i <= events->further; i++)
	{
		ProposedEvent *event = &events[i];

		if (pointstore_same_text(unit, event->account->kind->unit))
			continue;
		event->outcome = OUTCOME_NOT_ALLOWED;
		event->reason = REASON_UNITS;
		event->asked = pointstore_clipped(pointstore_cstring(unit));
		event->stored = pointstore_clipped(pointstore_cstring(event->account->kind->unit));
		event->opening = event->account->exists && !event->account->opened ? NULL :
			pointstore_cstring(event->account->kind->name);
		return event;
	}
	return NULL;
}

/* Whether an earlier request of the batch, not refused, has the same id: then it decides. */
static bool
seen_in_batch(ProposedEvent *events, HTAB *requests)
{
	SeenRequest *entry;
	bool		found;
	int			i;

	entry = hash_search(requests, &events->request_id, HASH_ENTER, &found);
	if (!found || entry->events->outcome > OUTCOME_REPLAYED)
	{
		entry->events = events;
		return false;
	}
	for (i = 0; i <= Min(events->further, entry->events->further); i++)
	{
		compare(&events[i], &entry->events[i]);
		events[i].applied_version = entry->events[i].version;
		events[i].same_as = events[i].mismatch ? NULL : &entry->events[i];
	}
	compare_numbers(events, 1 + events->further, 1 + entry->events->further);
	return true;
}

/* A request that has written more or fewer events is another one. */
static void
compare_numbers(ProposedEvent *events, int nevents, int found)
{
	ProposedEvent *last = &events[Min(found, nevents) - 1];

	if (found == nevents || last->outcome != OUTCOME_REPLAYED)
		return;
	last->outcome = OUTCOME_REQUEST_MISMATCH;
	last->mismatch = "events";
	last->asked = psprintf("%d", nevents);
	last->stored = psprintf("%d", found);
}

/* Whether an event is the one that its request has written. */
static void
compare(ProposedEvent *event, const ProposedEvent *stored)
{
	event->mismatch = first_difference(event, stored);
	event->outcome = event->mismatch ? OUTCOME_REQUEST_MISMATCH : OUTCOME_REPLAYED;
	if (event->mismatch != NULL)
		pointstore_tell_difference(event, stored);
}

static const char *
first_difference(const ProposedEvent *a, const ProposedEvent *b)
{
	if (a->leg != b->leg)
		return "leg";
	if (!pointstore_same_text(a->aggregate_id, b->aggregate_id))
		return "aggregate_id";
	if (!pointstore_same_text(a->event_type, b->event_type))
		return "event_type";
	if (!a->any_amount && a->amount != b->amount)
		return "amount";
	if (compareJsonbContainers(&a->payload->root, &b->payload->root) != 0)
		return "payload";
	if (a->has_occurred && a->occurred_at != b->occurred_at)
		return "occurred_at";
	return NULL;
}

/*
 * Whether the request of these events has been applied: as a whole, or just
 * the one leg that the event is. If so each event's outcome says whether
 * it is the same (OUTCOME_REPLAYED, with the first receipt) or not
 * (OUTCOME_REQUEST_MISMATCH). A twin under way is waited for. 40001 when
 * it committed after a snapshot that must not see it.
 */
bool
pointstore_find_request(ProposedEvent *events, int nevents, bool one_leg, Snapshot snapshot)
{
	text	   *request_id = events->request_id;
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	int			found;
	bool		waited;

	InitDirtySnapshot(dirty);
	pointstore_key_text(&key, request_id);
	if (one_leg)
		pointstore_key_smallint(&key, events->leg);
	do
	{
		found = 0;
		waited = false;
		pointstore_scan_begin(&scan, INDEX_EVENT_REQUEST, &dirty, &key);
		while (pointstore_scan_next(&scan, ForwardScanDirection))
		{
			CHECK_FOR_INTERRUPTS();
			waited = pointstore_scan_waits(&scan, &dirty);
			if (waited)
				break;
			if (IsolationUsesXactSnapshot() &&
				!table_tuple_satisfies_snapshot(scan.heap, scan.slot, snapshot))
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("request \"%s\" was applied concurrently", pointstore_cstring(request_id))));
			if (found++ == 0)
				expect_legs(events, nevents, scan.slot);
			compare_with_stored(events, nevents, scan.slot);
		}
	} while (waited);
	pointstore_scan_end(&scan);
	if (found > 0)
		compare_numbers(events, nevents, found);
	return found > 0;
}

/* Of a request that has written this event, the legs that are not found yet differ in that. */
static void
expect_legs(ProposedEvent *events, int nevents, TupleTableSlot *stored)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	ProposedEvent first = {0};
	bool		isnull;
	int			i;

	first.leg = DatumGetInt16(slot_getattr(stored, att[EV_LEG], &isnull));
	for (i = 0; i < nevents; i++)
	{
		events[i].outcome = OUTCOME_REQUEST_MISMATCH;
		events[i].mismatch = "leg";
		events[i].applied_version = DatumGetInt64(slot_getattr(stored, att[EV_VERSION], &isnull));
		pointstore_tell_difference(&events[i], &first);
	}
}

/* Whether the event that has a stored one's leg repeats it; then its receipt is that one's. */
static void
compare_with_stored(ProposedEvent *events, int nevents, TupleTableSlot *stored)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	ProposedEvent first = {0};
	ProposedEvent *event;
	bool		isnull;

	first.leg = DatumGetInt16(slot_getattr(stored, att[EV_LEG], &isnull));
	if (isnull || first.leg < events->leg || first.leg >= events->leg + nevents)
		return;
	event = &events[first.leg - events->leg];
	first.aggregate_id = DatumGetTextPP(slot_getattr(stored, att[EV_AGGREGATE_ID], &isnull));
	first.event_type = DatumGetTextPP(slot_getattr(stored, att[EV_EVENT_TYPE], &isnull));
	first.amount = DatumGetInt64(slot_getattr(stored, att[EV_AMOUNT], &isnull));
	first.payload = DatumGetJsonbP(slot_getattr(stored, att[EV_PAYLOAD], &isnull));
	first.occurred_at = DatumGetTimestampTz(slot_getattr(stored, att[EV_OCCURRED_AT], &isnull));
	event->applied_version = DatumGetInt64(slot_getattr(stored, att[EV_VERSION], &isnull));
	compare(event, &first);
	if (event->any_amount)
		event->amount = first.amount;
	event->version = event->applied_version;
	event->balance = DatumGetInt64(slot_getattr(stored, att[EV_BALANCE_AFTER], &isnull));
	event->id = DatumGetInt64(slot_getattr(stored, att[EV_ID], &isnull));
	event->durable = pointstore_row_durable(stored);
	event->created_at = DatumGetTimestampTz(slot_getattr(stored, att[EV_CREATED_AT], &isnull));
}

/*
 * The rules, after the request: account, version, overflow, floor and ceiling. PS010 on
 * an account that waits.
 * On success the event has its version and balance and the account has moved
 * on; on a refusal the event has the account's actual ones.
 */
void
pointstore_judge(ProposedEvent *event, Account *account, Snapshot snapshot)
{
	Account		next;

	pointstore_refuse_waiting(account);
	pointstore_know_expired(account, snapshot);
	event->outcome = check_account(event, account, snapshot);
	next = *account;
	if (event->outcome == OUTCOME_APPENDED && event->has_expected &&
		event->expected_version != account->version)
		event->outcome = OUTCOME_VERSION_CONFLICT;
	if (event->outcome == OUTCOME_APPENDED &&
		(pg_add_s64_overflow(account->version, 1, &next.version) ||
		 pg_add_s64_overflow(account->balance, event->amount, &next.balance) ||
		 pg_add_s64_overflow(account->held, event->held, &next.held)))
		event->outcome = OUTCOME_OVERFLOW;
	if (event->hold != NULL && event->hold->has_expired)
		next.expired += event->held;
	if (event->outcome == OUTCOME_APPENDED)
		event->outcome = check_limits(event, &next);
	if (event->outcome == OUTCOME_BALANCE_LIMIT)
		event->limit = account->kind->ceiling;
	if (event->outcome == OUTCOME_INSUFFICIENT_BALANCE)
		event->limit = floor_of(event, account->kind);
	if (event->outcome == OUTCOME_APPENDED)
	{
		next.nevents++;
		*account = next;
	}
	event->version = account->version;
	event->balance = account->balance;
	event->available = pointstore_available(account);
}

/* Whether the account takes events at all. A missing one that may be opened gets its kind. */
static Outcome
check_account(const ProposedEvent *event, Account *account, Snapshot snapshot)
{
	if (account->pure && event->hold != NULL)
		return OUTCOME_PURE;
	if (!account->exists && account->nevents == 0)
	{
		account->kind = pointstore_require_kind(event->kind ? event->kind : cstring_to_text("default"));
		account->kind_name = account->kind->name;
		account->pure = account->kind->pure;
		account->opened_by = event->role;
		pointstore_refuse_damaged(account->id, snapshot);
	}
	if (!account->exists && !account->kind->auto_open)
		return OUTCOME_ACCOUNT_MISSING;
	if (account->kind == NULL)
		(void) pointstore_require_kind(account->kind_name);	/* raises */
	if (account->status == STATUS_CLOSED)
		return OUTCOME_ACCOUNT_CLOSED;
	if (account->status == STATUS_FROZEN && !event->any_status)
		return OUTCOME_ACCOUNT_FROZEN;
	if (event->kind != NULL && event->kind_opens)
		(void) pointstore_require_kind(event->kind);
	else if (event->kind != NULL && !pointstore_same_text(event->kind, account->kind_name))
		return OUTCOME_WRONG_KIND;
	return OUTCOME_APPENDED;
}

/* What takes keeps to the floor, a credit to the ceiling. account: as it would be. */
static Outcome
check_limits(const ProposedEvent *event, const Account *account)
{
	const Kind *kind = account->kind;
	bool		takes = event->amount < 0 || event->held > 0;

	if (takes && !event->any_floor && (kind->has_floor || event->has_floor) &&
		pointstore_available(account) < floor_of(event, kind))
		return OUTCOME_INSUFFICIENT_BALANCE;
	if (event->amount > 0 && kind->has_ceiling && account->balance > kind->ceiling)
		return OUTCOME_BALANCE_LIMIT;
	return OUTCOME_APPENDED;
}

/* The larger of the kind's and the call's; at least one of them has one. */
static int64
floor_of(const ProposedEvent *event, const Kind *kind)
{
	return !event->has_floor ? kind->floor : !kind->has_floor ? event->floor : Max(kind->floor, event->floor);
}

/* Raises a batch's refusal, unless it is to be an outcome. */
void
pointstore_raise_refused(const Batch *batch)
{
	if (batch->refused != NULL &&
		(!batch->refusals_are_outcomes || batch->refused->outcome > OUTCOME_LAST_REFUSAL))
		pointstore_raise(batch->refused);
}

/*
 * Whether others may overtake a batch so that what it has written must be taken back: on
 * pure accounts, when a refusal is to be an outcome, or when the first leg of a movement gets
 * another id after another leg was written.
 */
static bool
may_be_taken_back(const Batch *batch)
{
	const Account *first = batch->events->account;
	int			i = 0;

	if (batch->apart || batch->naccounts < 2 || IsolationUsesXactSnapshot())
		return false;
	while (i < batch->naccounts && (!batch->accounts[i].pure || batch->accounts[i].nevents == 0))
		i++;
	return i < batch->naccounts &&
		(batch->refusals_are_outcomes || (batch->events->is_linked && first->pure && first > &batch->accounts[i]));
}

/* write_batch() in a subtransaction. False: nothing of it is left. */
static bool
write_or_take_back(Batch *batch)
{
	ErrorData  *error;

	batch->overtaken = false;
	error = pointstore_attempt(write_whole, batch);
	if (error != NULL && !batch->overtaken)
		ReThrowError(error);
	return !batch->overtaken;
}

static bool
write_whole(void *arg)
{
	Batch	   *batch = arg;

	batch->overtaken = !write_batch(batch);
	return !batch->overtaken;
}

/* Writes a batch that passed every rule. False: others were faster, nothing is written. */
static bool
write_batch(Batch *batch)
{
	static const PointstoreTableId tables[] = {TABLE_EVENT_STORE, TABLE_BALANCE, TABLE_HOLD};
	RowWriter  *writer;
	bool		holds = settle_holds(batch);
	bool		speculative = false;
	bool		hybrid = false;
	bool		done;
	int			i;

	batch->written = false;
	for (i = 0; i < batch->naccounts; i++)
	{
		Account    *account = &batch->accounts[i];

		if (account->nevents == 0)
			continue;
		batch->current = batch->first[i];
		hybrid |= !account->pure;
		speculative |= account->pure || !account->exists;
		if (account->pure && !account->exists &&
			!pointstore_open_row(account->id, account->kind, account->opened_by))
			return false;
	}
	batch->current = NULL;
	if (!hybrid && !speculative)
		return true;			/* nothing but replays */
	stamp_events(batch);
	draw_ids(batch);
	writer = pointstore_writer_begin(holds ? 3 : hybrid ? 2 : 1, tables, speculative);
	done = (!hybrid || write_balances(batch, writer)) && write_events_guarded(batch, writer);
	batch->current = NULL;
	pointstore_writer_end(writer);
	return done;
}

/*
 * Brings the accounts' next_expiry to what it will be once the batch's holds are
 * placed and closed. False: there is no step of a hold among its events.
 */
static bool
settle_holds(Batch *batch)
{
	bool		holds = false;
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];
		Account    *account = event->account;

		if (event->hold == NULL || event->outcome != OUTCOME_APPENDED)
			continue;
		holds = true;
		if (event->hold->status != HOLD_OPEN)
		{
			account->closing = lappend(account->closing, event->hold);
			account->expiry_moves |= !account->has_expiry || event->hold->expires_at <= account->next_expiry;
		}
		else if (!account->has_expiry || event->hold->expires_at < account->next_expiry)
		{
			account->has_expiry = true;
			account->next_expiry = event->hold->expires_at;
		}
	}
	for (i = 0; holds && i < batch->naccounts; i++)
		if (batch->accounts[i].expiry_moves)
			pointstore_find_next_expiry(&batch->accounts[i], batch->accounts[i].closing, GetActiveSnapshot());
	return holds;
}

/* The clock for each event, never before the account's previous one. */
static void
stamp_events(Batch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		if (event->outcome == OUTCOME_APPENDED)
			event->created_at = event->account->updated_at = Max(now, event->account->updated_at);
	}
}

/*
 * An id for each event, drawn after its account's last one was read and before anything is
 * written: so ids rise with the versions. Where no lock keeps the account as it is, others who
 * draw meanwhile either come first, and all is done anew, or read our event before they draw.
 * What users' triggers append while the batch is written comes after it.
 */
static void
draw_ids(Batch *batch)
{
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		if (event->outcome != OUTCOME_APPENDED)
			continue;
		event->id = pointstore_draw_id(event->account);
		if (event->is_linked && event->leg == 0)
			(void) renew_cause(event);
	}
}

/* The first leg of a movement has an id: the others' cause. False: one of them is written with another. */
static bool
renew_cause(ProposedEvent *first)
{
	int			i;

	for (i = 1; i <= first->further; i++)
	{
		if (first[i].account != first->account && first[i].account->claim == &first[i])
			return false;
		first[i].has_cause = true;
		first[i].cause_id = first->id;
	}
	return true;
}

/* The balance rows, in account order; of a single account this is also its lock. */
static bool
write_balances(Batch *batch, RowWriter *writer)
{
	int			i;

	for (i = 0; i < batch->naccounts; i++)
	{
		Account    *account = &batch->accounts[i];

		CHECK_FOR_INTERRUPTS();
		if (account->pure || account->nevents == 0)
			continue;
		batch->current = batch->first[i];
		if (pointstore_write_account(writer, account) == ROW_WRITTEN)
		{
			batch->written = true;
			/* before the events, whose keys an account in the other mode may have */
			if (!account->exists)
				pointstore_note_opening(account);
			continue;
		}
		if (IsolationUsesXactSnapshot() || batch->naccounts > 1)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("account \"%s\" was opened concurrently", pointstore_cstring(account->id))));
		return false;
	}
	return true;
}

/* write_events(), with a duplicate key told for what it means here. */
static bool
write_events_guarded(Batch *batch, RowWriter *writer)
{
	volatile bool done = false;

	PG_TRY();
	{
		done = write_events(batch, writer);
	}
	PG_CATCH();
	{
		translate_duplicate(batch, writer);
	}
	PG_END_TRY();
	return done;
}

/*
 * Re-throws the error at hand. A duplicate request_id: another account's twin
 * was faster by a moment (40001: the retry is told). A duplicate version: the
 * events are ahead of the balance row (XX001). A duplicate id: the sequence is behind (55000).
 */
static void
translate_duplicate(const Batch *batch, const RowWriter *writer)
{
	MemoryContext failed = MemoryContextSwitchTo(TopTransactionContext);
	ErrorData  *error = CopyErrorData();
	PointstoreIndexId key = pointstore_violated_key(writer, error);

	MemoryContextSwitchTo(failed);
	if (key < N_STORE_INDEXES)
		FlushErrorState();
	if (key == INDEX_EVENT_REQUEST || key == INDEX_HOLD || key == INDEX_HOLD_IDENTITY)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a request of this call was applied concurrently"),
				 errhint("Repeat the call to see what it has written.")));
	if (key == INDEX_EVENT)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the events of account \"%s\" are ahead of its row",
						pointstore_cstring(batch->current->aggregate_id)),
				 errdetail("%s", error->detail ? error->detail : error->message),
				 errhint("SELECT * FROM pointstore.rebuild_balance(...); sets the row to what the events say.")));
	if (key == INDEX_EVENT_ID)
		refuse_sequence(error->detail ? error->detail : error->message);
	if (key < N_STORE_INDEXES)
		ReThrowError(error);
	PG_RE_THROW();
}

/* The events: pure accounts claim their next version first, in account order. */
static bool
write_events(Batch *batch, RowWriter *writer)
{
	int			i;

	for (i = 0; i < batch->naccounts; i++)
		if (batch->accounts[i].pure && batch->accounts[i].nevents > 0 &&
			!claim(batch, writer, &batch->accounts[i]))
			return false;
	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		CHECK_FOR_INTERRUPTS();
		batch->current = event;
		if (event->outcome == OUTCOME_APPENDED &&
			!(event->account->pure && event == event->account->claim))
			(void) write_event(writer, event, 0);
		if (event->outcome == OUTCOME_APPENDED && event->hold != NULL)
			write_hold(writer, event);
	}
	for (i = 0; !writer->plain && i < batch->naccounts; i++)
		if (batch->accounts[i].pure && batch->accounts[i].nevents > 0)
			refuse_triggered_change(&batch->accounts[i]);
	return true;
}

/* The row of the hold whose step an event is. */
static void
write_hold(RowWriter *writer, const ProposedEvent *event)
{
	Hold	   *hold = event->hold;

	if (hold->status == HOLD_OPEN)
	{
		hold->event_id = event->id;
		hold->has_event = true;
		hold->created_at = event->created_at;
	}
	else
		hold->closed_at = event->created_at;
	(void) pointstore_write_hold(writer, hold, 0);
}

/*
 * The next id of the store, above that of the account's last event: 55000. The transaction has
 * its own id before: so who sees an event's id drawn sees its transaction running (reconcile.c).
 * An id above all that this server knew of before it was drawn is above the
 * account's; where that is not so, or nothing is known, the account's last event is asked.
 */
int64
pointstore_draw_id(Account *account)
{
	int64		highest = pointstore_stat_highest_id();
	int64		id;

	(void) GetCurrentTransactionId();
	if (highest == 0)
		pointstore_stat_raise_id(pointstore_highest_id());
	id = nextval_internal(pointstore_store()->id_sequence, false);
	if (highest == 0 || id <= highest)
	{
		Account		last = {.id = account->id};

		if (account->last_id == 0 && pointstore_last_event(&last, GetActiveSnapshot()))
			account->last_id = last.last_id;
		if (account->last_id != 0 && id <= account->last_id)
			refuse_sequence(psprintf("id %lld is not above %lld, that of the last event of account \"%s\"", (long long) id,
									 (long long) account->last_id, pointstore_cstring(account->id)));
	}
	pointstore_stat_raise_id(id);
	account->last_id = id;
	return id;
}

/* The sequence does not give what it should. */
static void
refuse_sequence(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the ids of events do not rise: %s", why),
			 errdetail("The sequence pointstore.event_store_id_seq was set back, or behind what was restored or replicated, or has other settings than it was created with."),
			 errhint("SELECT setval('pointstore.event_store_id_seq', max(id)) FROM pointstore.event_store;")));
}

/*
 * Inserts a pure account's first event of the batch, whose key is the claim on
 * the account. False: another was faster and nothing is written yet.
 */
static bool
claim(Batch *batch, RowWriter *writer, Account *account)
{
	ProposedEvent *event;
	int			keys = KEY_OF(INDEX_EVENT);

	for (event = batch->first[account - batch->accounts]; event->outcome != OUTCOME_APPENDED;)
		event = event->next;
	account->claim = event;
	if (event->request_id != NULL)
		keys |= KEY_OF(INDEX_EVENT_REQUEST);
	batch->current = event;
	while (write_claim(writer, event, keys) == ROW_CONFLICT)
	{
		CHECK_FOR_INTERRUPTS();
		if (!batch->written && !IsolationUsesXactSnapshot())
			return false;
		/* other requests were judged by what this account was thought to be; and what is refused now would be no outcome */
		batch->overtaken = batch->apart || batch->refusals_are_outcomes || IsolationUsesXactSnapshot() ||
			!judge_again(batch, account);
		if (batch->overtaken)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("account \"%s\" changed concurrently", pointstore_cstring(account->id))));
	}
	batch->written = true;
	return true;
}

/*
 * The claim holds only while the account's row stands, which says its status and kind. Who has an
 * event of this account there already is waited for by others who change that row.
 */
static RowOutcome
write_claim(RowWriter *writer, const ProposedEvent *event, int keys)
{
	RowOutcome	outcome;

	if (!event->account->last_is_ours)
		writer->fence = event->account->row;
	outcome = write_event(writer, event, keys);
	writer->fence = NULL;
	return outcome;
}

/* 27000 where a trigger of a pure account's events has changed the status or kind by which they were judged. */
static void
refuse_triggered_change(const Account *account)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		now;

	pointstore_read_account(&now, account->id, snapshot, LOCK_NOTHING);
	if (now.exists && (now.status != account->status || !pointstore_same_text(now.kind_name, account->kind_name)))
		pointstore_refuse_triggered_status(account->id);
	pointstore_release_account(&now);
	PopActiveSnapshot();
}

/*
 * Judges the events of one pure account again, from its newest last event, after the
 * batch, which stands or falls as one, has begun to be written: what is refused now is an error.
 * Ids that are below that last event's are drawn anew. False: one of them is a written event's
 * cause, which has the old one; or the account counts something else now, where that matters.
 */
static bool
judge_again(Batch *batch, Account *account)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		before = *account;
	ProposedEvent *event;
	bool		done = true;

	/* with its row: what was in the way may have been a change of status or kind */
	pointstore_release_account(account);
	pointstore_read_account(account, before.id, snapshot, LOCK_NOTHING);
	account->nevents = before.nevents;
	account->claim = before.claim;
	/* an account without events may have come to count something else */
	if (batch->same_unit || batch->balanced)
		done = account->kind != NULL && pointstore_same_text(account->kind->unit, before.kind->unit);
	for (event = batch->first[account - batch->accounts]; event != NULL && done; event = event->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (event->outcome != OUTCOME_APPENDED)
			continue;
		batch->current = event;
		if (event->request_id != NULL &&
			pointstore_find_request(event, 1, true, snapshot))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("request \"%s\" was applied concurrently", pointstore_cstring(event->request_id)),
					 errhint("Repeat the call to see what it has written.")));
		if (event->propose == NULL || event->propose(event, snapshot))
			pointstore_judge(event, account, snapshot);
		if (event->outcome != OUTCOME_APPENDED)
		{
			pointstore_count_event(event);
			pointstore_raise(event);
		}
		event->created_at = account->updated_at = Max(event->created_at, account->updated_at);
		if (event->id <= account->last_id)
		{
			event->id = pointstore_draw_id(account);
			done = !event->is_linked || event->leg > 0 || renew_cause(event);
		}
		account->last_id = event->id;
	}
	PopActiveSnapshot();
	return done;
}

/*
 * Brings the events of a locked account to its balance: an event BalanceAdjusted
 * after the last one, and the row's version with it. No rule is asked.
 */
void
pointstore_append_adjustment(Account *account, int64 last_version, int64 amount, Jsonb *payload)
{
	static const PointstoreTableId tables[] = {TABLE_EVENT_STORE, TABLE_BALANCE};
	RowWriter  *writer = pointstore_writer_begin(2, tables, false);
	ProposedEvent event = {
		.aggregate_id = account->id, .event_type = cstring_to_text("BalanceAdjusted"),
		.payload = payload, .amount = amount, .account = account, .version = last_version + 1,
		.balance = account->balance, .id = pointstore_draw_id(account)
	};

	event.created_at = account->updated_at = Max(GetCurrentTimestamp(), account->updated_at);
	account->version = event.version;
	if (pointstore_write_account(writer, account) != ROW_WRITTEN)
		elog(ERROR, "the row of a locked account has moved");
	(void) write_event(writer, &event, 0);
	pointstore_writer_end(writer);
}

/* Inserts one event. ROW_CONFLICT, where keys are given: its version or its request is there. */
static RowOutcome
write_event(RowWriter *writer, const ProposedEvent *event, int keys)
{
	RowTarget  *target = &writer->targets[0];
	const AttrNumber *att = target->table->att;
	TupleTableSlot *slot = target->slot;

	pointstore_row_begin(target, NULL);
#define SET(column, value) \
	(slot->tts_values[att[column] - 1] = (value), slot->tts_isnull[att[column] - 1] = false)
	SET(EV_ID, Int64GetDatum(event->id));
	SET(EV_AGGREGATE_ID, PointerGetDatum(event->aggregate_id));
	SET(EV_VERSION, Int64GetDatum(event->version));
	SET(EV_EVENT_TYPE, PointerGetDatum(event->event_type));
	SET(EV_AMOUNT, Int64GetDatum(event->amount));
	SET(EV_HELD, Int64GetDatum(event->held));
	SET(EV_BALANCE_AFTER, Int64GetDatum(event->balance));
	SET(EV_PAYLOAD, JsonbPGetDatum(event->payload));
	if (event->metadata != NULL)
		SET(EV_METADATA, JsonbPGetDatum(event->metadata));
	if (event->request_id != NULL)
		SET(EV_REQUEST_ID, PointerGetDatum(event->request_id));
	if (event->request_id != NULL || event->is_linked)
		SET(EV_LEG, Int16GetDatum(event->leg));
	if (event->has_cause)
		SET(EV_CAUSE_ID, Int64GetDatum(event->cause_id));
	SET(EV_OCCURRED_AT, TimestampTzGetDatum(event->has_occurred ? event->occurred_at : event->created_at));
	SET(EV_CREATED_AT, TimestampTzGetDatum(event->created_at));
#undef SET
	ExecStoreVirtualTuple(slot);
	return pointstore_row_insert(writer, target, keys);
}
