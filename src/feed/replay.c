/*-------------------------------------------------------------------------
 *
 * src/feed/replay.c
 *		verify_replay(): whether other logic makes other states, or a snapshot is not what the events come to.
 *
 * Accounts are gone through in the order of their ids, in slices of so many accounts or events, each a step of its own with
 * one snapshot. What a slice has found, and that it is done, commit together: a run that was interrupted goes on from there.
 * No lock of accounts is taken: events do not change.
 *
 * Several sessions may be at a run. A slice is cut off what is left under the lock of the run's row, which commits at once, and is a row that its
 * session has locked for as long as it is at it. A row that nobody has locked is of a session that has ended, or has put it off after so many
 * events, and goes before what is not cut yet. Where nothing is left who has come to the end waits for
 * the others' rows, takes what one of them leaves, and the last one ends the run.
 *
 * Each account is a subtransaction, so that a reducer that fails, or writes, leaves nothing behind but what is noted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "feed/state.h"
#include "ground/detail.h"
#include "ground/function.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_verify_replay);

/* A slice ends at so many accounts or, on the way, events. */
#define SLICE_ACCOUNTS	500
#define SLICE_EVENTS	20000

/* Whether an account is in a sample, by its hash: always the same ones, and those of a smaller sample too. */
#define IN_SAMPLE(id, limit) "(" HASH_OF(id) " OPERATOR(pg_catalog.&) 9223372036854775807)" LE limit

typedef struct Replay
{
	int64		run;
	char	   *kind;
	Oid			reducer;		/* InvalidOid: snapshots are compared */
	double		sample;
	/* of this slice */
	text	   *done_to;		/* the last account that was gone through */
	text	   *upto;			/* its last */
	int64		accounts;
	int64		events;
	int64		differences;
	/* of the account under way */
	text	   *id;
	Fold		before;
	Fold		after;
	int64		version;
	bool		reading;		/* its events */
	bool		in_event;		/* of that version, else between it and the next */
	bool		before_done;	/* of that version */
	bool		differs;
	const char *stamp;			/* of the snapshots that are compared */
	int64	   *snapshots;		/* their versions */
	uint64		nsnapshots;
	uint64		next;
} Replay;

static void read_arguments(FunctionCallInfo fcinfo, Replay *replay);
static void begin_run(Replay *replay, bool goes_on);
static void refuse_run(const Replay *replay);
static bool take_slice(Replay *replay, bool wait);
static bool cut_slice(const Replay *replay);
static bool move_run(const Replay *replay, PointstorePlan *plan, Datum *values, bool if_ended);
static bool end_run(const Replay *replay);
static void replay_slice(Replay *replay);
static void set_text(text **place, MemoryContext context, const char *value);
static bool lock_run(const Replay *replay, char **upto);
static int64 sample_limit(double sample);
static void replay_account(Replay *replay);
static bool compare_account(void *arg);
static bool read_snapshots(Replay *replay, const char *stamp);
static bool compare_reducers(Datum *values, bool *nulls, void *arg);
static bool compare_snapshots(Datum *values, bool *nulls, void *arg);
static bool differ(Datum a, Datum b);
static void note_difference(Replay *replay, const ErrorData *error);
static void note_progress(const Replay *replay, bool done);
static void raise_dropped(const Replay *replay);

/* verify_replay(kind, reducer, sample, run): the number of the run. */
Datum
pointstore_verify_replay(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Replay		replay = {0};
	TupleDesc	desc;
	Datum		run;
	bool		isnull = false;

	pointstore_begin_procedure(fcinfo, "verify_replay()");
	read_arguments(fcinfo, &replay);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_next_step();
	begin_run(&replay, !PG_ARGISNULL(3));
	pointstore_next_step();
	do
	{
		while (take_slice(&replay, false) || cut_slice(&replay) || take_slice(&replay, true))
			pointstore_next_step();
	} while (!end_run(&replay));
	pointstore_last_step();
	SPI_finish();
	MemoryContextSwitchTo(context);
	run = Int64GetDatum(replay.run);
	return HeapTupleGetDatum(heap_form_tuple(desc, &run, &isnull));
}

static void
read_arguments(FunctionCallInfo fcinfo, Replay *replay)
{
	replay->kind = text_to_cstring(pointstore_name(fcinfo, 0, "kind"));
	replay->reducer = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("sample must not be null")));
	replay->sample = PG_GETARG_FLOAT8(2);
	if (!(replay->sample > 0 && replay->sample <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be above 0 and not above 1, is %g", replay->sample)));
	replay->run = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	if (OidIsValid(replay->reducer))
		pointstore_require_function(replay->reducer, FUNCTION_REDUCER, GetUserId());
}

/* Begins a run, or goes on with one: 22023, 55000. */
static void
begin_run(Replay *replay, bool goes_on)
{
	static PointstorePlan insert = {
		.sql = "INSERT INTO pointstore.replay_run (kind, reducer, sample, accounts_total)"
		" SELECT k.kind, $2, $3, (SELECT pg_catalog.count(*) FROM pointstore.balance b WHERE b.kind" EQ "$1 AND " IN_SAMPLE("b.aggregate_id", "$4") ")"
		PLUS "(SELECT pg_catalog.count(*) FROM pointstore.pure_account p WHERE p.kind" EQ "$1 AND " IN_SAMPLE("p.aggregate_id", "$4") ")"
		"  FROM pointstore.account_kind k WHERE k.kind" EQ "$1 RETURNING coalesce(CAST(run AS pg_catalog.int8), 0)",
		.nargs = 4, .argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT8OID}
	};
	static PointstorePlan find = {
		.sql = "SELECT CAST(r.run AS pg_catalog.int8) FROM pointstore.replay_run r"
		" WHERE r.run" EQ "$5 AND r.kind" EQ "$1 AND coalesce(r.reducer, '')" EQ "coalesce($2, '') AND r.sample" EQ "$3 AND $4 IS NOT NULL"
		" AND r.finished_at IS NULL AND r.upto IS NOT NULL",
		.nargs = 5, .argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT8OID, INT8OID}
	};
	bool		given = OidIsValid(replay->reducer);
	Datum		values[5] = {CStringGetTextDatum(replay->kind), 0, Float8GetDatum(replay->sample), Int64GetDatum(sample_limit(replay->sample)), Int64GetDatum(replay->run)};
	PointstoreScope scope;
	bool		isnull;

	if (given)
		values[1] = CStringGetTextDatum(pointstore_function_text(replay->reducer, FUNCTION_REDUCER));
	pointstore_act_as_reader(&scope);
	pointstore_execute(goes_on ? &find : &insert, values, given ? NULL : " n   ", false);
	if (SPI_processed == 0)
		refuse_run(replay);
	replay->run = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pointstore_act_as_caller(&scope);
}

/* 22023 */
static void
refuse_run(const Replay *replay)
{
	if (replay->run == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no kind \"%s\"", replay->kind)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no run %lld of kind \"%s\" with these arguments that has not ended", (long long) replay->run, replay->kind)));
}

/* Goes through a slice that nobody is at, or waits for who is. False: there is none. */
static bool
take_slice(Replay *replay, bool wait)
{
#define FIND_SLICE "SELECT CAST(l.after AS pg_catalog.text), CAST(l.upto AS pg_catalog.text) FROM pointstore.replay_slice l" \
	" WHERE l.run" EQ "$1 ORDER BY l.upto LIMIT 1 FOR UPDATE"
	static PointstorePlan any = {.sql = FIND_SLICE " SKIP LOCKED", .nargs = 1, .argtypes = {INT8OID}};
	static PointstorePlan first = {.sql = FIND_SLICE, .nargs = 1, .argtypes = {INT8OID}};
	static PointstorePlan rest = {
		.sql = "SELECT FROM pointstore.replay_slice l WHERE l.run" EQ "$1 LIMIT 1", .nargs = 1, .argtypes = {INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = Int64GetDatum(replay->run);
	PointstoreScope scope;
	bool		found;

	pointstore_act_as_reader(&scope);
	pointstore_execute(wait ? &first : &any, &value, NULL, false);
	found = SPI_processed > 0;
	if (found)
	{
		set_text(&replay->done_to, context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
		set_text(&replay->upto, context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
		SPI_freetuptable(SPI_tuptable);
		replay_slice(replay);
	}
	else if (wait)
	{
		/* the one that was waited for is done */
		pointstore_execute(&rest, &value, NULL, false);
		found = SPI_processed > 0;
		SPI_freetuptable(SPI_tuptable);
	}
	pointstore_act_as_caller(&scope);
	return found;
}

/* Cuts the next slice off what is left, for whoever takes it first. False: nothing is left. */
static bool
cut_slice(const Replay *replay)
{
	static PointstorePlan cut = {
		.sql = "WITH near AS (SELECT a.aggregate_id, a.version FROM ("
		" SELECT b.aggregate_id, b.version FROM pointstore.balance b WHERE b.kind" EQ "$3 AND b.aggregate_id" GT "$2"
		" UNION ALL SELECT p.aggregate_id, (SELECT e.version FROM pointstore.event_store e WHERE e.aggregate_id" EQ "p.aggregate_id ORDER BY e.version DESC LIMIT 1)"
		"   FROM pointstore.pure_account p WHERE p.kind" EQ "$3 AND p.aggregate_id" GT "$2) a"
		" WHERE " IN_SAMPLE("a.aggregate_id", "$4") " ORDER BY a.aggregate_id LIMIT $5),"
		" piece AS (SELECT pg_catalog.max(n.aggregate_id) AS upto FROM (SELECT near.aggregate_id, pg_catalog.sum(coalesce(near.version, 0)) OVER w AS events,"
		"   pg_catalog.row_number() OVER w AS place FROM near WINDOW w AS (ORDER BY near.aggregate_id ROWS UNBOUNDED PRECEDING)) n"
		"   WHERE n.events" LE "$6 OR n.place" EQ "1),"
		" cut AS (INSERT INTO pointstore.replay_slice (run, after, upto) SELECT $1, $2, piece.upto FROM piece WHERE piece.upto IS NOT NULL RETURNING upto)"
		" UPDATE pointstore.replay_run SET upto = cut.upto FROM cut WHERE replay_run.run" EQ "$1",
		.nargs = 6, .argtypes = {INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[6] = {
		Int64GetDatum(replay->run), 0, CStringGetTextDatum(replay->kind), Int64GetDatum(sample_limit(replay->sample)), Int64GetDatum(SLICE_ACCOUNTS),
		Int64GetDatum(SLICE_EVENTS)
	};

	return move_run(replay, &cut, values, false);
}

/*
 * Does something with a run whose row is locked; $1 is its number, $2 gets the last account that is in a slice. Whether that did
 * anything, or, in its place, what is the answer where the run has ended. After false the row is locked no more, for who waits now.
 */
static bool
move_run(const Replay *replay, PointstorePlan *plan, Datum *values, bool if_ended)
{
	PointstoreScope scope;
	char	   *upto;
	bool		result = if_ended;

	pointstore_act_as_reader(&scope);
	if (!lock_run(replay, &upto))
	{
		values[1] = CStringGetTextDatum(upto);
		pointstore_execute(plan, values, NULL, false);
		result = SPI_processed > 0;
	}
	pointstore_act_as_caller(&scope);
	if (!result)
		pointstore_next_step();
	return result;
}

/* Locks the run's row: what comes after sees what was committed before. Whether it has ended; 55000 where it was dropped. */
static bool
lock_run(const Replay *replay, char **upto)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(r.upto AS pg_catalog.text), r.finished_at IS NOT NULL FROM pointstore.replay_run r WHERE r.run" EQ "$1 AND r.upto IS NOT NULL FOR UPDATE",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(replay->run);
	MemoryContext context = CurrentMemoryContext;
	bool		isnull;
	bool		ended;

	pointstore_execute(&plan, &value, NULL, false);
	if (SPI_processed == 0)
		raise_dropped(replay);
	ended = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	MemoryContextSwitchTo(context);
	*upto = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return ended;
}

/* Ends a run of which nothing is left. False: there is something after all. */
static bool
end_run(const Replay *replay)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.replay_run SET finished_at = pg_catalog.clock_timestamp() WHERE run" EQ "$1"
		" AND NOT EXISTS (SELECT FROM pointstore.replay_slice l WHERE l.run" EQ "$1)",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(replay->run)};

	return move_run(replay, &plan, values, true);
}

/* Goes through the accounts of a slice, or the first of them, where they have many events. */
static void
replay_slice(Replay *replay)
{
	static PointstorePlan plan = {
		.sql = "SELECT a.aggregate_id FROM ("
		" SELECT b.aggregate_id FROM pointstore.balance b WHERE b.kind" EQ "$1 AND b.aggregate_id" GT "$2 AND b.aggregate_id" LE "$4"
		" UNION ALL SELECT p.aggregate_id FROM pointstore.pure_account p WHERE p.kind" EQ "$1 AND p.aggregate_id" GT "$2 AND p.aggregate_id" LE "$4) a"
		" WHERE " IN_SAMPLE("a.aggregate_id", "$3") " ORDER BY a.aggregate_id LIMIT $5",
		.nargs = 5, .argtypes = {TEXTOID, TEXTOID, INT8OID, TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "pointstore replay", ALLOCSET_DEFAULT_SIZES);
	Datum		values[5] = {
		CStringGetTextDatum(replay->kind), PointerGetDatum(replay->done_to), Int64GetDatum(sample_limit(replay->sample)), PointerGetDatum(replay->upto),
		Int64GetDatum(SLICE_ACCOUNTS)
	};
	SPITupleTable *accounts;
	uint64		i;

	(void) pointstore_push_snapshot();
	replay->accounts = replay->events = replay->differences = 0;
	pointstore_execute(&plan, values, NULL, true);
	accounts = SPI_tuptable;
	MemoryContextSwitchTo(scratch);
	for (i = 0; i < accounts->numvals && replay->events < SLICE_EVENTS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		replay->id = cstring_to_text(SPI_getvalue(accounts->vals[i], accounts->tupdesc, 1));
		replay_account(replay);
		set_text(&replay->done_to, context, text_to_cstring(replay->id));
	}
	/* accounts may have come in between since it was cut */
	note_progress(replay, i == accounts->numvals && (i < SLICE_ACCOUNTS || pointstore_same_text(replay->done_to, replay->upto)));
	MemoryContextSwitchTo(context);
	PopActiveSnapshot();
	SPI_freetuptable(accounts);
	MemoryContextDelete(scratch);
}

static void
set_text(text **place, MemoryContext context, const char *value)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	if (*place != NULL)
		pfree(*place);
	*place = cstring_to_text(value != NULL ? value : "");
	MemoryContextSwitchTo(old);
}

/* The highest of the hashes that are in the sample. */
static int64
sample_limit(double sample)
{
	double		limit = sample * (double) PG_INT64_MAX;

	return limit >= (double) PG_INT64_MAX ? PG_INT64_MAX : (int64) limit;
}

/* Compares one account, and notes what differs. */
static void
replay_account(Replay *replay)
{
	ErrorData  *error;

	replay->before = replay->after = (Fold) {.context = CurrentMemoryContext};
	replay->version = 0;
	replay->differs = replay->before_done = replay->reading = replay->in_event = false;
	replay->accounts++;
	error = pointstore_attempt(compare_account, replay);
	/* what fails before the first event fails for every account */
	if (error != NULL && !replay->reading)
		ReThrowError(error);
	if (error != NULL && !replay->in_event)
	{
		/* an upcaster */
		replay->version++;
		replay->before_done = false;
	}
	if (error != NULL || replay->differs)
		note_difference(replay, error);
}

/* In a subtransaction, of which nothing is to stay. */
static bool
compare_account(void *arg)
{
	Replay	   *replay = arg;
	EventRange	range = {.aggregate_id = replay->id, .upto = PG_INT64_MAX, .most = PG_INT64_MAX};
	StateAccount account;
	Reducer    *reducer;

	SPI_connect();
	MemoryContextSwitchTo(replay->before.context);
	pointstore_read_state_account(&account, replay->id);
	reducer = pointstore_load_reducer(&account);
	range.upcasters = reducer->upcasters;
	if (OidIsValid(replay->reducer))
	{
		pointstore_begin_fold(&replay->before, reducer->function);
		pointstore_begin_fold(&replay->after, replay->reducer);
		replay->reading = true;
		pointstore_read_events(&range, compare_reducers, replay);
	}
	else if (read_snapshots(replay, reducer->stamp))
	{
		pointstore_begin_fold(&replay->before, InvalidOid);
		pointstore_begin_fold(&replay->after, reducer->function);
		replay->reading = true;
		pointstore_read_events(&range, compare_snapshots, replay);
	}
	SPI_finish();
	return false;
}

/* Which snapshots of the account aggregate_state() would go on from: their versions alone, for there may be many. False: none. */
static bool
read_snapshots(Replay *replay, const char *stamp)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(s.version AS pg_catalog.int8)"
		"  FROM pointstore.snapshot s JOIN pointstore.event_store e ON e.aggregate_id" EQ "s.aggregate_id AND e.version" EQ "s.version"
		" WHERE s.aggregate_id" EQ "$1 AND s.state IS NOT NULL AND s.stamp" EQ STAMP_WITH("$2", "e.id") " ORDER BY s.version",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {PointerGetDatum(replay->id), CStringGetTextDatum(stamp)};
	bool		isnull;
	uint64		i;

	pointstore_execute(&plan, values, NULL, true);
	replay->stamp = stamp;
	replay->snapshots = MemoryContextAlloc(replay->before.context, sizeof(int64) * (SPI_processed + 1));
	replay->nsnapshots = SPI_processed;
	replay->next = 0;
	for (i = 0; i < SPI_processed; i++)
		replay->snapshots[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return replay->nsnapshots > 0;
}

/* One event by both reducers. */
static bool
compare_reducers(Datum *values, bool *nulls, void *arg)
{
	Replay	   *replay = arg;
	Datum		event = pointstore_event_datum(values, nulls);

	replay->version = DatumGetInt64(values[EV_VERSION]);
	replay->events++;
	replay->in_event = true;
	replay->before_done = false;
	pointstore_fold_event(&replay->before, values, event);
	replay->before_done = true;
	pointstore_fold_event(&replay->after, values, event);
	replay->differs = differ(replay->before.state, replay->after.state);
	replay->in_event = false;
	return !replay->differs;
}

/* One event, and the snapshot at it, if there is one. */
static bool
compare_snapshots(Datum *values, bool *nulls, void *arg)
{
	Replay	   *replay = arg;

	replay->version = DatumGetInt64(values[EV_VERSION]);
	replay->events++;
	replay->in_event = true;
	pointstore_fold_event(&replay->after, values, pointstore_event_datum(values, nulls));
	replay->in_event = false;
	if (replay->snapshots[replay->next] != replay->version)
		return true;
	if (pointstore_find_snapshot(&replay->before, replay->id, replay->version, replay->stamp))
		replay->differs = replay->before_done = differ(replay->before.state, replay->after.state);
	return !replay->differs && ++replay->next < replay->nsnapshots;
}

static bool
differ(Datum a, Datum b)
{
	return compareJsonbContainers(&DatumGetJsonbP(a)->root, &DatumGetJsonbP(b)->root) != 0;
}

/* Notes the first version at which an account differs, or at which a reducer has failed. */
static void
note_difference(Replay *replay, const ErrorData *error)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.replay_difference (run, aggregate_id, version, before, after, error) VALUES ($1, $2, $3, $4, $5, $6)",
		.nargs = 6, .argtypes = {INT8OID, TEXTOID, INT8OID, JSONBOID, JSONBOID, TEXTOID}
	};
	Datum		values[6] = {
		Int64GetDatum(replay->run), PointerGetDatum(replay->id), Int64GetDatum(replay->version), replay->before.state, replay->after.state
	};
	char		nulls[] = "      ";

	nulls[3] = replay->before_done ? ' ' : 'n';
	nulls[4] = error == NULL ? ' ' : 'n';
	nulls[5] = error != NULL ? ' ' : 'n';
	if (error != NULL)
		values[5] = CStringGetTextDatum(pointstore_error_line(error->sqlerrcode, error->message));
	replay->differences++;
	pointstore_execute(&plan, values, nulls, false);
}

/* What the slice has come to: 55000 where the run was dropped. */
static void
note_progress(const Replay *replay, bool done)
{
	static PointstorePlan finish = {
		.sql = "DELETE FROM pointstore.replay_slice WHERE run" EQ "$1 AND upto" EQ "$2 AND $3 IS NOT NULL",
		.nargs = 3, .argtypes = {INT8OID, TEXTOID, TEXTOID}
	};
	static PointstorePlan put_off = {
		.sql = "UPDATE pointstore.replay_slice SET after = $3 WHERE run" EQ "$1 AND upto" EQ "$2",
		.nargs = 3, .argtypes = {INT8OID, TEXTOID, TEXTOID}
	};
	static PointstorePlan count = {
		.sql = "UPDATE pointstore.replay_run SET accounts = accounts" PLUS "$2, events = events" PLUS "$3, differences = differences" PLUS "$4 WHERE run" EQ "$1",
		.nargs = 4, .argtypes = {INT8OID, INT8OID, INT8OID, INT8OID}
	};
	Datum		place[3] = {Int64GetDatum(replay->run), PointerGetDatum(replay->upto), PointerGetDatum(replay->done_to)};
	Datum		counts[4] = {
		Int64GetDatum(replay->run), Int64GetDatum(replay->accounts), Int64GetDatum(replay->events), Int64GetDatum(replay->differences)
	};

	pointstore_execute(done ? &finish : &put_off, place, NULL, false);
	if (SPI_processed > 0)
		pointstore_execute(&count, counts, NULL, false);
	if (SPI_processed == 0)
		raise_dropped(replay);
}

static void
raise_dropped(const Replay *replay)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("run %lld was dropped", (long long) replay->run)));
}
