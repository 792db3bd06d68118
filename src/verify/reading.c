/*-------------------------------------------------------------------------
 *
 * src/verify/reading.c
 *		Statements of a run, and what they return: it is kept in tuplestores that live as
 *		long as the run, for each statement has a transaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "verify/index.h"
#include "verify/reading.h"
#include "verify/runstate.h"
#include "verify/spool.h"

/* Where the rows of compared accounts go. */
typedef struct Receiver
{
	DestReceiver dest;
	Run		   *run;
	Tuplestorestate *rows;
} Receiver;

static DestReceiver *create_receiver(Run *run, Tuplestorestate *rows);
static bool count_account(TupleTableSlot *slot, DestReceiver *self);
static void start_receiver(DestReceiver *self, int operation, TupleDesc desc);
static void end_receiver(DestReceiver *self);

/*
 * What a statement returns, in a tuplestore that lives as long as the run; of
 * compared accounts, which are counted, those alone about which there is something to
 * do; of others the names, '' of rows without one.
 */
Tuplestorestate *
pointstore_collect(Run *run, const Reading *reading)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	Tuplestorestate *rows = tuplestore_begin_heap(false, true, Min(work_mem, WORK_MEM_LIMIT));
	DestReceiver *dest = reading->compared ? create_receiver(run, rows) : CreateTuplestoreDestReceiver();
	Reading		named = *reading;

	run->rows = lappend(run->rows, rows);
	MemoryContextSwitchTo(old);
	if (!reading->compared)
	{
		named.sql = psprintf("SELECT coalesce(CAST(n.aggregate_id AS pg_catalog.text), '') FROM (%s) n", reading->sql);
		SetTuplestoreDestReceiverParams(dest, rows, run->context, false, NULL, NULL);
	}
	pointstore_run_execute(run, &named, dest);
	if (reading->compared)
		pointstore_run_show_done(run);
	pointstore_run_next_step();
	return rows;
}

/*
 * Hands over what a statement returns. It may be run by parallel workers, but for small parts; by_heap: it uses no index, by_tid: but reads blocks that it
 * names; spooled: the relation "events" is a part of what was spooled, and "reversals" what was taken back of its movements.
 */
void
pointstore_run_execute(Run *run, const Reading *reading, DestReceiver *dest)
{
	ParamListInfo params = makeParamList(reading->n);
	SPIExecuteOptions options = {.params = params, .read_only = true, .dest = dest};
	PointstoreScope owner;
	int			i;

	for (i = 0; i < reading->n; i++)
		params->params[i] = (ParamExternData) {.value = reading->values[i], .pflags = PARAM_FLAG_CONST, .ptype = reading->types[i]};
	pointstore_act_as_verifier(&owner);
	if (reading->by_heap)
		pointstore_use_no_index();
	if (reading->by_tid)
	{
		pointstore_set_option("enable_seqscan", "off");
		pointstore_set_option("enable_tidscan", "on");
	}
	pointstore_run_plan_with_care(!reading->spooled && !reading->by_tid);
	SPI_connect();
	if (reading->spooled)
	{
		pointstore_spool_show(run->spool, reading->family, reading->part, "events");
		if (reading->family == SPOOL_MOVEMENTS)
			pointstore_spool_show(run->spool, SPOOL_REVERSALS, reading->part, "reversals");
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute_extended(pointstore_text_here(reading->sql), &options) < 0)
		elog(ERROR, "could not execute \"%s\"", reading->sql);
	PopActiveSnapshot();
	SPI_finish();
	pointstore_act_as_caller(&owner);
}

/* Takes the rows of slice_pass or tail_sql. */
static DestReceiver *
create_receiver(Run *run, Tuplestorestate *rows)
{
	Receiver   *receiver = palloc0(sizeof(Receiver));

	receiver->dest.receiveSlot = count_account;
	receiver->dest.rStartup = start_receiver;
	receiver->dest.rShutdown = receiver->dest.rDestroy = end_receiver;
	receiver->dest.mydest = DestTuplestore;
	receiver->run = run;
	receiver->rows = rows;
	return &receiver->dest;
}

/* Counts an account, and keeps it when it looks wrong or its proof is to be written. */
static bool
count_account(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;

	slot_getallattrs(slot);
	receiver->run->accounts += pointstore_is_true(slot, ROW_AHEAD) && !pointstore_is_true(slot, 1) ? 0 : 1;	/* its tail counts it */
	receiver->run->events += slot->tts_isnull[6] ? 0 : DatumGetInt64(slot->tts_values[6]);
	if (pointstore_is_true(slot, 1) || pointstore_is_true(slot, 2) || pointstore_is_true(slot, ROW_AHEAD) || pointstore_is_misplaced(slot))
		tuplestore_puttupleslot(receiver->rows, slot);
	return true;
}

bool
pointstore_is_true(TupleTableSlot *slot, int column)
{
	return !slot->tts_isnull[column] && DatumGetBool(slot->tts_values[column]);
}

/* Whether an account looked at is of another shard than that which we stay in. */
bool
pointstore_is_misplaced(TupleTableSlot *slot)
{
	return !slot->tts_isnull[0] && !pointstore_stays_with(DatumGetTextPP(slot->tts_values[0]));
}

static void
start_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiver(DestReceiver *self)
{
}

/* What a row of slice_pass says of the heaps. */
HeapView
pointstore_compared_heap(const Run *run, TupleTableSlot *slot)
{
	return (HeapView)
	{
		.last = slot->tts_isnull[3] ? 0 : DatumGetInt64(slot->tts_values[3]),
		.newest = run->spool ? run->whole_id : PG_INT64_MAX,
		.events = slot->tts_isnull[ROW_SEEN] ? 0 : DatumGetInt64(slot->tts_values[ROW_SEEN]),
		.mark = slot->tts_isnull[7] ? 0 : DatumGetInt64(slot->tts_values[7]),
		.balances = slot->tts_isnull[8] ? 0 : DatumGetInt64(slot->tts_values[8]),
		.pures = slot->tts_isnull[9] ? 0 : DatumGetInt64(slot->tts_values[9])
	};
}

/* As the rows of slice_pass and tail_sql; of accounts that are merely named, the first column. */
TupleDesc
pointstore_compared_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(ROW_INCOMING + 1);

	TupleDescInitEntry(desc, 1, "id", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "bad", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 3, "moved", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 4, "version", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 5, "balance", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 6, "held", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 7, "events", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 8, "mark", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 9, "balances", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 10, "pures", INT8OID, -1, 0);
	TupleDescInitEntry(desc, ROW_AHEAD + 1, "ahead", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, ROW_SEEN + 1, "seen", INT8OID, -1, 0);
	TupleDescInitEntry(desc, ROW_INCOMING + 1, "incoming", INT8OID, -1, 0);
	return desc;
}
