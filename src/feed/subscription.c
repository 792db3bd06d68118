/*-------------------------------------------------------------------------
 *
 * src/feed/subscription.c
 *		Subscriptions: their definitions, and who may use them.
 *
 * A subscription is its creator's: members of that role and operators alone use it. Roles are
 * kept by name, as all that is to survive a dump.
 *
 * What changes all of a subscription locks its slots, in their order, and then its row. Who
 * has claimed a slot locks that first as well. A claim that reads the definition as it was
 * before finds that the slot has changed, and reads again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/decision.h"
#include "feed/everywhere.h"
#include "feed/heritage.h"
#include "feed/number.h"
#include "feed/page.h"
#include "feed/slot.h"
#include "feed/subscription.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/wake.h"

PG_FUNCTION_INFO_V1(pointstore_create_subscription);
PG_FUNCTION_INFO_V1(pointstore_drop_subscription);
PG_FUNCTION_INFO_V1(pointstore_pause_subscription);
PG_FUNCTION_INFO_V1(pointstore_resume_subscription);
PG_FUNCTION_INFO_V1(pointstore_alter_subscription);
PG_FUNCTION_INFO_V1(pointstore_move_subscription);

static void fill_subscription(Subscription *subscription, HeapTuple row, TupleDesc desc);
static text *text_column(HeapTuple row, TupleDesc desc, int column);
static Datum copied_column(HeapTuple row, TupleDesc desc, int column, bool by_value, int length);
static void require_own(const Subscription *subscription, Oid caller);
static Heritage begin_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb);
static bool begin_there(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb);
static bool find_now(Subscription *subscription, text *name);
pg_noreturn static void refuse_missing(text *name);
static Datum create_here(FunctionCallInfo fcinfo);
static Datum drop_here(FunctionCallInfo fcinfo);
static Datum pause_here(FunctionCallInfo fcinfo);
static Datum resume_here(FunctionCallInfo fcinfo);
static Datum alter_here(FunctionCallInfo fcinfo);
static Datum move_here(FunctionCallInfo fcinfo);
static void refuse_position(int64 position);
static void check_position(int64 position);
static void check_definition(const Subscription *subscription);
static Datum set_status(FunctionCallInfo fcinfo, const char *status, const char *action);
static void update_status(const Subscription *subscription, const char *status, text *error);
static void alter(const Subscription *subscription);
static void rewrite_slots(const Subscription *subscription, Slot *slots);
static void divide_anew(const Subscription *subscription, const Subscription *former, const Slot *slots);
static Slot *lock_slots(const Subscription *subscription);
static void forget_accounts(text *name);
static bool find_former(Subscription *subscription, text *name);
static void delete_rows(text *name);
static void insert_slots(text *name, int16 slots, int64 checkpoint, int64 epoch);
static void log_action(const char *action, const Subscription *subscription, int64 position, text *error);

/*
 * Reads a subscription by the active snapshot, into the memory that is current; false: there
 * is none.
 */
bool
pointstore_find_subscription(Subscription *subscription, text *name)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(s.name AS pg_catalog.text), coalesce(CAST(s.created_by AS pg_catalog.text), ''), coalesce(CAST(s.status AS pg_catalog.text), 'paused'),"
		" greatest(least(coalesce(CAST(s.slots AS pg_catalog.int4), 1), 1024), 1), CAST(s.event_types AS pg_catalog._text),"
		" CAST(s.aggregate_prefix AS pg_catalog.text), coalesce(CAST(s.lease AS pg_catalog.interval), '30 s'),"
		" coalesce(CAST(s.max_attempts AS pg_catalog.int4), 5), coalesce(CAST(s.on_failure AS pg_catalog.text), 'stop'),"
		" coalesce(CAST(s.max_retrying AS pg_catalog.int4), 100), CAST(s.handler AS pg_catalog.text),"
		" greatest(least(coalesce(CAST(s.batch AS pg_catalog.int4), 1), 10000), 1), coalesce(CAST(s.replay_upto AS pg_catalog.int8), 0)"
		" FROM pointstore.subscription s WHERE s.name" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 1, .argtypes = {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = PointerGetDatum(name);
	bool		found;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		fill_subscription(subscription, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return found;
}

static void
fill_subscription(Subscription *subscription, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	subscription->name = text_column(row, desc, 1);
	subscription->created_by = text_column(row, desc, 2);
	subscription->status = text_column(row, desc, 3);
	subscription->running = strcmp(text_to_cstring(subscription->status), "running") == 0;
	subscription->slots = DatumGetInt32(SPI_getbinval(row, desc, 4, &isnull));
	subscription->event_types = copied_column(row, desc, 5, false, -1);
	subscription->prefix = copied_column(row, desc, 6, false, -1);
	subscription->lease = DatumGetIntervalP(copied_column(row, desc, 7, false, sizeof(Interval)));
	subscription->max_attempts = DatumGetInt32(SPI_getbinval(row, desc, 8, &isnull));
	subscription->on_failure = text_column(row, desc, 9);
	subscription->max_retrying = DatumGetInt32(SPI_getbinval(row, desc, 10, &isnull));
	subscription->handler = text_column(row, desc, 11);
	subscription->batch = DatumGetInt32(SPI_getbinval(row, desc, 12, &isnull));
	subscription->replay_upto = DatumGetInt64(SPI_getbinval(row, desc, 13, &isnull));
}

/* A copy of a text; null where it is null. */
static text *
text_column(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : DatumGetTextPCopy(value);
}

static Datum
copied_column(HeapTuple row, TupleDesc desc, int column, bool by_value, int length)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	if (isnull)
		return 0;
	if (length == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return datumCopy(value, by_value, length);
}

/*
 * What every verb begins with: from here on the owner acts. 25006 where nothing is to be written, 42704 where there is no
 * such subscription, 42501 where the caller has no right to it. False, and the caller acts still: a shard that was split cannot take it over yet.
 */
bool
pointstore_begin_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb)
{
	Heritage	heritage = begin_verb(scope, subscription, name, verb);

	if (heritage == HERITAGE_NONE)
		refuse_missing(name);
	return heritage == HERITAGE_TAKEN;
}

/* Finds the subscription, in a shard that has none yet by taking over that of what it was split from. Else the caller acts. */
static Heritage
begin_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb)
{
	Heritage	heritage;

	if (begin_there(scope, subscription, name, verb))
		return HERITAGE_TAKEN;
	heritage = pointstore_here().is_range ? pointstore_take_heritage(name) : HERITAGE_NONE;
	if (heritage == HERITAGE_TAKEN && !begin_there(scope, subscription, name, verb))
		elog(ERROR, "subscription \"%s\" was taken over, and is not there", text_to_cstring(name));
	return heritage;
}

/* The same of one that is there; false: it is not. For what is done in every shard, see everywhere.c. */
bool
pointstore_begin_verb_there(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb)
{
	if (begin_there(scope, subscription, name, verb))
		return true;
	if (!pointstore_here().is_range)
		refuse_missing(name);
	return false;
}

static bool
begin_there(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb)
{
	Oid			caller = GetUserId();

	PreventCommandIfReadOnly(verb);
	pointstore_act_as_reader(scope);
	if (!find_now(subscription, name))
	{
		pointstore_act_as_caller(scope);
		return false;
	}
	require_own(subscription, caller);
	return true;
}

static bool
find_now(Subscription *subscription, text *name)
{
	bool		found;

	(void) pointstore_push_snapshot();
	found = pointstore_find_subscription(subscription, name);
	PopActiveSnapshot();
	return found;
}

static void
refuse_missing(text *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("subscription \"%s\" does not exist", text_to_cstring(name))));
}

/* 42501 unless a role is a member of the creator's, or an operator. */
static void
require_own(const Subscription *subscription, Oid caller)
{
	if (pointstore_acts_for(subscription->created_by, caller))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for subscription \"%s\"", text_to_cstring(subscription->name)),
			 errhint("It is for members of role \"%s\", and for operators.", text_to_cstring(subscription->created_by))));
}

/* create_subscription(name, start_after, slots, event_types, aggregate_prefix, lease, max_attempts, on_failure) */
Datum
pointstore_create_subscription(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 8, create_here));
}

static Datum
create_here(FunctionCallInfo fcinfo)
{
	Subscription subscription = {.max_retrying = 100, .batch = 1};
	int64		start_after;
	PointstoreScope scope;

	subscription.name = pointstore_name(fcinfo, 0, "name");
	subscription.created_by = cstring_to_text(pointstore_role_name(GetUserId()));
	if (PG_ARGISNULL(2) || PG_ARGISNULL(5) || PG_ARGISNULL(6) || PG_ARGISNULL(7))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("slots, lease, max_attempts and on_failure must not be null")));
	subscription.slots = pointstore_here().is_range ? 1 : PG_GETARG_INT16(2);
	pointstore_set_filter(&subscription, fcinfo, 3, 4);
	subscription.lease = PG_GETARG_INTERVAL_P(5);
	subscription.max_attempts = PG_GETARG_INT32(6);
	subscription.on_failure = PG_GETARG_TEXT_PP(7);
	PreventCommandIfReadOnly("create_subscription()");
	if (!PG_ARGISNULL(1))
		check_position(PG_GETARG_INT64(1));
	pointstore_act_as_reader(&scope);
	start_after = PG_ARGISNULL(1) ? pointstore_read_head() : PG_GETARG_INT64(1);
	pointstore_insert_subscription(&subscription, start_after);
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* Arguments that say what is delivered: null leaves it as it is, an empty one is for all. */
void
pointstore_set_filter(Subscription *subscription, FunctionCallInfo fcinfo, int types, int prefix)
{
	if (!PG_ARGISNULL(types))
	{
		ArrayType  *array = PG_GETARG_ARRAYTYPE_P(types);

		if (array_contains_nulls(array))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("event_types must not contain nulls")));
		subscription->event_types = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0 ? 0 : PointerGetDatum(array);
	}
	if (!PG_ARGISNULL(prefix))
		subscription->prefix = VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(prefix)) == 0 ? 0 : PG_GETARG_DATUM(prefix);
}

/*
 * Creates a subscription, which is whose it says, at a position. 42710 where there is one of that
 * name, 22023 where something of it makes no sense.
 */
void
pointstore_insert_subscription(const Subscription *subscription, int64 start_after)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.subscription (" PLACE_COLUMN "name, created_by, slots, event_types, aggregate_prefix, lease, max_attempts, on_failure,"
		" max_retrying, handler, batch) SELECT " PLACE_VALUE "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11"
		" WHERE NOT EXISTS (SELECT FROM pointstore.subscription s WHERE s.name" EQ "$1) ON CONFLICT DO NOTHING",
		.nargs = 11, .argtypes = {TEXTOID, TEXTOID, INT2OID, TEXTARRAYOID, TEXTOID, INTERVALOID, INT4OID, TEXTOID, INT4OID, TEXTOID, INT4OID}
	};
	Datum		values[11] = {PointerGetDatum(subscription->name), PointerGetDatum(subscription->created_by),
		Int16GetDatum(subscription->slots), subscription->event_types, subscription->prefix, IntervalPGetDatum(subscription->lease),
		Int32GetDatum(subscription->max_attempts), PointerGetDatum(subscription->on_failure), Int32GetDatum(subscription->max_retrying),
		PointerGetDatum(subscription->handler), Int32GetDatum(subscription->batch)};
	char		nulls[] = "           ";

	check_definition(subscription);
	if (start_after < 0 || start_after > pointstore_read_head())
		refuse_position(start_after);
	nulls[3] = subscription->event_types == 0 ? 'n' : ' ';
	nulls[4] = subscription->prefix == 0 ? 'n' : ' ';
	nulls[9] = nulls[10] = subscription->handler == NULL ? 'n' : ' ';
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("subscription \"%s\" already exists", text_to_cstring(subscription->name))));
	SPI_finish();
	insert_slots(subscription->name, subscription->slots, start_after, 0);
	log_action("create", subscription, start_after, NULL);
}

static void
refuse_position(int64 position)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("position %lld is not one of the feed, whose head is %lld", (long long) position, (long long) pointstore_read_head())));
}

/* A position that is meant for every shard: the beginning, for no other is of more than one feed. */
static void
check_position(int64 position)
{
	if (pointstore_here().is_range && position != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position %lld is of no feed in particular", (long long) position),
				 errhint("Each shard of a distributed store has a feed of its own. They all begin after 0.")));
}

/* 22023 where a definition makes no sense. */
static void
check_definition(const Subscription *subscription)
{
	static const char *const failures[] = {"park", "stop"};
	Interval	zero = {0};
	Interval	century = {.month = 12 * 100};
	const char *wrong = NULL;

	if (subscription->slots < 1 || subscription->slots > MAX_SLOTS)
		wrong = psprintf("slots must be 1 to %d, not %d", MAX_SLOTS, subscription->slots);
	if (!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(subscription->lease), IntervalPGetDatum(&zero))))
		wrong = "lease must be longer than nothing";
	if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(subscription->lease), IntervalPGetDatum(&century))))
		wrong = "lease must be a hundred years at most";
	if (subscription->max_attempts < 1 || subscription->max_retrying < 0)
		wrong = "max_attempts must be above 0, and max_retrying not below";
	if (subscription->batch < 1 || subscription->batch > MAX_BATCH)
		wrong = psprintf("batch must be 1 to %d, and is for projections", MAX_BATCH);
	if (pointstore_place(subscription->on_failure, failures, lengthof(failures)) < 0)
		wrong = psprintf("on_failure must be park or stop, not \"%s\"", text_to_cstring(subscription->on_failure));
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", wrong)));
}

/* Slots at a checkpoint, whose epochs are above one. */
static void
insert_slots(text *name, int16 slots, int64 checkpoint, int64 epoch)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.subscription_slot (" PLACE_COLUMN "subscription, slot, checkpoint, epoch)"
		" SELECT " PLACE_VALUE "$1, g, $3, $4 FROM pg_catalog.generate_series(0, $2" MINUS "1) g",
		.nargs = 4, .argtypes = {TEXTOID, INT4OID, INT8OID, INT8OID}
	};
	Slot		first = {.epoch = epoch};
	Datum		values[4] = {PointerGetDatum(name), Int32GetDatum(slots), Int64GetDatum(checkpoint)};

	pointstore_new_epoch(&first);
	values[3] = Int64GetDatum(first.epoch);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
}

/* drop_subscription(name) */
Datum
pointstore_drop_subscription(PG_FUNCTION_ARGS)
{
	int64		dropped = pointstore_call_in_shards(fcinfo, 1, drop_here);

	if (PG_NARGS() > 1)
		PG_RETURN_INT32(dropped);
	if (dropped == 0)
		refuse_missing(PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

/* A shard that has come of a split may have that of the former one alone, or nothing but accounts. Whether it had one. */
static Datum
drop_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;

	text	   *name = pointstore_name(fcinfo, 0, "name");
	int			dropped = 1;

	if (pointstore_begin_verb_there(&scope, &subscription, name, "drop_subscription()"))
		pointstore_delete_subscription(&subscription);
	else
	{
		Oid			caller = GetUserId();

		(void) pointstore_lock_heritage(name, true);
		pointstore_act_as_reader(&scope);
		dropped = find_former(&subscription, name);
		if (dropped > 0)
			require_own(&subscription, caller);
		delete_rows(name);
	}
	pointstore_act_as_caller(&scope);
	return Int32GetDatum(dropped);
}

/* The subscription of a former shard, as far as it tells whose it is. */
static bool
find_former(Subscription *subscription, text *name)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(s.created_by AS pg_catalog.text) FROM pointstore.subscription s WHERE s.name" EQ "$1 LIMIT 1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = PointerGetDatum(name);
	bool		found;

	(void) pointstore_push_snapshot();
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		*subscription = (Subscription) {.name = name, .created_by = text_column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)};
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	PopActiveSnapshot();
	return found;
}

/* Drops a subscription, whoever has claimed slots of it. */
void
pointstore_delete_subscription(const Subscription *subscription)
{
	(void) lock_slots(subscription);
	delete_rows(subscription->name);
	log_action("drop", subscription, 0, NULL);
}

/* What a former shard has left with it. */
static void
delete_rows(text *name)
{
	static PointstorePlan plan = {
		.sql = "WITH slots AS (DELETE FROM pointstore.subscription_slot WHERE subscription" EQ "$1),"
		" accounts AS (DELETE FROM pointstore.subscription_account WHERE subscription" EQ "$1)"
		" DELETE FROM pointstore.subscription WHERE name" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(name);

	pointstore_note_written_here();
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
}

/* The slots of a subscription, locked in their order. 40001 where they are others by then. */
static Slot *
lock_slots(const Subscription *subscription)
{
	Subscription found;
	Slot	   *slots;
	bool		stands = true;
	int			i;

	(void) pointstore_push_snapshot();
	slots = pointstore_read_slots(subscription->name, subscription->slots);
	PopActiveSnapshot();
	for (i = 0; stands && i < subscription->slots; i++)
		stands = !ItemPointerIsValid(&slots[i].place) || pointstore_lock_slot(&slots[i], subscription->name);
	/* it was waited for them, perhaps, and those of the same numbers may be another division's */
	(void) pointstore_push_snapshot();
	stands = stands && pointstore_find_subscription(&found, subscription->name) && found.slots == subscription->slots;
	PopActiveSnapshot();
	if (!stands)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("subscription \"%s\" was dropped or divided anew concurrently", text_to_cstring(subscription->name))));
	return slots;
}

/* pause_subscription(name) */
Datum
pointstore_pause_subscription(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 1, pause_here));
}

static Datum
pause_here(FunctionCallInfo fcinfo)
{
	return set_status(fcinfo, "paused", "pause");
}

/* resume_subscription(name) */
Datum
pointstore_resume_subscription(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 1, resume_here));
}

static Datum
resume_here(FunctionCallInfo fcinfo)
{
	pointstore_wake_at_commit();	/* it may be a projection */
	return set_status(fcinfo, "running", "resume");
}

static Datum
set_status(FunctionCallInfo fcinfo, const char *status, const char *action)
{
	Subscription subscription;
	PointstoreScope scope;

	if (!pointstore_begin_verb_there(&scope, &subscription, pointstore_name(fcinfo, 0, "name"), psprintf("%s_subscription()", action)))
		return Int32GetDatum(NOT_THERE);
	if (strcmp(text_to_cstring(subscription.status), status) != 0)
	{
		update_status(&subscription, status, NULL);
		log_action(action, &subscription, 0, NULL);
	}
	pointstore_act_as_caller(&scope);
	return Int32GetDatum(0);
}

/* The error stays until the subscription runs again. */
static void
update_status(const Subscription *subscription, const char *status, text *error)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription SET status = $2, last_error = CASE WHEN $2" EQ "'running' THEN NULL ELSE coalesce($3, last_error) END"
		" WHERE name" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 3, .argtypes = {TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {PointerGetDatum(subscription->name), CStringGetTextDatum(status), PointerGetDatum(error)};

	SPI_connect();
	pointstore_execute(&plan, values, error == NULL ? "  n" : NULL, false);
	SPI_finish();
}

/* A failure stops a subscription: nothing is claimed until it is resumed. */
void
pointstore_stop_subscription(const Subscription *subscription, const FeedDecision *why)
{
	update_status(subscription, "stopped", why->error);
	pointstore_log_decision(why);
}

/* alter_subscription(name, event_types, aggregate_prefix, lease, max_attempts, on_failure, slots, max_retrying, batch) */
Datum
pointstore_alter_subscription(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 9, alter_here));
}

static Datum
alter_here(FunctionCallInfo fcinfo)
{
	Subscription former;
	Subscription subscription;
	PointstoreScope scope;
	Slot	   *slots;

	if (pointstore_here().is_range && !PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the slots of a subscription are the shards of a distributed store")));
	if (!pointstore_begin_verb_there(&scope, &former, pointstore_name(fcinfo, 0, "name"), "alter_subscription()"))
		return Int32GetDatum(NOT_THERE);
	slots = lock_slots(&former);
	/* what others have altered while it was waited for them stays */
	(void) pointstore_push_snapshot();
	(void) pointstore_find_subscription(&former, former.name);
	PopActiveSnapshot();
	subscription = former;
	pointstore_set_filter(&subscription, fcinfo, 1, 2);
	if (!PG_ARGISNULL(3))
		subscription.lease = PG_GETARG_INTERVAL_P(3);
	if (!PG_ARGISNULL(4))
		subscription.max_attempts = PG_GETARG_INT32(4);
	if (!PG_ARGISNULL(5))
		subscription.on_failure = PG_GETARG_TEXT_PP(5);
	if (!PG_ARGISNULL(6))
		subscription.slots = PG_GETARG_INT16(6);
	if (!PG_ARGISNULL(7))
		subscription.max_retrying = PG_GETARG_INT32(7);
	if (!PG_ARGISNULL(8))
		subscription.batch = subscription.handler != NULL ? PG_GETARG_INT32(8) : 0;
	check_definition(&subscription);
	if (subscription.slots != former.slots)
		divide_anew(&subscription, &former, slots);
	else
		rewrite_slots(&former, slots);
	alter(&subscription);
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* Writes a definition. Claims stand, and what they have read by the former filter. */
static void
alter(const Subscription *subscription)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription SET event_types = $2, aggregate_prefix = $3, lease = $4, max_attempts = $5, on_failure = $6,"
		" slots = $7, max_retrying = $8, batch = $9 WHERE name" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 9, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID, INTERVALOID, INT4OID, TEXTOID, INT2OID, INT4OID, INT4OID}
	};
	Datum		values[9] = {PointerGetDatum(subscription->name), subscription->event_types, subscription->prefix,
		IntervalPGetDatum(subscription->lease), Int32GetDatum(subscription->max_attempts), PointerGetDatum(subscription->on_failure),
		Int16GetDatum(subscription->slots), Int32GetDatum(subscription->max_retrying), Int32GetDatum(subscription->batch)};
	char		nulls[] = "         ";

	nulls[1] = subscription->event_types == 0 ? 'n' : ' ';
	nulls[2] = subscription->prefix == 0 ? 'n' : ' ';
	nulls[8] = subscription->handler == NULL ? 'n' : ' ';
	SPI_connect();
	pointstore_execute(&plan, values, nulls, false);
	SPI_finish();
	log_action("alter", subscription, 0, NULL);
}

/* What was left out by the former filter is forgotten with the versions of the rows. */
static void
rewrite_slots(const Subscription *subscription, Slot *slots)
{
	int			i;

	for (i = 0; i < subscription->slots; i++)
		if (ItemPointerIsValid(&slots[i].place))
			pointstore_write_slot(&slots[i], subscription->name);
}

/* Other slots: an account's events would change theirs in the middle, were not all slots at one position and nobody's. */
static void
divide_anew(const Subscription *subscription, const Subscription *former, const Slot *slots)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.subscription_slot WHERE subscription" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(former->name);
	int64		epoch = 0;
	int			i;

	for (i = 0; i < former->slots; i++)
	{
		epoch = Max(epoch, slots[i].epoch);
		if (slots[i].checkpoint != slots[0].checkpoint || slots[i].blocked > 0 || slots[i].claimed)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the slots of subscription \"%s\" cannot be divided anew", text_to_cstring(former->name)),
					 errdetail("Slot %d has checkpoint %lld, slot 0 %lld; %d accounts of it are set aside; it is %s.", i,
							   (long long) slots[i].checkpoint, (long long) slots[0].checkpoint, slots[i].blocked,
							   slots[i].claimed ? "claimed" : "nobody's"),
					 errhint("Pause it, let it come to its end, and move_subscription() it to where all slots are.")));
	}
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
	insert_slots(subscription->name, subscription->slots, slots[0].checkpoint, epoch);
}

/* move_subscription(name, after) */
Datum
pointstore_move_subscription(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 2, move_here));
}

static Datum
move_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;
	text	   *name;

	name = pointstore_name(fcinfo, 0, "name");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("after must not be null")));
	check_position(PG_GETARG_INT64(1));
	if (!pointstore_begin_verb_there(&scope, &subscription, name, "move_subscription()"))
		return Int32GetDatum(NOT_THERE);
	pointstore_move_subscription_to(&subscription, PG_GETARG_INT64(1));
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* Puts every slot at a position: claims end, accounts that were set aside are forgotten. 22023 above the head. */
void
pointstore_move_subscription_to(const Subscription *subscription, int64 after)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription SET replay_upto = greatest(replay_upto, $2) WHERE name" EQ "$1 AND " OF_THIS_FEED,
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Slot	   *slots = lock_slots(subscription);
	Datum		values[2] = {PointerGetDatum(subscription->name)};
	int64		highest = 0;
	int			i;

	if (after < 0 || after > pointstore_read_head())
		refuse_position(after);
	forget_accounts(subscription->name);
	pointstore_forget_heritage(subscription->name);
	for (i = 0; i < subscription->slots; i++)
	{
		Slot		slot = {.place = slots[i].place, .number = i, .epoch = slots[i].epoch, .checkpoint = after,
			.retry_at = DT_NOEND, .not_before = DT_NOBEGIN};

		if (!ItemPointerIsValid(&slot.place))
			continue;
		highest = Max(highest, Max(slots[i].checkpoint, slots[i].delivered));
		pointstore_new_epoch(&slot);
		pointstore_end_claim(&slot);
		pointstore_write_slot(&slot, subscription->name);
	}
	values[1] = Int64GetDatum(highest);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
	log_action("move", subscription, after, NULL);
}

/* Accounts that were set aside are not any more, each with a row in the log. */
static void
forget_accounts(text *name)
{
	static PointstorePlan plan = {
		.sql = "WITH gone AS (DELETE FROM pointstore.subscription_account WHERE subscription" EQ "$1"
		"  RETURNING slot, aggregate_id, position, error)"
		" INSERT INTO pointstore.subscription_log (" LOG_COLUMNS "subscription, action, slot, aggregate_id, position, error, by_role)"
		" SELECT " LOG_VALUES "$1, 'forget', coalesce($3, g.slot), g.aggregate_id, g.position, g.error, $2 FROM gone g",
		.nargs = 3, .argtypes = {TEXTOID, TEXTOID, INT2OID}
	};
	Datum		values[3] = {PointerGetDatum(name), CStringGetTextDatum(pointstore_role_name(GetOuterUserId())), Int16GetDatum(pointstore_number_of_slot(0))};

	SPI_connect();
	pointstore_execute(&plan, values, pointstore_here().is_range ? NULL : "  n", false);
	SPI_finish();
}

static void
log_action(const char *action, const Subscription *subscription, int64 position, text *error)
{
	FeedDecision decision = {.action = action, .subscription = subscription->name, .position = position, .error = error};

	pointstore_log_decision(&decision);
}
