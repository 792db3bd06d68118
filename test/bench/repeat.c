/*
 * test/bench/repeat.c
 * A caller who repeats what is refused: appends to one account of a file after the other, each append until it
 * succeeds, until a file of that name appears. Prints how many have succeeded, the longest time in ms that one took
 * with its repeats, how many were refused, and their SQLSTATEs.
 * Arguments: connection, file of accounts, prefix of request ids, file that ends it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define APPEND "SELECT version, balance FROM pointstore.append_event($1, 'PointAdjusted', 1, '{\"order\": \"A-1001\"}', request_id => $2)"
#define MOST_ACCOUNTS 100000
#define MOST_REPEATS 1000

static char *accounts[MOST_ACCOUNTS];
static int	number_of_accounts;
static char refusals[8192] = "-";
static long refused;

static void
read_accounts(const char *name)
{
	char		line[256];
	FILE	   *file = fopen(name, "r");

	while (file != NULL && number_of_accounts < MOST_ACCOUNTS && fgets(line, sizeof(line), file) != NULL)
	{
		line[strcspn(line, "\n")] = '\0';
		accounts[number_of_accounts++] = strdup(line);
	}
	if (number_of_accounts == 0)
	{
		fprintf(stderr, "repeat: no accounts in %s\n", name);
		exit(1);
	}
	fclose(file);
}

static double
now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000.0 + at.tv_nsec / 1e6;
}

static void
note(PGconn *conn, PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	size_t		length = refused == 0 ? 0 : strlen(refusals);

	if (length + 8 < sizeof(refusals))
		snprintf(refusals + length, sizeof(refusals) - length, "%s%s", length == 0 ? "" : ",", sqlstate == NULL ? "lost" : sqlstate);
	if (getenv("REPEAT_VERBOSE") != NULL)
		fprintf(stderr, "%s", PQresultErrorMessage(result));
	refused++;
	if (PQstatus(conn) != CONNECTION_OK)
		PQreset(conn);
}

/* Until it has succeeded. */
static void
append(PGconn *conn, const char *account, const char *request_id)
{
	const char *values[2] = {account, request_id};

	for (int i = 0; i < MOST_REPEATS; i++)
	{
		PGresult   *result = PQexecParams(conn, APPEND, 2, NULL, values, NULL, NULL, 0);
		int			is_done = PQresultStatus(result) == PGRES_TUPLES_OK;

		if (!is_done)
			note(conn, result);
		PQclear(result);
		if (is_done)
			return;
	}
	fprintf(stderr, "repeat: refused %d times: %s", MOST_REPEATS, PQerrorMessage(conn));
	exit(1);
}

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	double		longest = 0;
	long		appended;

	if (argc != 5)
		return 2;
	read_accounts(argv[2]);
	conn = PQconnectdb(argv[1]);
	srand((unsigned) getpid());
	for (appended = 0; access(argv[4], F_OK) != 0; appended++)
	{
		char		request_id[128];
		double		start = now();

		snprintf(request_id, sizeof(request_id), "%s-%ld", argv[3], appended);
		append(conn, accounts[rand() % number_of_accounts], request_id);
		if (now() - start > longest)
			longest = now() - start;
	}
	printf("%ld %.1f %ld %s\n", appended, longest, refused, refusals);
	PQfinish(conn);
	return 0;
}
