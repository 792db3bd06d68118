/*-------------------------------------------------------------------------
 *
 * src/nodes/message.h
 *		Messages between stores, as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_MESSAGE_H
#define POINTSTORE_MESSAGE_H

#include "nodes/step.h"

#define MESSAGE_VERSION 1
#define MOST_MESSAGES 1000		/* of a call */

/* What a call asks, in its order. */
typedef enum AskedKind
{
	ASKED_STEP,
	ASKED_LIST,					/* rows of the origin's steps */
	ASKED_NOTHING				/* it is malformed, and answered */
} AskedKind;

typedef struct Asked
{
	AskedKind	kind;
	StepMessage message;		/* of a malformed one the answer alone */
	text	   *after_movement;	/* of a list: what comes after; null: from the start */
	int64		after_step;
	int64		limit;
} Asked;

extern Asked *pointstore_read_messages(Jsonb *call, int *n);
extern Jsonb *pointstore_answers(const pg_uuid_t *origin, const Asked *asked, int n);

#endif							/* POINTSTORE_MESSAGE_H */
