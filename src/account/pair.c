/*-------------------------------------------------------------------------
 *
 * src/account/pair.c
 *		Rows and events written by hand belong together: the check before the commit.
 *
 * A transaction may update a balance row itself and insert the event before it or
 * afterwards (balance_writer). Before it commits or is prepared the last
 * event of each account that is noted (by_hand.c) must be its row's version and balance,
 * PS010 otherwise. A callback does that, not a deferred trigger: it runs after the
 * users' deferred triggers, and SET CONSTRAINTS does not move it. Only what this
 * transaction wrote, at the noted version or later, is asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/by_hand.h"
#include "account/pair.h"
#include "ground/name.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/step.h"

static void check_pair(const ChangeNote *change);
static bool is_apart(Account *account, Account *last);

/* Before commit and prepare: every noted change has its event, every event its change, else PS010. */
void
pointstore_check_pairs(void)
{
	pointstore_for_each_change(check_pair);
}

/* PS010 where row and events of an account were parted by this transaction, at the noted version or later. */
static void
check_pair(const ChangeNote *change)
{
	Account		account = {.id = change->id};
	Account		last = {.id = change->id};
	bool		ahead;

	if (!is_apart(&account, &last) || Max(account.version, last.version) < change->version)
		return;
	ahead = account.version > last.version;
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
			 errmsg("account \"%s\" was changed to version %lld without its %s", pointstore_cstring(change->id),
					(long long) Max(account.version, last.version), ahead ? "event" : "balance"),
			 errdetail("The row says version %lld, balance %lld; the last event version %lld, balance %lld.",
					   (long long) account.version, (long long) account.balance,
					   (long long) last.version, (long long) last.balance),
			 ahead ? errhint("Insert the event into pointstore.event_store in the same transaction.")
			 : errhint("Where pointstore.balance_writer is caller, update pointstore.balance in the same transaction.")));
}

/* Whether a balance row and its account's last event differ by this transaction's doing; reads both. */
static bool
is_apart(Account *account, Account *last)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	bool		apart = false;

	pointstore_read_account(account, account->id, snapshot, LOCK_NOTHING);
	if (account->exists && !account->pure)
	{
		(void) pointstore_last_event(last, snapshot);
		apart = (account->version != last->version || account->balance != last->balance) &&
			(last->last_is_ours || pointstore_row_is_ours(account->row));
	}
	pointstore_release_account(account);
	PopActiveSnapshot();
	return apart;
}

/* Whether this transaction has written one half of an account by hand and not yet the other. */
bool
pointstore_is_unpaired(text *id)
{
	Account		account = {.id = id};
	Account		last = {.id = id};

	return pointstore_has_notes() && is_apart(&account, &last);
}
