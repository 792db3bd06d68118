/*-------------------------------------------------------------------------
 *
 * src/pointstore.c
 *		The front door: what is done when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/guc.h"

#include "compat.h"
#include "pointstore.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static void define_settings(void);
static void at_transaction(XactEvent event, void *arg);
static void at_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
							  void *arg);

void
_PG_init(void)
{
	define_settings();
	pointstore_store_init();
	pointstore_stat_init();
	pointstore_account_init();
	pointstore_combine_init();
	pointstore_launcher_init();
	MarkGUCPrefixReserved("pointstore");
	RegisterXactCallback(at_transaction, NULL);
	RegisterSubXactCallback(at_subtransaction, NULL);
}

static void
define_settings(void)
{
	DefineCustomIntVariable("pointstore.max_auto_actions",
							"Accounts that one reconciliation may repair or freeze by itself; the rest is reported.",
							NULL, &pointstore_max_auto_actions, 100, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.reconcile_delay",
							"How long the reconciling worker rests between two steps.",
							NULL, &pointstore_reconcile_delay, 10, 0, 60000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pointstore.reconcile_max_transaction",
							"How long one transaction of a full reconciliation should take at most; a larger store is cut into slices.",
							NULL, &pointstore_reconcile_max_transaction, 300000, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* Balances changed by hand have their events before commit and prepare. */
static void
at_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		pointstore_check_pairs();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		pointstore_forget_pairs();
		pointstore_forget_kinds();
		pointstore_forget_locks();
		pointstore_forget_writers(0);
		pointstore_forget_plain_submits();
	}
}

static void
at_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		pointstore_forget_kinds();
		pointstore_forget_locks();
		pointstore_forget_writers(GetCurrentTransactionNestLevel());
	}
}
