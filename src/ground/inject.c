/*-------------------------------------------------------------------------
 *
 * src/ground/inject.c
 *		Named points at which tests let something happen: a kill, an error, a wait.
 *
 * The setting pointstore.injection, a superuser's, lists what happens where:
 *
 *		point=action[:n], ...
 *
 * The action comes at the nth time that a process passes the point, or at every time. A process counts for itself, anew
 * when the setting changes. The point `any` is every one. The actions:
 *
 *		kill	the process kills itself with SIGKILL: the whole server starts anew, as after a crash
 *		error	58000, which is among what is tried again
 *		wait	for as long as another session has pg_advisory_lock(hashtext('pointstore'), hashtext(point)), in that database
 *
 * Where the setting is empty, a point costs the test of a pointer. It is shown by SHOW, and in no list of settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

#include "ground/inject.h"

#define MAX_INJECTIONS 16

typedef enum Action
{
	ACTION_KILL,
	ACTION_ERROR,
	ACTION_WAIT
} Action;

typedef struct Injection
{
	char		point[NAMEDATALEN];
	Action		action;
	int			at;				/* 0: every time */
	int			passed;
} Injection;

void		(*pointstore_injection) (const char *point) = NULL;

static char *setting = NULL;
static char *counted_for = NULL;	/* the setting that the counts belong to */
static Injection injections[MAX_INJECTIONS];
static int	ninjections = 0;

static bool check_setting(char **value, void **extra, GucSource source);
static void assign_setting(const char *value, void *extra);
static int	read_injections(const char *list, Injection *into);
static bool read_injection(const char *text, size_t length, Injection *into);
static bool read_action(const char *text, Injection *into);
static void inject(const char *point);
static void act(Action action, const char *point);
static void wait_at(const char *point);

/* Called once when the library is loaded. */
void
pointstore_inject_init(void)
{
	DefineCustomStringVariable("pointstore.injection", "What happens at named points, for tests: point=kill|error|wait[:n], ...",
							   NULL, &setting, "", PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   check_setting, assign_setting, NULL);
}

static bool
check_setting(char **value, void **extra, GucSource source)
{
	Injection	read[MAX_INJECTIONS];

	if (*value == NULL || read_injections(*value, read) >= 0)
		return true;
	GUC_check_errdetail("It must be a list of point=kill|error|wait[:n], separated by commas.");
	return false;
}

/* The same again, as it comes with a reload, keeps the counts. */
static void
assign_setting(const char *value, void *extra)
{
	if (value == NULL)
		value = "";
	if (counted_for != NULL && strcmp(counted_for, value) == 0)
		return;
	free(counted_for);
	counted_for = strdup(value);
	ninjections = Max(read_injections(value, injections), 0);
	pointstore_injection = ninjections > 0 ? inject : NULL;
}

/* How many the list has; -1: it is none. */
static int
read_injections(const char *list, Injection *into)
{
	int			n = 0;

	list += strspn(list, " ,");
	while (*list != '\0')
	{
		size_t		length = strcspn(list, " ,");

		if (n == MAX_INJECTIONS || !read_injection(list, length, &into[n++]))
			return -1;
		list += length;
		list += strspn(list, " ,");
	}
	return n;
}

static bool
read_injection(const char *text, size_t length, Injection *into)
{
	char		copy[2 * NAMEDATALEN];
	char	   *action;

	memset(into, 0, sizeof(*into));
	if (length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	action = strchr(copy, '=');
	if (action == NULL || action == copy || action - copy >= NAMEDATALEN)
		return false;
	*action++ = '\0';
	strlcpy(into->point, copy, sizeof(into->point));
	return read_action(action, into);
}

static bool
read_action(const char *text, Injection *into)
{
	size_t		length = strcspn(text, ":");
	char	   *end;

	if (length == 4 && strncmp(text, "kill", length) == 0)
		into->action = ACTION_KILL;
	else if (length == 5 && strncmp(text, "error", length) == 0)
		into->action = ACTION_ERROR;
	else if (length == 4 && strncmp(text, "wait", length) == 0)
		into->action = ACTION_WAIT;
	else
		return false;
	if (text[length] == '\0')
		return true;
	into->at = (int) strtol(text + length + 1, &end, 10);
	return into->at > 0 && *end == '\0';
}

/* A point is passed. */
static void
inject(const char *point)
{
	int			i;

	for (i = 0; i < ninjections; i++)
	{
		Injection  *injection = &injections[i];

		if (strcmp(injection->point, point) != 0 && strcmp(injection->point, "any") != 0)
			continue;
		injection->passed++;
		if (injection->at == 0 || injection->at == injection->passed)
			act(injection->action, point);
	}
}

static void
act(Action action, const char *point)
{
	if (action == ACTION_WAIT)
	{
		wait_at(point);
		return;
	}
	if (action == ACTION_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("an error was asked for at \"%s\"", point)));
	ereport(LOG_SERVER_ONLY,
			(errmsg("process %d kills itself at \"%s\"", MyProcPid, point)));
	kill(MyProcPid, SIGKILL);
}

/* The lock is had when nobody else has it, and not kept. */
static void
wait_at(const char *point)
{
	Datum		ours = hash_any((const unsigned char *) "pointstore", strlen("pointstore"));
	Datum		here = hash_any((const unsigned char *) point, strlen(point));

	DirectFunctionCall2(pg_advisory_lock_int4, ours, here);
	DirectFunctionCall2(pg_advisory_unlock_int4, ours, here);
}
