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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/guc.h"

#include "ground/compat.h"
#include "ground/identity.h"

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
