/*-------------------------------------------------------------------------
 *
 * src/nodes/participate.c
 *		participate(): the messages of another store's coordinator; resolve_step(): an operator's word.
 *
 * A call is one transaction, whose messages stand each for itself. What is wrong with the call as a whole (its version, who it comes
 * from) is an error, what is wrong with a message that message's answer. The call is durable when it has committed, whatever the
 * role's settings say, and also where it has written nothing: a repeat rests on what another transaction has
 * written, whose commit is flushed, and confirmed by standbys, before this one's.
 *
 * What the store's owner has put on the tables runs in a security-restricted operation and at once, as in a worker:
 * whoever the messages come through, none of it runs as that role when the transaction commits.
 *
 * It is READ COMMITTED whatever the role's default: what was waited for is read.
 *
 * A step of 2pc is tried alone, in a transaction that its coordinator then prepares. Where it is not tried PREPARE TRANSACTION
 * fails: so a transaction of that name that is prepared says that the step is tried, to whom the answer has not reached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/pg_lsn.h"

#include "append/propose.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/step.h"
#include "ground/store.h"
#include "nodes/member.h"
#include "nodes/message.h"
#include "nodes/origin.h"
#include "nodes/apart.h"
#include "nodes/participant_row.h"
#include "nodes/sender.h"

PG_FUNCTION_INFO_V1(pointstore_participate);
PG_FUNCTION_INFO_V1(pointstore_resolve_step);

/* A call as it is read. */
typedef struct Call
{
	PartOrigin	origin;
	pg_uuid_t	store;
	text	   *name;			/* null: none */
	Asked	   *asked;
	int			n;
	StoreIdentity here;
	bool		prepares;		/* a step of 2pc, alone */
} Call;

/* the transaction has an answer in it that leaves nothing to be prepared */
static bool must_not_prepare = false;

static void forbid_prepare(void);
static void end_transaction(XactEvent event, void *arg);
static void begin_call(void);
static void act_restricted(PointstoreScope *scope);
static void read_call(Jsonb *messages, Call *call);
static void read_store(Jsonb *messages, Call *call);
static void read_below(Jsonb *messages, PartOrigin *origin);
static int64 read_number(Jsonb *messages, const char *key);
static void check_prepared(Call *call);
static void take(Call *call);
static bool can_be_prepared(Asked *asked);
static Jsonb *answer_call(const Call *call);
static MovementVerb read_decision(text *decision);
static void check_word(const StepMessage *message, MovementVerb verb);

/* participate(messages): see the install script. */
Datum
pointstore_participate(PG_FUNCTION_ARGS)
{
	Call		call = {.origin = {.source = MESSAGES_FROM_AWAY}};
	char	   *role = pointstore_role_name(GetUserId());
	PointstoreScope scope;
	Jsonb	   *answers;

	pointstore_check_arguments(fcinfo, 1);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("messages must not be null")));
	PreventCommandIfReadOnly("participate()");
	read_call(PG_GETARG_JSONB_P(0), &call);
	begin_call();
	act_restricted(&scope);
	pointstore_know_store(&call.here);
	/* its row would stay locked as long as what is prepared is there */
	if (call.prepares && call.here.is_new)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this store begins a new incarnation, which a transaction that is to be prepared does not")));
	call.origin.is_self = memcmp(call.here.store.data, call.store.data, UUID_LEN) == 0;
	pointstore_know_sender(&call.origin, role, call.name, call.prepares);
	take(&call);
	if (call.prepares && call.asked[0].message.answer != ANSWER_TRIED)
		forbid_prepare();
	answers = answer_call(&call);
	pointstore_act_as_caller(&scope);
	PG_RETURN_JSONB_P(answers);
}

static void
forbid_prepare(void)
{
	static bool is_registered = false;

	if (!is_registered)
		RegisterXactCallback(end_transaction, NULL);
	is_registered = true;
	must_not_prepare = true;
}

/* 55000 where a transaction is to be prepared in which no step was tried. */
static void
end_transaction(XactEvent event, void *arg)
{
	bool		forbidden = must_not_prepare;

	must_not_prepare = false;
	if (event == XACT_EVENT_PRE_PREPARE && forbidden)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a transaction in which no step was tried is not prepared"), errhidestmt(true)));
}

/*
 * A transaction in which it is decided what other stores rest on: READ COMMITTED, and durable when it has
 * committed, also where it writes nothing: 25001 where it has written in REPEATABLE READ or above.
 */
static void
begin_call(void)
{
	if (IsolationUsesXactSnapshot() && pointstore_has_written())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("participate() cannot run in a transaction that has written in REPEATABLE READ or SERIALIZABLE")));
	pointstore_read_committed();
	pointstore_commit_durably();
}

/* As the store's owner, whose triggers fire at once, and leave nothing behind. */
static void
act_restricted(PointstoreScope *scope)
{
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};
	Oid			owner = pointstore_store()->owner;

	AfterTriggerSetState(&immediate);
	pointstore_act_as_restricted(owner, scope);
}

/* What a call is: 0A000 for one of another version, 22023 where it is none. */
static void
read_call(Jsonb *messages, Call *call)
{
	static const char *const keys[] = {"version", "origin", "name", "incarnation", "finished_below", "messages"};
	const char *unknown;
	int64		version;

	if (!JB_ROOT_IS_OBJECT(messages))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("messages must be a JSON object")));
	version = read_number(messages, "version");
	if (version != MESSAGE_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("messages of version %lld are not understood", (long long) version),
				 errdetail("This store understands version %d.", MESSAGE_VERSION)));
	unknown = pointstore_unknown_member(messages, keys, lengthof(keys));
	if (unknown != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in messages", unknown)));
	read_store(messages, call);
	call->origin.incarnation = read_number(messages, "incarnation");
	read_below(messages, &call->origin);
	call->asked = pointstore_read_messages(messages, &call->n);
	check_prepared(call);
}

/* Whose messages they are. */
static void
read_store(Jsonb *messages, Call *call)
{
	text	   *store = NULL;
	const char *digits;

	if (pointstore_member_text(messages, "origin", &store) != MEMBER_FOUND)
		store = cstring_to_text("");
	digits = pointstore_cstring(store);
	/* in the one form in which it is sent; what else uuid_in() takes is not */
	if (strlen(digits) != 36 || strspn(digits, "0123456789abcdef-") != 36)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("origin must be a uuid")));
	call->store = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(digits)));
	call->origin.store = &call->store;
	if (pointstore_member_text(messages, "name", &call->name) == MEMBER_WRONG ||
		(call->name != NULL && VARSIZE_ANY_EXHDR(call->name) > POINTSTORE_MAX_NAME))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name must be at most %d bytes", POINTSTORE_MAX_NAME)));
}

/* [incarnation, number]; may lack. */
static void
read_below(Jsonb *messages, PartOrigin *origin)
{
	JsonbValue	member;
	Jsonb	   *pair;
	JsonbParseState *state = NULL;
	int			i;

	if (!pointstore_member(messages, "finished_below", &member) || member.type == jbvNull)
		return;
	if (member.type != jbvBinary || !JsonContainerIsArray(member.val.binary.data) || JsonContainerSize(member.val.binary.data) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("finished_below must be an incarnation and a number")));
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (i = 0; i < 2; i++)
		pointstore_push_value(&state, i == 0 ? "incarnation" : "number", getIthJsonbValueFromContainer(member.val.binary.data, i));
	pair = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	origin->below_incarnation = read_number(pair, "incarnation");
	origin->below = read_number(pair, "number");
}

static int64
read_number(Jsonb *messages, const char *key)
{
	int64		value;

	if (pointstore_member_bigint(messages, key, &value) != MEMBER_FOUND || value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a whole number, and not negative", key)));
	return value;
}

/* A step of 2pc is tried alone in a transaction block: 22023, 25001. */
static void
check_prepared(Call *call)
{
	int			i;

	for (i = 0; i < call->n; i++)
		if (call->asked[i].kind == ASKED_STEP && call->asked[i].message.verb == VERB_TRY &&
			call->asked[i].message.protocol == PROTOCOL_2PC)
			call->prepares = true;
	if (!call->prepares)
		return;
	if (call->n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a step that is to be prepared is tried by itself")));
	if (!IsTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("a step that is to be prepared is tried in a transaction block")));
}

/* Takes the messages, and answers each. */
static void
take(Call *call)
{
	StepMessage *messages = palloc0(sizeof(StepMessage) * Max(call->n, 1));
	int			n = 0;
	int			i;

	if (call->prepares && !can_be_prepared(&call->asked[0]))
		return;
	for (i = 0; i < call->n; i++)
		if (call->asked[i].kind == ASKED_STEP)
			messages[n++] = call->asked[i].message;
	pointstore_take_for(&call->origin, messages, n);
	n = 0;
	for (i = 0; i < call->n; i++)
		if (call->asked[i].kind == ASKED_STEP)
			call->asked[i].message = messages[n++];
}

/* Whether this store prepares transactions; else the step is refused. */
static bool
can_be_prepared(Asked *asked)
{
	if (max_prepared_xacts > 0 && !pointstore_is_distributed())
		return true;
	asked->message.answer = ANSWER_REFUSED;
	asked->message.sqlerrcode = pointstore_is_distributed() ? ERRCODE_FEATURE_NOT_SUPPORTED : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	asked->message.error = pointstore_is_distributed() ? "a distributed store takes no part in movements by 2pc" :
		"this server prepares no transactions: max_prepared_transactions is 0";
	return false;
}

/* The answers of a call, with who gives them. */
static Jsonb *
answer_call(const Call *call)
{
	Jsonb	   *answers = pointstore_answers(&call->store, call->asked, call->n);
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_number(&state, "version", MESSAGE_VERSION);
	pointstore_push_string(&state, "store", pointstore_store_name(&call->here));
	pointstore_push_string(&state, "system_identifier", psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	pointstore_push_number(&state, "timeline", pointstore_timeline());
	pointstore_push_string(&state, "lsn", DatumGetCString(DirectFunctionCall1(pg_lsn_out, LSNGetDatum(GetXLogInsertRecPtr()))));
	pointstore_push_document(&state, "answers", answers);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* resolve_step(origin, movement_id, step, decision, reason) */
Datum
pointstore_resolve_step(PG_FUNCTION_ARGS)
{
	PartOrigin	origin = {.source = MESSAGES_OF_COORDINATOR};
	StepMessage message = {.verb = VERB_NONE};
	PointstoreScope scope;
	text	   *reason;

	pointstore_check_arguments(fcinfo, 5);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "origin" : "step")));
	origin.store = PG_GETARG_UUID_P(0);
	message.movement_id = pointstore_name(fcinfo, 1, "movement_id");
	if (PG_GETARG_INT32(2) < 1 || PG_GETARG_INT32(2) > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step must be 1 to %d, is %d", PG_INT16_MAX, PG_GETARG_INT32(2))));
	message.step = PG_GETARG_INT32(2);
	message.verb = read_decision(pointstore_name(fcinfo, 3, "decision"));
	reason = pointstore_name(fcinfo, 4, "reason");
	PreventCommandIfReadOnly("resolve_step()");
	act_restricted(&scope);
	pointstore_send_word(&origin, &message, pointstore_role_name(scope.user), pointstore_cstring(reason));
	pointstore_act_as_caller(&scope);
	check_word(&message, message.verb);
	PG_RETURN_TEXT_P(cstring_to_text(pointstore_answer_names[message.answer]));
}

/* 22023 */
static MovementVerb
read_decision(text *decision)
{
	int			place = pointstore_place(decision, pointstore_verb_names, VERB_CANCEL + 1);

	if (place != VERB_CONFIRM && place != VERB_CANCEL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("decision must be confirm or cancel, is \"%s\"", pointstore_cstring(decision))));
	return (MovementVerb) place;
}

/* PS008 where there is no such step, PS007 where it has ended in another way. */
static void
check_word(const StepMessage *message, MovementVerb verb)
{
	if (message->answer == ANSWER_MISSING)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("step %d of movement \"%s\" is missing", message->step, pointstore_cstring(message->movement_id))));
	if (message->answer != (verb == VERB_CONFIRM ? ANSWER_CONFIRMED : ANSWER_CANCELLED))
		ereport(ERROR,
				(errcode(message->sqlerrcode != 0 ? message->sqlerrcode : ERRCODE_POINTSTORE_HOLD_NOT_OPEN),
				 message->error != NULL ? errmsg_internal("%s", message->error) :
				 errmsg("step %d of movement \"%s\" is not open: it is %s", message->step, pointstore_cstring(message->movement_id),
						pointstore_answer_names[message->answer])));
}
