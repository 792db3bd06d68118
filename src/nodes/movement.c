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
 * Of a distributed store the rows are on the node of the movement, the accounts on theirs. One whose accounts are all on one node is
 * a transfer there; of others what is asked of the accounts is asked in the caller's transaction too, and the rows are written
 * as if it had not been: the coordinator asks again, and is answered that it was done.
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
#include "ground/json.h"
#include "ground/name.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/shard.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "nodes/apart.h"
#include "nodes/ask.h"
#include "nodes/movement.h"
#include "nodes/notice.h"
#include "nodes/origin.h"
#include "nodes/route.h"

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
static void fill_row(Beginning *beginning, Oid caller, bool settled);
static TimestampTz end_of(Interval *deadline, TimestampTz from);
static Datum begin_on_nodes(FunctionCallInfo fcinfo, Beginning *beginning);
static bool is_of_one_node(const AskedMovement *asked);
static bool ask_to_begin(Beginning *beginning, bool settled);
static Jsonb *tell_steps(const AskedMovement *asked);
static void read_repeat(MovementRow *row, const AskedMovement *asked);
static void check_name(const Beginning *beginning);
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

	if (pointstore_is_distributed())
		return begin_on_nodes(fcinfo, beginning);
	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	pointstore_know_store(&beginning->store);
	fill_row(beginning, caller, beginning->asked.local);
	new = pointstore_insert_movement(&beginning->movement);
	if (new)
	{
		check_beginning(beginning);
		check_name(beginning);
	}
	pointstore_act_as_caller(&scope);
	if (!new)
	{
		read_repeat(&beginning->movement.row, &beginning->asked);
		return pointstore_movement_answer(fcinfo, &beginning->movement.row);
	}
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

/* The same on any node: the rows of the movement are written where they are to be, and the accounts asked where these are. */
static Datum
begin_on_nodes(FunctionCallInfo fcinfo, Beginning *beginning)
{
	AskedMovement *asked = &beginning->asked;
	bool		settled = asked->local && is_of_one_node(asked);
	PointstoreScope scope;

	if (asked->protocol == PROTOCOL_2PC)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a distributed store does not do movements by 2pc"),
				 errhint("Take tcc.")));
	fill_row(beginning, GetUserId(), settled);
	if (!ask_to_begin(beginning, settled))
		return pointstore_movement_answer(fcinfo, &beginning->movement.row);
	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	check_beginning(beginning);
	pointstore_act_as_caller(&scope);
	fill_steps(beginning);
	if (settled)
		transfer_here(beginning);
	else
		try_own(beginning);
	pointstore_tell_now();
	POINTSTORE_INJECT("start-before-commit");
	return pointstore_movement_answer(fcinfo, &beginning->movement.row);
}

static bool
is_of_one_node(const AskedMovement *asked)
{
	int			i;

	for (i = 1; i < asked->nsteps; i++)
		if (pointstore_node_of(asked->events[i].aggregate_id) != pointstore_node_of(asked->events[0].aggregate_id))
			return false;
	return true;
}

/* Has the rows written on the node of the movement. False: there is one of that name, whose row that now is. */
static bool
ask_to_begin(Beginning *beginning, bool settled)
{
	const AskedMovement *asked = &beginning->asked;
	NewMovement *movement = &beginning->movement;
	JsonbParseState *state = pointstore_begin_asking("begin", movement->by_role);
	Jsonb	   *told;

	pointstore_push_string(&state, "protocol", pointstore_protocol_names[asked->protocol]);
	pointstore_push_document(&state, "steps", tell_steps(asked));
	if (asked->metadata != NULL)
		pointstore_push_document(&state, "metadata", asked->metadata);
	pointstore_push_number(&state, "settled", settled);
	pointstore_push_number(&state, "started_at", movement->started_at);
	pointstore_push_number(&state, "deadline", movement->deadline);
	told = pointstore_ask_movement(state, asked->movement_id, &movement->row);
	movement->row.incarnation = pointstore_told(told, "incarnation");
	movement->number = pointstore_told(told, "number");
	if (movement->number == 0)
		return false;
	beginning->store.store = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(pointstore_cstring(pointstore_told_text(told, "store")))));
	return true;
}

/* The steps as start_movement() takes them, with all that was left out filled in. */
static Jsonb *
tell_steps(const AskedMovement *asked)
{
	JsonbParseState *state = NULL;
	int			i;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < asked->nsteps; i++)
	{
		const ProposedEvent *event = &asked->events[i];

		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		pointstore_push_text(&state, "aggregate_id", event->aggregate_id);
		pointstore_push_number(&state, "amount", event->amount);
		pointstore_push_text(&state, "event_type", event->event_type);
		pointstore_push_document(&state, "payload", event->payload);
		if (event->kind != NULL)
			pointstore_push_text(&state, "kind", event->kind);
		if (asked->steps[i].server != NULL)
			pointstore_push_text(&state, "server", asked->steps[i].server);
		if (asked->steps[i].undo != NULL)
			pointstore_push_document(&state, "undo", asked->steps[i].undo);
		if (!asked->balanced)
			pointstore_push_value(&state, "balanced", &(JsonbValue) {.type = jbvBool});
		(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/*
 * What ask_to_begin() asks, where the movement's rows are to be: nothing is known of its steps, but of one that is settled as it
 * begins. The answer has the number of one that is new.
 */
void
pointstore_begin_here(MovementRow *row, text *movement_id, Jsonb *call, Oid caller, JsonbParseState **state)
{
	Beginning	beginning = {{0}};
	AskedMovement *asked = &beginning.asked;
	NewMovement *movement = &beginning.movement;
	bool		settled = pointstore_told(call, "settled") != 0;
	JsonbValue	member;
	PointstoreScope scope;
	int			i;

	asked->movement_id = movement_id;
	if (pointstore_member(call, "metadata", &member))
		asked->metadata = JsonbValueToJsonb(&member);
	if (pointstore_told_text(call, "protocol") == NULL || !pointstore_member(call, "steps", &member))
		elog(ERROR, "a movement begins without a protocol or steps");
	asked->protocol = pointstore_read_protocol(pointstore_told_text(call, "protocol"));
	pointstore_read_steps(asked, JsonbValueToJsonb(&member));
	pointstore_ask_end(asked);
	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	pointstore_know_store(&beginning.store);
	fill_row(&beginning, caller, settled);
	movement->started_at = pointstore_told(call, "started_at");
	movement->deadline = pointstore_told(call, "deadline");
	if (pointstore_insert_movement(movement))
	{
		check_name(&beginning);
		fill_steps(&beginning);
		for (i = 0; settled && i < asked->nsteps; i++)
			beginning.steps.status[i] = STEP_CONFIRMED;
		pointstore_insert_steps(movement, &beginning.steps);
		if (settled)
			pointstore_movement_settles(movement_id);
		else
			pointstore_movement_starts();
		pointstore_push_number(state, "number", movement->number);
		pointstore_push_number(state, "incarnation", movement->row.incarnation);
		pointstore_push_string(state, "store", pointstore_store_name(&beginning.store));
	}
	else
		read_repeat(&movement->row, asked);
	pointstore_act_as_caller(&scope);
	*row = movement->row;
}

/* The row of movement that is to be. One that is settled is over as it begins. */
static void
fill_row(Beginning *beginning, Oid caller, bool settled)
{
	const AskedMovement *asked = &beginning->asked;
	NewMovement *movement = &beginning->movement;
	bool		saga = asked->protocol == PROTOCOL_SAGA;

	movement->row.movement_id = asked->movement_id;
	movement->row.protocol = asked->protocol;
	movement->row.phase = settled ? (saga ? PHASE_DONE : PHASE_CONFIRMED) : saga ? PHASE_DOING : PHASE_TRYING;
	movement->row.body = asked->body;
	movement->row.incarnation = beginning->store.incarnation;
	movement->row.finished = settled;
	movement->started_at = GetCurrentTimestamp();
	if (asked->deadline != NULL)
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
static void
read_repeat(MovementRow *row, const AskedMovement *asked)
{
	bytea	   *body = asked->body;
	PointstoreScope scope;
	bool		found;

	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	found = pointstore_read_movement(row, asked->movement_id);
	pointstore_act_as_caller(&scope);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("movement \"%s\" cannot be written", pointstore_cstring(asked->movement_id)),
				 errdetail("A trigger or a policy on pointstore.movement keeps it from being written.")));
	if (row->body != NULL &&
		(VARSIZE_ANY_EXHDR(row->body) != VARSIZE_ANY_EXHDR(body) ||
		 memcmp(VARDATA_ANY(row->body), VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body)) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_REQUEST_MISMATCH),
				 errmsg("movement \"%s\" was started with another protocol or other steps", pointstore_cstring(row->movement_id)),
				 errdetail_internal("movement_id=%s, phase=%s", pointstore_cstring(row->movement_id), pointstore_phase_names[row->phase])));
	pointstore_await_durable(row->durable);
}

/* What forbids it: 42501, 42704, 42809. */
static void
check_beginning(const Beginning *beginning)
{
	const AskedMovement *asked = &beginning->asked;
	Oid			caller = beginning->movement.by_role;
	int			i;

	if (asked->protocol == PROTOCOL_SAGA)
		pointstore_require_operator(caller, "start sagas");
	for (i = 0; i < asked->nsteps; i++)
	{
		text	   *server = asked->steps[i].server;

		if (server != NULL && (i == 0 || asked->steps[i - 1].server == NULL || !pointstore_same_text(server, asked->steps[i - 1].server)))
			check_server(server, caller);
	}
}

/* PS002: another store's movement has that name. */
static void
check_name(const Beginning *beginning)
{
	const AskedMovement *asked = &beginning->asked;
	char	   *origin = pointstore_other_origin(asked->movement_id, &beginning->store.store);

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
		.balanced = asked->balanced && !beginning->same_unit, .may_spread = true
	};
	int			i;

	for (i = 0; i < asked->nsteps; i++)
		asked->events[i].metadata = metadata_of_step(asked, i + 1);
	if (asked->balanced && asked->nsteps > 1)
	{
		pointstore_make_request(asked->events, asked->nsteps, NULL);
		pointstore_link_legs(asked->events, asked->nsteps);
	}
	pointstore_append_or_leave(&batch);
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
