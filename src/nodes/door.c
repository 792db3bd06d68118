/*-------------------------------------------------------------------------
 *
 * src/nodes/door.c
 *		ask_movement(): what other nodes of a distributed store ask about a movement whose rows are on this one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/acl.h"

#include "ground/json.h"
#include "ground/name.h"
#include "ground/store.h"
#include "nodes/apart.h"
#include "nodes/await.h"
#include "nodes/movement.h"
#include "nodes/route.h"
#include "nodes/verdict.h"

PG_FUNCTION_INFO_V1(pointstore_ask_about_movement);

/* ask_movement(movement_id, call): see the install script. */
Datum
pointstore_ask_about_movement(PG_FUNCTION_ARGS)
{
	JsonbParseState *state = NULL;
	text	   *movement_id = pointstore_name(fcinfo, 0, "movement_id");
	MovementRow row;
	Jsonb	   *call;
	text	   *what;
	Oid			caller;

	pointstore_require_owner(movement_id);
	call = PG_ARGISNULL(1) || !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)) ? NULL : PG_GETARG_JSONB_P(1);
	what = call == NULL ? NULL : pointstore_told_text(call, "do");
	if (what == NULL || pointstore_told_text(call, "by") == NULL ||
		(strcmp(pointstore_cstring(what), "resolve") == 0 && pointstore_told_text(call, "reason") == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a call is an object that says what is asked, and for whom")));
	caller = get_role_oid(pointstore_cstring(pointstore_told_text(call, "by")), false);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (strcmp(pointstore_cstring(what), "begin") == 0)
		pointstore_begin_here(&row, movement_id, call, caller, &state);
	else if (strcmp(pointstore_cstring(what), "cancel") == 0)
		pointstore_cancel_here(&row, movement_id, pointstore_told_text(call, "reason"), caller);
	else if (strcmp(pointstore_cstring(what), "resolve") == 0)
		pointstore_resolve_here(&row, movement_id, pointstore_told(call, "decision"), pointstore_told_text(call, "reason"), caller);
	else
		pointstore_wait_here(&row, movement_id, pointstore_told(call, "timeout"));
	pointstore_tell_row(&state, &row);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
