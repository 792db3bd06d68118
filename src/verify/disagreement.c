/*-------------------------------------------------------------------------
 *
 * src/verify/disagreement.c
 *		Findings about movements: where another store says something else than this one, or an operator has taken a movement as
 *		it was.
 *
 * They are rows of pointstore.finding with the movement's id where others have an account's. Their codes tell them apart: runs of
 * the reconciler, which look at one store, leave them alone, and nothing repairs them. Their detail has a member for
 * each server, "" for this store, with a member for each step. A pass over a server replaces what is said of it;
 * a finding is closed when nothing is said of any.
 *
 * An acknowledged one is closed too, and is not found again while a step is said to be as it was then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ground/identity.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "verify/disagreement.h"

static bool is_acknowledged(Datum *values);
static void announce(const Disagreement *wrong);

/*
 * Records what is wrong with a step; false: that is acknowledged. A new finding is announced as those of accounts are, by a
 * WARNING and by NOTIFY. The caller acts as the owner.
 */
bool
pointstore_record_disagreement(const Disagreement *wrong)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.finding AS f (aggregate_id, code, severity, expected, found, detail)"
		" VALUES ($1, $2, $3, $4, $5, pg_catalog.jsonb_build_object($6, pg_catalog.jsonb_build_object($7, $8)))"
		" ON CONFLICT (aggregate_id, code) WHERE resolved_at IS NULL DO UPDATE"
		" SET last_seen_at = pg_catalog.clock_timestamp(), severity = EXCLUDED.severity, expected = EXCLUDED.expected, found = EXCLUDED.found,"
		" detail = f.detail OPERATOR(pg_catalog.||) CASE WHEN f.last_seen_at" LT "$9 THEN EXCLUDED.detail"
		"   ELSE pg_catalog.jsonb_build_object($6, coalesce(f.detail OPERATOR(pg_catalog.->) $6, '{}') OPERATOR(pg_catalog.||)"
		"        pg_catalog.jsonb_build_object($7, $8)) END"
		" RETURNING f.xmax" EQ "0, CAST(pg_catalog.jsonb_build_object('id', id, 'movement_id', $1, 'code', $2, 'severity', $3,"
		" 'server', $6, 'step', $7) AS pg_catalog.text)",
		.nargs = 9,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID}
	};
	Datum		values[9];
	char		nulls[10] = "         ";
	bool		acknowledged;

	values[0] = PointerGetDatum(wrong->movement_id);
	values[1] = CStringGetTextDatum(wrong->code);
	values[2] = CStringGetTextDatum(wrong->severity);
	values[3] = Int64GetDatum(wrong->expected);
	values[4] = Int64GetDatum(wrong->found);
	values[5] = CStringGetTextDatum(wrong->server);
	values[6] = CStringGetTextDatum(psprintf("%d", wrong->step));
	values[7] = wrong->detail;
	values[8] = TimestampTzGetDatum(wrong->since);
	nulls[3] = wrong->no_expected ? 'n' : ' ';
	nulls[4] = wrong->no_found ? 'n' : ' ';
	SPI_connect();
	acknowledged = is_acknowledged(values);
	if (!acknowledged)
	{
		pointstore_execute(&plan, values, nulls, false);
		/* no row where a trigger of the user's does not want it */
		if (SPI_processed > 0)
			announce(wrong);
	}
	SPI_finish();
	return !acknowledged;
}

/* Whether an operator has acknowledged that a step is said to be so. */
static bool
is_acknowledged(Datum *values)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding f WHERE f.aggregate_id" EQ "$1 AND f.code" EQ "$2 AND f.acknowledged IS NOT NULL"
		" AND (f.acknowledged OPERATOR(pg_catalog.->) $3 OPERATOR(pg_catalog.->) $4)" EQ "$5 LIMIT 1",
		.nargs = 5, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID}
	};
	Datum		of[5] = {values[0], values[1], values[5], values[6], values[7]};

	pointstore_execute(&plan, of, NULL, false);
	return SPI_processed > 0;
}

/* Tells of a finding by what was returned of it, when it is new. */
static void
announce(const Disagreement *wrong)
{
	HeapTuple	row = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;

	if (!DatumGetBool(SPI_getbinval(row, desc, 1, &isnull)))
		return;
	Async_Notify("pointstore_finding", SPI_getvalue(row, desc, 2));
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 wrong->server[0] == '\0' ?
			 errmsg("%s of movement \"%s\" (%s)", wrong->code, pointstore_cstring(wrong->movement_id), wrong->severity) :
			 errmsg("%s of movement \"%s\" at server \"%s\" (%s)", wrong->code, pointstore_cstring(wrong->movement_id), wrong->server,
					wrong->severity)));
}

/* After a pass over a server: what it has not found of it any more is no longer said. The caller acts as the owner. */
void
pointstore_resolve_disagreements(const char *server, TimestampTz since)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.finding f SET"
		" resolved_at = CASE WHEN x.rest" EQ "'{}' THEN pg_catalog.clock_timestamp() END,"
		" resolved_by = CASE WHEN x.rest" EQ "'{}' THEN 'reconcile_movements' END,"
		" detail = CASE WHEN x.rest" EQ "'{}' THEN f.detail ELSE x.rest END"
		" FROM (SELECT o.id, o.detail OPERATOR(pg_catalog.-) $1 AS rest FROM pointstore.finding o"
		"        WHERE o.resolved_at IS NULL AND " OF_MOVEMENTS("o.code") " AND o.code" NE "'movement_accepted'"
		"          AND o.detail OPERATOR(pg_catalog.?) $1 AND o.last_seen_at" LT "$2) x"
		" WHERE f.id" EQ "x.id",
		.nargs = 2, .argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {CStringGetTextDatum(server), TimestampTzGetDatum(since)};

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
}

/* acknowledge() of a finding about a movement, by a role; false: it is none. The reason joins its detail. The caller acts as the owner. */
bool
pointstore_acknowledge_disagreement(int64 finding, text *reason, Oid role)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.finding SET resolved_at = pg_catalog.clock_timestamp(), resolved_by = $2, action = 'acknowledged', acknowledged = detail,"
		" detail = detail OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('reason', $3)"
		" WHERE id" EQ "$1 AND resolved_at IS NULL AND " OF_MOVEMENTS("code"),
		.nargs = 3, .argtypes = {INT8OID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {Int64GetDatum(finding), CStringGetTextDatum(pointstore_role_name(role)), PointerGetDatum(reason)};
	bool		done;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	done = SPI_processed > 0;
	SPI_finish();
	return done;
}

/* PS011 of a finding about a movement: there is nothing in one store that would repair it. */
void
pointstore_refuse_disagreement(int64 finding)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding WHERE id" EQ "$1 AND resolved_at IS NULL AND " OF_MOVEMENTS("code"),
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(finding);
	bool		found;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	found = SPI_processed > 0;
	SPI_finish();
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("finding %lld is about a movement, and not repaired", (long long) finding),
				 errdetail_internal("finding=%lld", (long long) finding),
				 errhint("Append what sets the accounts right, in each of the stores, then acknowledge() the finding.")));
}
