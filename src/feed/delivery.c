/*-------------------------------------------------------------------------
 *
 * src/feed/delivery.c
 *		Events as subscriptions deliver them: new ones of a slot, and those of an account that wait.
 *
 * New ones are read from the feed in order of position, and those left out that are of other
 * slots, or of accounts that are set aside. Those of an account that is set aside are found by its
 * versions, and each has its position looked up: there are few of them.
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

#include "feed/delivery.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/store.h"

#define BLOCKED_AT_ONCE 1000	/* accounts set aside that are read beforehand; of more each is looked up */

/* An account, by its id, and whether it is set aside. */
typedef struct KnownAccount
{
	char		id[POINTSTORE_MAX_NAME + 1];
	bool		blocked;
} KnownAccount;

/* Which events are wanted. */
typedef struct Wanted
{
	const Subscription *subscription;
	const Slot *slot;
	HTAB	   *known;			/* null: no account is set aside */
	bool		complete;		/* it has all accounts that are */
	OtherSlots *others;			/* may be null */
} Wanted;

static HTAB *read_blocked(const Subscription *subscription, const Slot *slot, bool *complete);
static bool is_wanted(const FeedEvent *event, TupleDesc desc, void *arg);
static bool is_blocked(Wanted *wanted, text *id);
static bool look_up_blocked(const Wanted *wanted, text *id);
static void add_waiting(FeedPage *page, HeapTuple row, TupleDesc desc, int64 position, MemoryContext context);

/* Reads new events of a slot onto a page, which says after and up to which position, and how many. */
void
pointstore_read_new(const Subscription *subscription, const Slot *slot, FeedPage *page, OtherSlots *others)
{
	Wanted		wanted = {.subscription = subscription, .slot = slot, .complete = true, .others = others};

	page->event_types = subscription->event_types;
	page->prefix = subscription->prefix;
	page->wants = is_wanted;
	page->arg = &wanted;
	if (slot->blocked > 0)
		wanted.known = read_blocked(subscription, slot, &wanted.complete);
	pointstore_read_page(page);
	if (wanted.known != NULL)
		hash_destroy(wanted.known);
	page->wants = NULL;
	page->arg = NULL;
}

/* The accounts of a slot that are set aside, as far as they are not too many. */
static HTAB *
read_blocked(const Subscription *subscription, const Slot *slot, bool *complete)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(a.aggregate_id AS pg_catalog.text) FROM pointstore.subscription_account a"
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

		account->blocked = true;
	}
	SPI_finish();
	return known;
}

/* Whether an event is of the slot, and its account not set aside. */
static bool
is_wanted(const FeedEvent *event, TupleDesc desc, void *arg)
{
	Wanted	   *wanted = arg;
	bool		isnull;
	Datum		value = heap_getattr(event->row, EV_AGGREGATE_ID + 1, desc, &isnull);
	text	   *id = isnull ? cstring_to_text("") : DatumGetTextPP(value);
	int16		slot = pointstore_slot_of(id, wanted->subscription->slots);

	if (slot == wanted->slot->number)
		return !is_blocked(wanted, id);
	if (wanted->others != NULL && event->position > wanted->others->after[slot])
		wanted->others->have_some[slot] = true;
	return false;
}

static bool
is_blocked(Wanted *wanted, text *id)
{
	KnownAccount *account;
	char		key[POINTSTORE_MAX_NAME + 1];
	bool		found;

	if (wanted->known == NULL)
		return false;
	text_to_cstring_buffer(id, key, sizeof(key));
	account = hash_search(wanted->known, key, wanted->complete ? HASH_FIND : HASH_ENTER, &found);
	if (!found && !wanted->complete)
		account->blocked = look_up_blocked(wanted, id);
	return account != NULL && account->blocked;
}

static bool
look_up_blocked(const Wanted *wanted, text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.subscription_account a WHERE a.subscription" EQ "$1 AND a.slot" EQ "$2 AND a.aggregate_id" EQ "$3",
		.nargs = 3, .argtypes = {TEXTOID, INT2OID, TEXTOID}
	};
	Datum		values[3] = {PointerGetDatum(wanted->subscription->name), Int16GetDatum(wanted->slot->number), PointerGetDatum(id)};
	bool		found;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	found = SPI_processed > 0;
	SPI_finish();
	return found;
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
