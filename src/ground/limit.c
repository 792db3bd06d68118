/*-------------------------------------------------------------------------
 *
 * src/ground/limit.c
 *		How long a user's code may take.
 *
 * When its time is over it is cancelled as by statement_timeout. Code that catches that is given a few seconds more, then
 * a worker's process ends, as by pg_terminate_backend(): nothing that it has not committed stays. A session of a user's
 * does not end. What waits for a lock when its time is over is held up by others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <signal.h>

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timeout.h"

#include "ground/compat.h"
#include "ground/limit.h"

#define GRACE 5000				/* ms */

static TimeoutId cancel_timeout;
static TimeoutId end_timeout;
static bool has_timeouts = false;
static volatile sig_atomic_t limit_end = LIMIT_KEPT;

static void cancel_it(void);
static void end_process(void);

/* From now on it may take so many milliseconds; 0: as long as it likes. */
void
pointstore_begin_limit(int timeout)
{
	limit_end = LIMIT_KEPT;
	if (timeout <= 0)
		return;
	if (!has_timeouts)
	{
		cancel_timeout = RegisterTimeout(USER_TIMEOUT, cancel_it);
		end_timeout = RegisterTimeout(USER_TIMEOUT, end_process);
		has_timeouts = true;
	}
	enable_timeout_after(cancel_timeout, timeout);
	if (AmBackgroundWorkerProcess())
		enable_timeout_after(end_timeout, Min((int64) timeout + GRACE, INT_MAX));
}

/* It has ended, and how; a cancellation that came too late is forgotten. */
LimitEnd
pointstore_end_limit(void)
{
	LimitEnd	result;

	if (!has_timeouts)
		return LIMIT_KEPT;
	disable_timeout(cancel_timeout, false);
	disable_timeout(end_timeout, false);
	result = limit_end;
	if (result != LIMIT_KEPT)
		QueryCancelPending = false;
	limit_end = LIMIT_KEPT;
	return result;
}

/* Signal handlers. */
static void
cancel_it(void)
{
	limit_end = MyProc->waitStatus == PROC_WAIT_STATUS_WAITING ? LIMIT_HELD_UP : LIMIT_PASSED;
	(void) kill(MyProcPid, SIGINT);
}

static void
end_process(void)
{
	(void) kill(MyProcPid, SIGTERM);
}
