/*-------------------------------------------------------------------------
 *
 * src/feed/slot.c
 *		Rows of subscription_slot.
 *
 * Each claim and each ack updates a slot's row. While somebody holds back xmin no version of it
 * can be taken away, and its key leads to all of them: so a session remembers where the
 * version was that it read last, and finds the newest from there, which costs as many steps
 * as it was updated since. By the key it is found the first time, and where what was
 * remembered leads nowhere. What was found is believed only if it is visible and has the key.
 *
 * Each shard of a distributed store has a subscription of its own, of one slot: number 0 there. Members know it by another one (number.c), and
 * the row is that of the shard where we stay.
 *
 * The lock of the row decides who has the slot. What a session remembers besides,
 * up to where it has found nothing for a slot, and whether a look at it has failed, holds as long as the row is the
 * same version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_crc32c.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/number.h"
#include "feed/slot.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"

#define MEMOS 1024				/* a power of two */

/* whatever has been altered about the table: nulls are what they were declared not to be */
#define SLOT_COLUMNS \
"s.ctid, s.xmin, CAST(s.slot AS pg_catalog.int2), coalesce(CAST(s.checkpoint AS pg_catalog.int8), 0), coalesce(CAST(s.epoch AS pg_catalog.int8), 0)," \
" CAST(s.member AS pg_catalog.text), CAST(s.leased_until AS pg_catalog.timestamptz), CAST(s.retried AS pg_catalog.text)," \
" coalesce(CAST(s.delivered AS pg_catalog.int8), 0), coalesce(CAST(s.read_to AS pg_catalog.int8), 0), coalesce(CAST(s.alone AS pg_catalog.bool), false)," \
" coalesce(CAST(s.attempt AS pg_catalog.int4), 0), coalesce(CAST(s.lost AS pg_catalog.int4), 0), coalesce(CAST(s.alone_upto AS pg_catalog.int8), 0)," \
" coalesce(CAST(s.blocked AS pg_catalog.int4), 0), coalesce(CAST(s.retry_at AS pg_catalog.timestamptz), 'infinity')," \
" coalesce(CAST(s.retried_last AS pg_catalog.bool), false), coalesce(CAST(s.not_before AS pg_catalog.timestamptz), '-infinity')," \
" coalesce(CAST(s.served_at AS pg_catalog.timestamptz), '-infinity')"
#define IS_SLOT " s.subscription" EQ "$2 AND s.slot" EQ "$3 AND " OF_THIS_FEED

/* What a session remembers of a slot. */
typedef struct Memo
{
	uint64		key;			/* of the slot: others may have it too */
	ItemPointerData place;
	TransactionId writer;
	int64		looked_at;
	TimestampTz shunned_until;
} Memo;

static Memo memos[MEMOS];

static Relation open_slots(LOCKMODE mode);
static Memo *memo_of(text *subscription, int16 number);
static void remember(const Slot *slot, text *subscription);
static int	find_places(text *subscription, int first, int n, Datum *places);
static void fill_slots(Slot *slots, int first, int n, text *subscription, MemoryContext context);
static void fill_slot(Slot *slot, HeapTuple row, TupleDesc desc);
static text *text_column(HeapTuple row, TupleDesc desc, int column);
static void execute_by_place(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only);
static bool lock_version(Slot *slot, text *subscription);
pg_noreturn static void raise_changed(int16 number, text *subscription);

/* The slots of a subscription, n of them, each at the place of its number, by the active snapshot. */
Slot *
pointstore_read_slots(text *subscription, int n)
{
	Slot	   *slots = palloc0(sizeof(Slot) * n);

	fill_slots(slots, 0, n, subscription, CurrentMemoryContext);
	return slots;
}

/* One slot, by the active snapshot; false: there is none of that number. */
bool
pointstore_find_slot(Slot *slot, text *subscription, int16 number)
{
	memset(slot, 0, sizeof(Slot));
	fill_slots(slot, number, 1, subscription, CurrentMemoryContext);
	return ItemPointerIsValid(&slot->place);
}

/* Reads those of n slots from the first on that are there: from where they were last, else by their key. */
static void
fill_slots(Slot *slots, int first, int n, text *subscription, MemoryContext context)
{
	static PointstorePlan by_place = {
		.generic = true,
		.sql = "SELECT " SLOT_COLUMNS " FROM pointstore.subscription_slot s WHERE s.ctid" EQ "ANY ($1) AND s.subscription" EQ "$2"
		" AND s.slot" GE "$3 AND s.slot" LT "$4 AND " OF_THIS_FEED,
		.nargs = 4, .argtypes = {TIDARRAYOID, TEXTOID, INT4OID, INT4OID}
	};
	static PointstorePlan by_key = {
		.generic = true,
		.sql = "SELECT " SLOT_COLUMNS " FROM pointstore.subscription_slot s WHERE $1 IS NULL AND s.subscription" EQ "$2"
		" AND s.slot" GE "CAST($3 AS pg_catalog.int2) AND s.slot" LT "$4 AND " OF_THIS_FEED,
		.nargs = 4, .argtypes = {TIDARRAYOID, TEXTOID, INT4OID, INT4OID}
	};
	Datum	   *places = palloc(sizeof(Datum) * n);
	Datum		values[4] = {0, PointerGetDatum(subscription), Int32GetDatum(first), Int32GetDatum(first + n)};
	int			known = find_places(subscription, first, n, places);
	int			found = 0;
	int			turn;

	SPI_connect();
	for (turn = known == n ? 0 : 1; turn < 2 && found < n; turn++)
	{
		uint64		i;

		if (turn == 0)
			values[0] = PointerGetDatum(construct_array(places, n, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT));
		execute_by_place(turn == 0 ? &by_place : &by_key, values, turn == 0 ? NULL : "n   ", true);
		for (found = 0, i = 0; i < SPI_processed; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(context);
			Slot		slot = {0};

			fill_slot(&slot, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(old);
			/* of another type by now it may have been rounded */
			if (slot.number < first || slot.number >= first + n)
				continue;
			found += !ItemPointerIsValid(&slots[slot.number - first].place);
			slots[slot.number - first] = slot;
			remember(&slot, subscription);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
}

/* Where the newest versions of slots are by what is remembered; how many that is known of. */
static int
find_places(text *subscription, int first, int n, Datum *places)
{
	Relation	heap = open_slots(AccessShareLock);
	TableScanDesc scan;
	int			known = 0;

	scan = table_beginscan_tid(heap, GetActiveSnapshot());
	for (; known < n; known++)
	{
		Memo	   *memo = memo_of(subscription, first + known);

		if (!ItemPointerIsValid(&memo->place) || !table_tuple_tid_valid(scan, &memo->place))
			break;
		table_tuple_get_latest_tid(scan, &memo->place);
		places[known] = PointerGetDatum(&memo->place);
	}
	table_endscan(scan);
	table_close(heap, AccessShareLock);
	return known;
}

static Relation
open_slots(LOCKMODE mode)
{
	Oid			relid = pointstore_relation_here(TABLE_SUBSCRIPTION_SLOT);
	Relation	heap = table_open(relid, mode);

	if (heap->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"pointstore.subscription_slot\" is not an ordinary table")));
	return heap;
}

/* What is remembered of a slot; of one that nothing is known of its place is invalid. */
static Memo *
memo_of(text *subscription, int16 number)
{
	/* those of a subscription are beside each other, and never in each other's place */
	PointstorePlace place = pointstore_here();
	uint64		key = hash_bytes_extended((const unsigned char *) VARDATA_ANY(subscription), VARSIZE_ANY_EXHDR(subscription),
										  place.is_range ? ((uint64) (uint32) place.max << 32) + (uint32) place.min : 0) + number;
	Memo	   *memo = &memos[key % MEMOS];

	if (memo->key != key)
	{
		memset(memo, 0, sizeof(Memo));
		memo->key = key;
	}
	return memo;
}

static void
remember(const Slot *slot, text *subscription)
{
	Memo	   *memo = memo_of(subscription, slot->number);

	if (memo->writer != slot->writer || !ItemPointerEquals(&memo->place, (ItemPointer) &slot->place))
		memo->looked_at = memo->shunned_until = 0;
	memo->place = slot->place;
	memo->writer = slot->writer;
}

/* Position up to which this session has found nothing for the slot since its row has changed, at least the checkpoint. */
int64
pointstore_looked_at(const Slot *slot, text *subscription)
{
	Memo	   *memo = memo_of(subscription, slot->number);
	bool		same = memo->writer == slot->writer && ItemPointerEquals(&memo->place, (ItemPointer) &slot->place);

	return same ? Max(memo->looked_at, slot->checkpoint) : slot->checkpoint;
}

void
pointstore_note_looked_at(const Slot *slot, text *subscription, int64 position)
{
	remember(slot, subscription);
	memo_of(subscription, slot->number)->looked_at = position;
}

/* The session would rather take other slots until then, as long as the row is the same version. */
void
pointstore_shun(const Slot *slot, text *subscription, TimestampTz until)
{
	remember(slot, subscription);
	memo_of(subscription, slot->number)->shunned_until = until;
}

bool
pointstore_is_shunned(const Slot *slot, text *subscription, TimestampTz now)
{
	Memo	   *memo = memo_of(subscription, slot->number);

	return memo->shunned_until > now && memo->writer == slot->writer && ItemPointerEquals(&memo->place, (ItemPointer) &slot->place);
}

static void
fill_slot(Slot *slot, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	slot->place = *(ItemPointer) DatumGetPointer(SPI_getbinval(row, desc, 1, &isnull));
	slot->writer = DatumGetTransactionId(SPI_getbinval(row, desc, 2, &isnull));
	slot->number = DatumGetInt16(SPI_getbinval(row, desc, 3, &isnull));
	slot->checkpoint = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	slot->epoch = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	slot->member = text_column(row, desc, 6);
	slot->leased_until = DatumGetTimestampTz(SPI_getbinval(row, desc, 7, &isnull));
	slot->claimed = !isnull;
	slot->retried = text_column(row, desc, 8);
	slot->delivered = DatumGetInt64(SPI_getbinval(row, desc, 9, &isnull));
	slot->read_to = DatumGetInt64(SPI_getbinval(row, desc, 10, &isnull));
	slot->alone = DatumGetBool(SPI_getbinval(row, desc, 11, &isnull));
	slot->attempt = DatumGetInt32(SPI_getbinval(row, desc, 12, &isnull));
	slot->lost = DatumGetInt32(SPI_getbinval(row, desc, 13, &isnull));
	slot->alone_upto = DatumGetInt64(SPI_getbinval(row, desc, 14, &isnull));
	slot->blocked = DatumGetInt32(SPI_getbinval(row, desc, 15, &isnull));
	slot->retry_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 16, &isnull));
	slot->retried_last = DatumGetBool(SPI_getbinval(row, desc, 17, &isnull));
	slot->not_before = DatumGetTimestampTz(SPI_getbinval(row, desc, 18, &isnull));
	slot->served_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 19, &isnull));
}

static text *
text_column(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : DatumGetTextPCopy(value);
}

/* The same for statements that go by ctid: a table that was small when they were planned is not read as a whole for ever. */
static void
execute_by_place(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only)
{
	int			level = NewGUCNestLevel();

	pointstore_set_option("enable_seqscan", "off");
	pointstore_execute(plan, values, nulls, read_only);
	AtEOXact_GUC(false, level);
}

/* Locks a slot that was read, and reads what it is by then; false: it is gone. */
bool
pointstore_lock_slot(Slot *slot, text *subscription)
{
	int16		number = slot->number;

	while (!lock_version(slot, subscription))
	{
		bool		found;

		CHECK_FOR_INTERRUPTS();
		if (IsolationUsesXactSnapshot())
			raise_changed(number, subscription);
		/* it has moved on while it was waited for */
		(void) pointstore_push_snapshot();
		found = pointstore_find_slot(slot, subscription, number);
		PopActiveSnapshot();
		if (!found)
			return false;
	}
	return true;
}

static bool
lock_version(Slot *slot, text *subscription)
{
	static PointstorePlan plan = {
		.generic = true,
		.sql = "SELECT " SLOT_COLUMNS " FROM pointstore.subscription_slot s WHERE s.ctid" EQ "$1 AND" IS_SLOT " FOR NO KEY UPDATE",
		.nargs = 3, .argtypes = {TIDOID, TEXTOID, INT2OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[3] = {PointerGetDatum(&slot->place), PointerGetDatum(subscription), Int16GetDatum(slot->number)};
	bool		found;

	SPI_connect();
	execute_by_place(&plan, values, NULL, false);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		fill_slot(slot, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		remember(slot, subscription);
	}
	SPI_finish();
	return found;
}

/*
 * Locks the version of a slot that the active snapshot sees; false: another has it, or it is not the newest any more. That one is
 * not locked, as a statement would do: it is somebody's claim, perhaps, who would wait for this transaction.
 */
bool
pointstore_lock_slot_as_read(const Slot *slot, text *subscription)
{
	Relation	heap = open_slots(RowShareLock);
	TupleTableSlot *row = table_slot_create(heap, NULL);
	ItemPointerData place = slot->place;
	TM_FailureData failure;
	TM_Result	result;

	/* this transaction may have written it */
	CommandCounterIncrement();
	result = table_tuple_lock(heap, &place, GetActiveSnapshot(), row, GetCurrentCommandId(false), LockTupleNoKeyExclusive,
							  LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(row);
	table_close(heap, NoLock);
	if (IsolationUsesXactSnapshot() && (result == TM_Updated || result == TM_Deleted))
		raise_changed(slot->number, subscription);
	return result == TM_Ok;
}

static void
raise_changed(int16 number, text *subscription)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("slot %d of subscription \"%s\" has changed concurrently", pointstore_number_of_slot(number), text_to_cstring(subscription))));
}

/* Writes a slot that is locked. */
void
pointstore_write_slot(Slot *slot, text *subscription)
{
	static PointstorePlan plan = {
		.generic = true,
		.sql = "UPDATE pointstore.subscription_slot AS s SET checkpoint = $4, epoch = $5, member = $6, leased_until = $7, retried = $8,"
		" delivered = $9, read_to = $10, alone = $11, attempt = $12, lost = $13, alone_upto = $14, blocked = $15, retry_at = $16,"
		" retried_last = $17, not_before = $18, served_at = $19 WHERE s.ctid" EQ "$1 AND" IS_SLOT " RETURNING s.ctid, s.xmin",
		.nargs = 19, .argtypes = {TIDOID, TEXTOID, INT2OID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID,
		INT8OID, INT8OID, BOOLOID, INT4OID, INT4OID, INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[19] = {PointerGetDatum(&slot->place), PointerGetDatum(subscription), Int16GetDatum(slot->number),
		Int64GetDatum(slot->checkpoint), Int64GetDatum(slot->epoch), PointerGetDatum(slot->member), TimestampTzGetDatum(slot->leased_until),
		PointerGetDatum(slot->retried), Int64GetDatum(slot->delivered), Int64GetDatum(slot->read_to), BoolGetDatum(slot->alone),
		Int32GetDatum(slot->attempt), Int32GetDatum(slot->lost), Int64GetDatum(slot->alone_upto), Int32GetDatum(slot->blocked),
		TimestampTzGetDatum(slot->retry_at), BoolGetDatum(slot->retried_last), TimestampTzGetDatum(slot->not_before),
		TimestampTzGetDatum(slot->served_at)};
	char		nulls[] = "                   ";
	bool		isnull;

	nulls[5] = slot->member == NULL ? 'n' : ' ';
	nulls[6] = slot->claimed ? ' ' : 'n';
	nulls[7] = slot->retried == NULL ? 'n' : ' ';
	nulls[15] = slot->retry_at == DT_NOEND ? 'n' : ' ';
	nulls[17] = slot->not_before == DT_NOBEGIN ? 'n' : ' ';
	pointstore_note_written_here();
	SPI_connect();
	execute_by_place(&plan, values, nulls, false);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row of slot %d of subscription \"%s\" was not updated", pointstore_number_of_slot(slot->number), text_to_cstring(subscription)),
				 errhint("A trigger on subscription_slot has kept it from that, perhaps.")));
	slot->place = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	slot->writer = DatumGetTransactionId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	remember(slot, subscription);
}

/* An epoch that was never given before, whatever was lost since: by the clock, in microseconds since 1970. */
void
pointstore_new_epoch(Slot *slot)
{
	int64		now = GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	slot->epoch = Max(slot->epoch + 1, now);
}

/* The slot is nobody's again. */
void
pointstore_end_claim(Slot *slot)
{
	slot->member = NULL;
	slot->claimed = false;
	slot->retried = NULL;
	slot->delivered = slot->read_to = 0;
	slot->alone = false;
	slot->served_at = GetCurrentTimestamp();
}

/* The slot of an account. */
int16
pointstore_slot_of(text *aggregate_id, int16 slots)
{
	pg_crc32c	crc;

	if (slots <= 1)
		return 0;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, VARDATA_ANY(aggregate_id), VARSIZE_ANY_EXHDR(aggregate_id));
	FIN_CRC32C(crc);
	return (int16) (crc % (uint32) slots);
}
