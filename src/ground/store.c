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

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/store.h"

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
	int			columns[3];
} StoreIndex;

/* Relations whose change may make another store of it, beside the tables. */
static const char *const watched_names[] = {"account", "store_version", "event_store_id_seq"};

PG_FUNCTION_INFO_V1(pointstore_found_version);
PG_FUNCTION_INFO_V1(pointstore_check_store);
PG_FUNCTION_INFO_V1(pointstore_check_sequence);

static PointstoreStore *store = NULL;
static Oid	watched[lengthof(watched_names)];
static bool store_valid = false;
static uint64 kinds_generation = 0;
static uint64 transitions_generation = 0;

static void hear_of_changes(void);
static void find_store(void);
static void load_store(void);
static void begin_store(void);
static Oid	store_relation(Oid schema, const char *name);
static void load_table(PointstoreTable *table, const char *name, const StoreColumn *columns, int ncolumns);
static AttrNumber store_column(Relation rel, const StoreColumn *column);
static bool is_plain(Relation rel, const PointstoreTable *table);
static bool is_guard(Oid function);
static bool index_runs_code(Oid index);
static bool runs_code(Node *node, void *context);
static bool is_users_function(Oid function, void *context);
static void load_log(PointstoreTable *log);
static void load_index(PointstoreIndexId id);
static bool is_key(Relation index, const StoreIndex *key, bool unique);
static bool is_expiry_index(Relation index, const StoreIndex *key);
static void check_sequence_settings(void);
static Oid	owner_of_store(void);
static void check_parts(Oid schema);
static Oid	maker_of_triggers(Oid schema);
static char *read_version(void);
static char *read_one_as(Oid role, PointstorePlan *plan);
static void note_lack(const char *what, const char *name);
pg_noreturn static void refuse_store(const char *what, const char *name);
static void forget_store(Datum arg, Oid relid);

static const StoreColumn event_columns[N_EVENT_COLUMNS] = {
	{"id", INT8OID}, {"aggregate_id", TEXTOID}, {"version", INT8OID}, {"event_type", TEXTOID},
	{"amount", INT8OID}, {"held", INT8OID}, {"balance_after", INT8OID}, {"payload", JSONBOID, COLUMN_FREE},
	{"metadata", JSONBOID, COLUMN_FREE, true}, {"request_id", TEXTOID, COLUMN_OURS, true}, {"leg", INT2OID, COLUMN_OURS, true},
	{"cause_id", INT8OID, COLUMN_OURS, true},
	{"occurred_at", TIMESTAMPTZOID, COLUMN_FREE}, {"created_at", TIMESTAMPTZOID},
	{"payload_version", INT2OID, COLUMN_FREE, true}, {"state_after", TEXTOID, COLUMN_OURS, true}
};
static const StoreColumn balance_columns[N_BALANCE_COLUMNS] = {
	{"aggregate_id", TEXTOID, COLUMN_KEYED}, {"kind", TEXTOID}, {"version", INT8OID}, {"balance", INT8OID},
	{"held", INT8OID}, {"next_expiry", TIMESTAMPTZOID, COLUMN_OURS, true}, {"status", TEXTOID},
	{"updated_at", TIMESTAMPTZOID}, {"state", TEXTOID, COLUMN_OURS, true}, {"incoming", INT8OID}
};
static const StoreColumn pure_columns[N_PURE_COLUMNS] = {
	{"aggregate_id", TEXTOID, COLUMN_KEYED}, {"kind", TEXTOID}, {"status", TEXTOID}
};
static const StoreColumn kind_columns[N_KIND_COLUMNS] = {
	{"kind", TEXTOID}, {"mode", TEXTOID}, {"unit", TEXTOID}, {"min_balance", INT8OID, COLUMN_OURS, true},
	{"max_balance", INT8OID, COLUMN_OURS, true}, {"auto_open", BOOLOID}, {"amount_required", BOOLOID},
	{"reducer", TEXTOID, COLUMN_OURS, true}, {"reducer_version", INT4OID, COLUMN_OURS, true}, {"snapshot_every", INT4OID, COLUMN_OURS, true},
	{"initial_state", TEXTOID, COLUMN_OURS, true}, {"transitions", TEXTOID}, {"commuting", TEXTARRAYOID, COLUMN_OURS, true},
	{"merge", TEXTOID, COLUMN_OURS, true}, {"lease_required", BOOLOID}
};
static const StoreColumn hold_columns[N_HOLD_COLUMNS] = {
	{"hold_id", TEXTOID, COLUMN_KEYED}, {"aggregate_id", TEXTOID, COLUMN_KEYED}, {"amount", INT8OID}, {"captured", INT8OID},
	{"status", TEXTOID}, {"created_at", TIMESTAMPTZOID}, {"expires_at", TIMESTAMPTZOID, COLUMN_OURS, true},
	{"closed_at", TIMESTAMPTZOID, COLUMN_OURS, true}, {"event_id", INT8OID, COLUMN_OURS, true}
};
static const StoreColumn lease_columns[N_LEASE_COLUMNS] = {
	{"name", TEXTOID, COLUMN_KEYED}, {"holder", TEXTOID, COLUMN_OURS, true}, {"token", INT8OID},
	{"acquired_at", TIMESTAMPTZOID, COLUMN_OURS, true}, {"expires_at", TIMESTAMPTZOID, COLUMN_OURS, true}
};

static const StoreColumn transition_columns[N_TRANSITION_COLUMNS] = {
	{"kind", TEXTOID}, {"from_state", TEXTOID}, {"event_type", TEXTOID}, {"to_state", TEXTOID}
};

static const StoreColumn log_columns[N_LOG_COLUMNS] = {{"aggregate_id", TEXTOID}, {"id", INT8OID}, {"action", TEXTOID}};

static const StoreIndex store_indexes[N_STORE_INDEXES] = {
	{TABLE_EVENT_STORE, 2, {EV_AGGREGATE_ID, EV_VERSION}}, {TABLE_EVENT_STORE, 2, {EV_REQUEST_ID, EV_LEG}},
	{TABLE_EVENT_STORE, 1, {EV_ID}}, {TABLE_BALANCE, 1, {BAL_AGGREGATE_ID}}, {TABLE_PURE_ACCOUNT, 1, {PURE_AGGREGATE_ID}},
	{TABLE_ACCOUNT_KIND, 1, {KIND_KIND}},
	{TABLE_TRANSITION, 3, {TRANSITION_KIND, TRANSITION_FROM_STATE, TRANSITION_EVENT_TYPE}}, {TABLE_HOLD, 1, {HOLD_HOLD_ID}},
	{TABLE_HOLD, 2, {HOLD_HOLD_ID, HOLD_AGGREGATE_ID}}, {TABLE_HOLD, 2, {HOLD_AGGREGATE_ID, HOLD_EXPIRES_AT}},
	{TABLE_LEASE, 1, {LEASE_NAME}}, {TABLE_ACCOUNT_LOG, 2, {LOG_AGGREGATE_ID, LOG_ID}}
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
	if (store->lacks_what != NULL)
		refuse_store(store->lacks_what, store->lacks_name);
	return store;
}

/* Whether the store has all its keys and triggers; false only for what verifies it. */
bool
pointstore_store_is_complete(void)
{
	find_store();
	return store->lacks_what == NULL;
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
	return store->lacks_what == NULL ||
		(strcmp(store->lacks_what, "trigger") != 0 && strcmp(store->lacks_what, "index") != 0 &&
		 strcmp(store->lacks_what, "unique index") != 0);
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
	PointstoreTable *events;
	int			i;

	begin_store();
	events = &store->shard.table[TABLE_EVENT_STORE];
	if (!pointstore_store_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the store is not created in database \"%s\"", get_database_name(MyDatabaseId)),
				 errhint("SELECT pointstore.create_store();")));
	store->owner = owner_of_store();
	pointstore_act_as_restricted(store->owner, &scope);
	check_parts(schema);

	load_table(events, "event_store", event_columns, N_EVENT_COLUMNS);
	load_table(&store->shard.table[TABLE_BALANCE], "balance", balance_columns, N_BALANCE_COLUMNS);
	load_table(&store->shard.table[TABLE_PURE_ACCOUNT], "pure_account", pure_columns, N_PURE_COLUMNS);
	load_table(&store->shard.table[TABLE_ACCOUNT_KIND], "account_kind", kind_columns, N_KIND_COLUMNS);
	load_table(&store->shard.table[TABLE_HOLD], "hold", hold_columns, N_HOLD_COLUMNS);
	load_table(&store->shard.table[TABLE_LEASE], "lease", lease_columns, N_LEASE_COLUMNS);
	load_table(&store->shard.table[TABLE_TRANSITION], "transition", transition_columns, N_TRANSITION_COLUMNS);
	store->shard.plain = events->plain && store->shard.table[TABLE_BALANCE].plain && store->shard.table[TABLE_PURE_ACCOUNT].plain;
	for (i = 0; i < lengthof(watched); i++)
		watched[i] = store_relation(schema, watched_names[i]);
	for (i = 0; i < INDEX_ACCOUNT_LOG; i++)
		load_index(i);
	load_log(&store->shard.table[TABLE_ACCOUNT_LOG]);
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
	static MemoryContext context = NULL;

	if (context != NULL)
		MemoryContextSetParent(context, TopTransactionContext);
	context = AllocSetContextCreate(TopMemoryContext, "pointstore store", ALLOCSET_SMALL_SIZES);
	store = MemoryContextAllocZero(context, sizeof(PointstoreStore));
	store->generation = ++generation;
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

	table->id = table - store->shard.table;
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
 * is noted: what verifies finds what came of it.
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

/* The log of accounts is looked into by its index where both are as they were made; where not, nothing is refused for it. */
static void
load_log(PointstoreTable *log)
{
	Relation	rel;
	bool		fits;
	int			i;

	log->id = TABLE_ACCOUNT_LOG;
	log->relid = store_relation(get_namespace_oid("pointstore", false), "account_log");
	rel = table_open(log->relid, AccessShareLock);
	fits = rel->rd_rel->relkind == RELKIND_RELATION;
	for (i = 0; i < N_LOG_COLUMNS; i++)
	{
		log->att[i] = get_attnum(log->relid, log_columns[i].name);
		fits &= log->att[i] > 0 && TupleDescAttr(RelationGetDescr(rel), log->att[i] - 1)->atttypid == log_columns[i].type;
	}
	table_close(rel, AccessShareLock);
	if (fits)
		load_index(INDEX_ACCOUNT_LOG);
}

/* Looks for an index; where there is none that is noted. Of several the first is taken. */
static void
load_index(PointstoreIndexId id)
{
	const StoreIndex *key = &store_indexes[id];
	Relation	rel = table_open(store->shard.table[key->table].relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	store->shard.index[id] = InvalidOid;
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (!OidIsValid(store->shard.index[id]) &&
			(id == INDEX_HOLD_EXPIRY ? is_expiry_index(index, key) : is_key(index, key, id != INDEX_ACCOUNT_LOG)))
			store->shard.index[id] = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (OidIsValid(store->shard.index[id]) || id == INDEX_ACCOUNT_LOG)
		 /* nothing is lacking */ ;
	else if (id == INDEX_HOLD_EXPIRY)
		note_lack("index", "hold_open_idx on hold (aggregate_id, expires_at) WHERE status = 'open'");
	else
		note_lack("unique index", psprintf("on %s (%s%s)", RelationGetRelationName(rel),
										   get_attname(RelationGetRelid(rel), store->shard.table[key->table].att[key->columns[0]], false),
										   key->ncolumns > 1 ? ", ..." : ""));
	table_close(rel, AccessShareLock);
}

/* A plain index on exactly these columns, ascending, texts by their bytes; unique where that is asked for. */
static bool
is_key(Relation index, const StoreIndex *key, bool unique)
{
	Form_pg_index form = index->rd_index;
	bool		matches = (form->indisunique || !unique) && form->indisvalid && form->indimmediate && index->rd_rel->relam == BTREE_AM_OID &&
		form->indnkeyatts == key->ncolumns && RelationGetIndexPredicate(index) == NIL;
	int			i;

	for (i = 0; matches && i < key->ncolumns; i++)
		matches = form->indkey.values[i] == store->shard.table[key->table].att[key->columns[i]] &&
			index->rd_indoption[i] == 0 &&
			(!OidIsValid(index->rd_indcollation[i]) || index->rd_indcollation[i] == C_COLLATION_OID);
	return matches;
}

/* The index of the open holds has its name: which rows are in it its columns do not say. */
static bool
is_expiry_index(Relation index, const StoreIndex *key)
{
	Form_pg_index form = index->rd_index;
	const AttrNumber *att = store->shard.table[key->table].att;

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
pointstore_index_decides(Relation index, const PointstoreTable *table, PointstoreIndexId id)
{
	const StoreIndex *key = &store_indexes[id];
	Form_pg_index form = index->rd_index;
	int			found = 0;
	int			i;
	int			j;

	if (!form->indisunique || !form->indimmediate || form->indrelid != table->relid || table->id != key->table)
		return false;
	for (i = 0; i < form->indnkeyatts; i++)
		for (j = 0; j < key->ncolumns; j++)
			if (form->indkey.values[i] == table->att[key->columns[j]] &&
				(!OidIsValid(index->rd_indcollation[i]) || get_collation_isdeterministic(index->rd_indcollation[i])))
				found |= 1 << j;
	return found == (1 << key->ncolumns) - 1;
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
		note_lack("sequence", "event_store_id_seq of type bigint with INCREMENT above 0, CACHE 1, NO CYCLE");
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

	pointstore_act_as_restricted(owner_of_store(), &scope);
	setting = pointstore_sequence_fault(&expected, &found);
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

/* The owner of store_triggers(): the role that installed the extension, where it is its, and in any case the one that wrote what it runs. */
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

/* Of what a store lacks the first thing is told. */
static void
note_lack(const char *what, const char *name)
{
	if (store->lacks_what != NULL)
		return;
	store->lacks_what = what;
	strlcpy(store->lacks_name, name, sizeof(store->lacks_name));
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
