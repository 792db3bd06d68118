/*-------------------------------------------------------------------------
 *
 * src/digest.c
 *		The digest of an account's events: an aggregate that says, in one pass
 *		over the events in whatever order, by however many parallel workers,
 *		what they sum to, whether their versions are 1..n, and whether each
 *		balance_after follows from the one before.
 *
 * Versions are 1..n when the smallest is 1, the largest is their number, and no
 * two are the same. The chain holds exactly when the set of (version,
 * balance_after) and the set of (version - 1, balance_after - amount) agree but
 * for their ends, (n, total) in the first and (0, 0) in the second; a version
 * that stands twice spoils that too. The sets are compared by the sums of two keyed
 * hashes of their members. Who does not know the key, drawn for each run,
 * cannot make two sets that differ and whose sums agree, but by a negligible chance.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "pointstore.h"

PG_FUNCTION_INFO_V1(pointstore_digest_add);
PG_FUNCTION_INFO_V1(pointstore_digest_combine);
PG_FUNCTION_INFO_V1(pointstore_digest_serialize);
PG_FUNCTION_INFO_V1(pointstore_digest_deserialize);
PG_FUNCTION_INFO_V1(pointstore_digest_final);

typedef struct Digest
{
	int64		events;
	int64		first;			/* smallest version */
	int64		last;			/* largest */
	int128		total;			/* of the amounts */
	int128		held;
	uint64		key;
	uint64		chain[2];		/* hashes of the first set less those of the second */
} Digest;

static uint64 hash_link(uint64 key, uint64 version, uint64 balance);
static void add_link(Digest *digest, int64 version, int64 balance, uint64 sign);
static void send_int128(StringInfo buffer, int128 value);
static int128 receive_int128(StringInfo buffer);
static Datum bigint_or_null(int128 value, bool *isnull);

/*
 * digest_add(state, version, amount, held, balance_after, base_version,
 * base_balance, key): all not null. The events are those after the base, which
 * stands for version 0 and balance 0.
 */
Datum
pointstore_digest_add(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	Digest	   *digest;
	int64		version;
	int64		amount;
	int64		balance;
	int			i;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "digest_add called outside an aggregate");
	for (i = 1; i <= 7; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("what is digested must not be null")));
	/* differences in uint64, where they wrap: a wrong balance must not raise an error here */
	version = (int64) ((uint64) PG_GETARG_INT64(1) - (uint64) PG_GETARG_INT64(5));
	amount = PG_GETARG_INT64(2);
	balance = (int64) ((uint64) PG_GETARG_INT64(4) - (uint64) PG_GETARG_INT64(6));
	if (PG_ARGISNULL(0))
	{
		digest = MemoryContextAllocZero(context, sizeof(Digest));
		digest->first = digest->last = version;
		digest->key = PG_GETARG_INT64(7);
	}
	else
		digest = (Digest *) PG_GETARG_POINTER(0);
	digest->events++;
	digest->first = Min(digest->first, version);
	digest->last = Max(digest->last, version);
	digest->total += amount;
	digest->held += PG_GETARG_INT64(3);
	add_link(digest, version, balance, 1);
	add_link(digest, (int64) ((uint64) version - 1), (int64) ((uint64) balance - (uint64) amount), -1);
	pointstore_progress_count(1);
	PG_RETURN_POINTER(digest);
}

static void
add_link(Digest *digest, int64 version, int64 balance, uint64 sign)
{
	digest->chain[0] += sign * hash_link(digest->key, version, balance);
	digest->chain[1] += sign * hash_link(~digest->key, version, balance);
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
	into->events += from->events;
	into->first = Min(into->first, from->first);
	into->last = Max(into->last, from->last);
	into->total += from->total;
	into->held += from->held;
	into->chain[0] += from->chain[0];
	into->chain[1] += from->chain[1];
	PG_RETURN_POINTER(into);
}

/* digest_serialize(state) */
Datum
pointstore_digest_serialize(PG_FUNCTION_ARGS)
{
	Digest	   *digest = (Digest *) PG_GETARG_POINTER(0);
	StringInfoData buffer;

	pointstore_progress_count(-digest->events);
	pq_begintypsend(&buffer);
	pq_sendint64(&buffer, digest->events);
	pq_sendint64(&buffer, digest->first);
	pq_sendint64(&buffer, digest->last);
	send_int128(&buffer, digest->total);
	send_int128(&buffer, digest->held);
	pq_sendint64(&buffer, digest->key);
	pq_sendint64(&buffer, digest->chain[0]);
	pq_sendint64(&buffer, digest->chain[1]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

static void
send_int128(StringInfo buffer, int128 value)
{
	pq_sendint64(buffer, (uint64) (value >> 64));
	pq_sendint64(buffer, (uint64) value);
}

/* digest_deserialize(bytea, internal) */
Datum
pointstore_digest_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *serialized = PG_GETARG_BYTEA_PP(0);
	Digest	   *digest = palloc(sizeof(Digest));
	StringInfoData buffer;

	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(serialized), VARSIZE_ANY_EXHDR(serialized));
	digest->events = pq_getmsgint64(&buffer);
	digest->first = pq_getmsgint64(&buffer);
	digest->last = pq_getmsgint64(&buffer);
	digest->total = receive_int128(&buffer);
	digest->held = receive_int128(&buffer);
	digest->key = pq_getmsgint64(&buffer);
	digest->chain[0] = pq_getmsgint64(&buffer);
	digest->chain[1] = pq_getmsgint64(&buffer);
	pq_getmsgend(&buffer);
	pfree(buffer.data);
	pointstore_progress_count(digest->events);
	PG_RETURN_POINTER(digest);
}

static int128
receive_int128(StringInfo buffer)
{
	int128		high = (int64) pq_getmsgint64(buffer);

	return high * ((int128) 1 << 64) + (uint64) pq_getmsgint64(buffer);
}

/* digest_final(state): (events, first_version, last_version, total, held, sound) */
Datum
pointstore_digest_final(PG_FUNCTION_ARGS)
{
	Digest	   *digest;
	Digest		ends;
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {0};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	digest = (Digest *) PG_GETARG_POINTER(0);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(&ends, 0, sizeof(ends));
	ends.key = digest->key;
	add_link(&ends, digest->last, (int64) digest->total, 1);
	add_link(&ends, 0, 0, -1);
	values[0] = Int64GetDatum(digest->events);
	values[1] = Int64GetDatum(digest->first);
	values[2] = Int64GetDatum(digest->last);
	values[3] = bigint_or_null(digest->total, &nulls[3]);
	values[4] = bigint_or_null(digest->held, &nulls[4]);
	values[5] = BoolGetDatum(digest->first == 1 && digest->last == digest->events && !nulls[3] && !nulls[4] &&
							 digest->chain[0] == ends.chain[0] && digest->chain[1] == ends.chain[1]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static Datum
bigint_or_null(int128 value, bool *isnull)
{
	*isnull = value < PG_INT64_MIN || value > PG_INT64_MAX;
	return Int64GetDatum(*isnull ? 0 : (int64) value);
}
