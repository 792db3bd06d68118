/*-------------------------------------------------------------------------
 *
 * src/append/judge.c
 *		The rules of an append, all of them, in the order in which they decide.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"

#include "account/account.h"
#include "account/held.h"
#include "account/kind.h"
#include "account/opening.h"
#include "append/judge.h"
#include "append/refusal.h"
#include "ground/name.h"

static Outcome check_account(const ProposedEvent *event, Account *account, Snapshot snapshot);
static Outcome check_limits(const ProposedEvent *event, const Account *account);
static int64 floor_of(const ProposedEvent *event, const Kind *kind);

/*
 * The rules, after the request: account, version, overflow, floor and ceiling. PS010 on
 * an account that waits.
 * On success the event has its version and balance and the account has moved
 * on; on a refusal the event has the account's actual ones.
 */
void
pointstore_judge(ProposedEvent *event, Account *account, Snapshot snapshot)
{
	Account		next;

	pointstore_refuse_waiting(account);
	pointstore_know_expired(account, snapshot);
	event->outcome = check_account(event, account, snapshot);
	next = *account;
	if (event->outcome == OUTCOME_APPENDED && event->has_expected &&
		event->expected_version != account->version)
		event->outcome = OUTCOME_VERSION_CONFLICT;
	if (event->outcome == OUTCOME_APPENDED &&
		(pg_add_s64_overflow(account->version, 1, &next.version) ||
		 pg_add_s64_overflow(account->balance, event->amount, &next.balance) ||
		 pg_add_s64_overflow(account->held, event->held, &next.held)))
		event->outcome = OUTCOME_OVERFLOW;
	if (event->hold != NULL && event->hold->has_expired)
		next.expired += event->held;
	if (event->outcome == OUTCOME_APPENDED)
		event->outcome = check_limits(event, &next);
	if (event->outcome == OUTCOME_BALANCE_LIMIT)
		event->limit = account->kind->ceiling;
	if (event->outcome == OUTCOME_INSUFFICIENT_BALANCE)
		event->limit = floor_of(event, account->kind);
	if (event->outcome == OUTCOME_APPENDED)
	{
		next.nevents++;
		*account = next;
	}
	event->version = account->version;
	event->balance = account->balance;
	event->available = pointstore_available(account);
}

/* Whether the account takes events at all. A missing one that may be opened gets its kind. */
static Outcome
check_account(const ProposedEvent *event, Account *account, Snapshot snapshot)
{
	if (account->pure && event->hold != NULL)
		return OUTCOME_PURE;
	if (!account->exists && account->nevents == 0)
	{
		account->kind = pointstore_require_kind(event->kind ? event->kind : cstring_to_text("default"));
		account->kind_name = account->kind->name;
		account->pure = account->kind->pure;
		account->opened_by = event->role;
		pointstore_refuse_damaged(account->id, snapshot);
	}
	if (!account->exists && !account->kind->auto_open)
		return OUTCOME_ACCOUNT_MISSING;
	if (account->kind == NULL)
		(void) pointstore_require_kind(account->kind_name);	/* raises */
	if (account->status == STATUS_CLOSED)
		return OUTCOME_ACCOUNT_CLOSED;
	if (account->status == STATUS_FROZEN && !event->any_status)
		return OUTCOME_ACCOUNT_FROZEN;
	if (event->kind != NULL && event->kind_opens)
		(void) pointstore_require_kind(event->kind);
	else if (event->kind != NULL && !pointstore_same_text(event->kind, account->kind_name))
		return OUTCOME_WRONG_KIND;
	return OUTCOME_APPENDED;
}

/* What takes keeps to the floor, a credit to the ceiling. account: as it would be. */
static Outcome
check_limits(const ProposedEvent *event, const Account *account)
{
	const Kind *kind = account->kind;
	bool		takes = event->amount < 0 || event->held > 0;

	if (takes && !event->any_floor && (kind->has_floor || event->has_floor) &&
		pointstore_available(account) < floor_of(event, kind))
		return OUTCOME_INSUFFICIENT_BALANCE;
	if (event->amount > 0 && kind->has_ceiling && account->balance > kind->ceiling)
		return OUTCOME_BALANCE_LIMIT;
	return OUTCOME_APPENDED;
}

/* The larger of the kind's and the call's; at least one of them has one. */
static int64
floor_of(const ProposedEvent *event, const Kind *kind)
{
	return !event->has_floor ? kind->floor : !kind->has_floor ? event->floor : Max(kind->floor, event->floor);
}
