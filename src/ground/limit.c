/*-------------------------------------------------------------------------
 *
 * src/ground/limit.c
 *		How long a user's code may take in a worker.
 *
 * When its time is over it is cancelled as by statement_timeout. Code that catches that is given a few seconds more, then the
 * worker's process ends, as by pg_terminate_backend(): nothing that it has not committed stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <signal.h>

#include "miscadmin.h"
#include "utils/timeout.h"

#include "ground/limit.h"

#define GRACE 5000				/* ms */

static TimeoutId cancel_timeout;
static TimeoutId end_timeout;
static bool has_timeouts = false;
static volatile sig_atomic_t timed_out = false;

static void cancel_it(void);
static void end_process(void);

/* From now on it may take so many milliseconds; 0: as long as it likes. */
void
pointstore_begin_limit(int timeout)
{
	timed_out = false;
	if (timeout <= 0)
		return;
	if (!has_timeouts)
	{
		cancel_timeout = RegisterTimeout(USER_TIMEOUT, cancel_it);
		end_timeout = RegisterTimeout(USER_TIMEOUT, end_process);
		has_timeouts = true;
	}
	enable_timeout_after(cancel_timeout, timeout);
	enable_timeout_after(end_timeout, Min((int64) timeout + GRACE, INT_MAX));
}

/* It has ended. Whether that was because its time was over; a cancellation that came too late is forgotten. */
bool
pointstore_end_limit(void)
{
	bool		result = timed_out;

	if (!has_timeouts)
		return false;
	disable_timeout(cancel_timeout, false);
	disable_timeout(end_timeout, false);
	result = timed_out;
	if (result)
		QueryCancelPending = false;
	timed_out = false;
	return result;
}

/* Signal handlers. */
static void
cancel_it(void)
{
	timed_out = true;
	(void) kill(MyProcPid, SIGINT);
}

static void
end_process(void)
{
	(void) kill(MyProcPid, SIGTERM);
}
