/*-------------------------------------------------------------------------
 *
 * src/feed/projection.c
 *		Projections: subscriptions whose events a function of the user's takes, the handler.
 *
 * A handler is the user's, and nobody's who could be hurt by it: it runs as the role that created the
 * projection, which owns it and is no superuser, in a security-restricted operation. It can take
 * on no other role there, and leaves nothing behind that would run later. Handler and role are
 * kept by name, so that they survive a dump, and are looked up for each batch: where one is gone, or
 * is not what it was, the projection stops. Where it only lacks a right it waits for that: a restore grants
 * them last, after a worker may have looked.
 *
 * The row of pointstore.subscription is the definition; that of pointstore.projection says where it
 * began, and how fast it gets on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "feed/page.h"
#include "feed/projection.h"
#include "feed/subscription.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/wake.h"

PG_FUNCTION_INFO_V1(pointstore_create_projection);
PG_FUNCTION_INFO_V1(pointstore_drop_projection);

#define HANDLER_ARGUMENTS "(pointstore.feed_event[])"
/* a claim ends by its worker's death, which others see (project.c), and by no clock */
#define PROJECTION_LEASE "1 day"
#define PROJECTION_ATTEMPTS 5
#define MAX_RETRYING 100

/* what a handler can ask */
static bool is_replaying = false;

static void read_definition(FunctionCallInfo fcinfo, Subscription *subscription);
static void store_definition(Subscription *subscription, Oid handler, bool from_now, int64 start_after);
static void insert_projection(text *name, int64 start_after, int64 replay_upto);
static void delete_projection(text *name);
static int64 read_start(text *name);
static void look_up(Projection *projection);
static Oid	find_handler(char *name);
static const char *unfit_handler(const Projection *projection);
static const char *lacking_right(const Projection *projection);
static bool fits(Form_pg_proc function, bool handles);
static Oid	event_type(void);
static Oid	event_array(void);

/* Called once when the library is loaded. */
void
pointstore_projection_init(void)
{
	DefineCustomBoolVariable("pointstore.replaying",
							 "Whether a projection's handler runs, and what it is given may have been given before.",
							 NULL, &is_replaying, false, PGC_INTERNAL, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, NULL, NULL, NULL);
}

/* create_projection(name, handler, start_after, event_types, aggregate_prefix, slots, batch, on_failure) */
Datum
pointstore_create_projection(PG_FUNCTION_ARGS)
{
	Subscription subscription = {0};
	PointstoreScope scope;

	pointstore_check_arguments(fcinfo, 8);
	PreventCommandIfReadOnly("create_projection()");
	read_definition(fcinfo, &subscription);
	if (superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a superuser creates no projection, for its handler would run as one"),
				 errhint("SET ROLE to an operator who owns the handler and the tables that it writes.")));
	subscription.created_by = cstring_to_text(GetUserNameFromId(GetUserId(), false));
	pointstore_act_as_reader(&scope);
	SPI_connect();
	store_definition(&subscription, PG_GETARG_OID(1), PG_ARGISNULL(2), PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2));
	SPI_finish();
	pointstore_wake_at_commit();
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* What the arguments say: 22004, 22023. */
static void
read_definition(FunctionCallInfo fcinfo, Subscription *subscription)
{
	subscription->name = pointstore_name(fcinfo, 0, "name");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(5) || PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "handler" : PG_ARGISNULL(5) ? "slots" : "batch")));
	pointstore_set_filter(subscription, fcinfo, 3, 4);
	subscription->slots = PG_GETARG_INT16(5);
	subscription->batch = PG_GETARG_INT32(6);
	subscription->on_failure = pointstore_name(fcinfo, 7, "on_failure");
	subscription->status = cstring_to_text("running");
	subscription->running = true;
	subscription->lease = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(PROJECTION_LEASE), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	subscription->max_attempts = PROJECTION_ATTEMPTS;
	subscription->max_retrying = MAX_RETRYING;
}

/* The rows of a new one: 42710, 42501, 22023. What came before it was created counts as delivered. */
static void
store_definition(Subscription *subscription, Oid handler, bool from_now, int64 start_after)
{
	Projection	projection = {0};
	int64		head = pointstore_head();

	if (from_now)
		start_after = head;
	projection.role = get_role_oid(text_to_cstring(subscription->created_by), false);
	(void) pointstore_function_of(&projection, handler, true, &subscription->handler);
	pointstore_insert_subscription(subscription, start_after);
	insert_projection(subscription->name, start_after, head);
}

/* What dropping a subscription of that name may have left is taken over. */
static void
insert_projection(text *name, int64 start_after, int64 replay_upto)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.projection (name, start_after) VALUES ($1, $2)",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	static PointstorePlan replay_plan = {
		.sql = "UPDATE pointstore.subscription SET replay_upto = $2 WHERE name" EQ "$1",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {PointerGetDatum(name), Int64GetDatum(start_after)};

	delete_projection(name);
	pointstore_execute(&plan, values, NULL, false);
	values[1] = Int64GetDatum(replay_upto);
	pointstore_execute(&replay_plan, values, NULL, false);
}

static void
delete_projection(text *name)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.projection WHERE name" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(name);

	pointstore_execute(&plan, &value, NULL, false);
}

/* drop_projection(name): 42704. */
Datum
pointstore_drop_projection(PG_FUNCTION_ARGS)
{
	text	   *name = pointstore_name(fcinfo, 0, "name");
	Projection	projection;
	PointstoreScope scope;

	PreventCommandIfReadOnly("drop_projection()");
	pointstore_act_as_reader(&scope);
	SPI_connect();
	pointstore_require_projection(&projection, name);
	pointstore_delete_subscription(&projection.subscription);
	delete_projection(name);
	SPI_finish();
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/* Reads a projection, and looks up what its handler is now. False: there is none of that name. */
bool
pointstore_find_projection(Projection *projection, text *name)
{
	memset(projection, 0, sizeof(Projection));
	if (!pointstore_find_subscription(&projection->subscription, name) || projection->subscription.handler == NULL)
		return false;
	projection->start_after = read_start(name);
	look_up(projection);
	return true;
}

/* The same, or 42704. */
void
pointstore_require_projection(Projection *projection, text *name)
{
	if (!pointstore_find_projection(projection, name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", pointstore_cstring(name))));
}

/* After which position it began. */
static int64
read_start(text *name)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(p.start_after AS pg_catalog.int8) FROM pointstore.projection p WHERE p.name" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(name);
	int64		start = 0;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	if (SPI_processed > 0)
	{
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		start = isnull ? 0 : DatumGetInt64(value);
	}
	SPI_finish();
	return start;
}

/* The role and the handler of a projection by their names, and whether the one may still be called as the other. */
static void
look_up(Projection *projection)
{
	projection->role = get_role_oid(text_to_cstring(projection->subscription.created_by), true);
	projection->handler = find_handler(text_to_cstring(projection->subscription.handler));
	projection->unfit = !OidIsValid(projection->role) ? "its role does not exist" :
		superuser_arg(projection->role) ? "its role is a superuser" : unfit_handler(projection);
	if (projection->unfit != NULL)
		return;
	projection->unfit = lacking_right(projection);
	projection->lacks_right = projection->unfit != NULL;
}

/* A handler by its name, as pointstore_function_of() gives it. No right to its schema is asked: the store's owner has none, perhaps. */
static Oid
find_handler(char *name)
{
	Oid			argument = event_array();
	char	   *arguments = strrchr(name, '(');
	List	   *parts = NIL;
	Oid			namespace;

	if (arguments == NULL || strcmp(arguments, HANDLER_ARGUMENTS) != 0)
		return InvalidOid;
	*arguments = '\0';
	if (!SplitIdentifierString(name, '.', &parts) || list_length(parts) != 2)
		return InvalidOid;
	namespace = get_namespace_oid(linitial(parts), true);
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, PointerGetDatum(lsecond(parts)),
						   PointerGetDatum(buildoidvector(&argument, 1)), ObjectIdGetDatum(namespace));
}

/* Why the handler may not be called as the role; null: it may. */
static const char *
unfit_handler(const Projection *projection)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(projection->handler));
	const char *unfit = NULL;
	Form_pg_proc handler;

	if (!HeapTupleIsValid(tuple))
		return "its handler does not exist";
	handler = (Form_pg_proc) GETSTRUCT(tuple);
	if (handler->proowner != projection->role)
		unfit = "its handler is not its role's";
	else if (!fits(handler, true))
		unfit = "its handler is no function that returns void";
	ReleaseSysCache(tuple);
	return unfit;
}

/* The right that its role lacks, as all do until the end of a restore, which grants them last; null: none. */
static const char *
lacking_right(const Projection *projection)
{
	if (!pointstore_is_operator(projection->role))
		return "its role is no operator";
	return pointstore_may_execute(projection->handler, projection->role) ? NULL : "its role may not call its handler";
}

/* 55000 where the handler may not be called. */
void
pointstore_require_fit(const Projection *projection)
{
	if (projection->unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("projection \"%s\" cannot run: %s", pointstore_cstring(projection->subscription.name), projection->unfit)));
}

/* Whether a function takes the events of the feed, or nothing, and returns void. */
static bool
fits(Form_pg_proc function, bool handles)
{
	return function->prokind == PROKIND_FUNCTION && !function->proretset && function->prorettype == VOIDOID &&
		function->pronargs == (handles ? 1 : 0) && (!handles || function->proargtypes.values[0] == event_array());
}

/* The types feed_event and feed_event[]. */
static Oid
event_type(void)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("feed_event"),
						   ObjectIdGetDatum(LookupExplicitNamespace("pointstore", false)));
}

static Oid
event_array(void)
{
	return get_array_type(event_type());
}

/*
 * Checks that a function is one that the projection's role owns (42501), and takes the events of the feed, or
 * nothing, and returns void (22023). *name is its qualified name, as it is kept.
 */
Oid
pointstore_function_of(const Projection *projection, Oid function, bool handles, text **name)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	const char *what = handles ? "handler" : "reset function";
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("%s with OID %u does not exist", what, function)));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (!fits(form, handles))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a %s takes %s and returns void, %s does not", what, handles ? "pointstore.feed_event[]" : "no argument",
						format_procedure(function))));
	*name = cstring_to_text(psprintf("%s%s", quote_qualified_identifier(get_namespace_name(form->pronamespace), NameStr(form->proname)),
									 handles ? HANDLER_ARGUMENTS : "()"));
	if (form->proowner != projection->role)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s is not owned by the role of the projection", text_to_cstring(*name))));
	ReleaseSysCache(tuple);
	return function;
}

/* The events of a page, each as a value of type feed_event. */
Datum *
pointstore_feed_events(const FeedPage *page)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(event_type(), -1);
	Datum	   *events = palloc(sizeof(Datum) * Max(page->nevents, 1));
	Datum		values[N_EVENT_COLUMNS + 2];
	bool		nulls[N_EVENT_COLUMNS + 2] = {false};
	int			i;

	if (desc->natts != lengthof(values))
		elog(ERROR, "type feed_event has %d columns", desc->natts);
	/* for what is stored out of line */
	(void) pointstore_push_snapshot();
	for (i = 0; i < page->nevents; i++)
	{
		values[0] = Int64GetDatum(page->events[i].position);
		heap_deform_tuple(page->events[i].row, page->desc, values + 1, nulls + 1);
		values[N_EVENT_COLUMNS + 1] = Int64GetDatum(page->read_to);
		events[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	PopActiveSnapshot();
	ReleaseTupleDesc(desc);
	return events;
}

/* Values of type feed_event with the newest forms of their payloads. What an upcaster raises is raised. */
Datum *
pointstore_upcast_feed_events(Upcasters *upcasters, const Datum *events, int n)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(DatumGetHeapTupleHeader(events[0])), -1);
	Datum	   *result = palloc(sizeof(Datum) * n);
	Datum		values[N_EVENT_COLUMNS + 2];
	bool		nulls[N_EVENT_COLUMNS + 2];
	int			i;

	for (i = 0; i < n; i++)
	{
		HeapTupleData row = {.t_data = DatumGetHeapTupleHeader(events[i])};

		result[i] = events[i];
		if (upcasters == NULL)
			continue;
		CHECK_FOR_INTERRUPTS();
		row.t_len = HeapTupleHeaderGetDatumLength(row.t_data);
		heap_deform_tuple(&row, desc, values, nulls);
		if (pointstore_upcast_columns(upcasters, values + 1, nulls + 1, DatumGetInt64(values[0])))
			result[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	return result;
}

/* Calls the handler with events. */
void
pointstore_call_handler(const Projection *projection, Datum *events, int n, bool replaying)
{
	Oid			type = HeapTupleHeaderGetTypeId(DatumGetHeapTupleHeader(events[0]));
	ArrayType  *array = construct_array(events, n, type, -1, false, TYPALIGN_DOUBLE);

	is_replaying = replaying;
	PG_TRY();
	{
		pointstore_call_as_creator(projection, projection->handler, array);
	}
	PG_FINALLY();
	{
		is_replaying = false;
	}
	PG_END_TRY();
	pfree(array);
}

/*
 * Calls a function of the user's with an array, or where that is null without an argument. Whatever it does is
 * done as the projection's role, and ends with it.
 */
void
pointstore_call_as_creator(const Projection *projection, Oid function, ArrayType *array)
{
	LOCAL_FCINFO(fcinfo, 1);
	PointstoreScope scope;
	FmgrInfo	info;

	/* while a projection is rebuilt its role may become one */
	if (superuser_arg(projection->role))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the projection's role is a superuser")));
	pointstore_act_for_others(projection->role, &scope);
	(void) pointstore_push_snapshot();
	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, array == NULL ? 0 : 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(array);
	fcinfo->args[0].isnull = false;
	/* what a function in SQL returns as void is null */
	(void) FunctionCallInvoke(fcinfo);
	PopActiveSnapshot();
	pointstore_act_as_caller(&scope);
}
