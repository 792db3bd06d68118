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
#include "commands/prepare.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "feed/blame.h"
#include "feed/page.h"
#include "feed/project.h"
#include "feed/projector.h"
#include "feed/signal.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/worker.h"

#define LOOK_INTERVAL 1000		/* ms, between two looks while the feed does not move */
#define FIRST_PAUSE 1000		/* ms, after an error of a look; twice as long after each further one */
#define LONGEST_PAUSE 60000
#define REST "PointstoreProjectorMain"
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

/* A turn of one. */
typedef struct Turn
{
	text	   *name;
	TurnResult	result;
} Turn;

static int	workers = 2;

static bool read_round(void *arg);
static bool go_round(const Round *round, int number);
static TurnResult take_turn(text *name);
static void take_turn_in_steps(void *arg);
static void rest(int64 head);

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
		/* asked again after each turn: the session's locks end with that */
		if (!pointstore_is_only(PROJECTOR_LOCK_KIND, number))
			return;
		if (number >= workers || (!pointstore_look(read_round, &round, &failed) && !failed) || (!failed && round.slots <= number))
			return;
		if (number == 0 && Min(round.slots, workers) > 1)
			start_others(Min(round.slots, workers));
		if (failed)
		{
			pointstore_rest(pause, REST);
			pause = Min(2 * pause, LONGEST_PAUSE);
			continue;
		}
		pause = FIRST_PAUSE;
		if (!go_round(&round, number))
			rest(round.head);
		pointstore_heed_signals();
	}
}

/* The projections that run, and which of them have something to do: what waits longest first. */
static bool
read_round(void *arg)
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
	Round	   *round = arg;
	MemoryContext context = CurrentMemoryContext;
	Datum		value;
	uint64		i;

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
	return true;
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

		pointstore_heed_signals();
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
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	Turn		turn = {.name = name, .result = TURN_OFF};

	if (pointstore_is_paused(hash, 1))
		return TURN_OFF;
	pgstat_report_activity(STATE_RUNNING, psprintf("pointstore: projection %s", text_to_cstring(name)));
	pointstore_note_outcome(hash, pointstore_in_transaction(take_turn_in_steps, &turn, true) != NULL, LONGEST_PAUSE);
	pointstore_worker_clean_up();
	DropAllPreparedStatements();
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return turn.result;
}

static void
take_turn_in_steps(void *arg)
{
	Turn	   *turn = arg;

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_next_step();
	turn->result = pointstore_take_turn(turn->name);
	pointstore_last_step();
	SPI_finish();
}

/* Until the feed moves, or it is time to look again. */
static void
rest(int64 head)
{
	if (pointstore_sequencer_is_alive())
		pointstore_await_head(head, LOOK_INTERVAL);
	else
		pointstore_rest(LOOK_INTERVAL, REST);
}
