/*-------------------------------------------------------------------------
 *
 * src/nodes/load.c
 *		Movements are read into the coordinator's memory.
 *
 * They are read once, when the coordinator begins, and from then on only new ones are. Numbers are drawn before movements
 * are committed, so one may come below another that is known. So numbers that were passed over are remembered with the next
 * transaction id at that time, and looked for until all transactions before that have ended. What was there before
 * the first look is read again as a whole until all transactions of that time have ended, and now and then besides. So
 * no zone of rows is read again and again.
 *
 * Of a distributed store those of the ranges that are here are read, each time as a whole: a range may come from another node with movements of
 * whatever numbers. Those of a range that has left are forgotten.
 *
 * A movement whose row says another phase or deadline than is known here, since its caller has cancelled it or an operator
 * has decided, is read again where it is: messages under way come back to it.
 *
 * All of it is done in a step, as the owner, inside an SPI connection. What users have made of the rows may be anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/placed.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "nodes/load.h"

#define LOADED_AT_ONCE 1000		/* movements, of one statement */

/* What is prepared locks accounts: 2pc gives up sooner than its deadline says, where that is long. */
#define DEADLINE(m, limit) \
"CAST(CASE WHEN " m ".protocol" EQ "'2pc' THEN LEAST(" m ".deadline, " m ".started_at" PLUS "pg_catalog.make_interval(secs => " limit ")) ELSE " m ".deadline END AS pg_catalog.timestamptz)"

/* columns of what is read of a step, with its movement */
enum
{
	COLUMN_NUMBER = 1, COLUMN_MOVEMENT_ID, COLUMN_INCARNATION, COLUMN_PROTOCOL, COLUMN_PHASE, COLUMN_DEADLINE, COLUMN_BALANCED,
	COLUMN_STEP, COLUMN_SERVER, COLUMN_AMOUNT, COLUMN_STATUS, COLUMN_UNIT, COLUMN_ERROR, COLUMN_CONTENTS, COLUMN_ACCOUNT
};

static void load_here(LiveSet *set, int64 incarnation, bool all);
static void read_numbers(LiveSet *set, bool all);
static int	note_numbers(LiveSet *set, bool all, int64 *numbers);
static void note_sweep(LiveSet *set, TransactionId oldest);
static void fill_gap(LiveSet *set, int64 number);
static void pass_over(LiveSet *set, int64 number, TransactionId next);
static void take_gap(LiveSet *set, int64 number, TransactionId xid);
static void give_up_gaps(LiveSet *set, TransactionId oldest);
static void reload_here(LiveSet *set, int64 incarnation);
static void unmark_all(LiveSet *set);
static int64 *numbers_here(LiveSet *set, int *n);
static void drop_unmarked(LiveSet *set);
static void read_steps(LiveSet *set, int64 incarnation, const int64 *numbers, int n);
static int	read_one(LiveSet *set, int64 incarnation, SPITupleTable *rows, int first, int nrows);
static char *value_of(SPITupleTable *rows, int row, int column);
static int	name_of(const char *value, const char *const *names, int n);
static void fill_live(LiveSet *set, Live *live, SPITupleTable *rows, int first, int64 incarnation);
static void fill_step(LiveSet *set, Live *live, SPITupleTable *rows, int row, int i);
static void keep_value(LiveSet *set, char **kept, SPITupleTable *rows, int row, int column);
static Datum number_array(const int64 *numbers, int n);

/* Reads what is new; all: whatever is not finished. In a step, inside an SPI connection. */
void
pointstore_load_lives(LiveSet *set, int64 incarnation, bool all)
{
	int64		hash = POINTSTORE_FIRST_HASH;

	if (all)
		set->has_unsound = false;
	while (pointstore_next_place(&hash))
		load_here(set, incarnation, all);
	set->is_loaded = true;
}

static void
load_here(LiveSet *set, int64 incarnation, bool all)
{
	/* before it is read what there is: what these have committed is seen */
	TransactionId oldest = GetTransactionSnapshot()->xmin;
	int64	   *numbers;
	int			n;
	int			i;

	all |= !set->is_loaded || pointstore_is_distributed();
	read_numbers(set, all);
	numbers = palloc(sizeof(int64) * (SPI_processed + 1));
	n = note_numbers(set, all, numbers);
	if (all)
		note_sweep(set, oldest);
	else
		give_up_gaps(set, oldest);
	for (i = 0; i < n; i += LOADED_AT_ONCE)
		read_steps(set, incarnation, numbers + i, Min(LOADED_AT_ONCE, n - i));
}

/* The numbers that are new, in SPI_tuptable: of all, or after the cursor and in the gaps. With a look ahead to who may still come. */
static void
read_numbers(LiveSet *set, bool all)
{
	static PointstorePlan all_plan = {
		.sql = "SELECT CAST(m.number AS pg_catalog.int8), true FROM pointstore.movement m WHERE m.finished_at IS NULL"
		" UNION ALL (SELECT CAST(x.number AS pg_catalog.int8), false FROM pointstore.movement x ORDER BY x.number DESC LIMIT 1) ORDER BY 1"
	};
	static PointstorePlan new_plan = {
		.sql = "SELECT CAST(m.number AS pg_catalog.int8), m.finished_at IS NULL FROM pointstore.movement m WHERE m.number" GT "$1"
		" UNION ALL SELECT CAST(g.number AS pg_catalog.int8), g.finished_at IS NULL FROM pg_catalog.unnest($2) u (number)"
		" JOIN pointstore.movement g ON g.number" EQ "u.number ORDER BY 1",
		.nargs = 2, .argtypes = {INT8OID, INT8ARRAYOID}, .generic = true
	};
	Datum		values[2] = {Int64GetDatum(set->cursor), 0};

	if (all)
	{
		pointstore_execute(&all_plan, NULL, NULL, false);
		return;
	}
	values[1] = number_array(set->gaps, set->ngaps);
	pointstore_execute(&new_plan, values, NULL, false);
}

/*
 * Those of them that are to be read whole, and how many; what was passed over becomes a gap, what has come is none any
 * more. Where all are read, what lies between them has finished, and nothing is passed over but by the first look.
 */
static int
note_numbers(LiveSet *set, bool all, int64 *numbers)
{
	/* after what was read: who has drawn a lower number has a lower transaction id, but it may be above the snapshot's xmax */
	TransactionId next = XidFromFullTransactionId(ReadNextFullTransactionId());
	SPITupleTable *rows = SPI_tuptable;
	int			found = 0;
	uint64		i;

	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		number = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));

		if (isnull)
			continue;
		fill_gap(set, number);
		if (!all)
			pass_over(set, number, next);
		if (!all || !set->is_loaded)
			set->cursor = Max(set->cursor, number);
		if (DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull)) && pointstore_live_of(set, number) == NULL)
			numbers[found++] = number;
	}
	return found;
}

/* When all transactions of the time of the first look have ended none of them can bring anything any more. */
static void
note_sweep(LiveSet *set, TransactionId oldest)
{
	if (!set->is_loaded)
	{
		set->sweeps = true;
		set->sweeps_xid = XidFromFullTransactionId(ReadNextFullTransactionId());
	}
	else if (set->sweeps && !TransactionIdPrecedes(oldest, set->sweeps_xid))
		set->sweeps = false;
}

static void
fill_gap(LiveSet *set, int64 number)
{
	int			i;

	for (i = 0; i < set->ngaps; i++)
		if (set->gaps[i] == number)
		{
			set->gaps[i] = set->gaps[set->ngaps - 1];
			set->gap_xids[i] = set->gap_xids[--set->ngaps];
			return;
		}
}

/* The numbers between the cursor and one that has come; where they are too many all are read again. */
static void
pass_over(LiveSet *set, int64 number, TransactionId next)
{
	int64		passed;

	if (number - set->cursor > LOADED_AT_ONCE || set->ngaps > 10 * LOADED_AT_ONCE)
	{
		set->sweeps = true;
		set->sweeps_xid = next;
		return;
	}
	for (passed = set->cursor + 1; passed < number; passed++)
		take_gap(set, passed, next);
}

static void
take_gap(LiveSet *set, int64 number, TransactionId xid)
{
	if (set->ngaps == set->gaps_size)
	{
		MemoryContext old = MemoryContextSwitchTo(set->context);
		int			size = Max(64, 2 * set->gaps_size);

		set->gaps = set->gaps == NULL ? palloc(sizeof(int64) * size) : repalloc(set->gaps, sizeof(int64) * size);
		set->gap_xids = set->gap_xids == NULL ? palloc(sizeof(TransactionId) * size) : repalloc(set->gap_xids, sizeof(TransactionId) * size);
		set->gaps_size = size;
		MemoryContextSwitchTo(old);
	}
	set->gaps[set->ngaps] = number;
	set->gap_xids[set->ngaps++] = xid;
}

/* Those that nobody can fill any more: all that were running have ended, and what they committed has been seen. */
static void
give_up_gaps(LiveSet *set, TransactionId oldest)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < set->ngaps; i++)
	{
		if (!TransactionIdPrecedes(oldest, set->gap_xids[i]))
			continue;
		set->gaps[kept] = set->gaps[i];
		set->gap_xids[kept++] = set->gap_xids[i];
	}
	set->ngaps = kept;
}

/*
 * Reads again those whose phase is another than is known, or of which that is said. In a step, inside an SPI connection.
 */
void
pointstore_reload_lives(LiveSet *set, int64 incarnation)
{
	int64		hash = POINTSTORE_FIRST_HASH;

	unmark_all(set);
	while (pointstore_next_place(&hash))
		reload_here(set, incarnation);
	drop_unmarked(set);
	set->has_stale = false;
}

static void
reload_here(LiveSet *set, int64 incarnation)
{
	static PointstorePlan plan = {
		.sql = "SELECT u.number, m.phase, m.finished_at IS NULL, " DEADLINE("m", "$2") " FROM pg_catalog.unnest($1) u (number)"
		" JOIN pointstore.movement m ON m.number" EQ "u.number",
		.nargs = 2, .argtypes = {INT8ARRAYOID, FLOAT8OID}, .generic = true
	};
	int64	   *numbers;
	Datum		values[2];
	SPITupleTable *rows;
	uint64		i;
	int			n;
	int			changed = 0;

	numbers = numbers_here(set, &n);
	if (n == 0)
		return;
	values[0] = number_array(numbers, n);
	values[1] = Float8GetDatum(set->prepared_limit);
	pointstore_execute(&plan, values, NULL, false);
	rows = SPI_tuptable;
	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Live	   *live = pointstore_live_of(set, DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull)));
		char	   *phase = SPI_getvalue(rows->vals[i], rows->tupdesc, 2);
		TimestampTz deadline = DatumGetTimestampTz(SPI_getbinval(rows->vals[i], rows->tupdesc, 4, &isnull));

		if (live == NULL)
			continue;
		live->is_stale |= phase == NULL || strcmp(phase, pointstore_phase_names[live->phase]) != 0 || (isnull ? DT_NOEND : deadline) != live->deadline;
		live->is_locked = DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull));
		if (live->is_locked && live->is_stale)
			numbers[changed++] = live->number;
	}
	for (i = 0; i < changed; i += LOADED_AT_ONCE)
		read_steps(set, incarnation, numbers + i, Min(LOADED_AT_ONCE, changed - (int) i));
}

static void
unmark_all(LiveSet *set)
{
	HASH_SEQ_STATUS status;
	LiveEntry  *entry;

	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->live->is_locked = false;
}

/* The numbers of all that are known whose rows are where we are. */
static int64 *
numbers_here(LiveSet *set, int *n)
{
	int64	   *numbers = palloc(sizeof(int64) * (hash_get_num_entries(set->table) + 1));
	PointstorePlace place = pointstore_here();
	HASH_SEQ_STATUS status;
	LiveEntry  *entry;

	*n = 0;
	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (!place.is_range || (entry->live->hash >= place.min && entry->live->hash <= place.max))
			numbers[(*n)++] = entry->number;
	return numbers;
}

/* Those whose rows are finished, or not there. */
static void
drop_unmarked(LiveSet *set)
{
	HASH_SEQ_STATUS status;
	LiveEntry  *entry;

	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (!entry->live->is_locked)
			pointstore_live_drop(set, entry->live);
}

/* Reads movements whole, and makes them known or brings them up to date. */
static void
read_steps(LiveSet *set, int64 incarnation, const int64 *numbers, int n)
{
	static PointstorePlan plan = {
		.sql = "SELECT u.number, m.movement_id, CAST(m.incarnation AS pg_catalog.int8), m.protocol, m.phase, " DEADLINE("m", "$2") ", CAST(m.balanced AS pg_catalog.bool),"
		" CAST(s.step AS pg_catalog.int2), s.server, CAST(s.amount AS pg_catalog.int8), s.status, s.unit, s.error,"
		" CASE WHEN s.server IS NOT NULL AND (m.phase" EQ "ANY (ARRAY['trying', 'doing']) OR m.phase" EQ "ANY (ARRAY['confirming', 'done']) AND s.status" EQ "'pending') THEN"
		"  CAST(pg_catalog.jsonb_build_object('aggregate_id', s.aggregate_id, 'amount', s.amount, 'event_type', s.event_type,"
		"   'payload', s.payload, 'metadata', m.metadata, 'undo', s.undo, 'kind', s.kind) AS pg_catalog.text) END, CAST(s.aggregate_id AS pg_catalog.text)"
		" FROM pg_catalog.unnest($1) u (number) JOIN pointstore.movement m ON m.number" EQ "u.number"
		" JOIN pointstore.movement_step s ON s.movement_id" EQ "m.movement_id"
		" WHERE m.finished_at IS NULL ORDER BY u.number, s.step",
		.nargs = 2, .argtypes = {INT8ARRAYOID, FLOAT8OID}, .generic = true
	};
	Datum		values[2] = {number_array(numbers, n), Float8GetDatum(set->prepared_limit)};
	uint64		i;
	int			found = 0;

	pointstore_execute(&plan, values, NULL, false);
	for (i = 0; i < SPI_processed; found++)
		i += read_one(set, incarnation, SPI_tuptable, (int) i, (int) SPI_processed);
	set->has_unsound |= found < n;
	SPI_freetuptable(SPI_tuptable);
}

/* One, from its first row on: how many it has. What somebody has made of its row may be nothing that can be driven. */
static int
read_one(LiveSet *set, int64 incarnation, SPITupleTable *rows, int first, int nrows)
{
	bool		isnull;
	int64		number = DatumGetInt64(SPI_getbinval(rows->vals[first], rows->tupdesc, COLUMN_NUMBER, &isnull));
	bool		is_sound = true;
	Live	   *live = pointstore_live_of(set, number);
	int			n;

	for (n = 0; first + n < nrows && DatumGetInt64(SPI_getbinval(rows->vals[first + n], rows->tupdesc, COLUMN_NUMBER, &isnull)) == number; n++)
	{
		is_sound &= name_of(value_of(rows, first + n, COLUMN_STATUS), pointstore_step_names, N_STEP_STATUSES) >= 0 &&
			value_of(rows, first + n, COLUMN_STEP) != NULL && value_of(rows, first + n, COLUMN_AMOUNT) != NULL &&
			value_of(rows, first + n, COLUMN_ACCOUNT) != NULL;
	}
	is_sound &= value_of(rows, first, COLUMN_MOVEMENT_ID) != NULL && value_of(rows, first, COLUMN_INCARNATION) != NULL &&
		name_of(value_of(rows, first, COLUMN_PROTOCOL), pointstore_protocol_names, N_PROTOCOLS) >= 0 &&
		name_of(value_of(rows, first, COLUMN_PHASE), pointstore_phase_names, N_PHASES) >= 0 && (live == NULL || live->nsteps == n);
	if (!is_sound)
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("movement number %lld cannot be driven: its rows are not what they were", (long long) number)));
		if (live != NULL)
			pointstore_live_drop(set, live);
		set->has_unsound = true;
		return n;
	}
	fill_live(set, live != NULL ? live : pointstore_live_make(set, number, n), rows, first, incarnation);
	return n;
}

static char *
value_of(SPITupleTable *rows, int row, int column)
{
	return SPI_getvalue(rows->vals[row], rows->tupdesc, column);
}

/* Its place among them; -1: it is none of them. */
static int
name_of(const char *value, const char *const *names, int n)
{
	int			i;

	for (i = 0; value != NULL && i < n; i++)
		if (strcmp(value, names[i]) == 0)
			return i;
	return -1;
}

/* What its rows say. It is looked at next. */
static void
fill_live(LiveSet *set, Live *live, SPITupleTable *rows, int first, int64 incarnation)
{
	bool		isnull;
	Datum		deadline = SPI_getbinval(rows->vals[first], rows->tupdesc, COLUMN_DEADLINE, &isnull);
	int			i;

	live->deadline = isnull ? DT_NOEND : DatumGetTimestampTz(deadline);
	keep_value(set, &live->movement_id, rows, first, COLUMN_MOVEMENT_ID);
	live->hash = pointstore_hash_of(cstring_to_text(live->movement_id));
	live->error = NULL;
	live->paused_until = 0;
	live->failures = 0;
	live->incarnation = DatumGetInt64(SPI_getbinval(rows->vals[first], rows->tupdesc, COLUMN_INCARNATION, &isnull));
	live->protocol = name_of(value_of(rows, first, COLUMN_PROTOCOL), pointstore_protocol_names, N_PROTOCOLS);
	live->phase = name_of(value_of(rows, first, COLUMN_PHASE), pointstore_phase_names, N_PHASES);
	live->balanced = DatumGetBool(SPI_getbinval(rows->vals[first], rows->tupdesc, COLUMN_BALANCED, &isnull)) || isnull;
	live->asks_all = live->incarnation != incarnation;
	live->unbalanced = live->is_overdue = live->is_stale = false;
	for (i = 0; i < live->nsteps; i++)
		fill_step(set, live, rows, first + i, i);
	pointstore_live_dirty(set, live);
}

static void
fill_step(LiveSet *set, Live *live, SPITupleTable *rows, int row, int i)
{
	LiveStep   *step = &live->steps[i];
	char	   *server = value_of(rows, row, COLUMN_SERVER);
	bool		isnull;

	step->step = DatumGetInt16(SPI_getbinval(rows->vals[row], rows->tupdesc, COLUMN_STEP, &isnull));
	step->amount = DatumGetInt64(SPI_getbinval(rows->vals[row], rows->tupdesc, COLUMN_AMOUNT, &isnull));
	live->local[i] = server == NULL;
	if (step->place != PLACE_SENT)
	{
		pointstore_step_unplace(set, step);
		step->queue = server == NULL ? NULL : set->queue_of(server);
		step->attempts = 0;
		step->asked_before |= !set->is_loaded;
	}
	step->told = name_of(value_of(rows, row, COLUMN_STATUS), pointstore_step_names, N_STEP_STATUSES);
	/* what one node has done another may have lost */
	live->status[i] = pointstore_step_after_restart(live->phase, step->told, live->local[i] && !pointstore_is_distributed());
	keep_value(set, &step->account, rows, row, COLUMN_ACCOUNT);
	keep_value(set, &step->told_error, rows, row, COLUMN_ERROR);
	keep_value(set, &step->unit, rows, row, COLUMN_UNIT);
	keep_value(set, &step->contents, rows, row, COLUMN_CONTENTS);
}

/* A value in the memory of the set; what SPI makes of it goes with the step. */
static void
keep_value(LiveSet *set, char **kept, SPITupleTable *rows, int row, int column)
{
	char	   *value = value_of(rows, row, column);
	MemoryContext old = MemoryContextSwitchTo(set->context);

	pointstore_live_replace(kept, value);
	MemoryContextSwitchTo(old);
}

static Datum
number_array(const int64 *numbers, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * (n + 1));
	int			i;

	for (i = 0; i < n; i++)
		elements[i] = Int64GetDatum(numbers[i]);
	return PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
