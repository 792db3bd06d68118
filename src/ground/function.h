/*-------------------------------------------------------------------------
 *
 * src/ground/function.h
 *		Functions of users, which the store's tables name: found, and called.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_FUNCTION_H
#define POINTSTORE_FUNCTION_H

#include "fmgr.h"
#include "lib/stringinfo.h"

/* What a function is for: its arguments, and the type of its result. */
typedef enum UserFunctionSort
{
	FUNCTION_REDUCER,			/* (state jsonb, event pointstore.event) returns jsonb */
	FUNCTION_UPCASTER,			/* (payload jsonb) returns jsonb */
	FUNCTION_MERGE				/* (proposed jsonb, base_version bigint, since pointstore.event[]) returns jsonb, or null */
} UserFunctionSort;

typedef struct UserFunction
{
	char	   *name;
	Oid			role;			/* as whom it is called */
	FmgrInfo	call;
} UserFunction;

extern Oid	pointstore_find_function(const char *name, UserFunctionSort sort, bool missing_ok);
extern Oid	pointstore_named_function(const char *name, UserFunctionSort sort);
extern char *pointstore_function_text(Oid function, UserFunctionSort sort);
extern void pointstore_require_function(Oid function, UserFunctionSort sort, Oid role);
extern UserFunction *pointstore_load_function(Oid function);
extern UserFunction *pointstore_load_function_for(Oid function, Oid caller);
extern Datum pointstore_call_function(UserFunction *function, const Datum *arguments, int n);
extern Datum pointstore_call_nullable(UserFunction *function, const Datum *arguments, int n, bool *isnull);
extern Oid	pointstore_event_type(void);
extern Datum pointstore_event_datum(Datum *values, bool *nulls);
extern void pointstore_describe_function(Oid function, StringInfo definition, StringInfo row);

#endif							/* POINTSTORE_FUNCTION_H */
