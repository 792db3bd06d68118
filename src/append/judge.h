/*-------------------------------------------------------------------------
 *
 * src/append/judge.h
 *		What is decided about a proposed event, and by which rules.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_JUDGE_H
#define POINTSTORE_JUDGE_H

#include "access/xlogdefs.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "append/propose.h"

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
	OUTCOME_TRANSITION_NOT_ALLOWED,
	OUTCOME_LEASE_LOST,
	OUTCOME_HOLD_NOT_OPEN,		/* of the try_ forms: not_allowed too */
	/* errors in every form of the call */
	OUTCOME_OVERFLOW,
	OUTCOME_WRONG_KIND,
	OUTCOME_NO_KIND,			/* there is none of the name that is asked for, or that the account has */
	OUTCOME_PURE,				/* a hold or a condition on a pure account */
	OUTCOME_MISSING_CHECKED,	/* a condition on an account that is missing */
	OUTCOME_STRAY_EVENTS,		/* the account has events and no row */
	OUTCOME_CHANGE_WAITS,		/* a change by hand, for its other half */
	OUTCOME_WITHDRAWN,			/* with another event of its request, which was refused */
	/* undecided: another has locked the account or applies the request, nothing was written */
	OUTCOME_BUSY,
	/* the same: its caller is to append it by itself */
	OUTCOME_LEFT
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

/* What the store has decided about a proposed event, as far as its receipt or its error tells it. */
typedef struct Decision
{
	Outcome		outcome;
	Reason		reason;
	int64		version;		/* of a refusal: the account's actual one, as the next two */
	int64		balance;
	int64		available;
	int64		id;
	TimestampTz created_at;
	XLogRecPtr	durable;		/* replayed: what is awaited before it is told; invalid: nothing */
	bool		by_this_batch;	/* appended, or replayed from what was appended, by the batch itself */
	bool		is_merged;		/* appended, though its expected_version was stale */
	bool		is_recalled;	/* a condition of a replay, which was not judged */
	bool		account_busy;	/* busy, because of its account */
	bool		account_unknown;	/* a refusal that knows nothing of its account */
	int64		limit;			/* floor or ceiling that it would have crossed; the token of the account's lease; what is there to be confirmed or reversed */
	int64		requested;		/* of that; the token that was shown */
	int64		reserved;		/* below the ceiling, by movements */
	int64		applied_version;	/* what the request has written; what is to be reversed; of stray events the last */
	const char *mismatch;		/* first differing field of a request used otherwise: a literal */
	const char *asked;			/* its value here; of units: the other account's; of transitions: the types that are allowed */
	const char *stored;			/* and as applied; the refused account's; the state; the kind that there is not */
	text	   *unit;			/* of the account, in a part; null: not known */
	text	   *state;			/* of the account with it, as it is to be stored; null: none */
	const char *opening;		/* of units: the kind that would open the refused account, which is missing */
} Decision;

extern Decision pointstore_judge(const ProposedEvent *event, const Account *account, const Kind *named, Account *after);
extern Outcome pointstore_check_transition(const ProposedEvent *event, Account *after);
extern void pointstore_tell_state(Decision *decision, const Account *account);
extern int64 pointstore_available(const Account *account);

#endif							/* POINTSTORE_JUDGE_H */
