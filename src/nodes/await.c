/*-------------------------------------------------------------------------
 *
 * src/nodes/await.c
 *		wait_for_movement(): until a movement is settled, or stuck.
 *
 * Who waits looks at the movement's row as it is now, whatever his transaction's snapshot, and sleeps until somebody says
 * that it may have been settled (notice.c); he looks again after a second anyway: of a transaction that was prepared nobody
 * tells. What he is told is durable. A movement that this transaction has started, or changed, cannot go on before it ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "ground/json.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/step.h"
#include "ground/store.h"
#include "nodes/await.h"
#include "nodes/notice.h"
#include "nodes/route.h"

PG_FUNCTION_INFO_V1(pointstore_wait_for_movement);

#define LONGEST_SLEEP 1000		/* ms */
#define LONGEST_WAIT_ON_NODE 5000	/* ms: whoever waits keeps the movement's shard from being moved */

static void await_movement(MovementRow *row, text *movement_id, TimestampTz until);
static void look_at_movement(MovementRow *row, text *movement_id);
static bool is_over(const MovementRow *row);

/* wait_for_movement(movement_id, timeout): see the install script. */
Datum
pointstore_wait_for_movement(PG_FUNCTION_ARGS)
{
	text	   *movement_id;
	int64		timeout;
	MovementRow row;

	pointstore_check_arguments(fcinfo, 2);
	movement_id = pointstore_name(fcinfo, 0, "movement_id");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), pointstore_wait_ends(PG_GETARG_INTERVAL_P(1)));
	if (pointstore_is_distributed())
	{
		JsonbParseState *state = pointstore_begin_asking("wait", GetUserId());

		pointstore_push_number(&state, "timeout", Min(timeout, LONGEST_WAIT_ON_NODE));
		(void) pointstore_ask_movement(state, movement_id, &row);
	}
	else
		pointstore_wait_here(&row, movement_id, timeout);
	return pointstore_movement_answer(fcinfo, &row);
}

/* Waits, so many ms, for a movement whose rows are here. */
void
pointstore_wait_here(MovementRow *row, text *movement_id, int64 timeout)
{
	await_movement(row, movement_id, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout));
	pointstore_await_durable(row->durable);
}

/* Waits until it is over, or so late: PS008 where there is no such, 25001 where that could not happen. */
static void
await_movement(MovementRow *row, text *movement_id, TimestampTz until)
{
	pointstore_begin_to_await(movement_id);
	for (;;)
	{
		long		left;

		CHECK_FOR_INTERRUPTS();
		look_at_movement(row, movement_id);
		if (is_over(row))
			break;
		if (row->is_ours)
			ereport(ERROR,
					(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					 errmsg("movement \"%s\" goes on when this transaction has committed, and cannot be waited for in it",
							pointstore_cstring(movement_id))));
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			break;
		pointstore_await_notice(movement_id, Min(left, LONGEST_SLEEP));
	}
	pointstore_end_to_await();
}

static void
look_at_movement(MovementRow *row, text *movement_id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pointstore movement", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PointstoreScope scope;
	bool		found;

	pointstore_act_as_reader(&scope);
	found = pointstore_read_movement(row, movement_id);
	pointstore_act_as_caller(&scope);
	MemoryContextSwitchTo(old);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("movement \"%s\" is missing", pointstore_cstring(movement_id)),
				 errdetail_internal("movement_id=%s", pointstore_cstring(movement_id)),
				 errhint("It is asked for in the store where it was started, after that was committed.")));
	if (row->error != NULL)
		row->error = pstrdup(row->error);
	if (row->body != NULL)
		row->body = DatumGetByteaPCopy(PointerGetDatum(row->body));
	MemoryContextDelete(context);
}

/* Whether there is nothing more to wait for: one that is stuck waits for an operator. */
static bool
is_over(const MovementRow *row)
{
	return pointstore_is_settled(row->phase) || row->phase == PHASE_STUCK;
}
