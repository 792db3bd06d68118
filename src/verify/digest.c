/*-------------------------------------------------------------------------
 *
 * src/verify/digest.c
 *		The digest of an account's events: an aggregate that says, in one pass
 *		over the events in whatever order, by however many parallel workers,
 *		what they sum to, whether their versions are 1..n, and whether each
 *		balance_after follows from the one before.
 *
 * An event is a link: from (version - 1, balance_after - amount) to (version,
 * balance_after). The chain holds exactly when the set of all links' ends and the set
 * of their beginnings agree but for (n, total) in the first and (0, 0) in the second.
 * As every link leads one version on, versions are then 1..n, each once. The
 * sets are compared by the sums of a keyed hash of their members. Who does not
 * know the key, drawn for each run, cannot make two sets that differ and whose
 * sums agree, but by a negligible chance.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "verify/digest.h"
#include "verify/progress.h"

void		(*pointstore_digest_pause) (void) = NULL;

PG_FUNCTION_INFO_V1(pointstore_digest_add);
PG_FUNCTION_INFO_V1(pointstore_digest_combine);
PG_FUNCTION_INFO_V1(pointstore_digest_serialize);
PG_FUNCTION_INFO_V1(pointstore_digest_deserialize);
PG_FUNCTION_INFO_V1(pointstore_digest_final);

/* 64 bytes, since there is one for each account in every process */
typedef struct Digest
{
	int128		total;			/* of the amounts */
	int128		held;
	int64		events;
	int64		last;			/* largest version */
	uint64		key;
	uint64		chain;			/* hashes of the links' ends less those of their beginnings */
} Digest;

static uint64 hash_link(uint64 key, uint64 version, uint64 balance);
static Datum bigint_or_null(int128 value, bool *isnull);

/*
 * digest_add(state, version, amount, held, balance_after, base_version,
 * base_balance, key). The events are those after the base, which
 * stands for version 0 and balance 0. One with a null in it, where the table lets that be, spoils the chain.
 */
Datum
pointstore_digest_add(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	Digest	   *digest;
	int64		version;
	int64		before;
	bool		whole = true;
	int			i;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "digest_add called outside an aggregate");
	for (i = 1; i <= 7; i++)
		whole &= !PG_ARGISNULL(i);
	/* differences to the base in uint64, where they wrap: a wrong balance must not raise an error here */
	version = whole ? (int64) ((uint64) PG_GETARG_INT64(1) - (uint64) PG_GETARG_INT64(5)) : 0;
	if (PG_ARGISNULL(0))
	{
		digest = MemoryContextAllocZero(context, sizeof(Digest));
		digest->last = version;
		digest->key = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT64(7);
	}
	else
		digest = (Digest *) PG_GETARG_POINTER(0);
	digest->events++;
	if (!whole)
	{
		digest->chain += hash_link(digest->key, PG_UINT64_MAX, digest->events);
		PG_RETURN_POINTER(digest);
	}
	digest->last = Max(digest->last, version);
	digest->total += PG_GETARG_INT64(2);
	digest->held += PG_GETARG_INT64(3);
	digest->chain += hash_link(digest->key, version, (uint64) PG_GETARG_INT64(4) - (uint64) PG_GETARG_INT64(6));
	/* what follows from no balance there can be has no beginning, which spoils the chain */
	if (!pg_sub_s64_overflow(PG_GETARG_INT64(4), PG_GETARG_INT64(2), &before))
		digest->chain -= hash_link(digest->key, (uint64) version - 1, (uint64) before - (uint64) PG_GETARG_INT64(6));
	pointstore_digest_pace(true);
	PG_RETURN_POINTER(digest);
}

/* After every so many events that were read: tells of them, if they were digested, and pauses where that is wanted. */
void
pointstore_digest_pace(bool digested)
{
	static int	events = 0;

	if (++events < POINTSTORE_DIGEST_PACE)
		return;
	events = 0;
	if (digested)
		pointstore_progress_count(POINTSTORE_DIGEST_PACE);
	if (pointstore_digest_pause != NULL)
		pointstore_digest_pause();
}

/* A keyed hash of two numbers: three rounds of a 64-bit finalizer. */
static uint64
hash_link(uint64 key, uint64 version, uint64 balance)
{
	uint64		parts[3] = {key, version, balance};
	uint64		hash = UINT64CONST(0x9e3779b97f4a7c15);
	int			i;

	for (i = 0; i < 3; i++)
	{
		hash = (hash ^ parts[i]) + UINT64CONST(0x9e3779b97f4a7c15);
		hash = (hash ^ (hash >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
		hash = (hash ^ (hash >> 27)) * UINT64CONST(0x94d049bb133111eb);
		hash ^= hash >> 31;
	}
	return hash;
}

/* digest_combine(state, state) */
Datum
pointstore_digest_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	Digest	   *into = PG_ARGISNULL(0) ? NULL : (Digest *) PG_GETARG_POINTER(0);
	Digest	   *from = PG_ARGISNULL(1) ? NULL : (Digest *) PG_GETARG_POINTER(1);

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "digest_combine called outside an aggregate");
	if (from == NULL)
	{
		if (into == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(into);
	}
	if (into == NULL)
	{
		into = MemoryContextAlloc(context, sizeof(Digest));
		*into = *from;
		PG_RETURN_POINTER(into);
	}
	into->total += from->total;
	into->held += from->held;
	into->events += from->events;
	into->last = Max(into->last, from->last);
	into->chain += from->chain;
	PG_RETURN_POINTER(into);
}

/* digest_serialize(state): as it is, for another process of this server */
Datum
pointstore_digest_serialize(PG_FUNCTION_ARGS)
{
	bytea	   *serialized = palloc(VARHDRSZ + sizeof(Digest));

	pointstore_progress_count(-((Digest *) PG_GETARG_POINTER(0))->events);
	SET_VARSIZE(serialized, VARHDRSZ + sizeof(Digest));
	memcpy(VARDATA(serialized), PG_GETARG_POINTER(0), sizeof(Digest));
	PG_RETURN_BYTEA_P(serialized);
}

/* digest_deserialize(bytea, internal) */
Datum
pointstore_digest_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *serialized = PG_GETARG_BYTEA_PP(0);
	Digest	   *digest = palloc(sizeof(Digest));

	if (VARSIZE_ANY_EXHDR(serialized) != sizeof(Digest))
		elog(ERROR, "a digest of %zu bytes", (size_t) VARSIZE_ANY_EXHDR(serialized));
	memcpy(digest, VARDATA_ANY(serialized), sizeof(Digest));
	pointstore_progress_count(digest->events);
	PG_RETURN_POINTER(digest);
}

/* digest_final(state): (events, last_version, total, held, sound) */
Datum
pointstore_digest_final(PG_FUNCTION_ARGS)
{
	Digest	   *digest;
	uint64		ends;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {0};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	digest = (Digest *) PG_GETARG_POINTER(0);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ends = hash_link(digest->key, digest->last, (uint64) digest->total) - hash_link(digest->key, 0, 0);
	values[0] = Int64GetDatum(digest->events);
	values[1] = Int64GetDatum(digest->last);
	values[2] = bigint_or_null(digest->total, &nulls[2]);
	values[3] = bigint_or_null(digest->held, &nulls[3]);
	values[4] = BoolGetDatum(digest->last == digest->events && !nulls[2] && !nulls[3] && digest->chain == ends);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static Datum
bigint_or_null(int128 value, bool *isnull)
{
	*isnull = value < PG_INT64_MIN || value > PG_INT64_MAX;
	return Int64GetDatum(*isnull ? 0 : (int64) value);
}
