/*-------------------------------------------------------------------------
 *
 * src/account/kind.c
 *		Kinds: the rules that accounts live under.
 *
 * A kind is read as it is now, whatever the transaction's snapshot, and kept until the
 * transaction ends, a savepoint is rolled back or a kind changes (guard/account.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "account/kind.h"
#include "ground/name.h"
#include "ground/scan.h"
#include "ground/store.h"

static List *kinds = NIL;		/* read in this transaction */
static uint64 kinds_generation = 0; /* of which they are */

static Kind *find_kind(text *name);
static List *texts_of(Datum array);
static void fill_kind(Kind *kind, TupleTableSlot *row);

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
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	RowKey		key = {0};
	RowScan		scan;
	Kind	   *kind = NULL;

	pointstore_key_text(&key, name);
	pointstore_scan_begin(&scan, INDEX_ACCOUNT_KIND, snapshot, &key);
	if (pointstore_scan_next(&scan, ForwardScanDirection))
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		kind = palloc0(sizeof(Kind));
		fill_kind(kind, scan.slot);
		MemoryContextSwitchTo(old);
	}
	pointstore_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return kind;
}

/* Reads a kind's row; what is not in it is in the current memory context. */
static void
fill_kind(Kind *kind, TupleTableSlot *row)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_ACCOUNT_KIND].att;
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

/* The kind of that name; 22023 when there is none. */
const Kind *
pointstore_require_kind(text *name)
{
	const Kind *kind = pointstore_read_kind(name);

	if (kind == NULL)
		pointstore_raise_no_kind(name);
	return kind;
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
