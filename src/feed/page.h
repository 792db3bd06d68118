/*-------------------------------------------------------------------------
 *
 * src/feed/page.h
 *		Events of the feed, read in order of position.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PAGE_H
#define POINTSTORE_PAGE_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"

/* What one call looks at, and what it returns, at most. */
#define PAGE_POSITIONS 100000
#define PAGE_BYTES (4 * 1024 * 1024)

/* The columns of event_store as e, in the order of EventColumn. */
#define FEED_EVENT_COLUMNS \
"e.id, e.aggregate_id, e.version, e.event_type, e.amount, e.held, e.balance_after, e.payload, e.metadata," \
" e.request_id, e.leg, e.cause_id, e.occurred_at, e.created_at, e.payload_version, e.state_after"

/* An event, with its row: the store's columns, in their order. */
typedef struct FeedEvent
{
	int64		position;
	HeapTuple	row;
} FeedEvent;

/* What is asked for, and what was found. */
typedef struct FeedPage
{
	int64		after;			/* only later positions */
	int64		upto;			/* and none later than this */
	int64		max_events;
	bool		until_one;		/* look at more than PAGE_POSITIONS until an event is found */
	Datum		event_types;	/* text[]; 0: of every type */
	Datum		prefix;			/* text, of aggregate_id; 0: of any */
	bool		(*wants) (const FeedEvent *event, TupleDesc desc, void *arg);	/* null: all that are left */
	void	   *arg;

	FeedEvent  *events;
	int			nevents;
	int			room;
	Size		bytes;
	int64		read_to;		/* every position up to there was looked at */
	TupleDesc	desc;			/* of the rows */
} FeedPage;

extern int64 pointstore_head(void);
extern int64 pointstore_read_head(void);
extern int64 pointstore_position(int64 event_id);
extern void pointstore_read_page(FeedPage *page);
extern void pointstore_add_event(FeedPage *page, HeapTuple row, int64 position);
extern Size pointstore_event_bytes(HeapTuple row, TupleDesc desc);

#endif							/* POINTSTORE_PAGE_H */
