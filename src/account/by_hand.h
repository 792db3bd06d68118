/*-------------------------------------------------------------------------
 *
 * src/account/by_hand.h
 *		What this transaction has written by hand.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_BY_HAND_H
#define POINTSTORE_BY_HAND_H

/* An account whose row and events are to be brought together by the caller. */
typedef struct ChangeNote
{
	text	   *id;				/* the key */
	int64		version;		/* the first at which they were parted by hand */
} ChangeNote;

/* An event that was let in. */
typedef struct EventNote
{
	int64		id;
	uint64		digest:61;		/* of what is to be stored */
	uint64		by_caller:1;	/* its balance is moved by the caller */
	uint64		matches:1;		/* its balance was, before it */
	uint64		settled:1;		/* it is there, and so is what comes of it */
} EventNote;

extern void pointstore_by_hand_init(void);
extern bool pointstore_caller_moves_balances(void);
extern void pointstore_note_change(text *id, int64 version);
extern bool pointstore_is_noted_change(text *id);
extern void pointstore_for_each_change(void (*what) (const ChangeNote *change));
extern void pointstore_note_event(const EventNote *event);
extern const EventNote *pointstore_noted_event(int64 id);
extern void pointstore_note_settled(int64 id);
extern bool pointstore_has_noted_events(void);
extern bool pointstore_has_notes(void);
extern void pointstore_forget_notes(void);

#endif							/* POINTSTORE_BY_HAND_H */
