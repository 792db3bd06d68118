/*-------------------------------------------------------------------------
 *
 * src/ground/placement.c
 *		Where Citus has placed the shards of a distributed store.
 *
 * Read from Citus' catalogs, which superusers alone can write, and never from its C
 * functions. Who is about to write a shard holds Citus' metadata lock before it reads them (shard.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "ground/placement.h"
#include "ground/plan.h"
#include "ground/sql.h"

static void execute_now(PointstorePlan *plan, Datum *values);
static void fill_placements(PointstorePlacements *map, Oid schema);
static void fill_range(PointstorePlacement *range, int index, HeapTuple row, TupleDesc desc);
static Oid	shard_relation(Oid schema, PointstoreTableId table, int64 shard);
static int64 number(HeapTuple row, TupleDesc desc, int column);

/* Whether Citus has distributed the table of events. */
bool
pointstore_have_placements(Oid events)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pg_catalog.pg_dist_partition p WHERE p.logicalrelid" EQ "CAST($1 AS pg_catalog.regclass)",
		.nargs = 1,
		.argtypes = {OIDOID},
		.spans_nodes = true
	};
	Datum		value = ObjectIdGetDatum(events);
	bool		found;

	if (!OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE)))
		return false;
	SPI_connect();
	execute_now(&plan, &value);
	found = SPI_processed > 0;
	SPI_finish();
	return found;
}

/* What is read is what is committed by now, whatever snapshot the transaction goes on with. */
static void
execute_now(PointstorePlan *plan, Datum *values)
{
	PushActiveSnapshot(GetLatestSnapshot());
	pointstore_execute(plan, values, NULL, true);
	PopActiveSnapshot();
}

/* The shards of the table of events and of those colocated with it, with their relations where they are here; 55000 where there are none. */
PointstorePlacements *
pointstore_load_placements(MemoryContext context, Oid schema)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(s.shardminvalue AS pg_catalog.int4), CAST(s.shardmaxvalue AS pg_catalog.int4),"
		"  CAST(l.groupid AS pg_catalog.int8), CAST(p.groupid AS pg_catalog.int8), CAST(t.colocationid AS pg_catalog.int8), s.shardid"
		" FROM pg_catalog.pg_dist_partition t JOIN pg_catalog.pg_dist_shard s ON s.logicalrelid" EQ "t.logicalrelid"
		"  JOIN pg_catalog.pg_dist_placement p ON p.shardid" EQ "s.shardid, pg_catalog.pg_dist_local_group l"
		" WHERE t.logicalrelid" EQ "CAST('pointstore.event_store' AS pg_catalog.regclass) AND p.shardstate" EQ "1"
		" ORDER BY 1",
		.spans_nodes = true
	};
	PointstorePlacements *map;
	int			i;

	SPI_connect();
	execute_now(&plan, NULL);
	map = MemoryContextAllocZero(context, offsetof(PointstorePlacements, ranges) + sizeof(PointstorePlacement) * SPI_processed);
	map->n = SPI_processed;
	for (i = 0; i < map->n; i++)
		fill_range(&map->ranges[i], i, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	if (map->n == 0)
		pointstore_refuse_lack("shards of table", "event_store");
	map->node = number(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	map->colocation = number(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5);
	fill_placements(map, schema);
	SPI_finish();
	return map;
}

static void
fill_range(PointstorePlacement *range, int index, HeapTuple row, TupleDesc desc)
{
	range->index = index;
	range->min = number(row, desc, 1);
	range->max = number(row, desc, 2);
	range->node = number(row, desc, 4);
	range->shard_number = number(row, desc, 6);
}

/* The shards that are here, of all tables: those of a colocated table come in the order of its ranges, those of a reference table are for all. */
static void
fill_placements(PointstorePlacements *map, Oid schema)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(t.place AS pg_catalog.int4)" MINUS "1, s.shardid, CASE WHEN s.shardminvalue IS NULL THEN -1 ELSE"
		"   CAST(pg_catalog.rank() OVER (PARTITION BY t.place ORDER BY CAST(s.shardminvalue AS pg_catalog.int4)) AS pg_catalog.int4)" MINUS "1 END"
		" FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY t (name, place)"
		"  JOIN pg_catalog.pg_dist_shard s ON s.logicalrelid" EQ "pg_catalog.to_regclass('pointstore.' OPERATOR(pg_catalog.||) t.name)",
		.nargs = 1,
		.argtypes = {TEXTARRAYOID},
		.spans_nodes = true
	};
	Datum		names[N_PLACED_TABLES];
	Datum		value;
	uint64		row;
	int			i;

	for (i = 0; i < N_PLACED_TABLES; i++)
		names[i] = CStringGetTextDatum(pointstore_table_names[i]);
	value = PointerGetDatum(construct_array(names, N_PLACED_TABLES, TEXTOID, -1, false, TYPALIGN_INT));
	execute_now(&plan, &value);
	for (row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		PointstoreTableId table = number(tuple, SPI_tuptable->tupdesc, 1);
		int64		shard = number(tuple, SPI_tuptable->tupdesc, 2);
		int64		range = number(tuple, SPI_tuptable->tupdesc, 3);
		Oid			relid = range < 0 || (range < map->n && map->ranges[range].node == map->node) ?
			shard_relation(schema, table, shard) : InvalidOid;

		for (i = range < 0 ? 0 : range; i < (range < 0 ? map->n : Min(range + 1, map->n)); i++)
			map->ranges[i].relids[table] = relid;
	}
}

/* The table that Citus has made for a shard. */
static Oid
shard_relation(Oid schema, PointstoreTableId table, int64 shard)
{
	return get_relname_relid(psprintf("%s_%lld", pointstore_table_names[table], (long long) shard), schema);
}

/* A number of whatever width, which is not null. */
static int64
number(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return TupleDescAttr(desc, column - 1)->atttypid == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

/* Puts the relations of the rules, which every node has, in their places. */
void
pointstore_rules_here(const PointstorePlacements *map, Oid *relids)
{
	static const PointstoreTableId rules[] = {TABLE_ACCOUNT_KIND, TABLE_TRANSITION};
	int			i;

	for (i = 0; i < lengthof(rules); i++)
		if (OidIsValid(map->ranges[0].relids[rules[i]]))
			relids[rules[i]] = map->ranges[0].relids[rules[i]];
}

/* The range that a hash is in. */
PointstorePlacement *
pointstore_placement_of_hash(PointstorePlacements *map, int32 hash)
{
	int			low = 0;
	int			high = map->n - 1;

	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (map->ranges[middle].min <= hash)
			low = middle;
		else
			high = middle - 1;
	}
	return &map->ranges[low];
}

/* The range of a shard of event_store; NULL: there is none of that number. */
PointstorePlacement *
pointstore_placement_of_shard(PointstorePlacements *map, int64 shard)
{
	int			i;

	for (i = 0; i < map->n; i++)
		if (map->ranges[i].shard_number == shard)
			return &map->ranges[i];
	return NULL;
}

/* The range that a relation has the rows of, as that table of the store; NULL where it is none of these. */
PointstorePlacement *
pointstore_placement_of_relation(PointstorePlacements *map, Oid relid, PointstoreTableId table)
{
	int			i;

	for (i = 0; i < map->n; i++)
		if (map->ranges[i].relids[table] == relid)
			return &map->ranges[i];
	return NULL;
}

/* A relation has changed: what was looked up of it is to be looked up anew. Pointers there are good to the end of the transaction. */
void
pointstore_forget_placed(PointstorePlacements *map, Oid relid)
{
	int			i;
	int			table;

	for (i = 0; i < map->n; i++)
		for (table = 0; map->ranges[i].shard != NULL && table < N_STORE_TABLES; table++)
			if (map->ranges[i].relids[table] == relid)
				map->ranges[i].shard = NULL;
}

/* Whether this session is one that Citus has from another node, or from this one, for a part of what was asked there. */
bool
pointstore_is_sent_by_citus(void)
{
	static const char internal[] = "citus_internal";

	return strncmp(application_name, internal, strlen(internal)) == 0;
}

/* A node as its clients call it. */
char *
pointstore_node_name(int32 node)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.format('%s:%s', n.nodename, n.nodeport) FROM pg_catalog.pg_dist_node n"
		" WHERE n.groupid" EQ "$1 AND n.noderole" EQ "'primary'",
		.nargs = 1,
		.argtypes = {INT4OID},
		.spans_nodes = true
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = Int32GetDatum(node);
	char	   *name = NULL;

	SPI_connect();
	execute_now(&plan, &value);
	if (SPI_processed > 0)
		name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	name = MemoryContextStrdup(context, name != NULL ? name : "an unknown node");
	SPI_finish();
	return name;
}
