/*-------------------------------------------------------------------------
 *
 * src/account/history.h
 *		An account's events, found by version and by time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_HISTORY_H
#define POINTSTORE_HISTORY_H

#include "utils/timestamp.h"

#include "ground/scan.h"

typedef struct HistoryScan
{
	text	   *id;
	RowScan		scan;
} HistoryScan;

/* What is asked of an event that was found. */
typedef struct PastEvent
{
	int64		version;
	int64		balance;
	TimestampTz created_at;
} PastEvent;

extern void pointstore_history_begin(HistoryScan *history, text *id);
extern bool pointstore_history_at_version(HistoryScan *history, int64 version, PastEvent *event);
extern bool pointstore_history_at_time(HistoryScan *history, TimestampTz until, PastEvent *event);
extern void pointstore_history_from(HistoryScan *history, int64 version);
extern bool pointstore_history_next(HistoryScan *history, PastEvent *event);
extern void pointstore_history_end(HistoryScan *history);

#endif							/* POINTSTORE_HISTORY_H */
