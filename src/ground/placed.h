/*-------------------------------------------------------------------------
 *
 * src/ground/placed.h
 *		Statements of ours about the rows of one account, or of one shard.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PLACED_H
#define POINTSTORE_PLACED_H

#include "ground/plan.h"
#include "ground/shard.h"

extern void pointstore_placed_init(void);
extern void pointstore_execute_of(PointstorePlan *plan, text *of, Datum *values, const char *nulls, bool read_only);
extern void pointstore_execute_rules(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only);
extern void pointstore_execute_in(PointstorePlan *plan, PointstorePlacement *range, Datum *values, const char *nulls, bool read_only);
extern PointstorePlan *pointstore_plan_in(PointstorePlan *plan, PointstorePlacement *range);
extern PointstorePlan *pointstore_plan_of(PointstorePlan *plan, text *of);

#endif							/* POINTSTORE_PLACED_H */
