/*-------------------------------------------------------------------------
 *
 * src/account/held.h
 *		Rows of holds, and what an account's open ones reserve.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_HELD_H
#define POINTSTORE_HELD_H

#include "utils/timestamp.h"

#include "account/account.h"
#include "ground/row.h"

typedef enum HoldStatus
{
	HOLD_OPEN,
	HOLD_CONFIRMED,
	HOLD_CANCELLED,
	HOLD_EXPIRED
} HoldStatus;

/* One hold: its row as read, or as it is to be written. */
typedef struct Hold
{
	text	   *id;
	text	   *aggregate_id;	/* empty: cancelled before it was placed, and no account was named */
	int64		amount;
	int64		captured;
	HoldStatus	status;
	TimestampTz created_at;
	TimestampTz expires_at;
	TimestampTz closed_at;
	int64		event_id;		/* of its HoldPlaced */
	bool		has_event;
	HeapTuple	row;			/* as read; null when it is new */
	XLogRecPtr	durable;		/* of the row: what is awaited before it is told of */
	bool		has_expired;	/* open, and reserves nothing any more */
} Hold;

extern const char *const pointstore_hold_status[];
extern bool pointstore_read_hold(Hold *hold, text *of, text *id, Snapshot snapshot, bool *again);
extern bool pointstore_lock_hold_if_free(Hold *hold, Snapshot snapshot);
extern void pointstore_release_hold(Hold *hold);
extern RowOutcome pointstore_write_hold(RowWriter *writer, Hold *hold, int keys);
extern TimestampTz pointstore_account_clock(Account *account);
extern void pointstore_know_expired(Account *account, Snapshot snapshot);
extern void pointstore_find_next_expiry(Account *account, List *closing, Snapshot snapshot);

#endif							/* POINTSTORE_HELD_H */
