/*-------------------------------------------------------------------------
 *
 * src/nodes/member.c
 *		Members of JSON objects that come from elsewhere, read without raising an error.
 *
 * Of many messages in one call a malformed one must not keep the others from being taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "ground/name.h"
#include "nodes/member.h"

/* A string. */
MemberFound
pointstore_member_text(Jsonb *object, const char *key, text **value)
{
	JsonbValue	member;

	if (!pointstore_member(object, key, &member) || member.type == jbvNull)
		return MEMBER_NONE;
	if (member.type != jbvString)
		return MEMBER_WRONG;
	*value = cstring_to_text_with_len(member.val.string.val, member.val.string.len);
	return MEMBER_FOUND;
}

/* A whole number, or a string of its digits. */
MemberFound
pointstore_member_bigint(Jsonb *object, const char *key, int64 *value)
{
	JsonbValue	member;
	char	   *digits;
	char	   *first;
	char	   *end;

	if (!pointstore_member(object, key, &member) || member.type == jbvNull)
		return MEMBER_NONE;
	if (member.type == jbvNumeric)
		digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(member.val.numeric)));
	else if (member.type == jbvString)
		digits = pnstrdup(member.val.string.val, member.val.string.len);
	else
		return MEMBER_WRONG;
	first = digits + (*digits == '-' ? 1 : 0);
	errno = 0;
	*value = strtoll(digits, &end, 10);
	return errno != 0 || *first < '0' || *first > '9' || *end != '\0' ? MEMBER_WRONG : MEMBER_FOUND;
}

/* An object. */
MemberFound
pointstore_member_object(Jsonb *object, const char *key, Jsonb **value)
{
	JsonbValue	member;

	if (!pointstore_member(object, key, &member) || member.type == jbvNull)
		return MEMBER_NONE;
	if (member.type != jbvBinary || !JsonContainerIsObject(member.val.binary.data))
		return MEMBER_WRONG;
	*value = JsonbValueToJsonb(&member);
	return MEMBER_FOUND;
}

/* A key of an object that is none of these, or NULL. */
const char *
pointstore_unknown_member(Jsonb *object, const char *const *keys, int n)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	member;

	while ((token = JsonbIteratorNext(&iterator, &member, true)) != WJB_DONE)
	{
		text	   *key;

		if (token != WJB_KEY)
			continue;
		key = cstring_to_text_with_len(member.val.string.val, member.val.string.len);
		if (pointstore_place(key, keys, n) < 0)
			return pointstore_cstring(key);
	}
	return NULL;
}
