/*-------------------------------------------------------------------------
 *
 * src/ground/json.c
 *		Members of JSON objects that are being made.
 *
 * Who makes an object begins and ends it, by WJB_BEGIN_OBJECT and WJB_END_OBJECT. What a value points to is
 * not copied until the object has ended: it lives until then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "ground/json.h"

static void push_bytes(JsonbParseState **state, const char *key, const char *value, int length);

/* The key of a member: its value comes next. */
void
pointstore_push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	name = {.type = jbvString};

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &name);
}

/* A member whose value was read elsewhere. */
void
pointstore_push_value(JsonbParseState **state, const char *key, JsonbValue *value)
{
	pointstore_push_key(state, key);
	(void) pushJsonbValue(state, WJB_VALUE, value);
}

void
pointstore_push_text(JsonbParseState **state, const char *key, text *value)
{
	push_bytes(state, key, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

void
pointstore_push_string(JsonbParseState **state, const char *key, const char *value)
{
	push_bytes(state, key, value, strlen(value));
}

void
pointstore_push_number(JsonbParseState **state, const char *key, int64 value)
{
	JsonbValue	number = {.type = jbvNumeric};

	number.val.numeric = int64_to_numeric(value);
	pointstore_push_value(state, key, &number);
}

/* Any document, also a scalar; NULL is null. */
void
pointstore_push_document(JsonbParseState **state, const char *key, Jsonb *value)
{
	JsonbValue	member = {.type = jbvNull};

	if (value != NULL && JB_ROOT_IS_SCALAR(value))
		(void) JsonbExtractScalar(&value->root, &member);
	else if (value != NULL)
	{
		member.type = jbvBinary;
		member.val.binary.data = &value->root;
		member.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	pointstore_push_value(state, key, &member);
}

static void
push_bytes(JsonbParseState **state, const char *key, const char *value, int length)
{
	JsonbValue	string = {.type = jbvString};

	string.val.string.val = unconstify(char *, value);
	string.val.string.len = length;
	pointstore_push_value(state, key, &string);
}
