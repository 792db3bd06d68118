/*-------------------------------------------------------------------------
 *
 * src/nodes/advance.c
 *		Movements are brought on: answers are applied, what follows from them is decided, this store's own steps are done, and
 *		all of it is written in one transaction, for many movements at once.
 *
 * The rows of the movements are locked first; one that another session has locked is left for later. One whose row
 * says another phase than is known is left, too, and read again: somebody has decided. What the protocol says then
 * (protocol.c) is followed as far as it goes without other stores: an answer changes a step, steps change the phase, the phase
 * asks something of an own step, which is done in this same transaction by the participant's handler, and so on.
 * Phases change by an UPDATE of rows that have the phase which was read.
 *
 * What is known in memory follows when the transaction has been committed, not before. All of it is done in a
 * subtransaction; where it fails each movement goes by itself, and one that fails then is left alone for a while,
 * longer each time, with a WARNING.
 *
 * Of a distributed store the rows of one range are written together, those of one range after the other. Own steps may be
 * done on other nodes (apart.c), within the transaction.
 *
 * Locks: the movements' rows, without waiting; then what the participant takes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/int.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "account/id.h"
#include "ground/inject.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/placement.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "nodes/advance.h"
#include "nodes/apart.h"
#include "nodes/notice.h"

#define ADVANCED_AT_ONCE 500	/* movements, of one transaction */
#define STEPS_AT_ONCE 1000		/* of these: each own one that is asked is a lock until the commit */
#define LOCKED_PAUSE 10			/* ms, for which one is left whose row another session has locked */
#define PATIENCE 5				/* times, then it is read again */
#define FIRST_PAUSE 1000		/* ms, after an error; twice as long after each further one */
#define LONGEST_PAUSE 60000
#define FIRST_BUSY 5			/* ms, until an own step that was busy is tried again */
#define LONGEST_BUSY 500
#define MOST_COLUMNS 8
#define N_LOG_COLUMNS 4			/* of its rows, but for ids: a distributed store draws them */

/* Rows for a statement, as one array for each column. */
typedef struct Rows
{
	int			n;
	int			size;
	int			ncolumns;
	Oid			types[MOST_COLUMNS];
	Datum	   *values[MOST_COLUMNS];
	bool	   *nulls[MOST_COLUMNS];
} Rows;

/* Some movements that are written together. */
typedef struct Bunch
{
	Advance    *advance;
	Live	  **lives;
	int			n;
	Rows		steps;
	Rows		movements;
	Rows		log;
} Bunch;

static int	compare_places(const void *a, const void *b);
static int	in_one_place(const Advance *advance, int first);
static void advance_some(Advance *advance, int first, int n);
static bool advance_bunch(void *arg);
static void advance_each(Advance *advance, int first, int n);
static void fail_one(Advance *advance, int i, const ErrorData *error);
static void lock_rows(Bunch *bunch);
static void begin_live(Live *live);
static void apply_answers(Live *live);
static void check_units(Live *live);
static void follow_protocol(Bunch *bunch, Live *live);
static void note_phase(Bunch *bunch, Live *live, MovementPhase phase);
static void add_log(Bunch *bunch, const Live *live, Datum *values, const bool *nulls);
static char *reason_of(const Live *live, MovementPhase phase);
static int	collect_own(Bunch *bunch, StepMessage *messages, LiveStep **asked, int most);
static void ask_own(Bunch *bunch);
static void begin_message(const Live *live, int i, MovementVerb verb, StepMessage *message);
static void read_contents(StepMessage *messages, int n);
static void take_answer(LiveSet *set, LiveStep *step, const StepMessage *message);
static void execute(PointstorePlan *plan, Datum *values);
static void write_bunch(Bunch *bunch);
static void add_steps(Bunch *bunch, Live *live);
static void add_movement(Bunch *bunch, Live *live);
static void rows_begin(Rows *rows, int ncolumns, const Oid *types);
static void rows_add(Rows *rows, const Datum *values, const bool *nulls);
static uint64 rows_execute(PointstorePlan *plan, const Rows *rows);
static void announce_stuck(const Live *live);
static TimestampTz pause_after(int failures, long first, long longest);

/*
 * Brings on those that are to be looked at, so many of them as go into one transaction. In a step, inside an SPI connection,
 * acting as the owner, in memory that lives until pointstore_advance_committed().
 */
void
pointstore_advance(Advance *advance, LiveSet *set, const StoreIdentity *identity)
{
	int			nsteps = 0;
	int			first;
	int			n;

	memset(advance, 0, sizeof(Advance));
	advance->set = set;
	advance->identity = identity;
	advance->lives = palloc(sizeof(Live *) * ADVANCED_AT_ONCE);
	advance->failed = palloc0(sizeof(bool) * ADVANCED_AT_ONCE);
	while (advance->n < ADVANCED_AT_ONCE && nsteps < STEPS_AT_ONCE && !dlist_is_empty(&set->dirty))
	{
		Live	   *live = dlist_container(Live, dirty, dlist_head_node(&set->dirty));

		pointstore_live_clean(set, live);
		nsteps += live->nsteps;
		advance->lives[advance->n++] = live;
	}
	if (pointstore_is_distributed())
		qsort(advance->lives, advance->n, sizeof(Live *), compare_places);
	for (first = 0; first < advance->n; first += n)
		advance_some(advance, first, n = in_one_place(advance, first));
	pointstore_leave_place();
	if (advance->nwritten > 0)
		POINTSTORE_INJECT("coordinator-decided");
}

static int
compare_places(const void *a, const void *b)
{
	int64		left = (*(Live *const *) a)->hash;
	int64		right = (*(Live *const *) b)->hash;

	return left < right ? -1 : left > right;
}

/* How many, from one on, are where that one is: of a plain store all. */
static int
in_one_place(const Advance *advance, int first)
{
	PointstorePlacements *map = pointstore_store()->placements;
	int			last = first;

	if (map == NULL)
		return advance->n - first;
	while (last + 1 < advance->n && advance->lives[last + 1]->hash <= pointstore_placement_of_hash(map, advance->lives[first]->hash)->max)
		last++;
	return last + 1 - first;
}

static void
advance_some(Advance *advance, int first, int n)
{
	Bunch		bunch = {.advance = advance, .lives = &advance->lives[first], .n = n};
	int			nwritten = advance->nwritten;

	if (pointstore_attempt(advance_bunch, &bunch) == NULL)
		return;
	advance->nwritten = nwritten;
	advance_each(advance, first, n);
}

/* Each by itself, for together they have failed. */
static void
advance_each(Advance *advance, int first, int n)
{
	int			i;

	for (i = first; i < first + n; i++)
	{
		Bunch		bunch = {.advance = advance, .lives = &advance->lives[i], .n = 1};
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		error = pointstore_attempt(advance_bunch, &bunch);
		if (error != NULL)
			fail_one(advance, i, error);
	}
}

static void
fail_one(Advance *advance, int i, const ErrorData *error)
{
	Live	   *live = advance->lives[i];

	advance->failed[i] = true;
	live->failures++;
	/* its rows have left this node */
	if (error->sqlerrcode == ERRCODE_POINTSTORE_OTHER_NODE)
	{
		advance->set->has_stale = live->is_stale = true;
		return;
	}
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("movement \"%s\" cannot be brought on: %s", live->movement_id, error->message),
			 errdetail("It is tried again."),
			 error->context != NULL ? errcontext("%s", error->context) : 0));
}

/* True: all of it is written. */
static bool
advance_bunch(void *arg)
{
	Bunch	   *bunch = arg;
	text	   *first = cstring_to_text(bunch->lives[0]->movement_id);
	int			i;

	pointstore_go_to(first);
	if (pointstore_is_distributed())
		pointstore_note_written(first);
	lock_rows(bunch);
	for (i = 0; i < bunch->n; i++)
		if (bunch->lives[i]->is_locked)
		{
			begin_live(bunch->lives[i]);
			apply_answers(bunch->lives[i]);
		}
	write_bunch(bunch);
	return true;
}

/* Runs a statement in the caller's SPI connection, whose memory is gone when that ends: what comes after it is made where it was made before. */
static void
execute(PointstorePlan *plan, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;

	pointstore_execute(plan, values, NULL, false);
	MemoryContextSwitchTo(context);
}

/* Locks the rows, and marks those that are not what is known. */
static void
lock_rows(Bunch *bunch)
{
	static PointstorePlan plan = {
		.sql = "SELECT u.number, m.phase FROM pg_catalog.unnest($1) u (number) JOIN pointstore.movement m ON m.number" EQ "u.number"
		" WHERE m.finished_at IS NULL FOR NO KEY UPDATE OF m SKIP LOCKED",
		.nargs = 1, .argtypes = {INT8ARRAYOID}, .generic = true
	};
	Datum	   *numbers = palloc(sizeof(Datum) * bunch->n);
	Datum		value;
	uint64		i;

	for (i = 0; i < bunch->n; i++)
	{
		bunch->lives[i]->is_locked = false;
		numbers[i] = Int64GetDatum(bunch->lives[i]->number);
	}
	value = PointerGetDatum(construct_array(numbers, bunch->n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	execute(&plan, &value);
	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Live	   *live = pointstore_live_of(bunch->advance->set, DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
		char	   *phase = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);

		if (live == NULL)
			continue;
		live->is_stale = phase == NULL || strcmp(phase, pointstore_phase_names[live->phase]) != 0;
		live->is_locked = !live->is_stale;
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
begin_live(Live *live)
{
	int			i;

	live->next_phase = live->phase;
	live->is_finished = false;
	live->error = NULL;
	for (i = 0; i < live->nsteps; i++)
	{
		live->next_status[i] = live->status[i];
		live->steps[i].outcome = NULL;
		live->steps[i].was_busy = false;
	}
}

/* What other stores have answered. */
static void
apply_answers(Live *live)
{
	int			i;

	for (i = 0; i < live->nsteps; i++)
	{
		LiveAnswer *answer = &live->steps[i].answer;

		if (!answer->is_there)
			continue;
		live->next_status[i] = pointstore_step_after(live->protocol, live->phase, live->status[i], answer->answer);
		live->steps[i].outcome = answer;
	}
}

/* Whether amounts add up to nothing in each unit, as soon as all units are known; else it is given up. */
static void
check_units(Live *live)
{
	int			i;
	int			j;

	if (!live->balanced || live->unbalanced || !pointstore_live_is_undecided(live->next_phase))
		return;
	for (i = 0; i < live->nsteps; i++)
		if (live->steps[i].unit == NULL && (live->steps[i].outcome == NULL || live->steps[i].outcome->unit == NULL))
			return;
	for (i = 0; i < live->nsteps && !live->unbalanced; i++)
	{
		const LiveStep *step = &live->steps[i];
		const char *unit = step->outcome != NULL && step->outcome->unit != NULL ? step->outcome->unit : step->unit;
		int64		sum = 0;
		bool		overflows = false;

		for (j = 0; j < live->nsteps; j++)
		{
			const LiveStep *other = &live->steps[j];

			if (strcmp(unit, other->outcome != NULL && other->outcome->unit != NULL ? other->outcome->unit : other->unit) != 0)
				continue;
			/* that unit was looked at with the first step that has it */
			if (j < i)
				break;
			overflows |= pg_add_s64_overflow(sum, other->amount, &sum);
		}
		live->unbalanced = sum != 0 || overflows;
	}
}

/* The phases that follow from what the steps are, to the one that stays. */
static void
follow_protocol(Bunch *bunch, Live *live)
{
	check_units(live);
	for (;;)
	{
		MovementView view;
		MovementPhase next;

		pointstore_live_view(live, live->next_status, live->next_phase, &view);
		next = pointstore_next_phase(&view);
		if (next == live->next_phase)
		{
			live->is_finished = pointstore_is_finished(&view);
			return;
		}
		note_phase(bunch, live, next);
		live->next_phase = next;
	}
}

/* A change of a phase, with its reason. */
static void
note_phase(Bunch *bunch, Live *live, MovementPhase phase)
{
	char	   *reason = reason_of(live, phase);
	Datum		values[5] = {
		CStringGetTextDatum(live->movement_id), 0, CStringGetTextDatum(pointstore_phase_names[phase]),
		reason == NULL ? 0 : CStringGetTextDatum(reason)
	};
	bool		nulls[5] = {false, true, false, reason == NULL, false};

	if (reason != NULL)
		live->error = reason;
	add_log(bunch, live, values, nulls);
}

/* A row of the log; the room for its id is behind the others. */
static void
add_log(Bunch *bunch, const Live *live, Datum *values, const bool *nulls)
{
	if (bunch->log.ncolumns > N_LOG_COLUMNS)
		values[N_LOG_COLUMNS] = Int64GetDatum(pointstore_draw_for_node(cstring_to_text(live->movement_id)));
	rows_add(&bunch->log, values, nulls);
}

/* Why a movement comes to a phase that nobody wants; else NULL. */
static char *
reason_of(const Live *live, MovementPhase phase)
{
	int			i;

	if (phase != PHASE_CANCELLING && phase != PHASE_UNDOING && phase != PHASE_STUCK)
		return NULL;
	for (i = 0; i < live->nsteps; i++)
	{
		const LiveAnswer *outcome = live->steps[i].outcome;
		StepStatus	status = live->next_status[i];
		bool		blamed = phase == PHASE_STUCK ? status == STEP_MISSING || status == STEP_FAILED ||
			(outcome != NULL && status != live->status[i]) : status == STEP_REFUSED;

		if (!blamed)
			continue;
		if (outcome != NULL && outcome->error != NULL)
			return psprintf("step %d is %s: %s", live->steps[i].step, pointstore_step_names[status], outcome->error);
		if (live->steps[i].told_error != NULL && live->steps[i].told == status)
			return psprintf("step %d is %s: %s", live->steps[i].step, pointstore_step_names[status], live->steps[i].told_error);
		return psprintf("step %d is %s", live->steps[i].step, pointstore_step_names[status]);
	}
	if (phase == PHASE_STUCK)
		return pstrdup("its steps contradict each other");
	if (live->unbalanced)
		return pstrdup("PS011: its amounts do not sum to zero in each unit");
	return live->is_overdue ? pstrdup("its deadline has passed") : NULL;
}

/*
 * This store's own steps: what the phases ask of them is done at once, by the same handler as for others, until nothing is
 * asked of any. Those that are busy are left for later.
 */
static void
ask_own(Bunch *bunch)
{
	int			most = 0;
	StepMessage *messages;
	LiveStep  **asked;
	int			n;
	int			i;

	for (i = 0; i < bunch->n; i++)
	{
		if (bunch->lives[i]->is_locked)
			follow_protocol(bunch, bunch->lives[i]);
		most += bunch->lives[i]->nsteps;
	}
	messages = palloc0(sizeof(StepMessage) * most);
	asked = palloc(sizeof(LiveStep *) * most);
	while ((n = collect_own(bunch, messages, asked, most)) > 0)
	{
		read_contents(messages, n);
		pointstore_take_messages(&bunch->advance->identity->store, messages, n, MESSAGES_OF_COORDINATOR);
		for (i = 0; i < n; i++)
			take_answer(bunch->advance->set, asked[i], &messages[i]);
		for (i = 0; i < n; i++)
			if (i == 0 || asked[i]->live != asked[i - 1]->live)
				follow_protocol(bunch, asked[i]->live);
	}
}

/* What is asked of own steps now, that have not been busy in this transaction. */
static int
collect_own(Bunch *bunch, StepMessage *messages, LiveStep **asked, int most)
{
	int			n = 0;
	int			i;
	int			j;

	for (i = 0; i < bunch->n; i++)
	{
		Live	   *live = bunch->lives[i];
		MovementView view;

		if (!live->is_locked)
			continue;
		pointstore_live_view(live, live->next_status, live->next_phase, &view);
		for (j = 0; j < live->nsteps; j++)
		{
			MovementVerb verb = live->local[j] && !live->steps[j].was_busy ? pointstore_next_message(&view, j) : VERB_NONE;

			if (verb == VERB_NONE)
				continue;
			begin_message(live, j, verb, &messages[n]);
			asked[n++] = &live->steps[j];
		}
	}
	Assert(n <= most);
	return n;
}

static void
begin_message(const Live *live, int i, MovementVerb verb, StepMessage *message)
{
	memset(message, 0, sizeof(StepMessage));
	message->verb = verb;
	message->protocol = live->protocol == PROTOCOL_2PC ? PROTOCOL_TCC : live->protocol;
	message->movement_id = cstring_to_text(live->movement_id);
	message->step = live->steps[i].step;
	message->incarnation = live->incarnation;
	message->number = live->number;
	message->attempt = live->steps[i].attempts;
	message->aggregate_id = cstring_to_text(live->steps[i].account);
}

/* What tries of own steps are about. */
static void
read_contents(StepMessage *messages, int n)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(s.aggregate_id AS pg_catalog.text), CAST(s.amount AS pg_catalog.int8), CAST(s.event_type AS pg_catalog.text),"
		" CAST(s.payload AS pg_catalog.jsonb), CAST(m.metadata AS pg_catalog.jsonb), CAST(s.undo AS pg_catalog.jsonb), CAST(s.kind AS pg_catalog.text)"
		" FROM pointstore.movement_step s JOIN pointstore.movement m ON m.movement_id" EQ "s.movement_id"
		" WHERE s.movement_id" EQ "$1 AND s.step" EQ "$2",
		.nargs = 2, .argtypes = {TEXTOID, INT2OID}, .generic = true
	};
	int			i;

	for (i = 0; i < n; i++)
	{
		StepMessage *message = &messages[i];
		Datum		values[2] = {PointerGetDatum(message->movement_id), Int16GetDatum(message->step)};
		Datum		found[7];
		bool		nulls[7];
		int			j;

		if (message->verb != VERB_TRY)
			continue;
		execute(&plan, values);
		if (SPI_processed == 0)
			elog(ERROR, "step %d of movement \"%s\" is gone", message->step, text_to_cstring(message->movement_id));
		for (j = 0; j < 7; j++)
			found[j] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, j + 1, &nulls[j]);
		if (nulls[0] || nulls[1] || nulls[2])
			elog(ERROR, "step %d of movement \"%s\" has no account, amount or event type", message->step, text_to_cstring(message->movement_id));
		message->aggregate_id = DatumGetTextPCopy(found[0]);
		message->amount = DatumGetInt64(found[1]);
		message->event_type = DatumGetTextPCopy(found[2]);
		message->payload = nulls[3] ? NULL : DatumGetJsonbPCopy(found[3]);
		message->metadata = nulls[4] ? NULL : DatumGetJsonbPCopy(found[4]);
		message->undo = nulls[5] ? NULL : DatumGetJsonbPCopy(found[5]);
		message->kind = nulls[6] ? NULL : DatumGetTextPCopy(found[6]);
		SPI_freetuptable(SPI_tuptable);
	}
}

/* What an own step has come to. */
static void
take_answer(LiveSet *set, LiveStep *step, const StepMessage *message)
{
	Live	   *live = step->live;
	int			i = step - live->steps;
	LiveAnswer *outcome;
	StepStatus	before;

	step->was_busy = message->answer == ANSWER_BUSY;
	if (step->was_busy && message->error != NULL && pointstore_is_distributed())
		pointstore_step_note(set, step, psprintf("%s: %s", unpack_sql_state(message->sqlerrcode), message->error));
	if (step->was_busy)
		return;
	outcome = palloc0(sizeof(LiveAnswer));
	outcome->answer = message->answer;
	outcome->unit = message->unit == NULL ? NULL : pstrdup(message->unit);
	outcome->event_id = message->event_id;
	if (message->sqlerrcode != 0)
		outcome->error = psprintf("%s: %s", unpack_sql_state(message->sqlerrcode), message->error != NULL ? message->error : "");
	step->outcome = outcome;
	before = live->next_status[i];
	live->next_status[i] = pointstore_step_after(live->protocol, live->next_phase, before, message->answer);
	/* what says nothing would be asked for again and again */
	step->was_busy = live->next_status[i] == before;
}

/* Writes what has changed: steps, movements, and the log of both. */
static void
write_bunch(Bunch *bunch)
{
	static const Oid step_types[] = {TEXTOID, INT2OID, TEXTOID, INT4OID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID};
	static const Oid movement_types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, BOOLOID};
	static const Oid log_types[] = {TEXTOID, INT2OID, TEXTOID, TEXTOID, INT8OID};
	static PointstorePlan step_plan = {
		.sql = "UPDATE pointstore.movement_step AS s SET status = u.status, attempts = u.attempts, next_try = u.next_try, error = u.error,"
		" event_id = coalesce(u.event_id, s.event_id), unit = coalesce(u.unit, s.unit), at = pg_catalog.clock_timestamp()"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
		"  pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS u (movement_id, step, status, attempts, error, event_id, unit, next_try)"
		" WHERE s.movement_id" EQ "u.movement_id AND s.step" EQ "u.step",
		.nargs = 8,
		.argtypes = {TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}, .generic = true
	};
	static PointstorePlan movement_plan = {
		.sql = "UPDATE pointstore.movement AS m SET phase = u.phase, error = coalesce(u.error, m.error),"
		" finished_at = CASE WHEN u.is_finished THEN pg_catalog.clock_timestamp() END"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"
		"  AS u (number, before, phase, error, is_finished)"
		" WHERE m.number" EQ "u.number AND m.phase" EQ "u.before",
		.nargs = 5, .argtypes = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLARRAYOID}, .generic = true
	};
#define LOG_CHANGES(column, ids, value) \
		"INSERT INTO pointstore.movement_log (movement_id, step, status, error, by_role" column ")" \
		" SELECT u.movement_id, u.step, u.status, u.error, current_user" value \
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)" ids ") AS u (movement_id, step, status, error" column ")"
	static PointstorePlan log_plan = {
		.sql = LOG_CHANGES("", "", ""), .nargs = N_LOG_COLUMNS, .argtypes = {TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}, .generic = true
	};
	static PointstorePlan log_plan_with_ids = {
		.sql = LOG_CHANGES(", id", ", pg_catalog.unnest($5)", ", u.id"), .nargs = N_LOG_COLUMNS + 1,
		.argtypes = {TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID}, .generic = true
	};
	bool		draws = pointstore_is_distributed();

	rows_begin(&bunch->steps, lengthof(step_types), step_types);
	rows_begin(&bunch->movements, lengthof(movement_types), movement_types);
	rows_begin(&bunch->log, N_LOG_COLUMNS + draws, log_types);
	ask_own(bunch);
	for (int i = 0; i < bunch->n; i++)
		if (bunch->lives[i]->is_locked)
		{
			add_steps(bunch, bunch->lives[i]);
			add_movement(bunch, bunch->lives[i]);
		}
	(void) rows_execute(&step_plan, &bunch->steps);
	if (rows_execute(&movement_plan, &bunch->movements) != bunch->movements.n)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("rows of movements have changed while they were locked")));
	(void) rows_execute(draws ? &log_plan_with_ids : &log_plan, &bunch->log);
	bunch->advance->nwritten += bunch->steps.n + bunch->movements.n;
}

/* Those whose row says something else. */
static void
add_steps(Bunch *bunch, Live *live)
{
	int			i;

	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];
		const LiveAnswer *outcome = step->outcome;
		const char *error = pointstore_step_error(step, live->next_status[i]);
		const char *unit = outcome == NULL ? NULL : outcome->unit;
		StepStatus	status = outcome == NULL ? step->told : live->next_status[i];
		Datum		values[8];
		bool		nulls[8] = {false, false, false, false, error == NULL, outcome == NULL || outcome->event_id == 0, unit == NULL, outcome != NULL};

		if ((outcome == NULL && step->note == NULL) || (status == step->told && (error == NULL) == (step->told_error == NULL) &&
								(error == NULL || strcmp(error, step->told_error) == 0)))
			continue;
		values[0] = CStringGetTextDatum(live->movement_id);
		values[1] = Int16GetDatum(step->step);
		values[2] = CStringGetTextDatum(pointstore_step_names[status]);
		values[3] = Int32GetDatum(step->attempts);
		values[4] = error == NULL ? 0 : CStringGetTextDatum(error);
		values[5] = Int64GetDatum(nulls[5] ? 0 : outcome->event_id);
		values[6] = unit == NULL ? 0 : CStringGetTextDatum(unit);
		values[7] = TimestampTzGetDatum(step->next_try);
		rows_add(&bunch->steps, values, nulls);
		if (status == step->told)
			continue;
		values[3] = values[4];
		nulls[3] = nulls[4];
		nulls[4] = false;
		add_log(bunch, live, values, nulls);
	}
}

static void
add_movement(Bunch *bunch, Live *live)
{
	Datum		values[5];
	bool		nulls[5] = {false, false, false, live->error == NULL, false};

	if (live->next_phase == live->phase && !live->is_finished)
		return;
	values[0] = Int64GetDatum(live->number);
	values[1] = CStringGetTextDatum(pointstore_phase_names[live->phase]);
	values[2] = CStringGetTextDatum(pointstore_phase_names[live->next_phase]);
	values[3] = live->error == NULL ? 0 : CStringGetTextDatum(live->error);
	values[4] = BoolGetDatum(live->is_finished);
	rows_add(&bunch->movements, values, nulls);
	if (live->is_finished)
		POINTSTORE_INJECT("coordinator-finished");
	if (live->next_phase != live->phase && (pointstore_is_settled(live->next_phase) || live->next_phase == PHASE_STUCK))
		pointstore_movement_settles(cstring_to_text(live->movement_id));
	if (live->next_phase != live->phase && live->next_phase == PHASE_STUCK)
		announce_stuck(live);
}

static void
announce_stuck(const Live *live)
{
	StringInfoData message;

	initStringInfo(&message);
	appendStringInfoString(&message, "{\"movement_id\":");
	escape_json(&message, live->movement_id);
	appendStringInfoString(&message, ",\"phase\":\"stuck\"}");
	Async_Notify("pointstore_movement", message.data);
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("movement \"%s\" is stuck: %s", live->movement_id, live->error != NULL ? live->error : ""),
			 errhint("See pointstore.movement_step, and SELECT pointstore.resolve_movement(...).")));
}

/* After the commit: what is known follows. Those that were left, or have failed, are looked at later. */
void
pointstore_advance_committed(Advance *advance)
{
	LiveSet    *set = advance->set;
	int			i;
	int			j;

	for (i = 0; i < advance->n; i++)
	{
		Live	   *live = advance->lives[i];

		if (advance->failed[i])
			pointstore_live_pause(set, live, pause_after(live->failures, FIRST_PAUSE, LONGEST_PAUSE));
		else if (!live->is_locked)
		{
			live->is_stale |= ++live->failures > PATIENCE;
			set->has_stale |= live->is_stale;
			pointstore_live_pause(set, live, pause_after(live->failures, LOCKED_PAUSE, LONGEST_PAUSE));
		}
		else
		{
			live->error = NULL;
			for (j = 0; j < live->nsteps; j++)
				if (live->steps[j].was_busy && live->local[j])
					pointstore_step_delay(set, &live->steps[j], pause_after(++live->steps[j].attempts, FIRST_BUSY, LONGEST_BUSY));
			pointstore_live_follow(set, live);
		}
	}
}

/* From now, longer each time, and never quite as long as another. */
static TimestampTz
pause_after(int failures, long first, long longest)
{
	int64		pause = Min((int64) first << Min(Max(failures - 1, 0), 20), longest);

	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause / 2 + random() % (pause / 2 + 1) + 1);
}

static void
rows_begin(Rows *rows, int ncolumns, const Oid *types)
{
	int			i;

	rows->n = rows->size = 0;
	rows->ncolumns = ncolumns;
	for (i = 0; i < ncolumns; i++)
		rows->types[i] = types[i];
}

static void
rows_add(Rows *rows, const Datum *values, const bool *nulls)
{
	int			i;

	if (rows->n == rows->size)
	{
		rows->size = Max(64, 2 * rows->size);
		for (i = 0; i < rows->ncolumns; i++)
		{
			rows->values[i] = rows->n == 0 ? palloc(sizeof(Datum) * rows->size) : repalloc(rows->values[i], sizeof(Datum) * rows->size);
			rows->nulls[i] = rows->n == 0 ? palloc(sizeof(bool) * rows->size) : repalloc(rows->nulls[i], sizeof(bool) * rows->size);
		}
	}
	for (i = 0; i < rows->ncolumns; i++)
	{
		rows->values[i][rows->n] = values[i];
		rows->nulls[i][rows->n] = nulls[i];
	}
	rows->n++;
}

/* A statement that has the rows' columns as arrays; how many rows it has processed. */
static uint64
rows_execute(PointstorePlan *plan, const Rows *rows)
{
	Datum		values[MOST_COLUMNS];
	int			dims[1] = {rows->n};
	int			bounds[1] = {1};
	int			i;

	if (rows->n == 0)
		return 0;
	for (i = 0; i < rows->ncolumns; i++)
	{
		int16		length;
		bool		by_value;
		char		align;

		get_typlenbyvalalign(rows->types[i], &length, &by_value, &align);
		values[i] = PointerGetDatum(construct_md_array(rows->values[i], rows->nulls[i], 1, dims, bounds, rows->types[i], length, by_value, align));
	}
	execute(plan, values);
	return SPI_processed;
}
