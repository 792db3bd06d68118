/*-------------------------------------------------------------------------
 *
 * src/append/decide.c
 *		A proposed event judged on an account: what the rules need of it is read
 *		first, under its lock, and the account moves on by what passes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/held.h"
#include "account/kind.h"
#include "account/opening.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/leased.h"
#include "append/propose.h"
#include "ground/name.h"
#include "ground/step.h"

static const Kind *named_kind(const ProposedEvent *event, const Account *account);
static const char *missing_kind(const ProposedEvent *event, const Account *account);

/*
 * Reads what the rules need of an account besides its row: what of its held has expired; of one
 * without a row, whether it has events. The snapshot is the one in which the row was
 * read, or one taken under its lock.
 */
void
pointstore_know_account(Account *account, Snapshot snapshot)
{
	if (account->exists)
		pointstore_know_expired(account, snapshot);
	else
		pointstore_find_stray_events(account, snapshot);
}

/* The lease of a known account, where an event of it asks for that; false: it would have to be waited for. */
bool
pointstore_know_account_lease(const ProposedEvent *event, Account *account)
{
	bool		busy = false;

	return pointstore_know_lease(event, account, account->kind != NULL ? account->kind : named_kind(event, account), &busy);
}

/* Judges an event on a known account (pointstore_know_account), which moves on when it passes. */
void
pointstore_decide(const ProposedEvent *event, Decision *decision, Account *account)
{
	const Kind *named = named_kind(event, account);
	Account		after;

	(void) pointstore_know_lease(event, account, account->kind != NULL ? account->kind : named, NULL);
	*decision = pointstore_judge(event, account, named, &after);
	if (decision->outcome == OUTCOME_NO_KIND)
		decision->stored = missing_kind(event, account);
	if (decision->outcome == OUTCOME_APPENDED)
		*account = after;
}

/* The kind of an account that the event would open, or that is to be there. */
static const Kind *
named_kind(const ProposedEvent *event, const Account *account)
{
	if (event->kind == NULL)
		return account->exists ? NULL : pointstore_read_kind(cstring_to_text("default"));
	return account->exists && !event->kind_opens ? NULL : pointstore_read_kind(event->kind);
}

/* The name of the kind that there is not. */
static const char *
missing_kind(const ProposedEvent *event, const Account *account)
{
	if (account->exists && account->kind == NULL)
		return pointstore_cstring(account->kind_name);
	return event->kind != NULL ? pointstore_cstring(event->kind) : "default";
}

/* A refusal's receipt says how the account stands. */
void
pointstore_report_account(Decision *decision, const Account *account)
{
	decision->version = account->version;
	decision->balance = account->balance;
	decision->available = pointstore_available(account);
}

/* The same of the account as it is stored, whatever a batch would have made of it. */
void
pointstore_report_stored_account(const ProposedEvent *event, Decision *decision)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		stored;

	pointstore_read_account(&stored, event->aggregate_id, snapshot, LOCK_NOTHING);
	pointstore_know_account(&stored, snapshot);
	pointstore_report_account(decision, &stored);
	pointstore_release_account(&stored);
	PopActiveSnapshot();
}
