/*-------------------------------------------------------------------------
 *
 * src/nodes/record.h
 *		Rows of movements that began here, of their steps and of their log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_RECORD_H
#define POINTSTORE_RECORD_H

#include "access/xlogdefs.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "nodes/protocol.h"

/* A row of movement, as far as who asks for it is told. */
typedef struct MovementRow
{
	text	   *movement_id;
	MovementProtocol protocol;
	MovementPhase phase;
	const char *error;			/* null = none */
	bytea	   *body;			/* null: it was cancelled before it began */
	int64		incarnation;
	bool		finished;
	bool		is_ours;		/* this transaction has written it */
	XLogRecPtr	durable;		/* what is awaited before others are told of it */
} MovementRow;

/* What becomes of a movement as it begins. */
typedef struct NewMovement
{
	MovementRow row;
	TimestampTz deadline;		/* not of one that was cancelled before */
	TimestampTz started_at;
	Oid			by_role;
	Jsonb	   *metadata;		/* null = none */
	bool		balanced;
	text	   *reason;			/* null = none */
	int64		number;			/* drawn as it is inserted */
} NewMovement;

/* Steps of a movement, each array of as many. */
typedef struct StepRows
{
	int			n;
	StepStatus *status;
	bool	   *local;
	/* of those that are inserted */
	text	  **server;			/* null: this store */
	text	  **aggregate_id;
	int64	   *amount;
	text	  **event_type;
	Jsonb	  **payload;
	Jsonb	  **undo;			/* null: none */
	text	  **kind;			/* null: none is given */
	const char **unit;			/* null: not known */
	int64	   *event_id;		/* 0: none */
} StepRows;

extern bool pointstore_read_movement(MovementRow *row, text *movement_id);
extern bool pointstore_lock_movement(MovementRow *row, text *movement_id);
extern bool pointstore_insert_movement(NewMovement *movement);
extern void pointstore_set_phase(MovementRow *row, MovementPhase phase, const char *error, text *reason, Oid by_role);
extern void pointstore_set_deadline(text *movement_id, TimestampTz deadline, text *reason);
extern void pointstore_insert_steps(const NewMovement *movement, const StepRows *steps);
extern void pointstore_read_steps_of(text *movement_id, StepRows *steps);
extern void pointstore_set_steps(text *movement_id, const StepRows *steps, const StepStatus *status, Oid by_role);
extern Datum pointstore_draw_ids(text *movement_id, int n);
extern void pointstore_was_decided(text *movement_id, bool *confirm, bool *cancel);
extern char *pointstore_other_origin(text *movement_id, const pg_uuid_t *store);
extern Datum pointstore_movement_answer(FunctionCallInfo fcinfo, const MovementRow *row);

#endif							/* POINTSTORE_RECORD_H */
