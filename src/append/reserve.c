/*-------------------------------------------------------------------------
 *
 * src/append/reserve.c
 *		Steps of movements as proposed events.
 *
 * A try moves no balance: a debit's amount is added to held, a credit's to incoming,
 * and is judged as if it were applied. From then on nothing refuses it: confirming and
 * cancelling pass the floor, the ceiling, a freeze, the lease and the transitions. The events of a
 * step say in their metadata which one it is, its amount and its type, so that what is
 * reserved can be told from the events alone: a step that was tried is what its MovementTried
 * says, until an event has that as its cause.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "append/reserve.h"
#include "ground/json.h"
#include "ground/name.h"

static Jsonb *step_metadata(const ReservedStep *step);

/*
 * The event of a step. What the store makes of it, its id among that, is in the
 * decision of the batch that it is appended in. A pure account is OUTCOME_PURE.
 */
ProposedEvent
pointstore_reserved_event(const ReservedStep *step, ReservedAct act)
{
	static const char *const types[] = {"MovementTried", "MovementConfirmed", "MovementCancelled", "MovementConfirmed"};
	int64		debit = step->amount < 0 && step->amount > PG_INT64_MIN ? -step->amount : 0;
	int64		credit = step->amount > 0 ? step->amount : 0;
	bool		settles = act == RESERVE_CONFIRM || act == RESERVE_CANCEL;
	bool		passes = settles || act == RESERVE_UNDO;
	ProposedEvent event = {
		.aggregate_id = step->aggregate_id,
		.event_type = act >= RESERVE_DO ? step->event_type : cstring_to_text(types[act]),
		.payload = step->payload != NULL && act != RESERVE_CANCEL ? step->payload : pointstore_empty_payload(),
		.metadata = step_metadata(step),
		.kind = step->kind, .kind_opens = true,
		.amount = act == RESERVE_TRY || act == RESERVE_CANCEL ? 0 : step->amount,
		.held = act == RESERVE_TRY ? debit : settles ? -debit : 0,
		.incoming = act == RESERVE_TRY ? credit : settles ? -credit : 0,
		.has_cause = passes, .cause_id = passes ? step->cause_id : 0,
		.any_floor = passes, .any_ceiling = passes, .any_status = passes, .any_lease = passes, .any_transition = passes,
		.hybrid_only = true
	};

	if (step->amount == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount %lld of a step cannot be reserved", (long long) step->amount)));
	return event;
}

/* What the movement's metadata says, and which step of it this is. */
static Jsonb *
step_metadata(const ReservedStep *step)
{
	JsonbParseState *state = NULL;
	Jsonb	   *ours;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_text(&state, "movement_id", step->movement_id);
	pointstore_push_number(&state, "step", step->step);
	pointstore_push_string(&state, "origin", step->origin);
	pointstore_push_number(&state, "amount", step->amount);
	pointstore_push_text(&state, "event_type", step->event_type);
	ours = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (step->metadata == NULL || !JB_ROOT_IS_OBJECT(step->metadata))
		return ours;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(step->metadata), JsonbPGetDatum(ours)));
}
