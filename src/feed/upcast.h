/*-------------------------------------------------------------------------
 *
 * src/feed/upcast.h
 *		Payloads of older forms, brought to the newest when events are read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_UPCAST_H
#define POINTSTORE_UPCAST_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "lib/stringinfo.h"

#include "append/merge.h"
#include "feed/page.h"

typedef struct Upcasters Upcasters;

/*
 * The upcasters of the store, as the active snapshot sees them, in the current memory context; NULL: there are none. For
 * who acts as the owner of the store, or as who reads; inside or outside an SPI connection.
 */
extern Upcasters *pointstore_read_upcasters(void);

/* Those of a superuser are not called as the caller, where they would be that, but as this role. NULL is none, here and below. */
extern void pointstore_upcast_as(Upcasters *upcasters, Oid caller);

/*
 * Brings all events of a page to the newest form of their payloads, where the memory context of the page is current; ends it
 * where that comes to PAGE_BYTES. What an upcaster raises is raised; the DETAIL says position, where it is not 0,
 * aggregate_id, version and event_type.
 */
extern void pointstore_upcast_page(FeedPage *page);

/* Whether any event of a page is to be upcast. */
extern bool pointstore_wants_upcast(Upcasters *upcasters, const FeedPage *page);

/* An event's row with the newest form of its payload; the row itself where it has that. */
extern HeapTuple pointstore_upcast_event(Upcasters *upcasters, const FeedEvent *event, TupleDesc desc);

/* The same of an event's columns, of which payload and payload_version are replaced. Whether they were. */
extern bool pointstore_upcast_columns(Upcasters *upcasters, Datum *values, bool *nulls, int64 position);

/* The same of several events. */
extern void pointstore_upcast_columns_of(EventColumns *events, int n);

/* 55000 where an upcaster calls what is named. */
extern void pointstore_refuse_in_upcaster(const char *verb);

/* What a call has failed of, in a line; NULL: none has. They may be called again. */
extern text *pointstore_upcast_error(Upcasters *upcasters, const ErrorData *error);

/* What the upcasters say, as pointstore_describe_function() does of each. */
extern void pointstore_describe_upcasters(const Upcasters *upcasters, StringInfo definition, StringInfo rows);

#endif							/* POINTSTORE_UPCAST_H */
