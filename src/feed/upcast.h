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

#include "feed/page.h"

typedef struct Upcasters Upcasters;

/*
 * The upcasters of the store, as the active snapshot sees them, in the current memory context; NULL: there are none. For
 * who acts as the owner of the store, or as who reads; inside or outside an SPI connection.
 */
extern Upcasters *pointstore_read_upcasters(void);

/*
 * Brings all events of a page to the newest form of their payloads, where the memory context of the page is current.
 * What an upcaster raises is raised; the DETAIL says position, where it is not 0, aggregate_id, version and event_type.
 */
extern void pointstore_upcast_page(FeedPage *page);

/* The same of an event's columns, of which payload and payload_version are replaced. */
extern void pointstore_upcast_columns(const Upcasters *upcasters, Datum *values, bool *nulls, int64 position);

/* What the upcasters say, as pointstore_describe_function() does of each. */
extern void pointstore_describe_upcasters(const Upcasters *upcasters, StringInfo definition, StringInfo rows);

#endif							/* POINTSTORE_UPCAST_H */
