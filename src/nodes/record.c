/*-------------------------------------------------------------------------
 *
 * src/nodes/record.c
 *		Rows of movements that began here, of their steps and of their log.
 *
 * The row of movement is what decides. Who begins a movement inserts it first of all, so that a second one of that
 * name waits for the first. Who changes its phase has locked it, FOR NO KEY UPDATE, and names the phase that he has
 * read: so of two decisions one is too late. Its steps are written under the same lock. Each change leaves a row in the
 * log, in the same transaction.
 *
 * What users have made of the tables cannot mislead what reads them: values are cast to what is expected, and a phase or a protocol
 * that there is not is XX001.
 *
 * The callers act as the store's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "account/id.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/placed.h"
#include "ground/sql.h"
#include "nodes/record.h"

/* by so many ids back it is known that the commit of one is remembered */
#define RECENT_IDS 1000000

#define READ_MOVEMENT \
"SELECT CAST(protocol AS pg_catalog.text), CAST(phase AS pg_catalog.text), CAST(error AS pg_catalog.text), CAST(body AS pg_catalog.bytea)," \
" CAST(incarnation AS pg_catalog.int8), finished_at IS NOT NULL, xmin FROM pointstore.movement WHERE movement_id" EQ "$1"

static bool read_movement(MovementRow *row, text *movement_id, PointstorePlan *plan);
static int	known(const char *value, const char *const *names, int n, const char *what, text *movement_id);
static XLogRecPtr durable_of(TransactionId xid);
static void log_movement(text *movement_id, const char *status, const char *error, Oid by_role);
static Datum texts(text *const *values, int n);
static Datum documents(Jsonb *const *values, int n);
static Datum numbers(const int64 *values, int n, bool zero_is_null);
static Datum names(const StepStatus *values, int n);
static Datum array_of(Datum *values, bool *nulls, int n, Oid type);

/* Reads the row of a movement as it is now, whatever the snapshot of the transaction. False: there is none. */
bool
pointstore_read_movement(MovementRow *row, text *movement_id)
{
	static PointstorePlan plan = {.sql = READ_MOVEMENT, .nargs = 1, .argtypes = {TEXTOID}};
	bool		found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = read_movement(row, movement_id, &plan);
	PopActiveSnapshot();
	return found;
}

/* The same, locked. In REPEATABLE READ and above 40001, where it has changed. */
bool
pointstore_lock_movement(MovementRow *row, text *movement_id)
{
	static PointstorePlan plan = {.sql = READ_MOVEMENT " FOR NO KEY UPDATE", .nargs = 1, .argtypes = {TEXTOID}};

	return read_movement(row, movement_id, &plan);
}

static bool
read_movement(MovementRow *row, text *movement_id, PointstorePlan *plan)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = PointerGetDatum(movement_id);
	bool		found;

	memset(row, 0, sizeof(MovementRow));
	row->movement_id = movement_id;
	SPI_connect();
	pointstore_execute_of(plan, movement_id, &value, NULL, plan->sql[strlen(plan->sql) - 1] != 'E');
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *error = SPI_getvalue(tuple, desc, 3);
		TransactionId xid;
		bool		isnull;
		Datum		body;

		row->protocol = known(SPI_getvalue(tuple, desc, 1), pointstore_protocol_names, N_PROTOCOLS, "protocol", movement_id);
		row->phase = known(SPI_getvalue(tuple, desc, 2), pointstore_phase_names, N_PHASES, "phase", movement_id);
		row->error = error != NULL ? MemoryContextStrdup(context, error) : NULL;
		body = SPI_getbinval(tuple, desc, 4, &isnull);
		if (!isnull)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			row->body = DatumGetByteaPCopy(body);
			MemoryContextSwitchTo(old);
		}
		row->incarnation = DatumGetInt64(SPI_getbinval(tuple, desc, 5, &isnull));
		row->finished = DatumGetBool(SPI_getbinval(tuple, desc, 6, &isnull));
		xid = DatumGetTransactionId(SPI_getbinval(tuple, desc, 7, &isnull));
		row->is_ours = TransactionIdIsCurrentTransactionId(xid);
		row->durable = row->is_ours ? InvalidXLogRecPtr : durable_of(xid);
	}
	SPI_finish();
	return found;
}

/* Which of the names it is: XX001 where it is none. */
static int
known(const char *value, const char *const *names, int n, const char *what, text *movement_id)
{
	int			place = value == NULL ? -1 : pointstore_place(cstring_to_text(value), names, n);

	if (place < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("movement \"%s\" has the %s \"%s\"", pointstore_cstring(movement_id), what, value == NULL ? "" : value)));
	return place;
}

/*
 * What has to be awaited before others are told of what a transaction has written: the LSN of its commit where that may have been
 * asynchronous, and what the server has flushed, for the standbys that have to confirm it. One that is old was flushed long ago.
 */
static XLogRecPtr
durable_of(TransactionId xid)
{
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	if (RecoveryInProgress())
		return InvalidXLogRecPtr;
	if (TransactionIdIsNormal(xid) && XidFromFullTransactionId(ReadNextFullTransactionId()) - xid < (uint32) RECENT_IDS)
		lsn = TransactionIdGetCommitLSN(xid);
	return Max(lsn, pointstore_flushed_lsn());
}

/*
 * Inserts the row of a movement that begins, and logs it. False: there is one of that name, committed, or of this
 * transaction. In REPEATABLE READ and above 40001, where it is not visible.
 */
bool
pointstore_insert_movement(NewMovement *movement)
{
#define INSERT_MOVEMENT(column, value) \
		"INSERT INTO pointstore.movement (movement_id, protocol, phase, deadline, started_at, finished_at, by_role, metadata," \
		" incarnation, balanced, body, reason, error" column ")" \
		" VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN $5 END, $7, $8, $9, $10, $11, $12, $13" value ")" \
		" ON CONFLICT (movement_id) DO NOTHING RETURNING CAST(number AS pg_catalog.int8)"
#define MOVEMENT_TYPES TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, JSONBOID, INT8OID, BOOLOID, BYTEAOID, TEXTOID, TEXTOID
	static PointstorePlan plan = {.sql = INSERT_MOVEMENT("", ""), .nargs = 13, .argtypes = {MOVEMENT_TYPES}};
	static PointstorePlan plan_with_number = {.sql = INSERT_MOVEMENT(", number", ", $14"), .nargs = 14, .argtypes = {MOVEMENT_TYPES, INT8OID}};
	MovementRow *row = &movement->row;
	bool		draws = pointstore_is_distributed();
	Datum		values[14];
	char		nulls[] = "              ";
	bool		inserted;
	bool		isnull;

	values[0] = PointerGetDatum(row->movement_id);
	values[1] = CStringGetTextDatum(pointstore_protocol_names[row->protocol]);
	values[2] = CStringGetTextDatum(pointstore_phase_names[row->phase]);
	values[3] = TimestampTzGetDatum(movement->deadline);
	nulls[3] = movement->deadline == 0 ? 'n' : ' ';
	values[4] = TimestampTzGetDatum(movement->started_at);
	values[5] = BoolGetDatum(row->finished);
	values[6] = CStringGetTextDatum(pointstore_role_name(movement->by_role));
	values[7] = PointerGetDatum(movement->metadata);
	nulls[7] = movement->metadata == NULL ? 'n' : ' ';
	values[8] = Int64GetDatum(row->incarnation);
	values[9] = BoolGetDatum(movement->balanced);
	values[10] = PointerGetDatum(row->body);
	nulls[10] = row->body == NULL ? 'n' : ' ';
	values[11] = PointerGetDatum(movement->reason);
	nulls[11] = movement->reason == NULL ? 'n' : ' ';
	values[12] = row->error == NULL ? (Datum) 0 : CStringGetTextDatum(row->error);
	nulls[12] = row->error == NULL ? 'n' : ' ';
	/* before its number is drawn: the coordinator waits for a number that was passed over as long as this transaction runs */
	(void) GetCurrentTransactionId();
	if (draws)
		values[13] = Int64GetDatum(pointstore_draw_for_node(row->movement_id));
	SPI_connect();
	pointstore_write_of(draws ? &plan_with_number : &plan, row->movement_id, values, nulls);
	inserted = SPI_processed > 0;
	if (inserted)
		movement->number = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (inserted)
		log_movement(row->movement_id, pointstore_phase_names[row->phase], row->error, movement->by_role);
	return inserted;
}

/* Ids for rows of a log, of a distributed store, which has no identity that all nodes draw from. */
Datum
pointstore_draw_ids(text *movement_id, int n)
{
	int64	   *ids = palloc(sizeof(int64) * n);
	int			i;

	for (i = 0; i < n; i++)
		ids[i] = pointstore_draw_for_node(movement_id);
	return numbers(ids, n, false);
}

static void
log_movement(text *movement_id, const char *status, const char *error, Oid by_role)
{
#define LOG_MOVEMENT(column, value) \
		"INSERT INTO pointstore.movement_log (movement_id, status, error, by_role" column ") VALUES ($1, $2, $3, $4" value ")"
	static PointstorePlan plan = {.sql = LOG_MOVEMENT("", ""), .nargs = 4, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID}};
	static PointstorePlan plan_with_id = {.sql = LOG_MOVEMENT(", id", ", ($5)[1]"), .nargs = 5, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID}};
	bool		draws = pointstore_is_distributed();
	Datum		values[5];

	values[0] = PointerGetDatum(movement_id);
	values[1] = CStringGetTextDatum(status);
	values[2] = error == NULL ? (Datum) 0 : CStringGetTextDatum(error);
	values[3] = CStringGetTextDatum(pointstore_role_name(by_role));
	if (draws)
		values[4] = pointstore_draw_ids(movement_id, 1);
	SPI_connect();
	pointstore_write_of(draws ? &plan_with_id : &plan, movement_id, values, error == NULL ? "  n  " : NULL);
	SPI_finish();
}

/* Changes the phase of a movement whose row the caller has locked and read, and logs it. */
void
pointstore_set_phase(MovementRow *row, MovementPhase phase, const char *error, text *reason, Oid by_role)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.movement SET phase = $3, error = $4, reason = coalesce($5, reason) WHERE movement_id" EQ "$1 AND phase" EQ "$2",
		.nargs = 5, .argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[5];
	char		nulls[] = "     ";
	bool		done;

	values[0] = PointerGetDatum(row->movement_id);
	values[1] = CStringGetTextDatum(pointstore_phase_names[row->phase]);
	values[2] = CStringGetTextDatum(pointstore_phase_names[phase]);
	values[3] = error == NULL ? (Datum) 0 : CStringGetTextDatum(error);
	nulls[3] = error == NULL ? 'n' : ' ';
	values[4] = PointerGetDatum(reason);
	nulls[4] = reason == NULL ? 'n' : ' ';
	SPI_connect();
	pointstore_write_of(&plan, row->movement_id, values, nulls);
	done = SPI_processed > 0;
	SPI_finish();
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the phase of movement \"%s\" cannot be changed", pointstore_cstring(row->movement_id)),
				 errdetail("A trigger or a policy on pointstore.movement keeps it from being written.")));
	log_movement(row->movement_id, pointstore_phase_names[phase], error, by_role);
	row->phase = phase;
	row->error = error;
}

/* A movement that is not decided gives up when its deadline has come; after infinity never. */
void
pointstore_set_deadline(text *movement_id, TimestampTz deadline, text *reason)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.movement SET deadline = $2, reason = coalesce($3, reason) WHERE movement_id" EQ "$1",
		.nargs = 3, .argtypes = {TEXTOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[3];

	values[0] = PointerGetDatum(movement_id);
	values[1] = TimestampTzGetDatum(deadline);
	values[2] = PointerGetDatum(reason);
	SPI_connect();
	pointstore_write_of(&plan, movement_id, values, reason == NULL ? "  n" : NULL);
	SPI_finish();
}

/* Inserts the steps of a movement that begins, as they are by now, and logs those that are not pending. */
void
pointstore_insert_steps(const NewMovement *movement, const StepRows *steps)
{
	static PointstorePlan insert = {
		.sql = "INSERT INTO pointstore.movement_step (movement_id, step, server, aggregate_id, amount, status, at, event_type, payload, undo, kind, unit, event_id)"
		" SELECT $1, s.step, s.server, s.aggregate_id, s.amount, s.status, $2, s.event_type, s.payload, s.undo, s.kind, s.unit, s.event_id"
		" FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7),"
		" pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12))"
		" WITH ORDINALITY AS s (server, aggregate_id, amount, status, event_type, payload, undo, kind, unit, event_id, step)",
		.nargs = 12,
		.argtypes = {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID}
	};
#define LOG_STEPS(column, value) \
		"INSERT INTO pointstore.movement_log (movement_id, step, status, by_role" column ")" \
		" SELECT $1, s.step, s.status, $3" value " FROM pg_catalog.unnest($2) WITH ORDINALITY AS s (status, step)" \
		" WHERE s.status" NE "'pending' ORDER BY s.step"
	static PointstorePlan log = {.sql = LOG_STEPS("", ""), .nargs = 3, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID}};
	static PointstorePlan log_with_ids = {.sql = LOG_STEPS(", id", ", ($4)[s.step]"), .nargs = 4, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID, INT8ARRAYOID}};
	bool		draws = pointstore_is_distributed();
	text	  **units = palloc0(sizeof(text *) * steps->n);
	Datum		values[12];
	int			i;

	for (i = 0; i < steps->n; i++)
		units[i] = steps->unit[i] == NULL ? NULL : cstring_to_text(steps->unit[i]);
	values[0] = PointerGetDatum(movement->row.movement_id);
	values[1] = TimestampTzGetDatum(movement->started_at);
	values[2] = texts(steps->server, steps->n);
	values[3] = texts(steps->aggregate_id, steps->n);
	values[4] = numbers(steps->amount, steps->n, false);
	values[5] = names(steps->status, steps->n);
	values[6] = texts(steps->event_type, steps->n);
	values[7] = documents(steps->payload, steps->n);
	values[8] = documents(steps->undo, steps->n);
	values[9] = texts(steps->kind, steps->n);
	values[10] = texts(units, steps->n);
	values[11] = numbers(steps->event_id, steps->n, true);
	SPI_connect();
	pointstore_write_of(&insert, movement->row.movement_id, values, NULL);
	if (SPI_processed != steps->n)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger on movement_step has left out rows")));
	values[1] = values[5];
	values[2] = CStringGetTextDatum(pointstore_role_name(movement->by_role));
	if (draws)
		values[3] = pointstore_draw_ids(movement->row.movement_id, steps->n);
	pointstore_write_of(draws ? &log_with_ids : &log, movement->row.movement_id, values, NULL);
	SPI_finish();
}

/* The steps of a movement, in their order: what is known of each, and whether it is this store's own. */
void
pointstore_read_steps_of(text *movement_id, StepRows *steps)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(status AS pg_catalog.text), server IS NULL FROM pointstore.movement_step WHERE movement_id" EQ "$1 ORDER BY step",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = PointerGetDatum(movement_id);
	int			i;

	memset(steps, 0, sizeof(StepRows));
	SPI_connect();
	pointstore_execute_of(&plan, movement_id, &value, NULL, false);
	steps->n = SPI_processed;
	steps->status = MemoryContextAllocZero(context, sizeof(StepStatus) * Max(steps->n, 1));
	steps->local = MemoryContextAllocZero(context, sizeof(bool) * Max(steps->n, 1));
	for (i = 0; i < steps->n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;

		steps->status[i] = known(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1), pointstore_step_names, N_STEP_STATUSES, "step status", movement_id);
		steps->local[i] = DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
}

/* Changes what is known of steps, as they were read, and logs it; what changes is asked at once. */
void
pointstore_set_steps(text *movement_id, const StepRows *steps, const StepStatus *status, Oid by_role)
{
#define SET_STEPS(column, value) \
		"WITH s AS (SELECT step, pg_catalog.row_number() OVER (ORDER BY step) AS place FROM pointstore.movement_step WHERE movement_id" EQ "$1)," \
		" changed AS (UPDATE pointstore.movement_step AS m SET status = n.status, attempts = 0, next_try = NULL, error = NULL," \
		"  at = pg_catalog.clock_timestamp()" \
		"  FROM s, pg_catalog.unnest($2) WITH ORDINALITY AS n (status, place)" \
		"  WHERE m.movement_id" EQ "$1 AND m.step" EQ "s.step AND s.place" EQ "n.place AND m.status" NE "n.status" \
		"  RETURNING m.step, n.status, n.place)" \
		" INSERT INTO pointstore.movement_log (movement_id, step, status, by_role" column ")" \
		" SELECT $1, c.step, c.status, $3" value " FROM changed c ORDER BY c.step"
	static PointstorePlan plan = {.sql = SET_STEPS("", ""), .nargs = 3, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID}};
	static PointstorePlan plan_with_ids = {.sql = SET_STEPS(", id", ", ($4)[c.place]"), .nargs = 4, .argtypes = {TEXTOID, TEXTARRAYOID, TEXTOID, INT8ARRAYOID}};
	bool		draws = pointstore_is_distributed();
	Datum		values[4];

	values[0] = PointerGetDatum(movement_id);
	values[1] = names(status, steps->n);
	values[2] = CStringGetTextDatum(pointstore_role_name(by_role));
	if (draws)
		values[3] = pointstore_draw_ids(movement_id, steps->n);
	SPI_connect();
	pointstore_write_of(draws ? &plan_with_ids : &plan, movement_id, values, NULL);
	SPI_finish();
}

/* What a movement was decided to be, at some time. */
void
pointstore_was_decided(text *movement_id, bool *confirm, bool *cancel)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(pg_catalog.bool_or(status" EQ "ANY (ARRAY['confirming', 'done'])), false),"
		" coalesce(pg_catalog.bool_or(status" EQ "ANY (ARRAY['cancelling', 'undoing'])), false)"
		" FROM pointstore.movement_log WHERE movement_id" EQ "$1 AND step IS NULL",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(movement_id);
	bool		isnull;

	SPI_connect();
	pointstore_execute_of(&plan, movement_id, &value, NULL, false);
	*confirm = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*cancel = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
}

/*
 * The store, but for this one, in whose movement of that name this store takes part; NULL: there is none. Of a distributed store that
 * is asked of the accounts alone that are where the movement is.
 */
char *
pointstore_other_origin(text *movement_id, const pg_uuid_t *store)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(o.name AS pg_catalog.text), CAST(p.origin AS pg_catalog.text)) FROM pointstore.participant_step p"
		" LEFT JOIN pointstore.participant_origin o ON o.origin" EQ "p.origin"
		" WHERE p.movement_id" EQ "$1 AND p.origin" NE "$2 LIMIT 1",
		.nargs = 2, .argtypes = {TEXTOID, UUIDOID}
	};
	MemoryContext context = CurrentMemoryContext;
	char	   *name = NULL;
	Datum		values[2];

	values[0] = PointerGetDatum(movement_id);
	values[1] = UUIDPGetDatum(store);
	SPI_connect();
	pointstore_execute_of(&plan, movement_id, values, NULL, false);
	if (SPI_processed > 0)
		name = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return name;
}

/* A movement_state, as the functions return it. */
Datum
pointstore_movement_answer(FunctionCallInfo fcinfo, const MovementRow *row)
{
	bool		never_began = row->body == NULL;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = PointerGetDatum(row->movement_id);
	values[1] = CStringGetTextDatum(pointstore_protocol_names[row->protocol]);
	nulls[1] = never_began;
	values[2] = CStringGetTextDatum(pointstore_phase_names[row->phase]);
	values[3] = BoolGetDatum(pointstore_is_settled(row->phase));
	values[4] = row->error == NULL ? (Datum) 0 : CStringGetTextDatum(row->error);
	nulls[4] = row->error == NULL;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Datum
texts(text *const *values, int n)
{
	Datum	   *elements = palloc0(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	int			i;

	for (i = 0; i < n; i++)
	{
		elements[i] = PointerGetDatum(values[i]);
		nulls[i] = values[i] == NULL;
	}
	return array_of(elements, nulls, n, TEXTOID);
}

static Datum
documents(Jsonb *const *values, int n)
{
	Datum	   *elements = palloc0(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	int			i;

	for (i = 0; i < n; i++)
	{
		elements[i] = JsonbPGetDatum(values[i]);
		nulls[i] = values[i] == NULL;
	}
	return array_of(elements, nulls, n, JSONBOID);
}

static Datum
numbers(const int64 *values, int n, bool zero_is_null)
{
	Datum	   *elements = palloc0(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	int			i;

	for (i = 0; i < n; i++)
	{
		elements[i] = Int64GetDatum(values[i]);
		nulls[i] = zero_is_null && values[i] == 0;
	}
	return array_of(elements, nulls, n, INT8OID);
}

/* Of what is known of steps. */
static Datum
names(const StepStatus *values, int n)
{
	Datum	   *elements = palloc0(sizeof(Datum) * n);
	int			i;

	for (i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(pointstore_step_names[values[i]]);
	return array_of(elements, palloc0(sizeof(bool) * n), n, TEXTOID);
}

static Datum
array_of(Datum *values, bool *nulls, int n, Oid type)
{
	int			lower = 1;
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, type, length, by_value, align));
}
