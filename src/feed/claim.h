/*-------------------------------------------------------------------------
 *
 * src/feed/claim.h
 *		Claims: the events of a slot, or of an account that is retried, for one member at a time.
 *
 * Whoever calls these acts as the owner of the store, or as who verifies it. What they write is part
 * of the transaction, or subtransaction, that is under way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_CLAIM_H
#define POINTSTORE_CLAIM_H

#include "storage/lock.h"

#include "feed/page.h"
#include "feed/subscription.h"

/* What was claimed: in order of position. */
typedef struct Claim
{
	int16		slot;
	int64		epoch;
	int			attempt;		/* 1: the first event comes for the first time */
	text	   *retried;		/* the account whose waiting events these are; null: new ones of the slot */
	FeedPage	page;			/* page.nevents of page.events, rows as page.desc says, in memory of the caller's */
	bool		paused;			/* or stopped: the subscription, wherever it was looked at */
	bool		unfinished;		/* nothing was found in as many positions as one look examines: there are more */
	TimestampTz next_look;		/* where nothing was found: when a lease or a pause ends; DT_NOEND: none */
} Claim;

/* Claims what there is, by the definition as it is by then; false: nothing, now. Waits for nobody. */
extern bool pointstore_claim_events(Subscription *subscription, text *member, int max_events, Claim *claim);

/* Whether there is something to claim, else when it is worth another look; DT_NOBEGIN: at once, DT_NOEND: when the head has moved. */
extern bool pointstore_is_claimable(Subscription *subscription, TimestampTz *next_look);

/* The lock in memory of a slot. */
extern void pointstore_guard_tag(text *subscription, int16 number, LOCKTAG *tag);

extern TimestampTz pointstore_lease_end(const Subscription *subscription);

#endif							/* POINTSTORE_CLAIM_H */
