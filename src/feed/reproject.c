/*-------------------------------------------------------------------------
 *
 * src/feed/reproject.c
 *		rebuild_projection(): a projection from the start, in one transaction.
 *
 * First the projection is moved back to where it began, which locks its slots and ends every claim: who is at
 * a batch has the slot's row locked before he writes (project.c), and has then ended, or will find that his claim
 * does not stand. Then the reset function empties the read model, and the handler gets every event up
 * to the head. Readers see the old state until that commits, so nothing may lock them out: TRUNCATE is refused before it
 * waits for them, whatever else has locked a table in ACCESS EXCLUSIVE MODE when a function returns.
 *
 * The transaction is that of the statement. Deferred triggers fire at once, in the security-restricted
 * operation in which the functions run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "feed/page.h"
#include "feed/projection.h"
#include "feed/subscription.h"
#include "feed/upcast.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_rebuild_projection);

#define MOST_EVENTS 1000000		/* positions that are gone through in one transaction */

static void require_own_transaction(void);
static int64 rebuild(text *name, Oid reset);
static void rebuild_all(const Projection *projection, Oid reset, int64 head);
static int64 count_exclusive_locks(void);
static void refuse_lock(int64 before);
static void raise_lock(void);
static void project_all(const Projection *projection, int64 head, int64 locks);
static void project_page(const Projection *projection, const FeedPage *page);
static void run_again(text *name);

/* rebuild_projection(name, reset): the position up to which it was built. */
Datum
pointstore_rebuild_projection(PG_FUNCTION_ARGS)
{
	text	   *name = pointstore_name(fcinfo, 0, "name");
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};
	PointstoreScope scope;
	int64		head;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reset must not be null")));
	PreventCommandIfReadOnly("rebuild_projection()");
	require_own_transaction();
	pointstore_read_committed();
	pointstore_act_as_verifier(&scope);
	AfterTriggerSetState(&immediate);
	SPI_connect();
	head = rebuild(name, PG_GETARG_OID(1));
	SPI_finish();
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT64(head);
}

/* 25001 where something was done before that the triggers of this would meet. */
static void
require_own_transaction(void)
{
	if (pointstore_in_block() || pointstore_has_written())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("rebuild_projection() is a transaction of its own, and cannot run inside a transaction block, nor after a write")));
}

static int64
rebuild(text *name, Oid reset)
{
	Projection	projection;
	text	   *reset_name;
	int64		head;

	pointstore_require_projection(&projection, name);
	pointstore_require_fit(&projection);
	(void) pointstore_function_of(&projection, reset, false, &reset_name);
	pointstore_move_subscription_to(&projection.subscription, projection.start_after);
	/* by a snapshot of now: what had been delivered before, and what there is */
	(void) pointstore_push_snapshot();
	pointstore_require_projection(&projection, name);
	head = pointstore_head();
	PopActiveSnapshot();
	if (head - projection.start_after > MOST_EVENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("projection \"%s\" has %lld events to go through, more than %d",
						pointstore_cstring(name), (long long) (head - projection.start_after), MOST_EVENTS),
				 errhint("Build another projection beside it, and exchange them.")));
	pointstore_at_truncate(raise_lock);
	PG_TRY();
	{
		rebuild_all(&projection, reset, head);
	}
	PG_FINALLY();
	{
		pointstore_at_truncate(NULL);
	}
	PG_END_TRY();
	pointstore_move_subscription_to(&projection.subscription, head);
	run_again(name);
	return head;
}

static void
rebuild_all(const Projection *projection, Oid reset, int64 head)
{
	int64		before = count_exclusive_locks();

	if (!pointstore_may_execute(reset, projection->role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the role of the projection may not call its reset function")));
	pointstore_call_as_creator(projection, reset, NULL);
	refuse_lock(before);
	project_all(projection, head, before);
}

/* 0A000 where more relations are locked than before: readers would wait until the projection is rebuilt. */
static void
refuse_lock(int64 before)
{
	if (count_exclusive_locks() > before)
		raise_lock();
}

/* The same where something is truncated, before its table is locked. */
static void
raise_lock(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("while a projection is rebuilt its functions must not lock a table exclusively, as TRUNCATE does"),
			 errdetail("Readers would wait until it is rebuilt."),
			 errhint("DELETE the rows, or build another projection beside it.")));
}

/* Relations that this session has locked in ACCESS EXCLUSIVE MODE, those left out that nobody else can know. */
static int64
count_exclusive_locks(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT l.relation FROM pg_catalog.pg_locks l WHERE l.pid" EQ "pg_catalog.pg_backend_pid()"
		" AND l.locktype" EQ "'relation' AND l.mode" EQ "'AccessExclusiveLock' AND l.granted"
	};
	int64		count = 0;
	uint64		i;

	pointstore_execute(&plan, NULL, NULL, true);
	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Relation	rel = RelationIdGetRelation(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));

		/* one that this transaction has created */
		count += rel == NULL || rel->rd_createSubid == InvalidSubTransactionId;
		if (rel != NULL)
			RelationClose(rel);
	}
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/* Every event up to a position, in batches. Of the first it is asked whether it has locked readers out, and at the end. */
static void
project_all(const Projection *projection, int64 head, int64 locks)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pointstore rebuild", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int64		after = projection->start_after;

	while (after < head)
	{
		FeedPage	page = {
			.after = after, .upto = head, .max_events = projection->subscription.batch, .until_one = true,
			.event_types = projection->subscription.event_types, .prefix = projection->subscription.prefix
		};

		CHECK_FOR_INTERRUPTS();
		(void) pointstore_push_snapshot();
		pointstore_read_page(&page);
		PopActiveSnapshot();
		if (page.nevents > 0)
			project_page(projection, &page);
		if (after == projection->start_after || page.read_to >= head)
			refuse_lock(locks);
		if (page.read_to <= after)
			break;
		after = page.read_to;
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The events of a page: first those that had been delivered before. */
static void
project_page(const Projection *projection, const FeedPage *page)
{
	Datum	   *events = pointstore_feed_events(page);
	Upcasters  *upcasters;
	int			n = 0;

	(void) pointstore_push_snapshot();
	upcasters = pointstore_read_upcasters();
	pointstore_upcast_as(upcasters, projection->role);
	events = pointstore_upcast_feed_events(upcasters, events, page->nevents);
	PopActiveSnapshot();
	while (n < page->nevents && page->events[n].position <= projection->subscription.replay_upto)
		n++;
	if (n > 0)
		pointstore_call_handler(projection, events, n, true);
	if (n < page->nevents)
		pointstore_call_handler(projection, events + n, page->nevents - n, false);
}

/* What had stopped it is over. */
static void
run_again(text *name)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription SET status = 'running', last_error = NULL WHERE name" EQ "$1 AND status" EQ "'stopped'",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(name);

	pointstore_execute(&plan, &value, NULL, false);
}
