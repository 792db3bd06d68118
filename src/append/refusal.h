/*-------------------------------------------------------------------------
 *
 * src/append/refusal.h
 *		What a proposed event comes to, and the error that a refusal is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REFUSAL_H
#define POINTSTORE_REFUSAL_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/held.h"
#include "ground/compat.h"

typedef enum Outcome
{
	OUTCOME_APPENDED,
	OUTCOME_REPLAYED,
	OUTCOME_VERSION_CONFLICT,
	OUTCOME_REQUEST_MISMATCH,
	OUTCOME_INSUFFICIENT_BALANCE,
	OUTCOME_BALANCE_LIMIT,
	OUTCOME_ACCOUNT_FROZEN,
	OUTCOME_ACCOUNT_CLOSED,
	OUTCOME_ACCOUNT_MISSING,
	OUTCOME_NOT_ALLOWED,
	OUTCOME_HOLD_NOT_OPEN,		/* of the try_ forms: not_allowed too */
	/* errors in every form of the call */
	OUTCOME_OVERFLOW,
	OUTCOME_WRONG_KIND,
	OUTCOME_PURE,				/* a hold on a pure account */
	OUTCOME_WITHDRAWN,			/* with another event of its request, which was refused */
	/* undecided: another has locked the account or applies the request, nothing was written */
	OUTCOME_BUSY
} Outcome;

#define OUTCOME_LAST_REFUSAL OUTCOME_HOLD_NOT_OPEN

/* Why, where an outcome has several reasons; each but the first is of account_missing or not_allowed. */
typedef enum Reason
{
	REASON_PLAIN,
	REASON_NO_HOLD,				/* there is none of that name */
	REASON_NO_EVENT,			/* nor such a version */
	REASON_UNITS,				/* the accounts count different things */
	REASON_HOLD_SMALLER,		/* than what is to be confirmed */
	REASON_MOVED_NOTHING,		/* so there is nothing to be reversed */
	REASON_IS_REVERSAL,
	REASON_NOTHING_LEFT,		/* to be reversed */
	REASON_LESS_LEFT,
	REASON_FRACTION				/* of a leg that cannot be shared out */
} Reason;

/*
 * A proposed event, and from outcome on what the store decides about it. Where the
 * proposal depends on what the store holds, propose() fills in the rest of it
 * from the account's state, which stays as it is until the event is written;
 * false: it has decided itself, and set the outcome.
 */
typedef struct ProposedEvent
{
	text	   *aggregate_id;
	text	   *event_type;
	Jsonb	   *payload;
	Jsonb	   *metadata;		/* null = none, as request_id and kind */
	text	   *request_id;
	text	   *kind;
	int64		amount;
	int64		expected_version;
	int64		floor;
	TimestampTz occurred_at;
	bool		any_amount;		/* left out in an INSERT: a repeat is not compared by it */
	bool		has_expected;
	bool		has_floor;
	bool		has_occurred;
	bool		is_linked;		/* has its leg also without a request_id, and the first leg as its cause */
	bool		has_cause;
	bool		any_floor;		/* passes below the floor */
	bool		any_status;		/* passes on a frozen account */
	bool		untold;			/* a refusal that knows nothing of its account */
	bool		kind_opens;		/* the kind is that of an account which it opens, no other's */
	int16		leg;
	int			element;		/* of append_events(), from 1; 0: none */
	int			further;		/* events of its request that come after it, and next to it */
	Oid			role;			/* who appends it; InvalidOid: the session's role */
	int64		held;			/* change of held */
	int64		cause_id;
	Hold	   *hold;			/* whose step it is: its row is written with it */
	bool		(*propose) (struct ProposedEvent *event, Snapshot snapshot);
	void	   *subject;		/* what that is about */

	Outcome		outcome;
	Account    *account;
	int64		version;		/* of a refusal: the account's actual one, as the next two */
	int64		balance;
	int64		available;
	int64		limit;			/* floor or ceiling that it would have crossed; what is there to be confirmed or reversed */
	int64		requested;		/* of that */
	Reason		reason;
	int64		id;
	TimestampTz created_at;
	XLogRecPtr	durable;		/* replayed: what is awaited before it is told; invalid: nothing */
	bool		again;			/* propose() has waited for a twin: all is to be read again */
	const char *mismatch;		/* first differing field of a request used otherwise: a literal */
	const char *asked;			/* its value here; of units: the other account's */
	const char *stored;			/* and as applied; the refused account's */
	const char *opening;		/* of units: the kind that would open the refused account, which is missing */
	int64		applied_version;	/* what that request has written; what is to be reversed */
	struct ProposedEvent *same_as;	/* earlier event of the batch with the same request_id */
	struct ProposedEvent *next; /* of the batch on the same account */
} ProposedEvent;

extern void pointstore_tell_difference(ProposedEvent *event, const ProposedEvent *stored);
extern const char *pointstore_clipped(const char *value);
pg_noreturn extern void pointstore_raise(const ProposedEvent *event);

#endif							/* POINTSTORE_REFUSAL_H */
