/*-------------------------------------------------------------------------
 *
 * src/feed/decision.c
 *		subscription_log: what was decided about subscriptions, and about events that failed.
 *
 * With each row that comes a few of the oldest go, where they are older than
 * pointstore.log_retention: none waits for another's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "feed/decision.h"
#include "feed/number.h"
#include "ground/identity.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"

static int	log_retention = 30 * SECS_PER_DAY;

static void prune(void);

/* Called once when the library is loaded. */
void
pointstore_decisions_init(void)
{
	DefineCustomIntVariable("pointstore.log_retention",
							"How long rows of pointstore.subscription_log are kept; 0: for ever.",
							NULL, &log_retention, 30 * SECS_PER_DAY, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* A row of subscription_log. */
void
pointstore_log_decision(const FeedDecision *decision)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.subscription_log (" LOG_COLUMNS "subscription, action, slot, member, aggregate_id, position, error, by_role)"
		" VALUES (" LOG_VALUES "$1, $2, $3, $4, $5, $6, $7, $8)",
		.nargs = 8, .argtypes = {TEXTOID, TEXTOID, INT2OID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID}
	};
	Datum		values[8] = {PointerGetDatum(decision->subscription), CStringGetTextDatum(decision->action), Int16GetDatum(pointstore_number_of_slot(decision->slot)),
		PointerGetDatum(decision->member), PointerGetDatum(decision->aggregate_id), Int64GetDatum(decision->position),
		PointerGetDatum(decision->error), CStringGetTextDatum(pointstore_role_name(GetOuterUserId()))};
	char		nulls[] = "        ";

	nulls[2] = decision->has_slot ? ' ' : 'n';
	nulls[3] = decision->member == NULL ? 'n' : ' ';
	nulls[4] = decision->aggregate_id == NULL ? 'n' : ' ';
	nulls[5] = decision->position == 0 ? 'n' : ' ';
	nulls[6] = decision->error == NULL ? 'n' : ' ';
	pointstore_note_written_here();
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	if (log_retention > 0)
		prune();
	SPI_finish();
}

static void
prune(void)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.subscription_log WHERE id" EQ "ANY (ARRAY(SELECT l.id FROM pointstore.subscription_log l"
		" WHERE l.id" EQ "ANY (ARRAY(SELECT o.id FROM pointstore.subscription_log o ORDER BY o.id LIMIT 20)) AND l.at" LT "$1"
		" FOR UPDATE SKIP LOCKED))",
		.nargs = 1, .argtypes = {TIMESTAMPTZOID}
	};
	Datum		value = TimestampTzGetDatum(GetCurrentTimestamp() - (TimestampTz) log_retention * USECS_PER_SEC);

	pointstore_execute(&plan, &value, NULL, false);
}

/* Whether an error says something of an event: not one that comes of other sessions, or of a shortage. */
bool
pointstore_blames_event(int sqlerrcode)
{
	int			class = ERRCODE_TO_CATEGORY(sqlerrcode);

	return sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE && sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED &&
		sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && class != ERRCODE_OPERATOR_INTERVENTION &&
		class != ERRCODE_INSUFFICIENT_RESOURCES && class != ERRCODE_CONNECTION_EXCEPTION;
}
