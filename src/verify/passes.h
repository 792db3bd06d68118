/*-------------------------------------------------------------------------
 *
 * src/verify/passes.h
 *		What a run looks for, in SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_PASSES_H
#define POINTSTORE_VERIFY_PASSES_H

#include "verify/runstate.h"
#include "verify/spool.h"

/* What a full run goes through: a statement over the store's events, the same over those of a part, and what parts these are of. */
typedef struct Pass
{
	const char *by_heap;
	const char *by_spool;
	SpoolFamily family;
	bool		moving;			/* it compares what was spooled with rows of now */
} Pass;

/* What the passes of a full run are given. */
#define N_PASS_VALUES 7
extern const Oid pointstore_pass_types[N_PASS_VALUES];
#define PASS_VALUES(run, part) \
	{Int64GetDatum((run)->key), Int64GetDatum((run)->slices), Int64GetDatum(part), \
	 Int64GetDatum((run)->spool ? (run)->pending_id : PG_INT64_MAX), BoolGetDatum((run)->spool != NULL), \
	 BoolGetDatum((run)->fed), Int64GetDatum((run)->whole_id)}

extern const Pass pointstore_slice_pass;
extern const Pass pointstore_account_passes[];
extern const int pointstore_n_account_passes;
extern const Pass pointstore_link_passes[];
extern const int pointstore_n_link_passes;
extern const char *const pointstore_resolve_sql;
extern const char *const pointstore_new_links_sql;

#endif
