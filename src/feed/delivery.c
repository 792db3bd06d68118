/*-------------------------------------------------------------------------
 *
 * src/feed/delivery.c
 *		Events as subscriptions deliver them: new ones of a slot, and those of an account that wait.
 *
 * New ones are read from the feed in order of position, and those left out that are of other
 * slots, or of accounts that are set aside: from where they wait on, which may be ahead of the slot. Those of
 * an account that is set aside are found by its versions, and each has its position looked up: there are few of them.
 *
 * Upcasters are called for a page as a whole, in a subtransaction; where one fails that is undone, the event left
 * out with what the page has of its account, and the rest goes on in another one.
 *
 * What is here acts as the owner, by the active snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "feed/decision.h"
#include "feed/delivery.h"
#include "feed/heritage.h"
#include "feed/upcast.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"

#define BLOCKED_AT_ONCE 1000	/* accounts set aside that are read beforehand; of more each is looked up */

/* An account, by its id, and from which position on it is set aside. */
typedef struct KnownAccount
{
	char		id[POINTSTORE_MAX_NAME + 1];
	int64		from;			/* PG_INT64_MAX: it is not */
} KnownAccount;

/* Which events are wanted. */
struct Wanted
{
	const Subscription *subscription;
	const Slot *slot;
	HTAB	   *known;			/* null: no account is set aside */
	bool		complete;		/* it has all accounts that are */
	IdRange    *passed;			/* events that the shard which this one was split from has delivered, ascending */
	int			npassed;
	OtherSlots *others;			/* may be null */
};

/* A page that is being upcast. */
typedef struct Upcasting
{
	FeedPage   *page;
	Upcasters  *upcasters;
	FailedEvents *failed;
	int			n;				/* events that the page ends after */
	int			at;				/* the next one */
	int			kept;			/* of those before that */
	Size		bytes;			/* of these */
} Upcasting;

static HTAB *read_blocked(const Subscription *subscription, const Slot *slot, bool *complete);
static bool was_passed(const Wanted *wanted, const FeedEvent *event, TupleDesc desc);
static int64 blocked_from(Wanted *wanted, text *id);
static int64 look_up_blocked(const Wanted *wanted, text *id);
static void add_waiting(FeedPage *page, HeapTuple row, TupleDesc desc, int64 position, MemoryContext context);
static bool upcast_on(void *arg);
static bool has_failed(const Upcasting *upcasting);
static void note_failed(Upcasting *upcasting, const ErrorData *error);
static void end_page(Upcasting *upcasting);

/* Reads new events of a slot onto a page, which says after and up to which position, and how many. */
void
pointstore_read_new(const Subscription *subscription, const Slot *slot, FeedPage *page, OtherSlots *others)
{
	Wanted	   *wanted = pointstore_new_events(subscription, slot);

	wanted->others = others;
	page->event_types = subscription->event_types;
	page->prefix = subscription->prefix;
	page->wants = pointstore_is_new;
	page->arg = wanted;
	pointstore_read_page(page);
	if (wanted->known != NULL)
		hash_destroy(wanted->known);
	if (wanted->passed != NULL)
		pfree(wanted->passed);
	pfree(wanted);
	page->wants = NULL;
	page->arg = NULL;
}

/* What pointstore_is_new() is asked with. */
Wanted *
pointstore_new_events(const Subscription *subscription, const Slot *slot)
{
	Wanted	   *wanted = palloc0(sizeof(Wanted));

	wanted->subscription = subscription;
	wanted->slot = slot;
	wanted->complete = true;
	if (slot->blocked > 0)
		wanted->known = read_blocked(subscription, slot, &wanted->complete);
	wanted->npassed = pointstore_read_heritage(subscription->name, slot->checkpoint, &wanted->passed);
	return wanted;
}

/* The accounts of a slot that are set aside, as far as they are not too many. */
static HTAB *
read_blocked(const Subscription *subscription, const Slot *slot, bool *complete)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(a.aggregate_id AS pg_catalog.text), coalesce(CAST(a.position AS pg_catalog.int8), 0) FROM pointstore.subscription_account a"
		" WHERE a.subscription" EQ "$1 AND a.slot" EQ "$2 AND a.aggregate_id IS NOT NULL LIMIT $3",
		.nargs = 3, .argtypes = {TEXTOID, INT2OID, INT8OID}
	};
	HASHCTL		control = {.keysize = POINTSTORE_MAX_NAME + 1, .entrysize = sizeof(KnownAccount), .hcxt = CurrentMemoryContext};
	HTAB	   *known = hash_create("pointstore accounts set aside", 256, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	Datum		values[3] = {PointerGetDatum(subscription->name), Int16GetDatum(slot->number), Int64GetDatum(BLOCKED_AT_ONCE + 1)};
	uint64		i;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	*complete = SPI_processed <= BLOCKED_AT_ONCE;
	for (i = 0; i < SPI_processed; i++)
	{
		KnownAccount *account = hash_search(known, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), HASH_ENTER, NULL);
		bool		isnull;

		account->from = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	return known;
}

/* Whether an event is of the slot, and does not wait with its account. */
bool
pointstore_is_new(const FeedEvent *event, TupleDesc desc, void *arg)
{
	Wanted	   *wanted = arg;
	bool		isnull;
	Datum		value = heap_getattr(event->row, EV_AGGREGATE_ID + 1, desc, &isnull);
	text	   *id = isnull ? cstring_to_text("") : DatumGetTextPP(value);
	int16		slot = pointstore_slot_of(id, wanted->subscription->slots);

	if (slot == wanted->slot->number)
		return event->position < blocked_from(wanted, id) && !was_passed(wanted, event, desc);
	if (wanted->others != NULL && event->position > wanted->others->after[slot])
		wanted->others->have_some[slot] = true;
	return false;
}

/* Whether an event was delivered before its shard was split from another. */
static bool
was_passed(const Wanted *wanted, const FeedEvent *event, TupleDesc desc)
{
	int			low = 0;
	int			high = wanted->npassed;
	bool		isnull;
	int64		id;

	if (high == 0)
		return false;
	id = DatumGetInt64(heap_getattr(event->row, EV_ID + 1, desc, &isnull));
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (wanted->passed[middle].upper <= id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < wanted->npassed && wanted->passed[low].lower <= id;
}

/* From which position on the events of an account wait. */
static int64
blocked_from(Wanted *wanted, text *id)
{
	KnownAccount *account;
	char		key[POINTSTORE_MAX_NAME + 1];
	bool		found;

	if (wanted->known == NULL)
		return PG_INT64_MAX;
	text_to_cstring_buffer(id, key, sizeof(key));
	account = hash_search(wanted->known, key, wanted->complete ? HASH_FIND : HASH_ENTER, &found);
	if (!found && !wanted->complete)
		account->from = look_up_blocked(wanted, id);
	return account == NULL ? PG_INT64_MAX : account->from;
}

static int64
look_up_blocked(const Wanted *wanted, text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(a.position AS pg_catalog.int8), 0) FROM pointstore.subscription_account a WHERE a.subscription" EQ "$1 AND a.slot" EQ "$2 AND a.aggregate_id" EQ "$3",
		.nargs = 3, .argtypes = {TEXTOID, INT2OID, TEXTOID}
	};
	Datum		values[3] = {PointerGetDatum(wanted->subscription->name), Int16GetDatum(wanted->slot->number), PointerGetDatum(id)};
	int64		from = PG_INT64_MAX;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	if (SPI_processed > 0)
		from = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return from;
}

/*
 * Reads events of an account from a version on, as the filter has them, which have a position
 * not above page->upto; page->max_events at most.
 */
void
pointstore_read_waiting(const Subscription *subscription, text *aggregate_id, int64 version, FeedPage *page)
{
	static PointstorePlan plan = {
		.sql = "SELECT " FEED_EVENT_COLUMNS " FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 AND e.version" GE "$2"
		" AND ($3 IS NULL OR e.event_type" EQ "ANY ($3)) AND ($4 IS NULL OR pg_catalog.starts_with(e.aggregate_id, $4))"
		" ORDER BY e.version LIMIT $5",
		.nargs = 5, .argtypes = {TEXTOID, INT8OID, TEXTARRAYOID, TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[5] = {PointerGetDatum(aggregate_id), Int64GetDatum(version), subscription->event_types, subscription->prefix,
		Int64GetDatum(page->max_events)};
	char		nulls[] = "     ";
	SPITupleTable *rows;
	uint64		i;

	nulls[2] = subscription->event_types == 0 ? 'n' : ' ';
	nulls[3] = subscription->prefix == 0 ? 'n' : ' ';
	SPI_connect();
	pointstore_execute(&plan, values, nulls, true);
	rows = SPI_tuptable;
	for (i = 0; i < rows->numvals && page->bytes < PAGE_BYTES; i++)
	{
		bool		isnull;
		int64		position = pointstore_position(DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, EV_ID + 1, &isnull)));

		CHECK_FOR_INTERRUPTS();
		if (position == 0 || position > page->upto)
			break;
		add_waiting(page, rows->vals[i], rows->tupdesc, position, context);
	}
	SPI_finish();
}

static void
add_waiting(FeedPage *page, HeapTuple row, TupleDesc desc, int64 position, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	if (page->desc == NULL)
		page->desc = CreateTupleDescCopy(desc);
	pointstore_add_event(page, row, position);
	MemoryContextSwitchTo(old);
}

/*
 * Brings the events of a page to the newest form of their payloads, and leaves out those that cannot be, with the later
 * ones of their accounts. Where more would fail than is told at once, or what they are now is more than a page may be, the
 * page ends before. Errors that blame no event are raised.
 */
void
pointstore_upcast_delivery(FeedPage *page, FailedEvents *failed)
{
	Upcasting	upcasting = {.page = page, .failed = failed, .n = page->nevents};

	failed->n = 0;
	upcasting.upcasters = page->nevents > 0 ? pointstore_read_upcasters() : NULL;
	if (!pointstore_wants_upcast(upcasting.upcasters, page))
		return;
	while (upcasting.at < upcasting.n)
	{
		ErrorData  *error = pointstore_attempt(upcast_on, &upcasting);

		if (error == NULL)
			continue;
		if (!pointstore_blames_event(error->sqlerrcode))
			ReThrowError(error);
		note_failed(&upcasting, error);
		FreeErrorData(error);
	}
	page->nevents = upcasting.kept;
}

/* The events that are left, until one fails. */
static bool
upcast_on(void *arg)
{
	Upcasting  *upcasting = arg;
	FeedPage   *page = upcasting->page;

	for (; upcasting->at < upcasting->n; upcasting->at++)
	{
		FeedEvent	event = page->events[upcasting->at];

		CHECK_FOR_INTERRUPTS();
		if (upcasting->failed->n > 0 && has_failed(upcasting))
			continue;
		event.row = pointstore_upcast_event(upcasting->upcasters, &event, page->desc);
		page->events[upcasting->kept++] = event;
		upcasting->bytes += pointstore_event_bytes(event.row, page->desc);
		if (upcasting->bytes >= PAGE_BYTES)
			end_page(upcasting);
	}
	return true;
}

/* Whether an earlier event of the same account has failed. */
static bool
has_failed(const Upcasting *upcasting)
{
	text	   *id = pointstore_delivered_account(upcasting->page, upcasting->at);
	int			i;

	for (i = 0; i < upcasting->failed->n; i++)
		if (pointstore_same_text(upcasting->failed->events[i].id, id))
			return true;
	return false;
}

static void
note_failed(Upcasting *upcasting, const ErrorData *error)
{
	FailedEvents *failed = upcasting->failed;
	int			i = failed->n++;

	failed->events[i].id = pointstore_delivered_account(upcasting->page, upcasting->at);
	failed->events[i].position = upcasting->page->events[upcasting->at].position;
	failed->events[i].version = pointstore_delivered_version(upcasting->page, upcasting->at);
	failed->events[i].error = pointstore_upcast_error(upcasting->upcasters, error);
	if (failed->n == FAILED_AT_ONCE)
		end_page(upcasting);
	upcasting->at++;
}

/* The page ends after the event that it is at. */
static void
end_page(Upcasting *upcasting)
{
	if (upcasting->at + 1 == upcasting->n)
		return;
	upcasting->n = upcasting->at + 1;
	upcasting->page->read_to = upcasting->page->events[upcasting->at].position;
}

/* Whose event it is. */
text *
pointstore_delivered_account(const FeedPage *page, int event)
{
	bool		isnull;
	Datum		value = heap_getattr(page->events[event].row, EV_AGGREGATE_ID + 1, page->desc, &isnull);

	return isnull ? cstring_to_text("") : DatumGetTextPCopy(value);
}

int64
pointstore_delivered_version(const FeedPage *page, int event)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(page->events[event].row, EV_VERSION + 1, page->desc, &isnull));
}
