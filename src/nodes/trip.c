/*-------------------------------------------------------------------------
 *
 * src/nodes/trip.c
 *		Round trips to other stores: messages become statements, and results answers.
 *
 * All messages of tcc and saga in a trip are one call of participate(), one transaction there. A step of 2pc is
 * tried by itself, in a transaction that is prepared under a name of its own: the store, its incarnation when the movement
 * began, the movement and the step. participate() lets no transaction be prepared but of a step that was tried. So where such
 * a try was sent before, and its answer was lost, it is tried if there is a transaction of that name. A try never rolls
 * back: one that is late would undo what has been decided since. It is ended by COMMIT PREPARED or ROLLBACK PREPARED, and then by
 * its message as any step: that the prepared transaction is not there any more says nothing, the step's row says what it was.
 *
 * An answer counts when its statement has succeeded (link.c). What has not is asked again: after a pause that grows where the
 * store has answered that it is busy, or by an error; as soon as the store is there again where nothing has come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "ground/inject.h"
#include "nodes/trip.h"

#define FIRST_BUSY 10			/* ms, until what was busy is asked again; twice as long each time */
#define LONGEST_BUSY 1000
#define FIRST_PAUSE 100			/* ms, the same after an error */
#define LONGEST_PAUSE 60000
#define LOCK_TIMEOUT "1s"		/* of a try that is prepared: longer waits would keep others from being ended */
#define MAX_LENGTH (8 * 1024 * 1024)	/* bytes of what tries are about, after which no more go into a trip */

/* A message that was sent. */
typedef struct Sent
{
	LiveStep   *step;
	MovementVerb verb;
	int			prepared;		/* the statement that prepares or ends its transaction; -1: none */
	int			found;			/* the one that looks for it; -1: none */
} Sent;

/* A call of participate(): a statement, and the messages in it. */
typedef struct Call
{
	int			statement;
	int			first;			/* of the messages that were sent */
	int			n;
} Call;

struct Trip
{
	MemoryContext context;
	Sent	   *sent;
	int			nsent;
	Call	   *calls;
	int			ncalls;
	LinkStatement *statements;
	int			nstatements;
	int			size;
	int			sweep;			/* statement; -1: none */
	bool		tries;			/* a try that is prepared is in it */
	bool		ends;			/* the end of a prepared transaction is in it */
	int			size_sent;
};

static LinkStatement *add_statement(Trip *trip, const char *sql);
static void add_sent(Trip *trip, LiveStep *step);
static void add_prepared_try(Trip *trip, LiveStep *step, const Sender *sender);
static void add_introduction(Trip *trip, const Sender *sender);
static void add_end(Trip *trip, LiveStep *step, const Sender *sender);
static void add_call(Trip *trip, StringInfo call, int first);
static char *gid_of(const LiveStep *step, const Sender *sender);
static char *digest_of(const char *id);
static void take_call(LiveSet *set, Trip *trip, const Call *call, TripCheck check, void *arg, TripResult *result);
static void settle(LiveSet *set, Trip *trip, Sent *sent, LiveAnswer *answer);
static bool is_found(const Trip *trip, const Sent *sent);
static bool counts_as_tried(const LinkStatement *prepared, LiveAnswer *answer);
static bool is_passing(const char *sqlstate);
static bool blames_messages(const char *sqlstate);
static bool cannot_be_said(const char *sqlstate);
static TimestampTz pause_after(int attempts, long first, long longest);

/* A trip with messages from the front of a queue, so many of them at most. They are sent from now on. */
Trip *
pointstore_trip_make(LiveSet *set, StepQueue *queue, const Sender *sender, int most)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pointstore trip", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Trip	   *trip = palloc0(sizeof(Trip));
	StringInfoData call;
	LiveStep   *step;
	Size		length = 0;
	int			first;
	int			i;

	trip->context = context;
	trip->sweep = -1;
	trip->sent = palloc(sizeof(Sent) * most);
	trip->calls = palloc(sizeof(Call) * (most + 1));
	while (trip->nsent < most && length < MAX_LENGTH && (step = pointstore_step_next(queue)) != NULL)
	{
		length += step->verb == VERB_TRY && step->contents != NULL ? strlen(step->contents) : 0;
		add_sent(trip, step);
	}
	trip->size_sent = trip->nsent;
	/* what is to be prepared is first in the list, each with a call of its own */
	for (i = 0; i < trip->nsent; i++)
	{
		Sent		sent = trip->sent[i];

		if (sent.step->live->protocol != PROTOCOL_2PC || sent.verb != VERB_TRY)
			continue;
		memmove(&trip->sent[trip->ncalls + 1], &trip->sent[trip->ncalls], sizeof(Sent) * (i - trip->ncalls));
		trip->sent[trip->ncalls] = sent;
		add_prepared_try(trip, sent.step, sender);
	}
	first = trip->ncalls;
	pointstore_begin_call(&call, sender);
	for (i = first; i < trip->nsent; i++)
	{
		if (trip->sent[i].step->live->protocol == PROTOCOL_2PC)
		{
			add_end(trip, trip->sent[i].step, sender);
			trip->sent[i].prepared = trip->nstatements - 1;
		}
		pointstore_add_message(&call, trip->sent[i].step, trip->sent[i].verb);
	}
	pointstore_end_call(&call);
	if (first < trip->nsent)
		add_call(trip, &call, first);
	MemoryContextSwitchTo(old);
	return trip;
}

static void
add_sent(Trip *trip, LiveStep *step)
{
	Sent	   *sent = &trip->sent[trip->nsent++];

	sent->step = step;
	sent->verb = step->verb;
	sent->prepared = sent->found = -1;
}

static LinkStatement *
add_statement(Trip *trip, const char *sql)
{
	if (trip->nstatements == trip->size)
	{
		trip->size = Max(16, 2 * trip->size);
		trip->statements = trip->statements == NULL ? palloc0(sizeof(LinkStatement) * trip->size) :
			repalloc(trip->statements, sizeof(LinkStatement) * trip->size);
	}
	memset(&trip->statements[trip->nstatements], 0, sizeof(LinkStatement));
	trip->statements[trip->nstatements].sql = sql;
	return &trip->statements[trip->nstatements++];
}

/* The call of all that are not prepared, in their order. */
static void
add_call(Trip *trip, StringInfo call, int first)
{
	add_statement(trip, "SELECT pointstore.participate($1::pg_catalog.jsonb)")->parameter = call->data;
	trip->calls[trip->ncalls++] = (Call) {.statement = trip->nstatements - 1, .first = first, .n = trip->nsent - first};
}

/* A try in a transaction that is prepared; where it has failed that is a ROLLBACK. It is the next of the list. */
static void
add_prepared_try(Trip *trip, LiveStep *step, const Sender *sender)
{
	char	   *gid = quote_literal_cstr(gid_of(step, sender));
	StringInfoData call;

	pointstore_begin_call(&call, sender);
	pointstore_add_message(&call, step, VERB_TRY);
	pointstore_end_call(&call);
	if (step->attempts > 0 || step->asked_before)
	{
		(void) add_statement(trip, psprintf("SELECT x.gid FROM pg_catalog.pg_prepared_xacts x WHERE x.gid OPERATOR(pg_catalog.=) %s"
											" AND x.database OPERATOR(pg_catalog.=) pg_catalog.current_database()", gid));
		trip->sent[trip->ncalls].found = trip->nstatements - 1;
	}
	/* what was found is confirmed by standbys when that has committed */
	if (trip->ncalls == 0 || trip->sent[trip->ncalls].found >= 0)
		add_introduction(trip, sender);
	step->asked_before = true;
	add_statement(trip, "BEGIN")->joined = true;
	add_statement(trip, "SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'")->joined = true;
	add_statement(trip, "SELECT pointstore.participate($1::pg_catalog.jsonb)")->parameter = call.data;
	trip->calls[trip->ncalls] = (Call) {.statement = trip->nstatements - 1, .first = trip->ncalls, .n = 1};
	add_statement(trip, psprintf("PREPARE TRANSACTION %s", gid))->commits = true;
	trip->sent[trip->ncalls++].prepared = trip->nstatements - 1;
	trip->tries = true;
}

/* What is prepared does not introduce this store: a call without messages does. */
static void
add_introduction(Trip *trip, const Sender *sender)
{
	StringInfoData call;

	pointstore_begin_call(&call, sender);
	pointstore_end_call(&call);
	add_statement(trip, "SELECT pointstore.participate($1::pg_catalog.jsonb)")->parameter = call.data;
}

/* What becomes of its prepared transaction. */
static void
add_end(Trip *trip, LiveStep *step, const Sender *sender)
{
	char	   *gid = quote_literal_cstr(gid_of(step, sender));

	add_statement(trip, psprintf("%s PREPARED %s", step->verb == VERB_CONFIRM ? "COMMIT" : "ROLLBACK", gid))->commits = true;
	trip->ends = true;
}

/* The name of a step's prepared transaction. A long id of a movement is told by its digest, and so is one that may look like a digest. */
static char *
gid_of(const LiveStep *step, const Sender *sender)
{
	const Live *live = step->live;
	const char *id = live->movement_id;

	if (strlen(id) > POINTSTORE_MAX_PLAIN_ID || id[0] == '#')
		id = digest_of(id);
	return psprintf("pointstore:%s:%lld:%s:%d", sender->store, (long long) live->incarnation, id, step->step);
}

/* Outside transactions too, where nothing else owns what OpenSSL is asked for. */
static char *
digest_of(const char *id)
{
	ResourceOwner old = CurrentResourceOwner;
	ResourceOwner owner = ResourceOwnerCreate(NULL, "pointstore digest");
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		hex[2 * PG_SHA256_DIGEST_LENGTH + 1];
	pg_cryptohash_ctx *context;
	bool		succeeded;

	CurrentResourceOwner = owner;
	context = pg_cryptohash_create(PG_SHA256);
	succeeded = pg_cryptohash_init(context) >= 0 && pg_cryptohash_update(context, (const uint8 *) id, strlen(id)) >= 0 &&
		pg_cryptohash_final(context, digest, sizeof(digest)) >= 0;
	pg_cryptohash_free(context);
	CurrentResourceOwner = old;
	ResourceOwnerDelete(owner);
	if (!succeeded)
		elog(ERROR, "could not compute a digest");
	hex[hex_encode((const char *) digest, sizeof(digest), hex)] = '\0';
	return psprintf("#%s", hex);
}

/* Prepared transactions that are known to be of nothing any more. */
void
pointstore_trip_add_rollbacks(Trip *trip, List *gids)
{
	MemoryContext old = MemoryContextSwitchTo(trip->context);
	ListCell   *cell;

	foreach(cell, gids)
		(void) add_statement(trip, psprintf("ROLLBACK PREPARED %s", quote_literal_cstr(lfirst(cell))));
	MemoryContextSwitchTo(old);
}

/* Asks for all prepared transactions of this store there. */
void
pointstore_trip_add_sweep(Trip *trip, const Sender *sender)
{
	MemoryContext old = MemoryContextSwitchTo(trip->context);

	(void) add_statement(trip, psprintf("SELECT CAST(coalesce(pg_catalog.json_agg(x.gid), '[]') AS pg_catalog.text) FROM pg_catalog.pg_prepared_xacts x"
										" WHERE x.database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
										" AND pg_catalog.starts_with(x.gid, 'pointstore:%s:')", sender->store));
	trip->sweep = trip->nstatements - 1;
	MemoryContextSwitchTo(old);
}

/* Whether a step of 2pc is in it. */
bool
pointstore_trip_prepares(const Trip *trip)
{
	return trip->tries || trip->ends;
}

/* How many messages are, or were, in it. */
int
pointstore_trip_size(const Trip *trip)
{
	return trip->size_sent;
}

/* Where its results are to be. */
MemoryContext
pointstore_trip_context(const Trip *trip)
{
	return trip->context;
}

void
pointstore_trip_send(Trip *trip, Link *link, long timeout)
{
	if (trip->tries)
		POINTSTORE_INJECT("prepare-before");
	if (trip->ends)
		POINTSTORE_INJECT("commit-prepared-before");
	pointstore_link_send(link, trip->statements, trip->nstatements, timeout);
	POINTSTORE_INJECT("coordinator-sent");
}

/* It has come back: each message is answered, or not. In the memory of the cycle. */
void
pointstore_trip_take(LiveSet *set, Trip *trip, TripCheck check, void *arg, TripResult *result)
{
	int			i;

	memset(result, 0, sizeof(TripResult));
	POINTSTORE_INJECT("coordinator-answered");
	if (trip->tries)
		POINTSTORE_INJECT("prepare-after");
	for (i = 0; i < trip->ncalls; i++)
		take_call(set, trip, &trip->calls[i], check, arg, result);
	if (trip->sweep >= 0 && trip->statements[trip->sweep].succeeded)
		result->swept = trip->statements[trip->sweep].value;
	trip->nsent = 0;
}

/* The answers of a call. */
static void
take_call(LiveSet *set, Trip *trip, const Call *call, TripCheck check, void *arg, TripResult *result)
{
	const LinkStatement *statement = &trip->statements[call->statement];
	LiveAnswer *answers = palloc(sizeof(LiveAnswer) * call->n);
	Answerer	answerer;
	bool		is_there = statement->value != NULL && statement->succeeded;
	int			i;

	if (is_there && !pointstore_read_answers(statement->value, &answerer, answers, call->n))
	{
		result->error = pstrdup("the other store answers what is no answer");
		is_there = false;
	}
	else if (is_there)
		is_there = check(arg, &answerer);
	else if (statement->sqlstate[0] != '\0' && strcmp(statement->sqlstate, "25P02") != 0)
	{
		result->error = psprintf("%s: %s", statement->sqlstate, statement->error);
		result->blames_messages = blames_messages(statement->sqlstate);
	}
	result->is_answered |= is_there;
	for (i = 0; i < call->n; i++)
	{
		Sent	   *sent = &trip->sent[call->first + i];

		if (is_there)
			settle(set, trip, sent, &answers[i]);
		else if (call->n == 1 && result->error != NULL && cannot_be_said(statement->sqlstate))
		{
			LiveAnswer	answer = {.answer = sent->verb == VERB_TRY ? ANSWER_REFUSED : ANSWER_FAILED, .error = result->error};

			strlcpy(answer.sqlstate, statement->sqlstate, sizeof(answer.sqlstate));
			pointstore_step_answered(set, sent->step, &answer);
		}
		else
			pointstore_step_unanswered(set, sent->step, pause_after(sent->step->attempts, FIRST_PAUSE, LONGEST_PAUSE), result->error);
	}
}

/* One answer: taken, unless it says nothing, or the transaction that it rests on was not prepared or ended. */
static void
settle(LiveSet *set, Trip *trip, Sent *sent, LiveAnswer *answer)
{
	const LinkStatement *prepared = sent->prepared >= 0 ? &trip->statements[sent->prepared] : NULL;
	const char *error = answer->error;
	bool		was_tried = answer->answer == ANSWER_TRIED;
	bool		counts;

	/* the step is busy because its transaction is prepared */
	if (answer->answer == ANSWER_BUSY && is_found(trip, sent))
		answer->answer = ANSWER_TRIED;
	else if (answer->answer == ANSWER_TRIED && prepared != NULL && !counts_as_tried(prepared, answer))
		answer->answer = ANSWER_BUSY;
	counts = answer->answer != ANSWER_BUSY &&
		(prepared == NULL || sent->verb == VERB_TRY || prepared->succeeded || strcmp(prepared->sqlstate, "42704") == 0);
	if (counts)
	{
		pointstore_step_answered(set, sent->step, answer);
		return;
	}
	/* of one that was busy nothing is prepared */
	if (prepared != NULL && prepared->error != NULL && (sent->verb != VERB_TRY || was_tried))
		error = psprintf("%s: %s", prepared->sqlstate, prepared->error);
	pointstore_step_unanswered(set, sent->step, answer->answer == ANSWER_BUSY ? pause_after(sent->step->attempts, FIRST_BUSY, LONGEST_BUSY) :
							   pause_after(sent->step->attempts, FIRST_PAUSE, LONGEST_PAUSE), error);
}

/* Whether a step was prepared before, and that is durable. */
static bool
is_found(const Trip *trip, const Sent *sent)
{
	return sent->found >= 0 && trip->statements[sent->found].value != NULL && trip->statements[sent->found].succeeded &&
		trip->statements[sent->found + 1].succeeded;
}

/* Whether tried stands, by what became of its transaction; it may become a refusal. */
static bool
counts_as_tried(const LinkStatement *prepared, LiveAnswer *answer)
{
	if (prepared->succeeded)
		return true;
	/* nothing is known */
	if (prepared->sqlstate[0] == '\0' || strcmp(prepared->sqlstate, "42710") == 0 ||
		(is_passing(prepared->sqlstate) && strcmp(prepared->sqlstate, "55000") != 0))
		return false;
	answer->answer = ANSWER_REFUSED;
	strlcpy(answer->sqlstate, prepared->sqlstate, sizeof(answer->sqlstate));
	answer->error = psprintf("%s: %s", prepared->sqlstate, prepared->error);
	return true;
}

/* Whether an error says nothing of what was asked, but of what else goes on there. */
static bool
is_passing(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "53", "55", "57", "58"};
	int			i;

	for (i = 0; i < lengthof(classes); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

/* Whether an error of a call may come of some of its messages: not where it is the store, or this one, that does not fit. */
static bool
blames_messages(const char *sqlstate)
{
	return !is_passing(sqlstate) && strncmp(sqlstate, "42", 2) != 0 && strncmp(sqlstate, "0A", 2) != 0 && strncmp(sqlstate, "3F", 2) != 0;
}

/* Whether a message, or its answer, has characters that the other side's encoding does not have: its transaction has failed, and always will. */
static bool
cannot_be_said(const char *sqlstate)
{
	return strcmp(sqlstate, "22P05") == 0 || strcmp(sqlstate, "22021") == 0;
}

/* From now, longer each time, and never quite as long as another. */
static TimestampTz
pause_after(int attempts, long first, long longest)
{
	int64		pause = Min((int64) first << Min(attempts, 20), longest);

	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause / 2 + random() % (pause / 2 + 1));
}

/* It is over; what was not answered is asked again when its store is there. */
void
pointstore_trip_end(LiveSet *set, Trip *trip)
{
	int			i;

	for (i = 0; i < trip->nsent; i++)
		pointstore_step_unanswered(set, trip->sent[i].step, 0, NULL);
	MemoryContextDelete(trip->context);
}

/* pointstore:store:incarnation:movement:step; the movement may have colons in it. */
bool
pointstore_split_gid(const char *gid, const Sender *sender, int64 *incarnation, char **movement_id)
{
	char	   *start = psprintf("pointstore:%s:", sender->store);
	const char *place = gid + strlen(start);
	const char *last = strrchr(gid, ':');
	char	   *end;

	if (strncmp(gid, start, strlen(start)) != 0)
		return false;
	*incarnation = strtoll(place, &end, 10);
	if (end == place || *end != ':' || last <= end)
		return false;
	*movement_id = pnstrdup(end + 1, last - end - 1);
	return true;
}
