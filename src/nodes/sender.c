/*-------------------------------------------------------------------------
 *
 * src/nodes/sender.c
 *		Stores whose movements this one takes part in: who speaks for them, and in which incarnation.
 *
 * The first message of a store binds the role that it comes from to it: one role speaks for one store, and nobody else
 * for that one. The row keeps the newest incarnation of the store that was heard of, and below which number its
 * movements have finished. A message of an earlier incarnation is refused: the coordinator that sends it
 * was restored elsewhere, or another was promoted, and decides nothing any more.
 *
 * Of a distributed store every node has the rows, and Citus writes them on all, when a store begins to speak or begins a new
 * incarnation, and not now and then besides: so nothing is known of what has finished, and its tombstones stay.
 *
 * Locks: the row, where it is written. That is not with every message, nor by a transaction that is to be prepared:
 * that would keep all others from writing it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/placed.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "nodes/participant_row.h"
#include "nodes/sender.h"

/* What the row says of a message. */
typedef enum SenderFound
{
	SENDER_KNOWN,
	SENDER_NEWS,				/* the row is to be written */
	SENDER_RAISED,				/* the same: a new incarnation */
	SENDER_NEW					/* there is none */
} SenderFound;

static SenderFound find_sender(const PartOrigin *origin, const char *role, text *name);
pg_noreturn static void refuse_role(const PartOrigin *origin, const char *role, const char *bound);
static void insert_sender(const PartOrigin *origin, const char *role, text *name);
pg_noreturn static void refuse_other_store(const PartOrigin *origin, const char *role);
static void update_sender(const PartOrigin *origin, const char *role, text *name);
static char *store_name(const PartOrigin *origin);

/*
 * Learns what a call says of the store that it comes from: 42501 for another role than the one it began with,
 * or one that speaks for another store; 55000 for an incarnation that is over, and where a
 * transaction that is to be prepared is the first to speak.
 */
void
pointstore_know_sender(const PartOrigin *origin, const char *role, text *name, bool prepares)
{
	SenderFound found = find_sender(origin, role, name);

	if (prepares && found >= SENDER_RAISED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("store %s has not spoken in incarnation %lld yet", store_name(origin), (long long) origin->incarnation),
				 errdetail("A transaction that is to be prepared does not introduce it: a call without messages does.")));
	if (found == SENDER_NEW)
	{
		insert_sender(origin, role, name);
		found = find_sender(origin, role, name);
		if (found == SENDER_NEW)
			refuse_other_store(origin, role);
	}
	if (found == SENDER_KNOWN || prepares || (found == SENDER_NEWS && pointstore_is_distributed()))
		return;
	update_sender(origin, role, name);
	if (found == SENDER_NEWS)
		pointstore_prune_tombstones(origin);
}

/* What is known of a store. */
static SenderFound
find_sender(const PartOrigin *origin, const char *role, text *name)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(role AS pg_catalog.text), CAST(incarnation AS pg_catalog.int8),"
		" role IS NULL OR coalesce(heard_at" LT "(pg_catalog.clock_timestamp()" MINUS "CAST('10 s' AS pg_catalog.interval)), true)"
		" OR (heard_at" LT "(pg_catalog.clock_timestamp()" MINUS "CAST('1 s' AS pg_catalog.interval))"
		"  AND (finished_incarnation" LT "$2 OR (finished_incarnation" EQ "$2 AND finished_below" LT "$3)))"
		" OR coalesce(name, '')" NE "coalesce($4, '')"
		" FROM pointstore.participant_origin WHERE origin" EQ "$1",
		.nargs = 4, .argtypes = {UUIDOID, INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', name == NULL ? 'n' : ' '};
	SenderFound found = SENDER_NEW;
	bool		isnull;

	values[0] = UUIDPGetDatum(origin->store);
	values[1] = Int64GetDatum(origin->below_incarnation);
	values[2] = Int64GetDatum(origin->below);
	values[3] = PointerGetDatum(name);
	(void) pointstore_push_snapshot();
	SPI_connect();
	pointstore_execute_rules(&plan, values, nulls, false);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *bound = SPI_getvalue(row, desc, 1);
		PartOrigin	known = *origin;

		known.known = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		if (bound != NULL && strcmp(bound, role) != 0)
			refuse_role(origin, role, bound);
		if (known.known > origin->incarnation)
			pointstore_refuse_fenced(&known);
		found = bound == NULL || known.known < origin->incarnation ? SENDER_RAISED :
			DatumGetBool(SPI_getbinval(row, desc, 3, &isnull)) && !isnull ? SENDER_NEWS : SENDER_KNOWN;
	}
	SPI_finish();
	PopActiveSnapshot();
	return found;
}

/* 42501 */
static void
refuse_role(const PartOrigin *origin, const char *role, const char *bound)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" does not speak for store %s", role, store_name(origin)),
			 errdetail("Role \"%s\" does, which its first message came from.", bound),
			 errhint("Where another is to, the store's owner sets participant_origin.role to null.")));
}

/* 55000: a message of an incarnation that is over. */
void
pointstore_refuse_fenced(const PartOrigin *origin)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("incarnation %lld of store %s is over: it has been heard of in incarnation %lld",
					(long long) origin->incarnation, store_name(origin), (long long) origin->known),
			 errdetail("The store was restored, promoted or copied: only what it is now decides about its movements.")));
}

/* Unless another session does, or the role speaks for another store. */
static void
insert_sender(const PartOrigin *origin, const char *role, text *name)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.participant_origin (origin, role, name, incarnation, finished_incarnation, finished_below, heard_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
		.nargs = 7, .argtypes = {UUIDOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}, .spans_nodes = true
	};
	Datum		values[7];
	char		nulls[7] = {' ', ' ', name == NULL ? 'n' : ' ', ' ', ' ', ' ', ' '};

	values[0] = UUIDPGetDatum(origin->store);
	values[1] = CStringGetTextDatum(role);
	values[2] = PointerGetDatum(name);
	values[3] = Int64GetDatum(origin->incarnation);
	values[4] = Int64GetDatum(origin->below_incarnation);
	values[5] = Int64GetDatum(origin->below);
	values[6] = TimestampTzGetDatum(GetCurrentTimestamp());
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	SPI_finish();
}

/* 42501: the role speaks for another store already. */
static void
refuse_other_store(const PartOrigin *origin, const char *role)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" does not speak for store %s", role, store_name(origin)),
			 errdetail("It speaks for another store: one role speaks for one.")));
}

/* What is newer than the row, unless another session has written what is newer still. */
static void
update_sender(const PartOrigin *origin, const char *role, text *name)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.participant_origin SET role = $2, name = $3, incarnation = greatest(incarnation, $4),"
		" finished_below = CASE WHEN finished_incarnation" LT "$5 THEN $6 WHEN finished_incarnation" EQ "$5 THEN greatest(finished_below, $6)"
		"  ELSE finished_below END,"
		" finished_incarnation = greatest(finished_incarnation, $5), heard_at = $7"
		" WHERE origin" EQ "$1 AND coalesce(role, $2)" EQ "$2",
		.nargs = 7, .argtypes = {UUIDOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}, .spans_nodes = true
	};
	Datum		values[7];
	char		nulls[7] = {' ', ' ', name == NULL ? 'n' : ' ', ' ', ' ', ' ', ' '};

	values[0] = UUIDPGetDatum(origin->store);
	values[1] = CStringGetTextDatum(role);
	values[2] = PointerGetDatum(name);
	values[3] = Int64GetDatum(origin->incarnation);
	values[4] = Int64GetDatum(origin->below_incarnation);
	values[5] = Int64GetDatum(origin->below);
	values[6] = TimestampTzGetDatum(GetCurrentTimestamp());
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" does not speak for store %s", role, store_name(origin))));
	SPI_finish();
}

static char *
store_name(const PartOrigin *origin)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(origin->store)));
}
