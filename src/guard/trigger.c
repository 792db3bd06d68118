/*-------------------------------------------------------------------------
 *
 * src/guard/trigger.c
 *		What the guards have in common: whether one is fired as it must be, and
 *		the columns of the rows that it is fired for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "ground/compat.h"
#include "ground/name.h"
#include "ground/shard.h"
#include "guard/trigger.h"

pg_noreturn static void refuse_trigger(void);

/*
 * The trigger's data; 39P01 when it is not a row trigger of the given table of the store,
 * fired at once by one of these events.
 */
TriggerData *
pointstore_guarded_trigger(FunctionCallInfo fcinfo, PointstoreTableId table, int firings)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(firings & (TRIGGER_FIRED_BEFORE(trigger->tg_event) ? 1 : TRIGGER_FIRED_AFTER(trigger->tg_event) ? 16 : 0) <<
		  (trigger->tg_event & TRIGGER_EVENT_OPMASK)) ||
		trigger->tg_trigger->tgdeferrable)
		refuse_trigger();
	(void) pointstore_trigger_table(trigger, table);
	return trigger;
}

/* The table of the store that a row trigger fires for; 39P01 where it is another. */
const PointstoreTable *
pointstore_trigger_table(const TriggerData *trigger, PointstoreTableId id)
{
	const PointstoreTable *table = pointstore_table_of_relation(RelationGetRelid(trigger->tg_relation), id);

	if (table == NULL)
	{
		pointstore_refuse_left_shard(trigger->tg_relation, id);
		refuse_trigger();
	}
	return table;
}

static void
refuse_trigger(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("the guards of pointstore serve as row triggers of its own tables alone")));
}

/* NULL where it is null. */
text *
pointstore_text_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, att, RelationGetDescr(trigger->tg_relation), &isnull);

	return isnull ? NULL : DatumGetTextPP(value);
}

/* Of a column declared NOT NULL: where that constraint was dropped a null reads as ''. */
text *
pointstore_known_text_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att)
{
	text	   *value = pointstore_text_column(tuple, trigger, att);

	return value != NULL ? value : cstring_to_text("");
}

/* 0 where it is null; given, where wanted, says which. */
int64
pointstore_bigint_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att, bool *given)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, att, RelationGetDescr(trigger->tg_relation), &isnull);

	if (given != NULL)
		*given = !isnull;
	return isnull ? 0 : DatumGetInt64(value);
}

/* Whether an UPDATE changes a column, by its bytes. */
bool
pointstore_column_differs(const TriggerData *trigger, AttrNumber att)
{
	Form_pg_attribute form = TupleDescAttr(RelationGetDescr(trigger->tg_relation), att - 1);
	bool		old_null;
	bool		new_null;
	Datum		old = heap_getattr(trigger->tg_trigtuple, att, RelationGetDescr(trigger->tg_relation), &old_null);
	Datum		new = heap_getattr(trigger->tg_newtuple, att, RelationGetDescr(trigger->tg_relation), &new_null);

	if (old_null || new_null)
		return old_null != new_null;
	if (form->attlen == -1)
		return !pointstore_same_text(DatumGetTextPP(old), DatumGetTextPP(new));
	return old != new;
}
