/*-------------------------------------------------------------------------
 *
 * src/ground/table.c
 *		Tables of the store, as they are found.
 *
 * Their columns are found by name and type, their indexes by what they are of. What
 * is missing is refused, what is lost of a key, or may be null, is noted (store.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "catalog/dependency.h"
#include "commands/trigger.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "ground/table.h"

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

static void load_table(PointstoreTable *table, Oid relid, StoreLack *lack);
static AttrNumber store_column(Relation rel, const StoreColumn *column, StoreLack *lack);
static bool is_plain(Relation rel, const PointstoreTable *table);
static bool is_guard(Oid function);
static bool runs_code(Node *node, void *context);
static bool is_users_function(Oid function, void *context);
static void load_log(PointstoreShard *shard, Oid relid);
static void load_index(PointstoreShard *shard, PointstoreIndexId id, StoreLack *lack);
static const StoreIndex *index_of(bool is_distributed, PointstoreIndexId id);
static bool is_key(Relation index, const PointstoreShard *shard, const StoreIndex *key, bool unique);
static bool is_named(Relation index, const char *name, bool is_distributed);
static bool is_expiry_index(Relation index, const PointstoreShard *shard, const StoreIndex *key);

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

static const struct
{
	const StoreColumn *columns;
	int			n;
}			store_columns[N_STORE_TABLES] = {
	{event_columns, N_EVENT_COLUMNS}, {balance_columns, N_BALANCE_COLUMNS}, {pure_columns, N_PURE_COLUMNS}, {kind_columns, N_KIND_COLUMNS},
	{hold_columns, N_HOLD_COLUMNS}, {lease_columns, N_LEASE_COLUMNS}, {transition_columns, N_TRANSITION_COLUMNS}, {log_columns, N_LOG_COLUMNS}
};

const char *const pointstore_table_names[N_PLACED_TABLES] = {
	"event_store", "balance", "pure_account", "account_kind", "hold", "lease", "transition", "account_log",
	"account_proof", "snapshot", "participant_step", "upcaster", "finding", "reconciliation", "reconciliation_checkpoint",
	"feed_block", "feed_start", "movement", "movement_step", "movement_log", "movement_store", "movement_server", "participant_origin",
	"subscription", "subscription_slot", "subscription_account", "subscription_log"
};

static const StoreIndex store_indexes[N_STORE_INDEXES] = {
	{TABLE_EVENT_STORE, 2, {EV_AGGREGATE_ID, EV_VERSION}}, {TABLE_EVENT_STORE, 2, {EV_REQUEST_ID, EV_LEG}},
	{TABLE_EVENT_STORE, 1, {EV_ID}}, {TABLE_BALANCE, 1, {BAL_AGGREGATE_ID}}, {TABLE_PURE_ACCOUNT, 1, {PURE_AGGREGATE_ID}},
	{TABLE_ACCOUNT_KIND, 1, {KIND_KIND}},
	{TABLE_TRANSITION, 3, {TRANSITION_KIND, TRANSITION_FROM_STATE, TRANSITION_EVENT_TYPE}}, {TABLE_HOLD, 1, {HOLD_HOLD_ID}},
	{TABLE_HOLD, 2, {HOLD_HOLD_ID, HOLD_AGGREGATE_ID}}, {TABLE_HOLD, 2, {HOLD_AGGREGATE_ID, HOLD_EXPIRES_AT}},
	{TABLE_LEASE, 1, {LEASE_NAME}}, {TABLE_ACCOUNT_LOG, 2, {LOG_AGGREGATE_ID, LOG_ID}}
};
static const StoreIndex distributed_request = {TABLE_EVENT_STORE, 3, {EV_AGGREGATE_ID, EV_REQUEST_ID, EV_LEG}};
static const StoreIndex distributed_hold = {TABLE_HOLD, 2, {HOLD_HOLD_ID, HOLD_AGGREGATE_ID}};

/* Looks up the tables that these relations are, each in its place, and their indexes. As the owner: the mere look at an index may evaluate its functions. */
void
pointstore_load_shard(PointstoreShard *shard, const Oid *relids, bool is_distributed, StoreLack *lack)
{
	int			i;

	for (i = 0; i < N_STORE_TABLES; i++)
	{
		shard->table[i].id = i;
		shard->table[i].is_distributed = is_distributed;
		if (!OidIsValid(relids[i]))
			pointstore_refuse_lack("table", pointstore_table_names[i]);
	}
	for (i = 0; i < TABLE_ACCOUNT_LOG; i++)
		load_table(&shard->table[i], relids[i], lack);
	shard->plain = shard->table[TABLE_EVENT_STORE].plain && shard->table[TABLE_BALANCE].plain && shard->table[TABLE_PURE_ACCOUNT].plain;
	for (i = 0; i < INDEX_ACCOUNT_LOG; i++)
		load_index(shard, i, lack);
	load_log(shard, relids[TABLE_ACCOUNT_LOG]);
}

/* Fills in one table: attribute numbers by name. */
static void
load_table(PointstoreTable *table, Oid relid, StoreLack *lack)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const StoreColumn *columns = store_columns[table->id].columns;
	int			i;

	table->relid = relid;
	table->ncolumns = store_columns[table->id].n;
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		pointstore_refuse_lack("ordinary table", RelationGetRelationName(rel));
	for (i = 0; i < table->ncolumns; i++)
	{
		table->att[i] = store_column(rel, &columns[i], lack);
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
store_column(Relation rel, const StoreColumn *column, StoreLack *lack)
{
	AttrNumber	att = get_attnum(RelationGetRelid(rel), column->name);
	char	   *name = psprintf("%s.%s", RelationGetRelationName(rel), column->name);
	Form_pg_attribute form;

	if (att <= 0 || TupleDescAttr(RelationGetDescr(rel), att - 1)->atttypid != column->type ||
		TupleDescAttr(RelationGetDescr(rel), att - 1)->attgenerated != '\0')
		pointstore_refuse_lack("column", psprintf("%s of type %s", name, format_type_be(column->type)));
	form = TupleDescAttr(RelationGetDescr(rel), att - 1);
	if (!column->nullable && !pointstore_is_never_null(RelationGetDescr(rel), att))
		pointstore_note_lack(lack, "column", psprintf("%s NOT NULL", name));
	if (OidIsValid(form->attcollation) && !get_collation_isdeterministic(form->attcollation))
		pointstore_note_lack(lack, "column", psprintf("%s of a deterministic collation", name));
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
	bool		plain = !rel->rd_rel->relispartition && !pointstore_index_runs_code(rel) &&
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

/*
 * Whether an index of a table runs code of the users': a predicate of PostgreSQL's own functions, on its own types, is none.
 * It is read as it is stored, for what the relation cache gives is folded, and folding runs what is immutable.
 */
bool
pointstore_index_runs_code(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		result = false;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		isnull;
		Datum		predicate = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indpred, &isnull);

		result |= !heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) ||
			(!isnull && runs_code(stringToNode(TextDatumGetCString(predicate)), NULL));
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
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
load_log(PointstoreShard *shard, Oid relid)
{
	PointstoreTable *log = &shard->table[TABLE_ACCOUNT_LOG];
	Relation	rel;
	bool		fits;
	int			i;

	log->relid = relid;
	rel = table_open(log->relid, AccessShareLock);
	fits = rel->rd_rel->relkind == RELKIND_RELATION;
	for (i = 0; i < N_LOG_COLUMNS; i++)
	{
		log->att[i] = get_attnum(log->relid, log_columns[i].name);
		fits &= log->att[i] > 0 && TupleDescAttr(RelationGetDescr(rel), log->att[i] - 1)->atttypid == log_columns[i].type;
	}
	table_close(rel, AccessShareLock);
	if (fits)
		load_index(shard, INDEX_ACCOUNT_LOG, NULL);
}

/* Looks for an index; where there is none that is noted. Of several the first is taken. */
static void
load_index(PointstoreShard *shard, PointstoreIndexId id, StoreLack *lack)
{
	const StoreIndex *key = index_of(shard->table[0].is_distributed, id);
	bool		unique = id != INDEX_ACCOUNT_LOG && !(id == INDEX_EVENT_ID && shard->table[0].is_distributed);
	Relation	rel = table_open(shard->table[key->table].relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	shard->index[id] = InvalidOid;
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (!OidIsValid(shard->index[id]) &&
			(id == INDEX_HOLD_EXPIRY ? is_expiry_index(index, shard, key) : is_key(index, shard, key, unique)))
			shard->index[id] = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (OidIsValid(shard->index[id]) || id == INDEX_ACCOUNT_LOG)
		 /* nothing is lacking */ ;
	else if (id == INDEX_HOLD_EXPIRY)
		pointstore_note_lack(lack, "index", "hold_open_idx on hold (aggregate_id, expires_at) WHERE status = 'open'");
	else
		pointstore_note_lack(lack, "unique index", psprintf("on %s (%s%s)", RelationGetRelationName(rel),
										   get_attname(RelationGetRelid(rel), shard->table[key->table].att[key->columns[0]], false),
										   key->ncolumns > 1 ? ", ..." : ""));
	table_close(rel, AccessShareLock);
}

/* In a distributed store unique keys have the account in them. */
static const StoreIndex *
index_of(bool is_distributed, PointstoreIndexId id)
{
	if (is_distributed && id == INDEX_EVENT_REQUEST)
		return &distributed_request;
	if (is_distributed && id == INDEX_HOLD)
		return &distributed_hold;
	return &store_indexes[id];
}

/* A plain index on exactly these columns, ascending, texts by their bytes; unique where that is asked for. */
static bool
is_key(Relation index, const PointstoreShard *shard, const StoreIndex *key, bool unique)
{
	Form_pg_index form = index->rd_index;
	bool		matches = (form->indisunique || !unique) && form->indisvalid && form->indimmediate && index->rd_rel->relam == BTREE_AM_OID &&
		form->indnkeyatts == key->ncolumns && RelationGetIndexPredicate(index) == NIL;
	int			i;

	for (i = 0; matches && i < key->ncolumns; i++)
		matches = form->indkey.values[i] == shard->table[key->table].att[key->columns[i]] &&
			index->rd_indoption[i] == 0 &&
			(!OidIsValid(index->rd_indcollation[i]) || index->rd_indcollation[i] == C_COLLATION_OID);
	return matches;
}

/* A shard's index has its shard's number behind its name. */
static bool
is_named(Relation index, const char *name, bool is_distributed)
{
	const char *found = RelationGetRelationName(index);

	return strcmp(found, name) == 0 || (is_distributed && strncmp(found, name, strlen(name)) == 0 && found[strlen(name)] == '_');
}

/* The index of the open holds has its name: which rows are in it its columns do not say. */
static bool
is_expiry_index(Relation index, const PointstoreShard *shard, const StoreIndex *key)
{
	Form_pg_index form = index->rd_index;
	const AttrNumber *att = shard->table[key->table].att;

	return is_named(index, "hold_open_idx", shard->table[key->table].is_distributed) && form->indisvalid &&
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
	const StoreIndex *key = index_of(table->is_distributed, id);
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

/* Of what a store lacks the first thing is told. */
void
pointstore_note_lack(StoreLack *lack, const char *what, const char *name)
{
	if (lack->what != NULL)
		return;
	lack->what = what;
	strlcpy(lack->name, name, sizeof(lack->name));
}

void
pointstore_refuse_lack(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the store lacks %s %s", what, name),
			 strcmp(what, "function") == 0 ? errhint("CREATE EXTENSION pointstore;") :
			 strcmp(what, "trigger") == 0 || strcmp(what, "view") == 0 ?
			 errhint("SELECT pointstore.upgrade_store();") :
			 errhint("Put it back as create_store() makes it: upgrade_store() restores triggers and views alone.")));
}
