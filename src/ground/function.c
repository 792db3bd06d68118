/*-------------------------------------------------------------------------
 *
 * src/ground/function.c
 *		Functions of users, which the store's tables name: found, and called.
 *
 * They are kept as text, schema and name: what a table keeps by number stops pg_upgrade and dies in a
 * dump. Who puts a name there must be allowed to call the function, and to act as whom it is called as
 * (guard/function.c). So must the store's owner, which may put anything there past all triggers: that is asked
 * again when a name is read from there.
 *
 * As whom. A function is called as its owner: who may read a state needs no rights on what its reducer
 * reads. But none is called as a superuser, since who calls is somebody else, and what the function
 * calls in turn may be anybody's: a superuser's own function is called as the store's owner and, where he is one
 * too, as the role of the session. Only where that is a superuser as well does it run as one.
 *
 * How. In a security-restricted operation, so it cannot SET ROLE, nor leave behind what would run later;
 * with search_path pg_catalog, pg_temp, and with the settings by which values become text
 * pinned, so that it says the same whoever calls. What its own SET clauses say comes after that. What it
 * sets itself is undone when it returns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "ground/compat.h"
#include "ground/function.h"
#include "ground/identity.h"
#include "ground/store.h"

#define MOST_ARGUMENTS 3

/* the arguments of each sort, as they are looked up, and as they are kept */
static const char *const signatures[] = {
	"(pg_catalog.jsonb, pointstore.event)", "(pg_catalog.jsonb)", "(pg_catalog.jsonb, pg_catalog.int8, pointstore.event[])"
};
static const char *const kept_signatures[] = {
	"(jsonb,pointstore.event)", "(jsonb)", "(jsonb,bigint,pointstore.event[])"
};

static bool fits(Oid function);
static char *qualified_name(Oid function);
static Oid	role_of_call(Oid function, Oid caller);
static Oid	role_meant(Oid function);

/* A function by its name, with or without its arguments; 42883 or, where that is no error, InvalidOid when there is none that fits. */
Oid
pointstore_find_function(const char *name, UserFunctionSort sort, bool missing_ok)
{
	const char *full = strchr(name, '(') != NULL ? name : psprintf("%s%s", name, signatures[sort]);
	LOCAL_FCINFO(fcinfo, 1);
	Datum		found;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(full);
	fcinfo->args[0].isnull = false;
	found = to_regprocedure(fcinfo);
	if (!fcinfo->isnull && fits(DatumGetObjectId(found)))
		return DatumGetObjectId(found);
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("there is no function %s that returns jsonb", full)));
	return InvalidOid;
}

/* The function that a table of the store names: 42883, and 42501 where the table's owner may not have it called. */
Oid
pointstore_named_function(const char *name, UserFunctionSort sort)
{
	Oid			function = pointstore_find_function(name, sort, false);

	pointstore_require_function(function, sort, pointstore_store_owner());
	return function;
}

/* Whether it is a plain function that returns one jsonb. */
static bool
fits(Oid function)
{
	return get_func_prokind(function) == PROKIND_FUNCTION && get_func_rettype(function) == JSONBOID &&
		!get_func_retset(function);
}

/* The function as it is kept: schema, name and arguments; 42883 where there is none. */
char *
pointstore_function_text(Oid function, UserFunctionSort sort)
{
	return psprintf("%s%s", qualified_name(function), kept_signatures[sort]);
}

/* A number may be any: what is one of a function that was dropped, and regprocedure takes those that never were. */
static char *
qualified_name(Oid function)
{
	char	   *name = get_func_name(function);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), name);
}

/* 42501 unless a role may have the function called for others; 22023 where it has other arguments. */
void
pointstore_require_function(Oid function, UserFunctionSort sort, Oid role)
{
	if (pointstore_find_function(pointstore_function_text(function, sort), sort, true) != function)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s is none of %s that returns jsonb", get_func_name(function), signatures[sort])));
	if (!pointstore_may_execute(function, role) || !has_privs_of_role(role, role_meant(function)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", get_func_name(function)),
				 errdetail("It would be called on others' behalf, which role %s may allow.", pointstore_role_name(role_meant(function)))));
}

/* As whom a function is called. */
static Oid
role_of_call(Oid function, Oid caller)
{
	Oid			role = role_meant(function);

	return superuser_arg(role) ? caller : role;
}

/* As whom it is called unless that is a superuser: its owner, or of a superuser's the store's. */
static Oid
role_meant(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			role;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %u was dropped", function)));
	role = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return superuser_arg(role) ? pointstore_store_owner() : role;
}

/* A function ready to be called, in the current memory context; 42501 where who is to call it may not. */
UserFunction *
pointstore_load_function(Oid function)
{
	return pointstore_load_function_for(function, GetOuterUserId());
}

/* The same where the caller is another than the role of the session. */
UserFunction *
pointstore_load_function_for(Oid function, Oid caller)
{
	UserFunction *result = palloc0(sizeof(UserFunction));

	result->role = role_of_call(function, caller);
	result->name = qualified_name(function);
	if (!pointstore_may_execute(function, result->role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", result->name),
				 errdetail("It is called as role %s.", pointstore_role_name(result->role))));
	fmgr_info_cxt(function, &result->call, CurrentMemoryContext);
	return result;
}

/* What a function makes of its arguments, none of them null: 22004 where that is null. */
Datum
pointstore_call_function(UserFunction *function, const Datum *arguments, int n)
{
	bool		isnull;
	Datum		result = pointstore_call_nullable(function, arguments, n, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("function %s returned null", function->name)));
	return result;
}

/* The same where null is an answer. */
Datum
pointstore_call_nullable(UserFunction *function, const Datum *arguments, int n, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, MOST_ARGUMENTS);
	PointstoreScope scope;
	Datum		result;
	int			i;

	InitFunctionCallInfoData(*fcinfo, &function->call, n, InvalidOid, NULL, NULL);
	for (i = 0; i < n; i++)
	{
		fcinfo->args[i].value = arguments[i];
		fcinfo->args[i].isnull = false;
	}
	pointstore_act_for_others(function->role, &scope);
	result = FunctionCallInvoke(fcinfo);
	pointstore_act_as_caller(&scope);
	*isnull = fcinfo->isnull;
	return result;
}

/* The type pointstore.event. */
Oid
pointstore_event_type(void)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("event"),
						   ObjectIdGetDatum(get_namespace_oid("pointstore", false)));
}

/* An event as that type. */
Datum
pointstore_event_datum(Datum *values, bool *nulls)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(pointstore_event_type(), -1);
	Datum		event;

	if (desc->natts != N_EVENT_COLUMNS)
		elog(ERROR, "type pointstore.event has %d columns", desc->natts);
	event = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	ReleaseTupleDesc(desc);
	return event;
}

/* What a function says, by which it can be told whether it says the same elsewhere and later, and the row in which it does. */
void
pointstore_describe_function(Oid function, StringInfo definition, StringInfo row)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	PointstoreScope scope;

	if (!HeapTupleIsValid(tuple))
		return;
	appendStringInfo(row, "%u %u %u %u,", function, HeapTupleHeaderGetRawXmin(tuple->t_data),
					 ItemPointerGetBlockNumber(&tuple->t_self), ItemPointerGetOffsetNumber(&tuple->t_self));
	ReleaseSysCache(tuple);
	pointstore_act_as_restricted(GetUserId(), &scope);
	pointstore_pin_formats();
	pointstore_set_option("quote_all_identifiers", "off");
	appendStringInfoString(definition, TextDatumGetCString(OidFunctionCall1(F_PG_GET_FUNCTIONDEF, ObjectIdGetDatum(function))));
	pointstore_act_as_caller(&scope);
}
