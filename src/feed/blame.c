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

#include <limits.h>
#include <signal.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "feed/blame.h"
#include "feed/decision.h"
#include "ground/detail.h"
#include "ground/limit.h"

static int	projection_timeout = 60000;	/* ms */
static LimitEnd limit_end = LIMIT_KEPT; /* of the last batch */
static volatile sig_atomic_t cancelled = false; /* a worker, by whomever */

static void heed_cancel(SIGNAL_ARGS);
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
	limit_end = LIMIT_KEPT;
	cancelled = false;
}

/* From now on the handler may take so long; a worker's session ends soon after that. */
void
pointstore_limit_batch(void)
{
	pointstore_begin_limit(projection_timeout);
}

/* A cancellation that came too late for this batch is not for what comes next. */
void
pointstore_end_batch(void)
{
	limit_end = pointstore_end_limit();
	if (cancelled)
		QueryCancelPending = false;
}

/* What the error of the last batch says. */
Blame
pointstore_blame(const ErrorData *error)
{
	if (limit_end == LIMIT_PASSED)
		return BLAME_LENGTH;
	if (cancelled && limit_end == LIMIT_KEPT && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
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
	const char *message = limit_end == LIMIT_PASSED ? "it took longer than pointstore.projection_timeout" :
		limit_end == LIMIT_HELD_UP ? "it waited for a lock when pointstore.projection_timeout was over" : error->message;

	return cstring_to_text(pointstore_error_line(error->sqlerrcode, message));
}
