/*-------------------------------------------------------------------------
 *
 * src/ground/worker.c
 *		What our background workers have in common: how they begin, look at the store
 *		and rest, and how they make way.
 *
 * A worker is for the convenience of others, and nobody is to wait long for one. To
 * the server it is a session as any: so vacuum and CREATE INDEX CONCURRENTLY respect its
 * snapshots, as they must. (Those of a process that is marked as an autovacuum worker the latter
 * does not.) But the launcher looks at all of them each time: it cancels a run or a
 * sweep for which somebody has waited for deadlock_timeout, and ends whatever serves a
 * database that is about to be dropped, renamed or copied. What the database prescribes
 * for its sessions does not bind a worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_database.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/worker.h"

#define FIRST_PAUSE 1000		/* ms, for which what has failed is left alone */

/* Something that is done with the store. */
typedef struct Look
{
	bool		(*what) (void *);
	void	   *arg;
	MemoryContext context;
	bool		result;
} Look;

/* What fails, by a hash. */
typedef struct Failing
{
	uint32		hash;
	int			times;			/* in a row */
	TimestampTz until;
} Failing;

static Failing failing[1024];

static void forget_settings(void);
static void look_at_store(void *arg);
static bool has_waited(PGPROC *proc, TimestampTz now);
static void cancel_for(pid_t waiting);
static bool is_wanted_by_another(Oid database);
static bool is_worker(pid_t pid, bool cancellable);

/* Signals: a reload is heard between two steps, SIGTERM and SIGINT act as in any session. */
void
pointstore_worker_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* What a worker that is connected to a database does first. */
void
pointstore_worker_connected(void)
{
	PortalContext = AllocSetContextCreate(TopMemoryContext, "pointstore worker", ALLOCSET_DEFAULT_SIZES);
	forget_settings();
	SetConfigOption("application_name", MyBgworkerEntry->bgw_type, PGC_USERSET, PGC_S_SESSION);
}

/* What would end a transaction, or keep it from writing. */
static void
forget_settings(void)
{
	static const char *const settings[][2] = {{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"}, {"default_transaction_deferrable", "off"},
	{"statement_timeout", "0"}, {"lock_timeout", "0"}, {"idle_in_transaction_session_timeout", "0"},
	{"transaction_timeout", "0"}, {"pointstore.balance_writer", "store"}};
	int			i;

	for (i = 0; i < lengthof(settings); i++)
		if (GetConfigOption(settings[i][0], true, false) != NULL)	/* not each version has them all */
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Takes over changed settings; to be called where nothing relies on the old ones. */
bool
pointstore_worker_reload(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/*
 * What users' code may leave behind in a session, although it runs in a security-restricted
 * operation (step.c) and its settings end with the statement: advisory locks. To be called
 * after a transaction, by a worker that goes on for others.
 */
void
pointstore_worker_clean_up(void)
{
	LockReleaseAll(USER_LOCKMETHOD, true);
}

/* Whether no other worker of this kind has that number in the database; from now on none will. */
bool
pointstore_is_only(int kind, int number)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, number, kind);
	return pointstore_holds_lock(&tag, ExclusiveLock) || LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Does something in a step, as the store's owner, inside an SPI connection, in the caller's memory. False: there is no store here, or
 * not all of it, or that is the answer. An error is logged.
 */
bool
pointstore_look(bool (*what) (void *), void *arg, bool *failed)
{
	Look		look = {.what = what, .arg = arg, .context = CurrentMemoryContext};

	*failed = pointstore_in_transaction(look_at_store, &look, true) != NULL;
	return !*failed && look.result;
}

static void
look_at_store(void *arg)
{
	Look	   *look = arg;
	PointstoreScope scope;

	if (!OidIsValid(get_extension_oid("pointstore", true)) || !pointstore_store_exists())
		return;
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_next_step();
	pointstore_act_as_verifier(&scope);
	if (pointstore_store_is_whole())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(look->context);
		look->result = look->what(look->arg);
		PopActiveSnapshot();
	}
	pointstore_act_as_caller(&scope);
	pointstore_last_step();
	SPI_finish();
}

/* Whether something has failed so often in a row, and lately. */
bool
pointstore_is_paused(uint32 hash, int patience)
{
	const Failing *entry = &failing[hash % lengthof(failing)];

	return entry->hash == hash && entry->times >= patience && GetCurrentTimestamp() < entry->until;
}

/* What fails again pauses twice as long, up to so many ms. */
void
pointstore_note_outcome(uint32 hash, bool failed, int longest)
{
	Failing    *entry = &failing[hash % lengthof(failing)];
	int			before = entry->hash == hash ? entry->times : 0;

	if (!failed && before == 0)
		return;
	entry->hash = hash;
	entry->times = failed ? before + 1 : 0;
	entry->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(longest, (int64) FIRST_PAUSE << Min(before, 20)));
}

/* Who cancels what a worker does finds it at rest: that does not end it. */
void
pointstore_heed_signals(void)
{
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
}

/* Waits so many ms, or until the latch is set. A process has one name for that. */
void
pointstore_rest(long timeout, const char *event)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, pointstore_wait_event(&wait_event, event));
	ResetLatch(MyLatch);
	pointstore_heed_signals();
}

/* The launcher's part of making way. A process that ends meanwhile is not there for its signal. */
void
pointstore_make_way(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pointstore make way", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TimestampTz now = GetCurrentTimestamp();
	uint32		i;

	for (i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		pid_t		pid = proc->pid;
		Oid			database = proc->databaseId;

		if (pid == 0 || !OidIsValid(database))
			continue;
		if (has_waited(proc, now))
			cancel_for(pid);
		if (is_worker(pid, false) && is_wanted_by_another(database))
			(void) kill(pid, SIGTERM);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Whether a process waits for a lock for long; read without a lock of ours. */
static bool
has_waited(PGPROC *proc, TimestampTz now)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&proc->waitStart);

	return since != 0 && TimestampDifferenceExceeds(since, now, DeadlockTimeout);
}

/* Cancels the runs and sweeps that a process waits for. */
static void
cancel_for(pid_t waiting)
{
	ArrayType  *blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(waiting)));
	int32	   *pids = (int32 *) ARR_DATA_PTR(blockers);
	int			n = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));
	int			i;

	for (i = 0; i < n; i++)
		if (pids[i] != 0 && is_worker(pids[i], true))
			(void) kill(pids[i], SIGINT);
}

/* Whether a process is a worker of ours; cancellable: one whose work can be left for the next. */
static bool
is_worker(pid_t pid, bool cancellable)
{
	const char *type = GetBackgroundWorkerTypeByPid(pid);

	if (type == NULL || strncmp(type, "pointstore ", 11) != 0)
		return false;
	return !cancellable || strcmp(type, POINTSTORE_COMBINER) != 0;
}

/* Whether a session is about to drop, rename, move or copy a database: it locks it first, then looks for backends in it. */
static bool
is_wanted_by_another(Oid database)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, true);
	return false;
}
