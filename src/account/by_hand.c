/*-------------------------------------------------------------------------
 *
 * src/account/by_hand.c
 *		What this transaction has written to the store's tables by hand.
 *
 * An event inserted by hand is noted when it is let in, by its id and a digest
 * of what it is to be, so that what is stored can be compared with it; and with
 * whether the store or the caller moves its balance. The accounts whose row and events
 * are to be brought together by the caller are noted to be looked at before the commit
 * (pair.c).
 *
 * The notes are hints. A savepoint may take back what they speak of, so they
 * are never asked without the tables: an id is never drawn twice, and a change
 * is one only where this transaction wrote the row. They live in the memory of the
 * transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "account/by_hand.h"
#include "ground/name.h"

/* what moves the balance of an event inserted by hand */
typedef enum BalanceWriter
{
	WRITER_STORE,
	WRITER_CALLER
} BalanceWriter;

static const struct config_enum_entry writer_names[] = {
	{"store", WRITER_STORE, false}, {"caller", WRITER_CALLER, false}, {NULL, 0, false}
};

static int	balance_writer = WRITER_STORE;

static HTAB *changes = NULL;
static EventNote *events = NULL;	/* by id */
static Size nevents = 0;
static Size events_room = 0;

/* Called once when the library is loaded: the setting. */
void
pointstore_by_hand_init(void)
{
	DefineCustomEnumVariable("pointstore.balance_writer",
							 "What moves the balance of an event inserted by hand: the store, or the caller by an UPDATE in the same transaction.",
							 NULL, &balance_writer, WRITER_STORE, writer_names, PGC_USERSET, 0, NULL, NULL, NULL);
}

/* Whether the caller updates the balance of an event that it inserts. */
bool
pointstore_caller_moves_balances(void)
{
	return balance_writer == WRITER_CALLER;
}

/* Notes that row and events of an account part, or meet, at this version by the caller's doing. */
void
pointstore_note_change(text *id, int64 version)
{
	ChangeNote *change;
	bool		found;

	if (changes == NULL)
		changes = pointstore_text_table("pointstore changes", sizeof(ChangeNote), TopTransactionContext);
	change = hash_search(changes, &id, HASH_FIND, &found);
	if (found)
	{
		change->version = Min(change->version, version);
		return;
	}
	id = memcpy(MemoryContextAlloc(TopTransactionContext, VARSIZE_ANY(id)), id, VARSIZE_ANY(id));
	change = hash_search(changes, &id, HASH_ENTER, &found);
	change->version = version;
}

/* Whether that account is noted as changed. */
bool
pointstore_is_noted_change(text *id)
{
	bool		found = false;

	if (changes != NULL)
		(void) hash_search(changes, &id, HASH_FIND, &found);
	return found;
}

/* Calls what() for every account noted as changed. */
void
pointstore_for_each_change(void (*what) (const ChangeNote *change))
{
	HASH_SEQ_STATUS scan;
	ChangeNote *change;

	if (changes == NULL)
		return;
	hash_seq_init(&scan, changes);
	while ((change = hash_seq_search(&scan)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		what(change);
	}
}

/* Notes an event that is let in. Ids rise, but where the sequence was set back. */
void
pointstore_note_event(const EventNote *event)
{
	Size		place = nevents;

	if (nevents == events_room)
	{
		events_room = Max(events_room * 2, 64);
		events = events == NULL ? MemoryContextAlloc(TopTransactionContext, events_room * sizeof(EventNote))
			: repalloc_huge(events, events_room * sizeof(EventNote));
	}
	while (place > 0 && events[place - 1].id > event->id)
		place--;
	memmove(&events[place + 1], &events[place], (nevents - place) * sizeof(EventNote));
	events[place] = *event;
	nevents++;
}

/* What was noted of the event of that id, or NULL. */
const EventNote *
pointstore_noted_event(int64 id)
{
	Size		low = 0;
	Size		high = nevents;

	while (low < high)
	{
		Size		middle = low + (high - low) / 2;

		if (events[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < nevents && events[low].id == id ? &events[low] : NULL;
}

/* Notes that an event which was let in is there. */
void
pointstore_note_settled(int64 id)
{
	EventNote  *note = (EventNote *) pointstore_noted_event(id);

	if (note != NULL)
		note->settled = true;
}

/* Whether events were inserted by hand in this transaction. */
bool
pointstore_has_noted_events(void)
{
	return nevents > 0;
}

/* Whether anything was written by hand in this transaction that may wait for its other half. */
bool
pointstore_has_notes(void)
{
	return nevents > 0 || changes != NULL;
}

/* At the end of the transaction, which takes their memory. */
void
pointstore_forget_notes(void)
{
	changes = NULL;
	events = NULL;
	nevents = events_room = 0;
}
