/*-------------------------------------------------------------------------
 *
 * src/launcher.c
 *		Who reconciles when. With the library preloaded a launcher, which holds
 *		no database connection, starts a worker for each database of
 *		pointstore.databases every pointstore.reconcile_interval. The worker makes one
 *		run and leaves: a full one when the last is older than
 *		pointstore.full_reconcile_interval, else an incremental one.
 *
 * The launcher starts when recovery is over, so a standby has none until it is
 * promoted. It knows nothing but which of its workers still run. What is due is
 * decided by the worker, from the runs recorded in the database, so a restart
 * makes no full run early. A worker whose database is not there, or lets nobody
 * in, ends with a line in the log and is started again when it is due again.
 *
 * A worker connects as nobody in particular and acts as the store's owner where
 * it touches the store. An error ends its run, and stands in the run's row. It
 * leaves between two steps when its database is to be dropped (reconcile.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "pointstore.h"

PG_FUNCTION_INFO_V1(pointstore_reconcile_now);

PGDLLEXPORT void pointstore_launcher_main(Datum arg);
PGDLLEXPORT void pointstore_worker_main(Datum arg);

/* A database that is served. */
typedef struct Served
{
	char		name[NAMEDATALEN];
	BackgroundWorkerHandle *worker; /* null: none is running */
	TimestampTz due;
	bool		listed;
} Served;

/* What a worker is told, in bgw_extra. */
typedef struct Order
{
	char		scope;			/* 'f'ull, 'i'ncremental, or what is 'd'ue */
	char		database[NAMEDATALEN];
} Order;

static char *databases = NULL;
static int	reconcile_interval = 60;
static int	full_reconcile_interval = 86400;

static void serve(List **served);
static void take_list(List **served);
static void look_after(Served *database, TimestampTz now);
static int	tick(void);
static bool start_worker(const char *database, char scope, BackgroundWorkerHandle **handle);
static void run_guarded(bool full);
static bool choose_scope(char order, bool *full);
static void mark_failed(int64 id, const char *message);

/* Called once when the library is loaded; preloaded, it also registers the launcher. */
void
pointstore_launcher_init(void)
{
	BackgroundWorker launcher = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 10,
		.bgw_name = "pointstore launcher", .bgw_type = "pointstore launcher",
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
	if (process_shared_preload_libraries_in_progress)
		RegisterBackgroundWorker(&launcher);
}

/* The launcher: looks after each database's worker until it is told to end. */
void
pointstore_launcher_main(Datum arg)
{
	List	   *served = NIL;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	for (;;)
	{
		serve(&served);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, tick(), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

/* Milliseconds until it looks again: soon when something runs on a short schedule. */
static int
tick(void)
{
	return reconcile_interval > 0 && reconcile_interval < 5 ? 200 : 1000;
}

static void
serve(List **served)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *cell;

	take_list(served);
	foreach(cell, *served)
		look_after(lfirst(cell), now);
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
	{
		Served	   *found = NULL;
		ListCell   *other;

		foreach(other, *served)
			if (strncmp(((Served *) lfirst(other))->name, lfirst(cell), NAMEDATALEN - 1) == 0)
				found = lfirst(other);
		if (found == NULL)
		{
			found = palloc0(sizeof(Served));
			strlcpy(found->name, lfirst(cell), NAMEDATALEN);
			*served = lappend(*served, found);
		}
		found->listed = true;
	}
	list_free(names);
	pfree(setting);
}

/* Starts a database's worker when one is due and none is running. */
static void
look_after(Served *database, TimestampTz now)
{
	int			interval = reconcile_interval > 0 ? reconcile_interval : full_reconcile_interval > 0 ? 60 : 0;
	pid_t		pid;

	if (database->worker != NULL)
	{
		if (GetBackgroundWorkerPid(database->worker, &pid) != BGWH_STOPPED)
			return;
		pfree(database->worker);
		database->worker = NULL;
	}
	if (!database->listed || interval == 0 || now < database->due)
		return;
	database->due = TimestampTzPlusMilliseconds(now, (int64) interval * 1000);
	if (!start_worker(database->name, 'd', &database->worker))
		ereport(LOG,
				(errmsg("no background worker is free to reconcile database \"%s\"", database->name),
				 errhint("max_worker_processes may be too small.")));
}

static bool
start_worker(const char *database, char scope, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_type = "pointstore reconciler",
		.bgw_library_name = "pointstore", .bgw_function_name = "pointstore_worker_main",
		.bgw_notify_pid = MyProcPid
	};
	Order		order = {.scope = scope};

	StaticAssertStmt(sizeof(Order) <= BGW_EXTRALEN, "the order fits");
	strlcpy(order.database, database, NAMEDATALEN);
	memcpy(worker.bgw_extra, &order, sizeof(order));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pointstore reconciler of %s", database);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* The worker: one run in one database. */
void
pointstore_worker_main(Datum arg)
{
	Order		order;
	bool		full;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(order.database, NULL, 0);
	PortalContext = AllocSetContextCreate(TopMemoryContext, "pointstore worker", ALLOCSET_DEFAULT_SIZES);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_type, PGC_USERSET, PGC_S_SESSION);
	if (choose_scope(order.scope, &full))
		run_guarded(full);
	proc_exit(0);
}

/* What to do, by the order and by the runs that are recorded; false: nothing. */
static bool
choose_scope(char order, bool *full)
{
	static PointstorePlan plan = {
		.sql = "SELECT NOT EXISTS (SELECT FROM pointstore.reconciliation"
		" WHERE scope OPERATOR(pg_catalog.=) 'full' AND status OPERATOR(pg_catalog.=) ANY (ARRAY['clean', 'findings'])"
		"   AND finished_at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp()"
		"       OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $1)))",
		.nargs = 1, .argtypes = {FLOAT8OID}
	};
	Datum		value = Float8GetDatum(full_reconcile_interval);
	bool		due = false;
	bool		isnull;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(get_extension_oid("pointstore", true)) && pointstore_store_exists())
	{
		PointstoreScope owner;

		pointstore_act_as_owner(&owner);
		due = true;
		*full = order == 'f';
		if (order == 'd' && full_reconcile_interval > 0)
		{
			SPI_connect();
			pointstore_execute(&plan, &value, NULL, true);
			*full = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
			SPI_finish();
		}
		if (order == 'd' && !*full && reconcile_interval == 0)
			due = false;
		pointstore_act_as_caller(&owner);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return due;
}

/* A run whose error is logged and stands in its row. */
static void
run_guarded(bool full)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pointstore run", ALLOCSET_DEFAULT_SIZES);
	static int64 id;

	pgstat_report_activity(STATE_RUNNING, full ? "pointstore: full reconciliation" : "pointstore: incremental reconciliation");
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		StartTransactionCommand();
		(void) pointstore_run_reconciliation(full, "worker", &id);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		if (id > 0)
			mark_failed(id, error->message);
	}
	PG_END_TRY();
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
mark_failed(int64 id, const char *message)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.reconciliation SET status = 'failed', finished_at = pg_catalog.clock_timestamp(), error = $2"
		" WHERE id OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'running'",
		.nargs = 2, .argtypes = {INT8OID, TEXTOID}
	};
	PointstoreScope owner;
	Datum		values[2];

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(message);
	pointstore_act_as_owner(&owner);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* reconcile_now(scope): a worker for this database at once, whatever the schedule. */
Datum
pointstore_reconcile_now(PG_FUNCTION_ARGS)
{
	char	   *scope = text_to_cstring(pointstore_name(fcinfo, 0, "scope"));
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	if (strcmp(scope, "full") != 0 && strcmp(scope, "incremental") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope must be incremental or full, is \"%s\"", scope)));
	PreventCommandIfReadOnly("reconcile_now()");
	(void) pointstore_store();
	if (!start_worker(get_database_name(MyDatabaseId), scope[0], &handle) ||
		WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_POSTMASTER_DIED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("no background worker is free"),
				 errhint("max_worker_processes may be too small.")));
	PG_RETURN_VOID();
}
