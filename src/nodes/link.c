/*-------------------------------------------------------------------------
 *
 * src/nodes/link.c
 *		Links: connections to other servers, by libpq, that never block.
 *
 * A link is opened, and then takes one batch of statements at a time, which go out in a pipeline: one round trip, however
 * many they are. Who has it waits for its socket among others, with the events that it wants, and polls it when one of them
 * comes or its time is over; poll says when something has changed: it is open, the batch has come back, it has failed.
 *
 * A statement has succeeded when its result has come and the sync after it, which the server answers when the transaction
 * is committed; not before, for what is answered rests on that. Where a WARNING comes between the two the commit has not
 * waited for what it should have, a standby as a rule: then it has not succeeded either, and has no error. WARNINGs
 * before the result are of users' triggers and say nothing.
 *
 * A batch that does not come back in time, or not as it should, closes the link: what became of its statements is not
 * known, they have neither succeeded nor failed. Memory of results is that of the batch, which is the caller's; what
 * libpq has allocated is freed by close alone, so every way out leads there.
 *
 * Only where a name is looked up libpq blocks; hostaddr avoids that. Errors may be shown: libpq puts no password into them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <poll.h>

#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "nodes/link.h"

#define MOST_VALUE (64 * 1024 * 1024)	/* bytes of an answer */
#define MAX_ERROR 1000			/* bytes, of what another server says */
#define OPEN_TIMEOUT 10000		/* ms, for the first statements of a connection */

struct Link
{
	LinkState	state;
	PGconn	   *conn;
	PostgresPollingStatusType polling;	/* while it is opening */
	bool		greeting;		/* it is open, and its first statements are under way */
	bool		needs_password;
	bool		warned;			/* since the last result */
	LinkStatement *statements;
	int			n;
	int			now;			/* the one whose result is awaited */
	bool		unsynced;		/* its result has come, its sync has not */
	bool		writes;			/* not everything has gone out */
	TimestampTz due;
	char	   *error;
	MemoryContext context;
};

/*
 * What a session of ours is like, whatever its role and database prescribe: WARNINGs come through, commits are waited
 * for, nothing is found but by its full name, and no other clock ends it than ours.
 */
static const char *const greetings[] = {
	"SET search_path = pg_catalog, pg_temp",
	"SET client_min_messages = warning",
	"SET statement_timeout = 0",
	"SET idle_in_transaction_session_timeout = 0",
	"SET default_transaction_isolation = 'read committed'",
	"SET default_transaction_read_only = off",
	"SELECT pg_catalog.set_config('synchronous_commit', 'on', false)"
	" WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) ANY (ARRAY['off', 'local', 'remote_write'])"
};

/* changes with each socket, and with what is awaited of one */
static uint64 changes = 0;

static void set_state(Link *link, LinkState state);
static void set_writes(Link *link, bool writes);
static void fail(Link *link, const char *what);
static bool is_socket_ready(const Link *link);
static bool poll_opening(Link *link);
static bool greet(Link *link);
static bool queue_statement(Link *link, const LinkStatement *statement);
static void flush(Link *link);
static bool read_results(Link *link);
static bool take_result(Link *link, PGresult *result);
static void take_error(Link *link, LinkStatement *statement, PGresult *result);
static void take_value(LinkStatement *statement, PGresult *result);
static bool is_over(Link *link);
static void end_segment(Link *link);
static void note_notice(void *arg, const PGresult *result);
static char *shown(const char *message);

/* A link that is closed. Lives until it is freed. */
Link *
pointstore_link_new(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pointstore link", ALLOCSET_SMALL_SIZES);
	Link	   *link = MemoryContextAllocZero(context, sizeof(Link));

	link->context = context;
	return link;
}

void
pointstore_link_free(Link *link)
{
	pointstore_link_close(link, NULL);
	MemoryContextDelete(link->context);
}

/* Begins to connect. Whether that has failed at once its state says. */
void
pointstore_link_open(Link *link, const ServerAddress *address)
{
	Assert(link->state == LINK_CLOSED);
	link->needs_password = address->needs_password;
	link->greeting = false;
	if (!AcquireExternalFD())
	{
		fail(link, "too many files are open");
		return;
	}
	link->conn = PQconnectStartParams(address->keywords, address->values, 0);
	if (link->conn == NULL)
	{
		ReleaseExternalFD();
		fail(link, "out of memory");
		return;
	}
	set_state(link, LINK_OPENING);
	if (PQstatus(link->conn) == CONNECTION_BAD)
	{
		fail(link, NULL);
		return;
	}
	PQsetNoticeReceiver(link->conn, note_notice, link);
	link->polling = PGRES_POLLING_WRITING;
	link->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), address->timeout);
}

/*
 * Sends a batch over a link that is ready. The statements are filled in, in the memory that is current when the link is
 * polled, and stay where they are until it is not busy any more.
 */
void
pointstore_link_send(Link *link, LinkStatement *statements, int n, long timeout)
{
	int			i;

	Assert(link->state == LINK_READY && n > 0);
	link->statements = statements;
	link->n = n;
	link->now = 0;
	link->unsynced = link->warned = false;
	link->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);
	set_state(link, LINK_BUSY);
	for (i = 0; i < n; i++)
		if (!queue_statement(link, &statements[i]))
		{
			fail(link, NULL);
			return;
		}
	flush(link);
}

static bool
queue_statement(Link *link, const LinkStatement *statement)
{
	int			n = statement->parameter != NULL ? 1 : 0;

	return PQsendQueryParams(link->conn, statement->sql, n, NULL, &statement->parameter, NULL, NULL, 0) != 0 &&
		(statement->joined || PQpipelineSync(link->conn) != 0);
}

/* Sends what the socket takes. */
static void
flush(Link *link)
{
	int			left = PQflush(link->conn);

	if (left < 0)
		fail(link, NULL);
	else
		set_writes(link, left > 0);
}

/* Does what can be done without waiting. True: it has become ready, or was closed. */
bool
pointstore_link_poll(Link *link)
{
	if (link->state != LINK_OPENING && link->state != LINK_BUSY)
	{
		/* the server has something to say to one that is ready: that it ends */
		if (link->state != LINK_READY || (PQconsumeInput(link->conn) != 0 && PQstatus(link->conn) == CONNECTION_OK))
			return false;
		fail(link, NULL);
		return true;
	}
	if (link->state == LINK_OPENING && !link->greeting)
	{
		if (is_socket_ready(link))
			(void) poll_opening(link);
	}
	else
	{
		if (link->writes)
			flush(link);
		if (link->state != LINK_CLOSED && read_results(link))
			set_state(link, LINK_READY);
	}
	if (link->state != LINK_CLOSED && link->state != LINK_READY && is_over(link))
		fail(link, link->state == LINK_OPENING ? "the connection was not made in time" : "no answer came in time");
	return link->state == LINK_READY || link->state == LINK_CLOSED;
}

static bool
is_over(Link *link)
{
	return GetCurrentTimestamp() >= link->due;
}

/* Whether libpq may go on with the connection: before its socket is ready it would wait for that. */
static bool
is_socket_ready(const Link *link)
{
	struct pollfd socket = {.fd = PQsocket(link->conn), .events = link->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT};

	return socket.fd < 0 || poll(&socket, 1, 0) > 0;
}

/* As far as libpq comes with the connection; then the first statements. */
static bool
poll_opening(Link *link)
{
	link->polling = PQconnectPoll(link->conn);
	changes++;
	if (link->polling == PGRES_POLLING_FAILED)
		fail(link, NULL);
	else if (link->polling == PGRES_POLLING_OK && link->needs_password && !PQconnectionUsedPassword(link->conn))
		fail(link, "password is required: the server did not ask for the password of the user mapping");
	else if (link->polling == PGRES_POLLING_OK && !greet(link))
		fail(link, NULL);
	return link->state != LINK_CLOSED;
}

/* The settings of the session, in a pipeline as all. */
static bool
greet(Link *link)
{
	MemoryContext old;
	int			i;

	if (PQsetnonblocking(link->conn, 1) != 0 || PQenterPipelineMode(link->conn) == 0)
		return false;
	old = MemoryContextSwitchTo(link->context);
	link->n = lengthof(greetings);
	link->now = 0;
	link->statements = palloc0(sizeof(LinkStatement) * link->n);
	MemoryContextSwitchTo(old);
	link->greeting = true;
	link->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), OPEN_TIMEOUT);
	for (i = 0; i < link->n; i++)
	{
		link->statements[i].sql = greetings[i];
		link->statements[i].joined = i < link->n - 1;
		if (!queue_statement(link, &link->statements[i]))
			return false;
	}
	flush(link);
	return true;
}

/* Whether the whole batch has come back. */
static bool
read_results(Link *link)
{
	if (PQconsumeInput(link->conn) == 0)
	{
		fail(link, NULL);
		return false;
	}
	while (link->now < link->n && !PQisBusy(link->conn))
	{
		PGresult   *result = PQgetResult(link->conn);
		bool		taken;

		if (result == NULL)
			continue;			/* the end of a statement's results */
		taken = take_result(link, result);
		PQclear(result);
		if (!taken)
			return false;
	}
	if (link->now < link->n)
		return false;
	if (link->greeting)
		pfree(link->statements);
	link->greeting = false;
	return true;
}

/* False: the link was closed, for what came is not what should. */
static bool
take_result(Link *link, PGresult *result)
{
	LinkStatement *statement = &link->statements[link->now];

	switch (PQresultStatus(result))
	{
		case PGRES_PIPELINE_SYNC:
			if (!link->unsynced)
				break;
			end_segment(link);
			return true;
		case PGRES_TUPLES_OK:
		case PGRES_COMMAND_OK:
			take_value(statement, result);
			/* a transaction that has failed is not prepared, it is rolled back */
			statement->succeeded = !statement->commits || strcmp(PQcmdStatus(result), "ROLLBACK") != 0;
			link->warned = link->warned && statement->commits;
			if (statement->joined)
				link->now++;
			else
				link->unsynced = true;
			return true;
		case PGRES_FATAL_ERROR:
		case PGRES_PIPELINE_ABORTED:
			take_error(link, statement, result);
			if (link->greeting || PQstatus(link->conn) != CONNECTION_OK)
			{
				fail(link, statement->error);
				return false;
			}
			/* those that are joined to it have their own results, aborted ones */
			if (statement->joined)
				link->now++;
			else
				link->unsynced = true;
			return true;
		default:
			break;
	}
	fail(link, "the other server does not answer as a PostgreSQL server");
	return false;
}

/* A sync has come: what was before it, back to the sync before, is committed, unless one of it has failed. */
static void
end_segment(Link *link)
{
	int			first = link->now;
	bool		succeeded = true;
	int			i;

	while (first > 0 && link->statements[first - 1].joined)
		first--;
	for (i = first; i <= link->now; i++)
		succeeded &= link->statements[i].succeeded;
	for (i = first; i <= link->now; i++)
		link->statements[i].succeeded = succeeded && !link->warned;
	link->warned = link->unsynced = false;
	link->now++;
}

static void
take_value(LinkStatement *statement, PGresult *result)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0) &&
		PQgetlength(result, 0, 0) <= MOST_VALUE &&
		pg_verifymbstr(PQgetvalue(result, 0, 0), PQgetlength(result, 0, 0), true))
		statement->value = pnstrdup(PQgetvalue(result, 0, 0), PQgetlength(result, 0, 0));
}

static void
take_error(Link *link, LinkStatement *statement, PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	statement->succeeded = false;	/* it may have come with the commit */
	strlcpy(statement->sqlstate, state != NULL ? state : PQresultStatus(result) == PGRES_PIPELINE_ABORTED ? "25P02" : "08006", sizeof(statement->sqlstate));
	statement->error = shown(message != NULL ? message : PQerrorMessage(link->conn));
}

/* Notices do not come, by client_min_messages. */
static void
note_notice(void *arg, const PGresult *result)
{
	((Link *) arg)->warned = true;
}

/* Closes a link; error: why, NULL where it is not an error. */
void
pointstore_link_close(Link *link, const char *error)
{
	char	   *kept = error != NULL ? MemoryContextStrdup(link->context, error) : NULL;

	if (link->conn != NULL)
	{
		PQfinish(link->conn);
		ReleaseExternalFD();
	}
	link->conn = NULL;
	if (link->greeting)
		pfree(link->statements);
	link->greeting = link->writes = false;
	link->statements = NULL;
	if (link->error != NULL)
		pfree(link->error);
	link->error = kept;
	set_state(link, LINK_CLOSED);
}

/* The same, for what libpq says where the reason is NULL. */
static void
fail(Link *link, const char *what)
{
	char	   *message = shown(what != NULL ? what : PQerrorMessage(link->conn));

	pointstore_link_close(link, message[0] != '\0' ? message : "the connection was lost");
	pfree(message);
}

/* What may be shown of a message of libpq's or of another server: not too long, a line, valid in our encoding. */
static char *
shown(const char *message)
{
	int			length = strlen(message);
	char	   *copy;
	char	   *place;

	if (!pg_verifymbstr(message, length, true))
		return pstrdup("an error whose message is not in this database's encoding");
	if (length > MAX_ERROR)
		length = pg_mbcliplen(message, length, MAX_ERROR);
	while (length > 0 && message[length - 1] == '\n')
		length--;
	copy = pnstrdup(message, length);
	for (place = copy; *place != '\0'; place++)
		if (*place == '\n' || *place == '\r' || *place == '\t')
			*place = ' ';
	return copy;
}

static void
set_state(Link *link, LinkState state)
{
	if (link->state != state)
		changes++;
	link->state = state;
}

static void
set_writes(Link *link, bool writes)
{
	if (link->writes != writes)
		changes++;
	link->writes = writes;
}

LinkState
pointstore_link_state(const Link *link)
{
	return link->state;
}

/* Whether a batch has left a transaction open: where what was to end it could not be understood. */
bool
pointstore_link_is_in_transaction(const Link *link)
{
	return link->state == LINK_READY && PQtransactionStatus(link->conn) != PQTRANS_IDLE;
}

/* Why it was closed; NULL: not by a failure. */
const char *
pointstore_link_error(const Link *link)
{
	return link->error;
}

pgsocket
pointstore_link_socket(const Link *link)
{
	return link->conn == NULL ? PGINVALID_SOCKET : PQsocket(link->conn);
}

/* What its socket is to be waited for, as a WaitEventSet has it. */
uint32
pointstore_link_events(const Link *link)
{
	if (link->state == LINK_OPENING && !link->greeting)
		return link->polling == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
	return WL_SOCKET_READABLE | (link->writes ? WL_SOCKET_WRITEABLE : 0);
}

/* When it has to be polled, whatever its socket says; DT_NOEND: never. */
TimestampTz
pointstore_link_due(const Link *link)
{
	return link->state == LINK_OPENING || link->state == LINK_BUSY ? link->due : DT_NOEND;
}

/* Changes whenever a socket does, or what is awaited of one. */
uint64
pointstore_link_changes(void)
{
	return changes;
}
