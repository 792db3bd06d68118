/*-------------------------------------------------------------------------
 *
 * src/nodes/origin.c
 *		Who this store is to others: its name, which a copy of it has too, and its incarnation, which no copy has.
 *
 * The row of movement_store says in which cluster, on which timeline and in which database the store was when it last
 * looked. Where it is not there any more it was restored, promoted or copied, and a new incarnation begins, before anything
 * is sent or started: participants refuse what earlier ones send. Its number is one more, or what the clock says in
 * microseconds, whichever is larger: so two copies of one backup have different ones.
 *
 * The row's lock, which its update takes, keeps two sessions from beginning an incarnation each.
 *
 * A distributed store is one store to others. It has a row for each node, and so each node has all of them; its incarnation is the
 * highest. A node that is not where it was begins a new one of the store; one that is new joins that which there is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/placed.h"
#include "ground/placement.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "nodes/origin.h"

static bool read_store(StoreIdentity *identity, Datum *place);
static bool begin_of_node(StoreIdentity *identity, Datum *place);
static void begin_incarnation(Datum *place);

/* This store's name and incarnation. The caller acts as the owner. 55000: there is no row that says so. */
void
pointstore_know_store(StoreIdentity *identity)
{
	Datum		place[4];

	memset(identity, 0, sizeof(StoreIdentity));
	place[0] = CStringGetTextDatum(psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	place[1] = Int32GetDatum((int32) pointstore_timeline());
	place[2] = Int64GetDatum(MyDatabaseId);
	place[3] = Int32GetDatum(pointstore_is_distributed() ? pointstore_store()->placements->node : 0);
	if (read_store(identity, place))
		return;
	if (pointstore_is_distributed() && pointstore_is_sent_by_citus())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no coordinator of movements has been on this node yet, or not since it was restored or promoted"),
				 errdetail_internal("node=%d", DatumGetInt32(place[3])),
				 errhint("pointstore.databases names the database on every node; or CALL pointstore.drive_movements() there.")));
	if (!RecoveryInProgress())
	{
		if (pointstore_is_distributed())
		{
			if (begin_of_node(identity, place))
				return;
		}
		else
			begin_incarnation(place);
		if (read_store(identity, place))
		{
			identity->is_new = true;
			return;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pointstore.movement_store does not say who this store is"),
			 errhint("It has one row. Restore it from a backup; where there is none, INSERT INTO pointstore.movement_store (store, incarnation, since) VALUES (gen_random_uuid(), 1, now());")));
}

/* Whether the store is where it was; of a distributed one, whether this node is. */
static bool
read_store(StoreIdentity *identity, Datum *place)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(store AS pg_catalog.uuid), CAST(incarnation AS pg_catalog.int8) FROM pointstore.movement_store"
		" WHERE only_one AND system_identifier" EQ "$1 AND timeline" EQ "$2 AND database" EQ "$3"
		" AND store IS NOT NULL AND incarnation IS NOT NULL LIMIT 1",
		.nargs = 3, .argtypes = {TEXTOID, INT4OID, INT8OID}
	};
	static PointstorePlan of_node = {
		.sql = "SELECT CAST(s.store AS pg_catalog.uuid), (SELECT CAST(pg_catalog.max(i.incarnation) AS pg_catalog.int8) FROM pointstore.movement_store i)"
		" FROM pointstore.movement_store s WHERE s.node" EQ "$4 AND s.system_identifier" EQ "$1 AND s.timeline" EQ "$2 AND s.database" EQ "$3"
		" AND s.store IS NOT NULL LIMIT 1",
		.nargs = 4, .argtypes = {TEXTOID, INT4OID, INT8OID, INT4OID}
	};
	bool		found;
	bool		isnull;

	SPI_connect();
	pointstore_execute_rules(pointstore_is_distributed() ? &of_node : &plan, place, NULL, false);
	found = SPI_processed > 0;
	if (found)
	{
		memcpy(&identity->store, DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)), UUID_LEN);
		identity->incarnation = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	return found;
}

/* Unless another session has meanwhile. */
static void
begin_incarnation(Datum *place)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.movement_store SET system_identifier = $1, timeline = $2, database = $3, since = pg_catalog.clock_timestamp(),"
		" incarnation = greatest(coalesce(incarnation, 0)" PLUS "1,"
		" CAST(extract(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000 AS pg_catalog.int8))"
		" WHERE only_one AND (system_identifier IS NULL OR system_identifier" NE "$1 OR timeline IS NULL OR timeline" NE "$2"
		" OR database IS NULL OR database" NE "$3)",
		.nargs = 3, .argtypes = {TEXTOID, INT4OID, INT8OID}
	};

	SPI_connect();
	pointstore_execute(&plan, place, NULL, false);
	SPI_finish();
}

/*
 * A node that has not been here before joins the store as it is, one that was elsewhere begins a new incarnation of it: its row is
 * written on all nodes. False: there is no store to join.
 */
static bool
begin_of_node(StoreIdentity *identity, Datum *place)
{
	static PointstorePlan read = {
		.sql = "SELECT CAST(s.store AS pg_catalog.uuid), CAST(pg_catalog.max(s.incarnation) OVER () AS pg_catalog.int8),"
		" pg_catalog.bool_or(s.node" EQ "$1 AND s.system_identifier IS NOT NULL) OVER () FROM pointstore.movement_store s WHERE s.store IS NOT NULL LIMIT 1",
		.nargs = 1, .argtypes = {INT4OID}
	};
	static PointstorePlan write = {
		.sql = "INSERT INTO pointstore.movement_store AS s (system_identifier, timeline, database, node, store, incarnation, since)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (node) DO UPDATE SET system_identifier = EXCLUDED.system_identifier,"
		" timeline = EXCLUDED.timeline, database = EXCLUDED.database, incarnation = EXCLUDED.incarnation, since = EXCLUDED.since",
		.nargs = 7, .argtypes = {TEXTOID, INT4OID, INT8OID, INT4OID, UUIDOID, INT8OID, TIMESTAMPTZOID}, .spans_nodes = true
	};
	TimestampTz now = GetCurrentTimestamp();
	Datum		values[7] = {place[0], place[1], place[2], place[3]};
	int			level = pointstore_pin_transaction();
	bool		found;
	bool		isnull;

	SPI_connect();
	pointstore_execute_rules(&read, &place[3], NULL, false);
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];

		memcpy(&identity->store, DatumGetUUIDP(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull)), UUID_LEN);
		identity->incarnation = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		identity->is_new = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		if (identity->is_new)
			identity->incarnation = Max(identity->incarnation + 1, now + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
		values[4] = UUIDPGetDatum(&identity->store);
		values[5] = Int64GetDatum(identity->incarnation);
		values[6] = TimestampTzGetDatum(now);
		pointstore_execute(&write, values, NULL, false);
	}
	SPI_finish();
	AtEOXact_GUC(true, level);
	return found;
}

/* For messages. */
char *
pointstore_store_name(const StoreIdentity *identity)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&identity->store)));
}
