/*-------------------------------------------------------------------------
 *
 * src/guard/function.c
 *		The guard of functions that the store calls for others: account_kind.reducer and
 *		upcaster.function.
 *
 * A name is looked up as whoever writes it would call it, and kept with its schema. Who writes it, and the store's owner, must be allowed to
 * have it called as whom it will be (ground/function.c). A name that stays as it was is left alone, whatever has
 * become of the function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "ground/function.h"
#include "ground/name.h"
#include "ground/store.h"
#include "ground/wake.h"
#include "guard/trigger.h"

PG_FUNCTION_INFO_V1(pointstore_guard_function);

static AttrNumber function_column(const TriggerData *trigger, const char *name);

/* Trigger of account_kind and upcaster: BEFORE INSERT OR UPDATE. */
Datum
pointstore_guard_function(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		is_update;
	bool		is_kind;
	HeapTuple	row;
	AttrNumber	att;
	text	   *name;
	UserFunctionSort sort;
	Oid			function;
	Datum		value;
	bool		isnull = false;
	int			column;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid("pointstore", true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_function() serves as a BEFORE INSERT OR UPDATE row trigger of the store")));
	is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	is_kind = strcmp(RelationGetRelationName(trigger->tg_relation), "account_kind") == 0;
	sort = is_kind ? FUNCTION_REDUCER : FUNCTION_UPCASTER;
	row = is_update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	att = function_column(trigger, is_kind ? "reducer" : "function");
	name = pointstore_text_column(row, trigger, att);
	if (is_kind)
		pointstore_wake_at_commit();	/* it may have snapshots from now on */
	if (name == NULL || (is_update && !pointstore_column_differs(trigger, att)))
		return PointerGetDatum(row);
	function = pointstore_find_function(text_to_cstring(name), sort, false);
	pointstore_require_function(function, sort, GetUserId());
	pointstore_require_function(function, sort, pointstore_store_owner());
	value = CStringGetTextDatum(pointstore_function_text(function, sort));
	column = att;
	return PointerGetDatum(heap_modify_tuple_by_cols(row, RelationGetDescr(trigger->tg_relation), 1, &column, &value, &isnull));
}

/* 39P01 where it is not there, or is no text. */
static AttrNumber
function_column(const TriggerData *trigger, const char *name)
{
	AttrNumber	att = SPI_fnumber(RelationGetDescr(trigger->tg_relation), name);

	if (att <= 0 || SPI_gettypeid(RelationGetDescr(trigger->tg_relation), att) != TEXTOID)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("table \"%s\" has no column \"%s\" of type text", RelationGetRelationName(trigger->tg_relation), name)));
	return att;
}
