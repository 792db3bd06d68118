/*-------------------------------------------------------------------------
 *
 * src/nodes/participant_event.c
 *		What is done about a message, by the step's row, and by which event.
 *
 * tcc reserves by MovementTried: a debit's amount counts in held, a credit's in incoming. MovementConfirmed applies
 * the amount and takes the reservation back, MovementCancelled takes it back alone. A prepared step is
 * MovementConfirmed at once. A saga's step is an event of the caller's type, and is undone by a reversal,
 * or by the event that the caller has given for that. A reversal takes back what is left of its event: what
 * somebody has reversed by hand is not reversed twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "append/propose.h"
#include "append/reserve.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/pointstore.h"
#include "money/reversal.h"
#include "nodes/member.h"
#include "nodes/participant_event.h"

static void answer_self(StepWork *work);
static void answer(StepWork *work, MovementAnswer given, int sqlerrcode, const char *error);
static bool is_below(const PartOrigin *origin, const StepMessage *message);
static const char *difference(const StepMessage *message, const PartRow *row);
static bool same_json(Jsonb *a, Jsonb *b);
static const char *why_refused(const StepWork *work);
static ProposedEvent try_event(const PartOrigin *origin, const StepMessage *message);
static ProposedEvent end_event(const PartOrigin *origin, const StepWork *work, ReservedAct act);
static const char *store_name(const PartOrigin *origin);
static void read_undo(ReservedStep *step, Jsonb *undo);
static ProposedEvent reversal(const PartOrigin *origin, const StepWork *work);
static Jsonb *with_word(Jsonb *metadata, const StepWork *work);

/*
 * What is done about a message by the row as it was read. What is answered at once, by the
 * row alone or because nothing is to be done with it, is.
 */
void
pointstore_decide_step(const PartOrigin *origin, StepWork *work)
{
	StepMessage *message = work->message;
	PartRow    *row = &work->row;
	const char *field;

	work->rule = NULL;
	if (origin->is_self)
	{
		answer_self(work);
		return;
	}
	if (row->is_broken)
	{
		answer(work, message->verb == VERB_TRY ? ANSWER_REFUSED : ANSWER_FAILED, ERRCODE_DATA_CORRUPTED,
			   psprintf("the row of step %d of movement \"%s\" is damaged", message->step, pointstore_cstring(message->movement_id)));
		return;
	}
	if (row->status == PART_NONE && is_below(origin, message))
		row->status = PART_BELOW;
	if (message->verb == VERB_TRY && row->status == PART_NONE && row->elsewhere != NULL)
	{
		answer(work, ANSWER_REFUSED, ERRCODE_POINTSTORE_REQUEST_MISMATCH,
			   psprintf("movement \"%s\" began in another store: %s", pointstore_cstring(message->movement_id), row->elsewhere));
		return;
	}
	field = message->verb == VERB_TRY && (row->status == PART_TRIED || row->status == PART_DONE) ? difference(message, row) : NULL;
	if (field != NULL)
	{
		answer(work, ANSWER_REFUSED, ERRCODE_POINTSTORE_REQUEST_MISMATCH,
			   psprintf("step %d of movement \"%s\" was tried with another %s", message->step, pointstore_cstring(message->movement_id), field));
		return;
	}
	if (work->ended_by != NULL && row->status == PART_NONE)
	{
		answer(work, ANSWER_MISSING, 0, NULL);
		return;
	}
	work->rule = pointstore_participant_rule(message->protocol, row->status, message->verb);
	if (work->rule->act != ACT_NOTHING)
		return;
	answer(work, work->rule->answer, 0, NULL);
	message->event_id = row->end_event_id != 0 ? row->end_event_id : row->event_id;
	if (work->rule->answer == ANSWER_REFUSED)
		answer(work, ANSWER_REFUSED, ERRCODE_POINTSTORE_HOLD_NOT_OPEN, why_refused(work));
}

/* A movement does not go to the store where it began, nor does a copy's of that: rows of that name are the store's own steps. */
static void
answer_self(StepWork *work)
{
	static const MovementAnswer answers[] = {[VERB_TRY] = ANSWER_REFUSED, [VERB_CONFIRM] = ANSWER_MISSING, [VERB_CANCEL] = ANSWER_CANCELLED};
	MovementVerb verb = work->message->verb;

	answer(work, answers[verb], verb == VERB_TRY ? ERRCODE_POINTSTORE_REQUEST_MISMATCH : 0, verb != VERB_TRY ? NULL :
		   psprintf("movement \"%s\" comes from this store, or from a copy of it", pointstore_cstring(work->message->movement_id)));
}

static void
answer(StepWork *work, MovementAnswer given, int sqlerrcode, const char *error)
{
	work->message->answer = given;
	work->message->sqlerrcode = sqlerrcode;
	work->message->error = error;
}

/* Whether a movement of another store's has finished, by its number. */
static bool
is_below(const PartOrigin *origin, const StepMessage *message)
{
	return origin->source == MESSAGES_FROM_AWAY &&
		(message->incarnation < origin->below_incarnation ||
		 (message->incarnation == origin->below_incarnation && message->number < origin->below));
}

/* In which field a try differs from the one that the row is of; NULL: in none. */
static const char *
difference(const StepMessage *message, const PartRow *row)
{
	if (message->protocol != row->protocol)
		return "protocol";
	if (!pointstore_same_text(message->aggregate_id, row->aggregate_id))
		return "aggregate_id";
	if (message->amount != row->amount)
		return "amount";
	if (!pointstore_same_text(message->event_type, row->event_type))
		return "event_type";
	if (!same_json(message->payload == NULL ? pointstore_empty_payload() : message->payload,
				   row->payload == NULL ? pointstore_empty_payload() : row->payload))
		return "payload";
	return same_json(message->undo, row->undo) ? NULL : "undo";
}

static bool
same_json(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

static const char *
why_refused(const StepWork *work)
{
	return psprintf(work->row.status == PART_BELOW ? "movement \"%s\" has finished" : "movement \"%s\" was cancelled here before",
					pointstore_cstring(work->message->movement_id));
}

/* Whether rows are written, or events. */
bool
pointstore_changes_something(const StepWork *work)
{
	return work->rule != NULL && work->rule->act != ACT_NOTHING;
}

/* The event that is to be appended for a message; false: none. */
bool
pointstore_step_event(const PartOrigin *origin, StepWork *work, ProposedEvent *event)
{
	const PartRow *row = &work->row;

	if (!pointstore_changes_something(work))
		return false;
	switch (work->rule->act)
	{
		case ACT_RESERVE:
			*event = try_event(origin, work->message);
			return true;
		case ACT_APPLY:
			*event = end_event(origin, work, RESERVE_CONFIRM);
			return true;
		case ACT_RELEASE:
			*event = end_event(origin, work, RESERVE_CANCEL);
			return true;
		case ACT_UNDO:
			if (row->undo != NULL)
				*event = end_event(origin, work, RESERVE_UNDO);
			else if (row->amount != 0)
				*event = reversal(origin, work);
			return row->undo != NULL || row->amount != 0;
		default:
			return false;
	}
}

/* What tries a step. */
static ProposedEvent
try_event(const PartOrigin *origin, const StepMessage *message)
{
	static const ReservedAct acts[N_PROTOCOLS] = {
		[PROTOCOL_TCC] = RESERVE_TRY, [PROTOCOL_SAGA] = RESERVE_DO, [PROTOCOL_2PC] = RESERVE_AT_ONCE
	};
	ReservedStep step = {
		.origin = store_name(origin),
		.movement_id = message->movement_id, .step = message->step,
		.aggregate_id = message->aggregate_id, .amount = message->amount,
		.event_type = message->event_type, .payload = message->payload, .metadata = message->metadata,
		.kind = message->kind
	};

	return pointstore_reserved_event(&step, acts[message->protocol]);
}

/* What ends a step by the row of its try. */
static ProposedEvent
end_event(const PartOrigin *origin, const StepWork *work, ReservedAct act)
{
	const PartRow *row = &work->row;
	ReservedStep step = {
		.origin = store_name(origin),
		.movement_id = work->message->movement_id, .step = work->message->step,
		.aggregate_id = row->aggregate_id, .amount = row->amount,
		.event_type = row->event_type, .payload = row->payload,
		.metadata = with_word(row->metadata, work),
		.cause_id = row->event_id
	};

	if (act == RESERVE_UNDO)
		read_undo(&step, row->undo);
	return pointstore_reserved_event(&step, act);
}

static const char *
store_name(const PartOrigin *origin)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(origin->store)));
}

/* What undoes a step in place of a reversal; without an amount the opposite. */
static void
read_undo(ReservedStep *step, Jsonb *undo)
{
	const char *fault = pointstore_undo_fault(undo);

	if (fault != NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("%s", fault)));
	step->amount = step->amount == PG_INT64_MIN ? step->amount : -step->amount;
	step->payload = NULL;
	(void) pointstore_member_text(undo, "event_type", &step->event_type);
	(void) pointstore_member_bigint(undo, "amount", &step->amount);
	(void) pointstore_member_object(undo, "payload", &step->payload);
}

/* What takes back the event of a saga's step. */
static ProposedEvent
reversal(const PartOrigin *origin, const StepWork *work)
{
	ProposedEvent event = pointstore_undoing_event(work->row.aggregate_id, work->row.event_id);

	event.metadata = end_event(origin, work, RESERVE_CANCEL).metadata;
	event.any_floor = event.any_ceiling = event.any_status = event.any_lease = event.any_transition = true;
	event.hybrid_only = true;
	return event;
}

/* What is wrong with what is to undo a step; NULL: nothing. */
const char *
pointstore_undo_fault(Jsonb *undo)
{
	static const char *const keys[] = {"event_type", "amount", "payload"};
	const char *unknown;
	text	   *type;
	Jsonb	   *payload;
	int64		amount;

	if (!JB_ROOT_IS_OBJECT(undo))
		return "undo must be an object";
	unknown = pointstore_unknown_member(undo, keys, lengthof(keys));
	if (unknown != NULL)
		return psprintf("unknown key \"%s\" in undo", unknown);
	if (pointstore_member_text(undo, "event_type", &type) != MEMBER_FOUND || VARSIZE_ANY_EXHDR(type) == 0 ||
		VARSIZE_ANY_EXHDR(type) > POINTSTORE_MAX_NAME)
		return "event_type of undo must be a name";
	if (pointstore_is_reserved_type(type))
		return psprintf("event type \"%s\" is reserved", pointstore_cstring(type));
	if (pointstore_member_bigint(undo, "amount", &amount) == MEMBER_WRONG)
		return "amount of undo must be a whole number";
	if (pointstore_member_object(undo, "payload", &payload) == MEMBER_WRONG)
		return "payload of undo must be an object";
	return NULL;
}

/* Metadata of what ends a step; where an operator has ended it, with who and why. */
static Jsonb *
with_word(Jsonb *metadata, const StepWork *work)
{
	JsonbParseState *state = NULL;
	const char *const pairs[][2] = {{"resolved_by", work->ended_by}, {"reason", work->reason}};
	Jsonb	   *word;
	int			i;

	if (work->ended_by == NULL)
		return metadata;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (i = 0; i < lengthof(pairs); i++)
		if (pairs[i][1] != NULL)
			pointstore_push_string(&state, pairs[i][0], pairs[i][1]);
	word = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (metadata == NULL || !JB_ROOT_IS_OBJECT(metadata))
		return word;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(metadata), JsonbPGetDatum(word)));
}

/* Whether an event was refused because what it would reverse has been reversed, by whomever. */
bool
pointstore_has_nothing_left(const ProposedEvent *event, const Decision *decision)
{
	return event->propose != NULL && decision->outcome == OUTCOME_NOT_ALLOWED && decision->reason == REASON_NOTHING_LEFT;
}
