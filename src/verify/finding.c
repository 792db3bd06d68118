/*-------------------------------------------------------------------------
 *
 * src/verify/finding.c
 *		Findings, as they are stored: seen, seen again, closed, announced.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "account/id.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "verify/examine.h"
#include "verify/finding.h"
#include "verify/runstate.h"

static text *read_account(PointstorePlan *plan, int64 finding);
static void announce(const Case *wrong, const Finding *finding, const char *action);

void
pointstore_finding_values(Datum *values, char *nulls, text *id, const Finding *finding)
{
	values[0] = PointerGetDatum(id);
	values[1] = CStringGetTextDatum(finding->code);
	values[2] = CStringGetTextDatum(finding->severity);
	values[3] = Int64GetDatum(finding->expected);
	values[4] = Int64GetDatum(finding->found);
	values[5] = Int64GetDatum(finding->version);
	values[6] = finding->detail;
	nulls[3] = finding->no_expected ? 'n' : ' ';
	nulls[4] = finding->no_found ? 'n' : ' ';
	nulls[5] = finding->no_version ? 'n' : ' ';
}

/*
 * Records an account's findings: open ones are seen again, new ones and what is done
 * about any are announced by a WARNING in the server's log and by NOTIFY
 * pointstore_finding with JSON.
 * Those that an index hides say so, for only a full run can see them again; and those about
 * which what was tried has failed say why.
 */
void
pointstore_record(const Case *wrong, const char *action, bool hidden)
{
#define INSERT_FINDING(column, value) \
		"INSERT INTO pointstore.finding AS f (run_id, aggregate_id, code, severity, expected, found, version, detail, action" column ")" \
		" VALUES ($1, $2, $3, $4, $5, $6, $7," \
		"  $8 OPERATOR(pg_catalog.||) CASE WHEN $10 THEN pg_catalog.jsonb_build_object('hidden', true) ELSE '{}' END" \
		"     OPERATOR(pg_catalog.||) CASE WHEN $11 IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('failed', $11) END, $9" value ")" \
		" ON CONFLICT (aggregate_id, code) WHERE resolved_at IS NULL DO UPDATE" \
		" SET last_seen_at = pg_catalog.clock_timestamp(), severity = EXCLUDED.severity, expected = EXCLUDED.expected," \
		" found = EXCLUDED.found, version = EXCLUDED.version, detail = EXCLUDED.detail," \
		" action = CASE WHEN EXCLUDED.action" EQ "'reported' THEN f.action ELSE EXCLUDED.action END" \
		" RETURNING id, f.xmax" EQ "0,"	/* true: inserted just now */ \
		" CAST(pg_catalog.jsonb_build_object('id', id, 'aggregate_id', $2, 'code', $3, 'severity', $4," \
		" 'expected', $5, 'found', $6, 'version', $7, 'action', $9) AS pg_catalog.text)"
#define FINDING_TYPES INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID, TEXTOID, BOOLOID, TEXTOID
	static PointstorePlan plan = {
		.sql = INSERT_FINDING("", ""), .nargs = 11, .argtypes = {FINDING_TYPES}
	};
	/* there is no identity that all nodes draw from */
	static PointstorePlan plan_with_id = {
		.sql = INSERT_FINDING(", id", ", $12"), .nargs = 12, .argtypes = {FINDING_TYPES, INT8OID}
	};
	bool		draws = pointstore_is_distributed();
	int			i;

	for (i = 0; i < wrong->found->n; i++)
	{
		Finding    *finding = &wrong->found->findings[i];
		Datum		values[12];
		char		nulls[13] = "            ";

		values[0] = Int64GetDatum(wrong->run->id);
		values[1] = PointerGetDatum(wrong->id);
		values[2] = CStringGetTextDatum(finding->code);
		values[3] = CStringGetTextDatum(finding->severity);
		values[4] = Int64GetDatum(finding->expected);
		values[5] = Int64GetDatum(finding->found);
		values[6] = Int64GetDatum(finding->version);
		values[7] = finding->detail;
		values[8] = CStringGetTextDatum(action);
		values[9] = BoolGetDatum(hidden);
		values[10] = wrong->failure ? CStringGetTextDatum(wrong->failure) : (Datum) 0;
		nulls[4] = finding->no_expected ? 'n' : ' ';
		nulls[5] = finding->no_found ? 'n' : ' ';
		nulls[6] = finding->no_version ? 'n' : ' ';
		nulls[10] = wrong->failure ? ' ' : 'n';
		SPI_connect();
		if (draws)
			values[11] = Int64GetDatum(pointstore_draw_for_node(wrong->id));
		pointstore_execute(draws ? &plan_with_id : &plan, values, nulls, false);
		/* no row where a trigger of the user's does not want it */
		if (SPI_processed > 0)
			announce(wrong, finding, action);
		SPI_finish();
	}
}

/* Tells of a finding by what pointstore_record() returns of it, when it is new or something was done about it. */
static void
announce(const Case *wrong, const Finding *finding, const char *action)
{
	HeapTuple	row = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;

	if (strcmp(action, "reported") != 0 || DatumGetBool(SPI_getbinval(row, desc, 2, &isnull)))
	{
		Async_Notify("pointstore_finding", SPI_getvalue(row, desc, 3));
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("finding %s: %s of account \"%s\" (%s), %s", SPI_getvalue(row, desc, 1), finding->code,
						pointstore_cstring(wrong->id), finding->severity, action),
				 strcmp(finding->code, "index_mismatch") == 0 ?
				 errhint("The extension amcheck tells which index it is; REINDEX mends it.") : 0));
	}
}

/*
 * Closes an account's open findings that are not among these, by an action or, null, by the way of the world. Those
 * that an index hides are not closed by a run that goes by it, nor those of the feed by one that does not look at that.
 */
void
pointstore_resolve(const Case *wrong, const Findings *found, const char *by, const char *action)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.finding SET resolved_at = pg_catalog.clock_timestamp(), resolved_by = $3,"
		" action = coalesce($4, action) WHERE aggregate_id" EQ "$1 AND resolved_at IS NULL AND code" NE "ALL ($2)"
		" AND ($5 OR NOT " IS_FOR_FULL_RUNS ") AND NOT " OF_MOVEMENTS("code") " AND NOT " IS_ACROSS("code"),
		.nargs = 5, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, BOOLOID}
	};
	Datum		values[5];
	Datum	   *codes = palloc(sizeof(Datum) * Max(found->n, 1));
	int			i;

	for (i = 0; i < found->n; i++)
		codes[i] = CStringGetTextDatum(found->findings[i].code);
	values[0] = PointerGetDatum(wrong->id);
	values[1] = pointstore_text_array(codes, found->n);
	values[2] = CStringGetTextDatum(by);
	values[3] = action ? CStringGetTextDatum(action) : (Datum) 0;
	values[4] = BoolGetDatum(wrong->run == NULL || wrong->run->full);
	SPI_connect();
	pointstore_execute(&plan, values, action ? "     " : "   n ", false);
	SPI_finish();
}

void
pointstore_forget_proof(text *id)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.account_proof WHERE aggregate_id" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
}

/* What is repaired is counted at once: a session that does an interrupted slice again does not find it. */
void
pointstore_count_repaired(Run *run, int findings)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.reconciliation SET findings = findings" PLUS "$2 WHERE id" EQ "$1",
		.nargs = 2, .argtypes = {INT8OID, INT4OID}
	};
	Datum		values[2];

	SPI_connect();
	values[0] = Int64GetDatum(run->id);
	values[1] = Int32GetDatum(findings);
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
}

/*
 * The account of an open finding (PS008). Of a distributed store it is looked for in the shards here, and then on the other nodes, as the
 * caller, who can log in there: the owner need not be able to.
 */
text *
pointstore_account_of_finding(int64 finding, PointstoreScope *owner)
{
#define SELECT_ACCOUNT "SELECT coalesce(CAST(aggregate_id AS pg_catalog.text), '') FROM pointstore.finding WHERE id" EQ "$1 AND resolved_at IS NULL"
	static PointstorePlan plan = {
		.sql = SELECT_ACCOUNT, .nargs = 1, .argtypes = {INT8OID}
	};
	static PointstorePlan elsewhere = {
		.sql = SELECT_ACCOUNT, .nargs = 1, .argtypes = {INT8OID}, .spans_nodes = true
	};
	int64		hash = POINTSTORE_FIRST_HASH;
	text	   *id = NULL;

	while (id == NULL && pointstore_next_place(&hash))
		id = read_account(&plan, finding);
	pointstore_leave_place();
	if (id == NULL && pointstore_is_distributed())
	{
		pointstore_act_as_caller(owner);
		id = read_account(&elsewhere, finding);
		pointstore_act_as_owner(owner);
	}
	if (id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("there is no open finding %lld", (long long) finding),
				 errdetail_internal("finding=%lld", (long long) finding)));
	return id;
}

static text *
read_account(PointstorePlan *plan, int64 finding)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = Int64GetDatum(finding);
	char	   *id = NULL;

	SPI_connect();
	pointstore_execute(plan, &value, NULL, false);
	if (SPI_processed > 0)
		id = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return id == NULL ? NULL : cstring_to_text(id);
}
