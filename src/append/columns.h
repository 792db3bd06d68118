/*-------------------------------------------------------------------------
 *
 * src/append/columns.h
 *		The columns of an event that is judged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_COLUMNS_H
#define POINTSTORE_COLUMNS_H

#include "append/judge.h"
#include "ground/store.h"

/* The columns of an event, in the order of pointstore.event. */
typedef struct EventColumns
{
	Datum		values[N_EVENT_COLUMNS];
	bool		nulls[N_EVENT_COLUMNS];
} EventColumns;

extern void pointstore_set_column(EventColumns *event, EventColumn column, Datum value);
extern void pointstore_event_columns(EventColumns *event, const ProposedEvent *proposal, const Decision *decision);

#endif							/* POINTSTORE_COLUMNS_H */
