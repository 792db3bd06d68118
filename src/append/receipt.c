/*-------------------------------------------------------------------------
 *
 * src/append/receipt.c
 *		Receipts of decided events, and how decisions are counted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "append/batch.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "ground/compat.h"
#include "ground/stat.h"
#include "ground/store.h"

static const char *const outcome_names[] = {
	"appended", "replayed", "version_conflict", "request_mismatch", "insufficient_balance",
	"balance_limit", "account_frozen", "account_closed", "account_missing", "not_allowed", "transition_not_allowed",
	"lease_lost", "not_allowed"
};

static int *input_order(const Batch *batch);
static PointstoreStat counter_of(Outcome outcome);
static Datum receipt(const ProposedEvent *event, const Decision *decision, TupleDesc desc);

/* The receipt of a decided event, as pointstore.receipt; or the error that its refusal is. */
Datum
pointstore_answer(const ProposedEvent *event, const Decision *decision, bool refusals_are_outcomes)
{
	TupleDesc	desc;
	Datum		result;

	if (decision->outcome > (refusals_are_outcomes ? OUTCOME_LAST_REFUSAL : OUTCOME_REPLAYED))
		pointstore_raise(event, decision);
	desc = lookup_rowtype_tupdesc(pointstore_store()->receipt_type, -1);
	result = receipt(event, decision, desc);
	ReleaseTupleDesc(desc);
	return result;
}

/* The receipts of a decided batch as the result set of a function; of a refused one that of the refused event. */
Datum
pointstore_answer_all(FunctionCallInfo fcinfo, const Batch *batch)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int		   *order = input_order(batch);
	int			n = batch->nevents + batch->nchecks;
	int			place;

	pointstore_materialize(fcinfo);
	for (place = 0; place < n; place++)
	{
		int			i = order != NULL ? order[place] : place;
		HeapTupleHeader row;
		HeapTupleData tuple = {0};

		if (batch->refused != NULL && batch->refused != &batch->decisions[i])
			continue;
		row = DatumGetHeapTupleHeader(receipt(&batch->proposals[i], &batch->decisions[i], rsinfo->setDesc));
		tuple.t_len = HeapTupleHeaderGetDatumLength(row);
		tuple.t_data = row;
		tuplestore_puttuple(rsinfo->setResult, &tuple);
	}
	return (Datum) 0;
}

/* Which proposal each element was, where they are not in that order; else NULL. */
static int *
input_order(const Batch *batch)
{
	int			n = batch->nevents + batch->nchecks;
	int		   *order;
	int			i;

	if (batch->nchecks == 0)
		return NULL;
	order = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * n);
	for (i = 0; i < n; i++)
		order[batch->proposals[i].element - 1] = i;
	return order;
}

/* An event's receipt, or a condition's, as a row of the given type. */
static Datum
receipt(const ProposedEvent *event, const Decision *decision, TupleDesc desc)
{
	bool		checked = event->is_check && decision->outcome == OUTCOME_APPENDED;
	bool		stored = decision->outcome <= OUTCOME_REPLAYED && !checked;
	bool		missing = decision->outcome == OUTCOME_ACCOUNT_MISSING && decision->reason != REASON_NO_EVENT;
	bool		known = stored || checked || (!missing && !decision->account_unknown);
	Datum		values[7];
	bool		nulls[7] = {0};

	values[0] = CStringGetTextDatum(checked ? "checked" : decision->is_merged ? "merged" : outcome_names[decision->outcome]);
	values[1] = PointerGetDatum(event->aggregate_id);
	values[2] = Int64GetDatum(decision->version);
	values[3] = Int64GetDatum(decision->balance);
	values[4] = Int64GetDatum(decision->available);
	values[5] = Int64GetDatum(decision->id);
	values[6] = TimestampTzGetDatum(decision->created_at);
	nulls[1] = event->aggregate_id == NULL || VARSIZE_ANY_EXHDR(event->aggregate_id) == 0;
	nulls[2] = nulls[3] = !known;
	nulls[4] = !known || decision->outcome == OUTCOME_REPLAYED || decision->is_recalled;
	nulls[5] = nulls[6] = !stored;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Raises a batch's refusal, unless it is to be an outcome. */
void
pointstore_raise_refused(const Batch *batch)
{
	if (batch->refused != NULL &&
		(!batch->refusals_are_outcomes || batch->refused->outcome > OUTCOME_LAST_REFUSAL))
		pointstore_raise(&batch->proposals[batch->refused - batch->decisions], batch->refused);
}

/*
 * Counts what was decided about a batch: its refusal, or each of its events; returns
 * their number. Not before it is certain: one of independent requests may be tried again
 * until it is committed.
 */
int
pointstore_count(const Batch *batch)
{
	int64		counts[N_STATS] = {0};
	int			total = 0;
	int			i;

	if (batch->refused != NULL)
	{
		pointstore_count_decision(batch->refused);
		return 1;
	}
	for (i = 0; i < batch->nevents; i++)
		if (batch->decisions[i].outcome <= OUTCOME_LAST_REFUSAL)
		{
			counts[counter_of(batch->decisions[i].outcome)]++;
			counts[STAT_MERGES] += batch->decisions[i].is_merged;
			total++;
		}
	for (i = 0; i < lengthof(counts); i++)
		if (counts[i] > 0)
			pointstore_stat_add((PointstoreStat) i, counts[i]);
	return total;
}

/* The counter of an outcome that a receipt has. */
static PointstoreStat
counter_of(Outcome outcome)
{
	StaticAssertStmt((int) STAT_NOT_ALLOWED == (int) OUTCOME_NOT_ALLOWED, "outcomes are the first counters");
	switch (outcome)
	{
		case OUTCOME_TRANSITION_NOT_ALLOWED:
			return STAT_TRANSITION_NOT_ALLOWED;
		case OUTCOME_LEASE_LOST:
			return STAT_LEASE_LOST;
		case OUTCOME_HOLD_NOT_OPEN:
			return STAT_NOT_ALLOWED;
		default:
			return (PointstoreStat) outcome;
	}
}

/* The same for one event. An error in every form of the call is not counted. */
void
pointstore_count_decision(const Decision *decision)
{
	if (decision->outcome <= OUTCOME_LAST_REFUSAL)
		pointstore_stat_add(counter_of(decision->outcome), 1);
}
