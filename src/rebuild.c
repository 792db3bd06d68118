/*-------------------------------------------------------------------------
 *
 * src/rebuild.c
 *		Sets balance rows to what the events say, under the row's lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "pointstore.h"

PG_FUNCTION_INFO_V1(pointstore_rebuild_balance);
PG_FUNCTION_INFO_V1(pointstore_rebuild_balances);

static bool sum_events(Account *account);

/* rebuild_balance(aggregate_id): PS008 when there is neither a row nor an event. */
Datum
pointstore_rebuild_balance(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	PointstoreScope scope;
	Snapshot	snapshot;
	Account		before;
	Account		after;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {0};
	bool		changed;

	PreventCommandIfReadOnly("rebuild_balance()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pointstore_act_as_owner(&scope);
	snapshot = pointstore_push_snapshot();
	pointstore_read_account(&before, id, snapshot, LOCK_ACCOUNT);
	after = before;
	if (!before.pure && !sum_events(&after) && !before.exists)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id))));
	if (!before.exists)
		after.kind_name = cstring_to_text("default");
	changed = !before.exists || before.version != after.version || before.balance != after.balance ||
		before.held != after.held;
	if (changed)
	{
		pointstore_change_account(&after);
		pointstore_log("rebuild", NULL, before.exists ? &before : NULL, &after);
	}
	pointstore_release_account(&before);
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);

	values[0] = PointerGetDatum(id);
	values[1] = Int64GetDatum(before.version);
	values[2] = Int64GetDatum(after.version);
	values[3] = Int64GetDatum(before.balance);
	values[4] = Int64GetDatum(after.balance);
	values[5] = Int64GetDatum(before.held);
	values[6] = Int64GetDatum(after.held);
	values[7] = BoolGetDatum(changed);
	nulls[1] = nulls[3] = nulls[5] = !before.exists;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Version, balance, held and the time by the events, in a snapshot newer than the lock. */
static bool
sum_events(Account *account)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(pg_catalog.max(version), 0), coalesce(CAST(pg_catalog.sum(amount) AS pg_catalog.int8), 0),"
		" coalesce(CAST(pg_catalog.sum(held) AS pg_catalog.int8), 0), pg_catalog.max(created_at)"
		" FROM pointstore.event_store WHERE aggregate_id OPERATOR(pg_catalog.=) $1",
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
	account->updated_at = Max(account->updated_at, isnull ? 0 : last);
	SPI_finish();
	return !isnull;
}

/* rebuild_balances(): not written yet. */
Datum
pointstore_rebuild_balances(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("rebuild_balances() is not written yet")));
}
