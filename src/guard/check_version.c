/*-------------------------------------------------------------------------
 *
 * src/guard/check_version.c
 *		check_version(): optimistic locking for any table of the user's. It knows
 *		nothing of the store.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "ground/detail.h"
#include "ground/pointstore.h"

PG_FUNCTION_INFO_V1(pointstore_check_version);

static void check_call(FunctionCallInfo fcinfo, bool *automatic);
static int	version_column(const TriggerData *trigger, Oid *type);
static int64 version_value(Datum value, Oid type);
static const char *version_text(int64 version, bool isnull, Oid type);
static void report_conflict(const TriggerData *trigger, int att, const char *actual, const char *requested);
static HeapTuple raised_version(const TriggerData *trigger, int att, Oid type, int64 old);

/*
 * check_version(column [, 'auto']): an UPDATE raises the integer column by 1,
 * or the timestamptz column at all, else PS001; with auto one that leaves it
 * alone raises it. 39P01, 22023, 42703, 42804 for a wrong use.
 */
Datum
pointstore_check_version(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		automatic;
	int			att;
	Oid			type;
	bool		old_null;
	bool		new_null;
	int64		old;
	int64		new;

	check_call(fcinfo, &automatic);
	att = version_column(trigger, &type);
	old = version_value(heap_getattr(trigger->tg_trigtuple, att, RelationGetDescr(trigger->tg_relation), &old_null), type);
	new = version_value(heap_getattr(trigger->tg_newtuple, att, RelationGetDescr(trigger->tg_relation), &new_null), type);
	if (automatic && !old_null && !new_null && old == new)
		return PointerGetDatum(raised_version(trigger, att, type, old));
	if (old_null || new_null || (type == TIMESTAMPTZOID ? new <= old : old == PG_INT64_MAX || new != old + 1))
		report_conflict(trigger, att, version_text(old, old_null, type), version_text(new, new_null, type));
	return PointerGetDatum(trigger->tg_newtuple);
}

/* That it is fired as it must be, with the arguments it takes. */
static void
check_call(FunctionCallInfo fcinfo, bool *automatic)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Trigger    *self;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_version() serves as a BEFORE UPDATE trigger for each row")));
	self = trigger->tg_trigger;
	*automatic = self->tgnargs == 2 && strcmp(self->tgargs[1], "auto") == 0;
	if (self->tgnargs < 1 || self->tgnargs > 2 || (self->tgnargs == 2 && !*automatic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("check_version() takes a column and, perhaps, 'auto'")));
}

/* The column that is named, and its type. */
static int
version_column(const TriggerData *trigger, Oid *type)
{
	const char *name = trigger->tg_trigger->tgargs[0];
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			att = SPI_fnumber(desc, name);

	if (att <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"", RelationGetRelationName(trigger->tg_relation), name)));
	*type = SPI_gettypeid(desc, att);
	if (*type != INT2OID && *type != INT4OID && *type != INT8OID && *type != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is neither an integer nor timestamptz", name)));
	return att;
}

/* A version of one of these types as a number. */
static int64
version_value(Datum value, Oid type)
{
	return type == INT2OID ? DatumGetInt16(value) : type == INT4OID ? DatumGetInt32(value)
		: DatumGetInt64(value);
}

/* The same for a message: as SQL shows it. */
static const char *
version_text(int64 version, bool isnull, Oid type)
{
	if (isnull)
		return "null";
	return type == TIMESTAMPTZOID ? pstrdup(timestamptz_to_str(version)) : psprintf(INT64_FORMAT, version);
}

/* PS001, which names the table and the column for programs too. */
static void
report_conflict(const TriggerData *trigger, int att, const char *actual, const char *requested)
{
	StringInfoData detail;

	initStringInfo(&detail);
	pointstore_detail(&detail, "field", trigger->tg_trigger->tgargs[0]);
	pointstore_detail(&detail, "actual_version", actual);
	pointstore_detail(&detail, "requested", requested);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
			 errmsg("version conflict on table \"%s\": column \"%s\" is %s, requested %s",
					RelationGetRelationName(trigger->tg_relation), trigger->tg_trigger->tgargs[0], actual, requested),
			 errdetail_internal("%s", detail.data),
			 errhint("An UPDATE raises it%s. Read the row again, and decide anew.",
					 SPI_gettypeid(RelationGetDescr(trigger->tg_relation), att) == TIMESTAMPTZOID ? "" : " by 1"),
			 errtablecol(trigger->tg_relation, att)));
}

/* The new row with its version raised: 22003 at the end of the type. */
static HeapTuple
raised_version(const TriggerData *trigger, int att, Oid type, int64 old)
{
	int64		limit = type == INT2OID ? PG_INT16_MAX : type == INT4OID ? PG_INT32_MAX
		: type == INT8OID ? PG_INT64_MAX : END_TIMESTAMP - 1;
	bool		isnull = false;
	Datum		value;

	if (old >= limit)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the version column of table \"%s\" is at its end",
						RelationGetRelationName(trigger->tg_relation))));
	value = type == INT2OID ? Int16GetDatum(old + 1) : type == INT4OID ? Int32GetDatum(old + 1)
		: Int64GetDatum(type == INT8OID ? old + 1 : Max(old + 1, GetCurrentTimestamp()));
	return heap_modify_tuple_by_cols(trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation),
									 1, &att, &value, &isnull);
}
