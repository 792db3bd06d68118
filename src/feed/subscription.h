/*-------------------------------------------------------------------------
 *
 * src/feed/subscription.h
 *		Subscriptions: their definitions, and who may use them.
 *
 * Whoever calls these acts as the owner of the store, or as who verifies it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SUBSCRIPTION_H
#define POINTSTORE_SUBSCRIPTION_H

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "feed/decision.h"
#include "ground/identity.h"

#define MAX_BATCH 10000			/* events at once, of a projection */

/* A row of pointstore.subscription. */
typedef struct Subscription
{
	text	   *name;
	text	   *created_by;
	text	   *status;			/* running, paused, stopped */
	bool		running;
	int16		slots;
	Datum		event_types;	/* text[]; 0: all */
	Datum		prefix;			/* text; 0: all */
	Interval   *lease;
	int			max_attempts;
	text	   *on_failure;		/* park, stop */
	int			max_retrying;
	text	   *handler;		/* of a projection; null: a subscription */
	int			batch;			/* of a projection */
	int64		replay_upto;	/* what has been delivered up to there comes again, perhaps */
} Subscription;

extern bool pointstore_find_subscription(Subscription *subscription, text *name);
extern bool pointstore_begin_verb_there(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb);
extern bool pointstore_begin_verb(PointstoreScope *scope, Subscription *subscription, text *name, const char *verb);
extern void pointstore_set_filter(Subscription *subscription, FunctionCallInfo fcinfo, int types, int prefix);
extern void pointstore_insert_subscription(const Subscription *subscription, int64 start_after);
extern void pointstore_move_subscription_to(const Subscription *subscription, int64 after);
extern void pointstore_delete_subscription(const Subscription *subscription);
extern void pointstore_stop_subscription(const Subscription *subscription, const FeedDecision *why);

#endif							/* POINTSTORE_SUBSCRIPTION_H */
