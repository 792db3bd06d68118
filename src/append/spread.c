/*-------------------------------------------------------------------------
 *
 * src/append/spread.c
 *		Batches whose accounts are on other nodes.
 *
 * Events that lie next to each other and whose accounts are on one node are a part: each is appended by a call of append_part(), or of
 * another function that does more (reversal.c), which Citus delegates to that node, in the caller's transaction, as the caller. Where all are on one node its
 * part is the batch itself. Where there are more, no node judges for another: a part is refused as a batch is; of a request
 * each leg is looked up by its place in it; what concerns parts together, the units and whether all repeat what
 * was done or none, is compared here, and the first leg of a movement comes first, for its id is the cause of the others.
 *
 * Locks are taken in the one order of accounts: where the events are in another the accounts are locked
 * before, part by part. Several nodes commit in two phases, by Citus.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/spread.h"
#include "ground/compat.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/shard.h"
#include "ground/twophase.h"

static bool is_whole(const Batch *batch);
static void count_legs(Batch *batch);
static void lock_in_order(const Batch *batch);
static int	compare_accounts(const void *a, const void *b);
static void append_from(Batch *batch, int first, int n, bool whole);
static void read_answer(Batch *batch, int first);
static text *copy_text(text *value);
static Jsonb *tell_part(const Batch *batch, int first, int n, bool whole);
static void tell_event(JsonbParseState **state, const ProposedEvent *event);
static void tell_cause(Batch *batch);
static void refuse_halves(Batch *batch);
static void refuse_units(Batch *batch);
static void check_sums(const Batch *batch);

/* Whether accounts of a batch are on other nodes than this. */
bool
pointstore_is_spread(const Batch *batch)
{
	int			i;

	for (i = 0; pointstore_is_distributed() && i < batch->nevents + batch->nchecks; i++)
		if (!pointstore_is_here(batch->proposals[i].aggregate_id))
			return true;
	return false;
}

/* Appends such a batch, as pointstore_append() does any other. */
void
pointstore_append_spread(Batch *batch)
{
	int			n = batch->nevents + batch->nchecks;
	bool		whole = is_whole(batch);
	int			level = pointstore_pin_transaction();
	int			first;
	int			next;

	batch->decisions = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Decision) * Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (!whole)
	{
		count_legs(batch);
		lock_in_order(batch);
	}
	for (first = 0; first < n && batch->refused == NULL; first = next)
	{
		int32		node = pointstore_node_of(batch->proposals[first].aggregate_id);

		for (next = first + 1; next < n && (whole || pointstore_node_of(batch->proposals[next].aggregate_id) == node);)
			next++;
		append_from(batch, first, next - first, whole);
		if (first == 0 && !whole)
			tell_cause(batch);
	}
	if (!whole && batch->refused == NULL)
	{
		refuse_halves(batch);
		refuse_units(batch);
	}
	AtEOXact_GUC(true, level);
}

/* Whether all accounts are on one node. */
static bool
is_whole(const Batch *batch)
{
	int			i;

	for (i = 1; i < batch->nevents + batch->nchecks; i++)
		if (pointstore_node_of(batch->proposals[i].aggregate_id) != pointstore_node_of(batch->proposals->aggregate_id))
			return false;
	return true;
}

/* How many legs a request has on each account: so a node knows whether what is stored there is of another. */
static void
count_legs(Batch *batch)
{
	typedef struct Legs
	{
		text	   *account;	/* the key */
		int			n;
	} Legs;
	HTAB	   *legs = NULL;
	bool		found;
	int			i;

	if (batch->nevents > 0 && batch->proposals->followers > 0)
		legs = pointstore_text_table("pointstore legs", sizeof(Legs), CurrentMemoryContext);
	for (i = 0; legs != NULL && i < batch->nevents; i++)
	{
		Legs	   *entry = hash_search(legs, &batch->proposals[i].aggregate_id, HASH_ENTER, &found);

		entry->n = found ? entry->n + 1 : 1;
	}
	for (i = 0; i < batch->nevents; i++)
		batch->proposals[i].legs_here = legs == NULL ? 1 :
			((Legs *) hash_search(legs, &batch->proposals[i].aggregate_id, HASH_FIND, &found))->n;
	if (legs != NULL)
		hash_destroy(legs);
}

/* Locks the accounts in their order, where the events have another. */
static void
lock_in_order(const Batch *batch)
{
	int			n = batch->nevents + batch->nchecks;
	Datum	   *accounts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * n);
	bool		in_order = true;
	int			first;
	int			next;
	int			i;

	for (i = 0; i < n; i++)
	{
		accounts[i] = PointerGetDatum(batch->proposals[i].aggregate_id);
		in_order &= i == 0 || compare_accounts(&accounts[i - 1], &accounts[i]) <= 0;
	}
	if (in_order)
		return;
	qsort(accounts, n, sizeof(Datum), compare_accounts);
	for (first = 0; first < n; first = next)
	{
		Datum		part;
		char	   *sql;

		for (next = first + 1; next < n && pointstore_node_of(DatumGetTextPP(accounts[next])) == pointstore_node_of(DatumGetTextPP(accounts[first]));)
			next++;
		part = PointerGetDatum(construct_array(&accounts[first], next - first, TEXTOID, -1, false, TYPALIGN_INT));
		sql = psprintf("SELECT * FROM pointstore.lock_part(%s, CAST(%s AS pg_catalog.text[]))",
					   quote_literal_cstr(TextDatumGetCString(accounts[first])), quote_literal_cstr(OidOutputFunctionCall(F_ARRAY_OUT, part)));
		SPI_connect();
		if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not lock accounts");
		SPI_finish();
	}
}

static int
compare_accounts(const void *a, const void *b)
{
	return pointstore_compare_text(DatumGetTextPP(*(const Datum *) a), DatumGetTextPP(*(const Datum *) b));
}

/* Appends the events from one on, all on one node. */
static void
append_from(Batch *batch, int first, int n, bool whole)
{
	text	   *account = batch->proposals[first].aggregate_id;
	char	   *part = JsonbToCString(NULL, &tell_part(batch, first, n, whole)->root, 0);
	char	   *sql = psprintf("SELECT * FROM pointstore.%s(%s, CAST(%s AS pg_catalog.jsonb))",
							   batch->part_function != NULL ? batch->part_function : "append_part", quote_literal_cstr(pointstore_cstring(account)), quote_literal_cstr(part));

	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not append a part of a batch");
	read_answer(batch, first);
	SPI_finish();
	if (!whole)
		ForceSyncCommit();
	if (!whole && pointstore_is_here(account))
		pointstore_tell_now();
}

/* What has become of the events from one on. */
static void
read_answer(Batch *batch, int first)
{
	uint64		i;

	for (i = 0; i < SPI_processed; i++)
	{
		Datum		values[N_PART_COLUMNS];
		bool		nulls[N_PART_COLUMNS];
		Decision   *decision;

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		decision = &batch->decisions[first + DatumGetInt32(values[PART_PLACE])];
		decision->outcome = DatumGetInt32(values[PART_OUTCOME]);
		decision->is_merged = DatumGetBool(values[PART_IS_MERGED]);
		decision->is_recalled = DatumGetBool(values[PART_IS_RECALLED]);
		decision->version = DatumGetInt64(values[PART_VERSION]);
		decision->balance = DatumGetInt64(values[PART_BALANCE]);
		decision->available = DatumGetInt64(values[PART_AVAILABLE]);
		decision->id = DatumGetInt64(values[PART_ID]);
		decision->created_at = DatumGetTimestampTz(values[PART_CREATED_AT]);
		decision->applied_version = DatumGetInt64(values[PART_APPLIED_VERSION]);
		decision->reason = DatumGetInt32(values[PART_REASON]);
		decision->account_unknown = DatumGetBool(values[PART_ACCOUNT_UNKNOWN]);
		if (!nulls[PART_UNIT])
			decision->unit = copy_text(DatumGetTextPP(values[PART_UNIT]));
		batch->proposals[first + DatumGetInt32(values[PART_PLACE])].amount = DatumGetInt64(values[PART_AMOUNT]);
		if (decision->outcome > OUTCOME_REPLAYED)
			batch->refused = decision;
	}
}

/* A copy that outlives the SPI connection. */
static text *
copy_text(text *value)
{
	return memcpy(SPI_palloc(VARSIZE_ANY(value)), value, VARSIZE_ANY(value));
}

/* A part as append_part() takes it. */
static Jsonb *
tell_part(const Batch *batch, int first, int n, bool whole)
{
	JsonbParseState *state = NULL;
	int			i;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_number(&state, "outcomes", batch->refusals_are_outcomes);
	pointstore_push_number(&state, "same_unit", batch->same_unit && whole);
	pointstore_push_number(&state, "balanced", batch->balanced && whole);
	pointstore_push_number(&state, "whole", whole);
	pointstore_push_key(&state, "events");
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = first; i < first + n; i++)
		tell_event(&state, &batch->proposals[i]);
	(void) pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The keys of an element of append_events(), and what the functions of ours say besides. */
static void
tell_event(JsonbParseState **state, const ProposedEvent *event)
{
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_text(state, "aggregate_id", event->aggregate_id);
	if (event->has_expected)
		pointstore_push_number(state, "expected_version", event->expected_version);
	pointstore_push_number(state, "is_check", event->is_check);
	if (!event->is_check)
	{
		pointstore_push_text(state, "event_type", event->event_type);
		pointstore_push_number(state, "amount", event->amount);
		pointstore_push_document(state, "payload", event->payload);
		if (event->metadata != NULL)
			pointstore_push_document(state, "metadata", event->metadata);
		if (event->request_id != NULL)
			pointstore_push_text(state, "request_id", event->request_id);
		if (event->kind != NULL)
			pointstore_push_text(state, "kind", event->kind);
		if (event->has_floor)
			pointstore_push_number(state, "min_balance", event->floor);
		if (event->has_payload_version)
			pointstore_push_number(state, "payload_version", event->payload_version);
		if (event->has_cause)
			pointstore_push_number(state, "cause_id", event->cause_id);
		if (event->has_lease_token)
			pointstore_push_number(state, "lease_token", event->lease_token);
		if (event->has_occurred)
			pointstore_push_number(state, "occurred", event->occurred_at);
		pointstore_push_number(state, "leg", event->leg);
		pointstore_push_number(state, "legs_here", event->legs_here);
		pointstore_push_number(state, "followers", event->followers);
		pointstore_push_number(state, "is_linked", event->is_linked);
		pointstore_push_number(state, "kind_opens", event->kind_opens);
		pointstore_push_number(state, "lease_if_asked", event->lease_if_asked);
		pointstore_push_number(state, "may_merge", event->may_merge);
		if (event->told != NULL)
			pointstore_push_document(state, "told", event->told);
	}
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The first leg of a movement has an id: the others' cause. */
static void
tell_cause(Batch *batch)
{
	int			i;

	for (i = 1; i < batch->nevents && batch->proposals->is_linked && batch->refused == NULL; i++)
	{
		batch->proposals[i].has_cause = true;
		batch->proposals[i].cause_id = batch->decisions->id;
	}
}

/* A request of which one node knows a part and another does not is another one: PS002. */
static void
refuse_halves(Batch *batch)
{
	int			i;
	int			j;

	for (i = 0; i < batch->nevents; i = j)
	{
		Decision   *replayed = NULL;
		bool		has_new = false;

		for (j = i; j < batch->nevents && j <= i + batch->proposals[i].followers; j++)
		{
			if (batch->decisions[j].outcome == OUTCOME_REPLAYED)
				replayed = &batch->decisions[j];
			else
				has_new = true;
		}
		if (replayed == NULL || !has_new)
			continue;
		replayed->outcome = OUTCOME_REQUEST_MISMATCH;
		replayed->mismatch = "events";
		batch->refused = replayed;
		pointstore_raise_refused(batch);
		return;
	}
}

/* The accounts of a transfer count the same; what is balanced sums to zero in each unit: as a node that knows them all would say it. */
static void
refuse_units(Batch *batch)
{
	int			i;

	if (batch->balanced)
		check_sums(batch);
	for (i = 0; batch->same_unit && i < batch->nevents && batch->refused == NULL; i++)
	{
		Decision   *decision = &batch->decisions[i];

		if (decision->outcome != OUTCOME_APPENDED || decision->unit == NULL || batch->decisions->unit == NULL ||
			pointstore_same_text(batch->decisions->unit, decision->unit))
			continue;
		decision->outcome = OUTCOME_NOT_ALLOWED;
		decision->reason = REASON_UNITS;
		decision->asked = pointstore_clipped(pointstore_cstring(batch->decisions->unit));
		decision->stored = pointstore_clipped(pointstore_cstring(decision->unit));
		batch->refused = decision;
		pointstore_raise_refused(batch);
	}
}

static void
check_sums(const Batch *batch)
{
	text	  **units = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(text *) * Max(batch->nevents, 1));
	int			i;

	for (i = 0; i < batch->nevents; i++)
		units[i] = batch->decisions[i].outcome == OUTCOME_APPENDED ? batch->decisions[i].unit : NULL;
	pointstore_check_sums(batch, units);
	pfree(units);
}
