/*-------------------------------------------------------------------------
 *
 * src/verify/scan.c
 *		What a run goes through: the whole store, or the events that have come since, and
 *		the findings that are open.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "verify/confirm.h"
#include "verify/passes.h"
#include "verify/progress.h"
#include "verify/proof.h"
#include "verify/reading.h"
#include "verify/runstate.h"
#include "verify/scan.h"
#include "verify/spool.h"

/* open findings that an incremental run looks at again: accounts, and for how long */
#define OPEN_FINDINGS_AT_ONCE 100
#define OPEN_FINDINGS_TIME 10000	/* ms */

/* events of some 150 bytes */
#define EVENTS_PER_BLOCK (BLCKSZ / 150)

/*
 * The accounts with open findings, those that were seen true longest ago first. Not those that an
 * earlier session of this run has counted; what another run has seen this one counts too. Those that
 * an index hides, or that are of the feed, are for a full run alone, which has gone by the heap.
 */
static const char *const open_findings_sql =
"SELECT aggregate_id FROM pointstore.finding"
" WHERE resolved_at IS NULL AND last_seen_at" LT "$1 AND ($2 OR NOT " IS_FOR_FULL_RUNS ") AND NOT " OF_MOVEMENTS("code") " AND NOT " IS_ACROSS("code")
" GROUP BY aggregate_id ORDER BY pg_catalog.min(last_seen_at), aggregate_id LIMIT $3";

static void spool_events(Run *run);
static Oid spool_blocks(Run *run, BlockNumber first, BlockNumber end);
static Oid read_size(BlockNumber *blocks);
static void resolve_reversals(Run *run, int part);
static void scan_slice(Run *run);
static void go_through(Run *run, const Pass *passes, int n, int part);
static Tuplestorestate *go_over(Run *run, const Pass *pass, int part, bool compared);
static void examine_named(Run *run, Tuplestorestate *ids, bool by_heap, long most);

/*
 * A full run: in one slice by the heap itself; in several by what is spooled first, in one reading of the heap. All
 * events of an account are of one slice; the links between accounts come afterwards, by parts of their own.
 */
void
pointstore_scan_store(Run *run)
{
	int			part;
	int			family;

	if (run->slices > 1)
		spool_events(run);
	for (part = 0; part < run->slices; part++)
	{
		if (run->spool)
			resolve_reversals(run, part);
		if (part == run->slice)
			scan_slice(run);
		if (run->spool)
			pointstore_spool_forget(run->spool, SPOOL_ACCOUNTS, part);
	}
	for (part = 0; part < run->slices; part++)
	{
		go_through(run, pointstore_link_passes, pointstore_n_link_passes, part);
		if (run->spool)
			for (family = 0; family < N_SPOOL_FAMILIES; family++)
				pointstore_spool_forget(run->spool, family, part);
	}
	pointstore_run_forget_spool(run);
}

/*
 * Reads the heap from end to end, in transactions over so many blocks each, and spools of it what the
 * passes need. Events that come meanwhile need not be seen; should the table be rewritten, all is read again.
 */
static void
spool_events(Run *run)
{
	uint64		at_once = Max(1, pointstore_reconcile_max_transaction / pointstore_run_event_time() / EVENTS_PER_BLOCK);
	BlockNumber blocks;
	uint64		block;
	Oid			file;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_SPOOLING);
	do
	{
		pointstore_run_forget_spool(run);
		run->spool = pointstore_spool_create(run->slices, WORK_MEM_LIMIT, run->context);
		file = read_size(&blocks);
		pointstore_run_next_step();
		for (block = 0; block == 0 || (block < blocks && file != InvalidOid); block += at_once)
		{
			if (spool_blocks(run, block, Min(block + at_once, MaxBlockNumber)) != file)
				file = InvalidOid;
			pointstore_run_next_step();
		}
	} while (file == InvalidOid);
}

/* Spools the events of some blocks; the table's file, which stays the same until the transaction's end. */
static Oid
spool_blocks(Run *run, BlockNumber first, BlockNumber end)
{
	static const Oid types[] = {INT8OID, INT8OID, TIDOID, TIDOID, BOOLOID};
	ItemPointerData from;
	ItemPointerData to;
	Datum		values[] = {
		Int64GetDatum(run->slices), Int64GetDatum(run->pending_id), PointerGetDatum(&from), PointerGetDatum(&to), BoolGetDatum(run->fed)
	};
	BlockNumber blocks;

	ItemPointerSet(&from, first, 0);
	ItemPointerSet(&to, end, 0);
	pointstore_run_execute(run, &(Reading) {.sql = pointstore_spool_sql, .n = 5, .types = types, .values = values, .by_heap = true, .by_tid = true},
			pointstore_spool_receiver(run->spool));
	return read_size(&blocks);
}

/* The table's file, and how many blocks it has or, when that is more, a table that inherits from it, which is read with it. */
static Oid
read_size(BlockNumber *blocks)
{
	static PointstorePlan plan = {
		.sql = "WITH RECURSIVE t (id) AS ("
		" SELECT CAST(CAST('pointstore.event_store' AS pg_catalog.regclass) AS pg_catalog.oid)"
		" UNION SELECT i.inhrelid FROM t JOIN pg_catalog.pg_inherits i ON i.inhparent" EQ "t.id)"
		" SELECT pg_catalog.pg_relation_filenode('pointstore.event_store'), pg_catalog.max(pg_catalog.pg_relation_size(t.id)) FROM t"
	};
	PointstoreScope owner;
	Oid			file;
	bool		isnull;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, false);
	file = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*blocks = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) / BLCKSZ;
	SPI_finish();
	pointstore_act_as_caller(&owner);
	return file;
}

/* Spools what was taken back by accounts of a part, by the movements that it belongs to. */
static void
resolve_reversals(Run *run, int part)
{
	pointstore_run_execute(run, &(Reading) {.sql = pointstore_resolve_sql, .values = (Datum[]) PASS_VALUES(run, part), .n = N_PASS_VALUES, .types = pointstore_pass_types,
			.by_heap = true, .spooled = true, .family = SPOOL_ACCOUNTS, .part = part},
			pointstore_spool_reversals_receiver(run->spool));
	pointstore_run_next_step();
}

/* Goes through the accounts of one slice. */
static void
scan_slice(Run *run)
{
	static PointstorePlan done = {
		.sql = "UPDATE pointstore.reconciliation SET slices_done = $2, accounts_checked = $3, events_checked = $4,"
		" findings = $5, unverified = $6 WHERE id" EQ "$1",
		.nargs = 6, .argtypes = {INT8OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[6];
	PointstoreScope owner;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_SCANNING);
	run->moving = pointstore_slice_pass.moving;
	pointstore_take_compared(run, go_over(run, &pointstore_slice_pass, run->slice, true), true);
	go_through(run, pointstore_account_passes, pointstore_n_account_passes, run->slice);
	run->slice++;
	values[0] = Int64GetDatum(run->id);
	values[1] = Int32GetDatum(run->slice);
	values[2] = Int64GetDatum(run->accounts);
	values[3] = Int64GetDatum(run->events);
	values[4] = Int64GetDatum(run->findings);
	values[5] = Int64GetDatum(run->unverified);
	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&done, values, NULL, false);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	if (run->slices > 1)
		pointstore_run_tell(run, psprintf("part %d of %d", run->slice, run->slices));
	pointstore_run_next_step();
}

/*
 * Examines the accounts that these passes name of a part. None is named for it has moved, but where what was spooled
 * is compared with rows of now, or where events were under way when the run began: of these some may be missing.
 */
static void
go_through(Run *run, const Pass *passes, int n, int part)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		pointstore_progress_set(PROGRESS_PHASE, PHASE_SCANNING);
		run->moving = passes[i].moving || run->whole_id < run->pending_id;
		examine_named(run, go_over(run, &passes[i], part, false), true, 0);
	}
}

static Tuplestorestate *
go_over(Run *run, const Pass *pass, int part, bool compared)
{
	return pointstore_collect(run, &(Reading) {.sql = run->spool ? pass->by_spool : pass->by_heap, .n = N_PASS_VALUES, .types = pointstore_pass_types,
				   .values = (Datum[]) PASS_VALUES(run, part), .compared = compared, .by_heap = true, .spooled = run->spool != NULL,
				   .family = pass->family, .part = part});
}

/* The accounts that have had events since then, each from the version up to which it is proved. */
void
pointstore_scan_new_events(Run *run)
{
	static const Oid types[] = {INT8OID};
	Datum		since[] = {Int64GetDatum(run->since_id)};
	Reading		accounts = {
		.sql = "SELECT DISTINCT aggregate_id FROM pointstore.event_store WHERE id" GT "$1", .n = 1, .types = types, .values = since
	};
	Reading		links = {.sql = pointstore_new_links_sql, .n = 1, .types = types, .values = since};
	Tuplestorestate *rows;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_SCANNING);
	rows = pointstore_collect(run, &accounts);
	pointstore_progress_set(PROGRESS_ACCOUNTS_TOTAL, tuplestore_tuple_count(rows));
	pointstore_prove_tails(run, rows);
	examine_named(run, pointstore_collect(run, &links), false, 0);
}

/* Examines accounts that are merely named, all of them or, not 0, until that has taken so many milliseconds. */
static void
examine_named(Run *run, Tuplestorestate *ids, bool by_heap, long most)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(pointstore_compared_desc(), &TTSOpsMinimalTuple);
	long		spent = 0;

	MemoryContextSwitchTo(old);
	while ((most == 0 || spent < most) && tuplestore_gettupleslot(ids, true, false, slot))
	{
		TimestampTz start = GetCurrentTimestamp();
		int64		unverified = run->unverified;
		char	   *id;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		id = TextDatumGetCString(slot->tts_values[0]);
		pointstore_confirm(run, id, by_heap, NULL);
		pfree(id);
		if (run->unverified == unverified)
			spent += TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());
	}
	ExecDropSingleTupleTableSlot(slot);
	pointstore_run_let_go(run, ids);
}

/*
 * Findings that are still open and were not seen true in this run are looked at again: by a full run all,
 * by an incremental one so many, or for so long, that it does not keep the next one waiting; each has its
 * turn. A run that waits for a lock has not used up that time.
 */
void
pointstore_examine_open_findings(Run *run)
{
	static const Oid types[] = {TIMESTAMPTZOID, BOOLOID, INT8OID};
	Datum		values[] = {
		TimestampTzGetDatum(run->resumed ? run->started_at : DT_NOEND), BoolGetDatum(run->full),
		Int64GetDatum(run->full ? PG_INT64_MAX : OPEN_FINDINGS_AT_ONCE)
	};
	Tuplestorestate *ids;

	pointstore_progress_set(PROGRESS_PHASE, PHASE_FINDINGS);
	ids = pointstore_collect(run, &(Reading) {.sql = open_findings_sql, .n = 3, .types = types, .values = values, .by_heap = run->full});
	examine_named(run, ids, false, run->full ? 0 : OPEN_FINDINGS_TIME);
}

/* Counts the accounts that a clock which once was wrong has left in the future: rebuild_balance() brings them back. */
void
pointstore_look_at_clock(Run *run)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.count(*) FROM pointstore.balance"
		" WHERE updated_at" GT "(pg_catalog.clock_timestamp()" PLUS "CAST('1 min' AS pg_catalog.interval))"
	};
	PointstoreScope owner;
	bool		isnull;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, false);
	run->ahead = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&owner);
	if (run->ahead > 0)
		ereport(WARNING,
				(errmsg("reconciliation %lld: %s", (long long) run->id, psprintf(RUN_TOO_EARLY, (long long) run->ahead)),
				 errhint("rebuild_balance() sets updated_at back to the clock.")));
	pointstore_run_next_step();
}
