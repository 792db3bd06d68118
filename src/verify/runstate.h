/*-------------------------------------------------------------------------
 *
 * src/verify/runstate.h
 *		What the rooms of a run share: its state, its steps and pauses, its files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_RUNSTATE_H
#define POINTSTORE_VERIFY_RUNSTATE_H

#include "utils/hsearch.h"
#include "utils/tuplestore.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

#include "verify/spool.h"

/* kilobytes of a sort, and how many times as much a hash table may have: a process has a few of these */
#define WORK_MEM_LIMIT 32768
#define HASH_MEM_LIMIT 2

/* what a run says of itself at its end */
#define RUN_TOO_MANY "more accounts than pointstore.max_auto_actions would have been touched: the rest is reported"
#define RUN_TOO_EARLY "%lld accounts were last changed in the future, by a clock that was wrong"

typedef struct Run
{
	int64		id;
	int64	   *reported_id;
	const char *triggered_by;
	bool		full;
	int64		key;			/* of the digests */
	int			slices;
	int			slice;
	Spool	   *spool;			/* the events, of a run in several slices */
	bool		moving;			/* what it goes through may look wrong where an account has moved since they were read */
	bool		resumed;		/* an earlier session has done some slices */
	int64		accounts;
	int64		events;
	int64		findings;
	int64		unverified;
	List	   *rows;			/* tuplestores that are open */
	HTAB	   *done;			/* names of the accounts that it has found something about, or left unverified */
	int64		acted;			/* accounts that were repaired or frozen */
	bool		breaker;		/* more would have been */
	int64		ahead;			/* accounts that were last changed in the future */
	int			heap_looks;		/* accounts examined by the heap */
	TimestampTz started_at;
	int64		since_id;		/* the checkpoint as it was, what it becomes, and what it may become */
	int64		safe_id;
	int64		pending_id;
	char	   *pending_xmax;
	int64		whole_id;		/* last id of which every event was there before the run began to read */
	bool		fed;			/* the events come by a subscription */
	MemoryContext context;		/* lives as long as the run */
} Run;

extern int	pointstore_reconcile_max_transaction;	/* ms */

extern void pointstore_runstate_init(void);
extern void pointstore_run_next_step(void);
extern void pointstore_run_rest(void);
extern bool pointstore_run_is_throttled(void);
extern double pointstore_run_event_time(void);
extern void pointstore_run_show_done(Run *run);
extern void pointstore_run_tell(Run *run, const char *what);
extern void pointstore_run_plan_with_care(bool parallel);
extern void pointstore_run_let_go(Run *run, Tuplestorestate *rows);
extern void pointstore_run_forget_files(Run *run);
extern void pointstore_run_forget_spool(Run *run);
extern Datum pointstore_text_array(Datum *elements, int n);
extern Datum pointstore_bigint_array(Datum *elements, bool *nulls, int n);

#endif
