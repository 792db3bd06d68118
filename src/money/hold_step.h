/*-------------------------------------------------------------------------
 *
 * src/money/hold_step.h
 *		Steps of holds as proposed events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_HOLD_STEP_H
#define POINTSTORE_HOLD_STEP_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "account/held.h"
#include "append/judge.h"
#include "append/propose.h"

/* What a caller asks for. */
typedef struct HoldStep
{
	text	   *hold_id;
	text	   *aggregate_id;	/* closing: null = whatever it is */
	HoldStatus	to;
	bool		whole;			/* confirm: all of it */
	int64		amount;
	Interval   *expires_in;
	text	   *to_id;			/* confirm: the account that gets what is taken; null = none */
	Jsonb	   *payload;		/* confirm */
	Jsonb	   *metadata;		/* confirm: an object that hold_id is added to; null = none */
} HoldStep;

extern ProposedEvent pointstore_hold_event(HoldStep *step, Hold *hold, text *aggregate_id);
extern ProposedEvent pointstore_hold_credit(const HoldStep *step);
extern bool pointstore_hold_mismatch(Decision *decision, const Hold *hold, const HoldStep *step);

#endif							/* POINTSTORE_HOLD_STEP_H */
