/*-------------------------------------------------------------------------
 *
 * src/feed/heritage.h
 *		What a shard takes over of the subscriptions of the one that it was split from.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_HERITAGE_H
#define POINTSTORE_HERITAGE_H

#include "feed/block.h"

typedef enum Heritage
{
	HERITAGE_NONE,				/* there is none: the subscription does not exist */
	HERITAGE_LATER,				/* it cannot be taken over yet */
	HERITAGE_TAKEN
} Heritage;

/* These by who acts as the caller: where we stay, or in a shard, wherever that is. */
extern Heritage pointstore_take_heritage(text *subscription);
extern Heritage pointstore_bring_heritage(text *subscription, int64 shard);

/* These by who acts as the owner. */
extern int	pointstore_read_heritage(text *subscription, int64 checkpoint, IdRange **passed);
extern bool pointstore_lock_heritage(text *subscription, bool wait);
extern void pointstore_forget_heritage(text *subscription);

#endif							/* POINTSTORE_HERITAGE_H */
