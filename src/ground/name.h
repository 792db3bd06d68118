/*-------------------------------------------------------------------------
 *
 * src/ground/name.h
 *		Arguments of SQL functions, and names among them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_NAME_H
#define POINTSTORE_NAME_H

#include "fmgr.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"

#define POINTSTORE_MAX_NAME 512		/* bytes of an id, a type, a kind */

extern void pointstore_check_arguments(FunctionCallInfo fcinfo, int n);
extern text *pointstore_name(FunctionCallInfo fcinfo, int argno, const char *what);
extern void pointstore_check_name(const char *what, text *name);
extern int	pointstore_place(text *name, const char *const *names, int n);
extern char *pointstore_cstring(text *name);
extern Jsonb *pointstore_payload(FunctionCallInfo fcinfo, int argno);
extern Jsonb *pointstore_empty_payload(void);
extern bool pointstore_member(Jsonb *object, const char *key, JsonbValue *value);
extern bool pointstore_same_text(text *a, text *b);
extern int	pointstore_compare_text(text *a, text *b);
extern HTAB *pointstore_text_table(const char *what, Size entry, MemoryContext context);

#endif							/* POINTSTORE_NAME_H */
