/*-------------------------------------------------------------------------
 *
 * src/feed/slot.h
 *		Rows of subscription_slot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SLOT_H
#define POINTSTORE_SLOT_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "storage/itemptr.h"

#define MAX_SLOTS 1024

typedef struct Slot
{
	ItemPointerData place;		/* of the version that was read; invalid: there is no such row */
	TransactionId writer;
	int16		number;
	int64		checkpoint;
	int64		epoch;
	text	   *member;			/* null: none */
	bool		claimed;
	TimestampTz leased_until;	/* where claimed */
	text	   *retried;		/* null: new events were claimed */
	int64		delivered;
	int64		read_to;
	bool		alone;
	int32		attempt;
	int32		lost;
	int64		alone_upto;
	int32		blocked;
	TimestampTz retry_at;		/* DT_NOEND: no account is to be retried */
	bool		retried_last;
	TimestampTz not_before;		/* DT_NOBEGIN: at once */
	TimestampTz served_at;
} Slot;

extern Slot *pointstore_read_slots(text *subscription, int n);
extern bool pointstore_find_slot(Slot *slot, text *subscription, int16 number);
extern bool pointstore_lock_slot(Slot *slot, text *subscription);
extern bool pointstore_lock_slot_as_read(const Slot *slot, text *subscription);
extern void pointstore_write_slot(Slot *slot, text *subscription);
extern void pointstore_new_epoch(Slot *slot);
extern void pointstore_end_claim(Slot *slot);
extern int64 pointstore_looked_at(const Slot *slot, text *subscription);
extern void pointstore_note_looked_at(const Slot *slot, text *subscription, int64 position);
extern void pointstore_shun(const Slot *slot, text *subscription, TimestampTz until);
extern bool pointstore_is_shunned(const Slot *slot, text *subscription, TimestampTz now);
extern int16 pointstore_slot_of(text *aggregate_id, int16 slots);

#endif							/* POINTSTORE_SLOT_H */
