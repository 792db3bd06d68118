/*-------------------------------------------------------------------------
 *
 * src/nodes/coordinator.c
 *		The coordinator: drives the movements of a store to their ends. One for each database of pointstore.databases, a background
 *		worker, as long as there is a server of the foreign data wrapper pointstore or a movement that is not finished;
 *		or whoever calls drive_movements().
 *
 * It goes round: what other stores have answered is taken; then one transaction, a step as the store's owner, reads movements
 * that are new or were decided by others, applies the answers and writes what follows (advance.c); then, when that is
 * durable, messages are sent, all that wait for a store in one round trip (peer.c, trip.c). Then it sleeps until a socket has
 * something, a movement is started or decided in this database, or something is due. Nothing is sent that rests on what is not
 * committed, flushed and confirmed by standbys as synchronous_commit = on has it; where that is set higher, as that.
 *
 * So what a movement has come to is in its rows, and the process may be ended at any point: another one reads the rows,
 * waits until they are durable, and asks again what it does not know. In memory are only the movements that
 * are not finished (live.c). Any error of a step that is not of one movement makes it forget all that, close its connections and begin
 * anew after a pause.
 *
 * Of a distributed store each node has one, for the movements whose rows are there. It tells others of nothing that has finished: what
 * is below a number, no node knows of all.
 *
 * One session drives at a time, by a session's advisory lock whose number SQL cannot name; it is asked for again in each round, since
 * users' triggers may have given back the session's locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/inject.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/scan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/worker.h"
#include "nodes/advance.h"
#include "nodes/coordinator.h"
#include "nodes/load.h"
#include "nodes/notice.h"
#include "nodes/origin.h"
#include "nodes/peer.h"
#include "nodes/prune.h"

PG_FUNCTION_INFO_V1(pointstore_drive_movements);
PG_FUNCTION_INFO_V1(pointstore_coordinator_alive);

#define COORDINATOR_LOCK_KIND 19	/* field of an advisory lock tag, which users' numbers do not reach */
#define LOOK_INTERVAL 1000		/* ms, between two looks for what nobody has told, such as transactions that were prepared */
#define IDLE_INTERVAL 5000		/* the same where nothing is under way */
#define RELOAD_SHARE 10			/* reading again what was decided takes so much of the time: one part in ten */
#define FULL_INTERVAL 60000		/* ms, between two looks at all that is not finished */
#define SWEEP_INTERVAL 1000		/* the same while transactions from before the first look are running */
#define KEEP_INTERVAL 10000		/* ms, between two times that the row of the store is written */
#define IDLE_LOOK 10000			/* ms, between two looks whether it is needed */
#define FIRST_PAUSE 500			/* ms, after an error; twice as long after each further one */
#define LONGEST_PAUSE 15000
#define REST "PointstoreCoordinatorMain"

typedef struct Coordinator
{
	LiveSet		set;
	StoreIdentity identity;
	Sender		sender;
	Advance		advance;
	MemoryContext context;		/* lives as long as it */
	MemoryContext cycle;		/* lives as long as a round */
	bool		is_known;		/* the store's identity was read */
	bool		is_here;		/* there is a store, as the last step has seen it */
	bool		is_needed;
	uint64		started;		/* what was told, before the last look */
	uint64		changed;
	TimestampTz looked_at;
	TimestampTz all_looked_at;
	TimestampTz reload_after;	/* what was decided by others is not read again before */
	TimestampTz kept_at;
	TimestampTz needed_at;
	int64		kept_incarnation;	/* below what all have finished, as it stands in the row of the store */
	int64		kept_below;
	WaitEventSet *events;
	uint64		events_of;		/* changes of links that they are of */
	int			nevents;
} Coordinator;

static bool is_on = true;
static int	batch = 100;
static int	connections = 1;
static int	timeout = 30000;
static int	prepared_limit = 60;

static void begin(Coordinator *coordinator);
static void end(Coordinator *coordinator);
static void drive_until_error(Coordinator *coordinator);
static bool go_round(Coordinator *coordinator, bool (*step) (Coordinator *coordinator));
static bool wants_step(Coordinator *coordinator);
static bool wants_reload(Coordinator *coordinator);
static TimestampTz next_look(Coordinator *coordinator);
static bool step_of_worker(Coordinator *coordinator);
static void worker_step(void *arg);
static bool step_of_procedure(Coordinator *coordinator);
static void do_step(Coordinator *coordinator);
static void do_work(Coordinator *coordinator);
static void know_store(Coordinator *coordinator);
static void know_below(Coordinator *coordinator);
static void check_incarnation(const Coordinator *coordinator);
static void look(Coordinator *coordinator);
static void keep_finished(Coordinator *coordinator);
static bool look_if_needed(void);
static void await_confirmed(void);
static void await_standbys(XLogRecPtr lsn);
static void sleep_until_due(Coordinator *coordinator);
static void renew_events(Coordinator *coordinator);
static bool is_at_rest(Coordinator *coordinator);

/* Called once when the library is loaded. */
void
pointstore_coordinator_init(void)
{
	DefineCustomBoolVariable("pointstore.coordinator",
							 "Whether a worker drives the movements of pointstore.databases.",
							 NULL, &is_on, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.movement_batch",
							"How many messages go to another store in one round trip.",
							NULL, &batch, 100, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.movement_connections",
							"How many connections there may be to one server.",
							NULL, &connections, 1, 1, 16, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.movement_timeout",
							"How long the answer to a round trip is waited for.",
							NULL, &timeout, 30000, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.prepared_limit",
							"After how long a movement by 2pc that is not decided is cancelled, however far its deadline is: its accounts are locked.",
							NULL, &prepared_limit, 60, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* Whether there are to be coordinators. */
bool
pointstore_coordinator_is_on(void)
{
	return is_on;
}

/* coordinator_alive() */
Datum
pointstore_coordinator_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pointstore_coordinator_is_alive());
}

/* What a worker does that is told to drive movements: returns when there are none to be driven any more. */
void
pointstore_run_coordinator(void)
{
	Coordinator coordinator;
	long		pause = FIRST_PAUSE;

	if (!pointstore_coordinator_begin())
		return;
	for (;;)
	{
		TimestampTz since = GetCurrentTimestamp();

		if (!is_on || !pointstore_is_only(COORDINATOR_LOCK_KIND, 0))
			return;
		begin(&coordinator);
		drive_until_error(&coordinator);
		end(&coordinator);
		if (!coordinator.is_here || !coordinator.is_needed)
			return;
		pause = TimestampDifferenceExceeds(since, GetCurrentTimestamp(), LONGEST_PAUSE) ? FIRST_PAUSE : Min(2 * pause, LONGEST_PAUSE);
		pointstore_rest(pause, REST);
	}
}

/* Returns where a step has failed, or it is not needed any more. */
static void
drive_until_error(Coordinator *coordinator)
{
	while (is_on && pointstore_is_only(COORDINATOR_LOCK_KIND, 0))
	{
		(void) pointstore_worker_reload();
		if (synchronous_commit < SYNCHRONOUS_COMMIT_ON)
			SetConfigOption("synchronous_commit", "on", PGC_SUSET, PGC_S_OVERRIDE);
		if (!go_round(coordinator, step_of_worker))
			return;
		if (!coordinator->is_here || !coordinator->is_needed)
			return;
		pointstore_heed_signals();
	}
}

/* drive_movements(): until nothing is under way that need not wait. */
Datum
pointstore_drive_movements(PG_FUNCTION_ARGS)
{
	Coordinator coordinator;
	LOCKTAG		tag;

	pointstore_begin_procedure(fcinfo, "drive_movements()");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* what the caller has done may fail at its commit: no lock is left behind then */
	pointstore_last_step();
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, COORDINATOR_LOCK_KIND);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		ereport(NOTICE,
				(errmsg("another session drives the movements of this store")));
		SPI_finish();
		PG_RETURN_VOID();
	}
	begin(&coordinator);
	PG_TRY();
	{
		while (go_round(&coordinator, step_of_procedure) && !is_at_rest(&coordinator))
			CHECK_FOR_INTERRUPTS();
	}
	PG_FINALLY();
	{
		end(&coordinator);
		if (pointstore_holds_lock(&tag, ExclusiveLock))
			(void) LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}

/* Whether all that is left waits for a time, or for a store that does not answer. */
static bool
is_at_rest(Coordinator *coordinator)
{
	TimestampTz next;

	if (!coordinator->is_here)
		return true;
	if (coordinator->set.ndirty > 0 || coordinator->set.has_stale || pointstore_peers_are_busy())
		return false;
	(void) pointstore_live_timers(&coordinator->set, GetCurrentTimestamp(), &next);
	return coordinator->set.ndirty == 0 && next > TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_INTERVAL) &&
		!pointstore_peers_are_busy();
}

static void
begin(Coordinator *coordinator)
{
	memset(coordinator, 0, sizeof(Coordinator));
	coordinator->context = AllocSetContextCreate(TopMemoryContext, "pointstore coordinator", ALLOCSET_DEFAULT_SIZES);
	coordinator->cycle = AllocSetContextCreate(coordinator->context, "pointstore coordinator's round", ALLOCSET_DEFAULT_SIZES);
	coordinator->is_here = coordinator->is_needed = true;
	pointstore_peers_begin();
	pointstore_lives_begin(&coordinator->set, pointstore_peer_queue);
}

static void
end(Coordinator *coordinator)
{
	if (coordinator->events != NULL)
		FreeWaitEventSet(coordinator->events);
	pointstore_leave_place();
	pointstore_peers_end(&coordinator->set);
	pointstore_lives_end(&coordinator->set);
	MemoryContextDelete(coordinator->context);
}

/* A round: what has come, a step where one is wanted, what is to be sent; then sleeps. False: the step has failed. */
static bool
go_round(Coordinator *coordinator, bool (*step) (Coordinator *coordinator))
{
	PeerLimits	limits = {.batch = batch, .connections = connections, .timeout = timeout};
	MemoryContext old;
	TimestampTz next;

	MemoryContextReset(coordinator->cycle);
	old = MemoryContextSwitchTo(coordinator->cycle);
	(void) pointstore_peers_poll(&coordinator->set);
	(void) pointstore_live_timers(&coordinator->set, GetCurrentTimestamp(), &next);
	if (wants_step(coordinator))
	{
		if (!step(coordinator))
		{
			MemoryContextSwitchTo(old);
			return false;
		}
		MemoryContextSwitchTo(coordinator->cycle);
		await_confirmed();
		pointstore_advance_committed(&coordinator->advance);
	}
	if (coordinator->is_known)
		pointstore_peers_send(&coordinator->set, &coordinator->sender, &limits);
	MemoryContextSwitchTo(old);
	if (coordinator->is_here && coordinator->is_needed)
		sleep_until_due(coordinator);
	return true;
}

static bool
wants_step(Coordinator *coordinator)
{
	return !coordinator->is_known || coordinator->set.ndirty > 0 || coordinator->set.has_stale || pointstore_peers_want_step() ||
		coordinator->started != pointstore_movements_started() || wants_reload(coordinator) || GetCurrentTimestamp() >= next_look(coordinator);
}

/* Whether somebody has decided, and it is time to look which. */
static bool
wants_reload(Coordinator *coordinator)
{
	return coordinator->changed != pointstore_movements_changed() && GetCurrentTimestamp() >= coordinator->reload_after;
}

/* When to look for what nobody tells. */
static TimestampTz
next_look(Coordinator *coordinator)
{
	bool		idle = pointstore_lives_count(&coordinator->set) == 0 && coordinator->set.ngaps == 0 && !coordinator->set.sweeps;

	return TimestampTzPlusMilliseconds(coordinator->looked_at, idle ? IDLE_INTERVAL : LOOK_INTERVAL);
}

/* A worker's step is a transaction of its own, whose error is logged. */
static bool
step_of_worker(Coordinator *coordinator)
{
	ErrorData  *error;

	pgstat_report_activity(STATE_RUNNING, "pointstore: driving movements");
	error = pointstore_in_transaction(worker_step, coordinator, true);
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return error == NULL;
}

static void
worker_step(void *arg)
{
	Coordinator *coordinator = arg;

	coordinator->is_here = OidIsValid(get_extension_oid("pointstore", true)) && pointstore_store_exists();
	if (!coordinator->is_here)
		return;
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	do_step(coordinator);
	SPI_finish();
}

/* A procedure's is committed inside its call; its errors end that. */
static bool
step_of_procedure(Coordinator *coordinator)
{
	do_step(coordinator);
	return true;
}

/* In a non-atomic SPI connection; as the owner, restricted, and committed when it returns. */
static void
do_step(Coordinator *coordinator)
{
	PointstoreScope scope;

	pointstore_next_step();
	if (synchronous_commit < SYNCHRONOUS_COMMIT_ON)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	pointstore_act_as_verifier(&scope);
	/* rows are found by their keys, however many there are */
	pointstore_set_option("enable_seqscan", "off");
	pointstore_set_option("enable_hashjoin", "off");
	pointstore_set_option("enable_mergejoin", "off");
	pointstore_set_option("jit", "off");
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(coordinator->cycle);
	if (pointstore_store_is_whole())
		do_work(coordinator);
	else
		coordinator->is_here = false;
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
	pointstore_last_step();
	if (coordinator->advance.nwritten > 0)
		POINTSTORE_INJECT("coordinator-decided");
}

/* What was told is noted before it is looked for: what comes meanwhile is looked for again. */
static void
do_work(Coordinator *coordinator)
{
	memset(&coordinator->advance, 0, sizeof(Advance));
	coordinator->advance.set = &coordinator->set;
	if (!coordinator->is_known)
		know_store(coordinator);
	look(coordinator);
	pointstore_peers_step(&coordinator->sender);
	/* what it comes to is needed after the SPI connection, whose memory a statement leaves us in */
	MemoryContextSwitchTo(coordinator->cycle);
	pointstore_advance(&coordinator->advance, &coordinator->set, &coordinator->identity);
	keep_finished(coordinator);
	pointstore_prune_movements();
}

/*
 * Who this store is to others, and what it has told them to be finished. The row is written, so that the step's commit comes after
 * those of all that it reads, which so are flushed with it and confirmed.
 */
static void
know_store(Coordinator *coordinator)
{
	MemoryContext old = MemoryContextSwitchTo(coordinator->context);
	char		host[256] = "";

	pointstore_know_store(&coordinator->identity);
	(void) gethostname(host, sizeof(host) - 1);
	MemoryContextSwitchTo(coordinator->context);
	coordinator->sender.store = pointstore_store_name(&coordinator->identity);
	coordinator->sender.name = psprintf("%s@%s", get_database_name(MyDatabaseId), host);
	coordinator->sender.incarnation = coordinator->identity.incarnation;
	MemoryContextSwitchTo(old);
	if (!pointstore_is_distributed())
		know_below(coordinator);
	coordinator->is_known = true;
}

static void
know_below(Coordinator *coordinator)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.movement_store SET finished_below = finished_below WHERE only_one RETURNING"
		" CAST(finished_incarnation AS pg_catalog.int8), CAST(finished_below AS pg_catalog.int8)"
	};
	bool		isnull;

	pointstore_execute(&plan, NULL, NULL, false);
	if (SPI_processed > 0)
	{
		coordinator->kept_incarnation = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		coordinator->kept_below = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	coordinator->sender.below_incarnation = coordinator->kept_incarnation;
	coordinator->sender.below = coordinator->kept_below;
}

/*
 * Of a distributed store another node may have begun an incarnation, 55000: what is known here is of an earlier one. What is read, and may have come
 * from another node, is flushed with this step.
 */
static void
check_incarnation(const Coordinator *coordinator)
{
	StoreIdentity now;

	if (!pointstore_is_distributed())
		return;
	pointstore_know_store(&now);
	if (now.incarnation != coordinator->identity.incarnation)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("another node has begun incarnation %lld of the store", (long long) now.incarnation)));
	(void) pointstore_mark_wal(true);
}

/* Looks for movements that are new, or were decided. */
static void
look(Coordinator *coordinator)
{
	TimestampTz now = GetCurrentTimestamp();
	LiveSet    *set = &coordinator->set;
	uint64		started = pointstore_movements_started();
	uint64		changed = pointstore_movements_changed();
	bool		is_due = now >= next_look(coordinator);
	bool		all = !set->is_loaded || TimestampDifferenceExceeds(coordinator->all_looked_at, now, set->sweeps ? SWEEP_INTERVAL : FULL_INTERVAL);

	check_incarnation(coordinator);
	set->prepared_limit = prepared_limit;
	if (set->is_loaded && (wants_reload(coordinator) || set->has_stale || all))
	{
		pointstore_reload_lives(set, coordinator->identity.incarnation);
		coordinator->changed = changed;
		coordinator->reload_after = GetCurrentTimestamp() + RELOAD_SHARE * (GetCurrentTimestamp() - now);
	}
	if (started != coordinator->started || is_due || all)
	{
		pointstore_load_lives(set, coordinator->identity.incarnation, all);
		coordinator->looked_at = now;
	}
	if (all)
	{
		if (coordinator->all_looked_at == 0)
			coordinator->changed = changed;
		coordinator->all_looked_at = now;
	}
	coordinator->started = started;
	if (pointstore_lives_count(set) == 0 && TimestampDifferenceExceeds(coordinator->needed_at, now, IDLE_LOOK))
	{
		coordinator->is_needed = look_if_needed();
		coordinator->needed_at = now;
	}
}

/* Below what all movements have finished: told to others, and now and then written down. */
static void
keep_finished(Coordinator *coordinator)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.movement_store SET finished_incarnation = $1, finished_below = $2 WHERE only_one",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	TimestampTz now = GetCurrentTimestamp();
	Sender	   *sender = &coordinator->sender;
	Datum		values[2];
	int64		incarnation;
	int64		below;

	if (pointstore_is_distributed() || !TimestampDifferenceExceeds(coordinator->kept_at, now, KEEP_INTERVAL))
		return;
	coordinator->kept_at = now;
	if (pointstore_lives_lowest(&coordinator->set, coordinator->identity.incarnation, &incarnation, &below) &&
		(incarnation > sender->below_incarnation || (incarnation == sender->below_incarnation && below > sender->below)))
	{
		sender->below_incarnation = incarnation;
		sender->below = below;
	}
	if (sender->below_incarnation == coordinator->kept_incarnation && sender->below == coordinator->kept_below)
		return;
	values[0] = Int64GetDatum(sender->below_incarnation);
	values[1] = Int64GetDatum(sender->below);
	pointstore_execute(&plan, values, NULL, false);
	coordinator->kept_incarnation = sender->below_incarnation;
	coordinator->kept_below = sender->below;
}

/* Whether there is anything that movements could go to: other stores, or nodes. */
static bool
look_if_needed(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid" EQ "s.srvfdw"
		" WHERE w.fdwname" EQ "'pointstore')"
	};
	bool		isnull;

	if (pointstore_is_distributed())
		return true;
	pointstore_execute(&plan, NULL, NULL, true);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * The step's commit was flushed, and so was that of each movement that it has read (notice.c). Where standbys have to confirm
 * them, the commits have waited for these, unless a wait was cancelled: then it is waited for again.
 */
static void
await_confirmed(void)
{
	int			before = synchronous_commit;

	/* a procedure's session has its own */
	if (before < SYNCHRONOUS_COMMIT_ON)
		assign_synchronous_commit(synchronous_commit = SYNCHRONOUS_COMMIT_ON, NULL);
	PG_TRY();
	{
		await_standbys(pointstore_flushed_lsn());
	}
	PG_FINALLY();
	{
		if (before < SYNCHRONOUS_COMMIT_ON)
			assign_synchronous_commit(synchronous_commit = before, NULL);
	}
	PG_END_TRY();
}

static void
await_standbys(XLogRecPtr lsn)
{
	bool		confirmed = false;

	while (!confirmed && SyncRepRequested() && SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0')
	{
		int			mode = synchronous_commit == SYNCHRONOUS_COMMIT_REMOTE_APPLY ? SYNC_REP_WAIT_APPLY : SYNC_REP_WAIT_FLUSH;

		pointstore_await_standbys(lsn);
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(SyncRepLock, LW_SHARED);
		confirmed = WalSndCtl->lsn[mode] >= lsn;
		LWLockRelease(SyncRepLock);
		(void) pointstore_worker_reload();
	}
}

/* Until a socket has something, something is told, or something is due. */
static void
sleep_until_due(Coordinator *coordinator)
{
	static uint32 wait_event = 0;
	WaitEvent	event;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;
	TimestampTz due;

	(void) pointstore_live_timers(&coordinator->set, now, &next);
	if (wants_step(coordinator))
		return;
	due = Min(Min(next, pointstore_peers_due()), next_look(coordinator));
	if (coordinator->changed != pointstore_movements_changed())
		due = Min(due, coordinator->reload_after);
	if (due <= now)
		return;
	renew_events(coordinator);
	(void) WaitEventSetWait(coordinator->events, TimestampDifferenceMilliseconds(now, due), &event, 1, pointstore_wait_event(&wait_event, REST));
	ResetLatch(MyLatch);
}

/* A set of events has the sockets that were there when it was made. */
static void
renew_events(Coordinator *coordinator)
{
	uint64		changes = pointstore_link_changes();
	int			n = pointstore_peers_links() + 2;

	if (coordinator->events != NULL && coordinator->events_of == changes && coordinator->nevents == n)
		return;
	if (coordinator->events != NULL)
		FreeWaitEventSet(coordinator->events);
	coordinator->events = pointstore_create_wait_event_set(TopMemoryContext, n);
	(void) AddWaitEventToSet(coordinator->events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	(void) AddWaitEventToSet(coordinator->events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	pointstore_peers_await(coordinator->events);
	coordinator->events_of = changes;
	coordinator->nevents = n;
}
