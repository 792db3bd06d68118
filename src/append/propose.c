/*-------------------------------------------------------------------------
 *
 * src/append/propose.c
 *		Proposed events: what the arguments of a function, or the elements of a
 *		JSON array, ask for, checked as far as that needs no look at the store.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "append/propose.h"
#include "ground/compat.h"
#include "ground/name.h"

/* event types that functions of ours alone write */
static const char *const reserved_types[] = {
	"HoldPlaced", "HoldConfirmed", "HoldCancelled", "HoldExpired", "EventReversed", "BalanceAdjusted",
	"MovementTried", "MovementConfirmed", "MovementCancelled"
};

static void check_expected(const ProposedEvent *event);
static void check_cause(const ProposedEvent *event);
static bool says_as_reversal(const ProposedEvent *event);
static void check_leg_causes(const ProposedEvent *events, int n, bool one_request, bool linked);
static void read_element(ProposedEvent *event, JsonbValue *element);
static bool is_key_of_check(const char *key);
static void check_condition(const ProposedEvent *check, const char *other);
static void read_key(ProposedEvent *event, const char *key, JsonbValue *value);
static bool read_told_key(ProposedEvent *event, const char *key, JsonbValue *value);
static int16 json_smallint(const char *key, JsonbValue *value);
static int64 parse_bigint(const char *key, const char *digits);
static void check_sum(const ProposedEvent *events, int n);

/* The arguments of append_event, checked: 22004, 22023. */
void
pointstore_read_arguments(FunctionCallInfo fcinfo, ProposedEvent *event)
{
	pointstore_check_arguments(fcinfo, 13);
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
	event->has_payload_version = !PG_ARGISNULL(10);
	event->payload_version = event->has_payload_version ? PG_GETARG_INT16(10) : 0;
	event->has_cause = !PG_ARGISNULL(11);
	event->cause_id = event->has_cause ? PG_GETARG_INT64(11) : 0;
	event->has_lease_token = !PG_ARGISNULL(12);
	event->lease_token = event->has_lease_token ? PG_GETARG_INT64(12) : 0;
	event->may_merge = true;
	pointstore_check_event(event);
	check_cause(event);
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
	check_expected(event);
	if (event->has_payload_version && event->payload_version < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload_version must be positive, is %d", event->payload_version)));
	if (event->propose == NULL && pointstore_is_reserved_type(event->event_type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event type \"%s\" is reserved", pointstore_cstring(event->event_type))));
	pointstore_check_metadata(event->metadata);
}

/* What the store itself writes there is not the callers' to give: 22023. */
void
pointstore_check_metadata(Jsonb *metadata)
{
	JsonbValue	value;

	if (metadata != NULL && pointstore_member(metadata, PROPOSED_KEY, &value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of metadata is reserved", PROPOSED_KEY)));
}

static void
check_expected(const ProposedEvent *event)
{
	if (event->has_expected && event->expected_version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative, is %lld", (long long) event->expected_version)));
}

/* Whether events of that type are written by functions of ours alone. */
bool
pointstore_is_reserved_type(text *event_type)
{
	return pointstore_place(event_type, reserved_types, lengthof(reserved_types)) >= 0;
}

/*
 * A caller's cause may be any event, also of another store. What reconciliation would take for the
 * work of our own functions is not for callers: 22023.
 */
static void
check_cause(const ProposedEvent *event)
{
	if (event->has_cause && event->cause_id < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cause_id must be positive, is %lld", (long long) event->cause_id)));
	if (event->has_cause && event->amount != 0 && says_as_reversal(event))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event with a cause_id and an amount has a payload of more than a version"),
				 errdetail("That is what a reversal has.")));
}

/* Whether the payload is {"version": ...} and nothing else. */
static bool
says_as_reversal(const ProposedEvent *event)
{
	JsonbValue	value;

	return pointstore_member(event->payload, "version", &value) && JB_ROOT_COUNT(event->payload) == 1;
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
		events[i].followers = n - 1 - i;
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

/*
 * The events of a JSON array of objects, one request where they have that id, and behind them its
 * conditions, the last one first: 22004, 22023, 22003.
 */
ProposedEvent *
pointstore_read_elements(Jsonb *elements, text *request_id, bool balanced, int *nchecks)
{
	int			n = JB_ROOT_COUNT(elements);
	bool		own_requests = false;
	const ProposedEvent *current = NULL;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = pointstore_element_context, .arg = &current};
	ProposedEvent *events;
	int			nevents = 0;
	int			i;

	if (!JB_ROOT_IS_ARRAY(elements) || JB_ROOT_IS_SCALAR(elements))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must be a JSON array")));
	if ((request_id != NULL || balanced) && n > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a request, and a balanced call, has at most %d events, this one %d", PG_INT16_MAX, n)));
	events = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(ProposedEvent) * Max(n, 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	error_context_stack = &context;
	*nchecks = 0;
	for (i = 0; i < n; i++)
	{
		ProposedEvent event = {.element = i + 1};

		CHECK_FOR_INTERRUPTS();
		current = &event;
		read_element(&event, getIthJsonbValueFromContainer(&elements->root, i));
		events[event.is_check ? n - ++*nchecks : nevents++] = event;
		own_requests |= event.request_id != NULL;
		if (own_requests && request_id != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d has a request_id, and so has the call", i),
					 errdetail("Either the call has a request_id or its elements have.")));
	}
	error_context_stack = context.previous;
	if (request_id != NULL && n > 0 && nevents == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a call of checks alone has no request_id"),
				 errdetail("It writes nothing that a repeat could find.")));
	check_leg_causes(events, nevents, request_id != NULL, balanced && !own_requests);
	if (balanced)
		check_sum(events, nevents);
	if (request_id != NULL || (balanced && !own_requests))
		pointstore_make_request(events, nevents, request_id);
	if (balanced && !own_requests)
		pointstore_link_legs(events, nevents);
	return events;
}

/* An event of a request after its first, with a cause, is a leg of that; a balanced call names the cause itself: 22023. */
static void
check_leg_causes(const ProposedEvent *events, int n, bool one_request, bool linked)
{
	int			i;

	for (i = 0; i < n; i++)
		if (events[i].has_cause && (linked || (one_request && i > 0)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d of events has a cause_id, which would make it a leg of a transfer", events[i].element - 1),
					 errhint("Give the elements request_ids of their own, or none.")));
}

static void
read_element(ProposedEvent *event, JsonbValue *element)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	char	   *name;
	const char *other = NULL;	/* a key that no check has */

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an element of events is not an object")));
	iterator = JsonbIteratorInit(element->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			name = pnstrdup(key.val.string.val, key.val.string.len);
			read_key(event, name, &value);
			if (value.type != jbvNull && !is_key_of_check(name))
				other = name;
		}
	if (event->is_check)
	{
		check_condition(event, other);
		return;
	}
	if (event->aggregate_id == NULL || event->event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", event->aggregate_id == NULL ? "aggregate_id" : "event_type")));
	if (event->payload == NULL)
		event->payload = pointstore_empty_payload();
	event->may_merge = true;
	pointstore_check_event(event);
	check_cause(event);
}

static bool
is_key_of_check(const char *key)
{
	return strcmp(key, "check") == 0 || strcmp(key, "aggregate_id") == 0 || strcmp(key, "expected_version") == 0;
}

/* A condition has an account and a version, and nothing else: 22004, 22023. */
static void
check_condition(const ProposedEvent *check, const char *other)
{
	if (check->aggregate_id == NULL || !check->has_expected)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of a check must not be null", check->aggregate_id == NULL ? "aggregate_id" : "expected_version")));
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a check has no \"%s\"", other),
				 errdetail("It has an aggregate_id and an expected_version.")));
	pointstore_check_name("aggregate_id", check->aggregate_id);
	check_expected(check);
}

/* One key of an element; null means that it is not given. */
static void
read_key(ProposedEvent *event, const char *key, JsonbValue *value)
{
	bool		given = value->type != jbvNull;

	if (strcmp(key, "aggregate_id") == 0)
		event->aggregate_id = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "check") == 0)
		event->is_check = given && pointstore_json_boolean(key, value);
	else if (strcmp(key, "event_type") == 0)
		event->event_type = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "amount") == 0)
		event->amount = given ? pointstore_json_bigint(key, value) : 0;
	else if (strcmp(key, "payload") == 0)
		event->payload = given ? JsonbValueToJsonb(value) : NULL;
	else if (strcmp(key, "metadata") == 0)
		event->metadata = given ? JsonbValueToJsonb(value) : NULL;
	else if (strcmp(key, "request_id") == 0)
		event->request_id = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "kind") == 0)
		event->kind = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "expected_version") == 0)
	{
		event->has_expected = given;
		event->expected_version = given ? pointstore_json_bigint(key, value) : 0;
	}
	else if (strcmp(key, "min_balance") == 0)
	{
		event->has_floor = given;
		event->floor = given ? pointstore_json_bigint(key, value) : 0;
	}
	else if (strcmp(key, "payload_version") == 0)
	{
		event->has_payload_version = given;
		event->payload_version = given ? json_smallint(key, value) : 0;
	}
	else if (strcmp(key, "cause_id") == 0)
	{
		event->has_cause = given;
		event->cause_id = given ? pointstore_json_bigint(key, value) : 0;
	}
	else if (strcmp(key, "lease_token") == 0)
	{
		event->has_lease_token = given;
		event->lease_token = given ? pointstore_json_bigint(key, value) : 0;
	}
	else if (strcmp(key, "occurred_at") == 0)
	{
		event->has_occurred = given;
		if (given)
			event->occurred_at = DatumGetTimestampTz(
				DirectFunctionCall3(timestamptz_in, CStringGetDatum(text_to_cstring(pointstore_json_text(key, value))),
									ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in an element of events", key)));
}

/*
 * An event of a part as another node tells it (spread.c): the keys of an element, and what functions of ours say besides.
 * Of a part alone it has no followers here. One that has propose() by now is of a type of ours. 22004, 22023.
 */
void
pointstore_read_told(ProposedEvent *event, JsonbValue *told, bool is_part)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	char	   *name;

	if (told->type != jbvBinary || !JsonContainerIsObject(told->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an element of events is not an object")));
	iterator = JsonbIteratorInit(told->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			name = pnstrdup(key.val.string.val, key.val.string.len);
			if (!read_told_key(event, name, &value))
				read_key(event, name, &value);
		}
	if (event->aggregate_id == NULL || (event->is_check ? !event->has_expected : event->event_type == NULL || event->payload == NULL) ||
		event->followers < 0 || event->leg < 0 || event->legs_here < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an element of a part lacks something")));
	if (is_part)
		event->followers = 0;
	else
		event->legs_here = 0;
	pointstore_check_name("aggregate_id", event->aggregate_id);
	if (event->is_check)
		return;
	pointstore_check_event(event);
	if (!event->is_linked && event->propose == NULL)
		check_cause(event);
}

/* A number of what propose() is told. */
int64
pointstore_told_number(const ProposedEvent *event, const char *key, int64 otherwise)
{
	JsonbValue	value;

	return event->told != NULL && JB_ROOT_IS_OBJECT(event->told) && pointstore_member(event->told, key, &value) ?
		pointstore_json_bigint(key, &value) : otherwise;
}

/* A key that is no element's; false: it is another. */
static bool
read_told_key(ProposedEvent *event, const char *key, JsonbValue *value)
{
	static const struct
	{
		const char *key;
		size_t		offset;
	}			flags[] = {
		{"is_check", offsetof(ProposedEvent, is_check)}, {"is_linked", offsetof(ProposedEvent, is_linked)},
		{"kind_opens", offsetof(ProposedEvent, kind_opens)}, {"lease_if_asked", offsetof(ProposedEvent, lease_if_asked)},
		{"may_merge", offsetof(ProposedEvent, may_merge)}
	};
	int			i;

	for (i = 0; i < lengthof(flags); i++)
		if (strcmp(key, flags[i].key) == 0)
		{
			*(bool *) ((char *) event + flags[i].offset) = pointstore_json_bigint(key, value) != 0;
			return true;
		}
	if (strcmp(key, "leg") == 0)
		event->leg = json_smallint(key, value);
	else if (strcmp(key, "legs_here") == 0)
		event->legs_here = json_smallint(key, value);
	else if (strcmp(key, "followers") == 0)
		event->followers = json_smallint(key, value);
	else if (strcmp(key, "told") == 0)
		event->told = JsonbValueToJsonb(value);
	else if (strcmp(key, "occurred") == 0)
	{
		event->has_occurred = true;
		event->occurred_at = pointstore_json_bigint(key, value);
		if (!IS_VALID_TIMESTAMP(event->occurred_at))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("timestamp out of range")));
	}
	else
		return false;
	return true;
}

static int16
json_smallint(const char *key, JsonbValue *value)
{
	return DatumGetInt16(DirectFunctionCall1(int82, Int64GetDatum(pointstore_json_bigint(key, value))));
}

/* Changes an event by what a merge function has returned: 22004, 22023, 22003. */
void
pointstore_read_changes(ProposedEvent *event, Jsonb *changes, const char *function)
{
	static const char *const keys[] = {"event_type", "amount", "payload", "metadata", "payload_version"};
	JsonbIterator *iterator = JsonbIteratorInit(&changes->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		int			place;
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		place = pointstore_place(cstring_to_text(name), keys, lengthof(keys));
		if (place < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("merge function %s returned an event with key \"%s\"", function, name),
					 errdetail("The keys are event_type, amount, payload, metadata and payload_version.")));
		if (place < 2 && value.type == jbvNull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("merge function %s returned an event whose %s is null", function, name)));
		read_key(event, name, &value);
	}
	if (event->payload == NULL)
		event->payload = pointstore_empty_payload();
	pointstore_check_event(event);
	check_cause(event);
}

/* 22023 where it is no boolean. */
bool
pointstore_json_boolean(const char *key, JsonbValue *value)
{
	if (value->type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be true or false", key)));
	return value->val.boolean;
}

/* 22023 where it is no string. */
text *
pointstore_json_text(const char *key, JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a string", key)));
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

/* A whole number, or a string of its digits: 22023, out of range 22003. */
int64
pointstore_json_bigint(const char *key, JsonbValue *value)
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

/* The amounts of a balanced batch sum to zero: 22023. */
static void
check_sum(const ProposedEvent *events, int n)
{
	int128		sum = 0;
	int			i;

	for (i = 0; i < n; i++)
		sum += events[i].amount;
	if (sum != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amounts of a balanced batch do not sum to zero")));
}

/* An error of one of append_events() says of which element; of a balance, the first of its account. */
void
pointstore_element_context(void *arg)
{
	const ProposedEvent *event = *(const ProposedEvent **) arg;

	if (event != NULL && event->element > 0)
		errcontext("element %d of events", event->element - 1);
}

/* The form of an event's payload. */
int
pointstore_payload_version(const ProposedEvent *event)
{
	return event->has_payload_version ? event->payload_version : 1;
}
