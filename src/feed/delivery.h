/*-------------------------------------------------------------------------
 *
 * src/feed/delivery.h
 *		Events as subscriptions deliver them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DELIVERY_H
#define POINTSTORE_DELIVERY_H

#include "feed/page.h"
#include "feed/slot.h"
#include "feed/subscription.h"

/* What was seen on the way of the other slots of a subscription. */
typedef struct OtherSlots
{
	const int64 *after;			/* of each slot: later events count */
	bool	   *have_some;
} OtherSlots;

/* Which events of a slot are new: those that do not wait with an account. */
typedef struct Wanted Wanted;

#define FAILED_AT_ONCE 100		/* events that fail: what comes after so many waits for the next claim */

/* Events whose upcasters have failed, in order of position: the first of an account. */
typedef struct FailedEvents
{
	int			n;
	struct
	{
		text	   *id;
		int64		position;
		int64		version;
		text	   *error;
	}			events[FAILED_AT_ONCE];
} FailedEvents;

extern void pointstore_read_new(const Subscription *subscription, const Slot *slot, FeedPage *page, OtherSlots *others);
extern Wanted *pointstore_new_events(const Subscription *subscription, const Slot *slot);
extern bool pointstore_is_new(const FeedEvent *event, TupleDesc desc, void *arg);
extern void pointstore_read_waiting(const Subscription *subscription, text *aggregate_id, int64 version, FeedPage *page);
extern void pointstore_upcast_delivery(FeedPage *page, FailedEvents *failed);
extern text *pointstore_delivered_account(const FeedPage *page, int event);
extern int64 pointstore_delivered_version(const FeedPage *page, int event);

#endif							/* POINTSTORE_DELIVERY_H */
