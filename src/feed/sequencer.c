/*-------------------------------------------------------------------------
 *
 * src/feed/sequencer.c
 *		The background worker that sequences: one for each database of pointstore.databases,
 *		as long as that has a store which gives positions itself.
 *
 * It sleeps until a backend commits events (signal.c). A run costs some tenths of a millisecond
 * of CPU and a flush, whether it gives one position or a hundred: so after a run it
 * pauses before it takes what has come meanwhile, a millisecond where events are few and up to 40
 * where there are many. How many there are is measured over a tenth of a second, so that a burst is no load.
 *
 * What fails is logged, and tried again with growing pauses. The process may be ended at any point.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "feed/sequence.h"
#include "feed/sequencer.h"
#include "feed/signal.h"
#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/worker.h"
#include "verify/index.h"

#define IDLE_TIMEOUT 60000		/* ms, between two looks while nothing is committed */
#define PASSED_TIMEOUT 1000		/* ms, the same while some shard could not be looked at, since who rolls back tells nobody */
#define PREPARED_PAUSE 10		/* ms, between two runs while a prepared transaction is known */
#define FIRST_PAUSE 1000		/* ms, after an error of the store itself; twice as long after each further one */
#define LONGEST_PAUSE 15000
#define FAILED_PAUSE 100		/* ms, between two runs while a feed has failed: it is not tried in each */
#define LOCK_TIMEOUT "100ms"	/* of a table of a shard, which another keeps from all: other shards do not wait for it */
#define RATE_WINDOW 100			/* ms, over which the rate of events is measured */

static bool is_on = true;
static bool notify = false;
static bool has_passed = false;	/* in the last run some shard was being moved */
static bool is_broken = false;	/* the last run has found no feed that it could try */
static bool is_here = true;		/* a store that gives positions itself, when the last run looked */

/* A run of one feed. */
typedef struct Step
{
	uint64		drawn;			/* in which parts of the hashes there may be events */
	int64	   *hash;			/* from where on its shard is looked for */
	bool		passed;			/* some shard could not be looked at */
	SequenceRun run;
	bool		ends;			/* there is none left */
	bool		rests;			/* it has failed, and is not tried yet */
} Step;

static uint64 take(void);
static bool sequence_guarded(uint64 drawn, SequenceRun *all, bool *failed);
static void add_run(SequenceRun *all, const SequenceRun *run);
static void sequence_in_step(void *arg);
static void report_run(const SequenceRun *before);
static bool is_sequenced_still(void);
static void wait_for_commits(const SequenceRun *run);
static int	pause_at_rate(int64 given);
static bool has_extension(void);
static void rest(long timeout);

/* Called once when the library is loaded. */
void
pointstore_sequencer_init(void)
{
	DefineCustomBoolVariable("pointstore.sequencer",
							 "Whether a worker gives the events of pointstore.databases their positions in the feed.",
							 NULL, &is_on, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pointstore.notify_feed",
							 "Whether the sequencer sends NOTIFY pointstore_feed with the head of the feed.",
							 NULL, &notify, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* Whether there are to be sequencers. */
bool
pointstore_sequencer_is_on(void)
{
	return is_on;
}

/* What a worker does that is told to sequence: returns when there is nothing to sequence here any more. */
void
pointstore_run_sequencer(void)
{
	SequenceRun run = {0};
	long		pause = FIRST_PAUSE;
	bool		failed = false;

	if (!pointstore_sequencer_begin())
	{
		ereport(LOG,
				(errmsg("this database has a sequencer, or more databases have one than there is room for")));
		return;
	}
	for (;;)
	{
		(void) pointstore_worker_reload();
		if (!is_on)
			return;
		if (!sequence_guarded(take(), &run, &failed))
			return;
		pointstore_sequencer_run_ended(failed);
		if (failed)
		{
			rest(is_broken ? pause : FAILED_PAUSE);
			pause = is_broken ? Min(2 * pause, LONGEST_PAUSE) : FIRST_PAUSE;
			continue;
		}
		pause = FIRST_PAUSE;
		if (pointstore_sequencer_watch(run.prepared) || run.more)
			pointstore_heed_signals();
		else
			wait_for_commits(&run);
	}
}

/*
 * What is committed meanwhile is taken at once, by the run after the pause. Where every commit in the
 * database counts, most have nothing for us.
 */
static void
wait_for_commits(const SequenceRun *run)
{
	if (run->given > 0 || run->prepared)
		rest(run->prepared ? PREPARED_PAUSE : pause_at_rate(run->given));
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	pointstore_sequencer_sleep(has_passed ? PASSED_TIMEOUT : IDLE_TIMEOUT);
	pointstore_heed_signals();
}

/* In which parts of the hashes there may be events; in all, from time to time, and after some shard could not be looked at. */
static uint64
take(void)
{
	static TimestampTz all = 0;
	TimestampTz now = GetCurrentTimestamp();
	uint64		drawn = pointstore_sequencer_take();

	if (!has_passed && !TimestampDifferenceExceeds(all, now, IDLE_TIMEOUT))
		return drawn;
	all = now;
	return ~UINT64CONST(0);
}

/* A run whose error is logged: of each shard that is here by itself. False: there is nothing to sequence here. */
static bool
sequence_guarded(uint64 drawn, SequenceRun *all, bool *failed)
{
	int64		hash = POINTSTORE_FIRST_HASH;
	SequenceRun total = {0};
	bool		ends = false;

	*failed = false;
	has_passed = false;
	is_here = true;
	while (is_here && !ends)
	{
		int64		from = hash;
		Step		step = {.drawn = drawn, .hash = &hash, .run = {.more = all->more, .head = all->head, .id = all->id, .last = all->last}};
		ErrorData  *error = pointstore_in_transaction(sequence_in_step, &step, true);

		if (error != NULL)
		{
			FreeErrorData(error);
			*failed = true;
			if (hash == from)
			{
				/* nor were those after it */
				has_passed = true;
				break;
			}
			pointstore_sequence_failed();
		}
		else
			add_run(&total, &step.run);
		*failed |= step.rests;
		has_passed |= step.passed;
		ends = step.ends || hash > PG_INT32_MAX;
	}
	pointstore_leave_place();
	*all = total;
	is_broken = !ends;
	return *failed || is_here;
}

static void
add_run(SequenceRun *all, const SequenceRun *run)
{
	all->given += run->given;
	all->more |= run->more;
	all->prepared |= run->prepared;
	all->head = run->head;
	all->id = run->id;
	all->last = run->last;
}

static void
sequence_in_step(void *arg)
{
	Step	   *step = arg;
	PointstoreScope scope;

	report_run(&step->run);
	step->run.more = false;
	is_here = has_extension() && pointstore_store_exists();
	if (!is_here)
		return;
	while (!(step->ends = !pointstore_next_free_place(step->hash, &step->passed)) && !pointstore_sequence_is_due(step->drawn))
		 /* the next one */ ;
	/* nobody tells when it is not moved any more */
	step->run.prepared = step->passed;
	if (step->ends)
		return;
	pointstore_begin_step();
	pointstore_act_as_verifier(&scope);
	pointstore_use_indexes();
	if (pointstore_here().is_range)
		pointstore_set_option("lock_timeout", LOCK_TIMEOUT);
	is_here = pointstore_store_is_whole() && is_sequenced_still();
	step->rests = pointstore_sequence_rests();
	if (is_here && !step->rests)
		pointstore_sequence(&step->run);
	if (is_here && notify && step->run.given > 0)
		Async_Notify("pointstore_feed", !pointstore_here().is_range ? psprintf("%lld", (long long) step->run.head) :
					 psprintf("%lld/%lld", (long long) pointstore_shard_here(), (long long) step->run.head));
	pointstore_act_as_caller(&scope);
}

/* What it does, for pg_stat_activity; and how far it is, while it catches up. */
static void
report_run(const SequenceRun *before)
{
	char		progress[100] = "";

	if (before->more)
		snprintf(progress, sizeof(progress), ", from %lld on, id %lld of %lld", (long long) before->head + 1,
				 (long long) before->id, (long long) before->last);
	pgstat_report_activity(STATE_RUNNING, psprintf("pointstore: giving positions%s", progress));
}

/* Whether the extension is there, by a function of it: a look that costs nothing. */
static bool
has_extension(void)
{
	Oid			schema = get_namespace_oid("pointstore", true);

	return OidIsValid(schema) && SearchSysCacheExists3(PROCNAMEARGSNSP, CStringGetDatum("sequence_feed"), PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(schema));
}

/* Whether the store gives positions itself, which is asked once a second. */
static bool
is_sequenced_still(void)
{
	static TimestampTz asked = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (asked != 0 && !TimestampDifferenceExceeds(asked, now, 1000))
		return true;
	asked = now;
	return pointstore_is_sequenced();
}

/* Milliseconds until the next run: the more events there are in a second, the more it takes at once. */
static int
pause_at_rate(int64 given)
{
	static TimestampTz since = 0;
	static int64 sum = 0;
	static int	pause = 1;
	long		passed = TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());
	int64		rate;

	sum += given;
	if (passed < RATE_WINDOW)
		return pause;
	/* after a sleep nothing is known */
	rate = passed > 2 * RATE_WINDOW ? 0 : sum * 1000 / passed;
	pause = rate < 1500 ? 1 : rate < 3000 ? 25 : 40;
	since = GetCurrentTimestamp();
	sum = 0;
	return pause;
}

/* Waits, whatever is committed meanwhile. */
static void
rest(long timeout)
{
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) pgstat_report_stat(false);	/* autovacuum goes by it; once a second at most */
	pointstore_rest(timeout, "PointstoreSequencerPause");
}
