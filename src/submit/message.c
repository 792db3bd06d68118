/*-------------------------------------------------------------------------
 *
 * src/submit/message.c
 *		What a caller and its combiner tell each other in shared memory: a
 *		request, and then in the same place its answer.
 *
 * A request is its proposed events. An answer is a decision (an applied request or a
 * refusal, of which the caller makes a receipt or an error), an error (which the
 * caller raises as its own), or the request given back, undecided: then the caller
 * appends plainly, waiting where append_event() or transfer() would wait, and gets
 * the answer that they would get.
 *
 * Texts are copied into the message, as far as they fit; what points into
 * the memory of one process is not told to the other. A message has one writer at a
 * time: the state of the slot that it lies in (queue.c) says which.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "append/refusal.h"
#include "submit/message.h"

#define REFUSAL_TEXT	600		/* bytes of each text that a refusal has, at most: a name has 512 */

static Size size_of_texts(const ProposedEvent *events, int n);
static Size size_of_text(const void *text, const void *first);
static void *put(Message *message, const void *data, Size size);
static void put_refusal(Message *message, Decision *told, const Decision *decision);
static char *put_clipped(Message *message, const char *string, int most);
static ErrorData *copy_error(const ErrorData *error);

/* Whether a request is small enough to be told. */
bool
pointstore_message_fits(const ProposedEvent *events, int n)
{
	return size_of_texts(events, n) <= MESSAGE_TEXT;
}

/* What pointstore_message_ask() puts. */
static Size
size_of_texts(const ProposedEvent *events, int n)
{
	Size		size = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
#define SIZE(field) size_of_text(events[i].field, i > 0 ? events[0].field : NULL)
		size += SIZE(aggregate_id) + SIZE(event_type) + SIZE(payload) + SIZE(metadata) +
			SIZE(request_id) + SIZE(kind) + SIZE(lease_tokens);
#undef SIZE
	}
	return size;
}

/* Nothing where the request's first event has the same. */
static Size
size_of_text(const void *text, const void *first)
{
	return text == NULL || text == first ? 0 : MAXALIGN(VARSIZE_ANY(text));
}

/* The caller's request, which must fit. */
void
pointstore_message_ask(Message *message, const ProposedEvent *events, int n)
{
	int			i;

	message->used = 0;
	message->nevents = n;
	for (i = 0; i < n; i++)
	{
		message->events[i] = events[i];
#define PUT(field) \
		if (events[i].field != NULL) \
			message->events[i].field = i > 0 && events[i].field == events[0].field ? message->events[0].field \
				: put(message, events[i].field, VARSIZE_ANY(events[i].field))
		PUT(aggregate_id);
		PUT(event_type);
		PUT(payload);
		PUT(metadata);
		PUT(request_id);
		PUT(kind);
		PUT(lease_tokens);
#undef PUT
	}
}

/* Copies data into the message's text, where there is room for it. */
static void *
put(Message *message, const void *data, Size size)
{
	void	   *place = message->text + message->used;

	Assert(message->used + size <= MESSAGE_TEXT);
	memcpy(place, data, size);
	message->used += MAXALIGN(size);
	return place;
}

/* The combiner's answer to a request that a committed batch has decided. */
void
pointstore_message_decide(Message *message, const Decision *decisions)
{
	int			i;

	message->answer = ANSWER_DECIDED;
	message->used = 0;
	for (i = 0; i < message->nevents; i++)
	{
		message->decisions[i] = decisions[i];
		put_refusal(message, &message->decisions[i], &decisions[i]);
	}
}

/*
 * What a refusal says, as far as it is this outcome's: other texts may be left from an attempt before.
 * What the store's rows hold may be longer than any name: it is told as far as there is room.
 */
static void
put_refusal(Message *message, Decision *told, const Decision *decision)
{
	told->mismatch = told->asked = told->stored = told->opening = NULL;
	told->state = NULL;
	if (decision->outcome != OUTCOME_REQUEST_MISMATCH && decision->outcome != OUTCOME_NOT_ALLOWED &&
		decision->outcome != OUTCOME_TRANSITION_NOT_ALLOWED && decision->outcome != OUTCOME_NO_KIND)
		return;
#define PUT(field) \
	if (decision->field != NULL) \
		told->field = put_clipped(message, decision->field, REFUSAL_TEXT)
	PUT(mismatch);
	PUT(asked);
	PUT(stored);
	PUT(opening);
#undef PUT
}

/* The combiner's answer that is an error, its texts as far as they fit. */
void
pointstore_message_fail(Message *message, const ErrorData *error)
{
	message->answer = ANSWER_ERROR;
	message->used = 0;
	memset(&message->error, 0, sizeof(ErrorData));
	message->error.elevel = ERROR;
	message->error.sqlerrcode = error->sqlerrcode;
#define PUT(field, most) message->error.field = put_clipped(message, error->field, most)
	PUT(schema_name, NAMEDATALEN);
	PUT(table_name, NAMEDATALEN);
	PUT(column_name, NAMEDATALEN);
	PUT(datatype_name, NAMEDATALEN);
	PUT(constraint_name, NAMEDATALEN);
	PUT(message, 3000);
	PUT(detail, 2000);
	PUT(hint, 1000);
	PUT(context, 1000);
#undef PUT
}

/* A string, or as many whole characters of it as most bytes have room for; NULL: none. */
static char *
put_clipped(Message *message, const char *string, int most)
{
	int			length;
	char	   *place;

	if (string == NULL)
		return NULL;
	length = pg_mbcliplen(string, strlen(string), most);
	place = put(message, string, length + 1);
	place[length] = '\0';
	return place;
}

/* Copies an answer out of the message: a decision into the caller's, an error as the result. */
ErrorData *
pointstore_message_read(const Message *message, Decision *decisions)
{
	int			i;

	if (message->answer == ANSWER_ERROR)
		return copy_error(&message->error);
	for (i = 0; message->answer == ANSWER_DECIDED && i < message->nevents; i++)
	{
		decisions[i] = message->decisions[i];
#define COPY(field) decisions[i].field = decisions[i].field ? pstrdup(decisions[i].field) : NULL
		COPY(mismatch);
		COPY(asked);
		COPY(stored);
		COPY(opening);
#undef COPY
	}
	return NULL;
}

static ErrorData *
copy_error(const ErrorData *error)
{
	ErrorData  *copy = palloc(sizeof(ErrorData));

	*copy = *error;
#define COPY(field) copy->field = error->field ? pstrdup(error->field) : NULL
	COPY(message);
	COPY(detail);
	COPY(hint);
	COPY(context);
	COPY(schema_name);
	COPY(table_name);
	COPY(column_name);
	COPY(datatype_name);
	COPY(constraint_name);
#undef COPY
	copy->assoc_context = CurrentMemoryContext;
	return copy;
}
