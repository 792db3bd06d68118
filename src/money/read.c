/*-------------------------------------------------------------------------
 *
 * src/money/read.c
 *		Reading balances: what an account holds, and held. In the caller's
 *		snapshot, one index probe each; a statement is one range of an index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "ground/compat.h"
#include "ground/pointstore.h"
#include "ground/sql.h"

PG_FUNCTION_INFO_V1(pointstore_get_balance);
PG_FUNCTION_INFO_V1(pointstore_balance_at);
PG_FUNCTION_INFO_V1(pointstore_balance_as_of);
PG_FUNCTION_INFO_V1(pointstore_statement);

/* rows of a statement that are fetched at once */
#define STATEMENT_FETCH 1000

static void refuse_other_columns(TupleDesc found, TupleDesc wanted);
static bool read_one(PointstorePlan *plan, Datum *values, int64 *result);
static void read_statement(ReturnSetInfo *rsinfo, Datum *values);
static void put_entry(ReturnSetInfo *rsinfo, const char *entry, int64 version, int64 balance, Datum at);

/* get_balance(aggregate_id): the account view's row, or none. */
Datum
pointstore_get_balance(PG_FUNCTION_ARGS)
{
	static PointstorePlan plan = {
		.sql = "SELECT aggregate_id, kind, mode, unit, version, balance, held, available, status, updated_at"
		" FROM pointstore.account WHERE aggregate_id" EQ "$1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		id = PointerGetDatum(pointstore_name(fcinfo, 0, "aggregate_id"));
	PointstoreScope scope;
	uint64		i;

	pointstore_materialize(fcinfo);
	pointstore_act_as_reader(&scope);
	SPI_connect();
	pointstore_execute(&plan, &id, NULL, true);
	refuse_other_columns(SPI_tuptable->tupdesc, rsinfo->setDesc);
	for (i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* A view that somebody has made anew may have columns of other types: 55000. */
static void
refuse_other_columns(TupleDesc found, TupleDesc wanted)
{
	int			i;

	for (i = 0; i < wanted->natts; i++)
		if (TupleDescAttr(found, i)->atttypid != TupleDescAttr(wanted, i)->atttypid)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column \"%s\" of view pointstore.account is of another type",
							NameStr(TupleDescAttr(found, i)->attname)),
					 errhint("DROP VIEW pointstore.account; SELECT pointstore.upgrade_store();")));
}

/* balance_at(aggregate_id, at): what was known then. */
Datum
pointstore_balance_at(PG_FUNCTION_ARGS)
{
	static PointstorePlan plan = {
		.sql = "SELECT balance_after FROM pointstore.event_store"
		" WHERE aggregate_id" EQ "$1 AND created_at" LE "$2"
		" ORDER BY created_at DESC, version DESC LIMIT 1",
		.nargs = 2,
		.argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2];
	int64		balance = 0;

	values[0] = PointerGetDatum(pointstore_name(fcinfo, 0, "aggregate_id"));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("at must not be null")));
	values[1] = PG_GETARG_DATUM(1);
	(void) read_one(&plan, values, &balance);
	PG_RETURN_INT64(balance);
}

/* balance_as_of(aggregate_id, version) */
Datum
pointstore_balance_as_of(PG_FUNCTION_ARGS)
{
	static PointstorePlan plan = {
		.sql = "SELECT balance_after FROM pointstore.event_store"
		" WHERE aggregate_id" EQ "$1 AND version" EQ "$2",
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	Datum		values[2];
	int64		balance = 0;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version must not be null")));
	if (PG_GETARG_INT64(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version must not be negative")));
	values[0] = PointerGetDatum(id);
	values[1] = PG_GETARG_DATUM(1);
	if (!read_one(&plan, values, &balance) && PG_GETARG_INT64(1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" has no version %lld", pointstore_cstring(id),
						(long long) PG_GETARG_INT64(1)),
				 pointstore_detail_figures(id, "version", PG_GETARG_INT64(1), NULL, 0)));
	PG_RETURN_INT64(balance);
}

/* statement(aggregate_id, since, until): an account's events of a time, between its balances before and after. */
Datum
pointstore_statement(PG_FUNCTION_ARGS)
{
	Datum		values[3];
	PointstoreScope scope;

	values[0] = PointerGetDatum(pointstore_name(fcinfo, 0, "aggregate_id"));
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "since" : "until")));
	values[1] = PG_GETARG_DATUM(1);
	values[2] = PG_GETARG_DATUM(2);
	if (DatumGetTimestampTz(values[1]) > DatumGetTimestampTz(values[2]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must not be after until")));
	pointstore_materialize(fcinfo);
	pointstore_act_as_reader(&scope);
	read_statement((ReturnSetInfo *) fcinfo->resultinfo, values);
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/*
 * The opening balance is what the first event began with; only of a time without
 * events it has to be looked up.
 */
static void
read_statement(ReturnSetInfo *rsinfo, Datum *values)
{
	static PointstorePlan events = {
		.sql = "SELECT CAST('event' AS pg_catalog.text), version, event_type, amount, balance_after, payload, id, cause_id, occurred_at, created_at"
		" FROM pointstore.event_store WHERE aggregate_id" EQ "$1"
		"   AND created_at" GE "$2 AND created_at" LT "$3"
		" ORDER BY created_at, version",
		.nargs = 3, .argtypes = {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	static PointstorePlan before = {
		.sql = "SELECT version, balance_after FROM pointstore.event_store WHERE aggregate_id" EQ "$1"
		"   AND created_at" LT "$2 ORDER BY created_at DESC, version DESC LIMIT 1",
		.nargs = 2, .argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	Portal		portal;
	bool		opened = false;
	int64		version = 0;
	int64		balance = 0;
	bool		isnull;
	uint64		i;

	/* in the index's own order, however much that is and whatever else would cost less */
	pointstore_set_option("enable_bitmapscan", "off");
	pointstore_set_option("enable_seqscan", "off");
	pointstore_set_option("enable_sort", "off");
	SPI_connect();
	pointstore_prepare(&events);
	portal = SPI_cursor_open(NULL, events.plan, values, NULL, true);
	for (SPI_cursor_fetch(portal, true, STATEMENT_FETCH); SPI_processed > 0;
		 SPI_cursor_fetch(portal, true, STATEMENT_FETCH))
	{
		CHECK_FOR_INTERRUPTS();
		for (i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;

			version = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
			balance = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
			if (!opened)
				put_entry(rsinfo, "opening", version - 1,
						  balance - DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull)), values[1]);
			opened = true;
			tuplestore_puttuple(rsinfo->setResult, row);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	if (!opened)
	{
		pointstore_execute(&before, values, NULL, true);
		if (SPI_processed > 0)
		{
			version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
			balance = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		}
		put_entry(rsinfo, "opening", version, balance, values[1]);
	}
	put_entry(rsinfo, "closing", version, balance, values[2]);
	SPI_finish();
}

/* A row of a statement that is no event. */
static void
put_entry(ReturnSetInfo *rsinfo, const char *entry, int64 version, int64 balance, Datum at)
{
	Datum		values[10] = {0};
	bool		nulls[10];

	memset(nulls, true, sizeof(nulls));
	nulls[0] = nulls[1] = nulls[4] = nulls[9] = false;
	values[0] = CStringGetTextDatum(entry);
	values[1] = Int64GetDatum(version);
	values[4] = Int64GetDatum(balance);
	values[9] = at;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* One bigint read as the owner; false when there is no row. */
static bool
read_one(PointstorePlan *plan, Datum *values, int64 *result)
{
	PointstoreScope scope;
	bool		found;
	bool		isnull;

	pointstore_act_as_reader(&scope);
	SPI_connect();
	pointstore_execute(plan, values, NULL, true);
	found = SPI_processed > 0;
	if (found)
		*result = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return found;
}
