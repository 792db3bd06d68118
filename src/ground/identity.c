/*-------------------------------------------------------------------------
 *
 * src/ground/identity.c
 *		Acting as another role.
 *
 * What a user has put on the store's tables (triggers, defaults, checks) runs under
 * the rights of their owner, whom our functions act as, so it must not be led astray
 * by the caller: search_path is pinned for as long, and SECURITY_LOCAL_USERID_CHANGE
 * forbids SET ROLE. SECURITY_NOFORCE_RLS lets the owner in where a table has FORCE ROW
 * LEVEL SECURITY. Nothing needs undoing on error: the end of a (sub)transaction
 * restores user and settings.
 *
 * In a security-restricted operation PostgreSQL refuses temporary tables, but not all that can be made in
 * pg_temp: functions are let through. What a user's code has left there would be the session's
 * for as long as that lasts, whoever it is for by then. We refuse it. So we do with advisory locks of the session, to a
 * function that it has called for somebody else: one of handlers, reducers and upcasters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "ground/compat.h"
#include "ground/identity.h"

/* A bit of the security context that is ours: a user's function runs, on behalf of others. */
#define FOR_OTHERS 0x10000

static object_access_hook_type earlier_access_hook = NULL;
static void (*at_truncate) (void) = NULL;

static void at_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg);
static bool is_session_lock(Oid function);
static bool is_temporary(Oid class, Oid object);

/* Called once when the library is loaded. */
void
pointstore_identity_init(void)
{
	earlier_access_hook = object_access_hook;
	object_access_hook = at_access;
}

/*
 * 42501 where something is created in pg_temp while we act as another in a security-restricted operation, or a lock of the
 * session is taken or given back by a function that runs on behalf of others.
 */
static void
at_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	Oid			user;
	int			security;

	if (earlier_access_hook != NULL)
		earlier_access_hook(access, class, object, part, arg);
	if (access == OAT_TRUNCATE && at_truncate != NULL)
		at_truncate();
	if (access != OAT_POST_CREATE && access != OAT_FUNCTION_EXECUTE)
		return;
	GetUserIdAndSecContext(&user, &security);
	if (access == OAT_FUNCTION_EXECUTE && (security & FOR_OTHERS) != 0 && is_session_lock(object))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot take or give back advisory locks of the session within a function that is called on behalf of others"),
				 errhint("Take those of the transaction, by pg_advisory_xact_lock().")));
	if (access == OAT_POST_CREATE && ((security & POINTSTORE_RESTRICTED) == POINTSTORE_RESTRICTED || (security & FOR_OTHERS) != 0) &&
		is_temporary(class, object))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot create temporary objects within security-restricted operation")));
}

/* Whether a function takes or gives back advisory locks that outlast the transaction. */
static bool
is_session_lock(Oid function)
{
	static const Oid functions[] = {
		F_PG_ADVISORY_LOCK_INT8, F_PG_ADVISORY_LOCK_SHARED_INT8, F_PG_TRY_ADVISORY_LOCK_INT8, F_PG_TRY_ADVISORY_LOCK_SHARED_INT8,
		F_PG_ADVISORY_UNLOCK_INT8, F_PG_ADVISORY_UNLOCK_SHARED_INT8, F_PG_ADVISORY_LOCK_INT4_INT4, F_PG_ADVISORY_LOCK_SHARED_INT4_INT4,
		F_PG_TRY_ADVISORY_LOCK_INT4_INT4, F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4, F_PG_ADVISORY_UNLOCK_INT4_INT4,
		F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4, F_PG_ADVISORY_UNLOCK_ALL
	};
	int			i;

	for (i = 0; i < lengthof(functions); i++)
		if (function == functions[i])
			return true;
	return false;
}

/* Whether an object that was just created is in this session's pg_temp. */
static bool
is_temporary(Oid class, Oid object)
{
	AttrNumber	att = is_objectclass_supported(class) ? get_object_attnum_namespace(class) : InvalidAttrNumber;
	bool		result = false;
	bool		isnull;
	Relation	catalog;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;

	if (att == InvalidAttrNumber)
		return false;
	catalog = table_open(class, AccessShareLock);
	ScanKeyInit(&key, get_object_attnum_oid(class), BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	scan = systable_beginscan(catalog, get_object_oid_index(class), true, SnapshotSelf, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		result = isTempNamespace(DatumGetObjectId(heap_getattr(row, att, RelationGetDescr(catalog), &isnull)));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/* From now on, until it is NULL, something is called before a table is truncated, and locked for that. */
void
pointstore_at_truncate(void (*refuse) (void))
{
	at_truncate = refuse;
}

/*
 * Takes on a role's identity and a pinned search_path. Plainly: the search_path stays,
 * where no name is looked up.
 */
void
pointstore_act_as(Oid role, PointstoreScope *scope, bool plainly)
{
	GetUserIdAndSecContext(&scope->user, &scope->security);
	SetUserIdAndSecContext(role, scope->security | POINTSTORE_AS_OWNER);
	scope->guc_level = 0;
	if (plainly)
		return;
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* The same in a security-restricted operation: what runs leaves nothing behind that would run as the caller. */
void
pointstore_act_as_restricted(Oid role, PointstoreScope *scope)
{
	pointstore_act_as(role, scope, false);
	SetUserIdAndSecContext(role, scope->security | POINTSTORE_RESTRICTED);
}

/*
 * The same to call a function of a user's on behalf of whoever the session is for: its locks are not the function's, policies bind
 * the role as in a session of its own, and how values become text does not depend on the session.
 */
void
pointstore_act_for_others(Oid role, PointstoreScope *scope)
{
	pointstore_act_as(role, scope, false);
	SetUserIdAndSecContext(role, (scope->security | POINTSTORE_RESTRICTED | FOR_OTHERS) & ~SECURITY_NOFORCE_RLS);
	pointstore_pin_formats();
}

/* Until the caller acts as the caller again values, in definitions too, become text in one way. */
void
pointstore_pin_formats(void)
{
	pointstore_set_option("TimeZone", "UTC");
	pointstore_set_option("DateStyle", "ISO, YMD");
	pointstore_set_option("IntervalStyle", "postgres");
	pointstore_set_option("extra_float_digits", "1");
	pointstore_set_option("bytea_output", "hex");
}

/* Goes back to the caller's. Not needed on error. */
void
pointstore_act_as_caller(const PointstoreScope *scope)
{
	if (scope->guc_level > 0)
		AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->security);
}

/* Sets an option until the caller acts as the caller again; not where it acts plainly. */
void
pointstore_set_option(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* The name of a role, for records; its number where it was dropped meanwhile. */
char *
pointstore_role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? name : psprintf("%u", role);
}

/* Whether a role has the rights of an operator: it may call what is granted from that level on. */
bool
pointstore_is_operator(Oid role)
{
	Oid			argtypes[] = {TEXTOID, TEXTOID};

	return pointstore_may_execute(LookupFuncName(list_make2(makeString("pointstore"), makeString("freeze_account")),
												 lengthof(argtypes), argtypes, false), role);
}

/* Whether a role is a member of another, which may be gone, or an operator. */
bool
pointstore_acts_for(text *name, Oid role)
{
	Oid			other = get_role_oid(text_to_cstring(name), true);

	return (OidIsValid(other) && has_privs_of_role(role, other)) || pointstore_is_operator(role);
}

/* 42501 unless a role has the rights of an operator. */
void
pointstore_require_operator(Oid role, const char *what)
{
	if (!pointstore_is_operator(role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: only operators %s", what),
				 errhint("SELECT pointstore.grant_access('%s', 'operator');", pointstore_role_name(role))));
}
