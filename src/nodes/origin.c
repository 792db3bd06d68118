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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "ground/compat.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "nodes/origin.h"

static bool read_store(StoreIdentity *identity, Datum *place);
static void begin_incarnation(Datum *place);

/* This store's name and incarnation. The caller acts as the owner. 55000: there is no row that says so. */
void
pointstore_know_store(StoreIdentity *identity)
{
	Datum		place[3];

	memset(identity, 0, sizeof(StoreIdentity));
	place[0] = CStringGetTextDatum(psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	place[1] = Int32GetDatum((int32) pointstore_timeline());
	place[2] = Int64GetDatum(MyDatabaseId);
	if (read_store(identity, place))
		return;
	if (!RecoveryInProgress())
	{
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

/* Whether the store is where it was. */
static bool
read_store(StoreIdentity *identity, Datum *place)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(store AS pg_catalog.uuid), CAST(incarnation AS pg_catalog.int8) FROM pointstore.movement_store"
		" WHERE only_one AND system_identifier" EQ "$1 AND timeline" EQ "$2 AND database" EQ "$3"
		" AND store IS NOT NULL AND incarnation IS NOT NULL LIMIT 1",
		.nargs = 3, .argtypes = {TEXTOID, INT4OID, INT8OID}
	};
	bool		found;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, place, NULL, false);
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

/* For messages. */
char *
pointstore_store_name(const StoreIdentity *identity)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&identity->store)));
}
