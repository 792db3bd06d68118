/*-------------------------------------------------------------------------
 *
 * src/append/merge.c
 *		Merging: what becomes of an event whose expected_version is stale.
 *
 * Its caller has decided by an account that has moved on since. Where the event's type and the types of all
 * events since are among those that the account's kind calls commuting, it is appended as it is. Else the
 * function that the kind names says what is appended instead, of what was proposed, the version that
 * it rests on and the events since; null, or no such function: the conflict stands (PS001). What is appended
 * is judged like any other event, on the account as it is. Version 0 and a version that is yet to come never
 * merge, nor does what more than pointstore.merge_limit events, or SINCE_BYTES of them, have come after.
 *
 * When. Under the account's lock, when the request was looked up and only the version is in the way; a
 * pure account, which has no lock, is judged again when another was faster, and the function is asked again. Events
 * that the same batch appends to the account come after those that are stored: they have no id and no
 * created_at yet.
 *
 * How the function is called says ground/function.c. It is called in a subtransaction that is always
 * rolled back: what it writes, locks, sets and opens is gone when it has answered. It must not
 * append (55000). What it raises is the caller's error. As long as it takes the account is locked: a
 * combined batch does not call it, but gives the request back to its caller, whose statement_timeout it is
 * under, and whom alone it holds up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "account/account.h"
#include "account/kind.h"
#include "append/columns.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/merge.h"
#include "append/propose.h"
#include "append/proposed.h"
#include "ground/function.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/scan.h"
#include "ground/step.h"

#define SINCE_BYTES ((Size) 256 * 1024 * 1024)	/* of events since that a function is given, at most */

/* An event that a function merges. */
typedef struct Merging
{
	BatchEvent *event;
	const char *function;
	MemoryContext context;		/* of what outlasts the call */
	ProposedEvent merged;		/* what is appended instead */
	bool		is_merged;
} Merging;

static int	merge_limit = 1000;
static int	calls = 0;			/* of merge functions, which have not returned */
static void (*upcast_events) (EventColumns *events, int n) = NULL;

static bool may_merge(const BatchEvent *event);
static int64 stored_since(const BatchEvent *event);
static const BatchEvent *earlier_since(const BatchEvent *event, const BatchEvent *other);
static bool commutes(const BatchEvent *event);
static bool is_commuting(const Kind *kind, text *event_type);
static bool merge_by_function(BatchEvent *event);
static bool ask_function(void *arg);
static bool events_since(Merging *merging, Datum *since);
static int	read_stored(const BatchEvent *event, EventColumns *events, int64 n);
static bool too_long(const EventColumns *events, int n);
static void copy_columns(EventColumns *event, const RowScan *scan, TupleDesc desc);
static void take_form(Merging *merging, const EventColumns *proposed);
static void call(Merging *merging, UserFunction *function, Datum since);
static void tell_function(void *arg);

/* Called once when the library is loaded, with what brings payloads of events to the newest form. */
void
pointstore_merge_init(void (*upcast) (EventColumns *events, int n))
{
	upcast_events = upcast;
	DefineCustomIntVariable("pointstore.merge_limit",
							"How many events may have come since the version that an event expects, for it to be merged.",
							NULL, &merge_limit, 1000, 0, 100000, PGC_USERSET, 0, NULL, NULL, NULL);
}

/* The setting of this session. */
int
pointstore_merge_limit(void)
{
	return merge_limit;
}

/* Makes of a proposed event what its caller has proposed, before it is judged again. */
void
pointstore_unmerge(ProposedEvent *event)
{
	event->is_merged = false;
	if (event->proposed == NULL)
		return;
	event->event_type = event->proposed->event_type;
	event->amount = event->proposed->amount;
	event->payload = event->proposed->payload;
	event->metadata = event->proposed->metadata;
	event->has_payload_version = event->proposed->has_payload_version;
	event->payload_version = event->proposed->payload_version;
	event->proposed = NULL;
}

/*
 * Merges an event that was refused for its version, where that is possible, and judges it again; else leaves it
 * refused. by_caller: no function is called here, but the request is left to its caller (OUTCOME_LEFT).
 */
void
pointstore_merge(BatchEvent *event, bool by_caller)
{
	if (!may_merge(event))
		return;
	if (!commutes(event))
	{
		if (event->account->kind->merge == NULL)
			return;
		if (by_caller)
		{
			event->decision->outcome = OUTCOME_LEFT;
			return;
		}
		if (!merge_by_function(event))
			return;
	}
	event->proposal->is_merged = true;
	pointstore_decide(event->proposal, event->decision, event->account);
	event->decision->is_merged = event->decision->outcome == OUTCOME_APPENDED;
}

/* Whether that depends on the events since only. */
static bool
may_merge(const BatchEvent *event)
{
	const ProposedEvent *proposal = event->proposal;
	const Account *account = event->account;
	int			limit = proposal->has_merge_limit ? proposal->merge_limit : merge_limit;

	return proposal->may_merge && proposal->has_expected && proposal->expected_version > 0 &&
		proposal->expected_version < account->version && account->version - proposal->expected_version <= limit &&
		account->kind != NULL && (account->kind->commuting != NIL || account->kind->merge != NULL);
}

/* How many of the events since are stored; the others are of the batch. */
static int64
stored_since(const BatchEvent *event)
{
	int64		n = event->account->version - event->proposal->expected_version;
	const BatchEvent *other;

	for (other = earlier_since(event, event); other != NULL; other = earlier_since(event, other))
		n--;
	return n;
}

/* Of the events since, the last that the batch has appended to the account before another one; NULL: the others are stored. */
static const BatchEvent *
earlier_since(const BatchEvent *event, const BatchEvent *other)
{
	do
		other = other->previous;
	while (other != NULL && other->decision->outcome != OUTCOME_APPENDED);
	return other != NULL && other->decision->version > event->proposal->expected_version ? other : NULL;
}

/* Whether an event and all since are of types that commute, and none of those is missing. */
static bool
commutes(const BatchEvent *event)
{
	const Kind *kind = event->account->kind;
	int64		left = stored_since(event);
	bool		commuting = is_commuting(kind, event->proposal->event_type);
	const BatchEvent *other;
	RowKey		key = {0};
	RowScan		scan;

	for (other = earlier_since(event, event); commuting && other != NULL; other = earlier_since(event, other))
		commuting = is_commuting(kind, other->proposal->event_type);
	if (!commuting)
		return false;
	pointstore_key_text(&key, event->account->id);
	pointstore_key_at_least(&key, event->proposal->expected_version + 1);
	pointstore_scan_begin_reading(&scan, event->account->id, INDEX_EVENT, GetActiveSnapshot(), &key);
	while (commuting && left > 0 && pointstore_scan_next(&scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		commuting = is_commuting(kind, pointstore_slot_text(scan.slot, scan.table->att[EV_EVENT_TYPE]));
		left--;
	}
	pointstore_scan_end(&scan);
	return commuting && left == 0;
}

static bool
is_commuting(const Kind *kind, text *event_type)
{
	ListCell   *cell;

	foreach(cell, kind->commuting)
		if (pointstore_same_text(lfirst(cell), event_type))
			return true;
	return false;
}

/* Puts what the kind's function makes of a proposed event in its place. False: the function has none. */
static bool
merge_by_function(BatchEvent *event)
{
	Merging		merging = {.event = event, .merged = *event->proposal, .context = CurrentMemoryContext};
	ErrorContextCallback context = {.previous = error_context_stack, .callback = tell_function, .arg = &merging};
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pointstore merge", ALLOCSET_DEFAULT_SIZES);
	ProposedEvent *proposed;
	ErrorData  *error;

	merging.function = pointstore_cstring(event->account->kind->merge);
	error_context_stack = &context;
	MemoryContextSwitchTo(scratch);
	error = pointstore_attempt(ask_function, &merging);
	MemoryContextSwitchTo(merging.context);
	error_context_stack = context.previous;
	if (error != NULL)
		ReThrowError(error);
	MemoryContextDelete(scratch);
	if (!merging.is_merged)
		return false;
	proposed = palloc(sizeof(ProposedEvent));
	*proposed = *event->proposal;
	pointstore_keep_proposed(&merging.merged, proposed);
	*event->proposal = merging.merged;
	event->proposal->proposed = proposed;
	return true;
}

/* In a subtransaction, of which nothing stays: what the function returns is in merging. */
static bool
ask_function(void *arg)
{
	Merging    *merging = arg;
	PointstoreScope scope;
	UserFunction *function;
	Datum		since;

	pointstore_act_as_reader(&scope);
	calls++;
	PG_TRY();
	{
		function = pointstore_load_function(pointstore_named_function(merging->function, FUNCTION_MERGE));
		if (events_since(merging, &since))
			call(merging, function, since);
	}
	PG_FINALLY();
	{
		calls--;
	}
	PG_END_TRY();
	pointstore_act_as_caller(&scope);
	return false;
}

/*
 * The events since the version that an event expects, as pointstore.event[], with the newest forms of their payloads; the event
 * has that too. False: they are too many bytes, or some are missing, in a history that is damaged.
 */
static bool
events_since(Merging *merging, Datum *array)
{
	BatchEvent *event = merging->event;
	int64		stored = stored_since(event);
	int			n = event->account->version - event->proposal->expected_version;
	EventColumns *events = palloc0(sizeof(EventColumns) * (n + 1));
	Datum	   *since = palloc(sizeof(Datum) * n);
	const BatchEvent *other;
	Size		bytes = 0;
	int			i = n;

	if (read_stored(event, events, stored) < stored || too_long(events, stored))
		return false;
	for (other = earlier_since(event, event); other != NULL; other = earlier_since(event, other))
		pointstore_event_columns(&events[--i], other->proposal, other->decision);
	pointstore_event_columns(&events[n], event->proposal, event->decision);
	if (upcast_events != NULL)
		upcast_events(events, n + 1);
	take_form(merging, &events[n]);
	for (i = 0; i < n; i++)
	{
		since[i] = pointstore_event_datum(events[i].values, events[i].nulls);
		bytes += VARSIZE(DatumGetPointer(since[i]));
		if (bytes > SINCE_BYTES)
			return false;
	}
	*array = PointerGetDatum(construct_array(since, n, pointstore_event_type(), -1, false, TYPALIGN_DOUBLE));
	return true;
}

/* Reads up to n stored events; returns how many there are. */
static int
read_stored(const BatchEvent *event, EventColumns *events, int64 n)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(pointstore_event_type(), -1);
	RowKey		key = {0};
	RowScan		scan;
	int			i = 0;

	pointstore_key_text(&key, event->account->id);
	pointstore_key_at_least(&key, event->proposal->expected_version + 1);
	pointstore_scan_begin_reading(&scan, event->account->id, INDEX_EVENT, GetActiveSnapshot(), &key);
	while (i < n && pointstore_scan_next(&scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		copy_columns(&events[i++], &scan, desc);
	}
	pointstore_scan_end(&scan);
	ReleaseTupleDesc(desc);
	return i;
}

/* Whether stored events are too many bytes for a function, before their payloads are unpacked and brought to newer forms. */
static bool
too_long(const EventColumns *events, int n)
{
	Size		bytes = 0;
	int			i;

	for (i = 0; i < n && bytes <= SINCE_BYTES; i++)
	{
		bytes += events[i].nulls[EV_PAYLOAD] ? 0 : toast_raw_datum_size(events[i].values[EV_PAYLOAD]);
		bytes += events[i].nulls[EV_METADATA] ? 0 : toast_raw_datum_size(events[i].values[EV_METADATA]);
	}
	return bytes > SINCE_BYTES;
}

static void
copy_columns(EventColumns *event, const RowScan *scan, TupleDesc desc)
{
	const AttrNumber *att = scan->table->att;
	int			i;

	for (i = 0; i < N_EVENT_COLUMNS; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		event->values[i] = slot_getattr(scan->slot, att[i], &event->nulls[i]);
		if (!event->nulls[i])
			event->values[i] = datumCopy(event->values[i], column->attbyval, column->attlen);
	}
}

/* The proposed payload in its newest form, which is the function's to change. */
static void
take_form(Merging *merging, const EventColumns *proposed)
{
	ProposedEvent *merged = &merging->merged;
	MemoryContext old = MemoryContextSwitchTo(merging->context);

	merged->payload = (Jsonb *) PG_DETOAST_DATUM_COPY(proposed->values[EV_PAYLOAD]);
	merged->has_payload_version = !proposed->nulls[EV_PAYLOAD_VERSION];
	merged->payload_version = merged->has_payload_version ? DatumGetInt16(proposed->values[EV_PAYLOAD_VERSION]) : 0;
	MemoryContextSwitchTo(old);
}

/* Calls the function, and reads what it returns. */
static void
call(Merging *merging, UserFunction *function, Datum since)
{
	Datum		arguments[3] = {
		JsonbPGetDatum(pointstore_tell_proposed(&merging->merged)), Int64GetDatum(merging->merged.expected_version), since
	};
	bool		isnull;
	Datum		returned = pointstore_call_nullable(function, arguments, lengthof(arguments), &isnull);
	MemoryContext old;

	if (isnull)
		return;
	old = MemoryContextSwitchTo(merging->context);
	pointstore_read_merged(&merging->merged, (Jsonb *) PG_DETOAST_DATUM_COPY(returned), function->name);
	merging->is_merged = true;
	MemoryContextSwitchTo(old);
}

/* 55000 where a merge function appends. */
void
pointstore_refuse_in_merge(void)
{
	if (calls > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a merge function cannot append events"),
				 errhint("It returns the event to append.")));
}

/* Which event is merged. */
static void
tell_function(void *arg)
{
	const Merging *merging = arg;

	errcontext("merge function %s, version %lld of account \"%s\"", merging->function,
			   (long long) merging->event->proposal->expected_version, pointstore_cstring(merging->event->account->id));
}
