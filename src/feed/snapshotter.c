/*-------------------------------------------------------------------------
 *
 * src/feed/snapshotter.c
 *		The background worker that takes snapshots: one for each database of pointstore.databases, as long as
 *		that has a kind with reducer and snapshot_every.
 *
 * Nothing is written per event. It reads the feed, a page of PAGE_POSITIONS positions at most, once a second at most, and looks at
 * accounts that have come to a version which is a multiple of their kind's snapshot_every. A kind that is new, or
 * whose reducer, upcasters or numbers have changed, has all its accounts gone through besides, a slice in each round, so
 * that no kind waits for another's. How far it is stands in snapshot_progress.
 *
 * Each account is a step of its own, of so many events (snapshot.c) and of pointstore.snapshot_timeout at most. The place is moved past it and
 * committed before its reducer is called: one by which the process ends is not the first thing that the next
 * process does: so the first of a process is flushed. What a go has not finished, or somebody else's lock or cancellation has broken off, is found when the kind is gone through once more. An account
 * whose reducer fails is passed over, for a while that gets longer, and so is a kind of which several fail in a row.
 * No lock of accounts is taken. Commits are asynchronous: what a crash loses is taken again.
 *
 * The session is a role without any rights: a superuser's reducer in a superuser's store, which is called as the role of the
 * session, is called as that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
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
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/decision.h"
#include "feed/page.h"
#include "feed/sequence.h"
#include "feed/signal.h"
#include "feed/snapshot.h"
#include "feed/snapshotter.h"
#include "feed/state.h"
#include "ground/identity.h"
#include "ground/limit.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/worker.h"

#define SNAPSHOTTER_LOCK_KIND 17	/* field of an advisory lock tag, which users' numbers do not reach */
#define DUE_AT_ONCE 200			/* accounts of a page */
#define SWEEP_ACCOUNTS "1000"	/* looked at in a slice */
#define LONGEST_SWEEP 1000		/* ms, after which a slice ends */
#define UNWRITTEN 100000		/* positions that it may be ahead of what is written, with nothing due */
#define BUSY_PAUSE 50			/* ms, between two rounds while there is more to do */
#define ROUND_PAUSE 1000		/* ms, between two rounds else */
#define IDLE_TIMEOUT 10000		/* ms, between two looks while the feed does not move */
#define FIRST_PAUSE 1000		/* ms, after an error; twice as long after each further one */
#define LONGEST_PAUSE 300000
#define REST "PointstoreSnapshotter"
#define PATIENCE 3				/* failures in a row, after which a kind pauses */
#define LOG_INTERVAL 60000		/* ms, between two lines of the log about reducers that fail */

/* A kind with snapshots. */
typedef struct SnapshotKind
{
	StateAccount like;			/* kind, reducer, reducer_version: any of its accounts */
	int64		every;
	char	   *stamp;			/* NULL: its reducer cannot be called */
	char	   *upto;			/* of the accounts that are gone through; NULL: none are */
} SnapshotKind;

/* An account that may be due. */
typedef struct DueAccount
{
	text	   *id;
	int64		position;
} DueAccount;

/* What a look has found. */
typedef struct Survey
{
	SnapshotKind *kinds;
	int			nkinds;
	int64		head;
	int64		reached;		/* the least that is written of all kinds */
	DueAccount *due;
	int			ndue;
	int64		read_to;
} Survey;

/* An account's go. */
typedef struct Attempt
{
	const Survey *survey;
	text	   *id;
	const SnapshotKind *kind;	/* NULL: it has none of ours */
	bool		more;
} Attempt;

/* What is written of how far it is. */
typedef struct Progress
{
	PointstorePlan *plan;
	Datum	   *values;
	const char *nulls;
} Progress;

static int	snapshot_timeout = 10000;	/* ms */
static int64 looked_to = 0;		/* position up to which this process has looked */

static bool survey_store(void *arg);
static bool read_kinds(Survey *survey);
static bool read_stamp(void *arg);
static void read_progress(Survey *survey);
static void begin_kind(const Survey *survey, const SnapshotKind *kind);
static void forget_kinds(const Survey *survey);
static void read_due(Survey *survey);
static bool is_multiple(const FeedEvent *event, TupleDesc desc, void *arg);
static bool work(const Survey *survey);
static void move_position(int64 position);
static void move_upto(const SnapshotKind *kind, const char *upto);
static void mark_again(const char *kind);
static void write_progress(PointstorePlan *plan, Datum *values, const char *nulls);
static bool write_it(void *arg);
static void sweep(const Survey *survey, SnapshotKind *kind);
static bool read_slice(void *arg);
static void try_account(const Survey *survey, text *id);
static void bring_in_steps(void *arg);
static void bring_account(Attempt *attempt);
static const SnapshotKind *find_kind(const Survey *survey, const char *name);
static uint32 hash_name(char sort, const char *name);
static void log_failure(text *id, const ErrorData *error, bool timed_out);
static void rest(const Survey *survey, bool busy);

/* Called once when the library is loaded. */
void
pointstore_snapshotter_init(void)
{
	DefineCustomIntVariable("pointstore.snapshot_timeout",
							"How long the worker's reducer may take over 10,000 events of an account before it is cancelled; 0 turns that off.",
							NULL, &snapshot_timeout, 10000, 0, INT_MAX / 2, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* What a worker does that is told to take snapshots: returns when there is nothing to take here. */
void
pointstore_run_snapshotter(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pointstore snapshotter", ALLOCSET_DEFAULT_SIZES);
	long		pause = FIRST_PAUSE;

	SetSessionAuthorization(ROLE_PG_READ_ALL_SETTINGS, false);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	for (;;)
	{
		Survey		survey = {0};
		bool		failed;

		(void) pointstore_worker_reload();
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		if (!pointstore_is_only(SNAPSHOTTER_LOCK_KIND, 0) || (!pointstore_look(survey_store, &survey, &failed) && !failed))
			return;
		if (failed)
		{
			pointstore_rest(pause, REST);
			pause = Min(2 * pause, LONGEST_PAUSE);
			continue;
		}
		pause = FIRST_PAUSE;
		rest(&survey, work(&survey));
	}
}

/* What there is to do. False: nothing, for as long as nobody changes a kind. */
static bool
survey_store(void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	Survey	   *survey = arg;
	int			i;

	if (!pointstore_is_sequenced() || !read_kinds(survey))
	{
		forget_kinds(survey);
		return false;
	}
	survey->head = pointstore_head();
	for (i = 0; i < survey->nkinds; i++)
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = pointstore_attempt(read_stamp, &survey->kinds[i]);
		if (error != NULL)
			log_failure(NULL, error, false);
	}
	/* what a statement leaves current is gone with the connection */
	MemoryContextSwitchTo(context);
	read_progress(survey);
	forget_kinds(survey);
	MemoryContextSwitchTo(context);
	read_due(survey);
	return true;
}

/* The kinds with snapshots. False: there are none. */
static bool
read_kinds(Survey *survey)
{
	static PointstorePlan plan = {
		.sql = "SELECT k.kind, k.reducer, CAST(coalesce(k.reducer_version, 0) AS pg_catalog.int8), CAST(k.snapshot_every AS pg_catalog.int8)"
		" FROM pointstore.account_kind k WHERE k.kind IS NOT NULL AND k.reducer IS NOT NULL AND k.snapshot_every" GT "0"
	};
	MemoryContext context = CurrentMemoryContext;
	uint64		i;

	pointstore_execute(&plan, NULL, NULL, true);
	MemoryContextSwitchTo(context);
	survey->kinds = palloc0(sizeof(SnapshotKind) * (SPI_processed + 1));
	for (i = 0; i < SPI_processed; i++)
	{
		SnapshotKind *kind = &survey->kinds[survey->nkinds++];
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;

		kind->like.aggregate_id = cstring_to_text("");
		kind->like.kind = pstrdup(SPI_getvalue(row, SPI_tuptable->tupdesc, 1));
		kind->like.reducer = pstrdup(SPI_getvalue(row, SPI_tuptable->tupdesc, 2));
		kind->like.reducer_version = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		kind->every = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 4, &isnull));
	}
	return survey->nkinds > 0;
}

/* In a subtransaction: the reducer may be gone. */
static bool
read_stamp(void *arg)
{
	SnapshotKind *kind = arg;
	MemoryContext context = CurrentMemoryContext;

	SPI_connect();
	MemoryContextSwitchTo(context);
	kind->stamp = pointstore_load_reducer(&kind->like)->stamp;
	SPI_finish();
	return false;
}

/* How far each kind is; one that is new, or another than before, begins. */
static void
read_progress(Survey *survey)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(LEAST(p.position, $4) AS pg_catalog.int8), CAST(p.upto AS pg_catalog.text), p.upto IS NULL FROM pointstore.snapshot_progress p"
		" WHERE p.kind" EQ "$1 AND p.stamp" EQ "$2 AND p.snapshot_every" EQ "$3 AND p.position IS NOT NULL LIMIT 1",
		.nargs = 4, .argtypes = {TEXTOID, TEXTOID, INT8OID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	int			i;

	survey->reached = survey->head;
	for (i = 0; i < survey->nkinds; i++)
	{
		SnapshotKind *kind = &survey->kinds[i];
		Datum		values[4] = {CStringGetTextDatum(kind->like.kind), 0, Int64GetDatum(kind->every), Int64GetDatum(survey->head)};
		char	   *upto;
		bool		isnull;

		if (kind->stamp == NULL)
			continue;
		values[1] = CStringGetTextDatum(kind->stamp);
		pointstore_execute(&plan, values, NULL, false);
		MemoryContextSwitchTo(context);
		if (SPI_processed == 0)
		{
			begin_kind(survey, kind);
			MemoryContextSwitchTo(context);
			kind->upto = pstrdup("");
			continue;
		}
		survey->reached = Min(survey->reached, DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
		upto = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		kind->upto = upto == NULL ? NULL : pstrdup(upto);
	}
}

/* A kind's accounts are all gone through; what comes after them is in the feed. */
static void
begin_kind(const Survey *survey, const SnapshotKind *kind)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.snapshot_progress AS p (kind, stamp, snapshot_every, position, upto) VALUES ($1, $2, $3, $4, '')"
		" ON CONFLICT (kind) DO UPDATE SET stamp = EXCLUDED.stamp, snapshot_every = EXCLUDED.snapshot_every, position = EXCLUDED.position,"
		" upto = EXCLUDED.upto, again = false",
		.nargs = 4, .argtypes = {TEXTOID, TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[4] = {
		CStringGetTextDatum(kind->like.kind), CStringGetTextDatum(kind->stamp), Int32GetDatum((int32) kind->every), Int64GetDatum(survey->head)
	};

	pointstore_execute(&plan, values, NULL, false);
}

/* Of kinds that have no snapshots any more, or whose reducer is gone, nothing is known: when it is there again it is a new one. */
static void
forget_kinds(const Survey *survey)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.snapshot_progress p WHERE NOT coalesce(p.kind" EQ "ANY ($1), false)",
		.nargs = 1, .argtypes = {TEXTARRAYOID}
	};
	Datum	   *names = palloc(sizeof(Datum) * (survey->nkinds + 1));
	Datum		value;
	int			n = 0;
	int			i;

	for (i = 0; i < survey->nkinds; i++)
		if (survey->kinds[i].stamp != NULL)
			names[n++] = CStringGetTextDatum(survey->kinds[i].like.kind);
	value = PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
	pointstore_execute(&plan, &value, NULL, false);
}

/* Accounts that have come to a version at which one is due, in order of the position of that, each at its last. */
static void
read_due(Survey *survey)
{
	FeedPage	page = {.upto = PG_INT64_MAX, .max_events = DUE_AT_ONCE, .wants = is_multiple, .arg = survey};
	int			i;
	int			j;

	if (looked_to > survey->head)
		looked_to = 0;
	page.after = Max(survey->reached, looked_to);
	pointstore_read_page(&page);
	survey->read_to = page.read_to;
	survey->due = palloc(sizeof(DueAccount) * (page.nevents + 1));
	for (i = 0; i < page.nevents; i++)
	{
		bool		isnull;
		text	   *id = DatumGetTextPP(heap_getattr(page.events[i].row, EV_AGGREGATE_ID + 1, page.desc, &isnull));

		for (j = i + 1; j < page.nevents; j++)
			if (pointstore_same_text(id, DatumGetTextPP(heap_getattr(page.events[j].row, EV_AGGREGATE_ID + 1, page.desc, &isnull))))
				break;
		if (j == page.nevents)
			survey->due[survey->ndue++] = (DueAccount) {.id = id, .position = page.events[i].position};
	}
}

static bool
is_multiple(const FeedEvent *event, TupleDesc desc, void *arg)
{
	const Survey *survey = arg;
	bool		isnull;
	int64		version = DatumGetInt64(heap_getattr(event->row, EV_VERSION + 1, desc, &isnull));
	int			i;

	for (i = 0; i < survey->nkinds; i++)
		if (version % survey->kinds[i].every == 0)
			return true;
	return false;
}

/* A page of the feed, and a slice of each kind that is gone through. Whether there is more to do at once. */
static bool
work(const Survey *survey)
{
	bool		busy = survey->read_to < survey->head;
	int			i;

	for (i = 0; i < survey->ndue; i++)
	{
		move_position(survey->due[i].position);
		try_account(survey, survey->due[i].id);
	}
	looked_to = survey->read_to;
	if (survey->ndue > 0 || survey->read_to - survey->reached > UNWRITTEN)
		move_position(survey->read_to);
	for (i = 0; i < survey->nkinds; i++)
	{
		SnapshotKind *kind = &survey->kinds[i];

		if (kind->upto == NULL || pointstore_is_paused(hash_name('k', kind->like.kind), PATIENCE))
			continue;
		sweep(survey, kind);
		busy |= !pointstore_is_paused(hash_name('k', kind->like.kind), PATIENCE);
	}
	return busy;
}

/* Up to there all kinds are done, or passed over. */
static void
move_position(int64 position)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.snapshot_progress SET position = $1 WHERE position" LT "$1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(position);

	write_progress(&plan, &value, NULL);
}

/* Up to there a kind's accounts have been gone through; NULL: all, and where it is to be they are so again. */
static void
move_upto(const SnapshotKind *kind, const char *upto)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.snapshot_progress SET upto = CASE WHEN $2 IS NULL AND again THEN '' ELSE $2 END, again = again AND $2 IS NOT NULL"
		" WHERE kind" EQ "$1 AND upto IS NOT NULL",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {CStringGetTextDatum(kind->like.kind), upto == NULL ? 0 : CStringGetTextDatum(upto)};

	write_progress(&plan, values, upto == NULL ? " n" : NULL);
}

/* Something of a kind was left: its accounts are gone through once more. */
static void
mark_again(const char *kind)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.snapshot_progress SET again = upto IS NOT NULL, upto = coalesce(upto, '') WHERE kind" EQ "$1"
		" AND (upto IS NULL OR NOT again)",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(kind);

	write_progress(&plan, &value, NULL);
}

/* In a transaction of its own. Where it fails the log says so, and what comes next is done all the same. */
static void
write_progress(PointstorePlan *plan, Datum *values, const char *nulls)
{
	Progress	progress = {.plan = plan, .values = values, .nulls = nulls};
	bool		failed;

	(void) pointstore_look(write_it, &progress, &failed);
}

static bool
write_it(void *arg)
{
	Progress   *progress = arg;

	pointstore_execute(progress->plan, progress->values, progress->nulls, false);
	return true;
}

/* The accounts of a slice. */
typedef struct Slice
{
	const SnapshotKind *kind;
	text	  **due;
	int			ndue;
	char	   *last;			/* NULL: there was none after the one before */
} Slice;

/* The next accounts of a kind that is gone through, for a second. */
static void
sweep(const Survey *survey, SnapshotKind *kind)
{
	Slice		slice = {.kind = kind};
	TimestampTz since = GetCurrentTimestamp();
	bool		failed;
	int			i;

	if (!pointstore_look(read_slice, &slice, &failed))
		return;
	for (i = 0; i < slice.ndue; i++)
	{
		if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), LONGEST_SWEEP) || pointstore_is_paused(hash_name('k', kind->like.kind), PATIENCE))
			return;
		move_upto(kind, text_to_cstring(slice.due[i]));
		try_account(survey, slice.due[i]);
	}
	move_upto(kind, slice.last);
}

/* Looks at the next accounts, of all kinds. */
static bool
read_slice(void *arg)
{
	static PointstorePlan plan = {
		.sql = "SELECT a.aggregate_id, coalesce(a.kind" EQ "$2 AND (a.version" MINUS "pg_catalog.mod(a.version, $4))" GT "coalesce("
		"   (SELECT s.version FROM pointstore.snapshot s JOIN pointstore.event_store e ON e.aggregate_id" EQ "s.aggregate_id AND e.version" EQ "s.version"
		"     WHERE s.aggregate_id" EQ "a.aggregate_id AND s.state IS NOT NULL AND s.stamp" EQ STAMP_WITH("$3", "e.id") " ORDER BY s.version DESC LIMIT 1), 0), false)"
		" FROM (SELECT u.aggregate_id, u.kind, CASE WHEN u.kind" EQ "$2 THEN"
		"   (SELECT v.version FROM pointstore.event_store v WHERE v.aggregate_id" EQ "u.aggregate_id ORDER BY v.version DESC LIMIT 1) END AS version"
		"   FROM (SELECT * FROM (SELECT b.aggregate_id, b.kind FROM pointstore.balance b WHERE b.aggregate_id" GT "$1 ORDER BY b.aggregate_id LIMIT " SWEEP_ACCOUNTS ") h"
		"     UNION ALL SELECT * FROM (SELECT p.aggregate_id, p.kind FROM pointstore.pure_account p WHERE p.aggregate_id" GT "$1 ORDER BY p.aggregate_id LIMIT " SWEEP_ACCOUNTS ") p"
		"     ORDER BY aggregate_id LIMIT " SWEEP_ACCOUNTS ") u OFFSET 0) a ORDER BY a.aggregate_id",
		.nargs = 4, .argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID}
	};
	Slice	   *slice = arg;
	const SnapshotKind *kind = slice->kind;
	Datum		values[4] = {
		CStringGetTextDatum(kind->upto), CStringGetTextDatum(kind->like.kind), CStringGetTextDatum(kind->stamp), Int64GetDatum(kind->every)
	};
	MemoryContext context = CurrentMemoryContext;
	uint64		i;

	pointstore_execute(&plan, values, NULL, true);
	MemoryContextSwitchTo(context);
	slice->due = palloc(sizeof(text *) * (SPI_processed + 1));
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;

		if (DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull)))
			slice->due[slice->ndue++] = cstring_to_text(SPI_getvalue(row, SPI_tuptable->tupdesc, 1));
	}
	if (SPI_processed > 0)
		slice->last = pstrdup(SPI_getvalue(SPI_tuptable->vals[SPI_processed - 1], SPI_tuptable->tupdesc, 1));
	return true;
}

/* Brings an account's snapshot up to date, or as far as a go comes, unless it has failed lately. */
static void
try_account(const Survey *survey, text *id)
{
	static bool is_first = true;
	Attempt		attempt = {.survey = survey, .id = id};
	uint32		hash = hash_name('a', text_to_cstring(id));
	ErrorData  *error;
	bool		timed_out;
	bool		blamed;

	pointstore_heed_signals();
	if (pointstore_is_paused(hash, 1))
		return;
	/* the place, or a reducer that ends the server would meet the next process at the same account */
	if (is_first)
		XLogFlush(XactLastCommitEnd);
	is_first = false;
	pgstat_report_activity(STATE_RUNNING, psprintf("pointstore: snapshot of %s", text_to_cstring(id)));
	error = pointstore_in_transaction(bring_in_steps, &attempt, false);
	timed_out = pointstore_end_limit() == LIMIT_PASSED;
	blamed = error != NULL && (timed_out || pointstore_blames_event(error->sqlerrcode));
	pointstore_worker_clean_up();
	DropAllPreparedStatements();
	(void) pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (attempt.kind == NULL && error == NULL)
		return;
	if (blamed)
		log_failure(id, error, timed_out);
	else if (error != NULL)
		QueryCancelPending = false;
	if (attempt.kind != NULL && (attempt.more || (error != NULL && !blamed)))
		mark_again(attempt.kind->like.kind);
	pointstore_note_outcome(hash, error != NULL, LONGEST_PAUSE);
	if (attempt.kind != NULL)
		pointstore_note_outcome(hash_name('k', attempt.kind->like.kind), error != NULL, LONGEST_PAUSE);
}

static void
bring_in_steps(void *arg)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_next_step();
	bring_account(arg);
	pointstore_last_step();
	SPI_finish();
}

/* The same, in a step. */
static void
bring_account(Attempt *attempt)
{
	PointstoreScope scope;
	StateAccount account;

	pointstore_act_as_verifier(&scope);
	PushActiveSnapshot(GetTransactionSnapshot());
	pointstore_read_state_account(&account, attempt->id);
	attempt->kind = account.exists && account.kind != NULL ? find_kind(attempt->survey, account.kind) : NULL;
	if (attempt->kind != NULL && pointstore_is_paused(hash_name('k', account.kind), PATIENCE))
		attempt->more = true;
	else if (attempt->kind != NULL)
	{
		pointstore_begin_limit(snapshot_timeout);
		attempt->more = pointstore_bring_snapshot(&account, attempt->kind->every);
	}
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
}

static const SnapshotKind *
find_kind(const Survey *survey, const char *name)
{
	int			i;

	for (i = 0; i < survey->nkinds; i++)
		if (survey->kinds[i].stamp != NULL && strcmp(survey->kinds[i].like.kind, name) == 0)
			return &survey->kinds[i];
	return NULL;
}

/* Accounts and kinds may have the same name. */
static uint32
hash_name(char sort, const char *name)
{
	return hash_bytes((const unsigned char *) name, strlen(name)) ^ hash_bytes_uint32(sort);
}

/* A line now and then: what one reducer fails on it may fail on a million times. */
static void
log_failure(text *id, const ErrorData *error, bool timed_out)
{
	static TimestampTz logged = 0;
	static int64 unlogged = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (logged != 0 && !TimestampDifferenceExceeds(logged, now, LOG_INTERVAL))
	{
		unlogged++;
		return;
	}
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 id == NULL ? errmsg("no snapshots are taken of a kind: %s", error->message) :
			 errmsg("no snapshot is taken of account \"%s\": %s", pointstore_cstring(id),
					timed_out ? "its reducer took longer than pointstore.snapshot_timeout" : error->message),
			 unlogged > 0 ? errdetail("There were %lld other failures since the last was logged.", (long long) unlogged) : 0,
			 error->context != NULL ? errcontext("%s", error->context) : 0));
	logged = now;
	unlogged = 0;
}

/* A second at least, then until the feed moves, or it is time to look whether a kind has changed. */
static void
rest(const Survey *survey, bool busy)
{
	pointstore_rest(busy ? BUSY_PAUSE : ROUND_PAUSE, REST);
	if (busy)
		return;
	if (pointstore_sequencer_is_alive())
		pointstore_await_head(survey->head, IDLE_TIMEOUT);
	else
		pointstore_rest(IDLE_TIMEOUT, REST);
	QueryCancelPending = false;
}
