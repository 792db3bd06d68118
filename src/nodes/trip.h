/*-------------------------------------------------------------------------
 *
 * src/nodes/trip.h
 *		Messages that go to another store in one round trip.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_TRIP_H
#define POINTSTORE_TRIP_H

#include "nodes/dispatch.h"
#include "nodes/link.h"
#include "nodes/pg_list.h"

/* bytes of a movement's id in the name of a prepared transaction, which has 200 at most; longer ones, and those that begin with #, are told by # and a digest */
#define POINTSTORE_MAX_PLAIN_ID 100

typedef struct Trip Trip;

/* What came of one, besides the answers. */
typedef struct TripResult
{
	bool		is_answered;	/* by the store that was asked */
	char	   *error;			/* of a call as a whole; NULL: none */
	bool		blames_messages;	/* which may be some of them */
	char	   *swept;			/* prepared transactions of this store, as a JSON array; NULL: not asked for */
} TripResult;

/* Whether who answers is who was asked. */
typedef bool (*TripCheck) (void *arg, const Answerer *answerer);

extern Trip *pointstore_trip_make(LiveSet *set, StepQueue *queue, const Sender *sender, int most);
extern void pointstore_trip_add_rollbacks(Trip *trip, List *gids);
extern void pointstore_trip_add_sweep(Trip *trip, const Sender *sender);
extern bool pointstore_trip_prepares(const Trip *trip);
extern int	pointstore_trip_size(const Trip *trip);
extern MemoryContext pointstore_trip_context(const Trip *trip);
extern void pointstore_trip_send(Trip *trip, Link *link, long timeout);
extern void pointstore_trip_take(LiveSet *set, Trip *trip, TripCheck check, void *arg, TripResult *result);
extern void pointstore_trip_end(LiveSet *set, Trip *trip);
extern bool pointstore_split_gid(const char *gid, const Sender *sender, int64 *incarnation, char **movement_id);

#endif							/* POINTSTORE_TRIP_H */
