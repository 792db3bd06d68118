/*-------------------------------------------------------------------------
 *
 * src/nodes/apart.c
 *		Messages about steps whose accounts are on several nodes of a distributed store.
 *
 * Each message goes to the node that has its account: take_steps(), which Citus delegates there, within the transaction
 * that asks, as the store's owner. So what is done on several nodes is committed in two phases, with what the
 * asker writes of it. Every message names its account, also where it cancels what was not tried: its tombstone lies
 * where a late try comes to.
 *
 * A node that cannot be asked has its messages answered busy, and the others go on; it is left alone for a while, longer each time.
 * Only for what a movement's caller waits for an error is one. A connection that is lost after it was used ends the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "append/propose.h"
#include "ground/identity.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/shard.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "nodes/apart.h"
#include "nodes/message.h"
#include "nodes/participant.h"
#include "nodes/route.h"

PG_FUNCTION_INFO_V1(pointstore_take_steps);

#define MOST_AT_ONCE 500		/* messages, of one call */
#define TAKEN PG_INT32_MAX		/* in the place of a node: the message has been, or is answered */
#define FIRST_PAUSE 50			/* ms, after a node could not be asked; twice as long after each further time */
#define LONGEST_PAUSE 5000

/* Messages to the accounts of one node. */
typedef struct Share
{
	PartOrigin *origin;
	int32		node;
	StepMessage *messages;
	int			n;
	const char *word_by;		/* an operator's: who; NULL: it is none */
	const char *reason;			/* then */
} Share;

/* A node that could not be asked. */
typedef struct Pause
{
	int32		node;
	int			failures;
	TimestampTz until;
} Pause;

static List *pauses = NIL;

static void take_apart(PartOrigin *origin, StepMessage *messages, int n);
static int32 lowest(const int32 *node, int n);
static text *account_of_step(const PartOrigin *origin, const StepMessage *message);
static void refuse_nameless(StepMessage *message);
static void take_share(Share *share);
static bool is_paused(int32 node);
static void note_asked(int32 node, const ErrorData *error);
static void leave_share(Share *share, const ErrorData *error);
static bool take_here(void *arg);
static bool ask_node(void *arg);
static Jsonb *tell_call(const Share *share);
static void tell_message(JsonbParseState **state, const StepMessage *message);
static void read_answers(Jsonb *answers, Share *share);
static void read_answer(Jsonb *answer, StepMessage *message);

/* Takes messages about steps of an origin's movements and answers each, as pointstore_take_here(), wherever their accounts are. */
void
pointstore_take_messages(const pg_uuid_t *store, StepMessage *messages, int n, MessageSource source)
{
	PartOrigin	origin = {.store = store, .source = source};

	pointstore_take_for(&origin, messages, n);
}

/* The same of an origin whose incarnation is known. */
void
pointstore_take_for(PartOrigin *origin, StepMessage *messages, int n)
{
	if (pointstore_is_distributed() && !origin->is_self)
		take_apart(origin, messages, n);
	else
		pointstore_take_here(origin, messages, n);
}

/* Each where its account is, one node after the other in their order: so those who wait for locks wait in one order of nodes. */
static void
take_apart(PartOrigin *origin, StepMessage *messages, int n)
{
	Share		share = {.origin = origin, .messages = palloc(sizeof(StepMessage) * Max(n, 1))};
	int		   *from = palloc(sizeof(int) * Max(n, 1));
	int32	   *node = palloc(sizeof(int32) * Max(n, 1));
	bool		is_apart = false;
	int			i;

	for (i = 0; i < n; i++)
		node[i] = messages[i].aggregate_id == NULL ? TAKEN : pointstore_node_of(messages[i].aggregate_id);
	for (i = 0; i < n; i++)
		if (messages[i].aggregate_id == NULL)
			refuse_nameless(&messages[i]);
	while ((share.node = lowest(node, n)) != TAKEN)
	{
		share.n = 0;
		for (i = 0; i < n && share.n < MOST_AT_ONCE; i++)
			if (node[i] == share.node)
			{
				node[i] = TAKEN;
				from[share.n] = i;
				share.messages[share.n++] = messages[i];
			}
		take_share(&share);
		for (i = 0; i < share.n; i++)
			messages[from[i]] = share.messages[i];
		is_apart |= share.node != pointstore_store()->placements->node;
	}
	if (is_apart)
		pointstore_tell_now();
}

static int32
lowest(const int32 *node, int n)
{
	int32		found = TAKEN;
	int			i;

	for (i = 0; i < n; i++)
		found = Min(found, node[i]);
	return found;
}

/* What an operator says of a step, wherever its account is. */
void
pointstore_send_word(PartOrigin *origin, StepMessage *message, const char *role, const char *reason)
{
	Share		share = {.origin = origin, .messages = message, .n = 1, .word_by = role, .reason = reason};

	if (!pointstore_is_distributed())
		pointstore_take_word(origin, message, role, reason);
	else if ((message->aggregate_id = account_of_step(origin, message)) == NULL)
		message->answer = ANSWER_MISSING;
	else
		(void) ask_node(&share);
}

/* The account of a step that this store has tried, on whatever node; NULL: there is none. */
static text *
account_of_step(const PartOrigin *origin, const StepMessage *message)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(p.aggregate_id AS pg_catalog.text) FROM pointstore.participant_step p"
		" WHERE p.origin" EQ "$1 AND p.movement_id" EQ "$2 AND p.step" EQ "$3 AND p.event_type IS NOT NULL LIMIT 1",
		.nargs = 3, .argtypes = {UUIDOID, TEXTOID, INT2OID}, .spans_nodes = true
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[3] = {UUIDPGetDatum(origin->store), PointerGetDatum(message->movement_id), Int16GetDatum(message->step)};
	char	   *account = NULL;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	if (SPI_processed > 0)
		account = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	account = account == NULL ? NULL : MemoryContextStrdup(context, account);
	SPI_finish();
	return account == NULL ? NULL : cstring_to_text(account);
}

/* What does not say which account it is about may be about any. */
static void
refuse_nameless(StepMessage *message)
{
	message->answer = ANSWER_BUSY;
	message->sqlerrcode = ERRCODE_FEATURE_NOT_SUPPORTED;
	message->error = "a message to a distributed store names its account";
}

static void
take_share(Share *share)
{
	bool		here = share->node == pointstore_store()->placements->node;
	bool	  (*take) (void *arg) = here ? take_here : ask_node;
	ErrorData  *error;

	if (share->origin->source == MESSAGES_OF_CALLER)
	{
		(void) take(share);
		return;
	}
	if (!here && is_paused(share->node))
	{
		leave_share(share, NULL);
		return;
	}
	error = pointstore_attempt(take, share);
	/* what fails here but for a shard that has left says something of this transaction */
	if (here && error != NULL && error->sqlerrcode != ERRCODE_POINTSTORE_OTHER_NODE)
		ReThrowError(error);
	if (!here)
		note_asked(share->node, error);
	if (error != NULL)
		leave_share(share, error);
}

static bool
is_paused(int32 node)
{
	ListCell   *cell;

	foreach(cell, pauses)
		if (((Pause *) lfirst(cell))->node == node)
			return ((Pause *) lfirst(cell))->until > GetCurrentTimestamp();
	return false;
}

/* Whether it could be asked. A shard that has changed places says nothing of a node. */
static void
note_asked(int32 node, const ErrorData *error)
{
	Pause	   *pause = NULL;
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, pauses)
		if (((Pause *) lfirst(cell))->node == node)
			pause = lfirst(cell);
	if (error == NULL || error->sqlerrcode == ERRCODE_POINTSTORE_OTHER_NODE)
	{
		pauses = list_delete_ptr(pauses, pause);
		if (pause != NULL)
			pfree(pause);
		return;
	}
	if (pause == NULL)
	{
		old = MemoryContextSwitchTo(TopMemoryContext);
		pause = palloc0(sizeof(Pause));
		pause->node = node;
		pauses = lappend(pauses, pause);
		MemoryContextSwitchTo(old);
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("node %d does not take steps of movements: %s", node, error->message)));
	}
	pause->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min((int64) FIRST_PAUSE << Min(pause->failures++, 20), LONGEST_PAUSE));
}

/* None of them is taken: they are asked again. */
static void
leave_share(Share *share, const ErrorData *error)
{
	int			i;

	for (i = 0; i < share->n; i++)
	{
		share->messages[i].answer = ANSWER_BUSY;
		share->messages[i].unit = NULL;
		share->messages[i].event_id = 0;
		share->messages[i].sqlerrcode = error == NULL ? 0 : error->sqlerrcode;
		share->messages[i].error = error == NULL ? NULL : error->message;
	}
}

static bool
take_here(void *arg)
{
	Share	   *share = arg;

	pointstore_take_here(share->origin, share->messages, share->n);
	return true;
}

static bool
ask_node(void *arg)
{
	Share	   *share = arg;
	MemoryContext context = CurrentMemoryContext;
	int			level = pointstore_pin_transaction();
	PointstoreScope scope;
	Jsonb	   *answers;
	char	   *sql;
	bool		isnull;

	pointstore_act_as_owner(&scope);
	sql = psprintf("SELECT * FROM pointstore.take_steps(%s, CAST(%s AS pg_catalog.jsonb))", quote_literal_cstr(pointstore_cstring(share->messages->aggregate_id)),
				   quote_literal_cstr(JsonbToCString(NULL, &tell_call(share)->root, 0)));
	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not ask node %d about steps of movements", share->node);
	MemoryContextSwitchTo(context);
	answers = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&scope);
	AtEOXact_GUC(true, level);
	read_answers(answers, share);
	return true;
}

/* A call as take_steps() reads it. */
static Jsonb *
tell_call(const Share *share)
{
	const PartOrigin *origin = share->origin;
	JsonbParseState *state = NULL;
	int			i;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_string(&state, "origin", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(origin->store))));
	pointstore_push_number(&state, "source", origin->source);
	pointstore_push_number(&state, "incarnation", origin->incarnation);
	if (share->word_by != NULL)
	{
		pointstore_push_string(&state, "word_by", share->word_by);
		pointstore_push_string(&state, "reason", share->reason);
	}
	pointstore_push_key(&state, "messages");
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < share->n; i++)
		tell_message(&state, &share->messages[i]);
	(void) pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
tell_message(JsonbParseState **state, const StepMessage *message)
{
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_string(state, "do", pointstore_verb_names[message->verb]);
	pointstore_push_text(state, "movement_id", message->movement_id);
	pointstore_push_number(state, "step", message->step);
	pointstore_push_number(state, "incarnation", message->incarnation);
	pointstore_push_number(state, "number", message->number);
	pointstore_push_string(state, "protocol", pointstore_protocol_names[message->protocol]);
	pointstore_push_number(state, "attempt", message->attempt);
	pointstore_push_text(state, "aggregate_id", message->aggregate_id);
	if (message->verb == VERB_TRY)
	{
		pointstore_push_number(state, "amount", message->amount);
		pointstore_push_text(state, "event_type", message->event_type);
		if (message->payload != NULL)
			pointstore_push_document(state, "payload", message->payload);
		if (message->metadata != NULL)
			pointstore_push_document(state, "metadata", message->metadata);
		if (message->undo != NULL)
			pointstore_push_document(state, "undo", message->undo);
		if (message->kind != NULL)
			pointstore_push_text(state, "kind", message->kind);
	}
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
read_answers(Jsonb *answers, Share *share)
{
	int			i;

	if (!JB_ROOT_IS_ARRAY(answers) || JB_ROOT_COUNT(answers) != share->n)
		elog(ERROR, "node %d does not answer about each step", share->node);
	for (i = 0; i < share->n; i++)
		read_answer(JsonbValueToJsonb(getIthJsonbValueFromContainer(&answers->root, i)), &share->messages[i]);
}

static void
read_answer(Jsonb *answer, StepMessage *message)
{
	JsonbValue	member;
	int			place = -1;

	if (pointstore_member(answer, "answer", &member))
		place = pointstore_place(cstring_to_text_with_len(member.val.string.val, member.val.string.len), pointstore_answer_names, N_ANSWERS);
	if (place < 0)
		elog(ERROR, "a step of movement \"%s\" was not answered", pointstore_cstring(message->movement_id));
	message->answer = place;
	message->unit = pointstore_member(answer, "unit", &member) ? pnstrdup(member.val.string.val, member.val.string.len) : NULL;
	message->event_id = pointstore_member(answer, "event_id", &member) ? pointstore_json_bigint("event_id", &member) : 0;
	message->error = pointstore_member(answer, "error", &member) ? pnstrdup(member.val.string.val, member.val.string.len) : NULL;
	message->sqlerrcode = 0;
	if (pointstore_member(answer, "sqlstate", &member) && member.val.string.len == 5)
		message->sqlerrcode = MAKE_SQLSTATE(member.val.string.val[0], member.val.string.val[1], member.val.string.val[2],
											member.val.string.val[3], member.val.string.val[4]);
}

/* take_steps(aggregate_id, call): what another node's call has for the accounts of this one. */
Datum
pointstore_take_steps(PG_FUNCTION_ARGS)
{
	JsonbValue	member;
	pg_uuid_t	store;
	PartOrigin	origin = {.store = &store};
	StepMessage *messages;
	Asked	   *asked;
	Jsonb	   *call;
	int			n;
	int			i;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "aggregate_id" : "call")));
	PreventCommandIfReadOnly("take_steps()");
	pointstore_require_owner(PG_GETARG_TEXT_PP(0));
	call = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_OBJECT(call) || !pointstore_member(call, "origin", &member) || member.type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a call is an object with an origin and messages")));
	store = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(pnstrdup(member.val.string.val, member.val.string.len))));
	origin.source = (MessageSource) pointstore_told(call, "source");
	origin.incarnation = pointstore_told(call, "incarnation");
	if (origin.source > MESSAGES_FROM_AWAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no such source of messages")));
	asked = pointstore_read_messages(call, &n);
	messages = palloc(sizeof(StepMessage) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		if (asked[i].kind != ASKED_STEP || asked[i].message.aggregate_id == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("message %d is not about a step of an account", i + 1)));
		messages[i] = asked[i].message;
	}
	if (origin.source != MESSAGES_OF_CALLER)
		pointstore_commit_durably();
	if (pointstore_told_text(call, "word_by") != NULL && n == 1)
		pointstore_take_word(&origin, messages, pointstore_cstring(pointstore_told_text(call, "word_by")), pointstore_cstring(pointstore_told_text(call, "reason")));
	else
		pointstore_take_here(&origin, messages, n);
	for (i = 0; i < n; i++)
		asked[i].message = messages[i];
	PG_RETURN_JSONB_P(pointstore_answers(&store, asked, n));
}

/* What nodes ask of each other they ask as the store's owner, 42501, of what is here, PS013. */
void
pointstore_require_owner(text *of)
{
	if (GetUserId() != pointstore_store()->owner && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only the store's owner asks this of a node")));
	(void) pointstore_shard_of(of);
}
