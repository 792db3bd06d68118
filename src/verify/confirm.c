/*-------------------------------------------------------------------------
 *
 * src/verify/confirm.c
 *		Accounts that look wrong are examined, and dealt with.
 *
 * An account is examined from its
 * first event in one snapshot, without any lock: a balance and its events commit
 * together, so what is wrong there was wrong then. Only then is its row locked,
 * and what has come since is read, which is little however long the history is:
 * where the row has moved as those events say, and nobody has repaired anything, what
 * was found still stands. An account whose lock takes too long is left unverified,
 * but for what is wrong with the events themselves, which cannot change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/acknowledge.h"
#include "verify/confirm.h"
#include "verify/examine.h"
#include "verify/finding.h"
#include "verify/index.h"
#include "verify/repair.h"
#include "verify/runstate.h"

#define LOCK_TIMEOUT "1s"

/* each reads the whole table while an account is locked; the accounts after these are unverified */
#define MAX_HEAP_LOOKS 20

/* times that an account is examined which somebody repairs, or changes otherwise, meanwhile */
#define MAX_ATTEMPTS 3

static bool is_misplaced(Run *run, const char *account);
static ErrorData *attempt(Case *wrong, bool (*what) (void *));
static bool decide(void *arg);
static void look(Case *wrong);
static bool has_moved(const Case *wrong);
static void compare_with_heap(Case *wrong, Snapshot snapshot);
static void add_index_mismatch(Case *wrong);
static void pass_over_acknowledged(Case *wrong);
static char *read_stamp(const Case *wrong, bool again, int64 *version);
static bool still_stands(Case *wrong);
static void look_at_state_again(Case *wrong);
static bool record_certain(void *arg);
static void settle(Case *wrong);
static bool is_done(Run *run, const char *account, HASHACTION action);
static uint32 hash_name(const void *key, Size size);
static int match_name(const void *a, const void *b, Size size);
static void lock_account(text *id);

/*
 * Examines an account, in a transaction of its own: records what is wrong, acts, and
 * closes findings that are no longer true. by_heap: the heap has shown in this run
 * that something is. What waits for any lock too long, or for a deadlock, or is cancelled
 * on schedule, leaves the account unverified. An account is dealt with once in
 * a run, however it came to notice.
 */
void
pointstore_confirm(Run *run, const char *account, bool by_heap, const HeapView *heap)
{
	MemoryContext context;
	MemoryContext old;
	Case		wrong = {.run = run, .by_heap = by_heap, .heap = heap};
	ErrorData  *error = NULL;
	PointstoreScope owner;
	int			attempts = 0;

	if (is_done(run, account, HASH_FIND) || is_misplaced(run, account))
		return;
	context = AllocSetContextCreate(run->context, "pointstore account", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	wrong.id = cstring_to_text(account);
	pointstore_act_as_verifier(&owner);
	pointstore_set_option("lock_timeout", LOCK_TIMEOUT);
	pointstore_use_indexes();
	while (error == NULL && !wrong.settled && !wrong.unsure && attempts++ < MAX_ATTEMPTS)
		error = attempt(&wrong, decide);
	if (!wrong.settled && wrong.found != NULL && wrong.found->critical)
		(void) attempt(&wrong, record_certain);
	run->unverified += wrong.settled ? 0 : 1;
	run->findings += wrong.findings;
	run->acted += wrong.acted;
	if (!wrong.settled || wrong.findings > 0)
		(void) is_done(run, account, HASH_ENTER);
	pointstore_act_as_caller(&owner);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	pointstore_run_next_step();
}

/*
 * Whether the shard that we stay in has rows of an account that is of another one. A finding would be where the account is, so that
 * is told by a WARNING, and the account is unverified: while these rows are there, no run of the shard is clean.
 */
static bool
is_misplaced(Run *run, const char *account)
{
	if (pointstore_stays_with(cstring_to_text(account)))
		return false;
	(void) is_done(run, account, HASH_ENTER);
	run->unverified++;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("reconciliation %lld: there are rows of account \"%s\" in a shard that is not its", (long long) run->id, account)));
	return true;
}

/*
 * Does a step of an account's in a subtransaction. Where it cannot have a lock, or is
 * cancelled on schedule, returns that error with nothing done; any other is raised.
 */
static ErrorData *
attempt(Case *wrong, bool (*what) (void *))
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	PushActiveSnapshot(GetTransactionSnapshot());
	PG_TRY();
	{
		error = pointstore_attempt(what, wrong);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = resources;
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error != NULL)
	{
		wrong->findings = wrong->acted = 0;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED &&
			(error->sqlerrcode != ERRCODE_QUERY_CANCELED || strcmp(wrong->run->triggered_by, "worker") != 0))
			ReThrowError(error);
	}
	PopActiveSnapshot();
	return error;
}

/* Looks, locks the row, and settles the account where what was seen still stands; false, undone: it does not. */
static bool
decide(void *arg)
{
	Case	   *wrong = arg;

	look(wrong);
	/* an account that has merely moved need not be waited for, nor loses the proof; what is open about it is looked at in the end */
	wrong->settled = wrong->moved && wrong->found->n == 0 && !wrong->hidden;
	if (wrong->unsure || wrong->settled)
		return true;
	/* what has come while it was looked at is read before the lock, and what has come since then under it */
	if (!still_stands(wrong))
		return false;
	lock_account(wrong->id);
	if (!still_stands(wrong))
		return false;
	(void) pointstore_push_snapshot();
	look_at_state_again(wrong);
	settle(wrong);
	PopActiveSnapshot();
	return true;
}

/*
 * Events that have come since may have brought the state of a locked account where it should be: of all that
 * was found it alone is not what it was plus what they say.
 */
static void
look_at_state_again(Case *wrong)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.balance b"
		" LEFT JOIN LATERAL (SELECT e.version, e.state_after FROM pointstore.event_store e WHERE e.aggregate_id" EQ "b.aggregate_id ORDER BY e.version DESC LIMIT 1) z ON true"
		" LEFT JOIN LATERAL (SELECT l.after FROM pointstore.account_log l WHERE l.aggregate_id" EQ "b.aggregate_id AND " SAYS_STATE("l") " ORDER BY l.id DESC LIMIT 1) g ON true"
		" WHERE b.aggregate_id" EQ "$1 AND " IS_OTHER_STATE("b.state", STATE_AT("coalesce(z.version, 0)", "g.after", "z.state_after")),
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(wrong->id);
	Findings   *found = wrong->found;
	int			place = 0;
	int			i;

	while (place < found->n && strcmp(found->findings[place].code, "state_mismatch") != 0)
		place++;
	if (place == found->n || wrong->hidden)
		return;
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	if (SPI_processed == 0)
	{
		found->n--;
		for (i = place; i < found->n; i++)
			found->findings[i] = found->findings[i + 1];
	}
	SPI_finish();
}

/*
 * Examines an account in one snapshot, in which its stamp is taken too. Where an index
 * lies about it, what its heaps say is what is wrong, and that.
 */
static void
look(Case *wrong)
{
	Run		   *run = wrong->run;
	Snapshot	snapshot = pointstore_push_snapshot();

	wrong->stamp = read_stamp(wrong, false, &wrong->version);
	wrong->found = pointstore_examine(wrong->id, false);
	if (run->full && pointstore_is_whole_store(wrong->id))
		pointstore_examine_whole_store(wrong->found);
	wrong->moved = wrong->by_heap && has_moved(wrong);
	compare_with_heap(wrong, snapshot);
	/* an index may hide from this what the heap has shown */
	wrong->hidden = wrong->lie != NULL || (wrong->found->n == 0 && wrong->by_heap && !wrong->moved);
	wrong->unsure = wrong->hidden && run->heap_looks == MAX_HEAP_LOOKS;
	if (wrong->hidden && !wrong->unsure)
	{
		run->heap_looks++;
		wrong->found = pointstore_examine(wrong->id, true);
		if (wrong->lie != NULL || wrong->found->n > 0)
			add_index_mismatch(wrong);
	}
	pass_over_acknowledged(wrong);
	PopActiveSnapshot();
}

/* Whether an account has had events while the events were spooled, so that these may not be all it had at any time. */
static bool
has_moved(const Case *wrong)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM (SELECT e.id FROM pointstore.event_store e WHERE e.aggregate_id" EQ "$1 ORDER BY e.version DESC LIMIT 1) l WHERE l.id" GT "$2",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {PointerGetDatum(wrong->id), Int64GetDatum(wrong->run->whole_id)};
	bool		moved;

	if (wrong->run->spool == NULL || !wrong->run->moving)
		return false;
	SPI_connect();
	pointstore_execute(&plan, values, NULL, true);
	moved = SPI_processed > 0;
	SPI_finish();
	return moved;
}

/*
 * Whether the keys say of an account what its heaps do, where the heaps have been read or something
 * would be written: then they are read for it, so many times in a run. What was spooled may lack, or have twice, rows
 * that somebody has moved meanwhile: where the keys say something else, that is read again.
 */
static void
compare_with_heap(Case *wrong, Snapshot snapshot)
{
	Datum		id = PointerGetDatum(wrong->id);
	HeapView   *view;

	wrong->lie = NULL;
	if (VARSIZE_ANY_EXHDR(wrong->id) == 0 || !pointstore_store_is_complete())
		return;
	if (wrong->found->n == 0 && (!wrong->moved || wrong->heap == NULL))
		return;
	wrong->policy = pointstore_read_policy(wrong->id);
	if (wrong->heap == NULL && (!wrong->policy.repair || !pointstore_can_repair(wrong)))
		return;
	if (wrong->heap != NULL)
		wrong->lie = pointstore_find_lie(wrong->id, wrong->heap, snapshot);
	if (wrong->heap != NULL && (wrong->lie == NULL || wrong->run->spool == NULL))
		return;
	wrong->not_compared = wrong->run->heap_looks == MAX_HEAP_LOOKS;
	if (wrong->not_compared)
		return;
	wrong->run->heap_looks++;
	wrong->heap = view = palloc(sizeof(HeapView));
	pointstore_view_heaps(&id, 1, view);
	wrong->lie = pointstore_find_lie(wrong->id, view, snapshot);
}

/* That an index hides or invents rows is a finding, too. */
static void
add_index_mismatch(Case *wrong)
{
	Findings   *found = wrong->found;
	Finding    *finding;

	found->findings = repalloc(found->findings, sizeof(Finding) * (found->n + 1));
	finding = &found->findings[found->n++];
	*finding = (Finding) {.code = "index_mismatch", .severity = "critical", .no_expected = true, .no_found = true, .no_version = true};
	finding->detail = DirectFunctionCall1(jsonb_in, CStringGetDatum(
		wrong->lie ? psprintf("{\"table\": \"%s\"}", wrong->lie) : "{}"));
	found->critical = true;
}

/*
 * What an operator has acknowledged is no finding, while exactly that is wrong with exactly those
 * events. That the events are inconsistent is still to be minded.
 */
static void
pass_over_acknowledged(Case *wrong)
{
	Findings   *found = wrong->found;
	int			n = 0;
	int			i;

	for (i = 0; i < found->n; i++)
		if (wrong->hidden || !pointstore_is_acknowledged(wrong->id, &found->findings[i]))
			found->findings[n++] = found->findings[i];
	wrong->known = n < found->n;
	found->n = n;
}

/*
 * What valid appends leave as it is, in the active snapshot: the row less its events after a version (at
 * first its own, which it also returns; then that of before), and the last entry of the account's log, where
 * everything is that was done to the account otherwise.
 */
static char *
read_stamp(const Case *wrong, bool again, int64 *version)
{
	static PointstorePlan plan = {
		.sql = "WITH b AS (SELECT pg_catalog.count(*) AS rows, pg_catalog.max(version) AS version, pg_catalog.max(balance) AS balance,"
		"        pg_catalog.max(held) AS held, pg_catalog.max(incoming) AS incoming FROM pointstore.balance WHERE aggregate_id" EQ "$1)"
		" SELECT CAST(ROW(b.rows, CAST(b.version AS pg_catalog.numeric)" MINUS "t.events, b.balance" MINUS "t.total, b.held" MINUS "t.held, b.incoming" MINUS "t.incoming,"
		"        (SELECT pg_catalog.max(l.id) FROM pointstore.account_log l WHERE l.aggregate_id" EQ "$1)) AS pg_catalog.text),"
		"        coalesce(b.version, 0)"
		"   FROM b CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS events, coalesce(pg_catalog.sum(e.amount), 0) AS total,"
		"                                     coalesce(pg_catalog.sum(e.held), 0) AS held, coalesce(pg_catalog.sum(" INCOMING_OF("e") "), 0) AS incoming"
		"                                FROM pointstore.event_store e"
		"                               WHERE e.aggregate_id" EQ "$1 AND b.rows" GT "0 AND e.version" GT "coalesce($2, b.version, 0)) t",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2] = {PointerGetDatum(wrong->id), Int64GetDatum(wrong->version)};
	char	   *stamp;
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, values, again ? NULL : " n", true);
	stamp = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	*version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	return stamp;
}

/* Whether an account has moved by appends alone since it was looked at; the stamp becomes that of now. */
static bool
still_stands(Case *wrong)
{
	bool		stands;
	int64		version;

	(void) pointstore_push_snapshot();
	stands = strcmp(read_stamp(wrong, true, &version), wrong->stamp) == 0;
	if (stands && version != wrong->version)
		wrong->stamp = read_stamp(wrong, false, &wrong->version);
	PopActiveSnapshot();
	return stands;
}

/* Of an account that stays locked: records what is wrong with its events, for they stay as they are. */
static bool
record_certain(void *arg)
{
	Case	   *wrong = arg;
	Findings   *found = wrong->found;
	int			n = 0;
	int			i;

	if (!still_stands(wrong))
		return false;
	for (i = 0; i < found->n; i++)
		if (strcmp(found->findings[i].severity, "critical") == 0)
			found->findings[n++] = found->findings[i];
	found->n = wrong->findings = n;
	pointstore_record(wrong, "reported", wrong->hidden);
	return true;
}

/* Records what was found wrong with a locked account, and acts; closes what is no longer true. */
static void
settle(Case *wrong)
{
	if (wrong->found->n > 0)
	{
		/* what would be done goes by the index, and would do nothing */
		const char *action = wrong->hidden ? "reported" : pointstore_act(wrong);

		wrong->findings = wrong->found->n;
		pointstore_record(wrong, action, wrong->hidden);
		if (strcmp(action, "repaired") == 0)
		{
			pointstore_count_repaired(wrong->run, wrong->found->n);
			wrong->found->n = 0;
		}
	}
	else if (!wrong->known)
		pointstore_forget_proof(wrong->id);	/* what looked wrong was the proof */
	pointstore_resolve(wrong, wrong->found, "reconcile", NULL);
	wrong->settled = true;
}

/* Whether an account was dealt with before; HASH_ENTER: it is now. By its name, since hashes can be made to collide. */
static bool
is_done(Run *run, const char *account, HASHACTION action)
{
	HASHCTL		control = {.keysize = sizeof(char *), .entrysize = sizeof(char *), .hash = hash_name, .match = match_name,
	.hcxt = run->context};
	const char **name;
	bool		found;

	if (run->done == NULL)
		run->done = hash_create("pointstore accounts", 256, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	name = hash_search(run->done, &account, action, &found);
	if (action == HASH_ENTER && !found)
		*name = MemoryContextStrdup(run->context, account);
	return found;
}

static uint32
hash_name(const void *key, Size size)
{
	const char *name = *(const char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) name, strlen(name)));
}

static int
match_name(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Locks an account's balance row, if it has one; the store as a whole, which has no name, has none. */
static void
lock_account(text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.balance WHERE aggregate_id" EQ "$1 FOR NO KEY UPDATE",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);

	if (VARSIZE_ANY_EXHDR(id) == 0)
		return;
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	SPI_finish();
}
