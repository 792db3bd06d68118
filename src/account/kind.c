/*-------------------------------------------------------------------------
 *
 * src/account/kind.c
 *		Kinds: the rules that accounts live under.
 *
 * A kind is read as it is now, whatever the transaction's snapshot, and kept until the
 * transaction ends, a savepoint is rolled back or a kind changes (guard/account.c).
 *
 * Its transitions are some rows, and to read them in every transaction would cost an append
 * more than to follow them. So they are kept as long as the session lives, or until
 * PostgreSQL says that their table has changed, which the guard of it sees to (guard/transition.c): like
 * what is known of a table itself. Whoever begins a transaction after a change was
 * committed goes by it. Rows written while triggers are off are known to new sessions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "account/kind.h"
#include "ground/name.h"
#include "ground/scan.h"
#include "ground/store.h"

static List *kinds = NIL;		/* read in this transaction */
static uint64 kinds_generation = 0; /* of which they are */

/* What is kept of a kind's transitions: found by the name that it points to. */
typedef struct KeptTransitions
{
	text	   *kind;			/* the key */
	Transitions transitions;
} KeptTransitions;

static HTAB *kept = NULL;
static MemoryContext kept_context = NULL;	/* of that table and all that is in it */
static uint64 kept_generation = 0;

static Kind *find_kind(text *name);
static bool read_row(text *name, Kind *kind);
static List *texts_of(Datum array);
static void fill_kind(Kind *kind, const RowScan *scan);
static const Transitions *find_transitions(text *kind);
static void begin_keeping(void);
static void read_transitions(text *kind, Transitions *transitions);

/*
 * The kind of that name, or NULL. The caller has read the account before: that has
 * locked the account tables, which a change of the kind's name or mode waits for.
 */
const Kind *
pointstore_read_kind(text *name)
{
	ListCell   *cell;
	Kind	   *kind;

	if (kinds_generation != pointstore_kinds_generation())
		pointstore_forget_kinds();
	kinds_generation = pointstore_kinds_generation();
	foreach(cell, kinds)
		if (pointstore_same_text(((const Kind *) lfirst(cell))->name, name))
			return lfirst(cell);
	kind = find_kind(name);
	if (kind != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		kinds = lappend(kinds, kind);
		MemoryContextSwitchTo(old);
	}
	return kind;
}

/* The kind as stored, in the transaction's memory. */
static Kind *
find_kind(text *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Kind	   *kind = palloc0(sizeof(Kind));

	if (!read_row(name, kind))
	{
		pfree(kind);
		kind = NULL;
	}
	MemoryContextSwitchTo(old);
	if (kind != NULL)
		kind->transitions = find_transitions(kind->name);
	return kind;
}

/* Whether there is a kind of that name, and its row, where kind is given, into the current memory context. */
static bool
read_row(text *name, Kind *kind)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	RowKey		key = {0};
	RowScan		scan;
	bool		found;

	pointstore_key_text(&key, name);
	pointstore_scan_begin_reading(&scan, NULL, INDEX_ACCOUNT_KIND, snapshot, &key);
	found = pointstore_scan_next(&scan, ForwardScanDirection);
	if (found && kind != NULL)
		fill_kind(kind, &scan);
	pointstore_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/* Reads a kind's row; what is not in it is in the current memory context. */
static void
fill_kind(Kind *kind, const RowScan *scan)
{
	const AttrNumber *att = scan->table->att;
	TupleTableSlot *row = scan->slot;
	Datum		value;
	bool		isnull;

	kind->name = DatumGetTextPCopy(slot_getattr(row, att[KIND_KIND], &isnull));
	kind->unit = pointstore_slot_text(row, att[KIND_UNIT]);
	kind->pure = VARSIZE_ANY_EXHDR(pointstore_slot_text(row, att[KIND_MODE])) == 4; /* pure, else hybrid */
	kind->auto_open = DatumGetBool(slot_getattr(row, att[KIND_AUTO_OPEN], &isnull));
	kind->amount_required = DatumGetBool(slot_getattr(row, att[KIND_AMOUNT_REQUIRED], &isnull));
	kind->lease_required = DatumGetBool(slot_getattr(row, att[KIND_LEASE_REQUIRED], &isnull));
	kind->floor = DatumGetInt64(slot_getattr(row, att[KIND_MIN_BALANCE], &isnull));
	kind->has_floor = !isnull;
	kind->ceiling = DatumGetInt64(slot_getattr(row, att[KIND_MAX_BALANCE], &isnull));
	kind->has_ceiling = !isnull;
	value = slot_getattr(row, att[KIND_COMMUTING], &isnull);
	kind->commuting = isnull ? NIL : texts_of(value);
	value = slot_getattr(row, att[KIND_MERGE], &isnull);
	kind->merge = isnull ? NULL : DatumGetTextPCopy(value);
	kind->initial_state = pointstore_slot_state(row, att[KIND_INITIAL_STATE]);
	kind->strict = VARSIZE_ANY_EXHDR(pointstore_slot_text(row, att[KIND_TRANSITIONS])) == 6;	/* strict, else open */
}

/* The elements of an array of text that are not null. */
static List *
texts_of(Datum array)
{
	List	   *texts = NIL;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			i;

	deconstruct_array(DatumGetArrayTypePCopy(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (i = 0; i < n; i++)
		if (!nulls[i])
			texts = lappend(texts, DatumGetTextPP(values[i]));
	return texts;
}

/* A kind's transitions, which stay as they are to the transaction's end; NULL where it has none. */
static const Transitions *
find_transitions(text *kind)
{
	KeptTransitions *entry;
	Transitions transitions = {0};
	uint64		generation = pointstore_transitions_generation();
	bool		found;

	if (kept == NULL || kept_generation != generation)
		begin_keeping();
	kept_generation = generation;
	entry = hash_search(kept, &kind, HASH_FIND, &found);
	if (!found)
	{
		/* kept only when all are there: to read many may be cancelled */
		MemoryContext rows = AllocSetContextCreate(CurTransactionContext, "pointstore transitions of a kind", ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(rows);

		read_transitions(kind, &transitions);
		MemoryContextSwitchTo(old);
		kind = memcpy(MemoryContextAlloc(kept_context, VARSIZE_ANY(kind)), kind, VARSIZE_ANY(kind));
		entry = hash_search(kept, &kind, HASH_ENTER, &found);
		entry->transitions = transitions;
		if (transitions.n > 0)
			MemoryContextSetParent(rows, kept_context);
		else
			MemoryContextDelete(rows);
	}
	return entry->transitions.n > 0 ? &entry->transitions : NULL;
}

/* Nothing is kept any more; what was lives as long as this transaction, which may have pointers into it. */
static void
begin_keeping(void)
{
	if (kept_context != NULL)
		MemoryContextSetParent(kept_context, TopTransactionContext);
	kept = NULL;
	kept_context = AllocSetContextCreate(TopMemoryContext, "pointstore transitions", ALLOCSET_SMALL_SIZES);
	kept = pointstore_text_table("pointstore transitions", sizeof(KeptTransitions), kept_context);
}

/* Reads a kind's transitions as they are now, in their order, into the current memory context. */
static void
read_transitions(text *kind, Transitions *transitions)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			room = 0;
	RowKey		key = {0};
	RowScan		scan;

	pointstore_key_text(&key, kind);
	pointstore_scan_begin_reading(&scan, NULL, INDEX_TRANSITION, snapshot, &key);
	while (pointstore_scan_next(&scan, ForwardScanDirection))
	{
		Transition *row;

		CHECK_FOR_INTERRUPTS();
		if (transitions->n == room)
		{
			room = Max(room * 2, 16);
			transitions->rows = transitions->rows == NULL ? palloc(room * sizeof(Transition))
				: repalloc_huge(transitions->rows, room * sizeof(Transition));
		}
		row = &transitions->rows[transitions->n++];
		row->event_type = pointstore_slot_text(scan.slot, scan.table->att[TRANSITION_EVENT_TYPE]);
		row->from_state = pointstore_slot_state(scan.slot, scan.table->att[TRANSITION_FROM_STATE]);
		row->to_state = pointstore_slot_state(scan.slot, scan.table->att[TRANSITION_TO_STATE]);
	}
	pointstore_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	pointstore_sort_transitions(transitions);
}

/* Whether accounts of a kind have states. */
bool
pointstore_has_states(const Kind *kind)
{
	return kind->transitions != NULL || kind->initial_state != NULL || kind->strict;
}

/* Whether a state is one of a kind's: that which its accounts begin in, none among them, or one that a transition names. */
bool
pointstore_is_state_of(const Kind *kind, text *state)
{
	return pointstore_same_state(state, kind->initial_state) ||
		(kind->transitions != NULL && pointstore_knows_state(kind->transitions, state));
}

/* The kind of that name; 22023 when there is none. */
const Kind *
pointstore_require_kind(text *name)
{
	const Kind *kind = pointstore_read_kind(name);

	if (kind == NULL)
		pointstore_raise_no_kind(name);
	return kind;
}

/* Whether there is a kind of that name: for who wants nothing of it, least of all its transitions. */
bool
pointstore_is_kind(text *name)
{
	return read_row(name, NULL);
}

/* 22023 */
void
pointstore_raise_no_kind(text *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no kind \"%s\"", pointstore_cstring(name)),
			 errhint("The kinds are the rows of pointstore.account_kind.")));
}

/* At the end of a transaction or a savepoint. Their memory is the transaction's. */
void
pointstore_forget_kinds(void)
{
	kinds = NIL;
}
