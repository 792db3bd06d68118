/*-------------------------------------------------------------------------
 *
 * src/nodes/ask.h
 *		What a movement is asked to do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ASK_H
#define POINTSTORE_ASK_H

#include "append/propose.h"
#include "nodes/protocol.h"

#define POINTSTORE_MAX_STEPS 1000
#define POINTSTORE_MAX_SENT (8 * 1024 * 1024)	/* bytes, of all steps to other stores */

/* A step as it is asked for. */
typedef struct AskedStep
{
	text	   *server;			/* null: this store */
	Jsonb	   *undo;			/* of a saga, with all its keys; null: a reversal */
} AskedStep;

typedef struct AskedMovement
{
	text	   *movement_id;
	MovementProtocol protocol;
	Interval   *deadline;
	Jsonb	   *metadata;		/* null = none */
	bool		balanced;
	bool		local;			/* all of it is in this store */
	int			nsteps;
	AskedStep  *steps;
	ProposedEvent *events;		/* of each step: account, type, amount, payload, kind */
	bytea	   *body;			/* digest of what a repeat has to be the same in */
} AskedMovement;

extern void pointstore_ask_begin(AskedMovement *movement, int nsteps);
extern MovementProtocol pointstore_read_protocol(text *name);
extern void pointstore_read_steps(AskedMovement *movement, Jsonb *steps);
extern void pointstore_ask_end(AskedMovement *movement);

#endif							/* POINTSTORE_ASK_H */
