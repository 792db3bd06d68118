/*-------------------------------------------------------------------------
 *
 * src/nodes/peer.h
 *		Other stores, as the coordinator has to do with them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PEER_H
#define POINTSTORE_PEER_H

#include "nodes/trip.h"
#include "storage/latch.h"

/* How much may be asked of one at once. */
typedef struct PeerLimits
{
	int			batch;			/* messages of a round trip */
	int			connections;
	long		timeout;		/* ms, of a round trip */
} PeerLimits;

extern void pointstore_peers_begin(void);
extern void pointstore_peers_end(LiveSet *set);
extern StepQueue *pointstore_peer_queue(const char *server);
extern bool pointstore_peers_poll(LiveSet *set);
extern void pointstore_peers_send(LiveSet *set, const Sender *sender, const PeerLimits *limits);
extern bool pointstore_peers_want_step(void);
extern void pointstore_peers_step(const Sender *sender);
extern TimestampTz pointstore_peers_due(void);
extern bool pointstore_peers_are_busy(void);
extern int	pointstore_peers_links(void);
extern void pointstore_peers_await(WaitEventSet *events);

#endif							/* POINTSTORE_PEER_H */
