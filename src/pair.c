/*-------------------------------------------------------------------------
 *
 * src/pair.c
 *		Balances changed by hand, and the events they wait for.
 *
 * A transaction may update a balance row itself and insert the event
 * afterwards. What it has changed is noted here, and before it commits or is
 * prepared each noted account's last event must be the row's version and
 * balance (PS010 otherwise). A callback does that, not a deferred trigger: it
 * runs after the users' deferred triggers, and SET CONSTRAINTS does not move it.
 *
 * The notes are hints. A savepoint may have taken back the change or its event,
 * so the tables decide: only a row that this transaction wrote, at the noted
 * version or later, is asked for its event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pointstore.h"

typedef struct Change
{
	text	   *id;				/* the key */
	int64		version;		/* the first that this transaction gave it by hand */
} Change;

/* who moves the balance of an event inserted by hand */
typedef enum BalanceWriter
{
	WRITER_STORE,
	WRITER_CALLER
} BalanceWriter;

static const struct config_enum_entry writer_names[] = {
	{"store", WRITER_STORE, false}, {"caller", WRITER_CALLER, false}, {NULL, 0, false}
};
static int	balance_writer = WRITER_STORE;

static HTAB *changes = NULL;	/* lives as long as the transaction */

static uint32 hash_id(const void *key, Size size);
static int	match_id(const void *a, const void *b, Size size);
static void check_pair(const Change *change, Snapshot snapshot);

/* Called once when the library is loaded: the setting. */
void
pointstore_pair_init(void)
{
	DefineCustomEnumVariable("pointstore.balance_writer",
							 "Who moves the balance of an event inserted by hand: the store, or the caller by an UPDATE in the same transaction.",
							 NULL, &balance_writer, WRITER_STORE, writer_names, PGC_USERSET, 0, NULL, NULL, NULL);
}

/* Notes that this transaction has changed a balance row by hand, to this version. */
void
pointstore_note_change(text *id, int64 version)
{
	Change	   *change;
	bool		found;

	if (changes == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(text *), .entrysize = sizeof(Change), .hash = hash_id,
			.match = match_id, .hcxt = TopTransactionContext
		};

		changes = hash_create("pointstore changes", 64, &control,
							  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	}
	change = hash_search(changes, &id, HASH_FIND, &found);
	if (found)
	{
		change->version = Min(change->version, version);
		return;
	}
	id = memcpy(MemoryContextAlloc(TopTransactionContext, VARSIZE_ANY(id)), id, VARSIZE_ANY(id));
	change = hash_search(changes, &id, HASH_ENTER, &found);
	change->version = version;
}

static uint32
hash_id(const void *key, Size size)
{
	text	   *id = *(text *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

static int
match_id(const void *a, const void *b, Size size)
{
	return pointstore_same_text(*(text *const *) a, *(text *const *) b) ? 0 : 1;
}

/* Whether an account's row is ahead of its events by a change of this transaction. */
bool
pointstore_waits_for_event(const Account *account, Snapshot snapshot)
{
	Account		last = {.id = account->id};
	bool		noted = false;

	if (changes != NULL && !account->pure)
		(void) hash_search(changes, &account->id, HASH_FIND, &noted);
	if (!noted)
		return false;
	(void) pointstore_last_event(&last, snapshot, NULL);
	return last.version < account->version;
}

/* Before commit and prepare: every noted change has its event, else PS010. */
void
pointstore_check_pairs(void)
{
	HASH_SEQ_STATUS scan;
	Change	   *change;
	Snapshot	snapshot;

	if (changes == NULL)
		return;
	snapshot = pointstore_push_snapshot();
	hash_seq_init(&scan, changes);
	while ((change = hash_seq_search(&scan)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		check_pair(change, snapshot);
	}
	PopActiveSnapshot();
}

static void
check_pair(const Change *change, Snapshot snapshot)
{
	Account		account;
	Account		last = {.id = change->id};

	pointstore_read_account(&account, change->id, snapshot, LOCK_NOTHING);
	if (account.exists && !account.pure && account.version >= change->version &&
		pointstore_row_is_ours(account.row))
	{
		(void) pointstore_last_event(&last, snapshot, NULL);
		if (last.version != account.version || last.balance != account.balance)
			ereport(ERROR,
					(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
					 errmsg("account \"%s\" was changed to version %lld without its event",
							pointstore_cstring(change->id), (long long) account.version),
					 errdetail("The row says balance %lld; the last event is version %lld, balance %lld.",
							   (long long) account.balance, (long long) last.version,
							   (long long) last.balance),
					 errhint("Insert the event into pointstore.event_store in the same transaction.")));
	}
	pointstore_release_account(&account);
}

/* At the end of the transaction, which takes their memory. */
void
pointstore_forget_pairs(void)
{
	changes = NULL;
}
