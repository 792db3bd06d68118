/*-------------------------------------------------------------------------
 *
 * src/feed/snapshot.c
 *		States that are kept: take_snapshot(), drop_snapshots().
 *
 * A snapshot is made of what the statement sees, without any lock: events do not change, and two who take the same one write
 * the same. Its stamp was read before the first event; where a function was replaced since then the state may be of both,
 * and is not kept.
 *
 * The worker (snapshotter.c) keeps the state at versions that are multiples of the kind's snapshot_every, in goes of
 * GO_EVENTS at most: where one ends before, what it has come to is kept, to go on from. What the reducer writes
 * then is rolled back. Of an account it leaves the newest KEPT snapshots.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "feed/snapshot.h"
#include "feed/state.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_take_snapshot);
PG_FUNCTION_INFO_V1(pointstore_drop_snapshots);

#define GO_EVENTS 10000
#define KEPT "2"				/* beside the one that was just taken */

/* A go of the worker's. */
typedef struct Go
{
	const StateAccount *account;
	const Reducer *reducer;
	Fold	   *fold;
	int64		upto;
} Go;

static bool fold_go(void *arg);
static void prune(const StateAccount *account);
static void refuse_replaced(const StateAccount *account, const Reducer *reducer);
static void keep(const StateAccount *account, const Fold *fold, const char *stamp);

/* take_snapshot(aggregate_id): its version. */
Datum
pointstore_take_snapshot(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	Fold		fold = {.context = CurrentMemoryContext};
	PointstoreScope scope;
	StateAccount account;

	PreventCommandIfReadOnly("take_snapshot()");
	pointstore_act_as_reader(&scope);
	SPI_connect();
	(void) pointstore_push_snapshot();
	pointstore_read_state_account(&account, id);
	if (!account.exists)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id))));
	if (account.last > 0)
	{
		Reducer    *reducer = pointstore_load_reducer(&account);

		pointstore_begin_fold(&fold, reducer->function);
		(void) pointstore_find_snapshot(&fold, id, account.last, reducer->stamp);
		pointstore_fold_upto(&fold, id, account.last, reducer->upcasters);
		refuse_replaced(&account, reducer);
		keep(&account, &fold, reducer->stamp);
	}
	PopActiveSnapshot();
	SPI_finish();
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT64(account.last);
}

/* 40001 where a function was replaced while it was called. */
static void
refuse_replaced(const StateAccount *account, const Reducer *reducer)
{
	Reducer    *now;

	AcceptInvalidationMessages();
	now = pointstore_load_reducer(account);
	if (now->function != reducer->function || strcmp(now->stamp, reducer->stamp) != 0 || strcmp(now->rows, reducer->rows) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the reducer of account \"%s\", or an upcaster, was replaced meanwhile",
						pointstore_cstring(account->aggregate_id))));
}

/* Keeps a state, in the place of what does not fit any more. */
static void
keep(const StateAccount *account, const Fold *fold, const char *stamp)
{
	static PointstorePlan insert = {
		.sql = "INSERT INTO pointstore.snapshot AS s (aggregate_id, version, state, stamp, at)"
		" SELECT e.aggregate_id, e.version, $3, " STAMP_WITH("$4", "e.id") ", pg_catalog.clock_timestamp()"
		"   FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 AND e.version" EQ "$2"
		" ON CONFLICT (aggregate_id, version) DO UPDATE SET state = EXCLUDED.state, stamp = EXCLUDED.stamp, at = EXCLUDED.at"
		" WHERE s.stamp" NE "EXCLUDED.stamp",
		.nargs = 4, .argtypes = {TEXTOID, INT8OID, JSONBOID, TEXTOID}
	};
	static PointstorePlan delete = {
		.sql = "DELETE FROM pointstore.snapshot s WHERE s.aggregate_id" EQ "$1"
		" AND pg_catalog.split_part(s.stamp, ':', 1)" NE "$2",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[4] = {
		PointerGetDatum(account->aggregate_id), Int64GetDatum(fold->version), fold->state, CStringGetTextDatum(stamp)
	};

	pointstore_execute_of(&insert, account->aggregate_id, values, NULL, false);
	values[1] = values[3];
	pointstore_execute_of(&delete, account->aggregate_id, values, NULL, false);
}

/*
 * The worker's: keeps the state at the last version that is a multiple of every, if there is none yet from
 * there on, acting as the store's owner, inside an SPI connection. True: this go was not enough.
 */
bool
pointstore_bring_snapshot(const StateAccount *account, int64 every)
{
	Fold		fold = {.context = CurrentMemoryContext};
	Go			go = {.account = account, .fold = &fold};
	int64		goal = account->last - account->last % every;
	Reducer    *reducer;
	ErrorData  *error;

	if (goal == 0)
		return false;
	go.reducer = reducer = pointstore_load_reducer(account);
	pointstore_begin_fold(&fold, InvalidOid);
	(void) pointstore_find_snapshot(&fold, account->aggregate_id, account->last, reducer->stamp);
	if (fold.version >= goal)
		return false;
	go.upto = Min(goal, fold.version + GO_EVENTS);
	error = pointstore_attempt(fold_go, &go);
	if (error != NULL)
		ReThrowError(error);
	refuse_replaced(account, reducer);
	keep(account, &fold, reducer->stamp);
	prune(account);
	return go.upto < goal;
}

/* In a subtransaction, of which nothing stays but the state. */
static bool
fold_go(void *arg)
{
	Go		   *go = arg;
	MemoryContext old;

	SPI_connect();
	old = MemoryContextSwitchTo(go->fold->context);
	go->fold->reducer = pointstore_load_function(go->reducer->function);
	MemoryContextSwitchTo(old);
	pointstore_fold_upto(go->fold, go->account->aggregate_id, go->upto, go->reducer->upcasters);
	SPI_finish();
	return false;
}

/* Drops all but the newest snapshots of an account. */
static void
prune(const StateAccount *account)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.snapshot s WHERE s.aggregate_id" EQ "$1 AND s.version" LT
		"(SELECT o.version FROM pointstore.snapshot o WHERE o.aggregate_id" EQ "$1 ORDER BY o.version DESC LIMIT 1 OFFSET " KEPT ")",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(account->aggregate_id);

	pointstore_execute_of(&plan, account->aggregate_id, &value, NULL, false);
}

/* drop_snapshots(kind, aggregate_id): how many. Of a distributed store those of accounts here, or of one, PS013. */
Datum
pointstore_drop_snapshots(PG_FUNCTION_ARGS)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.snapshot s WHERE ($2 IS NULL OR s.aggregate_id" EQ "$2)"
		" AND ($1 IS NULL OR EXISTS (SELECT FROM pointstore.balance b WHERE b.aggregate_id" EQ "s.aggregate_id AND b.kind" EQ "$1)"
		"      OR EXISTS (SELECT FROM pointstore.pure_account p WHERE p.aggregate_id" EQ "s.aggregate_id AND p.kind" EQ "$1))",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {PG_ARGISNULL(0) ? 0 : PG_GETARG_DATUM(0), PG_ARGISNULL(1) ? 0 : PG_GETARG_DATUM(1)};
	char		nulls[] = {PG_ARGISNULL(0) ? 'n' : ' ', PG_ARGISNULL(1) ? 'n' : ' ', '\0'};
	PointstorePlacement *range = NULL;
	int64		hash = POINTSTORE_FIRST_HASH;
	PointstoreScope scope;
	int64		dropped = 0;

	PreventCommandIfReadOnly("drop_snapshots()");
	pointstore_act_as_reader(&scope);
	SPI_connect();
	if (!PG_ARGISNULL(1))
	{
		pointstore_execute_of(&plan, DatumGetTextPP(values[1]), values, nulls, false);
		dropped = SPI_processed;
	}
	else
		for (; pointstore_range_from(hash, &range); hash = pointstore_next_hash(range))
		{
			pointstore_execute_in(&plan, range, values, nulls, false);
			dropped += SPI_processed;
		}
	SPI_finish();
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT64(dropped);
}
