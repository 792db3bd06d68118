/*-------------------------------------------------------------------------
 *
 * src/ground/name.c
 *		Arguments of SQL functions, and names among them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/regproc.h"

#include "ground/name.h"

static uint32 hash_text(const void *key, Size size);
static int	match_texts(const void *a, const void *b, Size size);

/*
 * Whether the SQL function that calls takes so many arguments, the first thing that an entry
 * point asks: 55000 when it is of another version than the library.
 */
void
pointstore_check_arguments(FunctionCallInfo fcinfo, int n)
{
	if (PG_NARGS() != n)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %s is of another version than the library of pointstore",
						format_procedure(fcinfo->flinfo->fn_oid)),
				 errhint("ALTER EXTENSION pointstore UPDATE;")));
}

/* A text argument that must not be null and must be a name: 22004, 22023. */
text *
pointstore_name(FunctionCallInfo fcinfo, int argno, const char *what)
{
	text	   *name;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	name = PG_GETARG_TEXT_PP(argno);
	pointstore_check_name(what, name);
	return name;
}

/* Names are 1 to 512 bytes: 22023. */
void
pointstore_check_name(const char *what, text *name)
{
	Size		length = VARSIZE_ANY_EXHDR(name);

	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	if (length > POINTSTORE_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at most %d bytes, has %zu", what, POINTSTORE_MAX_NAME, length)));
}

/* The place of a text among names, or -1. */
int
pointstore_place(text *name, const char *const *names, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (VARSIZE_ANY_EXHDR(name) == strlen(names[i]) && memcmp(VARDATA_ANY(name), names[i], strlen(names[i])) == 0)
			return i;
	return -1;
}

/* For messages. */
char *
pointstore_cstring(text *name)
{
	return text_to_cstring(name);
}

/* An argument that is a payload; null is an empty one. */
Jsonb *
pointstore_payload(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? pointstore_empty_payload() : PG_GETARG_JSONB_P(argno);
}

/* The payload {}. */
Jsonb *
pointstore_empty_payload(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* A member of what may be no object; false: there is none. */
bool
pointstore_member(Jsonb *object, const char *key, JsonbValue *value)
{
	return JB_ROOT_IS_OBJECT(object) && getKeyJsonValueFromContainer(&object->root, key, strlen(key), value) != NULL;
}

/* Whether two texts are the same bytes. */
bool
pointstore_same_text(text *a, text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* The order of texts by their bytes, which is that of accounts. */
int
pointstore_compare_text(text *a, text *b)
{
	Size		shorter = Min(VARSIZE_ANY_EXHDR(a), VARSIZE_ANY_EXHDR(b));
	int			order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), shorter);

	if (order != 0)
		return order;
	return (VARSIZE_ANY_EXHDR(a) > shorter) - (VARSIZE_ANY_EXHDR(b) > shorter);
}

/* A hash table whose entries begin with their key, a pointer to a text: hashed and compared by the bytes of that. */
HTAB *
pointstore_text_table(const char *what, Size entry, MemoryContext context)
{
	HASHCTL		control = {.keysize = sizeof(text *), .entrysize = entry, .hash = hash_text, .match = match_texts, .hcxt = context};

	return hash_create(what, 64, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static uint32
hash_text(const void *key, Size size)
{
	text	   *value = *(text *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
}

/* 0 where they are equal. */
static int
match_texts(const void *a, const void *b, Size size)
{
	return pointstore_same_text(*(text *const *) a, *(text *const *) b) ? 0 : 1;
}
