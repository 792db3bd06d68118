/*-------------------------------------------------------------------------
 *
 * src/nodes/server.c
 *		Foreign servers of the wrapper pointstore: which options they take, and how one is connected to.
 *
 * The options are libpq's, as postgres_fdw has them: those that say who one is belong to the user mapping, the others to
 * the server, sslcert and sslkey to either. What debugging and our own connections need is nobody's to set.
 *
 * Whoever may make servers decides where the server's process connects to. So a store whose owner is no superuser is
 * connected by a password alone, which stands in the mapping and which the server there has asked for: else it would be
 * the operating system's user who is let in, or somebody's password file. A superuser may say password_required = 'false'
 * in the mapping, and only a superuser may name files of keys there.
 *
 * Nothing here is locked: the syscaches are read, and a generation says that they may have changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "nodes/server.h"

PG_FUNCTION_INFO_V1(pointstore_fdw_validator);

#define CONNECT_TIMEOUT 10000	/* ms, where connect_timeout does not say another */
#define MAX_OPTIONS 100

typedef enum OptionPlace
{
	PLACE_NONE,
	PLACE_SERVER,
	PLACE_MAPPING,
	PLACE_BOTH
} OptionPlace;

static uint64 generation = 0;

static OptionPlace place_of(const char *name);
static const PQconninfoOption *libpq_options(void);
static bool is_our_own(const char *name);
static void check_option(const DefElem *option, Oid catalog);
static void refuse_option(const DefElem *option, Oid catalog);
static void require_usage(const ForeignServer *server, Oid owner);
static void add_options(ServerAddress *address, int *n, List *options);
static bool has_password(const ServerAddress *address);
static bool is_password_required(const UserMapping *mapping);
static int	timeout_of(const ServerAddress *address);
static void hear_of_changes(void);
static void servers_changed(Datum arg, int cache, uint32 hash);

/* fdw_validator(options, catalog) */
Datum
pointstore_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *cell;

	foreach(cell, options)
		check_option(lfirst(cell), catalog);
	PG_RETURN_VOID();
}

/* HV00D: no such option there; 42501: it is a superuser's; 22023: a value that cannot be. */
static void
check_option(const DefElem *option, Oid catalog)
{
	OptionPlace place = place_of(option->defname);

	if (!(place == PLACE_BOTH && (catalog == ForeignServerRelationId || catalog == UserMappingRelationId)) &&
		!(place == PLACE_SERVER && catalog == ForeignServerRelationId) && !(place == PLACE_MAPPING && catalog == UserMappingRelationId))
		refuse_option(option, catalog);
	if (strcmp(option->defname, "password_required") == 0)
	{
		bool		required;

		if (!parse_bool(defGetString((DefElem *) option), &required))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("password_required must be a Boolean value, is \"%s\"", defGetString((DefElem *) option))));
		if (!required && !superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("password_required = 'false' is superuser-only")));
	}
	if (catalog == UserMappingRelationId && place == PLACE_BOTH && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" in a user mapping is superuser-only", option->defname)));
}

static void
refuse_option(const DefElem *option, Oid catalog)
{
	bool		takes_none = catalog != ForeignServerRelationId && catalog != UserMappingRelationId;

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", option->defname),
			 takes_none ? errhint("Options belong to CREATE SERVER and CREATE USER MAPPING.") :
			 catalog == ForeignServerRelationId ?
			 errhint("A server takes libpq's options for where it is (host, port, dbname, sslmode ...); user, password and password_required belong to CREATE USER MAPPING.") :
			 errhint("A user mapping takes user, password, sslpassword, sslcert, sslkey and password_required.")));
}

/* Where an option belongs. */
static OptionPlace
place_of(const char *name)
{
	const PQconninfoOption *option;

	if (strcmp(name, "password_required") == 0)
		return PLACE_MAPPING;
	for (option = libpq_options(); option->keyword != NULL; option++)
	{
		if (strcmp(option->keyword, name) != 0)
			continue;
		if (strchr(option->dispchar, 'D') != NULL || is_our_own(name))
			return PLACE_NONE;
		if (strcmp(name, "user") == 0 || strchr(option->dispchar, '*') != NULL)
			return PLACE_MAPPING;
		return strcmp(name, "sslcert") == 0 || strcmp(name, "sslkey") == 0 ? PLACE_BOTH : PLACE_SERVER;
	}
	return PLACE_NONE;
}

/* Those that libpq knows; read once. */
static const PQconninfoOption *
libpq_options(void)
{
	static PQconninfoOption *options = NULL;

	if (options == NULL)
		options = PQconndefaults();
	if (options == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	return options;
}

/* What the coordinator sets itself. */
static bool
is_our_own(const char *name)
{
	return strcmp(name, "client_encoding") == 0 || strcmp(name, "fallback_application_name") == 0 || strcmp(name, "replication") == 0;
}

/*
 * How a server is connected to by the owner of the store, in the caller's memory. 42704: there is no such server, or no
 * user mapping; 42501: the owner has no USAGE on it; 2F003, as postgres_fdw has it: a password is needed and none is there. Nothing of it may be logged.
 */
ServerAddress *
pointstore_server_address(const char *name, Oid owner)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	ServerAddress *address = palloc0(sizeof(ServerAddress));
	UserMapping *mapping;
	int			n = 0;

	hear_of_changes();
	if (server == NULL || strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "pointstore") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no server \"%s\" of the foreign data wrapper pointstore", name)));
	require_usage(server, owner);
	mapping = GetUserMapping(owner, server->serverid);
	address->keywords = palloc0(sizeof(char *) * MAX_OPTIONS);
	address->values = palloc0(sizeof(char *) * MAX_OPTIONS);
	add_options(address, &n, server->options);
	add_options(address, &n, mapping->options);
	address->keywords[n] = "client_encoding";
	address->values[n++] = GetDatabaseEncodingName();
	address->keywords[n] = "fallback_application_name";
	address->values[n++] = "pointstore coordinator";
	address->timeout = timeout_of(address);
	address->needs_password = !superuser_arg(owner) && is_password_required(mapping);
	if (address->needs_password && !has_password(address))
		ereport(ERROR,
				(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				 errmsg("password is required for server \"%s\"", name),
				 errdetail("The store's owner is no superuser, and its user mapping has no password.")));
	return address;
}

/* Whether there is a server of that name, of whatever wrapper. */
bool
pointstore_server_exists(const char *name)
{
	return GetForeignServerByName(name, true) != NULL;
}

static void
require_usage(const ForeignServer *server, Oid owner)
{
	if (!pointstore_may_use_server(server->serverid, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server \"%s\"", server->servername),
				 errdetail("The store's owner, %s, connects to it.", GetUserNameFromId(owner, false))));
}

/* Of the mapping after those of the server: libpq takes the last. */
static void
add_options(ServerAddress *address, int *n, List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "password_required") == 0 || *n >= MAX_OPTIONS - 3)
			continue;
		address->keywords[*n] = pstrdup(option->defname);
		address->values[(*n)++] = pstrdup(defGetString(option));
	}
}

static bool
has_password(const ServerAddress *address)
{
	int			i;

	for (i = 0; address->keywords[i] != NULL; i++)
		if (strcmp(address->keywords[i], "password") == 0 && address->values[i][0] != '\0')
			return true;
	return false;
}

static bool
is_password_required(const UserMapping *mapping)
{
	ListCell   *cell;

	foreach(cell, mapping->options)
		if (strcmp(((DefElem *) lfirst(cell))->defname, "password_required") == 0)
			return defGetBoolean(lfirst(cell));
	return true;
}

/* connect_timeout, which libpq minds only where it blocks. */
static int
timeout_of(const ServerAddress *address)
{
	int			i;

	for (i = 0; address->keywords[i] != NULL; i++)
		if (strcmp(address->keywords[i], "connect_timeout") == 0 && atoi(address->values[i]) > 0)
			return Min(atoi(address->values[i]), 3600) * 1000;
	return CONNECT_TIMEOUT;
}

/* Whether two are the same, so that a connection by one need not be made anew for the other. */
bool
pointstore_same_address(const ServerAddress *a, const ServerAddress *b)
{
	int			i;

	for (i = 0; a->keywords[i] != NULL && b->keywords[i] != NULL; i++)
		if (strcmp(a->keywords[i], b->keywords[i]) != 0 || strcmp(a->values[i], b->values[i]) != 0)
			return false;
	return a->keywords[i] == NULL && b->keywords[i] == NULL && a->needs_password == b->needs_password;
}

/* Changes when servers or user mappings may have changed. */
uint64
pointstore_servers_generation(void)
{
	return generation;
}

static void
hear_of_changes(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, servers_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, servers_changed, (Datum) 0);
	registered = true;
}

static void
servers_changed(Datum arg, int cache, uint32 hash)
{
	generation++;
}
