/*-------------------------------------------------------------------------
 *
 * src/feed/claim.h
 *		Claims: the events of a slot, or of an account that is retried, for one member at a time.
 *
 * Whoever calls these acts as the owner of the store, or as who verifies it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_CLAIM_H
#define POINTSTORE_CLAIM_H

#include "feed/page.h"
#include "feed/subscription.h"

/* What was claimed: events of a slot that nobody has claimed, in order of position. */
typedef struct Claim
{
	int16		slot;
	int64		epoch;
	int			attempt;		/* 1: the first event comes for the first time */
	text	   *retried;		/* the account whose waiting events these are; null: new ones of the slot */
	FeedPage	page;			/* page.nevents of page.events, rows as page.desc says */
} Claim;

/* What a nack says. */
typedef struct Nack
{
	text	   *subscription;
	int16		slot;
	int64		epoch;
	int64		position;		/* the event that failed; those before it are done */
	text	   *error;			/* may be null */
	text	   *action;			/* retry, park, skip, stop */
	Interval   *retry_in;		/* null: growing pauses */
} Nack;

/* False: there is nothing to do now. Runs in the transaction, and so does what follows. */
extern bool pointstore_claim_events(const Subscription *subscription, text *member, int max_events, Claim *claim);

/* Done up to a position. Returns the checkpoint. PS014: the slot has passed to another. */
extern int64 pointstore_ack_claim(text *subscription, int16 slot, int64 epoch, int64 position);
extern void pointstore_nack_claim(const Nack *nack);

/* Gives the slot back without blame; it is not claimed again before delay (ms) is over. */
extern void pointstore_release_claim(text *subscription, int16 slot, int64 epoch, int64 delay);

#endif							/* POINTSTORE_CLAIM_H */
