/*-------------------------------------------------------------------------
 *
 * src/verify/rebuild.c
 *		Sets balance rows to what the events say.
 *
 * One account is summed after its row is locked, in a snapshot taken after the
 * lock, so no append is missed. A missing row has nothing to lock: appends
 * refuse such an account (XX001), and a backend that puts the row back second finds
 * its key taken.
 *
 * All accounts are gone through in the order of their ids, of a distributed store
 * those of one shard that is here after the other's. A batch is a
 * range of ids, few enough in rows and in events: one statement sums the
 * events of the range and compares, and only what differs there is rebuilt
 * under its lock. Then the batch commits. What differs in that statement's
 * snapshot differs indeed, since a balance and its event commit together.
 *
 * Events that are inconsistent say nothing that a row could be set to: such an account is
 * left alone unless that is asked for. And where an index may hide some, or the row,
 * the heaps are asked before anything is written (index.c).
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
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/transition.h"
#include "account/held.h"
#include "account/kind.h"
#include "account/log.h"
#include "account/opening.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "verify/index.h"
#include "verify/rules.h"
#include "verify/rebuild.h"

PG_FUNCTION_INFO_V1(pointstore_rebuild_balance);
PG_FUNCTION_INFO_V1(pointstore_rebuild_balances);

/* A batch ends at this many balance rows or, on the way, events. */
#define BATCH_ACCOUNTS	1000
#define BATCH_EVENTS	100000

/* How far rebuild_balances() is. */
typedef struct Progress
{
	int			batches;
	int64		rebuilt;
} Progress;

/* What the heaps say of a batch's accounts of which an index may hide something, in their order. */
typedef struct Doubtful
{
	HeapView   *views;
	int			done;
} Doubtful;

static void check_before_writing(const Rebuild *how, const Account *after, bool sound, Snapshot snapshot);
static bool state_by_events(const Account *before, Account *after, bool *sound);
static bool sum_events(Account *account, TimestampTz *last, bool *sound);
static void restore_rules(Account *account);
static void rebuild_place(void *arg);
static char *rebuild_batch(char *after, int64 *rebuilt);
static char *end_of_batch(char *after);
static int64 rebuild_range(char *after, char *end);
static void view_doubtful(SPITupleTable *differing, Doubtful *doubtful);
static int64 rebuild_or_warn(text *id, const HeapView *heap);
static void leave_alone(text *id, const char *why);

/* rebuild_balance(aggregate_id, force): PS008 when there is neither a row nor an event. */
Datum
pointstore_rebuild_balance(PG_FUNCTION_ARGS)
{
	text	   *id;
	Rebuild		how = {.action = "rebuild"};
	PointstoreScope scope;
	Account		before;
	Account		after;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {0};

	pointstore_check_arguments(fcinfo, 2);
	id = pointstore_name(fcinfo, 0, "aggregate_id");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("force must not be null")));
	how.force = PG_GETARG_BOOL(1);
	PreventCommandIfReadOnly("rebuild_balance()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pointstore_act_as_owner(&scope);
	values[7] = BoolGetDatum(pointstore_rebuild(id, &how, &before, &after));
	pointstore_act_as_caller(&scope);
	if (!after.exists)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id)),
				 pointstore_detail_account(id)));

	values[0] = PointerGetDatum(id);
	values[1] = Int64GetDatum(before.version);
	values[2] = Int64GetDatum(after.version);
	values[3] = Int64GetDatum(before.balance);
	values[4] = Int64GetDatum(after.balance);
	values[5] = Int64GetDatum(before.held);
	values[6] = Int64GetDatum(after.held);
	nulls[1] = nulls[3] = nulls[5] = !before.exists;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * Rebuilds one account and logs it; returns whether anything differed. Of the
 * accounts before and afterwards the names and numbers may be used; where there
 * is neither a row nor an event, after->exists is false.
 */
bool
pointstore_rebuild(text *id, const Rebuild *how, Account *before, Account *after)
{
	bool		changed = false;
	bool		done = false;

	while (!done)
	{
		Snapshot	snapshot = pointstore_push_snapshot();
		bool		sound = true;

		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(before, id, snapshot, LOCK_ACCOUNT);
		changed = state_by_events(before, after, &sound);
		if (changed)
			check_before_writing(how, after, sound, snapshot);
		done = !changed || pointstore_change_account(after);
		if (changed && done)
		{
			if (!before->exists)
				pointstore_refuse_other_mode(id, after->pure);
			pointstore_log(how->action, how->reason, before->exists ? before : NULL, after);
			after->exists = true;
		}
		pointstore_release_account(before);
		PopActiveSnapshot();
	}
	return changed;
}

/* PS011 where the events are inconsistent and that is not what the caller wants, or an index lies. */
static void
check_before_writing(const Rebuild *how, const Account *after, bool sound, Snapshot snapshot)
{
	HeapView	heap;
	Datum		id = PointerGetDatum(after->id);

	if (!sound && !how->force)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("the events of account \"%s\" are inconsistent: their versions are not 1 to n, or a balance_after does not follow from the one before",
						pointstore_cstring(after->id)),
				 pointstore_detail_account(after->id),
				 errhint("SELECT * FROM pointstore.reconcile_account('%s'); says what is wrong. rebuild_balance('%s', force => true) sets the row to their sum all the same.",
						 pointstore_cstring(after->id), pointstore_cstring(after->id))));
	if (how->unchecked)
		return;
	if (how->heap == NULL)
		pointstore_view_heaps(&id, 1, &heap);
	pointstore_refuse_lie(after->id, pointstore_find_lie(after->id, how->heap ? how->heap : &heap, snapshot));
}

/*
 * What the account's row should say, and whether that differs from what it does. The time of its last change
 * is never before its last event, nor in the future, where a clock that once was wrong has set it.
 */
static bool
state_by_events(const Account *before, Account *after, bool *sound)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz last = 0;
	bool		has_events;

	*after = *before;
	if (before->pure)
		return false;			/* what it holds is stored nowhere else */
	pointstore_find_next_expiry(after, NIL, pointstore_push_snapshot());
	PopActiveSnapshot();
	has_events = sum_events(after, &last, sound);
	if (!before->exists && !has_events)
		return false;
	pointstore_read_set_state(after, pointstore_push_snapshot());
	PopActiveSnapshot();
	if (!before->exists)
		restore_rules(after);
	after->updated_at = has_events ? Max(now, last) : now;
	return !(before->exists && before->version == after->version && before->balance == after->balance &&
			 before->held == after->held && before->incoming == after->incoming && pointstore_same_state(before->state, after->state) && before->has_expiry == after->has_expiry &&
			 (!before->has_expiry || before->next_expiry == after->next_expiry) &&
			 before->updated_at <= after->updated_at);
}

/*
 * Version, balance, held and, where there are any, the state by the events, when the last was created, and whether they are consistent, in a
 * snapshot newer than the lock. False: no event.
 */
static bool
sum_events(Account *account, TimestampTz *last, bool *sound)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(pg_catalog.max(version), 0), coalesce(CAST(pg_catalog.sum(amount) AS pg_catalog.int8), 0),"
		" coalesce(CAST(pg_catalog.sum(held) AS pg_catalog.int8), 0), pg_catalog.max(created_at),"
		" (pointstore.digest(version, amount, held, balance_after, 0, 0, $2)).sound,"
		" (SELECT e.state_after FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 ORDER BY e.version DESC LIMIT 1),"
		/* what cannot be told by the events is by the steps that are open */
		" CAST(CASE WHEN pg_catalog.sum(" INCOMING_OF("v") ")" EQ "'NaN' THEN (SELECT pg_catalog.sum(d.amount) FROM pointstore.participant_step d"
		"   WHERE d.aggregate_id" EQ "$1 AND d.status" EQ "'tried' AND d.amount" GT "0) ELSE pg_catalog.sum(" INCOMING_OF("v") ") END AS pg_catalog.int8)"
		" FROM pointstore.event_store v WHERE aggregate_id" EQ "$1",
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2];
	MemoryContext context = CurrentMemoryContext;
	int64		key;
	HeapTuple	row;
	TupleDesc	desc;
	char	   *state;
	bool		isnull;

	if (!pg_strong_random(&key, sizeof(key)))
		elog(ERROR, "could not draw a random key");
	values[0] = PointerGetDatum(account->id);
	values[1] = Int64GetDatum(key);
	SPI_connect();
	pointstore_execute_of(&plan, account->id, values, NULL, false);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	account->version = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	account->balance = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
	account->held = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
	account->incoming = DatumGetInt64(SPI_getbinval(row, desc, 7, &isnull));
	*sound = DatumGetBool(SPI_getbinval(row, desc, 5, &isnull)) || isnull;
	state = SPI_getvalue(row, desc, 6);
	if (state != NULL)
		state = MemoryContextStrdup(context, state);
	*last = DatumGetTimestampTz(SPI_getbinval(row, desc, 4, &isnull));
	SPI_finish();
	if (!isnull)
		account->state = state == NULL ? NULL : pointstore_some_state(cstring_to_text(state));
	return !isnull;
}

/* The kind and status of a missing account, as the log knew it last; else open, of the default kind. */
static void
restore_rules(Account *account)
{
	static PointstorePlan plan = {
		.sql = "SELECT after OPERATOR(pg_catalog.->>) 'kind', after OPERATOR(pg_catalog.->>) 'status'"
		" FROM pointstore.account_log WHERE aggregate_id" EQ "$1 AND after IS NOT NULL"
		" ORDER BY id DESC LIMIT 1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		id = PointerGetDatum(account->id);
	MemoryContext context = CurrentMemoryContext;
	char	   *kind = NULL;
	char	   *status = NULL;

	SPI_connect();
	pointstore_execute_of(&plan, account->id, &id, NULL, false);
	if (SPI_processed > 0)
	{
		kind = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	}
	kind = MemoryContextStrdup(context, kind ? kind : "default");
	account->status = status ? pointstore_status(cstring_to_text(status)) : STATUS_OPEN;
	SPI_finish();
	account->kind = pointstore_read_kind(cstring_to_text(kind));
	if (account->kind == NULL)
		account->kind = pointstore_require_kind(cstring_to_text("default"));
	account->kind_name = account->kind->name;
	account->pure = account->kind->pure;
}

/* rebuild_balances(): every account that is here, a transaction for each batch. 2D000 in a transaction block. */
Datum
pointstore_rebuild_balances(PG_FUNCTION_ARGS)
{
	Progress	progress = {0};

	pointstore_begin_procedure(fcinfo, "rebuild_balances()");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_step_through_places(rebuild_place, &progress);
	SPI_finish();
	PG_RETURN_VOID();
}

/* The accounts where we stay. */
static void
rebuild_place(void *arg)
{
	Progress   *progress = arg;
	char	   *after = "";

	while ((after = rebuild_batch(after, &progress->rebuilt)) != NULL)
	{
		ereport(NOTICE,
				(errmsg("batch %d: accounts up to \"%s\" compared, %lld rebuilt so far", ++progress->batches,
						after, (long long) progress->rebuilt)));
		pointstore_next_step();
	}
}

/* Rebuilds the batch that follows an id and returns its last id; NULL when there is none. */
static char *
rebuild_batch(char *after, int64 *rebuilt)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pointstore rebuild",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PointstoreScope scope;
	char	   *end;

	pointstore_act_as_owner(&scope);
	end = end_of_batch(after);
	if (end != NULL)
		*rebuilt += rebuild_range(after, end);
	pointstore_act_as_caller(&scope);
	MemoryContextSwitchTo(old);
	if (end != NULL)
		end = pstrdup(end);
	MemoryContextDelete(context);
	return end;
}

/* The last id of the batch that follows an id; NULL when no id does. */
static char *
end_of_batch(char *after)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(LEAST("
		" (SELECT aggregate_id FROM pointstore.balance WHERE aggregate_id" GT "$1"
		"   ORDER BY aggregate_id OFFSET $2 LIMIT 1),"
		" (SELECT aggregate_id FROM pointstore.event_store WHERE aggregate_id" GT "$1"
		"   ORDER BY aggregate_id, version OFFSET $3 LIMIT 1)), GREATEST("
		" (SELECT pg_catalog.max(aggregate_id) FROM pointstore.balance WHERE aggregate_id" GT "$1),"
		" (SELECT pg_catalog.max(aggregate_id) FROM pointstore.event_store WHERE aggregate_id" GT "$1)))",
		.nargs = 3,
		.argtypes = {TEXTOID, INT8OID, INT8OID}
	};
	Datum		values[3];
	MemoryContext context = CurrentMemoryContext;
	char	   *end;

	values[0] = CStringGetTextDatum(after);
	values[1] = Int64GetDatum(BATCH_ACCOUNTS - 1);
	values[2] = Int64GetDatum(BATCH_EVENTS - 1);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	end = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (end != NULL)
		end = MemoryContextStrdup(context, end);
	SPI_finish();
	return end;
}

/*
 * The accounts after one id up to another that do not say what their events and open holds do, whether these are
 * consistent, and whether an index may hide something: the row is missing, or has seen more events.
 */
static PointstorePlan compare_plan = {
	.sql = "SELECT coalesce(b.aggregate_id, e.aggregate_id), coalesce((e.d).sound, true),"
	" b.aggregate_id IS NULL OR b.version" GT "coalesce((e.d).last_version, 0)"
	" FROM (SELECT aggregate_id, version, balance, held, incoming, next_expiry, updated_at, state FROM pointstore.balance"
	"        WHERE aggregate_id" GT "$1"
	"          AND aggregate_id" LE "$2) b"
	" FULL JOIN (SELECT aggregate_id, pointstore.digest(version, amount, held, balance_after, 0, 0, $3) AS d,"
	"                   pg_catalog.max(created_at) AS created_at, pg_catalog.sum(" INCOMING_OF("v") ") AS incoming,"
	"                   pg_catalog.max(ARRAY[version, pg_catalog.hashtextextended(state_after, $3)]) FILTER (WHERE state_after" NE "'') AS state"
	"              FROM pointstore.event_store v"
	"             WHERE aggregate_id" GT "$1"
	"               AND aggregate_id" LE "$2"
	"             GROUP BY aggregate_id) e ON e.aggregate_id" EQ "b.aggregate_id"
	" LEFT JOIN (SELECT aggregate_id, pg_catalog.min(expires_at) AS next_expiry"
	"              FROM pointstore.hold"
	"             WHERE aggregate_id" GT "$1"
	"               AND aggregate_id" LE "$2"
	"               AND status" EQ "'open'"
	"             GROUP BY aggregate_id) h ON h.aggregate_id" EQ "b.aggregate_id"
	" LEFT JOIN (SELECT DISTINCT ON (l.aggregate_id) l.aggregate_id, l.after FROM pointstore.account_log l"
	"             WHERE l.aggregate_id" GT "$1"
	"               AND l.aggregate_id" LE "$2"
	"               AND " SAYS_STATE("l") " AND (l.action" NE "'open' OR " LOGGED_STATE("l.after") " IS NOT NULL)"
	"             ORDER BY l.aggregate_id, l.id DESC) g ON g.aggregate_id" EQ "b.aggregate_id"
	" WHERE b.aggregate_id IS NULL"
	"       AND NOT EXISTS (SELECT FROM pointstore.pure_account p"
	"                        WHERE p.aggregate_id" EQ "e.aggregate_id)"
	"    OR b.aggregate_id IS NOT NULL"
	"       AND (b.version" NE "coalesce((e.d).last_version, 0)"
	/* sums beyond bigint are null */
	"            OR (e.aggregate_id IS NOT NULL AND ((e.d).total IS NULL OR (e.d).held IS NULL))"
	"            OR b.balance" NE "coalesce((e.d).total, 0)"
	"            OR b.held" NE "coalesce((e.d).held, 0)"
	"            OR " OTHER_INCOMING("b.incoming", "e.incoming")
	"            OR " DIFFERS_OR_NULL("(CASE WHEN b.state" NE "'' THEN pg_catalog.hashtextextended(b.state, $3) END)",
		"CASE WHEN " LOGS_STATE("g.after", "b.version") " THEN CASE WHEN " LOGGED_STATE("g.after") NE "'' THEN pg_catalog.hashtextextended(" LOGGED_STATE("g.after") ", $3) END"
		" WHEN e.state[1]" EQ "b.version THEN e.state[2] END")
	"            OR b.updated_at" GT "GREATEST(e.created_at, pg_catalog.clock_timestamp())"
	"            OR b.next_expiry" NE "h.next_expiry"
	"            OR (b.next_expiry IS NULL)" NE "(h.next_expiry IS NULL))"
	" ORDER BY 1",				/* as batches lock them */
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, INT8OID}
};

/* Rebuilds those of them that differ, and can be; returns how many were. */
static int64
rebuild_range(char *after, char *end)
{
	Datum		values[3];
	SPITupleTable *differing;
	Doubtful	doubtful = {0};
	int64		key;
	int64		rebuilt = 0;
	uint64		i;

	if (!pg_strong_random(&key, sizeof(key)))
		elog(ERROR, "could not draw a random key");
	values[0] = CStringGetTextDatum(after);
	values[1] = CStringGetTextDatum(end);
	values[2] = Int64GetDatum(key);
	SPI_connect();
	pointstore_execute(&compare_plan, values, NULL, false);
	differing = SPI_tuptable;
	view_doubtful(differing, &doubtful);
	for (i = 0; i < differing->numvals; i++)
	{
		bool		isnull;
		text	   *id = DatumGetTextPP(SPI_getbinval(differing->vals[i], differing->tupdesc, 1, &isnull));
		bool		sound = DatumGetBool(SPI_getbinval(differing->vals[i], differing->tupdesc, 2, &isnull));
		bool		doubted = DatumGetBool(SPI_getbinval(differing->vals[i], differing->tupdesc, 3, &isnull));
		HeapView   *heap = doubted ? &doubtful.views[doubtful.done++] : NULL;

		CHECK_FOR_INTERRUPTS();
		if (sound)
			rebuilt += rebuild_or_warn(id, heap);
		else
			leave_alone(id, "its events are inconsistent");
	}
	SPI_finish();
	return rebuilt;
}

/* The heaps' view of those of which an index may hide something: read at once for a batch. */
static void
view_doubtful(SPITupleTable *differing, Doubtful *doubtful)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(differing->numvals, 1));
	int			n = 0;
	uint64		i;
	bool		isnull;

	for (i = 0; i < differing->numvals; i++)
		if (DatumGetBool(SPI_getbinval(differing->vals[i], differing->tupdesc, 3, &isnull)))
			ids[n++] = SPI_getbinval(differing->vals[i], differing->tupdesc, 1, &isnull);
	doubtful->views = palloc0(sizeof(HeapView) * Max(n, 1));
	if (n == 0)
		return;
	(void) pointstore_push_snapshot();
	pointstore_view_heaps(ids, n, doubtful->views);
	PopActiveSnapshot();
}

/* Rebuilds an account, unless an index lies about it: then it is left alone. heap: what the heaps say, null: not doubted. */
static int64
rebuild_or_warn(text *id, const HeapView *heap)
{
	static const Rebuild how = {.action = "rebuild", .unchecked = true};
	Snapshot	snapshot = pointstore_push_snapshot();
	const char *lie = heap ? pointstore_find_lie(id, heap, snapshot) : NULL;
	Account		before;
	Account		after;

	PopActiveSnapshot();
	if (lie != NULL)
	{
		leave_alone(id, psprintf("an index of table \"%s\" is damaged", lie));
		return 0;
	}
	return pointstore_rebuild(id, &how, &before, &after);
}

static void
leave_alone(text *id, const char *why)
{
	ereport(WARNING,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 errmsg("account \"%s\" is left as it is: %s", pointstore_cstring(id), why),
			 errhint("SELECT * FROM pointstore.reconcile_account('%s');", pointstore_cstring(id))));
}
