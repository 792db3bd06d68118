/*-------------------------------------------------------------------------
 *
 * src/nodes/route.c
 *		What is asked about a movement of a distributed store, on whatever node: it is done where its rows are.
 *
 * The functions that users call are not delegated themselves: what they do as the caller, they do on the node that was called. What they
 * read and write of the movement's rows they ask by ask_movement(), which Citus delegates, as the store's owner. So all that one transaction
 * does to a movement is done in one session there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "append/propose.h"
#include "ground/identity.h"
#include "ground/json.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/twophase.h"
#include "nodes/route.h"

static void read_row(MovementRow *row, Jsonb *told, text *movement_id);

/* A call that is put together: more keys follow. */
JsonbParseState *
pointstore_begin_asking(const char *what, Oid caller)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_string(&state, "do", what);
	pointstore_push_string(&state, "by", pointstore_role_name(caller));
	return state;
}

/* Asks the node that has the movement: its row, and all of the answer. */
Jsonb *
pointstore_ask_movement(JsonbParseState *state, text *movement_id, MovementRow *row)
{
	Jsonb	   *call = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	MemoryContext context = CurrentMemoryContext;
	int			level = pointstore_pin_transaction();
	PointstoreScope scope;
	Jsonb	   *told;
	char	   *sql;
	bool		isnull;

	pointstore_act_as_reader(&scope);
	sql = psprintf("SELECT * FROM pointstore.ask_movement(%s, CAST(%s AS pg_catalog.jsonb))", quote_literal_cstr(pointstore_cstring(movement_id)),
				   quote_literal_cstr(JsonbToCString(NULL, &call->root, 0)));
	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not ask about movement \"%s\"", pointstore_cstring(movement_id));
	MemoryContextSwitchTo(context);
	told = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&scope);
	AtEOXact_GUC(true, level);
	read_row(row, told, movement_id);
	return told;
}

/* What callers are told of a movement. */
void
pointstore_tell_row(JsonbParseState **state, const MovementRow *row)
{
	pointstore_push_number(state, "protocol", row->protocol);
	pointstore_push_string(state, "phase", pointstore_phase_names[row->phase]);
	pointstore_push_number(state, "began", row->body != NULL);
	if (row->error != NULL)
		pointstore_push_string(state, "error", row->error);
}

static void
read_row(MovementRow *row, Jsonb *told, text *movement_id)
{
	text	   *error = pointstore_told_text(told, "error");

	memset(row, 0, sizeof(MovementRow));
	row->movement_id = movement_id;
	row->protocol = pointstore_told(told, "protocol");
	row->phase = Max(0, pointstore_place(pointstore_told_text(told, "phase"), pointstore_phase_names, N_PHASES));
	row->error = error == NULL ? NULL : pointstore_cstring(error);
	/* which is only asked whether there is one */
	row->body = pointstore_told(told, "began") != 0 ? palloc0(VARHDRSZ) : NULL;
}

/* A number of a call or an answer; 0: it lacks. */
int64
pointstore_told(Jsonb *call, const char *key)
{
	JsonbValue	member;

	return pointstore_member(call, key, &member) ? pointstore_json_bigint(key, &member) : 0;
}

/* A string of it; null: it lacks. */
text *
pointstore_told_text(Jsonb *call, const char *key)
{
	JsonbValue	member;

	return pointstore_member(call, key, &member) && member.type != jbvNull ? pointstore_json_text(key, &member) : NULL;
}
