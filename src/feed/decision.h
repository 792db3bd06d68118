/*-------------------------------------------------------------------------
 *
 * src/feed/decision.h
 *		subscription_log: what was decided about subscriptions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DECISION_H
#define POINTSTORE_DECISION_H

#include "fmgr.h"

typedef struct FeedDecision
{
	const char *action;
	text	   *subscription;
	bool		has_slot;
	int16		slot;
	text	   *member;			/* these may be null */
	text	   *aggregate_id;
	int64		position;		/* 0: none */
	text	   *error;
} FeedDecision;

extern void pointstore_decisions_init(void);
extern void pointstore_log_decision(const FeedDecision *decision);
extern bool pointstore_blames_event(int sqlerrcode);

#endif							/* POINTSTORE_DECISION_H */
