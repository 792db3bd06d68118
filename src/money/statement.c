/*-------------------------------------------------------------------------
 *
 * src/money/statement.c
 *		Reading balances: what an account holds, and held. In the caller's
 *		snapshot; a statement is one range of the primary key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account/history.h"
#include "ground/compat.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"

PG_FUNCTION_INFO_V1(pointstore_get_balance);
PG_FUNCTION_INFO_V1(pointstore_balance_at);
PG_FUNCTION_INFO_V1(pointstore_balance_as_of);
PG_FUNCTION_INFO_V1(pointstore_statement);

static void refuse_other_columns(TupleDesc found, TupleDesc wanted);
static void read_statement(ReturnSetInfo *rsinfo, text *id, TimestampTz since, TimestampTz until);
static void put_event(ReturnSetInfo *rsinfo, const RowScan *scan);
static void put_entry(ReturnSetInfo *rsinfo, const char *entry, int64 version, int64 balance, Datum at);

/* get_balance(aggregate_id): the account view's row, or none. */
Datum
pointstore_get_balance(PG_FUNCTION_ARGS)
{
	static PointstorePlan plan = {
		.sql = "SELECT aggregate_id, kind, mode, unit, version, balance, held, available, status, state, updated_at"
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
	pointstore_execute_of(&plan, DatumGetTextPP(id), &id, NULL, true);
	refuse_other_columns(SPI_tuptable->tupdesc, rsinfo->setDesc);
	for (i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* A view that was made anew may have columns of other types: 55000. */
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
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	HistoryScan history;
	PastEvent	event = {0};

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("at must not be null")));
	pointstore_history_begin(&history, id);
	(void) pointstore_history_at_time(&history, PG_GETARG_TIMESTAMPTZ(1), &event);
	pointstore_history_end(&history);
	PG_RETURN_INT64(event.balance);
}

/* balance_as_of(aggregate_id, version) */
Datum
pointstore_balance_as_of(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	int64		version;
	HistoryScan history;
	PastEvent	event = {0};

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version must not be null")));
	version = PG_GETARG_INT64(1);
	if (version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version must not be negative")));
	pointstore_history_begin(&history, id);
	if (!pointstore_history_at_version(&history, version, &event) && version > 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" has no version %lld", pointstore_cstring(id), (long long) version),
				 pointstore_detail_figures(id, "version", version, NULL, 0)));
	pointstore_history_end(&history);
	PG_RETURN_INT64(event.balance);
}

/* statement(aggregate_id, since, until): an account's events of a time, between its balances before and after. */
Datum
pointstore_statement(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "since" : "until")));
	if (PG_GETARG_TIMESTAMPTZ(1) > PG_GETARG_TIMESTAMPTZ(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must not be after until")));
	pointstore_materialize(fcinfo);
	read_statement((ReturnSetInfo *) fcinfo->resultinfo, id, PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_TIMESTAMPTZ(2));
	return (Datum) 0;
}

/*
 * The opening balance is what the first event began with; of a time without events, what
 * the last one before it left. Times count microseconds: before since is up to the one before.
 */
static void
read_statement(ReturnSetInfo *rsinfo, text *id, TimestampTz since, TimestampTz until)
{
	HistoryScan history;
	PastEvent	last = {0};
	PastEvent	event;
	bool		before;
	bool		opened = false;

	pointstore_history_begin(&history, id);
	before = since > PG_INT64_MIN && pointstore_history_at_time(&history, since - 1, &last);
	pointstore_history_from(&history, before ? last.version : PG_INT64_MIN);
	while (pointstore_history_next(&history, &event) && event.created_at < until)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (event.created_at < since)
			continue;
		if (!opened)
			put_entry(rsinfo, "opening", event.version - 1,
					  event.balance - DatumGetInt64(slot_getattr(history.scan.slot, history.scan.table->att[EV_AMOUNT], &isnull)), TimestampTzGetDatum(since));
		opened = true;
		put_event(rsinfo, &history.scan);
		last = event;
	}
	pointstore_history_end(&history);
	if (!opened)
		put_entry(rsinfo, "opening", last.version, last.balance, TimestampTzGetDatum(since));
	put_entry(rsinfo, "closing", last.version, last.balance, TimestampTzGetDatum(until));
}

/* A row of a statement that is an event. */
static void
put_event(ReturnSetInfo *rsinfo, const RowScan *scan)
{
	static const EventColumn columns[] = {EV_VERSION, EV_EVENT_TYPE, EV_AMOUNT, EV_BALANCE_AFTER, EV_PAYLOAD,
	EV_ID, EV_CAUSE_ID, EV_OCCURRED_AT, EV_CREATED_AT};
	Datum		values[1 + lengthof(columns)];
	bool		nulls[1 + lengthof(columns)] = {false};
	int			i;

	values[0] = CStringGetTextDatum("event");
	for (i = 0; i < lengthof(columns); i++)
		values[1 + i] = slot_getattr(scan->slot, scan->table->att[columns[i]], &nulls[1 + i]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	pfree(DatumGetPointer(values[0]));
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
