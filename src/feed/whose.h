/*-------------------------------------------------------------------------
 *
 * src/feed/whose.h
 *		Which feed a call is about: that of the store, or of one of its shards.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_WHOSE_H
#define POINTSTORE_WHOSE_H

#include "fmgr.h"

#define NO_SHARD PG_INT64_MIN	/* of a plain store */

/* What a call does where its feed is. */
typedef Datum (*FeedCall) (FunctionCallInfo fcinfo);

extern int64 pointstore_shard_of_call(FunctionCallInfo fcinfo);
extern Datum pointstore_call_of_feed(FunctionCallInfo fcinfo, int nargs, FeedCall call);
extern void pointstore_call_of_each_shard(FunctionCallInfo fcinfo, FeedCall call);
extern void pointstore_require_shards(void);
extern Datum pointstore_call_of_anybody(FunctionCallInfo fcinfo, FeedCall call);
extern Datum pointstore_call_in_shard(FunctionCallInfo fcinfo, int nargs, FeedCall call, int64 shard);

#endif							/* POINTSTORE_WHOSE_H */
