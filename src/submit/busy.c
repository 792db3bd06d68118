/*-------------------------------------------------------------------------
 *
 * src/submit/busy.c
 *		The accounts that requests wait for which a combiner has put off: because
 *		another session has locked them, is opening them, or appends to them.
 *
 * An account is known by the hash of its id: one that has its hash in common with a busy
 * account is put off a little too. It is relieved when a request that waits for it
 * was given back, to queue for it like any other session; the others that wait for it then
 * stay. All is forgotten when what is put off is tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"

#include "append/refusal.h"
#include "submit/busy.h"

typedef struct BusyAccount
{
	uint64		account;		/* its hash */
	bool		relieved;
} BusyAccount;

static HTAB *accounts = NULL;	/* null: none is busy */

static BusyAccount *find(const ProposedEvent *event);
static uint64 hash_of(text *account);

/* Whether any account is busy. */
bool
pointstore_busy_is_any(void)
{
	return accounts != NULL;
}

/* Whether one of a request's accounts is busy: then the request comes after those that wait for it. */
bool
pointstore_busy_has(const ProposedEvent *events, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (find(&events[i]) != NULL)
			return true;
	return false;
}

/* Notes what accounts a request, which a batch has found to be busy, waits for, or, as it is given back, relieves. */
void
pointstore_busy_note(const ProposedEvent *events, const Decision *decisions, int n, bool given_back)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(BusyAccount)};
	int			i;

	if (accounts == NULL)
		accounts = hash_create("pointstore busy accounts", 64, &control, HASH_ELEM | HASH_BLOBS);
	for (i = 0; i < n; i++)
	{
		uint64		account = hash_of(events[i].aggregate_id);
		BusyAccount *entry;
		bool		known;

		if (!decisions[i].account_busy)
			continue;
		entry = hash_search(accounts, &account, HASH_ENTER, &known);
		entry->relieved = given_back || (known && entry->relieved);
	}
}

/* Whether one of the accounts that such a request waits for is relieved. */
bool
pointstore_busy_is_relieved(const ProposedEvent *events, const Decision *decisions, int n)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		const BusyAccount *entry = decisions[i].account_busy ? find(&events[i]) : NULL;

		if (entry != NULL && entry->relieved)
			return true;
	}
	return false;
}

/* No account is busy any more. */
void
pointstore_busy_forget(void)
{
	if (accounts != NULL)
		hash_destroy(accounts);
	accounts = NULL;
}

/* The busy account of an event, or NULL. */
static BusyAccount *
find(const ProposedEvent *event)
{
	uint64		account;

	if (accounts == NULL)
		return NULL;
	account = hash_of(event->aggregate_id);
	return hash_search(accounts, &account, HASH_FIND, NULL);
}

static uint64
hash_of(text *account)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) VARDATA_ANY(account),
											VARSIZE_ANY_EXHDR(account), 0));
}
