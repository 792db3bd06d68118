/*-------------------------------------------------------------------------
 *
 * src/feed/retry.c
 *		Accounts that a failed event has set aside: retried, parked, and back again.
 *
 * An account that is set aside has a row, which says from which event on it waits; the slot
 * passes over what comes of it. The row changes under the lock of the slot alone, and goes
 * when nothing of the account is left up to where the slot was looked at: then what comes
 * later is new to the slot, and it was passed over by nobody.
 *
 * An event whose upcaster has failed is not delivered with those before it, and so its account is set aside ahead of
 * the slot: it is retried when the slot has come to where it waits, and what comes of it until then is
 * delivered. Where one of those fails, the account waits there instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/decision.h"
#include "feed/everywhere.h"
#include "feed/number.h"
#include "feed/retry.h"
#include "ground/compat.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"

#define FIRST_PAUSE 1000		/* ms, twice as long after each further failure */
#define LONGEST_PAUSE (300 * 1000)

#define ACCOUNT_COLUMNS \
"CAST(a.aggregate_id AS pg_catalog.text), coalesce(CAST(a.position AS pg_catalog.int8), 0), coalesce(CAST(a.version AS pg_catalog.int8), 1)," \
" coalesce(CAST(a.state AS pg_catalog.text)" EQ "'parked', true), coalesce(CAST(a.attempts AS pg_catalog.int4), 0)," \
" coalesce(CAST(a.alone_upto AS pg_catalog.int8), 0), coalesce(CAST(a.next_try AS pg_catalog.timestamptz), '-infinity'), CAST(a.error AS pg_catalog.text)"

PG_FUNCTION_INFO_V1(pointstore_replay_parked);
PG_FUNCTION_INFO_V1(pointstore_skip_parked);

static bool find_account(SetAside *account, PointstorePlan *plan, Datum *values);
static const char *decide(const Subscription *subscription, const Failure *failure, int attempts);
static const char *decide_again(const Subscription *subscription, const Failure *failure, int attempts);
static bool is_outage(const Subscription *subscription);
static TimestampTz next_try(const Failure *failure, int attempts);
static void insert_account(const Subscription *subscription, Slot *slot, const SetAside *account);
static void write_account(const Subscription *subscription, const Slot *slot, const SetAside *account);
static void delete_account(const Subscription *subscription, Slot *slot, text *id);
static void store_account(PointstorePlan *plan, const Subscription *subscription, const Slot *slot, const SetAside *account);
static int	change_account(PointstorePlan *plan, Datum *values, const char *nulls);
static void log_failure(const Subscription *subscription, const Slot *slot, const SetAside *account, const char *action);
static Datum replay_here(FunctionCallInfo fcinfo);
static Datum skip_here(FunctionCallInfo fcinfo);
static int	replay_slot(const Subscription *subscription, int16 number, text *id);
static void lock_slot(const Subscription *subscription, Slot *slot, int16 number);

/*
 * The account of a slot that is to be retried first, of those that wait at a position not above upto, or at an event that
 * has not failed; false: none is yet.
 */
bool
pointstore_find_due(SetAside *account, const Subscription *subscription, const Slot *slot, TimestampTz now, int64 upto)
{
	static PointstorePlan plan = {
		.sql = "SELECT " ACCOUNT_COLUMNS " FROM pointstore.subscription_account a WHERE a.subscription" EQ "$1 AND a.slot" EQ "$2"
		" AND a.state" EQ "'retrying' AND a.next_try" LE "$3 AND (coalesce(CAST(a.position AS pg_catalog.int8), 0)" LE "$4"
		"   OR coalesce(CAST(a.attempts AS pg_catalog.int4), 0)" EQ "0) AND a.aggregate_id IS NOT NULL ORDER BY a.next_try LIMIT 1",
		.nargs = 4, .argtypes = {TEXTOID, INT2OID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[4] = {PointerGetDatum(subscription->name), Int16GetDatum(slot->number), TimestampTzGetDatum(now), Int64GetDatum(upto)};

	return find_account(account, &plan, values);
}

/* An account of a slot that is set aside; false: it is not. */
bool
pointstore_find_set_aside(SetAside *account, const Subscription *subscription, int16 slot, text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT " ACCOUNT_COLUMNS " FROM pointstore.subscription_account a WHERE a.subscription" EQ "$1 AND a.slot" EQ "$2"
		" AND a.aggregate_id" EQ "$3",
		.nargs = 3, .argtypes = {TEXTOID, INT2OID, TEXTOID}
	};
	Datum		values[3] = {PointerGetDatum(subscription->name), Int16GetDatum(slot), PointerGetDatum(id)};

	return find_account(account, &plan, values);
}

static bool
find_account(SetAside *account, PointstorePlan *plan, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	bool		found;

	SPI_connect();
	pointstore_execute(plan, values, NULL, false);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		error;

		account->id = DatumGetTextPCopy(SPI_getbinval(row, desc, 1, &isnull));
		account->position = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		account->version = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
		account->parked = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
		account->attempts = DatumGetInt32(SPI_getbinval(row, desc, 5, &isnull));
		account->alone_upto = DatumGetInt64(SPI_getbinval(row, desc, 6, &isnull));
		account->next_try = DatumGetTimestampTz(SPI_getbinval(row, desc, 7, &isnull));
		error = SPI_getbinval(row, desc, 8, &isnull);
		account->error = isnull ? NULL : DatumGetTextPCopy(error);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return found;
}

/*
 * A new event of the slot has failed, for the first time but for account->attempts: its account is set aside and the slot
 * passes over it, or passes over the event alone, or the subscription stops before it: true.
 */
bool
pointstore_set_aside(const Subscription *subscription, Slot *slot, SetAside *account, const Failure *failure)
{
	bool		stopped = pointstore_set_aside_ahead(subscription, slot, account, failure);

	slot->checkpoint = stopped ? account->position - 1 : account->position;
	slot->attempt = slot->lost = 0;
	return stopped;
}

/* The same where the slot has still to come to that event, and stays where it is. An account may be set aside already, at a later one. */
bool
pointstore_set_aside_ahead(const Subscription *subscription, Slot *slot, SetAside *account, const Failure *failure)
{
	const char *action = decide(subscription, failure, account->attempts + 1);
	SetAside	before;

	account->error = failure->error;
	account->attempts++;
	account->alone_upto = account->position;
	if (strcmp(action, "retry") == 0 || strcmp(action, "park") == 0)
	{
		account->parked = strcmp(action, "park") == 0;
		account->next_try = next_try(failure, account->attempts);
		if (slot->blocked > 0 && pointstore_find_set_aside(&before, subscription, slot->number, account->id))
			write_account(subscription, slot, account);
		else
			insert_account(subscription, slot, account);
		pointstore_note_due(subscription, slot);
	}
	log_failure(subscription, slot, account, action);
	return strcmp(action, "stop") == 0;
}

/* Whether the subscription would stop, of an event that fails for the first time. */
bool
pointstore_would_stop(const Subscription *subscription, const Failure *failure)
{
	return strcmp(decide(subscription, failure, 1), "stop") == 0;
}

/* What is done about a new event that has failed so often. */
static const char *
decide(const Subscription *subscription, const Failure *failure, int attempts)
{
	const char *action = decide_again(subscription, failure, attempts);

	return strcmp(action, "retry") == 0 && is_outage(subscription) ? "stop" : action;
}

/* The same of one that is retried already: where it is to be, until it has failed too often. */
static const char *
decide_again(const Subscription *subscription, const Failure *failure, int attempts)
{
	if (strcmp(failure->action, "retry") != 0 || attempts < subscription->max_attempts)
		return failure->action;
	return strcmp(text_to_cstring(subscription->on_failure), "park") == 0 ? "park" : "stop";
}

/* Whether as many accounts are retried as may be. */
static bool
is_outage(const Subscription *subscription)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.subscription_account a WHERE a.subscription" EQ "$1 AND a.state" EQ "'retrying' LIMIT $2",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	uint64		most = Max(subscription->max_retrying, 0);
	Datum		values[2] = {PointerGetDatum(subscription->name), Int64GetDatum(most)};
	bool		result;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	result = SPI_processed >= most;
	SPI_finish();
	return result;
}

/* When an event is tried again that has failed so often: as was asked for, or after a pause that grows, give or take a fifth. */
static TimestampTz
next_try(const Failure *failure, int attempts)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		pause = Min((int64) FIRST_PAUSE << Min(attempts - 1, 20), LONGEST_PAUSE);
	uint32		jitter = 0;

	if (failure->retry_in != NULL)
		return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), IntervalPGetDatum(failure->retry_in)));
	(void) pg_strong_random(&jitter, sizeof(jitter));
	return TimestampTzPlusMilliseconds(now, pause * (800 + jitter % 401) / 1000);
}

static void
insert_account(const Subscription *subscription, Slot *slot, const SetAside *account)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.subscription_account (subscription, slot, aggregate_id, position, version, state, attempts, alone_upto,"
		" next_try, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
		.nargs = 10, .argtypes = {TEXTOID, INT2OID, TEXTOID, INT8OID, INT8OID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, TEXTOID}
	};

	store_account(&plan, subscription, slot, account);
	slot->blocked++;
}

static void
write_account(const Subscription *subscription, const Slot *slot, const SetAside *account)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.subscription_account SET position = $4, version = $5, state = $6, attempts = $7, alone_upto = $8, next_try = $9,"
		" error = $10 WHERE subscription" EQ "$1 AND slot" EQ "$2 AND aggregate_id" EQ "$3",
		.nargs = 10, .argtypes = {TEXTOID, INT2OID, TEXTOID, INT8OID, INT8OID, TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, TEXTOID}
	};

	store_account(&plan, subscription, slot, account);
}

/* Runs a statement with what an account is. */
static void
store_account(PointstorePlan *plan, const Subscription *subscription, const Slot *slot, const SetAside *account)
{
	Datum		values[10] = {PointerGetDatum(subscription->name), Int16GetDatum(slot->number), PointerGetDatum(account->id),
		Int64GetDatum(account->position), Int64GetDatum(account->version), CStringGetTextDatum(account->parked ? "parked" : "retrying"),
		Int32GetDatum(account->attempts), Int64GetDatum(account->alone_upto), TimestampTzGetDatum(account->next_try),
		PointerGetDatum(account->error)};
	char		nulls[] = "          ";

	nulls[8] = account->parked ? 'n' : ' ';
	nulls[9] = account->error == NULL ? 'n' : ' ';
	(void) change_account(plan, values, nulls);
}

/* Runs a statement that changes the row of an account; how many it was. 55000 where it was none. */
static int
change_account(PointstorePlan *plan, Datum *values, const char *nulls)
{
	int			changed;

	SPI_connect();
	pointstore_execute(plan, values, nulls, false);
	changed = SPI_processed;
	SPI_finish();
	if (changed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row of account \"%s\" of subscription \"%s\" was not written", text_to_cstring(DatumGetTextPP(values[2])),
						text_to_cstring(DatumGetTextPP(values[0]))),
				 errhint("A trigger on subscription_account has kept it from that, perhaps.")));
	return changed;
}

static void
delete_account(const Subscription *subscription, Slot *slot, text *id)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.subscription_account WHERE subscription" EQ "$1 AND slot" EQ "$2 AND aggregate_id" EQ "$3",
		.nargs = 3, .argtypes = {TEXTOID, INT2OID, TEXTOID}
	};
	Datum		values[3] = {PointerGetDatum(subscription->name), Int16GetDatum(slot->number), PointerGetDatum(id)};

	slot->blocked -= change_account(&plan, values, NULL);
	slot->blocked = Max(slot->blocked, 0);
}

/* When the first of a slot's accounts is to be retried. */
void
pointstore_note_due(const Subscription *subscription, Slot *slot)
{
	SetAside	first;

	slot->retry_at = pointstore_find_due(&first, subscription, slot, DT_NOEND, PG_INT64_MAX) ? first.next_try : DT_NOEND;
}

/* Logs what was decided about an event, and stops the subscription where it was that. */
static void
log_failure(const Subscription *subscription, const Slot *slot, const SetAside *account, const char *action)
{
	FeedDecision decision = {.action = action, .subscription = subscription->name, .has_slot = true, .slot = slot->number,
		.member = slot->member, .aggregate_id = account->id, .position = account->position, .error = account->error};

	if (strcmp(action, "stop") == 0)
		pointstore_stop_subscription(subscription, &decision);
	else
		pointstore_log_decision(&decision);
}

/* The first event of an account that is retried has failed again. Whether the subscription stops. */
bool
pointstore_retry_failed(const Subscription *subscription, Slot *slot, SetAside *account, const Failure *failure)
{
	const char *action = decide_again(subscription, failure, account->attempts + 1);

	account->error = failure->error;
	account->attempts++;
	account->alone_upto = Max(account->alone_upto, account->position);
	log_failure(subscription, slot, account, action);
	if (strcmp(action, "skip") == 0)
	{
		(void) pointstore_retry_done(subscription, slot, account, account->position);
		return false;
	}
	account->parked = strcmp(action, "park") == 0;
	account->next_try = strcmp(action, "stop") == 0 ? GetCurrentTimestamp() : next_try(failure, account->attempts);
	write_account(subscription, slot, account);
	pointstore_note_due(subscription, slot);
	return strcmp(action, "stop") == 0;
}

/* An account is as the caller has changed it, and is retried from then on. */
void
pointstore_retry_later(const Subscription *subscription, Slot *slot, SetAside *account, TimestampTz when)
{
	account->parked = false;
	account->next_try = when;
	write_account(subscription, slot, account);
	pointstore_note_due(subscription, slot);
}

/*
 * The events of an account are done up to a position: it waits at the next of them, and is due, or is set aside no more,
 * false, where none is left up to where the slot was looked at.
 */
bool
pointstore_retry_done(const Subscription *subscription, Slot *slot, SetAside *account, int64 position)
{
	int64		version = account->version;
	bool		left = false;
	bool		more = true;

	(void) pointstore_push_snapshot();
	while (!left && more)
	{
		FeedPage	page = {.upto = Max(slot->checkpoint, slot->claimed && slot->retried == NULL ? slot->read_to : 0), .max_events = 100};
		int			i;

		pointstore_read_waiting(subscription, account->id, version, &page);
		more = page.nevents > 0;
		for (i = 0; i < page.nevents && !left; i++)
		{
			left = page.events[i].position > position;
			version = pointstore_delivered_version(&page, i) + (left ? 0 : 1);
			if (left)
				account->position = page.events[i].position;
		}
	}
	PopActiveSnapshot();
	if (left && version != account->version)
		account->attempts = 0;
	account->version = version;
	if (left)
		pointstore_retry_later(subscription, slot, account, GetCurrentTimestamp());
	else
	{
		delete_account(subscription, slot, account->id);
		pointstore_note_due(subscription, slot);
	}
	return left;
}

/* replay_parked(subscription, aggregate_id): parked accounts are retried anew; how many. */
Datum
pointstore_replay_parked(PG_FUNCTION_ARGS)
{
	if (PG_NARGS() == 2 && !PG_ARGISNULL(1))
		PG_RETURN_INT32(pointstore_call_where(fcinfo, 2, replay_here, pointstore_name(fcinfo, 1, "aggregate_id")));
	PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 2, replay_here));
}

static Datum
replay_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;
	text	   *id = PG_ARGISNULL(1) ? NULL : pointstore_name(fcinfo, 1, "aggregate_id");
	int			count = 0;
	int16		i;

	if (!pointstore_begin_verb_there(&scope, &subscription, pointstore_name(fcinfo, 0, "subscription"), "replay_parked()"))
		return Int32GetDatum(NOT_THERE);
	if (id != NULL)
		count = replay_slot(&subscription, pointstore_slot_of(id, subscription.slots), id);
	for (i = 0; id == NULL && i < subscription.slots; i++)
		count += replay_slot(&subscription, i, NULL);
	pointstore_act_as_caller(&scope);
	PG_RETURN_INT32(count);
}

/* The parked accounts of a slot, or one of them. */
static int
replay_slot(const Subscription *subscription, int16 number, text *id)
{
	static PointstorePlan plan = {
		.sql = "WITH parked AS (UPDATE pointstore.subscription_account SET state = 'retrying', attempts = 0, next_try = pg_catalog.clock_timestamp()"
		"  WHERE subscription" EQ "$1 AND slot" EQ "$2 AND state" EQ "'parked' AND ($3 IS NULL OR aggregate_id" EQ "$3)"
		"  RETURNING aggregate_id, position, error)"
		" INSERT INTO pointstore.subscription_log (" LOG_COLUMNS "subscription, action, slot, aggregate_id, position, error, by_role)"
		" SELECT " LOG_VALUES "$1, 'replay', $5, p.aggregate_id, p.position, p.error, $4 FROM parked p",
		.nargs = 5, .argtypes = {TEXTOID, INT2OID, TEXTOID, TEXTOID, INT2OID}
	};
	Datum		values[5] = {PointerGetDatum(subscription->name), Int16GetDatum(number), PointerGetDatum(id),
	CStringGetTextDatum(pointstore_role_name(GetOuterUserId())), Int16GetDatum(pointstore_number_of_slot(number))};
	Slot		slot;
	int			count;

	lock_slot(subscription, &slot, number);
	if (slot.blocked == 0)
		return 0;
	SPI_connect();
	pointstore_execute(&plan, values, id == NULL ? "  n  " : NULL, false);
	count = SPI_processed;
	SPI_finish();
	if (count > 0)
	{
		pointstore_note_due(subscription, &slot);
		pointstore_write_slot(&slot, subscription->name);
	}
	return count;
}

/* A slot of a subscription, locked; 42704 where it was dropped meanwhile. */
static void
lock_slot(const Subscription *subscription, Slot *slot, int16 number)
{
	bool		found;

	(void) pointstore_push_snapshot();
	found = pointstore_find_slot(slot, subscription->name, number);
	PopActiveSnapshot();
	if (!found || !pointstore_lock_slot(slot, subscription->name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" has no slot %d", text_to_cstring(subscription->name), number)));
}

/* skip_parked(subscription, aggregate_id, position, reason): passes over one event, and the account goes on. */
Datum
pointstore_skip_parked(PG_FUNCTION_ARGS)
{
	pointstore_check_arguments(fcinfo, PG_NARGS() == 5 ? 5 : 4);
	if (PG_NARGS() == 5)
		PG_RETURN_INT32(pointstore_call_in_shards(fcinfo, 4, skip_here));
	(void) pointstore_call_where(fcinfo, 4, skip_here, pointstore_name(fcinfo, 1, "aggregate_id"));
	PG_RETURN_VOID();
}

static Datum
skip_here(FunctionCallInfo fcinfo)
{
	Subscription subscription;
	PointstoreScope scope;
	SetAside	account;
	Slot		slot;
	text	   *name;
	text	   *id;

	name = pointstore_name(fcinfo, 0, "subscription");
	id = pointstore_name(fcinfo, 1, "aggregate_id");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(2) ? "position" : "reason")));
	if (!pointstore_begin_verb_there(&scope, &subscription, name, "skip_parked()"))
		return Int32GetDatum(NOT_THERE);
	lock_slot(&subscription, &slot, pointstore_slot_of(id, subscription.slots));
	if (!pointstore_find_set_aside(&account, &subscription, slot.number, id) || !account.parked)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is not parked", text_to_cstring(id))));
	if (account.position != PG_GETARG_INT64(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is parked at position %lld, not %lld", text_to_cstring(id),
						(long long) account.position, (long long) PG_GETARG_INT64(2))));
	if (account.position > slot.checkpoint)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("slot %d of subscription \"%s\" has not come to position %lld", pointstore_number_of_slot(slot.number), text_to_cstring(subscription.name),
						(long long) account.position),
				 errdetail("checkpoint=%lld", (long long) slot.checkpoint),
				 errhint("What was delivered before it is to be acknowledged first.")));
	account.error = PG_GETARG_TEXT_PP(3);
	log_failure(&subscription, &slot, &account, "skip");
	(void) pointstore_retry_done(&subscription, &slot, &account, account.position);
	pointstore_write_slot(&slot, subscription.name);
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}
