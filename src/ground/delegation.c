/*-------------------------------------------------------------------------
 *
 * src/ground/delegation.c
 *		Calls that Citus delegates to other nodes.
 *
 * Citus delegates a call that stands by itself: SELECT f(...) or SELECT ... FROM f(...). It decides that when the planner has
 * simplified a query in place, and a server survives neither a query that has only become one by that, nor an account that is null.
 * So it may take for such those alone that are so from the first, for an account that is there. Others that call a function of one account,
 * or one in SQL, which may be put in its place, get a condition that is always true and that no planner finds out: with that it takes
 * none, the call is executed here, and refused if need be. Nothing happens where no other planner is loaded before ours, nor in databases without our schema.
 *
 * A call that stands by itself needs nothing of Citus where its account is here: it is planned as in a plain store. Citus wants to see an account
 * before it plans, so it has a prepared call planned at each execution. We plan that once, for any account, and the plan brings
 * its query along: where it begins to be executed for an account that this session does not know to be here, Citus plans the
 * query for that one, as if it had been asked in the first place, and its plan is executed instead. So a plan that is kept
 * while an account moves goes after it.
 *
 * What a function does on other nodes Citus has in the caller's transaction where it knows of a statement around it, and citus.function_opens_transaction_block
 * is on. It knows of none where a function is called in an argument of EXECUTE or CALL, by the planner, by an input function or
 * by the protocol of functions: then it would commit there at once, whatever became of the rest. So while
 * a statement of a function's is executed there the transaction counts as a block.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/params.h"
#include "nodes/pathnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ground/delegation.h"
#include "ground/placement.h"
#include "ground/shard.h"
#include "ground/twophase.h"

/* What a plan brings its query along in: an entry of its range table that nothing refers to, a subquery with a name that no parsed one has. */
#define NAME_OF_CALL "*pointstore call*"

/* What is looked for in a query. */
typedef struct Search
{
	ParamListInfo params;
	int			calls;			/* of functions that go by an account, and of what may become one */
	Node	   *account;		/* of one, where it is there, or comes with the parameters */
	bool		ours;			/* any in C is there, whatever it goes by */
} Search;

/* What a function that a query calls is. */
typedef struct Called
{
	Oid			function;		/* the key */
	int			place;			/* of the argument that Citus may go by; -1: none */
	bool		is_sql;			/* may be replaced by what it does */
	bool		is_ours;		/* in C: what it does to other nodes, it does by queries */
} Called;

static planner_hook_type earlier_planner = NULL;
static ExecutorStart_hook_type earlier_start = NULL;
static ExecutorRun_hook_type earlier_run = NULL;
static HTAB *known = NULL;		/* Called */
static bool hears = false;		/* of changed functions */
static uint64 changes = 0;

static PlannedStmt *plan_query(Query *query, const char *text, int options, ParamListInfo params);
static PlannedStmt *plan_call(Query *query, const char *text, int options, const Search *call);
static bool is_known_here(Node *account);
static RangeTblEntry *call_entry(Query *query, Node *account);
static bool calls_others(Node *node, void *context);
static bool is_of_others(Oid function, void *context);
static void start_query(QueryDesc *desc, int flags);
static void run_query(QueryDesc *desc, ScanDirection direction, uint64 count, bool once);
static bool is_of_function(const QueryDesc *desc);
static bool is_by_others(const Plan *plan);
static RangeTblEntry *call_of(const PlannedStmt *plan);
static PlannedStmt *plan_elsewhere(const QueryDesc *desc, const RangeTblEntry *call);
static bool look(Node *node, void *context);
static Node *always_true(void);
static bool stands_by_itself(const Query *query);
static void count_call(FuncExpr *call, Search *search);
static bool has_names(const List *arguments);
static Called look_up(Oid function);
static void forget_functions(Datum arg, int cache, uint32 hash);
static Called what_is(Oid function);
static int	place_of_account(HeapTuple function);
static void count_account(Node *argument, Search *search);
static Node *simplified(Node *argument, ParamListInfo params);
static bool has_parameters(Node *node, void *context);

void
pointstore_delegation_init(void)
{
	earlier_planner = planner_hook;
	if (earlier_planner == NULL)
		return;
	planner_hook = plan_query;
	earlier_start = ExecutorStart_hook;
	ExecutorStart_hook = start_query;
	earlier_run = ExecutorRun_hook;
	ExecutorRun_hook = run_query;
	pointstore_twophase_init();
}

static PlannedStmt *
plan_query(Query *query, const char *text, int options, ParamListInfo params)
{
	Search		search = {.params = params};

	if (query->commandType == CMD_SELECT && OidIsValid(get_namespace_oid("pointstore", true)))
		(void) look((Node *) query, &search);
	if (((search.calls == 1 && search.account != NULL) || (search.calls == 0 && search.ours && !calls_others((Node *) query, NULL))) &&
		stands_by_itself(query))
		return plan_call(query, text, options, &search);
	if (search.calls > 0 && query->setOperations == NULL)
		query->jointree->quals = make_and_qual(query->jointree->quals, always_true());
	return earlier_planner(query, text, options, params);
}

/* Plans a call that stands by itself, of one account or of none in particular. Without values of parameters that may be a plan to be kept. */
static PlannedStmt *
plan_call(Query *query, const char *text, int options, const Search *call)
{
	RangeTblEntry *entry = NULL;
	PlannedStmt *plan;

	/* what Citus has sent it wants to see planned */
	if (pointstore_is_sent_by_citus() || (call->account != NULL && !is_known_here(call->account) &&
										  !(call->params == NULL && has_parameters(call->account, NULL))))
		return earlier_planner(query, text, options, call->params);
	if (call->params == NULL)
		entry = call_entry(query, call->account);
	plan = standard_planner(query, text, options, call->params);
	if (entry != NULL)
		plan->rtable = lappend(plan->rtable, entry);
	return plan;
}

/* Whether an account is one that this session knows to be here. */
static bool
is_known_here(Node *account)
{
	const Const *known = (const Const *) account;

	return IsA(account, Const) && known->consttype == TEXTOID && pointstore_is_known_here(DatumGetTextPP(known->constvalue));
}

/* What a plan brings along of its query: as it is before it is planned, which account it is about, and whether other functions may act on other nodes. */
static RangeTblEntry *
call_entry(Query *query, Node *account)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);

	entry->rtekind = RTE_SUBQUERY;
	entry->eref = makeAlias(NAME_OF_CALL, NIL);
	entry->ctename = pstrdup(NAME_OF_CALL);
	entry->subquery = copyObject(query);
	entry->values_lists = account == NULL ? NIL : list_make1(copyObject(account));
	entry->security_barrier = calls_others((Node *) query, NULL);
	return entry;
}

/* Whether functions are called that are neither PostgreSQL's nor ours: what they do to other nodes nobody tells. */
static bool
calls_others(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, calls_others, context, 0);
	return check_functions_in_node(node, is_of_others, context) || expression_tree_walker(node, calls_others, context);
}

static bool
is_of_others(Oid function, void *context)
{
	return function >= FirstNormalObjectId && !look_up(function).is_ours;
}

/* Before a query is executed or explained. */
static void
start_query(QueryDesc *desc, int flags)
{
	RangeTblEntry *call = call_of(desc->plannedstmt);
	PlannedStmt *plan = call == NULL ? NULL : plan_elsewhere(desc, call);

	if (plan != desc->plannedstmt || call->security_barrier)
		pointstore_note_spread();
	if (plan != NULL)
		desc->plannedstmt = plan;
	if (earlier_start != NULL)
		earlier_start(desc, flags);
	else
		standard_ExecutorStart(desc, flags);
}

/* While what a function executes goes on on other nodes. An error ends a block that is one for as long. */
static void
run_query(QueryDesc *desc, ScanDirection direction, uint64 count, bool once)
{
	bool		opens = !IsTransactionBlock() && is_of_function(desc) && is_by_others(desc->plannedstmt->planTree);

	if (opens)
		BeginImplicitTransactionBlock();
	if (earlier_run != NULL)
		earlier_run(desc, direction, count, once);
	else
		standard_ExecutorRun(desc, direction, count, once);
	if (opens)
		EndImplicitTransactionBlock();
}

/* Whether a function of a session's executes it, by where its rows go. */
static bool
is_of_function(const QueryDesc *desc)
{
	CommandDest dest = desc->dest == NULL ? DestNone : desc->dest->mydest;

	return MyBackendType == B_BACKEND && (dest == DestSPI || dest == DestSQLFunction || dest == DestNone);
}

/* Whether Citus, or who else is asked for a plan, executes it, or what it gathers. */
static bool
is_by_others(const Plan *plan)
{
	while (plan != NULL && !IsA(plan, CustomScan))
		plan = outerPlan(plan);
	return plan != NULL;
}

/* The entry that plan_call() has made, or NULL. */
static RangeTblEntry *
call_of(const PlannedStmt *plan)
{
	RangeTblEntry *last = plan->rtable == NIL ? NULL : llast(plan->rtable);

	if (last == NULL || last->rtekind != RTE_SUBQUERY || last->ctename == NULL || IsParallelWorker())
		return NULL;
	return strcmp(last->ctename, NAME_OF_CALL) == 0 ? last : NULL;
}

/* The plan to be executed: by Citus where the account is there and not known to be here, and Citus delegates the call; else that of before. */
static PlannedStmt *
plan_elsewhere(const QueryDesc *desc, const RangeTblEntry *call)
{
	Node	   *account;
	PlannedStmt *plan;

	if (call->values_lists == NIL)
		return desc->plannedstmt;
	account = simplified(linitial(call->values_lists), desc->params);
	if (!IsA(account, Const) || ((Const *) account)->constisnull || is_known_here(account))
		return desc->plannedstmt;
	plan = earlier_planner(copyObject(call->subquery), desc->sourceText, 0, desc->params);
	return IsA(plan->planTree, CustomScan) ? plan : desc->plannedstmt;
}

/* What no planner finds out, and Citus executes wherever it is. */
static Node *
always_true(void)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) makeFuncExpr(F_NOW, TIMESTAMPTZOID, NIL, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	test->nulltesttype = IS_NOT_NULL;
	test->location = -1;
	return (Node *) test;
}

/* Whether a query is a call and nothing else. */
static bool
stands_by_itself(const Query *query)
{
	Node	   *from = query->jointree->fromlist == NIL ? NULL : linitial(query->jointree->fromlist);
	TargetEntry *target = query->targetList == NIL ? NULL : linitial(query->targetList);

	if (query->cteList != NIL || query->hasSubLinks || query->setOperations != NULL || query->jointree->quals != NULL ||
		list_length(query->rtable) != (from == NULL ? 0 : 1) || target == NULL || query->groupClause != NIL || query->groupingSets != NIL ||
		query->havingQual != NULL || query->distinctClause != NIL || query->windowClause != NIL || query->sortClause != NIL ||
		query->limitCount != NULL || query->limitOffset != NULL || query->rowMarks != NIL)
		return false;
	if (from == NULL)
		return list_length(query->targetList) == 1 && IsA(target->expr, FuncExpr);
	return IsA(from, RangeTblRef) && rt_fetch(((RangeTblRef *) from)->rtindex, query->rtable)->rtekind == RTE_FUNCTION;
}

/* Looks through all of a query. */
static bool
look(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, look, context, 0);
	if (IsA(node, FuncExpr))
		count_call((FuncExpr *) node, context);
	else if (IsA(node, OpExpr))
		((Search *) context)->calls += look_up(get_opcode(((OpExpr *) node)->opno)).is_sql;
	return expression_tree_walker(node, look, context);
}

/* Counts a call that is one of ours that goes by an account, or of a function that the planner may replace by what it does. */
static void
count_call(FuncExpr *call, Search *search)
{
	Called		called;
	List	   *arguments = call->args;
	HeapTuple	function;

	called = look_up(call->funcid);
	search->calls += called.is_sql;
	search->ours |= called.is_ours;
	if (called.place < 0)
		return;
	search->calls++;
	if (list_length(arguments) <= called.place || has_names(arguments))
	{
		function = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
		if (!HeapTupleIsValid(function))
			return;
		arguments = expand_function_arguments(arguments, false, call->funcresulttype, function);
		ReleaseSysCache(function);
	}
	if (called.place < list_length(arguments))
		count_account(list_nth(arguments, called.place), search);
}

/* Whether arguments are given by name, so that they are in no order. */
static bool
has_names(const List *arguments)
{
	ListCell   *cell;

	foreach(cell, arguments)
		if (IsA(lfirst(cell), NamedArgExpr))
			return true;
	return false;
}

/* What a function is; kept until some function changes, which may be at any look into a catalog. */
static Called
look_up(Oid function)
{
	Called	   *kept = known == NULL ? NULL : hash_search(known, &function, HASH_FIND, NULL);
	Called		called = {.function = function, .place = -1};
	uint64		before = changes;

	if (function < FirstNormalObjectId)
		return called;
	if (kept != NULL)
		return *kept;
	if (!hears)
		CacheRegisterSyscacheCallback(PROCOID, forget_functions, (Datum) 0);
	hears = true;
	called = what_is(function);
	if (changes != before)
		return look_up(function);
	if (known == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(Oid), .entrysize = sizeof(Called)};

		known = hash_create("pointstore functions in queries", 64, &info, HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(known, &function, HASH_ENTER, NULL);
	return *kept = called;
}

static void
forget_functions(Datum arg, int cache, uint32 hash)
{
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
	changes++;
}

static Called
what_is(Oid function)
{
	Called		called = {.function = function, .place = -1};
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return called;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	called.is_sql = form->prolang == SQLlanguageId;
	if (form->pronamespace == get_namespace_oid("pointstore", true) &&
		getExtensionOfObject(ProcedureRelationId, function) == get_extension_oid("pointstore", true))
	{
		called.place = place_of_account(tuple);
		called.is_ours = form->prolang == ClanguageId;
	}
	ReleaseSysCache(tuple);
	return called;
}

/* Which argument of a function of ours Citus may go by, from 0; -1: none. */
static int
place_of_account(HeapTuple function)
{
	Oid		   *types;
	char	  **names = NULL;
	char	   *modes;
	int			n = get_func_arg_info(function, &types, &names, &modes);
	int			i;

	n = Min(n, ((Form_pg_proc) GETSTRUCT(function))->pronargs);
	/* which every node answers */
	if (strcmp(NameStr(((Form_pg_proc) GETSTRUCT(function))->proname), "node_of") == 0)
		return -1;
	if (strcmp(NameStr(((Form_pg_proc) GETSTRUCT(function))->proname), "ask_movement") == 0)
		return 0;
	for (i = 0; names != NULL && i < n; i++)
		if (strcmp(names[i], "aggregate_id") == 0 || strcmp(names[i], "name") == 0)
			return i;
	return -1;
}

/* Counts an account that is known, as far as planning can tell, not to be null. */
static void
count_account(Node *argument, Search *search)
{
	Node	   *value;

	argument = simplified(argument, search->params);
	value = strip_implicit_coercions(argument);
	/* a plan for any parameters is never made by Citus: it comes back with their values */
	if (has_parameters(value, NULL) || (IsA(value, Const) && !((Const *) value)->constisnull))
		search->account = argument;
}

/* An expression as the planner will see it, with the values of parameters that do not change. */
static Node *
simplified(Node *argument, ParamListInfo params)
{
	PlannerInfo *root;

	if (IsA(argument, Const))
		return argument;
	root = makeNode(PlannerInfo);
	root->glob = makeNode(PlannerGlobal);
	root->glob->boundParams = params;
	root->parse = makeNode(Query);
	return eval_const_expressions(root, argument);
}

static bool
has_parameters(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN) || expression_tree_walker(node, has_parameters, context);
}
