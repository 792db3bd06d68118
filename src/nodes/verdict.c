/*-------------------------------------------------------------------------
 *
 * src/nodes/verdict.c
 *		What people decide about movements: cancel_movement(), resolve_movement().
 *
 * Both lock the movement's row, ask nodes/protocol whether it may be, and write its phase and its steps; the coordinator, which is woken
 * when that has been committed, carries it out.
 *
 * What cancels a movement that began in an earlier incarnation of this store decides nothing: all its steps are to be asked before.
 * Its deadline is set to now, by which the coordinator gives it up in its time.
 *
 * What the owner has put on the tables runs in a security-restricted operation.
 *
 * A movement that is cancelled before it was started gets a row without a body: whoever starts it comes too late.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "nodes/notice.h"
#include "nodes/origin.h"
#include "nodes/route.h"
#include "nodes/verdict.h"

PG_FUNCTION_INFO_V1(pointstore_cancel_movement);
PG_FUNCTION_INFO_V1(pointstore_resolve_movement);

static const char *const decisions[] = {"confirm", "cancel", "accept"};

static bool cancel_before(MovementRow *row, text *movement_id, const StoreIdentity *store, text *reason, Oid caller);
static void cancel(MovementRow *row, text *reason, const StoreIdentity *store, Oid caller);
pg_noreturn static void refuse_cancel(const MovementRow *row);
static MovementView view_of(const MovementRow *row, const StepRows *steps);
static const char *spoken(const char *what, text *reason, Oid caller);
static void resolve(MovementRow *row, Resolution decision, text *reason, Oid caller);
static void record_accepted(const MovementRow *row, text *reason, Oid caller);
pg_noreturn static void raise_missing(text *movement_id);

/* cancel_movement(movement_id, reason): see the install script. */
Datum
pointstore_cancel_movement(PG_FUNCTION_ARGS)
{
	text	   *movement_id;
	text	   *reason;
	MovementRow row;

	pointstore_check_arguments(fcinfo, 2);
	movement_id = pointstore_name(fcinfo, 0, "movement_id");
	reason = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	PreventCommandIfReadOnly("cancel_movement()");
	if (pointstore_is_distributed())
	{
		JsonbParseState *state = pointstore_begin_asking("cancel", GetUserId());

		if (reason != NULL)
			pointstore_push_text(&state, "reason", reason);
		(void) pointstore_ask_movement(state, movement_id, &row);
	}
	else
		pointstore_cancel_here(&row, movement_id, reason, GetUserId());
	return pointstore_movement_answer(fcinfo, &row);
}

/* Cancels a movement whose rows are here, or would be. */
void
pointstore_cancel_here(MovementRow *row, text *movement_id, text *reason, Oid caller)
{
	StoreIdentity store;
	PointstoreScope scope;

	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	pointstore_know_store(&store);
	if (pointstore_lock_movement(row, movement_id))
		cancel(row, reason, &store, caller);
	else if (!cancel_before(row, movement_id, &store, reason, caller))
	{
		if (!pointstore_lock_movement(row, movement_id))
			raise_missing(movement_id);
		cancel(row, reason, &store, caller);
	}
	pointstore_act_as_caller(&scope);
	pointstore_await_durable(row->durable);
}

/* Of one that there is not; false: there is by now. PS002: it began in another store. */
static bool
cancel_before(MovementRow *row, text *movement_id, const StoreIdentity *store, text *reason, Oid caller)
{
	NewMovement movement = {.by_role = caller, .reason = reason, .balanced = true, .started_at = GetCurrentTimestamp()};
	char	   *origin = pointstore_other_origin(movement_id, &store->store);

	if (origin != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_REQUEST_MISMATCH),
				 errmsg("movement \"%s\" began in another store, %s", pointstore_cstring(movement_id), origin),
				 errdetail_internal("movement_id=%s, origin=%s", pointstore_cstring(movement_id), origin),
				 errhint("It is cancelled there.")));
	movement.row.movement_id = movement_id;
	movement.row.phase = PHASE_CANCELLED;
	movement.row.finished = true;
	movement.row.incarnation = store->incarnation;
	movement.row.error = spoken("cancelled before it began", reason, caller);
	if (!pointstore_insert_movement(&movement))
		return false;
	pointstore_movement_settles(movement_id);
	*row = movement.row;
	return true;
}

/* Cancels a movement that is under way; one that is cancelled already stays so. PS011: it is decided otherwise, or stuck; 42501: only operators cancel sagas. */
static void
cancel(MovementRow *row, text *reason, const StoreIdentity *store, Oid caller)
{
	MovementView view;
	StepRows	steps;
	MovementPhase next;

	if (row->phase == PHASE_CANCELLING || row->phase == PHASE_CANCELLED || row->phase == PHASE_UNDOING || row->phase == PHASE_UNDONE)
		return;
	if (row->protocol == PROTOCOL_SAGA)
		pointstore_require_operator(caller, "cancel sagas");
	if (row->phase != PHASE_TRYING && row->phase != PHASE_DOING)
		refuse_cancel(row);
	pointstore_read_steps_of(row->movement_id, &steps);
	view = view_of(row, &steps);
	view.gives_up = true;
	view.asks_all = row->incarnation != store->incarnation;
	next = pointstore_next_phase(&view);
	if (next == PHASE_CANCELLING || next == PHASE_UNDOING)
		pointstore_set_phase(row, next, spoken("cancelled", reason, caller), reason, caller);
	else
		pointstore_set_deadline(row->movement_id, GetCurrentTimestamp(), reason);
	pointstore_movement_changes();
	row->durable = InvalidXLogRecPtr;
}

/* PS011 */
static void
refuse_cancel(const MovementRow *row)
{
	const char *id = pointstore_cstring(row->movement_id);
	const char *phase = pointstore_phase_names[row->phase];

	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 errmsg("movement \"%s\" cannot be cancelled: it is %s", id, phase),
			 errdetail_internal("movement_id=%s, phase=%s", id, phase),
			 row->phase == PHASE_STUCK ? errhint("SELECT pointstore.resolve_movement('%s', 'cancel', ...);", id) :
			 row->phase == PHASE_ACCEPTED ? 0 : errhint("Another movement brings back what it moves.")));
}

/* As nodes/protocol looks at it. */
static MovementView
view_of(const MovementRow *row, const StepRows *steps)
{
	return (MovementView)
	{
		.protocol = row->protocol, .phase = row->phase, .nsteps = steps->n, .status = steps->status, .local = steps->local
	};
}

/* What movement.error says of what somebody has decided. */
static const char *
spoken(const char *what, text *reason, Oid caller)
{
	return reason == NULL ? psprintf("%s by %s", what, pointstore_role_name(caller)) :
		psprintf("%s by %s: %s", what, pointstore_role_name(caller), pointstore_cstring(reason));
}

/* resolve_movement(movement_id, decision, reason): see the install script. */
Datum
pointstore_resolve_movement(PG_FUNCTION_ARGS)
{
	text	   *movement_id;
	int			decision;
	MovementRow row;

	pointstore_check_arguments(fcinfo, 3);
	movement_id = pointstore_name(fcinfo, 0, "movement_id");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "decision" : "reason")));
	decision = pointstore_place(PG_GETARG_TEXT_PP(1), decisions, lengthof(decisions));
	if (decision < 0 || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 decision < 0 ? errmsg("there is no decision \"%s\"", pointstore_cstring(PG_GETARG_TEXT_PP(1))) :
				 errmsg("reason must not be empty"),
				 decision < 0 ? errhint("The decisions are confirm, cancel and accept.") : 0));
	PreventCommandIfReadOnly("resolve_movement()");
	if (pointstore_is_distributed())
	{
		JsonbParseState *state = pointstore_begin_asking("resolve", GetUserId());

		pointstore_push_number(&state, "decision", decision);
		pointstore_push_text(&state, "reason", PG_GETARG_TEXT_PP(2));
		(void) pointstore_ask_movement(state, movement_id, &row);
	}
	else
		pointstore_resolve_here(&row, movement_id, decision, PG_GETARG_TEXT_PP(2), GetUserId());
	return pointstore_movement_answer(fcinfo, &row);
}

/* An operator's word on a movement whose rows are here. */
void
pointstore_resolve_here(MovementRow *row, text *movement_id, Resolution decision, text *reason, Oid caller)
{
	PointstoreScope scope;

	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	if (!pointstore_lock_movement(row, movement_id))
		raise_missing(movement_id);
	resolve(row, decision, reason, caller);
	pointstore_act_as_caller(&scope);
}

/* PS011: it is not stuck, or it must not be. */
static void
resolve(MovementRow *row, Resolution decision, text *reason, Oid caller)
{
	bool		confirm;
	bool		cancel;
	StepStatus *after;
	StepRows	steps;
	MovementView view;
	int			i;

	pointstore_read_steps_of(row->movement_id, &steps);
	pointstore_was_decided(row->movement_id, &confirm, &cancel);
	view = view_of(row, &steps);
	if (!pointstore_may_resolve(&view, confirm, cancel, decision))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 row->phase != PHASE_STUCK ?
				 errmsg("movement \"%s\" is not stuck: it is %s", pointstore_cstring(row->movement_id), pointstore_phase_names[row->phase]) :
				 errmsg("movement \"%s\" cannot be resolved by \"%s\"", pointstore_cstring(row->movement_id), decisions[decision]),
				 errdetail_internal("movement_id=%s, phase=%s, decided=%s", pointstore_cstring(row->movement_id), pointstore_phase_names[row->phase],
									confirm ? "confirm" : cancel ? "cancel" : "nothing"),
				 row->phase != PHASE_STUCK ? 0 :
				 errhint("What is decided stays so, and no step is undone that was confirmed, nor confirmed that was cancelled. accept ends it as it is.")));
	after = palloc(sizeof(StepStatus) * Max(steps.n, 1));
	for (i = 0; i < steps.n; i++)
		after[i] = pointstore_step_resolved(row->protocol, decision, steps.status[i]);
	if (decision == RESOLVE_ACCEPT)
		record_accepted(row, reason, caller);
	pointstore_set_phase(row, pointstore_resolved_phase(row->protocol, decision), spoken(psprintf("decided to %s", decisions[decision]), reason, caller), reason, caller);
	pointstore_set_steps(row->movement_id, &steps, after, caller);
	if (decision == RESOLVE_CONFIRM)
		pointstore_set_deadline(row->movement_id, DT_NOEND, NULL);
	pointstore_movement_changes();
	if (pointstore_is_settled(row->phase))
		pointstore_movement_settles(row->movement_id);
}

/* A movement that was ended as it was is a finding, closed by who has decided so: its detail is what the steps were. */
static void
record_accepted(const MovementRow *row, text *reason, Oid caller)
{
#define RECORD_ACCEPTED(column, value) \
		"INSERT INTO pointstore.finding (aggregate_id, code, severity, detail, resolved_at, resolved_by" column ")" \
		" SELECT $1, 'movement_accepted', 'error'," \
		" pg_catalog.jsonb_build_object('reason', CAST($2 AS pg_catalog.text), 'error', CAST($4 AS pg_catalog.text)," \
		"  'steps', pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('step', s.step, 'server', s.server," \
		"  'aggregate_id', s.aggregate_id, 'amount', s.amount, 'status', s.status) ORDER BY s.step))," \
		" pg_catalog.clock_timestamp(), $3" value \
		" FROM pointstore.movement_step s WHERE s.movement_id" EQ "$1" \
		" RETURNING CAST(pg_catalog.jsonb_build_object('id', id, 'aggregate_id', aggregate_id, 'code', code, 'severity', severity," \
		" 'expected', NULL, 'found', NULL, 'version', NULL, 'action', 'reported') AS pg_catalog.text)"
	static PointstorePlan plan = {.sql = RECORD_ACCEPTED("", ""), .nargs = 4, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID}};
	static PointstorePlan plan_with_id = {
		.sql = RECORD_ACCEPTED(", id", ", ($5)[1]"), .nargs = 5, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID}
	};
	bool		draws = pointstore_is_distributed();
	Datum		values[5];

	values[0] = PointerGetDatum(row->movement_id);
	values[1] = PointerGetDatum(reason);
	values[2] = CStringGetTextDatum(pointstore_role_name(caller));
	values[3] = row->error == NULL ? (Datum) 0 : CStringGetTextDatum(row->error);
	if (draws)
		values[4] = pointstore_draw_ids(row->movement_id, 1);
	SPI_connect();
	pointstore_write_of(draws ? &plan_with_id : &plan, row->movement_id, values, row->error == NULL ? "   n " : NULL);
	if (SPI_processed > 0)
		Async_Notify("pointstore_finding", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
}

/* PS008 */
static void
raise_missing(text *movement_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
			 errmsg("movement \"%s\" is missing", pointstore_cstring(movement_id)),
			 errdetail_internal("movement_id=%s", pointstore_cstring(movement_id))));
}
