/*-------------------------------------------------------------------------
 *
 * src/verify/finding.h
 *		Findings, as they are stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_FINDING_H
#define POINTSTORE_VERIFY_FINDING_H

#include "verify/examine.h"
#include "verify/index.h"
#include "verify/runstate.h"

/* the reason that account_log gives for what policy does */
#define OUR_REASON "reconciliation"

/* What an account's kind says about findings. */
typedef struct Policy
{
	bool		freeze;
	bool		repair;
	bool		by_events;
} Policy;

/* An account that looks wrong, as it is dealt with. */
typedef struct Case
{
	Run		   *run;
	text	   *id;
	bool		by_heap;		/* it is the heap that has shown it */
	const HeapView *heap;		/* what the heaps say; null: not known */
	bool		moved;			/* and may be for the account has had events meanwhile */
	const char *lie;			/* table whose key says something else */
	bool		not_compared;	/* heap looks have run out */
	bool		known;			/* something is wrong that was acknowledged */
	bool		hidden;			/* and an index hides it */
	bool		unsure;			/* there were too many that only the heap shows */
	char	   *stamp;			/* what of the account cannot change by appends to it */
	int64		version;		/* of its row when that was read */
	Findings   *found;
	Policy		policy;
	bool		settled;		/* it has been dealt with */
	int			findings;		/* for the run to count, once this is done */
	int			acted;
	char	   *failure;		/* why policy could not do what it wants */
} Case;

extern void pointstore_record(const Case *wrong, const char *action, bool hidden);
extern void pointstore_resolve(const Case *wrong, const Findings *found, const char *by, const char *action);
extern void pointstore_finding_values(Datum *values, char *nulls, text *id, const Finding *finding);
extern void pointstore_forget_proof(text *id);
extern void pointstore_count_repaired(Run *run, int findings);
extern text *pointstore_account_of_finding(int64 finding, PointstoreScope *owner);

#endif
