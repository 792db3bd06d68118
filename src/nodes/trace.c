/*-------------------------------------------------------------------------
 *
 * src/nodes/trace.c
 *		trace(): what followed from what in this store: events, movements and their steps, as a tree.
 *
 * What an event has caused are the events that name it as their cause, and the movements whose metadata does. A movement has phases and
 * steps; a step of this store has events, which cause others. The tree is made level by level: one statement looks for all that
 * the events of a level have caused. Each event and each movement is in it once, so causes that go in a circle end it.
 *
 * Events are found by the index of causes (account/held.sql). Where that is gone they are read from the first cause on, by
 * id: what was caused came later. Of a distributed store all nodes are asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_trace);

#define N_TRACE_COLUMNS 11
#define NOWHERE (-1)

/* What each statement here returns: the key of what it follows from, then the columns of trace() but depth, as text. */
#define EVENT_COLUMNS(parent, because) \
"SELECT CAST(" parent " AS pg_catalog.text), CAST(e.created_at AS pg_catalog.timestamptz), 'event', CAST(e.id AS pg_catalog.text)," \
" CAST(e.aggregate_id AS pg_catalog.text), CAST(e.version AS pg_catalog.text), CAST(e.event_type AS pg_catalog.text)," \
" CAST(e.amount AS pg_catalog.text), CAST(NULL AS pg_catalog.text), CAST(NULL AS pg_catalog.text), " because
#define MOVEMENT_COLUMNS(parent) \
"SELECT " parent ", CAST(m.started_at AS pg_catalog.timestamptz), 'movement', CAST(m.movement_id AS pg_catalog.text)," \
" CAST(NULL AS pg_catalog.text), CAST(NULL AS pg_catalog.text), CAST(m.protocol AS pg_catalog.text), CAST(NULL AS pg_catalog.text)," \
" CAST(m.phase AS pg_catalog.text), CAST(NULL AS pg_catalog.text), coalesce(CAST(m.error AS pg_catalog.text)," \
" 'cause ' OPERATOR(pg_catalog.||) (m.metadata OPERATOR(pg_catalog.->>) 'cause_id')) FROM pointstore.movement m"
#define OWN_STORE "(SELECT w.store FROM pointstore.movement_store w WHERE w.only_one LIMIT 1)"
#define STEP_OF "'step ' OPERATOR(pg_catalog.||) CAST(p.step AS pg_catalog.text) OPERATOR(pg_catalog.||) ' of ' OPERATOR(pg_catalog.||) p.movement_id"

typedef struct TraceNode
{
	int			parent;			/* NOWHERE: a root */
	int			depth;
	int			first;			/* of what follows from it, and the next beside it; NOWHERE: none */
	int			last;
	int			next;
	bool		is_event;
	bool		is_movement;
	bool		is_step;
	int64		event;
	char	   *column[N_TRACE_COLUMNS];	/* from 1; at is the next */
	TimestampTz at;
	bool		has_at;
} TraceNode;

/* An event that is in the tree, or a step of the movement that is being added. */
typedef struct TraceKey
{
	int64		id;
	int			node;
} TraceKey;

typedef struct Trace
{
	TraceNode  *nodes;
	int			n;
	int			room;
	HTAB	   *events;
	HTAB	   *movements;		/* their names */
	int			looked;			/* what the nodes before have caused is in the tree */
} Trace;

static void begin_trace(Trace *trace);
static bool trace_movement(Trace *trace, const char *movement_id, int parent);
static void trace_steps(Trace *trace, int movement, Datum movement_id);
static void trace_correlated(Trace *trace, text *correlation);
static void trace_caused(Trace *trace);
static int	gather_events(Trace *trace, Datum *ids, Datum *names, int64 *first);
static void add_rows(Trace *trace, PointstorePlan *plan, Datum *values, int parent);
static int	parent_of(Trace *trace, const char *key, int parent);
static void add_row(Trace *trace, HeapTuple row, TupleDesc desc, int parent);
static bool is_known(Trace *trace, TraceNode *node);
static void put_nodes(const Trace *trace, ReturnSetInfo *rsinfo);
static void put_node(const TraceNode *node, ReturnSetInfo *rsinfo);

/* trace(cause_or_movement): see the install script. */
Datum
pointstore_trace(PG_FUNCTION_ARGS)
{
	static PointstorePlan by_id = {
		.sql = EVENT_COLUMNS("NULL", "'cause ' OPERATOR(pg_catalog.||) CAST(e.cause_id AS pg_catalog.text)")
		" FROM pointstore.event_store e WHERE e.id" EQ "$1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Trace		trace;
	PointstoreScope scope;
	text	   *what;
	char	   *name;

	pointstore_check_arguments(fcinfo, 1);
	what = pointstore_name(fcinfo, 0, "cause_or_movement");
	name = text_to_cstring(what);
	pointstore_materialize(fcinfo);
	begin_trace(&trace);
	pointstore_act_as_reader(&scope);
	if (!trace_movement(&trace, name, NOWHERE))
	{
		if (strspn(name, "0123456789") == strlen(name) && strlen(name) <= 18)
		{
			Datum		id = Int64GetDatum(strtoll(name, NULL, 10));

			add_rows(&trace, &by_id, &id, NOWHERE);
		}
		if (trace.n == 0)
			trace_correlated(&trace, what);
	}
	while (trace.looked < trace.n)
		trace_caused(&trace);
	pointstore_act_as_caller(&scope);
	if (trace.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("there is no movement, event or correlation id \"%s\"", name)));
	put_nodes(&trace, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

static void
begin_trace(Trace *trace)
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(TraceKey), .hcxt = CurrentMemoryContext};

	memset(trace, 0, sizeof(Trace));
	trace->room = 64;
	trace->nodes = palloc0(sizeof(TraceNode) * trace->room);
	trace->events = hash_create("pointstore trace", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	trace->movements = pointstore_text_table("pointstore traced movements", sizeof(text *), CurrentMemoryContext);
}

/* A movement that began here, or that this store takes part in, with its phases and steps. False: there is none. */
static bool
trace_movement(Trace *trace, const char *movement_id, int parent)
{
	static PointstorePlan own = {
		.sql = MOVEMENT_COLUMNS("NULL") " WHERE m.movement_id" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	static PointstorePlan away = {
		.sql = "SELECT NULL, pg_catalog.min(p.tried_at), 'movement', CAST(p.movement_id AS pg_catalog.text), CAST(NULL AS pg_catalog.text),"
		" CAST(NULL AS pg_catalog.text), CAST(pg_catalog.min(p.protocol) AS pg_catalog.text), CAST(NULL AS pg_catalog.text), CAST(NULL AS pg_catalog.text),"
		" CAST(coalesce(pg_catalog.min(o.name), CAST(p.origin AS pg_catalog.text)) AS pg_catalog.text), 'began in another store'"
		" FROM pointstore.participant_step p LEFT JOIN pointstore.participant_origin o ON o.origin" EQ "p.origin"
		" WHERE p.movement_id" EQ "$1 AND p.origin" NE OWN_STORE
		" GROUP BY p.origin, p.movement_id",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(movement_id);
	int			before = trace->n;

	add_rows(trace, &own, &value, parent);
	if (trace->n == before)
		add_rows(trace, &away, &value, parent);
	if (trace->n == before)
		return false;
	trace_steps(trace, before, value);
	return true;
}

/* What belongs to a movement. */
static void
trace_steps(Trace *trace, int movement, Datum movement_id)
{
	static PointstorePlan parts[] = {
		{
			.sql = "SELECT NULL, CAST(l.at AS pg_catalog.timestamptz), 'phase', CAST(NULL AS pg_catalog.text), CAST(NULL AS pg_catalog.text),"
			" CAST(NULL AS pg_catalog.text), CAST(NULL AS pg_catalog.text), CAST(NULL AS pg_catalog.text), CAST(l.status AS pg_catalog.text),"
			" CAST(NULL AS pg_catalog.text), coalesce(CAST(l.error AS pg_catalog.text), 'by ' OPERATOR(pg_catalog.||) CAST(l.by_role AS pg_catalog.text))"
			" FROM pointstore.movement_log l WHERE l.movement_id" EQ "$1 AND l.step IS NULL ORDER BY l.id",
			.nargs = 1, .argtypes = {TEXTOID}
		},
		{
			.sql = "SELECT NULL, CAST(s.at AS pg_catalog.timestamptz), 'step', CAST(s.step AS pg_catalog.text), CAST(s.aggregate_id AS pg_catalog.text),"
			" CAST(NULL AS pg_catalog.text), CAST(s.event_type AS pg_catalog.text), CAST(s.amount AS pg_catalog.text), CAST(s.status AS pg_catalog.text),"
			" CAST(s.server AS pg_catalog.text), coalesce(CAST(s.error AS pg_catalog.text), CASE WHEN s.server IS NOT NULL THEN"
			" 'event ' OPERATOR(pg_catalog.||) CAST(s.event_id AS pg_catalog.text) OPERATOR(pg_catalog.||) ' there' END)"
			" FROM pointstore.movement_step s WHERE s.movement_id" EQ "$1 ORDER BY s.step",
			.nargs = 1, .argtypes = {TEXTOID}
		},
		{
			.sql = "SELECT NULL, CAST(coalesce(p.ended_at, p.tried_at) AS pg_catalog.timestamptz), 'step', CAST(p.step AS pg_catalog.text), CAST(p.aggregate_id AS pg_catalog.text),"
			" CAST(NULL AS pg_catalog.text), CAST(p.event_type AS pg_catalog.text), CAST(p.amount AS pg_catalog.text), CAST(p.status AS pg_catalog.text),"
			" CAST(NULL AS pg_catalog.text), 'by ' OPERATOR(pg_catalog.||) CAST(p.ended_by AS pg_catalog.text)"
			" FROM pointstore.participant_step p WHERE p.movement_id" EQ "$1 AND p.origin" NE OWN_STORE " ORDER BY p.step",
			.nargs = 1, .argtypes = {TEXTOID}
		},
		{
			.sql = EVENT_COLUMNS("p.step", STEP_OF)
			" FROM pointstore.participant_step p JOIN pointstore.event_store e ON e.id" EQ "p.event_id AND e.aggregate_id" EQ "p.aggregate_id"
			" WHERE p.movement_id" EQ "$1 ORDER BY e.id",
			.nargs = 1, .argtypes = {TEXTOID}
		},
		{
			.sql = EVENT_COLUMNS("p.step", STEP_OF)
			" FROM pointstore.movement_step p JOIN pointstore.event_store e ON e.id" EQ "p.event_id AND e.aggregate_id" EQ "p.aggregate_id"
			" WHERE p.movement_id" EQ "$1 AND p.server IS NULL AND NOT EXISTS (SELECT FROM pointstore.participant_step q"
			"  WHERE q.movement_id" EQ "p.movement_id AND q.step" EQ "p.step AND q.origin" EQ OWN_STORE ") ORDER BY e.id",
			.nargs = 1, .argtypes = {TEXTOID}
		}
	};
	/* the last are events of transfers, which are not where a distributed store has the movement */
	int			n = lengthof(parts) - pointstore_is_distributed();
	int			i;

	for (i = 0; i < n; i++)
		add_rows(trace, &parts[i], &movement_id, movement);
}

/* All events and movements whose metadata has that correlation id: what the others have not caused is where it began. The events of those movements come with them. */
static void
trace_correlated(Trace *trace, text *correlation)
{
	static PointstorePlan events = {
		.sql = EVENT_COLUMNS("e.cause_id", "'cause ' OPERATOR(pg_catalog.||) CAST(e.cause_id AS pg_catalog.text)")
		" FROM pointstore.event_store e WHERE (e.metadata OPERATOR(pg_catalog.->>) 'correlation_id')" EQ "$1"
		" AND NOT EXISTS (SELECT FROM pointstore.movement m WHERE m.movement_id" EQ "(e.metadata OPERATOR(pg_catalog.->>) 'movement_id')"
		"  AND (m.metadata OPERATOR(pg_catalog.->>) 'correlation_id')" EQ "$1) ORDER BY e.id",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	/* those of its movements are there before them */
	static PointstorePlan events_of_nodes = {
		.sql = EVENT_COLUMNS("e.cause_id", "'cause ' OPERATOR(pg_catalog.||) CAST(e.cause_id AS pg_catalog.text)")
		" FROM pointstore.event_store e WHERE (e.metadata OPERATOR(pg_catalog.->>) 'correlation_id')" EQ "$1 ORDER BY e.id",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	static PointstorePlan movements = {
		.sql = MOVEMENT_COLUMNS("m.metadata OPERATOR(pg_catalog.->>) 'cause_id'")
		" WHERE (m.metadata OPERATOR(pg_catalog.->>) 'correlation_id')" EQ "$1 ORDER BY m.number",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(correlation);
	int			from;
	int			n;

	if (!pointstore_is_distributed())
		add_rows(trace, &events, &value, NOWHERE);
	from = trace->n;
	add_rows(trace, &movements, &value, NOWHERE);
	n = trace->n;
	for (; from < n; from++)
		trace_steps(trace, from, CStringGetTextDatum(trace->nodes[from].column[3]));
	if (pointstore_is_distributed())
		add_rows(trace, &events_of_nodes, &value, NOWHERE);
}

/* What the events caused that came into the tree since the last time. */
static void
trace_caused(Trace *trace)
{
	static PointstorePlan events = {
		.sql = EVENT_COLUMNS("e.cause_id", "CASE WHEN e.leg" GE "1 THEN 'leg of ' ELSE 'cause ' END OPERATOR(pg_catalog.||) CAST(e.cause_id AS pg_catalog.text)")
		" FROM pointstore.event_store e WHERE e.cause_id" EQ "ANY ($1) AND e.id" GT "$2 ORDER BY e.id",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8OID}
	};
	static PointstorePlan movements = {
		.sql = MOVEMENT_COLUMNS("m.metadata OPERATOR(pg_catalog.->>) 'cause_id'")
		" WHERE m.metadata OPERATOR(pg_catalog.?) 'cause_id' AND (m.metadata OPERATOR(pg_catalog.->>) 'cause_id')" EQ "ANY ($1) ORDER BY m.number",
		.nargs = 1, .argtypes = {TEXTARRAYOID}
	};
	Datum	   *ids = palloc(sizeof(Datum) * trace->n);
	Datum	   *names = palloc(sizeof(Datum) * trace->n);
	int64		first = PG_INT64_MAX;
	int			n = gather_events(trace, ids, names, &first);
	int			from;
	Datum		values[2];

	if (n == 0)
		return;
	values[0] = PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = Int64GetDatum(first);
	add_rows(trace, &events, values, NOWHERE);
	values[0] = PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
	from = trace->n;
	add_rows(trace, &movements, values, NOWHERE);
	n = trace->n;
	for (; from < n; from++)
		trace_steps(trace, from, CStringGetTextDatum(trace->nodes[from].column[3]));
}

/* The events that came into the tree since the last time: how many, and the lowest id. */
static int
gather_events(Trace *trace, Datum *ids, Datum *names, int64 *first)
{
	int			n = 0;

	for (; trace->looked < trace->n; trace->looked++)
		if (trace->nodes[trace->looked].is_event)
		{
			ids[n] = Int64GetDatum(trace->nodes[trace->looked].event);
			names[n++] = CStringGetTextDatum(trace->nodes[trace->looked].column[3]);
			*first = Min(*first, trace->nodes[trace->looked].event);
		}
	return n;
}

/* Adds what a statement returns, each row where its key says, or to a parent. */
static void
add_rows(Trace *trace, PointstorePlan *plan, Datum *values, int parent)
{
	MemoryContext context = CurrentMemoryContext;
	uint64		i;

	plan->spans_nodes = true;
	SPI_connect();
	pointstore_execute(plan, values, NULL, true);
	for (i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *key = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		CHECK_FOR_INTERRUPTS();
		add_row(trace, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, parent_of(trace, key, parent));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

/* The node that a key names: a step of the movement that is the parent, or an event. */
static int
parent_of(Trace *trace, const char *key, int parent)
{
	TraceKey   *found;
	int64		id;
	int			child;

	if (key == NULL || key[strspn(key, "0123456789")] != '\0')
		return parent;
	if (parent != NOWHERE && trace->nodes[parent].is_movement)
	{
		for (child = trace->nodes[parent].first; child != NOWHERE; child = trace->nodes[child].next)
			if (trace->nodes[child].is_step && strcmp(trace->nodes[child].column[3], key) == 0)
				return child;
		return parent;
	}
	id = strtoll(key, NULL, 10);
	found = hash_search(trace->events, &id, HASH_FIND, NULL);
	return found != NULL ? found->node : parent;
}

/* Unless it is in the tree already, or has no name, which somebody has taken away. */
static void
add_row(Trace *trace, HeapTuple row, TupleDesc desc, int parent)
{
	TraceNode	node = {.parent = parent, .first = NOWHERE, .last = NOWHERE, .next = NOWHERE};
	bool		isnull;
	int			i;

	for (i = 2; i < N_TRACE_COLUMNS; i++)
		node.column[i] = SPI_getvalue(row, desc, i + 1);
	node.at = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &isnull));
	node.has_at = !isnull;
	node.is_event = strcmp(node.column[2], "event") == 0;
	node.is_movement = strcmp(node.column[2], "movement") == 0;
	node.is_step = strcmp(node.column[2], "step") == 0;
	node.depth = parent == NOWHERE ? 0 : trace->nodes[parent].depth + 1;
	if ((node.is_event || node.is_movement || node.is_step) && node.column[3] == NULL)
		return;
	if (is_known(trace, &node))
		return;
	if (trace->n == trace->room)
	{
		trace->room *= 2;
		trace->nodes = repalloc_huge(trace->nodes, sizeof(TraceNode) * trace->room);
	}
	trace->nodes[trace->n] = node;
	if (parent != NOWHERE)
	{
		TraceNode  *above = &trace->nodes[parent];

		if (above->last == NOWHERE)
			above->first = trace->n;
		else
			trace->nodes[above->last].next = trace->n;
		above->last = trace->n;
	}
	trace->n++;
}

/* Whether an event or a movement is in the tree; it is from now on. */
static bool
is_known(Trace *trace, TraceNode *node)
{
	TraceKey   *key;
	text	   *name;
	bool		found;

	if (node->is_movement && node->column[3] != NULL)
	{
		name = cstring_to_text(node->column[3]);
		(void) hash_search(trace->movements, &name, HASH_ENTER, &found);
		return found;
	}
	if (!node->is_event || node->column[3] == NULL)
		return false;
	node->event = strtoll(node->column[3], NULL, 10);
	key = hash_search(trace->events, &node->event, HASH_ENTER, &found);
	if (!found)
		key->node = trace->n;
	return found;
}

/* All of the tree, each node before what follows from it. */
static void
put_nodes(const Trace *trace, ReturnSetInfo *rsinfo)
{
	int			root;

	for (root = 0; root < trace->n; root++)
	{
		int			node = root;

		if (trace->nodes[root].parent != NOWHERE)
			continue;
		while (node != NOWHERE)
		{
			CHECK_FOR_INTERRUPTS();
			put_node(&trace->nodes[node], rsinfo);
			if (trace->nodes[node].first != NOWHERE)
				node = trace->nodes[node].first;
			else
			{
				while (node != NOWHERE && trace->nodes[node].next == NOWHERE)
					node = trace->nodes[node].parent;
				node = node == NOWHERE ? NOWHERE : trace->nodes[node].next;
			}
		}
	}
}

static void
put_node(const TraceNode *node, ReturnSetInfo *rsinfo)
{
	Datum		values[N_TRACE_COLUMNS];
	bool		nulls[N_TRACE_COLUMNS];
	int			i;

	for (i = 2; i < N_TRACE_COLUMNS; i++)
	{
		nulls[i] = node->column[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : i == 5 || i == 7 ? Int64GetDatum(strtoll(node->column[i], NULL, 10)) : CStringGetTextDatum(node->column[i]);
	}
	values[0] = Int32GetDatum(node->depth);
	nulls[0] = false;
	values[1] = TimestampTzGetDatum(node->at);
	nulls[1] = !node->has_at;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
