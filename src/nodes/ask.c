/*-------------------------------------------------------------------------
 *
 * src/nodes/ask.c
 *		What a movement is asked to do: its steps, as a JSON array or as arguments name them, checked
 *		as far as that needs no look at the store.
 *
 * A repeat is known by a digest of what was asked for: protocol, steps, and whether they balance. The deadline and the
 * metadata are not in it, as they are not compared in a repeated append: a client that tries again may have another clock.
 * The steps are written out with lengths before them, so that no two lists read the same, and with what was left out
 * filled in.
 *
 * A single step that says "balanced": false makes the whole movement one whose amounts need not sum to zero.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "ground/json.h"
#include "ground/name.h"
#include "nodes/ask.h"

#define DEFAULT_TYPE "Transferred"

static void read_step(AskedMovement *movement, int i, JsonbValue *element);
static void read_key(AskedMovement *movement, int i, const char *key, JsonbValue *value);
static void check_size(const AskedMovement *movement);
static void check_step(AskedMovement *movement, int i);
static void read_undo(AskedMovement *movement, int i);
static void read_undo_key(ProposedEvent *undo, const char *key, JsonbValue *value);
static Jsonb *tell_undo(const ProposedEvent *undo);
static void check_sum(const AskedMovement *movement);
static void check_locks(const AskedMovement *movement);
static bytea *digest_of(const AskedMovement *movement);
static void put_text(StringInfo body, const char *value);
static void step_context(void *arg);

/* Room for its steps. */
void
pointstore_ask_begin(AskedMovement *movement, int nsteps)
{
	if (nsteps < 1 || nsteps > POINTSTORE_MAX_STEPS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a movement has 1 to %d steps, this one %d", POINTSTORE_MAX_STEPS, nsteps)));
	movement->balanced = true;
	movement->nsteps = nsteps;
	movement->steps = palloc0(sizeof(AskedStep) * nsteps);
	movement->events = palloc0(sizeof(ProposedEvent) * nsteps);
}

/* 22023 */
MovementProtocol
pointstore_read_protocol(text *name)
{
	int			protocol = pointstore_place(name, pointstore_protocol_names, N_PROTOCOLS);

	if (protocol < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no protocol \"%s\"", pointstore_cstring(name)),
				 errhint("The protocols are tcc, saga and 2pc.")));
	return protocol;
}

/* The steps of a JSON array of objects: 22004, 22023, 22003. */
void
pointstore_read_steps(AskedMovement *movement, Jsonb *steps)
{
	int			step = 0;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = step_context, .arg = &step};
	int			i;

	if (!JB_ROOT_IS_ARRAY(steps) || JB_ROOT_IS_SCALAR(steps))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("steps must be a JSON array")));
	pointstore_ask_begin(movement, JB_ROOT_COUNT(steps));
	error_context_stack = &context;
	for (i = 0; i < movement->nsteps; i++)
	{
		step = i + 1;
		read_step(movement, i, getIthJsonbValueFromContainer(&steps->root, i));
	}
	error_context_stack = context.previous;
}

static void
step_context(void *arg)
{
	errcontext("step %d of the movement", *(int *) arg);
}

static void
read_step(AskedMovement *movement, int i, JsonbValue *element)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a step is not an object")));
	iterator = JsonbIteratorInit(element->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			read_key(movement, i, pnstrdup(key.val.string.val, key.val.string.len), &value);
		}
	if (movement->events[i].aggregate_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("aggregate_id must not be null")));
}

/* One key of a step; null means that it is not given. */
static void
read_key(AskedMovement *movement, int i, const char *key, JsonbValue *value)
{
	AskedStep  *step = &movement->steps[i];
	ProposedEvent *event = &movement->events[i];
	bool		given = value->type != jbvNull;

	if (strcmp(key, "aggregate_id") == 0)
		event->aggregate_id = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "amount") == 0)
		event->amount = given ? pointstore_json_bigint(key, value) : 0;
	else if (strcmp(key, "event_type") == 0)
		event->event_type = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "payload") == 0)
		event->payload = given ? JsonbValueToJsonb(value) : NULL;
	else if (strcmp(key, "kind") == 0)
		event->kind = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "server") == 0)
		step->server = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "undo") == 0)
		step->undo = given ? JsonbValueToJsonb(value) : NULL;
	else if (strcmp(key, "balanced") == 0)
		movement->balanced &= !given || pointstore_json_boolean(key, value);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in a step", key),
				 errhint("The keys are aggregate_id, amount, event_type, payload, server, kind, undo and balanced.")));
}

/* Fills in what was left out, checks each step and all together, and makes the digest: 22003, 22023. */
void
pointstore_ask_end(AskedMovement *movement)
{
	int			step = 0;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = step_context, .arg = &step};
	int			i;

	movement->local = true;
	error_context_stack = &context;
	for (i = 0; i < movement->nsteps; i++)
	{
		step = i + 1;
		check_step(movement, i);
		movement->local &= movement->steps[i].server == NULL;
	}
	error_context_stack = context.previous;
	if (movement->metadata != NULL && !JB_ROOT_IS_OBJECT(movement->metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata of a movement must be a JSON object")));
	pointstore_check_metadata(movement->metadata);
	check_size(movement);
	if (movement->balanced)
		check_sum(movement);
	if (movement->protocol == PROTOCOL_2PC)
		check_locks(movement);
	movement->body = digest_of(movement);
}

/* What goes to other stores is kept in memory, and sent, for each step by itself, the movement's metadata with each: 54000. */
static void
check_size(const AskedMovement *movement)
{
	Size		size = 0;
	int			i;

	for (i = 0; i < movement->nsteps; i++)
		if (movement->steps[i].server != NULL)
			size += VARSIZE(movement->events[i].payload) + (movement->steps[i].undo != NULL ? VARSIZE(movement->steps[i].undo) : 0) +
				(movement->metadata != NULL ? VARSIZE(movement->metadata) : 0);
	if (size > POINTSTORE_MAX_SENT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("payload, undo and metadata of the steps that go to other stores are %zu bytes, more than %d", size, POINTSTORE_MAX_SENT)));
}

static void
check_step(AskedMovement *movement, int i)
{
	ProposedEvent *event = &movement->events[i];

	if (event->event_type == NULL)
		event->event_type = cstring_to_text(DEFAULT_TYPE);
	if (event->payload == NULL)
		event->payload = pointstore_empty_payload();
	event->kind_opens = true;
	event->lease_if_asked = true;
	pointstore_check_event(event);
	if (movement->steps[i].server != NULL)
		pointstore_check_name("server", movement->steps[i].server);
	if (event->amount == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount %lld is out of range", (long long) event->amount)));
	if (movement->steps[i].undo != NULL)
		read_undo(movement, i);
}

/* What undoes a saga's step, with its opposite amount unless the movement need not balance. */
static void
read_undo(AskedMovement *movement, int i)
{
	ProposedEvent *event = &movement->events[i];
	ProposedEvent undo = {.aggregate_id = event->aggregate_id, .amount = -event->amount};
	Jsonb	   *given = movement->steps[i].undo;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (movement->protocol != PROTOCOL_SAGA || !JB_ROOT_IS_OBJECT(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 movement->protocol != PROTOCOL_SAGA ? errmsg("only steps of a saga have an undo") :
				 errmsg("undo must be an object")));
	iterator = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			read_undo_key(&undo, pnstrdup(key.val.string.val, key.val.string.len), &value);
		}
	if (undo.event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event_type of an undo must not be null")));
	if (undo.payload == NULL)
		undo.payload = pointstore_empty_payload();
	if (!JB_ROOT_IS_OBJECT(undo.payload) || undo.amount == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload of an undo must be an object, and its amount one that has an opposite")));
	pointstore_check_event(&undo);
	if (movement->balanced && undo.amount != -event->amount)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the undo of amount %lld has amount %lld", (long long) event->amount, (long long) undo.amount),
				 errhint("It is the opposite, unless the step says \"balanced\": false.")));
	movement->steps[i].undo = tell_undo(&undo);
}

static void
read_undo_key(ProposedEvent *undo, const char *key, JsonbValue *value)
{
	bool		given = value->type != jbvNull;

	if (strcmp(key, "event_type") == 0)
		undo->event_type = given ? pointstore_json_text(key, value) : NULL;
	else if (strcmp(key, "amount") == 0)
		undo->amount = given ? pointstore_json_bigint(key, value) : undo->amount;
	else if (strcmp(key, "payload") == 0)
		undo->payload = given ? JsonbValueToJsonb(value) : NULL;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in an undo", key),
				 errhint("The keys are event_type, amount and payload.")));
}

/* With all its keys. */
static Jsonb *
tell_undo(const ProposedEvent *undo)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_text(&state, "event_type", undo->event_type);
	pointstore_push_number(&state, "amount", undo->amount);
	pointstore_push_document(&state, "payload", undo->payload);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Of accounts that count different things each sum is zero, and so is that of all: more is known when they have answered. */
static void
check_sum(const AskedMovement *movement)
{
	int128		sum = 0;
	int			i;

	for (i = 0; i < movement->nsteps; i++)
		sum += movement->events[i].amount;
	if (sum != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amounts of the movement do not sum to zero"),
				 errhint("Of one that takes or gives something for good a step says \"balanced\": false.")));
}

/* Each step of 2pc elsewhere is a transaction of its own, whose account the others would wait for. */
static void
check_locks(const AskedMovement *movement)
{
	HTAB	   *locked = pointstore_text_table("pointstore locked accounts", sizeof(text *), CurrentMemoryContext);
	int			i;

	for (i = 0; i < movement->nsteps; i++)
	{
		text	   *server = movement->steps[i].server;
		text	   *account = movement->events[i].aggregate_id;
		text	   *both;
		bool		found;

		if (server == NULL)
			continue;
		both = cstring_to_text(psprintf("%d %s %s", (int) VARSIZE_ANY_EXHDR(server), pointstore_cstring(server), pointstore_cstring(account)));
		(void) hash_search(locked, &both, HASH_ENTER, &found);
		if (found)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("account \"%s\" of server \"%s\" has two steps of a movement by 2pc", pointstore_cstring(account), pointstore_cstring(server)),
					 errhint("The second would wait for the first. Make them one step, or take tcc.")));
	}
	hash_destroy(locked);
}

static bytea *
digest_of(const AskedMovement *movement)
{
	StringInfoData body;
	int			i;

	initStringInfo(&body);
	put_text(&body, pointstore_protocol_names[movement->protocol]);
	put_text(&body, movement->balanced ? "balanced" : "not balanced");
	for (i = 0; i < movement->nsteps; i++)
	{
		const AskedStep *step = &movement->steps[i];
		const ProposedEvent *event = &movement->events[i];

		put_text(&body, step->server == NULL ? NULL : pointstore_cstring(step->server));
		put_text(&body, pointstore_cstring(event->aggregate_id));
		put_text(&body, psprintf("%lld", (long long) event->amount));
		put_text(&body, pointstore_cstring(event->event_type));
		put_text(&body, JsonbToCString(NULL, &event->payload->root, VARSIZE(event->payload)));
		put_text(&body, event->kind == NULL ? NULL : pointstore_cstring(event->kind));
		put_text(&body, step->undo == NULL ? NULL : JsonbToCString(NULL, &step->undo->root, VARSIZE(step->undo)));
	}
	return DatumGetByteaP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(cstring_to_text_with_len(body.data, body.len))));
}

/* With its length; null as none that a text has. */
static void
put_text(StringInfo body, const char *value)
{
	if (value == NULL)
		appendStringInfoString(body, "-,");
	else
		appendStringInfo(body, "%zu:%s,", strlen(value), value);
}
