/*-------------------------------------------------------------------------
 *
 * src/feed/gap.h
 *		Gaps in the ids: drawn, not seen, and still to come or never.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_GAP_H
#define POINTSTORE_GAP_H

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/* ids from lower to below upper */
typedef struct IdRange
{
	int64		lower;
	int64		upper;
} IdRange;

typedef struct Ids
{
	int64	   *id;
	int			n;
	int			room;
} Ids;

/* Transactions that may store events. */
typedef struct Writers
{
	TransactionId *xid;
	int			n;
	bool		prepared;		/* one of them is prepared: nobody tells when it ends */
} Writers;

/* Gaps that the same writers may fill. */
typedef struct Horizon
{
	TransactionId *writers;
	int			nwriters;
	IdRange    *gaps;			/* ascending */
	int			ngaps;
	int			room;
	bool		withheld;		/* events that are there, and have to wait for an earlier one of their account */
	bool		unsorted;		/* a gap was added that is not above those before it */
	bool		look;			/* a writer has ended since these gaps were looked at */
} Horizon;

typedef struct Gaps
{
	List	   *horizons;
	MemoryContext context;
} Gaps;

extern void pointstore_event_writers(Oid events, Writers *writers);
extern Horizon *pointstore_add_horizon(Gaps *gaps, const Writers *writers, bool withheld);
extern void pointstore_add_gap(Gaps *gaps, Horizon *horizon, int64 lower, int64 upper);
extern void pointstore_drop_ended(Writers *writers, Snapshot snapshot);
extern bool pointstore_find_ended(Gaps *gaps, Snapshot snapshot);
extern int	pointstore_gaps_to_look_at(const Gaps *gaps, IdRange **ranges);
extern void pointstore_fill_gaps(Gaps *gaps, const Ids *ids);
extern void pointstore_settle_gaps(Gaps *gaps, int64 upto);
extern bool pointstore_in_gap(const Gaps *gaps, int64 id);
extern int64 pointstore_lowest_gap(const Gaps *gaps);
extern bool pointstore_gaps_await_writers(const Gaps *gaps);

#endif							/* POINTSTORE_GAP_H */
