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
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "account/by_hand.h"
#include "account/kind.h"
#include "account/lease_queue.h"
#include "account/lease_session.h"
#include "account/pair.h"
#include "append/leased.h"
#include "append/merge.h"
#include "account/id.h"
#include "feed/blame.h"
#include "feed/check.h"
#include "feed/decision.h"
#include "feed/projection.h"
#include "feed/projector.h"
#include "feed/sequence.h"
#include "feed/sequencer.h"
#include "feed/signal.h"
#include "feed/snapshotter.h"
#include "feed/upcast.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/inject.h"
#include "ground/owner.h"
#include "ground/delegation.h"
#include "ground/placed.h"
#include "ground/row.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/twophase.h"
#include "ground/wake.h"
#include "nodes/coordinator.h"
#include "nodes/notice.h"
#include "nodes/prune.h"
#include "submit/combiner.h"
#include "submit/queue.h"
#include "submit/submit.h"
#include "verify/examine.h"
#include "verify/run.h"
#include "workers/launcher.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type earlier_request_hook = NULL;
static shmem_startup_hook_type earlier_startup_hook = NULL;

static void request_memory(void);
static void set_up_memory(void);
static void at_transaction(XactEvent event, void *arg);
static void tell_sequencer(XactEvent event);
static void at_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
							  void *arg);

void
_PG_init(void)
{
	pointstore_placed_init();
	pointstore_by_hand_init();
	pointstore_inject_init();
	pointstore_identity_init();
	pointstore_merge_init(pointstore_upcast_columns_of);
	pointstore_leased_init();
	pointstore_queue_init();
	pointstore_combiner_init();
	pointstore_reconcile_init();
	pointstore_add_store_check(pointstore_examine_feed);
	pointstore_sequencer_init();
	pointstore_decisions_init();
	pointstore_projection_init();
	pointstore_blame_init();
	pointstore_projector_init();
	pointstore_snapshotter_init();
	pointstore_coordinator_init();
	pointstore_prune_init();
	pointstore_launcher_init();
	MarkGUCPrefixReserved("pointstore");
	RegisterXactCallback(at_transaction, NULL);
	RegisterSubXactCallback(at_subtransaction, NULL);
	if (process_shared_preload_libraries_in_progress)
	{
		pointstore_delegation_init();
		pointstore_on_shmem_request(request_memory, &earlier_request_hook);
		earlier_startup_hook = shmem_startup_hook;
		shmem_startup_hook = set_up_memory;
	}
}

static void
request_memory(void)
{
	if (earlier_request_hook != NULL)
		earlier_request_hook();
	pointstore_ids_request();
	RequestAddinShmemSpace(add_size(add_size(pointstore_stat_memory(), pointstore_queue_memory()),
									add_size(add_size(pointstore_feed_memory(), pointstore_wake_memory()),
											 add_size(pointstore_lease_memory(), pointstore_notice_memory()))));
}

static void
set_up_memory(void)
{
	if (earlier_startup_hook != NULL)
		earlier_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	pointstore_ids_set_up();
	pointstore_stat_set_up();
	pointstore_queue_set_up();
	pointstore_feed_set_up();
	pointstore_wake_set_up();
	pointstore_lease_set_up();
	pointstore_notice_set_up();
	LWLockRelease(AddinShmemInitLock);
}

/* What was written by hand has its other half before commit and prepare. */
static void
at_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		pointstore_check_pairs();
		pointstore_tell_written();
	}
	if (event == XACT_EVENT_PRE_PREPARE)
		pointstore_refuse_session_leases();
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		POINTSTORE_INJECT("before-commit");
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		POINTSTORE_INJECT("committed");		/* for kills alone */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		pointstore_step_ended(event == XACT_EVENT_COMMIT);
		pointstore_sequence_ended(event == XACT_EVENT_COMMIT);
		tell_sequencer(event);
		pointstore_wake_ended(event == XACT_EVENT_COMMIT);
		pointstore_notices_ended(event);
		pointstore_session_leases_ended(event != XACT_EVENT_ABORT);
		pointstore_wake_lease_waiters();
		pointstore_forget_notes();
		pointstore_forget_kinds();
		pointstore_forget_locks();
		pointstore_forget_written();
		pointstore_forget_writers(0);
		pointstore_forget_plain_submits();
	}
}

/* A transaction that has drawn ids and failed leaves a gap, which is in no hurry to be settled. */
static void
tell_sequencer(XactEvent event)
{
	uint64		drawn = pointstore_drawn();

	if (event != XACT_EVENT_ABORT)
		pointstore_feed_commit(drawn);
}

static void
at_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	pointstore_session_leases_subended(event, mine, parent);
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		pointstore_forget_kinds();
		pointstore_forget_locks();
		pointstore_forget_writers(GetCurrentTransactionNestLevel());
	}
}
