/*-------------------------------------------------------------------------
 *
 * src/ground/preimage.c
 *		Texts of a given hash.
 *
 * To try one text after another takes billions where a range has few hashes, as a shard that is an account's own. hash_bytes() takes twelve
 * bytes at a time into three numbers, by steps that can be undone, and gives the third: so
 * for any two others there is a last block that leads to it, of which one in some hundred thousand can be written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "ground/preimage.h"
#include "ground/shard.h"

#define BLOCK 12				/* bytes */
#define TURNED(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define TRIES_AT_ONCE 0x10000	/* until interrupts are looked at */

typedef struct State
{
	uint32		a;
	uint32		b;
	uint32		c;
} State;

static char *pad(const char *prefix);
static State state_after(const char *blocks, int n);
static void mix(State *s);
static inline void mix_in(uint32 *x, uint32 y, uint32 *z, int turn);
static void undo_mix(State *s);
static inline void take_out(uint32 *x, uint32 y, uint32 *z, int turn);
static void undo_final(State *s);
static inline void undo_step(uint32 *x, uint32 y, int turn);
static bool is_writable(const char *block);

/* A text of that hash that begins with a prefix; the same one each time. */
text *
pointstore_text_of_hash(const char *prefix, int32 hash)
{
	char	   *blocks = pad(prefix);
	int			n = strlen(blocks);
	State		before = state_after(blocks, n);
	char		last[BLOCK];
	text	   *result;
	uint64		i;

	for (i = 0;; i++)
	{
		State		s = {(uint32) i, (uint32) (i >> 32), (uint32) hash};

		if (i % TRIES_AT_ONCE == 0)
			CHECK_FOR_INTERRUPTS();
		undo_final(&s);
		undo_mix(&s);
		s = (State) {s.a - before.a, s.b - before.b, s.c - before.c};
		memcpy(last, &s, BLOCK);
		if (is_writable(last))
			break;
	}
	result = palloc(VARHDRSZ + n + BLOCK);
	SET_VARSIZE(result, VARHDRSZ + n + BLOCK);
	memcpy(VARDATA(result), blocks, n);
	memcpy(VARDATA(result) + n, last, BLOCK);
	pfree(blocks);
	if (pointstore_hash_of(result) != hash)
		elog(ERROR, "could not find a text of hash %d", hash);
	return result;
}

/* A prefix in whole blocks. */
static char *
pad(const char *prefix)
{
	int			n = strlen(prefix);
	int			room = (n + BLOCK - 1) / BLOCK * BLOCK;
	char	   *result = palloc(room + 1);

	memset(result, '/', room);
	memcpy(result, prefix, n);
	result[room] = '\0';
	return result;
}

/* What hash_bytes() has come to after blocks of so many bytes, of a text of one block more. */
static State
state_after(const char *blocks, int n)
{
	uint32		start = UINT32_C(0x9e3779b9) + n + BLOCK + 3923095;
	State		s = {start, start, start};
	int			i;

	for (i = 0; i < n; i += BLOCK)
	{
		uint32		word[3];

		memcpy(word, blocks + i, BLOCK);
		s = (State) {s.a + word[0], s.b + word[1], s.c + word[2]};
		mix(&s);
	}
	return s;
}

static void
mix(State *s)
{
	mix_in(&s->a, s->b, &s->c, 4);
	mix_in(&s->b, s->c, &s->a, 6);
	mix_in(&s->c, s->a, &s->b, 8);
	mix_in(&s->a, s->b, &s->c, 16);
	mix_in(&s->b, s->c, &s->a, 19);
	mix_in(&s->c, s->a, &s->b, 4);
}

static inline void
mix_in(uint32 *x, uint32 y, uint32 *z, int turn)
{
	*x -= *z;
	*x ^= TURNED(*z, turn);
	*z += y;
}

static void
undo_mix(State *s)
{
	take_out(&s->c, s->a, &s->b, 4);
	take_out(&s->b, s->c, &s->a, 19);
	take_out(&s->a, s->b, &s->c, 16);
	take_out(&s->c, s->a, &s->b, 8);
	take_out(&s->b, s->c, &s->a, 6);
	take_out(&s->a, s->b, &s->c, 4);
}

static inline void
take_out(uint32 *x, uint32 y, uint32 *z, int turn)
{
	*z -= y;
	*x ^= TURNED(*z, turn);
	*x += *z;
}

/* What comes after the last block. */
static void
undo_final(State *s)
{
	undo_step(&s->c, s->b, 24);
	undo_step(&s->b, s->a, 14);
	undo_step(&s->a, s->c, 4);
	undo_step(&s->c, s->b, 16);
	undo_step(&s->b, s->a, 25);
	undo_step(&s->a, s->c, 11);
	undo_step(&s->c, s->b, 14);
}

static inline void
undo_step(uint32 *x, uint32 y, int turn)
{
	*x += TURNED(y, turn);
	*x ^= y;
}

/* Printable, in any encoding, and nothing that anybody would have to quote. */
static bool
is_writable(const char *block)
{
	int			i;

	for (i = 0; i < BLOCK; i++)
		if (block[i] <= ' ' || block[i] > '~' || block[i] == '\'' || block[i] == '"' || block[i] == '\\')
			return false;
	return true;
}
