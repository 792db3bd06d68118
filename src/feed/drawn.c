/*-------------------------------------------------------------------------
 *
 * src/feed/drawn.c
 *		Which ids the sequence has drawn.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "account/id.h"
#include "feed/drawn.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/stat.h"
#include "ground/store.h"

static bool read_last_drawn(Oid sequence, int64 *last);
static int64 common_divisor(uint64 a, uint64 b);

/* The last id drawn comes first: it locks the sequence, whose settings are then those that it was drawn by. */
void
pointstore_read_drawn(Drawn *drawn)
{
	Oid			sequence = pointstore_store()->id_sequence;
	bool		called;
	HeapTuple	settings;

	if (pointstore_here().is_range)
	{
		/* ids of any node that had the shard are below it */
		drawn->last = pointstore_last_of_node(pointstore_anybody_here());
		drawn->increment = 1;
		drawn->lowest = PG_INT64_MIN + 1;
		return;
	}
	called = read_last_drawn(sequence, &drawn->last);
	settings = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	if (!HeapTupleIsValid(settings))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pointstore.event_store_id_seq is no sequence")));
	drawn->increment = Max(((Form_pg_sequence) GETSTRUCT(settings))->seqincrement, 1);
	drawn->lowest = ((Form_pg_sequence) GETSTRUCT(settings))->seqmin;
	ReleaseSysCache(settings);
	if (!called)
		drawn->last -= drawn->increment;
	pointstore_stat_settle(sequence, drawn->last);
}

/* The last id drawn. False: none was since the sequence was made or set, and it is the first to come. See LAST_DRAWN. */
static bool
read_last_drawn(Oid sequence, int64 *last)
{
	static PointstorePlan plan = {
		.sql = "SELECT last_value FROM pointstore.event_store_id_seq"
	};
	LOCAL_FCINFO(fcinfo, 1);
	Datum		value;
	bool		isnull;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(sequence);
	fcinfo->args[0].isnull = false;
	value = pg_sequence_last_value(fcinfo);
	if (fcinfo->isnull)
	{
		pointstore_execute(&plan, NULL, NULL, false);
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	}
	*last = DatumGetInt64(value);
	return !fcinfo->isnull;
}

/* Whether an id is one that the sequence draws, or has drawn: another is of another store's. */
bool
pointstore_is_of_class(const Drawn *drawn, int64 id)
{
	uint64		distance = id < drawn->last ? (uint64) drawn->last - (uint64) id : (uint64) id - (uint64) drawn->last;

	return id <= drawn->last && distance % (uint64) drawn->increment == 0;
}

/* Makes it the smallest class that has also the ids so far apart from this one. */
void
pointstore_widen_class(Drawn *drawn, int64 step, int64 id)
{
	uint64		distance = id < drawn->last ? (uint64) drawn->last - (uint64) id : (uint64) id - (uint64) drawn->last;

	drawn->increment = common_divisor(common_divisor(drawn->increment, step), distance);
}

/* The greatest there is; the first number is not 0. */
static int64
common_divisor(uint64 a, uint64 b)
{
	while (b != 0)
	{
		uint64		rest = a % b;

		a = b;
		b = rest;
	}
	return (int64) a;
}
