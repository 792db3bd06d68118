/*-------------------------------------------------------------------------
 *
 * src/append/request.c
 *		Idempotency: whether a request was applied before, and whether what comes
 *		under its name is the same.
 *
 * A request is looked up with a dirty snapshot, which sees a twin under way and
 * waits for it. Twins on one account meet at its row lock or its primary key.
 * What remains is one request_id used for two accounts at the same instant: its
 * unique index then stops the second with 40001, and the retry says what happened
 * (PS002).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "append/batch.h"
#include "append/proposed.h"
#include "append/refusal.h"
#include "append/request.h"
#include "ground/name.h"
#include "ground/scan.h"
#include "ground/store.h"

/* A request of the batch. */
typedef struct SeenRequest
{
	text	   *request_id;		/* the key */
	BatchEvent *events;
} SeenRequest;

/* A request that is looked up. */
typedef struct Lookup
{
	ProposedEvent *events;
	Decision   *decisions;
	int			nevents;
	bool		one_leg;		/* that of the only event; of a part its account's others as well */
	Snapshot	snapshot;
	int			found;			/* legs */
	int			others;			/* of a part: legs of its account that are not the one looked up, nor of this transaction */
} Lookup;

static void refuse_other_legs(const Lookup *lookup);
static void find_legs(Lookup *lookup, text *account);
static bool is_leg(const RowScan *scan, int16 leg);
static void expect_legs(ProposedEvent *events, Decision *decisions, int nevents, const RowScan *scan);
static void compare_with_stored(ProposedEvent *events, Decision *decisions, int nevents, const RowScan *scan);
static void compare(const ProposedEvent *event, Decision *decision, const ProposedEvent *stored);
static const char *first_difference(const ProposedEvent *a, const ProposedEvent *b);
static void compare_numbers(Decision *decisions, int nevents, int found);

/*
 * Whether the request of these events has been applied: as a whole, or just
 * the one leg that the event is. If so each event's decision says whether
 * it is the same (OUTCOME_REPLAYED, with the first receipt) or not
 * (OUTCOME_REQUEST_MISMATCH). A twin under way is waited for. 40001 when
 * it committed after a snapshot that must not see it.
 */
bool
pointstore_find_request(ProposedEvent *events, Decision *decisions, int nevents, bool one_leg, Snapshot snapshot)
{
	Lookup		lookup = {.events = events, .decisions = decisions, .nevents = nevents, .one_leg = one_leg, .snapshot = snapshot};
	HTAB	   *accounts = nevents > 1 && pointstore_is_distributed() ?
		pointstore_text_table("pointstore accounts of a request", sizeof(text *), CurrentMemoryContext) : NULL;
	bool		found = false;
	int			i;

	/* of a plain store all are found at once */
	for (i = 0; i < (accounts != NULL ? nevents : 1); i++)
	{
		if (accounts != NULL)
			(void) hash_search(accounts, &events[i].aggregate_id, HASH_ENTER, &found);
		if (!found)
			find_legs(&lookup, events[i].aggregate_id);
	}
	if (accounts != NULL)
		hash_destroy(accounts);
	if (lookup.found > 0)
		compare_numbers(decisions, nevents, lookup.found);
	if (lookup.others > (lookup.found > 0 ? Max(events->legs_here - 1, 0) : 0))
		refuse_other_legs(&lookup);
	return lookup.found + lookup.others > 0;
}

/* A leg of a part whose account has legs of its request that are not of this call: PS002. */
static void
refuse_other_legs(const Lookup *lookup)
{
	Decision   *decision = lookup->decisions;

	if (decision->outcome == OUTCOME_REQUEST_MISMATCH)
		return;
	decision->outcome = OUTCOME_REQUEST_MISMATCH;
	decision->mismatch = lookup->found > 0 ? "events" : "leg";
	decision->asked = psprintf("%d", lookup->found > 0 ? lookup->events->legs_here : lookup->events->leg);
	decision->stored = lookup->found > 0 ? psprintf("%d", lookup->found + lookup->others) : "another";
}

/* Compares the legs that are stored: of a plain store all, of a distributed one those on an account. */
static void
find_legs(Lookup *lookup, text *account)
{
	text	   *request_id = lookup->events->request_id;
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	int			before = lookup->found;
	bool		is_part = lookup->events->legs_here > 0;
	bool		waited;

	InitDirtySnapshot(dirty);
	pointstore_key_request(&key, account, request_id);
	if (lookup->one_leg && !is_part)
		pointstore_key_smallint(&key, lookup->events->leg);
	do
	{
		lookup->found = before;
		lookup->others = 0;
		waited = false;
		pointstore_scan_begin(&scan, account, INDEX_EVENT_REQUEST, &dirty, &key);
		while (pointstore_scan_next(&scan, ForwardScanDirection))
		{
			CHECK_FOR_INTERRUPTS();
			waited = pointstore_scan_waits(&scan, &dirty);
			if (waited)
				break;
			if (IsolationUsesXactSnapshot() &&
				!table_tuple_satisfies_snapshot(scan.heap, scan.slot, lookup->snapshot))
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("request \"%s\" was applied concurrently", pointstore_cstring(request_id))));
			if (is_part && !is_leg(&scan, lookup->events->leg))
			{
				lookup->others += !pointstore_row_is_ours(ExecFetchSlotHeapTuple(scan.slot, false, NULL));
				continue;
			}
			if (lookup->found++ == 0)
				expect_legs(lookup->events, lookup->decisions, lookup->nevents, &scan);
			compare_with_stored(lookup->events, lookup->decisions, lookup->nevents, &scan);
		}
	} while (waited);
	pointstore_scan_end(&scan);
}

static bool
is_leg(const RowScan *scan, int16 leg)
{
	bool		isnull;

	return DatumGetInt16(slot_getattr(scan->slot, scan->table->att[EV_LEG], &isnull)) == leg && !isnull;
}

/* Of a request that has written this event, the legs that are not found yet differ in that. */
static void
expect_legs(ProposedEvent *events, Decision *decisions, int nevents, const RowScan *scan)
{
	const AttrNumber *att = scan->table->att;
	TupleTableSlot *stored = scan->slot;
	ProposedEvent first = {0};
	bool		isnull;
	int			i;

	first.leg = DatumGetInt16(slot_getattr(stored, att[EV_LEG], &isnull));
	for (i = 0; i < nevents; i++)
	{
		/* an earlier attempt may have taken it for new */
		memset(&decisions[i], 0, sizeof(Decision));
		decisions[i].outcome = OUTCOME_REQUEST_MISMATCH;
		decisions[i].mismatch = "leg";
		decisions[i].applied_version = DatumGetInt64(slot_getattr(stored, att[EV_VERSION], &isnull));
		pointstore_tell_difference(&events[i], &decisions[i], &first);
	}
}

/* Whether the event that has a stored one's leg repeats it; then its receipt is that one's. */
static void
compare_with_stored(ProposedEvent *events, Decision *decisions, int nevents, const RowScan *scan)
{
	const AttrNumber *att = scan->table->att;
	TupleTableSlot *stored = scan->slot;
	ProposedEvent first = {0};
	ProposedEvent *event;
	Decision   *decision;
	Datum		metadata;
	bool		isnull;

	first.leg = DatumGetInt16(slot_getattr(stored, att[EV_LEG], &isnull));
	if (isnull || first.leg < events->leg || first.leg >= events->leg + nevents)
		return;
	event = &events[first.leg - events->leg];
	decision = &decisions[first.leg - events->leg];
	first.aggregate_id = DatumGetTextPP(slot_getattr(stored, att[EV_AGGREGATE_ID], &isnull));
	first.event_type = DatumGetTextPP(slot_getattr(stored, att[EV_EVENT_TYPE], &isnull));
	first.amount = DatumGetInt64(slot_getattr(stored, att[EV_AMOUNT], &isnull));
	first.payload = DatumGetJsonbP(slot_getattr(stored, att[EV_PAYLOAD], &isnull));
	first.occurred_at = DatumGetTimestampTz(slot_getattr(stored, att[EV_OCCURRED_AT], &isnull));
	first.payload_version = DatumGetInt16(slot_getattr(stored, att[EV_PAYLOAD_VERSION], &isnull));
	first.has_payload_version = !isnull;
	metadata = slot_getattr(stored, att[EV_METADATA], &isnull);
	if (!isnull)
		pointstore_recall_proposed(&first, DatumGetJsonbP(metadata));
	decision->applied_version = DatumGetInt64(slot_getattr(stored, att[EV_VERSION], &isnull));
	compare(event, decision, &first);
	if (event->any_amount)
		event->amount = first.amount;
	decision->version = decision->applied_version;
	decision->balance = DatumGetInt64(slot_getattr(stored, att[EV_BALANCE_AFTER], &isnull));
	decision->id = DatumGetInt64(slot_getattr(stored, att[EV_ID], &isnull));
	decision->durable = pointstore_row_durable(stored);
	decision->created_at = DatumGetTimestampTz(slot_getattr(stored, att[EV_CREATED_AT], &isnull));
}

/* Whether an event is the one that its request has written, as both were proposed. */
static void
compare(const ProposedEvent *event, Decision *decision, const ProposedEvent *stored)
{
	event = pointstore_as_proposed(event);
	stored = pointstore_as_proposed(stored);
	decision->mismatch = first_difference(event, stored);
	decision->outcome = decision->mismatch ? OUTCOME_REQUEST_MISMATCH : OUTCOME_REPLAYED;
	if (decision->mismatch != NULL)
		pointstore_tell_difference(event, decision, stored);
}

static const char *
first_difference(const ProposedEvent *a, const ProposedEvent *b)
{
	if (a->leg != b->leg)
		return "leg";
	if (!pointstore_same_text(a->aggregate_id, b->aggregate_id))
		return "aggregate_id";
	if (!pointstore_same_text(a->event_type, b->event_type))
		return "event_type";
	if (!a->any_amount && a->amount != b->amount)
		return "amount";
	if (compareJsonbContainers(&a->payload->root, &b->payload->root) != 0)
		return "payload";
	if (pointstore_payload_version(a) != pointstore_payload_version(b))
		return "payload_version";
	if (a->has_occurred && a->occurred_at != b->occurred_at)
		return "occurred_at";
	return NULL;
}

/* A request that has written more or fewer events is another one. */
static void
compare_numbers(Decision *decisions, int nevents, int found)
{
	Decision   *last = &decisions[Min(found, nevents) - 1];

	if (found == nevents || last->outcome != OUTCOME_REPLAYED)
		return;
	last->outcome = OUTCOME_REQUEST_MISMATCH;
	last->mismatch = "events";
	last->asked = psprintf("%d", nevents);
	last->stored = psprintf("%d", found);
}

/* Whether a running transaction has written an event of the request of these. */
bool
pointstore_is_being_applied(const ProposedEvent *events)
{
	SnapshotData dirty;
	RowKey		key = {0};
	RowScan		scan;
	bool		running = false;

	InitDirtySnapshot(dirty);
	pointstore_key_request(&key, events->aggregate_id, events->request_id);
	pointstore_scan_begin(&scan, events->aggregate_id, INDEX_EVENT_REQUEST, &dirty, &key);
	while (!running && pointstore_scan_next(&scan, ForwardScanDirection))
		running = TransactionIdIsValid(dirty.xmin);
	pointstore_scan_end(&scan);
	return running;
}

/* For the requests of a batch to be found again in it; NULL: it has no two. */
HTAB *
pointstore_begin_requests(const Batch *batch)
{
	int			n = 0;
	int			i;

	for (i = 0; !batch->is_part && i < batch->nevents && n < 2; i += 1 + batch->proposals[i].followers)
		n += batch->proposals[i].request_id != NULL;
	if (n < 2)
		return NULL;
	return pointstore_text_table("pointstore requests", sizeof(SeenRequest), CurrentMemoryContext);
}

/* Whether an earlier request of the batch, not refused, has the same id: then it decides. */
bool
pointstore_seen_in_batch(BatchEvent *events, HTAB *requests)
{
	int			followers = events->proposal->followers;
	SeenRequest *entry;
	bool		found;
	int			i;

	entry = hash_search(requests, &events->proposal->request_id, HASH_ENTER, &found);
	if (!found || entry->events->decision->outcome > OUTCOME_REPLAYED)
	{
		entry->events = events;
		return false;
	}
	for (i = 0; i <= followers; i++)
		memset(events[i].decision, 0, sizeof(Decision));
	for (i = 0; i <= Min(followers, entry->events->proposal->followers); i++)
	{
		compare(events[i].proposal, events[i].decision, entry->events[i].proposal);
		events[i].decision->applied_version = entry->events[i].decision->version;
		events[i].same_as = events[i].decision->mismatch ? NULL : &entry->events[i];
	}
	compare_numbers(events->decision, 1 + followers, 1 + entry->events->proposal->followers);
	return true;
}
