/*-------------------------------------------------------------------------
 *
 * src/append/reserve.h
 *		Steps of movements as proposed events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_RESERVE_H
#define POINTSTORE_RESERVE_H

#include "utils/jsonb.h"

#include "append/propose.h"

/* What is done about a step: its event. */
typedef enum ReservedAct
{
	RESERVE_TRY,				/* MovementTried: a debit is held, a credit is incoming */
	RESERVE_CONFIRM,			/* MovementConfirmed: what was reserved is applied */
	RESERVE_CANCEL,				/* MovementCancelled: it is given back */
	RESERVE_AT_ONCE,			/* 2pc: MovementConfirmed without a try, under the rules of an append */
	RESERVE_DO,					/* saga: an event of the step's own type, under the rules of an append */
	RESERVE_UNDO				/* saga: the same, and no rule refuses it */
} ReservedAct;

/* A step of a movement, as the participant's row keeps it. */
typedef struct ReservedStep
{
	const char *origin;			/* the coordinator's store, a uuid */
	text	   *movement_id;
	int			step;
	text	   *aggregate_id;
	int64		amount;			/* of an undo: what it applies */
	text	   *event_type;		/* likewise */
	Jsonb	   *payload;		/* null: {} */
	Jsonb	   *metadata;		/* the movement's, an object; null: none */
	text	   *kind;			/* of an account that it opens; null: default */
	int64		cause_id;		/* of all but the first event of a step: that event's id */
} ReservedStep;

extern ProposedEvent pointstore_reserved_event(const ReservedStep *step, ReservedAct act);

#endif							/* POINTSTORE_RESERVE_H */
