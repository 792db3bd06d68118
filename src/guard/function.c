/*-------------------------------------------------------------------------
 *
 * src/guard/function.c
 *		The guard of functions that the store calls for others: account_kind.reducer and
 *		.merge, upcaster.function.
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
#include "ground/shard.h"
#include "ground/store.h"
#include "ground/wake.h"
#include "guard/trigger.h"

PG_FUNCTION_INFO_V1(pointstore_guard_function);

static HeapTuple guard_name(HeapTuple row, const TriggerData *trigger, const char *column, UserFunctionSort sort);
static AttrNumber function_column(const TriggerData *trigger, const char *name);

/* Trigger of account_kind and upcaster: BEFORE INSERT OR UPDATE. */
Datum
pointstore_guard_function(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid("pointstore", true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_function() serves as a BEFORE INSERT OR UPDATE row trigger of the store")));
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	if (pointstore_table_of_relation(RelationGetRelid(trigger->tg_relation), TABLE_ACCOUNT_KIND) == NULL)
		return PointerGetDatum(guard_name(row, trigger, "function", FUNCTION_UPCASTER));
	pointstore_wake_at_commit();	/* it may have snapshots from now on */
	row = guard_name(row, trigger, "reducer", FUNCTION_REDUCER);
	return PointerGetDatum(guard_name(row, trigger, "merge", FUNCTION_MERGE));
}

/* The row with the name of a function as it is kept: 42883, 42501. */
static HeapTuple
guard_name(HeapTuple row, const TriggerData *trigger, const char *column, UserFunctionSort sort)
{
	AttrNumber	att = function_column(trigger, column);
	int			place = att;
	text	   *name = pointstore_text_column(row, trigger, att);
	bool		isnull = false;
	Oid			function;
	Datum		value;

	if (name == NULL || (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && !pointstore_column_differs(trigger, att)))
		return row;
	function = pointstore_find_function(text_to_cstring(name), sort, false);
	pointstore_require_function(function, sort, GetUserId());
	pointstore_require_function(function, sort, pointstore_store_owner());
	value = CStringGetTextDatum(pointstore_function_text(function, sort));
	return heap_modify_tuple_by_cols(row, RelationGetDescr(trigger->tg_relation), 1, &place, &value, &isnull);
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
