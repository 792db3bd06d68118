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

/* Called where we stay, by who acts as the caller. */
extern Heritage pointstore_take_heritage(text *subscription);

/* These by who acts as the owner. */
extern int	pointstore_read_heritage(text *subscription, int64 checkpoint, IdRange **passed);
extern void pointstore_forget_heritage(text *subscription);

#endif							/* POINTSTORE_HERITAGE_H */
