/*-------------------------------------------------------------------------
 *
 * src/verify/runstate.c
 *		What the rooms of a run share: its state, its steps and pauses, its files.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/step.h"
#include "ground/worker.h"
#include "verify/digest.h"
#include "verify/progress.h"
#include "verify/runstate.h"
#include "verify/spool.h"

/* kilobytes of a hash table, as a multiple of those of a sort */
#define HASH_MEM_LIMIT 2

int			pointstore_reconcile_max_transaction = 300000;
static int	reconcile_delay = 10;	/* ms */

/* Called once when the library is loaded. */
void
pointstore_runstate_init(void)
{
	DefineCustomIntVariable("pointstore.reconcile_delay",
							"How long the reconciling worker rests between two steps.",
							NULL, &reconcile_delay, 10, 0, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.reconcile_max_transaction",
							"How long one transaction of a full reconciliation should take at most; a larger store is cut into slices.",
							NULL, &pointstore_reconcile_max_transaction, 300000, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* Ends a step's transaction and begins the next, after the throttle's delay. */
void
pointstore_run_next_step(void)
{
	pointstore_next_step();
	pointstore_run_rest();
}

/* Whether this run makes way for others: a worker's does. */
bool
pointstore_run_is_throttled(void)
{
	return AmBackgroundWorkerProcess() && reconcile_delay > 0;
}

/*
 * Between two steps, and within a long one: a worker hears of changed settings, and
 * waits as long as the throttle says.
 */
void
pointstore_run_rest(void)
{
	static uint32 wait_event = 0;

	if (!AmBackgroundWorkerProcess())
		return;
	(void) pointstore_worker_reload();
	if (!pointstore_run_is_throttled())
		return;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, reconcile_delay,
					 pointstore_wait_event(&wait_event, "PointstoreReconcileDelay"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* What an event takes, in milliseconds, with the pauses. */
double
pointstore_run_event_time(void)
{
	return 0.003 + (pointstore_run_is_throttled() ? (double) reconcile_delay / POINTSTORE_DIGEST_PACE : 0);
}

void
pointstore_run_show_done(Run *run)
{
	pointstore_progress_set(PROGRESS_ACCOUNTS_DONE, run->accounts);
	pointstore_progress_set(PROGRESS_EVENTS_DONE, run->events);
}

/* For a session that runs it by hand: how far it is. */
void
pointstore_run_tell(Run *run, const char *what)
{
	if (!AmBackgroundWorkerProcess())
		ereport(NOTICE,
				(errmsg("reconciliation %lld, %s: %lld accounts, %lld events, %lld findings, %lld accounts unverified",
						(long long) run->id, what, (long long) run->accounts, (long long) run->events,
						(long long) run->findings, (long long) run->unverified)));
}

/*
 * How statements are planned from now on: within bounds of memory, whatever the
 * number of accounts; by parallel workers while this process collects what they
 * say, or, as always where it is throttled, by this process alone.
 */
void
pointstore_run_plan_with_care(bool parallel)
{
	if (work_mem > WORK_MEM_LIMIT)
		pointstore_set_option("work_mem", CppAsString2(WORK_MEM_LIMIT));
	if (hash_mem_multiplier > HASH_MEM_LIMIT)
		pointstore_set_option("hash_mem_multiplier", CppAsString2(HASH_MEM_LIMIT));
	pointstore_set_option("parallel_leader_participation", "off");
	pointstore_set_option("jit", "off");	/* it takes longer than a thousand short histories */
	if (!parallel || pointstore_run_is_throttled())
		pointstore_set_option("max_parallel_workers_per_gather", "0");
}

/* What pointstore_collect() returned: its file would else stay until the session ends. */
void
pointstore_run_let_go(Run *run, Tuplestorestate *rows)
{
	run->rows = list_delete_ptr(run->rows, rows);
	tuplestore_end(rows);
}

/* To close a file writes what is left of it, which must not fail for the files' size a second time. */
void
pointstore_run_forget_files(Run *run)
{
	int			limit = temp_file_limit;

	temp_file_limit = -1;
	while (run->rows != NIL)
		pointstore_run_let_go(run, linitial(run->rows));
	pointstore_run_forget_spool(run);
	temp_file_limit = limit;
}

void
pointstore_run_forget_spool(Run *run)
{
	if (run->spool != NULL)
		pointstore_spool_free(run->spool);
	run->spool = NULL;
}

Datum
pointstore_text_array(Datum *elements, int n)
{
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
pointstore_bigint_array(Datum *elements, bool *nulls, int n)
{
	int			lower = 1;

	return PointerGetDatum(construct_md_array(elements, nulls, 1, &n, &lower, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
