/*-------------------------------------------------------------------------
 *
 * src/ground/store.c
 *		Where the store is, and acting as its owner.
 *
 * The store's tables are ordinary tables that anybody with the right may
 * alter, so nothing about them is taken for granted: their oids, columns and
 * indexes are looked up by name and kept in one struct until PostgreSQL says
 * that one of the relations has changed. A store that lacks something is
 * refused (55000) rather than half used. Only who verifies is let in where a
 * trigger or a key is gone: that is when there is most to find.
 *
 * The functions act as the owner of the tables. What a user has put on the
 * tables (triggers, defaults, checks) then runs under the owner's rights, so it
 * must not be led astray by the caller: search_path is pinned for as long, and
 * SECURITY_LOCAL_USERID_CHANGE forbids SET ROLE. SECURITY_NOFORCE_RLS lets the
 * owner in where a table has FORCE ROW LEVEL SECURITY. Nothing needs undoing
 * on error: the end of a (sub)transaction restores user and settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "ground/pointstore.h"
#include "ground/sql.h"

/* A column that the functions read: its name, its type, and what is special about it. */
typedef struct StoreColumn
{
	const char *name;
	Oid			type;
	ColumnMark	mark;
	bool		nullable;
} StoreColumn;

/* An index that rows are found by: its table, and its columns in their order. */
typedef struct StoreIndex
{
	PointstoreTableId table;
	int			ncolumns;
	int			columns[2];
} StoreIndex;

/* Relations whose change may make another store of it, beside the tables. */
static const char *const watched_names[] = {"account_log", "account", "store_version", "event_store_id_seq"};

PG_FUNCTION_INFO_V1(pointstore_found_version);
PG_FUNCTION_INFO_V1(pointstore_check_store);
PG_FUNCTION_INFO_V1(pointstore_check_sequence);

static PointstoreStore store;
static Oid	watched[lengthof(watched_names)];
static bool store_valid = false;
static bool tables_locked = false;	/* by pointstore_lock_tables(), in this transaction */

static void hear_of_changes(void);
static void find_store(void);
static void load_store(void);
static Oid	store_relation(Oid schema, const char *name);
static void load_table(PointstoreTable *table, const char *name, const StoreColumn *columns, int ncolumns);
static AttrNumber store_column(Relation rel, const StoreColumn *column);
static bool is_plain(Relation rel, const PointstoreTable *table);
static bool is_guard(Oid function);
static bool index_runs_code(Oid index);
static bool runs_code(Node *node, void *context);
static bool is_users_function(Oid function, void *context);
static void load_index(PointstoreIndexId id);
static bool is_key(Relation index, const StoreIndex *key);
static bool is_expiry_index(Relation index, const StoreIndex *key);
static void check_sequence_settings(void);
static const char *sequence_fault(int64 *expected, int64 *found);
static Oid	owner_of_store(void);
static void check_parts(Oid schema);
static Oid	maker_of_triggers(Oid schema);
static char *read_version(void);
static char *read_one_as(Oid role, PointstorePlan *plan);
static void act_as(Oid owner, PointstoreScope *scope, bool plainly);
static void act_as_restricted(Oid role, PointstoreScope *scope);
static void note_lack(const char *what, const char *name);
pg_noreturn static void refuse_store(const char *what, const char *name);
static void forget_store(Datum arg, Oid relid);

static const StoreColumn event_columns[N_EVENT_COLUMNS] = {
	{"id", INT8OID}, {"aggregate_id", TEXTOID}, {"version", INT8OID}, {"event_type", TEXTOID},
	{"amount", INT8OID}, {"held", INT8OID}, {"balance_after", INT8OID}, {"payload", JSONBOID, COLUMN_FREE},
	{"metadata", JSONBOID, COLUMN_FREE, true}, {"request_id", TEXTOID, COLUMN_OURS, true}, {"leg", INT2OID, COLUMN_OURS, true},
	{"cause_id", INT8OID, COLUMN_OURS, true},
	{"occurred_at", TIMESTAMPTZOID, COLUMN_FREE}, {"created_at", TIMESTAMPTZOID}
};
static const StoreColumn balance_columns[N_BALANCE_COLUMNS] = {
	{"aggregate_id", TEXTOID, COLUMN_KEYED}, {"kind", TEXTOID}, {"version", INT8OID}, {"balance", INT8OID},
	{"held", INT8OID}, {"next_expiry", TIMESTAMPTZOID, COLUMN_OURS, true}, {"status", TEXTOID},
	{"updated_at", TIMESTAMPTZOID}
};
static const StoreColumn pure_columns[N_PURE_COLUMNS] = {
	{"aggregate_id", TEXTOID, COLUMN_KEYED}, {"kind", TEXTOID}, {"status", TEXTOID}
};
static const StoreColumn kind_columns[N_KIND_COLUMNS] = {
	{"kind", TEXTOID}, {"mode", TEXTOID}, {"unit", TEXTOID}, {"min_balance", INT8OID, COLUMN_OURS, true},
	{"max_balance", INT8OID, COLUMN_OURS, true}, {"auto_open", BOOLOID}, {"amount_required", BOOLOID}
};
static const StoreColumn hold_columns[N_HOLD_COLUMNS] = {
	{"hold_id", TEXTOID, COLUMN_KEYED}, {"aggregate_id", TEXTOID, COLUMN_KEYED}, {"amount", INT8OID}, {"captured", INT8OID},
	{"status", TEXTOID}, {"created_at", TIMESTAMPTZOID}, {"expires_at", TIMESTAMPTZOID, COLUMN_OURS, true},
	{"closed_at", TIMESTAMPTZOID, COLUMN_OURS, true}, {"event_id", INT8OID, COLUMN_OURS, true}
};

static const StoreIndex store_indexes[N_STORE_INDEXES] = {
	{TABLE_EVENT_STORE, 2, {EV_AGGREGATE_ID, EV_VERSION}}, {TABLE_EVENT_STORE, 2, {EV_REQUEST_ID, EV_LEG}},
	{TABLE_EVENT_STORE, 1, {EV_ID}}, {TABLE_BALANCE, 1, {BAL_AGGREGATE_ID}}, {TABLE_PURE_ACCOUNT, 1, {PURE_AGGREGATE_ID}},
	{TABLE_ACCOUNT_KIND, 1, {KIND_KIND}}, {TABLE_HOLD, 1, {HOLD_HOLD_ID}},
	{TABLE_HOLD, 2, {HOLD_HOLD_ID, HOLD_AGGREGATE_ID}}, {TABLE_HOLD, 2, {HOLD_AGGREGATE_ID, HOLD_EXPIRES_AT}}
};

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

	if (!OidIsValid(relid) || relid == store.table[TABLE_ACCOUNT_KIND].relid)
		pointstore_forget_kinds();
	if (!OidIsValid(relid))
		store_valid = false;
	for (i = 0; store_valid && i < N_STORE_TABLES; i++)
		if (store.table[i].relid == relid)
			store_valid = false;
	for (i = 0; store_valid && i < lengthof(watched); i++)
		if (watched[i] == relid)
			store_valid = false;
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
	if (store.lacks_what != NULL)
		refuse_store(store.lacks_what, store.lacks_name);
	return &store;
}

/* Whether the store has all its keys and triggers; false only for who verifies it. */
bool
pointstore_store_is_complete(void)
{
	find_store();
	return store.lacks_what == NULL;
}

/* Who owns it; 55000 as above. */
Oid
pointstore_store_owner(void)
{
	find_store();
	return store.owner;
}

/* Whether no key, index or trigger is missing, as they are until the end of a restore; what else a store may lack is for who verifies it. */
bool
pointstore_store_is_whole(void)
{
	find_store();
	return store.lacks_what == NULL ||
		(strcmp(store.lacks_what, "trigger") != 0 && strcmp(store.lacks_what, "index") != 0 &&
		 strcmp(store.lacks_what, "unique index") != 0);
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
 * Looks everything up. From the owner's name on that is done as the owner: to read his
 * views, and the mere look at an index, may evaluate functions of his.
 */
static void
load_store(void)
{
	Oid			schema = get_namespace_oid("pointstore", true);
	PointstoreScope scope;
	PointstoreTable *events = &store.table[TABLE_EVENT_STORE];
	int			i;

	tables_locked = false;		/* they may be other tables now */
	store.lacks_what = NULL;
	if (!pointstore_store_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is not created in database \"%s\"", get_database_name(MyDatabaseId)),
				 errhint("SELECT pointstore.create_store();")));
	store.owner = owner_of_store();
	act_as_restricted(store.owner, &scope);
	check_parts(schema);

	load_table(events, "event_store", event_columns, N_EVENT_COLUMNS);
	load_table(&store.table[TABLE_BALANCE], "balance", balance_columns, N_BALANCE_COLUMNS);
	load_table(&store.table[TABLE_PURE_ACCOUNT], "pure_account", pure_columns, N_PURE_COLUMNS);
	load_table(&store.table[TABLE_ACCOUNT_KIND], "account_kind", kind_columns, N_KIND_COLUMNS);
	load_table(&store.table[TABLE_HOLD], "hold", hold_columns, N_HOLD_COLUMNS);
	store.plain = events->plain && store.table[TABLE_BALANCE].plain && store.table[TABLE_PURE_ACCOUNT].plain;
	for (i = 0; i < lengthof(watched); i++)
		watched[i] = store_relation(schema, watched_names[i]);
	for (i = 0; i < N_STORE_INDEXES; i++)
		load_index(i);
	store.id_sequence = store_relation(schema, "event_store_id_seq");
	check_sequence_settings();
	store.receipt_type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										 CStringGetDatum("receipt"), ObjectIdGetDatum(schema));
	pointstore_act_as_caller(&scope);
}

static Oid
store_relation(Oid schema, const char *name)
{
	Oid			relid = get_relname_relid(name, schema);

	if (!OidIsValid(relid))
		refuse_store("relation", name);
	return relid;
}

/* Fills in one table: attribute numbers by name. */
static void
load_table(PointstoreTable *table, const char *name, const StoreColumn *columns, int ncolumns)
{
	Relation	rel;
	int			i;

	table->relid = store_relation(get_namespace_oid("pointstore", false), name);
	table->ncolumns = ncolumns;
	rel = table_open(table->relid, AccessShareLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		refuse_store("ordinary table", name);
	for (i = 0; i < ncolumns; i++)
	{
		table->att[i] = store_column(rel, &columns[i]);
		table->mark[i] = columns[i].mark;
	}
	table->plain = is_plain(rel, table);
	table_close(rel, AccessShareLock);
}

/*
 * The number of a column; 55000 when it is missing, computed or of another type. That it
 * may be null where it must not, or that its texts are compared by other than their bytes,
 * is noted: who verifies finds what came of it.
 */
static AttrNumber
store_column(Relation rel, const StoreColumn *column)
{
	AttrNumber	att = get_attnum(RelationGetRelid(rel), column->name);
	char	   *name = psprintf("%s.%s", RelationGetRelationName(rel), column->name);
	Form_pg_attribute form;

	if (att <= 0 || TupleDescAttr(RelationGetDescr(rel), att - 1)->atttypid != column->type ||
		TupleDescAttr(RelationGetDescr(rel), att - 1)->attgenerated != '\0')
		refuse_store("column", psprintf("%s of type %s", name, format_type_be(column->type)));
	form = TupleDescAttr(RelationGetDescr(rel), att - 1);
	if (!column->nullable && !pointstore_is_never_null(RelationGetDescr(rel), att))
		note_lack("column", psprintf("%s NOT NULL", name));
	if (OidIsValid(form->attcollation) && !get_collation_isdeterministic(form->attcollation))
		note_lack("column", psprintf("%s of a deterministic collation", name));
	return att;
}

/*
 * Whether nothing of the users' runs when a row is written: every trigger calls
 * a guard of ours, and there is no constraint to check, no default or
 * generated column to compute, no index on an expression.
 */
static bool
is_plain(Relation rel, const PointstoreTable *table)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		plain = !rel->rd_rel->relispartition &&
		(desc->constr == NULL || (desc->constr->num_check == 0 && !desc->constr->has_generated_stored));
	int			i;

	for (i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		plain &= is_guard(rel->trigdesc->triggers[i].tgfoid);
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		plain &= att->attisdropped || pointstore_is_store_column(table, att->attnum) ||
			(!att->atthasdef && get_typtype(att->atttypid) != TYPTYPE_DOMAIN);
	}
	foreach(cell, indexes)
		plain &= !index_runs_code(lfirst_oid(cell));
	list_free(indexes);
	return plain;
}

/* Whether a trigger's function is one of the extension's guards; any other, check_version() too, has something to do. */
static bool
is_guard(Oid function)
{
	char	   *name = get_func_name(function);

	return name != NULL && strncmp(name, "guard_", 6) == 0 &&
		getExtensionOfObject(ProcedureRelationId, function) == get_extension_oid("pointstore", true);
}

/* Whether a table's column is one of the store's, and not the user's. */
bool
pointstore_is_store_column(const PointstoreTable *table, AttrNumber att)
{
	int			i;

	for (i = 0; i < table->ncolumns; i++)
		if (table->att[i] == att)
			return true;
	return false;
}

/* A predicate of PostgreSQL's own functions, on its own types, is no code of the users'. */
static bool
index_runs_code(Oid index)
{
	Relation	rel = index_open(index, AccessShareLock);
	bool		result = !heap_attisnull(rel->rd_indextuple, Anum_pg_index_indexprs, NULL) ||
		runs_code((Node *) RelationGetIndexPredicate(rel), NULL);

	index_close(rel, AccessShareLock);
	return result;
}

static bool
runs_code(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, List))
		return expression_tree_walker(node, runs_code, context);
	return exprType(node) >= FirstNormalObjectId || check_functions_in_node(node, is_users_function, context) ||
		expression_tree_walker(node, runs_code, context);
}

static bool
is_users_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

/* Looks for an index; where there is none that is noted. Of several the first is taken. */
static void
load_index(PointstoreIndexId id)
{
	const StoreIndex *key = &store_indexes[id];
	Relation	rel = table_open(store.table[key->table].relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	store.index[id] = InvalidOid;
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (!OidIsValid(store.index[id]) &&
			(id == INDEX_HOLD_EXPIRY ? is_expiry_index(index, key) : is_key(index, key)))
			store.index[id] = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (!OidIsValid(store.index[id]) && id == INDEX_HOLD_EXPIRY)
		note_lack("index", "hold_open_idx on hold (aggregate_id, expires_at) WHERE status = 'open'");
	else if (!OidIsValid(store.index[id]))
		note_lack("unique index", psprintf("on %s (%s%s)", RelationGetRelationName(rel),
										   get_attname(RelationGetRelid(rel), store.table[key->table].att[key->columns[0]], false),
										   key->ncolumns > 1 ? ", ..." : ""));
	table_close(rel, AccessShareLock);
}

/* A plain unique index on exactly these columns, ascending, texts by their bytes. */
static bool
is_key(Relation index, const StoreIndex *key)
{
	Form_pg_index form = index->rd_index;
	bool		matches = form->indisunique && form->indisvalid && form->indimmediate &&
		form->indnkeyatts == key->ncolumns && RelationGetIndexPredicate(index) == NIL;
	int			i;

	for (i = 0; matches && i < key->ncolumns; i++)
		matches = form->indkey.values[i] == store.table[key->table].att[key->columns[i]] &&
			index->rd_indoption[i] == 0 &&
			(!OidIsValid(index->rd_indcollation[i]) || index->rd_indcollation[i] == C_COLLATION_OID);
	return matches;
}

/* The index of the open holds has its name: which rows are in it its columns do not say. */
static bool
is_expiry_index(Relation index, const StoreIndex *key)
{
	Form_pg_index form = index->rd_index;
	const AttrNumber *att = store.table[key->table].att;

	return strcmp(RelationGetRelationName(index), "hold_open_idx") == 0 && form->indisvalid &&
		index->rd_rel->relam == BTREE_AM_OID && index->rd_indcollation[0] == C_COLLATION_OID &&
		index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
		form->indnkeyatts == 2 && form->indkey.values[0] == att[key->columns[0]] &&
		form->indkey.values[1] == att[key->columns[1]];
}

/* The table that an index of the store is of. */
PointstoreTableId
pointstore_table_of(PointstoreIndexId index)
{
	return store_indexes[index].table;
}

/*
 * Whether two rows that a unique index of a table takes for the same have the same key
 * of ours, too: a second index of the user's on it, or the one that REINDEX
 * CONCURRENTLY is building.
 */
bool
pointstore_index_decides(Relation index, PointstoreIndexId id)
{
	const StoreIndex *key = &store_indexes[id];
	Form_pg_index form = index->rd_index;
	int			found = 0;
	int			i;
	int			j;

	if (!form->indisunique || !form->indimmediate || form->indrelid != store.table[key->table].relid)
		return false;
	for (i = 0; i < form->indnkeyatts; i++)
		for (j = 0; j < key->ncolumns; j++)
			if (form->indkey.values[i] == store.table[key->table].att[key->columns[j]] &&
				(!OidIsValid(index->rd_indcollation[i]) || get_collation_isdeterministic(index->rd_indcollation[i])))
				found |= 1 << j;
	return found == (1 << key->ncolumns) - 1;
}

/* Notes a sequence that would not draw rising ids: what it was given by ALTER SEQUENCE. */
static void
check_sequence_settings(void)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(store.id_sequence));
	bool		rises = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_sequence form = (Form_pg_sequence) GETSTRUCT(tuple);

		rises = form->seqtypid == INT8OID && form->seqincrement > 0 && form->seqcache == 1 && !form->seqcycle;
		ReleaseSysCache(tuple);
	}
	if (!rises)
		note_lack("sequence", "event_store_id_seq of type bigint with INCREMENT above 0, CACHE 1, NO CYCLE");
}

/*
 * The first of the sequence's settings that is not as it must be, or NULL: what it is and
 * what is there. To be called by who acts as the owner. Of an event that is seen
 * the id was drawn before, so events that are being appended are not mistaken.
 */
static const char *
sequence_fault(int64 *expected, int64 *found)
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
		" WHERE s.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass) AND NOT f.is_right LIMIT 1"
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

	act_as_restricted(owner_of_store(), &scope);
	setting = sequence_fault(&expected, &found);
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
		refuse_store("table", "event_store");
	owner = ((Form_pg_class) GETSTRUCT(events))->relowner;
	ReleaseSysCache(events);
	return owner;
}

/* Refuses a store of another version; notes a trigger that is missing. */
static void
check_parts(Oid schema)
{
	static PointstorePlan lost_trigger = {
		.sql = "SELECT t.tab OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) t.trigger_name"
		"  FROM pointstore.store_triggers() t"
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g"
		"                   WHERE g.tgname" EQ "CAST(t.trigger_name AS pg_catalog.name)"
		"                     AND g.tgrelid" EQ "pg_catalog.to_regclass("
		"                         'pointstore.' OPERATOR(pg_catalog.||) t.tab)) LIMIT 1"
	};
	char	   *found;

	if (!OidIsValid(get_relname_relid("store_version", schema)))
		refuse_store("view", "store_version");
	if (!OidIsValid(get_relname_relid("account", schema)))
		refuse_store("view", "account");
	found = read_version();
	if (found == NULL || strcmp(found, POINTSTORE_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is of version %s, the library of version %s",
						found ? found : "(none)", POINTSTORE_VERSION),
				 errhint("ALTER EXTENSION pointstore UPDATE; SELECT pointstore.upgrade_store();")));
	/* the owner may lack the right, after DROP EXTENSION for one */
	found = read_one_as(maker_of_triggers(schema), &lost_trigger);
	if (found != NULL)
		note_lack("trigger", found);
}

/* Whose store_triggers() is: who installed the extension, where this is its, and in any case who wrote what it runs. */
static Oid
maker_of_triggers(Oid schema)
{
	HeapTuple	function = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum("store_triggers"),
										   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(schema));
	Oid			maker;

	if (!HeapTupleIsValid(function))
		refuse_store("function", "store_triggers()");
	maker = ((Form_pg_proc) GETSTRUCT(function))->proowner;
	ReleaseSysCache(function);
	return maker;
}

/* The version that the view says, or NULL where there is no view: the owner's, who may have put anything into it. */
static char *
read_version(void)
{
	static PointstorePlan version = {
		.sql = "SELECT version FROM pointstore.store_version"
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

	act_as_restricted(role, &scope);
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

/* Of what a store lacks the first thing is told. */
static void
note_lack(const char *what, const char *name)
{
	if (store.lacks_what != NULL)
		return;
	store.lacks_what = what;
	strlcpy(store.lacks_name, name, sizeof(store.lacks_name));
}

static void
refuse_store(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the store lacks %s %s", what, name),
			 strcmp(what, "function") == 0 ? errhint("CREATE EXTENSION pointstore;") :
			 strcmp(what, "trigger") == 0 || strcmp(what, "view") == 0 ?
			 errhint("SELECT pointstore.upgrade_store();") :
			 errhint("Put it back as create_store() makes it: upgrade_store() restores triggers and views alone.")));
}

/* Takes on the owner's identity and a pinned search_path. */
void
pointstore_act_as_owner(PointstoreScope *scope)
{
	act_as(pointstore_store()->owner, scope, false);
}

/*
 * The same for who only reads: what the owner's views and policies do besides does not
 * outlast it, as a trigger that is deferred or a cursor WITH HOLD would, to run as the
 * caller when he commits.
 */
void
pointstore_act_as_reader(PointstoreScope *scope)
{
	act_as_restricted(pointstore_store()->owner, scope);
}

/* As who reads, in a store that may lack a key or a trigger, for who verifies it. */
void
pointstore_act_as_verifier(PointstoreScope *scope)
{
	find_store();
	act_as_restricted(store.owner, scope);
}

/*
 * Takes on the owner's identity to write rows of the tables. Where these are
 * plain no name is looked up, and the caller's search_path may stay. The locks,
 * which writing takes anyway, keep the tables so until the transaction ends.
 */
void
pointstore_act_as_owner_plainly(PointstoreScope *scope)
{
	pointstore_lock_tables();
	act_as(pointstore_store()->owner, scope, pointstore_store()->plain);
}

/* The same where holds are written too. */
void
pointstore_act_as_owner_of_holds(PointstoreScope *scope)
{
	pointstore_lock_tables();
	LockRelationOid(pointstore_store()->table[TABLE_HOLD].relid, RowExclusiveLock);
	act_as(pointstore_store()->owner, scope, pointstore_store()->plain && store.table[TABLE_HOLD].plain);
}

/* Sets an option until the caller acts as the caller again; not where he acts plainly. */
void
pointstore_set_option(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Locks the tables that hold accounts and events for writing, once in a transaction. */
void
pointstore_lock_tables(void)
{
	const PointstoreStore *current = pointstore_store();
	int			i;

	for (i = TABLE_EVENT_STORE; !tables_locked && i <= TABLE_PURE_ACCOUNT; i++)
		LockRelationOid(current->table[i].relid, RowExclusiveLock);
	tables_locked = true;
}

/* Locks end with the transaction, or with the subtransaction that took them. */
void
pointstore_forget_locks(void)
{
	tables_locked = false;
}

static void
act_as(Oid owner, PointstoreScope *scope, bool plainly)
{
	GetUserIdAndSecContext(&scope->user, &scope->security);
	SetUserIdAndSecContext(owner, scope->security | POINTSTORE_AS_OWNER);
	scope->guc_level = 0;
	if (plainly)
		return;
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* The same in a security-restricted operation: what runs leaves nothing behind that would run as the caller. */
static void
act_as_restricted(Oid role, PointstoreScope *scope)
{
	act_as(role, scope, false);
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

/*
 * Runs a statement of ours inside an SPI connection; rows are in SPI_tuptable.
 * A statement that does not do what it says is a bug of ours: elog.
 */
void
pointstore_execute(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only)
{
	bool		snapshot = !ActiveSnapshotSet();	/* in a worker, which has no portal */
	int			result;

	pointstore_prepare(plan);
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	result = SPI_execute_plan(plan->plan, values, nulls, read_only, 0);
	if (snapshot)
		PopActiveSnapshot();
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", plan->sql, SPI_result_code_string(result));
}

/*
 * Does something in a subtransaction, or nothing at all: where it fails returns the
 * error, in the caller's memory, where it says false undoes it. A cancellation is raised.
 */
ErrorData *
pointstore_attempt(bool (*what) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (what(arg))
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return error;
}

/* Prepares a statement, if that is not done, for those who execute it themselves. */
void
pointstore_prepare(PointstorePlan *plan)
{
	SPIPlanPtr	prepared;

	if (plan->plan != NULL)
		return;
	prepared = SPI_prepare(plan->sql, plan->nargs, plan->argtypes);
	if (prepared == NULL || SPI_keepplan(prepared) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql, SPI_result_code_string(SPI_result));
	plan->plan = prepared;
}

/*
 * Whether the SQL function that calls takes so many arguments, the first thing that an entry
 * point asks: 55000 when it is of another version than the library.
 */
void
pointstore_check_arguments(FunctionCallInfo fcinfo, int n)
{
	if (PG_NARGS() != n)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %s is of another version than the library of pointstore",
						format_procedure(fcinfo->flinfo->fn_oid)),
				 errhint("ALTER EXTENSION pointstore UPDATE;")));
}

/* The name of a role, for records; its number where it was dropped meanwhile. */
char *
pointstore_role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? name : psprintf("%u", role);
}

/* 42501 unless a role has the rights of an operator: it may call what is granted from that level on. */
void
pointstore_require_operator(Oid role, const char *what)
{
	Oid			argtypes[] = {TEXTOID, TEXTOID};
	Oid			function = LookupFuncName(list_make2(makeString("pointstore"), makeString("freeze_account")),
										  lengthof(argtypes), argtypes, false);

	if (!pointstore_may_execute(function, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: only operators %s", what),
				 errhint("SELECT pointstore.grant_access('%s', 'operator');", pointstore_role_name(role))));
}

/* A text argument that must not be null and must be a name: 22004, 22023. */
text *
pointstore_name(FunctionCallInfo fcinfo, int argno, const char *what)
{
	text	   *name;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	name = PG_GETARG_TEXT_PP(argno);
	pointstore_check_name(what, name);
	return name;
}

/* Names are 1 to 512 bytes: 22023. */
void
pointstore_check_name(const char *what, text *name)
{
	Size		length = VARSIZE_ANY_EXHDR(name);

	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	if (length > POINTSTORE_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at most %d bytes, has %zu", what, POINTSTORE_MAX_NAME, length)));
}

/* The place of a text among names, or -1. */
int
pointstore_place(text *name, const char *const *names, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (VARSIZE_ANY_EXHDR(name) == strlen(names[i]) && memcmp(VARDATA_ANY(name), names[i], strlen(names[i])) == 0)
			return i;
	return -1;
}

/* For messages. */
char *
pointstore_cstring(text *name)
{
	return text_to_cstring(name);
}

/* An argument that is a payload; null is an empty one. */
Jsonb *
pointstore_payload(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? pointstore_empty_payload() : PG_GETARG_JSONB_P(argno);
}

Jsonb *
pointstore_empty_payload(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/*
 * Adds key=value to the DETAIL of a refusal, which is for programs: a value in which there is
 * anything that would end it, or nothing, is a JSON string.
 */
void
pointstore_detail(StringInfo detail, const char *key, const char *value)
{
	const unsigned char *c;

	if (value == NULL)
		value = "null";
	c = (const unsigned char *) value;
	while (*c > ' ' && *c != 0x7f && strchr(",=\"\\", *c) == NULL)
		c++;
	appendStringInfo(detail, "%s%s=", detail->len > 0 ? ", " : "", key);
	if (*c == '\0' && *value != '\0')
		appendStringInfoString(detail, value);
	else
		escape_json(detail, value);
}

void
pointstore_detail_number(StringInfo detail, const char *key, int64 value)
{
	appendStringInfo(detail, "%s%s=" INT64_FORMAT, detail->len > 0 ? ", " : "", key, value);
}

/* errdetail() of a refusal about which there is nothing to tell but its account. */
int
pointstore_detail_account(text *id)
{
	return pointstore_detail_figures(id, NULL, 0, NULL, 0);
}

/* The same with two figures; without a key there is none. */
int
pointstore_detail_figures(text *id, const char *a, int64 x, const char *b, int64 y)
{
	StringInfoData detail;

	initStringInfo(&detail);
	pointstore_detail(&detail, "aggregate_id", pointstore_cstring(id));
	if (a != NULL)
		pointstore_detail_number(&detail, a, x);
	if (b != NULL)
		pointstore_detail_number(&detail, b, y);
	return errdetail_internal("%s", detail.data);
}
