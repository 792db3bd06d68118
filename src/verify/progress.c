/*-------------------------------------------------------------------------
 *
 * src/verify/progress.c
 *		What a reconciliation under way shows of itself, in the view
 *		pointstore.reconcile_progress.
 *
 * The figures stand where PostgreSQL keeps those of VACUUM and its like: in the
 * session's own entry in shared memory, which needs no preloading, is read
 * without a lock and is gone with the session. Our number of a command is none of
 * PostgreSQL's, whose own views pass over it. An aborted subtransaction
 * clears the entry, so the session has a copy that it publishes as a whole.
 *
 * The events of a full run are counted where they are digested, which may be in
 * parallel workers. Such a worker shows its count in an entry of its own, under
 * the session it works for; when it hands a digest over, the events in it move
 * from its count to the session's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "verify/progress.h"

PG_FUNCTION_INFO_V1(pointstore_progress);

#define PROGRESS_COMMAND_RECONCILE ((ProgressCommandType) 1886349678)

/* digested events are published that many at a time */
#define EVENTS_AT_ONCE 65536

#define N_PROGRESS_COLUMNS 9

static const char *const phase_names[] = {
	"initializing", "waiting for older transactions", "scanning events", "examining accounts",
	"examining open findings", "spooling events"
};

static int64 figures[N_PROGRESS_FIGURES];
static int64 unpublished = 0;
static bool active = false;

static void publish(void);
static int64 events_of(int pid);
static PgBackendStatus *shown_by(int entry);
static void put_row(ReturnSetInfo *rsinfo, const PgBackendStatus *entry);

/* From now on this session shows a run, until the end of it or of its transaction by an error. */
void
pointstore_progress_start(bool full)
{
	memset(figures, 0, sizeof(figures));
	figures[PROGRESS_FULL] = full;
	figures[PROGRESS_STARTED_AT] = GetCurrentTimestamp();
	unpublished = 0;
	active = true;
	publish();
}

void
pointstore_progress_end(void)
{
	active = false;
	pgstat_progress_end_command();
}

void
pointstore_progress_set(PointstoreFigure figure, int64 value)
{
	figures[figure] = value;
	if (figure == PROGRESS_EVENTS_DONE)
		unpublished = 0;
	publish();
}

/* Events were digested here, or, less than zero, their digest was handed over. */
void
pointstore_progress_count(int64 events)
{
	unpublished += events;
	if (unpublished < EVENTS_AT_ONCE && unpublished > -EVENTS_AT_ONCE)
		return;
	if (IsParallelWorker())
	{
		active = true;
		figures[PROGRESS_LEADER] = MyProc->lockGroupLeader->pid;
	}
	figures[PROGRESS_EVENTS_DONE] += unpublished;
	unpublished = 0;
	if (active)
		publish();
}

static void
publish(void)
{
	int			index[N_PROGRESS_FIGURES];
	int			i;

	if (MyBEEntry == NULL)
		return;
	for (i = 0; i < N_PROGRESS_FIGURES; i++)
		index[i] = i;
	if (MyBEEntry->st_progress_command != PROGRESS_COMMAND_RECONCILE)
		pgstat_progress_start_command(PROGRESS_COMMAND_RECONCILE, InvalidOid);
	pgstat_progress_update_multi_param(N_PROGRESS_FIGURES, index, figures);
}

/* progress(): a row for each session that is at a reconciliation. */
Datum
pointstore_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	pointstore_materialize(fcinfo);
	for (i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		PgBackendStatus *entry = shown_by(i);

		if (entry != NULL && entry->st_progress_param[PROGRESS_LEADER] == 0)
			put_row(rsinfo, entry);
	}
	return (Datum) 0;
}

/* The entry of that number if its session shows a run, or NULL. */
static PgBackendStatus *
shown_by(int entry)
{
	LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(entry);

	if (local == NULL || local->backendStatus.st_progress_command != PROGRESS_COMMAND_RECONCILE)
		return NULL;
	return &local->backendStatus;
}

static void
put_row(ReturnSetInfo *rsinfo, const PgBackendStatus *entry)
{
	const int64 *param = entry->st_progress_param;
	int64		events = param[PROGRESS_EVENTS_DONE] + events_of(entry->st_procpid);
	Datum		values[N_PROGRESS_COLUMNS];
	bool		nulls[N_PROGRESS_COLUMNS] = {0};

	values[0] = Int32GetDatum(entry->st_procpid);
	values[1] = ObjectIdGetDatum(entry->st_databaseid);
	values[2] = CStringGetTextDatum(param[PROGRESS_FULL] ? "full" : "incremental");
	values[3] = CStringGetTextDatum(phase_names[param[PROGRESS_PHASE]]);
	values[4] = Int64GetDatum(param[PROGRESS_ACCOUNTS_DONE]);
	values[5] = Int64GetDatum(param[PROGRESS_ACCOUNTS_TOTAL]);
	values[6] = Int64GetDatum(Max(events, 0));
	values[7] = Int64GetDatum(param[PROGRESS_EVENTS_TOTAL]);
	values[8] = TimestampTzGetDatum(param[PROGRESS_STARTED_AT]);
	nulls[5] = param[PROGRESS_ACCOUNTS_TOTAL] == 0;
	nulls[7] = param[PROGRESS_EVENTS_TOTAL] == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* What a session's parallel workers have digested and not handed over. */
static int64
events_of(int pid)
{
	int64		events = 0;
	int			i;

	for (i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		PgBackendStatus *entry = shown_by(i);

		if (entry != NULL && entry->st_progress_param[PROGRESS_LEADER] == pid)
			events += entry->st_progress_param[PROGRESS_EVENTS_DONE];
	}
	return events;
}
