/*-------------------------------------------------------------------------
 *
 * src/feed/project.h
 *		Projections are run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROJECT_H
#define POINTSTORE_PROJECT_H

#include "fmgr.h"

/* What a turn has come to. */
typedef enum TurnResult
{
	TURN_IDLE,					/* there is nothing to do now */
	TURN_ON,					/* something was done, and there may be more */
	TURN_OFF					/* it is gone, or does not run */
} TurnResult;

extern TurnResult pointstore_take_turn(text *name);

#endif							/* POINTSTORE_PROJECT_H */
