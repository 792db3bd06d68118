/*-------------------------------------------------------------------------
 *
 * src/feed/retry.h
 *		Accounts that a failed event has set aside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_RETRY_H
#define POINTSTORE_RETRY_H

#include "feed/delivery.h"
#include "feed/slot.h"
#include "feed/subscription.h"

/* A row of subscription_account. */
typedef struct SetAside
{
	text	   *id;
	int64		position;		/* of its first event that is not done */
	int64		version;
	bool		parked;
	int			attempts;
	int64		alone_upto;
	TimestampTz next_try;		/* where it is not parked */
	text	   *error;			/* may be null */
} SetAside;

/* What is to be done about an event that failed. */
typedef struct Failure
{
	const char *action;			/* retry, park, skip, stop */
	text	   *error;			/* may be null */
	Interval   *retry_in;		/* null: growing pauses */
} Failure;

extern bool pointstore_find_due(SetAside *account, const Subscription *subscription, const Slot *slot, TimestampTz now, int64 upto);
extern void pointstore_note_due(const Subscription *subscription, Slot *slot);
extern bool pointstore_find_set_aside(SetAside *account, const Subscription *subscription, int16 slot, text *id);
extern bool pointstore_set_aside(const Subscription *subscription, Slot *slot, SetAside *account, const Failure *failure);
extern bool pointstore_set_aside_ahead(const Subscription *subscription, Slot *slot, SetAside *account, const Failure *failure);
extern bool pointstore_would_stop(const Subscription *subscription, const Failure *failure);
extern bool pointstore_retry_failed(const Subscription *subscription, Slot *slot, SetAside *account, const Failure *failure);
extern void pointstore_retry_later(const Subscription *subscription, Slot *slot, SetAside *account, TimestampTz next_try);
extern bool pointstore_retry_done(const Subscription *subscription, Slot *slot, SetAside *account, int64 position);

#endif							/* POINTSTORE_RETRY_H */
