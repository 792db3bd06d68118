/*-------------------------------------------------------------------------
 *
 * src/verify/index.c
 *		Whether the indexes that the functions go by say of an account what its
 *		tables' heaps say.
 *
 * An index that is damaged hides rows or invents some. Who then sets a row to what
 * the events say by that index makes it worse: events that are there are dropped
 * from the sum, their versions are used again, or a second row is put beside a hidden
 * one. So whoever is about to write what the events say has read the heaps before,
 * and goes through the keys afterwards; where these differ nothing is written.
 *
 * What was read of the heaps may be older than what the keys say: events only
 * come, after the last that was seen, and rows of accounts never go.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/scan.h"
#include "ground/sql.h"
#include "verify/index.h"

static int64 count_rows(PointstoreIndexId key, text *id, Snapshot snapshot);
static bool same_events(text *id, const HeapView *heap, Snapshot snapshot);

/* Statements planned from now on read heaps alone, and each once, until the caller acts as the caller again. */
void
pointstore_use_no_index(void)
{
	static const char *const settings[][2] = {{"enable_seqscan", "on"}, {"enable_indexscan", "off"},
	{"enable_indexonlyscan", "off"}, {"enable_bitmapscan", "off"}, {"enable_nestloop", "off"}};
	int			i;

	for (i = 0; i < lengthof(settings); i++)
		pointstore_set_option(settings[i][0], settings[i][1]);
}

/*
 * Statements planned from now on look rows up by an index where there is one: their
 * plans are kept, and a table that is small now may be large before the run ends.
 */
void
pointstore_use_indexes(void)
{
	pointstore_set_option("enable_seqscan", "off");
	pointstore_set_option("jit", "off");	/* where there is none the cost is immense */
}

/* What the heaps say of these accounts, all of one place, in the active snapshot: one pass over each table, whatever their number. */
void
pointstore_view_heaps(Datum *ids, int n, HeapView *views)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(n.place AS pg_catalog.int4), coalesce(e.events, 0), coalesce(e.last, 0), coalesce(e.mark, 0),"
		"   coalesce(b.rows, 0), coalesce(p.rows, 0)"
		" FROM pg_catalog.unnest($1) WITH ORDINALITY AS n (id, place)"
		" LEFT JOIN (SELECT aggregate_id, pg_catalog.count(*) AS events, pg_catalog.max(version) AS last, " HEAP_MARK("version", "amount") " AS mark"
		"              FROM pointstore.event_store WHERE aggregate_id" EQ "ANY ($1) GROUP BY aggregate_id) e ON e.aggregate_id" EQ "n.id"
		" LEFT JOIN (SELECT aggregate_id, pg_catalog.count(*) AS rows"
		"              FROM pointstore.balance WHERE aggregate_id" EQ "ANY ($1) GROUP BY aggregate_id) b ON b.aggregate_id" EQ "n.id"
		" LEFT JOIN (SELECT aggregate_id, pg_catalog.count(*) AS rows"
		"              FROM pointstore.pure_account WHERE aggregate_id" EQ "ANY ($1) GROUP BY aggregate_id) p ON p.aggregate_id" EQ "n.id",
		.nargs = 1, .argtypes = {TEXTARRAYOID}
	};
	Datum		value = PointerGetDatum(construct_array(ids, n, TEXTOID, -1, false, TYPALIGN_INT));
	PointstoreScope scope;
	uint64		i;
	bool		isnull;

	pointstore_act_as_verifier(&scope);
	pointstore_use_no_index();
	SPI_connect();
	pointstore_execute_of(&plan, DatumGetTextPP(ids[0]), &value, NULL, true);
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		HeapView   *view = &views[DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull)) - 1];

		view->newest = PG_INT64_MAX;
		view->events = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		view->last = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
		view->mark = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
		view->balances = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
		view->pures = DatumGetInt64(SPI_getbinval(row, desc, 6, &isnull));
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/*
 * The name of a table whose key says of an account, in that snapshot, something else than
 * its heap did; null: they agree. Of a store that has all its keys.
 */
const char *
pointstore_find_lie(text *id, const HeapView *heap, Snapshot snapshot)
{
	if (count_rows(INDEX_BALANCE, id, snapshot) < heap->balances)
		return "balance";
	if (count_rows(INDEX_PURE_ACCOUNT, id, snapshot) < heap->pures)
		return "pure_account";
	return same_events(id, heap, snapshot) ? NULL : "event_store";
}

/* An account's rows by a table's key. */
static int64
count_rows(PointstoreIndexId index, text *id, Snapshot snapshot)
{
	RowKey		key = {0};
	RowScan		scan;
	int64		rows = 0;

	pointstore_key_text(&key, id);
	pointstore_scan_begin(&scan, id, index, snapshot, &key);
	while (pointstore_scan_next(&scan, ForwardScanDirection))
		rows++;
	pointstore_scan_end(&scan);
	return rows;
}

/* Whether the key leads to the events that the heap had, up to its last. */
static bool
same_events(text *id, const HeapView *heap, Snapshot snapshot)
{
	const AttrNumber *att;
	RowKey		key = {0};
	RowScan		scan;
	int64		n = 0;
	int64		mark = 0;

	pointstore_key_text(&key, id);
	pointstore_key_at_most(&key, heap->last);
	pointstore_scan_begin(&scan, id, INDEX_EVENT, snapshot, &key);
	att = scan.table->att;
	while (pointstore_scan_next(&scan, ForwardScanDirection))
	{
		bool		no_id;
		bool		no_version;
		bool		no_amount;
		Datum		event = slot_getattr(scan.slot, att[EV_ID], &no_id);
		Datum		version = slot_getattr(scan.slot, att[EV_VERSION], &no_version);
		Datum		amount = slot_getattr(scan.slot, att[EV_AMOUNT], &no_amount);

		CHECK_FOR_INTERRUPTS();
		if (!no_id && DatumGetInt64(event) > heap->newest)
			continue;
		n++;
		if (!no_version && !no_amount)
			mark ^= DatumGetInt64(DirectFunctionCall2(hashint8extended, amount, version));
	}
	pointstore_scan_end(&scan);
	return n == heap->events && mark == heap->mark;
}

/* Nothing is written where an index lies: PS011. */
void
pointstore_refuse_lie(text *id, const char *table)
{
	if (table == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 errmsg("an index of table \"%s\" does not say of account \"%s\" what the table says", table, pointstore_cstring(id)),
			 pointstore_detail_account(id),
			 errhint("What is written by a damaged index makes it worse. The extension amcheck tells which one it is; REINDEX TABLE pointstore.%s mends it.", table)));
}
