/*-------------------------------------------------------------------------
 *
 * src/feed/heritage.c
 *		What a shard takes over of the subscriptions of the one that it was split from.
 *
 * Each shard of a distributed store has a subscription of its own: its definition, and its one slot. A split leaves the rows of the former shard to
 * one of those that come of it, where they change no more; the blocks of its feed are beside them. The others find
 * them there, wherever that is, when somebody first asks for the subscription. By the blocks they know what was delivered: as a set of ids, for
 * positions are others from now on. It need not say more than what the new feed has not in front of all that is still to be delivered.
 *
 * That is known when the new feed has come to all of these events: until then nothing is taken over, and so nothing claimed.
 * A claim of the former shard has ended. What it has delivered comes again when its lease is over, as if it had been lost.
 *
 * Accounts that are set aside are in the shard that they are in, and say in which version; where that is in the new feed is looked up. Their events
 * were passed over, and not delivered.
 *
 * One session takes over at a time, and none while the subscription is dropped: by a lock in memory that both keep until their transactions end. What
 * is taken over is not dropped meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "feed/decision.h"
#include "feed/heritage.h"
#include "feed/signal.h"
#include "feed/slot.h"
#include "feed/whose.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/twophase.h"

#define HERITAGE_LOCK_KIND 20	/* field of an advisory lock tag, which users' numbers do not reach */

#define LOWER(range) "pg_catalog.lower(" range ")"
#define UPPER(range) "pg_catalog.upper(" range ")"
#define BELOW(id) "pg_catalog.int8multirange(pg_catalog.int8range(NULL, " id "))"
#define BOTH " OPERATOR(pg_catalog.*) "
#define CONTAINS " OPERATOR(pg_catalog.@>) "
#define IDS_IN(ranges) "(SELECT coalesce(CAST(pg_catalog.sum(" UPPER("c.ids") MINUS LOWER("c.ids") ") AS pg_catalog.int8), 0) FROM pg_catalog.unnest(" ranges ") c (ids))"

PG_FUNCTION_INFO_V1(pointstore_subscription_heritage);
PG_FUNCTION_INFO_V1(pointstore_take_subscription_part);

/* What the former shard has left. */
typedef struct Legacy
{
	int64		width;			/* of its hashes: the narrower, the later it was split; 0: there was none */
	Datum		definition;		/* jsonb */
	Datum		passed;			/* int8multirange: ids of what was delivered, and of what never was */
} Legacy;

/* Where the slot of the new one begins. */
typedef struct Beginning
{
	int64		checkpoint;
	Datum		passed;			/* int8multirange: what was delivered of what comes after that */
	int64		upto;			/* position of the last of these; 0: none */
} Beginning;

static Datum take_here(FunctionCallInfo fcinfo);
static bool take(text *subscription, const Legacy *legacy);
static bool take_now(text *subscription, const Legacy *legacy);
static bool is_there(text *subscription);
static void find_legacy(Legacy *legacy, text *subscription, int32 min, int32 max);
static void ask_shard(Legacy *legacy, Datum *values, int64 shard);
static Datum heritage_here(FunctionCallInfo fcinfo);
static void require_own(text *subscription, text *role, Oid caller);
static bool read_beginning(Beginning *beginning, text *subscription, const Legacy *legacy);
static void insert_definition(const Legacy *legacy, const Beginning *beginning);
static void find_accounts(text *subscription);
static void insert_slot(text *subscription, const Legacy *legacy, const Beginning *beginning);

/* The place where we stay gets the subscription of that which it was split from. Another session that is at it is not waited for. */
Heritage
pointstore_take_heritage(text *subscription)
{
	PointstorePlace place = pointstore_here();
	Legacy		legacy = {0};

	if (!pointstore_lock_heritage(subscription, false))
		return HERITAGE_LATER;
	if (is_there(subscription))
		return HERITAGE_TAKEN;
	find_legacy(&legacy, subscription, place.min, place.max);
	return legacy.width == 0 ? HERITAGE_NONE : take(subscription, &legacy) ? HERITAGE_TAKEN : HERITAGE_LATER;
}

/* A shard that lacks a subscription gets it, wherever it is. */
Heritage
pointstore_bring_heritage(text *subscription, int64 shard)
{
	const PointstorePlacement *range = pointstore_placement_of_shard(pointstore_store()->placements, shard);
	Oid			types[3] = {TEXTOID, JSONBOID, INT8MULTIRANGEOID};
	Datum		values[3] = {PointerGetDatum(subscription)};
	Legacy		legacy = {0};
	bool		isnull;
	bool		taken;

	find_legacy(&legacy, subscription, range->min, range->max);
	if (legacy.width == 0)
		return HERITAGE_NONE;
	values[1] = legacy.definition;
	values[2] = legacy.passed;
	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT * FROM pointstore.take_subscription_part($1, $2, $3, %s)", quote_literal_cstr(text_to_cstring(pointstore_name_in_shard(shard)))),
							  3, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not have shard %lld take over subscription \"%s\"", (long long) shard, text_to_cstring(subscription));
	taken = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return taken ? HERITAGE_TAKEN : HERITAGE_LATER;
}

/* take_subscription_part(subscription, definition, passed, aggregate_id): in the shard of that account. */
Datum
pointstore_take_subscription_part(PG_FUNCTION_ARGS)
{
	int			i;

	pointstore_check_arguments(fcinfo, 4);
	for (i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("no argument must be null")));
	PreventCommandIfReadOnly("take_subscription_part()");
	pointstore_require_shards();
	return pointstore_call_of_anybody(fcinfo, take_here);
}

static Datum
take_here(FunctionCallInfo fcinfo)
{
	text	   *subscription = PG_GETARG_TEXT_PP(0);
	Legacy		legacy = {.definition = PG_GETARG_DATUM(1), .passed = PG_GETARG_DATUM(2)};

	/* whose it says it is the caller must be, or an operator */
	require_own(subscription, DatumGetTextPP(DirectFunctionCall2(jsonb_object_field_text, legacy.definition, CStringGetTextDatum("created_by"))), GetUserId());
	(void) pointstore_lock_heritage(subscription, true);
	return BoolGetDatum(is_there(subscription) || take(subscription, &legacy));
}

/* The rows of the subscription where we stay; false: it is too early. Of a split nobody tells the sequencer. */
static bool
take(text *subscription, const Legacy *legacy)
{
	return take_now(subscription, legacy) || (pointstore_sequencer_ask() && take_now(subscription, legacy));
}

static bool
take_now(text *subscription, const Legacy *legacy)
{
	Beginning	beginning;
	PointstoreScope scope;
	bool		taken;

	pointstore_act_as_reader(&scope);
	(void) pointstore_push_snapshot();
	SPI_connect();
	taken = read_beginning(&beginning, subscription, legacy);
	if (taken)
	{
		FeedDecision decision = {.action = "split", .subscription = subscription, .has_slot = true, .position = beginning.checkpoint};

		pointstore_note_written_here();
		insert_definition(legacy, &beginning);
		find_accounts(subscription);
		insert_slot(subscription, legacy, &beginning);
		pointstore_log_decision(&decision);
	}
	SPI_finish();
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
	return taken;
}

/* Nobody else takes the subscription over where we stay, nor drops it, until this transaction ends. False: somebody does. */
bool
pointstore_lock_heritage(text *subscription, bool wait)
{
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(subscription), VARSIZE_ANY_EXHDR(subscription));
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, hash, (uint32) pointstore_here().min, HERITAGE_LOCK_KIND);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Whether somebody else has done it, while he was waited for. */
static bool
is_there(text *subscription)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.subscription WHERE name" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(subscription);
	PointstoreScope scope;
	bool		found;

	pointstore_act_as_reader(&scope);
	(void) pointstore_push_snapshot();
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	found = SPI_processed > 0;
	SPI_finish();
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
	return found;
}

/* Asks every shard for what the latest has left of those that had all these hashes, and more. */
static void
find_legacy(Legacy *legacy, text *subscription, int32 min, int32 max)
{
	const PointstorePlacements *map = pointstore_store()->placements;
	int64	   *shards = palloc(sizeof(int64) * map->n);
	Datum		values[3] = {PointerGetDatum(subscription), Int32GetDatum(min), Int32GetDatum(max)};
	int			level = pointstore_pin_transaction();
	int			n = map->n;
	int			i;

	for (i = 0; i < n; i++)
		shards[i] = map->ranges[i].shard_number;
	for (i = 0; i < n; i++)
		ask_shard(legacy, values, shards[i]);
	pfree(shards);
	AtEOXact_GUC(true, level);
}

static void
ask_shard(Legacy *legacy, Datum *values, int64 shard)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[3] = {TEXTOID, INT4OID, INT4OID};
	char	   *sql = psprintf("SELECT * FROM pointstore.subscription_heritage($1, $2, $3, %s)",
							   quote_literal_cstr(text_to_cstring(pointstore_name_in_shard(shard))));

	SPI_connect();
	if (SPI_execute_with_args(sql, 3, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not ask shard %lld", (long long) shard);
	if (SPI_processed > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Datum		found[3];
		bool		nulls[3];

		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, found, nulls);
		if (legacy->width == 0 || DatumGetInt64(found[0]) < legacy->width)
			*legacy = (Legacy)
		{
			.width = DatumGetInt64(found[0]),
				.definition = PointerGetDatum(PG_DETOAST_DATUM_COPY(found[1])),
				.passed = PointerGetDatum(PG_DETOAST_DATUM_COPY(found[2]))
		};
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

/* subscription_heritage(subscription, min_hash, max_hash, aggregate_id): what is in that account's shard. */
Datum
pointstore_subscription_heritage(PG_FUNCTION_ARGS)
{
	int			i;

	pointstore_check_arguments(fcinfo, 4);
	for (i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("no argument must be null")));
	pointstore_require_shards();
	pointstore_materialize(fcinfo);
	return pointstore_call_of_anybody(fcinfo, heritage_here);
}

/*
 * What has a lower id than all that was not delivered was delivered; of what has none of these the blocks say it. Everything is committed there that
 * ever will be, but what is not below settled_below may have no position.
 */
static Datum
heritage_here(FunctionCallInfo fcinfo)
{
	static PointstorePlan plan = {
		.sql = "WITH p AS MATERIALIZED (SELECT s.place, s.passed, k.checkpoint, r.high" MINUS "r.low AS width, s.created_by,"
		"   (pg_catalog.to_jsonb(s) OPERATOR(pg_catalog.-) 'passed') OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('checkpoint', k.checkpoint,"
		"     'epoch', k.epoch, 'busy_until', k.leased_until, 'served_at', k.served_at) AS definition"
		"  FROM pointstore.subscription s JOIN pointstore.subscription_slot k ON k.subscription" EQ "s.name AND k.place" EQ "s.place AND k.slot" EQ "0,"
		"   LATERAL (SELECT CASE WHEN s.place OPERATOR(pg_catalog.~) '^-?[0-9]{1,10}[.][.]-?[0-9]{1,10}/'"
		"     THEN CAST(pg_catalog.string_to_array(pg_catalog.split_part(s.place, '/', 1), '..') AS pg_catalog._int8) END AS hashes) a,"
		"   LATERAL (SELECT a.hashes[1] AS low, a.hashes[2] AS high) r"
		"  WHERE s.name" EQ "$1 AND r.low" LE "$2 AND r.high" GE "$3 AND r.high" MINUS "r.low" GT "(CAST($3 AS pg_catalog.int8)" MINUS "$2)"
		"  ORDER BY r.high" MINUS "r.low LIMIT 1 FOR KEY SHARE OF s),"
		" b AS MATERIALIZED (SELECT f.first_position, f.last_position, f.ids, f.settled_below, p.checkpoint"
		"  FROM pointstore.feed_block f, p WHERE f.place" EQ "p.place),"
		" l AS (SELECT LEAST((SELECT pg_catalog.max(settled_below) FROM b),"
		"   (SELECT pg_catalog.min(" LOWER("ids") ") FROM b WHERE last_position" GT "checkpoint)) AS id),"
		" r AS (SELECT GREATEST(" LOWER("u.ids") ", l.id) AS low, LEAST(" UPPER("u.ids") ", " LOWER("u.ids") PLUS "b.checkpoint" PLUS "1" MINUS "b.first_position"
		"    " MINUS "CAST(coalesce(pg_catalog.sum(" UPPER("u.ids") MINUS LOWER("u.ids") ") OVER (PARTITION BY b.first_position ORDER BY " LOWER("u.ids")
		"      " " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS pg_catalog.int8)) AS high"
		"  FROM l, b, LATERAL pg_catalog.unnest(b.ids) u (ids) WHERE b.first_position" LE "b.checkpoint AND " UPPER("b.ids") GT "l.id)"
		" SELECT p.width, p.definition, CASE WHEN l.id IS NULL THEN '{}' ELSE " BELOW("l.id") " END"
		"   OPERATOR(pg_catalog.+) coalesce((SELECT pg_catalog.range_agg(pg_catalog.int8range(r.low, r.high)) FROM r WHERE r.low" LT "r.high), '{}')"
		"   OPERATOR(pg_catalog.+) coalesce(p.passed, '{}'), p.created_by FROM p, l",
		.nargs = 3, .argtypes = {TEXTOID, INT4OID, INT4OID}
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[4] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	Oid			caller = GetUserId();
	PointstoreScope scope;
	bool		nulls[4];

	pointstore_act_as_reader(&scope);
	(void) pointstore_push_snapshot();
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	if (SPI_processed > 0)
	{
		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
		require_own(PG_GETARG_TEXT_PP(0), DatumGetTextPP(values[3]), caller);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

static void
require_own(text *subscription, text *role, Oid caller)
{
	if (!pointstore_acts_for(role, caller))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for subscription \"%s\"", text_to_cstring(subscription))));
}

/* False: an event that was delivered before, or one that an account waits at, has no position in the new feed yet. */
static bool
read_beginning(Beginning *beginning, text *subscription, const Legacy *legacy)
{
	static PointstorePlan plan = {
		.sql = "WITH b AS MATERIALIZED (SELECT f.first_position, f.last_position, f.ids FROM pointstore.feed_block f WHERE " OF_THIS_FEED "),"
		" s AS (SELECT coalesce((SELECT b.first_position" MINUS "1" PLUS IDS_IN("b.ids" BOTH BELOW(LOWER("b.ids OPERATOR(pg_catalog.-) $1")))
		"     FROM b WHERE NOT (b.ids OPERATOR(pg_catalog.<@) $1) ORDER BY b.first_position LIMIT 1),"
		"   (SELECT pg_catalog.max(b.last_position) FROM b), 0) AS checkpoint),"
		" a AS (SELECT a.aggregate_id, a.version FROM pointstore.subscription_account a WHERE a.subscription" EQ "$2 AND a.slot" EQ "0),"
		" w AS (SELECT coalesce(pg_catalog.range_agg(pg_catalog.int8range(e.id, e.id, '[]')), '{}') AS ids"
		"   FROM a JOIN pointstore.event_store e ON e.aggregate_id" EQ "a.aggregate_id AND e.version" GE "a.version)"
		" SELECT s.checkpoint, p.ids OPERATOR(pg_catalog.-) w.ids, coalesce(p.upto, 0),"
		"  (SELECT pg_catalog.count(*) FROM pointstore.event_store e WHERE e.id" LT UPPER("$1") ")"
		"    " EQ "(SELECT coalesce(pg_catalog.sum(" IDS_IN("b.ids" BOTH BELOW(UPPER("$1"))) "), 0) FROM b)"
		"  AND NOT EXISTS (SELECT FROM a JOIN pointstore.event_store e ON e.aggregate_id" EQ "a.aggregate_id AND e.version" EQ "a.version"
		"    WHERE NOT EXISTS (SELECT FROM b WHERE b.ids" CONTAINS "e.id))"
		" FROM s, w, LATERAL (SELECT coalesce(pg_catalog.range_agg(u.ids), '{}') AS ids, pg_catalog.max(b.last_position) AS upto"
		"   FROM b, LATERAL pg_catalog.unnest(b.ids" BOTH "$1) u (ids) WHERE b.last_position" GT "s.checkpoint) p",
		.nargs = 2, .argtypes = {INT8MULTIRANGEOID, TEXTOID}
	};
	Datum		values[2] = {legacy->passed, PointerGetDatum(subscription)};
	HeapTuple	row;
	bool		isnull;

	pointstore_execute(&plan, values, NULL, true);
	row = SPI_tuptable->vals[0];
	beginning->checkpoint = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
	beginning->passed = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull);
	beginning->upto = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
	return DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 4, &isnull));
}

/* What came a second time to the former shard does to the new one. */
static void
insert_definition(const Legacy *legacy, const Beginning *beginning)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.subscription (" PLACE_COLUMN "name, created_by, status, slots, event_types, aggregate_prefix, lease, max_attempts,"
		"  on_failure, max_retrying, last_error, replay_upto, created_at, passed, passed_upto)"
		" SELECT " PLACE_VALUE "d.name, d.created_by, d.status, 1, d.event_types, d.aggregate_prefix, d.lease, d.max_attempts, d.on_failure,"
		"  d.max_retrying, d.last_error,"
		"  CASE WHEN d.replay_upto" GT "d.checkpoint THEN (SELECT coalesce(pg_catalog.max(b.last_position), 0) FROM pointstore.feed_block b WHERE " OF_THIS_FEED ") ELSE 0 END,"
		"  d.created_at, $2, $3"
		" FROM pg_catalog.jsonb_to_record($1) d (name pg_catalog.text, created_by pg_catalog.text, status pg_catalog.text, event_types pg_catalog._text,"
		"  aggregate_prefix pg_catalog.text, lease pg_catalog.interval, max_attempts pg_catalog.int4, on_failure pg_catalog.text, max_retrying pg_catalog.int4,"
		"  last_error pg_catalog.text, replay_upto pg_catalog.int8, checkpoint pg_catalog.int8,"
		"  created_at pg_catalog.timestamptz)",
		.nargs = 3, .argtypes = {JSONBOID, INT8MULTIRANGEOID, INT8OID}
	};
	Datum		values[3] = {legacy->definition, beginning->passed, Int64GetDatum(beginning->upto)};

	pointstore_execute(&plan, values, NULL, false);
}

/* Accounts that are set aside wait at the same events, which have other positions. */
static void
find_accounts(text *subscription)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription_account a SET position = p.position, alone_upto = p.position"
		" FROM (SELECT e.aggregate_id, e.version, b.first_position" PLUS IDS_IN("b.ids" BOTH BELOW("e.id")) " AS position"
		"   FROM pointstore.subscription_account w JOIN pointstore.event_store e ON e.aggregate_id" EQ "w.aggregate_id AND e.version" EQ "w.version"
		"   JOIN pointstore.feed_block b ON b.ids" CONTAINS "e.id AND " OF_THIS_FEED " WHERE w.subscription" EQ "$1 AND w.slot" EQ "0) p"
		" WHERE a.subscription" EQ "$1 AND a.slot" EQ "0 AND a.aggregate_id" EQ "p.aggregate_id AND a.version" EQ "p.version",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(subscription);

	pointstore_execute(&plan, &value, NULL, false);
}

static void
insert_slot(text *subscription, const Legacy *legacy, const Beginning *beginning)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.subscription_slot (" PLACE_COLUMN "subscription, slot, checkpoint, epoch, blocked, retry_at, not_before, served_at)"
		" SELECT " PLACE_VALUE "$1, 0, $3, GREATEST(d.epoch" PLUS "1, $4), pg_catalog.count(a.*), pg_catalog.min(a.next_try), d.busy_until, d.served_at"
		" FROM pg_catalog.jsonb_to_record($2) d (epoch pg_catalog.int8, busy_until pg_catalog.timestamptz, served_at pg_catalog.timestamptz)"
		"  LEFT JOIN pointstore.subscription_account a ON a.subscription" EQ "$1 AND a.slot" EQ "0"
		" GROUP BY d.epoch, d.busy_until, d.served_at",
		.nargs = 4, .argtypes = {TEXTOID, JSONBOID, INT8OID, INT8OID}
	};
	Slot		slot = {0};
	Datum		values[4] = {PointerGetDatum(subscription), legacy->definition, Int64GetDatum(beginning->checkpoint)};

	pointstore_new_epoch(&slot);
	values[3] = Int64GetDatum(slot.epoch);
	pointstore_execute(&plan, values, NULL, false);
}

/* The ids of what was delivered already of what comes after a position; how many ranges. */
int
pointstore_read_heritage(text *subscription, int64 checkpoint, IdRange **passed)
{
	static PointstorePlan plan = {
		.sql = "SELECT s.passed FROM pointstore.subscription s WHERE s.name" EQ "$1 AND s.passed_upto" GT "$2 AND s.passed IS NOT NULL AND " OF_THIS_FEED,
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2] = {PointerGetDatum(subscription), Int64GetDatum(checkpoint)};
	int			n = 0;
	bool		isnull;

	*passed = NULL;
	if (!pointstore_here().is_range)
		return 0;
	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	if (SPI_processed > 0)
	{
		Datum		ids = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		n = pointstore_read_multirange(ids, NULL, 0);
		*passed = MemoryContextAllocHuge(context, sizeof(IdRange) * (n + 1));
		(void) pointstore_read_multirange(ids, *passed, n);
	}
	SPI_finish();
	return n;
}

/* All of it comes again. */
void
pointstore_forget_heritage(text *subscription)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription SET passed = NULL, passed_upto = NULL WHERE name" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(subscription);

	if (!pointstore_here().is_range)
		return;
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
}
