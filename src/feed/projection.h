/*-------------------------------------------------------------------------
 *
 * src/feed/projection.h
 *		Projections: subscriptions whose events a function of the user's takes.
 *
 * Whoever calls these acts as the owner of the store, or as who verifies it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROJECTION_H
#define POINTSTORE_PROJECTION_H

#include "utils/array.h"

#include "feed/page.h"
#include "feed/subscription.h"
#include "feed/upcast.h"

typedef struct Projection
{
	Subscription subscription;
	int64		start_after;
	Oid			role;			/* who created it */
	Oid			handler;
	const char *unfit;			/* why the handler may not be called; null: it may */
	bool		lacks_right;	/* for want of a right alone, which may be granted yet */
} Projection;

extern void pointstore_projection_init(void);
extern bool pointstore_find_projection(Projection *projection, text *name);
extern void pointstore_require_projection(Projection *projection, text *name);
extern void pointstore_require_fit(const Projection *projection);
extern Oid	pointstore_function_of(const Projection *projection, Oid function, bool handles, text **name);
extern Datum *pointstore_feed_events(const FeedPage *page);
extern Datum *pointstore_upcast_feed_events(Upcasters *upcasters, const Datum *events, int n);
extern void pointstore_call_handler(const Projection *projection, Datum *events, int n, bool replaying);
extern void pointstore_call_as_creator(const Projection *projection, Oid function, ArrayType *array);

#endif							/* POINTSTORE_PROJECTION_H */
