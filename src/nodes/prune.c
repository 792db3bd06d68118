/*-------------------------------------------------------------------------
 *
 * src/nodes/prune.c
 *		Movements that finished long ago keep their outcome alone: their steps and their log are deleted, the row of the
 *		movement stays for ever, by which a repeat is known.
 *
 * They are found by the log, which is in the order of time: it is gone through from its beginning, some rows at each call, as far as
 * it is old enough. What has not finished, or not long enough ago, is passed over, and looked at again when
 * the next round begins. Of a distributed store a round goes through the ranges that are here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "ground/placed.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "nodes/prune.h"

#define ROWS_AT_ONCE 1000		/* of the log */
#define PAUSE 50				/* ms, within a round */
#define ROUND_INTERVAL 60000	/* ms */

static int	retention = 30 * SECS_PER_DAY;
static int64 last_id = 0;		/* how far this round has come */
static int64 place_from = POINTSTORE_FIRST_HASH;	/* and in which range */

static bool prune_place(bool *more);
static bool prune_some(void *more);
static void prune(Datum movements);

void
pointstore_prune_init(void)
{
	DefineCustomIntVariable("pointstore.movement_retention",
							"How long the steps and the log of a movement are kept after it has finished.",
							"Its name and its outcome are kept for ever. 0: everything is.",
							&retention, 30 * SECS_PER_DAY, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/*
 * Prunes some movements in the caller's transaction, if it is time for that; the caller acts as the owner. What a trigger of
 * the owner's refuses keeps nothing else from being done: it is a WARNING, and tried again in the next round.
 */
void
pointstore_prune_movements(void)
{
	static TimestampTz last = 0;
	static int	pause = 0;
	int64		next = place_from;
	bool		more = false;

	if (retention == 0 || !TimestampDifferenceExceeds(last, GetCurrentTimestamp(), Min(pause, retention * 1000L)))
		return;
	if (!pointstore_next_place(&next))
		next = POINTSTORE_FIRST_HASH;
	else if (prune_place(&more))
		next = place_from;
	pointstore_leave_place();
	if (!more)
		last_id = 0;
	/* a plain store is one place, which is behind it then */
	pause = more || (next > place_from && next <= PG_INT32_MAX) ? PAUSE : ROUND_INTERVAL;
	place_from = next > PG_INT32_MAX ? POINTSTORE_FIRST_HASH : next;
	last = GetCurrentTimestamp();
}

/* Some of where we are. Whether there is more. */
static bool
prune_place(bool *more)
{
	ErrorData  *error = pointstore_attempt(prune_some, more);

	*more &= error == NULL;
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("movements that finished long ago cannot be pruned: %s", error->message)));
	return *more;
}

/* Tells whether the round goes on. */
static bool
prune_some(void *more)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.max(l.id), pg_catalog.count(*), pg_catalog.bool_or(l.at" GE "$3),"
		" pg_catalog.array_agg(DISTINCT l.movement_id) FILTER (WHERE m.finished_at" LT "$3)"
		" FROM (SELECT CAST(i.id AS pg_catalog.int8) AS id, CAST(i.movement_id AS pg_catalog.text) AS movement_id, i.at"
		"  FROM pointstore.movement_log i WHERE i.id" GT "$1 ORDER BY i.id LIMIT $2) l"
		" LEFT JOIN pointstore.movement m ON m.movement_id" EQ "l.movement_id",
		.nargs = 3, .argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[3];
	Datum		movements;
	int64		upto;
	bool		isnull;

	values[0] = Int64GetDatum(last_id);
	values[1] = Int64GetDatum(ROWS_AT_ONCE);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp() - retention * USECS_PER_SEC);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	upto = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (!isnull)
		*(bool *) more = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) == ROWS_AT_ONCE &&
			!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	movements = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull);
	if (!isnull)
		prune(movements);
	SPI_finish();
	last_id = upto;
	return true;
}

static void
prune(Datum movements)
{
	static PointstorePlan plans[] = {
		{
			.sql = "DELETE FROM pointstore.movement_step WHERE movement_id" EQ "ANY ($1)",
			.nargs = 1, .argtypes = {TEXTARRAYOID}
		},
		{
			.sql = "DELETE FROM pointstore.movement_log WHERE movement_id" EQ "ANY ($1)",
			.nargs = 1, .argtypes = {TEXTARRAYOID}
		},
		{
			.sql = "UPDATE pointstore.movement SET metadata = NULL WHERE movement_id" EQ "ANY ($1) AND metadata IS NOT NULL",
			.nargs = 1, .argtypes = {TEXTARRAYOID}
		}
	};
	int			i;

	if (pointstore_is_distributed())
		pointstore_note_written(pointstore_name_of_place());
	for (i = 0; i < lengthof(plans); i++)
		pointstore_execute(&plans[i], &movements, NULL, false);
}
