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

extern void pointstore_read_new(const Subscription *subscription, const Slot *slot, FeedPage *page, OtherSlots *others);
extern void pointstore_read_waiting(const Subscription *subscription, text *aggregate_id, int64 version, FeedPage *page);
extern text *pointstore_delivered_account(const FeedPage *page, int event);
extern int64 pointstore_delivered_version(const FeedPage *page, int event);

#endif							/* POINTSTORE_DELIVERY_H */
