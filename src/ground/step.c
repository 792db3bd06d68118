/*-------------------------------------------------------------------------
 *
 * src/ground/step.c
 *		Transactions of our own: those of our workers, and those that our
 *		procedures begin and commit in a user's session.
 *
 * What the store's owner has put on the tables runs in them, and the session may
 * be the bootstrap superuser's, as a worker's is, or the DBA's who called the
 * procedure. So in such a transaction, a step, everything is done as the owner and in a
 * security-restricted operation, from before the first of the owner's objects is looked at
 * until it has committed. There nothing can be left behind that would run later: a
 * deferred trigger, a cursor WITH HOLD, a temporary table, LISTEN are refused or, the
 * triggers, fired at the end of the statement that queued them. A cursor that a language has pinned and
 * left open, as PL/Perl's spi_query() does, would be run to its end when the procedure commits: it is
 * closed before.
 *
 * PostgreSQL wants a transaction to begin without restrictions, and an aborted one goes
 * back to the identity that it began with. One that commits does not: our callback gives
 * the session's back, when nothing of the users' can run any more.
 *
 * What a caller has done before it called a procedure is committed in its own name,
 * before the first step begins: its triggers and cursors are no business of the owner's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/predicate.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/step.h"
#include "ground/store.h"

static bool is_called_alone(FunctionCallInfo fcinfo);

/* of the session, while a step is under way */
static Oid	session_role;
static int	session_security;
static bool under_way = false;

static void close_pinned_cursors(void);

/*
 * A worker's: does something in a transaction. Its error, which may be logged besides, and after which nothing of it
 * is left, in the caller's memory; NULL: it has committed.
 */
ErrorData *
pointstore_in_transaction(void (*what) (void *), void *arg, bool logged)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		what(arg);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (logged)
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return error;
}

/*
 * Makes the transaction a step; to be called where it has only begun. 55000 where
 * there is no store, or none of this version.
 */
void
pointstore_begin_step(void)
{
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};
	Oid			owner = pointstore_store_owner();

	Assert(!under_way);
	GetUserIdAndSecContext(&session_role, &session_security);
	under_way = true;
	SetUserIdAndSecContext(owner, session_security | POINTSTORE_RESTRICTED);
	AfterTriggerSetState(&immediate);
}

/* At the end of each transaction: of one that was aborted PostgreSQL has given the identity back. */
void
pointstore_step_ended(bool committed)
{
	if (under_way && committed)
		SetUserIdAndSecContext(session_role, session_security);
	under_way = false;
}

/* Whether a procedure is called where it may end the transaction. */
static bool
is_called_alone(FunctionCallInfo fcinfo)
{
	return fcinfo->context != NULL && IsA(fcinfo->context, CallContext) && !castNode(CallContext, fcinfo->context)->atomic;
}

/* A procedure of that name commits as it goes: 25006 where it must not write, 2D000 in a transaction block. */
void
pointstore_begin_procedure(FunctionCallInfo fcinfo, const char *name)
{
	PreventCommandIfReadOnly(name);
	if (!is_called_alone(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s commits and cannot run inside a transaction block", name)));
}

/* A procedure of that name waits without a snapshot: 25001 in a transaction block. */
void
pointstore_check_wait(FunctionCallInfo fcinfo, const char *name)
{
	if (!is_called_alone(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s waits without a snapshot, and cannot run inside a transaction block", name)));
}

/*
 * Opens a non-atomic SPI connection to wait in and ends the transaction of the call, which may have a
 * snapshot; the one that begins is READ COMMITTED. Returns when the wait ends.
 */
TimestampTz
pointstore_begin_wait(Interval *timeout)
{
	TimestampTz until = pointstore_wait_ends(timeout);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_let_go();
	return until;
}

/* To be called between a look and the wait that follows it, so that nobody waits for who waits: the locks of tables go. */
void
pointstore_let_go(void)
{
	pointstore_last_step();
	XactIsoLevel = XACT_READ_COMMITTED;
}

/*
 * Goes on in READ COMMITTED, in a transaction that has read, but not written. What it has read as a
 * serializable one no longer counts: at the commit nobody asks for it.
 */
void
pointstore_read_committed(void)
{
	if (XactIsoLevel == XACT_SERIALIZABLE)
		ReleasePredicateLocks(false, false);
	XactIsoLevel = XACT_READ_COMMITTED;
}

/* This transaction is flushed, and confirmed by the standbys asked for, when it has committed, whatever the settings, and also where it writes nothing. */
void
pointstore_commit_durably(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_ON)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	(void) pointstore_mark_wal(true);
}

/* When a wait that begins now ends. */
TimestampTz
pointstore_wait_ends(Interval *timeout)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
												   IntervalPGetDatum(timeout)));
}

/*
 * Ends the transaction, the caller's or a step, inside a non-atomic SPI connection, and
 * begins a step. It is READ COMMITTED whatever the session's default: a step that
 * waits for a lock reads afterwards what it waited for.
 */
void
pointstore_next_step(void)
{
	pointstore_last_step();
	XactIsoLevel = XACT_READ_COMMITTED;
	CHECK_FOR_INTERRUPTS();
	pointstore_begin_step();
}

/* Ends a step without another: what comes after is the caller's. */
void
pointstore_last_step(void)
{
	if (under_way && !ThereAreNoReadyPortals())
		close_pinned_cursors();
	SPI_commit();
}

/* Does something in steps in each place that is here, inside a non-atomic SPI connection. Where it fails, or is done, we stay nowhere. */
void
pointstore_step_through_places(void (*what) (void *), void *arg)
{
	int64		hash = POINTSTORE_FIRST_HASH;

	PG_TRY();
	{
		for (pointstore_next_step(); pointstore_next_place(&hash); pointstore_next_step())
		{
			what(arg);
			pointstore_forget_places();
		}
		pointstore_last_step();
	}
	PG_CATCH();
	{
		pointstore_leave_place();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Those that this step has left behind: what was pinned before it began is held by now. */
static void
close_pinned_cursors(void)
{
	static PointstorePlan plan = {.sql = "SELECT c.name FROM pg_catalog.pg_cursors c"};
	uint64		i;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	for (i = 0; i < SPI_processed; i++)
	{
		Portal		portal = SPI_cursor_find(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));

		if (portal == NULL || !portal->portalPinned || portal->autoHeld)
			continue;
		UnpinPortal(portal);
		SPI_cursor_close(portal);
	}
	SPI_finish();
}

/*
 * Does something in a subtransaction, or nothing at all: where it fails returns the
 * error, in the caller's memory, where it says false undoes it. A cancellation is raised.
 */
ErrorData *
pointstore_attempt(bool (*what) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (what(arg))
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return error;
}

/*
 * A snapshot that sees what this transaction has done so far, made active.
 * In READ COMMITTED it is new. The caller pops it.
 */
Snapshot
pointstore_push_snapshot(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	return GetActiveSnapshot();
}

/* Whether the transaction is not of one statement: a block, a subtransaction, a pipeline. */
bool
pointstore_in_block(void)
{
	return IsTransactionBlock() || IsSubTransaction() || (MyXactFlags & XACT_FLAGS_PIPELINING) != 0;
}

/*
 * Whether this transaction has written rows, or a statement under way is one that writes or locks
 * some: the executor then marks the command's id as used before the first row, whatever
 * fires or calls us and however deep, and a used one is counted up. A transaction id
 * says less: nextval() takes one now and then, and what it has drawn stays drawn.
 */
bool
pointstore_has_written(void)
{
	CommandCounterIncrement();
	return GetCurrentCommandId(false) != FirstCommandId;
}
