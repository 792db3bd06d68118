/*-------------------------------------------------------------------------
 *
 * src/verify/acknowledge.c
 *		What an operator has acknowledged: acknowledge(), and whether a finding is that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/log.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "verify/acknowledge.h"
#include "verify/across.h"
#include "verify/disagreement.h"
#include "verify/examine.h"
#include "verify/finding.h"

PG_FUNCTION_INFO_V1(pointstore_acknowledge);

/*
 * What an acknowledgement is of: what is wrong, how often, and the account's events up to a last one, by our columns.
 * Of a row, which goes on with its account, it is by how much it differs. From a statement with the account $1, the
 * code $2, severity $3, expected $4, found $5, version $6, detail $7.
 */
#define ACKNOWLEDGED(last) \
"pg_catalog.jsonb_build_object('last', " last ", 'times', $7 OPERATOR(pg_catalog.->) 'times'," \
" 'wrong', CASE WHEN $3" EQ "'critical' OR $2" EQ "ANY (ARRAY['hold_mismatch', 'movement_mismatch']) THEN pg_catalog.jsonb_build_array($6, $4, $5)" \
"               ELSE pg_catalog.jsonb_build_array(CAST($5 AS pg_catalog.numeric)" MINUS "$4) END," \
" 'events', (SELECT pg_catalog.jsonb_build_array(pg_catalog.count(*), pg_catalog.sum(pg_catalog.hash_record_extended(" \
"   ROW(e.id, e.version, e.event_type, e.amount, e.held, e.balance_after, e.request_id, e.leg, e.cause_id, e.created_at), 0)))" \
"   FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 AND coalesce(e.version" LE last ", true)))"

static void acknowledge(int64 number, text *reason, text *id);
static const Finding *find_code(const Findings *found, int64 number);
static void require_same(int64 number, const Finding *finding);

/* acknowledge(finding_id, reason): closes an open finding as known; see the install script. */
Datum
pointstore_acknowledge(PG_FUNCTION_ARGS)
{
	int64		number;
	text	   *reason;
	PointstoreScope owner;
	text	   *id;
	PointstorePlace before;

	pointstore_check_arguments(fcinfo, 2);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "finding_id" : "reason")));
	number = PG_GETARG_INT64(0);
	reason = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(reason) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must not be empty")));
	PreventCommandIfReadOnly("acknowledge()");
	pointstore_act_as_owner(&owner);
	before = pointstore_here();
	PG_TRY();
	{
		id = pointstore_account_of_finding(number, &owner);
		pointstore_go_to(id);
		if (!pointstore_acknowledge_disagreement(number, reason, GetOuterUserId()))
			acknowledge(number, reason, id);
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	pointstore_act_as_caller(&owner);
	PG_RETURN_VOID();
}

/* Closes a finding of an account, where that is. */
static void
acknowledge(int64 number, text *reason, text *id)
{
	static PointstorePlan close = {
		.sql = "UPDATE pointstore.finding SET resolved_at = pg_catalog.clock_timestamp(), resolved_by = $8, action = 'acknowledged',"
		" acknowledged = " ACKNOWLEDGED("x.last")
		"  FROM (SELECT coalesce(pg_catalog.max(version), 0) AS last FROM pointstore.event_store WHERE aggregate_id" EQ "$1) x WHERE id" EQ "$9",
		.nargs = 9, .argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID, TEXTOID, INT8OID}
	};
	Account		account;
	const Finding *finding;
	Datum		values[9];
	char		nulls[10] = "         ";

	pointstore_read_account(&account, id, pointstore_push_snapshot(), LOCK_ACCOUNT);
	if (!pointstore_acknowledge_across(number, GetOuterUserId()))
	{
		finding = find_code(pointstore_examine_now(id), number);
		require_same(number, finding);
		pointstore_finding_values(values, nulls, id, finding);
		values[7] = CStringGetTextDatum(pointstore_role_name(GetOuterUserId()));
		values[8] = Int64GetDatum(number);
		SPI_connect();
		pointstore_execute(&close, values, nulls, false);
		SPI_finish();
	}
	pointstore_log("acknowledge", reason, account.exists ? &account : NULL, &account);
	pointstore_release_account(&account);
	PopActiveSnapshot();
}

/* What is wrong now of a finding's code: null, nothing, or an index hides it. */
static const Finding *
find_code(const Findings *found, int64 number)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(code AS pg_catalog.text), '') FROM pointstore.finding WHERE id" EQ "$1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(number);
	const Finding *result = NULL;
	int			i;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	for (i = 0; i < found->n && SPI_processed > 0; i++)
		if (strcmp(found->findings[i].code, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)) == 0)
			result = &found->findings[i];
	SPI_finish();
	return result;
}

/* The operator who acknowledges a finding has seen what it says: PS011 where that is not what is wrong now. */
static void
require_same(int64 number, const Finding *finding)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding WHERE id" EQ "$1"
		" AND (detail OPERATOR(pg_catalog.->) 'times')" EQ "($5 OPERATOR(pg_catalog.->) 'times')"
		" AND CASE WHEN severity" EQ "'critical' OR code" EQ "ANY (ARRAY['hold_mismatch', 'movement_mismatch'])"
		"          THEN pg_catalog.jsonb_build_array(version, expected, found)" EQ "pg_catalog.jsonb_build_array($4, $2, $3)"
		"          ELSE coalesce(CAST(found AS pg_catalog.numeric)" MINUS "expected" EQ "(CAST($3 AS pg_catalog.numeric)" MINUS "$2), found IS NULL OR expected IS NULL) END",
		.nargs = 5, .argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, JSONBOID}
	};
	Datum		values[5] = {Int64GetDatum(number)};
	char		nulls[6] = "     ";
	bool		same = false;

	if (finding != NULL)
	{
		values[1] = Int64GetDatum(finding->expected);
		values[2] = Int64GetDatum(finding->found);
		values[3] = Int64GetDatum(finding->version);
		values[4] = finding->detail;
		nulls[1] = finding->no_expected ? 'n' : ' ';
		nulls[2] = finding->no_found ? 'n' : ' ';
		nulls[3] = finding->no_version ? 'n' : ' ';
		SPI_connect();
		pointstore_execute(&plan, values, nulls, false);
		same = SPI_processed > 0;
		SPI_finish();
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("finding %lld is not what is wrong now", (long long) number),
				 errdetail_internal("finding=%lld", (long long) number),
				 errhint("CALL pointstore.reconcile('full'); brings the findings up to date. What an index hides is not acknowledged: REINDEX mends it.")));
}

bool
pointstore_is_acknowledged(text *id, const Finding *finding)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding f WHERE f.aggregate_id" EQ "$1 AND f.code" EQ "$2 AND f.acknowledged IS NOT NULL"
		" AND f.acknowledged" EQ ACKNOWLEDGED("CAST((f.acknowledged OPERATOR(pg_catalog.->) 'last') AS pg_catalog.int8)"),
		.nargs = 7, .argtypes = {TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID}
	};
	Datum		values[7];
	char		nulls[8] = "       ";
	bool		acknowledged;

	pointstore_finding_values(values, nulls, id, finding);
	SPI_connect();
	pointstore_execute(&plan, values, nulls, true);
	acknowledged = SPI_processed > 0;
	SPI_finish();
	return acknowledged;
}
