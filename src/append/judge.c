/*-------------------------------------------------------------------------
 *
 * src/append/judge.c
 *		The rules of an append, all of them, in the order in which they decide.
 *
 * Judging is pure. What the rules need of an account was read before, under its
 * lock (decide.c): they look nothing up, wait for nothing and write nothing, and
 * raise no error either, so that a decision can be made in one process and told in
 * another. Malformed input was refused before any account was read (propose.c), and a
 * request that was applied is no matter of the rules (request.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"

#include "account/account.h"
#include "account/held.h"
#include "account/kind.h"
#include "account/transition.h"
#include "append/judge.h"
#include "append/propose.h"
#include "ground/name.h"

static Outcome check_pairing(const Account *account);
static Outcome check_account(const ProposedEvent *event, const Account *account, const Kind *named);
static Outcome check_status(const ProposedEvent *event, const Account *account);
static Outcome check_kind(const ProposedEvent *event, const Account *account, const Kind *named);
static Outcome check_lease(const Account *account);
static Outcome check_version(const ProposedEvent *event, const Account *account);
static Outcome check_overflow(const ProposedEvent *event, Account *after);
static Outcome check_floor(const ProposedEvent *event, const Account *after);
static Outcome check_ceiling(const ProposedEvent *event, const Account *after);
static bool is_debit(const ProposedEvent *event);
static bool is_credit(const ProposedEvent *event);
static void open_unless_open(const ProposedEvent *event, Account *account, const Kind *named);
static bool is_missing(const Account *account);
static int64 floor_of(const ProposedEvent *event, const Kind *kind);

/*
 * Judges an event on an account as it stands. named: the kind that the event names, or of
 * an account that is missing the default one; null when there is none of that name, and where it
 * is not needed. When the event passes, *after is the account with it; otherwise that says nothing.
 */
Decision
pointstore_judge(const ProposedEvent *event, const Account *account, const Kind *named, Account *after)
{
	Decision	decision = {0};
	Outcome		outcome;

	*after = *account;
	open_unless_open(event, after, named);
	if ((outcome = check_pairing(account)) == OUTCOME_APPENDED &&
		(outcome = check_account(event, account, named)) == OUTCOME_APPENDED &&
		(outcome = check_status(event, account)) == OUTCOME_APPENDED &&
		(outcome = check_kind(event, account, named)) == OUTCOME_APPENDED &&
		(outcome = check_lease(account)) == OUTCOME_APPENDED &&
		(outcome = check_version(event, account)) == OUTCOME_APPENDED &&
		(outcome = pointstore_check_transition(event, after)) == OUTCOME_APPENDED &&
		(outcome = check_overflow(event, after)) == OUTCOME_APPENDED &&
		(outcome = check_floor(event, after)) == OUTCOME_APPENDED &&
		(outcome = check_ceiling(event, after)) == OUTCOME_APPENDED)
		account = after;
	decision.outcome = outcome;
	decision.version = account->version;
	decision.balance = account->balance;
	decision.available = pointstore_available(account);
	decision.state = account->state;
	if (outcome == OUTCOME_TRANSITION_NOT_ALLOWED)
		pointstore_tell_state(&decision, after);
	if (outcome == OUTCOME_INSUFFICIENT_BALANCE)
		decision.limit = floor_of(event, after->kind);
	if (outcome == OUTCOME_BALANCE_LIMIT)
	{
		decision.limit = after->kind->ceiling;
		decision.reserved = after->incoming - event->incoming;
	}
	if (outcome == OUTCOME_LEASE_LOST)
	{
		decision.limit = account->lease_token;
		decision.requested = account->lease_shown;
	}
	if (outcome == OUTCOME_STRAY_EVENTS)
		decision.applied_version = account->stray_version;
	return decision;
}

/* A change by hand that waits for its other half comes first. */
static Outcome
check_pairing(const Account *account)
{
	return account->waits ? OUTCOME_CHANGE_WAITS : OUTCOME_APPENDED;
}

/* Whether there is an account, or may be one by this event. Events without a row are damage, not a new account. */
static Outcome
check_account(const ProposedEvent *event, const Account *account, const Kind *named)
{
	if (account->pure && (event->hold != NULL || event->hybrid_only))
		return OUTCOME_PURE;
	if (is_missing(account))
	{
		if (named == NULL)
			return OUTCOME_NO_KIND;
		if (named->pure && (event->hold != NULL || event->hybrid_only))
			return OUTCOME_PURE;
		if (account->has_stray_events)
			return OUTCOME_STRAY_EVENTS;
		return named->auto_open ? OUTCOME_APPENDED : OUTCOME_ACCOUNT_MISSING;
	}
	return account->kind == NULL ? OUTCOME_NO_KIND : OUTCOME_APPENDED;
}

static Outcome
check_status(const ProposedEvent *event, const Account *account)
{
	if (account->status == STATUS_CLOSED)
		return OUTCOME_ACCOUNT_CLOSED;
	if (account->status == STATUS_FROZEN && !event->any_status)
		return OUTCOME_ACCOUNT_FROZEN;
	return OUTCOME_APPENDED;
}

/* A kind that is given is the account's; one that only opens accounts is just there. */
static Outcome
check_kind(const ProposedEvent *event, const Account *account, const Kind *named)
{
	if (event->kind == NULL || is_missing(account))
		return OUTCOME_APPENDED;
	if (event->kind_opens)
		return named != NULL ? OUTCOME_APPENDED : OUTCOME_NO_KIND;
	return pointstore_same_text(event->kind, account->kind_name) ? OUTCOME_APPENDED : OUTCOME_WRONG_KIND;
}

/* Whether the account's lease is the caller's, where that is asked for. */
static Outcome
check_lease(const Account *account)
{
	return account->lease_lost ? OUTCOME_LEASE_LOST : OUTCOME_APPENDED;
}

static Outcome
check_version(const ProposedEvent *event, const Account *account)
{
	return event->has_expected && !event->is_merged && event->expected_version != account->version ?
		OUTCOME_VERSION_CONFLICT : OUTCOME_APPENDED;
}

/*
 * Moves the account on to the state that the event leads to, where its kind's transitions allow that. A balance
 * that is changed by hand before its event has no type: the event is judged when it comes.
 */
Outcome
pointstore_check_transition(const ProposedEvent *event, Account *after)
{
	const Kind *kind = after->kind;
	text	   *state = after->state;
	TransitionAnswer answer = TRANSITION_UNNAMED;

	if (event->event_type == NULL || (kind->transitions == NULL && !kind->strict))
		return OUTCOME_APPENDED;
	if (kind->transitions != NULL)
		answer = pointstore_follow(kind->transitions, event->event_type, after->state, &state);
	if ((answer == TRANSITION_UNNAMED && !kind->strict) || pointstore_asks_no_transition(event->event_type))
		return OUTCOME_APPENDED;
	if (answer != TRANSITION_ALLOWED && event->any_transition)
		return OUTCOME_APPENDED;
	after->state = state;
	return answer == TRANSITION_ALLOWED ? OUTCOME_APPENDED : OUTCOME_TRANSITION_NOT_ALLOWED;
}

/* What a refusal says of the account's state, and what its kind allows in it. */
void
pointstore_tell_state(Decision *decision, const Account *account)
{
	decision->stored = account->state == NULL ? "" : pointstore_cstring(account->state);
	decision->asked = account->kind->transitions == NULL ? "" :
		pointstore_allowed_types(account->kind->transitions, account->state);
}

/*
 * Moves the account on by the event, where bigint has room for it and, of a credit and of a movement's step, for what is
 * reserved: what a movement has reserved is not refused when it is applied.
 */
static Outcome
check_overflow(const ProposedEvent *event, Account *after)
{
	int64		sum;

	if (pg_add_s64_overflow(after->version, 1, &after->version) ||
		pg_add_s64_overflow(after->balance, event->amount, &after->balance) ||
		pg_add_s64_overflow(after->held, event->held, &after->held) ||
		pg_add_s64_overflow(after->incoming, event->incoming, &after->incoming) ||
		(is_credit(event) && pg_add_s64_overflow(after->balance, after->incoming, &sum)) ||
		(event->hybrid_only && pg_sub_s64_overflow(after->balance, after->held, &sum)))
		return OUTCOME_OVERFLOW;
	if (event->hold != NULL && event->hold->has_expired)
		after->expired += event->held;
	after->nevents++;
	return OUTCOME_APPENDED;
}

/* What takes from an account keeps to the floor; a credit is never refused for it. */
static Outcome
check_floor(const ProposedEvent *event, const Account *after)
{
	return is_debit(event) && !event->any_floor && (after->kind->has_floor || event->has_floor) &&
		pointstore_available(after) < floor_of(event, after->kind) ?
		OUTCOME_INSUFFICIENT_BALANCE : OUTCOME_APPENDED;
}

/* A credit, be it one that is only reserved, keeps to the ceiling, below which there is room for what is reserved. */
static Outcome
check_ceiling(const ProposedEvent *event, const Account *after)
{
	return is_credit(event) && !event->any_ceiling && after->kind->has_ceiling && after->balance + after->incoming > after->kind->ceiling ?
		OUTCOME_BALANCE_LIMIT : OUTCOME_APPENDED;
}

/* Whether an event takes from what is available. */
static bool
is_debit(const ProposedEvent *event)
{
	return event->amount < 0 || event->held > 0;
}

/* Whether an event gives, or reserves that something will be given. */
static bool
is_credit(const ProposedEvent *event)
{
	return event->amount > 0 || event->incoming > 0;
}

/* The first event opens a missing account. */
static void
open_unless_open(const ProposedEvent *event, Account *account, const Kind *named)
{
	if (!is_missing(account) || named == NULL)
		return;
	account->kind = named;
	account->kind_name = named->name;
	account->pure = named->pure;
	account->opened_by = event->role;
	account->state = named->initial_state;
}

/* Whether there is no account yet, nor an earlier event of the batch that opens it. */
static bool
is_missing(const Account *account)
{
	return !account->exists && account->nevents == 0;
}

/* The larger of the kind's and the call's; at least one of them has one. */
static int64
floor_of(const ProposedEvent *event, const Kind *kind)
{
	return !event->has_floor ? kind->floor : !kind->has_floor ? event->floor : Max(kind->floor, event->floor);
}

/* What a debit may take, before the floor: at most what bigint holds. */
int64
pointstore_available(const Account *account)
{
	int64		reserved;
	int64		available;

	if (pg_sub_s64_overflow(account->held, account->expired, &reserved) ||
		pg_sub_s64_overflow(account->balance, reserved, &available))
		return account->held > 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return available;
}
