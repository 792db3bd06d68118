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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/params.h"
#include "nodes/pathnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ground/delegation.h"

/* What is looked for in a query. */
typedef struct Search
{
	ParamListInfo params;
	int			calls;			/* of functions that go by an account, and of what may become one */
	int			of_known;		/* for one that is there, or comes with the parameters */
} Search;

/* What a function that a query calls is. */
typedef struct Called
{
	Oid			function;		/* the key */
	int			place;			/* of the argument that Citus may go by; -1: none */
	bool		is_sql;			/* may be replaced by what it does */
} Called;

static planner_hook_type earlier_planner = NULL;
static HTAB *known = NULL;		/* Called */
static bool hears = false;		/* of changed functions */
static uint64 changes = 0;

static PlannedStmt *plan_query(Query *query, const char *text, int options, ParamListInfo params);
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
static bool has_parameters(Node *node, void *context);
static Node *with_parameters(Node *node, void *context);

void
pointstore_delegation_init(void)
{
	earlier_planner = planner_hook;
	if (earlier_planner != NULL)
		planner_hook = plan_query;
}

static PlannedStmt *
plan_query(Query *query, const char *text, int options, ParamListInfo params)
{
	Search		search = {.params = params};

	if (query->commandType == CMD_SELECT && OidIsValid(get_namespace_oid("pointstore", true)))
		(void) look((Node *) query, &search);
	if (search.calls > 0 && query->setOperations == NULL &&
		!(search.calls == 1 && search.of_known == 1 && stands_by_itself(query)))
		query->jointree->quals = make_and_qual(query->jointree->quals, always_true());
	return earlier_planner(query, text, options, params);
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
		called.place = place_of_account(tuple);
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
	for (i = 0; names != NULL && i < n; i++)
		if (strcmp(names[i], "aggregate_id") == 0 || strcmp(names[i], "name") == 0)
			return i;
	return -1;
}

/* Counts an account that is known, as far as planning can tell, not to be null. */
static void
count_account(Node *argument, Search *search)
{
	PlannerInfo *root = makeNode(PlannerInfo);

	root->glob = makeNode(PlannerGlobal);
	root->parse = makeNode(Query);
	argument = strip_implicit_coercions(eval_const_expressions(root, with_parameters(argument, search->params)));
	/* a plan for any parameters is never made by Citus: it comes back with their values */
	search->of_known += has_parameters(argument, NULL) || (IsA(argument, Const) && !((Const *) argument)->constisnull);
}

static bool
has_parameters(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN) || expression_tree_walker(node, has_parameters, context);
}

/* An expression with the values of its parameters, where they are known. */
static Node *
with_parameters(Node *node, void *context)
{
	ParamListInfo params = context;
	Param	   *param = (Param *) node;
	ParamExternData room;
	ParamExternData *value;
	int16		length;
	bool		by_value;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Param))
		return expression_tree_mutator(node, with_parameters, context);
	if (params == NULL || param->paramkind != PARAM_EXTERN || param->paramid < 1 || param->paramid > params->numParams)
		return copyObject(node);
	value = params->paramFetch != NULL ? params->paramFetch(params, param->paramid, true, &room) : &params->params[param->paramid - 1];
	if (!OidIsValid(value->ptype))
		return copyObject(node);
	get_typlenbyval(param->paramtype, &length, &by_value);
	return (Node *) makeConst(param->paramtype, param->paramtypmod, param->paramcollid, length,
							  value->isnull ? (Datum) 0 : datumCopy(value->value, by_value, length), value->isnull, by_value);
}
