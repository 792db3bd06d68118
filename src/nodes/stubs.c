/*-------------------------------------------------------------------------
 *
 * src/nodes/stubs.c
 *		What is not there yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#define STUB(name) \
PG_FUNCTION_INFO_V1(name); \
Datum name(PG_FUNCTION_ARGS) { ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg(#name))); }

STUB(pointstore_reconcile_movements)
