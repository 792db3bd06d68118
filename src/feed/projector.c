/*-------------------------------------------------------------------------
 *
 * src/feed/projector.c
 *		The background workers that run projections: pointstore.projection_workers of a database
 *		at most, as long as it has projections.
 *
 * Each goes round the projections that have something to do, and gives each of them a turn (project.c). What
 * one of them is at, another finds claimed and passes over. So a handler that is slow holds up one worker,
 * for pointstore.projection_timeout at a time, and then it is the next one's turn. One whose turn fails by an
 * error that is not its handler's pauses, and no other does.
 * Where there is nothing to do they wait for the feed to move, and look once a second whether something
 * has become due or was created, moved or resumed.
 *
 * The first worker is started by the launcher, and starts the others when there are slots for them. One that finds
 * another of its number ends: who starts them forgets those that are there when he is started anew. For a turn the
 * session is the projection's role: whatever its handler finds a way back to is that role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/prepare.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "feed/blame.h"
#include "feed/page.h"
#include "feed/project.h"
#include "feed/projector.h"
#include "feed/signal.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/worker.h"

#define LOOK_INTERVAL 1000		/* ms, between two looks while the feed does not move */
#define FIRST_PAUSE 1000		/* ms, after an error of our own; twice as long after each further one */
#define LONGEST_PAUSE 60000
#define PROJECTOR_LOCK_KIND 16	/* field of an advisory lock tag, which users' numbers do not reach */

/* What a look has found. */
typedef struct Round
{
	int64		head;
	int			slots;			/* of all projections that run */
	int			n;
	text	  **names;			/* that have something to do */
	Oid		   *roles;
} Round;

/* A projection whose turns fail. */
typedef struct Failing
{
	uint32		name;			/* by its hash */
	int			times;			/* in a row */
	TimestampTz until;
} Failing;

static int	workers = 2;
static Failing failing[64];		/* by the name, too */

static bool is_only(int number);
static bool look(Round *round, bool *failed);
static bool look_in_transaction(Round *round);
static void read_round(Round *round);
static bool go_round(const Round *round, int number);
static TurnResult take_turn(text *name);
static void note_turn(Failing *turn, uint32 name, bool failed);
static void log_error(void);
static void rest(int64 head);
static void pause_for(long timeout);

/* Called once when the library is loaded. */
void
pointstore_projector_init(void)
{
	DefineCustomIntVariable("pointstore.projection_workers",
							"How many workers of a database of pointstore.databases run projections; 0 turns them off.",
							NULL, &workers, 2, 0, MAX_PROJECTORS, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* How many there may be in a database. */
int
pointstore_projectors(void)
{
	return workers;
}

/* What a worker does that is told to run projections: returns when there are fewer of them, or none. */
void
pointstore_run_projector(int number, void (*start_others) (int n))
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pointstore projector", ALLOCSET_DEFAULT_SIZES);
	long		pause = FIRST_PAUSE;

	pointstore_heed_cancels();
	for (;;)
	{
		Round		round = {0};
		bool		failed = false;

		(void) pointstore_worker_reload();
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		if (!is_only(number))
			return;
		if (number >= workers || (!look(&round, &failed) && !failed) || (!failed && round.slots <= number))
			return;
		if (number == 0 && Min(round.slots, workers) > 1)
			start_others(Min(round.slots, workers));
		if (failed)
		{
			pause_for(pause);
			pause = Min(2 * pause, LONGEST_PAUSE);
			continue;
		}
		pause = FIRST_PAUSE;
		if (!go_round(&round, number))
			rest(round.head);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Whether no other worker of the database has that number. After a turn it is asked again: the session's locks end with that. */
static bool
is_only(int number)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, number, PROJECTOR_LOCK_KIND);
	return pointstore_holds_lock(&tag, ExclusiveLock) || LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* What there is to do. False: there is no store here, or not all of it. An error is logged. */
static bool
look(Round *round, bool *failed)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = false;

	PG_TRY();
	{
		result = look_in_transaction(round);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		log_error();
		*failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return result;
}

static bool
look_in_transaction(Round *round)
{
	MemoryContext context = CurrentMemoryContext;
	PointstoreScope scope;
	bool		result;

	StartTransactionCommand();
	result = OidIsValid(get_extension_oid("pointstore", true)) && pointstore_store_exists();
	if (result)
	{
		pointstore_begin_step();
		pointstore_act_as_verifier(&scope);
		MemoryContextSwitchTo(context);
		result = pointstore_store_is_whole();
		if (result)
			read_round(round);
		pointstore_act_as_caller(&scope);
	}
	CommitTransactionCommand();
	return result;
}

/* The projections that run, and which of them have something to do: what waits longest first. */
static void
read_round(Round *round)
{
	static PointstorePlan plan = {
		.sql = "SELECT s.name, r.oid, k.slots, k.due FROM pointstore.subscription s"
		" LEFT JOIN pg_catalog.pg_roles r ON CAST(r.rolname AS pg_catalog.text)" EQ "s.created_by,"
		" LATERAL (SELECT pg_catalog.count(*) AS slots, pg_catalog.min(c.served_at) AS served_at,"
		"   pg_catalog.bool_or((c.not_before IS NULL OR c.not_before" LE "pg_catalog.clock_timestamp())"
		"     AND (c.checkpoint" LT "$1 OR c.retry_at" LE "pg_catalog.clock_timestamp())) AS due"
		"   FROM pointstore.subscription_slot c WHERE c.subscription" EQ "s.name) k"
		" WHERE s.handler IS NOT NULL AND s.status" EQ "'running' ORDER BY k.served_at",
		.nargs = 1, .argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value;
	uint64		i;

	SPI_connect();
	round->head = pointstore_head();
	value = Int64GetDatum(round->head);
	pointstore_execute(&plan, &value, NULL, true);
	MemoryContextSwitchTo(context);
	round->names = palloc(sizeof(text *) * (SPI_processed + 1));
	round->roles = palloc(sizeof(Oid) * (SPI_processed + 1));
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		due;

		round->slots += DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		due = SPI_getbinval(row, SPI_tuptable->tupdesc, 4, &isnull);
		if (isnull || !DatumGetBool(due))
			continue;
		round->names[round->n] = cstring_to_text(SPI_getvalue(row, SPI_tuptable->tupdesc, 1));
		value = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull);
		round->roles[round->n++] = isnull ? InvalidOid : DatumGetObjectId(value);
	}
	SPI_finish();
}

/* A turn for each, workers beginning in different places. Whether anything was done. */
static bool
go_round(const Round *round, int number)
{
	bool		moved = false;
	int			i;

	for (i = 0; i < round->n; i++)
	{
		int			place = (i + number) % round->n;

		CHECK_FOR_INTERRUPTS();
		/* a projection without a role is stopped by its turn */
		if (OidIsValid(round->roles[place]))
			SetSessionAuthorization(round->roles[place], false);
		moved |= take_turn(round->names[place]) == TURN_ON;
		SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);
	}
	return moved;
}

/* A turn, and nothing is left of it in the session. An error of it is logged. */
static TurnResult
take_turn(text *name)
{
	MemoryContext context = CurrentMemoryContext;
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	Failing    *failures = &failing[hash % lengthof(failing)];
	volatile TurnResult result = TURN_OFF;
	volatile bool failed = false;

	if (failures->name == hash && failures->times > 0 && GetCurrentTimestamp() < failures->until)
		return TURN_OFF;
	pgstat_report_activity(STATE_RUNNING, psprintf("pointstore: projection %s", text_to_cstring(name)));
	PG_TRY();
	{
		StartTransactionCommand();
		SPI_connect_ext(SPI_OPT_NONATOMIC);
		pointstore_next_step();
		result = pointstore_take_turn(name);
		pointstore_last_step();
		SPI_finish();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		log_error();
		failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	note_turn(failures, hash, failed);
	pointstore_worker_clean_up();
	DropAllPreparedStatements();
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return result;
}

/* What fails again pauses twice as long. */
static void
note_turn(Failing *turn, uint32 name, bool failed)
{
	int			before = turn->name == name ? turn->times : 0;

	turn->name = name;
	turn->times = failed ? before + 1 : 0;
	turn->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(LONGEST_PAUSE, (int64) FIRST_PAUSE << Min(before, 20)));
}

static void
log_error(void)
{
	EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
}

/* Until the feed moves, or it is time to look again. */
static void
rest(int64 head)
{
	if (pointstore_sequencer_is_alive())
		pointstore_await_head(head, LOOK_INTERVAL);
	else
		pause_for(LOOK_INTERVAL);
}

static void
pause_for(long timeout)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
					 pointstore_wait_event(&wait_event, "PointstoreProjectorMain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
