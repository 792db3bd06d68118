/*-------------------------------------------------------------------------
 *
 * src/feed/settle.h
 *		What becomes of a claim: acknowledged, failed, renewed, given back.
 *
 * Whoever calls these acts as the owner of the store, or as who verifies it. What they write is part
 * of the transaction, or subtransaction, that is under way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SETTLE_H
#define POINTSTORE_SETTLE_H

#include "feed/subscription.h"

/* What a nack says. */
typedef struct Nack
{
	int16		slot;
	int64		epoch;
	int64		position;		/* the event that failed; those before it are done */
	text	   *error;			/* may be null */
	const char *action;			/* retry, park, skip, stop */
	Interval   *retry_in;		/* null: growing pauses */
} Nack;

/* Done up to a position. Returns the checkpoint. PS014: the slot has passed to another; 22023: that was not delivered. */
extern int64 pointstore_ack_claim(const Subscription *subscription, int16 slot, int64 epoch, int64 position);
extern void pointstore_nack_claim(const Subscription *subscription, const Nack *nack);

extern TimestampTz pointstore_renew_claim(const Subscription *subscription, int16 slot, int64 epoch);

/* Gives the slot back without blame; it is not claimed again before delay is over (null: at once). */
extern void pointstore_release_claim(const Subscription *subscription, int16 slot, int64 epoch, Interval *delay, bool counts);

#endif							/* POINTSTORE_SETTLE_H */
