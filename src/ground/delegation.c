/*-------------------------------------------------------------------------
 *
 * src/ground/delegation.c
 *		Calls that Citus delegates to other nodes.
 *
 * Citus looks for the node of a call by its argument aggregate_id, once that is a constant, also where that is null, and a
 * server does not survive that look. So calls whose account is not a constant yet, and may become null while the query
 * is planned, are kept from its planner: they are planned as PostgreSQL does it, and executed here, where they are refused if
 * need be. An account that is a column of a table stays one. Nothing happens where no other planner is loaded before ours.
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
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ground/compat.h"
#include "ground/delegation.h"
#include "ground/placement.h"

/* What is looked for in a query. */
typedef struct Search
{
	ParamListInfo params;
	Query	   *query;			/* the innermost at hand */
	bool		may_be_null;	/* the account of one of our functions */
	List	   *tables;			/* oids */
} Search;

static planner_hook_type earlier_planner = NULL;

static PlannedStmt *plan_query(Query *query, const char *text, int options, ParamListInfo params);
static bool look(Node *node, void *context);
static bool may_be_for_nobody(FuncExpr *call, const Search *search);
static int	place_of_account(HeapTuple function);
static bool is_given(Node *argument, const Search *search);
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
	ListCell   *cell;

	if (query->commandType == CMD_SELECT)
		(void) look((Node *) query, &search);
	if (!search.may_be_null)
		return earlier_planner(query, text, options, params);
	foreach(cell, search.tables)
		if (pointstore_have_placements(lfirst_oid(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the account of a call beside distributed tables must be a constant that is not null, or a column of a table")));
	return standard_planner(query, text, options, params);
}

/* Looks through all of a query. */
static bool
look(Node *node, void *context)
{
	Search	   *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		if (((RangeTblEntry *) node)->rtekind == RTE_RELATION)
			search->tables = lappend_oid(search->tables, ((RangeTblEntry *) node)->relid);
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *outer = search->query;

		search->query = (Query *) node;
		(void) query_tree_walker((Query *) node, look, context, QTW_EXAMINE_RTES_BEFORE);
		search->query = outer;
		return false;
	}
	if (IsA(node, FuncExpr))
		search->may_be_null |= may_be_for_nobody((FuncExpr *) node, search);
	return expression_tree_walker(node, look, context);
}

/* Whether a call is one of ours that goes by an account, which may be null. */
static bool
may_be_for_nobody(FuncExpr *call, const Search *search)
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
	result = place >= 0 && place < list_length(arguments) && !is_given(list_nth(arguments, place), search);
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

/* Whether an argument is a constant that is not null, as far as planning can tell, or a column of a table. */
static bool
is_given(Node *argument, const Search *search)
{
	PlannerInfo *root = makeNode(PlannerInfo);

	root->glob = makeNode(PlannerGlobal);
	root->parse = makeNode(Query);
	argument = strip_implicit_coercions(eval_const_expressions(root, with_parameters(argument, search->params)));
	if (IsA(argument, Var))
		return ((Var *) argument)->varlevelsup == 0 &&
			rt_fetch(((Var *) argument)->varno, search->query->rtable)->rtekind == RTE_RELATION;
	/* a plan for any parameters is never made by Citus: it comes back with their values */
	return has_parameters(argument, NULL) || (IsA(argument, Const) && !((Const *) argument)->constisnull);
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
