/*-------------------------------------------------------------------------
 *
 * src/verify/course.c
 *		Whose history the transitions of today would refuse: check_transitions().
 *
 * The events of a kind's accounts and what account_log says of their kinds and states, in
 * one statement, account by account in the order in which it happened, are followed through
 * the rows as they are now. So the states that are stored do not count: a kind may have
 * been given transitions when its accounts had a long history. Reads once, takes no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "account/kind.h"
#include "account/transition.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/store.h"
#include "ground/sql.h"

PG_FUNCTION_INFO_V1(pointstore_check_transitions);

#define ROWS_AT_ONCE 1000

/* What has happened to the accounts of a kind, in order. */
#define SELECT_HISTORIES \
	"WITH a AS (SELECT aggregate_id FROM pointstore.balance WHERE kind" EQ "$1" \
	" UNION ALL SELECT aggregate_id FROM pointstore.pure_account WHERE kind" EQ "$1)" \
	" SELECT e.aggregate_id, e.version, e.event_type, CAST(NULL AS pg_catalog.text) AS action, CAST(NULL AS pg_catalog.text) AS kind," \
	"        CAST(NULL AS pg_catalog.text) AS state, e.id," \
	/* what undoes a movement's step passes in every state */ \
	"        e.cause_id IS NOT NULL AND (e.metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL AS undoes" \
	"   FROM a JOIN pointstore.event_store e ON e.aggregate_id" EQ "a.aggregate_id" \
	" UNION ALL" \
	" SELECT l.aggregate_id, CASE WHEN l.after OPERATOR(pg_catalog.->>) 'version' OPERATOR(pg_catalog.~) '^[0-9]{1,18}$'" \
	"          THEN CAST(l.after OPERATOR(pg_catalog.->>) 'version' AS pg_catalog.int8) END, NULL, l.action," \
	"        l.after OPERATOR(pg_catalog.->>) 'kind', " LOGGED_STATE("l.after") ", l.id, false" \
	"   FROM a JOIN pointstore.account_log l ON l.aggregate_id" EQ "a.aggregate_id" \
	"  WHERE l.action" EQ "ANY (ARRAY['open', 'set_kind']) AND l.after IS NOT NULL" \
	/* what was logged at a version came after that event */ \
	" ORDER BY 1, 2, 4 NULLS FIRST, 7"

/* An account on its way through its history. */
typedef struct Course
{
	const Kind *kind;
	char	   *account;		/* null: none yet */
	text	   *state;
	bool		under;			/* the account is under the kind, as far as its log says */
	bool		refused;		/* that was told */
	Tuplestorestate *result;
	TupleDesc	desc;
	MemoryContext context;		/* of the account */
	MemoryContext rows;			/* of so many rows */
} Course;

static void follow_histories(Course *course, PointstorePlan *plan, text *kind);
static void follow_row(Course *course, HeapTuple row, TupleDesc desc);
static void begin_account(Course *course, const char *account);
static void follow_log(Course *course, const char *action, const char *kind, const char *state);
static void follow_event(Course *course, const char *event_type, Datum version, bool undoes);
static void tell(Course *course, text *event_type, Datum version);
static Datum allowed_types(const Course *course);

/* check_transitions(kind): of a distributed store the histories are read as the caller, who can log in on the other nodes. */
Datum
pointstore_check_transitions(PG_FUNCTION_ARGS)
{
	static PointstorePlan here = {
		.sql = SELECT_HISTORIES, .nargs = 1, .argtypes = {TEXTOID}
	};
	static PointstorePlan everywhere = {
		.sql = SELECT_HISTORIES, .nargs = 1, .argtypes = {TEXTOID}, .spans_nodes = true
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *name = pointstore_name(fcinfo, 0, "kind");
	Course		course = {0};
	PointstoreScope scope;

	pointstore_materialize(fcinfo);
	course.result = rsinfo->setResult;
	course.desc = rsinfo->setDesc;
	pointstore_act_as_reader(&scope);
	course.kind = pointstore_require_kind(name);
	if (!pointstore_is_distributed())
		follow_histories(&course, &here, name);
	pointstore_act_as_caller(&scope);
	if (pointstore_is_distributed())
		follow_histories(&course, &everywhere, name);
	return (Datum) 0;
}

/* What the statement tells of the kind's accounts, in order. */
static void
follow_histories(Course *course, PointstorePlan *plan, text *kind)
{
	Datum		value = PointerGetDatum(kind);
	Portal		cursor;

	course->context = AllocSetContextCreate(CurrentMemoryContext, "pointstore course", ALLOCSET_SMALL_SIZES);
	course->rows = AllocSetContextCreate(CurrentMemoryContext, "pointstore course rows", ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	cursor = SPI_cursor_open(NULL, pointstore_prepare(plan)->plan, &value, NULL, true);
	for (SPI_cursor_fetch(cursor, true, ROWS_AT_ONCE); SPI_processed > 0; SPI_cursor_fetch(cursor, true, ROWS_AT_ONCE))
	{
		MemoryContext old = MemoryContextSwitchTo(course->rows);
		uint64		i;

		CHECK_FOR_INTERRUPTS();
		for (i = 0; i < SPI_processed; i++)
			follow_row(course, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		MemoryContextReset(course->rows);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(cursor);
	SPI_finish();
	MemoryContextDelete(course->context);
	MemoryContextDelete(course->rows);
}

/* An event, or an entry of the log, in an account's history. */
static void
follow_row(Course *course, HeapTuple row, TupleDesc desc)
{
	char	   *account = SPI_getvalue(row, desc, 1);
	char	   *action = SPI_getvalue(row, desc, 4);
	char	   *event_type = SPI_getvalue(row, desc, 3);
	Datum		version;
	bool		isnull;

	version = SPI_getbinval(row, desc, 2, &isnull);
	if (account == NULL)
		return;
	if (course->account == NULL || strcmp(course->account, account) != 0)
		begin_account(course, account);
	if (action != NULL)
		follow_log(course, action, SPI_getvalue(row, desc, 5), SPI_getvalue(row, desc, 6));
	else if (event_type != NULL && !isnull && course->under && !course->refused)
		follow_event(course, event_type, version, DatumGetBool(SPI_getbinval(row, desc, 8, &isnull)));
}

/* Of what the log does not say the account has been under the kind from the start. */
static void
begin_account(Course *course, const char *account)
{
	MemoryContextReset(course->context);
	course->account = MemoryContextStrdup(course->context, account);
	course->state = course->kind->initial_state;
	course->under = true;
	course->refused = false;
}

/* The account was opened, or came under a kind and in a state. */
static void
follow_log(Course *course, const char *action, const char *kind, const char *state)
{
	MemoryContext old = MemoryContextSwitchTo(course->context);

	course->under = kind == NULL || pointstore_same_text(cstring_to_text(kind), course->kind->name);
	if (strcmp(action, "open") == 0)
		course->state = course->kind->initial_state;
	else
		course->state = state == NULL ? NULL : pointstore_some_state(cstring_to_text(state));
	MemoryContextSwitchTo(old);
}

/* An event of an account that is under the kind: its state moves on, or it is told. */
static void
follow_event(Course *course, const char *event_type, Datum version, bool undoes)
{
	const Kind *kind = course->kind;
	text	   *type = cstring_to_text(event_type);
	TransitionAnswer answer = TRANSITION_UNNAMED;

	if (kind->transitions != NULL)
		answer = pointstore_follow(kind->transitions, type, course->state, &course->state);
	if (answer == TRANSITION_ALLOWED || undoes || pointstore_asks_no_transition(type) || (answer == TRANSITION_UNNAMED && !kind->strict))
		return;
	course->refused = true;
	tell(course, type, version);
}

/* The first event of an account that is refused. */
static void
tell(Course *course, text *event_type, Datum version)
{
	Datum		values[5];
	bool		nulls[5] = {0};

	values[0] = CStringGetTextDatum(course->account);
	values[1] = version;
	values[2] = PointerGetDatum(event_type);
	values[3] = PointerGetDatum(course->state);
	nulls[3] = course->state == NULL;
	values[4] = allowed_types(course);
	tuplestore_putvalues(course->result, course->desc, values, nulls);
}

/* The event types that the kind allows in the account's state. */
static Datum
allowed_types(const Course *course)
{
	const Transitions *transitions = course->kind->transitions;
	int			n = transitions == NULL ? 0 : transitions->n;
	Datum	   *types = palloc(sizeof(Datum) * Max(n, 1));
	int			found = 0;
	int			i;

	for (i = 0; i < n; i++)
		if (pointstore_same_state(transitions->rows[i].from_state, course->state))
			types[found++] = PointerGetDatum(transitions->rows[i].event_type);
	return PointerGetDatum(construct_array(types, found, TEXTOID, -1, false, TYPALIGN_INT));
}
