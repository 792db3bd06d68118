/*-------------------------------------------------------------------------
 *
 * src/account/lease.c
 *		Leases: locks with a name, for a time.
 *
 * A lease is a row of pointstore.lease. Whoever acquires it gets a token that is larger than each that
 * was given for the name before, and shows that wherever he acts as its holder. The row stays when the lease
 * is released or has expired, and says the last token. Tokens come from the clock besides, in microseconds, and are never
 * at or below what the server has given since it was started: so they do not fall where the row is older than
 * what was given (a transaction that was rolled back, a standby that lagged, a restore), nor where it is gone: the sweep
 * deletes rows of leases that ended more than a day before, by a clock that is past the token by as much.
 *
 * Locking. A check locks the row FOR KEY SHARE until its transaction ends, a renewal and a release FOR NO KEY UPDATE,
 * which goes with checks. Who takes the lease over locks the row FOR UPDATE before it updates it, and so waits
 * for all that have checked. That is why no index is on the token: updates are HOT, and a row that changes hands
 * a thousand times leaves nothing in an index. acquire_lease() waits for nobody: what is locked is not acquired. A
 * version is locked just as it was read, or read again: no lock is left on the lease of another.
 *
 * What is read is the row as it is now, whatever the snapshot of the transaction: a lease is a lock and no data.
 * The clock is read when the lock is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "account/lease.h"
#include "account/lease_queue.h"
#include "account/lease_session.h"
#include "ground/compat.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/shard.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_acquire_lease);
PG_FUNCTION_INFO_V1(pointstore_steal_lease);
PG_FUNCTION_INFO_V1(pointstore_renew_lease);
PG_FUNCTION_INFO_V1(pointstore_release_lease);
PG_FUNCTION_INFO_V1(pointstore_check_lease);

#define KEPT_FOR USECS_PER_DAY	/* after its end: by so much the clock may go back */
#define PRUNED_AT_ONCE 1000
#define PAGES_LOOKED_AT 256
#define MOST_PRUNINGS 1000

static Datum grant(FunctionCallInfo fcinfo, const char *function, bool by_force);
static LeaseOutcome take_once(Lease *lease, const LeaseRequest *request);
static bool others_come_before(const LeaseRequest *request);
static bool is_being_changed(RowScan *scan);
static LeaseOutcome insert_lease(Lease *lease, const LeaseRequest *request);
static void hand_over(Lease *lease, const LeaseRequest *request);
static bool lock_to_take(Lease *lease, RowScan *scan, const LeaseRequest *request, bool *busy);
pg_noreturn static void raise_blockers(text *name, ItemPointer tid);
static char *blockers_of(text *name, ItemPointer tid);
static void add_blocker(StringInfo blockers, TransactionId xid);
static bool lock_own(Lease *lease, int64 token);
static bool find_lease(Lease *lease, RowScan *scan);
static void end_look(RowScan *scan);
static bool is_live(const Lease *lease);
static TimestampTz end_of(Interval *ttl, TimestampTz begin);
static void update_lease(const Lease *lease);
static RowOutcome write_lease(const Lease *lease);
static text *lease_name(FunctionCallInfo fcinfo);
static int64 own_arguments(FunctionCallInfo fcinfo, int n, const char *function, Lease *lease);
static Interval *ttl_argument(FunctionCallInfo fcinfo, int argno);
pg_noreturn static void raise_lost(const Lease *lease, int64 token);
static void prune_range(int64 hash);
static uint64 prune_some(int64 hash, BlockNumber first);
static BlockNumber number_of_pages(int64 hash);

/* acquire_lease(name, holder, ttl): see the install script. */
Datum
pointstore_acquire_lease(PG_FUNCTION_ARGS)
{
	return grant(fcinfo, "acquire_lease()", false);
}

/* steal_lease(name, holder, ttl): whoever has it. */
Datum
pointstore_steal_lease(PG_FUNCTION_ARGS)
{
	return grant(fcinfo, "steal_lease()", true);
}

/* The first three arguments: 22004, 22023. */
void
pointstore_read_lease_request(FunctionCallInfo fcinfo, LeaseRequest *request)
{
	request->name = lease_name(fcinfo);
	request->holder = pointstore_name(fcinfo, 1, "holder");
	request->ttl = ttl_argument(fcinfo, 2);
}

/* Takes a lease, if that may be, and returns what has become of it. */
static Datum
grant(FunctionCallInfo fcinfo, const char *function, bool by_force)
{
	LeaseRequest request = {.by_force = by_force};
	PointstoreScope scope;
	TupleDesc	desc;
	Lease		lease;
	LeaseOutcome outcome;
	Datum		values[4];
	bool		nulls[4] = {false};

	pointstore_check_arguments(fcinfo, 3);
	PreventCommandIfReadOnly(function);
	pointstore_read_lease_request(fcinfo, &request);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pointstore_act_as_owner_of_leases(&scope);
	outcome = pointstore_take_lease(&lease, &request);
	pointstore_act_as_caller(&scope);
	values[0] = BoolGetDatum(outcome == LEASE_TAKEN);
	values[1] = Int64GetDatum(lease.token);
	nulls[1] = outcome != LEASE_TAKEN;
	values[2] = PointerGetDatum(lease.holder);
	nulls[2] = outcome == LEASE_BLOCKED || lease.holder == NULL;
	values[3] = TimestampTzGetDatum(lease.expires_at);
	nulls[3] = nulls[2] || lease.of_session;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* Takes a lease, if it is nobody's or that does not matter; else it says whose it is. The caller acts as the owner. */
LeaseOutcome
pointstore_take_lease(Lease *lease, const LeaseRequest *request)
{
	LeaseOutcome outcome;

	memset(lease, 0, sizeof(Lease));
	lease->name = request->name;
	do
	{
		CHECK_FOR_INTERRUPTS();
		outcome = take_once(lease, request);
	} while (outcome == LEASE_MOVED);
	return outcome;
}

static LeaseOutcome
take_once(Lease *lease, const LeaseRequest *request)
{
	RowScan		scan;
	bool		busy = false;
	bool		locked;

	if (!find_lease(lease, &scan))
		return others_come_before(request) ? LEASE_BLOCKED : insert_lease(lease, request);
	if (!request->by_force && is_live(lease))
	{
		lease->is_changing = request->in_turn && is_being_changed(&scan);
		end_look(&scan);
		return LEASE_HELD;
	}
	if (others_come_before(request))
	{
		end_look(&scan);
		return LEASE_BLOCKED;
	}
	locked = lock_to_take(lease, &scan, request, &busy);
	end_look(&scan);
	if (!locked)
		return busy ? LEASE_BLOCKED : LEASE_MOVED;
	hand_over(lease, request);
	update_lease(lease);
	return LEASE_TAKEN;
}

static bool
others_come_before(const LeaseRequest *request)
{
	return !request->in_turn && !request->by_force && pointstore_lease_is_awaited(request->name);
}

/* Whether a running or prepared transaction has renewed or released the lease that was read, or it has ended since. */
static bool
is_being_changed(RowScan *scan)
{
	TransactionId changer;

	return !pointstore_row_stands(ExecFetchSlotHeapTuple(scan->slot, false, NULL), &changer);
}

/* The first lease of that name, or the first since its row was deleted. */
static LeaseOutcome
insert_lease(Lease *lease, const LeaseRequest *request)
{
	RowKey		key = {0};

	pointstore_key_text(&key, request->name);
	if (!request->by_force && pointstore_is_being_inserted(request->name, INDEX_LEASE, &key))
		return LEASE_BLOCKED;
	hand_over(lease, request);
	if (write_lease(lease) == ROW_WRITTEN)
		return LEASE_TAKEN;
	pointstore_end_session_lease(lease->token);
	return LEASE_MOVED;
}

/* Makes a lease that of who asks for it. */
static void
hand_over(Lease *lease, const LeaseRequest *request)
{
	pointstore_lease_changes(lease->name);
	pointstore_end_session_lease(lease->token);
	lease->holder = request->holder;
	lease->acquired_at = GetCurrentTimestamp();
	lease->token = pointstore_draw_lease_token(lease->token);
	lease->was_acquired = true;
	lease->of_session = request->ttl == NULL;
	while (lease->of_session && !pointstore_begin_session_lease(lease->name, lease->token))
		lease->token++;
	if (!lease->of_session)
		lease->expires_at = end_of(request->ttl, lease->acquired_at);
}

/* Locks the version that was read FOR UPDATE, by force waiting for whoever has it: 55P03, where that takes too long, says who that is. */
static bool
lock_to_take(Lease *lease, RowScan *scan, const LeaseRequest *request, bool *busy)
{
	ItemPointerData tid = scan->slot->tts_tid;
	MemoryContext context = CurrentMemoryContext;
	volatile bool locked = false;

	PG_TRY();
	{
		locked = pointstore_lock_version(scan->heap, scan->slot, LockTupleExclusive, request->by_force ? NULL : busy);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		raise_blockers(lease->name, &tid);
	}
	PG_END_TRY();
	if (locked)
		lease->row = ExecCopySlotHeapTuple(scan->slot);
	return locked;
}

/* 55P03 */
static void
raise_blockers(text *name, ItemPointer tid)
{
	char	   *blockers = blockers_of(name, tid);

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("lease \"%s\" cannot be taken over: transactions that have checked it are still under way", pointstore_cstring(name)),
			 errdetail("They are of: %s.", blockers),
			 errhint("They end by themselves, or by pg_terminate_backend(). lock_timeout is how long they are waited for.")));
}

/* Who has locked a row, by the numbers of their processes. */
static char *
blockers_of(text *name, ItemPointer tid)
{
	Relation	heap = table_open(pointstore_shard_of(name)->table[TABLE_LEASE].relid, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	StringInfoData blockers;
	MultiXactMember *members;
	uint16		mask = HEAP_XMAX_INVALID;
	TransactionId xmax = InvalidTransactionId;
	int			n = 0;

	initStringInfo(&blockers);
	if (table_tuple_fetch_row_version(heap, tid, SnapshotAny, slot))
	{
		HeapTupleHeader row = ExecFetchSlotHeapTuple(slot, false, NULL)->t_data;

		/* what the mask says is of this xmax: others may lock the row just now */
		LockBuffer(((BufferHeapTupleTableSlot *) slot)->buffer, BUFFER_LOCK_SHARE);
		mask = row->t_infomask;
		xmax = HeapTupleHeaderGetRawXmax(row);
		LockBuffer(((BufferHeapTupleTableSlot *) slot)->buffer, BUFFER_LOCK_UNLOCK);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(heap, NoLock);
	if (!(mask & HEAP_XMAX_INVALID) && (mask & HEAP_XMAX_IS_MULTI))
		n = GetMultiXactIdMembers(xmax, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(mask));
	else if (!(mask & HEAP_XMAX_INVALID))
		add_blocker(&blockers, xmax);
	while (n-- > 0)
		add_blocker(&blockers, members[n].xid);
	return blockers.len > 0 ? blockers.data : "none, by now";
}

static void
add_blocker(StringInfo blockers, TransactionId xid)
{
	int			pid;

	if (!TransactionIdIsNormal(xid) || TransactionIdIsCurrentTransactionId(xid) || !TransactionIdIsInProgress(xid))
		return;
	if (blockers->len > 0)
		appendStringInfoString(blockers, ", ");
	pid = BackendXidGetPid(SubTransGetTopmostTransaction(xid));
	if (pid != 0)
		appendStringInfo(blockers, "process %d", pid);
	else
		appendStringInfo(blockers, "prepared transaction %u", xid);
}

/* renew_lease(name, token, ttl): its new end, null where that is the session's. */
Datum
pointstore_renew_lease(PG_FUNCTION_ARGS)
{
	Lease		lease = {0};
	int64		token;
	Interval   *ttl;
	bool		of_session;
	TimestampTz end;
	PointstoreScope scope;

	token = own_arguments(fcinfo, 3, "renew_lease()", &lease);
	ttl = ttl_argument(fcinfo, 2);
	pointstore_act_as_owner_of_leases(&scope);
	if (!lock_own(&lease, token))
		raise_lost(&lease, token);
	of_session = ttl == NULL;
	if (of_session && !pointstore_begin_session_lease(lease.name, token))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("lease \"%s\" is held by another session", pointstore_cstring(lease.name))));
	if (!of_session)
		pointstore_end_session_lease(token);
	end = of_session ? DT_NOEND : end_of(ttl, GetCurrentTimestamp());
	if (of_session != lease.of_session || end < lease.expires_at)
		pointstore_lease_changes(lease.name);
	lease.of_session = of_session;
	lease.expires_at = end;
	update_lease(&lease);
	pointstore_act_as_caller(&scope);
	if (of_session)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(lease.expires_at);
}

/* release_lease(name, token): false where it has passed to another or expired. */
Datum
pointstore_release_lease(PG_FUNCTION_ARGS)
{
	Lease		lease = {0};
	int64		token;
	bool		held;
	PointstoreScope scope;

	token = own_arguments(fcinfo, 2, "release_lease()", &lease);
	pointstore_act_as_owner_of_leases(&scope);
	held = lock_own(&lease, token);
	if (held)
	{
		pointstore_lease_changes(lease.name);
		pointstore_end_session_lease(token);
		lease.holder = NULL;
		lease.of_session = false;
		lease.expires_at = GetCurrentTimestamp();
		update_lease(&lease);
	}
	pointstore_act_as_caller(&scope);
	PG_RETURN_BOOL(held);
}

/* check_lease(name, token): PS014 unless it is the lease's, which then changes hands only after this transaction. */
Datum
pointstore_check_lease(PG_FUNCTION_ARGS)
{
	Lease		lease = {0};
	int64		token;
	PointstoreScope scope;

	token = own_arguments(fcinfo, 2, "check_lease()", &lease);
	pointstore_act_as_owner_of_leases(&scope);
	if (!pointstore_keep_lease(&lease, &token, 1, NULL))
		raise_lost(&lease, token);
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}

/*
 * Whether the lease of that name has one of these tokens and has not expired: then it changes hands only after this
 * transaction. lease says how it stands. Who is about to take it over is waited for, or, where busy is given, *busy. The
 * caller acts as the owner.
 */
bool
pointstore_keep_lease(Lease *lease, const int64 *tokens, int n, bool *busy)
{
	bool		kept = false;

	for (;;)
	{
		RowScan		scan;
		bool		live = false;
		bool		newest;
		int			i;

		CHECK_FOR_INTERRUPTS();
		if (!find_lease(lease, &scan))
			return false;
		for (i = 0; i < n && tokens[i] != lease->token; i++)
			 /* look on */ ;
		if (i == n || !is_live(lease))
		{
			end_look(&scan);
			return false;
		}
		pointstore_lease_is_checked(lease->name);
		newest = kept;
		if (pointstore_lock_version(scan.heap, scan.slot, LockTupleKeyShare, busy))
		{
			HeapTuple	row = ExecFetchSlotHeapTuple(scan.slot, false, NULL);

			/* one that was renewed since is read again, once: a renewal that is under way counts only when it has ended */
			newest |= ItemPointerEquals(&row->t_self, &row->t_data->t_ctid);
			kept = true;
		}
		live = newest && kept && is_live(lease);
		end_look(&scan);
		if (newest && kept)
			return live;
		if (busy != NULL && *busy)
			return false;
	}
}

/* Locks a lease FOR NO KEY UPDATE that has this token and has not expired; else it says how it stands. */
static bool
lock_own(Lease *lease, int64 token)
{
	RowScan		scan;
	bool		locked = false;
	bool		live;

	while (!locked)
	{
		CHECK_FOR_INTERRUPTS();
		if (!find_lease(lease, &scan))
			return false;
		live = lease->token == token && is_live(lease);
		if (live)
			locked = pointstore_lock_version(scan.heap, scan.slot, LockTupleNoKeyExclusive, NULL);
		if (locked)
			lease->row = ExecCopySlotHeapTuple(scan.slot);
		end_look(&scan);
		if (!live)
			return false;
	}
	return is_live(lease);
}

/* Reads a lease as it is now. True: its row is in scan->slot until end_look(). */
static bool
find_lease(Lease *lease, RowScan *scan)
{
	const AttrNumber *att;
	RowKey		key = {0};
	bool		isnull;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	pointstore_key_text(&key, lease->name);
	pointstore_scan_begin(scan, lease->name, INDEX_LEASE, GetActiveSnapshot(), &key);
	att = scan->table->att;
	lease->exists = pointstore_scan_next(scan, ForwardScanDirection);
	if (!lease->exists)
	{
		end_look(scan);
		lease->holder = NULL;
		lease->token = 0;
		return false;
	}
	(void) slot_getattr(scan->slot, att[LEASE_HOLDER], &isnull);
	lease->holder = isnull ? NULL : pointstore_slot_text(scan->slot, att[LEASE_HOLDER]);
	lease->token = DatumGetInt64(slot_getattr(scan->slot, att[LEASE_TOKEN], &isnull));
	lease->acquired_at = DatumGetTimestampTz(slot_getattr(scan->slot, att[LEASE_ACQUIRED_AT], &isnull));
	lease->was_acquired = !isnull;
	lease->expires_at = DatumGetTimestampTz(slot_getattr(scan->slot, att[LEASE_EXPIRES_AT], &isnull));
	lease->of_session = isnull;
	return true;
}

static void
end_look(RowScan *scan)
{
	pointstore_scan_end(scan);
	PopActiveSnapshot();
}

/* Whether it is somebody's, at this moment. */
static bool
is_live(const Lease *lease)
{
	if (lease->holder == NULL)
		return false;
	return lease->of_session ? pointstore_session_lease_lives(lease->token) : lease->expires_at > GetCurrentTimestamp();
}

/* When a lease ends that begins then: 22023 where that is not later. */
static TimestampTz
end_of(Interval *ttl, TimestampTz begin)
{
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(begin), IntervalPGetDatum(ttl)));

	if (end <= begin)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl must be positive")));
	return end;
}

/* Updates the version that was locked. */
static void
update_lease(const Lease *lease)
{
	if (write_lease(lease) != ROW_WRITTEN)
		elog(ERROR, "the row of a locked lease has moved");
}

/* Updates the version that was locked, or inserts the row. ROW_CONFLICT: it has come to be since. */
static RowOutcome
write_lease(const Lease *lease)
{
	static const PointstoreTableId table = TABLE_LEASE;
	RowWriter  *writer;
	RowTarget  *target;
	RowOutcome	outcome;

	PushActiveSnapshot(GetLatestSnapshot());
	writer = pointstore_writer_begin(lease->name, 1, &table, true);
	target = pointstore_writer_target(writer, lease->name, TABLE_LEASE);
	pointstore_row_begin(target, lease->row);
#define SET(column, value, null) \
	(target->slot->tts_values[target->table->att[column] - 1] = (value), target->slot->tts_isnull[target->table->att[column] - 1] = (null))
	SET(LEASE_NAME, PointerGetDatum(lease->name), false);
	SET(LEASE_HOLDER, PointerGetDatum(lease->holder), lease->holder == NULL);
	SET(LEASE_TOKEN, Int64GetDatum(lease->token), false);
	SET(LEASE_ACQUIRED_AT, TimestampTzGetDatum(lease->acquired_at), !lease->was_acquired);
	SET(LEASE_EXPIRES_AT, TimestampTzGetDatum(lease->expires_at), lease->of_session);
#undef SET
	ExecStoreVirtualTuple(target->slot);
	outcome = lease->row != NULL ? pointstore_row_update(writer, target, &lease->row->t_self)
		: pointstore_row_insert(writer, target, KEY_OF(INDEX_LEASE));
	pointstore_writer_end(writer);
	PopActiveSnapshot();
	return outcome;
}

/* Names are 1 to 520 bytes, so that each account's lease has one: 22004, 22023. */
static text *
lease_name(FunctionCallInfo fcinfo)
{
	text	   *name;
	Size		length;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	name = PG_GETARG_TEXT_PP(0);
	length = VARSIZE_ANY_EXHDR(name);
	if (length == 0 || length > POINTSTORE_MAX_LEASE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a lease has 1 to %d bytes, not %zu", POINTSTORE_MAX_LEASE, length)));
	return name;
}

/* Of a function of who holds a lease: which, and with what token: 22004, 22023. */
static int64
own_arguments(FunctionCallInfo fcinfo, int n, const char *function, Lease *lease)
{
	pointstore_check_arguments(fcinfo, n);
	PreventCommandIfReadOnly(function);
	lease->name = lease_name(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("token must not be null")));
	return PG_GETARG_INT64(1);
}

/* NULL: as long as the session, 42501 where that works for others; 22023 where it is not positive. */
static Interval *
ttl_argument(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
	{
		if (InSecurityRestrictedOperation())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("cannot hold a lease as long as the session within security-restricted operation"),
					 errhint("Give it a ttl.")));
		return NULL;
	}
	(void) end_of(PG_GETARG_INTERVAL_P(argno), GetCurrentTimestamp());
	return PG_GETARG_INTERVAL_P(argno);
}

/* PS014, which says how the lease stands. */
static void
raise_lost(const Lease *lease, int64 token)
{
	const char *name = pointstore_cstring(lease->name);
	bool		expired = lease->token == token && lease->holder != NULL;
	bool		passed = lease->token != token && lease->holder != NULL && is_live(lease);
	StringInfoData detail;

	initStringInfo(&detail);
	pointstore_detail(&detail, "lease", name);
	pointstore_detail_number(&detail, "requested", token);
	if (passed)
		pointstore_detail_number(&detail, "token", lease->token);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_LEASE_LOST),
			 expired ? errmsg("lease \"%s\" of token %lld has ended", name, (long long) token) :
			 passed ? errmsg("lease \"%s\" is not of token %lld, but of %lld", name, (long long) token, (long long) lease->token) :
			 errmsg("lease \"%s\" is not of token %lld: it is nobody's", name, (long long) token),
			 errdetail_internal("%s", detail.data),
			 errhint("Acquire it anew, and look at what others have done meanwhile.")));
}

/*
 * Deletes rows of leases that ended long ago, in transactions of its own; the caller is in a step that has not written. It looks at
 * some pages of the table, others each time; and at the next ones, as long as there is much to be deleted.
 */
void
pointstore_prune_leases(void)
{
	int64		hash = POINTSTORE_FIRST_HASH;
	PointstorePlacement *range;

	while (pointstore_range_from(hash, &range))
	{
		int64		next = pointstore_next_hash(range);

		prune_range(hash);
		hash = next;
	}
}

/* Those of the range that has a hash. */
static void
prune_range(int64 hash)
{
	BlockNumber parts = number_of_pages(hash) / PAGES_LOOKED_AT + 1;
	BlockNumber part = (uint64) GetCurrentTimestamp() % parts;
	uint64		pruned = 0;
	int			i;

	for (i = 0; i < MOST_PRUNINGS; i++)
	{
		uint64		n = prune_some(hash, part * PAGES_LOOKED_AT);

		pointstore_next_step();
		pruned += n;
		if (n >= PRUNED_AT_ONCE)
			continue;
		if (pruned < PRUNED_AT_ONCE)
			break;
		part = (part + 1) % parts;
		pruned = 0;
	}
}

/* Those in pages from the first on, up to a number of them. */
static uint64
prune_some(int64 hash, BlockNumber first)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.lease AS l WHERE l.ctid" EQ "ANY (ARRAY(SELECT o.ctid FROM pointstore.lease o"
		" WHERE o.ctid" GE "$1 AND o.ctid" LT "$2 AND coalesce(o.expires_at, o.acquired_at)" LT "$3 AND o.token" LT "$4"
		"   AND (o.expires_at IS NOT NULL OR o.holder IS NULL OR NOT (o.token" EQ "ANY ("
		"     SELECT (CAST(k.classid AS pg_catalog.int8) OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) CAST(k.objid AS pg_catalog.int8)"
		"       FROM pg_catalog.pg_locks k WHERE k.locktype" EQ "'advisory' AND k.objsubid" EQ "$5)))"
		" LIMIT $6 FOR UPDATE SKIP LOCKED))",
		.nargs = 6, .argtypes = {TIDOID, TIDOID, TIMESTAMPTZOID, INT8OID, INT2OID, INT8OID}
	};
	TimestampTz before = GetCurrentTimestamp() - KEPT_FOR;
	ItemPointerData begin;
	ItemPointerData end;
	Datum		values[6] = {PointerGetDatum(&begin), PointerGetDatum(&end), TimestampTzGetDatum(before),
		Int64GetDatum(pointstore_lease_clock(before)), Int16GetDatum(SESSION_LEASE_LOCK), Int64GetDatum(PRUNED_AT_ONCE)};
	PointstorePlacement *range;
	PointstoreScope scope;
	uint64		n;

	pointstore_act_as_owner_of_leases(&scope);
	ItemPointerSet(&begin, first, 0);
	ItemPointerSet(&end, first + PAGES_LOOKED_AT, 0);
	SPI_connect();
	n = 0;
	if (pointstore_range_from(hash, &range))
	{
		pointstore_execute_in(&plan, range, values, NULL, false);
		n = SPI_processed;
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return n;
}

/* Of the table. */
static BlockNumber
number_of_pages(int64 hash)
{
	PointstorePlacement *range;
	Relation	heap;
	BlockNumber pages;

	if (!pointstore_range_from(hash, &range))
		return 0;
	heap = table_open(range != NULL ? range->relids[TABLE_LEASE] : pointstore_store()->shard.table[TABLE_LEASE].relid, RowExclusiveLock);
	pages = RelationGetNumberOfBlocks(heap);

	table_close(heap, NoLock);
	return pages;
}
