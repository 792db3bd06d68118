/*-------------------------------------------------------------------------
 *
 * src/nodes/live.c
 *		Movements that are not finished, as the coordinator has them in memory.
 *
 * All that is needed to drive a movement is here: its phase and its steps' statuses, which are those of its rows as they were
 * committed, but for acknowledgements of tries, which nobody writes down before something else is written; where each step
 * is on its way; answers that are not applied yet.
 *
 * They are read once, when the coordinator begins, and from then on only new ones are. Numbers are drawn before movements
 * are committed, so one may come below another that is known. So numbers that were passed over are remembered with the next
 * transaction id at that time, and looked for until all transactions before that have ended. What was there before
 * the first look is read again as a whole when all transactions of that time have ended, and now and then besides. So
 * no zone of rows is read again and again.
 *
 * A movement whose row says another phase than is known here, since its caller has cancelled it or an operator
 * has decided, is read again where it is: messages under way come back to it.
 *
 * Everything here is of the session alone. The memory is one context; it ends with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "nodes/live.h"

#define FIRST_NOTE 4			/* times that a step was not answered, then its row tells */
#define LOADED_AT_ONCE 1000		/* movements, of one statement */

/* An entry of the table. */
typedef struct Entry
{
	int64		number;
	Live	   *live;
} Entry;

/* columns of what is read of a step, with its movement */
enum
{
	COLUMN_NUMBER = 1, COLUMN_MOVEMENT_ID, COLUMN_INCARNATION, COLUMN_PROTOCOL, COLUMN_PHASE, COLUMN_DEADLINE, COLUMN_BALANCED,
	COLUMN_STEP, COLUMN_SERVER, COLUMN_AMOUNT, COLUMN_STATUS, COLUMN_UNIT, COLUMN_ERROR, COLUMN_CONTENTS
};

static int	compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static int	compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static void read_numbers(LiveSet *set, bool all);
static int	note_numbers(LiveSet *set, bool all, int64 *numbers);
static void note_sweep(LiveSet *set, TransactionId oldest);
static void fill_gap(LiveSet *set, int64 number);
static void pass_over(LiveSet *set, int64 number, TransactionId next);
static void take_gap(LiveSet *set, int64 number, TransactionId xid);
static void give_up_gaps(LiveSet *set, TransactionId oldest);
static int64 *known_numbers(LiveSet *set, int *n);
static void drop_unmarked(LiveSet *set);
static void read_steps(LiveSet *set, int64 incarnation, const int64 *numbers, int n);
static int	read_one(LiveSet *set, int64 incarnation, SPITupleTable *rows, int first, int nrows);
static char *value_of(SPITupleTable *rows, int row, int column);
static int	name_of(const char *value, const char *const *names, int n);
static Live *make_live(LiveSet *set, int64 number, int nsteps);
static void fill_live(LiveSet *set, Live *live, SPITupleTable *rows, int first, int64 incarnation);
static void fill_step(LiveSet *set, Live *live, SPITupleTable *rows, int row, int i);
static void replace(char **kept, const char *value);
static void free_live(LiveSet *set, Live *live);
static void unplace(LiveSet *set, LiveStep *step);
static void set_due(LiveSet *set, Live *live);
static Datum number_array(const int64 *numbers, int n);

void
pointstore_lives_begin(LiveSet *set, StepQueue *(*queue_of) (const char *server))
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(Entry)};

	memset(set, 0, sizeof(LiveSet));
	set->queue_of = queue_of;
	set->context = control.hcxt = AllocSetContextCreate(TopMemoryContext, "pointstore movements", ALLOCSET_DEFAULT_SIZES);
	set->table = hash_create("pointstore movements", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_init(&set->dirty);
	MemoryContextSwitchTo(set->context);
	set->due = pairingheap_allocate(compare_due, NULL);
	set->delayed = pairingheap_allocate(compare_delayed, NULL);
}

/* Forgets them all; nothing may be under way. */
void
pointstore_lives_end(LiveSet *set)
{
	MemoryContextDelete(set->context);
	memset(set, 0, sizeof(LiveSet));
}

static int
compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz left = pairingheap_const_container(Live, due, a)->wakes_at;
	TimestampTz right = pairingheap_const_container(Live, due, b)->wakes_at;

	return left < right ? 1 : left > right ? -1 : 0;
}

static int
compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz left = pairingheap_const_container(LiveStep, delayed, a)->next_try;
	TimestampTz right = pairingheap_const_container(LiveStep, delayed, b)->next_try;

	return left < right ? 1 : left > right ? -1 : 0;
}

Live *
pointstore_live_of(LiveSet *set, int64 number)
{
	Entry	   *entry = hash_search(set->table, &number, HASH_FIND, NULL);

	return entry == NULL ? NULL : entry->live;
}

/* Reads what is new; all: whatever is not finished. In a step, inside an SPI connection. */
void
pointstore_load_lives(LiveSet *set, int64 incarnation, bool all)
{
	/* before it is read what there is: what these have committed is seen */
	TransactionId oldest = GetTransactionSnapshot()->xmin;
	int64	   *numbers;
	int			n;
	int			i;

	all |= !set->is_loaded;
	read_numbers(set, all);
	numbers = palloc(sizeof(int64) * (SPI_processed + 1));
	n = note_numbers(set, all, numbers);
	if (all)
		note_sweep(set, oldest);
	else
		give_up_gaps(set, oldest);
	for (i = 0; i < n; i += LOADED_AT_ONCE)
		read_steps(set, incarnation, numbers + i, Min(LOADED_AT_ONCE, n - i));
	set->is_loaded = true;
}

/* The numbers that are new, in SPI_tuptable: of all, or after the cursor and in the gaps. With a look ahead to who may still come. */
static void
read_numbers(LiveSet *set, bool all)
{
	static PointstorePlan all_plan = {
		.sql = "SELECT m.number, true FROM pointstore.movement m WHERE m.finished_at IS NULL"
		" UNION ALL (SELECT x.number, false FROM pointstore.movement x ORDER BY x.number DESC LIMIT 1) ORDER BY 1"
	};
	static PointstorePlan new_plan = {
		.sql = "SELECT m.number, m.finished_at IS NULL FROM pointstore.movement m WHERE m.number" GT "$1"
		" UNION ALL SELECT g.number, g.finished_at IS NULL FROM pg_catalog.unnest($2) u (number)"
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
	TransactionId next = GetTransactionSnapshot()->xmax;
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
		set->sweeps_xid = GetTransactionSnapshot()->xmax;
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
	static PointstorePlan plan = {
		.sql = "SELECT m.number, m.phase, m.finished_at IS NULL, m.deadline FROM pg_catalog.unnest($1) u (number)"
		" JOIN pointstore.movement m ON m.number" EQ "u.number",
		.nargs = 1, .argtypes = {INT8ARRAYOID}, .generic = true
	};
	int64	   *numbers;
	Datum		value;
	SPITupleTable *rows;
	uint64		i;
	int			n;
	int			changed = 0;

	numbers = known_numbers(set, &n);
	value = number_array(numbers, n);
	pointstore_execute(&plan, &value, NULL, false);
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
	drop_unmarked(set);
	set->has_stale = false;
}

/* The numbers of all that are known, whose marks are taken away. */
static int64 *
known_numbers(LiveSet *set, int *n)
{
	int64	   *numbers = palloc(sizeof(int64) * (hash_get_num_entries(set->table) + 1));
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	*n = 0;
	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		numbers[(*n)++] = entry->number;
		entry->live->is_locked = false;
	}
	return numbers;
}

/* Those whose rows are finished, or not there. */
static void
drop_unmarked(LiveSet *set)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (!entry->live->is_locked)
			pointstore_live_drop(set, entry->live);
}

/* What another store has acknowledged of undecided movements is not known any more: they are read again. */
void
pointstore_lives_forget(LiveSet *set, const StepQueue *queue)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;
	int			i;

	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
		for (i = 0; i < entry->live->nsteps; i++)
			entry->live->is_stale |= entry->live->steps[i].queue == queue;
	set->has_stale = true;
}

/* Reads movements whole, and makes them known or brings them up to date. */
static void
read_steps(LiveSet *set, int64 incarnation, const int64 *numbers, int n)
{
	static PointstorePlan plan = {
		.sql = "SELECT m.number, m.movement_id, m.incarnation, m.protocol, m.phase, m.deadline, m.balanced,"
		" s.step, s.server, s.amount, s.status, s.unit, s.error,"
		" CASE WHEN s.server IS NOT NULL AND (m.phase" EQ "ANY (ARRAY['trying', 'doing']) OR m.phase" EQ "'confirming' AND s.status" EQ "'pending') THEN"
		"  CAST(pg_catalog.jsonb_build_object('aggregate_id', s.aggregate_id, 'amount', s.amount, 'event_type', s.event_type,"
		"   'payload', s.payload, 'metadata', m.metadata, 'undo', s.undo, 'kind', s.kind) AS pg_catalog.text) END"
		" FROM pg_catalog.unnest($1) u (number) JOIN pointstore.movement m ON m.number" EQ "u.number"
		" JOIN pointstore.movement_step s ON s.movement_id" EQ "m.movement_id"
		" WHERE m.finished_at IS NULL ORDER BY m.number, s.step",
		.nargs = 1, .argtypes = {INT8ARRAYOID}, .generic = true
	};
	Datum		value = number_array(numbers, n);
	uint64		i = 0;

	pointstore_execute(&plan, &value, NULL, false);
	while (i < SPI_processed)
		i += read_one(set, incarnation, SPI_tuptable, (int) i, (int) SPI_processed);
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
			value_of(rows, first + n, COLUMN_STEP) != NULL && value_of(rows, first + n, COLUMN_AMOUNT) != NULL;
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
		return n;
	}
	fill_live(set, live != NULL ? live : make_live(set, number, n), rows, first, incarnation);
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

static Live *
make_live(LiveSet *set, int64 number, int nsteps)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	Live	   *live = palloc0(sizeof(Live));
	Entry	   *entry;
	bool		found;
	int			i;

	live->number = number;
	live->nsteps = nsteps;
	live->status = palloc0(sizeof(StepStatus) * 2 * nsteps);
	live->next_status = live->status + nsteps;
	live->local = palloc0(sizeof(bool) * nsteps);
	live->steps = palloc0(sizeof(LiveStep) * nsteps);
	for (i = 0; i < nsteps; i++)
		live->steps[i].live = live;
	entry = hash_search(set->table, &number, HASH_ENTER, &found);
	entry->live = live;
	MemoryContextSwitchTo(old);
	return live;
}

/* What its rows say. It is looked at next. */
static void
fill_live(LiveSet *set, Live *live, SPITupleTable *rows, int first, int64 incarnation)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	bool		isnull;
	Datum		deadline = SPI_getbinval(rows->vals[first], rows->tupdesc, COLUMN_DEADLINE, &isnull);
	int			i;

	live->deadline = isnull ? DT_NOEND : DatumGetTimestampTz(deadline);
	replace(&live->movement_id, value_of(rows, first, COLUMN_MOVEMENT_ID));
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
	MemoryContextSwitchTo(old);
	set_due(set, live);
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
		unplace(set, step);
		step->queue = server == NULL ? NULL : set->queue_of(server);
		step->attempts = 0;
		step->asked_before |= !set->is_loaded;
	}
	step->told = name_of(value_of(rows, row, COLUMN_STATUS), pointstore_step_names, N_STEP_STATUSES);
	live->status[i] = pointstore_step_after_restart(live->phase, step->told, live->local[i]);
	replace(&step->told_error, value_of(rows, row, COLUMN_ERROR));
	replace(&step->unit, value_of(rows, row, COLUMN_UNIT));
	replace(&step->contents, value_of(rows, row, COLUMN_CONTENTS));
}

/* In the memory of the set, which is current. */
static void
replace(char **kept, const char *value)
{
	if (*kept != NULL)
		pfree(*kept);
	*kept = value == NULL ? NULL : pstrdup(value);
}

/* It is among those that are looked at next. */
void
pointstore_live_dirty(LiveSet *set, Live *live)
{
	if (live->is_dirty || live->is_gone || live->paused_until != 0)
		return;
	live->is_dirty = true;
	dlist_push_tail(&set->dirty, &live->dirty);
	set->ndirty++;
}

void
pointstore_live_clean(LiveSet *set, Live *live)
{
	if (!live->is_dirty)
		return;
	live->is_dirty = false;
	dlist_delete(&live->dirty);
	set->ndirty--;
}

/* As the protocol looks at it, with these statuses in that phase. */
void
pointstore_live_view(const Live *live, const StepStatus *status, MovementPhase phase, MovementView *view)
{
	view->protocol = live->protocol;
	view->phase = phase;
	view->gives_up = live->unbalanced || live->is_overdue;
	view->nsteps = live->nsteps;
	view->status = status;
	view->local = live->local;
	view->asks_all = live->asks_all;
}

bool
pointstore_live_is_undecided(MovementPhase phase)
{
	return phase == PHASE_TRYING || phase == PHASE_DOING;
}

/* It is not driven any more. */
void
pointstore_live_drop(LiveSet *set, Live *live)
{
	int			i;

	if (!live->is_gone)
		(void) hash_search(set->table, &live->number, HASH_REMOVE, NULL);
	pointstore_live_clean(set, live);
	live->is_gone = true;
	if (live->has_due)
		pairingheap_remove(set->due, &live->due);
	live->has_due = false;
	for (i = 0; i < live->nsteps; i++)
		if (live->steps[i].place != PLACE_SENT)
			unplace(set, &live->steps[i]);
	if (live->sent == 0)
		free_live(set, live);
}

static void
free_live(LiveSet *set, Live *live)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	int			i;

	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];

		replace(&step->contents, NULL);
		replace(&step->note, NULL);
		replace(&step->told_error, NULL);
		replace(&step->unit, NULL);
		replace(&step->answer.unit, NULL);
		replace(&step->answer.error, NULL);
	}
	pfree(live->movement_id);
	pfree(live->status);
	pfree(live->local);
	pfree(live->steps);
	pfree(live);
	MemoryContextSwitchTo(old);
}

/* It waits neither in a queue nor for a time. */
static void
unplace(LiveSet *set, LiveStep *step)
{
	if (step->place == PLACE_READY && step->queue != NULL)
	{
		dlist_delete(&step->node);
		step->queue->n--;
	}
	else if (step->place == PLACE_DELAYED)
		pairingheap_remove(set->delayed, &step->delayed);
	step->place = PLACE_IDLE;
}

/* It is looked at when its pause is over; its deadline counts while nothing is decided. */
static void
set_due(LiveSet *set, Live *live)
{
	if (live->has_due)
		pairingheap_remove(set->due, &live->due);
	live->wakes_at = live->paused_until != 0 ? live->paused_until : pointstore_live_is_undecided(live->phase) && !live->is_overdue ? live->deadline : DT_NOEND;
	live->has_due = !TIMESTAMP_IS_NOEND(live->wakes_at);
	if (live->has_due)
		pairingheap_add(set->due, &live->due);
}

/* Nothing is done for it before that time. */
void
pointstore_live_pause(LiveSet *set, Live *live, TimestampTz until)
{
	int			i;

	live->paused_until = until;
	pointstore_live_clean(set, live);
	for (i = 0; i < live->nsteps; i++)
		if (live->steps[i].place != PLACE_SENT)
			unplace(set, &live->steps[i]);
	set_due(set, live);
}

/* What a transaction that was committed has made of it. */
void
pointstore_live_follow(LiveSet *set, Live *live)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	int			i;

	live->phase = live->next_phase;
	live->failures = 0;
	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];
		LiveAnswer *outcome = step->outcome;

		live->status[i] = live->next_status[i];
		if (outcome != NULL)
		{
			step->attempts = 0;
			step->told = live->status[i];
			replace(&step->told_error, outcome->error);
			if (outcome->unit != NULL && outcome->unit != step->unit)
				replace(&step->unit, outcome->unit);
		}
		else if (step->note != NULL)
			replace(&step->told_error, step->note);
		replace(&step->note, NULL);
		step->outcome = NULL;
		step->answer.is_there = false;
	}
	MemoryContextSwitchTo(old);
	if (live->is_finished)
		pointstore_live_drop(set, live);
	else
		pointstore_live_schedule(set, live);
}

/*
 * After its phase or statuses have changed: what is to be asked of other stores goes into their queues, what need not be
 * asked any more out of them. Its own steps are asked while the movement is looked at.
 */
void
pointstore_live_schedule(LiveSet *set, Live *live)
{
	MemoryContext old;
	MovementView view;
	int			i;

	if (live->paused_until != 0)
		return;
	old = MemoryContextSwitchTo(set->context);
	pointstore_live_view(live, live->status, live->phase, &view);
	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];
		MovementVerb verb = pointstore_next_message(&view, i);

		if (!pointstore_live_is_undecided(live->phase) && live->status[i] != STEP_PENDING)
			replace(&step->contents, NULL);
		if (step->place == PLACE_SENT || live->local[i])
			continue;
		if (verb == VERB_NONE || (step->place != PLACE_IDLE && verb != step->verb))
			unplace(set, step);
		if (verb == VERB_NONE || step->place != PLACE_IDLE)
			continue;
		if (verb != step->verb)
			step->attempts = 0;
		step->verb = verb;
		step->place = PLACE_READY;
		dlist_push_tail(&step->queue->ready, &step->node);
		step->queue->n++;
	}
	MemoryContextSwitchTo(old);
	set_due(set, live);
}

/* It is asked again at that time, not before. */
void
pointstore_step_delay(LiveSet *set, LiveStep *step, TimestampTz until)
{
	unplace(set, step);
	step->next_try = until;
	step->place = PLACE_DELAYED;
	pairingheap_add(set->delayed, &step->delayed);
}

/* An answer has come to what was sent. It is applied when the movement is looked at. */
void
pointstore_step_answered(LiveSet *set, LiveStep *step, const LiveAnswer *answer)
{
	Live	   *live = step->live;
	MemoryContext old = MemoryContextSwitchTo(set->context);

	Assert(step->place == PLACE_SENT);
	step->place = PLACE_IDLE;
	live->sent--;
	if (live->is_gone && live->sent == 0)
		free_live(set, live);
	else if (!live->is_gone)
	{
		replace(&step->answer.unit, answer->unit);
		replace(&step->answer.error, answer->error);
		step->answer.answer = answer->answer;
		step->answer.event_id = answer->event_id;
		strlcpy(step->answer.sqlstate, answer->sqlstate, sizeof(step->answer.sqlstate));
		step->answer.is_there = true;
		pointstore_live_dirty(set, live);
	}
	MemoryContextSwitchTo(old);
}

/* None has come, or one that says nothing: it is asked again. until 0: as soon as its store is. */
void
pointstore_step_unanswered(LiveSet *set, LiveStep *step, TimestampTz until, const char *error)
{
	Live	   *live = step->live;

	Assert(step->place == PLACE_SENT);
	step->place = PLACE_IDLE;
	live->sent--;
	step->attempts++;
	if (live->is_gone)
	{
		if (live->sent == 0)
			free_live(set, live);
		return;
	}
	/* now and then its row tells */
	if (error != NULL && step->attempts >= FIRST_NOTE && (step->attempts & (step->attempts - 1)) == 0)
	{
		MemoryContext old = MemoryContextSwitchTo(set->context);

		replace(&step->note, error);
		MemoryContextSwitchTo(old);
		pointstore_live_dirty(set, live);
	}
	if (until != 0)
		pointstore_step_delay(set, step, until);
	if (live->paused_until != 0)
		unplace(set, step);
	pointstore_live_schedule(set, live);
}

/* What has become due until now goes where it belongs. Whether something is still to become so, and then when. */
bool
pointstore_live_timers(LiveSet *set, TimestampTz now, TimestampTz *next)
{
	*next = DT_NOEND;
	while (!pairingheap_is_empty(set->due))
	{
		Live	   *live = pairingheap_container(Live, due, pairingheap_first(set->due));

		if (live->wakes_at > now)
		{
			*next = live->wakes_at;
			break;
		}
		(void) pairingheap_remove_first(set->due);
		live->has_due = false;
		live->paused_until = 0;
		live->is_overdue = live->deadline <= now;
		pointstore_live_dirty(set, live);
	}
	while (!pairingheap_is_empty(set->delayed))
	{
		LiveStep   *step = pairingheap_container(LiveStep, delayed, pairingheap_first(set->delayed));

		if (step->next_try > now)
		{
			*next = Min(*next, step->next_try);
			break;
		}
		unplace(set, step);
		if (step->queue == NULL)
			pointstore_live_dirty(set, step->live);
		else
			pointstore_live_schedule(set, step->live);
	}
	return *next != DT_NOEND;
}

/* How many there are. */
long
pointstore_lives_count(LiveSet *set)
{
	return hash_get_num_entries(set->table);
}

/*
 * Below what all movements of this store have finished: the lowest that has not, or may still come. False: it is not known
 * yet, for there may be some from before the first look.
 */
bool
pointstore_lives_lowest(LiveSet *set, int64 incarnation, int64 *of_incarnation, int64 *number)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;
	int			i;

	if (!set->is_loaded || set->sweeps)
		return false;
	*of_incarnation = incarnation;
	*number = set->cursor + 1;
	for (i = 0; i < set->ngaps; i++)
		*number = Min(*number, set->gaps[i]);
	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		Live	   *live = entry->live;

		if (live->incarnation > *of_incarnation || (live->incarnation == *of_incarnation && live->number >= *number))
			continue;
		*of_incarnation = live->incarnation;
		*number = live->number;
	}
	return true;
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
