/*-------------------------------------------------------------------------
 *
 * src/ground/compat.h
 *		What differs between PostgreSQL 14 and 18: the only place that asks
 *		for PG_VERSION_NUM. Each name says what the newest version says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_COMPAT_H
#define POINTSTORE_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif

#if PG_VERSION_NUM < 140000
#error "pointstore needs PostgreSQL 14 or newer"
#endif

/* stands before the declaration since 18 */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 14 does not reserve prefixes of settings, but warns of unknown ones */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* asks for shared memory while the server starts: by a hook since 15 */
#include "miscadmin.h"
#include "storage/ipc.h"
#if PG_VERSION_NUM < 150000
typedef void (*shmem_request_hook_type) (void);
#endif
static inline void
pointstore_on_shmem_request(shmem_request_hook_type request, shmem_request_hook_type *earlier)
{
#if PG_VERSION_NUM >= 150000
	*earlier = shmem_request_hook;
	shmem_request_hook = request;
#else
	request();
#endif
}

/* How many processes have a place among those that may have transactions, as soon as memory is asked for: not computed by then before 15 */
#if PG_VERSION_NUM < 150000
#include "postmaster/autovacuum.h"
#include "postmaster/bgworker.h"
#include "postmaster/postmaster.h"
#include "replication/walsender.h"
#endif
static inline int
pointstore_max_backends(void)
{
#if PG_VERSION_NUM >= 150000
	return MaxBackends;
#else
	return MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders;
#endif
}

/* Lets others run first who are ready to. */
#ifdef WIN32
#define pointstore_yield() SwitchToThread()
#else
#include <sched.h>
#define pointstore_yield() ((void) sched_yield())
#endif

/* Extensions name what they wait for since 17; event keeps what the name became. */
#include "utils/wait_event.h"
static inline uint32
pointstore_wait_event(uint32 *event, const char *name)
{
#if PG_VERSION_NUM >= 170000
	if (*event == 0)
		*event = WaitEventExtensionNew(name);
#else
	*event = PG_WAIT_EXTENSION;
#endif
	return *event;
}

/* Whether a column is NOT NULL: since 18 that may be NOT VALID, and then there may be a null in it. */
static inline bool
pointstore_is_never_null(TupleDesc desc, AttrNumber att)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(desc, att - 1)->attnullability == ATTNULLABLE_VALID;
#else
	return TupleDescAttr(desc, att - 1)->attnotnull;
#endif
}

/* Whether a role may execute a function; named more generally in 16 */
#include "catalog/pg_proc.h"
#include "utils/acl.h"
static inline bool
pointstore_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* Whether a role has USAGE on a foreign server; the same */
#include "catalog/pg_foreign_server.h"
static inline bool
pointstore_may_use_server(Oid server, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, server, role, ACL_USAGE) == ACLCHECK_OK;
#else
	return pg_foreign_server_aclcheck(server, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

/* A set of events, which belongs to the memory context; in 17 to a resource owner, of which it needs none */
#include "storage/latch.h"
static inline WaitEventSet *
pointstore_create_wait_event_set(MemoryContext context, int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(context, nevents);
#endif
}

/* a macro since 17 */
#if PG_VERSION_NUM < 170000
#include "postmaster/bgworker.h"
#define AmBackgroundWorkerProcess() (MyBgworkerEntry != NULL)
#endif

/* an entry of the statistics of sessions, from 1; renamed in 16 */
#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index(entry) pgstat_fetch_stat_local_beentry(entry)
#endif

/* tells the timeline too since 15 */
#include "access/xlog.h"
static inline XLogRecPtr
pointstore_flushed_lsn(void)
{
#if PG_VERSION_NUM >= 150000
	return GetFlushRecPtr(NULL);
#else
	return GetFlushRecPtr();
#endif
}

/* what a setting's change does: declared by itself since 16 */
#if PG_VERSION_NUM >= 160000
#include "utils/guc_hooks.h"
#else
#include "replication/syncrep.h"
#endif

/*
 * Writes to the WAL what nobody reads; where it ends. For this transaction: a commit is awaited only where the transaction has written.
 * Flushes when told since 17.
 */
#include "replication/message.h"
static inline XLogRecPtr
pointstore_mark_wal(bool for_transaction)
{
#if PG_VERSION_NUM >= 170000
	return LogLogicalMessage("pointstore", "", 0, for_transaction, false);
#else
	return LogLogicalMessage("pointstore", "", 0, for_transaction);
#endif
}

/* index_beginscan took its instrumentation in 18 */
static inline IndexScanDesc
pointstore_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* what an update says of the indexes became an enum in 16 */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes PointstoreUpdateIndexes;
#define POINTSTORE_NO_INDEXES TU_None
#define POINTSTORE_ONLY_SUMMARIZING(update_indexes) ((update_indexes) == TU_Summarizing)
#else
typedef bool PointstoreUpdateIndexes;
#define POINTSTORE_NO_INDEXES false
#define POINTSTORE_ONLY_SUMMARIZING(update_indexes) false
#endif

/* Index entries of a stored row; conflict null: a duplicate is an error. */
static inline List *
pointstore_insert_index_tuples(ResultRelInfo *rel, TupleTableSlot *slot, EState *estate,
							   bool *conflict, List *arbiters)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rel, slot, estate, false, conflict != NULL, conflict, arbiters, false);
#else
	return ExecInsertIndexTuples(rel, slot, estate, false, conflict != NULL, conflict, arbiters);
#endif
}

/* Index entries of a row that an update moved. */
static inline List *
pointstore_update_index_tuples(ResultRelInfo *rel, TupleTableSlot *slot, EState *estate,
							   PointstoreUpdateIndexes update_indexes)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rel, slot, estate, true, false, NULL, NIL,
								 POINTSTORE_ONLY_SUMMARIZING(update_indexes));
#else
	return ExecInsertIndexTuples(rel, slot, estate, true, false, NULL, NIL);
#endif
}

/* Whether no committed or running row has this one's key, else *conflict; waits for the latter. */
static inline bool
pointstore_check_index_constraints(ResultRelInfo *rel, TupleTableSlot *slot, EState *estate,
								   ItemPointer conflict, List *arbiters)
{
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(rel, slot, estate, conflict, &none, arbiters);
#else
	return ExecCheckIndexConstraints(rel, slot, estate, conflict, arbiters);
#endif
}

/*
 * BEFORE ROW UPDATE triggers. The caller has locked the row, so that no newer
 * version can be found and no plan is needed to check it again.
 */
static inline bool
pointstore_before_row_update(EState *estate, ResultRelInfo *rel, ItemPointer tid,
							 TupleTableSlot *slot)
{
	EPQState	epqstate;

#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(&epqstate, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(&epqstate, estate, NULL, NIL, -1);
#endif
#if PG_VERSION_NUM >= 180000
	return ExecBRUpdateTriggers(estate, &epqstate, rel, tid, NULL, slot, NULL, NULL, false);
#elif PG_VERSION_NUM >= 160000
	return ExecBRUpdateTriggers(estate, &epqstate, rel, tid, NULL, slot, NULL, NULL);
#elif PG_VERSION_NUM >= 150000
	return ExecBRUpdateTriggers(estate, &epqstate, rel, tid, NULL, slot, NULL);
#else
	return ExecBRUpdateTriggers(estate, &epqstate, rel, tid, NULL, slot);
#endif
}

static inline void
pointstore_after_row_update(EState *estate, ResultRelInfo *rel, ItemPointer tid,
							TupleTableSlot *slot, List *recheck, TransitionCaptureState *capture)
{
#if PG_VERSION_NUM >= 150000
	ExecARUpdateTriggers(estate, rel, NULL, NULL, tid, NULL, slot, recheck, capture, false);
#else
	ExecARUpdateTriggers(estate, rel, tid, NULL, slot, recheck, capture);
#endif
}

/*
 * Adds a plain table, which is locked already in RowExclusiveLock, to a range table, so
 * that the executor's helpers can name its columns; its place there, from 1. updated: the columns
 * that an UPDATE sets, or NULL. Permissions are not asked for: the store acts as the tables' owner.
 */
static inline int
pointstore_add_to_range_table(EState *estate, Oid relid, Bitmapset *updated)
{
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	int			n = estate->es_range_table_size++;
	Relation   *relations = palloc0(sizeof(Relation) * (n + 1));
	ResultRelInfo **results = palloc0(sizeof(ResultRelInfo *) * (n + 1));

	rte->rtekind = RTE_RELATION;
	rte->relid = relid;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = RowExclusiveLock;
	estate->es_range_table = lappend(estate->es_range_table, rte);
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&estate->es_rteperminfos, rte)->updatedCols = updated;
#else
	rte->updatedCols = updated;
#endif
#if PG_VERSION_NUM >= 180000
	estate->es_unpruned_relids = bms_add_member(estate->es_unpruned_relids, n + 1);
#endif
	if (n > 0)
		memcpy(relations, estate->es_relations, sizeof(Relation) * n);
	if (n > 0 && estate->es_result_relations != NULL)
		memcpy(results, estate->es_result_relations, sizeof(ResultRelInfo *) * n);
	estate->es_relations = relations;
	estate->es_result_relations = results;
	MemoryContextSwitchTo(old);
	return n + 1;
}

/* Sets up a function's materialized result: rsinfo->setResult and setDesc. */
#if PG_VERSION_NUM >= 150000
#include "funcapi.h"
static inline void
pointstore_materialize(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, 0);
}
#else
#include "funcapi.h"
#include "miscadmin.h"
static inline void
pointstore_materialize(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("materialize mode required, but it is not allowed in this context")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(old);
}
#endif

/* The timeline: that of what is written, on a standby that of what is replayed */
#if PG_VERSION_NUM >= 150000
#include "access/xlogrecovery.h"
#endif
static inline TimeLineID
pointstore_timeline(void)
{
	TimeLineID	timeline;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
#if PG_VERSION_NUM >= 150000
		timeline = GetWALInsertionTimeLine();
#else
		timeline = ThisTimeLineID;
#endif
	return timeline;
}

/* Whether this process holds a lock in just this mode; since 17 a stronger one may count too */
#include "storage/lock.h"
#if PG_VERSION_NUM >= 170000
#define pointstore_holds_lock(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define pointstore_holds_lock(tag, mode) LockHeldByMe(tag, mode)
#endif

/* A range; may report an error softly since 16. */
#include "utils/rangetypes.h"
static inline RangeType *
pointstore_make_range(TypeCacheEntry *type, RangeBound *lower, RangeBound *upper)
{
#if PG_VERSION_NUM >= 160000
	return make_range(type, lower, upper, false, NULL);
#else
	return make_range(type, lower, upper, false);
#endif
}

/*
 * Whether a backend still runs a transaction, and its id then, or that it has none: neither ended
 * nor prepared it. Processes are told by another number since 17.
 */
#include "access/transam.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
static inline bool
pointstore_is_running(VirtualTransactionId vxid, TransactionId *xid)
{
	bool		running = false;
	PGPROC	   *proc;

	if (VirtualTransactionIdIsRecoveredPreparedXact(vxid))
		return false;
#if PG_VERSION_NUM >= 170000
	proc = ProcNumberGetProc(vxid.procNumber);
#else
	proc = BackendIdGetProc(vxid.backendId);
#endif
	LWLockAcquire(ProcArrayLock, LW_SHARED);
#if PG_VERSION_NUM >= 170000
	running = proc != NULL && proc->vxid.lxid == vxid.localTransactionId;
#else
	running = proc != NULL && proc->lxid == vxid.localTransactionId;
#endif
	if (running)
		*xid = proc->xid;
	LWLockRelease(ProcArrayLock);
	return running;
}

#endif							/* POINTSTORE_COMPAT_H */
