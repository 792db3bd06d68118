/*-------------------------------------------------------------------------
 *
 * src/rebuild.c
 *		Sets balance rows to what the events say.
 *
 * One account is summed after its row is locked, in a snapshot taken after the
 * lock, so no append is missed. A missing row has nothing to lock: appends
 * refuse such an account (XX001), and who puts the row back second finds
 * its key taken.
 *
 * All accounts are gone through in the order of their ids. A batch is a
 * range of ids, few enough in rows and in events: one statement sums the
 * events of the range and compares, and only what differs there is rebuilt
 * under its lock. Then the batch commits. What differs in that statement's
 * snapshot differs indeed, since a balance and its event commit together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pointstore.h"
#include "sql.h"

PG_FUNCTION_INFO_V1(pointstore_rebuild_balance);
PG_FUNCTION_INFO_V1(pointstore_rebuild_balances);

/* A batch ends at this many balance rows or, on the way, events. */
#define BATCH_ACCOUNTS	1000
#define BATCH_EVENTS	100000

static bool state_by_events(const Account *before, Account *after);
static bool sum_events(Account *account);
static void restore_rules(Account *account);
static char *rebuild_batch(char *after, int64 *rebuilt);
static char *end_of_batch(char *after);
static int64 rebuild_range(char *after, char *end);

/* rebuild_balance(aggregate_id): PS008 when there is neither a row nor an event. */
Datum
pointstore_rebuild_balance(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	PointstoreScope scope;
	Account		before;
	Account		after;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {0};

	PreventCommandIfReadOnly("rebuild_balance()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pointstore_act_as_owner(&scope);
	values[7] = BoolGetDatum(pointstore_rebuild(id, "rebuild", NULL, &before, &after));
	pointstore_act_as_caller(&scope);
	if (!after.exists)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id))));

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
 * Rebuilds one account and logs it as that action, for that reason or none; returns whether anything differed. Of the
 * accounts before and afterwards the names and numbers may be used; where there
 * is neither a row nor an event, after->exists is false.
 */
bool
pointstore_rebuild(text *id, const char *action, text *reason, Account *before, Account *after)
{
	bool		changed = false;
	bool		done = false;

	while (!done)
	{
		Snapshot	snapshot = pointstore_push_snapshot();

		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(before, id, snapshot, LOCK_ACCOUNT);
		changed = state_by_events(before, after);
		done = !changed || pointstore_change_account(after);
		if (changed && done)
		{
			if (!before->exists)
				pointstore_refuse_other_mode(id, after->pure);
			pointstore_log(action, reason, before->exists ? before : NULL, after);
			after->exists = true;
		}
		pointstore_release_account(before);
		PopActiveSnapshot();
	}
	return changed;
}

/* What the account's row should say, and whether that differs from what it does. */
static bool
state_by_events(const Account *before, Account *after)
{
	*after = *before;
	if (before->pure)
		return false;			/* what it holds is stored nowhere else */
	pointstore_find_next_expiry(after, NIL, pointstore_push_snapshot());
	PopActiveSnapshot();
	if (!sum_events(after))
	{
		if (!before->exists)
			return false;
	}
	else if (!before->exists)
		restore_rules(after);
	if (before->exists && before->version == after->version && before->balance == after->balance &&
		before->held == after->held && before->has_expiry == after->has_expiry &&
		(!before->has_expiry || before->next_expiry == after->next_expiry))
		return false;
	after->updated_at = Max(after->updated_at, GetCurrentTimestamp());
	return true;
}

/* Version, balance, held and the time by the events, in a snapshot newer than the lock. False: no event. */
static bool
sum_events(Account *account)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(pg_catalog.max(version), 0), coalesce(CAST(pg_catalog.sum(amount) AS pg_catalog.int8), 0),"
		" coalesce(CAST(pg_catalog.sum(held) AS pg_catalog.int8), 0), pg_catalog.max(created_at)"
		" FROM pointstore.event_store WHERE aggregate_id" EQ "$1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		id = PointerGetDatum(account->id);
	HeapTuple	row;
	TupleDesc	desc;
	TimestampTz last;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &id, NULL, false);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	account->version = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	account->balance = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
	account->held = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
	last = DatumGetTimestampTz(SPI_getbinval(row, desc, 4, &isnull));
	if (!isnull)
		account->updated_at = Max(account->updated_at, last);
	SPI_finish();
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
	pointstore_execute(&plan, &id, NULL, false);
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

/* rebuild_balances(): every account, a transaction for each batch. 2D000 in a transaction block. */
Datum
pointstore_rebuild_balances(PG_FUNCTION_ARGS)
{
	char	   *after = "";
	int64		rebuilt = 0;
	int			batches = 0;

	pointstore_begin_procedure(fcinfo, "rebuild_balances()");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_next_step();
	while ((after = rebuild_batch(after, &rebuilt)) != NULL)
	{
		ereport(NOTICE,
				(errmsg("batch %d: accounts up to \"%s\" compared, %lld rebuilt so far", ++batches,
						after, (long long) rebuilt)));
		pointstore_next_step();
	}
	SPI_finish();
	PG_RETURN_VOID();
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

/* The accounts after one id up to another that do not say what their events and open holds do, and whether that is beyond bigint. */
static PointstorePlan compare_plan = {
	.sql = "SELECT coalesce(b.aggregate_id, e.aggregate_id),"
	" e.balance" GT "9223372036854775807 OR e.balance" LT "-9223372036854775808"
	"   OR e.held" GT "9223372036854775807 OR e.held" LT "-9223372036854775808"
	" FROM (SELECT aggregate_id, version, balance, held, next_expiry FROM pointstore.balance"
	"        WHERE aggregate_id" GT "$1"
	"          AND aggregate_id" LE "$2) b"
	" FULL JOIN (SELECT aggregate_id, pg_catalog.max(version) AS version, pg_catalog.sum(amount) AS balance,"
	"                   pg_catalog.sum(held) AS held"
	"              FROM pointstore.event_store"
	"             WHERE aggregate_id" GT "$1"
	"               AND aggregate_id" LE "$2"
	"             GROUP BY aggregate_id) e ON e.aggregate_id" EQ "b.aggregate_id"
	" LEFT JOIN (SELECT aggregate_id, pg_catalog.min(expires_at) AS next_expiry"
	"              FROM pointstore.hold"
	"             WHERE aggregate_id" GT "$1"
	"               AND aggregate_id" LE "$2"
	"               AND status" EQ "'open'"
	"             GROUP BY aggregate_id) h ON h.aggregate_id" EQ "b.aggregate_id"
	" WHERE b.aggregate_id IS NULL"
	"       AND NOT EXISTS (SELECT FROM pointstore.pure_account p"
	"                        WHERE p.aggregate_id" EQ "e.aggregate_id)"
	"    OR b.aggregate_id IS NOT NULL"
	"       AND (b.version" NE "coalesce(e.version, 0)"
	"            OR b.balance" NE "coalesce(e.balance, 0)"
	"            OR b.held" NE "coalesce(e.held, 0)"
	"            OR b.next_expiry" NE "h.next_expiry"
	"            OR (b.next_expiry IS NULL)" NE "(h.next_expiry IS NULL))",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}
};

/* Rebuilds those of them that differ; returns how many were. */
static int64
rebuild_range(char *after, char *end)
{
	Datum		values[2];
	SPITupleTable *differing;
	int64		rebuilt = 0;
	uint64		i;

	values[0] = CStringGetTextDatum(after);
	values[1] = CStringGetTextDatum(end);
	SPI_connect();
	pointstore_execute(&compare_plan, values, NULL, false);
	differing = SPI_tuptable;
	for (i = 0; i < differing->numvals; i++)
	{
		Account		before_rebuild;
		Account		after_rebuild;
		bool		isnull;
		text	   *id = DatumGetTextPP(SPI_getbinval(differing->vals[i], differing->tupdesc, 1, &isnull));
		Datum		beyond = SPI_getbinval(differing->vals[i], differing->tupdesc, 2, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (!isnull && DatumGetBool(beyond))
			ereport(WARNING,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("the events of account \"%s\" sum to more than a bigint, it is left as it is",
							pointstore_cstring(id))));
		else
			rebuilt += pointstore_rebuild(id, "rebuild", NULL, &before_rebuild, &after_rebuild);
	}
	SPI_finish();
	return rebuilt;
}
