/*-------------------------------------------------------------------------
 *
 * src/account/account.h
 *		Rows of accounts: read, locked, written; and an account's last event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ACCOUNT_H
#define POINTSTORE_ACCOUNT_H

#include "nodes/pg_list.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "account/kind.h"
#include "ground/compat.h"
#include "ground/row.h"

typedef enum AccountStatus
{
	STATUS_OPEN,
	STATUS_FROZEN,
	STATUS_CLOSED
} AccountStatus;

/* One account as read; version, balance and updated_at move on as events are judged. */
typedef struct Account
{
	text	   *id;
	bool		exists;			/* has a row */
	const Kind *kind;			/* null: not yet known, or no such kind */
	text	   *kind_name;
	bool		pure;
	AccountStatus status;
	text	   *state;			/* null: none; moves on like version and balance */
	int64		version;
	int64		balance;
	int64		held;
	int64		incoming;		/* what undecided movements are to credit */
	TimestampTz updated_at;		/* of a pure one: of its last event */
	TimestampTz next_expiry;
	bool		has_expiry;
	int64		expired;		/* of what is held: reserves nothing any more */
	bool		expiry_known;	/* expired has been looked up */
	TimestampTz clock;			/* that its holds are judged by; 0: not read yet */
	List	   *closing;		/* holds that the batch closes */
	bool		expiry_moves;	/* among them is the next to expire */
	HeapTuple	row;			/* as read, with the user's columns; null when missing */
	bool		opened;			/* by this batch */
	bool		busy;			/* LOCK_IF_FREE: an append would have to wait; what was read does not count */
	Oid			opened_by;		/* the role that opens it; InvalidOid: the session's */
	bool		has_stray_events;	/* events, but no row, as pointstore_find_stray_events() has found */
	int64		stray_version;	/* then: of the last */
	bool		waits;			/* it was changed by hand, and its other half is the caller's to write */
	bool		lease_lost;		/* the event that is judged asks for its lease, which is not the caller's */
	bool		lease_kept;		/* its lease is of lease_token, and stays so until the transaction ends */
	int64		lease_token;	/* of its lease as it was read last; 0: it is nobody's */
	int64		lease_shown;	/* that of the event; 0: it has none */
	int64		last_id;		/* as pointstore_last_event() has read it, as the next two; 0: not read yet */
	bool		last_is_ours;	/* of this transaction */
	CommandId	last_cid;		/* then: the command that inserted it */
	int			nevents;		/* of the batch, appended to it */
	struct BatchEvent *claim;	/* pure: the event whose key claims its next version */
} Account;

/*
 * What reading an account locks FOR NO KEY UPDATE. With a lock, what this transaction has
 * inserted by hand is settled first; what waits for the caller is told, or with LOCK_ACCOUNT PS010.
 */
typedef enum AccountLock
{
	LOCK_NOTHING,
	LOCK_IF_FREE,				/* the balance row, unless another session has it, is opening it, or appends to it */
	LOCK_BALANCE,				/* the balance row; a pure account needs no lock to append */
	LOCK_SHARE,					/* the balance row FOR SHARE: for a condition */
	LOCK_ACCOUNT,				/* whatever row it has: for a change of status or kind */
	LOCK_BY_HAND				/* the balance row, or a pure account's FOR SHARE: for a guard, which sees to what waits */
} AccountLock;

extern void pointstore_read_account(Account *account, text *id, Snapshot snapshot, AccountLock lock);
extern void pointstore_release_account(Account *account);
pg_noreturn extern void pointstore_raise_waiting(text *id);
pg_noreturn extern void pointstore_refuse_triggered_status(text *id);
extern bool pointstore_last_event(Account *account, Snapshot snapshot);
extern void pointstore_read_set_state(Account *account, Snapshot snapshot);
extern void pointstore_follow_event(Account *account, const Account *last);
extern int64 pointstore_highest_id(void);
extern RowOutcome pointstore_write_account(RowWriter *writer, Account *account);
extern RowWriter *pointstore_begin_change(Account *account, bool *written);
extern bool pointstore_change_account(Account *account);
extern AccountStatus pointstore_status(text *status);
extern const char *pointstore_status_name(AccountStatus status);

#endif							/* POINTSTORE_ACCOUNT_H */
