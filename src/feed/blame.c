/*-------------------------------------------------------------------------
 *
 * src/feed/blame.c
 *		Batches of a projection that fail: how long one may take, and whom an error blames.
 *
 * A batch that takes longer than pointstore.projection_timeout is cancelled, as statement_timeout does it. Where
 * the handler does not heed that, a worker's session ends. One that waits for a lock by then is held up by
 * others. A worker notes who else has cancelled it: that is the launcher, for a session that has waited for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timeout.h"

#include "feed/blame.h"
#include "feed/decision.h"
#include "ground/compat.h"

#define GRACE 5000				/* ms, in which a handler heeds that it is cancelled */
#define LONGEST_ERROR 1000		/* bytes of an error's message that are kept */

static int	projection_timeout = 60000;	/* ms */
static TimeoutId cancel_timeout;
static TimeoutId end_timeout;
static bool has_timeouts = false;
static volatile sig_atomic_t timed_out = false;
static volatile sig_atomic_t held_up = false;	/* by a lock, when its time was over */
static volatile sig_atomic_t cancelled = false; /* a worker, by whomever */

static void heed_cancel(SIGNAL_ARGS);
static void cancel_batch(void);
static void end_session(void);
static bool is_of_definitions(int sqlerrcode);

/* Called once when the library is loaded. */
void
pointstore_blame_init(void)
{
	DefineCustomIntVariable("pointstore.projection_timeout",
							"How long a batch of a projection may take before it is cancelled and cut down; 0 turns it off.",
							NULL, &projection_timeout, 60000, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* To be called by a worker that runs projections, once. */
void
pointstore_heed_cancels(void)
{
	pqsignal(SIGINT, heed_cancel);
}

static void
heed_cancel(SIGNAL_ARGS)
{
	cancelled = true;
	StatementCancelHandler(postgres_signal_arg);
}

void
pointstore_begin_batch(void)
{
	timed_out = held_up = cancelled = false;
}

/* From now on the handler may take so long; a worker's session ends soon after that. */
void
pointstore_limit_batch(void)
{
	if (projection_timeout == 0)
		return;
	if (!has_timeouts)
	{
		cancel_timeout = RegisterTimeout(USER_TIMEOUT, cancel_batch);
		end_timeout = RegisterTimeout(USER_TIMEOUT, end_session);
		has_timeouts = true;
	}
	enable_timeout_after(cancel_timeout, projection_timeout);
	if (AmBackgroundWorkerProcess())
		enable_timeout_after(end_timeout, Min((int64) projection_timeout + GRACE, INT_MAX));
}

/* A cancellation that came too late for this batch is not for what comes next. */
void
pointstore_end_batch(void)
{
	if (has_timeouts)
	{
		disable_timeout(cancel_timeout, false);
		disable_timeout(end_timeout, false);
	}
	if (timed_out || held_up || cancelled)
		QueryCancelPending = false;
}

/* Signal handlers. */
static void
cancel_batch(void)
{
	if (MyProc->waitStatus == PROC_WAIT_STATUS_WAITING)
		held_up = true;
	else
		timed_out = true;
	(void) kill(MyProcPid, SIGINT);
}

static void
end_session(void)
{
	(void) kill(MyProcPid, SIGTERM);
}

/* What the error of the last batch says. */
Blame
pointstore_blame(const ErrorData *error)
{
	if (timed_out)
		return BLAME_LENGTH;
	if (cancelled && !held_up && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return BLAME_HASTE;
	if (!pointstore_blames_event(error->sqlerrcode))
		return BLAME_NOBODY;
	return is_of_definitions(error->sqlerrcode) ? BLAME_CHANGE : BLAME_EVENT;
}

/* Whether it may come of a function, or a table, that was exchanged while it was used. */
static bool
is_of_definitions(int sqlerrcode)
{
	int			class = ERRCODE_TO_CATEGORY(sqlerrcode);

	return class == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION || class == ERRCODE_FEATURE_NOT_SUPPORTED ||
		class == ERRCODE_INTERNAL_ERROR;
}

/* An error in a line: its SQLSTATE and its message, or the beginning of it. */
text *
pointstore_describe_error(const ErrorData *error)
{
	const char *message = timed_out ? "it took longer than pointstore.projection_timeout" :
		held_up ? "it waited for a lock when pointstore.projection_timeout was over" : error->message != NULL ? error->message : "";

	return cstring_to_text(psprintf("%s: %.*s", unpack_sql_state(error->sqlerrcode),
									pg_mbcliplen(message, strnlen(message, LONGEST_ERROR), LONGEST_ERROR), message));
}
