/*-------------------------------------------------------------------------
 *
 * src/verify/spool.c
 *		What a full reconciliation in slices has read of the store's events, kept in
 *		temporary files until it has gone through it.
 *
 * A large store is read once from end to end, a range of blocks in each
 * transaction. Of every event the columns that are compared go to partitions: by a hash of
 * the account, of the request, and of the movement's first leg. A slice is then a partition of
 * each family, and no transaction is longer than a range of blocks, or a partition, takes.
 *
 * The files live as long as the run, not as its transactions: they have a
 * resource owner of their own. A statement sees a partition as a relation of a name that
 * only it knows (as triggers see their transition tables), which cannot be read by
 * parallel workers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

#include "ground/sql.h"
#include "verify/digest.h"
#include "verify/spool.h"

struct Spool
{
	int			parts;
	int			memory;			/* kilobytes that a partition may have */
	MemoryContext context;
	ResourceOwner owner;		/* of the files */
	TupleDesc	desc[N_SPOOL_FAMILIES];
	Tuplestorestate **rows[N_SPOOL_FAMILIES];
};

/* Columns of a statement that go to a family together: after the numbers of the partitions. */
typedef struct Target
{
	SpoolFamily family;
	int			columns;
} Target;

typedef struct SpoolReceiver
{
	DestReceiver dest;
	Spool	   *spool;
	const Target *targets;
	int			n;
	MemoryContext row;
} SpoolReceiver;

static const Target event_targets[] = {{SPOOL_ACCOUNTS, 13}, {SPOOL_REQUESTS, 3}, {SPOOL_MOVEMENTS, 7}, {SPOOL_MOVEMENTS, 7}};
static const Target reversal_targets[] = {{SPOOL_REVERSALS, 3}};

static DestReceiver *create_receiver(Spool *spool, const Target *targets, int n);
static void start(DestReceiver *self, int operation, TupleDesc desc);
static bool put_row(TupleTableSlot *slot, DestReceiver *self);
static void end(DestReceiver *self);
static Tuplestorestate *partition(Spool *spool, SpoolFamily family, int part);

/*
 * The events in blocks from $3 on and before $4, of $1 parts; the numbers of the partitions first, null: it goes to none. Of the accounts'
 * events, those that were there, or under way, when the run began, with ids up to $2, and those of ids that cannot have come since ($5: they come by a subscription). An event that is no leg may be the cause of one,
 * for which its id is enough; one that is a leg goes to its movement, and may be the cause of another.
 */
#define IS_LEG_OF_CAUSE "coalesce(e.leg" GE "1 AND e.cause_id IS NOT NULL AND e.event_type" NE "'EventReversed', false)"
const char *const pointstore_spool_sql =
"SELECT CASE WHEN NOT " HAS_COME("e.id", "$2", "$5") " THEN CAST(" PART_OF_TEXT("e.aggregate_id", "$1") " AS pg_catalog.int4) END,"
"       CASE WHEN e.request_id IS NOT NULL THEN CAST(" PART_OF_TEXT("e.request_id", "$1") " AS pg_catalog.int4) END,"
"       CAST(" PART_OF_ID("CASE WHEN " IS_LEG_OF_CAUSE " THEN e.cause_id ELSE e.id END", "$1") " AS pg_catalog.int4),"
"       CASE WHEN " IS_LEG_OF_CAUSE " THEN CAST(" PART_OF_ID("e.id", "$1") " AS pg_catalog.int4) END,"
/* accounts */
"       e.id, e.aggregate_id, e.version, e.event_type, e.amount, e.held, e.balance_after, e.leg, e.cause_id, e.created_at,"
"       CASE WHEN " IS_STEP("e") " OR " IS_MOVEMENT("e") " THEN e.metadata END AS metadata, " SAYS_AS_REVERSAL("e") " AS payload, e.state_after,"
/* requests */
"       e.aggregate_id, e.request_id, e.leg,"
/* movements */
"       e.id, CASE WHEN e.leg IS NOT NULL THEN e.aggregate_id END AS aggregate_id, CASE WHEN e.leg IS NOT NULL THEN e.event_type END AS event_type,"
"       CASE WHEN e.leg IS NOT NULL THEN e.amount END AS amount, CASE WHEN e.leg IS NOT NULL THEN e.request_id END AS request_id, e.leg,"
"       CASE WHEN e.leg IS NOT NULL THEN e.cause_id END AS cause_id,"
/* movements, of which a leg is the cause */
"       e.id, CAST(NULL AS pg_catalog.text) AS aggregate_id, CAST(NULL AS pg_catalog.text) AS event_type, CAST(NULL AS pg_catalog.int8) AS amount,"
"       CAST(NULL AS pg_catalog.text) AS request_id, CAST(NULL AS pg_catalog.int2) AS leg, CAST(NULL AS pg_catalog.int8) AS cause_id"
"  FROM pointstore.event_store e WHERE e.ctid" GE "$3 AND e.ctid" LT "$4";

/* A spool of so many parts, with so many kilobytes of memory, that lives no longer than the context; the caller frees it. */
Spool *
pointstore_spool_create(int parts, int memory, MemoryContext context)
{
	Spool	   *spool;
	int			family;

	context = AllocSetContextCreate(context, "pointstore spool", ALLOCSET_DEFAULT_SIZES);
	spool = MemoryContextAllocZero(context, sizeof(Spool));
	spool->parts = parts;
	spool->memory = Max(memory / (parts * N_SPOOL_FAMILIES), 64);
	spool->context = context;
	spool->owner = ResourceOwnerCreate(NULL, "pointstore spool");
	for (family = 0; family < N_SPOOL_FAMILIES; family++)
		spool->rows[family] = MemoryContextAllocZero(context, sizeof(Tuplestorestate *) * parts);
	return spool;
}

void
pointstore_spool_free(Spool *spool)
{
	int			family;
	int			part;

	for (family = 0; family < N_SPOOL_FAMILIES; family++)
		for (part = 0; part < spool->parts; part++)
			pointstore_spool_forget(spool, family, part);
	/* a top-level one, for it has no parent that its locks could go to */
	ResourceOwnerRelease(spool->owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, true);
	ResourceOwnerRelease(spool->owner, RESOURCE_RELEASE_LOCKS, false, true);
	ResourceOwnerRelease(spool->owner, RESOURCE_RELEASE_AFTER_LOCKS, false, true);
	ResourceOwnerDelete(spool->owner);
	MemoryContextDelete(spool->context);
}

/* A partition that has been gone through takes no room any more. */
void
pointstore_spool_forget(Spool *spool, SpoolFamily family, int part)
{
	if (spool->rows[family][part] != NULL)
		tuplestore_end(spool->rows[family][part]);
	spool->rows[family][part] = NULL;
}

/* Takes the rows of pointstore_spool_sql. */
DestReceiver *
pointstore_spool_receiver(Spool *spool)
{
	return create_receiver(spool, event_targets, lengthof(event_targets));
}

/* Takes what was taken back of movements: the number of the partition, the first leg, the sum and the last reversal. */
DestReceiver *
pointstore_spool_reversals_receiver(Spool *spool)
{
	return create_receiver(spool, reversal_targets, lengthof(reversal_targets));
}

/* Shows a partition, as a relation of that name, to the statements of this level of SPI. */
void
pointstore_spool_show(Spool *spool, SpoolFamily family, int part, const char *name)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *rows = partition(spool, family, part);

	relation->md.name = unconstify(char *, name);
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = spool->desc[family];
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = tuplestore_tuple_count(rows);
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not show \"%s\"", name);
}

static DestReceiver *
create_receiver(Spool *spool, const Target *targets, int n)
{
	SpoolReceiver *receiver = palloc0(sizeof(SpoolReceiver));

	receiver->dest.receiveSlot = put_row;
	receiver->dest.rStartup = start;
	receiver->dest.rShutdown = receiver->dest.rDestroy = end;
	receiver->dest.mydest = DestTuplestore;
	receiver->spool = spool;
	receiver->targets = targets;
	receiver->n = n;
	return &receiver->dest;
}

/* The families have the columns that the statement gives them, collations included. */
static void
start(DestReceiver *self, int operation, TupleDesc desc)
{
	SpoolReceiver *receiver = (SpoolReceiver *) self;
	Spool	   *spool = receiver->spool;
	int			first = receiver->n;
	int			i;
	int			column;

	for (i = 0; i < receiver->n; first += receiver->targets[i++].columns)
	{
		const Target *target = &receiver->targets[i];
		MemoryContext old = MemoryContextSwitchTo(spool->context);

		if (spool->desc[target->family] == NULL)
		{
			spool->desc[target->family] = CreateTemplateTupleDesc(target->columns);
			for (column = 0; column < target->columns; column++)
				TupleDescCopyEntry(spool->desc[target->family], column + 1, desc, first + column + 1);
		}
		MemoryContextSwitchTo(old);
	}
	receiver->row = AllocSetContextCreate(CurrentMemoryContext, "pointstore spooled row", ALLOCSET_SMALL_SIZES);
}

/* Puts a row to the partitions that it names; what stands apart of the table may be gone when it is read again. */
static bool
put_row(TupleTableSlot *slot, DestReceiver *self)
{
	SpoolReceiver *receiver = (SpoolReceiver *) self;
	Datum	   *value;
	bool	   *null;
	int			i;

	slot_getallattrs(slot);
	value = slot->tts_values + receiver->n;
	null = slot->tts_isnull + receiver->n;
	for (i = 0; i < receiver->n; i++)
	{
		const Target *target = &receiver->targets[i];
		TupleDesc	desc = receiver->spool->desc[target->family];

		if (!slot->tts_isnull[i])
		{
			MemoryContext old = MemoryContextSwitchTo(receiver->row);
			int			column;

			for (column = 0; column < target->columns; column++)
				if (!null[column] && TupleDescAttr(desc, column)->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(value[column])))
					value[column] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value[column])));
			tuplestore_putvalues(partition(receiver->spool, target->family, DatumGetInt32(slot->tts_values[i])), desc, value, null);
			MemoryContextSwitchTo(old);
		}
		value += target->columns;
		null += target->columns;
	}
	MemoryContextReset(receiver->row);
	pointstore_digest_pace(false);
	return true;
}

static void
end(DestReceiver *self)
{
}

/* A partition, new and empty at first. */
static Tuplestorestate *
partition(Spool *spool, SpoolFamily family, int part)
{
	Tuplestorestate **rows = &spool->rows[family][part];

	if (*rows == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(spool->context);
		ResourceOwner owner = CurrentResourceOwner;

		CurrentResourceOwner = spool->owner;
		*rows = tuplestore_begin_heap(false, true, spool->memory);
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(old);
	}
	return *rows;
}
