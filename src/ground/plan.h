/*-------------------------------------------------------------------------
 *
 * src/ground/plan.h
 *		Statements of ours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PLAN_H
#define POINTSTORE_PLAN_H

#include "executor/spi.h"

/* A statement of ours, prepared at its first use in a session and kept. */
typedef struct PointstorePlan
{
	const char *sql;
	int			nargs;
	Oid			argtypes[21];
	bool		generic;		/* planned once, whatever the values */
	bool		spans_nodes;	/* of a distributed store it is Citus that executes it, on all nodes */
	SPIPlanPtr	plan;
	int			names;			/* what of a distributed store it names, when that is known */
	struct PlacedPlan *placed;	/* for its shards (placed.c) */
} PointstorePlan;

extern PointstorePlan *(*pointstore_place_plan) (PointstorePlan *plan);

extern PointstorePlan *pointstore_prepare(PointstorePlan *plan);
extern void pointstore_execute(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only);

#endif							/* POINTSTORE_PLAN_H */
