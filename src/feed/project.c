/*-------------------------------------------------------------------------
 *
 * src/feed/project.c
 *		Projections are run: events are claimed, and given to the handler in batches.
 *
 * A turn claims events of one slot, a few batches of them, and commits that. Then comes a transaction for
 * each batch: it acknowledges the batch first, which locks the slot's row and shows that the claim still
 * stands, and then calls the handler. So what the handler writes and how far the projection has
 * come are committed together; and who moves, pauses or drops the projection waits for a batch, and
 * needs nothing that a handler may have locked.
 *
 * The payloads of a batch are upcast before the handler is called, and what fails of that is a failure of the batch.
 *
 * A batch that fails is halved until an event fails alone; that one is dealt with as on_failure says. Errors
 * that come of other sessions or of a shortage (40001, 40P01, 55P03, classes 57, 53 and 08) blame no event: the
 * slot is given back for a while, longer each time, and then the batches are smaller. A batch that
 * takes longer than pointstore.projection_timeout is cancelled, and cut down to find the event that takes so
 * long (blame.c). A worker that is cancelled to make way for another session has not failed: it waits
 * for a second, and its batches are smaller then. An event that fails alone by what it did not find, or found to be
 * another, is tried once more: the handler was replaced meanwhile, perhaps, or its tables were exchanged. Where a right is
 * missing, which a restore grants last, a projection that such an event would stop waits for it, with pauses, for a minute.
 * What is left of a claim after a second is given back: so the others get their turns.
 *
 * Who has a claim holds a lock of a number that stands in the claim's member. Where that can be had the claim is
 * nobody's any more, for its session has ended, and the slot is free at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/pair.h"
#include "feed/blame.h"
#include "feed/claim.h"
#include "feed/decision.h"
#include "feed/page.h"
#include "feed/project.h"
#include "feed/projection.h"
#include "feed/settle.h"
#include "feed/subscription.h"
#include "feed/upcast.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_run_projection);

#define MEMBER_LOCK 0x706a6374	/* fields of an advisory lock tag, which users' numbers do not reach */
#define MEMBER_LOCK_KIND 15
#define MEMBER "projection "

#define BATCHES_AT_ONCE 8		/* of a claim */
#define LONGEST_TURN 1000		/* ms, after which a turn claims nothing and gives back what it has */
#define FIRST_PAUSE 1000		/* ms, after an error that blames no event */
#define LONGEST_PAUSE 300000
#define TRIES_FOR_RIGHTS 6		/* of an event, with pauses of a minute in all, while the handler lacks a right */
#define SLOT_TIMEOUT "1s"		/* who moves or drops the projection has its slots locked for longer */
#define TRY_INTERVAL 20			/* ms, between two tries while others are at a slot */

typedef struct Turn
{
	text	   *name;
	text	   *member;
	MemoryContext context;		/* lives as long as the turn */
	Projection	projection;		/* as it is for the batch */
	Subscription subscription;	/* as it was claimed */
	Claim		claim;
	Datum	   *events;			/* of the claim, as they are stored */
	MemoryContext batch;		/* lives as long as a batch */
	Upcasters  *upcasters;		/* of the batch */
	int			done;			/* of those */
	int			size;			/* of the next batch, at most */
	int			suspects;		/* up to there smaller batches look for the event that fails */
	int			now;			/* events that are being tried */
	bool		acknowledged;	/* the claim stands, what fails now is the handler's */
	bool		again;			/* the next event has failed alone, and is tried once more */
	bool		over;
	Nack		nack;
	Interval	delay;			/* until it is claimed again */
	text	   *error;			/* that is noted */
} Turn;

static void run_up_to_head(text *name);
static int64 lowest_checkpoint(text *name, bool *at_rest);
static void raise_if_stopped(text *name);
static void pause_for_others(void);
static TurnResult run_turn(Turn *turn);
static void begin_membership(Turn *turn, LOCKTAG *tag);
static void end_membership(const LOCKTAG *tag);
static void set_tag(LOCKTAG *tag, uint32 number);
static void free_dead_claims(text *name);
static bool is_dead(const char *member);
static TurnResult claim(Turn *turn);
static void measure(text *name);
static void run_claim(Turn *turn);
static bool is_fit(Turn *turn);
static bool stop_unfit(void *arg);
static void run_batch(Turn *turn);
static int	next_batch(const Turn *turn, bool *replaying);
static ErrorData *try_batch(Turn *turn);
static bool project_batch(void *arg);
static Datum *upcast_batch(Turn *turn);
static void acknowledge(Turn *turn, int64 position);
static bool is_taken(const ErrorData *error);
static void give_back(Turn *turn, const ErrorData *error);
static bool release(void *arg);
static bool note_error(void *arg);
static void attempt(bool (*what) (void *), Turn *turn);
static void fail(Turn *turn, const ErrorData *error);
static bool may_be_granted(const Turn *turn, const ErrorData *error);
static bool nack(void *arg);
static text *describe(Turn *turn, const ErrorData *error);

/* run_projection(name): up to the head. 42704, 55000: it does not run. */
Datum
pointstore_run_projection(PG_FUNCTION_ARGS)
{
	text	   *name = pointstore_name(fcinfo, 0, "name");

	pointstore_begin_procedure(fcinfo, "run_projection()");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_next_step();
	run_up_to_head(name);
	pointstore_last_step();
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * Turns until nothing is left of what there is now, and nobody else is at it. What comes meanwhile
 * may be done too; accounts that are set aside are not waited for.
 */
static void
run_up_to_head(text *name)
{
	int64		head = -1;
	int64		before = -1;
	bool		at_rest = false;

	for (;;)
	{
		TurnResult	result;
		bool		was_at_rest = at_rest;
		int64		checkpoint;

		raise_if_stopped(name);
		if (head < 0)
			head = pointstore_head();
		result = pointstore_take_turn(name);
		checkpoint = lowest_checkpoint(name, &at_rest);
		if (checkpoint >= head || (result == TURN_IDLE && was_at_rest && at_rest && checkpoint == before))
			break;
		if (result == TURN_IDLE && !at_rest)
			pause_for_others();
		before = checkpoint;
	}
	raise_if_stopped(name);
}

/* How far all slots of a projection have come, and whether nobody is at one, or is to be again. */
static int64
lowest_checkpoint(text *name, bool *at_rest)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(pg_catalog.min(k.checkpoint) AS pg_catalog.int8), coalesce(pg_catalog.bool_and(k.leased_until IS NULL"
		" AND (k.not_before IS NULL OR k.not_before" LE "pg_catalog.clock_timestamp())), true)"
		" FROM pointstore.subscription_slot k WHERE k.subscription" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(name);
	int64		checkpoint;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	*at_rest = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	checkpoint = isnull ? PG_INT64_MAX : DatumGetInt64(value);
	SPI_finish();
	return checkpoint;
}

/* 42704: there is none; 55000: it does not run. */
static void
raise_if_stopped(text *name)
{
	Projection	projection;
	PointstoreScope scope;

	pointstore_act_as_verifier(&scope);
	SPI_connect();
	pointstore_require_projection(&projection, name);
	if (!projection.subscription.running)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("projection \"%s\" is %s", pointstore_cstring(name), pointstore_cstring(projection.subscription.status)),
				 errdetail("The view projection_status says why."),
				 errhint("SELECT pointstore.resume_subscription('%s');", pointstore_cstring(name))));
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/* While others are at its slots; without a transaction's snapshot. */
static void
pause_for_others(void)
{
	static uint32 wait_event = 0;

	pointstore_next_step();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TRY_INTERVAL,
					 pointstore_wait_event(&wait_event, "PointstoreProjection"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * One turn of a projection: one claim, in steps of its own. The caller is in a step, inside a non-atomic SPI
 * connection, and is in another one afterwards.
 */
TurnResult
pointstore_take_turn(text *name)
{
	MemoryContext old = CurrentMemoryContext;
	Turn		turn = {.name = name};
	TurnResult	result = TURN_IDLE;
	LOCKTAG		tag;

	turn.context = AllocSetContextCreate(CurrentMemoryContext, "pointstore turn", ALLOCSET_DEFAULT_SIZES);
	turn.batch = AllocSetContextCreate(turn.context, "pointstore batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn.context);
	free_dead_claims(name);
	begin_membership(&turn, &tag);
	PG_TRY();
	{
		result = run_turn(&turn);
	}
	PG_CATCH();
	{
		end_membership(&tag);
		PG_RE_THROW();
	}
	PG_END_TRY();
	end_membership(&tag);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(turn.context);
	return result;
}

/* Draws a number for the turn, and locks it for the session. */
static void
begin_membership(Turn *turn, LOCKTAG *tag)
{
	uint32		number;

	if (!pg_strong_random(&number, sizeof(number)))
		elog(ERROR, "could not draw a random number");
	turn->member = cstring_to_text(psprintf(MEMBER "%u", number));
	set_tag(tag, number);
	(void) LockAcquire(tag, ExclusiveLock, true, false);
}

/* A handler may have given back all locks of the session. */
static void
end_membership(const LOCKTAG *tag)
{
	if (pointstore_holds_lock(tag, ExclusiveLock))
		(void) LockRelease(tag, ExclusiveLock, true);
}

static void
set_tag(LOCKTAG *tag, uint32 number)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, MEMBER_LOCK, number, MEMBER_LOCK_KIND);
}

/* Claims of turns whose session has ended have expired. */
static void
free_dead_claims(text *name)
{
	static PointstorePlan find_plan = {
		.sql = "SELECT k.member, k.slot, k.epoch FROM pointstore.subscription_slot k WHERE k.subscription" EQ "$1"
		" AND k.leased_until" GT "pg_catalog.clock_timestamp() AND pg_catalog.starts_with(k.member, '" MEMBER "')",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	static PointstorePlan free_plan = {
		.sql = "UPDATE pointstore.subscription_slot SET leased_until = pg_catalog.clock_timestamp()"
		" WHERE (subscription, slot) OPERATOR(pg_catalog.=) (SELECT k.subscription, k.slot FROM pointstore.subscription_slot k"
		"  WHERE k.subscription" EQ "$1 AND k.slot" EQ "$2 AND k.epoch" EQ "$3 AND k.leased_until IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)",
		.nargs = 3, .argtypes = {TEXTOID, INT2OID, INT8OID}
	};
	Datum		values[3] = {PointerGetDatum(name)};
	PointstoreScope scope;
	uint64		i;

	pointstore_act_as_verifier(&scope);
	SPI_connect();
	pointstore_execute(&find_plan, values, NULL, true);
	for (i = 0; i < SPI_processed; i++)
	{
		SPITupleTable *found = SPI_tuptable;
		uint64		n = SPI_processed;
		bool		isnull;

		if (!is_dead(SPI_getvalue(found->vals[i], found->tupdesc, 1)))
			continue;
		values[1] = SPI_getbinval(found->vals[i], found->tupdesc, 2, &isnull);
		values[2] = SPI_getbinval(found->vals[i], found->tupdesc, 3, &isnull);
		pointstore_execute(&free_plan, values, NULL, false);
		SPI_tuptable = found;
		SPI_processed = n;
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/* Whether the session that has made a claim as that member has ended, or its turn. */
static bool
is_dead(const char *member)
{
	LOCKTAG		tag;

	set_tag(&tag, (uint32) strtoul(member + strlen(MEMBER), NULL, 10));
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	(void) LockRelease(&tag, ExclusiveLock, true);
	return true;
}

/* The turn, while its member's lock is held. */
static TurnResult
run_turn(Turn *turn)
{
	TurnResult	result = claim(turn);

	pointstore_next_step();
	if (turn->projection.lacks_right && turn->projection.subscription.running)
		pointstore_require_fit(&turn->projection);
	if (turn->claim.page.nevents > 0)
		run_claim(turn);
	return result;
}

/* Claims events. Turned off: the projection is gone, or does not run, or cannot. */
static TurnResult
claim(Turn *turn)
{
	Projection *projection = &turn->projection;
	TurnResult	result = TURN_OFF;
	PointstoreScope scope;

	pointstore_act_as_verifier(&scope);
	SPI_connect();
	MemoryContextSwitchTo(turn->context);
	if (pointstore_find_projection(projection, turn->name) && projection->subscription.running && is_fit(turn))
	{
		int64		before = lowest_checkpoint(turn->name, &(bool) {false});
		bool		found = pointstore_claim_events(&projection->subscription, turn->member,
													projection->subscription.batch * BATCHES_AT_ONCE, &turn->claim);

		turn->subscription = projection->subscription;
		if (found)
			turn->events = pointstore_feed_events(&turn->claim.page);
		else
			turn->claim.page.nevents = 0;
		result = found || lowest_checkpoint(turn->name, &(bool) {false}) > before ? TURN_ON : TURN_IDLE;
		if (result == TURN_ON)
			measure(turn->name);
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
	MemoryContextSwitchTo(turn->context);
	return result;
}

/* Once a second, how fast a projection gets on. */
static void
measure(text *name)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.projection SET measured_at = pg_catalog.clock_timestamp(), measured_position = c.position,"
		" rate = CASE WHEN c.position" GE "measured_position AND measured_at" GT "(pg_catalog.clock_timestamp()" MINUS "CAST('10 s' AS pg_catalog.interval))"
		"   AND measured_at" LT "pg_catalog.clock_timestamp()"
		"  THEN (c.position" MINUS "measured_position) OPERATOR(pg_catalog./)"
		"   CAST(EXTRACT(epoch FROM pg_catalog.clock_timestamp()" MINUS "measured_at) AS pg_catalog.float8) END"
		" FROM (SELECT pg_catalog.min(k.checkpoint) AS position FROM pointstore.subscription_slot k WHERE k.subscription" EQ "$1) c"
		" WHERE name" EQ "$1 AND (measured_at IS NULL OR measured_at" LT "(pg_catalog.clock_timestamp()" MINUS "CAST('1 s' AS pg_catalog.interval))"
		"   OR measured_at" GT "pg_catalog.clock_timestamp())",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(name);

	pointstore_execute(&plan, &value, NULL, false);
}

/* Whether the handler may still be called; else the projection is stopped or, for want of a right, only says so. */
static bool
is_fit(Turn *turn)
{
	if (turn->projection.unfit == NULL)
		return true;
	turn->error = cstring_to_text(turn->projection.unfit);
	attempt(turn->projection.lacks_right ? note_error : stop_unfit, turn);
	return false;
}

static bool
stop_unfit(void *arg)
{
	Turn	   *turn = arg;
	Projection *projection = &turn->projection;
	FeedDecision why = {.action = "stop", .subscription = turn->name, .error = turn->error};

	pointstore_stop_subscription(&projection->subscription, &why);
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("projection \"%s\" is stopped: %s", pointstore_cstring(turn->name), projection->unfit)));
	return true;
}

/* What was claimed, batch by batch. */
static void
run_claim(Turn *turn)
{
	TimestampTz begun = GetCurrentTimestamp();
	int			batch = turn->subscription.batch;

	/* what blamed nobody may have been too much at once */
	turn->size = Max(1, batch >> Min(turn->claim.attempt - 1, 30));
	turn->suspects = turn->size < batch ? batch : 0;
	while (!turn->over && turn->done < turn->claim.page.nevents)
	{
		if (TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), LONGEST_TURN) && turn->done > 0)
			give_back(turn, NULL);
		else
			run_batch(turn);
		pointstore_next_step();
	}
}

/* The next batch: it is done, or cut down, or the turn is over. */
static void
run_batch(Turn *turn)
{
	ErrorData  *error = try_batch(turn);
	Blame		blame;

	if (turn->over)
	{
		/* it does not run any more, or cannot; whether the claim stands does not matter */
		give_back(turn, NULL);
		return;
	}
	if (error == NULL)
	{
		turn->done += turn->now;
		turn->again = false;
		if (turn->done >= turn->suspects)
			turn->size = turn->subscription.batch;
		return;
	}
	blame = pointstore_blame(error);
	if (!turn->acknowledged && is_taken(error))
		turn->over = true;
	else if (blame == BLAME_NOBODY || blame == BLAME_HASTE)
		give_back(turn, error);
	else if (!turn->acknowledged)
		ThrowErrorData(error);	/* one of ours */
	else if (turn->now > 1)
	{
		turn->suspects = Max(turn->suspects, turn->done + turn->now);
		turn->size = Max(1, turn->now / (blame == BLAME_LENGTH ? 8 : 2));
	}
	else if (blame == BLAME_CHANGE && !turn->again)
		turn->again = true;
	else
		fail(turn, error);
}

/* How many events come next: all of them either are delivered again or are not. */
static int
next_batch(const Turn *turn, bool *replaying)
{
	const FeedEvent *events = turn->claim.page.events;
	int64		upto = turn->subscription.replay_upto;
	int			most = Min(turn->size, turn->claim.page.nevents - turn->done);
	int			n = 1;

	*replaying = events[turn->done].position <= upto;
	while (n < most && (events[turn->done + n].position <= upto) == *replaying)
		n++;
	return n;
}

/* Calls the handler with the next events, after they are acknowledged; where that fails nothing is done. */
static ErrorData *
try_batch(Turn *turn)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	pointstore_begin_batch();
	turn->now = 1;
	turn->acknowledged = false;
	turn->upcasters = NULL;
	PG_TRY();
	{
		error = pointstore_attempt(project_batch, turn);
	}
	PG_CATCH();
	{
		/* a cancellation, after which the subtransaction was rolled back */
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = resources;
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	pointstore_end_batch();
	return error;
}

/* The same, inside pointstore_attempt(). False: the projection is gone, or does not run, or cannot. */
static bool
project_batch(void *arg)
{
	Turn	   *turn = arg;
	Claim	   *claim = &turn->claim;
	Projection *projection = &turn->projection;
	PointstoreScope scope;
	bool		replaying;

	pointstore_act_as_verifier(&scope);
	SPI_connect();
	MemoryContextSwitchTo(turn->context);
	turn->over = !pointstore_find_projection(projection, turn->name) || !projection->subscription.running || projection->unfit != NULL;
	if (!turn->over)
	{
		turn->now = next_batch(turn, &replaying);
		acknowledge(turn, claim->page.events[turn->done + turn->now - 1].position);
		pointstore_limit_batch();
		pointstore_call_handler(projection, upcast_batch(turn), turn->now, replaying);
		/* a commit that fails could blame no event */
		pointstore_check_pairs();
		CHECK_FOR_INTERRUPTS();
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return !turn->over;
}

/* The next events with the newest forms of their payloads: an upcaster that fails is as a handler that does. */
static Datum *
upcast_batch(Turn *turn)
{
	MemoryContext old;
	Datum	   *events;

	MemoryContextReset(turn->batch);
	old = MemoryContextSwitchTo(turn->batch);
	(void) pointstore_push_snapshot();
	turn->upcasters = pointstore_read_upcasters();
	pointstore_upcast_as(turn->upcasters, turn->projection.role);
	events = pointstore_upcast_feed_events(turn->upcasters, turn->events + turn->done, turn->now);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	return events;
}

/* Done up to a position, when this transaction commits. 55P03 where somebody has the slot's row for longer. */
static void
acknowledge(Turn *turn, int64 position)
{
	int			level = NewGUCNestLevel();

	pointstore_set_option("lock_timeout", SLOT_TIMEOUT);
	(void) pointstore_ack_claim(&turn->projection.subscription, turn->claim.slot, turn->claim.epoch, position);
	AtEOXact_GUC(false, level);
	turn->acknowledged = true;
}

/* Whether an error says that the claim does not stand, or that somebody is about to end it: moves or drops the projection. */
static bool
is_taken(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_POINTSTORE_LEASE_LOST || error->sqlerrcode == ERRCODE_UNDEFINED_OBJECT ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * Gives the rest of the claim back: at once, or after an error for a while. Who runs it by hand and was
 * cancelled hears of it.
 */
static void
give_back(Turn *turn, const ErrorData *error)
{
	bool		makes_way = error != NULL && pointstore_blame(error) == BLAME_HASTE;
	int64		delay = makes_way ? FIRST_PAUSE : Min(LONGEST_PAUSE, (int64) FIRST_PAUSE << Min(Max(turn->claim.attempt, 1) - 1, 20));

	turn->over = true;
	if (error != NULL)
		turn->delay.time = (delay + delay / 4 * (random() % 1000) / 1000) * 1000;
	attempt(release, turn);
	if (error == NULL || makes_way)
		return;
	turn->error = describe(turn, error);
	attempt(note_error, turn);
	if (!AmBackgroundWorkerProcess())
	{
		pointstore_next_step();
		ReThrowError((ErrorData *) error);
	}
	ereport(LOG,
			(errmsg("projection \"%s\" waits for %lld ms after an error: %s", pointstore_cstring(turn->name), (long long) turn->delay.time / 1000, error->message)));
}

/*
 * Writes what became of a turn, as the store's owner, or leaves it where that would wait for somebody who is at the
 * projection, or the claim is another's.
 */
static void
attempt(bool (*what) (void *), Turn *turn)
{
	PointstoreScope scope;
	ErrorData  *failure;

	pointstore_act_as_verifier(&scope);
	pointstore_set_option("lock_timeout", SLOT_TIMEOUT);
	failure = pointstore_attempt(what, turn);
	pointstore_act_as_caller(&scope);
	if (failure != NULL && !is_taken(failure))
		ThrowErrorData(failure);
}

static bool
release(void *arg)
{
	Turn	   *turn = arg;
	bool		failed = turn->delay.time > 0;

	pointstore_release_claim(&turn->subscription, turn->claim.slot, turn->claim.epoch, failed ? &turn->delay : NULL, failed);
	return true;
}

/* The last error of a projection, for its status. */
static bool
note_error(void *arg)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription SET last_error = $2 WHERE name" EQ "$1",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	const Turn *turn = arg;
	Datum		values[2] = {PointerGetDatum(turn->name), PointerGetDatum(turn->error)};

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
	return true;
}

/* An event has failed alone: the projection stops, or goes on without its account, which is retried and parked. */
static void
fail(Turn *turn, const ErrorData *error)
{
	bool		stops = strcmp(text_to_cstring(turn->subscription.on_failure), "stop") == 0;
	int64		position = turn->claim.page.events[turn->done].position;

	turn->over = true;
	if (stops && may_be_granted(turn, error))
	{
		give_back(turn, error);
		return;
	}
	turn->nack = (Nack) {
		.slot = turn->claim.slot, .epoch = turn->claim.epoch, .position = position,
		.error = describe(turn, error), .action = stops ? "stop" : "retry"
	};
	attempt(nack, turn);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("projection \"%s\" failed at position %lld: %s", pointstore_cstring(turn->name), (long long) position, error->message),
			 error->context != NULL ? errcontext("%s", error->context) : 0));
}

/* Whether a right is missing that may be there in a minute. */
static bool
may_be_granted(const Turn *turn, const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && turn->claim.retried == NULL && turn->claim.attempt <= TRIES_FOR_RIGHTS;
}

static bool
nack(void *arg)
{
	Turn	   *turn = arg;

	pointstore_nack_claim(&turn->subscription, &turn->nack);
	return true;
}

/* An error in a line: its SQLSTATE and its message, and which upcaster has raised it. */
static text *
describe(Turn *turn, const ErrorData *error)
{
	text	   *upcasting = pointstore_upcast_error(turn->upcasters, error);

	if (upcasting == NULL || pointstore_blame(error) == BLAME_LENGTH || error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return pointstore_describe_error(error);
	return upcasting;
}
