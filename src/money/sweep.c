/*-------------------------------------------------------------------------
 *
 * src/money/sweep.c
 *		The sweep: holds that have expired are closed.
 *
 * Expired holds are swept in batches, each a transaction, in the order of
 * accounts. Accounts that other backends have locked are passed over until the next
 * sweep. That expired holds reserve nothing does not wait for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/held.h"
#include "account/lease.h"
#include "append/append.h"
#include "append/batch.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "money/hold_step.h"
#include "money/sweep.h"

PG_FUNCTION_INFO_V1(pointstore_sweep_holds);

/* holds that are closed in one transaction */
#define SWEEP_BATCH 1000

/* How far a sweep is. */
typedef struct SweepPosition
{
	text	   *account;
	bool		may_stay;		/* further holds of that account are tried */
	int64		hash;			/* of the accounts that are swept now, from this on */
	TimestampTz expires_at;
	text	   *hold;
} SweepPosition;

static int	find_expired(SweepPosition *position, PointstorePlacement *range, ProposedEvent **events);
static Outcome close_expired(ProposedEvent *events, int n);
static bool close_batch(ProposedEvent *events, int n, Outcome *last);
static bool is_news(const ProposedEvent *event, const ErrorData *error);
static bool append_closings(void *arg);

/* sweep_holds(): 2D000 in a transaction block. */
Datum
pointstore_sweep_holds(PG_FUNCTION_ARGS)
{
	pointstore_begin_procedure(fcinfo, "sweep_holds()");
	pointstore_sweep();
	PG_RETURN_VOID();
}

/*
 * Closes what has expired, in transactions of its own; the caller is in one that has
 * not written. What other backends have locked, and what cannot be closed, is passed over.
 */
void
pointstore_sweep(void)
{
	MemoryContext context;
	SweepPosition position = {.may_stay = false, .hash = POINTSTORE_FIRST_HASH};
	PointstorePlacement *range;
	int			n;

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* a child of SPI's, which outlives transactions */
	context = AllocSetContextCreate(CurrentMemoryContext, "pointstore sweep", ALLOCSET_DEFAULT_SIZES);
	position.account = cstring_to_text("");
	position.hold = cstring_to_text("");
	pointstore_next_step();
	while (pointstore_range_from(position.hash, &range))
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		PointstoreScope scope;
		ProposedEvent *events;

		pointstore_act_as_owner_of_holds(&scope);
		n = find_expired(&position, range, &events);
		if (n > 0)
			/* the other holds of an account that is locked are locked too */
			position.may_stay = close_expired(events, n) != OUTCOME_BUSY;
		pointstore_act_as_caller(&scope);
		MemoryContextSwitchTo(old);
		if (n < SWEEP_BATCH)
		{
			position.hash = pointstore_next_hash(range);
			position.account = position.hold = cstring_to_text("");
			position.may_stay = false;
		}
		position.account = DatumGetTextPCopy(PointerGetDatum(position.account));
		position.hold = DatumGetTextPCopy(PointerGetDatum(position.hold));
		MemoryContextReset(context);
		pointstore_next_step();
	}
	pointstore_prune_leases();
	pointstore_last_step();
	SPI_finish();
}

/* The next expired holds as events to be appended; *position becomes that of the last one. */
static int
find_expired(SweepPosition *position, PointstorePlacement *range, ProposedEvent **events)
{
	static PointstorePlan plan = {
		.sql = "SELECT hold_id, aggregate_id, expires_at FROM pointstore.hold"
		" WHERE status" EQ "'open' AND expires_at" LE "pg_catalog.clock_timestamp()"
		"   AND aggregate_id" GE "$1"
		"   AND (aggregate_id" GT "$1 OR ($2 AND (expires_at" GT "$3 OR (expires_at" EQ "$3 AND hold_id" GT "$4))))"
		" ORDER BY aggregate_id, expires_at, hold_id LIMIT $5",
		.nargs = 5, .argtypes = {TEXTOID, BOOLOID, TIMESTAMPTZOID, TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[5];
	int			n;
	int			i;
	bool		isnull;

	values[0] = PointerGetDatum(position->account);
	values[1] = BoolGetDatum(position->may_stay);
	values[2] = TimestampTzGetDatum(position->expires_at);
	values[3] = PointerGetDatum(position->hold);
	values[4] = Int64GetDatum(SWEEP_BATCH);
	SPI_connect();
	pointstore_execute_in(&plan, range, values, NULL, true);
	n = SPI_processed;
	MemoryContextSwitchTo(context);
	*events = palloc0(sizeof(ProposedEvent) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		HoldStep   *step = palloc0(sizeof(HoldStep));

		step->to = HOLD_EXPIRED;
		step->hold_id = position->hold = cstring_to_text(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		step->aggregate_id = position->account = cstring_to_text(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		position->expires_at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &isnull));
		(*events)[i] = pointstore_hold_event(step, palloc0(sizeof(Hold)), position->account);
	}
	SPI_finish();
	return n;
}

/* Closes a batch; where something in it fails, each by itself, and what fails then stays open. The last one's outcome. */
static Outcome
close_expired(ProposedEvent *events, int n)
{
	Outcome		last;
	int			i;

	if (close_batch(events, n, &last) || n == 1)
		return last;
	for (i = 0; i < n; i++)
		(void) close_batch(&events[i], 1, &last);
	return last;
}

/* False, with a WARNING where it is a single one and that is news: an error, and nothing is done. */
static bool
close_batch(ProposedEvent *events, int n, Outcome *last)
{
	Batch		batch = {.proposals = events, .nevents = n, .independent = true};
	ErrorData  *error = pointstore_attempt(append_closings, &batch);

	*last = error == NULL ? batch.decisions[n - 1].outcome : OUTCOME_APPENDED;
	if (error == NULL)
		return true;
	if (n == 1 && is_news(events, error))
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("hold \"%s\" has expired and cannot be closed: %s",
						pointstore_cstring(((HoldStep *) events->propose_arg)->hold_id), error->message),
				 errdetail("Until tomorrow nothing more of the kind is told of its account's holds.")));
	return false;
}

/* Whether no WARNING of that error was given of this account lately. */
static bool
is_news(const ProposedEvent *event, const ErrorData *error)
{
	text	   *account = event->aggregate_id;
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account), 0));

	return pointstore_is_news(hash_combine64(hash, error->sqlerrcode));
}

/* Closes the batch inside pointstore_attempt(). */
static bool
append_closings(void *arg)
{
	Batch	   *batch = arg;
	int			i;

	pointstore_append(batch);
	for (i = 0; i < batch->nevents; i++)
	{
		const Decision *decision = &batch->decisions[i];

		pointstore_release_hold(batch->proposals[i].hold);
		if (decision->outcome > OUTCOME_LAST_REFUSAL && decision->outcome != OUTCOME_BUSY)
			pointstore_raise(&batch->proposals[i], decision);
		/* what another backend has closed meanwhile is no refusal */
		if (decision->outcome == OUTCOME_APPENDED)
			pointstore_count_decision(decision);
	}
	return true;
}
