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
#include "account/id.h"
#include "account/kind.h"
#include "account/log.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/store.h"

/* what is logged of an account */
#define LOGGED_COLUMNS 8

static void log_side(Datum *values, char *nulls, const Account *account);

/* A row of account_log; before or after may be null, or an account that is not there. */
void
pointstore_log(const char *action, text *reason, const Account *before, const Account *after)
{
#define INSERT_INTO_LOG(column, value) \
		"INSERT INTO pointstore.account_log (aggregate_id, action, reason, by_role, before, after" column ")" \
		" VALUES ($1, $2, $3, $4," \
		" CASE WHEN $5 IS NOT NULL THEN pg_catalog.jsonb_build_object('kind', $5, 'status', $6," \
		" 'version', $7, 'balance', $8, 'held', $9, 'incoming', $10, 'unit', $11, 'state', $12) END," \
		" CASE WHEN $13 IS NOT NULL THEN pg_catalog.jsonb_build_object('kind', $13, 'status', $14," \
		" 'version', $15, 'balance', $16, 'held', $17, 'incoming', $18, 'unit', $19, 'state', $20) END" value ")"
#define LOGGED_TYPES TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, \
		TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID
	static PointstorePlan plan = {
		.sql = INSERT_INTO_LOG("", ""), .nargs = 20, .argtypes = {LOGGED_TYPES}
	};
	/* there is no identity that all nodes draw from */
	static PointstorePlan plan_with_id = {
		.sql = INSERT_INTO_LOG(", id", ", $21"), .nargs = 21, .argtypes = {LOGGED_TYPES, INT8OID}
	};
	text	   *account = after != NULL ? after->id : before->id;
	bool		draws = pointstore_is_distributed();
	PointstoreScope scope;
	Oid			role = GetOuterUserId();
	Datum		values[5 + 2 * LOGGED_COLUMNS];
	char		nulls[22] = "                     ";

	values[0] = PointerGetDatum(account);
	values[1] = CStringGetTextDatum(action);
	values[2] = PointerGetDatum(reason);
	nulls[2] = reason == NULL ? 'n' : ' ';
	if (after != NULL && OidIsValid(after->opened_by))
		role = after->opened_by;
	values[3] = CStringGetTextDatum(pointstore_role_name(role));
	log_side(&values[4], &nulls[4], before);
	log_side(&values[4 + LOGGED_COLUMNS], &nulls[4 + LOGGED_COLUMNS], after);
	pointstore_act_as_owner(&scope);
	SPI_connect();
	if (draws)
		values[20] = Int64GetDatum(pointstore_draw_for_node(account));
	pointstore_execute_of(draws ? &plan_with_id : &plan, account, values, nulls, false);
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
		memset(values, 0, LOGGED_COLUMNS * sizeof(Datum));
		memset(nulls, 'n', LOGGED_COLUMNS);
		return;
	}
	kind = pointstore_read_kind(account->kind_name);
	values[0] = PointerGetDatum(account->kind_name);
	values[1] = CStringGetTextDatum(pointstore_status_name(account->status));
	values[2] = Int64GetDatum(account->version);
	values[3] = Int64GetDatum(account->balance);
	values[4] = Int64GetDatum(account->held);
	values[5] = Int64GetDatum(account->incoming);
	values[6] = kind ? PointerGetDatum(kind->unit) : (Datum) 0;
	nulls[6] = kind ? ' ' : 'n';
	values[7] = PointerGetDatum(account->state);
	nulls[7] = account->state ? ' ' : 'n';
}
