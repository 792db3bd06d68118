/*-------------------------------------------------------------------------
 *
 * src/feed/block.h
 *		Rows of feed_block: which ids have which positions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_BLOCK_H
#define POINTSTORE_BLOCK_H

#include "feed/gap.h"

#define BLOCK_RANGES 100
#define BLOCK_EVENTS 4096

typedef struct Block
{
	int64		first;			/* its first position; 0: there is no block */
	int64		last;			/* its last position; first - 1: it is empty */
	int			nranges;
	IdRange		ranges[BLOCK_RANGES];
	bool		sealed;
	bool		stored;			/* it has a row */
	int64		stored_last;	/* and its last position there */
} FeedBlock;

/* Of a shard's feed, which may move from server to server: as system identifier and timeline. */
typedef struct Incarnation
{
	char		given[48];		/* by which its consumers know it */
	char		server[48];		/* where positions are given now */
} Incarnation;

extern int	pointstore_read_multirange(Datum multirange, IdRange *ranges, int room);
extern void pointstore_read_last_block(FeedBlock *block, int64 *settled_below);
extern void pointstore_write_positions(FeedBlock *block, const Ids *ids, int64 settled_below, const Incarnation *incarnation);
extern void pointstore_write_settled(const FeedBlock *block, int64 settled_below);
extern void pointstore_read_incarnation(Incarnation *incarnation);

#endif							/* POINTSTORE_BLOCK_H */
