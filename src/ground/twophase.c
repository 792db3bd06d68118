/*-------------------------------------------------------------------------
 *
 * src/ground/twophase.c
 *		Commits of several nodes.
 *
 * Citus commits a transaction in two phases where it has had it write more than one node. What C has written into a shard here
 * it does not see: with one other node it would commit that first and in one phase, and what fails here
 * afterwards would be lost alone. So before it decides, a transaction that has begun here, and on other nodes, has Citus
 * execute a statement without effect on such a shard.
 *
 * Whether it has begun on other nodes Citus tells at some cost. It is not asked after a transaction of nothing but calls that were planned as
 * in a plain store (delegation.c) and have run nothing of the users': all else that has Citus act is a query or a
 * command that PostgreSQL tells us of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placement.h"
#include "ground/plan.h"
#include "ground/shard.h"
#include "ground/sql.h"
#include "ground/twophase.h"

/* Citus' attribute of a distributed transaction */
#define TRANSACTION_NUMBER 4

static text *written = NULL;	/* an account whose shard this transaction has written */
static bool may_spread = true;	/* this transaction, as far as we were told */
static bool is_told = false;	/* by the hooks, of what is executed */
static ProcessUtility_hook_type earlier_utility = NULL;

/* Called where what somebody has prepared was committed here; NULL: nobody asks. */
void		(*pointstore_prepared_committed) (void) = NULL;

static void execute_command(PlannedStmt *statement, const char *text, bool keep, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion);
static bool commits_prepared(const PlannedStmt *statement);
static void refuse_code(Oid relid);
static bool is_distributed_from_here(void);

/* Called where pointstore_note_spread() will be called for each query that may have Citus act. */
void
pointstore_twophase_init(void)
{
	is_told = true;
	earlier_utility = ProcessUtility_hook;
	ProcessUtility_hook = execute_command;
}

/* Any command but one that begins or ends a transaction may. */
static void
execute_command(PlannedStmt *statement, const char *text, bool keep, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (!IsA(statement->utilityStmt, TransactionStmt))
		pointstore_note_spread();
	if (earlier_utility != NULL)
		earlier_utility(statement, text, keep, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(statement, text, keep, context, params, environment, dest, completion);
	if (commits_prepared(statement) && pointstore_prepared_committed != NULL)
		pointstore_prepared_committed();
}

static bool
commits_prepared(const PlannedStmt *statement)
{
	return IsA(statement->utilityStmt, TransactionStmt) && ((TransactionStmt *) statement->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* Something is executed that may go on on other nodes. */
void
pointstore_note_spread(void)
{
	may_spread = true;
}

/* A shard of a distributed store is about to be written, that of an account or a lease. */
void
pointstore_note_written(text *of)
{
	MemoryContext old;

	if (written != NULL)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	written = DatumGetTextPCopy(PointerGetDatum(of));
	MemoryContextSwitchTo(old);
}

/* Before a transaction commits, and before Citus decides how. */
void
pointstore_tell_written(void)
{
	if (written != NULL && may_spread && is_distributed_from_here())
		pointstore_tell_now();
}

/*
 * A transaction that begins here, and has written a shard, goes on on other nodes, whatever its session calls itself by its end. Its commit
 * decides for them, so it is flushed whatever the settings: else a crash would take this node's part back alone.
 */
void
pointstore_tell_now(void)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.account_proof SET version = version WHERE aggregate_id" EQ "$1 AND version" LT "0",
		.nargs = 1,
		.argtypes = {TEXTOID},
		.spans_nodes = true
	};
	Datum		value = PointerGetDatum(written);
	PointstoreScope scope;

	ForceSyncCommit();
	if (written == NULL)
		return;
	pointstore_act_as_reader(&scope);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	refuse_code(get_relname_relid(pointstore_table_names[TABLE_ACCOUNT_PROOF], get_namespace_oid("pointstore", false)));
	refuse_code(pointstore_placement_of(written)->relids[TABLE_ACCOUNT_PROOF]);
	pointstore_execute(&plan, &value, NULL, false);
	PopActiveSnapshot();
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/* Nothing that the owner has put on a table runs at a commit: one is refused where a statement that finds no row would run any of it. */
static void
refuse_code(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);

	if (rel->rd_rules != NULL || rel->rd_rel->relrowsecurity || pointstore_index_runs_code(rel) ||
		(rel->trigdesc != NULL && (rel->trigdesc->trig_update_before_statement || rel->trigdesc->trig_update_after_statement)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has a rule, a policy, an index on an expression or a trigger for statements", RelationGetRelationName(rel)),
				 errdetail("A transaction that has written several nodes would run it as it commits."),
				 errhint("Drop it.")));
	table_close(rel, NoLock);
}

/*
 * Has Citus take what is asked of other nodes into this transaction, whatever settings the caller has made: to be ended
 * by AtEOXact_GUC(true, ...), or with the (sub)transaction.
 */
int
pointstore_pin_transaction(void)
{
	int			level = NewGUCNestLevel();

	pointstore_set_option("citus.function_opens_transaction_block", "on");
	pointstore_set_option("citus.select_opens_transaction_block", "on");
	return level;
}

/* Whether Citus has begun this transaction on other nodes, and it is not itself the part of one that began elsewhere. */
static bool
is_distributed_from_here(void)
{
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("get_current_transaction_id"),
										   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(PG_CATALOG_NAMESPACE));
	bool		isnull;
	int64		number;

	if (!OidIsValid(function) || pointstore_is_sent_by_citus())
		return false;
	number = DatumGetInt64(GetAttributeByNum(DatumGetHeapTupleHeader(OidFunctionCall0(function)), TRANSACTION_NUMBER, &isnull));
	return !isnull && number != 0;
}

/* At the end of each transaction. */
void
pointstore_forget_written(void)
{
	written = NULL;
	/* a procedure goes on after it */
	may_spread = !is_told || ActivePortal != NULL;
}
