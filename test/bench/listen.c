/*
 * test/bench/listen.c
 * Who follows the events by LISTEN, as a rival of the feed: each append notifies of its id; waits
 * on the socket, reads the events that it was told of, all that have come in one query, and notes
 * in bench.delivered how old each was by then. For so many seconds.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

static PGconn *conn;

static void
must(PGresult *result, ExecStatusType wanted)
{
	if (PQresultStatus(result) != wanted)
	{
		fprintf(stderr, "listen: %s", PQerrorMessage(conn));
		exit(1);
	}
	PQclear(result);
}

/* What was told of and not yet read, as an array of bigint, or null. Of 1,000 at most. */
static const char *
told(void)
{
	static char ids[32768];
	size_t		length = 0;

	for (int n = 0; n < 1000; n++)
	{
		PGnotify   *notify = PQnotifies(conn);

		if (notify == NULL)
			break;
		length += (size_t) snprintf(ids + length, sizeof(ids) - length, "%c%.20s", length == 0 ? '{' : ',', notify->extra);
		PQfreemem(notify);
	}
	if (length == 0)
		return NULL;
	strcpy(ids + length, "}");
	return ids;
}

int
main(int argc, char **argv)
{
	time_t		finish = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);

	conn = PQconnectdb("application_name=listener");
	must(PQexec(conn, "SET synchronous_commit = off"), PGRES_COMMAND_OK);
	must(PQprepare(conn, "read", "INSERT INTO bench.delivered SELECT e.id, extract(epoch FROM clock_timestamp() - e.created_at) * 1000 "
				   "FROM pointstore.event_store e WHERE e.id = ANY (CAST($1 AS bigint[]))", 1, NULL), PGRES_COMMAND_OK);
	must(PQexec(conn, "LISTEN bench"), PGRES_COMMAND_OK);
	while (time(NULL) < finish)
	{
		struct pollfd readable = {.fd = PQsocket(conn), .events = POLLIN};
		const char *ids = told();

		if (ids != NULL)
			must(PQexecPrepared(conn, "read", 1, &ids, NULL, NULL, 0), PGRES_COMMAND_OK);
		else if (poll(&readable, 1, 100) > 0 && !PQconsumeInput(conn))
			return 1;
	}
	PQfinish(conn);
	return 0;
}
