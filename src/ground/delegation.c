/*-------------------------------------------------------------------------
 *
 * src/ground/delegation.c
 *		Calls that Citus delegates to other nodes.
 *
 * Citus looks for the node of a call by its argument aggregate_id, also where that is null, and a server does
 * not survive that look. So calls for no account are kept from its planner: they are planned as PostgreSQL does it, and
 * refused where they are executed, here. Nothing happens where no other planner is loaded before ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/params.h"
#include "nodes/pathnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "ground/delegation.h"

/* What is looked for in a query. */
typedef struct Search
{
	ParamListInfo params;
	bool		calls_for_nobody;
	bool		has_tables;
} Search;

static planner_hook_type earlier_planner = NULL;

static PlannedStmt *plan_query(Query *query, const char *text, int options, ParamListInfo params);
static bool look(Node *node, void *context);
static bool is_for_nobody(FuncExpr *call, ParamListInfo params);
static int	place_of_account(HeapTuple function);
static bool is_null(Node *argument, ParamListInfo params);
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

	if (query->commandType == CMD_SELECT)
		(void) look((Node *) query, &search);
	if (!search.calls_for_nobody)
		return earlier_planner(query, text, options, params);
	if (search.has_tables)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("aggregate_id must not be null")));
	return standard_planner(query, text, options, params);
}

/* Looks through all of a query; true, as soon as nothing else matters. */
static bool
look(Node *node, void *context)
{
	Search	   *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		search->has_tables |= ((RangeTblEntry *) node)->rtekind == RTE_RELATION;
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, look, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, FuncExpr))
		search->calls_for_nobody |= is_for_nobody((FuncExpr *) node, search->params);
	return (search->calls_for_nobody && search->has_tables) || expression_tree_walker(node, look, context);
}

/* Whether a call is one of ours that goes by an account, of which there is none. */
static bool
is_for_nobody(FuncExpr *call, ParamListInfo params)
{
	HeapTuple	function;
	List	   *arguments;
	int			place;
	bool		result;

	if (get_func_namespace(call->funcid) != get_namespace_oid("pointstore", true) ||
		getExtensionOfObject(ProcedureRelationId, call->funcid) != get_extension_oid("pointstore", true))
		return false;
	function = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(function))
		return false;
	place = place_of_account(function);
	arguments = expand_function_arguments(call->args, false, call->funcresulttype, function);
	result = place >= 0 && place < list_length(arguments) && is_null(list_nth(arguments, place), params);
	ReleaseSysCache(function);
	return result;
}

/* Which argument of a function Citus may go by, from 0; -1: none. */
static int
place_of_account(HeapTuple function)
{
	Oid		   *types;
	char	  **names = NULL;
	char	   *modes;
	int			n = get_func_arg_info(function, &types, &names, &modes);
	int			i;

	n = Min(n, ((Form_pg_proc) GETSTRUCT(function))->pronargs);
	for (i = 0; names != NULL && i < n; i++)
		if (strcmp(names[i], "aggregate_id") == 0 || strcmp(names[i], "name") == 0)
			return i;
	return -1;
}

/* Whether an argument is null already, as far as planning can tell. */
static bool
is_null(Node *argument, ParamListInfo params)
{
	PlannerInfo *root = makeNode(PlannerInfo);

	root->glob = makeNode(PlannerGlobal);
	root->parse = makeNode(Query);
	argument = eval_const_expressions(root, with_parameters(argument, params));
	return IsA(argument, Const) && ((Const *) argument)->constisnull;
}

/* An expression with the values of its parameters, where they are known to be null. */
static Node *
with_parameters(Node *node, void *context)
{
	ParamListInfo params = context;
	Param	   *param = (Param *) node;
	ParamExternData room;
	ParamExternData *value;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Param))
		return expression_tree_mutator(node, with_parameters, context);
	if (params == NULL || param->paramkind != PARAM_EXTERN || param->paramid < 1 || param->paramid > params->numParams)
		return copyObject(node);
	value = params->paramFetch != NULL ? params->paramFetch(params, param->paramid, true, &room) : &params->params[param->paramid - 1];
	if (!OidIsValid(value->ptype) || !value->isnull)
		return copyObject(node);
	return (Node *) makeNullConst(param->paramtype, param->paramtypmod, param->paramcollid);
}
