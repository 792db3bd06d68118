/*-------------------------------------------------------------------------
 *
 * src/feed/whose.c
 *		Which feed a call is about: that of the store, or of one of its shards.
 *
 * The last argument of each of these functions says it, the number of a shard; in a plain store it is null, or not there. Where the shard is on another node
 * the call is made there: of the function of the same name and _part, whose last argument is the name of an account of that shard, by
 * which Citus delegates it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "feed/whose.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/store.h"

#define MOST_ARGUMENTS 9

static int64 shard_or_none(bool isnull, int64 shard);
static Datum call_elsewhere(FunctionCallInfo fcinfo, int nargs, int64 shard);
static Datum value_of(FunctionCallInfo fcinfo);
static void put_rows(ReturnSetInfo *rsinfo);

/* Makes a call of so many arguments, or one less, where its feed is. 22004: it says no shard, of a distributed store; 22023: there is no such. */
Datum
pointstore_call_of_feed(FunctionCallInfo fcinfo, int nargs, FeedCall call)
{
	int			last = nargs - 1;

	if (PG_NARGS() == last)
		return pointstore_call_in_shard(fcinfo, last, call, shard_or_none(true, 0));
	pointstore_check_arguments(fcinfo, nargs);
	if (get_fn_expr_argtype(fcinfo->flinfo, last) != TEXTOID)
		return pointstore_call_in_shard(fcinfo, last, call, pointstore_shard_of_call(fcinfo));
	return pointstore_call_of_anybody(fcinfo, call);
}

/* Makes a call where the account is that its last argument names. */
Datum
pointstore_call_of_anybody(FunctionCallInfo fcinfo, FeedCall call)
{
	PointstorePlace before = pointstore_here();
	Datum		result = (Datum) 0;

	if (PG_ARGISNULL(fcinfo->nargs - 1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("aggregate_id must not be null")));
	PG_TRY();
	{
		pointstore_go_to(PG_GETARG_TEXT_PP(fcinfo->nargs - 1));
		result = call(fcinfo);
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	return result;
}

/* 55000: the store is not distributed. */
void
pointstore_require_shards(void)
{
	if (!pointstore_is_distributed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is not distributed")));
}

/* The number of the shard that a call says; NO_SHARD: the store has none. */
int64
pointstore_shard_of_call(FunctionCallInfo fcinfo)
{
	int			last = fcinfo->nargs - 1;

	return shard_or_none(PG_ARGISNULL(last), PG_GETARG_INT64(last));
}

static int64
shard_or_none(bool isnull, int64 shard)
{
	if (!isnull)
		return shard;
	if (pointstore_store_exists() && pointstore_is_distributed())
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("each shard of a distributed store has a feed of its own: shard must say which"),
				 errhint("SELECT shard FROM pointstore.shard_map;")));
	return NO_SHARD;
}

/* Makes a call of so many arguments in a shard, or in a plain store: NO_SHARD. */
Datum
pointstore_call_in_shard(FunctionCallInfo fcinfo, int nargs, FeedCall call, int64 shard)
{
	PointstorePlace before = pointstore_here();
	Datum		result = (Datum) 0;
	bool		is_here = true;

	PG_TRY();
	{
		if (shard != NO_SHARD)
			is_here = pointstore_go_to_shard(shard);
		if (is_here)
			result = call(fcinfo);
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	return is_here ? result : call_elsewhere(fcinfo, nargs, shard);
}

/* Makes a call of every shard's feed, whose rows come to the same result. */
void
pointstore_call_of_each_shard(FunctionCallInfo fcinfo, FeedCall call)
{
	const PointstorePlacements *map = pointstore_store()->placements;
	int			n = map->n;
	int64	   *shards = palloc(sizeof(int64) * n);
	int			i;

	/* the map may be another one by the next call */
	for (i = 0; i < n; i++)
		shards[i] = map->ranges[i].shard_number;
	for (i = 0; i < n; i++)
		(void) pointstore_call_in_shard(fcinfo, Max(fcinfo->nargs - 1, 0), call, shards[i]);
}

/* The same on the node that has the shard, with so many of the caller's arguments. */
static Datum
call_elsewhere(FunctionCallInfo fcinfo, int n, int64 shard)
{
	Oid			types[MOST_ARGUMENTS];
	Datum		values[MOST_ARGUMENTS];
	char		nulls[MOST_ARGUMENTS];
	StringInfoData sql;
	Datum		result = (Datum) 0;
	int			i;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT * FROM pointstore.%s(", quote_identifier(psprintf("%s_part", get_func_name(fcinfo->flinfo->fn_oid))));
	for (i = 0; i < n; i++)
	{
		types[i] = get_fn_expr_argtype(fcinfo->flinfo, i);
		values[i] = fcinfo->args[i].value;
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		appendStringInfo(&sql, "$%d, ", i + 1);
	}
	appendStringInfo(&sql, "%s)", quote_literal_cstr(text_to_cstring(pointstore_name_in_shard(shard))));
	SPI_connect();
	if (SPI_execute_with_args(sql.data, n, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask the node of shard %lld", (long long) shard);
	if (fcinfo->resultinfo != NULL && IsA(fcinfo->resultinfo, ReturnSetInfo))
		put_rows((ReturnSetInfo *) fcinfo->resultinfo);
	else
		result = value_of(fcinfo);
	SPI_finish();
	return result;
}

/* What was found of a function that returns one value, in memory of the caller's. */
static Datum
value_of(FunctionCallInfo fcinfo)
{
	Form_pg_attribute column = TupleDescAttr(SPI_tuptable->tupdesc, 0);
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &fcinfo->isnull);

	return fcinfo->isnull ? (Datum) 0 : SPI_datumTransfer(value, column->attbyval, column->attlen);
}

/* Rows of a function whose result is materialized. */
static void
put_rows(ReturnSetInfo *rsinfo)
{
	uint64		i;

	for (i = 0; i < SPI_processed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	}
}
