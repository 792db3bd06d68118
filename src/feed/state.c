/*-------------------------------------------------------------------------
 *
 * src/feed/state.c
 *		An account's events, read in order of version, and the state that they come to:
 *		load_events(), aggregate_state().
 *
 * Events are read by the active snapshot, a few at a time, and go through the upcasters. A state begins as {}
 * and passes through the reducer of the account's kind, event by event (ground/function.c says how it is called).
 *
 * A state that was kept is only gone on from where its stamp says that what made it is what is there now: the definitions
 * of the reducer and of all upcasters, account_kind.reducer_version, and the id of the event that it stands at, which tells a
 * history that was restored or altered. All of it is read by the same snapshot as the events. What a function calls
 * in turn is not in the stamp: for that there is reducer_version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "account/opening.h"
#include "feed/state.h"
#include "ground/compat.h"
#include "ground/function.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/identity.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_load_events);
PG_FUNCTION_INFO_V1(pointstore_aggregate_state);

#define EVENTS_AT_ONCE 100

static bool put_event(Datum *values, bool *nulls, void *arg);
static void refuse_negative(const char *what, int64 value);
static int64 version_asked(FunctionCallInfo fcinfo, const StateAccount *account);
static Portal open_events(const EventRange *range);
static char *stamp_of(const StateAccount *account, const char *definition);
static bool fold_one(Datum *values, bool *nulls, void *arg);
static void tell_fold(void *arg);

/* load_events(aggregate_id, after_version, max_events, raw) */
Datum
pointstore_load_events(PG_FUNCTION_ARGS)
{
	EventRange	range = {.upto = PG_INT64_MAX, .most = PG_INT64_MAX};
	PointstoreScope scope;

	range.aggregate_id = pointstore_name(fcinfo, 0, "aggregate_id");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "after_version" : "raw")));
	range.after = PG_GETARG_INT64(1);
	if (!PG_ARGISNULL(2))
		range.most = PG_GETARG_INT32(2);
	refuse_negative("after_version", range.after);
	refuse_negative("max_events", range.most);
	pointstore_materialize(fcinfo);
	pointstore_act_as_reader(&scope);
	SPI_connect();
	if (!PG_GETARG_BOOL(3))
		range.upcasters = pointstore_read_upcasters();
	pointstore_read_events(&range, put_event, fcinfo->resultinfo);
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

static bool
put_event(Datum *values, bool *nulls, void *arg)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return true;
}

static void
refuse_negative(const char *what, int64 value)
{
	if (value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative, is %lld", what, (long long) value)));
}

/* aggregate_state(aggregate_id, version): the version, and the state after its event. */
Datum
pointstore_aggregate_state(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	Fold		fold = {.context = CurrentMemoryContext};
	PointstoreScope scope;
	StateAccount account;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};
	int64		upto;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	pointstore_act_as_reader(&scope);
	SPI_connect();
	pointstore_read_state_account(&account, id);
	upto = version_asked(fcinfo, &account);
	if (upto > 0)
	{
		Reducer    *reducer = pointstore_load_reducer(&account);

		pointstore_begin_fold(&fold, reducer->function);
		(void) pointstore_find_snapshot(&fold, id, upto, reducer->stamp);
		pointstore_fold_upto(&fold, id, upto, reducer->upcasters);
	}
	else
		pointstore_begin_fold(&fold, InvalidOid);
	SPI_finish();
	pointstore_act_as_caller(&scope);
	values[0] = Int64GetDatum(upto);
	values[1] = fold.state;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* The version that is asked for, null: the last; 22023 where there is none such. */
static int64
version_asked(FunctionCallInfo fcinfo, const StateAccount *account)
{
	if (PG_ARGISNULL(1))
		return account->last;
	refuse_negative("version", PG_GETARG_INT64(1));
	if (PG_GETARG_INT64(1) > account->last)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" has %lld events, version %lld is asked for", pointstore_cstring(account->aggregate_id),
						(long long) account->last, (long long) PG_GETARG_INT64(1))));
	return PG_GETARG_INT64(1);
}

/* An account, by the active snapshot, also one that is missing; XX001 where it has events and no row. */
void
pointstore_read_state_account(StateAccount *account, text *aggregate_id)
{
	static PointstorePlan plan = {
		.sql = "SELECT a.kind, k.reducer, CAST(coalesce(k.reducer_version, 0) AS pg_catalog.int8),"
		" (SELECT e.version FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 ORDER BY e.version DESC LIMIT 1), a.aggregate_id"
		"  FROM (SELECT 1) one LEFT JOIN ("
		"    SELECT b.aggregate_id, b.kind FROM pointstore.balance b WHERE b.aggregate_id" EQ "$1"
		"    UNION ALL SELECT p.aggregate_id, p.kind FROM pointstore.pure_account p WHERE p.aggregate_id" EQ "$1 LIMIT 1) a ON true"
		"  LEFT JOIN pointstore.account_kind k ON k.kind" EQ "a.kind LIMIT 1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(aggregate_id);
	bool		isnull;

	pointstore_execute_of(&plan, aggregate_id, &value, NULL, true);
	memset(account, 0, sizeof(StateAccount));
	account->aggregate_id = aggregate_id;
	account->kind = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	account->reducer = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	account->reducer_version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	account->last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	account->last = isnull ? 0 : account->last;
	account->exists = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5) != NULL;
	if (!account->exists && account->last > 0)
		pointstore_raise_stray_events(aggregate_id, account->last);
}

/* The reducer of an account's kind, and the stamp of what it makes: 55000 where it has none; 42883, 42501. */
Reducer *
pointstore_load_reducer(const StateAccount *account)
{
	Reducer    *reducer = palloc0(sizeof(Reducer));
	StringInfoData definition;
	StringInfoData rows;

	if (account->reducer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("kind \"%s\" of account \"%s\" has no reducer", account->kind ? account->kind : "",
						pointstore_cstring(account->aggregate_id)),
				 errhint("UPDATE pointstore.account_kind SET reducer = 'schema.function' names one.")));
	initStringInfo(&definition);
	initStringInfo(&rows);
	reducer->function = pointstore_named_function(account->reducer, FUNCTION_REDUCER);
	reducer->upcasters = pointstore_read_upcasters();
	pointstore_describe_function(reducer->function, &definition, &rows);
	pointstore_describe_upcasters(reducer->upcasters, &definition, &rows);
	reducer->stamp = stamp_of(account, definition.data);
	reducer->rows = rows.data;
	return reducer;
}

/* A digest of definitions. */
static char *
stamp_of(const StateAccount *account, const char *definition)
{
	char	   *whole = psprintf("1\n%lld\n%s", (long long) account->reducer_version, definition);
	bytea	   *digest = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, CStringGetTextDatum(whole)));
	char	   *stamp = palloc0(2 * VARSIZE_ANY_EXHDR(digest) + 1);

	(void) hex_encode(VARDATA_ANY(digest), VARSIZE_ANY_EXHDR(digest), stamp);
	return stamp;
}

/* A state of an account that has no event, in the memory that fold says; reducer InvalidOid: it stays so. */
void
pointstore_begin_fold(Fold *fold, Oid reducer)
{
	MemoryContext old = MemoryContextSwitchTo(fold->context);

	fold->reducer = OidIsValid(reducer) ? pointstore_load_function(reducer) : NULL;
	fold->version = 0;
	fold->state = JsonbPGetDatum(pointstore_empty_payload());
	MemoryContextSwitchTo(old);
}

/* Begins from the newest snapshot, not after a version, that what is there now has made. False: there is none. */
bool
pointstore_find_snapshot(Fold *fold, text *aggregate_id, int64 upto, const char *stamp)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(s.version AS pg_catalog.int8), CAST(s.state AS pg_catalog.jsonb)"
		"  FROM pointstore.snapshot s JOIN pointstore.event_store e ON e.aggregate_id" EQ "s.aggregate_id AND e.version" EQ "s.version"
		" WHERE s.aggregate_id" EQ "$1 AND s.version" LE "$2 AND s.state IS NOT NULL AND s.stamp" EQ STAMP_WITH("$3", "e.id")
		" ORDER BY s.version DESC LIMIT 1",
		.nargs = 3, .argtypes = {TEXTOID, INT8OID, TEXTOID}
	};
	Datum		values[3] = {PointerGetDatum(aggregate_id), Int64GetDatum(upto), CStringGetTextDatum(stamp)};
	MemoryContext old;
	bool		isnull;

	pointstore_execute_of(&plan, aggregate_id, values, NULL, true);
	if (SPI_processed == 0)
		return false;
	pfree(DatumGetPointer(fold->state));
	fold->version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	old = MemoryContextSwitchTo(fold->context);
	fold->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)));
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/* Brings a state up to a version. */
void
pointstore_fold_upto(Fold *fold, text *aggregate_id, int64 upto, Upcasters *upcasters)
{
	EventRange	range = {
		.aggregate_id = aggregate_id, .after = fold->version, .upto = upto, .most = PG_INT64_MAX, .upcasters = upcasters
	};

	pointstore_read_events(&range, fold_one, fold);
}

static bool
fold_one(Datum *values, bool *nulls, void *arg)
{
	pointstore_fold_event(arg, values, pointstore_event_datum(values, nulls));
	return true;
}

/* Passes a state through the reducer with one event, which is there twice: as columns, and as pointstore.event. */
void
pointstore_fold_event(Fold *fold, Datum *values, Datum event)
{
	Datum		arguments[2] = {fold->state, event};
	void	   *told[2] = {fold, values};
	ErrorContextCallback context = {.previous = error_context_stack, .callback = tell_fold, .arg = told};
	MemoryContext old;
	Datum		state;

	error_context_stack = &context;
	state = pointstore_call_function(fold->reducer, arguments, 2);
	error_context_stack = context.previous;
	old = MemoryContextSwitchTo(fold->context);
	state = PointerGetDatum(PG_DETOAST_DATUM_COPY(state));
	MemoryContextSwitchTo(old);
	pfree(DatumGetPointer(fold->state));
	fold->state = state;
	fold->version = DatumGetInt64(values[EV_VERSION]);
}

/* Which event the reducer has failed on. */
static void
tell_fold(void *arg)
{
	void	  **told = arg;
	Datum	   *values = told[1];

	errcontext("reducer %s, version %lld of account \"%s\"", ((Fold *) told[0])->reducer->name,
			   (long long) DatumGetInt64(values[EV_VERSION]), pointstore_cstring(DatumGetTextPP(values[EV_AGGREGATE_ID])));
}

/* Hands over an account's events, one by one, in order of version, until false is the answer. */
void
pointstore_read_events(const EventRange *range, bool (*take) (Datum *values, bool *nulls, void *arg), void *arg)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pointstore event", ALLOCSET_DEFAULT_SIZES);
	Portal		cursor = open_events(range);
	bool		more = true;

	for (SPI_cursor_fetch(cursor, true, EVENTS_AT_ONCE); more && SPI_processed > 0; SPI_cursor_fetch(cursor, true, EVENTS_AT_ONCE))
	{
		SPITupleTable *rows = SPI_tuptable;
		uint64		i;

		for (i = 0; more && i < rows->numvals; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);
			Datum		values[N_EVENT_COLUMNS];
			bool		nulls[N_EVENT_COLUMNS];

			CHECK_FOR_INTERRUPTS();
			heap_deform_tuple(rows->vals[i], rows->tupdesc, values, nulls);
			pointstore_upcast_columns(range->upcasters, values, nulls, 0);
			more = take(values, nulls, arg);
			MemoryContextSwitchTo(old);
			MemoryContextReset(scratch);
		}
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(cursor);
	MemoryContextDelete(scratch);
}

static Portal
open_events(const EventRange *range)
{
	static PointstorePlan plan = {
		.sql = "SELECT " FEED_EVENT_COLUMNS " FROM pointstore.event_store e"
		" WHERE e.aggregate_id" EQ "$1 AND e.version" GT "$2 AND e.version" LE "$3 ORDER BY e.version LIMIT $4",
		.nargs = 4, .argtypes = {TEXTOID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[4] = {
		PointerGetDatum(range->aggregate_id), Int64GetDatum(range->after), Int64GetDatum(range->upto), Int64GetDatum(range->most)
	};
	PointstorePlan *here;

	here = pointstore_plan_of(&plan, range->aggregate_id);
	pointstore_prepare(here);
	return SPI_cursor_open(NULL, here->plan, values, NULL, true);
}
