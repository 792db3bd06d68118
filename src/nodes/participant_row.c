/*-------------------------------------------------------------------------
 *
 * src/nodes/participant_row.c
 *		Rows of participant_step: read, written, dropped.
 *
 * All rows of a call are read by one statement, and those that it changes written by one or two, in plans
 * that are kept. They find rows by their key, also where the table was empty when they were made.
 *
 * What a user has altered in the table must not lead us astray: columns are cast to what
 * they have to be, and a row that lacks what it must have is broken, which moves nothing.
 *
 * No locks: who reads and writes rows here has locked the step (participant.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "ground/twophase.h"
#include "nodes/participant_row.h"

/* tombstones that are dropped at once */
#define TOMBSTONES "1000"

/* One column of many rows. */
typedef struct Column
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	Oid			type;
} Column;

static void in_places(PartOrigin *origin, StepWork **work, int n, void (*what) (PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range));
static void read_parts(PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range);
static void execute_by_key(PointstorePlan *plan, PointstorePlacement *range, Datum *values);
static void fill_row(PartRow *row, HeapTuple tuple, TupleDesc desc);
static PartStatus status_of(const char *name);
static bool lacks_something(const PartRow *row);
static Datum value_of(HeapTuple tuple, TupleDesc desc, int column, bool *isnull);
static void write_parts(PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range);
static void insert_parts(const PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range);
static void add_row(Column *column, const StepWork *work);
static void update_parts(const PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range);
static void begin_column(Column *column, int n, Oid type);
static void add_value(Column *column, Datum value, bool isnull);
static Datum array_of(const Column *column);

/*
 * Reads the rows of steps, and what is known of their origin. Of a step that is to be tried whether another
 * store, or this one, has a movement of that name.
 */
void
pointstore_read_parts(PartOrigin *origin, StepWork **work, int n)
{
	in_places(origin, work, n, read_parts);
}

/* Does something with messages that are of one range, for each range that has some; of a plain store with all of them. */
static void
in_places(PartOrigin *origin, StepWork **work, int n, void (*what) (PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range))
{
	StepWork  **some;
	bool	   *done;
	int			first;
	int			i;

	if (!pointstore_is_distributed())
	{
		what(origin, work, n, NULL);
		return;
	}
	some = palloc(sizeof(StepWork *) * n);
	done = palloc0(sizeof(bool) * n);
	for (first = 0; first < n; first++)
	{
		PointstorePlacement *range = done[first] ? NULL : pointstore_placement_of(work[first]->message->aggregate_id);
		int			found = 0;

		for (i = first; range != NULL && i < n; i++)
		{
			int32		hash = pointstore_hash_of(work[i]->message->aggregate_id);

			if (hash < range->min || hash > range->max)
				continue;
			done[i] = true;
			some[found++] = work[i];
		}
		if (range != NULL)
			what(origin, some, found, range);
	}
}

static void
read_parts(PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(k.place AS pg_catalog.int4), CAST(p.status AS pg_catalog.text), CAST(p.protocol AS pg_catalog.text),"
		" CAST(p.aggregate_id AS pg_catalog.text), CAST(p.amount AS pg_catalog.int8), CAST(p.event_type AS pg_catalog.text),"
		" CAST(p.payload AS pg_catalog.jsonb), CAST(p.metadata AS pg_catalog.jsonb), CAST(p.undo AS pg_catalog.jsonb),"
		" CAST(p.event_id AS pg_catalog.int8), CAST(p.end_event_id AS pg_catalog.int8),"
		" CAST(coalesce(o.name, CAST(e.origin AS pg_catalog.text), m.here) AS pg_catalog.text),"
		" CAST(s.incarnation AS pg_catalog.int8), CAST(s.finished_incarnation AS pg_catalog.int8), CAST(s.finished_below AS pg_catalog.int8)"
		" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) WITH ORDINALITY AS k (movement_id, step, tries, place)"
		" LEFT JOIN LATERAL (SELECT * FROM pointstore.participant_step p WHERE p.origin" EQ "$1"
		"   AND p.movement_id" EQ "k.movement_id AND p.step" EQ "k.step OFFSET 0) p ON true"
		" LEFT JOIN LATERAL (SELECT e.origin FROM pointstore.participant_step e WHERE e.movement_id" EQ "k.movement_id"
		"   AND e.origin" NE "$1 LIMIT 1) e ON k.tries"
		" LEFT JOIN LATERAL (SELECT CAST('this store' AS pg_catalog.text) AS here FROM pointstore.movement m"
		"   WHERE m.movement_id" EQ "k.movement_id LIMIT 1) m ON k.tries AND $5"
		" LEFT JOIN LATERAL (SELECT o.name FROM pointstore.participant_origin o WHERE o.origin" EQ "e.origin LIMIT 1) o ON true"
		" LEFT JOIN LATERAL (SELECT * FROM pointstore.participant_origin s WHERE s.origin" EQ "$1 OFFSET 0) s ON true",
		.nargs = 5, .argtypes = {UUIDOID, TEXTARRAYOID, INT2ARRAYOID, BOOLARRAYOID, BOOLOID},
		.generic = true
	};
	MemoryContext context = CurrentMemoryContext;
	Column		ids;
	Column		steps;
	Column		tries;
	Datum		values[5];
	bool		isnull;
	uint64		i;

	begin_column(&ids, n, TEXTOID);
	begin_column(&steps, n, INT2OID);
	begin_column(&tries, n, BOOLOID);
	for (i = 0; i < n; i++)
	{
		add_value(&ids, PointerGetDatum(work[i]->message->movement_id), false);
		add_value(&steps, Int16GetDatum(work[i]->message->step), false);
		add_value(&tries, BoolGetDatum(work[i]->message->verb == VERB_TRY), false);
	}
	values[0] = UUIDPGetDatum(origin->store);
	values[1] = array_of(&ids);
	values[2] = array_of(&steps);
	values[3] = array_of(&tries);
	values[4] = BoolGetDatum(origin->source == MESSAGES_FROM_AWAY);
	SPI_connect();
	execute_by_key(&plan, range, values);
	MemoryContextSwitchTo(context);
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		int			place = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));

		fill_row(&work[place - 1]->row, tuple, desc);
		origin->known = DatumGetInt64(SPI_getbinval(tuple, desc, 13, &isnull));
		origin->below_incarnation = DatumGetInt64(SPI_getbinval(tuple, desc, 14, &isnull));
		origin->below = DatumGetInt64(SPI_getbinval(tuple, desc, 15, &isnull));
	}
	SPI_finish();
}

/* Runs a statement inside an SPI connection so that it finds rows by their key. */
static void
execute_by_key(PointstorePlan *plan, PointstorePlacement *range, Datum *values)
{
	PointstoreScope scope;

	pointstore_act_as_owner(&scope);
	pointstore_set_option("enable_seqscan", "off");
	pointstore_execute_in(plan, range, values, NULL, false);
	pointstore_act_as_caller(&scope);
}

/* A row as that query finds it, in the current memory; one that is not there is PART_NONE. */
static void
fill_row(PartRow *row, HeapTuple tuple, TupleDesc desc)
{
	const char *status = SPI_getvalue(tuple, desc, 2);
	const char *protocol = SPI_getvalue(tuple, desc, 3);
	bool		no_amount;
	bool		isnull;

	memset(row, 0, sizeof(PartRow));
	row->elsewhere = SPI_getvalue(tuple, desc, 12);
	if (status == NULL)
		return;
	row->status = status_of(status);
	row->protocol = protocol == NULL ? -1 : pointstore_place(cstring_to_text(protocol), pointstore_protocol_names, N_PROTOCOLS);
	row->aggregate_id = (text *) DatumGetPointer(value_of(tuple, desc, 4, &isnull));
	row->amount = DatumGetInt64(value_of(tuple, desc, 5, &no_amount));
	row->event_type = (text *) DatumGetPointer(value_of(tuple, desc, 6, &isnull));
	row->payload = (Jsonb *) DatumGetPointer(value_of(tuple, desc, 7, &isnull));
	row->metadata = (Jsonb *) DatumGetPointer(value_of(tuple, desc, 8, &isnull));
	row->undo = (Jsonb *) DatumGetPointer(value_of(tuple, desc, 9, &isnull));
	row->event_id = DatumGetInt64(value_of(tuple, desc, 10, &isnull));
	row->end_event_id = DatumGetInt64(value_of(tuple, desc, 11, &isnull));
	row->is_broken = no_amount || lacks_something(row);
}

/* PART_NONE: there is no such status. */
static PartStatus
status_of(const char *name)
{
	PartStatus	status;

	for (status = PART_TRIED; status <= PART_CANCELLED; status++)
		if (strcmp(name, pointstore_part_names[status]) == 0)
			return status;
	return PART_NONE;
}

/* Whether a row lacks what one of its status needs. */
static bool
lacks_something(const PartRow *row)
{
	bool		is_open = row->status == PART_TRIED || row->status == PART_DONE;

	return row->status == PART_NONE || (int) row->protocol < 0 ||
		(is_open && (row->aggregate_id == NULL || row->event_type == NULL || row->event_id <= 0));
}

/* A column, copied; 0 where it is null. */
static Datum
value_of(HeapTuple tuple, TupleDesc desc, int column, bool *isnull)
{
	Datum		value = SPI_getbinval(tuple, desc, column, isnull);

	if (*isnull)
		return (Datum) 0;
	return TupleDescAttr(desc, column - 1)->attlen == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : value;
}

/* Writes what has been done: new rows, and those that have ended. */
void
pointstore_write_parts(PartOrigin *origin, StepWork **work, int n)
{
	in_places(origin, work, n, write_parts);
}

static void
write_parts(PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range)
{
	insert_parts(origin, work, n, range);
	update_parts(origin, work, n, range);
}

/* New rows: steps that were tried, tombstones. */
static void
insert_parts(const PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.participant_step (origin, movement_id, step, incarnation, number, protocol, status,"
		" aggregate_id, amount, event_type, payload, metadata, undo, event_id, end_event_id, tried_at, ended_at)"
		" SELECT $1, k.movement_id, k.step, k.incarnation, k.number, k.protocol, k.status, k.aggregate_id, k.amount, k.event_type,"
		"  CASE WHEN is_open THEN k.payload END, CASE WHEN is_open THEN k.metadata END, CASE WHEN is_open THEN k.undo END,"
		"  k.event_id, CASE WHEN NOT is_open THEN k.event_id END,"
		"  pg_catalog.clock_timestamp(), CASE WHEN NOT is_open THEN pg_catalog.clock_timestamp() END"
		" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
		"  pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
		"  pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14))"
		"  AS k (movement_id, step, incarnation, number, protocol, status, aggregate_id, amount, event_type, payload, metadata, undo, event_id),"
		" LATERAL (SELECT k.status" EQ "ANY (ARRAY['tried', 'done']) AS is_open) s",
		.nargs = 14,
		.argtypes = {UUIDOID, TEXTARRAYOID, INT2ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, JSONBARRAYOID, JSONBARRAYOID, JSONBARRAYOID, INT8ARRAYOID},
		.generic = true
	};
	static const Oid types[] = {TEXTOID, INT2OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID,
	JSONBOID, JSONBOID, JSONBOID, INT8OID};
	Column		columns[lengthof(types)];
	Datum		values[1 + lengthof(types)];
	int			i;

	for (i = 0; i < lengthof(types); i++)
		begin_column(&columns[i], n, types[i]);
	for (i = 0; i < n; i++)
		if (work[i]->is_done && work[i]->row.status == PART_NONE)
			add_row(columns, work[i]);
	if (columns[0].n == 0)
		return;
	values[0] = UUIDPGetDatum(origin->store);
	for (i = 0; i < lengthof(types); i++)
		values[1 + i] = array_of(&columns[i]);
	if (range != NULL)
		pointstore_note_written(work[0]->message->aggregate_id);
	SPI_connect();
	pointstore_execute_in(&plan, range, values, NULL, false);
	if (SPI_processed != columns[0].n)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger on participant_step has left out rows")));
	SPI_finish();
}

/* A new row, in the order of the columns. */
static void
add_row(Column *column, const StepWork *work)
{
	const StepMessage *message = work->message;
	bool		tried = message->verb == VERB_TRY;

	add_value(column++, PointerGetDatum(message->movement_id), false);
	add_value(column++, Int16GetDatum(message->step), false);
	add_value(column++, Int64GetDatum(message->incarnation), false);
	add_value(column++, Int64GetDatum(message->number), false);
	add_value(column++, CStringGetTextDatum(pointstore_protocol_names[message->protocol]), false);
	add_value(column++, CStringGetTextDatum(pointstore_part_names[work->rule->becomes]), false);
	/* of a distributed store a tombstone lies where the account is */
	add_value(column++, PointerGetDatum(message->aggregate_id), !tried && !pointstore_is_distributed());
	add_value(column++, Int64GetDatum(tried ? message->amount : 0), false);
	add_value(column++, PointerGetDatum(message->event_type), !tried);
	add_value(column++, PointerGetDatum(message->payload), !tried || message->payload == NULL);
	add_value(column++, PointerGetDatum(message->metadata), !tried || message->metadata == NULL);
	add_value(column++, PointerGetDatum(message->undo), !tried || message->undo == NULL);
	add_value(column++, Int64GetDatum(work->event_id), work->event_id == 0);
}

/* Rows that have ended. What only an open one needs is not kept. */
static void
update_parts(const PartOrigin *origin, StepWork **work, int n, PointstorePlacement *range)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.participant_step p SET status = k.status, end_event_id = k.event_id, ended_by = k.ended_by,"
		" ended_at = pg_catalog.clock_timestamp(), payload = NULL, metadata = NULL, undo = NULL"
		" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6))"
		"  AS k (movement_id, step, status, event_id, ended_by),"
		" LATERAL (SELECT r.ctid AS place FROM pointstore.participant_step r WHERE r.origin" EQ "$1 AND r.movement_id" EQ "k.movement_id"
		"  AND r.step" EQ "k.step OFFSET 0) r WHERE p.ctid" EQ "r.place",
		.nargs = 6, .argtypes = {UUIDOID, TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID},
		.generic = true
	};
	static const Oid types[] = {TEXTOID, INT2OID, TEXTOID, INT8OID, TEXTOID};
	Column		columns[lengthof(types)];
	Datum		values[1 + lengthof(types)];
	int			i;

	for (i = 0; i < lengthof(types); i++)
		begin_column(&columns[i], n, types[i]);
	for (i = 0; i < n; i++)
	{
		const char *ended_by = work[i]->ended_by;

		if (!work[i]->is_done || work[i]->row.status == PART_NONE)
			continue;
		add_value(&columns[0], PointerGetDatum(work[i]->message->movement_id), false);
		add_value(&columns[1], Int16GetDatum(work[i]->message->step), false);
		add_value(&columns[2], CStringGetTextDatum(pointstore_part_names[work[i]->rule->becomes]), false);
		add_value(&columns[3], Int64GetDatum(work[i]->event_id), work[i]->event_id == 0);
		add_value(&columns[4], ended_by == NULL ? (Datum) 0 : CStringGetTextDatum(ended_by), ended_by == NULL);
	}
	if (columns[0].n == 0)
		return;
	values[0] = UUIDPGetDatum(origin->store);
	for (i = 0; i < lengthof(types); i++)
		values[1 + i] = array_of(&columns[i]);
	if (range != NULL)
		pointstore_note_written(work[0]->message->aggregate_id);
	SPI_connect();
	execute_by_key(&plan, range, values);
	if (SPI_processed != columns[0].n)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("rows of participant_step were changed concurrently")));
	SPI_finish();
}

/* Drops tombstones of movements that have finished, some at a time: what comes late for them is refused by their number. */
void
pointstore_prune_tombstones(const PartOrigin *origin)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.participant_step WHERE ctid" EQ "ANY (ARRAY("
		"SELECT p.ctid FROM pointstore.participant_step p WHERE p.origin" EQ "$1 AND p.aggregate_id IS NULL AND p.status" EQ "'cancelled'"
		" AND (p.incarnation" LT "$2 OR (p.incarnation" EQ "$2 AND p.number" LT "$3)) LIMIT " TOMBSTONES "))",
		.nargs = 3, .argtypes = {UUIDOID, INT8OID, INT8OID}
	};
	Datum		values[3];

	values[0] = UUIDPGetDatum(origin->store);
	values[1] = Int64GetDatum(origin->below_incarnation);
	values[2] = Int64GetDatum(origin->below);
	/* nobody tells a distributed store's node which have finished (sender.c) */
	if (pointstore_is_distributed())
		return;
	SPI_connect();
	execute_by_key(&plan, NULL, values);
	SPI_finish();
}

static void
begin_column(Column *column, int n, Oid type)
{
	column->values = palloc(sizeof(Datum) * n);
	column->nulls = palloc(sizeof(bool) * n);
	column->n = 0;
	column->type = type;
}

static void
add_value(Column *column, Datum value, bool isnull)
{
	column->values[column->n] = value;
	column->nulls[column->n++] = isnull;
}

static Datum
array_of(const Column *column)
{
	int			lower = 1;
	int			n = column->n;
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(column->type, &length, &by_value, &alignment);
	return PointerGetDatum(construct_md_array(column->values, column->nulls, 1, &n, &lower, column->type, length, by_value, alignment));
}
