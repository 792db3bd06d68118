/*-------------------------------------------------------------------------
 *
 * src/feed/sequence_now.c
 *		sequence_feed(): positions at the word of a session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

#include "feed/page.h"
#include "feed/sequence.h"
#include "feed/signal.h"
#include "ground/compat.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/index.h"

PG_FUNCTION_INFO_V1(pointstore_sequence_feed);

#define SETTLE_TRIES 10			/* looks for writers that end, 10 ms apart */

static int64 each_feed(int64 (*visit) (void));
static int64 sequence_now(void);
static void require_own_transaction(void);
static bool goes_on_after_us(void);
static void await_writers(void);

/* sequence_feed(): a run of the sequencer's, or one in the transaction of the statement that calls it. Returns the head. */
Datum
pointstore_sequence_feed(PG_FUNCTION_ARGS)
{
	PointstoreScope scope;
	int64		head;

	PreventCommandIfReadOnly("sequence_feed()");
	require_own_transaction();
	(void) pointstore_store();
	/* it reads what is committed now, whatever the session's default */
	pointstore_read_committed();
	pointstore_act_as_verifier(&scope);
	pointstore_use_indexes();
	if (!pointstore_is_sequenced())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the events of this store come by a subscription, and it gives no positions itself"),
				 errhint("Let the publication have pointstore.feed_block too.")));
	/* a statement that has the lock already works itself: a sequencer that came meanwhile waits for it */
	if (pointstore_sequence_is_under_way() || !pointstore_sequencer_ask())
		head = each_feed(sequence_now);
	else
		head = each_feed(pointstore_read_head);
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT64(head);
}

/* The sum of what is said of the feeds that are here: of a plain store's one. Shards that are being moved are passed over. */
static int64
each_feed(int64 (*visit) (void))
{
	int64		hash = POINTSTORE_FIRST_HASH;
	PointstorePlace before = pointstore_here();
	volatile int64 sum = 0;
	bool		passed;

	PG_TRY();
	{
		while (pointstore_next_free_place(&hash, &passed))
			sum += visit();
	}
	PG_CATCH();
	{
		pointstore_return_to(before);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pointstore_return_to(before);
	return sum;
}

/* Two runs, since a moment after the first those have ended, perhaps, who kept gaps open. Returns the head. */
static int64
sequence_now(void)
{
	SequenceRun run = {0};

	pointstore_sequence(&run);
	await_writers();
	pointstore_sequence(&run);
	return run.head;
}

/*
 * 25001 unless the transaction is that of one statement and ends with it: while it goes on nobody else
 * gives positions. So in a pipeline it ends too.
 */
static void
require_own_transaction(void)
{
	if (pointstore_in_block() || pointstore_has_written() || goes_on_after_us())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("sequence_feed() gives positions to what is committed, and cannot run inside a transaction block, a DO block or a procedure, nor after a write"),
				 errhint("Have it in a statement of its own: SELECT pointstore.sequence_feed();")));
	MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
}

/* Whether a DO block or a procedure has called us, however deep. */
static bool
goes_on_after_us(void)
{
	PlannedStmt *statement = ActivePortal != NULL ? PortalGetPrimaryStmt(ActivePortal) : NULL;
	Node	   *utility = statement != NULL ? statement->utilityStmt : NULL;

	return SPI_inside_nonatomic_context() || (utility != NULL && (IsA(utility, DoStmt) || IsA(utility, CallStmt)));
}

/*
 * Waits a moment for those who may still fill a gap: a session that does not go on to
 * sequence forgets what they are, and would find them to be others next time.
 */
static void
await_writers(void)
{
	int			i;

	for (i = 0; i < SETTLE_TRIES && pointstore_sequence_awaits_writers(); i++)
	{
		pg_usleep(10000L);
		CHECK_FOR_INTERRUPTS();
	}
}
