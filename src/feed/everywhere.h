/*-------------------------------------------------------------------------
 *
 * src/feed/everywhere.h
 *		Calls that mean every shard.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_EVERYWHERE_H
#define POINTSTORE_EVERYWHERE_H

#include "feed/whose.h"

/* What a call returns, as an integer, in a shard that has not the subscription that its first argument names. */
#define NOT_THERE (-1)

extern int64 pointstore_call_in_shards(FunctionCallInfo fcinfo, int nargs, FeedCall call);
extern int64 pointstore_call_where(FunctionCallInfo fcinfo, int nargs, FeedCall call, text *of);

#endif							/* POINTSTORE_EVERYWHERE_H */
