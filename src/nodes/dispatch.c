/*-------------------------------------------------------------------------
 *
 * src/nodes/dispatch.c
 *		Messages to other stores as JSON, and their answers; their form is described in message.c.
 *
 * What comes back is another's, and may be anything: it is refused as a whole where it is not in order. Nothing here raises.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "nodes/dispatch.h"

#define MAX_ERROR 1000			/* bytes, of what another store says */

static bool is_uuid(const char *value);
static bool read_answerer(JsonbContainer *object, Answerer *answerer);
static bool read_answer(JsonbValue *element, LiveAnswer *answer);
static char *member_text(JsonbContainer *object, const char *key);
static bool member_number(JsonbContainer *object, const char *key, int64 *value);
static char *clipped(char *message);

/* Begins a call; messages follow, in the order of the answers. */
void
pointstore_begin_call(StringInfo call, const Sender *sender)
{
	initStringInfo(call);
	appendStringInfo(call, "{\"version\":1,\"origin\":\"%s\",\"name\":", sender->store);
	escape_json(call, sender->name);
	appendStringInfo(call, ",\"incarnation\":%lld", (long long) sender->incarnation);
	if (sender->below_incarnation > 0)
		appendStringInfo(call, ",\"finished_below\":[%lld,%lld]", (long long) sender->below_incarnation, (long long) sender->below);
	appendStringInfoString(call, ",\"messages\":[");
}

void
pointstore_add_message(StringInfo call, const LiveStep *step, MovementVerb verb)
{
	const Live *live = step->live;

	if (call->data[call->len - 1] != '[')
		appendStringInfoChar(call, ',');
	appendStringInfo(call, "{\"do\":\"%s\",\"movement_id\":", pointstore_verb_names[verb]);
	escape_json(call, live->movement_id);
	appendStringInfo(call, ",\"step\":%d,\"incarnation\":%lld,\"number\":%lld,\"protocol\":\"%s\",\"attempt\":%d", step->step,
					 (long long) live->incarnation, (long long) live->number, pointstore_protocol_names[live->protocol], step->attempts);
	/* an object's members, without its braces */
	if (verb == VERB_TRY && step->contents != NULL)
	{
		appendStringInfoChar(call, ',');
		appendStringInfoString(call, step->contents + 1);
	}
	else
	{
		appendStringInfoString(call, ",\"aggregate_id\":");
		escape_json(call, step->account);
		appendStringInfoChar(call, '}');
	}
}

void
pointstore_end_call(StringInfo call)
{
	appendStringInfoString(call, "]}");
}

/* Reads the answers to a call of n messages. False: that is not what it is. In the caller's memory. */
bool
pointstore_read_answers(const char *json, Answerer *answerer, LiveAnswer *answers, int n)
{
	Jsonb	   *root = pointstore_parse_answer(json);
	JsonbValue	member;
	int			i;

	memset(answers, 0, sizeof(LiveAnswer) * n);
	if (root == NULL || !JB_ROOT_IS_OBJECT(root) || !read_answerer(&root->root, answerer) ||
		getKeyJsonValueFromContainer(&root->root, "answers", strlen("answers"), &member) == NULL || member.type != jbvBinary ||
		!JsonContainerIsArray(member.val.binary.data) || JsonContainerSize(member.val.binary.data) != n)
		return false;
	for (i = 0; i < n; i++)
		if (!read_answer(getIthJsonbValueFromContainer(member.val.binary.data, i), &answers[i]))
			return false;
	return true;
}

/* NULL: it is no JSON, or not in our encoding. */
Jsonb *
pointstore_parse_answer(const char *json)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;

	PG_TRY();
	{
		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return result;
}

/* Written as PostgreSQL writes one. */
static bool
is_uuid(const char *value)
{
	int			i;

	for (i = 0; i < 36; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? value[i] != '-' : value[i] == '\0' || strchr("0123456789abcdef", value[i]) == NULL)
			return false;
	return value[36] == '\0';
}

static bool
read_answerer(JsonbContainer *object, Answerer *answerer)
{
	int64		version;
	char	   *lsn = member_text(object, "lsn");
	uint32		high;
	uint32		low;

	answerer->store = member_text(object, "store");
	answerer->system_identifier = member_text(object, "system_identifier");
	if (!member_number(object, "version", &version) || version != 1 || answerer->store == NULL || !is_uuid(answerer->store) || answerer->system_identifier == NULL || strlen(answerer->system_identifier) > 20 ||
		!member_number(object, "timeline", &answerer->timeline) || answerer->timeline < 1 || answerer->timeline > PG_INT32_MAX || lsn == NULL || sscanf(lsn, "%X/%X", &high, &low) != 2)
		return false;
	answerer->lsn = ((uint64) high << 32) | low;
	return true;
}

static bool
read_answer(JsonbValue *element, LiveAnswer *answer)
{
	JsonbContainer *object;
	char	   *name;
	char	   *sqlstate;
	char	   *error;

	if (element == NULL || element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		return false;
	object = element->val.binary.data;
	name = member_text(object, "answer");
	for (answer->answer = 0; answer->answer < N_ANSWERS; answer->answer++)
		if (name != NULL && strcmp(name, pointstore_answer_names[answer->answer]) == 0)
			break;
	if (answer->answer == N_ANSWERS)
		return false;
	answer->is_there = true;
	answer->unit = member_text(object, "unit");
	if (!member_number(object, "event_id", &answer->event_id))
		answer->event_id = 0;
	sqlstate = member_text(object, "sqlstate");
	error = member_text(object, "error");
	if (sqlstate != NULL && strlen(sqlstate) == 5)
	{
		strlcpy(answer->sqlstate, sqlstate, sizeof(answer->sqlstate));
		answer->error = psprintf("%s: %s", sqlstate, error != NULL ? clipped(error) : "");
	}
	return true;
}

/* A member that is a string; else NULL. */
static char *
member_text(JsonbContainer *object, const char *key)
{
	JsonbValue	member;

	if (getKeyJsonValueFromContainer(object, key, strlen(key), &member) == NULL || member.type != jbvString)
		return NULL;
	return pnstrdup(member.val.string.val, member.val.string.len);
}

/* Whether a member is a number that is whole, and fits. */
static bool
member_number(JsonbContainer *object, const char *key, int64 *value)
{
	JsonbValue	member;
	char	   *digits;
	char	   *end;

	if (getKeyJsonValueFromContainer(object, key, strlen(key), &member) == NULL || member.type != jbvNumeric)
		return false;
	digits = numeric_normalize(member.val.numeric);
	errno = 0;
	*value = strtoll(digits, &end, 10);
	return errno == 0 && *end == '\0';
}

static char *
clipped(char *message)
{
	int			length = strlen(message);

	if (length > MAX_ERROR)
		message[pg_mbcliplen(message, length, MAX_ERROR)] = '\0';
	return message;
}
