/*-------------------------------------------------------------------------
 *
 * src/nodes/reconcile.c
 *		reconcile_movements(): movements that began here, compared with what their participants have.
 *
 * A participant lists its rows of this store's movements, page after page, each with what the events that it names have moved.
 * They are compared with the steps here over the same stretch of keys, so that what is there and not here is seen, and what
 * is here and not there. Only what has been acknowledged for good is asked for: a step that was confirmed or
 * cancelled, or, of a movement whose steps are pruned, its outcome. Nothing is said of one that is under way.
 *
 * Nothing is mistaken, however movements go on meanwhile. What looks wrong is listed once more, and compared with what is
 * here then: what was acknowledged before it was listed again is there, or is lost. A row there rests on a movement
 * here that was committed before the first message; so what is here is read in a snapshot that is newer than the list.
 *
 * Nothing is locked. The lists are read over a connection of the function's own, by the user mapping of the store's owner; own
 * steps are listed from the table. What is found is returned, and recorded (verify/disagreement.c), in the caller's transaction. A
 * server that has been compared as a whole is not reopened any more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "nodes/link.h"
#include "nodes/message.h"
#include "nodes/origin.h"
#include "nodes/server.h"
#include "verify/disagreement.h"
#include "verify/rules.h"

PG_FUNCTION_INFO_V1(pointstore_reconcile_movements);

#define PAGE 1000				/* rows of a list */
#define AGAIN_AT_ONCE 100		/* lists of one row, in one call */
#define TIMEOUT 60000			/* ms, for a list */

/* A place among the steps, in the order of their keys. */
typedef struct StepKey
{
	text	   *movement_id;	/* null: before all, or behind all */
	int			step;
} StepKey;

/* A pass over one store. */
typedef struct Pass
{
	const char *server;			/* NULL: this store */
	StoreIdentity identity;
	Link	   *link;
	ServerAddress *address;
	char	   *store;			/* that the server is known to be; NULL: not known */
	char	   *error;			/* why it was not compared; NULL: it was */
	int			sqlerrcode;
	TimestampTz since;
	ReturnSetInfo *rsinfo;
	MemoryContext context;		/* of a page */
} Pass;

/* What looks wrong. */
typedef struct Doubt
{
	StepKey key;
	char	   *code;
	char	   *severity;
	char	   *here;
	char	   *there;
	int64		expected;
	int64		found;
	bool		no_expected;
	bool		no_found;
	Datum		detail;
} Doubt;

/* A row that a participant has listed. */
#define LISTED \
"pg_catalog.jsonb_to_recordset($1) AS t(movement_id pg_catalog.text, step pg_catalog.int4, status pg_catalog.text, amount pg_catalog.numeric," \
" applied pg_catalog.numeric, aggregate_id pg_catalog.text, number pg_catalog.int8, incarnation pg_catalog.int8, ended_by pg_catalog.text," \
" event_id pg_catalog.int8, end_event_id pg_catalog.int8)"

/* Steps of the server $2 behind the place $3, $4 and not behind $5, $6; the bounds stand for themselves too, for the key's index. */
#define IN_STRETCH(s) \
"coalesce(" s ".server, '')" EQ "coalesce($2, '')" \
" AND " s ".movement_id" GE "coalesce($3, '') AND ($5 IS NULL OR " s ".movement_id" LE "$5)" \
" AND ($3 IS NULL OR " s ".movement_id" GT "$3 OR (" s ".movement_id" EQ "$3 AND " s ".step" GT "$4))" \
" AND ($5 IS NULL OR " s ".movement_id" LT "$5 OR (" s ".movement_id" EQ "$5 AND " s ".step" LE "$6))"

/* Whether two servers, or this store, are known to be the same store. */
#define SAME_STORE(a, b) \
"(coalesce(" a ", '')" EQ "coalesce(" b ", '') OR EXISTS (SELECT FROM pointstore.movement_server x JOIN pointstore.movement_server y ON y.store" EQ "x.store" \
" WHERE x.server" EQ a " AND y.server" EQ b "))"

#define IS_APPLIED(status) "coalesce(" status EQ "ANY (ARRAY['confirmed', 'done']), false)"

/*
 * What the rows $1, which a store has listed of the stretch, and what is here do not agree in. wanted: whether the step was
 * acknowledged as applied, or as not; null: as nothing for good. A movement of this store alone is a transfer, and takes part in nothing.
 */
#define COMPARE_SQL \
"WITH here AS (SELECT s.movement_id, s.step FROM pointstore.movement_step s WHERE " IN_STRETCH("s") \
"   AND EXISTS (SELECT FROM pointstore.movement_step o WHERE o.movement_id" EQ "s.movement_id AND o.server IS NOT NULL))," \
" keys AS (SELECT coalesce(t.movement_id, h.movement_id) AS movement_id, coalesce(t.step, h.step) AS step, t.movement_id IS NOT NULL AS is_there," \
"   t.status, t.amount, t.applied, t.aggregate_id, t.ended_by, t.event_id, t.end_event_id" \
"   FROM " LISTED " FULL JOIN here h ON h.movement_id" EQ "t.movement_id AND h.step" EQ "t.step)," \
" both_sides AS (SELECT k.*, m.phase, m.finished_at, m.movement_id IS NOT NULL AS is_known, s.status AS here, s.server, s.amount AS own_amount," \
"   s.aggregate_id AS own_account, s.step IS NOT NULL AS has_step, (s.undo OPERATOR(pg_catalog.->>) 'amount') IS NOT NULL AS undone_otherwise," \
"   CASE WHEN s.status" EQ "'confirmed' OR (s.status" EQ "'done' AND m.finished_at IS NOT NULL) THEN true" \
"        WHEN s.status" EQ "ANY (ARRAY['cancelled', 'undone']) THEN false" \
"        WHEN s.step IS NULL AND m.finished_at IS NOT NULL THEN CASE WHEN m.phase" EQ "ANY (ARRAY['confirmed', 'done']) THEN true" \
"          WHEN m.phase" EQ "ANY (ARRAY['cancelled', 'undone']) THEN false END END AS wanted" \
"   FROM keys k LEFT JOIN pointstore.movement m ON m.movement_id" EQ "k.movement_id" \
"   LEFT JOIN pointstore.movement_step s ON s.movement_id" EQ "k.movement_id AND s.step" EQ "k.step)," \
" judged AS (SELECT b.*, CASE" \
"   WHEN b.is_there AND NOT b.is_known THEN CASE WHEN b.status" NE "'cancelled' THEN 'movement_unknown' END" \
"   WHEN b.is_there AND NOT b.has_step AND b.finished_at IS NULL THEN 'movement_unknown'" \
"   WHEN b.is_there AND b.has_step AND NOT " SAME_STORE("b.server", "$2") " THEN CASE WHEN b.status" NE "'cancelled' THEN 'movement_unknown' END" \
"   WHEN b.wanted AND (NOT b.is_there OR NOT " IS_APPLIED("b.status") " OR (b.applied" EQ "0 AND coalesce(b.own_amount, b.amount)" NE "0)) THEN 'movement_lost'" \
"   WHEN b.wanted AND " DIFFERS("b.applied", "coalesce(b.own_amount, b.amount)") " THEN 'movement_doubled'" \
"   WHEN NOT b.wanted AND b.is_there AND b.status" EQ "'tried' THEN 'movement_open'" \
"   WHEN NOT b.wanted AND b.is_there AND (" IS_APPLIED("b.status") " OR (coalesce(b.applied, 0)" NE "0 AND NOT b.undone_otherwise)) THEN 'movement_one_legged'" \
"   END AS code FROM both_sides b)" \
" SELECT j.movement_id, j.step, j.code, CASE WHEN j.code" EQ "'movement_open' THEN 'warning' ELSE 'error' END," \
"  coalesce(j.here, j.phase), j.status," \
"  CASE WHEN j.is_known THEN " AS_BIGINT("CASE WHEN j.wanted THEN coalesce(j.own_amount, j.amount) WHEN NOT j.wanted THEN 0 END") " END," \
"  CASE WHEN j.is_there THEN " AS_BIGINT("j.applied") " ELSE 0 END," \
"  pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('aggregate_id', coalesce(j.own_account, j.aggregate_id)," \
"    'amount', coalesce(j.own_amount, j.amount), 'applied', j.applied, 'here', coalesce(j.here, j.phase), 'there', j.status," \
"    'ended_by', j.ended_by, 'event_id', coalesce(j.end_event_id, j.event_id)))" \
" FROM judged j WHERE j.code IS NOT NULL ORDER BY 1, 2"

static List *servers_to_ask(void);
static void pass_over_if_it_can(Pass *pass);
static bool attempt_pass(void *arg);
static void pass_over(Pass *pass);
static void go_through(Pass *pass);
static bool find_address(void *arg);
static bool open_link(Pass *pass);
static LinkState await_link(Link *link);
static char *known_store(const char *server);
static Jsonb *list(Pass *pass, const StepKey *after, int n, int limit);
static char *write_call(Pass *pass, const StepKey *after, int n, int limit);
static Jsonb *list_own(Pass *pass, const StepKey *after, int n, int limit);
static Jsonb *ask(Pass *pass, const char *call);
static Jsonb *answers_of(Pass *pass, const char *text);
static char *text_of(Jsonb *object, const char *key);
static Jsonb *member_of(Jsonb *object, const char *key);
static void fail(Pass *pass, int sqlerrcode, const char *error);
static Jsonb *rows_of(Jsonb *answers, int i);
static void key_of_row(Jsonb *rows, int i, StepKey *key);
static int	compare(Pass *pass, Jsonb *rows, const StepKey *after, const StepKey *to, Doubt **doubts);
static void read_doubt(Doubt *doubt, HeapTuple row, TupleDesc desc);
static char *copy_value(HeapTuple row, TupleDesc desc, int column);
static bool look_again(Pass *pass, Doubt *doubts, int n);
static void look_again_at(Pass *pass, const Doubt *doubt, Jsonb *rows);
static void tell(Pass *pass, const Doubt *doubt);
static void tell_failure(Pass *pass);
static void put_row(Pass *pass, const Doubt *doubt);
static void end_pass(Pass *pass);

/* reconcile_movements(server): null: all, and this store; see the install script. */
Datum
pointstore_reconcile_movements(PG_FUNCTION_ARGS)
{
	Pass		pass = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	PointstoreScope scope;
	ListCell   *cell;

	pointstore_check_arguments(fcinfo, 1);
	PreventCommandIfReadOnly("reconcile_movements()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("reconcile_movements() must run in READ COMMITTED"),
				 errdetail("What is here has to be read after what is there.")));
	pointstore_materialize(fcinfo);
	pointstore_act_as_restricted(pointstore_store()->owner, &scope);
	pointstore_know_store(&pass.identity);
	pass.context = AllocSetContextCreate(CurrentMemoryContext, "pointstore reconcile_movements", ALLOCSET_DEFAULT_SIZES);
	if (!PG_ARGISNULL(0))
	{
		pass.server = text_to_cstring(PG_GETARG_TEXT_PP(0));
		pass_over(&pass);
		if (pass.error != NULL)
			ereport(ERROR,
					(errcode(pass.sqlerrcode),
					 errmsg("server \"%s\" cannot be compared: %s", pass.server, pass.error)));
	}
	else
	{
		pass_over(&pass);
		foreach(cell, servers_to_ask())
		{
			pass.server = lfirst(cell);
			pass_over_if_it_can(&pass);
			if (pass.error != NULL)
				tell_failure(&pass);
		}
	}
	pointstore_act_as_caller(&scope);
	return (Datum) 0;
}

/* All that there are of the foreign data wrapper: one that no movement names may have rows of what is not here any more. */
static List *
servers_to_ask(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT s.srvname FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid" EQ "s.srvfdw"
		" WHERE w.fdwname" EQ "'pointstore' ORDER BY 1"
	};
	MemoryContext context = CurrentMemoryContext;
	List	   *names = NIL;
	uint64		i;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, false);
	MemoryContextSwitchTo(context);
	for (i = 0; i < SPI_processed; i++)
		names = lappend(names, pstrdup(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1)));
	SPI_finish();
	return names;
}

/* The same of one of many: whatever it has answered, the others are compared. */
static void
pass_over_if_it_can(Pass *pass)
{
	ErrorData  *error = pointstore_attempt(attempt_pass, pass);

	if (error != NULL)
		fail(pass, error->sqlerrcode, error->message);
	MemoryContextReset(pass->context);
}

static bool
attempt_pass(void *arg)
{
	pass_over(arg);
	return true;
}

/* Compares one store, from the first step to the last. Where it does not answer pass->error says why, and nothing of it is closed. */
static void
pass_over(Pass *pass)
{
	pass->since = GetCurrentTimestamp();
	pass->error = NULL;
	pass->store = NULL;
	if (pass->server == NULL)
	{
		go_through(pass);
		end_pass(pass);
		return;
	}
	pass->store = known_store(pass->server);
	pass->link = pointstore_link_new();
	PG_TRY();
	{
		if (open_link(pass))
			go_through(pass);
	}
	PG_FINALLY();
	{
		pointstore_link_free(pass->link);
		pass->link = NULL;
	}
	PG_END_TRY();
	if (pass->error == NULL)
		end_pass(pass);
}

/* Page after page. */
static void
go_through(Pass *pass)
{
	MemoryContext old = MemoryContextSwitchTo(pass->context);
	StepKey		after = {0};
	bool		last = false;

	while (!last)
	{
		Jsonb	   *answers = list(pass, &after, 1, PAGE);
		Jsonb	   *rows = answers != NULL ? rows_of(answers, 0) : NULL;
		StepKey		to = {0};
		Doubt	   *doubts;
		int			n;

		if (rows == NULL)
			break;
		n = JB_ROOT_COUNT(rows);
		last = n < PAGE;
		if (!last)
			key_of_row(rows, n - 1, &to);
		n = compare(pass, rows, &after, &to, &doubts);
		if (!look_again(pass, doubts, n) || last)
			break;
		/* the next page begins there, in memory that outlives this one's */
		MemoryContextSwitchTo(old);
		after = (StepKey) {.movement_id = DatumGetTextPCopy(PointerGetDatum(to.movement_id)), .step = to.step};
		MemoryContextReset(pass->context);
		MemoryContextSwitchTo(pass->context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(pass->context);
}

/* The store that a server was when it last answered; NULL: it has not. */
static char *
known_store(const char *server)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(store AS pg_catalog.text) FROM pointstore.movement_server WHERE server" EQ "$1 AND store IS NOT NULL",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		value = CStringGetTextDatum(server);
	char	   *store = NULL;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	if (SPI_processed > 0)
		store = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return store;
}

/* False: pass->error says why. */
static bool
open_link(Pass *pass)
{
	ErrorData  *error = pointstore_attempt(find_address, pass);

	if (error != NULL)
		fail(pass, error->sqlerrcode, error->message);
	else
	{
		pointstore_link_open(pass->link, pass->address);
		if (await_link(pass->link) != LINK_READY)
			fail(pass, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, pointstore_link_error(pass->link));
	}
	return pass->error == NULL;
}

static bool
find_address(void *arg)
{
	Pass	   *pass = arg;

	pass->address = pointstore_server_address(pass->server, GetUserId());
	return true;
}

/* Waits until a link is ready or closed. */
static LinkState
await_link(Link *link)
{
	while (pointstore_link_state(link) == LINK_OPENING || pointstore_link_state(link) == LINK_BUSY)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), pointstore_link_due(link));

		(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT | pointstore_link_events(link),
								 pointstore_link_socket(link), Max(left, 0) + 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		(void) pointstore_link_poll(link);
	}
	return pointstore_link_state(link);
}

/* The answers to so many lists, each of the rows behind a place; NULL: pass->error says why. */
static Jsonb *
list(Pass *pass, const StepKey *after, int n, int limit)
{
	if (pass->server == NULL)
		return list_own(pass, after, n, limit);
	return ask(pass, write_call(pass, after, n, limit));
}

/* The same of this store's own steps. */
static Jsonb *
list_own(Pass *pass, const StepKey *after, int n, int limit)
{
	Asked	   *asked = palloc0(sizeof(Asked) * n);
	Jsonb	   *answers;
	int			i;

	for (i = 0; i < n; i++)
	{
		asked[i].kind = ASKED_LIST;
		asked[i].after_movement = after[i].movement_id;
		asked[i].after_step = after[i].step;
		asked[i].limit = limit;
	}
	PushActiveSnapshot(GetLatestSnapshot());
	answers = pointstore_answers(&pass->identity.store, asked, n);
	PopActiveSnapshot();
	return answers;
}

static char *
write_call(Pass *pass, const StepKey *after, int n, int limit)
{
	StringInfoData call;
	int			i;

	initStringInfo(&call);
	appendStringInfo(&call, "{\"version\": %d, \"origin\": \"%s\", \"incarnation\": " INT64_FORMAT ", \"messages\": [",
					 MESSAGE_VERSION, pointstore_store_name(&pass->identity), pass->identity.incarnation);
	for (i = 0; i < n; i++)
	{
		appendStringInfo(&call, "%s{\"do\": \"list\", \"limit\": %d", i > 0 ? ", " : "", limit);
		if (after[i].movement_id != NULL)
		{
			appendStringInfoString(&call, ", \"after\": {\"movement_id\": ");
			escape_json(&call, pointstore_cstring(after[i].movement_id));
			appendStringInfo(&call, ", \"step\": %d}", after[i].step);
		}
		appendStringInfoChar(&call, '}');
	}
	appendStringInfoString(&call, "]}");
	return call.data;
}

static Jsonb *
ask(Pass *pass, const char *call)
{
	LinkStatement statement = {.sql = "SELECT pointstore.participate($1)", .parameter = call};

	pointstore_link_send(pass->link, &statement, 1, TIMEOUT);
	if (await_link(pass->link) != LINK_READY)
		fail(pass, ERRCODE_CONNECTION_FAILURE, pointstore_link_error(pass->link));
	else if (statement.sqlstate[0] != '\0')
		fail(pass, MAKE_SQLSTATE(statement.sqlstate[0], statement.sqlstate[1], statement.sqlstate[2], statement.sqlstate[3], statement.sqlstate[4]),
			 statement.error);
	else if (!statement.succeeded || statement.value == NULL)
		fail(pass, ERRCODE_CONNECTION_FAILURE, "it has not answered");
	else
		return answers_of(pass, statement.value);
	return NULL;
}

/* The answers of a call, where they come from the store that is known by that server. */
static Jsonb *
answers_of(Pass *pass, const char *text)
{
	Jsonb	   *answer = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	char	   *store = JB_ROOT_IS_OBJECT(answer) ? text_of(answer, "store") : NULL;
	Jsonb	   *answers = JB_ROOT_IS_OBJECT(answer) ? member_of(answer, "answers") : NULL;

	if (store == NULL || answers == NULL || !JB_ROOT_IS_ARRAY(answers))
		fail(pass, ERRCODE_FDW_ERROR, "it does not answer as a store");
	else if (pass->store != NULL && strcmp(pass->store, store) != 0)
		fail(pass, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, psprintf("it is store %s now, and was store %s", store, pass->store));
	else if (strcmp(store, pointstore_store_name(&pass->identity)) == 0)
		fail(pass, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "it leads to this store itself, or to a copy of it");
	else
		return answers;
	return NULL;
}

/* A member that is a string; NULL: it is not. */
static char *
text_of(Jsonb *object, const char *key)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&object->root, key, strlen(key), &value) == NULL || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* A member that is an object or an array; NULL: it is not. */
static Jsonb *
member_of(Jsonb *object, const char *key)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&object->root, key, strlen(key), &value) == NULL || value.type != jbvBinary)
		return NULL;
	return JsonbValueToJsonb(&value);
}

static void
fail(Pass *pass, int sqlerrcode, const char *error)
{
	pass->sqlerrcode = sqlerrcode;
	pass->error = MemoryContextStrdup(MemoryContextGetParent(pass->context), error != NULL ? error : "it does not answer");
}

/* The rows of one of the answers; an array, whatever was answered. */
static Jsonb *
rows_of(Jsonb *answers, int i)
{
	JsonbValue *answer = getIthJsonbValueFromContainer(&answers->root, i);
	Jsonb	   *object = answer != NULL && answer->type == jbvBinary ? JsonbValueToJsonb(answer) : NULL;
	Jsonb	   *rows = object != NULL && JB_ROOT_IS_OBJECT(object) ? member_of(object, "rows") : NULL;

	if (rows == NULL || !JB_ROOT_IS_ARRAY(rows))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("a participant does not list its steps")));
	return rows;
}

/* The place of a row. */
static void
key_of_row(Jsonb *rows, int i, StepKey *key)
{
	JsonbValue *row = getIthJsonbValueFromContainer(&rows->root, i);
	Jsonb	   *object = row != NULL && row->type == jbvBinary ? JsonbValueToJsonb(row) : NULL;
	char	   *movement_id = object != NULL && JB_ROOT_IS_OBJECT(object) ? text_of(object, "movement_id") : NULL;
	JsonbValue	step;

	if (movement_id == NULL || getKeyJsonValueFromContainer(&object->root, "step", 4, &step) == NULL || step.type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("a participant lists a step without its key")));
	key->movement_id = cstring_to_text(movement_id);
	key->step = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(step.val.numeric)));
}

/* What does not agree of a stretch, from behind one place up to another, in a snapshot of now. */
static int
compare(Pass *pass, Jsonb *rows, const StepKey *after, const StepKey *to, Doubt **doubts)
{
	static PointstorePlan plan = {
		.sql = COMPARE_SQL, .nargs = 6, .argtypes = {JSONBOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	Datum		values[6];
	char		nulls[7] = {' ', pass->server == NULL ? 'n' : ' ', after->movement_id == NULL ? 'n' : ' ', ' ',
	to->movement_id == NULL ? 'n' : ' ', ' ', '\0'};
	int			n;
	int			i;

	values[0] = JsonbPGetDatum(rows);
	values[1] = pass->server != NULL ? CStringGetTextDatum(pass->server) : (Datum) 0;
	values[2] = PointerGetDatum(after->movement_id);
	values[3] = Int32GetDatum(after->step);
	values[4] = PointerGetDatum(to->movement_id);
	values[5] = Int32GetDatum(to->step);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	pointstore_execute(&plan, values, nulls, true);
	n = SPI_processed;
	MemoryContextSwitchTo(context);
	*doubts = palloc0(sizeof(Doubt) * Max(n, 1));
	for (i = 0; i < n; i++)
		read_doubt(&(*doubts)[i], SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_finish();
	PopActiveSnapshot();
	return n;
}

static void
read_doubt(Doubt *doubt, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	doubt->key.movement_id = DatumGetTextPCopy(SPI_getbinval(row, desc, 1, &isnull));
	doubt->key.step = DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
	doubt->code = copy_value(row, desc, 3);
	doubt->severity = copy_value(row, desc, 4);
	doubt->here = copy_value(row, desc, 5);
	doubt->there = copy_value(row, desc, 6);
	doubt->expected = DatumGetInt64(SPI_getbinval(row, desc, 7, &doubt->no_expected));
	doubt->found = DatumGetInt64(SPI_getbinval(row, desc, 8, &doubt->no_found));
	doubt->detail = PointerGetDatum(DatumGetJsonbPCopy(SPI_getbinval(row, desc, 9, &isnull)));
}

static char *
copy_value(HeapTuple row, TupleDesc desc, int column)
{
	char	   *value = SPI_getvalue(row, desc, column);

	return value != NULL ? pstrdup(value) : NULL;
}

/* Lists once more what looks wrong, and tells what still does. False: pass->error says why not. */
static bool
look_again(Pass *pass, Doubt *doubts, int n)
{
	StepKey		before[AGAIN_AT_ONCE];
	int			first;
	int			i;

	for (first = 0; first < n; first += AGAIN_AT_ONCE)
	{
		int			now = Min(n - first, AGAIN_AT_ONCE);
		Jsonb	   *answers;

		for (i = 0; i < now; i++)
			before[i] = (StepKey) {.movement_id = doubts[first + i].key.movement_id, .step = doubts[first + i].key.step - 1};
		answers = list(pass, before, now, 1);
		if (answers == NULL)
			return false;
		for (i = 0; i < now; i++)
			look_again_at(pass, &doubts[first + i], rows_of(answers, i));
	}
	return true;
}

/* rows: the first one that is listed from its place on, which is its own or is not. */
static void
look_again_at(Pass *pass, const Doubt *doubt, Jsonb *rows)
{
	StepKey		after = {.movement_id = doubt->key.movement_id, .step = doubt->key.step - 1};
	StepKey		listed = {0};
	Doubt	   *now;

	if (JB_ROOT_COUNT(rows) > 0)
		key_of_row(rows, 0, &listed);
	if (listed.movement_id != NULL && (listed.step != doubt->key.step || !pointstore_same_text(listed.movement_id, doubt->key.movement_id)))
		rows = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("[]")));
	if (compare(pass, rows, &after, &doubt->key, &now) > 0 && strcmp(now->code, doubt->code) == 0 &&
		(now->here == NULL) == (doubt->here == NULL) && (now->here == NULL || strcmp(now->here, doubt->here) == 0))
		tell(pass, now);
}

/* Records what is wrong, and returns it unless it is acknowledged. */
static void
tell(Pass *pass, const Doubt *doubt)
{
	Disagreement wrong = {
		.movement_id = doubt->key.movement_id, .step = doubt->key.step, .server = pass->server != NULL ? pass->server : "",
		.code = doubt->code, .severity = doubt->severity, .expected = doubt->expected, .found = doubt->found,
		.no_expected = doubt->no_expected, .no_found = doubt->no_found, .detail = doubt->detail, .since = pass->since
	};

	if (pointstore_record_disagreement(&wrong))
		put_row(pass, doubt);
}

/* A server that was not compared is a row of its own, and a WARNING. */
static void
tell_failure(Pass *pass)
{
	StringInfoData detail;

	ereport(WARNING,
			(errcode(pass->sqlerrcode),
			 errmsg("server \"%s\" cannot be compared: %s", pass->server, pass->error)));
	initStringInfo(&detail);
	appendStringInfo(&detail, "{\"sqlstate\": \"%s\", \"error\": ", unpack_sql_state(pass->sqlerrcode));
	escape_json(&detail, pass->error);
	appendStringInfoChar(&detail, '}');
	put_row(pass, &(Doubt) {.code = "unverified", .detail = DirectFunctionCall1(jsonb_in, CStringGetDatum(detail.data))});
}

static void
put_row(Pass *pass, const Doubt *doubt)
{
	Datum		values[7] = {0};
	bool		nulls[7] = {pass->server == NULL, doubt->key.movement_id == NULL, doubt->key.movement_id == NULL, false,
	doubt->here == NULL, doubt->there == NULL, false};

	if (pass->server != NULL)
		values[0] = CStringGetTextDatum(pass->server);
	values[1] = PointerGetDatum(doubt->key.movement_id);
	values[2] = Int32GetDatum(doubt->key.step);
	values[3] = CStringGetTextDatum(doubt->code);
	if (doubt->here != NULL)
		values[4] = CStringGetTextDatum(doubt->here);
	if (doubt->there != NULL)
		values[5] = CStringGetTextDatum(doubt->there);
	values[6] = doubt->detail;
	tuplestore_putvalues(pass->rsinfo->setResult, pass->rsinfo->setDesc, values, nulls);
}

/* What has not been found again is closed, and the server is not reopened any more. */
static void
end_pass(Pass *pass)
{
	static PointstorePlan plan = {
		.sql = "UPDATE pointstore.movement_server SET reopened_at = NULL WHERE server" EQ "$1 AND reopened_at" LT "$2",
		.nargs = 2, .argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2];

	pointstore_resolve_disagreements(pass->server != NULL ? pass->server : "", pass->since);
	if (pass->server == NULL)
		return;
	values[0] = CStringGetTextDatum(pass->server);
	values[1] = TimestampTzGetDatum(pass->since);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
}
