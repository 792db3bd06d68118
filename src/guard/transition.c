/*-------------------------------------------------------------------------
 *
 * src/guard/transition.c
 *		The guard of transition: rows written by hand.
 *
 * What sessions keep of the transitions (account/kind.c) is out of date when a row
 * changes: they hear of it when that is committed. No lock is taken: an append goes by
 * the rows that were there when its transaction began, or, if it has to read them, by those of
 * now. What an event has made of the state is in the event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "account/kind.h"
#include "account/transition.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "guard/trigger.h"

PG_FUNCTION_INFO_V1(pointstore_guard_transition);

static void check_state(const char *what, text *state);

/* Trigger of transition: AFTER INSERT, UPDATE or DELETE. 22023 */
Datum
pointstore_guard_transition(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pointstore_guarded_trigger(fcinfo, TABLE_TRANSITION, AFTER(INSERT) | AFTER(UPDATE) | AFTER(DELETE));
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_TRANSITION)->att;
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	text	   *kind = pointstore_known_text_column(row, trigger, att[TRANSITION_KIND]);
	text	   *type = pointstore_known_text_column(row, trigger, att[TRANSITION_EVENT_TYPE]);
	PointstoreScope scope;

	CacheInvalidateRelcache(trigger->tg_relation);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return PointerGetDatum(NULL);
	pointstore_check_name("event_type", type);
	check_state("from_state", pointstore_known_text_column(row, trigger, att[TRANSITION_FROM_STATE]));
	check_state("to_state", pointstore_known_text_column(row, trigger, att[TRANSITION_TO_STATE]));
	if (pointstore_asks_no_transition(type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event type \"%s\" asks for no transition", pointstore_cstring(type)),
				 errdetail("HoldExpired, BalanceAdjusted, MovementConfirmed and MovementCancelled pass in every state and leave it alone.")));
	pointstore_act_as_owner(&scope);
	if (!pointstore_is_kind(kind))
		pointstore_raise_no_kind(kind);
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(NULL);
}

/* A state is at most as long as a name; empty, it is none. */
static void
check_state(const char *what, text *state)
{
	if (VARSIZE_ANY_EXHDR(state) > 0)
		pointstore_check_name(what, state);
}
