/*-------------------------------------------------------------------------
 *
 * src/ground/store.c
 *		Where the store is.
 *
 * The store's tables are ordinary tables that anybody with the right may
 * alter, so nothing about them is taken for granted: their oids, columns and
 * indexes are looked up by name and kept in one struct until PostgreSQL says
 * that one of the relations has changed; the next is another one. A store that lacks something is
 * refused (55000) rather than half used. Only what verifies is let in where a
 * trigger or a key is gone: that is when there is most to find.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/store.h"


/* Relations whose change may make another store of it, beside the tables. */
static const char *const watched_names[] = {"account", "store_version", "event_store_id_seq"};

PG_FUNCTION_INFO_V1(pointstore_found_version);
PG_FUNCTION_INFO_V1(pointstore_check_store);
PG_FUNCTION_INFO_V1(pointstore_check_sequence);

static PointstoreStore *store = NULL;
static MemoryContext store_context = NULL;
static Oid	watched[lengthof(watched_names)];
static bool store_valid = false;
static uint64 kinds_generation = 0;
static uint64 transitions_generation = 0;

static void hear_of_changes(void);
static void find_store(void);
static void load_store(void);
static void begin_store(void);
static Oid	store_relation(Oid schema, const char *name);
static void check_sequence_settings(void);
static Oid	owner_of_store(void);
static void check_parts(Oid schema);
static Oid	maker_of_triggers(Oid schema);
static char *read_version(void);
static char *read_one_as(Oid role, PointstorePlan *plan);
static void forget_store(Datum arg, Oid relid);

/*
 * Hears of changes to the store's relations, from its first use in a session on. A process
 * has room for ten such callbacks, and others need theirs: so we have this one, and
 * none where the store is not used.
 */
static void
hear_of_changes(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(forget_store, (Datum) 0);
	registered = true;
}

static void
forget_store(Datum arg, Oid relid)
{
	int			i;

	if (!OidIsValid(relid) || (store != NULL && relid == store->shard.table[TABLE_ACCOUNT_KIND].relid))
		kinds_generation++;
	if (!OidIsValid(relid) || (store != NULL && relid == store->shard.table[TABLE_TRANSITION].relid))
	{
		kinds_generation++;
		transitions_generation++;
	}
	if (!OidIsValid(relid))
		store_valid = false;
	for (i = 0; store_valid && i < N_STORE_TABLES; i++)
		if (store->shard.table[i].relid == relid)
			store_valid = false;
	for (i = 0; store_valid && i < lengthof(watched); i++)
		if (watched[i] == relid)
			store_valid = false;
	if (store_valid && store->placements != NULL)
		pointstore_forget_placed(store->placements, relid);
}

/* Changes with each change of the kinds that has become known to this session. */
uint64
pointstore_kinds_generation(void)
{
	return kinds_generation;
}

/* The same of their transitions; with these the kinds change, too. */
uint64
pointstore_transitions_generation(void)
{
	return transitions_generation;
}

/* Whether this database has a store, of whatever version and in whatever state. */
bool
pointstore_store_exists(void)
{
	Oid			schema = get_namespace_oid("pointstore", true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("event_store", schema));
}

/* The store of this database; 55000 when there is none, or none of this version. */
const PointstoreStore *
pointstore_store(void)
{
	find_store();
	if (store->lack.what != NULL)
		pointstore_refuse_lack(store->lack.what, store->lack.name);
	return store;
}

/* The same where this session has looked it up and has not heard of a change since; else NULL, and nothing is looked up. */
const PointstoreStore *
pointstore_known_store(void)
{
	return store_valid && store->lack.what == NULL ? store : NULL;
}

/* Whether the store has all its keys and triggers; false only for what verifies it. */
bool
pointstore_store_is_complete(void)
{
	find_store();
	return store->lack.what == NULL;
}

/* Whether the rows of its accounts are in the shards of distributed tables, whatever it may lack. */
bool
pointstore_is_distributed(void)
{
	find_store();
	return store->placements != NULL;
}

/* Its owner; 55000 as above. */
Oid
pointstore_store_owner(void)
{
	find_store();
	return store->owner;
}

/* Whether no key, index or trigger is missing, as they are until the end of a restore; what else a store may lack is for what verifies it. */
bool
pointstore_store_is_whole(void)
{
	find_store();
	return store->lack.what == NULL ||
		(strcmp(store->lack.what, "trigger") != 0 && strcmp(store->lack.what, "index") != 0 &&
		 strcmp(store->lack.what, "unique index") != 0);
}

static void
find_store(void)
{
	hear_of_changes();
	/* opening relations below may itself bring invalidations: look until none came */
	while (!store_valid)
	{
		store_valid = true;
		PG_TRY();
		{
			load_store();
		}
		PG_CATCH();
		{
			store_valid = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
}

/*
 * Looks everything up. From the owner's name on that is done as the owner: to read the
 * owner's views, and the mere look at an index, may evaluate the owner's functions.
 */
static void
load_store(void)
{
	Oid			schema = get_namespace_oid("pointstore", true);
	PointstoreScope scope;
	Oid			relids[N_STORE_TABLES];
	int			i;

	begin_store();
	if (!pointstore_store_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is not created in database \"%s\"", get_database_name(MyDatabaseId)),
				 errhint("SELECT pointstore.create_store();")));
	store->owner = owner_of_store();
	pointstore_act_as_restricted(store->owner, &scope);
	if (pointstore_have_placements(get_relname_relid("event_store", schema)))
		store->placements = pointstore_load_placements(store_context, schema);
	check_parts(schema);

	for (i = 0; i < N_STORE_TABLES; i++)
		relids[i] = store_relation(schema, pointstore_table_names[i]);
	for (i = 0; i < lengthof(watched); i++)
		watched[i] = store_relation(schema, watched_names[i]);
	if (store->placements != NULL)
		pointstore_rules_here(store->placements, relids);
	pointstore_load_shard(&store->shard, relids, store->placements != NULL, &store->lack);
	store->id_sequence = store_relation(schema, "event_store_id_seq");
	check_sequence_settings();
	store->receipt_type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										 CStringGetDatum("receipt"), ObjectIdGetDatum(schema));
	pointstore_act_as_caller(&scope);
}

/* A struct for another generation: that before lives as long as this transaction, which may have pointers into it. */
static void
begin_store(void)
{
	static uint64 generation = 0;

	if (store_context != NULL)
		MemoryContextSetParent(store_context, TopTransactionContext);
	store_context = AllocSetContextCreate(TopMemoryContext, "pointstore store", ALLOCSET_SMALL_SIZES);
	store = MemoryContextAllocZero(store_context, sizeof(PointstoreStore));
	store->generation = ++generation;
}

static Oid
store_relation(Oid schema, const char *name)
{
	Oid			relid = get_relname_relid(name, schema);

	if (!OidIsValid(relid))
		pointstore_refuse_lack("relation", name);
	return relid;
}

/* Notes a sequence that would not draw rising ids: what it was given by ALTER SEQUENCE. */
static void
check_sequence_settings(void)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(store->id_sequence));
	bool		rises = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_sequence form = (Form_pg_sequence) GETSTRUCT(tuple);

		rises = form->seqtypid == INT8OID && form->seqincrement > 0 && form->seqcache == 1 && !form->seqcycle;
		ReleaseSysCache(tuple);
	}
	if (!rises)
		pointstore_note_lack(&store->lack, "sequence", "event_store_id_seq of type bigint with INCREMENT above 0, CACHE 1, NO CYCLE");
}

/*
 * The first of the sequence's settings that is not as it must be, or NULL: what it is and
 * what is there. To be called as the owner. Of an event that is seen
 * the id was drawn before, so events that are being appended are not mistaken.
 */
const char *
pointstore_sequence_fault(int64 *expected, int64 *found)
{
	static PointstorePlan plan = {
		.sql = "SELECT f.setting, f.expected, f.found FROM pg_catalog.pg_sequence s, pointstore.event_store_id_seq q,"
		" (SELECT pg_catalog.max(id) AS id FROM pointstore.event_store) e,"
		" LATERAL (VALUES"
		"  ('increment', CAST(1 AS pg_catalog.int8), s.seqincrement, s.seqincrement" GT "0),"
		"  ('bytes', 8, CASE WHEN s.seqtypid" EQ "CAST('pg_catalog.int8' AS pg_catalog.regtype) THEN 8 ELSE 4 END,"
		"   s.seqtypid" EQ "CAST('pg_catalog.int8' AS pg_catalog.regtype)),"
		"  ('cache', 1, s.seqcache, s.seqcache" EQ "1),"
		"  ('cycle', 0, CASE WHEN s.seqcycle THEN 1 ELSE 0 END, NOT s.seqcycle),"
		"  ('next id', e.id" PLUS "1, q.last_value" PLUS "CASE WHEN q.is_called THEN 1 ELSE 0 END,"
		"   e.id IS NULL OR q.last_value" GT "e.id OR (q.is_called AND q.last_value" EQ "e.id)))"
		"  AS f(setting, expected, found, is_right)"
		" WHERE s.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass) AND NOT f.is_right LIMIT 1",
		.spans_nodes = true
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *setting = NULL;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	if (SPI_processed > 0)
	{
		bool		isnull;

		setting = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
		*expected = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		*found = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	}
	SPI_finish();
	return setting;
}

/* check_sequence(): 55000 where the sequence would not draw rising ids; of a store of whatever version. */
Datum
pointstore_check_sequence(PG_FUNCTION_ARGS)
{
	const char *setting;
	int64		expected = 0;
	int64		found = 0;
	PointstoreScope scope;

	pointstore_act_as_restricted(owner_of_store(), &scope);
	/* of a distributed store each node looks at what it draws (account/id.c) */
	setting = pointstore_have_placements(get_relname_relid("event_store", get_namespace_oid("pointstore", false))) ? NULL :
		pointstore_sequence_fault(&expected, &found);
	pointstore_act_as_caller(&scope);
	if (setting != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence event_store_id_seq would not draw rising ids: %s must be %lld, is %lld", setting,
						(long long) expected, (long long) found),
				 strcmp(setting, "next id") == 0 ?
				 errhint("SELECT setval('pointstore.event_store_id_seq', (SELECT max(id) FROM pointstore.event_store));") :
				 errhint("ALTER SEQUENCE pointstore.event_store_id_seq AS bigint INCREMENT 1 CACHE 1 NO CYCLE;")));
	PG_RETURN_VOID();
}

/* check_store(): 55000 where the functions would refuse the store. */
Datum
pointstore_check_store(PG_FUNCTION_ARGS)
{
	(void) pointstore_store();
	PG_RETURN_VOID();
}

/* found_version(): what the store says that it is, or null where its view is missing. */
Datum
pointstore_found_version(PG_FUNCTION_ARGS)
{
	char	   *version = read_version();

	if (version == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(version));
}

/* The owner of event_store; 55000 where there is none. */
static Oid
owner_of_store(void)
{
	HeapTuple	events = SearchSysCache1(RELOID, ObjectIdGetDatum(get_relname_relid("event_store", get_namespace_oid("pointstore", false))));
	Oid			owner;

	if (!HeapTupleIsValid(events))
		pointstore_refuse_lack("table", "event_store");
	owner = ((Form_pg_class) GETSTRUCT(events))->relowner;
	ReleaseSysCache(events);
	return owner;
}

/* Refuses a store of another version; notes a trigger that is missing. */
static void
check_parts(Oid schema)
{
#define LOST_TRIGGER "SELECT t.tab OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) t.trigger_name" \
		"  FROM pointstore.store_triggers() t" \
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g" \
		"                   WHERE g.tgname" EQ "CAST(t.trigger_name AS pg_catalog.name)" \
		"                     AND g.tgrelid" EQ "pg_catalog.to_regclass('pointstore.' OPERATOR(pg_catalog.||) t.tab))"
	static PointstorePlan lost_trigger = {.sql = LOST_TRIGGER " LIMIT 1", .spans_nodes = true};
	/* of a distributed store each node has the tables that accounts need */
	static PointstorePlan lost_trigger_here = {
		.sql = LOST_TRIGGER " AND EXISTS (SELECT FROM pointstore.distributed_tables() d WHERE d.tab" EQ "t.tab) LIMIT 1",
		.spans_nodes = true
	};
	char	   *found;

	if (!OidIsValid(get_relname_relid("store_version", schema)))
		pointstore_refuse_lack("view", "store_version");
	if (!OidIsValid(get_relname_relid("account", schema)))
		pointstore_refuse_lack("view", "account");
	found = read_version();
	if (found == NULL || strcmp(found, POINTSTORE_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is of version %s, the library of version %s",
						found ? found : "(none)", POINTSTORE_VERSION),
				 errhint("ALTER EXTENSION pointstore UPDATE; SELECT pointstore.upgrade_store();")));
	/* the owner may lack the right, after DROP EXTENSION for one */
	found = read_one_as(maker_of_triggers(schema), store->placements != NULL ? &lost_trigger_here : &lost_trigger);
	if (found != NULL)
		pointstore_note_lack(&store->lack, "trigger", found);
}

/* The owner of store_triggers(): the role that installed the extension, where it is its, and in any case the one that wrote what it runs. */
static Oid
maker_of_triggers(Oid schema)
{
	HeapTuple	function = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum("store_triggers"),
										   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(schema));
	Oid			maker;

	if (!HeapTupleIsValid(function))
		pointstore_refuse_lack("function", "store_triggers()");
	maker = ((Form_pg_proc) GETSTRUCT(function))->proowner;
	ReleaseSysCache(function);
	return maker;
}

/* The version that the view says, or NULL where there is no view: the owner's, who may have put anything into it. */
static char *
read_version(void)
{
	static PointstorePlan version = {
		.sql = "SELECT version FROM pointstore.store_version",
		.spans_nodes = true
	};

	if (!OidIsValid(get_relname_relid("store_version", get_namespace_oid("pointstore", false))))
		return NULL;
	return read_one_as(owner_of_store(), &version);
}

/* The one text that a statement finds under a role's rights, in a security-restricted operation, or NULL. */
static char *
read_one_as(Oid role, PointstorePlan *plan)
{
	MemoryContext context = CurrentMemoryContext;
	PointstoreScope scope;
	char	   *found = NULL;

	pointstore_act_as_restricted(role, &scope);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pointstore_execute(plan, NULL, NULL, true);
	if (SPI_processed > 0)
		found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (found != NULL)
		found = MemoryContextStrdup(context, found);
	PopActiveSnapshot();
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return found;
}
