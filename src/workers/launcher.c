/*-------------------------------------------------------------------------
 *
 * src/workers/launcher.c
 *		The launcher and its workers: when stores are reconciled and holds are swept.
 *		With the library preloaded a launcher, which holds no database connection,
 *		starts a worker for each database of pointstore.databases every
 *		pointstore.reconcile_interval. The worker makes one incremental run and
 *		leaves. Another makes a full one, when the last is older than
 *		pointstore.full_reconcile_interval, and a third closes expired holds every
 *		pointstore.sweep_interval: a full run may take hours, and these do not wait
 *		for it.
 *
 * The launcher starts when recovery is over, so a standby has none until it is
 * promoted. It is connected to the shared catalogs alone, to see whether a database is
 * there, and knows nothing else but which of its workers still run. What is due is
 * decided by the worker, from the runs recorded in the database: so a restart
 * makes no full run early, and after runs that failed, or whose session died, the
 * next one of that scope waits twice as long each time.
 *
 * Sequencers, coordinators of movements, and those who run projections or take snapshots, stay as long as there is something for them in the database, and
 * leave where there is nothing. The launcher then looks again after a pause that grows up to a minute,
 * or when it is woken by who has made something for them (ground/wake.c). One that was ended comes again after seconds.
 *
 * A worker connects as no role in particular, since the store's owner need not be
 * able to log in, and all that it does of the store it does as the owner (ground/step.c). An
 * error ends its run, and stands in the run's row. It makes way for other sessions: the launcher
 * sees to that (ground/worker.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#include "feed/projector.h"
#include "feed/sequencer.h"
#include "feed/snapshotter.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/wake.h"
#include "ground/worker.h"
#include "money/sweep.h"
#include "nodes/coordinator.h"
#include "verify/run.h"
#include "workers/launcher.h"

PG_FUNCTION_INFO_V1(pointstore_reconcile_now);
PG_FUNCTION_INFO_V1(pointstore_worker_alive);

PGDLLEXPORT void pointstore_launcher_main(Datum arg);
PGDLLEXPORT void pointstore_worker_main(Datum arg);

#define LAUNCHER_TYPE "pointstore launcher"

#define LOOK_INTERVAL 60		/* s, between two looks whether a full run is due, and the longest between those for nothing */
#define RESTART_INTERVAL 5		/* s, until a worker that is to stay and has ended is started again */
#define LONGEST_PAUSE 3600		/* s, after failures */
#define MOST_FAILURES 20		/* that make the pause longer */

typedef enum Task
{
	TASK_INCREMENTAL,
	TASK_FULL,
	TASK_SWEEP,
	TASK_SEQUENCE,
	TASK_PROJECT,
	TASK_SNAPSHOT,
	TASK_COORDINATE,
	N_TASKS
} Task;

/* A database that is served. */
typedef struct Served
{
	char		name[NAMEDATALEN];
	BackgroundWorkerHandle *worker[N_TASKS];	/* null: none is running */
	TimestampTz due[N_TASKS];
	int			pause[N_TASKS]; /* s, since there was nothing to do; 0: there was, or it is not known */
	uint64		wakes[N_TASKS]; /* before the worker was started */
	int			number;			/* of the database */
	bool		listed;
	bool		refuses;		/* it was not there, or accepted no connections */
} Served;

/* What a worker is told, in bgw_extra. */
typedef struct Order
{
	char		task;			/* 'f'ull, 'i'ncremental, the same when it is due: 'F', 'I'; 's'weep, se'q'uence, 'p'roject, take s'n'apshots, or 'c'oordinate */
	char		number;			/* of those that project */
	int			idle;			/* by which it says that there is nothing to do; -1: by none */
	char		database[NAMEDATALEN];
} Order;

/* A run, or a sweep. */
typedef struct Work
{
	bool		sweep;
	bool		full;
	int64		id;				/* of the run, when it has begun */
} Work;

/* What a worker is to do, by its order. */
typedef struct Choice
{
	char		order;
	bool		due;
	bool		is_superuser;	/* the owner */
	Oid			owner;
} Choice;

/* A run that has ended by an error. */
typedef struct Ended
{
	int64		id;
	const ErrorData *error;
} Ended;

static char *databases = NULL;
static int	reconcile_interval = 60;
static int	full_reconcile_interval = 86400;
static int	sweep_interval = 10;

static void serve(List **served);
static void take_list(List **served);
static void list_database(List **served, const char *name);
static void look_after(Served *database, Task task, TimestampTz now);
static bool stays(Task task);
static void note_end(Served *database, Task task, TimestampTz now);
static void hear_wakes(List *served, bool reloaded);
static bool lets_in(Served *database);
static int	tick(void);
static int	interval(Task task);
static bool start_worker(const Order *meant, BackgroundWorkerHandle **handle);
static void set_order(Order *order, const char *database, char task);
static void do_order(const Order *order);
static void start_projectors(int n);
static void run_guarded(char order, bool full);
static void do_work(void *arg);
static bool go_to_next_place(int64 *hash);
static bool is_distributed(void);
static bool choose_scope(char order, bool *full);
static void choose(void *arg);
static bool is_due(bool full);
static void mark_ended(void *arg);
static bool is_listed(const char *database);
static bool launcher_runs(void);

/* Called once when the library is loaded; preloaded, it also registers the launcher, but not for pg_upgrade. */
void
pointstore_launcher_init(void)
{
	BackgroundWorker launcher = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 10,
		.bgw_name = LAUNCHER_TYPE, .bgw_type = LAUNCHER_TYPE,
		.bgw_library_name = "pointstore", .bgw_function_name = "pointstore_launcher_main"
	};

	DefineCustomStringVariable("pointstore.databases",
							   "Databases that are reconciled on schedule, separated by commas.",
							   NULL, &databases, "", PGC_SIGHUP, GUC_LIST_INPUT, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.reconcile_interval",
							"How often a worker looks at what has come since; 0 turns it off.",
							NULL, &reconcile_interval, 60, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.full_reconcile_interval",
							"How often every event of a store is read; 0 turns it off.",
							NULL, &full_reconcile_interval, 86400, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.sweep_interval",
							"How often a worker closes holds that have expired; 0 turns it off.",
							NULL, &sweep_interval, 10, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		RegisterBackgroundWorker(&launcher);
}

/* The launcher: looks after each database's worker until it is told to end. */
void
pointstore_launcher_main(Datum arg)
{
	List	   *served = NIL;
	uint32		wait_event = 0;

	pointstore_worker_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pointstore_wake_me();
	for (;;)
	{
		pointstore_make_way();
		serve(&served);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, tick(),
						 pointstore_wait_event(&wait_event, "PointstoreLauncherMain"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		hear_wakes(served, pointstore_worker_reload());
	}
}

/* Where there was nothing to do there may be something now. */
static void
hear_wakes(List *served, bool reloaded)
{
	static uint64 heard = 0;
	uint64		wakes = pointstore_wakes();
	ListCell   *cell;
	Task		task;

	if (!reloaded && wakes == heard)
		return;
	heard = wakes;
	foreach(cell, served)
		for (task = 0; task < N_TASKS; task++)
			if (((Served *) lfirst(cell))->pause[task] > 0)
				((Served *) lfirst(cell))->pause[task] = ((Served *) lfirst(cell))->due[task] = 0;
}

/* Milliseconds until it looks again: soon when something runs on a short schedule. */
static int
tick(void)
{
	return (reconcile_interval > 0 && reconcile_interval < 5) || (sweep_interval > 0 && sweep_interval < 5) ? 200 : 1000;
}

/* Starts whatever is due in the databases of the setting. */
static void
serve(List **served)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *cell;

	take_list(served);
	foreach(cell, *served)
	{
		Task		task;

		for (task = 0; task < N_TASKS; task++)
			look_after(lfirst(cell), task, now);
	}
}

/* Brings the list of databases up to the setting; a wrong one serves none, with a WARNING once. */
static void
take_list(List **served)
{
	static char *taken = NULL;
	char	   *setting = pstrdup(databases ? databases : "");
	List	   *names = NIL;
	ListCell   *cell;

	if (taken != NULL && strcmp(taken, setting) == 0)
	{
		pfree(setting);
		return;
	}
	if (taken != NULL)
		pfree(taken);
	taken = pstrdup(setting);
	foreach(cell, *served)
		((Served *) lfirst(cell))->listed = false;
	if (!SplitGUCList(setting, ',', &names))
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pointstore.databases is not a list of names: \"%s\"", taken)));
	foreach(cell, names)
		list_database(served, lfirst(cell));
	pgstat_report_activity(STATE_IDLE, list_length(names) == 1 ? "pointstore: 1 database on schedule" :
						   psprintf("pointstore: %d databases on schedule", list_length(names)));
	list_free(names);
	pfree(setting);
}

/* Marks a database of that name as listed; it is served from now on, where it was not before. */
static void
list_database(List **served, const char *name)
{
	Served	   *found = NULL;
	ListCell   *cell;

	foreach(cell, *served)
		if (strncmp(((Served *) lfirst(cell))->name, name, NAMEDATALEN - 1) == 0)
			found = lfirst(cell);
	if (found == NULL)
	{
		found = palloc0(sizeof(Served));
		strlcpy(found->name, name, NAMEDATALEN);
		found->number = list_length(*served);
		*served = lappend(*served, found);
	}
	found->listed = true;
}

/* Starts a database's worker for a task when one is due and none is running. */
static void
look_after(Served *database, Task task, TimestampTz now)
{
	static const char orders[N_TASKS] = {'I', 'F', 's', 'q', 'p', 'n', 'c'};
	Order		order;
	pid_t		pid;

	if (database->worker[task] != NULL)
	{
		if (GetBackgroundWorkerPid(database->worker[task], &pid) != BGWH_STOPPED)
			return;
		pfree(database->worker[task]);
		database->worker[task] = NULL;
		note_end(database, task, now);
	}
	if (!database->listed || interval(task) == 0 || now < database->due[task])
		return;
	database->due[task] = TimestampTzPlusMilliseconds(now, (int64) interval(task) * 1000);
	database->wakes[task] = pointstore_wakes();
	set_order(&order, database->name, orders[task]);
	order.idle = stays(task) ? database->number * N_TASKS + task : -1;
	pointstore_set_idle(order.idle, false);
	if (lets_in(database) && !start_worker(&order, &database->worker[task]))
		ereport(LOG,
				(errmsg("no background worker is free for database \"%s\"", database->name),
				 errhint("max_worker_processes may be too small.")));
}

/* Whether its worker stays as long as there is something to do. */
static bool
stays(Task task)
{
	return task == TASK_SEQUENCE || task == TASK_PROJECT || task == TASK_SNAPSHOT || task == TASK_COORDINATE;
}

/* Where a worker has found nothing to do the next look is later than the last one was, unless somebody has made some meanwhile. */
static void
note_end(Served *database, Task task, TimestampTz now)
{
	bool		idle = stays(task) && pointstore_was_idle(database->number * N_TASKS + task);

	if (!stays(task))
		return;
	if (!idle || database->wakes[task] != pointstore_wakes())
		database->pause[task] = 0;
	else
		database->pause[task] = Min(LOOK_INTERVAL, Max(RESTART_INTERVAL, 2 * database->pause[task]));
	if (idle)
		database->due[task] = TimestampTzPlusMilliseconds(now, (int64) database->pause[task] * 1000);
}

/* Seconds between two looks at a database; 0: it is not looked at. */
static int
interval(Task task)
{
	if (task == TASK_SWEEP)
		return sweep_interval;
	if (task == TASK_SEQUENCE)
		return pointstore_sequencer_is_on() ? RESTART_INTERVAL : 0;
	if (task == TASK_PROJECT)
		return pointstore_projectors() > 0 ? RESTART_INTERVAL : 0;
	if (task == TASK_SNAPSHOT)
		return RESTART_INTERVAL;
	if (task == TASK_COORDINATE)
		return pointstore_coordinator_is_on() ? RESTART_INTERVAL : 0;
	return task == TASK_INCREMENTAL ? reconcile_interval : Min(full_reconcile_interval, LOOK_INTERVAL);
}

/*
 * Whether a database is there and accepts connections; a change of that is logged,
 * once. By the heap: a backend that is in no database may have no index of a catalog, as
 * long as no other has connected since the server was started.
 */
static bool
lets_in(Served *database)
{
	bool		refused = database->refuses;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	row;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	database->refuses = true;
	while (database->refuses && (row = heap_getnext(scan, ForwardScanDirection)) != NULL)
		database->refuses = strncmp(NameStr(((Form_pg_database) GETSTRUCT(row))->datname), database->name, NAMEDATALEN) != 0 ||
			!((Form_pg_database) GETSTRUCT(row))->datallowconn;
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	if (database->refuses != refused)
		ereport(LOG,
				(errmsg(database->refuses ? "database \"%s\" is not there or accepts no connections, and is not reconciled" :
						"database \"%s\" accepts connections again, and is reconciled", database->name)));
	return !database->refuses;
}

/* An order to a worker of a database. */
static void
set_order(Order *order, const char *database, char task)
{
	memset(order, 0, sizeof(Order));
	order->task = task;
	order->idle = -1;
	strlcpy(order->database, database, NAMEDATALEN);
}

/* Starts a worker; false: none is free. */
static bool
start_worker(const Order *order, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "pointstore", .bgw_function_name = "pointstore_worker_main",
		.bgw_notify_pid = MyProcPid
	};
	char		task = order->task;

	StaticAssertStmt(sizeof(Order) <= BGW_EXTRALEN, "the order fits");
	memcpy(worker.bgw_extra, order, sizeof(Order));
	strlcpy(worker.bgw_type, task == 's' ? "pointstore sweeper" : task == 'q' ? POINTSTORE_SEQUENCER :
			task == 'p' ? POINTSTORE_PROJECTOR : task == 'n' ? POINTSTORE_SNAPSHOTTER : task == 'c' ? POINTSTORE_COORDINATOR : "pointstore reconciler", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s of %s", worker.bgw_type, order->database);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* The first worker that runs projections has the others started, of so many in all, that are not there. */
static void
start_projectors(int n)
{
	static BackgroundWorkerHandle *others[MAX_PROJECTORS];
	Order		order;
	int			i;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	for (i = 1; i < Min(n, MAX_PROJECTORS); i++)
	{
		MemoryContext old;
		pid_t		pid;

		if (others[i] != NULL && GetBackgroundWorkerPid(others[i], &pid) != BGWH_STOPPED)
			continue;
		if (others[i] != NULL)
			pfree(others[i]);
		others[i] = NULL;
		old = MemoryContextSwitchTo(TopMemoryContext);
		/* where none is free the first does it all, and tries again */
		order.number = i;
		order.idle = -1;
		(void) start_worker(&order, &others[i]);
		MemoryContextSwitchTo(old);
	}
}

/* The worker: one run, or one sweep, in one database, or what there is for one that stays. */
void
pointstore_worker_main(Datum arg)
{
	Order		order;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pointstore_worker_signals();
	BackgroundWorkerInitializeConnection(order.database, NULL, 0);
	pointstore_worker_connected();
	do_order(&order);
	pointstore_set_idle(order.idle, true);
	proc_exit(0);
}

static void
do_order(const Order *order)
{
	int64		hash = POINTSTORE_FIRST_HASH;
	bool		full;

	if (strchr("pn", order->task) != NULL && is_distributed())
		 /* that is not there yet */ ;
	else if (order->task == 'q')
		pointstore_run_sequencer();
	else if (order->task == 'p')
		pointstore_run_projector(order->number, start_projectors);
	else if (order->task == 'n')
		pointstore_run_snapshotter();
	else if (order->task == 'c')
		pointstore_run_coordinator();
	else if (order->task == 's')
	{
		if (choose_scope(order->task, &full))
			run_guarded(order->task, full);
	}
	else
		while (go_to_next_place(&hash))
		{
			if (choose_scope(order->task, &full))
				run_guarded(order->task, full);
			pointstore_worker_clean_up();
			pointstore_forget_places();
		}
}

/* Goes to what a run is of: a store, or one shard of it after the other, whose runs do not depend on each other. */
static bool
go_to_next_place(int64 *hash)
{
	bool		there = false;

	StartTransactionCommand();
	if (OidIsValid(get_extension_oid("pointstore", true)) && pointstore_store_exists())
	{
		pointstore_begin_step();
		there = pointstore_next_place(hash);
	}
	CommitTransactionCommand();
	return there;
}

/* Whether there is a store, and it is distributed. */
static bool
is_distributed(void)
{
	bool		result = false;

	StartTransactionCommand();
	if (OidIsValid(get_extension_oid("pointstore", true)) && pointstore_store_exists())
	{
		pointstore_begin_step();
		result = pointstore_have_placements(get_relname_relid("event_store", get_namespace_oid("pointstore", false)));
	}
	CommitTransactionCommand();
	return result;
}

/* What to do, by the order and by the runs that are recorded; false: nothing, or that could not be told. */
static bool
choose_scope(char order, bool *full)
{
	Choice		choice = {.order = order};

	*full = order == 'f' || order == 'F';
	/* where it fails for one shard the others have their turn */
	(void) pointstore_in_transaction(choose, &choice, true);
	/* the role that account_log names */
	if (choice.due)
		SetSessionAuthorization(choice.owner, choice.is_superuser);
	return choice.due;
}

static void
choose(void *arg)
{
	Choice	   *choice = arg;
	PointstoreScope scope;

	if (!OidIsValid(get_extension_oid("pointstore", true)) || !pointstore_store_exists())
		return;
	pointstore_begin_step();
	choice->owner = GetUserId();
	choice->is_superuser = superuser();
	pointstore_act_as_verifier(&scope);
	choice->due = choice->order == 'f' || choice->order == 'i' ||
		(!pointstore_is_off_schedule(choice->order == 's') && (choice->order == 's' || is_due(choice->order == 'F')));
	pointstore_act_as_caller(&scope);
}

/*
 * Whether the schedule wants a run of a scope now: a full one where the last that came to an
 * end did so longer ago than that. After n runs of it in a row that failed or were
 * interrupted a scope waits 2 ^ (n - 1) intervals, less a tenth of that since a worker
 * begins a little later than it is due. What a clock that was wrong has left in the
 * future counts for nothing. However many runs are kept, a few of them are read.
 */
static bool
is_due(bool full)
{
	static PointstorePlan plan = {
		.sql = "WITH done AS (SELECT d.id, d.finished_at FROM ("
		"  (SELECT c.id, c.finished_at FROM pointstore.reconciliation c WHERE c.scope" EQ "$1 AND c.status" EQ "'clean' AND " IS_OF_HERE("c") " ORDER BY c.id DESC LIMIT 1)"
		"  UNION ALL"
		"  (SELECT f.id, f.finished_at FROM pointstore.reconciliation f WHERE f.scope" EQ "$1 AND f.status" EQ "'findings' AND " IS_OF_HERE("f") " ORDER BY f.id DESC LIMIT 1)"
		"  ) d ORDER BY d.id DESC LIMIT 1),"
		" latest AS (SELECT r.id, r.triggered_by, r.started_at FROM pointstore.reconciliation r WHERE r.scope" EQ "$1 ORDER BY r.id DESC LIMIT $5),"
		" failed AS (SELECT pg_catalog.count(*) AS runs, pg_catalog.max(started_at) AS last FROM latest"
		"  WHERE triggered_by" EQ "'worker' AND id" GT "coalesce((SELECT id FROM done), 0) AND started_at" LE "pg_catalog.clock_timestamp())"
		" SELECT NOT EXISTS (SELECT FROM done WHERE finished_at" LE "pg_catalog.clock_timestamp()"
		"   AND finished_at" GT "(pg_catalog.clock_timestamp()" MINUS "pg_catalog.make_interval(secs => $2)))"
		"  AND NOT EXISTS (SELECT FROM failed WHERE last" PLUS "pg_catalog.make_interval(secs => LEAST($4,"
		"   0.9 OPERATOR(pg_catalog.*) $3 OPERATOR(pg_catalog.*) pg_catalog.power(2, runs" MINUS "1)))"
		GT "pg_catalog.clock_timestamp())",
		.nargs = 5, .argtypes = {TEXTOID, FLOAT8OID, FLOAT8OID, FLOAT8OID, INT8OID}
	};
	Datum		values[5] = {CStringGetTextDatum(full ? "full" : "incremental"), Float8GetDatum(full ? full_reconcile_interval : 0),
	Float8GetDatum(interval(full ? TASK_FULL : TASK_INCREMENTAL)), Float8GetDatum(LONGEST_PAUSE), Int64GetDatum(MOST_FAILURES)};
	bool		due;
	bool		isnull;

	pointstore_set_option("enable_seqscan", "off");
	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	due = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return due;
}

/* A run whose error is logged and stands in its row; or a sweep. */
static void
run_guarded(char order, bool full)
{
	Work		work = {.sweep = order == 's', .full = full};
	ErrorData  *error;

	pgstat_report_activity(STATE_RUNNING, work.sweep ? "pointstore: sweeping holds" : full ? "pointstore: full reconciliation" : "pointstore: incremental reconciliation");
	error = pointstore_in_transaction(do_work, &work, true);
	/* of a shard that has left this node in the midst of it another one says so */
	if (error != NULL && work.id > 0 && error->sqlerrcode != ERRCODE_POINTSTORE_OTHER_NODE)
		(void) pointstore_in_transaction(mark_ended, &(Ended) {.id = work.id, .error = error}, true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
do_work(void *arg)
{
	Work	   *work = arg;

	if (work->sweep)
		pointstore_sweep();
	else
		(void) pointstore_run_reconciliation(work->full, "worker", &work->id);
}

/* A run that was cancelled is interrupted, any other error is its failure. */
static void
mark_ended(void *arg)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.reconciliation SET status = $3, error = $2,"
		" finished_at = CASE WHEN $3" EQ "'failed' THEN pg_catalog.clock_timestamp() END"
		" WHERE id" EQ "$1 AND status" EQ "'running'",
		.nargs = 3, .argtypes = {INT8OID, TEXTOID, TEXTOID}
	};
	const Ended *ended = arg;
	PointstoreScope owner;
	Datum		values[3];

	pointstore_begin_step();
	values[0] = Int64GetDatum(ended->id);
	values[1] = CStringGetTextDatum(ended->error->message);
	values[2] = CStringGetTextDatum(ended->error->sqlerrcode == ERRCODE_QUERY_CANCELED ? "interrupted" : "failed");
	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
	pointstore_act_as_caller(&owner);
}

/* reconcile_now(scope): a worker for this database at once, whatever the schedule. */
Datum
pointstore_reconcile_now(PG_FUNCTION_ARGS)
{
	char	   *scope = text_to_cstring(pointstore_name(fcinfo, 0, "scope"));
	BackgroundWorkerHandle *handle;
	Order		order;
	pid_t		pid;

	if (strcmp(scope, "full") != 0 && strcmp(scope, "incremental") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope must be incremental or full, is \"%s\"", scope)));
	PreventCommandIfReadOnly("reconcile_now()");
	(void) pointstore_store_is_complete();	/* 55000 where there is none */
	set_order(&order, get_database_name(MyDatabaseId), scope[0]);
	if (!start_worker(&order, &handle) ||
		WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_POSTMASTER_DIED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("no background worker is free"),
				 errhint("max_worker_processes may be too small.")));
	PG_RETURN_VOID();
}

/* worker_alive(): whether the launcher is there and has this database on a schedule. */
Datum
pointstore_worker_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(interval(TASK_INCREMENTAL) + interval(TASK_FULL) > 0 && is_listed(get_database_name(MyDatabaseId)) && launcher_runs());
}

/* Whether the setting names a database. */
static bool
is_listed(const char *database)
{
	List	   *names = NIL;
	ListCell   *cell;
	bool		listed = false;

	if (SplitGUCList(pstrdup(databases ? databases : ""), ',', &names))
		foreach(cell, names)
			listed |= strncmp(lfirst(cell), database, NAMEDATALEN - 1) == 0;
	return listed;
}

/* Whether one of the server's background workers is the launcher. */
static bool
launcher_runs(void)
{
	int			i;

	for (i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		PgBackendStatus *entry = &pgstat_get_local_beentry_by_index(i)->backendStatus;
		const char *type = entry->st_backendType == B_BG_WORKER ? GetBackgroundWorkerTypeByPid(entry->st_procpid) : NULL;

		if (type != NULL && strcmp(type, LAUNCHER_TYPE) == 0)
			return true;
	}
	return false;
}
