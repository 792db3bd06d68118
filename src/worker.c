/*-------------------------------------------------------------------------
 *
 * src/worker.c
 *		What our background workers have in common: how they begin.
 *
 * A worker that serves a database is to the server like an autovacuum worker:
 * CountOtherDBBackends() ends it when its database is to be dropped or copied,
 * and who has waited for one of its locks for deadlock_timeout cancels what it
 * does. What the database prescribes for its sessions does not bind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "pointstore.h"

static void be_like_autovacuum(void);
static void forget_settings(void);

/* Signals: a reload is heard between two steps, SIGTERM and SIGINT act as in any session. */
void
pointstore_worker_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* What a worker that is connected to a database does first. */
void
pointstore_worker_connected(void)
{
	PortalContext = AllocSetContextCreate(TopMemoryContext, "pointstore worker", ALLOCSET_DEFAULT_SIZES);
	be_like_autovacuum();
	forget_settings();
	SetConfigOption("application_name", MyBgworkerEntry->bgw_type, PGC_USERSET, PGC_S_SESSION);
}

static void
be_like_autovacuum(void)
{
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	MyProc->statusFlags |= PROC_IS_AUTOVACUUM;
	ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
	LWLockRelease(ProcArrayLock);
}

/* What would end a transaction, or keep it from writing. */
static void
forget_settings(void)
{
	static const char *const settings[][2] = {{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"}, {"default_transaction_deferrable", "off"},
	{"statement_timeout", "0"}, {"lock_timeout", "0"}, {"idle_in_transaction_session_timeout", "0"},
	{"transaction_timeout", "0"}, {"pointstore.balance_writer", "store"}};
	int			i;

	for (i = 0; i < lengthof(settings); i++)
		if (GetConfigOption(settings[i][0], true, false) != NULL)	/* not each version has them all */
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Takes over changed settings; to be called where nothing relies on the old ones. */
bool
pointstore_worker_reload(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}
