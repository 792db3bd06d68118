/*-------------------------------------------------------------------------
 *
 * src/ground/stat.h
 *		Counters of what appends have come to, per database; what was told lately.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_STAT_H
#define POINTSTORE_STAT_H

/* in the order of the columns of stat() */
typedef enum PointstoreStat
{
	/* events, by what was decided about them, as Outcome */
	STAT_APPENDS,
	STAT_REPLAYS,
	STAT_VERSION_CONFLICTS,
	STAT_REQUEST_MISMATCHES,
	STAT_INSUFFICIENT_BALANCE,
	STAT_BALANCE_LIMIT,
	STAT_ACCOUNT_FROZEN,
	STAT_ACCOUNT_CLOSED,
	STAT_ACCOUNT_MISSING,
	STAT_NOT_ALLOWED,
	/* combined appends */
	STAT_BATCHES,
	STAT_COMBINED,				/* events that the batches have decided */
	STAT_ANSWERS,				/* callers that were answered */
	STAT_WAITED,				/* us, all of those together */
	STAT_GIVEN_BACK,
	/* in the order of the columns of stat_rules(); merges are among the appends */
	STAT_MERGES,
	STAT_TRANSITION_NOT_ALLOWED,
	STAT_LEASE_LOST,
	N_STATS
} PointstoreStat;

extern Size pointstore_stat_memory(void);
extern void pointstore_stat_set_up(void);
extern void pointstore_stat_add(PointstoreStat counter, int64 n);
extern bool pointstore_is_news(uint64 what);
extern int64 pointstore_stat_highest_id(void);
extern int64 pointstore_stat_settled(Oid sequence);
extern void pointstore_stat_settle(Oid sequence, int64 id);
extern void pointstore_stat_raise_id(int64 id);

#endif							/* POINTSTORE_STAT_H */
