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
	struct PlacedPlan *placed;	/* for the shards of a distributed store (placed.c) */
} PointstorePlan;

extern void (*pointstore_check_plan) (const PointstorePlan *plan);

extern void pointstore_prepare(PointstorePlan *plan);
extern void pointstore_execute(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only);

#endif							/* POINTSTORE_PLAN_H */
