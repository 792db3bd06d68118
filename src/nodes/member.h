/*-------------------------------------------------------------------------
 *
 * src/nodes/member.h
 *		Members of JSON objects that come from elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_MEMBER_H
#define POINTSTORE_MEMBER_H

#include "utils/jsonb.h"

/* What was found. */
typedef enum MemberFound
{
	MEMBER_NONE,				/* nothing, or null */
	MEMBER_FOUND,
	MEMBER_WRONG				/* something else */
} MemberFound;

extern MemberFound pointstore_member_text(Jsonb *object, const char *key, text **value);
extern MemberFound pointstore_member_bigint(Jsonb *object, const char *key, int64 *value);
extern MemberFound pointstore_member_object(Jsonb *object, const char *key, Jsonb **value);
extern const char *pointstore_unknown_member(Jsonb *object, const char *const *keys, int n);

#endif							/* POINTSTORE_MEMBER_H */
