/*-------------------------------------------------------------------------
 *
 * src/nodes/step.h
 *		Steps of movements, as they are asked about at their participants.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_STEP_OF_MOVEMENT_H
#define POINTSTORE_STEP_OF_MOVEMENT_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "nodes/protocol.h"

/* A step is asked something; how it is answered. */
typedef struct StepMessage
{
	MovementVerb verb;
	MovementProtocol protocol;	/* of the coordinator's own steps tcc where the movement's is 2pc */
	text	   *movement_id;
	int16		step;			/* from 1 */
	int64		incarnation;	/* of the origin, when the movement began */
	int64		number;			/* of the movement, in that incarnation */
	int			attempt;		/* how often it was busy before: from PATIENT_ATTEMPT on a locked account is waited for a little */
	/* of a try */
	text	   *aggregate_id;
	int64		amount;
	text	   *event_type;
	Jsonb	   *payload;		/* null: {} */
	Jsonb	   *metadata;		/* the movement's; null: none */
	Jsonb	   *undo;			/* of a saga: event_type, amount, payload; null: a reversal */
	text	   *kind;			/* of an account that it opens; null: default */

	/* the answer */
	MovementAnswer answer;
	const char *unit;			/* tried, done, and a prepared one's confirmed: what the account counts; else null */
	int64		event_id;		/* the step's last event; 0: none */
	int			sqlerrcode;		/* of refused, failed, and where it is known busy; else 0 */
	const char *error;			/* then: the message */
} StepMessage;

#define PATIENT_ATTEMPT 5

/* Whose messages, and what may be waited for. */
typedef enum MessageSource
{
	MESSAGES_OF_CALLER,			/* own steps as a movement starts: locks are waited for, and a refusal is raised */
	MESSAGES_OF_COORDINATOR,	/* own steps: what would have to be waited for is ANSWER_BUSY */
	MESSAGES_FROM_AWAY			/* of another store's movements: the same */
} MessageSource;

/* A store that messages come from. */
typedef struct PartOrigin
{
	const pg_uuid_t *store;
	MessageSource source;
	bool		is_self;		/* from away, by the name of this store: it is this one, or a copy of it */
	int64		incarnation;	/* of who sends them; from away */
	int64		known;			/* the newest incarnation that was heard of; 0: none */
	int64		below_incarnation;	/* its movements below that have finished */
	int64		below;
} PartOrigin;

#endif							/* POINTSTORE_STEP_OF_MOVEMENT_H */
