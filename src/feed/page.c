/*-------------------------------------------------------------------------
 *
 * src/feed/page.c
 *		Events of the feed, read in order of position.
 *
 * A page is read block by block. The ranges of a block, and of those that follow it, become
 * stretches of ids: ranges that are near each other become one, and what was read
 * between them is left out again. So a page costs a few range scans of the index on id,
 * wherever it begins and however scattered its ids are.
 *
 * What is here acts as the owner, inside an SPI connection, by the active snapshot. What is found
 * is in the memory that was current before that was opened.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "feed/block.h"
#include "feed/page.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/index.h"

#define BLOCKS_AT_ONCE 16
#define NEAR_BY 64				/* ids between two ranges that are rather read than jumped over */
#define NEAR_BY_IN_SHARD (1024 * 1024)	/* the same of a shard, which has few of them */
#define EVENTS_AT_ONCE 200

#define LAST_BLOCK "SELECT first_position, last_position, ids FROM pointstore.feed_block WHERE " OF_THIS_FEED " ORDER BY first_position DESC LIMIT 1"

/* Ranges of ids, each with the position of its first. */
typedef struct Stretch
{
	IdRange    *ranges;
	int64	   *positions;
	int			n;
	int64		count;			/* positions in all */
} Stretch;

static bool read_stretch(const FeedPage *page, int64 after, int64 most, Stretch *stretch);
static void add_block(Stretch *stretch, const FeedBlock *block, int64 after, int64 upto);
static bool read_stretch_events(FeedPage *page, const Stretch *stretch, MemoryContext context);
static void refuse_rewritten(void);
static TupleDesc describe_rows(TupleDesc found, MemoryContext context);
static Portal open_cursor(const FeedPage *page, const Stretch *stretch);
static Datum number_array(Datum *numbers, int n);
static int64 position_in(const Stretch *stretch, int *range, int64 id);
static bool keep(FeedPage *page, MemoryContext context, HeapTuple row, int64 position);

/* The last position given, as far as the active snapshot sees; 0: none. */
int64
pointstore_head(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(b.last_position AS pg_catalog.int8) FROM (" LAST_BLOCK ") b"
	};
	bool		isnull = true;
	Datum		head = (Datum) 0;

	pointstore_execute(&plan, NULL, NULL, true);
	if (SPI_processed > 0)
		head = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetInt64(head);
}

/* The head as it is now, for who is in no SPI connection. */
int64
pointstore_read_head(void)
{
	int64		head;

	(void) pointstore_push_snapshot();
	SPI_connect();
	head = pointstore_head();
	SPI_finish();
	PopActiveSnapshot();
	return head;
}

/* The position of an event; 0: it has none, or none yet. */
int64
pointstore_position(int64 event_id)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(b.first_position AS pg_catalog.int8), CAST(b.ids AS pg_catalog.int8multirange) FROM"
		" (SELECT s.first_position, s.ids FROM pointstore.feed_block s WHERE s.sealed AND s.ids OPERATOR(pg_catalog.@>) $1 AND " OF_THIS_FEED
		"  UNION ALL SELECT l.first_position, l.ids FROM (" LAST_BLOCK ") l WHERE l.ids OPERATOR(pg_catalog.@>) $1) b"
		" WHERE b.first_position IS NOT NULL AND b.ids IS NOT NULL LIMIT 1",
		.nargs = 1, .argtypes = {INT8OID},
		.generic = true
	};
	Datum		value = Int64GetDatum(event_id);
	IdRange    *ranges;
	int64		position;
	bool		isnull;
	int			n;
	int			i;

	pointstore_execute(&plan, &value, NULL, true);
	if (SPI_processed == 0)
		return 0;
	position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	n = pointstore_read_multirange(value, NULL, 0);
	ranges = palloc(sizeof(IdRange) * (n + 1));
	(void) pointstore_read_multirange(value, ranges, n);
	for (i = 0; i < n && ranges[i].upper <= event_id; i++)
		position += ranges[i].upper - ranges[i].lower;
	return i < n ? position + event_id - ranges[i].lower : 0;
}

/* Reads the events that a page asks for. */
void
pointstore_read_page(FeedPage *page)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "pointstore page", ALLOCSET_DEFAULT_SIZES);
	int64		most = page->max_events;
	int64		looked_at = 0;
	int64		head;
	bool		full = page->max_events <= 0;
	int			level = NewGUCNestLevel();

	/* of ranges that are not known the planner thinks that they are much of the table: it would compile what is a few look-ups */
	pointstore_use_indexes();
	pointstore_show_shards();
	page->read_to = page->after;
	SPI_connect();
	head = pointstore_head();
	page->upto = Min(page->upto, head);
	while (!full && page->read_to < page->upto &&
		   (looked_at < PAGE_POSITIONS || (page->until_one && page->nevents == 0)))
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		Stretch		stretch = {0};

		CHECK_FOR_INTERRUPTS();
		if (!read_stretch(page, page->read_to, Min(most, PAGE_POSITIONS - looked_at % PAGE_POSITIONS), &stretch))
			break;
		looked_at += stretch.count;
		full = read_stretch_events(page, &stretch, context);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		/* a filter leaves out most of it, perhaps */
		most = Max(Min(4 * most, PAGE_POSITIONS), page->max_events);
	}
	SPI_finish();
	AtEOXact_GUC(false, level);
	MemoryContextDelete(scratch);
}

/* The ranges of the next positions, so many of them at most. False: there are none. */
static bool
read_stretch(const FeedPage *page, int64 after, int64 most, Stretch *stretch)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(first_position AS pg_catalog.int8), CAST(ids AS pg_catalog.int8multirange) FROM pointstore.feed_block"
		" WHERE first_position" GE "coalesce((SELECT b.first_position FROM pointstore.feed_block b WHERE b.first_position" LE "$1 AND " OF_THIS_FEED
		"   ORDER BY b.first_position DESC LIMIT 1), 0) AND first_position" LE "$2 AND first_position IS NOT NULL AND ids IS NOT NULL AND " OF_THIS_FEED
		" ORDER BY first_position LIMIT $3",
		.nargs = 3, .argtypes = {INT8OID, INT8OID, INT8OID},
		.generic = true
	};
	int64		upto = Min(page->upto, after + most);
	Datum		values[3] = {Int64GetDatum(after + 1), Int64GetDatum(upto), Int64GetDatum(BLOCKS_AT_ONCE)};
	uint64		i;

	pointstore_execute(&plan, values, NULL, true);
	stretch->ranges = palloc(sizeof(IdRange) * BLOCK_RANGES * BLOCKS_AT_ONCE);
	stretch->positions = palloc(sizeof(int64) * BLOCK_RANGES * BLOCKS_AT_ONCE);
	for (i = 0; i < SPI_processed; i++)
	{
		FeedBlock	block;
		bool		isnull;

		block.first = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		block.nranges = pointstore_read_multirange(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull),
												   block.ranges, BLOCK_RANGES);
		block.nranges = Min(block.nranges, BLOCK_RANGES);
		add_block(stretch, &block, after, upto);
	}
	SPI_freetuptable(SPI_tuptable);
	return stretch->count > 0;
}

/* The part of a block that is between two positions. */
static void
add_block(Stretch *stretch, const FeedBlock *block, int64 after, int64 upto)
{
	int64		position = block->first;
	int			i;

	for (i = 0; i < block->nranges && position <= upto; i++)
	{
		IdRange		range = block->ranges[i];
		int64		count = range.upper - range.lower;

		position += count;
		if (position <= after + 1)
			continue;
		if (position - count <= after)
			range.lower = range.upper - (position - after - 1);
		if (position > upto + 1)
			range.upper -= position - upto - 1;
		stretch->ranges[stretch->n] = range;
		stretch->positions[stretch->n++] = Max(position - count, after + 1);
		stretch->count += range.upper - range.lower;
	}
}

/* Reads the events of a stretch. Whether the page is full then; else all of the stretch was looked at. */
static bool
read_stretch_events(FeedPage *page, const Stretch *stretch, MemoryContext context)
{
	Portal		cursor = open_cursor(page, stretch);
	bool		full = false;
	uint64		found = 0;
	int			range = 0;

	for (SPI_cursor_fetch(cursor, true, EVENTS_AT_ONCE); !full && SPI_processed > 0; SPI_cursor_fetch(cursor, true, EVENTS_AT_ONCE))
	{
		SPITupleTable *rows = SPI_tuptable;
		uint64		i;

		CHECK_FOR_INTERRUPTS();
		found += rows->numvals;
		if (page->desc == NULL)
			page->desc = describe_rows(rows->tupdesc, context);
		for (i = 0; !full && i < rows->numvals; i++)
		{
			bool		isnull;
			int64		position;

			range = Max(range, (int) DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, N_EVENT_COLUMNS + 1, &isnull)));
			position = position_in(stretch, &range, DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull)));
			if (position > 0)
				full = keep(page, context, rows->vals[i], position);
		}
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(cursor);
	if (found == 0)
		refuse_rewritten();
	if (!full)
		page->read_to = stretch->positions[stretch->n - 1] + stretch->ranges[stretch->n - 1].upper - stretch->ranges[stretch->n - 1].lower - 1;
	return full;
}

/*
 * 40001 where ALTER TABLE has written the table of events anew since the active snapshot was taken: to that it is empty, and
 * whoever reads the feed would pass over all that is there.
 */
static void
refuse_rewritten(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pg_catalog.pg_class c WHERE c.oid" EQ "CAST(CAST('pointstore.event_store' AS pg_catalog.regclass) AS pg_catalog.oid)"
		" AND c.relfilenode" EQ "pg_catalog.pg_relation_filenode(CAST(c.oid AS pg_catalog.regclass))"
	};

	pointstore_execute(&plan, NULL, NULL, true);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent rewrite of table \"pointstore.event_store\"")));
}

/* The columns of the rows, without the last, which is not the store's. */
static TupleDesc
describe_rows(TupleDesc found, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	TupleDesc	desc = CreateTemplateTupleDesc(N_EVENT_COLUMNS);
	AttrNumber	att;

	for (att = 1; att <= N_EVENT_COLUMNS; att++)
		TupleDescCopyEntry(desc, att, found, att);
	MemoryContextSwitchTo(old);
	return desc;
}

/* The events of a stretch that pass the filter, in order of position, with some between them that are not of it. */
static Portal
open_cursor(const FeedPage *page, const Stretch *stretch)
{
	static PointstorePlan plan = {
		.sql = "SELECT " FEED_EVENT_COLUMNS ", s.range"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS s(lower, upper, range),"
		" LATERAL (SELECT * FROM pointstore.event_store v WHERE v.id" GE "s.lower AND v.id" LT "s.upper"
		"   AND ($4 IS NULL OR v.event_type" EQ "ANY ($4)) AND ($5 IS NULL OR pg_catalog.starts_with(v.aggregate_id, $5))"
		"   ORDER BY v.id OFFSET 0) AS e",
		.nargs = 5, .argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTOID},
		.generic = true
	};
	Datum	   *lowers = palloc(sizeof(Datum) * stretch->n);
	Datum	   *uppers = palloc(sizeof(Datum) * stretch->n);
	Datum	   *firsts = palloc(sizeof(Datum) * stretch->n);
	Datum		values[5] = {0, 0, 0, page->event_types, page->prefix};
	char		nulls[] = "     ";
	int			near_by = pointstore_here().is_range ? NEAR_BY_IN_SHARD : NEAR_BY;
	int			n = 0;
	int			i;

	for (i = 0; i < stretch->n; i++)
	{
		const IdRange *range = &stretch->ranges[i];

		if (i == 0 || range->lower < range[-1].upper || range->lower - range[-1].upper > near_by)
		{
			lowers[n] = Int64GetDatum(range->lower);
			firsts[n++] = Int64GetDatum(i);
		}
		uppers[n - 1] = Int64GetDatum(range->upper);
	}
	values[0] = number_array(lowers, n);
	values[1] = number_array(uppers, n);
	values[2] = number_array(firsts, n);
	nulls[3] = page->event_types == 0 ? 'n' : ' ';
	nulls[4] = page->prefix == 0 ? 'n' : ' ';
	return SPI_cursor_open(NULL, pointstore_prepare(&plan)->plan, values, nulls, true);
}

static Datum
number_array(Datum *numbers, int n)
{
	return PointerGetDatum(construct_array(numbers, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The position of an id, which is not below the range that the last one was in; 0: it is between the ranges. */
static int64
position_in(const Stretch *stretch, int *range, int64 id)
{
	while (*range < stretch->n && stretch->ranges[*range].upper <= id)
		(*range)++;
	if (*range == stretch->n || stretch->ranges[*range].lower > id)
		return 0;
	return stretch->positions[*range] + id - stretch->ranges[*range].lower;
}

/* Puts an event on the page, if it is wanted. Whether the page is full then, and read to there. */
static bool
keep(FeedPage *page, MemoryContext context, HeapTuple row, int64 position)
{
	MemoryContext old;
	FeedEvent	event = {.position = position, .row = row};

	if (page->wants != NULL && !page->wants(&event, page->desc, page->arg))
		return false;
	old = MemoryContextSwitchTo(context);
	pointstore_add_event(page, row, position);
	MemoryContextSwitchTo(old);
	page->read_to = position;
	return page->nevents >= page->max_events || page->bytes >= PAGE_BYTES;
}

/* Puts a copy of an event on the page, in the memory that is current. */
void
pointstore_add_event(FeedPage *page, HeapTuple row, int64 position)
{
	if (page->nevents == page->room)
	{
		page->room = Max(64, 2 * page->room);
		page->events = page->events == NULL ? palloc(sizeof(FeedEvent) * page->room) :
			repalloc(page->events, sizeof(FeedEvent) * page->room);
	}
	page->events[page->nevents].row = heap_copytuple(row);
	page->events[page->nevents++].position = position;
	page->bytes += pointstore_event_bytes(row, page->desc);
}

/* Bytes of an event, with those that are not in its row. */
Size
pointstore_event_bytes(HeapTuple row, TupleDesc desc)
{
	static const int columns[] = {EV_PAYLOAD, EV_METADATA};
	Size		bytes = row->t_len;
	int			i;

	for (i = 0; HeapTupleHasExternal(row) && i < lengthof(columns); i++)
	{
		bool		isnull;
		Datum		value = heap_getattr(row, columns[i] + 1, desc, &isnull);

		if (!isnull && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
			bytes += toast_raw_datum_size(value);
	}
	return bytes;
}
