/*-------------------------------------------------------------------------
 *
 * src/ground/plan.c
 *		Statements of ours, each prepared once in a session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "ground/plan.h"

/* The statement that is executed for one. */
PointstorePlan *(*pointstore_place_plan) (PointstorePlan *plan) = NULL;

/* Prepares a statement, if that is not done, for those who execute it themselves; which may be another, where it is placed. */
PointstorePlan *
pointstore_prepare(PointstorePlan *plan)
{
	SPIPlanPtr	prepared;

	if (pointstore_place_plan != NULL && !plan->spans_nodes)
		plan = pointstore_place_plan(plan);
	if (plan->plan != NULL)
		return plan;
	prepared = SPI_prepare_cursor(plan->sql, plan->nargs, plan->argtypes, plan->generic ? CURSOR_OPT_GENERIC_PLAN : 0);
	if (prepared == NULL || SPI_keepplan(prepared) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql, SPI_result_code_string(SPI_result));
	plan->plan = prepared;
	return plan;
}

/*
 * Runs a statement of ours inside an SPI connection; rows are in SPI_tuptable.
 * A statement that does not do what it says is a bug of ours: elog.
 */
void
pointstore_execute(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only)
{
	bool		snapshot = !ActiveSnapshotSet();	/* in a worker, which has no portal */
	int			result;

	plan = pointstore_prepare(plan);
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	result = SPI_execute_plan(plan->plan, values, nulls, read_only, 0);
	if (snapshot)
		PopActiveSnapshot();
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", plan->sql, SPI_result_code_string(result));
}
