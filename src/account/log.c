/*-------------------------------------------------------------------------
 *
 * src/account/log.c
 *		account_log: what happened to accounts without being an event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "account/account.h"
#include "account/kind.h"
#include "account/log.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"

static void log_side(Datum *values, char *nulls, const Account *account);

/* A row of account_log; before or after may be null, or an account that is not there. */
void
pointstore_log(const char *action, text *reason, const Account *before, const Account *after)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.account_log (aggregate_id, action, reason, by_role, before, after)"
		" VALUES ($1, $2, $3, $4,"
		" CASE WHEN $5 IS NOT NULL THEN pg_catalog.jsonb_build_object('kind', $5, 'status', $6,"
		" 'version', $7, 'balance', $8, 'held', $9, 'unit', $10, 'state', $11) END,"
		" CASE WHEN $12 IS NOT NULL THEN pg_catalog.jsonb_build_object('kind', $12, 'status', $13,"
		" 'version', $14, 'balance', $15, 'held', $16, 'unit', $17, 'state', $18) END)",
		.nargs = 18,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID,
		TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID}
	};
	PointstoreScope scope;
	Oid			role = GetOuterUserId();
	Datum		values[18];
	char		nulls[19] = "                  ";

	values[0] = PointerGetDatum(after != NULL ? after->id : before->id);
	values[1] = CStringGetTextDatum(action);
	values[2] = PointerGetDatum(reason);
	nulls[2] = reason == NULL ? 'n' : ' ';
	if (after != NULL && OidIsValid(after->opened_by))
		role = after->opened_by;
	values[3] = CStringGetTextDatum(pointstore_role_name(role));
	log_side(&values[4], &nulls[4], before);
	log_side(&values[11], &nulls[11], after);
	pointstore_act_as_owner(&scope);
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/* One of the two states of the account as columns of the statement above; null: there was none. */
static void
log_side(Datum *values, char *nulls, const Account *account)
{
	const Kind *kind;

	if (account == NULL || account->kind_name == NULL)
	{
		memset(values, 0, 7 * sizeof(Datum));
		memset(nulls, 'n', 7);
		return;
	}
	kind = pointstore_read_kind(account->kind_name);
	values[0] = PointerGetDatum(account->kind_name);
	values[1] = CStringGetTextDatum(pointstore_status_name(account->status));
	values[2] = Int64GetDatum(account->version);
	values[3] = Int64GetDatum(account->balance);
	values[4] = Int64GetDatum(account->held);
	values[5] = kind ? PointerGetDatum(kind->unit) : (Datum) 0;
	nulls[5] = kind ? ' ' : 'n';
	values[6] = PointerGetDatum(account->state);
	nulls[6] = account->state ? ' ' : 'n';
}
