/*-------------------------------------------------------------------------
 *
 * src/feed/upcast.c
 *		Payloads of older forms, brought to the newest when events are read.
 *
 * What is stored is never touched. The upcaster of an event's type and of its payload's form makes the next form of it, the
 * upcaster of that form the one after, until there is none. They are read once for each call that reads
 * events, by its snapshot; who has none pays for one look into an empty table.
 *
 * An upcaster that is not there any more is no error until an event needs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "feed/page.h"
#include "feed/upcast.h"
#include "ground/detail.h"
#include "ground/function.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/store.h"

typedef struct Upcaster
{
	text	   *event_type;
	int			form;			/* that it takes */
	char	   *name;
	UserFunction *function;		/* null: not called yet */
} Upcaster;

struct Upcasters
{
	MemoryContext context;
	int			n;
	Upcaster	items[FLEXIBLE_ARRAY_MEMBER];
};

/* An event whose payload is being upcast. */
typedef struct Upcasting
{
	const Datum *values;
	const Upcaster *upcaster;
	int64		position;
} Upcasting;

static HeapTuple upcast(const Upcasters *upcasters, HeapTuple row, TupleDesc desc, int64 position);
static Upcaster *find_upcaster(const Upcasters *upcasters, const Datum *values, const bool *nulls);
static Datum call_upcaster(const Upcasters *upcasters, Upcaster *upcaster, const Datum *values, int64 position);
static void tell_event(void *arg);

Upcasters *
pointstore_read_upcasters(void)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(u.event_type AS pg_catalog.text), CAST(u.payload_version AS pg_catalog.int4), CAST(u.function AS pg_catalog.text)"
		" FROM pointstore.upcaster u WHERE u.event_type IS NOT NULL AND u.payload_version IS NOT NULL AND u.function IS NOT NULL"
		" ORDER BY 1, 2, 3"
	};
	MemoryContext context = CurrentMemoryContext;
	Upcasters  *upcasters = NULL;
	uint64		i;

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	MemoryContextSwitchTo(context);
	if (SPI_processed > 0)
	{
		upcasters = palloc0(offsetof(Upcasters, items) + sizeof(Upcaster) * SPI_processed);
		upcasters->context = context;
		upcasters->n = SPI_processed;
	}
	for (i = 0; i < SPI_processed; i++)
	{
		Upcaster   *upcaster = &upcasters->items[i];
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;

		upcaster->event_type = cstring_to_text(SPI_getvalue(row, SPI_tuptable->tupdesc, 1));
		upcaster->form = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		upcaster->name = pstrdup(SPI_getvalue(row, SPI_tuptable->tupdesc, 3));
	}
	SPI_finish();
	return upcasters;
}

/* An event's row with the newest form of its payload; the row itself where it has that. */
static HeapTuple
upcast(const Upcasters *upcasters, HeapTuple row, TupleDesc desc, int64 position)
{
	Datum		values[N_EVENT_COLUMNS];
	bool		nulls[N_EVENT_COLUMNS];

	if (upcasters == NULL)
		return row;
	heap_deform_tuple(row, desc, values, nulls);
	if (find_upcaster(upcasters, values, nulls) == NULL)
		return row;
	pointstore_upcast_columns(upcasters, values, nulls, position);
	return heap_form_tuple(desc, values, nulls);
}

void
pointstore_upcast_page(FeedPage *page)
{
	Upcasters  *upcasters = page->nevents > 0 ? pointstore_read_upcasters() : NULL;
	int			i;

	for (i = 0; upcasters != NULL && i < page->nevents; i++)
	{
		CHECK_FOR_INTERRUPTS();
		page->events[i].row = upcast(upcasters, page->events[i].row, page->desc, page->events[i].position);
	}
}

void
pointstore_upcast_columns(const Upcasters *upcasters, Datum *values, bool *nulls, int64 position)
{
	Upcaster   *upcaster;

	while (upcasters != NULL && (upcaster = find_upcaster(upcasters, values, nulls)) != NULL)
	{
		values[EV_PAYLOAD] = call_upcaster(upcasters, upcaster, values, position);
		values[EV_PAYLOAD_VERSION] = Int16GetDatum(upcaster->form + 1);
		nulls[EV_PAYLOAD_VERSION] = false;
	}
}

/* The upcaster that an event wants; NULL: its payload is of the newest form. The list is in order, and short. */
static Upcaster *
find_upcaster(const Upcasters *upcasters, const Datum *values, const bool *nulls)
{
	int			form = nulls[EV_PAYLOAD_VERSION] ? 1 : DatumGetInt16(values[EV_PAYLOAD_VERSION]);
	text	   *event_type;
	int			i;

	if (nulls[EV_EVENT_TYPE] || nulls[EV_PAYLOAD] || form >= PG_INT16_MAX)
		return NULL;
	event_type = DatumGetTextPP(values[EV_EVENT_TYPE]);
	for (i = 0; i < upcasters->n; i++)
		if (upcasters->items[i].form == form && pointstore_same_text(upcasters->items[i].event_type, event_type))
			return unconstify(Upcaster *, &upcasters->items[i]);
	return NULL;
}

/* The next form of an event's payload. */
static Datum
call_upcaster(const Upcasters *upcasters, Upcaster *upcaster, const Datum *values, int64 position)
{
	Upcasting	upcasting = {.values = values, .upcaster = upcaster, .position = position};
	ErrorContextCallback context = {.previous = error_context_stack, .callback = tell_event, .arg = &upcasting};
	Datum		payload;

	error_context_stack = &context;
	if (upcaster->function == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(upcasters->context);

		upcaster->function = pointstore_load_function(pointstore_named_function(upcaster->name, FUNCTION_UPCASTER));
		MemoryContextSwitchTo(old);
	}
	payload = pointstore_call_function(upcaster->function, &values[EV_PAYLOAD], 1);
	error_context_stack = context.previous;
	return payload;
}

/* Which event cannot be upcast. */
static void
tell_event(void *arg)
{
	const Upcasting *upcasting = arg;
	text	   *aggregate_id = DatumGetTextPP(upcasting->values[EV_AGGREGATE_ID]);
	StringInfoData detail;

	errcontext("upcaster %s of form %d", upcasting->upcaster->name, upcasting->upcaster->form);
	/* a notice has none */
	if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_SUCCESSFUL_COMPLETION ||
		ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_WARNING)
		return;
	initStringInfo(&detail);
	if (upcasting->position != 0)
		pointstore_detail_number(&detail, "position", upcasting->position);
	pointstore_detail(&detail, "aggregate_id", pointstore_cstring(aggregate_id));
	pointstore_detail_number(&detail, "version", DatumGetInt64(upcasting->values[EV_VERSION]));
	pointstore_detail(&detail, "event_type", pointstore_cstring(upcasting->upcaster->event_type));
	errdetail_internal("%s", detail.data);
}

void
pointstore_describe_upcasters(const Upcasters *upcasters, StringInfo definition, StringInfo rows)
{
	int			i;

	for (i = 0; upcasters != NULL && i < upcasters->n; i++)
	{
		const Upcaster *upcaster = &upcasters->items[i];
		Oid			function = pointstore_find_function(upcaster->name, FUNCTION_UPCASTER, true);

		appendStringInfo(definition, "\n%s\n%d\n%s\n", pointstore_cstring(upcaster->event_type), upcaster->form, upcaster->name);
		if (OidIsValid(function))
			pointstore_describe_function(function, definition, rows);
	}
}
