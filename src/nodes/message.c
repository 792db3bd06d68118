/*-------------------------------------------------------------------------
 *
 * src/nodes/message.c
 *		Messages between stores, as JSON: read, and answered.
 *
 * {"version": 1, "origin": uuid, "name": text, "incarnation": n, "finished_below": [incarnation, number], "messages": [...]}, of which
 * each message is
 *
 *	{"do": "try" | "confirm" | "cancel", "movement_id", "step", "incarnation", "number", "protocol", "attempt",
 *	 "aggregate_id", of a try also "amount", "event_type", "payload", "metadata", "undo", "kind"}
 *	{"do": "list", "after": {"movement_id", "step"}, "limit"}: rows of the origin's steps
 *
 * and each answer {"answer", "unit", "event_id", "sqlstate", "error"}, without what is null, or
 * {"answer": "list", "rows": [...]}. Numbers may come as strings. A malformed message is answered, 22023: the others of its call are taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "append/propose.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "nodes/member.h"
#include "nodes/message.h"
#include "nodes/participant_event.h"

#define MOST_ROWS 1000			/* of a list */

static void read_message(JsonbValue *element, Asked *asked);
static const char *read_list(Jsonb *object, Asked *asked);
static const char *read_step(Jsonb *object, StepMessage *message);
static const char *read_try(Jsonb *object, StepMessage *message);
static const char *check_try(const StepMessage *message);
static const char *read_name(Jsonb *object, const char *key, bool may_lack, text **value);
static const char *read_number(Jsonb *object, const char *key, int64 least, int64 most, int64 *value);
static Jsonb *list_rows(const pg_uuid_t *origin, const Asked *asked);
static void push_answer(JsonbParseState **state, const StepMessage *message);

/* The messages of a call: 22023 where they are no array, or too many. */
Asked *
pointstore_read_messages(Jsonb *call, int *n)
{
	JsonbValue	member;
	Asked	   *asked;
	int			i;

	if (!pointstore_member(call, "messages", &member) || member.type != jbvBinary || !JsonContainerIsArray(member.val.binary.data) ||
		JsonContainerIsScalar(member.val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("messages must be a JSON array")));
	*n = JsonContainerSize(member.val.binary.data);
	if (*n > MOST_MESSAGES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a call has at most %d messages, this one %d", MOST_MESSAGES, *n)));
	asked = palloc0(sizeof(Asked) * Max(*n, 1));
	for (i = 0; i < *n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_message(getIthJsonbValueFromContainer(member.val.binary.data, i), &asked[i]);
	}
	return asked;
}

/* One message; what is wrong with it is its answer. */
static void
read_message(JsonbValue *element, Asked *asked)
{
	const char *fault = NULL;
	text	   *verb = NULL;
	Jsonb	   *object;

	asked->message.verb = VERB_NONE;
	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		fault = "a message is not an object";
	else
	{
		object = JsonbValueToJsonb(element);
		if (pointstore_member_text(object, "do", &verb) != MEMBER_FOUND)
			fault = "do must be a string";
		else if (strcmp(pointstore_cstring(verb), "list") == 0)
		{
			asked->kind = ASKED_LIST;
			fault = read_list(object, asked);
		}
		else
		{
			asked->message.verb = Max(pointstore_place(verb, pointstore_verb_names, VERB_CANCEL + 1), VERB_NONE);
			fault = asked->message.verb == VERB_NONE ? psprintf("cannot do \"%s\"", pointstore_cstring(verb)) :
				read_step(object, &asked->message);
		}
	}
	if (fault == NULL)
		return;
	asked->kind = ASKED_NOTHING;
	asked->message.answer = asked->message.verb == VERB_TRY ? ANSWER_REFUSED : ANSWER_FAILED;
	asked->message.sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
	asked->message.error = fault;
}

/* What is wrong with what asks for rows; NULL: nothing. */
static const char *
read_list(Jsonb *object, Asked *asked)
{
	static const char *const keys[] = {"do", "after", "limit"};
	const char *unknown = pointstore_unknown_member(object, keys, lengthof(keys));
	const char *fault = NULL;
	Jsonb	   *after;
	MemberFound found;

	asked->limit = MOST_ROWS;
	if (unknown != NULL)
		return psprintf("unknown key \"%s\" in a message", unknown);
	found = pointstore_member_object(object, "after", &after);
	if (found == MEMBER_WRONG)
		return "after must be an object";
	if (found == MEMBER_FOUND)
	{
		fault = read_name(after, "movement_id", false, &asked->after_movement);
		if (fault == NULL)
			fault = read_number(after, "step", 0, PG_INT16_MAX, &asked->after_step);
	}
	if (fault == NULL && pointstore_member_bigint(object, "limit", &asked->limit) != MEMBER_NONE)
		fault = read_number(object, "limit", 1, MOST_ROWS, &asked->limit);
	return fault;
}

/* The same of what asks about a step. */
static const char *
read_step(Jsonb *object, StepMessage *message)
{
	static const char *const keys[] = {"do", "movement_id", "step", "incarnation", "number", "protocol", "attempt",
	"aggregate_id", "amount", "event_type", "payload", "metadata", "undo", "kind"};
	const char *unknown = pointstore_unknown_member(object, keys, lengthof(keys));
	text	   *protocol = NULL;
	int64		step = 0;
	int64		attempt = 0;
	const char *fault;
	int			place;

	if (unknown != NULL)
		return psprintf("unknown key \"%s\" in a message", unknown);
	if ((fault = read_name(object, "movement_id", false, &message->movement_id)) != NULL ||
		(fault = read_number(object, "step", 1, PG_INT16_MAX, &step)) != NULL ||
		(fault = read_number(object, "incarnation", 0, PG_INT64_MAX, &message->incarnation)) != NULL ||
		(fault = read_number(object, "number", 0, PG_INT64_MAX, &message->number)) != NULL ||
		(fault = read_name(object, "protocol", false, &protocol)) != NULL ||
		(pointstore_member_bigint(object, "attempt", &attempt) != MEMBER_NONE &&
		 (fault = read_number(object, "attempt", 0, PG_INT32_MAX, &attempt)) != NULL))
		return fault;
	place = pointstore_place(protocol, pointstore_protocol_names, N_PROTOCOLS);
	if (place < 0)
		return psprintf("unknown protocol \"%s\"", pointstore_cstring(protocol));
	message->protocol = (MovementProtocol) place;
	message->step = (int16) step;
	message->attempt = (int) attempt;
	fault = read_name(object, "aggregate_id", message->verb != VERB_TRY, &message->aggregate_id);
	return fault != NULL || message->verb != VERB_TRY ? fault : read_try(object, message);
}

/* The same of what a try has besides. */
static const char *
read_try(Jsonb *object, StepMessage *message)
{
	JsonbValue	payload;
	const char *fault;

	if ((fault = read_name(object, "event_type", false, &message->event_type)) != NULL ||
		(fault = read_name(object, "kind", true, &message->kind)) != NULL ||
		(fault = read_number(object, "amount", PG_INT64_MIN, PG_INT64_MAX, &message->amount)) != NULL)
		return fault;
	if (pointstore_member(object, "payload", &payload) && payload.type != jbvNull)
		message->payload = JsonbValueToJsonb(&payload);
	if (pointstore_member_object(object, "metadata", &message->metadata) == MEMBER_WRONG)
		return "metadata must be an object";
	if (pointstore_member_object(object, "undo", &message->undo) == MEMBER_WRONG)
		return "undo must be an object";
	return check_try(message);
}

static const char *
check_try(const StepMessage *message)
{
	JsonbValue	member;

	if (pointstore_is_reserved_type(message->event_type))
		return psprintf("event type \"%s\" is reserved", pointstore_cstring(message->event_type));
	if (message->metadata != NULL && pointstore_member(message->metadata, PROPOSED_KEY, &member))
		return psprintf("key \"%s\" of metadata is reserved", PROPOSED_KEY);
	if (message->undo == NULL)
		return NULL;
	return message->protocol != PROTOCOL_SAGA ? "only a saga's step has an undo" : pointstore_undo_fault(message->undo);
}

static const char *
read_name(Jsonb *object, const char *key, bool may_lack, text **value)
{
	MemberFound found = pointstore_member_text(object, key, value);

	if (found == MEMBER_NONE && may_lack)
		return NULL;
	if (found != MEMBER_FOUND)
		return psprintf("%s must be a string", key);
	if (VARSIZE_ANY_EXHDR(*value) == 0 || VARSIZE_ANY_EXHDR(*value) > POINTSTORE_MAX_NAME)
		return psprintf("%s must be 1 to %d bytes", key, POINTSTORE_MAX_NAME);
	return NULL;
}

static const char *
read_number(Jsonb *object, const char *key, int64 least, int64 most, int64 *value)
{
	if (pointstore_member_bigint(object, key, value) != MEMBER_FOUND)
		return psprintf("%s must be a whole number", key);
	return *value < least || *value > most ? psprintf("%s is out of range", key) : NULL;
}

/* The answers, in the order in which was asked, as a JSON array. */
Jsonb *
pointstore_answers(const pg_uuid_t *origin, const Asked *asked, int n)
{
	JsonbParseState *state = NULL;
	int			i;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < n; i++)
	{
		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		if (asked[i].kind == ASKED_LIST)
		{
			pointstore_push_string(&state, "answer", "list");
			pointstore_push_document(&state, "rows", list_rows(origin, &asked[i]));
		}
		else
			push_answer(&state, &asked[i].message);
		(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/*
 * Rows of an origin's steps, in the order of their keys, with what the events that they name have moved:
 * one that lacks has moved nothing.
 */
static Jsonb *
list_rows(const pg_uuid_t *origin, const Asked *asked)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
		"  'movement_id', s.movement_id, 'step', s.step, 'protocol', s.protocol, 'status', s.status, 'incarnation', s.incarnation,"
		"  'number', s.number, 'aggregate_id', s.aggregate_id, 'amount', s.amount, 'event_id', s.event_id,"
		"  'end_event_id', s.end_event_id, 'ended_by', s.ended_by, 'applied', s.applied)) ORDER BY s.movement_id, s.step), '[]')"
		" FROM (SELECT p.*, (SELECT coalesce(pg_catalog.sum(e.amount), 0) FROM pointstore.event_store e"
		"    WHERE e.id" EQ "ANY (ARRAY[p.event_id, p.end_event_id]) AND e.aggregate_id" EQ "p.aggregate_id)"
		"   OPERATOR(pg_catalog.+) (SELECT coalesce(pg_catalog.sum(r.amount), 0) FROM pointstore.event_store r"
		"    WHERE p.status" EQ "'cancelled' AND r.cause_id" EQ "p.event_id AND r.event_type" EQ "'EventReversed'"
		"     AND r.aggregate_id" EQ "p.aggregate_id AND r.id" NE "coalesce(p.end_event_id, 0)) AS applied"
		"   FROM pointstore.participant_step p WHERE p.origin" EQ "$1"
		"    AND p.movement_id" GE "coalesce($2, '') AND ($2 IS NULL OR p.movement_id" GT "$2 OR (p.movement_id" EQ "$2 AND p.step" GT "$3))"
		"   ORDER BY p.movement_id, p.step LIMIT $4) s",
		.nargs = 4, .argtypes = {UUIDOID, TEXTOID, INT8OID, INT8OID}
	};
	/* Citus takes no subquery in the place of a value */
	static PointstorePlan over_nodes = {
		.sql = "SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
		"  'movement_id', s.movement_id, 'step', s.step, 'protocol', s.protocol, 'status', s.status, 'incarnation', s.incarnation,"
		"  'number', s.number, 'aggregate_id', s.aggregate_id, 'amount', s.amount, 'event_id', s.event_id,"
		"  'end_event_id', s.end_event_id, 'ended_by', s.ended_by, 'applied', s.applied)) ORDER BY s.movement_id, s.step), '[]')"
		" FROM (SELECT p.movement_id, p.step, p.protocol, p.status, p.incarnation, p.number,"
		"   CASE WHEN p.event_type IS NOT NULL THEN p.aggregate_id END AS aggregate_id, p.amount, p.event_id, p.end_event_id, p.ended_by,"
		"   coalesce(t.amount, 0) OPERATOR(pg_catalog.+) coalesce(d.amount, 0) OPERATOR(pg_catalog.+) coalesce(pg_catalog.sum(r.amount), 0) AS applied"
		"   FROM pointstore.participant_step p"
		"   LEFT JOIN pointstore.event_store t ON t.aggregate_id" EQ "p.aggregate_id AND t.id" EQ "p.event_id"
		"   LEFT JOIN pointstore.event_store d ON d.aggregate_id" EQ "p.aggregate_id AND d.id" EQ "p.end_event_id AND d.id" NE "coalesce(p.event_id, 0)"
		"   LEFT JOIN pointstore.event_store r ON r.aggregate_id" EQ "p.aggregate_id AND r.cause_id" EQ "p.event_id AND p.status" EQ "'cancelled'"
		"     AND r.event_type" EQ "'EventReversed' AND r.id" NE "coalesce(p.end_event_id, 0)"
		"   WHERE p.origin" EQ "$1"
		"    AND p.movement_id" GE "coalesce($2, '') AND ($2 IS NULL OR p.movement_id" GT "$2 OR (p.movement_id" EQ "$2 AND p.step" GT "$3))"
		"   GROUP BY p.movement_id, p.step, p.protocol, p.status, p.incarnation, p.number, p.aggregate_id, p.event_type, p.amount, p.event_id,"
		"     p.end_event_id, p.ended_by, t.amount, d.amount"
		"   ORDER BY p.movement_id, p.step LIMIT $4) s",
		.nargs = 4, .argtypes = {UUIDOID, TEXTOID, INT8OID, INT8OID}, .spans_nodes = true
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[4];
	char		nulls[4] = {' ', asked->after_movement == NULL ? 'n' : ' ', ' ', ' '};
	bool		isnull;
	Jsonb	   *rows;

	values[0] = UUIDPGetDatum(origin);
	values[1] = PointerGetDatum(asked->after_movement);
	values[2] = Int64GetDatum(asked->after_step);
	values[3] = Int64GetDatum(asked->limit);
	SPI_connect();
	pointstore_execute(pointstore_is_distributed() ? &over_nodes : &plan, values, nulls, false);
	MemoryContextSwitchTo(context);
	rows = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return rows;
}

/* The members of an answer about a step. */
static void
push_answer(JsonbParseState **state, const StepMessage *message)
{
	pointstore_push_string(state, "answer", pointstore_answer_names[message->answer]);
	if (message->unit != NULL)
		pointstore_push_string(state, "unit", message->unit);
	if (message->event_id != 0)
		pointstore_push_number(state, "event_id", message->event_id);
	if (message->sqlerrcode != 0)
		pointstore_push_string(state, "sqlstate", pstrdup(unpack_sql_state(message->sqlerrcode)));
	if (message->error != NULL)
		pointstore_push_string(state, "error", message->error);
}
