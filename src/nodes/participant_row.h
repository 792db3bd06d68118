/*-------------------------------------------------------------------------
 *
 * src/nodes/participant_row.h
 *		Rows of participant_step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PARTICIPANT_ROW_H
#define POINTSTORE_PARTICIPANT_ROW_H

#include "nodes/step.h"

/* A step's row as read. */
typedef struct PartRow
{
	PartStatus	status;
	MovementProtocol protocol;
	bool		is_broken;		/* it is not what it says it is: nothing is done with it */
	text	   *aggregate_id;	/* null: cancelled before it was tried */
	int64		amount;
	text	   *event_type;
	Jsonb	   *payload;
	Jsonb	   *metadata;
	Jsonb	   *undo;
	int64		event_id;		/* 0: none */
	int64		end_event_id;
	const char *elsewhere;		/* of a try: the store that has a movement of that name as its own; null: none */
} PartRow;

/* A message while it is worked on. */
typedef struct StepWork
{
	StepMessage *message;
	uint64		hash;			/* of the step */
	PartRow		row;
	const ParticipantRule *rule;
	int			event;			/* its place among the events that are appended; -1: none */
	bool		is_done;		/* the row is to become what the rule says */
	int64		event_id;		/* of what was appended; 0: nothing */
	const char *ended_by;		/* an operator; null: the coordinator */
	const char *reason;			/* then */
} StepWork;

extern void pointstore_read_parts(PartOrigin *origin, StepWork **work, int n);
extern void pointstore_write_parts(PartOrigin *origin, StepWork **work, int n);
extern void pointstore_prune_tombstones(const PartOrigin *origin);

#endif							/* POINTSTORE_PARTICIPANT_ROW_H */
