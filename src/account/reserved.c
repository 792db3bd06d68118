/*-------------------------------------------------------------------------
 *
 * src/account/reserved.c
 *		What steps of movements keep of an account.
 *
 * A step that is tried or, of a saga, done and may still be undone is a row of
 * pointstore.participant_step. It is written in the same transaction as its event, which
 * updates the account's balance row: so who has locked that row knows the steps as well. What tried
 * ones reserve is part of balance.held (debits) and is balance.incoming (credits).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "account/reserved.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"

/* How many steps of an account may still be confirmed, cancelled or undone. Its row is locked, and the owner acts. */
int64
pointstore_open_steps(text *aggregate_id)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.count(*) FROM pointstore.participant_step"
		" WHERE aggregate_id" EQ "$1 AND status" EQ "ANY (ARRAY['tried', 'done'])",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(aggregate_id);
	int64		steps;
	bool		isnull;

	SPI_connect();
	pointstore_execute_of(&plan, aggregate_id, &value, NULL, false);
	steps = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return steps;
}
