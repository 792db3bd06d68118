/*-------------------------------------------------------------------------
 *
 * src/submit/combiner.c
 *		The background worker that serves a database's queue, the combiner: how it
 *		is started, waits, and ends. What it does with requests is serve.c.
 *
 * There is one for each database that is being served, started by the first caller
 * and gone after pointstore.combine_idle_timeout. While it is idle it has no
 * transaction and no lock, and it leaves when the extension is gone; at any time it makes
 * way for a session that drops or copies its database (worker.c).
 *
 * However it ends, it first gives back what it has taken and closes its queue, so that
 * callers that wait start another. A killed process restarts the server, and
 * shared memory is made anew; the callers lose their connections, and a
 * request_id tells them what happened.
 *
 * What the store's owner has put on the tables runs here as the owner and leaves nothing to the
 * next transaction (step.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"

#include "ground/compat.h"
#include "ground/worker.h"
#include "submit/combiner.h"
#include "submit/queue.h"
#include "submit/serve.h"

PGDLLEXPORT void pointstore_combiner_main(Datum arg);

#define TICK	200		/* ms, between two looks of an idle combiner */
#define ENOUGH	16		/* callers that are worth a batch, while others may be about to come */

static int	combine_delay = 0;	/* us */
static int	combine_idle_timeout = 10;	/* s */

static Queue *queue = NULL;		/* that this process serves */
static int	idle_ticks = 0;
static uint32 combine_wait = 0;

static void set_up_session(void);
static void attend(void);
static void take(void);
static void serve(void);
static bool idle(void);
static bool is_unwanted(void);
static void leave(int code, Datum arg);

/* Called once when the library is loaded. */
void
pointstore_combiner_init(void)
{
	DefineCustomIntVariable("pointstore.combine_delay",
							"How long the combiner waits for more callers before it appends.",
							NULL, &combine_delay, 0, 0, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.combine_idle_timeout",
							"How long a combiner without callers stays.",
							NULL, &combine_idle_timeout, 10, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	pointstore_serve_init();
}

/* Asks for the worker; where none is free, the queue's callers are told. */
void
pointstore_combiner_start(const QueueStart *start)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_type = POINTSTORE_COMBINER,
		.bgw_library_name = "pointstore", .bgw_function_name = "pointstore_combiner_main"
	};

	StaticAssertStmt(sizeof(QueueStart) <= BGW_EXTRALEN, "what the worker is told fits");
	memcpy(worker.bgw_extra, start, sizeof(QueueStart));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pointstore combiner of database %u", start->database);
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
		pointstore_queue_start_failed(start);
}

/* Whether this process serves a queue. */
bool
pointstore_is_combiner(void)
{
	return queue != NULL;
}

/* The combiner. */
void
pointstore_combiner_main(Datum arg)
{
	QueueStart	start;

	memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof(start));
	pointstore_worker_signals();
	before_shmem_exit(leave, PointerGetDatum(NULL));
	if (pointstore_queue_slots() > 0)
		queue = pointstore_queue_open(&start);
	if (queue == NULL)
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(start.database, InvalidOid, 0);
	set_up_session();
	pgstat_report_activity(STATE_RUNNING, "pointstore: combined append");
	for (;;)
	{
		attend();
		take();
		if (pointstore_serve_is_due())
			serve();
		else if (!idle())
			proc_exit(0);
	}
}

/* Its commits do not wait for the disk. */
static void
set_up_session(void)
{
	pointstore_worker_connected();
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/* To signals and changed settings. */
static void
attend(void)
{
	CHECK_FOR_INTERRUPTS();
	(void) pointstore_worker_reload();
}

/* Takes what waits; when something does, it lets more come. */
static void
take(void)
{
	if (pointstore_serve_take(queue) == 0)
		return;
	if (pointstore_serve_fresh() < ENOUGH)
	{
		/* a transaction for few costs nearly what it costs for many */
		pointstore_yield();
		(void) pointstore_serve_take(queue);
	}
	if (combine_delay > 0)
	{
		pg_usleep(combine_delay);
		(void) pointstore_serve_take(queue);
	}
}

static void
serve(void)
{
	if (idle_ticks > 0)
		pgstat_report_activity(STATE_RUNNING, "pointstore: combined append");
	idle_ticks = 0;
	pointstore_serve();
	(void) pgstat_report_stat(false);
}

/* Sleeps until a caller comes or something is to be tried again, at most a tick. False: it is time to go. */
static bool
idle(void)
{
	long		pause = pointstore_serve_pause();
	int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause < 0 ? TICK : pause,
								   pointstore_wait_event(&combine_wait, "PointstoreCombine"));

	ResetLatch(MyLatch);
	if ((events & WL_LATCH_SET) || pause >= 0)
		return true;
	if (idle_ticks++ == 0)
		pgstat_report_activity(STATE_IDLE, NULL);
	(void) pgstat_report_stat(false);
	if (is_unwanted())
		return false;
	if (idle_ticks * TICK < combine_idle_timeout * 1000 || !pointstore_queue_close(queue, true))
		return true;
	queue = NULL;
	return false;
}

/* Whether the database has the extension no more. */
static bool
is_unwanted(void)
{
	bool		unwanted;

	StartTransactionCommand();
	unwanted = !OidIsValid(get_extension_oid("pointstore", true));
	CommitTransactionCommand();
	return unwanted;
}

/* Whatever the reason for the end. */
static void
leave(int code, Datum arg)
{
	if (queue == NULL)
		return;
	pointstore_serve_give_back();
	(void) pointstore_queue_close(queue, false);
	queue = NULL;
}
