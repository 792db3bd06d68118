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
 * A member's verbs are refused to an upcaster: a claim of its own would call it again, for each event anew.
 *
 * What an upcaster makes may be longer than what is stored: a page ends where that comes to as much as a page may.
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
#include "ground/placed.h"
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
	Oid			caller;			/* as whom those are called that may be called as the caller; InvalidOid: that one */
	const Upcaster *called;		/* a call that has not returned */
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

static int	calls = 0;			/* of upcasters, which have not returned */

static Upcaster *find_upcaster(Upcasters *upcasters, const Datum *values, const bool *nulls);
static Datum call_upcaster(Upcasters *upcasters, Upcaster *upcaster, const Datum *values, int64 position);
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
	pointstore_execute_rules(&plan, NULL, NULL, true);
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

void
pointstore_upcast_as(Upcasters *upcasters, Oid caller)
{
	if (upcasters != NULL)
		upcasters->caller = caller;
}

void
pointstore_upcast_page(FeedPage *page)
{
	Upcasters  *upcasters = page->nevents > 0 ? pointstore_read_upcasters() : NULL;
	Size		bytes = 0;
	int			i;

	for (i = 0; upcasters != NULL && i < page->nevents; i++)
	{
		CHECK_FOR_INTERRUPTS();
		page->events[i].row = pointstore_upcast_event(upcasters, &page->events[i], page->desc);
		bytes += pointstore_event_bytes(page->events[i].row, page->desc);
		if (bytes >= PAGE_BYTES && i + 1 < page->nevents)
		{
			page->nevents = i + 1;
			page->read_to = page->events[i].position;
		}
	}
}

bool
pointstore_wants_upcast(Upcasters *upcasters, const FeedPage *page)
{
	Datum		values[N_EVENT_COLUMNS];
	bool		nulls[N_EVENT_COLUMNS];
	bool		wants = false;
	int			i;

	for (i = 0; upcasters != NULL && !wants && i < page->nevents; i++)
	{
		heap_deform_tuple(page->events[i].row, page->desc, values, nulls);
		wants = find_upcaster(upcasters, values, nulls) != NULL;
	}
	return wants;
}

HeapTuple
pointstore_upcast_event(Upcasters *upcasters, const FeedEvent *event, TupleDesc desc)
{
	Datum		values[N_EVENT_COLUMNS];
	bool		nulls[N_EVENT_COLUMNS];

	heap_deform_tuple(event->row, desc, values, nulls);
	if (!pointstore_upcast_columns(upcasters, values, nulls, event->position))
		return event->row;
	return heap_form_tuple(desc, values, nulls);
}

bool
pointstore_upcast_columns(Upcasters *upcasters, Datum *values, bool *nulls, int64 position)
{
	Upcaster   *upcaster;
	bool		changed = false;

	while (upcasters != NULL && (upcaster = find_upcaster(upcasters, values, nulls)) != NULL)
	{
		values[EV_PAYLOAD] = call_upcaster(upcasters, upcaster, values, position);
		values[EV_PAYLOAD_VERSION] = Int16GetDatum(upcaster->form + 1);
		nulls[EV_PAYLOAD_VERSION] = false;
		changed = true;
	}
	return changed;
}

void
pointstore_upcast_columns_of(EventColumns *events, int n)
{
	Upcasters  *upcasters = pointstore_read_upcasters();
	int			i;

	for (i = 0; upcasters != NULL && i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) pointstore_upcast_columns(upcasters, events[i].values, events[i].nulls, 0);
	}
}

/* The upcaster that an event wants; NULL: its payload is of the newest form. The list is in order, and short. */
static Upcaster *
find_upcaster(Upcasters *upcasters, const Datum *values, const bool *nulls)
{
	int			form = nulls[EV_PAYLOAD_VERSION] ? 1 : DatumGetInt16(values[EV_PAYLOAD_VERSION]);
	text	   *event_type;
	int			i;

	if (nulls[EV_EVENT_TYPE] || nulls[EV_PAYLOAD] || form >= PG_INT16_MAX)
		return NULL;
	event_type = DatumGetTextPP(values[EV_EVENT_TYPE]);
	for (i = 0; i < upcasters->n; i++)
		if (upcasters->items[i].form == form && pointstore_same_text(upcasters->items[i].event_type, event_type))
			return &upcasters->items[i];
	return NULL;
}

/* The next form of an event's payload. */
static Datum
call_upcaster(Upcasters *upcasters, Upcaster *upcaster, const Datum *values, int64 position)
{
	Upcasting	upcasting = {.values = values, .upcaster = upcaster, .position = position};
	ErrorContextCallback context = {.previous = error_context_stack, .callback = tell_event, .arg = &upcasting};
	Datum		payload;

	error_context_stack = &context;
	upcasters->called = upcaster;
	if (upcaster->function == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(upcasters->context);
		Oid			function = pointstore_named_function(upcaster->name, FUNCTION_UPCASTER);

		upcaster->function = pointstore_load_function_for(function, OidIsValid(upcasters->caller) ? upcasters->caller : GetOuterUserId());
		MemoryContextSwitchTo(old);
	}
	calls++;
	PG_TRY();
	{
		payload = pointstore_call_function(upcaster->function, &values[EV_PAYLOAD], 1);
	}
	PG_FINALLY();
	{
		calls--;
	}
	PG_END_TRY();
	/* it may be stored somewhere, by the upcaster itself, and not for long */
	if (VARATT_IS_EXTERNAL(DatumGetPointer(payload)))
		payload = PointerGetDatum(PG_DETOAST_DATUM_COPY(payload));
	upcasters->called = NULL;
	error_context_stack = context.previous;
	return payload;
}

/* 55000 in a call of an upcaster. */
void
pointstore_refuse_in_upcaster(const char *verb)
{
	if (calls > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be called by an upcaster", verb)));
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

text *
pointstore_upcast_error(Upcasters *upcasters, const ErrorData *error)
{
	const Upcaster *upcaster = upcasters == NULL ? NULL : upcasters->called;
	int			i;

	if (upcaster == NULL)
		return NULL;
	upcasters->called = NULL;
	/* what it began is left in the middle */
	for (i = 0; i < upcasters->n; i++)
		upcasters->items[i].function = NULL;
	return cstring_to_text(psprintf("%s (upcaster %s of form %d)", pointstore_error_line(error->sqlerrcode, error->message),
									upcaster->name, upcaster->form));
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
