/*-------------------------------------------------------------------------
 *
 * src/nodes/movement.c
 *		Movements: start_movement(), move(). What begins here is driven on by the coordinator (coordinator.c).
 *
 * A movement begins in its caller's transaction: its row first, so that another of that name waits or is answered with
 * what there is, then what is asked of this store's own accounts, then its steps. A refusal of
 * an own account is an error, which leaves nothing of the movement. When the transaction has committed the coordinator is woken.
 *
 * A movement of this store alone needs no coordinator: its steps are the legs of one transfer, in the caller's transaction, and
 * it is over as it begins.
 *
 * A repeat is answered, whoever asks, before it is looked whether he might start it. Nothing of it is told before it is durable.
 *
 * What the owner has put on these tables runs in a security-restricted operation, and so leaves nothing to a caller's commit.
 *
 * Locks: the row of the movement, then the accounts in the order in which batches lock them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "append/append.h"
#include "append/batch.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/inject.h"
#include "ground/name.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/store.h"
#include "nodes/ask.h"
#include "nodes/notice.h"
#include "nodes/origin.h"
#include "nodes/participant.h"
#include "nodes/record.h"

PG_FUNCTION_INFO_V1(pointstore_start_movement);
PG_FUNCTION_INFO_V1(pointstore_move);

/* A movement as it begins. */
typedef struct Beginning
{
	AskedMovement asked;
	bool		same_unit;		/* a transfer's two accounts, named as such where they count different things */
	StoreIdentity store;
	NewMovement movement;
	StepRows	steps;
} Beginning;

static void read_times(FunctionCallInfo fcinfo, AskedMovement *asked, int deadline, int metadata);
static Datum begin(FunctionCallInfo fcinfo, Beginning *beginning);
static void fill_row(Beginning *beginning, Oid caller);
static TimestampTz end_of(Interval *deadline, TimestampTz from);
static Datum answer_repeat(FunctionCallInfo fcinfo, const Beginning *beginning);
static void check_beginning(const Beginning *beginning);
static void check_server(text *name, Oid caller);
static void fill_steps(Beginning *beginning);
static void transfer_here(Beginning *beginning);
static Jsonb *metadata_of_step(const AskedMovement *asked, int step);
static void try_own(Beginning *beginning);
static int	collect_own(Beginning *beginning, const MovementView *view, StepMessage *messages, int *from);
static void take_answers(Beginning *beginning, const StepMessage *messages, int n);

/* start_movement(movement_id, steps, protocol, deadline, metadata): see the install script. */
Datum
pointstore_start_movement(PG_FUNCTION_ARGS)
{
	Beginning	beginning = {{0}};
	AskedMovement *asked = &beginning.asked;

	pointstore_check_arguments(fcinfo, 5);
	PreventCommandIfReadOnly("start_movement()");
	asked->movement_id = pointstore_name(fcinfo, 0, "movement_id");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "steps" : "protocol")));
	asked->protocol = pointstore_read_protocol(PG_GETARG_TEXT_PP(2));
	read_times(fcinfo, asked, 3, 4);
	pointstore_read_steps(asked, PG_GETARG_JSONB_P(1));
	pointstore_ask_end(asked);
	return begin(fcinfo, &beginning);
}

/* move(from_id, to_id, amount, movement_id, to_server, protocol, payload, deadline, metadata): see the install script. */
Datum
pointstore_move(PG_FUNCTION_ARGS)
{
	Beginning	beginning = {.same_unit = true};
	AskedMovement *asked = &beginning.asked;
	int64		amount;
	int			i;

	pointstore_check_arguments(fcinfo, 9);
	PreventCommandIfReadOnly("move()");
	asked->movement_id = pointstore_name(fcinfo, 3, "movement_id");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(5))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(2) ? "amount" : "protocol")));
	amount = PG_GETARG_INT64(2);
	if (amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amount of a movement must be positive, is %lld", (long long) amount)));
	asked->protocol = pointstore_read_protocol(PG_GETARG_TEXT_PP(5));
	read_times(fcinfo, asked, 7, 8);
	pointstore_ask_begin(asked, 2);
	for (i = 0; i < 2; i++)
	{
		asked->events[i].aggregate_id = pointstore_name(fcinfo, i, i == 0 ? "from_id" : "to_id");
		asked->events[i].amount = i == 0 ? -amount : amount;
		asked->events[i].payload = pointstore_payload(fcinfo, 6);
	}
	asked->steps[1].server = PG_ARGISNULL(4) ? NULL : pointstore_name(fcinfo, 4, "to_server");
	if (asked->steps[1].server == NULL && pointstore_same_text(asked->events[0].aggregate_id, asked->events[1].aggregate_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" does not move anything to itself", pointstore_cstring(asked->events[0].aggregate_id))));
	pointstore_ask_end(asked);
	return begin(fcinfo, &beginning);
}

/* The arguments deadline and metadata, by their numbers. */
static void
read_times(FunctionCallInfo fcinfo, AskedMovement *asked, int deadline, int metadata)
{
	if (PG_ARGISNULL(deadline))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("deadline must not be null")));
	asked->deadline = PG_GETARG_INTERVAL_P(deadline);
	asked->metadata = PG_ARGISNULL(metadata) ? NULL : PG_GETARG_JSONB_P(metadata);
}

/* Begins a movement that has been checked, or answers with the one of that name. */
static Datum
begin(FunctionCallInfo fcinfo, Beginning *beginning)
{
	PointstoreScope scope;
	Oid			caller = GetUserId();
	bool		new;

	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	pointstore_know_store(&beginning->store);
	fill_row(beginning, caller);
	new = pointstore_insert_movement(&beginning->movement);
	if (new)
		check_beginning(beginning);
	pointstore_act_as_caller(&scope);
	if (!new)
		return answer_repeat(fcinfo, beginning);
	fill_steps(beginning);
	if (beginning->asked.local)
		transfer_here(beginning);
	else
		try_own(beginning);
	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	pointstore_insert_steps(&beginning->movement, &beginning->steps);
	pointstore_act_as_caller(&scope);
	if (beginning->asked.local)
		pointstore_movement_settles(beginning->asked.movement_id);
	else
		pointstore_movement_starts();
	POINTSTORE_INJECT("start-before-commit");
	return pointstore_movement_answer(fcinfo, &beginning->movement.row);
}

/* The row of movement that is to be. One of this store alone is over as it begins. */
static void
fill_row(Beginning *beginning, Oid caller)
{
	const AskedMovement *asked = &beginning->asked;
	NewMovement *movement = &beginning->movement;
	bool		saga = asked->protocol == PROTOCOL_SAGA;

	movement->row.movement_id = asked->movement_id;
	movement->row.protocol = asked->protocol;
	movement->row.phase = asked->local ? (saga ? PHASE_DONE : PHASE_CONFIRMED) : saga ? PHASE_DOING : PHASE_TRYING;
	movement->row.body = asked->body;
	movement->row.incarnation = beginning->store.incarnation;
	movement->row.finished = asked->local;
	movement->started_at = GetCurrentTimestamp();
	movement->deadline = end_of(asked->deadline, movement->started_at);
	movement->by_role = caller;
	movement->metadata = asked->metadata;
	movement->balanced = asked->balanced;
}

/* 22023 where that is no time to come, 22008 where it is out of range. */
static TimestampTz
end_of(Interval *deadline, TimestampTz from)
{
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(from), IntervalPGetDatum(deadline)));

	if (end <= from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deadline must be positive")));
	return end;
}

/* What has become of the movement of that name, when it is durable: PS002 where that was asked for something else. */
static Datum
answer_repeat(FunctionCallInfo fcinfo, const Beginning *beginning)
{
	bytea	   *asked = beginning->asked.body;
	PointstoreScope scope;
	MovementRow row;
	bool		found;

	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	found = pointstore_read_movement(&row, beginning->asked.movement_id);
	pointstore_act_as_caller(&scope);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("movement \"%s\" cannot be written", pointstore_cstring(beginning->asked.movement_id)),
				 errdetail("A trigger or a policy on pointstore.movement keeps it from being written.")));
	if (row.body != NULL &&
		(VARSIZE_ANY_EXHDR(row.body) != VARSIZE_ANY_EXHDR(asked) ||
		 memcmp(VARDATA_ANY(row.body), VARDATA_ANY(asked), VARSIZE_ANY_EXHDR(asked)) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_REQUEST_MISMATCH),
				 errmsg("movement \"%s\" was started with another protocol or other steps", pointstore_cstring(row.movement_id)),
				 errdetail_internal("movement_id=%s, phase=%s", pointstore_cstring(row.movement_id), pointstore_phase_names[row.phase])));
	pointstore_await_durable(row.durable);
	return pointstore_movement_answer(fcinfo, &row);
}

/* What forbids it: 42501, 42704, 42809, PS002. */
static void
check_beginning(const Beginning *beginning)
{
	const AskedMovement *asked = &beginning->asked;
	Oid			caller = beginning->movement.by_role;
	char	   *origin;
	int			i;

	if (asked->protocol == PROTOCOL_SAGA)
		pointstore_require_operator(caller, "start sagas");
	for (i = 0; i < asked->nsteps; i++)
	{
		text	   *server = asked->steps[i].server;

		if (server != NULL && (i == 0 || asked->steps[i - 1].server == NULL || !pointstore_same_text(server, asked->steps[i - 1].server)))
			check_server(server, caller);
	}
	origin = pointstore_other_origin(asked->movement_id, &beginning->store.store);
	if (origin != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_REQUEST_MISMATCH),
				 errmsg("movement \"%s\" began in another store, %s", pointstore_cstring(asked->movement_id), origin),
				 errdetail_internal("movement_id=%s, origin=%s", pointstore_cstring(asked->movement_id), origin)));
}

/* A server of ours that the caller may use, and that the store's owner, whom the coordinator acts as, has a mapping for. */
static void
check_server(text *name, Oid caller)
{
	char	   *server_name = pointstore_cstring(name);
	ForeignServer *server = GetForeignServerByName(server_name, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", server_name),
				 errhint("CREATE SERVER ... FOREIGN DATA WRAPPER pointstore names another store.")));
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "pointstore") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not of the foreign data wrapper pointstore", server_name)));
	if (!pointstore_may_use_server(server->serverid, caller))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", server_name)));
	(void) GetUserMapping(pointstore_store()->owner, server->serverid);
}

/* Its steps as they are asked for: nothing is known of them. */
static void
fill_steps(Beginning *beginning)
{
	const AskedMovement *asked = &beginning->asked;
	StepRows   *steps = &beginning->steps;
	int			n = asked->nsteps;
	int			i;

	steps->n = n;
	steps->status = palloc0(sizeof(StepStatus) * n);
	steps->local = palloc0(sizeof(bool) * n);
	steps->server = palloc0(sizeof(text *) * n);
	steps->aggregate_id = palloc0(sizeof(text *) * n);
	steps->amount = palloc0(sizeof(int64) * n);
	steps->event_type = palloc0(sizeof(text *) * n);
	steps->payload = palloc0(sizeof(Jsonb *) * n);
	steps->undo = palloc0(sizeof(Jsonb *) * n);
	steps->kind = palloc0(sizeof(text *) * n);
	steps->unit = palloc0(sizeof(char *) * n);
	steps->event_id = palloc0(sizeof(int64) * n);
	for (i = 0; i < n; i++)
	{
		steps->status[i] = STEP_PENDING;
		steps->server[i] = asked->steps[i].server;
		steps->local[i] = asked->steps[i].server == NULL;
		steps->undo[i] = asked->steps[i].undo;
		steps->aggregate_id[i] = asked->events[i].aggregate_id;
		steps->amount[i] = asked->events[i].amount;
		steps->event_type[i] = asked->events[i].event_type;
		steps->payload[i] = asked->events[i].payload;
		steps->kind[i] = asked->events[i].kind;
	}
}

/* All of a movement of this store alone: one batch, whose events, where they balance, are the legs of a transfer. */
static void
transfer_here(Beginning *beginning)
{
	AskedMovement *asked = &beginning->asked;
	Batch		batch = {
		.proposals = asked->events, .nevents = asked->nsteps, .same_unit = beginning->same_unit,
		.balanced = asked->balanced && !beginning->same_unit
	};
	int			i;

	for (i = 0; i < asked->nsteps; i++)
		asked->events[i].metadata = metadata_of_step(asked, i + 1);
	if (asked->balanced && asked->nsteps > 1)
	{
		pointstore_make_request(asked->events, asked->nsteps, NULL);
		pointstore_link_legs(asked->events, asked->nsteps);
	}
	pointstore_append(&batch);
	for (i = 0; i < asked->nsteps; i++)
	{
		beginning->steps.status[i] = STEP_CONFIRMED;
		beginning->steps.event_id[i] = batch.decisions[i].id;
	}
}

/* The movement's, and which step of which movement it is. */
static Jsonb *
metadata_of_step(const AskedMovement *asked, int step)
{
	StringInfoData own;
	Datum		of_step;

	initStringInfo(&own);
	appendStringInfoString(&own, "{\"movement_id\": ");
	escape_json(&own, pointstore_cstring(asked->movement_id));
	appendStringInfo(&own, ", \"step\": %d}", step);
	of_step = DirectFunctionCall1(jsonb_in, CStringGetDatum(own.data));
	if (asked->metadata == NULL)
		return DatumGetJsonbP(of_step);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(asked->metadata), of_step));
}

/*
 * What a movement of several stores asks first of this one's accounts, in this transaction: what cannot be tried is an error.
 * A saga goes as far as its first step away.
 */
static void
try_own(Beginning *beginning)
{
	const AskedMovement *asked = &beginning->asked;
	StepMessage *messages = palloc0(sizeof(StepMessage) * asked->nsteps);
	MovementView view = {
		.protocol = asked->protocol, .phase = beginning->movement.row.phase, .nsteps = asked->nsteps,
		.status = beginning->steps.status, .local = beginning->steps.local
	};
	int			from = 0;
	int			n;

	while ((n = collect_own(beginning, &view, messages, &from)) > 0)
	{
		pointstore_take_messages(&beginning->store.store, messages, n, MESSAGES_OF_CALLER);
		take_answers(beginning, messages, n);
	}
}

/* The messages, from a step on, to own accounts that can go now; of a saga one. */
static int
collect_own(Beginning *beginning, const MovementView *view, StepMessage *messages, int *from)
{
	const AskedMovement *asked = &beginning->asked;
	bool		saga = asked->protocol == PROTOCOL_SAGA;
	int			n = 0;

	for (; *from < asked->nsteps && !(saga && n > 0); (*from)++)
	{
		int			i = *from;

		if (!beginning->steps.local[i] || pointstore_next_message(view, i) != VERB_TRY)
			continue;
		messages[n++] = (StepMessage)
		{
			.verb = VERB_TRY, .protocol = saga ? PROTOCOL_SAGA : PROTOCOL_TCC, .movement_id = asked->movement_id,
			.step = i + 1, .incarnation = beginning->movement.row.incarnation, .number = beginning->movement.number,
			.aggregate_id = asked->events[i].aggregate_id, .amount = asked->events[i].amount, .event_type = asked->events[i].event_type,
			.payload = asked->events[i].payload, .metadata = asked->metadata, .undo = asked->steps[i].undo, .kind = asked->events[i].kind
		};
	}
	return n;
}

/* Of a caller's messages each answer is that it was done. */
static void
take_answers(Beginning *beginning, const StepMessage *messages, int n)
{
	StepRows   *steps = &beginning->steps;
	int			i;

	for (i = 0; i < n; i++)
	{
		int			step = messages[i].step - 1;

		steps->status[step] = pointstore_step_after(beginning->asked.protocol, beginning->movement.row.phase, steps->status[step], messages[i].answer);
		steps->unit[step] = messages[i].unit;
		steps->event_id[step] = messages[i].event_id;
		if (steps->status[step] != STEP_TRIED && steps->status[step] != STEP_DONE)
			elog(ERROR, "step %d of movement \"%s\" was answered by \"%s\"", step + 1, pointstore_cstring(beginning->asked.movement_id),
				 pointstore_answer_names[messages[i].answer]);
	}
}
