/*-------------------------------------------------------------------------
 *
 * src/feed/block.c
 *		Rows of feed_block: which ids have which positions.
 *
 * A block holds the events whose id is in its ranges, in order of id; positions count on
 * through it. Only the last block grows, and only by ids above its highest, so a position
 * that was given never moves. It is sealed when it grows no more: at 100 ranges, at 4,096 events,
 * or when a lower id has to begin another.
 *
 * What is here acts as the owner, inside an SPI connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/multirangetypes.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "feed/block.h"
#include "ground/compat.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"

#define INSERT_BLOCK(columns, more) \
"INSERT INTO pointstore.feed_block (first_position, last_position, ids, sealed, settled_below, at" columns ")" \
" VALUES ($1, $2, $3, $4, $5, pg_catalog.clock_timestamp()" more ")"

#define UPDATE_BLOCK(more) \
"UPDATE pointstore.feed_block SET last_position = $2, ids = $3, sealed = $4, settled_below = $5," \
" at = pg_catalog.clock_timestamp()" more " WHERE first_position" EQ "$1 AND last_position" EQ "$6 AND " OF_THIS_FEED

static Datum multirange_of(const IdRange *ranges, int n);
static RangeType *make_id_range(TypeCacheEntry *type, const IdRange *range);
static bool grow(FeedBlock *block, int64 id);
static void seal(FeedBlock *block);
static void write_block(FeedBlock *block, int64 settled_below, const Incarnation *incarnation);

/* Ranges, ascending and apart, as an int8multirange. */
static Datum
multirange_of(const IdRange *ranges, int n)
{
	TypeCacheEntry *type = lookup_type_cache(INT8RANGEOID, TYPECACHE_RANGE_INFO);
	RangeType **parts = palloc(sizeof(RangeType *) * (n + 1));
	int			i;

	for (i = 0; i < n; i++)
		parts[i] = make_id_range(type, &ranges[i]);
	return MultirangeTypePGetDatum(make_multirange(INT8MULTIRANGEOID, type, n, parts));
}

static RangeType *
make_id_range(TypeCacheEntry *type, const IdRange *range)
{
	RangeBound	lower = {.val = Int64GetDatum(range->lower), .inclusive = true, .lower = true};
	RangeBound	upper = {.val = Int64GetDatum(range->upper)};

	return pointstore_make_range(type, &lower, &upper);
}

/*
 * The ranges of an int8multirange, as many as there is room for; returns how many it has. An
 * endless one, which we do not write, ends where ids do.
 */
int
pointstore_read_multirange(Datum multirange, IdRange *ranges, int room)
{
	TypeCacheEntry *type = lookup_type_cache(INT8RANGEOID, TYPECACHE_RANGE_INFO);
	RangeType **parts;
	int32		n;
	int			i;

	multirange_deserialize(type, DatumGetMultirangeTypeP(multirange), &n, &parts);
	for (i = 0; i < n && i < room; i++)
	{
		RangeBound	lower;
		RangeBound	upper;
		bool		empty;

		range_deserialize(type, parts[i], &lower, &upper, &empty);
		ranges[i].lower = lower.infinite ? PG_INT64_MIN : DatumGetInt64(lower.val);
		ranges[i].upper = upper.infinite ? PG_INT64_MAX : DatumGetInt64(upper.val);
	}
	return n;
}

/* The last block, and below which id everything has a position or never will. */
void
pointstore_read_last_block(FeedBlock *block, int64 *settled_below)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(first_position AS pg_catalog.int8), 0), coalesce(CAST(last_position AS pg_catalog.int8), 0),"
		" coalesce(CAST(ids AS pg_catalog.int8multirange), '{}'), coalesce(CAST(sealed AS pg_catalog.bool), true),"
		" coalesce(CAST(settled_below AS pg_catalog.int8), 0)"
		"  FROM pointstore.feed_block WHERE " OF_THIS_FEED " ORDER BY first_position DESC LIMIT 1"
	};
	bool		isnull;

	memset(block, 0, sizeof(*block));
	*settled_below = PG_INT64_MIN;
	pointstore_execute(&plan, NULL, NULL, false);
	if (SPI_processed == 0)
		return;
	block->first = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	block->last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	block->nranges = pointstore_read_multirange(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull),
												block->ranges, BLOCK_RANGES);
	block->nranges = Min(block->nranges, BLOCK_RANGES);
	block->sealed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull)) ||
		block->nranges == BLOCK_RANGES;
	block->stored = true;
	block->stored_last = block->last;
	*settled_below = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &isnull));
	SPI_freetuptable(SPI_tuptable);
}

/* Gives these ids, ascending, the next positions; block is the last one, and becomes what is then the last one. */
void
pointstore_write_positions(FeedBlock *block, const Ids *ids, int64 settled_below, const Incarnation *incarnation)
{
	int			i;

	for (i = 0; i < ids->n; i++)
	{
		if (grow(block, ids->id[i]))
			continue;
		if (block->first > 0)
		{
			block->sealed = true;
			write_block(block, settled_below, incarnation);
		}
		block->first = Max(block->last, 0) + 1;
		block->last = block->first - 1;
		block->nranges = 0;
		block->sealed = block->stored = false;
		(void) grow(block, ids->id[i]);
	}
	write_block(block, settled_below, incarnation);
}

/* Puts an id at the end of a block; false: it does not go there. */
static bool
grow(FeedBlock *block, int64 id)
{
	IdRange    *last = block->nranges > 0 ? &block->ranges[block->nranges - 1] : NULL;

	if (block->first == 0 || block->sealed || (last != NULL && id < last->upper))
		return false;
	if (last != NULL && id == last->upper)
		last->upper++;
	else
	{
		block->ranges[block->nranges].lower = id;
		block->ranges[block->nranges++].upper = id + 1;
	}
	block->last++;
	seal(block);
	return true;
}

static void
seal(FeedBlock *block)
{
	block->sealed = block->nranges == BLOCK_RANGES || block->last - block->first + 1 >= BLOCK_EVENTS;
}

/* A row that is not as it was left is not written. */
static void
write_block(FeedBlock *block, int64 settled_below, const Incarnation *incarnation)
{
	static PointstorePlan insert = {
		.sql = INSERT_BLOCK("", ""),
		.nargs = 5, .argtypes = {INT8OID, INT8OID, INT8MULTIRANGEOID, BOOLOID, INT8OID},
		.generic = true
	};
	static PointstorePlan update = {
		.sql = UPDATE_BLOCK(""),
		.nargs = 6, .argtypes = {INT8OID, INT8OID, INT8MULTIRANGEOID, BOOLOID, INT8OID, INT8OID},
		.generic = true
	};
	static PointstorePlan insert_in_shard = {
		.sql = INSERT_BLOCK(", incarnation, server, place", ", $7, $8, $9"),
		.nargs = 9, .argtypes = {INT8OID, INT8OID, INT8MULTIRANGEOID, BOOLOID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID},
		.generic = true
	};
	static PointstorePlan update_in_shard = {
		.sql = UPDATE_BLOCK(", incarnation = $7, server = $8"),
		.nargs = 8, .argtypes = {INT8OID, INT8OID, INT8MULTIRANGEOID, BOOLOID, INT8OID, INT8OID, TEXTOID, TEXTOID},
		.generic = true
	};
	Datum		values[9] = {Int64GetDatum(block->first), Int64GetDatum(block->last),
		multirange_of(block->ranges, block->nranges), BoolGetDatum(block->sealed), Int64GetDatum(settled_below),
	Int64GetDatum(block->stored_last)};

	if (incarnation != NULL)
	{
		values[6] = CStringGetTextDatum(incarnation->given);
		values[7] = CStringGetTextDatum(incarnation->server);
		values[8] = PointerGetDatum(pointstore_name_of_feed());
		pointstore_execute(block->stored ? &update_in_shard : &insert_in_shard, values, NULL, false);
	}
	else
		pointstore_execute(block->stored ? &update : &insert, values, NULL, false);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("block %lld of the feed could not be written", (long long) block->first),
				 errhint("What is on table pointstore.feed_block keeps its rows from being written, or they were changed by hand: feed_check() tells which.")));
	block->stored = true;
	block->stored_last = block->last;
}

/* Notes how far the feed is settled, where no position is given. */
void
pointstore_write_settled(const FeedBlock *block, int64 settled_below)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.feed_block SET settled_below = $2 WHERE first_position" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 2, .argtypes = {INT8OID, INT8OID},
		.generic = true
	};
	Datum		values[2] = {Int64GetDatum(block->first), Int64GetDatum(settled_below)};

	pointstore_execute(&plan, values, NULL, false);
}

/*
 * Whose the feed of the shard is where we stay. It goes where its shard goes: another server is that to which it has moved. The same one on another
 * timeline was promoted, or restored, and gives anew what was lost.
 */
void
pointstore_read_incarnation(Incarnation *incarnation)
{
	static PointstorePlan plan = {
		.sql = "SELECT incarnation, server FROM pointstore.feed_block WHERE " OF_THIS_FEED " ORDER BY first_position DESC LIMIT 1"
	};
	char		system[32];
	char	   *given = NULL;
	char	   *server = NULL;

	snprintf(system, sizeof(system), UINT64_FORMAT "/", GetSystemIdentifier());
	snprintf(incarnation->server, sizeof(incarnation->server), "%s%u", system, pointstore_timeline());
	pointstore_execute(&plan, NULL, NULL, true);
	if (SPI_processed > 0)
	{
		given = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		server = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	}
	if (given == NULL || server == NULL || (strncmp(server, system, strlen(system)) == 0 && strcmp(server, incarnation->server) != 0))
		given = incarnation->server;
	strlcpy(incarnation->given, given, sizeof(incarnation->given));
}
