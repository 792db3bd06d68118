/*-------------------------------------------------------------------------
 *
 * src/money/legs.h
 *		The legs of a movement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LEGS_H
#define POINTSTORE_LEGS_H

#include "postgres.h"

/* An event that is asked for, or one of the others of its movement. */
typedef struct Leg
{
	text	   *aggregate_id;
	text	   *request_id;		/* null: none */
	int64		id;
	int64		version;
	int64		amount;
	int64		cause_id;		/* 0: none */
	int16		leg;			/* -1: none */
	bool		is_reversal;
	bool		is_confirmed_hold;
	bool		is_asked;
} Leg;

extern void pointstore_require_nodes(void);
extern int	pointstore_find_legs(text *aggregate_id, int64 version, Leg **legs);

#endif							/* POINTSTORE_LEGS_H */
