/*-------------------------------------------------------------------------
 *
 * src/account/history.c
 *		An account's events, found by version and by time.
 *
 * No index is kept by time. Within an account created_at never falls from one
 * version to the next, so the last event up to a moment is found by halving over
 * the primary key: first the newest events, then versions that are guessed
 * from the moment's place between two times known, as far as guesses go, then
 * middles. Versions without gaps are probed by equality, which reads one
 * entry of the index; where one is missing its predecessor stands for it, so
 * that the answer is exact in a damaged store too. Only where created_at itself
 * falls (finding time_order) is there more than one answer, and any of
 * them may come.
 *
 * All of it is read in the active snapshot, without a plan and without any
 * code of the users': so it needs no other role's identity.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/history.h"
#include "ground/scan.h"

/*
 * Newest events looked at one after another, which cost a row each; then guesses, as
 * long as more than a few versions are left. With the first event and the 24 halvings
 * that tell 10 million versions apart that makes at most 39 probes.
 */
#define NEWEST 4
#define GUESSES 10
#define FEW_VERSIONS 16

static bool next_event(HistoryScan *history, ScanDirection direction, PastEvent *event);
static bool early_event(HistoryScan *history, TimestampTz until, PastEvent *event);
static void event_at_most(HistoryScan *history, int64 version, PastEvent *event);
static PastEvent halve(HistoryScan *history, TimestampTz until, PastEvent low, PastEvent high);
static uint64 guess(const PastEvent *low, const PastEvent *high, TimestampTz until, bool low_moved);
static uint64 distance(int64 from, int64 to);

/* Begins to look for events of an account, which need not be there. */
void
pointstore_history_begin(HistoryScan *history, text *id)
{
	RowKey		key = {0};

	history->id = id;
	pointstore_key_text(&key, id);
	pointstore_key_at_most(&key, PG_INT64_MAX);
	pointstore_scan_begin_reading(&history->scan, id, INDEX_EVENT, GetActiveSnapshot(), &key);
}

void
pointstore_history_end(HistoryScan *history)
{
	pointstore_scan_end(&history->scan);
}

/* The event of that version; false where there is none. */
bool
pointstore_history_at_version(HistoryScan *history, int64 version, PastEvent *event)
{
	RowKey		key = {0};

	pointstore_key_text(&key, history->id);
	pointstore_key_bigint(&key, version);
	pointstore_scan_again(&history->scan, &key);
	return next_event(history, ForwardScanDirection, event);
}

/*
 * The last event whose created_at is not after until, of several of the same time that
 * of the highest version; false, and nothing is told, where there is none.
 */
bool
pointstore_history_at_time(HistoryScan *history, TimestampTz until, PastEvent *event)
{
	RowKey		key = {0};
	PastEvent	early;
	PastEvent	newest;
	int			i;

	pointstore_key_text(&key, history->id);
	pointstore_key_at_most(&key, PG_INT64_MAX);
	pointstore_scan_again(&history->scan, &key);
	for (i = 0; i < NEWEST; i++)
	{
		if (!next_event(history, BackwardScanDirection, &newest))
			return false;
		if (newest.created_at <= until)
		{
			*event = newest;
			return true;
		}
	}
	if (!early_event(history, until, &early))
		return false;
	*event = halve(history, until, early, newest);
	return true;
}

/* The events from that version on, or from the first of a higher one, are the next. */
void
pointstore_history_from(HistoryScan *history, int64 version)
{
	RowKey		key = {0};

	pointstore_key_text(&key, history->id);
	pointstore_key_at_least(&key, version);
	pointstore_scan_again(&history->scan, &key);
}

/* The next event, its row in history->scan.slot; false after the last. */
bool
pointstore_history_next(HistoryScan *history, PastEvent *event)
{
	return next_event(history, ForwardScanDirection, event);
}

/* The next one of a scan; where there is none the event is left as it is. */
static bool
next_event(HistoryScan *history, ScanDirection direction, PastEvent *event)
{
	const AttrNumber *att = history->scan.table->att;
	TupleTableSlot *slot = history->scan.slot;
	bool		isnull;

	if (!pointstore_scan_next(&history->scan, direction))
		return false;
	event->version = DatumGetInt64(slot_getattr(slot, att[EV_VERSION], &isnull));
	event->balance = DatumGetInt64(slot_getattr(slot, att[EV_BALANCE_AFTER], &isnull));
	event->created_at = DatumGetTimestampTz(slot_getattr(slot, att[EV_CREATED_AT], &isnull));
	return true;
}

/* An event that is not after until, to begin at: version 1, or the first one, if versions do not begin with 1. */
static bool
early_event(HistoryScan *history, TimestampTz until, PastEvent *event)
{
	if (pointstore_history_at_version(history, 1, event) && event->created_at <= until)
		return true;
	pointstore_history_from(history, PG_INT64_MIN);
	return next_event(history, ForwardScanDirection, event) && event->created_at <= until;
}

/* The event of that version or, where it is missing, the one before it. */
static void
event_at_most(HistoryScan *history, int64 version, PastEvent *event)
{
	RowKey		key = {0};

	if (pointstore_history_at_version(history, version, event))
		return;
	pointstore_key_text(&key, history->id);
	pointstore_key_at_most(&key, version);
	pointstore_scan_again(&history->scan, &key);
	(void) next_event(history, BackwardScanDirection, event);
}

/*
 * Between low, which is not after until, and high, which is: the last event that is not.
 * Up to low's version none is after until, from high's on all are; so low's may be one that
 * no event has, with what the last event before it says.
 */
static PastEvent
halve(HistoryScan *history, TimestampTz until, PastEvent low, PastEvent high)
{
	PastEvent	last = low;
	bool		low_moved = false;
	int			guesses = 0;

	while (low.version < high.version && distance(low.version, high.version) > 1)
	{
		uint64		width = distance(low.version, high.version);
		uint64		step = width > FEW_VERSIONS && guesses++ < GUESSES ? guess(&low, &high, until, low_moved) : width / 2;
		int64		version = (int64) ((uint64) low.version + step);
		PastEvent	probe = low;

		CHECK_FOR_INTERRUPTS();
		event_at_most(history, version, &probe);
		low_moved = probe.created_at <= until;
		if (low_moved)
		{
			last = low = probe;
			low.version = version;
		}
		else
			high = probe;
	}
	return last;
}

/*
 * How far above low the moment may be, as if events came evenly: and about a root of the
 * distance past it, on the side that has not moved, so that both ends close in on it.
 */
static uint64
guess(const PastEvent *low, const PastEvent *high, TimestampTz until, bool low_moved)
{
	uint64		width = distance(low->version, high->version);
	double		share = (double) distance(low->created_at, until) / (double) distance(low->created_at, high->created_at);
	double		margin = (double) (UINT64CONST(1) << (pg_leftmost_one_pos64(width) / 2));
	double		step = share * (double) width + (low_moved ? margin : -margin);

	if (step < 1)
		return 1;
	return step < (double) (width - 1) ? (uint64) step : width - 1;
}

/* From one number up to a higher one, however far they are apart. */
static uint64
distance(int64 from, int64 to)
{
	return (uint64) to - (uint64) from;
}
